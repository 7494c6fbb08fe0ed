"""What the commands take: the parser, and everything that can be said of the flags before work starts."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import get_args

from dataset.types import Style
from evaluator.benchmarks import BENCHMARKS, find_benchmark
from evaluator.models import BACKENDS
from evaluator.protocols import PROTOCOLS
from evaluator.table import FORMATS
from sandbox.errors import InputError


def parser(description: str | None) -> argparse.ArgumentParser:
    """The parser; `command` in its result names the command."""
    whole = argparse.ArgumentParser(prog="python -m evaluator", description=description)
    commands = whole.add_subparsers(required=True, metavar="COMMAND", dest="command")

    run = commands.add_parser("run", help="answer benchmarks with a model, with and without tools")
    run.add_argument("--benchmark", required=True, help=f"one or more of {','.join(BENCHMARKS)}, comma-separated")
    run.add_argument("--file", type=Path, help="the benchmark's problems; with one benchmark only")
    run.add_argument("--data-dir", type=Path, help="folder with the benchmarks' files (default: $SOROBAN_DATA)")
    run.add_argument("--tools", action="store_true", help="with the sandbox as a tool")
    run.add_argument("--no-tools", action="store_true", help="without; give both to measure both")
    _add_generation(run, temperature=0.0)

    sample = commands.add_parser("sample", help="solve training problems; write candidates for `dataset verify`")
    sample.add_argument("--problems", type=Path, required=True, help="problems.jsonl of `python -m dataset build`")
    sample.add_argument("--style", choices=get_args(Style), required=True, help="in words, by a program, by turns")
    sample.add_argument("--keep", type=int, default=4, help="distinct right solutions kept of a problem, at most")
    _add_generation(sample, temperature=0.7)

    table = commands.add_parser("table", help="print scores from result folders, beside published ones")
    table.add_argument("results", nargs="+", type=Path)
    table.add_argument("--format", choices=FORMATS, default="text")

    report = commands.add_parser("report", help="write one HTML page: table, plots, transcripts")
    report.add_argument("results", nargs="+", type=Path)
    report.add_argument("--out", type=Path, required=True, help="the HTML file")

    again = commands.add_parser("regrade", help="judge recorded results again with the grader of today")
    again.add_argument("results", nargs="+", type=Path)
    return whole


def _add_generation(command: argparse.ArgumentParser, *, temperature: float) -> None:
    add = command.add_argument
    add("--model", required=True, help="model folder, name on the Hub, or (replay) recorded solutions")
    add("--name", help="what the table calls the model (default: --model)")
    add("--out", type=Path, required=True, help="folder for the results; what is done there stays")
    add("--backend", help=f"one of {', '.join(BACKENDS)} (default: vllm where installed)")
    add("--protocol", default="default", help=f"rules of the exam: {', '.join(PROTOCOLS)}")
    add("--new-tokens", type=int, help="the model's own tokens in a solution (default: the protocol's)")
    add("--programs", type=int, help="outputs that the model may read (default: the protocol's)")
    add("--limit", type=int, help="only the first N problems; the table marks it")
    add("--samples", type=int, default=1, help="solutions of each problem")
    add("--temperature", type=float, default=temperature, help=f"0 is greedy (default: {temperature})")
    add("--top-p", type=float, default=1.0)
    add("--seed", type=int, default=0)
    add("--context-tokens", type=int, help="longest sequence (default: the model's)")
    add("--dtype", help="data type of the weights (default: the engine's; float32 on a CPU)")
    add("--in-flight", type=int, default=256, help="solutions under way at a time, and sandbox sessions")
    add("--sandbox", metavar="URL", help="a sandbox server (default: an embedded one)")
    add("--quiet", action="store_true", help="no progress bar")


def check_run(arguments: argparse.Namespace) -> None:
    """Raise `InputError` with every flag of `run` that is out of range."""
    problems = []
    names = arguments.benchmark.split(",")
    if not arguments.tools and not arguments.no_tools:
        problems.append("say --tools, --no-tools or both")
    if arguments.file and len(names) > 1:
        problems.append(f"--file gives the problems of one benchmark, {len(names)} were asked for: use --data-dir")
    _raise([*problems, *_generation_problems(arguments, ("limit", "samples", "in_flight", "context_tokens"))])


def check_sample(arguments: argparse.Namespace) -> None:
    """Raise `InputError` with every flag of `sample` that is out of range."""
    _raise(_generation_problems(arguments, ("limit", "samples", "in_flight", "context_tokens", "keep")))


def _generation_problems(arguments: argparse.Namespace, counts: tuple[str, ...]) -> list[str]:
    problems = []
    for flag in counts:
        value = getattr(arguments, flag)
        if value is not None and value < 1:
            problems.append(f"--{flag.replace('_', '-')} {value}: expected at least 1")
    if not 0 <= arguments.temperature <= 10:
        problems.append(f"--temperature {arguments.temperature}: expected 0 (greedy) to 10")
    if not 0 < arguments.top_p <= 1:
        problems.append(f"--top-p {arguments.top_p}: expected more than 0 and at most 1")
    if arguments.samples > 1 and arguments.temperature == 0:
        problems.append(f"--samples {arguments.samples} at temperature 0 are all the same: add --temperature")
    return problems


def _raise(problems: list[str]) -> None:
    if problems:
        raise InputError("; ".join(problems))


def problem_file(name: str, arguments: argparse.Namespace) -> Path:
    """The file with the problems of the benchmark `name`.

    Raises:
        InputError: neither --file nor a folder was given.
    """
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
