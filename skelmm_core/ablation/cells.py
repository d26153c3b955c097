"""Cells of the grid: a row of `grid` and a seed -> figures, kept as one small file each, so that any number of processes and machines
can share the work and a run that stopped goes on.

A cell's file is named after what decides it: stage, settings, data, code. Two rows that come to the same are one cell. Stages lie in
Experiment's own folders; a stage that several cells need, such as stage 1 of a seed, is trained by the first that gets there, while the
others do something else or wait.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from skelmm_core import manifest, settings
from skelmm_core.ablation import subsets
from skelmm_core.ablation.grid import ADDED, BASE, Entry
from skelmm_core.claims import claimed
from skelmm_core.encoder import Branches
from skelmm_core.errors import TrainingError
from skelmm_core.evaluation import complexity
from skelmm_core.evaluation.scores import Scores
from skelmm_core.experiment import Experiment, Trained
from skelmm_core.files import read_json, replacing

FOLDER = "ablations"
FORMAT = 2  # 2: right of three and six modalities
_NUMBER = (int, float)
FIELDS: dict[str, type | tuple[type, ...]] = {  # that every cell's file has
    "identity": dict, "stage": str, "seed": int, "folder": str, "by_other_code": bool, "training_seconds": _NUMBER, "processor": str,
    "git": (dict, type(None)), "date": str, "seconds": _NUMBER, "process": str, "streams": list, "linear": _NUMBER, "linear_late": _NUMBER,
    "linear_joint": _NUMBER, "knn": _NUMBER, "stream_linear": dict, "stream_knn": dict, "n": int, "classes": int, "chance": _NUMBER,
    "parameters": int, "gflops": _NUMBER, "milliseconds": _NUMBER, "subsets": dict, "right": dict,
}  # fmt: skip
PAUSE = 2.0  # seconds between looks at what other processes are doing
CALLED = frozenset(settings.field_types(settings.Exchange)) - frozenset(settings.field_types(settings.Pretrain)) | {"modalities"}


class Cell(NamedTuple):
    """A row of the grid at one seed. exp: the experiment it belongs to; file: where its figures go."""

    entry: Entry
    seed: int
    exp: Experiment
    file: Path

    @property
    def call(self) -> dict[str, Any]:
        """Changes that are given to stage 2 instead of the experiment: what stage 1 is, is the same with them."""
        return {k: v for k, v in self.entry.changes.items() if k in CALLED} if self.entry.stage == "exchange" else {}

    @property
    def figures(self) -> dict[str, Any] | None:
        """What the file holds; None where there is none, or one that can't be read, is of another format or lacks something."""
        found = read_json(self.file) or {}
        whole = found.get("format") == FORMAT and all(isinstance(found.get(name), kind) for name, kind in FIELDS.items())
        return found if whole else None

    @property
    def stages(self) -> list[tuple[str, Callable[[], Any]]]:
        """(what it is called in claims, how it is made) of the stages that the cell needs, its own last."""
        exp, call = self.exp, self.call
        until = exp.settings.exchange_epoch
        if self.entry.stage == "untrained":
            return []
        found = [(exp.pretrain_folder().name, lambda: exp.pretrain(until=until))]
        found.append((_stage_name(exp, "exchange", call), lambda: exp.exchange(**call)))
        if self.entry.stage == "distill":
            found.append((_stage_name(exp, "distill", {}), exp.distill))
        return found


def cells(base: Experiment, rows: Iterable[Entry], seeds: Iterable[int]) -> list[Cell]:
    """Every row at every seed, in an order in which a stage is trained before what builds on it: seed by seed, and within a seed stage 1
    by stage 1. Clips are loaded once for all."""
    rows, found = list(rows), []
    _ = base.train, base.test  # from here on shared by all experiments like it
    for seed in seeds:
        experiments: dict[str, Experiment] = {}
        for entry in rows:
            given = {"seed": seed} | ({} if entry.stage == "exchange" else entry.changes)
            if entry.stage == "exchange":
                given |= {k: v for k, v in entry.changes.items() if k not in CALLED}
            name = json.dumps(given, sort_keys=True)
            if name not in experiments:
                experiments[name] = base.again(**given)
            exp = experiments[name]
            found.append(Cell(entry, seed, exp, exp.out / FOLDER / f"cell-{settings.digest(identity(exp, entry))}.json"))
    first: dict[str, int] = {}
    for number, cell in enumerate(found):
        first.setdefault(cell.exp.pretrain_folder().name, number)
    return sorted(found, key=lambda c: first[c.exp.pretrain_folder().name])  # stable: rows keep their order


