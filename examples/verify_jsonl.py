"""Keep the solutions of your own JSON Lines that are right: programs are run again, answers are graded.

python examples/verify_jsonl.py mine.jsonl --question problem --answer gold --solution response --out runs/mine

A solution is words, with programs in ```python blocks and what they printed in ```output blocks. The folder then holds
kept.jsonl, dropped.jsonl with a reason a line, and manifest.json with the counts. Stopped, the same command goes on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from dataset.files import read_jsonl, write_line
from dataset.sources.records import text_field
from sandbox import InputError
from sandbox.command import run_command


def as_chat(path: Path, to: Path, *, question: str, answer: str, solution: str) -> None:
    """Write the rows of `path` in the form of the source `chat`, which `dataset verify` recognises."""
    with to.open("w", encoding="utf-8") as file:
        for number, row in read_jsonl(path):
            try:
                said = [("user", text_field(row, question)), ("assistant", text_field(row, solution))]
                messages = [{"role": role, "content": content} for role, content in said]
                write_line(file, {"id": f"{path.stem}/{number}", "answer": row.get(answer), "messages": messages})
            except InputError as error:
                raise InputError(f"{path}:{number}: {error}") from None


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    for field in ("question", "answer", "solution"):
        parser.add_argument(f"--{field}", default=field, help=f"name of the field (default: {field})")
    options, flags = parser.parse_known_args(arguments)  # the rest is for `dataset verify`, such as --outputs replace
    chat = options.out.with_suffix(".chat.jsonl")
    chat.parent.mkdir(parents=True, exist_ok=True)
    as_chat(options.file, chat, question=options.question, answer=options.answer, solution=options.solution)
    return subprocess.call([sys.executable, "-m", "dataset", "verify", str(chat), "--out", str(options.out), *flags])


if __name__ == "__main__":
    sys.exit(run_command(main))
