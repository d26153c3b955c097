"""Still ends cut off: against a slow loop, and what it is for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skelmm_core import batches, clips, modalities
from skelmm_core.errors import SettingsError
from skelmm_core.settings import resolve
from skelmm_core.skeletons import KINECT20
from skelmm_core.sources import sample

SIZES = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 2)), min_size=1, max_size=4)


def packed(recordings: list[np.ndarray]):
    """Clips (M, L, V, 3) packed: rows (R, V, 3), first rows, lengths, bodies."""
    bodies, lengths = (torch.tensor([c.shape[axis] for c in recordings]) for axis in (0, 1))
    rows = np.concatenate([c.reshape(-1, *c.shape[2:]) for c in recordings]).astype(np.float32)
    return torch.from_numpy(rows), (lengths * bodies).cumsum(0) - lengths * bodies, lengths, bodies


def unpacked(rows, starts, lengths, bodies) -> list[np.ndarray]:
    return [
        rows[start : start + length * count].view(count, length, *rows.shape[1:]).numpy()
        for start, length, count in zip(starts.tolist(), lengths.tolist(), bodies.tolist(), strict=True)
    ]


def slow(clip: np.ndarray, share: float, flat: bool = False) -> np.ndarray:
    """What is kept of one clip (M, L, V, 3), step by step."""
    steps = []
    for now, then in zip(range(1, clip.shape[1]), range(clip.shape[1] - 1), strict=True):
        way = 0.0
        for body in clip.astype(np.float64):
            for joint in range(body.shape[1]):
                a, b = body[now, joint], body[then, joint]
                seen = a[2] > 0 and b[2] > 0 if flat else body[now].any() and body[then].any()
                way += np.linalg.norm((a - b)[: 2 if flat else 3]) if seen else 0.0
        steps.append(way)
    whole = sum(steps)
    if whole == 0:
        return clip
    first = next(k for k in range(len(steps)) if sum(steps[: k + 1]) >= share * whole)
    last = next((k for k in range(len(steps)) if sum(steps[: k + 1]) >= (1 - share) * whole), len(steps) - 1)
    return clip[:, min(first, last) : last + 2]  # a step ends a frame later


@given(SIZES, st.sampled_from([0.0, 0.013, 0.11, 0.3, 0.4]), st.integers(0, 10**6), st.booleans())
def test_agrees_with_a_slow_loop(sizes, share, seed, flat):
    rng = np.random.default_rng(seed)
    recordings = [rng.normal(size=(count, length, 4, 3)).astype(np.float32) for length, count in sizes]
    for clip in recordings:
        clip[rng.random(clip.shape[:2]) < 0.2] = 0  # nobody seen, or no joint
    *packs, bodies = packed(recordings)
    rows, starts, lengths = batches.trimmed(*packs, bodies, share, flat)
    for found, clip in zip(unpacked(rows, starts, lengths, bodies), recordings, strict=True):
        np.testing.assert_array_equal(found, slow(clip, share, flat))


@given(before=st.integers(0, 60), after=st.integers(0, 60), share=st.floats(0.001, 0.4), seed=st.integers(0, 999))
def test_however_long_somebody_stands_and_waits_the_same_is_kept(before, after, share, seed):
    move = np.random.default_rng(seed).normal(0, 0.02, (1, 25, 20, 3)).cumsum(1).astype(np.float32)
    waited = np.concatenate([move[:, :1].repeat(before, 1), move, move[:, -1:].repeat(after, 1)], 1)
    *packs, bodies = packed([move, waited])
    alone, padded = unpacked(*batches.trimmed(*packs, bodies, share), bodies)
    np.testing.assert_array_equal(alone, padded)


def test_what_does_not_move_stays_whole():
    still = np.random.default_rng(0).normal(2, 1, (2, 12, 20, 3)).astype(np.float32)[:, :1].repeat(12, 1)
    rounded = still + np.float32(2e-7) * np.arange(12, dtype=np.float32)[:, None, None]
    *packs, bodies = packed([still, rounded])
    assert batches.trimmed(*packs, bodies, 0.2)[2].tolist() == [12, 12]


def test_velocity_is_that_of_the_recording(tmp_path):
    """Three seconds of standing before a walk of 2 cm a frame: kept frames are fewer, metres per recorded frame are the same."""
    walk = np.zeros((1, 130, 20, 3), np.float32) + np.random.default_rng(0).normal(0, 0.3, (20, 3)).astype(np.float32)
    walk[:, 90:, :, 0] += 0.02 * np.arange(40, dtype=np.float32)[:, None]
    rows, starts, lengths, bodies = packed([walk])

    def motion(trim: float):
        x, kept = batches.prepared(rows, starts, lengths, bodies, KINECT20, 20, 1, "clip", trim=trim)
        return kept, modalities.compute(x, kept, KINECT20, ["motion"])["motion"].norm(dim=1)[0, 1:-2]

    kept, found = motion(0.05)
    assert 34 <= int(kept) <= 38  # of 40 frames that move, less a twentieth at each end
    torch.testing.assert_close(found, torch.full_like(found, 0.02), rtol=1e-4, atol=0)
    kept, found = motion(0.0)
    assert int(kept) == 130 and found[:10].max() < 1e-6


def test_loaded_clips_tell_the_frames_that_were_kept(tmp_path):
    path = tmp_path / "motion.clips"
    clips.write(path, sample.read(performers=1, repetitions=1, cameras=1))
    data, rows = clips.open_clips(path), np.arange(6)
    whole, found = (batches.load(data, rows, 16, view="clip", trim=trim) for trim in (0.0, 0.1))
    kept = [slow(data.joints_of(i), 0.1) for i in rows]
    assert whole.frames.tolist() == data.frames[rows].tolist()
    assert found.frames.tolist() == [c.shape[1] for c in kept] and bool((found.frames < whole.frames).all())
    assert found.frames.dtype == whole.frames.dtype and found.joints.shape == whole.joints.shape
    *packs, bodies = packed(kept)
    alone, _ = batches.prepared(*packs, bodies, data.skeleton, 16, int(data.bodies.max()), "clip")
    torch.testing.assert_close(found.joints, alone)


@pytest.mark.parametrize("value", [-0.1, 0.5, float("nan")])
def test_a_share_that_makes_no_sense(value):
    with pytest.raises(SettingsError, match=r"'trim' must be between 0 and 0\.4"):
        resolve("pretrain", trim=value)


def test_presets_as_published_do_not_trim():
    assert resolve("pretrain", "published").trim == resolve("pretrain", "described").trim == 0
