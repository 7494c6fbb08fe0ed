"""A real vLLM server, killed (-9) and started again in the middle of a run: is the result file that of a quiet run?

    python -m bench.model_server MODEL_FOLDER PROBLEMS.jsonl [KILLS]      one JSON line

The folder and the problems are those of `make demo`: runs/demo/model and runs/demo/problems/test.jsonl.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from evaluator.results import RESULTS


class VllmServer:
    """`vllm serve` on one port, in a process group of its own."""

    def __init__(self, model: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._model = model

    def start(self) -> float:
        """Start it; seconds until it answers."""
        started = time.monotonic()
        # Not `vllm serve`: that asks for the package's version by a name that the build for the CPU does not have.
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", self._model]
        command += [
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--dtype",
            "float32",
            "--enforce-eager",
            "--block-size",
            "32",
        ]
        command += ["--block-size", "32", "--gpu-memory-utilization", "0.2"]
        settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
        settings |= {"OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, env=os.environ | settings, stdout=subprocess.DEVNULL, stderr=sys.stderr, start_new_session=True
        )
        while self._process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v1/models", timeout=5).read()
                return time.monotonic() - started
            except OSError:
                time.sleep(0.5)
        raise SystemExit(f"vllm serve ended with {self._process.returncode}")

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def lasting(out: Path) -> list[dict[str, Any]]:
    """The result lines without their times."""
    rows = [json.loads(line) for line in (out / "demo-tools" / RESULTS).read_text().splitlines()]
    for row in rows:
        row.pop("seconds")
        for call in row["calls"]:
            call.pop("wall_seconds"), call.pop("queue_seconds")
    return rows


def main(model: str, problems: str, kills: int) -> None:
    server = VllmServer(model)

    def run(out: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "evaluator", "run", "--url", f"http://127.0.0.1:{server.port}", "--quiet"]
        command += ["--model", model, "--benchmark", "demo", "--file", problems, "--tools", "--out", str(out)]
        return subprocess.Popen([*command, "--in-flight", "4"], stdout=subprocess.DEVNULL)

    with tempfile.TemporaryDirectory() as folder:
        starts = [server.start()]
        try:
            quiet = run(Path(folder) / "quiet").wait()
            total = len(lasting(Path(folder) / "quiet"))
            killed = run(Path(folder) / "killed")
            results = Path(folder) / "killed" / "demo-tools" / RESULTS
            for kill in range(1, kills + 1):
                while not results.exists() or results.read_bytes().count(b"\n") < total * kill // (kills + 1):
                    time.sleep(0.02)
                    if killed.poll() is not None:
                        raise SystemExit("the run ended before its server was killed")
                server.kill()
                starts.append(server.start())
            code = killed.wait()
        finally:
            server.kill()
        same = lasting(Path(folder) / "quiet") == lasting(Path(folder) / "killed")
    seconds = [round(one, 1) for one in starts]
    print(json.dumps({"kills": kills, "problems": total, "exit": [quiet, code], "equal": same, "starts": seconds}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 2)
