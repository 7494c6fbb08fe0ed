"""Part files joined, in order, into kept.jsonl, dropped.jsonl and bad.jsonl, and counted.

A second row with an id that was seen before is bad input: the first stays, the second is reported. Ids are compared by
a 64-bit hash kept in a file, eight bytes a row, and by themselves where hashes meet.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from dataset.files import Manifest, sha256, versions, write_line, written_whole

OUTPUTS = ("kept.jsonl", "dropped.jsonl", "bad.jsonl")


def _records(work: Path) -> Iterator[dict[str, Any]]:
    for part in sorted(work.glob("*.part")):
        with part.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def repeated_hashes(work: Path) -> set[int]:
    """Hashes of the ids that occur more than once."""
    path = work / "ids.u64"
    with path.open("wb") as file:
        for record in _records(work):
            if record["kind"] != "bad":
                file.write(_hash(record["row"]["id"]).to_bytes(8, "little"))
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
        self.blocks = self.agreeing = 0
        self.recorded: Counter[str] = Counter()

    def add(self, record: Mapping[str, Any]) -> None:
        row, kept = record["row"], record["kind"] == "kept"
        group = self.groups.setdefault(f"{row['problem']['source']}/{row['style']}", Counter())
        group["in"] += 1
        group["kept" if kept else record["reason"]] += 1
        if not kept:
            self.reasons[record["reason"]] += 1
        self.blocks += record.get("blocks", 0)
        self.agreeing += record.get("agreeing", 0)
        if "recorded_correct" in record:
            self.recorded["agree" if record["recorded_correct"] == kept else "disagree"] += 1

    def summary(self) -> dict[str, Any]:
        result: dict[str, Any] = {
            "by_source_and_style": {name: dict(sorted(self.groups[name].items())) for name in sorted(self.groups)}
        }
        if self.blocks:
            result["outputs"] = {"recorded": self.blocks, "printed_again": self.agreeing}
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
    verification decided otherwise, with the reason.
    """
    repeated = repeated_hashes(work)
    seen: set[str] = set()
    tally, bad = Tally(), 0
    with ExitStack() as stack:
        kept_file, dropped_file, bad_file = (stack.enter_context(written_whole(out / name)) for name in OUTPUTS)
        other_file = stack.enter_context(written_whole(out / "disagreements.jsonl"))
        for record in _records(work):
            if record["kind"] != "bad" and _hash(id_ := record["row"]["id"]) in repeated:
                if id_ in seen:
                    record = record | {"kind": "bad", "problem": f"the id {id_!r} was there before"}
                seen.add(id_)
            if record["kind"] == "bad":
                bad += 1
                write_line(bad_file, {name: record[name] for name in ("file", "line", "problem")})
                continue
            tally.add(record)
            kept = record["kind"] == "kept"
            reason = {} if kept else {"reason": record["reason"], "evidence": record["evidence"]}
            write_line(kept_file if kept else dropped_file, reason | record["row"])
            if record.get("recorded_correct", kept) != kept:
                write_line(other_file, {"recorded_correct": record["recorded_correct"]} | reason | record["row"])
    names = [*OUTPUTS, "disagreements.jsonl"]
    if not tally.recorded:
        (out / names.pop()).unlink()
    kept = sum(group["kept"] for group in tally.groups.values())
    manifest = Manifest(
        stage="verify",
        rows_in=rows_in,
        rows_out=kept,
        dropped=dict(sorted(tally.reasons.items())),
        inputs=hashes,
        outputs={name: sha256(out / name) for name in names},
        config=config,
        versions=versions("numpy", "sympy"),
        seconds=seconds,
        summary={"bad": bad, **tally.summary()},
    )
    manifest.write(out)
    return manifest
