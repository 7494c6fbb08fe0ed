"""How many solutions are under way at a time: as many as the model's cache holds, and the sandbox has sessions for.

More would throw each other's cached tokens out while they wait for their tools, and be computed again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# A solution seldom uses its whole budget; the engine queues or preempts where it does.
_OVERBOOKED = 4


class Admission:
    """Places for solutions by the tokens they may need; first come, first served."""

    def __init__(self, cache_tokens: int, places: int) -> None:
        self._tokens = cache_tokens * _OVERBOOKED
        self._places = places
        self._used = 0
        self._running = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def place(self, tokens: int) -> AsyncIterator[None]:
        """Wait for a place for a solution of up to `tokens`; one alone is always let in."""
        if self._waiting or not self._fits(tokens):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((tokens, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._leave(tokens)  # it was our turn already
                raise
        else:
            self._enter(tokens)
        try:
            yield
        finally:
            self._leave(tokens)

    def _fits(self, tokens: int) -> bool:
        return self._running == 0 or (self._running < self._places and self._used + tokens <= self._tokens)

    def _enter(self, tokens: int) -> None:
        self._used += tokens
        self._running += 1

    def _leave(self, tokens: int) -> None:
        self._used -= tokens
        self._running -= 1
        while self._waiting and (self._waiting[0][1].cancelled() or self._fits(self._waiting[0][0])):
            wanted, turn = self._waiting.popleft()
            if not turn.cancelled():
                self._enter(wanted)
                turn.set_result(None)
