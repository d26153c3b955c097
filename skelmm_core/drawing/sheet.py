"""A sheet of small film strips, a clip of each class, all to one scale: what a data set looks like at a glance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skelmm_core.clips import Clips
from skelmm_core.drawing import palette, scene
from skelmm_core.drawing.canvas import Picture, picture
from skelmm_core.drawing.stick import side_legend
from skelmm_core.drawing.strip import draw_frame, middles, pick

COLUMNS = 2
WIDE = 3.2  # times the tallest clip's height that a strip is wide
MOST = 7  # frames in a strip
WIDTH = 5.2  # inches of a strip
TITLE = 0.3  # inches above a strip


def class_sheet(clips: Clips, chosen: Sequence[int], turn: float = 30.0) -> Picture:
    """Film strips of the clips with the numbers `chosen`, titled with class, clip and length; as many frames as there is room for.

    Orthographic, all strips to one scale, each on its ground line and each frame centred sideways on its bodies.

    Args:
        turn: degrees that the viewer stands to the camera's right; joints in an image are always seen from the front.
    """
    skeleton = clips.skeleton
    turn = turn if skeleton.dimensions == 3 else 0.0
    shown = [scene.bodies(clips[int(i)], skeleton) for i in chosen]  # (M, T, V, 3) each
    grounds = [scene.floor(joints) for joints in shown]
    tall = max(_top(joints, ground) for joints, ground in zip(shown, grounds, strict=True))
    rows = -(-len(shown) // COLUMNS)
    low = WIDTH / WIDE * 1.1  # inches of a strip's height
    with palette.style():
        figure = picture(WIDTH * COLUMNS + 0.3, rows * (low + TITLE) + 0.5)
        cells = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for axes, number, joints, ground in zip(cells, chosen, shown, grounds, strict=False):
            reach = _reach(joints, turn)
            frames = pick(joints.shape[1], int(np.clip(WIDE * tall / (2.1 * reach), 2, MOST)))
            step = max(WIDE * tall / len(frames), 2.1 * reach)
            middle = middles(joints[:, frames], turn)
            for place, frame in enumerate(frames):
                shift = np.array([(place + 0.5) * step - middle[place], -ground])
                draw_frame(axes, joints[:, frame], skeleton, shift, turn, faint=False)
            axes.axhline(0, color=palette.GROUND, lw=1, zorder=0)
            axes.set(aspect="equal", xlim=(0, step * len(frames)), ylim=(-0.05 * tall, 1.05 * tall), xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            axes.set_facecolor(palette.CELL)
            seconds = joints.shape[1] / clips.frame_rate
            title = f"{clips.class_names[clips.labels[number]]}: clip {number}, {seconds:.1f} s"
            axes.set_title(title, loc="left", fontsize=9)
        for axes in cells[len(shown) :]:
            axes.set_visible(False)
        figure.legend(handles=side_legend(max(len(joints) for joints in shown)), loc="outside lower right", ncols=4)
    return figure


def _top(joints: np.ndarray, ground: float) -> float:
    top = np.nanmax(joints[..., 1]) - ground if np.isfinite(joints).any() else 0.0
    return float(top) if top > 0 else 1.0


def _reach(joints: np.ndarray, turn: float) -> float:
    """Half the width of the widest frame."""
    side = scene.seen_from(joints, turn)[..., 0].transpose(1, 0, 2).reshape(joints.shape[1], -1)  # (T, M V)
    side = side[np.isfinite(side).any(axis=1)]
    return max(float(np.max(np.nanmax(side, axis=1) - np.nanmin(side, axis=1))) / 2, 1e-3) if len(side) else 0.5
