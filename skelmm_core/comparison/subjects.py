"""What is compared: encoders, and what they must beat, which are untrained encoders, raw coordinates, and encoders of the same size that
were trained from scratch with all labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from skelmm_core import checkpoints, manifest, settings
from skelmm_core.encoder import Branches
from skelmm_core.evaluation import finetuning, knn, recipes
from skelmm_core.evaluation.recipes import Finetune
from skelmm_core.evaluation.whitening import for_neighbours
from skelmm_core.experiment import Experiment

REFERENCES = ("untrained", "raw", "supervised")
INPUT = ("seed", "frames", "smooth", "trim", "view", "skeleton", "unit_axis", "bodies")  # settings that decide a frozen feature
READ = ("segments", "regions", "levels", "whiten", "whiten_shrink", "whiten_for")  # and what is read from it
AUGMENT = ("crop_shift", "crop_min", "warp", "limbs", "shear", "yaw", "offset")
FIT = ("precision", "hidden", "features", "dropout", "initialisation", *AUGMENT)


@dataclass(eq=False)
class Subject:
    """What is evaluated: encoders, or raw coordinates.

    name: of its column. role: "trained", "untrained", "raw" or "supervised". streams: of its encoders. make: gives the encoders, None for
    raw coordinates. identity: JSON that decides the weights; None: their digest.
    """

    exp: Experiment
    name: str
    role: str
    streams: tuple[str, ...] = ()
    make: Callable[[], Branches] | None = None
    identity: Any = None

    @cached_property
    def branches(self) -> Branches:
        make = cast(Callable[[], Branches], self.make)  # who asks for encoders knows that there are some
        return make().to(self.exp.fabric.device)

    def fresh(self) -> Branches:
        """Encoders of the same streams and sizes as stage 1 starts them."""
        return self.exp.untrained(self.streams)

    @cached_property
    def vectors(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Train and test, stream -> (N, F): frozen features, or raw coordinates, scaled so that the longest has length 1."""
        if self.role != "raw":
            return self.exp.features(self.branches)
        gallery, query = knn.raw_vectors(self.exp.clips, self.exp.split)
        longest = gallery.norm(dim=1).max().clamp_min(1e-12)
        return {"raw": gallery / longest}, {"raw": query / longest}

    @cached_property
    def near(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The same as nearest neighbours compare them."""
        return self.vectors if self.role == "raw" else for_neighbours(*self.vectors, self.exp.settings)

    @property
    def metric(self) -> str:
        return "distance" if self.role == "raw" else "cosine"

    @cached_property
    def labels(self) -> tuple[Tensor, Tensor]:
        """Of the training and the test clips."""
        clips, split = self.exp.clips, self.exp.split
        train, test = (torch.as_tensor(clips.labels[part], dtype=torch.long) for part in (split.train, split.test))
        return train, test

    @property
    def classes(self) -> int:
        return len(self.exp.clips.class_names)

    def decided_by(self) -> Any:
        """JSON that says which weights these are."""
        if self.identity is None:
            self.identity = {"role": self.role} | ({"weights": weights_digest(self.branches)} if self.make else {})
        return self.identity


def with_references(
    exp: Experiment, name: str, branches: Branches, references: Iterable[str], supervised: Finetune, store: Path
) -> list[Subject]:
    """The encoders `branches` under their name, and those of `REFERENCES` that are wanted, of the same streams and sizes.

    supervised: how the supervised reference is trained. store: folder in which it is kept.
    """
    streams = tuple(branches)
    found = [Subject(exp, name, "untrained" if name == "untrained" else "trained", streams, lambda: branches)]
    for reference in references:
        if reference == "untrained" and name != "untrained":
            found.append(Subject(exp, reference, reference, streams, lambda: exp.untrained(streams)))
        elif reference == "raw":
            found.append(Subject(exp, reference, reference))
        elif reference == "supervised":
            make = Supervised(exp, streams, supervised, store)
            found.append(Subject(exp, reference, reference, streams, make, make.identity))
    return found


class Supervised:
    """Fresh encoders trained with all labels when they are first asked for, and kept with their classifiers."""

    def __init__(self, exp: Experiment, streams: tuple[str, ...], recipe: Finetune, store: Path):
        self.exp, self.streams, self.recipe = exp, streams, recipe
        self.identity = {
            "role": "supervised", "streams": list(streams), "recipe": recipes.described(recipe), "settings": fields(exp, INPUT + FIT),
            "data": data(exp), "code": manifest.evaluation_code(),
        }  # fmt: skip
        self.file = store / f"supervised-{settings.digest(self.identity)}.pt"

    def __call__(self) -> Branches:
        return self.tuned.branches

    @cached_property
    def tuned(self) -> finetuning.Finetuned:
        branches = self.exp.untrained(self.streams)
        if kept := checkpoints.taken(self.file):
            checkpoints.load_weights(branches, kept["model"], str(self.file))
            return finetuning.Finetuned(branches.eval(), kept["weight"], kept["bias"], kept["losses"])
        tuned = fit(self.exp, branches, self.recipe, None, f"supervised, seed {self.exp.settings.seed}")
        kept = {"weight": tuned.weight.cpu(), "bias": tuned.bias.cpu(), "losses": tuned.losses, "identity": self.identity}
        checkpoints.save(self.file, {"model": tuned.branches.state_dict(), **kept})
        return tuned


def fit(exp: Experiment, branches: Branches, recipe: Finetune, rows: Tensor | None, title: str) -> finetuning.Finetuned:
    """Fine-tune on all training clips, or on `rows` of them, with the experiment's augmentation, precision and seed."""
    s, train = exp.settings, exp.train if rows is None else exp.train.select(rows.to(exp.train.labels.device))
    augment = s.augmentation(train.skeleton)
    autocast = nullcontext if s.precision == "16-mixed" else exp.fabric.autocast  # float16 would need its gradients scaled
    return finetuning.finetune(branches, train, len(exp.clips.class_names), recipe, s.seed, augment, s.unit_axis, autocast, title)


def weights_digest(branches: Branches) -> str:
    """Ten hexadecimal digits of names and values of all weights."""
    digest = hashlib.sha256()
    for name, tensor in branches.state_dict().items():
        digest.update(name.encode() + b"\0" + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:10]


def data(exp: Experiment) -> dict[str, Any]:
    """Which clips, and how they are divided."""
    return {"content": exp.clips.content, "protocol": exp.split.name, "train": len(exp.split.train), "test": len(exp.split.test)}


def fields(exp: Experiment, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(exp.settings, name) for name in names}
