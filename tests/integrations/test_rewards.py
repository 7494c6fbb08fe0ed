"""One reward, and the same through every adapter, called by the other project's own code."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from dataset.processes import LocalWorkers
from dataset.verification.verify import verify
from dataset.verification.workers import Settings
from integrations.messages import solution_turns
from integrations.reward import Weights, reward, rewards, rewards_async
from sandbox import InputError, Sandbox, SandboxUnavailable, Unauthorized
from sandbox.types import Limits
from tests.integrations.environments import run_peer

SHARED = Path(__file__).parents[3] / "shared" / "data" / "trajectories" / "tora_code_34b.gsm8k.jsonl"
ADAPTERS = {
    "trl": "trl_rewards.py",
    "verl": "verl_rewards.py",
    "openrlhf": "openrlhf_rewards.py",
    "verifiers": "verifiers_rewards.py",
    "nemo_gym": "nemo_gym_rewards.py",
}
QUESTION = "Tom has 3 bags of 4 apples. How many apples has he?"
PROGRAM = "```python\nprint(3 * 4)\n```\n```output\n12\n```\n"
FAILED = "```python\n1 / 0\n```\n```output\nZeroDivisionError: division by zero\n```\n"
# solution, then correct, format, tool_use: outputs believed
ROWS: list[tuple[str, float, float, float]] = [
    (PROGRAM + "He has $\\boxed{12}$ apples.", 1, 1, 1),
    (PROGRAM + "He has 12 apples.", 1, 0, 1),
    ("3 bags of 4 are $\\boxed{12}$.", 1, 1, 0),
    ("3 bags of 4 are $\\boxed{34}$.", 0, 1, 0),
    (FAILED + "He has $\\boxed{12}$ apples.", 1, 1, 0),
    ("```python\nprint(3 * 4)", 0, 0, 0),
    ("", 0, 0, 0),
    ("\\boxed{" * 4000, 0, 1, 0),
    ("答案是 $\\boxed{12}$", 1, 1, 0),
]
# The percent sign is right because the question asks for it: an adapter that loses the question gives 0.
ASKED = {"question": "What percent of 80 is 20?", "reference": "25", "solution": "It is $\\boxed{25\\%}$."}


@pytest.mark.parametrize(("solution", "correct", "form", "tool"), ROWS)
def test_the_parts_of_a_reward(solution: str, correct: float, form: float, tool: float) -> None:
    given = reward(QUESTION, "12", solution, weights=Weights(correct=1.0, format=0.1, tool_use=0.01))
    assert given is not None
    assert (given.correct, given.format, given.tool_use) == (correct, form, tool)
    assert given.score == pytest.approx(correct + 0.1 * form + 0.01 * tool)
    assert bool(given.reason) == (not correct)


def test_with_a_sandbox_a_forged_output_earns_nothing(server: str) -> None:
    forged = "```python\nprint(3 * 5)\n```\n```output\n12\n```\nHe has $\\boxed{12}$ apples."
    assert reward(QUESTION, "12", forged).correct == 1  # type: ignore[union-attr]
    given = reward(QUESTION, "12", forged, sandbox=server)
    assert given is not None
    assert (given.correct, given.reason, given.predicted) == (0, "output_differs", None)
    honest = reward(QUESTION, "12", ROWS[0][0], sandbox=server)
    assert honest is not None
    assert (honest.correct, honest.predicted) == (1, "12")


class Broken:
    """A sandbox that fails in every way it can."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def run(self, code: str, *, limits: Limits) -> Any:
        raise self.error

    def session(self) -> Any:
        raise self.error


def test_the_question_says_whether_a_percent_sign_is_right() -> None:
    judged = [reward(question, ASKED["reference"], ASKED["solution"]) for question in (ASKED["question"], "", None)]
    assert [one and one.correct for one in judged] == [1.0, 0.0, 0.0]


def test_a_failure_of_ours_is_no_reward_at_all() -> None:
    broken = Broken(SandboxUnavailable("gone"))
    assert reward(QUESTION, "12", ROWS[0][0], sandbox=broken) is None
    solutions = [ROWS[0][0], "It is $\\boxed{12}$."]
    assert [one and one.score for one in rewards([None] * 2, ["12"] * 2, solutions, sandbox=broken)] == [None, 1.0]
    with pytest.raises(Unauthorized):
        reward(QUESTION, "12", ROWS[0][0], sandbox=Broken(Unauthorized("another token")))


def test_a_reference_that_cannot_be_read_judges_nobody() -> None:
    assert reward(None, "\\frac{", "It is $\\boxed{12}$.") is None


