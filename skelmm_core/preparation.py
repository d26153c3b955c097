"""From packed ragged clips to clips of one length, each in its own place: smoothing, resampling, view normalisation.

Packed clips are rows (R, V, 3), one per frame and body: clip n's body m begins at row `starts[n] + m * lengths[n]`. All this is for
coordinates in space; `image` has the same for joints in an image, which have a confidence.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skelmm_core.skeletons import Skeleton

STILL = 1e-6  # metres, or image heights: a joint's step that may be the rounding of its coordinates


def centre(rows: Tensor, joint: int) -> Tensor:
    """Subtract one joint from all, frame by frame, (R, V, 3) -> same; a frame of zeros (no body) stays zeros."""
    return rows - rows[:, joint : joint + 1]


def smoothed(rows: Tensor, starts: Tensor, lengths: Tensor, bodies: Tensor, deviation: float) -> Tensor:
    """Gaussian smoothing along time of packed ragged clips (R, V, 3), cut off at three deviations; outermost frames are repeated.

    Each body by itself. Frames of zeros (no body) have no weight and stay zeros.
    """
    present = rows.abs().amax(dim=(1, 2)) > 0  # (R,)
    frame, first, last = places(starts, lengths, bodies)
    total, weights = torch.zeros_like(rows), rows.new_zeros(len(rows))
    reach = max(1, int(3 * deviation + 0.5))
    for shift in range(-reach, reach + 1):
        source = (frame + shift).clamp(first, last)
        weight = math.exp(-0.5 * (shift / deviation) ** 2) * present[source]
        total += rows[source] * weight.view(-1, 1, 1)
        weights += weight
    return torch.where(present.view(-1, 1, 1), total / weights.clamp_min(1e-12).view(-1, 1, 1), 0)


def trimmed(
    rows: Tensor, starts: Tensor, lengths: Tensor, bodies: Tensor, share: float, flat: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Packed clips without their still ends: rows (R', V, 3), starts (N,), lengths (N,).

    A clip begins with the step in which all its joints together, of both bodies, have gone `share` of their whole way, and ends with the
    step in which all but `share` of it is gone: somebody who stands and waits moves little, for however long. At least two frames stay; a
    clip in which nothing moves stays whole. Steps from or to a frame of zeros (no body) count nothing, nor do those below `STILL`. flat:
    joints in an image, of which x and y count, where they were seen in both frames.
    """
    row, first, _ = places(starts, lengths, bodies)
    owner = torch.arange(len(starts), device=rows.device).repeat_interleave(lengths * bodies)  # (R,) which clip
    frame, before = row - first, (row - 1).clamp_min(first)
    known = rows[..., 2] > 0 if flat else (rows.abs().amax(dim=(1, 2)) > 0).unsqueeze(1)  # (R, V or 1)
    step = (rows - rows[before])[..., : 2 if flat else 3].double().norm(dim=2)  # (R, V)
    step = (step * (known & known[before] & (step > STILL))).sum(dim=1)
    gone = step.new_zeros(len(starts), int(lengths.max())).index_put_((owner, frame), step, accumulate=True).cumsum(1)  # (N, L)
    whole = gone[:, -1:]
    last = torch.where(whole.squeeze(1) > 0, (gone < (1 - share) * whole).sum(dim=1), lengths - 1).minimum(lengths - 1)
    begin = ((gone < share * whole).sum(dim=1) - 1).minimum(last - 1).clamp_min(0)
    kept = last - begin + 1
    rows = rows[(frame >= begin[owner]) & (frame <= last[owner])]
    return rows, (kept * bodies).cumsum(0) - kept * bodies, kept


def places(starts: Tensor, lengths: Tensor, bodies: Tensor) -> tuple[Tensor, Tensor, Tensor]:
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
