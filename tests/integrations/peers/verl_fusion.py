"""verl's own sandbox_fusion reward, many threads of it, for some seconds; arguments: URL THREADS SECONDS.

Prints a JSON line: samples, those scored below 1 with verl's metadata of the first, samples a second.
"""

import json
import logging
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from verl.utils.reward_score.sandbox_fusion import compute_score

logging.disable(logging.CRITICAL)
URL, THREADS, SECONDS = sys.argv[1] + "/run_code", int(sys.argv[2]), float(sys.argv[3])
RIGHT = "Squares:\n```python\nfor line in iter(input, ''):\n    print(int(line) ** 2)\n```\n"
WRONG = "```python\nprint(input())\n```"
FAILS = "```python\nraise ValueError\n```"
SLOW = "```python\nwhile True: pass\n```"
CASES = {"inputs": ["3\n\n", "4\n\n"], "outputs": ["9\n", "16\n"]}
FUNCTION = {"fn_name": "add", "inputs": ["1\n2"], "outputs": ["3"]}


LARGE = "```python\nprint(len(b'x' * (300 << 20)))\n```"


def score(completion, cases, timeout=10, memory_mb=1024):
    return compute_score(URL, None, memory_mb, completion, cases, timeout=timeout)


def main():
    statuses = [score(text, CASES, 1)[1][0]["status"] for text in (RIGHT, WRONG, FAILS, SLOW)]
    assert statuses == ["success", "wrong_answer", "runtime_error", "timeout"], statuses
    assert score("```python\ndef add(a, b):\n    return a + b\n```", FUNCTION)[0] == 1.0
    large = [score(LARGE, {"inputs": [""], "outputs": [str(300 << 20)]}, memory_mb=most)[0] for most in (1024, 100)]
    assert large == [1.0, 0.0], large
    print("ready", flush=True)
    end = time.monotonic() + SECONDS
    below, samples, lock = [], [0], threading.Lock()

    def work(_):
        while time.monotonic() < end:
            value, metadata = score(RIGHT, {"inputs": ["3\n\n"], "outputs": ["9\n"]})
            with lock:
                samples[0] += 1
                if value != 1.0:
                    below.append(metadata)

    began = time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))
    spent = time.monotonic() - began
    print(
        json.dumps({"samples": samples[0], "below": len(below), "first": below[:1], "per_second": samples[0] / spent})
    )


if __name__ == "__main__":
    main()
