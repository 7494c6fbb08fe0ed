"""The isolation tiers: what each needs, how this machine is asked for it, and what is missing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from sandbox.errors import SandboxUnavailable
from sandbox.jail import cgroups, pod, seccomp
from sandbox.types import Isolation


@dataclass(frozen=True)
class Tier:
    """What an engine runs its programs in. `notes` say what is weaker here than it could be."""

    name: Isolation
    cgroups: bool
    notes: tuple[str, ...]


def choose_tier(wanted: Literal["auto", "jail", "pod", "none"]) -> Tier:
    """The tier to use.

    Raises:
        SandboxUnavailable: this machine does not offer it; says what is missing and the remedy.
    """
    if wanted == "none":
        return Tier("none", False, ("isolation is off",))
    if wanted == "pod":
        if missing := pod.why_unusable():
            raise SandboxUnavailable(f"isolation pod: {missing}")
        return Tier("pod", False, pod.notes())
    if not seccomp.available():
        raise SandboxUnavailable(f"isolation needs a seccomp filter, and there is none for {os.uname().machine} here")
    why = cgroups.why_unusable()
    notes = () if why is None else (f"no control groups ({why}): memory and processes are limited one by one",)
    return Tier("jail", why is None, notes)
