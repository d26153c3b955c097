"""Training stages: what the loop stops at, what goes on from where, which switches change what."""

import csv
import json
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy_stage import save_after

from skelmm_core import checkpoints, manifest, notebook, progress, settings
from skelmm_core.batches import Augmentation, Batches
from skelmm_core.errors import CheckpointError, SettingsError, TrainingError
from skelmm_core.experiment import Experiment, make_fabric
from skelmm_core.skeletons import KINECT20
from skelmm_core.stages.contrast import FOLLOW_PUBLISHED, Contrast, take_over
from skelmm_core.stages.loop import Loop, learning_rate

SIZES = dict(hidden=2, features=8, embedding=8, frames=8, batch=8, queue=13, epochs=4, crop_shift=1, dropout=0.0)


def toy(stage: str = "exchange", **changes):
    return settings.resolve(stage, "described", smoke=True, **{**SIZES, "precision": "32-true", **changes})


@pytest.fixture(scope="module")
def clips() -> Batches:
    rng = torch.Generator().manual_seed(0)
    joints = torch.randn(20, 3, 8, 20, 1, generator=rng).cumsum(2) * 0.05
    return Batches(joints, torch.full((20,), 8), torch.arange(20) % 4, torch.arange(20), KINECT20)


def loop(own, clips, folder: Path, model=None, **kwargs) -> Loop:
    model = Contrast(own, clips.skeleton) if model is None else model
    return Loop(make_fabric("cpu", "32-true"), model, own, clips, folder, "toy", own.epochs, save_every=0, **kwargs)


def weights(model) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def test_a_run_in_two_parts_ends_bit_for_bit_as_one_in_a_piece(clips, tmp_path):
    own = toy()
    whole, first = loop(own, clips, tmp_path / "whole"), loop(own, clips, tmp_path / "parts", stop=2)
    rows = whole.run()
    first.run()
    again = loop(own, clips, tmp_path / "parts")
    going_on = again.run()
    assert not again.found and [row["epoch"] for row in going_on] == [1, 2, 3, 4]
    assert [{k: v for k, v in row.items() if k != "seconds"} for row in going_on] == [
        {k: v for k, v in row.items() if k != "seconds"} for row in rows
    ]
    found = again.model.state_dict()  # once: it takes long
    for name, value in weights(whole.model).items():
        assert torch.equal(value, found[name]), name


def test_tensorboard_holds_what_the_csv_holds_also_after_an_interruption(clips, tmp_path):
    own = toy()
    loop(own, clips, tmp_path, stop=2).run()
    rows = loop(own, clips, tmp_path).run()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    with open(tmp_path / "log.csv", newline="") as file:
        table = list(csv.DictReader(file))
    for key in ("loss", "lr", "positive/joint", "negative/angular_velocity"):
        scalars = events.Scalars(key)
        assert [s.step for s in scalars] == [1, 2, 3, 4]
        for scalar, row, line in zip(scalars, rows, table, strict=True):
            assert scalar.value == pytest.approx(row[key], rel=1e-5) and float(line[key]) == row[key]


def test_a_finished_stage_is_found_without_writing_anything(clips, tmp_path):
    own = toy()
    loop(own, clips, tmp_path).run()
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    found = loop(own, clips, tmp_path)
    assert len(found.run()) == 4 and found.found
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_what_other_code_had_a_part_in_is_told_through_all_stages(tmp_path, monkeypatch):
    exp = Experiment("sample", tmp_path, smoke=True, epochs=2, modalities="joint,bone", students="joint", frames=8)
    exp.pretrain(until=1)
    monkeypatch.setattr(manifest, "training_code", lambda: "changed")
    with pytest.warns(UserWarning, match="exchange-.* was trained, wholly or in part, by another version of the code; delete it"):
        teacher = exp.exchange()
    assert len(teacher.code) == 2 and teacher.by_other_code
    with pytest.warns(UserWarning, match="distill-"):
        assert exp.distill().code == teacher.code
    with pytest.warns(UserWarning):
        assert exp.exchange().code == teacher.code  # found now
    session = notebook.Session("03_ikem", exp)
    written = json.loads(session.finish({"any": 1.0}, ["another sign"]).read_text())
    assert written["signs_of_failure"][0] == "another sign" and "another version of the code" in written["signs_of_failure"][1]
    assert teacher.folder.name in written["signs_of_failure"][1]


def test_training_code_is_what_training_runs_and_not_its_comments(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "PACKAGE", tmp_path)

    def digest(text: str, name: str = "losses.py") -> str:
        (tmp_path / name).write_text(text)
        manifest.training_code.cache_clear()
        return manifest.training_code()

    try:
        first = digest("x = 1\n")
        assert digest("x = 1  # one\n\n") == first and digest("x = 2\n") != first
        assert digest("x = 1\n") == first == digest("y = 1\n", "cli.py")
    finally:
        manifest.training_code.cache_clear()


