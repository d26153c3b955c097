"""Figures of what a clips file holds: classes, lengths, who was filmed how often, bones, heights, confidence, splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from skelmm_core.audit import Audit, Spread
from skelmm_core.drawing import palette
from skelmm_core.drawing.canvas import Picture, picture

PARTS = {"train": "#332288", "test": "#88CCEE"}  # dark and light: told apart in grey, too
REST = "#BBBBBB"  # clips that are in neither part
PER_COLUMN = 40  # classes
WRITTEN = 25  # rows and columns of a matrix whose cells are written in, at most
LONGEST = 30  # letters of a name
PAIRS = (("subject", "view"), ("subject", "setup"), ("subject", "repetition"), ("subject", "label"))


def class_bars(audit: Audit) -> Picture:
    """Clips of every class, as bars from the top; divided into train and test where the first protocol fits. In columns of `PER_COLUMN`."""
    names, totals = zip(*audit.classes, strict=True)
    part = next((p for p in audit.protocols if not p.problem), None)
    counts = np.array(part.per_class if part else [(n, 0) for n in totals])  # (C, 2)
    rest = np.array(totals) - counts.sum(axis=1)
    columns = -(-len(names) // PER_COLUMN)
    rows = -(-len(names) // columns)
    with palette.style():
        figure = picture(8.5 if columns == 1 else 4.6 * columns, 1.1 + 0.2 * rows)
        for column, axes in enumerate(figure.subplots(1, columns, sharex=True, squeeze=False)[0]):
            chosen = np.arange(column * rows, min((column + 1) * rows, len(names)))
            left = np.zeros(len(chosen))
            for values, colour in ((counts[:, 0], PARTS["train"]), (counts[:, 1], PARTS["test"]), (rest, REST)):
                axes.barh(chosen, values[chosen], 0.8, left=left, color=colour)
                left += values[chosen]
            for place, total in zip(chosen, left, strict=True):
                axes.annotate(f"{total:.0f}", (total, place), (3, 0), textcoords="offset points", va="center", fontsize=7)
            axes.set_yticks(chosen, [_short(names[c]) for c in chosen], fontsize=8)
            axes.set(ylim=((column + 1) * rows - 0.4, column * rows - 0.6), xlabel="clips", xlim=(0, 1.1 * max(totals)))
            axes.tick_params(axis="y", length=0)
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.grid(axis="x")
        if part:
            handles = [Patch(color=colour, label=name) for name, colour in PARTS.items()]
            handles += [Patch(color=REST, label="neither")] * bool(rest.any())
            figure.legend(handles=handles, loc="outside upper center", ncols=3, title=f"protocol {_short(part.protocol, 60)}")
    return figure


def length_histogram(audit: Audit) -> Picture:
    """Clips by their number of frames; seconds above, median and 5th and 95th percentile as lines."""
    edges, counts = (np.array(audit.lengths["histogram"][key]) for key in ("edges", "counts"))
    with palette.style():
        figure = picture(8.5, 3.2)
        axes = figure.subplots()
        axes.stairs(counts, edges, fill=True, color=palette.MODALITY["joint"], alpha=0.75)
        axes.set(xlabel="frames", ylabel="clips", ylim=(0, 1.18 * counts.max()), xlim=(edges[0] - 0.5, edges[-1] + 0.5))
        _quantiles(axes, {text: audit.lengths["quantiles"][q] for q, text in ((5, "5 %"), (50, "median"), (95, "95 %"))})
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_locator(MaxNLocator(9, integer=True))
        above = axes.secondary_xaxis("top", functions=(lambda f: f / audit.frame_rate, lambda s: s * audit.frame_rate))
        above.set_xlabel(f"seconds, at {audit.frame_rate:g} Hz")
    return figure


def telling_pair(columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, str, str] | None:
    """The arguments of `count_matrix` for the first pair of columns (`Clips.columns`) that tells something; None where none does."""
    for row, column in PAIRS:
        if (columns[row] >= 0).any() and len(np.unique(columns[column])) > 1:
            return columns[row], columns[column], row, "class" if column == "label" else column
    return None


def count_matrix(rows: Sequence[int] | np.ndarray, columns: Sequence[int] | np.ndarray, row: str, column: str) -> Picture:
    """How many clips there are of every pair of numbers, e.g. of subject and view; 0 is white.

    Args:
        rows, columns: (N,) the numbers of each clip; -1 is unknown.
        row, column: their names.
    """
    lines, line = np.unique(rows, return_inverse=True)
    stripes, stripe = np.unique(columns, return_inverse=True)
    counts = np.zeros((len(lines), len(stripes)), int)
    np.add.at(counts, (line, stripe), 1)
    if len(lines) > len(stripes):  # wide, not tall
        counts, lines, stripes, row, column = counts.T, stripes, lines, column, row
    few = max(counts.shape) <= WRITTEN
    with palette.style():
        figure = picture(float(np.clip(0.42 * len(stripes) + 2.2, 4, 12)), float(np.clip(0.36 * len(lines) + 1.4, 2.1, 9)))
        axes = figure.subplots()
        image = axes.imshow(np.ma.masked_equal(counts, 0), cmap="Blues", vmin=0, vmax=counts.max(), aspect="auto", interpolation="nearest")
        axes.set(xlabel=column, ylabel=row)
        for axis, values in ((axes.xaxis, stripes), (axes.yaxis, lines)):
            every = -(-len(values) // 40)
            axis.set_ticks(range(0, len(values), every), ["?" if v < 0 else str(v) for v in values[::every]])
        axes.tick_params(length=0)
        if few:
            for (y, x), count in np.ndenumerate(counts):
                shade = "white" if count > 0.6 * counts.max() else "#222222"
                axes.text(x, y, str(count), ha="center", va="center", fontsize=8, color=shade)
        else:
            figure.colorbar(image, ax=axes, label="clips", pad=0.01)
    return figure


def bone_bars(audit: Audit) -> Picture:
    """How much every bone's length varies within a clip: median as bar, line from the 5th to the 95th percentile; by side."""
    spreads = [(name, s) for name, s in audit.bones.items() if s.n]
    return _spread_bars(spreads, 100, "variation of the length within a clip (% of it): median and 90 % of the clips")


