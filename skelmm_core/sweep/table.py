"""What a sweep has come to: a table of its jobs, its results as one tidy CSV, and their means over seeds."""

from __future__ import annotations

import csv
import io
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skelmm_core.files import replacing
from skelmm_core.sweep.grid import label
from skelmm_core.sweep.jobs import Job, State

NAME = "sweep.csv"


def status(jobs: Sequence[Job], at: Mapping[str, State]) -> str:
    """A line per job, as aligned text, and how many are in which state."""
    rows = [(at[j.name].word, j.title, j.name, at[j.name].note) for j in jobs]
    counts = Counter(word for word, *_ in rows)
    return "\n".join([*_aligned([("state", "job", "folder", ""), *rows]), ", ".join(f"{n} {word}" for word, n in counts.items())])


def rows(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """A row per point that is done: settings that vary, seed, metrics (percent of the test clips), folder of weights, seconds."""
    found = []
    for job in jobs:
        if job.measures and (result := job.result):
            told = {name: result[name] for name in ("folder", "seconds", "training_seconds")}
            found.append({**job.point, **result["metrics"], **told, "job": job.name})
    return found


def write(path: Path, found: Sequence[dict[str, Any]]) -> None:
    """Rows as CSV; columns are those of all rows, in the order in which they come."""
    columns = list(dict.fromkeys(name for row in found for name in row))
    last = ("folder", "job", "seconds", "training_seconds")
    columns = [name for name in columns if name not in last] + list(last)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def means(jobs: Sequence[Job]) -> str:
    """Mean and standard deviation of every metric over the seeds of a point, as aligned text."""
    points: dict[str, list[dict[str, float]]] = {}
    for job in jobs:
        if job.measures and (result := job.result):
            point = label({k: v for k, v in job.point.items() if k != "seed"}) or "all settings as given"
            points.setdefault(point, []).append(result["metrics"])
    names = list(dict.fromkeys(name for found in points.values() for metrics in found for name in metrics))
    lines = [("point", "seeds", *names)]
    for point, found in points.items():
        lines.append((point, str(len(found)), *(_spread([m[name] for m in found if name in m]) for name in names)))
    return "\n".join(_aligned(lines))


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{statistics.mean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return ["  ".join(word.ljust(n) for word, n in zip(line, widths, strict=True)).rstrip() for line in lines]
