"""Augmentations that stand for other people: uneven speed and other limbs, against slow loops written from their formulas."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skelmm_core.augmentation import Augmentation, other_limbs, warped
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.settings import resolve
from skelmm_core.skeletons import COCO17, KINECT20, NTU25, SKELETONS


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def motion(count: int, frames: int = 12, joints: int = 20, bodies: int = 2, seed: int = 5) -> torch.Tensor:
    return torch.randn(count, 3, frames, joints, bodies, generator=rng(seed), dtype=torch.float64)


# Uneven speed


@pytest.mark.parametrize("spread", [0.1, 0.5])
def test_warping_is_what_a_slow_loop_makes_of_the_formula(spread):
    x, t = motion(3, 9), 9
    found, draws = warped(x, spread, rng(2)), rng(2)
    amplitude = torch.randn(3, 3, 1, generator=draws, dtype=torch.float64).numpy()
    phase = torch.rand(3, 3, 1, generator=draws, dtype=torch.float64).numpy() * 2 * math.pi
    for n in range(3):
        speed = [
            math.exp(sum(spread / k * amplitude[n, k - 1, 0] * math.cos(math.pi * k * i / (t - 1) + phase[n, k - 1, 0]) for k in (1, 2, 3)))
            for i in range(t)
        ]
        way = [0.0]
        for i in range(1, t):
            way.append(way[-1] + (speed[i - 1] + speed[i]) / 2)
        position = [w / way[-1] * (t - 1) for w in way]
        for c, v, m in ((0, 0, 0), (2, 7, 1), (1, 19, 0)):
            np.testing.assert_allclose(found[n, c, :, v, m], np.interp(position, range(t), x[n, c, :, v, m]), atol=1e-9)


@given(st.floats(0.01, 1.0), st.integers(3, 60), st.integers(0, 10**6))
def test_time_goes_on_and_begins_and_ends_where_it_did(spread, t, seed):
    ramp = torch.arange(t, dtype=torch.float32).view(1, 1, t, 1, 1).expand(4, 3, t, 2, 1).contiguous()
    found = warped(ramp, spread, rng(seed))
    assert (found.diff(dim=2) > 0).all()
    torch.testing.assert_close(found[:, :, 0], ramp[:, :, 0])
    torch.testing.assert_close(found[:, :, -1], ramp[:, :, -1], rtol=1e-5, atol=1e-5)


def test_spread_is_that_of_the_speed():
    """The variance of the logarithm of the speed is half the sum of (spread / k)^2, up to the share that the whole length takes off."""
    t = 200
    ramp = torch.arange(t, dtype=torch.float64).view(1, 1, t, 1, 1).expand(3000, 1, t, 1, 1)
    speed = warped(ramp, 0.3, rng(1)).diff(dim=2).flatten(1)
    log = speed.log()
    log = log - speed.log().mean(dim=1, keepdim=True)  # a constant factor is no uneven speed
    expected = (0.5 * 0.09 * (1 + 1 / 4 + 1 / 9)) ** 0.5
    assert 0.7 * expected < log.std().item() < expected
    assert log.std(dim=1).min() > 0


# Other limbs


def slow_limbs(joints: torch.Tensor, skeleton, factor: torch.Tensor) -> torch.Tensor:
    """One joint after the other, each placed from its parent."""
    found = torch.zeros_like(joints)

    def place(n, t, m, v) -> torch.Tensor:
        parent = skeleton.bone[v]
        if parent == v:
            return joints[n, :, t, v, m]
        return place(n, t, m, parent) + factor[n, v, m] * (joints[n, :, t, v, m] - joints[n, :, t, parent, m])

    for n in range(joints.shape[0]):
        for t in range(joints.shape[2]):
            for v in range(joints.shape[3]):
                for m in range(joints.shape[4]):
                    found[n, :, t, v, m] = place(n, t, m, v)
    return found


@pytest.mark.parametrize("skeleton", [KINECT20, NTU25], ids=lambda s: s.name)
def test_limbs_are_what_a_slow_loop_makes_of_the_formula(skeleton):
    x = motion(2, 3, len(skeleton))
    found = other_limbs(x, skeleton, 0.2, rng(4))
    factor = (0.2 * torch.randn(2, len(skeleton), 2, generator=rng(4), dtype=torch.float64)).exp()
    for left, right in skeleton.pairs:
        factor[:, right] = factor[:, left]
    torch.testing.assert_close(found, slow_limbs(x, skeleton, factor))


@given(st.sampled_from([s for s in SKELETONS.values() if s.dimensions == 3]), st.floats(0.01, 0.5), st.integers(0, 10**6))
def test_bones_keep_their_direction_and_left_is_as_long_as_right(skeleton, spread, seed):
    x = motion(2, 4, len(skeleton), seed=seed)
    found, parents = other_limbs(x, skeleton, spread, rng(seed)), list(skeleton.bone)
    old, new = (y - y[:, :, :, parents] for y in (x, found))
    own = [v for v in range(len(skeleton)) if parents[v] != v]
    cosine = torch.nn.functional.cosine_similarity(old, new, dim=1)[:, :, own]
    torch.testing.assert_close(cosine, torch.ones_like(cosine))
    ratio = new.norm(dim=1)[:, :, own] / old.norm(dim=1)[:, :, own]  # (N, T, V', M)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))  # throughout the clip
    for left, right in skeleton.pairs:
        if left in own and right in own:
            torch.testing.assert_close(ratio[:, :, own.index(left)], ratio[:, :, own.index(right)])
    assert torch.equal(found[:, :, :, skeleton.centre], x[:, :, :, skeleton.centre])


@pytest.mark.parametrize("name", [s.name for s in SKELETONS.values() if s.dimensions == 3])
def test_no_spread_changes_nothing_on_any_skeleton(name):
    x = motion(2, 4, len(SKELETONS[name]))
    torch.testing.assert_close(other_limbs(x, SKELETONS[name], 0.0, rng()), x)


def test_spread_is_that_of_lengths_and_bodies_differ():
    x = motion(500, 3)
    found = other_limbs(x, KINECT20, 0.2, rng())
    hand, wrist = KINECT20.joints.index("left hand"), KINECT20.joints.index("left wrist")
    ratio = (found[:, :, 0, hand] - found[:, :, 0, wrist]).norm(dim=1) / (x[:, :, 0, hand] - x[:, :, 0, wrist]).norm(dim=1)
    assert ratio.log().std().item() == pytest.approx(0.2, rel=0.1) and abs(ratio.log().mean().item()) < 0.02
    assert not torch.allclose(ratio[:, 0], ratio[:, 1])


def test_an_empty_body_stays_empty_and_nothing_is_written_to():
    x = motion(4)
    x[..., 1] = 0
    before = x.clone()
    change = Augmentation(warp=0.3, limbs=0.2, skeleton=KINECT20)
    found, frames = change(x, torch.full((4,), 30), rng())
    assert torch.equal(x, before) and not found[..., 1].any() and not torch.equal(found, x) and (frames == 30).all()


def test_limbs_need_a_skeleton_whose_bones_lead_to_its_centre():
    x, frames = motion(1), torch.tensor([12])
    with pytest.raises(SettingsError, match="limbs=0.1 .* needs a skeleton, found none"):
        Augmentation(limbs=0.1)(x, frames, rng())
    bone = list(KINECT20.bone)
    a, b = (KINECT20.joints.index(name) for name in ("left hand", "left wrist"))
    bone[a], bone[b] = b, a
    circle = replace(KINECT20, name="circle", bone=tuple(bone))
    with pytest.raises(DataError, match="skeleton 'circle': the bones that lead to joint .* go round in a circle"):
        other_limbs(x, circle, 0.1, rng())


def test_in_an_image_joints_are_interpolated_where_seen_and_limbs_stay():
    x = torch.rand(2, 3, 12, len(COCO17), 1, generator=rng(3))
    x[:, 2:] *= torch.rand(2, 1, 12, len(COCO17), 1, generator=rng(4)) > 0.4
    x[:, :2] = 3.0 * (x[:, 2:] > 0)  # a place that a mean with zeros would change
    found, _ = Augmentation(warp=0.5, limbs=0.5, dimensions=2)(x, torch.tensor([12, 12]), rng(1))
    seen = (found[:, 2:] > 0).expand(-1, 2, -1, -1, -1)
    torch.testing.assert_close(found[:, :2][seen], torch.full_like(found[:, :2][seen], 3.0))
    assert not found[:, :2][~seen].any() and not torch.equal(found[:, 2], x[:, 2])


def test_settings_say_all_of_it():
    s = resolve("pretrain", "small", warp=0.3, limbs=0.2)
    made = s.augmentation(KINECT20)
    for name in ("crop_shift", "crop_min", "warp", "limbs", "shear", "yaw", "offset"):
        assert getattr(made, name) == getattr(s, name)
    assert made.skeleton is KINECT20 and made.dimensions == 3 and s.augmentation(COCO17).dimensions == 2
