"""From a Chinese problem to its K-12 subtopic: by the publisher's routes of knowledge points, else by keywords.

    topic_of("…经过多少秒两车相遇？", ["拓展思维->行程模块->直线型行程问题->相遇"])   "行程问题"
    topic_of("鸡兔同笼，有35个头，94只脚，鸡有几只？")                             "鸡兔同笼"
    topic_of("请看图。")                                                       "unknown"

The subtopics are in `topics_zh.toml` (76 of the curriculum, 21 beyond them), the rules in `topics_rules_zh.toml`. It
refuses to guess: where no rule speaks, the topic is "unknown". How often it is right was counted by reading:
docs/log.md.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

UNKNOWN = "unknown"
TOPICS_FILE = Path(__file__).parent / "topics_zh.toml"
RULES_FILE = Path(__file__).parent / "topics_rules_zh.toml"
# Routes that say what a problem trains or how it is asked, not what it is about.
_NOT_ABOUT = re.compile(r"->(?:能力|素养|思想|数学思想|方法|七大能力|学习能力|特色题型)(?:->|$)")

# What stands before the choices "(A) 3" or "A. 3": they say little of what a problem is about.
_CHOICES = re.compile(r"\n\s*\(?A\s*[).．、]|\s\(A\)\s.*\(B\)", re.DOTALL)
_CHINESE = re.compile(r"[\u3400-\u9fff]")
_COMMAND = re.compile(r"\\[A-Za-z]+(?:\{\d+个\})?")
_LETTER = re.compile(r"[A-Za-zΑ-ω]")
_MOST_WORDS_OF_A_CALCULATION = 10  # Chinese characters: "计算：…的值是"

Rules = tuple[tuple[re.Pattern[str], str], ...]


@cache
def _areas() -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads(TOPICS_FILE.read_text(encoding="utf-8"))


@cache
def topics() -> Mapping[str, str]:
    """The subtopics: English name to Chinese name."""
    return {english: chinese for area in _areas().values() for english, chinese in area.items()}


@cache
def _area_of_each() -> Mapping[str, str]:
    return {chinese: area for area, names in _areas().items() for chinese in names.values()}


def area_of(topic: str) -> str | None:
    """The area of `topics_zh.toml` that a subtopic stands in, by its Chinese name; None for other subjects."""
    return _area_of_each().get(topic)


def is_curriculum(area: str) -> bool:
    """Whether an area of `topics_zh.toml` counts among the 76."""
    return not area.startswith("Beyond")


def curriculum() -> tuple[str, ...]:
    """The Chinese names of the 76."""
    return tuple(name for area, names in _areas().items() if is_curriculum(area) for name in names.values())


@cache
def _rules() -> tuple[Rules, Rules, Rules]:
    raw = tomllib.loads(RULES_FILE.read_text(encoding="utf-8"))

    def compiled(name: str) -> Rules:
        return tuple((re.compile(pattern, re.DOTALL), topic) for pattern, topic in raw[name])

    return compiled("routes"), compiled("keywords"), compiled("calculations")


def _first(text: str, rules: Rules) -> str | None:
    return next((topic for pattern, topic in rules if pattern.search(text)), None)


def topic_by_routes(routes: Sequence[str]) -> str | None:
    """The topic of the first route that a rule knows; None if there is none.

    The end of a route is the most special: its last step is tried alone, then with the step before it, and so on.
    """
    for route in routes:
        steps = route.split("->")
        if _NOT_ABOUT.search(route):
            continue
        for first in range(len(steps) - 1, -1, -1):
            if topic := _first("->".join(steps[first:]), _rules()[0]):
                return topic
    return None


def topic_by_keywords(question: str) -> str | None:
    """The topic of the first keyword that stands in the question, its choices left aside; None if there is none."""
    _, keywords, calculations = _rules()
    stem = _CHOICES.split(question, maxsplit=1)[0]
    if topic := _first(stem, keywords):
        return topic
    few = len(_CHINESE.findall(stem)) <= _MOST_WORDS_OF_A_CALCULATION and not _LETTER.search(_COMMAND.sub("", stem))
    return _first(stem, calculations) if few else None


def topic_of(question: str, routes: Sequence[str] = ()) -> str:
    """The Chinese name of the problem's subtopic, or `UNKNOWN`."""
    return topic_by_routes(routes) or topic_by_keywords(question) or UNKNOWN
