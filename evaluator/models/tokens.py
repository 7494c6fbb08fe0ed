"""The token ids of a text that ends with a stop string, when the last token says more than the string.

A tokenizer may join the end of the stop string with what follows it ("output" + line end, or "outputs" as one token).
The text to go on from ends with the stop string, so the ids must, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


def end_at_stop(
    ids: Sequence[int], stop: str, decode: Callable[[Sequence[int]], str], encode: Callable[[str], list[int]]
) -> tuple[list[int], str, int]:
    """`ids` up to the first `stop` that they complete, their text, which ends with it, and how many ids are new.

    Where the last id goes on after the stop with white space it is replaced by ids of the part that belongs to the
    text; where it goes on with anything else ("```outputs") this is no stop, and ids and text are returned whole.
    """
    text = decode(ids)
    place = text.find(stop)
    if place < 0:
        return list(ids), text, 0
    wanted, rest = text[: place + len(stop)], text[place + len(stop) :]
    if not rest:
        return list(ids), text, 0
    if not rest[0].isspace():
        return list(ids), text, 0
    kept = list(ids)
    while kept and not wanted.startswith(decode(kept)):
        kept.pop()
    mended = encode(wanted[len(decode(kept)) :])
    return kept + mended, wanted, len(mended)
