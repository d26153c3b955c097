"""Semi-supervised: only a share of the training clips has labels; the mean over several draws of them.

``"balanced"`` (AimCLR's `Feeder_semi`): of every class round(share * its clips), and at least one, which AimCLR's code does not promise.
``"random"`` (CMD's feeder): floor(share * all clips) at random, at least one; a class may be without any. A draw depends on its number
alone, so all encoders and seeds learn from the same clips, and a larger share holds the clips of a smaller one.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from skelmm_core.batches import generator
from skelmm_core.errors import SettingsError, nearest
from skelmm_core.evaluation.features import Features
from skelmm_core.evaluation.linear import linear_probe
from skelmm_core.evaluation.views import picked
from skelmm_core.settings import Evaluate

DRAWS = ("balanced", "random")


class Drawn(NamedTuple):
    """What `clips` labelled clips, a `share` of all, led to in one draw: percent of the test clips."""

    share: float
    draw: int
    clips: int
    accuracy: float


def labelled(labels: Tensor, share: float, draw: int, kind: str = "balanced") -> Tensor:
    """Places of the clips with labels, ascending, of labels (N,). share: in (0, 1]. draw: number of the draw. kind: as above."""
    if kind not in DRAWS:
        raise SettingsError(f"unknown draw '{kind}'{nearest(kind, DRAWS)}")
    if not 0 < share <= 1:
        raise SettingsError(f"the share of labelled clips must be above 0 and at most 1, found {share}")
    labels = torch.as_tensor(labels).cpu()
    order = torch.randperm(len(labels), generator=generator("cpu", draw, zlib.crc32(b"labelled")))
    if kind == "random":
        return order[: max(1, math.floor(share * len(labels) + 1e-9))].sort().values
    chosen = []
    for label in labels.unique():
        rows = order[labels[order] == label]
        chosen.append(rows[: max(1, round(share * len(rows)))])
    return torch.cat(chosen).sort().values


def semi_supervised(
    fit: Callable[[Tensor], float], labels: Tensor, shares: Iterable[float] = (0.01, 0.05, 0.1, 0.2), draws: int = 5, kind: str = "balanced"
) -> list[Drawn]:
    """One row per share and draw. fit: places of labelled clips -> percent of the test clips, e.g. what `probe_on` gives."""
    found = []
    for share in shares:
        for draw in range(draws):
            rows = labelled(labels, share, draw, kind)
            found.append(Drawn(share, draw, len(rows), fit(rows)))
    return found


def probe_on(
    train: Features, train_labels: Tensor, test: Features, test_labels: Tensor, classes: int, settings: Evaluate
) -> Callable[[Tensor], float]:
    """A `fit` for `semi_supervised`: the linear probe of the settings on frozen features, standardised by the labelled clips alone."""

    def fit(rows: Tensor) -> float:
        few = picked(train, rows)
        labels = torch.as_tensor(train_labels).cpu()[rows]
        fusion, standardise = settings.probe_fusion, settings.probe_standardise
        return linear_probe(few, labels, test, test_labels, classes, settings, fusion, standardise).accuracy

    return fit
