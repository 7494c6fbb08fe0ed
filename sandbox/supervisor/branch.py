"""Forks a session: a copy of its memory by fork, of its files by copying, in namespaces of its own.

A process can only be born in the pid namespace of its parent or in one below it, so a branch lives in a namespace
nested in its parent's. The session's own process makes it (`runner.branch_off`): it forks into new user, pid and mount
namespaces, which its filter allows it and nobody else. The slot then gives the branch a box of its own and copies the
files. A branch outlives its parent: see `Slot`.

Refused where a fork would not be a copy: other threads or child processes, open files or pipes, shared memory.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import stat
import struct
import time
from typing import NoReturn

from sandbox import cores, wire
from sandbox.errors import SandboxUnavailable, SessionBusy
from sandbox.guest.runner import LINE_FD
from sandbox.jail import linux, namespaces, tree
from sandbox.jail.proc import Watch

_SETTLED_SECONDS = 0.1  # by then a new branch has put its line in place
_SECONDS = 2.0  # a session that has not forked by then will not


def refuse_if_entangled(watch: Watch, number: int) -> None:
    """Raise `SessionBusy` if the process that /proc calls `number` shares what a fork could not part."""
    deadline = time.monotonic() + _SETTLED_SECONDS
    while (why := _entanglement(watch, number)) is not None:
        if time.monotonic() > deadline:
            raise SessionBusy(why)
        time.sleep(0.001)


def _entanglement(watch: Watch, number: int) -> str | None:
    try:
        threads = len(watch.names(f"{number}/task"))
        files = [name for name in watch.names(f"{number}/fd") if int(name) > 2 and int(name) != LINE_FD]
        shared = re.search(r" .w.s [0-9a-f]{8} ", watch.read(f"{number}/maps"))
    except OSError as error:
        return f"the session cannot be examined ({error.strerror})"
    if threads > 1:
        return f"the session runs {threads - 1} threads of its own; a fork would lose them"
    if children := [child for child in watch.children(number) if watch.signals_its_end(child)]:
        return f"the session has {len(children)} child processes; wait for them before the fork"
    if files:
        return f"the session has {len(files)} open files or pipes; close them, both sides would share them"
    if shared is not None:
        return "the session has shared memory mapped; both sides would write to it"
    return None


class Branch:
    """The jail of a forked session; stands where `namespaces.Jail` does."""

    userns = True

    def __init__(self, pid: int, parent: namespaces.Jail | Branch) -> None:
        self.pid = pid
        self.uid: int = parent.uid
        self.gid: int = parent.gid
        self.file_bytes: int = parent.file_bytes
        try:
            self.pidfd = os.pidfd_open(pid)
        except OSError as error:  # it ended at once, or was never what it said
            raise SessionBusy(f"the session did not fork: {error}") from None
        self.box = self.work = -1

    def hold(self, pid: int) -> None:
        """The program's process has started; the init holds it already."""

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def end(self) -> None:
        """Return when every process inside is gone. The init is reaped by the parent's."""
        self.kill()
        select.select([self.pidfd], [], [])
        for descriptor in (self.pidfd, self.box, self.work):
            if descriptor >= 0:
                os.close(descriptor)


def ask_for_branch(line: socket.socket) -> socket.socket:
    """Have the session fork; the new line, on which `hear` tells of the branch's init, then of its program's process.

    Raises:
        OSError: the session does not read its line.
    """
    ours, theirs = wire.pair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    ours.settimeout(_SECONDS)
    try:
        with theirs:
            wire.send(line, {"fork": True}, [theirs.fileno()])
    except BaseException:
        ours.close()
        raise
    return ours


