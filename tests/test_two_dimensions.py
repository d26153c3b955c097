"""Joints in an image: modalities in closed form, preparation and augmentation that leave confidences and unseen joints alone, refusals,
training, figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg

from skelmm_core import batches, cli, clips, drawing, image, modalities, notebook, skeletons
from skelmm_core.augmentation import Augmentation
from skelmm_core.drawing import scene
from skelmm_core.errors import SettingsError
from skelmm_core.evaluation.knn import raw_nearest
from skelmm_core.experiment import Experiment
from skelmm_core.recordings import Recording, Source, as_given
from skelmm_core.skeletons import COCO17, NTU25, OPENPOSE18

FOUR = ("joint", "motion", "bone", "acceleration")
STANDING = {  # halves of a person in image heights, the left half at larger x, as in an image of somebody who faces the camera
    "nose": (0, 0.30), "neck": (0, 0.22), "eye": (0.02, 0.32), "ear": (0.04, 0.31), "shoulder": (0.09, 0.20), "elbow": (0.13, 0.06),
    "wrist": (0.15, -0.07), "hip": (0.05, -0.08), "knee": (0.06, -0.26), "ankle": (0.06, -0.44),
}  # fmt: skip
SIDE = {"left": 1, "right": -1}


def standing(skeleton) -> np.ndarray:
    """(V, 2) a person of 0.76 image heights."""
    places = []
    for joint in skeleton.joints:
        *side, part = joint.split()
        x, y = STANDING[part]
        places.append((x * (SIDE[side[0]] if side else 1), y))
    return np.array(places)


def recording(skeleton, label: int, subject: int, frames: int, seed: int, bodies: int = 1) -> Recording:
    """Somebody who waves the left (label 0) or the right wrist (1); one joint in ten is not seen."""
    rng = np.random.default_rng(seed)
    joints = np.zeros((bodies, frames, len(skeleton), 3), np.float32)
    time = np.arange(frames) / 30
    for body in range(bodies):
        place = (
            (1 + 0.1 * rng.normal()) * standing(skeleton)[None].repeat(frames, 0)
            + (0.3 * body, 0)
            + 0.002 * rng.normal(size=(frames, 1, 2))
        )
        wrist = skeleton.joints.index(f"{('left', 'right')[label]} wrist")
        place[:, wrist] += np.stack([0.08 * np.sin(8 * time), 0.3 + 0.02 * np.cos(8 * time)], -1)
        confidence = rng.uniform(0.3, 1, joints.shape[1:3]) * (rng.uniform(size=joints.shape[1:3]) > 0.1)
        joints[body] = np.concatenate([place, confidence[..., None]], -1) * (confidence[..., None] > 0)
    return Recording(joints, label, f"clip{seed:03}", subject=subject)


def make(path, skeleton=COCO17, count: int = 24) -> clips.Clips:
    items = [recording(skeleton, i % 2, 1 + i // 2 % 4, 20 + i % 5, i, bodies=1 + (i % 6 == 5)) for i in range(count)]
    clips.write(path, Source("image test", skeleton, ("left", "right"), 30.0, "odd-even-subjects", "0", items, as_given), progress=False)
    return clips.open_clips(path)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> clips.Clips:
    return make(tmp_path_factory.mktemp("image") / "coco.clips")


def batch(skeleton=COCO17, count: int = 2, frames: int = 9, seed: int = 0) -> torch.Tensor:
    """(N, 3, T, V, M) float64 at random, one joint in four unseen."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, frames, len(skeleton), 2, dtype=torch.float64, generator=rng)
    x[:, 2] = x[:, 2].abs() * (torch.rand(x[:, 2].shape, generator=rng) > 0.25)
    return x * (x[:, 2:] > 0)


# --- modalities ---


