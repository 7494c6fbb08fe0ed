"""Programs that make processes, kill them, or end in odd ways: nothing survives, and the outcome is told right."""

# ruff: noqa: E501 - the rows are programs
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sandbox.types import ExecResult

LIMITS: dict[str, Any] = {"wall_seconds": 1.5, "processes": 16}
# name: (program, what comes out)
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "a fork bomb": (
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
        {"status": "timeout"},
    ),
    "more processes than it may have": (
        "import os, signal\nn = 0\ntry:\n    while n < 64:\n        if os.fork() == 0: signal.pause()\n        n += 1\n"
        "except OSError: pass\nprint(n)",
        {"status": "ok", "stdout": lambda text: 0 < int(text) <= 16},
    ),
    "both copies of a fork return": (
        "import os\nprint('once', flush=True)\npid = os.fork()\nprint('twice', flush=True)",
        {"status": "ok", "stdout": lambda text: text.startswith("once\ntwice\n")},
    ),
    "a daemon: double fork and setsid": (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(1000)\n"
        "    os._exit(0)\nprint('gone')",
        {"status": "ok", "stdout": "gone\n"},
    ),
    "a child that keeps stdout open": (
        "import os, time\nif os.fork() == 0:\n    time.sleep(1000)\nprint('done')",
        {"status": "ok", "stdout": "done\n"},
    ),
    "zombies": ("import os\nfor _ in range(10):\n    if os.fork() == 0: os._exit(0)", {"status": "ok"}),
    "kill everything": (
        "import os, signal\nif os.fork() == 0: os.kill(-1, signal.SIGKILL)\nsignal.pause()",
        {"status": "killed", "signal": 9},
    ),
    "kill the parent": (
        "import os\nprint(os.getppid())\ntry: os.kill(1, 9)\nexcept PermissionError: pass\nprint('still here')",
        {"status": "ok", "stdout": "0\nstill here\n"},
    ),
    "kill its group": ("import os; os.kill(0, 9)", {"status": "killed", "signal": 9}),
    "kill itself": ("import os; os.kill(os.getpid(), 9)", {"status": "killed", "signal": 9, "exit_code": None}),
    "abort": ("import os; os.abort()", {"status": "killed", "signal": 6}),
    "a segmentation fault": ("import ctypes; ctypes.string_at(0)", {"status": "killed", "signal": 11}),
    "an alarm": ("import signal; signal.alarm(1); signal.pause()", {"status": "killed", "signal": 14}),
    "os._exit": (
        "import os; print('x', flush=True); os._exit(3)",
        {"status": "error", "exit_code": 3, "stdout": "x\n"},
    ),
    "os._exit(0)": ("import os; os._exit(0)", {"status": "ok", "exit_code": 0, "value": None}),
    "sys.exit(3)": (
        "import sys; sys.exit(3)",
        {"status": "error", "exit_code": 3, "error": lambda e: e.type == "SystemExit"},
    ),
    "sys.exit()": ("import sys; sys.exit()", {"status": "ok", "exit_code": 0, "error": None}),
    "sys.exit with a text": ("import sys; sys.exit('no')", {"status": "error", "exit_code": 1, "stderr": "no\n"}),
    "SystemExit in a thread": (
        "import threading, sys\nt = threading.Thread(target=sys.exit)\nt.start()\nt.join()\nprint('on')",
        {"status": "ok", "stdout": "on\n"},
    ),
    "a thread that outlives the last line": (
        "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()",
        {"status": "ok", "stdout": "late\n"},
    ),
    "a thousand threads": (
        "import threading, time\nn = 0\ntry:\n    for n in range(1000):\n"
        "        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
        "except RuntimeError as error: print(error, n)",
        {"status": "ok", "stdout": lambda text: "can't start new thread" in text},
    ),
    "multiprocessing by fork": (
        "import multiprocessing as m\nwith m.get_context('fork').Pool(2) as p: print(p.map(abs, [-1, -2]))",
        {"status": "ok", "stdout": "[1, 2]\n"},
    ),
    "multiprocessing by spawn": (
        "import multiprocessing as m\nwith m.get_context('spawn').Pool(1) as p: print(p.map(abs, [-1, -2]))",
        {"status": "ok", "stdout": "[1, 2]\n"},
    ),
    "subprocess": (
        "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'print(7)'], capture_output=True, text=True))",
        {"status": "ok", "stdout": lambda text: "stdout='7\\n'" in text},
    ),
    "ptrace": (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nprint(libc.ptrace(16, 1, 0, 0), ctypes.get_errno())\n"
        "print(libc.ptrace(0, 0, 0, 0), ctypes.get_errno())",
        {"status": "ok", "stdout": "-1 1\n-1 1\n"},
    ),
    "process_vm_readv": (
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "for f in (libc.process_vm_readv, libc.process_vm_writev):\n"
        "    for pid in (1, os.getpid()): print(f(pid, 0, 0, 0, 0, 0), ctypes.get_errno())",
        {"status": "ok", "stdout": "-1 1\n" * 4},
    ),
    "new namespaces": (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "print([libc.unshare(f) for f in (0x10000000, 0x20000000, 0x20000, 0x40000000, 0x38020000)])\n"
        "print(libc.syscall(56, 0x10000011, 0, 0, 0, 0), libc.setns(0, 0), libc.chroot(b'/box'))",
        {"status": "ok", "stdout": "[-1, -1, -1, -1, -1]\n-1 -1 -1\n"},
    ),
    "clone3, whose flags no filter can read": (
        "import ctypes, struct\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "print(libc.syscall(435, struct.pack('8Q', 0x10000000, 0, 0, 0, 17, 0, 0, 0), 64), ctypes.get_errno())",
        {"status": "ok", "stdout": "-1 38\n"},
    ),
    # Its parent would be our zygote, which would never collect it; and so the jail would never end.
    "a child of its parent's": (
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "clone = {'x86_64': 56, 'aarch64': 220}[os.uname().machine]\n"
        "if (child := libc.syscall(clone, 0x8011, 0, 0, 0, 0)) == 0: os._exit(0)\nprint(child, ctypes.get_errno())",
        {"status": "ok", "stdout": "-1 1\n"},
    ),
    # A filter that read the number only would take this getpid of another architecture for one of its own.
    "calls of another architecture": (
        "import ctypes, mmap, os\nif os.uname().machine != 'x86_64': print(-38), exit()\n"
        "code = mmap.mmap(-1, 4096, prot=7)\ncode.write(bytes.fromhex('b814000000cd80c3'))\n"
        "print(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))(), flush=True)",
        {"stdout": lambda text: text in ("-38\n", "")},
    ),
    "mounts": (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "print(libc.mount(b'x', b'/box/work', b'tmpfs', 0, 0), libc.umount2(b'/box', 2))",
        {"status": "ok", "stdout": "-1 -1\n"},
    ),
    "rights": (
        "import ctypes, os, struct\nlibc = ctypes.CDLL(None)\nsets = ctypes.create_string_buffer(24)\n"
        "libc.capget(struct.pack('Ii', 0x20080522, 0), sets)\n"
        "print(sets.raw.strip(b'\\0'), libc.prctl(39, 0, 0, 0, 0),\n"
        "      0 in os.getresuid() + os.getresgid() + tuple(os.getgroups()))",
        {"status": "ok", "stdout": "b'' 1 False\n"},
    ),
    "the name of the machine": ("import os; print(os.uname().nodename)", {"status": "ok", "stdout": "sandbox\n"}),
    "limits that it cannot raise": (
        "import resource as r\n"
        "print([r.getrlimit(k)[1] for k in (r.RLIMIT_CORE, r.RLIMIT_NOFILE, r.RLIMIT_FSIZE, r.RLIMIT_MEMLOCK, r.RLIMIT_CPU)])",
        {"status": "ok", "stdout": f"[0, 256, {64 << 20}, 65536, 12]\n"},
    ),
    "its files' modes, whoever started the engine": (
        "import os\nopen('f', 'w').close()\nos.mkdir('d')\nprint(*(oct(os.stat(n).st_mode & 0o777) for n in 'fd'))",
        {"status": "ok", "stdout": "0o644 0o755\n"},
    ),
    "signals that queue up": (
        "import ctypes, os, signal\nlibc = ctypes.CDLL(None)\nsignal.pthread_sigmask(signal.SIG_BLOCK, [40])\n"
        "print(sum(libc.sigqueue(os.getpid(), 40, None) == 0 for _ in range(5000)))",
        {"status": "ok", "stdout": lambda text: int(text) <= 1024},
    ),
    "more rights": (
        "import os, resource\nfor f in (lambda: os.setuid(0), lambda: os.setgroups([0]), lambda: os.chown('/', 0, 0),\n"
        "          lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1)), lambda: os.mknod('/tmp/d', 0o60600, 1)):\n"
        "    try: f(); print('done')\n    except (OSError, ValueError): pass",
        {"status": "ok", "stdout": ""},
    ),
}


