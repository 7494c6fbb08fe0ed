"""Files in every form that upstreams publish are read; of any other form one line says what came."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import pickle
import re
import zipfile
from pathlib import Path

import pytest

from dataset.build import build
from dataset.sources import source_of
from dataset.sources.reading import read_rows
from sandbox.errors import InputError

FIXTURES = Path(__file__).parent / "fixtures"


def test_the_same_rows_are_read_from_lines_array_parquet_and_zip(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = [{"question": f"问题{number} " + "x" * (number % 50) * 30, "answer": str(number)} for number in range(3000)]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=2, ensure_ascii=False), encoding="utf-8")
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("folder/train.json", lines)
    (tmp_path / "a.objects").write_text("\n".join(json.dumps(row, indent=2) for row in rows), encoding="utf-8")
    (tmp_path / "a.around").write_text(json.dumps({"keywords": "k", "example": rows}, indent=1), encoding="utf-8")
    (tmp_path / "parquet.without_its_name").write_bytes((tmp_path / "a.parquet").read_bytes())
    expected = list(enumerate(rows, 1))
    names = ("a.jsonl", "a.json", "a.parquet", "a.zip", "a.objects", "a.around", "parquet.without_its_name")
    for name in names:
        assert list(read_rows(tmp_path / name, "folder/train.json")) == expected, name


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", b'[{"a": 1}, {"a": ', "element 2"),
        ("a.parquet", b"not parquet at all", "not a Parquet file"),
        ("a.zip", b"PK no", "not a zip archive"),
        ("a.json", b'[{"a": ' + b"[" * 100_000, "element 1 of the array cannot be read: nested too deep"),
        ("a.json", b'[{"a": ' + b"9" * 5_000 + b"}]", "a number is too long"),
        ("a.json", b'{\n"a": ' + b"9" * 5_000 + b"}", "object 1 cannot be read"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says):
        list(read_rows(tmp_path / name))


def problems_of_damage(path: Path, member: str | None, places: range) -> list[str]:
    """What is said of `path` with three bytes turned at each of `places`, one at a time; where rows come, nothing."""
    whole, said = path.read_bytes(), []
    for at in places:
        path.write_bytes(whole[:at] + bytes(byte ^ 0xFF for byte in whole[at : at + 3]) + whole[at + 3 :])
        try:
            list(read_rows(path, member))
        except InputError as error:
            said.append(str(error))
    return said


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_archive_that_is_broken_inside_is_named(tmp_path: Path, method: int) -> None:
    lines = "".join(json.dumps({"question": f"{number * 7919 % 1009}"}) + "\n" for number in range(3000))
    with zipfile.ZipFile(path := tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("train.json", lines)
    said = problems_of_damage(path, "train.json", range(40, 1000, 47))
    assert len(said) > 10
    assert all(
        re.fullmatch(r".*a\.zip: not a zip archive, or a broken one \(.*\); fetch it again", line) for line in said
    )


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_a_parquet_file_that_is_broken_inside_is_named(tmp_path: Path, compression: str) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = [{"question": f"问题{number * 7919 % 1009}"} for number in range(300)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path := tmp_path / "a.parquet", compression=compression)
    said = problems_of_damage(path, None, range(4, path.stat().st_size - 8, 31))
    assert len(said) > 10
    assert all(
        re.fullmatch(r".*a\.parquet: not a Parquet file, or a broken one \(.*\); fetch it again", line) for line in said
    )


OTHER_FORMS = [
    (gzip.compress(b'{"question": "q"}', mtime=0), "this is a gzip file: unpack it with gunzip"),
    (b"\x28\xb5\x2f\xfd rest", "a zstd file"), (bz2.compress(b"{}"), "a bzip2 file"),
    (lzma.compress(b"{}"), "an xz file"), (pickle.dumps([{"question": "q"}]), "a Python pickle"),
    (b"\x93NUMPY\x01", "a NumPy array"), (b"\x89HDF\r\n", "an HDF5"), (b"ARROW1\0\0", "an Arrow file"),
    (b"\xff\xff\xff\xff\x10\0", "an Arrow stream"), (b"SQLite format 3\0", "an SQLite"), (b"%PDF-1.7", "a PDF"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"), (b"Rar!\x1a", "a rar archive"), (b"ORC\x03", "an ORC"),
    (b"Obj\x01", "an Avro file"), (b"\xd0\xcf\x11\xe0", "an old Excel"),
    ('{"a": 1}'.encode("utf-16"), "text in UTF-16"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer, not the file: fetch the file"),
    (b"<!DOCTYPE html><html></html>", "a web page"), (b"<?xml version='1.0'?><rows/>", "XML"),
    (b"question,answer\nWhat?,3\n", r"a table with commas \(question,answer\)"),
    (b"question\tanswer\nWhat?\t3", "a table with tabs"), (b"---\n- question: What?", "YAML"),
    (b"- question: What?", "YAML"), (b"What is one and one?\n", "plain text"), (b'"a string"\n', "plain text"),
    (b"abc\0\0\0def", "binary data"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "says"), OTHER_FORMS)
def test_a_file_of_a_form_that_is_not_read_says_what_was_expected_and_what_came(
    tmp_path: Path, content: bytes, says: str
) -> None:
    (path := tmp_path / "train.jsonl").write_bytes(content)
    for read in (lambda: build("gsm8k", [path], tmp_path / "out", quiet=True), lambda: source_of(path)):
        with pytest.raises(InputError, match=says) as raised:
            read()
        assert "expected JSON Lines" in str(raised.value)
        assert str(raised.value).startswith(f"{path}: ")
        assert "\n" not in str(raised.value)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="this is a folder: name the files in it"):
        list(read_rows(tmp_path))


@pytest.mark.parametrize("name", ["gaokao.json", "svamp.json", "math23k.json"])
def test_verify_and_mix_send_forms_that_only_build_reads_to_build(name: str) -> None:
    with pytest.raises(InputError, match=r"expected JSON Lines, this is .*: make candidates of it first"):
        source_of(FIXTURES / name)
