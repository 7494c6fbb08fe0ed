"""What the commands take: the parser, and everything that can be said of the flags before work starts."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit, urlunsplit

from dataset.fetch import data_folder, fetch_exam
from dataset.places import EXAMS
from dataset.types import Style
from evaluator.benchmarks import BENCHMARKS, find_benchmark
from evaluator.export import EXPORTS
from evaluator.formats import FORMATS
from evaluator.models import BACKENDS
from evaluator.protocols import PROTOCOLS
from sandbox.errors import InputError
from sandbox.flags import Parser, program, version


def parser() -> Parser:
    """The parser; `command` in its result names the command."""
    whole = Parser(prog=program("evaluator"), description="Ask a model, run its programs, grade its answers, tabulate.")
    whole.add_argument("--version", action="version", version=version())
    commands = whole.add_subparsers(required=True, metavar="COMMAND", dest="command")

    run = commands.add_parser(
        "run", help="answer benchmarks with a model, with and without tools", config=True,
        examples="""
            --model runs/sft --benchmark gsm8k,math --tools --no-tools --out runs/results
            --model runs/sft --url http://gpu1:8000,http://gpu2:8000 --benchmark math --tools --out runs/math
            --config exam.toml --limit 20
        """,
    )  # fmt: skip
    run.add_argument("--benchmark", required=True, help=f"one or more of {','.join(BENCHMARKS)}, comma-separated")
    run.add_argument("--file", type=Path, help="the benchmark's problems; with one benchmark only")
    run.add_argument(
        "--data-dir", type=Path, help="folder with the benchmarks' files (default: where `dataset fetch` puts them)"
    )
    run.add_argument("--hub", action="store_true", help="fetch problems that are not there, first")
    run.add_argument("--tools", action="store_true", help="the model may run programs in the sandbox")
    run.add_argument("--no-tools", action="store_true", help="the model has no tools; give both flags to measure both")
    _add_generation(run, temperature=0.0)
    _add_format(run)

    sample = commands.add_parser(
        "sample", help="solve training problems; write candidates for `dataset verify`", config=True,
        examples="""
            --model runs/sft --problems runs/gsm8k/problems.jsonl --style tir --samples 8 --out runs/sampled
        """,
    )  # fmt: skip
    sample.add_argument("--problems", type=Path, required=True, help="problems.jsonl of `dataset build`")
    sample.add_argument(
        "--style",
        choices=get_args(Style),
        required=True,
        help="in words (cot), as a program (pot), or both by turns (tir)",
    )
    sample.add_argument(
        "--keep", type=int, default=4, help="keep at most so many different right solutions of a problem"
    )
    sample.add_argument("--order", choices=("shortest", "random"), default="shortest", help="which, if there are more")
    sample.add_argument(
        "--rates", default="0:1", metavar="LOW:HIGH", help="only of problems with such a share of right samples"
    )
    sample.add_argument(
        "--known",
        type=Path,
        nargs="*",
        default=[],
        metavar="FILE",
        help="candidates or verified solutions not wanted again",
    )
    _add_generation(sample, temperature=0.7)

    table = commands.add_parser(
        "table", help="print scores from result folders, beside published ones",
        examples="""
            runs/results
            runs/results --parts --format markdown
        """,
    )  # fmt: skip
    _add_results(table)
    table.add_argument("--parts", action="store_true", help="also by level, subject (CMATH: steps) and language")
    table.add_argument("--pairs", action="store_true", help="also every two runs on the same problems, paired")
    _add_format(table)

    compare = commands.add_parser(
        "compare", help="say whether run B is better than run A, on the same problems",
        examples="""
            runs/results-base runs/results --report runs/compare.html
        """,
    )  # fmt: skip
    compare.add_argument("first", type=Path, metavar="RUN_A", help="folder of results")
    compare.add_argument("second", type=Path, metavar="RUN_B", help="folder of results")
    compare.add_argument(
        "--list", type=int, default=20, help="how many of the problems won, and of those lost, are listed"
    )
    compare.add_argument("--report", type=Path, metavar="FILE", help="write an HTML page that shows both side by side")
    _add_format(compare)

    report = commands.add_parser(
        "report", help="write one HTML page: table, plots, transcripts", examples="runs/results --out runs/report.html"
    )
    _add_results(report)
    report.add_argument("--out", type=Path, required=True, help="the HTML file")

    export = commands.add_parser(
        "export", help="write results in other tools' formats; push them to the Hub",
        examples="runs/results --format inspect --out runs/inspect",
    )  # fmt: skip
    _add_results(export)
    export.add_argument("--format", required=True, help=f"one of {', '.join(EXPORTS)}")
    export.add_argument("--out", type=Path, required=True, help="folder for the files")
    export.add_argument("--push", metavar="OWNER/NAME", help="with --format dataset: to this data set of the Hub")
    export.add_argument("--public", action="store_true", help="with --push: everybody may see a new one")

    again = commands.add_parser("regrade", help="judge recorded results again with the grader of today")
    _add_results(again)

    merge = commands.add_parser(
        "merge", help="put the shards of a run, or parts of it made elsewhere, into one folder",
        examples="runs/shard-1 runs/shard-2 --out runs/whole",
    )  # fmt: skip
    _add_results(merge)
    merge.add_argument("--out", type=Path, required=True, help="folder for the whole, new or of the same run")
    return whole


def _add_results(command: Parser) -> None:
    command.add_argument("results", nargs="+", type=Path, metavar="FOLDER", help="results of `run`, at any depth")


def _add_format(command: Parser) -> None:
    command.add_argument("--format", choices=FORMATS, default="text", help="of the table")
    command.add_argument(
        "--json", dest="format", action="store_const", const="json", help="the same as --format json"
    )  # fmt: skip


def _add_generation(command: Parser, *, temperature: float) -> None:
    add = command.add_argument
    add("--model", required=True, help="model folder, name on the Hub, or (replay) recorded solutions")
    add("--name", help="what the table calls the model (default: --model)")
    add("--out", type=Path, required=True, help="folder for the results; what is done there stays")
    add("--limit", type=int, help="only the first N problems; the table marks it")
    add("--shard", metavar="K/N", default="1/1", help="every Nth problem from the Kth on; `merge` joins shards")
    add("--seed", type=int, default=0, help="of the sampling")
    add("--quiet", action="store_true", help="no progress bar")

    add = command.add_argument_group("the exam").add_argument
    add("--protocol", default="default", help=f"rules: {', '.join(PROTOCOLS)}")
    add("--new-tokens", type=int, help="most tokens that the model may write in a solution (default: the protocol's)")
    add("--programs", type=int, help="most programs whose output the model is shown (default: the protocol's)")
    add("--system", metavar="TEXT", help="a system message before every question")
    add("--chat-template", type=Path, metavar="FILE", help="a Jinja template in the place of the tokenizer's own")
    add(
        "--template-option",
        action="append",
        default=[],
        metavar="K=V",
        help="a switch of the template, such as enable_thinking=false",
    )

    add = command.add_argument_group("sampling").add_argument
    add("--samples", type=int, default=1, help="solutions of each problem")
    add("--temperature", type=float, help=f"0 is greedy (default: {temperature})")
    add("--top-p", type=float, help="the likeliest tokens that have this probability together (default: 1, all)")
    add("--top-k", type=int, help="the K likeliest tokens (default: 0, all)")
    add("--min-p", type=float, help="tokens at least this share as likely as the likeliest (default: 0, all)")
    add("--repetition-penalty", type=float, help="divides the logits of tokens seen before (default: 1, none)")
    add(
        "--model-sampling",
        action="store_true",
        help="take what these flags leave out from the model's generation_config.json",
    )

    add = command.add_argument_group("what answers").add_argument
    add("--backend", help=f"one of {', '.join(BACKENDS)} (default: vllm where installed)")
    add("--url", metavar="URL[,URL…]", help="model servers of OpenAI's kind, not an own engine")
    add("--tokenizer", help="with --url: folder or Hub name of the tokenizer (default: --model)")
    add("--patience", type=float, default=600.0, help="seconds that servers may be away before the run stops")
    add("--revision", help="branch, tag or commit of a model on the Hub (default: its main branch)")
    add("--context-tokens", type=int, help="longest sequence (default: the model's)")
    add("--dtype", help="data type of the weights (default: the engine's; float32 on a CPU)")
    add("--engine", metavar="K=V[,K=V…]", help="vLLM's own options, such as tensor_parallel_size=8,quantization=fp8")
    add("--replicas", type=int, default=1, help="engines side by side, each with its own GPUs or share of the cores")
    add(
        "--ray", nargs="?", const="auto", metavar="HOST:PORT", help="engines on a Ray cluster; alone: on this machine's"
    )
    add("--adapter", type=Path, metavar="FOLDER", help="a LoRA adapter on the model")

    add = command.add_argument_group("where it runs").add_argument
    add("--in-flight", type=int, help="solutions under way at a time (default: 256; with an own sandbox 32 a core)")
    add("--sandbox", metavar="URL[,URL…]", help="sandbox servers (default: an embedded one)")


def model_urls(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The addresses in --url with their path; a bare http://host:port means its /v1, as servers have it.

    Raises:
        InputError: one is no address.
    """
    found = []
    for url in arguments.url.split(",") if arguments.url else ():
        parts = urlsplit(url.strip())
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"--url {url}: expected an address such as http://localhost:8000/v1")
        found.append(urlunsplit(parts._replace(path=parts.path.rstrip("/") or "/v1")))
    return tuple(dict.fromkeys(found))


