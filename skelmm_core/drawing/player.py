"""The interactive player: clips as stick figures in three dimensions with play, pause, speed, a slider in seconds, orbit and zoom.

`show` is the short way, `Player` takes everything else. It draws with one file of plain JavaScript, ``player.js``, on a canvas, and loads
nothing: it plays in JupyterLab, in a saved notebook without a kernel, in the HTML that nbconvert makes of it, and from a file with the
network off.

What is saved is the script (26 kB), a film strip for readers that run no script (10 kB: GitHub, a notebook that isn't trusted yet), and
joints: 8 kB for 100 frames of one body of 25. The six modalities are not stored: arrows would be six times as large as the joints they
are computed from, and would have to be rounded more coarsely. The script computes them again by the formulas of `modalities`, which
are the reference that it is tested against; only the lengths of arrows and the ends of colour scales come from Python.

The player lives in a shadow root of the output's own element: page styles don't reach it, its own don't get out, several stand
on one page, and JupyterLab's shortcuts leave its keys alone. (A frame would do the same for a third more bytes, at a fixed height.)
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from skelmm_core import html, modalities
from skelmm_core.drawing import choices, packing, palette, scene
from skelmm_core.drawing.shot import Shot
from skelmm_core.drawing.strip import film_strip
from skelmm_core.errors import DataError
from skelmm_core.skeletons import Skeleton

LIMBS = "limbs"
STYLES = ("arrows", "colour")
FULL = 0.7  # of the colour scale: where the modality's own colour stands, between grey and nearly black
ORDER = {"motion": 1, "acceleration": 2, "angular_velocity": 1}  # how often the unit of a modality is divided by a frame


def show(
    clip: Any,
    skeleton: Skeleton | str | None = None,
    modality: str | Iterable[str] | None = None,
    other: Any = None,
    titles: str | Sequence[str] | None = None,
) -> Player:
    """A clip, or two in step, that play where this is the last line of a cell; arguments as `Player` has them.

    Example: ``show((clips, 12))``, ``show((clips, 12), modality="all")``, ``show((clips, 12), other=(clips, 40), modality="motion")``.
    """
    return Player(clip, skeleton, modality, other, titles)


class Player:
    """A clip, or two and more clips in step on one clock, with one panel per modality.

    Clips of different lengths run in real time: the shorter one waits at its end, and its panel says so. They have one scale in metres
    and one for each modality; if their frame rates differ, that one is per second, and arrows are as long as the motion is fast.

    Args:
        clip: `Recording`, an array (M, T, V, 3) as in a `Recording`, or a pair (open `Clips`, number), which knows its skeleton, frame rate
            and title.
        skeleton: skeleton or its name; by default that of the pair, or the only known one with so many joints.
        modality: None for limbs alone, "all" for all that the skeleton has beside each other, one of `modalities.NAMES` or ``"limbs"``,
            or several of them. The player lets the reader choose others.
        other: a second clip, of the same kinds as `clip`, to compare with, or a list of several.
        titles: heading, or one for each clip; by default number, class, subject and view of a pair.
        body: "both", "first" or "second".
        frame_rate: frames per second, or one for each clip; by default that of the pair, or 30.
        span: first and last second to show; by default the whole clip, or of a longer one as much as takes less than 100 kB: the first 300
            frames, with two bodies of 25 joints 163; the player says so. Differences at the end of a part are those of a clip that ends
            there: 0.
        style: "arrows" (vectors over faint limbs) or "colour" (joints and bones by the vectors' lengths).
        speed: times real time, above 0 up to 10.
        trails: seconds of trails behind the ends of limbs, 0 for none.
        turn: degrees that the viewer stands to the camera's right at first; joints in an image are always seen from the front.
        autoplay: begin at once, unless the reader's system asks for reduced motion.

    Raises:
        DataError: a clip that can't be drawn, or whose joints don't fit the skeleton. SettingsError: a modality without a meaning, a second
            body that isn't there, and other arguments that can't be.
    """

    keep = ""  # a name: what is chosen in the player is kept for the next one of that name, which a widget puts in its place

    def __init__(
        self,
        clip: Any,
        skeleton: Skeleton | str | None = None,
        modality: str | Iterable[str] | None = None,
        other: Any = None,
        titles: str | Sequence[str] | None = None,
        body: str = "both",
        frame_rate: float | Sequence[float] | None = None,
        span: tuple[float, float] | None = None,
        style: str = "arrows",
        speed: float = 1.0,
        trails: float = 0.0,
        turn: float = 30.0,
        autoplay: bool = False,
    ):
        self.style, self.autoplay = choices.one_of("style", style, STYLES), bool(autoplay)
        self.speed = choices.number("speed", speed, "above 0 up to 10 times real time", most=10, above=0)
        self.trails = choices.number("trails", trails, "seconds from 0 on", least=0)
        self.turn = choices.number("turn", turn, "degrees")
        given = [clip, *([] if other is None else other if isinstance(other, list) else [other])]
        names, rates = (choices.each(name, v, len(given)) for name, v in (("titles", titles), ("frame_rate", frame_rate)))
        self.shots = [Shot(c, skeleton, t, r, body, span) for c, t, r in zip(given, names, rates, strict=True)]
        self.skeleton = self.shots[0].skeleton
        if len({shot.skeleton.dimensions for shot in self.shots}) > 1:
            found = " and ".join(f"'{shot.skeleton.name}' ({shot.skeleton.dimensions}-D)" for shot in self.shots)
            raise DataError(f"clips to compare must both be in space or both in an image, found skeletons {found}")
        self.panels = panels(modality, self.skeleton)

    @property
    def title(self) -> str:
        return " | ".join(shot.title for shot in self.shots if shot.title)

    @cached_property
    def data(self) -> dict[str, Any]:
        """What the script is given, as plain JSON values."""
        names = modalities.names_for(self.skeleton)
        return {
            "clips": [shot.data for shot in self.shots],
            "clock": self.clock, "title": self.title, "heading": self.title if len(self.shots) == 1 else "",
            "scales": {name: self._scale(name) for name in names},
            "panels": self.panels, "style": self.style, "speed": self.speed, "trails": self.trails, "turn": self.turn,
            "autoplay": self.autoplay, "colours": {"bodies": palette.BODIES, "faint": palette.FAINT},
            "length": "m" if self.skeleton.dimensions == 3 else "image heights",
            "notes": [shot.note for shot in self.shots if shot.note],
        }  # fmt: skip

    @property
    def clock(self) -> float:
        """How many times a second what scales are told per: the frames of all clips, or, where their rates differ, 1."""
        rates = {shot.rate for shot in self.shots}
        return rates.pop() if len(rates) == 1 else 1.0

    def _scale(self, name: str) -> dict[str, Any]:
        """How a modality is drawn: of all clips together, per frame, or per second where frames differ."""
        order, length = ORDER.get(name, 0), scene.IMAGE_ARROW if self.skeleton.dimensions == 2 else scene.ARROW
        found = [scene.vectors(shot.joints, shot.skeleton, name) for shot in self.shots]
        sizes = [vector.size * (shot.rate / self.clock) ** order for vector, shot in zip(found, self.shots, strict=True)]
        limbs = [np.delete(size, shot.skeleton.centre, axis=2).ravel() for size, shot in zip(sizes, self.shots, strict=True)]
        known = np.concatenate(limbs)
        known = known[~np.isnan(known)]
        own, none = name in ("joint", "bone"), found[0].unit == "unit vector"
        reference = length if own else scene.round_value(np.concatenate([size.ravel() for size in sizes]))
        end = 1.0 if none else (float(f"{np.percentile(known, 98):.2g}") if known.size else 0.0) or 1.0
        words = (
            "arrows true to scale" + ", but the centre's, a unit normal" * (name == "bone")
            if own
            else "length 1"
            if none
            else quantity(reference, found[0].unit, self.clock, order)
        )
        return {
            "label": palette.label(name), "colour": palette.modality_colour(name), "own": own, "order": order,
            "reference": reference, "metres": 1.0 if own else length / reference, "length": length, "longest": scene.LONGEST,
            "end": end, "top": end / FULL if none else end,  # lengths of 0 or 1: grey or the modality's colour
            "arrow": words, "bar": quantity(end, found[0].unit, self.clock, order),
        }  # fmt: skip

    @cached_property
    def still(self) -> bytes:
        """A film strip of each clip as PNG, with its vectors where one modality is shown, for readers that run no script."""
        name = self.panels[0] if len(self.panels) == 1 and self.panels[0] != LIMBS else None
        return packing.still([
            film_strip(shot.shown, shot.skeleton, 6, name, shot.rate, self.turn, shot.title) for shot in self.shots
        ])  # fmt: skip

    def html(self, heading: bool = True) -> str:
        """The player as a part of a page: an element with the film strip, and the script that puts the player in its place."""
        data = text(self.data | ({} if heading else {"heading": ""}) | ({"keep": self.keep} if self.keep else {}))
        name = called(data)
        image = base64.b64encode(self.still).decode()
        words = escape(repr(self)).replace("$", "&#36;")
        return (
            f'<div data-skelmm="{name}"><img alt="{words}" src="data:image/png;base64,{image}">'
            "<p>A film strip; the player in its place needs JavaScript and, in JupyterLab, a notebook that is trusted.</p></div>"
            f'<script>(() => {{\n{script()}\nmount({data}, "{name}");\n}})();</script>'
        )

    def save(self, path: str | Path) -> Path:
        """Write a page that plays by itself, without a network; makes parent folders and returns the path.

        Raises:
            SettingsError: `path` doesn't end in `.html`. DataError: the disk is full or read-only; nothing is left half written.
        """
        return html.save(path, "a player", self.title or "Player", self.html(heading=False))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"Player: {' beside '.join(map(repr, self.shots))}; shown: {', '.join(palette.label(name) for name in self.panels)}"


def text(data: Any) -> str:
    """Plain JSON values as they may stand in a script of a page: a name such as ``</script>`` does not end it."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def called(data: str) -> str:
    """What a page's element is called: by its content, so that each script finds its own."""
    return hashlib.sha256(data.encode()).hexdigest()[:12]


@cache
def script(name: str = "player.js") -> str:
    """A file of JavaScript beside this one without indentation and comments."""
    lines = (line.partition(" // ")[0].strip() for line in (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


def panels(modality: str | Iterable[str] | None, skeleton: Skeleton) -> list[str]:
    """What a player shows beside each other: ``"limbs"`` and names of modalities in the table's order."""
    if modality is None:
        return [LIMBS]
    if isinstance(modality, str) and modality == "all":
        return list(modalities.names_for(skeleton))
    known = (LIMBS, *modalities.NAMES)
    asked = [modality] if isinstance(modality, str) or not isinstance(modality, Iterable) else list(modality)
    for name in asked or [""]:
        choices.one_of("modality", name, ("all", *known) if isinstance(modality, str) else known)
    names = [name for name in modalities.NAMES if name in asked]
    modalities.check_meaning(names, skeleton)
    return [LIMBS] * (LIMBS in asked) + names


def quantity(value: float, unit: str, rate: float, order: int) -> str:
    """``"0.02 m/frame (0.6 m/s)"`` at 30 frames a second; a rate of 1 is per second already: ``"0.6 m/s"``."""
    if not order:
        return f"{value:g}" if unit == "unit vector" else f"{value:g} {unit}"
    seconds = f"{value * rate**order:.3g} {unit.replace('frame', 's')}"
    return seconds if rate == 1 else f"{value:g} {unit} ({seconds})"
