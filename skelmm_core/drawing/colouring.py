"""Columns of values that colour a map: kinds in colours and shapes with their names and counts, or numbers on a scale with a unit."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.markers import MarkerStyle

from skelmm_core.drawing import maps, palette
from skelmm_core.errors import DataError

MOST = 1000  # different values of a column of kinds
UNKNOWN = 65535  # a number that is not there, in two bytes
RAMP = [to_hex(colormaps["viridis"](share)) for share in np.linspace(0, 1, 32)]
WORDS = {"correct": ("wrong", "correct")}  # of a column of truth values, "correct (student)", too; others: "not NAME" and "NAME"


def plain(name: str) -> str:
    """A column's name without whose it is: "correct" of "correct (student)"."""
    return name.partition(" (")[0]


def column(name: str, values: Any, class_names: Sequence[str] = (), unit: str = "") -> dict[str, Any]:
    """A column of N values as plain JSON values, by the kind of the values.

    Whole numbers (-1: unknown), names and truth values are kinds: the colours and shapes of `map_panels`. Floating-point numbers are a
    scale (NaN: unknown) whose colours end at the 2nd and the 98th percentile, so that a few far points don't take all of them.

    Raises `DataError` for values of another shape or type, and for more than `MOST` kinds.
    """
    values = np.asarray(values)
    if values.ndim != 1 or values.dtype.kind not in "iubfUO":
        raise DataError(f"column '{name}' must be (N,) numbers, names or truth values, found {values.dtype} of shape {values.shape}")
    if values.dtype.kind == "f":
        return {"name": name, **_scale(values.astype(float), unit)}
    kinds, codes, counts = np.unique(values.astype(str) if values.dtype.kind == "O" else values, return_inverse=True, return_counts=True)
    if len(kinds) > MOST:
        raise DataError(f"column '{name}' has {len(kinds)} different values, at most {MOST} can be told apart; give numbers as floats")
    looks = list(_looks(name, kinds, class_names))
    entries = [
        {"word": word, "colour": colour, "shape": shape, "count": int(count)}
        for (word, colour, shape), count in zip(looks, counts, strict=True)
    ]
    return {"name": name, "entries": entries, "values": packed(codes.reshape(-1), np.uint16)}


def _looks(name: str, kinds: np.ndarray, class_names: Sequence[str]):
    """Word, colour and marker of each kind."""
    if kinds.dtype.kind == "b":
        for truth in kinds.tolist():
            style = (palette.VIEW_COLOURS[0], "o") if truth else (palette.VIEW_COLOURS[1], "^")
            yield WORDS.get(plain(name), (f"not {name}", name))[truth], *style
    elif kinds.dtype.kind == "U":
        for number, word in enumerate(kinds.tolist()):
            yield word, *palette.class_style(number)[:2]
    else:
        for number, (colour, marker, _) in maps.styles(name, kinds).items():
            yield maps.word(name, number, class_names), colour, marker


def _scale(values: np.ndarray, unit: str) -> dict[str, Any]:
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    wide = high - low or 1.0
    steps = np.where(np.isfinite(values), np.round((np.nan_to_num(values, posinf=0, neginf=0) - low) / wide * (UNKNOWN - 1)), UNKNOWN)
    ends = np.round((np.percentile(known, (2, 98)) - low) / wide * (UNKNOWN - 1)).tolist() if len(known) else [0, 1]
    ends = ends if ends[0] < ends[1] else [0, UNKNOWN - 1]
    return {"range": [low, low + wide], "limits": ends, "unit": unit, "values": packed(np.clip(steps, 0, UNKNOWN), np.uint16)}


def packed(numbers: np.ndarray, kind: Any) -> str:
    """Whole numbers as bytes, lowest first, in base64."""
    return base64.b64encode(np.ascontiguousarray(numbers).astype(np.dtype(kind).newbyteorder("<")).tobytes()).decode()


@cache
def shape(marker: str) -> list[list[float]]:
    """Corners of one of matplotlib's markers, y upwards, as large in area as a circle of radius 0.9; none for the circle itself."""
    if marker == "o":
        return []
    style = MarkerStyle(marker)
    (corners,) = style.get_path().transformed(style.get_transform()).to_polygons()
    x, y = corners[:-1].T
    area = abs(np.sum(x * np.roll(y, 1) - y * np.roll(x, 1))) / 2
    return (corners[:-1] * np.sqrt(0.81 * np.pi / area)).round(3).tolist()
