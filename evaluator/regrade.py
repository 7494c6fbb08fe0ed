"""Judge recorded results again with the grader of today: from the log alone, no model, no sandbox."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from evaluator.config import read_config, write_config
from evaluator.grade import grade, grader_version
from evaluator.results import Result, read_results, write_results


@dataclass(frozen=True, kw_only=True)
class Regraded:
    """What changed in `folder`: ids of samples that became right, and of those that became wrong."""

    folder: Path
    samples: int
    now_right: tuple[str, ...]
    now_wrong: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"{self.folder}: {self.samples} samples, {len(self.now_right)} now right, {len(self.now_wrong)} now wrong"
        ]
        lines += [f"  now right: {name}" for name in self.now_right]
        lines += [f"  now wrong: {name}" for name in self.now_wrong]
        return "\n".join(lines)


def regrade(folder: Path) -> Regraded:
    """Grade all results in `folder` again and put them in the place of the old ones, under the grader's version.

    Raises:
        InputError: no results of ours there.
    """
    config = replace(read_config(folder), grader=grader_version())
    # A kill between the two files leaves results of the new key beside the old configuration: they are read here.
    _, old = read_results(folder, also=config.key)
    new = [replace(result if result.grade is None else _again(result), key=config.key) for result in old]
    write_results(folder, new)
    write_config(folder, config)
    pairs = list(zip(old, new, strict=True))
    return Regraded(
        folder=folder,
        samples=len(new),
        now_right=tuple(_name(after) for before, after in pairs if after.correct and not before.correct),
        now_wrong=tuple(_name(after) for before, after in pairs if before.correct and not after.correct),
    )


def _again(result: Result) -> Result:
    return replace(result, grade=grade(result.problem, result.text, result.left_over))


def _name(result: Result) -> str:
    return f"{result.problem.id}#{result.sample}"
