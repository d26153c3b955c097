"""Skeletons of the Kinect sensors: `ntu25` (version 2, NTU RGB+D's numbering) and `kinect20` (version 1)."""

from __future__ import annotations

from skelmm_core.skeletons.skeleton import Skeleton


def _sides(*parts: str) -> list[str]:
    return [f"{side} {part}" for side in ("left", "right") for part in parts]


NTU25 = Skeleton(
    name="ntu25",
    joints=(
        "base of spine",
        "mid spine",
        "neck",
        "head",
        *_sides("shoulder", "elbow", "wrist", "hand"),
        *_sides("hip", "knee", "ankle", "foot"),
        "spine at shoulders",
        "left hand tip",
        "left thumb",
        "right hand tip",
        "right thumb",
    ),
    bone=(1, 20, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 20, 7, 7, 11, 11),
    axis=(1, 20, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 20, 7, 21, 11, 23),
    edges=(
        (0, 1),
        (1, 20),
        (2, 20),
        (3, 2),
        (4, 20),
        (5, 4),
        (6, 5),
        (7, 6),
        (8, 20),
        (9, 8),
        (10, 9),
        (11, 10),
        (12, 0),
        (13, 12),
        (14, 13),
        (15, 14),
        (16, 0),
        (17, 16),
        (18, 17),
        (19, 18),
        (21, 22),
        (22, 7),
        (23, 24),
        (24, 11),
    ),
    centre=20,
    spine=1,
    shoulders=(4, 8),
    pairs=((4, 8), (5, 9), (6, 10), (7, 11), (12, 16), (13, 17), (14, 18), (15, 19), (21, 23), (22, 24)),
)

_KINECT20_BONE = (1, 2, 2, 2, 2, 4, 5, 6, 2, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18)
KINECT20 = Skeleton(
    name="kinect20",
    joints=(
        "hip centre",
        "spine",
        "shoulder centre",
        "head",
        *_sides("shoulder", "elbow", "wrist", "hand"),
        *_sides("hip", "knee", "ankle", "foot"),
    ),
    bone=_KINECT20_BONE,
    axis=_KINECT20_BONE,
    edges=tuple((v, p) for v, p in enumerate(_KINECT20_BONE) if v != p),
    centre=2,
    spine=1,
    shoulders=(4, 8),
    pairs=((4, 8), (5, 9), (6, 10), (7, 11), (12, 16), (13, 17), (14, 18), (15, 19)),
)
