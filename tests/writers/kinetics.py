"""Writes the layout of Kinetics-skeleton: OpenPose joints in images, one JSON file per video, and the lists of labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

NAMES = ("air drumming", "bowling", "clapping", "dancing ballet", "hugging", "juggling balls", "salsa dancing", "yoga")
STANDING = np.array([
    (0.00, 0.16), (0.00, 0.26),  # nose, neck; parts of the image's height, down from its upper edge, around the body's middle
    (-0.07, 0.26), (-0.09, 0.38), (-0.10, 0.48), (0.07, 0.26), (0.09, 0.38), (0.10, 0.48),  # right arm, left arm
    (-0.04, 0.50), (-0.04, 0.68), (-0.05, 0.86), (0.04, 0.50), (0.04, 0.68), (0.05, 0.86),  # right leg, left leg
    (-0.01, 0.14), (0.01, 0.14), (-0.03, 0.15), (0.03, 0.15),  # eyes, ears
])  # fmt: skip


def person(place: float, phase: float, label: int, frame: int, random: np.random.Generator) -> dict:
    """Places as parts of width and height of 340 x 256 pixels, three digits as in the real files; now and then a joint is not seen."""
    body = STANDING.copy()
    body[[3, 4, 6, 7], 1] -= 0.1 * np.sin(phase + frame * 0.05 * (label + 1)) * np.array([0.5, 1, 0.5, 1])
    body[:, 0] = place + body[:, 0] * 256 / 340
    score = random.uniform(0.4, 0.95, 18)
    lost = random.random(18) < 0.03
    body[lost], score[lost] = 0, 0
    return {"pose": [round(float(v), 3) for v in body.ravel()], "score": [round(float(v), 3) for v in score]}


def video(label: int, persons: int, frames: int, random: np.random.Generator, first: int = 1) -> dict:
    phases = random.uniform(0, 6, persons)
    data = [
        {"frame_index": f + first, "skeleton": [person(0.3 + 0.2 * p, phases[p], label, f, random) for p in range(persons)]}
        for f in range(frames)
    ]
    return {"data": data, "label": NAMES[label], "label_index": label}


def write(folder: Path, clips: int = 12, seed: int = 0) -> Path:
    """Two thirds to train; every fourth video shows two persons, every fifth three."""
    random = np.random.default_rng(seed)
    classes = max(2, min(len(NAMES), clips // 3))
    for part, numbers in {"train": range(clips - clips // 3), "val": range(clips - clips // 3, clips)}.items():
        place, table = folder / f"kinetics_{part}", {}
        place.mkdir(parents=True, exist_ok=True)
        for number in numbers:
            label = number % classes
            content = video(label, 3 if number % 5 == 4 else 2 if number % 4 == 3 else 1, int(random.integers(40, 90)), random)
            name = f"v{number:04}_{random.integers(10**5):05}"
            (place / f"{name}.json").write_text(json.dumps(content))
            table[name] = {"has_skeleton": True, "label": NAMES[label], "label_index": label}
        (folder / f"kinetics_{part}_label.json").write_text(json.dumps(table, indent=4))
    return folder
