"""Files between the stages: read with file and line in every complaint, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from dataset import files
from dataset.files import Manifest, read_jsonl, read_manifest, read_raw_lines, sha256, write_line, written_whole
from sandbox.errors import InputError


def test_lines_are_numbered_as_an_editor_does_and_blank_ones_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"a": 2}')
    assert list(read_jsonl(path)) == [(1, {"a": 1}), (4, {"a": 2})]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"a": ', "not JSON"),
        (b'{"a": "\xff"}', "UTF-8"),
        ('{"a": "é"}'.encode("utf-16"), "UTF-8|JSON"),
        (b"[1, 2]", "list"),
        (b"3", "int"),
        (b"[" * 100_000, "nested"),
        (b'{"a": ' + b"9" * 5000 + b"}", "number is too long"),
    ],
    ids=["cut off", "wrong bytes", "utf-16", "an array", "a number", "nested", "endless integer"],
)
def test_a_bad_line_is_named_by_file_and_line(tmp_path: Path, line: bytes, says: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b"\n")
    with pytest.raises(InputError, match=rf"a\.jsonl:2: .*({says})"):
        list(read_jsonl(path))


def test_an_overlong_line_is_passed_over_without_being_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LONGEST_LINE_BYTES", 100)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b"x" * 12_345 + b"\n" + b"y" * 100 + b"\n" + b'{"a": 2}\n' + b"z" * 1000)
    found = list(read_raw_lines(path))
    assert [number for number, _ in found] == [1, 2, 3, 4, 5]
    assert [line is None for _, line in found] == [False, True, False, False, True]


@pytest.mark.parametrize("text", ["中文 √", "\ud800 lone", "\u2028 separator", 'quote " and \\', "\0"])
def test_any_text_survives_a_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.jsonl"
    with written_whole(path) as file:
        write_line(file, {"text": text})
    assert list(read_jsonl(path)) == [(1, {"text": text})]


def test_a_file_whose_writing_failed_does_not_appear(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), written_whole(path) as file:  # noqa: PT012
        file.write("new")
        raise RuntimeError("half way")
    assert path.read_text() == "old"


def test_a_manifest_reads_back_and_another_file_is_no_manifest(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    manifest = Manifest(stage="s", rows_in=3, rows_out=2, dropped={"x": 1}, config={"中": [1, None]})
    manifest.write(tmp_path)
    assert read_manifest(tmp_path) == manifest
    for text in ('{"stage": "s"}', "{", json.dumps({"stage": "s", "rows_in": 1, "rows_out": 1, "what": 1})):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(InputError, match="not a manifest"):
            read_manifest(tmp_path)


def test_sha256_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert sha256(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()
