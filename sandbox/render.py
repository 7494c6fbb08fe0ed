"""What a language model is shown of a result: `render`.

Models were trained on the output of particular executors, and read best what looks like it. The profiles follow them:

`tora`          microsoft/ToRA src/utils/python_executor.py, src/infer/inference.py: the printed output, else the value
                of the last expression, else the last line of the traceback. What a failing program printed before is
                not shown, as there. "Timeout Error" is its word for a timeout.
`notebook`      Jupyter, as in MathCoder: stdout, stderr, then the value or the traceback.
`deepseekmath`  deepseek-ai/DeepSeek-Math evaluation/infer/run_tool_integrated_eval.py: printed output longer than 100
                characters becomes its first 50, `...`, its last 50; anything else becomes `Runtime errors: ` and the
                traceback, even nothing at all. There tracebacks are cut to 50 + 50 tokens; here to 200 + 200
                characters, about as long, because a sandbox has no tokenizer.

It renders programs' outcomes only: a failure of the sandbox is an exception, and nothing to show to a model. It does
not escape fences; that is the transcript's business.
"""

from __future__ import annotations

import signal
from typing import Literal, get_args

from sandbox.errors import InputError
from sandbox.types import ExecResult

Profile = Literal["tora", "notebook", "deepseekmath"]

# Characters shown, by profile. ToRA: 100 tokens of 4 characters; deepseekmath: see above; a notebook cell's output has
# no limit of its own, 4,000 characters are about a thousand tokens.
DEFAULT_CHARS: dict[Profile, int] = {"tora": 400, "notebook": 4000, "deepseekmath": 100}
# Characters of a traceback for each character of output (deepseekmath: 100 characters of output, 100 tokens of errors).
_CHARS_PER_TOKEN = 4


def render(result: ExecResult, profile: Profile = "tora", *, max_chars: int | None = None) -> str:
    """The text a model is shown, without trailing white space.

    Of a longer text the head and the tail are kept, `max_chars` characters together, and the count of what was left
    out stands between them (deepseekmath: `...`). A timeout, memory limit or kill is said in the profile's words:

    ============= ======================================== =========================== ==========================
    outcome       tora                                     notebook (after streams)    deepseekmath
    ============= ======================================== =========================== ==========================
    timeout       Timeout Error                            TimeoutError: Timed Out     Runtime errors: Timeout Error
    memory_limit  MemoryError                              MemoryError                 Runtime errors: MemoryError
    killed        Killed: SIGSEGV                          Killed: SIGSEGV             Runtime errors: Killed: SIGSEGV
    ============= ======================================== =========================== ==========================

    Raises:
        InputError: an unknown profile, or a `max_chars` below 2.
    """
    if profile not in get_args(Profile):
        raise InputError(f"profile is {profile!r}, expected one of {', '.join(get_args(Profile))}")
    limit = DEFAULT_CHARS[profile] if max_chars is None else max_chars
    if limit < 2:
        raise InputError(f"max_chars is {limit}, expected at least 2: a first and a last character")
    return _PROFILES[profile](result, limit).rstrip()


def _tora(result: ExecResult, limit: int) -> str:
    if result.status != "ok":
        return _cut(_last_line(result), limit, 0)
    if result.stdout.strip():
        return _cut(result.stdout.strip(), limit, result.truncated.stdout)
    return _cut(result.value or "", limit, result.truncated.value)


def _notebook(result: ExecResult, limit: int) -> str:
    ending = result.value or ""
    if result.status == "error" and result.error is not None:
        ending = result.error.traceback.rstrip() or _last_line(result)
    elif result.status == "timeout":
        ending = "TimeoutError: Timed Out"
    elif result.status != "ok":
        ending = _last_line(result)
    if result.state_lost:
        ending += "\nThe session has ended; its variables are gone."
    streams = [part.rstrip("\n") for part in (result.stdout, result.stderr) if part.strip()]
    # The ending tells what happened: long streams are cut to make room for it, not the other way round.
    ending = _cut(ending.strip("\n"), max(2, limit // 2) if streams else limit, result.truncated.value)
    printed = _cut("\n".join(streams), max(2, limit - len(ending)), result.truncated.stdout + result.truncated.stderr)
    return "\n".join(part for part in (printed, ending) if part)


def _deepseekmath(result: ExecResult, limit: int) -> str:
    if result.status == "ok":
        shown = result.stdout.strip() or (result.value or "")
        return _halves(shown, limit, "...") if shown else "Runtime errors:"
    message = (result.error.traceback.strip() if result.error is not None else "") or _last_line(result)
    return "Runtime errors: " + _halves(message, _CHARS_PER_TOKEN * limit, " ... ")


_PROFILES = {"tora": _tora, "notebook": _notebook, "deepseekmath": _deepseekmath}


def _last_line(result: ExecResult) -> str:
    """One line that says how a program ended that did not end well."""
    if result.status == "timeout":
        return "Timeout Error"
    if result.status == "memory_limit":
        return "MemoryError"
    if result.status == "killed":
        return f"Killed: {_signal_name(result.signal)}"
    if result.error is None:
        return f"SystemExit: {result.exit_code}"
    if traceback := result.error.traceback.rstrip():
        return traceback.split("\n")[-1]
    return f"{result.error.type}: {result.error.message}".rstrip(": ")


def _signal_name(number: int | None) -> str:
    try:
        return signal.Signals(number or 0).name
    except ValueError:
        return f"signal {number}"


def _cut(text: str, limit: int, missing_bytes: int) -> str:
    """`text`, its middle replaced by the count of what is missing if it is longer than `limit`.

    Where the sandbox itself left out `missing_bytes`, its own mark stands in the middle of `text`: it is cut out with
    the rest, and its bytes are counted with them.
    """
    if len(text) <= limit:
        return text
    head, tail = text[: limit - limit // 2], text[len(text) - limit // 2 :]
    if not missing_bytes:
        return f"{head}\n... {len(text) - limit} characters left out ...\n{tail}"
    cut = len(text[len(head) : len(text) - len(tail)].encode(errors="replace"))
    return f"{head}\n... about {cut + missing_bytes} bytes left out ...\n{tail}"


def _halves(text: str, limit: int, mark: str) -> str:
    if len(text) <= limit:
        return text
    return text[: limit - limit // 2] + mark + text[len(text) - limit // 2 :]
