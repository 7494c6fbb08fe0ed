"""One notation for many: full-width and unicode characters, LaTeX's spacing and sizing, thousands separators.

It changes how an answer is written and never what it says. It refuses to drop words, units or anything with a value.
"""

from __future__ import annotations

import re

from dataset.grading import repair, repeating

MAX_CHARACTERS = 2_000  # the longest benchmark answer has 130; longer ones are compared as text or as digits only

ROW_BREAK = "\x01"  # stands for LaTeX's double backslash, so that no rule for a single one can bite into it

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_GREEK = dict(zip("αβγδεζηθικλμνξρστυφχψω", str.split(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi "
    "chi psi omega"
), strict=True))  # fmt: skip
_SIGNS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "﹣": "-",
    "×": r"\times ", "✕": r"\times ", "⋅": r"\cdot ", "·": r"\cdot ", "∙": r"\cdot ", "÷": r"\div ", "∕": "/", "⁄": "/",
    "√": r"\surd ", "∛": r"\sqrt[3]", "π": r"\pi ", "∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ",
    "≤": r"\le ", "⩽": r"\le ", "≦": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≧": r"\ge ", "≠": r"\ne ",
    "±": r"\pm ",
    "≈": r"\approx ", "≒": r"\approx ",
    "°": r"^\circ ", "º": r"^\circ ", "℃": r"^\circ ", "∅": r"\emptyset ",
    "ℝ": r"\mathbb{R}", "∠": r"\angle ", "△": r"\triangle ", "′": "'", "″": "''", "’": "'", "‘": "'",
    "“": '"', "”": '"',
    "㎡": "平方米", "㎥": "立方米", "㎝": "cm", "㎜": "mm", "㎞": "km", "㎏": "kg", "㎎": "mg", "∶": ":",
    "、": ",", "。": ".", "【": "[", "】": "]", "〔": "(", "〕": ")", "《": "", "》": "", "￥": "¥", "…": r"\ldots ",
    "½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}",
    "⅕": r"\frac{1}{5}", "⅛": r"\frac{1}{8}", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ",
    "\u3000": " ", "\u00a0": " ", "\u2009": r"\,", "\u202f": r"\,", "\u2002": " ", "\u2003": " ", "\u200a": r"\,",
    "\u200e": "", "\u200f": "", "\u202a": "", "\u202b": "", "\u202c": "", "\u202d": "", "\u202e": "", "\u00ad": "",
    "\u2066": "", "\u2067": "", "\u2068": "", "\u2069": "",
    "\u200b": "", "\u200c": "", "\u200d": "", "\ufeff": "", "\u2060": "", "\u2061": "", "\u2062": "",
    **{letter: f"\\{name} " for letter, name in _GREEK.items()}, "Δ": r"\Delta ", "Ω": r"\Omega ", "ϕ": r"\phi ",
}  # fmt: skip
_TABLE = str.maketrans({**{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}, **_SIGNS})
_SUPER = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n")
_SUB = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SUPER_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ]+")
_SUB_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")

