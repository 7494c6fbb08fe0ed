"""`python -m bench.overlap`: how many planted copies of benchmark questions the fingerprints that ship find.

Recall: 250 questions a benchmark, each copied in eleven ways; a copy counts as found when the fingerprints alone (no
file beside them) refuse it. Translations: MGSM-zh's questions are GSM8K's in Chinese, so each stands for a translated
copy of the other: asked of the other's fingerprints alone, and of all that ship. Precision: training files that are
public, what of each is refused and by which rule; `--list` prints them beside the benchmark's text, to be read.

The files are those of `../shared/data`, or of `--data FOLDER`. Prints a JSON line.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from dataset.mixture.contamination import Benchmarks, read_questions
from sandbox.command import run_command
from sandbox.errors import InputError

BENCHMARKS = ("gsm8k_test", "math_test", "mgsm_zh", "cmath_test")
TRAINING = (
    "train/gsm8k_train", "train/ape210k_valid", "train/cmath_dev", "real/tal_ch_single_choice_test_2K",
    "real/tal_scq5k_cn.k12_zh", "real/aqua_dev", "real/aqua_test", "real/mathqa_test_1000", "real/gaokao_math.chat",
)  # fmt: skip
COPIES = 250
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_NAMES = ("Anna", "Boris", "Chloe", "Deepak", "Emeka", "Fatima", "Goran", "Hana", "Ivo", "Jun")
_FIRST_WORDS = """A An The If In On At For How What When Who Which Each Every There He She They It His Her Their Some
One Two Three Four Five Six Seven Eight Nine Ten Find Compute Let Given Suppose Determine Evaluate Simplify Express
Solve After Before Then Now Of To As From By With All Both Last Next This That These Those While During"""
_WORDS = {
    "buys": "purchases", "bought": "purchased", "gives": "hands", "big": "large", "house": "home", "kids": "children",
    "each": "every", "total": "altogether", "find": "determine", "compute": "calculate", "evaluate": "work out",
    "what is": "what would be", "how many": "what number of", "how much": "what amount of", "begin": "start",
    "smallest": "least", "largest": "greatest", "also": "besides", "needs": "requires", "gets": "receives",
    "makes": "produces", "wants": "wishes", "store": "shop", "boy": "lad", "quickly": "fast", "nearly": "almost",
    "一共": "总共", "多少": "几", "平均": "平均起来", "需要": "要用", "买了": "购买了", "原来": "起初",
    "还剩": "剩下",
}  # fmt: skip
_CHINESE_NAMES = {
    "小明": "大伟",
    "小红": "小兰",
    "小华": "小军",
    "小丽": "小芳",
    "爸爸": "叔叔",
    "妈妈": "阿姨",
    "小刚": "小强",
}
_ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_CHINESE_ONES = "零一两三四五六七八九十"


def _renumbered(question: str, draw: random.Random) -> str:
    def other(found: re.Match[str]) -> str:
        number = found.group()
        return f"{float(number) + draw.randint(1, 9):g}" if "." in number else str(int(number) + draw.randint(1, 9))

    return _NUMBER.sub(other, question)


def _renamed(question: str, draw: random.Random) -> str:
    names = list(_NAMES)
    draw.shuffle(names)
    known: dict[str, str] = {}

    def other(found: re.Match[str]) -> str:
        word = found.group()
        return word if word in _FIRST_WORDS.split() else known.setdefault(word, names[len(known) % len(names)])

    text = re.sub(r"\b[A-Z][a-z]{2,}\b", other, question)
    for name, new in _CHINESE_NAMES.items():
        text = text.replace(name, new)
    return text


def _reworded(question: str, draw: random.Random) -> str:
    text = _renamed(question, draw)
    for word, new in _WORDS.items():
        text = text.replace(word, new) if word > "z" else re.sub(rf"\b{word}\b", new, text, flags=re.IGNORECASE)
    return text


def _reordered(question: str, draw: random.Random) -> str:
    """The last sentence first."""
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z])|(?<=[。！？])\s*", question.strip())
    sentences = [sentence for sentence in sentences if sentence]
    return " ".join([sentences[-1], *sentences[:-1]])


def _spelled(question: str, draw: random.Random) -> str:
    """Whole numbers up to twelve (ten in Chinese) in words, outside formulas."""
    ones = _CHINESE_ONES if re.search(r"[\u3400-\u9fff]", question) else _ONES

    def in_words(found: re.Match[str]) -> str:
        return ones[int(found[1])] if int(found[1]) < len(ones) else found[1]

    parts = re.split(r"(\$[^$]*\$|\\\[.*?\\\])", question, flags=re.DOTALL)
    parts[::2] = (re.sub(r"(?<![\d.,])(\d{1,2})(?![\d%]|[.,]\d)", in_words, part) for part in parts[::2])
    return "".join(parts)


def _respelled(question: str, draw: random.Random) -> str:
    """LaTeX written in another way: \\dfrac, \\left and \\right, blanks, other dollars."""
    text = question.replace("\\frac", "\\dfrac").replace("\\left(", "(").replace("\\right)", ")").replace("\\,", " ")
    return re.sub(r"\$([^$]*)\$", r"\\(\1\\)", text).replace("=", " = ").replace("  ", " ")


_FULL_WIDTH = str.maketrans("0123456789+-=()%", "０１２３４５６７８９＋－＝（）％")
WAYS: Mapping[str, Callable[[str, random.Random], str]] = {
    "capitals": lambda question, _: question.upper(),
    "full width": lambda question, _: question.translate(_FULL_WIDTH),
    "no punctuation": lambda question, _: re.sub(r"[,.?!;:，。？！；：]", "", question),
    "renumbered": _renumbered,
    "framed": lambda question, _: f"Solve the following problem step by step. {question} Give the answer as a number.",
    "choices": lambda question, _: f"{question}\n(A) 11\n(B) 12\n(C) 13\n(D) none of these",
    "respelled": _respelled,
    "spelled out": _spelled,
    "reordered": _reordered,
    "reworded": _reworded,
    "reworded and renumbered": lambda question, draw: _renumbered(_reworded(question, draw), draw),
}


def _questions(path: Path) -> list[str]:
    if path.name.endswith(".chat.jsonl"):
        rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        return [row["messages"][0]["content"] for row in rows]
    return [question for _, question in read_questions(path)]


def recall(data: Path, show: bool) -> dict[str, dict[str, int]]:
    """For each benchmark and way, how many of the copies the shipped fingerprints refuse."""
    shipped = Benchmarks([], shipped=True)
    found: dict[str, dict[str, int]] = {}
    for name in BENCHMARKS:
        draw = random.Random(1)
        questions = draw.sample(_questions(data / "benchmarks" / f"{name}.jsonl"), COPIES)
        counts = found[name] = {}
        for way, copy in WAYS.items():
            copies = [copy(question, draw) for question in questions]
            missed = [text for text in copies if shipped.match(text) is None]
            counts[way] = COPIES - len(missed)
            for text in missed if show else ():
                print(f"missed, {name}, {way}: {text}")
    return found


def translated(data: Path) -> dict[str, int]:
    """Of MGSM-zh's 250 questions and of GSM8K's first 250, how many are found as copies of the other."""
    gsm8k, mgsm = data / "benchmarks" / "gsm8k_test.jsonl", data / "benchmarks" / "mgsm_zh.jsonl"
    english, chinese = _questions(gsm8k)[:COPIES], _questions(mgsm)
    alone, shipped = {"gsm8k": Benchmarks([gsm8k]), "mgsm_zh": Benchmarks([mgsm])}, Benchmarks([], shipped=True)
    return {
        "Chinese, of GSM8K alone": sum(alone["gsm8k"].match(question) is not None for question in chinese),
        "English, of MGSM-zh alone": sum(alone["mgsm_zh"].match(question) is not None for question in english),
        "Chinese, of all that ship": sum(shipped.match(question) is not None for question in chinese),
        "English, of all that ship": sum(shipped.match(question) is not None for question in english),
    }


def refused(data: Path, show: bool) -> dict[str, dict[str, int]]:
    """For each training file, how many questions it has and how many each rule refuses."""
    files = [data / "benchmarks" / f"{name}.jsonl" for name in BENCHMARKS]
    known = Benchmarks(files, shipped=True)  # the files beside, so that both texts can be shown
    found = {}
    for name in TRAINING:
        questions = _questions(data / f"{name}.jsonl")
        counts: Counter[str] = Counter({"questions": len(questions)})
        for question in questions:
            if match := known.match(question):
                counts[match.rule] += 1
                if show:
                    print(f"refused, {name}, {match.rule} {match.shared}:\n  {question}\n  {match.asked}")
        found[name] = dict(counts)
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.overlap", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--list", action="store_true", help="also print what is missed, and what is refused with both texts"
    )
    options = parser.parse_args(arguments)
    if not (options.data / "benchmarks").is_dir():
        raise InputError(f"{options.data}: expected a folder with benchmarks/gsm8k_test.jsonl …; give --data FOLDER")
    planted = recall(options.data, options.list)
    copies = sum(len(counts) for counts in planted.values()) * COPIES
    share = sum(sum(counts.values()) for counts in planted.values()) / copies
    result = {
        "planted": planted,
        "translated": translated(options.data),
        "training": refused(options.data, options.list),
    }
    print(json.dumps({"bench": "overlap", "ratio": round(share, 4), "copies": copies, **result}, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
