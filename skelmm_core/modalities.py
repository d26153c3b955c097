"""The six modalities of a skeleton clip, as a table of pure functions over one skeleton.

All are forward differences or joint-to-joint geometry of the same coordinates, computed after augmentation.
With s = T / frames (resampled over true number of frames), differences are per frame of the original recording
("true timeline"). Source: the published implementation of arXiv 2309.12009 (IKEM).

| name             | value                                                              | unit            |
|------------------|--------------------------------------------------------------------|-----------------|
| joint            | x                                                                  | m               |
| motion           | m[t] = s (x[t+1] - x[t]); last frame 0                             | m / frame       |
| bone             | b_v = x_v - x_bone(v); centre: unit normal of the shoulder plane   | m (centre: 1)   |
| acceleration     | a[t] = s (m[t+1] - m[t]); last two frames 0                        | m / frame^2     |
| rotation_axis    | r_v = unit(b_v x b_axis(v)); centre 0. `published`: not normalised | 1 (or m^2)      |
| angular_velocity | w_v[t] = s (th_v[t+1] - th_v[t]) unit(r_v[t]); last frame 0        | rad / frame     |

th_v is the bend angle between the unit bones of v and axis(v). Angular velocity is the rate of that bend along the
current axis; the turning of the axis itself is not in it.

Of joints in an image (a skeleton of two dimensions: x, y, confidence) the first four have a meaning, in image heights; their third
number is always the joint's own confidence. A value that needs a joint, or a frame of it, that was not seen (confidence 0) is 0, and
so is the bone of the centre, since an image has no normals. The last two are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

import torch
from torch import Tensor

from skelmm_core import skeletons
from skelmm_core.errors import DataError, SettingsError, nearest
from skelmm_core.skeletons import Skeleton

PRESETS = ("described", "published")


class Motion:
    """Coordinates of a batch and what several modalities share: bones, bend axes, the time scale. All lazily computed."""

    def __init__(self, joints: Tensor, frames: Tensor, skeleton: Skeleton, unit_axis: bool):
        self.joints, self.skeleton, self.unit_axis = joints, skeleton, unit_axis
        self.scale = (joints.shape[2] / frames.to(joints.dtype)).view(-1, 1, 1, 1, 1)  # (N, 1, 1, 1, 1)

    def rate(self, x: Tensor, last: int) -> Tensor:
        """Forward difference along time, per original frame; the last `last` frames are 0. (N, C, T, V, M) -> same."""
        out = torch.zeros_like(x)
        steps = x.shape[2] - last
        if steps > 0:
            out[:, :, :steps] = self.scale * (x[:, :, 1 : steps + 1] - x[:, :, :steps])
        return out

    @cached_property
    def velocity(self) -> Tensor:
        return self.rate(self.joints, last=1)

    @cached_property
    def acceleration(self) -> Tensor:
        return self.rate(self.velocity, last=2)

    @cached_property
    def bone(self) -> Tensor:
        sk, x = self.skeleton, self.joints
        bone = x - x[:, :, :, list(sk.bone)]  # (N, 3, T, V, M)
        left, right = sk.shoulders
        plane = torch.linalg.cross(bone[:, :, :, sk.spine] - bone[:, :, :, right], bone[:, :, :, left] - bone[:, :, :, right], dim=1)
        bone[:, :, :, sk.centre] = unit(plane)
        return bone

    @cached_property
    def axis(self) -> Tensor:
        """b_v x b_axis(v), zero at the centre joint, (N, 3, T, V, M)."""
        axis: Tensor = torch.linalg.cross(self.bone, self.bone[:, :, :, list(self.skeleton.axis)], dim=1)
        axis[:, :, :, self.skeleton.centre] = 0
        return axis

    @cached_property
    def bend(self) -> Tensor:
        """Angle between the bones of v and axis(v) in radians, (N, 1, T, V, M); 0 where a bone has no length."""
        u = unit(self.bone)
        partner = u[:, :, :, list(self.skeleton.axis)]
        sine = length(torch.linalg.cross(u, partner, dim=1))
        return torch.atan2(sine, (u * partner).sum(dim=1, keepdim=True))

    @cached_property
    def moved(self) -> Tensor:
        """Whether any joint of a body is elsewhere in the next frame, (N, 1, T, 1, M). Of the same coordinates the angle can come out
        otherwise in the next frame by one rounding, since processors compute the last of many values with other instructions."""
        return self.velocity.abs().amax(dim=(1, 3), keepdim=True) > 0


class ImageMotion(Motion):
    """The same for joints in an image: x and y alone (N, 2, T, V, M), and where a joint was seen (N, 1, T, V, M)."""

    def __init__(self, joints: Tensor, frames: Tensor, skeleton: Skeleton):
        super().__init__(joints[:, :2], frames, skeleton, unit_axis=True)
        self.confidence = joints[:, 2:]
        self.seen = self.confidence > 0
        self.joints = self.joints * self.seen

    def rate(self, x: Tensor, last: int) -> Tensor:
        """As `Motion.rate`; 0 where one of the frame and the `last` frames after it lacks the joint."""
        seen = self.seen.clone()
        for ahead in range(1, last + 1):
            seen[:, :, :-ahead] &= self.seen[:, :, ahead:]
        return super().rate(x, last) * seen

    @cached_property
    def bone(self) -> Tensor:
        parent = list(self.skeleton.bone)  # the centre's is the centre itself: 0
        return (self.joints - self.joints[:, :, :, parent]) * (self.seen & self.seen[:, :, :, parent])


def unit(x: Tensor, dim: int = 1) -> Tensor:
    """x / |x| along `dim`; a vector of length 0 stays 0."""
    return x / length(x, dim).clamp_min(1e-12)


def length(x: Tensor, dim: int = 1) -> Tensor:
    """|x| along `dim`, which is kept; on the CPU fifty times as fast as `Tensor.norm` along a dimension that is not the last."""
    return x.square().sum(dim, keepdim=True).sqrt()


TABLE: dict[str, Callable[[Motion], Tensor]] = {
    "joint": lambda m: m.joints,
    "motion": lambda m: m.velocity,
    "bone": lambda m: m.bone,
    "acceleration": lambda m: m.acceleration,
    "rotation_axis": lambda m: unit(m.axis) if m.unit_axis else m.axis,
    "angular_velocity": lambda m: m.rate(m.bend, last=1) * m.moved * unit(m.axis),
}
NAMES: tuple[str, ...] = tuple(TABLE)
UNITS: dict[str, str] = {
    "joint": "m",
    "motion": "m/frame",
    "bone": "m",
    "acceleration": "m/frame²",
    "rotation_axis": "unit vector",
    "angular_velocity": "rad/frame",
}
IN_IMAGE: dict[str, str] = {
    "joint": "image heights",
    "motion": "image heights/frame",
    "bone": "image heights",
    "acceleration": "image heights/frame²",
}
SPACE_ONLY: dict[str, str] = {  # why a modality has no meaning in an image
    "rotation_axis": "the axis of a bend is a direction in space, and an image shows the same bend in as many ways as there are views",
    "angular_velocity": "the angle between two bones in an image changes with the view as it does with the bend",
}


def names_for(skeleton: Skeleton) -> tuple[str, ...]:
    """The modalities that have a meaning for a skeleton: all, or those of `IN_IMAGE`."""
    return NAMES if skeleton.dimensions == 3 else tuple(IN_IMAGE)


def units_for(skeleton: Skeleton) -> dict[str, str]:
    """Unit of each modality that has a meaning for a skeleton."""
    return UNITS if skeleton.dimensions == 3 else IN_IMAGE


def check_meaning(names: Iterable[str], skeleton: Skeleton) -> None:
    """Raises `SettingsError`, with the reason and what to ask for, for a modality that has no meaning for a skeleton."""
    wrong = [name for name in names if name not in names_for(skeleton)]
    if wrong:
        reasons = "; ".join(f"{name}: {SPACE_ONLY[name]}" for name in wrong)
        raise SettingsError(
            f"skeleton '{skeleton.name}' has joints in an image (x, y, confidence), which have no {' and '.join(wrong)} ({reasons}). "
            f"Ask for those that can: -p modalities={','.join(names_for(skeleton))}"
        )


def check_streams(streams: Iterable[str]) -> tuple[str, ...]:
    """Streams in the table's order: names of modalities, or several joined along channels, as ``"joint+motion+bone"`` for one encoder."""
    found = {"+".join(check_names(part.strip() for part in stream.split("+"))) for stream in streams}
    if not found:
        raise SettingsError(f"no modality given; choose from: {', '.join(NAMES)}")
    return tuple(sorted(found, key=lambda stream: [NAMES.index(name) for name in stream.split("+")]))


