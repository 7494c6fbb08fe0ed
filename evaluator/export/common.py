"""What the formats have in common: names of runs, the time of a run, one number a problem."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import fmean, stdev

from evaluator.results import RESULTS, Result
from evaluator.scores import Run


def as_json(value: object, indent: int | None = None) -> str:
    """JSON that strict readers take: a lone surrogate, which a model can write, becomes U+FFFD.

    Escaped it would be JSON, too, but inspect_ai's reader and the Hub's refuse it.
    """
    return re.sub("[\ud800-\udfff]", "\ufffd", json.dumps(value, ensure_ascii=False, indent=indent))


def labels(runs: Sequence[Run]) -> list[str]:
    """A name for each run that is fit for a file and tells it from the others: model, benchmark, mode."""
    names = ["-".join([plain(run.config.model), run.config.benchmark, run.mode]) for run in runs]
    several = {name for name, count in Counter(names).items() if count > 1}
    return [f"{name}-{run.config.key}" if name in several else name for name, run in zip(names, runs, strict=True)]


def plain(text: str) -> str:
    """`text` with what may not stand in a file's name replaced."""
    return re.sub(r"[^\w.-]+", "_", text).strip("_.") or "model"


def finished(run: Run) -> datetime:
    """When the last result was written."""
    return datetime.fromtimestamp((run.folder / RESULTS).stat().st_mtime, tz=UTC)


def asked(run: Run, result: Result) -> str:
    """The question with the run's instruction, as the user's message began."""
    instruction = run.config.instructions.get(result.problem.language, "")
    return f"{result.problem.question.strip()}\n{instruction}".strip()


def by_problem(run: Run) -> dict[str, list[Result]]:
    """The results of each problem, samples in order."""
    found: dict[str, list[Result]] = {}
    for result in sorted(run.results, key=lambda r: r.sample):
        found.setdefault(result.problem.id, []).append(result)
    return found


def mean_and_error(run: Run) -> tuple[float, float]:
    """The accuracy and its standard error over problems."""
    shares = [fmean(result.correct for result in several) for several in by_problem(run).values()]
    return fmean(shares), stdev(shares) / math.sqrt(len(shares)) if len(shares) > 1 else 0.0
