"""Search with forked sessions: each node is a Python whose variables live; a fork of it tries a step.

python examples/tree_search.py 4 7 8 8        # the game of 24: (8 * ((4 + 7) - 8))

Here the steps are all pairs and signs. With a model, `propose` asks it for the next cells after what was printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

from sandbox import Sandbox, Session

Propose = Callable[[str], Iterator[str]]  # what the last cell printed: the cells to try next


def search(node: Session, printed: str, propose: Propose, depth: int) -> str | None:
    """What the first branch printed that says "found", depth first; None if none does within `depth` cells.

    A branch has its parent's variables and files, and nothing that it does reaches its parent or its siblings. A cell
    that fails or runs too long ends its branch. A failure of the sandbox is raised: it is no dead end.
    """
    for cell in propose(printed):
        with node.fork() as branch:
            result = branch.run(cell)
            if result.status != "ok":
                continue
            if result.stdout.startswith("found"):
                return result.stdout.removeprefix("found").strip()
            if depth > 1 and (found := search(branch, result.stdout, propose, depth - 1)) is not None:
                return found
    return None


START = """
from fractions import Fraction
numbers = [(Fraction(one), one) for one in {numbers!r}]

def step(i, j, sign):
    (a, left), (b, right) = numbers[i], numbers[j]
    value = a + b if sign == "+" else a - b if sign == "-" else a * b if sign == "*" else a / b
    rest = [one for at, one in enumerate(numbers) if at not in (i, j)]
    numbers[:] = [*rest, (value, f"({{left}} {{sign}} {{right}})")]
    print("found " + numbers[0][1] if len(numbers) == 1 and value == 24 else len(numbers))
print(len(numbers))
"""


def steps(printed: str) -> Iterator[str]:
    """Every step from a list of so many numbers."""
    for i in range(count := int(printed)):
        for j in range(count):
            for sign in "+-*/":
                if i < j or (i != j and sign in "-/"):
                    yield f"step({i}, {j}, {sign!r})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="+")
    parser.add_argument("--sandbox", help="address of a sandbox server (default: one in here)")
    options = parser.parse_args()
    with Sandbox(options.sandbox) as sandbox, sandbox.session() as root:
        printed = root.run(START.format(numbers=options.numbers)).stdout
        print(search(root, printed, steps, len(options.numbers) - 1) or "no way to 24")
