"""Live recognition: frames as a sensor gives them, one by one, and a class every few frames.

The last `window` frames are one clip, prepared and classified as every other (`predicting`): nothing is approximated, and a prediction is
that of `predicting.predict` for the same frames. Memory is that of two windows, however long a stream runs.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import NamedTuple, cast

import numpy as np

from skelmm_core.errors import DataError, SettingsError
from skelmm_core.predicting import Model
from skelmm_core.recordings import FARTHEST, too_large

BODIES = 2
LONGEST = 3600 * 120  # frames of a window: an hour of a fast camera
ROOM = 1 << 30  # bytes that two windows may take


class Prediction(NamedTuple):
    """What the last window shows. seconds: of its last frame, the stream's first being at 0. probabilities (C,): of all classes."""

    name: str
    probability: float
    seconds: float
    probabilities: np.ndarray


class Stream:
    """Frames in, predictions out: `stream.push(frame)` gives None or, with the first full window and every `hop` frames after, a
    `Prediction`; None, too, when nobody was seen in the whole window.

    A frame is (V, 3) or (M, V, 3) metres, y up, M up to two bodies; None or (0, V, 3): nobody. A body all of whose joints are NaN, or
    zeros, is absent and becomes zeros, which is how clips say so and how the preparation knows it. A joint of a body that is there is
    missing where a coordinate is NaN: it stays where it was last seen, or lies in the centre joint until it is; a body whose centre joint
    was not seen yet is absent. In an image a missing joint has confidence 0.

    Args:
        model: see `predicting.load`.
        window: frames of a clip, as recorded; best about as many as clips had that the model was trained on. hop: frames from one
            prediction to the next.
        rate: frames per second; 0: that of the clips that the model was trained on. Differences are per frame, so another rate (a warning
            says so) shows the model other velocities. A warning, too, says where the first prediction's bodies can't be in metres.

    Raises: `SettingsError` for a window or hop that is not a whole number from 1 on, a window beyond `LONGEST` or `ROOM`, a rate that is no
        number from 0 on; `push`: `DataError` for a frame of another shape and coordinates that are infinite or absurdly far. A frame that
        is refused leaves the stream as it was.
    """

    def __init__(self, model: Model, window: int, hop: int = 1, rate: float = 0.0):
        for name, value in (("window", window), ("hop", hop)):
            if not _number(value, Integral) or value < 1:
                raise SettingsError(f"{name} must be 1 frame or more, a whole number, found {value!r}")
        most = min(LONGEST, ROOM // (2 * BODIES * len(model.skeleton) * 3 * 4))
        if window > most:
            raise SettingsError(
                f"window must be at most {most} frames of {len(model.skeleton)} joints (an hour at 120 frames per second, and "
                f"{ROOM >> 30} GiB for two windows), found {window}"
            )
        if not _number(rate, Real) or not 0 <= rate < np.inf:
            raise SettingsError(f"rate must be frames per second, or 0 for the model's own, found {rate!r}")
        trained = float(model.data.get("frame_rate") or 0)
        if rate and trained and abs(rate / trained - 1) > 0.05:
            warnings.warn(f"'{model.name}' was trained on {trained:g} frames per second, the stream has {rate:g}", stacklevel=2)
        self.model, self.window, self.hop, self.rate = model, int(window), int(hop), rate or trained or 30.0
        self._buffer = np.zeros((BODIES, 2 * self.window, len(model.skeleton), 3), np.float32)  # each frame twice, `window` apart
        self._measured = False  # whether the size of bodies was looked at
        self.reset()

    def reset(self) -> None:
        """Forget all frames: another clip begins."""
        self.frames = 0
        self._seen = np.full((BODIES, len(self.model.skeleton), 3), np.nan, np.float32)

    @property
    def clip(self) -> np.ndarray:
        """The last frames, `window` at most, oldest first, (M, T, V, 3); a second body only where it is seen in one of them."""
        end = (self.frames - 1) % self.window + 1 + self.window
        clip = self._buffer[:, end - min(self.frames, self.window) : end]
        return clip if clip[1].any() else clip[:1]

    def push(self, frame: np.ndarray | None) -> Prediction | None:
        bodies = self._checked(frame)  # (2, V, 3)
        place = self.frames % self.window
        self._buffer[:, place] = self._buffer[:, place + self.window] = self._completed(bodies)
        self.frames += 1
        if self.frames < self.window or (self.frames - self.window) % self.hop:
            return None
        return self._predicted()

    def _predicted(self) -> Prediction | None:
        clip = self.clip
        if not clip.any():
            return None
        if not self._measured and (large := too_large(clip, self.model.skeleton)):
            warnings.warn(f"the stream has {large}", stacklevel=3)
        self._measured = True
        probabilities = self.model.probabilities(clip)[0]
        best = int(probabilities.argmax())
        return Prediction(self.model.classes[best], float(probabilities[best]), (self.frames - 1) / self.rate, probabilities)

    def _checked(self, frame: np.ndarray | None) -> np.ndarray:
        """A frame as (2, V, 3); a body that is not there is NaN."""
        joints = len(self.model.skeleton)
        try:
            found = np.empty((0, joints, 3)) if frame is None else np.asarray(frame)
        except ValueError as problem:  # rows of several lengths
            raise DataError(f"frame {self.frames}: expected numbers ({joints}, 3) or (M, {joints}, 3), found {problem}") from problem
        found = found[None] if found.ndim == 2 else found
        room = min(BODIES, self.model.bodies)
        if found.ndim != 3 or found.shape[1:] != (joints, 3) or len(found) > room or found.dtype.kind not in "fiu":
            raise DataError(
                f"frame {self.frames}: expected numbers ({joints}, 3) or (M, {joints}, 3) of skeleton '{self.model.skeleton.name}', "
                f"M up to {room}, found {found.dtype} {np.shape(cast(np.ndarray, frame))}"
            )
        with np.errstate(over="ignore"):
            found = found.astype(np.float32)
        far = np.abs(found) > FARTHEST  # infinite, too; NaN is not
        if far.any():
            body, joint, axis = np.argwhere(far)[0]
            raise DataError(
                f"frame {self.frames}, body {body}: {'xyz'[axis]} of joint {joint} ({self.model.skeleton.joints[joint]}) is "
                f"{found[body, joint, axis]:.3g}; expected metres within {FARTHEST:.0e}, or NaN for a joint that was not seen"
            )
        frame = np.full((BODIES, joints, 3), np.nan, np.float32)
        frame[: len(found)] = found
        return frame

    def _completed(self, frame: np.ndarray) -> np.ndarray:
        """(2, V, 3) without NaN; remembers where joints were seen."""
        missing = np.isnan(frame).any(axis=2, keepdims=True)  # (2, V, 1)
        if self.model.skeleton.dimensions == 2:
            return np.where(missing, 0, frame)
        absent = (missing | (frame == 0).all(axis=2, keepdims=True)).all(axis=1, keepdims=True)  # (2, 1, 1)
        self._seen = np.where(absent, np.nan, np.where(missing, self._seen, frame))
        centre = self._seen[:, self.model.skeleton.centre][:, None]  # (2, 1, 3)
        return np.where(np.isnan(centre), 0, np.where(np.isnan(self._seen), centre, self._seen))


def _number(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


class Replay(NamedTuple):
    """Clips played as live frames. predictions: (number of the clip, `Prediction`), in order. latency (P,): seconds that each `push` with a
    prediction took. seconds, frames: all of them. short: clips with less frames than a window, which were not played."""

    predictions: list[tuple[int, Prediction]]
    latency: np.ndarray
    seconds: float
    frames: int
    short: int

    def __str__(self) -> str:
        if not len(self.latency):
            return "no prediction: every clip is shorter than the window"
        median, late = 1000 * np.median(self.latency), 1000 * np.percentile(self.latency, 95)
        text = (f"{len(self.latency)} predictions, {median:.1f} ms each (median; 95th percentile {late:.1f} ms); "
                f"{self.frames / self.seconds:.0f} frames per second at most")  # fmt: skip
        return f"{text}; {self.short} clips are shorter than the window" if self.short else text


def replay(model: Model, joints: Callable[[int], np.ndarray], rows: Sequence[int], window: int, hop: int, rate: float = 0.0) -> Replay:
    """Push clips frame by frame, each as a stream of its own. joints: clip number -> (M, T, V, 3), as `predicting.joints_for` gives."""
    with warnings.catch_warnings(action="ignore"):  # of another rate and unit, which who plays clips can see in their file
        return _played(Stream(model, window, hop, rate), joints, rows)


def _played(stream: Stream, joints: Callable[[int], np.ndarray], rows: Sequence[int]) -> Replay:
    model, window = stream.model, stream.window
    model.probabilities(np.zeros((1, window, len(model.skeleton), 3), np.float32))  # the first call takes longer than any other
    predictions, latency, seconds, frames, short = [], [], 0.0, 0, 0
    for i in rows:
        clip = joints(i)
        if clip.shape[1] < window:
            short += 1
            continue
        stream.reset()
        for frame in clip.swapaxes(0, 1):
            began = time.perf_counter()
            found = stream.push(frame)
            took = time.perf_counter() - began
            seconds, frames = seconds + took, frames + 1
            if found is not None:
                predictions.append((i, found))
                latency.append(took)
    return Replay(predictions, np.array(latency), seconds, frames, short)
