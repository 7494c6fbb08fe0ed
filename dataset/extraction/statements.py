r"""What a text says is its answer: "the answer is …", "#### 18", "Option B", 故选C, 答：…

Looked for from the end. A statement without a value in it ("the answer is correct") counts where there is no other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dataset.extraction.values import Sentences, is_value, value_in
from dataset.grading.normalize import clean
from dataset.grading.phrases import choice, number, several_choices

_BEFORE_LETTER = r"(?=\(?[A-J]\)?\s*\.?\s*(?:\n|$))"
_LETTER = r"\W{0,8}(?:\\?(?:text|mathrm|rm)\s*\{?\s*)?[A-J](?![A-Za-z])"
_SAID = re.compile(
    r"####"
    r"|\b(?:(?:correct\s+)?(?:answer|ans)s?|final\s+(?:answer|result|value)s?)"
    r"(?:\s+(?:is|are|(?:would|will|must|should) be)\b(?:\s*(?:thus|therefore|then|simply|just|indeed)\b)?"
    rf"|\s*\**\s*[:：=]|\s*[-–]\s(?=\(?[A-J]\b)|\s+{_BEFORE_LETTER})\s*[:：]?"
    r"|\banswer\s*(?=\\[(\[]|\$)"
    r"|\b(?:correct|right)\s+(?:option|choice)(?:\s+is\b|\s*[:：])"
    r"|\b(?:option|choice)\s+(?=(?:\$?\(?|\$*\\(?:text|mathrm|rm)\s*\{?\s*)[A-J]\b(?!\s*[:：.)]\s*\S))"
    r"|(?:最终|最后|正确)?(?:答案|结果)(?:应该|应)?(?:是|为|：|:|选择?(?!项))\s*[:：]?|答\s*[：:]"
    r"|答案\s*】?\s*(?=[(（]?[A-J](?![A-Za-z]))|正确的(?:选项|说法|结论|命题|判断)?的?(?:序号)?(?:是|为|有)\s*"
    r"|\b(?:choose|select|pick)\s+(?=\(?[A-J]\)?(?:[\s.,]|$))"
    rf"|(?<!不)选择?(?:答案)?\s*[：:]?\s*(?={_LETTER})|(?<!不)选择?项(?:有|是|为)?\s*[：:]?\s*(?={_LETTER}(?![}}$\s)）]*[：:]\s*\S))"
    r"|(?:故|应|所以|因此)(?:选择?(?!项)|填)\s*[：:]?"
    r"|选\s*[：:]?\s*(?=\$*\s*\\(?:text|mathrm|rm|mathbf)\s*\{?\s*[A-J])",
    re.IGNORECASE,
)
_OURS = re.compile(r"\$([^$\n]+)\$ is (?:our|the) (?:final )?answer")
_MARKUP = re.compile(r"[\s*_:：`]*")
# "D 【…】", "C is the closest": a choice with words after it.
_LETTER_FIRST = re.compile(
    r"[\s$(*]*(?:\\(?:text|mathrm|rm|mathbf|textbf)\s*\{?\s*)?([A-J])(?![A-Za-z0-9_=^(])[}$)*]*"
    r"\s*(?:[:：.,，。；、)]\s*(?!\s*[A-J]\b)[^\s\d]|【|\\\\|选项|项|\s(?:is|because|since|as)\b)"
)
_LETTER_IN_BRACKETS = re.compile(r"[\s$]*\\left\s*\(\s*(?:\\[a-z]{2,6}\s*\{?\s*)?([A-J])\s*\}?\s*\\right\s*\)")
_JUDGED = re.compile(
    r"(?:in)?correct\b(?!\s*(?:[:：]|answer))|right\b|wrong\b|consistent|valid|reasonable", re.IGNORECASE
)
# What follows "the answer is" and is no answer.
_NO_ANSWER = re.compile(
    r"(?:in)?correct\b|(?:as|the) follow|right\b|wrong\b|below|above|found|shown|obtained|given by|therefore\b|not\b"
    r"|an?\b|in the\b",
    re.IGNORECASE,
)
_REASON = re.compile(r",\s+(?:as|since|because|which|so)\b")  # "6, as 6 = 2 × 3"
_CHECKING = re.compile(r"\b(?:check|verify|confirm|test)\b[^.\n]*$|(?:检验|验证)[^。．\n]*$", re.IGNORECASE)
MAX_STATEMENTS = 50  # that are looked at from the end: a model in a loop makes thousands
MAX_CHOICE = 200  # characters of a choice with what it says


@dataclass(frozen=True, slots=True)
class Said:
    """A value that is said to be the answer, and where its sentence begins. `plain`: it is words without a value."""

    position: int
    text: str
    plain: bool


def said(text: str, question: str) -> Said | None:
    """The last statement of an answer in `text`; None if there is none."""
    places = list(_SAID.finditer(text))
    ours = list(_OURS.finditer(text))
    if ours and (not places or ours[-1].start() >= places[-1].start() - 2):
        return Said(ours[-1].start(), ours[-1][1].strip(), plain=False)
    if not places:
        return None
    sentences = Sentences.of(text)
    fallback: Said | None = None
    for place in reversed(places[-MAX_STATEMENTS:]):
        if _CHECKING.search(text, max(0, place.start() - 30), place.start()):
            continue
        found = _at(sentences, place.end(), question)
        if found is not None and not found.plain:
            return found
        if found is not None and not (fallback and not _NO_ANSWER.match(fallback.text)):
            fallback = found
    return fallback


def _at(sentences: Sentences, position: int, question: str) -> Said | None:
    """The statement whose value begins at `position`, after markup and line breaks."""
    markup = _MARKUP.match(sentences.text, position)
    start = markup.end() if markup else position
    sentence = sentences.text[start : sentences.end_after(start + 1)].strip().strip("*").strip()
    if not sentence:
        return None
    value = None if _JUDGED.match(sentence) else core(sentence, question)
    if value is None:
        return Said(start, sentence, plain=True)
    return Said(start, value, plain=re.search(r"[\d\\$]", value) is None and choice(value[:MAX_CHOICE]) is None)


def core(sentence: str, question: str) -> str | None:
    """The value in a sentence: itself if it is one, else the last that it states; None if it states none."""
    if letter := _LETTER_FIRST.match(sentence) or _LETTER_IN_BRACKETS.match(sentence):
        return letter[1]
    if len(sentence) <= MAX_CHOICE and (choice(sentence) is not None or several_choices(clean(sentence)) is not None):
        return sentence
    if (reason := _REASON.search(sentence)) and is_value(sentence[: reason.start()], question):
        return sentence[: reason.start()]
    if "分之" in sentence and number(clean(sentence).rstrip("。")) is None and (part := value_in(sentence, question)):
        return part
    if _quoted(sentence, question) or (is_value(sentence, question) and not _one_formula(sentence)):
        return sentence
    return value_in(sentence, question)


def _one_formula(sentence: str) -> bool:
    return sentence.startswith(("$", r"\(", r"\["))


def _quoted(sentence: str, question: str) -> bool:
    """Whether a sentence of several words stands in the question, as the text of a choice does."""
    bare = sentence.strip(" .。\"'").lower()
    return len(bare.split()) > 3 and bare in question.lower()
