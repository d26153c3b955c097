"""How accuracy falls when clips are damaged: everything is fitted on undamaged training clips, the test clips alone are damaged.

So a curve tells what a system that was trained on good recordings does in worse conditions. Classifiers are those of the linear probe; of
raw coordinates the nearest training clip decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from skelmm_core import batches
from skelmm_core.clips import Clips
from skelmm_core.encoder import Branches
from skelmm_core.evaluation.damage import KINDS, Damaged
from skelmm_core.evaluation.features import stacked
from skelmm_core.evaluation.knn import knn, raw_nearest
from skelmm_core.evaluation.linear import classifiers, logits_of
from skelmm_core.evaluation.metrics import sample
from skelmm_core.evaluation.whitening import for_neighbours, whitened
from skelmm_core.experiment import Experiment

Levels = dict[str, tuple[float, ...]]
Curves = dict[str, dict[str, dict[float, list[float]]]]  # model -> damage -> level -> percent of the test clips, one per seed
RAW = "raw 1-NN"  # nearest neighbours in raw coordinates, as figures call them


def levels(exp: Experiment, names: Sequence[str] = ()) -> Levels:
    """The damages that these clips can suffer (of all, or of `names`), each with its levels, 0 the first."""
    flat = exp.clips.skeleton.dimensions == 2
    return {name: (0.0, *KINDS[name].levels) for name in (names or KINDS) if KINDS[name].flat or not flat}


def encoders_under(exp: Experiment, branches: Branches, rows: np.ndarray | None = None) -> Callable[[str, float], tuple[float, float]]:
    """A function of damage and level -> accuracy of linear probe (fused as the settings say) and kNN in percent of the test clips, or of
    those of the clips file that have the numbers `rows`."""
    s, labels, classes = exp.settings, exp.train.labels.cpu(), len(exp.clips.class_names)
    clean = exp.labelled(branches)
    fitted = whitened(clean, clean, s.whiten_all, s.whiten_shrink)[0]
    weight, bias = classifiers(fitted, labels, classes, s)
    tested = exp.split.test if rows is None else rows

    def under(kind: str, level: float) -> tuple[float, float]:
        clips = cast(Clips, Damaged(exp.clips, kind, level, s.seed))  # has all that is asked of it there
        test = batches.load(clips, tested, s.frames, s.skeleton, s.view, exp.fabric.device, smooth=s.smooth, trim=s.trim)
        query = whitened(clean, exp.extracted(branches, test, s.readout), s.whiten_all, s.whiten_shrink)[1]
        right = logits_of(stacked(query), weight, bias).mean(dim=0).argmax(dim=1) == test.labels.cpu()
        nearest = knn(*for_neighbours(fitted, query, s), labels, test.labels.cpu(), classes, s.neighbours)
        return 100.0 * float(right.float().mean()), nearest.accuracy

    return under


def raw_under(exp: Experiment, rows: np.ndarray | None = None) -> Callable[[str, float], float]:
    """The same of the nearest training clip in raw coordinates, one accuracy."""
    split = exp.split if rows is None else exp.split._replace(test=rows)

    def under(kind: str, level: float) -> float:
        damaged = cast(Clips, Damaged(exp.clips, kind, level, exp.settings.seed))
        return raw_nearest(exp.clips, split, test_clips=damaged).accuracy

    return under


def curves(exp: Experiment, models: Mapping[str, Branches], names: Sequence[str] = (), most: int | None = None) -> Curves:
    """What `drawing.damage_curves` draws, by linear probe, and last raw coordinates by their nearest neighbour.

    names: of damages; none: all that these clips can suffer. most: test clips, drawn by the seed where there are more.
    """
    rows = None if most is None else exp.split.test[sample(len(exp.split.test), exp.settings.seed, most)]
    known: dict[str, Callable[[str, float], float]] = {model: _linear(encoders_under(exp, b, rows)) for model, b in models.items()}
    known[RAW] = raw_under(exp, rows)
    found = levels(exp, names)
    result: Curves = {}
    for model, under in known.items():
        clean = under(next(iter(found)), 0.0)  # the same whatever is not done
        result[model] = {kind: {level: [under(kind, level) if level else clean] for level in found[kind]} for kind in found}
    return result


def _linear(under: Callable[[str, float], tuple[float, float]]) -> Callable[[str, float], float]:
    return lambda kind, level: under(kind, level)[0]


def of_rows(rows: Iterable[Mapping[str, Any]]) -> Curves:
    """The same from rows of a comparison (subject, recipe, what, seed, percent; texts will do), other recipes left out."""
    found: Curves = {}
    for row in rows:
        kind, _, rest = str(row["what"]).partition(" ")
        level, _, how = rest.partition(", ")
        raw = row["subject"] == "raw"
        if row["recipe"] == "robust" and how == ("knn" if raw else "linear"):
            model = RAW if raw else str(row["subject"])
            found.setdefault(model, {}).setdefault(kind, {}).setdefault(float(level), []).append(float(row["percent"]))
    return {model: by_kind for model, by_kind in found.items() if model != RAW} | {RAW: found[RAW]} if RAW in found else found
