"""Forks a session: a copy of its memory by fork, of its files by copying, in namespaces of its own.

A process can only be born in the pid namespace of its parent or in one below it, so a branch lives in a namespace
nested in its parent's. The session's own process makes it (`runner.branch_off`): it forks into new user, pid and mount
namespaces, which its filter allows it and nobody else. The branch then gets a box of its own and a copy of the files. A
branch outlives its parent: see `Slot`.

All that a session could hold up, by its silence, a FIFO or a lease among its files, is done by a process of its own,
the `Furnisher`, under a deadline; the supervisor only hears how far it has come.

Refused where a fork would not be a copy: other threads or child processes, open files or pipes, shared memory.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import stat
import struct
import time
from typing import NoReturn

from sandbox import cores, wire
from sandbox.errors import SandboxError, SandboxUnavailable, SessionBusy
from sandbox.guest.runner import LINE_FD
from sandbox.jail import linux, namespaces, tree
from sandbox.jail.proc import Watch

FORK_SECONDS = 2.0  # a session that has not forked by then will not
COPY_SECONDS = 20.0  # the files are not copied by then: 100 MiB in 16,000 files take one second
# By then a session has closed what came along and put its line in place: one that has said something, and one that has
# not yet, which on a busy machine may not have been let run.
_SETTLED_SECONDS, _NEW_SECONDS = 0.1, 1.5
_END_SECONDS = 10.0  # the kernel ends what is in a pid namespace within milliseconds
_SO_PASSPIDFD, _SCM_PIDFD = 76, 4  # Linux 6.5; Python has no names for them
_SHARED = re.compile(r" .w.s [0-9a-f]{8} ")
_SPACE = socket.CMSG_SPACE(12) + socket.CMSG_SPACE(4) + socket.CMSG_SPACE(64)


class Branch:
    """The jail of a forked session; stands where `namespaces.Jail` does. `pidfd` is its init's, and closed with it."""

    userns = True

    def __init__(self, pid: int, pidfd: int, parent: namespaces.Jail | Branch) -> None:
        self.pid, self.pidfd = pid, pidfd
        self.uid: int = parent.uid
        self.gid: int = parent.gid
        self.file_bytes: int = parent.file_bytes
        self.box = self.work = -1

    def hold(self, pid: int) -> None:
        """The program's process has started; the init holds it already."""

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def end(self) -> float:
        """Return when every process inside is gone. The init is reaped by the parent's, to which it leaves its time."""
        self.kill()
        ended = linux.readable_within(self.pidfd, _END_SECONDS)
        for descriptor in (self.pidfd, self.box, self.work):
            if descriptor >= 0:
                os.close(descriptor)
        if not ended:
            raise TimeoutError(f"a branch's processes did not end within {_END_SECONDS:g} seconds of their kill")
        return 0.0


class Furnisher:
    """Has a session forked, and gives the branch a box of its own with a copy of its parent's files.

    A process that steps into the branch's namespaces, from which there is no way back: one a branch. It is forked
    beforehand, so that nobody waits for that. It tells, on `line`, of the branch's init as soon as that is there, then
    that the branch is furnished, or why it will not be.
    """

    def __init__(self, proc: int) -> None:
        self.line, theirs = wire.pair()

        def child() -> NoReturn:
            cores.go_anywhere()  # the slot serves others meanwhile
            linux.close_all_except(theirs.fileno(), proc)  # the boxes and lines of others end with those
            _fork_and_furnish(theirs, Watch(proc), proc)

        with theirs:
            self._pid = namespaces.fork(child)

    def begin(self, session: int, line: socket.socket, parent: namespaces.Jail | Branch, *, spoke: bool) -> None:
        """Fork the session that /proc calls `session`, which reads `line`; `spoke`: it has said something there."""
        message = {
            "session": session,
            "patience": _SETTLED_SECONDS if spoke else _NEW_SECONDS,
            "uid": parent.uid,
            "gid": parent.gid,
            "userns": parent.userns,
            "file_bytes": parent.file_bytes,
        }
        wire.send(self.line, message, [parent.pidfd, parent.box, line.fileno()])

    def close(self) -> None:
        """End it, however far it has come."""
        self.line.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        linux.wait_for_end_of(self._pid)


