"""`python -m dataset build demo`: the demo's training candidates, test problems, and the truth about the spoiled."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from dataset.demo.problems import STYLES, draw_problems, solution, stated
from dataset.demo.spoil import choose, spoil
from dataset.files import Manifest, sha256, versions, write_line, written_whole
from dataset.types import problem_to_json, solution_to_json
from sandbox.errors import InputError


def build_demo(
    out: Path, *, problems: int, test_problems: int, seed: int, spoiled: float, by_heart: float = 0.0
) -> Manifest:
    """Write problems.jsonl, candidates.jsonl, test.jsonl, spoiled.jsonl and, last, manifest.json into `out`.

    `problems` are solved once in each of three styles; of these solutions the share `spoiled` is spoiled. No question
    of test.jsonl is a question of candidates.jsonl. Of the tool-integrated solutions of one or two operations the share
    `by_heart` states the right result without a program, as people do and as no model of this size can.

    Raises:
        InputError: a number is out of range.
    """
    if problems < 1 or test_problems < 0 or not (0 <= spoiled <= 1 and 0 <= by_heart <= 1):
        raise InputError(
            f"--problems {problems} --test-problems {test_problems} --spoiled {spoiled} --by-heart {by_heart}: "
            "expected at least one problem and shares from 0 to 1"
        )
    started = time.monotonic()
    draw, coin = random.Random(f"demo {seed}"), random.Random(f"by heart {seed}")
    used: set[str] = set()
    test = list(draw_problems(test_problems, "test", draw, used))
    train = list(draw_problems(problems, "train", draw, used))
    right = {f"{made.problem.id}/{style}": style for made in train for style in STYLES}
    kinds = choose(right, spoiled, draw)
    paths = [out / name for name in ("candidates.jsonl", "test.jsonl", "spoiled.jsonl", "problems.jsonl")]
    with (
        written_whole(paths[0]) as candidates_file,
        written_whole(paths[1]) as test_file,
        written_whole(paths[2]) as spoiled_file,
        written_whole(paths[3]) as problems_file,
    ):
        for made in test:
            write_line(test_file, problem_to_json(made.problem))
        for made in train:
            write_line(problems_file, problem_to_json(made.problem))
            for style in STYLES:
                candidate = solution(made, style)
                if style == "tir" and int(made.problem.level) < 3 and coin.random() < by_heart:
                    candidate = replace(candidate, turns=stated(made))
                kind = kinds.get(candidate.id)
                if kind:
                    candidate = spoil(candidate, made, kind, draw)
                    write_line(spoiled_file, {"id": candidate.id, "kind": kind})
                write_line(candidates_file, solution_to_json(candidate))
    manifest = Manifest(
        stage="build demo",
        rows_in=0,
        rows_out=len(right),
        outputs={path.name: sha256(path) for path in paths},
        config={
            "problems": problems,
            "test_problems": test_problems,
            "seed": seed,
            "spoiled": spoiled,
            "by_heart": by_heart,
        },
        versions=versions(),
        seconds=round(time.monotonic() - started, 3),
        summary={
            "languages": dict(sorted(Counter(made.problem.language for made in train).items())),
            "spoiled": dict(sorted(Counter(kinds.values()).items())),
        },
    )
    manifest.write(out)
    return manifest
