"""A jail for one run: a process that is init of fresh namespaces, and the steps by which a program's process enters.

The init runs nothing of the program's: it waits, in its maker's memory (`init.py`), keeps the namespaces, and collects
what the program leaves without a parent. Killing it makes the kernel kill every process inside, whatever they did with
sessions, groups or signals, before the kill is over. A program's process is forked by a zygote straight into the pid
namespace (`setns` before the fork), so that a warm zygote's memory is copied once.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import signal
import traceback
from collections.abc import Callable, Iterator
from typing import NamedTuple, NoReturn

from sandbox.jail import init, linux, listener, pod, seccomp, tree

_INSIDE = linux.CLONE_NEWNS | linux.CLONE_NEWIPC
_SAME_FOR_ALL = {
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_MEMLOCK: 65536,
    resource.RLIMIT_MSGQUEUE: 0,
    resource.RLIMIT_SIGPENDING: 1024,
}
_DESCRIPTORS = 256
_END_SECONDS = 10.0  # the kernel ends what is in a pid namespace within milliseconds
# It refuses to set these two; queues are refused by the filter there as here.
_LEFT_OUT_BY_GVISOR = (resource.RLIMIT_MSGQUEUE, resource.RLIMIT_SIGPENDING)


class Confinement(NamedTuple):
    """What a program's process gives up on entering. Crosses the wire as a list.

    `processes` and `data_bytes` are set only where no control group limits them for the run as a whole.
    """

    uid: int
    gid: int
    userns: bool
    session: bool
    cpu_seconds: float
    file_bytes: int
    processes: int | None = None
    data_bytes: int | None = None
    isolated: bool = True
    pod: bool = False


class Forker:
    """Forks children into a pid namespace of choice and finds the way back. Made once a process, before any fork."""

    def __init__(self, proc: int) -> None:
        """`proc` is a descriptor of a /proc in which this process can be seen."""
        self.proc = proc
        self._pid = os.open("self/ns/pid", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
        self._mount: int | None = None  # opened when needed: under gVisor, where no jails are made, there is none

    def fork_into_new_pid_namespace(self, child: Callable[[], NoReturn]) -> int:
        """As `fork`; the child is the first process of the namespace."""
        linux.unshare(linux.CLONE_NEWPID)
        try:
            return fork(child)
        finally:
            linux.setns(self._pid, linux.CLONE_NEWPID)

    def fork_inside(self, pidfd: int, child: Callable[[], NoReturn], *, report_to_nobody: bool = False) -> int:
        """As `fork`, into the pid namespace of the process behind `pidfd`. Raises ProcessLookupError if it is gone."""
        linux.setns(pidfd, linux.CLONE_NEWPID)
        try:
            return fork(child, report_to_nobody=report_to_nobody)
        except OSError as error:
            if error.errno == errno.ENOMEM and ends_now(pidfd):  # what the kernel says of a namespace without its init
                raise ProcessLookupError from None
            raise
        finally:
            linux.setns(self._pid, linux.CLONE_NEWPID)

    @contextlib.contextmanager
    def among_the_mounts_of(self, pidfd: int) -> Iterator[None]:
        if self._mount is None:
            self._mount = os.open("self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.proc)
        linux.setns(pidfd, linux.CLONE_NEWNS)
        try:
            yield
        finally:
            linux.setns(self._mount, linux.CLONE_NEWNS)


def fork(child: Callable[[], NoReturn], *, report_to_nobody: bool = False) -> int:
    """Fork; the child runs `child` and never comes back, whatever it raises.

    `report_to_nobody`: its stderr is a program's, which is to see nothing of ours.
    """
    pid = linux.fork()
    if pid:
        return pid
    try:
        child()
    except BaseException:  # noqa: BLE001 - nothing may unwind into the parent's frames
        if not report_to_nobody:
            traceback.print_exc()
    finally:
        os._exit(70)


class Jail:
    """Fresh pid, mount and IPC namespaces with an empty box of `file_bytes`, held by an init that only waits."""

    def __init__(self, forker: Forker, *, uid: int, gid: int, userns: bool, file_bytes: int) -> None:
        self.uid, self.gid, self.userns, self.file_bytes = uid, gid, userns, file_bytes
        self._stack = ctypes.create_string_buffer(linux.WAITER_STACK_BYTES)
        user = linux.CLONE_NEWUSER if userns else 0
        self.pid = linux.clone_waiter(_INSIDE | linux.CLONE_NEWPID | user, init.code(), self._stack)
        self.pidfd = os.pidfd_open(self.pid)
        try:
            if userns:
                map_ids(forker.proc, number(forker.proc, self.pidfd), os.geteuid(), os.getegid())
            with forker.among_the_mounts_of(self.pidfd):
                self.box, self.work = tree.mount_box(file_bytes, uid, gid)
        except OSError:
            self._end_init()
            raise

    def _end_init(self) -> float:
        self.kill()
        if not linux.readable_within(self.pidfd, _END_SECONDS):
            raise TimeoutError(f"a jail's processes did not end within {_END_SECONDS:g} seconds of their kill")
        os.close(self.pidfd)
        return linux.collect(self.pid)

    def hold(self, pid: int) -> None:
        """The program's process has started; the init holds it already."""

    def kill(self) -> None:
        """Order the death of everything inside."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def dies(self) -> bool:
        """Whether the init ends now, and with it all that was inside."""
        return ends_now(self.pidfd)

    def end(self) -> float:
        """Return when every process inside is gone, and with them the mounts; the CPU seconds of the orphans inside.

        Those that had ended before: what was alive, `ProcessTable.cpu_of_others` had to see before.
        """
        seconds = self._end_init()
        for descriptor in (self.box, self.work):
            os.close(descriptor)
        return seconds


def ends_now(pidfd: int) -> bool:
    """Whether the init of a pid namespace ends. It does after its last process, of which we hear first: 0.1 seconds."""
    return linux.readable_within(pidfd, 0.1)


def number(proc: int, pidfd: int) -> int:
    """What `proc` calls the process behind a descriptor of ours; -1 if it is gone."""
    with os.fdopen(os.open(f"self/fdinfo/{pidfd}", os.O_RDONLY, dir_fd=proc)) as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pid:"))


def number_of(proc: int, pid: int) -> int:
    """The same of a process that this one knows as `pid`. Raises OSError if there is none."""
    pidfd = os.pidfd_open(pid)
    try:
        return number(proc, pidfd)
    finally:
        os.close(pidfd)


def map_ids(proc: int, who: int | str, uid: int, gid: int) -> None:
    """Let the new user namespace of the process `who` know one user and one group, under the same numbers."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        descriptor = os.open(f"{who}/{name}", os.O_WRONLY, dir_fd=proc)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def inside_user_namespace(proc: int, more: int) -> None:
    """Step into a new user namespace in which this process keeps its own ids, and into `more` namespaces in it."""
    uid, gid = os.geteuid(), os.getegid()  # before: in there it is nobody until they are mapped
    linux.unshare(linux.CLONE_NEWUSER | more)
    map_ids(proc, "self", uid, gid)


