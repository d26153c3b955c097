"""Stick figures in three dimensions: one frame of a clip on equal axes, upright, on its ground."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d import Axes3D

from skelmm_core import skeletons
from skelmm_core.drawing import palette, scene
from skelmm_core.drawing.canvas import Picture, picture
from skelmm_core.skeletons import Skeleton


def stick_figure(clip: Any, skeleton: Skeleton | str, frame: int = 0, turn: float = 30.0, title: str = "") -> Picture:
    """One frame as a 3-D stick figure, left and right limbs in different colours, axes in metres.

    Args:
        clip: `Recording` or array (M, T, V, 3) in metres; every body that is there is drawn.
        skeleton: skeleton or its name.
        frame: frame number, negative from the end.
        turn: degrees that the viewer stands to the camera's right.
        title: heading.
    """
    skeleton = skeletons.get(skeleton)
    joints = scene.bodies(clip, skeleton)
    with palette.style():
        figure = picture(5.2, 5.2, layout=None)
        if skeleton.dimensions == 2:
            _in_image(figure, joints[:, frame], skeleton)
            figure.suptitle(title)
            return figure
        axes = figure.add_axes((0.0, 0.1, 0.94, 0.84), projection="3d")
        ground = scene.floor(joints)
        stand(axes, joints[:, frame], ground, turn)
        for number, body in enumerate(joints[:, frame]):
            draw_body(axes, body, skeleton, palette.BODIES[number])
        figure.legend(handles=side_legend(len(joints)), loc="lower center", ncols=2)
        figure.suptitle(title)
    return figure


def _in_image(figure: Picture, bodies: np.ndarray, skeleton: Skeleton) -> None:
    """Bodies (M, V, 3) flat, as in the image, axes in image heights."""
    axes = figure.add_axes((0.14, 0.18, 0.82, 0.74))
    side = skeleton.sides()
    for number, body in enumerate(bodies):
        points, colours = scene.seen_from(body, 0), palette.BODIES[number]
        for v, p in scene.limbs(skeleton):
            axes.plot(*points[[v, p]].T, color=colours[side[v]], lw=2.6, solid_capstyle="round")
        axes.scatter(points[:, 0], points[:, 1], c=[colours[s] for s in side], s=14, zorder=3)
    axes.set(aspect="equal", xlabel="x (image heights)", ylabel="y, up (image heights)")
    axes.margins(0.1)
    figure.legend(handles=side_legend(len(bodies)), loc="lower center", ncols=2)


def stand(axes: Axes3D, points: np.ndarray, ground: float, turn: float, zoom: float = 0.95) -> None:
    """Equal, upright axes in metres around `points` (..., 3) with the outline of the ground; zoom: how much of the axes they fill."""
    box = scene.limits(points, least=1.1)  # (3, 2): x, y, z
    box[1, 0] = min(ground, box[1, 0])
    z, x, y = box[2], box[0], box[1]
    axes.set(xlim=z, ylim=x, zlim=y)
    axes.set_box_aspect([high - low for low, high in (z, x, y)], zoom=zoom)
    axes.set_proj_type("persp", focal_length=1.6)
    axes.view_init(elev=12, azim=180 - turn)
    square = np.array([(z[0], x[0]), (z[1], x[0]), (z[1], x[1]), (z[0], x[1]), (z[0], x[0])])
    axes.plot(*square.T, np.full(5, ground), color=palette.GROUND, lw=1.2, label="_ground")
    axes.set_xlabel("z, depth (m)", labelpad=2)
    axes.set_ylabel("x (m)", labelpad=2)
    axes.set_zlabel("y, up (m)", labelpad=2)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_major_locator(MaxNLocator(6 if axis is axes.zaxis else 3))
        axis.set_pane_color((0.97, 0.97, 0.97, 1.0))
        axis.set_tick_params(labelsize=8, pad=0)


def draw_body(axes: Axes3D, body: np.ndarray, skeleton: Skeleton, colours: dict[str, str]) -> None:
    """One body (V, 3) as one line per side and one set of joints; nothing when it is absent (NaN)."""
    points, side = scene.upright(body), skeleton.sides()
    for name, colour in colours.items():
        path = [[points[v], points[p], [np.nan] * 3] for v, p in scene.limbs(skeleton) if side[v] == name]
        axes.plot(*np.concatenate(path).T, color=colour, lw=2.6, solid_capstyle="round", label=f"_{name}")
    axes.scatter(*points.T, c=[colours[s] for s in side], s=14, depthshade=False)


def side_legend(count: int) -> list[Line2D]:
    """Legend handles for left and right limbs of `count` bodies."""
    handles = []
    for number in range(count):
        body = f", body {number + 1}" if count > 1 else ""
        for name in ("left", "right"):
            handles.append(Line2D([], [], color=palette.BODIES[number][name], lw=2.6, label=name + body))
    return handles
