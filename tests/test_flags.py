"""The commands' flags: the same in all of them, in files as on the command line, and completed by a shell."""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataset.progress import PLAIN_SECONDS, Progress, coloured
from sandbox.command import COMMANDS
from sandbox.completion import whole_parser
from sandbox.errors import InputError
from sandbox.flags import Parser


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield parser
    for action in below:
        for each in action.choices.values():
            yield from commands(each)


LEAVES = list(commands(whole_parser(COMMANDS)))


def test_every_command_is_there() -> None:
    assert [leaf.prog for leaf in LEAVES if leaf.prog.endswith((" run", " verify", "trainer"))] == [
        "python -m sandbox run", "python -m dataset verify", "python -m trainer", "python -m evaluator run",
    ]  # fmt: skip


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.prog)
def test_every_flag_is_explained_and_the_help_can_be_printed(leaf: argparse.ArgumentParser) -> None:
    assert [action.dest for action in leaf._actions if not action.help] == []
    shown = " ".join(leaf.format_help().split())
    for action in leaf._actions:
        if action.option_strings and isinstance(action.default, int | float) and action.default:
            assert f"default: {action.default})" in shown or "default" in str(action.help), action.dest


@pytest.mark.parametrize(
    ("flag", "kind"),
    [("--out", Path), ("--workers", int), ("--limit", int), ("--seed", int), ("--config", Path), ("--port", int),
     ("--patience", float), ("--data-dir", Path)],
)  # fmt: skip
def test_a_flag_takes_the_same_in_every_command(flag: str, kind: type) -> None:
    found = [action for leaf in LEAVES for action in leaf._actions if flag in action.option_strings]
    assert len(found) > 1
    assert {action.type for action in found} == {kind}


@pytest.mark.parametrize("flag", ["--quiet", "--json", "--hub"])
def test_a_switch_is_one_in_every_command(flag: str) -> None:
    found = [action for leaf in LEAVES for action in leaf._actions if flag in action.option_strings]
    assert len(found) > 1
    assert {action.nargs for action in found} == {0}


def parser() -> Parser:
    made = Parser(prog="x", config=True)
    made.add_argument("name")
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--workers", type=int, default=2)
    made.add_argument("--cpu-seconds", type=float, default=10.0)
    made.add_argument("--file", type=Path, nargs="+", default=[])
    made.add_argument("--option", action="append", default=[])
    made.add_argument("--style", choices=("cot", "tir"))
    made.add_argument("--quiet", action="store_true")
    return made


def test_a_file_gives_flags_and_the_command_line_wins(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(
        'out = "runs/x"\nworkers = 8\ncpu-seconds = 2\nfile = ["a", "b"]\noption = "k=v"\nstyle = "tir"\nquiet = true\n'
    )
    found = parser().parse_args(["n", "--config", str(file), "--workers", "3", "--option", "l=w"])
    assert vars(found) == {
        "name": "n", "config": file, "out": Path("runs/x"), "workers": 3, "cpu_seconds": 2.0,
        "file": [Path("a"), Path("b")], "option": ["k=v", "l=w"], "style": "tir", "quiet": True,
    }  # fmt: skip
    assert type(found.cpu_seconds) is float


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("wokers = 1", "unknown key 'wokers' (is 'workers' meant?)"),
        ("workers = 1.5", "workers is 1.5, expected a whole number"),
        ("workers = true", "workers is True, expected a whole number"),
        ('quiet = "yes"', "quiet is 'yes', expected true or false"),
        ("out = 1", "out is 1, expected a string"),
        ('style = "pot"', "style is 'pot', expected one of cot, tir"),
        ("cpu-seconds = 1\ncpu_seconds = 2", "'cpu_seconds' is there twice"),
        ('name = "n"', "unknown key 'name'"),
        ('help = true\nconfig = "y"', "unknown key 'help'; unknown key 'config'"),
        ("workers = ", "not TOML"),
    ],
)
def test_a_file_is_checked_as_the_command_line_is(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(InputError) as error:
        parser().parse_args(["n", "--out", "o", f"--config={tmp_path / 'x.toml'}"])
    assert told in str(error.value)


def test_bash_completes_commands_flags_and_choices(tmp_path: Path) -> None:
    pytest.importorskip("shtab", reason="shtab is not installed; pip install 'soroban[completion]' brings it")
    program = "import sys; sys.argv = ['soroban', 'completion', 'bash']; from sandbox.command import soroban; soroban()"
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    (tmp_path / "script").write_text(made.stdout)
    typed = ("dataset ver", "evaluator run --ben", "sandbox serve --isolation n")
    asked = "".join(
        f"COMP_WORDS=(soroban {words}); COMP_CWORD={len(words.split())}; $complete; echo ${{COMPREPLY[@]}}\n"
        for words in typed
    )
    find = "source ./script\ncomplete=$(complete -p soroban | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n"
    done = subprocess.run(["bash", "-c", find + asked], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["verify", "--benchmark", "none"], done.stderr


def test_without_a_terminal_progress_is_a_line_every_half_minute(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    with Progress("verify", total=200, unit="rows", quiet=False, clock=lambda: now[0]) as bar:
        for _ in range(4):
            now[0] += PLAIN_SECONDS / 2
            bar.update(25, "kept 96%")
    assert capsys.readouterr().err.splitlines() == [
        "verify: 50 of 200 rows (25%), 1.7 rows/s, 01:30 left, kept 96%",
        "verify: 100 of 200 rows (50%), 1.7 rows/s, 01:00 left, kept 96%",
    ]
    with Progress("verify", total=200, unit="rows", quiet=True, clock=lambda: now[0]) as bar:
        now[0] += 2 * PLAIN_SECONDS
        bar.update(50)
    assert capsys.readouterr().err == ""


def test_on_a_terminal_progress_is_a_bar_with_rate_and_outcomes() -> None:
    program = (
        "import pty, os, sys\n"
        "def child():\n    os.system('stty cols 100 rows 30')\n"
        "    from dataset.progress import Progress\n"
        "    with Progress('verify', total=4, unit='rows', quiet=False) as bar:\n"
        "        [bar.update(1, 'kept 75%') for _ in range(4)]\n"
        "pid, terminal = pty.fork()\n"
        "if pid == 0: child(); os._exit(0)\n"
        "said = b''\n"
        "try:\n"
        "    while block := os.read(terminal, 9999): said += block\n"
        "except OSError: pass\n"
        "print(repr(said.decode()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "verify: 100%" in done.stdout
    assert "4/4 [" in done.stdout
    assert "rows/s, kept 75%" in done.stdout
    assert "\\x1b[3" not in done.stdout, "no colours"


@pytest.mark.parametrize(("terminal", "value", "expected"), [(True, "", True), (True, "1", False), (False, "", False)])
def test_no_color_is_heeded(terminal: bool, value: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    monkeypatch.setenv("NO_COLOR", value)
    assert coloured(Stream()) is expected
