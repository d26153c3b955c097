"""NTU RGB+D `.skeleton` files: some of one person, some of two, one with a visitor who soon goes, one with frames without a body."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from writers.pyskl import names, people

Frame = Sequence[tuple[str, np.ndarray]]  # the bodies of a frame: id and joints (25, 3)
FIRST_ID = 72_057_594_037_900_000


def fields(joints: np.ndarray, rng: np.random.Generator) -> list[list[str]]:
    """The twelve fields of each joint, with the seven significant digits of the real files."""
    depth = rng.uniform(100, 400, (len(joints), 2))
    rest = np.hstack([joints, depth, 3.7 * depth, rng.normal(0, 0.5, (len(joints), 4))])
    return [[f"{value:.7g}" for value in row] + ["2"] for row in rest.tolist()]


def text(frames: Sequence[Frame], rng: np.random.Generator, newline: str = "\n") -> str:
    lines = [str(len(frames))]
    for frame in frames:
        lines.append(str(len(frame)))
        for name, joints in frame:
            lines.append(f"{name} 0 1 1 1 1 0 0.02764709 -0.05745083 2")
            lines.append(str(len(joints)))
            lines += [" ".join(row) for row in fields(joints, rng)]
    return newline.join(lines) + newline


def recording(bodies: int, frames: int, action: int, rng: np.random.Generator) -> list[list[tuple[str, np.ndarray]]]:
    """Frames of people with ids; joints are in the camera's space, whose middle is a metre above the floor."""
    joints = people(bodies, frames, action, rng) - (0, 1, 0)  # (M, T, 25, 3)
    first = FIRST_ID + int(rng.integers(90_000))
    return [[(str(first + m), joints[m, t]) for m in range(bodies)] for t in range(frames)]


def write(folder: Path, clips: int = 12, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names(clips)):
        action = int(name[-3:])
        frames = recording(2 if action > 49 else 1, int(rng.integers(20, 40)), action, rng)
        if i == 0:
            for t in range(5, 9):
                frames[t].append((str(FIRST_ID + 99_999), frames[0][0][1] + (1.0, 0, 0)))
        if i == 1:
            frames[3:5] = [], []
        (folder / f"{name}.skeleton").write_text(text(frames, rng), encoding="ascii")
    return folder
