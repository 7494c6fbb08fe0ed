"""The server against its own OpenAPI document: whatever schemathesis makes up gets a documented answer of our shape."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from sandbox.client.embedded import Embedded
from sandbox.engine import Engine
from sandbox.server.app import build_app
from sandbox.server.schemas import MAX_BATCH

interface = schemathesis.openapi.from_dict(build_app(Embedded(Engine())).openapi())


@interface.parametrize()
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_whatever_is_sent_gets_a_documented_answer(case: Any, server_url: str) -> None:
    programs = case.body.get("requests") if isinstance(case.body, dict) else None
    if isinstance(programs, list) and 20 < len(programs) <= MAX_BATCH:
        case.body["requests"] = programs[:20]  # the longest batch that is allowed would run for minutes
    # A schema cannot say that a key belongs to one request, nor which file names are safe: such requests are refused.
    answer = case.call_and_validate(base_url=server_url, excluded_checks=[positive_data_acceptance], timeout=30)
    if answer.status_code >= 400:
        assert set(answer.json()) == {"error"}
