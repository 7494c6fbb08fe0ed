"""One exam through several backends: which answers differ, and does the engines' arithmetic explain it?

    python -m bench.same_words MODEL_FOLDER RUN_A RUN_B [RUN_C …]

The runs are folders of `python -m evaluator run`, greedy, of one model on the same problems. Each is compared with the
first. A line a pair and mode: samples, the same texts, the same answers, both scores. Then a line for each text that
differs: the place, both tokens, and how far apart the model itself holds them, computed in float64 on the words before
(`gap`, in logits; `rank` is the place of each token among all). A gap as small as float32 rounds means that the engines
chose between equals. `float32_off` is what transformers' own float32 is off by there, for a measure.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from dataset.chat import ChatFormat
from dataset.transcript import STOP
from evaluator.config import RunConfig
from evaluator.models.chat import open_chat
from evaluator.models.transformers import open_tokenizer
from evaluator.models.types import ModelOptions
from evaluator.protocols import find_protocol
from evaluator.results import Result, find_runs, read_results
from evaluator.scores import score

# What the tool printed, spliced in behind the fence that the model wrote.
_SHOWN = re.compile(rf"(?<={re.escape(STOP)})(\n.*?\n```\n)", re.DOTALL)


def ids_of(chat: ChatFormat, config: RunConfig, result: Result) -> list[int]:
    """The sample's tokens, prompt included, each stretch turned into ids apart as in the loop.

    A model may have written a word with other tokens than its tokenizer would; the ids are then not quite its own.
    """
    problem = result.problem
    ids = find_protocol(config.protocol["name"]).prompt(chat, problem.question, config.style, problem.language)
    return [*ids, *(token for stretch in _SHOWN.split(result.text) for token in chat.piece(stretch))]


def parted(model: Any, chat: ChatFormat, config: RunConfig, one: Result, two: Result) -> dict[str, Any]:
    """Where the two texts part, and what `model` (float64) and its copy in float32 hold of the two tokens there."""
    import torch

    first, second = ids_of(chat, config, one), ids_of(chat, config, two)
    ends = [*first, chat.end_of_turn], [*second, chat.end_of_turn]
    place = next((n for n, (a, b) in enumerate(zip(*ends, strict=False)) if a != b), None)
    if place is None:
        return {"parted at": None}
    chosen = [ids[place] for ids in ends]
    with torch.inference_mode():
        exact_V, single_V = (some(torch.tensor([first[:place]])).logits[0, -1].double() for some in model)
    order = exact_V.argsort(descending=True).tolist()
    return {
        "parted at": place - one.prompt_tokens,
        "tokens": [chat.tokenizer.decode([token]) for token in chosen],  # type: ignore[attr-defined]
        "rank": [order.index(token) for token in chosen],
        "gap": float(abs(exact_V[chosen[0]] - exact_V[chosen[1]])),
        "float32_off": float((exact_V - single_V).abs().max()),
    }


def compare(folder: str, first: Path, second: Path, models: Any) -> None:
    """Print what differs between two runs of one mode."""
    (config, ours), (other, theirs) = read_results(first), read_results(second)
    pairs = {(result.problem.id, result.sample): result for result in theirs}
    both = [(result, pairs[key]) for result in ours if (key := (result.problem.id, result.sample)) in pairs]
    differ = [(one, two) for one, two in both if one.text != two.text]
    predicted = [[each.grade and each.grade.verdict.predicted for each in pair] for pair in both]
    shown: dict[str, Any] = {"runs": [f"{run.engine['name']}, {run.backend}" for run in (config, other)]}
    shown |= {"mode": "tools" if config.tools else "no tools", "samples": len(both)}
    shown |= {"same texts": len(both) - len(differ), "same answers": sum(one == two for one, two in predicted)}
    shown["same verdicts"] = sum(one.correct == two.correct for one, two in both)
    for name, run in (("first", [one for one, _ in both]), ("second", [two for _, two in both])):
        scored = score(run)
        low, high = scored.interval
        shown[name] = f"{scored.correct} right, {100 * scored.accuracy:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
    print(json.dumps(shown, ensure_ascii=False), flush=True)
    chat = open_chat(open_tokenizer(folder), folder, ModelOptions())
    for one, two in differ:
        answers = [each.grade and each.grade.verdict.predicted for each in (one, two)]
        told = {"id": one.problem.id, "answers": answers, **parted(models, chat, config, one, two)}
        print(json.dumps(told, ensure_ascii=False), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("runs", type=Path, nargs="+")
    arguments = parser.parse_args()
    import torch
    from transformers import AutoModelForCausalLM

    types = (torch.float64, torch.float32)
    models = [AutoModelForCausalLM.from_pretrained(arguments.model, dtype=dtype).eval() for dtype in types]
    first, *others = ({folder.name: folder for folder in find_runs([path])} for path in arguments.runs)
    for other in others:
        for name in first.keys() & other.keys():
            compare(arguments.model, first[name], other[name], models)


if __name__ == "__main__":
    main()
