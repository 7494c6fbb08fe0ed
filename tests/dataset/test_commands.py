"""`python -m dataset` from outside: bad input in one line, and runs that survive being killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dataset.chunks import claimed
from dataset.demo.build import build_demo
from dataset.files import sha256
from tests.processes import descendants, outliving

ROOT = Path(__file__).parent.parent.parent
GOOD = {
    "id": "own/1/cot",
    "style": "cot",
    "problem": {"id": "own/1", "source": "own", "language": "en", "question": "What is 2 plus 2?", "answer": "4"},
    "turns": [["text", "It is $\\boxed{4}$."]],
}


def dataset(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dataset", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, **options)


def write(path: Path, *rows: object) -> Path:
    path.write_bytes(b"\n".join(r if isinstance(r, bytes) else json.dumps(r).encode() for r in rows) + b"\n")
    return path


def refused(done: subprocess.CompletedProcess[str], *says: str) -> None:
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: "), done.stderr
    for text in says:
        assert text in last, last


def test_a_missing_file_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    refused(dataset("verify", tmp_path / "no.jsonl", "--out", tmp_path / "out"), "no.jsonl", "No such file")
    refused(dataset("mix", tmp_path / "no.jsonl", "--out", tmp_path / "out"), "no.jsonl", "No such file")
    refused(dataset("build", "gsm8k", "--file", tmp_path / "no.jsonl", "--out", tmp_path / "out"), "no.jsonl")


def test_an_unknown_source_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD)
    refused(dataset("build", "gsm9k", "--file", path, "--out", tmp_path / "out"), "gsm9k", "gsm8k")
    refused(dataset("verify", path, "--source", "gsm9k", "--out", tmp_path / "out"), "gsm9k", "gsm8k")
    odd = write(tmp_path / "odd.jsonl", {"poem": "roses"})
    refused(dataset("verify", odd, "--out", tmp_path / "out"), "odd.jsonl", "poem", "--source")


def test_a_file_without_a_row_that_can_be_read_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    refused(dataset("verify", write(tmp_path / "no.jsonl", b""), "--out", tmp_path / "out"), "no.jsonl", "no rows")
    chinese = write(tmp_path / "gbk.jsonl", json.dumps({"id": "题"}, ensure_ascii=False).encode("gbk"))
    refused(dataset("verify", chinese, "--out", tmp_path / "out"), "gbk.jsonl:1", "UTF-8")


def test_bad_values_are_one_line_and_exit_code_2(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD)
    refused(dataset("verify", path, "--out", tmp_path / "out", "--workers", "0"), "--workers")
    refused(dataset("verify", path, "--out", tmp_path / "out", "--wall-seconds", "nan"), "wall_seconds")
    refused(dataset("build", "demo", "--out", tmp_path / "out", "--spoiled", "2"), "--spoiled")
    refused(dataset("build", "gsm8k", "--out", tmp_path / "out", "--hub", "--file", path), "--file", "--hub")
    config = tmp_path / "mixture.toml"
    config.write_text('rows = "many"\n[[part]]\nname = "a"\nweigth = 1\n')
    refused(dataset("mix", path, "--out", tmp_path / "out", "--config", config), "rows", "weigth")


def test_no_isolation_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD)
    # A server that is not there is the one lack of a sandbox that can be made anywhere.
    done = dataset("verify", path, "--out", tmp_path / "out", "--sandbox", "http://127.0.0.1:9", "--limit", "1")
    assert done.returncode == 0, "words need no sandbox"
    tool = GOOD | {"style": "pot", "turns": [["code", "print(4)"]]}
    path = write(tmp_path / "b.jsonl", tool)
    done = dataset("verify", path, "--out", tmp_path / "out2", "--sandbox", "http://127.0.0.1:9", "--patience", "1")
    refused(done, "127.0.0.1:9")
    assert not (tmp_path / "out2" / "manifest.json").exists()


def test_bad_lines_are_listed_counted_and_the_rest_is_verified(tmp_path: Path) -> None:
    long = b'{"id": "' + b"x" * (50 << 20) + b'"}'
    path = write(
        tmp_path / "a.jsonl",
        GOOD,
        b"{broken",
        b'{"id": "\xff"}',
        {"id": "own/2", "style": "cot", "problem": {"id": "own/2"}, "turns": []},
        long,
        GOOD,
        GOOD | {"id": "own/3"},
        [1, 2],
    )
    done = dataset("verify", path, "--out", tmp_path / "out")
    refused(done, "a.jsonl:2", "6 of 8 lines", "bad.jsonl")
    bad = [json.loads(line) for line in (tmp_path / "out" / "bad.jsonl").read_text().splitlines()]
    assert [(row["line"]) for row in bad] == [2, 3, 4, 5, 6, 8]
    for row, says in zip(bad, ["not JSON", "UTF-8", "'source'", "16 MiB", "was there before", "list"], strict=True):
        assert says in row["problem"]
        assert row["file"] == str(path)
    assert len((tmp_path / "out" / "kept.jsonl").read_text().splitlines()) == 2
    # Asking again says the same again.
    refused(dataset("verify", path, "--out", tmp_path / "out"), "a.jsonl:2", "6 of 8 lines")
    # The mixture says so, too, and mixes the rest.
    refused(dataset("mix", path, "--out", tmp_path / "mix", "--benchmarks"), "a.jsonl:2", "6 of 8 lines")
    assert len((tmp_path / "mix" / "train-00000.jsonl").read_text().splitlines()) == 1
    (duplicate,) = (tmp_path / "mix" / "duplicates.jsonl").read_text().splitlines()
    assert json.loads(duplicate) == {"id": "own/3", "kind": "exact", "of": "own/1/cot"}


def test_a_finished_run_is_not_done_again_nor_mistaken_for_another(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD)
    assert dataset("verify", path, "--out", tmp_path / "out").returncode == 0
    before = (tmp_path / "out" / "manifest.json").stat().st_mtime_ns
    assert dataset("verify", path, "--out", tmp_path / "out").returncode == 0
    assert (tmp_path / "out" / "manifest.json").stat().st_mtime_ns == before
    refused(dataset("verify", path, "--out", tmp_path / "out", "--outputs", "keep"), "another --out")
    write(path, GOOD | {"id": "other"})
    refused(dataset("verify", path, "--out", tmp_path / "out"), "another --out")


@pytest.mark.parametrize("flags", [("--source", "tora"), ()])
def test_what_the_rows_were_taken_for_is_said(tmp_path: Path, flags: tuple[str, ...]) -> None:
    path = write(tmp_path / "a.jsonl", {"question": "2+2?", "reference": "4", "solution": "So $\\boxed{4}$."})
    done = dataset("verify", path, "--out", tmp_path / "out", *flags)
    assert done.returncode == 0, done.stderr
    assert "read as tora" in done.stdout


def test_outputs_that_differ_are_listed_by_cause_and_counted(tmp_path: Path) -> None:
    row = {"question": "2+2?", "reference": "4", "segments": [
        {"role": "code", "content": "x = 4"}, {"role": "execution", "content": "<empty_execution>"},
        {"role": "code", "content": "x"}, {"role": "execution", "content": "5"},
        {"role": "text", "content": "So $\\boxed{4}$."},
    ]}  # fmt: skip
    path = write(tmp_path / "a.jsonl", row)
    done = dataset("verify", path, "--out", tmp_path / "out", "--outputs", "keep")
    assert done.returncode == 0, done.stderr
    assert "recorded outputs printed again: 1 of 2 (50.0%)" in done.stdout
    differing = json.loads((tmp_path / "out" / "differing.jsonl").read_text())
    assert differing == {"id": "a/1", "block": 2, "cause": "other_output", "recorded": "5", "printed": "4"}
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["summary"]["outputs"] == {"recorded": 2, "printed_again": 1, "differing": {"other_output": 1}}
    assert "differing.jsonl" in manifest["outputs"]


def outputs(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in sorted(folder.glob("*.jsonl")) + sorted(folder.glob("*.md"))}


def start(*arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dataset", *map(str, arguments), "--quiet"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def end_after(arguments: list[object], how: signal.Signals, out: Path, parts: int) -> int:
    """Start the command, end it once there are `parts` part files; return its exit code."""
    running = start(*arguments, "--out", out)
    deadline = time.monotonic() + 200
    while len(list((out / "work").glob("*.part"))) < parts and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(how)
    _, errors = running.communicate()
    assert b"Traceback" not in errors, errors.decode()
    return running.returncode


@pytest.fixture(scope="module")
def mostly_words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """800 candidates, a quarter of them programs; no endless loops: being killed is tested, not waiting."""
    folder = tmp_path_factory.mktemp("in")
    build_demo(folder, problems=600, test_problems=1, seed=1, spoiled=0.1)
    rows = (folder / "candidates.jsonl").read_text(encoding="utf-8").splitlines()
    words = [row for row in rows if '"style": "cot"' in row]
    programs = [row for row in rows if '"style": "tir"' in row and "while True" not in row]
    path = folder / "mostly_words.jsonl"
    path.write_text("\n".join(words[:300] + programs[:200] + words[300:]), encoding="utf-8")
    return path


KILLS = [("verify", signal.SIGKILL, -9), ("mix", signal.SIGINT, 130)]


@pytest.mark.parametrize(("command", "how", "code"), KILLS)
def test_a_killed_run_goes_on_to_the_same_bytes(
    tmp_path: Path, mostly_words: Path, command: str, how: signal.Signals, code: int
) -> None:
    arguments: list[object] = [command, mostly_words, "--workers", 1, *(["--benchmarks"] if command == "mix" else [])]
    assert dataset(*arguments, "--out", tmp_path / "whole").returncode == 0
    assert {end_after(arguments, how, tmp_path / "killed", parts) for parts in (1, 3)} <= {code, 0}
    assert dataset(*arguments, "--out", tmp_path / "killed").returncode == 0
    assert outputs(tmp_path / "killed") == outputs(tmp_path / "whole")
    assert not (tmp_path / "killed" / "work").exists()


def test_killed_runs_leave_no_processes_behind(tmp_path: Path) -> None:
    build_demo(tmp_path / "in", problems=300, test_problems=1, seed=1, spoiled=0.0)
    running = start("verify", tmp_path / "in" / "candidates.jsonl", "--out", tmp_path / "out")
    deadline = time.monotonic() + 200
    while not list((tmp_path / "out" / "work").glob("*.part")) and time.monotonic() < deadline:
        time.sleep(0.05)
    children = descendants(running.pid)
    assert children
    running.kill()
    running.communicate()
    assert outliving(children, seconds=100) == []


def test_two_runs_into_one_folder_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD)
    with claimed(tmp_path / "out", {}):
        refused(dataset("verify", path, "--out", tmp_path / "out"), "another run is writing there")
