"""NeMo-Gym 0.7: a resources server for its `math_with_code` tasks, with the sandbox's sessions and this grader.

    # resources_servers/soroban/app.py of your checkout; its configuration names `sandbox` and takes what is below
    from integrations.nemo_gym import SorobanResourcesServer
    if __name__ == "__main__":
        SorobanResourcesServer.run_webserver()

The tool (`execute_python`), its answer's fields and the tasks' `expected_result` are those of NeMo-Gym's own
`resources_servers/math_with_code/app.py`, so that its rows and its agent go on unchanged. A rollout has a session of
the sandbox from its first call until it is verified or closed.

NeMo-Gym's agent shows the model whatever a tool answers, also an error of ours. Such a rollout is verified with
`mask_sample`, which takes it out of every score; so is one whose reference cannot be read.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from nemo_gym.base_resources_server import (
    BaseResourcesServerConfig,
    BaseRunRequest,
    BaseSeedSessionRequest,
    BaseSeedSessionResponse,
    BaseVerifyRequest,
    BaseVerifyResponse,
    ResourcesCloseSessionRequest,
    ResourcesCloseSessionResponse,
    ResourcesSeedSessionRequest,
    ResourcesSeedSessionResponse,
    SimpleResourcesServer,
)
from nemo_gym.failure_kinds import PROVIDER_UNAVAILABLE, VERIFIER_ERROR
from nemo_gym.server_utils import SESSION_ID_KEY
from pydantic import BaseModel, Field, PrivateAttr

from integrations.messages import TOOL_NAME, content_text, solution_turns
from integrations.reward import Weights, rewards_async
from sandbox import AsyncSandbox, AsyncSession, ExecResult, SandboxError
from sandbox.types import Limits


class SorobanConfig(BaseResourcesServerConfig):  # type: ignore[misc]
    """`sandbox` is the address of a sandbox server; `weights` are fields of `reward.Weights`."""

    sandbox: str
    token: str | None = None
    max_execution_time: int = 10
    patience_seconds: float = 60.0
    weights: dict[str, float] = Field(default_factory=dict)


class ExecutePythonRequest(BaseModel):
    code: str


class ExecutePythonResponse(BaseModel):
    success: bool
    stdout: str = ""
    stderr: str = ""
    error_message: str | None = None
    result: str | None = None


class SorobanRunRequest(BaseRunRequest):  # type: ignore[misc]
    expected_result: str = Field(min_length=1)


class SorobanVerifyRequest(SorobanRunRequest, BaseVerifyRequest):  # type: ignore[misc]
    pass


class SorobanVerifyResponse(BaseVerifyResponse):  # type: ignore[misc]
    """The parts of the reward beside it; NeMo-Gym averages top-level numbers."""

    extracted_answer: str | None = None
    accuracy: bool = False
    well_formed: float = 0.0
    tool_use: float = 0.0


class SorobanResourcesServer(SimpleResourcesServer):  # type: ignore[misc]
    """Run it with `run_webserver()`, as NeMo-Gym runs its own."""

    config: SorobanConfig

    _client: AsyncSandbox | None = PrivateAttr(default=None)
    _sessions: dict[str, AsyncSession] = PrivateAttr(default_factory=dict)
    _failed: dict[str, str] = PrivateAttr(default_factory=dict)  # rollouts that saw a failure of ours, and which
    _closed: set[str] = PrivateAttr(default_factory=set)

    def setup_webserver(self) -> FastAPI:
        app: FastAPI = super().setup_webserver()
        app.post("/execute_python")(self.execute_python)
        app.post("/end_session")(self.end_session)
        inner = app.router.lifespan_context

        @asynccontextmanager
        async def with_a_client(app: FastAPI) -> AsyncIterator[Any]:
            token, patience = self.config.token, self.config.patience_seconds
            client = AsyncSandbox(self.config.sandbox, token=token, patience_seconds=patience)
            async with inner(app) as state, client as self._client:
                yield state

        app.router.lifespan_context = with_a_client
        return app

    async def seed_session(
        self, request: Request, body: ResourcesSeedSessionRequest | BaseSeedSessionRequest
    ) -> ResourcesSeedSessionResponse | BaseSeedSessionResponse:
        """Nothing yet: the session opens with the first call."""
        if not isinstance(body, ResourcesSeedSessionRequest):
            return BaseSeedSessionResponse()
        if body.resources_session_id in self._closed:
            raise HTTPException(409, f"session {body.resources_session_id} was closed; a new rollout needs a new name")
        request.session[SESSION_ID_KEY] = body.resources_session_id
        return ResourcesSeedSessionResponse(resources_session_id=body.resources_session_id)

    async def close_resources_session(self, body: ResourcesCloseSessionRequest) -> ResourcesCloseSessionResponse:
        self._closed.add(body.resources_session_id)
        await self._end(body.resources_session_id)
        return ResourcesCloseSessionResponse(resources_session_id=body.resources_session_id)

    async def execute_python(self, request: Request, body: ExecutePythonRequest) -> ExecutePythonResponse:
        """What the code does as the rollout's next cell; 503 where the sandbox failed, and the rollout is masked."""
        name = request.session[SESSION_ID_KEY]
        limits = Limits(wall_seconds=self.config.max_execution_time, cpu_seconds=self.config.max_execution_time)
        assert self._client is not None, "requests come while the server is up"
        session = self._sessions.setdefault(name, self._client.session(limits=limits))
        try:
            result = await session.run(body.code, limits=limits)
        except SandboxError as error:
            self._failed[name] = f"{type(error).__name__}: {error}"
            raise HTTPException(503, f"the sandbox failed, which says nothing about the code: {error}") from error
        if result.state_lost:
            del self._sessions[name]  # the next call begins with an empty state, as the message says
        return _answer(result)

    async def end_session(self, request: Request) -> ExecutePythonResponse:
        await self._end(request.session[SESSION_ID_KEY])
        return ExecutePythonResponse(success=True)

    async def verify(self, request: Request, body: SorobanVerifyRequest) -> SorobanVerifyResponse:
        """The reward of the rollout; it ends the session."""
        name = request.session[SESSION_ID_KEY]
        failed = self._failed.pop(name, None)
        await self._end(name)
        said = body.model_dump()
        if failed is not None:
            return SorobanVerifyResponse(
                **said, reward=0.0, mask_sample=True, failure_kind=PROVIDER_UNAVAILABLE, failure_reason=failed
            )
        turns = solution_turns(_messages(said["response"]["output"]))
        asked = _question(said["responses_create_params"].get("input"))
        weights = Weights(**self.config.weights)
        (given,) = await rewards_async([asked], [body.expected_result], [turns], weights=weights)
        if given is None:
            reason = f"the reference cannot be read: {body.expected_result[:200]!r}"
            return SorobanVerifyResponse(
                **said, reward=0.0, mask_sample=True, failure_kind=VERIFIER_ERROR, failure_reason=reason
            )
        return SorobanVerifyResponse(
            **said,
            reward=given.score,
            extracted_answer=given.predicted,
            accuracy=given.correct == 1,
            well_formed=given.format,
            tool_use=given.tool_use,
        )

    async def _end(self, name: str) -> None:
        session = self._sessions.pop(name, None)
        if session is not None:
            await session.close()


