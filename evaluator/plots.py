"""Bar charts as inline SVG: no library, no script, readable in a page opened from disk.

Colours come from the page's style sheet (`s0` to `s5`), so that they follow its light and dark theme. Every bar has a
title with its numbers.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_ROW, _GAP, _LEFT, _WIDTH, _RIGHT, _TOP = 14, 10, 190, 420, 60, 30


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One value with its interval (None where it has none), and what a reader is told of it."""

    value: float
    interval: tuple[float, float] | None = None
    told: str = ""


def bar_chart(
    title: str, series: Sequence[str], groups: Mapping[str, Sequence[Bar | None]], *, most: float, unit: str = ""
) -> str:
    """Horizontal bars, one group of rows for each name, one bar for each of `series`; axis from 0 to `most`."""
    height = _TOP + sum(len(bars) * _ROW + _GAP for bars in groups.values()) + 20
    parts = [
        f'<figure><figcaption>{html.escape(title)}</figcaption><svg role="img" aria-label="{html.escape(title)}" '
        f'viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {height}" width="{_LEFT + _WIDTH + _RIGHT}">'
    ]
    for step in range(5):
        x = _LEFT + _WIDTH * step / 4
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 8}" y2="{height - 20}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{_TOP - 12}">{_number(most * step / 4)}{unit}</text>')
    y = float(_TOP)
    for name, bars in groups.items():
        middle = y + len(bars) * _ROW / 2 + 4
        parts.append(f'<text class="name" x="{_LEFT - 8}" y="{middle:.1f}">{html.escape(_short(name))}</text>')
        for index, bar in enumerate(bars):
            if bar is not None:
                parts.append(_bar(bar, index, y, most, unit, f"{name}, {series[index]}"))
            y += _ROW
        y += _GAP
    parts.append("</svg>" + _legend(series) + "</figure>")
    return "".join(parts)


def _bar(bar: Bar, index: int, y: float, most: float, unit: str, name: str) -> str:
    scale = _WIDTH / most if most else 0.0
    width = max(0.0, bar.value * scale)
    told = html.escape(f"{name}: {_number(bar.value)}{unit} {bar.told}".strip())
    parts = [
        f'<g><title>{told}</title><rect class="s{index % 6}" x="{_LEFT}" y="{y:.1f}" width="{width:.1f}" '
        f'height="{_ROW - 3}"/>'
    ]
    if bar.interval is not None:
        low, high = (_LEFT + value * scale for value in bar.interval)
        centre = y + (_ROW - 3) / 2
        parts.append(f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="{centre:.1f}" y2="{centre:.1f}"/>')
    end = _LEFT + max(width, (bar.interval[1] * scale) if bar.interval else 0) + 4
    parts.append(f'<text class="value" x="{end:.1f}" y="{y + _ROW - 5:.1f}">{_number(bar.value)}{unit}</text></g>')
    return "".join(parts)


def _legend(series: Sequence[str]) -> str:
    if len(series) < 2:
        return ""
    items = [f'<span><i class="s{i % 6}"></i>{html.escape(name)}</span>' for i, name in enumerate(series)]
    return f'<div class="legend">{"".join(items)}</div>'


def shares(values: Sequence[float], edges: Sequence[float], names: Sequence[str]) -> Mapping[str, Bar]:
    """How `values` spread over the intervals that begin at each of `edges`, in percent of all values."""
    counts = [0] * len(edges)
    for value in values:
        counts[max(index for index, edge in enumerate(edges) if value >= edge)] += 1
    total = len(values) or 1
    return {
        name: Bar(value=100 * count / total, told=f"({count} of {len(values)})")
        for name, count in zip(names, counts, strict=True)
    }


def _number(value: float) -> str:
    return f"{value:.0f}" if math.isclose(value, round(value), abs_tol=1e-9) else f"{value:.1f}"


def _short(name: str) -> str:
    return name if len(name) <= 28 else name[:27] + "…"
