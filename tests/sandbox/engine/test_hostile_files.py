"""Programs that look for what is not theirs: files, descriptors, networks, the kernel's folders."""

# ruff: noqa: E501 - the rows are programs
from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from sandbox.errors import BadRequest
from sandbox.types import ExecResult

LIMITS: dict[str, Any] = {"wall_seconds": 3.0, "file_bytes": 4 << 20}
# Each prints nothing if it was refused everything.
NOTHING: dict[str, str] = {
    "write outside": (
        "for p in ('/x', '/etc/x', '/lib/x', '/usr/lib/x', '/dev/x', '/root/x'):\n"
        "    try: open(p, 'w'); print(p)\n    except OSError: pass"
    ),
    "read the host": (
        # /home is there if the environment lies below it, with nothing in it but the way to that.
        "import glob, os, sys\nfor p in ('/etc/passwd', '/etc/shadow', '/proc/self/mem', '/proc/1/environ', '/proc/self/status',\n"
        "          '/sys/kernel', '/sys/fs/cgroup/memory/tasks', '/dev/kmsg', '/dev/mem', '/dev/sda', '/home', '/var/log'):\n"
        "    try: open(p, 'rb').read(1); print(p)\n    except (FileNotFoundError, PermissionError): pass\n"
        "    except IsADirectoryError:\n"
        "        print(end=' '.join(n for n in os.listdir(p) if not sys.prefix.startswith(f'{p}/{n}/')))\n"
        "print(*glob.glob('/proc/*'), *glob.glob('/sys/*'), end='')"
    ),
    "write to the kernel's files": (
        "for p in ('/proc/self/oom_score_adj', '/proc/self/mem', '/proc/1/oom_score_adj', '/proc/sys/kernel/core_pattern',\n"
        "          '/sys/fs/cgroup/x', '/sys/fs/cgroup/cgroup.procs', '/sys/fs/cgroup/memory/memory.limit_in_bytes', '/dev/mem',\n"
        "          '/dev/kmsg', '/dev/tty', '/dev/ptmx', '/dev/fuse', '/dev/net/tun', '/dev/sda'):\n"
        "    try: open(p, 'w'); print(p)\n    except OSError: pass"
    ),
    "run a file of its own": (
        "import os, sys\nopen('f', 'w').write(f'#!{sys.executable}\\nprint(1)')\nos.chmod('f', 0o700)\n"
        "try: os.execv('f', ['f'])\nexcept PermissionError: pass"
    ),
    "remove what is shared": (
        "import os\nfor f, p in ((os.unlink, '/etc/ld.so.cache'), (os.unlink, '/tmp'), (os.rmdir, '/box'), (os.unlink, '/dev/null')):\n"
        "    try: f(p); print(p)\n    except OSError: pass"
    ),
    "the server's environment": (
        "import os\nprint(*(n for n in os.environ if 'TOKEN' in n or 'KEY' in n or 'secret' in os.environ[n]), end='')"
    ),
    "inherited descriptors": (
        "import os\nfor fd in range(3, 1024):\n    try: mode = os.fstat(fd).st_mode\n    except OSError: continue\n"
        "    if fd != 190: print(fd, oct(mode))"  # its own report
    ),
    "sockets": (
        "import socket\nfor family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK, socket.AF_PACKET):\n"
        "    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):\n"
        "        try: socket.socket(family, kind); print(family, kind)\n        except OSError: pass"
    ),
    "names and addresses": (
        "import socket, urllib.request\nfor f in (lambda: socket.getaddrinfo('example.com', 80),\n"
        "          lambda: socket.create_connection(('169.254.169.254', 80), 1),\n"
        "          lambda: socket.create_connection(('127.0.0.1', 8000), 1)):\n    try: print(f())\n    except OSError: pass"
    ),
    # The only sockets to be had are pairs; through them the kernel can be asked about the network.
    "addresses of the machine": (
        "import array, fcntl, socket, struct\nones, _ = socket.socketpair()\nroom = array.array('B', bytes(4096))\n"
        "asked = struct.pack('iL', 4096, room.buffer_info()[0])\n"
        "print('x' * struct.unpack('iL', fcntl.ioctl(ones, 0x8912, asked))[0], end='')"
    ),
    "channels that outlive a run": (
        "import ctypes\nlibc = ctypes.CDLL(None)\nfor n in (libc.shmget(1, 4096, 0o1666), libc.semget(1, 1, 0o1666),\n"
        "          libc.msgget(1, 0o1666), libc.mq_open(b'/q', 0o102, 0o666, None) if hasattr(libc, 'mq_open') else -1):\n"
        "    if n != -1: print(n)"
    ),
    "kernel facilities": (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "for n in (321, 298, 323, 425, 250, 248, 175, 246, 169, 101, 435, *range(463, 480), 1 << 30):\n"
        "    answer = libc.syscall(n, 0, 0, 0, 0, 0), ctypes.get_errno()\n"
        "    if answer != (-1, 38 if n == 435 or n > 462 else 1): print(n, answer)"
    ),
}


