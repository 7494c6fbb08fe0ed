"""Two runs on the same problems, paired: which is better, by how much, how sure, and on which problems.

What cannot be compared is refused with the reason: other problems, samples missing or failed for our reasons, another
grader. What else differs between two configurations than the model is said, for it may be the cause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

from evaluator.formats import Table, interval, percent
from evaluator.results import Result, find_runs
from evaluator.scores import PARTS, Paired, Run, natural, paired, paired_rights, read_run
from evaluator.significance import holm
from evaluator.votes import majority
from sandbox.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Part:
    """The problems of one level, subject or language. `corrected`: p, corrected for the number of parts looked at."""

    by: str
    name: str
    pair: Paired
    corrected: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`second` against `first`: as a whole, by majority (with several samples of each problem), and in parts."""

    first: Run
    second: Run
    whole: Paired
    majority: Paired | None
    parts: Sequence[Part]
    notes: Sequence[str]


def compare(first: Run, second: Run) -> Comparison:
    """`second` against `first`, on the problems that both have.

    Raises:
        InputError: the two cannot be compared; the message says why and what to do.
    """
    if reason := incomparable(first, second):
        raise InputError(reason)
    whole = paired(first.results, second.results)
    return Comparison(
        first=first,
        second=second,
        whole=whole,
        majority=_by_majority(first, second, whole.samples) if whole.samples > 1 else None,
        parts=_in_parts(first, second),
        notes=_notes(first, second, whole),
    )


def incomparable(first: Run, second: Run) -> str:
    """Why the two runs cannot be compared, in one line; "" if they can."""
    for run in (first, second):
        if run.score.unscored:
            return f"{run.folder}: {run.score.unscored}"
        if not run.results:
            return f"{run.folder}: no results in it yet; run again to go on"
    if first.config.grader != second.config.grader:
        return (
            f"{first.folder} and {second.folder} were judged by different graders ({first.config.grader or 'unknown'}, "
            f"{second.config.grader or 'unknown'}): python -m evaluator regrade {first.folder} {second.folder}"
        )
    ours, theirs = ({r.problem.id: r.problem for r in run.results} for run in (first, second))
    common = ours.keys() & theirs.keys()
    other = [
        name
        for name in ours
        if name in common and (ours[name].question, ours[name].answer) != (theirs[name].question, theirs[name].answer)
    ]
    if common and not other:
        return ""
    told = ", ".join(
        f"{run.folder} has {len(problems)} of {run.config.benchmark}"
        for run, problems in ((first, ours), (second, theirs))
    )
    why = f"problem {other[0]} is another one in each" if other else "they have none in common"
    return f"not the same problems: {told}; {why}. Compare runs of one benchmark, from one file"


def _by_majority(first: Run, second: Run, samples: int) -> Paired:
    """Of either run as many samples vote; one vote counts a problem."""
    votes = []
    for run in (first, second):
        found: dict[str, list[Result]] = {}
        for result in run.results:
            found.setdefault(result.problem.id, []).append(result)
        ordered = {name: sorted(several, key=lambda r: r.sample)[:samples] for name, several in found.items()}
        votes.append({name: [majority(several)] for name, several in ordered.items()})
    return paired_rights(*votes)


def _in_parts(first: Run, second: Run) -> list[Part]:
    found: list[tuple[str, str, Paired]] = []
    for by, part in PARTS:
        names = sorted({name for result in first.results if (name := part(result))}, key=natural)
        for name in names if len(names) > 1 else ():
            one, two = ([r for r in run.results if part(r) == name] for run in (first, second))
            if (pair := paired(one, two)).problems:
                found.append((by, name, pair))
    corrected = holm([pair.p for _, _, pair in found])
    return [
        Part(by=by, name=name, pair=pair, corrected=p) for (by, name, pair), p in zip(found, corrected, strict=True)
    ]


