"""Few-shot: classes that are known by k exemplars each, the other clips going to the class whose exemplars they are most like.

What is computed: the k exemplars' unit features are averaged to one direction per class and stream; a query goes to the class with the
largest cosine, mean over streams (of equal ones the first). With k = 1 this is the nearest exemplar. Nothing is trained.

`few_shot` draws exemplars from the training clips and tests all classes with the test clips, over many draws. `ntu120_one_shot` is NTU
RGB+D 120's own protocol (Liu et al., TPAMI 2020): 20 classes, the exemplars that its authors name, all other clips of these classes as
queries. There the encoder should not have seen the 20 classes at all. A self-supervised encoder pretrained on a protocol's training part
has seen their clips, though never their labels, so such a figure stands beside others of its kind, not beside those of that paper.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from skelmm_core.batches import generator
from skelmm_core.errors import DataError
from skelmm_core.evaluation.features import Features, checked_labels, stacked
from skelmm_core.evaluation.knn import directions
from skelmm_core.evaluation.metrics import ProbeResult, scored
from skelmm_core.evaluation.retrieval import similarity_of

NTU120_CLASSES = tuple(range(0, 120, 6))  # A1, A7, ... A115, counted from 0
NTU120_EXEMPLARS = tuple(f"S{1 if a < 60 else 18:03d}C003P008R001A{a + 1:03d}" for a in NTU120_CLASSES)  # as its authors list them


def exemplars(labels: Tensor, shots: int, draw: int) -> Tensor:
    """Places of `shots` clips of every class in labels (N,), ascending; they depend on the number of the draw alone.

    A class with fewer clips raises `DataError`.
    """
    labels = torch.as_tensor(labels).cpu()
    order = torch.randperm(len(labels), generator=generator("cpu", draw, zlib.crc32(b"exemplars")))
    chosen = []
    for label in labels.unique():
        rows = order[labels[order] == label][:shots]
        if len(rows) < shots:
            raise DataError(f"{shots} exemplars of every class are asked for, class {int(label)} has {len(rows)} clips; ask for fewer")
        chosen.append(rows)
    return torch.cat(chosen).sort().values


def few_shot(train: Features, test: Features, train_labels: Tensor, test_labels: Tensor, classes: int, shots: int = 1, draws: int = 100,
             metric: str = "cosine") -> list[ProbeResult]:  # fmt: skip
    """One result for each draw of exemplars from the training clips, tested with all test clips.

    Args: train, test: stream -> (N, F). train_labels, test_labels: (N,) in 0..classes-1. metric: ``"cosine"``, or ``"distance"``, to the
        nearest class mean as vectors are (raw coordinates).
    """
    gallery, query = stacked(train), stacked(test, like=train)
    train_labels = checked_labels(train_labels, gallery, classes, "train")
    test_labels = checked_labels(test_labels, query, classes, "test")
    chosen = [exemplars(train_labels, shots, draw).to(gallery.device) for draw in range(draws)]
    return [classify(query, gallery[:, rows], test_labels, train_labels[rows], classes, metric) for rows in chosen]


def ntu120_one_shot(features: Features, labels: Tensor, names: Sequence[str], metric: str = "cosine") -> ProbeResult:
    """NTU RGB+D 120's one-shot protocol on the features of all clips, (N, F) per stream, with labels (N,) and names (N,) of the clips.

    Logits are those of the 20 classes, in their order. Raises `DataError` for data without one of the exemplars.
    """
    x, labels, rows = stacked(features), torch.as_tensor(labels).cpu(), torch.tensor(ntu120_places(names))
    novel = torch.full((max(120, int(labels.max()) + 1),), -1)
    novel[list(NTU120_CLASSES)] = torch.arange(len(NTU120_CLASSES))
    queries = novel[labels] >= 0
    queries[rows] = False
    return classify(x[:, queries], x[:, rows], novel[labels][queries], torch.arange(len(rows)), len(rows), metric)


def ntu120_places(names: Sequence[str]) -> list[int]:
    """Where in names of clips the exemplars are. Raises `DataError` for data without one of them."""
    number = {name[:20]: i for i, name in enumerate(names)}
    missing = [name for name in NTU120_EXEMPLARS if name not in number]
    if missing:
        raise DataError(
            f"these are not the clips of NTU RGB+D 120: {len(missing)} of its {len(NTU120_EXEMPLARS)} one-shot exemplars are missing, e.g. "
            f"'{missing[0]}'; 'oneshot' draws exemplars from any data"
        )
    return [number[name] for name in NTU120_EXEMPLARS]


def classify(
    query: Tensor, gallery: Tensor, query_labels: Tensor, gallery_labels: Tensor, classes: int, metric: str = "cosine"
) -> ProbeResult:
    """Queries (S, N, F) to the nearest mean of exemplars (S, K, F) with labels (K,); a class without exemplars is never said."""
    query, gallery = (directions(x) if metric == "cosine" else x.double() for x in (query, gallery))
    count = torch.bincount(gallery_labels, minlength=classes)  # (C,)
    means = torch.zeros(len(gallery), classes, gallery.shape[2], dtype=torch.float64, device=gallery.device)
    means.index_add_(1, gallery_labels.to(gallery.device), gallery)
    means = directions(means) if metric == "cosine" else means / count.to(means).clamp_min(1).unsqueeze(1)
    logits = similarity_of(query, means, metric)  # (N, C)
    return scored(logits.masked_fill(count.to(logits.device) == 0, -torch.inf), query_labels, {})
