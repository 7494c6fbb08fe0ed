"""The chosen rows, in their order, into shards: JSON Lines, which our trainer reads, or Parquet."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

from dataset.files import written_whole
from dataset.mixture.card import Statistics
from dataset.mixture.select import Choice, Columns
from dataset.progress import Progress
from sandbox.errors import InputError

Form = Literal["jsonl", "parquet"]
FORMS: tuple[Form, ...] = get_args(Form)
SHARD_ROWS = 50_000
_GROUP_ROWS = 2_000  # of a Parquet file: what is held in memory
_TEXTS = ("id", "source", "language", "style", "subject", "level")

Put = Callable[[bytes, Mapping[str, Any]], None]  # a row as a line of JSON, and the same read


def write_shards(
    columns: Columns, choice: Choice, out: Path, form: Form, statistics: Statistics, *, quiet: bool
) -> list[str]:
    """Write train-00000.jsonl (or .parquet) … into `out`; returns their names. `statistics` counts the rows.

    Raises:
        InputError: Parquet is asked for and pyarrow is not installed.
    """
    opened = {"jsonl": _lines, "parquet": _parquet}[form]
    names: list[str] = []
    with Progress("write", total=len(choice.rows), unit="rows", quiet=quiet) as bar:
        for start in range(0, len(choice.rows), SHARD_ROWS):
            names.append(f"train-{len(names):05d}.{form}")
            with opened(out / names[-1]) as put:
                for line in columns.rows(choice.rows[start : start + SHARD_ROWS]):
                    row = json.loads(line)
                    put(line, row)
                    statistics.add(row)
                    bar.update()
    return names


@contextmanager
def _lines(path: Path) -> Iterator[Put]:
    with written_whole(path) as file:

        def put(line: bytes, _: Mapping[str, Any]) -> None:
            file.write(line.decode())

        yield put


@contextmanager
def _parquet(path: Path) -> Iterator[Put]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise InputError("--format parquet needs pyarrow: pip install 'soroban[hub]'") from None
    message = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
    schema = pyarrow.schema([*((name, pyarrow.string()) for name in _TEXTS), ("messages", pyarrow.list_(message))])
    aside = path.with_name(path.name + ".partial")
    rows: list[Mapping[str, Any]] = []
    with parquet.ParquetWriter(aside, schema) as writer:

        def flush() -> None:
            writer.write_table(pyarrow.Table.from_pylist(rows, schema))
            rows.clear()

        def put(_: bytes, row: Mapping[str, Any]) -> None:
            rows.append(row)
            if len(rows) == _GROUP_ROWS:
                flush()

        yield put
        if rows:
            flush()
    os.replace(aside, path)
