"""Nearest neighbours: the training clips as gallery, in feature space by cosine, and in raw coordinates by distance.

Feature kNN (called retrieval at k = 1) trains nothing, so it shows what the encoder itself has put together. Raw
coordinates are the sanity row beside it: an encoder that does not beat them has learnt nothing worth having.

Cosines are computed in float64: those of features that have nearly collapsed differ by less than float32 tells apart. Where more clips
are as near as the last neighbour (within `EQUAL`) than can vote, the first of them in the order of clips do; of classes with equal votes
and equal cosines the first wins. So clips that are there twice, and features that have collapsed, give the same result on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from skelmm_core import image
from skelmm_core.clips import Clips
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.evaluation.features import Features, checked_labels, stacked
from skelmm_core.evaluation.metrics import ProbeResult, scored
from skelmm_core.preparation import facing, from_first, resample
from skelmm_core.protocols import Split

BUDGET = 2**25  # similarities held at a time, 256 MB in float64
EQUAL = 2.0**-48  # cosines of vectors that float32 just tells apart differ by about so much; float64 rounds them by less
ROOT = 0  # first hip: hip centre of kinect20, base of spine of ntu25


def knn(
    train: Features,
    test: Features,
    train_labels: Tensor,
    test_labels: Tensor,
    classes: int,
    neighbours: int = 1,
) -> ProbeResult:
    """Vote of the `neighbours` training clips with the largest cosine similarity, mean over streams.

    Args: train, test: stream -> (N, F) features before the projection head. train_labels, test_labels: (N,) integers.
        neighbours: how many vote; equal votes go to the class whose voters are more similar in sum.
    Returns: `logits` are votes plus less than 1 for the similarity of the voters; `streams` from each stream alone.
    """
    gallery, query = directions(stacked(train)), directions(stacked(test, like=train))  # (S, G, F), (S, N, F)
    train_labels = checked_labels(train_labels, gallery, classes, "train")
    test_labels = checked_labels(test_labels, query, classes, "test")
    check_neighbours(neighbours, gallery.shape[1])
    parts = []
    for _, similarity in similarities(query, gallery):
        parts.append(torch.stack([voted(one, train_labels, neighbours, classes) for one in (similarity.mean(dim=0), *similarity)]))
    fused, *single = torch.cat(parts, dim=1)  # (N, C) each
    return scored(fused, test_labels, dict(zip(train, single, strict=True)))


def leave_one_out(features: Tensor, labels: Tensor, neighbours: int = 1, groups: Tensor | None = None) -> float:
    """Percent of clips whose nearest other clips (cosine, (N, F)) vote for their own label.

    groups (N,): clips of one group, such as the views of one performance, are no neighbours of each other; -1: in no group.
    """
    alone = torch.arange(len(features), device=features.device)  # every clip is at least in a group with itself
    groups = alone if groups is None else groups.to(features.device)
    groups = torch.where(groups < 0, groups.max() + 1 + alone, groups)
    check_neighbours(neighbours, len(features) - int(torch.unique(groups, return_counts=True)[1].max()))
    known, numbers = torch.unique(torch.as_tensor(labels), return_inverse=True)
    unit, numbers = directions(features).unsqueeze(0), numbers.to(features.device)
    right = 0
    for rows, similarity in similarities(unit, unit):
        similarity[0].masked_fill_(groups[rows, None] == groups, -torch.inf)
        right += int((voted(similarity[0], numbers, neighbours, len(known)).argmax(1) == numbers[rows]).sum())
    return 100.0 * right / len(features)


def directions(features: Tensor) -> Tensor:
    """Features (..., F) as unit vectors in float64."""
    return F.normalize(features.double(), dim=-1)


def similarities(query: Tensor, gallery: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Row numbers (n,) of `query` and their dot products with the gallery (S, n, G), as many at a time as the budget allows."""
    step = max(1, BUDGET // (gallery.shape[0] * gallery.shape[1]))
    for rows in torch.arange(query.shape[1], device=query.device).split(step):
        yield rows, query[:, rows] @ gallery.mT


def voted(similarity: Tensor, labels: Tensor, neighbours: int, classes: int) -> Tensor:
    """Cosines (n, G) with clips of the classes `labels` (G,) -> the `votes` (n, C) of the nearest."""
    best, index = nearest(similarity, neighbours)
    return votes(best, labels[index], classes)


def nearest(similarity: Tensor, neighbours: int) -> tuple[Tensor, Tensor]:
    """The k largest cosines of (n, G) and their places, both (n, k); of those that equal the k-th the first places."""
    best, index = similarity.topk(neighbours, dim=-1)
    last = best[:, -1:]
    tied = (similarity >= last - EQUAL).sum(dim=-1) > neighbours  # (n,)
    if tied.any():
        beyond = similarity[tied].sub_(last[tied])  # (ties, G), 0 for the k-th
        rank = torch.where(beyond.abs() <= EQUAL, 0.0, beyond.sign_()).mul_(2)  # 2 nearer than it, 0 as near, -2 farther
        rank -= torch.linspace(0, 1, rank.shape[1], dtype=rank.dtype, device=rank.device)
        index[tied] = rank.topk(neighbours, dim=-1)[1]
        best = similarity.gather(-1, index)
    return best, index


def votes(similarity: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Cosines and labels of the neighbours (..., k) -> (..., C) float64: votes, plus under 1 for the sum of the voters' similarity.

    Sums that differ by less than float64's rounding of the votes are equal.
    """
    count, total = (torch.zeros(*labels.shape[:-1], classes, dtype=torch.float64, device=labels.device) for _ in range(2))
    count.scatter_add_(-1, labels, torch.ones_like(similarity, dtype=torch.float64))
    total.scatter_add_(-1, labels, similarity.double())
    return count + (total / labels.shape[-1] + 1) / 4  # the sum of k cosines lies in -k..k


def check_neighbours(neighbours: int, gallery: int) -> None:
    if not 1 <= neighbours <= gallery:
        raise SettingsError(f"neighbours must be between 1 and the {gallery} clips to choose from, found {neighbours}")


def raw_nearest(clips: Clips, split: Split, frames: int = 32, test_clips: Clips | None = None) -> ProbeResult:
    """1-nearest neighbour by Euclidean distance between raw coordinates: what a representation has to beat.

    Every clip: its first body's first hip in the first frame at the origin, turned once about the vertical so that the mean
    line between the first body's shoulders is parallel to x, resampled to `frames`; joints as recorded, all bodies. In an image: x and y
    from the first body's centre joint, nothing turned. test_clips: where the test clips are taken from, if not from `clips` (`damage`).

    On UTD-MHAD, odd -> even subjects: 354 of 430 right, 82.3 %. Other readings of "facing the camera" (turning by the first
    frame, every frame, the hips, or not at all; other resampling) lie between 79.1 and 82.8 %, and with joints mapped to
    NTU-25, which counts hands and neck twice, between 80.9 and 84.0 %: a method that is ahead by less has not won.
    """
    gallery, query = raw_vectors(clips, split, frames, test_clips)
    offset = gallery.square().sum(dim=1) / 2
    labels = torch.from_numpy(np.array(clips.labels, np.int64))
    train_labels = labels[torch.from_numpy(split.train)]
    # argmin |q - g|^2 = argmax q.g - |g|^2 / 2
    index = torch.cat([(s[0] - offset).argmax(dim=1) for _, s in similarities(query.unsqueeze(0), gallery.unsqueeze(0))])
    logits = F.one_hot(train_labels[index], len(clips.class_names)).double()
    return scored(logits, labels[torch.from_numpy(split.test)], {})


def raw_vectors(clips: Clips, split: Split, frames: int = 32, test_clips: Clips | None = None) -> tuple[Tensor, Tensor]:
    """`raw_coordinates` of the training and the test clips, (G, D) and (N, D), around the training clips' mean: distances stay."""
    bodies = int(clips.bodies.max())
    gallery = raw_coordinates(clips, split.train, frames, bodies)
    query = raw_coordinates(test_clips or clips, split.test, frames, bodies)
    mean = gallery.mean(dim=0)  # taken off for precision
    return gallery - mean, query - mean


def raw_coordinates(clips: Clips, indices: np.ndarray, frames: int, bodies: int, chunk: int = 1024) -> Tensor:
    """Normalised coordinates of clips as vectors, (N, D * frames * V * bodies) float32, D = 3, 2 in an image; absent bodies are zeros."""
    if not len(indices):
        raise DataError("no clips to compare: the list of clip numbers is empty")
    parts = []
    for begin in range(0, len(indices), chunk):
        packed = clips.take(indices[begin : begin + chunk])
        rows, starts, lengths, counts = (torch.from_numpy(np.ascontiguousarray(a)) for a in packed)
        if clips.skeleton.dimensions == 2:
            x = image.prepared(rows, starts, lengths.long(), counts.long(), clips.skeleton, frames, bodies, view="clip")
            parts.append(x[:, :2].flatten(1))
            continue
        rows = from_first(rows, ROOT, starts, lengths.long(), counts.long())
        x = resample(rows, starts, lengths, counts, frames, bodies).permute(0, 3, 1, 2, 4)  # (n, 3, T, V, M)
        parts.append(facing(x, clips.skeleton).flatten(1))
    return torch.cat(parts)
