"""Grids as jobs: what a file may say, which stages are shared, who runs when and where, failures, retries, the table; on toy sizes.

Most engines are tried with stand-ins for the processes of jobs, which take no time; one sweep is computed in this process and compared with
`Experiment`, and one goes through real processes and submitit, with an interrupt.
"""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest
from command_line import call, refused
from test_skeletons import MINE

from skelmm_core import checkpoints, claims, cli, clips, files, pipeline
from skelmm_core.errors import InterruptedWork, SettingsError
from skelmm_core.experiment import Experiment
from skelmm_core.sources import sample
from skelmm_core.sweep import grid, jobs, local, slurm, table, worker
from skelmm_core.sweep.folder import FAILED, LOG, RESULT, write

ROOT = Path(__file__).parents[1]
TINY = dict(epochs=2, hidden=2, features=8, embedding=8, probe_epochs=3, batch=8, queue=16, frames=8, modalities="joint,bone")


@pytest.fixture(scope="module")
def motion(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "motion.clips"
    clips.write(path, sample.read(performers=4, repetitions=1, cameras=1, actions=["kick", "punch", "drink"]))
    return path


def toml(path: Path, **keys) -> Path:
    """A grid file; dicts become tables."""
    tables = {k: v for k, v in keys.items() if isinstance(v, dict)}
    lines = [f"{k} = {json.dumps(v)}" for k, v in keys.items() if k not in tables]
    for name, content in tables.items():
        lines += [f"[{name}]", *(f"{k} = {json.dumps(v)}" for k, v in content.items())]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def write_grid(motion, tmp_path):
    """Writes a grid of toy size, of which a test says what is particular."""

    def made(**keys) -> Path:
        common = dict(data=str(motion), out=str(tmp_path / "out"), preset="small", smoke=True, device="cpu", stage="exchange")
        if "notebooks" in keys:
            del common["stage"]
        sizes = {k: v for k, v in TINY.items() if k not in keys.get("grid", {}) and "notebooks" not in keys}
        keys["settings"] = {**sizes, **keys.get("settings", {})}
        return toml(tmp_path / "grid.toml", **{**common, **keys})

    return made


# The file


def test_the_example_is_a_grid_and_has_every_key(capsys, tmp_path):
    text = call(capsys, "sweep", "--example")
    (tmp_path / "g.toml").write_text(text)
    found = grid.read(tmp_path / "g.toml")
    assert len(found.points) == 12 and found.points[0] == {"distillation": "relational", "student_epochs": 8, "seed": 0}
    assert set(tomllib.loads(text)) | {"notebooks"} == set(grid.KEYS)
    assert {line.split("=")[0].strip("# ") for line in text.partition("[slurm]")[2].splitlines() if "=" in line} == set(grid.SLURM)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"seed": [0]}, "unknown key 'seed'; did you mean 'seeds'"),
        ({"slurm": {"partitions": "x"}}, r"unknown key of \[slurm\] 'partitions'; did you mean 'partition'"),
        ({"slurm": {"minutes": "4:00"}}, "'minutes' must be a whole number above 0, found '4:00'"),
        ({"seeds": [0, "1"]}, "'seeds' must be a list of whole numbers"),
        ({"seeds": [0, -1]}, "'seeds' must be a list of whole numbers from 0 on"),
        ({"out": "a\0b"}, "'out' must be a text, found"),
        ({"seeds": [1, 1]}, "seeds names 1 twice"),
        ({"smoke": 1}, "'smoke' must be true or false"),
        ({"stage": "distil"}, "unknown stage 'distil'; did you mean 'distill'"),
        ({"notebooks": ["02"], "stage": "exchange"}, "expected either stage .* or notebooks, found both"),
        ({"grid": {"lr": 0.1}}, r"\[grid\] lr must be a list of values, found 0.1"),
        ({"grid": {"lr": []}}, r"\[grid\] lr must be a list"),
        ({"grid": {"lr": [0.1, 0.1]}}, "names 0.1 twice"),
        ({"grid": {"learning": [0.1]}}, "unknown setting 'learning'"),
        ({"grid": {"epoch": [1]}}, "did you mean 'epochs'"),
        ({"grid": {"student_epochs": [1]}}, "unknown setting 'student_epochs' of stage 'exchange'"),
        ({"grid": {"epochs": ["many"]}}, "'epochs' must be int"),
        ({"grid": {"epochs": [4]}, "settings": {"epochs": 2}}, r"'epochs' stands in \[grid\] and in \[settings\]"),
        ({"grid": {"seed": [4]}}, "'seed' has a key of its own, seeds"),
        ({"grid": {"modalities": ["joint,bone", "bone,joint"]}, "settings": {}}, "are the same settings"),
    ],
)
def test_grids_that_do_not_fit_are_refused(tmp_path, keys, words):
    keys = {"stage": "exchange", **keys}
    with pytest.raises(SettingsError, match=words) as told:
        grid.read(toml(tmp_path / "bad.toml", **keys))
    assert f"grid '{tmp_path / 'bad.toml'}': " in str(told.value)


