r"""A notebook cell's text as Python: `to_python`. For cells that Python does not take as they are.

After IPython.core.inputtransformer2, which Jupyter reads cells with: an indented cell is moved to the left, pasted
prompts go, and each line that begins with `%`, `!` or `?`, or ends with `?`, becomes a call of the shell:

    %time f(x)             get_ipython().run_line_magic('time', 'f(x)')
    files = !ls            files = get_ipython().getoutput('ls')
    len?                   get_ipython().run_line_magic('pinfo', 'len')
    %%time … to the end    get_ipython().run_cell_magic('time', '', '…')

Every line keeps its number, so that tracebacks point to it. Inside of strings and brackets nothing is changed. Not read
are IPython's `/f x`, `,f x` and `;f x`, and commands without their `%`, except where they are a whole cell of one line.
"""

from __future__ import annotations

import re

_CLASSIC, _CLASSIC_FIRST = re.compile(r"(>>>|\.\.\.)( |$)"), re.compile(r">>>( |$)")
_NUMBERED = re.compile(r"(In \[\d+\]: |\s*\.{3,}: ?)")
_NUMBERED_FIRST = re.compile(r"In \[\d+\]: ")

_ASSIGNED = re.compile(r"(\s*[A-Za-z_][\w.,\[\]'\" \t]*?\s*=\s*)([%!])(?=[\w!./~])(.*)$", re.DOTALL)
_ASKED = re.compile(r"(%{0,2}[^\W\d][\w.*\[\]]*)(\?\??)\s*;?\s*$")
_ASKED_BEFORE = re.compile(r"(\?\??)\s*(\S*)")
_MAGIC = re.compile(r"(\S*)\s*(.*)$", re.DOTALL)
_PLAIN_MAGIC = re.compile(
    r"(pip|conda|cd|ls|pwd|time|timeit|who|whos|run|env|matplotlib|load_ext|reset)(\s+[^=\s].*)?$"
)

_TOKEN = re.compile(r"\"\"\"|'''|[\"'#()\[\]{}]|\\\n")
_END_OF_STRING = {sign: re.compile(rf"(?:[^\\]|\\.)*?{sign}", re.DOTALL) for sign in ('"""', "'''")} | {
    sign: re.compile(rf"(?:[^\\\n{sign}]|\\.)*{sign}", re.DOTALL) for sign in ('"', "'")
}


def to_python(code: str) -> str:
    """`code` with all that is a notebook's own turned into Python; the same text where nothing is."""
    lines = [line + "\n" for line in code.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")]
    lines = _without_prompts(_moved_to_the_left(lines))
    text = _cell_magic(lines) or _one_line_magic(lines) or _statements(lines)
    return text.removesuffix("\n")


def _moved_to_the_left(lines: list[str]) -> list[str]:
    first = next((line for line in lines if line.strip()), "")
    indent = first[: len(first) - len(first.lstrip())]
    return [line.removeprefix(indent) for line in lines]


def _without_prompts(lines: list[str]) -> list[str]:
    written = [line for line in lines if line.strip()]
    for prompt, first in ((_CLASSIC, _CLASSIC_FIRST), (_NUMBERED, _NUMBERED_FIRST)):
        if written and first.match(written[0].rstrip("\n")):
            return [prompt.sub("", line.rstrip("\n"), count=1) + "\n" if prompt.match(line) else line for line in lines]
    return lines


def _cell_magic(lines: list[str]) -> str | None:
    """The call that a cell is whose first line, but for comments, begins with `%%`."""
    at = next((at for at, line in enumerate(lines) if line.strip() and not line.startswith("#")), None)
    if at is None or not re.match(r"%%[A-Za-z_!]", lines[at]) or "?" in lines[at].split(" ")[0]:
        return None
    name, line = _parted(lines[at][2:])
    # Where the call stands is where the body begins: magics look for it there.
    return "\n" * at + f"get_ipython().run_cell_magic({name!r}, {line!r}, {''.join(lines[at + 1 :])!r})\n"


def _one_line_magic(lines: list[str]) -> str | None:
    written = [line for line in lines if line.strip()]
    if len(written) != 1 or not (found := _PLAIN_MAGIC.match(written[0].rstrip())):
        return None
    return f"get_ipython().run_line_magic({found[1]!r}, {(found[2] or '').strip()!r})\n"


def _statements(lines: list[str]) -> str:
    text, at, depth = "".join(lines), 0, 0
    parts: list[str] = []
    while at < len(text):  # at the first character of a line
        if depth == 0 and (special := _special(text, at)) is not None:
            call, end = special
            parts.append(call + "\n" * text.count("\n", at, end))
            at = end
            continue
        begin = at
        at, depth = _end_of_line(text, at, depth)
        parts.append(text[begin:at])
    return "".join(parts)


def _end_of_line(text: str, at: int, depth: int) -> tuple[int, int]:
    """Where the line ends that goes on at `at`, strings and joined lines included, and how many brackets are open."""
    while True:
        newline = text.find("\n", at)
        newline = len(text) if newline < 0 else newline
        found = _TOKEN.search(text, at)
        if found is None or found.start() >= newline:
            return min(newline + 1, len(text)), depth
        sign, at = found[0], found.end()
        if sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth = max(0, depth - 1)
        elif sign == "#":
            return min(newline + 1, len(text)), depth
        elif sign in _END_OF_STRING:
            end = _END_OF_STRING[sign].match(text, at)
            # Where it never ends, Python will say so.
            at = end.end() if end is not None else len(text) if len(sign) == 3 else newline


def _special(text: str, at: int) -> tuple[str, int] | None:
    """The Python of the notebook's own line that begins at `at`, and where that line ends, before its newline."""
    end = at
    while True:  # joined lines are one command
        newline = text.find("\n", end)
        end = len(text) if newline < 0 else newline
        if newline < 0 or not text[at:end].endswith("\\"):
            break
        end += 1
    line = text[at:end].replace("\\\n", " ")
    indent, body = line[: len(line) - len(line.lstrip())], line.strip()
    call = _call(body)
    if call is not None:
        return indent + call, end
    if found := _ASSIGNED.match(line):
        command = found[3].strip()
        if found[2] == "!":
            return found[1] + f"get_ipython().getoutput({command.removeprefix('!')!r})", end
        return found[1] + "get_ipython().run_line_magic({!r}, {!r})".format(*_parted(command)), end
    return None


def _call(body: str) -> str | None:
    if body.startswith("?"):
        found = _ASKED_BEFORE.match(body)
        return _help(found[2], found[1]) if found else None
    if found := _ASKED.match(body):
        return _help(found[1], found[2])
    if body.startswith("!"):
        verb = "getoutput" if body.startswith("!!") else "system"
        return f"get_ipython().{verb}({body.lstrip('!').strip()!r})"
    if body.startswith("%"):
        return "get_ipython().run_line_magic({!r}, {!r})".format(*_parted(body[1:]))
    return None


def _help(name: str, marks: str) -> str:
    return f"get_ipython().run_line_magic({'pinfo2' if marks == '??' else 'pinfo'!r}, {name!r})"


def _parted(command: str) -> tuple[str, str]:
    """The name of a magic and the rest of its line."""
    found = _MAGIC.match(command.strip())
    assert found is not None
    return found[1], found[2].strip()
