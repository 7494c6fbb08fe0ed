"""Whether a predicted answer equals the reference, and by which rule.

Not symmetric: the reference comes first and is trusted, the prediction is what a model wrote. Typed comparison before
algebra; algebra before digits; what cannot be decided is said to be so. The answer is never evaluated as code, the
function works from any thread, and it always returns: see `dataset.grading`.

What it accepts beyond equal text, and what it refuses, is a table in docs/grading.md and a row each in the tests.
"""

from __future__ import annotations

import re

from dataset.grading import phrases, qualifiers, question_hints, trees, wording
from dataset.grading.normalize import MAX_CHARACTERS, clean, fold
from dataset.grading.numbers import to_number
from dataset.grading.repair import squeezed
from dataset.grading.text_rules import TEXT_RULES
from dataset.grading.tree import App, Node
from dataset.grading.values import Decided, same_value
from dataset.types import Verdict

_PLAIN = re.compile(r"-?\d{1,300}(?:\.\d{1,300})?", re.ASCII)
SENTENCE = 3  # blanks between letters; with more, capitals say nothing
_ALLOWED = re.compile(
    r"\s*[(（][^()（）]{1,80}(?:[皆均都]可以?|即可|答案不唯一)[^()（）]{0,20}[)）]\s*$"
)  # "2 (… 皆可)"
_FORMS = re.compile(r"\\?#\s*\\?#")  # between the forms of one answer, in references
MAX_LENGTH = 1_000_000  # characters of an answer that are looked at at all
_LONG_NUMBER = re.compile(r"([+-]?)0*+(\d*)(?:\.(\d*))?")
_INEQUALITY = re.compile(r"[<>]|\\[lgn]eq?(?:slant)?(?![a-zA-Z])")
_SOLVED = re.compile(r"[a-zA-Z]\s*(?:[<>]=?|\\[lgn]eq?(?:slant)?(?![a-zA-Z]))[^a-zA-Z<>]*")


def equivalent(reference: str, predicted: str | None, question: str | None = None) -> Verdict:
    """Whether `predicted` is the same answer as `reference`, and the name of the rule that decided.

    `question` may say which unit, percent, rounding, base or form is asked for, and whether a list is. `correct` is
    None where it could not be decided: one of the two is in no known notation, or takes too long to compare.
    """
    decided = _decide(reference, predicted, question)
    return Verdict(correct=decided.correct, rule=decided.rule, reference=reference, predicted=predicted)


def _decide(reference: str, predicted: str | None, question: str | None) -> Decided:
    if predicted is None or not predicted.strip():
        return Decided(False, "no answer")
    if predicted == reference:
        return Decided(True, "same text")
    if max(len(reference), len(predicted)) > MAX_CHARACTERS:
        return _long(reference, predicted)
    if _PLAIN.fullmatch(reference) and _PLAIN.fullmatch(predicted):  # most answers; no rule says more of them
        return same_value(_number(reference), _number(predicted))
    forms = _FORMS.split(_ALLOWED.sub("", reference) or reference)
    if len(forms) > 1:  # "\frac{3}{10} ## 0.3": either is the answer
        verdicts = [_decide(form, predicted, question) for form in forms if form.strip(" $")]
        return next(
            (verdict for verdict in verdicts if verdict.correct),
            verdicts[0] if verdicts else Decided(None, "unreadable reference"),
        )
    ours, theirs = phrases.leads_off(clean(forms[0])), phrases.leads_off(clean(predicted))
    # Before a lead is lost: the "about" of "about 5" says nothing, the word "about" may be the answer.
    if not set(map(_bare, ours)).isdisjoint(map(_bare, theirs)):
        return Decided(True, "same text")
    one, other = (wording.in_signs(text) for text in (ours[-1], _value_of_target(theirs[-1], reference, question)))
    said = (rule(one, other, question) for rule in TEXT_RULES)
    decided = next((found for found in said if found is not None), None) or trees.decide(one, other, question)
    if decided.correct:
        return Decided(False, "restates the question") if _restates(one, other, question) else decided
    return _without_qualifiers(one, other, question) or decided


def _number(text: str) -> Node:
    """The tree of a plain number."""
    return App("neg", (to_number(text[1:]),)) if text[0] == "-" else to_number(text)


def _restates(reference: str, predicted: str, question: str | None) -> bool:
    """Whether an inequality is the question's own, not solved, where the reference is another one."""
    if question is None or not _INEQUALITY.search(predicted) or _SOLVED.fullmatch(predicted):
        return False
    asked = squeezed(clean(question[-MAX_CHARACTERS:]))
    return squeezed(predicted) in asked and squeezed(reference) not in asked


def _without_qualifiers(reference: str, predicted: str, question: str | None) -> Decided | None:
    """The verdict on what stands before "where c is a constant" and the like; None where neither has such words."""
    (ours, our_qualifier), (theirs, their_qualifier) = qualifiers.parted(reference), qualifiers.parted(predicted)
    if not our_qualifier and not their_qualifier:
        return None
    if our_qualifier and their_qualifier and qualifiers.contradict(our_qualifier, their_qualifier):
        return Decided(False, "qualifier")
    if not their_qualifier and question_hints.domain(question) and qualifiers.bounds(our_qualifier):
        return Decided(False, "qualifier")
    return trees.decide(ours, qualifiers.same_letter(theirs, their_qualifier, our_qualifier), question)


def _value_of_target(predicted: str, reference: str, question: str | None) -> str:
    """-1 of "z^3 = -1" where z^3 is what was asked for."""
    name, sign, value = re.sub(r"\\approx", "=", predicted).partition("=")
    if not sign or "=" in reference or re.sub(r"\s", "", name) not in map(clean, question_hints.targets(question)):
        return predicted
    return value.strip()


def _bare(text: str) -> str:
    r"""`text` without \text{…} around its words, and without white space that parts nothing."""
    bare = re.sub(r"(?<![A-Za-z0-9])\s+|\s+(?![A-Za-z0-9])", "", phrases.plain(text))
    return bare.lower() if "\\" not in bare and bare.count(" ") >= SENTENCE else bare


def _long(reference: str, predicted: str) -> Decided:
    """Answers too long to parse: equal texts, or equal plain numbers of any length."""
    if max(len(reference), len(predicted)) > MAX_LENGTH:
        return Decided(None, "too long")
    numbers = [_LONG_NUMBER.fullmatch(re.sub(r"[\s,$]|\\!", "", fold(text))) for text in (reference, predicted)]
    first, second = numbers
    if first is not None and second is not None:
        digits = [(number[1].strip("+"), number[2], (number[3] or "").rstrip("0")) for number in (first, second)]
        return Decided(digits[0] == digits[1], "long number")
    return Decided(True, "same text") if reference.strip() == predicted.strip() else Decided(None, "too long")