# Macros that change how a thing looks, never what it is.
_LOOKS = re.compile(
    r"\\(?:left|right|bigg?[lrm]?|Bigg?[lrm]?|displaystyle|textstyle|scriptstyle|limits|nolimits|boldsymbol|bf|rm|it|"
    r"normalsize|large|Large|small|centering|hfill|noindent|strut|null)(?![a-zA-Z])\.?"
)
_PAINT = re.compile(
    r"\\(?:text|math[a-z]{2})\s*\{\s*\}|\\(?:color\s*\{[^{}]*\}|textcolor\s*\{[^{}]*\}|[hv]space\*?\s*\{[^{}]*\}|h?phantom\s*\{[^{}]*\})"
)
_EMPTY_POWER = re.compile(r"(?:\{\s*\}\s*)?\^\s*\{\s*\}\s*(?=\\circ)")  # 75{}^{}\circ
_ONE_LETTER = re.compile(r"\\(text|mathrm|textbf|mathbf)\s+([A-Za-z])(?![A-Za-z])")  # \text E
_CHOICE_ZH = re.compile(r"^\s*([A-J])、\s*(?![A-J]\s*(?:[、，,]|$))")  # B、15
_TIME = re.compile(r"datetime\.time\((\d{1,2}), (\d{1,2})(?:, (\d{1,2}))?\)")
_PARTS = re.compile(r"\(([1-9])\)\s*[.:]?\s*")
_SECOND_PART = re.compile(r"(?<![-+*/=^({\s])(?<!\\times)(?<!\\cdot)\s*\(2\)")  # not (1)x + (2)y, which is a sum
_SPACING = re.compile(r"\\(?:quad|qquad|enspace|thinspace|medspace|thickspace|[,;:> ])(?![a-zA-Z])|\\(?=\s)|~|\\[,;:>]")
_SEPARATOR = re.compile(r"\s?\{\s?\\?,\s?\}|,?\s*\\!\s*(?:\\,)?|\\[,;: ]|[~'_ ]")
_SEPARATED = re.compile(rf"(?<![\d.])\d{{1,3}}(?:(?:{_SEPARATOR.pattern})\d{{3}})+(?![\d])")
_OPEN_ENDS = re.compile(r"([\[\]])\s*([^\[\]()]{1,60}[,;][^\[\]()]{1,60})([\[\]])")  # ]0, 1[
_INCHES = re.compile(r"(?<=\d)\s*in(?:\.|(?=\s*\^|\s*$))")
_X_TEN = re.compile(r"(?<=\d)\s*[xX]\s*(?=10\s*(?:\^|\*\*))")
_SECONDS = re.compile(r"(?<=\d)\s*secs?\.?$")  # no secant, which would be of something
_POWER_OF_UNIT = re.compile(r"(?<=\d)\s*((?:cm|mm|km|dm|ft|yd)|(?<=\s)m)\s?([23])$")
_HOURS_MINUTES = re.compile(r"(\d{1,6})\s*h(?:rs?)?\s*(\d{1,4})\s*m(?:ins?)?")  # 2h15m
_PER_HUNDRED = re.compile(r"百分之\s*(\d+(?:\.\d+)?)")
# m and s alone are variables, m/s after a number is not.
_SPEED = re.compile(r"(?<=\d)\s*(km|m|cm)\s*/\s*(s|h|hr|min)(\^\{?2\}?)?(?![A-Za-z^])")
_MINUS = re.compile(r"^(?:minus|negative)\s+(?=[\d.])", re.IGNORECASE)
_MINUS_ZH = re.compile(r"(?<!\w)负(?=[\d.])")
_NAMED_SIGNS = {"greater": ">", "less": "<", "asciitilde": " ", "bar": "|", "backslash": "\\", "degree": r"^\circ "}
_NAMED_SIGN = re.compile(r"\\text(greater|less|asciitilde|bar|backslash|degree)(?![a-z])(?:\{\})?")
_UNIT_IN_BRACKETS = re.compile(  # 56(\text{cm}), 4.5\left( \rm h \right)
    r"(?<=[\d}])\s*(?:\\left)?\(\s*\\(?:text|rm|mathrm)\s*\{?\s*([A-Za-z/]+)\s*\}?\s*(?:\\right)?\)(?=\s*\$*\.?$)"
)
_BARE_UNIT_IN_BRACKETS = re.compile(  # 5 (cm)
    r"(?<=\d)\s*\(\s*((?:[cdkm]m|[km]g|m[lL]|min|hours?|minutes?|seconds?|days?|dollars?|degrees?|km/h|m/s)(?:\^?\{?[23]\}?)?)\s*\)$"
)
# f^{-1}(x) = , dy/dx = , A \cap B = : names that the parser would take for values.
_LABELLED = re.compile(
    r"^[\s$]*(?:[fgh]\^\{?-1\}?\s*\([a-z]\)|\\frac\{d[a-z]\}\{d[a-z]\}|[A-Z]\s*\\(?:cap|cup)\s*[A-Z])\s*=\s*"
)
_PARTED_POINT = re.compile(r"(\d+\.) (\d+)\.?\s*")
_NOUN_IN_BRACKETS = re.compile(r"(?<=\d)\s*\(([\u4e00-\u9fff]{1,4})\)")  # 8(个)
# 鸡23只, 兔有12只: what is counted stands before the numbers.
_COUNT = r"\s*([\u4e00-\u9fff]{1,3}?)(?:有|是|:)?\s*(\d+(?:\.\d+)?)\s*([\u4e00-\u9fff]{0,2})\s*"
_COUNTS = re.compile(rf"{_COUNT}(?:[,;]{_COUNT})+")
_RATE = re.compile(r"每([^\d\s]{1,3}?)\s*(\d.*)")
_PREFIX = re.compile(r"(?<![\w.])(?:np|numpy|sp|sympy|math)\.(?=[A-Za-z])|(?<=Decimal\()['\"]|(?<=\d)['\"](?=\))")
_SCALAR = re.compile(r"(?:float|int)(?:16|32|64)\(([-+\d.e]+)\)")
_BUILDER = re.compile(
    r"\\?\{\s*([a-z])\s*(?:\\in\s*(?:\\mathbb\{R\}|R)\s*)?(?:\||\\mid\b|\\vert\b|:)\s*(\1?.*[<>=\\].*?)\s*\\?\}"
)
_FAMILY = re.compile(r"\\?\{\s*([^|:]{1,80}?)\s*(?:\||\\mid\b|:)\s*([a-z]\s*\\in(?![a-z]).*?)\s*\\?\}")  # {2k | k ∈ Z}
_SYSTEM = re.compile(r"\\\{\s*\\begin\{(array|aligned)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}", re.DOTALL)
_IN_BRACKETS = re.compile(r"\((\d[\dA-Z]*)\)(?=_)")
_BOX = re.compile(r"\\f?boxed\s*(?=\{)")
# 三块五, 3元5角8分钱整
_COUNTED = "[\\d零一二三四五六七八九十百千万两]"
_ELLIPSIS = re.compile(r"(?<=\d)\.{3,}\s*\$*$")
_WHEN_ZH = re.compile(r"(?<=[\d})])\s*时\s*,?\s*(?=[A-Za-z]\s*=)")  # x=1时y=2
_YUAN = re.compile(rf"({_COUNTED}{{1,12}})[块元]({_COUNTED})(?:[角毛]钱?)?(?:({_COUNTED}{{1,2}})分)?钱?整?")
_BOTH, _EITHER = re.compile(r"(?<=\))\s*&\s*(?=\()"), re.compile(r"(?<=\))\s*\|\s*(?=\([^|]*[<>])")
_NEARLY_WORDS = r"(?:(?:or |which is )?(?:approximately|about|roughly)\b|约等于|约为|大约是?|约)"
_NEARLY_IN_BRACKETS = re.compile(
    rf"\s*(?:\\text\s*\{{\s*)?\(\s*(?:\\approx|{_NEARLY_WORDS})\s*\}}?\s*([^()]{{1,40}})\)\s*\}}?$"
)
_NEARLY = re.compile(rf"(?<=[\w}})])\s*,?\s*(?:\\text\s*\{{\s*)?{_NEARLY_WORDS}\s*\}}?\s*(?=[-\d\\$])")
_GOES_ON = re.compile(r"(?<![\d.])(\d{1,9}\.)(\d{1,60})\s*(?:\\[lc]?dots|\.{3})\s*$")  # 0.333...
_BY_SEMICOLON = re.compile(r"\[[^\[\]();]*(?:;[^\[\]();]*)+\]|^\([^\[\](),;]*(?:;[^\[\](),;]*)+\)$")
_ENTRY = r"[-+]?\d[\d.]*(?:e[-+]?\d+)?(?:/\d+)?"
_BY_BLANKS = re.compile(rf"(?<=\[)\s*{_ENTRY}(?:\s+{_ENTRY})+\s*(?=\])")
_TRAIL = ' \t\r\n.,;:*`"_'


