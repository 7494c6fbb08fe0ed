"""What a run says about itself: a console line and a JSON line a step, and a plot at the end.

`log.jsonl` has one object for each step that counts: after a resume, lines of steps that are done again are cut off.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from dataset.files import read_jsonl, write_line, written_whole

LOG = "log.jsonl"
GREEN, PLAIN = "\033[32m", "\033[0m"


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One step. Losses are means per target; `loss_by` has one for each source/style/language that occurred.

    `gradient_norm` is that before clipping. `data_seconds` is the part of `seconds` spent on making batches.
    `peak_memory_bytes` is the device's, on a CPU the process's own.
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
    skipped: bool

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


class Log:
    """The log of a run in `out`, continued after `step` steps."""

    def __init__(self, out: Path, *, step: int, steps: int, every: int) -> None:
        self._path, self._every, self._steps = out / LOG, every, steps
        kept = [value for _, value in _whole_lines(self._path) if value["step"] <= step]
        with written_whole(self._path) as file:
            for value in kept:
                write_line(file, value)
        self._file: IO[str] = self._path.open("a", encoding="utf-8")
        self._bar = tqdm(
            total=steps, initial=step, desc="train", unit=" steps", disable=not sys.stderr.isatty(), leave=False
        )

    def write(self, record: StepRecord) -> None:
        """Note one step; the console gets every `every`-th, and the last."""
        line = {
            **asdict(record),
            "tokens_per_second": round(record.tokens_per_second, 1),
            "target_tokens_per_second": round(record.targets / record.seconds, 1),
        }
        write_line(self._file, line)
        self._file.flush()
        self._bar.update()
        if record.step % self._every == 0 or record.step == self._steps or record.skipped:
            left = (self._steps - record.step) * record.seconds
            mfu = "" if record.mfu is None else f"  mfu {record.mfu:.1%}"
            tqdm.write(
                f"step {record.step}/{self._steps}  loss {record.loss:.4f}  gradient {record.gradient_norm:.3f}  "
                f"rate {record.learning_rate:.2e}  {record.tokens_per_second:,.0f} tok/s  "
                f"{record.targets / record.seconds:,.0f} targets/s{mfu}  {left / 60:.1f} min left"
                + ("  NOT FINITE: step skipped" if record.skipped else "")
            )
            sys.stdout.flush()

    def close(self) -> None:
        self._bar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def _whole_lines(path: Path) -> list[tuple[int, dict[str, Any]]]:
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

    records = read_log(out)
    steps = [record["step"] for record in records]
    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    losses, norms = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for name in sorted({name for record in records for name in record["loss_by"]}):
        shown = [(record["step"], record["loss_by"][name]) for record in records if name in record["loss_by"]]
        losses.plot(*zip(*shown, strict=True), linewidth=0.8, alpha=0.7, label=name)
    losses.plot(steps, [record["loss"] for record in records], color="black", linewidth=1.5, label="all")
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
