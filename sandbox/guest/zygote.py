"""A zygote: forks the programs of one slot, each into the jail that comes with the order.

A bare one knows the standard library, a warm one the preloaded libraries too; they differ in nothing else.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from functools import partial
from typing import NoReturn

from sandbox import wire
from sandbox.guest import heap, runner
from sandbox.jail import linux, namespaces
from sandbox.jail.proc import Watch

_KILLED = int(signal.SIGKILL)  # a wait status: ended by this signal


def serve_forks(line: socket.socket, proc: int) -> NoReturn:
    """Fork a program for each message from the slot; say when it is there and when, and how, it ended."""
    forker, watch, stage = namespaces.Forker(proc), Watch(proc), runner.Stage()
    namespaces.give_up_what_no_program_has()
    heap.settle()
    wire.send(line, {"zygote": watch.self_pid, "inherited": watch.inherited})
    poll = select.poll()
    poll.register(line, select.POLLIN)
    children: dict[int, tuple[int, str]] = {}
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == line.fileno():
                if (received := wire.receive(line)) is None:
                    os._exit(0)
                message, descriptors = received
                name = message["id"]
                try:
                    pid = start(forker, message, descriptors, stage)
                except ProcessLookupError:  # its jail was ended, by a limit or a cancellation, before it began
                    wire.send(line, {"exited": name, "status": _KILLED, "cpu": 0.0, "rss": 0, "at": time.monotonic()})
                    continue
                except OSError as error:
                    wire.send(line, {"unstarted": name, "reason": str(error), "errno": error.errno})
                    continue
                pidfd = linux.exit_event(pid)
                children[pidfd] = (pid, name)
                poll.register(pidfd, select.POLLIN)
                wire.send(line, {"started": name, "pid": pid})
            else:
                at = time.monotonic()
                pid, name = children.pop(descriptor)
                poll.unregister(descriptor)
                os.close(descriptor)
                _, status, usage = os.wait4(pid, 0)
                exited = {"exited": name, "status": status, "at": at, "cpu": usage.ru_utime + usage.ru_stime}
                wire.send(line, exited | {"rss": usage.ru_maxrss * 1024})


def start(forker: namespaces.Forker, message: wire.Message, descriptors: list[int], stage: runner.Stage) -> int:
    """Fork a program's process into its jail; closes `descriptors` (jail, then the program's line) here.

    Raises:
        ProcessLookupError: the jail is no more.
        OSError: the machine has no room for another process.
    """
    confinement = namespaces.Confinement(*message["confinement"])
    jail, line = descriptors
    child = partial(become, confinement, jail, forker.proc, line, stage)
    try:
        if confinement.isolated:
            return forker.fork_inside(jail, child, report_to_nobody=True)
        return namespaces.fork(child, report_to_nobody=True)
    finally:
        os.close(jail)
        os.close(line)


def become(confinement: namespaces.Confinement, jail: int, proc: int, line: int, stage: runner.Stage) -> NoReturn:
    """Turn this process, just forked, into one that waits for its program, or for a session's cells, on `line`.

    If it cannot, it says why on `line` and exits with `runner.UNREADY`: that is our failure, not the program's.
    """
    try:
        oom_score = namespaces.oom_score(proc)
        asking = namespaces.enter(jail, confinement)
        os.dup2(line, runner.LINE_FD)
        if asking >= 0:  # before the limit: others of this user may have more descriptors on their way than that allows
            runner.send_descriptor(line, asking)
        linux.close_all_except(oom_score, runner.LINE_FD)
        namespaces.limit_descriptors()  # now: some of those that were closed may have had numbers beyond it
    except BaseException as error:  # noqa: BLE001 - no user's code has begun: whatever it is, it is ours
        runner.give_up(line, error)
    if confinement.session:
        runner.serve_session(stage, oom_score)
    runner.run_once(stage, oom_score)