@pytest.mark.parametrize("skeleton", [COCO17, OPENPOSE18], ids=lambda s: s.name)
def test_modalities_agree_with_a_loop(skeleton):
    x, true = batch(skeleton), torch.tensor([5, 18])
    found = modalities.compute(x, true, skeleton)
    assert tuple(found) == FOUR
    assert all(torch.equal(value[:, 2], x[:, 2]) for value in found.values()), "the third number is the joint's own confidence"
    count, _, frames, joints, bodies = x.shape
    for n, v, m in np.ndindex(count, joints, bodies):
        p, scale = x[n, :, :, v, m], frames / int(true[n])
        parent = x[n, :, :, skeleton.bone[v], m]
        for t in range(frames):
            here = [bool(p[2, k] > 0) for k in range(t, min(t + 3, frames))]
            step = scale * (p[:2, t + 1] - p[:2, t]) if len(here) > 1 and all(here[:2]) else torch.zeros(2)
            rate = scale**2 * (p[:2, t + 2] - 2 * p[:2, t + 1] + p[:2, t]) if len(here) == 3 and all(here) else torch.zeros(2)
            bone = p[:2, t] - parent[:2, t] if here[0] and parent[2, t] > 0 else torch.zeros(2)
            for name, value in (("joint", p[:2, t]), ("motion", step), ("acceleration", rate), ("bone", bone)):
                torch.testing.assert_close(found[name][n, :2, t, v, m], value.double(), atol=1e-9, rtol=1e-9, msg=f"{name} {n} {v} {m} {t}")


def test_closed_forms():
    time = torch.arange(12, dtype=torch.float64).view(1, 1, -1, 1, 1)
    rest = torch.from_numpy(standing(COCO17)).T.view(1, 2, 1, 17, 1)
    speed, turn = torch.tensor([0.01, -0.02]).view(1, 2, 1, 1, 1), torch.tensor([0.001, 0.003]).view(1, 2, 1, 1, 1)
    place = rest + speed * time + turn * time.square() / 2
    x = torch.cat([place, torch.full((1, 1, 12, 17, 1), 0.7, dtype=torch.float64)], 1)
    found = modalities.compute(x, torch.tensor([12]), "coco17")
    torch.testing.assert_close(found["motion"][:, :2, :-1], (speed + turn * (time[:, :, :-1] + 0.5)).expand(1, 2, 11, 17, 1))
    torch.testing.assert_close(found["acceleration"][:, :2, :-2], turn.double().expand(1, 2, 10, 17, 1))
    assert not found["motion"][:, :2, -1].any() and not found["acceleration"][:, :2, -2:].any()
    bone = rest[0, :, 0, :, 0] - rest[0, :, 0, list(COCO17.bone), 0]
    torch.testing.assert_close(found["bone"][0, :2, 5, :, 0], bone)
    assert not found["bone"][0, :2, :, COCO17.centre].any(), "no normal stands in for the centre's bone"
    assert all((value[:, 2] == 0.7).all() for value in found.values())


@pytest.mark.parametrize("name", ["rotation_axis", "angular_velocity"])
def test_what_needs_space_is_refused_with_the_reason(name):
    with pytest.raises(SettingsError, match=rf"'openpose18'.*{name}.*image.*-p modalities=joint,motion,bone,acceleration"):
        modalities.compute(batch(OPENPOSE18), torch.tensor([9, 9]), OPENPOSE18, ["joint", name])
    modalities.check_meaning(modalities.NAMES, NTU25)
    assert modalities.names_for(NTU25) == modalities.NAMES and modalities.names_for(COCO17) == FOUR == tuple(modalities.units_for(COCO17))
    assert all("image heights" in unit for unit in modalities.units_for(COCO17).values())
    assert [modalities.units_for(NTU25)[name] for name in ("joint", "angular_velocity")] == ["m", "rad/frame"]


# --- preparation ---


def packed(joints: list[np.ndarray]):
    """Clips (M, T, V, 3) end to end: rows, starts, lengths, bodies."""
    rows = torch.from_numpy(np.concatenate([j.reshape(-1, *j.shape[2:]) for j in joints]))
    lengths, bodies = (torch.tensor([j.shape[axis] for j in joints]) for axis in (1, 0))
    return rows, (lengths * bodies).cumsum(0) - lengths * bodies, lengths, bodies


def some(seed: int = 0, lengths=(6, 1, 9)) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    found = []
    for number, length in enumerate(lengths):
        x = rng.normal(size=(1 + number % 2, length, 17, 3)) * 0.2
        x[..., 2] = np.abs(x[..., 2]) * (rng.uniform(size=x.shape[:-1]) > 0.3)
        found.append(x * (x[..., 2:] > 0))
    return found


