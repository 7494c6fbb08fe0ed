"""What is kept and what is dropped, and why: on the real sandbox, one solution at a time."""

from __future__ import annotations

from typing import Any

import pytest

from dataset.sources.records import Candidate
from dataset.types import Problem, Solution, Style, Turn
from dataset.verification.check import Outcome, Policy, check
from dataset.verification.outputs import same_output
from dataset.verification.workers import Settings, check_with_patience
from sandbox import ExecResult, Limits, Sandbox
from sandbox.errors import Overloaded, SandboxError, SandboxUnavailable, SessionLost, Unauthorized

# Little time only where its end is expected: a busy machine may be many times slower than an idle one.
LIMITS = Limits(wall_seconds=200, cpu_seconds=60, memory_bytes=256 << 20)
LITTLE_TIME = Limits(wall_seconds=200, cpu_seconds=1, memory_bytes=256 << 20)


def solution(style: Style, *turns: str, answer: str | None = "6") -> Solution:
    """Turns written as "text:…", "code:…", "output:…"."""
    problem = Problem(id="p", source="own", language="en", question="What is 2 times 3?", answer=answer)
    parts = [turn.partition(":") for turn in turns]
    return Solution(id="s", problem=problem, style=style, turns=tuple(Turn(k, t) for k, _, t in parts))  # type: ignore[arg-type]


BOX = "text:The answer is $\\boxed{6}$."
RUN, BAD = "code:print(2*3)", "code:print(2*x)"

# style, turns, policy, reason (None: kept)
CASES: list[tuple[Style, list[str], Policy, str | None]] = [
    ("cot", [BOX], "require", None),
    ("cot", ["text:2 times 3 is 6."], "require", None),
    ("cot", ["text:The answer is $\\boxed{5}$."], "require", "wrong_answer"),
    ("cot", ["text:I do not know."], "require", "no_answer"),
    ("cot", ["text:```python\nprint(6)\n```"], "require", "not_in_grammar"),
    ("pot", [RUN], "require", None),
    ("pot", ["code:2*3"], "require", None),
    ("pot", ["code:print('so:')\nprint(6.0)"], "require", None),
    ("pot", ["code:print(7)"], "require", "wrong_answer"),
    ("pot", ["code:x = 6"], "require", "no_answer"),
    ("pot", [BAD], "require", "program_raised"),
    ("pot", ["code:print(6"], "require", "program_raised"),
    ("pot", ["code:while True: pass"], "require", "time_limit"),
    ("pot", ["code:x = bytearray(1 << 30)\nprint(6)"], "require", "memory_or_raised"),
    ("pot", ["code:import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)"], "require", "killed"),
    ("pot", ["text:no program"], "require", "no_program"),
    ("tir", [RUN, "output:6", BOX], "require", None),
    ("tir", [RUN, "output: 6 \n", BOX], "require", None),
    ("tir", [RUN, BOX], "require", None),
    ("tir", [RUN], "require", None),
    # Nobody saw this program's output before writing the answer.
    ("tir", ["code:print(7)", BOX], "require", "wrong_answer"),
    ("tir", ["code:print(7)", BOX], "replace", "wrong_answer"),
    ("tir", [RUN, "output:7", BOX], "require", "output_differs"),
    ("tir", [RUN, "output:7", BOX], "replace", None),
    ("tir", [RUN, "output:7", BOX], "keep", None),
    ("tir", [RUN, "output:6", "text:So $\\boxed{7}$."], "require", "wrong_answer"),
    ("tir", ["code:print(7)", "output:7", "text:So $\\boxed{7}$."], "replace", "wrong_answer"),
    ("tir", [BAD, "output:6", BOX], "require", "program_raised"),
    ("tir", [BAD, "output:6", BOX], "replace", "program_raised"),
    ("tir", [BAD, "output:6", BOX], "keep", None),
    ("tir", ["code:while True: pass", "output:6", BOX], "require", "time_limit"),
    ("tir", ["code:while True: pass", "output:6", BOX], "replace", "time_limit"),
    # State lives from block to block.
    ("tir", ["code:x = 2", "output:", "code:print(x*3)", "output:6", BOX], "require", None),
    # A recorded mistake that a later block mends is part of the solution …
    ("tir", [BAD, "output:NameError: name 'x' is not defined", RUN, "output:6", BOX], "require", None),
    ("tir", [BAD, "output:NameError: reworded", RUN, "output:6", BOX], "require", None),
    ("tir", [BAD, "output:3", RUN, "output:6", BOX], "replace", None),
    # … one that nothing mends is not: the answer came from nowhere.
    ("tir", [BAD, "output:NameError: name 'x' is not defined", BOX], "require", "program_raised"),
    ("tir", [BAD, "output:3", RUN, "output:6", BOX], "require", "program_raised"),
    # What ends the session ends the solution.
    ("tir", ["code:while True: pass", "output:", RUN, "output:6", BOX], "require", "time_limit"),
    ("tir", ["code:import os; os._exit(0)", "output:", RUN, "output:6", BOX], "replace", "ended"),
]
ALTERNATIVES = {"memory_or_raised": {"memory_limit", "program_raised"}, "ended": {"killed", "program_raised"}}


