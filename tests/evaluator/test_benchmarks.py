"""Every benchmark in the table: the pinned sets are accepted, and nothing else under their names."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dataset.equality import equivalent
from evaluator.benchmarks import BENCHMARKS
from evaluator.benchmarks.types import Benchmark, load
from sandbox import InputError

DATA = Path(__file__).parents[2].parent / "shared" / "data"
REAL = {"svamp": "svamp.json", "gsm_hard": "gsm_hard.jsonl", "math500": "math500.jsonl"}  # in data/real
PINNED = [benchmark for benchmark in BENCHMARKS.values() if benchmark.sha256 and benchmark.name not in REAL]


@pytest.fixture
def real() -> Callable[[Benchmark], Path]:
    def find(benchmark: Benchmark) -> Path:
        path = DATA / "benchmarks" / benchmark.file
        if not path.exists():
            pytest.skip(f"{path} is not there: the public benchmark files are not part of the project")
        return path

    return find


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def written(path: Path, rows: list[dict[str, Any]], **options: Any) -> Path:
    path.write_text("".join(json.dumps(row, **options) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_line_of_the_table_stands_under_its_own_name(name: str) -> None:
    benchmark = BENCHMARKS[name]
    assert benchmark.name == name
    assert benchmark.rows is not None or benchmark.sha256 is None


@pytest.mark.real_data
@pytest.mark.parametrize("benchmark", PINNED, ids=lambda one: one.name)
def test_the_pinned_set_is_accepted_and_its_own_references_are_right(
    benchmark: Benchmark, real: Callable[[Benchmark], Path]
) -> None:
    problems = load(benchmark, real(benchmark))
    assert len(problems) == benchmark.rows
    assert {problem.language for problem in problems} == {benchmark.language}
    for problem in random.Random(0).sample(problems, 100):
        assert problem.answer
        assert equivalent(problem.answer, problem.answer, problem.question).correct


@pytest.mark.real_data
@pytest.mark.parametrize("benchmark", PINNED, ids=lambda one: one.name)
def test_the_same_set_in_another_order_and_spelling_is_the_same(
    benchmark: Benchmark, real: Callable[[Benchmark], Path], tmp_path: Path
) -> None:
    rows = [dict(reversed(row.items())) | {"more": 1} for row in lines(real(benchmark))]
    random.Random(0).shuffle(rows)
    assert len(load(benchmark, written(tmp_path / "x.jsonl", rows, ensure_ascii=True))) == benchmark.rows


@pytest.mark.real_data
@pytest.mark.parametrize("benchmark", PINNED, ids=lambda one: one.name)
def test_a_set_with_one_problem_changed_or_missing_is_refused(
    benchmark: Benchmark, real: Callable[[Benchmark], Path], tmp_path: Path
) -> None:
    rows = lines(real(benchmark))
    with pytest.raises(InputError, match=f"has {len(rows) - 1} problems; {benchmark.name} is pinned at {len(rows)}"):
        load(benchmark, written(tmp_path / "short.jsonl", rows[:-1]))
    rows[7][benchmark.pinned[0]] += " "
    with pytest.raises(InputError, match="differs from the pinned set"):
        load(benchmark, written(tmp_path / "changed.jsonl", rows))


@pytest.mark.real_data
def test_cmaths_dev_split_is_refused_by_name() -> None:
    path = DATA / "train" / "cmath_dev.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with pytest.raises(InputError, match="600-row dev split, not the test split"):
        load(BENCHMARKS["cmath"], path)


@pytest.mark.real_data
def test_levels_and_grades_are_those_of_the_papers(real: Callable[[Benchmark], Path]) -> None:
    math = load(BENCHMARKS["math"], real(BENCHMARKS["math"]))
    assert Counter(one.level for one in math) == {"1": 437, "2": 894, "3": 1131, "4": 1214, "5": 1324}
    assert len({one.subject for one in math}) == 7
    cmath = Counter(one.level for one in load(BENCHMARKS["cmath"], real(BENCHMARKS["cmath"])))
    assert [cmath[f"grade {n}"] for n in range(1, 7)] == [164, 253, 237, 120, 126, 198]


@pytest.mark.parametrize("repeated", [0, 1])
def test_two_problems_of_one_id_are_refused(tmp_path: Path, repeated: int) -> None:
    row = {"id": "a", "source": "s", "language": "en", "question": "q", "answer": "1"}
    path = written(tmp_path / "x.jsonl", [row, row | {"id": "a" if repeated else "b"}])
    if repeated:
        with pytest.raises(InputError, match="1 problems have the id of another"):
            load(BENCHMARKS["demo"], path)
    else:
        assert len(load(replace(BENCHMARKS["demo"], rows=2), path)) == 2


@pytest.mark.parametrize(
    ("name", "row", "question", "answer"),
    [
        (
            "svamp",
            {
                "ID": "c",
                "Body": "A box costs 76 dollars",
                "Question": "What are two?",
                "Answer": 152.0,
                "Type": "x",
            },
            "A box costs 76 dollars. What are two?",
            "152",
        ),
        ("gsm_hard", {"input": "How many?", "target": -9867630.0}, "How many?", "-9867630"),
        ("gsm_hard", {"input": "How many?", "target": 0.25}, "How many?", "0.25"),
        (
            "math500",
            {"problem": "$x$?", "answer": "\\pi", "subject": "Algebra", "level": 3, "unique_id": "test/algebra/1.json"},
            "$x$?",
            "\\pi",
        ),
        ("aime", {"problem": "Find $n$.", "answer": "073", "year": 2024}, "Find $n$.", "73"),
        ("aime", {"problem": "Find $n$.", "answer": 0}, "Find $n$.", "0"),
    ],
)
def test_a_row_of_a_set_that_is_not_at_hand_is_read(
    tmp_path: Path, name: str, row: dict[str, Any], question: str, answer: str
) -> None:
    benchmark = replace(BENCHMARKS[name], rows=1, sha256=None)
    for path in (written(tmp_path / "x.jsonl", [row]), tmp_path / "x.json"):
        path.write_text(json.dumps([row]) if path.suffix == ".json" else json.dumps(row) + "\n")
        (found,) = load(benchmark, path)
        assert (found.question, found.answer) == (question, answer)
        assert equivalent(answer, answer, question).correct


@pytest.mark.parametrize("answer", ["1000", "-1", "7.5", "x", ""])
def test_an_answer_that_no_aime_problem_has_is_refused(tmp_path: Path, answer: str) -> None:
    with pytest.raises(InputError, match=r"x\.jsonl:1: not a problem of aime: the answer is"):
        load(BENCHMARKS["aime"], written(tmp_path / "x.jsonl", [{"problem": "p", "answer": answer}]))


def test_without_the_hub_it_says_what_to_do_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "evaluator", "run", "--benchmark", "math500", "--hub", "--no-tools"]
    command += ["--backend", "replay", "--model", str(written(tmp_path / "m.jsonl", [])), "--out", str(tmp_path)]
    away = os.environ | {"HF_HUB_OFFLINE": "1", "SOROBAN_DATA": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=away, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "math500: cannot get https://huggingface.co/datasets/HuggingFaceH4/MATH-500/resolve/2343f79" in done.stderr
    assert "--file" in done.stderr


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "file"), REAL.items())
def test_the_published_files_of_the_other_sets_have_the_pinned_hash(name: str, file: str) -> None:
    if not (path := DATA / "real" / file).exists():
        pytest.skip(f"{path} is not there: the public benchmark files are not part of the project")
    assert len(load(BENCHMARKS[name], path)) == BENCHMARKS[name].rows