def shard(arguments: argparse.Namespace) -> tuple[int, int]:
    """--shard K/N as the first problem, from 0, and the step to the next.

    Raises:
        InputError: it is not of this form.
    """
    found = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", arguments.shard)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(f"--shard {arguments.shard}: expected K/N with K from 1 to N, such as 1/4")
    return int(found[1]) - 1, int(found[2])


def solutions_in_flight(arguments: argparse.Namespace) -> int:
    """How many solutions are under way at a time: as asked, else as many as engine and sandbox are at their best with.

    256 fill a large GPU. Sessions of an embedded sandbox share their cores with it: on two cores 256 at a time
    were a quarter to a third slower than 16 (docs/log.md).
    """
    if arguments.in_flight is not None:
        return int(arguments.in_flight)
    return 256 if arguments.sandbox else min(256, 32 * len(os.sched_getaffinity(0)))


def check_run(arguments: argparse.Namespace) -> None:
    """Raise `InputError` with every flag of `run` that is out of range."""
    problems = []
    names = [name.strip() for name in arguments.benchmark.split(",")]
    if len(set(names)) < len(names):
        problems.append(f"--benchmark {arguments.benchmark}: each one once")
    if not arguments.tools and not arguments.no_tools:
        problems.append("say --tools, --no-tools or both")
    if arguments.file and len(names) > 1:
        problems.append(f"--file gives the problems of one benchmark, {len(names)} were asked for: use --data-dir")
    _raise([*problems, *_generation_problems(arguments, _COUNTS)])


