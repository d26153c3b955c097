"""A standing figure of a skeleton whose joints' names say nothing, from its tree, its left and right pairs and its shoulders.

The middle stands upright, from the centre down to where the last pairs hang and up to the head; limbs hang on both sides of it.
"""

from __future__ import annotations

import numpy as np

from skelmm_core.drawing.scene import limbs
from skelmm_core.skeletons import Skeleton

CENTRE, TRUNK = 1.40, 0.44  # metres: height of the centre, and how far below it the trunk ends
# The bones of a limb from the trunk on: (degrees above the horizontal, metres); the last stands for all further ones
HEAD, TAIL, FACE = ((90, 0.12),), ((-90, 0.12), (-90, 0.30)), ((25, 0.07),)
ARM, LEG = ((0, 0.19), (-58, 0.27), (-58, 0.26), (-58, 0.09)), ((-22, 0.11), (-87, 0.42), (-87, 0.41), (-30, 0.10))
FAN = 28  # degrees between bones that would lie on each other

Limb = tuple[tuple[float, float], ...]


class Tree:
    """A skeleton hung up by its centre; only joints that hang on it are in `order`, parents before children.

    children: of each joint. side: sign of x for each joint, left -1, right 1, middle 0; what hangs on a side is on that side. below: each
    joint and all that hang on it.
    """

    def __init__(self, skeleton: Skeleton):
        self.children: list[list[int]] = [[] for _ in range(len(skeleton))]
        for joint, parent in limbs(skeleton):
            self.children[parent].append(joint)
        self.order = [skeleton.centre]
        for joint in self.order:
            self.order += self.children[joint]
        self.side = [{"left": -1, "right": 1, "middle": 0}[side] for side in skeleton.sides()]
        for joint, sign in zip(skeleton.shoulders, (-1, 1), strict=True):
            self.side[joint] = self.side[joint] or sign
        for joint in self.order:
            self.side[joint] = self.side[joint] or self.side[skeleton.bone[joint]]
        self.below = [{joint} for joint in range(len(skeleton))]
        for joint in reversed(self.order):
            self.below[joint].update(*(self.below[child] for child in self.children[joint]))


def outline(skeleton: Skeleton) -> np.ndarray:
    """(V, 3) metres in camera space, y from the ground up; who faces the viewer. Middle joints have x = 0 unless there are no pairs."""
    tree = Tree(skeleton)
    trunk = _trunk(skeleton, tree)
    pair = {joint: number for number, joints in enumerate(skeleton.pairs) for joint in joints}
    place = np.full((len(skeleton), 3), (0, CENTRE, 0))
    limb: dict[int, Limb] = {skeleton.centre: ()}
    depth = {skeleton.centre: 0}
    for parent in tree.order:
        beside: dict[tuple[int, Limb], list[int]] = {}  # children of one side and limb
        for joint in sorted(tree.children[parent], key=lambda v: (pair.get(v, len(skeleton)), v)):
            limb[joint] = _limb(skeleton, tree, trunk, joint, parent, limb[parent])
            depth[joint] = depth[parent] + 1 if limb[joint] is limb[parent] else 0
            beside.setdefault((tree.side[joint], limb[joint]), []).append(joint)
        for (sign, bones), joints in beside.items():
            degrees, length = bones[min(depth[joints[0]], len(bones) - 1)]
            upright = sign == 0 and bool(skeleton.pairs or len(joints) == 1)
            for k, (joint, angle) in enumerate(zip(joints, _fan(degrees, len(joints), sign), strict=True)):
                step = (0, np.sign(degrees) * (1 + 0.45 * k), 0) if upright else ((sign or 1) * np.cos(angle), np.sin(angle), 0)
                place[joint] = place[parent] + length * np.array(step)
    return place


def _fan(degrees: float, count: int, sign: int) -> np.ndarray:
    """Directions of some bones around one, in radians; those of a side stay on it."""
    ends = degrees + FAN * (count - 1) / 2 * np.array([-1, 1])
    first, last = np.clip(ends, -88, 80) if sign else ends
    return np.array(np.deg2rad(np.linspace(first, last, count)))


def _limb(skeleton: Skeleton, tree: Tree, trunk: list[int], joint: int, parent: int, limb: Limb) -> Limb:
    """What a joint is part of, if its parent is part of `limb`."""
    if joint in trunk:
        return ((-90, TRUNK / (len(trunk) - 1)),)
    if tree.side[joint] == 0:
        return HEAD if parent == skeleton.centre or limb is HEAD else TAIL
    if limb in (ARM, LEG, FACE):
        return limb
    if not tree.below[joint].isdisjoint(skeleton.shoulders):
        return ARM
    return LEG if parent == trunk[-1] and (len(trunk) > 1 or len(tree.below[joint]) > 2) else FACE


def _trunk(skeleton: Skeleton, tree: Tree) -> list[int]:
    """The joints of the middle from the centre down, past the spine, to where the last pairs hang."""
    lateral = {joint for joint in tree.order if tree.side[joint]} - set(skeleton.shoulders)
    trunk = [skeleton.centre]
    while True:
        middle = [joint for joint in tree.children[trunk[-1]] if tree.side[joint] == 0]
        down = [joint for joint in middle if skeleton.spine in tree.below[joint]]
        if not down and (len(trunk) > 1 or skeleton.spine == skeleton.centre):
            down = [joint for joint in middle if tree.below[joint] & lateral]
        if not down:
            return trunk
        trunk.append(max(down, key=lambda joint: len(tree.below[joint] & lateral)))
