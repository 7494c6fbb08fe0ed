"""One solution, checked: its programs run, its answer compared with the reference.

Sandbox failures pass through as exceptions: they say nothing about the solution. The caller tries again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from dataset import transcript
from dataset.answers import extract_from_turns
from dataset.equality import equivalent
from dataset.types import Solution, Turn
from dataset.verification.outputs import exception_type, records_timeout, same_output, without_addresses
from sandbox.errors import BadRequest
from sandbox.render import Profile, render
from sandbox.types import ExecResult, Limits

Policy = Literal["keep", "replace", "require"]
Reason = Literal[
    "no_reference",  # nothing to compare with
    "not_in_grammar",  # its turns cannot be written down and read back
    "no_program",  # a program of thought without a program
    "not_runnable",  # the sandbox cannot be given the program at all
    "program_raised",
    "time_limit",
    "memory_limit",
    "killed",
    "output_differs",  # a recorded output is not what the program prints
    "no_answer",
    "wrong_answer",
    "undecided",  # the grader could not tell
]
_REASON_OF_STATUS: Mapping[str, Reason] = {
    "error": "program_raised",
    "timeout": "time_limit",
    "memory_limit": "memory_limit",
    "killed": "killed",
}
_EVIDENCE_CHARACTERS = 500
_WHOLE = 1 << 24  # more characters than any output limit lets through
_EXECUTORS: tuple[tuple[Profile, int | None], ...] = (("tora", _WHOLE), ("notebook", _WHOLE), ("tora", None))


class Session(Protocol):
    """The part of a sandbox session that is used here."""

    def run(self, code: str, *, limits: Limits) -> ExecResult: ...

    def __enter__(self) -> Session: ...

    def __exit__(self, *_: object) -> None: ...


class Runner(Protocol):
    """The part of a sandbox that is used here."""

    def run(self, code: str, *, limits: Limits) -> ExecResult: ...

    def session(self) -> Session: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a solution: kept (`reason` None) or dropped, and why.

    `solution` is what to write down: with the policy "replace" its outputs are the real ones. `blocks` counts the
    recorded outputs; `differing` says which of them the programs did not print again, and why.
    """

    solution: Solution
    reason: Reason | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    blocks: int = 0
    differing: tuple[Mapping[str, Any], ...] = ()
    predicted: str | None = None  # the answer that was graded last; None before that, or where there is none


def check(solution: Solution, sandbox: Runner, *, policy: Policy, profile: Profile = "tora", limits: Limits) -> Outcome:
    """Whether `solution` is right.

    In words: its extracted answer. A program of thought: run once, then its output's answer. Tool-integrated: every
    block re-run in one session, the recorded outputs compared with the real ones, then the answer of the whole.
    Policy "require": a differing output drops it. "replace": the real outputs, as `profile` shows them, take the place
    of the recorded ones. With both, an output that is not recorded is filled in, and the last output must then itself
    be the answer. "keep": the text stays as it is, programs that fail today drop nothing, and agreement is only
    counted.

    Raises:
        SandboxError: the sandbox failed (never `BadRequest`, which drops with the reason "not_runnable").
    """
    solution = replace(solution, turns=transcript.tidy(solution.turns))
    if solution.problem.answer is None:
        return Outcome(solution, "no_reference")
    try:
        transcript.render(solution.turns)
    except ValueError as error:
        return Outcome(solution, "not_in_grammar", {"error": _short(str(error))})
    if solution.style == "cot":
        return judge(Outcome(solution), solution.turns)
    try:
        if solution.style == "pot":
            return _check_program(solution, sandbox, limits)
        outcome = _rerun(solution, sandbox, policy, profile, limits)
    except BadRequest as error:
        return Outcome(solution, "not_runnable", {"error": _short(str(error))})
    if outcome.reason is None and policy != "keep" and len(outcome.solution.turns) > len(solution.turns):
        # Whoever wrote the answer did not see the outputs that were filled in: the last must itself be the answer.
        last = max(index for index, turn in enumerate(outcome.solution.turns) if turn.kind == "output")
        outcome = judge(outcome, outcome.solution.turns[last - 1 : last + 1])
    return outcome if outcome.reason else judge(outcome, outcome.solution.turns)


def judge(outcome: Outcome, turns: tuple[Turn, ...]) -> Outcome:
    """`outcome` with the verdict on the answer that `turns` end with; its problem must have a reference."""
    problem = outcome.solution.problem
    predicted, reference = extract_from_turns(turns, problem), problem.answer
    assert reference is not None, problem.id
    if predicted is None:
        return replace(outcome, reason="no_answer", evidence={"reference": reference})
    outcome = replace(outcome, predicted=predicted)
    verdict = equivalent(reference, predicted, problem.question)
    if verdict.correct:
        return outcome
    evidence = {"reference": reference, "predicted": _short(predicted), "rule": verdict.rule}
    return replace(outcome, reason="undecided" if verdict.correct is None else "wrong_answer", evidence=evidence)


def _check_program(solution: Solution, sandbox: Runner, limits: Limits) -> Outcome:
    program = next((turn.text for turn in reversed(solution.turns) if turn.kind == "code"), None)
    if program is None:
        return Outcome(solution, "no_program")
    result = sandbox.run(program, limits=limits)
    if not result.ok:
        return Outcome(solution, _REASON_OF_STATUS[result.status], _evidence(result))
    printed = _shown(result, max_chars=_WHOLE)
    outcome = judge(Outcome(solution), (Turn("code", program), Turn("output", printed)))
    return replace(outcome, evidence={**outcome.evidence, "printed": _short(printed)}) if outcome.reason else outcome


