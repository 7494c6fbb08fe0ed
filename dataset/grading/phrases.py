"""Answers that are words: names, choices, yes and no, numbers written out, remainders, discounts."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from dataset.grading.normalize import ROW_BREAK
from dataset.grading.tree import Node, Seq, Sym

_WRAPPER = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|texttt|textnormal|mbox|hbox|mathrm|operatorname|mathbf|mathit|mathsf|mathcal|"
    r"emph|underline|boxed|bm)\s*\{([^{}]*)\}"
)
_LEAD = re.compile(
    r"^(?:\\text\{\s*)?(?:(?:so|thus|hence|therefore),? )?(?:the )?(?:final |correct )?"
    r"(?:answer|option|choice|result)s?(?![a-z])(?: is| are)?\s*[:=]?\s*\}?\s*"
    r"|^人民币(?=\s*[\d¥])|^(?:一共|总共|共)有?(?=\d)|^\[?(?:正确)?(?:答案|选项)\]?(?:是|为)?\s*[:：]?\s*|^答\s*[:：]\s*"
    r"|^it(?:'s| is)\s+(?=\(?[A-J]\)?\.?$)"
    r"|^(?:[故应所以因此]{1,4}(?:本题|此题)?|本题|此题)?(?:答案)?应?选择?\s*:?\s*(?=\(?[A-H])"
    r"|^(?:(?:about|approximately|approx\.?|roughly|nearly|\\approx|\\sim)(?![a-z])|大约|约|近似|≈)\s*",
    re.IGNORECASE,
)
# 解集是x>3, "the ratio is 3:4": a noun before a value.
_NOUN = re.compile(
    r"^(?:(?!不是|不为|不等于|并非|没有|不可能|或)[\u4e00-\u9fffA-Za-z\s]){1,30}(?:是|为|等于)\s*:?\s*"
    r"(?=[-\d(\[\\]|[a-z]\s*[<>=\\])"
    r"|^(?:so|thus|hence|therefore|then|the|its)\b(?:(?!\bnot\b)[A-Za-z ,]){0,60}\b(?:is|are|equals|be)\s+"
    r"(?=[-\d(\[$\\])",
    re.IGNORECASE,
)
_MONTHS = str.split("january february march april may june july august september october november december")
_DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_SAME = (
    ("no solution", "no solutions", "none", "no real solutions", "no real solution", "empty set", "the empty set",
     "无解", "没有", "there are no solutions", "emptyset", "varnothing", "no answer", "无", "不存在解", "空集"),
    ("undefined", "does not exist", "dne", "doesnt exist", "不存在", "无意义", "zoo"),
    ("infinitely many", "infinite", "infinity", "infinitely many solutions", "无数", "无穷多", "无数个"),
    ("yes", "true", "correct", "right", "是", "对", "正确", "是的", "能", "可以", "够"),
    *((name, f"星期{day}", f"周{day}", f"礼拜{day}") for name, day in zip(_DAYS, "一二三四五六日", strict=True)),
    ("sunday", "星期天", "周天", "礼拜天"),
    ("no", "false", "incorrect", "wrong", "否", "错", "不是", "错误", "不对", "不能", "不可以", "不够"),
    ("all real numbers", "all reals", "reals", "real numbers", "all real x",
     "全体实数", "任意实数", "一切实数", "实数集"),
)  # fmt: skip
# What these mean where a set is expected.
SETS: dict[str | None, Node] = {"all real numbers": Sym("RR"), "no solution": Seq("{", (), "}")}
_MEANING = {phrase: group[0] for group in _SAME for phrase in group}
_ARTICLES = frozenset({"the", "a", "an", "is", "are", "it", "its", "that", "this"})
_ONES = str.split(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_TENS = str.split("twenty thirty forty fifty sixty seventy eighty ninety")
_ENGLISH = {word: value for value, word in enumerate(_ONES)} | {word: 20 + 10 * at for at, word in enumerate(_TENS)}
_PARTS = dict(zip(str.split("half third quarter fifth sixth seventh eighth ninth tenth"), range(2, 11), strict=True))
_PARTS |= {"halve": 2, "fourth": 4, "eleventh": 11, "twelfth": 12, "sixteenth": 16, "twentieth": 20}
_PARTS |= {"hundredth": 100, "thousandth": 1000}
_DIGITS = {character: value for value, character in enumerate("零一二三四五六七八九")} | {"两": 2, "〇": 0}
NUMERALS_ZH = "零〇一二三四五六七八九十百千万亿两"  # the digits and places of a number
_LONGEST_WORDS = 12  # of a number in English
_LONGEST = 200  # characters of a number written out: 亿 a thousand times is none that Python prints
_PLACES = {"十": 10, "百": 100, "千": 1000}
_REMAINDER = re.compile(
    r"(?:商\s*[是为:]?|(?:the )?quotient(?: is| of|:)?)?\s*(\d+)(?:(?!余)[\u4e00-\u9fff])?\s*"
    r"(?:(?:\\[lc]?dots\s*)+|\.{3,}|[,;]?\s*余数?\s*[是为:]?|[Rr]\.?|"
    r"[,;]?\s*(?:and |with )?(?:an? |the )?rem(?:ainder|\.)?(?: of| is|:)?)"
    r"\s*(\d+)[\u4e00-\u9fff]?"
)
_TWO_NUMBERS = re.compile(r"\(\s*(\d+)\s*,\s*(\d+)\s*\)")  # what divmod gives
_DISCOUNT = re.compile(
    r"(?:[\u4e00-\u9fff]{1,6}的)?打?\s*(?:(?P<digits>\d{1,2}(?:\.\d)?)|(?P<said>[一二三四五六七八九]{1,2})|(?P<half>[半对]))\s*折"
)
_TENTHS = re.compile(r"(?P<first>[\d.]{1,4}|[一二三四五六七八九十])\s*成\s*(?P<second>[一二三四五六七八九])?")
_CHOICE = re.compile(
    r"[(\[\"{<]?\s*([A-J])\s*[)\]\"}>]?"
    r"(?:\s*[).:：、.]\s*\S.*|\s*[).:]?|\s*(?:is (?:the )?(?:right|correct)(?: answer| option| choice)?|"
    r"(?:选?项)?正确|选?项)\.?)?",
    re.DOTALL,
)
# A small letter is a choice only in a choice's dress.
_SMALL_CHOICE = re.compile(r"(?:option |choice |\()([a-j])\)?|([a-j])\)", re.IGNORECASE)


@lru_cache(maxsize=64)  # each rule asks it of the same two answers
def plain(text: str) -> str:
    r"""`text` without \text{…} and the like around its words, and without white space at its ends."""
    before = None
    while before != text and "\\" in text:
        before = text
        text = _WRAPPER.sub(r"\1", text)
    return text.replace(ROW_BREAK, " ").strip()


def without_lead(text: str) -> str:
    """`text` without "the answer is", 答案：, "about" and the like before the answer itself."""
    while (rest := _LEAD.sub("", text, count=1)) not in ("", text):
        text = rest
    return text


def leads_off(text: str) -> list[str]:
    """`text`, then what is left of it as one lead after the other is taken off; "about" alone is no lead.

    Leads are "the answer is" and its like, at last also the words of a sentence whose end is a value.
    """
    found = [text]
    for lead in (_LEAD, _NOUN, _LEAD):
        while (rest := lead.sub("", found[-1], count=1)) not in ("", found[-1]):
            found.append(rest.upper() if _SMALL_CHOICE.fullmatch(found[-1]) else rest)
    return found


def words(text: str) -> str | None:
    """The words of an answer that has nothing but words, in one form; None where it has digits or mathematics."""
    said = plain(text)
    said = re.sub(r"\\(?:emptyset|varnothing)\s*", "emptyset", said)
    if said in _MEANING:
        return _MEANING[said]
    if re.search(r"[\d\\=+*/^_<>|&%$]", said) or not re.search(r"[A-Za-z\u4e00-\u9fff]{2}", said):
        return None
    said = re.sub(r"[^\w\s\u4e00-\u9fff]", " ", said.replace("'", "")).lower()
    kept = [word for word in said.split() if word not in _ARTICLES] or said.split()
    joined = " ".join(kept)
    if joined in _MEANING:
        return _MEANING[joined]
    for name in (*_DAYS, *_MONTHS):
        if len(joined) >= 3 and name.startswith(joined) and joined in (name[:3], name[:4]):
            return name
    return joined


def choice(text: str) -> str | None:
    """The letter of a choice: "(B)", "B.", "option B", "(B) 12" are all B; None for anything else."""
    said = plain(text)
    if match := _SMALL_CHOICE.fullmatch(said):
        return (match[1] or match[2]).upper()
    match = _CHOICE.fullmatch(without_lead(said).strip())
    return match[1] if match else None


def several_choices(text: str) -> tuple[str, ...] | None:
    """The letters of several choices, sorted: "A, D" and "D and A" and AD, but not DA, which is a name."""
    said = re.sub(r"\band\b|和|[\s,;()&.]|\\quad", " ", plain(text)).split()
    if len(said) == 1 and re.fullmatch("[A-J]{2,}", said[0]) and list(said[0]) == sorted(set(said[0])):
        return tuple(said[0])
    return tuple(sorted(said)) if len(said) > 1 and all(re.fullmatch("[A-J]", word) for word in said) else None


def circled(text: str) -> frozenset[str] | None:
    """The numbers in circles that an answer consists of: ①③ and ③、① are the same two; None for anything else."""
    said = re.sub(r"[\s,;.和与]|正确$", "", plain(text))
    return frozenset(said) if re.fullmatch("[①-⑳]+", said) else None


def remainder(text: str) -> tuple[str, str] | None:
    """A quotient and what is left: "3 R 2", "3 remainder 2", 3余2, 3……2, 商3余2."""
    match = _REMAINDER.fullmatch(plain(text))
    return (match[1], match[2]) if match else None


def two_numbers(text: str) -> tuple[str, str] | None:
    """Two whole numbers in brackets, as divmod prints a quotient and what is left."""
    match = _TWO_NUMBERS.fullmatch(text)
    return (match[1], match[2]) if match else None


def discount(text: str) -> Fraction | None:
    """What is left to pay: 八折 and 8折 are 4/5, 八五折, 85折 and 8.5折 are 17/20, 三成五 is 7/20 of something."""
    said = plain(text)
    if match := _DISCOUNT.fullmatch(said):
        digits = match["digits"] or "".join(str(_DIGITS[numeral]) for numeral in match["said"] or "") or "5"
        return Fraction(digits) / (100 if len(digits) == 2 else 10)
    if match := _TENTHS.fullmatch(said):
        first = _chinese(match["first"]) if match["first"] in NUMERALS_ZH else _decimal(match["first"])
        return None if first is None else Fraction(first) / 10 + Fraction(_DIGITS[match["second"] or "零"], 100)
    return None


def _decimal(written: str) -> Fraction | None:
    return Fraction(written) if re.fullmatch(r"\d+(?:\.\d+)?", written, re.ASCII) else None


def number(text: str) -> Fraction | None:
    """A number written out: "twenty-five", "two thirds", 三百零五, 三分之二, 负三点五."""
    said = plain(text).lower().strip()
    sign = re.match(r"负|(?:negative|minus)\s+", said)
    unsigned = said[sign.end() :] if sign else said
    if len(unsigned) > _LONGEST:
        return None
    value = _number_zh(unsigned) if re.search("[\u4e00-\u9fff]", unsigned) else _number_en(unsigned)
    return -value if sign and value is not None else value


def _number_zh(said: str) -> Fraction | None:
    if said in ("一半", "半"):
        return Fraction(1, 2)
    if match := re.fullmatch(f"(?:([{NUMERALS_ZH}]+)又)?([{NUMERALS_ZH}]+)分之([{NUMERALS_ZH}]+)", said):
        whole, bottom, top = (_chinese(part or "零") for part in match.groups())
        return whole + Fraction(top, bottom) if bottom else None
    if match := re.fullmatch(f"([{NUMERALS_ZH}]+)点([零〇一二三四五六七八九]+)", said):
        decimals = "".join(str(_DIGITS[character]) for character in match[2])
        return _chinese(match[1]) + Fraction(int(decimals), 10 ** len(decimals))
    return Fraction(_chinese(said)) if re.fullmatch(f"[{NUMERALS_ZH}]+", said) else None


def _number_en(said: str) -> Fraction | None:
    if said in ("half", "half a", "half an"):
        return Fraction(1, 2)
    whole, _, fraction = said.partition(" and ")
    if fraction.startswith(("a ", "one")):  # three and a quarter
        first, second = _number_en(whole), _number_en(fraction)
        if None not in (first, second) and first.denominator == 1 and second < 1:  # type: ignore[union-attr,operator]
            return first + second  # type: ignore[operator]
        if fraction.startswith("a "):
            return None
    whole, point, decimals = said.partition("point ")
    if point:
        digits = [_ENGLISH.get(word, 10) for word in decimals.split()]
        before = _number_en(whole.strip()) if whole else Fraction(0)
        if before is None or not digits or max(digits) > 9:
            return None
        return before + Fraction(int("".join(map(str, digits))), 10 ** len(digits))
    parts = [part for part in re.split(r"[\s-]+", said) if part != "and"]
    bottom = _PARTS.get(parts[-1].removesuffix("s")) if len(parts) > 1 else None
    if bottom is not None:
        parts = ["one" if part == "a" else part for part in parts[:-1]]
    if not parts or not all(part in _ENGLISH or part in ("hundred", "thousand", "million") for part in parts):
        return None
    total = current = 0
    for part in parts:
        if part == "hundred":
            current = (current or 1) * 100
        elif part in ("thousand", "million"):
            total += (current or 1) * (1000 if part == "thousand" else 1_000_000)
            current = 0
        else:
            current += _ENGLISH[part]
    return Fraction(total + current, bottom or 1)


def with_digits(text: str) -> str:
    """`text`, which begins with a number written out, with its numbers in digits: "twenty dollars", 三元五角."""
    said = plain(text)
    if (value := number(said)) is not None:
        return f"({value})"
    if re.match(f"[{NUMERALS_ZH}]+[\u4e00-\u9fff]", said):
        return re.sub(f"[{NUMERALS_ZH}]+(?=[\u4e00-\u9fff])", in_digits, said)
    words_said = said.split(" ")
    found: list[str] = []
    while words_said:
        for count in range(min(len(words_said), _LONGEST_WORDS), 0, -1):
            value = number(" ".join(words_said[:count]))
            if value is not None:
                break
        if value is None and not found:
            return text
        found.append(words_said[0] if value is None else str(value))
        del words_said[:count]
    return " ".join(found)


def in_digits(match: re.Match[str]) -> str:
    """A match of Chinese numerals in digits; what is no number stays."""
    value = number(match[0])
    return match[0] if value is None else str(value)


def _chinese(said: str) -> int:
    total = section = digit = 0
    place = 1  # of a digit at the end: 一百五 is 150, 一百零五 is 105
    for character in said:
        if character in _DIGITS:
            digit = _DIGITS[character]
            place = 1 if digit == 0 else place
        elif character in _PLACES:
            section += (digit or 1) * _PLACES[character]
            digit, place = 0, _PLACES[character] // 10
        else:
            scale = 10_000 if character == "万" else 100_000_000
            total = (total + section + digit) * scale
            section, digit, place = 0, 0, scale // 10
    return total + section + digit * place
