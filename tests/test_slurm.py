"""Sweeps by submitit: on this machine's processes, and on a real Slurm of one node where `tests/slurm/node.sh` can start one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from skelmm_core import checkpoints
from skelmm_core.experiment import Experiment
from skelmm_core.files import read_json
from skelmm_core.sweep import grid, jobs, slurm, worker
from skelmm_core.sweep.folder import LOG, RESULT, SUBMITTED, write

ROOT = Path(__file__).parents[1]
NODE = ROOT / "tests" / "slurm" / "node.sh"
TINY = dict(epochs=2, hidden=2, features=8, embedding=8, probe_epochs=3, batch=32, queue=64, frames=8, modalities="joint,bone")
LONG = {**TINY, "epochs": 61, "exchange_from": 60 / 61}  # stage 1 takes a while, the rest does not


def write_grid(folder: Path, varying: dict, values: dict, **slurm) -> Path:
    path = folder / "grid.toml"
    lines = [f"out = {json.dumps(str(folder / 'out'))}", 'preset = "small"', "smoke = true", 'device = "cpu"', 'stage = "exchange"']
    for name, table in (("settings", values), ("grid", varying), ("slurm", slurm)):
        lines += [f"[{name}]", *(f"{k} = {json.dumps(v)}" for k, v in table.items())]
    path.write_text("\n".join(lines))
    return path


def until(what, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def starts(job: jobs.Job) -> int:
    """How often its process was started."""
    log = job.folder / LOG
    return log.read_text().count("\n--- ") + log.read_text().startswith("--- ") if log.exists() else 0


def trains(out: Path, job: jobs.Job, times: int) -> bool:
    """Whether the job's process was started so often and has come to its training, where it opens a log for TensorBoard."""
    return starts(job) == times == len(list(out.glob("stages/pretrain-*/tensorboard/*")))


# submitit


def test_a_table_of_slurm_becomes_what_submitit_writes(tmp_path):
    submitit = pytest.importorskip("submitit")
    from submitit.slurm.slurm import SlurmExecutor

    given = {"partition": "gpu", "minutes": 90, "gpus": 2, "cpus": 8, "memory": 16, "parallel": 3, "setup": ["module load x"],
             "extra": {"account": "mine"}}  # fmt: skip
    values = slurm.options(given, ["12", "13_4"], "exchange")
    assert not set(values) - {*submitit.AutoExecutor._valid_parameters(), *("slurm_" + n for n in SlurmExecutor._valid_parameters())}
    plain = {k.removeprefix("slurm_"): v for k, v in values.items()}
    renamed = {SlurmExecutor._equivalence_dict().get(k, k): v for k, v in plain.items()}
    text = submitit.slurm.slurm._make_sbatch_string("python", tmp_path, map_count=9, **(renamed | {"mem": "16GB"}))
    for line in ("partition=gpu", "time=90", "gpus-per-node=2", "cpus-per-task=8", "mem=16GB", "array=0-8%3", "account=mine", "requeue",
                 "dependency=afterok:12:13_4", "kill-on-invalid-dep=yes", "signal=USR2@120"):  # fmt: skip
        assert f"#SBATCH --{line}\n" in text, line
    assert "\nmodule load x\n" in text
    bare = slurm.options({}, [], "exchange")
    assert not {"mem_gb", "gpus_per_node", "slurm_partition", "slurm_setup"} & set(bare)
    assert "dependency" not in bare["slurm_additional_parameters"]


