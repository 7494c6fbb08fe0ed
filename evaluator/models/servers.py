"""Servers that answer the same requests: which is asked next, how long one rests, and when patience ends.

A server that dies, restarts or is full is asked again with growing pauses, or another one is, for as long as the
caller has patience; a conversation stays with one server while that one lives, for its cache. An answer is taken once,
so nothing is lost or doubled. What is asked, and what an answer means, is the caller's to know (`openai.py`).
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from evaluator.models.types import ModelDied, ModelError

# A server that has not answered for this long is looked at; a living one may take its time.
_LOOK_SECONDS = 15.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0
# Further tries after a 500: a dying engine is gone by then, and what fails on a living one is the request.
_TRIES_AT_500 = 4
_BUSY = (408, 425, 429, 502, 503, 504)


class _Away(Exception):
    """This server cannot answer now; the same or another one can be asked again."""


class Servers:
    """Servers with the same model, each the address that "/completions" is appended to."""

    def __init__(self, urls: Sequence[str], headers: Mapping[str, str], patience_seconds: float) -> None:
        # No limit on connections: how many solutions are under way is the caller's to say. No limit on an answer's
        # time either: a server that is looked at and lives is waited for.
        self._client = httpx.AsyncClient(
            headers=dict(headers),
            timeout=httpx.Timeout(None, connect=10),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        )
        self._servers = [_Server(url, self._client) for url in urls]
        self._homes: dict[str, _Server] = {}
        self._patience_seconds = patience_seconds

    async def ask(self, key: str, body: Mapping[str, Any]) -> Any:
        """The answer of the first server that gives one.

        Raises:
            ModelDied: none did for as long as we have patience, or one refuses us altogether.
            ModelError: a server refuses this request.
        """
        deadline: float | None = None  # from the first failure on
        broken = 0
        while True:
            # The same server for the same conversation while it lives: there its beginning is cached. A new one goes
            # where the fewest are.
            now = time.monotonic()
            home = self._homes.get(key)
            server = min(
                self._servers, key=lambda one: (max(now, one.resting_until), one is not home, len(one.conversations))
            )
            if home is not server:
                if home is not None:
                    home.conversations.discard(key)
                self._homes[key] = server
                server.conversations.add(key)
            await asyncio.sleep(server.resting_until - now)
            try:
                status, answer = await server.post(body)
            except _Away as error:
                deadline = deadline or time.monotonic() + self._patience_seconds
                if time.monotonic() >= deadline:
                    raise ModelDied(f"no model server answered for {self._patience_seconds:g} s ({error})") from None
                continue
            if status == 200:
                return answer
            told = f"{server.url} answered {key} with {status}: {_message(answer)}"
            if status in (401, 403, 404):
                raise ModelDied(told)
            broken += 1
            if status < 500 or broken > _TRIES_AT_500:
                raise ModelError(told)

    def forget(self, key: str) -> None:
        """Nothing more will be asked in the conversation `key`."""
        server = self._homes.pop(key, None)
        if server is not None:
            server.conversations.discard(key)

    async def close(self) -> None:
        """End the connections. Closing twice does nothing."""
        await self._client.aclose()


class _Server:
    """One address: when it may be asked again, and whether it lives."""

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self.url = url
        self.resting_until = 0.0
        self.conversations: set[str] = set()
        self._client = client
        self._pause = _FIRST_PAUSE
        self._looking = asyncio.Lock()
        self._looked, self._lives = 0.0, True

    async def post(self, body: Mapping[str, Any]) -> tuple[int, Any]:
        """Status and JSON of the answer.

        Raises:
            _Away: there was none, or none of this server's own.
        """
        request = asyncio.create_task(self._client.post(f"{self.url}/completions", json=body))
        try:
            while not (await asyncio.wait({request}, timeout=_LOOK_SECONDS))[0]:
                if not await self._alive():
                    raise self._rests(f"{self.url} has stopped answering")
            answer = request.result()
        except httpx.HTTPError as error:
            raise self._rests(f"{self.url}: {error or type(error).__name__}") from None
        finally:
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)  # its connection is closed when it has ended
        if answer.status_code in _BUSY:
            raise self._rests(f"{self.url} answers with {answer.status_code}", answer.headers.get("retry-after"))
        try:
            whole = answer.json()
        except (json.JSONDecodeError, UnicodeDecodeError):
            kind = answer.headers.get("content-type", "nothing")
            raise self._rests(f"{self.url} answers with {kind} instead of JSON") from None
        if answer.status_code >= 500:
            self._rests("")
        else:
            self._pause = _FIRST_PAUSE
        return answer.status_code, whole

    def _rests(self, why: str, seconds: str | None = None) -> _Away:
        """Let nobody ask for a while, longer each time; all its conversations fail at once, and count as one."""
        now = time.monotonic()
        if now >= self.resting_until:
            asked = float(seconds) if seconds and seconds.isdecimal() else 0.0
            self.resting_until = now + max(asked, self._pause * random.uniform(0.8, 1.2))
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return _Away(why)

    async def _alive(self) -> bool:
        """Whether it answers a small question; one look serves all who wait."""
        async with self._looking:
            if time.monotonic() - self._looked >= _LOOK_SECONDS:
                try:
                    answer = await self._client.get(f"{self.url}/models", timeout=_LOOK_SECONDS)
                    self._lives = answer.status_code < 500
                except httpx.HTTPError:
                    self._lives = False
                self._looked = time.monotonic()
            return self._lives


def _message(answer: Any) -> str:
    """What a server says of its refusal, in one line."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    text = error.get("message", error) if isinstance(error, dict) else error
    return " ".join(str(text).split())[:300]
