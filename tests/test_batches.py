"""From clips to batches: resampling and view normalisation against slow references, augmentation by what it must keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from skelmm_core import batches, clips, modalities, skeletons
from skelmm_core.batches import KEY, QUERY, Augmentation
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.recordings import as_given
from skelmm_core.skeletons import KINECT20, NTU25


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def motion(count: int = 4, frames: int = 16, joints: int = 25, seed: int = 0) -> torch.Tensor:
    """(N, 3, T, V, 2) with every other second body empty."""
    x = torch.randn(count, 3, frames, joints, 2, generator=rng(seed))
    x[1::2, ..., 1] = 0
    return x


# --- resampling ---


def slow_resize(clip: np.ndarray, frames: int) -> np.ndarray:
    """(L, ...) -> (T, ...): half-pixel centres, clamped at both ends, frame by frame."""
    length, out = len(clip), []
    for i in range(frames):
        position = min(max((i + 0.5) * length / frames - 0.5, 0), length - 1)
        low = int(np.floor(position))
        high = min(low + 1, length - 1)
        out.append((1 - (position - low)) * clip[low] + (position - low) * clip[high])
    return np.stack(out)


def packed(lengths: list[int], bodies: list[int], joints: int = 3, seed: int = 0):
    rows = torch.randn(sum(n * m for n, m in zip(lengths, bodies, strict=True)), joints, 3, generator=rng(seed))
    sizes = torch.tensor(lengths) * torch.tensor(bodies)
    return rows, sizes.cumsum(0) - sizes, torch.tensor(lengths), torch.tensor(bodies)


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 2)), min_size=1, max_size=5), st.integers(1, 50), st.integers(0, 10**6))
def test_resampling_ragged_clips_agrees_with_the_loop(sizes, frames, seed):
    lengths, bodies = [list(part) for part in zip(*sizes, strict=True)]
    rows, starts, *rest = packed(lengths, bodies, seed=seed)
    found = batches.resample(rows, starts, *rest, frames, 2)
    assert found.shape == (len(sizes), frames, 3, 3, 2)
    for n, (length, count) in enumerate(sizes):
        for body in range(2):
            begin = int(starts[n]) + body * length
            expected = slow_resize(rows[begin : begin + length].double().numpy(), frames) if body < count else np.zeros((frames, 3, 3))
            np.testing.assert_allclose(found[n, ..., body].numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("length", "frames"), [(50, 50), (100, 50), (73, 50), (20, 50), (1, 50), (300, 7), (2, 3)])
def test_resampling_agrees_with_pytorch_interpolation(length, frames):
    """`align_corners=False` has the same half-pixel rule, without smoothing when it shrinks, as OpenCV's INTER_LINEAR."""
    rows, starts, *rest = packed([length], [1])
    expected = F.interpolate(rows.reshape(length, -1).T.unsqueeze(0), size=frames, mode="linear", align_corners=False)[0].T
    found = batches.resample(rows, starts, *rest, frames, 1)
    torch.testing.assert_close(found[0, ..., 0].reshape(frames, -1), expected, rtol=1e-4, atol=1e-5)


def test_resampling_to_the_same_length_changes_nothing():
    rows, starts, *rest = packed([9, 9], [2, 1])
    found = batches.resample(rows, starts, *rest, 9, 2)
    assert torch.equal(found[0].permute(3, 0, 1, 2).reshape(18, 3, 3), rows[:18]) and torch.equal(found[1, ..., 0], rows[18:])


def test_resampling_a_steady_motion_keeps_its_true_speed():
    """With the true timeline, speed per original frame does not depend on T (away from the clamped ends)."""
    length, speed = 120, 0.01
    rows = (torch.arange(length).float() * speed).view(-1, 1, 1).expand(-1, 25, 3).contiguous()
    for frames in (16, 50, 120, 240):
        x = batches.resample(rows, torch.tensor([0]), torch.tensor([length]), torch.tensor([1]), frames, 1).permute(0, 3, 1, 2, 4)
        velocity = modalities.compute(x, torch.tensor([length]), NTU25, ["motion"])["motion"]
        inner = velocity[:, :, 2 : frames - 3]
        torch.testing.assert_close(inner, torch.full_like(inner, speed), rtol=1e-3, atol=1e-6)


