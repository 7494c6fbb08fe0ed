"""A tiny model that is right now and then, and the problems it knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dataset.types import problem_to_json


@pytest.fixture(scope="session")
def unsure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FOLDER/model, right in about half of its solutions at temperature 1, and FOLDER/problems.jsonl; five seconds."""
    from tests.evaluator.tiny import PROBLEMS, make_tiny_model

    folder = tmp_path_factory.mktemp("unsure")
    make_tiny_model(folder / "model", loss_below=0.05)
    lines = [json.dumps(problem_to_json(problem), ensure_ascii=False) + "\n" for problem in PROBLEMS]
    (folder / "problems.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder
