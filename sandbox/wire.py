"""Messages with open files between the processes of an engine: JSON in sequenced packets, descriptors beside it.

Between processes that run our own code. What comes from a program's process is a claim: it is bounded and checked
where it is read (`sandbox/engine/results.py`).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Sequence
from fcntl import fcntl
from json import dumps, loads
from typing import Any

Message = dict[str, Any]
MOST_BYTES = 64 * 1024
_MOST_DESCRIPTORS = 16
_SPACE = socket.CMSG_SPACE(_MOST_DESCRIPTORS * 4)
# As plain numbers: with flags of `enum` each comparison runs Python code, and a fork copies the pages of that.
_CUT, _DESCRIPTORS_CUT = int(socket.MSG_TRUNC), int(socket.MSG_CTRUNC)


class DescriptorsLost(OSError):
    """A message came without its descriptors: this process has as many as it may. What came is in `message`."""

    def __init__(self, message: Message) -> None:
        super().__init__(errno.EMFILE, os.strerror(errno.EMFILE))
        self.message = message


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(channel: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Send one message; the receiver gets its own copies of `descriptors`."""
    rights = struct.pack(f"{len(descriptors)}i", *descriptors)
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
    channel.sendmsg([dumps(message).encode()], control)


def receive(channel: socket.socket) -> tuple[Message, list[int]] | None:
    """The next message and its descriptors; None if the other side is gone.

    Raises:
        DescriptorsLost: there was no room for the descriptors.
    """
    try:
        data, control, flags, _ = channel.recvmsg(MOST_BYTES, _SPACE, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return None
    descriptors: list[int] = []
    for level, kind, rights in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.extend(struct.unpack_from(f"{len(rights) // 4}i", rights))
    if not data:
        return None
    assert not flags & _CUT, "a message of ours was longer than MOST_BYTES"
    message = loads(data.decode())
    if flags & _DESCRIPTORS_CUT:
        for descriptor in descriptors:
            os.close(descriptor)
        raise DescriptorsLost(message)
    return message, descriptors


_MEMFD = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
_MFD_NOEXEC_SEAL = 0x08  # include/uapi/linux/memfd.h, from Linux 6.3 on
_F_ADD_SEALS, _SEALS = 1033, 0x0F  # include/uapi/linux/fcntl.h: against growing, shrinking, writing, and more seals


def file_of(content: bytes, name: str = "data") -> int:
    """A descriptor of an anonymous file that holds `content`, at its start, and that nobody can change or run."""
    try:  # it cannot be run from Linux 6.3 on
        descriptor = os.memfd_create(name, _MEMFD | _MFD_NOEXEC_SEAL)
    except OSError:
        descriptor = os.memfd_create(name, _MEMFD)
    view = memoryview(content)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except BaseException:
        os.close(descriptor)
        raise
    os.lseek(descriptor, 0, os.SEEK_SET)
    fcntl(descriptor, _F_ADD_SEALS, _SEALS)
    return descriptor


def content_of(descriptor: int) -> bytes:
    """Everything in the file behind `descriptor`, from its start; closes it."""
    try:
        content = b""
        while more := os.pread(descriptor, os.fstat(descriptor).st_size - len(content), len(content)):
            content += more
        return content
    finally:
        os.close(descriptor)
