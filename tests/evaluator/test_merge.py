"""Shards and parts of a run put together, and the grader's part in what belongs together."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import dataset
from dataset.types import Problem
from evaluator.config import CONFIG as CONFIG_FILE
from evaluator.config import read_config
from evaluator.grade import grader_version
from evaluator.merge import merge
from evaluator.regrade import regrade
from evaluator.results import RESULTS, read_results
from evaluator.scores import read_run
from sandbox import InputError
from tests.evaluator.scripted import Scripted
from tests.evaluator.test_results import CONFIG, PROBLEMS, right, take

SHARD = replace(CONFIG, about={"samples_expected": 3, "samples_of_all_shards": 6})


def part(folder: Path, problems: Sequence[Problem], **changes: Any) -> Path:
    take(folder / "demo-none", Scripted(right), config=replace(SHARD, **changes), problems=problems)
    return folder / "demo-none"


def test_the_shards_of_a_run_are_the_run(tmp_path: Path) -> None:
    parts = [part(tmp_path / str(n), PROBLEMS[n::2]) for n in range(2)]
    found = merge(parts, tmp_path / "all")
    assert [(one.samples, one.wanted, one.repeated) for one in found] == [(6, 6, 0)]
    run = read_run(tmp_path / "all" / "demo-none")
    assert (run.score.samples, run.score.accuracy, run.score.unscored) == (6, 1, None)
    before = (tmp_path / "all" / "demo-none" / RESULTS).read_bytes()
    assert [one.repeated for one in merge(parts, tmp_path / "all")] == [6]
    assert (tmp_path / "all" / "demo-none" / RESULTS).read_bytes() == before


def test_a_missing_shard_is_no_score(tmp_path: Path) -> None:
    found = merge([part(tmp_path / "0", PROBLEMS[::2])], tmp_path / "all")
    assert "3 are missing" in str(found[0])
    assert read_run(tmp_path / "all" / "demo-none").score.unscored == "3 of 6 samples are missing; run again to go on"


def test_what_failed_in_one_part_is_taken_from_another(tmp_path: Path) -> None:
    first, second = part(tmp_path / "0", PROBLEMS), part(tmp_path / "1", PROBLEMS)
    rows = [json.loads(line) for line in (first / RESULTS).read_text().splitlines()]
    rows[2] |= {"grade": None, "infra_error": "SandboxUnavailable: gone"}
    (first / RESULTS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    merge([first, second], tmp_path / "all")
    assert read_run(tmp_path / "all" / "demo-none").score.accuracy == 1


@pytest.mark.parametrize("change", [{"model_sha256": "2" * 64}, {"seed": 1}, {"grader": "f" * 12}, {"style": "pot"}])
def test_different_configurations_are_never_merged(tmp_path: Path, change: dict[str, Any]) -> None:
    parts = [part(tmp_path / "0", PROBLEMS), part(tmp_path / "1", PROBLEMS, **change)]
    with pytest.raises(InputError, match="another"):
        merge(parts, tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_the_whole_may_not_stand_over_its_parts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose another --out"):
        merge([part(tmp_path, PROBLEMS)], tmp_path)


def test_results_of_another_grader_are_gone_on_with_only_after_regrading(tmp_path: Path) -> None:
    take(tmp_path, Scripted(right), problems=PROBLEMS[:4])
    now = replace(CONFIG, grader=grader_version())
    with pytest.raises(InputError, match=r"another grader \(000000000000, now .*\): python -m evaluator regrade"):
        take(tmp_path, Scripted(right), config=now)
    regrade(tmp_path)
    assert read_config(tmp_path).grader == grader_version()
    again = Scripted(right)
    assert take(tmp_path, again, config=now) == 0
    assert sorted(again.fed) == ["p/4#0", "p/5#0"]
    assert {result.key for result in read_results(tmp_path)[1]} == {replace(now, engine=Scripted.engine).key}


def test_regrading_that_was_killed_between_its_files_is_done_by_the_next(tmp_path: Path) -> None:
    take(tmp_path, Scripted(right))
    old = (tmp_path / CONFIG_FILE).read_bytes()
    regrade(tmp_path)
    (tmp_path / CONFIG_FILE).write_bytes(old)
    with pytest.raises(InputError, match="do not mix"):
        read_results(tmp_path)
    assert regrade(tmp_path).samples == len(PROBLEMS)
    assert len(read_results(tmp_path)[1]) == len(PROBLEMS)


def test_the_graders_version_covers_all_that_finds_and_compares_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever `evaluator.grade` imports of `dataset`, directly or not, but for the plain data types."""
    root = Path(dataset.__file__).parent.parent
    reached: set[Path] = set()
    left = [root / "evaluator" / "grade.py"]
    while left:
        for node in ast.walk(ast.parse(left.pop().read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [f"{node.module}.{alias.name}" for alias in node.names] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                path = root.joinpath(*name.split(".")).with_suffix(".py")
                if name.startswith("dataset.") and path.is_file() and path not in reached:
                    reached.add(path)
                    left.append(path)
    read: set[Path] = set()
    as_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.add(path) or as_bytes(path))
    grader_version.__wrapped__()
    assert len(reached) > 20
    assert {path.name for path in reached - read} <= {"types.py", "processes.py", "files.py"}
