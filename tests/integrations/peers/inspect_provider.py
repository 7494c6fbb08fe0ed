"""An inspect_ai task in our sandbox, found by the entry point: files, its own `python` tool, a scorer's program.

Arguments: URL PYPROJECT.
"""

import os
import sys
import tempfile
import tomllib
from pathlib import Path

import httpx
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import Score, accuracy, scorer
from inspect_ai.solver import generate, use_tools
from inspect_ai.tool import bash, python
from inspect_ai.util import SandboxEnvironmentSpec, sandbox


def install(pyproject):
    """The package's entry points, where Python looks for those of installed ones."""
    project = tomllib.loads(Path(pyproject).read_text())["project"]
    folder = Path(tempfile.mkdtemp())
    made = folder / "soroban_under_test-0.dist-info"
    made.mkdir()
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: soroban-under-test\nVersion: 0\n")
    lines = [f"{name} = {value}" for name, value in project["entry-points"]["inspect_ai"].items()]
    (made / "entry_points.txt").write_text("\n".join(["[inspect_ai]", *lines, ""]))
    sys.path.insert(0, str(folder))


def outputs(*calls):
    said = [ModelOutput.for_tool_call("mockllm/model", tool, arguments) for tool, arguments in calls]
    said.append(ModelOutput.from_content("mockllm/model", "done"))
    for output in said:
        output.usage = ModelUsage(input_tokens=1, output_tokens=1)  # else it fetches a tokenizer to count
    return said


@scorer(metrics=[accuracy()])
def forty_two():
    async def score(state, target):
        done = await sandbox().exec(
            ["python", "-c", "import sys; print(int(open('n').read()) + int(input()))"], input="1"
        )
        assert (done.success, done.stderr) == (True, ""), done
        kept = await sandbox().read_file("made/by/tool", text=True)
        return Score(value=float(done.stdout == "42\n" and kept == "41\r\n"), answer=done.stdout)

    return score


def run(calls, **fields):
    task = Task(
        dataset=[Sample(input="?", files={"default:n": "data:text/plain;base64,NDE="})],
        solver=[use_tools(python(), bash()), generate()],
        scorer=forty_two(),
        **fields,
    )
    model = get_model("mockllm/model", custom_outputs=outputs(*calls))
    (log,) = eval(task, model=model, log_dir=tempfile.mkdtemp(), display="none", fail_on_error=False)
    return log.samples[0]


def sessions(url):
    return httpx.get(url + "/readyz").json()["sessions"]


WRITE = "import os; os.makedirs('made/by'); open('made/by/tool', 'w', newline='').write(open('n').read() + '\\r\\n')"

if __name__ == "__main__":
    url, pyproject = sys.argv[1:]
    install(pyproject)
    os.environ["SOROBAN_SANDBOX_URL"] = url
    before = sessions(url)
    calls = [("python", {"code": WRITE}), ("python", {"code": "1 / 0"}), ("bash", {"command": "ls | wc"})]
    sample = run(calls, sandbox="soroban")
    assert sample.error is None, sample.error.message
    assert sample.scores["forty_two"].value == 1.0, sample.scores
    wrote, failed, shell = (message.text for message in sample.messages if message.role == "tool")
    assert wrote == "", wrote
    assert "ZeroDivisionError" in failed, failed
    assert "bash: not found" in shell, shell
    assert sessions(url) <= before, "a sample's session ends with it"

    from integrations.inspect_sandbox import SorobanConfig

    small = SandboxEnvironmentSpec("soroban", SorobanConfig(url=url, memory_bytes=256 << 20))
    again = SandboxEnvironmentSpec.model_validate_json(small.model_dump_json())
    assert again.config == small.config, "as inspect_ai reads it from a log to go on with it"
    large = "x = bytearray(1 << 30)\nfor i in range(0, 1 << 30, 4096): x[i] = 1"
    parent = "import os, time; os.kill(os.getppid(), 9); time.sleep(1)"
    sample = run([("python", {"code": code}) for code in (large, parent, "print(5)")], sandbox=small)
    killed, ended, after = (message.text for message in sample.messages if message.role == "tool")
    if os.geteuid() == 0:
        assert killed == "Killed\n\n", killed
    else:  # no control group: a limit of the process holds, and Python says so itself
        assert killed.split()[-1] in ("MemoryError", "Killed"), killed
    assert "files are gone" in ended, "a program's end, said to the model"
    assert after == "5\n", after

    away = SandboxEnvironmentSpec("soroban", SorobanConfig(url="http://127.0.0.1:9", patience_seconds=0.5))
    sample = run([], sandbox=away)
    assert sample.error is not None
    assert not sample.scores, "a failure of ours is not scored"
