"""A long table as CSV: people of NTU-25's joints by name, two classes by name, two bodies in some clips, numbered performers."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from writers.pyskl import people

COLUMNS = ("clip", "frame", "body", "joint", "x", "y", "z", "label", "subject", "view")
JOINTS = (
    "base_of_spine", "mid_spine", "neck", "head", "left_shoulder", "left_elbow", "left_wrist", "left_hand", "right_shoulder", "right_elbow",
    "right_wrist", "right_hand", "left_hip", "left_knee", "left_ankle", "left_foot", "right_hip", "right_knee", "right_ankle", "right_foot",
    "spine_at_shoulders", "left_hand_tip", "left_thumb", "right_hand_tip", "right_thumb",
)  # fmt: skip


def recordings(clips: int, seed: int) -> Iterator[tuple[str, np.ndarray, str, int, int]]:
    """Name, joints (M, T, 25, 3), label, subject and view of each clip."""
    rng = np.random.default_rng(seed)
    for i in range(clips):
        both = i % 2
        yield (
            f"clip {i:04}",
            people(1 + both, int(rng.integers(8, 14)), 10 + 40 * both, rng),
            ("wave", "meet")[both],
            1 + i // 2 % 3,
            1 + i // 6 % 2,
        )


def rows(clips: int, seed: int) -> Iterator[tuple]:
    for name, joints, label, subject, view in recordings(clips, seed):
        for frame in range(joints.shape[1]):
            for body in range(joints.shape[0]):
                for joint, place in enumerate(joints[body, frame]):
                    yield name, frame, body, JOINTS[joint], *(round(float(v), 5) for v in place), label, subject, view


def write(folder: Path, clips: int = 12, seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mine.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows(clips, seed))
    return path
