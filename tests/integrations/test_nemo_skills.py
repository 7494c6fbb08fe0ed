"""NeMo-Skills' sandbox routes, asked as its client asks (nemo_skills/code_execution/sandbox.py, which is on no index).

The expected answers are those its own tests record (tests/test_code_execution.py), given in our words.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from sandbox.errors import SandboxUnavailable
from tests.sandbox.doors.conftest import serve_fake, serve_process


class Client:
    """`LocalSandbox.execute_code` as far as it concerns the wire: the same body, header and replay of the history."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url)
        self.histories: dict[str, list[str]] = {}

    def send(self, code: str, session: str | None, **fields: Any) -> dict[str, Any]:
        body = {"generated_code": code, "std_input": "", "timeout": 10.0, "language": "ipython"}
        body |= {"max_output_characters": 1000, "traceback_verbosity": "Plain", **fields}
        headers = {} if session is None else {"X-Session-ID": session}
        answer = self.http.post("/execute", json=body, headers=headers, timeout=body["timeout"] + 5.0)
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    def execute(self, code: str, session: str | None = None, **fields: Any) -> tuple[dict[str, Any], str | None]:
        name = session or (str(uuid.uuid4()) if fields.get("language", "ipython") == "ipython" else None)
        answer = self.send(code, name, **fields)
        created = answer.pop("new_session_created", False)
        if session and created and answer["process_status"] != "timeout":
            self.http.delete(f"/sessions/{session}", headers={"X-Session-ID": session})
            for cell in self.histories.get(session, []):
                assert self.send(cell, session, **fields)["process_status"] == "completed"
            answer = self.send(code, session, **fields)
            answer.pop("new_session_created")
        if answer["process_status"] == "completed" and name:
            self.histories.setdefault(name, []).append(code)
        return answer, name


@pytest.fixture(scope="module", params=["1", "2"])
def client(request: pytest.FixtureRequest) -> Any:
    """Of a server in one process, and of one in two."""
    with serve_process("--workers", "2", "--processes", request.param) as (_, url):
        client = Client(url)
        yield client
        client.http.close()


DIVISION = "Traceback (most recent call last):\n    1 / 0\nZeroDivisionError: division by zero\n"
STRING = (
    'Traceback (most recent call last):\n  File "<string>", line 1, in <module>\nZeroDivisionError: division by zero\n'
)
IN_A_FUNCTION = "def f(x):\n    return 1 / x\n\nf(0)"


@pytest.mark.parametrize(
    ("code", "language", "status", "stdout", "stderr"),
    [
        ('def f():\n    """Doc"""\n    print("asdf")\nf()\n', "ipython", "completed", "asdf\n", ""),
        ('def f():\n    """Doc"""\n    print("asdf")\nf()\n', "python", "completed", "asdf\n", ""),
        ("a = 2", "ipython", "completed", "", ""),
        ("a = 2", "python3", "completed", "", ""),
        ("1 / 0", "ipython", "error", DIVISION, ""),
        ("1 / 0", "python", "completed", "", STRING),
        ("a = 2\n b = 3", "ipython", "error", "    b = 3\n    ^\nIndentationError: unexpected indent\n", ""),
        (
            "a = 2\n b = 3",
            "python",
            "completed",
            "",
            '  File "<string>", line 2\n    b = 3\nIndentationError: unexpected indent\n',
        ),
        ("\n    a = 1\n    a\n    ", "ipython", "completed", "1\n", ""),
        ("print(3); 4", "ipython", "completed", "3\n4\n", ""),
        ("import sys; print('x', file=sys.stderr)", "ipython", "completed", "", "x\n"),
        (
            IN_A_FUNCTION,
            "ipython",
            "error",
            "Traceback (most recent call last):\n    f(0)\n    return 1 / x\nZeroDivisionError: division by zero\n",
            "",
        ),
        (
            IN_A_FUNCTION,
            "python3",
            "completed",
            "",
            'Traceback (most recent call last):\n  File "<string>", line 4, in <module>\n'
            '  File "<string>", line 2, in f\nZeroDivisionError: division by zero\n',
        ),
        ("print('x' * 1001)", "ipython", "completed", "x" * 1000 + "<output cut>", ""),
        ("import os; os.kill(os.getpid(), 9)", "ipython", "error", "", "Killed by signal 9\n"),
    ],
)
def test_an_answer_is_the_one_that_the_original_gives(
    client: Client, code: str, language: str, status: str, stdout: str, stderr: str
) -> None:
    answer, _ = client.execute(code, language=language)
    assert answer == {"process_status": status, "stdout": stdout, "stderr": stderr}


