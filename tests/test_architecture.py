"""The arrows between the packages, and where the heavy imports live."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("sandbox", "dataset", "trainer", "evaluator", "integrations", "improve")
# package: what it may import of the others
ARROWS = {
    "sandbox": set(),
    "dataset": {"sandbox"},
    "trainer": {"sandbox", "dataset"},
    "evaluator": {"sandbox", "dataset"},
    "integrations": {"sandbox", "dataset"},
    "improve": {"sandbox", "dataset", "trainer", "evaluator", "integrations"},
}
# The rooms of the sandbox: a folder is a process, or a side of one, with its rights; and what each may import of the
# others. The modules beside them (types, errors, wire …) are for all.
ROOMS = {
    "jail": set(),
    "guest": {"jail"},
    "supervisor": {"guest", "jail"},
    "engine": {"jail"},
    "client": {"engine", "containers"},
    "server": {"client", "engine"},
    "containers": {"client", "jail"},
}
COMMANDS = ("sandbox/__init__.py", "sandbox/__main__.py", "sandbox/containers/init.py")
# library: the files that may import it
HOMES = {
    "torch": (
        "trainer/",
        "evaluator/models/transformers.py",
        "evaluator/models/rows.py",
        "evaluator/models/vllm.py",
        "integrations/openrlhf.py",
    ),
    "transformers": ("trainer/", "evaluator/models/transformers.py", "evaluator/models/vllm.py"),
    "vllm": ("evaluator/models/vllm.py",),
    "fastapi": ("sandbox/server/app.py", "integrations/nemo_gym.py"),
    "docker": ("sandbox/containers/container.py", "sandbox/containers/image.py"),
    "ray": ("dataset/cluster.py", "dataset/actors.py", "evaluator/models/on_ray.py"),
    # Other people's stacks: an adapter each.
    "trl": (),
    "verl": ("integrations/verl_tool.py",),
    "verifiers": (),
    "inspect_ai": ("evaluator/export/", "integrations/inspect_ai.py", "integrations/inspect_sandbox.py"),
    "nemo_gym": ("integrations/nemo_gym.py",),
    "smolagents": ("integrations/smolagents.py",),
    "mcp": ("sandbox/server/mcp.py",),
}


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the arrows"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_arrows_and_heavy_libraries_have_one_home(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    package = name.split("/")[0]
    found = imported(path)
    forbidden = (found & set(PACKAGES)) - ARROWS[package] - {package}
    assert not forbidden, f"{name} imports {forbidden}"
    homeless = [library for library in found & set(HOMES) if not name.startswith(HOMES[library])]
    assert not homeless, f"{name} imports {homeless}"


def rooms_imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "sandbox":
            names = [f"sandbox.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("sandbox.")}
    return found & set(ROOMS)


@pytest.mark.parametrize("path", sorted((ROOT / "sandbox").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_of_the_sandbox_imports_only_what_it_may(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    if name in COMMANDS:
        return
    room = path.relative_to(ROOT / "sandbox").parts[0] if path.parent != ROOT / "sandbox" else None
    allowed = ROOMS[room] | {room} if room else set()
    assert rooms_imported(path) <= allowed, f"{name} imports {rooms_imported(path) - allowed}"


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_every_room_says_in_which_process_it_runs(room: str) -> None:
    assert ast.get_docstring(ast.parse((ROOT / "sandbox" / room / "__init__.py").read_text(encoding="utf-8")))


@pytest.mark.parametrize("package", ["sandbox", "dataset", "evaluator", "integrations", "improve"])
def test_importing_a_package_loads_no_heavy_library(package: str) -> None:
    program = f"import sys, {package}; print(*sorted({set(HOMES)!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == []


def test_docker_folder_is_not_a_package_that_would_shadow_the_docker_sdk() -> None:
    assert not (ROOT / "docker" / "__init__.py").exists()
