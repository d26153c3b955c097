"""What skelmm's speed is measured by: `python -m benchmarks` runs the modules of `MODULES` and ends in a table.

Each has a function ``measure(toy, rounds) -> list[Row]`` that compares a plain way with ours, on this machine and in one run. toy: sizes
whose figures mean nothing. rounds: pairs of runs, where a part makes several; None: as many as it has time for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

MODULES = {
    "inference": "benchmarks.inference",
    "parsing": "benchmarks.parsing",
    "probing": "benchmarks.probing",
    "steps": "benchmarks.steps",
    "streaming": "benchmarks.streaming",
}


@dataclass(frozen=True)
class Row:
    """Seconds that the plain way and ours take for the same. goal: times that ours should be faster, None where nothing is promised or
    this machine, or a toy run, can't tell. ratio: the median of the ratios of pairs that ran one after the other. limit: seconds that
    ours may take."""

    name: str
    plain_s: float
    fast_s: float
    ratio: float
    goal: float | None = None
    note: str = ""
    limit: float | None = None

    @property
    def missed(self) -> bool:
        return (self.goal is not None and self.ratio < self.goal) or (self.limit is not None and self.fast_s > self.limit)

    def __str__(self) -> str:
        goal = f"{self.goal:g}" if self.goal is not None else "-" if self.limit is None else f"{self.limit:g} s"
        said = " MISSED" if self.missed else ""
        return f"{self.name:<44} {self.plain_s:10.5f} {self.fast_s:10.5f} {times(self.ratio):>7} {goal:>5}{said}"


HEAD = f"{'name':<44} {'plain_s':>10} {'fast_s':>10} {'ratio':>7} {'goal':>5}"


def times(ratio: float) -> str:
    """Two decimals where a tenth would hide which side of a whole number it is."""
    return f"{ratio:.{1 if ratio >= 10 else 2}f}"


def sized(size: dict, rounds: int | None) -> dict:
    """A size with another number of rounds, if one is given."""
    return size if rounds is None else size | {"rounds": rounds}


@contextmanager
def watched() -> Iterator[Callable[[], float]]:
    """Gives a function that tells, after the block, by how many MiB this process was larger at most than when the block began."""
    import psutil

    process, done = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: (peak - before) / 2**20
    finally:
        done.set()
        watcher.join()


def table(rows: list[dict]) -> str:
    """Rows of benchmarks/results/benchmarks.json as README shows them."""
    lines = ["| | plain | ours | times | goal |", "|---|---|---|---|---|"]
    for row in rows:
        peak = row["name"].startswith("peak memory")
        plain, fast = (_short(row[key], peak) for key in ("plain_s", "fast_s"))
        goal = f"{row['goal']:g}" if row["goal"] is not None else f"{row['limit']:g} s" if row.get("limit") else "–"
        ratio = "–" if row["ratio"] is None else times(row["ratio"])
        lines.append(f"| {row['name']} | {plain} | {fast} | {ratio} | {goal} |")
    return "\n".join(lines)


def _short(value: float | None, peak: bool) -> str:
    if value is None:
        return "–"
    return f"{value:.1f} GiB" if peak else f"{value:.1f} s" if value >= 1 else f"{1000 * value:.{1 if value < 0.1 else 0}f} ms"