def test_submitit_runs_a_sweep_on_this_machine_and_an_interrupted_job_goes_on(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = write_grid(tmp_path, {"exchange": ["none", "ekem"]}, {**LONG, "epochs": 31, "exchange_from": 30 / 31})
    planned = jobs.plan(grid.read(path))
    out, said = tmp_path / "out", []
    engine = slurm.Engine(planned, out, {}, said.append, "local")
    first = planned[0]
    submit, interrupted = engine._submit, []

    def and_interrupt(at):
        submit(at)
        if not interrupted and trains(out, first, 1):
            process = psutil.Process(read_json(first.folder / "running.claim")["process"])
            process.parent().send_signal(signal.SIGUSR2)  # of submitit, which gets this signal when its time is up
            interrupted.append(process.pid)

    monkeypatch.setattr(engine, "_submit", and_interrupt)
    engine.run()
    assert interrupted and starts(first) == 2 and [starts(j) for j in planned[1:]] == [1, 1]
    assert "a checkpoint was written after epoch" in (first.folder / LOG).read_text()
    assert {state.word for state in jobs.states(planned).values()} == {"done"}
    lines = [line.partition(" as ")[0] for line in said if line.startswith(("submitted", "done"))]
    assert lines[0] == f"submitted: {first.title}" and lines[1].startswith(f"done: {first.title}") and len(lines) == 6
    same_as_alone(tmp_path, planned)


def same_as_alone(folder: Path, planned: list[jobs.Job]) -> None:
    """Weights and figures of stages that were interrupted are those of an `Experiment` that was not."""
    for job in planned:
        if job.measures:
            given = job.spec["settings"]
            (data,) = (folder / "out" / "clips").glob("*.clips")
            exp = Experiment(data, folder / "alone", "small", "cpu", True, **given)
            made = exp.exchange()
            other = checkpoints.load(folder / "out" / job.result["folder"] / "last.pt")["model"]
            mine = made.model.state_dict()
            assert other.keys() == mine.keys() and all((other[k] == mine[k]).all() for k in mine)
            assert job.result["metrics"]["knn"] == exp.score(made.model.query).knn.accuracy


def test_a_job_that_slurm_has_lost_is_told_and_done_again(tmp_path):
    (job,) = jobs.plan(grid.read(write_grid(tmp_path, {}, TINY)))
    job.folder.mkdir(parents=True)
    write(job.folder / SUBMITTED, {"id": "7_1", "after": [], "by": "slurm"})
    for queue, wanted in (
        ({"7_1": "PENDING"}, "queued"),
        ({"7_1": "RUNNING"}, "running"),
        ({"7_2": "RUNNING"}, "waiting"),
        (None, "waiting"),
    ):
        assert jobs.states([job], queue)[job.name].word == wanted
    assert "job 7_1 left the queue without a result" in jobs.states([job], {})[job.name].note


def test_a_task_gives_its_job_the_cores_of_its_allocation_and_fails_as_it_does(tmp_path, monkeypatch):
    from skelmm_core.sweep import task

    seen = []

    class Ended:
        def poll(self) -> int:
            return seen[-1][1]

    def start(folder, environment):
        seen.append((environment, codes.pop(0)))
        return Ended()

    codes = [1, 0]
    monkeypatch.setattr(worker, "start", start)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "6")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    (tmp_path / "running.claim").write_text(json.dumps({"host": "elsewhere", "slurm": "12"}))
    monkeypatch.setattr(task, "GRACE", 0.0)
    with pytest.raises(RuntimeError, match="failed"):
        task.Task(tmp_path)()
    assert seen[0][0] == {"OMP_NUM_THREADS": "6", "MKL_NUM_THREADS": "6"} and not (tmp_path / "running.claim").exists()
    write(tmp_path / RESULT, {"format": jobs.FORMAT, "metrics": {}, "folder": "", "seconds": 1.0, "training_seconds": 1.0})
    assert task.Task(tmp_path)() == "done"


