"""Servers that speak OpenAI's API: killed and started again, frozen, busy, or no such servers at all."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tokenizers import Tokenizer

from dataset.transcript import STOP
from dataset.types import Problem
from evaluator.__main__ import main
from evaluator.models import servers as several_servers
from evaluator.models.openai import open_openai
from evaluator.models.types import ModelDied, ModelError, ModelOptions, Sampling
from evaluator.results import RESULTS, Result, read_results
from sandbox import InputError
from sandbox.command import run_command
from tests.evaluator.scripted import problem
from tests.evaluator.speaking import Learned, Reply, Server, as_json, models
from tests.evaluator.test_results import CONFIG, take

ROOT = Path(__file__).parents[2]
PROBLEMS = [problem(n, answer=str(2 * n), question=f"What is {n} + {n} now?") for n in range(24)]
SOLUTIONS = {
    one.question: [f"So:\n```python\nprint({one.answer})\n```\n{STOP}", f"It is $\\boxed{{{one.answer}}}$."]
    for one in PROBLEMS
}
GREEDY = Sampling()
TOOLS = replace(CONFIG, style="tir", about={"samples_expected": len(PROBLEMS)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer's folder."""
    from tests.evaluator.tiny import make_tokenizer

    path = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer().save_pretrained(path)
    return path


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers = []

    def go(reply: Callable[[str, dict[str, Any]], Reply | None]) -> Server:
        server = Server(0, reply)
        Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield go
    for server in servers:
        server.shutdown()
        server.server_close()


def learned(folder: Path, **options: Any) -> Learned:
    return Learned(Tokenizer.from_file(str(folder / "tokenizer.json")), "abacus", SOLUTIONS, **options)


def options(folder: Path, *urls: str, **changes: Any) -> ModelOptions:
    return ModelOptions(urls=urls, tokenizer=str(folder), **{"patience_seconds": 60.0} | changes)


def say(model: Any, *, tools: bool = True, key: str = "p/1#0", sampling: Sampling = GREEDY) -> Any:
    tokens = model.chat.prompt([{"role": "user", "content": PROBLEMS[1].question}])

    async def go() -> Any:
        try:
            return await asyncio.wait_for(
                model.generate(key, tokens, max_tokens=200, tools=tools, sampling=sampling), 200
            )
        finally:
            await model.close()

    return asyncio.run(go())


