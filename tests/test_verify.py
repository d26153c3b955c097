"""The same answer twice: `skelmm verify` repeats a stage, names what differs, and refuses what it can not repeat."""

from __future__ import annotations

import errno
import json
import re
import shutil
import signal
from pathlib import Path

import pytest
from toy_stage import TINY, heard, joints, motion  # noqa: F401 - fixtures

from skelmm_core import checkpoints, cli, clips, manifest, pipeline, verify
from skelmm_core.errors import CheckpointError, DataError, SettingsError
from skelmm_core.experiment import Experiment
from skelmm_core.sources import sample
from skelmm_core.stages.loop import Loop

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def trained(motion, tmp_path_factory) -> Path:
    """All stages and an exchange of its own."""
    out = tmp_path_factory.mktemp("trained") / "run"
    exp = Experiment(motion, out, **TINY)
    exp.distill()
    exp.exchange(exchange="none")
    return out / "stages"


@pytest.mark.parametrize("stage", ["pretrain", "exchange", "distill"])
def test_verify_repeats_a_stage(trained, stage, capsys):
    for folder in trained.glob(f"{stage}-*"):
        told = json.loads((folder / "manifest.json").read_text())
        assert re.fullmatch("[0-9a-f]{12}", told["id"]) and told["stage"] == stage and told["settings"]["seed"] == 0
        cli.main(["verify", str(folder)])
        shown = capsys.readouterr().out
        assert f"{stage}, " in shown and "tensors and the log: the same again" in shown
        assert not list(folder.parent.glob("*.verify-*"))
    cli.main(["verify", str(folder), "--keep"])
    (kept,) = folder.parent.glob("*.verify-*")
    shutil.rmtree(kept)


def test_a_copy_by_another_name_is_repeated_and_one_of_other_settings_refused(trained, tmp_path):
    (folder,) = trained.glob("pretrain-*")
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert verify.verify(copy).differences == ()
    told = json.loads((copy / "manifest.json").read_text())
    told["settings"]["lr"] *= 2
    (copy / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(SettingsError, match="does not hold what its manifest says: that would be 'pretrain-"):
        verify.verify(copy)


def test_verify_names_what_differs(trained, tmp_path, capsys):
    (folder,) = trained.glob("pretrain-*")
    copy = tmp_path / folder.name
    copy.mkdir()
    for name in ("last.pt", "manifest.json", "settings.json"):
        (copy / name).write_bytes((folder / name).read_bytes())
    saved = checkpoints.load(copy / "last.pt")
    saved["model"]["queues.data"][0, 0, 0] += 1e-7
    saved["rows"][0]["loss"] += 1e-12
    checkpoints.save(copy / "last.pt", saved)
    with pytest.raises(SystemExit) as stop:
        cli.main(["verify", str(copy)])
    shown = capsys.readouterr()
    assert stop.value.code == 1 and "2 differ" in shown.out and "model.queues.data: " in shown.out and "rows.0.loss: " in shown.out
    (kept,) = tmp_path.glob("*.verify-*")
    assert str(kept) in shown.err


def test_verify_refuses_what_it_can_not_repeat(trained, tmp_path, motion):
    with pytest.raises(DataError, match="can't be read as the manifest of a run or stage"):
        verify.verify(tmp_path)
    (folder,) = trained.glob("pretrain-*")
    told = json.loads((folder / "manifest.json").read_text())
    clips.write(tmp_path / "other.clips", sample.read(performers=2, repetitions=1, cameras=1, actions=["kick", "punch"]), progress=False)
    (tmp_path / "manifest.json").write_text(json.dumps({**told, "path": str(tmp_path / "other.clips")}))
    (tmp_path / "last.pt").write_bytes((folder / "last.pt").read_bytes())
    with pytest.raises(DataError, match="holds other clips than the run had"):
        verify.verify(tmp_path)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 2)])
