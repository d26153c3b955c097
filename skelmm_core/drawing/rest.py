"""A standing figure for any skeleton: joints whose names are known at a person's proportions, the others along the tree between them,
or as `outline` has them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from skelmm_core.drawing.outline import Tree, outline
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
    ("head", 0, 1.66), ("base of spine|pelvis|hip (?:centre|center)|root|hips?", 0, 0.96), ("hip", 0.10, 0.92),
    ("mid spine|spine|belly|abdomen|waist", 0, 1.20), ("chest|torso|breast", 0, 1.32),
)  # fmt: skip
FIRST = {"upleg": "up leg", "upperleg": "thigh", "lowerleg": "shin", "lowerarm": "forearm", "upperarm": "upper arm", "toebase": "toe"}


def standing(skeleton: Skeleton) -> np.ndarray:
    """(V, 3) metres in camera space of somebody who faces the viewer, y from the ground up."""
    known, place, tree = _known(skeleton), outline(skeleton), Tree(skeleton)
    bone = place - place[list(skeleton.bone)]
    place[skeleton.centre] = known.get(skeleton.centre, place[skeleton.centre])
    for joint in tree.order[1:]:
        parent = skeleton.bone[joint]
        goals, links = _nearest(joint, tree, known)
        if joint in known:
            place[joint] = known[joint]
        elif goals:
            place[joint] = place[parent] + (np.mean([known[goal] for goal in goals], axis=0) - place[parent]) / (links + 1)
            place[joint, 0] *= tree.side[joint] != 0
        else:
            place[joint] = place[parent] + bone[joint]
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


def _nearest(joint: int, tree: Tree, known: Mapping[int, Any]) -> tuple[list[int], int]:
    """The nearest known joints below one, and how many links away they are."""
    layer, links = [joint], 0
    while layer:
        hits = [v for v in layer if v in known]
        if hits:
            return hits, links
        layer, links = [child for v in layer for child in tree.children[v]], links + 1
    return [], 0