class Elsewhere:
    """A server in a process of its own, to be killed; with `answers` it is gone (-9) when it has given so many."""

    def __init__(self, folder: Path, answers: int | None = None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._command = [sys.executable, "-m", "tests.evaluator.speaking", str(self.port), str(folder), "abacus"]
        self._command += ["0.1", json.dumps(SOLUTIONS)]
        self.start(answers)

    def start(self, answers: int | None = None) -> None:
        self.process = subprocess.Popen([*self._command, str(answers or 0)], cwd=ROOT)
        until = time.monotonic() + 200
        while time.monotonic() < until:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("the server does not come up")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def when_done(folder: Path, count: int, act: Callable[[], object]) -> Thread:
    """Do `act` in the middle of a run: as soon as `count` results are there."""

    def wait() -> None:
        until = time.monotonic() + 200
        while time.monotonic() < until:
            if (folder / RESULTS).exists() and (folder / RESULTS).read_bytes().count(b"\n") >= count:
                act()
                return
            time.sleep(0.01)

    thread = Thread(target=wait)
    thread.start()
    return thread


def lasting(folder: Path) -> list[tuple[Any, ...]]:
    def of(result: Result) -> tuple[Any, ...]:
        statuses = [call.status for call in result.calls]
        return result.problem.id, result.text, result.stop, result.new_tokens, statuses, result.grade

    return [of(result) for result in read_results(folder)[1]]


@pytest.mark.parametrize(
    ("sampling", "sent"),
    [
        (Sampling(), (0.0, 1.0, -1, 0.0, 1.0, None)),
        (Sampling(0.5, 0.9, 7, top_k=5, min_p=0.1, repetition_penalty=1.1), (0.5, 0.9, 5, 0.1, 1.1, 7)),
    ],
)
def test_every_number_of_the_sampling_is_sent_be_it_neutral_or_not(
    folder: Path, serve: Callable[..., Server], sampling: Sampling, sent: tuple[float | None, ...]
) -> None:
    """A server fills in what is left out from the model's generation_config.json."""
    server = serve(learned(folder))
    say(open_openai("abacus", options(folder, server.url)), sampling=sampling)
    body = server.asked[-1][1]
    names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed")
    assert tuple(body[name] for name in names) == sent
    assert (body["presence_penalty"], body["frequency_penalty"]) == (0.0, 0.0)


def test_a_server_killed_and_started_again_mid_run_changes_nothing(folder: Path, tmp_path: Path) -> None:
    server = Elsewhere(folder)
    try:
        model = open_openai("abacus", options(folder, server.url))
        assert take(tmp_path / "whole", model, config=TOOLS, problems=PROBLEMS) == 0

        def restart() -> None:
            server.kill()
            time.sleep(0.3)
            server.start()

        seen = open_openai("abacus", options(folder, server.url))
        killers = [when_done(tmp_path / "killed", 5, restart)]
        killers.append(when_done(tmp_path / "killed", 15, restart))
        failed = take(tmp_path / "killed", seen, config=TOOLS, problems=PROBLEMS)
        for killer in killers:
            killer.join()
    finally:
        server.kill()
    assert failed == 0
    assert lasting(tmp_path / "killed") == lasting(tmp_path / "whole")
    assert all(result.correct for result in read_results(tmp_path / "killed")[1])


def test_when_one_of_two_servers_dies_the_other_finishes(folder: Path, tmp_path: Path) -> None:
    servers = [Elsewhere(folder, answers=5), Elsewhere(folder)]
    try:
        model = open_openai("abacus", options(folder, *(server.url for server in servers)))
        assert take(tmp_path, model, config=TOOLS, problems=PROBLEMS) == 0
    finally:
        for server in servers:
            server.kill()
    assert all(result.correct for result in read_results(tmp_path)[1])
    assert servers[0].process.returncode == -signal.SIGKILL, "by itself"
    assert len(lasting(tmp_path)) == len(PROBLEMS)


def test_conversations_are_spread_by_load_and_each_stays_with_its_server(
    folder: Path, tmp_path: Path, serve: Callable[..., Server]
) -> None:
    servers = [serve(learned(folder, seconds=0.05)) for _ in range(2)]
    model = open_openai("abacus", options(folder, *(server.url for server in servers)))
    assert take(tmp_path, model, config=TOOLS, problems=PROBLEMS) == 0
    asked = [[body["prompt"] for path, body in one.asked if path.endswith("/completions")] for one in servers]
    begun = [[prompt for prompt in prompts if not any(prompt[: len(o)] == o for o in prompts if o is not prompt)]
             for prompts in asked]  # fmt: skip
    assert abs(len(begun[0]) - len(begun[1])) <= 4
    assert sum(map(len, begun)) == len(PROBLEMS)
    assert [len(prompts) for prompts in asked] == [2 * len(prompts) for prompts in begun]


def test_a_frozen_server_is_given_up_for_the_other(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(several_servers, "_LOOK_SECONDS", 0.3)
    servers = [Elsewhere(folder), Elsewhere(folder)]
    try:
        model = open_openai("abacus", options(folder, *(server.url for server in servers)))
        os.kill(servers[0].process.pid, signal.SIGSTOP)
        assert take(tmp_path, model, config=TOOLS, problems=PROBLEMS[:8]) == 0
    finally:
        for server in servers:
            server.kill()
    assert all(result.correct for result in read_results(tmp_path)[1])


def test_servers_that_stay_away_end_the_run_and_the_next_one_goes_on(folder: Path, tmp_path: Path) -> None:
    server = Elsewhere(folder, answers=20)
    try:
        model = open_openai("abacus", options(folder, server.url, patience_seconds=0.5))
        with pytest.raises(ModelDied, match=r"no model server answered for 0\.5 s"):
            take(tmp_path, model, config=TOOLS, problems=PROBLEMS)
        done = lasting(tmp_path)
        assert 0 < len(done) < len(PROBLEMS)
        assert all(grade is not None for *_, grade in done)
        assert server.process.wait() == -signal.SIGKILL, "by itself"
        server.start()
        model = open_openai("abacus", options(folder, server.url))
        assert take(tmp_path, model, config=TOOLS, problems=PROBLEMS) == 0
        assert len(lasting(tmp_path)) == len(PROBLEMS)
    finally:
        server.kill()


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param((503, "text/plain", "starting"), id="busy"),
        pytest.param((502, "text/html", "<html>bad gateway</html>"), id="proxy"),
        pytest.param((200, "text/html", "<html>back soon</html>"), id="web page"),
        pytest.param((429, "application/json", "{}"), id="too many"),
        pytest.param((500, "application/json", '{"error": {"message": "engine"}}'), id="its own error"),
    ],
)
def test_passing_trouble_is_waited_out(folder: Path, serve: Callable[..., Server], trouble: Reply) -> None:
    whole = learned(folder)
    refused: list[int] = []

    def reply(path: str, body: dict[str, Any]) -> Reply:
        if path.endswith("/completions") and len(refused) < 2:
            refused.append(1)
            return trouble
        return whole(path, body)

    model = open_openai("abacus", options(folder, serve(reply).url))
    said = say(model)
    assert (said.stop, said.text) == ("output", SOLUTIONS[PROBLEMS[1].question][0])
    assert len(refused) == 2