def _notes(first: Run, second: Run, whole: Paired) -> list[str]:
    notes = []
    counts = [len({r.problem.id for r in run.results}) for run in (first, second)]
    if max(counts) > whole.problems:
        notes.append(f"on the {whole.problems} problems that both have; A has {counts[0]}, B {counts[1]}")
    samples = [max(r.sample for r in run.results) + 1 for run in (first, second)]
    if samples[0] != samples[1]:
        notes.append(f"A has {samples[0]} samples a problem, B {samples[1]}: the first {whole.samples} of each count")
    differs = _other_settings(asdict(first.config), asdict(second.config))
    if differs:
        notes.append("not only the model differs: " + "; ".join(differs))
    return notes


def _other_settings(first: Mapping[str, object], second: Mapping[str, object], within: str = "") -> list[str]:
    """What of two configurations differs, apart from the model and what only describes the run."""
    left_out = ("about", "model", "model_sha256", "problems_sha256", "grader", "instructions")
    found = []
    for name in [*first, *(name for name in second if name not in first)]:
        one, two = first.get(name), second.get(name)
        if one == two or (not within and name in left_out):
            continue
        if isinstance(one, Mapping) and isinstance(two, Mapping):
            found += _other_settings(one, two, f"{within}{name}.")
        else:
            found.append(f"{within}{name} {one} and {two}")
    return found


def find_pairs(first: Path, second: Path) -> list[tuple[Path, Path]]:
    """The folders to be compared: two runs, or the runs of the same name below two folders.

    Raises:
        InputError: no results there, or no two of the same name.
    """
    ours, theirs = find_runs([first]), find_runs([second])
    if len(ours) == len(theirs) == 1:
        return [(ours[0], theirs[0])]
    pairs = [(one, two) for one in ours for two in theirs if one.name == two.name]
    if not pairs:
        names = [", ".join(folder.name for folder in found) for found in (ours, theirs)]
        raise InputError(
            f"{first} holds {names[0]}, {second} {names[1]}: none of the same name; give the two folders to be compared"
        )
    return pairs


def compare_folders(first: Path, second: Path) -> list[Comparison]:
    """Every pair of `find_pairs`, compared."""
    return [compare(read_run(one), read_run(two)) for one, two in find_pairs(first, second)]


def verdict(found: Comparison) -> str:
    """The one sentence that the comparison comes to."""
    pair = found.whole
    measured = f"{100 * pair.difference:+.1f} points ({interval(pair.interval, '+')}), p {p_value(pair.p)}"
    if pair.better is not None:
        return f"B is {'better' if pair.better else 'worse'} than A: {measured}"
    low, high = pair.interval
    if pair.p < 0.05:
        return f"no difference is shown for sure: {measured}; a few problems carry it, and the interval holds 0"
    least = 50 * (high - low)
    return (
        f"no difference is shown: {measured}; with {pair.problems} problems one under {least:.0f} points may go unseen"
    )


def comparison_tables(found: Comparison, listed: int = 20) -> list[Table]:
    """What there is to be shown of a comparison; of the problems won and lost `listed` each."""
    return [table for table in (_whole(found), _parts(found), _problems(found, listed)) if table.rows]


def _whole(found: Comparison) -> Table:
    measures = [("avg@k" if found.whole.samples > 1 else "accuracy", found.whole)]
    measures += [("maj@k", found.majority)] if found.majority else []
    rows = [
        [name, str(pair.problems), str(pair.samples if name != "maj@k" else found.whole.samples), *_figures(pair)]
        for name, pair in measures
    ]
    notes = [
        verdict(found),
        f"A: {name_of(found.first)} ({found.first.folder})",
        f"B: {name_of(found.second)} ({found.second.folder})",
        *found.notes,
        "difference in points with its 95 % interval; won: problems of which B has more right; p: "
        + ("paired permutation test over problems" if found.whole.samples > 1 else "McNemar's exact test"),
    ]
    title = f"{found.first.config.benchmark}: B against A"
    return Table(title=title, columns=["measure", "problems", "samples", *_FIGURES], rows=rows, notes=notes)


_FIGURES = ["A", "B", "difference", "95 % interval", "won", "lost", "p"]


