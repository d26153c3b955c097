"""A comparison as one table, as JSON and as a tidy CSV (a line per figure)."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from skelmm_core.comparison.parts import STREAM
from skelmm_core.files import replacing

MEANINGS = {
    "untrained": "the same encoders as stage 1 starts them; fine-tuned, they are the column supervised",
    "raw": "nearest neighbours by distance in raw coordinates, no encoder",
    "supervised": "encoders of the same size trained from scratch with labels, all of them for the rows of frozen features",
}


def summary(rows: Iterable[Any]) -> list[dict[str, Any]]:
    """One entry per subject, recipe and figure: mean, and sample standard deviation over seeds (of each seed's mean over draws) where there
    are several, else over draws; None for a single value."""
    cells: dict[tuple[str, str, str], list[Any]] = {}
    for row in rows:
        cells.setdefault((row.subject, row.recipe, row.what), []).append(row)
    found = []
    for (subject, recipe, what), cell in cells.items():
        seeds = sorted({row.seed for row in cell})
        by_seed = [statistics.mean(row.percent for row in cell if row.seed == seed) for seed in seeds]
        values, over = (by_seed, "seeds") if len(seeds) > 1 else ([row.percent for row in cell], "draws")
        deviation = statistics.stdev(values) if len(values) > 1 else None
        found.append({
            "subject": subject, "recipe": recipe, "what": what, "mean": statistics.mean(by_seed), "std": deviation,
            "over": over if deviation is not None else "", "n": len(cell), "seeds": seeds, "draws": len({row.draw for row in cell}),
            "clips": cell[0].clips,
        })  # fmt: skip
    return found


def text(summaries: list[dict[str, Any]], clips: int) -> str:
    """Figures as rows, subjects as columns, percent; what the columns and the deviations are, below. Single streams are left out.

    clips: training clips; how many have labels is told where these are fewer.
    """
    shown = [s for s in summaries if not s["what"].startswith(STREAM)]
    subjects = list(dict.fromkeys(s["subject"] for s in shown))
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for s in sorted(shown, key=lambda s: list(dict.fromkeys(t["recipe"] for t in shown)).index(s["recipe"])):
        cell = f"{s['mean']:.1f}" + ("" if s["std"] is None else f" ± {s['std']:.1f}")
        lines.setdefault((s["recipe"], s["what"]), {})[s["subject"]] = cell
    known = {(s["recipe"], s["what"]): s["clips"] for s in shown}
    table = [["percent of the test clips", *subjects]]
    for (recipe, what), cells in lines.items():
        labelled = f" ({known[recipe, what]} labels)" if known[recipe, what] < clips else ""
        table.append([recipe + (f", {what}" if what else "") + labelled, *(cells.get(subject, "-") for subject in subjects)])
    widths = [max(len(line[i]) for line in table) for i in range(len(subjects) + 1)]
    told = ["  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]) for line in table]
    told += [f"{subject}: {MEANINGS[subject]}" for subject in subjects if subject in MEANINGS]
    seeds = max((len(s["seeds"]) for s in shown if s["over"] == "seeds"), default=0)
    draws = {s["recipe"]: s["draws"] for s in shown if s["over"] == "draws"}
    spread = [f"over {seeds} seeds"] if seeds else []
    if draws:
        listed = ", ".join(f"{count} of {recipe}" for recipe, count in draws.items())
        spread.append(f"{'where seeds have no say ' if seeds else ''}over draws, {listed}")
    told += [f"±: standard deviation {'; '.join(spread)}"] if spread else []
    return "\n".join(told)


def write(path: Path, rows: list[Any], told: dict[str, Any]) -> None:
    """`path` (.json): `told` and the rows; beside it the rows as .csv."""
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(rows[0]._fields)
    writer.writerows(rows)
    with replacing(path) as file:
        file.write(json.dumps({**told, "rows": [row._asdict() for row in rows]}, indent=1).encode())
    with replacing(path.with_suffix(".csv")) as file:
        file.write(lines.getvalue().encode())
