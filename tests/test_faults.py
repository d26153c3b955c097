"""Kills, torn files, full disks, two writers, signals, no network: whatever happens, a run ends as if nothing had, or says what to do.

In the default suite a few random places are tried; `make faults` tries many (SKELMM_FAULTS of them, SKELMM_FAULTS_SEED names others).
"""

from __future__ import annotations

import ast
import csv
import errno
import itertools
import json
import os
import random
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from skelmm_core import checkpoints, cli, clips, files, manifest, pipeline, settings, verify
from skelmm_core.batches import Batches
from skelmm_core.errors import CheckpointError, DataError, InterruptedWork, TrainingError
from skelmm_core.experiment import Experiment, make_fabric
from skelmm_core.skeletons import KINECT20
from skelmm_core.sources import sample
from skelmm_core.stages.contrast import Contrast
from skelmm_core.stages.loop import Loop
from skelmm_core.stopping import Stopping

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parents[1]
TIMES = int(os.environ.get("SKELMM_FAULTS", "4"))
SEED = int(os.environ.get("SKELMM_FAULTS_SEED", "0"))
LONG = "SKELMM_FAULTS" in os.environ
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
STAGES = ("pretrain", "exchange", "distill")
TINY = dict(preset="described", device="cpu", smoke=True, modalities="joint,bone", students="joint", hidden=4, features=16, embedding=8,
            frames=16, batch=4, queue=24, epochs=4, student_epochs=2, dropout=0.3, teacher_mode="train", precision="32-true")  # fmt: skip
FULL = OSError(errno.ENOSPC, "No space left on device")


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


# Killed


def rounds(data: str, out: Path, stage: str, seed: int, times: int) -> list[str]:
    """Train a stage once in a child process that is left alone; then again and again in children that are killed at random places, each
    going on from what the one before it left, until one comes to its end and the stage is begun anew; `times` kills in all.

    Returns where they were killed. Raises `AssertionError` where an end is not the one that was not interrupted. Children are forked, so
    that torch is imported once.
    """
    rng, told, wanted = random.Random(f"{seed} {stage}"), [], None
    while len(told) < times:
        for folder in (out / "stages").glob(f"{stage}-*"):
            shutil.rmtree(folder)
        place, killed = "", wanted is not None
        while killed:
            where, count, share = rng.choice(["step", "write", "rename", "written", "time"]), rng.randint(1, 6), rng.random()
            place, every, seconds = f"{where} {count}", rng.choice([-1.0, -1.0, 0.05, 1e9]), rng.uniform(0.02, 0.6)
            killed = trained_in_a_child(data, out, stage, (where, count, share, seconds), every if len(told) % 4 else -1.0)
            told += [place] * killed
            if len(told) >= times:
                break
        trained_in_a_child(data, out, stage, None, 1e9)
        (folder,) = (out / "stages").glob(f"{stage}-*")
        wanted = wanted or state(folder)
        assert state(folder) == wanted, f"another end after kills at {told}"
    return told


def trained_in_a_child(data: str, out: Path, stage: str, kill: tuple | None, every: float) -> bool:
    """Whether it was killed."""
    child = os.fork()
    if not child:
        code = 1
        try:
            Loop.save_every = every
            exp = Experiment(data, out, **TINY)
            if kill:
                deadly(*kill)
            getattr(exp, stage)()
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or not status, "it ended by itself, with an error"
    return killed


def deadly(where: str, count: int, share: float, seconds: float) -> None:
    """Kill this process: after the count-th step, in the middle of the count-th write to a checkpoint, just before or after the count-th
    file takes its name, or after some time."""
    left = [count]

    def strikes() -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    if where == "time":
        killer = f"import os, sys, time; time.sleep({seconds}); os.kill({os.getpid()}, 9)"
        subprocess.Popen([sys.executable, "-S", "-c", killer])
    elif where == "step":
        step = Loop.step
        Loop.step = lambda *args: (step(*args), strikes())[0]
    elif where == "write":
        original = checkpoints.replacing

        class Half:
            def __init__(self, path, error):
                self.inner = original(path, error)

            def __enter__(self):
                self.file = self.inner.__enter__()
                return self

            def __exit__(self, *args):
                return self.inner.__exit__(*args)

            def write(self, content):
                self.file.write(content[: int(len(content) * share)])
                self.file.flush()
                strikes()
                self.file.write(content[int(len(content) * share) :])

            def __getattr__(self, name):
                return getattr(self.file, name)

        checkpoints.replacing = Half
    else:
        replace = os.replace

        def replaced(*args):
            if where == "rename":
                strikes()
            replace(*args)
            if where == "written":
                strikes()

        os.replace = replaced


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_random_places_a_stage_ends_as_one_that_was_not(stage, motion, tmp_path):
    """SIGKILL after a step, in the middle of a checkpoint's write, between its renames, and at any time."""
    command = [sys.executable, __file__, str(motion), str(tmp_path), stage, str(SEED), str(TIMES)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120 + 20 * TIMES)
    assert done.returncode == 0, done.stderr[-3000:]
    killed = json.loads(done.stdout.splitlines()[-1])
    print(f"\n{stage} killed at: {', '.join(killed)}")
    assert len(killed) == TIMES
    assert not [p for p in tmp_path.rglob(".*.part") if time.time() - p.stat().st_mtime > files.STALE]


