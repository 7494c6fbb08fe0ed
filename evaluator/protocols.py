"""The rules of an exam as named presets. Each rule is a field, so that its effect can be measured by itself.

`default`: what this project holds to be fair: a notebook session, eight programs, one budget of tokens.

`deepseekmath`: the rules behind the published table (arXiv 2402.03300; deepseek-ai/DeepSeek-Math, evaluation/infer):
`User: …\\n\\nAssistant:` with one BOS; two generations of 1,024 tokens, so that one output is read back and a second
program is run but never seen; 100 characters of output; no session, but earlier programs run again without their
top-level prints, failed ones included; greedy. Deviation: a traceback is cut by characters, there by tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from dataset import transcript
from dataset.chat import ChatFormat
from dataset.types import Language, Style
from evaluator.shots import GSM8K_COT, MATH_COT, PAL, Shots
from sandbox.errors import InputError
from sandbox.render import Profile

# session: cells share their state; rerun: every program is run after all earlier ones without their prints
State = Literal["session", "rerun"]
Template = Literal["model", "deepseekmath"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One set of rules.

    Attributes:
        programs_shown: how many outputs a model may read; one more program is run, and counts as its answer.
        new_tokens: budget of the model's own tokens in a solution, all its generations together.
        generation_tokens: budget of each generation.
        tool_seconds: wall and processor time of one program.
        tool_memory_bytes: memory of one program.
        output_characters: what of an output is shown; None: the profile's own.
        template: who writes the frame around the question.
        shots: worked examples before the question in place of a chat; an answer ends where the next would begin.
    """

    name: str
    programs_shown: int = 8
    new_tokens: int = 2048
    generation_tokens: int = 2048
    tool_seconds: float = 10.0
    tool_memory_bytes: int = 1 << 30
    state: State = "session"
    profile: Profile = "tora"
    output_characters: int | None = None
    template: Template = "model"
    shots: Shots | None = None

    @property
    def asks_by_chat(self) -> bool:
        """Whether the model's chat template writes the prompt."""
        return self.shots is None and self.template == "model"

    def prompt(self, chat: ChatFormat, question: str, style: Style, language: Language) -> list[int]:
        """Token ids before the assistant's first word, with one BOS if the tokenizer itself begins texts with it."""
        asked = transcript.prompt(question, style, language)
        if self.shots is not None:
            return chat.plain_prompt(self.shots.prompt(question))
        if self.template == "model":
            return chat.prompt([{"role": "user", "content": asked}])
        return chat.plain_prompt(f"User: {asked.strip()}\n\nAssistant:", a_chat=True)


PROTOCOLS: dict[str, Protocol] = {
    "default": Protocol(name="default"),
    "deepseekmath": Protocol(
        name="deepseekmath",
        programs_shown=1,
        new_tokens=2048,
        generation_tokens=1024,
        state="rerun",
        profile="deepseekmath",
        template="deepseekmath",
    ),
    # For base models, as they are commonly measured; PAL's program is run and its output is the answer.
    "gsm8k-8shot": Protocol(name="gsm8k-8shot", new_tokens=512, shots=GSM8K_COT),
    "math-4shot": Protocol(name="math-4shot", new_tokens=1024, shots=MATH_COT),
    "pal": Protocol(name="pal", new_tokens=512, programs_shown=0, shots=PAL),
}


def check_style(protocol: Protocol, style: Style) -> None:
    """Raise `InputError` if the protocol's examples show another style."""
    if protocol.shots is not None and protocol.shots.style != style:
        raise InputError(
            f"--protocol {protocol.name} shows solutions {_SHOWN[protocol.shots.style]}: "
            f"ask for {_FLAGS[protocol.shots.style]} alone"
        )


_SHOWN = {"cot": "in words", "tir": "by programs"}
_FLAGS = {"cot": "--no-tools", "tir": "--tools"}


def find_protocol(name: str, *, new_tokens: int | None = None, programs_shown: int | None = None) -> Protocol:
    """The preset called `name`, with the fields given changed.

    Raises:
        InputError: no such preset, or a field out of range.
    """
    if name not in PROTOCOLS:
        raise InputError(f"unknown protocol {name!r}; there are {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[name]
    if new_tokens is not None:
        if new_tokens < 1:
            raise InputError(f"--new-tokens {new_tokens}: expected at least 1")
        each = min(new_tokens, protocol.generation_tokens) if name == "deepseekmath" else new_tokens
        protocol = replace(protocol, new_tokens=new_tokens, generation_tokens=each)
    if programs_shown is not None:
        if programs_shown < 0:
            raise InputError(f"--programs {programs_shown}: expected 0 or more")
        protocol = replace(protocol, programs_shown=programs_shown)
    return protocol
