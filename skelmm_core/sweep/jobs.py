"""The jobs of a sweep, in an order in which each comes after what it builds on, and how far each has come, as its folder tells.

A point of the grid is one job: its stages are trained and measured. A stage from which several ways lead on is a job of its own, and the
others come after it, so nothing is trained twice. A job's folder is named after what decides its result: settings, data, code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from skelmm_core import claims, manifest, settings, skeletons
from skelmm_core.errors import SettingsError
from skelmm_core.experiment import SAMPLE, Experiment, check_device
from skelmm_core.files import read_json
from skelmm_core.sweep.folder import CLAIM, FORMAT, JOB, LOG, SUBMITTED, failure_of, result_of, write
from skelmm_core.sweep.grid import Grid, label, resolved, twice

FOLDER = "sweep"
LEADS = {"untrained": (), "pretrain": ("pretrain",), "exchange": ("pretrain", "exchange"), "distill": ("pretrain", "exchange", "distill")}


@dataclass(frozen=True)
class Job:
    """folder: of this job alone, whose name is the job's. after: the job to be done before, or "". point: what tells it from others of
    the grid. spec: all that its process needs to know, as JSON; spec["what"] is "train", "measure" or "notebooks"."""

    folder: Path
    after: str
    point: dict[str, Any]
    spec: dict[str, Any]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def measures(self) -> bool:
        """Whether it gives a row of the table."""
        return bool(self.spec["what"] != "train")

    @property
    def title(self) -> str:
        what = self.spec["stage"] or "notebooks " + ",".join(name[:2] for name in self.spec["notebooks"])
        return f"{what}{'' if self.measures else ', shared'}: {label(self.point)}"

    @property
    def result(self) -> dict[str, Any] | None:
        return result_of(self.folder)

    @property
    def failure(self) -> str | None:
        """The last line of what went wrong; None for a job that did not fail."""
        return failure_of(self.folder)

    def write(self) -> None:
        write(self.folder / JOB, self.spec)


class State(NamedTuple):
    """word: done, failed, skipped (what it builds on failed), running, queued (by Slurm) or waiting; note: more about it."""

    word: str
    note: str = ""


def plan(grid: Grid) -> list[Job]:
    """Every job of a grid. Settings, protocols and data are tried first; what does not fit raises the error that the stage itself would."""
    check_device(grid.device)  # which this machine need not have
    out = Path(grid.out).resolve()
    common = {"format": FORMAT, "data": grid.data if grid.data == SAMPLE else str(Path(grid.data).resolve()), "out": str(out),
              "preset": grid.preset, "device": grid.device, "smoke": grid.smoke, "notebooks": list(grid.notebooks)}  # fmt: skip
    return _of_notebooks(grid, common, out) if grid.notebooks else _of_stages(grid, common, out)


def _of_stages(grid: Grid, common: dict[str, Any], out: Path) -> list[Job]:
    leads = LEADS[grid.stage]
    ways: dict[str, dict[str, None]] = {}  # node -> what follows it
    chains: list[tuple[dict[str, Any], Any, list[str]]] = []
    for point in grid.points:
        s = resolved(grid, point)
        data = _data(grid, point, common)
        names = []
        for stage in leads:
            fields = settings.training_fields(settings.narrow(s, stage))
            names.append(f"{stage}-{settings.digest(FORMAT, grid.stage == 'pretrain', fields, data, manifest.evaluation_code())}")
        whole = settings.field_types(type(s))
        values = {name: getattr(s, name) for name in whole if name != "protocol"}
        names.append(f"point-{settings.digest(FORMAT, grid.stage, values, data, manifest.evaluation_code())}")
        for one, following in zip(names, names[1:], strict=False):
            ways.setdefault(one, {})[following] = None
        chains.append((point, s, names))
    found: dict[str, Job] = {}
    for point, s, names in chains:
        if names[-1] in found:  # spelled alike, `grid` has told; this is one protocol by two names
            raise twice(found[names[-1]].point, point)
        given, after = _given(grid, point), ""
        for stage, name in zip((*leads, ""), names, strict=True):
            if stage and len(ways[name]) < 2:
                continue
            if name not in found:
                known = {*settings.training_fields(settings.narrow(s, stage)), "protocol"} if stage else point.keys()
                own = {k: v for k, v in point.items() if k in known}
                spec = {**common, "what": "train" if stage else "measure", "stage": stage or grid.stage, "settings": given,
                        "until_exchange": stage == "pretrain" and grid.stage != "pretrain"}  # fmt: skip
                found[name] = Job(out / FOLDER / name, after, own, spec)
            after = name
    return list(found.values())


def _given(grid: Grid, point: dict[str, Any]) -> dict[str, Any]:
    """Settings of a point; a skeleton's file as what it holds now, since that is what the job is named after."""
    given = {**grid.settings, **point}
    return {name: skeletons.spelled(v) if name == "skeleton" and isinstance(v, str) else v for name, v in given.items()}


