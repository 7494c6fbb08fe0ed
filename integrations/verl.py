"""verl 0.9: a reward for `custom_reward_function`, and a tool class for multi-turn rollouts is in `verl_tool`.

    reward:
      custom_reward_function:
        path: pkg://integrations.verl
        name: compute_score
        reward_kwargs: {sandbox: http://127.0.0.1:8000}

The signature is that of `verl.utils.reward_score.default_compute_score` as the reward loop calls it. verl has no word
for a sample without a score, so that a failure of ours is raised after a minute of patience: the step fails and says
why, rather than that a right answer counts as wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from integrations.reward import Weights, rewards_async
from sandbox import SandboxUnavailable


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None = None,
    *,
    sandbox: str | None = None,
    weights: Mapping[str, float] | None = None,
    **_: Any,
) -> dict[str, Any]:
    """The score of one response, with its parts, which verl logs: acc, format, tool_use, pred.

    `extra_info["question"]` is used where the data set has it. `sandbox`: recorded programs run again on that server;
    left out, the outputs in the response are believed. `weights` are fields of `reward.Weights`.

    Raises:
        InputError: there is no ground truth.
        SandboxUnavailable: the sandbox failed, and went on failing.
    """
    question = (extra_info or {}).get("question")
    asked = question if isinstance(question, str) else None
    reference = str(ground_truth) if ground_truth is not None else ""
    given = (
        await rewards_async([asked], [reference], [solution_str], sandbox=sandbox, weights=Weights(**(weights or {})))
    )[0]
    if given is None:
        raise SandboxUnavailable(
            f"no score for a sample of {data_source}: the sandbox failed, or the ground truth cannot be read: "
            f"{reference[:200]!r}"
        )
    return {
        "score": given.score,
        "acc": given.correct,
        "format": given.format,
        "tool_use": given.tool_use,
        "pred": given.predicted or "",
    }
