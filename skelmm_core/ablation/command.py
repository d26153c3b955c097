"""`skelmm ablate`: what is there, what is missing, and the missing."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from skelmm_core import manifest, parameters
from skelmm_core.ablation import cells, expected, grid, table
from skelmm_core.errors import SettingsError
from skelmm_core.experiment import Experiment
from skelmm_core.files import try_place


def ablate(
    groups: Sequence[str], data: str, out: Path, preset: str, seeds: str, given: Sequence[str], wanted: Sequence[str], shard: str, to: str,
    device: str, smoke: bool, short: bool, dry_run: bool,
) -> str:  # fmt: skip
    """Run the cells of some groups that are missing (none given: all) and write the table; returns what is to be printed.

    Args as in `cli.ablate`. Raises `SettingsError` for what does not fit, before anything is trained.
    """
    base = Experiment(data, out, preset, device, smoke, **((grid.SHORT if short and not smoke else {}) | parameters.overrides(given)))
    base.check("distill")
    file = Path(to) if to else base.out / "ablations.csv"
    if not dry_run:
        try_place(file, ",".join(table.COLUMNS[:3]).encode())
    rows = grid.named(grid.entries(base.settings, groups or grid.GROUPS, short), wanted)
    chosen = cells.cells(base, rows, numbers(seeds))
    whole = len(chosen)
    weights = expected.work(chosen)
    if shard:
        part, parts = parse_shard(shard)
        mine = {id(c) for c in cells.shard(chosen, part, parts, [w + 1e-9 for w in expected.work(chosen, anew=True)])}
        weights = [w for c, w in zip(chosen, weights, strict=True) if id(c) in mine]
        chosen = [c for c in chosen if id(c) in mine]
    missing = {c.file for c in chosen if c.figures is None}
    there = len({c.file for c in chosen}) - len(missing)
    lines = [f"{base.clips.title}, protocol {base.split.name}: {len(base.split.train)} clips train, {len(base.split.test)} test"]
    of = f", part {shard} of {whole}" if shard else ""
    lines.append(f"{len(chosen)} rows of the table{of}; {there} cells are there, {len(missing)} are missing in {base.out / cells.FOLDER}")
    if missing:
        rate = expected.seconds_per_gflop(chosen)
        lines.append(
            f"about {expected.spelled(rate * sum(weights))} of training and feature extraction on this machine, probing not counted"
        )
    if dry_run:
        return "\n".join(lines + _listed(chosen, weights, rate if missing else 0.0))
    print("\n".join(lines), flush=True)
    computed = cells.run(chosen, lambda line: print(line, file=sys.stderr, flush=True))
    table.write(file, table.rows(chosen, manifest.command("skelmm")))
    other = sorted({f["folder"] for c in chosen if (f := c.figures) and f["by_other_code"]})
    warning = [f"trained by another version of the code, wholly or in part: {', '.join(other)}; delete them to train anew"] if other else []
    return "\n".join([table.text(chosen), *warning, f"{file}: {computed} cells computed here, the others found"])


def numbers(text: str) -> list[int]:
    """``"0,1,2"`` as seeds, each once."""
    try:
        found = list(dict.fromkeys(int(word) for word in text.split(",") if word.strip()))
    except ValueError:
        found = []
    if not found:
        raise SettingsError(f"--seeds must be whole numbers, as in 0,1,2, found '{text}'")
    return found


def parse_shard(text: str) -> tuple[int, int]:
    """``"2/4"``: the second of four parts."""
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    part, parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= part <= parts:
        raise SettingsError(f"--shard must be a part of several, from 1/4 to 4/4, found '{text}'")
    return part, parts


def _listed(chosen: Sequence[cells.Cell], weights: Sequence[float], rate: float) -> list[str]:
    lines = []
    for cell, gflop in zip(chosen, weights, strict=True):
        state = "there" if cell.figures else f"about {expected.spelled(gflop * rate)}" if gflop else "with another row"
        lines.append(f"  seed {cell.seed}  {cell.entry.group}: {cell.entry.name}  {state}")
    return lines
