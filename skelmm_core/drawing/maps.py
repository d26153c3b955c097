"""Maps of features, coloured by class, subject or view: still in two dimensions, and in three to be turned."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D

from skelmm_core.drawing import palette
from skelmm_core.drawing.canvas import Picture, picture
from skelmm_core.errors import DataError

# The symbols that plotly has in three dimensions, in the order of `palette.MARKERS`; open ones in the places of those that it hasn't.
IN_SPACE = ("circle", "square", "circle-open", "diamond", "square-open", "cross", "x", "diamond-open")
LAYERS = 12  # in which the points of a map are drawn, each with points of all values; fewer where there are many values
GROUPS = 240  # that points are drawn in at most, values times layers


def map_panels(
    maps: Mapping[str, np.ndarray],
    colourings: Mapping[str, np.ndarray],
    class_names: Sequence[str] = (),
    columns: int = 4,
    title: str = "",
) -> Picture:
    """Every map in every colouring, one legend per colouring outside the panels.

    Args:
        maps: (N, 2) points by name, e.g. ``{"joint": ..., "fused": ...}``.
        colourings: (N,) whole numbers by ``"class"``, ``"subject"`` or ``"view"`` (-1: unknown).
        class_names: names of the classes by number.
        columns: panels in a row, at most.
        title: heading.

    Raises:
        DataError: nothing to draw, or lengths that differ.
    """
    if not maps or not colourings:
        raise DataError(f"a map figure needs at least one map and one colouring, found {len(maps)} and {len(colourings)}")
    for name, points in maps.items():
        _check(points, colourings, name)
    down = -(-len(maps) // columns)
    across = -(-len(maps) // down)  # rows as full as they can be
    pairs = 2 if len(maps) == 1 else 1  # one map: two colourings stand side by side, so that all can be read at a notebook's width
    panel = {1: 3.6, 2: 3.6, 3: 3.0}.get(across, 2.5)  # inches
    wide = [panel * across + _legend_width(kind, np.unique(v), class_names, panel * down) for kind, v in colourings.items()]
    tall = panel * down + 0.35
    with palette.style():
        widths, rows = [max(wide[column::pairs]) for column in range(min(pairs, len(wide)))], -(-len(wide) // pairs)
        figure = picture(sum(widths), tall * rows + 0.3)
        parts = figure.subfigures(rows, len(widths), squeeze=False, width_ratios=widths).ravel()
        for part, (kind, numbers) in zip(parts, colourings.items(), strict=False):  # the last place may stay empty
            _block(part, maps, kind, np.asarray(numbers), across)
            _legend(part, kind, np.unique(numbers), class_names, panel * down)
        if title:
            figure.suptitle(title)
    return figure


def map_space(
    points: np.ndarray,
    colourings: Mapping[str, np.ndarray],
    class_names: Sequence[str] = (),
    names: Sequence[str] | None = None,
    colour: str = "class",
    title: str = "",
) -> go.Figure:
    """A map in three dimensions, by plotly: drag to turn it, hover for class, subject, view and name, click in the legend to hide a group.

    Nine colours and plotly's eight symbols tell 72 classes apart; of more, some look alike.

    Args:
        points: (N, 3), such as principal components; one unit is as long on every axis.
        colourings: (N,) whole numbers by "class", "subject", "view": all are shown on hover.
        class_names: names of the classes by number.
        names: N names of clips.
        colour: the colouring that sets the colours.
        title: heading.
    """
    _check(points, colourings, "map", 3)
    if colour not in colourings:
        raise DataError(f"no colouring '{colour}' among {list(colourings)}")
    lines = [[word(kind, n, class_names) for n in numbers] for kind, numbers in colourings.items()]
    lines += [] if names is None else [list(names)]
    text = ["<br>".join(row) for row in zip(*lines, strict=True)]
    numbers = np.asarray(colourings[colour])
    shapes = dict(zip((name for _, name in palette.MARKERS), itertools.cycle(IN_SPACE)))
    figure, place = go.Figure(), np.round(np.asarray(points), 3).astype(np.float32)
    for number, (shade, _, symbol) in styles(colour, np.unique(numbers)).items():
        rows = np.flatnonzero(numbers == number)
        figure.add_trace(go.Scatter3d(
            x=place[rows, 0], y=place[rows, 1], z=place[rows, 2], mode="markers", name=word(colour, number, class_names),
            marker={"color": shade, "symbol": shapes[symbol], "size": 3},
            text=[text[i] for i in rows], hovertemplate="%{text}<extra></extra>",
        ))  # fmt: skip
    axis = {"title": {"text": ""}, "showticklabels": False, "showspikes": False}
    figure.update_layout(
        template="none", title={"text": title}, height=600, margin={"l": 20, "r": 20, "t": 50, "b": 20}, hoverlabel={"align": "left"},
        scene={"aspectmode": "data", "xaxis": axis, "yaxis": axis, "zaxis": axis},
        legend={"title": {"text": colour}, "font": {"size": 11}, "tracegroupgap": 0, "itemsizing": "constant"},
    )  # fmt: skip
    return figure


def _check(points: np.ndarray, colourings: Mapping[str, np.ndarray], name: str, axes: int = 2) -> None:
    if np.ndim(points) != 2 or np.shape(points)[1] != axes:
        raise DataError(f"map '{name}' must be (N, {axes}), found {np.shape(points)}")
    for kind, numbers in colourings.items():
        if len(numbers) != len(points):
            raise DataError(f"map '{name}' has {len(points)} points, the colouring '{kind}' {len(numbers)} values")


def _mixed(numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Values and the rows (n,) that have them, in the order to draw them: in layers, at random but always alike, so that no value
    covers the others."""
    found = np.unique(numbers)
    layers = max(1, min(LAYERS, GROUPS // max(len(found), 1)))
    for layer in np.array_split(np.random.default_rng(0).permutation(len(numbers)), layers):
        for number in found:
            rows = np.sort(layer[numbers[layer] == number])
            if len(rows):
                yield int(number), rows


def styles(kind: str, found: np.ndarray) -> dict[int, tuple[str, str, str]]:
    """(colour, matplotlib marker, plotly symbol) by number; subjects take the colours in turn, so that a few are far apart."""
    if kind == "subject":
        known = [int(n) for n in found if n >= 0]
        return {int(n): palette.class_style(known.index(n) if n >= 0 else -1) for n in found}
    return {int(n): palette.view_style(int(n)) if kind == "view" else palette.class_style(int(n)) for n in found}


def word(kind: str, number: int, class_names: Sequence[str]) -> str:
    if number < 0:
        return f"{kind} unknown"
    return class_names[number] if kind == "class" and number < len(class_names) else f"{kind} {number}"


def _legend_shape(kind: str, numbers: np.ndarray, class_names: Sequence[str], height: float) -> tuple[int, float]:
    """Columns of a legend that fits into `height` inches, and the width of one column in inches."""
    longest = max(len(word(kind, n, class_names)) for n in numbers)
    return -(-len(numbers) // max(int(height / 0.175), 1)), 0.36 + 0.066 * longest


def _legend_width(kind: str, numbers: np.ndarray, class_names: Sequence[str], height: float) -> float:
    columns, width = _legend_shape(kind, numbers, class_names, height)
    return columns * width + 0.2


def _block(part: SubFigure, maps: Mapping[str, np.ndarray], kind: str, numbers: np.ndarray, across: int) -> None:
    """All maps in one colouring."""
    look = styles(kind, np.unique(numbers))
    panels = part.subplots(-(-len(maps) // across), across, squeeze=False).ravel()
    size = float(np.clip(6000 / max(len(numbers), 1), 4, 26))
    for axes, (name, points) in zip(panels, maps.items(), strict=False):
        for number, rows in _mixed(numbers):
            colour, marker, _ = look[number]
            axes.scatter(*np.asarray(points)[rows].T, s=size, c=colour, marker=marker, linewidths=0.2, edgecolors="white")
        axes.set(xticks=[], yticks=[], title=palette.label(name) if len(maps) > 1 else f"{palette.label(name)}, by {kind}")
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_box_aspect(1)
        axes.spines[:].set(visible=True, color="#CCCCCC")
    for axes in panels[len(maps) :]:
        axes.set_axis_off()


def _legend(part: SubFigure, kind: str, found: np.ndarray, class_names: Sequence[str], height: float) -> None:
    handles = []
    for number, (colour, marker, _) in styles(kind, found).items():
        handles.append(Line2D([], [], ls="", marker=marker, color=colour, ms=5.5, mew=0, label=word(kind, number, class_names)))
    columns, _ = _legend_shape(kind, found, class_names, height)
    spacing = {"handletextpad": 0.2, "columnspacing": 0.8, "labelspacing": 0.3}
    part.legend(handles=handles, loc="outside right center", ncols=columns, title=kind, fontsize=8, **spacing)