def test_a_device_that_is_none_is_refused_before_there_are_jobs(write_grid):
    with pytest.raises(SettingsError, match="device must be auto, cpu, cuda or cuda:N, found 'tpu'"):
        jobs.plan(grid.read(write_grid(device="tpu")))


def test_a_home_folder_is_the_one_that_a_shell_would_take(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    found = grid.read(toml(tmp_path / "g.toml", stage="pretrain", data="~/a.clips", out="~/runs"))
    assert (found.data, found.out) == (str(tmp_path / "a.clips"), str(tmp_path / "runs"))
    assert grid.read(toml(tmp_path / "g.toml", stage="pretrain", data="~", out="a~b")).out == "a~b"


def test_values_of_other_kinds_are_refused(tmp_path):
    (tmp_path / "g.toml").write_text('stage = "pretrain"\n[grid]\nprobe_lr = [2020-01-01]\n')
    with pytest.raises(SettingsError, match=r"\[grid\] probe_lr must list texts, numbers, true or false, found datetime.date"):
        grid.read(tmp_path / "g.toml")


def test_files_that_are_no_grid_are_refused(capsys, tmp_path):
    assert "can't read the grid" in refused(capsys, "sweep", tmp_path / "none.toml")
    (tmp_path / "torn.toml").write_text("seeds = [0,")
    assert "is not TOML" in refused(capsys, "sweep", tmp_path / "torn.toml")
    (tmp_path / "marked.toml").write_bytes(b'\xef\xbb\xbfstage = "pretrain"')  # as some editors write UTF-8
    assert grid.read(tmp_path / "marked.toml").stage == "pretrain"
    (tmp_path / "empty.toml").write_text("")
    assert "found none of them" in refused(capsys, "sweep", tmp_path / "empty.toml")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"grid": {"modalities": ["joint"]}}, "needs at least two modalities"),
        ({"settings": {"protocol": "cross-vieww"}}, "cross-vieww"),
        ({"data": "nowhere.clips"}, "nowhere.clips"),
        ({"notebooks": ["02"], "grid": {"epoch": [1]}}, "did you mean 'epochs'"),
        ({"notebooks": ["77"]}, "unknown notebook '77'"),
        ({"notebooks": ["02"], "grid": {"lr": [0.1, -1.0]}}, "lr"),
        ({"notebooks": ["02"], "settings": {"protocol": "cross-vieww"}}, "cross-vieww"),
        ({"grid": {"protocol": ["", "odd-even-subjects"]}}, "protocol= seed=0 and protocol=odd-even-subjects seed=0 are the same settings"),
        ({"notebooks": ["02"], "grid": {"epochs": [1, "1"]}}, "epochs=1 seed=0 and epochs=1 seed=0 are the same settings"),
        ({"notebooks": ["00"], "settings": {"source": "raw.zip"}}, "make a clips file with `skelmm prepare SOURCE CLIPS`"),
    ],
)
def test_what_a_stage_would_refuse_is_told_before_anything_runs(capsys, write_grid, tmp_path, keys, words):
    assert words in refused(capsys, "sweep", write_grid(**keys))
    assert not (tmp_path / "out" / jobs.FOLDER).exists()


