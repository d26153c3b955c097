"""Reading a source: every recording checked, by as many processes as it takes, damaged ones set aside."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skelmm_core.errors import DataError, InterruptedWork
from skelmm_core.recordings import Dropped, Recording, Source, check, stature

BLOCK = 512  # items that are under way at a time when several processes read
BATCH = 16  # items that a process is given at once
ALONE = 1.0  # seconds that one process reads by itself before others are started: small data sets need none


@dataclass(frozen=True, eq=False)
class Checked:
    """A recording that passed `check`: its joints as they are stored, and the two figures of `stature`."""

    recording: Recording
    joints: np.ndarray
    height: float
    upright: bool


def examine(source: Source, first: int = 0, strict: bool = False, jobs: int = 0) -> Iterator[list[Checked | Dropped]]:
    """What every item from number `first` on holds, in order, as `checked` gives it.

    Args:
        jobs: processes that read; 0: all cores, once one process has read for a second and is not done. At most `BLOCK` items are under
            way, so memory stays bounded whatever the size of the data set.
    """
    items, began = source.items, time.monotonic()
    while first < len(items) and (jobs == 1 or time.monotonic() - began < ALONE):
        yield checked(source, items[first], strict)
        first += 1
    if first == len(items):
        return
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import BrokenProcessPool

    light = replace(source, items=())  # the items need not travel, but one by one
    with Parallel(n_jobs=jobs or -1, batch_size=BATCH, max_nbytes=None) as pool:
        for start in range(first, len(items), BLOCK):
            block = range(start, min(start + BLOCK, len(items)))
            try:
                found = pool(delayed(checked)(light, items[i], strict) for i in block)
            except BrokenProcessPool as problem:
                raise InterruptedWork(
                    f"{source.title}: a process that read items {block.start} to {block.stop - 1} was killed, perhaps for want of memory; "
                    "what was written is kept: give the same command again, with fewer processes (--jobs 1) if it happens again"
                ) from problem
            yield from found


def checked(source: Source, item: Any, strict: bool) -> list[Checked | Dropped]:
    """What an item holds, every recording checked. What is damaged raises `DataError` if `strict`, else it becomes a `Dropped`."""
    done: list[Checked | Dropped] = []
    try:
        for found in source.found(item):
            if isinstance(found, Dropped) and found.damaged and strict:
                raise DataError(f"{source.title}, '{found.name}': {found.reason}")
            done.append(found if isinstance(found, Dropped) else _examined(found, source, strict))
    except DataError as problem:
        if strict:
            raise
        done.append(Dropped(str(getattr(item, "stem", item)), str(problem), damaged=True))
    return done


def _examined(recording: Recording, source: Source, strict: bool) -> Checked | Dropped:
    try:
        joints = check(recording, source)
    except DataError as problem:
        if strict:
            raise
        return Dropped(recording.name, str(problem), damaged=True)
    return Checked(replace(recording, joints=joints[:0]), joints, *stature(joints, source.skeleton))
