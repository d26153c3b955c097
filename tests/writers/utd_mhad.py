"""Writes UTD-MHAD's layout: a folder of `a1_s1_t1_skeleton.mat`, each with `d_skel` (20, 3, T) in the data set's own order of joints."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import scipy.io
from writers.nucla import walking

FROM_KINECT20 = [3, 2, 1, 0, *range(4, 20)]  # head, shoulder centre, spine, hip centre, then as kinect20


def write(folder: Path, clips: int = 12, seed: int = 0) -> Path:
    """Both halves of odd and even subjects do every action."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    actions = max(2, min(27, clips // 4))
    for clip in range(clips):
        action, turn = clip % actions + 1, clip // actions
        body = walking(int(random.integers(41, 90)), action, random)[:, FROM_KINECT20]  # (T, 20, 3)
        content = io.BytesIO()
        scipy.io.savemat(content, {"d_skel": body.transpose(1, 2, 0)}, do_compression=clip % 2 == 0)
        (folder / f"a{action}_s{turn % 8 + 1}_t{turn // 8 + 1}_skeleton.mat").write_bytes(content.getvalue())
    return folder
