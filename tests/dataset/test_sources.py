"""Every source in the table loads its own fixture; the fixtures are ours, in the upstream's exact format."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from dataset import sources
from dataset.build import build
from dataset.files import read_manifest, sha256
from dataset.sources import SOURCES, Source, recognise
from dataset.sources.reading import read_rows
from dataset.sources.records import Candidate, LeftOut
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
    ("k12_zh", {"id": "1", "question": "q", "answer": "1", "routes": "周长", "style": "cot", "solution": "s"},
    "'routes'"), ("math23k", {"id": "1", "original_text": "q", "equation": "x=a+b", "ans": "1"}, "not arithmetic"),
    ("tal_scq5k", {"problem": "p", "answer_option_list": ["A"], "answer_value": "A"}, "'answer_option_list'"),
    ("tal_scq5k", {"problem": "p", "answer_option_list": [[{"aoVal": "A", "content": "1"}]], "answer_value": "E"},
     "'answer_value' is 'E', expected one of A"),
    ("gaokao", {"question": "q", "analysis": "a"}, "'standard_answer'"),
    ("openmath", {"question": "q", "generated_solution": "s"}, "'expected_answer'"),
    ("numina_tir", {"problem": "p", "messages": "m", "answer": "1"}, "'messages'"),
    ("mathcodeinstruct", {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": [{"x": 1}]}]},
     "type text, code or execution"),
    ("aqua", {"question": "q", "options": "A)1", "rationale": "r", "correct": "A"}, "'options'"),
    ("aqua", {"question": "q", "options": ["A)1"], "rationale": "r", "correct": "B"}, "'correct' is 'B'"),
    ("mathqa", {"Problem": "p", "Rationale": "r", "options": "none", "correct": "a"}, "'options'"),
    ("svamp", {"Body": "b", "Question": "q", "Equation": "( 1 + x )", "Answer": 2.0}, "not arithmetic"),
    ("tora", {"question": "q", "reference": "1", "solution": "s", "recorded_correct": "yes"}, "recorded_correct"),
    ("mathcoder", {"question": "q", "reference": "1", "segments": [{"role": "poem", "content": ""}]}, "'segments'"),
    ("chat", {"messages": [{"role": "assistant", "content": "a"}], "answer": "1"}, "roles"),
    ("chat", {"messages": "hello", "answer": "1"}, "'messages'"),
    ("chat", {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "language": "fr"},
     "fr"),
    ("chat", {"messages": [{"role": "user", "content": [{"type": "text", "content": "q"}]}], "answer": "1"},
     "--source mathcodeinstruct"),
    ("candidates", {"id": 1, "problem": {}, "turns": []}, "'id'"),
    # Values that arithmetic, sets and dictionaries of ours would fail on.
    ("mathcoder", {"question": "q", "reference": "1", "segments": [{"role": ["x"], "content": ""}]}, "'segments'"),
    ("mathcodeinstruct", {"messages": [{"role": "user", "content": [{"type": {}, "content": "q"}]},
                                       {"role": "assistant", "content": "a"}]}, "type text, code or execution"),
    ("ape210k", {"question_chinese": "q", "result": "1/0", "equation": "x=1"}, "divides by zero"),
]  # fmt: skip


TOO_LARGE = "1" + "0" * 400
HUGE_NUMBERS = [
    ("ape210k", {"id": "1", "original_text": "q", "ans": "1" * 400, "equation": f"x={TOO_LARGE}*1.5"}),
    ("ape210k", {"question_chinese": "q", "result": TOO_LARGE, "equation": "x=1.5"}),
    ("svamp", {"Body": "b", "Question": "q", "Equation": TOO_LARGE, "Answer": 2.0}),
    ("gsm8k", {"question": "9" * 5_000, "answer": "<<2*3=6>>6\n#### 6"}),
]


@pytest.mark.parametrize(("name", "row"), HUGE_NUMBERS)
def test_numbers_beyond_floats_give_a_program_all_the_same(name: str, row: dict[str, object]) -> None:
    assert "pot" in [found.solution.style for found in SOURCES[name].convert(row, "1")]


@pytest.mark.parametrize(("name", "row", "says"), BAD_ROWS)
def test_a_row_in_another_form_is_refused_and_says_why(name: str, row: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        SOURCES[name].convert(row, "1")


def test_whatever_a_conversion_fails_with_is_one_line_with_source_and_place(tmp_path: Path) -> None:
    def careless(row: Mapping[str, object], default_id: str) -> list[Candidate]:
        return [row["missing"]]  # type: ignore[list-item]

    source = Source(name="own", convert=careless, licence="MIT")
    with pytest.raises(InputError, match=r"own: expected a row .* found one with the fields question, which raises "
                                         r"KeyError\('missing'\) at test_sources\.py:\d+"):  # fmt: skip
        source.candidates({"question": "q\n" * 1000}, "1")
    path = tmp_path / "a.jsonl"
    path.write_text('{"source": "data/\\n' + "x" * 5000 + '", "instruction": "i", "output": "o"}\n')
    build("mathinstruct", [path], tmp_path / "out", quiet=True)
    (bad,) = (json.loads(line) for line in (tmp_path / "out" / "bad.jsonl").read_text().splitlines())
    assert bad["problem"].startswith("mathinstruct: 'source' is ")
    assert "\n" not in bad["problem"]
    assert len(bad["problem"]) < 400


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
    # What is left out and what is cut is counted and listed.
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert manifest.dropped == {"TheoremQA is not part of our subset": 1}
    assert manifest.summary["changed"] == {"the request for a program cut off the question": 1}
    left_out, changed = ((tmp_path / f"{name}.jsonl").read_text() for name in ("left_out", "changed"))
    assert [json.loads(left_out)["line"], json.loads(changed)["line"]] == [3, 2]


def test_a_program_asked_without_choices_takes_what_stands_behind_the_letter(tmp_path: Path) -> None:
    build("mathqa", [fixture("mathqa")], tmp_path / "mathqa", quiet=True)
    asked = "a shop sells 12 pens for rs . 60 . what is the price of 5 pens ? Let's write a Python program."
    row = {"source": "data/PoT/mathqa.json", "instruction": asked, "output": "print(60 / 12 * 5)"}
    (tmp_path / "mi.json").write_text(json.dumps([row]))
    build("mathinstruct", [tmp_path / "mi.json"], tmp_path / "out", answers=[tmp_path / "mathqa" / "problems.jsonl"])
    assert [solution.problem.answer for solution in built(tmp_path / "out" / "candidates.jsonl")] == ["25"]


def test_rupees_that_lost_their_r_are_mended_and_told() -> None:
    row = {"Problem": "what is it ?", "Rationale": "it is a", "options": "a ) s . 1300 , b ) s : 67", "correct": "a",
           "annotated_formula": "multiply(1300, const_1)"}  # fmt: skip
    found = SOURCES["mathqa"].convert(row, "1")
    assert [one.solution.problem.answer for one in found] == ["A", "rs . 1300"]
    assert all(one.changes == ("rupees without their r in the choices",) for one in found)


LEFT_OUT = [
    ("openmath", {"question": "q", "expected_answer": "1", "generated_solution": "2", "is_correct": False}, "wrong"),
    ("lila_ood", {"Input": "i", "Output Program": ["p"], "Output Answer": ["1"], "split": "dev"}, "split is dev"),
    ("lila_ood", {"Input": "i", "Output Program": [" "], "Output Answer": ["1"]}, "no program"),
    ("aqua", {"question": "q", "options": ["A)1", "B)2"], "rationale": "ANSWER:A", "correct": "A"}, "no solution"),
    ("aqua", {"question": "q", "options": ["A)1", "B)2"], "rationale": "so it is one. Answer: A", "correct": "B"},
     "another letter"),
    ("tal_scq5k", {"problem": "题", "answer_option_list": [[{"aoVal": "A", "content": "1"}]], "answer_value": "A",
                   "answer_analysis": ["略．"]}, "no worked solution"),
    ("tal_scq5k", {"problem": "题", "answer_option_list": [[{"aoVal": "A", "content": "1"}], [{"aoVal": "B",
                   "content": "2"}]], "answer_value": "A", "answer_analysis": ["故选$\\text{B}$．"]}, "another letter"),
    ("gaokao", {"question": "题", "standard_answer": ["A"], "analysis": " "}, "no worked solution"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "says"), LEFT_OUT)
def test_a_row_that_is_left_out_says_why(name: str, row: dict[str, object], says: str) -> None:
    with pytest.raises(LeftOut, match=says):
        SOURCES[name].convert(row, "1")


def test_programs_between_tags_are_read_in_every_form_of_messages() -> None:
    text = "Add.\n<llm-code>\nprint(1 + 2)\n</llm-code>\n<llm-code-output>\n3\n</llm-code-output>\nIt is \\boxed{3}."
    messages = [{"role": "user", "content": "1 + 2?"}, {"role": "assistant", "content": text}]
    rows = {"chat": {"messages": messages, "answer": "3"}, "tora": {"messages": messages, "gt_cot": "So \\boxed{3}."},
            "numina_tir": {"messages": messages}}  # fmt: skip
    for name, row in rows.items():
        (found,) = SOURCES[name].convert(row, "1")
        assert [turn.kind for turn in found.solution.turns] == ["text", "code", "output", "text"], name
        assert (found.solution.style, found.solution.problem.answer) == ("tir", "3")


def test_a_folder_of_one_file_a_problem_is_read_as_upstream_publishes_math(tmp_path: Path) -> None:
    files = []
    for number in (1, 2):
        row = {"problem": f"What is ${number}+1$?", "level": "Level 3", "type": "Algebra",
               "solution": f"It is $\\boxed{{{number + 1}}}$."}  # fmt: skip
        files.append(tmp_path / "train" / "algebra" / f"{number}.json")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        files[-1].write_text(json.dumps(row, indent=4))
    assert build("math", files, tmp_path / "out", quiet=True).summary["bad"] == 0
    solutions = built(tmp_path / "out" / "candidates.jsonl")
    assert [solution.problem.id for solution in solutions] == ["math/algebra/1/1", "math/algebra/2/1"]
    assert [solution.problem.answer for solution in solutions] == ["2", "3"]


def test_levels_are_written_as_in_the_benchmark() -> None:
    rows = [row for _, row in read_rows(fixture("math")) if isinstance(row, dict)]
    assert [SOURCES["math"].convert(row, "1")[0].solution.problem.level for row in rows] == ["1", "2", "1"]
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "gt": "1"}
    assert SOURCES["tora"].convert({**row, "level": "Level 5"}, "1")[0].solution.problem.level == "5"


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
    monkeypatch.setenv("SOROBAN_DATA", str(tmp_path / "data"))
    with pytest.raises(InputError, match=r"openai/gsm8k/.*--file"):
        build("gsm8k", [], tmp_path / "out", quiet=True)
    with pytest.raises(InputError, match="no place to fetch it from is known"):
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


@pytest.mark.parametrize(("result", "reference"), [("3_750", "3750"), ("1_413/25", "56.52"), ("1_234_567", "1234567")])
def test_ape210k_in_the_hubs_form_has_the_ids_and_numbers_of_the_other_copy(result: str, reference: str) -> None:
    row = {"id": "ape210k__00971711", "question_chinese": "多少元？", "result": result, "equation": "x=1"}
    problem = SOURCES["ape210k"].convert(row, "1")[0].solution.problem
    assert (problem.id, problem.answer) == ("ape210k/971711", reference)