@pytest.mark.parametrize(
    ("claim", "answer", "stays"),
    [
        ({"host": "elsewhere"}, "", True),  # a local sweep's
        ({"host": "elsewhere", "slurm": "12"}, "echo 12", False),  # an earlier start of this job
        ({"host": "elsewhere", "slurm": "11"}, "echo 11", True),
        ({"host": "elsewhere", "slurm": "11"}, "true", False),
        ({"host": "elsewhere", "slurm": "11"}, "echo slurm_load_jobs error: Invalid job id specified >&2; false", False),
        ({"host": "elsewhere", "slurm": "11"}, "echo Unable to contact slurm controller >&2; false", True),
    ],
)
def test_a_job_removes_no_claim_but_that_of_a_job_which_slurm_has_ended(tmp_path, monkeypatch, claim, answer, stays):
    from skelmm_core.sweep import task

    (tmp_path / "squeue").write_text(f"#!/bin/sh\n{answer}\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    (tmp_path / "running.claim").write_text(json.dumps(claim))
    task._release(tmp_path)
    assert (tmp_path / "running.claim").exists() == stays


# Slurm


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A Slurm of this machine alone; the environment in which its commands find it."""
    if "SKELMM_CLUSTER" not in os.environ:
        pytest.skip("minutes: with `make cluster`")
    folder = tmp_path_factory.mktemp("slurm")
    started = subprocess.run(["bash", NODE, "start", folder], capture_output=True, text=True, timeout=120)
    if started.returncode:
        pytest.skip(f"no Slurm can be started here: {started.stderr.strip()[-800:]}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", started.stdout.strip())
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", str(ROOT))
        yield folder
        subprocess.run(["scancel", "--me"], timeout=60)
        subprocess.run(["bash", NODE, "stop", folder], timeout=120)


def asked(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout


def sweep(path: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "skelmm_core", "sweep", str(path), "--engine", "slurm", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=path.parent)


@pytest.mark.cluster
def test_a_sweep_goes_through_slurm_with_dependencies_and_is_queued_again_three_ways(cluster, tmp_path):
    path = write_grid(tmp_path, {"exchange": ["none", "ekem"]}, LONG, minutes=30)
    out, planned = tmp_path / "out", jobs.plan(grid.read(path))
    first = planned[0]
    running = sweep(path)
    until(lambda: trains(out, first, 1))
    number = read_json(first.folder / SUBMITTED)["id"]
    until(lambda: all(read_json(j.folder / SUBMITTED) for j in planned))
    array = read_json(planned[1].folder / SUBMITTED)["id"].partition("_")[0]
    assert [read_json(j.folder / SUBMITTED) for j in planned[1:]] == [
        {"id": f"{array}_{i}", "after": [number], "by": "slurm"} for i in range(2)
    ]
    told = asked("scontrol", "show", "job", array)
    assert f"Dependency=afterok:{number}" in told and "JobState=PENDING" in told and "TimeLimit=00:30:00" in told
    assert jobs.states(planned, slurm.queue())[planned[1].name].word == "queued"

    asked("scancel", "--signal=USR2", number)  # Slurm's warning before the time limit, which submitit answers
    until(lambda: trains(out, first, 2))
    asked("scontrol", "requeue", number)  # as an administrator does
    until(lambda: trains(out, first, 3))
    asked("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")  # preempts it
    told, errors = running.communicate(timeout=900)
    assert running.returncode == 0, errors[-4000:]
    log = (first.folder / LOG).read_text()
    assert starts(first) == 4 and log.count("a checkpoint was written after epoch") == 3, log
    assert [starts(j) for j in planned[1:]] == [1, 1] and (out / "sweep.csv").read_text().count("\n") == 3
    assert f"after {number}" in errors and "exchange=ekem" in told
    same_as_alone(tmp_path, planned)
    before = {j.name: (j.folder / RESULT).stat().st_mtime_ns for j in planned}
    again = sweep(path)
    assert "3 jobs, 3 done before" in again.communicate(timeout=120)[0] and again.returncode == 0
    assert {j.name: (j.folder / RESULT).stat().st_mtime_ns for j in planned} == before and slurm.queue() == {}


@pytest.mark.cluster
def test_what_builds_on_a_failed_job_is_taken_out_of_the_queue(cluster, tmp_path):
    path = write_grid(tmp_path, {"exchange": ["none", "ekem"]}, {**TINY, "lr": 1e30}, minutes=30)
    left = sweep(path, "--no-wait")
    told, _ = left.communicate(timeout=120)
    assert left.returncode == 0 and "queued" in told
    running = sweep(path)  # finds what is in the queue, submits nothing, and waits
    told, errors = running.communicate(timeout=300)
    assert running.returncode == 2 and "submitted" not in errors and "1 of 3 jobs failed" in errors
    assert "1 failed, 2 skipped" in told and "is not finite" in told
    until(lambda: slurm.queue() == {})
    planned = jobs.plan(grid.read(path))
    assert [starts(j) for j in planned] == [1, 0, 0]
