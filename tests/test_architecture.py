"""The arrows between the packages, and where the heavy imports live."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("sandbox", "dataset", "trainer", "evaluator")
# package: what it may import of the others
ARROWS = {
    "sandbox": set(),
    "dataset": {"sandbox"},
    "trainer": {"sandbox", "dataset"},
    "evaluator": {"sandbox", "dataset"},
}
# library: the files that may import it
HOMES = {
    "torch": ("trainer/", "evaluator/models/transformers.py", "evaluator/models/vllm.py"),
    "transformers": ("trainer/", "evaluator/models/transformers.py", "evaluator/models/vllm.py"),
    "vllm": ("evaluator/models/vllm.py",),
    "fastapi": ("sandbox/server.py",),
    "docker": ("sandbox/container.py",),
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


@pytest.mark.parametrize("package", ["sandbox", "dataset", "evaluator"])
def test_importing_a_package_loads_no_heavy_library(package: str) -> None:
    program = f"import sys, {package}; print(*sorted({set(HOMES)!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == []


def test_docker_folder_is_not_a_package_that_would_shadow_the_docker_sdk() -> None:
    assert not (ROOT / "docker" / "__init__.py").exists()
