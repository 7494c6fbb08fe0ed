"""The benchmarks, one file and one line each."""

from __future__ import annotations

from evaluator.benchmarks import cmath, demo, gsm8k, math, mgsm_zh, recorded
from evaluator.benchmarks.types import Benchmark
from sandbox.errors import InputError

BENCHMARKS: dict[str, Benchmark] = {
    "gsm8k": gsm8k.BENCHMARK,
    "math": math.BENCHMARK,
    "mgsm_zh": mgsm_zh.BENCHMARK,
    "cmath": cmath.BENCHMARK,
    "demo": demo.BENCHMARK,
    "recorded": recorded.BENCHMARK,
}


def find_benchmark(name: str) -> Benchmark:
    """The benchmark called `name`.

    Raises:
        InputError: there is none.
    """
    if name not in BENCHMARKS:
        raise InputError(f"unknown benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
