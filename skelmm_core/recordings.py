"""Recordings: what a source gives, clip by clip, and the checks that every clip passes before it is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from skelmm_core.errors import DataError
from skelmm_core.skeletons import Skeleton

NUMBERS = ("label", "subject", "view", "setup", "repetition")


@dataclass(frozen=True, eq=False)
class Recording:
    """One clip on its way from a source to a file, or out of a file.

    joints (M, T, V, 3) float32, metres, y up, M = 1 or 2 bodies; a body that is absent in a frame is zeros there.
    Performer, camera view, setup and repetition are numbers from 0 on; -1 is unknown.
    """

    joints: np.ndarray
    label: int
    name: str
    subject: int = -1
    view: int = -1
    setup: int = -1
    repetition: int = -1


@dataclass(frozen=True)
class Dropped:
    """A clip that a reader left out, and why; readers yield it among their recordings."""

    name: str
    reason: str


class Stream:
    """Recordings that are read anew each time they are iterated: `Stream(generator_function, *arguments)`."""

    def __init__(self, start: Callable[..., Iterator[Recording | Dropped]], *arguments):
        self._start, self._arguments = start, arguments

    def __iter__(self) -> Iterator[Recording | Dropped]:
        return self._start(*self._arguments)


@dataclass(frozen=True, eq=False)
class Source:
    """What a reader gives: facts about the data set, and its recordings one by one.

    protocol: name or expression of the default train/test split, "" when there is none (see `protocols`).
    fingerprint: sha256 that changes when the source's content or the reader's options do.
    count: number of recordings, dropped ones included, where it is known beforehand.
    """

    title: str
    skeleton: Skeleton
    class_names: tuple[str, ...]
    frame_rate: float
    protocol: str
    fingerprint: str
    recordings: Iterable[Recording | Dropped]
    count: int | None = None


def check(item: Recording, source: Source) -> np.ndarray:
    """The joints of a recording as contiguous little-endian float32 (M, T, V, 3).

    Raises `DataError` naming source, clip and frame for a wrong shape, no frame, a coordinate that is not finite, a label
    outside the classes, and other numbers that are neither -1 nor counted from 0.
    """
    where = f"{source.title}, clip '{item.name}'"
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf and is reported below
        joints = np.ascontiguousarray(item.joints, "<f4")
    expected = f"expected (1 or 2 bodies, 1 or more frames, {len(source.skeleton)} joints of {source.skeleton.name}, 3)"
    if joints.ndim != 4 or joints.shape[2:] != (len(source.skeleton), 3) or joints.shape[0] not in (1, 2) or not joints.shape[1]:
        raise DataError(f"{where}: joints have the shape {np.shape(item.joints)}; {expected}")
    if not np.isfinite(joints).all():
        body, frame, joint, axis = np.argwhere(~np.isfinite(joints))[0]
        raise DataError(
            f"{where}, frame {frame}, body {body}: {'xyz'[axis]} of joint {joint} ({source.skeleton.joints[joint]}) is "
            f"{joints[body, frame, joint, axis]}; expected a finite number of metres: repair the frame or leave the clip out"
        )
    if not 0 <= item.label < len(source.class_names):
        raise DataError(f"{where}: label {item.label} is outside 0..{len(source.class_names) - 1}, the numbers of the class names")
    for field in NUMBERS[1:]:
        if not -1 <= getattr(item, field) < 2**31:
            raise DataError(f"{where}: {field} is {getattr(item, field)}; expected a number from 0 on, or -1 for unknown")
    if not item.name.isprintable() or not item.name:
        raise DataError(f"{where}: the name is empty or holds unprintable characters; rename the clip")
    return joints


def stature(joints: np.ndarray, skeleton: Skeleton) -> tuple[float, bool]:
    """Median vertical extent of body 0, metres, and whether its shoulders are above its middle, over the frames that have it."""
    body = joints[0, joints[0].any(axis=(1, 2))]  # (T, V, 3)
    if not len(body):
        return 0.0, False
    low, high = body[..., 1].min(axis=1), body[..., 1].max(axis=1)
    return float(np.median(high - low)), bool(np.median(2 * body[:, skeleton.centre, 1] - high - low) > 0)
