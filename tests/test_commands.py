"""The console script, and what a command says where a package of an extra is not installed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sandbox.command import uninterrupted

ROOT = Path(__file__).parents[1]
# Makes an installed package unknown to the process that imports this, and to those that it starts by `python -m`.
WITHOUT = """
import os, sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == os.environ["WITHOUT"]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Without())
"""


def run(tmp_path: Path, *arguments: str, without: str = "no_such_package") -> subprocess.CompletedProcess[str]:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    return subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}", "WITHOUT": without},
    )  # fmt: skip


SCRIPT = ("-c", "import sys; from sandbox.command import soroban; sys.exit(soroban())")


@pytest.mark.parametrize(
    ("package", "extra", "command"),
    [
        ("uvicorn", "sandbox", "sandbox serve --port 0"),
        ("docker", "docker", "sandbox up"),
        ("mcp", "mcp", "sandbox mcp"),
        ("pyarrow", "hub", "dataset build gsm8k --file a.parquet --out out"),
        ("ray", "ray", "dataset verify a.jsonl --out out --ray 127.0.0.1:9"),
    ],
)
def test_a_missing_extra_is_one_line_that_names_it(tmp_path: Path, package: str, extra: str, command: str) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    (tmp_path / "a.jsonl").write_text('{"question": "2 + 2?", "reference": "4", "solution": "It is 4."}')
    for how in (("-m", *command.split()), (*SCRIPT, *command.split())):
        done = run(tmp_path, *how, without=package)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert f"pip install 'soroban[{extra}]'" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "evaluator table x",
        "dataset verify a.jsonl --out out",
        "sandbox serve --port 0",
        "improve grpo --model a --problems b --out c",
    ],
)
def test_a_python_that_has_none_of_our_packages_is_one_line_that_says_where_they_are(
    tmp_path: Path, command: str
) -> None:
    (tmp_path / "a.jsonl").write_text('{"question": "2 + 2?", "reference": "4", "solution": "It is 4."}')
    # As setup.sh leaves them in a clone, where every Python finds them.
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "soroban.egg-info").mkdir()
    said = "Metadata-Version: 2.1\nName: soroban\nVersion: 0.1.0\nRequires-Dist: uvicorn; extra == 'sandbox'\n"
    (tmp_path / "soroban.egg-info" / "PKG-INFO").write_text(said)
    done = run(tmp_path, "-S", "-m", *command.split())
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "source .venv/bin/activate" in done.stderr


def test_a_package_that_no_extra_brings_keeps_its_traceback(tmp_path: Path) -> None:
    done = run(tmp_path, "-m", "sandbox", "run", "-", without="asyncio")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_the_script_is_python_m(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("print(6 * 7)")
    done = run(tmp_path, *SCRIPT, "sandbox", "run", "program.py")
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 0, "usage: soroban"),
        (["--help"], 0, "usage: soroban"),
        (["--version"], 0, "soroban 0."),
        (["frobnicate"], 2, "expected one of sandbox, dataset, trainer, evaluator, improve"),
    ],
)
def test_what_the_script_says_of_itself(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    done = run(tmp_path, *SCRIPT, *arguments)
    assert done.returncode == code
    assert said in done.stdout + done.stderr


def test_an_interruption_waits_for_the_end_of_imports() -> None:
    """Libraries that are broken off while they are imported answer with any error: numpy with a RecursionError.

    Also with another thread beside, which takes the signal if this one does not let it in.
    """
    reached: list[str] = []
    over = threading.Event()
    threading.Thread(target=over.wait).start()

    def imports() -> None:
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)  # until the other thread has had it
            reached.append("the end of the block")
        reached.append("what follows it")

    with pytest.raises(KeyboardInterrupt):
        imports()
    over.set()
    assert reached == ["the end of the block"]
