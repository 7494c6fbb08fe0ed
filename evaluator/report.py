"""`python -m evaluator report`: one HTML page with the tables, plots and every transcript, from result files alone.

A model that was trained here lies in a folder with a plot of its training; if the folder is there, the plot is shown.
The page needs no network and no server: style, script, KaTeX with its fonts and the data stand in it (`page/`). Its
data is what the results hold; a reader can filter, search, sort and read 10,000 samples in it, see two solutions of a
problem side by side, and pass on a link to one. What a model wrote is data there: it becomes no part of the page.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from dataset.files import written_whole
from dataset.types import Problem
from evaluator.compare import Comparison, comparison_tables, name_of
from evaluator.formats import Table, interval
from evaluator.grade import solution_turns
from evaluator.plots import Bar, bar_chart, shares
from evaluator.results import Result
from evaluator.scores import PARTS, Run, Score, score_by
from evaluator.table import tables

_ROUND_EDGES = (0, 1, 2, 3, 4, 5)
_ROUND_NAMES = ("none", "1", "2", "3", "4", "5 or more")
_SECOND_EDGES = (0, 0.01, 0.1, 0.5, 1, 5)
_SECOND_NAMES = ("under 10 ms", "10 to 100 ms", "0.1 to 0.5 s", "0.5 to 1 s", "1 to 5 s", "5 s and more")


def write_report(runs: Sequence[Run], path: Path, comparisons: Sequence[Comparison] = ()) -> None:
    """Write the page about `runs` to `path`, whole or not at all; `comparisons` are of some of them."""
    page = _asset("report.html")
    names = ", ".join(dict.fromkeys(run.config.model for run in runs))
    parts = {
        "%TITLE%": html.escape(f"soroban: {names}"),
        "%TABLES%": _compared(runs, comparisons) + "".join(map(_table, tables(runs, pairs=len(runs) > 1))),
        "%PLOTS%": "".join([*_plots(runs), *_training_plots(runs)]),
        "%DATA%": _script_json(_data(runs)),
        "%CSS%": _asset("report.css"),
        "%JS%": _asset("report.js"),
        "%KATEX_JS%": _asset("katex/katex.min.js"),
        "%KATEX_CSS%": _formula_styles(),
    }
    # One pass: what is filled in may hold the marks of the others.
    whole = re.sub("|".join(parts), lambda match: parts[match[0]], page)
    with written_whole(path) as file:
        file.write(whole)


def _asset(name: str) -> str:
    return resources.files("evaluator").joinpath("page", name).read_text(encoding="utf-8")


def _formula_styles() -> str:
    """KaTeX's style sheet with its fonts in it."""

    def font(match: re.Match[str]) -> str:
        data = resources.files("evaluator").joinpath("page", "katex", match[1]).read_bytes()
        return f"src:url(data:font/woff2;base64,{base64.b64encode(data).decode()})"

    return re.sub(r"src:url\((fonts/[\w-]+\.woff2)\)[^;}]*", font, _asset("katex/katex.min.css"))


def _compared(runs: Sequence[Run], comparisons: Sequence[Comparison]) -> str:
    """The tables of each comparison, with what opens the problems won and lost in the viewer."""
    places = {run.folder: number for number, run in enumerate(runs)}
    parts: list[str] = []
    for found in comparisons:
        parts += map(_table, comparison_tables(found, listed=0))
        pair = f"{places[found.first.folder]}-{places[found.second.folder]}"
        for outcome, problems in (("won", found.whole.won), ("lost", found.whole.lost)):
            parts.append(
                f'<button class="jump" data-pair="{pair}" data-outcome="{outcome}">read the {len(problems)} {outcome}, '
                "side by side</button>"
            )
    return "".join(parts)


