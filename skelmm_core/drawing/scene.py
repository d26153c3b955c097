"""From a clip to what is drawn: bodies with gaps, chains of limbs, the floor, and vectors with a readable scale.

Camera space is right-handed, in metres: x to the camera's left, y up, z away from the camera. In a 3-D figure the axes
are (z, x, y), a cyclic change that mirrors nothing and puts y on the vertical. Joints in an image are drawn as if they lay in the plane
z = 0, in image heights, x turned round so that the viewer sees them as in the image; joints that were not seen are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from skelmm_core import modalities, skeletons
from skelmm_core.drawing import choices
from skelmm_core.errors import DataError
from skelmm_core.recordings import FARTHEST
from skelmm_core.skeletons import Skeleton

ARROW = 0.3  # metres that the reference value of a scaled modality is drawn long
IMAGE_ARROW = 0.12  # the same in an image, in image heights
LONGEST = 2.0  # arrows longer than this many reference values are cut there: noise must not hide the motion


@dataclass(frozen=True)
class Vectors:
    """One modality of one clip as arrows.

    Attributes:
        tail, head: (M, T, V, 3) metres in camera space; NaN where the body, or in an image the joint, is absent.
        size: (M, T, V) length of the vector in `unit`.
        reference: value drawn as a scale bar of `reference * metres` metres.
        metres: metres drawn per unit of the modality.
        unit: e.g. "m/frame".
    """

    tail: np.ndarray
    head: np.ndarray
    size: np.ndarray
    reference: float
    metres: float
    unit: str


def bodies(clip: Any, skeleton: Skeleton | str) -> np.ndarray:
    """Joints of a `Recording` or an array as (M, T, V, 3) float64, NaN where a body is absent (all zeros in a frame); in an image joint by
    joint.

    Bodies that are absent in every frame are left out, unless none is present.

    Raises:
        DataError: not (M, T, V, 3), no frame, V is not the skeleton's, or a coordinate that is infinite or absurdly far.
    """
    skeleton = skeletons.get(skeleton)
    joints = choices.array("a clip to draw", getattr(clip, "joints", clip), "numbers (bodies, frames, joints, 3)").astype(np.float64)
    if joints.ndim != 4 or joints.shape[-1] != 3 or 0 in joints.shape:
        raise DataError(f"a clip to draw must be (bodies, frames, joints, 3) with at least one frame, found {joints.shape}")
    if joints.shape[2] != len(skeleton):
        raise DataError(f"skeleton '{skeleton.name}' has {len(skeleton)} joints, the clip has {joints.shape[2]}")
    far = np.abs(joints) > FARTHEST  # infinite, too; NaN is not
    if far.any():
        body, frame, joint, axis = np.argwhere(far)[0]
        raise DataError(
            f"a clip to draw has {'xyz'[axis]} of joint {joint} ({skeleton.joints[joint]}) at {joints[body, frame, joint, axis]:.3g} "
            f"in frame {frame}, body {body}; expected metres within {FARTHEST:.0e}"
        )
    if skeleton.dimensions == 2:
        unseen = joints[..., 2] <= 0  # (M, T, V)
        joints = joints * (-1, 1, 0)
        joints[unseen] = np.nan
        absent = np.all(unseen, axis=2)  # (M, T)
    else:
        absent = ~joints.any(axis=(2, 3))
        joints[absent] = np.nan
    present = ~absent.all(axis=1)
    return joints[present] if present.any() else joints[:1]


def body_count(clip: Any) -> int:
    """Bodies that appear in at least one frame."""
    joints = choices.array("a clip", getattr(clip, "joints", clip), "numbers (bodies, frames, joints, 3)")
    return int(joints.any(axis=(1, 2, 3)).sum())


def limbs(skeleton: Skeleton) -> list[tuple[int, int]]:
    """(joint, bone parent) pairs, every joint but the centre once."""
    return [(v, p) for v, p in enumerate(skeleton.bone) if v != p]


def chains(skeleton: Skeleton) -> list[list[int]]:
    """Paths along bones that cover every limb exactly once, e.g. shoulder to hand: fewer points than pairs."""
    children: dict[int, list[int]] = {v: [] for v in range(len(skeleton))}
    for joint, parent in limbs(skeleton):
        children[parent].append(joint)
    paths = []

    def walk(path: list[int]) -> None:
        below = children[path[-1]]
        if not below:
            paths.append(path)
            return
        walk(path + [below[0]])
        for other in below[1:]:
            walk([path[-1], other])

    for first in children[skeleton.centre]:
        walk([skeleton.centre, first])
    return paths


def floor(joints: np.ndarray) -> float:
    """Height in metres of the ground: the 2nd percentile of the lowest joint over frames. (M, T, V, 3) -> scalar."""
    present = ~np.isnan(joints).all(axis=(2, 3))  # (M, T)
    if not present.any():
        return 0.0
    lowest = np.nanmin(joints[present][:, :, 1], axis=1)  # (frames,)
    return float(np.percentile(lowest, 2))


def limits(points: np.ndarray, margin: float = 0.1, least: float = 0.8) -> np.ndarray:
    """(3, 2) lower and upper limit per coordinate in metres, at least `least` wide; NaN points are left out."""
    points = points.reshape(-1, 3)
    points = points[~np.isnan(points).any(axis=1)]
    if not len(points):
        return np.array([[-1.0, 1.0]] * 3)
    low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
    short = np.clip(least - (high - low), 0, None) / 2
    return np.stack([low - short, high + short], axis=1)


def upright(points: np.ndarray) -> np.ndarray:
    """(..., 3) camera space x, y, z -> axes of a 3-D figure: z, x, y."""
    return points[..., [2, 0, 1]]


def seen_from(points: np.ndarray, turn: float) -> np.ndarray:
    """Orthographic view: (..., 3) -> (..., 2), rightwards and upwards in metres.

    `turn` = 0 is what the camera sees; a positive angle (degrees) walks the viewer to the camera's right.
    """
    angle = np.deg2rad(turn)
    right = np.array([-np.cos(angle), 0, np.sin(angle)])
    return np.stack([points @ right, points[..., 1]], axis=-1)


def vectors(joints: np.ndarray, skeleton: Skeleton | str, name: str) -> Vectors:
    """A modality of one clip as arrows at the joints.

    The values are those of the recording, at its own frames and unsmoothed: each body's centre joint is subtracted in every
    frame before `modalities.compute` (preset ``described``), so motion is relative to it. What an encoder gets depends on its
    settings: see `batches.load`.

    `joint` starts at the centre and ends at the joint, `bone` starts at the parent: both are true to scale (the unit
    normal that stands in for the centre's bone is drawn `ARROW` long). The others start at the joint; their reference
    value is drawn `ARROW` metres long, and nothing longer than `LONGEST` references. In an image, where the centre is not seen in
    every frame, it is subtracted for `joint` alone.
    """
    skeleton = skeletons.get(skeleton)
    flat = skeleton.dimensions == 2
    length = IMAGE_ARROW if flat else ARROW
    centre = joints[:, :, skeleton.centre : skeleton.centre + 1]  # (M, T, 1, 3)
    relative = joints if flat and name != "joint" else joints - centre
    if flat:
        relative = relative + (0, 0, 1)  # what was seen has a confidence
    relative = torch.from_numpy(np.nan_to_num(relative)).permute(3, 1, 2, 0)[None]  # (1, 3, T, V, M)
    frames = torch.tensor([joints.shape[1]])
    value = modalities.compute(relative, frames, skeleton, [name])[name][0].permute(3, 1, 2, 0).numpy()  # (M, T, V, 3)
    value = np.where(np.isnan(joints), np.nan, value)
    if flat:
        value[..., 2] *= 0
    elif name in ("motion", "acceleration", "angular_velocity"):
        # a difference needs its frame and the next one or two: at the edge of an absence it compares with zeros
        for ahead in (1, 2) if name == "acceleration" else (1,):
            gone = np.isnan(joints[:, ahead:]).any(axis=(2, 3)) & ~np.isnan(joints[:, :-ahead]).any(axis=(2, 3))  # (M, T - ahead)
            value[:, :-ahead][gone] = 0
    size = np.linalg.norm(value, axis=-1)  # (M, T, V)
    if name in ("joint", "bone"):
        metres, reference = 1.0, length
        tail = np.broadcast_to(centre, joints.shape) if name == "joint" else joints[:, :, list(skeleton.bone)]
        arrow = value.copy()
        if name == "bone":
            arrow[:, :, skeleton.centre] *= length
    else:
        reference = round_value(size)
        metres, tail = length / reference, joints
        shorten = np.minimum(1, LONGEST * reference / np.maximum(size, 1e-12))
        arrow = value * metres * shorten[..., None]
    return Vectors(tail, tail + arrow, size, reference, metres, modalities.units_for(skeleton)[name])


def round_value(size: np.ndarray) -> float:
    """The largest of 1, 2, 5 x 10^k not above the 98th percentile of `size`; 1 where nothing moves."""
    known = size[~np.isnan(size)]
    top = float(np.percentile(known, 98)) if known.size else 0.0
    if top <= 1e-9:
        return 1.0
    power = 10.0 ** np.floor(np.log10(top))
    return float(max(step for step in (1, 2, 5) if step * power <= top * (1 + 1e-9)) * power)
