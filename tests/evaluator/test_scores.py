"""Intervals, paired tests, counts, and the published figures."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from dataset.types import Verdict
from evaluator.grade import Grade
from evaluator.published import BENCHMARKS, PUBLISHED
from evaluator.results import Result
from evaluator.scores import Run, paired, score, score_by
from evaluator.table import tables
from evaluator.tool import ToolCall
from tests.evaluator.scripted import problem
from tests.evaluator.test_results import CONFIG


def result(number: int, correct: bool | None = True, *, predicted: str | None = "7", **changes: object) -> Result:
    verdict = Verdict(correct=correct, rule="test", reference="7", predicted=predicted)
    base = Result(
        key="k", problem=problem(number), sample=0, grade=Grade(verdict=verdict, program=None, answer_from="text")
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def call(status: str) -> ToolCall:
    return ToolCall(
        status=status,  # type: ignore[arg-type]
        error=None,
        wall_seconds=0.1,
        queue_seconds=0.0,
        truncated=False,
        shown=True,
    )


def test_paired_counts_only_samples_that_both_runs_have() -> None:
    first = [result(0), result(1), result(2, False), result(9)]
    second = [result(0), result(1, False), result(2), result(3), result(9, infra_error="away", grade=None)]
    found = paired(first, second)
    assert (found.problems, found.won, found.lost) == (3, ["p/2"], ["p/1"])


def test_every_kind_of_trouble_is_counted_by_itself() -> None:
    results = [
        result(0),
        result(1, False, predicted=None),
        result(2, None),
        result(3, False, stop="length"),
        result(4, True, calls=(call("ok"), call("timeout"))),
        result(5, True, calls=(call("error"),)),
    ]
    found = score(results)
    assert (found.samples, found.correct, found.no_answer, found.undecided) == (6, 3, 1, 1)
    assert (found.truncated, found.with_programs, found.tool_errors, found.tool_timeouts) == (1, 2, 2, 1)
    assert found.accuracy == 0.5
    assert found.unscored is None


def test_a_failure_of_ours_leaves_no_score() -> None:
    found = score([result(0), result(1, grade=None, infra_error="SandboxUnavailable: gone")])
    assert found.unscored is not None
    assert "SandboxUnavailable: gone" in found.unscored


def test_groups_stand_in_natural_order() -> None:
    levels = ["grade 10", "grade 2", "", "grade 1"]
    results = [result(n, problem=replace(problem(n), level=level)) for n, level in enumerate(levels)]
    assert list(score_by(results, lambda one: one.problem.level)) == ["grade 1", "grade 2", "grade 10"]


def test_table_5_is_whole() -> None:
    # Counted in the published table: 26 rows; 26 GSM8K, 26 MATH, 10 MGSM-zh and 11 CMATH figures.
    assert len({(item.model, item.size, item.mode) for item in PUBLISHED}) == 26
    counts = {name: sum(item.benchmark == name for item in PUBLISHED) for name in BENCHMARKS}
    assert counts == {"gsm8k": 26, "math": 26, "mgsm_zh": 10, "cmath": 11}
    assert all(0 < item.figure < 100 and item.source for item in PUBLISHED)
    assert [(i.model, i.figure, i.other) for i in PUBLISHED if i.other] == [("DeepSeekMath-Instruct", 57.4, 57.5)]
    closed = {item.model for item in PUBLISHED if item.group == "closed"}
    assert len(closed) == 9
    assert {"GPT-4", "GPT-4 Code Interpreter", "Gemini Pro"} <= closed
    # The paper's sentence: without and with tools it beats every open model of its table, and most of the closed ones.
    best = {(i.mode, i.group): max(x.figure for x in PUBLISHED if (x.mode, x.group, x.benchmark) ==
            (i.mode, i.group, "math") and not x.model.startswith("DeepSeekMath")) for i in PUBLISHED}  # fmt: skip
    instruct = {i.mode: i.figure for i in PUBLISHED if (i.model, i.benchmark) == ("DeepSeekMath-Instruct", "math")}
    assert all(instruct[mode] > best[mode, "open"] for mode in ("none", "tools"))
    programs = {i.benchmark: i.program for i in PUBLISHED if i.model == "DeepSeekMath-Instruct" and i.program}
    assert programs == {"gsm8k": 83.3, "math": 46.6, "mgsm_zh": 71.6, "cmath": 82.1}


def test_a_score_does_not_depend_on_the_order_of_results() -> None:
    results = [result(number, number % 3 == 0) for number in range(50)]
    shuffled = random.Random(0).sample(results, len(results))
    assert score(results) == score(shuffled)


def test_the_table_of_parts_has_a_row_for_every_level_and_language_that_differs(tmp_path: Path) -> None:
    results = [
        result(n, n % 2 == 0, problem=replace(problem(n), level=f"grade {n % 3 + 1}", subject="all"))  # one subject
        for n in range(12)
    ]
    run = Run(folder=tmp_path, config=CONFIG, results=results, score=score(results))
    whole = {table.title: table for table in tables([run], parts=True)}
    assert [row[3:7] for row in whole["In parts"].rows] == [
        ["level", f"grade {grade}", "4", "50.0"] for grade in (1, 2, 3)
    ]
    assert "In parts" not in {table.title for table in tables([run])}