def _fork_and_furnish(line: socket.socket, watch: Watch, proc: int) -> NoReturn:
    """The furnisher's whole life."""
    if (begun := wire.receive(line)) is None:
        os._exit(0)
    message, (parent, parents_box, sessions_line) = begun
    try:
        session = message["session"]
        refuse_if_entangled(watch, session, message["patience"])
        branch = ask_for_branch(socket.socket(fileno=sessions_line))
        shares = _shares_memory(watch, session, parents_box)  # the session forks meanwhile, and maps nothing
        init, init_fd = hear(branch, "init")
        number = _own_child(watch, proc, session, init_fd)
        wire.send(line, {"init": init, "number": number}, [init_fd])
        if shares:  # told now that the slot knows of the init, which it ends
            raise SessionBusy(shares)
        box, work = furnish(number, parent, parents_box, proc, message)
        program, program_fd = hear(branch, "program")
        wire.send(line, {"program": program}, [box, work, branch.fileno(), program_fd])
    except SandboxError as error:
        wire.send(line, {"failed": str(error)[:1000], "kind": type(error).__name__})
    except (OSError, ValueError, RecursionError) as error:
        # What the copy stumbles over, too deep a folder or too many files, is the session's own doing.
        reason = f"the session's files could not be copied: {type(error).__name__}: {str(error)[:800]}"
        wire.send(line, {"failed": reason, "kind": SessionBusy.__name__})
    os._exit(0)


def refuse_if_entangled(watch: Watch, number: int, patience: float) -> None:
    """Raise `SessionBusy` if the process that /proc calls `number` has what a fork would lose or could not part.

    It is looked at again for `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while (why := _entanglement(watch, number)) is not None:
        if time.monotonic() > deadline:
            raise SessionBusy(why)
        time.sleep(0.001)


def _entanglement(watch: Watch, number: int) -> str | None:
    try:
        threads = len(watch.names(f"{number}/task"))
        files = [name for name in watch.names(f"{number}/fd") if int(name) > 2 and int(name) != LINE_FD]
    except OSError as error:
        return f"the session cannot be examined ({error.strerror})"
    if threads > 1:
        return f"the session runs {threads - 1} threads of its own; a fork would lose them"
    if children := [child for child in watch.children(number) if watch.signals_its_end(child)]:
        return f"the session has {len(children)} child processes; wait for them before the fork"
    if files:
        return f"the session has {len(files)} open files or pipes; close them, both sides would share them"
    return None


def _shares_memory(watch: Watch, number: int, box: int) -> str | None:
    """Why what the process has mapped could not be parted, None if it can. Half a millisecond with sympy loaded."""
    try:
        maps = watch.read(f"{number}/maps")
    except OSError as error:
        return f"the session cannot be examined ({error.strerror})"
    if _SHARED.search(maps) or f" {_device(box)} " in maps:
        return "the session has shared memory or files of its own mapped; one side would see what the other writes"
    return None


def _device(descriptor: int) -> str:
    """The file system of an open file, as /proc/PID/maps names it."""
    device = os.fstat(descriptor).st_dev
    return f"{os.major(device):02x}:{os.minor(device):02x}"


def ask_for_branch(line: socket.socket) -> socket.socket:
    """Have the session fork; the new line, on which `hear` tells of the branch's init, then of its program's process.

    Raises:
        SessionBusy: the session does not read its line.
    """
    ours, theirs = wire.pair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    with contextlib.suppress(OSError):
        ours.setsockopt(socket.SOL_SOCKET, _SO_PASSPIDFD, 1)
    ours.settimeout(FORK_SECONDS)
    with theirs:
        try:
            wire.send(line, {"fork": True}, [theirs.fileno()])
        except OSError as error:
            raise SessionBusy(f"the session does not read its line ({error})") from None
    return ours


def hear(line: socket.socket, who: str) -> tuple[int, int]:
    """The pid of a branch's new process, "init" or "program", and a descriptor of it.

    Both are the kernel's word beside the message, not its text. An older kernel gives no descriptor; it is made from
    the pid then, which could be another's by now: see `_own_child`.

    Raises:
        SessionBusy: the session does not fork.
        SandboxUnavailable: it may not.
    """
    try:
        data, control, _, _ = line.recvmsg(4096, _SPACE)
    except OSError as error:
        raise SessionBusy(f"the session did not fork ({error})") from None
    pid, pidfd = 0, -1
    for level, kind, content in control:
        if level != socket.SOL_SOCKET:
            continue
        if kind == socket.SCM_CREDENTIALS:
            (pid,) = struct.unpack_from("i", content)
        elif kind == _SCM_PIDFD:
            (pidfd,) = struct.unpack_from("i", content)
        elif kind == socket.SCM_RIGHTS:  # nobody of ours sends any here
            for descriptor in struct.unpack_from(f"{len(content) // 4}i", content):
                os.close(descriptor)
    if not data:
        raise SessionBusy("the session's branch ended before it had begun")
    if pid and data == b'{"branch": "%s"}' % who.encode():
        try:
            return pid, pidfd if pidfd >= 0 else os.pidfd_open(pid)
        except OSError as error:  # it ended at once, or was never what it said
            raise SessionBusy(f"the session did not fork: {error}") from None
    if data.startswith(b'{"failed"'):
        raise SandboxUnavailable(
            "this machine lets no session be forked: it takes user namespaces (sysctl user.max_user_namespaces; "
            "kernel.unprivileged_userns_clone=1 on older Debian) at most 30 deep, and that no seccomp filter around "
            f"the sandbox asks an agent (a container manager's may). It said: {data[:200]!r}"
        )
    raise SessionBusy(f"the session did not fork; it said {data[:200]!r}")


def _own_child(watch: Watch, proc: int, session: int, pidfd: int) -> int:
    """What /proc calls the process behind `pidfd`. Raises SessionBusy if it is no child of the session's."""
    number = namespaces.number(proc, pidfd)
    if number < 0 or number not in watch.children(session):
        raise SessionBusy("the session did not fork: what it names is none of its children")
    return number


