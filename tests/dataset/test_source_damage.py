"""Rows damaged at random: a conversion makes candidates of them or says in one line what it cannot use."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataset.sources import SOURCES
from dataset.sources.reading import read_rows
from dataset.types import solution_to_json
from sandbox.errors import InputError

FIXTURES = Path(__file__).parent / "fixtures"
DAMAGES = 150  # a source; 20,000 were tried by hand
# What may stand where something else was expected.
VALUES: list[Any] = [
    None, True, 0, -1, 3.5, float("nan"), float("inf"), 10**400, "", " ", "x", "1/0", "(1/0)", "((1)/(0))", "x=1/0",
    "x=9**9**9", "٣", "²", "inf", "####", "#### 1/0", "<<9**9**9=2>>2#### 3", "\ud800", "\x00", "(" * 3000, "9" * 5000,
    "1." + "3" * 5000, "a\nb", [], {}, [None], [[]], [{}], ["x"], [{"aoVal": None}], [[{"aoVal": 1, "content": "1"}]],
    {"role": ["user"]}, [{"role": {}, "type": [], "content": "q"}], "data/PoT/\n.json", "divide(1,0)", "2(1/0)",
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a row: keys and indices from the outside in."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield (*path, key)
        yield from places(child, (*path, key))


def damaged(row: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """`row` with one to three values taken out, replaced, cut or wrapped."""
    row = copy.deepcopy(row)
    for _ in range(draw.choice((1, 1, 2, 3))):
        found = list(places(row))
        if not found:
            break
        *outer, last = draw.choice(found)
        inside: Any = row
        for key in outer:
            inside = inside[key]
        way = draw.randrange(5)
        if way == 0:
            del inside[last]
        elif way == 1 and isinstance(inside[last], str):
            inside[last] = inside[last][: draw.randrange(len(inside[last]) + 1)]
        elif way == 2:
            inside[last] = [inside[last]]
        else:
            inside[last] = copy.deepcopy(draw.choice(VALUES))
    return row


@pytest.mark.parametrize("name", SOURCES)
def test_a_damaged_row_gives_candidates_or_one_line(name: str) -> None:
    source, draw = SOURCES[name], random.Random(name)
    (fixture,) = FIXTURES.glob(f"{name}.json*")
    rows = [row for _, row in read_rows(fixture) if isinstance(row, dict)]
    refused = 0
    for _ in range(DAMAGES):
        row = damaged(draw.choice(rows), draw)
        try:
            for found in source.convert(row, "1"):  # not `candidates`, which would hide a mistake of ours
                json.dumps(solution_to_json(found.solution))
        except InputError:
            refused += 1
            with pytest.raises(InputError) as raised:
                source.candidates(row, "1")
            assert "\n" not in str(raised.value)
            assert len(str(raised.value)) < 400
    assert refused > DAMAGES // 20
