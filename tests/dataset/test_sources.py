"""Every source in the table loads its own fixture; the fixtures are ours, in the upstream's exact format."""

from __future__ import annotations

import ast
import json
import re
import zipfile
from fractions import Fraction
from pathlib import Path

import pytest

from dataset import sources
from dataset.build import build
from dataset.files import sha256
from dataset.sources import SOURCES, k12_zh, recognise
from dataset.sources.ape210k import program_of_equation, reference_of
from dataset.sources.arithmetic import exact, in_fractions, read_expression
from dataset.sources.gsm8k import program_of_marks
from dataset.sources.reading import read_rows
from dataset.transcript import render
from dataset.types import Solution, solution_from_json
from dataset.verification.check import check
from sandbox import Limits, Sandbox
from sandbox.errors import InputError

FIXTURES = Path(__file__).parent / "fixtures"


def fixture(name: str) -> Path:
    found = list(FIXTURES.glob(f"{name}.json*"))
    assert len(found) == 1, f"{name}: expected one fixture, found {found}"
    return found[0]


def built(path: Path) -> list[Solution]:
    return [solution_from_json(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_loads_its_fixture_into_candidates_that_verify(
    name: str, tmp_path: Path, sandbox: Sandbox
) -> None:
    manifest = build(name, [fixture(name)], tmp_path, quiet=True)
    assert manifest.summary["bad"] == 0
    solutions = built(tmp_path / "candidates.jsonl")
    assert solutions
    assert len({solution.id for solution in solutions}) == len(solutions)
    for solution in solutions:
        render(solution.turns)
        assert solution.problem.question
        outcome = check(solution, sandbox, policy="require", limits=Limits(wall_seconds=200, cpu_seconds=60))
        assert outcome.reason is None, (solution, outcome)


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_says_its_licence_and_shows_a_record(name: str) -> None:
    source = SOURCES[name]
    assert source.licence
    assert source.url or source.licence in ("the file's own", "of their sources")
    module = getattr(sources, name)
    assert "{" in module.__doc__, "the docstring shows no record"
    if source.hub:
        assert source.hub.files


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if source.recognised_by])
def test_recognisable_rows_are_recognised_as_their_own_source(name: str) -> None:
    for _, row in read_rows(fixture(name)):
        assert isinstance(row, dict)
        found = recognise(row)
        assert found is not None
        assert found.name == name


def test_ids_of_different_sources_do_not_meet(tmp_path: Path) -> None:
    seen: set[str] = set()
    for name in SOURCES:
        build(name, [fixture(name)], tmp_path / name, quiet=True)
        ids = {solution.id for solution in built(tmp_path / name / "candidates.jsonl")}
        assert not seen & ids
        seen |= ids


BAD_ROWS = [
    ("gsm8k", {"question": "q", "answer": "no mark"}, "####"),
    ("gsm8k", {"question": "q"}, "'answer'"),
    ("math", {"problem": "p", "level": "1", "type": "t", "solution": "nothing boxed"}, "boxed"),
    ("mathinstruct", {"source": "elsewhere", "instruction": "i", "output": "o"}, "'source'"),
    ("lila_ood", {"Input": "i", "Output Program": [], "Output Answer": []}, "'Output Answer'"),
    ("lila_ood", {"Input": "i", "Output Program": [["p"]], "Output Answer": ["1"]}, "'Output Program'"),
    ("ape210k", {"original_text": "q", "ans": "1", "equation": "x=print(1)"}, "not arithmetic"),
    ("ape210k", {"original_text": "q", "ans": "1/0", "equation": "x=1"}, "cannot be computed"),
    ("k12_zh", {"id": "1", "question": "q", "answer": "1", "topic": "炼金术", "style": "cot", "solution": "s"},
     "炼金术"),
    ("k12_zh", {"id": "1", "question": "q", "answer": "1", "topic": "周长", "style": "pot", "solution": "s"},
     "'style'"),
    ("tora", {"question": "q", "reference": "1", "solution": "s", "recorded_correct": "yes"}, "recorded_correct"),
    ("mathcoder", {"question": "q", "reference": "1", "segments": [{"role": "poem", "content": ""}]}, "'segments'"),
    ("chat", {"messages": [{"role": "assistant", "content": "a"}], "answer": "1"}, "roles"),
    ("chat", {"messages": "hello", "answer": "1"}, "'messages'"),
    ("chat", {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "language": "fr"},
     "fr"),
    ("candidates", {"id": 1, "problem": {}, "turns": []}, "'id'"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "says"), BAD_ROWS)
