"""An npz of CTR-GCN's form: zero-padded rows of two bodies, one-hot labels of NTU RGB+D 60, the first spine of each clip at the origin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from writers.pyskl import TRAINING, names, people

PADDED = 60  # frames; the published files have 300


def write(folder: Path, clips: int = 12, seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng, path = np.random.default_rng(seed), folder / "NTU60_CS.npz"
    parts: dict[str, tuple[list, list]] = {"train": ([], []), "test": ([], [])}
    for name in names(clips):
        action, frames = int(name[-3:]), int(rng.integers(20, 40))
        row = np.zeros((PADDED, 150), np.float32)
        for body, joints in enumerate(moved := people(2 if action > 49 else 1, frames, action, rng)):  # (T, 25, 3)
            row[:frames, 75 * body : 75 * body + 75] = (joints - moved[0, 0, 1]).reshape(frames, 75)
        rows, labels = parts["train" if int(name[9:12]) in TRAINING else "test"]
        rows.append(row)
        labels.append(action - 1)
    arrays = {}
    for part, (rows, labels) in parts.items():
        arrays[f"x_{part}"], arrays[f"y_{part}"] = np.stack(rows), np.eye(60)[labels]
    np.savez(path, **arrays)
    return path
