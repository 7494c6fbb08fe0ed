"""What a run says about itself: a console line and a JSON line a step, and a plot at the end.

`log.jsonl` has one object for each step that counts: after a resume, lines of steps that are done again are cut off.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from tqdm import tqdm

from dataset.files import read_jsonl, write_line, written_whole
from trainer.trackers import Tracking

LOG = "log.jsonl"
GREEN, PLAIN = "\033[32m", "\033[0m"


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One step. Losses are means per target; `loss_by` has one for each source/style/language that occurred.

    `gradient_norm` is that before clipping. `data_seconds` is the part of `seconds` spent on making batches.
    `peak_memory_bytes` is the device's, on a CPU the process's own. `mfu` is the share of `peak_flops`, what all
    devices together can do; None where we do not know their peak. `heldout_loss` is None where nobody looked. In the
    file null also stands for what is not finite.
    """

    step: int
    loss: float
    loss_by: Mapping[str, float]
    gradient_norm: float
    learning_rate: float
    tokens: int
    targets: int
    waste: float
    seconds: float
    data_seconds: float
    peak_memory_bytes: int
    mfu: float | None
    peak_flops: float | None
    skipped: bool
    heldout_loss: float | None = None
    heldout_by: Mapping[str, float] | None = None

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds

    @property
    def line(self) -> dict[str, Any]:
        """What the file holds."""
        return {
            **asdict(self),
            "tokens_per_second": round(self.tokens_per_second, 1),
            "target_tokens_per_second": round(self.targets / self.seconds, 1),
        }

    @property
    def notable(self) -> bool:
        """Whether the console is to show it, whatever the interval."""
        return self.skipped or self.heldout_loss is not None

    def console(self, steps: int) -> str:
        """The step for a reader; a second line has the losses of groups where there are several."""
        return console_line(self, steps)

    @property
    def numbers(self) -> dict[str, float]:
        """What a viewer draws: every number that changes from step to step, flat."""
        values = {
            "loss": self.loss,
            "gradient_norm": self.gradient_norm,
            "learning_rate": self.learning_rate,
            "tokens_per_second": self.tokens_per_second,
            "target_tokens_per_second": self.targets / self.seconds,
            "waste": self.waste,
            "data_share": self.data_seconds / self.seconds,
            "peak_memory_gib": self.peak_memory_bytes / 2**30,
            "skipped": float(self.skipped),
        }
        values |= {f"loss/{name}": value for name, value in self.loss_by.items()}
        values |= {f"heldout/{name}": value for name, value in (self.heldout_by or {}).items()}
        values |= {} if self.mfu is None else {"mfu": self.mfu}
        return values | ({} if self.heldout_loss is None else {"heldout_loss": self.heldout_loss})


class Record(Protocol):
    """What a log takes of one step."""

    @property
    def step(self) -> int: ...
    @property
    def line(self) -> dict[str, Any]: ...
    @property
    def numbers(self) -> dict[str, float]: ...
    @property
    def notable(self) -> bool: ...
    def console(self, steps: int) -> str: ...


