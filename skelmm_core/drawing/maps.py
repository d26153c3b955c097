"""Maps of features, coloured by class, subject or view: still in two dimensions, and in three to be turned."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D

from skelmm_core.drawing import choices, palette
from skelmm_core.drawing.canvas import Picture, picture
from skelmm_core.errors import DataError

# The symbols that plotly has in three dimensions, in the order of `palette.MARKERS`; open ones in the places of those that it hasn't.
IN_SPACE = ("circle", "square", "circle-open", "diamond", "square-open", "cross", "x", "diamond-open")
WIDEST, LINE = 11.0, 0.175  # inches of a figure that can be read at a notebook's width, where its maps leave a choice; of a legend's line
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
        DataError: nothing to draw, lengths that differ, places that aren't finite, or values that are no whole numbers.
        SettingsError: maps or colourings without names, or `columns` is no whole number from 1 on.
    """
    maps, colourings = choices.by_name("maps", maps, "(N, 2) points"), _colourings(colourings)
    if not maps or not colourings:
        raise DataError(f"a map figure needs at least one map and one colouring, found {len(maps)} and {len(colourings)}")
    maps = {name: _checked(points, colourings, name) for name, points in maps.items()}
    class_names = choices.words("class_names", class_names, "names of the classes by number")
    columns = choices.whole("columns", columns, "1 panel or more", 1)
    down = -(-len(maps) // columns)
    across = -(-len(maps) // down)  # rows as full as they can be
    panel = {1: 3.6, 2: 3.6, 3: 3.0}.get(across, 2.5)  # inches
    blocks = [_Block(kind, values, class_names, panel * across, panel * down) for kind, values in colourings.items()]
    rows = [[blocks[0]]]
    for block in blocks[1:]:  # beside each other where there is room, so that all can be read at a notebook's width
        beside = sum(other.width for other in rows[-1]) + block.width <= WIDEST
        rows[-1].append(block) if beside else rows.append([block])
    width, heights = max(sum(block.width for block in row) for row in rows), [max(block.height for block in row) for row in rows]
    with palette.style():
        figure = picture(width, sum(heights) + 0.3)
        bands = figure.subfigures(len(rows), 1, squeeze=False, height_ratios=heights).ravel()
        for band, row in zip(bands, rows, strict=True):
            widths = [block.width for block in row]
            widths += [width - sum(widths)] * (width - sum(widths) > 0.1)  # what is left stays empty
            for part, block in zip(band.subfigures(1, len(widths), squeeze=False, width_ratios=widths).ravel(), row, strict=False):
                _panels(part, maps, block.kind, block.numbers, across)
                block.legend(part)
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
    axes: str = "axis",
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
        axes: what the axes are called before their numbers: "PC" for "PC 1", "PC 2" and "PC 3", "t-SNE" for places by t-SNE.

    Raises `DataError` as `map_panels`, and where `colour` is none of the colourings; `SettingsError` for names that aren't N words.
    """
    colourings = _colourings(colourings)
    points = _checked(points, colourings, "map", 3)
    if colour not in colourings:
        raise DataError(f"no colouring '{colour}' among {list(colourings)}")
    class_names = choices.words("class_names", class_names, "names of the classes by number")
    lines = [[word(kind, n, class_names) for n in numbers] for kind, numbers in colourings.items()]
    lines += [] if names is None else [choices.words("names", names, "one for each point", len(points))]
    text = ["<br>".join(row) for row in zip(*lines, strict=True)]
    numbers = colourings[colour]
    shapes = dict(zip((name for _, name in palette.MARKERS), itertools.cycle(IN_SPACE)))
    figure, place = go.Figure(), np.round(points, 3).astype(np.float32)
    for number, (shade, _, symbol) in styles(colour, np.unique(numbers)).items():
        rows = np.flatnonzero(numbers == number)
        figure.add_trace(go.Scatter3d(
            x=place[rows, 0], y=place[rows, 1], z=place[rows, 2], mode="markers", name=word(colour, number, class_names),
            marker={"color": shade, "symbol": shapes[symbol], "size": 5},
            text=[text[i] for i in rows], hovertemplate="%{text}<extra></extra>",
        ))  # fmt: skip
    scene = {
        f"{axis}axis": {"title": {"text": f"{axes} {number}", "font": {"size": 12}}, "showticklabels": False, "showspikes": False}
        for number, axis in enumerate("xyz", 1)
    }
    figure.update_layout(
        template="none", title={"text": title}, height=640, margin={"l": 10, "r": 10, "t": 50, "b": 10}, hoverlabel={"align": "left"},
        scene={"aspectmode": "data", "camera": {"eye": {"x": 2.05, "y": 2.05, "z": 1.5}}, **scene},  # far: axes' names are seen
        legend={  # below, where a narrow page has room, too
            "title": {"text": colour, "side": "top"}, "font": {"size": 11}, "tracegroupgap": 0, "itemsizing": "constant",
            "orientation": "h", "x": 0, "y": 0, "yanchor": "top",
        },
    )  # fmt: skip
    return figure


def _colourings(given: Any) -> dict[str, np.ndarray]:
    """Colourings as arrays of whole numbers."""
    expected = "whole numbers, -1 where unknown"
    found = {}
    for kind, numbers in choices.by_name("colourings", given, "(N,) whole numbers").items():
        values = choices.array(f"the colouring '{kind}'", numbers, expected, "biufUOS")
        if values.ndim != 1 or (len(values) and values.dtype.kind not in "iu"):
            raise DataError(f"the colouring '{kind}' must be {expected}; found {values.dtype} of shape {values.shape}")
        found[kind] = values.astype(int)
    return found


def _checked(given: Any, colourings: Mapping[str, np.ndarray], name: str, axes: int = 2) -> np.ndarray:
    """The points of a map as an array."""
    points = choices.array(f"map '{name}'", given, f"(N, {axes}) numbers")
    if points.ndim != 2 or points.shape[1] != axes or not len(points):
        raise DataError(f"map '{name}' must be (N, {axes}), with at least one point; found {points.shape}")
    lost = np.flatnonzero(~np.isfinite(points.astype(np.float64)).all(axis=1))
    if len(lost):
        first = f"first number {lost[0]}: {points[lost[0]]}"
        raise DataError(f"map '{name}' has {len(lost)} of {len(points)} points that are nowhere, {first}")
    for kind, numbers in colourings.items():
        if len(numbers) != len(points):
            raise DataError(f"map '{name}' has {len(points)} points, the colouring '{kind}' {len(numbers)} values")
    return points


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


class _Block:
    """Room for all maps in one colouring, `width` and `height` in inches, with its legend on the right, or below where it is too wide."""

    def __init__(self, kind: str, numbers: np.ndarray, class_names: Sequence[str], wide: float, high: float):
        self.kind, self.numbers, self.found, self.class_names = kind, numbers, np.unique(numbers), class_names
        column = 0.36 + 0.066 * max(len(word(kind, n, class_names)) for n in self.found)
        self.columns = -(-len(self.found) // max(int(high / LINE), 1))
        self.width, self.height, self.below = wide + self.columns * column + 0.2, high + 0.35, False
        if self.width > WIDEST:
            self.columns = max(1, int(WIDEST / column))
            self.below, self.width = True, max(wide, min(self.columns, len(self.found)) * column + 0.2)
            self.height += LINE * -(-len(self.found) // self.columns) + 0.3

    def legend(self, part: SubFigure) -> None:
        handles = [
            Line2D([], [], ls="", marker=marker, color=colour, ms=5.5, mew=0, label=word(self.kind, number, self.class_names))
            for number, (colour, marker, _) in styles(self.kind, self.found).items()
        ]
        spacing = {"handletextpad": 0.2, "columnspacing": 0.8, "labelspacing": 0.3}
        place: Literal["outside lower center", "outside right center"] = "outside lower center" if self.below else "outside right center"
        part.legend(handles=handles, loc=place, ncols=self.columns, title=self.kind, fontsize=8, **spacing)


def _panels(part: SubFigure, maps: Mapping[str, np.ndarray], kind: str, numbers: np.ndarray, across: int) -> None:
    """All maps in one colouring."""
    look = styles(kind, np.unique(numbers))
    panels = part.subplots(-(-len(maps) // across), across, squeeze=False).ravel()
    size = float(np.clip(6000 / max(len(numbers), 1), 4, 26))
    for axes, (name, points) in zip(panels, maps.items(), strict=False):
        for number, rows in _mixed(numbers):
            colour, marker, _ = look[number]
            axes.scatter(*points[rows].T, s=size, c=colour, marker=marker, linewidths=0.2, edgecolors="white")
        axes.set(xticks=[], yticks=[], title=palette.label(name) if len(maps) > 1 else f"{palette.label(name)}, by {kind}")
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_box_aspect(1)
        axes.spines[:].set(visible=True, color="#CCCCCC")
    for axes in panels[len(maps) :]:
        axes.set_axis_off()
