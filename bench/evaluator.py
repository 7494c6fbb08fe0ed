"""Two ratios of the evaluator's loop, on a real vLLM engine and a real sandbox, in one run.

    python -m bench.evaluator DATA_FOLDER [--problems 500] [--model FOLDER] [--only tools|lock-step]     JSON lines

`tools_over_none`: wall time a generated token with tools over that without (aim: at most 1.10).
`lock_step_over_ours`: wall time of a loop that generates for all, runs all programs, generates for all again, over ours
(aim: at least 1.6), when 2 % of the programs run into their time limit.

The programs are real (Rho-Math-1B's on GSM8K), the engine computes every token: it is told how many to generate, and
what the recording says there is taken as their text. So both sides generate all but the same number of tokens,
whatever the model has learned. Without --model a random Llama of 12M parameters is made: small enough for two cores,
large enough that generating, not the sandbox, is the main work, as it is for the models that are evaluated.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from bench.replay import recorded_run
from dataset.files import read_jsonl
from dataset.transcript import STOP, prompt
from dataset.types import Problem
from evaluator.benchmarks import BENCHMARKS
from evaluator.benchmarks.types import load
from evaluator.grade import grade
from evaluator.models.replay import pieces
from evaluator.models.types import Generation, ModelOptions, Sampling
from evaluator.protocols import PROTOCOLS
from evaluator.results import read_results
from evaluator.run import Exam, Means, run_exams
from evaluator.solve import waiting_program
from evaluator.tool import Tool
from sandbox import AsyncSandbox

RECORDING = "trajectories/rho_1b.gsm8k.jsonl"
PROTOCOL = PROTOCOLS["default"]
# They wait and do not compute: on two cores a busy one would take its time from the engine, as it does not on a machine
# whose engine has a GPU. --busy measures that, too.
HANGS, BUSY = "import time\ntime.sleep(60)", "while True:\n    pass"
SHARE_HANGING = 0.02


class Forced:
    """vLLM, which generates as many tokens as the recording has; the text is the recording's."""

    def __init__(self, model: Any, recorded: Mapping[str, Sequence[str]]) -> None:
        self._model = model
        self._recorded = recorded
        self._numbers = count()
        self.chat, self.context_tokens, self.cache_tokens = model.chat, model.context_tokens, model.cache_tokens
        self.engine, self.about = model.engine, model.about
        self.said: dict[str, int] = {}
        self.tokens = 0

    async def generate(
        self, key: str, tokens: Sequence[int], *, max_tokens: int, tools: bool, sampling: Sampling
    ) -> Generation:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        recorded = self._recorded[key.partition("#")[0]]
        turn = self.said.get(key, 0)
        self.said[key] = turn + 1
        parts = recorded[turn : turn + 1] if tools else recorded
        # piece by piece, so that both modes have the same number
        wanted = min(max_tokens, sum(len(self.chat.piece(part)) for part in parts) + (turn == len(recorded) - 1))
        params = SamplingParams(
            max_tokens=max(1, wanted),
            ignore_eos=True,
            temperature=0.0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        request = {"prompt_token_ids": list(tokens)}
        answers = [a async for a in self._model._engine.generate(request, params, f"{key}:{next(self._numbers)}")]
        ids = list(answers[-1].outputs[0].token_ids)
        self.tokens += len(ids)
        text = "".join(parts)
        return Generation(ids, text, "output" if tools and text.endswith(STOP) else "end")

    async def forget(self) -> None:
        """As after a fresh start, for the next measurement."""
        self.said.clear()
        self.tokens = 0
        await self._model._engine.reset_prefix_cache()

    async def close(self) -> None:
        """The engine goes on to the next measurement."""


def hanging(recorded: Mapping[str, Sequence[str]], program: str) -> dict[str, list[str]]:
    """The recordings, with a program that never ends in the place of 2 % of the programs."""
    programs = [(name, turn) for name, said in recorded.items() for turn, text in enumerate(said) if _runs(text)]
    chosen = set(random.Random(0).sample(programs, round(SHARE_HANGING * len(programs))))
    return {
        name: [
            f"```python\n{program}\n```\n{STOP}" if (name, turn) in chosen else text for turn, text in enumerate(said)
        ]
        for name, said in recorded.items()
    }


def _runs(text: str) -> bool:
    return text.endswith(STOP)


async def ours(
    model: Forced, sandbox: AsyncSandbox, problems: Sequence[Problem], *, tools: bool, in_flight: int
) -> dict[str, Any]:
    """Seconds and counts of the evaluator's own run, results and verdicts written."""
    await model.forget()
    config = recorded_run("bench", "vllm", "tir" if tools else "cot", PROTOCOL)
    means = Means(
        open_model=lambda: model,
        open_sandbox=lambda: _Lent(sandbox),  # type: ignore[arg-type, return-value]
        protocol=PROTOCOL,
        sampling=Sampling(),
        in_flight=in_flight,
        quiet=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        exam = Exam(folder=Path(folder), config=config, problems=problems, samples=1)
        started = time.monotonic()
        failed = await run_exams([exam], means)
        seconds = time.monotonic() - started
        _, results = read_results(Path(folder))
    return {
        "seconds": round(seconds, 2),
        "failed": failed,
        "tokens": model.tokens,
        "programs": sum(len(result.calls) for result in results),
        "timeouts": sum(call.status == "timeout" for result in results for call in result.calls),
        "correct": sum(result.correct for result in results),
    }


class _Lent:
    """A sandbox that is left running when the run that uses it ends."""

    def __init__(self, sandbox: AsyncSandbox) -> None:
        self._sandbox = sandbox

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sandbox, name)

    async def close(self) -> None:
        pass


async def lock_step(model: Forced, sandbox: AsyncSandbox, problems: Sequence[Problem]) -> dict[str, Any]:
    """Seconds and counts of the peers' loop: all generate, then all programs run, then all generate again."""
    await model.forget()
    started = time.monotonic()
    tools = {problem.id: Tool(sandbox, PROTOCOL) for problem in problems}
    texts = {problem.id: "" for problem in problems}
    tokens = {}
    for problem in problems:
        question = prompt(problem.question, "tir", problem.language)
        tokens[problem.id] = model.chat.prompt([{"role": "user", "content": question}])
    left = list(texts)
    while left:
        said = await asyncio.gather(
            *(
                model.generate(f"{n}#0", tokens[n], max_tokens=PROTOCOL.new_tokens, tools=True, sampling=Sampling())
                for n in left
            )
        )
        going = []
        for name, one in zip(left, said, strict=True):
            texts[name] += one.text
            tokens[name] = [*tokens[name], *one.tokens]
            if one.stop == "output":
                going.append(name)
        programs = [waiting_program(texts[name]) or "" for name in going]
        at_once = asyncio.Semaphore(32)  # a sandbox refuses hundreds of sessions asked for in one moment

        async def run(name: str, program: str, at_once: asyncio.Semaphore = at_once) -> str:
            async with at_once:
                return await tools[name].run(program, shown=True)

        outputs = await asyncio.gather(*(run(*one) for one in zip(going, programs, strict=True)))
        for name, output in zip(going, outputs, strict=True):
            spliced = f"\n{output}\n```\n"
            texts[name] += spliced
            tokens[name] = [*tokens[name], *model.chat.piece(spliced)]
        left = going
    await asyncio.gather(*(tool._end_session() for tool in tools.values()))
    correct = sum(grade(problem, texts[problem.id], None).verdict.correct is True for problem in problems)
    calls = [call for tool in tools.values() for call in tool.calls]
    return {
        "seconds": round(time.monotonic() - started, 2),
        "tokens": model.tokens,
        "programs": len(calls),
        "timeouts": sum(call.status == "timeout" for call in calls),
        "correct": correct,
    }


async def measure(arguments: argparse.Namespace, folder: str) -> None:
    """Print both ratios and what they are made of."""
    from evaluator.models.vllm import open_vllm

    path = arguments.data / RECORDING
    problems = load(BENCHMARKS["recorded"], path)[: arguments.problems]
    rows = (row for _, row in read_jsonl(path))
    recorded = {problem.id: pieces(row["solution"]) for problem, row in zip(problems, rows, strict=False)}
    engine = open_vllm(folder, ModelOptions(context_tokens=2048))
    in_flight = arguments.in_flight
    try:
        async with AsyncSandbox(max_sessions=len(problems) + 1) as sandbox:
            model, slow = Forced(engine, recorded), Forced(engine, hanging(recorded, BUSY if arguments.busy else HANGS))
            await ours(model, sandbox, problems[:32], tools=True, in_flight=in_flight)  # warm

            if arguments.only != "lock-step":
                none = [await ours(model, sandbox, problems, tools=False, in_flight=in_flight)]
                tools = await ours(model, sandbox, problems, tools=True, in_flight=in_flight)
                none.append(await ours(model, sandbox, problems, tools=False, in_flight=in_flight))
                bare = sum(map(seconds_a_token, none)) / len(none)
                say("tools_over_none", seconds_a_token(tools) / bare, aim="<= 1.10", none=none, tools=tools)

            if arguments.only != "tools":
                mine = await ours(slow, sandbox, problems, tools=True, in_flight=in_flight)
                step = await lock_step(slow, sandbox, problems)
                say("lock_step_over_ours", step["seconds"] / mine["seconds"], aim=">= 1.6", ours=mine, lock_step=step)
    finally:
        await engine.close()


def seconds_a_token(run: Mapping[str, Any]) -> float:
    """With tools some more tokens are generated: a solution's text is cut where a program ends."""
    return float(run["seconds"] / run["tokens"])


def say(what: str, ratio: float, **rest: Any) -> None:
    """One JSON line."""
    print(json.dumps({"what": what, "ratio": round(ratio, 3), **rest}), flush=True)


def make_model(folder: Path, texts: Sequence[str]) -> None:
    """A random Llama of about 12M parameters, with a tokenizer of 4,096 entries learned from `texts`."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=["<begin>", "<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<begin>", eos_token="<end>")
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}User: {{ m.content }}\n\nAssistant:"
        "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=4096,
            hidden_size=384,
            intermediate_size=1024,
            num_hidden_layers=6,
            num_attention_heads=6,
            num_key_value_heads=6,
            max_position_embeddings=2048,
            bos_token_id=0,
            eos_token_id=1,
        )
    ).save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with the recorded solutions")
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--model", help="model folder (default: a random one is made)")
    parser.add_argument("--only", choices=("tools", "lock-step"), help="one of the two ratios")
    parser.add_argument("--busy", action="store_true", help="programs that never end compute until they are killed")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        rows = [row for _, row in read_jsonl(arguments.data / RECORDING)]
        # With the prompts of both modes, since a real model's tokenizer has their words, too.
        texts = [prompt(row["question"], style, "en") + row["solution"] for row in rows for style in ("cot", "tir")]
        make_model(arguments.make, texts)
        return
    with tempfile.TemporaryDirectory() as folder:
        if not arguments.model:
            # In a process of its own: vLLM forks its engine, which only a process without torch's threads may.
            import subprocess

            again = [sys.executable, "-m", "bench.evaluator", str(arguments.data), "--make", folder]
            subprocess.run(again, check=True)
        asyncio.run(measure(arguments, arguments.model or folder))


if __name__ == "__main__":
    main()
