"""A small mixture, a tokenizer learned from it, and processes that start without importing torch again."""

from __future__ import annotations

import json
import multiprocessing
import random
import socket
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from dataset.files import Manifest, sha256
from dataset.transcript import prompt, render
from dataset.types import Language, Style, Turn
from trainer.render import Rendered, find_train_files
from trainer.render import render as render_once
from trainer.tokenizer import train_tokenizer
from trainer.world import World, join

torch.set_num_threads(1)  # sums in one order, and no threads that a fork would lose

Row = dict[str, Any]


def solution(style: Style, language: Language, a: int, b: int) -> tuple[Turn, ...]:
    answer = f"The answer is $\\boxed{{{a + b}}}$." if language == "en" else f"答案是 $\\boxed{{{a + b}}}$。"
    if style == "cot":
        return (Turn("text", f"{a} + {b} = {a + b}. {answer}"),)
    if style == "pot":
        return (Turn("code", f"print({a} + {b})"),)
    words = "Let me compute it." if language == "en" else "用程序计算。"
    return (Turn("text", words), Turn("code", f"print({a} + {b})"), Turn("output", str(a + b)), Turn("text", answer))


def make_rows(count: int, seed: int = 0) -> list[Row]:
    """`count` short sums: all styles, both languages, questions of different lengths."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        style: Style = ("cot", "pot", "tir")[number % 3]  # type: ignore[assignment]
        language: Language = ("en", "zh")[number // 3 % 2]  # type: ignore[assignment]
        a, b = draw.randint(10, 999), draw.randint(10, 999)
        padding = "It was a long day. " * draw.randint(0, 4)
        question = f"{padding}Ann has {a} pens and buys {b}. How many?" if language == "en" else f"{a}加{b}是多少？"
        messages = [
            {"role": "user", "content": prompt(question, style, language)},
            {"role": "assistant", "content": render(solution(style, language, a, b))},
        ]
        name = f"sums/{number:05d}/{style}"
        rows.append({"id": name, "source": "sums", "language": language, "style": style, "messages": messages})
    return rows


def write_mixture(folder: Path, rows: Sequence[Row], *, files: int = 1) -> Path:
    """`rows` as `python -m dataset mix` leaves them."""
    folder.mkdir(parents=True, exist_ok=True)
    outputs = {}
    for number in range(files):
        path = folder / f"train-{number:05d}.jsonl"
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows[number::files]]
        path.write_text("".join(lines), encoding="utf-8")
        outputs[path.name] = sha256(path)
    Manifest(stage="mix", rows_in=len(rows), rows_out=len(rows), outputs=outputs).write(folder)
    return folder


@pytest.fixture(scope="session")
def sums() -> Callable[[int], list[Row]]:
    return make_rows


@pytest.fixture(scope="session")
def write() -> Callable[..., Path]:
    return write_mixture


@pytest.fixture(scope="session")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 examples in two files."""
    return write_mixture(tmp_path_factory.mktemp("mixture"), make_rows(120), files=2)


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    texts = (m["content"] for row in make_rows(120) for m in row["messages"])
    train_tokenizer(texts, 400).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for --init: a Llama of two layers with grouped heads."""
    path = tmp_path_factory.mktemp("init") / "tiny.json"
    model = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
    }
    path.write_text(json.dumps({"architecture": "llama", "tokenizer": {"vocabulary": 400}, "model": model}))
    return path


@pytest.fixture(scope="session")
def small_run(mixture: Path, tiny_init: Path) -> list[str]:
    """The flags of a run of a second: 8 steps of 6 rows of 256 tokens."""
    return (
        f"--init {tiny_init} --data {mixture} --steps 8 --batch-rows 6 --row-tokens 256 --micro-rows 2 --repeat "
        "--learning-rate 3e-3 --warmup-steps 2 --schedule cosine --checkpoint-every 2 --threads 1"
    ).split()


# Children of a process that has imported torch but not used it: they start in tenths of a second and have none of
# its threads.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["trainer.train"])

_CHILD = """
import os, resource, sys
os.environ.update(environment)
if file_bytes is not None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
exec(first)
sys.argv = ["trainer", *argv]
log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(log, 1); os.dup2(log, 2)
from sandbox.command import run_command
from trainer.__main__ import main
code = run_command(main)
sys.stdout.flush(); sys.stderr.flush()
os._exit(code)
"""


@pytest.fixture
def start_trainer(tmp_path: Path) -> Callable[..., list[BaseProcess]]:
    """Start `python -m trainer FLAGS` in `processes` processes, as torchrun would; output goes to tmp_path/output.

    No file can grow beyond `file_bytes`. `first` is Python that each process runs before the trainer.
    """

    def start(
        flags: Sequence[str], *, processes: int = 1, file_bytes: int | None = None, first: str = ""
    ) -> list[BaseProcess]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        started = []
        for rank in range(processes):
            environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
            environment |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
            names = {"environment": environment if processes > 1 else {}, "argv": list(flags), "file_bytes": file_bytes}
            names |= {"output": str(tmp_path / "output"), "first": first}
            process = _CONTEXT.Process(target=exec, args=(_CHILD, names))
            process.start()
            started.append(process)
        return started

    return start


@pytest.fixture
def run_trainer(start_trainer: Callable[..., list[BaseProcess]], tmp_path: Path) -> Callable[..., str]:
    """Run it to its end and return what it printed; fails unless it exits with `code`."""

    def run(
        flags: Sequence[str], *, processes: int = 1, code: int = 0, file_bytes: int | None = None, first: str = ""
    ) -> str:
        output = tmp_path / "output"
        output.unlink(missing_ok=True)
        started = start_trainer(flags, processes=processes, file_bytes=file_bytes, first=first)
        for process in started:
            process.join()  # one that hangs is ended, and named, by pytest's own limit
        printed = output.read_text(encoding="utf-8") if output.exists() else ""
        assert [process.exitcode for process in started] == [code] * processes, printed
        return printed

    return run


@pytest.fixture
def world() -> Iterator[World]:
    with join() as world:
        yield world


@pytest.fixture(scope="module")
def data(mixture: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    return render_once(find_train_files(mixture), tokenizer_folder, tmp_path_factory.mktemp("cache"), quiet=True)
