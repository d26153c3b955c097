"""The text of a BVH motion capture file: a hierarchy of joints with channels, and a line of numbers per frame; forward kinematics.

Every joint turns by its rotation channels in the order in which they stand, about its own axes (intrinsic), in degrees. A position channel
takes the place of that coordinate of the joint's offset, as Blender and MotionBuilder have it. End sites are joints without channels.

Keywords are read in capitals or not, braces wherever they stand, offset and channels of a joint in either order; a word that begins with
# or // begins a comment, up to the end of its line.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from skelmm_core.errors import DataError

POSITIONS, ROTATIONS = ("Xposition", "Yposition", "Zposition"), ("Xrotation", "Yrotation", "Zrotation")
CHANNELS = POSITIONS + ROTATIONS
BRACES = ("{", "}")
STARTS = {*BRACES, "ROOT", "JOINT", "END", "OFFSET", "CHANNELS"}  # words that end what stands before them on their line
COMMENT = re.compile(r"(^|\s)(#|//).*", re.DOTALL)
MOST_JOINTS, MOST_FRAMES, DEEPEST, LONGEST = 1000, 1_000_000, 200, 200  # LONGEST: characters of a joint's name
MOST_PLACES = 4_000_000  # frames x joints; more than an hour of a usual hierarchy, and some hundred MB
END = " end"  # an end site is named after its joint


@dataclass(frozen=True, eq=False)
class Bvh:
    """J joints, parents before children. parents (J,), -1 the root's; offsets (J, 3) in the file's unit; channels: (joint, its number in
    `CHANNELS`) of each of the C columns of `motion` (T, C); rate: frames per second."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray
    channels: tuple[tuple[int, int], ...]
    motion: np.ndarray
    rate: float

    def rest(self) -> np.ndarray:
        """Positions (J, 3) with all channels at zero."""
        places = np.zeros_like(self.offsets)
        for joint, parent in enumerate(self.parents):
            places[joint] = self.offsets[joint] + (places[parent] if parent >= 0 else 0)
        return places

    def positions(self) -> np.ndarray:
        """Forward kinematics, (T, J, 3) in the file's unit."""
        frames = len(self.motion)
        local = np.broadcast_to(self.offsets, (frames, *self.offsets.shape)).copy()  # (T, J, 3)
        turns: dict[int, np.ndarray] = {}
        for column, (joint, channel) in enumerate(self.channels):
            if channel < 3:
                local[:, joint, channel] = self.motion[:, column]
            else:
                turn = rotation(np.radians(self.motion[:, column]), channel - 3)
                turns[joint] = turns[joint] @ turn if joint in turns else turn
        places, frame = np.empty_like(local), {}
        for joint, parent in enumerate(self.parents):
            own = turns.get(joint)
            if parent < 0:
                places[:, joint], frame[joint] = local[:, joint], np.broadcast_to(np.eye(3), (frames, 3, 3)) if own is None else own
                continue
            places[:, joint] = places[:, parent] + np.einsum("tij,tj->ti", frame[parent], local[:, joint])
            frame[joint] = frame[parent] if own is None else frame[parent] @ own
        return places


def rotation(angle: np.ndarray, axis: int) -> np.ndarray:
    """Rotation matrices (T, 3, 3) about axis 0, 1 or 2 by angles (T,) in radians; columns are the turned axes."""
    matrix = np.zeros((len(angle), 3, 3))
    one, two = (axis + 1) % 3, (axis + 2) % 3
    matrix[:, axis, axis] = 1
    matrix[:, one, one] = matrix[:, two, two] = np.cos(angle)
    matrix[:, two, one] = np.sin(angle)
    matrix[:, one, two] = -np.sin(angle)
    return matrix


def parse(content: bytes, where: str) -> Bvh:
    """Raises `DataError` naming `where` and the line for whatever is not as it should be."""
    lines = _Lines(content.decode("utf-8-sig", errors="replace"), where)
    names, parents, offsets, channels = _hierarchy(lines)
    lines.expect("MOTION")
    frames = lines.number(lines.value("Frames"), "frame count")
    step = lines.number(lines.value("Frame Time"), "frame time")
    if not (frames.is_integer() and 1 <= frames <= MOST_FRAMES):
        raise lines.wrong(f"the frame count must be a whole number from 1 to {MOST_FRAMES}, found {frames:g}")
    if not 1e-4 <= step <= 10:
        raise lines.wrong(f"the frame time must be seconds between 0.0001 and 10, found {step:g}")
    if frames * len(names) > MOST_PLACES:
        raise lines.wrong(f"{frames:.0f} frames of {len(names)} joints are more than {MOST_PLACES} places; cut the recording into clips")
    motion = _motion(lines, int(frames), len(channels))
    return Bvh(tuple(names), tuple(parents), np.array(offsets), tuple(channels), motion, 1 / step)


