r"""The last value that a text states: the last sentence that has one, and in it the last formula or number.

A name is no value where there is another ("the greatest $k$ is 34"), nor is a condition ("…is $3$ when $x = 1$").
Values that only "and", "or" or a comma parts are one answer.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

from dataset.extraction.around import sign_before, unit_after
from dataset.extraction.formulas import STEP, Span, formulas, is_computation, is_sum, last_side, only_a_name, value_of
from dataset.extraction.plain import VALUE
from dataset.grading import phrases, question_hints, times
from dataset.grading.lexer import Hints, Unreadable
from dataset.grading.normalize import MAX_CHARACTERS, clean
from dataset.grading.parser import read
from dataset.grading.tree import Cases, Words, contains

# Where a sentence ends: a decimal point or an abbreviation's does not count.
_SENTENCE_END = re.compile(r"\.(?=\s+[A-Z\\$*]|\s*$)|[。！；．]|\n|\\\\(?=\s|$)", re.MULTILINE)
BETWEEN = re.compile(
    r"(?:\s|[,，、;；$]|\\(?:quad|qquad|[,;: ])|\b(?:and|or|as well as)\b|或者?|和|与|以及|及"
    r"|\\text\{\s*(?:and|or)\s*\})+"
)
_JOINT = re.compile(r"and|or|或|和|与|及")
_WRITTEN = re.compile(r"\w")
# "$$13$$:$$10$$", "$$3$$小时$$20$$分" and 上午$$9$$时 are one value each.
_APART = re.compile(r"(?<=\d)\s*\$+(\s*(?:[:：]|[点时元角度]|小时|分钟?)\s*)\$+(?=\s*\d)")
_NUMBERS_APART = re.compile(
    r"(?<!\$)\${1,2}\s{0,3}(\d[\d.]{0,20})\s{0,3}\${1,2}(\s{0,3}(?:[点时元角度]|小时|分钟?)\s{0,3})\${1,2}"
    r"\s{0,3}(\d[\d.]{0,20})\s{0,3}\${1,2}(?=\s*[分角秒毛])"
    r"|(?<=[午上晨])\s*\$+\s*(\d{1,2})\s*\$+(?=\s*[时点])"
)
_CONDITION = re.compile(
    r"\b(?:when|if|for|where|since|because|as|at|given|with|let|attained|iff)"
    r"(?:\s+(?:and only if|all|any|every|some|that))?"
    r"\s*[,:]?\s*$",
    re.IGNORECASE,
)
_ROUGHLY = re.compile(
    r"[\s$]*+[,，(（]?\s*+(?:or|which is|i\.e\.,?|that is,?|即)?\s*+(?:about|approximately|roughly|约为?|大约|≈)[\s$]*+"
)
_OPENED = re.compile(r"[（(][^（()）]{1,60}$")
_CLOSES = re.compile(r"[^（()）]{0,30}[）)]")
_ASIDE = re.compile(r"[\u4e00-\u9fff]{2}|\b(?:reject|discard|exclud|ignor|extraneous|rather|instead)")
_REJECTED = re.compile(r"[\s$]{0,4}[（(]?\s?(?:舍|不合题意|不符合题意|(?:is )?(?:rejected|discarded|extraneous))")
_POWER = re.compile(r"\^\s*\{?\s*(?:[23]|\\circ)\s*\}?")  # of a unit before it: cm$^2$
_THEN_ZH = re.compile(r"(?:此时|当且仅当)\s*[a-zA-Z]\s*=\s*$")
_WHEN_ZH = re.compile(r"\s*时\s*[,，]")  # 当x=2时，
_CONDITION_ZH = re.compile(r"\s*\$?\s*(?:时|取等|取得|代入)")
_STATES = re.compile(
    r"(?:\b(?:is|are|be|equals?|was|were|either|both|values?|solutions?|roots?|numbers?|answers?|get|gets|have)|[=:：为是得有])"
    r"\s*\$?\s*$",
    re.IGNORECASE,
)
# What an equation, not its value, may be.
_OF_EQUATIONS = re.compile(
    r"equation|line|curve|plane|circle|ellipse|parabola|function|relation|identity|formula|方程|直线|曲线|圆|线|函数|解析式|轨迹|关系|等式|式子",
    re.IGNORECASE,
)
_NAME = re.compile(r"(?:[a-zA-Z](?:_\{?\d\}?)?\s*=\s*)?[-+]?\$*")
_LARGER = re.compile(r"\d\s*(?:小时|[时点度元])")  # units with a smaller one behind the next number
_SMALLER = re.compile(r"\s*\$*\s*[分角秒](?!之)钱?")
_ORDERED = re.compile(r"[<>≤≥≠⩽⩾]")
_CAPITAL = re.compile(r"\s+(?:[A-Z]|$)")
_LONGEST_SENTENCE = 5_000  # characters at the end of a sentence that are looked at
_NEAR = 40  # characters before a value that are looked at
MAX_RUN = 60  # values that are one answer


@dataclass(frozen=True, slots=True)
class Sentences:
    """A text cut into sentences, with its formulas; a point or line break in a formula ends none."""

    text: str
    formulas: list[Span]
    formula_starts: list[int]
    ends: list[int]

    @classmethod
    def of(cls, text: str) -> Sentences:
        for pattern in (_NUMBERS_APART, _APART):  # as long as before: positions stay
            text = pattern.sub(lambda match: match[0].replace("$", " "), text)
        spans = formulas(text)
        starts = [span.start for span in spans]
        ends = []
        for match in _SENTENCE_END.finditer(text):
            at = bisect_right(starts, match.start()) - 1
            if at < 0 or not spans[at].start < match.start() < spans[at].end:
                ends.append(match.start())
        ends += [span.end for span in spans if span.text.endswith(".") and _CAPITAL.match(text, span.end)]
        return cls(text, spans, starts, [*sorted(ends), len(text)])

    def end_after(self, position: int) -> int:
        """Where the sentence ends that `position` is in."""
        return self.ends[min(bisect_right(self.ends, position - 1), len(self.ends) - 1)]

    def formulas_between(self, start: int, end: int) -> list[Span]:
        return self.formulas[bisect_right(self.formula_starts, start - 1) : bisect_right(self.formula_starts, end - 1)]


def last_value(text: str, question: str | None = None) -> str | None:
    """The last value that `text` states; None if it states none."""
    sentences = Sentences.of(text)
    starts = [0, *sentences.ends[:-1]]
    names: str | None = None
    for start, end in zip(reversed(starts), reversed(sentences.ends), strict=True):
        value, name = _in_sentence(sentences, start, end, question)
        if value is not None:
            return value
        names = names or name
    return names


def value_in(sentence: str, question: str | None = None) -> str | None:
    """The last value in `sentence`, which is taken for one; a formula that is only a name, if there is no other."""
    value, name = _in_sentence(Sentences.of(sentence), 0, len(sentence), question)
    return value or name


def _in_sentence(sentences: Sentences, start: int, end: int, question: str | None) -> tuple[str | None, str | None]:
    """The last value between `start` and `end`, and the last formula there that is only a name."""
    text = sentences.text
    start = max(start, end - _LONGEST_SENTENCE)
    candidates: list[Span] = []
    name: str | None = None
    position = start
    for span in [*sentences.formulas_between(start, end), Span(end, end, "", formula=False)]:
        between = VALUE.finditer(text, position, max(position, span.start))
        candidates += [Span(match.start(), match.end(), match[0], formula=False) for match in between]
        position = span.end
        if span.formula and only_a_name(span.text):
            name = span.text
        elif span.formula and _WRITTEN.search(span.text) and not _POWER.fullmatch(span.text):
            candidates.append(span)
    candidates = [
        span for span in candidates if not (_is_condition(text, span) or _REJECTED.match(text, span.end))
    ] or candidates
    if not candidates:
        return None, name
    while len(candidates) > 1 and _is_aside(text, candidates[-2].end, candidates[-1]):
        candidates.pop()
    if len(candidates) > 1 and _ROUGHLY.fullmatch(text, candidates[-2].end, candidates[-1].start):
        exact, near = (_whole(text, span, question) for span in candidates[-2:])
        return rf"{exact} \approx {near}", name  # the grader knows which of the two is asked for
    return ", ".join(_whole(text, span, question) for span in _run(text, candidates, question)), name


def _run(text: str, candidates: list[Span], question: str | None) -> list[Span]:
    """The last candidate with those before it that only a comma, "and" or "or" parts from it, if they are one answer.

    They are where "is" or "are" stands before them, where "and" or "or" is in between, or where several are asked for.
    """
    run = [candidates[-1]]
    joined = False
    for span in reversed(candidates[-MAX_RUN:-1]):
        parting = BETWEEN.match(text, unit_after(text, span.end)[1], run[0].start)
        if parting is None or not _NAME.fullmatch(text, parting.end(), run[0].start):
            break
        if not parting[0].strip("$ \t\n") or (span.formula and _stands_alone(span.text, run[0].text)):
            break
        joined = joined or _JOINT.search(parting[0]) is not None
        run.insert(0, span)
    if len(run) == 1 or (run[-1].formula and is_computation(run[-1].text)):
        return run[-1:]
    states = _STATES.search(text, max(0, run[0].start - _NEAR), run[0].start) is not None
    if all(span.formula for span in run):
        return run if states or joined or question_hints.several(question) else run[-1:]
    return run if states or (joined and all(_ORDERED.search(span.text) for span in run)) else run[-1:]


def _stands_alone(formula: str, following: str) -> bool:
    """Whether a formula computes something, or the one after it follows from it."""
    return is_computation(formula) or STEP.match(following) is not None


def _is_condition(text: str, span: Span) -> bool:
    """Whether a formula only says when something holds: "when $x = 1$", 当$x=1$时."""
    if not span.formula:
        if _THEN_ZH.search(text, max(0, span.start - _NEAR), span.start):
            return True
        return _WHEN_ZH.match(text, span.end) is not None and text[
            max(0, span.start - 5) : span.start
        ].rstrip().endswith("=")
    if not re.search(r"[=<>]|\\(?:in|neq?|[lg]eq?)(?![a-z])", span.text):
        return False
    before = _CONDITION.search(text, max(0, span.start - _NEAR), span.start)
    return (
        before is not None
        or text[max(0, span.start - 4) : span.start].rstrip(" $").endswith("此时")
        or _CONDITION_ZH.match(text, span.end) is not None
    )


def _is_aside(text: str, start: int, span: Span) -> bool:
    """Whether a value stands in brackets, among words, behind another that ends at `start`: "223 (a may be 0)"."""
    opened = _OPENED.search(text, start, span.start)
    return opened is not None and _CLOSES.match(text, span.end) is not None and _ASIDE.search(opened[0]) is not None


def _whole(text: str, span: Span, question: str | None) -> str:
    """What a candidate states, with the sign before it and the unit behind it."""
    value = value_of(span.text, question) if span.formula else span.text.strip().rstrip(",")
    if span.formula and "=" in value and _is_stated(text, span.start):
        value = last_side(value)
    sign = "" if "=" in value or value.startswith(("-", "−")) else sign_before(text, span.start)
    unit = "" if is_sum(value) else unit_after(text, span.end)[0]
    if not unit and _LARGER.search(value) and (smaller := _SMALLER.match(text, span.end)):
        unit = smaller[0].strip()
    return sign + value + unit


def _is_stated(text: str, position: int) -> bool:
    """Whether "the area is" or its like stands before a formula, so that an equation there gives a value."""
    before = text[max(0, position - _NEAR) : position]
    return _STATES.search(before) is not None and _OF_EQUATIONS.search(before) is None


def is_value(text: str, question: str | None = None) -> bool:
    """Whether `text` as a whole is an answer: a choice, a time, a number written out, or a formula without words."""
    cleaned = phrases.without_lead(clean(text[:MAX_CHARACTERS]))
    if len(text) > MAX_CHARACTERS or not cleaned:
        return False
    if any(
        kind(cleaned) is not None
        for kind in (phrases.choice, times.clock, times.date, phrases.remainder, phrases.number)
    ):
        return True
    try:
        node = read(cleaned, Hints(question))
    except Unreadable:
        return False
    return isinstance(node, Cases) or not contains(node, Words) or re.search(r"\d", phrases.plain(cleaned)) is None
