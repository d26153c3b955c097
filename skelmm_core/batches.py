"""From ragged clips to batches on the training device: resampling, view normalisation, augmentation, shuffling.

Everything here is batched tensor code. A split is resampled and normalised once, when it is loaded (NTU-60's training
part is 1.2 GB), and stays on the device; augmentation draws from a generator seeded by (seed, epoch, step, stream), so it
is fresh every epoch, independent for query and key, and the same whatever ran before: an interrupted run continues exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skelmm_core import skeletons
from skelmm_core.clips import Clips
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.skeletons import Skeleton

QUERY, KEY, ORDER, DROPOUT = range(4)  # independent random streams of one step


@dataclass(frozen=True)
class Batches:
    """A split of a data set on one device.

    joints (N, 3, T, V, M) metres, centred and turned to face the camera; frames (N,) true lengths; labels (N,) int64;
    index (N,) clip numbers in the file.
    """

    joints: Tensor
    frames: Tensor
    labels: Tensor
    index: Tensor
    skeleton: Skeleton

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: Tensor) -> Batches:
        return Batches(self.joints[rows], self.frames[rows], self.labels[rows], self.index[rows], self.skeleton)

    def chunks(self, size: int) -> Iterator[Batches]:
        """In order, `size` clips at a time, the last chunk possibly shorter."""
        for start in range(0, len(self), size):
            yield self.select(torch.arange(start, min(start + size, len(self)), device=self.joints.device))


def generator(device: torch.device | str, *key: int) -> torch.Generator:
    """A generator whose stream is a function of the integers of `key` alone (seed, epoch, step, stream ...)."""
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    return torch.Generator(device).manual_seed(seed & (2**63 - 1))


def load(
    clips: Clips,
    indices: np.ndarray,
    frames: int = 50,
    skeleton: str = "native",
    view: str = "frame",
    device: torch.device | str = "cpu",
    chunk: int = 1024,
    smooth: float = 0.0,
) -> Batches:
    """Clips `indices`, smoothed, resampled to `frames` frames and view-normalised, on `device`.

    Args:
        skeleton: ``"native"`` keeps the file's joints; a name (``"ntu25"``) maps them there first.
        view: ``"frame"`` centres and turns every frame of every body by itself, as published; ``"clip"`` moves and turns a whole
            clip at once, which keeps locomotion and the place of two bodies, and keeps the noise of centre and shoulders out
            of all other joints' differences.
        chunk: clips handled at a time; bounds the memory beyond the result.
        smooth: standard deviation, in recorded frames, of the Gaussian that coordinates are smoothed with along time before they
            are resampled; keeps the sensor's noise out of differences. 0: none, as published.
    """
    if frames < 3:
        raise SettingsError(f"frames must be at least 3 (acceleration needs three), found {frames}")
    if view not in ("frame", "clip"):
        raise SettingsError(f"view must be 'frame' or 'clip', found '{view}'")
    target = clips.skeleton if skeleton == "native" else skeletons.get(skeleton)
    weights = torch.from_numpy(skeletons.mapping(clips.skeleton, target)).to(device)
    indices = np.asarray(indices, np.int64)
    if not len(indices):
        raise DataError("no clips to load: the list of clip numbers is empty")
    bodies = int(clips.bodies[indices].max())
    joints = torch.empty(len(indices), 3, frames, len(target), bodies, device=device)
    for begin in range(0, len(indices), chunk):
        part = slice(begin, begin + chunk)
        rows, starts, lengths, counts = (torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in clips.take(indices[part]))
        if target.name != clips.skeleton.name:
            rows = torch.einsum("uv,rvc->ruc", weights, rows)
        lengths, counts = lengths.long(), counts.long()
        if smooth:
            rows = smoothed(rows, starts, lengths, counts, smooth)
        rows = centre(rows, target.centre) if view == "frame" else from_first(rows, target.centre, starts, lengths, counts)
        x = resample(rows, starts, lengths, counts, frames, bodies).permute(0, 3, 1, 2, 4)  # (n, 3, T, V, M)
        joints[part] = face_camera(x, target) if view == "frame" else facing(x, target)
    return Batches(
        joints,
        torch.as_tensor(clips.frames[indices], device=device),
        torch.as_tensor(clips.labels[indices], dtype=torch.long, device=device),
        torch.as_tensor(indices, device=device),
        target,
    )


def centre(rows: Tensor, joint: int) -> Tensor:
    """Subtract one joint from all, frame by frame, (R, V, 3) -> same; a frame of zeros (no body) stays zeros."""
    return rows - rows[:, joint : joint + 1]


def smoothed(rows: Tensor, starts: Tensor, lengths: Tensor, bodies: Tensor, deviation: float) -> Tensor:
    """Gaussian smoothing along time of packed ragged clips (R, V, 3), cut off at three deviations; outermost frames are repeated.

    Each body by itself. Frames of zeros (no body) have no weight and stay zeros.
    """
    present = rows.abs().amax(dim=(1, 2)) > 0  # (R,)
    frame, first, last = _places(starts, lengths, bodies)
    total, weights = torch.zeros_like(rows), rows.new_zeros(len(rows))
    reach = max(1, int(3 * deviation + 0.5))
    for shift in range(-reach, reach + 1):
        source = (frame + shift).clamp(first, last)
        weight = math.exp(-0.5 * (shift / deviation) ** 2) * present[source]
        total += rows[source] * weight.view(-1, 1, 1)
        weights += weight
    return torch.where(present.view(-1, 1, 1), total / weights.clamp_min(1e-12).view(-1, 1, 1), 0)


def _places(starts: Tensor, lengths: Tensor, bodies: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For every row of packed clips its own number, and the first and last row of the body that it shows; all (R,)."""
    owner = torch.arange(len(starts), device=starts.device).repeat_interleave(lengths * bodies)
    row = torch.arange(len(owner), device=starts.device)
    length = lengths[owner]
    first = starts[owner] + (row - starts[owner]) // length * length
    return row, first, first + length - 1


