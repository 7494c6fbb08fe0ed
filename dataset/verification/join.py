"""Part files joined, in order, into kept.jsonl, dropped.jsonl and bad.jsonl, and counted.

A second row with an id that was seen before is bad input: the first stays, the second is reported. Ids are compared by
a 64-bit hash kept in a file, eight bytes a row, and by themselves where hashes meet.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from dataset.files import Manifest, sha256, versions, write_line, written_whole

OUTPUTS = ("kept.jsonl", "dropped.jsonl", "bad.jsonl")
_OTHERS = ("disagreements.jsonl", "differing.jsonl", "left_out.jsonl")  # written where there is something to say
_WITHOUT_ROW = ("bad", "left_out")


def _records(work: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """What became of each line, and its row as JSON, "" for a bad one."""
    for part in sorted(work.glob("*.part")):
        with part.open(encoding="utf-8") as file:
            for line in file:
                head = json.loads(line)
                yield head, "" if head["kind"] in _WITHOUT_ROW else next(file)


def repeated_hashes(work: Path) -> set[int]:
    """Hashes of the ids that occur more than once."""
    path = work / "ids.u64"
    with path.open("wb") as file:
        for head, _ in _records(work):
            if head["kind"] not in _WITHOUT_ROW:
                file.write(head["id"].to_bytes(8, "little"))
    if path.stat().st_size == 0:
        return set()
    hashes = np.memmap(path, dtype="<u8", mode="r+")
    hashes.sort()
    return set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())


class Tally:
    """Counts by source and style, and by reason, as the manifest keeps them."""

    def __init__(self) -> None:
        self.groups: dict[str, Counter[str]] = {}
        self.reasons: Counter[str] = Counter()
        self.blocks = 0
        self.differing: Counter[str] = Counter()
        self.recorded: Counter[str] = Counter()

    def add(self, head: Mapping[str, Any]) -> None:
        kept = head["kind"] == "kept"
        group = self.groups.setdefault(head["group"], Counter())
        group["in"] += 1
        group["kept" if kept else head["reason"]] += 1
        if not kept:
            self.reasons[head["reason"]] += 1
        self.blocks += head.get("blocks", 0)
        self.differing.update(block["cause"] for block in head.get("differing", ()))
        if "recorded_correct" in head:
            self.recorded["agree" if head["recorded_correct"] == kept else "disagree"] += 1

    def summary(self) -> dict[str, Any]:
        result: dict[str, Any] = {
            "by_source_and_style": {name: dict(sorted(self.groups[name].items())) for name in sorted(self.groups)}
        }
        if self.blocks:
            result["outputs"] = {
                "recorded": self.blocks,
                "printed_again": self.blocks - self.differing.total(),
                "differing": dict(sorted(self.differing.items())),
            }
        if self.recorded:
            result["recorded_verdicts"] = dict(sorted(self.recorded.items()))
        return result


def join(
    work: Path,
    out: Path,
    *,
    config: Mapping[str, Any],
    hashes: Mapping[str, str],
    rows_in: int,
    seconds: float,
) -> Manifest:
    """Join the parts in `work` into the files of `out`, the manifest last.

    disagreements.jsonl is written where the rows say what their publisher's grader said: every solution on which
    verification decided otherwise, with the reason. differing.jsonl is written where recorded outputs were not printed
    again: each of them, with its cause. left_out.jsonl where rows of a source give no candidate on purpose.
    """
    repeated = repeated_hashes(work)
    seen: set[str] = set()
    tally, bad, left_out = Tally(), 0, 0
    with ExitStack() as stack:
        kept_file, dropped_file, bad_file = (stack.enter_context(written_whole(out / name)) for name in OUTPUTS)
        other_file, differing_file, left_out_file = (stack.enter_context(written_whole(out / name)) for name in _OTHERS)
        for head, row in _records(work):
            if head["kind"] == "left_out":
                left_out += 1
                write_line(left_out_file, {"file": head["file"], "line": head["line"], "reason": head["problem"]})
                continue
            if head["kind"] != "bad" and head["id"] in repeated:
                if (id_ := json.loads(row)["id"]) in seen:
                    head |= {"kind": "bad", "problem": f"the id {id_!r} was there before"}
                seen.add(id_)
            if head["kind"] == "bad":
                bad += 1
                write_line(bad_file, {name: head[name] for name in ("file", "line", "problem")})
                continue
            tally.add(head)
            kept = head["kind"] == "kept"
            reason = {} if kept else {"reason": head["reason"], "evidence": head["evidence"]}
            if kept:
                kept_file.write(row)
            else:
                write_line(dropped_file, reason | json.loads(row))
            for block in head.get("differing", ()):
                write_line(differing_file, {"id": json.loads(row)["id"]} | block)
            if head.get("recorded_correct", kept) != kept:
                write_line(other_file, {"recorded_correct": head["recorded_correct"]} | reason | json.loads(row))
    names = list(OUTPUTS)
    for name, wanted in zip(_OTHERS, (tally.recorded, tally.differing, left_out), strict=True):
        if wanted:
            names.append(name)
        else:
            (out / name).unlink()
    kept = sum(group["kept"] for group in tally.groups.values())
    manifest = Manifest(
        stage="verify",
        rows_in=rows_in,
        rows_out=kept,
        dropped=dict(sorted(tally.reasons.items())) | ({"left_out": left_out} if left_out else {}),
        inputs=hashes,
        outputs={name: sha256(out / name) for name in names},
        config=config,
        versions=versions("numpy", "sympy"),
        seconds=seconds,
        summary={"bad": bad, **tally.summary()},
    )
    manifest.write(out)
    return manifest