@pytest.mark.parametrize("view", ["frame", "clip"])
def test_prepared_agrees_with_a_loop(view):
    clips_, frames = some(), 7
    found = image.prepared(*packed(clips_), COCO17, frames, 2, view).numpy()
    for n, clip in enumerate(clips_):
        first = clip[0]
        for m, body in enumerate(clip):
            shown, lead = body.copy(), first if view == "clip" else body
            known = np.flatnonzero(lead[:, 0, 2] > 0)
            for t in range(len(body)):
                seen = body[t, :, 2] > 0
                if not len(known):  # the nose was never seen: the mean of what was
                    usable = np.flatnonzero((lead[..., 2] > 0).any(1))
                    t0 = (usable[0] if view == "clip" else t) if len(usable) else t
                    origin = lead[t0, lead[t0, :, 2] > 0, :2].mean(0) if (lead[t0, :, 2] > 0).any() else 0
                elif view == "clip":
                    origin = lead[known[0], 0, :2]
                else:
                    origin = lead[known[known <= t][-1] if (known <= t).any() else known[0], 0, :2]
                shown[t, seen, :2] -= origin
            for i in range(frames):
                at = min(max((i + 0.5) * len(body) / frames - 0.5, 0), len(body) - 1)
                low = int(at)
                high, share = min(low + 1, len(body) - 1), at - low
                for v in range(17):
                    a, b = shown[low, v], shown[high, v]
                    weights = np.array([(1 - share) * (a[2] > 0), share * (b[2] > 0)])
                    place = (weights[0] * a[:2] + weights[1] * b[:2]) / weights.sum() if weights.sum() > 0 else np.zeros(2)
                    expected = (*place, (1 - share) * a[2] + share * b[2])
                    np.testing.assert_allclose(found[n, :, i, v, m], expected, atol=1e-6, err_msg=f"clip {n} body {m} frame {i} joint {v}")


def test_smoothing_takes_only_what_was_seen():
    clips_ = some(3)
    rows, *rest = packed(clips_)
    found = image.smoothed(rows, *rest, 1.5).numpy()
    assert np.array_equal(found[..., 2], rows[..., 2].numpy()), "confidences are not smoothed"
    assert not found[rows[..., 2].numpy() == 0].any()
    begin = 0
    for body in (body for clip in clips_ for body in clip):
        for v in range(17):
            for t in np.flatnonzero(body[:, v, 2] > 0):
                near = np.clip(np.arange(t - 5, t + 6), 0, len(body) - 1)
                weights = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2) * (body[near, v, 2] > 0)
                expected = weights @ body[near, v, :2] / weights.sum()
                np.testing.assert_allclose(found[begin + t, v, :2], expected, atol=1e-6)
        begin += len(body)


@given(st.tuples(*[st.floats(-2, 2)] * 2), st.integers(0, 10**6), st.sampled_from(["frame", "clip"]))
def test_place_is_taken_out_and_nothing_is_turned(shift, seed, view):
    clips_ = some(seed)
    moved = [clip + np.array([*shift, 0]) * (clip[..., 2:] > 0) for clip in clips_]
    before, after = (image.prepared(*packed(c), COCO17, 8, 2, view) for c in (clips_, moved))
    torch.testing.assert_close(before, after, atol=1e-9, rtol=0)
    mirrored = [clip * (-1, 1, 1) for clip in clips_]
    flipped = image.prepared(*packed(mirrored), COCO17, 8, 2, view)
    torch.testing.assert_close(flipped, before * torch.tensor([-1.0, 1, 1]).view(1, 3, 1, 1, 1), atol=1e-9, rtol=0)


@pytest.mark.parametrize("settings", [dict(view="frame"), dict(view="clip", smooth=2.0)])
def test_loaded_clips_keep_their_confidences(file, settings):
    found = batches.load(file, np.arange(len(file)), frames=16, **settings)
    assert found.joints.shape == (24, 3, 16, 17, 2) and found.skeleton == COCO17
    assert not found.joints[:, :2][(found.joints[:, 2:] <= 0).expand(-1, 2, -1, -1, -1)].any()
    assert 0.3 < float(found.joints[:, 2][found.joints[:, 2] > 0.01].median()) < 1
    one = file.joints_of(0)[0]
    same = batches.load(file, np.array([0]), frames=len(one), **settings).joints[0, :, :, :, 0]
    np.testing.assert_allclose(same[2].numpy(), one[..., 2], atol=1e-6)  # resampled to its own length: untouched
    if settings["view"] == "frame":
        assert not same[:2, :, 0].any(), "the nose is the origin"


