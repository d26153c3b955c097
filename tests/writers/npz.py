"""One's own recordings as an npz of plain arrays: one body of 25 joints per clip, named performers, two classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from writers.pyskl import people

PERFORMERS = ("ann", "ben", "cem")


def write(folder: Path, clips: int = 12, seed: int = 0, compressed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng, path = np.random.default_rng(seed), folder / "mine.npz"
    lengths, labels = rng.integers(20, 40, clips), np.arange(clips) % 2
    joints = [people(1, int(n), 10 + 20 * int(label), rng)[0] for n, label in zip(lengths, labels, strict=True)]  # (T, 25, 3) each
    (np.savez_compressed if compressed else np.savez)(
        path,
        joints=np.concatenate(joints).astype(np.float32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        label=labels,
        subject=np.array([PERFORMERS[i // 2 % 3] for i in range(clips)]),
        name=np.array([f"clip {i:03}" for i in range(clips)]),
        label_names=np.array(["wave slowly", "wave fast"]),
        view=1 + np.arange(clips) // 6 % 2,
        fps=np.array(29.97),
        protocol=np.array("odd-even-subjects"),
    )
    return path