@pytest.mark.parametrize("stage", ["pretrain", "exchange", "distill"])
def test_an_interrupted_stage_ends_as_one_that_was_not(tmp_path, stage):
    """With dropout, a teacher in train mode and momentum, so that all that a checkpoint must hold has a part in it."""
    sizes = dict(smoke=True, epochs=6, student_epochs=4, modalities="joint,bone", students="joint", frames=8, dropout=0.3)
    sizes |= dict(teacher_mode="train", hidden=4, features=16, embedding=8)

    def run(folder: Path, on_epoch=None) -> dict[str, torch.Tensor]:
        exp = Experiment("sample", folder, **sizes)
        if stage != "pretrain":
            exp.pretrain(until=3)
        if stage == "distill":
            exp.exchange()
        with pytest.MonkeyPatch.context() as patch:
            save_after(-1.0, patch)
            exp.on_epoch = on_epoch
            return weights(getattr(exp, stage)().model)

    def stop(epoch, rows):
        if epoch % 3 == 2:
            raise KeyboardInterrupt

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", stop)
    seen: list[int] = []
    parts = run(tmp_path / "parts", lambda epoch, rows: seen.append(epoch))
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    assert seen == {"pretrain": [2, 3, 4, 5, 6], "exchange": [5, 6], "distill": [2, 3, 4]}[stage], "it went on from within that epoch"


def test_a_stage_that_has_gone_farther_gives_its_kept_checkpoint_or_says_so(clips, tmp_path):
    own = toy()
    early = loop(own, clips, tmp_path, stop=2, keep=(2,))
    rows = early.run()
    loop(own, clips, tmp_path, keep=(2,)).run()
    again = loop(own, clips, tmp_path, stop=2, keep=(2,))
    assert again.run() == rows and again.found
    found = again.model.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in weights(early.model).items())
    with pytest.raises(CheckpointError, match="holds 4 epochs and no checkpoint of epoch 3; delete the folder"):
        loop(own, clips, tmp_path, stop=3).run()


def test_plain_lines_of_progress_come_within_an_epoch(clips, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET", -1.0)
    loop(toy(epochs=2), clips, tmp_path).run()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(", loss")[0] for line in lines] == [f"toy: epoch {e}/2, step {s}/2" for e in (1, 2) for s in (1, 2)]
    assert lines[-1].endswith("about 0 s left")


def test_settings_that_can_not_work_are_told_before_training(tmp_path):
    for stage, given, message in (("exchange", dict(modalities="joint"), "two modalities"), ("distill", dict(epochs=1), "no epoch is left"),
                                  ("distill", dict(students="motion", modalities="joint,bone"), "asks for motion")):  # fmt: skip
        exp = Experiment("sample", tmp_path, smoke=True, **given)
        exp.check()
        with pytest.raises(SettingsError, match=message):
            exp.check(stage)
    assert not (tmp_path / "stages").exists()
    with pytest.raises(SettingsError, match="smoke must be True or False, found str 'false'"):
        Experiment("sample", tmp_path, smoke="false")


def test_the_precision_that_a_stage_was_trained_in_is_in_its_identity(tmp_path):
    auto, named = (Experiment("sample", tmp_path, smoke=True, precision=p) for p in ("auto", "32-true"))
    assert auto.settings.precision in ("32-true", "bf16-mixed") and named.settings.precision == "32-true"
    assert (auto.pretrain_folder() == named.pretrain_folder()) == (auto.settings.precision == "32-true")


def test_queue_length_that_does_not_divide_by_the_batch(clips, tmp_path):
    model = loop(toy(), clips, tmp_path).model
    ran = loop(toy(), clips, tmp_path, model=model)
    ran.run()
    assert model.queues.pointer == 4 * 2 * 8 % 13  # four epochs of two batches of eight
    torch.testing.assert_close(model.queues.data.norm(dim=1), torch.ones(6, 13))


def test_a_loss_that_is_not_finite_names_epoch_step_and_modality(clips, tmp_path):
    own = toy()
    ill = loop(own, clips, tmp_path)
    with torch.no_grad():
        ill.model.query["bone"].head[2].bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"the loss of bone is not finite at epoch 1, step 1\. Try a lower lr"):
        ill.run()
    assert not (tmp_path / "last.pt").exists()


@pytest.mark.parametrize("exchange", ["none", "ekem", "ikem", "ekem+ikem", "cmd", "cmd+ikem"])
@pytest.mark.parametrize("keys", ["all", "published"])
def test_which_key_encoders_follow(clips, tmp_path, exchange, keys):
    own = toy(exchange=exchange, keys=keys, epochs=1, copy_key=False)
    ran = loop(own, clips, tmp_path, call={"exchange": exchange})
    before = {n: [p.clone() for p in ran.model.key[n].parameters()] for n in ran.model.names}
    ran.run()
    moved = {n for n, old in before.items() if any(not torch.equal(a, b) for a, b in zip(old, ran.model.key[n].parameters(), strict=True))}
    assert moved == set(ran.model.names if keys == "all" else FOLLOW_PUBLISHED)


