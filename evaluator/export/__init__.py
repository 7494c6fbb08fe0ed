"""`python -m evaluator export`: results in the formats that other tools read. A run without a score is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from evaluator.export import dataset, inspect_ai, lm_eval
from evaluator.scores import Run
from sandbox.errors import InputError

EXPORTS: dict[str, Callable[[Sequence[Run], Path], list[Path]]] = {
    "inspect": inspect_ai.write,
    "lm-eval": lm_eval.write,
    "dataset": dataset.write,
}


def export(runs: Sequence[Run], form: str, out: Path) -> list[Path]:
    """Write `runs` to the folder `out` in the format called `form`; the files written.

    Raises:
        InputError: no such format, a run without a score, or `out` is not ours to write in.
    """
    if form not in EXPORTS:
        raise InputError(f"unknown --format {form!r}; there are {', '.join(EXPORTS)}")
    for run in runs:
        if run.score.unscored or not run.score.samples:
            raise InputError(f"{run.folder}: {run.score.unscored or 'no results in it yet; run again to go on'}")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; expected a folder")
    return EXPORTS[form](runs, out)
