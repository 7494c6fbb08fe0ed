"""The sandbox over HTTP: the routes, on the embedded engine.

It refuses to keep a program running whose client has gone, and to answer a failure of its own as a result. Each route's
docstring is its documentation (`/docs`, `/openapi.json`). `sandbox.server.serve` is the process around it.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from sandbox.client.embedded import Embedded
from sandbox.engine.descriptors import EXHAUSTED
from sandbox.errors import BadRequest, Overloaded, SandboxError, SandboxUnavailable
from sandbox.server.batch import batch_lines
from sandbox.server.compat.fusion import fusion_routes
from sandbox.server.compat.nemo_skills import nemo_skills_routes
from sandbox.server.connected import while_connected
from sandbox.server.connections import Bounds, Connections
from sandbox.server.guard import Guard
from sandbox.server.metrics import Metrics
from sandbox.server.processes import Router, Spread, sent_here
from sandbox.server.schemas import (
    BatchBody,
    BatchLine,
    ErrorAnswer,
    ExecuteBody,
    ForkBody,
    ReadyAnswer,
    ResultAnswer,
    SessionAnswer,
    SessionBody,
    error_json,
    result_json,
)
from sandbox.types import MIB, ExecResult, Limits

log = logging.getLogger("sandbox.server")

_FAILURES = {
    400: "The body is not JSON, or not UTF-8.",
    401: "The token is missing or wrong.",
    413: "The body is larger than the server takes.",
    422: "The request cannot be run as asked.",
    429: "The queue is full, or the wait in it was longer than `queue_seconds`. Nothing was run. See Retry-After.",
    503: "No sandbox can serve this now. It is safe to ask again.",
}
_GONE = {
    409: "Another cell is running, or the session's own threads make a fork unsafe.",
    410: "The session's state no longer exists; the message says why.",
}


def build_app(
    door: Embedded,
    *,
    token: str | None = None,
    max_body_bytes: int = 64 * MIB,
    connections: Connections | None = None,
) -> FastAPI:
    """The application on `door`, which the caller starts and closes."""
    connections = connections or Connections(Bounds())
    app = FastAPI(
        title="soroban sandbox",
        version="1",
        description="Runs untrusted Python. Times are in seconds, sizes in bytes, file contents in base64. "
        'A failure of the sandbox is an error answer, {"error": {"type", "message"}}; it is never a result.',
        responses=_described(_FAILURES),
        docs_url=None,
        redoc_url=None,
    )
    app.state.draining = False  # set by whoever ends the server
    metrics = Metrics(door.status, sent_here)
    _add_error_answers(app)
    _add_programs(app, door, metrics, connections)
    _add_sessions(app, door, metrics)
    _add_operations(app, door, metrics)
    _add_pages(app)
    app.router.routes += [*fusion_routes(door, metrics.observe), *nemo_skills_routes(door, metrics.observe)]
    if isinstance(door, Spread):
        app.add_middleware(Router, siblings=door.siblings)
    app.add_middleware(Guard, token=token, max_body_bytes=max_body_bytes, connections=connections)
    return app


def _add_programs(app: FastAPI, door: Embedded, metrics: Metrics, connections: Connections) -> None:
    @app.post("/v1/execute", response_model=ResultAnswer, tags=["programs"])
    async def execute(body: ExecuteBody, request: Request) -> Response:
        """Run one program in a fresh process and give its outcome.

        Closing the connection kills the program.
        """
        return await _while_connected(request, metrics.observe("run", door.run(body.request(Limits()))))

    @app.post(
        "/v1/execute/batch",
        tags=["programs"],
        response_class=StreamingResponse,
        responses={
            200: {
                "model": BatchLine,
                "description": "One JSON object a line, in order of completion. Blank lines are to be skipped.",
                "content": {"application/x-ndjson": {}},
            }
        },
    )
    async def execute_batch(body: BatchBody) -> StreamingResponse:
        """Run many programs and give each outcome as it comes, as one line of NDJSON with its index.

        A program for which the sandbox failed has "error" {type, message, status} in place of "result". Closing the
        connection kills what is unfinished. While its outcomes are not read, no more of its programs are started.
        """
        lines = batch_lines(body, door, metrics, connections)
        return StreamingResponse(lines, media_type="application/x-ndjson")


def _add_sessions(app: FastAPI, door: Embedded, metrics: Metrics) -> None:
    gone = _described(_GONE)

    @app.post("/v1/sessions", status_code=201, response_model=SessionAnswer, tags=["sessions"])
    async def open_session(body: SessionBody) -> Response:
        """Open a session: a Python whose variables and files live from cell to cell.

        It ends when deleted, after `ttl_seconds` idle, or when room is needed and it is the one idle the longest.
        """
        limits = body.limits.limits() if body.limits is not None else Limits()
        session_id = await metrics.failing(door.open_session(ttl_seconds=body.ttl_seconds, limits=limits, key=body.key))
        return _json({"session_id": session_id}, status=201)

    @app.post("/v1/sessions/{session_id}/execute", response_model=ResultAnswer, responses=gone, tags=["sessions"])
    async def execute_cell(session_id: str, body: ExecuteBody, request: Request) -> Response:
        """Run the session's next cell.

        An exception keeps the state; a limit that was exceeded ends the session, and the result says so
        (`state_lost`). Closing the connection kills the cell, and the session with it, unless the same cell is asked
        for again with its key within 3 seconds.
        """
        cell = body.request(door.session_limits(session_id))
        return await _while_connected(request, metrics.observe("cell", door.run_in_session(session_id, cell)))

    @app.post(
        "/v1/sessions/{session_id}/fork",
        status_code=201,
        response_model=SessionAnswer,
        responses=gone,
        tags=["sessions"],
    )
    async def fork_session(session_id: str, body: ForkBody) -> Response:
        """Open a second session with this one's state, memory and files; neither sees the other's later changes."""
        child = await metrics.failing(door.fork_session(session_id, key=body.key))
        return _json({"session_id": child}, status=201)

    @app.delete("/v1/sessions/{session_id}", status_code=204, responses=gone, tags=["sessions"])
    async def close_session(session_id: str) -> Response:
        """End a session and drop its state."""
        await metrics.failing(door.close_session(session_id))
        return Response(status_code=204)


def _add_operations(app: FastAPI, door: Embedded, metrics: Metrics) -> None:
    @app.get("/healthz", tags=["operations"])
    async def healthz() -> dict[str, str]:
        """The server's process answers. Needs no token."""
        return {"status": "ok"}

    @app.get("/readyz", response_model=ReadyAnswer, responses={503: {"model": ReadyAnswer}}, tags=["operations"])
    async def readyz() -> Response:
        """Whether programs are accepted, in which isolation, and how many slots there are. Needs no token."""
        status = door.status()
        ready = not app.state.draining
        body = {
            "ready": ready,
            "isolation": status.isolation,
            "slots": status.workers,
            "busy": status.busy,
            "queue_length": status.queued,
            "sessions": status.live_sessions,
        }
        return _json(body, status=200 if ready else 503)

    @app.get("/metrics", tags=["operations"], response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def prometheus() -> Response:
        """Metrics for Prometheus."""
        return Response(metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")


# The style sheet has a dark side, which nobody asks for.
_DARK = """<script>
if (matchMedia("(prefers-color-scheme: dark)").matches) document.documentElement.classList.add("dark-mode")
</script>"""


def _add_pages(app: FastAPI) -> None:
    """`/docs`, with scripts and styles of this machine: FastAPI's own page asks the internet for them."""
    try:
        import fastapi_offline
    except ModuleNotFoundError:
        text = "This page needs the package fastapi-offline: pip install 'soroban[sandbox]'. See also /openapi.json."

        @app.get("/docs", include_in_schema=False)
        async def no_docs() -> Response:
            return Response(text + "\n", status_code=501, media_type="text/plain")

        return
    app.mount("/docs-assets", StaticFiles(directory=Path(fastapi_offline.__file__).parent / "static"))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        page = get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=app.title,
            swagger_js_url="/docs-assets/swagger-ui-bundle.js",
            swagger_css_url="/docs-assets/swagger-ui.css",
            swagger_favicon_url="/docs-assets/favicon.png",
        )
        return HTMLResponse(bytes(page.body).decode().replace("</head>", f"{_DARK}</head>"))


async def _while_connected(request: Request, work: Awaitable[ExecResult]) -> Response:
    """The answer with the result of `work`, which is cancelled if the client goes away."""
    result = await while_connected(request, work)
    if result is None:
        return Response(status_code=499)  # nobody reads it
    return Response(result_json(result), media_type="application/json")


def _add_error_answers(app: FastAPI) -> None:
    @app.exception_handler(SandboxError)
    async def sandbox_error(_: Request, error: SandboxError) -> Response:
        headers = {}
        if isinstance(error, Overloaded):
            headers["retry-after"] = str(math.ceil(error.retry_after_seconds))
        return _json({"error": error_json(error)}, status=error.http_status, headers=headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        problems = error.errors()
        broken = any(problem["type"] == "json_invalid" for problem in problems)
        # The input itself is left out: it may be long, or hold what JSON cannot carry.
        text = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems[:10])
        return _json({"error": error_json(BadRequest(text))}, status=400 if broken else 422)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        if error.status_code == 429:
            return await sandbox_error(_, Overloaded(error.detail))
        body = {"error": error_json(BadRequest(error.detail))}
        return _json(body, status=error.status_code, headers=dict(error.headers or {}))

    @app.exception_handler(OSError)
    async def exhausted(_: Request, error: OSError) -> Response:
        if error.errno not in EXHAUSTED:
            return await mistake(_, error)
        return await sandbox_error(_, SandboxUnavailable(f"the server has no more open files: {error.strerror}"))

    @app.exception_handler(Exception)
    async def mistake(_: Request, error: Exception) -> Response:
        described = error_json(SandboxError(f"internal error: {type(error).__name__}; the server's log has more"))
        return _json({"error": described}, status=500)


def _json(body: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(body), status_code=status, headers=headers, media_type="application/json")


def _described(statuses: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorAnswer, "description": text} for status, text in statuses.items()}
