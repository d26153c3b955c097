"""Linear probe: how well classes can be told apart by a hyperplane per class in frozen features.

As published (CrosSCLR, AimCLR, IKEM): SGD with learning rate 3, momentum 0.9, no weight decay, 100 epochs of batches of 128,
a tenth of the rate for the last 20; several streams are trained together on the cross entropy of the mean of their logits.
The result is that of the last epoch; no test clip has a say in anything. Features that have views with them (`views`) give each clip in
turn as it is and in each of its versions, one of them an epoch: as many steps, other examples.

With ``probe_fit="ridge"`` the same classifiers are found by ridge regression instead (`ridge`), on all versions at once.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from skelmm_core.batches import generator, order
from skelmm_core.errors import DataError, SettingsError, TrainingError, nearest
from skelmm_core.evaluation.features import Features, checked_labels, stacked
from skelmm_core.evaluation.metrics import ProbeResult, scored
from skelmm_core.evaluation.ridge import ridge
from skelmm_core.evaluation.views import views_of
from skelmm_core.settings import Evaluate

FUSIONS = ("joint", "late")
Classifiers = tuple[Tensor, Tensor]  # weight (S, F, classes), bias (S, 1, classes) of one linear classifier per branch


def linear_probe(
    train: Features,
    train_labels: Tensor,
    test: Features,
    test_labels: Tensor,
    classes: int,
    settings: Evaluate,
    fusion: str = "joint",
    standardise: bool = False,
) -> ProbeResult:
    """Train linear classifiers on cached features and test them.

    Args:
        train, test: stream -> (N, F), the same streams in both; `train` may have views with it.
        train_labels, test_labels: (N,) integers in 0..classes-1.
        settings: probe_fit and what it needs, probe_ridge or probe_epochs, probe_lr, probe_lr_drop, probe_batch and seed, are used.
        fusion: ``"joint"`` trains one classifier per stream on the mean of their logits, as published; ``"late"`` trains
            each stream by itself and averages the logits. Either way `streams` tells what each stream reaches by itself.
        standardise: shift and scale every feature to mean 0, deviation 1 / sqrt(F) over the training clips, so that a
            clip's vector has a mean square length of 1. The published probe does not, and learning rate 3 suits only
            the small features of an encoder trained from the published initialisation. Features of an untrained encoder, or
            of one with scaled initialisation, are many times shorter or longer, or hardly vary around a large mean, and
            the probe then measures this, not what they tell: untrained joint branches on UTD-MHAD, odd -> even, reach
            3.7 % (chance) with either initialisation, standardised 76.3 (published) and 68.1 % (scaled; one seed, 32
            frames). So compare trained with untrained encoders standardised, or the comparison flatters the training.

    Raises: SettingsError for an unknown fusion; DataError for streams, labels or shapes that don't fit;
        TrainingError when the classifiers diverge.
    """
    if fusion not in FUSIONS:
        raise SettingsError(f"unknown fusion '{fusion}'{nearest(fusion, FUSIONS)}")
    names = tuple(train)
    x, y = versions(train), stacked(test, like=train)  # (S, (1 + R) * N, F), (S, N', F)
    train_labels = checked_labels(train_labels, stacked(train), classes, "train")
    test_labels = checked_labels(test_labels, y, classes, "test")
    for part, found in (("train", x), ("test", y)):
        ill = [name for name, f in zip(names, found, strict=True) if not torch.isfinite(f).all()]
        if ill:
            raise DataError(f"{part}: features of {', '.join(ill)} are not finite; are the encoders' weights, or the clips, damaged?")
    if standardise:
        mean, scale = scaling(x)
        x, y = (x - mean) * scale, (y - mean) * scale
    single = logits_of(y, *fit(x, train_labels, names, classes, settings, together=False))  # (S, N', C)
    fused = single if fusion == "late" or len(names) == 1 else logits_of(y, *fit(x, train_labels, names, classes, settings, together=True))
    if not (torch.isfinite(single).all() and torch.isfinite(fused).all()):
        exact = settings.probe_fit == "ridge"
        told = f"probe_ridge={settings.probe_ridge}" if exact else f"probe_lr={settings.probe_lr}"
        todo = "raise it" if exact else "lower it"
        raise TrainingError(f"the linear probe diverged with {told}; {todo} or standardise the features")
    return scored(fused.mean(dim=0), test_labels, dict(zip(names, single, strict=True)))


def classifiers(features: Features, labels: Tensor, classes: int, settings: Evaluate) -> Classifiers:
    """One linear classifier per stream of frozen features (name -> (N, F)), trained as those of the linear probe's headline figure.

    Returns: weight (S, F, classes), bias (S, 1, classes), for features as they are: the probe's standardisation is inside.
    """
    x, together = versions(features), settings.probe_fusion == "joint" and len(features) > 1
    labels = checked_labels(labels, stacked(features), classes, "train")
    mean, scale = torch.zeros_like(x[:, :1]), torch.ones_like(x[:, :1])  # (S, 1, F)
    if settings.probe_standardise:
        mean, scale = scaling(x)
    weight, bias = fit((x - mean) * scale, labels, tuple(features), classes, settings, together)
    weight = scale.transpose(1, 2) * weight
    return weight, bias - mean @ weight


def lighter(settings: Evaluate) -> str:
    """What to do where memory does not suffice for a linear probe, as `memory.enough` wants it."""
    return "lower probe_views, segments, regions or levels" if settings.probe_fit == "ridge" else "lower probe_views or probe_batch"


def versions(features: Features) -> Tensor:
    """(S, (1 + R) * N, F): features of N clips, and behind them those of each of their R views."""
    return torch.cat([stacked(features), *(stacked(view, like=features) for view in views_of(features))], dim=1)


def scaling(x: Tensor) -> tuple[Tensor, Tensor]:
    """What standardising (S, N, F) takes off and multiplies with, (S, 1, F) each; constant features say nothing and become 0."""
    mean, deviation = x.mean(dim=1, keepdim=True), x.std(dim=1, keepdim=True, correction=0)
    return mean, torch.where(deviation > 1e-6 * mean.abs() + 1e-12, 1 / (deviation * x.shape[2] ** 0.5), 0)


def fit(x: Tensor, labels: Tensor, names: Iterable[str], classes: int, settings: Evaluate, together: bool) -> tuple[Tensor, Tensor]:
    """Train S linear classifiers at once, as one tensor: (S, V * N, F) and (N,) -> weight (S, F, C), bias (S, 1, C).

    x holds the N clips in V versions, one behind the other; by SGD clip number i is seen in version (e + i) mod V in epoch e.

    Loss of SGD: cross entropy of the mean over streams of the logits (`together`), or the sum of each stream's own cross entropy,
    which trains each as if it were alone. Order of clips and initial weights depend on seed, epoch and stream name only.
    """
    if settings.probe_fit == "ridge":
        return ridge(x, labels, classes, settings.probe_ridge, together)
    streams, count = len(x), len(labels)
    kinds = x.shape[1] // count
    weight, bias = initial(names, x.shape[2], classes, settings.seed)
    weight, bias = weight.to(x).requires_grad_(), bias.to(x).requires_grad_()
    optimiser = torch.optim.SGD([weight, bias], lr=settings.probe_lr, momentum=0.9)
    for epoch in range(settings.probe_epochs):
        dropped = epoch / settings.probe_epochs >= settings.probe_lr_drop - 1e-9
        optimiser.param_groups[0]["lr"] = settings.probe_lr * (0.1 if dropped else 1.0)
        for rows in order(count, settings.probe_batch, settings.seed, epoch):
            rows = rows.to(x.device)
            logits = logits_of(x[:, rows + count * ((epoch + rows) % kinds)], weight, bias)  # (S, B, C)
            if together:
                loss = F.cross_entropy(logits.mean(dim=0), labels[rows])
            else:
                loss = streams * F.cross_entropy(logits.flatten(0, 1), labels[rows].repeat(streams))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return weight.detach(), bias.detach()


def initial(names: Iterable[str], width: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Weights N(0, 0.02), as published, the same for a stream in any company, and biases of 0: (S, F, C), (S, 1, C)."""
    drawn = [torch.randn(width, classes, generator=generator("cpu", seed, zlib.crc32(f"probe/{name}".encode()))) for name in names]
    return 0.02 * torch.stack(drawn), torch.zeros(len(drawn), 1, classes)


def logits_of(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(S, N, F), (S, F, C), (S, 1, C) -> (S, N, C)."""
    return torch.baddbmm(bias, x, weight)
