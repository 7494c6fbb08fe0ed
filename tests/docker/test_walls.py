"""What a program meets inside a container as it is shipped, and what the container itself may do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sandbox import Limits, Sandbox
from sandbox.containers.hardening import Launch

pytestmark = pytest.mark.docker

# name: (program, the value it must come to)
ROWS = {
    "no capability, in no set": (
        "import ctypes, struct\nlibc = ctypes.CDLL(None)\nsets = ctypes.create_string_buffer(24)\n"
        "libc.capget(struct.pack('Ii', 0x20080522, 0), sets)\nsets.raw == bytes(24)",
        "True",
    ),
    "no new privilege": ("import ctypes; ctypes.CDLL(None).prctl(39, 0, 0, 0, 0)", "1"),
    "a filter on system calls": ("import ctypes; ctypes.CDLL(None).prctl(21, 0, 0, 0, 0)", "2"),
    "not root": ("import os; 0 in os.getresuid() + os.getresgid()", "False"),
    "no way to become root": (
        "import os\ntry: os.setuid(0)\nexcept OSError: answer = 'refused'\nanswer",
        "'refused'",
    ),
    "no network": (
        "from socket import *\nanswers = []\nfor family in (AF_INET, AF_INET6, AF_UNIX, AF_NETLINK):\n"
        "    try: socket(family); answers.append('made')\n"
        "    except PermissionError: answers.append('refused')\nanswers",
        "['refused', 'refused', 'refused', 'refused']",
    ),
    "no loopback to the service": (
        "import urllib.request\nanswer = 'reached'\n"
        "try: urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)\n"
        "except OSError: answer = 'refused'\nanswer",
        "'refused'",
    ),
    "no engine's socket": (
        "import os; [p for p in ('/var/run/docker.sock', '/run/docker.sock', '/run/containerd') if os.path.exists(p)]",
        "[]",
    ),
    "no token": (
        "import os\ndef read(p):\n    try: return open(p).read()\n    except OSError: return None\n"
        "[p for p in ('/run/soroban/token', '/run/secrets/token') if read(p)], 'TOKEN' in str(os.environ).upper()",
        "([], False)",
    ),
    "no other process": (
        "import os\ndef ids():\n    try: return [p for p in os.listdir('/proc') if p.isdigit()]\n"
        "    except OSError: return []\nids()",
        "[]",
    ),
    "no host's names": (
        "import os\ndef names(path):\n    try: return os.listdir(path)\n    except OSError: return []\n"
        "[w for w in ('/root', '/home', '/work', '/mnt') if names(w)]",
        "[]",
    ),
}
ENVIRONMENT = [
    "/usr/bin/env", "-i", "PATH=/opt/soroban/bin:/usr/bin:/bin", "LANG=C.UTF-8", "PYTHONUNBUFFERED=1",
    "PYTHONDONTWRITEBYTECODE=1", "HOME=/tmp", "TMPDIR=/tmp",
]  # fmt: skip
WRITES = """
import os, tempfile
mine = os.path.realpath(os.getcwd()), os.path.realpath(tempfile.gettempdir()), '/dev/shm', '/box'
written = []
for folder, folders, files in os.walk('/'):
    folders[:] = [f for f in folders if os.path.join(folder, f) not in ('/proc', '/sys')]
    if any(os.path.realpath(folder) == m or os.path.realpath(folder).startswith(m + '/') for m in mine):
        folders.clear()
        continue
    try:
        open(os.path.join(folder, 'written'), 'w').close()
        written.append(folder)
    except OSError:
        pass
