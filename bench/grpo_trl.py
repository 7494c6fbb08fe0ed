"""GRPO's loss by TRL on fixed tokens, rewards, reference and model, to compare `trainer.grpo` with.

    python -m venv --system-site-packages V && V/bin/pip install trl==1.16.0 && V/bin/python -m bench.grpo_trl

TRL is no dependency: install it into an environment of its own that sees torch and transformers. It prints a JSON line
a variant: the loss that `GRPOTrainer._compute_loss` returns and the norm of its gradient. `tests/trainer/test_grpo.py`
holds the lines that TRL 1.16.0 printed, and makes the same case by `make_case`.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

# name: (TRL's settings, whether advantages are divided by the deviation, whether old probabilities differ)
VARIANTS: dict[str, tuple[dict[str, Any], bool, bool]] = {
    "deepseekmath": ({"loss_type": "grpo", "beta": 0.04, "use_bias_correction_kl": False}, True, False),
    "trl's default kl": ({"loss_type": "grpo", "beta": 0.04}, True, False),
    "no reference": ({"loss_type": "grpo", "beta": 0.0}, True, False),
    "clipped": ({"loss_type": "grpo", "beta": 0.04, "epsilon": 0.1, "epsilon_high": 0.2}, True, True),
    "dr_grpo": ({"loss_type": "dr_grpo", "beta": 0.0}, False, False),
    "temperature": (
        {"loss_type": "grpo", "beta": 0.04, "use_bias_correction_kl": False, "temperature": 0.7},
        True,
        False,
    ),
    "dapo": ({"loss_type": "dapo", "beta": 0.0, "epsilon_high": 0.28}, True, True),
}
VOCABULARY, BUDGET = 300, 32


@dataclass(frozen=True)
class Case:
    """Four groups of four samples: tokens, prompt first; which were drawn; rewards; log-probabilities when sampled.

    `old` has one number a drawn token. One group has equal rewards; each solution holds a stretch that a tool printed.
    """

    model: Any
    reference: Any
    groups: list[list[tuple[list[int], list[bool], float]]]
    prompts: list[int]
    old: list[list[float]]


def make_case() -> Case:
    """The case, from numpy's generator: the same whatever torch draws."""
    draw = np.random.default_rng(0)
    groups: list[list[tuple[list[int], list[bool], float]]] = []
    prompts = []
    for number in range(4):
        prompt = draw.integers(3, VOCABULARY, size=int(draw.integers(5, 12))).tolist()
        prompts.append(len(prompt))
        group = []
        for sample in range(4):
            length = int(draw.integers(12, BUDGET))
            begin = int(draw.integers(2, 6))
            drawn = [not begin <= place < begin + 4 for place in range(length)]
            answer = draw.integers(3, VOCABULARY, size=length).tolist()
            reward = 1.0 if number == 3 else float((sample + number) % 3 == 0)
            group.append((prompt + answer, [False] * len(prompt) + drawn, reward))
        groups.append(group)
    model, reference = (_model(seed) for seed in (1, 2))
    old = []
    for group in groups:
        for tokens, drawn, _ in group:
            with torch.no_grad():
                logits = model(torch.tensor([tokens])).logits[0, :-1].log_softmax(-1)
            found = logits.gather(1, torch.tensor(tokens[1:])[:, None])[:, 0].numpy()[np.array(drawn[1:])]
            old.append((found + draw.normal(0, 0.2, size=len(found))).tolist())
    return Case(model, reference, groups, prompts, old)


def _model(seed: int) -> Any:
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    base, own = np.random.default_rng(7), np.random.default_rng(seed)
    for name, weight in model.named_parameters():
        values = base.normal(0, 0.15, size=weight.shape) + own.normal(0, 0.02, size=weight.shape)
        weight.data = torch.tensor(values + (1.0 if "norm" in name else 0.0), dtype=torch.float32)
    return model


def trl_inputs(case: Case, *, deviation: bool, old: bool, temperature: float) -> dict[str, Any]:
    """What TRL's loss takes: prompts padded on the left, completions on the right."""
    every = [(prompt, *sample) for prompt, group in zip(case.prompts, case.groups, strict=True) for sample in group]
    wide, long = max(p for p, *_ in every), max(len(tokens) - p for p, tokens, *_ in every)
    shape = (len(every), long)
    prompt_ids = torch.full((len(every), wide), 2)
    ids, mask, tools, olds, references = (torch.zeros(shape, dtype=d) for d in (*[torch.long] * 3, *[torch.float] * 2))
    rewards = torch.tensor([sample[-1] for sample in every]).view(-1, 4)
    for row, (prompt, tokens, drawn, _) in enumerate(every):
        prompt_ids[row, wide - prompt :] = torch.tensor(tokens[:prompt])
        length = len(tokens) - prompt
        ids[row, :length], mask[row, :length] = torch.tensor(tokens[prompt:]), 1
        tools[row, :length] = torch.tensor(drawn[prompt:]).long()
        olds[row, :length][tools[row, :length].bool()] = torch.tensor(case.old[row])
        with torch.no_grad():
            logits = (case.reference(torch.tensor([tokens])).logits[0, prompt - 1 : -1] / temperature).log_softmax(-1)
        references[row, :length] = logits.gather(1, torch.tensor(tokens[prompt:])[:, None])[:, 0]
    centred = rewards - rewards.mean(1, keepdim=True)
    advantages = centred / (rewards.std(1, keepdim=True) + 1e-4) if deviation else centred  # as TRL computes them
    inputs = {
        "prompt_ids": prompt_ids, "prompt_mask": (prompt_ids != 2).long(), "completion_ids": ids,
        "completion_mask": mask, "tool_mask": tools, "advantages": advantages.flatten(),
        "ref_per_token_logps": references, "num_items_in_batch": (mask * tools).sum(),
    }  # fmt: skip
    return {**inputs, "old_per_token_logps": olds} if old else inputs


def main() -> None:
    import trl
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from trainer.tokenizer import train_tokenizer

    torch.set_num_threads(1)
    tokenizer = train_tokenizer(["a few words to learn a tokenizer from"], 300)
    for name, (settings, deviation, old) in VARIANTS.items():
        case = make_case()
        with tempfile.TemporaryDirectory() as folder:
            case.reference.save_pretrained(folder)
            case.model.config._name_or_path = folder  # where TRL looks for the reference
            arguments = GRPOConfig(
                output_dir=folder, per_device_train_batch_size=16, num_generations=4, max_completion_length=BUDGET,
                use_cpu=True, report_to=[], bf16=False, gradient_checkpointing=False, **settings,
            )  # fmt: skip
            trainer = GRPOTrainer(
                model=case.model, reward_funcs=lambda completions, **_: [0.0] * len(completions), args=arguments,
                train_dataset=Dataset.from_dict({"prompt": ["a"] * 16}), processing_class=tokenizer,
            )  # fmt: skip
            trainer.current_gradient_accumulation_steps = 1
            case.model.train()
            inputs = trl_inputs(case, deviation=deviation, old=old, temperature=settings.get("temperature", 1.0))
            loss = trainer._compute_loss(case.model, inputs)
            loss.backward()
            norm = torch.nn.utils.get_total_norm([weight.grad for weight in case.model.parameters()])
            line = {"trl": trl.__version__, "variant": name, "loss": loss.item(), "gradient_norm": norm.item()}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
