"""Two runs compared: what is refused, what is said, and what stands in the tables."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dataset.types import Verdict
from evaluator.__main__ import main
from evaluator.compare import compare, comparison_tables, pairs_table, verdict
from evaluator.config import write_config
from evaluator.grade import Grade
from evaluator.results import Result, write_results
from evaluator.scores import Run, paired, read_run
from sandbox.command import run_command
from sandbox.errors import InputError
from tests.evaluator.scripted import problem
from tests.evaluator.test_results import CONFIG


def answered(number: int, sample: int, correct: bool, **changes: Any) -> Result:
    verdict = Verdict(correct=correct, rule="test", reference="7", predicted="7" if correct else "8")
    base = Result(
        key=CONFIG.key,
        problem=replace(problem(number), level=str(number % 3), question=f"Question {number}?"),
        sample=sample,
        grade=Grade(verdict=verdict, program=None, answer_from="text"),
    )
    return replace(base, **changes)


def drawn(seed: int, count: int, samples: int, share: float) -> list[Result]:
    rng = random.Random(seed)
    return [answered(n, s, rng.random() < share) for n in range(count) for s in range(samples)]


def saved(folder: Path, results: Sequence[Result], expected: int | None = None, **changes: Any) -> Run:
    folder.mkdir(parents=True)
    about = {"samples_expected": len(results) if expected is None else expected}
    config = replace(CONFIG, about=about, model=folder.name, **changes)
    write_config(folder, config)
    write_results(folder, [replace(result, key=config.key) for result in results])
    return read_run(folder)


def test_samples_of_a_problem_are_not_counted_as_independent() -> None:
    # One problem of ten is always won, one always lost, with 16 samples each: as good as nothing.
    first = [answered(n, s, n != 0) for n in range(10) for s in range(16)]
    second = [answered(n, s, n not in (1, 2, 3)) for n in range(10) for s in range(16)]
    found = paired(first, second)
    assert (found.problems, found.samples, found.won, found.lost) == (10, 16, ["p/0"], ["p/1", "p/2", "p/3"])
    assert found.p == pytest.approx(10 / 16)
    assert found.better is None


def test_a_real_gain_is_found_with_its_size_and_its_problems(tmp_path: Path) -> None:
    one = saved(tmp_path / "base", drawn(1, 300, 4, 0.4))
    two = saved(tmp_path / "tuned", drawn(2, 300, 4, 0.6), temperature=0.7)
    found = compare(one, two)
    assert found.whole.better is True
    low, high = found.whole.interval
    assert low < 0.2 < high
    assert verdict(found).startswith("B is better than A: +")
    assert found.notes == ["not only the model differs: temperature 0.0 and 0.7"]
    assert [(part.by, part.name, part.pair.problems) for part in found.parts] == [
        ("level", str(n), 100) for n in range(3)
    ]
    assert all(part.corrected >= part.pair.p for part in found.parts)
    shown = {table.title: table for table in comparison_tables(found, listed=5)}
    assert [row[0] for row in shown["demo: B against A"].rows] == ["avg@k", "maj@k"]
    assert [row[0] for row in shown["demo: problems"].rows] == ["won"] * 5 + ["lost"] * 5
    assert verdict(compare(one, one)).startswith("no difference is shown: +0.0 points")


def test_with_other_numbers_of_samples_as_many_of_each_count(tmp_path: Path) -> None:
    one, two = saved(tmp_path / "one", drawn(1, 50, 1, 0.5)), saved(tmp_path / "many", drawn(2, 50, 16, 0.5))
    found = compare(one, two)
    assert found.whole.samples == 1
    assert found.notes == ["A has 1 samples a problem, B 16: the first 1 of each count"]


def test_a_run_on_some_of_the_problems_is_compared_on_those(tmp_path: Path) -> None:
    one, two = saved(tmp_path / "part", drawn(1, 20, 1, 0.5)), saved(tmp_path / "all", drawn(2, 50, 1, 0.5))
    found = compare(one, two)
    assert (found.whole.problems, found.notes) == (20, ["on the 20 problems that both have; A has 20, B 50"])


def other_problems(results: list[Result]) -> list[Result]:
    return [replace(r, problem=replace(r.problem, id=f"other/{r.problem.id}")) for r in results]


def other_questions(results: list[Result]) -> list[Result]:
    return [replace(r, problem=replace(r.problem, question=f"In other words, {r.problem.question}")) for r in results]


def failed(results: list[Result]) -> list[Result]:
    return [replace(results[0], grade=None, infra_error="SandboxUnavailable: gone"), *results[1:]]


@pytest.mark.parametrize(
    ("change", "expected", "settings", "told"),
    [
        (other_problems, None, {}, "not the same problems: .* they have none in common"),
        (other_questions, None, {}, "not the same problems: .* problem p/0 is another one in each"),
        (failed, None, {}, "1 samples failed for our reasons, e.g. SandboxUnavailable: gone; run again to retry them"),
        (lambda results: results[3:], 20, {}, "3 of 20 samples are missing; run again to go on"),
        (lambda results: [], 0, {}, "no results in it yet"),
        (list, None, {"grader": "f" * 12}, "judged by different graders .*: python -m evaluator regrade"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(
    tmp_path: Path, change: Any, expected: int | None, settings: dict[str, Any], told: str
) -> None:
    results = drawn(1, 20, 1, 0.5)
    one = saved(tmp_path / "one", results)
    two = saved(tmp_path / "two", change(results), expected, **settings)
    for pair in ((one, two), (two, one)):
        with pytest.raises(InputError, match=told) as caught:
            compare(*pair)
        assert "\n" not in str(caught.value)
    assert pairs_table([one, two]).rows == []


def test_every_pair_is_in_the_table_when_asked_and_p_is_corrected_for_their_number(tmp_path: Path) -> None:
    runs = [saved(tmp_path / f"m{n}", drawn(n, 60, 1, 0.4 + 0.15 * n)) for n in range(3)]
    found = pairs_table(runs)
    assert [row[1:3] for row in found.rows] == [
        [f"m{a}, no tools", f"m{b}, no tools"] for a, b in ((0, 1), (0, 2), (1, 2))
    ]
    assert all(row[-1] >= row[-2] for row in found.rows)


def test_the_command_compares_folders_of_runs_by_name_and_refuses_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for model, share in (("base", 0.3), ("tuned", 0.8)):
        for number, name in enumerate(("demo-tools", "demo-none")):
            saved(tmp_path / model / name, drawn(number, 40, 1, share), style="tir" if number == 0 else "cot")
    (tmp_path / "empty").mkdir()

    def go(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["evaluator", *map(str, arguments)])
        code = run_command(main)
        return code, *capfd.readouterr()

    code, out, _ = go("compare", tmp_path / "base", tmp_path / "tuned", "--report", tmp_path / "page.html")
    assert (code, out.count("B is better than A")) == (0, 2)
    page = (tmp_path / "page.html").read_text()
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert len(data["runs"]) == 4
    code, out, _ = go("table", tmp_path / "base", tmp_path / "tuned", "--pairs")
    assert (code, out.count("Run against run")) == (0, 1)
    for arguments, told in (
        (("compare", tmp_path / "base", tmp_path / "empty"), "empty: no results in it; expected a folder of"),
        (("compare", tmp_path / "base", tmp_path / "tuned" / "demo-none" / "config.json"), "no results in it"),
        (("compare", tmp_path / "base" / "demo-tools", tmp_path / "none"), "none: no results in it"),
    ):
        code, _, err = go(*arguments)
        assert code != 0
        assert told in err
        assert len(err.strip().splitlines()) == 1
