"""How encoders are compared: one frozen dataclass of settings per way of evaluating, and recipes named after their sources.

A recipe says everything that decides a figure except data, encoders and seed, so results are found again by it. Fields that are None are
the run's own settings (`settings.Evaluate`). To add a recipe, write one line in `RECIPES`.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from skelmm_core.errors import SettingsError, nearest
from skelmm_core.parameters import Parameter


@dataclass(frozen=True)
class Linear:
    """A linear classifier on frozen features (`linear`)."""

    kind: typing.ClassVar[str] = "linear"
    fit: str | None = None  # "sgd" or "ridge"
    epochs: int | None = None  # passes over the training clips
    lr: float | None = None  # SGD learning rate
    lr_drop: float | None = None  # share of the epochs after which lr falls to a tenth
    batch: int | None = None  # clips per step
    standardise: bool | None = None  # features of mean 0, deviation 1 on the training clips
    fusion: str | None = None  # "joint": streams trained together on mean logits; "late": each alone


@dataclass(frozen=True)
class Nearest:
    """Vote of the most similar training clips (`knn`)."""

    kind: typing.ClassVar[str] = "knn"
    neighbours: int | None = None  # how many vote


@dataclass(frozen=True)
class Retrieval:
    """The training clips ranked by similarity to each test clip (`retrieval`)."""

    kind: typing.ClassVar[str] = "retrieval"


@dataclass(frozen=True)
class Finetune:
    """All weights trained with labels (`finetuning`). Defaults: HiCLR's config/release/gcn_ntu60/finetune/xsub_joint.yaml."""

    kind: typing.ClassVar[str] = "finetune"
    epochs: int = 70  # passes over the labelled clips; that file's
    lr: float = 0.1  # SGD learning rate; that file's
    momentum: float = 0.9  # of SGD; AimCLR's processor/finetune_evaluation.py
    weight_decay: float = 1e-4  # that file's
    first_drop: float = 30 / 70  # share of the epochs after which lr falls to a tenth; that file's steps 30 and 55 of 70
    second_drop: float = 55 / 70  # and after which to a hundredth
    warmup: float = 5 / 70  # share of the epochs over which lr rises linearly; that file's 5 of 70
    batch: int = 64  # clips per step; that file's
    augment: bool = False  # clips changed at random as in pretraining; no: the configurations found switch it off
    mode: str = "train"  # of the encoders: "train", or "eval": no dropout, BN statistics stay, as AimCLR's code fine-tunes


@dataclass(frozen=True)
class Semi(Finetune):
    """Few training clips have labels (`semi`). Defaults of fine-tuning: HiCLR's config/ntu60/semi/xsub_joint.yaml."""

    kind: typing.ClassVar[str] = "semi"
    epochs: int = 60  # that file's
    first_drop: float = 20 / 60  # that file's steps 20 and 40 of 60
    second_drop: float = 40 / 60
    warmup: float = 5 / 60  # that file's 5 of 60
    draw: str = "balanced"  # which clips have labels: "balanced" by class (AimCLR), or "random" (CMD)
    by: str = "finetune"  # what learns from them: "finetune" all weights, or "linear", the run's own linear probe on frozen features
    shares: str = "0.01,0.05,0.1,0.2"  # of the training clips that have labels; the papers' 1, 5, 10 and 20 %
    draws: int = 5  # of labelled clips, averaged; the papers' five


@dataclass(frozen=True)
class Shots:
    """Classes known by a few exemplars (`fewshot`)."""

    kind: typing.ClassVar[str] = "oneshot"
    shots: int = 1  # exemplars of each class, drawn from the training clips
    draws: int = 100  # of exemplars, averaged: one draw of one clip per class says little; 100 cost a second


@dataclass(frozen=True)
class NtuOneShot:
    """NTU RGB+D 120's one-shot protocol: 20 classes, their official exemplars (`fewshot`)."""

    kind: typing.ClassVar[str] = "ntu120"


@dataclass(frozen=True)
class Fusion:
    """Ways to add the logits of streams that were probed each alone (`fusion`)."""

    kind: typing.ClassVar[str] = "fusion"
    held_out: float = 0.2  # share of the training clips, of performers of their own, on which weights are learned


@dataclass(frozen=True)
class Robust:
    """Test clips damaged, everything else fitted on undamaged training clips (`comparison.robustness`)."""

    kind: typing.ClassVar[str] = "robust"
    damages: str = ""  # comma-separated names of `damage.KINDS`; empty: all


Recipe = Linear | Nearest | Retrieval | Finetune | Semi | Shots | NtuOneShot | Fusion | Robust