def resample(rows: Tensor, starts: Tensor, lengths: Tensor, bodies: Tensor, frames: int, max_bodies: int) -> Tensor:
    """Linear resampling of packed ragged clips to `frames` frames, half-pixel centres as OpenCV's INTER_LINEAR.

    Source position of frame i of a clip of L frames: (i + 0.5) * L / T - 0.5, clamped to 0 .. L-1.

    Args:
        rows: (R, V, 3), clip n's body m at rows starts[n] + m * lengths[n] onwards.
        starts, lengths, bodies: (N,) first row, true frames, bodies (1 or 2) per clip.

    Returns: (N, T, V, 3, max_bodies); absent bodies are zeros.
    """
    length = lengths.to(rows.dtype).unsqueeze(1)  # (N, 1)
    position = (torch.arange(frames, device=rows.device, dtype=rows.dtype) + 0.5) * length / frames - 0.5
    position = position.clamp_min(0).minimum(length - 1)  # (N, T)
    low = position.floor().long()
    share = (position - low).view(*position.shape, 1, 1)  # (N, T, 1, 1)
    high = (low + 1).minimum(lengths.unsqueeze(1).long() - 1)
    out = rows.new_zeros(len(starts), frames, *rows.shape[1:], max_bodies)
    for body in range(max_bodies):
        has = bodies > body
        base = (starts + body * lengths)[has].unsqueeze(1)
        out[has, ..., body] = torch.lerp(rows[base + low[has]], rows[base + high[has]], share[has])
    return out


