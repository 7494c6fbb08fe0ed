"""The problems that a model is to become better at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dataset.types import Problem
from evaluator.benchmarks import BENCHMARKS
from evaluator.benchmarks.types import load
from sandbox.errors import InputError


def read_problems(path: Path) -> Sequence[Problem]:
    """The problems in a file of `python -m dataset build`.

    Raises:
        InputError: no such file, none in it, or one without an answer.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; `python -m dataset build` writes one")
    problems = load(BENCHMARKS["demo"], path)
    if not problems:
        raise InputError(f"{path} holds no problem: `python -m dataset build` writes some")
    if len({problem.id for problem in problems}) < len(problems):
        raise InputError(f"{path}: two problems have the same id; give each its own")
    return problems