def test_options_that_do_not_fit_are_refused(capsys, write_grid, monkeypatch):
    assert "did you mean 'slurm'" in refused(capsys, "sweep", write_grid(), "--engine", "slrum")
    assert "--jobs must be 0 or more" in refused(capsys, "sweep", write_grid(), "--jobs", "-1")
    monkeypatch.setattr(slurm, "queue", lambda: None)
    assert "use --engine local" in refused(capsys, "sweep", write_grid(), "--engine", "slurm")
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert "pip install skelmm[slurm]" in refused(capsys, "sweep", write_grid(), "--engine", "slurm")


# The jobs


def tree(found: list[jobs.Job]) -> dict[str, list[str]]:
    """What each job is followed by, by what they are, "" for the start."""
    kinds = {j.name: j.name.partition("-")[0] for j in found} | {"": ""}
    told: dict[str, list[str]] = {}
    for j in found:
        told.setdefault(kinds[j.after], []).append(kinds[j.name])
    return told


@pytest.mark.parametrize(
    ("stage", "varying", "wanted"),
    [
        ("exchange", {}, {"": ["point"]}),
        ("exchange", {"exchange": ["none", "ekem"]}, {"": ["pretrain"], "pretrain": ["point"] * 2}),
        ("exchange", {"lr": [0.1, 0.2]}, {"": ["point"] * 2}),
        ("exchange", {"whiten": [0, 2]}, {"": ["exchange"], "exchange": ["point"] * 2}),
        ("pretrain", {"whiten": [0, 2]}, {"": ["pretrain"], "pretrain": ["point"] * 2}),
        ("untrained", {"whiten": [0, 2]}, {"": ["point"] * 2}),
        ("distill", {"student_epochs": [1, 2]}, {"": ["exchange"], "exchange": ["point"] * 2}),
        ("distill", {"exchange": ["none", "ekem"], "student_epochs": [1, 2], "neighbours": [1, 3]},
         {"": ["pretrain"], "pretrain": ["exchange"] * 2, "exchange": ["distill"] * 4, "distill": ["point"] * 8}),
    ],
)  # fmt: skip
def test_a_stage_from_which_ways_part_is_a_job_of_its_own(write_grid, stage, varying, wanted):
    settings = {"students": "joint"} if stage == "distill" else {}
    found = jobs.plan(grid.read(write_grid(stage=stage, grid=varying, settings=settings)))
    told = tree(found)
    assert {k: sorted(v) for k, v in told.items()} == {k: sorted(v) for k, v in wanted.items()}
    names = [j.name for j in found]
    assert len(set(names)) == len(names) and all(not j.after or names.index(j.after) < i for i, j in enumerate(found))


def test_seeds_share_nothing_and_names_tell_what_decides_a_result(write_grid, monkeypatch):
    def names(**keys) -> set[str]:
        return {j.name for j in jobs.plan(grid.read(write_grid(**keys)))}

    one, two = names(seeds=[0]), names(seeds=[0, 1])
    assert one < two and len(two) == 2 and names(seeds=[0]) == one and names(device="auto") == one
    other = [names(settings={"probe_epochs": 4}), names(settings={"protocol": "subject % 2 == 0"})]
    other += [names(stage="pretrain"), names(stage="untrained")]
    monkeypatch.setattr(jobs.manifest, "evaluation_code", lambda: "other")
    assert len(set.union(one, *other, names())) == 6


