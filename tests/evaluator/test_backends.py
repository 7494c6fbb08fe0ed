"""What every backend promises, held against vLLM, transformers and a server with one model that calls its tool."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

from dataset.chat import ChatFormat
from dataset.transcript import STOP, parse
from evaluator.models import BACKENDS, why_no_vllm
from evaluator.models.tokens import end_at_stop
from evaluator.models.types import ModelOptions, Sampling
from tests.evaluator.observe import observe
from tests.evaluator.real_server import vllm_server
from tests.evaluator.speaking import Reply, Server, as_json, models
from tests.processes import descendants, is_running, outliving, steady

ROOT = Path(__file__).parents[2]
# An engine needs 18 s to start on a quiet machine; on a busy one that was seen to be 100.
pytestmark = pytest.mark.timeout(1200)


_STARTED = [pytest.param(name, marks=pytest.mark.engine) for name in ("vllm", "vllm server")]


@pytest.fixture(scope="module", params=["transformers", "openai", *_STARTED])
def seen(
    request: pytest.FixtureRequest,
    tiny_model: Path,
    run: Callable[[Any], Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What a backend was observed to do. vLLM forks its engine, which only a process without threads may."""
    from tests.evaluator.tiny import PROBLEMS

    if request.param == "transformers":
        return dict(json.loads(json.dumps(run(observe("transformers", str(tiny_model), PROBLEMS)))))
    if request.param == "openai":
        with served(tiny_model) as url:
            found = run(observe("openai", str(tiny_model), PROBLEMS, ModelOptions(urls=[url])))
        return dict(json.loads(json.dumps(found)))
    if (why := why_no_vllm()) is not None:
        pytest.skip(why)
    if request.param == "vllm server":
        with vllm_server(tiny_model, tmp_path_factory.mktemp("server") / "log") as url:
            found = run(observe("openai", str(tiny_model), PROBLEMS, ModelOptions(urls=[url])))
        return dict(json.loads(json.dumps(found)))
    done = subprocess.run(
        [sys.executable, "-m", "tests.evaluator.observe", request.param, str(tiny_model)],
        input=json.dumps([asdict(problem) for problem in PROBLEMS]),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Exception ignored" not in done.stderr, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server that answers with the model in `folder`."""
    model = BACKENDS["transformers"]()(str(folder), ModelOptions())
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def reply(path: str, body: dict[str, Any]) -> Reply:
        if path.endswith("/models"):
            return models(str(folder))
        said = asyncio.run_coroutine_threadsafe(
            model.generate(
                "served",
                body["prompt"],
                max_tokens=body["max_tokens"],
                tools=body["stop"] is not None,
                sampling=Sampling(body["temperature"], body["top_p"], body["seed"] or 0),
            ),
            loop,
        ).result(200)
        reason = {"length": ("length", None), "output": ("stop", STOP), "end": ("stop", None)}[said.stop]
        choice = {"text": said.text, "token_ids": said.tokens, "finish_reason": reason[0], "stop_reason": reason[1]}
        return as_json({"choices": [choice]})

    server = Server(0, reply)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.url
    server.shutdown()
    server.server_close()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_requests_that_wait_are_one_batch_for_transformers_whatever_their_seeds(
    tiny_model: Path, run: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = BACKENDS["transformers"]()(str(tiny_model), ModelOptions())
    batches = []
    generate = model._model.generate
    monkeypatch.setattr(model._model, "generate", lambda **o: batches.append(len(o["input_ids"])) or generate(**o))
    asked = model.chat.prompt([{"role": "user", "content": "What is 3 + 4?"}])

    async def ask(temperature: float) -> list[str]:
        samplings = [Sampling(temperature, seed=seed) for seed in range(24)]
        said = [model.generate("b#0", asked, max_tokens=12, tools=False, sampling=one) for one in samplings]
        return [one.text for one in await asyncio.gather(*said)]

    greedy, sampled = run(ask(0.0)), run(ask(1.5))
    assert batches == [24, 24]
    assert (len(set(greedy)), len(set(sampled)) > 12) == (1, True)
    run(model.close())


@pytest.fixture(scope="module")
def chat(tiny_model: Path) -> ChatFormat:
    from transformers import AutoTokenizer

    return ChatFormat(AutoTokenizer.from_pretrained(tiny_model))


def test_the_whole_loop_equals_the_trainers_rendering_token_for_token(seen: dict[str, Any], chat: ChatFormat) -> None:
    from tests.evaluator.tiny import SOLUTIONS, messages

    for number, done in enumerate(seen["solved"]):
        assert parse(done["text"]) == SOLUTIONS[number]
        assert (done["stop"], [call["status"] for call in done["calls"]]) == ("end", ["ok"])
        rendered = [token for tokens, _ in chat.example(messages(number)) for token in tokens]
        first, second = seen["calls"][f"tiny/{number}#0"]
        whole = [*first["tokens"], *first["said"]["tokens"]]
        assert second["tokens"][: len(whole)] == whole
        assert [*second["tokens"], *second["said"]["tokens"]] == rendered


def test_it_stops_behind_the_output_fence_in_text_and_tokens(seen: dict[str, Any]) -> None:
    assert (seen["fence"]["stop"], seen["fence"]["text"][-len(STOP) :]) == ("output", STOP)
    assert seen["fence"]["tokens"] == seen["fence"]["piece"]


def test_without_tools_it_goes_on_behind_the_output_fence(seen: dict[str, Any]) -> None:
    assert STOP in seen["no_tools"]["text"]
    assert not seen["no_tools"]["text"].endswith(STOP)


def test_it_keeps_to_its_budget_of_tokens(seen: dict[str, Any]) -> None:
    found = {budget: (said["stop"], len(said["tokens"])) for budget, said in seen["budgets"].items()}
    assert found == {"1": ("length", 1), "5": ("length", 5), "9": ("length", 9)}


def test_the_end_of_the_turn_is_a_token_and_no_text(seen: dict[str, Any], chat: ChatFormat) -> None:
    assert (seen["end"]["stop"], seen["end"]["tokens"][-1]) == ("end", chat.end_of_turn)
    assert "<end>" not in seen["end"]["text"]


def test_different_seeds_sample_different_texts(seen: dict[str, Any]) -> None:
    assert len(set(seen["seeds"])) == 3


def test_sampling_leaves_out_no_token_that_only_the_models_own_file_leaves_out(
    seen: dict[str, Any], tiny_model: Path
) -> None:
    """At temperature 2 without top-k and min-p tokens are drawn that the file's top-k 3 and min-p 0.3 forbid."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    ranks, shares = [], []
    for asked, drawn in seen["drawn"]:
        with torch.inference_mode():
            logits_TV = model(torch.tensor([[*asked, *drawn]])).logits[0, len(asked) - 1 : -1] / 2.0
        for logits_V, token in zip(logits_TV, drawn, strict=True):
            ranks.append(int((logits_V > logits_V[token]).sum()))
            shares.append(float((logits_V[token] - logits_V.max()).exp()))
    assert max(ranks) >= 3
    assert min(shares) < 0.3


def test_a_seed_samples_the_same_alone_and_among_many(seen: dict[str, Any]) -> None:
    """In float32 and with a model this small no rounding is large enough to change a token."""
    assert seen["crowd"][:3] == seen["seeds"]
    assert len(set(seen["crowd"])) == len(seen["crowd"])


def test_it_says_what_it_is(seen: dict[str, Any]) -> None:
    own = {"urls", "served", "token_ids"} if "urls" in seen["about"] else {"dtype", "device", "torch"}
    assert {*own, "name", "version", "context_tokens"} <= set(seen["about"])
    assert seen["context_tokens"] == 512


# What holds a lifeline is killed (-9); the child that it names, and no other, must go with it.
_HOLDER = """
import multiprocessing, os, signal, sys, time
from evaluator.models.lifeline import Lifeline
fork = multiprocessing.get_context("fork")
earlier = fork.Process(target=time.sleep, args=(3600,))
earlier.start()
before = multiprocessing.active_children()
later = fork.Process(target=time.sleep, args=(3600,))
later.start()
lifeline = Lifeline.of_children_since(before)
if sys.argv[1] == "cut":
    lifeline.cut()
print(earlier.pid, later.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("line", ["held", "cut"])
def test_what_hangs_on_a_lifeline_ends_when_its_holder_is_killed(line: str) -> None:
    with subprocess.Popen([sys.executable, "-c", _HOLDER, line], cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        earlier, later = map(int, holder.stdout.readline().split())
        assert holder.wait() == -signal.SIGKILL
    try:
        if line == "held":
            assert outliving([later], seconds=200) == []
        else:
            assert is_running(later)
        assert is_running(earlier)
    finally:
        for pid in (earlier, later):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@steady
def engines_of(pid: int) -> list[int]:
    return [child for child in descendants(pid) if Path(f"/proc/{child}/comm").read_text().startswith("VLLM")]


@pytest.mark.engine
def test_the_engine_ends_with_an_evaluator_that_is_killed_and_a_run_that_ends_says_nothing_more(
    tiny_model: Path, tmp_path: Path
) -> None:
    from tests.evaluator.tiny import PROBLEMS

    if (why := why_no_vllm()) is not None:
        pytest.skip(why)
    many = [replace(PROBLEMS[n % 3], id=f"tiny/{n}") for n in range(600)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(asdict(one)) + "\n" for one in many))
    command = [sys.executable, "-m", "evaluator", "run", "--model", str(tiny_model), "--benchmark", "demo", "--tools"]
    command += ["--file", str(tmp_path / "test.jsonl"), "--out", str(tmp_path / "r"), "--in-flight", "1"]
    with (tmp_path / "err").open("w") as errors:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True)
    results = tmp_path / "r" / "demo-tools" / "results.jsonl"
    while process.poll() is None and not (results.exists() and results.read_bytes()):
        time.sleep(0.05)
    engines = engines_of(process.pid)
    process.kill()
    process.wait()
    assert engines, (tmp_path / "err").read_text()
    assert outliving(engines, seconds=200) == []
    # Gone on with, on the few that are left, it ends by itself and in silence.
    done = subprocess.run([*command, "--limit", "1"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Exception ignored" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "kept", "text"),
    [
        pytest.param(["a", "```", "output"], ["a", "```", "output"], "a```output", id="ends at the stop"),
        pytest.param(["a", "```", "output\n"], ["a", "```", "o", "u", "t", "p", "u", "t"], "a```output", id="goes on"),
        pytest.param(["a", "```", "outputs"], ["a", "```", "outputs"], "a```outputs", id="is another word"),
        pytest.param(["a"], ["a"], "a", id="has no stop"),
    ],
)
def test_ids_end_where_the_stop_string_ends(words: list[str], kept: list[str], text: str) -> None:
    vocabulary = sorted({*words, *"output", "```"})
    ids = [vocabulary.index(word) for word in words]
    found, said, mended = end_at_stop(
        ids, STOP, lambda some: "".join(vocabulary[i] for i in some), lambda rest: [vocabulary.index(c) for c in rest]
    )
    assert ([vocabulary[number] for number in found], said) == (kept, text)
    assert mended == len(kept) - 2 if len(kept) > len(words) else mended == 0  # tokens that nobody drew
