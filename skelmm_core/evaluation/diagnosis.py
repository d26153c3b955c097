"""Signs that a run has failed, in plain sentences: the report shows them before any figure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from skelmm_core.evaluation.metrics import binomial_error, effective_rank, mean_cosine

LEFT = 0.02  # a loss that has fallen by a smaller share of its start has not begun to learn
RANK = 2.0  # fewer directions than this: one axis or a point
COSINE = 0.99  # mean over pairs of clips; above: all embeddings point the same way


class Course(NamedTuple):
    """A loss of one branch: the value that knowing nothing gives, and the last one."""

    start: float
    last: float


def ignorance(exchange: str, queue: int, distillation: str = "relational") -> float:
    """Loss of a branch that can't tell its positive from K negatives, all its similarities equal.

    ``"stage1"`` and ``"none"``: log(1 + K); ``"ekem"``: log(1 + 2K), its logits being the positive and two blocks of K;
    ``"ikem"`` adds log(1 + K); ``"cmd"`` adds 0 to InfoNCE. ``"distill"``, by the setting `distillation`: ``"relational"`` log(1 + 2K),
    ``"info_nce"`` and ``"seed"`` log(1 + K), ``"crd"`` log(1 + K) + K log(1 + 1 / K), NaN for the others: there it depends on the
    teacher, and `signs_of_failure` looks at the last value alone.
    """
    alone = math.log1p(queue)
    if exchange == "distill":
        known = {"relational": math.log1p(2 * queue), "info_nce": alone, "seed": alone, "crd": alone + queue * math.log1p(1 / queue)}
        return known.get(distillation, math.nan)
    parts = exchange.split("+")
    return (math.log1p(2 * queue) if "ekem" in parts else alone) + ("ikem" in parts) * alone


def signs_of_failure(
    *,
    clips: int,
    probes: Mapping[str, float] | None = None,
    untrained: Mapping[str, float] | None = None,
    nearest: Mapping[str, float] | None = None,
    untrained_nearest: Mapping[str, float] | None = None,
    chance: float | None = None,
    losses: Mapping[str, Course] | None = None,
    embeddings: Mapping[str, Tensor] | None = None,
    teacher: float | None = None,
    raw_nearest: float | None = None,
    student: float | None = None,
    alone: float | None = None,
) -> list[str]:
    """One sentence per sign, with the figures it rests on and what to look at; an empty list when none shows.

    Args:
        clips: test clips behind every accuracy; differences within one standard error don't count as better.
        probes, untrained: percent by stream (and "fused") of the trained and the untrained encoder; those of both are compared.
        nearest, untrained_nearest: the same by nearest neighbours, which no learning rate can spoil.
        chance: percent that knowing nothing gives; a probe of an untrained encoder that is no better can't be compared with.
        losses: per branch, see `Course` and `ignorance`.
        embeddings: per branch, (N, D) embeddings of N clips.
        teacher, raw_nearest: percent of the best teacher and of 1-nearest neighbour in raw coordinates.
        student, alone: percent of the distilled student and of a model of the same modalities trained without a teacher.
    """
    signs = []
    untrained, untrained_nearest = untrained or {}, untrained_nearest or {}
    for name, value in (nearest or {}).items():
        if name in untrained_nearest and not beyond(value, untrained_nearest[name], clips):
            signs.append(
                f"Nearest neighbours by '{name}' ({value:.1f} %) are not clearly better than by the untrained encoder "
                f"({untrained_nearest[name]:.1f} %): {_margin(value, untrained_nearest[name], clips)}."
            )
    for name, value in untrained.items():
        if chance is not None and name in (probes or {}) and not beyond(value, chance, clips):
            signs.append(
                f"The probe of '{name}' of the untrained encoder ({value:.1f} %) is at chance ({chance:.1f} %), so it says nothing about "
                "training: features too small for the probe's learning rate? Try probe_standardise=true, and compare nearest neighbours."
            )
    for name, value in (probes or {}).items():
        if name in untrained and not beyond(value, untrained[name], clips):
            signs.append(
                f"The probe of '{name}' ({value:.1f} %) is not clearly better than that of the untrained encoder ({untrained[name]:.1f} "
                f"%): {_margin(value, untrained[name], clips)}. No probe shows that training has taught this branch anything; "
                "look at its loss, and at whether the augmentation destroys what tells the classes apart."
            )
    for name, (start, last) in (losses or {}).items():
        if not math.isfinite(last):
            signs.append(
                f"The loss of '{name}' is {last}. Lower the learning rate, use precision=32-true, or look for extreme coordinates."
            )
        elif start - last < LEFT * start:
            signs.append(
                f"The loss of '{name}' is {last:.3f} and has not left {start:.3f}, the value of an encoder that tells no clip apart. "
                "It needs more steps, or a momentum, queue, initialisation and learning rate fitted to so few (preset 'small')."
            )
    for name, embedding in (embeddings or {}).items():
        rank, cosine = effective_rank(embedding), mean_cosine(embedding)
        if cosine > COSINE:
            signs.append(f"The embeddings of '{name}' have collapsed: any two clips have a cosine similarity of {cosine:.4f} on average.")
        elif rank < RANK:
            signs.append(f"The embeddings of '{name}' have collapsed to a line: they use {rank:.2f} of {embedding.shape[1]} directions.")
    if teacher is not None and raw_nearest is not None and not beyond(teacher, raw_nearest, clips):
        signs.append(
            f"The teacher ({teacher:.1f} %) does not beat 1-nearest neighbour in raw coordinates ({raw_nearest:.1f} %): "
            f"{_margin(teacher, raw_nearest, clips)}. Comparing coordinates would have done as well."
        )
    if student is not None and alone is not None and not beyond(student, alone, clips):
        signs.append(
            f"The student ({student:.1f} %) is no better than a model of the same modalities trained alone ({alone:.1f} %): "
            f"{_margin(student, alone, clips)}. Distillation has added nothing."
        )
    return signs


def beyond(percent: float, other: float, clips: int) -> bool:
    """Whether an accuracy lies above another by more than the standard error of their difference; NaN never does."""
    return percent - other > difference_error(percent, other, clips)


def difference_error(percent: float, other: float, clips: int) -> float:
    """Standard error, in points, of the difference of two accuracies on `clips` test clips each, taken as independent."""
    return math.hypot(binomial_error(percent, clips), binomial_error(other, clips))


def _margin(percent: float, other: float, clips: int) -> str:
    return f"{percent - other:+.1f} points, with a standard error of {difference_error(percent, other, clips):.1f} on {clips} test clips"
