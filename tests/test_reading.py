"""Reading by several processes: in order, a bounded part at a time, first errors first, and no process that outlives its work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from skelmm_core import reading
from skelmm_core.errors import DataError, InterruptedWork
from skelmm_core.reading import examine
from skelmm_core.recordings import Dropped, Recording, Source
from skelmm_core.skeletons import KINECT20

MANY = 200


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    """Other processes are started after the first item, and few items are under way."""
    monkeypatch.setattr(reading, "ALONE", 0)
    monkeypatch.setattr(reading, "BATCH", 4)
    monkeypatch.setattr(reading, "BLOCK", 24)


def source(read, count: int = MANY) -> Source:
    return Source("little", KINECT20, ("a", "b"), 30.0, "", "f" * 64, range(count), read)


def recording(item: int) -> Recording:
    return Recording(np.full((1, 2, 20, 3), item, np.float32), item % 2, f"clip {item}")


def noted(folder: Path, item: int) -> list[Recording | Dropped]:
    """One, two or no recordings; who read it when is a file; every seventh takes longer."""
    time.sleep(0.02 * (item % 7 == 0))
    (folder / f"{item}").write_text(str(os.getpid()))
    found = [recording(item), Dropped(f"clip {item}", "a rule", damaged=item % 2 == 1), recording(item)]
    return found[: item % 3]


def damaged(items: tuple[int, ...], item: int) -> Recording:
    if item in items:
        time.sleep(0.5 * (item == min(items)))  # others are found first
        raise DataError(f"item {item} is damaged")
    return recording(item)


def killed(item: int) -> Recording:
    if item == 90:
        os.kill(os.getpid(), signal.SIGKILL)
    return recording(item)


def shown(found) -> list[tuple]:
    return [(i, f.name, f.reason) if isinstance(f, Dropped) else (i, f.recording.name, f.joints.tobytes()) for i, fs in found for f in fs]


def test_order_is_kept_and_every_process_reads(tmp_path):
    alone = shown(enumerate(examine(source(partial(noted, tmp_path)), jobs=1)))
    together = shown(enumerate(examine(source(partial(noted, tmp_path)), jobs=2)))
    assert alone == together and len(alone) > MANY / 2
    readers = {file.read_text() for file in tmp_path.iterdir()}
    assert len(readers - {str(os.getpid())}) == 2 and len(list(tmp_path.iterdir())) == MANY


def test_no_more_than_a_block_is_under_way(tmp_path):
    """However slow the one who takes what was read."""
    for number, _ in enumerate(examine(source(partial(noted, tmp_path)), jobs=2)):
        if number in (30, 90):
            time.sleep(1.0)
            assert number + 10 < len(list(tmp_path.iterdir())) <= number + reading.BLOCK + reading.BATCH


def test_strict_reading_stops_at_the_first_damaged_item_and_gives_all_before_it():
    given = []
    with pytest.raises(DataError, match="^item 50 is damaged"):
        given.extend(examine(source(partial(damaged, (50, 51, 56, 60))), strict=True, jobs=2))
    assert 48 <= len(given) <= 50
    left_out = [found for found in examine(source(partial(damaged, (50, 51, 56, 60))), jobs=2) if isinstance(found[0], Dropped)]
    assert [found[0].name for found in left_out] == ["50", "51", "56", "60"]


def test_a_killed_process_stops_the_reading_and_says_where():
    with pytest.raises(InterruptedWork, match=r"one of the items (\d+) to (\d+) was killed") as stopped:
        list(examine(source(killed), jobs=2))
    low, high = (int(word) for word in str(stopped.value).split() if word.isdigit())
    assert low <= 90 <= high < low + reading.BLOCK + reading.BATCH


def others() -> list[psutil.Process]:
    """Processes of this one that read."""
    return [p for p in psutil.Process().children(recursive=True) if "LokyProcess" in " ".join(p.cmdline())]


def test_processes_are_gone_when_the_reading_is_done_or_given_up():
    before = {p.pid for p in others()}
    started = examine(source(recording), jobs=2)
    for _ in range(40):
        next(started)
    assert len({p.pid for p in others()} - before) == 2
    started.close()
    assert {p.pid for p in others()} <= before
    assert len(list(examine(source(recording), jobs=2))) == MANY and {p.pid for p in others()} <= before


FOR_EVER = """
import os, pathlib, sys, time
from functools import partial
from skelmm_core import reading
from skelmm_core.recordings import Dropped, Source
from skelmm_core.skeletons import KINECT20

def read(folder, sleep, item):
    pathlib.Path(folder, str(os.getpid())).touch()
    while True:
        time.sleep(sleep)

reading.ALONE, reading.BATCH = 0, 1
list(reading.examine(Source("x", KINECT20, ("a",), 30.0, "", "", range(9), partial(read, sys.argv[1], int(sys.argv[2]))), jobs=2))
"""


@pytest.mark.parametrize("sleep", [100, 0], ids=["waiting", "computing"])
def test_no_process_reads_on_when_its_parent_was_killed(tmp_path, sleep):
    (tmp_path / "seen").mkdir()
    parent = subprocess.Popen([sys.executable, "-c", FOR_EVER, str(tmp_path / "seen"), str(sleep)])
    try:
        began = time.monotonic()
        while len(list((tmp_path / "seen").iterdir())) < 2:
            assert parent.poll() is None and time.monotonic() - began < 60, "nothing was read"
            time.sleep(0.05)
        children = psutil.Process(parent.pid).children(recursive=True)
    finally:
        parent.kill()
        parent.wait()
    began = time.monotonic()
    while (left := [p for p in children if alive(p)]) and time.monotonic() - began < 10:
        time.sleep(0.1)
    for process in left:
        process.kill()
    assert len(children) >= 2 and not left


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
