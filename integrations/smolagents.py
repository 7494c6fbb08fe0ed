"""smolagents 1.26: `CodeAgent(executor=SorobanExecutor(…))`, its code blocks run behind the kernel's walls.

smolagents' local executor walks the syntax tree and says itself that it is no security boundary; its remote ones need a
container or an account. This one keeps an agent's variables in a session. `final_answer(…)` in the code ends the run,
as there. Tools of the agent are Python functions on this side and cannot be called in the sandbox: they are refused
by name.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

from smolagents.local_python_executor import CodeOutput, PythonExecutor

from integrations.reward import shared_sandbox
from sandbox import Sandbox, Session
from sandbox.types import Limits

# In the session: `final_answer` leaves the cell by an exception that no handler of Exception catches.
_FINAL_ANSWER = """
class _FinalAnswer(BaseException):
    pass

def final_answer(answer=None, *rest, **named):
    raise _FinalAnswer(repr(answer))
"""
_OWN_TOOLS = frozenset({"final_answer"})


class SorobanExecutor(PythonExecutor):  # type: ignore[misc]
    """`sandbox` is a server's address or a client; without one an engine of this process."""

    def __init__(
        self,
        sandbox: str | Sandbox | None = None,
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        max_print_outputs_length: int = 50_000,
    ) -> None:
        self._sandbox = sandbox if isinstance(sandbox, Sandbox) else shared_sandbox(sandbox or "embedded")
        self._limits, self._most = limits, max_print_outputs_length
        self._session: Session | None = None

    def send_tools(self, tools: Mapping[str, Any]) -> None:
        """Take note of the agent's tools.

        Raises:
            ValueError: there are others than final_answer.
        """
        if others := sorted(set(tools) - _OWN_TOOLS):
            raise ValueError(
                f"{', '.join(others)}: tools are Python functions of this process and cannot be called in the sandbox; "
                "give the agent none but final_answer, or use smolagents' own executor"
            )

    def send_variables(self, variables: Mapping[str, Any]) -> None:
        """Put `variables`, which JSON can carry, into the session. Raises TypeError if it cannot."""
        if variables:
            self._run(f"import json as _json\nglobals().update(_json.loads({json.dumps(json.dumps(dict(variables)))}))")

    def __call__(self, code_action: str) -> CodeOutput:
        """Run the agent's code as the session's next cell.

        Raises:
            RuntimeError: the code failed; with its traceback, which smolagents shows to the model.
            SandboxError: the sandbox failed. smolagents shows the model that, too.
        """
        result = self._run(code_action)
        logs = result.stdout[: self._most]
        if result.error is not None and result.error.type == "_FinalAnswer":
            return CodeOutput(output=_literal(result.error.message), logs=logs, is_final_answer=True)
        if result.status != "ok":
            ending = result.error.traceback if result.error is not None else f"The code ended by {result.status}.\n"
            raise RuntimeError(f"{logs}{ending}")
        return CodeOutput(output=_literal(result.value), logs=logs, is_final_answer=False)

    def cleanup(self) -> None:
        """End the session; smolagents calls it at an agent's end."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _run(self, code: str) -> Any:
        if self._session is None:
            self._session = self._sandbox.session(limits=self._limits)
            self._session.run(_FINAL_ANSWER)
        result = self._session.run(code, limits=self._limits)
        if result.state_lost:
            self.cleanup()
        return result


def _literal(text: str | None) -> Any:
    """The value whose repr is `text` where that is a literal, else the text."""
    if text is None:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