def test_notebooks_of_other_code_are_other_jobs(write_grid, monkeypatch, tmp_path):
    """Their results lie in the job's folder, so the name must tell the code, and the notebook itself."""
    from skelmm_core import pipeline

    def names() -> set[str]:
        return {j.name for j in jobs.plan(grid.read(write_grid(notebooks=["02"], seeds=[0])))}

    before = names()
    assert names() == before
    with monkeypatch.context() as patch:
        patch.setattr(jobs.manifest, "code", lambda: "other")
        assert not names() & before
    copied = {name: tmp_path / path.name for name, path in pipeline.choose(["02"], pipeline.NOTEBOOKS).items()}
    for name, path in pipeline.choose(["02"], pipeline.NOTEBOOKS).items():
        copied[name].write_bytes(path.read_bytes() + b"\n")
    monkeypatch.setattr(pipeline, "choose", lambda *_: copied)
    assert not names() & before


def test_notebooks_with_another_skeleton_in_the_same_file_are_other_jobs(write_grid, tmp_path):
    file = tmp_path / "mine.toml"

    def job() -> jobs.Job:
        return jobs.plan(grid.read(write_grid(notebooks=["02"], settings={"skeleton": str(file)})))[0]

    mine = MINE + "[from.ntu25]\n" + "".join(f"{joint} = 0\n" for joint in tomllib.loads(MINE)["joints"])  # as the sample's joints are
    file.write_text(mine)
    before = job()
    assert job().name == before.name and before.spec["settings"]["skeleton"].startswith("{"), "what the file held when it was planned"
    file.write_text(mine.replace('name = "mine"', 'name = "other"'))
    assert job().name != before.name


# A sweep computed here, one job after the other


class Here:
    """A stand-in for the process of a job: the job is done in this one."""

    done: list[str] = []

    def __init__(self, folder: Path, environment=None, apart=False):
        self.done.append(folder.name)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(worker.signal, "signal", lambda *_: None)
            patch.setattr(worker, "_end_with", lambda parent: None)
            self.code = worker.main(folder, os.getppid())

    def poll(self) -> int:
        return self.code


@pytest.fixture
def here(monkeypatch) -> list[str]:
    monkeypatch.setattr(Here, "done", [])
    monkeypatch.setattr(worker, "start", Here)
    monkeypatch.setattr(local, "PAUSE", 0.0)
    return Here.done


def test_figures_are_those_of_the_experiment_and_what_is_there_is_not_computed_again(capsys, write_grid, here, motion, tmp_path):
    file = write_grid(seeds=[0, 1], grid={"exchange": ["none", "ekem+ikem"]}, settings={"whiten": 3})
    assert "6 waiting" in call(capsys, "sweep", file, "--dry-run") and not (tmp_path / "out" / jobs.FOLDER).exists()
    told = call(capsys, "sweep", file, "--jobs", "2")
    assert len(here) == len(set(here)) == 6
    stages = sorted(p.name.partition("-")[0] for p in (tmp_path / "out" / "stages").iterdir())
    assert stages == ["exchange"] * 4 + ["pretrain"] * 2, "each is trained once"
    with open(tmp_path / "out" / table.NAME, newline="") as text:
        rows = list(csv.DictReader(text))
    assert [(r["seed"], r["exchange"]) for r in rows] == [(s, e) for s in "01" for e in ("none", "ekem+ikem")]
    values: dict[str, list[float]] = {}
    for row in rows:
        given = {**TINY, "seed": int(row["seed"]), "exchange": row["exchange"], "whiten": 3}
        exp = Experiment(motion, tmp_path / "alone", "small", "cpu", True, **given)
        made = exp.exchange()
        scores = exp.score(made.model.query)
        assert row["folder"] == f"stages/{made.folder.name}" and float(row["seconds"]) > 0
        wanted = (scores.linear.accuracy, scores.late.accuracy, scores.joint.accuracy, scores.knn.accuracy)
        assert tuple(float(row[name]) for name in ("linear", "linear_late", "linear_joint", "knn")) == wanted
        values.setdefault(f"exchange={row['exchange']}", []).append(scores.knn.accuracy)
    for point, two in values.items():
        assert re.search(rf"^{re.escape(point)} +2 .* {statistics.mean(two):.1f} ± {statistics.stdev(two):.1f}$", told, re.M)
    here.clear()
    again = call(capsys, "sweep", file)
    assert not here and "6 jobs, 6 done before" in again and again.partition("\n")[2] == told.partition("\n")[2]
    assert "6 done" in call(capsys, "sweep", file, "--status")
    wider = write_grid(seeds=[0, 1], grid={"exchange": ["none", "ekem+ikem", "ekem"]}, settings={"whiten": 3})
    call(capsys, "sweep", wider)
    assert len(here) == 2 and all(name.startswith("point-") for name in here), "only what is new"


