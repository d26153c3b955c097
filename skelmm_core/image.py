"""Preparing joints in an image: x, y in image heights and the detector's confidence; a joint of confidence 0 was not seen and is zeros.

As `preparation`, with three differences. What was not seen has no weight: it is neither moved nor averaged with what was. Nothing is
turned, since which way somebody faces can't be told from x and y. The confidence is carried along, resampled but not smoothed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skelmm_core import preparation
from skelmm_core.preparation import places
from skelmm_core.skeletons import Skeleton


def prepared(
    rows: Tensor, starts: Tensor, lengths: Tensor, bodies: Tensor, skeleton: Skeleton, frames: int, max_bodies: int, view: str
) -> Tensor:
    """Packed clips (R, V, 3) centred and resampled, (N, 3, T, V, max_bodies); arguments as in `batches.load`."""
    rows = torch.where(rows[..., 2:] > 0, rows, 0)
    rows = (centre if view == "frame" else from_first)(rows, skeleton.centre, starts, lengths, bodies)
    x = preparation.resample(weighted(rows, -1), starts, lengths, bodies, frames, max_bodies)  # (N, T, V, 4, M)
    return averaged(x, 3).permute(0, 3, 1, 2, 4)  # (N, 3, T, V, M)


def remapped(rows: Tensor, weights: Tensor) -> Tensor:
    """Joints of another skeleton, (R, V, 3) -> (R, U, 3) for weights (U, V); a joint is seen where all that it is made of are."""
    mapped = torch.einsum("uv,rvc->ruc", weights, rows)
    unseen = torch.einsum("uv,rv->ru", (weights != 0).to(rows.dtype), (rows[..., 2] <= 0).to(rows.dtype)) > 0
    return torch.where(unseen.unsqueeze(-1), 0, mapped)


def weighted(x: Tensor, dim: int) -> Tensor:
    """x, y, confidence along `dim` -> those and, as a fourth, 1 where a joint was seen, else 0: what means are taken of."""
    seen = (x.narrow(dim, 2, 1) > 0).to(x.dtype)
    return torch.cat([x * seen, seen], dim)


def averaged(x: Tensor, dim: int) -> Tensor:
    """Means of `weighted` values -> x, y, confidence: places over the weight of what was seen, the confidence as it is."""
    place, confidence, weight = x.split((2, 1, 1), dim)
    return torch.cat([place / weight.clamp_min(1e-12), confidence], dim)


def smoothed(rows: Tensor, starts: Tensor, lengths: Tensor, bodies: Tensor, deviation: float) -> Tensor:
    """As `preparation.smoothed`, every joint by itself: its x and y, over the frames in which it was seen."""
    mean = averaged(preparation.smoothed(weighted(rows, -1), starts, lengths, bodies, deviation), -1)
    return torch.where(rows[..., 2:] > 0, torch.cat([mean[..., :2], rows[..., 2:]], -1), 0)


def centre(rows: Tensor, joint: int, starts: Tensor, lengths: Tensor, bodies: Tensor) -> Tensor:
    """Subtract the place of one joint from all, frame by frame, (R, V, 3) -> same.

    Where the joint was not seen its last known place stands for it, before that its first; of a body on which it was never seen, the
    mean of all joints.
    """
    place, known = origins(rows, joint, starts, lengths, bodies)
    row, first, last = places(starts, lengths, bodies)
    before = torch.where(known, row, -1).cummax(0).values  # the last row that knows, of this or an earlier body
    after = torch.where(known, row, len(rows)).flip(0).cummin(0).values.flip(0)
    source = torch.where(before >= first, before, torch.where(after <= last, after, row))
    return shifted(rows, place[source])


def from_first(rows: Tensor, joint: int, starts: Tensor, lengths: Tensor, bodies: Tensor) -> Tensor:
    """Packed clips (R, V, 3), each with the first known place of a joint of its first body at the origin."""
    place, known = origins(rows, joint, starts, lengths, bodies)
    row, first, _ = places(starts, lengths, bodies)
    owner = torch.arange(len(starts), device=rows.device).repeat_interleave(lengths * bodies)  # (R,) which clip
    candidate = torch.where(known & (first == starts[owner]), row, len(rows))
    found = torch.full_like(starts, len(rows)).scatter_reduce(0, owner, candidate, "amin")
    place = torch.where((found < len(rows)).unsqueeze(1), place[found.clamp_max(len(rows) - 1)], 0)  # (N, 2)
    return shifted(rows, place[owner])


def origins(rows: Tensor, joint: int, starts: Tensor, lengths: Tensor, bodies: Tensor) -> tuple[Tensor, Tensor]:
    """Place (R, 2) of a joint in every row, and whether it is known there (R,); of a body on which it was never seen, that of the mean of
    what was."""
    seen = rows[..., 2] > 0  # (R, V)
    row, first, _ = places(starts, lengths, bodies)
    never = torch.zeros_like(row).scatter_reduce(0, first, seen[:, joint].long(), "amax")[first] == 0  # (R,)
    mean = rows[..., :2].sum(1) / seen.sum(1, keepdim=True).clamp_min(1)
    return torch.where(never.unsqueeze(1), mean, rows[:, joint, :2]), torch.where(never, seen.any(1), seen[:, joint])


def shifted(rows: Tensor, origin: Tensor) -> Tensor:
    """Subtract (R, 2) from x and y of the joints that were seen."""
    moved = torch.cat([rows[..., :2] - origin.unsqueeze(1), rows[..., 2:]], -1)
    return torch.where(rows[..., 2:] > 0, moved, 0)