def test_remapped_where_all_that_is_needed_was_seen(tmp_path):
    file = make(tmp_path / "coco.clips", count=8)
    found = batches.load(file, np.array([0]), frames=20, skeleton="openpose18", view="clip").joints[0, :, :, :, 0].numpy()
    one = file.joints_of(0)[0]
    left, right = one[:, 5], one[:, 6]
    neck = found[:, :, 1]
    both = (left[:, 2] > 0) & (right[:, 2] > 0)
    assert both.any() and not both.all()
    assert np.array_equal(neck[2] > 0, both)
    origin = ((left + right) / 2)[both][0, :2]
    np.testing.assert_allclose(neck[:2, both].T, ((left + right) / 2)[both, :2] - origin, atol=1e-6)
    with pytest.raises(SettingsError, match="'coco17' has places in an image, 'ntu25' coordinates in space"):
        batches.load(file, np.array([0]), skeleton="ntu25")


# --- augmentation ---


@pytest.mark.parametrize("change", [dict(shear=0.5), dict(offset=0.1), dict(yaw=1.0), dict(crop_shift=3), dict(crop_min=0.5)])
def test_augmentation_stays_in_the_image(change):
    x, true = batch(frames=12), torch.tensor([12, 12])
    found, frames = Augmentation(**change, dimensions=2)(x, true, torch.Generator().manual_seed(1))
    assert torch.isfinite(found).all() and not found[:, :2][(found[:, 2:] <= 0).expand(-1, 2, -1, -1, -1)].any(), "unseen joints stay zeros"
    if "yaw" in change:
        assert torch.equal(found, x)
    else:
        assert not torch.equal(found, x)
    if "shear" in change or "offset" in change:
        assert torch.equal(found[:, 2], x[:, 2])
    if "shear" in change:  # one 2 x 2 matrix for a clip
        a, b = (y[0, :2, ..., 0].reshape(2, -1).T for y in (x, found))
        matrix = torch.linalg.lstsq(a, b).solution.T
        torch.testing.assert_close(a @ matrix.T, b)
        torch.testing.assert_close(matrix.diagonal(), torch.ones(2, dtype=torch.float64))
        assert 0 < matrix.fill_diagonal_(0).abs().max() <= 0.5
    if "offset" in change:  # one displacement per joint, wherever it was seen
        moved = (found - x)[0, :2, :, 3, 0][:, x[0, 2, :, 3, 0] > 0]
        assert moved.shape[1] > 3 and moved.abs().min() > 0
        torch.testing.assert_close(moved, moved[:, :1].expand_as(moved))


def test_a_stretched_window_interpolates_only_what_was_seen():
    x = batch(count=1, frames=12, seed=4)
    x[:, :2] = 3.0 * (x[:, 2:] > 0)  # a place that a mean with zeros would change
    found, _ = Augmentation(crop_min=0.5, dimensions=2)(x, torch.tensor([12]), torch.Generator().manual_seed(2))
    seen = (found[:, 2:] > 0).expand(-1, 2, -1, -1, -1)
    torch.testing.assert_close(found[:, :2][seen], torch.full_like(found[:, :2][seen], 3.0))


# --- training and the notebooks' way ---


def test_an_experiment_trains_all_stages(file, tmp_path):
    exp = Experiment(file.path, tmp_path, preset="small", smoke=True, device="cpu", modalities=",".join(FOUR), batch=8, queue=16)
    exp.check("distill")
    found = exp.distill()
    assert found.model.students.keys() == {"joint", "motion", "bone"}
    assert all(np.isfinite(row["loss"]) for row in found.rows)
    raw = raw_nearest(exp.clips, exp.split)
    assert raw.accuracy > 90, "waving with the left or the right hand"
    assert 0 <= exp.score(found.model.students).linear.accuracy <= 100


def test_six_modalities_are_refused_before_anything_trains(file, tmp_path):
    exp = Experiment(file.path, tmp_path / "out", smoke=True, device="cpu")
    for stage in ("pretrain", "exchange", "distill"):
        with pytest.raises(SettingsError, match="rotation_axis and angular_velocity.*-p modalities=joint,motion,bone,acceleration"):
            exp.check(stage)
    exp.check("evaluate")  # notebook 01 trains nothing
    assert not (tmp_path / "out").exists()
    with pytest.raises(SettingsError, match="no map leads"):
        Experiment(file.path, tmp_path, smoke=True, device="cpu", skeleton="ntu25", modalities="joint,bone").check("pretrain")


