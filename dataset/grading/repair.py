r"""Damage that texts take on their way: escapes read as control characters, lost backslashes, braces cut off.

"\frac" becomes a form feed and "rac" where somebody unescapes twice, "frac{1}{2}" where a backslash is lost, "\cotx"
where a blank is. What is repaired here is then read as if it had been whole; what cannot be read even so is compared as
text (`squeezed`).
"""

from __future__ import annotations

import html
import re

from dataset.grading.names import FRACTIONS, FUNCTIONS, GREEK

_ESCAPES = {"\x0c": "f", "\t": "t", "\x08": "b", "\x07": "a", "\x0b": "v", "\r": "r", "\n": "n"}
_ESCAPE = re.compile(
    "\x0c(?=rac|lo{2}r)|\t(?=imes|ext|heta|an\\b|au\\b|frac|binom|riangle)|\x08(?=inom|egin|oxed|eta|ar\\{)"
    "|\x07(?=lpha|ngle|pprox|rc)|\x0b(?=ec|ert)|\r(?=ight|angle|floor|m\\b|ho(?![a-z]))|\n(?=eq(?![a-z])|abla(?![a-z]))"
)
# As web pages write signs; with its semicolon, so that LaTeX's "&" before a letter is none.
_ENTITY = re.compile(
    r"&(?:lt|gt|le|ge|ne|nbsp|amp|times|divide|minus|plusmn|deg|pi|radic|infin|sup[123]|frac1[24]|frac34|middot|quot|apos"
    r"|#39|yen|euro|pound|cent|empty|isin|cup|cap);"
)
_OVER = re.compile(r"\{([^{}]*?)\\over(?![a-z])([^{}]*)\}|^([^{}]*?)\\over(?![a-z])([^{}]*)$")
_LOST = re.compile(r"(?<![\\a-zA-Z])(?=(?:[dt]?frac|binom|text|mathrm|mathbf|begin|end|overline|boxed)\{)")
_LOST_ROW = re.compile(r"(?<!\\)\\(?=[-\d])")  # in a matrix; it is no command
# Commands to which a letter may be glued: \cotx, \pir^2.
_GLUING = sorted(FUNCTIONS | GREEK | {"pi", "infty"}, key=len, reverse=True)
_COMMAND = re.compile(r"\\+([a-zA-Z]*)")
_NAMES = sorted(FUNCTIONS | GREEK | FRACTIONS | {"pi", "text", "left", "right", "begin", "end"}, key=len, reverse=True)
_OPENING = {"(": ")", "[": "]", "{": "}"}
MAX_MISSING = 3  # brackets that are put at an end or taken off it


def entities(text: str) -> str:
    """`text` with the signs of web pages, "&lt;" and "&times;", as they are shown."""
    return _ENTITY.sub(lambda match: html.unescape(match[0]), text) if "&" in text and ";" in text else text


def escapes(text: str) -> str:
    r"""`text` with control characters that were "\f", "\t", "\b" … of LaTeX's commands as these."""
    text = _ESCAPE.sub(lambda match: "\\" + _ESCAPES[match[0]], text)
    if "\\over" in text:  # {1 \over 2}
        text = _OVER.sub(lambda match: rf"\frac{{{match[1] or match[3] or ''}}}{{{match[2] or match[4] or ''}}}", text)
    text = _LOST.sub(r"\\", text) if "{" in text else text
    return _LOST_ROW.sub(r"\\\\", text) if r"\begin" in text else text


def glued(command: str) -> str | None:
    r"""The command that "\cotx" begins with, "cot"; None where at most two letters more do not make it one."""
    return next((name for name in _GLUING if command.startswith(name) and len(command) <= len(name) + 2), None)


def balanced(text: str) -> str:
    """`text` with up to three brackets put to its end, or taken off it, so that all are closed; else `text` itself."""
    open_brackets: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 2
            continue
        if character in _OPENING:
            open_brackets.append(_OPENING[character])
        elif character in ")]}":
            if not open_brackets:
                rest = text[position:].strip()
                return text[:position] if len(rest) <= MAX_MISSING and set(rest) <= set(")]}") else text
            if open_brackets.pop() != character:
                return text
        position += 1
    return text + "".join(reversed(open_brackets)) if 0 < len(open_brackets) <= MAX_MISSING else text


def squeezed(text: str) -> str:
    """`text` for a comparison letter by letter: no white space but between digits, no backslash before a known name."""
    text = _COMMAND.sub(_without_backslash, text)
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)


def _without_backslash(match: re.Match[str]) -> str:
    name = match[1]
    return name if any(name.startswith(known) for known in _NAMES) else "\\" + name