def test_a_repetition_that_is_stopped_does_not_promise_to_go_on(trained, monkeypatch, capsys, number, code):
    (folder,), step = trained.glob("pretrain-*"), Loop.step
    monkeypatch.setattr(Loop, "step", lambda *given: (signal.raise_signal(number), step(*given))[-1])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs tests in the background has it ignored
    with pytest.raises(SystemExit) as stop:
        cli.main(["verify", str(folder)])
    said = capsys.readouterr().err
    assert stop.value.code == code and "the same command begins" in said and "goes on from there" not in said
    assert not list(folder.parent.glob("*.verify-*"))


@pytest.mark.parametrize("stage", ["exchange", "distill"])
def test_a_stage_that_was_killed_at_the_end_of_an_epoch_is_told_not_compared(trained, tmp_path, monkeypatch, stage):
    """Its checkpoint is of no step within an epoch, and the repetition would go on to the last one."""
    folder = next(trained.glob(f"{stage}-*"))
    saved, copy = checkpoints.load(folder / "last.pt"), tmp_path / folder.name
    epochs = saved["epoch"]
    checkpoints.save(copy / "last.pt", saved | {"epoch": epochs - 1, "rows": saved["rows"][:-1]})
    (copy / "manifest.json").write_bytes((folder / "manifest.json").read_bytes())
    monkeypatch.setattr(verify, "Experiment", lambda *_, **__: pytest.fail("repeated"))
    with pytest.raises(DataError, match=f"interrupted after epoch {epochs - 1} of {epochs}; give the command that trained it again"):
        verify.verify(copy)


def test_changed_coordinates_are_noticed_before_training_and_by_verify(motion, tmp_path):
    edited = tmp_path / "edited.clips"
    content = bytearray(motion.read_bytes())
    content[8 + int.from_bytes(content[:8], "little") + 1000] ^= 1  # in the middle of the joints
    edited.write_bytes(content)
    clips.open_clips(motion).check_content()
    with pytest.raises(DataError, match=r"edited\.clips' was damaged or edited: its content is \w+, its header says \w+"):
        clips.open_clips(edited).check_content()
    with pytest.raises(DataError, match="was damaged or edited"):
        Experiment(edited, tmp_path, **TINY).pretrain()
    exp = Experiment(motion, tmp_path / "out", **TINY)
    folder = exp.pretrain().folder
    told = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**told, "path": str(edited)}))
    with pytest.raises(DataError, match="was damaged or edited"):
        verify.verify(folder)
    with pytest.raises(DataError, match="was damaged or edited"):
        _ = Experiment(edited, tmp_path / "evaluated", **TINY).test


def test_a_checkpoint_of_something_else_is_told(motion, tmp_path):
    folder = Experiment(motion, tmp_path, **TINY).pretrain().folder
    saved = checkpoints.load(folder / "last.pt")
    for name in ("last.pt", "last.before.pt"):
        checkpoints.save(folder / name, {k: v for k, v in saved.items() if k not in ("rows", "momentum")})
    with pytest.raises(CheckpointError, match=r"last\.pt' is not a checkpoint of a stage: it lacks rows, momentum"):
        verify.verify(folder)


def test_another_seed_is_another_manifest(motion, tmp_path, monkeypatch):
    facts = [Experiment(motion, tmp_path, **TINY, seed=seed).facts() for seed in (0, 0, 1)]
    first, again, other = (manifest.identifier(f) for f in facts)
    assert first == again != other
    monkeypatch.setattr(manifest, "code", lambda: "other")
    assert manifest.identifier(facts[0]) != first


# What is damaged is told before anything is repeated


def finished(folder: Path, motion: Path, **changes) -> Path:
    """A run with one notebook that came to its end; changes: to what the manifest has of it."""
    key = {"parameters": {"data": str(motion)}, "data": clips.open_clips(motion).content, "source": "0" * 64}
    entry = {"status": "done", "key": key, **changes}
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"notebooks": {"00_data": entry}}))
    (folder / "00_data").mkdir()
    (folder / "00_data" / "metrics.json").write_text("{}")
    return folder


@pytest.fixture
def nothing_repeated(monkeypatch):
    monkeypatch.setattr(pipeline, "run", lambda *_, **__: pytest.fail("repeated"))
    monkeypatch.setattr(verify, "Experiment", lambda *_, **__: pytest.fail("repeated"))


