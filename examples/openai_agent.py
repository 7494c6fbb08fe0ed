"""An agent of forty lines: any server with OpenAI's chat API, and the Python tool.

python -m sandbox serve & vllm serve Qwen/Qwen3-8B --enable-auto-tool-choice --tool-call-parser hermes &
python examples/openai_agent.py "What is the 1,000th prime?" --model Qwen/Qwen3-8B
"""

from __future__ import annotations

import argparse
import asyncio

import httpx

from integrations.messages import called_code
from integrations.tool import OPENAI_TOOL, AsyncTool
from sandbox import AsyncSandbox


async def answer(question: str, *, url: str, model: str, sandbox: str | None, rounds: int = 8) -> str:
    """The model's last word on `question`. A failure of the sandbox is raised, never shown to the model."""
    messages: list[dict[str, object]] = [{"role": "user", "content": question}]
    async with AsyncSandbox(sandbox) as client, httpx.AsyncClient(timeout=300) as http:
        tool = AsyncTool(client)
        for _ in range(rounds):
            body = {"model": model, "messages": messages, "tools": [OPENAI_TOOL]}
            reply = (await http.post(f"{url}/v1/chat/completions", json=body)).raise_for_status().json()
            message = reply["choices"][0]["message"]
            messages.append(message)
            if not message.get("tool_calls"):
                return str(message["content"])
            for call in message["tool_calls"]:
                code = called_code(call)
                shown = "The tool is python, its one argument code." if code is None else await tool.run(code)
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": shown})
    return f"no answer after {rounds} rounds"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="of the model's server")
    parser.add_argument("--model", required=True)
    parser.add_argument("--sandbox", help="address of a sandbox server (default: one in here)")
    options = vars(parser.parse_args())
    print(asyncio.run(answer(options.pop("question"), **options)))
