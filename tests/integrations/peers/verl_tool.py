"""verl loads our tool class from its configuration file, and its agent loop calls it; the model is scripted.

Argument: URL.
"""

import asyncio
import gc
import json
import sys
import tempfile
import time

import requests
from omegaconf import OmegaConf
from tiny import model_and_tokenizer
from verl.experimental.agent_loop.agent_loop import DictConfigWrap, ToolListWrap
from verl.experimental.agent_loop.tool_agent_loop import ToolAgentLoop
from verl.tools.tool_registry import initialize_tools_from_config
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.workers.rollout.replica import TokenOutput

CONFIG = """
tools:
  - class_name: integrations.verl_tool.PythonTool
    config: {{type: native, sandbox: "{}", wall_seconds: 2.0}}
"""
ROLLOUT = {
    "prompt_length": 4096,
    "response_length": 4096,
    "full_determinism": False,
    "multi_turn": {
        "format": "hermes",
        "max_user_turns": 8,
        "max_assistant_turns": 8,
        "max_parallel_calls": 4,
        "max_tool_response_length": 1000,
        "tool_response_truncate_side": "right",
    },
}
CHAT = (
    "{%- for m in messages -%}<|im_start|>{{ m.role ~ '\\n' ~ m.content }}"
    "{%- for c in m.tool_calls or [] -%}<tool_call>{{ c.function | tojson }}</tool_call>{%- endfor -%}"
    "<|im_end|>{{ '\\n' }}{%- endfor -%}{%- if add_generation_prompt -%}<|im_start|>{{ 'assistant\\n' }}{%- endif -%}"
)


def calls(*codes):
    said = (json.dumps({"name": "python", "arguments": {"code": code}}) for code in codes)
    return "".join(f"<tool_call>{one}</tool_call>" for one in said)


class Scripted:
    """A policy that says what stands in `turns`, and keeps what it was shown."""

    def __init__(self, tokenizer, turns):
        self.tokenizer, self.turns, self.shown = tokenizer, iter([*turns, "It is 42."]), ""

    async def generate(self, *, prompt_ids, **_):
        self.shown = self.tokenizer.decode(prompt_ids)
        return TokenOutput(token_ids=self.tokenizer(next(self.turns) + "<|im_end|>")["input_ids"])


def sessions(url):
    return requests.get(url + "/readyz").json()["sessions"]


async def rolled_out(tool, *turns):
    """What verl's loop showed the policy as the tool's answers."""
    _, tokenizer = model_and_tokenizer()
    tokenizer.chat_template = CHAT
    policy = Scripted(tokenizer, turns)
    config = OmegaConf.create({"actor_rollout_ref": {"rollout": ROLLOUT}, "data": {}})
    parts = (DictConfigWrap(config), policy, tokenizer, None, RLHFDataset, DictConfigWrap(config.data))
    loop = ToolAgentLoop(*parts, tools=ToolListWrap([tool]))
    await loop.run({}, raw_prompt=[{"role": "user", "content": "6 times 7?"}])
    return [part.split("<|im_end|>")[0] for part in policy.shown.split("<|im_start|>tool\n")[1:]]


async def in_verls_loop(tool, url):
    before = sessions(url)
    shown, other = await asyncio.gather(
        rolled_out(tool, calls("x = 6"), calls("print(x * 7)", "y = x; x"), calls("while True: pass"), calls("x")),
        rolled_out(tool, calls("x")),
    )
    assert shown[:3] == ["(no output)", "42", "6"], shown
    assert "Timed Out" in shown[3], shown
    assert "NameError" in shown[4], "its variables went with the program that ran too long"
    assert "NameError" in other[0], "a trajectory sees no other's variables"
    gc.collect()
    began = time.monotonic()
    while sessions(url) > before:
        assert time.monotonic() - began < 10, "sessions are left of trajectories that have ended"
        await asyncio.sleep(0.1)


async def from_create_to_release(tool, url):
    before = sessions(url)
    (one, _), (other, _) = await tool.create(), await tool.create("named")
    assert other == "named"
    response, reward, _ = await tool.execute(one, {"code": "x = 6"})
    assert (response.text, reward) == ("(no output)", 0.0)
    assert (await tool.execute(one, {"code": "x * 7"}))[0].text == "42"
    assert "NameError" in (await tool.execute(other, {"code": "x"}))[0].text
    assert "code" in (await tool.execute(one, {"program": "x"}))[0].text
    for name in (one, other):
        await tool.release(name)
    assert sessions(url) <= before


async def main(url):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(CONFIG.format(url))
        file.flush()
        (tool,) = initialize_tools_from_config(file.name)
    assert (tool.name, tool.tool_schema.function.parameters.required) == ("python", ["code"])
    await in_verls_loop(tool, url)
    await from_create_to_release(tool, url)
    await tool._sandbox.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
