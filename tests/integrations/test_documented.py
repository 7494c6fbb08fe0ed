"""What docs/integrations.md shows is run: each snippet in the environment that stands above it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integrations.environments import ROOT, interpreter

PAGE = ROOT / "docs" / "integrations.md"
SNIPPET = re.compile(r"<!-- runs in: (\w+) -->\n```python\n(.*?)```\n", re.DOTALL)
SNIPPETS = SNIPPET.findall(PAGE.read_text(encoding="utf-8"))


def test_every_python_snippet_says_where_it_runs() -> None:
    assert PAGE.read_text(encoding="utf-8").count("```python\n") == len(SNIPPETS)


@pytest.mark.parametrize(
    ("environment", "code"), SNIPPETS, ids=[f"{name}-{at}" for at, (name, _) in enumerate(SNIPPETS)]
)
def test_a_snippet_prints_what_its_comments_say(environment: str, code: str, server: str, tmp_path: Path) -> None:
    python = sys.executable if environment == "soroban" else str(interpreter(environment))
    script = tmp_path / "snippet.py"
    script.write_text(code.replace("http://127.0.0.1:8000", server))
    done = subprocess.run(
        [python, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    expected = re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE)
    assert expected, "a snippet shows something"
    assert done.stdout.splitlines()[-len(expected) :] == expected
