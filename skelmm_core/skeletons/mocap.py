"""`hdm05`: the 31 bones of HDM05's ASF/AMC files (Müller et al., report CG-2007-2, University of Bonn), also those of CMU's.

An ASF file names bones, and a joint here is the end of the bone of its name: `lclavicle` is the left shoulder, `lhumerus` the elbow,
`lfemur` the knee, `lhipjoint` the hip. `lradius` ends two thirds down the forearm, `lwrist` at the wrist.
"""

from __future__ import annotations

from skelmm_core.skeletons.skeleton import Skeleton, rooted

_LEG = ("hipjoint", "femur", "tibia", "foot", "toes")
_ARM = ("clavicle", "humerus", "radius", "wrist", "hand", "fingers", "thumb")
_PARENTS = (0, 0, 1, 2, 3, 4, 0, 6, 7, 8, 9, 0, 11, 12, 13, 14, 15, 13, 17, 18, 19, 20, 21, 20, 13, 24, 25, 26, 27, 28, 27)
_BONE = rooted(_PARENTS, 13)
HDM05 = Skeleton(
    name="hdm05",
    joints=(
        "root",
        *(side + part for side in "lr" for part in _LEG),
        *("lowerback", "upperback", "thorax", "lowerneck", "upperneck", "head"),
        *(side + part for side in "lr" for part in _ARM),
    ),
    bone=_BONE,
    axis=_BONE,
    edges=tuple((v, p) for v, p in enumerate(_PARENTS) if v != p),
    centre=13,
    spine=12,
    shoulders=(17, 24),
    pairs=tuple((left, left + 5) for left in range(1, 6)) + tuple((left, left + 7) for left in range(17, 24)),
)