def test_what_fails_is_told_and_the_others_go_on(capsys, write_grid, here, tmp_path):
    file = write_grid(grid={"lr": [0.05, 1e30], "exchange": ["none", "ekem"]}, settings={"epochs": 4})
    with pytest.raises(SystemExit) as stop:
        call(capsys, "sweep", file)
    told = capsys.readouterr()
    assert stop.value.code == 2 and "1 of 6 jobs failed" in told.err and "--retry" in told.err
    assert "3 done, 1 failed, 2 skipped" in told.out and told.err.count("skipped: exchange: lr=1e+30") == 2
    assert len((tmp_path / "out" / table.NAME).read_text().splitlines()) == 3, "what is done is in the table"
    status = call(capsys, "sweep", file, "--status")
    assert re.search(r"^failed +pretrain, shared: lr=1e\+30 seed=0 +pretrain-\w+ +.*the loss of .* is not finite", status, re.M)
    assert len(re.findall(r"^skipped +exchange: lr=1e\+30 .* pretrain-\w+ failed$", status, re.M)) == 2
    here.clear()
    assert "3 done, 1 failed" in call_failing(capsys, file) and not here, "not tried again unless asked to"
    (failed,) = [j for j in jobs.plan(grid.read(file)) if j.failure]
    call_failing(capsys, file, "--retry")
    assert here == [failed.name]
    for job in jobs.plan(grid.read(file)):  # mended
        if not (job.folder / RESULT).exists():
            result = {"format": jobs.FORMAT, "metrics": {"linear": 1.0}, "folder": "", "seconds": 1.0, "training_seconds": 1.0}
            write(job.folder / RESULT, result)
    assert "± " not in call(capsys, "sweep", file) and len((tmp_path / "out" / table.NAME).read_text().splitlines()) == 5


def test_a_job_waits_while_another_process_trains_its_stage(write_grid, here, monkeypatch, tmp_path, capsys):
    """As a sweep of another grid in the same folder does, or `skelmm train`; it is no failure."""
    (job,) = jobs.plan(grid.read(write_grid()))
    job.write()
    spec = job.spec
    stage = Experiment(spec["data"], spec["out"], spec["preset"], "cpu", True, **spec["settings"]).pretrain_folder()
    others = files.alone(stage, "training")
    others.__enter__()
    waits: list[float] = []
    sleep = time.sleep

    def wait(seconds: float) -> None:
        if seconds != worker.PAUSE:  # somebody else's
            return sleep(seconds)
        waits.append(seconds)
        if len(waits) == 2:
            others.__exit__(None, None, None)

    with monkeypatch.context() as patch:
        patch.setattr(worker.time, "sleep", wait)
        assert worker.start(job.folder).poll() == 0
    assert waits == [worker.PAUSE] * 2 and job.failure is None and job.result["metrics"]["knn"] > 0
    assert capsys.readouterr().out.count(f"waiting: another process is training '{stage}'") == 1


@pytest.fixture
def quick(here, monkeypatch) -> list[str]:
    """Jobs done here that take no time, and a sweep that looks 50 times at most."""
    figures = {"metrics": {"linear": 1.0, "knn": 2.0}, "folder": "", "training_seconds": 0.0}
    monkeypatch.setattr(worker, "_measure", lambda spec, folder: figures)
    monkeypatch.setattr(worker, "_train", lambda spec, folder: figures)
    looks = iter(range(50))
    monkeypatch.setattr(local, "states", lambda *given: (next(looks), jobs.states(*given))[1])
    return here


