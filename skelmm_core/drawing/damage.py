"""What damage of the test clips does to accuracy: a panel per kind of damage, a curve per model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from skelmm_core.drawing import palette
from skelmm_core.drawing.ablation import COLOURS, QUANTITY, SHAPES
from skelmm_core.drawing.canvas import Picture, picture
from skelmm_core.errors import DataError
from skelmm_core.evaluation.damage import KINDS

Curve = Mapping[float, Sequence[float]]  # level -> percent, one value per seed
COLUMNS = 3


def damage_curves(curves: Mapping[str, Mapping[str, Curve]], title: str = "", quantity: str = QUANTITY) -> Picture:
    """A panel per kind of damage on one axis of accuracy; the band is one standard deviation over seeds, level 0 undamaged clips.

    Args:
        curves: ``{model: {kind of damage: {level: one value per seed}}}``, kinds as in `evaluation.damage.KINDS`.

    Raises `DataError` where there is no curve, an unknown kind, a curve without levels or a value that is not finite.
    """
    kinds = [kind for kind in KINDS if any(kind in by_kind for by_kind in curves.values())]
    unknown = sorted({kind for by_kind in curves.values() for kind in by_kind} - set(KINDS))
    found = [curve for by_kind in curves.values() for curve in by_kind.values()]
    if unknown or not found or not all(len(curve) and all(len(v) and np.isfinite(v).all() for v in curve.values()) for curve in found):
        raise DataError(f"damage curves need finite values at the levels of known kinds ({', '.join(KINDS)}), found others or none")
    rows = -(-len(kinds) // COLUMNS)
    columns = min(COLUMNS, len(kinds))
    with palette.style():
        figure = picture(1.2 + 3.4 * columns, 1.1 + 2.6 * rows)
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for axes, kind in zip(panels.ravel(), kinds, strict=False):
            for number, (name, by_kind) in enumerate(curves.items()):
                if kind in by_kind:
                    _curve(axes, by_kind[kind], number, name)
            levels = sorted({level for by_kind in curves.values() for level in by_kind.get(kind, {})})
            axes.set_xticks(range(len(levels)), [f"{level:g}" if level else "none" for level in levels])
            axes.set(xlabel=KINDS[kind].text, ylim=(0, 100))
            axes.grid(axis="y")
        for axes in panels.ravel()[len(kinds) :]:
            axes.remove()
        figure.supylabel(quantity, fontsize=10)
        handles, labels = panels[0, 0].get_legend_handles_labels()
        several = any(len(values) > 1 for curve in found for values in curve.values())
        figure.legend(
            handles, labels, loc="outside lower center", ncols=4, title="band: ± standard deviation over seeds" if several else None
        )
        if title:
            figure.suptitle(title)
    return figure


def _curve(axes: Axes, curve: Curve, number: int, name: str) -> None:
    """Levels stand at equal distances: they grow by factors, and start at none."""
    values = [np.asarray(curve[level], float) for level in sorted(curve)]
    mean = np.array([v.mean() for v in values])
    spread = np.array([v.std(ddof=1) if len(v) > 1 else 0.0 for v in values])
    colour = (palette.MODALITY | palette.OTHERS).get(name, COLOURS[number % len(COLOURS)])
    place = np.arange(len(values))
    if spread.any():
        axes.fill_between(place, mean - spread, mean + spread, color=colour, alpha=0.18, lw=0)
    axes.plot(
        place, mean, marker=SHAPES[number % len(SHAPES)], color=colour, lw=1.8, ms=5.5, mec="white", mew=0.6, label=palette.label(name)
    )
