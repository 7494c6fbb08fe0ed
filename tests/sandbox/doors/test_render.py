"""What a model is shown: one row an outcome and profile, expected texts written by hand from the original executors."""

from __future__ import annotations

import pytest

from sandbox import ExecError, ExecResult, InputError, Truncated, render
from sandbox.render import DEFAULT_CHARS

DIVISION = ExecError(
    "ZeroDivisionError",
    "division by zero",
    'Traceback (most recent call last):\n  File "<cell 1>", line 2, in <module>\n    1/0\n'
    "ZeroDivisionError: division by zero\n",
)
TWO_LINES = ExecError("NotImplementedError", "first\nsecond", "Traceback:\nNotImplementedError: first\nsecond\n")

PRINTED = ExecResult(status="ok", stdout="42\n", value="7")
VALUE = ExecResult(status="ok", value="[2, 3]")
SILENT = ExecResult(status="ok")
FAILED = ExecResult(status="error", error=DIVISION, exit_code=1)
PRINTED_THEN_FAILED = ExecResult(status="error", stdout="1\n", stderr="careful\n", error=DIVISION, exit_code=1)
TIMEOUT = ExecResult(status="timeout", stdout="1\n")
MEMORY = ExecResult(status="memory_limit")
SEGFAULT = ExecResult(status="killed", signal=11)
REALTIME = ExecResult(status="killed", signal=40)
EXITED = ExecResult(status="error", error=ExecError("SystemExit", "3", ""), exit_code=3)
LOST = ExecResult(status="timeout", state_lost=True)


@pytest.mark.parametrize(
    ("result", "profile", "shown"),
    [
        (PRINTED, "tora", "42"),
        (PRINTED, "notebook", "42\n7"),
        (PRINTED, "deepseekmath", "42"),
        (VALUE, "tora", "[2, 3]"),
        (VALUE, "notebook", "[2, 3]"),
        (VALUE, "deepseekmath", "[2, 3]"),
        (SILENT, "tora", ""),
        (SILENT, "notebook", ""),
        (SILENT, "deepseekmath", "Runtime errors:"),
        (FAILED, "tora", "ZeroDivisionError: division by zero"),
        (FAILED, "notebook", DIVISION.traceback.rstrip()),
        (FAILED, "deepseekmath", "Runtime errors: " + DIVISION.traceback.rstrip()),
        (PRINTED_THEN_FAILED, "tora", "ZeroDivisionError: division by zero"),
        (PRINTED_THEN_FAILED, "notebook", "1\ncareful\n" + DIVISION.traceback.rstrip()),
        (PRINTED_THEN_FAILED, "deepseekmath", "Runtime errors: " + DIVISION.traceback.rstrip()),
        (ExecResult(status="error", error=TWO_LINES), "tora", "second"),
        (TIMEOUT, "tora", "Timeout Error"),
        (TIMEOUT, "notebook", "1\nTimeoutError: Timed Out"),
        (TIMEOUT, "deepseekmath", "Runtime errors: Timeout Error"),
        (MEMORY, "tora", "MemoryError"),
        (MEMORY, "notebook", "MemoryError"),
        (MEMORY, "deepseekmath", "Runtime errors: MemoryError"),
        (SEGFAULT, "tora", "Killed: SIGSEGV"),
        (SEGFAULT, "notebook", "Killed: SIGSEGV"),
        (SEGFAULT, "deepseekmath", "Runtime errors: Killed: SIGSEGV"),
        (REALTIME, "tora", "Killed: signal 40"),
        (EXITED, "tora", "SystemExit: 3"),
        (EXITED, "notebook", "SystemExit: 3"),
        (LOST, "notebook", "TimeoutError: Timed Out\nThe session has ended; its variables are gone."),
    ],
)
def test_each_outcome_is_shown_in_its_profiles_words(result: ExecResult, profile: str, shown: str) -> None:
    assert render(result, profile) == shown  # type: ignore[arg-type]


def test_deepseekmath_keeps_exactly_100_characters_and_cuts_101() -> None:
    assert render(ExecResult(status="ok", stdout="a" * 100 + "\n"), "deepseekmath") == "a" * 100
    text = "a" * 50 + "b" + "c" * 50
    assert render(ExecResult(status="ok", stdout=text), "deepseekmath") == "a" * 50 + "..." + "c" * 50


def test_deepseekmath_cuts_a_long_traceback_to_its_head_and_tail() -> None:
    error = ExecError("E", "x", "a" * 300 + "b" * 300)
    shown = render(ExecResult(status="error", error=error), "deepseekmath")
    assert shown == "Runtime errors: " + "a" * 200 + " ... " + "b" * 200


@pytest.mark.parametrize("profile", ["tora", "notebook"])
def test_a_long_output_keeps_head_and_tail_and_counts_what_was_cut(profile: str) -> None:
    text = "a" * 5000 + "b" * 5000
    shown = render(ExecResult(status="ok", stdout=text), profile, max_chars=100)  # type: ignore[arg-type]
    assert shown == "a" * 50 + "\n... 9900 characters left out ...\n" + "b" * 50


def test_bytes_that_the_sandbox_left_out_are_counted_too() -> None:
    text = "a" * 200 + "\n... 1000000 bytes left out ...\n" + "b" * 200
    result = ExecResult(status="ok", stdout=text, truncated=Truncated(stdout=1_000_000))
    shown = render(result, "tora", max_chars=100)
    assert shown.startswith("a" * 50 + "\n... about 1000")
    assert "a" * 51 not in shown
    assert "b" * 50 in shown
    assert shown.count("left out") == 1
    assert render(result, "tora", max_chars=1000) == text


def test_an_error_is_not_crowded_out_by_a_long_output() -> None:
    result = ExecResult(status="error", stdout="x" * 100_000, error=DIVISION)
    shown = render(result, "notebook", max_chars=1000)
    assert shown.endswith("ZeroDivisionError: division by zero")
    assert len(shown) < 1100


@pytest.mark.parametrize("text", ["数" * 1000, "👩‍👩‍👧" * 500, "\x00" * 1000, "\ud800".join("ab") * 400])
@pytest.mark.parametrize("profile", list(DEFAULT_CHARS))
def test_any_text_is_cut_by_characters_and_never_fails(text: str, profile: str) -> None:
    shown = render(ExecResult(status="ok", stdout=text), profile, max_chars=10)  # type: ignore[arg-type]
    assert shown.startswith(text[:5])
    assert shown.endswith(text[-5:])


@pytest.mark.parametrize(("profile", "max_chars"), [("jupyter", None), ("tora", 1), ("tora", -5)])
def test_an_unknown_profile_or_no_room_is_refused(profile: str, max_chars: int | None) -> None:
    with pytest.raises(InputError, match="expected"):
        render(SILENT, profile, max_chars=max_chars)  # type: ignore[arg-type]