def face_camera(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Turn every frame of every body about y so that its own shoulder line is parallel to x, (N, 3, T, V, M) -> same.

    As the published preparation (CrosSCLR's and IKEM's): angle = arccos(vx / (sqrt(vx^2 + vz^2) + 1e-4)), v from left to
    right shoulder, negative when the sum of vz over the clip is >= 0; rotation rows [cos, 0, -sin], [0, 1, 0], [sin, 0, cos].
    """
    left, right = skeleton.shoulders
    line = joints[:, :, :, right] - joints[:, :, :, left]  # (N, 3, T, M)
    vx, vz = line[:, 0], line[:, 2]  # (N, T, M)
    angle = torch.arccos(vx / ((vx.square() + vz.square()).sqrt() + 1e-4))
    angle = torch.where(vz.sum(dim=1, keepdim=True) >= 0, -angle, angle)
    return turn(joints, angle)


def from_first(rows: Tensor, joint: int, starts: Tensor, lengths: Tensor, bodies: Tensor) -> Tensor:
    """Packed clips (R, V, 3), each with a joint of its first body, in the first frame that has one, at the origin; no body stays zeros."""
    present = rows.abs().amax(dim=(1, 2)) > 0  # (R,)
    owner = torch.arange(len(starts), device=rows.device).repeat_interleave(lengths * bodies)  # (R,) which clip
    place = torch.arange(len(rows), device=rows.device) - starts[owner]  # row within its clip
    candidate = torch.where(present & (place < lengths[owner]), place, len(rows))
    first = torch.full_like(starts, len(rows)).scatter_reduce(0, owner, candidate, "amin")
    origin = rows[starts + torch.where(first < len(rows), first, 0), joint]  # (N, 3)
    return torch.where(present.view(-1, 1, 1), rows - origin[owner].unsqueeze(1), rows)


def facing(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Turn whole clips (N, 3, T, V, M) about y so that the first body's mean shoulder line, left to right, points along x."""
    left, right = skeleton.shoulders
    line = (joints[:, :, :, right, 0] - joints[:, :, :, left, 0]).mean(dim=2)  # (N, 3)
    return turn(joints, -torch.atan2(line[:, 2], line[:, 0]).view(-1, 1, 1))


def turn(joints: Tensor, angle: Tensor) -> Tensor:
    """Rotate about y by `angle` (N, T or 1, M or 1) radians: rows [cos, 0, -sin], [0, 1, 0], [sin, 0, cos]."""
    cos, sin = angle.cos().unsqueeze(2), angle.sin().unsqueeze(2)  # (N, T, 1, M)
    x, y, z = joints.unbind(1)
    return torch.stack([cos * x - sin * z, y, sin * x + cos * z], dim=1)


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a clip; each is off at 0 (or 1 for `crop_min`).

    crop_shift: frames mirrored at both ends before a random window of T is cut (published: T // 6 = 8 of 50).
    crop_min: smallest share of the clip that a random window keeps before it is stretched back to T frames.
    shear: off-diagonals of a 3x3 matrix with unit diagonal, uniform in +- shear (published 0.5).
    yaw: turn about the vertical, uniform in +- yaw radians.
    offset: constant displacement of each joint, normal with this standard deviation in metres.
    """

    crop_shift: int = 0
    crop_min: float = 1.0
    shear: float = 0.0
    yaw: float = 0.0
    offset: float = 0.0

    def __call__(self, joints: Tensor, frames: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """(N, 3, T, V, M) and (N,) true lengths -> the same, changed. A shorter window shortens the true length with it."""
        present = joints.abs().amax(dim=(1, 2, 3), keepdim=True) > 0  # (N, 1, 1, 1, M)
        if self.crop_shift:
            joints = shift_window(joints, self.crop_shift, rng)
        if self.crop_min < 1:
            joints, frames = stretch_window(joints, frames, self.crop_min, rng)
        if self.shear:
            joints = torch.einsum("nij,njtvm->nitvm", shear_matrix(len(joints), self.shear, rng, joints), joints)
        if self.yaw:
            joints = turn(joints, uniform((len(joints), 1, 1), -self.yaw, self.yaw, rng, joints))
        if self.offset:
            n, c, _, v, m = joints.shape
            noise = torch.randn(n, c, 1, v, m, generator=rng, device=joints.device) * self.offset
            joints = joints + noise * present
        return joints, frames


def uniform(shape: tuple[int, ...], low: float, high: float, rng: torch.Generator, like: Tensor) -> Tensor:
    return torch.rand(shape, generator=rng, device=like.device, dtype=like.dtype) * (high - low) + low


def shear_matrix(count: int, amount: float, rng: torch.Generator, like: Tensor) -> Tensor:
    """(N, 3, 3) with unit diagonal and off-diagonals uniform in +- amount."""
    matrix = uniform((count, 3, 3), -amount, amount, rng, like)
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
    position = position.clamp_max(t - 1)
    low = position.floor().long()
    part = (position - low).view(len(joints), 1, t, 1, 1)
    high = (low + 1).clamp_max(t - 1)
    return torch.lerp(take_frames(joints, low), take_frames(joints, high), part), frames * share.squeeze(1)


def take_frames(joints: Tensor, source: Tensor) -> Tensor:
    """Frame numbers `source` (N, T) of every clip, (N, 3, T, V, M) -> same."""
    return joints.movedim(2, 1)[torch.arange(len(joints), device=joints.device).unsqueeze(1), source].movedim(1, 2)


def order(count: int, batch: int, seed: int, epoch: int) -> list[Tensor]:
    """Row numbers of an epoch's batches in a random order that depends on seed and epoch alone; the short rest is left out.

    With fewer clips than `batch` there is one batch of all of them.
    """
    rows = torch.randperm(count, generator=generator("cpu", seed, epoch, ORDER))
    size = min(batch, count)
    return list(rows[: count // size * size].view(-1, size))
