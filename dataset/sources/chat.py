"""Any JSON Lines of chat `messages` with a reference answer: what other trainers read and write.

    {"id": "a-17", "answer": "42", "subject": "algebra", "level": "2", "language": "en",
     "messages": [{"role": "user", "content": "What is 6 times 7?"},
                  {"role": "assistant", "content": "It is $\\\\boxed{42}$."}]}

Only `messages` and `answer` are needed. The last message is the solution, in the grammar of `dataset.transcript`; the
user's message before it is the question, from which an instruction of ours ("Please reason step by step …") is
taken off again. A row without `answer` (or null) loads, and is dropped by verification as "no_reference".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from dataset import transcript
from dataset.sources.records import Candidate, candidate, language_of, text_field
from dataset.types import Language, Problem
from sandbox.errors import InputError


def last_exchange(row: Mapping[str, Any]) -> tuple[str, str]:
    """The last user's message without our instruction, and the assistant's answer to it.

    Raises:
        InputError: `messages` is not a list of {role, content} that ends with user, assistant.
    """
    messages = row.get("messages")
    if isinstance(messages, list) and any(
        isinstance(m, Mapping) and isinstance(m.get("content"), list) for m in messages
    ):
        raise InputError(
            "a content is a list of parts, expected a string: MathCodeInstruct's rows are --source mathcodeinstruct"
        )
    if not isinstance(messages, list) or not all(
        isinstance(m, Mapping) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str)
        for m in messages
    ):
        raise InputError(f"'messages' is {str(messages)[:80]}, expected a list of objects with role and content")
    roles = [m["role"] for m in messages]
    if roles[-2:] != ["user", "assistant"]:
        raise InputError(f"the roles of 'messages' are {roles}, expected them to end with user, assistant")
    return transcript.asked(messages[-2]["content"].strip()), messages[-1]["content"]


def convert(row: Mapping[str, Any], default_id: str) -> list[Candidate]:
    """The one solution in a row."""
    question, text = last_exchange(row)
    language: Language = language_of(question)
    if "language" in row:
        if row["language"] not in get_args(Language):
            raise InputError(f"'language' is {row['language']!r}, expected one of {', '.join(get_args(Language))}")
        language = row["language"]
    problem = Problem(
        id=text_field(row, "id") if "id" in row else default_id,
        source=text_field(row, "source") if "source" in row else "chat",
        language=language,
        question=question,
        answer=text_field(row, "answer") if row.get("answer") is not None else None,
        subject=text_field(row, "subject") if "subject" in row else "",
        level=text_field(row, "level") if "level" in row else "",
        split=text_field(row, "split") if "split" in row else "",
    )
    return [candidate(problem, None, text)]
