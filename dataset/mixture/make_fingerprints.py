"""`python -m dataset.mixture.make_fingerprints NAME=FILE …`: write `benchmarks.npz`, the fingerprints that ship.

Hashes of n-grams and numbers, no text. A question that equals an earlier one but for its numbers (GSM-Hard's and
GSM8K's) is kept under its own name with its own numbers; one that equals an earlier one altogether (MATH-500's and
MATH's) is stored once, under the first name given.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from dataset.mixture.contamination import SHIPPED, read_questions
from dataset.mixture.shape import Shape, shape_of
from sandbox.command import run_command
from sandbox.errors import InputError


def write_fingerprints(files: dict[str, Path], out: Path) -> int:
    """Write the fingerprints of all `files` to `out`; returns how many questions are stored."""
    kept: list[tuple[int, int, Shape]] = []
    seen: set[int] = set()
    rows: list[int] = []
    for benchmark, path in enumerate(files.values()):
        rows.append(0)
        for line, question in read_questions(path):
            rows[-1] += 1
            shape = shape_of(question)
            if shape.equal not in seen:
                seen.add(shape.equal)
                kept.append((benchmark, line, shape))
    shapes = [shape for _, _, shape in kept]
    numbers = [sorted(shape.numbers.elements()) for shape in shapes]
    np.savez_compressed(
        out,
        names=np.array(list(files)),
        rows=np.array(rows, dtype=np.uint32),
        benchmark=np.array([benchmark for benchmark, _, _ in kept], dtype=np.uint8),
        line=np.array([line for _, line, _ in kept], dtype=np.uint32),
        equal=np.array([shape.equal for shape in shapes], dtype=np.uint64),
        template=np.array([shape.template for shape in shapes], dtype=np.uint64),
        gram_counts=np.array([len(shape.grams) for shape in shapes], dtype=np.uint32),
        grams=np.concatenate([shape.grams for shape in shapes]),
        weights=np.array([int(shape.weights.sum()) for shape in shapes], dtype=np.uint32),
        number_counts=np.array([len(found) for found in numbers], dtype=np.uint32),
        numbers=np.array([number for found in numbers for number in found], dtype=np.uint32),
    )
    return len(kept)


def main(argv: list[str]) -> int:
    """Write the file that ships; returns 0."""
    files = dict(argument.partition("=")[::2] for argument in argv)
    if not files or not all(files.values()):
        raise InputError("expected NAME=FILE for each benchmark, for instance gsm8k=gsm8k_test.jsonl")
    kept = write_fingerprints({name: Path(path) for name, path in files.items()}, SHIPPED)
    print(f"{SHIPPED}: {kept:,} questions of {', '.join(files)}, {SHIPPED.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
