"""Every figure of merit of one set of frozen branches, in one call: what a notebook's table and `metrics.json` hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from skelmm_core.evaluation.features import joined
from skelmm_core.evaluation.knn import knn
from skelmm_core.evaluation.linear import linear_probe
from skelmm_core.evaluation.metrics import ProbeResult, effective_rank, mean_cosine
from skelmm_core.evaluation.views import picked
from skelmm_core.evaluation.whitening import for_neighbours
from skelmm_core.settings import Evaluate

Features = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Scores:
    """Linear probes fused two ways and kNN, of the same features; `linear` is the headline that the settings name."""

    joint: ProbeResult
    late: ProbeResult
    knn: ProbeResult
    effective_rank: float
    mean_cosine: float
    fusion: str

    @property
    def linear(self) -> ProbeResult:
        return self.joint if self.fusion == "joint" else self.late

    def summary(self) -> dict[str, Any]:
        """Plain numbers for JSON, accuracies in percent of the test clips."""
        return {
            "linear": self.linear.accuracy, "fusion": self.fusion, "linear_joint": self.joint.accuracy, "linear_late": self.late.accuracy,
            "knn": self.knn.accuracy, "effective_rank": self.effective_rank, "mean_cosine": self.mean_cosine,
            "streams": {n: {"linear": self.late.streams[n], "knn": self.knn.streams[n]} for n in self.late.streams},
            "per_class": self.linear.summary()["per_class"], "confusion": self.linear.confusion.tolist(), "clips": len(self.linear.labels),
        }  # fmt: skip


def score(
    train: Features,
    train_labels: Tensor,
    test: Features,
    test_labels: Tensor,
    classes: int,
    settings: Evaluate,
    names: Iterable[str] | None = None,
) -> Scores:
    """Probe and kNN accuracy of cached features (`Experiment.features`), of the streams `names` (all by default)."""
    names = list(train) if names is None else list(names)
    train, test = picked(train, names=names), picked(test, names=names)
    joint, late = (
        linear_probe(train, train_labels, test, test_labels, classes, settings, fusion=fusion, standardise=settings.probe_standardise)
        for fusion in ("joint", "late")
    )
    gallery, query = for_neighbours(train, test, settings)
    nearest = knn(gallery, query, train_labels, test_labels, classes, settings.neighbours)
    vectors = joined(test)
    return Scores(joint, late, nearest, effective_rank(vectors), mean_cosine(vectors), settings.probe_fusion)