def give_up_what_no_program_has() -> None:
    """Leave to the forks of the calling process, a zygote, only what differs from program to program: see `enter`."""
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    for kind, value in _SAME_FOR_ALL.items():
        try:
            _limit(kind, value)
        except ValueError:
            if kind not in _LEFT_OUT_BY_GVISOR:
                raise


def enter(jail: int, confinement: Confinement) -> int:
    """Give the calling process, just forked, the jail's view and none of our rights. There is no way back.

    Returns:
        Of a session in a jail of its own, the descriptor on which the filter asks whether it may be forked, to be given
        to the slot. Else, and where another filter around us asks already and so no session can be forked, -1.
    """
    os.setsid()
    if confinement.isolated:
        linux.setns(jail, _INSIDE | (linux.CLONE_NEWUSER if confinement.userns else 0))
        os.chdir(tree.WORK)
    else:
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.fchdir(jail)
    os.close(jail)
    limit(confinement)
    if confinement.pod:
        pod.enter(confinement.uid, confinement.gid)
        linux.load_seccomp(FILTERS[False])
    if not confinement.isolated:
        return -1
    if not confinement.userns:
        os.setgroups([])
        os.setresgid(confinement.gid, confinement.gid, confinement.gid)
        os.setresuid(confinement.uid, confinement.uid, confinement.uid)
    linux.drop_capabilities()
    if confinement.session:
        with contextlib.suppress(OSError):
            return listener.load(FILTERS[True])
    linux.load_seccomp(FILTERS[False])
    return -1


# Assembled when the zygote starts, not for every run.
FILTERS = (
    {session: linux.Filter(seccomp.assemble(session=session)) for session in (False, True)}
    if seccomp.available()
    else {}
)


def oom_score(proc: int) -> int:
    """A descriptor that takes, as text, how readily this process is chosen when memory runs out: -1000 to 1000."""
    return os.open("self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)


def shield_from_oom(proc: int) -> None:
    """As root, keep this process and what it forks from being chosen when memory runs out."""
    descriptor = oom_score(proc)
    with contextlib.suppress(PermissionError):  # root of a container may not
        os.write(descriptor, b"-1000")
    os.close(descriptor)


def limit(confinement: Confinement) -> None:
    """The kernel's limits for each process of a program; a fork inherits them."""
    _limit(resource.RLIMIT_FSIZE, confinement.file_bytes)
    if confinement.processes is not None:
        _limit(resource.RLIMIT_NPROC, confinement.processes)
    if confinement.data_bytes is not None:
        _limit(resource.RLIMIT_DATA, confinement.data_bytes)
    if not confinement.session:  # whose cells have each a limit of their own, which the watchdog keeps
        cpu = int(confinement.cpu_seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))


def limit_descriptors() -> None:
    """To what a program may have open; also what it may have on the way in sockets, which the kernel counts by user."""
    _limit(resource.RLIMIT_NOFILE, _DESCRIPTORS)


def _limit(kind: int, value: int) -> None:
    most = resource.getrlimit(kind)[1]
    if most != resource.RLIM_INFINITY:
        value = min(value, most)
    resource.setrlimit(kind, (value, value))
