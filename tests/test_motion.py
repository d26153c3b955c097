"""Paths, rotations, the limb solver, forward kinematics, cameras and the tracker behind the generated motion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import cumulative_trapezoid
from scipy.spatial.transform import Rotation

from skelmm_core.motion import camera as cameras
from skelmm_core.motion.body import ARMS, LEGS, PARENTS, Pose, forward, performer
from skelmm_core.motion.paths import bump, minimum_jerk, move, turns, window
from skelmm_core.motion.rotations import about, apply, between, limb, soften, unit
from skelmm_core.skeletons import NTU25

small = st.floats(-1, 1, allow_nan=False, width=32)
vectors = st.tuples(small, small, small).map(np.array).filter(lambda v: np.linalg.norm(v) > 0.1)


def test_minimum_jerk_is_the_integral_of_its_bell_shaped_speed():
    s = np.linspace(0, 1, 4001)
    np.testing.assert_allclose(minimum_jerk(s), cumulative_trapezoid(30 * s**2 * (1 - s) ** 2, s, initial=0), atol=1e-6)
    assert minimum_jerk(np.array([-1.0, 2.0])).tolist() == [0, 1]


def test_move_stops_at_every_key_and_holds_the_ends():
    p = np.linspace(-0.5, 1.5, 2001)
    path = move(p, (0.0, (0, 1)), (0.4, (2, -1)), (1.0, (1, 0)))
    assert path.shape == (2001, 2)
    for time, value in ((-0.5, (0, 1)), (0.0, (0, 1)), (0.4, (2, -1)), (1.0, (1, 0)), (1.5, (1, 0))):
        i = np.argmin(abs(p - time))
        np.testing.assert_allclose(path[i], value, atol=1e-9)
        np.testing.assert_allclose(np.gradient(path, p, axis=0)[i], 0, atol=1e-3)


def test_window_bump_and_turns():
    p = np.linspace(-0.2, 1.2, 1401)
    on = window(p, 0.1, 0.3, 0.6, 0.9)
    assert on[p < 0.1].max() == 0 and on[p > 0.9001].max() < 1e-12 and np.allclose(on[(p > 0.3) & (p < 0.6)], 1)
    assert bump(p, 0.2, 0.4).max() == pytest.approx(1, abs=1e-6) and p[bump(p, 0.2, 0.4).argmax()] == pytest.approx(0.3)
    angle = turns(on, 2.5, phase=0.3)
    assert angle[0] == 0.3 and angle[-1] == pytest.approx(0.3 + 5 * np.pi)
    assert np.all(np.diff(angle) >= 0) and np.ptp(angle[p > 0.91]) < 1e-9  # turns forwards, stands still where the weight is 0


@given(st.sampled_from("xyz"), st.floats(-4, 4))
def test_rotations_agree_with_scipy(axis, angle):
    np.testing.assert_allclose(about(axis, np.array(angle)), Rotation.from_euler(axis, angle).as_matrix(), atol=1e-12)


@given(vectors, vectors)
def test_between_is_the_smallest_rotation(a, b):
    a, b = unit(a), unit(b)
    if a @ b < -0.999:
        return
    turn = between(a, b)
    np.testing.assert_allclose(turn @ a, b, atol=1e-6)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-6)
    assert Rotation.from_matrix(turn).magnitude() == pytest.approx(np.arccos(np.clip(a @ b, -1, 1)), abs=1e-4)


@given(vectors, vectors, st.floats(0.3, 0.9), st.floats(0.8, 1.25), st.sampled_from([1, -1]))
def test_a_limb_reaches_what_is_in_reach_and_bends_towards_its_pole(direction, pole, share, ratio, bends):
    direction = unit(direction)
    if np.linalg.norm(np.cross(direction, unit(pole))) < 0.05:
        return
    upper, lower = 0.3, 0.3 * ratio
    to = direction * share * (upper + lower)
    first, second = (m[0] for m in limb(to[None], pole[None], upper, lower, bends, soft=0.95))
    for turn in (first, second):
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(turn) == pytest.approx(1)
    middle = first @ (0, -upper, 0)
    np.testing.assert_allclose(middle + second @ (0, -lower, 0), to, atol=1e-9)
    assert (middle - direction * (middle @ direction)) @ pole > 0
    flexed = first.T @ second  # about x alone: an elbow flexes forward (+z), a knee backward
    np.testing.assert_allclose(flexed[:, 0], (1, 0, 0), atol=1e-9)
    assert np.sign((flexed @ (0, -lower, 0))[2]) == bends


def test_a_limb_out_of_reach_falls_short_smoothly():
    far = np.linspace(0, 3, 3001)
    reached = soften(far, 1.0, 0.9)
    assert reached.max() < 1 and np.allclose(reached[far < 0.9], far[far < 0.9])
    slope = np.gradient(reached, far)
    assert slope.min() >= 0 and abs(np.diff(slope)).max() < 0.02


def test_hierarchy_reaches_every_joint_from_the_base_of_the_spine():
    for joint in range(25):
        seen = [joint]
        while PARENTS[seen[-1]] >= 0:
            seen.append(PARENTS[seen[-1]])
        assert seen[-1] == 0 and len(seen) <= 8
    for side, arm in zip(("left", "right"), ARMS, strict=True):
        assert [NTU25.joints[j] for j in arm] == [f"{side} {p}" for p in ("shoulder", "elbow", "wrist", "hand", "hand tip", "thumb")]
    for side, leg in zip(("left", "right"), LEGS, strict=True):
        assert [NTU25.joints[j] for j in leg] == [f"{side} {p}" for p in ("hip", "knee", "ankle", "foot")]


def _random_pose(who, seed, frames=7):
    rng = np.random.default_rng(seed)
    pose = Pose.standing(who, who.rest, frames)
    for field, spread in dict(root=0.05, turn=0.2, spine=0.2, head=0.2, hand=0.3, elbow=0.3, point=0.5, foot=0.1).items():
        getattr(pose, field)[...] += rng.normal(0, spread, getattr(pose, field).shape)
    return pose


@given(st.integers(0, 10_000))
def test_bone_lengths_do_not_depend_on_the_pose(seed):
    who = performer(seed, 1)
    joints = forward(who, _random_pose(who, seed))
    child, parent = np.arange(1, 25), np.array(PARENTS[1:])
    lengths = np.linalg.norm(joints[:, child] - joints[:, parent], axis=-1)
    np.testing.assert_allclose(lengths, np.broadcast_to(np.linalg.norm(who.offsets[1:], axis=-1), lengths.shape), atol=1e-6)


@given(st.integers(0, 10_000))
def test_a_mirrored_pose_gives_mirrored_joints(seed):
    who = performer(seed, 1)
    pose = _random_pose(who, seed)
    flip = dict(
        root=pose.root * (-1, 1, 1),
        turn=pose.turn * (1, -1, -1),
        spine=pose.spine * (1, -1, -1),
        head=pose.head * (1, -1, -1),
        hold=pose.hold[::-1] * (-1, 1, 1),
        **{k: getattr(pose, k)[::-1] for k in ("hand", "elbow", "point", "grip", "foot")},
    )
    other = np.arange(25)
    for left, right in NTU25.pairs:
        other[[left, right]] = right, left
    mirrored = forward(who, replace(pose, **flip))[:, other] * (-1, 1, 1)
    np.testing.assert_allclose(mirrored, forward(who, pose), atol=1e-9)


def test_performers_differ_and_every_third_is_left_handed():
    people = [performer(0, n) for n in range(1, 61)]
    heights = np.array([p.height for p in people])
    assert heights.min() >= 1.5 and heights.max() <= 1.95 and heights.std() > 0.05
    assert sum(p.main == 0 for p in people) == 20
    standing = [forward(p, Pose.standing(p, p.rest, 1))[0] for p in people]
    extent = np.array([x[3, 1] - x[[15, 19], 1].min() for x in standing])
    np.testing.assert_allclose(extent / heights, 0.905, atol=0.03)  # middle of the head to the ball of the foot
    limbs = np.array([(p.arm / p.height, p.leg / p.height, p.offsets[4, 0] / p.height) for p in people])
    assert np.all(limbs.std(0) > 0.004)


def test_a_camera_sees_metres_up_and_away_from_itself():
    eye = cameras.Camera(angle=0, distance=3, height=1, pitch=0)
    scene = np.array([[0, 1, 0], [0.5, 1.5, 0], [0, 1, -1.0]])
    np.testing.assert_allclose(eye.see(scene), [[0, 0, 3], [-0.5, 0.5, 3], [0, 0, 4]], atol=1e-12)
    # a camera at 90 degrees stands on the +x side: +x comes nearer; one that looks down by its aim sees the aimed point on its axis
    np.testing.assert_allclose(cameras.Camera(90, 3, 1, 0).see(np.array([1.0, 1, 0])), [0, 0, 2], atol=1e-12)
    aimed = cameras.Camera(30, 2, 2, 45).see(np.zeros(3))
    np.testing.assert_allclose(aimed, [0, 0, np.sqrt(8)], atol=1e-12)


@given(st.integers(0, 1000), st.integers(1, 20), st.integers(1, 3))
def test_cameras_stand_where_they_should_and_keep_distances(seed, setup, view):
    eye = cameras.camera(seed, setup, view)
    assert abs(eye.angle - (-45, 0, 45)[view - 1]) < 12 and 2.5 < eye.distance < 3.4 and 0.8 <= eye.height <= 1.7
    points = np.random.default_rng(seed).normal(size=(6, 3))
    seen = eye.see(points)
    np.testing.assert_allclose(np.linalg.norm(seen[:, None] - seen, axis=-1), np.linalg.norm(points[:, None] - points, axis=-1), atol=1e-9)
    assert np.linalg.det((seen[1:4] - seen[0]).T @ np.linalg.inv((points[1:4] - points[0]).T)) == pytest.approx(1)  # not mirrored


def test_a_tracker_is_noisy_where_trackers_are_loses_joints_and_guesses_some():
    still = np.zeros((2, 4000, 25, 3))
    seen = cameras.sense(np.random.default_rng(0), still, 30.0)
    spread = np.median(abs(seen), axis=(0, 1))[:, :2].mean(1) / 0.6745  # robust against bursts: median of |normal| is 0.6745 sigma
    np.testing.assert_allclose(spread, 0.9 * cameras.NOISE * cameras.SPREAD, rtol=0.1)
    assert not still.any()
    frozen = (np.diff(seen, axis=1) == 0).all(-1)  # (2, 3999, 25)
    assert 0 < frozen.mean() < 0.01 and frozen.sum() >= 3
    runs = np.diff(np.flatnonzero(np.diff(np.pad(frozen[0, :, 7], 1).astype(int))))[::2]
    assert len(runs) and runs.max() <= 10 and runs.min() >= 3
    assert abs(seen).max() > 0.05  # a burst is far outside the noise


def test_rotations_act_one_for_one():
    turn, v = about("z", np.array([0.0, np.pi / 2])), np.array([[1.0, 0, 0], [1.0, 0, 0]])
    np.testing.assert_allclose(apply(turn, v), [[1, 0, 0], [0, 1, 0]], atol=1e-12)
