"""Kills and signals at any place: a stage that goes on ends as one that was left alone.

In the default suite a few random places are tried; `make faults` tries many (SKELMM_FAULTS of them, SKELMM_FAULTS_SEED names others).
"""

from __future__ import annotations

import json
import os
import pty
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from toy_stage import ENVIRONMENT, TINY, after, heard, joints, loop, motion, save_after, state, whole  # noqa: F401 - fixtures

from skelmm_core import checkpoints, cli
from skelmm_core.errors import InterruptedWork
from skelmm_core.experiment import Experiment
from skelmm_core.stages.loop import Loop
from skelmm_core.stopping import SIGNALS, Stopping

pytestmark = pytest.mark.faults
TIMES = int(os.environ.get("SKELMM_FAULTS", "4"))
SEED = int(os.environ.get("SKELMM_FAULTS_SEED", "0"))
LONG = "SKELMM_FAULTS" in os.environ
STAGES = ("pretrain", "exchange", "distill")


def rounds(data: str, out: Path, stage: str, seed: int, times: int) -> list[str]:
    """Train a stage once in a child process that is left alone; then again and again in children that are killed at random places, each
    going on from what the one before it left, until one comes to its end and the stage is begun anew; `times` kills in all, and more until
    one has left a part of the stage to go on from.

    Returns where they were killed, and what lay there to go on from. Raises `AssertionError` where an end is not the one that was not
    interrupted. Children are forked, so that torch is imported once.
    """
    rng, told, wanted = random.Random(f"{seed} {stage}"), [], None

    def enough() -> bool:
        return len(told) >= times and (any(place.endswith("steps") for place in told) or len(told) >= 5 * times)

    while not enough():
        for folder in (out / "stages").glob(f"{stage}-*"):
            shutil.rmtree(folder)
        place, killed = "", wanted is not None
        while killed:
            where, count, share = rng.choice(["step", "write", "rename", "written", "time"]), rng.randint(1, 6), rng.random()
            place, every, seconds = f"{where} {count}", rng.choice([-1.0, -1.0, 0.05, 1e9]), rng.uniform(0.02, 0.6)
            killed = trained_in_a_child(data, out, stage, (where, count, share, seconds), every if len(told) % 4 else -1.0)
            if killed:
                told.append(f"{place}, {left_there(out, stage)}")
            if enough():
                break
        trained_in_a_child(data, out, stage, None, 1e9)
        (folder,) = (out / "stages").glob(f"{stage}-*")
        wanted = wanted or state(folder)
        assert state(folder) == wanted, f"another end after kills at {told}"
    return told


def left_there(out: Path, stage: str) -> str:
    """What a killed stage left: "3 steps", counted over all epochs of the stage, or "nothing"."""
    for folder in (out / "stages").glob(f"{stage}-*"):
        if found := checkpoints.newest(folder / "last.pt"):
            saved = found[1]
            per_epoch = 3
            steps = len(saved["rows"]) * per_epoch + (0 if saved["steps"] is None else len(saved["steps"]))
            return f"{steps} steps"
    return "nothing"


def trained_in_a_child(data: str, out: Path, stage: str, kill: tuple | None, every: float) -> bool:
    """Whether it was killed."""
    child = os.fork()
    if not child:
        code = 1
        try:
            save_after(every, pytest.MonkeyPatch())
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
    print(f"\n{stage} killed at: {'; '.join(killed)}")
    assert len(killed) >= TIMES and any(place.endswith("steps") for place in killed), "none went on from within the stage"
    assert not list(tmp_path.rglob(".*.part")), "what was half written is gone when the stage is at its end"


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


# Asked to stop


@pytest.fixture
def hang_up() -> Iterator[None]:
    """SIGHUP as a terminal's processes have it, also where the tests were started by nohup, which has it ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hang_up")
@pytest.mark.parametrize("steps", [1, 3, 5, 13])  # at the start, in the middle and at the end of an epoch
@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, InterruptedWork), (signal.SIGHUP, InterruptedWork)]
)
def test_a_signal_ends_after_the_step_with_a_checkpoint(joints, whole, tmp_path, steps, number, error):
    handlers = [signal.getsignal(n) for n in SIGNALS]
    done: list[dict] = []
    asks = after(steps, lambda: os.kill(os.getpid(), number))
    with pytest.raises(error, match=f"toy: a checkpoint was written after epoch {(steps - 1) // 5 + 1}, step {(steps - 1) % 5 + 1}"):
        loop(joints, tmp_path, every=1e9, on_step=lambda row: (done.append(row), asks(row))).run()
    assert len(done) == steps and [signal.getsignal(n) for n in SIGNALS] == handlers
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


@pytest.mark.usefixtures("hang_up")
def test_a_terminal_that_is_closed_leaves_a_checkpoint(motion, tmp_path):
    """Its progress bar can't be written any more, either."""
    words = ["train", "pretrain", "--data", str(motion), "--smoke", "--modalities", "joint,bone", "--device", "cpu", "--epochs", "8",
             "--batch", "4", "--out", str(tmp_path / "run")]  # fmt: skip
    steps = tmp_path / "steps"
    program = SLOWLY.replace('print("step", flush=True)', f'open({str(steps)!r}, "a").write("step ")')
    child, terminal = pty.fork()
    if not child:
        try:
            os.execve(sys.executable, [sys.executable, "-c", program, *words], ENVIRONMENT)
        finally:
            os._exit(1)
    while not steps.exists() or len(steps.read_text().split()) < 5:
        assert os.waitpid(child, os.WNOHANG) == (0, 0), os.read(terminal, 10_000).decode()
        time.sleep(0.05)
    os.close(terminal)
    assert os.WIFEXITED(os.waitpid(child, 0)[1])
    (folder,) = (tmp_path / "run" / "stages").glob("pretrain-*")
    saved = checkpoints.load(folder / "last.pt")
    assert saved["epoch"] * 3 + (0 if saved["steps"] is None else len(saved["steps"])) == len(steps.read_text().split())


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


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(rounds(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))))


POOL = """
import multiprocessing, time
from concurrent.futures import ProcessPoolExecutor
from skelmm_core.stopping import end_with_parent

def work():
    print(multiprocessing.current_process().pid, flush=True)
    time.sleep(600)

if __name__ == "__main__":
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), end_with_parent) as pool:
        pool.submit(work).result()
"""


def test_workers_end_with_a_parent_that_was_killed(tmp_path):
    (tmp_path / "pool.py").write_text(POOL)
    parent = subprocess.Popen([sys.executable, tmp_path / "pool.py"], stdout=subprocess.PIPE, text=True)
    worker = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    gone, left = psutil.wait_procs([worker], timeout=60)
    for process in left:
        process.kill()
    assert gone and not left
