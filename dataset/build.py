"""`python -m dataset build SOURCE`: a source's files to candidates for verification.

One pass, streaming, and whole files only: a run that was killed is started again and gives the same bytes.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataset.fetch import data_folder, fetch_source
from dataset.files import Manifest, read_jsonl, sha256, versions, write_line, written_whole
from dataset.mixture.words import hash64, words
from dataset.progress import Progress
from dataset.sources import Source, find_source
from dataset.sources.choices import without_choices
from dataset.sources.reading import read_rows
from dataset.sources.records import Candidate, LeftOut
from dataset.topics import UNKNOWN, topics
from dataset.types import problem_to_json, solution_to_json
from sandbox.errors import InputError

References = dict[int, str]  # by a hash of the normalised question
_KIND_OF_CHANGE = re.compile(r"\d[\d./]*")  # changes that differ in a number are of one kind


def _key(question: str) -> int:
    return hash64(*words(question))


def read_references(paths: Sequence[Path]) -> References:
    """Answers by question, with and without choices, from files of problems (`problems.jsonl` of other builds).

    Raises:
        InputError: a row has no question or no answer.
    """
    found: References = {}
    for path in paths:
        for number, row in read_jsonl(path):
            if not isinstance(row.get("question"), str) or not isinstance(row.get("answer"), str):
                raise InputError(f"{path}:{number}: expected a problem with the fields question and answer")
            found.setdefault(_key(row["question"]), row["answer"])
            # Asked without its choices the same question has what stands behind the letter for its answer.
            if alone := without_choices(row["question"], row["answer"]):
                found.setdefault(_key(alone[0]), alone[1])
    return found


def _add_answers_within(source: Source, files: Sequence[Path], references: References) -> None:
    """Add the answers that some rows of the source have, for the rows with the same question that have none."""
    for path in files:
        for number, row in read_rows(path, source.member):
            if isinstance(row, str):
                continue
            try:
                found = source.candidates(row, str(number))
            except InputError:
                continue  # reported when it is converted
            for candidate in found:
                if candidate.solution.problem.answer is not None:
                    references.setdefault(_key(candidate.solution.problem.question), candidate.solution.problem.answer)


def _with_reference(candidate: Candidate, references: References) -> Candidate:
    problem = candidate.solution.problem
    answer = references.get(_key(problem.question), problem.answer) if references else problem.answer
    return replace(candidate, solution=replace(candidate.solution, problem=replace(problem, answer=answer)))


def build(
    name: str, files: Sequence[Path], out: Path, *, answers: Sequence[Path] = (), quiet: bool = False
) -> Manifest:
    """Write candidates.jsonl, problems.jsonl, three lists and manifest.json into `out`. No files: `fetch` gets them.

    bad.jsonl lists the rows that cannot be used, left_out.jsonl those that are left out on purpose, changed.jsonl
    those of whose text something was cut or rewritten: each with file, line and why. `answers` are files of problems
    whose answers become the references of the same questions here.

    Raises:
        InputError: an unknown source, a file that cannot be read, or no connection.
    """
    started = time.monotonic()
    source = find_source(name)
    if not files:
        files = fetch_source(name, data_folder(), quiet=quiet)
    references = read_references(answers)
    if source.answers_within:
        _add_answers_within(source, files, references)
    names = ("candidates.jsonl", "problems.jsonl", "bad.jsonl", "left_out.jsonl", "changed.jsonl")
    counts: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    subjects: Counter[str] = Counter()
    with (
        written_whole(out / names[0]) as candidates_file,
        written_whole(out / names[1]) as problems_file,
        written_whole(out / names[2]) as bad_file,
        written_whole(out / names[3]) as left_out_file,
        written_whole(out / names[4]) as changed_file,
        Progress(f"build {source.name}", total=None, unit="rows", quiet=quiet) as bar,
    ):
        for path in files:
            for number, row in read_rows(path, source.member):
                counts["rows"] += 1
                bar.update()
                default_id = str(number) if len(files) == 1 else f"{path.parent.name}/{path.stem}/{number}"
                try:
                    if isinstance(row, str):
                        raise InputError(row)
                    found = [_with_reference(c, references) for c in source.candidates(row, default_id)]
                except LeftOut as reason:
                    left_out[str(reason)] += 1
                    write_line(left_out_file, {"file": str(path), "line": number, "reason": str(reason)})
                    continue
                except InputError as error:
                    counts["bad"] += 1
                    write_line(bad_file, {"file": str(path), "line": number, "problem": str(error)})
                    continue
                for change in {change: None for candidate in found for change in candidate.changes}:
                    kind = _KIND_OF_CHANGE.sub("…", change)
                    changed[kind] += 1
                    write_line(changed_file, {"file": str(path), "line": number, "change": change})
                for candidate in found:
                    counts[candidate.solution.style] += 1
                    write_line(candidates_file, solution_to_json(candidate.solution))
                if found:
                    problem = found[0].solution.problem
                    subjects[problem.subject] += 1
                    write_line(problems_file, problem_to_json(problem))
    manifest = Manifest(
        stage=f"build {name}",
        rows_in=counts["rows"],
        rows_out=counts["cot"] + counts["pot"] + counts["tir"],
        inputs={str(path): sha256(path) for path in (*files, *answers)},
        outputs={each: sha256(out / each) for each in names},
        config={"source": name, "files": [str(path) for path in files], "answers": [str(path) for path in answers]},
        versions=versions(),
        seconds=round(time.monotonic() - started, 3),
        dropped=dict(sorted(left_out.items())),
        summary={"bad": counts["bad"], "changed": dict(sorted(changed.items())), **_summary(source, counts, subjects)},
    )
    manifest.write(out)
    return manifest


def _summary(source: Source, counts: Counter[str], subjects: Counter[str]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "licence": source.licence,
        "styles": {style: counts[style] for style in ("cot", "pot", "tir") if counts[style]},
        "published_rows": source.rows,
    }
    if source.by_topic:
        result["subtopics"] = {topic: subjects[topic] for topic in (*topics().values(), UNKNOWN)}
    return result
