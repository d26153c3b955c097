"""Dropdowns in front of the player: clip, a second one beside it, modality, body."""

from __future__ import annotations

from typing import Any, cast

import ipywidgets as widgets
import numpy as np

from skelmm_core import modalities
from skelmm_core.drawing import choices, palette, scene
from skelmm_core.drawing.player import Player, panels
from skelmm_core.drawing.shot import BODIES, describe
from skelmm_core.errors import SettingsError

NONE, LIMBS, ALL = "nothing", "limbs only", "all beside each other"


class Explorer(widgets.VBox):
    """Widgets `clip`, `other`, `modality`, `body` over an `Output` with `player`, which shows what they say."""

    def __init__(self, clips: Any, clip: int, modality: str | None, body: str, limit: int):
        self.clips, self.player = clips, cast(Player, None)  # drawn below
        self.shown: tuple[Any, ...] = ()
        listed = [(describe(clips, number), number) for number in shortlist(clips.labels, limit, clip)]
        self.clip = widgets.Dropdown(options=listed, value=clip, description="clip")
        self.other = widgets.Dropdown(options=[(NONE, None), *listed], index=0, description="beside it")
        names = [(LIMBS, None), (ALL, "all"), *((palette.label(name), name) for name in modalities.names_for(clips.skeleton))]
        first = [value for _, value in names].index(None if modality == "limbs" else modality)  # by place: a value of None chooses nothing
        self.modality = widgets.Dropdown(options=names, index=first, description="modality")
        self.body = widgets.Dropdown(options=self._bodies(), value=body, description="body")
        self.output = widgets.Output()
        self.clip.layout.width = self.other.layout.width = "28em"
        self.modality.layout.width, self.body.layout.width = "18em", "14em"
        choices = [widgets.HBox([self.clip, self.other]), widgets.HBox([self.modality, self.body])]
        super().__init__([*choices, self.output])
        self.clip.observe(self._change_clip, "value")
        self.other.observe(self._change_clip, "value")
        self.modality.observe(self._draw, "value")
        self.body.observe(self._draw, "value")
        self._draw()

    def _bodies(self) -> list[str]:
        chosen = [number for number in (self.clip.value, self.other.value) if number is not None]
        return list(BODIES[: min(scene.body_count(self.clips[number]) for number in chosen) + 1])

    def _change_clip(self, _change: Any) -> None:
        body, options = self.body.value, self._bodies()
        with self.body.hold_trait_notifications():
            self.body.options = options
            self.body.value = body if body in options else "both"
        self._draw()

    def _draw(self, _change: Any = None) -> None:
        shown = clip, other, modality, body = self.clip.value, self.other.value, self.modality.value, self.body.value
        if shown == self.shown:
            return
        self.shown = shown
        self.player = Player((self.clips, clip), None, modality, None if other is None else (self.clips, other), body=body)
        self.player.keep = self.model_id
        self.output.outputs = ({"output_type": "display_data", "data": self.player._repr_mimebundle_(), "metadata": {}},)


def explore(
    clips: Any,
    clip: int = 0,
    modality: str | None = "motion",
    body: str = "both",
    limit: int = 200,
) -> Explorer:
    """The player with dropdowns, for a live notebook; what needs neither a kernel nor ipywidgets from the network is `show`, and, to
    look through many clips, `browse`.

    Nothing waits, so a headless run goes straight through: the player is put into the `Output` as a value. Capturing what `display` shows
    instead makes nbclient, and with it papermill, wait for ever.

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
    choices.place("clip", clip, len(choices.clips(clips).labels), "the clips of the file")
    panels(modality, clips.skeleton)
    choices.one_of("body", body, BODIES)
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
