r"""What a value looks like outside of formulas: numbers with their parts, times, dates, quantities of two units, lists.

`VALUE` finds one. Its alternatives stand in the order in which they are tried: a clock time before the ratio that it
would also be, a quotient with remainder before its two numbers.
"""

from __future__ import annotations

import re

from dataset.grading import times

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|June?|July?|Aug|Sept?|Oct|Nov|Dec)[a-z]*\.?"
_HALF_DAY = rf"(?:{'|'.join(times.HALF_DAY_ZH.values())})"
_WEEKDAY = r"(?:星期|周|礼拜)[一二三四五六日天]|\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b"
_DIGITS = r"(?:\d{1,3}(?:[ ,'’]\d{3})+(?!\d)|\d[\d,]{0,400}\d|\d)(?:\.\d+)?|\.\d+"
_NUMBER = rf"(?<![A-Za-z0-9_.^])[-−]?(?:{_DIGITS})"
_SIMPLE = r"\d{1,9}(?:\.\d{1,9})?"
_HAN = "零〇一二三四五六七八九十百千万亿两"
_CLOCK = (
    rf"(?:{_HALF_DAY}\s*)?(?<![\d.:])\d{{1,2}}(?::\d{{2}}(?::\d{{2}})?(?:\s*[ap]\s?\.?\s?m\b)?|\s*[ap]\s?\.?\s?m\b"
    r"|\s*o'?\s?clock)(?:\s+in the (?:morning|afternoon|evening)|\s+at night)?"
    rf"|{_HALF_DAY}\s*\d{{1,2}}\s*[时点](?:\s*\d{{1,2}}\s*分?|半|整)?"
    rf"|(?<!\d)\d{{1,2}}\s*[时点](?:\s*\d{{1,2}}\s*分(?!之)|半|整|[一三]刻)|{_HALF_DAY}?[一二三四五六七八九十]{{1,3}}点(?:半|[一三]刻|整)"
    rf"|\b(?:half past|(?:a )?quarter (?:past|to)|\d{{1,2}} minutes (?:past|to)|(?:five|ten|twenty|twenty-five) past)"
    rf"\s+(?:\d{{1,2}}|{'|'.join(times.HOURS)})\b"
)
_DATE = rf"\b{_MONTH}\s+\d{{1,2}}(?:st|nd|rd|th)?(?:,?\s+\d{{4}})?\b|(?:\d{{4}}年)?\d{{1,2}}月\d{{1,2}}[日号]"
_REMAINDER = (
    r"商\s*[是为:：]?\s*\d+\s*[,，]?\s*余数?\s*[是为:：]?\s*\d+"
    r"|\bquotient\s*(?:is|of|:)?\s*\d+\s*,?\s*(?:and|with)?\s*(?:an?|the)?\s*remainder\s*(?:is|of|:)?\s*\d+"
    r"|(?<![A-Za-z0-9.])\d+\s*[(（][\u4e00-\u9fff]{1,2}[)）]\s*(?:\.{3,6}|…+)\s*\d+"
    r"|(?<![A-Za-z0-9.])\d+\s*(?:余数?[是为]?|\.{3,6}|…+|,?\s*(?:with\s+|and\s+)?(?:an?\s+|the\s+)?remainder(?:\s+of|\s+is)?"
    r"|rem\.?|R)\s*\d+(?![\d.])"
)
_LARGER_ZH = r"元|块|小时|时|分钟|分|度|千米|公里|米|分米|厘米|千克|公斤|斤|吨|天|年|个月|周"
_SMALLER_ZH = r"角|毛|分钟|分|秒钟|秒|厘米|分米|米|毫米|克|两|千克|小时|天|个月"
_LARGER = r"hours?|hrs?|minutes?|mins?|dollars?|feet|foot|ft|pounds?|lbs?|yards?|years?|weeks?|days?|degrees?|km|kg|m"
_SMALLER = r"minutes?|mins?|seconds?|secs?|cents?|inches|inch|ounces?|oz|feet|months?|weeks?|days?|hours?|cm|g|m"
_COMPOUND = (
    rf"(?<![\d.]){_SIMPLE}\s*(?P<larger_zh>{_LARGER_ZH})\s*{_SIMPLE}\s*(?!(?P=larger_zh))(?:{_SMALLER_ZH})钱?(?:\s*{_SIMPLE}\s*[分秒])?钱?"
    rf"|(?<![\d.]){_SIMPLE}\s*°\s*{_SIMPLE}\s*['′](?:\s*{_SIMPLE}\s*(?:''|″|\"))?"
    rf"|(?<![\d.]){_SIMPLE}\s+(?P<larger>{_LARGER})(?:,? and |,? ){_SIMPLE}\s+(?!(?P=larger))(?:{_SMALLER})\b"
    rf"(?:(?:,? and |,? ){_SIMPLE}\s+seconds?\b)?"
    rf"|[{_HAN}]{{1,9}}[元块](?:[{_HAN}]{{1,3}}[角毛分]){{0,2}}[{_HAN}]?钱?"
)
_RATIO = r"(?<![A-Za-z0-9.:])\d+(?:\.\d+)?(?:\s*[:：∶]\s*\d+(?:\.\d+)?)+(?![A-Za-z0-9:])"
_END = r"[-−+]?(?:\d[\d./]*|√\d+|oo|inf|∞)"
_BRACKETED = (
    rf"\[\s*(?:\[[^\[\]\n]{{1,200}}\]\s*,?\s*){{1,20}}\]|\[[^\[\];\n]{{1,100}};[^\[\]\n]{{1,200}}\]"
    rf"|[(\[（]\s*{_END}\s*(?:[,，]\s*{_END}\s*){{1,20}}[)\]）]"
)
_SIGN = r"(?:<=|>=|!=|[<>≤≥≠⩽⩾])"
_INEQUALITY = (
    rf"(?<![A-Za-z])(?:[-−]?{_SIMPLE}\s*(?:<=|[<≤⩽])\s*)?[a-z]\s*{_SIGN}\s*[-−]?{_SIMPLE}(?:/\d+)?(?![\d.]*[A-Za-z])"
)
_SPELLED = (
    r"(?<=\bis )\d{1,4} in \d{1,6}(?=[.\s]*(?:$|\n))"
    rf"|(?<=[共有为是])[{_HAN}]{{1,4}}(?=[种个组条对次](?:解|实?根)?[。．.]?\s*(?:$|\n))"  # 共七种。
    rf"|百分之[{_HAN}]{{1,9}}(?:点[{_HAN}]{{1,5}})?|(?:[{_HAN}]{{1,9}}又)?[{_HAN}]{{1,9}}分之[{_HAN}]{{1,9}}"
    r"|[一二三四五六七八九]{1,2}折|\d(?:\.\d)?折|\d\d折|[一二三四五六七八九]成(?:[一二三四五六七八九])?(?![^\W\d])"
    r"|\b(?:one|two|three|four|five|six|seven|eight|nine)[ -]"
    r"(?:half|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|quarter)s?\b"
)
_WORDS = (
    r"\bno (?:real |integer )?solutions?\b|\b(?:does|do) not exist\b|\bundefined\b|\binfinitely many\b|\bempty set\b"
    r"|无解|不存在|无穷多|无数个|空集"
)
_PARTS = (
    r"(?:e[-+]?\d+(?!\w)|\s*[×✕]\s*10(?:\^\{?[-+]?\d{1,3}\}?|[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+))?(?:又\s*\d+/\d+|又\d+分之\d+|分之\d+|\s+\d+/\d+(?![\d/])|\s*/\s*\d+(?![\d/]))?"
    r"(?:\s*\\?[%％]|\s*(?:hundred|thousand|million|billion|trillion|dozen)\b|\s*[百千]?[万亿](?:\d{1,4}[百千万]?)?|\s?π(?:/\d{1,4})?)?"
)
VALUE = re.compile(
    rf"(?P<clock>{_CLOCK})|(?P<date>{_DATE})|(?P<weekday>{_WEEKDAY})|(?P<remainder>{_REMAINDER})|(?P<compound>{_COMPOUND})"
    rf"|(?P<ratio>{_RATIO})|(?P<bracketed>{_BRACKETED})|(?P<inequality>{_INEQUALITY})|(?P<spelled>{_SPELLED})"
    rf"|(?P<words>{_WORDS})|(?P<number>{_NUMBER}{_PARTS})",
    re.IGNORECASE,
)
