"""A shot: one clip as a player or an explorer shows it, with the frames, bodies, title and frame rate that were asked for."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from skelmm_core import skeletons
from skelmm_core.drawing import choices, packing, scene
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.recordings import too_large
from skelmm_core.skeletons import Skeleton

BODIES = ("both", "first", "second")
MOST = 300  # frames of a clip that are shown unless more are asked for
WHOLE, NUMBERS = 150, 24_500  # so many are shown in any case, more until they hold so many coordinates: 163 of two bodies of 25 joints
CLIP = "a Recording, numbers (bodies, frames, joints, 3), or (open clips, number)"
ROOM, ROUGHEST = 26_000, 0.02  # bytes of a packed clip, with which all that is saved of it stays below 100 kB; and metres of its grid


class Shot:
    """One clip as it is shown. `joints`: (M, T, V, 3) with NaN, of the bodies and frames that are; `shown`: the same as given."""

    def __init__(self, clip: Any, skeleton: Any, title: str | None, rate: float | None, body: str, span: tuple[float, float] | None):
        if isinstance(clip, tuple):
            if len(clip) != 2 or not hasattr(clip[0], "labels"):
                raise SettingsError(
                    f"a pair to show must be (open clips, number), found ({', '.join(type(part).__name__ for part in clip)})"
                )
            clips, number = clip[0], choices.place("clip", clip[1], len(clip[0].labels), "the clips of the file")
            skeleton, rate = clips.skeleton if skeleton is None else skeleton, clips.frame_rate if rate is None else rate
            title, clip = describe(clips, number) if title is None else title, clips[number]
        joints = choices.array("a clip to show", getattr(clip, "joints", clip), CLIP)
        if not isinstance(title, str | None):
            raise SettingsError(f"titles must be words, found {title!r}")
        self.title = title or ""
        self.rate = 30.0 if rate is None else choices.number("frame_rate", rate, "above 0 frames per second", above=0)
        self.skeleton = skeletons.get(skeleton) if skeleton is not None else guessed(joints.shape)
        scene.bodies(joints, self.skeleton)  # checks the shape
        self.whole = joints.shape[1]
        self.begin, end = (0, min(self.whole, MOST)) if span is None else self._part(span)
        joints = joints[:, self.begin : end]
        found = scene.bodies(joints, self.skeleton)
        if len(found) > 2:
            raise DataError(f"a player shows one or two bodies, the clip has {len(found)}; choose two of them: clip.joints[[0, 1]]")
        if span is None:
            there = ~np.isnan(found[choose(len(found), body), ..., 0])  # (M, T, V)
            fit = np.searchsorted(np.cumsum(there.sum(axis=(0, 2))) * self.skeleton.dimensions, NUMBERS, side="right")
            joints = joints[:, : max(int(fit), WHOLE)]
            found = scene.bodies(joints, self.skeleton)
        self.numbers = choose(len(found), body)
        self.joints = found[self.numbers]
        self.shown = joints[np.flatnonzero(joints.any(axis=(1, 2, 3)))[self.numbers]] if joints.any() else joints[:1]

    @property
    def note(self) -> str:
        """What has to be said of it: that nobody is there, the wrong unit, and which part is shown; else ""."""
        words = ["nobody is there in any frame"] if np.isnan(self.joints).all() else []
        words += [large] if (large := too_large(self.joints, self.skeleton)) else []
        if self.joints.shape[1] < self.whole:
            end = self.begin + self.joints.shape[1] - 1
            words.append(f"shown: {self.begin / self.rate:.2f} to {end / self.rate:.2f} s of {(self.whole - 1) / self.rate:.2f} s")
        return "; ".join(words)

    def _part(self, span: Any) -> tuple[int, int]:
        """The first frame that was asked for, and the one after the last."""
        last = (self.whole - 1) / self.rate
        expected = f"two seconds in order within 0 to {last:.2f}, the clip's"
        if not isinstance(span, tuple | list) or len(span) != 2:
            raise SettingsError(f"span must be {expected}; found {span!r}")
        begin, end = (round(choices.number("span", second, expected) * self.rate) for second in span)
        if not 0 <= begin <= min(end, self.whole - 1):
            raise SettingsError(f"span must be {expected}; found {span!r}")
        return begin, min(end + 1, self.whole)

    def _packed(self) -> tuple[float, bytes]:
        """The step of the grid and the joints on it. Where they take more than `ROOM`, a clip too rough for the usual grids gets a coarser
        one, until nearly every number is a byte."""
        step, axes = packing.grid(self.joints), self.skeleton.dimensions
        content = packing.pack(self.joints, step, axes)
        least = max(ROOM, 1.1 * axes * np.count_nonzero(~np.isnan(self.joints[..., 0])))
        while len(content) > least and packing.COARSEST <= step < ROUGHEST:
            step = float(f"{1.4 * step:.2g}")
            content = packing.pack(self.joints, step, axes)
        return step, content

    @property
    def data(self) -> dict[str, Any]:
        s, (step, content) = self.skeleton, self._packed()
        box, ground = (
            scene.limits(self.joints, 0.1 if s.dimensions == 3 else 0.04, 0.8 if s.dimensions == 3 else 0.4),
            scene.floor(self.joints),
        )
        if s.dimensions == 3:
            box[1, 0] = min(box[1, 0], ground)
        inner = {parent for _, parent in scene.limbs(s)}
        return {
            "title": self.title, "rate": self.rate, "frames": self.joints.shape[1], "bodies": len(self.joints), "numbers": self.numbers,
            "flat": s.dimensions == 2, "bone": list(s.bone), "axis": list(s.axis), "centre": s.centre, "shoulders": list(s.shoulders),
            "spine": s.spine, "sides": s.sides(), "ends": [v for v in range(len(s)) if v not in inner], "floor": round(ground, 4),
            "box": box.round(4).tolist(), "step": step, "data": base64.b64encode(content).decode(),
        }  # fmt: skip

    def __repr__(self) -> str:
        m, t = self.joints.shape[:2]
        title = f"{self.title}, " if self.title else ""
        return f"{title}{t} frames at {self.rate:g} Hz, {m} {'body' if m == 1 else 'bodies'} of {self.skeleton.name}"


def choose(count: int, body: str) -> list[int]:
    """Numbers of the bodies to show out of `count`."""
    choices.one_of("body", body, BODIES)
    if body == "second" and count < 2:
        raise SettingsError("the clip has one body, the second was asked for; choose 'first' or 'both'")
    return {"both": list(range(count)), "first": [0], "second": [1]}[body]


def guessed(shape: tuple[int, ...]) -> Skeleton:
    """The only known skeleton with as many joints as a clip of this shape has; `SettingsError` where there is none, or more than one."""
    if len(shape) != 4 or shape[-1] != 3:
        raise DataError(f"a clip to draw must be (bodies, frames, joints, 3), found {shape}; of one body it is joints[None]")
    fits = [s for s in skeletons.SKELETONS.values() if len(s) == shape[2]]
    if len(fits) != 1:
        known = ", ".join(f"{s.name} ({len(s)} joints)" for s in skeletons.SKELETONS.values())
        raise SettingsError(f"no skeleton given, and {len(fits)} of the known ones fit a clip of shape {shape}; name one: {known}")
    return fits[0]


def describe(clips: Any, number: int) -> str:
    """Such as "12: wave, subject 3, view 1", as far as it is known."""
    words = [clips.class_names[int(clips.labels[number])]]
    for word, column in (("subject", "subjects"), ("view", "views")):
        values = getattr(clips, column, None)
        if values is not None and values[number] >= 0:
            words.append(f"{word} {values[number]}")
    return f"{number}: {', '.join(words)}"
