"""Maps of features in the plane (t-SNE, van der Maaten & Hinton, JMLR 2008, by openTSNE; PCA), and figures that say what a map shows.

A map is for looking; distances between its clusters mean little. What it seems to show is checked in the features themselves:
by nearest neighbours and by the silhouette, for every column of labels (class, subject, view).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from skelmm_core.clips import Clips
from skelmm_core.errors import DataError
from skelmm_core.evaluation.knn import directions, leave_one_out, nearest, similarities
from skelmm_core.evaluation.metrics import silhouette

SMALLEST = 5  # clips; fewer have no neighbourhoods to show
NEVER = -2.0  # below every cosine


def tsne_map(
    features: Tensor,
    seed: int = 0,
    perplexity: float = 30.0,
    iterations: int = 500,
    threads: int = 1,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """(N, F) features -> (N, 2) map of their directions, by cosine distance, started from PCA.

    Args:
        perplexity: effective number of neighbours; lowered to (N - 1) / 3 where there are too few clips for it.
        iterations: after 250 of early exaggeration.
        threads: with one, the same seed gives the same map.
        start: (N, 2) map to start from, at its full size, so that points move from there. (Made small first, as openTSNE advises, more of
            where they were is lost, and no better map found.)
    """
    from openTSNE import TSNE

    x = _directions(features)
    count = len(x)
    if start is not None and (np.shape(start) != (count, 2) or not np.isfinite(start).all() or np.std(start, axis=0)[0] == 0):
        raise DataError(f"a map of {count} clips must start from ({count}, 2) finite places that differ, found {np.shape(start)}")
    logging.getLogger("openTSNE").setLevel(logging.ERROR)
    begin = "pca" if start is None else np.array(start, float)
    few = min(perplexity, (count - 1) / 3)
    tsne = TSNE(perplexity=few, metric="cosine", n_iter=iterations, n_jobs=threads, random_state=seed, initialization=begin)
    return np.asarray(tsne.fit(x))


def pca_map(features: Tensor, axes: int = 2) -> np.ndarray:
    """(N, F) features -> (N, axes): where their directions spread most (PCA), most of all along the first; signs by scikit-learn's rule."""
    from sklearn.decomposition import PCA

    return np.asarray(PCA(axes, svd_solver="full").fit_transform(_directions(features)))


def trust(features: Tensor, place: np.ndarray, count: int = 5) -> float:
    """Trustworthiness of a map (N, 2) of features (N, F): 1 where the `count` nearest points of each are nearest by cosine, too (Venna and
    Kaski 2001, scikit-learn); of fewer points where N is too small for so many."""
    from sklearn.manifold import trustworthiness

    near = min(count, (len(place) - 1) // 2)
    return float(trustworthiness(features.cpu().numpy(), place, n_neighbors=near, metric="cosine"))


def _directions(features: Tensor) -> np.ndarray:
    """Unit features (N, F) in float64; raises `DataError` for what no map can show."""
    count = len(features)
    if count < SMALLEST:
        raise DataError(f"a map needs at least {SMALLEST} clips, found {count}")
    if not torch.isfinite(features).all():
        raise DataError("features are not all finite; look for a diverged training or damaged clips")
    x = F.normalize(features.double(), dim=1).cpu().numpy()
    if np.ptp(x, axis=0).max() < 1e-9:
        raise DataError(f"all {count} features point the same way, so there is nothing to map: the representation has collapsed")
    return x


def neighbours(features: Tensor, count: int = 5, groups: np.ndarray | None = None) -> np.ndarray:
    """(N, count) for each of (N, F) features the numbers of the others that are nearest by cosine, nearest first; -1 where there are fewer.

    groups (N,): clips of one group, such as the views of one performance, are no neighbours of each other; -1: in no group.
    """
    apart = np.full(len(features), -1) if groups is None else np.asarray(groups)
    if apart.shape != (len(features),):
        raise DataError(f"groups have the shape {apart.shape} for {len(features)} features; expected one number per clip")
    unit, own, parts = directions(features).unsqueeze(0), torch.from_numpy(apart), []
    for rows, (similarity,) in similarities(unit, unit):
        similarity[torch.arange(len(rows)), rows] = NEVER
        similarity[(own[rows, None] == own) & (own[rows, None] >= 0)] = NEVER
        best, index = nearest(similarity, min(count, len(features)))
        parts.append(torch.where(best == NEVER, -1, index))
    found = torch.cat(parts).cpu().numpy()  # (N, count) or fewer
    return np.pad(found, ((0, 0), (0, count - found.shape[1])), constant_values=-1)


def distances(features: Tensor, others: Tensor) -> np.ndarray:
    """(N,) cosine distance, 1 - cosine, of each of (N, F) features to the nearest of (G, F) others, such as the training clips; 0 to 2."""
    query, gallery = directions(features).unsqueeze(0), directions(others).unsqueeze(0)
    return torch.cat([1 - similarity[0].amax(1) for _, similarity in similarities(query, gallery)]).clamp_min(0).cpu().numpy()


class LabelScore(NamedTuple):
    """How features sort by one column: percent of clips whose nearest other clips share the label, silhouette (-1 to 1), and the
    percent that the most frequent label alone would give."""

    knn: float
    silhouette: float
    chance: float


def performances(clips: Clips, index: np.ndarray) -> np.ndarray:
    """For clips number `index` (N,) the number of the performance that several views of them show, (N,); -1 where there is one view only.

    A performance is what class, performer, setup and repetition name; without a known performer there is none. Where repetitions aren't
    numbered, all that one performer did of a class counts as one performance.
    """
    names = np.stack([clips.labels, clips.subjects, clips.setups, clips.repetitions])[:, index]  # (4, N)
    numbers = np.unique(names, axis=1, return_inverse=True)[1].reshape(-1)
    seen = np.bincount(np.unique(np.stack([numbers, clips.views[index]]), axis=1)[0])  # views of each
    return np.where((seen[numbers] > 1) & (clips.subjects[index] >= 0), numbers, -1)


def label_scores(
    features: Tensor,
    columns: Mapping[str, Sequence[int] | np.ndarray],
    neighbours: int = 1,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> dict[str, LabelScore]:
    """Scores of (N, F) features for each column of N labels; columns with a single value (or all unknown, -1) are left out.

    Cosine similarity throughout, every clip against all others; clips of one group (N,), such as the views of one performance, don't
    count as each other's neighbours (-1: in no group). Wanted: high for the class, near chance for subject and view.
    """
    if groups is not None and np.shape(groups) != (len(features),):
        raise DataError(f"groups have the shape {np.shape(groups)} for {len(features)} features; expected one number per clip")
    apart = None if groups is None else torch.from_numpy(np.asarray(groups, np.int64))
    found = {}
    for name, values in columns.items():
        labels = np.asarray(values)
        if labels.shape != (len(features),):
            raise DataError(f"column '{name}' has {labels.shape} labels for {len(features)} features")
        _, counts = np.unique(labels, return_counts=True)
        if len(counts) > 1:
            share = leave_one_out(features, torch.from_numpy(labels.astype(np.int64)), neighbours, apart)
            found[name] = LabelScore(share, silhouette(features, labels, seed), 100.0 * float(counts.max()) / len(labels))
    return found
