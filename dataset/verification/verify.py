"""`python -m dataset verify`: candidates in, kept and dropped ones out, with reasons and evidence.

The input is read in chunks of lines, each chunk is verified by one worker, here or on a Ray cluster, into a part file,
and the parts are joined in order. Nothing is held in memory but the chunks in flight; a run that was killed goes on
where it was.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from dataset.chunks import Workers, claimed, cut, missing
from dataset.files import Manifest, finished, read_raw_lines, sha256
from dataset.progress import Progress
from dataset.sources import find_source, source_of
from dataset.verification.join import join
from dataset.verification.workers import Settings, open_verifier


def verify(
    inputs: Sequence[Path],
    out: Path,
    *,
    settings: Settings,
    workers: Workers,
    source: str | None = None,
    limit: int | None = None,
    quiet: bool = False,
) -> Manifest:
    """Verify the solutions in `inputs` and write kept.jsonl, dropped.jsonl, bad.jsonl and manifest.json into `out`.

    Lines that cannot be used are listed in bad.jsonl and counted under `summary["bad"]`. A finished run over the same
    inputs and settings is returned as it is; an unfinished one goes on.

    Raises:
        InputError: the inputs or settings cannot be used, or `out` holds a run over others.
        SandboxError: the sandbox failed for good; what was verified is there for the next run.
    """
    started = time.monotonic()
    named = find_source(source).name if source else None
    todo = [(path, named or source_of(path)) for path in inputs]
    hashes = {str(path): sha256(path) for path in inputs}
    config = {**settings.config(), "inputs": [[str(path), name] for path, name in todo], "limit": limit}
    if (done := finished(out, config, hashes)) is not None:
        return done
    total = sum(1 for path in inputs for _ in read_raw_lines(path))
    total = total if limit is None else min(limit, total)
    with claimed(out, {**config, "hashes": hashes}) as work:
        counts: Counter[str] = Counter()
        chunks = missing(cut(todo, work, limit))
        with Progress("verify", total=total, unit="rows", quiet=quiet) as bar:
            for lines, chunk_counts in workers.run(chunks, partial(open_verifier, settings)):
                counts.update(chunk_counts)
                judged = counts["kept"] + counts["dropped"]
                bar.update(lines, ", ".join([f"kept {counts['kept'] / max(1, judged):.1%}", *_others(counts)]))
        manifest = join(
            work, out, config=config, hashes=hashes, rows_in=total, seconds=round(time.monotonic() - started, 3)
        )
        shutil.rmtree(work)
    return manifest


def _others(counts: Counter[str]) -> list[str]:
    return [f"{name.replace('_', ' ')} {counts[name]:,}" for name in ("left_out", "bad") if counts[name]]
