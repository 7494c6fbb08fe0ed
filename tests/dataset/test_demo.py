"""The demo's problems, and verification's first promise: exactly the spoiled solutions are dropped."""

from __future__ import annotations

import ast
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dataset.demo.build import build_demo
from dataset.demo.problems import STYLES, draw_problems, program, solution, value_of
from dataset.demo.spoil import KINDS, MOST_ENDLESS_LOOPS, choose, spoil
from dataset.demo.templates import TEMPLATES
from dataset.types import Problem, solution_from_json

ROOT = Path(__file__).parent.parent.parent
REASON_OF_KIND = {
    "wrong_operand": "wrong_answer",
    "wrong_answer": "wrong_answer",
    "raises": "program_raised",
    "endless_loop": "time_limit",
    "wrong_output": "output_differs",
}


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_there_are_at_least_twelve_templates_a_language_with_one_to_three_operations() -> None:
    count = Counter(template.language for template in TEMPLATES)
    assert min(count["en"], count["zh"]) >= 12
    assert len({template.name for template in TEMPLATES}) == len(TEMPLATES)
    for template in TEMPLATES:
        operations = sum(isinstance(node, ast.BinOp) for node in ast.walk(ast.parse(template.expression)))
        letters = {node.id for node in ast.walk(ast.parse(template.expression)) if isinstance(node, ast.Name)}
        assert 1 <= operations <= 3
        assert all(f"{{{letter}}}" in template.question for letter in letters)
        assert all(1 <= low < high <= 999 for low, high in map(template.range_of, letters))


def test_answers_and_programs_agree_with_python_itself() -> None:
    for made in draw_problems(400, "train", random.Random(1), set()):
        right = eval(made.template.expression, {}, dict(made.numbers))
        assert made.problem.answer == str(right)
        assert all(str(number) in made.problem.question for number in made.numbers.values())
        printed: list[int] = []
        exec(program(made.template.expression, made.numbers), {"print": printed.append})
        assert printed == [right]
        assert len(program(made.template.expression, made.numbers).splitlines()) <= 4


def test_every_spoiled_solution_is_really_spoiled() -> None:
    draw = random.Random(2)
    for made in draw_problems(150, "train", draw, set()):
        right = value_of(made.template.expression, made.numbers)
        for style in STYLES:
            for kind in KINDS[style]:
                spoiled = spoil(solution(made, style), made, kind, draw)
                turns = {turn.kind: turn.text for turn in spoiled.turns}  # the last of each kind
                if "text" in turns:
                    boxed = int(turns["text"].rpartition("{")[2].partition("}")[0])
                    assert (boxed == right) == (kind in ("raises", "endless_loop", "wrong_output"))
                if kind == "raises":
                    with pytest.raises((SyntaxError, NameError, ZeroDivisionError)):
                        exec(turns["code"], {})
                elif "code" in turns and kind != "endless_loop":
                    printed: list[int] = []
                    exec(turns["code"], {"print": printed.append})
                    wrong_program = kind == "wrong_operand" or (kind == "wrong_answer" and style == "pot")
                    assert (printed[0] != right) == wrong_program
                    assert "output" not in turns or (turns["output"] != str(printed[0])) == (kind == "wrong_output")


def test_the_spoiled_share_is_exact_and_endless_loops_are_few() -> None:
    ids = {f"{number}/{style}": style for number in range(2000) for style in STYLES}
    kinds = choose(ids, 0.15, random.Random(3))
    assert len(kinds) == 900
    count = Counter(kinds.values())
    assert 0 < count["endless_loop"] <= MOST_ENDLESS_LOOPS
    assert min(count[kind] for kind in REASON_OF_KIND if kind != "endless_loop") > 50


def test_a_seed_names_a_data_set_and_no_question_is_in_both_splits(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        build_demo(tmp_path / name, problems=300, test_problems=50, seed=seed, spoiled=0.15)
    for file in ("problems.jsonl", "candidates.jsonl", "test.jsonl", "spoiled.jsonl"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
        assert (tmp_path / "a" / file).read_bytes() != (tmp_path / "c" / file).read_bytes()
    test = [Problem(**row) for row in lines(tmp_path / "a" / "test.jsonl")]  # type: ignore[arg-type]
    train = [solution_from_json(row).problem for row in lines(tmp_path / "a" / "candidates.jsonl")]
    assert len(test) == len({problem.question for problem in test}) == 50
    assert len({problem.question for problem in train}) == 300
    assert not {problem.question for problem in test} & {problem.question for problem in train}
    assert {problem.language for problem in test} == {"en", "zh"}


def test_solutions_by_heart_are_right_and_nothing_else_changes(tmp_path: Path) -> None:
    for name, share in (("none", 0.0), ("some", 0.7)):
        build_demo(tmp_path / name, problems=300, test_problems=5, seed=5, spoiled=0.15, by_heart=share)
    for file in ("problems.jsonl", "test.jsonl", "spoiled.jsonl"):
        assert (tmp_path / "none" / file).read_bytes() == (tmp_path / "some" / file).read_bytes()
    before, after = (lines(tmp_path / name / "candidates.jsonl") for name in ("none", "some"))
    spoiled = {row["id"] for row in lines(tmp_path / "some" / "spoiled.jsonl")}
    changed = [solution_from_json(new) for old, new in zip(before, after, strict=True) if old != new]
    short = [row for row in map(solution_from_json, before) if row.style == "tir" and row.problem.level in "12"]
    assert {row.id for row in changed} <= {row.id for row in short} - spoiled
    assert len(changed) == pytest.approx(0.7 * 0.85 * len(short), rel=0.15)
    for row in changed:
        assert [turn.kind for turn in row.turns] == ["text"]
        assert f"\\boxed{{{row.problem.answer}}}" in row.turns[0].text


def test_verification_drops_exactly_the_spoiled_solutions(tmp_path: Path) -> None:
    build_demo(tmp_path / "problems", problems=130, test_problems=5, seed=0, spoiled=0.2)
    command = [sys.executable, "-m", "dataset", "verify", tmp_path / "problems" / "candidates.jsonl"]
    subprocess.run([*command, "--out", tmp_path / "verified", "--cpu-seconds", "1"], cwd=ROOT, check=True)
    spoiled = {row["id"]: row["kind"] for row in lines(tmp_path / "problems" / "spoiled.jsonl")}
    assert set(spoiled.values()) == set(REASON_OF_KIND)
    dropped = {row["id"]: row["reason"] for row in lines(tmp_path / "verified" / "dropped.jsonl")}
    assert dropped == {id_: REASON_OF_KIND[str(kind)] for id_, kind in spoiled.items()}
    everyone = lines(tmp_path / "problems" / "candidates.jsonl")
    assert lines(tmp_path / "verified" / "kept.jsonl") == [row for row in everyone if row["id"] not in spoiled]
