"""A standing figure for any skeleton: joints whose names are known at a person's proportions, the others along the tree between them."""

from __future__ import annotations

import re

import numpy as np

from skelmm_core.drawing.scene import limbs
from skelmm_core.skeletons import Skeleton

# What a joint's name says once its side is taken off, the first that fits: (pattern, metres to the side, metres above the ground).
# First the bones of ASF/AMC files, whose joints lie at their ends, then what joints are called elsewhere.
PARTS: tuple[tuple[str, float, float], ...] = (
    ("clavicle", 0.19, 1.42), ("humerus", 0.33, 1.19), ("radius", 0.42, 1.05), ("hipjoint", 0.10, 0.92), ("femur", 0.13, 0.50),
    ("tibia", 0.15, 0.09), ("lowerneck", 0, 1.49), ("upperneck", 0, 1.54), ("lowerback", 0, 1.08), ("thorax", 0, 1.40),
    ("thumb", 0.48, 0.84), ("tip|fingers?", 0.59, 0.77), ("hand|palm", 0.54, 0.85), ("wrist", 0.48, 0.95), ("elbow|forearm", 0.33, 1.19),
    ("shoulder (?:centre|center)|at shoulders|neck base", 0, 1.42), ("shoulder", 0.19, 1.41), ("upper ?arm|arm", 0.20, 1.39),
    ("knee|leg|shin|calf", 0.13, 0.50), ("ankle|foot ?base", 0.15, 0.09), ("heel", 0.14, 0.03), ("toes?|ball", 0.24, 0.01),
    ("foot", 0.20, 0.03), ("up ?leg|thigh", 0.10, 0.92), ("nose", 0, 1.59), ("eye", 0.05, 1.64), ("ear", 0.10, 1.61), ("neck", 0, 1.50),
    ("head", 0, 1.66), ("base of spine|pelvis|hip (?:centre|center)|root|hips", 0, 0.96), ("hip", 0.10, 0.92),
    ("mid spine|spine|belly|abdomen|waist", 0, 1.20), ("chest|torso|breast", 0, 1.32),
)  # fmt: skip
FIRST = {"upleg": "up leg", "upperleg": "thigh", "lowerleg": "shin", "lowerarm": "forearm", "upperarm": "upper arm", "toebase": "toe"}
STEP, FAN = 0.6, np.deg2rad(28)  # of a joint that nothing is known of: length against its parent's bone, and angle between siblings


def standing(skeleton: Skeleton) -> np.ndarray:
    """(V, 3) metres in camera space of somebody who faces the viewer, y from the ground up; `unnamed` where no name is known."""
    known = _known(skeleton)
    if len(known) < 4:
        return unnamed(skeleton)
    children: dict[int, list[int]] = {v: [] for v in range(len(skeleton))}
    for joint, parent in limbs(skeleton):
        children[parent].append(joint)
    place = np.full((len(skeleton), 3), np.nan)
    place[skeleton.centre] = known.get(skeleton.centre, (0, 1.4, 0))
    waiting = [skeleton.centre]
    while waiting:
        parent = waiting.pop()
        unknown = [joint for joint in children[parent] if joint not in known]
        for joint in children[parent]:
            if joint in known:
                place[joint] = known[joint]
                continue
            goal, links = _below(joint, children, known)
            if goal is not None:
                place[joint] = place[parent] + (np.array(known[goal]) - place[parent]) / (links + 1)
            else:
                bone = place[parent] - place[skeleton.bone[parent]]
                length = max(np.linalg.norm(bone), 0.1)
                heading = np.arctan2(bone[1], bone[0]) if bone.any() else np.pi / 2
                heading += FAN * (unknown.index(joint) - (len(unknown) - 1) / 2)
                place[joint] = place[parent] + STEP * length * np.array([np.cos(heading), np.sin(heading), 0])
        waiting += children[parent]
    return place


def unnamed(skeleton: Skeleton) -> np.ndarray:
    """(V, 3) the tree by itself: the centre in the middle, every joint farther out than its parent, branches apart from each other."""
    children: dict[int, list[int]] = {v: [] for v in range(len(skeleton))}
    for joint, parent in limbs(skeleton):
        children[parent].append(joint)
    place = np.zeros((len(skeleton), 3))
    waiting = [(skeleton.centre, 0.0, 2 * np.pi, 0)]
    while waiting:
        joint, low, high, depth = waiting.pop()
        middle = (low + high) / 2 - np.pi / 2
        place[joint] = 0.25 * depth * np.array([np.cos(middle), np.sin(middle), 0])
        ends = np.linspace(low, high, len(children[joint]) + 1)
        waiting += [(child, ends[k], ends[k + 1], depth + 1) for k, child in enumerate(children[joint])]
    return place


def _known(skeleton: Skeleton) -> dict[int, tuple[float, float, float]]:
    """Places of joints by their names; of several that mean the same part, the first."""
    found: dict[int, tuple[float, float, float]] = {}
    taken = set()
    for joint, (name, side) in enumerate(zip(skeleton.joints, skeleton.sides(), strict=True)):
        words = _words(name, side)
        part = next((p for p in PARTS if re.search(rf"\b(?:{p[0]})\b", words) and (p[1] > 0) == (side != "middle")), None)
        if part is None or (part, side) in taken:
            continue
        taken.add((part, side))
        found[joint] = ({"left": -1, "right": 1, "middle": 0}[side] * part[1], part[2], 0)
    return found


def _words(name: str, side: str) -> str:
    """`mixamorig:LeftUpLeg` -> "up leg", `l_foot` -> "foot", `lfemur` -> "femur": lower case, without prefix and side."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])|[_.\-\s:]+", " ", re.sub(r"^\w+:", "", name)).lower()
    if side != "middle":
        bare = re.sub(rf"\b{side}\b|{side}|\b{side[0]}\b", " ", text).strip()
        text = bare if bare != text else text[1:]
    text = re.sub(r"\d+", "", text)
    return " ".join(FIRST.get(word, word) for word in text.split())


def _below(joint: int, children: dict[int, list[int]], known: dict) -> tuple[int | None, int]:
    """The nearest known joint below one, and how many links away."""
    layer, links = [joint], 0
    while layer:
        hit = next((v for v in layer if v in known), None)
        if hit is not None:
            return hit, links
        layer, links = [child for v in layer for child in children[v]], links + 1
    return None, 0
