"""How many processes were started together by torchrun or by Slurm's srun, as the environment tells."""

from __future__ import annotations

import os
from typing import NamedTuple

from skelmm_core.errors import SettingsError

TORCHRUN, SRUN = "TORCHELASTIC_RUN_ID", "SLURM_STEP_NUM_TASKS"  # environment variables that each of them alone sets


class Launch(NamedTuple):
    """number: this process's, from 0 on. count: of all. per_machine: of those on each machine. by: `TORCHRUN`, `SRUN` or ""."""

    number: int = 0
    count: int = 1  # type: ignore[assignment]  # a tuple has a method of this name, which nobody asks a launch for
    per_machine: int = 1
    by: str = ""


def launched() -> Launch:
    """What this process is one of; a process that is alone is number 0 of 1, whatever started it.

    Raises `SettingsError` where machines don't run the same number of processes, or srun was not told how many.
    """
    if TORCHRUN in os.environ:
        found = Launch(*_numbers("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"), TORCHRUN)
    elif int(os.environ.get(SRUN, "1")) > 1:
        if "SLURM_NTASKS_PER_NODE" not in os.environ:
            raise SettingsError("srun started several processes, but was not told how many per machine: give --ntasks-per-node")
        found = Launch(*_numbers("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"), SRUN)
    else:
        return Launch()
    if found.count % found.per_machine:
        raise SettingsError(
            f"{found.count} processes were started, {found.per_machine} of them on this machine: start the same number on every machine"
        )
    return found if found.count > 1 else Launch()


def _numbers(number: str, count: str, per_machine: str) -> tuple[int, int, int]:
    """What three environment variables hold."""
    return int(os.environ[number]), int(os.environ[count]), int(os.environ[per_machine])


def forget() -> None:
    """From here on this process is alone."""
    for name in (TORCHRUN, SRUN):
        os.environ.pop(name, None)
