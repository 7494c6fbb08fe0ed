"""The files in examples/ do what their first lines say. (openai_agent.py and trl_grpo.py: tests/integrations.)"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

from tokenizers import Tokenizer

from dataset.transcript import STOP
from tests.evaluator.speaking import Learned, Server
from tests.evaluator.tiny import make_tokenizer

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SIX = "```python\nprint(6 * 7)\n```\n```output\n42\n```\nThe answer is $\\boxed{42}$."


def run(folder: Path, *command: str | Path) -> str:
    """What a command printed, run in `folder`; its failure is the test's."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def write(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_of_your_own_json_lines_those_that_are_right_are_kept(tmp_path: Path) -> None:
    write(
        tmp_path / "mine.jsonl",
        {"problem": "What is 6 times 7?", "gold": 42, "response": SIX},
        {"problem": "What is 3 times 4?", "gold": "12", "response": "It is 13."},
        {"problem": "What is 6 times 8?", "gold": "42", "response": SIX.replace("6 * 7", "6 * 8")},
    )
    fields = ("--question", "problem", "--answer", "gold", "--solution", "response")
    flags = ("--out", "runs/mine", "--workers", "1")
    run(tmp_path, sys.executable, EXAMPLES / "verify_jsonl.py", "mine.jsonl", *fields, *flags)
    kept, dropped = (
        [json.loads(line) for line in (tmp_path / "runs" / "mine" / name).read_text().splitlines()]
        for name in ("kept.jsonl", "dropped.jsonl")
    )
    assert [row["id"] for row in kept] == ["mine/1"]
    assert [(row["id"], row["reason"]) for row in dropped] == [("mine/2", "wrong_answer"), ("mine/3", "output_differs")]


def test_a_search_over_forked_sessions_finds_a_way_to_24(tmp_path: Path) -> None:
    way = run(tmp_path, sys.executable, EXAMPLES / "tree_search.py", "2", "3", "4").strip()
    assert eval(way) == 24
    assert all(way.count(number) == 1 for number in "234")
    assert run(tmp_path, sys.executable, EXAMPLES / "tree_search.py", "1", "1").strip() == "no way to 24"


def test_a_benchmark_of_your_own_is_scored(tmp_path: Path) -> None:
    write(
        tmp_path / "exam.jsonl",
        {"n": "7b", "task": "What is 6 times 7?", "solution": "42", "topic": "arithmetic"},
        {"n": "8", "task": "What is 3 times 4?", "solution": "12"},
    )
    write(
        tmp_path / "recorded.jsonl",
        {"question": "What is 6 times 7?", "solution": SIX},
        {"question": "What is 3 times 4?", "solution": "It is $\\boxed{13}$."},
    )
    flags = (
        "--file",
        "exam.jsonl",
        "--model",
        "recorded.jsonl",
        "--backend",
        "replay",
        "--tools",
        "--out",
        "runs/exam",
    )
    table = run(tmp_path, sys.executable, EXAMPLES / "custom_benchmark.py", *flags)
    row = next(line for line in table.splitlines() if line.startswith("recorded.jsonl"))
    assert row.split()[:5] == ["recorded.jsonl", "tools", "exam", "2", "50.0"]


def test_a_model_is_scored_by_the_address_of_its_server(tmp_path: Path) -> None:
    make_tokenizer().save_pretrained(tmp_path / "tokenizer")
    question = "What is 6 + 6 now?"
    write(tmp_path / "exam.jsonl", {"id": "1", "question": question, "reference": "12"})
    said = {question: [f"So:\n```python\nprint(12)\n```\n{STOP}", "It is $\\boxed{12}$."]}
    with Server(
        0, Learned(Tokenizer.from_file(str(tmp_path / "tokenizer" / "tokenizer.json")), "abacus", said)
    ) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        exam = ("--benchmark", "recorded", "--file", "exam.jsonl", "--tokenizer", "tokenizer")
        table = run(tmp_path, EXAMPLES / "evaluate_url.sh", server.url, "abacus", "runs/abacus", *exam)
        server.shutdown()
    rows = [line.split() for line in table.splitlines() if line.startswith("abacus")]
    assert ["abacus", "tools", "recorded", "1", "100.0"] in [row[:5] for row in rows]
    assert (tmp_path / "runs" / "abacus" / "report.html").stat().st_size > 100_000


def test_a_source_of_your_own_is_built_and_a_line_that_lacks_a_field_is_named(tmp_path: Path) -> None:
    row: dict[str, object] = {
        "task": "What is 6 times 7?",
        "gold": "42",
        "words": "It is 42.",
        "python": "print(6 * 7)",
    }
    write(tmp_path / "lessons.jsonl", row, {"task": "What is 6 times 8?", "gold": "48"})
    command = [sys.executable, EXAMPLES / "custom_source.py", "--file", "lessons.jsonl", "--out", "lessons"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True)
    assert done.returncode == 2  # as for any file with lines that cannot be used
    candidates = [json.loads(line) for line in (tmp_path / "lessons" / "candidates.jsonl").read_text().splitlines()]
    assert [row["style"] for row in candidates] == ["cot", "pot"]
    assert "words" in (tmp_path / "lessons" / "bad.jsonl").read_text()


def test_the_notebook_prints_what_stands_in_it(tmp_path: Path) -> None:
    cells = json.loads((EXAMPLES / "sandbox.ipynb").read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    shown = "".join(text for cell in code for output in cell["outputs"] for text in output["text"])
    assert shown.count("\n") >= 5
    assert run(tmp_path, sys.executable, "-c", "\n".join("".join(cell["source"]) for cell in code)) == shown
