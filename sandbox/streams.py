"""Keeps the beginning and the end of what a program writes, and counts what lay between."""

from __future__ import annotations

from collections import deque


def _cut_mark(dropped: int) -> bytes:
    return f"\n... {dropped} bytes left out ...\n".encode()


def cut_middle(data: bytes, budget: int) -> tuple[bytes, int]:
    """`data` within `budget` bytes of content, and how many were left out of its middle.

    Half of the budget is for the head, half for the tail, with a line between that says how much is missing.
    No UTF-8 character is split: its remains are left out and counted, too.
    """
    if len(data) <= budget:
        return data, 0
    half = budget // 2
    return _join(data[: budget - half], data[len(data) - half :], len(data))


def _join(head: bytes, tail: bytes, total: int) -> tuple[bytes, int]:
    head, tail = _without_split_end(head), _without_split_start(tail)
    dropped = total - len(head) - len(tail)
    return head + _cut_mark(dropped) + tail, dropped


def _without_split_end(head: bytes) -> bytes:
    for back in range(1, min(4, len(head)) + 1):
        byte = head[-back]
        if byte & 0xC0 == 0x80:
            continue
        length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return head[:-back] if length > back else head
    return head


def _without_split_start(tail: bytes) -> bytes:
    skip = 0
    while skip < min(3, len(tail)) and tail[skip] & 0xC0 == 0x80:
        skip += 1
    return tail[skip:]


class HeadTail:
    """A stream's first and last bytes, `budget` in all, whatever its length."""

    def __init__(self, budget: int) -> None:
        self._head = bytearray()
        self._head_room = budget - budget // 2
        self._tail_room = budget // 2
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self.total = 0

    def feed(self, chunk: bytes) -> None:
        self.total += len(chunk)
        if room := self._head_room - len(self._head):
            self._head += chunk[:room]
            chunk = chunk[room:]
        if not chunk:
            return
        self._tail.append(chunk)
        self._tail_bytes += len(chunk)
        while self._tail and self._tail_bytes - len(self._tail[0]) >= self._tail_room:
            self._tail_bytes -= len(self._tail.popleft())

    def content(self) -> tuple[bytes, int]:
        """What was kept, a line in the middle saying what was not, and how many bytes that is."""
        tail = b"".join(self._tail)
        if self.total <= self._head_room + self._tail_room:
            return bytes(self._head) + tail, 0
        tail = tail[len(tail) - self._tail_room :] if self._tail_room else b""
        return _join(bytes(self._head), tail, self.total)
