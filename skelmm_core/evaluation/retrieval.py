"""Retrieval: the gallery (training clips) ranked by similarity to each query (test clip); first hit and mean average precision.

Average precision of a query: at each gallery clip of its class, the share of that class among all clips at least as similar; the mean of
these. Equal similarities (within `knn.EQUAL`) count as one step, as in scikit-learn's `average_precision_score`, so the order in which
clips stand in the file changes nothing. The first hit is that of `knn` with one neighbour, ties going to the first clip in the gallery.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skelmm_core.errors import DataError
from skelmm_core.evaluation.features import Features, checked_labels, stacked
from skelmm_core.evaluation.knn import BUDGET, EQUAL, directions, nearest

METRICS = ("cosine", "distance")


@dataclass(frozen=True, eq=False)
class Retrieved:
    """Percent of queries whose most similar gallery clip is of their class, and mean average precision in percent.

    `precision` (N,), in 0..1: of each query; NaN, and left out of the mean, where the gallery has no clip of its class.
    """

    top1: float
    mean_average_precision: float
    precision: np.ndarray


def retrieval(train: Features, test: Features, train_labels: Tensor, test_labels: Tensor) -> Retrieved:
    """Test clips as queries, training clips as gallery, by cosine, mean over streams; of one stream: give that one alone.

    Args: train, test: stream -> (N, F) features before the projection head. train_labels, test_labels: (N,) integers.
    Raises: `DataError` for streams, labels or shapes that don't fit.
    """
    gallery, query = stacked(train), stacked(test, like=train)  # (S, G, F), (S, N, F)
    classes = 1 + max(int(torch.as_tensor(labels).max()) for labels in (train_labels, test_labels))
    train_labels = checked_labels(train_labels, gallery, classes, "train")
    test_labels = checked_labels(test_labels, query, classes, "test")
    return ranked(query, gallery, test_labels, train_labels)


def leave_one_out(features: Features, labels: Tensor) -> Retrieved:
    """Every clip as query, all the others as its gallery; features: stream -> (N, F)."""
    x = stacked(features)
    labels = checked_labels(labels, x, 1 + int(torch.as_tensor(labels).max()), "all")
    if x.shape[1] < 2:
        raise DataError("leaving one clip out needs at least two, found 1")
    return ranked(x, x, labels, labels, others_only=True)


def ranked(
    query: Tensor, gallery: Tensor, query_labels: Tensor, gallery_labels: Tensor, metric: str = "cosine", others_only: bool = False
) -> Retrieved:
    """Queries (S, N, F) in a gallery (S, G, F) with labels (N,) and (G,), of any vectors.

    metric: ``"cosine"``, or ``"distance"``, nearest first by Euclidean distance. others_only: query n is gallery clip n and no hit of its
    own.
    """
    precision = torch.full((query.shape[1],), torch.nan, dtype=torch.float64)
    right = 0
    for rows, same, similarity in _by_class(query, gallery, query_labels, gallery_labels, metric):
        if others_only:
            similarity[torch.arange(len(rows)), rows] = -torch.inf
        first = nearest(similarity, 1)[1].squeeze(1)  # (n,)
        right += int((gallery_labels[first] == query_labels[rows]).sum())
        found = average_precision(similarity, same, others_only)
        precision[rows.cpu()] = found.cpu()
    values = precision.numpy()
    mean = float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")
    return Retrieved(100.0 * right / len(values), 100.0 * mean, values)


def average_precision(similarity: Tensor, same: Tensor, one_missing: bool = False) -> Tensor:
    """(n, G) similarities of queries of one class, and the gallery places (R,) of that class -> (n,) average precision, NaN for R = 0.

    one_missing: in every row one of the R places holds -inf and is no gallery clip.
    """
    relevant = _sorted(similarity[:, same])[:, int(one_missing) :].contiguous()  # (n, R), ascending
    count = relevant.shape[1]
    if not count:
        return torch.full((len(similarity),), torch.nan, dtype=torch.float64, device=similarity.device)
    edge = relevant - EQUAL  # at least as similar, but for rounding
    hits = count - torch.searchsorted(relevant, edge)
    all_clips = similarity.shape[1] - torch.searchsorted(_sorted(similarity), edge)
    return (hits.double() / all_clips).mean(dim=1)


def similarity_of(query: Tensor, gallery: Tensor, metric: str = "cosine") -> Tensor:
    """(S, n, F), (S, G, F) -> (n, G) float64, mean over streams: cosines of unit vectors, or q.g - |g|^2 / 2, largest for the nearest.

    For ``"cosine"`` both must be `knn.directions` already.
    """
    similarity = (query.double() @ gallery.double().mT).mean(dim=0)
    return similarity - gallery.double().square().sum(dim=(0, 2)) / (2 * len(gallery)) if metric == "distance" else similarity


def _by_class(query: Tensor, gallery: Tensor, query_labels: Tensor, gallery_labels: Tensor, metric: str) -> Iterator[Sequence[Tensor]]:
    """Queries of one class at a time, as many as the budget allows: their places (n,), the gallery's of the class, similarities (n, G)."""
    if metric not in METRICS:
        raise DataError(f"metric must be one of {', '.join(METRICS)}, found '{metric}'")
    gallery = directions(gallery) if metric == "cosine" else gallery.double()
    step = max(1, BUDGET // (gallery.shape[0] * gallery.shape[1]))
    for label in query_labels.unique():
        same = (gallery_labels == label).nonzero().squeeze(1)
        for rows in (query_labels == label).nonzero().squeeze(1).split(step):
            part = directions(query[:, rows]) if metric == "cosine" else query[:, rows]
            yield rows, same, similarity_of(part, gallery, metric)


def _sorted(x: Tensor) -> Tensor:
    """(n, G) ascending along each row. numpy's vectorised sort is three times as fast as torch's on the CPU, and frees other threads."""
    if x.device.type != "cpu":
        return x.sort(dim=-1).values
    values, parts = x.contiguous().numpy(), max(1, min(torch.get_num_threads(), len(x)))
    with ThreadPoolExecutor(parts) as pool:
        return torch.from_numpy(np.concatenate(list(pool.map(lambda part: np.sort(part, axis=-1), np.array_split(values, parts)))))
