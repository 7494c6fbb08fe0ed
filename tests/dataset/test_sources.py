"""Every source in the table loads its own fixture; the fixtures are ours, in the upstream's exact format."""

from __future__ import annotations

import ast
import bz2
import gzip
import json
import lzma
import pickle
import re
import subprocess
import sys
import tomllib
import zipfile
from fractions import Fraction
from pathlib import Path

import pytest

from dataset import sources
from dataset.build import build
from dataset.files import read_manifest, sha256
from dataset.sources import SOURCES, k12_zh, recognise, source_of
from dataset.sources.ape210k import as_written, program_of_equation, reference_of
from dataset.sources.arithmetic import exact, in_fractions, read_expression
from dataset.sources.gsm8k import program_of_marks
from dataset.sources.reading import read_rows
from dataset.sources.records import LeftOut
from dataset.topics import RULES_FILE, UNKNOWN, curriculum, topic_by_routes, topic_of, topics
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


def test_k12_reports_coverage_of_the_76_subtopics_of_the_others_and_of_unknown(tmp_path: Path) -> None:
    coverage = build("k12_zh", [fixture("k12_zh")], tmp_path, quiet=True).summary["subtopics"]
    assert list(coverage) == [*topics().values(), UNKNOWN]
    assert sum(coverage.values()) == 2
    assert coverage["一元一次方程"] == 1
    assert len(curriculum()) == 76
    assert len(set(topics())) == len(set(topics().values())) == 97


@pytest.mark.parametrize(
    ("fields", "topic"),
    [
        ({"topic": "周长"}, "周长"),
        ({"topic": "perimeter"}, "周长"),
        ({"topic": "unknown"}, UNKNOWN),
        ({"routes": ["拓展思维->能力->运算求解", "拓展思维->应用题模块->盈亏问题->盈亏基本类型"]}, "盈亏问题"),
        ({}, "鸡兔同笼"),
    ],
)
def test_a_chinese_problem_finds_its_subtopic(fields: dict[str, object], topic: str) -> None:
    question = "鸡兔同笼，有35个头，94只脚，鸡有几只？"
    row = {"id": "1", "question": question, "answer": "23", "style": "cot", "solution": "s"}
    (found,) = k12_zh.convert(row | fields, "1")
    assert found.solution.problem.subject == topic


ROUTES = [
    # The last step is the most special: the module's name before it does not decide.
    ("竞赛->知识点->排列组合与概率->二项式定理及其应用", "二项式定理"),
    ("竞赛->知识点->排列组合与概率->概率初步", "简单事件的概率"),
    ("竞赛->知识点->复数与平面向量->复数的应用", "复数"),
    ("课内体系->知识点->三角形->三角形及多边形->与三角形有关的线段->三角形的三边关系", "三角形与全等三角形"),
    ("课内体系->知识点->式->分式->分式的运算->分式加减、乘除、乘方混合运算", "分式"),
    ("课内体系->能力->运算能力", None),
]


@pytest.mark.parametrize(("route", "topic"), ROUTES)
def test_a_route_of_knowledge_points_has_its_topic_by_its_end(route: str, topic: str | None) -> None:
    assert topic_by_routes([route]) == topic


def test_a_question_that_no_rule_knows_is_unknown_and_its_choices_decide_nothing() -> None:
    assert topic_of("请看图，选出正确的一项．") == UNKNOWN
    assert topic_of("下列说法正确的是\n(A) 椭圆\n(B) 复数") == UNKNOWN
    assert topic_of("计算：$3\\times 4+5=$") == "四则混合运算与运算律"
    assert topic_of("已知$x-y=2$，则$x^2+y^2$的值是") == UNKNOWN


