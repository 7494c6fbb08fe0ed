"""What cells do here and in Jupyter: every row of docs/notebook.md against a kernel of IPython, and values' layout.

    python -m venv /tmp/jupyter
    /tmp/jupyter/bin/pip install ipykernel jupyter_client gmpy2 matplotlib numpy pandas sympy tqdm
    python bench/notebook.py /tmp/jupyter/bin/python

Prints a JSON line for each row that does not do what its columns say, one with the counts, and one with how many of
2,000 random nested values `sandbox.guest.display` lays out as IPython.lib.pretty does. Exits 1 if a row is wrong.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)  # this file's folder holds a file whose name is the package's

from sandbox import ExecResult, Sandbox  # noqa: E402

TABLE = ROOT / "docs" / "notebook.md"

# In a Python that has jupyter_client: lists of cells come in, each list run in a new kernel; what each last cell shows
# goes out.
KERNEL = r"""
import json, os, queue, sys, tempfile
from jupyter_client.manager import start_new_kernel

def shown(client, code):
    told = client.execute(code, allow_stdin=False)
    parts = []
    while True:
        try:
            message = client.get_iopub_msg(timeout=15)
        except queue.Empty:
            return "".join(parts) + "(no more answer)"
        if message["parent_header"].get("msg_id") != told:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            parts.append(content["text"])
        elif kind in ("display_data", "execute_result"):
            parts.append(content["data"]["text/plain"] + "\n")
        elif kind == "error":
            parts.append(content["ename"] + ": " + content["evalue"] + "\n")
        elif kind == "status" and content["execution_state"] == "idle":
            break
    while (reply := client.get_shell_msg(timeout=15))["parent_header"].get("msg_id") != told:
        pass
    for item in reply["content"].get("payload", []):
        if item["source"] == "page":
            parts.append(item["data"]["text/plain"] + "\n")
        if item["source"] == "ask_exit":
            parts.append("(ends the session)")
    return "".join(parts)

os.chdir(tempfile.mkdtemp())
answers = []
for cells in json.load(sys.stdin):
    manager, client = start_new_kernel(kernel_name="python3")
    for code in cells:
        text = shown(client, code)
    answers.append(text)
    client.stop_channels()
    manager.shutdown_kernel(now=True)
print(json.dumps(answers))
"""

LAYOUT = r"""
import json, random, sys
sys.path.insert(0, sys.argv[1])
from collections import Counter, OrderedDict, defaultdict, deque
from IPython.lib.pretty import pretty as theirs
from sandbox.guest.display import pretty as ours

class Plain: pass
class Longer(list): pass
def function(x, y=1): pass
plain = Plain()

def value(rng, depth):
    kind = rng.randrange(13 if depth else 3)
    if kind == 0: return rng.randrange(-10**rng.randrange(1, 30), 10**9)
    if kind == 1: return rng.choice([rng.random(), "x" * rng.randrange(40), None, True, 1j, b"ab", "a\nb"])
    if kind == 2: return rng.choice([int, Plain, plain, function, len, range(3), ValueError("a", 1), KeyError(), sys])
    parts = [value(rng, depth - 1) for _ in range(rng.randrange(9))]
    names = [rng.choice([f"k{rng.randrange(100)}", rng.randrange(50), "y" * 30]) for _ in parts]
    return [parts, tuple(parts), dict(zip(names, parts)), set(names), frozenset(map(str, names)), deque(parts),
            defaultdict(rng.choice([int, list, None]), zip(names, parts)), OrderedDict(zip(names, parts)),
            Counter("".join(map(str, names))), Longer(parts)][kind - 3]

same = 0
for seed in range(2000):
    rng = random.Random(seed)
    made = value(rng, rng.randrange(4))
    same += ours(made) == theirs(made)
print(same)
"""


@dataclass(frozen=True)
class Row:
    """One of the table: cells of one session, and what the last of them shows."""

    what: str
    cells: list[str]
    here: str
    jupyter: str


def rows(text: str) -> list[Row]:
    """The rows of the table, its second column read as code: `↵` is a new line, "then" stands between two cells."""
    found = []
    for line in text.splitlines():
        columns = [column.strip() for column in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(columns) == 4 and columns[1].startswith("`"):
            cells = [re.sub(r" ?↵ ?", "\n", code).replace("·", " ") for code in re.findall(r"`([^`]+)`", columns[1])]
            here, jupyter = ("" if column == "nothing" else column.strip("`") for column in columns[2:])
            found.append(Row(columns[0], cells, here, here if jupyter == "the same" else jupyter))
    return found


def fits(expected: str, shown: str) -> bool:
    """Whether a cell showed what a column says, in which `…` stands for anything and white space is all the same."""
    pattern = ".*".join(re.escape(" ".join(part.split())) for part in expected.split("…"))
    return re.fullmatch(pattern, " ".join(shown.split())) is not None


def shown(result: ExecResult) -> str:
    """What a notebook's page would show of a result: streams, the value, the error."""
    parts = [result.stdout, result.stderr, result.value or ""]
    if result.error is not None:
        parts.append(f"{result.error.type}: {result.error.message}")
    if result.figures_shown:
        parts.append(f"({result.figures_shown} shown)")
    if result.state_lost:
        parts.append("(ends the session)")
    return "\n".join(part for part in parts if part)


def run_here(sandbox: Sandbox, cells: list[str]) -> str:
    """What the last of the cells shows in a session of ours."""
    with sandbox.session() as session:
        results = [session.run(code) for code in cells]
    return shown(results[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("python", help="an interpreter that has ipykernel and jupyter_client")
    arguments = parser.parse_args()
    table = rows(TABLE.read_text(encoding="utf-8"))
    with Sandbox(workers=1) as sandbox:
        here = [run_here(sandbox, row.cells) for row in table]
    asked = json.dumps([row.cells for row in table])
    told = subprocess.run([arguments.python, "-c", KERNEL], input=asked, capture_output=True, text=True, check=True)
    wrong = 0
    for row, ours, theirs in zip(table, here, json.loads(told.stdout), strict=True):
        theirs = re.sub(r"\x1b\[[0-9;]*m", "", theirs)
        for place, expected, got in (("here", row.here, ours), ("jupyter", row.jupyter, theirs)):
            if not fits(expected, got):
                wrong += 1
                print(json.dumps({"what": row.what, "place": place, "expected": expected, "shown": got}), flush=True)
    layout = subprocess.run([arguments.python, "-c", LAYOUT, str(ROOT)], capture_output=True, text=True, check=True)
    same = sum(row.here == row.jupyter for row in table)
    print(
        json.dumps(
            {"rows": len(table), "same": same, "wrong": wrong, "layouts_as_ipython": int(layout.stdout), "of": 2000}
        )
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
