"""Rotation matrices over frames, and the two-bone limb that turns a hand or foot target into joint rotations.

Body axes: x to the performer's left, y up, z forward (right-handed). Matrices act on column vectors.
"""

from __future__ import annotations

import numpy as np


def about(axis: str, angle: np.ndarray | float) -> np.ndarray:
    """Rotation by `angle` (...) radians about "x", "y" or "z", (..., 3, 3)."""
    angle = np.asarray(angle, float)
    i = "xyz".index(axis)
    j, k = (i + 1) % 3, (i + 2) % 3
    out = np.zeros((*angle.shape, 3, 3))
    out[..., i, i] = 1.0
    out[..., j, j] = out[..., k, k] = np.cos(angle)
    out[..., k, j] = np.sin(angle)
    out[..., j, k] = -out[..., k, j]
    return out


def unit(v: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) scaled to length 1; zero vectors stay zero."""
    found: np.ndarray = v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)
    return found


def apply(turn: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Matrices (..., 3, 3) on vectors (..., 3) or (3,), one for one."""
    found: np.ndarray = (turn @ np.asarray(v)[..., None])[..., 0]
    return found


def between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Smallest rotation that takes unit vectors a (..., 3) to b, (..., 3, 3) (Rodrigues' formula).

    Undefined at b = -a; there 1 + a.b is held at 1e-6.
    """
    v = np.cross(a, b)
    zero = np.zeros_like(v[..., 0])
    skew = np.stack([zero, -v[..., 2], v[..., 1], v[..., 2], zero, -v[..., 0], -v[..., 1], v[..., 0], zero], -1)
    skew = skew.reshape(*v.shape[:-1], 3, 3)
    cosine = (a * b).sum(-1)[..., None, None]
    found: np.ndarray = np.eye(3) + skew + skew @ skew / np.maximum(1.0 + cosine, 1e-6)
    return found


def soften(length: np.ndarray, limit: float, soft: float) -> np.ndarray:
    """Distances brought below `limit` metres smoothly: unchanged up to `soft * limit`, then an exponential approach."""
    knee, room = soft * limit, (1.0 - soft) * limit
    over = np.maximum(length - knee, 0.0)
    return np.where(length > knee, knee + room * (1.0 - np.exp(-over / room)), length)


def limb(to: np.ndarray, pole: np.ndarray, upper: float, lower: float, bends: int, soft: float) -> tuple[np.ndarray, np.ndarray]:
    """Rotations of the two bones of a limb whose end is to be at `to`.

    Closed form by the law of cosines. A bone at rest points to -y and its hinge is the x axis.

    Args:
        to: (T, 3) from the limb's root to the wanted end, metres. Beyond `soft` of full reach the end falls short smoothly.
        pole: (T, 3) where the middle joint points to; must not be parallel to `to`.
        upper, lower: bone lengths in metres.
        bends: +1 when the lower bone flexes forward (arm), -1 when it flexes backward (leg).
        soft: share of full reach that is met exactly.

    Returns:
        rotations of the upper and of the lower bone, (T, 3, 3) each.
    """
    distance = np.linalg.norm(to, axis=-1)
    along = unit(to)
    distance = np.clip(soften(distance, upper + lower, soft), 0.2 * (upper + lower), None)[..., None]  # (T, 1)
    side = unit(pole - (pole * along).sum(-1, keepdims=True) * along)
    cosine = np.clip((upper**2 + distance**2 - lower**2) / (2.0 * upper * distance), -1.0, 1.0)
    first = cosine * along + np.sqrt(1.0 - cosine**2) * side  # direction of the upper bone
    second = unit(distance * along - upper * first)
    hinge = bends * np.cross(along, side)
    return _bone(first, hinge), _bone(second, hinge)


def _bone(direction: np.ndarray, hinge: np.ndarray) -> np.ndarray:
    return np.stack([hinge, -direction, np.cross(hinge, -direction)], axis=-1)  # columns x, y, z: (T, 3, 3)
