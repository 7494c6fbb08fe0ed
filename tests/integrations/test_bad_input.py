"""Bad input at other projects' doors: refused as the original refuses it, or more clearly.

SandboxFusion refuses by FastAPI over pydantic (422 and "detail"), NeMo-Skills' server by an object with "error". What
ours says otherwise stands at the top of `sandbox/server/compat/fusion.py` and `nemo_skills.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from integrations.openrlhf import make_reward_func
from integrations.reward import reward
from integrations.trl import solution_reward
from integrations.verl import compute_score
from sandbox import InputError

SESSION = {"X-Session-ID": "never-seen"}
# method, path, body, headers; then the status and the words
LANGUAGE = {"generated_code": "1", "timeout": 5, "language": "klingon"}
ROWS: list[tuple[str, str, Any, dict[str, str], int, str]] = [
    ("POST", "/run_code", {"code": "1", "language": "klingon"}, {}, 422, "Input should be 'python'"),
    ("POST", "/run_code", {"code": "1"}, {}, 422, "Field required"),
    ("POST", "/run_code", {"language": "python"}, {}, 422, "Field required"),
    ("POST", "/run_code", {"code": 1, "language": "python"}, {}, 422, "Input should be a valid string"),
    ("POST", "/run_code", {"code": "1", "language": "python", "files": {"a": "%%%"}}, {}, 422, "'a' are not base64"),
    ("POST", "/run_jupyter", {"cells": ["1"], "files": {"a": "YQ"}}, {}, 422, "'a' are not base64"),
    ("POST", "/run_jupyter", {"cells": ["1"], "kernel": "ir"}, {}, 422, "Input should be 'python3'"),
    ("POST", "/run_jupyter", {"cells": "1"}, {}, 422, "Input should be a valid array"),
    (
        "POST",
        "/execute",
        {"generated_code": "1", "timeout": 5, "language": "klingon"},
        SESSION,
        400,
        "'ipython', 'python'",
    ),
    (
        "POST",
        "/execute",
        {"generated_code": "1", "timeout": 5},
        {},
        400,
        "X-Session-ID header required for ipython sessions",
    ),
    ("DELETE", "/sessions/never-seen", None, {}, 404, "IPython session never-seen not found"),
    ("POST", "/v1/sessions/never-seen/execute", {"code": "1"}, {}, 410, "never-seen"),
    ("POST", "/v1/sessions/never-seen/fork", {}, {}, 410, "never-seen"),
]


@pytest.mark.parametrize(("method", "path", "body", "headers", "status", "words"), ROWS)
def test_a_bad_request_is_refused_with_its_reason(
    server: str, method: str, path: str, body: Any, headers: dict[str, str], status: int, words: str
) -> None:
    answer = httpx.request(method, server + path, json=body, headers=headers)
    assert (answer.status_code, words in answer.text) == (status, True), answer.text


def test_a_session_name_never_seen_opens_one_and_says_so(server: str) -> None:
    body = {"generated_code": "1 + 1", "timeout": 10}
    answer = httpx.post(server + "/execute", json=body, headers=SESSION, timeout=20).json()
    assert (answer["stdout"], answer["new_session_created"]) == ("2\n", True)


async def _trl(reference: str | None) -> Any:
    return await solution_reward(reference="answer")(prompts=["?"], completions=["12"], solution=[reference])


WITHOUT: list[tuple[Callable[[], Any], str]] = [
    (lambda: reward("?", None, "12"), "a reward needs a reference answer, got none"),
    (lambda: asyncio.run(compute_score("gsm8k", "12", None)), "a reward needs a reference answer, got none"),  # type: ignore[arg-type]
    (lambda: make_reward_func()(["?12"], ["?"], [""]), "a reward needs a reference answer, got none"),
    (lambda: make_reward_func()(["?12"], ["?"], [None]), "a reward needs a reference answer, got none"),  # type: ignore[list-item]
    (lambda: asyncio.run(_trl("12")), "no column 'answer' with the reference answers; it has solution"),
]


@pytest.mark.parametrize(("ask", "words"), WITHOUT)
def test_a_reward_without_a_reference_says_what_is_missing(ask: Callable[[], Any], words: str) -> None:
    with pytest.raises((InputError, ValueError), match=words):
        ask()
