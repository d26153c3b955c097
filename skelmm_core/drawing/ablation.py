"""Figures of ablations: rows of dots over seeds, subsets of modalities as a matrix with Shapley values, differences with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from skelmm_core.drawing import palette
from skelmm_core.drawing.canvas import Picture, picture
from skelmm_core.errors import DataError
from skelmm_core.evaluation.paired import Paired

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe & Ito
SHAPES = ("o", "s", "^", "D", "v", "P")
QUANTITY = "accuracy on the test split (%)"


def dots(
    series: Mapping[str, Mapping[str, Sequence[float]]],
    title: str = "",
    quantity: str = QUANTITY,
    references: Mapping[str, float] | None = None,
    columns: Mapping[str, Mapping[str, str]] | None = None,
) -> Picture:
    """A row per recipe: the mean in colour with one standard deviation to either side, and a small ring per seed.

    Args:
        series: ``{series: {row: one value per seed}}``, each series with a colour and shape of its own; a row may lack in a series.
        references: vertical lines, as ``{"untrained encoders": 70.1}``.
        columns: texts beside the rows, as ``{"GFLOP": {"teacher": "7.4"}}``.

    Raises `DataError` where there is no row or a value is not finite.
    """
    rows = list(dict.fromkeys(row for values in series.values() for row in values))
    if not rows or not all(len(v) and np.isfinite(v).all() for values in series.values() for v in values.values()):
        raise DataError("dots need at least one row, and finite values for each, found none or others")
    with palette.style():
        figure = picture(8.5, 1.5 + (0.3 + 0.13 * len(series)) * len(rows))
        if columns:
            axes, beside = figure.subplots(1, 2, sharey=True, width_ratios=(1, 0.16 * len(columns)))
        else:
            axes = figure.subplots()
        for number, (name, values) in enumerate(series.items()):
            colour, shape = COLOURS[number % len(COLOURS)], SHAPES[number % len(SHAPES)]
            for row, found in values.items():
                y = rows.index(row) + (number + 0.5 - len(series) / 2) * 0.7 / len(series)
                mean, spread = float(np.mean(found)), float(np.std(found, ddof=1)) if len(found) > 1 else 0.0
                axes.plot((mean - spread, mean + spread), (y, y), "-", color=colour, lw=1.6, alpha=0.6)
                axes.plot(mean, y, shape, color=colour, ms=7.5, mec="white", mew=0.8)
                axes.plot(found, [y] * len(found), "o", color="white", ms=3.2, mec="#333333", mew=0.8)
            axes.plot([], [], shape, color=colour, ms=7, label=name or "mean")
        axes.plot([], [], "o", color="white", ms=3.2, mec="#333333", mew=0.8, label="each seed; line: ± standard deviation")
        for number, (text, value) in enumerate((references or {}).items()):
            axes.axvline(value, color="#555555", lw=1.2, ls=("--", ":", "-.")[number % 3], zorder=0.5, label=f"{text}: {value:.1f}")
        axes.set_yticks(range(len(rows)), [palette.label(row) for row in rows])
        axes.tick_params(axis="y", length=0)
        axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel=quantity)
        axes.margins(x=0.06)
        axes.grid(axis="x")
        for number, (name, texts) in enumerate(columns.items() if columns else ()):
            at = (number + 0.9) / len(columns or ())
            beside.text(at, 1.01, name, transform=beside.transAxes, ha="right", va="bottom", fontsize=9)
            for row, text in texts.items():
                beside.text(at, rows.index(row), text, transform=beside.get_yaxis_transform(), ha="right", va="center", fontsize=9)
            beside.axis("off")
        figure.legend(loc="outside lower center", ncols=3)
        if title:
            figure.suptitle(title)
    return figure


def subset_matrix(
    values: Mapping[tuple[str, ...], Sequence[float]], shapley: Mapping[str, Sequence[float]], count: int = 10, title: str = ""
) -> Picture:
    """The best and the worst subsets of modalities as columns of a matrix (as UpSet draws sets; Lex et al. 2014), and, on the right, the
    Shapley value of each modality: what it adds on average over all orders in which they may join.

    Args:
        values: subset -> percent, one per seed; of more than 2 `count`, the `count` best and worst are drawn.
        shapley: modality -> points, one per seed.

    Raises `DataError` where there is nothing to draw.
    """
    if not values or not shapley:
        raise DataError("a matrix of subsets needs at least one subset and the modalities' Shapley values, found none")
    ranked = sorted(values, key=lambda names: -float(np.mean(values[names])))
    shown = ranked if len(ranked) <= 2 * count else [*ranked[:count], None, *ranked[-count:]]
    names = list(shapley)
    with palette.style():
        figure = picture(10.5, 5.4)
        (above, corner), (matrix, bars) = figure.subplots(2, 2, height_ratios=(3, 2.4), width_ratios=(2.6, 1))
        corner.axis("off")
        for x, chosen in enumerate(shown):
            if chosen is None:
                gap = f"{len(ranked) - 2 * count} between"
                above.text(x, 0.5, gap, transform=above.get_xaxis_transform(), rotation=90, ha="center", va="center", color="#555555")
                continue
            found = values[chosen]
            mean, spread = float(np.mean(found)), float(np.std(found, ddof=1)) if len(found) > 1 else 0.0
            above.plot((x, x), (mean - spread, mean + spread), "-", color="#333333", lw=1.4)
            above.plot(x, mean, "o", color="#333333", ms=6)
            places = [names.index(n) for n in chosen]
            matrix.plot([x] * len(names), range(len(names)), "o", color="#DDDDDD", ms=7, mew=0)
            matrix.plot((x, x), (min(places), max(places)), "-", color="#999999", lw=1.6, zorder=1)
            for place, name in zip(places, chosen, strict=True):
                matrix.plot(x, place, "o", color=palette.modality_colour(name), ms=9, mew=0)
        above.set(xlim=(-0.7, len(shown) - 0.3), xticks=[], ylabel="accuracy (%)")
        above.grid(axis="y")
        above.set_title(f"late fusion of {len(ranked)} subsets: the best and the worst")
        matrix.set(xlim=(-0.7, len(shown) - 0.3), xticks=[], ylim=(len(names) - 0.4, -0.6))
        matrix.set_yticks(range(len(names)), [palette.label(n) for n in names])
        matrix.tick_params(axis="y", length=0)
        for spine in matrix.spines.values():
            spine.set_visible(False)
        for y, name in enumerate(names):
            found = shapley[name]
            bars.barh(y, np.mean(found), 0.7, color=palette.modality_colour(name))
            bars.plot(found, [y] * len(found), "o", color="#222222", ms=3.5, mew=0)
        bars.axvline(0, color="#555555", lw=0.8)
        bars.set(ylim=(len(names) - 0.4, -0.6), yticks=[], xlabel="Shapley value (points)")
        bars.grid(axis="x")
        if title:
            figure.suptitle(title)
    return figure


def differences(found: Mapping[str, Paired], title: str = "", quantity: str = "difference to the recipe (points)") -> Picture:
    """Mean differences over the same seeds, each with its 95 % interval; an interval that leaves the axis ends in an arrow.

    Raises `DataError` where there is none.
    """
    if not found:
        raise DataError("a figure of differences needs at least one, found none")
    rows = list(found)
    reach = 0.5 + 2.7 * max(max(abs(p.mean) + (0.0 if np.isnan(p.deviation) else p.deviation), 0.5) for p in found.values())
    with palette.style():
        figure = picture(8.5, 1.4 + 0.42 * len(rows))
        axes = figure.subplots()
        axes.axvline(0, color="#555555", lw=1)
        for y, p in enumerate(found.values()):
            apart = not np.isnan(p.low) and (p.low > 0 or p.high < 0)
            colour = "#D55E00" if apart else "#0072B2"
            if not np.isnan(p.low):
                low, high = max(p.low, -reach), min(p.high, reach)
                axes.plot((low, high), (y, y), "-", color=colour, lw=1.8)
                if p.low < -reach:
                    axes.plot(-0.985 * reach, y, "<", color=colour, ms=7, mew=0)
                if p.high > reach:
                    axes.plot(0.985 * reach, y, ">", color=colour, ms=7, mew=0)
            axes.plot(p.mean, y, "s" if apart else "o", color=colour, ms=7.5, mec="white", mew=0.8)
            axes.text(1.02, y, f"{p.mean:+.1f}", transform=axes.get_yaxis_transform(), va="center", fontsize=9)
        axes.plot([], [], "o-", color="#0072B2", label="95 % interval holds 0")
        axes.plot([], [], "s-", color="#D55E00", label="95 % interval is apart from 0")
        axes.set_yticks(range(len(rows)), [palette.label(row) for row in rows])
        axes.tick_params(axis="y", length=0)
        axes.set(xlim=(-reach, reach), ylim=(len(rows) - 0.5, -0.5), xlabel=quantity)
        axes.grid(axis="x")
        figure.legend(loc="outside lower center", ncols=2)
        if title:
            figure.suptitle(title)
    return figure
