"""The text of a BVH motion capture file: a hierarchy of joints with channels, and a line of numbers per frame; forward kinematics.

Every joint turns by its rotation channels in the order in which they stand, about its own axes (intrinsic), in degrees. A position channel
takes the place of that coordinate of the joint's offset, as Blender and MotionBuilder have it. End sites are joints without channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from skelmm_core.errors import DataError

POSITIONS, ROTATIONS = ("Xposition", "Yposition", "Zposition"), ("Xrotation", "Yrotation", "Zrotation")
CHANNELS = POSITIONS + ROTATIONS
MOST_JOINTS, MOST_FRAMES, DEEPEST = 1000, 1_000_000, 200
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
    frames = lines.number(lines.value("Frames:"), "frame count")
    step = lines.number(lines.value("Frame Time:"), "frame time")
    if not (frames.is_integer() and 1 <= frames <= MOST_FRAMES):
        raise lines.wrong(f"the frame count must be a whole number from 1 to {MOST_FRAMES}, found {frames:g}")
    if not 1e-4 <= step <= 10:
        raise lines.wrong(f"the frame time must be seconds between 0.0001 and 10, found {step:g}")
    if frames * len(names) > MOST_PLACES:
        raise lines.wrong(f"{frames:.0f} frames of {len(names)} joints are more than {MOST_PLACES} places; cut the recording into clips")
    motion = _motion(lines, int(frames), len(channels))
    return Bvh(tuple(names), tuple(parents), np.array(offsets), tuple(channels), motion, 1 / step)


class _Lines:
    """Lines that hold something, one after the other, with their numbers for errors."""

    def __init__(self, text: str, where: str):
        self.where, self.count = where, 0
        self._rest = iter(text.splitlines())

    def next(self) -> list[str]:
        for line in self._rest:
            self.count += 1
            if words := line.split():
                return words
        raise self.wrong("the file ends here; it was cut short: copy it again from its source")

    def remaining(self) -> Iterator[str]:
        for line in self._rest:
            self.count += 1
            yield line

    def expect(self, word: str) -> None:
        if (words := self.next()) != [word]:
            raise self.wrong(f"expected '{word}', found '{' '.join(words)[:40]}'")

    def value(self, key: str) -> str:
        words = self.next()
        if " ".join(words[:-1]) != key:
            raise self.wrong(f"expected '{key}' and a number, found '{' '.join(words)[:40]}'")
        return words[-1]

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
    names, parents, offsets, channels = [], [], [], []
    lines.expect("HIERARCHY")
    open_joints: list[int] = []  # from the root to the one that the lines are about
    while open_joints or not names:
        words = lines.next()
        match words:
            case ["ROOT" | "JOINT" as kind, *name] if name and (kind == "ROOT") == (not open_joints):
                parent = open_joints[-1] if open_joints else -1
            case ["End", "Site"] if open_joints:
                parent, name = open_joints[-1], [names[open_joints[-1]] + END]
            case ["}"] if open_joints:
                open_joints.pop()
                continue
            case ["CHANNELS", count, *listed] if open_joints:
                known = [CHANNELS.index(c) for c in listed if c in CHANNELS]
                if not count.isdecimal() or int(count[:9]) != len(listed) or len(known) < len(listed) or len(set(known)) < len(known):
                    raise lines.wrong(
                        f"channels must be their number and different ones of {', '.join(CHANNELS)}; found '{' '.join(words)[:80]}'"
                    )
                if any(joint == open_joints[-1] for joint, _ in channels):
                    raise lines.wrong(f"joint '{names[open_joints[-1]]}' has channels already")
                channels += [(open_joints[-1], channel) for channel in known]
                continue
            case _:
                raise lines.wrong(f"expected ROOT, JOINT, End Site, CHANNELS or '}}' of a hierarchy, found '{' '.join(words)[:40]}'")
        if len(names) >= MOST_JOINTS or len(open_joints) >= DEEPEST:
            raise lines.wrong(f"more than {MOST_JOINTS} joints, or {DEEPEST} one inside the other; no body has so many")
        open_joints.append(len(names))
        names.append(" ".join(name))
        parents.append(parent)
        lines.expect("{")
        match lines.next():
            case ["OFFSET", x, y, z]:
                offsets.append([lines.number(word, "offset") for word in (x, y, z)])
            case words:
                raise lines.wrong(f"expected OFFSET and three numbers, found '{' '.join(words)[:40]}'")
    if not channels:
        raise lines.wrong("no joint has a channel, so nothing moves")
    return names, parents, offsets, channels


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
