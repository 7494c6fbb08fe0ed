"""Answers that are words: names, choices, yes and no, clock times, dates, numbers written out."""

from __future__ import annotations

import re
from fractions import Fraction

from dataset.grading.normalize import ROW_BREAK
from dataset.grading.tree import Node, Seq, Sym

_WRAPPER = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|texttt|textnormal|mbox|hbox|mathrm|operatorname|mathbf|mathit|mathsf|mathcal|"
    r"emph|underline|boxed|bm)\s*\{([^{}]*)\}"
)
_LEAD = re.compile(
    r"^(?:\\text\{\s*)?(?:(?:so|thus|hence|therefore),? )?(?:the )?(?:final |correct )?"
    r"(?:answer|option|choice|result)s?(?![a-z])(?: is| are)?\s*[:=]?\s*\}?\s*"
    r"|^人民币(?=\s*[\d¥])|^(?:一共|总共|共)有?(?=\d)|^(?:正确)?(?:答案|选项)(?:是|为)?\s*[:：]?\s*|^答\s*[:：]\s*|^选择?\s*(?=[A-H])"
    r"|^(?:(?:about|approximately|approx\.?|roughly|nearly|\\approx|\\sim)(?![a-z])|大约|约|近似|≈)\s*",
    re.IGNORECASE,
)
_MONTHS = str.split("january february march april may june july august september october november december")
_DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_SAME = (
    ("no solution", "no solutions", "none", "no real solutions", "no real solution", "empty set", "the empty set",
     "无解", "没有", "there are no solutions", "emptyset", "varnothing", "no answer", "无", "不存在解", "空集"),
    ("undefined", "does not exist", "dne", "doesnt exist", "不存在", "无意义"),
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
_PARTS |= {"halve": 2, "fourth": 4}
HOURS = tuple(_ONES[1:13])  # one to twelve
_DIGITS = {character: value for value, character in enumerate("零一二三四五六七八九")} | {"两": 2, "〇": 0}
_ZH = "零〇一二三四五六七八九十百千万亿两"  # the digits and places of a number
_LONGEST_WORDS = 12  # of a number in English
_LONGEST = 200  # characters of a number written out: 亿 a thousand times is none that Python prints
_PLACES = {"十": 10, "百": 100, "千": 1000}
_TIME = re.compile(
    r"(?P<early>上午|早上|早晨|凌晨)?(?P<late>下午|晚上|傍晚)?(?P<noon>中午)?\s*(?P<hour>\d{1,2})"
    r"(?:\s*[:：]\s*(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?|[时点](?:(?P<minute_zh>\d{1,2})分?|(?P<half>半))?整?)?"
    r"\s*(?P<meridian>[ap]\s*\.?\s*m\b\.?|o\s*'?\s*clock)?",
    re.IGNORECASE,
)
_TIMES = {"noon": 12 * 3600, "midday": 12 * 3600, "正午": 12 * 3600, "midnight": 0, "午夜": 0}
_MONTH = "|".join(f"{month[:3]}(?:{month[3:]})?" for month in _MONTHS)
_DATE = re.compile(
    rf"(?:(?P<month>{_MONTH})\.?\s*(?P<day>\d{{1,2}})(?:st|nd|rd|th)?"
    rf"|(?:the\s+)?(?P<day2>\d{{1,2}})(?:st|nd|rd|th)?\s*(?:of\s+)?(?P<month2>{_MONTH})\.?)"
    r"(?:\s*,?\s*(?P<year>\d{4}))?|(?:(?P<year_zh>\d{4})年)?(?P<month_zh>\d{1,2})月(?P<day_zh>\d{1,2})[日号]"
    r"|(?P<year_iso>\d{4})(?P<parted>[-/.])(?P<month_iso>\d{1,2})(?P=parted)(?P<day_iso>\d{1,2})",
    re.IGNORECASE,
)
_REMAINDER = re.compile(
    r"(\d+)\s*(?:(?:\\[lc]?dots\s*)+|\.{3,}|,?\s*余数?[是为]?|[Rr]|,?\s*remainder(?: of)?|rem\.?)\s*(\d+)"
)
_CHOICE = re.compile(r"\(?\s*([A-J])\s*\)?(?:\s*[).:：、.]\s*\S.*|\s*[).:]?)?", re.DOTALL)


def plain(text: str) -> str:
    r"""`text` without \text{…} and the like around its words, and without white space at its ends."""
    before = None
    while before != text and "\\" in text:
        before = text
        text = _WRAPPER.sub(r"\1", text)
    return text.replace(ROW_BREAK, " ").strip()


def without_lead(text: str) -> str:
    """`text` without "the answer is", 答案：, "about" and the like before the answer itself."""
    return leads_off(text)[-1]


def leads_off(text: str) -> list[str]:
    """`text`, then what is left of it as one lead after the other is taken off; "about" alone is no lead."""
    found = [text]
    while (rest := _LEAD.sub("", found[-1], count=1)) not in ("", found[-1]):
        found.append(rest)
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
    match = _CHOICE.fullmatch(without_lead(plain(text)).strip())
    return match[1] if match else None


def several_choices(text: str) -> tuple[str, ...] | None:
    """The letters of several choices, sorted: "A, D" and "D and A" and AD, but not DA, which is a name."""
    said = re.sub(r"\band\b|和|[\s,;()&.]|\\quad", " ", plain(text)).split()
    if len(said) == 1 and re.fullmatch("[A-J]{2,}", said[0]) and list(said[0]) == sorted(set(said[0])):
        return tuple(said[0])
    return tuple(sorted(said)) if len(said) > 1 and all(re.fullmatch("[A-J]", word) for word in said) else None


def circled(text: str) -> frozenset[str] | None:
    """The numbers in circles that an answer consists of: ①③ and ③、① are the same two; None for anything else."""
    said = re.sub(r"[\s,;.和与]", "", plain(text))
    return frozenset(said) if re.fullmatch("[①-⑳]+", said) else None


def remainder(text: str) -> tuple[str, str] | None:
    """A quotient and what is left: "3 R 2", "3 remainder 2", 3余2, 3……2."""
    match = _REMAINDER.fullmatch(plain(text))
    return (match[1], match[2]) if match else None


def clock(text: str) -> tuple[int, bool, bool] | None:
    """A time of day as (seconds since midnight, whether the half of the day is said, whether it looks like a time)."""
    said_so = plain(text).replace("\\", " ").replace("~", " ").strip()
    said_so = re.sub(f"[{_ZH}]+(?=[点时分])", _in_digits, said_so)  # 三点
    if said_so.lower() in _TIMES:
        return _TIMES[said_so.lower()], True, True
    match = _TIME.fullmatch(said_so)
    if match is None or int(match["hour"]) > 24:
        return None
    minute = int(match["minute"] or match["minute_zh"] or (30 if match["half"] else 0))
    hour = int(match["hour"])
    meridian = (match["meridian"] or "").lower().replace(" ", "")
    said = meridian[:1] in ("a", "p") or bool(match["early"] or match["late"] or match["noon"]) or hour > 12
    if (meridian.startswith("p") or match["late"]) and hour < 12:
        hour += 12
    if (meridian.startswith("a") or match["early"]) and hour == 12:
        hour = 0
    marked = bool(meridian or match["early"] or match["late"] or match["noon"] or re.search("[时点]", text))
    return hour * 3600 + minute * 60 + int(match["second"] or 0), said, marked


def date(text: str) -> tuple[int | None, int, int] | None:
    """A day of the year as (year or None, month, day)."""
    match = _DATE.fullmatch(plain(text).replace("\\", " ").strip())
    if match is None:
        return None
    if match["year_iso"]:
        return int(match["year_iso"]), int(match["month_iso"]), int(match["day_iso"])
    year = match["year"] or match["year_zh"]
    if match["month_zh"]:
        return (int(year) if year else None), int(match["month_zh"]), int(match["day_zh"])
    name = (match["month"] or match["month2"]).lower()[:3]
    month = [m[:3] for m in _MONTHS].index(name) + 1
    return (int(year) if year else None), month, int(match["day"] or match["day2"])


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
    if match := re.fullmatch(f"(?:([{_ZH}]+)又)?([{_ZH}]+)分之([{_ZH}]+)", said):
        whole, bottom, top = (_chinese(part or "零") for part in match.groups())
        return whole + Fraction(top, bottom) if bottom else None
    if match := re.fullmatch(f"([{_ZH}]+)点([零〇一二三四五六七八九]+)", said):
        decimals = "".join(str(_DIGITS[character]) for character in match[2])
        return _chinese(match[1]) + Fraction(int(decimals), 10 ** len(decimals))
    return Fraction(_chinese(said)) if re.fullmatch(f"[{_ZH}]+", said) else None


def _number_en(said: str) -> Fraction | None:
    if said in ("half", "half a", "half an"):
        return Fraction(1, 2)
    whole, _, fraction = said.partition(" and ")
    if fraction.startswith("a ") or fraction == "one half":  # three and a quarter
        first, second = _number_en(whole), _number_en(fraction)
        return None if first is None or second is None or first.denominator > 1 else first + second
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
    if re.match(f"[{_ZH}]+[\u4e00-\u9fff]", said):
        return re.sub(f"[{_ZH}]+(?=[\u4e00-\u9fff])", _in_digits, said)
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


def _in_digits(match: re.Match[str]) -> str:
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
