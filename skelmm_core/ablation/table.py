"""Finished cells as rows of one table, and as differences to a reference over the same seeds."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from skelmm_core.ablation.cells import Cell, letters
from skelmm_core.errors import DataError
from skelmm_core.evaluation.paired import Paired, mcnemar, paired
from skelmm_core.files import replacing
from skelmm_core.modalities import NAMES

FIGURES = ("linear", "linear_late", "linear_joint", "knn", "shapley")
FACTS = ("n", "parameters", "gflops", "milliseconds", "seconds", "training_seconds")
PROVENANCE = ("commit", "clean", "code", "processor", "date", "command")
COLUMNS = (
    "group", "name", "seed", "modalities", *FIGURES, *(f"alone_{name}" for name in NAMES), *FACTS, "stage", "changes", "preset", "commit",
    "clean", "code", "processor", "date", "command",
)  # fmt: skip


class Difference(NamedTuple):
    """A row against its reference, linear probe, in points. beyond: in how many seeds McNemar's test on clips gives p < 0.05."""

    name: str
    test: Paired
    beyond: int


def least_times(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Milliseconds by name: of models that have as many parameters and GFLOP, which are one architecture, the least, since a machine that
    does something else as well only adds to it."""
    size = {name: (f["parameters"], f["gflops"]) for name, f in figures.items()}
    return {name: min(f["milliseconds"] for other, f in figures.items() if size[other] == size[name]) for name in figures}


def rows(chosen: Iterable[Cell], command: str) -> list[dict[str, Any]]:
    """One row per finished cell and, of group modalities, one per subset of its streams (group "subsets", name "model: joint+bone"; that
    of a single stream has its Shapley value), columns as in `COLUMNS`; percent of the test clips, seconds, milliseconds per clip."""
    found = []
    for cell in chosen:
        f = cell.figures
        if f is None:
            continue
        git = f["git"] or {}
        common = {
            "seed": cell.seed, "n": f["n"], "stage": f["stage"], "changes": json.dumps(cell.entry.changes, sort_keys=True),
            "preset": cell.exp.preset + (", smoke" if cell.exp.smoke else ""), "commit": git.get("commit", ""),
            "clean": git.get("clean", ""), "code": f["identity"]["code"],
            "processor": f["processor"], "date": f["date"], "command": command,
        }  # fmt: skip
        alone = {f"alone_{name}": value for name, value in f["stream_linear"].items() if name in NAMES}
        figures = {name: f[name] for name in (*FIGURES, *FACTS) if name in f and name != "shapley"}
        own = {"group": cell.entry.group, "name": cell.entry.name, "modalities": ",".join(f["streams"])}
        found.append(own | figures | alone | common)
        if cell.entry.group == "modalities" and "shapley" in f:
            for subset, value in f["subsets"].items():
                row = {"group": "subsets", "name": f"{cell.entry.name}: {subset}", "modalities": subset.replace("+", ",")}
                found.append(row | {"linear_late": value, "shapley": f["shapley"].get(subset, "")} | common)
    return found


def figures(chosen: Iterable[Cell]) -> list[dict[str, Any]]:
    """The same rows without what may differ between two runs of the same: where and when they were measured."""
    return [{k: v for k, v in row.items() if k not in PROVENANCE} for row in rows(chosen, "")]


def write(path: Path, found: Sequence[dict[str, Any]]) -> None:
    """Rows as CSV with all of `COLUMNS`; what a row lacks is empty."""
    lines = io.StringIO()
    writer = csv.DictWriter(lines, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()} for row in found)
    with replacing(path) as file:
        file.write(lines.getvalue().encode())


def values(chosen: Iterable[Cell], group: str, name: str, figure: str = "linear") -> list[float]:
    """One figure of a row, seed by seed."""
    return [f[figure] for c in _of(chosen, group, name) if (f := c.figures)]


def difference(chosen: Iterable[Cell], group: str, name: str, reference: str) -> Difference:
    """A row minus another of its group, over the seeds that both have. Raises `DataError` where there is none."""
    chosen = list(chosen)
    one, other = ({c.seed: f for c in _of(chosen, group, n) if (f := c.figures)} for n in (name, reference))
    seeds = [seed for seed in one if seed in other]
    if not seeds:
        raise DataError(f"'{name}' and '{reference}' of the group '{group}' have no seed in common that is finished; run the ablation")
    test = paired([one[s]["linear"] for s in seeds], [other[s]["linear"] for s in seeds])
    p = [mcnemar(letters(one[s]["right"]["fused"]), letters(other[s]["right"]["fused"])).p for s in seeds]
    return Difference(name, test, sum(value < 0.05 for value in p))


def sentence(found: Difference, one: str, other: str) -> str:
    """A difference in one sentence that claims no more than seeds and clips can bear."""
    p = found.test
    if p.n < 2:
        return f"{one} against {other}: {p.mean:+.1f} points with a single seed, which says nothing about chance."
    share = "the same in all seeds" if math.isnan(p.t_p) else f"t test p = {p.t_p:.2f}"
    tests = f"{share}, sign flips p = {p.permutation_p:.2f}; McNemar's p < 0.05 in {found.beyond} of {p.n} seeds"
    if p.low > 0 or p.high < 0:
        verdict = "the interval is apart from 0"
    elif abs(p.mean) > p.deviation:
        verdict = "larger than the spread over seeds, but the interval holds 0: a hint"
    else:
        verdict = "within the spread over seeds, so no difference is seen"
    return f"{one} against {other}: {p.mean:+.1f} ± {p.deviation:.1f} points over {p.n} seeds ({tests}); {verdict}."


def luck(found: Difference, one: str, other: str) -> list[str]:
    """A sign of failure where the spread of a difference over seeds is larger than the difference."""
    p = found.test
    if p.n > 1 and abs(p.mean) > p.deviation:
        return []
    spread = f"spreads by {p.deviation:.1f} over {p.n} seeds" if p.n > 1 else "was measured with a single seed"
    return [f"{one} against {other}: the difference of {p.mean:+.1f} points {spread}; more epochs, more seeds or more clips would tell."]


def text(chosen: Sequence[Cell]) -> str:
    """Finished rows as aligned text: mean and standard deviation over seeds."""
    names = list(dict.fromkeys((c.entry.group, c.entry.name) for c in chosen))
    lines: list[tuple[str, ...]] = [("group", "name", "seeds", "late", "joint", "kNN")]
    for group, name in names:
        figures = [values(chosen, group, name, f) for f in ("linear_late", "linear_joint", "knn")]
        lines.append((group, name, str(len(figures[0])), *(_spread(v) for v in figures)))
    widths = [max(len(line[i]) for line in lines) for i in range(6)]
    return "\n".join(
        "  ".join(w.ljust(n) if i < 2 else w.rjust(n) for i, (w, n) in enumerate(zip(line, widths, strict=True))) for line in lines
    )


def _of(chosen: Iterable[Cell], group: str, name: str) -> list[Cell]:
    return sorted((c for c in chosen if (c.entry.group, c.entry.name) == (group, name)), key=lambda c: c.seed)


def _spread(found: Sequence[float]) -> str:
    if not found:
        return "-"
    return f"{statistics.mean(found):.1f}" + (f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else "")