@pytest.mark.parametrize("lost", ["steps", "momentum", "model"])
def test_all_that_a_checkpoint_holds_is_needed(joints, whole, tmp_path, monkeypatch, lost):
    """The comparison sees a row, a momentum, a weight that is not restored: it could fail."""
    with pytest.raises(KeyboardInterrupt):
        loop(joints, tmp_path, on_step=after(8)).run()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "newest", lambda path: forgotten(path, lost))
        loop(joints, tmp_path).run()
    assert state(tmp_path) != whole


_newest = checkpoints.newest


def forgotten(path: Path, what: str):
    found = _newest(path)
    if found:
        found[1][what] = None if what == "steps" else {k: torch.zeros_like(v) for k, v in found[1][what].items()}
    return found


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


# Asked to stop


@pytest.mark.parametrize("steps", [1, 3, 5, 13])  # at the start, in the middle and at the end of an epoch
@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, InterruptedWork)])
def test_a_signal_ends_after_the_step_with_a_checkpoint(joints, whole, tmp_path, steps, number, error):
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    done: list[dict] = []
    asks = after(steps, lambda: os.kill(os.getpid(), number))
    with pytest.raises(error, match=f"toy: a checkpoint was written after epoch {(steps - 1) // 5 + 1}, step {(steps - 1) % 5 + 1}"):
        loop(joints, tmp_path, every=1e9, on_step=lambda row: (done.append(row), asks(row))).run()
    assert len(done) == steps and [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    saved = checkpoints.load(tmp_path / "last.pt")
    assert saved["epoch"] * 5 + len(saved["steps"]) == steps
    more: list[dict] = []
    loop(joints, tmp_path, every=1e9, on_step=more.append).run()
    assert len(more) == 20 - steps and state(tmp_path) == whole


def test_a_second_ctrl_c_ends_at_once_and_other_handlers_stay():
    with pytest.raises(KeyboardInterrupt), Stopping() as stopping:
        os.kill(os.getpid(), signal.SIGINT)
        assert stopping.asked == signal.SIGINT
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("it went on")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Stopping() as stopping:
            os.kill(os.getpid(), signal.SIGINT)
        assert stopping.asked is None and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(KeyboardInterrupt), Stopping():  # it comes when nobody looks any more
        os.kill(os.getpid(), signal.SIGINT)


SLOWLY = """
import sys, time
from skelmm_core import cli
from skelmm_core.stages.loop import Loop
step = Loop.step
Loop.step = lambda *a: (print("step", flush=True), time.sleep(0.1), step(*a))[-1]
cli.main(sys.argv[1:])
"""


def test_ctrl_c_on_the_command_line(motion, tmp_path, capsys):
    words = ["train", "pretrain", "--data", str(motion), "--smoke", "--modalities", "joint,bone", "--device", "cpu", "--epochs", "8",
             "--batch", "4"]  # fmt: skip
    command = [sys.executable, "-c", SLOWLY, *words, "--out", str(tmp_path / "stopped")]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(8):
        assert process.stdout.readline() == "step\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command goes on from there" in errors and "Traceback" not in errors
    (folder,) = (tmp_path / "stopped" / "stages").glob("pretrain-*")
    saved = checkpoints.load(folder / "last.pt")
    assert saved["epoch"] * 3 + (0 if saved["steps"] is None else len(saved["steps"])) >= 8 and saved["epoch"] < 8
    for name in ("stopped", "whole"):
        cli.main([*words, "--out", str(tmp_path / name)])
    assert state(folder) == state(tmp_path / "whole" / "stages" / folder.name)


@pytest.mark.skipif(not LONG, reason="half a minute: with `make faults`")
def test_one_of_two_processes_that_is_asked_to_stop_stops_both_in_the_same_step(motion, tmp_path):
    from test_processes import free_port, srun

    words = ["train", "pretrain", "--data", str(motion), "--smoke", "--modalities", "joint,bone", "--device", "cpu", "--epochs", "8",
             "--batch", "4", "--out", str(tmp_path)]  # fmt: skip
    port, program = free_port(), SLOWLY.replace('print("step", flush=True)', 'print("step", file=sys.stderr, flush=True)')
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, *words], env=srun(n, port), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for n in range(2)
    ]
    for _ in range(5):
        while "step" not in running[1].stderr.readline():
            assert running[1].poll() is None
    running[1].send_signal(signal.SIGTERM)
    errors = [process.communicate(timeout=60)[1] for process in running]
    assert [process.returncode for process in running] == [2, 2], errors
    where = [re.search(r"a checkpoint was written after epoch (\d), step (\d); stopped by a signal", error) for error in errors]
    assert where[0] and where[0].groups() == where[1].groups(), errors
    (folder,) = (tmp_path / "stages").glob("pretrain-*")
    saved = checkpoints.load(folder / "last.pt")
    assert (saved["epoch"] + 1, len(saved["steps"])) == tuple(map(int, where[0].groups()))
    cli.main(words)
    assert len(checkpoints.load(folder / "last.pt")["rows"]) == 8


