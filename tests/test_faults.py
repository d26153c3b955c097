"""Full disks, jumping clocks, too little memory, damaged data, two writers: each has a clear end, and nothing on disk is lost."""

from __future__ import annotations

import csv
import errno
import itertools
import os
import re
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from toy_stage import ENVIRONMENT, after, heard, joints, loop, motion, state, whole  # noqa: F401 - fixtures

from skelmm_core import checkpoints, files, modalities, pipeline
from skelmm_core.augmentation import Augmentation
from skelmm_core.batches import Batches
from skelmm_core.errors import CheckpointError, DataError, TrainingError

pytestmark = pytest.mark.faults
FULL = OSError(errno.ENOSPC, "No space left on device")


# Disks and memory


def test_a_disk_that_fills_up_in_the_middle_keeps_the_last_checkpoint(joints, whole, tmp_path, monkeypatch):
    synced, left = os.fsync, [20]

    def full(file) -> None:
        left[0] -= not stat.S_ISDIR(os.fstat(file).st_mode)
        if left[0] < 0:
            raise FULL
        synced(file)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(CheckpointError, match="can't write .*No space left on device; nothing half written was left behind; free some"):
            loop(joints, tmp_path).run()
    assert not list(tmp_path.glob(".*"))
    assert checkpoints.newest(tmp_path / "last.pt")[0].name == "last.pt"
    loop(joints, tmp_path).run()
    assert state(tmp_path) == whole


@pytest.mark.parametrize("when", ["from the start", "later", "at the end"])
def test_curves_that_can_not_be_written_are_told_once_and_end_nothing(joints, whole, tmp_path, monkeypatch, capsys, when):
    from tensorboard.summary.writer import record_writer

    write, left = record_writer.RecordWriter.write, [{"from the start": 0, "later": 12, "at the end": 10**9}[when]]

    def full(self, data):
        left[0] -= 1
        if left[0] < 0:
            raise FULL
        write(self, data)

    def close(self):
        raise FULL

    monkeypatch.setattr(record_writer.RecordWriter, "write", full)
    monkeypatch.setattr(record_writer.RecordWriter, "close", close)
    printed: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", printed.append)
    loop(joints, tmp_path).run()
    assert not printed and threading.excepthook == printed.append  # no traceback of the thread that writes
    assert capsys.readouterr().err.count("tensorboard': No space left on device; there are no more curves for TensorBoard") == 1
    assert state(tmp_path) == whole


def test_a_clock_that_jumps_changes_nothing(joints, whole, tmp_path, monkeypatch):
    """An hour ahead, a day back, at every look at it: the time of day has no part in what a run computes or writes when."""
    jumps, now = itertools.cycle([3600.0, -86400.0, 0.0]), time.time

    def jumping() -> float:
        return now() + next(jumps)

    monkeypatch.setattr(time, "time", jumping)
    loop(joints, tmp_path).run()
    assert state(tmp_path) == whole
    with open(tmp_path / "log.csv", newline="") as file:
        assert all(0 < float(row["seconds"]) < 60 for row in csv.DictReader(file))


def test_a_folder_that_is_read_only(joints, tmp_path):
    if not os.geteuid():
        pytest.skip("root may write anywhere; a path through a file stands in for it below")
    (tmp_path / "run").mkdir(mode=0o555)
    with pytest.raises(DataError, match="you may not write there"):
        loop(joints, tmp_path / "run" / "stage").run()


def test_a_folder_that_can_not_be(joints, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="can't write .*stage.lock"):
        loop(joints, tmp_path / "file" / "stages" / "stage").run()


def refused() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("error", [refused, lambda: torch.empty(1 << 60)], ids=["GPU", "CPU"])
@pytest.mark.parametrize("where", ["select", "augment", "modalities", "forward", "backward", "enqueue"])
def test_out_of_memory_says_what_to_lower(joints, tmp_path, monkeypatch, where, error):
    running = loop(joints, tmp_path)
    holder, name = {
        "select": (Batches, "select"), "augment": (Augmentation, "__call__"), "modalities": (modalities, "compute"),
        "forward": (running.model, "forward"), "backward": (type(running.fabric), "backward"), "enqueue": (running.model, "enqueue"),
    }[where]  # fmt: skip
    monkeypatch.setattr(holder, name, lambda *_, **__: error())
    with pytest.raises(TrainingError, match="toy on cpu at batch=4: out of memory; lower batch, frames or queue"):
        running.run()


def test_another_error_is_not_taken_for_a_lack_of_memory(joints, tmp_path):
    running = loop(joints, tmp_path)
    running.model.forward = lambda *_: torch.zeros(2) @ torch.zeros(3)
    with pytest.raises(RuntimeError, match="size"):
        running.run()


# Damaged data


