"""Any chat model can be asked: templates that cannot be trained on, thinking, system messages, SentencePiece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from dataset.chat import ChatFormat
from dataset.thinking import answer_part
from dataset.transcript import STOP, splice
from sandbox.errors import InputError

# Synthetic, each of the shape of the template that it is named after: what it writes before an answer, what it makes of
# one, what ends it. (template, generation prompt's end, end of turn)
_USER = (
    "{% for m in messages %}{% if m.role == 'system' %}<sys>{{ m.content }}"
    "{% elif m.role == 'user' %}<user>{{ m.content }}"
)
_CLOSE = "{% endif %}{% endfor %}"
TEMPLATES = {
    "r1": (
        "<bos>" + _USER + "{% else %}<assistant>{{ m.content.split('</think>')[-1] }}<eos>" + _CLOSE
        + "{% if add_generation_prompt %}<assistant><think>\n{% endif %}",
        "<think>\n",
        "<eos>",
    ),
    "qwq": (
        _USER.replace("<user>", "<role>user\n") + "<end>\n{% else %}"
        "<role>assistant\n{{ m.content.split('</think>')[-1] }}<end>\n"
        + _CLOSE + "{% if add_generation_prompt %}<role>assistant\n<think>\n{% endif %}",
        "<think>\n",
        "<end>",
    ),
    "v3": (
        "<bos>" + _USER + "{% else %}<assistant></think>{{ m.content }}<eos>" + _CLOSE
        + "{% if add_generation_prompt %}<assistant>{% if thinking %}<think>{% else %}</think>{% endif %}{% endif %}",
        "</think>",
        "<eos>",
    ),
    "glm": (
        "<bos>" + _USER + "{% else %}<assistant>\n<think></think>\n{{ m.content }}" + _CLOSE
        + "{% if add_generation_prompt %}<assistant>{% endif %}",
        "<assistant>",
        "<user>",
    ),
    "nemotron": (
        _USER.replace("<user>", "<role>user\n") + "<end>\n{% else %}"
        "<role>assistant\n<think></think>{{ m.content }}<end>\n"
        + _CLOSE + "{% if add_generation_prompt %}<role>assistant\n<think>{% if not enable_thinking | default(true) %}"
        "</think>{% endif %}{% endif %}",
        "<think>",
        "<end>",
    ),
    "llama2": (
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
        "{% if m.role == 'user' %}<bos>[INST] {{ m.content }} [/INST]{% else %} {{ m.content }} <eos>" + _CLOSE,
        "[/INST]",
        "<eos>",
    ),
}  # fmt: skip
SPECIAL = ["<unk>", "<bos>", "<eos>", "<user>", "<assistant>", "<role>", "<end>", "<sys>"]


def tokenizer(template: str, kind: str = "bytes", *, eos: str | None = "<eos>") -> Any:
    """A character tokenizer of one of these kinds: byte-level, or Llama-2's two ways with a space before a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if kind == "bytes":
        bpe = Tokenizer(models.BPE(vocab={one: n for n, one in enumerate([*SPECIAL, *alphabet])}, merges=[]))
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = decoders.ByteLevel()
    else:
        pieces = [*SPECIAL, *(f"<0x{n:02X}>" for n in range(256)), "▁", *(chr(n) for n in range(33, 127))]
        bpe = Tokenizer(
            models.BPE(
                vocab={one: n for n, one in enumerate(pieces)}, merges=[], unk_token="<unk>", byte_fallback=True,
                fuse_unk=True,
            )
        )  # fmt: skip
        if kind == "legacy":  # as Llama-2's converted tokenizer.json
            bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        else:
            bpe.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
        bpe.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    bpe.add_special_tokens([one for one in SPECIAL if one != "<unk>"])
    whole = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<bos>", eos_token=eos, unk_token="<unk>")
    whole.chat_template = template
    return whole


def ask(chat: ChatFormat) -> str:
    text = chat.tokenizer.decode(chat.prompt([{"role": "user", "content": "What is 6*7?"}]))  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_that_cannot_be_trained_on_can_be_asked(name: str) -> None:
    template, opened, end = TEMPLATES[name]
    one = tokenizer(template)
    chat = ChatFormat.for_exam(one)
    assert "What is 6*7?" in ask(chat)
    assert ask(chat).endswith(opened)
    assert one.convert_ids_to_tokens(chat.end_of_turn) == end
    assert one.eos_token_id in chat.ends
    assert chat.thinks == (opened if opened.startswith("<think>") else "")


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name != "v3"])
def test_such_a_template_is_still_refused_for_training(name: str) -> None:
    with pytest.raises(InputError, match="chat template"):
        ChatFormat(tokenizer(TEMPLATES[name][0]))


