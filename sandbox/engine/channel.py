"""A socket to one of the engine's processes, as its event loop holds it: sends without waiting, hears without asking.

While the other side lives nothing is lost: what it has no room for yet waits here, in order, with its descriptors.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence

from sandbox import wire
from sandbox.errors import SandboxUnavailable


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
        while self.open:
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
        try:
            if not self.open:
                raise BrokenPipeError
            if self._unsent:
                raise BlockingIOError
            wire.send(self._socket, message, descriptors)
        except BlockingIOError:
            if not self._unsent:
                self._loop.add_writer(self._socket, self._send_on)
            self._unsent.append((message, [os.dup(descriptor) for descriptor in descriptors]))
        except OSError as error:
            raise SandboxUnavailable(f"a process of the engine is gone ({type(error).__name__})") from None

    def _send_on(self) -> None:
        while self._unsent:
            message, descriptors = self._unsent[0]
            try:
                wire.send(self._socket, message, descriptors)
            except BlockingIOError:
                return
            except OSError:
                break  # the other side is gone, and reading says so
            self._unsent.popleft()
            for descriptor in descriptors:
                os.close(descriptor)
        self._loop.remove_writer(self._socket)

    def close(self) -> None:
        if self.open:
            self.open = False
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            for _, descriptors in self._unsent:
                for descriptor in descriptors:
                    os.close(descriptor)
            self._socket.close()