def identity(exp: Experiment, entry: Entry) -> dict[str, Any]:
    """JSON that decides a cell's figures."""
    stage = "pretrain" if entry.stage == "untrained" else entry.stage
    call = {k: v for k, v in entry.changes.items() if k in CALLED} if stage == "exchange" else {}
    values = dataclasses.asdict(settings.narrow(exp.settings, stage, **call))
    source = {"content": exp.clips.content, "protocol": exp.split.name, "train": len(exp.split.train), "test": len(exp.split.test)}
    values.pop("protocol")
    own = {"stage": entry.stage, "streams": list(entry.streams), "parent": _parent(exp, entry)}
    return {"format": FORMAT, **own, "settings": values, "data": source, "code": manifest.evaluation_code()}


def run(chosen: Iterable[Cell], say: Callable[[str], None] = lambda line: None) -> int:
    """Compute the cells that are missing, those that other processes work on last; how many were computed here.

    A recipe that diverges at a seed has no figures there: it is named and left out, and the others go on.

    say: gets a line for each cell, as soon as it is there.
    """
    waiting = {cell.file: cell for cell in chosen if cell.figures is None}  # by file: some rows are the same cell
    total, computed, told = len(waiting), 0, False
    finished: set[Any] = set()
    while waiting:
        before = len(waiting)
        for file, cell in list(waiting.items()):
            try:
                there = cell.figures is not None or compute(cell, finished)
            except TrainingError as problem:
                del waiting[file]
                say(f"{total - len(waiting)}/{total} seed {cell.seed}, {cell.entry.group}: {cell.entry.name}: without figures: {problem}")
                continue
            if there:
                done = cast(dict[str, Any], cell.figures)
                computed += done["process"] == _process()
                del waiting[file]
                say(f"{total - len(waiting)}/{total} seed {cell.seed}, {cell.entry.group}: {cell.entry.name}: {told_of(done)}")
        if waiting and len(waiting) == before:
            if not told:
                names = ", ".join(sorted(p.name for p in _store(next(iter(waiting.values()))).glob("*.claim")))
                say(f"waiting for other processes; if none is at work any more, delete their claims in {FOLDER}/: {names}")
                told = True
            time.sleep(PAUSE)
    return computed


def told_of(figures: dict[str, Any]) -> str:
    return f"linear {figures['linear']:.1f} %, kNN {figures['knn']:.1f} %, {figures['seconds']:.0f} s"


def compute(cell: Cell, finished: set[str] | None = None) -> bool:
    """Train what is missing, measure, write the file. False if another process holds the cell or a stage of it; nothing is then done.

    finished: names of stages that are known to be there, which need no second look; those made here are added.
    """
    finished = set() if finished is None else finished
    store, began = _store(cell), time.monotonic()
    with ExitStack() as held:
        if not held.enter_context(claimed(store, cell.file.stem)):
            return False
        if cell.figures is not None:  # finished meanwhile
            return True
        made, stages = None, cell.stages
        for name, make in stages:
            if name in finished and name != stages[-1][0]:
                continue
            with claimed(store, name) as ours:
                if not ours:
                    return False
                made = make()
                finished.add(name)
        branches = cell.exp.untrained(cell.entry.streams or None) if made is None else _branches(made)
        figures = measure(cell.exp, branches) | _origin(cell, made)
        figures |= {"seconds": time.monotonic() - began, "process": _process()}
        with replacing(cell.file) as out:
            out.write(json.dumps(figures, indent=1).encode())
    return True


