"""The interactive player: a clip in three dimensions with play, pause, a slider in seconds and orbit, as one plotly figure.

Small enough to be saved in a notebook (two bodies of ntu25: 200 KB): two traces (bodies, arrows), limbs as few paths, coordinates in whole
millimetres (the axes are labelled in metres), at most `FRAMES` frames whatever the length of the clip.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from skelmm_core import modalities, skeletons
from skelmm_core.drawing import palette, scene
from skelmm_core.errors import SettingsError, nearest
from skelmm_core.skeletons import Skeleton

FRAMES = 60
BODIES = ("both", "first", "second")


def player(
    clip: Any,
    skeleton: Skeleton | str,
    modality: str | None = None,
    body: str = "both",
    frame_rate: float = 30.0,
    frames: int = FRAMES,
    title: str = "",
) -> go.Figure:
    """A clip that plays at its own speed; drag to orbit, scroll to zoom.

    With a `modality`, joints are coloured by the length of its vectors (colour bar in its unit, up to the 98th percentile
    without the centre joint) and the vectors are drawn as segments: `joint` from the centre, `bone` from the parent, the
    others from the joint.

    Args:
        clip: `Recording` or array (M, T, V, 3) in metres.
        skeleton: skeleton or its name.
        modality: one of `modalities.NAMES`, or None for limbs alone.
        body: "both", "first" or "second".
        frame_rate: frames per second of the clip.
        frames: pictures kept, evenly spread; a longer clip skips frames, its time stays true.
        title: heading.

    Raises:
        SettingsError: unknown modality or body, or a second body that the clip doesn't have.
    """
    skeleton = skeletons.get(skeleton)
    joints = scene.bodies(clip, skeleton)  # (M, T, V, 3)
    shown = choose(len(joints), body)
    arrows = None
    if modality is not None:
        arrows = scene.vectors(joints, skeleton, modalities.check_names(modality)[0])
    moments = np.unique(np.round(np.linspace(0, joints.shape[1] - 1, min(frames, joints.shape[1]))).astype(int))
    scenes = [_traces(joints, skeleton, arrows, modality, shown, moment) for moment in moments]
    figure = go.Figure(data=scenes[0], layout=_layout(joints, arrows, modality, shown, skeleton, title))
    names = [f"{moment / frame_rate:.2f}" for moment in moments]
    figure.frames = [go.Frame(data=[_moving(t) for t in traces], name=name) for traces, name in zip(scenes, names, strict=True)]
    pause = 1000 * (moments[-1] - moments[0]) / frame_rate / max(len(moments) - 1, 1)  # milliseconds per picture
    _controls(figure, names, pause)
    return figure


def choose(count: int, body: str) -> list[int]:
    """Numbers of the bodies to show out of `count`."""
    if body not in BODIES:
        raise SettingsError(f"unknown body '{body}'{nearest(body, BODIES)}")
    if body == "second" and count < 2:
        raise SettingsError("the clip has one body, the second was asked for; choose 'first' or 'both'")
    return {"both": list(range(count)), "first": [0], "second": [1]}[body]


def _millimetres(points: np.ndarray) -> dict[str, np.ndarray]:
    """Points (P, 3) in metres, camera space, as x, y, z of a 3-D figure in whole millimetres.

    A gap (NaN) needs only one coordinate that isn't a number, so the other two fit in 2 bytes: plotly writes arrays as
    base64, 10.7 characters a point.
    """
    x, y, z = np.round(1000 * scene.upright(points)).T
    return {"x": x.astype(np.float32), "y": np.nan_to_num(y).astype(np.int16), "z": np.nan_to_num(z).astype(np.int16)}


def _paths(values: np.ndarray, order: list[int]) -> np.ndarray:
    """(V, ...) values along the drawing order, NaN where the pen is lifted (-1)."""
    taken = values[np.maximum(order, 0)].astype(np.float32)
    taken[np.array(order) < 0] = np.nan
    return taken


def _order(skeleton: Skeleton) -> list[int]:
    return [v for path in scene.chains(skeleton) for v in (*path, -1)]


def _traces(joints: np.ndarray, skeleton: Skeleton, arrows: scene.Vectors | None, name: str | None, shown: list[int], moment: int) -> list:
    """Bodies (joints and limbs in one trace) and arrows of one moment."""
    order, side = _order(skeleton), skeleton.sides()
    points = _millimetres(np.concatenate([_paths(joints[b, moment], order) for b in shown]))
    colours = [(palette.BODIES if arrows is None else palette.FAINT)[b][side[v]] for b in shown for v in order]
    marker: dict[str, Any] = {"size": 3, "color": colours}
    if arrows is not None:
        size = np.concatenate([_paths(arrows.size[b, moment], order) for b in shown])
        marker = {"size": 5, "color": size, "coloraxis": "coloraxis", "line": {"width": 1, "color": "#555555"}}
    mode = "markers" if name == "bone" else "lines+markers"  # bones as arrows lie on the limbs
    traces = [go.Scatter3d(**points, mode=mode, line={"width": 7, "color": colours}, marker=marker, hoverinfo="skip")]
    if arrows is not None:
        pens = [_pen(arrows.tail[b, moment], arrows.head[b, moment], skeleton, name) for b in shown]
        line = {"width": 4, "color": palette.modality_colour(name)}
        traces.append(go.Scatter3d(**_millimetres(np.concatenate(pens)), mode="lines", line=line, hoverinfo="skip"))
    return traces


def _pen(tail: np.ndarray, head: np.ndarray, skeleton: Skeleton, name: str) -> np.ndarray:
    """Arrows of one body (V, 3), (V, 3) as one line with gaps, (P, 3); no arrows shorter than a centimetre."""
    seen = np.linalg.norm(head - tail, axis=1) > 0.01
    gap = np.full((1, 3), np.nan)
    if name == "joint":  # all from the centre: a star without gaps
        return np.concatenate([np.stack([tail[seen], head[seen]], axis=1).reshape(-1, 3), gap])
    if name == "bone":  # along the limbs, and the normal at the centre
        joints = np.where(np.arange(len(tail))[:, None] == skeleton.centre, tail, head)
        normal = np.stack([tail[skeleton.centre], head[skeleton.centre]])
        return np.concatenate([_paths(joints, _order(skeleton)), normal, gap])
    return np.stack([tail[seen], head[seen], np.broadcast_to(gap, (seen.sum(), 3))], axis=1).reshape(-1, 3)


def _moving(trace: go.Scatter3d) -> dict:
    """What changes from frame to frame."""
    part: dict[str, Any] = {"type": "scatter3d", "x": trace.x, "y": trace.y, "z": trace.z}
    if trace.marker.coloraxis:
        part["marker"] = {"color": trace.marker.color}
    return part


def _layout(
    joints: np.ndarray, arrows: scene.Vectors | None, name: str | None, shown: list[int], skeleton: Skeleton, title: str
) -> go.Layout:
    points = joints[shown] if arrows is None else np.concatenate([joints[shown], arrows.head[shown]])
    flat = skeleton.dimensions == 2
    box = scene.limits(points, least=0.6 if flat else 1.2)  # (3, 2): x, y, z in metres
    box[1, 0] = min(box[1, 0], scene.floor(joints[shown]))
    box = box[[2, 0, 1]]
    length = box[:, 1] - box[:, 0]
    shape = 1.65 * length / np.linalg.norm(length)  # true to scale, and within the picture from every side
    look = {"backgroundcolor": "#F7F7F7", "showbackground": True, "gridcolor": "#DDDDDD", "zeroline": False, "showspikes": False}
    titles = {"xaxis": "z, depth (m)", "yaxis": "x (m)", "zaxis": "y, up (m)"}
    axes = {axis: {"title": {"text": text}, **_ticks(*limit), **look} for (axis, text), limit in zip(titles.items(), box, strict=True)}
    axes["zaxis"]["backgroundcolor"] = "#E2E2E2"  # the plane that z stands on: the ground
    camera: dict[str, Any] = {"eye": {"x": -1.75, "y": -1.0, "z": 0.4}, "center": {"x": 0, "y": 0, "z": -0.1}}
    if flat:  # seen from the front, as in the image
        camera = {"eye": {"x": -2.0, "y": 0, "z": 0}, "center": {"x": 0, "y": 0, "z": 0}, "projection": {"type": "orthographic"}}
        axes["xaxis"]["visible"] = False
        axes["yaxis"] |= {"title": {"text": "x (image heights)"}, "ticktext": [f"{0 - v / 1000:g}" for v in axes["yaxis"]["tickvals"]]}
        axes["zaxis"]["title"] = {"text": "y, up (image heights)"}
    heading = _legend(shown, name, arrows, flat)
    layout: dict[str, Any] = {
        "template": "none", "height": 600, "margin": {"l": 0, "r": 0, "t": 70, "b": 100}, "showlegend": False, "uirevision": "keep",
        "title": {"text": title, "font": {"size": 16}, "y": 0.98, "yanchor": "top"},
        "scene": {
            **axes, "aspectmode": "manual", "aspectratio": dict(zip("xyz", shape.round(4).tolist(), strict=True)),
            "camera": camera, "dragmode": "turntable",
        },
        "annotations": [{"text": heading, "showarrow": False, "x": 0.5, "y": 1.0, "xref": "paper", "yref": "paper", "yanchor": "bottom"}],
    }  # fmt: skip
    if arrows is not None:
        shades = [[0, "#FFFFFF"], [0.7, palette.modality_colour(name)], [1, "#222222"]]
        unit = {"text": f"{palette.label(name)}<br>({arrows.unit})", "side": "top"}
        layout["coloraxis"] = {
            "cmin": 0, "cmax": _top(np.delete(arrows.size[shown], skeleton.centre, axis=2)), "colorscale": shades,
            "colorbar": {"title": unit, "len": 0.7, "thickness": 14, "x": 0.9},
        }  # fmt: skip
    return go.Layout(layout)


def _ticks(low: float, high: float) -> dict[str, Any]:
    """Range of an axis in millimetres with tick labels in metres."""
    step = 250 if high - low < 1.3 else 500 if high - low < 3 else 1000
    values = np.arange(np.ceil(1000 * low / step), np.floor(1000 * high / step) + 1) * step
    text = [f"{value / 1000 + 0.0:g}" for value in values]  # + 0.0: no minus before zero
    return {"range": [round(1000 * low), round(1000 * high)], "tickvals": values.astype(int).tolist(), "ticktext": text}


def _top(size: np.ndarray) -> float:
    known = size[~np.isnan(size)]
    top = float(f"{np.percentile(known, 98):.2g}") if known.size else 0.0
    return top or 1.0


def _legend(shown: list[int], name: str | None, arrows: scene.Vectors | None, flat: bool) -> str:
    """Coloured words for left and right limbs and the arrows' scale."""
    words = []
    for number in shown if arrows is None else [] if name == "bone" else shown[:1]:
        colours = (palette.BODIES if arrows is None else palette.FAINT)[number]
        body = f", body {number + 1}" if arrows is None and len(shown) > 1 else ""
        words += [f'<span style="color:{colours[side]}">▬ {side}{body}</span>' for side in ("left", "right")]
    if arrows is not None:
        scale = "true to scale"
        if name not in ("joint", "bone"):
            value = "length 1" if arrows.unit == "unit vector" else f"{arrows.reference:g} {arrows.unit}"
            scale = f"{scene.IMAGE_ARROW:g} image heights = {value}" if flat else f"{100 * scene.ARROW:g} cm = {value}"
        words.append(f'<span style="color:{palette.modality_colour(name)}">▬ {palette.label(name)}, {scale}</span>')
    return "   ".join(words)


def _controls(figure: go.Figure, names: list[str], pause: float) -> None:
    """Play and pause buttons and a slider that shows seconds."""
    still = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    run = {"mode": "immediate", "fromcurrent": True, "frame": {"duration": round(pause, 1), "redraw": True}, "transition": {"duration": 0}}
    buttons = [
        {"label": "▶ play", "method": "animate", "args": [None, run]},
        {"label": "❚❚ pause", "method": "animate", "args": [[None], still]},
    ]
    figure.update_layout(
        updatemenus=[{
            "type": "buttons", "direction": "left", "buttons": buttons, "showactive": False,
            "x": 0.02, "y": 0, "xanchor": "left", "yanchor": "top", "pad": {"t": 12},
        }],
        sliders=[{
            "steps": [{"label": name, "method": "animate", "args": [[name], still]} for name in names],
            "currentvalue": {"prefix": "time ", "suffix": " s", "font": {"size": 13}}, "x": 0.23, "len": 0.74, "y": 0, "pad": {"t": 4},
            "font": {"size": 10}, "transition": {"duration": 0},
        }],
    )  # fmt: skip