def test_every_rule_names_a_subtopic() -> None:
    rules = tomllib.loads(RULES_FILE.read_text(encoding="utf-8"))
    assert {topic for listed in rules.values() for _, topic in listed} <= set(topics().values())


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
    (tmp_path / "a.objects").write_text("\n".join(json.dumps(row, indent=2) for row in rows), encoding="utf-8")
    (tmp_path / "a.around").write_text(json.dumps({"keywords": "k", "example": rows}, indent=1), encoding="utf-8")
    (tmp_path / "parquet.without_its_name").write_bytes((tmp_path / "a.parquet").read_bytes())
    expected = list(enumerate(rows, 1))
    names = ("a.jsonl", "a.json", "a.parquet", "a.zip", "a.objects", "a.around", "parquet.without_its_name")
    for name in names:
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


OTHER_FORMS = [
    (gzip.compress(b'{"question": "q"}'), "this is a gzip file: unpack it with gunzip"),
    (b"\x28\xb5\x2f\xfd rest", "a zstd file"), (bz2.compress(b"{}"), "a bzip2 file"),
    (lzma.compress(b"{}"), "an xz file"), (pickle.dumps([{"question": "q"}]), "a Python pickle"),
    (b"\x93NUMPY\x01", "a NumPy array"), (b"\x89HDF\r\n", "an HDF5"), (b"ARROW1\0\0", "an Arrow file"),
    (b"\xff\xff\xff\xff\x10\0", "an Arrow stream"), (b"SQLite format 3\0", "an SQLite"), (b"%PDF-1.7", "a PDF"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"), (b"Rar!\x1a", "a rar archive"), (b"ORC\x03", "an ORC"),
    (b"Obj\x01", "an Avro file"), (b"\xd0\xcf\x11\xe0", "an old Excel"),
    ('{"a": 1}'.encode("utf-16"), "text in UTF-16"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer, not the file: fetch the file"),
    (b"<!DOCTYPE html><html></html>", "a web page"), (b"<?xml version='1.0'?><rows/>", "XML"),
    (b"question,answer\nWhat?,3\n", r"a table with commas \(question,answer\)"),
    (b"question\tanswer\nWhat?\t3", "a table with tabs"), (b"---\n- question: What?", "YAML"),
    (b"- question: What?", "YAML"), (b"What is one and one?\n", "plain text"), (b'"a string"\n', "plain text"),
    (b"abc\0\0\0def", "binary data"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "says"), OTHER_FORMS)
def test_a_file_of_a_form_that_is_not_read_says_what_was_expected_and_what_came(
    tmp_path: Path, content: bytes, says: str
) -> None:
    (path := tmp_path / "train.jsonl").write_bytes(content)
    for read in (lambda: build("gsm8k", [path], tmp_path / "out", quiet=True), lambda: source_of(path)):
        with pytest.raises(InputError, match=says) as raised:
            read()
        assert "expected JSON Lines" in str(raised.value)
        assert str(raised.value).startswith(f"{path}: ")
        assert "\n" not in str(raised.value)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="this is a folder: name the files in it"):
        list(read_rows(tmp_path))


@pytest.mark.parametrize("name", ["gaokao.json", "svamp.json", "math23k.json"])
def test_verify_and_mix_send_forms_that_only_build_reads_to_build(name: str) -> None:
    with pytest.raises(InputError, match=r"expected JSON Lines, this is .*: make candidates of it first"):
        source_of(FIXTURES / name)


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
    # 84 / 2 is 42.0 in Python: the answer is printed as it is written.
    shown = "print(f'{step2:.12g}')"
    assert program_of_marks(worked, "12 jars, 7 boxes", "42") == f"step1 = 12 * 7\nstep2 = step1 / 2\n{shown}"
    # 84 is a number of the question's own here: it stays.
    assert program_of_marks(worked, "12 jars, 7 boxes, 84", "42") == f"step1 = 12 * 7\nstep2 = 84 / 2\n{shown}"
    # The last mark is not the answer; the one before it is.
    assert program_of_marks(worked, "12 jars, 7 boxes", "84") == "step1 = 12 * 7\nstep2 = step1 / 2\nprint(step1)"
    assert program_of_marks("no marks", "q", "1") is None
    assert program_of_marks("<<180//7=25>>25", "180 in 7", "25") == "step1 = 180 // 7\nprint(step1)"


REFERENCES = [
    ("45", "45"),
    ("(11/20)", "11/20"),
    ("2(1/2)", "2 1/2"),
    ("93.75%", "93.75%"),
    ("7/(3+4)", "1"),
    ("-3", "-3"),
    ("19((3)/(4))", "19 3/4"),  # Math23K
    ("((3)/(4))", "3/4"),
    ("3_750", "3750"),
]


@pytest.mark.parametrize(("answer", "reference"), REFERENCES)
def test_ape210k_answers_are_written_as_usual(answer: str, reference: str) -> None:
    assert reference_of(answer) == reference


def test_equations_become_programs_in_the_form_of_their_answer() -> None:
    assert program_of_equation("x=135+3", "138") == "x = 135 + 3\nprint(x)"
    assert program_of_equation("x=135/3", "45") == "x = 135 / 3\nprint(f'{x:.12g}')"
    assert "Fraction(1, 5)" in program_of_equation("x=1-(1/5)", "4/5")
    assert program_of_equation("x=15/16", "93.75%") == "x = 15 / 16\nprint(f'{x * 100:.12g}%')"


PRINTED = [
    ("x=(1/3)*3.14*(31.4/(2*3.14))**2*1.2/(10/100*4)", "78.5"),  # 78.49999999999999 in floats
    ("x=0.1+0.2", "0.3"), ("x=1200/3", "400"), ("x=2**40/1024", "1073741824"), ("x=10/3", "3.33"),
    ("x=1-(1/5)-(1/4)", "11/20"), ("x=(20%*300)/(300+100)", "15%"), ("x=1000000000000000*3/3", "1000000000000000"),
]  # fmt: skip


@pytest.mark.parametrize(("equation", "answer"), PRINTED)
def test_a_program_prints_its_answer_as_it_is_written(equation: str, answer: str) -> None:
    done = subprocess.run([sys.executable, "-c", program_of_equation(equation, answer)], capture_output=True, text=True)
    assert done.stdout.strip() == (answer if answer != "3.33" else str(10 / 3))  # what is rounded stays what it is


WRITTEN = [
    ("1413/25", "半径6米的圆，面积的一半是多少平方米？", "x=3.14*6**2/2", "56.52"),
    ("3/20", "得到的盐水含盐百分比是多少．", "x=((20%*300)/(300+100))*100%", "15%"),
    ("1", "多百分之几？", "x=(40%-20%)/20%", "100%"),
    ("11/20", "还剩几分之几？", "x=1-(1/5)-(1/4)", "11/20"),
    ("1/3", "每份多少千克？", "x=1.5/4.5", "1/3"),
    ("3/8", "已用去的占这桶油的多少？", "x=3/(3+5)", "3/8"),
    ("5/2", "每枝多少元？", "x=10/4", "2.5"),
    ("40", "多少元？", "x=80/2", "40"),
]


@pytest.mark.parametrize(("reference", "question", "equation", "written"), WRITTEN)
def test_a_result_of_the_hubs_is_written_as_the_question_has_it(
    reference: str, question: str, equation: str, written: str
) -> None:
    assert as_written(reference, question, equation) == written


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


@pytest.mark.parametrize(("result", "reference"), [("3_750", "3750"), ("1_413/25", "56.52"), ("1_234_567", "1234567")])
def test_ape210k_in_the_hubs_form_has_the_ids_and_numbers_of_the_other_copy(result: str, reference: str) -> None:
    row = {"id": "ape210k__00971711", "question_chinese": "多少元？", "result": result, "equation": "x=1"}
    problem = SOURCES["ape210k"].convert(row, "1")[0].solution.problem
    assert (problem.id, problem.answer) == ("ape210k/971711", reference)
