"""Training curves per modality: loss, similarities, learning rate, and what a `watching.Watch` has measured on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from skelmm_core.drawing import palette
from skelmm_core.drawing.canvas import Picture, picture
from skelmm_core.errors import DataError

PANELS = {"loss": "loss (nats)", "positive": "similarity to positives (cosine)", "negative": "similarity to negatives (cosine)"}
WATCHED = {
    "alignment": "alignment (squared distance)", "uniformity": "uniformity (log mean exp -2d²)",
    "rank": "effective rank (directions)", "knn": "kNN on training clips (%)",
}  # fmt: skip
Log = Sequence[Mapping[str, object]] | Mapping[str, Sequence[float]]


def training_curves(
    log: Log,
    references: Mapping[str, float] | None = None,
    marks: Mapping[str, float] | None = None,
    title: str = "",
    watched: Log = (),
) -> Picture:
    """Four panels over epochs: loss, positive and negative similarity (cosine), learning rate; nine where somebody watched: alignment,
    uniformity, effective rank, kNN beside chance, clips per second, too.

    Args:
        log: rows as in a stage's ``log.csv`` or a table of columns: ``epoch``, ``lr`` and, per modality, ``loss/<name>``,
            ``positive/<name>``, ``negative/<name>``; a value that is missing or empty leaves a gap.
        references: horizontal lines in the loss panel, e.g. ``{"log(1 + K)": math.log1p(K)}``, the loss of knowing nothing.
        marks: vertical lines by epoch, e.g. ``{"exchange": 151}``.
        title: heading.
        watched: records of a watch (`watching.read`), with ``epoch`` and, per modality, ``<what>/<name>``.

    Raises:
        DataError: no row, no ``epoch``, or no ``loss/<name>``.
    """
    table = columns(log)
    names = [key.removeprefix("loss/") for key in table if key.startswith("loss/")]
    if "epoch" not in table or not len(table["epoch"]) or not names:
        raise DataError(f"a training log needs rows with 'epoch' and 'loss/<modality>', found the columns {sorted(table)}")
    looks = columns(watched)
    with palette.style():
        figure = picture(12.5, 8) if looks else picture(11, 6.2)
        panels = figure.subplots(3, 3, sharex=True).ravel() if looks else figure.subplots(2, 2, sharex=True).ravel()
        for source, kinds in ((table, PANELS), (looks, WATCHED if looks else {})):
            for axes, (kind, text) in zip(panels[0 if source is table else 3 :], kinds.items(), strict=False):
                for number, name in enumerate(names):
                    if f"{kind}/{name}" in source:
                        colour = palette.series_colour(name, number)
                        _line(axes, source["epoch"], source[f"{kind}/{name}"], colour, palette.label(name))
                axes.set_ylabel(text)
        rate = panels[7] if looks else panels[3]
        for text, value in (references or {}).items():
            panels[0].axhline(value, color="#555555", lw=1.2, ls=(0, (5, 3)), label="_reference")
            right = panels[0].get_yaxis_transform()  # across the panel, at a loss
            panels[0].annotate(f"{text} = {value:.2f}", (1, value), (0, 2), right, "offset points", ha="right", fontsize=9)
        if "lr" in table:
            _line(rate, table["epoch"], table["lr"], "#333333", "learning rate")
        rate.set(ylabel="learning rate", ylim=(0, None))
        if looks:
            _line(panels[8], looks["epoch"], looks["clips_per_second"], "#333333", "throughput")
            panels[8].set(ylabel="throughput (clips/s)", ylim=(0, 1.1 * np.nanmax([1, *looks["clips_per_second"]])))
            panels[6].axhline(looks["chance"][-1], color="#555555", lw=1.2, ls=(0, (5, 3)), label="_chance")
            panels[6].annotate("most frequent class", (1, looks["chance"][-1]), (0, 2), panels[6].get_yaxis_transform(), "offset points",
                               ha="right", fontsize=9)  # fmt: skip
        for axes in panels:
            axes.grid(axis="y")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            for text, epoch in (marks or {}).items():
                axes.axvline(epoch, color="#999999", lw=1, ls=":", label="_mark")
                if axes is panels[0]:
                    axes.text(epoch, 1, text, transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=9)
        for axes in panels[-3 if looks else -2 :]:
            axes.set_xlabel("epoch")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(names), 6))
        if title:
            figure.suptitle(title)
    return figure


def columns(log: Log) -> dict[str, np.ndarray]:
    """Rows or columns as float columns of one length, NaN where a row has no number."""
    if isinstance(log, Mapping):
        return {key: np.array([_number(v) for v in values]) for key, values in log.items()}
    keys = list(dict.fromkeys(key for row in log for key in row))
    return {key: np.array([_number(row.get(key)) for row in log]) for key in keys}


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")


def _line(axes: Axes, x: np.ndarray, y: np.ndarray, colour: str, name: str) -> None:
    axes.plot(x, y, color=colour, label=name, marker="o" if len(x) < 30 else "", ms=3.5)
