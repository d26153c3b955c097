"""Modalities in closed form, against a slow loop joint by joint, and by properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skelmm_core import modalities, skeletons
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.skeletons import KINECT20, NTU25

SKELETONS = pytest.mark.parametrize("skeleton", [NTU25, KINECT20], ids=lambda s: s.name)
# The tables of the method, written out once more (1-based, joint: partner): this test must not read them from the code.
NTU_PAIRS = """1-2 2-21 3-21 4-3 5-21 6-5 7-6 8-7 9-21 10-9 11-10 12-11 13-1 14-13 15-14 16-15 17-1 18-17 19-18 20-19 21-21
22-8 23-8 24-12 25-12"""
NTU_BONE = dict(pair.split("-") for pair in NTU_PAIRS.split())
NTU_AXIS = NTU_BONE | {"22": "8", "23": "22", "24": "12", "25": "24"}


def pose(skeleton, seed: int = 0) -> torch.Tensor:
    """A body in general position, (V, 3) metres, float64."""
    return torch.randn(len(skeleton), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 0.5


def still(skeleton, count: int = 2, frames: int = 12, bodies: int = 2) -> torch.Tensor:
    """Clips in which nobody moves, (N, 3, T, V, M)."""
    clips = torch.stack([torch.stack([pose(skeleton, 10 * n + m) for m in range(bodies)], -1) for n in range(count)])  # (N, V, 3, M)
    return clips.permute(0, 2, 1, 3).unsqueeze(2).repeat(1, 1, frames, 1, 1)


def wild(skeleton, count: int = 3, frames: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, frames, len(skeleton), 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def lengths(x: torch.Tensor, frames: int | None = None) -> torch.Tensor:
    return torch.full((len(x),), frames or x.shape[2])


def rotation(angles) -> torch.Tensor:
    (a, b, c), (sa, sb, sc) = np.cos(angles), np.sin(angles)
    return torch.tensor(
        np.array([[a, -sa, 0], [sa, a, 0], [0, 0, 1]])
        @ np.array([[b, 0, sb], [0, 1, 0], [-sb, 0, b]])
        @ np.array([[1, 0, 0], [0, c, -sc], [0, sc, c]])
    )


def turned(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    return torch.einsum("ij,njtvm->nitvm", matrix.to(x.dtype), x)


# --- against a loop from the formulas ---


def slow(x: torch.Tensor, frames: torch.Tensor, skeleton, bone: list[int], axis: list[int], preset: str) -> dict[str, np.ndarray]:
    """All modalities clip by clip, body by body, frame by frame, joint by joint."""
    x = x.numpy()
    count, _, length, joints, bodies = x.shape
    out = {name: np.zeros_like(x) for name in modalities.NAMES}
    unit = lambda v: v / np.linalg.norm(v) if np.linalg.norm(v) > 0 else v * 0  # noqa: E731
    for n in range(count):
        s = length / int(frames[n])
        for m in range(bodies):
            angle, direction = np.zeros((length, joints)), np.zeros((length, joints, 3))
            for t in range(length):
                p = x[n, :, t, :, m].T  # (V, 3)
                b = np.stack([p[v] - p[bone[v]] for v in range(joints)])
                left, right = skeleton.shoulders
                b[skeleton.centre] = unit(np.cross(p[skeleton.spine] - p[right], p[left] - p[right]))
                for v in range(joints):
                    u, w = unit(b[v]), unit(b[axis[v]])
                    r = np.cross(b[v], b[axis[v]]) if v != skeleton.centre else np.zeros(3)
                    angle[t, v] = math.atan2(np.linalg.norm(np.cross(u, w)), u @ w)
                    direction[t, v] = unit(r)
                    out["joint"][n, :, t, v, m] = p[v]
                    out["bone"][n, :, t, v, m] = b[v]
                    out["rotation_axis"][n, :, t, v, m] = r if preset == "published" else unit(r)
            for t in range(length - 1):
                out["motion"][n, :, t, :, m] = s * (x[n, :, t + 1, :, m] - x[n, :, t, :, m])
                out["angular_velocity"][n, :, t, :, m] = s * (angle[t + 1] - angle[t]) * direction[t].T
            for t in range(length - 2):
                out["acceleration"][n, :, t, :, m] = s * (out["motion"][n, :, t + 1, :, m] - out["motion"][n, :, t, :, m])
    return out


@pytest.mark.parametrize("preset", ["published", "described"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_ntu_agrees_with_the_loop_from_the_method(count, preset):
    bone = [int(NTU_BONE[str(v + 1)]) - 1 for v in range(25)]
    axis = [int(NTU_AXIS[str(v + 1)]) - 1 for v in range(25)]
    x = wild(NTU25, count, frames=6)
    x[-1, ..., 1] = 0
    frames = torch.tensor([31, 6, 120])[:count]
    expected = slow(x, frames, NTU25, bone, axis, preset)
    found = modalities.compute(x, frames, NTU25, preset=preset)
    assert tuple(found) == modalities.NAMES == ("joint", "motion", "bone", "acceleration", "rotation_axis", "angular_velocity")
    for name, value in found.items():
        np.testing.assert_allclose(value.numpy(), expected[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_kinect_agrees_with_the_loop_on_its_own_tree():
    parent = [1, 2, 2, 2, 2, 4, 5, 6, 2, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18]  # hip-spine-shoulder centre, limbs outwards
    x, frames = wild(KINECT20, 2, frames=5), torch.tensor([9, 4])
    expected = slow(x, frames, KINECT20, parent, parent, "described")
    for name, value in modalities.compute(x, frames, "kinect20").items():
        np.testing.assert_allclose(value.numpy(), expected[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_float32_stays_close_to_float64():
    x, frames = wild(NTU25), torch.tensor([40, 50, 60])
    exact = modalities.compute(x, frames, NTU25)
    for name, value in modalities.compute(x.float(), frames, NTU25).items():
        assert value.dtype == torch.float32
        assert (value - exact[name]).norm() < 1e-5 * exact[name].norm(), name


# --- closed forms ---


@SKELETONS
def test_rest_has_no_rates(skeleton):
    x = still(skeleton)
    found = modalities.compute(x, lengths(x), skeleton)
    for name in ("motion", "acceleration", "angular_velocity"):
        assert not found[name].any(), name
    for name in ("joint", "bone", "rotation_axis"):
        assert torch.equal(found[name], found[name][:, :, :1].expand_as(x)), name


@SKELETONS
def test_uniform_translation(skeleton):
    x = still(skeleton)
    velocity = torch.tensor([0.03, -0.01, 0.02], dtype=torch.float64).view(1, 3, 1, 1, 1)
    time = torch.arange(12, dtype=torch.float64).view(1, 1, -1, 1, 1)
    found = modalities.compute(x + velocity * time, lengths(x), skeleton)
    at_rest = modalities.compute(x, lengths(x), skeleton)
    torch.testing.assert_close(found["motion"][:, :, :-1], velocity.expand_as(x[:, :, :-1]))
    assert not found["motion"][:, :, -1].any()
    for name in ("bone", "rotation_axis"):
        torch.testing.assert_close(found[name], at_rest[name])
    for name in ("acceleration", "angular_velocity"):
        torch.testing.assert_close(found[name], torch.zeros_like(x), rtol=0, atol=1e-12)


@SKELETONS
def test_constant_acceleration(skeleton):
    x = still(skeleton)
    a = torch.tensor([0.002, -0.004, 0.001], dtype=torch.float64).view(1, 3, 1, 1, 1)
    time = torch.arange(12, dtype=torch.float64).view(1, 1, -1, 1, 1)
    found = modalities.compute(x + a * time.square() / 2, lengths(x), skeleton)
    torch.testing.assert_close(found["motion"][:, :, :-1], (a * (time + 0.5))[:, :, :-1].expand_as(x[:, :, :-1]))
    torch.testing.assert_close(found["acceleration"][:, :, :-2], a.expand_as(x[:, :, :-2]))
    assert not found["acceleration"][:, :, -2:].any()


@SKELETONS
def test_rigid_rotation_at_a_known_rate(skeleton):
    """Turning about the vertical by w per frame: chords of 2 r sin(w / 2), centripetal differences of 4 r sin^2(w / 2), no bend."""
    w, x = 0.1, still(skeleton)
    moving = torch.cat([turned(x[:, :, t : t + 1], rotation((0, w * t, 0))) for t in range(x.shape[2])], dim=2)
    found = modalities.compute(moving, lengths(x), skeleton)
    radius = moving[:, [0, 2]].norm(dim=1)  # (N, T, V, M) from the vertical axis
    speed = found["motion"].norm(dim=1)
    torch.testing.assert_close(speed[:, :-1], (2 * radius * math.sin(w / 2))[:, :-1])
    torch.testing.assert_close(found["motion"][:, 1], torch.zeros_like(speed), rtol=0, atol=1e-12)
    torch.testing.assert_close(found["acceleration"].norm(dim=1)[:, :-2], (4 * radius * math.sin(w / 2) ** 2)[:, :-2])
    torch.testing.assert_close(
        found["acceleration"][:, :, :-2], (-4 * math.sin(w / 2) ** 2 * moving * torch.tensor([1, 0, 1]).view(1, 3, 1, 1, 1))[:, :, 1:-1]
    )
    torch.testing.assert_close(found["angular_velocity"], torch.zeros_like(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("rate", [0.05, -0.08])
@pytest.mark.parametrize("frames", [12, 36])
@SKELETONS
def test_bend_at_a_known_rate(skeleton, rate, frames):
    """Wrist (joint 7) turning about the elbow in a plane: bend of forearm against upper arm changes by `rate` per resampled frame."""
    x, wrist, elbow, shoulder = still(skeleton, 1), 6, 5, 4
    upper = x[0, :, 0, elbow, 0] - x[0, :, 0, shoulder, 0]
    a = upper / upper.norm()
    b = torch.linalg.cross(a, torch.tensor([0.0, 1.0, 0.3], dtype=torch.float64))
    b = b / b.norm()
    for t in range(12):
        angle = 1.2 + rate * t
        x[0, :, t, wrist, 0] = x[0, :, t, elbow, 0] + 0.25 * (math.cos(angle) * a + math.sin(angle) * b)
    found = modalities.compute(x, lengths(x, frames), skeleton)
    axis = torch.linalg.cross(b, a)  # forearm x upper arm, whatever the angle in (0, pi)
    expected = (12 / frames) * rate * axis.view(3, 1).expand(3, 11)
    torch.testing.assert_close(found["rotation_axis"][0, :, :, wrist, 0], axis.view(3, 1).expand(3, 12))
    torch.testing.assert_close(found["angular_velocity"][0, :, :-1, wrist, 0], expected)
    assert not found["angular_velocity"][0, :, -1].any()
    raw = modalities.compute(x, lengths(x), skeleton, preset="published")["rotation_axis"][0, :, :, wrist, 0].norm(dim=0)
    torch.testing.assert_close(raw, 0.25 * upper.norm() * torch.tensor([math.sin(1.2 + rate * t) for t in range(12)], dtype=torch.float64))


def test_centre_is_the_normal_of_the_shoulder_plane():
    x = torch.zeros(1, 3, 3, 25, 1)
    x[0, :, :, 4, 0] = torch.tensor([0.2, 0, 0]).view(3, 1)  # left shoulder
    x[0, :, :, 8, 0] = torch.tensor([-0.2, 0, 0]).view(3, 1)
    x[0, :, :, 1, 0] = torch.tensor([0, -0.3, 0]).view(3, 1)  # mid spine
    bone = modalities.compute(x, torch.tensor([3]), NTU25, ["bone"])["bone"][0, :, 0, 20, 0]
    torch.testing.assert_close(bone, torch.tensor([0.0, 0.0, 1.0]))  # (0.2, -0.3, 0) x (0.4, 0, 0) points along +z


@SKELETONS
def test_true_timeline(skeleton):
    """Rates are per original frame: half the frames in the recording, twice the rate; per difference."""
    x = wild(skeleton)
    base, half = (modalities.compute(x, lengths(x, n), skeleton) for n in (8, 4))
    for name, factor in {"joint": 1, "bone": 1, "rotation_axis": 1, "motion": 2, "angular_velocity": 2, "acceleration": 4}.items():
        torch.testing.assert_close(half[name], factor * base[name])


def test_the_timeline_is_each_clips_own():
    x, frames = wild(NTU25), torch.tensor([8, 16, 100])
    together = modalities.compute(x, frames, NTU25)
    for n in range(3):
        alone = modalities.compute(x[n : n + 1], frames[n : n + 1], NTU25)
        for name in modalities.NAMES:
            torch.testing.assert_close(together[name][n : n + 1], alone[name])


# --- properties ---

angles = st.tuples(*[st.floats(-math.pi, math.pi)] * 3)


@given(angles, st.integers(0, 10**6), st.sampled_from([NTU25, KINECT20]), st.sampled_from(["described", "published"]))
def test_all_modalities_turn_with_the_body(angle, seed, skeleton, preset):
    x, matrix = wild(skeleton, 1, 4, seed), rotation(angle)
    before = modalities.compute(x, torch.tensor([30]), skeleton, preset=preset)
    after = modalities.compute(turned(x, matrix), torch.tensor([30]), skeleton, preset=preset)
    for name in modalities.NAMES:
        torch.testing.assert_close(
            after[name], turned(before[name], matrix), rtol=1e-6, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
        )


@given(st.tuples(*[st.floats(-5, 5)] * 3), st.integers(0, 10**6), st.sampled_from([NTU25, KINECT20]))
def test_only_coordinates_notice_a_translation(offset, seed, skeleton):
    x, shift = wild(skeleton, 1, 4, seed), torch.tensor(offset, dtype=torch.float64).view(1, 3, 1, 1, 1)
    before, after = (modalities.compute(y, torch.tensor([30]), skeleton) for y in (x, x + shift))
    torch.testing.assert_close(after["joint"], before["joint"] + shift)
    for name in modalities.NAMES[1:]:
        torch.testing.assert_close(after[name], before[name], rtol=1e-6, atol=1e-9)


@given(st.floats(0.1, 10), st.integers(0, 10**6))
def test_size_scales_lengths_and_leaves_angles(size, seed):
    x = wild(NTU25, 1, 4, seed)
    before, after = (modalities.compute(y, torch.tensor([30]), NTU25) for y in (x, x * size))
    for name in ("joint", "motion", "acceleration"):
        torch.testing.assert_close(after[name], size * before[name])
    for name in ("rotation_axis", "angular_velocity"):
        torch.testing.assert_close(after[name], before[name], rtol=1e-6, atol=1e-8)


@SKELETONS
@pytest.mark.parametrize("count", [1, 3])
def test_an_empty_second_body_stays_empty(skeleton, count):
    x = wild(skeleton, count).float()
    x[..., 1] = 0
    for preset in ("described", "published"):
        both = modalities.compute(x, lengths(x, 20), skeleton, preset=preset)
        alone = modalities.compute(x[..., :1], lengths(x, 20), skeleton, preset=preset)
        for name, value in both.items():
            assert not value[..., 1].any(), name
            assert torch.isfinite(value).all(), name
            torch.testing.assert_close(value[..., :1], alone[name])


def test_kinect_motion_mapped_to_ntu():
    weights = torch.from_numpy(skeletons.mapping(KINECT20, NTU25)).double()
    torch.testing.assert_close(weights.sum(1), torch.ones(25, dtype=torch.float64))
    x = wild(KINECT20)
    mapped = torch.einsum("uv,nctvm->nctum", weights, x)
    own, found = modalities.compute(x, lengths(x), KINECT20), modalities.compute(mapped, lengths(x), NTU25)
    for name, value in found.items():
        assert torch.isfinite(value).all(), name
        limbs = list(range(4, 20))  # same joints, same numbers
        torch.testing.assert_close(value[:, :, :, limbs], own[name][:, :, :, limbs], msg=lambda text, name=name: f"{name}: {text}")
    assert not found["bone"][:, :, :, [21, 22, 23, 24]].any() and not found["angular_velocity"][:, :, :, [21, 22, 23, 24]].any()
    torch.testing.assert_close(mapped[:, :, :, 2], x[:, :, :, 2] + (x[:, :, :, 3] - x[:, :, :, 2]) / 3)  # neck


def test_nearly_straight_and_folded_limbs_are_finite():
    x = still(NTU25, 1).float()
    x[:, :, :, 6] = 2 * x[:, :, :, 5] - x[:, :, :, 4]  # straight arm: wrist, elbow and shoulder in line
    x[:, :, :, 10] = x[:, :, :, 8]  # folded back onto the shoulder
    x[:, :, :, 14] = x[:, :, :, 13]  # a bone without length
    found = modalities.compute(x, lengths(x), NTU25)
    assert all(torch.isfinite(value).all() for value in found.values())
    torch.testing.assert_close(found["angular_velocity"], torch.zeros_like(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 2])
def test_very_short_clips(frames):
    x = wild(NTU25, frames=frames)
    found = modalities.compute(x, lengths(x), NTU25)
    assert not found["acceleration"].any() and (not found["motion"].any()) == (frames == 1)


# --- names and errors ---


def test_names_choose_and_keep_the_tables_order():
    x = wild(NTU25)
    assert tuple(modalities.compute(x, lengths(x), NTU25, names=["bone", "joint"])) == ("joint", "bone")
    assert tuple(modalities.compute(x, lengths(x), NTU25, names="motion")) == ("motion",)


def test_input_is_left_alone():
    x = wild(NTU25)
    before = x.clone()
    modalities.compute(x, lengths(x), NTU25)
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"names": ["bones"]}, SettingsError, "did you mean 'bone'"),
        ({"names": []}, SettingsError, "no modality"),
        ({"preset": "publised"}, SettingsError, "did you mean 'published'"),
        ({"skeleton": "ntu-25"}, SettingsError, "did you mean 'ntu25'"),
        ({"skeleton": "kinect20"}, DataError, "20 joints, the clips have 25"),
        ({"joints": torch.zeros(2, 3, 5, 25)}, DataError, r"\(N, 3, T, V, M\)"),
        ({"joints": torch.zeros(2, 4, 5, 25, 1)}, DataError, r"\(N, 3, T, V, M\)"),
        ({"frames": torch.tensor([5])}, DataError, r"\(2,\)"),
    ],
)
def test_wrong_arguments_are_named(change, error, message):
    arguments = {"joints": torch.zeros(2, 3, 5, 25, 1), "frames": torch.tensor([5, 5]), "skeleton": NTU25} | change
    with pytest.raises(error, match=message):
        modalities.compute(**arguments)


def test_who_stands_still_has_exactly_no_motion_however_the_angle_is_rounded(monkeypatch):
    """Some processors give the last of many equal angles another rounding, so a still body would turn by 1e-7."""
    x = torch.randn(2, 3, 20, 25, 2, generator=torch.Generator().manual_seed(0))
    x[..., 1] = x[:, :, :1, :, 1]
    exact = torch.atan2
    monkeypatch.setattr(torch, "atan2", lambda a, b: exact(a, b) + 1e-7 * torch.arange(a.numel()).remainder(2).view_as(a.contiguous()))
    for name in ("motion", "acceleration", "angular_velocity"):
        found = modalities.compute(x, torch.tensor([20, 30]), NTU25, [name])[name]
        assert not found[..., 1].any() and found[..., 0].any()
