"""How long missing cells will take: arithmetic of what has to be trained over the speed that finished cells, or a short trial, had."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from skelmm_core import settings
from skelmm_core.ablation.cells import Cell
from skelmm_core.evaluation import complexity

PASSES = 3.0  # forward, and about twice that for backward
TRIAL = 16  # clips


def work(chosen: Iterable[Cell], anew: bool = False) -> list[float]:
    """GFLOP of convolutions and products of each cell, in the order given; a stage counts where it is first needed. What is there is no
    work; anew: as if nothing were there, which is the same on every machine and at any time."""
    chosen = list(chosen)
    if not chosen:
        return []
    exp = chosen[0].exp
    single = complexity.gflops(exp.untrained(("joint",)), len(exp.clips.class_names), exp.settings.frames, exp.train.joints.shape[-1])
    seen: set[str] = set()
    found = []
    for cell in chosen:
        passes = 0.0
        if (anew or not cell.figures) and str(cell.file) not in seen:
            passes = len(_streams(cell)) * float(len(cell.exp.train) + len(cell.exp.test))
            s = settings.narrow(cell.exp.settings, "exchange", **cell.call)
            per = [
                len(cell.exp.settings.names) * (PASSES + 1) * s.exchange_epoch,
                len(s.names) * (PASSES + 1) * (s.epochs - s.exchange_epoch),
                (len(s.names) + PASSES * len(_streams(cell))) * cell.exp.settings.student_epochs,
            ]
            kept = not anew and (cell.exp.pretrain_folder() / f"epoch-{s.exchange_epoch:04d}.pt").exists()
            for number, (name, _) in enumerate(cell.stages):
                if name not in seen and not (number == 0 and kept):
                    passes += per[number] * len(cell.exp.train)
                seen.add(name)
        seen.add(str(cell.file))
        found.append(passes * single)
    return found


def seconds_per_gflop(chosen: Iterable[Cell]) -> float:
    """Of finished cells (the median), else of a trial of a few clips through one encoder on this machine."""
    chosen = list(chosen)
    known = [f["training_seconds"] / gflop for c in chosen if (f := c.figures) and (gflop := own_training(c))]
    if known and statistics.median(known) > 0:
        return float(statistics.median(known))
    exp = chosen[0].exp
    branches, bodies = exp.untrained(("joint",)), exp.train.joints.shape[-1]
    classes, frames = len(exp.clips.class_names), exp.settings.frames
    took = complexity.milliseconds(branches, classes, frames, bodies, TRIAL, repeats=3, threads=None, autocast=exp.fabric.autocast)
    return took / 1000 / complexity.gflops(branches, classes, frames, bodies)


def own_training(cell: Cell) -> float:
    """GFLOP of the training of the cell's own stage, which `training_seconds` belong to."""
    if cell.entry.stage == "untrained":
        return 0.0
    exp, s = cell.exp, settings.narrow(cell.exp.settings, "exchange", **cell.call)
    single = complexity.gflops(exp.untrained(("joint",)), len(exp.clips.class_names), exp.settings.frames, exp.train.joints.shape[-1])
    if cell.entry.stage == "exchange":
        return float(single * len(exp.train) * len(s.names) * (PASSES + 1) * (s.epochs - s.exchange_epoch))
    return single * len(exp.train) * (len(s.names) + PASSES * len(_streams(cell))) * exp.settings.student_epochs


def _streams(cell: Cell) -> tuple[str, ...]:
    if cell.entry.stage == "distill":
        return cell.exp.settings.student_names
    return cell.entry.streams or settings.narrow(cell.exp.settings, "exchange", **cell.call).names


def spelled(seconds: float) -> str:
    """``"40 s"``, ``"12 min"``, ``"3.5 h"``."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