def _answer(result: ExecResult) -> ExecutePythonResponse:
    message = None
    if not result.ok:
        message = result.error.traceback if result.error is not None else f"The code ended by {result.status}."
        if result.state_lost:
            message += "\nIts variables and files are gone: the next call begins anew."
    return ExecutePythonResponse(
        success=result.ok, stdout=result.stdout, stderr=result.stderr, error_message=message, result=result.value
    )


def _messages(output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items of a response of OpenAI's Responses API as chat messages."""
    messages: list[dict[str, Any]] = []
    for item in output:
        match item["type"]:
            case "message":
                messages.append({"role": item["role"], "content": item["content"]})
            case "function_call":
                call = {"name": TOOL_NAME, "arguments": item["arguments"]}
                messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
            case "function_call_output":
                messages.append({"role": "tool", "content": _printed(content_text(item["output"]))})
    return messages


def _printed(output: str) -> str:
    """What the code printed, then its value or its error: the fields of `ExecutePythonResponse` in their order."""
    try:
        fields = json.loads(output)
    except ValueError:
        return output
    if not isinstance(fields, Mapping):
        return output
    said = (str(fields.get(name) or "").rstrip("\n") for name in ("stdout", "stderr", "result", "error_message"))
    return "\n".join(text for text in said if text)


def _question(asked: Any) -> str | None:
    if isinstance(asked, str):
        return asked
    questions = [content_text(one.get("content")) for one in asked or () if one.get("role") == "user"]
    return questions[-1] if questions else None
