"""A PYSKL pickle of NTU RGB+D 60: 25 joints, float16 metres, the splits xsub and xview."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

TRAINING = (1, 2, 4, 5, 8, 9)  # some of the training performers of the data set's authors
TESTING = (3, 6, 7, 10, 11, 12)
ACTIONS = (6, 26, 51)  # pick up, hopping, kicking somebody: the last has two bodies
STANDING = np.array([  # metres, Kinect v2's order; the person faces the camera, whose x grows to the person's left
    [0, 0.95, 3], [0, 1.2, 3], [0, 1.5, 3], [0, 1.65, 3], [0.18, 1.4, 3], [0.22, 1.12, 3], [0.24, 0.88, 2.97], [0.24, 0.8, 2.96],
    [-0.18, 1.4, 3], [-0.22, 1.12, 3], [-0.24, 0.88, 2.97], [-0.24, 0.8, 2.96], [0.09, 0.93, 3], [0.1, 0.5, 3], [0.1, 0.1, 3],
    [0.1, 0.05, 2.9], [-0.09, 0.93, 3], [-0.1, 0.5, 3], [-0.1, 0.1, 3], [-0.1, 0.05, 2.9], [0, 1.42, 3], [0.24, 0.72, 2.95],
    [0.2, 0.8, 2.94], [-0.24, 0.72, 2.95], [-0.2, 0.8, 2.94],
])  # fmt: skip
ARMS = {5: 0.5, 6: 1, 7: 1.1, 21: 1.2, 22: 1.1, 9: 0.5, 10: 1, 11: 1.1, 23: 1.2, 24: 1.1}  # how far joints swing


def people(bodies: int, frames: int, action: int, rng: np.random.Generator) -> np.ndarray:
    """(M, T, 25, 3) metres: people who swing their arms and sway, at a pace of the action."""
    time = np.arange(frames)[:, None] / 30
    joints = np.tile(STANDING * rng.uniform(0.95, 1.05), (bodies, frames, 1, 1))
    for m in range(bodies):
        wave = np.sin(2 * np.pi * (0.4 + action / 60) * time + rng.uniform(0, 6))  # (T, 1)
        for joint, reach in ARMS.items():
            joints[m, :, joint, 1:] += 0.2 * reach * wave * (1, -0.5)
        joints[m, :, :, 0] += 0.05 * np.sin(time + m) + 0.8 * m
    return joints


def names(clips: int) -> list[str]:
    """Names of clips, performers and views in turn; every action has clips of training and of testing performers and in all views."""
    performers = [p for pair in zip(TRAINING, TESTING, strict=True) for p in pair]
    return [
        f"S{1 + i // 36 % 17:03}C{1 + i // 6 % 3:03}P{performers[(i // 3 + i // 36) % 12]:03}R{1 + i // 612:03}A{ACTIONS[i % 3]:03}"
        for i in range(clips)
    ]


def write(folder: Path, clips: int = 12, seed: int = 0) -> Path:
    rng, annotations = np.random.default_rng(seed), []
    folder.mkdir(parents=True, exist_ok=True)
    for name in names(clips):
        action, frames = int(name[-3:]), int(rng.integers(20, 40))
        keypoint = people(2 if action > 49 else 1, frames, action, rng).astype(np.float16)
        annotations.append({"frame_dir": name, "label": action - 1, "keypoint": keypoint, "total_frames": frames})
    split: dict[str, list[str]] = {"xsub_train": [], "xsub_val": [], "xview_train": [], "xview_val": []}
    for name in names(clips):
        split["xsub_train" if int(name[9:12]) in TRAINING else "xsub_val"].append(name)
        split["xview_train" if name[4:8] in ("C002", "C003") else "xview_val"].append(name)
    path = folder / "ntu60_3danno.pkl"
    path.write_bytes(pickle.dumps({"split": split, "annotations": annotations}, protocol=4))
    return path
