"""The six modalities, a function each: (N, 3, T, V, M) and the true lengths (N,) -> (N, 3, T, V, M)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.plain.tables import AXIS, BONE, CENTRE, LEFT, NAMES, RIGHT, SPINE


def cross(a: Tensor, b: Tensor) -> Tensor:
    """a x b along dimension 1."""
    (ax, ay, az), (bx, by, bz) = a.unbind(1), b.unbind(1)
    return torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], dim=1)


def scale(x: Tensor, frames: Tensor) -> Tensor:
    """T / frames, (N, 1, 1, 1, 1)."""
    return (x.shape[2] / frames.to(x.dtype)).view(-1, 1, 1, 1, 1)


def partners(x: Tensor, table: list[tuple[int, int]]) -> Tensor:
    """At every joint the value of its partner in a table."""
    out = torch.empty_like(x)
    for v, partner in table:
        out[:, :, :, v] = x[:, :, :, partner]
    return out


def joint(x: Tensor, frames: Tensor) -> Tensor:
    """x."""
    return x


def motion(x: Tensor, frames: Tensor) -> Tensor:
    """m[t] = s (x[t+1] - x[t]); last frame 0."""
    m = torch.zeros_like(x)
    m[:, :, :-1] = scale(x, frames) * (x[:, :, 1:] - x[:, :, :-1])
    return m


def bone(x: Tensor, frames: Tensor) -> Tensor:
    """b_v = x_v - x_p(v); at the centre the unit normal of the shoulder plane."""
    b = x - partners(x, BONE)
    spine, left, right = (b[:, :, :, v] for v in (SPINE, LEFT, RIGHT))
    b[:, :, :, CENTRE] = F.normalize(cross(spine - right, left - right), dim=1)
    return b


def acceleration(x: Tensor, frames: Tensor) -> Tensor:
    """a[t] = s (m[t+1] - m[t]); last two frames 0."""
    m, a = motion(x, frames), torch.zeros_like(x)
    a[:, :, :-2] = scale(x, frames) * (m[:, :, 1:-1] - m[:, :, :-2])
    return a


def rotation_axis(x: Tensor, frames: Tensor) -> Tensor:
    """r_v = b_v x b_q(v), 0 at the centre; not normalised, as published."""
    b = bone(x, frames)
    r = cross(b, partners(b, AXIS))
    r[:, :, :, CENTRE] = 0
    return r


def unit_rotation_axis(x: Tensor, frames: Tensor) -> Tensor:
    """unit(r_v), as described."""
    return F.normalize(rotation_axis(x, frames), dim=1)


def angular_velocity(x: Tensor, frames: Tensor) -> Tensor:
    """w_v[t] = s (th_v[t+1] - th_v[t]) unit(r_v[t]), th_v the angle between the unit bones of v and q(v); last frame 0."""
    u = F.normalize(bone(x, frames), dim=1)
    other = partners(u, AXIS)
    angle = torch.atan2(cross(u, other).norm(dim=1, keepdim=True), (u * other).sum(1, keepdim=True))
    rate = torch.zeros_like(angle)
    rate[:, :, :-1] = scale(x, frames) * (angle[:, :, 1:] - angle[:, :, :-1])
    return rate * unit_rotation_axis(x, frames)


def compute(x: Tensor, frames: Tensor, names: Sequence[str] = NAMES, unit_axis: bool = True) -> dict[str, Tensor]:
    """Modalities by name; every one computes all that it needs."""
    table = {f.__name__: f for f in (joint, motion, bone, acceleration, rotation_axis, angular_velocity)}
    table["rotation_axis"] = unit_rotation_axis if unit_axis else rotation_axis
    return {name: table[name](x, frames) for name in names}
