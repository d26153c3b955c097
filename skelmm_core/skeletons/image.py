"""Skeletons of pose detectors in images, x, y and the detector's confidence: `coco17` and `openpose18`.

Neither has a spine; none of the modalities that are left in an image needs one.
"""

from __future__ import annotations

from skelmm_core.skeletons.skeleton import Skeleton

# The trees of PYSKL (coco17) and ST-GCN (openpose18). COCO has no joint on the trunk; the field hangs its tree up by the nose, the only
# joint that belongs to neither side and so the only one that a mirror image leaves in its place. OpenPose's neck lies between the
# shoulders.
_COCO17_TREE = (0, 0, 0, 1, 2, 0, 0, 5, 6, 7, 8, 5, 6, 11, 12, 13, 14)
COCO17 = Skeleton(
    name="coco17",
    joints=(
        "nose",
        *(f"{side} {part}" for part in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right")),
    ),
    bone=_COCO17_TREE,
    axis=_COCO17_TREE,
    edges=tuple((v, p) for v, p in enumerate(_COCO17_TREE) if v != p),
    centre=0,
    spine=0,
    shoulders=(5, 6),
    pairs=tuple((left, left + 1) for left in range(1, 17, 2)),
    dimensions=2,
)

_OPENPOSE18_TREE = (1, 1, 1, 2, 3, 1, 5, 6, 2, 8, 9, 5, 11, 12, 0, 0, 14, 15)
OPENPOSE18 = Skeleton(
    name="openpose18",
    joints=(
        "nose",
        "neck",
        *(f"{side} {part}" for side in ("right", "left") for part in ("shoulder", "elbow", "wrist")),
        *(f"{side} {part}" for side in ("right", "left") for part in ("hip", "knee", "ankle")),
        *(f"{side} {part}" for part in ("eye", "ear") for side in ("right", "left")),
    ),
    bone=_OPENPOSE18_TREE,
    axis=_OPENPOSE18_TREE,
    edges=tuple((v, p) for v, p in enumerate(_OPENPOSE18_TREE) if v != p),
    centre=1,
    spine=1,
    shoulders=(5, 2),
    pairs=((5, 2), (6, 3), (7, 4), (11, 8), (12, 9), (13, 10), (15, 14), (17, 16)),
    dimensions=2,
)
