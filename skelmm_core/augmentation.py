"""Random changes of clips that training sees: windows along time, uneven speed, other limbs, shear, turns, displaced joints.

All draws come from a given generator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from skelmm_core.errors import SettingsError
from skelmm_core.image import averaged, weighted
from skelmm_core.preparation import turn
from skelmm_core.skeletons import Skeleton

WAVES = 3  # half waves of the speed over a clip that `warped` draws: 1, 2, 3


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a clip; each is off at 0 (or 1 for `crop_min`).

    crop_shift: frames mirrored at both ends before a random window of T is cut (published: T // 6 = 8 of 50).
    crop_min: smallest share of the clip that a random window keeps before it is stretched back to T frames.
    warp: uneven speed, see `warped`: spread of the logarithm of a clip's speed from moment to moment.
    limbs: bones of other lengths, see `other_limbs`: spread of the logarithm of each length; nothing in an image, where lengths follow from
        pose and camera.
    shear: off-diagonals of a 3x3 matrix with unit diagonal, uniform in +- shear (published 0.5); of a 2x2 matrix in an image.
    yaw: turn about the vertical, uniform in +- yaw radians; nothing in an image, which can't be turned out of its plane.
    offset: constant displacement of each joint, normal with this standard deviation in metres, or image heights.
    dimensions: of the skeleton. With 2 the third number is a confidence: it is carried along unchanged, and joints without it stay zeros.
    skeleton: whose bones `limbs` are.
    """

    crop_shift: int = 0
    crop_min: float = 1.0
    warp: float = 0.0
    limbs: float = 0.0
    shear: float = 0.0
    yaw: float = 0.0
    offset: float = 0.0
    dimensions: int = 3
    skeleton: Skeleton | None = None

    def __call__(self, joints: Tensor, frames: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """(N, 3, T, V, M) and (N,) true lengths -> the same, changed. A shorter window shortens the true length with it."""
        present = joints.abs().amax(dim=(1, 2, 3), keepdim=True) > 0  # (N, 1, 1, 1, M)
        flat = self.dimensions == 2
        if self.crop_shift:
            joints = shift_window(joints, self.crop_shift, rng)
        if self.crop_min < 1 or self.warp:
            joints = weighted(joints, 1) if flat else joints
            if self.crop_min < 1:
                joints, frames = stretch_window(joints, frames, self.crop_min, rng)
            if self.warp:
                joints = warped(joints, self.warp, rng)
            joints = averaged(joints, 1) if flat else joints
        if self.limbs and not flat:
            joints = other_limbs(joints, self._bones(), self.limbs, rng)
        place = joints[:, : self.dimensions]  # (N, D, T, V, M)
        if self.shear:
            place = torch.einsum("nij,njtvm->nitvm", shear_matrix(len(place), self.shear, rng, place, self.dimensions), place)
        if self.yaw and not flat:
            place = turn(place, uniform((len(place), 1, 1), -self.yaw, self.yaw, rng, place))
        if self.offset:
            n, c, _, v, m = place.shape
            noise = torch.randn(n, c, 1, v, m, generator=rng, device=place.device) * self.offset
            place = place + noise * (joints[:, 2:] > 0 if flat else present)
        return torch.cat([place, joints[:, 2:]], 1) if flat else place, frames

    def _bones(self) -> Skeleton:
        if self.skeleton is None:
            raise SettingsError(f"limbs={self.limbs} changes the lengths of bones and so needs a skeleton, found none")
        return self.skeleton


def uniform(shape: tuple[int, ...], low: float, high: float, rng: torch.Generator, like: Tensor) -> Tensor:
    return torch.rand(shape, generator=rng, device=like.device, dtype=like.dtype) * (high - low) + low


def shear_matrix(count: int, amount: float, rng: torch.Generator, like: Tensor, size: int = 3) -> Tensor:
    """(N, size, size) with unit diagonal and off-diagonals uniform in +- amount."""
    matrix = uniform((count, size, size), -amount, amount, rng, like)
    matrix.diagonal(dim1=1, dim2=2).fill_(1)
    return matrix


def shift_window(joints: Tensor, pad: int, rng: torch.Generator) -> Tensor:
    """Mirror `pad` frames at both ends (each clip's outermost frame included) and cut a random window of T frames."""
    t = joints.shape[2]
    if pad > t:
        raise SettingsError(f"crop_shift {pad} is more than the clip's {t} frames")
    start = torch.randint(0, 2 * pad + 1, (len(joints), 1), generator=rng, device=joints.device)
    source = start + torch.arange(t, device=joints.device) - pad  # (N, T), -pad .. T-1+pad
    source = torch.where(source < 0, -1 - source, source)
    source = torch.where(source >= t, 2 * t - 1 - source, source)
    return take_frames(joints, source)


def stretch_window(joints: Tensor, frames: Tensor, smallest: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cut a random window of a share uniform in [smallest, 1] and stretch it back to T frames, linearly."""
    t = joints.shape[2]
    share = uniform((len(joints), 1), smallest, 1, rng, joints)
    begin = uniform((len(joints), 1), 0, 1, rng, joints) * (1 - share) * (t - 1)
    position = begin + share * torch.arange(t, device=joints.device, dtype=joints.dtype)  # (N, T)
    return between_frames(joints, position.clamp_max(t - 1)), frames * share.squeeze(1)


def warped(joints: Tensor, spread: float, rng: torch.Generator) -> Tensor:
    """Clips (N, C, T, V, M) played at an uneven speed, which begin and end where they did.

    The logarithm of the speed over a clip is the sum of k = 1, 2, 3 half waves with random phases and amplitudes normal(0, spread / k), so
    people linger and hurry elsewhere; with 0.3 a moment is about 1.3 times as fast or slow. Between frames is interpolated linearly.
    """
    n, t = len(joints), joints.shape[2]
    k = torch.arange(1, WAVES + 1, device=joints.device, dtype=joints.dtype)
    amplitude = torch.randn(n, WAVES, 1, generator=rng, device=joints.device, dtype=joints.dtype) * spread / k.unsqueeze(1)
    phase = uniform((n, WAVES, 1), 0, 2 * math.pi, rng, joints)
    moment = torch.linspace(0, 1, t, device=joints.device, dtype=joints.dtype)
    speed = (amplitude * torch.cos(math.pi * k.unsqueeze(1) * moment + phase)).sum(dim=1).exp()  # (N, T)
    way = torch.nn.functional.pad((speed[:, 1:] + speed[:, :-1]).cumsum(dim=1), (1, 0))
    return between_frames(joints, (way / way[:, -1:] * (t - 1)).clamp_max(t - 1))


def other_limbs(joints: Tensor, skeleton: Skeleton, spread: float, rng: torch.Generator) -> Tensor:
    """Clips (N, 3, T, V, M) in which every bone keeps its direction and has another length, as if other people had moved alike.

    The logarithm of a bone's factor is normal(0, spread), the same for left and right and throughout a clip, other for each body. Bones are
    those of the skeleton's table; a joint that is its own parent, as the centre is, stays where it is.
    """
    n, _, _, v, m = joints.shape
    parents = torch.tensor(skeleton.bone, device=joints.device)
    fixed = (parents == torch.arange(v, device=joints.device)).view(v, 1)  # whose bone is its place
    twin = torch.arange(v, device=joints.device)
    for left, right in skeleton.pairs:
        twin[right] = left
    factor = torch.randn(n, v, m, generator=rng, device=joints.device, dtype=joints.dtype).mul(spread).exp()[:, twin]
    bones = torch.where(fixed, joints, (joints - joints[:, :, :, parents]) * factor[:, None, None])
    path = torch.tensor(skeleton.paths(), device=joints.device, dtype=joints.dtype)  # (V, V)
    return torch.einsum("vu,nctum->nctvm", path, bones)


def between_frames(joints: Tensor, position: Tensor) -> Tensor:
    """Clips (N, C, T, V, M) at positions (N, T') in 0..T-1 between their frames, linearly: (N, C, T', V, M)."""
    low = position.floor().long()
    part = (position - low).view(len(joints), 1, -1, 1, 1)
    high = (low + 1).clamp_max(joints.shape[2] - 1)
    return torch.lerp(take_frames(joints, low), take_frames(joints, high), part)


def take_frames(joints: Tensor, source: Tensor) -> Tensor:
    """Frame numbers `source` (N, T) of every clip, (N, 3, T, V, M) -> same."""
    return joints.movedim(2, 1)[torch.arange(len(joints), device=joints.device).unsqueeze(1), source].movedim(1, 2)
