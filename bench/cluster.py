"""Verify and mix on a Ray cluster of several nodes on this machine: the bytes, the CPU and the driver's memory.

    python -m bench.cluster                     # 200,000 rows verified, a million mixed, three nodes of one CPU
    python -m bench.cluster --rows 20000 --nodes 2 --memory-rows 20000 100000 --mix-rows 50000
    python -m bench.cluster --rows 0            # the mixture alone; with --mix-rows 0 verification alone

The rows are those of `bench.verify`. Verification, four runs:

1. by as many local workers as the cluster has CPUs;
2. on the cluster, left alone: CPU against 1, and the driver's peak memory;
3. on the cluster, with an actor killed (SIGKILL) after a quarter of the chunks and a node removed after half of them;
4. on the cluster, over each of `--memory-rows` rows in words alone, for the driver's memory.

2 and 3 must give the bytes of 1. The mixture, two runs over `--mix-rows` rows in words, of which one in a hundred is
there again word for word and another one with a word more: local workers, and the cluster, whose bytes must be theirs.

CPU is that of all processes, Ray's own included (each node has a raylet and two agents, the head node four servers
more), summed over the tree of processes, those that have ended in it. Prints one JSON line.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.verify import make_rows, outputs
from dataset.files import write_line, written_whole

_STORE_BYTES = 200 << 20
_TICKS = os.sysconf("SC_CLK_TCK")
_BETWEEN_SECONDS = 0.5  # between two looks at a run
_LOOK_SECONDS = 5.0  # between two looks at whether a cluster has started


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


def others_seconds() -> float:
    """The same of all processes below this one: looking at a cluster's thousand threads costs CPU, too."""
    return tree_seconds(os.getpid()) - time.process_time()


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


def run(command: str, rows: Path, out: Path, *more: object, watch: Callable[[int], object] = lambda _: None) -> Ended:
    """Verify or mix `rows`; `watch` is called with the number of chunks done, every half second.

    Raises:
        SystemExit: the command failed.
    """
    before, started = others_seconds(), time.monotonic()
    given = [sys.executable, "-m", "dataset", command, str(rows), "--out", str(out), "--quiet", *map(str, more)]
    process = subprocess.Popen(given, stdout=subprocess.DEVNULL)
    peak = cpu = 0.0
    while process.poll() is None:
        peak = max(peak, peak_mib(process.pid))
        cpu = max(cpu, others_seconds() - before)
        watch(len(list((out / "work").glob("*.part"))))
        time.sleep(_BETWEEN_SECONDS)
    cpu = max(cpu, others_seconds() - before)  # less where somebody else than we has waited for what ended
    if process.returncode:
        raise SystemExit(f"{command} {more} ended with {process.returncode}")
    ended = Ended(time.monotonic() - started, cpu, peak)
    print(f"{out.name}: {ended}", file=sys.stderr, flush=True)
    return ended


def make_rows_with_copies(path: Path, rows: int) -> None:
    """Write `rows` solutions in words, of every hundred one a copy of the row before it and one a near copy."""
    make_rows(path, rows, 0.0, 0.0, seed=2)
    aside = path.with_suffix(".copied")
    last: dict[str, Any] = {}
    with path.open(encoding="utf-8") as source, written_whole(aside) as file:
        for number, line in enumerate(source):
            row = json.loads(line)
            if number % 100 in (33, 66):
                row = {**last, "id": f"copy-{number}"}
            if number % 100 == 66:
                row = {**row, "problem": {**row["problem"], "question": "Please: " + row["problem"]["question"]}}
            write_line(file, row)
            last = row
    aside.replace(path)


