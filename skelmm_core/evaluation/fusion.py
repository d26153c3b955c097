"""Fusion: one answer from the logits of several streams that were probed each alone (the late probe's).

The mean of logits (CrosSCLR, IKEM), fixed weights (AimCLR's ensemble_ntu_cs.py: joint 0.6, bone 0.6, motion 0.4), and weights learned on
a part of the training clips that the probes did not see. No test clip has a say in a weight.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from skelmm_core.batches import generator
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.evaluation.features import Features, checked_labels, stacked
from skelmm_core.evaluation.linear import linear_probe
from skelmm_core.evaluation.metrics import accuracy
from skelmm_core.evaluation.views import picked
from skelmm_core.settings import Evaluate

AIMCLR = {"joint": 0.6, "bone": 0.6, "motion": 0.4}


@dataclass(frozen=True)
class Fused:
    """Percent of the test clips by way of fusing, and the learned weights by stream, which sum to 1.

    `accuracies`: "mean" and "learned", and "aimclr" where its three streams are there and no other.
    """

    accuracies: dict[str, float]
    weights: dict[str, float]


def weighted(logits: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """(S, N, C) -> (N, C): the sum of logits times weights (S,); None: their mean."""
    if weights is None:
        mean: np.ndarray = logits.mean(axis=0)
        return mean
    if np.shape(weights) != (len(logits),):
        raise DataError(f"expected one weight for each of {len(logits)} streams, found shape {np.shape(weights)}")
    total: np.ndarray = np.einsum("s,snc->nc", weights, logits)
    return total


def learn_weights(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Weights (S,), none negative, sum 1, for logits (S, N, C) of clips with labels (N,), which must not be those that are tested.

    They minimise the cross entropy of the weighted sum, which is convex; their scale, which changes no answer, is then taken off. Started
    from the mean, by L-BFGS-B. Where no weight helps, the mean stays.
    """
    logits, rows = np.asarray(logits, np.float64), np.arange(len(labels))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        z = weighted(logits, weights)
        z = z - z.max(axis=1, keepdims=True)
        p = np.exp(z)
        total = p.sum(axis=1)
        error = p / total[:, None]
        value = float(np.mean(np.log(total) - z[rows, labels]))
        error[rows, labels] -= 1
        return value, np.einsum("snc,nc->s", logits, error) / len(labels)

    start = np.full(len(logits), 1 / len(logits))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(logits)).x
    return found / found.sum() if found.sum() > 1e-9 else start


def held_out(labels: Tensor, share: float, seed: int, groups: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Places (N,) -> to fit on, and held out; ascending.

    groups (N,), such as performers: whole groups in a random order until the share is reached, at least one and never all; each must leave
    every class a clip to fit on, else it stays. Without groups, or where none can go: of every class round(share * its clips), at least
    one and never all. Clips of one performer are so alike that weights learned on them favour the stream that remembers them.
    """
    labels = torch.as_tensor(labels).cpu()
    if not 0 < share < 1:
        raise SettingsError(f"the share held out must be between 0 and 1, found {share}")
    rng = generator("cpu", seed, zlib.crc32(b"held out"))
    apart = torch.zeros(len(labels), dtype=torch.bool)
    if groups is not None:
        names, classes = torch.as_tensor(groups).cpu().unique(), len(labels.unique())
        for name in names[torch.randperm(len(names), generator=rng)]:
            more = apart | (torch.as_tensor(groups).cpu() == name)
            if apart.double().mean() < share and len(labels[~more].unique()) == classes:
                apart = more
    if not apart.any():
        order = torch.randperm(len(labels), generator=rng)
        for label in labels.unique():
            rows = order[labels[order] == label]
            apart[rows[: min(max(1, round(share * len(rows))), len(rows) - 1)]] = True
    if not apart.any():
        raise DataError("no class has two training clips, so none can be held out to learn weights on")
    return (~apart).nonzero().squeeze(1), apart.nonzero().squeeze(1)


def fusions(
    train: Features,
    train_labels: Tensor,
    test: Features,
    test_labels: Tensor,
    classes: int,
    settings: Evaluate,
    share: float = 0.2,
    groups: Tensor | None = None,
) -> Fused:
    """All ways of fusing the late probes of several streams.

    Probes are trained on the training clips but those held out, weights learned on these; then the probes are trained on all training
    clips and their test logits fused. Args as in `linear_probe`; share, groups: of the training clips, as in `held_out`.
    """
    if len(train) < 2:
        raise SettingsError(f"there is nothing to fuse: expected several streams, found {', '.join(train)}")
    names = tuple(train)
    train_labels = checked_labels(train_labels, stacked(train), classes, "train").cpu()
    fit, apart = held_out(train_labels, share, settings.seed, groups)
    few, others = picked(train, fit), picked(train, apart)
    trial = linear_probe(few, train_labels[fit], others, train_labels[apart], classes, settings, "late", settings.probe_standardise)
    learned = learn_weights(_stack(trial.stream_logits, names), trial.labels)
    whole = linear_probe(train, train_labels, test, test_labels, classes, settings, "late", settings.probe_standardise)
    logits = _stack(whole.stream_logits, names)
    ways: dict[str, np.ndarray | None] = {"mean": None, "learned": learned}
    if set(names) == set(AIMCLR):
        ways["aimclr"] = np.array([AIMCLR[name] for name in names])
    accuracies = {way: accuracy(whole.labels, weighted(logits, w).argmax(axis=1)) for way, w in ways.items()}
    return Fused(accuracies, dict(zip(names, learned.tolist(), strict=True)))


def _stack(logits: Mapping[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    return np.stack([logits[name] for name in names])
