"""Files between the stages: JSON Lines in, JSON Lines out, the manifest last.

A stage writes its outputs aside and renames them when they are whole; `manifest.json` is written after everything
else, so that its presence means the stage completed.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from sandbox.errors import InputError

MANIFEST = "manifest.json"
LONGEST_LINE_BYTES = 16 << 20  # the longest real rows (solutions with long outputs) are below 1 MiB


def read_raw_lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """The lines of a file that are not blank, with their numbers from 1, not decoded.

    A line longer than `LONGEST_LINE_BYTES` comes as None and is never held in memory.

    Raises:
        FileNotFoundError: there is no such file.
    """
    with path.open("rb") as file:
        yield from raw_lines(file)


def raw_lines(file: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """As `read_raw_lines`, of a file that is open."""
    number = 0
    while line := file.readline(LONGEST_LINE_BYTES + 1):
        number += 1
        if len(line) > LONGEST_LINE_BYTES and not line.endswith(b"\n"):
            while (rest := file.readline(LONGEST_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield number, None
        elif line.strip():
            yield number, line


def parse_line(line: bytes | None) -> dict[str, Any]:
    """The JSON object in a raw line.

    Raises:
        InputError: it is too long, not UTF-8, or not one JSON object; says what, without file and line.
    """
    if line is None:
        raise InputError(f"longer than {LONGEST_LINE_BYTES >> 20} MiB: no example is that long")
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start}: convert the file") from None
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON ({error.msg} at column {error.colno})") from None
    except (RecursionError, ValueError):  # nested too deep; an integer of more than 4,300 digits
        raise InputError("not JSON that can be read: nested too deep, or a number is too long") from None
    if not isinstance(value, dict):
        raise InputError(f"expected a JSON object, found {type(value).__name__}")
    return value


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects in a JSON Lines file with their line numbers, from 1; blank lines are skipped.

    Raises:
        InputError: a line is not UTF-8 or not one JSON object; file and line are named.
        FileNotFoundError: there is no such file.
    """
    for number, line in read_raw_lines(path):
        try:
            yield number, parse_line(line)
        except InputError as error:
            raise InputError(f"{path}:{number}: {error}") from None


def write_line(file: IO[str], value: Mapping[str, Any]) -> None:
    """Write one JSON object and its line end. Non-ASCII stays readable; lone surrogates are escaped."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value)
    file.write(text + "\n")


@contextmanager
def written_whole(path: Path) -> Iterator[IO[str]]:
    """A text file that appears at `path` only when the block ends without an exception, and is then on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".partial")
    with aside.open("w", encoding="utf-8") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a stage did: written last, read by the stages after it and by whoever asks where a file came from.

    `inputs` and `outputs` map file names to SHA-256; `dropped` counts rows by reason.
    """

    stage: str
    rows_in: int
    rows_out: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    summary: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into `folder`."""
        with written_whole(folder / MANIFEST) as file:
            json.dump(asdict(self), file, indent=2, ensure_ascii=False)
            file.write("\n")


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in `folder`, or None while the stage has not completed.

    Raises:
        InputError: the file is there but is not a manifest.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        return Manifest(**json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, TypeError) as error:
        raise InputError(f"{path}: not a manifest of ours ({error}); remove the folder to begin again") from None


def finished(folder: Path, config: Mapping[str, Any], inputs: Mapping[str, str]) -> Manifest | None:
    """The manifest of a run with this config over these inputs, or None while there is none.

    Raises:
        InputError: the folder holds a finished run over other inputs or settings.
    """
    done = read_manifest(folder)
    if done is not None and (dict(done.config) != json.loads(json.dumps(config)) or dict(done.inputs) != dict(inputs)):
        raise InputError(
            f"{folder}: holds a finished run over other inputs or settings; remove it or choose another --out"
        )
    return done


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of `packages` that are installed, for a manifest."""
    found = {"python": platform.python_version()}
    for package in ("soroban", *packages):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def hub_commit(model: str | None, revision: str | None) -> str | None:
    """The commit of a model of the Hub, once it is fetched and so in the cache; None for a folder, or no model.

    Not asked of an engine: without a connection vLLM opens the cache's folder as if it were the user's, and forgets.
    """
    if model is None or Path(model).exists():
        return None
    from huggingface_hub import constants, try_to_load_from_cache

    found = try_to_load_from_cache(model, "config.json", revision=revision, cache_dir=constants.HF_HUB_CACHE)
    return Path(found).parent.name if isinstance(found, str) else None
