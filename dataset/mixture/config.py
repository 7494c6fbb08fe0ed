"""What a mixture consists of: `mixture.toml`.

    rows = 776000              # at most so many in all; left out: as many as there are
    near_duplicates = 0.85     # similarity from which the second of two examples is left out
    per_problem = 4            # at most so many solutions of one problem in one style; left out: all

    [[part]]
    name = "English, tool-integrated"
    source = ["gsm8k", "math"] # a row belongs to the first part whose conditions it meets; each is optional
    style = ["tir"]
    language = ["en"]
    subject = ["algebra"]
    target = 60000             # for the table of what is missing; changes nothing else
    cap = 80000                # at most so many
    cap_per_subject = 10000    # at most so many of one subject
    weight = 2.0               # with `rows`: its share of them, in proportion to the other weights; without `rows`:
                               # the weighted parts are cut down together until their sizes stand in proportion

Without parts every row belongs to one part that takes all.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dataset.types import Solution
from sandbox.errors import InputError

_FILTERS = ("source", "style", "language", "subject")
_COUNTS = ("target", "cap", "cap_per_subject")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the mixture; see the module's docstring. Empty conditions let everything in."""

    name: str
    source: tuple[str, ...] = ()
    style: tuple[str, ...] = ()
    language: tuple[str, ...] = ()
    subject: tuple[str, ...] = ()
    target: int | None = None
    cap: int | None = None
    cap_per_subject: int | None = None
    weight: float | None = None

    def takes(self, solution: Solution) -> bool:
        problem = solution.problem
        found = {"source": problem.source, "style": solution.style, "language": problem.language}
        found["subject"] = problem.subject
        return all(not (wanted := getattr(self, name)) or found[name] in wanted for name in _FILTERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """A mixture's config; see the module's docstring."""

    rows: int | None = None
    near_duplicates: float = 0.85
    per_problem: int | None = None
    parts: tuple[Part, ...] = field(default=(Part(name="everything"),))

    def part_of(self, solution: Solution) -> int | None:
        """The number of the first part that takes `solution`, None if none does."""
        return next((number for number, part in enumerate(self.parts) if part.takes(solution)), None)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _positive(value: object, kinds: type | tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool) and value > 0  # type: ignore[operator]


def _part(raw: Mapping[str, Any], number: int, problems: list[str]) -> Part:
    where = f"part {number} ({raw.get('name', 'without a name')})"
    values: dict[str, Any] = {}
    if not isinstance(raw.get("name"), str):
        problems.append(f'{where}: expected name = "…"')
    for name, value in raw.items():
        if name in _FILTERS:
            listed = [value] if isinstance(value, str) else value
            if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
                problems.append(f"{where}: {name} is {value!r}, expected a string or a list of strings")
                continue
            values[name] = tuple(listed)
        elif name in _COUNTS and not _positive(value, int):
            problems.append(f"{where}: {name} is {value!r}, expected a whole number above 0")
        elif name == "weight" and not _positive(value, (int, float)):
            problems.append(f"{where}: weight is {value!r}, expected a number above 0")
        elif name not in {f.name for f in fields(Part)}:
            problems.append(f"{where}: unknown key {name!r}, expected {', '.join(f.name for f in fields(Part))}")
        else:
            values[name] = value
    return Part(**{"name": f"part {number}", **values})


def read_mixture(path: Path) -> Mixture:
    """The mixture in a TOML file.

    Raises:
        InputError: it is not TOML, or keys are unknown or have wrong values; all problems are named at once.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML ({error})") from None
    problems: list[str] = []
    parts = raw.pop("part", [])
    if not isinstance(parts, list):
        problems.append("part: expected [[part]] tables")
        parts = []
    checks = {"rows": int, "per_problem": int, "near_duplicates": (int, float)}
    for name, value in raw.items():
        if name not in checks:
            problems.append(f"unknown key {name!r}, expected rows, per_problem, near_duplicates or [[part]]")
        elif not _positive(value, checks[name]) or (name == "near_duplicates" and value > 1):  # type: ignore[arg-type]
            problems.append(f"{name} is {value!r}, expected a number above 0 (near_duplicates: at most 1)")
    found = tuple(_part(part, number, problems) for number, part in enumerate(parts, 1))
    if problems:
        raise InputError(f"{path}: {'; '.join(problems)}")
    return Mixture(**raw, parts=found) if found else Mixture(**raw)
