"""Memory: as little of it as tensors need, and running out of it told in words that help."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from skelmm_core.errors import TrainingError

_ON_THE_CPU = "DefaultCPUAllocator"  # its refusals are plain RuntimeErrors
LARGE = 2 << 20  # bytes of a tensor that has pages of its own; from 4 MiB on holes stay
_KEPT = 64 << 20  # bytes at the end of the heap that are kept for what comes
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # numbers of glibc's malloc.h


def holes_stay_small() -> bool:
    """Has the C library take large tensors of the CPU from the system one by one, and give each back when it is freed; whether it will.

    Left alone, glibc soon takes tensors of up to 32 MiB from its heap, where those of a training step leave holes that no other fits: a
    third of the process. It costs no time that could be measured (`benchmarks/README.md`). Other C libraries are left as they are, and
    so is whoever has chosen by `MALLOC_MMAP_THRESHOLD_` or `GLIBC_TUNABLES`. It holds for the whole process.
    """
    chosen = "MALLOC_MMAP_THRESHOLD_" in os.environ or "malloc.mmap_threshold" in os.environ.get("GLIBC_TUNABLES", "")
    if chosen or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_M_MMAP_THRESHOLD, LARGE) and libc.mallopt(_M_TRIM_THRESHOLD, _KEPT))


@contextmanager
def enough(what: str, advice: str) -> Iterator[None]:
    """Where memory, of a GPU or of the machine, does not suffice in the block, `TrainingError` says for what and which setting to lower."""
    try:
        yield
    except (RuntimeError, MemoryError) as problem:
        if not isinstance(problem, (torch.OutOfMemoryError, MemoryError)) and _ON_THE_CPU not in str(problem):
            raise
        told = str(problem).strip().splitlines()
        raise TrainingError(f"{what}: out of memory; {advice}" + (f" ({told[0]})" if told else "")) from problem
