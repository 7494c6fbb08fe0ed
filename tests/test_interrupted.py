"""Ctrl-C, SIGTERM and a full disk, in all commands: one line, the right exit code, nothing left running."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.ground import ROW, laid_out
from tests.processes import descendants, outliving

ROOT = Path(__file__).parents[1]
HANGS = {"style": "pot", "turns": [["code", "import time; time.sleep(60)"]]}
INTERRUPTED = (
    ("sandbox run {sleeper}", "stopped"),
    ("sandbox run {program} --sandbox {silent}", "stopped"),
    ("dataset verify {hangs} --out {out} --workers 1", "stopped; run the same command again to go on"),
    ("dataset fetch gsm8k --data-dir {out}", "stopped; run the same command again to go on"),
    (
        "evaluator run {exam} --quiet --url {silent} --model m --tools --out {out}",
        "stopped; run the same command again",
    ),
    (
        "trainer --data {mix} --out {out} --init demo --repeat --row-tokens 64 --batch-rows 1 --threads 1",
        "run the same command again to go on",
    ),
)


def wait_for(ready: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    with laid_out(tmp_path_factory.mktemp("ground")) as names:
        yield names


def ignore_ctrl_c() -> None:
    """In the child: as a shell without job control starts what ends in `&`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize("background", [False, True], ids=["ctrl-c", "sigterm in the background"])
@pytest.mark.parametrize(("command", "told"), INTERRUPTED, ids=[command for command, _ in INTERRUPTED])
def test_an_interruption_is_one_line_that_says_how_to_go_on(
    command: str, told: str, background: bool, ground: Mapping[str, str], tmp_path: Path
) -> None:
    sleeper, hangs = tmp_path / "sleeper.py", tmp_path / "hangs.jsonl"
    sleeper.write_text("import time; time.sleep(60)")
    hangs.write_text(json.dumps(ROW | HANGS) + "\n")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        names = ground | {"sleeper": str(sleeper), "hangs": str(hangs), "silent": address, "out": str(tmp_path / "out")}
        process = subprocess.Popen(
            [sys.executable, "-m", *shlex.split(command.format(**names))],
            cwd=ROOT,
            env=os.environ | {"HF_ENDPOINT": address, "GITHUB_RAW_ENDPOINT": address},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=ignore_ctrl_c if background else None,
        )
        if "{silent}" in command or "fetch" in command:
            silent.settimeout(60)
            connection, _ = silent.accept()
        else:
            wait_for(lambda: descendants(process.pid) or (tmp_path / "out" / "run.json").exists())
            time.sleep(1.0)  # into the work; the message is the same at any moment
        started = descendants(process.pid)
        if background:
            process.terminate()
        else:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        shown, said = process.communicate(timeout=60)
        if "{silent}" in command or "fetch" in command:
            connection.close()
    lines = said.splitlines() or shown.splitlines()[-1:]  # a trainer in its steps says it on its console
    codes = {130, 143} if background and command.startswith("trainer") else {130}  # 143: after a checkpoint
    assert process.returncode in codes, said
    assert len(lines) == 1, said
    assert told in lines[0]
    assert outliving(started, 20.0) == []


def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "dataset", "fetch"], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines() == ["error: writing: No space left on device"]
