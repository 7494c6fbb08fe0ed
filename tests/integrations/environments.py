"""Other projects' packages for the tests, each in an environment of its own outside the clone, made once.

An environment sees the test run's own packages behind its own (torch, transformers, numpy are large and there already),
so that most add what they hold without its dependencies, in seconds. It lies in the user's cache folder under a name
made from what it holds, and is made again when that changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "soroban-tests"
SECONDS = 300

# environment: what it holds beside the test run's own packages
ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    "verl": (
        "verl==0.9.1",
        "sandbox-fusion==0.3.7",
        # What these import before the parts that are tested.
        *("codetiming", "dill", "hydra-core", "msgpack", "omegaconf", "antlr4-python3-runtime==4.9.3", "orjson"),
        *("pyvers", "ray==2.55.0", "requests", "tenacity", "tensordict==0.10.0"),
    ),
    "trl": ("trl==1.16.0", "accelerate", "jmespath"),
    "openrlhf": ("openrlhf==0.11.2", "pylatexenc"),
    "verifiers": ("verifiers==0.4.0",),
    "smolagents": ("smolagents==1.26.0",),
    "inspect": ("inspect-ai==0.3.285",),
    "nemo_gym": (
        "nemo-gym==0.7.0",
        *("hydra-core", "omegaconf", "antlr4-python3-runtime==4.9.3", "itsdangerous", "orjson", "pydot"),
        *("ray==2.55.0", "wandb", "yappi"),
    ),
}
# These bring what they need, of their own versions; the others see the test run's.
WHOLE = ("inspect", "verifiers")
# Packages of pure Python that ask for a newer Python than the test run's, and run on it: uv is told that it has one.
NEWER = {"nemo-gym==0.7.0": "3.13.14"}


def interpreter(name: str) -> Path:
    """The Python of an environment of `ENVIRONMENTS`, made if it is not there yet. Skips the test if it cannot be."""
    packages = ENVIRONMENTS[name]
    what = json.dumps([packages, sys.version, sys.prefix])
    folder = CACHE / f"{name}-{hashlib.sha256(what.encode()).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests of other processes want the same
        if (folder / "complete").exists():
            return python
        shutil.rmtree(folder, ignore_errors=True)
        uv = Path(sys.executable).with_name("uv")
        if not uv.exists():
            pytest.skip(f"{name}: no uv beside {sys.executable} to make its environment; run ./setup.sh")
        _run(name, [str(uv), "venv", "-q", "--python", sys.executable, str(folder)])
        site = next(folder.glob("lib/python*/site-packages"))
        (site / "behind.pth").write_text(sysconfig.get_path("purelib") + "\n")
        install = [str(uv), "pip", "install", "-q", "--python", str(python), *_sources()]
        install += [] if name in WHOLE else ["--no-deps"]
        for package in (package for package in packages if package in NEWER):
            _run(name, [*install, "--python-version", NEWER[package], package])
        _run(name, [*install, *(package for package in packages if package not in NEWER)])
        (folder / "complete").touch()
    return python


def run_peer(name: str, script: str, *arguments: str, seconds: float = 120) -> str:
    """What `peers/SCRIPT` printed, run in the environment; its failure is the test's."""
    done = subprocess.run(
        [str(interpreter(name)), str(Path(__file__).parent / "peers" / script), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, f"{script}:\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
    return done.stdout


def _sources() -> list[str]:
    """Where pip finds packages here, in uv's words, as setup.sh says it."""
    flags = {"index-url": "--default-index", "find-links": "--find-links"}
    found = []
    for setting, flag in flags.items():
        asked = [sys.executable, "-m", "pip", "config", "get", f"global.{setting}"]
        answer = subprocess.run(asked, capture_output=True, text=True).stdout.split()
        values = (os.environ.get("PIP_" + setting.upper().replace("-", "_")) or "").split() or answer
        for value in values:
            found += [flag, value]
    return found


def _run(name: str, command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{name}: its environment was not made within {SECONDS} s: {' '.join(command[:3])}")
    if done.returncode != 0:
        pytest.skip(f"{name}: its environment cannot be made here: {done.stderr.strip()[-600:]}")