RECIPES: dict[str, Recipe] = {
    "linear": Linear(),
    "crosclr-linear": Linear("sgd", 100, 3.0, 0.8, 128, False, "joint"),  # CrosSCLR's config/linear_eval, which IKEM repeats
    "knn": Nearest(),
    "retrieval": Retrieval(),
    "finetune": Finetune(),
    "aimclr-finetune": Finetune(mode="eval"),  # AimCLR's processor/finetune_evaluation.py calls model.eval() before it trains
    "semi-linear": Semi(by="linear"),  # ours: what the features themselves tell, in seconds
    "semi": Semi(),
    "aimclr-semi": Semi(mode="eval"),  # AimCLR's Feeder_semi: a share of every class
    # CMD's action_classification_cmd_semi.py and its script: a share of all clips, no weight decay, steps 50 and 70 of 80. It crops, too.
    "cmd-semi": Semi(
        epochs=80, lr=0.01, weight_decay=0.0, first_drop=50 / 80, second_drop=70 / 80, warmup=0.0, augment=True, draw="random",
    ),
    "oneshot": Shots(),
    "5shot": Shots(shots=5),
    "ntu120-oneshot": NtuOneShot(),
    "fusion": Fusion(),
    "robust": Robust(),
}  # fmt: skip
SMOKE = {"epochs": 2, "draws": 2}  # toy sizes; the figures mean nothing
CHOICES = {
    "fit": ("sgd", "ridge"),
    "fusion": ("joint", "late"),
    "mode": ("train", "eval"),
    "draw": ("balanced", "random"),
    "by": ("finetune", "linear"),
}
POSITIVE = ("epochs", "lr", "batch", "neighbours", "draws", "shots")
SHARES = ("lr_drop", "first_drop", "second_drop", "warmup", "held_out")


def resolve(names: Iterable[str], changes: Mapping[str, str] | None = None, smoke: bool = False) -> dict[str, Recipe]:
    """Recipes by name, with changes such as ``{"finetune.epochs": "10"}``; smoke: toy sizes, which changes may overrule.

    Raises `SettingsError` for an unknown name (with the nearest), a change of none of `names`, and a value out of range.
    """
    names, found = list(names), {}
    for name in names:
        if name not in RECIPES:
            raise SettingsError(f"unknown way of evaluating '{name}'{nearest(name, RECIPES)}; known: {', '.join(RECIPES)}")
        recipe = RECIPES[name]
        small: dict[str, Any] = {k: v for k, v in SMOKE.items() if smoke and getattr(recipe, k, None) is not None}
        found[name] = dataclasses.replace(recipe, **small)
    spelled = {name.replace("-", "_"): name for name in names}  # as `parameters.pairs` gives them
    for key, value in (changes or {}).items():
        name, _, field = key.partition(".")
        known = spelled.get(name.replace("-", "_"))
        if known is None:
            raise SettingsError(f"'{key}' changes nothing that is asked for; expected one of {', '.join(names)} before the dot")
        found[known] = _changed(found[known], known, field, value)
    return found


def share_list(recipe: Semi) -> list[float]:
    """The shares of a semi-supervised recipe as numbers in (0, 1]; anything else raises `SettingsError`."""
    try:
        shares = [float(word) for word in recipe.shares.split(",")]
    except ValueError:
        shares = []
    if not shares or not all(0 < share <= 1 for share in shares):
        raise SettingsError(f"'shares' must be numbers above 0 and at most 1, as in 0.01,0.05, found '{recipe.shares}'")
    return shares


def described(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain JSON, its kind included."""
    return {"kind": recipe.kind, **dataclasses.asdict(recipe)}


def _changed(recipe: Recipe, name: str, field: str, value: str) -> Recipe:
    hints = typing.get_type_hints(type(recipe))
    known = [f.name for f in dataclasses.fields(recipe)]
    if field not in known:
        raise SettingsError(f"recipe '{name}' has no setting '{field}'{nearest(field, known)}")
    kinds = typing.get_args(hints[field]) or (hints[field],)
    given: Any = Parameter(f"{name}.{field}", kinds[0].__name__, None if len(kinds) > 1 else 0, "").convert(value)
    changed = dataclasses.replace(recipe, **{field: given})
    if field in CHOICES and given is not None and given not in CHOICES[field]:
        raise SettingsError(f"'{name}.{field}' must be one of {', '.join(CHOICES[field])}; found '{given}'{nearest(given, CHOICES[field])}")
    if isinstance(given, int | float) and (
        not math.isfinite(given) or given < 0 or (field in POSITIVE and not given) or (field in SHARES and given > 1)
    ):
        wanted = "above 0" if field in POSITIVE else "between 0 and 1" if field in SHARES else "0 or more"
        raise SettingsError(f"'{name}.{field}' must be {wanted} and finite, found {given!r}")
    if isinstance(changed, Semi):
        share_list(changed)
    return changed
