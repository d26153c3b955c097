"""Reading a source: every recording checked, by as many processes as it takes, damaged ones set aside."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from operator import length_hint
from typing import Any

import numpy as np

from skelmm_core.errors import DataError, InterruptedWork
from skelmm_core.recordings import Dropped, Recording, Source, check, stature

BLOCK = 512  # items that are under way at a time when several processes read
BATCH = 16  # items that a process is given at once
ALONE = 1.0  # seconds that this process reads by itself; after half of it others are started: small data sets need none
WATCH = 1.0  # seconds after which a process looks again whether the one that it reads for is still there
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # there are as many processes as cores


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
        jobs: processes that read; 0: all cores, once one process has read for a while and is not done. At most `BLOCK` items are under
            way, so memory stays bounded whatever the size of the data set.

    Raises `InterruptedWork` where one of the processes is killed. They end with the iteration, or soon after this process is killed.
    """
    numbers, began = iter(range(first, len(source.items))), time.monotonic()
    yield from _alone(source, numbers, strict, lambda: jobs != 1 and time.monotonic() - began >= ALONE / 2)
    if not length_hint(numbers):
        return
    from joblib import effective_n_jobs

    jobs = effective_n_jobs(jobs or -1)
    if jobs == 1:
        yield from _alone(source, numbers, strict, lambda: False)
        return
    with _processes(jobs) as pool:
        ready = pool.submit(_several, replace(source, items=()), [], strict)  # takes half a second, in which this process reads on
        yield from _alone(source, numbers, strict, lambda: ready.done() or time.monotonic() - began >= ALONE)
        yield from _together(pool, source, numbers, strict)


def _alone(source: Source, numbers: Iterator[int], strict: bool, enough: Callable[[], bool]) -> Iterator[list[Checked | Dropped]]:
    while not enough() and (number := next(numbers, None)) is not None:
        yield checked(source, source.items[number], strict)


def _together(pool: Any, source: Source, numbers: Iterator[int], strict: bool) -> Iterator[list[Checked | Dropped]]:
    """As `_alone`, by a pool that always has work: what it does next is given to it before the oldest results are waited for."""
    from joblib.externals.loky.process_executor import BrokenProcessPool

    light = replace(source, items=())  # the items need not travel, but one by one
    under_way: deque[tuple[int, Any]] = deque()
    oldest = last = 0
    try:
        while True:
            while len(under_way) * BATCH < BLOCK and (some := list(islice(numbers, BATCH))):
                last = some[-1]
                under_way.append((some[0], pool.submit(_several, light, [source.items[number] for number in some], strict)))
            if not under_way:
                return
            oldest, found = under_way.popleft()
            yield from found.result()
    except BrokenProcessPool as problem:
        raise InterruptedWork(
            f"{source.title}: a process that read one of the items {oldest} to {last} was killed, perhaps for want of memory; "
            "what was written is kept: give the same command again, with fewer processes (--jobs 1) if it happens again"
        ) from problem


def _several(source: Source, items: list[Any], strict: bool) -> list[list[Checked | Dropped]]:
    return [checked(source, item, strict) for item in items]


@contextmanager
def _processes(jobs: int) -> Iterator[Any]:
    """An executor of `jobs` processes, which are gone when it is left."""
    from joblib.externals.loky import ProcessPoolExecutor

    pool, done = ProcessPoolExecutor(jobs, initializer=_serve, initargs=(os.getpid(),), env=ONE_THREAD), False
    try:
        yield pool
        done = True
    finally:
        pool.shutdown(kill_workers=not done)


def _serve(parent: int) -> None:
    """What a process that reads does first: it leaves interrupts to its parent, and makes sure that it ends when that one is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


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
