"""Where training problems and solutions come from: a table, one line a source, one file a conversion.

Every conversion takes one row of its upstream's format and a default id, and yields candidates for verification.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset.files import parse_line, read_raw_lines
from dataset.sources import candidates, chat, mathcoder, tora
from dataset.sources.records import Candidate
from sandbox.errors import InputError

Convert = Callable[[Mapping[str, Any], str], list[Candidate]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source. A row that has all the fields of one of `recognised_by` is taken to be of this source by `verify`."""

    name: str
    convert: Convert
    licence: str
    recognised_by: tuple[frozenset[str], ...] = ()


def _fields(*sets: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(fields.split()) for fields in sets)


SOURCES: Mapping[str, Source] = {
    source.name: source
    for source in (
        Source(name="candidates", convert=candidates.convert, licence="of their sources",
               recognised_by=_fields("problem turns style")),
        Source(name="mathcoder", convert=mathcoder.convert, licence="Apache-2.0",
               recognised_by=_fields("question reference segments")),
        Source(name="tora", convert=tora.convert, licence="MIT",
               recognised_by=_fields("question reference solution", "messages gt")),
        Source(name="chat", convert=chat.convert, licence="the file's own", recognised_by=_fields("messages")),
    )
}  # fmt: skip


def find_source(name: str) -> Source:
    """The source of that name.

    Raises:
        InputError: there is none; names those there are.
    """
    if name not in SOURCES:
        raise InputError(f"unknown source {name!r}: expected one of {', '.join(sorted(SOURCES))}")
    return SOURCES[name]


def recognise(row: Mapping[str, Any]) -> Source | None:
    """The first source in the table whose fields `row` has; None if there is none."""
    for source in SOURCES.values():
        if any(fields <= row.keys() for fields in source.recognised_by):
            return source
    return None


def source_of(path: Path) -> str:
    """The name of the source that the first readable row of `path` is of.

    Raises:
        InputError: it is of no known form.
        FileNotFoundError: there is no such file.
    """
    seen = None
    for _, line in read_raw_lines(path):
        try:
            seen = parse_line(line)
        except InputError:
            continue  # it is reported with its line number when its turn comes
        if found := recognise(seen):
            return found.name
        break
    fields = "nothing that can be read" if seen is None else f"the fields {', '.join(sorted(seen))}"
    raise InputError(
        f"{path}: its first row has {fields}, which is no known form. Say what it is with --source NAME, "
        "or make candidates of it first: python -m dataset build SOURCE --file …"
    )


def licence_of(name: str) -> str:
    """The licence of a source, "" for names that are not in the table, such as the demo's."""
    return SOURCES[name].licence if name in SOURCES else ""
