"""Linear classifiers by ridge regression on the classes: one exact solution, where SGD stops on its way.

The targets are 1 for a clip's class and -1 for the others, and the weights are those with the least squared error plus `strength` times
their squared length (Hoerl and Kennard 1970; as a classifier e.g. scikit-learn's `RidgeClassifier`). All versions of all clips count at
once (`views`). Logits of such a fit lie near -1 and 1, too close together for a softmax that says how sure it is, so all are multiplied by
one factor, chosen on a third of the clips, drawn at random, with the classifiers that the others give.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SCALES = 2.0 ** torch.arange(0, 7.25, 0.25)  # factors of the logits that are tried
APART = 1 / 3  # of the clips


def ridge(x: Tensor, labels: Tensor, classes: int, strength: float, together: bool) -> tuple[Tensor, Tensor]:
    """Linear classifiers of S streams: x (S, V * N, F), labels (N,) -> weight (S, F, classes), bias (S, 1, classes).

    x holds the N clips in V versions, one behind the other. strength: penalty of the squared weights, in shares of the summed variance of
    the features, so that their scale doesn't count. together: fit the mean of the streams' logits; else each stream alone.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0)).to(labels.device)  # clips often stand by class
    apart = order < int(APART * len(labels))
    versions = x.shape[1] // len(labels)
    weight, bias = _solved(x, labels.repeat(versions), classes, strength, together)
    if apart.any():
        known = ~apart.repeat(versions)
        trial = _solved(x[:, known], labels[~apart].repeat(versions), classes, strength, together)
        logits = torch.baddbmm(trial[1], x[:, : len(labels)][:, apart], trial[0]).mean(dim=0).double()
        losses = torch.stack([F.cross_entropy(scale * logits, labels[apart]) for scale in SCALES.tolist()])
        factor = float(SCALES[int(losses.argmin())])
        weight, bias = factor * weight, factor * bias
    return weight, bias


def _solved(x: Tensor, labels: Tensor, classes: int, strength: float, together: bool) -> tuple[Tensor, Tensor]:
    targets = 2.0 * F.one_hot(labels, classes).double() - 1
    level = targets.mean(dim=0, keepdim=True)  # (1, C)
    middle = x.double().mean(dim=1, keepdim=True)  # (S, 1, F)
    streams, _, width = x.shape
    if together:
        y = (x.double() - middle).movedim(0, 1).flatten(1)  # (N, S * F)
        weight = streams * _least(y, targets - level, strength).view(streams, width, classes)
    else:
        weight = torch.stack([_least(part.double() - m, targets - level, strength) for part, m in zip(x, middle, strict=True)])
    return weight.to(x), (level - middle @ weight).to(x)


def _least(x: Tensor, y: Tensor, strength: float) -> Tensor:
    """argmin_w |x w - y|^2 / N + strength * v |w|^2, x (N, F) and y (N, C) centred, v the summed variance of x; by the smaller system."""
    count, width = x.shape
    penalty = max(strength * float(x.square().sum()), 1e-300)  # N * strength * v
    weight: Tensor
    if width <= count:
        weight = torch.linalg.solve(x.T @ x + penalty * torch.eye(width).to(x), x.T @ y)
    else:
        weight = x.T @ torch.linalg.solve(x @ x.T + penalty * torch.eye(count).to(x), y)
    return weight
