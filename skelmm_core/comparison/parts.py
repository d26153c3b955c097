"""The parts that a comparison is cut into: for each kind of recipe, what is computed at once, and for which subjects it makes sense."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from skelmm_core.comparison import robustness
from skelmm_core.comparison.subjects import Subject, fit
from skelmm_core.evaluation import fewshot, finetuning, fusion, knn, linear, recipes, retrieval, semi
from skelmm_core.evaluation.recipes import Finetune

STREAM = "stream "  # how the name of a figure of one stream begins
Figures = dict[tuple[str, int], float]  # (what, draw) -> percent of the test clips; what is "" for a recipe's only figure


class Part(NamedTuple):
    """name: within recipe and subject. clips: training clips whose labels are used. compute: gives the figures. what: their name, where
    several names may stand for one part."""

    name: str
    clips: int
    compute: Callable[[], Figures]
    what: str = ""


def _linear(subject: Subject, recipe: recipes.Linear) -> Iterator[Part]:
    if subject.role == "raw":
        return
    given = {f"probe_{k}": v for k, v in dataclasses.asdict(recipe).items() if v is not None}
    s = dataclasses.replace(subject.exp.settings, **given)

    def compute() -> Figures:
        (train, test), (a, b) = subject.vectors, subject.labels
        result = linear.linear_probe(train, a, test, b, subject.classes, s, s.probe_fusion, s.probe_standardise)
        return {("", 0): result.accuracy} | _streams(result.streams)

    yield Part("", len(subject.labels[0]), compute)


def _knn(subject: Subject, recipe: recipes.Nearest) -> Iterator[Part]:
    def compute() -> Figures:
        if subject.role == "raw":
            return {("", 0): knn.raw_nearest(subject.exp.clips, subject.exp.split).accuracy}
        (train, test), (a, b) = subject.near, subject.labels
        result = knn.knn(train, test, a, b, subject.classes, recipe.neighbours or subject.exp.settings.neighbours)
        return {("", 0): result.accuracy} | _streams(result.streams)

    yield Part("", len(subject.labels[0]), compute)


def _retrieval(subject: Subject, recipe: recipes.Retrieval) -> Iterator[Part]:
    def compute() -> Figures:
        (train, test), (a, b) = subject.near, subject.labels
        x, y = (torch.stack(list(f.values())) for f in (train, test))
        result = retrieval.ranked(y, x, b, a, subject.metric)
        return {("first hit", 0): result.top1, ("mean average precision", 0): result.mean_average_precision}

    yield Part("", len(subject.labels[0]), compute)


def _finetune(subject: Subject, recipe: Finetune) -> Iterator[Part]:
    if subject.role in ("trained", "supervised"):
        yield Part("", len(subject.labels[0]), lambda: _tuned(subject, recipe, None, "finetune"))


def _semi(subject: Subject, recipe: recipes.Semi) -> Iterator[Part]:
    if subject.role == "untrained" and recipe.by == "finetune":
        return  # their row is "supervised"
    for share in recipes.share_list(recipe):
        for draw in range(recipe.draws):
            rows = semi.labelled(subject.labels[0], share, draw, recipe.draw)

            def compute(rows: Tensor = rows, draw: int = draw) -> Figures:
                return {("", draw): _few_labels(subject, recipe, rows, f"{len(rows)} labels, draw {draw}")}

            # Of few clips several shares are as many labels, and then the same ones.
            yield Part(f"{len(rows)} labels, draw {draw}", len(rows), compute, f"{100 * share:g} %")


def _few_labels(subject: Subject, recipe: recipes.Semi, rows: Tensor, title: str) -> float:
    """Percent of the test clips, from the labels of the training clips `rows` alone."""
    if subject.role == "supervised" or (recipe.by == "finetune" and subject.role == "trained"):
        return _tuned(subject, recipe, rows, title)["", 0]
    (train, test), (a, b) = subject.vectors, subject.labels
    if subject.role == "raw":  # the nearest clip that has a label
        return retrieval.ranked(test["raw"][None], train["raw"][None, rows], b, a[rows], "distance").top1
    return semi.probe_on(train, a, test, b, subject.classes, subject.exp.settings)(rows)


def _tuned(subject: Subject, recipe: Finetune, rows: Tensor | None, title: str) -> Figures:
    """Fine-tuned from the subject's encoders; the supervised subject starts afresh, and so can't keep statistics that it lacks."""
    exp = subject.exp
    if subject.role == "supervised":
        recipe = dataclasses.replace(recipe, mode="train")
    if subject.role == "supervised" and rows is None and recipe == cast(Any, subject.make).recipe:
        tuned = cast(Any, subject.make).tuned
    else:
        start = subject.branches if subject.role == "trained" else subject.fresh()
        tuned = fit(exp, start, recipe, rows, f"{subject.name}, {title}")
    result = finetuning.tested(tuned, exp.test, exp.settings.unit_axis)
    return {("", 0): result.accuracy} | _streams(result.streams)


def _shots(subject: Subject, recipe: recipes.Shots) -> Iterator[Part]:
    def compute() -> Figures:
        (train, test), (a, b) = subject.near, subject.labels
        results = fewshot.few_shot(train, test, a, b, subject.classes, recipe.shots, recipe.draws, subject.metric)
        return {("", draw): result.accuracy for draw, result in enumerate(results)}

    yield Part("", recipe.shots * len(subject.labels[0].unique()), compute)


def _ntu120(subject: Subject, recipe: recipes.NtuOneShot) -> Iterator[Part]:
    def compute() -> Figures:
        clips, split = subject.exp.clips, subject.exp.split
        names = [clips.names[i] for part in (split.train, split.test) for i in part]
        train, test = subject.near
        both = {stream: torch.cat([f, test[stream]]) for stream, f in train.items()}
        return {("", 0): fewshot.ntu120_one_shot(both, torch.cat(subject.labels), names, subject.metric).accuracy}

    yield Part("", len(fewshot.NTU120_EXEMPLARS), compute)


def _fusion(subject: Subject, recipe: recipes.Fusion) -> Iterator[Part]:
    if subject.role == "raw":
        return

    def compute() -> Figures:
        (train, test), (a, b) = subject.vectors, subject.labels
        performers = torch.as_tensor(subject.exp.clips.subjects[subject.exp.split.train])
        known = performers if (performers >= 0).all() else None
        result = fusion.fusions(train, a, test, b, subject.classes, subject.exp.settings, recipe.held_out, known)
        return {(way, 0): value for way, value in result.accuracies.items()}

    yield Part("", len(subject.labels[0]), compute)


def _robust(subject: Subject, recipe: recipes.Robust) -> Iterator[Part]:
    """A part for each damage; the undamaged level is in each."""
    for kind, found in robustness.levels(subject.exp, [word.strip() for word in recipe.damages.split(",") if word.strip()]).items():

        def compute(kind: str = kind, found: tuple[float, ...] = found) -> Figures:
            if subject.role == "raw":
                raw = robustness.raw_under(subject.exp)
                return {(f"{kind} {level:g}, knn", 0): raw(kind, level) for level in found}
            under = robustness.encoders_under(subject.exp, subject.branches)
            return {(f"{kind} {level:g}, {how}", 0): value for level in found
                    for how, value in zip(("linear", "knn"), under(kind, level), strict=True)}  # fmt: skip

        yield Part(kind, len(subject.labels[0]), compute)


PARTS: dict[str, Callable[[Subject, Any], Iterator[Part]]] = {
    "linear": _linear, "knn": _knn, "retrieval": _retrieval, "finetune": _finetune, "semi": _semi, "oneshot": _shots, "ntu120": _ntu120,
    "fusion": _fusion, "robust": _robust,
}  # fmt: skip


def _streams(percent: Mapping[str, float]) -> Figures:
    return {(STREAM + name, 0): value for name, value in percent.items()} if len(percent) > 1 else {}
