"""`python -m dataset mix`: verified solutions in, a training mixture out.

Workers turn chunks of lines into rows with fingerprints; the choice is made on columns of numbers; the chosen rows are
copied, in shuffled order, into shards with chat `messages`. A run that was killed goes on; the shards
are the same byte for byte.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from dataset.chunks import Workers, claimed, cut, missing
from dataset.files import Manifest, finished, read_raw_lines, sha256, versions, write_line, written_whole
from dataset.mixture.card import Statistics, composition, write_card
from dataset.mixture.contamination import SHIPPED, Benchmarks
from dataset.mixture.fingerprints import MixSettings, open_fingerprinter
from dataset.mixture.select import Choice, Columns, choose
from dataset.mixture.shards import Form, write_shards
from dataset.progress import Progress
from dataset.sources import source_of
from sandbox.errors import InputError


def mix(
    inputs: Sequence[Path],
    out: Path,
    *,
    settings: MixSettings,
    workers: Workers,
    form: Form = "jsonl",
    quiet: bool = False,
) -> Manifest:
    """Write train-00000.jsonl (or .parquet) …, a card, lists of what was left out, and manifest.json into `out`.

    README.md is the card, with plots; refused.jsonl lists every example that shares a problem with a benchmark, and
    what it shares; duplicates.jsonl what each duplicate duplicates. Lines that cannot be used are listed in bad.jsonl
    and counted under `summary["bad"]`. A finished run over the same inputs and settings is returned as it is.

    Raises:
        InputError: the inputs cannot be used, nothing is left of them, or `out` holds a run over others.
    """
    started = time.monotonic()
    todo = [(path, source_of(path)) for path in inputs]
    hashes = {str(path): sha256(path) for path in (*inputs, *settings.benchmarks)}
    if settings.shipped:
        hashes[SHIPPED.name] = sha256(SHIPPED)
    config = {
        "inputs": [[str(path), name] for path, name in todo],
        "mixture": settings.mixture.to_json(),
        "seed": settings.seed,
        "format": form,
        "benchmarks": [str(path) for path in settings.benchmarks],
        "shipped_fingerprints": settings.shipped,
    }
    if (done := finished(out, config, hashes)) is not None:
        return done
    benchmarks = Benchmarks(settings.benchmarks, shipped=settings.shipped)
    total = sum(1 for path in inputs for _ in read_raw_lines(path))
    with claimed(out, {**config, "hashes": hashes}) as work:
        with Progress("look for copies", total=total, unit="rows", quiet=quiet) as bar:
            for lines, _ in workers.run(missing(cut(todo, work)), partial(open_fingerprinter, settings, benchmarks)):
                bar.update(lines)
        columns = Columns(work)
        dropped, bad = _list_unusable(columns, out)
        choice = choose(columns, settings.mixture)
        if not len(choice.rows):
            raise InputError(f"nothing is left of {total:,} lines: {dict(dropped + choice.dropped)}, {bad} bad")
        bad += _list_repeated_and_duplicates(columns, choice, out)
        statistics = Statistics()
        shards = write_shards(columns, choice, out, form, statistics, quiet=quiet)
        dropped += choice.dropped
        write_card(out, statistics, settings, choice.parts, dropped, form)
        outputs = [*shards, "refused.jsonl", "duplicates.jsonl", "bad.jsonl", "README.md"]
        manifest = Manifest(
            stage="mix",
            rows_in=total,
            rows_out=len(choice.rows),
            dropped=dict(sorted(dropped.items())),
            inputs=hashes,
            outputs={name: sha256(out / name) for name in outputs},
            config=config,
            versions=versions("numpy", "datasketch"),
            seconds=round(time.monotonic() - started, 3),
            summary={
                "bad": bad,
                "parts": composition(settings, choice.parts),
                "shards": shards,
                **statistics.to_json(),
            },
        )
        manifest.write(out)
        shutil.rmtree(work)
    return manifest


def _list_unusable(columns: Columns, out: Path) -> tuple[Counter[str], int]:
    """Write the columns, refused.jsonl, and bad.jsonl as far as it is known; return counts by reason, and of bad."""
    dropped: Counter[str] = Counter()
    bad = 0
    with written_whole(out / "refused.jsonl") as refused_file, written_whole(out / "bad.jsonl") as bad_file:
        for record in columns.write():
            kind = record.pop("kind")
            if kind == "bad":
                bad += 1
                write_line(bad_file, record)
                continue
            dropped["contaminated" if kind == "refused" else kind] += 1
            if kind == "refused":
                write_line(refused_file, record)
    return dropped, bad


def _list_repeated_and_duplicates(columns: Columns, choice: Choice, out: Path) -> int:
    """Write duplicates.jsonl and add the rows with an id seen before to bad.jsonl; return how many of these."""
    lines = columns.read("line")
    with ExitStack() as stack:
        duplicates_file = stack.enter_context(written_whole(out / "duplicates.jsonl"))
        bad_file = stack.enter_context((out / "bad.jsonl").open("a", encoding="utf-8"))
        for row, kind, of in choice.duplicates:
            found = {"id": columns.row(row)["id"], "kind": kind, "of": columns.row(of)["id"]}
            write_line(duplicates_file, found)
        for row in choice.repeated_ids.tolist():
            problem = f"the id {columns.row(row)['id']!r} was there before"
            write_line(bad_file, {"file": columns.file_of(row), "line": int(lines[row]), "problem": problem})
    return len(choice.repeated_ids)
