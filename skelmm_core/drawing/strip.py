"""Film strips: frames of a clip side by side on one ground line, for readers without a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import MultipleLocator
from matplotlib.transforms import ScaledTranslation

from skelmm_core import modalities, skeletons
from skelmm_core.drawing import palette, scene
from skelmm_core.drawing.canvas import Picture, picture
from skelmm_core.drawing.stick import side_legend
from skelmm_core.skeletons import Skeleton

GAP = 0.12  # metres between neighbours


def film_strip(
    clip: Any,
    skeleton: Skeleton | str,
    frames: int = 6,
    modality: str | None = None,
    frame_rate: float = 30.0,
    turn: float = 30.0,
    title: str = "",
) -> Picture:
    """`frames` frames of a clip, evenly spread, with their time in seconds under them.

    Orthographic and true to scale. Each frame is centred sideways on its bodies, so walking does not leave the strip;
    heights are above the ground. With a `modality`, its vectors are drawn over faint limbs, with a scale bar in its unit.

    Args:
        clip: `Recording` or array (M, T, V, 3) in metres.
        skeleton: skeleton or its name.
        frames: pictures in the strip; fewer when the clip is shorter.
        modality: one of `modalities.NAMES`, or None for limbs alone.
        frame_rate: frames per second of the clip.
        turn: degrees that the viewer stands to the camera's right; joints in an image are always seen from the front.
        title: heading.
    """
    names = [] if modality is None else modalities.check_names(modality)
    return _strips(clip, skeleton, frames, list(names) or [None], frame_rate, turn, title)


def modality_strip(
    clip: Any,
    skeleton: Skeleton | str,
    frames: int = 6,
    names: Sequence[str] | None = None,
    frame_rate: float = 30.0,
    turn: float = 30.0,
    title: str = "",
) -> Picture:
    """One film strip per modality, by default all that the skeleton has; arguments as in `film_strip`."""
    names = modalities.check_names(modalities.names_for(skeletons.get(skeleton)) if names is None else names)
    return _strips(clip, skeleton, frames, list(names), frame_rate, turn, title)


def _strips(clip: Any, skeleton: Skeleton | str, frames: int, names: list[str | None], rate: float, turn: float, title: str) -> Picture:
    skeleton = skeletons.get(skeleton)
    space = skeleton.dimensions == 3
    turn = turn if space else 0.0
    joints = scene.bodies(clip, skeleton)  # (M, T, V, 3)
    chosen = pick(joints.shape[1], frames, ending=2 if set(names) - {None, "joint", "bone", "rotation_axis"} else 0)
    arrows = [None if name is None else scene.vectors(joints, skeleton, name) for name in names]
    every = [joints[:, chosen]] + [end[:, chosen] for a in arrows if a is not None for end in (a.tail, a.head)]
    ground = scene.floor(joints)
    middle = middles(joints[:, chosen], turn)  # (frames,)
    flat = [scene.seen_from(points, turn) for points in every]  # each (M, frames, V, 2)
    across = np.concatenate([(f[..., 0] - middle[None, :, None]).ravel() for f in flat])
    reach = np.nanmax(np.abs(across)) + 0.05 if np.isfinite(across).any() else 0.5
    heights = np.concatenate([f[..., 1].ravel() for f in flat]) - ground
    top, bottom = (np.nanmax(heights), min(np.nanmin(heights), 0.0)) if np.isfinite(heights).any() else (1.8, 0.0)
    step, height = 2 * reach + GAP, top - bottom + 0.2
    across = step * len(chosen) - GAP + 0.1
    scale = min(10.5 / across, (4.0 if len(names) == 1 else 1.6) / height)  # inches per metre
    left, above, between = 0.65, 0.4 if title else 0.1, 0.12  # inches
    right, below = (0.2, 0.8) if names == [None] else (1.55 if space else 2.3, 0.5)  # room for the legend or for the scale bars
    width, tall = scale * across + left + right, len(names) * (scale * height + between) + below + above
    with palette.style():
        figure = picture(width, tall, layout=None)
        place = {"left": left / width, "right": 1 - right / width, "bottom": below / tall, "top": 1 - above / tall}
        place["hspace"] = between / (scale * height)
        rows = figure.subplots(len(names), 1, squeeze=False, sharex=True, gridspec_kw=place)[:, 0]
        for axes, name, arrow in zip(rows, names, arrows, strict=True):
            axes.set(aspect="equal", xlim=(-reach - 0.05, -reach - 0.05 + across), ylim=(bottom - 0.1, top + 0.1))
            for place, frame in enumerate(chosen):
                shift = np.array([place * step - middle[place], -ground])
                axes.axvspan(place * step - reach, place * step + reach, color=palette.CELL, lw=0, zorder=-1)
                draw_frame(axes, joints[:, frame], skeleton, shift, turn, faint=arrow is not None)
                if arrow is not None:
                    _arrows(axes, arrow, frame, name, shift, turn)
            axes.axhline(0, color=palette.GROUND, lw=1, zorder=0, label="_ground")
            tick = (0.5 if len(names) == 1 else 1.0) * (1 if space else 0.4)
            axes.yaxis.set_major_locator(MultipleLocator(tick * max(1.0, np.ceil(height / (8 * tick)))))
            axes.spines["bottom"].set_visible(False)
            axes.tick_params(axis="x", length=0)
            if arrow is not None:
                _scale_bar(axes, arrow, name)
        rows[-1].set_xticks([place * step for place in range(len(chosen))], [f"{frame / rate:.2f} s" for frame in chosen])
        rows[-1].set_xlabel("time")
        figure.supylabel(
            "height (m)" if space else "height (image heights)",
            x=0.08 / width,
            y=(below + tall - above) / (2 * tall),
            ha="left",
            fontsize=10,
        )
        if names == [None]:
            figure.legend(handles=side_legend(len(joints)), loc="lower right", ncols=4, borderaxespad=0.3)
        if title:
            figure.suptitle(title, y=1 - 0.08 / tall, va="top")
    return figure


def pick(length: int, frames: int, ending: int = 0) -> np.ndarray:
    """Up to `frames` evenly spread frame numbers of a clip, the last `ending` frames (where differences are 0) left out."""
    last = max(length - 1 - ending, 0)
    return np.unique(np.round(np.linspace(0, last, max(frames, 1))).astype(int))


def middles(joints: np.ndarray, turn: float) -> np.ndarray:
    """Sideways middle of all bodies of each frame, 0 where none is. (M, F, V, 3) -> (F,)"""
    side = scene.seen_from(joints, turn)[..., 0].transpose(1, 0, 2).reshape(joints.shape[1], -1)  # (F, M V)
    empty = np.isnan(side).all(axis=1)
    side[empty] = 0
    return (np.nanmin(side, axis=1) + np.nanmax(side, axis=1)) / 2


def draw_frame(axes: Axes, bodies: np.ndarray, skeleton: Skeleton, shift: np.ndarray, turn: float, faint: bool) -> None:
    side = skeleton.sides()
    for number, body in enumerate(bodies):
        if np.isnan(body).all():
            continue
        colours = (palette.FAINT if faint else palette.BODIES)[number]
        points = scene.seen_from(body, turn) + shift  # (V, 2)
        pairs = scene.limbs(skeleton)
        shades, width = [colours[side[v]] for v, _ in pairs], 1.6 if faint else 2.4
        lines = LineCollection([points[list(pair)] for pair in pairs], colors=shades, lw=width, capstyle="round", zorder=2)
        axes.add_collection(lines, autolim=False)
        if not faint:
            axes.scatter(*points.T, c=[colours[s] for s in side], s=7, zorder=3)


def _arrows(axes: Axes, arrow: scene.Vectors, frame: int, name: str, shift: np.ndarray, turn: float) -> None:
    colour = palette.modality_colour(name)
    tail = scene.seen_from(arrow.tail[:, frame], turn).reshape(-1, 2) + shift
    head = scene.seen_from(arrow.head[:, frame], turn).reshape(-1, 2) + shift
    known = ~np.isnan(head).any(axis=1)
    tail, head = tail[known], head[known]
    if name == "joint":
        axes.add_collection(LineCollection(np.stack([tail, head], axis=1), colors=colour, lw=0.7, alpha=0.6, zorder=4), autolim=False)
        axes.scatter(*head.T, c=colour, s=9, zorder=5)
        return
    axes.quiver(
        *tail.T, *(head - tail).T, color=colour, angles="xy", scale_units="xy", scale=1, width=0.028, units="inches", headwidth=3.2,
        headlength=4, headaxislength=3.5, minlength=0.3, zorder=5,
    )  # fmt: skip


def _scale_bar(axes: Axes, arrow: scene.Vectors, name: str) -> None:
    """Name of the modality and an arrow of its reference value, right of the strip."""
    colour = palette.modality_colour(name)
    inches = axes.figure.dpi_scale_trans
    beside = axes.transAxes + ScaledTranslation(0.12, 0, inches)
    down, below = (beside + ScaledTranslation(0, drop, inches) for drop in (-0.19, -0.37))
    axes.text(1, 0.78, palette.label(name), transform=beside, color=colour, fontweight="bold", va="center")
    length = arrow.reference * arrow.metres / np.ptp(axes.get_xlim())  # in axes fractions
    axes.plot([1, 1 + length], [0.78, 0.78], transform=down, color=colour, lw=2.4, clip_on=False, label="_scale")
    text = "length 1" if arrow.unit == "unit vector" else f"{arrow.reference:g} {arrow.unit}"
    axes.text(1, 0.78, text, transform=below, va="center", fontsize=9)
