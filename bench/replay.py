"""Recorded solutions with published accuracy through the whole loop: does ours come out the same?

    python -m bench.replay DATA_FOLDER [FILE…]        prints one JSON line a file, differences included

For each file: accuracy as published and as measured here, every verdict that differs from the recorded one, and the
share of executed outputs that equal the recorded ones, by `same_output`'s measure: a reworded message is no difference.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dataset.transcript import parse
from dataset.types import Style
from dataset.verification.outputs import same_output
from evaluator.benchmarks import BENCHMARKS
from evaluator.benchmarks.types import load
from evaluator.config import RunConfig
from evaluator.models.replay import ReplayModel
from evaluator.models.types import Sampling
from evaluator.protocols import PROTOCOLS, Protocol
from evaluator.results import Result, read_results
from evaluator.run import Exam, Means, run_exams
from sandbox import AsyncSandbox
from sandbox.render import Profile

IN_FLIGHT = 16
# file: (published accuracy in percent, what its model was shown of outputs; None: it had no tools).
# Mathcoder's accuracy is the share that its authors recorded as right; it worked in a notebook.
FILES: dict[str, tuple[float | None, Profile | None]] = {
    "tora_code_34b.gsm8k.jsonl": (80.7, "tora"),
    "rho_1b.gsm8k.jsonl": (58.4, "tora"),
    "rho_1b.math500.jsonl": (40.2, "tora"),
    "cot/rho_1b.gsm8k.jsonl": (36.2, None),
    "mathcoder_l_7b.gsm8k.jsonl": (None, "notebook"),
    "mathcoder_l_7b.simuleq.jsonl": (None, "notebook"),
}
# what a terminal shows as colour stands in mathcoder's recorded tracebacks
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def recorded_run(model: str, backend: str, style: Style, protocol: Protocol) -> RunConfig:
    """What a greedy run over recorded problems is called in its results; none is taken up again: nothing is hashed."""
    return RunConfig(
        model=model,
        model_sha256="",
        backend=backend,
        benchmark="recorded",
        problems_sha256="",
        style=style,
        protocol=asdict(protocol),
        instructions={},
        temperature=0.0,
        top_p=1.0,
        seed=0,
    )


def replay(path: Path, published: float | None, profile: Profile | None) -> dict[str, Any]:
    """What the loop makes of the recordings at `path`."""
    model = ReplayModel(path)
    problems = load(BENCHMARKS["recorded"], path)
    # Mathcoder stopped after 16 programs, and some of its solutions repeat themselves until then.
    protocol = replace(
        PROTOCOLS["default"],
        profile=profile or "tora",
        programs_shown=16,
        new_tokens=1 << 15,
        generation_tokens=1 << 15,
    )
    config = recorded_run(path.name, "replay", "tir" if profile else "cot", protocol)
    means = Means(
        open_model=lambda: model,
        open_sandbox=lambda: AsyncSandbox(max_sessions=IN_FLIGHT + 1),
        protocol=protocol,
        sampling=Sampling(),
        in_flight=IN_FLIGHT,
        quiet=True,
    )
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        exam = Exam(folder=Path(folder), config=config, problems=problems, samples=1)
        failed = asyncio.run(run_exams([exam], means))
        seconds = time.monotonic() - started
        _, results = read_results(Path(folder))
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    equal, blocks = _equal_outputs(results, model)
    ours = 100 * sum(result.correct for result in results) / len(results)
    recorded = [row["recorded_correct"] for row in rows if "recorded_correct" in row]
    if published is None:
        published = 100 * sum(recorded) / len(recorded)
    return {
        "file": str(path.relative_to(path.parents[1])),
        "problems": len(results),
        "published": round(published, 2),
        "ours": round(ours, 2),
        "difference": round(ours - published, 2),
        "failed": failed,
        "blocks": blocks,
        "equal_outputs": round(equal / blocks, 4) if blocks else None,
        "seconds": round(seconds, 1),
        "differing": _differing(rows, results),
    }


def _equal_outputs(results: Sequence[Result], model: ReplayModel) -> tuple[int, int]:
    equal = blocks = 0
    for result in results:
        recorded = [t.text for t in model.recorded[result.problem.question.strip()] if t.kind == "output"]
        ours = [turn.text for turn in parse(result.text) if turn.kind == "output"]
        blocks += len(recorded)
        equal += sum(same_output(_COLOUR.sub("", one), other) for one, other in zip(recorded, ours, strict=False))
    return equal, blocks


def _differing(rows: Sequence[dict[str, Any]], results: Sequence[Result]) -> list[dict[str, Any]]:
    found = []
    for row, result in zip(rows, results, strict=True):
        if "recorded_correct" in row and row["recorded_correct"] != result.correct and result.grade:
            verdict = result.grade.verdict
            found.append(
                {
                    "id": row["id"],
                    "recorded": row["recorded_correct"],
                    "reference": verdict.reference,
                    "predicted": verdict.predicted,
                    "recorded_prediction": row["recorded_prediction"],
                    "rule": verdict.rule,
                }
            )
    return found


if __name__ == "__main__":
    for name, (figure, shown) in FILES.items():
        if not name.endswith(tuple(sys.argv[2:]) or ".jsonl"):
            continue
        file = Path(sys.argv[1]) / "trajectories" / name
        print(json.dumps(replay(file, figure, shown), ensure_ascii=False), flush=True)