@pytest.mark.parametrize("code", NOTHING.values(), ids=NOTHING.keys())
def test_there_is_nothing_to_be_had(must: Callable[..., ExecResult], code: str) -> None:
    must(code, LIMITS, {"status": "ok", "stdout": ""})


ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "a million small files": (
        "n = 0\ntry:\n    while True: open(f'f{n}', 'w').close(); n += 1\nexcept OSError as error: print(error.errno)",
        {"status": "ok", "stdout": "28\n"},
    ),
    "a sparse file": (
        "import os\ntry: os.truncate(os.open('f', os.O_CREAT | os.O_RDWR), 1 << 50)\nexcept OSError as e: print(e.errno)",
        {"stdout": "27\n"},
    ),
    "deep folders": (
        "import os\nn = 0\ntry:\n    while n < 2000: os.mkdir('d'); os.chdir('d'); n += 1\nexcept OSError: pass\nprint(n > 500)",
        {"status": "ok", "stdout": "True\n"},
    ),
    "odd names": (
        "import os\nfor n in (b'\\xff\\xfe', b'a\\nb', b'-rf', b'x' * 255): open(n, 'w').close()\nprint(len(os.listdir('.')))",
        {"status": "ok", "stdout": "4\n"},
    ),
    "no rights on its own folder": ("import os; os.chmod('.', 0); os.chmod('/tmp', 0)", {"status": "ok"}),
    "descriptors to the limit": (
        "import os\ntry:\n    while True: os.dup(0)\nexcept OSError as error: print(error.errno)",
        {"status": "ok", "stdout": "24\n"},
    ),
}


@pytest.mark.parametrize(("code", "expected"), ROWS.values(), ids=ROWS.keys())
def test_files_stay_within_the_box(must: Callable[..., ExecResult], code: str, expected: dict[str, Any]) -> None:
    must(code, LIMITS, expected)


FETCHED: dict[str, tuple[str, dict[str, bytes]]] = {
    "a file": ("open('f', 'w').write('x')", {"f": b"x"}),
    "a symbolic link to the host": ("import os; os.symlink('/etc/hostname', 'f')", {}),
    "a symbolic link up": ("import os; os.symlink('../../etc/passwd', 'f')", {}),
    "a symbolic link to its own": ("import os; open('g', 'w').write('x'); os.symlink('g', 'f')", {}),
    "a hard link": ("import os; open('g', 'w').write('x'); os.link('g', 'f')", {"f": b"x"}),
    "a fifo": ("import os; os.mkfifo('f')", {}),
    "a folder": ("import os; os.mkdir('f')", {}),
    "a folder behind a link": ("import os; os.mkdir('d'); open('d/g', 'w').write('x'); os.symlink('d', 'f')", {}),
    "a socket": ("import os, stat; os.mknod('f', stat.S_IFSOCK | 0o600)", {}),
    "a symbolic link to a device": ("import os; os.symlink('/dev/zero', 'f')", {}),
    "a device": (
        "import os, stat\ntry: os.mknod('f', stat.S_IFCHR | 0o666, os.makedev(1, 5))\nexcept PermissionError: pass",
        {},
    ),
    "nothing": ("1", {}),
}


@pytest.mark.parametrize(("code", "files"), FETCHED.values(), ids=FETCHED.keys())
def test_only_plain_files_come_back(box: Any, code: str, files: dict[str, bytes]) -> None:
    assert box.run(code, fetch=["f", "f/g"]).files == files


def test_a_file_larger_than_may_be_fetched_stays(box: Any) -> None:
    code = "import os\nos.truncate(os.open('f', os.O_CREAT | os.O_RDWR), 100 << 20)\nopen('g', 'w').write('x')"
    assert box.run(code, fetch=["f", "g"], limits={"file_bytes": 128 << 20}).files == {"g": b"x"}


def test_uploads_land_in_the_working_directory(box: Any) -> None:
    files = {"data/a.txt": base64.b64encode("数".encode()).decode(), "mine.py": base64.b64encode(b"x = 7").decode()}
    assert box.run("import mine\nopen('data/a.txt').read(), mine.x", files=files).value == "('数', 7)"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a/./b", "", "a\0b", "x" * 256, "\ud800"])
def test_uploads_cannot_leave_it_and_nothing_is_fetched_from_elsewhere(box: Any, name: str) -> None:
    with pytest.raises(BadRequest):
        box.run("1", files={name: ""})
    with pytest.raises(BadRequest):
        box.run("1", fetch=[name])


def test_another_run_s_files_are_not_there(box: Any) -> None:
    write = {
        "code": "import time\nfor p in ('.', '/tmp', '/dev/shm'): open(p + '/secret', 'w').write('x')\ntime.sleep(0.5)"
    }
    read = {
        "code": "import os, time\ntime.sleep(0.2)\nprint([f for p in ('/box', '/tmp/', '/dev/shm/') for _, _, fs in os.walk(p)"
        " for f in fs if f == 'secret'])"
    }
    _, second = box.do("pair", orders=[write, read])
    assert second["stdout"] == "[]\n"
