"""OpenRLHF 0.11: `--reward.remote_url integrations/openrlhf.py`, or a file of your own with `reward_func` from here.

The signature is that of `openrlhf.utils.agent.SingleTurnAgentExecutor`: `reward_func(queries, prompts, labels)`,
called in a thread, with the prompt and the response in one text. Where the sandbox failed it raises; OpenRLHF then
logs it, and the sample has no reward. A label that is missing raises InputError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from integrations.reward import Weights, rewards
from sandbox import SandboxUnavailable


def make_reward_func(
    *,
    sandbox: str | None = None,
    weights: Weights = Weights(),  # noqa: B008 - frozen
    response_ends: Sequence[str] = ("<|im_end|>", "<|endoftext|>", "</s>", "<|eot_id|>"),
) -> Callable[[Sequence[str], Sequence[str], Sequence[str]], dict[str, Any]]:
    """A `reward_func`. `labels` are the reference answers; `response_ends` are cut off a response's end."""

    def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
        import torch

        solutions = []
        for query, prompt in zip(queries, prompts, strict=True):
            solution = query[len(prompt) :] if query.startswith(prompt) else query
            for end in response_ends:
                solution = solution.strip().removesuffix(end)
            solutions.append(solution)
        references = [label or "" for label in labels]  # without one: InputError, rather than a sample left out
        given = rewards(prompts, references, solutions, sandbox=sandbox, weights=weights)
        judged = [one for one in given if one is not None]
        if len(judged) < len(given):
            raise SandboxUnavailable("the sandbox failed, or a label cannot be read: these samples have no reward")
        return {
            "rewards": torch.tensor([one.score for one in judged]),
            "scores": torch.tensor([one.correct for one in judged]),
            "extra_logs": {
                "format": torch.tensor([one.format for one in judged]),
                "tool_use": torch.tensor([one.tool_use for one in judged]),
            },
        }

    return reward_func


reward_func = make_reward_func()
