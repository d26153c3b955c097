"""Views: augmented versions of the training clips, from which a linear probe learns beside the clips themselves.

What an encoder was taught to overlook it does not overlook wholly, and with few clips per class a classifier takes what is left for a
sign of the class. Seeing each clip under other angles, widths and windows, it learns otherwise. Linear evaluation of images is done so,
with random crops and flips (He et al., CVPR 2020, "Momentum contrast for unsupervised visual representation learning"); of skeletons, as
published, it is not. Encoders stay frozen, so each version's features are computed once. Untrained encoders gain more by views than
trained ones do: compare like with like.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from skelmm_core.evaluation.features import Features


class Viewed(dict[str, Tensor]):
    """Features of training clips, stream -> (N, F), as everything takes them, that have those of `views` of the same clips with them."""

    def __init__(self, own: Features, views: Sequence[Features]):
        super().__init__(own)
        self.views = tuple(views)


def views_of(features: Features) -> tuple[Features, ...]:
    """The views, each stream -> (N, F), that features have with them: none, or as many as `probe_views` says."""
    return features.views if isinstance(features, Viewed) else ()


def picked(features: Features, rows: Tensor | None = None, names: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Some clips and streams of features (all where None), their views with them."""
    kept = tuple(features if names is None else names)

    def of(part: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: part[name] if rows is None else part[name][rows.to(part[name].device)] for name in kept}

    views = views_of(features)
    return Viewed(of(features), [of(view) for view in views]) if views else of(features)