def test_command_line_refuses_with_one_line(file, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", "pretrain", "--data", str(file.path), "--out", str(tmp_path), "--smoke"])
    assert stop.value.code == 2 and "-p modalities=joint,motion,bone,acceleration" in capsys.readouterr().err


def test_raw_neighbours_do_not_see_place(file, tmp_path):
    from skelmm_core.evaluation.knn import raw_coordinates

    moved = [
        Recording(r.joints + np.float32((0.2, -0.1, 0)) * (r.joints[..., 2:] > 0), r.label, r.name, r.subject)
        for r in map(file.__getitem__, range(6))
    ]
    clips.write(tmp_path / "moved.clips", Source("moved", COCO17, ("left", "right"), 30.0, "", "1", moved, as_given), progress=False)
    before, after = (raw_coordinates(c, np.arange(6), 16, 2) for c in (file, clips.open_clips(tmp_path / "moved.clips")))
    assert before.shape == (6, 2 * 16 * 17 * 2)
    torch.testing.assert_close(before, after, atol=1e-5, rtol=0)


# --- figures ---


def test_figures_are_flat_and_in_image_heights(file):
    clip = file[5]  # two bodies
    joints = scene.bodies(clip, COCO17)
    unseen = clip.joints[..., 2] == 0
    assert joints.shape == clip.joints.shape and np.isnan(joints[unseen]).all() and (joints[~unseen][:, 2] == 0).all()
    seen = scene.seen_from(joints, 0)[~unseen]
    np.testing.assert_allclose(seen, clip.joints[~unseen][:, :2], atol=1e-6)  # as in the image, no mirror
    for name in FOUR:
        arrows = scene.vectors(joints, COCO17, name)
        known = ~np.isnan(arrows.head).any(-1)
        assert known.mean() > 0.5 and not (arrows.head - arrows.tail)[known][:, 2].any() and "image heights" in arrows.unit
    strip = drawing.film_strip(clip, COCO17)
    assert strip._supylabel.get_text() == "height (image heights)"
    six = drawing.modality_strip(clip, COCO17)
    assert [axes.texts[0].get_text() for axes in six.axes] == list(FOUR)
    for figure in (strip, six, drawing.stick_figure(clip, COCO17)):
        FigureCanvasAgg(figure).draw()
    flat = drawing.show(clip, COCO17, "motion").data
    assert flat["clips"][0]["flat"] and flat["length"] == "image heights" and "image heights/s" in flat["scales"]["motion"]["arrow"]
    with pytest.raises(SettingsError, match="angular_velocity"):
        drawing.show(clip, COCO17, "angular_velocity")


def test_explorer_offers_what_there_is(file):
    names = [value for _, value in drawing.explore(file, clip=0).modality.options]
    assert names == [None, "all", *FOUR]
    with pytest.raises(SettingsError, match="rotation_axis"):
        drawing.check_choice(file, 0, "rotation_axis", "both")


@pytest.mark.parametrize("name", ["01_modality_visualization", "02_single_modality_pretraining"])
def test_notebooks_run(file, tmp_path, monkeypatch, name):
    """The cells of a notebook, one after the other, in this process."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    path = notebook.repository(name) / "notebooks" / f"{name}.ipynb"
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    space: dict = {}
    exec("".join(cells[0]["source"]), space)
    space |= {"data": str(file.path), "out": str(tmp_path), "smoke": True, "device": "cpu", "batch": 8, "queue": 16}
    if "modalities" in space:
        space["modalities"] = ",".join(FOUR)
    for cell in cells[1:]:
        exec("".join(cell["source"]), space)
    metrics = json.loads((tmp_path / name / "metrics.json").read_text())
    assert metrics["headline"]
    if name.startswith("01"):
        assert metrics["timeline"]["true_ratio"] == pytest.approx(2, rel=0.2) and set(metrics["ranges"]) == set(FOUR)
        assert {row["unit"].split("/")[0] for row in metrics["ranges"].values()} == {"image heights"}


def test_a_skeleton_in_an_image_says_so(capsys):
    cli.main(["skeleton", "coco17"])
    shown = capsys.readouterr().out
    assert "in an image (x, y, confidence)" in shown and "modalities: joint, motion, bone, acceleration\n" in shown
    assert skeletons.get("coco17").dimensions == 2