def furnish(number: int, parent: int, parents_box: int, proc: int, settings: dict[str, int]) -> tuple[int, int]:
    """Step into the branch whose init /proc calls `number`, give it a box, and copy the files; the box and its folder.

    From here on the branch owns the box and may change it: both are opened before that, and never by a path through it.
    """
    uid, gid = settings["uid"], settings["gid"]
    # Opened first: from within the parent's user namespace this process may not look at the branch.
    user, mounts = (os.open(f"{number}/ns/{name}", os.O_RDONLY, dir_fd=proc) for name in ("user", "mnt"))
    if settings["userns"]:  # ids are mapped by one who has the rights in the parent's user namespace
        linux.setns(parent, linux.CLONE_NEWUSER)
    namespaces.map_ids(proc, number, uid, gid)
    linux.setns(user, linux.CLONE_NEWUSER)
    linux.setns(mounts, linux.CLONE_NEWNS)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    box, work = tree.mount_box(settings["file_bytes"], uid, gid)
    os.fchdir(parents_box)
    if _holds_anything():
        _copy_files()
    return box, work


def _holds_anything() -> bool:
    """Whether there is more in the working directory, a box, than its empty folders."""
    with os.scandir() as entries:
        return any(not entry.is_dir(follow_symlinks=False) or os.listdir(entry) for entry in entries)


def _copy_files() -> None:
    """Copy what is in the working directory, a box, into the one at its place."""
    import shutil  # only here: every fork of every program would copy it

    shutil.copytree(
        ".", tree.BOX, symlinks=True, ignore=_neither_file_nor_folder, copy_function=_copy_file, dirs_exist_ok=True
    )


def _copy_file(source: str, target: str) -> None:
    """Copy a regular file that stands there now; a FIFO or a lease in its place is not waited for."""
    import shutil

    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(source, os.O_RDONLY | flags), "rb") as reading:
        status = os.fstat(reading.fileno())
        if not stat.S_ISREG(status.st_mode):
            return
        with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, 0o600), "wb") as writing:
            shutil.copyfileobj(reading, writing)
            os.fchmod(writing.fileno(), stat.S_IMODE(status.st_mode))
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def _neither_file_nor_folder(folder: str, names: list[str]) -> list[str]:
    """Sockets and fifos are not copied: a copy would not be connected to anything."""
    kinds = (stat.S_ISREG, stat.S_ISDIR, stat.S_ISLNK)
    return [name for name in names if not any(is_a(os.lstat(os.path.join(folder, name)).st_mode) for is_a in kinds)]
