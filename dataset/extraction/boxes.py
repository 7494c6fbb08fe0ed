r"""What stands in each \boxed{…}, with the sign, unit and name around it, and which boxes are one answer together."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dataset.extraction.around import sign_before, unit_after
from dataset.extraction.formulas import is_sum, tree
from dataset.extraction.values import BETWEEN
from dataset.grading import question_hints
from dataset.grading.compare import compare
from dataset.grading.tree import Many, Node, Seq, Words, contains

_OPEN = re.compile(r"\\{1,2}f?box(?:ed)?(?:[\s~]|&nbsp;)*(?=\{)|\\{1,2}f?boxed(?:[^\S\n]+(?=[^\s{~&])|(?=[-\d]))")
_BARE = re.compile(r"-?\d+(?:\.\d+)?|.")  # in a box without braces
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_ALSO = re.compile(r"also (?:an )?(?:accept|correct)|acceptable")
_NAME = re.compile(
    r"(?:^|(?<=[\s$&(,;，；{]))([A-Za-z]'?(?:_\{?\w{1,4}\}?)?(?:\([a-z0-9]\))?|\\[a-zA-Z]+(?:_\{?\w{1,4}\}?)?)\s*&?=\s*$"
)
_NAMED = re.compile(
    r"(?:\s|\\quad|\\text\{\s*(?:and|or)\s*\})*[A-Za-z]'?(?:_\{?\w{1,4}\}?)?(?:\([a-z0-9]\))?\s*&?=\s*(?:\\pm)?[-+]?\$?"
)
_FACTOR = re.compile(r"\s*\\?pi(?![a-zA-Z])|\s*π")  # behind a box, of its number
_REST = re.compile(r"[\s$]*(?:余|\.{3,6}|…+|(?:\\[lc]?dots\s*)+|(?:with )?(?:a )?remainder(?: of)?|R)[\s$]*")
_COLON = re.compile(r"[\s$]*[:：∶][\s$]*")
_ORDER = re.compile(r"(?<![A-Za-z\\])([a-zA-Z]\s*(?:[<>≤≥]=?|\\[lg]eq?(?:slant)?(?![a-zA-Z])))\s*$")  # x > before a box
_NAMED_ZH = re.compile(r"[\s$]*[\u4e00-\u9fffA-Za-z]{1,10}(?:是|为|有|[:：])[\s$]*")
_PART = re.compile(r"[(（]\s*(\d)\s*[)）]")
_NEAR = 40  # characters before a box that are looked at
MAX_JOINED = 40


@dataclass(frozen=True, slots=True)
class Box:
    """`text` is what is in it; `start` and `end` are its own, `whole` is with sign and unit, `name` what it is of."""

    start: int
    end: int
    text: str
    whole: str = ""
    name: str = ""


def find_boxes(text: str) -> list[Box]:
    r"""The outermost boxes in order, empty ones too; of one that is never closed, the rest of its line is in it."""
    openings = list(_OPEN.finditer(text))
    if not openings:
        return []
    closing = _closing_braces(text)
    found: list[Box] = []
    end = 0
    for index, opening in enumerate(openings):
        if opening.start() < end:
            continue
        start = opening.end()
        if text[start] != "{":
            bare = _BARE.match(text, start)
            end = bare.end() if bare else start + 1
            found.append(Box(opening.start(), end, text[start:end]))
            continue
        if start not in closing:
            line_end = text.find("\n", start)
            end = len(text) if line_end < 0 else line_end
            last = max((o.end() for o in openings[index : index + MAX_JOINED] if o.end() <= end), default=start)
            found.append(Box(opening.start(), end, text[last + 1 : end].rstrip("$. ").strip() if last < end else ""))
            continue
        end = closing[start] + 1
        first, last = start + 1, end - 1
        while (nested := _OPEN.match(text, first)) is not None and closing.get(nested.end(), -1) == last - 1:
            first, last = nested.end() + 1, last - 1
        found.append(Box(opening.start(), end, text[first:last].strip()))
    return found


def _closing_braces(text: str) -> dict[int, int]:
    """Where each brace that is closed closes; escaped ones are none."""
    opened: list[int] = []
    closing = {}
    for match in _BRACE.finditer(text):
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            closing[opened.pop()] = match.start()
    return closing


def last_box(text: str, question: str) -> tuple[str | None, int] | None:
    """The answer in the boxes of `text` and where the last of them ends; None without a box.

    The answer is None where the last box is empty: what stood in a box before was taken back. Boxes that only "and",
    "or" or a comma parts are one answer; boxes further apart are where the question asks for several. A box that
    repeats another is left out, and so is one of which the text says that it is also accepted.
    """
    found = find_boxes(text)
    if not found:
        return None
    end = found[-1].end
    if not found[-1].text:
        return None, end
    found = [_with_surroundings(text, box) for box in found if box.text]
    found = _without_also(text, found)
    last = found[-1]
    if question_hints.one_of_several(question):
        return last.whole, end
    for joint, parting in (("余", _REST), (":", _COLON)):
        if len(found) > 1 and parting.fullmatch(text, found[-2].end, last.start):
            return f"{found[-2].text}{joint}{last.text}", end
    group = _parts(text, found, question) or _group(text, found)
    if len(group) == 1 and question_hints.listing(question) and all(_single(box.text, question) for box in found):
        group = found
    if len(group) == 1 and len(found) > 1 and len({box.name for box in found if box.name}) == len(found):
        wanted = question_hints.several(question)
        group = found if wanted else group
    kept = _distinct(group[-MAX_JOINED:], question)
    if len(kept) == 1:
        return kept[0].whole, end
    named = len({box.name for box in kept if box.name}) == len(kept)
    return ", ".join(f"{box.name} = {box.whole}" if named else box.whole for box in kept), end


def _with_surroundings(text: str, box: Box) -> Box:
    sign = sign_before(text, box.start)
    unit, end = unit_after(text, box.end)
    money = r"\$" if re.search(r"\\\$\s*$", text[max(0, box.start - 3) : box.start]) else ""
    negative = box.text.startswith(("-", "−", r"\pm"))
    near = text[max(0, box.start - _NEAR) : box.start]
    if sign:
        near = near.rstrip(" {$").removesuffix(r"\pm")[: None if sign != "-" else -1]
    name = _NAME.search(near.rstrip("$ {") if near.rstrip().endswith("$") else near)
    if not unit and (factor := _FACTOR.match(text, box.end)):
        unit, end = r"\pi", factor.end()
    unit = "" if is_sum(box.text) else unit
    whole = ("" if negative else sign) + money + (_bracketed(box.text) if sign and not negative else box.text)
    if order := _ORDER.search(near.rstrip("{ ")):
        whole = f"{order[1]} {whole}"
    return Box(box.start, max(box.end, end), box.text, whole + unit, name[1] if name else "")


def _bracketed(inner: str) -> str:
    """`inner` in brackets, where a minus before it would bind its first term alone."""
    return f"({inner})" if re.search(r"(?<=[\w)}\s])[-+](?![^{]*\})", inner) else inner


def _without_also(text: str, found: list[Box]) -> list[Box]:
    """`found` without boxes in a sentence that calls them also acceptable."""
    if len(found) < 2:
        return found
    kept = []
    for box in found:
        stop = re.search(r"\.\s|\n|$", text[box.end : box.end + 200])
        sentence = text[box.end : box.end + (stop.start() if stop else 200)]
        if not _ALSO.search(sentence):
            kept.append(box)
    return kept or found


def _parts(text: str, found: list[Box], question: str) -> list[Box]:
    """The boxes of a question in parts (1), (2) …, if each of as many boxes stands behind its number."""
    wanted = [match[1] for match in _PART.finditer(question)]
    if len(wanted) < 2 or wanted != [str(number) for number in range(1, len(wanted) + 1)] or len(found) != len(wanted):
        return []
    starts = [0, *(box.end for box in found)]
    between = [_PART.findall(text, start, box.start) for start, box in zip(starts, found, strict=False)]
    return found if [numbers[-1] if numbers else "" for numbers in between] == wanted else []


def _group(text: str, found: list[Box]) -> list[Box]:
    """The last box with those before it that only a comma, "and" or "or" parts from the next, names aside."""
    group = [found[-1]]
    for box in reversed(found[:-1]):
        between = text[box.end : group[0].start]
        if len(between) > _NEAR + 20 or len(group) >= MAX_JOINED:
            break
        parting = BETWEEN.match(between)
        rest = between[parting.end() :] if parting else ""
        rest = _NAMED_ZH.sub("", rest) if _NAMED_ZH.fullmatch(rest) else rest
        said = re.search(r",|;|and|or|或|和|与|、|，|；|及", between) is not None
        if not parting or not said or not re.fullmatch(rf"(?:{_NAMED.pattern}|(?:\\pm|[-+{{$ ])*)", rest):
            break
        group.insert(0, box)
    return group


def _single(inner: str, question: str) -> bool:
    """Whether a box has one value in it, and so may be one of several answers."""
    node = tree(inner, question)
    return node is not None and not contains(node, (Many, Seq, Words))


def _distinct(group: list[Box], question: str) -> list[Box]:
    """`group` without boxes that say again what another says."""
    kept: list[Box] = []
    trees: list[Node | None] = []
    for box in group:
        node = tree(box.whole, question)
        if any(box.whole == other.whole for other in kept):
            continue
        if (
            len(group) <= MAX_COMPARED
            and node is not None
            and any(other is not None and compare(node, other).correct is True for other in trees)
        ):
            continue
        kept.append(box)
        trees.append(node)
    return kept


MAX_COMPARED = 8  # boxes that are compared with each other by value
