"""TRL 1.16: reward functions for `reward_funcs`, and the Python tool for `tools` and `environment_factory`.

The signatures are those of `trl.trainer.grpo_trainer.GRPOTrainer`: a reward function is called with `prompts`,
`completions`, `completion_ids`, every column of the data set, `trainer_state`, `log_extra` and `log_metric`, and
gives a float or None for each completion; None takes the sample out of the loss.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from dataset.verification.check import Policy
from integrations.messages import content_text, solution_turns
from integrations.reward import Reward, Weights, rewards_async
from integrations.tool import BlockingTool
from sandbox import SandboxError
from sandbox.types import Limits

RewardFunction = Callable[..., Awaitable[list[float | None]]]


def solution_reward(
    *,
    reference: str = "answer",
    question: str | None = None,
    sandbox: str | None = None,
    outputs: Policy = "require",
    weights: Weights = Weights(),  # noqa: B008 - frozen
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> RewardFunction:
    """A reward function for `reward_funcs`, asynchronous, so that several run beside each other.

    `reference` and `question` name the data set's columns; without `question` it is the prompt's last user message.
    `sandbox` is the address of a server, on which recorded programs run again; left out, outputs are believed. The
    means of the parts go to TRL's log as `reward_correct`, `reward_format`, `reward_tool_use`, and `reward_failed`
    is the share of samples for which the sandbox failed.
    """

    async def solution_reward(
        *,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Any = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        if reference not in columns:
            raise ValueError(
                f"the data set has no column {reference!r} with the reference answers; it has {', '.join(columns)}"
            )
        asked = columns[question] if question is not None else [_question(prompt) for prompt in prompts]
        answers = [None if answer is None else str(answer) for answer in columns[reference]]
        # TRL shows a tool's exception to the model; what follows one of ours is no sample.
        failed = [getattr(one, "failed", False) for one in columns.get("environments") or [None] * len(answers)]
        given = await rewards_async(
            asked,
            answers,
            map(solution_turns, completions),
            sandbox=sandbox,
            outputs=outputs,
            weights=weights,
            limits=limits,
        )
        given = [None if broken else one for one, broken in zip(given, failed, strict=True)]
        if log_metric is not None:
            _log([one for one, answer in zip(given, answers, strict=True) if answer is not None], log_metric)
        return [None if one is None else one.score for one in given]

    return solution_reward


def _question(prompt: str | Sequence[Mapping[str, Any]]) -> str:
    if isinstance(prompt, str):
        return prompt
    asked = [content_text(message.get("content")) for message in prompt if message.get("role") == "user"]
    return asked[-1] if asked else ""


def _log(given: Sequence[Reward | None], log_metric: Callable[[str, float], None]) -> None:
    judged = [one for one in given if one is not None]
    if given:
        log_metric("reward_failed", 1 - len(judged) / len(given))
    for part in ("correct", "format", "tool_use"):
        if judged:
            log_metric(f"reward_{part}", sum(getattr(one, part) for one in judged) / len(judged))


def python_tool(sandbox: str | None = None, limits: Limits = Limits()) -> Callable[[str], str]:  # noqa: B008 - frozen
    """A tool for `tools`: each call is a program of its own. `sandbox` as in `solution_reward`; left out: one here."""
    tool = BlockingTool(sandbox, limits=limits)

    def python(code: str) -> str:
        """
        Runs Python code and returns what it prints and the value of its last expression.

        Args:
            code: The Python program to run.

        Returns:
            What the program printed, the value of its last expression, or its error.
        """
        return tool.run_alone(code)

    return python


def python_environment(sandbox: str | None = None, limits: Limits = Limits()) -> type:  # noqa: B008 - frozen
    """A class for `environment_factory`: a rollout's calls share their variables and files, and no other's do."""

    class PythonEnvironment:
        def __init__(self) -> None:
            self._tool = BlockingTool(sandbox, limits=limits)
            self.failed = False  # the sandbox failed in this rollout: its reward means nothing

        def reset(self, **_: Any) -> None:
            self._tool.reset()
            self.failed = False

        def python(self, code: str) -> str:
            """
            Runs Python code in a session that keeps its variables, and returns its output.

            Args:
                code: The Python code of this step.

            Returns:
                What the code printed, the value of its last expression, or its error.
            """
            try:
                return self._tool.run(code)
            except SandboxError:
                self.failed = True
                raise

    return PythonEnvironment
