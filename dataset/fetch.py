"""`python -m dataset fetch NAME…`: benchmarks and sources from where they are published, into one folder.

    FOLDER/gsm8k_test.jsonl              a benchmark, as JSON Lines with its own fields
    FOLDER/sources/gsm8k/…               a source's files as they are published
    FOLDER/sources/gsm8k/fetched.json    written last: addresses, sizes, SHA-256 and licence

The folder is --dir, else $SOROBAN_DATA, else $XDG_CACHE_HOME/soroban, else ~/.cache/soroban. `evaluator run` and
`dataset build` look there, and need no connection for what is in it. A benchmark is kept only if its problems have the
pinned hash; of a source's file no hash is known beforehand: the one that came is recorded and said.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dataset.download import download
from dataset.files import read_raw_lines, sha256, write_line, written_whole
from dataset.places import EXAMS, Exam, Place, file_of, fingerprint, is_commit, url_of
from dataset.sources import SOURCES, Source
from dataset.sources.reading import read_rows
from sandbox.errors import InputError

_RECORD = "fetched.json"
_NO_PLACE = {"aime": "no set is pinned, there is one for every year: give yours with evaluator run --file"}


def data_folder(given: Path | None = None) -> Path:
    """The folder of benchmarks and sources: `given`, else $SOROBAN_DATA, else a folder in the user's cache."""
    if given is not None:
        return given
    if named := os.environ.get("SOROBAN_DATA"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "soroban"


def addresses(source: Source) -> tuple[str, ...]:
    """Where the files of a source's training split are; none where no place is known."""
    if source.hub:
        return tuple(f"hf://{source.hub.repository}@{source.hub.revision}/{file}" for file in source.hub.files)
    return source.files


def source_files(name: str, folder: Path) -> list[Path] | None:
    """The fetched files of a source, None while they are not all there."""
    record = folder / "sources" / name / _RECORD
    if not record.is_file():
        return None
    paths = [record.parent / file for file in json.loads(record.read_text(encoding="utf-8"))["files"]]
    return paths if all(path.is_file() for path in paths) else None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While the block lasts no other process fetches into `folder`: two would write into one half of a file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{folder}: cannot be a folder, for it or one above it is a file") from None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def fetch_source(name: str, folder: Path, *, quiet: bool = False) -> list[Path]:
    """The files of a source, downloaded if they are not in `folder` yet or are no longer what was downloaded.

    Raises:
        InputError: no place is known, no connection.
    """
    if not addresses(SOURCES[name]):
        url = SOURCES[name].url
        where = f"; it is at {url}" if url else ""
        raise InputError(f"{name}: no place to fetch it from is known{where}. Give its files with build --file")
    with _alone(folder / "sources" / name):
        return _fetch_source(name, folder, quiet)


def _fetch_source(name: str, folder: Path, quiet: bool) -> list[Path]:
    source = SOURCES[name]
    places = addresses(source)
    home = folder / "sources" / name
    before = json.loads((home / _RECORD).read_text(encoding="utf-8"))["files"] if (home / _RECORD).is_file() else {}
    record: dict[str, Any] = {"source": name, "licence": source.licence, "files": {}}
    for address in places:
        target = home / file_of(address)
        was = before.get(file_of(address))
        if not target.is_file() or (was and (was["from"], was["sha256"]) != (address, sha256(target))):
            download(url_of(address), target, quiet=quiet)  # not there, another version's, or changed since
        record["files"][file_of(address)] = {
            "from": address, "bytes": target.stat().st_size, "sha256": sha256(target)
        }  # fmt: skip
    if record["files"] != before:  # a folder that one may only read is good enough if everything is there
        with written_whole(home / _RECORD) as file:
            json.dump(record, file, indent=2)
    return [home / file_of(address) for address in places]


def fetch_exam(name: str, folder: Path, *, quiet: bool = False) -> Path:
    """The file of a benchmark, downloaded if it is not in `folder` yet, with the pinned problems.

    Raises:
        InputError: no place has the pinned problems, or none can be reached: says what was wrong at each.
    """
    with _alone(folder):
        return _fetch_exam(name, folder, quiet)


def _fetch_exam(name: str, folder: Path, quiet: bool) -> Path:
    exam = EXAMS[name]
    path = folder / exam.file
    with suppress(InputError):  # a file that cannot be read is fetched again, as one with other problems is
        if path.is_file() and _difference(exam, [row for _, row in read_rows(path)]) is None:
            return path
    problems = []
    for place in exam.places:
        parts = folder / "downloads" / name
        try:
            rows = list(_rows(place, parts, quiet))
            wrong = _difference(exam, rows)
        except InputError as error:
            problems.append(str(error))
            continue
        shutil.rmtree(parts)  # right ones live on in `path`, wrong ones are to be fetched again
        if wrong is None:
            with written_whole(path) as file:
                for row in rows:
                    write_line(file, row)
            return path
        problems.append(f"{place.files[0]} has {wrong}")
    raise InputError(f"{name}: {'; then '.join(dict.fromkeys(problems))}")


def _difference(exam: Exam, rows: Sequence[Any]) -> str | None:
    """What tells `rows` from the pinned problems, None if nothing does."""
    if len(rows) != exam.rows:
        return f"{len(rows):,} problems, {exam.rows:,} are pinned"
    if not all(isinstance(row, dict) and row.keys() >= set(exam.pinned) for row in rows):
        return f"rows without {' and '.join(exam.pinned)}"
    found = fingerprint(rows, exam.pinned)
    return None if found == exam.sha256 else f"other problems (SHA-256 {found[:12]}…, pinned {exam.sha256[:12]}…)"


def _rows(place: Place, folder: Path, quiet: bool) -> Iterator[Any]:
    for address in place.files:
        path = folder / file_of(address)
        if not path.is_file():
            download(url_of(address), path, quiet=quiet)
        if place.form == "tsv":
            for _, line in read_raw_lines(path):
                question, _, answer = (line or b"").decode("utf-8-sig", "replace").rstrip("\r\n").partition("\t")
                yield {"question": question, "answer": answer}
            continue
        for _, row in read_rows(path):
            if place.form == "chat" and isinstance(row, dict) and row.get("messages"):
                row = {"question": row["messages"][0]["content"], "answer": row["answer"]}
            yield row


def fetch_named(names: Sequence[str] | None, folder: Path, *, quiet: bool = False) -> Iterator[str]:
    """Fetch benchmarks and sources of these names, None for all; a line for each as it is there.

    A name of both, such as gsm8k, gets both. What fails does not keep the others from being fetched.

    Raises:
        InputError: an unknown name, before anything is fetched; at the end, what could not be fetched.
    """
    known = list(dict.fromkeys((*EXAMS, *_NO_PLACE, *SOURCES)))
    if unknown := [name for name in names or () if name not in known]:
        raise InputError(f"unknown: {', '.join(unknown)}; `fetch` alone lists what there is: {', '.join(known)}")
    failed: dict[str, str] = {}
    for name in dict.fromkeys(names or known):
        if name in EXAMS:
            try:
                path = fetch_exam(name, folder, quiet=quiet)
                exam = EXAMS[name]
                yield f"{name}, benchmark: {exam.rows:,} problems, as pinned by SHA-256; {exam.licence}; {path}"
            except InputError as error:
                failed[name] = failed.get(name) or str(error)
        if name in _NO_PLACE:
            yield f"{name}, benchmark: {_NO_PLACE[name]}"
        if name in SOURCES and (addresses(SOURCES[name]) or name not in EXAMS):
            try:
                if names is None and not addresses(SOURCES[name]):
                    yield f"{name}, source: no place to fetch it from is known: build --file"
                    continue
                paths = fetch_source(name, folder, quiet=quiet)
                yield _source_line(name, paths)
            except InputError as error:
                failed[name] = failed.get(name) or str(error)
    if failed:
        first = next(iter(failed.values()))
        raise InputError(first if len(failed) == 1 else f"{len(failed)} not fetched ({', '.join(failed)}); {first}")


def _source_line(name: str, paths: Sequence[Path]) -> str:
    source, places = SOURCES[name], addresses(SOURCES[name])
    pin = "at a commit" if all(is_commit(address) for address in places) else "at a branch, not pinned"
    size = sum(path.stat().st_size for path in paths) / 1e6
    home = paths[0]
    for _ in range(file_of(places[0]).count("/") + 1):
        home = home.parent
    files = "1 file" if len(paths) == 1 else f"{len(paths)} files"
    return f"{name}, source: {files}, {size:.1f} MB, {pin}, SHA-256 in {_RECORD}; licence: {source.licence}; {home}"


def listing(folder: Path) -> list[str]:
    """What can be fetched, a line each: kind, licence, where it is published, whether it is in `folder`."""
    rows = [("name", "kind", "here", "licence", "from")]
    for name, exam in EXAMS.items():
        here = "yes" if (folder / exam.file).is_file() else "no"
        rows.append((name, "benchmark", here, exam.licence, exam.places[0].files[0]))
    rows += [(name, "benchmark", "no", "the file's own", why) for name, why in _NO_PLACE.items()]
    for name, source in SOURCES.items():
        places = addresses(source)
        here = "yes" if source_files(name, folder) else "no"
        rows.append((name, "source", here, source.licence, places[0] if places else "no known place: build --file"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4])) for row in rows
    ]
    return [f"in {folder}", *lines]
