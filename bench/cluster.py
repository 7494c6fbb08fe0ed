"""Verify rows on a Ray cluster of several nodes on this machine: the bytes, the CPU and the driver's memory.

    python -m bench.cluster                     # 200,000 rows, three nodes of one CPU
    python -m bench.cluster --rows 20000 --nodes 2 --memory-rows 20000 100000

The rows are those of `bench.verify`. Four runs:

1. by as many local workers as the cluster has CPUs;
2. on the cluster, left alone: CPU against 1, and the driver's peak memory;
3. on the cluster, with an actor killed (SIGKILL) after a quarter of the chunks and a node removed after half of them;
4. on the cluster, over each of `--memory-rows` rows in words alone, for the driver's memory.

2 and 3 must give the bytes of 1. CPU is that of all processes, Ray's own included (each node has a raylet and two
agents, the head node four servers more), summed over the tree of processes, those that have ended in it. Prints one
JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.verify import make_rows, outputs

_STORE_BYTES = 200 << 20
_TICKS = os.sysconf("SC_CLK_TCK")


def tree_seconds(pid: int) -> float:
    """CPU seconds of a process, of all below it, and of those below it that have ended and been waited for."""
    total, todo = 0, [pid]
    while todo:
        each = todo.pop()
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            for task in Path(f"/proc/{each}/task").iterdir():
                todo += map(int, (task / "children").read_text().split())
        except OSError:  # it has ended in the meantime
            continue
        total += sum(map(int, fields[11:15]))
    return total / _TICKS


def peak_mib(pid: int) -> float:
    """The most memory that a process has held so far."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


def workers_below(pid: int) -> list[int]:
    """The processes of actors directly below a raylet."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(each) for each in children if Path(f"/proc/{each}/cmdline").read_bytes().startswith(b"ray::_Actor")]


@dataclass(frozen=True, slots=True)
class Ended:
    """What a run took: seconds, CPU seconds of everything below us, the driver's peak memory."""

    seconds: float
    cpu_seconds: float
    driver_mib: float


def run(rows: Path, out: Path, *more: object, watch: Callable[[int], object] = lambda _: None) -> Ended:
    """Verify `rows`; `watch` is called with the number of chunks done, ten times a second.

    Raises:
        SystemExit: the command failed.
    """
    before, started = tree_seconds(os.getpid()), time.monotonic()
    command = [sys.executable, "-m", "dataset", "verify", str(rows), "--out", str(out), "--quiet", *map(str, more)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = cpu = 0.0
    while process.poll() is None:
        peak = max(peak, peak_mib(process.pid))
        cpu = max(cpu, tree_seconds(os.getpid()) - before)
        watch(len(list((out / "work").glob("*.part"))))
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"verify {more} ended with {process.returncode}")
    ended = Ended(time.monotonic() - started, cpu, peak)
    print(f"{out.name}: {ended}", file=sys.stderr, flush=True)
    return ended


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--pot", type=float, default=0.01, help="share of the rows that are programs")
    parser.add_argument("--tir", type=float, default=0.01, help="share of the rows with a program between words")
    parser.add_argument("--memory-rows", type=int, nargs="*", default=[20_000, 1_000_000])
    options = parser.parse_args()
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "200")
    from ray.cluster_utils import Cluster

    work = Path(tempfile.mkdtemp(prefix="soroban-cluster-"))
    try:
        rows = work / "rows.jsonl"
        make_rows(rows, options.rows, options.pot, options.tir, seed=0)
        chunks = options.rows // 200
        local = run(rows, work / "local", "--workers", options.nodes)
        head = {"num_cpus": 1, "object_store_memory": _STORE_BYTES, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        nodes = [cluster.add_node(num_cpus=1, object_store_memory=_STORE_BYTES) for _ in range(options.nodes - 1)]
        at = ("--ray", cluster.address)
        alone = run(rows, work / "alone", *at)
        done: list[str] = []

        def harm(parts: int) -> None:
            if parts >= chunks // 4 and not done:
                raylet: Any = cluster.head_node.all_processes["raylet"][0]
                os.kill(workers_below(raylet.process.pid)[0], signal.SIGKILL)
                done.append("an actor killed")
            if parts >= chunks // 2 and len(done) == 1:
                cluster.remove_node(nodes[-1], allow_graceful=False)
                done.append("a node removed")

        harmed = run(rows, work / "harmed", *at, watch=harm)
        peaks = {}
        for count in options.memory_rows:
            words = work / f"{count}.jsonl"
            make_rows(words, count, 0.0, 0.0, seed=1)
            ended = run(words, work / f"of-{count}", *at)
            peaks[count] = [round(ended.driver_mib), round(count / ended.seconds)]
            words.unlink()
            shutil.rmtree(work / f"of-{count}")
        cluster.shutdown()
        expected = outputs(work / "local")
        result = {
            "bench": "cluster",
            "rows": options.rows,
            "nodes": options.nodes,
            "bytes_a_row_in": round(rows.stat().st_size / options.rows),
            "cores": len(os.sched_getaffinity(0)),
            "local_seconds": round(local.seconds, 1),
            "cluster_seconds": round(alone.seconds, 1),
            "harmed_seconds": round(harmed.seconds, 1),
            "local_cpu_seconds": round(local.cpu_seconds, 1),
            "cluster_cpu_seconds": round(alone.cpu_seconds, 1),
            "cpu_ratio": round(alone.cpu_seconds / local.cpu_seconds, 3),
            "driver_mib": round(alone.driver_mib),
            "words_driver_mib_and_rows_per_second": peaks,
            "harm": done,
            "identical": outputs(work / "alone") == expected and outputs(work / "harmed") == expected,
        }
        print(json.dumps(result))
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
