"""`skelmm sweep`: what is there, what is missing, and the missing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from skelmm_core.errors import SettingsError, SkelmmError, nearest
from skelmm_core.sweep import grid as grids
from skelmm_core.sweep import local, slurm, table
from skelmm_core.sweep.folder import FAILED, SUBMITTED
from skelmm_core.sweep.jobs import Job, plan, states

ENGINES = ("local", "slurm")
EXECUTOR = "SKELMM_SUBMITIT"  # environment variable: submitit's executor, "local" for tests without a cluster


class SweepError(SkelmmError):
    """Some jobs of a sweep failed; the others were done."""


def sweep(path: Path, engine: str, count: int, status: bool, retry: bool, dry_run: bool, wait: bool) -> str:
    """Run the jobs of a grid that are missing and write the table; returns what is to be printed. Args as in `cli.sweep`.

    Raises `SettingsError` and the like for what does not fit, before anything runs, and `SweepError` at the end where jobs failed.
    """
    if engine not in ENGINES:
        raise SettingsError(f"unknown engine '{engine}'{nearest(engine, ENGINES)}")
    if count < 0:
        raise SettingsError(f"--jobs must be 0 or more, found {count}")
    grid = grids.read(path)
    out, jobs = Path(grid.out).resolve(), plan(grid)
    at = states(jobs, slurm.queue() if _submitted(jobs) else None)
    if status or dry_run:
        return table.status(jobs, at)
    if retry:
        for job in jobs:
            if at[job.name].word == "failed":
                (job.folder / FAILED).unlink(missing_ok=True)
    print(f"{len(jobs)} jobs, {sum(state.word == 'done' for state in at.values())} done before, in {out}", flush=True)
    _do(jobs, grid, out, engine, count, wait)
    at = states(jobs, slurm.queue() if _submitted(jobs) else None)
    lines = [table.status(jobs, at)] if any(state.word != "done" for state in at.values()) else []
    if found := table.rows(jobs):
        table.write(out / table.NAME, found)
        lines += [table.means(jobs), f"{out / table.NAME}: {len(found)} rows"]
    lines += _warnings(jobs)
    failed = sum(state.word == "failed" for state in at.values())
    if failed:
        print("\n".join(lines), flush=True)
        raise SweepError(f"{failed} of {len(jobs)} jobs failed; give the same command with --retry when what was wrong is mended")
    return "\n".join(lines)


def example() -> str:
    return grids.EXAMPLE.read_text().rstrip()


def _do(jobs: list[Job], grid: grids.Grid, out: Path, engine: str, count: int, wait: bool) -> None:
    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    if all(job.result is not None for job in jobs):
        return
    if engine == "slurm":
        slurm.Engine(jobs, out, grid.slurm, say, os.environ.get(EXECUTOR, "slurm")).run(wait)
    else:
        local.run(jobs, grid.device, count, say, slurm.queue() if _submitted(jobs) else None)


def _submitted(jobs: list[Job]) -> bool:
    return any((job.folder / SUBMITTED).exists() for job in jobs)


def _warnings(jobs: list[Job]) -> list[str]:
    other = sorted({r["folder"] for job in jobs if (r := job.result) and r.get("by_other_code")})
    return [f"trained by another version of the code, wholly or in part: {', '.join(other)}; delete them to train anew"] if other else []
