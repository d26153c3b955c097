"""Nearest neighbours: the training clips as gallery, in feature space by cosine, and in raw coordinates by distance.

Feature kNN (called retrieval at k = 1) trains nothing, so it shows what the encoder itself has put together. Raw
coordinates are the sanity row beside it: an encoder that does not beat them has learnt nothing worth having.
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

BUDGET = 2**26  # similarities held at a time, 256 MB in float32
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
    gallery, query = F.normalize(stacked(train), dim=-1), F.normalize(stacked(test, like=train), dim=-1)  # (S, G, F), (S, N, F)
    train_labels = checked_labels(train_labels, gallery, classes, "train")
    test_labels = checked_labels(test_labels, query, classes, "test")
    check_neighbours(neighbours, gallery.shape[1])
    parts = []
    for _, similarity in similarities(query, gallery):
        fused = similarity.mean(dim=0, keepdim=True)
        best, index = torch.cat([fused, similarity]).topk(neighbours, dim=-1)  # (1 + S, n, k)
        parts.append(votes(best, train_labels[index], classes))
    fused, *single = torch.cat(parts, dim=1)  # (N, C) each
    return scored(fused, test_labels, dict(zip(train, single, strict=True)))


def leave_one_out(features: Tensor, labels: Tensor, neighbours: int = 1, groups: Tensor | None = None) -> float:
    """Percent of clips whose nearest other clips (cosine, (N, F)) vote for their own label.

    groups (N,): clips of one group, such as the views of one performance, are no neighbours of each other; -1: in no group. In float64:
    the cosines of features that have nearly collapsed differ by less than float32 tells apart.
    """
    alone = torch.arange(len(features), device=features.device)  # every clip is at least in a group with itself
    groups = alone if groups is None else groups.to(features.device)
    groups = torch.where(groups < 0, groups.max() + 1 + alone, groups)
    check_neighbours(neighbours, len(features) - int(torch.unique(groups, return_counts=True)[1].max()))
    known, numbers = torch.unique(torch.as_tensor(labels), return_inverse=True)
    unit, numbers = F.normalize(features.double(), dim=1).unsqueeze(0), numbers.to(features.device)
    right = 0
    for rows, similarity in similarities(unit, unit):
        similarity[0].masked_fill_(groups[rows, None] == groups, -torch.inf)
        best, index = similarity[0].topk(neighbours, dim=-1)
        right += int((votes(best, numbers[index], len(known)).argmax(1) == numbers[rows]).sum())
    return 100.0 * right / len(features)


def similarities(query: Tensor, gallery: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Row numbers (n,) of `query` and their dot products with the gallery (S, n, G), as many at a time as the budget allows."""
    step = max(1, BUDGET // (gallery.shape[0] * gallery.shape[1]))
    for rows in torch.arange(query.shape[1], device=query.device).split(step):
        yield rows, query[:, rows] @ gallery.mT


def votes(similarity: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Cosines and labels of the neighbours (..., k) -> (..., C) float64: votes, plus under 1 for the sum of the voters' similarity."""
    count, total = (torch.zeros(*labels.shape[:-1], classes, dtype=torch.float64, device=labels.device) for _ in range(2))
    count.scatter_add_(-1, labels, torch.ones_like(similarity, dtype=torch.float64))
    total.scatter_add_(-1, labels, similarity.double())
    return count + (total / labels.shape[-1] + 1) / 4  # the sum of k cosines lies in -k..k


def check_neighbours(neighbours: int, gallery: int) -> None:
    if not 1 <= neighbours <= gallery:
        raise SettingsError(f"neighbours must be between 1 and the {gallery} clips to choose from, found {neighbours}")


def raw_nearest(clips: Clips, split: Split, frames: int = 32) -> ProbeResult:
    """1-nearest neighbour by Euclidean distance between raw coordinates: what a representation has to beat.

    Every clip: its first body's first hip in the first frame at the origin, turned once about the vertical so that the mean
    line between the first body's shoulders is parallel to x, resampled to `frames`; joints as recorded, all bodies. In an image: x and y
    from the first body's centre joint, nothing turned.

    On UTD-MHAD, odd -> even subjects: 354 of 430 right, 82.3 %. Other readings of "facing the camera" (turning by the first
    frame, every frame, the hips, or not at all; other resampling) lie between 79.1 and 82.8 %, and with joints mapped to
    NTU-25, which counts hands and neck twice, between 80.9 and 84.0 %: a method that is ahead by less has not won.
    """
    bodies = int(clips.bodies.max())
    gallery, query = (raw_coordinates(clips, part, frames, bodies) for part in (split.train, split.test))
    mean = gallery.mean(dim=0)  # taken off for precision; distances stay
    gallery, query = gallery - mean, query - mean
    offset = gallery.square().sum(dim=1) / 2
    labels = torch.from_numpy(np.array(clips.labels, np.int64))
    train_labels = labels[torch.from_numpy(split.train)]
    # argmin |q - g|^2 = argmax q.g - |g|^2 / 2
    index = torch.cat([(s[0] - offset).argmax(dim=1) for _, s in similarities(query.unsqueeze(0), gallery.unsqueeze(0))])
    logits = F.one_hot(train_labels[index], len(clips.class_names)).double()
    return scored(logits, labels[torch.from_numpy(split.test)], {})


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
