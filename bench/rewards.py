"""Graded solutions a second on one core: `python bench/rewards.py [FILE.jsonl]`.

The rows of a file have question, reference and solution.

Without a file: 2,000 made problems of the demo with right and wrong solutions in words and with outputs. Prints one
JSON line: rows, graded a second of processor time, share found right, and the slowest one in seconds.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).parent.parent)  # not this folder, whose sandbox.py would be taken for the package

from integrations.reward import reward  # noqa: E402


def made() -> list[dict[str, str]]:
    rows = []
    for number in range(2000):
        given = number * 7 if number % 2 else number * 7 + 1
        program = f"```python\nprint({number} * 7)\n```\n```output\n{number * 7}\n```\n" if number % 3 else ""
        question = f"A box holds {number} rows of 7 tiles. How many tiles are in it?"
        solution = f"{program}There are $\\boxed{{{given}}}$ tiles."
        rows.append({"question": question, "reference": str(number * 7), "solution": solution})
    return rows


def main(arguments: list[str]) -> None:
    rows = [json.loads(line) for line in Path(arguments[0]).read_text().splitlines()] if arguments else made()
    began, slowest, right = time.process_time(), 0.0, 0
    for row in rows:
        start = time.process_time()
        given = reward(row["question"], row["reference"], row["solution"])
        right += given is not None and given.correct == 1
        slowest = max(slowest, time.process_time() - start)
    rate = len(rows) / (time.process_time() - began)
    print(json.dumps({"rows": len(rows), "per_second": round(rate), "right": right / len(rows), "slowest": slowest}))


if __name__ == "__main__":
    main(sys.argv[1:])
