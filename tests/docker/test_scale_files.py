"""The cluster files in docs/scale, checked without a cluster: every pod in them fits Kubernetes' own schema."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataset.__main__ import parser

yaml = pytest.importorskip("yaml")
kubernetes_validate = pytest.importorskip("kubernetes_validate")

FOLDER = Path(__file__).parents[2] / "docs" / "scale"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))
# What the two custom resources may hold at their top, by the field's name: jobset.x-k8s.io/v1alpha2 and ray.io/v1.
SPECS = {
    "JobSet": {"network", "failurePolicy", "successPolicy", "startupPolicy", "suspend", "replicatedJobs"},
    "RayCluster": {
        *("rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs", "suspend")
    },
}


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def inner(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The objects of Kubernetes' own kinds: a job itself; inside a custom resource the jobs of a JobSet, the pods of a
    RayCluster."""
    spec = document["spec"]
    if document["kind"] == "Job":
        yield document
    for replicated in spec.get("replicatedJobs", ()):
        yield {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "x"},
            "spec": replicated["template"]["spec"],
        }
    for group in (*([spec["headGroupSpec"]] if "headGroupSpec" in spec else ()), *spec.get("workerGroupSpecs", ())):
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": group["template"]["spec"]}


@pytest.mark.parametrize("version", ["1.31", "1.35"])
@pytest.mark.parametrize("name", FILES)
def test_every_pod_and_job_fits_the_schema_to_the_letter(name: str, version: str) -> None:
    for document in documents(name):
        assert document["kind"] == "Job" or set(document["spec"]) <= SPECS[document["kind"]]
        found = list(inner(document))
        assert found
        for each in found:
            kubernetes_validate.validate(each, version, strict=True)


def test_a_wrong_field_would_be_noticed() -> None:
    (document,) = documents("train-jobset.yaml")
    (job,) = inner(document)
    job["spec"]["template"]["spec"]["containers"][0]["comand"] = ["true"]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, "1.31", strict=True)


def test_the_pods_of_a_run_are_as_many_as_they_wait_for_and_meet_where_one_is() -> None:
    (document,) = documents("train-jobset.yaml")
    (job,) = inner(document)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    command = container["command"]
    assert f"--nnodes={job['spec']['completions']}" in command
    assert job["spec"]["completions"] == job["spec"]["parallelism"]
    assert f"--nproc-per-node={container['resources']['limits']['nvidia.com/gpu']}" in command
    replicated = document["spec"]["replicatedJobs"][0]["name"]
    name = document["metadata"]["name"]
    assert f"--rdzv-endpoint={name}-{replicated}-0-0.{name}:29400" in command


def test_the_parts_of_a_job_are_those_that_its_words_make_and_its_command_is_ours(tmp_path: Path) -> None:
    """The shell line of each pod, run as it stands, with a stand-in that prints what it was called with."""
    (document,) = documents("verify-job.yaml")
    text = (FOLDER / "verify-job.yaml").read_text()
    parts = int(found[1]) if (found := re.search(r"--number=l/(\d+)", text)) else 0
    assert document["spec"]["completions"] == parts
    (container,) = document["spec"]["template"]["spec"]["containers"]
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    (tmp_path / "rows").write_text("row\n" * 3 * parts)
    split = next(line for line in text.splitlines() if line.startswith("#   split"))
    flags = [word for word in split.split() if word.startswith("--")]
    subprocess.run(["split", *flags, "rows", ""], check=True, cwd=tmp_path)
    for index in (0, 7, parts - 1):
        said = subprocess.run(
            [*container["command"], *container["args"]], capture_output=True, text=True, check=True,
            env={"PATH": f"{tmp_path}:/usr/bin:/bin", "JOB_COMPLETION_INDEX": str(index)},
        ).stdout.split()  # fmt: skip
        assert said[:3] == ["-m", "dataset", "verify"]
        options = parser().parse_args(said[2:])
        assert (tmp_path / options.inputs[0].name).read_text() == "row\n" * 3
        assert options.sandbox == "dns://sandbox-pods.soroban:8000"


def test_the_scripts_are_shell_and_say_how_they_are_called(tmp_path: Path) -> None:
    for name in ("node.sh", "train.sbatch"):
        subprocess.run(["bash", "-n", FOLDER / name], check=True)
    done = subprocess.run([FOLDER / "node.sh"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "HOST:PORT NODES PROCESSES FLAGS" in done.stderr


def test_what_slurm_is_told_are_options_of_sbatch() -> None:
    text = (FOLDER / "train.sbatch").read_text()
    told = re.findall(r"^#SBATCH --([a-z-]+)", text, re.MULTILINE)
    known = {
        *("job-name", "nodes", "ntasks-per-node", "gpus-per-node", "exclusive", "time", "signal", "requeue"),
        *("open-mode", "output"),
    }
    assert set(told) <= known
    assert text.index("#SBATCH") < text.index("set -euo"), "sbatch reads no options behind the first command"
    assert text.rindex("#SBATCH") < text.index("set -euo")
