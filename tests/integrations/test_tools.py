"""The Python tool in other people's loops, driven by their own code; their models' answers are scripted."""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import mcp  # here: its client keeps the standard error of the moment that it is imported at
import pytest

from tests.integrations.environments import ROOT, interpreter, run_peer

PEERS = {
    "verl": "verl_tool.py",
    "smolagents": "smolagents_executor.py",
    "inspect": "inspect_tool.py",
    "nemo_gym": "nemo_gym_agent.py",
    "trl": "trl_tools.py",
}


@pytest.mark.parametrize("name", sorted(PEERS))
def test_another_projects_loop_uses_the_tool(name: str, server: str) -> None:
    run_peer(name, PEERS[name], server)


def test_trl_trains_through_the_tool_and_the_reward(server: str) -> None:
    """One update of the example: TRL's trainer makes the environments, parses and runs the calls, asks the reward."""
    command = [str(interpreter("trl")), str(ROOT / "examples" / "trl_grpo.py"), "--sandbox", server]
    done = subprocess.run(
        [*command, "--updates", "1", "--form-steps", "3"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TRL_EXPERIMENTAL_SILENCE": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"seed"')]
    assert [set(line) for line in lines] == [
        {"seed", "parameters", "form_loss", "before"},
        {"seed", "update", "reward", "reward_correct", "reward_failed"},
        {"seed", "before", "after"},
    ]


async def use_mcp(where: Any) -> None:
    async with mcp.Client(where) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert tools == {"run_python", "open_session", "run_cell", "fork_session", "close_session"}

        async def call(name: str, **arguments: str) -> str:
            answer = await client.call_tool(name, arguments)
            assert not answer.is_error, answer
            return answer.content[0].text

        assert await call("run_python", code="print(input())\n6 * 7", stdin="hi") == "hi\n42"
        assert "ZeroDivisionError" in await call("run_python", code="1 / 0")
        session = await call("open_session")
        assert await call("run_cell", session_id=session, code="x = 41") == "(no output)"
        fork = await call("fork_session", session_id=session)
        assert await call("run_cell", session_id=fork, code="x += 1; x") == "42"
        assert await call("run_cell", session_id=session, code="x") == "41"
        assert await call("close_session", session_id=session) == "closed"
        assert "is gone" in await call("run_cell", session_id=session, code="x")


def test_an_mcp_client_runs_sessions_and_forks_on_stdio(server: str) -> None:
    asyncio.run(
        asyncio.wait_for(
            use_mcp(mcp.StdioServerParameters(command=sys.executable, args=["-m", "sandbox", "mcp", "--url", server])),
            120,
        )
    )


def test_an_mcp_client_runs_sessions_and_forks_over_http(server: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "sandbox", "mcp", "--http", "--port", str(port), "--url", server]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)

    async def when_up() -> None:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            await asyncio.sleep(0.1)
        await use_mcp(f"http://127.0.0.1:{port}/mcp")

    try:
        asyncio.run(asyncio.wait_for(when_up(), 120))
    finally:
        process.terminate()
        process.wait(30)


class Scripted(BaseHTTPRequestHandler):
    """A chat server that calls the tool once and then says what it was told."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert asked["tools"][0]["function"]["name"] == "python"
        last = asked["messages"][-1]
        function = {"name": "python", "arguments": json.dumps({"code": "print(6 * 7)"})}
        message = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": function}],
        }
        if last["role"] == "tool":
            message = {"role": "assistant", "content": f"It is {last['content']}."}
        body = json.dumps({"choices": [{"message": message}]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def test_the_agent_of_forty_lines_answers(server: str) -> None:
    with HTTPServer(("127.0.0.1", 0), Scripted) as chat:
        threading.Thread(target=chat.serve_forever, daemon=True).start()
        answer = runpy.run_path(str(ROOT / "examples" / "openai_agent.py"))["answer"]
        url = f"http://127.0.0.1:{chat.server_address[1]}"
        assert asyncio.run(answer("6 * 7?", url=url, model="any", sandbox=server)) == "It is 42."
        chat.shutdown()
