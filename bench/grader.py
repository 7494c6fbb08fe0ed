"""How often the grader errs, how fast it is, and whether anything hangs it. `python -m bench.grader [--fuzz N]`

Needs the public files in ../shared/data. Prints tables, then one JSON line; `ratio` is verdicts a second over the
thousand that one core must give. `--list` also prints every error and every disagreement with a recorded verdict.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from bench import adversarial
from dataset.answers import extract, extract_from_turns
from dataset.equality import equivalent
from dataset.types import Problem, Turn, Verdict
from sandbox.command import run_command
from sandbox.errors import InputError

DATA = Path(__file__).parents[2] / "shared" / "data"
# file: accuracy its authors published, where they did
REPLAYS: dict[str, float | None] = {
    "rho_1b.gsm8k": 58.4,
    "rho_1b.math500": 40.2,
    "tora_code_34b.gsm8k": 80.7,
    "cot/rho_1b.gsm8k": 36.2,
    "mathcoder_l_7b.gsm8k": None,
    "mathcoder_l_7b.math_correct": None,
    "mathcoder_l_7b.simuleq": None,
}
PATHOLOGICAL = [
    ("5", "9^{9^{9^{9}}}"),
    ("5", "10**10**10**10"),
    ("10000000!", "9999999!"),
    ("5", "((((10!)!)!)!)!"),
    ("5", "2^{2^{100}}"),
    ("1" * 20_000, "1" * 19_999 + "2"),
    ("5", "1" * 20_000),
    ("(x+1)^{5000}", "(1+x)^{5000}"),
    ("a", "((a+b)^{64}+(c+d)^{64})^{60}"),
    (r"\binom{10000000}{5000000}", r"\binom{10000000}{4999999}"),
    (r"\pi", r"\sin(10^{100000})"),
    (r"\pi", r"e^{e^{e^{e^{e}}}}"),
    ("5", "(" * 900 + "5" + ")" * 900),
    ("5", r"\frac{" * 300 + "1}{2}"),
    ("5", r"\sqrt{" * 250),
    ("5", "(a=" * 300),
    ("5", r"2\frac{" * 200 + "x"),
    ("5", "A_{" * 400),
    ("1,2", "3," * 900),
    ("5", r"\pm" * 300 + "5"),
    ("5", "1+" * 900 + "1"),
    ("5", "7^{7^{7}}-7^{7^{7}}+5"),
]


def rows(name: str) -> Iterator[dict[str, Any]]:
    path = DATA / name
    if not path.exists():
        raise InputError(f"{path} is missing: the grader's bench needs the public data files beside the project")
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def labelled(show: bool) -> dict[str, float]:
    """False negatives and positives over the labelled pairs; even rows were developed on, odd ones were not."""
    counts: Counter[tuple[str, int, bool]] = Counter()
    policy: Counter[bool] = Counter()
    pairs = list(rows("grading/labelled.jsonl"))
    for index, row in enumerate(pairs):
        verdict = equivalent(row["reference"], row["prediction"], row["question"])
        agreed = (verdict.correct is True) == bool(row["label"])
        if not row["unambiguous"]:
            policy[agreed] += 1
            continue
        for part in ("all", "odd" if index % 2 else "even"):
            counts[part, row["label"], agreed] += 1
        if show and not agreed:
            kind = "rejected" if row["label"] else "accepted"
            print(f"  {kind} {row['reference']!r} | {row['prediction']!r} | {verdict.rule} | {row['kind']}")
    result = {}
    for part in ("even", "odd", "all"):
        right, wrong = (counts[part, label, True] + counts[part, label, False] for label in (1, 0))
        negatives, positives = counts[part, 1, False], counts[part, 0, False]
        print(
            f"labelled, {part:4} rows: {negatives} of {right} right ones rejected ({100 * negatives / right:.2f} %), "
            f"{positives} of {wrong} wrong ones accepted ({100 * positives / wrong:.2f} %)"
        )
        if part == "all":
            result = {"false_negatives": negatives / right, "false_positives": positives / wrong}
    print(f"labelled, questions of policy: {policy[True]} as labelled, {policy[False]} not")
    fastest = 0.0
    for _ in range(3):
        start = time.perf_counter()
        for row in pairs:
            equivalent(row["reference"], row["prediction"], row["question"])
        fastest = max(fastest, len(pairs) / (time.perf_counter() - start))
    print(f"speed: {fastest:.0f} verdicts a second on one core")
    return {**result, "verdicts_a_second": round(fastest)}


def pathological() -> dict[str, float]:
    """The longest time that one takes, alone and from eight threads at once."""
    worst = [0.0, 0.0]

    def ask(place: int, pairs: list[tuple[str, str]]) -> None:
        for reference, predicted in pairs:
            start = time.perf_counter()
            equivalent(reference, predicted)
            worst[place] = max(worst[place], time.perf_counter() - start)

    ask(0, PATHOLOGICAL)
    threads = [threading.Thread(target=ask, args=(1, PATHOLOGICAL[at:] + PATHOLOGICAL[:at])) for at in range(0, 16, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"pathological: at most {worst[0]:.2f} s alone, {worst[1]:.2f} s from eight threads at once")
    return {"worst_seconds": round(worst[0], 2), "worst_seconds_in_threads": round(worst[1], 2)}


def fuzz(count: int, seed: int) -> dict[str, float]:
    """Adversarial texts (`bench.adversarial`) as solutions and as answers: what raises, and the longest time of one."""
    real = [row["prediction"] for row in rows("grading/labelled.jsonl")]
    real += [row["solution"] for row in rows("trajectories/rho_1b.math500.jsonl")]
    references = [(row["reference"], row["question"]) for row in rows("grading/labelled.jsonl")]
    rng = random.Random(seed)
    raised = accepted = 0
    spent: list[tuple[float, float, str]] = []
    for text in adversarial.texts(seed, count, real):
        reference, question = rng.choice(references)
        for ask in (
            lambda: extract(text, _problem(question)),  # noqa: B023
            lambda: equivalent(reference, text, question),  # noqa: B023
            lambda: equivalent(text, reference, question),  # noqa: B023
        ):
            wall, own = time.perf_counter(), time.process_time()
            try:
                found = ask()
            except Exception as error:  # noqa: BLE001
                raised += 1
                print(f"  raised {type(error).__name__} on {text[:120]!r}")
                continue
            spent.append((time.perf_counter() - wall, time.process_time() - own, text[:60]))
            accepted += isinstance(found, Verdict) and found.correct is True
    by_wall, by_cpu = max(spent), max(spent, key=lambda entry: entry[1])
    late = [sum(entry[clock] > 0.5 for entry in spent) for clock in (0, 1)]
    print(f"fuzz: {count} texts, {raised} raised, {accepted} of {2 * count} verdicts right")
    print(f"fuzz, longest by the clock: {by_wall[0]:.2f} s ({by_wall[2]!r}), {late[0]} over 0.5 s")
    print(f"fuzz, longest of our own computing: {by_cpu[1]:.2f} s ({by_cpu[2]!r}), {late[1]} over 0.5 s")
    worst = {"fuzz_worst_seconds": round(by_wall[0], 2), "fuzz_worst_cpu_seconds": round(by_cpu[1], 2)}
    return {"fuzz_raised": raised, "fuzz_over_half_a_second": late[0], **worst}


def probe() -> None:
    """Answers that would write a file if anything evaluated them."""
    with tempfile.TemporaryDirectory() as folder:
        mark = Path(folder, "mark")
        for answer in (
            f"open('{mark}','w')",
            f"[open('{mark}','w')]",
            f"__import__('pathlib').Path('{mark}').touch()",
            f"(lambda: open('{mark}','w'))()",
            f"{{1, open('{mark}','w')}}",
            f"\\text{{__import__('os').system('touch {mark}')}}",
        ):
            for reference in ("1", "[1]", "x", answer + "+1"):
                equivalent(reference, answer)
                equivalent(answer, reference)
        print(f"probe: {'A FILE WAS WRITTEN' if mark.exists() else 'no file was written'}")


def golds() -> None:
    """Every gold answer is found in its solution (or a sentence) and accepted against itself."""
    for name, field, language in (
        ("benchmarks/gsm8k_test.jsonl", "answer", "en"),
        ("train/gsm8k_train.jsonl", "answer", "en"),
        ("benchmarks/math_test.jsonl", "solution", "en"),
        ("benchmarks/mgsm_zh.jsonl", "answer", "zh"),
        ("benchmarks/cmath_test.jsonl", "golden", "zh"),
        ("train/cmath_dev.jsonl", "golden", "zh"),
    ):
        refused = total = 0
        for row in rows(name):
            question = row.get("question") or row.get("problem") or row["input"]
            problem = _problem(question, language)
            text = row[field] if language == "en" else f"所以一共是\\boxed{{{row[field]}}}。"
            gold = row[field] if language == "zh" else row[field].split("####")[1].strip() if "####" in text else None
            found = extract(text, problem)
            total += 1
            refused += found is None or equivalent(gold or found, f"$ {found} $.", question).correct is not True
        print(f"golds, {name}: {total - refused} of {total}")


def _problem(question: str, language: str = "en") -> Problem:
    assert language in ("en", "zh")
    return Problem(id="", source="", language="zh" if language == "zh" else "en", question=question, answer=None)


def replays(show: bool) -> dict[str, float]:
    """The recorded text of each run, graded again."""
    shares = {}
    for name, published in REPLAYS.items():
        found: Counter[str] = Counter()
        for row in rows(f"trajectories/{name}.jsonl"):
            problem = _problem(row["question"])
            if "solution" in row:
                answer = extract(row["solution"], problem)
            else:
                kinds = {"text": "text", "code": "code", "execution": "output"}
                turns = [Turn(kinds[part["role"]], part["content"]) for part in row["segments"]]  # type: ignore[arg-type]
                answer = extract_from_turns(turns, problem)
            verdict = equivalent(row["reference"], answer, row["question"])
            found["rows"] += 1
            found["right" if verdict.correct else "undecided" if verdict.correct is None else "wrong"] += 1
            recorded = row.get("recorded_correct")
            if recorded is not None and recorded != (verdict.correct is True):
                found["against the record"] += 1
                if show:
                    print(f"  {name} {row['id']}: {_reason(verdict, recorded, row['recorded_prediction'])}")
        share = shares[name] = round(100 * found["right"] / found["rows"], 2)
        print(f"replay, {name}: {share} (published {published}); {dict(found)}")
    return shares


def _reason(verdict: Verdict, recorded: bool, prediction: str) -> str:
    """In words, why our verdict is not the recorded one."""
    pair = f"{verdict.reference!r} | {verdict.predicted!r} by {verdict.rule!r}"
    if verdict.predicted is None or verdict.correct is None:
        return f"not decided by us, {pair}"
    if verdict.correct:
        return f"right, recorded as wrong (as {prediction!r}): {pair}"
    same = equivalent(prediction or "-", verdict.predicted).correct
    try:
        factor = Fraction(verdict.predicted.strip("$")) / Fraction(verdict.reference)
    except (ValueError, ZeroDivisionError):
        factor = None
    if factor in (100, Fraction(1, 100)):
        return f"wrong by a factor of 100, which the recorded grader lets pass as percent: {pair}"
    if not same:
        return f"recorded as {prediction!r}, which is not what the text says: {pair}"
    return f"wrong, which the recorded grader's tolerance or parsing lets pass: {pair}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.grader", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--list", action="store_true", help="also print every error and disagreement")
    parser.add_argument("--fuzz", type=int, metavar="N", help="ask about N adversarial texts, and nothing else")
    parser.add_argument("--seed", type=int, default=1, help="of these texts")
    chosen = parser.parse_args(arguments)
    show = chosen.list
    if chosen.fuzz:
        print(json.dumps({"bench": "grader", **fuzz(chosen.fuzz, chosen.seed)}))
        return 0
    numbers = {**labelled(show), **pathological()}
    probe()
    golds()
    shares = replays(show)
    print(json.dumps({"bench": "grader", "ratio": numbers["verdicts_a_second"] / 1000, **numbers, "replays": shares}))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
