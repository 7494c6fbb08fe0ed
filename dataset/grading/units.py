"""What units measure, and how many of another each is; enough for school problems in English and Chinese.

A noun that is not in the table ("bolts", 只) counts things: it has no scale and cannot contradict a number.
"""

from __future__ import annotations

import re
from fractions import Fraction

# dimension: {unit: how many of the first one it is}. Names are as `phrase` leaves them.
_TABLE: dict[str, dict[str, str]] = {
    "length": {
        "m meter metre 米 公尺": "1", "cm centimeter centimetre 厘米 公分": "1/100",
        "mm millimeter millimetre 毫米": "1/1000", "dm decimeter decimetre 分米": "1/10",
        "km kilometer kilometre 千米 公里": "1000", "in inch 英寸": "127/5000", "ft foot feet 英尺": "381/1250",
        "yd yard 码": "1143/1250", "mi mile 英里": "201168/125", "里": "500", "nm nanometer": "1/1000000000",
    },
    "area": {
        "m^2 平方米": "1", "cm^2 平方厘米": "1/10000", "mm^2 平方毫米": "1/1000000", "dm^2 平方分米": "1/100",
        "km^2 平方千米 平方公里": "1000000", "ha hectare 公顷": "10000", "亩": "2000/3",
        "in^2 平方英寸": "16129/25000000", "ft^2 平方英尺": "145161/1562500", "yd^2": "1306449/1562500",
        "mi^2": "2589988110336/1000000",
        "acre": "40468564224/10000000",
    },
    "volume": {
        "m^3 立方米": "1", "cm^3 cc 立方厘米 ml milliliter millilitre 毫升": "1/1000000",
        "mm^3 立方毫米": "1/1000000000", "dm^3 立方分米 l liter litre 升": "1/1000", "km^3": "1000000000",
        "in^3": "16387064/1000000000000", "ft^3": "28316846592/1000000000000", "yd^3": "764554857984/1000000000000",
        "gallon gal": "3785411784/1000000000000", "quart qt": "946352946/1000000000000",
        "pint": "473176473/1000000000000",
    },
    "mass": {
        "g gram gm 克": "1", "kg kilogram 千克 公斤": "1000", "mg milligram 毫克": "1/1000",
        "t ton tonne 吨": "1000000", "lb pound 磅": "45359237/100000", "oz ounce 盎司": "45359237/1600000",
        "斤": "500", "两": "50",
    },
    "time": {
        "s sec second 秒 秒钟": "1", "min minute 分钟": "60", "h hr hour 小时 时 钟头": "3600", "day 天 日": "86400",
        "week wk 周 星期": "604800",
    },
    "months": {"month 月 个月": "1", "year yr 年": "12", "decade": "120", "century": "1200"},
    "dollars": {"$ dollar usd 美元 buck": "1", "cent ¢ 美分": "1/100"},
    "yuan": {"元 yuan ¥ rmb cny 块钱 元钱": "1", "角 毛 角钱 毛钱": "1/10", "分钱": "1/100"},
    "rupees": {"₹ rs rupee inr": "1"},
    "euros": {"€ euro eur": "1"},
    "pounds sterling": {"£ gbp": "1"},
    "percent": {"% percent pct percentage": "1"},
    "angle": {"deg degree 度": "1"},
    "radians": {"rad radian 弧度": "1"},
    "energy": {"j joule 焦耳": "1", "kj kilojoule 千焦": "1000", "kcal kilocalorie 大卡 千卡": "4184"},
    "power": {"w watt 瓦 瓦特": "1", "kw kilowatt 千瓦": "1000"},
    "force": {"newton 牛顿": "1"},
    "frequency": {"hz hertz 赫兹": "1", "khz": "1000", "mhz": "1000000"},
}  # fmt: skip
UNITS: dict[str, tuple[str, Fraction]] = {
    name: (dimension, Fraction(scale))
    for dimension, group in _TABLE.items()
    for names, scale in group.items()
    for name in names.split()
}
_CANONICAL = {name: names.split()[0] for group in _TABLE.values() for names in group for name in names.split()}
# Units that mean another thing beside others, by the dimension of these.
_BESIDE = {
    ("分", "time"): Fraction(60), ("分", "yuan"): Fraction(1, 100), ("lb", "pounds sterling"): Fraction(1),
    ("分", "angle"): Fraction(1, 60), ("min", "angle"): Fraction(1, 60), ("s", "angle"): Fraction(1, 3600),
}  # fmt: skip
_PLURAL_KEPT = frozenset({"feet", "s", "ms", "gas", "bus", "class", "rs"})
POWERS = {"square": "2", "squared": "2", "sq": "2", "cubic": "3", "cubed": "3"}
MULTIPLIERS: dict[str, int] = {
    "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12,
    "百": 10**2, "千": 10**3, "万": 10**4, "百万": 10**6, "千万": 10**7, "亿": 10**8,
}  # fmt: skip


def singular(word: str) -> str:
    """`word` in lower case without a plural's ending."""
    word = word.lower()
    if word in _PLURAL_KEPT or len(word) < 3 or not word.isascii():
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def phrase(text: str) -> str:
    """A unit's or noun's words in one form: "square centimeters", "cm²" and "sq. cm" are all "cm^2"."""
    text = text.lower().replace(".", " ").replace("{", "").replace("}", "").replace("\\", " ")
    text = re.sub(r"\s*\^\s*", "^", text)
    text = {"mph": "mile/hour", "kph": "kilometer/hour"}.get(text.strip(), text)
    text = re.sub(r"\bper cent\b", "percent", text)
    text = re.sub(r"\bper\b|(?<=[^每])每(?=.)", "/", text)
    words: list[str] = []
    power = ""
    for word in re.findall(r"/|[^\s/^]+(?:\^\d+)?", text):
        if word in POWERS:
            if word.endswith("ed") and words:
                words[-1] += "^" + POWERS[word]
            else:
                power = "^" + POWERS[word]
            continue
        name, _, exponent = word.partition("^")
        name = singular(name)
        name = _CANONICAL.get(name, name)
        words.append(name + (f"^{exponent}" if exponent else power))
        power = ""
    joined = " ".join(words).replace(" / ", "/")
    return _CANONICAL.get(joined, joined)


def scale(unit: str) -> tuple[str, Fraction] | None:
    """The dimension of a unit as `phrase` writes it, and how many base units it is; None for a counted noun."""
    if unit in UNITS or "/" not in unit:
        return UNITS.get(unit)
    over, _, under = unit.partition("/")
    name, _, power = under.partition("^")
    above, below = UNITS.get(over), UNITS.get("min" if name == "分" else name)
    if above is None or below is None or power not in ("", "2", "3"):
        return None
    return f"{above[0]} per {below[0]}{power}", above[1] / below[1] ** int(power or 1)


def scale_beside(unit: str, dimension: str | None) -> tuple[str, Fraction] | None:
    """As `scale`, for a unit that has to do with a value of that dimension: 分 is a minute beside hours."""
    if dimension is not None and (unit, dimension) in _BESIDE:
        return dimension, _BESIDE[unit, dimension]
    return scale(unit)
