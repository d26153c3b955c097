"""Nearest neighbours in raw coordinates against a slow loop, and the recorded figure."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from skelmm_core import clips as clip_files
from skelmm_core import sources
from skelmm_core.errors import DataError
from skelmm_core.evaluation import knn
from skelmm_core.protocols import Split, split
from skelmm_core.recordings import as_given
from skelmm_core.skeletons import KINECT20


def write_clips(path, recordings, classes=3):
    source = clip_files.Source("generated motion for a test", KINECT20, tuple("abcdef"[:classes]), 30.0, "", "0", recordings, as_given)
    clip_files.write(path, source, progress=False)
    return clip_files.open_clips(path)


def some_recordings(move=lambda joints, i: joints):
    draw, found = np.random.default_rng(5), []
    motifs = draw.normal(size=(3, 1, 20, 3))
    for i in range(18):
        bodies, length = 1 + i % 2, int(draw.integers(4, 50))
        joints = motifs[i % 3] + draw.normal(size=(bodies, length, 20, 3), scale=0.9)
        joints[:, :, 8, 0] += 5  # a clear shoulder line
        joints = move(joints, i)
        if i in (3, 4):
            joints[0, :2] = 0  # the first body comes late
        if i == 5:
            joints[1, 1:3] = 0  # the second one leaves for a while
        found.append(clip_files.Recording(joints.astype(np.float32), i % 3, f"clip {i}", subject=i))
    return found


def slow_raw(recording, frames):
    """Raw coordinates as defined, one frame at a time, in float64: (frames, 20, 3, 2)."""
    x = recording.joints.astype(np.float64).copy()  # (M, T, V, 3)
    present = np.abs(x).max(axis=(2, 3)) > 0
    x = np.where(present[:, :, None, None], x - x[0, present[0].argmax(), 0], 0)
    length, out = x.shape[1], np.zeros((frames, 20, 3, 2))
    for t in range(frames):
        position = min(max((t + 0.5) * length / frames - 0.5, 0), length - 1)
        low = int(position)
        for m in range(len(x)):
            out[t, :, :, m] = (1 - position + low) * x[m, low] + (position - low) * x[m, min(low + 1, length - 1)]
    line = (out[:, 8, :, 0] - out[:, 4, :, 0]).mean(axis=0)
    toward = np.array([line[0], 0, line[2]]) / np.hypot(line[0], line[2])
    turned = np.stack([toward, [0, 1, 0], np.cross(toward, [0, 1, 0])])  # new axes as rows: x along the shoulders
    return np.einsum("ij,tvjm->tvim", turned, out)


def test_raw_nearest_is_a_loop_over_distances(tmp_path):
    clips = write_clips(tmp_path / "a.clips", some_recordings())
    part = Split(np.arange(0, 9), np.arange(9, 18), "halves")
    result = knn.raw_nearest(clips, part, frames=6)
    vectors = [slow_raw(clips[i], 6) for i in range(18)]
    given = knn.raw_coordinates(clips, np.arange(18), 6, 2, chunk=5)
    np.testing.assert_allclose(given.numpy(), np.stack([v.transpose(2, 0, 1, 3).ravel() for v in vectors]), atol=1e-5)
    nearest = [int(np.argmin([((vectors[i] - vectors[j]) ** 2).sum() for j in part.train])) for i in part.test]
    assert result.predictions.tolist() == [int(clips.labels[part.train[j]]) for j in nearest]
    assert result.accuracy == pytest.approx(100 * np.mean(result.predictions == clips.labels[part.test]))
    assert result.confusion.sum() == 9


def test_raw_coordinates_do_not_see_place_or_heading(tmp_path):
    def move(joints, i):
        turn = np.array([[np.cos(i), 0, np.sin(i)], [0, 1, 0], [-np.sin(i), 0, np.cos(i)]])
        return joints @ turn.T + [3 * i, -i, 0.5 * i]

    still, moved = (write_clips(tmp_path / name, some_recordings(how)) for name, how in (("a", lambda x, i: x), ("b", move)))
    a, b = (knn.raw_coordinates(c, np.arange(18), 8, 2) for c in (still, moved))
    torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-3)
    with pytest.raises(DataError, match="empty"):
        knn.raw_coordinates(still, np.arange(0), 8, 2)


def test_raw_nearest_on_utd_mhad_is_the_recorded_figure(shared, tmp_path):
    path = tmp_path / "utd.clips"
    clip_files.write(path, sources.read(shared / "data" / "utd_mhad_skeleton.tar.xz"), progress=False)
    clips = clip_files.open_clips(path)
    result = knn.raw_nearest(clips, split(clips, "odd-even-subjects"))
    assert len(result.labels) == 430 and result.accuracy == pytest.approx(82.3, abs=0.05)