def _data(grid: Grid, point: dict[str, Any], common: dict[str, Any]) -> tuple[str, str, int]:
    """What a stage sees of the data, after all that the stage asks of them was checked. The sample is made here, before there are jobs."""
    given = {**grid.settings, **point, "precision": "32-true"}  # which every machine has
    exp = Experiment(common["data"], common["out"], grid.preset, "cpu", grid.smoke, **given)
    exp.check("evaluate" if grid.stage == "untrained" else grid.stage)
    return exp.clips.content, exp.split.name, len(exp.split.train)


def _of_notebooks(grid: Grid, common: dict[str, Any], out: Path) -> list[Job]:
    """Notebooks of a point share a folder of their own, stages and all."""
    from skelmm_core import parameters, pipeline

    paths = pipeline.choose(grid.notebooks, pipeline.NOTEBOOKS)
    known = {name: parameters.of_notebook(path) for name, path in paths.items()}
    code = [manifest.code(), *(manifest.digest(path.read_bytes()) for path in paths.values())]
    found: dict[str, Job] = {}
    for point in grid.points:
        given = _given(grid, point)
        seed = given.pop("seed")
        if "source" in given:  # whose content no job is named after
            raise SettingsError(
                "'source' is no setting of a sweep: make a clips file with `skelmm prepare SOURCE CLIPS`, and name it as data"
            )
        values = parameters.distribute(given, known)
        start = {"data": common["data"], "out": common["out"], "preset": grid.preset, "device": "cpu", "smoke": grid.smoke, "seed": seed}
        facts = pipeline.checked(start, {**given, "precision": "32-true"}, pipeline.deepest(paths))  # which every machine has
        name = f"notebooks-{settings.digest(FORMAT, values, seed, grid.preset, grid.smoke, facts['data']['content'], code)}"
        if name in found:
            raise twice(found[name].point, point)
        spec = {**common, "what": "notebooks", "stage": "", "notebooks": list(paths), "settings": {**given, "seed": seed}}
        found[name] = Job(out / FOLDER / name, "", point, {**spec, "code": code[0]})
    return list(found.values())


def states(jobs: Iterable[Job], queue: Mapping[str, str] | None = None) -> dict[str, State]:
    """How far each job has come, by name. queue: number of a job in Slurm's queue -> its state there; None where it can't be asked."""
    found: dict[str, State] = {}
    for job in jobs:
        before = found[job.after].word if job.after else "done"
        if job.result is not None:
            found[job.name] = State("done")
        elif job.failure is not None:
            found[job.name] = State("failed", job.failure)
        elif before in ("failed", "skipped"):
            found[job.name] = State("skipped", f"{job.after} failed" if before == "failed" else f"{job.after} was skipped")
        else:
            found[job.name] = _under_way(job, queue)
    return found


def _under_way(job: Job, queue: Mapping[str, str] | None) -> State:
    claim, submitted = job.folder / f"{CLAIM}.claim", read_json(job.folder / SUBMITTED)
    if submitted and queue is not None:
        at = queue.get(submitted["id"])
        if at:
            return State("running" if at in ("RUNNING", "COMPLETING") else "queued", f"job {submitted['id']}, {at.lower()}")
        return State("waiting", f"job {submitted['id']} left the queue without a result; see {job.folder / LOG}")
    if claim.exists() and not claims.abandoned(claim):
        who = claims.holder(claim) or {}
        return State("running", f"process {who.get('process', '?')} on {who.get('host', '?')}")
    return State("waiting", f"for {job.after}" if job.after and not (job.folder / LOG).exists() else "")
