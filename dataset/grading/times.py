"""Times of day and days of the year, as English and Chinese problems write them."""

from __future__ import annotations

import re
from typing import NamedTuple

from dataset.grading.phrases import NUMERALS_ZH, in_digits, number, plain

HALF_DAY_ZH = {"early": "上午|早上|早晨|凌晨|清晨", "late": "下午|晚上|傍晚|夜里", "noon": "中午"}
HOURS = str.split("one two three four five six seven eight nine ten eleven twelve")
PAST = (
    rf"(?P<much>half|(?:a )?quarter|\d{{1,2}}(?: minutes?)?|[a-z]+(?:-[a-z]+)?(?: minutes?)?)\s+"
    rf"(?P<side>past|after|to|before|till)\s+(?P<past_hour>\d{{1,2}}|{'|'.join(HOURS)})"
)
_TIME = re.compile(
    rf"(?:(?P<early>{HALF_DAY_ZH['early']})|(?P<late>{HALF_DAY_ZH['late']})|(?P<noon>{HALF_DAY_ZH['noon']}))?\s*"
    rf"(?:{PAST}"
    r"|差\s*(?:(?P<short>\d{1,2})\s*分钟?|1\s*刻钟?)\s*(?:到|就)?(?P<full>\d{1,2})\s*[时点]整?"
    r"|(?P<hour>\d{1,2})(?:\s*[:：]\s*(?P<minute>[0-5]\d)(?:\s*[:：]\s*(?P<second>[0-5]\d))?"
    r"|\s*(?P<sign>[时点]钟?)\s*(?:(?P<minute_zh>\d{1,2})\s*分?(?:(?P<second_zh>\d{1,2})秒)?|(?P<half>半)"
    r"|(?P<quarters>[13])\s*刻|差\s*(?P<short2>\d{1,2})\s*分|整)?)?)"
    r"\s*(?P<meridian>[ap]\s*\.?\s*m\b\.?|o\s*'?\s*clock)?"
    r"\s*(?:(?P<morning>in the morning)|(?P<evening>in the (?:afternoon|evening)|at night))?",
    re.IGNORECASE,
)
_HOUR_IN_WORDS = re.compile(rf"({'|'.join(HOURS)})\s+(o\s*'?\s*clock|fifteen|thirty|forty-five)")
_TIMES = {"noon": 12 * 3600, "midday": 12 * 3600, "正午": 12 * 3600, "midnight": 0, "午夜": 0}
_MONTHS = str.split("jan feb mar apr may jun jul aug sep oct nov dec")
_MONTH = (
    r"jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?"
)
_DATE = re.compile(
    rf"(?:(?P<month>{_MONTH})\.?\s*(?P<day>\d{{1,2}})(?:st|nd|rd|th)?"
    rf"|(?:the\s+)?(?P<day2>\d{{1,2}})(?:st|nd|rd|th)?\s*(?:of\s+)?(?P<month2>{_MONTH})\.?)"
    r"(?:\s*,?\s*(?P<year>\d{4}))?|(?:(?P<year_zh>\d{4})年)?(?P<month_zh>\d{1,2})月(?P<day_zh>\d{1,2})[日号]"
    r"|(?P<year_iso>\d{4})(?P<parted>[-/.])(?P<month_iso>\d{1,2})(?P=parted)(?P<day_iso>\d{1,2})",
    re.IGNORECASE,
)
_LONGEST = 60  # characters of a time or date


class Clock(NamedTuple):
    """A time of day. `half_said`: whether morning or afternoon is known.

    `marked`: it can be nothing but a time or, with `maybe_duration`, a duration (2时30分). Without it 3:30 and "ten to
    six" may be ratios and 3 a number; `likely` says that it looks like a time nevertheless.
    """

    seconds: int
    half_said: bool
    marked: bool
    likely: bool = False
    maybe_duration: bool = False


def clock(text: str) -> Clock | None:
    """The time of day that `text` is; None if it is none."""
    if len(text) > _LONGEST:
        return None
    said_so = plain(text).replace("\\", " ").replace("~", " ").strip().lower()
    said_so = re.sub(f"[{NUMERALS_ZH}]+(?=[点时分刻秒])", in_digits, said_so)  # 三点一刻
    if match := _HOUR_IN_WORDS.fullmatch(said_so):  # seven o'clock, seven thirty
        minutes = {"fifteen": 15, "thirty": 30, "forty-five": 45}.get(match[2], 0)
        return Clock(3600 * (HOURS.index(match[1]) + 1) + 60 * minutes, False, minutes == 0, likely=True)
    if said_so in _TIMES:
        return Clock(_TIMES[said_so], True, True)
    match = _TIME.fullmatch(said_so)
    if match is None:
        return None
    if match["past_hour"]:
        seconds = _past(match["much"], match["side"], match["past_hour"])
        if seconds is None:
            return None
    elif match["full"]:
        seconds = int(match["full"]) * 3600 - 60 * int(match["short"] or 15)
    else:
        minutes = int(match["minute"] or match["minute_zh"] or 0) + 15 * int(match["quarters"] or 0)
        minutes += (30 if match["half"] else 0) - int(match["short2"] or 0)
        seconds = int(match["hour"]) * 3600 + 60 * minutes + int(match["second"] or match["second_zh"] or 0)
    if not 0 <= seconds <= 24 * 3600:
        return None
    meridian = (match["meridian"] or "")[:1]
    early = meridian == "a" or bool(match["early"] or match["morning"])
    late = meridian == "p" or bool(match["late"] or match["evening"])
    half_said = early or late or bool(match["noon"]) or seconds >= 13 * 3600
    if late and seconds < 12 * 3600:
        seconds += 12 * 3600
    if early and seconds >= 12 * 3600:
        seconds -= 12 * 3600
    ratio = (
        match["side"] in ("to", "before") and re.fullmatch(r"[\da-z-]+", match["much"]) and match["much"] != "quarter"
    )
    signs = (match["noon"], match["meridian"], match["sign"], match["full"], match["past_hour"] and not ratio)
    marked = early or late or any(signs)
    likely = bool(match["second"] or ratio)
    hours_alone = (match["sign"] or "").startswith("时") and not (half_said or match["half"] or match["quarters"])
    return Clock(seconds, half_said, marked, likely, hours_alone)


def _past(much: str, side: str, hour: str) -> int | None:
    """Seconds at "half past three"; None where `much` is no number of minutes."""
    much = much.removesuffix("s").removesuffix(" minute").removeprefix("a ")
    minutes = {"half": 30, "quarter": 15}.get(much)
    if minutes is None:
        said = int(much) if much.isdecimal() else number(much)
        if said is None or said != int(said) or not 0 < said < 60:
            return None
        minutes = int(said)
    full = int(hour) if hour.isdecimal() else HOURS.index(hour) + 1
    return 3600 * full + (60 if side in ("past", "after") else -60) * minutes


def date(text: str) -> tuple[int | None, int, int] | None:
    """A day of the year as (year or None, month, day)."""
    if len(text) > _LONGEST:
        return None
    match = _DATE.fullmatch(plain(text).replace("\\", " ").strip())
    if match is None:
        return None
    if match["year_iso"]:
        return int(match["year_iso"]), int(match["month_iso"]), int(match["day_iso"])
    year = match["year"] or match["year_zh"]
    if match["month_zh"]:
        return (int(year) if year else None), int(match["month_zh"]), int(match["day_zh"])
    month = _MONTHS.index((match["month"] or match["month2"]).lower()[:3]) + 1
    return (int(year) if year else None), month, int(match["day"] or match["day2"])