# Torn files


def torn(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "empty":
        content = b""
    elif how == "cut short":
        content = content[: len(content) * 2 // 3]
    elif how == "a hole":
        content[len(content) // 2 : len(content) // 2 + 4096] = bytes(4096)
    elif how == "one bit":
        content[len(content) // 3] ^= 4
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(content)


@pytest.mark.parametrize("how", ["empty", "cut short", "a hole", "one bit", "gone"])
def test_a_torn_checkpoint_falls_back_to_the_one_before(joints, whole, tmp_path, how, capsys):
    with pytest.raises(KeyboardInterrupt):
        loop(joints, tmp_path, on_step=after(8)).run()
    last, before = tmp_path / "last.pt", tmp_path / "last.before.pt"
    assert [len(checkpoints.load(p)["steps"]) for p in (last, before)] == [2, 1]  # of the second epoch; the eighth step was not saved
    torn(last, how)
    capsys.readouterr()
    good = before.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        loop(joints, tmp_path, every=1e9, on_step=after(1)).run()
    told = capsys.readouterr().err
    if how == "gone":
        assert "can't be read" not in told
    else:
        assert "last.pt" in told and "can't be read as a checkpoint" in told and "going on from the checkpoint before it" in told
    steps: list[dict] = []
    loop(joints, tmp_path, on_step=steps.append).run()
    assert len(steps) == 14 and state(tmp_path) == whole
    assert good != before.read_bytes()


def test_a_torn_file_never_takes_the_place_of_the_good_one_before(joints, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        loop(joints, tmp_path, on_step=after(8)).run()
    good = (tmp_path / "last.before.pt").read_bytes()
    torn(tmp_path / "last.pt", "cut short")
    with monkeypatch.context() as patch:
        replace = os.replace

        def killed(source, target) -> None:
            if Path(target).name == "last.pt":  # where the new one takes its name
                raise KeyboardInterrupt
            replace(source, target)

        patch.setattr(files.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            loop(joints, tmp_path).run()
    assert (tmp_path / "last.before.pt").read_bytes() == good


def test_when_both_are_torn_it_is_said(joints, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        loop(joints, tmp_path, on_step=after(8)).run()
    for name in ("last.pt", "last.before.pt"):
        torn(tmp_path / name, "cut short")
    with pytest.raises(CheckpointError, match=r"last\.before\.pt \(\d+ bytes\) can't be read .* delete it to train this stage"):
        loop(joints, tmp_path).run()


def killed_here(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("how", ["cut short", "gone"])
def test_a_torn_checkpoint_between_stages_is_made_again(motion, tmp_path, how, capsys):
    """Stage 2 starts from a checkpoint that stage 1 keeps; the last one of stage 1 holds the same."""
    exp = Experiment(motion, tmp_path, **TINY)
    exp.exchange()
    (kept,) = (tmp_path / "stages").glob("pretrain-*/epoch-*.pt")
    wanted = verify.digests(checkpoints.load(kept))
    torn(kept, how)
    capsys.readouterr()
    other = exp.again(exchange="ikem")
    other.exchange()
    assert ("set aside as" in capsys.readouterr().err) == (how != "gone")
    assert verify.digests(checkpoints.load(kept)) == wanted and kept.with_suffix(".torn").exists() == (how != "gone")
    other.pretrain()  # to its end, so that nothing is left of that moment
    torn(kept, how)
    ended = verify.digests(checkpoints.load(kept.parent / "last.pt"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "_put_back", killed_here)
        with pytest.raises(KeyboardInterrupt):  # a kill between its end and its place
            other.again(exchange="ekem").exchange()
    other.again(exchange="ekem").exchange()
    assert "is trained again up to there" in capsys.readouterr().err
    assert verify.digests(checkpoints.load(kept)) == wanted and not list(kept.parent.glob("again*"))
    assert verify.digests(checkpoints.load(kept.parent / "last.pt")) == ended


def test_any_changed_byte_is_seen_and_files_without_a_checksum_are_read(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    content = {"x": torch.randn(300, generator=torch.Generator().manual_seed(0)), "rows": [{"epoch": 1, "loss": 0.5}]}
    checkpoints.save(path, content)
    written = path.read_bytes()
    assert torch.equal(torch.load(path, weights_only=True)["x"], content["x"])
    rng, end = random.Random(SEED), len(written) - len(checkpoints.MARK) - 32

    def flipped(data: bytes, place: int) -> bytes:
        return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]

    places = (0, end - 1, end, len(written) - 1, *(rng.randrange(len(written)) for _ in range(200)), *range(end, len(written), 5))
    damaged = [flipped(written, place) for place in places]
    cut = [written[:-n] for n in range(1, len(written) - end + 1)]
    damaged += [*cut, written + b"\0", written[:end] + bytes(len(written) - end), *(flipped(data, rng.randrange(end)) for data in cut[::5])]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match="can't be read as a checkpoint|not a skelmm checkpoint"):
            checkpoints.load(path)
    monkeypatch.setattr(checkpoints, "FORMAT", checkpoints.BEFORE)
    checkpoints.save(path, content)
    monkeypatch.undo()
    old = path.read_bytes()
    for data in (old, old[: old.rindex(checkpoints.MARK)]):
        path.write_bytes(data)
        assert torch.equal(checkpoints.load(path)["x"], content["x"])


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
    loop(joints, tmp_path).run()
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
def test_out_of_memory_says_what_to_lower(joints, tmp_path, error):
    running = loop(joints, tmp_path)
    running.model.forward = lambda *_: error()
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


# The same answer twice


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


# No network, nothing executed


GUARD = """
import os, sys

def refuse(event, args):
    address = None
    if event in ("socket.connect", "socket.sendto", "socket.bind"):
        address = args[1]
    elif event == "socket.getaddrinfo":
        address = (args[0],)
    if isinstance(address, tuple) and not str(address[0] or "").startswith(("127.", "::1", "localhost", "b'localhost")) and address[0]:
        with open(os.environ["GUARD"], "a") as file:
            file.write(f"refused {event} {address}\\n")
        raise OSError("refused: only this machine may be talked to")

sys.addaudithook(refuse)
with open(os.environ["GUARD"], "a") as file:
    file.write(f"guarded {os.getpid()}\\n")
"""


@pytest.fixture
def guarded(tmp_path) -> dict[str, str]:
    """An environment in which all Python processes refuse to talk to other machines, and note that they were asked to."""
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    return {**ENVIRONMENT, "PYTHONPATH": f"{tmp_path / 'guard'}{os.pathsep}{ROOT}", "GUARD": str(tmp_path / "guard.log")}


def test_the_guard_refuses(guarded):
    program = """
import socket
for ask in (lambda: socket.create_connection(("192.0.2.1", 9)), lambda: socket.getaddrinfo("example.org", 80)):
    try:
        ask()
    except OSError as problem:
        print(problem)
"""
    done = subprocess.run([sys.executable, "-c", program], env=guarded, capture_output=True, text=True, timeout=60)
    assert done.stdout.count("refused: only this machine") == 2, done
    assert Path(guarded["GUARD"]).read_text().count("refused") >= 2


def test_a_run_needs_no_network_and_is_verified(guarded, tmp_path):
    """`skelmm run`, then `skelmm verify` of it, both with all other machines out of reach; the manifest's ids are where they should be."""
    out, chosen = tmp_path / "run", [] if LONG else ["--notebooks", "00,02", "-p", "modalities=joint,bone"]
    command = [sys.executable, "-m", "skelmm_core"]
    done = subprocess.run([*command, "run", "--smoke", "--device", "cpu", "--out", str(out), *chosen], env=guarded, capture_output=True,
                          text=True, timeout=600)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = Path(guarded["GUARD"]).read_text().splitlines()
    assert sum(line.startswith("guarded") for line in lines) >= 3, "the command, papermill's process and the kernel"
    assert not [line for line in lines if line.startswith("refused")]
    told, page = json.loads((out / "manifest.json").read_text()), (out / "report.html").read_text()
    assert told["id"] in page and told["notebooks"]
    for name, entry in told["notebooks"].items():
        own = json.loads((out / name / "manifest.json").read_text())["id"]
        assert own == entry["manifest"] == json.loads((out / name / "metrics.json").read_text())["run"]["manifest"]
        assert f"manifest {own}" in (out / f"{name}.ipynb").read_text() and own in page
    again = subprocess.run([*command, "verify", str(out)], env=guarded, capture_output=True, text=True, timeout=600)
    assert again.returncode == 0 and "the same again" in again.stdout, again.stdout + again.stderr[-2000:]
    (metrics, *_) = out.glob("0*/metrics.json")
    values = json.loads(metrics.read_text())
    values["headline"][next(iter(values["headline"]))] = 99.5
    assert list(verify.differing(json.loads(metrics.read_text()), values)) and not Path(guarded["GUARD"]).read_text().count("refused")


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"format": 1, "model": Evil()}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="can't be read as a checkpoint"):
        checkpoints.load(tmp_path / "last.pt")
    assert not (tmp_path / "executed").exists()


def test_every_load_in_the_package_is_a_safe_one():
    """torch.load with weights_only, numpy.load without pickles, no pickle, eval or exec: in the syntax tree of every file."""
    wrong, seen = [], 0
    for path in sorted((ROOT / "skelmm_core").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name, given = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
                seen += name == "torch.load"
                if (
                    name in ("pickle.load", "pickle.loads", "joblib.load", "eval", "exec", "yaml.load", "marshal.loads")
                    or (name == "torch.load" and given.get("weights_only") != "True")
                    or (name in ("np.load", "numpy.load") and given.get("allow_pickle", "False") != "False")
                ):
                    wrong.append(f"{path.name}:{node.lineno} {name}")
    assert seen and not wrong


def waited_for(address: str) -> str:
    """A page of a server that is about to listen."""
    for _ in range(100):
        try:
            with urllib.request.urlopen(address, timeout=20) as page:
                return page.read().decode()
        except urllib.error.URLError as problem:
            if isinstance(problem, urllib.error.HTTPError):
                raise
            time.sleep(0.2)
    pytest.fail(f"nobody listens at {address}")


def test_jupyterlab_is_on_this_machine_alone_and_asks_for_its_token(tmp_path):
    if find_spec("jupyterlab") is None:
        pytest.skip("JupyterLab is not installed")
    (line,) = re.findall(r"^\t\$\(BIN\)/jupyter (lab .*?) \$\(ARGS\)$", (ROOT / "Makefile").read_text(), re.M)
    words = [sys.executable, "-m", "jupyterlab", *shlex.split(line)[1:], "--no-browser", "--allow-root", "--ServerApp.port=0"]
    where = {f"JUPYTER_{kind}_DIR": str(tmp_path / kind) for kind in ("CONFIG", "RUNTIME", "DATA")}
    process = subprocess.Popen(words, cwd=ROOT, env={**ENVIRONMENT, **where}, stderr=subprocess.PIPE, text=True)
    try:
        said = ""
        while not (found := re.search(r"http://(\S+?):(\d+)/lab\S*?\?token=(\w{20,})", said)):
            piece = process.stderr.readline()
            assert piece, said
            said += piece
        assert found[1] in ("127.0.0.1", "localhost") and "0.0.0.0" not in said
        said += waited_for(f"http://127.0.0.1:{found[2]}/api/contents?token={found[3]}")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"http://127.0.0.1:{found[2]}/api/contents", timeout=20)
    finally:
        process.terminate()
        process.communicate(timeout=30)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(rounds(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))))