def test_a_row_in_another_form_is_refused_and_says_why(name: str, row: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        SOURCES[name].convert(row, "1")


def test_bad_rows_are_listed_with_file_and_line_and_the_rest_is_built(tmp_path: Path) -> None:
    path = tmp_path / "gsm8k.jsonl"
    good = fixture("gsm8k").read_text(encoding="utf-8").splitlines()[0]
    path.write_bytes(good.encode() + b'\n{"question": "\xff"}\n{broken\n\n[1]\n' + good.encode() + b"\n")
    manifest = build("gsm8k", [path], tmp_path / "out", quiet=True)
    bad = [json.loads(line) for line in (tmp_path / "out" / "bad.jsonl").read_text().splitlines()]
    assert [row["line"] for row in bad] == [2, 3, 5]
    assert "UTF-8" in bad[0]["problem"]
    assert manifest.summary["bad"] == 3
    assert manifest.rows_out == 6


def test_a_program_finds_its_reference_in_the_words_of_the_same_question(tmp_path: Path) -> None:
    build("mathinstruct", [fixture("mathinstruct")], tmp_path, quiet=True)
    answers = {solution.style: solution.problem.answer for solution in built(tmp_path / "candidates.jsonl")}
    assert answers == {"cot": "24", "pot": "24"}


def test_lila_programs_keep_their_own_answers_and_the_hubs_spelling_is_read() -> None:
    row = {"Input": "q", "Output Program": ["print(1)", " ", "print(2)"], "Output Answer": ["1", "x", "2"]}
    found = SOURCES["lila_ood"].convert(row, "1")
    assert [c.solution.problem.answer for c in found] == ["1", "2"]
    row = {"input": "q", "output_program": "print(6)", "output_answer": "6", "split": "train", "dataset": "addsub"}
    (only,) = SOURCES["lila_ood"].convert(row, "1")
    assert (only.solution.problem.answer, only.solution.problem.subject) == ("6", "addsub")


def test_every_hub_source_names_a_commit() -> None:
    for source in SOURCES.values():
        assert source.hub is None or re.fullmatch("[0-9a-f]{40}", source.hub.revision), source.name


def test_references_of_other_builds_take_precedence(tmp_path: Path) -> None:
    reference = tmp_path / "problems.jsonl"
    reference.write_text(
        json.dumps({"question": "Ida has six boxes of four pens! How many pens has she", "answer": "99"})
    )
    build("mathinstruct", [fixture("mathinstruct")], tmp_path / "out", answers=[reference], quiet=True)
    assert {solution.problem.answer for solution in built(tmp_path / "out" / "candidates.jsonl")} == {"99"}


def test_k12_reports_coverage_of_all_76_subtopics(tmp_path: Path) -> None:
    coverage = build("k12_zh", [fixture("k12_zh")], tmp_path, quiet=True).summary["subtopics"]
    assert len(coverage) == 76
    assert sum(coverage.values()) == 2
    assert coverage["一元一次方程"] == 1
    assert len(set(k12_zh.topics())) == len(set(k12_zh.topics().values())) == 76


def test_the_same_rows_are_read_from_lines_array_parquet_and_zip(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = [{"question": f"问题{number} " + "x" * (number % 50) * 30, "answer": str(number)} for number in range(3000)]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=2, ensure_ascii=False), encoding="utf-8")
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("folder/train.json", lines)
    expected = list(enumerate(rows, 1))
    for name in ("a.jsonl", "a.json", "a.parquet", "a.zip"):
        assert list(read_rows(tmp_path / name, "folder/train.json")) == expected, name


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", b'[{"a": 1}, {"a": ', "element 2"),
        ("a.parquet", b"not parquet at all", "not a Parquet file"),
        ("a.zip", b"PK no", "not a zip archive"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says):
        list(read_rows(tmp_path / name))


EXPRESSIONS = [
    ("48/2", "24"), (".5*8", "4"), ("1,000+05", "1005"), ("25%", "1/4"), ("1/25%", "4"), ("2(1/3)", "7/3"),
    ("(1/3):75%", "4/9"), ("2×3÷4", "3/2"), ("-3+5", "2"), ("2**3", "8"), ("（1＋2", None), ("1-(1/5)-(1/4)", "11/20"),
    ("x+1", None), ("1/0", None), ("__import__('os')", None), ("9**9**9", None), ("((1)", None), ("", None),
    ("100%-12.5%", "7/8"), ("1(1/2)+2.", "7/2"), ("[3+4]*2", "14"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), EXPRESSIONS)