ODD = b'{"format": 1, "metrics": {"linear": "x"}, "folder": "", "seconds": 1.0, "training_seconds": 1.0}'


@pytest.mark.parametrize("content", [b"", b'{"format": 1, "metr', b"[]", b"\xff\xfe", b'{"format": 0}', b'{"format": 1}', ODD])
def test_results_that_cannot_be_read_are_set_aside_and_their_jobs_done_again(capsys, write_grid, quick, content):
    file = write_grid(grid={"exchange": ["none", "ekem"]})
    call(capsys, "sweep", file)
    planned = jobs.plan(grid.read(file))
    for torn in (planned[:1], planned[-1:], planned):  # a shared stage, a point, all
        quick.clear()
        for job in torn:
            (job.folder / RESULT).write_bytes(content)
        assert f"{len(torn)} waiting" in call(capsys, "sweep", file, "--status") and (torn[0].folder / RESULT).read_bytes() == content
        cli.main(["sweep", str(file)])
        told = capsys.readouterr()
        assert quick == [job.name for job in torn] and f"{len(planned) - len(torn)} done before" in told.out
        for job in torn:
            assert told.err.count(f"{job.folder / RESULT} can't be read") == 1
            assert (job.folder / f"{RESULT}.unreadable").read_bytes() == content and job.result["metrics"]["knn"] == 2.0
        assert told.err.count("can't be read") == len(torn)


def test_a_failure_that_cannot_be_read_is_one(capsys, write_grid, quick):
    file = write_grid(grid={"exchange": ["none", "ekem"]})
    first, *_ = planned = jobs.plan(grid.read(file))
    first.folder.mkdir(parents=True)
    (first.folder / FAILED).write_text('{"mess')
    assert "1 failed, 2 skipped" in call_failing(capsys, file) and not quick
    assert f"why is not known: {FAILED} can't be read" in call(capsys, "sweep", file, "--status")
    assert worker.ended(first.folder, 1) == "failed" and (first.folder / FAILED).read_text() == '{"mess'
    (first.folder / RESULT).write_text("{")
    assert "1 failed, 2 skipped" in call_failing(capsys, file) and worker.ended(first.folder, 0) == "failed"
    assert "2 rows" in call(capsys, "sweep", file, "--retry") and quick == [job.name for job in planned]


def call_failing(capsys, *arguments) -> str:
    with pytest.raises(SystemExit):
        call(capsys, "sweep", *arguments)
    return capsys.readouterr().out


def test_notebooks_of_a_point_have_a_folder_of_their_own(capsys, write_grid, here, tmp_path, monkeypatch):
    asked = []

    def run(notebooks, data, out, given, count, smoke, preset, seed, device, say):
        asked.append((notebooks, given, seed, smoke, preset, device, out))
        return [pipeline.Result("02_single", False, 2.5, {"three, linear": 40.0 + seed + given["epochs"], "best": "joint"}, ())]

    monkeypatch.setattr(pipeline, "run", run)
    file = write_grid(notebooks=["2"], seeds=[0, 4], grid={"epochs": [2, 3]}, settings={"hidden": 2})
    told = call(capsys, "sweep", file)
    assert len(here) == 4 and len({a[-1] for a in asked}) == 4
    assert [(a[1], a[2]) for a in asked] == [({"hidden": 2, "epochs": e}, s) for s in (0, 4) for e in (2, 3)]
    assert all(a[0] == ["02_single_modality_pretraining"] and a[3:6] == (True, "small", "cpu") for a in asked)
    assert re.search(r"^epochs=2 +2 +44\.0 ± 2\.8$", told, re.M)
    header = (tmp_path / "out" / table.NAME).read_text().splitlines()[0]
    assert header == 'epochs,seed,"02 three, linear",folder,job,seconds,training_seconds'


# Processes


