"""TRL's own trainer makes an update with our tool, as `tools` and as an environment; what is generated is scripted.

Argument: URL. Its loop parses the calls, runs them, and asks our reward; the update is real.
"""

import json
import sys
import tempfile
import warnings

warnings.simplefilter("ignore")
from datasets import Dataset  # noqa: E402
from tiny import model_and_tokenizer  # noqa: E402
from transformers import PrinterCallback  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

import integrations.reward  # noqa: E402
from examples.trl_grpo import CALLS, CHAT  # noqa: E402
from integrations.trl import python_environment, python_tool, solution_reward  # noqa: E402

CELLS = ["x = 6\nprint('six')", "print(x * 7)"]


def call(code):
    return f"<tool_call>{json.dumps({'name': 'python', 'arguments': {'code': code}})}</tool_call><|im_end|>"


class Scripted(GRPOTrainer):
    """Its policy writes CELLS, then an answer: the right one for every other rollout.

    The percent sign is right because the question asks for it.
    """

    def _generate_single_turn(self, prompt_ids, *_, **__):
        self.turn = getattr(self, "turn", -1) + 1
        answers = [f"It is $\\boxed{{{42 + at % 2}\\%}}$.<|im_end|>" for at in range(len(prompt_ids))]
        texts = [call(CELLS[self.turn])] * len(prompt_ids) if self.turn < len(CELLS) else answers
        return [self.processing_class(text)["input_ids"] for text in texts], None


def update(**tools):
    """What the tool printed to the first rollout, each time, and TRL's log of one update."""
    seen = []

    def spy(completions, **_):
        seen.extend(message["content"] for message in completions[0] if message["role"] == "tool")
        return [0.0] * len(completions)

    model, tokenizer = model_and_tokenizer()
    tokenizer.chat_template, tokenizer.response_template = CHAT, CALLS
    row = {"prompt": [{"role": "user", "content": "What percent of 100 is 6 times 7?"}], "answer": "42"}
    trainer = Scripted(
        model=model,
        processing_class=tokenizer,
        reward_funcs=[solution_reward(reference="answer"), spy],
        train_dataset=Dataset.from_list([row] * 2),
        args=GRPOConfig(
            output_dir=tempfile.mkdtemp(),
            use_cpu=True,
            bf16=False,
            report_to="none",
            disable_tqdm=True,
            save_strategy="no",
            logging_steps=1,
            max_steps=1,
            per_device_train_batch_size=2,
            num_generations=2,
            max_completion_length=512,
        ),
        **tools,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return seen, next(entry for entry in trainer.state.log_history if "reward" in entry)


if __name__ == "__main__":
    printed, log = update(tools=[python_tool(sys.argv[1])])
    assert printed[0] == "six", printed
    assert "NameError" in printed[1], f"calls of `tools` share nothing: {printed}"
    assert (log["reward_correct"], log["reward_tool_use"], log["reward_failed"]) == (0.5, 0.0, 0.0), log
    assert (log["tools/call_frequency"], log["tools/failure_frequency"]) == (2.0, 0.0), log
    assert log["grad_norm"] > 0, log

    printed, log = update(environment_factory=python_environment(sys.argv[1]))
    assert printed == ["six", "42"], "calls in an environment share their variables"
    assert (log["reward_correct"], log["reward_tool_use"], log["reward_failed"]) == (0.5, 1.0, 0.0), log

    integrations.reward._PATIENCE_SECONDS = 0.5
    _, log = update(environment_factory=python_environment("http://127.0.0.1:9"))
    assert log["reward_failed"] == 1.0, "a sample of a broken sandbox is none"