def refused(folder: Path, capsys) -> str:
    """What the command says when it ends with an error of our own; nothing is left beside the folder."""
    with pytest.raises(SystemExit) as stop:
        cli.main(["verify", str(folder)])
    assert stop.value.code == 2 and not list(folder.parent.glob("*.verify-*"))
    return capsys.readouterr().err


STAGE = {"stage": "pretrain", "path": "sample", "data": {"content": "0"}, "preset": "quick", "device": "cpu", "smoke": True, "settings": {}}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[" * 100_000, "RecursionError"),
        ([1], "expected an object, found [1]"),
        ({}, "expected an object as 'notebooks', found none"),
        ({"notebooks": {"02": 3}}, "expected an object as 'notebooks.02', found 3"),
        ({"notebooks": {"00_data": {"status": "done"}}}, "expected an object as 'notebooks.00_data.key', found none"),
        ({"notebooks": {"00_dat": {"status": "done", "key": {}}}}, "no notebook is called '00_dat'; did you mean '00_data'?"),
        ({"notebooks": {}, "sessions": [3]}, "expected an object for each of 'sessions', found 3"),
        ({"stage": "pretrain"}, "expected a text as 'path', found none"),
        ({**STAGE, "stage": "features"}, "expected one of pretrain, exchange, distill as 'stage', found features"),
        ({**STAGE, "data": 3}, "expected a text as 'data.content', found none"),
        ({**STAGE, "smoke": "yes"}, "expected true or false as 'smoke', found yes"),
        ({**STAGE, "settings": {"data": "x"}}, "the stage pretrain knows no setting 'data'"),
        ({**STAGE, "changes": {"epochs": 3}}, "the stage pretrain knows no setting 'epochs'"),
    ],
)  # fmt: skip
def test_a_damaged_manifest_is_told_with_what_was_expected(tmp_path, capsys, nothing_repeated, content, told):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text(content if isinstance(content, str) else json.dumps(content))
    shown = refused(tmp_path / "run", capsys)
    assert f"{tmp_path / 'run' / 'manifest.json'}' can't be read as the manifest of a run or stage" in shown
    assert told in shown and "name a folder that `skelmm run` or `skelmm train` wrote" in shown


@pytest.mark.parametrize("missing", ["source", "data", "parameters"])
def test_a_notebook_without_what_repeats_it_is_told(motion, tmp_path, capsys, nothing_repeated, missing):
    whole = json.loads((finished(tmp_path / "whole", motion) / "manifest.json").read_text())["notebooks"]["00_data"]["key"]
    folder = finished(tmp_path / "run", motion, key={k: v for k, v in whole.items() if k != missing})
    assert f"expected a text as 'notebooks.00_data.key.{missing}" in refused(folder, capsys)


@pytest.mark.parametrize("damage", ["gone", "torn"])
def test_figures_that_are_gone_are_told_first(motion, tmp_path, capsys, nothing_repeated, damage):
    file = finished(tmp_path / "run", motion) / "00_data" / "metrics.json"
    file.unlink() if damage == "gone" else file.write_text('{"headline": ')
    shown = refused(tmp_path / "run", capsys)
    assert f"can't read '{file}', the figures of a notebook that came to its end: " in shown
    assert ("No such file" if damage == "gone" else "Expecting value") in shown and "run the same command again" in shown


@pytest.mark.parametrize("kind", ["run", "stage"])
def test_a_place_where_nothing_can_be_made_is_told(trained, motion, tmp_path, capsys, monkeypatch, nothing_repeated, kind):
    folder = finished(tmp_path / "run", motion) if kind == "run" else next(trained.glob("pretrain-*"))

    def read_only(prefix: str, dir: Path) -> str:
        raise OSError(errno.EROFS, "Read-only file system", str(dir / prefix))

    monkeypatch.setattr(verify.tempfile, "mkdtemp", read_only)
    shown = refused(folder, capsys)
    assert f"can't write '{folder}.verify-…': Read-only file system; " in shown
    assert "nothing was repeated; the disk is read-only" in shown
