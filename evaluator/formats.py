"""A table as text, Markdown, CSV, LaTeX or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Table:
    """A heading, columns, rows of text, and lines below."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def interval(ends: tuple[float, float], sign: str = "") -> str:
    """Both ends in percent; with `sign` "+" as differences."""
    low, high = (f"{100 * end + 0.0:{sign}.1f}" for end in ends)
    return f"{low} to {high}"


def as_text(table: Table) -> str:
    """Columns in a fixed width, for a terminal."""
    widths = [max(len(row[i]) for row in (table.columns, *table.rows)) for i in range(len(table.columns))]
    lines = [table.title, ""]
    for row in (table.columns, ["-" * width for width in widths], *table.rows):
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return "\n".join([*lines, "", *table.notes, ""])


def as_markdown(table: Table) -> str:
    """A heading, a pipe table and a list of notes."""
    lines = [f"### {table.title}", ""]
    for row in (table.columns, ["---"] * len(table.columns), *table.rows):
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    # a leading star would open a list inside the list
    return "\n".join([*lines, "", *(f"- {note.replace('*', chr(92) + '*')}" for note in table.notes), ""])


def as_csv(table: Table) -> str:
    """Comma-separated values; the title and the notes are left out."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([table.columns, *table.rows])
    return out.getvalue()


_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}"}
_LATEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"}
_LATEX |= {"†": r"\dag{}"}


def as_latex(table: Table) -> str:
    """A table environment with a tabular and the notes below it."""

    def escaped(text: str) -> str:
        return "".join(_LATEX.get(character, character) for character in text)

    rows = [" & ".join(escaped(cell) for cell in row) + r" \\" for row in (table.columns, *table.rows)]
    notes = r" \\ ".join(escaped(note) for note in table.notes)
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{escaped(table.title)}}}",
            rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}",
            r"\hline",
            rows[0],
            r"\hline",
            *rows[1:],
            r"\hline",
            r"\end{tabular}",
            rf"\par\footnotesize {notes}",
            r"\end{table}",
            "",
        ]
    )


def as_json(table: Table) -> str:
    """An object with title, notes and a row as an object of column and cell, as text."""
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return json.dumps({"title": table.title, "rows": rows, "notes": list(table.notes)}, ensure_ascii=False)


FORMATS: dict[str, Callable[[Table], str]] = {
    "text": as_text,
    "markdown": as_markdown,
    "csv": as_csv,
    "latex": as_latex,
    "json": as_json,
}


def written(tables: Iterable[Table], form: str) -> str:
    """All `tables` in the format `form`, a blank line between them; as JSON one array."""
    texts = [FORMATS[form](table) for table in tables]
    return "[" + ",\n".join(texts) + "]\n" if form == "json" else "\n".join(texts)
