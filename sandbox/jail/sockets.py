"""What programs hold in the buffers of sockets, which no control group counts here: asked of the kernel, by socket.

sock_diag(7); include/uapi/linux/unix_diag.h. Only Unix sockets: a program can make no others. The kernel counts what is
written and not yet read with the socket that has written it. Of one that was closed meanwhile nothing is told but that
its peer has something to read: that counts as a full buffer.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_REQUEST_DUMP, _DONE, _ERROR = 0x301, 3, 2
_SHOW_PEER, _SHOW_LENGTHS, _SHOW_MEMORY = 0x04, 0x10, 0x20
_PEER, _LENGTHS, _MEMORY = 2, 4, 5  # attributes: an inode; to read, to write; numbers of which the third is `written`
_ALL_STATES = 0xFFFFFFFF
_ANSWER_BYTES = 1 << 16
_FULL_BYTES = 212_992  # net.core.wmem_default; programs may not ask for more
_HEADER, _MESSAGE, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BBBBIII"), struct.Struct("=HH")
_UNTOLD = (errno.ENOENT, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EPERM, errno.EACCES, errno.EINVAL)


def buffered() -> dict[int, int] | None:
    """Bytes that each Unix socket of this network namespace holds, by inode; None where the kernel does not tell."""
    found: dict[int, tuple[int, int, int]] = {}
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as asking:
            asking.settimeout(1.0)
            show = _SHOW_PEER | _SHOW_LENGTHS | _SHOW_MEMORY
            request = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, _ALL_STATES, 0, show, 0, 0)
            header = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0)
            asking.send(header + request)
            while _read(asking.recv(_ANSWER_BYTES), found):
                pass
    except OSError as error:
        if error.errno not in _UNTOLD:
            raise
        return None
    return {
        inode: written + (_FULL_BYTES if readable and peer not in found else 0)
        for inode, (peer, readable, written) in found.items()
    }


def full(inodes: set[int]) -> int:
    """What these sockets hold at most, in bytes."""
    return len(inodes) * _FULL_BYTES


def _read(answer: bytes, found: dict[int, tuple[int, int, int]]) -> bool:
    """Put peer, bytes to read and bytes written of each socket into `found`; whether more answers follow."""
    at = 0
    while at + _HEADER.size <= len(answer):
        length, kind, _, _, _ = _HEADER.unpack_from(answer, at)
        inner = at + _HEADER.size
        if kind == _DONE:
            return False
        if kind == _ERROR:
            (number,) = struct.unpack_from("=i", answer, inner)
            raise OSError(-number, os.strerror(-number))
        inode = _MESSAGE.unpack_from(answer, inner)[4]
        inner += _MESSAGE.size
        peer = readable = written = 0
        while inner < at + length:
            size, name = _ATTRIBUTE.unpack_from(answer, inner)
            content = inner + _ATTRIBUTE.size
            if name == _PEER:
                (peer,) = struct.unpack_from("=I", answer, content)
            elif name == _LENGTHS:
                (readable,) = struct.unpack_from("=I", answer, content)
            elif name == _MEMORY:
                (written,) = struct.unpack_from("=8xI", answer, content)
            inner += (size + 3) & ~3
        found[inode] = (peer, readable, written)
        at += (length + 3) & ~3
    return True
