"""A fleet of sandbox pods under a burst of programs: a discrete-event model, fed with service times measured here.

    python -m bench.fleet                           # measure 300 programs, then 10,000 programs a second for a minute
    python -m bench.fleet --burst 2000 --pod-seconds 5

Programs arrive as a Poisson process at a base rate, at the burst's rate for its length, and at the base rate again.
They wait in one queue, first come first served, for the slots of the pods; a slot is busy for a service time drawn
from those measured (the demo's programs, one after the other, on one slot). The autoscaler is Kubernetes'
(autoscaling/v2): it looks every 15 seconds at a value that is `--metric-seconds` old, asks for ceil(pods * value /
target) unless that is within a tenth, at most doubles the pods or adds four per look, whichever is more, and a pod
that it asks for serves after `--pod-seconds`. Scaling down is left out: it takes minutes by the manifest.

Policies: by programs waiting a pod (what `docker/k8s/sandbox.yaml` does), and by the share of slots that are busy.
What is not modelled: nodes that have to be bought first (add their minutes to --pod-seconds), clients that give up,
sessions.

Prints one JSON line for each policy: the longest queue, how long programs waited (median, p99, most), how many pods
there were at the end and when the last of them served, and after how long no program waited a tenth of a second any
more. The times are from the burst's beginning.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

_LOOK_SECONDS = 15.0  # horizontal-pod-autoscaler-sync-period
_TOLERANCE = 0.1  # horizontal-pod-autoscaler-tolerance
_SLOW_SECONDS = 0.1  # a wait that a client notices
_MOST_AT_ONCE = 4  # pods per look, or as many as there are: the default scaleUp policies of autoscaling/v2


def measured(programs: int) -> list[float]:
    """Seconds that a slot is busy with each of the demo's programs."""
    from dataset.demo.problems import draw_problems, solution
    from sandbox import Sandbox

    found = []
    with Sandbox(workers=1) as sandbox:
        sandbox.run("1")
        for made in draw_problems(programs, "train", random.Random("fleet"), set()):
            code = next(turn.text for turn in solution(made, "pot").turns if turn.kind == "code")
            started = time.perf_counter()
            sandbox.run(code)
            found.append(time.perf_counter() - started)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What is simulated: rates in programs a second, times in seconds."""

    policy: Literal["queue", "utilisation"]
    target: float  # waiting programs a pod, or the share of busy slots
    slots: int = 4
    fewest: int = 2
    most: int = 32
    base: float = 100.0
    burst: float = 10_000.0
    burst_seconds: float = 60.0
    pod_seconds: float = 20.0
    metric_seconds: float = 15.0


def arrivals(fleet: Fleet, draw: np.random.Generator) -> list[float]:
    """When programs come: a minute at the base rate, the burst, four minutes at the base rate."""
    found: list[float] = []
    start = 0.0
    for rate, length in ((fleet.base, 60.0), (fleet.burst, fleet.burst_seconds), (fleet.base, 240.0)):
        count = draw.poisson(rate * length)
        found += np.sort(draw.uniform(start, start + length, count)).tolist()
        start += length
    return found


def simulate(fleet: Fleet, service: Sequence[float], seed: int = 0) -> dict[str, float]:
    """How the fleet fares; see the module. Times are from the burst's beginning."""
    draw = np.random.default_rng(seed)
    coming = arrivals(fleet, draw)
    lengths = draw.choice(np.array(service), len(coming)).tolist()
    free, asked, serving = fleet.fewest * fleet.slots, fleet.fewest, fleet.fewest
    done: list[float] = []  # when busy slots are free again
    ready: deque[float] = deque()  # when pods that were asked for serve
    seen: deque[tuple[float, float]] = deque()  # (time, value) of the policy's metric, once a second
    queue: deque[float] = deque()
    waits: list[float] = []
    longest, last_slow, last_pod = 0, 0.0, 0.0
    next_scrape, next_look, place = 0.0, _LOOK_SECONDS, 0
    while place < len(coming) or queue:
        now = min(
            coming[place] if place < len(coming) else math.inf,
            done[0] if done else math.inf,
            ready[0] if ready else math.inf,
            next_scrape,
            next_look,
        )
        if place < len(coming) and coming[place] == now:
            queue.append(now)
            place += 1
        elif done and done[0] == now:
            heapq.heappop(done)
            free += 1
        elif ready and ready[0] == now:
            ready.popleft()
            free, serving, last_pod = free + fleet.slots, serving + 1, now
        elif now == next_scrape:
            busy = len(done) / (serving * fleet.slots)
            seen.append((now, len(queue) / serving if fleet.policy == "queue" else busy))
            next_scrape += 1.0
        else:
            next_look += _LOOK_SECONDS
            while len(seen) > 1 and seen[1][0] <= now - fleet.metric_seconds:
                seen.popleft()
            ratio = seen[0][1] / fleet.target
            if ratio > 1 + _TOLERANCE:
                wanted = min(math.ceil(serving * ratio), asked + max(asked, _MOST_AT_ONCE), fleet.most)
                ready.extend([now + fleet.pod_seconds] * (wanted - asked))
                asked = max(asked, wanted)
        while free and queue:
            waits.append(now - queue.popleft())
            heapq.heappush(done, now + lengths[len(waits) - 1])
            free -= 1
            if waits[-1] > _SLOW_SECONDS:
                last_slow = now
        longest = max(longest, len(queue))
    waited = np.array(waits)
    return {
        "longest_queue": longest,
        "wait_p50": round(float(np.quantile(waited, 0.5)), 3),
        "wait_p99": round(float(np.quantile(waited, 0.99)), 3),
        "wait_most": round(float(waited.max()), 3),
        "pods": serving,
        "last_pod_serves_after": round(max(0.0, last_pod - 60.0), 1),
        "prompt_again_after": round(max(0.0, last_slow - 60.0), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=300, help="how many to measure")
    parser.add_argument("--burst", type=float, default=10_000.0, help="programs a second")
    parser.add_argument("--burst-seconds", type=float, default=60.0)
    parser.add_argument("--pod-seconds", type=float, default=20.0, help="from asked for to serving")
    parser.add_argument("--metric-seconds", type=float, default=15.0, help="how old the metric is: scrape and adapter")
    parser.add_argument("--slots", type=int, default=4, help="cores of a pod")
    parser.add_argument("--most", type=int, default=32, help="pods")
    parser.add_argument("--fewest", type=int, nargs="+", default=[2, 8], help="pods")
    options = parser.parse_args()
    service = measured(options.programs)
    mean = sum(service) / len(service)
    head = {"bench": "fleet", "service_mean_ms": round(1000 * mean, 2)}
    head["service_p99_ms"] = round(1000 * sorted(service)[int(0.99 * len(service))], 2)
    head["pods_that_the_burst_fills"] = math.ceil(options.burst * mean / options.slots)
    for fewest in options.fewest:
        for policy, targets in (("queue", (50.0, 200.0, 1000.0)), ("utilisation", (0.5, 0.7, 0.9))):
            for target in targets:
                fleet = Fleet(
                    policy="queue" if policy == "queue" else "utilisation",
                    target=target, slots=options.slots, fewest=fewest, most=options.most, burst=options.burst,
                    burst_seconds=options.burst_seconds, pod_seconds=options.pod_seconds,
                    metric_seconds=options.metric_seconds,
                )  # fmt: skip
                found = simulate(fleet, service)
                print(json.dumps({**head, "fewest": fewest, "policy": policy, "target": target, **found}), flush=True)


if __name__ == "__main__":
    main()