class Log:
    """The log of a run in `out`, continued after `step` steps, and in `tracker` if there is one."""

    def __init__(
        self, out: Path, *, step: int, steps: int, every: int, tracker: Tracking | None = None, quiet: bool = False
    ) -> None:
        self._path, self._every, self._steps, self._tracker = out / LOG, every, steps, tracker
        kept = [value for _, value in whole_lines(self._path) if value["step"] <= step]
        with written_whole(self._path) as file:
            for value in kept:
                write_line(file, value)
        self._file: IO[str] = self._path.open("a", encoding="utf-8")
        self._bar = tqdm(
            total=steps,
            initial=step,
            desc="train",
            unit=" steps",
            disable=quiet or not sys.stderr.isatty(),
            leave=False,
        )

    def write(self, record: Record) -> None:
        """Note one step; the console gets every `every`-th, and the last."""
        write_line(self._file, {name: _json_number(value) for name, value in record.line.items()})
        self._file.flush()
        if self._tracker is not None:
            self._tracker.write(record.step, record.numbers)
        self._bar.update()
        if record.step % self._every == 0 or record.step == self._steps or record.notable:
            tqdm.write(record.console(self._steps))
            sys.stdout.flush()

    def watch(self, step: int, values: Mapping[str, float]) -> None:
        """Give the viewer numbers that have a file of their own."""
        if self._tracker is not None and values:
            self._tracker.write(step, values)

    def close(self) -> None:
        self._bar.close()
        if self._tracker is not None:
            self._tracker.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def console_line(record: StepRecord, steps: int) -> str:
    """One step for a reader; a second line has the losses of groups where there are several."""
    left = (steps - record.step) * record.seconds
    parts = [
        f"step {record.step}/{steps}",
        f"loss {record.loss:.4f}",
        *([] if record.heldout_loss is None else [f"held-out {record.heldout_loss:.4f}"]),
        f"gradient {record.gradient_norm:.3f}",
        f"rate {record.learning_rate:.2e}",
        f"{record.tokens_per_second:,.0f} tok/s",
        f"{record.targets / record.seconds:,.0f} targets/s",
        f"waste {record.waste:.1%}",
        f"data {record.data_seconds / record.seconds:.1%}",
        f"{record.peak_memory_bytes / 2**30:.1f} GiB",
        *([] if record.mfu is None else [f"mfu {record.mfu:.1%}"]),
        f"{left / 60:.1f} min left",
        *(["NOT FINITE: step skipped"] if record.skipped else []),
    ]
    groups = "  ".join(f"{name} {loss:.4f}" for name, loss in sorted(record.loss_by.items()))
    return "  ".join(parts) + (f"\n     {groups}" if len(record.loss_by) > 1 else "")


def _json_number(value: Any) -> Any:
    """`value` with null for NaN and infinity, which JSON does not have."""
    if isinstance(value, Mapping):
        return {name: _json_number(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def whole_lines(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """The objects in a log whose last line a crash may have cut."""
    if not path.exists():
        return []
    text = path.read_bytes()
    if not text.endswith(b"\n"):
        path.write_bytes(text[: text.rfind(b"\n") + 1])
    return list(read_jsonl(path))


def plot(out: Path) -> None:
    """Draw `OUT/loss.png`: loss by source, style and language, gradient norm and learning rate over the steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    records = [record for record in read_log(out) if not record["skipped"]]
    steps = [record["step"] for record in records]
    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    losses, norms = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for name in sorted({name for record in records for name in record["loss_by"]}):
        shown = [(record["step"], record["loss_by"][name]) for record in records if name in record["loss_by"]]
        losses.plot(*zip(*shown, strict=True), linewidth=0.8, alpha=0.7, label=name)
    losses.plot(steps, [record["loss"] for record in records], color="black", linewidth=1.5, label="all")
    looked = [(record["step"], record["heldout_loss"]) for record in records if record["heldout_loss"] is not None]
    if looked:
        losses.plot(*zip(*looked, strict=True), "o--", color="tab:red", markersize=3, label="held out")
    losses.set(ylabel="loss per target token", yscale="log")
    losses.legend(fontsize="x-small", ncols=3)
    norms.plot(steps, [record["gradient_norm"] for record in records], linewidth=0.8)
    norms.set(ylabel="gradient norm", xlabel="step", yscale="log")
    rates = norms.twinx()
    rates.plot(steps, [record["learning_rate"] for record in records], color="tab:orange")
    rates.set_ylabel("learning rate", color="tab:orange")
    aside = out / "loss.partial.png"
    figure.savefig(aside, dpi=110)
    os.replace(aside, out / "loss.png")


def show_sample(tokenizer: Any, tokens: Sequence[int], learned: Sequence[bool], *, colour: bool) -> str:
    """One example as it is trained: what is learned in green, or between » and « where there is no colour."""
    opening, closing = (GREEN, PLAIN) if colour else ("»", "«")
    parts, start = [], 0
    for at in range(1, len(tokens) + 1):
        if at == len(tokens) or learned[at] != learned[start]:
            text = tokenizer.decode(list(tokens[start:at]), skip_special_tokens=False)
            parts.append(f"{opening}{text}{closing}" if learned[start] else text)
            start = at
    return "".join(parts)


def read_log(out: Path) -> list[dict[str, Any]]:
    """The steps of a run so far, in order."""
    return [value for _, value in read_jsonl(out / LOG)]
