"""Training, and notebooks, over and over: memory, files, threads and processes stay as they are.

In the default suite for some seconds; `make soak` for an hour of training (SKELMM_SOAK seconds) and 200 notebook runs (SKELMM_SOAK_RUNS).
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import numpy as np
import psutil
import pytest
import torch

from skelmm_core import clips, pipeline
from skelmm_core.errors import NotebookError
from skelmm_core.experiment import Experiment
from skelmm_core.sources import sample

pytestmark = pytest.mark.soak
SECONDS = float(os.environ.get("SKELMM_SOAK", "16"))  # three quarters of them for stages from the start, a quarter for one long run
RUNS = int(os.environ.get("SKELMM_SOAK_RUNS", "3"))
WARM = 3  # rounds at least before anything is compared: imports, caches, the allocator's first pages
PATIENCE = 60.0  # seconds more while something rises: a warm-up comes to its end, a leak does not
RISE = {"MiB": 24.0, "objects": 2000.0}  # that the straight line through the samples may rise in all; every other count by nothing
TINY = dict(preset="described", device="cpu", smoke=True, modalities="joint,bone", students="joint", hidden=4, features=16, embedding=8,
            frames=16, batch=4, queue=24, dropout=0.3, precision="32-true")  # fmt: skip
ME = psutil.Process()


@dataclass
class Watch:
    """Samples of what a process holds, said as plain lines, and whether they stay level."""

    name: str
    quiet: float = 20.0  # seconds between lines
    samples: list[dict[str, float]] = field(default_factory=list)
    _told: float = field(default=-1e9, init=False)
    _judged: float = field(default=-1e9, init=False)
    _began: float = field(default_factory=time.monotonic, init=False)

    def sample(self, number: int) -> None:
        gc.collect()
        give_back()
        kinds = [type(o) for o in gc.get_objects()]
        now = {
            "MiB": ME.memory_info().rss / 2**20, "objects": len(kinds), "tensors": sum(issubclass(k, torch.Tensor) for k in kinds),
            "open files": ME.num_fds(), "threads": ME.num_threads(), "children": len(ME.children(recursive=True)),
        }  # fmt: skip
        del kinds
        self.samples.append(now)
        if time.monotonic() - self._told > self.quiet:
            self._told = time.monotonic()
            told = ", ".join(f"{value:.0f} {what}" for what, value in now.items())
            print(f"{self.name}, round {number}, {time.monotonic() - self._began:.0f} s: {told}", file=sys.stderr, flush=True)

    def wants_more(self, seconds: float) -> bool:
        """Whether time is left, or the samples are too few to tell, or something rises that may yet come to its end."""
        past = time.monotonic() - self._began
        return past < seconds or len(self.samples) < WARM + 4 or (past < seconds + PATIENCE and self.risen() != {})

    def risen(self) -> dict[str, float]:
        """What does not stay level, and by how much it rises from the first sample after the warm-up to the last.

        The warm-up is the first half: memory of a process that was busy with something else before settles over many rounds, ever more
        slowly, where a leak rises in the second half as it did in the first.
        """
        told = self.samples[max(WARM, len(self.samples) // 2) :]
        assert len(told) >= 3, f"{len(self.samples)} rounds are too few to tell; give SKELMM_SOAK more seconds"
        rises = {what: rise([s[what] for s in told]) for what in told[0]}
        if time.monotonic() - self._judged > self.quiet:
            self._judged = time.monotonic()
            print(f"{self.name}, {len(told)} rounds: " + ", ".join(f"{what} {r:+.1f}" for what, r in rises.items()), file=sys.stderr)
        return {what: r for what, r in rises.items() if r > RISE.get(what, 0.5)}


def give_back() -> None:
    """Has the C library hand free pages back to the system, so that what is held is counted, not what was once; glibc alone can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def rise(values: list[float]) -> float:
    """Of the least-squares line through evenly spaced values, from the first to the last."""
    return float(np.polyfit(np.arange(len(values)), values, 1)[0] * (len(values) - 1))


