"""Few-shot against loops over classes, and NTU RGB+D 120's protocol on clips of its names."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestCentroid

from skelmm_core.errors import DataError
from skelmm_core.evaluation import fewshot, knn


def blobs(count: int, classes: int, seed: int, spread: float = 1.0, streams: int = 2) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(streams, classes, 6, generator=torch.Generator().manual_seed(11))
    labels = torch.arange(count) % classes
    x = centres[:, labels] + spread * torch.randn(streams, count, 6, generator=g)
    return dict(zip(("joint", "bone"), x, strict=False)), labels


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(1, 3), st.integers(0, 5))
def test_exemplars_are_so_many_of_each_class_and_come_again(labels, shots, draw):
    labels = torch.tensor(labels)
    counts = torch.unique(labels, return_counts=True)[1]
    if counts.min() < shots:
        with pytest.raises(DataError, match=f"{shots} exemplars of every class"):
            fewshot.exemplars(labels, shots, draw)
        return
    rows = fewshot.exemplars(labels, shots, draw)
    assert len(rows.unique()) == len(rows) == shots * len(counts)
    assert torch.unique(labels[rows], return_counts=True)[1].tolist() == [shots] * len(counts)
    assert torch.equal(rows, fewshot.exemplars(labels, shots, draw))


def test_draws_differ_and_one_shot_is_the_nearest_exemplar():
    train, a = blobs(60, 4, 0)
    test, b = blobs(30, 4, 1)
    draws = [fewshot.exemplars(a, 1, draw) for draw in range(8)]
    assert len({tuple(rows.tolist()) for rows in draws}) > 4
    results = fewshot.few_shot(train, test, a, b, 4, draws=8)
    for rows, result in zip(draws, results, strict=True):
        few = {n: f[rows] for n, f in train.items()}
        assert np.array_equal(result.predictions, knn.knn(few, test, a[rows], b, 4).predictions)


@pytest.mark.parametrize("shots", [1, 3])
def test_a_query_goes_to_the_class_whose_mean_direction_is_nearest(shots):
    train, a = blobs(60, 4, 0)
    test, b = blobs(30, 4, 1)
    (result,) = fewshot.few_shot(train, test, a, b, 4, shots, draws=1)
    rows = fewshot.exemplars(a, shots, 0)
    for i in range(30):
        score = np.zeros(4)
        for name in train:
            for c in range(4):
                mean = sum(F.normalize(train[name][r].double(), dim=0) for r in rows if a[r] == c)
                score[c] += float(F.cosine_similarity(mean, test[name][i].double(), dim=0)) / len(train)
        np.testing.assert_allclose(result.logits[i], score, atol=1e-9)


def test_by_distance_it_is_scikit_learns_nearest_centroid():
    train, a = blobs(60, 4, 0, streams=1)
    test, b = blobs(30, 4, 1, streams=1)
    (result,) = fewshot.few_shot(train, test, a, b, 4, 3, draws=1, metric="distance")
    rows = fewshot.exemplars(a, 3, 0)
    reference = NearestCentroid().fit(train["joint"][rows].double().numpy(), a[rows].numpy())
    assert np.array_equal(result.predictions, reference.predict(test["joint"].double().numpy()))


def test_a_class_without_exemplars_is_never_said():
    x = torch.eye(3).unsqueeze(0)
    result = fewshot.classify(-x, x[:, :2], torch.tensor([0, 1, 2]), torch.tensor([0, 1]), 3)
    assert 2 not in result.predictions


def ntu_names() -> list[str]:
    """Every class once by performer 8 in setup 1 or 18, camera 3, and once by performer 3."""
    return [f"S{1 if c <= 60 else 18:03d}C003P{p:03d}R001A{c:03d}" for p in (3, 8) for c in range(1, 121)]


def test_ntu120_one_shot_uses_its_exemplars_and_no_other_class():
    names, labels = ntu_names(), torch.arange(240) % 120
    assert fewshot.NTU120_CLASSES[:3] == (0, 6, 12) and len(fewshot.NTU120_EXEMPLARS) == 20
    assert {"S001C003P008R001A055", "S018C003P008R001A061", "S018C003P008R001A115"} <= set(fewshot.NTU120_EXEMPLARS)
    x = F.one_hot(labels, 120).float()
    x[0] = x[6].clone()  # one query of A1 that looks like A7
    x[1] = 100.0  # a class that has no part in it
    result = fewshot.ntu120_one_shot({"joint": x}, labels, names)
    assert len(result.labels) == 20 and result.accuracy == pytest.approx(95)
    with pytest.raises(DataError, match="1 of its 20 one-shot exemplars are missing, e.g. 'S018C003P008R001A115'"):
        keep = [i for i, name in enumerate(names) if name != "S018C003P008R001A115"]
        fewshot.ntu120_one_shot({"joint": x[keep]}, labels[keep], [names[i] for i in keep])
