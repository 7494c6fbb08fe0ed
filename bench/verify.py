"""Verify and mix many synthetic rows: how fast, in how much memory, and whether kills change a byte.

    python -m bench.verify                        # a million rows; about 20 minutes on two quiet cores
    python -m bench.verify --rows 50000 --kill-rows 5000 --kills 4 --whole-kills 1

The rows are the demo's problems, each solved right once: of every hundred 98 in words, one as a program alone, one
with a program between words (`--pot`, `--tir`). For `verify` and for `mix`, which checks against the benchmark files
that lie beside the project:

1. over a tenth of the rows, for the memory;
2. over all rows: rate and memory. Peak memory is the sum over the command and its workers at any one moment, without
   the sandboxes' own processes; pages that processes share are counted in each;
3. over all rows again, killed (SIGKILL) `--whole-kills` times at random moments and started again;
4. over `--kill-rows` rows, `--kills` times killed: killed at random moments and started again until it ends, then from
   the beginning, until there were so many kills.

Every result of 3 and 4 must equal, byte for byte, that of the same run left alone. Prints one JSON line; `memory_ratio`
compares the peaks of 2 and 1, in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dataset.demo.problems import draw_problems, solution
from dataset.files import sha256, write_line, written_whole
from dataset.mixture.contamination import shipped_names
from dataset.types import Style, solution_to_json


def make_rows(path: Path, rows: int, pot: float, tir: float, seed: int) -> None:
    """Write `rows` right solutions, shares of them as programs and with programs."""
    draw = random.Random(f"bench {seed}")
    with written_whole(path) as file:
        for made in draw_problems(rows, "train", draw, set()):
            chance = draw.random()
            style: Style = "pot" if chance < pot else "tir" if chance < pot + tir else "cot"
            write_line(file, solution_to_json(solution(made, style)))


def memory_mib(pid: int) -> float:
    """The summed resident memory of a command and its workers (its own children, not theirs), in MiB."""
    total = 0
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        for each in [str(pid), *children.read_text().split()]:
            total += int(Path(f"/proc/{each}/statm").read_text().split()[1])
    except OSError:  # one has ended in the meantime
        return 0.0
    return total * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    seconds: float
    peak_mib: float
    code: int


def run(arguments: list[str], *, kill_after: float | None = None) -> Ended:
    """Run the command, killed after so many seconds if it still runs.

    Raises:
        SystemExit: it failed by itself.
    """
    started, peak = time.monotonic(), 0.0
    process = subprocess.Popen([sys.executable, "-m", "dataset", *arguments, "--quiet"], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, memory_mib(process.pid))
        if kill_after is not None and time.monotonic() - started > kill_after:
            process.kill()
        time.sleep(0.05)
    if process.returncode not in ((0,) if kill_after is None else (0, -9)):
        raise SystemExit(f"{arguments[0]} ended with {process.returncode}")
    return Ended(time.monotonic() - started, peak, process.returncode)


def outputs(folder: Path) -> dict[str, str]:
    """What the command made, but the manifest, which holds its duration."""
    files = [*folder.rglob("*.jsonl"), *folder.rglob("*.md"), *folder.rglob("*.svg")]
    return {str(path.relative_to(folder)): sha256(path) for path in files}


def killed(arguments: list[str], out: Path, kills: int, whole_seconds: float, draw: random.Random) -> int:
    """Run the command to its end with up to `kills` kills at random moments of its length; how many there were."""
    for done in range(kills):
        if run([*arguments, "--out", str(out)], kill_after=draw.uniform(0.2, 0.7 * whole_seconds)).code == 0:
            return done
    run([*arguments, "--out", str(out)])
    return kills


def killed_often(
    arguments: list[str], work: Path, kills: int, whole_seconds: float, expected: dict[str, str], draw: random.Random
) -> tuple[int, int]:
    """Kill the command `kills` times, over as many runs as it takes; how many runs, and how many of them differ."""
    runs = differing = done = 0
    while done < kills:
        out = work / "again"
        done += killed(arguments, out, min(4, kills - done), whole_seconds, draw)
        runs += 1
        differing += outputs(out) != expected
        shutil.rmtree(out)
    return runs, differing


def measure(command: str, files: dict[str, Path], work: Path, options: argparse.Namespace) -> dict[str, object]:
    """Rate, peak memory, and what kills changed, of one command."""
    draw = random.Random(options.seed)
    tenth = run([command, str(files["tenth"]), "--out", str(work / "tenth")])
    whole = run([command, str(files["all"]), "--out", str(work / "whole")])
    expected = outputs(work / "whole")
    whole_kills = killed([command, str(files["all"])], work / "killed", options.whole_kills, whole.seconds, draw)
    same = outputs(work / "killed") == expected
    few = run([command, str(files["few"]), "--out", str(work / "few")])
    expected = outputs(work / "few")
    runs, differing = killed_often([command, str(files["few"])], work, options.kills, few.seconds, expected, draw)
    for name in ("tenth", "whole", "killed", "few"):
        shutil.rmtree(work / name)
    return {
        "rows_per_second": round(options.rows / whole.seconds, 1),
        "seconds": round(whole.seconds, 1),
        "peak_mib": round(whole.peak_mib),
        "memory_ratio": round(whole.peak_mib / tenth.peak_mib, 2),
        "kills_over_all_rows": whole_kills,
        "kills_over_few_rows": options.kills,
        "runs_over_few_rows": runs,
        "runs_that_differ": differing + (not same),
        "identical": same and not differing,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--pot", type=float, default=0.01, help="share of the rows that are programs")
    parser.add_argument("--tir", type=float, default=0.01, help="share of the rows with a program between words")
    parser.add_argument("--kills", type=int, default=20, help="of each command, over --kill-rows rows")
    parser.add_argument("--kill-rows", type=int, default=20_000)
    parser.add_argument("--whole-kills", type=int, default=2, help="of each command, over all rows")
    parser.add_argument("--commands", nargs="+", default=["verify", "mix"], choices=["verify", "mix"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="soroban-verify-"))
    started = time.monotonic()
    try:
        files = {"all": work / "rows.jsonl", "tenth": work / "tenth.jsonl", "few": work / "few.jsonl"}
        make_rows(files["all"], options.rows, options.pot, options.tir, options.seed)
        for name, rows in (("tenth", options.rows // 10), ("few", options.kill_rows)):
            with files["all"].open("rb") as source, files[name].open("wb") as file:
                file.writelines(islice(source, rows))
        result: dict[str, object] = {
            "bench": "verify",
            "rows": options.rows,
            "rows_of_the_many_kills": options.kill_rows,
            "pot": options.pot,
            "tir": options.tir,
            "benchmarks": shipped_names(),
            "cores": len(os.sched_getaffinity(0)),
        }
        for command in options.commands:
            result[command] = measure(command, files, work, options)
            print(f"{command}: {result[command]}", file=sys.stderr, flush=True)
        print(json.dumps({**result, "minutes": round((time.monotonic() - started) / 60, 1)}))
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
