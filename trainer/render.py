"""Tokens and masks of every example, made once, in shards that are mapped into memory.

Each example is tokenised by parts (`dataset.chat`), the same way the evaluator feeds a model, so that borders of
tokens are borders of parts. Shards are keyed by tokenizer, template and data; one that is whole is never made again,
so that an interrupted rendering goes on where it was. It refuses rows it cannot train on, named by file and line.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import TemplateError
from numpy.typing import NDArray

from dataset.chat import ChatFormat
from dataset.files import MANIFEST, read_jsonl, read_manifest, sha256, written_whole
from dataset.processes import born_deaf, stay_deaf
from dataset.progress import Progress
from sandbox.errors import InputError
from trainer.tokenizer import fingerprint, load_tokenizer

SHARD_ROWS = 4096
_POOL_ROWS = 4 * SHARD_ROWS  # below, starting processes takes longer than the work
_FORMAT = "1"  # changes when the files' layout or the way of rendering does
_PATIENCE_SECONDS = 60.0  # how long a network file system may take to show what another node has written

Line = tuple[str, int, dict[str, Any]]  # file, line number, object


@dataclass(frozen=True)
class TrainFiles:
    """The training files of a mixture, with their hashes."""

    paths: tuple[Path, ...]
    hashes: tuple[str, ...]
    rows: int

    def lines(self) -> Iterator[Line]:
        """Every row of every file, in order."""
        for path in self.paths:
            for number, value in read_jsonl(path):
                yield str(path), number, value


def find_train_files(data: Path) -> TrainFiles:
    """The files that `python -m dataset mix` left in `data`, checked against their manifest.

    Raises:
        InputError: no folder, no manifest, no training file, or one that is not what the manifest says.
    """
    if not data.is_dir():
        raise InputError(f"--data {data} is not a folder: make it with `python -m dataset mix`")
    manifest = read_manifest(data)
    if manifest is None:
        raise InputError(f"{data / MANIFEST} is missing, so the mixture is not complete: run `python -m dataset mix`")
    paths = tuple(sorted(data.glob("train-*.jsonl")))
    if not paths:
        raise InputError(f"{data} holds no train-*.jsonl: make it with `python -m dataset mix`")
    hashes = tuple(sha256(path) for path in paths)
    stated = {Path(name).name: value for name, value in manifest.outputs.items()}
    for path, found in zip(paths, hashes, strict=True):
        if stated.get(path.name, found) != found:
            raise InputError(f"{path} was changed after the mixture was made: run `python -m dataset mix` again")
    absent = [n for n in stated if n.startswith("train-") and n.endswith(".jsonl") and not (data / n).exists()]
    if absent:
        raise InputError(f"{data} lacks {', '.join(absent)}, which its manifest names: run `python -m dataset mix`")
    return TrainFiles(paths, hashes, manifest.rows_out)


@dataclass(frozen=True)
class Rendered:
    """All examples of a mixture, tokenised.

    `lengths`, `targets` and `groups` have one entry an example. A target is a token that is learned from those
    before it, so the first token of an example never is one. `names[groups[i]]` is (source, style, language).
    """

    lengths: NDArray[np.int64]
    targets: NDArray[np.int64]
    groups: NDArray[np.int64]
    names: tuple[tuple[str, str, str], ...]
    lines: NDArray[np.int64]  # line number in its file, from 1
    files: tuple[str, ...]
    _files: NDArray[np.int64]  # which of `files`
    _shards: tuple[tuple[NDArray[np.uint32], NDArray[np.bool_]], ...]
    _starts: NDArray[np.int64]  # where an example begins in its shard
    _owners: NDArray[np.int64]  # which shard

    def example(self, index: int) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
        """(tokens, learned) of one example."""
        tokens, learned = self._shards[self._owners[index]]
        stretch = slice(self._starts[index], self._starts[index] + self.lengths[index])
        return tokens[stretch], learned[stretch]

    def place(self, index: int) -> str:
        """Where one example was read: "file:line"."""
        return f"{self.files[self._files[index]]}:{self.lines[index]}"


def render(
    files: TrainFiles, tokenizer_folder: Path, cache: Path, *, quiet: bool = False, made: bool = False
) -> Rendered:
    """The examples in `files` as tokens, made where `cache` does not hold them yet.

    Args:
        made: another process has made them; wait until they are seen here, and make nothing.

    Raises:
        InputError: a row is malformed or has nothing to learn; the first such row is named by file and line. Or what
            was made elsewhere is not seen here.
    """
    tokenizer = load_tokenizer(str(tokenizer_folder))
    key = hashlib.sha256("\n".join((_FORMAT, fingerprint(tokenizer), *files.hashes)).encode()).hexdigest()[:16]
    folder = cache / key
    done = folder / "complete.json"
    until = time.monotonic() + _PATIENCE_SECONDS
    while made and not done.exists():
        if time.monotonic() > until:
            raise InputError(
                f"{done}, which the first process wrote, is not seen here: --out and --rendered must lie on a file "
                "system that all nodes share"
            )
        time.sleep(0.1)
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shards = _make(files, tokenizer_folder, folder, quiet)
        with written_whole(done) as file:
            json.dump({"shards": shards}, file)
    return _open(folder, json.loads(done.read_text(encoding="utf-8"))["shards"])


def _make(files: TrainFiles, tokenizer_folder: Path, folder: Path, quiet: bool) -> int:
    lines = files.lines()
    batches = enumerate(iter(lambda: list(islice(lines, SHARD_ROWS)), []))
    shards = 0
    bar = Progress("tokenise", total=files.rows or None, unit="rows", quiet=quiet)
    if files.rows <= _POOL_ROWS or (os.cpu_count() or 1) == 1:
        _start(str(tokenizer_folder))
        for number, batch in batches:
            bar.update(_make_shard(folder, number, batch))
            shards += 1
        return shards
    workers = os.cpu_count() or 1
    running: deque[Future[int]] = deque()
    # Spawned, not forked: this process may hold threads of torch and of the tokenizer.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_deaf, (str(tokenizer_folder),))
    try:
        for number, batch in batches:
            with born_deaf():  # it starts a process while there are too few
                running.append(pool.submit(_make_shard, folder, number, batch))
            shards += 1
            if len(running) > 2 * workers:
                bar.update(running.popleft().result())
        for future in running:
            bar.update(future.result())
    finally:
        pool.shutdown(cancel_futures=True)
    return shards


_format: ChatFormat  # one a process: making it renders the template several times


def _start(tokenizer_folder: str) -> None:
    global _format
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    _format = ChatFormat(load_tokenizer(tokenizer_folder))


def _start_deaf(tokenizer_folder: str) -> None:
    stay_deaf()
    _start(tokenizer_folder)


def _names(folder: Path, number: int) -> tuple[Path, Path, Path]:
    stem = f"{number:06d}"
    return folder / f"{stem}.tokens.npy", folder / f"{stem}.learned.npy", folder / f"{stem}.index.npz"


def _make_shard(folder: Path, number: int, lines: Sequence[Line]) -> int:
    """Write one shard, its index last; returns its rows."""
    tokens_path, learned_path, index_path = _names(folder, number)
    if index_path.exists():
        return len(lines)
    tokens: list[int] = []
    learned: list[bool] = []
    rows: list[tuple[int, int, int, int, int]] = []
    names: dict[tuple[str, str, str], int] = {}
    sources: dict[str, int] = {}
    for file, line, value in lines:
        try:
            name, pieces = _render(value)
        except (ValueError, TemplateError) as error:
            raise InputError(f"{file}:{line}: {error}") from None
        before = len(tokens)
        for ids, learn in pieces:
            tokens.extend(ids)
            learned.extend([learn] * len(ids))
        targets = sum(learned[before + 1 :])
        if not targets:
            raise InputError(f"{file}:{line}: nothing in this example is learned")
        group, source = names.setdefault(name, len(names)), sources.setdefault(file, len(sources))
        rows.append((len(tokens) - before, targets, group, source, line))
    _save(tokens_path, np.array(tokens, dtype=np.uint32))
    _save(learned_path, np.array(learned, dtype=np.bool_))
    aside = index_path.with_suffix(".partial.npz")
    columns = np.array(rows, dtype=np.int64)
    np.savez(aside, rows=columns, names=np.array(list(names), np.str_), files=np.array(list(sources), np.str_))
    os.replace(aside, index_path)
    return len(lines)


def _save(path: Path, array: NDArray[Any]) -> None:
    aside = path.with_suffix(".partial.npy")
    np.save(aside, array)
    os.replace(aside, path)


def _render(value: dict[str, Any]) -> tuple[tuple[str, str, str], list[tuple[list[int], bool]]]:
    """((source, style, language), pieces) of one row; ValueError says what is wrong with it."""
    for name in ("source", "style", "language"):
        if not isinstance(value.get(name), str):
            raise ValueError(f"{name!r} is {value.get(name)!r}, expected a string")
    messages = _messages(value)
    return (value["source"], value["style"], value["language"]), _format.example(messages)


def _messages(value: dict[str, Any]) -> list[dict[str, str]]:
    messages = value.get("messages")
    if not isinstance(messages, list) or not all(
        isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str) for m in messages
    ):
        raise ValueError(f"'messages' is {str(messages)[:80]}, expected a list of {{role, content}} with strings")
    if not messages or messages[-1]["role"] != "assistant" or not messages[-1]["content"].strip():
        raise ValueError("the last message must be the assistant's and say something: nothing else is learned")
    return messages


def messages_of(file: str, line: int, value: dict[str, Any]) -> list[dict[str, str]]:
    """The chat in one row.

    Raises:
        InputError: it has none that ends with an assistant's words; file and line are named.
    """
    try:
        return _messages(value)
    except ValueError as error:
        raise InputError(f"{file}:{line}: {error}") from None


def _mapped(path: Path) -> NDArray[Any]:
    """The array in a .npy file, mapped into memory without an open file.

    numpy's own map keeps a file descriptor for as long as the array lives: at the usual limit of 1,024 a mixture could
    have two million examples, and OpenMathInstruct-2 has 14 million. torch closes the file once it is mapped.
    """
    import torch  # here: the processes that only tokenise do without

    header = np.load(path, mmap_mode="r")
    begin, dtype = int(header.offset), header.dtype
    size = begin + int(header.nbytes)
    del header
    array: NDArray[Any] = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8).numpy()
    array.flags.writeable = False
    return array[begin:].view(dtype)


def _open(folder: Path, shards: int) -> Rendered:
    arrays, rows, owners, starts = [], [], [], []
    names: dict[tuple[str, str, str], int] = {}
    sources: dict[str, int] = {}
    for number in range(shards):
        tokens_path, learned_path, index_path = _names(folder, number)
        arrays.append((_mapped(tokens_path), _mapped(learned_path)))
        with np.load(index_path) as index:
            table = index["rows"].copy()
            groups = [names.setdefault((s, y, z), len(names)) for s, y, z in index["names"].tolist()]
            places = [sources.setdefault(name, len(sources)) for name in index["files"].tolist()]
        table[:, 2] = np.array(groups, dtype=np.int64)[table[:, 2]]
        table[:, 3] = np.array(places, dtype=np.int64)[table[:, 3]]
        rows.append(table)
        owners.append(np.full(len(table), number, dtype=np.int64))
        starts.append(np.cumsum(table[:, 0]) - table[:, 0])
    if not rows:
        raise InputError("the training files hold no example: look at the manifest of the mixture for what was dropped")
    every = np.concatenate(rows)
    return Rendered(
        lengths=every[:, 0],
        targets=every[:, 1],
        groups=every[:, 2],
        names=tuple(names),
        lines=every[:, 4],
        files=tuple(sources),
        _files=every[:, 3],
        _shards=tuple(arrays),
        _starts=np.concatenate(starts),
        _owners=np.concatenate(owners),
    )
