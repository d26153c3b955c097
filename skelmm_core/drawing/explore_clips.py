"""The clips of a file to look through: filter by class, subject, view and length, search, and play what is clicked, without a kernel.

One element with one file of plain JavaScript (``explore.js``) and the player's; nothing is loaded, so it works in JupyterLab, in a saved
notebook, in the HTML that nbconvert makes of it, and from a file with the network off.

All clips are listed, as far as there is room for their names; those that play are packed into the page, so they are few, taken in turn from
the classes. The element says how many, and how to see the others; where a kernel runs, it fetches them (`Browser.with_kernel`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from skelmm_core import html
from skelmm_core.drawing import choices, maps, packing, player
from skelmm_core.drawing.explorer import shortlist
from skelmm_core.drawing.messenger import Messenger
from skelmm_core.drawing.player import Player
from skelmm_core.drawing.sheet import class_sheet
from skelmm_core.drawing.strip import film_strip
from skelmm_core.errors import DataError, SettingsError

HELD = 120  # clips that play unless told otherwise
LISTED = 400_000  # bytes of names and columns
HEAVY = 900_000  # bytes of clips that play
FAR = 30.0  # metres or image heights that a clip which plays may take
LEAST = 20  # frames of a clip that are shown however many bytes they take
STILLS = 8  # clips of the picture for readers that run no script
COLUMNS = (("subject", "subjects"), ("view", "views"), ("setup", "setups"), ("repetition", "repetitions"))


class Browser:
    """What `browse` gives: shows itself as the last line of a cell; `save` writes a page, `with_kernel` fetches clips."""

    def __init__(self, clips: Any, chosen: Sequence[int] | np.ndarray | None = None, held: int = HELD, title: str = ""):
        count = len(choices.clips(clips).labels)
        if not count:
            raise DataError("nothing to look through: the file holds no clip")
        if chosen is not None:
            expected = f"numbers of clips, 0 to {count - 1}, at least one"
            chosen = np.unique(choices.array("chosen", chosen, expected, error=SettingsError))
            if not chosen.size or chosen.dtype.kind not in "iu" or not 0 <= chosen[0] <= chosen[-1] < count:
                raise SettingsError(f"chosen must be {expected}; found {chosen.tolist()[:5]}")
        held = choices.whole("held", held, "1 clip or more", 1)
        self.clips, self.title = clips, title or getattr(clips, "title", "")
        self.listed, self.chosen = np.arange(count) if chosen is None else chosen, chosen is not None
        self.names = [" ".join(clips.names[int(i)].split()) for i in self.listed]
        room = LISTED // max(12 + sum(len(json.dumps(name)) for name in self.names) // len(self.names), 1)
        if room < len(self.listed):
            kept, self.chosen = spread(clips.labels[self.listed], room), False
            self.listed, self.names = self.listed[kept], [self.names[k] for k in kept]
        self.held = self._drawn(held)  # those that play; fewer once they are packed and don't fit

    @cached_property
    def data(self) -> dict[str, Any]:
        """What the script is given, as plain JSON values."""
        clips, words = self.clips, self.clips.class_names
        columns = [self._column("class", clips.labels, words)]
        columns += [self._column(name, getattr(clips, many, None)) for name, many in COLUMNS]
        told, notes = self._packed()
        return {
            "title": self.title, "heading": self.title, "total": len(clips.labels), "chosen": self.chosen,
            "numbers": self.listed.tolist(), "names": self.names,
            "columns": [column for column in columns if column], "frames": np.asarray(clips.frames)[self.listed].tolist(),
            "rate": clips.frame_rate, "stored": {str(number): k for k, number in enumerate(self.held)}, "notes": notes,
            "player": told | {"notes": [], "autoplay": True},
        }  # fmt: skip

    def _packed(self) -> tuple[dict[str, Any], list[str]]:
        """The player's data of the clips that play, as many as `HEAVY` bytes hold, and what the player says of each."""
        if not self.held:
            raise DataError(f"no clip that could play: the joints of all reach farther than {FAR:g} m; look at their units")
        first, *others = [(self.clips, number) for number in self.held]
        shown = Player(first, other=others)
        data, notes = shown.data, [shot.note for shot in shown.shots]
        sizes, most = {number: len(json.dumps(clip)) for number, clip in zip(self.held, data["clips"], strict=True)}, len(self.held)
        kept = self.held
        while len(kept) > 1 and (used := sum(sizes[number] for number in kept)) > HEAVY:
            most = max(min(most - 1, int(most * HEAVY / used)), 1)
            kept = self._drawn(most)
        places = [self.held.index(number) for number in kept]
        self.held = kept
        return data | {"clips": [data["clips"][k] for k in places]}, [notes[k] for k in places]

    def _drawn(self, most: int) -> list[int]:
        """Up to `most` of the clips that are listed; fewer are among more."""
        return playable(self.clips, self.listed[spread(self.clips.labels[self.listed], most)].tolist())

    def _column(self, name: str, values: np.ndarray | None, class_names: Sequence[str] = ()) -> dict[str, Any] | None:
        """A column to filter by: its values and a word for each; None where it tells nothing."""
        if values is None:
            return None
        values = np.asarray(values)[self.listed]
        kinds = np.unique(values).tolist()
        if kinds == [-1]:
            return None
        return {"name": name, "words": [[kind, maps.word(name, kind, class_names)] for kind in kinds], "values": values.tolist()}

    @cached_property
    def _text(self) -> str:
        return player.text(self.data)

    @cached_property
    def name(self) -> str:
        """What the page's element is called, by its content."""
        return player.called(self._text)

    def _fetch(self, number: int) -> dict[str, Any]:
        """What the script is given of a clip, or, of one that can't be drawn, why."""
        try:
            data = Player((self.clips, number)).data
        except DataError as error:
            data = {"problem": str(error)}
        return {"points": [number], "player": data}

    def with_kernel(self) -> Messenger:
        """A widget without a face, to be shown beside the list: while it is there and its kernel runs, every clip plays."""
        return Messenger("clips", self.name, len(self.clips.labels), self._fetch)

    @cached_property
    def still(self) -> bytes:
        """Film strips of some clips as PNG, for readers that run no script."""
        return packing.still([class_sheet(self.clips, [self.held[k] for k in spread(self.clips.labels[self.held], STILLS)])])

    def html(self, heading: bool = True) -> str:
        """The list as a part of a page: an element with a picture, and the script that puts the list in its place."""
        data, name = self._text if heading else player.text(self.data | {"heading": ""}), self.name
        image, words = base64.b64encode(self.still).decode(), escape(repr(self)).replace("$", "&#36;")
        return (
            f'<div data-skelmm-clips="{name}"><img alt="{words}" src="data:image/png;base64,{image}">'
            "<p>Some of the clips; the list in its place needs JavaScript and, in JupyterLab, a notebook that is trusted.</p></div>"
            f'<script>(() => {{\n{player.script()}\n{player.script("explore.js")}\nmountClips({data}, "{name}");\n}})();</script>'
        )

    def save(self, path: str | Path) -> Path:
        """Write a page that works by itself, without a network; makes parent folders and returns the path.

        Raises `SettingsError` for a path that doesn't end in `.html`, `DataError` for a full or read-only disk.
        """
        return html.save(path, "a list of clips", self.title or "Clips", self.html(heading=False))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"Clips to look through: {len(self.listed)} of {len(self.clips.labels)} listed, {len(self.data['stored'])} play"


