"""The files of a run: `config.json` before work starts, a line a sample in `results.jsonl` as it finishes.

    R/gsm8k-tools/config.json      what was asked, of which model, by which rules; `key` is the hash of all that matters
    R/gsm8k-tools/results.jsonl    one sample a line, each with that key
    R/gsm8k-tools/manifest.json    written last: the run is complete

A killed run leaves whole lines and at most one torn one, which is dropped and done again. Results of another
configuration are never mixed in: the folder is refused, and the differences are named. A sample that failed for our
reasons is kept as such and tried again by the next run; nothing grades it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from dataset.files import write_line, written_whole
from dataset.types import Problem, Verdict
from evaluator.config import CONFIG, RunConfig, read_config, refuse_other, write_config
from evaluator.grade import Grade
from evaluator.solve import Transcript
from evaluator.tool import ToolCall
from sandbox.errors import InputError

RESULTS = "results.jsonl"
_LOCK_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Result:
    """One sample: what was asked, what came of it, and the verdicts. Either `grade` or `infra_error` is None."""

    key: str
    problem: Problem
    sample: int
    text: str = ""
    stop: str = ""
    calls: Sequence[ToolCall] = ()
    left_over: str | None = None
    prompt_tokens: int = 0
    new_tokens: int = 0
    shown_tokens: int = 0
    seconds: float = 0.0
    grade: Grade | None = None
    infra_error: str | None = None

    @property
    def correct(self) -> bool:
        """Whether the sample counts as right; what could not be decided does not."""
        return self.grade is not None and self.grade.verdict.correct is True


def result_of(key: str, transcript: Transcript, grade: Grade) -> Result:
    """The result of a finished and graded transcript."""
    return Result(
        key=key,
        problem=transcript.problem,
        sample=transcript.sample,
        text=transcript.text,
        stop=transcript.stop,
        calls=transcript.calls,
        left_over=transcript.left_over,
        prompt_tokens=transcript.prompt_tokens,
        new_tokens=transcript.new_tokens,
        shown_tokens=transcript.shown_tokens,
        seconds=transcript.seconds,
        grade=grade,
    )


def result_from_json(row: Mapping[str, Any]) -> Result:
    """The inverse of `asdict`.

    Raises:
        TypeError, KeyError: it is not a result of ours.
    """
    data = dict(row)
    data["problem"] = Problem(**data["problem"])
    data["calls"] = tuple(ToolCall(**call) for call in data.get("calls", ()))
    if data.get("grade") is not None:
        program = data["grade"]["program"]
        data["grade"] = Grade(
            verdict=Verdict(**data["grade"]["verdict"]),
            program=None if program is None else Verdict(**program),
            answer_from=data["grade"]["answer_from"],
        )
    return Result(**data)


def read_results(folder: Path, also: str = "") -> tuple[RunConfig, list[Result]]:
    """The configuration and the results in `folder`; a torn last line is left out.

    A sample that stands there twice, first failed and then done, counts as done. `also` is a second key that is
    accepted.

    Raises:
        InputError: no results there, a malformed line before the last, or a line of another configuration.
    """
    config = read_config(folder)
    found: dict[tuple[str, int], Result] = {}
    for number, row in _whole_lines(folder / RESULTS):
        try:
            result = result_from_json(row)
        except (TypeError, KeyError) as error:
            raise InputError(f"{folder / RESULTS}:{number}: not a result of ours ({error})") from None
        if result.key not in (config.key, also):
            raise InputError(
                f"{folder / RESULTS}:{number}: a result of configuration {result.key}, expected {config.key}; "
                "results of different configurations do not mix"
            )
        found[result.problem.id, result.sample] = result
    return config, list(found.values())


def _whole_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return  # torn: the run was killed while it wrote
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise TypeError("not an object")
            except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
                raise InputError(f"{path}:{number}: not a result of ours ({error})") from None
            yield number, row


class ResultFile:
    """The results in a folder, open for more. One process at a time."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        """Open or begin the results in `folder`.

        Raises:
            InputError: it holds results of another configuration, or another process is writing them.
        """
        self.config = config
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / RESULTS
        self._file: IO[str] = self._path.open("a", encoding="utf-8")
        try:
            self._lock(folder)
            if (folder / CONFIG).exists():
                old = read_config(folder)
                if self._path.stat().st_size:  # a start that failed leaves a configuration and no result
                    self.config = replace(config, engine=old.engine, about={**old.about, **config.about})
                    refuse_other(folder, old, self.config)
            write_config(folder, self.config)
            self._drop_torn_line()
            self.done = {
                (result.problem.id, result.sample): result
                for result in read_results(folder)[1]
                if result.infra_error is None
            }
        except BaseException:
            self._file.close()
            raise

    def _lock(self, folder: Path) -> None:
        """Keep others from writing. A killed run's engine, a fork of it, holds the lock until it has ended, too."""
        until = time.monotonic() + _LOCK_PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > until:
                    raise InputError(
                        f"{folder}: another process is writing results there; wait for it or choose --out"
                    ) from None
                time.sleep(0.1)

    def _drop_torn_line(self) -> None:
        whole = self._path.read_bytes()
        if whole and not whole.endswith(b"\n"):
            os.truncate(self._path, whole.rfind(b"\n") + 1)

    def settle(self, engine: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Record what the model, ready now, says of itself, before its first result.

        Raises:
            InputError: the results that are there came from another engine, data type, context …
        """
        settled = replace(self.config, engine=dict(engine), about={**self.config.about, **about})
        if self._path.stat().st_size:
            refuse_other(self._path.parent, self.config, settled)
        self.config = settled
        write_config(self._path.parent, settled)

    def add(self, result: Result) -> None:
        """Append `result` at once; a kill after this loses nothing of it."""
        write_line(self._file, asdict(result))
        self._file.flush()

    def close(self) -> None:
        """Let others write. Closing twice does nothing."""
        self._file.close()


def sort_results(folder: Path, order: Sequence[str]) -> list[Result]:
    """Rewrite the results in the order of the problems' ids; return them.

    Samples finish in any order. Sorted, a run that was killed and gone on with leaves the file of one that was not.
    """
    _, results = read_results(folder)
    place = {name: number for number, name in enumerate(order)}
    results.sort(key=lambda result: (place.get(result.problem.id, len(place)), result.problem.id, result.sample))
    write_results(folder, results)
    return results


def write_results(folder: Path, results: Iterable[Result]) -> None:
    """Put `results` in the place of those in `folder`, all or none."""
    with written_whole(folder / RESULTS) as file:
        for result in results:
            write_line(file, asdict(result))


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """The folders with results at or below `paths`, in order, each once.

    Raises:
        InputError: a path without any.
    """
    found: dict[Path, None] = {}
    for path in paths:
        with contextlib.suppress(NotADirectoryError):
            here = sorted(config.parent for config in path.rglob(CONFIG) if (config.parent / RESULTS).exists())
            if not here:
                raise InputError(f"{path}: no results in it; expected a folder of `python -m evaluator run --out`")
            found |= dict.fromkeys(here)
    return list(found)
