"""Which choice a text ends with, where the question has choices: by its letter, or by what the choice says."""

from __future__ import annotations

import re

_LETTER = re.compile(
    r"(?<![A-Za-z])\(([A-J])\)|(?:option|choice|选项?)\s*([A-J])(?![A-Za-z])"
    r"|\b(?:is|be|so|so it's|therefore|thus|hence)[,:]?\s+\$*([A-J])\$*(?=[\s.,]*(?:$|\n))"
    r"|只有\$*(?:\\(?:text|mathrm|rm)\s*\{?\s*)?([A-J])\}?\$*(?:选?项)?(?:符合|正确|成立|满足)"
    r"|(?<![A-Za-z])\$*([A-J])\$*\s*(?:选?项)?(?:是正确|正确|\s*is (?:the )?(?:correct|right|true))",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"[\s$*{}的]|\\(?:text|mathrm|left|right|,|;|!)(?![a-zA-Z])|\\[ ,;!]")
_SENTENCES = re.compile(r"[^。！；．.\n]+")
_WORDED = re.compile(r"[\u4e00-\u9fff●○■◇□△]|[A-Za-z]{3}")
_NEAR = 400  # characters at the end of a text that are looked at


def last_letter(text: str) -> str | None:
    """The letter of the last choice that is named in `text`."""
    found = None
    for match in _LETTER.finditer(text, max(0, len(text) - _NEAR * 10)):
        letter = next(group for group in match.groups() if group)
        found = letter if letter.isupper() else found
    return found


def said_by_words(text: str, options: dict[str, str]) -> str | None:
    """The letter of the choice whose words end the last sentence that has any choice's words; None if there is none.

    A choice that is only a number or formula is looked for elsewhere, by its value.
    """
    worded = {letter: _bare(content).rstrip("．.。") for letter, content in options.items() if _WORDED.search(content)}
    if len(worded) < 2:
        return None
    for sentence in reversed(_SENTENCES.findall(text[-_NEAR:])):
        bare = _bare(sentence)
        places = {letter: bare.rfind(said) + len(said) for letter, said in worded.items() if said and said in bare}
        if not places:
            continue
        last = max(places.values())
        ending = [letter for letter, place in places.items() if place == last]
        longest = max(ending, key=lambda letter: len(worded[letter]))
        before = bare[: last - len(worded[longest])]
        return None if before.endswith(("不", "不是", "非", "not", "n't")) else longest
    return None


def _bare(text: str) -> str:
    return _MARKUP.sub("", text.replace("\\textgreater", ">").replace("\\textless", "<")).lower()
