"""Accuracies as bars beside what they must be compared with: raw coordinates, an untrained encoder, chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from skelmm_core.drawing import palette
from skelmm_core.drawing.canvas import Picture, picture
from skelmm_core.errors import DataError

Values = float | Sequence[float]
HALO = [withStroke(linewidth=3.4, foreground="white")]  # dark marks stay readable on dark bars
PLATE = {"edgecolor": "none", "pad": 1.2}
LABEL = 14  # percent of the axis that a value and its spread take, roughly
DASHES = ("--", ":", "-.", (0, (8, 2, 1, 2, 1, 2)))


def accuracy_bars(
    results: Mapping[str, Values] | Mapping[str, Mapping[str, Values]],
    references: Mapping[str, float | Mapping[str, float]] | None = None,
    title: str = "",
    quantity: str = "accuracy on the test split (%)",
) -> Picture:
    """Horizontal bars in percent, in the order given, each with its value; error bars are one standard deviation over seeds.

    Args:
        results: ``{bar: value or one value per seed}``, or ``{series: {bar: ...}}`` for bars side by side.
        references: lines across all bars (``{"raw 1-NN": 82.3, "chance": 3.7}``), or a tick at each bar where the
            reference differs by bar (``{"untrained encoder": {"joint": 47.4, ...}}``).
        title: heading.
        quantity: label of the axis.

    Raises:
        DataError: no bar, a bar without a value, or a value outside 0..100.
    """
    nested = any(isinstance(value, Mapping) for value in results.values())
    given: Any = results if nested else {"": results}
    series = {name: {bar: _seeds(bar, v) for bar, v in bars.items()} for name, bars in given.items()}
    names = list(dict.fromkeys(bar for bars in series.values() for bar in bars))
    if not names:
        raise DataError("accuracy bars need at least one result, found none")
    thick = 0.8 / len(series)
    with palette.style():
        figure = picture(8.5, 1.6 + 0.42 * len(names) * max(1.0, 0.62 * len(series)))
        axes = figure.subplots()
        by_bar = [value for value in (references or {}).values() if isinstance(value, Mapping)]
        for number, bars in enumerate(series.values()):
            for bar, values in bars.items():
                place = names.index(bar) - 0.4 + thick * (number + 0.5)
                error = values.std(ddof=1) if len(values) > 1 else None
                colour = _tint(palette.series_colour(bar, names.index(bar)), 0.55 * number / max(len(series) - 1, 1))
                axes.barh(place, values.mean(), 0.92 * thick, color=colour)
                if error is not None:
                    ends = (values.mean() - error, values.mean() + error)
                    axes.plot(ends, (place, place), "|-", color="#222222", lw=1.3, ms=7, mew=1.3, path_effects=HALO, label="_error")
                text = f"{values.mean():.1f}" if error is None else f"{values.mean():.1f} ± {error:.1f}"
                low, high = values.mean() - (error or 0), values.mean() + (error or 0)
                inside = low > LABEL and any(high - 1 < ticks[bar] < high + LABEL for ticks in by_bar if bar in ticks)
                end, away, side = (low, -6, "right") if inside else (high, 6, "left")  # a value beside a tick would be taken for the tick's
                axes.annotate(
                    text, (end, place), (away, 0), textcoords="offset points", ha=side, va="center", fontsize=9,
                    bbox=PLATE | {"facecolor": figure.get_facecolor()},
                    zorder=5,  # in front of a tick, where the bar is too short for its value, and of lines across all bars
                )  # fmt: skip
        handles: list[Artist] = [
            Patch(color=_tint("#444444", 0.55 * n / max(len(series) - 1, 1)), label=name) for n, name in enumerate(series) if name
        ]
        for number, (text, value) in enumerate((references or {}).items()):
            handles.append(_reference(axes, names, text, value, DASHES[number % len(DASHES)]))
        axes.set_yticks(range(len(names)), [palette.label(name) for name in names])
        axes.tick_params(axis="y", length=0)
        axes.set(xlim=(0, 116), ylim=(len(names) - 0.4, -0.6), xlabel=quantity, xticks=range(0, 101, 20))
        axes.grid(axis="x")
        if handles:
            figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 3))
        if title:
            figure.suptitle(title)
    return figure


def _seeds(bar: str, value: Values) -> np.ndarray:
    values = np.atleast_1d(np.asarray(value, dtype=float))
    if not values.size or not ((values >= 0) & (values <= 100)).all():
        raise DataError(f"accuracy of '{bar}' must be percent in 0..100, at least one value, found {values.tolist()}")
    return values


def _reference(axes: Axes, names: list[str], text: str, value: float | Mapping[str, float], dashes: Any) -> Line2D:
    if not isinstance(value, Mapping):
        return axes.axvline(value, color="#111111", lw=1.3, ls=dashes, zorder=0.5, label=f"{text} {value:.1f}")
    places = [names.index(bar) for bar in value if bar in names]
    values = [value[names[p]] for p in places]
    (line,) = axes.plot(values, places, "|", color="#111111", ms=17, mew=2, zorder=4, path_effects=HALO, label=text)
    return line


def _tint(colour: str, share: float) -> tuple[float, float, float]:
    """The colour with a share of white."""
    red, green, blue = (c + (1 - c) * share for c in to_rgb(colour))
    return red, green, blue