def hear(line: socket.socket, who: str) -> int:
    """The pid of a branch's new process, "init" or "program": the kernel's word beside the message, not its text.

    Raises:
        SessionBusy: the session does not fork.
        SandboxUnavailable: it may not.
    """
    try:
        data, control, _, _ = line.recvmsg(4096, socket.CMSG_SPACE(12) + socket.CMSG_SPACE(64))
    except OSError as error:
        raise SessionBusy(f"the session did not fork ({error})") from None
    if not data:
        raise SessionBusy("the session's branch ended before it had begun")
    pid = 0
    for level, kind, content in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            (pid,) = struct.unpack_from("i", content)
        elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):  # nobody of ours sends any here
            for descriptor in struct.unpack_from(f"{len(content) // 4}i", content):
                os.close(descriptor)
    if not pid or data != b'{"branch": "%s"}' % who.encode():
        raise SandboxUnavailable(
            "this machine lets no session be forked: it takes user namespaces (sysctl user.max_user_namespaces; "
            f"kernel.unprivileged_userns_clone=1 on older Debian) at most 30 deep. It said: {data[:200]!r}"
        )
    return pid


class Furnisher:
    """Gives a branch a box of its own with a copy of its parent's files.

    By a process that steps into the branch's namespaces, from which there is no way back: one a branch. It is forked
    beforehand, so that nobody waits for that.
    """

    def __init__(self, proc: int) -> None:
        self._ours, theirs = wire.pair()
        self.begun = False

        def child() -> NoReturn:
            cores.go_anywhere()  # the slot forks the session meanwhile
            linux.close_all_except(theirs.fileno(), proc)  # the boxes and lines of others end with those
            _furnish_from_inside(theirs, proc)

        with theirs:
            self._pid = namespaces.fork(child)

    def begin(self, number: int, parent: namespaces.Jail | Branch) -> None:
        """The branch's init is there; /proc calls it `number`."""
        self.begun = True
        settings = {"uid": parent.uid, "gid": parent.gid, "userns": parent.userns, "file_bytes": parent.file_bytes}
        wire.send(self._ours, {"number": number, **settings}, [parent.pidfd, parent.box])

    def finish(self, branch: Branch) -> None:
        """Return when the box is ready.

        Raises:
            SandboxUnavailable: the files could not be copied.
        """
        answer = wire.receive(self._ours)
        if answer is None or "failed" in answer[0]:
            raise SandboxUnavailable(f"the files could not be copied: {answer and answer[0]['failed']}")
        branch.box, branch.work = answer[1]

    def close(self) -> None:
        """End it, whether it has begun or not."""
        self._ours.close()
        linux.wait_for_end_of(self._pid)


def _furnish_from_inside(line: socket.socket, proc: int) -> NoReturn:
    if (begun := wire.receive(line)) is None:
        os._exit(0)
    message, (parent, parents_box) = begun
    number, uid, gid = message["number"], message["uid"], message["gid"]
    try:
        # Opened first: from within the parent's user namespace this process may not look at the branch.
        user, mounts = (os.open(f"{number}/ns/{name}", os.O_RDONLY, dir_fd=proc) for name in ("user", "mnt"))
        if message["userns"]:  # ids are mapped by one who has the rights in the parent's user namespace
            linux.setns(parent, linux.CLONE_NEWUSER)
        namespaces.map_ids(proc, number, uid, gid)
        linux.setns(user, linux.CLONE_NEWUSER)
        linux.setns(mounts, linux.CLONE_NEWNS)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        tree.mount_box(message["file_bytes"], uid, gid)
        os.fchdir(parents_box)
        if any(os.listdir(folder) for folder in os.listdir(".")):
            _copy_files()
        flags = os.O_PATH | os.O_DIRECTORY
        wire.send(line, {}, [os.open(tree.BOX, flags), os.open(tree.WORK, flags)])
    except OSError as error:  # shutil's own error is one
        wire.send(line, {"failed": str(error)[:1000]})
    os._exit(0)


def _copy_files() -> None:
    """Copy what is in the working directory, a box, into the one at its place."""
    import shutil  # only here: every fork of every program would copy it

    shutil.copytree(".", tree.BOX, symlinks=True, ignore=_neither_file_nor_folder, dirs_exist_ok=True)


def _neither_file_nor_folder(folder: str, names: list[str]) -> list[str]:
    """Sockets and fifos are not copied: a copy would not be connected to anything."""
    kinds = (stat.S_ISREG, stat.S_ISDIR, stat.S_ISLNK)
    return [name for name in names if not any(is_a(os.lstat(os.path.join(folder, name)).st_mode) for is_a in kinds)]