def tree(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


@pytest.fixture(scope="module")
def motion(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "motion.clips"
    clips.write(path, sample.read(performers=4, repetitions=1, cameras=1, actions=["kick", "punch"]), progress=False)
    return path


# The measure itself


@pytest.mark.parametrize(
    ("what", "per_round", "leaks"),
    [
        ("MiB", 0.0, False),
        ("MiB", 0.5, False),
        ("MiB", 2.0, True),
        ("tensors", 0.05, True),
        ("children", 0.05, True),
        ("threads", -1, False),
    ],
)
def test_a_leak_is_told_from_noise(what, per_round, leaks):
    rng, watch = np.random.default_rng(0), Watch("made up")
    for number in range(WARM + 40):
        level = {"MiB": 500 + rng.normal(0, 4), "tensors": 100, "children": 1, "threads": 9}
        watch.samples.append(level | {what: level[what] + per_round * number})
    watch.samples[0]["MiB"] = 100  # before the warm-up
    assert list(watch.risen()) == ([what] if leaks else [])
    watch._began -= 1.5  # a second is over
    assert watch.wants_more(2.0) and watch.wants_more(1.0) is leaks
    watch._began -= PATIENCE
    assert not watch.wants_more(1.0)


def test_what_is_held_is_counted():
    watch, held = Watch("here"), []
    watch.sample(0)
    held += [torch.zeros(1) for _ in range(5)]
    with tempfile.TemporaryFile():
        watch.sample(1)
    before, after = watch.samples
    assert after["tensors"] == before["tensors"] + len(held) and after["open files"] == before["open files"] + 1


# Training


def test_stages_trained_over_and_over_leave_nothing(motion, tmp_path):
    watch, trees = Watch("training"), []
    while watch.wants_more(0.75 * SECONDS):
        exp = Experiment(motion, tmp_path, epochs=4, student_epochs=2, **TINY)
        assert not exp.distill().found
        del exp
        trees.append(tree(tmp_path))
        shutil.rmtree(tmp_path / "stages")
        watch.sample(len(watch.samples) + 1)
    assert watch.risen() == {}
    kinds = {"last.pt", "last.before.pt", "epoch-0002.pt", "log.csv", "settings.json", "manifest.json", "tensorboard"}
    files = [[name for name in found if "tfevents" not in name] for found in trees]  # whose names hold time and process
    assert all(found == files[0] for found in files) and all(len(found) == len(trees[0]) for found in trees)
    assert {Path(name).name for name in files[0] if name.count("/") > 1} <= kinds


class _Enough(Exception):
    pass


def test_one_long_run_stays_level(motion, tmp_path):
    watch = Watch("one run")

    def on_epoch(epoch: int, rows: list) -> None:
        if epoch % (20 if SECONDS > 60 else 2) == 0:
            watch.sample(epoch)
        if not watch.wants_more(0.25 * SECONDS):
            raise _Enough

    exp = Experiment(motion, tmp_path, epochs=100_000, on_epoch=on_epoch, **TINY)
    with pytest.raises(_Enough):
        exp.pretrain()
    assert watch.risen() == {}


# Notebooks

HEAD = """\
data: str = "sample"  # clips file
out: str = "outputs/run"  # folder
smoke: bool = False  # toy sizes
device: str = "cpu"  # where it trains
turn: int = 0  # which run this is
stops: bool = False  # stop half way
"""
BODY = """\
import json
from skelmm_core.experiment import Experiment

trained = Experiment(data, out, device=device, smoke=smoke, modalities="joint", hidden=4, batch=4, queue=8).pretrain()
assert not stops, "as asked"
metrics = {"headline": {"turn": turn, "epochs": len(trained.rows)}, "signs_of_failure": []}
with open(f"{out}/02_train/metrics.json", "w") as file:
    json.dump(metrics, file)
"""


@pytest.fixture
def places(monkeypatch) -> Iterator[dict[str, Path]]:
    """Folders of this test alone for whatever notebooks leave outside their tree; a short name, since sockets lie in one of them."""
    with tempfile.TemporaryDirectory(prefix="soak-") as home:
        found = {name: Path(home, part) for name, part in {"TMPDIR": "t", "JUPYTER_RUNTIME_DIR": "r", "IPYTHONDIR": "i"}.items()}
        for name, folder in found.items():
            folder.mkdir()
            monkeypatch.setenv(name, str(folder))
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield found


def begun_here(mark: str) -> set[int]:
    """Processes, whoever their parent is by now, that have the environment of this test."""
    found = set()
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.add(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def test_notebooks_run_over_and_over_leave_nothing(motion, tmp_path, places):
    folder, out, watch = tmp_path / "notebooks", tmp_path / "out", Watch("notebooks")
    cells = [nbformat.v4.new_code_cell(HEAD, metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell(BODY)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    folder.mkdir()
    (out / "02_train").mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(metadata={"kernelspec": kernel}, cells=cells), folder / "02_train.ipynb")
    left: list[tuple] = []

    def look() -> tuple:
        kept = [name for name in tree(out) if "failed" not in name and "tfevents" not in name]
        return kept, {name: tree(place) for name, place in places.items()}, begun_here(str(places["TMPDIR"]))

    for turn in range(1, RUNS + 1):
        options = dict(data=motion, out=out, smoke=True, device="cpu", folder=folder, say=lambda line: None)
        (result,) = pipeline.run(given={"turn": turn}, **options)
        assert not result.found and result.headline["turn"] == turn and not list(out.glob("*.failed.ipynb"))
        left.append(look())
        if turn % 10 == 2:
            with pytest.raises(NotebookError, match="as asked"):
                pipeline.run(given={"turn": turn, "stops": True}, **options)
            left.append(look())
        watch.sample(turn)
    for found in left:
        assert found == left[0]
    assert left[0][1]["TMPDIR"] == left[0][1]["JUPYTER_RUNTIME_DIR"] == []
    if len(watch.samples) > WARM + 2:
        assert watch.risen() == {}
    assert json.loads((out / "manifest.json").read_text())["notebooks"].keys() == {"02_train"}