@pytest.mark.parametrize(
    ("verbosity", "expected"),
    [
        ("Minimal", "ZeroDivisionError: division by zero\n"),
        ("Plain", DIVISION),
        (
            "Context",
            'Traceback (most recent call last):\n  File "<cell 0>", line 1, in <module>\n    1 / 0\n    ~~^~~\n'
            "ZeroDivisionError: division by zero\n",
        ),
    ],
)
def test_a_traceback_is_as_long_as_asked_for(client: Client, verbosity: str, expected: str) -> None:
    shown = client.execute("1 / 0", traceback_verbosity=verbosity)[0]["stdout"]
    shown = re.sub(r"\n +(~+)", r"\n    \1", shown)  # where the marks begin differs between versions of Python
    assert re.sub(r"<cell \d+>", "<cell 0>", shown) == expected


@pytest.mark.parametrize("language", ["ipython", "python"])
def test_a_timeout_is_said_with_its_seconds_and_the_session_goes_on_anew(client: Client, language: str) -> None:
    code = "import time\ntime.sleep(1.2)\nprint('done')"
    answer, name = client.execute(code, timeout=1, language=language)
    assert answer == {"process_status": "timeout", "stdout": "", "stderr": "Execution timed out after 1 seconds\n"}
    answer, _ = client.execute(code, name, timeout=4, language=language)
    assert answer == {"process_status": "completed", "stdout": "done\n", "stderr": ""}


def test_an_output_is_cut_where_the_client_says(client: Client) -> None:
    answer, _ = client.execute("print('x' * 9)", max_output_characters=4)
    assert answer["stdout"] == "xxxx<output cut>"


def test_standard_input_reaches_a_script(client: Client) -> None:
    answer, _ = client.execute('print(input("something "))', language="python", std_input="new")
    assert answer["stdout"] == "something new\n"


def test_a_session_keeps_its_variables_whatever_connection_asks(client: Client) -> None:
    names = [f"a session / {number}" for number in range(8)]

    def first_and_second(name: str) -> tuple[bool, str, bool]:
        created = client.send(f"a = {name[-1]}", name)["new_session_created"]
        again = httpx.post(
            client.http.base_url.join("/execute"),
            json={"generated_code": "a + 5", "timeout": 10},
            headers={"X-Session-ID": name},
            timeout=30,
        ).json()
        return created, again["stdout"], again["new_session_created"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(first_and_second, names)) == [(True, f"{5 + number}\n", False) for number in range(8)]
    for name in names:
        gone = client.http.delete("/sessions/" + name.replace("/", "%2F").replace(" ", "%20"))
        assert gone.json() == {"message": f"IPython session {name} deleted successfully"}
    assert client.http.delete("/sessions/never").status_code == 404


def test_a_lost_session_is_said_so_that_the_client_replays_its_history(client: Client) -> None:
    _, name = client.execute("print('H1'); a = 41")
    client.execute("print('H2'); a += 1", name)
    assert client.execute("print('ERR'); a = 0; raise ValueError()", name)[0]["process_status"] == "error"
    client.http.delete(f"/sessions/{name}")
    assert client.execute("print(a)", name)[0] == {"process_status": "completed", "stdout": "42\n", "stderr": ""}


def test_two_cells_of_one_session_run_one_after_the_other(client: Client) -> None:
    _, name = client.execute("n = 0")
    with ThreadPoolExecutor(4) as pool:
        cells = [pool.submit(client.send, "n += 1\nn", name) for _ in range(4)]
    assert sorted(cell.result()["stdout"] for cell in cells) == ["1\n", "2\n", "3\n", "4\n"]


@pytest.mark.parametrize(
    ("fields", "headers", "words"),
    [
        ({}, {}, "X-Session-ID header required"),
        ({"language": "lean4"}, {}, "language"),
        ({"generated_code": None}, {}, "generated_code"),
        ({"timeout": "soon"}, {}, "timeout"),
        ({"traceback_verbosity": "Loud"}, {"X-Session-ID": "s"}, "traceback_verbosity"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(
    client: Client, fields: dict[str, Any], headers: dict[str, str], words: str
) -> None:
    body = {"generated_code": "1", "timeout": 10, **fields}
    answer = client.http.post("/execute", json=body, headers=headers)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_health_is_what_its_client_waits_for(client: Client) -> None:
    assert client.http.get("/health").json()["status"] == "healthy"


def test_a_failure_of_ours_is_no_outcome_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.server.compat.nemo_skills._WAIT_SECONDS", 0.3)

    async def scenario() -> None:
        async with serve_fake() as (engine, url), httpx.AsyncClient(base_url=url, timeout=30) as client:
            for language in ("ipython", "python"):
                engine.failures = [SandboxUnavailable("none left")] * 1_000_000
                body = {"generated_code": "1", "timeout": 0.2, "language": language}
                answer = await client.post("/execute", json=body, headers={"X-Session-ID": "s"})
                assert answer.status_code == 503
                assert set(answer.json()) == {"error"}
                engine.failures = []
                body["generated_code"] = "block"  # a slow program behind others looks like this
                answer = await client.post("/execute", json=body, headers={"X-Session-ID": "s"})
                assert answer.status_code == 503, "not a timeout: it was given no time"

    asyncio.run(scenario())