@pytest.mark.parametrize(("style", "turns", "policy", "reason"), CASES)
def test_a_solution_is_kept_or_dropped_for_its_reason(
    sandbox: Sandbox, style: Style, turns: list[str], policy: Policy, reason: str | None
) -> None:
    limits = LITTLE_TIME if reason == "time_limit" else LIMITS
    outcome = check(solution(style, *turns), sandbox, policy=policy, limits=limits)
    assert outcome.reason in ALTERNATIVES.get(reason or "", {reason}), outcome
    assert bool(outcome.evidence) == (reason is not None and reason != "no_program")


def test_without_a_reference_nothing_is_kept(sandbox: Sandbox) -> None:
    assert check(solution("cot", BOX, answer=None), sandbox, policy="keep", limits=LIMITS).reason == "no_reference"


def test_real_outputs_take_the_place_of_recorded_ones_and_of_missing_ones(sandbox: Sandbox) -> None:
    wrong = solution("tir", RUN, "output:7", BOX)
    missing = solution("tir", RUN, BOX)
    right = solution("tir", RUN, "output:6", BOX).turns
    assert check(wrong, sandbox, policy="replace", limits=LIMITS).solution.turns == right
    assert check(missing, sandbox, policy="require", limits=LIMITS).solution.turns == right
    assert check(missing, sandbox, policy="keep", limits=LIMITS).solution.turns == missing.turns


# program and recorded output of a second block, and why it is not printed again
DIFFERING = [
    ("code:print(1)", "output:2", "other_output"),
    ("code:print(1)", "output:TimeoutError: Timed Out", "recorded_timeout"),
    ("code:print(1)", "output:KeyError: 1", "recorded_exception"),
    ("code:print(x)", "output:2", "program_raised"),
    ("code:print(x)", "output:--------\nNameError      Traceback (most recent call last)\nCell 1\n1 print(x)", None),
    ("code:raise ValueError('a\\nb')",
     "output:\x1b[31m---\x1b[0m\n\x1b[31mValueError\x1b[0m  Traceback (most recent call last)", None),
    ("code:print(1)", "output:----\nTimeout waiting for reply   Traceback (most recent call last)",
     "recorded_timeout"),
    ("code:print(1)", "output:1", None),
]  # fmt: skip


@pytest.mark.parametrize(("code", "output", "cause"), DIFFERING)
def test_each_output_that_is_not_printed_again_is_told_with_its_cause(
    sandbox: Sandbox, code: str, output: str, cause: str | None
) -> None:
    turns = [RUN, "output:6", code, output, "code:print(3)", BOX]
    outcome = check(solution("tir", *turns), sandbox, policy="keep", limits=LIMITS)
    assert outcome.blocks == 2
    assert [(block["block"], block["cause"]) for block in outcome.differing] == ([(2, cause)] if cause else [])


def test_blocks_that_a_lost_session_leaves_unrun_are_told(sandbox: Sandbox) -> None:
    turns = ["code:import os\nos._exit(1)", "output:", "code:print(6)", "output:6", BOX]
    outcome = check(solution("tir", *turns), sandbox, policy="keep", limits=LIMITS)
    assert [block["cause"] for block in outcome.differing][-1] == "state_lost"


def test_a_notebooks_recorded_value_agrees_beside_what_was_printed(sandbox: Sandbox) -> None:
    turns = ["code:print('a')\n2*3", "output:a\n6", BOX]
    assert check(solution("tir", *turns), sandbox, policy="require", limits=LIMITS).reason is None


