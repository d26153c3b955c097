"""Writes the layout of Northwestern-UCLA's JSON skeletons: one standing person per file, Kinect v1 joints, metres."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

LABELS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 8: 7, 9: 8, 11: 9, 12: 10}  # action in the name -> label inside
STANDING = np.array([
    (0.00, 0.95), (0.00, 1.15), (0.00, 1.42), (0.00, 1.60),  # hip centre, spine, shoulder centre, head
    (-0.18, 1.38), (-0.24, 1.12), (-0.26, 0.88), (-0.27, 0.80),  # left arm
    (0.18, 1.38), (0.24, 1.12), (0.26, 0.88), (0.27, 0.80),
    (-0.09, 0.92), (-0.10, 0.50), (-0.11, 0.08), (-0.12, 0.00),  # left leg
    (0.09, 0.92), (0.10, 0.50), (0.11, 0.08), (0.12, 0.00),
])  # fmt: skip


def walking(frames: int, action: int, random: np.random.Generator) -> np.ndarray:
    """(T, 20, 3): both hands move, in a way of the action's own, and the whole body sways."""
    time = np.arange(frames) / 30 + random.uniform(0, 1)
    body = np.zeros((frames, 20, 3))
    body[..., :2], body[..., 2] = STANDING, 3.0
    for hand, joints in enumerate(((5, 6, 7), (9, 10, 11))):
        swing = 0.15 * np.sin(2 * np.pi * time * (0.3 + 0.1 * action) + hand * action)
        body[:, joints, 1] += swing[:, None] * (0.5, 1.0, 1.1)
        body[:, joints, 2] -= abs(swing[:, None]) * (0.5, 1.0, 1.1)
    body[..., 0] += 0.05 * np.sin(time)[:, None] + random.normal(0, 0.2)
    return body * random.uniform(0.95, 1.05)


def text(name: str, body: np.ndarray, label: int) -> str:
    return json.dumps({"file_name": name, "skeletons": np.round(body, 7).tolist(), "label": label})


def write(folder: Path, clips: int = 12, seed: int = 0) -> Path:
    """Every class from all three cameras, performer after performer."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    actions = list(LABELS)[: max(2, min(10, clips // 3))]
    for clip in range(clips):
        turn, action = clip // len(actions), actions[clip % len(actions)]
        name = f"a{action:02}_s{turn // 3 % 10 + 1:02}_e{turn // 30:02}_v{turn % 3 + 1:02}"
        body = walking(int(random.integers(30, 90)), action, random)
        (folder / f"{name}.json").write_text(text(name, body, LABELS[action]))
    return folder