def test_a_clip_that_is_damaged_is_named_in_the_middle_of_an_epoch(joints, tmp_path):
    ill = Batches(joints.joints.clone(), joints.frames, joints.labels, joints.index, joints.skeleton)
    ill.joints[7, 0, 3, 5] = float("nan")
    with pytest.raises(TrainingError, match=r"loss of .* is not finite at epoch 1, step \d.*clip 107 \(counted from 0\) are not finite"):
        loop(ill, tmp_path).run()


@pytest.mark.parametrize("bodies", ["all", "present"])
def test_one_damaged_coordinate_of_a_second_body_names_the_clip(joints, tmp_path, bodies):
    two = torch.cat([joints.joints, torch.zeros_like(joints.joints)], dim=-1)
    two[7, 0, 3, 5, 1] = float("nan")
    ill = Batches(two, joints.frames, joints.labels, joints.index, joints.skeleton)
    with pytest.raises(TrainingError, match=r"loss of .* is not finite at epoch 1, step \d.*clip 107 \(counted from 0\) are not finite"):
        loop(ill, tmp_path, bodies=bodies).run()


def test_nan_in_one_modality_names_it_and_spares_the_checkpoint(joints, whole, tmp_path):
    running = loop(joints, tmp_path, on_step=after(7, lambda: running.model.query["bone"].head[2].bias.data.fill_(float("nan"))), every=1e9)
    running.keep = (1,)
    with pytest.raises(TrainingError, match="the loss of bone is not finite at epoch 2, step 3. Try a lower lr"):
        running.run()
    assert not (tmp_path / "last.pt").exists()
    loop(joints, tmp_path).run()
    (tmp_path / "epoch-0001.pt").unlink()
    assert state(tmp_path) == whole


# Two writers


HOLD = """
import sys, time
from pathlib import Path
from skelmm_core.files import alone
with alone(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def hold():
    """A function that has another process work in a folder."""
    running = []

    def start(folder: Path, doing: str) -> subprocess.Popen:
        process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder), doing], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_a_second_writer_is_refused_and_told_who_is_at_it(joints, whole, tmp_path, hold):
    other = hold(tmp_path / "stage", "training")
    with pytest.raises(DataError, match=rf"another process is training '.*stage'; wait until .*\(it is number {other.pid} on .*, since 20"):
        loop(joints, tmp_path / "stage").run()
    assert not (tmp_path / "stage").exists()
    other.kill()  # nothing is left to clear away after that
    other.wait()
    loop(joints, tmp_path / "stage").run()
    assert state(tmp_path / "stage") == whole and not list(tmp_path.glob(".*.lock"))


def test_what_is_finished_is_read_by_any_number(joints, tmp_path, hold):
    rows = loop(joints, tmp_path / "stage").run()
    hold(tmp_path / "stage", "training")
    assert loop(joints, tmp_path / "stage").run() == rows


def test_what_another_one_did_meanwhile_is_taken_over(joints, whole, tmp_path, monkeypatch):
    """It ends between the look at the folder and the lock."""
    from skelmm_core.stages import loop as module

    original, steps = module.alone, []

    def late(*args):
        with monkeypatch.context() as patch:
            patch.setattr(module, "alone", original)
            loop(joints, tmp_path).run()
        return original(*args)

    monkeypatch.setattr(module, "alone", late)
    loop(joints, tmp_path, on_step=steps.append).run()
    assert not steps and state(tmp_path) == whole


def test_two_runs_in_one_folder(motion, tmp_path, hold):
    other = hold(tmp_path / "out", "running notebooks in")
    with pytest.raises(DataError, match=rf"another process is running notebooks in '.*out'; .*it is number {other.pid} on "):
        pipeline.run(["01"], data=motion, out=tmp_path / "out", smoke=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("bad", [7, 20])  # in the middle, and in the last step
def test_a_gradient_that_is_not_finite_gets_into_no_checkpoint(joints, whole, tmp_path, bad):
    """The loss is sound, the gradient is not: no checkpoint holds what would come of it, and the same command goes on from the last one."""
    made = loop(joints, tmp_path)
    (name, weight), left = next((n, p) for n, p in made.model.named_parameters() if p.requires_grad and p.ndim == 4), [bad]

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        left[0] -= 1
        return torch.full_like(gradient, float("nan")) if not left[0] else gradient

    hook = weight.register_hook(spoil)
    where = f"{re.escape(name)} is not finite at epoch {(bad - 1) // 5 + 1}, step {(bad - 1) % 5 + 1}"
    with pytest.raises(TrainingError, match=f"the weight {where}. The last checkpoint .* is unharmed"):
        made.run()
    hook.remove()
    saved = checkpoints.load(tmp_path / "last.pt")
    assert all(torch.isfinite(value).all() for value in saved["model"].values() if value.is_floating_point())
    loop(joints, tmp_path).run()
    assert state(tmp_path) == whole
