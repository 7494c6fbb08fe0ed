"""The data set card: what is in a mixture, in tables and plots, with the licences of its sources."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from dataset import transcript
from dataset.files import written_whole
from dataset.mixture.contamination import shipped_names
from dataset.mixture.fields import FIELDS, field_of
from dataset.mixture.fingerprints import MixSettings
from dataset.sources import SOURCES, licence_of
from dataset.topics import UNKNOWN, area_of, curriculum, topics

_LISTED_SUBJECTS = 80
_PLOTTED_BARS = 30


class Statistics:
    """Counts over the rows of a mixture. Lengths are characters of question and answer, by powers of the square
    root of two, so that their number does not grow with the rows."""

    def __init__(self) -> None:
        self.groups: Counter[tuple[str, str, str]] = Counter()  # source, language, style
        self.subjects: Counter[str] = Counter()
        self.levels: Counter[str] = Counter()
        self.fields: Counter[tuple[str, str]] = Counter()  # source, field
        self.topics: Counter[tuple[str, str]] = Counter()  # subtopic, style; Chinese rows of sources by topic
        self.lengths: Counter[int] = Counter()
        self.characters = 0

    def add(self, row: Mapping[str, Any]) -> None:
        self.groups[row["source"], row["language"], row["style"]] += 1
        self.subjects[row["subject"] or "(none)"] += 1
        self.levels[row["level"] or "(none)"] += 1
        # Not of the whole message: "please integrate natural language with programs" would be calculus.
        question = transcript.asked(row["messages"][0]["content"])
        self.fields[row["source"], field_of(row["subject"], question)] += 1
        if row["subject"] == UNKNOWN or area_of(row["subject"]) is not None:
            self.topics[row["subject"], row["style"]] += 1
        length = sum(len(message["content"]) for message in row["messages"])
        self.characters += length
        self.lengths[math.ceil(2 * math.log2(length))] += 1

    def count(self, position: int) -> dict[str, int]:
        """Rows by source (0), language (1) or style (2)."""
        result: Counter[str] = Counter()
        for group, rows in self.groups.items():
            result[group[position]] += rows
        return dict(sorted(result.items()))

    def to_json(self) -> dict[str, Any]:
        return {
            "sources": self.count(0),
            "languages": self.count(1),
            "styles": self.count(2),
            "subjects": len(self.subjects),
            "fields": {name: sum(rows for (_, field), rows in self.fields.items() if field == name) for name in FIELDS},
            "subtopics_of_76": sum(1 for name in curriculum() if any(topic == name for topic, _ in self.topics)),
            "characters": self.characters,
        }


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    def line(cells: Sequence[object]) -> str:
        shown = (f"{cell:,}" if isinstance(cell, int) else str(cell).replace("|", "\\|") for cell in cells)
        return f"| {' | '.join(shown)} |"

    return "\n".join([line(header), line(["---"] * len(header)), *map(line, rows)])


def _by_size(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def composition(settings: MixSettings, parts: Sequence[Mapping[str, int]]) -> list[dict[str, Any]]:
    """For each part of the mixture: name, target, available, used, and what is missing of the target."""
    return [
        {
            "part": part.name,
            "target": part.target,
            **sizes,
            "missing": None if part.target is None else max(0, part.target - sizes["used"]),
        }
        for part, sizes in zip(settings.mixture.parts, parts, strict=True)
    ]


def _composition(settings: MixSettings, parts: Sequence[Mapping[str, int]]) -> str:
    found = composition(settings, parts)
    names = ("target", "available", "used", "missing")
    sums: dict[str, int | None] = {name: sum(row[name] or 0 for row in found) for name in names}
    if not sums["target"]:
        sums["target"] = sums["missing"] = None
    rows = [
        [row[name] if row[name] is not None else "" for name in ("part", *names)]
        for row in [*found, {"part": "**all**", **sums}]
    ]
    return _table(["part", *names], rows)


# What section 3.1 of the paper says of its mixture; sizes of the parts it does not give.
_PAPER = (
    ("rows", "776,000"),
    ("languages", "English and Chinese"),
    ("styles", "in words, as a program, tool-integrated"),
    ("fields", "algebra, probability, number theory, calculus, geometry, and others"),
    ("subtopics of Chinese K-12", "76, such as linear equations; in words and tool-integrated"),
    ("English sources", "GSM8K and MATH tool-integrated, a subset of MathInstruct, Lila-OOD's training set"),
)


def _against_the_paper(statistics: Statistics) -> str:
    """What the paper says of its training set beside what is here."""
    covered, other = _covered(statistics)
    here = (
        f"{sum(statistics.groups.values()):,}",
        ", ".join(f"{name} {rows:,}" for name, rows in statistics.count(1).items()),
        ", ".join(f"{name} {rows:,}" for name, rows in statistics.count(2).items()),
        ", ".join(f"{name} {rows:,}" for name, rows in statistics.to_json()["fields"].items() if rows),
        f"{covered} of 76, and {other} beyond them" if statistics.topics else "none",
        ", ".join(sorted({source for source, language, _ in statistics.groups if language == "en"})) or "none",
    )
    rows = [(name, paper, found) for (name, paper), found in zip(_PAPER, here, strict=True)]
    return _table(["", "DeepSeekMath-Instruct (arXiv 2402.03300)", "here"], rows)


def _covered(statistics: Statistics) -> tuple[int, int]:
    """How many of the 76 subtopics have rows, and how many of the others."""
    found = {topic for topic, _ in statistics.topics} - {UNKNOWN}
    return len(found & set(curriculum())), len(found - set(curriculum()))


def _subtopics(statistics: Statistics) -> str:
    """Rows by subtopic and style, those without any listed under the table."""
    covered, _ = _covered(statistics)
    named = [*topics().values(), UNKNOWN]
    styles = sorted({style for _, style in statistics.topics})
    rows = [
        (name, area_of(name) or "", *(statistics.topics.get((name, style), 0) for style in styles))
        for name in named
        if any((name, style) in statistics.topics for style in styles)
    ]
    without = [name for name in curriculum() if not any(topic == name for topic, _ in statistics.topics)]
    said = (
        f"{covered} of the 76 subtopics of the curriculum have rows; none: {'、'.join(without) or 'of them lacks any'}."
    )
    return f"{said}\n\n{_table(['subtopic', 'area', *styles], rows)}"


def _fields(statistics: Statistics) -> str:
    sources = sorted({source for source, _ in statistics.fields})
    rows = [(source, *(statistics.fields.get((source, field), 0) for field in FIELDS)) for source in sources]
    return "By the source's own subject, else by keywords of the question (`dataset/mixture/fields.py`).\n\n" + _table(
        ["source", *FIELDS], [*rows, ("**all**", *statistics.to_json()["fields"].values())]
    )


def _lengths(lengths: Mapping[int, int]) -> list[tuple[str, int]]:
    return [
        (f"≤ {round(2 ** (power / 2)):,}", lengths.get(power, 0)) for power in range(min(lengths), max(lengths) + 1)
    ]


def _reference(source: str) -> str:
    """What an answer of that source was compared with."""
    return "its own last words" if source in SOURCES and SOURCES[source].own_reference else "published"


def write_card(
    out: Path,
    statistics: Statistics,
    settings: MixSettings,
    parts: Sequence[Mapping[str, int]],
    dropped: Mapping[str, int],
    form: str,
) -> None:
    """Write README.md, whose head lets `datasets.load_dataset` find the shards, and plots/*.svg beside it."""
    subjects = _by_size(statistics.subjects)
    listed = _table(["subject", "rows"], subjects[:_LISTED_SUBJECTS])
    more = f"\n\nand {len(subjects) - _LISTED_SUBJECTS:,} more." if len(subjects) > _LISTED_SUBJECTS else ""
    shipped = shipped_names() if settings.shipped else {}
    checked = ", ".join([*shipped, *(path.name for path in settings.benchmarks)])
    sections = {
        "Composition": _composition(settings, parts),
        "Against the paper": _against_the_paper(statistics),
        "Sources": _table(
            ["source", "language", "style", "rows", "licence", "reference"],
            [
                (*group, rows, licence_of(group[0]), _reference(group[0]))
                for group, rows in sorted(statistics.groups.items())
            ],
        ),
        "Left out": _table(["reason", "rows"], sorted(dropped.items())) if dropped else "Nothing.",
        "Benchmarks": (
            f"No question here is one of {checked}, or one of theirs reworded, renumbered or in part "
            "(the rule: `dataset/mixture/contamination.py`). What was refused for it is listed in `refused.jsonl`."
            if checked
            else "**Not checked against any benchmark.**"
        ),
        "Fields": _fields(statistics),
        **({"Subtopics of Chinese K-12": _subtopics(statistics)} if statistics.topics else {}),
        "Subjects": f"{listed}{more}\n\n![subjects](plots/subjects.svg)",
        "Levels": _table(["level", "rows"], sorted(statistics.levels.items())) + "\n\n![levels](plots/levels.svg)",
        "Lengths": "Characters of question and answer.\n\n"
        + _table(["characters", "rows"], _lengths(statistics.lengths))
        + "\n\n![lengths](plots/lengths.svg)",
    }
    head = f"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: train-*.{form}\n"
    head += "language:\n" + "".join(f"- {name}\n" for name in statistics.count(1)) + "---\n"
    title = (
        f"\n# {sum(statistics.groups.values()):,} verified solutions\n\nMathematics problems with solutions in words "
        "(cot), as a program (pot) or in both by turns (tir). Every answer was checked, every program "
        "was run. Made by `python -m dataset mix`.\n\n![rows](plots/rows.svg)\n"
    )
    with written_whole(out / "README.md") as file:
        file.write(head + title + "".join(f"\n## {name}\n\n{text}\n" for name, text in sections.items()))
    _plot(out / "plots", statistics)


def _plot(folder: Path, statistics: Statistics) -> None:
    groups: Counter[str] = Counter()
    for (_, language, style), rows in statistics.groups.items():
        groups[f"{language} {style}"] += rows
    for name, bars in {
        "rows": sorted(groups.items()),
        "subjects": _by_size(statistics.subjects)[:_PLOTTED_BARS],
        "levels": sorted(statistics.levels.items())[:_PLOTTED_BARS],
        "lengths": _lengths(statistics.lengths),
    }.items():
        with written_whole(folder / f"{name}.svg") as file:
            file.write(bar_chart(bars))


def bar_chart(bars: Sequence[tuple[str, int]]) -> str:
    """An SVG picture of horizontal bars. SVG, because the reader's browser has the fonts for Chinese labels."""
    longest, height = max(count for _, count in bars), 20 * len(bars) + 10
    lines = [
        # A view box, so that a narrow page makes the picture smaller instead of cutting it off.
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {height}" width="720" height="{height}"',
        ' font-family="sans-serif" font-size="12">',
        "<style>@media (prefers-color-scheme: dark) { text { fill: #ddd } .ground { fill: #1e2129 } }</style>",
        '<rect class="ground" width="100%" height="100%" fill="white"/>',
    ]
    for number, (label, count) in enumerate(bars):
        top, width = 20 * number + 5, round(420 * count / longest)
        lines += [
            f'<text x="190" y="{top + 13}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="200" y="{top + 2}" width="{width}" height="14" fill="#3b6ea5"/>',
            f'<text x="{206 + width}" y="{top + 13}">{count:,}</text>',
        ]
    return "\n".join([*lines, "</svg>\n"])
