"""The commands as a user meets them: from a run to table and report, and every slip in one line."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from dataset.files import MANIFEST
from dataset.types import Problem
from evaluator.__main__ import main
from sandbox.command import run_command

QUESTIONS = {"What is 2 + 3?": "5", "二加三是多少？": "5"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with problems, recordings with and without programs, and a model folder that lacks everything."""
    with (tmp_path / "test.jsonl").open("w") as file:
        for number, (question, answer) in enumerate(QUESTIONS.items()):
            one = Problem(id=f"d/{number}", source="d", language="en", question=question, answer=answer, level="1")
            file.write(json.dumps(asdict(one)) + "\n")
    with (tmp_path / "tools.jsonl").open("w") as file:
        for question in QUESTIONS:
            text = "```python\nprint(2 + 3)\n```\n```output\n5\n```\nIt is $\\boxed{5}$."
            file.write(json.dumps({"question": question, "solution": text}) + "\n")
    with (tmp_path / "words.jsonl").open("w") as file:
        for question in QUESTIONS:
            file.write(json.dumps({"question": question, "solution": "It is $\\boxed{6}$."}) + "\n")
    (tmp_path / "model").mkdir()
    return tmp_path


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("SOROBAN_DATA", str(tmp_path / "nothing"))

    def go(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["evaluator", *map(str, arguments)])
        code = run_command(main)
        out, err = capfd.readouterr()
        return code, out, err

    return go


Command = Callable[..., tuple[int, str, str]]


def measured(command: Command, files: Path) -> Path:
    """Results of both modes under one folder."""
    for mode, recording in (("--tools", "tools"), ("--no-tools", "words")):
        code, out, err = command(
            *("run", "--backend", "replay", "--model", files / f"{recording}.jsonl", "--name", "abacus", mode),
            *("--benchmark", "demo", "--file", files / "test.jsonl", "--out", files / "r"),
        )
        assert (code, "Measured" in out) == (0, True), err
    return files / "r"


def test_from_run_to_table_in_every_format(command: Command, files: Path) -> None:
    results = measured(command, files)
    assert (results / MANIFEST).exists()
    _, text, _ = command("table", results)
    assert "abacus  tools  demo" in text
    assert "100.0" in text
    _, markdown, _ = command("table", results, "--format", "markdown")
    assert "| abacus | tools | demo | 2 | 100.0 | 34.2 to 100.0 | 100.0 |" in markdown
    _, latex, _ = command("table", results, "--format", "latex")
    assert latex.count(r"\begin{tabular}") == 1
    assert "95 \\%" in latex
    _, commas, _ = command("table", results, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(commas)))
    assert [(row["tools"], row["accuracy"]) for row in rows] == [("none", "0.0"), ("tools", "100.0")]


def test_a_second_run_does_nothing_and_leaves_the_manifest_as_it_was(command: Command, files: Path) -> None:
    results = measured(command, files)
    before = (results / MANIFEST).stat().st_mtime_ns
    measured(command, files)
    assert (results / MANIFEST).stat().st_mtime_ns == before


