"""A real Ray cluster whose nodes are processes of this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.processes import descendants

STORE_BYTES = 200 << 20
BEGINS_SECONDS = 200


class Nodes:
    """The cluster; each node has one CPU, the head node as many as asked for."""

    def __init__(self, head_cpus: int = 1) -> None:
        os.environ["RAY_raylet_start_wait_time_s"] = str(BEGINS_SECONDS)  # noqa: SIM112 - its own spelling
        from ray.cluster_utils import Cluster

        head = {"num_cpus": head_cpus, "object_store_memory": STORE_BYTES, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address = self.cluster.address

    def add(self, **options: Any) -> Any:
        return self.cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES, **options)

    def workers(self, of: Any = None) -> list[int]:
        """The processes of actors, on the head node or on the node given."""
        raylet = (of or self.cluster.head_node).all_processes["raylet"][0].process.pid
        return [pid for pid in descendants(raylet) if name(pid).startswith("ray::_")]


def name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    except OSError:
        return ""
