"""A supervisor is at no program's mercy: whatever one does, the others on its slot are answered rightly and in time."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Sandbox
from sandbox.errors import SandboxError, SandboxUnavailable, SessionBusy, SessionLost
from sandbox.jail import proc
from sandbox.supervisor.slot import _sent_by
from tests.sandbox.engine.conftest import ROOT, Box

LIBC = "import array, ctypes, fcntl, os, signal, socket, sys, time\nlibc = ctypes.CDLL(None)\n"
# A map of a file whose name is no text; the file itself is closed.
MAPPED = (
    LIBC + "libc.mmap.restype = ctypes.c_void_p\n"
    "fd = os.open(b'\\xff\\xfe', os.O_RDWR | os.O_CREAT)\nos.truncate(fd, 4096)\n"
    "libc.mmap(None, 4096, 1, 1, fd, 0)\nos.close(fd)\n"
)
LEASED = (  # by an orphan, which is no child of the session's
    LIBC + "for k in range(8): open(f'f{k}', 'w').write('x')\n"
    "if os.fork() == 0:\n    if os.fork() == 0:\n        signal.signal(signal.SIGIO, signal.SIG_IGN)\n"
    "        for k in range(8):\n            fd = os.open(f'f{k}', os.O_RDWR)\n"
    "            try: fcntl.fcntl(fd, 1024, 1)\n            except OSError: pass\n"
    "        time.sleep(20)\n    os._exit(0)\nos.wait()\ntime.sleep(0.2)\n"
)
SILENT = LIBC + "sys.modules['sandbox.guest.runner'].branch_off = lambda line: None\n"
# Answers for the branch with the init of nobody: of a process that is no child of its own.
STRANGER = LIBC + (
    "def lie(new_line):\n"
    "    line = socket.socket(fileno=new_line)\n"
    "    if os.fork() == 0:\n"
    '        if os.fork() == 0: line.send(b\'{"branch": "init"}\'); time.sleep(5)\n'
    "        os._exit(0)\n"
    "    os.wait(); time.sleep(0.2)\n"
    "sys.modules['sandbox.guest.runner'].branch_off = lie\n"
)
# As many descriptors on their way as the kernel lets it have.
IN_FLIGHT = LIBC + (
    "keep = []\n"
    "try:\n"
    "    while True:\n"
    "        a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)\n"
    "        keep.append((a, b)); a.sendmsg([b'x'], [(1, 1, array.array('i', [0] * 100))])\n"
    "except OSError: pass\n"
)
DEEP = "import os\nfor _ in range(1200): os.mkdir('d'); os.chdir('d')\nos.chdir('/box/work')\n"


@pytest.fixture
def unharmed(box: Box) -> Iterator[None]:
    """A session on each slot that lives through the test, on supervisors that do."""
    others = [box.do("open") for _ in range(2)]
    for other in others:
        box.cell(other, "x = 41")
    before = box.do("status")
    yield
    for other in others:
        assert box.cell(other, "x + 1").value == "42"
        box.do("close", session=other)
    after = box.do("status")
    assert (after["restarts"], after["faults"]) == (before["restarts"], before["faults"])


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("name", [b"\xff\xfe", b"\n\n", b") R 1 1 (", b"", b"\xed\xa0\x80"])
def test_a_process_may_be_called_anything(box: Box, name: bytes) -> None:
    code = LIBC + f"libc.prctl(15, {name!r}, 0, 0, 0)\nif os.fork() == 0:\n    while True: pass\nwhile True: pass"
    result = box.run(code, limits={"wall_seconds": 5.0, "cpu_seconds": 0.6})
    assert result.status in ("timeout", "killed"), result


@pytest.mark.usefixtures("unharmed")
def test_a_fork_bears_any_name_of_a_mapped_file(box: Box) -> None:
    session = box.do("open")
    box.cell(session, MAPPED)
    with pytest.raises(SessionBusy, match="mapped"):
        box.do("fork", session=session)
    box.do("close", session=session)


@pytest.mark.parametrize("prot_and_flags", ["1, 1", "1, 2", "3, 1", "3, 2"])
def test_no_branch_sees_later_writes_to_a_mapped_file(box: Box, prot_and_flags: str) -> None:
    session = box.do("open")
    box.cell(session, MAPPED.replace("1, 1", prot_and_flags))
    with pytest.raises(SessionBusy, match="mapped"):
        box.do("fork", session=session)
    box.do("close", session=session)


# Words on the line of a branch, and what they may do to it: end it, or nothing. Never to another.
@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    "word",
    [
        "b'{\"exited\":' + b'[' * 60000",
        "b'{\"exited\": 1e999}'",
        "b'{\"exited\": -1}'",
        "b'{\"exited\": 99999999999999999999}'",
        "b'{\"exited\"\\xff'",
        "b'\\xff' * 60000",
        "b''",
    ],
)
def test_a_word_of_a_branch_ends_no_supervisor(box: Box, word: str) -> None:
    session = box.do("open")
    branch = box.do("fork", session=session)
    result = box.cell(branch, f"import os, time\nos.write(191, {word})\ntime.sleep(0.2)")
    assert result.status in ("ok", "killed"), result  # its own doing: never a failure of ours
    box.do("close", session=branch)
    box.do("close", session=session)


@pytest.mark.usefixtures("unharmed")
def test_descriptors_sent_along_a_line_do_not_stay_with_us(box: Box) -> None:
    session = box.do("open")
    send = (
        "s = socket.socket(fileno=os.dup(191))\n"
        "for _ in range(5): s.sendmsg([b'x'], [(1, 1, array.array('i', [0, 1, 2] * 20))])\n"
    )
    box.cell(session, LIBC + send)
    box.do("close", session=session)  # and nothing is left: see `box`


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    ("prepared", "error"),
    [(LEASED, None), (SILENT, SessionBusy), (STRANGER, SessionBusy), (DEEP, SessionBusy)],
    ids=["leased files", "silent", "another's process", "deep folders"],
)
def test_a_fork_that_is_held_up_holds_up_nobody_else(box: Box, prepared: str, error: type[SandboxError] | None) -> None:
    """An innocent program beside it is answered as if it were alone: on its time, within its limit."""
    session = box.do("open")
    assert box.cell(session, prepared, limits={"wall_seconds": 5.0}).status == "ok"
    answer = box.do("beside", session=session, orders=[{"code": "import time; time.sleep(0.3); print('done')",
                                                        "limits": {"wall_seconds": 1.5}}] * 2)  # fmt: skip
    for result in answer["results"]:
        assert (result["status"], result["stdout"]) == ("ok", "done\n"), result
        assert result["wall_seconds"] < 1.0, result
    if error is not None:
        assert answer["fork"] == error.__name__
    box.do("close", session=session)


@pytest.mark.usefixtures("unharmed")
def test_a_session_that_dies_under_its_fork_is_told_as_lost_or_busy(box: Box) -> None:
    session = box.do("open")
    box.cell(session, LIBC + "sys.modules['sandbox.guest.runner'].branch_off = lambda line: os._exit(0)\n")
    with pytest.raises((SessionBusy, SessionLost)):
        box.do("fork", session=session)


@pytest.mark.usefixtures("unharmed")
def test_what_a_branch_puts_in_the_place_of_its_folder_is_never_opened_for_us(box: Box) -> None:
    """`fetch` reads as who we are: a link to a folder of the host's would show files that the program may not read."""
    session = box.do("open")
    branch = box.do("fork", session=session)
    moved = "import os\nos.rename('/box/work', '/box/w')\nos.symlink('/usr/lib', '/box/work')"
    box.cell(branch, moved)
    fetched = box.cell(branch, "1", fetch=["os-release"])
    assert not fetched.files
    box.do("close", session=branch)
    box.do("close", session=session)


