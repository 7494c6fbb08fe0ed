"""Calls whoever waits for a descriptor when something has come in on it: a slot's only way to wait."""

from __future__ import annotations

import math
import select
import time
from collections.abc import Callable


class Poll:
    """Descriptors, each with what is to be called when it can be read."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[], None]] = {}

    def watch(self, descriptor: int, handler: Callable[[], None]) -> None:
        self._handlers[descriptor] = handler
        self._poll.register(descriptor, select.POLLIN)

    def unwatch(self, descriptor: int) -> None:
        """Raises KeyError if it is not watched."""
        del self._handlers[descriptor]
        self._poll.unregister(descriptor)

    def wait(self, until: float) -> tuple[list[int], float]:
        """The descriptors that can be read, none from the moment `until` on; and the seconds by which that is past.

        `until` is on the monotonic clock; `math.inf`: until something comes in.
        """
        milliseconds = None if until == math.inf else max(until - time.monotonic(), 0.0) * 1000
        events = self._poll.poll(milliseconds)
        return [descriptor for descriptor, _ in events], time.monotonic() - until

    def call(self, descriptor: int) -> None:
        """Call who waits for it; nobody, if an earlier call of the same round has ended that."""
        if handler := self._handlers.get(descriptor):
            handler()
