"""What submitit sends to a machine of the cluster: a job by its folder. Light to import: submitit's process does no work itself."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from skelmm_core import claims
from skelmm_core.sweep import worker
from skelmm_core.sweep.folder import CLAIM

PATIENCE = 80.0  # seconds that a training step and its checkpoint have; Slurm warns `WARNING` seconds before the end
WARNING = 120
GRACE = 600.0  # seconds that a job which was told to end waits for Slurm to queue it again or to end it


class Task:
    """The work is done by a process of its own, so that it can end after its training step while this one answers Slurm."""

    process: subprocess.Popen[bytes]

    def __init__(self, folder: Path):
        self.folder = str(folder)

    def __call__(self) -> str:
        folder = Path(self.folder)
        _release(folder)
        cores = os.environ.get("SLURM_CPUS_PER_TASK")
        self.process = worker.start(folder, {"OMP_NUM_THREADS": cores, "MKL_NUM_THREADS": cores} if cores else {})
        while (code := self.process.poll()) is None:
            time.sleep(0.2)
        word = worker.ended(folder, code)
        end = time.monotonic() + (GRACE if "SLURM_JOB_ID" in os.environ else 0)
        while word == "stopped" and time.monotonic() < end:  # a job that ended by itself now would not be queued again
            time.sleep(1)
        if word != "done":
            raise RuntimeError(f"{word}; see {folder}")  # for Slurm: jobs that build on this one are not to start
        return word

    def checkpoint(self) -> Any:
        """Called by submitit when Slurm is about to end the job: the work ends with a checkpoint, and the same task is queued again."""
        from submitit.helpers import DelayedSubmission

        self.process.terminate()
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        return DelayedSubmission(Task(Path(self.folder)))


def _release(folder: Path) -> None:
    """Remove the claim of a job that Slurm has ended: of an earlier start of this very job, or of one that is not in the queue any more.
    That of anybody else, as of a sweep on another machine, stays."""
    path = folder / f"{CLAIM}.claim"
    number = (claims.holder(path) or {}).get("slurm")
    if number is not None and (number == os.environ.get("SLURM_JOB_ID") or not _queued(number)):
        path.unlink(missing_ok=True)


def _queued(number: str) -> bool:
    """Whether Slurm has a job of this number, or can't be asked."""
    try:
        done = subprocess.run(["squeue", "--noheader", "--format=%A", f"--jobs={number}"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return True
    return bool(done.stdout.strip()) if done.returncode == 0 else "invalid job id" not in done.stderr.lower()
