"""Encoders beside what they must beat, by any recipes of `evaluation.recipes`.

The work is cut into parts (a subject, a recipe, a seed, a draw). Each finished part is kept as a small file that is named after what
decides it (weights, data, settings, recipe, code), so a comparison that was interrupted goes on, and comparisons share their references.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from skelmm_core import manifest, memory, settings
from skelmm_core.comparison.parts import PARTS, Figures, Part
from skelmm_core.comparison.subjects import AUGMENT, FIT, INPUT, READ, REFERENCES, Subject, data, fields, weights_digest, with_references
from skelmm_core.evaluation import recipes
from skelmm_core.evaluation.linear import lighter
from skelmm_core.evaluation.recipes import Recipe
from skelmm_core.files import read_json, replacing

__all__ = ["REFERENCES", "Row", "Subject", "compare", "data", "weights_digest", "with_references"]
PROBE = (
    "probe_epochs", "probe_lr", "probe_lr_drop", "probe_batch", "probe_standardise", "probe_fusion", "neighbours", "probe_views",
    "probe_fit", "probe_ridge", *AUGMENT,
)  # fmt: skip


class Row(NamedTuple):
    """One figure, in percent of the test clips. what: which of a recipe's figures, "" for its only one. seed: -1 where none has a say.
    clips: training clips whose labels were used."""

    subject: str
    recipe: str
    what: str
    seed: int
    draw: int
    clips: int
    percent: float


def compare(found: Iterable[Subject], chosen: Mapping[str, Recipe], store: Path, tell: bool = True) -> tuple[list[Row], int]:
    """All figures of all subjects by all recipes, and how many parts had to be computed; finished parts are kept in the folder `store`.

    tell: a line on stderr for each subject and recipe of which something is computed.
    """
    rows, computed = [], 0
    for subject in found:
        for name, recipe in chosen.items():
            began, before = time.monotonic(), computed
            for part in PARTS[recipe.kind](subject, recipe):
                identity = _identity(subject, recipe, part.name)
                file = store / f"part-{settings.digest(identity)}.json"
                figures = _kept(file, identity)
                if figures is None:
                    figures = [[what, draw, value] for (what, draw), value in _computed(subject, name, recipe, part).items()]
                    with replacing(file) as out:
                        out.write(json.dumps({"identity": identity, "figures": figures}, indent=1).encode())
                    computed += 1
                seed = -1 if subject.role == "raw" else subject.exp.settings.seed
                rows += [Row(subject.name, name, part.what or what, seed, draw, part.clips, value) for what, draw, value in figures]
            if tell and computed > before:
                words = f"{subject.name}, seed {subject.exp.settings.seed}, {name}: {computed - before} part{'s' * (computed - before > 1)}"
                print(f"{words}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return rows, computed


def _computed(subject: Subject, name: str, recipe: Recipe, part: Part) -> Figures:
    """A part's figures; where memory does not suffice for them, `TrainingError` says what to lower."""
    device, tuned = subject.exp.fabric.device, recipe.kind in ("finetune", "semi")
    if subject.role == "supervised" and not tuned:  # is trained first, by a recipe of its own
        what = f"training the supervised reference at batch={cast(Any, subject.make).recipe.batch} on {device}"
        with memory.enough(what, "add finetune to --measure and lower -p finetune.batch, or lower frames, or leave it out of --references"):
            _ = subject.branches
    what, advice = f"{subject.name}, {name}", "choose a protocol that has fewer clips"
    if tuned and (subject.role == "supervised" or getattr(recipe, "by", "finetune") == "finetune"):
        what, advice = f"{subject.name}, {name} at batch={cast(Any, recipe).batch} on {device}", f"lower -p {name}.batch, or frames"
    elif recipe.kind == "linear":
        advice = f"lower probe_views, or -p {name}.batch" if subject.exp.settings.probe_fit == "sgd" else lighter(subject.exp.settings)
    elif recipe.kind in ("semi", "fusion", "robust"):
        advice = lighter(subject.exp.settings)
    with memory.enough(what, advice):
        return part.compute()


def _identity(subject: Subject, recipe: Recipe, part: str) -> dict[str, Any]:
    names = (
        INPUT + READ + PROBE * (recipe.kind in ("linear", "knn", "semi", "fusion", "robust")) + FIT * (recipe.kind in ("finetune", "semi"))
    )
    described = recipes.described(recipe)
    if recipe.kind == "semi":  # a part is one share and draw, however many there are
        described = {k: v for k, v in described.items() if k not in ("shares", "draws")}
    identity = {
        "subject": subject.decided_by(), "recipe": described, "part": part, "data": data(subject.exp),
        "settings": {} if subject.role == "raw" else fields(subject.exp, names), "code": manifest.evaluation_code(),
    }  # fmt: skip
    spelled: dict[str, Any] = json.loads(json.dumps(identity))
    return spelled


def _kept(file: Path, identity: dict[str, Any]) -> list[list[Any]] | None:
    """Figures of a part that was finished; None where there is none, or none that can be read."""
    kept = read_json(file) or {}
    figures = kept.get("figures")
    return figures if kept.get("identity") == identity and isinstance(figures, list) else None