def measure(exp: Experiment, branches: Branches) -> dict[str, Any]:
    """Accuracies of frozen branches in percent of the test clips, what their subsets say, cost, and which clips are right.

    right: "fused" and each stream -> a letter per test clip, 1 or 0, by the late probes, for tests of difference; of all six modalities
    also "three" (joint, motion, bone) and "six", fused late.
    """
    features = exp.features(branches)
    scores: Scores = exp.score(features)
    late, labels = scores.late, scores.late.labels
    classes = len(exp.clips.class_names)
    values = subsets.accuracies(late.stream_logits, labels)
    cost = complexity.measure(branches, classes, exp.settings.frames, exp.train.joints.shape[-1])
    found = {
        "streams": list(branches), "linear": scores.linear.accuracy, "linear_late": late.accuracy, "linear_joint": scores.joint.accuracy,
        "knn": scores.knn.accuracy, "stream_linear": late.streams, "stream_knn": scores.knn.streams, "n": len(labels), "classes": classes,
        "chance": exp.chance, **dataclasses.asdict(cost),
        "subsets": {"+".join(names): value for names, value in values.items()} if len(branches) > 1 else {},
        "right": {"fused": _letters(scores.linear.predictions == labels)}
        | {name: _letters(logits.argmax(1) == labels) for name, logits in late.stream_logits.items()},
    }  # fmt: skip
    if set(BASE + ADDED) <= set(branches):
        found["shapley"] = subsets.shapley(values, exp.chance)
        gains = subsets.class_gains(late.stream_logits, labels, classes, BASE, ADDED)
        plain = [[None if np.isnan(gain) else float(gain) for gain in row] for row in gains]
        found["class_gains"] = dict(zip(("all", *ADDED), plain, strict=True))
        found["right"] |= {
            "three": _letters(subsets.fused(late.stream_logits, BASE) == labels),
            "six": _letters(late.predictions == labels),
        }
    return found


def shard(chosen: list[Cell], number: int, count: int, weights: list[float] | None = None) -> list[Cell]:
    """Part `number` of `count`, 1-based, in one piece of the order, so that cells of one stage 1 stay together; of about equal weight."""
    weights = weights or [1.0] * len(chosen)
    ends = np.cumsum(weights)
    total = ends[-1] if len(ends) else 0.0
    middle = ends - np.array(weights) / 2
    return [c for c, m in zip(chosen, middle, strict=True) if (number - 1) / count * total <= m < number / count * total or (
        number == count and m >= total)]  # fmt: skip


def _branches(made: Trained) -> Branches:
    model: Any = made.model
    found: Branches = model.students if hasattr(model, "students") else model.query
    return found


def _origin(cell: Cell, made: Trained | None) -> dict[str, Any]:
    return {
        "format": FORMAT, "identity": identity(cell.exp, cell.entry), "stage": cell.entry.stage, "seed": cell.seed,
        "folder": made.folder.name if made else "", "by_other_code": bool(made and made.by_other_code),
        "training_seconds": made.seconds if made else 0.0, "git": manifest.git(), "processor": manifest.hardware()["processor"],
        "date": datetime.now(UTC).date().isoformat(),
    }  # fmt: skip


def _stage_name(exp: Experiment, stage: str, call: dict[str, Any]) -> str:
    """What decides a stage, as a name for its claim."""
    s = settings.narrow(exp.settings, stage, **call)
    return f"{stage}-{settings.digest(settings.training_fields(s), exp.clips.content, exp.split.name, exp.pretrain_folder().name)}"


def _parent(exp: Experiment, entry: Entry) -> str:
    return "" if entry.stage == "untrained" else exp.pretrain_folder().name


def _letters(right: np.ndarray) -> str:
    return "".join("01"[int(r)] for r in right)


def letters(text: str) -> np.ndarray:
    """(N,) truth of a "right" entry."""
    return np.array([c == "1" for c in text])


def _store(cell: Cell) -> Path:
    return cell.file.parent


def _process() -> str:
    return f"{socket.gethostname()}/{os.getpid()}"


def with_seeds(chosen: Iterable[Cell]) -> Iterator[tuple[str, str, list[Cell]]]:
    """(group, name, cells of all seeds), in the order of the grid."""
    found: dict[tuple[str, str], list[Cell]] = {}
    for cell in chosen:
        found.setdefault((cell.entry.group, cell.entry.name), []).append(cell)
    for (group, name), same in found.items():
        yield group, name, sorted(same, key=lambda c: c.seed)