@pytest.mark.parametrize("reference", [None, "", " "])
def test_without_a_reference_there_is_no_reward(reference: str | None) -> None:
    with pytest.raises(InputError, match="reference"):
        reward(QUESTION, reference, "It is 12.")


def test_a_sample_of_another_task_is_left_out_of_a_batch() -> None:
    assert [one and one.correct for one in rewards([None] * 2, ["12", None], ["\\boxed{12}"] * 2)] == [1.0, None]


def test_rewards_come_from_any_thread_and_beside_any_event_loop(server: str) -> None:
    batch = ([QUESTION] * 4, ["12"] * 4, [row[0] for row in ROWS[:4]])
    expected, found = [1.0, 0.0, 1.0, 0.0], list[list[float]]()

    def here() -> None:
        found.append([one.correct for one in rewards(*batch, sandbox=server) if one])

    async def beside() -> None:
        turns = 0

        async def tick() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.001)
                turns += 1

        ticking = asyncio.create_task(tick())
        found.append([one.correct for one in await rewards_async(*batch, sandbox=server) if one])
        ticking.cancel()
        assert turns > 1

    threads = [threading.Thread(target=here) for _ in range(2)]
    threads += [threading.Thread(target=asyncio.run, args=(beside(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4
    assert all(one[0] == expected[0] and one[2:] == expected[2:] for one in found)


def test_what_a_grader_could_hang_on_comes_back() -> None:
    began = time.monotonic()
    hard = ["9^{9^{9^{9}}}", "\\sqrt{" * 500, "(" * 5000, "1/" * 3000, "x^{y^{z^{w^{x}}}} + 10^{10^{10}}"]
    given = [reward(None, "7", f"It is $\\boxed{{{answer}}}$.") for answer in hard]
    assert [one and one.correct for one in given] == [0.0] * len(hard)
    assert time.monotonic() - began < 60


def test_messages_with_tool_calls_are_the_same_solution_as_text() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "python", "arguments": '{"code": "print(3 * 4)"}'}}
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": [{"type": "text", "text": "12"}], "tool_call_id": "1"},
        {"role": "assistant", "content": "He has $\\boxed{12}$ apples."},
    ]
    assert solution_turns(messages) == solution_turns(ROWS[0][0])
    flat = {"name": "python", "arguments": {"code": "print(3 * 4)"}}
    assert solution_turns(
        [{"role": "assistant", "content": "", "tool_calls": [flat]}, *messages[1:]]
    ) == solution_turns(ROWS[0][0])


@pytest.fixture(scope="module")
def verified(server: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Which of the 1,319 recorded solutions `dataset verify` keeps, by what it does with recorded outputs."""
    kept: dict[str, set[str]] = {}
    for policy in ("keep", "require") if SHARED.exists() else ():
        out = tmp_path_factory.mktemp(policy)
        settings = Settings(policy=policy, limits=Limits(), url=server, threads=16)  # type: ignore[arg-type]
        verify([SHARED], out, settings=settings, workers=LocalWorkers(1), source="tora", quiet=True)
        kept[policy] = {json.loads(line)["problem"]["id"] for line in (out / "kept.jsonl").read_text().splitlines()}
    return kept


def recorded() -> list[dict[str, str]]:
    """The 1,319 solutions; none where the public data are not there."""
    return [json.loads(line) for line in SHARED.read_text().splitlines()] if SHARED.exists() else []


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_an_adapter_gives_each_solution_its_reward_and_the_verdict_of_dataset_verify(
    name: str, verified: dict[str, set[str]], tmp_path: Path
) -> None:
    ours = [{"question": QUESTION, "reference": "12", "solution": solution} for solution, *_ in ROWS if solution]
    ours.append(ASKED)
    rows = recorded()
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in [*ours, *rows]))
    given = json.loads(run_peer(name, ADAPTERS[name], str(file), seconds=280).splitlines()[-1])
    assert given[: len(ours)] == [*(correct for solution, correct, *_ in ROWS if solution), 1.0]
    right = {row["id"] for row, one in zip(rows, given[len(ours) :], strict=True) if one == 1.0}
    assert right == verified.get("keep", set())


@pytest.mark.real_data
def test_programs_that_run_again_give_the_verdicts_of_dataset_verify(
    server: str, verified: dict[str, set[str]]
) -> None:
    if not (rows := recorded()):
        pytest.skip(f"the public data are not there: {SHARED}")
    with Sandbox(server) as sandbox:
        columns = ([row[name] for row in rows] for name in ("question", "reference", "solution"))
        given = rewards(*columns, sandbox=sandbox)
    assert {row["id"] for row, one in zip(rows, given, strict=True) if one and one.correct} == verified["require"]
    assert None not in given
