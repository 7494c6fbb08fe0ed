"""Print `docker/seccomp.json` as Kubernetes nodes read it, for a container without capabilities.

    python docker/k8s/flatten_seccomp.py > docker/k8s/seccomp.json

The container runtimes below a kubelet take the plain OCI form: they pass over Docker's `includes` and `excludes`, and
would so allow to everyone what the profile allows to the bearers of a capability. Here these conditions are settled.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

# Docker's name of an architecture: the kernel's own and the compatible ones whose calls it also takes.
ARCHITECTURES = {
    "amd64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "arm64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
}


def applies(rule: dict[str, Any]) -> bool:
    """Whether `rule` holds on Linux 4.8 or later, on amd64 or arm64, without capabilities."""
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if includes.get("caps"):
        return False
    wanted, refused = includes.get("arches"), excludes.get("arches") or []
    return (not wanted or bool(set(wanted) & set(ARCHITECTURES))) and not set(refused) & set(ARCHITECTURES)


def flatten(profile: dict[str, Any]) -> dict[str, Any]:
    """The OCI form of a profile in Docker's form."""
    rules = []
    for rule in profile["syscalls"]:
        if applies(rule):
            kept = {name: rule[name] for name in ("names", "action", "errnoRet", "args") if rule.get(name)}
            rules.append(kept)
    architectures = [name for names in ARCHITECTURES.values() for name in names]
    return {"defaultAction": profile["defaultAction"], "architectures": architectures, "syscalls": rules}


if __name__ == "__main__":
    source = Path(__file__).parent.parent / "seccomp.json"
    json.dump(flatten(json.loads(source.read_text())), sys.stdout, indent=1)
    print()
