"""Figures of merit: accuracies and confusion of predictions; spread, rank and clustering of features. Accuracies are percent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from skelmm_core.errors import DataError

PAIRWISE_CLIPS = 5000  # figures that compare all pairs take at most so many clips, drawn at random


@dataclass(frozen=True, eq=False)
class ProbeResult:
    """What a probe says of N test clips in C classes.

    logits (N, C): of all streams fused (for kNN: votes, ties resolved); labels (N,): the truth; streams: percent of each
    stream by itself, from a probe of its own; stream_logits: that probe's (N, C), so that any subset can be fused late.
    """

    logits: np.ndarray
    labels: np.ndarray
    streams: dict[str, float] = field(default_factory=dict)
    stream_logits: dict[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def predictions(self) -> np.ndarray:
        """(N,) the class of the largest logit; of equal ones the first."""
        return np.asarray(self.logits.argmax(axis=1))

    @cached_property
    def accuracy(self) -> float:
        """Percent of clips that are right."""
        return accuracy(self.labels, self.predictions)

    @cached_property
    def confusion(self) -> np.ndarray:
        """(C, C) clips, rows the truth, columns the prediction."""
        return confusion(self.labels, self.predictions, self.logits.shape[1])

    @cached_property
    def per_class(self) -> np.ndarray:
        """(C,) percent; NaN for a class without test clips."""
        return per_class(self.confusion)

    def summary(self) -> dict[str, Any]:
        """Plain numbers for JSON (None where a class has no test clips)."""
        classes = [None if np.isnan(p) else float(p) for p in self.per_class]
        return {
            "accuracy": self.accuracy,
            "clips": len(self.labels),
            "streams": self.streams,
            "per_class": classes,
            "confusion": self.confusion.tolist(),
        }


def scored(logits: Tensor, labels: Tensor, streams: dict[str, Tensor]) -> ProbeResult:
    """A `ProbeResult` of fused logits (N, C) and those of each stream, from any device."""
    truth = labels.cpu().numpy()
    single = {name: s.cpu().numpy() for name, s in streams.items()}
    return ProbeResult(logits.cpu().numpy(), truth, {name: accuracy(truth, s.argmax(1)) for name, s in single.items()}, single)


def accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    return 100.0 * float(np.mean(np.asarray(labels) == np.asarray(predictions)))


def confusion(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """(C, C) counts, rows the truth, columns the prediction; a number outside 0..C-1 raises `DataError`."""
    labels, predictions = np.asarray(labels, np.int64), np.asarray(predictions, np.int64)
    for what, values in (("labels", labels), ("predictions", predictions)):
        if len(values) and not 0 <= values.min() <= values.max() < classes:
            raise DataError(f"{what} must be in 0..{classes - 1}, found {values.min()} to {values.max()}")
    return np.bincount(labels * classes + predictions, minlength=classes * classes).reshape(classes, classes)


def per_class(matrix: np.ndarray) -> np.ndarray:
    """(C, C) confusion -> (C,) percent of each class's clips that are right; NaN for a class without clips."""
    total = matrix.sum(axis=1)
    return np.where(total > 0, 100.0 * matrix.diagonal() / np.maximum(total, 1), np.nan)


class Mistake(NamedTuple):
    """`clips` clips of class `truth`, `share` percent of its clips, were taken for class `prediction`."""

    truth: int
    prediction: int
    clips: int
    share: float


def most_confused(matrix: np.ndarray, count: int = 10) -> list[Mistake]:
    """The largest cells beside the diagonal of a (C, C) confusion, most clips first, cells of zero left out."""
    wrong = np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
    cells = np.argsort(-wrong, axis=None, kind="stable")[:count]
    pairs = [divmod(int(c), len(matrix)) for c in cells]
    return [Mistake(t, p, int(wrong[t, p]), 100.0 * float(wrong[t, p] / matrix[t].sum())) for t, p in pairs if wrong[t, p]]


def binomial_error(percent: float, clips: int) -> float:
    """Standard error, in percent points, of an accuracy measured on so many clips: 100 sqrt(p (1 - p) / n)."""
    p = percent / 100
    return 100.0 * float(np.sqrt(max(p * (1 - p), 0.0) / clips))


def effective_rank(features: Tensor) -> float:
    """Number of directions that centred unit features really use, between 1 and F.

    exp(H(s / sum s)), H the entropy, s the singular values (Roy & Vetterli, EUSIPCO 2007) of the (N, F) features after
    each has been scaled to unit length and their mean taken off; 1 where all are the same.
    """
    x = F.normalize(features.double(), dim=1)
    x = x - x.mean(dim=0)
    s = torch.linalg.eigvalsh(x.T @ x).clamp_min(0).sqrt()  # (F,)
    if s.max() < 1e-6 * len(x) ** 0.5:
        return 1.0
    p = s / s.sum()
    return float(torch.special.entr(p).sum().exp())


def mean_cosine(features: Tensor) -> float:
    """Mean cosine similarity over all pairs of different clips of (N, F): (|sum u|^2 - N) / (N (N - 1)); NaN for one clip."""
    x = F.normalize(features.double(), dim=1)
    n = len(x)
    return float((x.sum(dim=0).square().sum() - x.square().sum()) / (n * (n - 1))) if n > 1 else float("nan")


def alignment(a: Tensor, b: Tensor) -> float:
    """Mean squared distance of unit features of two views, (N, F) each: 0 the same, 4 opposite (Wang & Isola, ICML 2020)."""
    return float((F.normalize(a.double(), dim=1) - F.normalize(b.double(), dim=1)).square().sum(dim=1).mean())


def uniformity(features: Tensor, seed: int = 0) -> float:
    """log mean exp(-2 |u - v|^2) over pairs of unit features (N, F): 0 collapsed, lower is more even (Wang & Isola, ICML 2020)."""
    x = F.normalize(features.double(), dim=1)
    x = x[torch.from_numpy(sample(len(x), seed)).to(x.device)]
    return float(torch.pdist(x).square().mul(-2).exp().mean().log())


def silhouette(features: Tensor, labels: Sequence[int] | np.ndarray, seed: int = 0) -> float:
    """Mean silhouette of labelled features (N, F) by cosine distance, -1 to 1 (Rousseeuw 1987, scikit-learn).

    Of more than `PAIRWISE_CLIPS` clips a random part is taken; NaN unless there are 2 to N - 1 different labels.
    """
    from sklearn.metrics import silhouette_score

    labels = np.asarray(labels)
    rows = sample(len(labels), seed)
    if not 1 < len(np.unique(labels[rows])) < len(rows):
        return float("nan")
    x = F.normalize(features.double(), dim=1).cpu().numpy()
    return float(silhouette_score(x[rows], labels[rows], metric="cosine"))


def sample(count: int, seed: int, most: int = PAIRWISE_CLIPS) -> np.ndarray:
    """All row numbers, or `most` of them at random, ascending."""
    return np.arange(count) if count <= most else np.sort(np.random.default_rng(seed).choice(count, most, replace=False))
