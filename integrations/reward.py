"""One reward for what a model wrote: is the answer right, is it written as asked, did its programs run.

The grammar, the grader and the sandbox are those of `dataset verify` and of the evaluator, so that a policy is
trained on what it is scored on. `None` stands for a failure of ours: no sample may be rewarded or punished for it. It
works from any thread and beside any event loop, sends no signal, and always returns: the grader's own limits and the
sandbox's patience see to that.

It refuses to judge without a reference, and to call a broken sandbox a wrong answer.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TypedDict, Unpack

from dataset import transcript
from dataset.answers import boxes
from dataset.sources.records import candidate, language_of
from dataset.types import Problem, Turn
from dataset.verification.check import Outcome, Policy, Runner, check, judge
from dataset.verification.outputs import exception_type, records_timeout
from sandbox import InputError, Sandbox, SandboxError, Unauthorized
from sandbox.types import Limits

_THREADS = 16  # solutions whose programs run at a time: enough to keep a server's slots busy from one trainer process
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What each part of a reward counts."""

    correct: float = 1.0
    format: float = 0.0
    tool_use: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """`score` is the weighted sum of the parts, each 0 or 1. `reason` says why `correct` is 0, "" where it is 1.

    `predicted` is the answer that was graded; None where there is none, or its programs settled the matter before.

    correct    the answer equals the reference; with a sandbox also: the programs print what is recorded
    format     the answer stands in a box in the last words, and every block is closed
    tool_use   there is a program, and the output of the last one is not an exception
    """

    score: float
    correct: float
    format: float
    tool_use: float
    reason: str
    predicted: str | None = None


class Options(TypedDict, total=False):
    """What `rewards` takes besides the batch; see `reward` for each."""

    sandbox: Runner | str | None
    outputs: Policy
    weights: Weights
    limits: Limits


def reward(
    question: str | None,
    reference: str | None,
    solution: str | Sequence[Turn],
    *,
    sandbox: Runner | str | None = None,
    outputs: Policy = "require",
    weights: Weights = Weights(),
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> Reward | None:
    """The reward of one solution; None where the sandbox failed or the reference itself cannot be read.

    `question` may say which unit, form or rounding is asked for. `solution` is text in the project's grammar, or its
    turns. Without `sandbox` the outputs in it are believed, as after a rollout that ran the programs itself. With one
    (or the address of one) the programs run again and `outputs` says what becomes of the recorded ones: `dataset
    verify` has the same three words and gives the same verdicts.

    Raises:
        InputError: there is no reference.
        Unauthorized: the sandbox wants another token; waiting would not mend it.
    """
    if reference is None or not reference.strip():
        raise InputError("a reward needs a reference answer, got none; name the data set's column that holds it")
    asked = question or ""
    language = language_of(asked)
    problem = Problem(id="reward", source="reward", language=language, question=asked, answer=reference)
    given = candidate(problem, None, solution if isinstance(solution, str) else tuple(solution)).solution
    if sandbox is None:
        outcome = judge(Outcome(given), given.turns)
    else:
        runner = shared_sandbox(sandbox) if isinstance(sandbox, str) else sandbox
        try:
            outcome = check(given, runner, policy=outputs, limits=limits)
        except Unauthorized:
            raise
        except SandboxError:
            return None
        given = outcome.solution
    if outcome.evidence.get("rule") == "unreadable reference":
        return None
    reason = outcome.reason or ""
    parts = {
        "correct": float(not reason),
        "format": float(_well_formed(solution, given.turns)),
        "tool_use": float(_used_tool(given.turns)),
    }
    score = sum(getattr(weights, name) * value for name, value in parts.items())
    return Reward(score=score, reason=reason, predicted=outcome.predicted, **parts)


def rewards(
    questions: Iterable[str | None],
    references: Iterable[str | None],
    solutions: Iterable[str | Sequence[Turn]],
    **how: Unpack[Options],
) -> list[Reward | None]:
    """The rewards of a batch, in its order; None also where there is no reference (a sample of another task).

    Raises:
        ValueError: the three are not of one length.
    """
    rows = list(zip(questions, references, solutions, strict=True))

    def one(row: tuple[str | None, str | None, str | Sequence[Turn]]) -> Reward | None:
        return None if row[1] is None else reward(*row, **how)

    if how.get("sandbox") is None or len(rows) < 2:
        return list(map(one, rows))
    with ThreadPoolExecutor(min(_THREADS, len(rows))) as pool:
        return list(pool.map(one, rows))


async def rewards_async(
    questions: Iterable[str | None],
    references: Iterable[str | None],
    solutions: Iterable[str | Sequence[Turn]],
    **how: Unpack[Options],
) -> list[Reward | None]:
    """As `rewards`, beside the event loop."""
    return await asyncio.to_thread(rewards, questions, references, solutions, **how)


def _well_formed(solution: str | Sequence[Turn], turns: Sequence[Turn]) -> bool:
    """Whether the last turn is words with a box in them, and, of a text, every block that opens is closed."""
    if not turns or turns[-1].kind != "text" or not boxes(turns[-1].text):
        return False
    return not isinstance(solution, str) or transcript.parse(solution + "\n\nend.")[-1].kind == "text"


def _used_tool(turns: Sequence[Turn]) -> bool:
    printed = [after.text for turn, after in pairwise(turns) if (turn.kind, after.kind) == _RAN]
    return bool(printed) and exception_type(printed[-1]) is None and not records_timeout(printed[-1])


_RAN = ("code", "output")
_sandboxes: dict[tuple[int, str], Sandbox] = {}
_making = threading.Lock()


def shared_sandbox(url: str, token: str | None = None) -> Sandbox:
    """The one client of this process for the server at `url`, several divided by commas; "embedded": an engine here.

    `token` is for the first that asks; without one SOROBAN_SANDBOX_TOKEN of the environment. A process that was forked
    has its own.
    """
    with _making:
        key = (os.getpid(), url)
        if key not in _sandboxes:
            if url == "embedded":
                _sandboxes[key] = Sandbox()
            else:
                token = token or os.environ.get("SOROBAN_SANDBOX_TOKEN")
                _sandboxes[key] = Sandbox(_addresses(url), token=token, patience_seconds=_PATIENCE_SECONDS)
        return _sandboxes[key]


def _addresses(url: str) -> str | list[str]:
    return url.split(",") if "," in url else url
