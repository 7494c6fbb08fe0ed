"""What a benchmark is: where its problems come from, how a line becomes a problem, and what pins the set.

A benchmark is one file beside this one and one line in the table in `evaluator/benchmarks/__init__.py`. A set of
another size or content is refused: a score on other problems under the same name cannot be compared with anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset.places import EXAMS, fingerprint
from dataset.sources.reading import read_rows
from dataset.types import Language, Problem
from sandbox.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One set of problems.

    `read` makes a problem from a line's object and its number, from 0; it raises KeyError for a missing field.
    `rows` and `sha256` pin the set, None where any file will do. The hash is `fingerprint`'s over the fields `pinned`
    of all lines, so that the same set in another order or another JSON spelling passes. `file` is the name looked for
    in a data folder, `origin` tells the user where it comes from. A set with `rows` and
    without `sha256` has not been at hand here: its number of rows is checked, and its hash stands with the results.
    """

    name: str
    language: Language | None
    file: str
    rows: int | None
    sha256: str | None
    pinned: tuple[str, ...]
    origin: str
    read: Callable[[Mapping[str, Any], int], Problem]


def published(
    name: str, *, language: Language, origin: str, read: Callable[[Mapping[str, Any], int], Problem]
) -> Benchmark:
    """The benchmark whose file, size, hash and places are in `dataset.places`."""
    exam = EXAMS[name]
    return Benchmark(
        name=name,
        language=language,
        file=exam.file,
        rows=exam.rows,
        sha256=exam.sha256,
        pinned=exam.pinned,
        origin=origin,
        read=read,
    )


def plain_number(value: object) -> str:
    """A number of a JSON file as it is written by hand: 51.0 as 51.

    Raises:
        InputError: it is no number.
    """
    try:
        number = float(str(value).replace(",", ""))
    except ValueError:
        raise InputError(f"the answer is {value!r}, expected a number") from None
    return str(int(number)) if number.is_integer() else repr(number)


def how_to_get(benchmark: Benchmark) -> str:
    """What a user does who has no file of this benchmark."""
    if benchmark.name in EXAMS:
        return f"get it by `python -m dataset fetch {benchmark.name}`, or give it with --file or --data-dir"
    return "give it with --file or --data-dir"


def load(benchmark: Benchmark, path: Path) -> list[Problem]:
    """The problems of `benchmark` in the file at `path` (JSON Lines, a JSON array or Parquet), in its order.

    Raises:
        InputError: no such file; a line that is not one of this benchmark's; a set that is not the pinned one.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file. {benchmark.name} is {benchmark.origin}; {how_to_get(benchmark)}")
    problems: list[Problem] = []
    rows = []
    for number, row in read_rows(path):
        if isinstance(row, str):
            raise InputError(f"{path}:{number}: {row}")
        try:
            problems.append(benchmark.read(row, len(problems)))
            rows.append(row)
        except KeyError as error:
            raise InputError(
                f"{path}:{number}: no field {error} in a line of {benchmark.name}; this has {', '.join(row) or 'none'}"
            ) from None
        except (InputError, TypeError, AttributeError) as error:
            raise InputError(f"{path}:{number}: not a problem of {benchmark.name}: {error}") from None
    if benchmark.rows is not None and len(problems) != benchmark.rows:
        raise InputError(
            f"{path} has {len(problems)} problems; {benchmark.name} is pinned at {benchmark.rows}. "
            f"It is {benchmark.origin}"
        )
    found = fingerprint(rows, benchmark.pinned)
    if benchmark.sha256 not in (None, found):
        raise InputError(
            f"{path} has {benchmark.rows} problems as {benchmark.name} has, but their text differs from the pinned set "
            f"(sha256 of questions and answers {found[:12]}…, pinned {str(benchmark.sha256)[:12]}…). "
            f"It is {benchmark.origin}"
        )
    if not problems:
        raise InputError(f"{path}: no problems in it")
    repeated = len(problems) - len({problem.id for problem in problems})
    if repeated:
        raise InputError(f"{path}: {repeated} problems have the id of another; ids must be unique")
    return problems
