"""The tier for a plain pod: no namespaces may be made, so a user a slot, kill by user, Landlock and seccomp stand in.

For clusters that allow no seccomp profile of ours, and for gVisor. It needs root in the container with the capabilities
in `NEEDED` and nothing else. What it cannot promise is `NOT_PROMISED`; `doctor` and `/readyz` show it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import tempfile
import time
from pathlib import Path

from sandbox.jail import landlock, linux, tree

# Bits in /proc/self/status, CapEff; include/uapi/linux/capability.h. All of them are in Docker's default set, and in
# Kubernetes' Pod Security level "baseline".
NEEDED = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "KILL": 5, "SETGID": 6, "SETUID": 7}
NOT_PROMISED = (
    "the size of a run's files is limited one by one, their sum only by the size of /tmp",
    "two runs that mean to can pass each other bytes, by /dev/shm and by what the kernel shows to all",
    "sessions cannot be forked",
)
_WITHOUT_LANDLOCK = "no Landlock: a run can read every file of the container that is open to all"

_FOLDERS = ("work", "tmp")
_PATIENCE_SECONDS = 10.0
_SWEEPERS = 20_000  # above every slot's and session's uid


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
    return NOT_PROMISED if landlock.version() else (*NOT_PROMISED, _WITHOUT_LANDLOCK)


class Quarters:
    """Stands where `namespaces.Jail` does: a folder of a user's own; everything that user runs ends with it."""

    def __init__(self, uid: int, file_bytes: int) -> None:
        self.uid = self.gid = uid
        self.userns, self.file_bytes, self.pid = False, file_bytes, 0
        self.path = os.path.join(tempfile.gettempdir(), f"soroban-{uid}")
        self._end_what_is_left()  # by a slot that died
        os.mkdir(self.path, 0o711)
        for name in _FOLDERS:
            folder = os.path.join(self.path, name)
            os.mkdir(folder, 0o700)
            os.chown(folder, uid, uid)
        self.work = self.pidfd = os.open(f"{self.path}/work", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def hold(self, pid: int) -> None:
        """The program's process has started; its user says whose it is."""

    def kill(self) -> None:
        """Kill every process of the user, and those they fork meanwhile."""
        kill_user(self.uid)

    def end(self) -> None:
        """Return when no process of the user is left and the folder is gone."""
        os.close(self.work)
        self._end_what_is_left()

    def _end_what_is_left(self) -> None:
        self.kill()
        if os.path.lexists(self.path):
            remove_tree(self.path)
        remove_files_of(self.uid)


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
        os.waitpid(killer, 0)
        time.sleep(0.001)


def _processes_of(uid: int) -> list[str]:
    """The user's processes that are not dead; a zombie holds nothing, and may be its parent's to collect."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):  # it ended between the listing and now
                if _status_field(name, "Uid").split()[0] == str(uid) and _status_field(name, "State")[0] not in "ZX":
                    found.append(name)
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
# What every program may read; found once, before the first fork.
_READABLE = [path for path in tree.runtime_paths() if not os.path.islink(path)]


def enter(uid: int, gid: int) -> None:
    """Give the calling process, just forked and in its working directory, the user and the reach of its quarters.

    There is no way back. The filter on system calls is the caller's to load, after this.
    """
    home = os.path.dirname(os.getcwd())
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    os.environ.update(HOME=f"{home}/work", TMPDIR=f"{home}/tmp", MPLCONFIGDIR=f"{home}/tmp")
    tempfile.tempdir = None  # decided anew from TMPDIR
    linux.drop_capabilities()
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)  # the change of user has cleared it
    if version := landlock.version():
        everything = landlock.known(version)
        rules = [(path, landlock.READ) for path in _READABLE]
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