def fold(text: str) -> str:
    """`text` with unicode forms of digits, letters, operators and spaces as ASCII or LaTeX."""
    if text.isascii():
        return text
    text = _SUPER_RUN.sub(lambda match: "^{" + match[0].translate(_SUPER) + "}", text)
    text = _SUB_RUN.sub(lambda match: "_{" + match[0].translate(_SUB) + "}", text)
    return text.translate(_TABLE)


def clean(text: str) -> str:
    """`text` folded, its dollar signs, spacing, sizing and closing punctuation taken off.

    A dollar sign that is money stays, as `\\$`. Groups of three digits are joined where what stands between them can
    only be a separator; a bare comma is left to the parser, which knows where a list may stand.
    """
    text = _CHOICE_ZH.sub(r"\1. ", text) if "、" in text else text
    text = _CONTROL.sub(" ", repair.escapes(fold(repair.entities(text)))).strip()
    if "..." in text:
        text = _ELLIPSIS.sub(r"\\ldots ", text)  # before its dots are taken for closing ones
    if r"\\" in text:
        if r"\begin" not in text:
            # "\\frac" is "\frac" that was escaped twice on its way; outside a matrix there are no rows to part.
            text = re.sub(r"\\\\(?=[a-zA-Z({\[!,;])", r"\\", text)
        text = text.replace(r"\\", ROW_BREAK)
    if "=" in text:
        text = _LABELLED.sub("", text.replace("m\\angle", "\\angle"))
    if "\\text" in text or "\\rm" in text:
        text = _UNIT_IN_BRACKETS.sub(r" \\text{\1}", _NAMED_SIGN.sub(lambda match: _NAMED_SIGNS[match[1]], text))
    if text.endswith(")"):
        text = _BARE_UNIT_IN_BRACKETS.sub(r" \1", text)
    if match := _PARTED_POINT.fullmatch(text):
        text = match[1] + match[2]
    text = _dollars(_off(text))
    text = _SEPARATED.sub(lambda match: _SEPARATOR.sub("", match[0]), text)
    text = text.replace(r"\!", "")
    text = repeating.overlined(text)
    if "in" in text or "10" in text:
        text = _X_TEN.sub(r" \\times ", _INCHES.sub(r" \\text{inch}", text))
    if "h" in text and (match := _HOURS_MINUTES.fullmatch(text)):
        return f"{match[1]} hours {match[2]} minutes"
    text = _POWER_OF_UNIT.sub(r" \1^\2", _SECONDS.sub(" seconds", text))
    text = _MINUS.sub("-", text.replace("sq. ", "sq "))
    if not text.isascii():
        text = _NOUN_IN_BRACKETS.sub(r"\1", _MINUS_ZH.sub("-", text))
        text = _PER_HUNDRED.sub(r"\1%", text)
    if "_" in text or "/" in text:
        text = _SPEED.sub(r" \\text{\1/\2}\3", _IN_BRACKETS.sub(r"\1", text))
    if "time" in text and (match := _TIME.fullmatch(text)):
        return ":".join(f"{int(part):02}" for part in match.groups() if part)
    if text.startswith("(1)") and _SECOND_PART.search(text):
        text = _in_parts(text)
    if "." in text or "Decimal" in text:
        text = _SCALAR.sub(r"\1", _PREFIX.sub("", text))
    if "\\" in text:
        text = _ONE_LETTER.sub(r"\\\1{\2}", _EMPTY_POWER.sub("^", text))
        text = _SPACING.sub(" ", _PAINT.sub(" ", _LOOKS.sub(" ", text)))
    text = _off(text.replace("~", " "))
    if ("]" in text or "[" in text) and (match := _OPEN_ENDS.fullmatch(text)) and (match[1], match[3]) != ("[", "]"):
        return f"{'(' if match[1] == ']' else '['}{match[2]}{')' if match[3] == '[' else ']'}"
    if "{" in text and (match := _BUILDER.fullmatch(text)):  # {x | x > 2}
        return match[2]
    if "\\in" in text and (match := _FAMILY.fullmatch(text)):
        return f"{match[1]}, {match[2]}"
    if "\\begin" in text and (match := _SYSTEM.fullmatch(text)):
        return rf"\begin{{cases}}{match[2]}\end{{cases}}"
    text = _rounded_forms(text)
    if "[" in text or (";" in text and text.startswith("(")):
        text = _rows(text)
    if ")" in text and ("&" in text or "|" in text):  # sympy's
        text = _BOTH.sub(" and ", _EITHER.sub(" or ", text))
    if text.isascii():
        return text
    text = _WHEN_ZH.sub(",", text)
    if yuan := _YUAN.fullmatch(text):
        return f"{yuan[1]}元{yuan[2]}角" + (f"{yuan[3]}分" if yuan[3] else "")
    if "余" not in text and _COUNTS.fullmatch(text):
        return re.sub(_COUNT, r"\2\3\1", text)
    match = _RATE.fullmatch(text)  # 每小时80千米
    return f"{match[2]}/{match[1]}" if match else text


