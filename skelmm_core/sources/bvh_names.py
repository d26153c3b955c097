"""Which joints of a BVH hierarchy stand for which joints of a skeleton: by names that are in use, or by a table of one's own."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from skelmm_core import skeletons
from skelmm_core.errors import DataError, nearest
from skelmm_core.skeletons import Skeleton
from skelmm_core.sources.bvh_text import END

Table = Mapping[str, Sequence[str]]  # joint -> alternatives; "a + b" is the mean of two joints

_LIMB = {  # after the side; in Mixamo, MotionBuilder and CMU, Blender, DAZ, ASF/AMC and simple hierarchies
    "shoulder": "arm upperarm uparm shldr humerus shoulder", "elbow": "elbow forearm lowerarm lowarm radius", "wrist": "wrist hand",
    "hand": "handmiddle1 middle1 palm fingerbase hand wrist",
    "hand tip": "handmiddle4 handmiddle3 middle3 handindex1 hand_end hand wrist_end wrist",
    "thumb": "handthumb4 handthumb3 thumb3 thumb2 thumb hand_end hand wrist_end wrist", "hip": "upleg upperleg thigh femur hip",
    "knee": "knee leg lowerleg lowleg shin calf tibia", "ankle": "ankle foot",
    "foot": "toebase_end toebase toes toe ball foot_end ankle_end",
}  # fmt: skip
NTU25: dict[str, list[str]] = {
    "base of spine": ["hips", "hip", "pelvis", "root"],
    "mid spine": ["spine", "spine1", "abdomen", "torso", "lowerback", "chest", "hips"],
    "neck": ["neck", "neck1", "lowerneck", "head"],
    "head": ["head + head_end", "head"],
    "spine at shoulders": [f"left {one} + right {one}" for one in _LIMB["shoulder"].split()],
    **{f"{side} {part}": [f"{side} {one}" for one in listed.split()] for side in ("left", "right") for part, listed in _LIMB.items()},
}  # fmt: skip
_PARTS = "|".join(sorted({one.removesuffix("_end") for listed in _LIMB.values() for one in listed.split()}, key=len, reverse=True))
_SIDES = (  # ways to say the side of a joint
    r"(?i:(?P<side>left|right))[_ .-]?(?P<rest>.+)",
    r"(?P<rest>.+?)[_ .-]?(?i:(?P<side>left|right))",
    r"(?P<side>[lrLR])[_ .-](?P<rest>.+)",
    r"(?P<side>[lr])(?P<rest>[A-Z].*)",
    r"(?P<side>[LR])(?P<rest>[A-Z][a-z].*)",
    r"(?P<rest>.+)[_ .-](?P<side>[lrLR])",
    rf"(?P<side>[lr])(?P<rest>{_PARTS})",
)


def plain(name: str) -> str:
    """A joint's name without name space, case and punctuation, its side in front: "mixamorig:LeftUpLeg" and "upleg.L" -> "left upleg"."""
    ending = "_end" if name.endswith(END) else ""
    name = name.removesuffix(END).rpartition(":")[2].strip()
    for form in _SIDES:
        if found := re.fullmatch(form, name):
            side = "left" if found["side"].lower().startswith("l") else "right"
            return f"{side} {_letters(found['rest'])}{ending}"
    return _letters(name) + ending


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def table(path: str | Path) -> tuple[Skeleton, Table]:
    """Target skeleton and table of a TOML file: ``target = "ntu25"`` and, under ``[joints]``, joint of the target = BVH joint, or a list of
    BVH joints whose mean it is. Without a path: ntu25, by names in use."""
    if not str(path):
        return skeletons.get("ntu25"), NTU25
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as problem:
        raise DataError(f"can't read the joint map '{path}': {problem.strerror or problem}") from problem
    except (ValueError, RecursionError) as problem:
        raise DataError(f"the joint map '{path}' is not TOML ({problem})") from problem
    target, joints = content.get("target", "ntu25"), content.get("joints")
    if not isinstance(target, str) or not isinstance(joints, dict):
        raise DataError(f"'{path}' must have target = \"a skeleton's name\" and a table [joints] of its joints")
    skeleton = skeletons.get(target)
    found = {}
    for joint, meant in joints.items():
        if joint not in skeleton.joints:
            raise DataError(f"'{path}': '{joint}' is no joint of '{skeleton.name}'{nearest(joint, skeleton.joints)}")
        listed = [meant] if isinstance(meant, str) else meant
        if not isinstance(listed, list) or not listed or not all(isinstance(m, str) for m in listed):
            raise DataError(f"'{path}': '{joint}' must be the name of a BVH joint, or a list of names, found {meant!r}")
        found[joint] = tuple(listed)
    if missing := [j for j in skeleton.joints if j not in found]:
        raise DataError(f"'{path}' lacks {', '.join(missing[:6])} of skeleton '{skeleton.name}'")
    return skeleton, {joint: (" + ".join(listed),) for joint, listed in found.items()}


def weights(names: Sequence[str], target: Skeleton, meant: Table, where: str) -> np.ndarray:
    """(V, J): every joint of the target as a mean of joints of the hierarchy. Raises `DataError` that lists what is missing and there."""
    backwards = list(enumerate(names))[::-1]  # of two joints of one name the first stays
    known = {plain(name): i for i, name in backwards} | {name: i for i, name in backwards}  # an exact name goes before all
    found, missing = np.zeros((len(target), len(names))), []
    for number, joint in enumerate(target.joints):
        for alternative in meant[joint]:
            parts = alternative.split(" + ")
            if all(part in known for part in parts):
                found[number, [known[part] for part in parts]] = 1 / len(parts)
                break
        else:
            close = difflib.get_close_matches(joint.title().replace(" ", ""), names, 1, 0.4)
            missing.append(f"'{joint}'" + (f" (is it '{close[0]}'?)" if close else ""))
    if missing:
        raise DataError(
            f"'{where}': no joint was found for {', '.join(missing[:6])} of skeleton '{target.name}'; the hierarchy has "
            f'{", ".join(names[:60])}. Name them in a file map.toml (target = "{target.name}", [joints] "{target.joints[0]}" = '
            f'"{names[0]}" ...) and give it with -p map=map.toml'
        )
    return found
