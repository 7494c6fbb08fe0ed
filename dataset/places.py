"""Where the benchmarks are published, and what pins them: the table that `fetch` works by and `evaluator` checks by.

The table of the sources, with the same kind of addresses, is in `dataset/sources/__init__.py`. An address is one of

    hf://OWNER/NAME@REVISION/FILE        a file of a data set on the Hugging Face Hub ($HF_ENDPOINT, $HF_TOKEN)
    github://OWNER/NAME@REVISION/FILE    a file of a repository on GitHub ($GITHUB_RAW_ENDPOINT)
    https://…                            any other file

A revision is a commit where one is known. Where it is a branch, the hash of the problems says whether the file changed.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

# As the rows of a place are written: with the benchmark's own fields; as lines of question, tab, answer; as chats.
Form = Literal["rows", "tsv", "chat"]
_ADDRESS = re.compile(r"(hf|github)://([^/@]+/[^/@]+)@([^/]+)/(.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One place of a set of problems: files whose rows together are the set, in this order."""

    files: tuple[str, ...]
    form: Form = "rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """A benchmark's file.

    Attributes:
        file: its name in a data folder.
        rows: how many problems it has.
        sha256: `fingerprint` of its rows over the fields `pinned`, whatever their order and spelling in JSON.
        places: where it is published, tried in this order.
    """

    file: str
    licence: str
    rows: int
    sha256: str
    pinned: tuple[str, ...]
    places: tuple[Place, ...]


def fingerprint(rows: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> str:
    """SHA-256 of the texts of `fields` in all `rows`, whatever their order."""
    lines = sorted("\0".join(str(row[field]) for field in fields) + "\n" for row in rows)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def hub_endpoint() -> str:
    """The Hub's address, without a slash at its end."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def url_of(address: str) -> str:
    """The URL of an address of this table."""
    found = _ADDRESS.fullmatch(address)
    if not found:
        return address
    where, repository, revision, file = found.groups()
    if where == "hf":
        return f"{hub_endpoint()}/datasets/{repository}/resolve/{revision}/{file}"
    endpoint = os.environ.get("GITHUB_RAW_ENDPOINT") or "https://raw.githubusercontent.com"
    return f"{endpoint.rstrip('/')}/{repository}/{revision}/{file}"


def file_of(address: str) -> str:
    """The path of an address's file inside its repository; of a plain URL, the last part."""
    found = _ADDRESS.fullmatch(address)
    return found[4] if found else address.rstrip("/").rpartition("/")[2]


def is_commit(address: str) -> bool:
    """Whether the address names a commit, so that its file cannot change."""
    found = _ADDRESS.fullmatch(address)
    return bool(found and re.fullmatch("[0-9a-f]{40}", found[3]))


_MATH_SUBJECTS = ("algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory",
                  "prealgebra", "precalculus")  # fmt: skip
_DEEPSEEK_MATH = "github://deepseek-ai/DeepSeek-Math@21cc5c6701a708a11cee0af8b1fe884e3294dc7a/evaluation/datasets"

EXAMS: Mapping[str, Exam] = {
    "gsm8k": Exam(
        file="gsm8k_test.jsonl", licence="MIT", rows=1319, pinned=("question", "answer"),
        sha256="036eef00543391e456f7cf3d3a3c34d0aeb966f63edf400a71a52a99e3b6df13",
        places=(
            Place(files=("github://openai/grade-school-math@3101c7d5072418e28b9008a6636bde82a006892c"
                         "/grade_school_math/data/test.jsonl",)),
            Place(files=("hf://openai/gsm8k@cc7b047b6e5bb11b4f1af84efc572db110a51b3c"
                         "/main/test-00000-of-00001.parquet",)),
        ),
    ),
    "math": Exam(
        file="math_test.jsonl", licence="MIT", rows=5000, pinned=("problem", "solution"),
        sha256="b6dd71f9807ca7a8a8e9a8c887990d714952e96ba424a71db35dab82823d5f74",
        places=(
            Place(files=("github://microsoft/ToRA@main/src/data/math/test.jsonl",)),
            Place(files=tuple(f"hf://EleutherAI/hendrycks_math@21a5633873b6a120296cce3e2df9d5550074f4a3"
                              f"/{subject}/test-00000-of-00001.parquet" for subject in _MATH_SUBJECTS)),
        ),
    ),
    "mgsm_zh": Exam(
        file="mgsm_zh.jsonl", licence="CC-BY-SA-4.0", rows=250, pinned=("question", "answer"),
        sha256="6dda3b2ad0607195f92eeb1f42c09bdfcb96d2e2aa8a4a96b3de482e6f535ca0",
        places=(
            Place(files=(f"{_DEEPSEEK_MATH}/mgsm_zh/mgsm_zh.jsonl",), form="chat"),
            Place(files=("github://google-research/url-nlp@main/mgsm/mgsm_zh.tsv",), form="tsv"),
        ),
    ),
    "cmath": Exam(
        file="cmath_test.jsonl", licence="CC-BY-4.0 (XiaoMi/cmath)", rows=1098, pinned=("question", "golden"),
        sha256="2db9ef976d2c85c8e1915436677d3179c1820f67c338f1395831fe73a8e463f3",
        places=(Place(files=(f"{_DEEPSEEK_MATH}/cmath/test.jsonl",)),),
    ),
    "svamp": Exam(
        file="svamp.jsonl", licence="MIT", rows=1000, pinned=("ID",),
        sha256="079c6c6ef2acc2f9b9094923b2c680a088e74c5d9b75bf4b301af9e7b04da15f",
        places=(Place(files=("github://arkilpatel/SVAMP@main/SVAMP.json",)),),
    ),
    "gsm_hard": Exam(
        file="gsm_hard.jsonl", licence="MIT", rows=1319, pinned=("input", "target"),
        sha256="a9b2841d2f93c161fac99394117daf8bb15c6b6546eae8eb1a0ecf4250ff98c6",
        places=(Place(files=("hf://reasoning-machines/gsm-hard@main/gsmhardv2.jsonl",)),),
    ),
    "math500": Exam(
        file="math500.jsonl", licence="MIT", rows=500, pinned=("problem", "answer"),
        sha256="01f2deec666955b29519de871bdd283b677998382a7b746793ab5bae0ff8ddbd",
        places=(Place(files=("hf://HuggingFaceH4/MATH-500@2343f79f3640c0f795bbf4e3234396cfe9266d0f/test.jsonl",)),),
    ),
}  # fmt: skip
