"""What a second engine, or a second model server, brings.

    python -m bench.replicas engines MODEL_FOLDER [--problems 48] [--turns 3]     JSON lines
    python -m bench.replicas servers TOKENIZER_FOLDER [--problems 400]            one JSON line

`engines`: seconds of an exam with one vLLM engine over those with two (`--replicas 2`), by turns, each answer of the
same number of tokens. On two cores an engine has one; the second shares its core with the evaluator.

`servers`: the same with one and two model servers, each in a process of its own. What is simulated is their model:
each has 8 answers under way at a time and waits half a second for each, so that cores do not decide.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from aiohttp import web

from bench.replay import recorded_run
from dataset.types import Problem
from evaluator.models.types import Model, ModelOptions, Sampling
from evaluator.protocols import PROTOCOLS
from evaluator.results import read_results
from evaluator.run import Exam, Means, run_exams
from sandbox import AsyncSandbox

UNDER_WAY, SECONDS = 8, 0.5
PROTOCOL = replace(PROTOCOLS["default"], new_tokens=64, generation_tokens=64)


class Lent:
    """A model that is left open when the exam that uses it ends."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    async def close(self) -> None:
        pass


async def exam_seconds(model: Model, problems: int) -> float:
    """Seconds of an exam without tools, its results and verdicts written.

    Raises:
        SystemExit: an answer failed.
    """
    asked = [
        Problem(id=f"b/{n}", source="b", language="en", question=f"What is {n} times {n + 3}?", answer="0")
        for n in range(problems)
    ]
    means = Means(
        open_model=lambda: Lent(model),  # type: ignore[arg-type, return-value]
        open_sandbox=AsyncSandbox,
        protocol=PROTOCOL,
        sampling=Sampling(),
        in_flight=64,
        quiet=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        exam = Exam(folder=Path(folder), config=recorded_run("b", "b", "cot", PROTOCOL), problems=asked, samples=1)
        started = time.monotonic()
        failed = await run_exams([exam], means)
        seconds = time.monotonic() - started
        if failed or len(read_results(Path(folder))[1]) != problems:
            raise SystemExit(f"{failed} of {problems} answers failed")
    return seconds


async def engines(folder: str, problems: int, turns: int) -> None:
    from evaluator.models.replicas import Replicas
    from evaluator.models.vllm import open_vllm

    both = open_vllm(folder, ModelOptions(context_tokens=1024, replicas=2))
    assert isinstance(both, Replicas)
    try:
        one: Any = both._models[0]
        found: dict[str, list[float]] = {"one": [], "two": []}
        await exam_seconds(both, 8)  # warm
        for _ in range(turns):
            for name, model in (("one", one), ("two", both)):
                for engine in both._models:
                    await engine._engine.reset_prefix_cache()  # type: ignore[attr-defined]
                found[name].append(await exam_seconds(model, problems))
        ratio = statistics.median(a / b for a, b in zip(found["one"], found["two"], strict=True))
        rounded = {name: [round(seconds, 2) for seconds in several] for name, several in found.items()}
        print(json.dumps({"what": "one_over_two_engines", "ratio": round(ratio, 3), "aim": ">= 0.95", **rounded}))
    finally:
        await both.close()


def serve(port: int, name: str) -> None:
    """A model server that waits instead of computing."""
    room = asyncio.Semaphore(UNDER_WAY)

    async def completions(request: web.Request) -> web.Response:
        await request.json()
        async with room:
            await asyncio.sleep(SECONDS)
        choice = {"text": "It is $\\boxed{1}$.", "finish_reason": "stop", "stop_reason": None}
        return web.json_response({"choices": [choice]})

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": name, "root": name, "max_model_len": 1024}]})

    app = web.Application()
    app.add_routes([web.post("/v1/completions", completions), web.get("/v1/models", models)])
    web.run_app(app, host="127.0.0.1", port=port, print=None)


async def servers(folder: str, problems: int) -> None:
    from evaluator.models.openai import open_openai

    with ExitStack() as stack:
        urls = []
        for _ in range(2):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            command = [sys.executable, "-m", "bench.replicas", "serve", folder, "--port", str(port)]
            process = stack.enter_context(subprocess.Popen(command))
            stack.callback(process.terminate)
            urls.append(f"http://127.0.0.1:{port}/v1")
        for url in urls:
            while True:
                try:
                    httpx.get(f"{url}/models", timeout=5)
                    break
                except httpx.HTTPError:
                    time.sleep(0.1)
        found = []
        for some in (urls[:1], urls):
            model = open_openai(folder, ModelOptions(urls=some))
            found.append(await exam_seconds(model, problems))
            await model.close()
    seconds = [round(one, 2) for one in found]
    told = {"what": "one_over_two_servers", "ratio": round(found[0] / found[1], 3), "aim": ">= 1.8"}
    print(json.dumps({**told, "one": seconds[0], "two": seconds[1], "simulated": True}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("engines", "servers", "serve"))
    parser.add_argument("folder")
    parser.add_argument("--problems", type=int)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.what == "serve":
        serve(arguments.port, arguments.folder)
    elif arguments.what == "engines":
        asyncio.run(engines(arguments.folder, arguments.problems or 48, arguments.turns))
    else:
        asyncio.run(servers(arguments.folder, arguments.problems or 400))


if __name__ == "__main__":
    main()
