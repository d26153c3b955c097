"""Dropdowns in front of the player: clip, modality, body."""

from __future__ import annotations

import json
from typing import Any

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go

from skelmm_core import modalities
from skelmm_core.drawing import palette, scene
from skelmm_core.drawing.player import BODIES, player
from skelmm_core.errors import SettingsError, nearest

LIMBS = "limbs only"
PLOTLY = "application/vnd.plotly.v1+json"


class Explorer(widgets.VBox):
    """Widgets `clip`, `modality`, `body` over an `Output` with the player; `figure` is the plotly figure that it shows."""

    def __init__(self, clips: Any, clip: int, modality: str | None, body: str, limit: int):
        self.clips, self.figure, self.shown = clips, go.Figure(), None
        listed = [(describe(clips, number), number) for number in shortlist(clips.labels, limit, clip)]
        self.clip = widgets.Dropdown(options=listed, value=clip, description="clip")
        names = [(LIMBS, None), *((palette.label(name), name) for name in modalities.names_for(clips.skeleton))]
        self.modality = widgets.Dropdown(options=names, value=modality, description="modality")
        self.body = widgets.Dropdown(options=self._bodies(), value=body, description="body")
        self.output = widgets.Output()
        self.clip.layout.width, self.modality.layout.width, self.body.layout.width = "30em", "18em", "14em"
        super().__init__([widgets.HBox([self.clip, self.modality, self.body]), self.output])
        self.clip.observe(self._change_clip, "value")
        self.modality.observe(self._draw, "value")
        self.body.observe(self._draw, "value")
        self._draw()

    def _bodies(self) -> list[str]:
        return list(BODIES) if scene.body_count(self.clips[self.clip.value]) > 1 else list(BODIES[:2])

    def _change_clip(self, _change: Any) -> None:
        body, options = self.body.value, self._bodies()
        with self.body.hold_trait_notifications():
            self.body.options = options
            self.body.value = body if body in options else "both"
        self._draw()

    def _draw(self, _change: Any = None) -> None:
        number, shown = self.clip.value, (self.clip.value, self.modality.value, self.body.value)
        if shown == self.shown:
            return
        self.shown = shown
        clips, heading = self.clips, describe(self.clips, number)
        self.figure = player(clips[number], clips.skeleton, self.modality.value, self.body.value, clips.frame_rate, title=heading)
        value = json.loads(self.figure.to_json())  # plain values only: to_plotly_json() may keep arrays
        self.output.outputs = ({"output_type": "display_data", "data": {PLOTLY: value}, "metadata": {}},)


def explore(
    clips: Any,
    clip: int = 0,
    modality: str | None = "motion",
    body: str = "both",
    limit: int = 200,
) -> Explorer:
    """The player with dropdowns, for a live notebook; without a kernel the last figure stays as it was saved.

    Nothing waits, so a headless run goes straight through: the figure is put into the `Output` as a value, in plotly's own
    data type (no script, no copy of plotly.js in the notebook). Capturing what `figure.show()` displays instead makes
    nbclient, and with it papermill, wait for ever.

    Args:
        clips: an open `Clips` (or anything with `labels`, `class_names`, `skeleton`, `frame_rate` and recordings by number).
        clip, modality, body: what is shown first.
        limit: most clips in the dropdown; of a larger file the first ones of every class are taken in turn.

    Raises `SettingsError` as `check_choice`.
    """
    check_choice(clips, clip, modality, body)
    return Explorer(clips, clip, modality, body, limit)


def check_choice(clips: Any, clip: int, modality: str | None, body: str) -> None:
    """Raises `SettingsError` for what `explore` could not show first: a clip, modality or body that is not there."""
    if not 0 <= clip < len(clips.labels):
        raise SettingsError(f"clip must be 0 to {len(clips.labels) - 1}, the clips of the file; found {clip}")
    if modality is not None:
        modalities.check_meaning(modalities.check_names([modality]), clips.skeleton)
    if body not in BODIES:
        raise SettingsError(f"body must be {', '.join(BODIES)}; found '{body}'{nearest(body, BODIES)}")
    if body == BODIES[2] and scene.body_count(clips[clip]) < 2:
        raise SettingsError(f"body={body}, but clip {clip} shows one body; choose another clip or body={BODIES[0]}")


def shortlist(labels: np.ndarray, limit: int, always: int = 0) -> list[int]:
    """Up to `limit` clip numbers in ascending order, classes in turn; `always` is one of them."""
    labels = np.asarray(labels)
    order = np.argsort(labels, kind="stable")
    begin = np.searchsorted(labels[order], labels[order])  # where the class of each starts
    turn = np.arange(len(labels)) - begin  # 0 for a class's first clip, 1 for its second, ...
    chosen = order[np.lexsort((order, turn))][:limit]
    return sorted({*chosen.tolist(), always} if len(labels) else {always})


def describe(clips: Any, number: int) -> str:
    """Such as "12: wave, subject 3, view 1", as far as it is known."""
    words = [clips.class_names[int(clips.labels[number])]]
    for word, column in (("subject", "subjects"), ("view", "views")):
        values = getattr(clips, column, None)
        if values is not None and values[number] >= 0:
            words.append(f"{word} {values[number]}")
    return f"{number}: {', '.join(words)}"
