"""A PYSKL pickle of people in images: 17 joints in pixels with scores, one list of training and one of test clips."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

STANDING = np.array([  # image heights, COCO's order, y down; the left joints of a person who faces the camera are on the right
    [0, 0.2], [0.015, 0.185], [-0.015, 0.185], [0.03, 0.19], [-0.03, 0.19], [0.08, 0.3], [-0.08, 0.3], [0.1, 0.42], [-0.1, 0.42],
    [0.11, 0.53], [-0.11, 0.53], [0.045, 0.52], [-0.045, 0.52], [0.05, 0.7], [-0.05, 0.7], [0.05, 0.88], [-0.05, 0.88],
])  # fmt: skip
HEIGHT, WIDTH = 240, 320


def write(folder: Path, clips: int = 12, seed: int = 0) -> Path:
    rng, annotations = np.random.default_rng(seed), []
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(clips):
        label, frames = i % 3, int(rng.integers(20, 40))
        bodies = 1 + (label == 2)
        time = np.arange(frames)[:, None] / 25
        joints = np.tile(STANDING, (bodies, frames, 1, 1))
        joints[..., (7, 8, 9, 10), 1] -= 0.05 * (1 + np.sin((2 + label) * time + rng.uniform(0, 6)))
        joints[..., 0] += 0.6 + 0.2 * np.arange(bodies)[:, None, None] + 0.02 * np.sin(time)
        keypoint = (joints * HEIGHT).astype(np.float16)
        score = rng.uniform(0.5, 1, (bodies, frames, 17)).astype(np.float16)
        score[:, :3, 0] = 0  # the nose is not seen at first
        annotations.append(
            {
                "frame_dir": f"v_{('walk', 'wave', 'hug')[label]}_g{i:04}", "label": label, "img_shape": (HEIGHT, WIDTH),
                "original_shape": (HEIGHT, WIDTH), "total_frames": frames, "keypoint": keypoint, "keypoint_score": score,
            }
        )  # fmt: skip
    names = [a["frame_dir"] for a in annotations]
    split = {"train1": [n for i, n in enumerate(names) if i // 3 % 2 == 0], "test1": [n for i, n in enumerate(names) if i // 3 % 2]}
    path = folder / "people_hrnet.pkl"
    path.write_bytes(pickle.dumps({"split": split, "annotations": annotations}, protocol=4))
    return path
