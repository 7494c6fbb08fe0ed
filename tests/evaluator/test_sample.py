"""Training data from a teacher: what is kept, why the rest is not, and that `dataset verify` takes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from dataset.__main__ import main as dataset_main
from dataset.files import read_jsonl
from dataset.types import Problem, Style, Turn, solution_from_json
from evaluator.__main__ import main
from evaluator.grade import grade
from evaluator.results import Result
from evaluator.sample import CANDIDATES, Choice, Yield, read_known, write_candidates
from evaluator.tool import ToolCall
from tests.evaluator.scripted import problem

TIR = "Let me see.\n```python\nprint({})\n```\n```output\n7\n```\nIt is $\\boxed{{7}}$."

ANY = Choice()


def sampled(text: str, sample: int = 0, *, status: str = "ok", left_over: str | None = None, **changes: Any) -> Result:
    call = ToolCall(
        status=status,  # type: ignore[arg-type]
        error=None,
        wall_seconds=0.0,
        queue_seconds=0.0,
        truncated=False,
        shown=True,
    )
    result = Result(
        key="k",
        problem=problem(),
        sample=sample,
        text=text,
        stop="end",
        calls=(call,) if "```python" in text else (),
        left_over=left_over,
        new_tokens=len(text),
        grade=grade(problem(), text, left_over),
    )
    return replace(result, **changes)


def written(
    folder: Path, results: Sequence[Result], style: Style = "tir", choice: Choice = ANY
) -> tuple[Yield, list[Any]]:
    found = write_candidates(folder, results, style=style, run="a1", choice=choice)
    return found, [solution_from_json(row) for _, row in read_jsonl(folder / CANDIDATES)]


@pytest.mark.parametrize(
    ("style", "result", "reason"),
    [
        ("tir", sampled("It is $\\boxed{7}$."), "no program"),
        ("tir", sampled(TIR.format("8").replace("{7}", "{8}")), "wrong answer"),
        ("tir", sampled(TIR.format("7"), status="error"), "its last program ended with error"),
        ("tir", sampled(TIR.format("7"), stop="length"), "did not end: length"),
        ("tir", sampled("```python\nprint(7)\n```", left_over="7"), "its last program was not read"),
        ("tir", sampled("", grade=None, infra_error="away"), "failed for our reasons"),
        ("cot", sampled("I do not know."), "no answer"),
        ("cot", sampled("It is $\\boxed{8}$."), "wrong answer"),
        ("pot", sampled("```python\nx = 7\n```\n```python\nprint(x)\n```", left_over="7"), "more than one program"),
        (
            "pot",
            sampled("```python\nprint(8)\n```\nIt is $\\boxed{7}$.", left_over="8"),
            "its program does not print the answer",
        ),
    ],
)
def test_a_sample_that_would_teach_something_wrong_is_dropped_with_its_reason(
    tmp_path: Path, style: Style, result: Result, reason: str
) -> None:
    found, kept = written(tmp_path, [result], style)
    assert (dict(found.dropped), kept) == ({reason: 1}, [])


def test_distinct_solutions_are_kept_up_to_a_cap_the_shortest_first(tmp_path: Path) -> None:
    texts = [TIR.format("3 +  4"), TIR.format("14 // 2"), TIR.format("3 + 4"), TIR.format("7"), TIR.format("6 + 1")]
    found, kept = written(tmp_path, [sampled(text, n) for n, text in enumerate(texts)], choice=Choice(keep=2))
    assert [solution.turns[1].text for solution in kept] == ["print(7)", "print(3 + 4)"]
    assert dict(found.dropped) == {"more than 2 a problem": 2, "the same as another": 1}
    assert (found.kept, found.problems) == (2, {"": (1, 1)})


def test_solutions_of_two_samplings_can_be_mixed(tmp_path: Path) -> None:
    for run, text in (("a1", TIR.format("7")), ("b2", TIR.format("3 + 4"))):
        write_candidates(tmp_path / run, [sampled(text)], style="tir", run=run)
    files = [str(tmp_path / run / CANDIDATES) for run in ("a1", "b2")]
    assert dataset_main(["mix", *files, "--out", str(tmp_path / "mix"), "--benchmarks", "--quiet"]) == 0


def test_a_random_choice_is_the_seeds_and_not_the_shortest(tmp_path: Path) -> None:
    texts = [TIR.format(f"7{' + 0' * n}") for n in range(8)]
    results = [sampled(text, n) for n, text in enumerate(texts)]
    chosen = [
        [solution.id for solution in written(tmp_path, results, choice=Choice(keep=2, order="random", seed=seed))[1]]
        for seed in (*range(6), 0)
    ]
    assert chosen[0] == chosen[-1]
    assert len({tuple(ids) for ids in chosen}) > 2
    _, shortest = written(tmp_path, results, choice=Choice(keep=2))
    assert [solution.id for solution in shortest] == ["p/0/tir/a1/0", "p/0/tir/a1/1"]


@pytest.mark.parametrize(("rates", "kept"), [((0.0, 1.0), 2), ((0.5, 0.5), 2), ((0.6, 1.0), 0), ((0.0, 0.4), 0)])
def test_problems_solved_too_seldom_or_too_often_teach_nothing(
    tmp_path: Path, rates: tuple[float, float], kept: int
) -> None:
    texts = [TIR.format("7"), TIR.format("6 + 1"), TIR.format("8").replace("{7}", "{8}"), "I do not know."]
    found, _ = written(tmp_path, [sampled(text, n) for n, text in enumerate(texts)], choice=Choice(rates=rates))
    assert found.kept == kept
    assert found.dropped.get("its problem is solved too seldom or too often", 0) == 2 - kept


def test_what_an_earlier_sampling_kept_is_not_kept_again(tmp_path: Path) -> None:
    written(tmp_path, [sampled(TIR.format("3 + 4"))])
    (tmp_path / CANDIDATES).rename(tmp_path / "earlier.jsonl")
    known = read_known([tmp_path / "earlier.jsonl"])
    found, kept = written(
        tmp_path, [sampled(TIR.format("3 +  4")), sampled(TIR.format("7"), 1)], choice=Choice(known=known)
    )
    assert dict(found.dropped) == {"known from an earlier sampling": 1}
    assert [solution.id for solution in kept] == ["p/0/tir/a1/1"]


def test_of_a_program_of_thought_only_the_program_is_kept(tmp_path: Path) -> None:
    text = "Here you are:\n```python\nprint(3 + 4)\n```"
    _, kept = written(tmp_path, [sampled(text, left_over="7")], "pot")
    assert [solution.turns for solution in kept] == [(Turn("code", "print(3 + 4)"),)]


@pytest.mark.parametrize("style", ["tir", "pot", "cot"])
def test_what_sample_writes_dataset_verify_keeps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], style: Style
) -> None:
    with (tmp_path / "problems.jsonl").open("w") as asked, (tmp_path / "teacher.jsonl").open("w") as said:
        for n in range(4):
            one = Problem(
                id=f"t/{n}", source="t", language="en", question=f"2 + {n}?", answer=str(n + 2), subject="sums"
            )
            asked.write(json.dumps(asdict(one)) + "\n")
            program = f"```python\nprint(2 + {n})\n```"
            text = {
                "tir": f"{program}\n```output\n?\n```\nIt is $\\boxed{{{n + 2}}}$.",
                "pot": program,
                "cot": f"It is $\\boxed{{{n + 2}}}$.",
            }[style]
            said.write(json.dumps({"question": one.question, "solution": text}) + "\n")
    arguments = ["--problems", "problems.jsonl", "--model", "teacher.jsonl", "--out", "sampled"]
    paths = [str(tmp_path / a) if i % 2 else a for i, a in enumerate(arguments)]
    assert main(["sample", "--backend", "replay", "--style", style, "--quiet", *paths]) == 0
    out = capsys.readouterr().out
    assert "kept 4 of 4 samples" in out
    assert "4 of 4 problems have a solution: sums" in out
    candidates = str(tmp_path / "sampled" / CANDIDATES)
    assert dataset_main(["verify", candidates, "--out", str(tmp_path / "verified"), "--quiet", "--workers", "1"]) == 0
    kept = [solution_from_json(row) for _, row in read_jsonl(tmp_path / "verified" / "kept.jsonl")]
    (run,) = {solution.id.split("/")[3] for solution in kept}
    assert [solution.id for solution in kept] == [f"t/{n}/{style}/{run}/0" for n in range(4)]
