"""README's real-life block, run as it is printed: scaled down by the variables that it shows, on a server of files."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import torch
from pyarrow import parquet
from transformers import LlamaConfig, LlamaForCausalLM

from dataset.fetch import addresses
from dataset.places import EXAMS, url_of
from dataset.sources import SOURCES
from evaluator.arguments import check_run, parser
from tests.dataset.hub import Files, serving
from tests.evaluator.tiny import make_tokenizer

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
SCALED = {
    "GPUS": "1",
    "TRAIN": "--row-tokens 512 --batch-rows 8 --threads 1",
    "EXAM": "--limit 1 --backend transformers --new-tokens 8",
}


def blocks() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("## For real, on a GPU machine", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def test_the_block_shows_the_variables_that_scale_it_down() -> None:
    assert [name for name in (*SCALED, "MODEL") if not re.search(rf"\$\{{{name}:-", blocks()[0])] == []


def test_the_command_for_running_servers_is_one_that_the_evaluator_takes() -> None:
    words = shlex.split(blocks()[1].replace("\\\n", " "))
    assert words[:3] == ["python", "-m", "evaluator"]
    check_run(parser().parse_args(words[3:]))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Files]:
    """What the block fetches: the benchmarks whole, as they are pinned; of the sources a few rows."""
    if not SHARED.exists():
        pytest.skip(f"the public data are not there: {SHARED}")
    with serving() as files, pytest.MonkeyPatch.context() as patch:
        for name, value in files.environment.items():
            patch.setenv(name, value)

        def put(address: str, content: bytes) -> None:
            files.files[url_of(address).removeprefix(files.address)] = content

        def table(rows: list[dict[str, Any]]) -> bytes:
            parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
            return (tmp_path / "rows.parquet").read_bytes()

        for name in ("gsm8k", "math", "cmath"):
            put(EXAMS[name].places[0].files[0], (SHARED / "benchmarks" / EXAMS[name].file).read_bytes())
        lines = (SHARED / "benchmarks" / EXAMS["mgsm_zh"].file).read_text(encoding="utf-8").strip().split("\n")
        pairs = [(row["question"], row["answer"]) for row in map(json.loads, lines)]
        put(EXAMS["mgsm_zh"].places[1].files[0], "".join(f"{q}\t{a}\n" for q, a in pairs).encode())
        lines = (SHARED / "train" / "gsm8k_train.jsonl").read_text(encoding="utf-8").split("\n")
        put(addresses(SOURCES["gsm8k"])[0], table([json.loads(line) for line in lines[:12]]))
        for number, address in enumerate(addresses(SOURCES["math"]), 2):
            solution = f"The {number} numbers are equal, so that the sum is $\\boxed{{{number * 10**number}}}$."
            put(address, table([
                {"problem": f"Add the number ${10**number}$ to itself until it is there {number} times. What is it?",
                 "level": "Level 1", "type": "Algebra", "solution": solution}
            ]))  # fmt: skip
        fixture = ROOT / "tests" / "dataset" / "fixtures" / "mathinstruct.json"
        put(addresses(SOURCES["mathinstruct"])[0], fixture.read_bytes())
        yield files


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that has learned nothing, in the layout of the Hub."""
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(tmp_path / "base")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=1024, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.mark.real_data
def test_the_block_runs_as_printed(hub: Files, model: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("sandbox", "dataset", "trainer", "evaluator"):
        (clone / name).symlink_to(ROOT / name)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", blocks()[0]], cwd=clone, capture_output=True, text=True, timeout=500,
        env=os.environ | hub.environment | SCALED | {
            "MODEL": str(model), "XDG_CACHE_HOME": str(tmp_path / "cache"), "SOROBAN_DATA": "", "OMP_NUM_THREADS": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    mixed = json.loads((clone / "runs/mix/manifest.json").read_text())
    parts = {part["part"]: part["used"] for part in mixed["summary"]["parts"]}
    assert parts["GSM8K and MATH, tool-integrated"] > 0
    assert parts["GSM8K and MATH, in words"] >= 7
    for folder in ("sft", "results", "results-base"):
        assert (clone / "runs" / folder / "manifest.json").is_file()
    for name in ("gsm8k", "math", "mgsm_zh", "cmath"):
        assert len((clone / f"runs/results/{name}-tools/results.jsonl").read_text().strip().split("\n")) == 1
    assert "runs/sft" in done.stdout
    assert "<html" in (clone / "runs/compare.html").read_text(encoding="utf-8")