def test_evidence_is_the_same_in_every_run(sandbox: Sandbox) -> None:
    turns = ["code:print(object())", "output:<object object at 0x7f0000000000>", BOX]
    outcomes = [check(solution("tir", *turns), sandbox, policy="replace", limits=LIMITS) for _ in range(3)]
    assert outcomes[0].reason is None
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert "0x7" not in outcomes[0].solution.turns[1].text


SAME = [
    ("6", " 6\n", True), ("a  b\nc", "a b c", True), ("0.30000000000000004", "0.3000000000000001", True),
    ("1e-16", "0.0000000000000001", True), ("0.3333333333", "0.33333333333333", True), ("3", "3.0", False),
    ("0.33", "0.3333", False), ("[1, 2]", "[1,2]", True), ("{1, 2}", "{2, 1}", False), ("6", "7", False),
    ("6", "", False), ("", "", True), ("x + 1", "x - 1", False), ("1.5*x**2", "1.5000000000001*x**2", True),
    ("KeyError: 0", "KeyError: 'a'", True), ("KeyError: 0", "TypeError: 0", False), ("KeyError: 0", "0", False),
    ("timeout_decorator.timeout_decorator.TimeoutError: 'Timed Out'", "Timeout Error", True),
    ("<f at 0x7f11223344>", "<f at 0x7f99887766>", True), ("nan", "nan", True), ("1.0", "inf", False),
    ("١", "1", False), ("1.5.2", "1.5.3", False), ("2.5e3", "2500.0", True),
]  # fmt: skip


@pytest.mark.parametrize(("recorded", "printed", "same"), SAME)
def test_outputs_agree_up_to_white_space_last_digits_and_addresses(recorded: str, printed: str, same: bool) -> None:
    assert same_output(recorded, printed) is same
    assert same_output(printed, recorded) is same


class Failing:
    """A sandbox at whose seam errors are raised before the real one is asked."""

    def __init__(self, sandbox: Sandbox, errors: list[SandboxError]) -> None:
        self.sandbox, self.errors = sandbox, errors

    def run(self, code: str, *, limits: Limits) -> ExecResult:
        if self.errors:
            raise self.errors.pop()
        return self.sandbox.run(code, limits=limits)

    def session(self) -> Any:
        if self.errors:
            raise self.errors.pop()
        return self.sandbox.session()


SETTINGS = Settings(policy="require", limits=LIMITS, patience_seconds=20)
TWO_BLOCKS = ("code:x = 2", "output:", "code:print(x*3)", "output:6", BOX)


def patiently(sandbox: Failing, *turns: str) -> tuple[Outcome, list[float]]:
    """The outcome, and the pauses that were made on a clock that only they move."""
    pauses: list[float] = []
    candidate = Candidate(solution("tir", *turns))
    outcome = check_with_patience(candidate, sandbox, SETTINGS, clock=lambda: sum(pauses), sleep=pauses.append)
    return outcome, pauses


@pytest.mark.parametrize("turns", [(RUN, "output:6", BOX), TWO_BLOCKS])
@pytest.mark.parametrize("error", [SandboxUnavailable("gone"), Overloaded("full"), SessionLost("lost")])
def test_sandbox_trouble_is_retried_and_drops_nothing(sandbox: Sandbox, error: SandboxError, turns: list[str]) -> None:
    outcome, pauses = patiently(Failing(sandbox, [error] * 5), *turns)
    assert outcome.reason is None
    assert len(pauses) == 5


def test_lasting_sandbox_trouble_stops_the_run_instead_of_dropping(sandbox: Sandbox) -> None:
    errors: list[SandboxError] = [SandboxUnavailable("gone")] * 100
    with pytest.raises(SandboxUnavailable):
        patiently(Failing(sandbox, errors), RUN, "output:6", BOX)
    assert 90 <= len(errors) < 95  # twenty seconds: 0.25, 0.5, 1, 2, 4, 8


def test_a_refused_token_is_not_tried_again(sandbox: Sandbox) -> None:
    errors: list[SandboxError] = [Unauthorized("no")] * 2
    with pytest.raises(Unauthorized):
        patiently(Failing(sandbox, errors), RUN, "output:6", BOX)
    assert len(errors) == 1
