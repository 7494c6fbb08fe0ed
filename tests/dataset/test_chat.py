"""Tokens of a chat: prompt, words, programs and outputs apart, the same for training and for evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from jinja2 import Template
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from dataset.chat import ChatFormat
from dataset.transcript import STOP, splice
from sandbox.errors import InputError

PLAIN = "{% for m in messages %}{% if m.role == 'user' %}User: {{ m.content }}\n\n{% else %}Assistant: {{ m.content }}</s>{% endif %}{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"  # noqa: E501
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"  # noqa: E501
TEMPLATES = {"plain": PLAIN, "chatml": CHATML}
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
SOLUTION = "Let me see.\n```python\nprint(6*7)\n```\n```output\n42\n```\nThe answer is $\\boxed{42}$."
MESSAGES = [{"role": "user", "content": "What is 6*7?"}, {"role": "assistant", "content": SOLUTION}]


class SmallTokenizer:
    """A byte-level tokenizer with the parts of transformers' interface that are used."""

    def __init__(self, template: str | None, *, adds_bos: bool = False) -> None:
        self._tokenizer = Tokenizer(models.BPE())
        self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=400, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        )
        self._tokenizer.train_from_iterator([SOLUTION, "User: Assistant: print output"] * 20, trainer)
        self.chat_template = template
        self.adds_bos = adds_bos
        self.all_special_ids = [self._tokenizer.token_to_id(token) for token in SPECIAL]
        self.bos_token_id: int | None = self.all_special_ids[0]
        self.eos_token_id: int | None = self.all_special_ids[1]

    def apply_chat_template(self, conversation: Any, *, tokenize: bool, add_generation_prompt: bool) -> str:
        assert not tokenize
        assert self.chat_template
        return Template(self.chat_template).render(messages=conversation, add_generation_prompt=add_generation_prompt)

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        ids = list(self._tokenizer.encode(text).ids)
        return [self.all_special_ids[0], *ids] if add_special_tokens and self.adds_bos else ids

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))


@pytest.fixture(params=TEMPLATES)
def tokenizer(request: pytest.FixtureRequest) -> SmallTokenizer:
    return SmallTokenizer(TEMPLATES[request.param])


def test_an_example_is_the_templates_own_text(tokenizer: SmallTokenizer) -> None:
    pieces = ChatFormat(tokenizer).example(MESSAGES)
    written = tokenizer.decode([token for tokens, _ in pieces for token in tokens])
    whole = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=False)
    assert whole.startswith(written)
    assert whole[len(written) :].strip() == ""


def test_what_is_learned_is_the_assistants_words_programs_and_end(tokenizer: SmallTokenizer) -> None:
    chat = ChatFormat(tokenizer)
    learned = [tokenizer.decode(tokens) for tokens, learn in chat.example(MESSAGES) if learn]
    shown = [tokenizer.decode(tokens) for tokens, learn in chat.example(MESSAGES) if not learn]
    assert learned[0].endswith(f"print(6*7)\n```\n{STOP}")
    assert learned[1] == "The answer is $\\boxed{42}$."
    assert learned[-1] == tokenizer.decode([chat.end_of_turn])
    assert shown[-1] == splice("42")
    assert "What is 6*7?" in shown[0]


def test_a_model_meets_the_sequence_it_was_trained_on(tokenizer: SmallTokenizer) -> None:
    """Prompt, what the model writes up to the stop string, the spliced output: the same tokens as in training."""
    chat = ChatFormat(tokenizer)
    before, _, after = SOLUTION.partition(f"{STOP}\n42\n```\n")
    met = [*chat.prompt(MESSAGES[:1]), *chat.piece(chat.lead_in + before + STOP), *chat.piece(splice("42"))]
    met += [*chat.piece(after), chat.end_of_turn]
    assert met == [token for tokens, _ in chat.example(MESSAGES) for token in tokens]


def test_earlier_answers_belong_to_the_prompt(tokenizer: SmallTokenizer) -> None:
    messages = [*MESSAGES, {"role": "user", "content": "And 7*7?"}, {"role": "assistant", "content": "49"}]
    learned = [tokenizer.decode(tokens) for tokens, learn in ChatFormat(tokenizer).example(messages) if learn]
    assert [text.strip() for text in learned[:-1]] == ["49"]


@pytest.mark.parametrize("adds_bos", [True, False])
def test_bos_stands_once_where_the_tokenizer_uses_it(adds_bos: bool) -> None:
    tokenizer = SmallTokenizer(PLAIN, adds_bos=adds_bos)
    assert ChatFormat(tokenizer).prompt(MESSAGES[:1]).count(0) == adds_bos
    tokenizer = SmallTokenizer("<s>" + PLAIN, adds_bos=adds_bos)
    assert ChatFormat(tokenizer).prompt(MESSAGES[:1]).count(0) == 1


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (None, "no chat template"),
        ("", "no chat template"),
        (PLAIN.replace("</s>", ""), "never stop"),
        (
            PLAIN.replace("{% if add_generation_prompt %}Assistant:", "{% if add_generation_prompt %}Bot:"),
            "differently",
        ),
    ],
)
def test_a_template_that_cannot_be_trained_on_is_refused(template: str | None, says: str) -> None:
    with pytest.raises(InputError, match=says):
        ChatFormat(SmallTokenizer(template))


def test_an_example_must_end_with_the_assistant(tokenizer: SmallTokenizer) -> None:
    for messages in ([], MESSAGES[:1]):
        with pytest.raises(ValueError, match="assistant"):
            ChatFormat(tokenizer).example(messages)
