"""Maps that were made one after the other laid upon each other, so that what moves between two of them is the points and not the paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.linalg import orthogonal_procrustes

from skelmm_core.errors import DataError


class Fit(NamedTuple):
    """A map laid upon another: `points` (N, 2), `turn` (2, 2) orthogonal, `scale`, and `left`, the root mean square distance that
    remains between the two, over that of the other's points from their middle: 0 the same, at most the root of 2, unrelated.
    """

    points: np.ndarray
    turn: np.ndarray
    scale: float
    left: float


def fit(points: np.ndarray, target: np.ndarray) -> Fit:
    """Turn, reflect, shift and scale a map (N, 2) so that it lies on `target` (N, 2), row by row.

    Orthogonal Procrustes (Schönemann, Psychometrika 1966; `scipy.linalg.orthogonal_procrustes`) of the centred maps. The scale makes both
    as wide, in root mean square, which for a turned and stretched copy is exact. The scale of least squares would shrink a map by how
    little it resembles the other, and a map that forms would seem to grow.

    Raises `DataError` for shapes that differ, places that aren't finite, and a map whose points all lie in one place.
    """
    points, target = np.asarray(points, float), np.asarray(target, float)
    if points.ndim != 2 or points.shape != target.shape or not len(points):
        raise DataError(f"maps to align must be (N, 2) of the same clips, found {points.shape} and {target.shape}")
    if not (np.isfinite(points).all() and np.isfinite(target).all()):
        raise DataError("maps to align hold places that are not finite")
    middle = target.mean(0)
    a, b = points - points.mean(0), target - middle
    wide, wanted = np.linalg.norm(a), np.linalg.norm(b)
    if min(wide, wanted) < 1e-12:
        raise DataError("a map whose points all lie in one place can't be aligned; look for a collapsed representation")
    turn, _ = orthogonal_procrustes(a, b)
    scale = float(wanted / wide)
    laid = scale * a @ turn
    return Fit(laid + middle, turn, scale, float(np.linalg.norm(laid - b) / wanted))


def aligned(maps: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Maps (N, 2) by epoch, each laid upon the next; the last stays as it is. Raises `DataError` as `fit`."""
    epochs = sorted(maps)
    if not epochs:
        raise DataError("no maps to align: expected at least one, epoch -> (N, 2)")
    found = {epochs[-1]: np.asarray(maps[epochs[-1]], float)}
    for epoch, later in zip(epochs[-2::-1], epochs[:0:-1], strict=True):
        found[epoch] = fit(maps[epoch], found[later]).points
    return {epoch: found[epoch] for epoch in epochs}
