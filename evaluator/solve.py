"""The loop of one solution: generate, run the program, splice its output, go on.

Every solution runs its own loop and waits for no other: a program that takes its full ten seconds costs its own
problem ten seconds, while the engine batches whatever is ready. (The lock-step loops of the peers wait for the slowest
program of a round.)

The sequence of token ids only ever grows: prompt, what the model sampled, what the tool printed. It is the sequence
that `ChatFormat.example` makes of the finished transcript in training.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from dataset import transcript
from dataset.thinking import answer_part
from dataset.types import Problem, Style
from evaluator.models.types import Model, Sampling
from evaluator.protocols import Protocol
from evaluator.tool import Tool, ToolCall
from sandbox.client import AsyncSandbox

# end: the model ended its turn; length: its tokens or its context were used up; programs: it asked for one program
# more than it may read; no_program: it opened an output block with nothing to run
StopReason = Literal["end", "length", "programs", "no_program"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """One solution as it came about.

    `text` is the assistant's message, its thinking and spliced outputs included. `left_over` is the output of a last
    program that the model did not read, None if there was none. `new_tokens` are the model's own, `shown_tokens` the
    spliced ones. `tokens` is the whole sequence, prompt first; `sampled` says of each whether the model drew it.
    """

    problem: Problem
    sample: int
    text: str
    stop: StopReason
    calls: Sequence[ToolCall]
    left_over: str | None
    prompt_tokens: int
    new_tokens: int
    shown_tokens: int
    seconds: float
    tokens: Sequence[int]
    sampled: Sequence[bool]


async def solve(
    problem: Problem,
    *,
    sample: int,
    style: Style,
    model: Model,
    sandbox: AsyncSandbox,
    protocol: Protocol,
    sampling: Sampling,
) -> Transcript:
    """A solution of `problem` by `model`: in words alone (cot), or with the sandbox as its tool (pot, tir).

    Raises:
        ModelError: the model could not answer.
        SandboxError: the sandbox could not run a program.
    """
    started = time.monotonic()
    tools = style != "cot"
    tokens = protocol.prompt(model.chat, problem.question, style, problem.language)
    prompt_tokens, new_tokens, shown_tokens, stretches = len(tokens), 0, 0, 0
    sampled = [False] * prompt_tokens
    text = model.chat.thinks if protocol.asks_by_chat else ""  # what the prompt has opened the answer goes on with
    left_over = None
    stop: StopReason
    async with Tool(sandbox, protocol) as tool:
        while True:
            room = min(protocol.new_tokens - new_tokens, protocol.generation_tokens, model.context_tokens - len(tokens))
            if room <= 0:
                stop = "length"
                break
            # Each stretch draws its own numbers: with those of the one before a program is easily written twice.
            drawing = replace(sampling, seed=(sampling.seed + stretches) % 2**31)
            stretches += 1
            said = await model.generate(
                f"{problem.id}#{sample}", tokens, max_tokens=room, tools=tools, sampling=drawing
            )
            tokens.extend(said.tokens)
            sampled.extend([True] * (len(said.tokens) - said.mended) + [False] * said.mended)
            new_tokens += len(said.tokens)
            text += said.text
            if protocol.shots is not None and protocol.shots.ends in text:
                text, stop = text.partition(protocol.shots.ends)[0], "end"  # what follows is an example of its own
                break
            if said.stop != "output":
                stop = said.stop
                break
            if not _opens_output(text):
                continue  # "```output" inside a string or a sentence: not ours to answer
            program = waiting_program(_solution_text(model, text))
            if program is None:
                stop = "no_program"
                break
            if len(tool.calls) == protocol.programs_shown:
                stop = "programs"
                break
            spliced = transcript.splice(await tool.run(program, shown=True))
            shown = model.chat.piece(spliced)
            tokens.extend(shown)
            sampled.extend([False] * len(shown))
            shown_tokens += len(shown)
            text += spliced
        text = _solution_text(model, text)
        # A program that the model only thought of is not run.
        program = waiting_program(answer_part(text)) if tools and stop in ("end", "programs") else None
        if program is not None:
            left_over = await tool.run(program, shown=False)
    return Transcript(
        problem=problem,
        sample=sample,
        text=text,
        stop=stop,
        calls=tuple(tool.calls),
        left_over=left_over,
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        shown_tokens=shown_tokens,
        seconds=round(time.monotonic() - started, 3),
        tokens=tokens,
        sampled=sampled,
    )


def _solution_text(model: Model, text: str) -> str:
    """`text` without what the template puts before an assistant's words: it is the frame's, not the solution's."""
    return text.removeprefix(model.chat.lead_in)


def _opens_output(text: str) -> bool:
    turns = transcript.parse(text)
    return text.endswith(transcript.STOP) and bool(turns) and turns[-1].kind == "output"


def waiting_program(text: str) -> str | None:
    """The program at the end of `text` that nothing has run yet, None if there is none."""
    return transcript.last_program(transcript.parse(text.removesuffix(transcript.STOP)))
