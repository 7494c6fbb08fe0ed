"""What the model writes, while it learns: a few prompts answered greedily, beside what was to be learned.

No tools run here, so a solution ends where a tool would answer. There is no cache either: a token is a forward pass of
all processes, for all prompts at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from dataset.files import write_line
from dataset.transcript import STOP
from trainer.batches import MicroBatch
from trainer.model import Learner
from trainer.render import Rendered
from trainer.world import World

FILE = "samples.jsonl"
_BLOCK = 128  # sequences grow by so many tokens at a time: a compiled layer meets few sizes


@dataclass(frozen=True)
class Sample:
    """A prompt with what the model wrote after it, and the first stretch that the example has there."""

    place: str
    prompt: str
    text: str
    expected: str


@torch.no_grad()
def write_samples(
    learner: Learner, data: Rendered, tokenizer: Any, end: int, world: World, *, count: int, new_tokens: int
) -> list[Sample]:
    """Samples for `count` examples, evenly spread over `data`; called in every process, the same in all.

    Args:
        end: the token that ends a turn.
        new_tokens: the most that the model writes of each.
    """
    indices = np.unique(np.linspace(0, len(data.lengths) - 1, count).astype(np.int64)).tolist()
    prompts, expected = [], []
    for index in indices:
        tokens, learned = data.example(index)
        begin = int(learned.argmax())
        stretch = int((~learned[begin:]).argmax()) or len(learned) - begin
        prompts.append(tokens[:begin].tolist())
        expected.append(tokenizer.decode(tokens[begin : begin + stretch].tolist()))
    written: list[list[int]] = [[] for _ in indices]
    done = [False] * len(indices)
    learner.eval()
    for _ in range(new_tokens):
        batch = _side_by_side([prompt + new for prompt, new in zip(prompts, written, strict=True)], world.device)
        found = learner.next_tokens(batch, batch.tokens_1T.shape[1]).cpu()
        if world.size > 1:
            dist.broadcast(found, 0)  # rounding may differ between devices
        for number, token in enumerate(found.tolist()):
            if not done[number]:
                written[number].append(token)
                done[number] = token == end or STOP in tokenizer.decode(written[number][-32:])
        if all(done):
            break
    learner.train()
    return [
        Sample(data.place(index), tokenizer.decode(prompt), tokenizer.decode(new), wanted)
        for index, prompt, new, wanted in zip(indices, prompts, written, expected, strict=True)
    ]


def _side_by_side(sequences: list[list[int]], device: torch.device) -> MicroBatch:
    """Sequences in one row that do not see each other, asked at the last token of each."""
    lengths = np.array([len(sequence) for sequence in sequences])
    ends = np.cumsum(lengths)
    size = -(-int(ends[-1]) // _BLOCK) * _BLOCK
    tokens, positions = np.zeros(size, dtype=np.int64), np.arange(size)
    for sequence, begin, end in zip(sequences, ends - lengths, ends, strict=True):
        tokens[begin:end] = sequence
        positions[begin:] = np.arange(size - begin)
    borders = np.full(len(sequences) + 2, size, dtype=np.int32)
    borders[0], borders[1 : len(ends) + 1] = 0, ends
    empty: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
    arrays = (tokens[None], positions[None], borders, ends - 1, empty, empty)
    return MicroBatch(*(torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays))


def keep_samples(out: Path, step: int, samples: list[Sample]) -> str:
    """Add `samples` to `OUT/samples.jsonl`, after those of earlier steps; what the console says of them."""
    path = out / FILE
    before = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    before = [line for line in before if json.loads(line)["step"] < step]  # a later one was done again
    with path.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in before)
        for sample in samples:
            write_line(file, {"step": step, **vars(sample)})
    return "\n".join(f"sample after step {step}, {sample.place}:\n{sample.text}" for sample in samples)
