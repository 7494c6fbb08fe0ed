"""The HTTP interface as any client sees it, on a stand-in engine where the engine must block or fail."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Awaitable, Iterator
from typing import Any

import httpx
import pytest

from sandbox.client.embedded import Embedded
from sandbox.errors import Overloaded, SandboxUnavailable, SessionBusy, SessionLost
from sandbox.server.app import build_app

JSON = {"content-type": "application/json"}


def run(test: Awaitable[None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test, 60)

    asyncio.run(bounded())


def shape(response: httpx.Response) -> tuple[int, str]:
    """Status and type of an error answer, which must have our shape and no other field."""
    body = response.json()
    assert set(body) == {"error"}
    assert {"type", "message"} <= set(body["error"]) <= {"type", "message", "retry_after_seconds"}
    assert body["error"]["message"]
    return response.status_code, body["error"]["type"]


@pytest.fixture(scope="module")
def application(fake_engine: Any) -> tuple[Any, Any]:
    """A stand-in engine, and the application on it without a socket."""
    engine = fake_engine()
    return engine, build_app(Embedded(engine))


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "/v1/execute", b"{", 400),
        ("POST", "/v1/execute", b"", 422),
        ("POST", "/v1/execute", b"[]", 422),
        ("POST", "/v1/execute", b'"code"', 422),
        ("POST", "/v1/execute", b'{"code": "\xff\xfe"}', 400),
        ("POST", "/v1/execute", b"\x00\x01\x02", 400),
        ("POST", "/v1/execute", b"[" * 100_000, 400),
        ("POST", "/v1/execute", b'{"code": 1}', 422),
        ("POST", "/v1/execute", b'{"code": "1", "seed": "5"}', 422),
        ("POST", "/v1/execute", b'{"code": "1", "seed": -1}', 422),
        ("POST", "/v1/execute", b'{"code": "1", "seed": 4294967296}', 422),
        ("POST", "/v1/execute", b'{"code": "1", "limit": {}}', 422),
        ("POST", "/v1/execute", b'{"code": "1", "limits": {"wall_seconds": NaN}}', 422),
        ("POST", "/v1/execute", b'{"code": "1", "limits": {"wall_seconds": Infinity}}', 422),
        ("POST", "/v1/execute", b'{"code": "1", "limits": {"wall_seconds": 0}}', 422),
        ("POST", "/v1/execute", b'{"code": "1", "limits": {"wall_seconds": 1e999}}', 422),
        ("POST", "/v1/execute", b'{"code": "1", "limits": {"memory_bytes": 1.5}}', 422),
        ("POST", "/v1/execute", b'{"code": "1", "limits": {"processes": true}}', 422),
        ("POST", "/v1/execute", b'{"code": "1", "mode": "shell"}', 422),
        ("POST", "/v1/execute", b'{"code": "1", "files": {"a": "not base64!"}}', 422),
        ("POST", "/v1/execute", b'{"code": "1", "files": {"../a": ""}}', 422),
        ("POST", "/v1/execute", b'{"code": "1", "files": {"/etc/passwd": ""}}', 422),
        ("POST", "/v1/execute", b'{"code": "1", "fetch": ["a\\u0000b"]}', 422),
        ("POST", "/v1/execute", b'{"code": "1", "files": {"\\ud800": ""}}', 422),
        ("POST", "/v1/execute", b'{"code": "1", "key": ""}', 422),
        ("POST", "/v1/execute", b'{"code": "1", "queue_seconds": -1}', 422),
        ("POST", "/v1/execute/batch", b'{"requests": {}}', 422),
        ("POST", "/v1/execute/batch", b'{"requests": [{"code": 1}]}', 422),
        ("POST", "/v1/sessions", b'{"ttl_seconds": 0}', 422),
        ("POST", "/v1/sessions/none/execute", b'{"code": "1"}', 410),
        ("GET", "/v1/execute", b"", 405),
        ("GET", "/nothing", b"", 404),
    ],
)
def test_a_bad_request_gets_a_4xx_of_our_shape_and_runs_nothing(
    application: tuple[Any, Any], method: str, path: str, body: bytes, expected: int
) -> None:
    async def test() -> None:
        engine, app = application
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
            status, kind = shape(await http.request(method, path, content=body, headers=JSON))
            assert status == expected
            assert kind == ("SessionLost" if expected == 410 else "BadRequest")
            assert engine.ran == []

    run(test())


def test_a_body_that_is_not_declared_json_is_refused_so_that_a_web_page_cannot_send_one(fake: Any) -> None:
    async def test() -> None:
        async with fake() as (engine, url), httpx.AsyncClient() as http:
            for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
                answer = await http.post(url + "/v1/execute", content=b'{"code": "1"}', headers={"content-type": kind})
                assert shape(answer) == (422, "BadRequest")
            assert engine.ran == []

    run(test())


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_refused(fake: Any, announced: bool) -> None:
    async def chunks() -> Any:
        for _ in range(20):
            yield b" " * 1000

    async def test() -> None:
        async with fake(max_body_bytes=10_000) as (_, url), httpx.AsyncClient() as http:
            body = b" " * 20_000 if announced else chunks()
            assert shape(await http.post(url + "/v1/execute", content=body, headers=JSON)) == (413, "BadRequest")
            assert (await http.post(url + "/v1/execute", content=b'{"code": "1"}', headers=JSON)).status_code == 200

    run(test())


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        ("Bearer secre", 401),
        ("Bearer secret1", 401),
        ("Bearer SECRET", 401),
        ("Basic secret", 401),
        ("secret", 401),
        ("Bearer s\xe9cret", 401),
        ("Bearer secret", 200),
    ],
)
def test_a_token_is_asked_for_everywhere_but_at_the_probes(fake: Any, header: str | None, status: int) -> None:
    async def test() -> None:
        async with fake(token="secret") as (engine, url), httpx.AsyncClient() as http:
            headers = JSON if header is None else {**JSON, "authorization": header.encode("latin-1")}
            for method, path in (("POST", "/v1/execute"), ("GET", "/metrics"), ("GET", "/openapi.json")):
                answer = await http.request(method, url + path, content=b'{"code": "1"}', headers=headers)
                assert answer.status_code == status
                if status == 401:
                    assert shape(answer) == (401, "Unauthorized")
            assert len(engine.ran) == (status == 200)
            for path in ("/healthz", "/readyz"):
                assert (await http.get(url + path)).status_code == 200

    run(test())


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("127.0.0.1:80", 200), ("[::1]:8000", 200), ("evil.example", 401), ("localhost.evil", 401)],
)
def test_without_a_token_only_a_loopback_name_is_answered(fake: Any, host: str, status: int) -> None:
    async def test() -> None:
        async with fake() as (_, url), httpx.AsyncClient() as http:
            answer = await http.post(url + "/v1/execute", json={"code": "1"}, headers={"host": host})
            assert answer.status_code == status

    run(test())


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Overloaded("full", 2.5), 429),
        (SandboxUnavailable("worker died"), 503),
        (SessionLost("gone"), 410),
        (SessionBusy("busy"), 409),
        (RuntimeError("a mistake of ours"), 500),
    ],
)
def test_a_failure_of_the_engine_is_its_class_and_status_never_a_result(
    fake: Any, error: Exception, status: int
) -> None:
    async def test() -> None:
        async with fake() as (engine, url), httpx.AsyncClient() as http:
            engine.failures = [error, error]
            answer = await http.post(url + "/v1/execute", json={"code": "1"})
            kind = "SandboxError" if status == 500 else type(error).__name__
            assert shape(answer) == (status, kind)
            assert "a mistake of ours" not in answer.text
            assert answer.headers.get("retry-after") == ("3" if status == 429 else None)
            # In a batch an Overloaded is waited out; everything else is that line's error.
            batch = {"requests": [{"code": "1", "queue_seconds": 0}]}
            line = (await http.post(url + "/v1/execute/batch", json=batch)).json()
            assert line["index"] == 0
            assert (line["error"]["type"], line["error"]["status"]) == (kind, status)
            assert "result" not in line

    run(test())


def test_a_client_that_goes_away_has_its_program_killed(fake: Any) -> None:
    async def test() -> None:
        async with fake() as (engine, url):
            for path, body in (
                ("/v1/execute", {"code": "block1"}),
                ("/v1/execute", {"code": "block2", "key": "k"}),
                ("/v1/execute/batch", {"requests": [{"code": "block3"}, {"code": "block4"}]}),
            ):
                async with httpx.AsyncClient(timeout=0.2) as http:
                    with pytest.raises(httpx.ReadTimeout):
                        await http.post(url + path, json=body)
                for _ in range(50):
                    await asyncio.sleep(0.02)
                    if engine.running == 0:
                        break
                assert engine.running == 0
            assert sorted(engine.killed) == ["block1", "block2", "block3", "block4"]

    run(test())


def test_a_cell_outlives_its_connection_for_a_moment_so_that_a_retry_with_its_key_finds_it(fake: Any) -> None:
    async def test() -> None:
        async with fake() as (engine, url), httpx.AsyncClient() as http:
            session = (await http.post(url + "/v1/sessions", json={})).json()["session_id"]
            path = f"{url}/v1/sessions/{session}/execute"
            with pytest.raises(httpx.ReadTimeout):
                await http.post(path, json={"code": "block", "key": "k"}, timeout=0.2)
            retry = asyncio.create_task(http.post(path, json={"code": "block", "key": "k"}))
            await asyncio.sleep(0.2)
            engine.release.set()
            assert (await retry).json()["value"] == "1"
            assert engine.ran == ["block"]
            assert engine.killed == []

    run(test())


def test_a_cell_without_limits_of_its_own_has_the_sessions_and_so_has_a_forks(fake: Any) -> None:
    async def test() -> None:
        async with fake() as (_, url), httpx.AsyncClient() as http:

            async def cell(session: str, **more: object) -> int:
                answer = await http.post(f"{url}/v1/sessions/{session}/execute", json={"code": "1", **more})
                return int(answer.json()["peak_memory_bytes"])  # where the stand-in puts the limit it was given

            opened = await http.post(url + "/v1/sessions", json={"limits": {"memory_bytes": 70_000_000}})
            assert opened.status_code == 201
            session = opened.json()["session_id"]
            child = (await http.post(f"{url}/v1/sessions/{session}/fork", json={})).json()["session_id"]
            assert await cell(session) == await cell(child) == 70_000_000
            assert await cell(session, limits={"memory_bytes": 80_000_000}) == 80_000_000
            assert (await http.delete(f"{url}/v1/sessions/{session}")).status_code == 204
            assert shape(await http.post(f"{url}/v1/sessions/{session}/execute", json={"code": "1"}))[0] == 410

    run(test())


def test_a_batch_answers_in_order_of_completion_each_line_with_its_index(fake: Any) -> None:
    async def test() -> None:
        async with fake() as (engine, url), httpx.AsyncClient() as http:
            programs = ["block", "a", "b"]
            seen = []
            body = {"requests": [{"code": code} for code in programs]}
            async with http.stream("POST", url + "/v1/execute/batch", json=body) as answer:
                assert answer.headers["content-type"] == "application/x-ndjson"
                async for line in answer.aiter_lines():
                    item = json.loads(line)
                    assert item["result"]["stdout"] == programs[item["index"]]
                    seen.append(item["index"])
                    if len(seen) == 2:
                        engine.release.set()
            assert seen == [1, 2, 0]
            empty = await http.post(url + "/v1/execute/batch", json={"requests": []})
            assert (empty.status_code, empty.content) == (200, b"")

    run(test())


def test_metrics_count_outcomes_failures_and_waiting(fake: Any) -> None:
    async def test() -> None:
        async with fake() as (engine, url), httpx.AsyncClient() as http:
            session = (await http.post(url + "/v1/sessions", json={})).json()["session_id"]
            await http.post(f"{url}/v1/sessions/{session}/execute", json={"code": "1"})
            for _ in range(2):
                await http.post(url + "/v1/execute", json={"code": "1"})
            engine.failures = [SandboxUnavailable("died")]
            await http.post(url + "/v1/execute", json={"code": "1"})
            text = (await http.get(url + "/metrics")).text
            for line in (
                'sandbox_outcomes_total{kind="run",status="ok"} 2.0',
                'sandbox_outcomes_total{kind="cell",status="ok"} 1.0',
                'sandbox_failures_total{type="SandboxUnavailable"} 1.0',
                "sandbox_execution_seconds_count 3.0",
                "sandbox_queue_seconds_count 3.0",
                "sandbox_kill_seconds_count 3.0",
                "sandbox_sessions 1.0",
                "sandbox_workers 2.0",
                "sandbox_queue_length 0.0",
                "sandbox_zygote_restarts_total 0.0",
                "sandbox_dropped_bytes_total 0.0",
            ):
                assert line in text.splitlines(), line

    run(test())


def test_readiness_tells_the_tier_and_the_slots_and_ends_when_the_server_drains(fake_engine: Any) -> None:
    async def test() -> None:
        app = build_app(fake_engine())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
            ready = await http.get("/readyz")
            assert ready.status_code == 200
            assert ready.json() == {
                "ready": True, "isolation": "jail", "slots": 2, "busy": 0, "queue_length": 0, "sessions": 0,
            }  # fmt: skip
            app.state.draining = True
            assert (await http.get("/readyz")).status_code == 503

    run(test())


def numbers(schema: dict[str, Any], name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for field, described in schema.get("properties", {}).items():
        yield f"{name}.{field}", described


UNITS = ("seconds", "bytes", "base64", "text", "count", "no unit", "number of the signal", "exit code", "position")


def test_every_field_of_the_interface_is_described_and_every_number_has_its_unit(fake_engine: Any) -> None:
    document = build_app(fake_engine()).openapi()
    schemas = document["components"]["schemas"]
    checked = 0
    for name, schema in schemas.items():
        if name in ("HTTPValidationError", "ValidationError"):
            continue
        for field, described in numbers(schema, name):
            inner = schemas[described["$ref"].split("/")[-1]] if "$ref" in described else described
            text = described.get("description") or inner.get("description", "")
            kinds = {described.get("type")} | {option.get("type") for option in described.get("anyOf", [])}
            assert text or field in ("ErrorAnswer.error", "BatchLine.result", "BatchLine.error"), field
            if kinds & {"integer", "number"}:
                assert any(unit in text.lower() for unit in UNITS), f"{field}: {text!r} names no unit"
                checked += 1
    assert checked > 15
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["description"], path
    assert schemas["ExecuteBody"]["examples"][0]["code"]


def test_the_page_of_the_interface_needs_no_internet(fake: Any) -> None:
    pytest.importorskip("fastapi_offline", reason="fastapi-offline is not installed: the page says so")

    async def test() -> None:
        async with fake() as (_, url), httpx.AsyncClient() as http:
            page = (await http.get(url + "/docs")).text
            named = re.findall(r'(?:src|href)="([^"]+)"', page)
            assert len(named) == 3
            for path in (*named, "/openapi.json"):
                assert path.startswith("/"), f"{path} is somewhere else"
                assert (await http.get(url + path)).status_code == 200
            assert "SwaggerUIBundle" in (await http.get(url + "/docs-assets/swagger-ui-bundle.js")).text

    run(test())


def test_without_its_package_the_page_of_the_interface_says_so(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastapi_offline", None)

    async def test() -> None:
        async with fake() as (_, url), httpx.AsyncClient() as http:
            answer = await http.get(url + "/docs")
            assert (answer.status_code, "pip install 'soroban[sandbox]'" in answer.text) == (501, True)

    run(test())
