"""What a user gets wrong, in all commands: one line on standard error that says what to do, and exit code 2.

The table's `{names}` are files and addresses of the `tests/ground.py`; `{out}` is a new folder in each row.
"""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from sandbox.command import run_command
from tests.ground import laid_out

ROOT = Path(__file__).parents[1]
WRONG_USES: tuple[tuple[str, str], ...] = (
    # flags
    ("sandbox", "required: COMMAND; see python -m sandbox --help"),
    ("sandbox frobnicate", "invalid choice: 'frobnicate'"),
    ("sandbox serve --prot 1", "--prot 1 (is --port meant?); see python -m sandbox serve --help"),
    ("sandbox serve --isolation moon", "--isolation: invalid choice: 'moon'"),
    ("sandbox serve --workers 0 --max-queue 0", "--workers is 0, expected at least 1; --max-queue is 0"),
    ("sandbox serve --workers 2 --processes 3", "--processes is 3, expected at most one for each of 2 workers"),
    ("sandbox serve --session-ttl-seconds nan", "--session-ttl-seconds is nan"),
    ("sandbox serve --drain-seconds -1", "--drain-seconds is -1"),
    ("sandbox run", "required: FILE|-"),
    ("sandbox run {program} --wall-seconds 0", "wall_seconds is 0"),
    ("sandbox run {program} --memory-mib 1", "memory_bytes is 1048576"),
    ("sandbox up --memory 8x", "'8x' is not a size; expected one like 512m or 8g"),
    ("sandbox up --replicas 0", "replicas is 0, expected at least 1"),
    ("dataset verify {rows}", "required: --out"),
    ("dataset verify {rows} --out {out} --worker 3", "is --workers meant?"),
    ("dataset verify {rows} --out {out} --workers two", "--workers: invalid int value: 'two'"),
    ("dataset verify {rows} --out {out} --workers 0", "--workers 0"),
    ("dataset verify {rows} --out {out} --limit 0", "--limit 0"),
    ("dataset verify {rows} --out {out} --outputs maybe", "invalid choice: 'maybe'"),
    ("dataset verify {rows} --out {out} --wall-seconds nan", "wall_seconds is nan"),
    ("dataset verify {rows} --out {out} --patience -1", "--patience -1"),
    ("dataset verify {rows} --out {out} --source gsm9k", "unknown source 'gsm9k'"),
    ("dataset mix {rows} --out {out} --workers 0", "--workers 0"),
    ("dataset build gsm9k --out {out}", "unknown source 'gsm9k'"),
    ("dataset build gsm8k --out {out} --hub --file {rows}", "either --file FILE… or --hub"),
    ("dataset build demo --out {out} --problems 0", "--problems"),
    ("dataset build demo --out {out} --spoiled 2", "--spoiled"),
    ("dataset fetch gsm9k", "gsm9k"),
    ("dataset fetch gsm8k --all", "give names or --all, not both"),
    ("trainer --out {out}", "required: --data"),
    ("trainer --data {mix} --out {out}", "give one of --model and --init"),
    ("trainer --data {mix} --out {out} --init demo --steps 0", "--steps is 0, expected at least 1"),
    ("trainer --data {mix} --out {out} --init demo --learning-rate fast", "--learning-rate: invalid float value"),
    ("trainer --data {mix} --out {out} --init demo --learningrate 1", "--learningrate"),
    ("trainer --data {mix} --out {out} --init demo --steps 5 --epochs 1", "both --steps and --epochs are given"),
    ("improve", "required: COMMAND"),
    ("improve grpo", "required: --model, --problems, --out; see python -m improve grpo --help"),
    ("improve grpo --modle x", "is --model meant?"),
    ("improve grpo --updates 0 --model m --problems {rows} --out {out}", "--updates is 0, expected at least 1"),
    ("improve grpo --model m --problems none.jsonl --out {out}", "none.jsonl: no such file"),
    ("improve grpo --config {keys}", "unknown key 'wokers'"),
    ("improve rounds --rounds many", "--rounds: invalid int value: 'many'"),
    ("improve rounds", "required: --model, --problems, --exam, --out"),
    ("evaluator run --backend replay --model {replay} --benchmark demo --out {out}", "say --tools, --no-tools or both"),
    (
        "evaluator run --backend replay --model {replay} --benchmark gsm9k --tools --out {out}",
        "unknown benchmark 'gsm9k'",
    ),
    (
        "evaluator run {replayed} --tools --out {out} --shard 5/4",
        "--shard 5/4",
    ),
    (
        "evaluator run {replayed} --tools --out {out} --limit 0",
        "--limit 0",
    ),
    (
        "evaluator run {replayed} --tools --out {out} --engine fast",
        "--engine fast",
    ),
    (
        "evaluator run {replayed} --tools --out {out} --top-p 2",
        "--top-p 2.0",
    ),
    (
        "evaluator run {replayed} --tools --out {out} --protocol x",
        "x",
    ),
    ("evaluator table {folder} --format xml", "--format: invalid choice: 'xml'"),
    # files and paths
    ("sandbox run none.py", "none.py: No such file"),
    ("sandbox run {folder}", "folder: Is a directory"),
    ("sandbox run {latin1}", "latin1: not UTF-8"),
    ("sandbox serve --uds {rows}", "cannot listen on"),
    ("sandbox serve --uds /tmp/" + "x" * 120, "AF_UNIX path too long"),
    ("sandbox serve --config none.toml", "none.toml: No such file"),
    ("sandbox serve --config {broken}", "not TOML"),
    ("sandbox serve --config {latin1}", "latin1: not TOML"),
    ("sandbox serve --config {keys}", "unknown key 'wokers' (is 'workers' meant?); port is 'many', expected a whole"),
    ("dataset verify none.jsonl --out {out}", "none.jsonl: No such file"),
    ("dataset verify {folder} --out {out}", "this is a folder: name the files in it"),
    ("dataset verify {empty} --out {out}", "no rows"),
    ("dataset verify {gbk} --out {out}", "gbk:1: not UTF-8"),
    ("dataset verify {picture} --out {out}", "this is binary data"),
    ("dataset verify {poem} --out {out}", "which is no known form. Say what it is with --source"),
    ("dataset verify {rows} --out {rows}", "rows"),
    ("dataset verify {rows} --out {rows}/below", "rows"),
    ("dataset verify {rows} --out /proc/soroban", "/proc/soroban"),
    ("dataset verify {rows} --out {out}" + "x" * 300, "File name too long"),
    ("dataset verify {rows} --out {done}", "done: holds a finished run over other inputs or settings"),
    ("dataset mix {rows} --out {out} --config {broken}", "broken: not TOML"),
    ("dataset mix {rows} --out {out} --config {keys}", "unknown key 'wokers'"),
    ("dataset mix {rows} --out {out} --benchmarks none.jsonl", "none.jsonl: No such file"),
    ("dataset build gsm8k --out {out} --file {folder}", "this is a folder: name the files in it"),
    ("dataset build gsm8k --out {out} --file {parquet}", "parquet"),
    ("dataset build gsm8k --out {out}", "get them by `python -m dataset fetch gsm8k`"),
    ("dataset fetch gsm8k --data-dir {rows}", "cannot be a folder"),
    ("trainer --data none --out {out} --init demo", "--data none is not a folder"),
    ("trainer --data {folder} --out {out} --init demo", "so the mixture is not complete"),
    ("trainer --data {mix} --out {folder} --init demo", "is not empty and holds no run of ours"),
    ("trainer --data {mix} --out {rows} --init demo", "rows"),
    ("trainer --data {mix} --out {out} --init none.toml", "none.toml"),
    ("trainer --data {mix} --out {out} --init {broken}", "broken"),
    ("trainer --data {mix} --out {out} --model ./none", "none"),
    ("trainer --config none.toml", "none.toml: no such file"),
    ("trainer --config {keys}", "unknown key 'wokers'"),
    (
        "evaluator run --backend replay --model {replay} --benchmark demo --tools --out {out} --file none.jsonl",
        "none.jsonl: no such file",
    ),
    ("evaluator run --backend replay --model {replay} --benchmark demo --tools --out {out} --file {gbk}", "gbk"),
    (
        "evaluator run --backend replay --model {replay} --benchmark gsm8k --tools --out {out} --data-dir none",
        "no such file",
    ),
    ("evaluator run --backend vllm --model ./none {exam} --tools --out {out}", "none"),
    ("evaluator run --backend replay --model {rows} {exam} --tools --out {rows}", "rows"),
    (
        "evaluator run {replayed} --tools --out {out} --chat-template none.jinja",
        "none.jinja",
    ),
    ("evaluator sample --model m --problems none.jsonl --style cot --out {out}", "none.jsonl: no such file"),
    ("evaluator table none", "none"),
    ("evaluator table {folder}", "folder"),
    ("evaluator table {rows}", "rows"),
    ("evaluator report {folder} --out {out}/report.html", "folder"),
    ("evaluator compare none {folder}", "none"),
    ("evaluator merge none --out {out}", "none"),
    ("evaluator regrade none", "none"),
    # addresses, ports and tokens
    ("sandbox serve --port many", "--port: invalid int value: 'many'"),
    ("sandbox serve --port 70000", "--port is 70000, expected 0 (any free one) to 65535"),
    ("sandbox serve --port {taken}", "Address already in use"),
    ("sandbox serve --host 0.0.0.0", "a token is required"),
    ("sandbox serve --host 256.1.1.1 --token-file {token}", "--host 256.1.1.1 is not an address of this machine"),
    ("sandbox serve --token-file none", "none: No such file"),
    ("sandbox serve --token-file {empty}", "empty is empty; expected a token"),
    ("sandbox serve --token-file {gbk}", "gbk: not UTF-8"),
    ("sandbox serve --token-file {umlaut}", "characters that an HTTP header cannot carry"),
    ("sandbox relay --to box1 --port 0", "box1"),
    ("sandbox relay --to http://127.0.0.1:9 --port {taken}", "Address already in use"),
    ("sandbox mcp --http --port {taken}", "Address already in use"),
    ("sandbox run {program} --sandbox 127.0.0.1:8000", "127.0.0.1:8000"),
    ("sandbox run {program} --sandbox {closed} --patience 0", "is the server running?"),
    ("sandbox run {program} --sandbox {locked}", "token"),
    ("sandbox run {program} --sandbox {stranger}", "stranger"),
    ("sandbox up", "no Docker engine answers at unix:///none.sock"),
    ("sandbox down", "no Docker engine answers at unix:///none.sock"),
    ("dataset verify {tool} --out {out} --sandbox ftp://box1", "ftp://box1"),
    ("dataset verify {tool} --out {out} --sandbox {closed} --patience 0", "is the server running?"),
    ("dataset verify {tool} --out {out} --sandbox {locked}", "token"),
    ("dataset fetch gsm8k --data-dir {out}", "cannot reach"),
    ("evaluator run --url gpu1 --model m {exam} --tools --out {out}", "--url gpu1"),
    (
        "evaluator run --quiet --url {closed} --patience 0 --model m {exam} --tools --out {out}",
        "answers",
    ),
    (
        "evaluator run --backend replay --model {replay} --sandbox box1 {exam} --tools --out {out}",
        "box1",
    ),
)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    with laid_out(tmp_path_factory.mktemp("ground")) as names:
        yield names


@pytest.mark.parametrize(("command", "told"), WRONG_USES, ids=[command for command, _ in WRONG_USES])
def test_a_wrong_use_is_one_line_and_exit_code_2(
    command: str,
    told: str,
    ground: Mapping[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, value in {"SOROBAN_DATA": str(tmp_path / "data"), "DOCKER_HOST": "unix:///none.sock"}.items():
        monkeypatch.setenv(name, value)
    for name in ("HF_ENDPOINT", "GITHUB_RAW_ENDPOINT"):
        monkeypatch.setenv(name, ground["closed"])
    monkeypatch.chdir(tmp_path)
    package, *arguments = shlex.split(command.format(**ground, out=tmp_path / "out"))
    monkeypatch.setattr("sys.argv", [package, *arguments])
    main = importlib.import_module(f"{package}.__main__").main
    capfd.readouterr()
    code = run_command(main)
    said = capfd.readouterr().err
    assert (code, len(said.splitlines())) == (2, 1), said
    assert said.startswith("error: ")
    assert told in said
