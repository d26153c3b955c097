"""What the tests of kills, torn files, faults and repetition share: clips and stages of a second, and what a stage has come to."""

from __future__ import annotations

import csv
import os
import signal
from pathlib import Path

import pytest
import torch

from skelmm_core import checkpoints, clips, settings, verify
from skelmm_core.batches import Batches
from skelmm_core.experiment import make_fabric
from skelmm_core.skeletons import KINECT20
from skelmm_core.sources import sample
from skelmm_core.stages.contrast import Contrast
from skelmm_core.stages.loop import Loop

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
TINY = dict(preset="described", device="cpu", smoke=True, modalities="joint,bone", students="joint", hidden=4, features=16, embedding=8,
            frames=16, batch=4, queue=24, epochs=4, student_epochs=2, dropout=0.3, teacher_mode="train", precision="32-true")  # fmt: skip


@pytest.fixture(autouse=True)
def heard():
    """Ctrl-C is heard here and in children, also where these tests run in the background, which shells start with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def motion(tmp_path_factory) -> Path:
    """24 generated clips, half of which train: three steps an epoch."""
    path = tmp_path_factory.mktemp("clips") / "motion.clips"
    clips.write(path, sample.read(performers=4, repetitions=2, cameras=1, actions=["kick", "punch", "drink"]), progress=False)
    return path


@pytest.fixture(scope="module")
def joints() -> Batches:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(20, 3, 16, 20, 1, generator=rng).cumsum(2) * 0.05
    return Batches(x, torch.full((20,), 16), torch.arange(20) % 4, torch.arange(100, 120), KINECT20)


def loop(joints: Batches, folder: Path, every: float = -1.0, bodies: str = "all", **kwargs) -> Loop:
    """Stage 1, four epochs of five steps, a checkpoint after each."""
    sizes = {k: v for k, v in TINY.items() if k not in ("preset", "device", "smoke", "students", "student_epochs", "teacher_mode")}
    own = settings.resolve("exchange", "described", smoke=True, bodies=bodies, **sizes)
    return Loop(make_fabric("cpu", "32-true"), Contrast(own, joints.skeleton), own, joints, folder, "toy", own.epochs, save_every=every,
                **kwargs)  # fmt: skip


def save_after(seconds: float, patch: pytest.MonkeyPatch) -> None:
    """Stages that begin from now on save their checkpoint when so many seconds have passed since the last; -1: after every step.

    An attribute of the class would not do: `Loop` is a dataclass, and each of its objects has its own.
    """
    run = Loop.run
    patch.setattr(Loop, "run", lambda self, *args: (setattr(self, "save_every", seconds), run(self, *args))[1])


def state(folder: Path) -> dict:
    """All that a stage has come to: digests of weights, statistics, queues and momenta, rows of the log, both of the files that hold it."""
    found = {}
    for path in sorted([folder / "last.pt", *folder.glob("epoch-*.pt")]):
        saved = checkpoints.load(path)
        found[path.name] = {"rows": verify.untimed(saved["rows"]), "epoch": saved["epoch"], **verify.digests(saved)}
        assert saved["steps"] is None
    with open(folder / "log.csv", newline="") as file:
        found["log.csv"] = [verify.untimed(row) for row in csv.DictReader(file)]
    return found


@pytest.fixture(scope="module")
def whole(joints, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("whole")
    loop(joints, folder, every=1e9).run()
    return state(folder)


def after(count: int, what=KeyboardInterrupt):
    """An `on_step` that raises or does something at the count-th step."""
    left = [count]

    def on_step(row) -> None:
        left[0] -= 1
        if not left[0]:
            if isinstance(what, type):
                raise what
            what()

    return on_step
