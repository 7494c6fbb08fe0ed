"""MathCodeInstruct: 80K solutions of GSM8K, MATH and problems between them as text, code and execution (MathCoder).

    {"messages": [{"role": "system", "content": [{"type": "text", "content": ""}]},
                  {"role": "user", "content": [{"type": "text", "content": "Natalia sold clips …"}]},
                  {"role": "assistant", "content": [{"type": "text", "content": "Let's …"},
                      {"type": "code", "content": "48 + 48 / 2"}, {"type": "execution", "content": "72.0"},
                      {"type": "text", "content": "She sold $\\\\boxed{72}$ clips."}]}]}

huggingface.co/datasets/MathLLMs/MathCodeInstruct (`train_80k.jsonl`), arXiv 2310.03731, Apache 2.0. There is no field
for the answer: the solution's own last words are its reference, as in `numina_tir`. Cells keep their state, and the
last expression of each is shown; an execution that printed nothing is recorded as "<empty_execution>".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset.sources.mathcoder import NOTHING
from dataset.sources.records import Candidate, own_reference
from dataset.types import Turn, TurnKind
from sandbox.errors import InputError

_KINDS: Mapping[str, TurnKind] = {"text": "text", "code": "code", "execution": "output"}


def _turns(content: object) -> tuple[Turn, ...]:
    if isinstance(content, str):
        return (Turn("text", content),)
    if not isinstance(content, list) or not all(
        isinstance(part, Mapping) and part.get("type") in list(_KINDS) and isinstance(part.get("content"), str)
        for part in content
    ):
        raise InputError(f"'content' is {str(content)[:80]}, expected objects with type text, code or execution")
    return tuple(
        Turn(_KINDS[part["type"]], "" if part["content"].strip() == NOTHING else part["content"]) for part in content
    )


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """The one solution in a row."""
    messages = row.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, Mapping) for message in messages):
        raise InputError(f"'messages' is {str(messages)[:80]}, expected a list of objects with role and content")
    roles = [message.get("role") for message in messages]
    if roles[-2:] != ["user", "assistant"]:
        raise InputError(f"the roles of 'messages' are {roles}, expected them to end with user, assistant")
    question = "\n".join(turn.text for turn in _turns(messages[-2].get("content")))
    return [own_reference("mathcodeinstruct", default_id, question, _turns(messages[-1].get("content")))]
