"""verl loads our tool class from its configuration file and calls it as its agent loop does. Argument: URL."""

import asyncio
import sys
import tempfile

from verl.tools.tool_registry import initialize_tools_from_config

CONFIG = """
tools:
  - class_name: integrations.verl_tool.PythonTool
    config: {{type: native, sandbox: "{}", wall_seconds: 2.0}}
"""


async def main():
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(CONFIG.format(sys.argv[1]))
        file.flush()
        (tool,) = initialize_tools_from_config(file.name)
    assert (tool.name, tool.tool_schema.function.parameters.required) == ("python", ["code"])
    (one, _), (other, _) = await tool.create(), await tool.create("named")
    assert other == "named"
    response, reward, _ = await tool.execute(one, {"code": "x = 6"})
    assert (response.text, reward) == ("(no output)", 0.0)
    assert (await tool.execute(one, {"code": "x * 7"}))[0].text == "42"
    assert "NameError" in (await tool.execute(other, {"code": "x"}))[0].text
    assert "code" in (await tool.execute(one, {"program": "x"}))[0].text
    assert "Timed Out" in (await tool.execute(one, {"code": "while True: pass"}))[0].text
    for name in (one, other):
        await tool.release(name)
    await tool._sandbox.close()


if __name__ == "__main__":
    asyncio.run(main())
