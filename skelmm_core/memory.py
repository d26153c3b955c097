"""Running out of memory, told in words that help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from skelmm_core.errors import TrainingError

_ON_THE_CPU = "DefaultCPUAllocator"  # its refusals are plain RuntimeErrors


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