@pytest.mark.usefixtures("unharmed")
def test_descriptors_on_their_way_stop_no_other_program(box: Box) -> None:
    """The kernel counts those of a user together; an ordinary user's engine is that user."""
    attack = IN_FLIGHT + "time.sleep(0.8)"
    innocent = {"code": "import time; time.sleep(0.3); print('done')", "limits": {"wall_seconds": 3.0}}
    results = box.do("pair", orders=[{"code": attack}, innocent])
    assert (results[1]["status"], results[1]["stdout"]) == ("ok", "done\n"), results


def test_descriptors_on_their_way_keep_no_session_from_being_opened_or_forked(box: Box) -> None:
    attacker = box.do("open")
    box.cell(attacker, IN_FLIGHT)
    session = box.do("open")
    assert box.cell(session, "6 * 7").value == "42"
    branch = box.do("fork", session=session)
    assert box.cell(branch, "6 * 7").value == "42"
    for each in (branch, session, attacker):
        box.do("close", session=each)


def test_an_exit_code_of_70_is_the_program_s_own(box: Box) -> None:
    """It is what a process ends with that cannot enter its jail, which is our failure; none can pass for it."""
    forged = 'import os\nos.write(191, b\'{"unready": "forged"}\')\nos._exit(70)'
    assert box.run("import os\nos._exit(70)").exit_code == 70
    session = box.do("open")
    result = box.cell(session, forged)
    assert result.status in ("ok", "error") or result.exit_code == 70, result