class Process:
    """A stand-in for a process that takes some looks to end, as told by what `then` gives: a result, an error, or an exit code."""

    running = 0
    most = 0
    log: list[tuple[str, dict[str, str]]] = []

    def __init__(self, folder: Path, environment=None, apart=False):
        self.folder, self.left, self.then = folder, 3, self.plan(folder)
        (folder / LOG).touch()
        Process.running += 1
        Process.most = max(Process.most, Process.running)
        self.log.append((folder.name, environment))

    @staticmethod
    def plan(folder: Path) -> object:
        return "done"

    def poll(self) -> int | None:
        self.left -= 1
        if self.left > 0:
            return None
        Process.running -= 1
        if self.then == "done":
            write(self.folder / RESULT, {"format": jobs.FORMAT, "metrics": {}, "folder": "", "seconds": 1.0, "training_seconds": 1.0})
            return 0
        return self.then if isinstance(self.then, int) else 1

    def terminate(self) -> None:
        self.then = "terminated"

    def wait(self, timeout) -> int:
        Process.running -= 1
        return 75


@pytest.fixture
def processes(monkeypatch) -> type[Process]:
    monkeypatch.setattr(Process, "running", 0)
    monkeypatch.setattr(Process, "most", 0)
    monkeypatch.setattr(Process, "log", [])
    monkeypatch.setattr(worker, "start", Process)
    monkeypatch.setattr(local, "PAUSE", 0.001)
    return Process


@pytest.mark.parametrize(("given", "threads"), [("3,2", "3"), (" 2 ", "2"), ("many", "4"), ("0", "4"), ("9", "4"), ("", "4")])
def test_a_job_has_its_share_of_the_cores_or_what_this_process_was_given(monkeypatch, given, threads):
    monkeypatch.setattr(local.manifest, "cores", lambda: 12)
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert local._threads(3) == threads


@pytest.fixture
def planned(write_grid) -> list[jobs.Job]:
    return jobs.plan(grid.read(write_grid(seeds=[0, 1], grid={"exchange": ["none", "ekem", "ikem"]})))


def test_so_many_at_a_time_each_after_its_own_with_its_device_and_cores(planned, processes, monkeypatch):
    monkeypatch.setattr(local, "devices", lambda device: ["4", "7"])
    monkeypatch.setattr(local.manifest, "cores", lambda: 12)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    said: list[str] = []
    local.run(planned, "auto", 3, said.append)
    assert processes.most == 3 and processes.running == 0 and {name for name, _ in processes.log} == {j.name for j in planned}
    assert {e["OMP_NUM_THREADS"] for _, e in processes.log} == {"4"} == {e["MKL_NUM_THREADS"] for _, e in processes.log}
    assert {e["CUDA_VISIBLE_DEVICES"] for _, e in processes.log} == {"4", "7"}
    place = {line: i for i, line in enumerate(said)}
    for job in planned:
        if job.after:
            (first,) = [j for j in planned if j.name == job.after]
            ended = next(i for line, i in place.items() if line.startswith(f"done: {first.title}"))
            began = next(i for line, i in place.items() if line.startswith(f"started: {job.title}"))
            assert ended < began
    processes.log.clear()
    local.run(planned, "auto", 0, said.append)
    assert not processes.log


