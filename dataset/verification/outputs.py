"""Whether a recorded output is what the program prints today.

Compared by tokens: white space does not matter, floats agree to nine significant digits (BLAS and sympy versions
differ in the last ones), addresses of objects never count, and of an exception only its type does (Python rewords the
messages from version to version). Nothing else is forgiven: 3 and 3.0, a missing line, another order of a set are
differences, which the policy of the run then judges.
"""

from __future__ import annotations

import math
import re

_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")
_TOKEN = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE][-+]?\d))(?:[eE][-+]?\d+)?|\w+|[^\w\s]")
_FLOAT = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?")
_RELATIVE, _ABSOLUTE = 1e-9, 1e-12


# "timeout_decorator.timeout_decorator.TimeoutError: 'Timed Out'" is ToRA's; "Timeout Error" as well.
_EXCEPTION = re.compile(r"(?:\w+\.)*(\w*(?:Error|Exception|Interrupt|Exit))\b(?:: .*)?|(Timeout) Error")


# A notebook's traceback begins with a line of dashes and names the type first.
_NOTEBOOK = re.compile(r"-*\s*(\w+)\s+Traceback \(most recent call last\)")
_NOTEBOOK_TIMEOUT = "Timeout waiting for reply"


def exception_type(output: str) -> str | None:
    """The type of the exception that the last line of `output`, or a notebook's traceback, names; None without one."""
    if match := _NOTEBOOK.match(_COLOUR.sub("", output.lstrip())):
        return match[1]
    lines = output.strip().splitlines()
    match = _EXCEPTION.fullmatch(lines[-1].strip()) if lines else None
    return match and (match[1] or match[2] + "Error")


def records_timeout(output: str) -> bool:
    """Whether `output` says that the program took too long where it was recorded."""
    return _NOTEBOOK_TIMEOUT in output or "Timeout" in (exception_type(output) or "")


def without_addresses(text: str) -> str:
    """`text` with "at 0x7f…" made the same in every run."""
    return _ADDRESS.sub("at 0x…", text)


def same_output(recorded: str, printed: str) -> bool:
    """Whether the two outputs agree, up to white space, the last digits of floats, and addresses."""
    if recorded.split() == printed.split():
        return True
    raised = exception_type(recorded)
    if raised is not None and raised == exception_type(printed):
        return True
    left, right = _TOKEN.findall(without_addresses(recorded)), _TOKEN.findall(without_addresses(printed))
    return len(left) == len(right) and all(map(_same_token, left, right))


def _same_token(left: str, right: str) -> bool:
    if left == right:
        return True
    if not (_FLOAT.fullmatch(left) and _FLOAT.fullmatch(right)):
        return False
    return math.isclose(float(left), float(right), rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