# --- view normalisation ---


def slow_face_camera(x: np.ndarray, left: int, right: int) -> np.ndarray:
    """(3, T, V) of one body, frame by frame, with rotation matrices."""
    out = np.zeros_like(x)
    line = x[:, :, right] - x[:, :, left]
    sign = -1 if line[2].sum() >= 0 else 1
    for t in range(x.shape[1]):
        vx, _, vz = line[:, t]
        angle = sign * np.arccos(vx / (np.sqrt(vx**2 + vz**2) + 1e-4))
        matrix = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
        out[:, t] = matrix @ x[:, t]
    return out


@pytest.mark.parametrize("skeleton", [NTU25, KINECT20], ids=lambda s: s.name)
def test_facing_the_camera_agrees_with_the_loop(skeleton):
    x = motion(4, joints=len(skeleton))
    found = batches.face_camera(x, skeleton)
    for n in range(4):
        for body in range(2):
            expected = slow_face_camera(x[n, ..., body].double().numpy(), *skeleton.shoulders)
            np.testing.assert_allclose(found[n, ..., body].numpy(), expected, rtol=1e-3, atol=1e-4)
    assert not found[1::2, ..., 1].any()


@given(st.floats(-3.1, 3.1), st.floats(-0.004, 0.004), st.integers(0, 10**6))
def test_shoulders_end_parallel_to_x_and_lengths_stay(start, rate, seed):
    """A body seen from any side, slowly turning without passing through the frontal view: left to right shoulder along +x."""
    body = torch.randn(1, 3, 1, 25, 1, generator=rng(seed), dtype=torch.float64) * 0.3
    body[0, :, 0, 8, 0] = body[0, :, 0, 4, 0] + torch.tensor([0.35, 0.05, 0.0])
    angle = start + rate * torch.arange(20, dtype=torch.float64)
    if (angle.sin() > 0).any() and (angle.sin() < 0).any():
        return  # the published rule takes one sign for the whole clip, so such clips are not made parallel
    x = batches.turn(body.expand(-1, -1, 20, -1, -1), angle.view(1, -1, 1))
    found = batches.face_camera(x, NTU25)
    line = found[0, :, :, 8, 0] - found[0, :, :, 4, 0]
    assert (line[0] > 0.34).all() and line[
        2
    ].abs().max() < 0.02  # 1e-4 in the published rule leaves up to acos(1 - 1e-4 / 0.35) = 1.4 degrees
    torch.testing.assert_close(found[:, 1], x[:, 1])
    torch.testing.assert_close(found.norm(dim=1), x.norm(dim=1))


@given(st.floats(-7, 7))
def test_turn_is_the_stated_matrix(angle):
    x = motion(2, 3)
    c, s = np.cos(angle), np.sin(angle)
    matrix = torch.tensor([[c, 0, -s], [0, 1, 0], [s, 0, c]], dtype=torch.float32)
    torch.testing.assert_close(
        batches.turn(x, torch.full((2, 1, 1), angle)), torch.einsum("ij,njtvm->nitvm", matrix, x), rtol=1e-5, atol=1e-5
    )


def test_centring_leaves_empty_frames_empty():
    rows = torch.randn(6, 25, 3, generator=rng())
    rows[3] = 0
    found = batches.centre(rows, 20)
    assert not found[:, 20].any() and not found[3].any()
    torch.testing.assert_close(found[0], rows[0] - rows[0, 20])


# --- augmentation ---