@contextmanager
def cluster_of(nodes: int) -> Iterator[Any]:
    """A cluster of so many nodes of one CPU, at rest: what its servers need to start is no run's."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "object_store_memory": _STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(nodes - 1):
        cluster.add_node(num_cpus=1, object_store_memory=_STORE_BYTES)
    used = 0.0
    while (now := others_seconds()) - used > 0.2 * _LOOK_SECONDS:
        used = now
        time.sleep(_LOOK_SECONDS)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def verification(work: Path, options: argparse.Namespace) -> dict[str, object]:
    """Runs 1 to 4; the last of the cluster's nodes is removed in 3."""
    rows, chunks = work / "rows.jsonl", options.rows // 200
    make_rows(rows, options.rows, options.pot, options.tir, seed=0)
    local = run("verify", rows, work / "local", "--workers", options.nodes)
    done: list[str] = []
    peaks = {}
    with cluster_of(options.nodes) as cluster:
        at = ("--ray", cluster.address)

        def harm(parts: int) -> None:
            if parts >= chunks // 4 and not done:
                raylet: Any = cluster.head_node.all_processes["raylet"][0]
                os.kill(workers_below(raylet.process.pid)[0], signal.SIGKILL)
                done.append("an actor killed")
            if parts >= chunks // 2 and len(done) == 1:
                cluster.remove_node(list(cluster.worker_nodes)[-1], allow_graceful=False)
                done.append("a node removed")

        alone = run("verify", rows, work / "alone", *at)
        harmed = run("verify", rows, work / "harmed", *at, watch=harm)
        for count in options.memory_rows:
            words = work / f"{count}.jsonl"
            make_rows(words, count, 0.0, 0.0, seed=1)
            ended = run("verify", words, work / f"of-{count}", *at)
            peaks[count] = [round(ended.driver_mib), round(count / ended.seconds)]
            words.unlink()
            shutil.rmtree(work / f"of-{count}")
    expected = outputs(work / "local")
    return {
        "bytes_a_row_in": round(rows.stat().st_size / options.rows),
        **times(local, alone),
        "harmed_seconds": round(harmed.seconds, 1),
        "words_driver_mib_and_rows_per_second": peaks,
        "harm": done,
        "identical": outputs(work / "alone") == expected and outputs(work / "harmed") == expected,
    }


def mixture(work: Path, options: argparse.Namespace) -> dict[str, object]:
    """The same rows mixed by local workers and on the cluster."""
    rows = work / "mix.jsonl"
    make_rows_with_copies(rows, options.mix_rows)
    local = run("mix", rows, work / "mix-local", "--workers", options.nodes)
    with cluster_of(options.nodes) as cluster:
        alone = run("mix", rows, work / "mix-alone", "--ray", cluster.address)
    dropped = (work / "mix-local" / "duplicates.jsonl").read_bytes()
    return {
        **times(local, alone),
        "duplicates": dropped.count(b"\n"),
        "copies_among_them": dropped.count(b'"copy-'),
        "identical": outputs(work / "mix-alone") == outputs(work / "mix-local"),
    }


def times(local: Ended, alone: Ended) -> dict[str, object]:
    """A run by local workers beside the same on the cluster."""
    return {
        "local_seconds": round(local.seconds, 1),
        "cluster_seconds": round(alone.seconds, 1),
        "local_cpu_seconds": round(local.cpu_seconds, 1),
        "cluster_cpu_seconds": round(alone.cpu_seconds, 1),
        "cpu_ratio": round(alone.cpu_seconds / local.cpu_seconds, 3),
        "driver_mib": round(alone.driver_mib),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--pot", type=float, default=0.01, help="share of the rows that are programs")
    parser.add_argument("--tir", type=float, default=0.01, help="share of the rows with a program between words")
    parser.add_argument("--memory-rows", type=int, nargs="*", default=[20_000, 1_000_000])
    parser.add_argument("--mix-rows", type=int, default=1_000_000)
    options = parser.parse_args()
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "200")
    work = Path(tempfile.mkdtemp(prefix="soroban-cluster-"))
    result: dict[str, object] = {"bench": "cluster", "rows": options.rows, "mix_rows": options.mix_rows}
    result |= {"nodes": options.nodes, "cores": len(os.sched_getaffinity(0))}
    try:
        if options.rows:
            result["verification"] = verification(work, options)
            print(result["verification"], file=sys.stderr, flush=True)
        if options.mix_rows:
            result["mixture"] = mixture(work, options)
        print(json.dumps(result))
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
