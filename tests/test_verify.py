"""The same answer twice: `skelmm verify` repeats a stage, names what differs, and refuses what it can not repeat."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from toy_stage import TINY, heard, joints, motion  # noqa: F401 - fixtures

from skelmm_core import checkpoints, cli, clips, manifest, verify
from skelmm_core.errors import DataError
from skelmm_core.experiment import Experiment
from skelmm_core.sources import sample

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


def test_another_seed_is_another_manifest(motion, tmp_path, monkeypatch):
    facts = [Experiment(motion, tmp_path, **TINY, seed=seed).facts() for seed in (0, 0, 1)]
    first, again, other = (manifest.identifier(f) for f in facts)
    assert first == again != other
    monkeypatch.setattr(manifest, "code", lambda: "other")
    assert manifest.identifier(facts[0]) != first
