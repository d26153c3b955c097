"""A clip and a still picture as few bytes: what a player puts into a notebook.

Coordinates are rounded to a grid that is chosen by the clip's own roughness (`grid`), and what is written of them is the second
difference along time, one byte for nearly every number: a smooth recording gets a fine grid, a noisy one a coarse one, and what
rounding adds to the acceleration stays near a hundredth of it in both. Two bodies of 25 joints and 150 frames take about 23 kB.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imread

FINEST, COARSEST = 2e-6, 5e-4  # metres, or image heights
STILL = 80  # dots per inch of a still picture


def grid(joints: np.ndarray) -> float:
    """Step of the grid in metres, or image heights: 63 steps are the 95th percentile of second differences along time. (M, T, V, 3)"""
    rough = np.abs(np.diff(joints, n=2, axis=1))
    rough = rough[~np.isnan(rough)]
    step = np.percentile(rough, 95) / 63 if rough.size else FINEST
    return float(f"{np.clip(step, FINEST, COARSEST):.2g}")


def pack(joints: np.ndarray, step: float, axes: int = 3) -> bytes:
    """Joints (M, T, V, 3), NaN where absent, on a grid of `step`; the first `axes` coordinates are kept.

    For each body and joint: how many frames it is there, how many it is not, and so on until the last; then for each coordinate the
    frames where it is there. In every run the first number stands as it is, the second as a difference, all others as second differences.
    Numbers take 7 bits a byte, lowest first, the eighth bit says that more follow; signed ones have their sign in the lowest bit.
    """
    numbers: list[np.ndarray] = []
    for body in joints:
        for path in body.swapaxes(0, 1):  # (T, 3)
            there = ~np.isnan(path[:, 0])
            edges = np.flatnonzero(np.diff(there, prepend=True, append=not there[-1]))
            lengths = np.diff(edges, prepend=0)
            runs = np.split(np.round(np.nan_to_num(path[:, :axes]) / step).astype(np.int64), edges[:-1])
            numbers.append(lengths)
            for axis in range(axes):
                for run in runs[::2]:
                    if len(run):
                        value = np.diff(np.diff(run[:, axis], prepend=0), prepend=0)
                        value[1:2] = run[1:2, axis] - run[:1, axis]
                        numbers.append(np.where(value < 0, -2 * value - 1, 2 * value))
    return _sevens(np.concatenate(numbers))


def _sevens(numbers: np.ndarray) -> bytes:
    """Whole numbers from 0 on, 7 bits a byte."""
    parts = [numbers >> 7 * place for place in range(9)]
    digits = np.stack([part & 127 | (128 * (part > 127)) for part in parts], axis=1).astype(np.uint8)  # (n, 9)
    needed = np.stack([np.ones_like(numbers, bool), *(part > 0 for part in parts[1:])], axis=1)
    content: bytes = digits[needed].tobytes()
    return content


def still(figures: list[Figure]) -> bytes:
    """Figures one above the other as a PNG with at most 256 colours, a third of the size of one with all of them."""
    pictures = []
    for figure in figures:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=STILL)  # which, unlike raw pixels, knows its width
        buffer.seek(0)
        pictures.append((255 * imread(buffer, "png")[..., :3]).round().astype(np.uint8))
    widest = max(picture.shape[1] for picture in pictures)
    padded = [np.pad(p, ((0, 0), (0, widest - p.shape[1]), (0, 0)), constant_values=255) for p in pictures]
    return indexed_png(np.concatenate(padded))


def indexed_png(rgb: np.ndarray) -> bytes:
    """A picture (H, W, 3) uint8 as a PNG with a table of colours: the 255 most frequent after rounding to steps of 17, and grey."""
    codes = np.round(rgb / 17).astype(np.int64) @ (256, 16, 1)  # (H, W)
    colours, number, count = np.unique(codes, return_inverse=True, return_counts=True)
    order = np.argsort(-count)[:255]
    place = np.full(len(colours), 255, np.uint8)
    place[order] = np.arange(len(order))
    table = np.full((256, 3), 128, np.uint8)
    table[: len(order)] = 17 * np.stack([colours[order] >> 8, colours[order] >> 4 & 15, colours[order] & 15], axis=1)
    rows = np.pad(place[number.reshape(codes.shape)], ((0, 0), (1, 0)))  # each row begins with its filter: none
    header = struct.pack(">IIBBBBB", rgb.shape[1], rgb.shape[0], 8, 3, 0, 0, 0)
    parts = ((b"IHDR", header), (b"PLTE", table.tobytes()), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