FULL = Augmentation(crop_shift=4, crop_min=0.6, shear=0.5, yaw=0.5, offset=0.02)
ONE_BY_ONE = {"crop_shift": 4, "crop_min": 0.6, "shear": 0.5, "yaw": 0.5, "offset": 0.02}


def test_no_augmentation_is_the_identity():
    x, frames = motion(), torch.tensor([20, 30, 40, 50])
    found, lengths = Augmentation()(x, frames, rng())
    assert torch.equal(found, x) and torch.equal(lengths, frames)


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_every_augmentation_changes_clips_each_in_its_own_way_and_keeps_empty_bodies_empty(name):
    x = motion(1, 16).expand(6, -1, -1, -1, -1).clone()
    x[1::2, ..., 1] = 0
    before = x.clone()
    found, lengths = Augmentation(**{name: ONE_BY_ONE[name]})(x, torch.full((6,), 40), rng())
    assert torch.equal(x, before)  # the data set on the device is not written to
    assert found.shape == x.shape and lengths.shape == (6,) and torch.isfinite(found).all()
    assert not found[1::2, ..., 1].any()
    assert not torch.equal(found, x)
    assert len({tuple(clip.flatten()[:40].tolist()) for clip in found}) > 1
    if name != "crop_min":
        assert (lengths == 40).all()


def test_shift_window_is_a_window_of_the_mirrored_clip():
    x, pad = motion(64, 12, joints=2), 4
    found = batches.shift_window(x, pad, rng())
    mirrored = np.pad(x.numpy(), ((0, 0), (0, 0), (pad, pad), (0, 0), (0, 0)), mode="symmetric")
    seen = set()
    for n in range(64):
        starts = [s for s in range(2 * pad + 1) if np.array_equal(mirrored[n, :, s : s + 12], found[n].numpy())]
        assert starts, "no window of the mirrored clip"
        seen.update(starts)
    assert seen == set(range(2 * pad + 1))  # every start can be drawn, both ends included


def test_shift_beyond_the_clip_is_an_error():
    with pytest.raises(SettingsError, match="crop_shift 13.*12 frames"):
        batches.shift_window(motion(1, 12), 13, rng())


def test_shear_is_the_matrix_product_clip_by_clip():
    x, amount = motion(5), 0.5
    found, _ = Augmentation(shear=amount)(x, torch.full((5,), 20), rng(3))
    matrices = batches.shear_matrix(5, amount, rng(3), x)
    for n in range(5):
        assert torch.equal(matrices[n].diagonal(), torch.ones(3))
        off = matrices[n][~torch.eye(3, dtype=torch.bool)]
        assert off.abs().max() <= amount and off.unique().numel() == 6
        for point in ((0, 0, 0), (7, 11, 0), (15, 24, 1)):
            t, v, m = point
            torch.testing.assert_close(found[n, :, t, v, m], matrices[n] @ x[n, :, t, v, m], rtol=1e-5, atol=1e-6)
    many = batches.shear_matrix(2000, amount, rng(1), x)[:, ~torch.eye(3, dtype=torch.bool)]
    assert many.mean().abs() < 0.01 and many.std().item() == pytest.approx(amount / 3**0.5, rel=0.03)  # uniform


@given(st.floats(0.3, 0.99), st.integers(0, 10**6))
def test_stretched_window_of_a_ramp_is_a_ramp_with_the_right_speed(smallest, seed):
    """On a steady motion a window of share p, stretched back, moves p times as fast per frame and has p times the true length."""
    t = 20
    ramp = torch.arange(t, dtype=torch.float32).view(1, 1, t, 1, 1).expand(3, 3, t, 2, 1).contiguous()
    frames = torch.tensor([40, 60, 80])
    found, lengths = batches.stretch_window(ramp, frames, smallest, rng(seed))
    share = lengths / frames
    assert (share >= smallest - 1e-6).all() and (share <= 1).all()
    steps = found.diff(dim=2)
    torch.testing.assert_close(steps, share.view(-1, 1, 1, 1, 1).expand_as(steps), rtol=1e-3, atol=1e-4)
    assert found.min() >= 0 and found.max() <= t - 1


