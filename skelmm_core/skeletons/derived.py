"""What a skeleton's joint names and tree tell by themselves: left and right pairs, shoulders, centre, spine."""

from __future__ import annotations

import re
from collections.abc import Sequence

_CASES = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"))
_LETTERS = (("l", "r"), ("L", "R"))


def pairs(joints: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """(left, right) joint numbers of names that differ in nothing but their side: "left hip" and "right hip", "LHip" and "RHip",
    "lfemur" and "rfemur", "hand_l" and "hand.r"."""
    number = {name: j for j, name in enumerate(joints)}
    found = []
    for name, left in number.items():
        right = next((number[other] for other in _mirrored(name) if other in number), None)
        if right is not None:
            found.append((left, right))
    return tuple(found)


def _mirrored(name: str) -> list[str]:
    """How the right joint might be called, if `name` is that of a left one."""
    others = [name.replace(left, right) for left, right in _CASES]
    for left, right in _LETTERS:
        if name.startswith(left):
            others.append(right + name[1:])
        if re.search(rf"[_.\- ]{left}$", name):
            others.append(name[:-1] + right)
    return [other for other in others if other != name]


def shoulders(joints: Sequence[str], sides: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """The pair whose names hold "shoulder"; None where not just one pair does."""
    found = [pair for pair in sides if "shoulder" in joints[pair[0]].lower()]
    return found[0] if len(found) == 1 else None


def upwards(joint: int, parents: Sequence[int]) -> list[int]:
    """The path from a joint to the root of its tree, both included."""
    path = [joint]
    while parents[path[-1]] != path[-1]:
        path.append(parents[path[-1]])
    return path


def centre(pair: tuple[int, int], parents: Sequence[int]) -> int:
    """Where the ways from both shoulders to the root meet."""
    left, right = (upwards(joint, parents) for joint in pair)
    return next(joint for joint in left if joint in right)


def spine(middle: int, parents: Sequence[int], dimensions: int) -> int | None:
    """The joint below the centre, on its way to the root; None for a centre that is the root, unless nothing needs it (in an image)."""
    above = parents[middle]
    return above if above != middle or dimensions == 2 else None
