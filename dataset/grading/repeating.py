r"""Every mark for digits that go on for ever, as one: 0.\dot{1}4285\dot{7}, 0.(3), a line or dots above the digits."""

from __future__ import annotations

import re

_DOTTED = re.compile(r"(?<=[.\d])\\dot\s*\{?\s*(\d)\s*\}?(?:(\d{0,100})\\dot\s*\{?\s*(\d)\s*\}?)?")
_IN_BRACKETS_REPEATED = re.compile(r"(-?\d{0,100}\.\d{0,100})\((\d{1,100})\)")
_LINED = re.compile("(?:\\d[\u0304\u0305])+")
_DOTS_ABOVE = re.compile("(\\d)\u0307(?:(\\d{0,100})(\\d)\u0307)?")


def overlined(text: str) -> str:
    r"""Every way to mark the digits that go on for ever as \overline."""
    if "\\dot" in text:
        text = _DOTTED.sub(lambda match: rf"\overline{{{match[1]}{match[2] or ''}{match[3] or ''}}}", text)
    if not text.isascii():
        text = _LINED.sub(lambda match: rf"\overline{{{re.sub('[^0-9]', '', match[0])}}}", text)
        text = _DOTS_ABOVE.sub(lambda match: rf"\overline{{{match[1]}{match[2] or ''}{match[3] or ''}}}", text)
    match = _IN_BRACKETS_REPEATED.fullmatch(text)
    return rf"{match[1]}\overline{{{match[2]}}}" if match else text