def _figures(pair: Paired) -> list[str]:
    return [
        percent(pair.first),
        percent(pair.second),
        f"{100 * pair.difference:+.1f}",
        interval(pair.interval, "+"),
        str(len(pair.won)),
        str(len(pair.lost)),
        p_value(pair.p),
    ]


def p_value(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def name_of(run: Run) -> str:
    """The model and whether it had tools, as a reader tells runs apart."""
    return f"{run.config.model}, {'tools' if run.config.tools else 'no tools'}"


def _parts(found: Comparison) -> Table:
    rows = [
        [part.by, part.name, str(part.pair.problems), *_figures(part.pair), p_value(part.corrected)]
        for part in found.parts
    ]
    return Table(
        title=f"{found.first.config.benchmark}: B against A in parts",
        columns=["by", "part", "problems", *_FIGURES, "p corrected"],
        rows=rows,
        notes=[f"p corrected: Holm's, for the {len(rows)} parts looked at; only this one tells where they differ"],
    )


def _problems(found: Comparison, listed: int) -> Table:
    rows = []
    shares = [_shares(run) for run in (found.first, found.second)]
    questions = {result.problem.id: result.problem.question for result in found.first.results}
    for what, names in (("won", found.whole.won), ("lost", found.whole.lost)):
        for name in sorted(names, key=lambda name: (-abs(shares[0][name] - shares[1][name]), natural(name)))[:listed]:
            question = " ".join(questions[name].split())
            short = question if len(question) <= 60 else question[:59] + "…"
            rows.append([what, name, percent(shares[0][name]), percent(shares[1][name]), short])
    more = [max(0, len(names) - listed) for names in (found.whole.won, found.whole.lost)]
    notes = [f"{more[0]} more won, {more[1]} more lost: --list N, or --report FILE to read them"] if any(more) else []
    columns = ["B has", "problem", "A right", "B right", "question"]
    return Table(title=f"{found.first.config.benchmark}: problems", columns=columns, rows=rows, notes=notes)


def _shares(run: Run) -> dict[str, float]:
    rights: dict[str, list[bool]] = {}
    for result in run.results:
        rights.setdefault(result.problem.id, []).append(result.correct)
    return {name: sum(several) / len(several) for name, several in rights.items()}


def tools_table(runs: Sequence[Run]) -> Table:
    """Each model with tools against itself without, where both were measured on the same problems."""

    def asked(first: Run, second: Run) -> bool:
        same = [(r.config.model_sha256, r.config.benchmark, r.config.problems_sha256) for r in (first, second)]
        return same[0] == same[1] and second.config.tools and not first.config.tools

    rows = [
        [second.config.model, second.config.benchmark, str(pair.problems), *_figures(pair)]
        for first in runs
        for second in runs
        if asked(first, second) and not incomparable(first, second)
        for pair in [paired(first.results, second.results)]
    ]
    columns = ["model", "benchmark", "problems", "without", "with", *_FIGURES[2:]]
    notes = ["difference in points; won: problems of which more is right with tools; p: exact, paired over problems"]
    return Table(
        title="With tools (B) against without (A), on the same problems", columns=columns, rows=rows, notes=notes
    )


def pairs_table(runs: Sequence[Run]) -> Table:
    """Every two of `runs` of one benchmark on the same problems, with p corrected for the number of pairs."""
    rows, ps, notes = [], [], []
    for first, second in combinations(runs, 2):
        if first.config.benchmark != second.config.benchmark:
            continue
        if reason := incomparable(first, second):
            notes.append(f"not compared: {reason}")
            continue
        pair = paired(first.results, second.results)
        names = [name_of(first), name_of(second)]
        rows.append([first.config.benchmark, *names, str(pair.problems), *_figures(pair)])
        ps.append(pair.p)
    rows = [[*row, p_value(p)] for row, p in zip(rows, holm(ps), strict=True)]
    columns = ["benchmark", "A", "B", "problems", "A right", "B right", *_FIGURES[2:], "p corrected"]
    notes.append(
        "won: problems of which B has more right; p: exact, paired over problems; corrected: Holm's, for all pairs"
    )
    return Table(title="Run against run, on the same problems", columns=columns, rows=rows, notes=notes)
