"""A skeleton as it is understood: joints with numbers and names, bones, left and right, the centre, and graph links that are no bones."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from skelmm_core.drawing import palette, rest
from skelmm_core.drawing.canvas import Picture, picture
from skelmm_core.drawing.scene import limbs, seen_from
from skelmm_core.skeletons import Skeleton

LINE, WIDTH = 0.21, 8.0  # inches between labels, and of the figure


def skeleton_figure(skeleton: Skeleton, pose: np.ndarray | None = None, title: str = "") -> Picture:
    """A skeleton from the front, its person facing the viewer, so that its left is on the right.

    Args:
        pose: (V, 3) in camera space (of an image: x turned round, as in `scene`), NaN where unknown; a standing figure if None.
        title: heading; the skeleton's name and size if empty.
    """
    pose = rest.standing(skeleton) if pose is None else pose
    points = seen_from(pose, 0)  # (V, 2)
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    middle, reach = (low + high) / 2, np.maximum((high - low) / 2, 1e-3)
    points = (points - middle) / reach.max()  # within -1 .. 1
    shares = reach / reach.max()
    beside = _beside(skeleton, points)
    tall = max(6.0, LINE * max(map(len, beside)) + 1.2)
    with palette.style():
        figure = picture(WIDTH, tall, layout=None)
        axes = figure.add_axes((0.02, 0.9 / tall, 0.96, 1 - 1.4 / tall))
        figure.suptitle(title or f"{skeleton.name}: {len(skeleton)} joints, {skeleton.dimensions} dimensions", y=1 - 0.12 / tall, va="top")
        _bones(axes, skeleton, points)
        half = 1.12 * max(shares[1], 1e-3)
        height, width = tall - 1.4, WIDTH * 0.96  # inches
        edge = max(half * width / height, shares[0] + 0.1)
        half = edge * height / width
        axes.set(xlim=(-edge, edge), ylim=(-half, half), aspect="equal")
        axes.axis("off")
        inner = shares[0] + 0.05 * edge
        for sign, joints in zip((-1, 1), beside, strict=True):
            _labels(axes, skeleton, points, joints, sign * max(inner, 0.42 * edge), 2 * half * LINE / height)
        figure.legend(handles=_legend(skeleton), loc="lower center", ncols=5)
    return figure


def _beside(skeleton: Skeleton, points: np.ndarray) -> tuple[list[int], list[int]]:
    """Joints whose labels stand left and right of the figure, from the lowest to the highest; the middle's are shared out."""
    side, found = skeleton.sides(), ([], [])
    known = [v for v in range(len(skeleton)) if not np.isnan(points[v]).any()]
    for v in known:
        if side[v] != "middle":
            found[int(points[v, 0] > 0)].append(v)
    for v in sorted((v for v in known if side[v] == "middle"), key=lambda v: points[v, 1]):
        found[int(len(found[1]) <= len(found[0]))].append(v)
    return tuple(sorted(part, key=lambda v: points[v, 1]) for part in found)


def _bones(axes: Axes, skeleton: Skeleton, points: np.ndarray) -> None:
    side, colours = skeleton.sides(), palette.BODIES[0]
    bones = limbs(skeleton)
    for v, p in {*map(_sorted, skeleton.edges)} - {*map(_sorted, bones)}:
        axes.plot(*points[[v, p]].T, color=palette.GROUND, lw=1.4, ls=":", zorder=1, label="_edge")
    for v, p in bones:
        axes.plot(*points[[v, p]].T, color=colours[side[v]], lw=3, solid_capstyle="round", zorder=2, label="_bone")
    axes.scatter(*points.T, c=[colours[s] for s in side], s=30, zorder=3)
    axes.scatter(*points[skeleton.centre], s=170, facecolors="none", edgecolors=palette.MIDDLE, lw=1.6, zorder=3)


def _labels(axes: Axes, skeleton: Skeleton, points: np.ndarray, joints: list[int], x: float, step: float) -> None:
    """Names in a column at x, at the height of their joints where there is room, with a line to each."""
    colours, side = palette.BODIES[0], skeleton.sides()
    for v, y in zip(joints, _apart(points[joints, 1], step), strict=True):
        axes.plot([points[v, 0], 0.97 * x], [points[v, 1], y], color="#BBBBBB", lw=0.7, zorder=0, label="_line")
        text = f"{v}  {skeleton.joints[v]}" if x > 0 else f"{skeleton.joints[v]}  {v}"
        axes.text(x, y, text, color=colours[side[v]], va="center", ha="left" if x > 0 else "right", fontsize=9)


def _apart(heights: np.ndarray, step: float) -> np.ndarray:
    """Rising heights moved as little as need be, so that neighbours are at least `step` apart (least squares, pool adjacent violators)."""
    blocks: list[list[float]] = []  # [sum of heights less their places, count]
    for place, height in enumerate(heights):
        blocks.append([height - place * step, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    level = [total / count for total, count in blocks for _ in range(int(count))]
    return np.array(level) + step * np.arange(len(level))


def _legend(skeleton: Skeleton) -> list[Line2D]:
    colours = palette.BODIES[0]
    handles = [Line2D([], [], color=colours[s], lw=3, label=s) for s in ("left", "right", "middle")]
    ring = {"marker": "o", "ls": "", "markerfacecolor": "none", "markeredgecolor": palette.MIDDLE, "markersize": 11}
    handles.append(Line2D([], [], label="centre", **ring))
    if {*map(_sorted, skeleton.edges)} - {*map(_sorted, limbs(skeleton))}:
        handles.append(Line2D([], [], color=palette.GROUND, lw=1.4, ls=":", label="link of the graph, no bone"))
    return handles


def _sorted(pair: tuple[int, int]) -> tuple[int, int]:
    return min(pair), max(pair)
