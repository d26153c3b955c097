"""A folder of the first stage of CrosSCLR and AimCLR: zero-padded arrays for both parts of cross-subject, labels without frame counts."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from writers.pyskl import TRAINING, names, people

PADDED = 60  # frames; the published files have 300


def write(folder: Path, clips: int = 12, seed: int = 0, frames: bool = False) -> Path:
    rng, protocol = np.random.default_rng(seed), folder / "xsub"
    protocol.mkdir(parents=True, exist_ok=True)
    both = names(clips)
    for part, chosen in (
        ("train", [n for n in both if int(n[9:12]) in TRAINING]),
        ("val", [n for n in both if int(n[9:12]) not in TRAINING]),
    ):
        data, lengths = np.zeros((len(chosen), 3, PADDED, 25, 2), np.float32), []
        for i, name in enumerate(chosen):
            action, length = int(name[-3:]), int(rng.integers(20, 40))
            joints = people(2 if action > 49 else 1, length, action, rng)  # (M, T, 25, 3)
            data[i, :, :length, :, : len(joints)] = joints.transpose(3, 1, 2, 0)
            lengths.append(length)
        labels = [int(name[-3:]) - 1 for name in chosen]
        np.save(protocol / f"{part}_data.npy", data)
        table = ([f"{name}.skeleton" for name in chosen], labels, *([lengths] if frames else []))
        (protocol / f"{part}_label.pkl").write_bytes(pickle.dumps(table))
    return protocol
