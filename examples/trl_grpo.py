"""TRL's GRPOTrainer on a CPU with the Python tool: the sandbox runs what the model writes, the grader rewards it.

    pip install trl==1.16.0 accelerate
    python examples/trl_grpo.py --updates 40 --seed 0

1. A Qwen3 of half a million parameters is taught the form of a tool call on the demo's problems, with an expression
   that is right only now and then: `print(a*b+c)` where the story asks for `(a+b)*c`, say.
2. GRPO goes on from there. A rollout is a conversation with the tool (`integrations.trl.python_environment`), its
   reward is 1 if what the program printed is the answer (`integrations.trl.solution_reward`), else 0.

It prints a JSON line for each tenth of the updates, and at the end the share of right answers on problems that neither
step saw, before and after. To train a real model, replace the first step by its name.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, PrinterCallback, Qwen3Config, Qwen3ForCausalLM

from dataset.demo.problems import DemoProblem, draw_problems, program, value_of
from integrations.messages import solution_turns
from integrations.reward import rewards
from integrations.trl import python_environment, solution_reward

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own import: which vLLM it would like
    from trl import GRPOConfig, GRPOTrainer
    from trl.chat_template_utils import parse_response

WORDS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>")
# Rendered as Qwen's are, without the description of the tools, which a model of this size would only have to copy.
# Ends of lines are strings in it: Jinja takes away those before a "{%-".
CHAT = (
    "{%- for m in messages -%}<|im_start|>{{ m.role ~ '\n' }}"
    "{%- if m.tool_calls -%}{%- for c in m.tool_calls -%}"
    "<tool_call>{{ (c.function if c.function else c) | tojson }}</tool_call>"
    "{%- endfor -%}{%- else -%}{{ m.content }}{%- endif -%}<|im_end|>\n{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|im_start|>{{ 'assistant\n' }}{%- endif -%}"
)
# How TRL finds a call in what the model wrote.
CALLS = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "tool_calls": {
            "open": "<tool_call>",
            "close_pattern": r"</tool_call>\s*",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"close_pattern": r"<\|im_end\|>\s*", "content": "text"},
    },
}
MOST = 100  # of a number: each is one token, which the model has to see often enough to copy it
STORIES = ("apples", "rows", "nuts", "hats", "pages")
# What a pupil who does not read the story might compute from its three numbers.
GUESSES = ("a*b+c", "a*b-c", "(a+b)*c", "(a-b)*c", "a*b*c")


def problems(count: int, split: str, draw: random.Random, used: set[str]) -> list[DemoProblem]:
    """Demo problems of `STORIES`: three small numbers each, and nothing but the story says what to do with them."""
    found: list[DemoProblem] = []
    while len(found) < count:
        found += [
            one
            for one in draw_problems(64, split, draw, used)
            if one.template.name in STORIES and max(one.numbers.values()) < MOST
        ]
    return found[:count]


def question(made: DemoProblem) -> list[dict[str, Any]]:
    return [{"role": "user", "content": made.problem.question}]


def guess(made: DemoProblem, draw: random.Random) -> list[dict[str, Any]]:
    """A whole conversation with an expression that is right one time in five."""
    expression = draw.choice(GUESSES)
    function = {"name": "python", "arguments": {"code": program(expression, made.numbers)}}
    call = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}
    printed = {"role": "tool", "name": "python", "content": str(value_of(expression, made.numbers))}
    return [*question(made), call, printed, {"role": "assistant", "content": "Done."}]


def new_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Bytes and the merges of `texts`; a number below 1,000 is one token, so that a small model can copy it."""
    core = Tokenizer(models.BPE())
    numbers = pre_tokenizers.Split(Regex(r"\d{1,3}|\W"), behavior="isolated")
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.pre_tokenizer, core.decoder = pre_tokenizers.Sequence([numbers, bytes_of]), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1600, special_tokens=list(WORDS), initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator([*texts, *map(str, range(1000))] * 2, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=WORDS[2], pad_token=WORDS[0])
    tokenizer.chat_template, tokenizer.response_template = CHAT, CALLS
    return tokenizer


