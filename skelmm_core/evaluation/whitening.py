"""Whitening: a stream's features along their principal components, each brought to the same variance.

A frozen feature has many strongly correlated directions, and a cosine is decided by the few that vary most, whether or not they tell
classes apart. Principal components of equal variance have equal votes; those that vary least are left out, since they are noise. Known from
image retrieval (Jégou and Chum, ECCV 2012, "Negative evidences and co-occurences in image retrieval: the benefit of PCA and whitening").
Or they are kept and held down: with `shrink` a component's variance counts as that much larger before it is divided out, so the weak ones,
of which few clips tell little that is certain, stay weak, and no number of components has to be found (ridge in place of truncation).
Fitted on the training clips, of which no label is looked at.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skelmm_core.evaluation.features import Features, stacked
from skelmm_core.evaluation.linear import scaling
from skelmm_core.evaluation.views import Viewed, views_of
from skelmm_core.settings import Evaluate

LEAST = 1e-5  # of the largest singular value: below that a component is rounding


def whitening(x: Tensor, components: int, shrink: float = 0.0) -> tuple[Tensor, Tensor]:
    """What whitens features (S, N, F): ``(x - mean) @ matrix``, mean (S, 1, F) and matrix (S, F, K), K = `components`.

    Features are standardised first (constant ones say nothing), so that no unit has a say. Over the N clips each of the K results has mean
    0 and variance 1 / K, and no two are correlated: a clip's vector has a mean square length of 1. Where N or F allow fewer components
    than K, the others are 0. Signs: the largest entry of a component is positive.

    shrink: added to each component's variance before it is divided out, in shares of the largest; results then vary the less the weaker
    their component is, and vectors are shorter.
    """
    mean, scale = scaling(x.double())
    y = (x.double() - mean) * scale
    _, values, directions = torch.linalg.svd(y, full_matrices=False)  # (S, R), (S, R, F)
    kept = min(components, values.shape[1])
    values, directions = values[:, :kept], directions[:, :kept]
    largest = directions.gather(2, directions.abs().argmax(dim=2, keepdim=True))
    spread = (values.square() + shrink * values[:, :1].square()).sqrt().clamp_min(1e-300)
    weight = torch.where(values > LEAST * values[:, :1], (x.shape[1] / components) ** 0.5 / spread, 0)
    matrix = scale.transpose(1, 2) * (directions * largest.sign() * weight.unsqueeze(2)).transpose(1, 2)  # (S, F, K')
    return mean.to(x), torch.nn.functional.pad(matrix, (0, components - kept)).to(x)


def for_neighbours(train: Features, test: Features, settings: Evaluate) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What cosines are taken between: features as an experiment gives them, whitened where that was not meant for linear probes, too."""
    return whitened(train, test, settings.whiten if settings.whiten_for == "neighbours" else 0, settings.whiten_shrink)


def whitened(train: Features, test: Features, components: int, shrink: float = 0.0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Both, stream -> (N, F), whitened as the training clips say (not their views): stream -> (N, K). 0 components: as they are."""
    views = views_of(train)
    if not components:
        return Viewed(train, views) if views else dict(train), dict(test)
    mean, matrix = whitening(stacked(train), components, shrink)

    def of(part: Features) -> dict[str, Tensor]:
        return {name: (part[name] - m) @ w for name, m, w in zip(train, mean, matrix, strict=True)}

    return Viewed(of(train), [of(view) for view in views]) if views else of(train), of(test)
