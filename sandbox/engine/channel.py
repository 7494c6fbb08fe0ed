"""A socket to one of the engine's processes, as its event loop holds it: sends without waiting, hears without asking.

While the other side lives nothing is lost: what it has no room for yet waits here, in order, with its descriptors.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence

from sandbox import wire
from sandbox.errors import SandboxUnavailable

_AGAIN_SECONDS = 0.005


class Channel:
    """Our end of a socket to one of the processes. `on_message` gets each message, and None when it is gone."""

    def __init__(self, sock: socket.socket, on_message: Callable[[wire.Message | None, list[int]], None]) -> None:
        sock.setblocking(False)
        self._socket, self._on_message = sock, on_message
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._read)
        self._unsent: deque[tuple[wire.Message, list[int]]] = deque()  # their descriptors are copies of ours
        self.open = True

    def _read(self) -> None:
        """Take in one message; the loop calls again while there are more."""
        try:
            received = wire.receive(self._socket)
        except BlockingIOError:
            return
        except wire.DescriptorsLost as lost:
            received = lost.message, []
        if received is None:
            self.close()
            self._on_message(None, [])
            return
        self._on_message(*received)

    def send(self, message: wire.Message, descriptors: Sequence[int] = ()) -> None:
        """Send now, or as soon as the other side has read what is before it.

        Raises:
            SandboxUnavailable: the other side is gone.
        """
        if not self.open:
            raise SandboxUnavailable("a process of the engine is gone")
        if self._unsent or not self._sent(message, descriptors):
            self._unsent.append((message, [os.dup(descriptor) for descriptor in descriptors]))

    def _sent(self, message: wire.Message, descriptors: Sequence[int]) -> bool:
        """Whether it could be sent now; if not, `_send_on` is called when it may be tried again."""
        try:
            wire.send(self._socket, message, descriptors)
        except BlockingIOError:
            self._loop.add_writer(self._socket, self._send_on)
            return False
        except OSError as error:
            if error.errno != errno.ETOOMANYREFS:
                raise SandboxUnavailable(f"a process of the engine is gone ({type(error).__name__})") from None
            # Too many descriptors of this user's are on their way; programs can bring that about, for a while.
            self._loop.call_later(_AGAIN_SECONDS, self._send_on)
            return False
        return True

    def _send_on(self) -> None:
        self._loop.remove_writer(self._socket)
        with contextlib.suppress(SandboxUnavailable):  # reading says so
            while self.open and self._unsent and self._sent(*self._unsent[0]):
                _, descriptors = self._unsent.popleft()
                for descriptor in descriptors:
                    os.close(descriptor)

    def close(self) -> None:
        if self.open:
            self.open = False
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            for _, descriptors in self._unsent:
                for descriptor in descriptors:
                    os.close(descriptor)
            self._unsent.clear()
            self._socket.close()