def new_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            head_dim=32,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def teach_the_form(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, made: Sequence[DemoProblem], steps: int, seed: int
) -> float:
    """Learn the assistant's turns of `guess`, `steps` batches of 32; the last loss, nats a token."""
    draw = random.Random(seed)
    examples = []
    for one in made:
        tokens: list[int] = []
        labels: list[int] = []
        for message in guess(one, draw):
            said = message["role"] == "assistant"
            header = tokenizer(f"<|im_start|>{message['role']}\n")["input_ids"]
            body = tokenizer(tokenizer.apply_chat_template([message], tokenize=False))["input_ids"][len(header) :]
            tokens += header + body
            labels += [-100] * len(header) + (body if said else [-100] * len(body))
        examples.append((tokens, labels))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    loss = torch.tensor(0.0)
    for _ in range(steps):
        rows = draw.choices(examples, k=32)
        width = max(len(tokens) for tokens, _ in rows)
        inputs_BT = torch.tensor([tokens + [tokenizer.pad_token_id] * (width - len(tokens)) for tokens, _ in rows])
        labels_BT = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in rows])
        loss = model(input_ids=inputs_BT, labels=labels_BT).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return loss.item()


def share_right(model: Any, tokenizer: PreTrainedTokenizerFast, made: Sequence[DemoProblem], sandbox: str) -> float:
    """The share of problems whose first call, greedily decoded, prints the answer."""
    model.eval()
    tokenizer.padding_side = "left"
    asked = [tokenizer.apply_chat_template(question(one), tokenize=False, add_generation_prompt=True) for one in made]
    batch = tokenizer(asked, return_tensors="pt", padding=True, return_token_type_ids=False)
    ids = model.generate(**batch, max_new_tokens=40, do_sample=False)[:, batch["input_ids"].shape[1] :]
    # TRL's reading, as in its own loop: a call that is not JSON is text.
    said = [
        parse_response(tokenizer, row, prefix=tokenizer(text)["input_ids"])
        for row, text in zip(ids.tolist(), asked, strict=True)
    ]
    turns = [tuple(turn for turn in solution_turns([one]) if turn.kind == "code") for one in said]
    references = [one.problem.answer for one in made]
    given = rewards([one.problem.question for one in made], references, turns, sandbox=sandbox)
    return sum(one is not None and one.correct == 1 for one in given) / len(made)


def tell(seed: int, **values: float) -> None:
    print(json.dumps({"seed": seed, **values}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sandbox", default="embedded", help="address of a sandbox server (default: one in here)")
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--form-steps", type=int, default=600, help="batches of the first step")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    draw, used = random.Random(arguments.seed), set[str]()
    test, train = problems(200, "test", draw, used), problems(2000, "train", draw, used)
    probe = new_tokenizer([one.problem.question for one in train])
    texts = [probe.apply_chat_template(guess(one, draw), tokenize=False) for one in train]
    tokenizer = new_tokenizer(texts)
    model = new_model(tokenizer)
    loss = teach_the_form(model, tokenizer, train, arguments.form_steps, arguments.seed)
    before = share_right(model, tokenizer, test, arguments.sandbox)
    size = sum(each.numel() for each in model.parameters())
    print(
        json.dumps({"seed": arguments.seed, "parameters": size, "form_loss": round(loss, 3), "before": before}),
        flush=True,
    )

    rows = [{"prompt": question(one), "question": one.problem.question, "answer": one.problem.answer} for one in train]
    tokenizer.padding_side = "left"
    trainer = GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows),
        reward_funcs=[solution_reward(reference="answer", question="question")],
        environment_factory=python_environment(arguments.sandbox),
        args=GRPOConfig(
            output_dir=tempfile.mkdtemp(),
            use_cpu=True,
            bf16=False,
            max_steps=arguments.updates,
            per_device_train_batch_size=64,
            num_generations=8,
            max_completion_length=64,
            max_tool_calling_iterations=1,
            learning_rate=arguments.learning_rate,
            lr_scheduler_type="constant",
            temperature=0.7,  # at 1 so small a model copies one number in ten wrongly, and few samples are right
            logging_steps=max(1, arguments.updates // 10),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            gradient_checkpointing=False,
            seed=arguments.seed,
        ),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    for entry in trainer.state.log_history:
        if "reward" in entry:
            kept = {
                name: round(entry[name], 3) for name in ("reward", "reward_correct", "reward_failed") if name in entry
            }
            print(json.dumps({"seed": arguments.seed, "update": entry["step"], **kept}), flush=True)
    after = share_right(model, tokenizer, test, arguments.sandbox)
    tell(arguments.seed, before=before, after=after)


if __name__ == "__main__":
    main()
