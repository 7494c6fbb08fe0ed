"""A supervisor's answers to the engine: sent in order, without ever waiting.

What the socket does not take now waits here and is tried again: the engine may be slow to read, and the kernel refuses
to send descriptors while too many of this user's are on their way (ETOOMANYREFS), which other programs can bring about.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Sequence

from sandbox import wire

RETRY_SECONDS = 0.005
_LATER = (errno.EAGAIN, errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM)
_GONE = (errno.EPIPE, errno.ECONNRESET)


class Outbox:
    """Sends on `engine`, which must not block. An engine that is gone is no error: reading from it will say so."""

    def __init__(self, engine: socket.socket) -> None:
        self._engine = engine
        self._waiting: deque[tuple[wire.Message, list[int]]] = deque()  # their descriptors are copies of ours

    def send(self, message: wire.Message, descriptors: Sequence[int] = ()) -> None:
        if self._waiting or not self._sent(message, descriptors):
            self._waiting.append((message, [os.dup(descriptor) for descriptor in descriptors]))

    def flush(self) -> None:
        """Try again what waits."""
        while self._waiting and self._sent(*self._waiting[0]):
            _, descriptors = self._waiting.popleft()
            for descriptor in descriptors:
                os.close(descriptor)

    @property
    def waits(self) -> bool:
        """Whether there is something to `flush`, every `RETRY_SECONDS`."""
        return bool(self._waiting)

    def _sent(self, message: wire.Message, descriptors: Sequence[int]) -> bool:
        try:
            wire.send(self._engine, message, descriptors)
        except OSError as error:
            if error.errno in _LATER:
                return False
            if error.errno not in _GONE:
                raise
        return True