def test_what_fails_before_a_program_s_first_line_is_our_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.engine.pipes.files_to_json", lambda _: {"name": 5})  # no text: it cannot be decoded
    with (
        Sandbox(workers=1, preload=(), patience_seconds=0.5) as sandbox,
        pytest.raises(SandboxUnavailable, match="could not begin"),
    ):
        sandbox.run("1")


def test_a_file_of_proc_is_read_as_bytes_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    watch = proc.Watch(folder)
    (tmp_path / "name").write_bytes(b"\xff\n")
    (tmp_path / "long").write_bytes(b"x" * 2000)
    assert watch.read(str(tmp_path / "name")) == "\xff\n"
    monkeypatch.setattr(proc, "MOST_BYTES", 1000)
    with pytest.raises(OSError, match="longer than 1000 bytes"):
        watch.read(str(tmp_path / "long"))
    os.close(folder)


def test_a_minute_of_random_bytes_beside_a_minute_of_kills() -> None:
    """No supervisor is ended by a program, and no answer is wrong. Longer runs: docs/log.md."""
    commands = {
        "fuzz": [sys.executable, "bench/fuzz.py", "--seconds", "60", "--seed", str(int(time.time()) % 1000)],
        "kill": [sys.executable, "bench/soak.py", "kill", "--seconds", "60"],
    }
    done: dict[str, subprocess.CompletedProcess[str]] = {}

    def run(name: str) -> None:
        done[name] = subprocess.run(commands[name], cwd=ROOT, capture_output=True, text=True, timeout=240)

    threads = [threading.Thread(target=run, args=(name,)) for name in commands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, process in done.items():
        assert process.returncode == 0, f"{name}: {process.stdout}{process.stderr}"
    assert json.loads(done["fuzz"].stdout.splitlines()[-1])["outcomes"]["innocent"] > 50


OUTER = """
import asyncio, os, sys
sys.path.insert(0, sys.argv[1])
open(sys.argv[2] + "/cgroup.procs", "w").write("0")
from sandbox import AsyncSandbox, Limits, SandboxUnavailable
async def main():
    async with AsyncSandbox(workers=1, preload=(), patience_seconds=0.5) as sandbox:
        print((await sandbox.run("x = bytearray(60 << 20)", limits=Limits(memory_bytes=40 << 20))).status)
        try:
            print((await sandbox.run("x = bytearray(400 << 20)", limits=Limits(memory_bytes=1 << 30))).status)
        except SandboxUnavailable as error:
            print("ours:", error)
asyncio.run(main())
"""


@pytest.mark.root
def test_a_container_that_is_full_is_not_the_program_s_memory_limit() -> None:
    folder = next(line.split(":") for line in Path("/proc/self/cgroup").read_text().splitlines() if "memory" in line)
    outer = Path("/sys/fs/cgroup", folder[1], folder[2].strip().lstrip("/"), f"outer-{os.getpid()}")
    if os.geteuid() != 0 or not outer.parent.is_dir() or not (outer.parent / "memory.limit_in_bytes").exists():
        pytest.skip("needs root and control groups of version 1")
    outer.mkdir()
    try:
        (outer / "memory.limit_in_bytes").write_text(str(256 << 20))
        command = [sys.executable, "-c", OUTER, str(ROOT), str(outer)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        first, second = done.stdout.splitlines()
        assert first == "memory_limit", done.stderr
        assert second.startswith("ours: the machine, or the container"), done.stdout + done.stderr
    finally:
        for _ in range(100):
            try:
                outer.rmdir()
                break
            except OSError:
                time.sleep(0.05)


@pytest.mark.parametrize(("pid", "is_a_word"), [(0, False), (17, True)])
def test_the_end_of_a_line_is_no_empty_word(pid: int, is_a_word: bool) -> None:
    """gVisor names a sender at the end of a line, too: process 0, which is nobody."""
    control = [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("3i", pid, 65534, 65534))]
    assert bool(_sent_by(control)) == is_a_word
    assert not _sent_by([])