@pytest.mark.parametrize(
    ("status", "error", "kind", "asked"),
    [
        (400, "This model's maximum context length is 512", ModelError, 1),
        (404, "The model abacus does not exist", ModelDied, 1),
        (401, "Unauthorized", ModelDied, 1),
        (500, "cannot", ModelError, 5),
    ],
)
def test_a_refusal_is_said_with_its_reason_and_never_graded(
    folder: Path, serve: Callable[..., Server], status: int, error: str, kind: type[Exception], asked: int
) -> None:
    server = serve(
        lambda path, body: models("abacus") if "models" in path else as_json({"error": {"message": error}}, status)
    )
    with pytest.raises(kind, match=f"answered p/1#0 with {status}: {error}"):
        say(open_openai("abacus", options(folder, server.url)))
    assert sum(path.endswith("completions") for path, _ in server.asked) == asked


def test_without_ids_from_the_server_the_text_is_tokenised_once(folder: Path, serve: Callable[..., Server]) -> None:
    whole = learned(folder, ids=False)

    def reply(path: str, body: dict[str, Any]) -> Reply:
        status, kind, text = whole(path, body)
        answer = json.loads(text)
        if "choices" in answer:
            answer["choices"][0]["matched_stop"] = STOP if body["stop"] else 1  # as SGLang says it
        return status, kind, json.dumps(answer)

    model = open_openai("abacus", options(folder, serve(reply).url))
    said = say(model)
    assert (said.stop, said.text) == ("output", SOLUTIONS[PROBLEMS[1].question][0])
    assert said.tokens == model.chat.piece(said.text)
    assert model.about["token_ids"] == "of its text"


def test_a_server_that_does_not_say_what_stopped_it_is_refused_with_tools_only(
    folder: Path, serve: Callable[..., Server]
) -> None:
    url = serve(learned(folder, ids=False)).url
    assert say(open_openai("abacus", options(folder, url)), tools=False).stop == "end"
    with pytest.raises(ModelDied, match="does not say what stopped it"):
        say(open_openai("abacus", options(folder, url)))


def test_the_prompt_is_token_ids_with_one_bos_and_nothing_added(folder: Path, serve: Callable[..., Server]) -> None:
    server = serve(learned(folder))
    say(open_openai("abacus", options(folder, server.url)))
    body = server.asked[-1][1]
    assert body["prompt"].count(0) == 1
    assert (body["prompt"][0], body["add_special_tokens"], body["stop"]) == (0, False, [STOP])


WEB_PAGE = (200, "text/html; charset=utf-8", "<!doctype html><title>hello</title>")


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        pytest.param(lambda path, body: WEB_PAGE, "/v1/models answers with 200 and text/html, not with", id="page"),
        pytest.param(lambda path, body: (404, *WEB_PAGE[1:]), "answers with 404 and text/html", id="no such path"),
        pytest.param(lambda path, body: as_json([]), "answers with 200 and application/json, not", id="other JSON"),
        pytest.param(lambda path, body: as_json({}, 401), "refuses us (401): set OPENAI_API_KEY", id="no key"),
        pytest.param(lambda path, body: models("other"), "serves other, not abacus: give --model", id="other model"),
        pytest.param(lambda path, body: as_json({"data": [{"id": "abacus"}]}), "give --context-tokens", id="no length"),
    ],
)
def test_what_is_no_server_of_this_model_is_said_in_one_line(
    folder: Path,
    serve: Callable[..., Server],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    reply: Callable[[str, dict[str, Any]], Reply],
    told: str,
) -> None:
    (tmp_path / "test.jsonl").write_text(json.dumps(asdict(Problem(**asdict(PROBLEMS[0])))) + "\n")
    command = ["run", "--model", "abacus", "--tokenizer", str(folder), "--url", serve(reply).url.removesuffix("/v1")]
    command += ["--benchmark", "demo", "--file", str(tmp_path / "test.jsonl"), "--no-tools", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["evaluator", *command])
    assert run_command(main) == 2
    err = capfd.readouterr().err.splitlines()
    assert told in err[-1]
    assert [line for line in err if line.startswith(("error", "Traceback"))] == err[-1:]


def test_no_server_is_said_at_once(folder: Path) -> None:
    with pytest.raises(InputError, match=r"no model server answers .*vllm serve abacus"):
        open_openai("abacus", options(folder, "http://127.0.0.1:9/v1", patience_seconds=1e6))


def test_the_key_is_sent_and_told_to_nobody(folder: Path, serve: Callable[..., Server]) -> None:
    whole = learned(folder)

    def reply(path: str, body: dict[str, Any]) -> Reply:
        return whole(path, body) if body["authorization"] == "Bearer s3cret" else as_json({}, 401)

    wanted = options(folder, serve(reply).url, token="s3cret")
    assert "s3cret" not in repr(wanted)
    model = open_openai("abacus", wanted)
    assert say(model).stop == "output"
    assert "s3cret" not in str(model.about)
