"""A clip as an animated GIF, one panel per modality, for pages that run no script, such as a README."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from mpl_toolkits.mplot3d import Axes3D
from PIL import Image

from skelmm_core import modalities, skeletons
from skelmm_core.drawing import palette, scene
from skelmm_core.drawing.canvas import Picture, picture
from skelmm_core.drawing.player import ORDER, quantity
from skelmm_core.drawing.stick import draw_body, stand
from skelmm_core.errors import SettingsError
from skelmm_core.files import named, replacing
from skelmm_core.skeletons import Skeleton

COLUMNS, WIDE, TALL = 3, 2.3, 2.45  # panels in a row, and inches of one
CELL = 0.5  # metres between lines on the ground
DPI = 90
TINTS = 6  # steps from each colour to white in the table that all frames share: what stands still then costs nothing
REST = 800  # milliseconds that the last frame stays


def save_moving(
    path: str | Path,
    clip: Any,
    skeleton: Skeleton | str,
    names: Sequence[str] | None = None,
    frame_rate: float = 30.0,
    title: str = "",
    turn: float = 30.0,
    most: int = 30,
) -> Path:
    """Write a GIF that plays for ever in about real time; makes parent folders and returns the path.

    Upright and on equal axes, over a ground of `CELL`-metre squares. Vectors stand over faint limbs in the colour of their modality, with
    the value that an arrow of `scene.ARROW` metres has.

    Args:
        clip: `Recording` or array (M, T, V, 3) in metres.
        skeleton: skeleton in space, or its name.
        names: modalities, by default all six.
        frame_rate: frames per second of the clip.
        title: heading, such as the class.
        turn: degrees that the viewer stands to the camera's right.
        most: frames that are shown, evenly spread; the last two, where differences are 0, are left out.

    Raises:
        SettingsError: `path` doesn't end in `.gif`, or the joints are in an image. DataError: the disk is full or read-only.
    """
    path, skeleton = named(path, "a moving picture", ".gif"), skeletons.get(skeleton)
    if skeleton.dimensions != 3:
        raise SettingsError(f"a moving picture shows joints in space, '{skeleton.name}' has joints in an image; use film_strip")
    names = modalities.check_names(modalities.names_for(skeleton) if names is None else names)
    joints = scene.bodies(clip, skeleton)  # (M, T, V, 3)
    length = max(joints.shape[1] - 2, 1)
    step = -(-length // max(most, 1))
    frames = list(_frames(joints, skeleton, names, range(0, length, step), frame_rate, title, turn))
    frames = [frame.quantize(palette=_table(names), dither=Image.Dither.NONE) for frame in frames]
    each = 10 * round(100 * step / frame_rate)  # GIF counts hundredths of a second
    content = io.BytesIO()
    frames[0].save(
        content, format="GIF", save_all=True, append_images=frames[1:], loop=0, duration=[each] * (len(frames) - 1) + [each + REST]
    )
    with replacing(path) as file:
        file.write(content.getbuffer())
    return path


def _table(names: Sequence[str]) -> Image.Image:
    """A picture whose table holds white, greys, and the colours of the modalities in `TINTS` steps."""
    bases = [to_rgb(palette.modality_colour(name)) for name in names]
    shares = np.linspace(1, 0, TINTS, endpoint=False)
    colours = [1 - share * (1 - np.array(base)) for base in bases for share in shares] + [np.full(3, g) for g in np.linspace(0, 1, 22)]
    table = Image.new("P", (1, 1))
    table.putpalette((255 * np.array(colours)).round().astype(np.uint8).tobytes())
    return table


def _frames(
    joints: np.ndarray, skeleton: Skeleton, names: Sequence[str], shown: range, rate: float, title: str, turn: float
) -> Iterator[Image.Image]:
    """Pictures of the frames `shown`, one after the other, of one figure whose grounds and titles stay."""
    arrows = {name: scene.vectors(joints, skeleton, name) for name in names}
    ground = scene.floor(joints)
    rows = -(-len(names) // COLUMNS)
    width, height = WIDE * min(len(names), COLUMNS), TALL * rows + 0.65
    with palette.style():
        figure = picture(width, height, layout=None)
        figure.set_dpi(DPI)
        canvas = FigureCanvasAgg(figure)
        panels = [_panel(figure, place, name, arrows[name], joints, ground, rate, turn) for place, name in enumerate(names)]
        heading = figure.suptitle(title, y=1 - 0.08 / height, va="top")
        figure.text(0.5, 0.06 / height, f"ground in squares of {CELL:g} m", ha="center", va="bottom", fontsize=8, color="#555555")
        for frame in shown:
            heading.set_text(f"{title}{', ' if title else ''}{frame / rate:.2f} s")
            added = []
            for axes, name in zip(panels, names, strict=True):
                before = set(axes.get_children())
                for number, body in enumerate(joints[:, frame]):
                    if not np.isnan(body).all():
                        draw_body(axes, body, skeleton, palette.FAINT[number])
                _vectors(axes, arrows[name], frame, name)
                added += [artist for artist in axes.get_children() if artist not in before]
            canvas.draw()
            yield Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
            for artist in added:
                artist.remove()


def _panel(
    figure: Picture, place: int, name: str, arrow: scene.Vectors, joints: np.ndarray, ground: float, rate: float, turn: float
) -> Axes3D:
    """Axes with the ground and, above, the modality's name and scale."""
    width, height = figure.get_size_inches()
    left, top = WIDE * (place % COLUMNS), height - 0.35 - TALL * (place // COLUMNS)
    axes = figure.add_axes((left / width, (top - TALL) / height, WIDE / width, (TALL - 0.36) / height), projection="3d")
    stand(axes, joints, ground, turn, zoom=1.25)
    axes.set_axis_off()
    z, x = axes.get_xlim(), axes.get_ylim()
    lines = [np.array([[at, x[0]], [at, x[1]]]) for at in CELL * np.arange(np.ceil(z[0] / CELL), np.ceil(z[1] / CELL))]
    lines += [np.array([[z[0], at], [z[1], at]]) for at in CELL * np.arange(np.ceil(x[0] / CELL), np.ceil(x[1] / CELL))]
    for line in lines:
        axes.plot(*line.T, np.full(2, ground), color="#C8C8C8", lw=0.7, label="_ground", zorder=0)
    colour, middle = palette.modality_colour(name), (left + WIDE / 2) / width
    figure.text(middle, (top - 0.04) / height, palette.label(name), ha="center", va="top", color=colour, fontweight="bold")
    if name in ("joint", "bone"):
        words = "arrows true to scale (m)"
    elif arrow.unit == "unit vector":
        words = f"arrows of length 1: {100 * scene.ARROW:.0f} cm"
    else:
        words = f"{100 * scene.ARROW:.0f} cm of arrow: {quantity(arrow.reference * rate ** ORDER[name], arrow.unit, 1.0, ORDER[name])}"
    figure.text(middle, (top - 0.22) / height, words, ha="center", va="top", fontsize=8, color="#555555")
    return axes


def _vectors(axes: Axes3D, arrow: scene.Vectors, frame: int, name: str) -> None:
    colour = palette.modality_colour(name)
    tail, head = (scene.upright(points[:, frame]).reshape(-1, 3) for points in (arrow.tail, arrow.head))
    known = ~np.isnan(head).any(axis=1) & (np.linalg.norm(np.nan_to_num(head - tail), axis=1) > 0.01)
    tail, head = tail[known], head[known]
    if len(tail):
        axes.quiver(*tail.T, *(head - tail).T, color=colour, lw=1.1, arrow_length_ratio=0.0 if name == "joint" else 0.28)
    if name == "joint":
        axes.scatter(*head.T, c=colour, s=9, depthshade=False)
