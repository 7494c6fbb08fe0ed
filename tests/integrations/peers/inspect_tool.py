"""An inspect_ai task whose model calls our tool; its answers are scripted. Argument: URL."""

import sys
import tempfile

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import match
from inspect_ai.solver import generate, use_tools

from integrations.inspect_ai import soroban_python


def calls(*programs):
    outputs = [ModelOutput.for_tool_call("mockllm/model", "python", {"code": code}) for code in programs]
    outputs.append(ModelOutput.from_content("mockllm/model", "ANSWER: 42"))
    for output in outputs:
        output.usage = ModelUsage(input_tokens=1, output_tokens=1)  # else it fetches a tokenizer to count
    return outputs


def run(url, outputs, samples=1, patience=60.0):
    task = Task(
        dataset=[Sample(input="What is 6 times 7?", target="42") for _ in range(samples)],
        solver=[use_tools(soroban_python(url, patience_seconds=patience)), generate()],
        scorer=match(),
    )
    model = get_model("mockllm/model", custom_outputs=outputs)
    (log,) = eval(task, model=model, log_dir=tempfile.mkdtemp(), display="none", max_samples=1, fail_on_error=False)
    return log


if __name__ == "__main__":
    log = run(sys.argv[1], [*calls("x = 6", "print(x * 7)\nx"), *calls("x")], samples=2)
    assert log.status == "success", log.error
    assert not any(sample.error for sample in log.samples), str(log.samples[0].error)[:300]
    first, second = ([m.text for m in sample.messages if m.role == "tool"] for sample in log.samples)
    assert first == ["(no output)", "42\n6"], first
    assert "NameError" in second[0], "a sample sees no other's variables"
    assert log.results.scores[0].metrics["accuracy"].value == 1.0
    failed = run("http://127.0.0.1:9", calls("1"), patience=0.5)
    assert failed.samples[0].error is not None
    assert not failed.samples[0].scores, "a failure of ours is not scored"