def _run_all(programs: Sequence[str], sandbox: Runner, limits: Limits) -> Iterator[ExecResult]:
    """The results of `programs` as cells of one session, until its state is lost."""
    if len(programs) == 1:  # a process of its own shares state with nobody, and costs a third of a session
        yield sandbox.run(programs[0], limits=limits)
        return
    with sandbox.session() as session:
        for program in programs:
            result = session.run(program, limits=limits)
            yield result
            if result.state_lost:
                return


def _rerun(solution: Solution, sandbox: Runner, policy: Policy, profile: Profile, limits: Limits) -> Outcome:
    """Run every block in one session and settle the recorded outputs by `policy`."""
    # Each program with its recorded output; None where the solution goes on, or ends, without one.
    blocks: list[tuple[str, str | None]] = []
    following = [turn if turn.kind == "output" else None for turn in solution.turns[1:]] + [None]
    for turn, output in zip(solution.turns, following, strict=True):
        if turn.kind == "code":
            blocks.append((turn.text, None if output is None else output.text))
    differing: list[Mapping[str, Any]] = []
    problem: tuple[Reason, dict[str, Any]] | None = None
    shown: list[str] = []
    for number, result in enumerate(_run_all([code for code, _ in blocks], sandbox, limits), 1):
        recorded = blocks[number - 1][1]
        same = recorded is not None and _agrees(recorded, result)
        if recorded is not None and not same:
            differing.append(_difference(number, recorded, _cause(recorded, result), _shown(result)))
        shown.append(_shown(result, profile))
        if problem is None and policy != "keep":
            found = _problem_of(result, recorded, same, number == len(blocks), policy)
            problem = found and (found[0], {"block": number, **found[1]})
    reason, evidence = problem or (None, {})
    if policy != "keep":
        solution = replace(solution, turns=_with_outputs(solution.turns, shown, every=policy == "replace"))
    for number, (_, recorded) in enumerate(blocks[len(shown) :], len(shown) + 1):
        if recorded is not None:
            cause = "recorded_timeout" if records_timeout(recorded) else "state_lost"
            differing.append(_difference(number, recorded, cause, ""))
    count = sum(recorded is not None for _, recorded in blocks)
    return Outcome(solution, reason, evidence, count, tuple(differing))


def _difference(block: int, recorded: str, cause: str, printed: str) -> Mapping[str, Any]:
    return {"block": block, "cause": cause, "recorded": _short(recorded), "printed": _short(printed)}


def _cause(recorded: str, result: ExecResult) -> str:
    """Why an output is not printed again, as far as it can be told from the two."""
    if records_timeout(recorded):
        return "recorded_timeout"
    if not result.ok:
        return _REASON_OF_STATUS[result.status]
    return "recorded_exception" if exception_type(recorded) is not None else "other_output"


def _with_outputs(turns: Sequence[Turn], shown: Sequence[str], *, every: bool) -> tuple[Turn, ...]:
    """`turns` with what the programs print put where nothing is recorded, or `every` recorded output replaced."""
    result: list[Turn] = []
    outputs = iter(shown)
    for index, turn in enumerate(turns):
        if turn.kind == "code":
            output = next(outputs, None)
            result.append(turn)
            recorded = turns[index + 1] if index + 1 < len(turns) and turns[index + 1].kind == "output" else None
            if recorded is not None and (output is None or not every):
                result.append(recorded)
            elif output is not None:
                result.append(Turn("output", output))
        elif turn.kind != "output":
            result.append(turn)
    return tuple(result)


def _problem_of(
    result: ExecResult, recorded: str | None, same: bool, last: bool, policy: Policy
) -> tuple[Reason, dict[str, Any]] | None:
    """Why this block drops the solution, if it does.

    An exception that is recorded, or that a later block mends, is a step of the solution; as its last program's
    outcome it is not: the answer then came from nowhere.
    """
    shown = result.error is not None and recorded is not None and result.error.type in recorded
    mended = not last and (shown or policy == "replace")
    if not result.ok and not (result.status == "error" and mended) and not (same and not last):
        return _REASON_OF_STATUS[result.status], _evidence(result)
    if result.state_lost and not last:
        return "killed", {**_evidence(result), "exit_code": result.exit_code}
    if policy == "require" and recorded is not None and not same:
        return "output_differs", {"recorded": _short(recorded), "printed": _short(_shown(result))}
    return None


def _shown(result: ExecResult, profile: Profile = "tora", max_chars: int | None = None) -> str:
    return transcript.as_output(without_addresses(render(result, profile, max_chars=max_chars)))


def _agrees(recorded: str, result: ExecResult) -> bool:
    """Whether any of the usual executors would have recorded this: value shown or not, long output cut or not."""
    if result.error is not None and exception_type(recorded) == result.error.type:
        return True
    return any(same_output(recorded, _shown(result, profile, max_chars)) for profile, max_chars in _EXECUTORS)


def _evidence(result: ExecResult) -> dict[str, Any]:
    evidence: dict[str, Any] = {"status": result.status}
    if result.error:
        evidence["error"] = _short(without_addresses(f"{result.error.type}: {result.error.message}"))
    if result.signal is not None:
        evidence["signal"] = result.signal
    return evidence


def _short(text: str) -> str:
    return text if len(text) <= _EVIDENCE_CHARACTERS else text[:_EVIDENCE_CHARACTERS] + "…"
