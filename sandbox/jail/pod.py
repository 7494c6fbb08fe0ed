"""The tier for a plain pod: no namespaces may be made, so a user a slot, kill by user, Landlock and seccomp stand in.

For clusters that allow no seccomp profile of ours, and for gVisor. It needs root in the container with the capabilities
in `NEEDED` and nothing else. What it cannot promise is `NOT_PROMISED`; `doctor` and `/readyz` show it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sandbox.jail import landlock, linux, tree

# Bits in /proc/self/status, CapEff; include/uapi/linux/capability.h. All of them are in Docker's default set, and in
# Kubernetes' Pod Security level "baseline".
NEEDED = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "KILL": 5, "SETGID": 6, "SETUID": 7}
NOT_PROMISED = {
    "files": "the size of a run's files is limited one by one, their sum and their number only by the size of /tmp",
    "folders": "/tmp and /dev/shm are the container's; a run's own folders are its working directory and $TMPDIR",
    "memory": "a run's memory is watched, not limited, as a whole; what its processes share counts for each of them, "
    "and what it holds in sockets for none",
    "cpu": "CPU time of a process that ends without being waited for is nobody's: the kernel adds it to no run",
    "names": "a run sees the container's process numbers, and its working directory has another name in each slot",
    "channels": "two runs that mean to can pass each other bytes, by /dev/shm and by what the kernel shows to all",
    "network": "a run opens no connection, but sees the container's network: its interfaces and addresses",
    "forks": "sessions cannot be forked",
}
# Where the kernel offers less: before Linux 5.13, and under gVisor.
WITHOUT_LANDLOCK = "no Landlock: a run can read every file of the container that is open to all, and /proc"

_FOLDERS = ("work", "tmp")
_PATIENCE_SECONDS = 10.0
_SWEEPERS = 20_000  # above every slot's and session's uid
_PR_SET_CHILD_SUBREAPER = 36  # include/uapi/linux/prctl.h


def _first_of_our_users() -> int:
    """What is added to a slot's uid, the same in all processes of an engine, another in each engine.

    The kernel counts a user's processes over all containers of a machine: with the same users in two of them, a program
    here could use up what another may fork there. Where the container has users of its own, it counts them apart.
    """
    own = Path("/proc/self/uid_map").read_text().split() != ["0", "0", str((1 << 32) - 1)]
    return 0 if own else 100_000 * (int.from_bytes(os.urandom(8)) % 20_000)


_FIRST_USER = _first_of_our_users()


def why_unusable() -> str | None:
    """None if this process can keep programs apart by user; else what is missing."""
    if os.geteuid() != 0:
        return "a user a slot needs root in the container (user 0, capabilities " + ", ".join(sorted(NEEDED)) + ")"
    have = int(_status_field("self", "CapEff"), 16)
    missing = [name for name, bit in NEEDED.items() if not have >> bit & 1]
    if missing:
        return f"capabilities {', '.join(missing)} are missing; add them to the container, and only them"
    return None


def notes() -> tuple[str, ...]:
    """What this tier does not promise here."""
    promises = tuple(NOT_PROMISED.values())
    return promises if landlock.version() else (*promises, WITHOUT_LANDLOCK)


def adopt_orphans() -> None:
    """Make this process, which ignores SIGCHLD, the parent of what programs leave behind: the kernel then reaps it.

    A dead process that nobody reaps counts among those that its user may have, and the next program of that user could
    start none. The container's first process, whose they would be otherwise, is the service, and reaps only its own.
    """
    try:
        linux.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    except OSError as error:
        if error.errno != errno.EINVAL:  # gVisor does not know it, nor does it count a user's processes
            raise


class Quarters:
    """Stands where `namespaces.Jail` does: a folder of a user's own; everything that user runs ends with it."""

    def __init__(self, uid: int, file_bytes: int) -> None:
        self.uid = self.gid = uid = uid + _FIRST_USER
        self.userns, self.file_bytes, self.pid = False, file_bytes, 0
        self.path = f"{os.environ.get('TMPDIR', '/tmp')}/soroban-{uid}"
        self._end_what_is_left()  # by a slot that died
        os.mkdir(self.path, 0o711)
        for name in _FOLDERS:
            folder = os.path.join(self.path, name)
            os.mkdir(folder, 0o700)
            os.chown(folder, uid, uid)
        self.work = self.pidfd = os.open(f"{self.path}/work", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        import fcntl  # in here: each fork of another tier would copy it

        # Held until the last copy of this descriptor is closed: the engine's, when it has fetched the run's files.
        fcntl.flock(self.work, fcntl.LOCK_EX)

    def hold(self, pid: int) -> None:
        """The program's process has started; its user says whose it is."""

    def processes(self) -> list[int]:
        """All that the run consists of now; who has whom for a parent says less: orphans are the warden's."""
        return _processes_of(self.uid)

    def kill(self) -> None:
        """Kill every process of the user, and those they fork meanwhile."""
        kill_user(self.uid)

    def end(self) -> float:
        """Return when no process of the user is left, and nothing that the user's next program could find.

        Files that the run has left are there until the engine has closed its descriptor of their folder.
        """
        self.kill()
        os.close(self.work)
        if any(os.listdir(f"{self.path}/{name}") for name in _FOLDERS):
            ended = f"{self.path}-{os.urandom(8).hex()}"
            os.rename(self.path, ended)
            os.chmod(ended, 0o700)
            remove_when_let_go(ended, f"{ended}/work")
        self._end_what_is_left()
        return 0.0  # the warden collects what it leaves, for all slots

    def _end_what_is_left(self) -> None:
        self.kill()
        if os.path.lexists(self.path):
            remove_tree(self.path)
        remove_files_of(self.uid)


def _in_an_orphan(work: Callable[[], None]) -> None:
    """Run `work` in a process that nobody has to wait for and that holds no descriptor of ours."""
    child = os.fork()
    if child == 0:
        try:
            if os.fork() == 0:
                linux.close_all_except()
                work()
        finally:
            os._exit(0)
    linux.wait_for_end_of(child)


def remove_when_let_go(path: str, locked: str) -> None:
    """Have `path` removed as soon as nobody holds the lock on the folder `locked`, in it or itself; does not wait."""

    import fcntl

    def wait_and_remove() -> None:
        fcntl.flock(os.open(locked, os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_EX)
        remove_tree(path)

    _in_an_orphan(wait_and_remove)


def kill_user(uid: int) -> None:
    """Kill until none of the user's processes runs.

    One `kill(-1)` reaches all that exist at that moment under one lock; a process that forks faster than it is
    killed is thus overtaken. The killer has the user's effective uid, and another real one: it cannot be killed back.

    Raises:
        OSError: some still run after ten seconds, in the kernel's hands.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while _processes_of(uid):
        if time.monotonic() > deadline:
            raise OSError(f"processes of uid {uid} do not end")
        killer = os.fork()
        if killer == 0:
            try:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid + _SWEEPERS, uid, uid + _SWEEPERS)
                os.kill(-1, signal.SIGKILL)
            except OSError:
                pass  # none left, or the look above was at ones already dying
            finally:
                os._exit(0)
        linux.wait_for_end_of(killer)
        time.sleep(0.001)


def _wait_for(child: int) -> None:
    with contextlib.suppress(
        ChildProcessError
    ):  # a slot ignores SIGCHLD: the kernel reaps it, and we wait all the same
        os.waitpid(child, 0)


def _processes_of(uid: int) -> list[int]:
    """The user's processes that are not dead; a zombie holds nothing, and may be its parent's to collect."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):  # it ended between the listing and now
                if _status_field(name, "Uid").split()[0] == str(uid) and _status_field(name, "State")[0] not in "ZX":
                    found.append(int(name))
    return found


def _status_field(pid: str, field: str) -> str:
    for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
        if line.startswith(field + ":"):
            return line.partition(":")[2].strip()
    raise OSError(f"/proc/{pid}/status has no {field}")


# POSIX semaphores and shared memory: made and opened by name, not listed. They are swept with their user's run.
_SHARED_MEMORY = (
    landlock.READ_FILE | landlock.WRITE_FILE | landlock.TRUNCATE | landlock.MAKE_REGULAR | landlock.REMOVE_FILE
)


@functools.cache
def readable() -> list[str]:
    """What every program may read; to be found before the first fork."""
    return [path for path in tree.runtime_paths() if not os.path.islink(path)]


def enter(uid: int, gid: int) -> None:
    """Give the calling process, just forked and in its working directory, the user and the reach of its quarters.

    There is no way back. The filter on system calls is the caller's to load, after this.
    """
    home = os.path.dirname(os.getcwd())
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    os.environ.update(HOME=f"{home}/work", TMPDIR=f"{home}/tmp", MPLCONFIGDIR=f"{home}/tmp")
    if tempfile := sys.modules.get("tempfile"):
        tempfile.tempdir = None  # type: ignore[attr-defined]  # decided anew from TMPDIR
    linux.drop_capabilities()
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)  # the change of user has cleared it
    if version := landlock.version():
        everything = landlock.known(version)
        rules = [(path, landlock.READ) for path in readable()]
        rules += [(f"/dev/{name}", landlock.READ_FILE | landlock.WRITE_FILE) for name in tree.DEVICES]
        rules.append(("/dev/shm", _SHARED_MEMORY))
        rules += [(f"{home}/{name}", everything & ~landlock.EXECUTE) for name in _FOLDERS]
        landlock.restrict(rules, version)


def remove_files_of(uid: int) -> None:
    """Remove what a user has put where all may write."""
    for place in ("/tmp", "/var/tmp", "/dev/shm"):
        for entry in os.scandir(place) if os.path.isdir(place) else ():
            if entry.stat(follow_symlinks=False).st_uid == uid:
                if entry.is_dir(follow_symlinks=False):
                    remove_tree(entry.path)
                else:
                    os.unlink(entry.path)


def remove_tree(path: str) -> None:
    """Remove a folder that an adversary has filled: no link is followed, no depth is too much, no right in the way."""
    top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    lifted = 0
    try:
        while names := os.listdir(top):
            for name in names:
                if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
                    os.unlink(name, dir_fd=top)
                    continue
                # Folders inside are lifted to the top: the tree is taken down from above, one level a round.
                folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
                for inner in os.listdir(folder):
                    if stat.S_ISDIR(os.stat(inner, dir_fd=folder, follow_symlinks=False).st_mode):
                        os.rename(inner, f".{lifted}", src_dir_fd=folder, dst_dir_fd=top)
                        lifted += 1
                    else:
                        os.unlink(inner, dir_fd=folder)
                os.close(folder)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(path)
