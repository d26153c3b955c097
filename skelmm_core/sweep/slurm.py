"""A sweep on a Slurm cluster, by submitit: arrays of jobs, each of which Slurm starts when the job that it builds on is done.

What a job has come to is told by its folder; Slurm is only asked which jobs it still has (squeue, which needs no accounting). A job whose
time is up, or that is preempted, ends after its training step with a checkpoint, is queued again, and goes on from there.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from skelmm_core.errors import SettingsError
from skelmm_core.files import read_json
from skelmm_core.stopping import Stopping
from skelmm_core.sweep.folder import CLAIM, SUBMITTED, set_aside, write
from skelmm_core.sweep.jobs import FOLDER, Job, State, states
from skelmm_core.sweep.local import told
from skelmm_core.sweep.task import WARNING, Task

PAUSE = 5.0  # seconds between looks at the queue
TIMES = 1000  # that a job may come to its time limit and be queued again


def queue() -> dict[str, str] | None:
    """Number -> state of one's own jobs that Slurm has, as 12 or, in an array, 12_3; None where there is no Slurm to ask."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i %T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(line.split()[:2] for line in done.stdout.splitlines() if line.strip())


def executor(out: Path, where: str = "slurm") -> Any:
    """submitit's executor, with its own files in the output folder. where: "slurm", or for tests "local": processes of this machine."""
    try:
        import submitit
    except ImportError as problem:
        raise SettingsError("--engine slurm needs submitit: pip install skelmm[slurm]; or use --engine local") from problem
    if where == "slurm" and queue() is None:
        raise SettingsError("--engine slurm needs a machine from which jobs can be submitted: `squeue --me` fails here; use --engine local")
    return submitit.AutoExecutor(out / FOLDER / "submitit", cluster=where, slurm_max_num_timeout=TIMES)


def options(given: Mapping[str, Any], after: Sequence[str], name: str) -> dict[str, Any]:
    """A grid's table [slurm] in submitit's words, for jobs to be started after others, given by their numbers."""
    more = {"requeue": True, "kill-on-invalid-dep": "yes", **given.get("extra", {})}
    if after:
        more["dependency"] = "afterok:" + ":".join(after)
    found = {
        "name": name, "timeout_min": given.get("minutes", 240), "gpus_per_node": given.get("gpus") or None, "nodes": 1, "tasks_per_node": 1,
        "cpus_per_task": given.get("cpus", 1), "mem_gb": given.get("memory"), "slurm_partition": given.get("partition"),
        "slurm_array_parallelism": given.get("parallel", 256), "slurm_setup": list(given["setup"]) if "setup" in given else None,
        "slurm_signal_delay_s": WARNING, "slurm_additional_parameters": more,
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}


class Engine:
    """Submits what is waiting and watches it. where: as of `executor`; by "local", which knows no dependencies, a job waits here."""

    def __init__(self, jobs: Sequence[Job], out: Path, given: Mapping[str, Any], say: Callable[[str], None], where: str = "slurm"):
        self.jobs, self.given, self.say, self.where = jobs, given, say, where
        self.executor = executor(out, where)
        self.folders = {job.name: job.folder for job in jobs}
        self.handles: dict[str, Any] = {}
        self.numbers: dict[str, str] = {}

    def queue(self) -> dict[str, str] | None:
        if self.where == "slurm":
            return queue()
        return {job.job_id: "RUNNING" for job in self.handles.values() if not job.done()}

    def run(self, wait: bool = True) -> None:
        """Submit and, if `wait`, stay until nothing is in the queue. A signal ends the watching alone; the jobs go on."""
        at = states(self.jobs, self._known_queue())
        gone: dict[str, int] = {}
        said = {name: state.word for name, state in at.items()}
        for job in self.jobs:
            if said[job.name] == "running":
                self.say(f"running already: {job.title}, {at[job.name].note}; if that is gone, delete {job.folder / f'{CLAIM}.claim'}")
        with Stopping() as stopping:
            while True:
                self._submit(at)
                if not wait:
                    return
                time.sleep(PAUSE if self.where == "slurm" else 0.2)
                if stopping.asked:
                    stopping.end("no longer watching; jobs that were submitted go on, and the same command finds them")
                at = states(self.jobs, self._known_queue())
                for job in self.jobs:
                    word = at[job.name].word
                    if word != said[job.name] and word in ("running", "done", "failed", "skipped"):
                        self.say(told(job, word) if word != "skipped" else f"skipped: {job.title}: {at[job.name].note}")
                    said[job.name] = word
                    if job.name in self.numbers and word == "waiting":  # left the queue; twice in a row, since files may come late
                        gone[job.name] = gone.get(job.name, 0) + 1
                    else:
                        gone.pop(job.name, None)
                left = [j for j in self.jobs if at[j.name].word in ("running", "queued") or gone.get(j.name) == 1 or self._next(at, j)]
                if not left:
                    return

    def _known_queue(self) -> dict[str, str]:
        found = self.queue()
        while found is None:  # a controller that is busy or starts anew
            time.sleep(PAUSE)
            found = self.queue()
        return found

    def _next(self, at: Mapping[str, State], job: Job) -> bool:
        """Whether a job is to be submitted."""
        if at[job.name].word != "waiting" or job.name in self.numbers:
            return False
        before = at[job.after].word if job.after else "done"
        return before == "done" or (self.where == "slurm" and self._number(at, job.after) is not None)

    def _number(self, at: Mapping[str, State], name: str) -> str | None:
        """Of a job that Slurm has, from this command or an earlier one."""
        if name in self.numbers:
            return self.numbers[name]
        if at[name].word not in ("queued", "running"):
            return None
        return (read_json(self.folders[name] / SUBMITTED) or {}).get("id")

    def _submit(self, at: Mapping[str, State]) -> None:
        """One array of all jobs that wait for the same one, those first that others wait for."""
        while chosen := [j for j in self.jobs if self._next(at, j)]:
            first = chosen[0].after
            group = [j for j in chosen if j.after == first]
            number = self._number(at, first) if first and at[first].word != "done" else None
            after = [number] if number else []
            self.executor.update_parameters(**options(self.given, after, group[0].spec["stage"] or "notebooks"))
            for job in group:
                set_aside(job.folder, self.say)
                job.write()
            with self.executor.batch():
                handles = [self.executor.submit(Task(job.folder)) for job in group]
            for job, handle in zip(group, handles, strict=True):
                self.handles[job.name], self.numbers[job.name] = handle, handle.job_id
                write(job.folder / SUBMITTED, {"id": handle.job_id, "after": after, "by": self.where})
                self.say(f"submitted: {job.title} as {handle.job_id}" + (f", after {after[0]}" if after else ""))
