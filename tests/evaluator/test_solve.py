"""The loop on one solution, with a scripted model and the real sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from dataset.chat import ChatFormat
from dataset.transcript import STOP, parse, prompt
from dataset.types import Language, Style, Turn
from evaluator.grade import grade
from evaluator.models.replay import WordTokenizer
from evaluator.models.types import Sampling
from evaluator.protocols import PROTOCOLS, Protocol
from evaluator.solve import Transcript, solve
from sandbox import AsyncSandbox
from tests.evaluator.scripted import Scripted, problem

DEFAULT = PROTOCOLS["default"]
Run = Callable[[Any], Any]


def cell(code: str) -> str:
    return f"```python\n{code}\n```\n{STOP}"


@pytest.fixture
def answer(run: Run, sandbox: AsyncSandbox) -> Callable[..., Transcript]:
    def go(model: Scripted | Sequence[str], *, tools: bool = True, protocol: Protocol = DEFAULT) -> Transcript:
        model = model if isinstance(model, Scripted) else Scripted(model)
        coroutine = solve(
            problem(),
            sample=0,
            style="tir" if tools else "cot",
            model=model,
            sandbox=sandbox,
            protocol=protocol,
            sampling=Sampling(),
        )
        result = run(asyncio.wait_for(coroutine, 200))
        assert isinstance(result, Transcript)
        return result

    return go


Answer = Callable[..., Transcript]


def test_a_program_is_run_and_its_output_spliced_before_the_model_goes_on(answer: Answer) -> None:
    done = answer(["Let me compute.\n" + cell("print(3 + 4)"), "The answer is $\\boxed{7}$."])
    assert parse(done.text) == (
        Turn("text", "Let me compute."),
        Turn("code", "print(3 + 4)"),
        Turn("output", "7"),
        Turn("text", "The answer is $\\boxed{7}$."),
    )
    assert (done.stop, len(done.calls), done.left_over) == ("end", 1, None)


def test_state_is_kept_from_program_to_program(answer: Answer) -> None:
    done = answer([cell("x = 41"), cell("x + 1"), "done"])
    assert [turn.text for turn in parse(done.text) if turn.kind == "output"] == ["", "42"]


def test_an_error_is_shown_and_keeps_the_state(answer: Answer) -> None:
    done = answer([cell("x = 5\n1 / 0"), cell("print(x)"), "done"])
    assert [turn.text for turn in parse(done.text) if turn.kind == "output"] == [
        "ZeroDivisionError: division by zero",
        "5",
    ]
    assert [call.error for call in done.calls] == ["ZeroDivisionError", None]


def test_after_a_timeout_the_next_program_runs_in_a_fresh_session(answer: Answer) -> None:
    protocol = replace(DEFAULT, tool_seconds=3)
    done = answer([cell("x = 1\nwhile True: pass"), cell("print(6 * 7)"), "done"], protocol=protocol)
    assert [call.status for call in done.calls] == ["timeout", "ok"]
    assert [turn.text for turn in parse(done.text) if turn.kind == "output"] == ["Timeout Error", "42"]


def test_a_slow_program_costs_its_own_problem_alone(run: Run, sandbox: AsyncSandbox) -> None:
    def lines(key: str) -> list[str]:
        return [cell("import time; time.sleep(200)" if key == "p/0#0" else "print(7)"), "$\\boxed{7}$"]

    model = Scripted(lines)
    protocol = replace(DEFAULT, tool_seconds=250)

    async def one(number: int) -> Transcript:
        rules: dict[str, Any] = {"style": "tir", "protocol": protocol, "sampling": Sampling()}
        return await solve(problem(number), sample=0, model=model, sandbox=sandbox, **rules)

    async def everyone() -> None:
        slow = asyncio.create_task(one(0))
        others = await asyncio.gather(*(one(number) for number in range(1, 6)))
        assert [done.stop for done in others] == ["end"] * 5
        assert "p/0#0" in model.fed, "it had begun"
        assert not slow.done()
        slow.cancel()
        await asyncio.wait({slow})
        assert slow.cancelled()

    run(everyone())


def test_a_program_that_is_not_read_counts_as_the_programs_answer(answer: Answer) -> None:
    done = answer(["```python\nprint(3 + 4)\n```"])
    assert (done.stop, done.left_over, done.calls[0].shown) == ("end", "7", False)
    judged = grade(problem(), done.text, done.left_over)
    assert judged.program is not None
    assert (judged.verdict.correct, judged.program.correct, judged.answer_from) == (True, True, "program")


def test_the_text_outweighs_the_program_and_the_program_is_judged_by_itself(answer: Answer) -> None:
    done = answer([cell("print(7)"), "The answer is $\\boxed{8}$."])
    judged = grade(problem(), done.text, done.left_over)
    assert judged.program is not None
    assert (judged.verdict.correct, judged.program.correct, judged.answer_from) == (False, True, "text")


def test_the_program_beyond_the_last_that_may_be_read_is_run_but_not_shown(answer: Answer) -> None:
    protocol = replace(DEFAULT, programs_shown=2)
    done = answer([cell(f"print({n})") for n in range(9)], protocol=protocol)
    assert (done.stop, done.left_over, len(done.calls)) == ("programs", "2", 3)
    assert [call.shown for call in done.calls] == [True, True, False]


def test_without_tools_nothing_is_run(answer: Answer) -> None:
    done = answer(["```python\nprint(7)\n```\n```output\n8\n```\n$\\boxed{8}$"], tools=False)
    assert (done.stop, done.calls, done.left_over) == ("end", (), None)


@pytest.mark.parametrize(
    ("lines", "stop", "left_over"),
    [
        pytest.param([""], "end", None, id="emits empty text"),
        pytest.param(["word " * 5000], "length", None, id="never stops"),
        pytest.param([cell("1")] * 5000, "programs", "1", id="never stops calling its tool"),
        pytest.param(["```python\nprint(5)"], "end", "5", id="leaves a fence open"),
        pytest.param([STOP], "no_program", None, id="opens an output with nothing to run"),
        pytest.param([f"{cell('print(1)')}", f"{STOP}"], "no_program", None, id="opens an output twice"),
        pytest.param([f"```python\nprint('{STOP}", "')\n```"], "end", f"\\{STOP}", id="writes the fence in a string"),
        pytest.param([f"As in {STOP}", " we see 7."], "no_program", None, id="writes the fence in a sentence"),
        pytest.param([cell("print('\\ud800')"), "7"], "end", None, id="prints a lone surrogate"),
        pytest.param(["\ud800 7"], "end", None, id="says a lone surrogate"),
        pytest.param([cell("print('```output\\n```')"), "7"], "end", None, id="prints fences"),
        pytest.param([cell("print('x' * 10**7)"), "7"], "end", None, id="prints ten megabytes"),
    ],
)
def test_a_model_that_misbehaves_ends_as_documented(
    answer: Answer, lines: Sequence[str], stop: str, left_over: str | None
) -> None:
    done = answer(lines)
    assert (done.stop, done.left_over) == (stop, left_over)
    assert done.new_tokens <= DEFAULT.new_tokens
    grade(problem(), done.text, done.left_over)


def test_a_megabyte_of_code_ends_as_any_other(answer: Answer) -> None:
    model = Scripted([cell("x = 0\n" + "x += 1  # and the sum of it all so far\n" * 30_000 + "print(x)"), "done"])
    model.context_tokens = 10**8
    done = answer(model, protocol=replace(DEFAULT, new_tokens=10**7, generation_tokens=10**7))
    assert parse(done.text)[1] == Turn("output", "30000")


@pytest.mark.parametrize("context_tokens", [5, 40])
def test_a_full_context_ends_the_solution(answer: Answer, context_tokens: int) -> None:
    model = Scripted([cell("print(1)")] * 100)
    model.context_tokens = context_tokens
    assert answer(model).stop == "length"


def test_the_sequence_only_grows(answer: Answer) -> None:
    model = Scripted([cell("print(1)"), "so\n" + cell("print(2)"), "done"])
    answer(model)
    fed = model.fed["p/0#0"]
    for earlier, later in pairwise(fed):
        assert later[: len(earlier)] == earlier


@pytest.mark.parametrize("tokenizer", ["words", "tiny"])
def test_what_the_loop_feeds_is_what_the_trainer_renders(
    answer: Answer, tokenizer: str, request: pytest.FixtureRequest
) -> None:
    chat = None
    if tokenizer == "tiny":
        from transformers import AutoTokenizer

        chat = ChatFormat(AutoTokenizer.from_pretrained(request.getfixturevalue("tiny_model")))
    lead_in = "" if chat is None else chat.lead_in
    model = Scripted([f"{lead_in}First,\n" + cell("print(3 + 4)"), "then\n" + cell("1 / 0"), "$\\boxed{7}$"], chat)
    done = answer(model)
    messages = [
        {"role": "user", "content": prompt(done.problem.question, "tir", "en")},
        {"role": "assistant", "content": done.text},
    ]
    rendered = [token for tokens, _ in model.chat.example(messages) for token in tokens]
    assert rendered == model.fed["p/0#0"][-1] + model.said["p/0#0"][-1]
    learned = sum(len(tokens) for tokens, learn in model.chat.example(messages) if learn)
    assert (learned, done.prompt_tokens + done.new_tokens + done.shown_tokens) == (done.new_tokens, len(rendered))


def test_a_chat_has_one_bos_and_examples_one_only_where_the_tokenizer_itself_begins_with_it(
    answer: Answer, tiny_model: Any
) -> None:
    from transformers import AutoTokenizer

    # The template of this model writes the BOS, its tokenizer does not: a plain text has none.
    chat = ChatFormat(AutoTokenizer.from_pretrained(tiny_model))
    for protocol in PROTOCOLS.values():
        model = Scripted(["7"], chat)
        answer(model, protocol=protocol)
        assert model.fed["p/0#0"][0].count(0) == model.fed["p/0#0"][0][:1].count(0) == (protocol.shots is None)


# Word for word as in deepseek-ai/DeepSeek-Math, README and evaluation/infer/run_subset_parallel.py (markup_question).
DEEPSEEKMATH_PROMPTS: list[tuple[Style, Language, str, str]] = [
    (
        "cot",
        "en",
        "what is the integral of x^2 from 0 to 2?",
        "User: what is the integral of x^2 from 0 to 2?\n"
        "Please reason step by step, and put your final answer within \\boxed{}.\n\nAssistant:",
    ),
    (
        "cot",
        "zh",
        "二加三是多少？",
        "User: 二加三是多少？\n请通过逐步推理来解答问题，并把最终答案放置于\\boxed{}中。\n\nAssistant:",
    ),
    (
        "tir",
        "en",
        "what is the integral of x^2 from 0 to 2?",
        "User: what is the integral of x^2 from 0 to 2?\n"
        "Please integrate natural language reasoning with programs to solve the problem above, "
        "and put your final answer within \\boxed{}.\n\nAssistant:",
    ),
    (
        "tir",
        "zh",
        "二加三是多少？",
        "User: 二加三是多少？\n请结合自然语言和Python程序语言来解答问题，并把最终答案放置于\\boxed{}中。\n\nAssistant:",
    ),
]


@pytest.mark.parametrize(("style", "language", "question", "expected"), DEEPSEEKMATH_PROMPTS)
def test_the_four_prompts_of_deepseekmath_are_its_repositorys(
    style: Style, language: Language, question: str, expected: str, tiny_model: Any
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    ids = PROTOCOLS["deepseekmath"].prompt(ChatFormat(tokenizer), question, style, language)
    assert tokenizer.decode(ids) == "<begin>" + expected


def test_deepseekmath_reruns_earlier_programs_without_their_prints_and_shows_one_output(answer: Answer) -> None:
    done = answer(
        [cell("x = 20\nprint('noise')"), cell("print(x + 1)"), cell("print(1)")], protocol=PROTOCOLS["deepseekmath"]
    )
    assert parse(done.text)[1] == Turn("output", "noise")
    assert (done.stop, done.left_over, len(done.calls)) == ("programs", "21", 2)


def test_deepseekmath_cuts_an_output_to_its_first_and_last_fifty_characters(answer: Answer) -> None:
    done = answer([cell("print('a' * 200 + 'b' * 200)"), "x"], protocol=PROTOCOLS["deepseekmath"])
    assert f"{'a' * 50}...{'b' * 50}" in done.text


@pytest.mark.parametrize(
    "said",
    [
        pytest.param("\ufffd\ufffd answer $\\boxed{7}$ \ufffd", id="what decodes to replacement characters"),
        pytest.param("\x00\x1b[31m\u202e$\\boxed{7}$", id="control characters"),
        pytest.param("$\\boxed{7}$" + "}" * 100_000, id="a hundred thousand braces"),
        pytest.param("$\\boxed{" * 20_000 + "7", id="boxes that never close"),
    ],
)
def test_text_that_is_no_text_ends_as_any_other(answer: Answer, said: str) -> None:
    model = Scripted([said])
    model.context_tokens = 10**8
    done = answer(model, protocol=replace(DEFAULT, new_tokens=10**7, generation_tokens=10**7))
    assert (done.stop, done.text) == ("end", said)
    grade(done.problem, done.text, done.left_over)


def test_a_program_of_invalid_utf8_is_the_programs_failure(answer: Answer) -> None:
    done = answer([cell("print('\\udcff')"), cell("import sys; sys.stdout.buffer.write(b'\\xff\\xfe7'); print()"), "7"])
    assert [call.status for call in done.calls] == ["error", "ok"]
    assert "\ufffd" in done.text


@pytest.mark.parametrize(
    ("said", "right", "predicted"),
    [
        (["3 + 4 is \\boxed{8}, no.\n</think>\nIt is $\\boxed{7}$."], True, "7"),
        (["3 + 4 is \\boxed{7}, or"], None, None),
        (["```python\nprint(7)\n```\n</think>\nI do not know."], None, None),
        ([f"```python\nprint(3 + 4)\n```\n{STOP}", "So 7.</think>It is $\\boxed{7}$."], True, "7"),
    ],
)
def test_what_a_model_thinks_is_kept_and_neither_graded_nor_run_unasked(
    answer: Answer, said: list[str], right: bool | None, predicted: str | None
) -> None:
    chat = ChatFormat(WordTokenizer())
    chat.thinks = "<think>\n"
    done = answer(Scripted(said, chat))
    assert done.text.startswith("<think>\n" + said[0][:10])
    judged = grade(done.problem, done.text, done.left_over)
    assert (judged.verdict.correct or None, judged.verdict.predicted, done.left_over) == (right, predicted, None)
    assert len(done.calls) == len(said) - 1


def test_each_stretch_of_a_solution_draws_numbers_of_its_own(answer: Answer) -> None:
    class Drawing(Scripted):
        async def generate(self, key: str, tokens: Any, *, sampling: Sampling, **rest: Any) -> Any:
            seeds.append(sampling.seed)
            return await super().generate(key, tokens, sampling=sampling, **rest)

    seeds: list[int] = []
    answer(Drawing([f"```python\nprint({n})\n```\n{STOP}" for n in range(3)] + ["7"]))
    assert len(set(seeds)) == 4
