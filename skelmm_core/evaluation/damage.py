"""Damaged clips: what a worse sensor, a slower one or a turned one would have recorded of the same motion.

The damage is done to coordinates as recorded, before anything is prepared, and is the same for a clip in any company: it is drawn from
the seed and the clip's number in the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from skelmm_core.clips import Clips, Packed
from skelmm_core.errors import DataError, SettingsError, nearest

Body = np.ndarray  # (M, T, V, 3) of one clip


class Damage(NamedTuple):
    """do: clip (M, T, V, 3), level, draw, centre joint -> damaged clip, (M, T', V, 3). levels: those that curves show. unit: of a level.
    text: axis label. flat: makes sense for joints in an image, too."""

    do: Callable[[Body, float, np.random.Generator, int], Body]
    levels: tuple[float, ...]
    unit: str
    text: str
    flat: bool = False


class Damaged:
    """Clips as `Clips` gives them to `batches.load` and `knn.raw_vectors`, damaged on the way.

    Args: kind: a name of `KINDS`. level: 0 or more, 0 leaves everything as it is. seed: of the draws.
    Raises: SettingsError for an unknown kind or a level that is none; DataError for joints in an image, of which a camera that moves, and
        noise in metres, can't be told.
    """

    def __init__(self, clips: Clips, kind: str, level: float, seed: int = 0):
        if kind not in KINDS:
            raise SettingsError(f"unknown damage '{kind}'{nearest(kind, KINDS)}; known: {', '.join(KINDS)}")
        if not math.isfinite(level) or level < 0:
            raise SettingsError(f"the level of a damage must be 0 or more and finite, found {level!r}")
        if clips.skeleton.dimensions == 2 and not KINDS[kind].flat:
            raise DataError(f"damage '{kind}' is for joints in metres, found skeleton '{clips.skeleton.name}' in an image")
        self.clips, self.kind, self.level, self.seed = clips, kind, float(level), seed
        self.skeleton, self.bodies, self.labels, self.class_names = clips.skeleton, clips.bodies, clips.labels, clips.class_names
        self.frames = np.maximum(1, -(-clips.frames // self._step)).astype(clips.frames.dtype)

    @property
    def _step(self) -> int:
        return max(1, round(self.level)) if self.kind == "rate" else 1

    def joints_of(self, i: int) -> Body:
        """Damaged joints of clip i, (M, T', V, 3)."""
        joints = np.array(self.clips.joints_of(i))
        if not self.level:
            return joints
        draw = np.random.default_rng([self.seed, list(KINDS).index(self.kind), i])
        return KINDS[self.kind].do(joints, self.level, draw, self.skeleton.centre).astype(np.float32)

    def take(self, indices: Sequence[int] | np.ndarray) -> Packed:
        indices = np.asarray(indices, np.int64)
        rows = np.concatenate([self.joints_of(int(i)).reshape(-1, len(self.skeleton), 3) for i in indices])
        length = self.frames[indices].astype(np.int64) * self.bodies[indices]
        return Packed(rows, np.cumsum(length) - length, self.frames[indices], self.bodies[indices])


def noise(x: Body, centimetres: float, draw: np.random.Generator, centre: int) -> Body:
    """Every coordinate of every frame off by a Gaussian of so many centimetres; bodies that are not there stay so."""
    there = np.abs(x).max(axis=(2, 3), keepdims=True) > 0
    return np.asarray(x + there * draw.normal(0, centimetres / 100, x.shape))


def joints(x: Body, count: float, draw: np.random.Generator, centre: int) -> Body:
    """So many joints, drawn for the clip, never seen: they lie in the centre joint, which itself is always seen."""
    others = np.delete(np.arange(x.shape[2]), centre)
    lost = draw.permutation(others)[: round(count)]
    x[:, :, lost] = x[:, :, centre : centre + 1]
    return x


def frames(x: Body, percent: float, draw: np.random.Generator, centre: int) -> Body:
    """Each frame but the first lost with this probability: the last one that was seen stands still in its place."""
    seen = np.asarray(draw.random(x.shape[1]) >= percent / 100)
    seen[0] = True
    return x[:, np.maximum.accumulate(np.where(seen, np.arange(len(seen)), 0))]


def rate(x: Body, step: float, draw: np.random.Generator, centre: int) -> Body:
    """Every so-manieth frame alone, from the first on: a sensor as many times slower."""
    return x[:, :: max(1, round(step))]


def tilt(x: Body, degrees: float, draw: np.random.Generator, centre: int) -> Body:
    """The camera looks down by so many degrees: all coordinates are turned about the x axis."""
    a = math.radians(degrees)
    turned: Body = x @ np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]]).T
    return turned


def turn(x: Body, degrees: float, draw: np.random.Generator, centre: int) -> Body:
    """The camera stands so many degrees to the side, left or right by chance: all coordinates are turned about the vertical."""
    a = math.radians(degrees) * draw.choice([-1, 1])
    turned: Body = x @ np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]]).T
    return turned


KINDS: dict[str, Damage] = {
    "noise": Damage(noise, (1, 2, 5, 10), "cm", "noise of coordinates (cm)"),
    "joints": Damage(joints, (1, 2, 4, 8), "joints", "joints never seen", flat=True),
    "frames": Damage(frames, (25, 50, 75, 90), "%", "frames lost (%)", flat=True),
    "rate": Damage(rate, (2, 4, 8, 16), "times slower", "frame rate, times slower", flat=True),
    "tilt": Damage(tilt, (10, 20, 30, 45), "°", "camera tilted down (°)"),
    "turn": Damage(turn, (30, 60, 90, 180), "°", "camera to the side (°)"),
}  # fmt: skip