# Where a program could meet others: each line is tried, and says what became of it.
MEETINGS = {
    "a name for a socket": "a, b = socket.socketpair(1, 2); a.bind('\\0meeting')",
    "a socket taken off its pair": "a, b = socket.socketpair(1, 2); check(libc.connect(a.fileno(), bytes(16), 16))",
    "a name by credentials": "a, b = socket.socketpair(1, 2); a.setsockopt(1, socket.SO_PASSCRED, 1)",
    "a socket that listens": "a, b = socket.socketpair(); a.listen()",
    "a datagram to a name": "a, b = socket.socketpair(1, 2); a.sendto(b'x', '\\0meeting')",
    "a watch on a folder": "check(libc.inotify_init1(0))",
    "a watch by signal": "fcntl.fcntl(os.open(lib, os.O_RDONLY), fcntl.F_NOTIFY, 1)",
    "a lease": "fcntl.fcntl(os.open(source, os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK)",
    "a lock on a library": "fcntl.flock(os.open(source, os.O_RDONLY), fcntl.LOCK_SH)",
    "who holds a lock": "fcntl.fcntl(os.open(source, os.O_RDONLY), fcntl.F_GETLK, bytes(32))",
    "the mounts": "check(libc.syscall(458, bytes(64), bytes(64), 8, 0))",
    "its init's limits": "resource.prlimit(1, resource.RLIMIT_NOFILE, (9, 9))",
    "children that are nobody's": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "stdin written": "os.ftruncate(0, 0)",
    "stdin run": "os.fchmod(0, 0o755)",
}
_TRY = """import ctypes, fcntl, json, os, resource, signal, socket
libc = ctypes.CDLL(None, use_errno=True)
lib, source = os.path.dirname(json.__file__), json.__file__
def check(result):
    if result < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
try: {}
except OSError as error: print(error.errno)
else: print('done')
"""


