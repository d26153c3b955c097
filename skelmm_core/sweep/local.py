"""A sweep on this machine: so many jobs at a time, each a process with a GPU of its own where there are any, and its share of the cores.

Several of these may work on one output folder: each leaves the jobs alone that another one's process is at, and a job waits while another
one, of another grid, trains a stage that both need.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from skelmm_core import claims, manifest
from skelmm_core.files import read_json
from skelmm_core.stopping import Stopping
from skelmm_core.sweep import worker
from skelmm_core.sweep.folder import CLAIM, LOG, SUBMITTED, set_aside
from skelmm_core.sweep.jobs import Job, State, states

PAUSE = 0.5  # seconds between looks
PATIENCE = 120.0  # seconds that a job has to end its step and write a checkpoint


def devices(device: str) -> list[str]:
    """What `CUDA_VISIBLE_DEVICES` of a job may be, for those that take a GPU; none on a machine without one."""
    import torch

    if device not in ("auto", "cuda") or not torch.cuda.is_available():
        return []
    told = [word.strip() for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word.strip()]
    return told or [str(i) for i in range(torch.cuda.device_count())]


def run(jobs: Sequence[Job], device: str, count: int, say: Callable[[str], None], queue: Mapping[str, str] | None = None) -> None:
    """Do the jobs that are waiting, `count` at a time (0: one per GPU, else one). What fails is told, and the others go on.
    A job that a process of another host or container has, which may have ended, is told once, when there is nothing else to start. Those
    that Slurm has in its `queue` (see `jobs.states`), and what builds on them, are left to it.

    On SIGINT and SIGTERM running jobs end with a checkpoint, and the sweep with `KeyboardInterrupt` or `InterruptedWork`.
    """
    gpus = devices(device)
    count = count or len(gpus) or 1
    threads = _threads(count)
    free = list(range(count))
    running: dict[str, tuple[subprocess.Popen[bytes], int, Job]] = {}
    told_skipped: set[str] = set()
    told_away: set[str] = set()
    own = _own(jobs, queue, say)
    with Stopping() as stopping:
        try:
            while not stopping.asked:
                for name, (process, place, job) in list(running.items()):
                    if (code := process.poll()) is not None:
                        del running[name]
                        free = sorted([*free, place])
                        say(told(job, worker.ended(job.folder, code)))
                at = states(jobs)
                for job in jobs:
                    if at[job.name].word == "skipped" and job.name not in told_skipped:
                        told_skipped.add(job.name)
                        say(f"skipped: {job.title}: {at[job.name].note}")
                ready = [j for j in own if at[j.name].word == "waiting" and j.name not in running and _done(at, j.after)]
                for job in ready[: len(free)]:
                    place = free.pop(0)
                    given = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
                    if gpus:
                        given["CUDA_VISIBLE_DEVICES"] = gpus[place % len(gpus)]
                    set_aside(job.folder, say)
                    job.write()
                    with suppress(FileNotFoundError):
                        (job.folder / SUBMITTED).unlink()
                    running[job.name] = worker.start(job.folder, given, apart=True), place, job
                    say(f"started: {job.title}" + (f" on GPU {given['CUDA_VISIBLE_DEVICES']}" if gpus else ""))
                for job in own if free else ():
                    if at[job.name].word == "running" and job.name not in told_away and (line := _away(job)):
                        told_away.add(job.name)
                        say(line)
                if not running and not any(at[job.name].word in ("waiting", "running") for job in own):
                    return
                time.sleep(PAUSE)
        finally:
            _stop([process for process, *_ in running.values()])
        stopping.end(f"the sweep stopped; {len(running)} jobs were running")


def _threads(count: int) -> str:
    """What `OMP_NUM_THREADS` of one of `count` jobs is: its share of the cores, or fewer where this process was given fewer."""
    share, given = max(1, manifest.cores() // count), os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # a list: by depth
    return str(min(share, int(given)) if given.isdecimal() and int(given) else share)


def _own(jobs: Sequence[Job], queue: Mapping[str, str] | None, say: Callable[[str], None]) -> list[Job]:
    """The jobs that Slurm does not have, nor one that they build on."""
    at, others = states(jobs, queue), set()
    for job in jobs:
        number = (read_json(job.folder / SUBMITTED) or {}).get("id")
        if at[job.name].word in ("queued", "running") and number in (queue or {}):
            others.add(job.name)
            say(f"left to Slurm, which has it as {at[job.name].note}: {job.title}")
        elif job.after in others:
            others.add(job.name)
    return [job for job in jobs if job.name not in others]


def told(job: Job, word: str) -> str:
    """A line about a job that has ended."""
    line = f"{word}: {job.title}"
    if word == "done":
        result = job.result or {"seconds": 0.0}
        metrics = result.get("metrics", {})
        figures = ", ".join(f"{name} {value:.1f}" for name, value in metrics.items() if name in ("linear", "knn"))
        return f"{line}{': ' if figures else ''}{figures}; {result['seconds']:.0f} s"
    return f"{line}: {job.failure}; see {job.folder / LOG}" if word == "failed" else line


def _away(job: Job) -> str:
    """A line about a claim of which nobody here can tell whether its process has ended; "" where there is none such."""
    path = job.folder / f"{CLAIM}.claim"
    if not claims.far(path):
        return ""
    who = claims.holder(path)
    process, host = ((who or {}).get(word, "?") for word in ("process", "host"))
    return f"waiting for process {process} on host {host}, which works on {job.title}; delete {path} if it has ended"


def _done(at: Mapping[str, State], name: str) -> bool:
    return not name or at[name].word == "done"


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    end = time.monotonic() + PATIENCE
    for process in processes:
        try:
            process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
