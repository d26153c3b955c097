"""Damaged clips against their definitions, and accuracy under damage against what the plain evaluation gives."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest

from skelmm_core import cli, clips
from skelmm_core.comparison import robustness
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.evaluation import metrics
from skelmm_core.evaluation.damage import KINDS, Damaged
from skelmm_core.evaluation.knn import raw_nearest
from skelmm_core.experiment import Experiment
from skelmm_core.sources import sample


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "motion.clips"
    clips.write(path, sample.read(performers=4, repetitions=1, cameras=1, actions=["kick", "punch", "shake hands"]))
    return path


@pytest.fixture(scope="module")
def motion(path):
    return clips.open_clips(path)


@pytest.mark.parametrize("kind", KINDS)
def test_no_level_is_no_damage(motion, kind):
    same = Damaged(motion, kind, 0)
    for mine, theirs in zip(same.take([3, 1]), motion.take([3, 1]), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_of_a_clip_is_the_same_in_any_company_and_another_with_another_seed(motion, kind):
    level = KINDS[kind].levels[1]
    one, other = Damaged(motion, kind, level), Damaged(motion, kind, level, seed=1)
    packed = one.take([2, 0])
    np.testing.assert_array_equal(packed.rows[packed.starts[1] :], one.take([0]).rows)
    drawn = kind in ("noise", "joints", "frames", "turn")
    assert drawn == any(not np.array_equal(one.joints_of(i), other.joints_of(i)) for i in range(len(motion)))


def test_noise_has_its_deviation_and_leaves_absent_bodies(motion):
    flat = [(Damaged(motion, "noise", 5).joints_of(i) - motion.joints_of(i)).ravel() for i in range(len(motion))]
    assert np.concatenate(flat).std() == pytest.approx(0.05, rel=0.02)
    x = np.array(motion.joints_of(0))
    x[:, 2] = 0
    assert not KINDS["noise"].do(x, 5, np.random.default_rng(0), 0)[:, 2].any()


def test_lost_joints_lie_in_the_centre(motion):
    x, centre = Damaged(motion, "joints", 4).joints_of(0), motion.skeleton.centre
    lost = [(x[:, :, j] == x[:, :, centre]).all() for j in range(x.shape[2])]
    assert sum(lost) == 5 and lost[centre]  # four, and the centre itself
    kept = [j for j, gone in enumerate(lost) if not gone]
    np.testing.assert_array_equal(x[:, :, kept], motion.joints_of(0)[:, :, kept])


def test_lost_frames_repeat_the_last_one_seen(motion):
    x, before = Damaged(motion, "frames", 50).joints_of(0), motion.joints_of(0)
    shown, repeated = 0, 0
    for t in range(before.shape[1]):
        if np.array_equal(x[:, t], before[:, t]):
            shown = t
        else:
            np.testing.assert_array_equal(x[:, t], before[:, shown])
            repeated += 1
    assert 0.2 < repeated / before.shape[1] < 0.8 and np.array_equal(x[:, 0], before[:, 0])


def test_a_slower_sensor_has_fewer_frames(motion):
    slow = Damaged(motion, "rate", 4)
    assert [int(f) for f in slow.frames] == [math.ceil(f / 4) for f in motion.frames]
    np.testing.assert_array_equal(slow.joints_of(1), motion.joints_of(1)[:, ::4])
    assert slow.take([0, 1]).frames.tolist() == slow.frames[:2].tolist()


def test_cameras_turn_about_their_axes(motion):
    before = motion.joints_of(0)
    down, aside = Damaged(motion, "tilt", 90).joints_of(0), Damaged(motion, "turn", 180).joints_of(0)
    np.testing.assert_allclose(down, np.stack([before[..., 0], -before[..., 2], before[..., 1]], axis=-1), atol=1e-5)
    np.testing.assert_allclose(aside, before * [-1, 1, -1], atol=1e-5)


def test_wrong_damage_is_refused(motion):
    with pytest.raises(SettingsError, match="unknown damage 'nois'; did you mean 'noise'"):
        Damaged(motion, "nois", 1)
    with pytest.raises(SettingsError, match="0 or more and finite"):
        Damaged(motion, "noise", float("nan"))

    class Flat:
        skeleton = type("S", (), {"dimensions": 2, "name": "coco17"})()

    with pytest.raises(DataError, match="for joints in metres, found skeleton 'coco17' in an image"):
        Damaged(Flat(), "tilt", 10)


@pytest.mark.parametrize("more", [{}, {"whiten_for": "neighbours", "regions": True, "probe_fit": "ridge"}])
def test_without_damage_accuracy_is_that_of_the_evaluation(path, tmp_path, more):
    exp = Experiment(path, tmp_path, "small", "cpu", True, modalities="joint,bone", segments=2, whiten=5, whiten_shrink=0.1, **more)
    branches = exp.untrained()
    scores = exp.score(branches)
    assert robustness.encoders_under(exp, branches)("noise", 0) == pytest.approx((scores.linear.accuracy, scores.knn.accuracy))
    assert robustness.raw_under(exp)("noise", 0) == raw_nearest(exp.clips, exp.split).accuracy
    assert robustness.raw_under(exp)("noise", 1000) < robustness.raw_under(exp)("noise", 0)


def test_the_command_writes_a_row_for_every_level(path, tmp_path, capsys):
    arguments = ["evaluate", "untrained", "--data", str(path), "--out", str(tmp_path), "--preset", "small", "--smoke", "--device", "cpu"]
    cli.main([*arguments, "--modalities", "joint", "--measure", "robust", "-p", "robust.damages=rate,joints", "--references", "raw"])
    assert "rate 16, linear" in capsys.readouterr().out
    rows = list(csv.DictReader(next((tmp_path / "evaluations").glob("*.csv")).open()))
    assert len(rows) == 2 * 5 * 3  # two damages, five levels; linear and kNN of encoders, kNN of raw coordinates
    found = robustness.of_rows(rows)
    assert list(found) == ["untrained", "raw 1-NN"] and list(found["untrained"]) == ["rate", "joints"]
    (wanted,) = (row["percent"] for row in rows if row["subject"] == "untrained" and row["what"] == "rate 4, linear")
    assert found["untrained"]["rate"][4.0] == [float(wanted)]
    assert len(list((tmp_path / "evaluations").glob("*.png"))) == 1


def test_curves_hold_what_each_level_gives(path, tmp_path):
    exp = Experiment(path, tmp_path, "small", "cpu", True, modalities="joint,bone")
    branches = exp.untrained()
    found = robustness.curves(exp, {"untrained": branches}, ["rate"])
    under, raw = robustness.encoders_under(exp, branches), robustness.raw_under(exp)
    assert found == {
        "untrained": {"rate": {level: [under("rate", level)[0]] for level in (0.0, 2, 4, 8, 16)}},
        "raw 1-NN": {"rate": {level: [raw("rate", level)] for level in (0.0, 2, 4, 8, 16)}},
    }


def test_curves_of_some_of_the_test_clips(path, tmp_path):
    exp = Experiment(path, tmp_path, "small", "cpu", True, modalities="joint")
    branches, count = exp.untrained(), len(exp.split.test)
    assert robustness.curves(exp, {"untrained": branches}, ["rate"], most=count + 5) == robustness.curves(
        exp, {"untrained": branches}, ["rate"]
    )
    few = robustness.curves(exp, {"untrained": branches}, ["rate"], most=4)
    rows = exp.split.test[metrics.sample(count, exp.settings.seed, 4)]
    assert len(rows) == 4 and few["untrained"]["rate"][2] == [robustness.encoders_under(exp, branches, rows)("rate", 2)[0]]
    assert few["raw 1-NN"]["rate"][0] == [robustness.raw_under(exp, rows)("noise", 0)]
