"""A Llama of two layers that has learned a few solutions by heart: calls its tool, reads the output, ends its turn."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dataset.chat import ChatFormat
from dataset.transcript import prompt, render
from dataset.types import Language, Problem, Turn

# (question, language, answer, program): the program is what the model writes, the sandbox prints the answer
_LEARNED: tuple[tuple[str, Language, str, str], ...] = (
    ("What is 3 + 4?", "en", "7", "x = 3\nprint(x + 4)"),
    ("三乘五是多少？", "zh", "15", "print(3 * 5)"),
    ("How many eggs are two dozen?", "en", "24", "for n in range(2):\n    n += 1\nprint(12 * n)"),
)
PROBLEMS = [
    Problem(id=f"tiny/{number}", source="tiny", language=language, question=question, answer=answer)
    for number, (question, language, answer, _) in enumerate(_LEARNED)
]
SOLUTIONS = [
    (
        Turn("text", "Let me compute." if language == "en" else "用程序计算。"),
        Turn("code", program),
        Turn("output", answer),
        Turn("text", f"The answer is $\\boxed{{{answer}}}$."),
    )
    for _, language, answer, program in _LEARNED
]


def messages(number: int) -> list[dict[str, str]]:
    """The chat of one learned solution, as in a training mixture."""
    asked = prompt(PROBLEMS[number].question, "tir", PROBLEMS[number].language)
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": render(SOLUTIONS[number])}]


def make_tiny_model(folder: Path, *, loss_below: float = 0.003) -> None:
    """Write tokenizer and weights to `folder`; about ten seconds. At a loss of 0.03 it is right now and then only."""
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    chat = ChatFormat(tokenizer)
    rows = [[(token, learn) for ids, learn in chat.example(messages(n)) for token in ids] for n in range(len(PROBLEMS))]
    width = max(map(len, rows))
    tokens_BT = torch.tensor([[token for token, _ in row] + [2] * (width - len(row)) for row in rows])
    labels_BT = torch.tensor([[t if learn else -100 for t, learn in row] + [-100] * (width - len(row)) for row in rows])
    torch.set_num_threads(1)  # two threads wait for each other on a busy machine: minutes instead of seconds
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,  # vLLM's CPU attention wants heads of 32 or more
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=512,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(400):
        loss = model(input_ids=tokens_BT, labels=labels_BT).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if loss.item() < loss_below:
            break
    assert loss.item() < max(0.01, loss_below), f"the tiny model has not learned its solutions: loss {loss.item():.3f}"
    model.save_pretrained(folder)


def make_tokenizer() -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=["<begin>", "<end>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([message["content"] for n in range(len(PROBLEMS)) for message in messages(n)] * 20, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<begin>", eos_token="<end>", pad_token="<pad>")
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}User: {{ m.content }}\n\nAssistant:"
        "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    )
    return tokenizer
