"""A map between two skeletons: for every joint of the target a row of (source joint, weight); weights of a row sum to 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from skelmm_core.errors import DataError

Row = tuple[tuple[int, float], ...]
Rows = tuple[Row, ...]
Maps = tuple[tuple[str, Rows], ...]  # (name of the other skeleton, rows)
SLACK = 0.01  # that written weights such as 0.33 + 0.67 may miss 1 by


def matrix(rows: Sequence[Row], sources: int) -> np.ndarray:
    """Rows as joint weights (V_target, V_source) float32: `x_target = weights @ x_source`."""
    weights = np.zeros((len(rows), sources), np.float32)
    for joint, row in enumerate(rows):
        for source, weight in row:
            weights[joint, source] = weight
    return weights


def check_maps(maps: Any, field: str, name: str, sources: int | None = None, targets: int | None = None) -> None:
    """Raises `DataError` for what is no `Maps` of a skeleton `name`; where known, with so many source joints and so many rows."""
    where = f"skeleton '{name}': '{field}'"
    try:
        for other, rows in maps:
            if not isinstance(other, str) or not isinstance(rows, tuple) or targets not in (None, len(rows)):
                raise ValueError("a name and one row per joint of the target")
            for row in rows:
                numbers = [source for source, _ in row]
                if any(type(j) is not int or j < 0 or (sources is not None and j >= sources) for j in numbers):
                    raise ValueError("source joints by their numbers")
                if not math.isclose(math.fsum(weight for _, weight in row), 1, abs_tol=SLACK):
                    raise ValueError("weights that sum to 1 in every row")
    except (TypeError, ValueError, OverflowError) as problem:
        raise DataError(f"{where} must hold names and rows of (source joint, weight): {problem}") from problem