@pytest.mark.parametrize(("name", "option"), [("v3", {"thinking": True}), ("nemotron", {"enable_thinking": False})])
def test_a_templates_switch_is_handed_to_it_and_one_it_lacks_is_refused(name: str, option: dict[str, bool]) -> None:
    one = tokenizer(TEMPLATES[name][0])
    switched = ask(ChatFormat.for_exam(one, options=option))
    assert switched != ask(ChatFormat.for_exam(one))
    assert switched.endswith("<think>" if name == "v3" else "<think></think>")
    with pytest.raises(InputError, match="--template-option enable_thinkin: the chat template does not read it"):
        ChatFormat.for_exam(one, options={"enable_thinkin": False})


def test_a_system_message_stands_first_and_a_template_without_a_place_for_it_is_refused() -> None:
    assert ask(ChatFormat.for_exam(tokenizer(TEMPLATES["r1"][0]), system="Be brief.")).startswith("<bos><sys>Be brief.")
    with pytest.raises(InputError, match=r"refuses these messages \(system, user\): Conversation roles must alternate"):
        ChatFormat.for_exam(tokenizer(TEMPLATES["llama2"][0]), system="Be brief.")
    deaf = "{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}<eos>{% endif %}{% endfor %}"
    with pytest.raises(InputError, match="leaves out the system message"):
        ChatFormat.for_exam(tokenizer(deaf), system="Be brief.")


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "nothing ends the model's turn"),
        ("", "no chat template"),
        ("{% for m in messages %}{{ m.content", "refuses these messages"),
        ("Hello", "leaves out the user's message"),
        (
            "{% for m in messages %}{% for part in m.content %}{{ part.text.strip() }}{% endfor %}{% endfor %}",
            "refuses",
        ),
    ],
)
def test_a_template_with_which_nothing_can_be_asked_is_refused_in_one_line(template: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as told:
        ChatFormat.for_exam(tokenizer(template, eos=None))
    assert "\n" not in str(told.value)


def test_a_base_model_needs_no_template() -> None:
    one = tokenizer("")
    chat = ChatFormat.for_exam(one, template=False, ends=[7])
    assert (chat.ends, chat.plain_prompt("Question: ")) == ((one.eos_token_id, 7), one.encode("Question: "))


@pytest.mark.parametrize("kind", ["bytes", "legacy", "metaspace"])
def test_a_spliced_sequence_decodes_to_the_very_text(kind: str) -> None:
    """A tokenizer that puts a space before a text puts none before a stretch, nor does its decoder take one away."""
    one = tokenizer(TEMPLATES["llama2"][0], kind)
    chat = ChatFormat.for_exam(one)
    prompt = chat.prompt([{"role": "user", "content": "What is 6*7?"}])
    stretches = [" Let me see.\n```python\nprint(6*7)\n```\n" + STOP, splice("42"), "The answer is 42.", " 数 \n\n  x"]
    ids: list[int] = list(prompt)
    for stretch in stretches:
        piece = chat.piece(stretch)
        assert chat.decode(piece) == stretch
        ids += piece
    asked = "<bos>[INST] What is 6*7? [/INST]"
    assert one.decode(ids).replace("<bos> ", "<bos>") == asked + "".join(stretches)


@pytest.mark.parametrize("kind", ["legacy", "metaspace"])
def test_a_training_example_of_such_a_tokenizer_is_the_templates_own_tokens(kind: str) -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}<eos>"
        + _CLOSE
    )
    one = tokenizer(template, kind)
    answer = "So:\n```python\nprint(6*7)\n```\n```output\n42\n```\nIt is 42."
    messages = [{"role": "user", "content": "What is 6*7?"}, {"role": "assistant", "content": answer}]
    pieces: Sequence[tuple[list[int], bool]] = ChatFormat(one).example(messages)
    whole = one.apply_chat_template(messages, tokenize=False)
    assert [token for ids, _ in pieces for token in ids] == one.encode(whole, add_special_tokens=False)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>\n7, no, \\boxed{8}\n</think>\n\nIt is 7.", "\n\nIt is 7."),
        ("<think>\n\\boxed{8} and so on", ""),
        ("[THINK]a[/THINK]b", "b"),
        ("no opening </think> It is 7.", " It is 7."),
        ("It is 7, I <think>.", "It is 7, I <think>."),
    ],
)
def test_the_answer_is_what_follows_the_thinking(text: str, answer: str) -> None:
    assert answer_part(text) == answer
