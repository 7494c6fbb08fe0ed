"""The mixture: each example once, none from a benchmark, in the proportions asked for, the same for the same seed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset.demo.build import build_demo
from dataset.files import Manifest
from dataset.mixture.card import bar_chart
from dataset.mixture.config import Mixture, Part, read_mixture
from dataset.mixture.contamination import Benchmarks, read_questions
from dataset.mixture.fields import field_of
from dataset.mixture.fingerprints import MixSettings, example_row, solution_of_row
from dataset.mixture.mix import mix
from dataset.mixture.near import bands, similarity
from dataset.mixture.select import _sizes, first_with_equal, ranks
from dataset.mixture.shards import FORMS, Form
from dataset.mixture.words import words
from dataset.processes import LocalWorkers
from dataset.types import Language, Problem, Solution, Style, Turn, solution_to_json
from sandbox.errors import InputError

ROOT = Path(__file__).parent.parent.parent


def solution(
    id_: str, question: str, text: str, *, style: Style = "cot", source: str = "own", language: Language = "en",
    subject: str = "",
) -> Solution:  # fmt: skip
    problem = Problem(id=id_, source=source, language=language, question=question, answer="1", subject=subject)
    return Solution(id=id_, problem=problem, style=style, turns=(Turn("text" if style == "cot" else "code", text),))


EVERYTHING = Mixture()


def mixed(
    tmp_path: Path, solutions: list[Solution], mixture: Mixture = EVERYTHING, *, seed: int = 0,
    benchmarks: tuple[Path, ...] = (), name: str = "out",
) -> tuple[Manifest, list[dict[str, Any]]]:  # fmt: skip
    path = tmp_path / f"{name}.jsonl"
    path.write_text("\n".join(json.dumps(solution_to_json(s)) for s in solutions), encoding="utf-8")
    settings = MixSettings(mixture=mixture, seed=seed, benchmarks=benchmarks)
    manifest = mix([path], tmp_path / name, settings=settings, workers=LocalWorkers(1), quiet=True)
    shards = sorted((tmp_path / name).glob("train-*.jsonl"))
    return manifest, [json.loads(line) for shard in shards for line in shard.read_text().splitlines()]


SAME_WORDS = [
    ("How many, in all?", "how many in all", True), ("80,000 men", "80000 men", True), ("１２元", "12元", True),
    ("买了3 个苹果。", "买了3个苹果", True), ("3 apples", "4 apples", False), ("x+1", "x-1", False),
    ("ab", "a b", False),
    ("$x^2$", "x^2", True), ("1,2", "12", False),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "same"), SAME_WORDS)
def test_texts_are_compared_by_their_words_numbers_and_signs(one: str, other: str, same: bool) -> None:
    assert (words(one) == words(other)) is same


STORY = (
    "A farmer has {a} cows and {b} sheep on a large green field near the river, and he sells half of them in spring. "
    "Then he buys ten more sheep at the market in town, and three lambs are born in summer. How many animals has he?"
)
WORKED = (
    "He has {a} cows at first and sells half of them, which leaves some; then he counts the ten new sheep, "
    "the thirty he had before, and the three lambs. The answer is 1."
)


def test_near_duplicates_share_a_band_and_the_same_story_with_other_numbers_does_not() -> None:
    one = solution("1", STORY.format(a=40, b=30), WORKED.format(a=40))
    reworded = solution("2", STORY.format(a=40, b=30).replace("large green", "big green"), WORKED.format(a=40))
    numbers = solution("3", STORY.format(a=42, b=30), WORKED.format(a=42))
    assert similarity(one, one) == 1
    assert similarity(one, reworded) > 0.85
    assert set(bands(one)) & set(bands(reworded))
    assert not set(bands(one)) & set(bands(numbers))
    assert not set(bands(one)) & set(bands(replace(one, style="tir")))


def test_each_example_is_taken_once_and_the_duplicates_are_listed(tmp_path: Path) -> None:
    one = solution("1", STORY.format(a=40, b=30), WORKED.format(a=40))
    exact = solution("2", STORY.format(a=40, b=30).upper(), WORKED.format(a=40))
    near = solution("3", STORY.format(a=40, b=30).replace("large green", "big green"), WORKED.format(a=40))
    other = solution("4", STORY.format(a=42, b=30), WORKED.format(a=42))
    style = solution("5", STORY.format(a=40, b=30), "print(1)", style="pot")
    manifest, rows = mixed(tmp_path, [one, exact, near, other, style])
    assert {row["id"] for row in rows} == {"1", "4", "5"}
    assert manifest.dropped == {"duplicate": 1, "near_duplicate": 1}
    listed = [json.loads(line) for line in (tmp_path / "out" / "duplicates.jsonl").read_text().splitlines()]
    assert listed == [{"id": "2", "kind": "exact", "of": "1"}, {"id": "3", "kind": "near", "of": "1"}]


KEYS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1000), st.booleans()), max_size=40)


@given(KEYS)
def test_first_with_equal_key_and_ranks_are_what_a_loop_finds(table: list[tuple[int, int, bool]]) -> None:
    keys = np.array([row[0] for row in table], dtype=np.uint64)
    order = np.array([row[1] for row in table], dtype=np.uint64)
    alive = np.array([row[2] for row in table], dtype=np.bool_)
    first = first_with_equal(keys, alive)
    rank = ranks(keys, order, alive)
    for row, (key, place, lives) in enumerate(table):
        if not lives:
            assert first[row] == row
            continue
        same = [other for other, (k, _, lives_too) in enumerate(table) if lives_too and k == key]
        assert first[row] == min(same)
        assert rank[row] == sum((table[other][1], other) < (place, row) for other in same)


def benchmark(tmp_path: Path, *questions: str) -> tuple[Path, ...]:
    path = tmp_path / "exam.jsonl"
    path.write_text("\n".join(json.dumps({"question": question}) for question in questions), encoding="utf-8")
    return (path,)


EXAM_EN = "Ruth walks seven blocks north and then twelve blocks east before she stops to rest at the bakery."
EXAM_ZH = "小明的爸爸每天早上六点钟从家里骑自行车出发去十二公里以外的工厂上班，他每小时骑多少公里？"

TRAIN = (
    "A train travels 360 miles in 3 hours. "
    "At the same rate, how many additional hours would it take to travel 240 miles?"
)
TERM = r"Simplify $\frac{7}{8x} + (6-y)$."
FORMULA = "Let $a, b, c$ satisfy $a^2 + b^2 + c^2 = 9$ [asy] draw(A--B--C--D--cycle); [/asy] and maximize $abc$."


@pytest.mark.parametrize(
    ("question", "refused"),
    [
        (EXAM_EN, True),
        (EXAM_EN.upper().replace(".", " !"), True),
        (EXAM_EN.replace("Ruth", "Last week Ann").replace("bakery", "school"), True),
        ("Ruth walks seven blocks north and then goes home to see her mother.", False),  # a phrase in common
        (TRAIN.replace("360", "495").replace("3 hours", "5 hours"), True),
        ("Yesterday " + TRAIN[:104] + "?", True),
        ("Let $a, b, c$ be such that $a^2 + b^2 + c^2 = 1$. Find the least value of $ab + bc + ca$.", False),
        ("[asy] draw(A--B--C--D--cycle); [/asy] Which letter is on top?", False),
        (EXAM_ZH, True),
        ("听说" + EXAM_ZH, True),
        (EXAM_ZH[:10] + "出门。", False),
        ("Short one", True),
        ("Short one more", False),
        (r"Simplify $\dfrac{91}{8x} + \left(65-y\right)$.", True),  # a short formula with other numbers, set otherwise
        (r"Simplify $\frac{9}{8x} \cdot (6-y)$.", False),
        (EXAM_EN.replace("seven", "7").replace("twelve", "12"), True),
        (EXAM_EN + "\n(A) 4\n(B) 5\n(C) 6", True),
        (EXAM_ZH.replace("六", "6").replace("十二", "12"), True),
    ],
)
def test_what_shares_a_problem_with_a_benchmark_is_refused(tmp_path: Path, question: str, refused: bool) -> None:
    found = Benchmarks(benchmark(tmp_path, EXAM_EN, EXAM_ZH, "Short one", TRAIN, FORMULA, TERM)).match(question)
    assert (found is not None) is refused, found


WHOLE = [
    # All of the benchmark's question, with its numbers, in a longer one.
    (f"Here is a problem. Think well before you write. {TRAIN} Show each step, then check your work and box it.", True),
    ("How many edges has a cube? " + "How many distinct diagonals of a convex hexagon can be drawn? Explain.", True),
    # The words, and one of its numbers less.
    (f"Here is a problem, think well. {TRAIN.replace('360', 'many')[:60]} Write it down.", False),
    ("Draw a hexagon. How many distinct diagonals of a cube can be drawn?", False),
]


@pytest.mark.parametrize(("question", "refused"), WHOLE)
def test_a_benchmarks_question_that_stands_whole_in_a_longer_one_is_refused(
    tmp_path: Path, question: str, refused: bool
) -> None:
    hexagon = "How many distinct diagonals of a convex hexagon can be drawn?"
    found = Benchmarks(benchmark(tmp_path, TRAIN, hexagon)).match(question)
    assert (found and found.rule) == ("whole" if refused else None)


SHORT = [
    ("Solve the following problem step by step. Compute $\\cos 45^\\circ$. Give the answer as a number.", "whole"),
    ("calculate $\\cos 45^\\circ$", "reworded"),
    ("Please help me. What would be $\\cos 45^\\circ$? Thank you.", "reworded"),
    ("请逐步解答下面的问题。小金今年18岁，再过几年就是25岁？请给出数字。", "whole"),
    ("Compute $\\cos 46^\\circ$.", None),
    ("Compute $\\sin 45^\\circ$. Then compute it again.", None),
    ("Draw it. What is $x$?", None),  # a benchmark's whole question, but one that says nothing
]


@pytest.mark.parametrize(("question", "rule"), SHORT)
def test_a_short_question_is_known_in_a_frame_and_with_another_verb(
    tmp_path: Path, question: str, rule: str | None
) -> None:
    asked = ("Compute $\\cos 45^\\circ$.", "小金今年18岁，再过几年就是25岁？", "What is $x$?")
    found = Benchmarks(benchmark(tmp_path, *asked)).match(question)
    assert (found and found.rule) == rule


def test_refused_examples_are_listed_with_what_they_share(tmp_path: Path) -> None:
    fresh = solution("fresh", "What is one and one and one?", "It is three.")
    known = solution("known", EXAM_EN, "It is one.")
    manifest, rows = mixed(tmp_path, [known, fresh], benchmarks=benchmark(tmp_path, "another", EXAM_EN))
    assert [row["id"] for row in rows] == ["fresh"]
    assert manifest.dropped == {"contaminated": 1}
    refused = json.loads((tmp_path / "out" / "refused.jsonl").read_text())
    assert (refused["id"], refused["benchmark"], refused["rule"]) == ("known", "exam.jsonl", "same question")
    assert "exam.jsonl" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["tora_code_34b.gsm8k", "rho_1b.math500", "mathcoder_l_7b.gsm8k"])
def test_every_trajectory_on_a_benchmark_is_refused(shared: Path, name: str) -> None:
    benchmarks = Benchmarks(sorted((shared / "benchmarks").glob("*.jsonl")))
    rows = [json.loads(line) for line in (shared / "trajectories" / f"{name}.jsonl").read_text().splitlines()]
    assert all(benchmarks.match(row["question"]) for row in rows)


def many(count: int, **options: Any) -> list[Solution]:
    draw = random.Random(str(options))
    names = [f"w{number}" for number in range(5000)]
    return [solution(f"{options}/{n}", " ".join(draw.sample(names, 12)), "x", **options) for n in range(count)]


def test_caps_by_part_and_subject_hold_and_rows_of_no_part_are_left_out(tmp_path: Path) -> None:
    everyone = many(60, subject="a") + many(30, subject="b")
    everyone += many(40, source="zh", language="zh") + many(9, source="no")
    parts = (
        Part(name="own", source=("own",), cap_per_subject=25, cap=45, target=100),
        Part(name="chinese", language=("zh",), cap=10),
    )
    manifest, rows = mixed(tmp_path, everyone, Mixture(parts=parts))
    count = Counter((row["source"], row["subject"]) for row in rows)
    assert count["zh", ""] == 10
    assert count["own", "a"] + count["own", "b"] == 45
    assert max(count["own", "a"], count["own", "b"]) <= 25
    assert manifest.dropped == {"no_part": 9, "over_cap": 130 - 55}
    assert [part["missing"] for part in manifest.summary["parts"]] == [55, None]
    assert "| own | 100 | 90 | 45 | 55 |" in (tmp_path / "out" / "README.md").read_text()


SIZES = [
    (Mixture(parts=(Part(name="a"), Part(name="b"))), [10, 20], [10, 20]),
    (Mixture(rows=15, parts=(Part(name="a"), Part(name="b"))), [10, 20], [5, 10]),
    (Mixture(parts=(Part(name="a", weight=1), Part(name="b", weight=1))), [10, 20], [10, 10]),
    (Mixture(parts=(Part(name="a", weight=3), Part(name="b", weight=1))), [30, 20], [30, 10]),
    (Mixture(rows=20, parts=(Part(name="a", weight=3), Part(name="b", weight=1))), [30, 20], [15, 5]),
    (Mixture(rows=40, parts=(Part(name="a", weight=3), Part(name="b", weight=1))), [9, 20], [9, 10]),
    (Mixture(rows=30, parts=(Part(name="a"), Part(name="b", weight=1))), [10, 50], [10, 20]),
    (Mixture(parts=(Part(name="a", cap=4), Part(name="b", weight=1))), [10, 50], [4, 50]),
]


@pytest.mark.parametrize(("mixture", "available", "sizes"), SIZES)
def test_weights_and_caps_give_these_sizes(mixture: Mixture, available: list[int], sizes: list[int]) -> None:
    assert _sizes(mixture, available) == sizes


def test_at_most_so_many_solutions_of_a_problem_are_taken(tmp_path: Path) -> None:
    draw = random.Random(3)
    answers = [" ".join(f"v{draw.randrange(10**6)}" for _ in range(20)) for _ in range(9)]
    everyone = [solution(f"{n}", "What is one and one and one?", answer) for n, answer in enumerate(answers)]
    manifest, rows = mixed(tmp_path, everyone, Mixture(per_problem=4))
    assert len(rows) == 4
    assert manifest.dropped == {"per_problem": 5}


def test_the_seed_decides_the_order_and_the_choice_and_nothing_else_does(tmp_path: Path) -> None:
    everyone = many(80)
    mixture = Mixture(parts=(Part(name="all", cap=40),))
    _, one = mixed(tmp_path, everyone, mixture, seed=1, name="one")
    _, again = mixed(tmp_path, everyone[::-1], mixture, seed=1, name="again")
    _, other = mixed(tmp_path, everyone, mixture, seed=2, name="other")
    assert one == again
    assert {row["id"] for row in one} != {row["id"] for row in other}
    assert [row["id"] for row in one] != sorted(row["id"] for row in one)


def test_rows_are_chats_that_read_back_as_the_solutions_they_were(tmp_path: Path) -> None:
    build_demo(tmp_path / "demo", problems=20, test_problems=1, seed=0, spoiled=0.0)
    for line in (tmp_path / "demo" / "candidates.jsonl").read_text().splitlines():
        from dataset.types import solution_from_json

        made = solution_from_json(json.loads(line))
        row = example_row(made)
        assert list(row) == ["id", "source", "language", "style", "subject", "level", "messages"]
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
        back = solution_of_row(row)
        assert (back.turns, back.problem.question) == (made.turns, made.problem.question)


@pytest.mark.parametrize("form", FORMS)
def test_the_datasets_library_loads_the_folder_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    datasets = pytest.importorskip("datasets")
    everyone = many(30) + many(20, language="zh", style="pot", subject="方程")
    _, expected = mixed(tmp_path, everyone, name="expected")
    path = tmp_path / "expected.jsonl"
    settings = MixSettings(mixture=EVERYTHING, seed=0, benchmarks=())
    manifest = mix([path], tmp_path / "out", settings=settings, workers=LocalWorkers(1), form=form, quiet=True)
    assert manifest.summary["shards"] == [f"train-00000.{form}"]
    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == expected
    assert loaded[0]["messages"][0]["role"] == "user"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rows = [", "not TOML"),
        ("rows = 0", "rows is 0"),
        ("near_duplicates = 1.5", "near_duplicates"),
        ("colour = 1", "unknown key 'colour'"),
        ("[[part]]\ncap = 1", "name"),
        ('[[part]]\nname = "a"\nstyle = 3', "style is 3"),
        ('[[part]]\nname = "a"\ncap = -1', "cap is -1"),
        ('[[part]]\nname = "a"\nweight = "x"', "weight"),
    ],
)
def test_a_config_that_cannot_be_used_says_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(InputError, match=says):
        read_mixture(tmp_path / "m.toml")


def test_the_reference_mixture_has_the_papers_size() -> None:
    mixture = read_mixture(ROOT / "dataset" / "mixture.toml")
    assert sum(part.target or 0 for part in mixture.parts) == 776_000


FIELDS_OF = [
    ("Prealgebra", "What is 2 + 3?", "algebra"),
    ("Precalculus", "Find the angle.", "calculus"),
    ("整除与余数", "", "number theory"),
    ("圆锥曲线", "", "geometry"),
    ("", "Natalia sold clips to 48 friends. How many clips did she sell?", "arithmetic"),
    ("", "What is the probability that both coins show heads?", "probability and counting"),
    ("", "The radius of a wheel is 3 feet. How far does it roll?", "geometry"),
    ("", "What is the remainder when 1234 is divided by 5?", "number theory"),
    ("", "求函数$f(x)=x^2$的导数。", "calculus"),
    ("", "一个长方形的面积是多少？", "geometry"),
    ("unknown", "请看图。", "arithmetic"),
    # Words that look like a field's.
    ("", "The fine rises for each mile over the speed limit of 50. How much does she pay?", "arithmetic"),
    ("", "For the remainder of the month it rained 2 inches a day. How much was it?", "arithmetic"),
    ("", "An x-ray costs $250. How much does he pay?", "arithmetic"),
    ("", "He has 750 m^2 of land. How much can he earn?", "arithmetic"),
    ("", "圆柱和圆锥的底面积分别相等，高是多少？", "geometry"),
]


@pytest.mark.parametrize(("subject", "question", "field"), FIELDS_OF)
def test_each_row_has_a_field_by_its_subject_or_its_words(subject: str, question: str, field: str) -> None:
    assert field_of(subject, question) == field


def test_the_card_says_the_composition_beside_the_papers(tmp_path: Path) -> None:
    rows = many(3, source="gsm8k", style="tir") + many(2, source="tal_scq5k", language="zh", subject="周长")
    rows += many(1, source="k12_zh", language="zh", subject="unknown") + many(2, source="numina_tir", style="tir")
    manifest, _ = mixed(tmp_path, rows, read_mixture(ROOT / "dataset" / "mixture.toml"))
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "| rows | 776,000 | 8 |" in card
    assert "| styles | in words, as a program, tool-integrated | cot 3, tir 5 |" in card
    assert "1 of the 76 subtopics of the curriculum have rows" in card
    assert "| 周长 | Plane figures and solids in primary school | 2 |" in card
    assert "| unknown |  | 1 |" in card
    assert "| numina_tir | en | tir | 2 | Apache-2.0 | its own last words |" in card
    assert "| GSM8K and MATH, tool-integrated | 58,000 | 3 | 3 | 57,997 |" in card
    assert manifest.summary["subtopics_of_76"] == 1
    assert sum(manifest.summary["fields"].values()) == 8
    assert manifest.summary["fields"]["calculus"] == 0  # although tool-integrated rows are told to "integrate"


def test_labels_cannot_break_the_picture() -> None:
    assert "&lt;b&gt; &amp; 铅笔" in bar_chart([("<b> & 铅笔", 3)])


@pytest.mark.parametrize("form", ["array", "svamp", "parquet"])
def test_a_benchmark_file_in_any_form_the_evaluator_reads_is_checked(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"exam.{'parquet' if form == 'parquet' else 'json'}"
    row = (
        {"Body": TRAIN.split(". ")[0] + ".", "Question": TRAIN.split(". ")[1]}
        if form == "svamp"
        else {"problem": TRAIN}
    )
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    else:
        path.write_text(json.dumps([row]), encoding="utf-8")
    found = Benchmarks([path]).match(TRAIN)
    assert found is not None
    assert (found.rule, found.asked) == ("same question", TRAIN)


@pytest.mark.parametrize(
    ("content", "told"), [("not json\n", "expected JSON Lines, a JSON array or Parquet, this is plain text"),
    ('{"text": "What?"}\n', "expected a field question"), ("", "no questions in it"),
     ('[{"question": 3}]', "exam.jsonl:1"), ("[1]", "expected a JSON object")],
)  # fmt: skip
def test_a_benchmark_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path, content: str, told: str) -> None:
    (path := tmp_path / "exam.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=told) as raised:
        mixed(tmp_path, [solution("a", "What is one?", "It is one.")], benchmarks=(path,))
    assert "\n" not in str(raised.value)


@pytest.mark.real_data
def test_the_fingerprints_that_ship_know_every_question_of_the_benchmarks(shared: Path) -> None:
    shipped = Benchmarks([], shipped=True)
    for name, rows in {"gsm8k_test": 1319, "math_test": 5000, "mgsm_zh": 250, "cmath_test": 1098}.items():
        questions = [question for _, question in read_questions(shared / "benchmarks" / f"{name}.jsonl")]
        assert len(questions) == rows
        assert all(shipped.match(question) for question in questions)


def test_the_command_mix_refuses_what_a_benchmark_asks_where_there_are_no_files_beside_the_clone(
    tmp_path: Path,
) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    robe = "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total does it take?"
    cosine = r"Compute $\dbinom{5}{3}$, then add $\dbinom{5}{4}$ to it."
    rows = [solution("known", robe, "It is three."), solution("fresh", cosine, "It is fifteen.")]
    (clone / "kept.jsonl").write_text("\n".join(json.dumps(solution_to_json(row)) for row in rows), encoding="utf-8")
    command = [sys.executable, "-m", "dataset", "mix", "kept.jsonl", "--out", "out", "--workers", "1", "--quiet"]
    done = subprocess.run(
        command, cwd=clone, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    refused = [json.loads(line) for line in (clone / "out" / "refused.jsonl").read_text().splitlines()]
    assert [(row["id"], row["benchmark"], row["rule"]) for row in refused] == [("known", "gsm8k", "same question")]
    assert [json.loads(line)["id"] for line in (clone / "out" / "train-00000.jsonl").read_text().splitlines()] == [
        "fresh"
    ]
    assert "No question here is one of gsm8k" in (clone / "out" / "README.md").read_text()


def test_the_fingerprints_that_ship_refuse_a_copy_and_no_fresh_question() -> None:
    shipped = Benchmarks([], shipped=True)
    known = (
        "Janet’s ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for her "
        "friends every day with four. She sells the remainder at the farmers' market daily for $2 per fresh duck egg. "
        "How much in dollars does she make every day at the farmers' market?"
    )
    found = shipped.match(known)
    assert found is not None
    assert found.benchmark == "gsm8k"
    assert shipped.match(known.replace("16", "24").replace("Janet", "Mary")) is not None
    assert shipped.match(r"Solve: If $(2^x-4)(3\cdot2^x+14)=5\cdot2^x+17$, what is $x$?") is None