written
"""


@pytest.fixture(scope="module", params=["jail", "pod"])
def replica(request: pytest.FixtureRequest, image: Any) -> Iterator[Any]:
    from sandbox.containers import container

    (started,) = container.launch(Launch(port=0, workers=2, tier=request.param))
    yield started
    container.remove([started.name])


@pytest.fixture(scope="module")
def sandbox(replica: Any) -> Iterator[Sandbox]:
    with Sandbox(replica.url, token=replica.token) as opened:
        yield opened


@pytest.mark.parametrize(("code", "value"), ROWS.values(), ids=ROWS.keys())
def test_a_program_has(sandbox: Sandbox, code: str, value: str) -> None:
    result = sandbox.run(code)
    assert result.value == value, result


def test_a_program_writes_nowhere_but_in_its_own_folders(sandbox: Sandbox) -> None:
    result = sandbox.run(WRITES, limits=Limits(wall_seconds=30, cpu_seconds=30))
    assert result.value == "[]", result


def test_a_program_cannot_reach_into_another_container(sandbox: Sandbox, replica: Any, engine: Any) -> None:
    from sandbox.containers import container

    (other,) = container.launch(Launch(port=0, workers=1))
    try:
        address = engine.containers.get(other.name).attrs["NetworkSettings"]["Networks"]
        ip = next(iter(address.values()))["IPAddress"]
        knock = f"import socket\ntry: socket.create_connection(('{ip}', 8000), 2); print('in')\n"
        code = knock + "except OSError as error: print(type(error).__name__)"
        assert sandbox.run(code).stdout == "PermissionError\n"
        # Nor can the service itself, were it taken over.
        service = engine.containers.get(replica.name)
        done = service.exec_run(["python", "-c", knock + "except OSError: print('out')"])
        assert done.output.decode().strip() == "out"
    finally:
        container.remove([other.name])


def test_the_container_is_given_nothing_it_does_not_need(replica: Any, engine: Any) -> None:
    container = engine.containers.get(replica.name)
    host = container.attrs["HostConfig"]
    assert host["Privileged"] is False
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["Binds"]
    assert not host["Devices"]
    assert host["PidMode"] == ""
    assert host["IpcMode"] == "private"
    assert host["Memory"] == host["MemorySwap"] > 0
    assert host["PidsLimit"] > 0
    probe = "print(open('/proc/1/status').read())"
    status = container.exec_run(["python", "-c", probe]).output.decode()
    facts = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
    assert facts["NoNewPrivs"] == "1"
    assert facts["Seccomp"] == "2"
    if "jail" in container.attrs["Args"]:
        assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0
        assert facts["Uid"].split()[0] == "65534"
    out = "import socket\ntry: socket.create_connection(('1.1.1.1', 80), 2); print('out')\n"
    out += "except OSError: print('closed')"
    assert container.exec_run(["python", "-c", out]).output.decode().strip() == "closed"


def test_its_libraries_work_and_plots_carry_chinese(sandbox: Sandbox) -> None:
    result = sandbox.run(
        "import numpy, scipy.optimize, scipy.stats, pandas, networkx, sympy, mpmath\nimport matplotlib.pyplot as plt\n"
        "plt.plot([1, 2]); plt.title('中文 ñ'); plt.savefig('plot.png')\n"
        "round(scipy.optimize.brentq(lambda x: x * x - 2, 0, 2), 6), pandas.DataFrame({'a': [1]}).a.sum(), "
        "networkx.path_graph(3).size()",
        fetch=("plot.png",),
        limits=Limits(wall_seconds=60, cpu_seconds=60),
    )
    assert result.value == "(1.414214, np.int64(1), 2)", result
    assert result.files["plot.png"].startswith(b"\x89PNG")
    assert "missing from font" not in result.stderr


def test_the_image_is_small_and_runs_as_nobody(image: Any) -> None:
    assert image.attrs["Size"] < 470e6
    assert image.attrs["Config"]["User"] == "65534:65534"
    assert image.attrs["Config"]["Healthcheck"]["Test"] == ["CMD", "python", "-m", "sandbox.containers.liveness"]
    assert image.attrs["Config"]["Entrypoint"] == [*ENVIRONMENT, "python", "-m", "sandbox.containers.init"]
