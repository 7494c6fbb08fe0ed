"""What an update says of itself: a line in the log, a line on the console, numbers for a viewer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class UpdateRecord:
    """One exploration and its update.

    Attributes:
        reward: mean of the rewards that were given; `parts` by part, before weights.
        pass_rate: share of right solutions.
        no_signal: share of groups whose rewards are all the same: they teach nothing.
        left_out: problems of which a solution failed for our reasons.
        solution_tokens: the model's own, a solution, mean; `cut` is the share of solutions that ran out of them.
        programs: programs a solution; `tool_errors` the share of programs that failed.
        kl: divergence from the reference a token, estimated as in the loss; `entropy` that of the model a token,
            estimated by the tokens it drew; both over the solutions that were learned.
        clipped: share of learned tokens whose ratio was clipped.
        gradient_norm: before clipping, mean of the update's steps.
        staleness: updates between the weights that sampled and those that learned; 0: each exploration waits.
        sampled_tokens, learned_tokens: the model's own, sampled just now; and all tokens that the update computed.
        skipped: why nothing was learned, "" if it was.
    """

    step: int
    reward: float
    parts: Mapping[str, float]
    pass_rate: float
    problems: int
    no_signal: float
    left_out: int
    solution_tokens: float
    cut: float
    programs: float
    tool_errors: float
    loss: float
    kl: float
    entropy: float
    clipped: float
    gradient_norm: float
    learning_rate: float
    staleness: int
    sampled_tokens: int
    learned_tokens: int
    sample_seconds: float
    update_seconds: float
    weight_seconds: float
    peak_memory_bytes: int
    skipped: str = ""

    @property
    def line(self) -> dict[str, Any]:
        """What the file holds."""
        return asdict(self) | {
            "sampled_tokens_per_second": round(self.sampled_tokens / max(self.sample_seconds, 1e-9), 1),
            "learned_tokens_per_second": round(self.learned_tokens / max(self.update_seconds, 1e-9), 1),
        }

    @property
    def numbers(self) -> dict[str, float]:
        """What a viewer draws."""
        flat = {name: float(value) for name, value in self.line.items() if isinstance(value, int | float)}
        return flat | {f"reward/{name}": value for name, value in self.parts.items()}

    @property
    def notable(self) -> bool:
        """Whether the console is to show it, whatever the interval."""
        return bool(self.skipped)

    def console(self, steps: int) -> str:
        """The update for a reader."""
        line = self.line
        parts = [
            f"update {self.step}/{steps}",
            f"reward {self.reward:.3f}",
            f"right {self.pass_rate:.1%}",
            f"no signal {self.no_signal:.0%} of {self.problems}",
            *([f"left out {self.left_out}"] if self.left_out else []),
            f"{self.solution_tokens:.0f} tokens",
            f"cut {self.cut:.1%}",
            f"{self.programs:.2f} programs",
            f"errors {self.tool_errors:.1%}",
            f"kl {self.kl:.4f}",
            f"entropy {self.entropy:.3f}",
            f"clipped {self.clipped:.2%}",
            f"gradient {self.gradient_norm:.3f}",
            f"rate {self.learning_rate:.1e}",
            f"sampled {line['sampled_tokens_per_second']:,.0f} tok/s in {self.sample_seconds:.1f} s",
            f"learned {line['learned_tokens_per_second']:,.0f} tok/s in {self.update_seconds:.1f} s",
            *([f"NOTHING LEARNED: {self.skipped}"] if self.skipped else []),
        ]
        return "  ".join(parts)
