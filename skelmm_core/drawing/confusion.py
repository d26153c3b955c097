"""Which classes are taken for which: the confusion matrix and its largest mistakes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from skelmm_core.drawing import palette
from skelmm_core.drawing.canvas import Picture, picture
from skelmm_core.errors import DataError
from skelmm_core.evaluation.metrics import Mistake, most_confused

ROW = 0.46  # inches of a line in the list of mistakes
WRITTEN = 16  # classes up to which every cell carries its number


def confusion_matrix(matrix: np.ndarray, class_names: Sequence[str], pairs: int = 10, title: str = "") -> Picture:
    """Row-normalised confusion matrix, in percent of each true class, beside the `pairs` most frequent mistakes.

    Args:
        matrix: (C, C) counts, rows the truth, columns the prediction.
        class_names: C names.
        pairs: mistakes listed; 0 leaves that panel out.
        title: heading.

    Raises:
        DataError: not square, or not as many names as classes.
    """
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(class_names) != len(matrix):
        raise DataError(f"a confusion matrix must be (C, C) with C class names, found {matrix.shape} and {len(class_names)} names")
    side = float(np.clip(0.2 * len(matrix) + 2.6, 4.6, 15))
    mistakes = most_confused(matrix, pairs) if pairs else []
    with palette.style():
        figure = picture(side + (5.2 if mistakes else 0.8), side)
        parts = figure.subfigures(1, 1 + bool(mistakes), squeeze=False, width_ratios=(side + 0.8, 4.4)[: 1 + bool(mistakes)]).ravel()
        _matrix(parts[0].subplots(), matrix, class_names, small=len(matrix) > 60)
        if mistakes:
            _mistakes(parts[1].subplots(), mistakes, class_names, rows=side / ROW)
        if title:
            figure.suptitle(title)
    return figure


def _matrix(axes: Axes, matrix: np.ndarray, class_names: Sequence[str], small: bool) -> None:
    total = matrix.sum(axis=1, keepdims=True)
    percent = 100 * matrix / np.maximum(total, 1)  # (C, C)
    image = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
    size = 5 if small else 8
    axes.set_xticks(range(len(matrix)), class_names, rotation=90, fontsize=size)
    axes.set_yticks(range(len(matrix)), class_names, fontsize=size)
    axes.tick_params(length=0)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_xticks(np.arange(len(matrix) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(matrix) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#EEEEEE", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    if len(matrix) <= WRITTEN:
        for row, column in np.argwhere(percent >= 0.5):
            value = percent[row, column]
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color="white" if value > 55 else "#222222")
    axes.figure.colorbar(image, ax=axes, shrink=0.6, aspect=28, pad=0.02, label="share of the true class (%)")


def _mistakes(axes: Axes, mistakes: Sequence[Mistake], class_names: Sequence[str], rows: float) -> None:
    places = np.arange(len(mistakes))
    axes.barh(places, [m.share for m in mistakes], 0.42, color=palette.MODALITY["motion"])
    for place, m in enumerate(mistakes):
        axes.text(0, place - 0.42, f"{class_names[m.truth]} → {class_names[m.prediction]}", fontsize=9, va="center")
        clips = "1 clip" if m.clips == 1 else f"{m.clips} clips"
        axes.annotate(f"{m.share:.0f} %, {clips}", (m.share, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set(ylim=(max(rows - 2, len(mistakes) - 0.4), -0.9), xlim=(0, 1.45 * max(m.share for m in mistakes)), xticks=[], yticks=[])
    axes.set_title("most frequent mistakes: true → predicted,\nshare of the true class", loc="left", fontsize=10)
    axes.spines[["left", "bottom"]].set_visible(False)
