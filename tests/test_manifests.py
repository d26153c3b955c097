"""Manifests of stages: every session that had a part in it, damaged ones, and what counts as a clean tree."""

from __future__ import annotations

import json
import subprocess

import pytest
import toy_stage
from command_line import refused

from skelmm_core import files, manifest, verify
from skelmm_core.experiment import Experiment

motion = toy_stage.motion  # a fixture
TINY = dict(
    smoke=True, epochs=4, exchange_from=0.5, modalities="joint,bone", students="joint", frames=8, hidden=2, batch=4, queue=8, device="cpu"
)


def test_every_session_that_trained_a_stage_is_in_its_manifest(motion, tmp_path, monkeypatch):
    commits, versions = [], manifest.versions()
    for commit, until in (("first", 2), ("second", None), ("third", None)):
        monkeypatch.setattr(manifest, "git", lambda commit=commit: {"commit": commit, "clean": commit == "first"})
        monkeypatch.setattr(manifest, "versions", lambda commit=commit: versions | {"torch": commit})
        stage = Experiment(motion, tmp_path, **TINY).pretrain(until=until)
        commits.append([one["git"] for one in json.loads((stage.folder / manifest.NAME).read_text())["sessions"]])
    first, second = {"commit": "first", "clean": True}, {"commit": "second", "clean": False}
    assert commits == [[first], [first, second], [first, second]], "the third found the stage and trained nothing"
    told = json.loads((stage.folder / manifest.NAME).read_text())
    assert told["git"] == first and told["epochs"] == 4
    assert verify._made_otherwise(told) == ["versions.torch: first -> third", "versions.torch: second -> third"]


@pytest.mark.parametrize("content", ["", "[1]", "{", "\x00\x00"])
def test_a_damaged_manifest_of_a_stage_is_set_aside_before_anything_is_trained(motion, tmp_path, capsys, content):
    folder = Experiment(motion, tmp_path, **TINY).pretrain(until=2).folder
    (folder / manifest.NAME).write_text(content)
    stage = Experiment(motion, tmp_path, **TINY).pretrain()
    assert "manifest.json was damaged and is set aside as manifest.json.damaged; it is written anew" in capsys.readouterr().err
    assert (folder / "manifest.json.damaged").read_text() == content
    told = json.loads((folder / manifest.NAME).read_text())
    assert told["epochs"] == 4 and len(told["sessions"]) == 1 and len(stage.rows) == 4


def test_a_tree_with_other_code_in_it_is_not_clean(tmp_path):
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True, capture_output=True)

    package = tmp_path / "skelmm_core"
    package.mkdir()
    (package / "a.py").write_text("x = 1\n")
    git("init")
    git("add", "-A")
    git("commit", "-m", "first")
    assert manifest.git(tmp_path.resolve())["clean"] is True
    (tmp_path / "notes.txt").write_text("no code")
    assert manifest.git(tmp_path.resolve())["clean"] is True
    (package / "b.py").write_text("y = 2\n")
    assert manifest.git(tmp_path.resolve())["clean"] is False
    (package / "b.py").unlink()
    (package / "a.py").write_text("x = 2\n")
    assert manifest.git(tmp_path.resolve())["clean"] is False


def test_only_one_process_exports_to_a_file(motion, tmp_path, capsys):
    file = tmp_path / "a.safetensors"
    words = ("export", "pretrain", file, "--data", motion, "--out", tmp_path, "--smoke", "--device", "cpu")
    with files.alone(file, "exporting to"):
        assert f"another process is exporting to '{file}'; wait until it is done" in refused(capsys, *words)
    assert not file.exists() and not list(tmp_path.glob("*.md"))
