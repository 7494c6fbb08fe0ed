"""The Kubernetes manifests, the image's lock and the seccomp profile, checked without a cluster or an engine."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sandbox.containers.hardening import PROFILE
from sandbox.jail.pod import NEEDED

yaml = pytest.importorskip("yaml")
kubernetes_validate = pytest.importorskip("kubernetes_validate")

FOLDER = Path(__file__).parents[2] / "docker" / "k8s"
# profiles/seccomp/default.json of Docker 20.10.24, as Debian 12 packages it, made canonical by `canonical`.
DOCKERS_DEFAULT = "ab402c64a5f874f73c16e4df69c865df40b5c7d9d96b8a6b97b4c53f3f8e49b5"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def deployment(name: str) -> dict[str, Any]:
    (found,) = [each for each in documents(name) if each["kind"] == "Deployment"]
    return found


@pytest.mark.parametrize("version", ["1.27", "1.31", "1.35"])
@pytest.mark.parametrize("name", ["sandbox.yaml", "plain-pod.yaml"])
def test_every_document_fits_the_schema_to_the_letter(name: str, version: str) -> None:
    for document in documents(name):
        kubernetes_validate.validate(document, version, strict=True)


def test_a_wrong_field_would_be_noticed() -> None:
    document = deployment("sandbox.yaml")
    document["spec"]["template"]["spec"]["containers"][0]["readOnlyRootFilesystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, "1.31", strict=True)


def test_there_is_all_that_a_service_needs() -> None:
    kinds = [each["kind"] for each in documents("sandbox.yaml")]
    wanted = {"Deployment", "Service", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget"}
    assert wanted <= set(kinds)
    for document in documents("sandbox.yaml"):
        if document["kind"] == "NetworkPolicy":
            assert document["spec"]["egress"] == []
            assert "Egress" in document["spec"]["policyTypes"]


def test_the_pod_meets_the_restricted_level() -> None:
    """kubernetes.io/docs/concepts/security/pod-security-standards, "Restricted", control by control."""
    pod = deployment("sandbox.yaml")["spec"]["template"]["spec"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] != 0
    assert pod["securityContext"]["seccompProfile"]["type"] in ("RuntimeDefault", "Localhost")
    assert all(set(volume) - {"name"} <= {"configMap", "secret", "emptyDir", "projected"} for volume in pod["volumes"])
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"]["drop"] == ["ALL"]
        assert set(context["capabilities"].get("add", [])) <= {"NET_BIND_SERVICE"}
        assert not context.get("privileged")
        assert all("hostPort" not in port for port in container["ports"])


def test_the_plain_pod_asks_for_the_capabilities_that_its_tier_needs_and_no_other() -> None:
    context = deployment("plain-pod.yaml")["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    assert set(context["capabilities"]["add"]) == set(NEEDED)


def test_the_nodes_profile_is_ours_flattened() -> None:
    printed = subprocess.run(
        [sys.executable, FOLDER / "flatten_seccomp.py"], capture_output=True, text=True, check=True
    )
    assert (FOLDER / "seccomp.json").read_text() == printed.stdout, "run docker/k8s/flatten_seccomp.py anew"


def canonical(rules: list[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()


def test_the_profile_is_dockers_and_few_justified_additions() -> None:
    rules = json.loads(PROFILE.read_text())["syscalls"]
    added = [rule for rule in rules if rule["comment"].startswith("added: ")]
    assert canonical([rule for rule in rules if rule not in added]) == DOCKERS_DEFAULT
    names = sorted(name for rule in added for name in rule["names"])
    assert names == ["clone", "mount", "mount_setattr", "pivot_root", "sethostname", "setns", "umount2", "unshare"]
    assert all(rule["action"] == "SCMP_ACT_ALLOW" and len(rule["comment"]) > 40 for rule in added)


# What runs on the host, beside the image: it starts containers, or speaks to an assistant.
OUTSIDE = {"container.py": {"docker", "requests"}, "image.py": {"docker"}, "mcp.py": {"mcp"}}


def test_the_image_holds_what_the_sandbox_imports() -> None:
    """A module that imports a package which the lock does not name ends the container at its start."""
    root = FOLDER.parents[1]
    locked = {
        name.replace("-", "_")
        for name in re.findall(r"^([a-z0-9-]+)==", (FOLDER.parent / "sandbox.lock").read_text(), re.M)
    }
    for path in (root / "sandbox").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:  # what a function imports is optional
            names = []
            if isinstance(node, ast.Import):
                names = [each.name for each in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            foreign = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"sandbox"}
            foreign -= OUTSIDE.get(path.name, set())
            assert foreign <= locked, (
                f"{path.relative_to(root)} imports {foreign - locked}: add it to docker/sandbox.lock"
            )
