"""The text of an NTU RGB+D `.skeleton` file as arrays.

A file is a sequence of numbers: frames; per frame the bodies; per body 10 fields, of which the first is its id, the joint count (25) and 12
fields per joint, of which the first three are x, y, z. Files laid out as the authors' are, a line per record and one space between
fields, are read by `ntu_plain`, which converts no more than is needed; what it does not understand is read here, number by number, so
that any spacing and any way of writing a number is understood and damage is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skelmm_core.errors import DataError
from skelmm_core.sources import ntu_plain

BODY_FIELDS, JOINTS, JOINT_FIELDS = 10, 25, 12
BODY = BODY_FIELDS + 1 + JOINTS * JOINT_FIELDS  # numbers per body of a frame
COORDINATES = BODY_FIELDS + 1 + np.arange(JOINTS)[:, None] * JOINT_FIELDS + np.arange(3)  # (25, 3) places in a body's numbers
MOST_FRAMES, MOST_BODIES = 100_000, 1_000_000  # an hour at 30 Hz; what no real file comes near


@dataclass(frozen=True, eq=False)
class Scene:
    """All that was read of a file, body after body in file order.

    frames: how many the file has. counts (frames,): bodies in each, as the file says. joints (R, 25, 3) float32 metres: the bodies that
    were asked for; frame (R,) and rank (R,): the frame of each and its number among the bodies of that frame, both from 0. ids: the R
    ids as they are written (17 digits, more than a float64 holds), or nothing if they were not asked for.
    """

    frames: int
    counts: np.ndarray
    joints: np.ndarray
    frame: np.ndarray
    rank: np.ndarray
    ids: Sequence[bytes] = ()


def scene(text: bytes, where: str, most: int = MOST_BODIES, with_ids: bool = False) -> Scene:
    """The first `most` bodies of each frame.

    Raises `DataError` naming `where` and the frame (from 0) for text that is not numbers, ends early, goes on after the last frame, or
    has another joint count.
    """
    plain = ntu_plain.read([text], most)
    return _scene(text, plain[0] if plain and len(plain[0][0]) < MOST_FRAMES else _numbers(text, where, most), most, with_ids)


def scenes(texts: Sequence[bytes], most: int = MOST_BODIES, with_ids: bool = False) -> list[Scene] | None:
    """`scene` of each text, faster; None if one of them is damaged or of an unusual layout."""
    plain = ntu_plain.read(texts, most)
    if not plain or max(len(counts) for counts, _, _ in plain) >= MOST_FRAMES:
        return None
    return [_scene(text, bodies, most, with_ids) for text, bodies in zip(texts, plain, strict=True)]


def _scene(text: bytes, bodies: ntu_plain.Bodies, most: int, with_ids: bool) -> Scene:
    counts, first, joints = bodies
    if counts.max(initial=0) <= 1:
        frame, rank = counts.nonzero()[0], np.zeros(len(first), np.int64)
    else:
        kept = np.minimum(counts, most)
        frame = np.repeat(np.arange(len(counts)), kept)  # (R,)
        rank = np.arange(len(frame)) - np.repeat(np.cumsum(kept) - kept, kept)
    ids = [text[i : i + 40].split(None, 1)[0] for i in first.tolist()] if with_ids else ()
    return Scene(len(counts), counts, joints, frame, rank, ids)


def _numbers(text: bytes, where: str, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Body counts (frames,), the place in the text of each body that is kept (R,), and its joints (R, 25, 3) float32."""
    try:
        numbers = np.fromstring(text.strip(), np.float64, sep=" ")  # stops with ValueError at the first thing that is not a number
    except ValueError as problem:
        raise DataError(f"'{where}', {misfit(text)}, expected a number; copy the .skeleton text again from its source") from problem
    if not len(numbers):
        raise DataError(f"'{where}' is empty; expected a .skeleton text that begins with the frame count")
    counts, starts = _walk(numbers, where, most)
    places = _words(text)
    if len(places) != len(numbers):  # "1.5-2": one word, two numbers
        raise DataError(f"'{where}' is not a .skeleton text of numbers (some run into each other); copy it again from its source")
    joints = numbers[starts[:, None, None] + COORDINATES] if len(starts) else np.empty((0, JOINTS, 3))
    with np.errstate(over="ignore"):  # beyond float32: becomes inf, which `recordings.check` refuses
        return counts, places[starts], joints.astype(np.float32)


def misfit(text: bytes) -> str:
    """Where a text of numbers has its first word that is none, and the word."""
    for number, line in enumerate(text.splitlines(), 1):
        for word in line.split():
            try:
                float(word)
            except ValueError:
                return f"line {number}: found {word[:40].decode('ascii', 'replace')!r}"
    return "somewhere: found numbers that run into each other"


def _words(text: bytes) -> np.ndarray:
    """Where the words of a text begin."""
    codes = np.frombuffer(text, np.uint8)
    blank = (codes == 32) | ((codes >= 9) & (codes <= 13))  # as `bytes.split` has it
    return np.flatnonzero(~blank & np.concatenate([[True], blank[:-1]]))


def _walk(numbers: np.ndarray, where: str, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Body counts (frames,), and for each body that is kept the index of its first number."""
    frames = _count(numbers[0], where, "frame count", MOST_FRAMES)
    place = 1
    counts: list[int] = []
    starts: list[int] = []
    for frame in range(frames):
        count = _count(numbers[place], where, f"body count of frame {frame}", MOST_BODIES) if place < len(numbers) else 0
        end = place + 1 + count * BODY
        firsts = range(place + 1, end, BODY)
        for first in firsts:
            if first + BODY_FIELDS >= len(numbers):
                break
            if numbers[first + BODY_FIELDS] != JOINTS:
                raise DataError(
                    f"'{where}', frame {frame}: {numbers[first + BODY_FIELDS]:g} joints, expected {JOINTS}; not a Kinect-v2 skeleton"
                )
        if end > len(numbers):
            raise DataError(f"'{where}' ends in frame {frame} of {frames}; it was cut short: copy it again from its source")
        counts.append(count)
        starts.extend(firsts[:most])
        place = end
    if place != len(numbers):
        raise DataError(f"'{where}' goes on after its last frame ({len(numbers) - place} numbers more than {frames} frames take)")
    return np.asarray(counts, np.intp), np.asarray(starts, np.intp)


def _count(number: float, where: str, what: str, most: int) -> int:
    if not (number.is_integer() and 0 <= number < most):
        raise DataError(
            f"'{where}': the {what} is {number:g}, expected a whole number below {most}; the file is damaged or of another layout"
        )
    return int(number)
