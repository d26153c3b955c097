"""Clips in numpy, one at a time, inside a torch data set: centred, resized, turned; cropped and sheared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from benchmarks.plain.tables import CENTRE, LEFT, RIGHT


def prepare(joints: np.ndarray, frames: int) -> np.ndarray:
    """Recorded (M, L, V, 3) -> (3, frames, V, 2): centred, resized, turned; a body that is not there is zeros."""
    clip = np.zeros((3, frames, joints.shape[2], 2), np.float32)
    for body in range(min(2, len(joints))):
        x = joints[body] - joints[body][:, CENTRE : CENTRE + 1]  # (L, V, 3)
        clip[..., body] = turned(resized(x.astype(np.float64), frames)).transpose(2, 0, 1)
    return clip


def resized(x: np.ndarray, frames: int) -> np.ndarray:
    """Linear, half-pixel centres: (L, V, 3) -> (frames, V, 3)."""
    position = np.clip((np.arange(frames) + 0.5) * len(x) / frames - 0.5, 0, len(x) - 1)
    low = np.floor(position).astype(int)
    share = (position - low)[:, None, None]
    return x[low] * (1 - share) + x[np.minimum(low + 1, len(x) - 1)] * share


def turned(x: np.ndarray) -> np.ndarray:
    """Every frame about y, so that the line of the shoulders is parallel to x; (T, V, 3)."""
    line = x[:, RIGHT] - x[:, LEFT]
    sign = -1 if line[:, 2].sum() >= 0 else 1
    out = np.empty_like(x)
    for t, (vx, _, vz) in enumerate(line):
        angle = sign * np.arccos(vx / (np.sqrt(vx**2 + vz**2) + 1e-4))
        turn = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
        out[t] = x[t] @ turn.T
    return out


def window(clip: np.ndarray, pad: int, start: int) -> np.ndarray:
    """`pad` frames mirrored at both ends of (3, T, V, M), then T frames from `start` in 0 .. 2 * pad."""
    mirrored = np.concatenate([clip[:, :pad][:, ::-1], clip, clip[:, clip.shape[1] - pad :][:, ::-1]], axis=1)
    return mirrored[:, start : start + clip.shape[1]]


def sheared(clip: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Every point x of (3, T, V, M) becomes `matrix` x."""
    return np.tensordot(matrix, clip, axes=1).astype(np.float32)


def augmented(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Temporal crop and shear of one prepared clip."""
    pad = clip.shape[1] // 6
    matrix = rng.uniform(-0.5, 0.5, (3, 3))
    np.fill_diagonal(matrix, 1)
    return sheared(window(clip, pad, int(rng.integers(0, 2 * pad + 1))), matrix)


class Views(Dataset):
    """Two augmented versions of a clip, (3, T, V, M) each, and its true length: `((query, key), frames)`.

    Recordings are prepared once, as published feeders read prepared files; what is paid for in every step is augmentation.
    fresh: False repeats the same stream of draws every epoch in every worker of a loader, as published (without workers it never repeats).
    """

    def __init__(self, clips: Sequence[np.ndarray], frames: int = 50, seed: int = 0, fresh: bool = True):
        self.clips = [prepare(joints, frames) for joints in clips]
        self.lengths = [joints.shape[1] for joints in clips]
        self.seed, self.fresh, self.rng = seed, fresh, np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> tuple[tuple[Tensor, Tensor], int]:
        query, key = (torch.from_numpy(augmented(self.clips[i], self.rng)) for _ in range(2))
        return (query, key), self.lengths[i]


def start_worker(number: int) -> None:
    """Gives a loader's worker its own stream of draws; torch's seed of a worker is another one every epoch."""
    worker = get_worker_info()
    views = worker.dataset
    views.rng = np.random.default_rng(worker.seed if views.fresh else (views.seed, number))
