"""What form a file is of, told by its first bytes, whatever it is called; and of those that are not read, what to do.

A check on the whole file's first megabyte, without reading the rest: the readers find what is wrong further down.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

from sandbox.errors import InputError

EXPECTED = "JSON Lines, a JSON array or Parquet"
_BLOCK_BYTES = 1 << 20
_LONGEST_SHOWN = 60
_LINES_LOOKED_AT = 100
_READ_BY_BUILD = {
    "array": "a JSON array",
    "objects": "JSON objects over several lines",
    "parquet": "Parquet",
    "zip": "a zip archive",
}
# The first bytes, what they begin, and what to do.
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "a gzip file", "unpack it with gunzip"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it with unzstd"),
    (b"\xfd7zXZ\x00", "an xz file", "unpack it with unxz"),
    (b"BZh", "a bzip2 file", "unpack it with bunzip2"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (b"Rar!", "a rar archive", "unpack it"),
    (b"ARROW1", "an Arrow file", "save it with datasets' to_json or to_parquet"),
    (b"\xff\xff\xff\xff", "an Arrow stream", "save it with datasets' to_json or to_parquet"),
    (b"SQLite format 3", "an SQLite database", "export its table as JSON Lines"),
    (b"\x93NUMPY", "a NumPy array", "save its rows as JSON Lines"),
    (b"\x89HDF", "an HDF5 file", "save its rows as JSON Lines"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file", "save its rows as JSON Lines"),
    (b"%PDF", "a PDF", "it has no rows"),
    (b"\x80", "a Python pickle", "a pickle can run anything when it is read: save its rows as JSON Lines"),
    (b"ORC", "an ORC file", "save it as Parquet"),
    (b"Obj\x01", "an Avro file", "save it as Parquet"),
    (b"\xff\xfe", "text in UTF-16", "convert it to UTF-8: iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "text in UTF-16", "convert it to UTF-8: iconv -f UTF-16 -t UTF-8"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file", "fetch the file itself: git lfs pull"),
)


def form_of(path: Path) -> str:
    """ "lines", "array", "objects", "parquet" or "zip"; else what the file is and what to do, as "WHAT: WHAT TO DO".

    A file whose first line is a JSON object, or is meant to be one, is "lines".

    Raises:
        InputError: it is a folder.
        FileNotFoundError: there is no such file.
    """
    if path.is_dir():
        raise InputError(f"{path}: expected a file ({EXPECTED}), this is a folder: name the files in it")
    with path.open("rb") as file:
        head = file.read(_BLOCK_BYTES)
    if head.startswith(b"PAR1") or path.suffix == ".parquet":
        return "parquet"
    if head.startswith(b"PK") or path.suffix == ".zip":
        return "zip"
    for magic, what, advice in _MAGIC:
        if head.startswith(magic):
            return f"{what}: {advice}"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        return "lines"  # without rows
    if b"\0" in text[:4096]:
        return "binary data: it is none of the forms we know"
    if text[:1] == b"[":
        return "array"
    if text[:1] == b"{":
        return "objects" if _is_over_lines(text.decode("utf-8", "replace")) else "lines"
    if any(line.lstrip().startswith(b"{") for line in text.split(b"\n")[:_LINES_LOOKED_AT]):
        return "lines"  # the others are reported one by one
    return _other_text(text)


def _is_over_lines(text: str) -> bool:
    """Whether the object that `text` begins with goes on over the end of its line."""
    line = text.split("\n", 1)[0]
    if line.strip() == "{":
        return True
    try:
        json.loads(line)
        return False
    except (ValueError, RecursionError):
        pass
    try:
        return json.JSONDecoder().raw_decode(text)[1] > len(line)
    except (ValueError, RecursionError):
        return False


def _other_text(text: bytes) -> str:
    first = text.split(b"\n", 1)[0].strip().decode("utf-8", "replace")
    shown = first if len(first) <= _LONGEST_SHOWN else first[:_LONGEST_SHOWN] + "…"
    if first.lower().startswith(("<!doctype html", "<html")):
        return "a web page: perhaps a login or an error page came instead of the file; fetch it again"
    if first.startswith("<"):
        return f"XML ({shown}): save its rows as JSON Lines"
    if first.startswith(("---", "%YAML")) or (first.startswith("- ") and ":" in first):
        return f"YAML ({shown}): save its rows as JSON Lines"
    if "\t" in first:
        return f"a table with tabs ({shown!r}): save its rows as JSON Lines"
    if "," in first:
        return f"a table with commas ({shown}): save its rows as JSON Lines"
    return f"plain text ({shown}): save its rows as JSON Lines, with the fields that the source's docstring shows"


def refuse(path: Path, form: str) -> NoReturn:
    """Say that `path` is of a form that is not read.

    Raises:
        InputError: always.
    """
    what, _, advice = form.partition(": ")
    raise InputError(f"{path}: expected {EXPECTED}, this is {what}: {advice}")


def expect_lines(path: Path) -> None:
    """Nothing, for JSON Lines.

    Raises:
        InputError: the file is of another form; says of those that `build` reads that it does.
    """
    form = form_of(path)
    if form in _READ_BY_BUILD:
        raise InputError(
            f"{path}: expected JSON Lines, this is {_READ_BY_BUILD[form]}: make candidates of it first, with "
            f"python -m dataset build SOURCE --file {path.name} --out DIR"
        )
    if form != "lines":
        refuse(path, form)
