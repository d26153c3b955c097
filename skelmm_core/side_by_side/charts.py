"""Charts as HTML and SVG in the page's own text colour, light or dark: bars in a table, a map of signed cells, a reliability curve.

Blue and orange (Okabe & Ito 2008) can be told apart with every common form of colour blindness; every sign is written, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from skelmm_core.evaluation.calibration import Calibration

LESS, MORE = "#0072b2", "#e08000"
COLOURS = ("#3b93d0", "#e08000", "#1aa57e", "#c87fb0", "#b0a000", "#8a8a8a")  # of runs, readable on white and on black
WRITTEN = 40  # classes up to which cells carry their number
STYLE = """
.wide { overflow-x: auto } svg { max-width: none; font: 11px system-ui, sans-serif } svg text { fill: currentColor }
table.bars td, table.bars th { padding: .12rem .7rem .12rem 0; white-space: nowrap; vertical-align: middle; border-bottom: 0 }
table.bars thead th { border-bottom: 1px solid var(--line) }
.track { display: inline-block; width: 7.5rem; height: .7rem; background: var(--soft); position: relative; vertical-align: middle;
  border-radius: 2px }
.track i { position: absolute; top: 0; bottom: 0; border-radius: 2px } .track b { position: absolute; top: -2px; bottom: -2px; left: 50%;
  width: 1px; background: currentColor; opacity: .5 }
.value { display: inline-block; min-width: 3.3rem; text-align: right; font-variant-numeric: tabular-nums }
.key { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px; vertical-align: -1px; margin-right: .35rem }
.right { font-weight: 600 } .wrong { opacity: .75 }
td.named { overflow-wrap: anywhere; min-width: 7rem }
details { margin: .5rem 0 } details > summary { padding: .15rem 0 }
"""


def bar(percent: float, colour: str) -> str:
    """A bar of 0 to 100 percent with its value before it; a dash for NaN."""
    if np.isnan(percent):
        return '<span class="value">–</span>'
    fill = f'<i style="left:0;width:{percent:.1f}%;background:{colour}"></i>'
    return f'<span class="value">{percent:.1f}</span> <span class="track">{fill}</span>'


def signed(points: float, reach: float) -> str:
    """A bar to the left or right of 0, up to `reach` points, with its signed value."""
    if np.isnan(points):
        return '<span class="value">–</span>'
    wide = 50 * min(abs(points) / max(reach, 1e-9), 1)
    fill = f'<i style="left:{50 - wide if points < 0 else 50:.1f}%;width:{wide:.1f}%;background:{LESS if points < 0 else MORE}"></i>'
    return f'<span class="value">{minus(points)}</span> <span class="track">{fill}<b></b></span>'


def minus(value: float, digits: int = 1) -> str:
    """A number with its sign as it is printed: −3.5, +2.0, 0.0."""
    text = f"{value:+.{digits}f}"
    return text.replace("-", "−") if float(text) else text[1:]


def cells(matrix: np.ndarray, names: Sequence[str], label: str) -> str:
    """Signed whole numbers (C, C), rows the true class, columns the predicted one; cells of 0 stay empty, those on the diagonal are framed.

    names: C, as text. label: what the chart shows, for readers that can't see it.
    """
    count = len(names)
    size, letters = (22, 11) if count <= WRITTEN else (13, 9)
    left = top = 14 + round(0.56 * letters * min(max(map(len, names)), 28))
    wide, high = left + size * count + 8, top + size * count + 8
    most = max(int(np.abs(matrix).max()), 1)
    short = [name if len(name) <= 28 else f"{name[:27]}…" for name in names]
    parts = [f'<svg role="img" aria-label="{escape(label)}" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}">']
    parts.append(f'<g style="font-size:{letters}px">')
    for i, name in enumerate(short):
        middle = top + size * (i + 0.5) + letters * 0.35
        parts.append(f'<text x="{left - 6}" y="{middle:.1f}" text-anchor="end">{escape(name)}</text>')
        x = left + size * (i + 0.5) + letters * 0.35
        parts.append(f'<text transform="translate({x:.1f} {top - 6}) rotate(-90)">{escape(name)}</text>')
    for i, side in [*((i, size) for i in range(count)), (0, size * count)]:
        x, y = left + size * i, top + size * i
        parts.append(f'<rect x="{x}" y="{y}" width="{side}" height="{side}" fill="none" stroke="currentColor" opacity=".35"/>')
    for row, column in np.argwhere(matrix):
        value = int(matrix[row, column])
        shade = 0.2 + 0.55 * abs(value) / most
        x, y, colour = left + size * column, top + size * row, LESS if value < 0 else MORE
        told = f"{names[row]} → {names[column]}: {minus(value, 0)}"
        parts.append(f"<g><title>{escape(told)}</title>")
        parts.append(f'<rect x="{x}" y="{y}" width="{size}" height="{size}" fill="{colour}" fill-opacity="{shade:.2f}"/>')
        if count <= WRITTEN:
            parts.append(f'<text x="{x + size / 2}" y="{y + size / 2 + 4}" text-anchor="middle">{minus(value, 0)}</text>')
        parts.append("</g>")
    parts.append("</g></svg>")
    return f'<div class="wide">{"".join(parts)}</div>'


def reliability(found: Sequence[tuple[str, Calibration]]) -> str:
    """Accuracy over confidence, both in percent, a line for each run (name, as text); larger dots hold more clips."""
    side, left, top = 300, 52, 12
    wide, high = left + side + 20, top + side + 46

    def at(x: float, y: float) -> tuple[float, float]:
        return left + side * x / 100, top + side * (1 - y / 100)

    parts = [f'<svg role="img" aria-label="reliability curve" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}">']
    for tick in range(0, 101, 20):
        x, y = at(tick, tick)
        parts.append(f'<path d="M{x} {top}V{top + side}M{left} {y}H{left + side}" stroke="currentColor" opacity=".15"/>')
        parts.append(f'<text x="{x}" y="{top + side + 16}" text-anchor="middle">{tick}</text>')
        parts.append(f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{tick}</text>')
    (x0, y0), (x1, y1) = at(0, 0), at(100, 100)
    parts.append(f'<path d="M{x0} {y0}L{x1} {y1}" stroke="currentColor" stroke-dasharray="5 4" opacity=".7"/>')
    parts.append(f'<text x="{left + side / 2}" y="{high - 8}" text-anchor="middle">confidence (%)</text>')
    parts.append(f'<text transform="translate(14 {top + side / 2}) rotate(-90)" text-anchor="middle">accuracy (%)</text>')
    for number, (name, c) in enumerate(found):
        there = np.flatnonzero(c.clips)
        points = [at(c.confidence[b], c.accuracy[b]) for b in there]
        colour = COLOURS[number % len(COLOURS)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        for b, (x, y) in zip(there, points, strict=True):
            radius = 2 + 6 * (c.clips[b] / c.clips.max()) ** 0.5
            told = f"{name}: {c.clips[b]} clips, confidence {c.confidence[b]:.0f} %, {c.accuracy[b]:.0f} % right"
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}"><title>{escape(told)}</title></circle>')
    parts.append("</svg>")
    return f'<div class="wide">{"".join(parts)}</div>'


def key(names: Sequence[str]) -> str:
    """Which colour is which run's; names are text."""
    spans = (
        f'<span style="margin-right:1.2rem"><i class="key" style="background:{COLOURS[n % len(COLOURS)]}"></i>{escape(name)}</span>'
        for n, name in enumerate(names)
    )
    return f"<p>{''.join(spans)}</p>"
