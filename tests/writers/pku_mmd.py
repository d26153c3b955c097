"""Writes the layout of PKU-MMD: long texts of two bodies per line, and texts of labelled intervals of the same names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

STANDING = np.array([
    (0.00, 0.95), (0.00, 1.18), (0.00, 1.48), (0.00, 1.60),  # base of spine, mid spine, neck, head
    (-0.18, 1.38), (-0.24, 1.12), (-0.26, 0.88), (-0.27, 0.80),  # left arm
    (0.18, 1.38), (0.24, 1.12), (0.26, 0.88), (0.27, 0.80),
    (-0.09, 0.92), (-0.10, 0.50), (-0.11, 0.08), (-0.12, 0.00),  # left leg
    (0.09, 0.92), (0.10, 0.50), (0.11, 0.08), (0.12, 0.00),
    (0.00, 1.42), (-0.28, 0.73), (-0.24, 0.77), (0.28, 0.73), (0.24, 0.77),  # spine at shoulders, left tip, thumb, right tip, thumb
])  # fmt: skip
LENGTH, GAP, PER_VIDEO = 40, 10, 20  # frames of an interval and between intervals; intervals of a video
VIEWS = "LMR"


def moving(label: int, random: np.random.Generator, aside: float = 0.0) -> np.ndarray:
    """(LENGTH, 25, 3): both hands move, in a way of the label's own."""
    time = np.arange(LENGTH) / 30 + random.uniform(0, 1)
    body = np.zeros((LENGTH, 25, 3))
    body[..., :2], body[..., 2] = STANDING, 3.0
    for hand, joints in enumerate(((5, 6, 7, 21, 22), (9, 10, 11, 23, 24))):
        swing = 0.15 * np.sin(2 * np.pi * time * (0.3 + 0.05 * label) + hand * label)
        body[:, joints, 1] += swing[:, None] * (0.5, 1.0, 1.1, 1.2, 1.1)
    body[..., 0] += aside + 0.05 * np.sin(time)[:, None]
    return body * random.uniform(0.95, 1.05)


def video(labels: list[int], random: np.random.Generator) -> tuple[str, str]:
    """The two texts of a video in which the labels come one after the other; those that divide by 4 have a second person."""
    frames, intervals = [], []
    for label in labels:
        start = len(frames) + GAP + 1
        first, second = moving(label, random), moving(label, random, 0.8) if label % 4 == 0 else np.zeros((LENGTH, 25, 3))
        rows = np.concatenate([first, second], axis=1).reshape(LENGTH, 150)
        frames += [rows[0]] * GAP + list(rows)
        intervals.append(f"{label},{start},{start + LENGTH - 1},{1 + label % 2}")
    text = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in frames)
    return text + "\n", "\n".join(intervals) + "\n"


def write(folder: Path, clips: int = 12, seed: int = 0) -> Path:
    """Every label from all three cameras; two folders inside `folder`, as the data set comes."""
    joints, labels = folder / "Skeleton", folder / "Train_Label_PKU_final"
    joints.mkdir(parents=True, exist_ok=True)
    labels.mkdir(exist_ok=True)
    random = np.random.default_rng(seed)
    classes = max(2, min(51, clips // 3))
    for place, view in enumerate(VIEWS):
        wanted = [k % classes + 1 for k in range(clips // 3 + (place < clips % 3))]
        for number, start in enumerate(range(0, len(wanted), PER_VIDEO)):
            for text, target in zip(video(wanted[start : start + PER_VIDEO], random), (joints, labels), strict=True):
                (target / f"{number + 2:04}-{view}.txt").write_text(text)
    return folder
