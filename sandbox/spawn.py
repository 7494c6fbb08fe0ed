"""Forks a program's process from this one into a jail. Used by slots (bare) and zygotes (warm) alike."""

from __future__ import annotations

import contextlib
import os
from typing import NoReturn

from sandbox import runner, wire
from sandbox.jail import linux, namespaces


def start(forker: namespaces.Forker, message: wire.Message, descriptors: list[int]) -> int:
    """Fork a program's process into its jail; closes `descriptors` (jail, then the program's own) here."""
    confinement = namespaces.Confinement(**message["confinement"])
    jail, *files = descriptors
    with forker.into_pid_namespace_of(jail) if confinement.isolated else contextlib.nullcontext():
        pid = namespaces.fork(lambda: become(confinement, jail, forker.proc, files), report_to_nobody=True)
    for descriptor in descriptors:
        os.close(descriptor)
    return pid


def become(confinement: namespaces.Confinement, jail: int, proc: int, files: list[int]) -> NoReturn:
    """Turn this process, just forked, into a program's.

    `files` are payload, stdin, stdout, stderr and report; of a session only its line.
    """
    if confinement.session:
        (line,) = files
        os.dup2(line, runner.LINE_FD)
        keep = {runner.LINE_FD}
    else:
        payload, stdin, stdout, stderr, report = files
        for number, descriptor in enumerate((stdin, stdout, stderr)):
            os.dup2(descriptor, number)
        os.dup2(report, runner.REPORT_FD)
        keep = {runner.REPORT_FD, payload}
    linux.close_all_except(keep | {jail, proc})
    namespaces.enter(jail, proc, confinement)
    os.close(proc)
    if confinement.session:
        runner.serve_session(runner.LINE_FD)
    runner.run_once(payload, runner.REPORT_FD)