def test_written_arithmetic_has_its_value_or_is_refused(text: str, value: str | None) -> None:
    if value is None:
        with pytest.raises(InputError):
            exact(read_expression(text))
        return
    tree = read_expression(text)
    assert exact(tree) == Fraction(value)
    # Python itself, computing in fractions, agrees with our reading.
    assert eval(ast.unparse(ast.fix_missing_locations(in_fractions(tree))), {"Fraction": Fraction}) == Fraction(value)


def test_marks_become_a_program_whose_steps_use_each_other() -> None:
    worked = "a <<12*7=84>>84 b <<84/2=42>>42"
    assert program_of_marks(worked, "12 jars, 7 boxes", "42") == "step1 = 12 * 7\nstep2 = step1 / 2\nprint(step2)"
    # 84 is a number of the question's own here: it stays.
    assert program_of_marks(worked, "12 jars, 7 boxes, 84", "42") == "step1 = 12 * 7\nstep2 = 84 / 2\nprint(step2)"
    # The last mark is not the answer; the one before it is.
    assert program_of_marks(worked, "12 jars, 7 boxes", "84") == "step1 = 12 * 7\nstep2 = step1 / 2\nprint(step1)"
    assert program_of_marks("no marks", "q", "1") is None


REFERENCES = [
    ("45", "45"),
    ("(11/20)", "11/20"),
    ("2(1/2)", "2 1/2"),
    ("93.75%", "93.75%"),
    ("7/(3+4)", "1"),
    ("-3", "-3"),
]


@pytest.mark.parametrize(("answer", "reference"), REFERENCES)
def test_ape210k_answers_are_written_as_usual(answer: str, reference: str) -> None:
    assert reference_of(answer) == reference


def test_equations_become_programs_in_the_form_of_their_answer() -> None:
    assert program_of_equation("x=135/3", "45") == "x = 135 / 3\nprint(x)"
    assert "Fraction(1, 5)" in program_of_equation("x=1-(1/5)", "(4/5)")
    assert program_of_equation("x=15/16", "93.75%") == "x = 15 / 16\nprint(f'{x * 100:g}%')"


@pytest.mark.real_data
def test_the_pinned_files_are_the_ones_that_were_measured(shared: Path) -> None:
    pinned = [source for source in SOURCES.values() if source.sha256]
    assert pinned
    for source in pinned:
        path = shared / "train" / f"{source.name}_train.jsonl"
        assert sha256(path) == source.sha256
        assert sum(1 for _ in read_rows(path)) == source.rows


def test_a_hub_out_of_reach_gives_one_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match=r"openai/gsm8k .*--file"):
        build("gsm8k", [], tmp_path / "out", quiet=True)
    with pytest.raises(InputError, match="not on the Hub"):
        build("k12_zh", [], tmp_path / "out", quiet=True)


def test_the_guide_names_every_source() -> None:
    guide = (FIXTURES.parent.parent.parent / "docs" / "data.md").read_text(encoding="utf-8")
    assert [name for name in SOURCES if f"`{name}`" not in guide] == []


@pytest.mark.parametrize(
    "question",
    ["A train is 125 m long . its speed in km / hr is", "What is $x$: \\[\n|x+1|\\le7.\n\\]",
     "Which? (A) 2 (B) 3.5 (E) 9 × 10^8",
     "How much did John spend altogether", "Find x:", "Who wrote the program? (A) Ann (B) Bob"],
)  # fmt: skip
@pytest.mark.parametrize(
    "request_", ["Let's write a program.", "Let's write a Python program.", "Let's program in Python in the response.",
                 "Please write a program to solve it.", "Write Python code to solve this."],
)  # fmt: skip
def test_mathinstruct_keeps_the_whole_question_and_no_request(question: str, request_: str) -> None:
    row = {"source": "data/PoT/mathqa.json", "instruction": f"{question} {request_}", "output": "print(45)"}
    (found,) = SOURCES["mathinstruct"].convert(row, "1")
    assert found.solution.problem.question == question


@pytest.mark.parametrize(
    ("result", "reference"), [("3_750", "3750"), ("1_413/25", "1413/25"), ("1_234_567", "1234567")]
)
def test_ape210k_in_the_hubs_form_has_the_ids_and_numbers_of_the_other_copy(result: str, reference: str) -> None:
    row = {"id": "ape210k__00971711", "question_chinese": "多少元？", "result": result, "equation": "x=1"}
    problem = SOURCES["ape210k"].convert(row, "1")[0].solution.problem
    assert (problem.id, problem.answer) == ("ape210k/971711", reference)
