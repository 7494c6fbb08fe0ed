"""How many rows the mixture's index of duplicates takes: bytes and seconds a row of `dataset.mixture.select.choose`.

    python -m bench.index                       # 2 and 10 million rows; 2 GB of disk
    python -m bench.index --rows 1000000 4000000

The index is the columns of numbers that the part files of `dataset mix` become: here drawn at random, so that no two
rows look alike, which costs the choice itself what real rows cost, and nothing for the pairs that must be compared.
What such a pair costs (two rows read from disk and compared shingle by shingle) is measured beside it, on the demo's
solutions.

Each size runs in a process of its own. Prints one JSON line a size: `bytes_a_row` is the peak of memory above that of
the interpreter with what it has loaded, over rows; `disk_bytes_a_row` the columns on disk, without the rows
themselves.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from dataset.demo.problems import draw_problems, solution
from dataset.mixture.config import Mixture
from dataset.mixture.fingerprints import example_row, solution_of_row
from dataset.mixture.near import BANDS, similarity
from dataset.mixture.select import Columns, choose

_DRAWN = ("id", "order", "exact", "problem", "subject", *(f"band{number}" for number in range(BANDS)))
_NUMBERED = ("part", "file", "offset", "line")
_AT_ONCE = 1 << 20


def write_columns(folder: Path, rows: int) -> None:
    """Columns of rows of which no two agree in anything."""
    draw = np.random.default_rng(0)
    for name in (*_DRAWN, *_NUMBERED):
        with (folder / f"{name}.u64").open("wb") as file:
            for start in range(0, rows, _AT_ONCE):
                count = min(_AT_ONCE, rows - start)
                values = (
                    np.zeros(count, "<u8") if name in _NUMBERED else draw.integers(1 << 63, size=count, dtype="<u8")
                )
                file.write(values.tobytes())


def pair_seconds(pairs: int = 2000) -> float:
    """What it takes to read two rows and compare them."""
    made = list(draw_problems(pairs, "train", random.Random("index"), set()))
    lines = [json.dumps(example_row(solution(each, "tir"))) for each in made]
    started = time.perf_counter()
    for one, other in pairwise(lines):
        similarity(*(solution_of_row(json.loads(line)) for line in (one, other)))
    return (time.perf_counter() - started) / (pairs - 1)


def peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(rows: int, folder: str) -> dict[str, Any]:
    """One size, in this process."""
    write_columns(Path(folder), rows)
    disk = sum(path.stat().st_size for path in Path(folder).glob("*.u64"))
    before, started = peak_bytes(), time.perf_counter()
    chosen = choose(Columns(Path(folder)), Mixture())
    seconds = time.perf_counter() - started
    assert len(chosen.rows) == rows
    return {
        "bench": "index",
        "rows": rows,
        "seconds": round(seconds, 1),
        "bytes_a_row": round((peak_bytes() - before) / rows, 1),
        "disk_bytes_a_row": disk / rows,
        "microseconds_a_pair": round(1e6 * pair_seconds(), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[2_000_000, 10_000_000])
    options = parser.parse_args()
    for rows in options.rows:
        with (
            tempfile.TemporaryDirectory(prefix="soroban-index-") as folder,
            multiprocessing.get_context("spawn").Pool(1) as one,
        ):
            print(json.dumps(one.apply(measure, (rows, folder))), flush=True)


if __name__ == "__main__":
    main()