def browse(clips: Any, chosen: Sequence[int] | np.ndarray | None = None, held: int = HELD, title: str = "") -> Browser:
    """The clips of a file to filter, search and play, in a saved notebook too; what draws any clip of it in a live one is `explore`.

    Less than 1.5 MB are saved: names and columns of all clips (of a large file, of some), and some clips that play. In a live notebook
    ``front = drawing.browse(clips)``, ``display(front, front.with_kernel())`` lets all of them play.

    Args:
        clips: an open `Clips`.
        chosen: numbers of the clips to list; by default all.
        held: most clips that play without a kernel; taken in turn from the classes, at random but the same every time.
        title: heading; by default that of the file.

    Raises `SettingsError` for numbers of clips that aren't there, `DataError` for clips that can't be drawn.
    """
    return Browser(clips, chosen, held, title)


def playable(clips: Any, numbers: Sequence[int]) -> list[int]:
    """Those of the clips that a player can show: whose joints keep within `FAR`; of a wider one nothing would be seen, and a film strip of
    coordinates that are damaged could be as wide as they are."""
    found = []
    for number in map(int, numbers):
        joints = np.asarray(clips[number].joints, np.float64)
        joints = joints[joints.any(axis=-1)]
        if not len(joints) or np.ptp(joints, axis=0).max() <= FAR:
            found.append(number)
    return found


def in_room(clips: Any, numbers: Sequence[int], moment: int = 0, most: int = 95_000) -> Player:
    """A player of the clips, in step, whose HTML takes up to `most` bytes: where that is too little, with a film strip of the first clip
    alone, and of the part around the frame `moment`; so is a clip of which a player shows a part, in any case."""
    first, *others = [(clips, int(number)) for number in numbers]
    frames = min(int(clips.frames[number]) for number in numbers)
    player = Player(first, other=others)
    length = min(shot.joints.shape[1] for shot in player.shots)
    while True:
        if length < frames or moment >= length:
            begin = max(min(moment - length // 2, frames - length), 0)
            player = Player(first, other=others, span=(begin / clips.frame_rate, (begin + length - 1) / clips.frame_rate))
        if len(player.html()) <= most:
            return player
        shot = player.shots[0]
        player.still = packing.still([film_strip(shot.shown, shot.skeleton, 4, None, shot.rate, player.turn, player.title)])
        if len(player.html()) <= most or length < LEAST:
            return player
        length //= 2


def spread(labels: np.ndarray, most: int) -> list[int]:
    """Up to `most` places in `labels` (N,), ascending: classes in turn, at random but always the same; fewer are among more."""
    labels = np.asarray(labels)
    order = np.random.default_rng(0).permutation(len(labels))
    return sorted(order[shortlist(labels[order], most)].tolist())
