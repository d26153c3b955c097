"""The built-in skeletons, and maps of joints from one skeleton to another."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from skelmm_core.errors import SettingsError
from skelmm_core.skeletons.image import COCO17, OPENPOSE18
from skelmm_core.skeletons.kinect import KINECT20, NTU25
from skelmm_core.skeletons.mocap import HDM05
from skelmm_core.skeletons.skeleton import Skeleton
from skelmm_core.skeletons.weights import matrix

SKELETONS: dict[str, Skeleton] = {s.name: s for s in (NTU25, KINECT20, COCO17, OPENPOSE18, HDM05)}

# (source, target) -> joint of the target: joint of the source, or several with their weights. Joints of the same name need no line.
Sources = Mapping[str, str | Mapping[str, float]]
BUILT_IN: dict[tuple[str, str], Sources] = {
    ("kinect20", "ntu25"): {
        "base of spine": "hip centre", "mid spine": "spine", "spine at shoulders": "shoulder centre",
        "neck": {"shoulder centre": 2 / 3, "head": 1 / 3},  # a third of the way to the head
        # Kinect v1 sees no fingers: tip and thumb stay in the hand
        "left hand tip": "left hand", "left thumb": "left hand", "right hand tip": "right hand", "right thumb": "right hand",
    },
    ("ntu25", "kinect20"): {"hip centre": "base of spine", "spine": "mid spine", "shoulder centre": "spine at shoulders"},
    ("hdm05", "ntu25"): {
        "base of spine": "root", "mid spine": {"lowerback": 1 / 2, "upperback": 1 / 2}, "spine at shoulders": "thorax", "neck": "lowerneck",
        **{f"{side} {part}": side[0] + bone
           for side in ("left", "right")
           for part, bone in {"shoulder": "clavicle", "elbow": "humerus", "wrist": "wrist", "hand": "hand", "hand tip": "fingers",
                              "thumb": "thumb", "hip": "hipjoint", "knee": "femur", "ankle": "tibia", "foot": "foot"}.items()},
    },
    ("openpose18", "coco17"): {},
    ("coco17", "openpose18"): {"neck": {"left shoulder": 1 / 2, "right shoulder": 1 / 2}},
}  # fmt: skip


def mapping(source: Skeleton, target: Skeleton) -> np.ndarray:
    """Joint weights (V_target, V_source) float32, rows sum to 1: `x_target = weights @ x_source`.

    A map that is built in, one that either skeleton brings along, or two of them one after the other through a built-in skeleton.
    Raises `SettingsError` when there is none, or when one of the two is in space and the other in an image.
    """
    if source.dimensions != target.dimensions:
        kinds = {2: "places in an image", 3: "coordinates in space"}
        one, other = kinds[source.dimensions], kinds[target.dimensions]
        raise SettingsError(f"skeleton '{source.name}' has {one}, '{target.name}' {other}: no map leads from one to the other")
    if source.joints == target.joints:
        return np.eye(len(source), dtype=np.float32)
    if source.name == target.name:
        raise SettingsError(f"two different skeletons have the name '{source.name}'; rename one of them, or prepare the clips again")
    for middle in (None, *SKELETONS.values()):
        found = _direct(source, target) if middle is None else _through(source, middle, target)
        if found is not None:
            return found
    known = [f"{source.name} -> {name}" for name in maps_of(source)[0]] or [f"{a} -> {b}" for a, b in BUILT_IN]
    raise SettingsError(f"no joint map from skeleton '{source.name}' to '{target.name}'; known: {', '.join(known)}")


def maps_of(skeleton: Skeleton) -> tuple[list[str], list[str]]:
    """Names of the skeletons that there is a map to, and a map from; those through a third skeleton are not listed."""
    built_in_to = [b for a, b in BUILT_IN if a == skeleton.name]
    built_in_from = [a for a, b in BUILT_IN if b == skeleton.name]
    return built_in_to + [name for name, _ in skeleton.maps_to], built_in_from + [name for name, _ in skeleton.maps_from]


def _direct(source: Skeleton, target: Skeleton) -> np.ndarray | None:
    if (source.name, target.name) in BUILT_IN:
        return _built_in(source, target)
    rows = dict(source.maps_to).get(target.name)
    if rows is not None and len(rows) == len(target):
        return matrix(rows, len(source))
    rows = dict(target.maps_from).get(source.name)
    if rows is not None and all(joint < len(source) for row in rows for joint, _ in row):
        return matrix(rows, len(source))
    return None


def _through(source: Skeleton, middle: Skeleton, target: Skeleton) -> np.ndarray | None:
    if middle.name in (source.name, target.name):
        return None
    first, second = _direct(source, middle), _direct(middle, target)
    return None if first is None or second is None else second @ first


def _built_in(source: Skeleton, target: Skeleton) -> np.ndarray:
    weights = np.zeros((len(target), len(source)), np.float32)
    for joint, name in enumerate(target.joints):
        found = BUILT_IN[source.name, target.name].get(name, name)
        for part, weight in (found if isinstance(found, Mapping) else {found: 1}).items():
            weights[joint, source.joints.index(part)] = weight
    return weights
