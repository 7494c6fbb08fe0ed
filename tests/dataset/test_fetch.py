"""Benchmarks and sources by command, from a server on this machine that stands for the Hub and GitHub."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from dataset import places
from dataset.download import download
from dataset.fetch import data_folder, fetch_exam, fetch_named, fetch_source, listing, source_files
from dataset.places import EXAMS, Place, fingerprint, is_commit, url_of
from dataset.sources import SOURCES, Hub
from sandbox.errors import InputError
from tests.dataset.hub import Files, serving

ROWS = [{"question": f"{number} + 1?", "answer": f"#### {number + 1}"} for number in range(2000)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    with serving() as files:
        for name, value in files.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.delenv("SOROBAN_DATA", raising=False)
        monkeypatch.setattr("dataset.download._PAUSE_SECONDS", 0.0)
        yield files


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> str:
    """A benchmark of 2,000 sums at two places, the first on GitHub."""
    exam = replace(
        EXAMS["gsm8k"], rows=2000, sha256=fingerprint(ROWS, ("question", "answer")),
        places=(Place(files=("github://a/sums@main/data/test.jsonl",)),
                Place(files=("hf://a/sums@main/one.jsonl", "hf://a/sums@main/two.jsonl"))),
    )  # fmt: skip
    monkeypatch.setattr("dataset.fetch.EXAMS", {"sums": exam})
    return "sums"


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> str:
    """A source of two files of one name on the Hub."""
    changed = replace(SOURCES["gsm8k"], hub=Hub(repository="a/b", revision="f" * 40, files=("x/t.jsonl", "y/t.jsonl")))
    monkeypatch.setattr("dataset.fetch.SOURCES", {"gsm8k": changed})
    return "gsm8k"


def serve_source(hub: Files) -> None:
    for folder, content in (("x", LINES[:1000]), ("y", LINES)):
        hub.files[f"/datasets/a/b/resolve/{'f' * 40}/{folder}/t.jsonl"] = content


def test_a_benchmark_is_written_once_and_not_asked_for_again(hub: Files, small: str, tmp_path: Path) -> None:
    hub.files["/a/sums/main/data/test.jsonl"] = LINES
    path = fetch_exam(small, tmp_path, quiet=True)
    assert [json.loads(line) for line in path.read_text().splitlines()] == ROWS
    assert fetch_exam(small, tmp_path, quiet=True) == path
    assert len(hub.asked) == 1
    assert [each.name for each in tmp_path.rglob("*") if each.is_file()] == ["gsm8k_test.jsonl"]


def test_two_at_once_fetch_it_once(hub: Files, small: str, tmp_path: Path) -> None:
    hub.files["/a/sums/main/data/test.jsonl"] = LINES
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch_exam(small, tmp_path, quiet=True), range(4)))
    assert len(set(paths)) == len(hub.asked) == 1


def test_other_problems_are_refused_and_the_next_place_is_asked(hub: Files, small: str, tmp_path: Path) -> None:
    hub.files["/a/sums/main/data/test.jsonl"] = LINES.replace(b"7 + 1?", b"7 + 2?", 1)
    with pytest.raises(InputError, match=r"other problems \(SHA-256 .*; then 127.0.0.1:\d+ answers HTTP 404"):
        fetch_exam(small, tmp_path, quiet=True)
    assert not (tmp_path / "gsm8k_test.jsonl").exists()
    half = LINES.index(b'{"question": "900 ')
    hub.files["/datasets/a/sums/resolve/main/one.jsonl"] = LINES[half:]
    hub.files["/datasets/a/sums/resolve/main/two.jsonl"] = LINES[:half]
    assert fetch_exam(small, tmp_path, quiet=True).is_file()


def test_a_damaged_benchmark_is_fetched_again(hub: Files, small: str, tmp_path: Path) -> None:
    hub.files["/a/sums/main/data/test.jsonl"] = LINES
    path = fetch_exam(small, tmp_path, quiet=True)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"PK\x03\x04", b"[{", b"\xff\xfe"):
        path.write_bytes(damaged)
        assert fetch_exam(small, tmp_path, quiet=True).read_bytes() == whole


def test_a_broken_download_goes_on_where_it_stopped(hub: Files, tmp_path: Path) -> None:
    hub.files["/file"], hub.breaks = LINES, 2
    download(f"{hub.address}/file", tmp_path / "file", quiet=True)
    assert (tmp_path / "file").read_bytes() == LINES
    starts = [asked.get("range") for _, asked in hub.asked]
    half = len(LINES) // 2
    assert starts == [None, f"bytes={half}-", f"bytes={half + (len(LINES) - half) // 2}-"]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_run_left_is_gone_on_with(hub: Files, tmp_path: Path) -> None:
    hub.files["/file"], hub.breaks = LINES, 4
    with pytest.raises(InputError, match=r"broke off 4 times .*run the same command again"):
        download(f"{hub.address}/file", tmp_path / "file", quiet=True)
    assert not (tmp_path / "file").exists()
    download(f"{hub.address}/file", tmp_path / "file", quiet=True)
    assert (tmp_path / "file").read_bytes() == LINES
    assert int(hub.asked[-1][1]["range"].removeprefix("bytes=").removesuffix("-")) > len(LINES) * 0.9


def test_halves_of_two_versions_are_never_joined(hub: Files, tmp_path: Path) -> None:
    hub.files["/file"], hub.breaks = LINES, 4
    with pytest.raises(InputError):
        download(f"{hub.address}/file", tmp_path / "file", quiet=True)
    hub.files["/file"] = newer = LINES.replace(b"+", b"-")
    download(f"{hub.address}/file", tmp_path / "file", quiet=True)
    assert (tmp_path / "file").read_bytes() == newer


def test_more_than_the_file_has_is_thrown_away(hub: Files, tmp_path: Path) -> None:
    hub.files["/file"] = LINES
    (tmp_path / "file.partial").write_bytes(LINES + b"more")
    (tmp_path / "file.partial.etag").write_text(f'"{hashlib.md5(LINES).hexdigest()}"')
    download(f"{hub.address}/file", tmp_path / "file", quiet=True)
    assert (tmp_path / "file").read_bytes() == LINES


def test_the_hubs_token_stays_with_the_hub(hub: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.files["/datasets/a/b/resolve/main/f"] = hub.files["/a/b/main/f"] = LINES
    monkeypatch.setenv("GITHUB_RAW_ENDPOINT", hub.address.replace("127.0.0.1", "localhost"))
    download(url_of("hf://a/b@main/f"), tmp_path / "hub", quiet=True)
    download(url_of("github://a/b@main/f"), tmp_path / "github", quiet=True)
    assert [(path, asked.get("authorization")) for path, asked in hub.asked] == [
        ("/datasets/a/b/resolve/main/f", "Bearer hf_secret"),
        ("/cdn/datasets/a/b/resolve/main/f", None),
        ("/a/b/main/f", None),
    ]


def test_a_source_is_recorded_with_its_hashes_and_found_offline(
    hub: Files, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_source(hub)
    assert source_files(source, tmp_path) is None
    paths = fetch_source(source, tmp_path, quiet=True)
    assert [path.read_bytes() for path in paths] == [LINES[:1000], LINES]
    record = json.loads((tmp_path / "sources" / "gsm8k" / "fetched.json").read_text())
    assert record["licence"] == "MIT"
    assert record["files"]["y/t.jsonl"] == {
        "from": f"hf://a/b@{'f' * 40}/y/t.jsonl", "bytes": len(LINES), "sha256": hashlib.sha256(LINES).hexdigest(),
    }  # fmt: skip
    hub.files.clear()
    monkeypatch.setattr("dataset.fetch.written_whole", None)  # nothing is written, either
    assert source_files(source, tmp_path) == fetch_source(source, tmp_path, quiet=True) == paths


def test_a_sources_file_that_changed_since_is_fetched_again(hub: Files, source: str, tmp_path: Path) -> None:
    serve_source(hub)
    first, _ = fetch_source(source, tmp_path, quiet=True)
    first.write_bytes(b"{}")
    assert fetch_source(source, tmp_path, quiet=True)[0].read_bytes() == LINES[:1000]


def test_one_failure_does_not_keep_the_others_from_coming(hub: Files, small: str, source: str, tmp_path: Path) -> None:
    serve_source(hub)
    lines = fetch_named(None, tmp_path, quiet=True)
    assert next(lines).startswith("aime, benchmark: no set is pinned")
    assert next(lines).startswith("gsm8k, source: 2 files, 0.1 MB, at a commit, SHA-256 in fetched.json; licence: MIT")
    with pytest.raises(InputError, match=r"^sums: 127.*HTTP 404"):
        next(lines)


def command(package: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name not in ("SOROBAN_DATA", "HF_HUB_OFFLINE")}
    return subprocess.run([sys.executable, "-m", package, *map(str, arguments)], capture_output=True, text=True,
                          timeout=120, env=variables | environment, check=False)  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("fetch", "gsm8k"), "cannot reach 127.0.0.1:9 ("),
        (("fetch", "gsm9k"), "unknown: gsm9k; `fetch` alone lists what there is: gsm8k, math"),
        (("fetch", "--all", "gsm8k"), "give names or --all, not both"),
        (("fetch", "k12_zh"), "k12_zh: no place to fetch it from is known. Give its files with build --file"),
        (("fetch", "gsm8k", "cmath"), "2 not fetched (gsm8k, cmath); gsm8k: cannot reach 127.0.0.1:9 ("),
        (("fetch", "cmath", "--dir", __file__), "test_fetch.py: cannot be a folder, for it or one above it is a file"),
        (("build", "gsm8k", "--out", "out"), "get them by `python -m dataset fetch gsm8k`"),
        (("build", "gsm8k", "--hub", "--out", "out"), "cannot reach 127.0.0.1:9 ("),
    ],
)
def test_what_cannot_be_had_is_one_line(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    away = {"HF_ENDPOINT": "http://127.0.0.1:9", "GITHUB_RAW_ENDPOINT": "http://127.0.0.1:9"}
    done = command("dataset", *arguments, **away, XDG_CACHE_HOME=str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert told in done.stderr


def test_an_endpoint_that_is_no_address_is_one_line(tmp_path: Path) -> None:
    done = command("dataset", "fetch", "math500", HF_ENDPOINT="nonsense", XDG_CACHE_HOME=str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "expected an http address; look at HF_ENDPOINT" in done.stderr


def test_a_full_disk_is_one_line_and_what_came_is_kept(hub: Files, tmp_path: Path) -> None:
    hub.files["/file"] = LINES * 20
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))  # a file that may not grow stands for the disk
    try:
        with pytest.raises(InputError, match=r"file: File too large; what came is kept"):
            download(f"{hub.address}/file", tmp_path / "file", quiet=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    download(f"{hub.address}/file", tmp_path / "file", quiet=True)
    assert (tmp_path / "file").read_bytes() == LINES * 20
    assert "range" in hub.asked[-1][1]


def test_the_list_names_everything_its_licence_and_its_place(tmp_path: Path) -> None:
    done = command("dataset", "fetch", XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 0
    assert done.stdout.splitlines() == listing(tmp_path / "soroban")
    for name in (*EXAMS, *SOURCES, "aime"):
        assert f"\n{name} " in done.stdout


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"SOROBAN_DATA": "/data", "XDG_CACHE_HOME": "/cache"}, "/data"),
        ({"XDG_CACHE_HOME": "/cache"}, "/cache/soroban"),
        ({"HOME": "/home/me"}, "/home/me/.cache/soroban"),
    ],
)
def test_the_folder_is_where_such_folders_are(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], folder: str
) -> None:
    for name in ("SOROBAN_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert data_folder() == Path(folder)
    assert data_folder(Path("here")) == Path("here")


def test_every_source_at_a_commit_but_those_that_say_so() -> None:
    branches = {address for source in SOURCES.values() for address in source.files if not is_commit(address)}
    assert branches == {"github://arkilpatel/SVAMP@main/SVAMP.json"}
    for exam in places.EXAMS.values():  # a branch is good enough where the problems' hash is checked
        assert len(exam.sha256) == 64


def parquet_of(lines: Path, folder: Path) -> bytes:
    """The same rows in Parquet, as the Hub has them."""
    rows = [json.loads(line) for line in lines.read_text(encoding="utf-8").strip().split("\n")]
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "x.parquet")
    return (folder / "x.parquet").read_bytes()


@pytest.mark.real_data
def test_the_four_benchmarks_and_gsm8k_are_found_without_flags(hub: Files, shared: Path, tmp_path: Path) -> None:
    benchmarks = shared / "benchmarks"
    chats = [
        {"messages": [{"role": "user", "content": row["question"]}], "answer": row["answer"]}
        for row in map(json.loads, (benchmarks / "mgsm_zh.jsonl").read_text(encoding="utf-8").strip().split("\n"))
    ]
    for address, content in {
        EXAMS["gsm8k"].places[0].files[0]: (benchmarks / "gsm8k_test.jsonl").read_bytes(),
        EXAMS["math"].places[0].files[0]: (benchmarks / "math_test.jsonl").read_bytes(),
        EXAMS["mgsm_zh"].places[0].files[0]: "\n".join(map(json.dumps, chats)).encode(),
        EXAMS["cmath"].places[0].files[0]: (benchmarks / "cmath_test.jsonl").read_bytes(),
        "hf://" + "openai/gsm8k@cc7b047b6e5bb11b4f1af84efc572db110a51b3c/main/train-00000-of-00001.parquet": (
            parquet_of(shared / "train" / "gsm8k_train.jsonl", tmp_path)
        ),
    }.items():
        hub.files[url_of(address).removeprefix(hub.address)] = content
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = command("dataset", "fetch", "gsm8k", "mgsm_zh", "cmath", "--quiet", **cache, **hub.environment)
    assert done.returncode == 0, done.stderr
    assert "gsm8k, benchmark: 1,319 problems, as pinned by SHA-256; MIT" in done.stdout
    # MATH has a source of its name, too, which this server does not have.
    done = command("dataset", "fetch", "math", "--quiet", **cache, **hub.environment)
    assert "math, benchmark: 5,000 problems" in done.stdout
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    away = {"HF_ENDPOINT": "http://127.0.0.1:9", "GITHUB_RAW_ENDPOINT": "http://127.0.0.1:9"}
    done = command("dataset", "build", "gsm8k", "--out", tmp_path / "gsm8k", "--quiet", **cache, **away)
    assert "of 7,473 rows" in done.stdout, done.stderr
    recorded = tmp_path / "recorded.jsonl"
    folder = tmp_path / "cache" / "soroban"
    files = [folder / EXAMS[name].file for name in ("gsm8k", "math", "mgsm_zh", "cmath")]
    asked = [json.loads(file.read_text(encoding="utf-8").split("\n")[0]) for file in files]
    with recorded.open("w") as file:
        for row in asked:
            question = row.get("question") or row["problem"]
            file.write(json.dumps({"question": question, "solution": "It is $\\boxed{18}$."}) + "\n")
    done = command(
        "evaluator", "run", "--backend", "replay", "--model", recorded, "--benchmark", "gsm8k,math,mgsm_zh,cmath",
        "--no-tools", "--limit", "1", "--out", tmp_path / "results", **cache, **away,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    taken = sorted(path.parent.name for path in (tmp_path / "results").glob("*/manifest.json"))
    assert taken == ["cmath-none", "gsm8k-none", "math-none", "mgsm_zh-none"]