def _in_parts(text: str) -> str:
    """The answers of "(1) 3; (2) 4" as a list."""
    pieces = _PARTS.split(text)[1:]
    numbers, answers = pieces[::2], [piece.strip(" ,;.$") for piece in pieces[1::2]]
    in_order = numbers == [str(number) for number in range(1, len(numbers) + 1)]
    return ", ".join(answers) if in_order and all(answers) else text


def _rounded_forms(text: str) -> str:
    r"""Words for "≈" as \approx, and 0.333… as a repeating decimal where its end repeats."""
    text = _NEARLY_IN_BRACKETS.sub(r" \\approx \1", text)
    text = _NEARLY.sub(r" \\approx ", text)
    match = _GOES_ON.search(text)
    if match is None:
        return text
    whole, digits = match[1], match[2]
    for length in range(1, len(digits) // 2 + 1):
        times = 3 if length == 1 else 2
        period = digits[-length:]
        if length * times <= len(digits) and digits.endswith(period * times):
            kept = digits[: len(digits) - length]
            while kept.endswith(period):
                kept = kept[:-length]
            return text[: match.start()] + whole + kept + rf"\overline{{{period}}}"
    before = text[: match.start()].rstrip()
    return before.removesuffix("=") + rf" \approx {whole}{digits}" if before.endswith("=") else text


def _rows(text: str) -> str:
    """[1 2; 3 4] as a matrix in LaTeX, and numpy's [[1 2] [3 4]] with commas."""
    text = _BY_SEMICOLON.sub(_matrix, text)
    if "[" not in text or r"\begin" in text:
        return text
    return re.sub(r"\](,?)\s*\[", "], [", _BY_BLANKS.sub(lambda match: re.sub(r"\s+", ", ", match[0].strip()), text))


def _matrix(match: re.Match[str]) -> str:
    rows = [row.split(",") if "," in row else row.split() for row in match[0][1:-1].strip("; ").split(";")]
    if len(rows) < 2 or len(rows[0]) < 2 or len({len(row) for row in rows}) > 1:
        return match[0]
    return r"\begin{bmatrix}" + ROW_BREAK.join("&".join(row) for row in rows) + r"\end{bmatrix}"


def _off(text: str) -> str:
    """Closing punctuation, markdown stars and line breaks taken off both ends."""
    before = None
    while text != before:
        before = text
        text = text.strip(_TRAIL.replace(".", "")).rstrip(_TRAIL)
        text = text.removesuffix("\\").removesuffix(ROW_BREAK)
        for first, last in ((r"\(", r"\)"), (r"\[", r"\]"), ("$$", "$$"), ("$", "$"), ("**", "**")):
            if text.startswith(first) and text.endswith(last) and len(text) > len(first + last):
                inner = text[len(first) : -len(last)]
                if first not in inner.replace(r"\$", "") and not inner.endswith("\\"):
                    text = inner
            elif first[0] == "\\" and text.startswith(first) and last not in text:  # cut off behind it
                text = text[len(first) :]
        if (box := _BOX.match(text)) is not None and braced(text, box.end())[1] == len(text):
            text = braced(text, box.end())[0]
    return text


def _dollars(text: str) -> str:
    """Dollar signs that only switch LaTeX's mode taken out; those before a number as `\\$`."""
    if "$" not in text:
        return text
    bare = re.sub(r"(?:US|AU|CA|HK|NT|S)?\s*\\\$", "\0", text)
    if bare.count("$") % 2 == 0:
        bare = bare.replace("$", "")
    bare = re.sub(r"(?:US|AU|CA|HK|NT|S)?\$(?=\s*-?[\d.])", "\0", bare).replace("$", "")
    return bare.replace("\0", r"\$")


def braced(text: str, position: int) -> tuple[str, int]:
    """What stands in the braces that open at `position`, and where they end; else the one character there."""
    if position >= len(text) or text[position] != "{":
        return text[position : position + 1], min(position + 1, len(text))
    depth, end = 0, position
    while end < len(text):
        if text[end] == "\\":
            end += 2
            continue
        depth += (text[end] == "{") - (text[end] == "}")
        end += 1
        if depth == 0:
            return text[position + 1 : end - 1], end
    return text[position + 1 :], len(text)
