"""How many programs a second the sandbox runs in a container, beside an engine of the same size in this process.

    python bench/containers.py ../shared/data/trajectories/tora_code_34b.gsm8k.jsonl [MORE…] [--gvisor]

Embedded and container take turns, `--rounds` times, on the same programs, in batches; the ratio is that of their best
rounds. One JSON line a round, then one a file. With `--gvisor`, the plain pod under runsc takes its turn with fewer
programs. It needs a Docker engine with the image built (docs/containers.md).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # as bench/sandbox.py does

from bench.sandbox import ONE_SECOND, read_programs, report, run_batch  # noqa: E402
from sandbox import AsyncSandbox, ExecRequest, Sandbox  # noqa: E402

GVISOR_SHARE = 10  # one program in so many: it runs a few a second


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("programs", nargs="+", type=Path, metavar="PROGRAMS", help="JSON Lines with a solution each")
    parser.add_argument("--limit", type=int, default=400, help="programs of each file (0: all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="slots")
    parser.add_argument("--gvisor", action="store_true", help="measure the plain pod under runsc, too")
    arguments = parser.parse_args()
    doors: dict[str, Callable[[], AsyncSandbox]] = {
        "embedded": lambda: AsyncSandbox(workers=arguments.workers),
        "container": lambda: AsyncSandbox(f"docker://?workers={arguments.workers}"),
    }
    if arguments.gvisor:
        doors["gvisor"] = lambda: AsyncSandbox(f"docker://?runtime=runsc&tier=pod&workers={arguments.workers}")
    for path in arguments.programs:
        measure(path, doors, arguments.limit, arguments.rounds)
    return 0


def measure(path: Path, doors: dict[str, Callable[[], AsyncSandbox]], limit: int, rounds: int) -> None:
    """Print the rounds of one file, and what the best ones come to."""
    requests = [ExecRequest(code=code, mode="script", limits=ONE_SECOND) for code in read_programs(path, limit)]
    with Sandbox() as sandbox:
        quick = [result.status != "timeout" for result in sandbox.run_many(requests)]
    programs = [request.code for request, fits in zip(requests, quick, strict=True) if fits]
    best = dict.fromkeys(doors, 0.0)
    for number in range(rounds):
        for name, door in doors.items():
            some = programs[::GVISOR_SHARE] if name == "gvisor" else programs
            measured = asyncio.run(run_batch(door(), some))
            report(workload=name, file=path.name, round=number, **measured)
            best[name] = max(best[name], measured["per_second"])
    ratios = {f"{name}_of_embedded": round(rate / best["embedded"], 3) for name, rate in best.items()}
    report(workload="best", file=path.name, per_second=best, **ratios)


if __name__ == "__main__":
    sys.exit(main())
