"""Solutions of problems by the model as it is now, with their rewards: what an update learns from.

OUT/rollouts/000012.jsonl   a line a solution of update 12, as it ended: token ids as sampled, rewards by part, its text

Every solution is written when it is done and never sampled again: a run that was killed goes on with those it has. The
reward is `integrations.reward`'s, the grader the exam's. What fails for our reasons is tried again; if that does not
help its problem is left out of the update and counted, for no model may be taught by our failures.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from dataset.files import write_line
from dataset.thinking import answer_part
from dataset.types import Problem
from evaluator.admission import Admission
from evaluator.asked import named_values
from evaluator.grade import solution_turns
from evaluator.models import BACKENDS, TEACHABLE, check_model, choose_backend
from evaluator.models.types import ModelError, ModelOptions, Sampling, Teachable
from evaluator.protocols import find_protocol
from evaluator.run import attempt, own_sampling
from evaluator.solve import Transcript
from improve.config import GrpoConfig
from integrations.reward import Reward, Weights, reward
from sandbox.client import AsyncSandbox
from sandbox.errors import InputError
from trainer.log import whole_lines


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """A solution as it was sampled. `parts` are its rewards by part and their weighted sum, `score`; None: we failed.

    `drawn` are the stretches [begin, end) of `tokens` that the model drew; all else was prompt or a tool's output.
    """

    problem: str
    sample: int
    tokens: Sequence[int] = ()
    drawn: Sequence[Sequence[int]] = ()
    parts: dict[str, float] | None = None
    failure: str | None = None
    stop: str = ""
    programs: int = 0
    tool_errors: int = 0
    new_tokens: int = 0
    text: str = ""

    @property
    def mask(self) -> list[bool]:
        """Which of `tokens` the model drew."""
        mask = [False] * len(self.tokens)
        for begin, end in self.drawn:
            mask[begin:end] = [True] * (end - begin)
        return mask


@dataclass(frozen=True)
class Exploration:
    """Groups of one update, a problem each, and how many solutions of them were sampled now, not read from the file."""

    groups: Sequence[Sequence[Rollout]]
    left_out: int
    sampled_now: int


def judge(problem: Problem, transcript: Transcript, weights: Weights) -> Reward | None:
    """The reward of a solution, judged as the exam judges it: without what was only thought, its last output included.

    Raises:
        InputError: the reward is not finite, or the problem has no answer.
    """
    text = answer_part(transcript.text)
    solution = text if transcript.left_over is None else solution_turns(text, transcript.left_over)
    found = reward(problem.question, problem.answer, solution, weights=weights)
    if found is not None and not abs(found.score) < float("inf"):
        raise InputError(f"the reward of {problem.id} is {found.score}: give finite --correct, --format, --tool-use")
    return found


class Explorer:
    """The open engine and sandbox of a run. Use it with `with`; its calls wait for an event loop of its own.

    Raises:
        InputError: the backend cannot be given new weights, or cannot open the model.
    """

    def __init__(self, config: GrpoConfig, problems: Sequence[Problem]) -> None:
        self._config, self._problems = config, problems
        self._protocol = find_protocol("default", new_tokens=config.new_tokens, programs_shown=config.programs)
        self._weights = Weights(correct=config.correct, format=config.format, tool_use=config.tool_use)
        self._backend = choose_backend(config.backend)
        if self._backend not in TEACHABLE:
            raise InputError(
                f"--backend {self._backend} cannot be given new weights; expected one of {', '.join(TEACHABLE)}"
            )
        self._options = ModelOptions(
            context_tokens=config.row_tokens, engine=named_values("--engine", config.engine or "")
        )
        check_model(config.model, self._backend, self._options)
        self._in_flight = config.in_flight or min(256, 32 * len(os.sched_getaffinity(0)))

    def __enter__(self) -> Self:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        try:
            self._runner.run(self._open())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    async def _open(self) -> None:
        servers = self._config.sandbox.split(",") if self._config.sandbox else []
        token = os.environ.get("SOROBAN_SANDBOX_TOKEN")
        self._sandbox = (
            AsyncSandbox(servers if len(servers) > 1 else servers[0], token=token)
            if servers
            else AsyncSandbox(max_sessions=self._in_flight + 1)
        )
        self._stack.push_async_callback(self._sandbox.close)
        if self._config.style != "cot":
            await self._sandbox.start()  # no isolation here: said before the model has worked for nothing
        self._model = cast(Teachable, BACKENDS[self._backend]()(self._config.model, self._options))
        self._stack.push_async_callback(self._model.close)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._runner.run(self._stack.aclose())
        finally:
            self._runner.close()

    def teach(self, folder: Path) -> None:
        """Sample by the weights in `folder` from now on.

        Raises:
            InputError: the engine cannot take them.
        """
        try:
            self._runner.run(self._model.take_weights(folder))
        except ModelError as error:
            raise InputError(f"the engine cannot take new weights: {error}") from None

    def explore(self, update: int) -> Exploration:
        """The groups of update `update`, counted from 0: read where they are recorded, sampled where not.

        Raises:
            ModelDied: the engine is gone; what was sampled is kept.
        """
        return self._runner.run(self._explore(update))

    async def _explore(self, update: int) -> Exploration:
        path = self._config.out / "rollouts" / f"{update:06d}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        known = {(row["problem"], row["sample"]): Rollout(**row) for _, row in whole_lines(path)}
        before = len(known)
        groups: list[list[Rollout]] = []
        left_out = 0
        others = iter(self._others(update))
        asked = self._of_update(update)
        with path.open("a", encoding="utf-8") as file:
            for redraw in range(self._config.redraws + 1):
                await self._sample(asked, update, known, file)
                for problem in asked:
                    group = [known[problem.id, sample] for sample in range(self._config.samples)]
                    if any(rollout.parts is None for rollout in group):
                        left_out += 1
                    else:
                        groups.append(group)
                missing = self._config.problems_per_update - sum(map(has_signal, groups))
                asked = [problem for problem, _ in zip(others, range(missing), strict=False)]
                if redraw == self._config.redraws or not asked:
                    break
                groups = list(filter(has_signal, groups))
        return Exploration(groups, left_out, len(known) - before)

    def _of_update(self, update: int) -> list[Problem]:
        """The next problems of a random order that is another in each pass."""
        count, size = len(self._problems), self._config.problems_per_update
        orders: dict[int, list[int]] = {}
        chosen = []
        for place in range(update * size, (update + 1) * size):
            turn = place // count
            if turn not in orders:
                orders[turn] = random.Random(f"{self._config.seed} pass {turn}").sample(range(count), count)
            chosen.append(self._problems[orders[turn][place % count]])
        return list({problem.id: problem for problem in chosen}.values())

    def _others(self, update: int) -> list[Problem]:
        """All other problems in a random order."""
        used = {problem.id for problem in self._of_update(update)}
        rest = [problem for problem in self._problems if problem.id not in used]
        random.Random(f"{self._config.seed} others {update}").shuffle(rest)
        return rest

    async def _sample(
        self, problems: Sequence[Problem], update: int, known: dict[tuple[str, int], Rollout], file: IO[str]
    ) -> None:
        """Sample what of `problems` is not in `known`, and add it there and to `file`."""
        seed = random.Random(f"{self._config.seed} update {update}").randrange(1 << 31)
        base = Sampling(temperature=self._config.temperature, seed=seed)
        admission = Admission(self._model.cache_tokens, self._in_flight)

        async def one(problem: Problem, sample: int) -> None:
            async with admission.place(self._protocol.new_tokens + len(problem.question) // 4):
                transcript = await attempt(
                    problem, sample=sample, style=self._config.style, model=self._model, sandbox=self._sandbox,
                    protocol=self._protocol, sampling=own_sampling(base, problem, sample),
                )  # fmt: skip
            if isinstance(transcript, str):
                rollout = Rollout(problem=problem.id, sample=sample, failure=transcript)
            else:
                # Off the loop: a hard comparison must not hold up the tokens of the others.
                found = await asyncio.to_thread(judge, problem, transcript, self._weights)
                rollout = self._rollout(transcript, found)
            known[problem.id, sample] = rollout
            write_line(file, asdict(rollout))
            file.flush()

        try:
            async with asyncio.TaskGroup() as group:
                for problem in problems:
                    for sample in range(self._config.samples):
                        if (problem.id, sample) not in known:
                            group.create_task(one(problem, sample))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures

    def _rollout(self, transcript: Transcript, found: Reward | None) -> Rollout:
        room = self._config.row_tokens  # a last output may go beyond it, and has no target
        sampled = list(transcript.sampled[:room])
        edges = [place for place in range(1, len(sampled)) if sampled[place] != sampled[place - 1]]
        edges += [len(sampled)] * (len(edges) % 2)  # prompts are not drawn: the first edge begins a stretch
        names = ("score", "correct", "format", "tool_use")
        return Rollout(
            problem=transcript.problem.id,
            sample=transcript.sample,
            tokens=list(transcript.tokens[:room]),
            drawn=[list(stretch) for stretch in zip(edges[::2], edges[1::2], strict=True)],
            parts=None if found is None else {name: getattr(found, name) for name in names},
            failure="its reference cannot be read" if found is None else None,
            stop=transcript.stop,
            programs=len(transcript.calls),
            tool_errors=sum(call.status != "ok" for call in transcript.calls),
            new_tokens=transcript.new_tokens,
            text=transcript.text,
        )


def has_signal(group: Sequence[Rollout]) -> bool:
    """Whether its rewards differ."""
    return len({rollout.parts["score"] for rollout in group if rollout.parts is not None}) > 1


def scores(groups: Sequence[Sequence[Rollout]], *, shuffled: str | None = None) -> list[list[float]]:
    """The rewards of groups; with a seed in `shuffled` each goes to another solution of any group: a control."""
    whole = [[(rollout.parts or {})["score"] for rollout in group] for group in groups]
    if shuffled is None:
        return whole
    every = [score for group in whole for score in group]
    random.Random(shuffled).shuffle(every)
    rest = iter(every)
    return [[next(rest) for _ in group] for group in whole]


def part_means(groups: Sequence[Sequence[Rollout]]) -> dict[str, Any]:
    """The mean of each part of the rewards."""
    parts = [rollout.parts for group in groups for rollout in group if rollout.parts is not None]
    return {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]} if parts else {}
