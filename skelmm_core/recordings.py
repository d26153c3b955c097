"""Recordings: what a source gives, clip by clip, and the checks that every clip passes before it is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skelmm_core.errors import DataError
from skelmm_core.skeletons import Skeleton

LARGEST = 20.0  # metres; a body that is larger in most frames is nobody's
FARTHEST = 1e6  # metres; beyond, squares and products of coordinates lose their meaning in float32
NUMBERS = ("label", "subject", "view", "setup", "repetition")


@dataclass(frozen=True, eq=False)
class Recording:
    """One clip on its way from a source to a file, or out of a file.

    joints (M, T, V, 3) float32, metres, y up, M = 1 or 2 bodies; a body that is absent in a frame is zeros there. Of a skeleton with two
    dimensions: x, y in image heights, y up, and as third number the detector's confidence.
    Performer, camera view, setup and repetition are numbers from 0 on; -1 is unknown.
    changes: what the reader took away from the recording, in words, and how many of it (``{"bodies beyond the second": 1}``).
    """

    joints: np.ndarray
    label: int
    name: str
    subject: int = -1
    view: int = -1
    setup: int = -1
    repetition: int = -1
    changes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Dropped:
    """A clip that was left out, and why. damaged: its file can't be used; else a rule of the data set or an option left it out.

    Both texts are printed: characters in them that can't be are written as escapes, like ``\\x1b``.
    """

    name: str
    reason: str
    damaged: bool = False

    def __post_init__(self) -> None:
        for field_name in ("name", "reason"):
            object.__setattr__(self, field_name, _shown(getattr(self, field_name)))


Found = Recording | Dropped


@dataclass(frozen=True, eq=False)
class Source:
    """What a reader gives: facts about the data set, and what its recordings can be read from, one by one and in any process.

    protocol: name or expression of the default train/test split, "" when there is none (see `protocols`).
    fingerprint: sha256 that changes when the source's content or the reader's options do.
    items: what can be read by itself: files, or numbers of clips; picklable, with a length.
    read: gives what one item holds; a function of a module, or a `functools.partial` of one, so that other processes can call it. Raises
        `DataError` for an item that is damaged.

    Raises `DataError` where title, protocol or a class name can't be printed (`check_words`).
    """

    title: str
    skeleton: Skeleton
    class_names: tuple[str, ...]
    frame_rate: float
    protocol: str
    fingerprint: str
    items: Sequence[Any]
    read: Callable[[Any], Found | Iterable[Found]]

    def __post_init__(self) -> None:
        check_words("the data set", self.title, self.protocol, self.class_names)

    @property
    def recordings(self) -> Iterator[Found]:
        """Everything in order, read here and now; a damaged item raises."""
        for item in self.items:
            for found in self.found(item):
                if isinstance(found, Dropped) and found.damaged:
                    raise DataError(f"{self.title}, '{found.name}': {found.reason}")
                yield found

    def found(self, item: Any) -> Iterable[Found]:
        """What one item holds, always as something to iterate over."""
        found = self.read(item)
        return (found,) if isinstance(found, Recording | Dropped) else found

    @property
    def spatial(self) -> bool:
        """Whether coordinates are metres in space, not places in an image."""
        return self.skeleton.dimensions == 3


def as_given(item: Found) -> Found:
    """`Source.read` for items that are recordings already."""
    return item


def check_words(where: str, title: object, protocol: object, class_names: Iterable[object]) -> None:
    """Raise `DataError` for what is not text, or has characters that can't be printed: line breaks, controls of a terminal and the like.

    where: file or data set, as the message shall call it.
    """
    texts = {"title": title, "protocol": protocol} | {f"name of class {i}": name for i, name in enumerate(class_names)}
    for what, text in texts.items():
        if not isinstance(text, str) or not text.isprintable():
            raise DataError(f"{where}: the {what} must be printable characters on one line, found {ascii(text)[:100]}; give it another")


def check(item: Recording, source: Source) -> np.ndarray:
    """The joints of a recording as contiguous little-endian float32 (M, T, V, 3).

    Raises `DataError` naming source, clip and frame for a wrong shape, no frame, a coordinate that is not finite or absurdly far, a label
    outside the classes, and other numbers that are neither -1 nor counted from 0.
    """
    where = f"{source.title}, clip '{_shown(item.name)}'"
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf and is reported below
        joints = np.ascontiguousarray(item.joints, "<f4")
    expected = f"expected (1 or 2 bodies, 1 or more frames, {len(source.skeleton)} joints of {source.skeleton.name}, 3)"
    if joints.ndim != 4 or joints.shape[2:] != (len(source.skeleton), 3) or joints.shape[0] not in (1, 2) or not joints.shape[1]:
        raise DataError(f"{where}: joints have the shape {np.shape(item.joints)}; {expected}")
    farthest = np.abs(joints).max()  # NaN if one is
    if not farthest <= FARTHEST:
        wrong = ~(np.abs(joints) <= FARTHEST) if np.isfinite(farthest) else ~np.isfinite(joints)
        body, frame, joint, axis = np.argwhere(wrong)[0]
        expected = f"metres within {FARTHEST:.0e}" if np.isfinite(farthest) else "a finite number of metres"
        raise DataError(
            f"{where}, frame {frame}, body {body}: {'xyz'[axis]} of joint {joint} ({source.skeleton.joints[joint]}) is "
            f"{joints[body, frame, joint, axis]:.3g}; expected {expected}: repair the frame or leave the clip out"
        )
    if not 0 <= item.label < len(source.class_names):
        raise DataError(f"{where}: label {item.label} is outside 0..{len(source.class_names) - 1}, the numbers of the class names")
    for number in NUMBERS[1:]:
        if not -1 <= getattr(item, number) < 2**31:
            raise DataError(f"{where}: {number} is {getattr(item, number)}; expected a number from 0 on, or -1 for unknown")
    if not item.name.isprintable() or not item.name:
        raise DataError(f"{where}: the name is empty or holds unprintable characters; rename the clip")
    return joints


def stature(joints: np.ndarray, skeleton: Skeleton) -> tuple[float, bool]:
    """Median vertical extent of body 0, metres, and whether its shoulders are above its middle, over the frames that have it.

    Of joints in an image, which have no metres, the extent is NaN; joints that were not seen don't count.
    """
    body = joints[0, joints[0].any(axis=(1, 2))]  # (T, V, 3)
    if not len(body):
        return 0.0, False
    y, low, high = body[..., 1], body[..., 1], body[..., 1]
    if skeleton.dimensions == 2:
        seen = body[..., 2] > 0
        low, high = np.where(seen, y, np.inf), np.where(seen, y, -np.inf)
    low, high = low.min(axis=1), high.max(axis=1)  # (T,)
    upright = _median(2 * y[:, skeleton.centre] - high - low) > 0
    return _median(high - low) if skeleton.dimensions == 3 else float("nan"), upright


def too_large(joints: np.ndarray, skeleton: Skeleton) -> str:
    """A note where bodies (M, T, V, 3), zeros or NaN where absent, are as large as a house in most frames, so that their unit can't be the
    metre; else ""."""
    there = joints[np.isfinite(joints).all(axis=(2, 3)) & joints.any(axis=(2, 3))]  # (frames, V, 3)
    size = float(np.median(np.ptp(there, axis=1).max(axis=1))) if len(there) and skeleton.dimensions == 3 else 0.0
    return f"bodies of {size:,.0f} m: are these millimetres? Divide them by 1000" if size > LARGEST else ""


def _shown(text: str) -> str:
    """Text with escapes in the place of what can't be printed."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _median(values: np.ndarray) -> float:
    """`numpy.median` of one or more numbers (T,), without what it takes per call: this runs once per clip."""
    ordered, middle = np.sort(values), len(values) // 2
    return float(ordered[middle]) if len(values) % 2 else float(ordered[middle - 1] + ordered[middle]) / 2