class _Lines:
    """Statements of the hierarchy one after the other, then the lines behind it, with the line's number for errors."""

    def __init__(self, text: str, where: str):
        self.where, self.count = where, 0
        lines = text.splitlines()
        self._rest = iter([COMMENT.sub("", line) for line in lines] if "#" in text or "//" in text else lines)
        self._words: deque[str] = deque()  # what is left of the line

    def next(self) -> list[str]:
        """A brace, or the words of a line up to a brace or to the next statement's; those of a joint's name are no statements."""
        while not self._words:
            try:
                line = next(self._rest)
            except StopIteration:
                raise self.wrong("the file ends here; it was cut short: copy it again from its source") from None
            self.count += 1
            self._words.extend(line.replace("{", " { ").replace("}", " } ").split())
        words = [self._words.popleft()]
        if words[0] not in BRACES:
            ends = BRACES if words[0].upper() in ("ROOT", "JOINT") else STARTS
            while self._words and self._words[0].upper() not in ends:
                words.append(self._words.popleft())
        return words

    def remaining(self) -> Iterator[str]:
        """All lines from here on."""
        for line in self._rest:
            self.count += 1
            yield line

    def expect(self, word: str) -> None:
        words = self.next()
        if [w.upper() for w in words] != [word]:
            raise self.wrong(f"expected '{word}', found '{' '.join(words)[:40]}'")

    def value(self, key: str) -> str:
        """The word behind a key and its colon."""
        words = self.next()
        found, colon, value = " ".join(words).partition(":")
        if found.strip().lower() != key.lower() or not colon:
            raise self.wrong(f"expected '{key}:' and a number, found '{' '.join(words)[:40]}'")
        return value.strip()

    def number(self, word: str, what: str) -> float:
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.wrong(f"the {what} must be a finite number, found '{word[:40]}'")
        return value

    def wrong(self, what: str) -> DataError:
        return DataError(f"'{self.where}', line {self.count}: {what}")


def _hierarchy(lines: _Lines) -> tuple[list[str], list[int], list[list[float]], list[tuple[int, int]]]:
    names: list[str] = []
    parents: list[int] = []
    offsets: dict[int, list[float]] = {}
    channels: list[tuple[int, int]] = []
    lines.expect("HIERARCHY")
    open_joints: list[int] = []  # from the root to the one that the lines are about
    while open_joints or not names:
        words = lines.next()
        joint = open_joints[-1] if open_joints else -1
        match [words[0].upper(), *words[1:]]:
            case ["ROOT" | "JOINT" as kind, *name] if name and (kind == "ROOT") == (joint < 0):
                names.append(" ".join(name)[: LONGEST + 1])
            case ["END", site] if site.upper() == "SITE" and joint >= 0:
                names.append(names[joint] + END)
            case ["}"] if joint >= 0:
                if joint not in offsets:
                    raise lines.wrong(f"joint '{names[joint]}' has no OFFSET")
                open_joints.pop()
            case ["OFFSET", x, y, z] if joint >= 0 and joint not in offsets:
                offsets[joint] = [lines.number(word, "offset") for word in (x, y, z)]
            case ["CHANNELS", count, *listed] if joint >= 0:
                known = [CHANNELS.index(channel) for c in listed if (channel := c.capitalize()) in CHANNELS]
                if not count.isdecimal() or int(count[:9]) != len(listed) or len(known) < len(listed) or len(set(known)) < len(known):
                    raise lines.wrong(
                        f"channels must be their number and different ones of {', '.join(CHANNELS)}; found '{' '.join(words)[:80]}'"
                    )
                if any(other == joint for other, _ in channels):
                    raise lines.wrong(f"joint '{names[joint]}' has channels already")
                channels += [(joint, channel) for channel in known]
            case _:
                raise lines.wrong(
                    f"expected ROOT, JOINT, End Site, CHANNELS, '}}', or OFFSET and three numbers once for each joint, of a hierarchy; "
                    f"found '{' '.join(words)[:40]}'"
                )
        if len(names) > len(parents):
            if len(names) > MOST_JOINTS or len(open_joints) >= DEEPEST or len(names[-1]) > LONGEST:
                raise lines.wrong(
                    f"more than {MOST_JOINTS} joints, {DEEPEST} one inside the other, or {LONGEST} characters in a name; no body has that"
                )
            open_joints.append(len(parents))
            parents.append(joint)
            lines.expect("{")
    if not channels:
        raise lines.wrong("no joint has a channel, so nothing moves")
    return names, parents, [offsets[joint] for joint in range(len(names))], channels


def _motion(lines: _Lines, frames: int, columns: int) -> np.ndarray:
    """(T, C) numbers; a wrong line is looked for only where something is wrong."""
    first = lines.count
    listed = [line for line in lines.remaining() if line.strip()]
    try:
        values = np.fromstring(" ".join(listed), np.float64, sep=" ")
        if values.size == frames * columns == sum(len(line.split()) for line in listed) and np.isfinite(values).all():
            return values.reshape(frames, columns)
    except ValueError:
        pass
    lines.count = first
    for line in listed:
        lines.count += 1
        words = line.split()
        for word in words:
            lines.number(word, "value of a channel")
        if len(words) != columns:
            raise lines.wrong(f"{len(words)} numbers, expected one for each of {columns} channels")
    raise lines.wrong(f"{len(listed)} lines of motion, expected {frames} frames; the file was cut short, or its frame count is wrong")
