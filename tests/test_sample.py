"""The built-in sample: what its clips are, that they look like people, and how hard they are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.neighbors import KNeighborsClassifier

from skelmm_core import sources
from skelmm_core.errors import SettingsError
from skelmm_core.motion.actions import ACTIONS
from skelmm_core.motion.body import ARMS, LEFT, RIGHT, performer
from skelmm_core.motion.camera import camera
from skelmm_core.motion.performance import PARTNERS, perform
from skelmm_core.sources import sample

ROW = {action.name: row for row, action in enumerate(ACTIONS)}
EVERYONE = range(1, 13)
RECORDED_SHAPE = (1, 102, 25, 3)
RECORDED = [  # metres: base of spine, right hand, right foot in the first and in the last frame
    [[0.0477, 0.0334, 3.2497], [-0.0333, -0.1167, 3.0168], [-0.0098, -0.9375, 3.228]],
    [[0.043, 0.0293, 3.2429], [-0.0576, -0.1372, 3.0442], [-0.0345, -0.9517, 3.2358]],
]


@pytest.fixture(scope="module")
def everything():
    """All clips of the default sample: about two seconds."""
    source = sample.read()
    return source, list(source.recordings)


def test_source_tells_what_it_is(everything):
    source, clips = everything
    assert source.title == "generated motion (built-in sample)" and source.frame_rate == 30 and source.skeleton.name == "ntu25"
    assert 3 * len(source.items) == len(clips) == len(source.class_names) * 12 * 2 * 3
    assert len(source.class_names) >= 14 and sum(a.bodies == 2 for a in ACTIONS) >= 2
    assert len({c.name for c in clips}) == len(clips)
    for clip in clips[::37]:
        assert clip.name == f"S{clip.setup:03d}C{clip.view:03d}P{clip.subject:03d}R{clip.repetition:03d}A{clip.label + 1:03d}"


def test_clips_are_well_formed(everything):
    _, clips = everything
    for clip in clips:
        bodies, frames, joints, axes = clip.joints.shape
        assert clip.joints.dtype == np.float32 and (joints, axes) == (25, 3) and 40 <= frames <= 150
        assert bodies == ACTIONS[clip.label].bodies
        assert np.isfinite(clip.joints).all() and np.abs(clip.joints).sum((2, 3)).all()
        assert 1.9 < np.median(clip.joints[:, :, 0, 2]) < 4.0  # distance of the trunk from the camera
        assert np.median(clip.joints[:, :, 3, 1] - clip.joints[:, :, [15, 19], 1].mean(-1)) > 0.8  # heads above feet


def test_lengths_vary(everything):
    frames = np.array([c.joints.shape[1] for c in everything[1]])
    assert frames.std() > 15 and frames.min() < 60 and frames.max() > 140


def test_a_clip_depends_on_nothing_but_its_own_numbers(everything):
    wanted = {c.name: c.joints for c in everything[1]}
    few = sample.read(performers=2, repetitions=1, cameras=2)
    for clip in few.recordings:
        np.testing.assert_array_equal(clip.joints, wanted[clip.name])
    picked = sample.read(performers=1, repetitions=1, cameras=1, actions=["kick", "wave a hand"])
    for clip, row in zip(picked.recordings, (ROW["kick"], ROW["wave a hand"]), strict=True):
        assert picked.class_names[clip.label] == ACTIONS[row].name
        np.testing.assert_array_equal(clip.joints, wanted[f"S001C001P001R001A{row + 1:03d}"])
    again, another = (next(iter(sample.read(seed=s).recordings)).joints for s in (0, 1))
    np.testing.assert_array_equal(again, wanted["S001C001P001R001A001"])
    assert another.shape != again.shape or not np.allclose(another, again, atol=0.01)


def test_recordings_can_be_read_twice():
    source = sample.read(performers=1, repetitions=1, cameras=1, actions=["punch", "push another person"])
    for first, second in zip(source.recordings, source.recordings, strict=True):
        np.testing.assert_array_equal(first.joints, second.joints)


def test_generator_is_the_recorded_one():
    """Numbers of version 1; if this fails on purpose, raise `sample.VERSION` and record anew."""
    assert sample.VERSION == 1
    first = next(iter(sample.read(actions=["wave a hand"]).recordings)).joints
    assert first.shape == RECORDED_SHAPE
    np.testing.assert_allclose(first[0, [0, -1]][:, [0, 11, 19]], RECORDED, atol=1e-4)


def test_fingerprint_follows_the_settings():
    options = [{}, dict(seed=1), dict(performers=11), dict(repetitions=1), dict(cameras=2), dict(actions=["kick", "punch"])]
    prints = [sample.read(**o).fingerprint for o in options]
    assert len(set(prints)) == len(options) and prints[0] == sample.read(performers=12, seed=0).fingerprint


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(performers=0), "'performers' must be a whole number from 1 to 999, not 0"),
        (dict(cameras=4), "from 1 to 3, not 4"),
        (dict(repetitions=1.5), "not 1.5"),
        (dict(seed=-1), "'seed' must be a whole number from 0"),
        (dict(actions=["kik"]), "unknown action 'kik'; did you mean 'kick'"),
        (dict(actions=["kick", "kick"]), "more than once"),
        (dict(actions="kick"), "must be a list"),
        (dict(actions=[]), "must be a list"),
    ],
)
def test_wrong_settings_say_so(options, words):
    with pytest.raises(SettingsError, match=words):
        sample.read(**options)


def test_sample_is_a_format_like_any_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(sources.read("sample", performers=2).items) == len(ACTIONS) * 2 * 2
    (tmp_path / "sample").mkdir()
    assert not sample.recognise(tmp_path / "sample")


# ---- motion without cameras and noise -------------------------------------------------------------------------------------------


def _persons(action: int, number: int):
    return [performer(0, number), performer(0, PARTNERS + number)][: ACTIONS[action].bodies]


def _distance_to_trunk(joints, joint):
    """(M, T) distance of a joint from the line through the base of the spine, mid spine and spine at shoulders."""
    best = np.inf
    for low, high in ((0, 1), (1, 20)):
        a, d = joints[:, :, low], joints[:, :, high] - joints[:, :, low]
        share = np.clip(((joints[:, :, joint] - a) * d).sum(-1) / (d * d).sum(-1), 0, 1)
        best = np.minimum(best, np.linalg.norm(joints[:, :, joint] - a - share[..., None] * d, axis=-1))
    return best


@pytest.mark.parametrize("row", range(len(ACTIONS)), ids=lambda row: ACTIONS[row].name)
def test_bodies_are_possible(row):
    for number, repetition in itertools.product(EVERYONE, (1, 2)):
        joints = perform(0, row, number, repetition)
        for body, who in zip(joints, _persons(row, number), strict=True):
            bones = [np.linalg.norm(body[:, b] - body[:, a], axis=-1) for a, b in ((0, 1), (4, 5), (9, 10), (12, 13), (17, 18))]
            assert max(np.ptp(b) for b in bones) < 1e-6
            lowest = body[:, [15, 19], 1].min(-1)  # ball of the lower foot, 1.5 % of the height above the sole
            assert lowest.min() > 0.01 and lowest.max() < (0.12 if ACTIONS[row].name == "star jumps" else 0.05)
            assert body[:, :, 1].min() > 0.01 and body[:, 3, 1].max() < who.height + 0.1
        for arm in ARMS:
            for joint in arm[1:5]:
                assert _distance_to_trunk(joints, joint).min() > 0.06  # hands and arms stay outside the trunk
                assert np.linalg.norm(joints[:, :, joint] - joints[:, :, 3], axis=-1).min() > 0.04  # and the head
        speed = np.linalg.norm(np.diff(joints, axis=1), axis=-1) * 30
        assert speed[:, :, [0, 1, 20]].max() < 2.0 and speed.max() < 16  # metres per second


def _own_frame(body):
    """Joints (T, 25, 3) relative to the chest, turned so that the left shoulder lies at +x."""
    across = body[:, 4] - body[:, 8]
    angle = np.arctan2(across[:, 2], across[:, 0])
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    rel = body - body[:, 20:21]
    return np.stack([c * rel[..., 0] + s * rel[..., 2], rel[..., 1], c * rel[..., 2] - s * rel[..., 0]], -1)


def _wrist(who, side):
    return ARMS[side][2]


def test_own_frame_of_the_tests_faces_forward():
    body = _own_frame(perform(0, ROW["punch"], 1, 1)[0])
    assert (body[:, 4, 0] > 0).all() and body[:, [7, 11], 2].max(0).min() > 0.25  # hands come to the front, at +z


@pytest.mark.parametrize(("name", "sign"), [("draw a circle clockwise", 1), ("draw a circle counter-clockwise", -1)])
def test_circles_turn_as_named_with_either_hand(name, sign):
    hands = set()
    for number in EVERYONE:
        who = performer(0, number)
        hands.add(who.main)
        body = _own_frame(perform(0, ROW[name], number, 1)[0])
        right, up = -body[:, _wrist(who, who.main), 0], body[:, _wrist(who, who.main), 1]
        high = up > -0.25  # the raised part, without lifting and lowering the arm
        right, up = right[high] - right[high].mean(), up[high] - up[high].mean()
        area = 0.5 * (right[:-1] * np.diff(up) - up[:-1] * np.diff(right)).sum()  # positive is counter-clockwise
        assert sign * area < -0.03
    assert hands == {LEFT, RIGHT}


def test_people_wave_with_their_own_hand():
    for number in EVERYONE:
        who, body = performer(0, number), _own_frame(perform(0, ROW["wave a hand"], number, 1)[0])
        heights = [body[:, _wrist(who, side), 1].max() for side in (LEFT, RIGHT)]
        assert np.argmax(heights) == who.main


def test_sitting_down_is_standing_up_backwards():
    for number, repetition in itertools.product(EVERYONE, (1, 2)):
        down, up = (perform(0, ROW[name], number, repetition)[0, :, 0, 1] for name in ("sit down", "stand up"))
        assert down[-1] - down[0] < -0.2 and up[-1] - up[0] > 0.2


def test_jogging_is_faster_than_marching():
    def strides(name, number):
        heights = perform(0, ROW[name], number, 1)[0, :, [14, 18], 1]  # (2, T)
        spectrum = abs(np.fft.rfft(heights[0] - heights[1], 1024))
        return spectrum.argmax() * 30 / 1024  # Hz

    march, jog = (np.array([strides(name, n) for n in EVERYONE]) for name in ("march on the spot", "jog on the spot"))
    assert np.all(jog > march) and 0.5 < march.min() < march.max() < jog.max() < 2.3


def test_a_kick_goes_into_the_air_and_a_step_to_the_floor():
    for number in EVERYONE:
        who = performer(0, number)
        ankle = 14 if who.main == LEFT else 18
        highest = {n: perform(0, ROW[n], number, 1)[0, :, ankle, 1].max() for n in ("kick", "step forward and back")}
        assert highest["kick"] > highest["step forward and back"] + 0.02


def test_two_bodies_face_and_touch_each_other():
    for number in EVERYONE:
        me, you = perform(0, ROW["shake hands"], number, 1)
        assert np.linalg.norm(me[:, 11] - you[:, 11], axis=-1).min() < 0.08  # right hands
        me, you = perform(0, ROW["push another person"], number, 1)
        chest = np.linalg.norm(me[:, [7, 11]] - you[:, 20:21], axis=-1).min()
        assert chest < 0.40 and np.linalg.norm(you[-1, 0] - you[0, 0]) > 0.12  # reached, and moved by it
        for body, other in ((me, you), (you, me)):
            ahead = _own_frame(np.concatenate([body[:1], other[:1]], axis=1))[0, 25]
            assert ahead[2] > 0.5 and abs(ahead[0]) < 0.35


def test_cameras_share_the_motion(everything):
    clips = {c.name: c for c in everything[1]}
    scene = perform(0, 0, 5, 2)
    for view in (1, 2, 3):
        clip = clips[f"S002C{view:03d}P005R002A001"].joints
        apart = np.linalg.norm(clip - camera(0, 2, view).see(scene), axis=-1)
        assert np.median(apart) < 0.03 and apart.mean() < 0.04
    turned = [clips[f"S002C{view:03d}P005R002A001"].joints[0, 0] for view in (1, 3)]
    angles = [np.degrees(np.arctan2(*(x[8] - x[4])[[2, 0]])) for x in turned]
    assert 70 < abs((angles[1] - angles[0] + 180) % 360 - 180) < 110  # the outer cameras are 90 degrees apart, give or take the noise


# ---- difficulty -----------------------------------------------------------------------------------------------------------------


def _turned(clip):
    """First body and all: base of the spine of the first frame at the origin, shoulders of the first frame along x."""
    x = clip.joints.astype(float) - clip.joints[0, 0, 0]
    across = x[0, 0, 8] - x[0, 0, 4]
    angle = np.arctan2(across[2], across[0])
    c, s = np.cos(angle), np.sin(angle)
    return x @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T


def _resized(x, frames=32):
    place = np.clip((np.arange(frames) + 0.5) * x.shape[1] / frames - 0.5, 0, x.shape[1] - 1)
    low = np.minimum(place.astype(int), x.shape[1] - 2)
    share = (place - low)[:, None, None]
    return x[:, low] * (1 - share) + x[:, low + 1] * share


def _statistics(x):
    """Pose, range, speed, signed area and rhythm of the first body."""
    x = sum(np.roll(x[0], k, axis=0) for k in (-1, 0, 1))[1:-1] / 3
    rel = np.concatenate([x - x[:, 20:21], x[:, :1] - x[:1, :1]], axis=1)[:, [3, 5, 6, 9, 10, 13, 14, 17, 18, 25]]
    speed = np.diff(rel, axis=0)
    middle = rel[:-1] - rel.mean(0)
    area = np.cross(middle, speed).sum(0)
    height = rel[:, [2, 4, 6, 8], 1] - rel[:, [2, 4, 6, 8], 1].mean(0)
    rhythm = abs(np.fft.rfft(height, 256, axis=0))[:24]
    change = rel[-8:].mean(0) - rel[:8].mean(0)
    parts = [rel.mean(0), rel.std(0), rel.max(0), rel.min(0), speed.std(0), change, area, rhythm / rhythm.sum(0)]
    return np.concatenate([p.ravel() for p in parts])


def test_raw_neighbours_do_poorly_where_the_motion_tells_the_class(everything):
    _, clips = everything
    label, train = (np.array(v) for v in zip(*((c.label, c.subject % 2 == 1) for c in clips), strict=True))
    raw = np.zeros((len(clips), 2, 32, 25, 3), np.float32)
    for row, clip in zip(raw, clips, strict=True):
        row[: len(clip.joints)] = _resized(_turned(clip))
    raw = raw.reshape(len(clips), -1)
    nearest = KNeighborsClassifier(1).fit(raw[train], label[train]).score(raw[~train], label[~train])
    assert 0.55 < nearest < 0.75
    known = np.stack([_statistics(_turned(clip)) for clip in clips])
    forest = ExtraTreesClassifier(300, random_state=0).fit(known[train], label[train]).score(known[~train], label[~train])
    assert forest > 0.88 and forest > nearest + 0.15
