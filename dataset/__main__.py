"""`python -m dataset fetch | build | verify | mix`: training data, from sources to a mixture."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from dataset.chunks import Workers
from dataset.files import Manifest
from dataset.processes import LocalWorkers
from sandbox.command import run_command
from sandbox.errors import InputError
from sandbox.flags import Parser, program, version
from sandbox.types import Limits


def parser() -> Parser:
    """The parser; `command` in its result names the command."""
    whole = Parser(prog=program("dataset"), description="Training data, from sources to a mixture.")
    whole.add_argument("--version", action="version", version=version())
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")

    fetch = commands.add_parser(
        "fetch", help="get benchmarks and sources from where they are published",
        examples="""
            gsm8k math mathinstruct
            --all --data-dir /data
        """,
    )  # fmt: skip
    fetch.add_argument("names", nargs="*", metavar="NAME", help="of benchmarks and sources; none: list them all")
    fetch.add_argument("--all", action="store_true", help="everything that has a known place")
    fetch.add_argument(
        "--data-dir", "--dir", dest="dir", type=Path, help="folder (default: $SOROBAN_DATA, else ~/.cache/soroban)"
    )
    fetch.add_argument("--quiet", action="store_true", help="no progress bars")

    build = commands.add_parser(
        "build", help="make candidates of a source", config=True,
        examples="""
            gsm8k --hub --out runs/gsm8k
            mathinstruct --file MathInstruct.json --out runs/mathinstruct
            demo --problems 5000 --out runs/demo
        """,
    )  # fmt: skip
    build.add_argument("source", help="'demo', or a source's name: `fetch` alone lists them")
    build.add_argument("--out", type=Path, required=True, help="folder for candidates.jsonl and problems.jsonl")
    build.add_argument(
        "--file", type=Path, nargs="+", default=[], help="the source's files, as upstream publishes them"
    )
    build.add_argument("--hub", action="store_true", help="fetch the files that are not there, first")
    build.add_argument(
        "--answers", type=Path, nargs="+", default=[], metavar="FILE", help="problems.jsonl with references for these"
    )
    build.add_argument("--quiet", action="store_true", help="no progress bar")
    _add_json(build)
    demo = build.add_argument_group("of the source demo")
    demo.add_argument("--problems", type=int, default=2750, help="training problems, three solutions each")
    demo.add_argument("--test-problems", type=int, default=200, help="fresh problems for the exam")
    demo.add_argument("--seed", type=int, default=0, help="another seed makes different problems")
    demo.add_argument("--spoiled", type=float, default=0.15, help="share of solutions spoiled on purpose")
    demo.add_argument(
        "--by-heart", type=float, default=0.0,
        help="share of the solutions with tools, of one or two operations, that state the result without a program",
    )  # fmt: skip

    verify = commands.add_parser(
        "verify", help="run the candidates and keep the right ones", config=True,
        examples="""
            runs/gsm8k/candidates.jsonl --out runs/verified
            mine.jsonl --outputs replace --sandbox http://box1:8000,http://box2:8000 --out runs/verified
        """,
    )  # fmt: skip
    verify.add_argument("inputs", type=Path, nargs="+", metavar="IN", help="JSON Lines with candidates")
    verify.add_argument("--out", type=Path, required=True, help="folder for kept.jsonl and dropped.jsonl")
    verify.add_argument("--source", help="what the rows are; recognised from the first row if not given")
    verify.add_argument("--limit", type=int, help="verify the first N rows only")
    verify.add_argument("--quiet", action="store_true", help="no progress bar")
    _add_json(verify)
    judged = verify.add_argument_group("what is kept")
    judged.add_argument(
        "--outputs",
        choices=("keep", "replace", "require"),
        default="require",
        help="recorded outputs: trust them, put the real ones in their place, or drop where they differ (default)",
    )
    judged.add_argument(
        "--profile", choices=("tora", "notebook"), default="tora", help="how --outputs replace writes an output"
    )
    running = verify.add_argument_group("where and how long programs run")
    running.add_argument("--sandbox", metavar="URL[,URL…]", help="sandbox servers (default: one in each worker)")
    _add_workers(running)
    running.add_argument(
        "--patience",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how long a sandbox may be away before the run stops",
    )
    running.add_argument("--cpu-seconds", type=float, default=10.0, help="how long one program may compute")
    running.add_argument(
        "--wall-seconds", type=float, default=60.0,
        help="longest run of one program on the clock; long, so that a busy machine drops nothing",
    )  # fmt: skip

    mix = commands.add_parser(
        "mix", help="make a training mixture of verified solutions",
        examples="""
            runs/verified/kept.jsonl --config dataset/mixture.toml --out runs/mix
        """,
    )  # fmt: skip
    mix.add_argument("inputs", type=Path, nargs="+", metavar="IN", help="kept.jsonl of `verify`")
    mix.add_argument("--out", type=Path, required=True, help="folder for train-*.jsonl and a data card")
    mix.add_argument("--config", type=Path, metavar="FILE", help="mixture.toml: the parts, their sizes and weights")
    mix.add_argument("--seed", type=int, default=0, help="of the choice and the order of rows")
    mix.add_argument(
        "--benchmarks",
        type=Path,
        nargs="*",
        metavar="FILE",
        help="also refuse the questions of these files; without a file: check no benchmark, not even those that ship",
    )
    mix.add_argument(
        "--format",
        choices=("jsonl", "parquet"),
        default="jsonl",
        help="of the shards; `datasets` reads either, our trainer jsonl (default)",
    )
    _add_workers(mix)
    mix.add_argument("--quiet", action="store_true", help="no progress bar")
    _add_json(mix)
    return whole


def _add_json(command: Parser) -> None:
    command.add_argument("--json", action="store_true", help="print the manifest, as JSON, not a summary")


def _add_workers(command: argparse._ActionsContainer) -> None:
    command.add_argument("--workers", type=int, help="processes (default: one for each core, or CPU of the cluster)")
    command.add_argument(
        "--ray", nargs="?", const="auto", metavar="HOST:PORT", help="work on a Ray cluster; alone: on this machine's"
    )


def _build(arguments: argparse.Namespace) -> int:
    if arguments.source == "demo":
        from dataset.demo.build import build_demo

        manifest = build_demo(
            arguments.out,
            problems=arguments.problems,
            test_problems=arguments.test_problems,
            seed=arguments.seed,
            spoiled=arguments.spoiled,
            by_heart=arguments.by_heart,
        )
        if arguments.json:
            return _print_json(manifest)
        print(f"build demo: {manifest.rows_out:,} solutions, {sum(manifest.summary['spoiled'].values()):,} spoiled")
        for kind, count in manifest.summary["spoiled"].items():
            print(f"  {kind:<14} {count:>6,}")
        return 0
    return _build_source(arguments)


def _build_source(arguments: argparse.Namespace) -> int:
    from dataset.build import build
    from dataset.fetch import data_folder, source_files
    from dataset.sources import find_source

    source = find_source(arguments.source)
    if arguments.file and arguments.hub:
        raise InputError(f"build {source.name}: give either --file FILE… or --hub")
    if not arguments.file and not arguments.hub and source_files(source.name, data_folder()) is None:
        raise InputError(
            f"build {source.name}: its files are not in {data_folder()}: get them by `python -m dataset fetch "
            f"{source.name}`, here and now by --hub, or give yours with --file FILE…"
        )
    manifest = build(source.name, arguments.file, arguments.out, answers=arguments.answers, quiet=arguments.quiet)
    if arguments.json:
        _print_json(manifest)
        return _complain_of_bad_lines(manifest, arguments.out)
    styles = ", ".join(f"{style} {count:,}" for style, count in manifest.summary["styles"].items())
    print(f"build {source.name}: {manifest.rows_out:,} candidates of {manifest.rows_in:,} rows ({styles or 'none'})")
    if source.rows is not None and source.rows != manifest.rows_in:
        print(f"note: the published training split has {source.rows:,} rows, these are {manifest.rows_in:,}")
    for reason, count in manifest.dropped.items():
        print(f"  left out, {reason}: {count:,} rows (left_out.jsonl)")
    for change, count in manifest.summary["changed"].items():
        print(f"  changed, {change}: {count:,} rows (changed.jsonl)")
    if subtopics := manifest.summary.get("subtopics"):
        from dataset.topics import UNKNOWN, curriculum

        covered = sum(1 for topic in curriculum() if subtopics[topic])
        others = sum(1 for topic, count in subtopics.items() if count and topic != UNKNOWN) - covered
        print(
            f"subtopics with problems: {covered} of 76, {others} beyond them; unknown: {subtopics[UNKNOWN]:,} problems"
        )
        print(f"without: {'、'.join(topic for topic in curriculum() if not subtopics[topic]) or 'none'}")
    return _complain_of_bad_lines(manifest, arguments.out)


def _fetch(arguments: argparse.Namespace) -> int:
    from dataset.fetch import data_folder, fetch_named, listing

    if arguments.all and arguments.names:
        raise InputError("give names or --all, not both")
    folder = data_folder(arguments.dir)
    if not arguments.all and not arguments.names:
        print("\n".join(listing(folder)))
        return 0
    for line in fetch_named(None if arguments.all else arguments.names, folder, quiet=arguments.quiet):
        print(line, flush=True)
    return 0


def _workers(arguments: argparse.Namespace) -> Workers:
    if arguments.workers is not None and arguments.workers < 1:
        raise InputError(f"--workers {arguments.workers}: expected at least 1")
    if arguments.ray is not None:
        from dataset.actors import RayActors

        return RayActors(arguments.ray, arguments.workers)
    return LocalWorkers(arguments.workers or len(os.sched_getaffinity(0)))


def _verify(arguments: argparse.Namespace) -> int:
    from dataset.verification.verify import verify
    from dataset.verification.workers import Settings

    if arguments.limit is not None and arguments.limit < 1:
        raise InputError(f"--limit {arguments.limit}: expected at least 1")
    if not arguments.patience >= 0:
        raise InputError(f"--patience {arguments.patience}: expected 0 or more seconds")
    limits = Limits(
        wall_seconds=arguments.wall_seconds, cpu_seconds=min(arguments.cpu_seconds, arguments.wall_seconds)
    )  # fmt: skip
    limits.check()
    settings = Settings(
        policy=arguments.outputs,
        limits=limits,
        profile=arguments.profile,
        url=arguments.sandbox,
        token=os.environ.get("SOROBAN_SANDBOX_TOKEN"),
        threads=16 if arguments.sandbox else 2,
        patience_seconds=arguments.patience,
    )
    manifest = verify(
        arguments.inputs,
        arguments.out,
        settings=settings,
        workers=_workers(arguments),
        source=arguments.source,
        limit=arguments.limit,
        quiet=arguments.quiet,
    )
    if arguments.json:
        _print_json(manifest)
    else:
        _print_verification(manifest)
    return _complain_of_bad_lines(manifest, arguments.out)


def _print_verification(manifest: Manifest) -> None:
    for path, source in manifest.config["inputs"]:
        print(f"{path}: read as {source}")
    print(f"{'source/style':<24} {'in':>9} {'kept':>9}  share  dropped")
    for name, counts in manifest.summary["by_source_and_style"].items():
        kept = counts.get("kept", 0)
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts.items() if reason not in ("in", "kept"))
        print(f"{name:<24} {counts['in']:>9,} {kept:>9,} {kept / counts['in']:>6.1%}  {reasons}")
    if outputs := manifest.summary.get("outputs"):
        recorded, again, causes = outputs["recorded"], outputs["printed_again"], outputs["differing"]
        counted = recorded - causes.get("recorded_timeout", 0)
        print(f"recorded outputs printed again: {again:,} of {recorded:,} ({again / recorded:.1%})")
        print(f"  without recorded timeouts: {again:,} of {counted:,} ({again / max(1, counted):.1%})")
        for cause, count in causes.items():
            print(f"  {cause}: {count:,} (differing.jsonl)")
    if verdicts := manifest.summary.get("recorded_verdicts"):
        print(f"against the publisher's verdicts: {', '.join(f'{name} {n:,}' for name, n in verdicts.items())}")
    print(f"kept {manifest.rows_out:,} in {manifest.seconds:.1f} s")


def _mix(arguments: argparse.Namespace) -> int:
    from dataset.mixture.config import Mixture, read_mixture
    from dataset.mixture.fingerprints import MixSettings
    from dataset.mixture.mix import mix

    given: list[Path] | None = arguments.benchmarks
    settings = MixSettings(
        mixture=read_mixture(arguments.config) if arguments.config else Mixture(),
        seed=arguments.seed,
        benchmarks=tuple(given or ()),
        shipped=given != [],  # `--benchmarks` with nothing behind it: check nothing
    )
    manifest = mix(
        arguments.inputs,
        arguments.out,
        settings=settings,
        workers=_workers(arguments),
        form=arguments.format,
        quiet=arguments.quiet,
    )
    if arguments.json:
        _print_json(manifest)
        return _complain_of_bad_lines(manifest, arguments.out)
    print(f"mixed {manifest.rows_out:,} of {manifest.rows_in:,} rows in {manifest.seconds:.1f} s")
    for reason, count in manifest.dropped.items():
        print(f"  left out, {reason.replace('_', ' ')}: {count:,}")
    for part in manifest.summary["parts"]:
        lacking = "" if part["target"] is None else f" of {part['target']:,}, {part['missing']:,} missing"
        print(f"  {part['part']}: {part['used']:,}{lacking}")
    return _complain_of_bad_lines(manifest, arguments.out)


def _print_json(manifest: Manifest) -> int:
    print(json.dumps(asdict(manifest), ensure_ascii=False))
    return 0


def _complain_of_bad_lines(manifest: Manifest, out: Path) -> int:
    bad = manifest.summary["bad"]
    if not bad:
        return 0
    with (out / "bad.jsonl").open(encoding="utf-8") as file:
        first = json.loads(file.readline())
    raise InputError(
        f"{first['file']}:{first['line']}: {first['problem']}. {bad:,} of {manifest.rows_in:,} lines could not be "
        f"used; all are listed in {out / 'bad.jsonl'}. The others are done: mend these lines, or go on without"
    )


def main(argv: list[str]) -> int:
    """Run one command; returns its exit code."""
    arguments = parser().parse_args(argv)
    return {"fetch": _fetch, "build": _build, "verify": _verify, "mix": _mix}[arguments.command](arguments)


if __name__ == "__main__":
    sys.exit(run_command(main))
