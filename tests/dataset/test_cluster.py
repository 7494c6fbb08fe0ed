"""`python -m dataset … --ray` on two nodes of one machine: the bytes of a run without it, whatever dies."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dataset.demo.build import build_demo
from tests.cluster import BEGINS_SECONDS, STORE_BYTES, Nodes
from tests.dataset.test_commands import GOOD, ROOT, dataset, outputs, refused, start, write
from tests.processes import outliving

pytest.importorskip("ray", reason="Ray is not installed (pip install 'soroban[ray]')")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    made = Nodes()
    yield made
    made.cluster.shutdown()


@pytest.fixture(scope="module")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,600 candidates in eight chunks, a third of them with programs, a copy, and a line that cannot be used."""
    folder = tmp_path_factory.mktemp("in")
    build_demo(folder, problems=650, test_problems=1, seed=1, spoiled=0.1)
    rows = (folder / "candidates.jsonl").read_text(encoding="utf-8").splitlines()
    path = folder / "rows.jsonl"
    rows = [row for row in rows if "while True" not in row][:1598]
    again = json.dumps(json.loads(rows[0]) | {"id": "again"}, ensure_ascii=False)
    path.write_text("\n".join([*rows, again, "{broken"]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def alone(candidates: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a run on this machine alone makes of them."""
    out = tmp_path_factory.mktemp("alone") / "out"
    refused(dataset("verify", candidates, "--out", out), "1 of 1,600 lines")
    return outputs(out)


def waited_for(condition: Callable[[], Any], running: subprocess.Popen[bytes]) -> Any:
    deadline = time.monotonic() + BEGINS_SECONDS
    while running.poll() is None and time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"ended with {running.poll()}: {running.stderr and running.stderr.read().decode()}")


def test_a_node_and_a_worker_that_die_change_no_byte(
    nodes: Nodes, candidates: Path, alone: dict[str, str], tmp_path: Path
) -> None:
    second = nodes.add()
    running = start("verify", candidates, "--out", tmp_path / "out", "--ray", nodes.address)
    parts = lambda: len(list((tmp_path / "out" / "work").glob("*.part")))  # noqa: E731
    waited_for(lambda: parts() >= 1, running)
    victim = waited_for(lambda: nodes.workers(), running)[0]
    on_second = waited_for(lambda: nodes.workers(second), running)
    os.kill(victim, signal.SIGKILL)
    waited_for(lambda: parts() >= 3, running)
    assert [pid for pid in waited_for(nodes.workers, running) if pid != victim], "another takes its place"
    nodes.cluster.remove_node(second, allow_graceful=False)
    _, errors = running.communicate(timeout=BEGINS_SECONDS)
    assert outliving(on_second, 10) == []
    assert running.returncode == 2, errors
    assert b"1 of 1,600 lines" in errors
    assert outputs(tmp_path / "out") == alone


def test_a_mixture_is_the_same_from_a_cluster(nodes: Nodes, candidates: Path, tmp_path: Path) -> None:
    (tmp_path / "exam.jsonl").write_text(json.dumps({"question": "What is 2 plus 2?"}) + "\n")
    arguments = ("mix", candidates, "--benchmarks", tmp_path / "exam.jsonl")
    refused(dataset(*arguments, "--out", tmp_path / "alone"), "1 of 1,600 lines")
    refused(dataset(*arguments, "--out", tmp_path / "out", "--ray", nodes.address), "1 of 1,600 lines")
    assert (tmp_path / "alone" / "duplicates.jsonl").stat().st_size
    assert outputs(tmp_path / "out") == outputs(tmp_path / "alone")


def test_a_killed_driver_goes_on_where_it_was(
    nodes: Nodes, candidates: Path, alone: dict[str, str], tmp_path: Path
) -> None:
    arguments = ("verify", candidates, "--out", tmp_path / "out", "--ray", nodes.address)
    running = start(*arguments)
    parts = lambda: {path: path.stat().st_ino for path in (tmp_path / "out" / "work").glob("*.part")}  # noqa: E731
    waited_for(lambda: len(parts()) >= 2, running)
    workers = waited_for(nodes.workers, running)
    running.kill()
    running.communicate()
    before = parts()
    assert outliving(workers, 60) == [], "they end with their driver"
    running = start(*arguments)
    waited_for(lambda: len(parts()) > len(before), running)
    assert before.items() <= parts().items(), "what was done is not done again"
    running.communicate(timeout=BEGINS_SECONDS)
    assert outputs(tmp_path / "out") == alone


def test_a_chunk_that_ends_every_worker_stops_the_run_and_is_named(nodes: Nodes, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD)
    (tmp_path / "work").mkdir()
    running = subprocess.run(
        [sys.executable, "-c", ENDING, nodes.address, str(path), str(tmp_path / "work")],
        cwd=ROOT, capture_output=True, text=True, timeout=BEGINS_SECONDS,
    )  # fmt: skip
    assert f"5 workers died over the chunk that begins at {path}:1" in running.stderr


ENDING = """
import os, sys
from contextlib import contextmanager
from pathlib import Path
from dataset.actors import RayActors
from dataset.chunks import cut

@contextmanager
def ending():
    yield lambda chunk, file: os._exit(3)

address, path, work = sys.argv[1:]
list(RayActors(address).run(cut([(Path(path), "candidates")], Path(work)), ending))
"""


def test_where_ray_is_not_one_line_says_so(tmp_path: Path) -> None:
    arguments = ("verify", write(tmp_path / "a.jsonl", GOOD), "--out", tmp_path / "out", "--ray")
    refused(dataset(*arguments, "127.0.0.1:9"), "127.0.0.1:9", "no Ray cluster there", "ray start --head")
    refused(dataset(*arguments, "here"), "--ray here", "HOST:PORT")
    refused(dataset(*arguments, env=os.environ | {"RAY_ADDRESS": "127.0.0.1:9"}), "127.0.0.1:9: no Ray cluster there")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        refused(dataset(*arguments, address), f"{address}: no Ray cluster there", "timed out")
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as web:
        threading.Thread(target=web.handle_request).start()
        refused(dataset(*arguments, f"127.0.0.1:{web.server_port}"), "something else than Ray answers there")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_cluster_that_wants_another_token_says_so_in_one_line(tmp_path: Path) -> None:
    token, other = "ab" * 32, "cd" * 32
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    begin = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--port", str(port), "--num-cpus", "1"]
    begin += ["--include-dashboard", "false", "--object-store-memory", str(STORE_BYTES), "--block"]
    given = os.environ | {"RAY_AUTH_MODE": "token", "RAY_NUM_REDIS_GET_RETRIES": "2"}
    quiet = subprocess.DEVNULL
    head = subprocess.Popen(begin, env=given | {"RAY_AUTH_TOKEN": token}, stdout=quiet, stderr=quiet)
    try:
        arguments = ("verify", write(tmp_path / "a.jsonl", GOOD), "--ray", f"127.0.0.1:{port}", "--out")
        right = given | {"RAY_AUTH_TOKEN": token}
        waited_for(lambda: dataset(*arguments, tmp_path / "let-in", env=right).returncode == 0, head)
        for wrong in ({"RAY_AUTH_TOKEN": other}, {"RAY_AUTH_MODE": "disabled"}):
            done = dataset(*arguments, tmp_path / "out", env=right | wrong)
            refused(done, "does not let us in")
            assert len(done.stderr.splitlines()) == 1
    finally:
        head.terminate()
        head.wait(60)


def test_a_cluster_with_another_python_is_refused_in_one_line(nodes: Nodes, tmp_path: Path) -> None:
    from ray._common.usage.usage_constants import CLUSTER_METADATA_KEY
    from ray._private.ray_constants import KV_NAMESPACE_CLUSTER
    from ray._raylet import GcsClient

    said = GcsClient(address=nodes.address)
    real = said.internal_kv_get(CLUSTER_METADATA_KEY, KV_NAMESPACE_CLUSTER)
    other = json.dumps(json.loads(real) | {"python_version": "3.9.1"}).encode()
    said.internal_kv_put(CLUSTER_METADATA_KEY, other, True, KV_NAMESPACE_CLUSTER)
    try:
        path = write(tmp_path / "a.jsonl", GOOD)
        refused(dataset("verify", path, "--out", tmp_path / "out", "--ray", nodes.address), nodes.address, "3.9.1")
    finally:
        said.internal_kv_put(CLUSTER_METADATA_KEY, real, True, KV_NAMESPACE_CLUSTER)


def test_a_node_with_another_library_is_refused_by_name(nodes: Nodes, tmp_path: Path) -> None:
    (tmp_path / "sympy-9.9.dist-info").mkdir()
    (tmp_path / "sympy-9.9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: sympy\nVersion: 9.9\n")
    node = nodes.add(env_vars={"PYTHONPATH": str(tmp_path)})
    try:
        # So many that the other nodes are not done before this one's actor has begun.
        path = write(tmp_path / "a.jsonl", *({**GOOD, "id": str(number)} for number in range(30_000)))
        done = dataset("verify", path, "--out", tmp_path / "out", "--ray", nodes.address)
        refused(done, "sympy 9.9, here", socket.gethostname(), node.node_id[:8])
    finally:
        nodes.cluster.remove_node(node)


# No namespace of any kind can be made below here: as on a machine whose administrator forbids them.
CAGE = (
    "for kind in user mnt pid net ipc uts cgroup; do echo 0 >/proc/sys/user/max_${kind}_namespaces; done; "
    'exec "$0" -m ray.scripts.scripts start --address "$1" --num-cpus 1 --object-store-memory "$2" --block'
)


def test_a_node_that_cannot_isolate_is_named(nodes: Nodes, tmp_path: Path) -> None:
    head = nodes.cluster.head_node
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        CAGE,
        sys.executable,
        nodes.address,
        str(STORE_BYTES),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as caged:
        try:
            program = GOOD | {"style": "pot", "turns": [["code", "print(4)"]]}
            path = write(tmp_path / "a.jsonl", *({**program, "id": str(number)} for number in range(1000)))
            done = dataset(
                "verify", path, "--out", tmp_path / "out", "--ray", nodes.address, "--workers", 2, "--patience", 1
            )
            refused(done, f"node {socket.gethostname()}", "run the same command to go on")
            assert head.node_id[:8] not in done.stderr
        finally:
            caged.terminate()
            caged.wait(60)