def test_one_job_per_gpu_unless_told_otherwise(planned, processes, monkeypatch):
    import torch

    assert local.devices("cpu") == [] == local.devices("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert local.devices("auto") == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert local.devices("cuda") == ["3", "5"]
    local.run(planned, "auto", 0, lambda line: None)
    assert processes.most == 2


def test_a_process_that_dies_without_a_word_gets_one(planned, processes):
    ends = {"pretrain": -9, "point": 3}
    processes.plan = staticmethod(lambda folder: ends.pop(folder.name.partition("-")[0], "done"))
    try:
        local.run(planned, "cpu", 1, lambda line: None)
    finally:
        processes.plan = staticmethod(lambda folder: "done")
    at = jobs.states(planned)
    words = [at[j.name].word for j in planned]
    assert words.count("failed") == 2 and words.count("skipped") == 3 and words.count("done") == 3
    notes = {at[j.name].note for j in planned if at[j.name].word == "failed"}
    assert notes == {"its process ended with signal SIGKILL; is there enough memory?", "its process ended with exit code 3:"}


def test_a_process_that_was_stopped_is_started_again(planned, processes):
    ends = [worker.STOPPED, -signal.SIGTERM]
    processes.plan = staticmethod(lambda folder: ends.pop() if ends else "done")
    try:
        local.run(planned, "cpu", 1, lambda line: None)
    finally:
        processes.plan = staticmethod(lambda folder: "done")
    assert len(processes.log) == len(planned) + 2 and {s.word for s in jobs.states(planned).values()} == {"done"}


def test_a_signal_ends_what_runs(planned, processes, monkeypatch):
    monkeypatch.setattr(processes, "poll", lambda self: None)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(InterruptedWork, match="the sweep stopped; 2 jobs were running.*same command goes on"):
        local.run(planned, "cpu", 2, lambda line: None)
    assert processes.running == 0 and len(processes.log) == 2


def test_jobs_of_another_process_are_left_to_it(planned, processes):
    first = planned[0]
    first.folder.mkdir(parents=True)
    held = claims.claimed(first.folder, "running")
    assert held.__enter__()
    assert jobs.states(planned)[first.name] == ("running", f"process {os.getpid()} on {claims.socket.gethostname()}")

    def finish() -> None:
        write(first.folder / RESULT, {"format": jobs.FORMAT, "metrics": {}, "folder": "", "seconds": 1.0, "training_seconds": 1.0})
        held.__exit__(None, None, None)

    threading.Timer(0.3, finish).start()
    local.run(planned, "cpu", 2, lambda line: None)
    assert {name for name, _ in processes.log} == {j.name for j in planned[1:]}


LONG = {**TINY, "epochs": 1000, "exchange_from": 0.999}


def until(what, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_a_real_process_goes_on_from_its_checkpoint_and_ends_with_who_started_it(write_grid, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (job,) = jobs.plan(grid.read(write_grid(settings=LONG)))
    job.write()
    code = "import sys, time, pathlib; from skelmm_core.sweep import worker; worker.start(pathlib.Path(sys.argv[1])); time.sleep(600)"
    parent = subprocess.Popen([sys.executable, "-c", code, str(job.folder)], env={**os.environ, "PYTHONPATH": str(ROOT)})
    until(lambda: list(tmp_path.glob("out/stages/pretrain-*/tensorboard")))
    (stage,) = tmp_path.glob("out/stages/pretrain-*")
    assert jobs.states([job])[job.name].word == "running"
    parent.kill()
    parent.wait()
    until(lambda: jobs.states([job])[job.name].word == "waiting", 30)
    text = (job.folder / LOG).read_text()
    assert "stopped: pretrain 2 modalities: a checkpoint was written after epoch" in text and not (job.folder / FAILED).exists()
    saved = checkpoints.load(stage / "last.pt")
    assert saved["epoch"] < 999 and (saved["epoch"] or saved["steps"] is not None)


@pytest.mark.parametrize("other", [{"host": "elsewhere"}, {"space": "of another container"}, {"boot": "of another machine of this name"}])
def test_a_claim_of_which_nobody_can_tell_whether_it_stands_is_told_and_may_be_deleted(planned, processes, other):
    first = planned[0]
    claim = write_claim(first.folder / "running.claim", other)
    said = []

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("waiting for process"):
            claim.unlink()

    threading.Timer(5, claim.unlink, [True]).start()  # where nothing is said the sweep would wait for ever
    local.run(planned, "cpu", 2, say)
    where = f"host {other.get('host', claims.socket.gethostname())}, which works on {first.title}; delete {claim} if it has ended"
    assert [line for line in said if line.startswith("waiting for process")] == [f"waiting for process {os.getpid()} on {where}"]


def write_claim(path: Path, other: dict[str, str]) -> Path:
    """A claim as this process would write it, but for what is of another machine or container."""
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(claims._me() | other))
    return path