def test_yaw_keeps_height_and_distance():
    x = motion()
    found, _ = Augmentation(yaw=0.5)(x, torch.full((4,), 20), rng())
    torch.testing.assert_close(found[:, 1], x[:, 1])
    torch.testing.assert_close(found.norm(dim=1), x.norm(dim=1))
    cosine = F.cosine_similarity(found[:, [0, 2]], x[:, [0, 2]], dim=1)[..., 0]
    assert (cosine >= np.cos(0.5) - 1e-5).all()
    torch.testing.assert_close(cosine, cosine[:, :1, :1].expand_as(cosine), rtol=1e-3, atol=1e-3)  # one angle per clip


def test_offset_is_constant_in_time_per_joint():
    x = motion(200, 6)
    moved = Augmentation(offset=0.02)(x, torch.full((200,), 20), rng())[0] - x
    torch.testing.assert_close(moved, moved[:, :, :1].expand_as(moved), rtol=0, atol=1e-6)
    assert moved[..., 0].std().item() == pytest.approx(0.02, rel=0.03)
    rates = [modalities.compute(y, torch.full((200,), 20), NTU25, ["motion"])["motion"] for y in (x, x + moved)]
    torch.testing.assert_close(*rates, rtol=1e-4, atol=1e-5)


def test_a_step_is_reproducible_and_query_key_epoch_and_step_are_independent():
    x, frames = motion(), torch.full((4,), 40)

    def draw(*key: int) -> torch.Tensor:
        return FULL(x, frames, batches.generator("cpu", *key))[0]

    torch.rand(17)  # the global stream has no part in it
    first = draw(0, 3, 5, QUERY)
    torch.manual_seed(99)
    assert torch.equal(first, draw(0, 3, 5, QUERY))
    for other in ((0, 3, 5, KEY), (0, 4, 5, QUERY), (0, 3, 6, QUERY), (1, 3, 5, QUERY), (3, 0, 5, QUERY)):
        assert not torch.equal(first, draw(*other)), other


# --- the order of batches ---


@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 1000), st.integers(0, 300))
def test_every_epoch_shows_each_clip_at_most_once_in_full_batches(count, batch, seed, epoch):
    rows = batches.order(count, batch, seed, epoch)
    size = min(batch, count)
    assert all(len(part) == size for part in rows) and len(rows) == count // size
    flat = torch.cat(rows).tolist()
    assert len(set(flat)) == len(flat) and set(flat) <= set(range(count))
    again = batches.order(count, batch, seed, epoch)
    assert all(torch.equal(a, b) for a, b in zip(rows, again, strict=True))


def test_order_changes_with_seed_and_epoch():
    first = batches.order(50, 10, seed=0, epoch=0)
    for other in (batches.order(50, 10, seed=0, epoch=1), batches.order(50, 10, seed=1, epoch=0)):
        assert not torch.equal(torch.cat(first), torch.cat(other))


# --- loading from a file ---

LENGTHS = (30, 50, 7, 1, 64, 12)


def write(path, skeleton=NTU25, second: tuple[int, ...] = (1, 4)):
    generator = np.random.default_rng(0)
    joints = [generator.normal(size=(1 + (i in second), n, len(skeleton), 3)).astype(np.float32) + 2 for i, n in enumerate(LENGTHS)]
    joints[1][1, :20] = 0  # the second body comes in late
    source = clips.Source(
        title="noise", skeleton=skeleton, class_names=("a", "b"), frame_rate=30.0, protocol="", fingerprint="0" * 64,
        items=[clips.Recording(j, label=i % 2, name=f"clip{i}", subject=i) for i, j in enumerate(joints)], read=as_given,
    )  # fmt: skip
    clips.write(path, source, progress=False)
    return clips.open_clips(path), joints


