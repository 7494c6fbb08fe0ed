"""PyPI's sandbox-fusion client against the server whose address is the argument: every field, sync and async."""

import asyncio
import sys
import time

import pytest
import requests
import sandbox_fusion as fusion
from sandbox_fusion import CommandRunStatus, RunCodeRequest, RunJupyterRequest, RunStatus, models

URL = sys.argv[1]
fusion.set_endpoint(URL)


def run(code, **fields):
    return fusion.run_code(RunCodeRequest(code=code, language="python", **fields), max_attempts=1)


def a_program_has_its_streams_files_and_return_code():
    done = run(
        "import sys\nprint(input() + '!')\nprint('e', file=sys.stderr)\nopen('b/o', 'w').write(open('b/i').read() * 2)",
        stdin="hi",
        files={"b/i": "YWI=", "left out": None},
        fetch_files=["b/o", "none"],
    )
    assert (done.status, done.message, done.compile_result) == (RunStatus.Success, "", None), done
    assert done.run_result.status == CommandRunStatus.Finished
    assert (done.run_result.stdout, done.run_result.stderr, done.run_result.return_code) == ("hi!\n", "e\n", 0)
    assert 0 < done.run_result.execution_time < 10
    assert 0 < done.run_result.cpu_time < 10
    assert done.files == {"b/o": "YWJhYg=="}


def failures_of_the_program_are_told_as_the_original_tells_them():
    error = run("1/0")
    assert (error.status, error.run_result.status) == (RunStatus.Failed, CommandRunStatus.Finished)
    assert error.run_result.return_code == 1
    assert error.run_result.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert run("import sys; sys.exit(3)").run_result.return_code == 3
    assert run("import os; os.kill(os.getpid(), 9)").run_result.return_code == -9
    slow = run("print('begun', flush=True)\nwhile True: pass", run_timeout=0.5)
    assert (slow.status, slow.run_result.status) == (RunStatus.Failed, CommandRunStatus.TimeLimitExceeded)
    assert (slow.run_result.return_code, slow.run_result.stdout) == (None, "begun\n")
    words = fusion.SummaryMapping(Success="ok", Failed="failed", RunTimeout="slow", RunFailed="wrong")
    assert [fusion.summary_run_code_result(each, words) for each in (slow, error)] == ["slow", "wrong"]


def a_notebook_has_a_result_for_each_cell():
    cells = ["a = 123", "a", "print(a)", "import sys; n = sys.stderr.write('x')", "raise RuntimeError('no')", "a + 1"]
    asked = RunJupyterRequest(cells=[*cells, "open('o').read()"], files={"o": "YWI="}, fetch_files=["o"])
    done = fusion.run_jupyter(asked, max_attempts=1)
    assert (done.status, done.driver.status, done.driver.return_code) == (RunStatus.Success, "Finished", 0), done
    assert done.files == {"o": "YWI="}
    shown = [(cell.stdout, cell.stderr, cell.display) for cell in done.cells]
    assert shown == [
        ("", "", []),
        ("", "", [{"text/plain": "123"}]),
        ("123\n", "", []),
        ("", "x", []),
        ("", "", []),
        ("", "", [{"text/plain": "124"}]),
        ("", "", [{"text/plain": "'ab'"}]),
    ], shown
    (error,) = done.cells[4].error
    assert (error["ename"], error["evalue"], error["traceback"][-1]) == ("RuntimeError", "no", "RuntimeError: no")
    slow = fusion.run_jupyter(RunJupyterRequest(cells=["1", "while True: pass", "2"], total_timeout=1), max_attempts=1)
    assert (slow.status, slow.driver.status) == (RunStatus.Failed, "TimeLimitExceeded")
    assert slow.cells[0].display == [{"text/plain": "1"}]
    assert len(slow.cells) == 2
    asked = RunJupyterRequest(cells=["1", "while True: pass"], cell_timeout=0.5, total_timeout=5)
    assert fusion.run_jupyter(asked, max_attempts=1).driver.execution_time < 3, "the cell's own limit"


def an_answer_has_the_fields_of_the_clients_models_and_no_others():
    """Where a value is null the client's own objects cannot show whether the field was sent."""
    asked = {"/run_code": {"code": "1", "language": "python"}, "/run_jupyter": {"cells": ["1"]}}
    code, notebook = (requests.post(URL + path, json=body).json() for path, body in asked.items())
    for answer, model in (
        (code, models.RunCodeResponse),
        (code["run_result"], models.CommandRunResult),
        (notebook, models.RunJupyterResponse),
        (notebook["driver"], models.CommandRunResult),
        (notebook["cells"][0], models.CellRunResult),
    ):
        assert set(answer) == set(model.__fields__), (model, answer)


def what_cannot_be_run_is_refused_by_name():
    for fields, word in (
        ({"language": "cpp"}, "language"),
        ({"files": {"x": "###"}}, "base64"),
        ({"files": {"../x": "YWI="}}, "relative path"),
        ({"run_timeout": -1}, "run_timeout"),
        ({"compile_timeout": -1}, "compile_timeout"),
    ):
        asked = RunCodeRequest(**{"code": "1", "language": "python", **fields})
        with pytest.raises(Exception, match=f"(?s)422.*{word}"):
            fusion.run_code(asked, max_attempts=1)


def concurrency_256_loses_and_mixes_nothing():
    asked = [RunCodeRequest(code=f"print({i} * 2)", language="python") for i in range(512)]
    done = fusion.run_concurrent(fusion.run_code, [[each, "", 1] for each in asked], concurrency=256)

    async def at_once():
        return await asyncio.gather(*(fusion.run_code_async(each, max_attempts=1) for each in asked[:256]))

    began = time.monotonic()
    done += asyncio.run(at_once())
    assert [each.run_result.stdout for each in done] == [f"{2 * i}\n" for i in (*range(512), *range(256))]
    print(f"{256 / (time.monotonic() - began):.0f} programs a second")


if __name__ == "__main__":
    a_program_has_its_streams_files_and_return_code()
    failures_of_the_program_are_told_as_the_original_tells_them()
    a_notebook_has_a_result_for_each_cell()
    an_answer_has_the_fields_of_the_clients_models_and_no_others()
    what_cannot_be_run_is_refused_by_name()
    concurrency_256_loses_and_mixes_nothing()