def _script_json(data: object) -> str:
    """JSON that may stand in a script element: "</script>" or "<!--" in a transcript would end or hide the data."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return text.encode("utf-8", "replace").decode()


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in table.columns)
    rows = []
    for row in table.rows:
        ours = ' class="ours"' if row[0].startswith("> ") else ""
        rows.append(f"<tr{ours}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>")
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in table.notes)
    return (
        f"<h2>{html.escape(table.title)}</h2><div class='wide'><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div><ul class='notes'>{notes}</ul>"
    )


def _plots(runs: Sequence[Run]) -> list[str]:
    scored = [run for run in runs if not run.score.unscored and run.score.samples]
    charts = []
    series = list(dict.fromkeys(name_of(run) for run in scored))
    if not series:
        return []
    benchmarks = list(dict.fromkeys(run.config.benchmark for run in scored))
    by_place = {(run.config.benchmark, name_of(run)): run.score for run in scored}
    groups = {b: [_accuracy(by_place.get((b, name))) for name in series] for b in benchmarks}
    charts.append(bar_chart("Accuracy", series, groups, most=100, unit=" %"))
    for benchmark in benchmarks:
        here = [run for run in scored if run.config.benchmark == benchmark]
        for title, group in PARTS:
            charts += _breakdown(f"{benchmark}: accuracy by {title}", here, group)
    with_tools = [run for run in scored if run.config.tools]
    if with_tools:
        names = [f"{run.config.model}, {run.config.benchmark}" for run in with_tools]
        rounds = [shares([len(r.calls) for r in run.results], _ROUND_EDGES, _ROUND_NAMES) for run in with_tools]
        times = [
            shares([c.wall_seconds for r in run.results for c in r.calls], _SECOND_EDGES, _SECOND_NAMES)
            for run in with_tools
        ]
        for title, spread, rows in (
            ("Programs in a solution", rounds, _ROUND_NAMES),
            ("Wall time of a program", times, _SECOND_NAMES),
        ):
            charts.append(
                bar_chart(title, names, {row: [bars[row] for bars in spread] for row in rows}, most=100, unit=" %")
            )
    return charts


def _training_plots(runs: Sequence[Run]) -> list[str]:
    figures = []
    for model in dict.fromkeys(run.config.model for run in runs):
        plot = Path(model, "loss.png")
        if plot.is_file():
            image = base64.b64encode(plot.read_bytes()).decode()
            figures.append(
                f"<figure><figcaption>Training of {html.escape(model)}</figcaption>"
                f'<img alt="loss, gradient norm and rate by step" src="data:image/png;base64,{image}"></figure>'
            )
    return figures


def _breakdown(title: str, runs: Sequence[Run], group: Callable[[Result], str]) -> list[str]:
    scores = [score_by(run.results, group) for run in runs]
    names = list(dict.fromkeys(name for found in scores for name in found))
    if len(names) < 2:
        return []
    groups = {name: [_accuracy(found.get(name)) for found in scores] for name in names}
    return [bar_chart(title, [name_of(run) for run in runs], groups, most=100, unit=" %")]


def _accuracy(score: Score | None) -> Bar | None:
    if score is None or not score.samples:
        return None
    low, high = score.interval
    return Bar(
        value=100 * score.accuracy,
        interval=(100 * low, 100 * high),
        told=f"({score.correct} of {score.samples}, 95 % interval {interval(score.interval)})",
    )


def _data(runs: Sequence[Run]) -> dict[str, Any]:
    """Every problem once, every sample with its problem's and its run's number."""
    samples = []
    numbers: dict[tuple[str, str, str, str | None], int] = {}
    problems: list[Problem] = []
    for run_number, run in enumerate(runs):
        for result in run.results:
            problem = result.problem
            key = (run.config.benchmark, problem.id, problem.question, problem.answer)
            if key not in numbers:
                numbers[key] = len(problems)
                problems.append(problem)
            samples.append({"run": run_number, "problem": numbers[key], **_sample(result)})
    asked = [
        {
            "id": problem.id,
            "language": problem.language,
            "subject": problem.subject,
            "level": problem.level,
            "question": problem.question,
            "reference": problem.answer,
        }
        for problem in problems
    ]
    named = [{"name": f"{name_of(run)}, {run.config.benchmark}", "benchmark": run.config.benchmark} for run in runs]
    return {"runs": named, "problems": asked, "samples": samples}


def _sample(result: Result) -> dict[str, Any]:
    grade = result.grade
    return {
        "sample": result.sample,
        "turns": [[turn.kind, turn.text] for turn in solution_turns(result.text, None)],
        "left": result.left_over,
        "correct": grade.verdict.correct if grade else None,
        "predicted": grade.verdict.predicted if grade else None,
        "rule": grade.verdict.rule if grade else "",
        "from": grade.answer_from if grade else None,
        "program": grade.program.correct if grade and grade.program else None,
        "printed": grade.program.predicted if grade and grade.program else None,
        "stop": result.stop,
        "calls": [[call.status, call.error, call.wall_seconds] for call in result.calls],
        "tokens": result.new_tokens,
        "prompt": result.prompt_tokens,
        "shown": result.shown_tokens,
        "seconds": round(result.seconds, 3),
        "failed": result.infra_error,
    }