def parts_of(streams: Iterable[str]) -> tuple[str, ...]:
    """The modalities that streams are made of, in the table's order."""
    return check_names(name for stream in streams for name in stream.split("+"))


def join(computed: Mapping[str, Tensor], stream: str) -> Tensor:
    """What an encoder of a stream sees: (N, 3 * parts, T, V, M)."""
    parts = [computed[name] for name in stream.split("+")]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names in the table's order, without repeats; an unknown or missing name raises `SettingsError`."""
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in TABLE:
            raise SettingsError(f"unknown modality '{name}'{nearest(name, NAMES)}")
    if not names:
        raise SettingsError(f"no modality given; choose from: {', '.join(NAMES)}")
    return tuple(n for n in NAMES if n in names)


def compute(
    joints: Tensor,
    frames: Tensor,
    skeleton: Skeleton | str,
    names: Iterable[str] | None = None,
    preset: str = "described",
) -> dict[str, Tensor]:
    """Modalities of a batch of clips.

    Args:
        joints: (N, 3, T, V, M) coordinates in metres, M bodies; an absent body is all zeros and stays so in every modality. Of a skeleton
            in an image: x, y in image heights, and the confidence.
        frames: (N,) true number of frames of each recording before it was resampled to T.
        skeleton: the skeleton whose V joints these are, or its name.
        names: which modalities; by default all that have a meaning for the skeleton.
        preset: ``"described"`` (unit rotation axis) or ``"published"`` (raw cross product).

    Returns:
        dict from name to (N, 3, T, V, M), in the order of the table.

    Raises:
        DataError: shapes that don't fit each other or the skeleton. SettingsError: unknown name, skeleton or preset, and a modality that
            has no meaning for the skeleton.
    """
    skeleton = skeletons.get(skeleton)
    if preset not in PRESETS:
        raise SettingsError(f"unknown preset '{preset}'{nearest(preset, PRESETS)}")
    if joints.ndim != 5 or joints.shape[1] != 3:
        raise DataError(f"joints must be (N, 3, T, V, M), found {tuple(joints.shape)}")
    if joints.shape[3] != len(skeleton):
        raise DataError(f"skeleton '{skeleton.name}' has {len(skeleton)} joints, the clips have {joints.shape[3]}")
    if frames.shape != joints.shape[:1]:
        raise DataError(f"frames must be ({joints.shape[0]},), one true length per clip, found {tuple(frames.shape)}")
    names = check_names(names_for(skeleton) if names is None else names)
    check_meaning(names, skeleton)
    if skeleton.dimensions == 2:
        seen = ImageMotion(joints, frames, skeleton)
        return {name: torch.cat([TABLE[name](seen), seen.confidence], dim=1) for name in names}  # (N, 3, T, V, M)
    motion = Motion(joints, frames, skeleton, unit_axis=preset != "published")
    return {name: TABLE[name](motion) for name in names}
