"""A shot: one clip as a player or an explorer shows it, with the frames, bodies, title and frame rate that were asked for."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from skelmm_core import skeletons
from skelmm_core.drawing import packing, scene
from skelmm_core.errors import DataError, SettingsError, nearest
from skelmm_core.skeletons import Skeleton

BODIES = ("both", "first", "second")
MOST = 300  # frames of a clip that are shown unless more are asked for: as many as keep two bodies below 100 kB


class Shot:
    """One clip as it is shown. `joints`: (M, T, V, 3) with NaN, of the bodies and frames that are; `shown`: the same as given."""

    def __init__(self, clip: Any, skeleton: Any, title: str | None, rate: float | None, body: str, span: tuple[float, float] | None):
        if isinstance(clip, tuple):
            clips, number = clip
            if not 0 <= number < len(clips.labels):
                raise SettingsError(f"clip must be 0 to {len(clips.labels) - 1}, the clips of the file; found {number}")
            skeleton, rate = clips.skeleton if skeleton is None else skeleton, clips.frame_rate if rate is None else rate
            title, clip = describe(clips, number) if title is None else title, clips[number]
        joints = np.asarray(getattr(clip, "joints", clip))
        self.title, self.rate = title or "", 30.0 if rate is None else float(rate)
        if not 0 < self.rate < np.inf:
            raise SettingsError(f"frame_rate must be above 0 frames per second, found {rate}")
        self.skeleton = skeletons.get(skeleton) if skeleton is not None else guessed(joints.shape)
        scene.bodies(joints, self.skeleton)  # checks the shape
        self.whole = joints.shape[1]
        self.begin, end = 0, min(self.whole, MOST)
        if span is not None:
            self.begin, end = (round(second * self.rate) for second in span)
            end = min(end + 1, self.whole)
            if not 0 <= self.begin < end:
                last = (self.whole - 1) / self.rate
                raise SettingsError(f"span must be two seconds in order within 0 to {last:.2f}, the clip's; found {span}")
        joints = joints[:, self.begin : end]
        found = scene.bodies(joints, self.skeleton)
        if len(found) > 2:
            raise DataError(f"a player shows one or two bodies, the clip has {len(found)}; choose two of them: clip.joints[[0, 1]]")
        self.numbers = choose(len(found), body)
        self.joints = found[self.numbers]
        self.shown = joints[np.flatnonzero(joints.any(axis=(1, 2, 3)))[self.numbers]] if joints.any() else joints[:1]

    @property
    def note(self) -> str:
        if self.joints.shape[1] == self.whole:
            return ""
        end = self.begin + self.joints.shape[1] - 1
        return f"shown: {self.begin / self.rate:.2f} to {end / self.rate:.2f} s of {(self.whole - 1) / self.rate:.2f} s"

    @property
    def data(self) -> dict[str, Any]:
        s, step = self.skeleton, packing.grid(self.joints)
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
            "box": box.round(4).tolist(), "step": step, "data": base64.b64encode(packing.pack(self.joints, step, s.dimensions)).decode(),
        }  # fmt: skip

    def __repr__(self) -> str:
        m, t = self.joints.shape[:2]
        title = f"{self.title}, " if self.title else ""
        return f"{title}{t} frames at {self.rate:g} Hz, {m} {'body' if m == 1 else 'bodies'} of {self.skeleton.name}"


def choose(count: int, body: str) -> list[int]:
    """Numbers of the bodies to show out of `count`."""
    if body not in BODIES:
        raise SettingsError(f"unknown body '{body}'{nearest(body, BODIES)}")
    if body == "second" and count < 2:
        raise SettingsError("the clip has one body, the second was asked for; choose 'first' or 'both'")
    return {"both": list(range(count)), "first": [0], "second": [1]}[body]


def guessed(shape: tuple[int, ...]) -> Skeleton:
    """The only known skeleton with as many joints as a clip of this shape has; `SettingsError` where there is none, or more than one."""
    fits = [s for s in skeletons.SKELETONS.values() if len(shape) == 4 and len(s) == shape[2]]
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