def check_sample(arguments: argparse.Namespace) -> None:
    """Raise `InputError` with every flag of `sample` that is out of range."""
    problems = _generation_problems(arguments, (*_COUNTS, "keep"))
    if not arguments.problems.is_file():
        problems.append(f"--problems {arguments.problems}: no such file; `python -m dataset build` writes one")
    try:
        rates(arguments.rates)
    except InputError as error:
        problems.append(str(error))
    problems += [f"--known {path}: no such file" for path in arguments.known if not path.is_file()]
    _raise(problems)


def rates(text: str) -> tuple[float, float]:
    """--rates LOW:HIGH as two shares.

    Raises:
        InputError: it is not of this form.
    """
    try:
        low, high = map(float, text.split(":"))
    except ValueError:
        low, high = 1.0, 0.0
    if not 0 <= low <= high <= 1:
        raise InputError(f"--rates {text}: expected LOW:HIGH from 0 to 1, such as 0.1:0.9")
    return low, high


_COUNTS = ("limit", "samples", "in_flight", "context_tokens", "replicas")


def _generation_problems(arguments: argparse.Namespace, counts: tuple[str, ...]) -> list[str]:
    problems = []
    for flag in counts:
        value = getattr(arguments, flag)
        if value is not None and value < 1:
            problems.append(f"--{flag.replace('_', '-')} {value}: expected at least 1")
    if not arguments.patience >= 0:
        problems.append(f"--patience {arguments.patience}: expected 0 or more seconds")
    return problems


def _raise(problems: list[str]) -> None:
    if problems:
        raise InputError("; ".join(problems))


def problem_file(name: str, arguments: argparse.Namespace) -> Path:
    """The file with the problems of the benchmark `name`; with --hub, fetched if it is not there.

    Raises:
        InputError: it is not there, or cannot be fetched.
    """
    benchmark = find_benchmark(name)
    if arguments.file:
        return Path(arguments.file)
    folder = data_folder(arguments.data_dir)
    if arguments.hub and name in EXAMS:
        return fetch_exam(name, folder, quiet=arguments.quiet)
    return folder / benchmark.file