def test_exchange_heads_learn_only_with_implicit_exchange(clips, tmp_path):
    for exchange in ("ekem", "ikem"):
        ran = loop(toy(epochs=1), clips, tmp_path / exchange, call={"exchange": exchange})
        before = weights(ran.model.heads)
        ran.run()
        changed = any(not torch.equal(v, before[k]) for k, v in ran.model.heads.state_dict().items())
        assert changed == (exchange == "ikem")


@pytest.mark.parametrize("fresh", [True, False])
def test_published_augmentation_repeats_every_epoch_and_ours_does_not(clips, tmp_path, monkeypatch, fresh):
    first_draw, original = [], Augmentation.__call__

    def noted(self, joints, frames, rng):
        first_draw.append(torch.rand(1, generator=rng.clone_state()).item())
        return original(self, joints, frames, rng)

    monkeypatch.setattr(Augmentation, "__call__", noted)
    loop(toy(fresh_augmentation=fresh, epochs=2), clips, tmp_path).run()
    assert len(first_draw) == 8  # 2 epochs x 2 steps x query and key
    assert len(set(first_draw[:4])) == 4  # steps differ, query and key differ
    assert (first_draw[:4] == first_draw[4:]) is (not fresh)


def test_branches_are_taken_over_by_name(clips):
    six, three = Contrast(toy(), clips.skeleton), Contrast(toy(modalities="joint,bone,rotation_axis"), clips.skeleton)
    heads = weights(three.heads)
    with torch.no_grad():
        for p in six.parameters():
            p.add_(0.1)
    take_over(three, six.state_dict(), six.names)
    for name in three.names:
        for role in ("query", "key"):
            theirs = getattr(six, role)[name].state_dict()
            for k, v in getattr(three, role)[name].state_dict().items():
                assert torch.equal(v, theirs[k])
    assert torch.equal(three.queues.data, six.queues.data[[0, 2, 4]])
    assert all(torch.equal(v, heads[k]) for k, v in three.heads.state_dict().items())  # another width: they start anew
    with pytest.raises(SettingsError, match="stage 1 has no branch for motion"):
        take_over(Contrast(toy(modalities="motion,bone"), clips.skeleton), three.state_dict(), three.names)


def test_learning_rates():
    step, cosine = toy(lr=0.2, lr_drop=0.5), toy(lr=0.2, schedule="cosine", warmup=0.1)
    assert [learning_rate(step, p) for p in (0, 0.49, 0.5, 0.99)] == pytest.approx([0.2, 0.2, 0.02, 0.02])
    assert learning_rate(cosine, 0.05) == pytest.approx(0.1)
    assert learning_rate(cosine, 0.0999999) == pytest.approx(learning_rate(cosine, 0.1), rel=1e-5) == pytest.approx(0.2, rel=1e-5)
    assert learning_rate(cosine, 0.55) == pytest.approx(0.1)
    assert learning_rate(toy(lr=0.2, schedule="cosine"), 0.5) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"topk": 99}, "'topk' must not be above queue=13"),
        ({"seed": -1}, "'seed' must be between 0 and 4294967295"),
        ({"lr": float("inf")}, "'lr' must be above 0 and finite"),
        ({"shear": float("nan")}, "'shear' must be 0 or more and finite"),
        ({"frames": 2}, "'frames' must be 3 or more"),
        ({"dropout": 1.0}, "'dropout' must be between 0 and 0.95"),
        ({"crop_shift": 9}, "'crop_shift' must not be above frames=8"),
        ({"skeleton": "ntu52"}, "unknown skeleton 'ntu52'.*'ntu25'"),
        ({"modalities": "joint,bones"}, "unknown modality 'bones'.*'bone'"),
        ({"epoch": 3}, "unknown setting 'epoch'.*'epochs'"),
        ({"batch": 8.0}, "'batch' must be int, found float"),
    ],
)
def test_settings_out_of_range(given, message):
    with pytest.raises(SettingsError, match=message):
        toy(**given)


def test_one_spelling_for_one_set_of_modalities():
    assert toy(modalities=" bone, joint").modalities == "joint,bone"


def test_a_checkpoint_of_another_stage_is_told(clips, tmp_path):
    loop(toy(), clips, tmp_path).run()
    saved = checkpoints.load(tmp_path / "last.pt")
    with pytest.raises(checkpoints.CheckpointError, match="does not fit this model"):
        checkpoints.load_weights(Contrast(toy(hidden=4), clips.skeleton), saved["model"], "last.pt")


def test_epochs_left_for_exchange(tmp_path):
    exp = Experiment(out=tmp_path, smoke=True, device="cpu", epochs=1)
    with pytest.raises(SettingsError, match="no epoch is left for exchange"):
        exp.exchange()
    with pytest.raises(SettingsError, match="teacher's modalities=joint,bone lack"):
        Experiment(out=tmp_path, smoke=True, device="cpu", modalities="joint,bone").distill()
