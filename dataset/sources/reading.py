"""Rows out of the files that upstreams publish, whatever the file is called:

    JSON Lines                      most sources
    a JSON array                    MathInstruct.json, SVAMP.json, MathQA's train.json
    objects one after another       math23k_train.json
    one object around a list        GAOKAO-Bench: {"keywords": "…", "example": [row, …]}
    Parquet                         the Hub's conversions
    a member of a zip archive       lila.zip

Streaming, but for the object around a list: a JSON array of a quarter of a gigabyte is never held as a whole. A row
that cannot be read comes as the text of what is wrong with it, under its number, so that it can be reported and
counted. Of any other form of file it is said, in one line, what it is and what was expected
(`dataset.sources.forms`).
"""

from __future__ import annotations

import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dataset.files import LONGEST_LINE_BYTES, parse_line, raw_lines, read_raw_lines
from dataset.sources.forms import form_of, refuse
from sandbox.errors import InputError

Row = dict[str, Any] | str  # the row, or what is wrong with it
_BLOCK_CHARACTERS = 1 << 20
_LONGEST_CAUSE = 200  # characters of a library's own words
_UNREADABLE = "nested too deep, or a number is too long"
# BadZipFile, and what decompressors, a cut end, a password and an unknown method raise.
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError)


def read_rows(path: Path, member: str | None = None) -> Iterator[tuple[int, Row]]:
    """The rows of a file with their numbers: of lines in JSON Lines, of elements in an array or a table, from 1.

    `member` names the file inside a .zip archive.

    Raises:
        InputError: the file is broken, or of a form that is not read; says which, in one line.
        FileNotFoundError: there is no such file.
    """
    match form_of(path):
        case "parquet":
            yield from _parquet_rows(path)
        case "zip":
            yield from _zip_rows(path, member)
        case "array":
            with path.open(encoding="utf-8-sig") as text:
                yield from _array_rows(text, str(path))
        case "objects":
            with path.open(encoding="utf-8-sig") as text:
                yield from _object_rows(text, str(path))
        case "lines":
            for number, line in read_raw_lines(path):
                yield number, _parsed(line)
        case other:
            refuse(path, other)


def _parsed(line: bytes | None) -> Row:
    try:
        return parse_line(line)
    except InputError as error:
        return str(error)


_BETWEEN = re.compile(r"[\s,]*")
_AROUND = ("example", "examples", "data", "rows", "instances")  # names of the list that one object is around


def _array_rows(file: IO[str], name: str) -> Iterator[tuple[int, Row]]:
    decoder = json.JSONDecoder()
    number = 0
    try:
        buffer = file.read(_BLOCK_CHARACTERS)
        position = buffer.index("[") + 1
        while True:
            between = _BETWEEN.match(buffer, position)
            position = between.end() if between else position
            if buffer.startswith("]", position):
                return
            try:
                value, position = decoder.raw_decode(buffer, position)
            except json.JSONDecodeError as error:
                block = file.read(_BLOCK_CHARACTERS)
                if not block or len(buffer) - position > LONGEST_LINE_BYTES:
                    # What follows cannot be told apart from what is broken: this ends the file.
                    raise InputError(f"{name}: element {number + 1} of the array is not JSON ({error.msg})") from None
                buffer, position = buffer[position:] + block, 0
                continue
            except (RecursionError, ValueError):
                raise InputError(f"{name}: element {number + 1} of the array cannot be read: {_UNREADABLE}") from None
            number += 1
            yield number, value if isinstance(value, dict) else f"expected a JSON object, found {type(value).__name__}"
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 at byte {error.start}: convert the file") from None


def _object_rows(file: IO[str], name: str) -> Iterator[tuple[int, Row]]:
    decoder = json.JSONDecoder()
    number, buffer, position = 0, "", 0
    try:
        while True:
            between = _BETWEEN.match(buffer, position)
            position = between.end() if between else position
            try:
                value, position = decoder.raw_decode(buffer, position)
            except json.JSONDecodeError as error:
                block = file.read(_BLOCK_CHARACTERS)
                if not block and not buffer[position:].strip():
                    return
                if not block or len(buffer) - position > LONGEST_LINE_BYTES:
                    raise InputError(f"{name}: object {number + 1} is not JSON ({error.msg})") from None
                buffer, position = buffer[position:] + block, 0
                continue
            except (RecursionError, ValueError):
                raise InputError(f"{name}: object {number + 1} cannot be read: {_UNREADABLE}") from None
            for row in _unwrapped(value):
                number += 1
                yield number, row if isinstance(row, dict) else f"expected a JSON object, found {type(row).__name__}"
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 at byte {error.start}: convert the file") from None


def _unwrapped(value: Any) -> list[Any]:
    """The rows in an object around a list of rows, else the object itself."""
    lists = [field for name, field in value.items() if name in _AROUND] if isinstance(value, dict) else []
    return lists[0] if len(lists) == 1 and isinstance(lists[0], list) else [value]


def _parquet_rows(path: Path) -> Iterator[tuple[int, Row]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(1000):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError, ValueError) as error:  # broken pages are an OSError, names a UnicodeError
        raise InputError(f"{path}: not a Parquet file, or a broken one ({_cause(error)}); fetch it again") from None


@contextmanager
def _opened(path: Path, member: str | None) -> Iterator[IO[bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            if member is None or member not in archive.namelist():
                raise InputError(f"{path}: expected {member or 'a known file'} in the archive")
            with archive.open(member) as file:
                yield file
    except _BROKEN_ZIP as error:
        raise InputError(f"{path}: not a zip archive, or a broken one ({_cause(error)}); fetch it again") from None


def _cause(error: Exception) -> str:
    return str(error).partition("\n")[0][:_LONGEST_CAUSE]


def _zip_rows(path: Path, member: str | None) -> Iterator[tuple[int, Row]]:
    with _opened(path, member) as file:
        for number, line in raw_lines(file):
            yield number, _parsed(line)
