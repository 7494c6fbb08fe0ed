"""The processes of an engine that the programs are forked from. Started by exec, never by forking the caller.

    launcher    in the host's namespaces; makes the outer jail, waits, removes the control groups
    └─ warden   pid 1 inside: its death ends everything; forks slots and the mother
       ├─ slot      one per concurrent run: makes jails, orders runs and sessions, watches limits (slot.py);
       │  │         pid 1 of a namespace in which its jails are nested: its death ends them
       │  └─ bare zygote    forks programs that need the standard library only (guest/zygote.py)
       └─ mother    imports and warms the libraries once, forks a warm zygote a slot, which share its memory
          ├─ warm zygote    forks the other programs
          └─ mother    of the next kind, when a program first asks for it: what that has more (engine/libraries.py)

None of them runs a line of the user's. Each ends when the socket to its parent closes.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from sandbox import cores, wire
from sandbox.guest import heap
from sandbox.guest.warmup import STANDARD, warm_up
from sandbox.guest.zygote import serve_forks
from sandbox.jail import cgroups, linux, namespaces, pod, tree
from sandbox.supervisor.life import Host
from sandbox.supervisor.slot import Slot

_OUTER = linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS


def launch(channel: socket.socket, settings: dict[str, Any]) -> int:
    """Make the outer jail, run the warden in it, and clean up behind it; the launcher's exit code."""
    os.umask(0o022)  # the caller's may hide the tree from the programs, whose users are others
    # The kernel refuses to send descriptors to who has less room than this user has on their way: programs have 256.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    isolated = settings["isolation"] == "jail"
    root = os.geteuid() == 0
    folder = cgroups.Folder(str(os.getpid())) if isolated and settings["cgroups"] else None
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    try:
        if root:
            namespaces.shield_from_oom(proc)
        if isolated:
            if root:
                linux.unshare(_OUTER | linux.CLONE_NEWPID)
            else:
                namespaces.inside_user_namespace(proc, _OUTER | linux.CLONE_NEWPID)
            linux.set_hostname("sandbox")
        pod_tier = settings["isolation"] == "pod"
        host = Host(proc=proc, slots=settings["slots"], root=root, isolated=isolated, pod=pod_tier, groups=folder)
        pid = namespaces.fork(lambda: _warden(channel, settings, host))
        channel.close()
        os.waitpid(pid, 0)
    finally:
        if folder is not None:
            folder.remove()
    return 0


def _warden(channel: socket.socket, settings: dict[str, Any], host: Host) -> NoReturn:
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    if host.isolated:
        linux.unshare(linux.CLONE_NEWNS)  # here and not before: the launcher must still see the host's folders
        tree.assemble(settings["paths"])
    os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]  # programs call "python"
    if host.pod:
        pod.adopt_orphans()
        pod.readable()
    for name in STANDARD:
        importlib.import_module(name)
    heap.settle()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    wire.send(channel, {"ready": "warden"})

    def order(message: wire.Message, line: socket.socket) -> Callable[[], NoReturn]:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if message["op"] == "slot":
            cores.keep_to_one(message["index"], host.slots)
            return lambda: Slot(line, message["index"], host).serve()
        return lambda: _mother(line, message["load"], host)

    _fork_on_demand(channel, order, host)


def _fork_on_demand(
    channel: socket.socket, order: Callable[[wire.Message, socket.socket], Callable[[], NoReturn]], host: Host
) -> NoReturn:
    """Fork a process for each message, which brings the socket that the new process is to serve.

    A slot is the first process of a new pid namespace, so that its death ends its jails; a zygote, for which the
    message brings the slot's pidfd too, is one of that namespace.
    """
    forker = namespaces.Forker(host.proc)
    while (received := wire.receive(channel)) is not None:
        message, descriptors = received

        def child(message: wire.Message = message, descriptor: int = descriptors[0]) -> NoReturn:
            channel.close()
            if not host.isolated:  # elsewhere a pid namespace ends with its first process
                linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
            order(message, socket.socket(fileno=descriptor))()

        if host.isolated and message["op"] == "slot":
            forker.fork_into_new_pid_namespace(child)
        elif host.isolated and message["op"] == "zygote":
            with contextlib.suppress(ProcessLookupError):  # the slot has died, and is replaced with its zygotes
                forker.fork_inside(descriptors[1], child)
        else:
            namespaces.fork(child)
        for descriptor in descriptors:
            os.close(descriptor)
    os._exit(0)


@contextlib.contextmanager
def _folder_for_a_while(host: Host) -> Iterator[None]:
    """Something to write into, where programs have their box: matplotlib, for one, is not loaded without. It is gone
    with all that is in it before the first program is forked."""
    if not host.isolated:
        import tempfile  # only here: every fork of every program would copy it

        before = dict(os.environ)
        with tempfile.TemporaryDirectory() as folder:
            os.environ.update(MPLCONFIGDIR=folder, HOME=folder)
            yield
        os.environ.clear()
        os.environ.update(before)
        return
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("box", tree.BOX, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC, "size=16m,mode=755")
    for name in ("work", "tmp", "shm"):
        os.mkdir(f"{tree.BOX}/{name}")
    yield
    linux.umount(tree.BOX)


def _mother(channel: socket.socket, load: list[str], host: Host) -> NoReturn:
    with _folder_for_a_while(host):
        warm_up(load, host.proc)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    wire.send(channel, {"ready": "mother"})

    def order(message: wire.Message, line: socket.socket) -> Callable[[], NoReturn]:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if message["op"] == "mother":
            return lambda: _mother(line, message["load"], host)
        cores.keep_to_one(message["index"], host.slots)
        host.enter_group(message["index"])
        return lambda: serve_forks(line, host.proc)

    _fork_on_demand(channel, order, host)


def main() -> NoReturn:
    descriptor, settings = int(sys.argv[1]), json.loads(sys.argv[2])
    channel = socket.socket(fileno=descriptor)
    try:
        code = launch(channel, settings)
    except OSError as error:
        allow = "; a container must be told to allow it: see docs/containers.md" if error.errno == errno.EPERM else ""
        wire.send(channel, {"failed": f"{error}{allow}"})
        code = 1
    os._exit(code)
