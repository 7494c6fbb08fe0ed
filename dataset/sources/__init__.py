"""Where training problems and solutions come from: a table, one line a source, one file a conversion.

Every conversion takes one row of its upstream's format and a default id, and yields candidates for verification.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset.files import parse_line, read_raw_lines
from dataset.sources import (
    ape210k,
    aqua,
    candidates,
    chat,
    gaokao,
    gsm8k,
    k12_zh,
    lila_ood,
    math,
    math23k,
    mathcodeinstruct,
    mathcoder,
    mathinstruct,
    mathqa,
    numina_tir,
    openmath,
    svamp,
    tal_scq5k,
    tora,
)  # fmt: skip
from dataset.sources.forms import expect_lines
from dataset.sources.records import Candidate, LeftOut
from sandbox.errors import InputError

Convert = Callable[[Mapping[str, Any], str], list[Candidate]]
_LONGEST_MESSAGE = 300  # characters; what a field held may be a whole solution


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """Where a source's training split is on the Hugging Face Hub; `revision` is the commit that we read."""

    repository: str
    revision: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source.

    Attributes:
        url: where it is published; `mirrors` are other places.
        files: where the files are if not on the Hub, as in `dataset.places`.
        rows: of its training split as published; None for sources that are a form, not a data set.
        sha256: of the JSON Lines file of the training split that the figures in docs/log.md were measured on.
        member: the file inside the archive that upstream publishes.
        recognised_by: a row that has all fields of one of these is taken to be of this source by `verify`.
        answers_within: rows without an answer may find it in other rows with the same question.
        own_reference: there is no field for the answer: what a solution says last is its own reference.
        by_topic: the subjects of its Chinese problems are subtopics of `dataset/topics_zh.toml`.
    """

    name: str
    convert: Convert
    licence: str
    url: str = ""
    mirrors: tuple[str, ...] = ()
    hub: Hub | None = None
    files: tuple[str, ...] = ()
    rows: int | None = None
    sha256: str | None = None
    member: str | None = None
    recognised_by: tuple[frozenset[str], ...] = ()
    answers_within: bool = False
    own_reference: bool = False
    by_topic: bool = False

    def candidates(self, row: Mapping[str, Any], default_id: str) -> list[Candidate]:
        """What `convert` makes of a row; whatever it says of one that it cannot use is one line with our name.

        Raises:
            InputError: the row is not in the form that the source's docstring shows.
            LeftOut: it is, and gives no candidate.
        """
        try:
            return self.convert(row, default_id)
        except LeftOut as reason:
            raise LeftOut(_one_line(str(reason))) from None
        except InputError as error:
            raise InputError(f"{self.name}: {_one_line(str(error))}") from None
        except Exception as error:  # a conversion, perhaps of the user's own, that takes a field for granted
            place = traceback.extract_tb(error.__traceback__)[-1]
            raise InputError(
                f"{self.name}: expected a row as the docstring of its conversion shows, found one with the fields "
                f"{_one_line(', '.join(map(str, row)) or 'none')}, which raises {_one_line(repr(error))} at "
                f"{Path(place.filename).name}:{place.lineno}"
            ) from error


def _one_line(message: str) -> str:
    shown = message.replace("\r", "\\r").replace("\n", "\\n")
    return shown if len(shown) <= _LONGEST_MESSAGE else shown[:_LONGEST_MESSAGE] + "…"


def _fields(*sets: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(fields.split()) for fields in sets)


_MATH_SUBJECTS = ("algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory",
                  "prealgebra", "precalculus")  # fmt: skip

SOURCES: Mapping[str, Source] = {
    source.name: source
    for source in (
        Source(name="candidates", convert=candidates.convert, licence="of their sources",
               recognised_by=_fields("problem turns style")),
        Source(name="gsm8k", convert=gsm8k.convert, licence="MIT", rows=7_473,
               url="https://github.com/openai/grade-school-math",
               hub=Hub(repository="openai/gsm8k", revision="cc7b047b6e5bb11b4f1af84efc572db110a51b3c",
                       files=("main/train-00000-of-00001.parquet",)),
               sha256="6043ef64147b59871f4fd3adf669c306fe0a4c27e5a5c4bfb761f3f084895a13"),
        Source(name="math", convert=math.convert, licence="MIT", rows=7_500,
               url="https://github.com/hendrycks/math",
               mirrors=("https://huggingface.co/datasets/EleutherAI/hendrycks_math",
                        "https://huggingface.co/datasets/DigitalLearningGmbH/MATH-lighteval",
                        "https://www.modelscope.cn/datasets/opencompass/competition_math"),
               hub=Hub(repository="EleutherAI/hendrycks_math", revision="21a5633873b6a120296cce3e2df9d5550074f4a3",
                       files=tuple(f"{subject}/train-00000-of-00001.parquet" for subject in _MATH_SUBJECTS))),
        Source(name="mathinstruct", convert=mathinstruct.convert, rows=262_039, answers_within=True, own_reference=True,
               licence="MIT; Apache-2.0 (AQuA, MathQA, NumGLUE), CC-BY-NC-4.0 (Camel-Math), not stated (GSM8K-RFT)",
               url="https://huggingface.co/datasets/TIGER-Lab/MathInstruct",
               hub=Hub(repository="TIGER-Lab/MathInstruct", revision="b4fdc323a7be1379c9c7c0b67b1de72dfee2111a",
                       files=("MathInstruct.json",))),
        Source(name="lila_ood", convert=lila_ood.convert, licence="CC-BY-4.0",
               url="https://github.com/allenai/Lila/raw/b81117ac7e56cc1dfb0fcabf0005d1755177252b/lila.zip",
               member="lila/multi/ood/train.json",
               # The Hub's own conversion of the data set's loading script, which newer libraries refuse to run.
               hub=Hub(repository="allenai/lila", revision="2cd68f5f1850888321815c789b24cd63263fbab5",
                       files=("ood/lila-train.parquet",))),
        Source(name="ape210k", convert=ape210k.convert, licence="MIT", rows=200_488,
               url="https://github.com/Chenny0808/ape210k",
               hub=Hub(repository="MU-NLPC/Calc-ape210k", revision="9be5c4c24b73aa28b1b745e70c53e22d1b559041",
                       files=("data/train-00000-of-00001-b9f022a8492442e4.parquet",))),
        Source(name="math23k", convert=math23k.convert, licence="not stated", rows=23_162,
               url="https://github.com/SCNU203/Math23k"),
        Source(name="tal_scq5k", convert=tal_scq5k.convert, licence="MIT", rows=3_000, by_topic=True,
               url="https://huggingface.co/datasets/math-eval/TAL-SCQ5K",
               hub=Hub(repository="math-eval/TAL-SCQ5K", revision="95095b7a5f9fe09ec0d651d57478d8c7bfff7da3",
                       files=("TAL-SCQ5K-CN/train.jsonl",)),
               recognised_by=_fields("problem answer_option_list answer_value")),
        Source(name="gaokao", convert=gaokao.convert, licence="Apache-2.0", by_topic=True,
               url="https://github.com/OpenLMLab/GAOKAO-Bench"),
        Source(name="k12_zh", convert=k12_zh.convert, licence="the file's own", by_topic=True),
        Source(name="openmath", convert=openmath.convert, licence="NVIDIA License",
               url="https://huggingface.co/datasets/nvidia/OpenMathInstruct-1",
               hub=Hub(repository="nvidia/OpenMathInstruct-1", revision="2e123e467011ef2e489422b74ba24fd65d0024cf",
                       files=("correct_solutions/train.jsonl", "correct_solutions/validation.jsonl")),
               recognised_by=_fields("question expected_answer generated_solution")),
        Source(name="numina_tir", convert=numina_tir.convert, licence="Apache-2.0", rows=72_441, own_reference=True,
               url="https://huggingface.co/datasets/AI-MO/NuminaMath-TIR",
               hub=Hub(repository="AI-MO/NuminaMath-TIR", revision="458aa334a8b0cadd647d3af7c4a10b694040e053",
                       files=("data/train-00000-of-00001.parquet",)),
               recognised_by=_fields("problem solution messages")),
        Source(name="mathcodeinstruct", convert=mathcodeinstruct.convert, licence="Apache-2.0", own_reference=True,
               url="https://huggingface.co/datasets/MathLLMs/MathCodeInstruct",
               hub=Hub(repository="MathLLMs/MathCodeInstruct", revision="eb858ec9141f6cc28f9e91429538fbda9db2be1e",
                       files=("train_80k.jsonl",))),
        Source(name="aqua", convert=aqua.convert, licence="Apache-2.0", rows=97_467,
               url="https://github.com/google-deepmind/AQuA",
               files=("github://google-deepmind/AQuA@6e99097ff2e05b406f4ddca8cbf25e7e9efb7cb5/train.json",)),
        Source(name="mathqa", convert=mathqa.convert, licence="Apache-2.0", rows=29_837,
               url="https://math-qa.github.io"),
        Source(name="svamp", convert=svamp.convert, licence="MIT", rows=1_000,
               url="https://github.com/arkilpatel/SVAMP",
               files=("github://arkilpatel/SVAMP@main/SVAMP.json",)),
        Source(name="mathcoder", convert=mathcoder.convert, licence="Apache-2.0",
               url="https://github.com/mathllm/MathCoder",
               recognised_by=_fields("question reference segments")),
        Source(name="tora", convert=tora.convert, licence="MIT", url="https://github.com/microsoft/ToRA",
               files=("github://microsoft/ToRA@29c71cdbd3cbd0f151d4091c3fd8ac8fb3192129/data/tora/examples.jsonl",),
               recognised_by=_fields("question reference solution", "messages gt", "messages gt_cot")),
        Source(name="chat", convert=chat.convert, licence="the file's own", recognised_by=_fields("messages")),
    )
}  # fmt: skip


def find_source(name: str) -> Source:
    """The source of that name.

    Raises:
        InputError: there is none; names those there are.
    """
    if name not in SOURCES:
        raise InputError(f"unknown source {name!r}: expected demo (build only) or one of {', '.join(sorted(SOURCES))}")
    return SOURCES[name]


def recognise(row: Mapping[str, Any]) -> Source | None:
    """The first source in the table whose fields `row` has; None if there is none."""
    for source in SOURCES.values():
        if any(fields <= row.keys() for fields in source.recognised_by):
            return source
    return None


def source_of(path: Path) -> str:
    """The name of the source that the first readable row of `path` is of.

    Raises:
        InputError: it is of no known form, or has no row that can be read.
        FileNotFoundError: there is no such file.
    """
    expect_lines(path)
    unreadable = None
    for number, line in read_raw_lines(path):
        try:
            seen = parse_line(line)
        except InputError as error:  # where other lines can be read it is reported when its turn comes
            unreadable = unreadable or f"{path}:{number}: {error}"
            continue
        if found := recognise(seen):
            return found.name
        raise InputError(
            f"{path}: its first row has the fields {', '.join(sorted(seen))}, which is no known form. Say what it is "
            "with --source NAME, or make candidates of it first: python -m dataset build SOURCE --file …"
        )
    raise InputError(f"{unreadable}; no other line can be read either" if unreadable else f"{path}: it has no rows")


def licence_of(name: str) -> str:
    """The licence of a source, "" for names that are not in the table, such as the demo's."""
    return SOURCES[name].licence if name in SOURCES else ""