def test_regrade_works_on_results_alone(command: Command, files: Path) -> None:
    results = measured(command, files)
    (files / "test.jsonl").unlink()
    (files / "tools.jsonl").unlink()
    code, out, _ = command("regrade", results)
    assert (code, out.count("2 samples, 0 now right, 0 now wrong")) == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--benchmark nonsense --file {f}/test.jsonl", "unknown benchmark 'nonsense'; there are gsm8k, math, mgsm_zh"),
        ("--benchmark demo --file {f}/none.jsonl", "none.jsonl: no such file. demo is test.jsonl as"),
        (
            "--benchmark gsm8k",
            "nothing/gsm8k_test.jsonl: no such file. gsm8k is test.jsonl of github",
        ),
        ("--benchmark gsm8k --data-dir {f}/none", "gsm8k_test.jsonl: no such file. gsm8k is test.jsonl of github.com"),
        ("--benchmark gsm8k,demo --file {f}/test.jsonl", "--file gives the problems of one benchmark, 2 were asked"),
        ("--benchmark demo,demo --data-dir {f}", "--benchmark demo,demo: each one once"),
        ("--benchmark mgsm_zh --file {f}/test.jsonl", "test.jsonl has 2 problems; mgsm_zh is pinned at 250"),
        ("--benchmark gsm8k --file {f}/test.jsonl", "test.jsonl:1: not a problem of gsm8k: the answer has no '####'"),
        (
            "--benchmark demo --file {f}/tools.jsonl",
            "tools.jsonl:1: no field 'id' in a line of demo; this has",
        ),
        ("--benchmark demo --file {f}/test.jsonl --limit 0", "--limit 0: expected at least 1"),
        ("--benchmark demo --file {f}/test.jsonl --samples 4", "--samples 4 at temperature 0 are all the same"),
        ("--benchmark demo --file {f}/test.jsonl --temperature -1", "--temperature -1.0: expected 0 (greedy) to 10"),
        ("--benchmark demo --file {f}/test.jsonl --protocol exam", "unknown protocol 'exam'; there are default, deep"),
        (
            "--benchmark demo --file {f}/test.jsonl --backend gpu",
            "unknown backend 'gpu'; there are vllm, openai, trans",
        ),
        ("--benchmark demo --file {f}/test.jsonl --model {f}/none.jsonl", "none.jsonl: no such file; --backend replay"),
        ("--benchmark demo --file {f}/test.jsonl --model {f}/test.jsonl", "test.jsonl:1: expected 'question' and 'sol"),
        (
            "--benchmark demo --file {f}/test.jsonl --url http://h:1/v1",
            "--url names model servers, which --backend rep",
        ),
        (
            "--benchmark demo --file {f}/test.jsonl --backend openai",
            "--backend openai: where is the server? Give --url",
        ),
        (
            "--benchmark demo --file {f}/test.jsonl --backend openai --url host:8000",
            "--url host:8000: expected an addr",
        ),
        (
            "--benchmark demo --file {f}/test.jsonl --protocol deepseekmath --system x --template-option a=1",
            "--protocol deepseekmath writes the whole prompt itself: leave out --system, --template-option",
        ),
        ("--benchmark demo --file {f}/test.jsonl --template-option thinking", "thinking: expected name=value, such as"),
        (
            "--benchmark demo --file {f}/test.jsonl --chat-template {f}/none",
            "none: [Errno 2] No such file or directory",
        ),
        (
            "--benchmark demo --file {f}/test.jsonl --top-k -1 --min-p 2",
            "--top-k -1: expected 0 (all tokens) or more; --",
        ),
        (
            "--benchmark demo --file {f}/test.jsonl --repetition-penalty 0",
            "expected more than 0 (1: none) and at most 10",
        ),
        (
            "--benchmark demo --file {f}/test.jsonl --model-sampling",
            "tools.jsonl has no generation_config.json; say --t",
        ),
        ("--benchmark demo --file {f}/test.jsonl --patience -1", "--patience -1.0: expected 0 or more seconds"),
        (
            "--benchmark demo --file {f}/test.jsonl --backend openai --url http://h --tokenizer {f}/model",
            "model: no tokenizer in it",
        ),
        (
            "--benchmark demo --file {f}/test.jsonl --backend transformers --model {f}/none",
            "none: no such model folder",
        ),
        (
            "--benchmark demo --file {f}/test.jsonl --backend transformers --model {f}/model",
            "model: no config.json in it; expected a model folder",
        ),
    ],
)
def test_a_slip_is_answered_in_one_line_and_exit_code_2(
    command: Command, files: Path, arguments: str, told: str
) -> None:
    common = ["run", "--backend", "replay", "--model", files / "tools.jsonl", "--tools", "--out", files / "r"]
    code, out, err = command(*common, *arguments.format(f=files).split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert told in err


def test_sampling_from_no_file_is_a_slip(command: Command, files: Path) -> None:
    flags = ["--style", "tir", "--backend", "replay", "--model", files / "tools.jsonl", "--out", files / "r"]
    code, _, err = command("sample", "--problems", files / "none.jsonl", *flags)
    assert (code, err.count("\n")) == (2, 1)
    assert "none.jsonl: no such file; `python -m dataset build` writes one" in err


def test_neither_mode_is_a_slip(command: Command, files: Path) -> None:
    code, _, err = command(
        *("run", "--backend", "replay", "--model", files / "tools.jsonl", "--out", files / "r"),
        *("--benchmark", "demo", "--file", files / "test.jsonl"),
    )
    assert (code, err) == (2, "error: say --tools, --no-tools or both\n")


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("tokenizer.json", "no tokenizer in it"),
        ("chat_template.jinja", "the tokenizer has no chat template"),
        ("config.json", "no config.json in it"),
    ],
)
def test_a_model_folder_without_a_part_is_named_before_anything_starts(
    command: Command, files: Path, tiny_model: Path, missing: str, told: str
) -> None:
    folder = files / "broken"
    shutil.copytree(tiny_model, folder)
    (folder / missing).unlink()
    code, _, err = command(
        *("run", "--model", folder, "--no-tools", "--benchmark", "demo", "--file", files / "test.jsonl"),
        *("--out", files / "r"),
    )
    assert (code, err.count("\n"), told in err) == (2, 1, True), err


def test_a_tokenizer_whose_settings_are_torn_is_named_before_anything_starts(
    command: Command, files: Path, tiny_model: Path
) -> None:
    folder = files / "torn"
    shutil.copytree(tiny_model, folder)
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<en')
    code, _, err = command(
        *("run", "--model", folder, "--no-tools", "--benchmark", "demo", "--file", files / "test.jsonl"),
        *("--out", files / "r"),
    )
    assert (code, err.count("\n"), "tokenizer_config.json: not JSON" in err) == (2, 1, True), err


def test_results_of_another_configuration_are_refused_by_name(command: Command, files: Path) -> None:
    measured(command, files)
    code, _, err = command(
        *("run", "--backend", "replay", "--model", files / "tools.jsonl", "--tools", "--temperature", "1"),
        *("--benchmark", "demo", "--file", files / "test.jsonl", "--out", files / "r"),
    )
    assert code == 2
    assert "holds results of another configuration (temperature was 0.0, is 1.0)" in err


@pytest.mark.parametrize("arguments", ["table {f}", "report {f} --out {f}/page.html", "regrade {f}", "table {f}/none"])
def test_a_folder_without_results_is_a_slip(command: Command, files: Path, arguments: str) -> None:
    code, _, err = command(*arguments.format(f=files / "model").split())
    assert (code, err.count("\n"), "no results in it" in err) == (2, 1, True)