@pytest.mark.parametrize("line", MEETINGS.values(), ids=MEETINGS.keys())
def test_runs_do_not_meet(must: Callable[..., ExecResult], line: str) -> None:
    must(_TRY.format(line), LIMITS, {"status": "ok", "stdout": "1\n"}, stdin="x")


def test_what_one_process_and_its_children_need_is_left(must: Callable[..., ExecResult]) -> None:
    code = (
        "import asyncio, socket, sqlite3, subprocess, sys\na, b = socket.socketpair(); a.send(b'x')\n"
        "db = sqlite3.connect('db'); db.execute('create table t (n)'); db.execute('insert into t values (7)'); db.commit()\n"
        "async def main():\n    process = await asyncio.create_subprocess_exec(sys.executable, '-c', 'print(3)', stdout=-1)\n"
        "    return (await process.communicate())[0]\n"
        "print(b.recv(1), db.execute('select n from t').fetchall(), asyncio.run(main()))"
    )
    must(code, {"wall_seconds": 5.0}, {"status": "ok", "stdout": "b'x' [(7,)] b'3\\n'\n"})


@pytest.mark.parametrize(("code", "expected"), ROWS.values(), ids=ROWS.keys())
def test_processes_end_with_their_run(must: Callable[..., ExecResult], code: str, expected: dict[str, Any]) -> None:
    must(code, LIMITS, expected)


def test_a_sibling_cannot_be_seen_or_killed(box: Any) -> None:
    victim = {"code": "import time; time.sleep(0.6); print('alive')"}
    killer = {
        "code": "import os, time\ntime.sleep(0.2)\nfor pid in range(3, 40000):\n    try: os.kill(pid, 9); print(pid)\n"
        "    except OSError: pass\n"
    }
    first, second = box.do("pair", orders=[victim, killer])
    assert (first["status"], first["stdout"]) == ("ok", "alive\n")
    assert second["stdout"] == ""


def test_cancelling_kills_the_run(box: Any) -> None:
    assert box.do("cancel", code="while True: pass") is True


def test_300_runs_leave_nothing(box: Any) -> None:
    for _ in range(10):
        results = box.do("pair", orders=[{"code": "import os; os.fork()"}] * 30)
        assert {result["status"] for result in results} == {"ok"}
