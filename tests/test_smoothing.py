"""Smoothing along time: against SciPy, against a slow loop where tracking drops out, and what it is for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d

from skelmm_core import batches, modalities
from skelmm_core.errors import SettingsError
from skelmm_core.settings import resolve
from skelmm_core.skeletons import KINECT20

SIZES = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 2)), min_size=1, max_size=4)


def packed(sizes: list[tuple[int, int]], seed: int = 0):
    """Packed clips of random numbers: rows (R, 3, 3), first rows, lengths, bodies."""
    lengths, bodies = (torch.tensor(part) for part in zip(*sizes, strict=True))
    rows = torch.randn(int((lengths * bodies).sum()), 3, 3, generator=torch.Generator().manual_seed(seed))
    return rows, (lengths * bodies).cumsum(0) - lengths * bodies, lengths, bodies


def bodies_of(sizes, starts):
    for (length, count), start in zip(sizes, starts.tolist(), strict=True):
        yield from (slice(start + body * length, start + (body + 1) * length) for body in range(count))


@given(SIZES, st.floats(0.3, 8), st.integers(0, 10**6))
def test_agrees_with_scipy_body_by_body(sizes, deviation, seed):
    rows, starts, *rest = packed(sizes, seed)
    found = batches.smoothed(rows, starts, *rest, deviation)
    for body in bodies_of(sizes, starts):
        expected = gaussian_filter1d(rows[body].double().numpy(), deviation, axis=0, mode="nearest", truncate=3)
        np.testing.assert_allclose(found[body].numpy(), expected, rtol=1e-4, atol=1e-5)


@given(SIZES, st.floats(0.3, 5), st.integers(0, 10**6))
def test_frames_without_a_body_stay_empty_and_have_no_weight(sizes, deviation, seed):
    rows, starts, *rest = packed(sizes, seed)
    rows[torch.rand(len(rows), generator=torch.Generator().manual_seed(seed)) < 0.3] = 0
    found = batches.smoothed(rows, starts, *rest, deviation)
    reach = max(1, int(3 * deviation + 0.5))
    for body in bodies_of(sizes, starts):
        clip = rows[body].double().numpy()
        for frame in range(len(clip)):
            total, weights = np.zeros((3, 3)), 0.0
            for shift in range(-reach, reach + 1):
                other = clip[min(max(frame + shift, 0), len(clip) - 1)]
                if np.abs(other).max() > 0:
                    weight = math.exp(-(shift**2) / (2 * deviation**2))
                    total, weights = total + weight * other, weights + weight
            expected = total / weights if np.abs(clip[frame]).max() > 0 else np.zeros((3, 3))
            np.testing.assert_allclose(found[body][frame].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_still_body_stays_where_it_is():
    rows = torch.randn(1, 20, 3).expand(30, 20, 3).contiguous()
    found = batches.smoothed(rows, torch.tensor([0]), torch.tensor([30]), torch.tensor([1]), 4.0)
    torch.testing.assert_close(found, rows)


def test_it_takes_noise_out_of_acceleration_and_leaves_a_slow_swing():
    """White noise of 1 cm on a swing of 20 cm in two seconds: unsmoothed, acceleration is nearly all noise."""
    frames, rng = 120, torch.Generator().manual_seed(0)
    swing = 0.2 * torch.sin(2 * math.pi * torch.arange(frames) / 60).view(-1, 1, 1).expand(frames, 20, 3)
    noisy = swing + 0.01 * torch.randn(swing.shape, generator=rng)
    one = (torch.tensor([0]), torch.tensor([frames]), torch.tensor([1]))

    def acceleration(rows):
        clip = batches.resample(rows, *one, 32, 1).permute(0, 3, 1, 2, 4)
        return modalities.compute(clip, torch.tensor([frames]), KINECT20, ["acceleration"])["acceleration"][:, :, 3:-5]

    wanted = acceleration(swing)
    error = {s: ((acceleration(batches.smoothed(noisy, *one, s) if s else noisy) - wanted).norm() / wanted.norm()) for s in (0.0, 4.0)}
    assert error[0.0] > 0.5 and error[4.0] < 0.25 and error[4.0] < error[0.0] / 3


@pytest.mark.parametrize("value", [-1.0, float("nan"), 1000.0])
def test_a_deviation_that_makes_no_sense(value):
    with pytest.raises(SettingsError, match="'smooth' must be between 0 and 100"):
        resolve("pretrain", smooth=value)


def test_presets_as_published_do_not_smooth():
    assert resolve("pretrain", "published").smooth == resolve("pretrain", "described").smooth == 0
