"""The benchmarks, one file and one line each."""

from __future__ import annotations

from evaluator.benchmarks import aime, cmath, demo, gsm8k, gsm_hard, math, math500, mgsm_zh, recorded, svamp
from evaluator.benchmarks.types import Benchmark
from sandbox.errors import InputError

BENCHMARKS: dict[str, Benchmark] = {
    "gsm8k": gsm8k.BENCHMARK,
    "math": math.BENCHMARK,
    "mgsm_zh": mgsm_zh.BENCHMARK,
    "cmath": cmath.BENCHMARK,
    "svamp": svamp.BENCHMARK,
    "gsm_hard": gsm_hard.BENCHMARK,
    "math500": math500.BENCHMARK,
    "aime": aime.BENCHMARK,
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
