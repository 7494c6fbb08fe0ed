"""The process behind `numeric_process`: reads two trees and says whether they agree, until its input closes."""

from __future__ import annotations

import pickle
import resource
import signal
import sys

from dataset.grading.numeric import agree
from dataset.grading.numeric_process import CPU_SECONDS, MEMORY_BYTES


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    answers.write(b"ready\n")
    answers.flush()
    while len(size := questions.read(4)) == 4:
        one, other = pickle.loads(questions.read(int.from_bytes(size, "big")))
        # Its end ends the process: no handler could stop a single operation on huge numbers.
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
        try:
            verdict = agree(one, other)
        except (MemoryError, RecursionError):
            verdict = None
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        answers.write(f"{verdict}\n".encode())
        answers.flush()


if __name__ == "__main__":
    main()
