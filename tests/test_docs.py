"""The site builds without a warning or a network; quick starts run as printed; quoted messages are the code's own."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.command import COMMANDS
from sandbox.completion import whole_parser
from sandbox.errors import InputError

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
QUICK_STARTS = sorted((DOCS / "quickstart").glob("*.md"))
BLOCK = re.compile(r"(<!-- not run: [^\n]* -->\n)?```(sh|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BUILDERS = ("mkdocs", "material", "mkdocstrings_handlers")

needs_mkdocs = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in BUILDERS),
    reason="mkdocs-material and mkdocstrings-python are not installed; pip install '.[docs]' brings them",
)


def build(config: Path, out: Path) -> subprocess.CompletedProcess[str]:
    # Not --quiet: warnings are then not even counted, and --strict lets everything pass.
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config), "--site-dir", str(out)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=250,
    )


@needs_mkdocs
def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = build(ROOT / "mkdocs.yml", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {
        path.relative_to(tmp_path).as_posix(): path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html")
    }
    written = {path.relative_to(DOCS).with_suffix(".html").as_posix() for path in DOCS.rglob("*.md")}
    assert written <= set(pages)
    assert 'id="post-v1execute"' in pages["reference/http.html"]
    assert "fetch_figures" in pages["reference/http.html"]
    assert 'id="sandbox.client.Sandbox.run_many"' in pages["reference/python.html"]
    examples = {path.name for path in (ROOT / "examples").iterdir() if path.is_file()}
    assert [name for name in examples if name not in pages["examples.html"]] == []
    assert 'id="tree_search"' in pages["examples.html"]
    loaded = re.compile(
        r"<(?:script|img|iframe)[^>]*\ssrc=\"?(?:https?:)?//|<link[^>]*rel=\"?(?!canonical)[^>]*href=\"?https?://"
    )
    assert [name for name, text in pages.items() if loaded.search(text)] == []
    assert not any("url(http" in path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.css"))


@needs_mkdocs
def test_a_dead_link_ends_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Home\n\n[gone](gone.md)\n")
    rules = re.search(r"^validation:\n(?:  .*\n)+", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert rules is not None
    (tmp_path / "mkdocs.yml").write_text(f"site_name: x\ntheme: {{name: material, font: false}}\n{rules[0]}")
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0
    assert "gone.md" in done.stdout + done.stderr


def test_links_in_documents_lead_to_files() -> None:
    dead = []
    for path in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
            here = path.parent / link
            made = link.split("/")[-1] in ("http.md", "flags.md", "examples.md")  # docs/site.py writes these
            if not link.startswith(("http://", "https://", "mailto:")) and not here.exists() and not made:
                dead.append(f"{path.relative_to(ROOT)}: {link}")
    assert dead == []


def test_documents_that_code_names_are_there() -> None:
    named = {
        f"{path.relative_to(ROOT)}: {name}"
        for folder in (
            *("sandbox", "dataset", "trainer", "evaluator", "integrations", "improve"),
            "bench",
            "examples",
            "docker",
        )
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".toml", ".sh", ".yaml", ".md", ".Dockerfile"}
        for name in re.findall(r"docs/[\w/-]+\.md", path.read_text(encoding="utf-8"))
        if not (ROOT / name).exists()
    }
    assert named == set()


def printed_commands() -> Iterator[tuple[str, list[str]]]:
    """Where a document prints a command of ours, and its words: in shell blocks, and between backticks.

    Not what only describes one (by … or [, or without a flag or a file), nor the log's, which were true on their day.
    """
    ours = re.compile(rf"(?:python -m|soroban) (?=(?:{'|'.join(COMMANDS)}) )")
    for path in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]:
        name = path.relative_to(ROOT).as_posix()
        if name == "CHANGELOG.md" or name.startswith(("docs/log", "docs/decisions")):
            continue
        text = path.read_text(encoding="utf-8")
        found = "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)).replace("\\\n", " ")
        prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
        lines = [*found.splitlines(), *(one.replace("\n", " ") for one in re.findall(r"`([^`]+)`", prose))]
        for line in lines:
            line = re.sub(r"\$(\{\w+:-\}|\w+)", lambda one: "" if one[1].startswith("{") else "1", line)
            for command in ours.split(line)[1:]:
                command = re.split(r" +# | && |; | \| | > | &$", command)[0]
                if not re.search(r"…|\[", command) and (line in found or len(command.split()) > 2):
                    yield f"{name}: {command}", shlex.split(command)


def test_commands_that_documents_print_are_taken() -> None:
    commands = list(printed_commands())
    assert len(commands) > 35
    parser, refused = whole_parser(COMMANDS), []
    for where, words in commands:
        try:
            parser.parse_args(words)
        except InputError as error:
            refused.append(f"{where}: {error}")
    assert refused == []


def messages() -> Iterator[str]:
    """The texts in the product's code, a value in them as "…"."""
    for folder in ("sandbox", "dataset", "trainer", "evaluator", "improve"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(str(one.value) if isinstance(one, ast.Constant) else "…" for one in node.values)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def test_messages_in_troubleshooting_are_those_of_the_code() -> None:
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^#### `(.*)`$", page, re.MULTILINE)
    assert len(quoted) > 20
    known = list(messages())
    patterns = {one: re.compile(".*".join(map(re.escape, one.split("…"))), re.DOTALL) for one in quoted}
    assert [one for one, pattern in patterns.items() if not any(map(pattern.fullmatch, known))] == []


@pytest.mark.parametrize("page", QUICK_STARTS, ids=lambda page: page.stem)
def test_a_quick_start_runs_as_printed(page: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    ran = 0
    for left_out, language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if left_out:
            continue
        command = ["bash", "-euo", "pipefail", "-c"] if language == "sh" else [sys.executable, "-c"]
        done = subprocess.run(
            [*command, text.replace("8000", port)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, text + done.stdout + done.stderr[-4000:]
        shown = re.findall(r"^ *print\(.*\)  # (.*)$", text, re.MULTILINE)
        assert language == "sh" or done.stdout.splitlines() == shown
        ran += 1
    assert ran > 0
