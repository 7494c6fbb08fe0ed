"""What a sandbox container gets: decided here and nowhere else.

No capability, no new privilege, a read-only root, one small tmpfs, limits on memory, processes and CPU, and the profile
`seccomp.json` beside this file. There is no option for more: `--privileged`, host folders and the engine's socket
cannot be asked for. See docs/containers.md.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sandbox.errors import InputError
from sandbox.jail.pod import NEEDED

IMAGE = "soroban-sandbox"
PORT = 8000
NOBODY = 65534
PROFILE = Path(__file__).with_name("seccomp.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What to start. The defaults are those of `python -m sandbox up`.

    `memory_bytes`, `cpus` and `processes` hold for a whole container. `tmp_bytes` is the size of its only writable
    place. `port` is the first replica's, the next ones follow; 0: any that are free. With `socket_folder` the service
    has no network at all and listens on unix sockets in that folder, one a replica. `tier` "pod" is for what
    `--runtime runsc` and clusters without our profile allow. `workers` None: one a core. `owner` is the host and
    process ("host:pid") with whose end the containers may go.
    """

    image: str = IMAGE
    replicas: int = 1
    runtime: str | None = None
    memory_bytes: int = 8 << 30
    cpus: float | None = None
    processes: int = 1024
    tmp_bytes: int = 1 << 30
    port: int = PORT
    socket_folder: str | None = None
    tier: Literal["jail", "pod"] = "jail"
    workers: int | None = None
    profile: Path = PROFILE
    owner: str | None = None

    def check(self) -> None:
        """Raise `InputError` naming everything in it that cannot be."""
        problems = [
            f"{name} is {value}, expected at least {least}"
            for name, value, least in (
                ("replicas", self.replicas, 1),
                ("memory", self.memory_bytes, 256 << 20),
                ("cpus", 1 if self.cpus is None else self.cpus, 0.01),
                ("pids", self.processes, 64),
                ("port", self.port, 0),
            )
            if value < least
        ]
        if self.port + self.replicas > 1 << 16:
            problems.append(f"port is {self.port}, expected one that leaves room for {self.replicas} below 65536")
        if self.socket_folder is not None and not os.path.isdir(self.socket_folder):
            problems.append(f"{self.socket_folder} is not a folder; make it first, for yourself only (mode 700)")
        elif self.socket_folder is not None and (others := os.stat(self.socket_folder).st_mode & 0o077):
            problems.append(
                f"others can enter {self.socket_folder} (mode …{others:02o}), and a service on a socket asks for no "
                f"token; expected a folder of your own: chmod 700 {self.socket_folder}"
            )
        if problems:
            raise InputError("; ".join(problems))


def hardening(plan: Launch) -> dict[str, Any]:
    """The engine's options that make the wall, the same for every container of `plan`."""
    options: dict[str, Any] = {
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "read_only": True,
        "user": f"{NOBODY}:{NOBODY}",
        "tmpfs": {"/tmp": f"size={plan.tmp_bytes},mode=1777,nosuid,nodev,noexec"},
        "shm_size": 1 << 20,  # a program's /dev/shm is in its jail; nothing uses the container's
        "mem_limit": plan.memory_bytes,
        "memswap_limit": plan.memory_bytes,  # the same: no swap
        "pids_limit": plan.processes,
    }
    if plan.cpus is not None:
        options["nano_cpus"] = int(plan.cpus * 1e9)
    if plan.tier == "jail":
        options["security_opt"].append("seccomp=" + read_profile(plan.profile))
    else:
        # A user a slot, changed to and killed as; nothing else of root's is left. The engine's default profile holds.
        options |= {"user": "0:0", "cap_add": sorted(NEEDED)}
        # The service's own; a program has a folder in it. Without Landlock nothing else keeps it from writing there.
        options["tmpfs"]["/tmp"] = options["tmpfs"]["/tmp"].replace("mode=1777", "mode=755")
    return options


def read_profile(path: Path) -> str:
    try:
        return json.dumps(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(
            f"the seccomp profile {path} does not exist; it comes with the project's source; name it with --seccomp"
        ) from None
    except ValueError as error:
        raise InputError(f"the seccomp profile {path} is not JSON: {error}") from None
