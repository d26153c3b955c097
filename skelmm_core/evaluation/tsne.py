"""Maps of features in the plane (t-SNE, van der Maaten & Hinton, JMLR 2008, by openTSNE), and figures that say what a map shows.

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
from skelmm_core.evaluation.knn import leave_one_out
from skelmm_core.evaluation.metrics import silhouette

SMALLEST = 5  # clips; fewer have no neighbourhoods to show


def tsne_map(features: Tensor, seed: int = 0, perplexity: float = 30.0, iterations: int = 500, threads: int = 1) -> np.ndarray:
    """(N, F) features -> (N, 2) map of their directions, by cosine distance, started from PCA.

    Args:
        perplexity: effective number of neighbours; lowered to (N - 1) / 3 where there are too few clips for it.
        iterations: after 250 of early exaggeration.
        threads: with one, the same seed gives the same map.
    """
    from openTSNE import TSNE

    count = len(features)
    if count < SMALLEST:
        raise DataError(f"a map needs at least {SMALLEST} clips, found {count}")
    if not torch.isfinite(features).all():
        raise DataError("features are not all finite; look for a diverged training or damaged clips")
    x = F.normalize(features.double(), dim=1).cpu().numpy()
    if np.ptp(x, axis=0).max() < 1e-9:
        raise DataError(f"all {count} features point the same way, so there is nothing to map: the representation has collapsed")
    logging.getLogger("openTSNE").setLevel(logging.ERROR)
    tsne = TSNE(perplexity=min(perplexity, (count - 1) / 3), metric="cosine", n_iter=iterations, n_jobs=threads, random_state=seed)
    return np.asarray(tsne.fit(x))


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
            nearest = leave_one_out(features, torch.from_numpy(labels.astype(np.int64)), neighbours, apart)
            found[name] = LabelScore(nearest, silhouette(features, labels, seed), 100.0 * float(counts.max()) / len(labels))
    return found
