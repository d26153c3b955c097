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
CHUNK = 4096  # clips at a time


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
    streams, _, width = x.shape
    if together:
        weight = streams * _least(x, targets - level, strength).view(streams, width, classes)
    else:
        weight = torch.stack([_least(x[s : s + 1], targets - level, strength) for s in range(streams)])
    return weight.to(x), (level - x.mean(dim=1, keepdim=True, dtype=torch.float64) @ weight).to(x)


def _least(x: Tensor, y: Tensor, strength: float) -> Tensor:
    """argmin_w |z w - y|^2 / N + strength * v |w|^2, (S * F, C): z (N, S * F) are the centred features x (S, N, F) of a clip side by side,
    v is the sum of their variances, y (N, C) is centred. By the smaller of the two systems of equations."""
    count, width = x.shape[1], x.shape[0] * x.shape[2]
    middle = x.mean(dim=1, keepdim=True, dtype=torch.float64)

    def part(begin: int, end: int) -> Tensor:
        return (x[:, begin:end] - middle).movedim(0, 1).flatten(1)

    if width > count:
        z = part(0, count)
        return z.T @ _definite(z @ z.T, y, strength)
    square, product = x.new_zeros(width, width, dtype=torch.float64), x.new_zeros(width, y.shape[1], dtype=torch.float64)
    for begin in range(0, count, CHUNK):  # of many clips no copy in float64 is made
        z = part(begin, begin + CHUNK)
        square.addmm_(z.T, z)
        product.addmm_(z.T, y[begin : begin + CHUNK])
    return _definite(square, product, strength)


def _definite(square: Tensor, y: Tensor, strength: float) -> Tensor:
    """Solves (square + strength * trace * 1) w = y; where nothing varies, or rounding leaves no solution, with more penalty."""
    trace = float(square.diagonal().sum())
    for penalty in (strength, max(strength, 1e-10), max(strength, 1e-6)):
        ridged = square + torch.eye(len(square)).to(square) * (penalty * trace or 1.0)
        factor, failed = torch.linalg.cholesky_ex(ridged)
        if not failed:
            break
    return torch.cholesky_solve(y, factor)
