"""Verify and mix many synthetic rows: how fast, in how much memory, and whether kills change a byte.

    python -m bench.verify --rows 1000000 --kills 20

The rows are the demo's problems, `--programs` of them with a program to run, the others in words. Peak memory is the
sum over the command and its workers, without the sandboxes' own processes. Every command is run once whole, over all
rows and over a tenth of them, and once killed (SIGKILL) at random moments and started again; the outputs must be equal
byte for byte.
Prints one JSON line; `memory_ratio` compares the peak over all rows with that over a tenth, in the same run.
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
from pathlib import Path

from dataset.demo.problems import draw_problems, solution
from dataset.files import sha256, write_line, written_whole
from dataset.types import solution_to_json


def make_rows(path: Path, rows: int, programs: float, seed: int) -> None:
    """Write `rows` right solutions, a share of them with a program."""
    draw = random.Random(f"bench {seed}")
    with written_whole(path) as file:
        for made in draw_problems(rows, "train", draw, set()):
            write_line(file, solution_to_json(solution(made, "tir" if draw.random() < programs else "cot")))


def peak_mib(pid: int) -> float:
    """The summed peak memory of a command and its workers (its own children, not theirs), in MiB."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except OSError:
            continue
        if int(fields["Pid"]) == pid or int(fields["PPid"]) == pid:
            total += int(fields.get("VmHWM", "0 kB").split()[0])
    return total / 1024


def run(arguments: list[str], *, kill_after: float | None = None) -> tuple[float, float, int]:
    """Run the command, killed after so many seconds if it still runs; seconds, peak MiB, exit code."""
    started, peak = time.monotonic(), 0.0
    process = subprocess.Popen([sys.executable, "-m", "dataset", *arguments, "--quiet"], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, peak_mib(process.pid))
        if kill_after is not None and time.monotonic() - started > kill_after:
            process.kill()
        time.sleep(0.1)
    return time.monotonic() - started, peak, process.returncode


def outputs(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in sorted(folder.glob("*.jsonl"))}


def killed_run(arguments: list[str], kills: int, whole_seconds: float, draw: random.Random) -> int:
    """Run the command with up to `kills` kills spread over about its own length; how many it took."""
    done = 0
    while done < kills:
        _, _, code = run(arguments, kill_after=draw.uniform(0.5, 2 * whole_seconds / kills + 4))
        if code == 0:
            return done
        done += 1
    _, _, code = run(arguments)
    if code != 0:
        raise SystemExit(f"{arguments[0]} ended with {code}")
    return done


def measure(command: str, source: Path, small: Path, work: Path, kills: int, draw: random.Random) -> dict[str, object]:
    """Rate, peak memory, and what kills changed, of one command."""
    more = ["--benchmarks"] if command == "mix" else []
    _, small_peak, _ = run([command, str(small), "--out", str(work / f"{command}-small"), *more])
    seconds, peak, code = run([command, str(source), "--out", str(work / f"{command}-whole"), *more])
    if code != 0:
        raise SystemExit(f"{command} ended with {code}")
    killed = killed_run([command, str(source), "--out", str(work / f"{command}-killed"), *more], kills, seconds, draw)
    rows = sum(1 for _ in source.open("rb"))
    return {
        "rows_per_second": round(rows / seconds, 1),
        "seconds": round(seconds, 1),
        "peak_mib": round(peak),
        "memory_ratio": round(peak / small_peak, 2),
        "kills": killed,
        "identical": outputs(work / f"{command}-whole") == outputs(work / f"{command}-killed"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--programs", type=float, default=0.02)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="soroban-verify-"))
    draw = random.Random(arguments.seed)
    try:
        source, small = work / "rows.jsonl", work / "tenth.jsonl"
        make_rows(source, arguments.rows, arguments.programs, arguments.seed)
        with source.open(encoding="utf-8") as file, small.open("w", encoding="utf-8") as tenth:
            tenth.writelines(line for _, line in zip(range(arguments.rows // 10), file, strict=False))
        verified = measure("verify", source, small, work, arguments.kills, draw)
        mixed = measure("mix", source, small, work, arguments.kills, draw)
        result = {
            "bench": "verify",
            "rows": arguments.rows,
            "programs": arguments.programs,
            "cores": len(os.sched_getaffinity(0)),
            "verify": verified,
            "mix": mixed,
        }
        print(json.dumps(result))
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
