"""Is this tree's sandbox slower than another's? `bench/sandbox.py` of both checkouts by turns, in one run.

    git worktree add /tmp/before COMMIT
    python bench/turns.py /tmp/before FILE [MORE…] [--turns 3] [--limit 100]

A machine that others use changes its speed from minute to minute; two runs half a minute apart meet about the same. A
line a workload: the median time a program in milliseconds (for `run`, `cell` and `fork` the median latency), before
and now, the median of the turns' ratios now to before, and the ratio of the least times. Above 1 is slower. What others
do only ever adds time, so that where the two ratios differ the second says more.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]


def measured(tree: Path, programs: list[Path], limit: int) -> dict[str, float]:
    """Milliseconds by workload, of one round in the checkout `tree`, with this interpreter."""
    command = [sys.executable, "bench/sandbox.py", *map(str, programs), "--limit", str(limit), "--cold", "4"]
    done = subprocess.run([*command, "--rounds", "1"], cwd=tree, capture_output=True, text=True, check=True)
    found = {}
    for line in done.stdout.splitlines():
        row = json.loads(line)
        name = " ".join([row["workload"], *([row["file"]] if "file" in row else [])])
        if "per_second" in row:
            found[name] = 1000 / row["per_second"]
        elif "p50_ms" in row:
            found[name] = row["p50_ms"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("before", type=Path, help="a checkout of the commit to compare with")
    parser.add_argument("programs", nargs="+", type=Path, help="JSON Lines with a solution each")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--limit", type=int, default=100, help="programs of each file")
    arguments = parser.parse_args()
    programs = [path.resolve() for path in arguments.programs]
    before: dict[str, list[float]] = defaultdict(list)
    now: dict[str, list[float]] = defaultdict(list)
    for _ in range(arguments.turns):
        for tree, times in ((arguments.before, before), (ROOT, now)):
            for name, milliseconds in measured(tree, programs, arguments.limit).items():
                times[name].append(milliseconds)
    for name in [name for name in before if name in now]:
        ratio = statistics.median(b / a for a, b in zip(before[name], now[name], strict=True))
        least = min(now[name]) / min(before[name])
        medians = f"{statistics.median(before[name]):9.2f} {statistics.median(now[name]):9.2f}"
        print(f"{name:50} {medians} {ratio:6.2f} {least:6.2f}")


if __name__ == "__main__":
    main()
