"""Parts of one run put together: shards answered on several machines, or a run that was gone on with elsewhere.

Only results of one configuration come into one folder; `about` (paths, versions) may differ.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dataset.files import MANIFEST
from evaluator.config import CONFIG, RunConfig, read_config, refuse_other
from evaluator.results import Result, ResultFile, read_results, sort_results
from sandbox.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What came together in `folder`: samples of how many that are wanted, and how many stood in several parts."""

    folder: Path
    parts: int
    samples: int
    wanted: int
    repeated: int

    def __str__(self) -> str:
        missing = f"; {self.wanted - self.samples} are missing" if self.samples < self.wanted else ""
        return f"{self.folder}: {self.samples} samples from {self.parts} parts, {self.repeated} in several{missing}"


def merge(parts: Sequence[Path], out: Path) -> list[Merged]:
    """Put the results in the folders `parts` together, those of one name (such as gsm8k-tools) in one folder of `out`.

    A sample that stands in several parts is taken from the first where it is done. Where `out` has results they
    count as the first part; merging again changes nothing.

    Raises:
        InputError: two parts of one name are of different configurations, or `out` is one of the parts.
    """
    named: dict[str, list[Path]] = defaultdict(list)
    for part in parts:
        if out.resolve() in (part.resolve(), *part.resolve().parents):
            raise InputError(f"{part} is in {out}, where the whole is to stand: choose another --out")
        named[part.name].append(part)
    for several in named.values():
        for other in several[1:]:
            refuse_other(several[0], read_config(several[0]), read_config(other))
    return [_merge(several, out / name) for name, several in sorted(named.items())]


def _merge(parts: Sequence[Path], folder: Path) -> Merged:
    read = [read_results(part) for part in parts]
    config = _whole([config for config, _ in read] + ([read_config(folder)] if (folder / CONFIG).exists() else []))
    file = ResultFile(folder, config)
    repeated = 0
    try:
        (folder / MANIFEST).unlink(missing_ok=True)  # it speaks of the results before
        failed: dict[tuple[str, int], Result] = {}
        for _, results in read:
            for result in results:
                place = (result.problem.id, result.sample)
                if place in file.done:
                    repeated += result.infra_error is None
                elif result.infra_error is None:
                    file.add(result)
                    file.done[place] = result
                else:
                    failed[place] = result
        for place, result in failed.items():
            if place not in file.done:
                file.add(result)
    finally:
        file.close()
    done = sort_results(folder, list(dict.fromkeys(result.problem.id for _, results in read for result in results)))
    return Merged(
        folder=folder,
        parts=len(parts),
        samples=sum(result.infra_error is None for result in done),
        wanted=int(config.about.get("samples_expected", 0)),
        repeated=repeated,
    )


def _whole(configs: Sequence[RunConfig]) -> RunConfig:
    """The first configuration, with as many samples expected as all shards have together."""
    wanted = [
        int(each.about.get(name, 0)) for each in configs for name in ("samples_of_all_shards", "samples_expected")
    ]
    return replace(configs[0], about={**configs[0].about, "samples_expected": max(wanted)})
