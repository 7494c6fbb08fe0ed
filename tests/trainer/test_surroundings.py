"""A run and what is around it: nodes, signals, memory, disks, other programs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., str]

ELSEWHERE = """
import os
from trainer import nodes
nodes.PATIENCE_SECONDS = 0.3
if os.environ["RANK"] == "1":
    os.chdir("{other}")
else:
    os.chdir("{here}")
"""


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders that stand for the disks of two nodes."""
    for name in ("here", "other"):
        (tmp_path / name).mkdir()
    return tmp_path / "here", tmp_path / "other"


def test_a_folder_that_the_nodes_do_not_share_is_said_at_the_start(
    places: tuple[Path, Path], small_run: list[str], run_trainer: Run
) -> None:
    first = ELSEWHERE.format(here=places[0], other=places[1])
    printed = run_trainer([*small_run, "--out", "out"], processes=2, code=2, first=first)
    lines = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert len(lines) == 2, "each process says it"
    assert "--out out is not the same folder on" in lines[0]
    assert "(process 1) as on" in lines[0]
    assert "a file system that all nodes share" in lines[0]
    assert "Traceback" not in printed
    assert not list(places[0].rglob(".seen*"))


def test_other_training_files_on_another_node_are_said_at_the_start(
    places: tuple[Path, Path], mixture: Path, small_run: list[str], run_trainer: Run, tmp_path: Path
) -> None:
    for place in places:
        shutil.copytree(mixture, place / "mix")
    with (places[1] / "mix" / "train-00000.jsonl").open("a") as file:
        file.write("\n")
    (places[1] / "mix" / "manifest.json").write_text('{"stage": "mix", "rows_in": 120, "rows_out": 120}')
    at = small_run.index("--data")
    flags = [*small_run[:at], "--data", "mix", *small_run[at + 2 :], "--out", str(tmp_path / "out")]
    first = ELSEWHERE.format(here=places[0], other=places[1])
    printed = run_trainer(flags, processes=2, code=2, first=first)
    assert printed.count("--data holds other training files on") == 2
    assert "Traceback" not in printed