def slow_load(joints: np.ndarray, frames: int, bodies: int, skeleton) -> np.ndarray:
    """(M, L, V, 3) -> (3, T, V, bodies), body by body."""
    out = np.zeros((3, frames, len(skeleton), bodies))
    for m, body in enumerate(joints.astype(np.float64)):
        out[..., m] = slow_face_camera(
            slow_resize(body - body[:, skeleton.centre : skeleton.centre + 1], frames).transpose(2, 0, 1), *skeleton.shoulders
        )
    return out


@pytest.mark.parametrize("chunk", [1, 2, 100])
@pytest.mark.parametrize("skeleton", [NTU25, KINECT20], ids=lambda s: s.name)
def test_load_agrees_with_the_slow_way(tmp_path, skeleton, chunk):
    file, joints = write(tmp_path / "noise.clips", skeleton)
    chosen = np.array([4, 0, 3, 1, 2])
    found = batches.load(file, chosen, frames=16, chunk=chunk)
    assert found.joints.shape == (5, 3, 16, len(skeleton), 2) and found.joints.dtype == torch.float32
    for n, i in enumerate(chosen):
        np.testing.assert_allclose(found.joints[n].numpy(), slow_load(joints[i], 16, 2, skeleton), rtol=1e-3, atol=2e-3)
    assert found.frames.tolist() == [LENGTHS[i] for i in chosen]
    assert found.labels.tolist() == [i % 2 for i in chosen] and found.labels.dtype == torch.int64
    assert found.index.tolist() == chosen.tolist() and found.skeleton == skeleton and len(found) == 5


def test_all_parts_of_a_file_have_room_for_the_same_bodies(tmp_path):
    """One clip with a second body anywhere in the file must not make features of train and test differ."""
    file, _ = write(tmp_path / "noise.clips")
    alone = np.flatnonzero(file.bodies == 1)
    assert 0 < len(alone) < len(file)
    part, whole = batches.load(file, alone, frames=8), batches.load(file, np.arange(len(file)), frames=8)
    assert part.joints.shape == (len(alone), 3, 8, 25, 2) and torch.equal(part.joints, whole.joints[alone])
    assert not part.joints[..., 1].any()


def test_load_maps_joints_first(tmp_path):
    file, joints = write(tmp_path / "noise.clips", KINECT20)
    found = batches.load(file, np.arange(6), frames=16, skeleton="ntu25")
    weights = skeletons.mapping(KINECT20, NTU25)
    for n in range(6):
        np.testing.assert_allclose(found.joints[n].numpy(), slow_load(weights @ joints[n], 16, 2, NTU25), rtol=1e-3, atol=2e-3)
    assert found.skeleton.name == "ntu25"
    assert all(torch.isfinite(m).all() for m in modalities.compute(found.joints, found.frames, found.skeleton).values())


def test_load_errors(tmp_path):
    file, _ = write(tmp_path / "noise.clips")
    with pytest.raises(SettingsError, match="at least 3"):
        batches.load(file, np.arange(2), frames=2)
    with pytest.raises(DataError, match="empty"):
        batches.load(file, np.array([], int))
    with pytest.raises(SettingsError, match="no joint map from skeleton 'ntu25' to 'hdm05'"):
        batches.load(file, np.arange(2), skeleton="hdm05")


def test_select_and_chunks(tmp_path):
    file, _ = write(tmp_path / "noise.clips")
    whole = batches.load(file, np.arange(6), frames=8)
    parts = list(whole.chunks(4))
    assert [len(p) for p in parts] == [4, 2]
    for name in ("joints", "frames", "labels", "index"):
        assert torch.equal(torch.cat([getattr(p, name) for p in parts]), getattr(whole, name))
    some = whole.select(torch.tensor([5, 1]))
    assert some.index.tolist() == [5, 1] and torch.equal(some.joints[1], whole.joints[1])