def confidence_bars(audit: Audit) -> Picture:
    """The detector's confidence in every joint, mean of a clip: median as bar, line from the 5th to the 95th percentile."""
    return _spread_bars([(name, s) for name, s in audit.confidence.items() if s.n], 1, "confidence: median and 90 % of the clips")


def height_dots(audit: Audit) -> Picture:
    """Height by subject, low to high: median as dot, line from the 5th to the 95th percentile of the subject's clips."""
    known = sorted(((s.median, subject, s) for subject, s in audit.heights.items() if s.n), key=lambda k: k[:2])
    places = np.arange(len(known))
    with palette.style():
        figure = picture(float(np.clip(0.24 * len(known) + 1.5, 8.5, 12)), 3.2)
        axes = figure.subplots()
        axes.vlines(places, [s.low for _, _, s in known], [s.high for _, _, s in known], color=palette.MODALITY["angular_velocity"], lw=2)
        axes.plot(places, [m for m, _, _ in known], "o", color=palette.MODALITY["joint"], ms=5)
        axes.axhline(audit.height.median, color="#555555", lw=1, ls=(0, (5, 3)))
        every = -(-len(known) // 45)
        axes.set_xticks(places[::every], ["unknown" if subject < 0 else str(subject) for _, subject, _ in known][::every], fontsize=8)
        metres = "m" if audit.dimensions == 3 else audit.unit
        axes.set(xlabel="subject, from low to high", ylabel=f"vertical extent ({metres})", xlim=(-0.8, len(known) - 0.2))
        axes.grid(axis="y")
        handles = [
            Line2D([], [], marker="o", ls="", color=palette.MODALITY["joint"], label="median of the subject's clips"),
            Line2D([], [], color=palette.MODALITY["angular_velocity"], lw=2, label="90 % of them"),
            Line2D([], [], color="#555555", lw=1, ls=(0, (5, 3)), label=f"median of all clips, {audit.height.median:.2f} {metres}"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def split_balance(audit: Audit) -> Picture:
    """For every protocol that fits, the share of each class that trains, a dot per class, and of all clips, a line."""
    parts = [p for p in audit.protocols if not p.problem]
    with palette.style():
        figure = picture(8.5, 1.3 + 0.55 * len(parts))
        axes = figure.subplots()
        for place, part in enumerate(parts):
            counts = np.array([c for c in part.per_class if any(c)])
            share = 100 * counts[:, 0] / counts.sum(axis=1)
            jitter = 0.22 * (np.random.default_rng(0).random(len(share)) - 0.5)  # so that equal ones don't hide each other
            axes.plot(share, place + jitter, "o", color=palette.MODALITY["joint"], ms=4, alpha=0.6)
            axes.plot([100 * part.train / (part.train + part.test)] * 2, [place - 0.3, place + 0.3], color="#111111", lw=1, zorder=1)
            words = f"{part.train} | {part.test}" + (f", {len(part.leaks)} LEAK" if part.leaks else "")
            axes.annotate(words, (1, place), (6, 0), axes.get_yaxis_transform(), "offset points", va="center", fontsize=8)
        axes.set_yticks(range(len(parts)), [_short(p.protocol) + (" (own)" if p.own else "") for p in parts])
        axes.set(xlim=(0, 100), ylim=(len(parts) - 0.5, -0.5), xlabel="share of a class that trains (%)")
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        handles = [
            Line2D([], [], marker="o", ls="", ms=4, color=palette.MODALITY["joint"], label="a class"),
            Line2D([], [], color="#111111", lw=1, label="all clips; at the right: train | test"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def _spread_bars(spreads: Sequence[tuple[str, Spread]], times: float, quantity: str) -> Picture:
    sides = {"left": palette.LEFT, "right": palette.RIGHT, "middle": palette.MIDDLE}
    colours = [next((c for side, c in sides.items() if side in name.split()), palette.MIDDLE) for name, _ in spreads]
    places = np.arange(len(spreads))
    low, middle, high = (times * np.array([getattr(s, key) for _, s in spreads]) for key in ("low", "median", "high"))
    with palette.style():
        figure = picture(8.5, 1.1 + 0.21 * len(spreads))
        axes = figure.subplots()
        axes.barh(places, middle, 0.7, color=colours, alpha=0.75)
        axes.hlines(places, low, high, color="#222222", lw=1.2)
        axes.set_yticks(places, [_short(name, 40) for name, _ in spreads], fontsize=8)
        axes.set(ylim=(len(spreads) - 0.4, -0.6), xlabel=quantity, xlim=(0, None))
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        if {palette.LEFT, palette.RIGHT} <= set(colours):
            handles = [Patch(color=colour, alpha=0.75, label=side) for side, colour in sides.items()]
            figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _quantiles(axes: Axes, values: Mapping[str, float]) -> None:
    """Vertical lines with a word each at the top; words that would lie on another one are left out."""
    low, high = axes.get_xlim()
    written = -np.inf
    for text, value in values.items():
        axes.axvline(value, color="#222222", lw=1.1, ls="-" if text == "median" else (0, (3, 2)))
        if value - written > 0.13 * (high - low):
            end = value > low + 0.87 * (high - low)
            place = {"va": "top", "ha": "right" if end else "left", "fontsize": 8}
            axes.annotate(f"{text}: {value:.0f}", (value, 1), (-3 if end else 3, -3), axes.get_xaxis_transform(), "offset points", **place)
            written = value


def _short(name: str, longest: int = LONGEST) -> str:
    """A name that fits."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"
