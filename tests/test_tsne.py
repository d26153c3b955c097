"""Maps, and what labels make of features."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from feature_data import blobs, rng
from sklearn.manifold import trustworthiness
from sklearn.neighbors import KNeighborsClassifier

from skelmm_core.errors import DataError
from skelmm_core.evaluation import tsne


def test_map_keeps_clusters_and_repeats():
    train, labels, _, _ = blobs(1, 60, 8, 3, spread=0.1)
    first, second = (tsne.tsne_map(train["joint"], seed=1, iterations=100) for _ in range(2))
    assert first.shape == (60, 2) and np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)
    assert KNeighborsClassifier(5).fit(first[::2], labels[::2]).score(first[1::2], labels[1::2]) == 1


def test_map_of_few_clips_and_what_it_refuses():
    x = torch.randn(tsne.SMALLEST, 4, generator=rng())
    assert tsne.tsne_map(x, iterations=20).shape == (tsne.SMALLEST, 2)
    with pytest.raises(DataError, match="at least 5 clips"):
        tsne.tsne_map(x[:-1])
    with pytest.raises(DataError, match="collapsed"):
        tsne.tsne_map(torch.ones(20, 4))
    with pytest.raises(DataError, match="finite"):
        tsne.tsne_map(torch.full((20, 4), torch.nan))


def test_maps_of_few_clips_are_trusted_by_fewer_neighbours():
    places = np.random.default_rng(0).normal(size=(40, 2))
    for count in (tsne.SMALLEST, 10, 11, 40):
        place = places[:count] / np.linalg.norm(places[:count], axis=1, keepdims=True)
        assert tsne.trust(torch.from_numpy(place), place) == 1
        assert tsne.trust(torch.from_numpy(place), place[::-1]) < 1
    expected = trustworthiness(places[:, ::-1], places[::-1], n_neighbors=5, metric="cosine")
    assert tsne.trust(torch.from_numpy(places[:, ::-1].copy()), places[::-1]) == expected


def test_label_scores_tell_what_features_hold():
    train, labels, _, _ = blobs(1, 80, 8, 4, spread=0.1)
    subject = np.random.default_rng(0).integers(1, 3, 80)
    scores = tsne.label_scores(train["joint"], {"label": labels, "subject": subject, "view": np.full(80, -1)})
    assert set(scores) == {"label", "subject"}
    assert scores["label"].knn == 100 and scores["label"].chance == 25 and scores["label"].silhouette > 0.8
    assert scores["subject"].knn < 70 and abs(scores["subject"].silhouette) < 0.1
    with pytest.raises(DataError, match="column 'label'"):
        tsne.label_scores(train["joint"], {"label": labels[:5]})


@pytest.mark.parametrize(
    "subjects, views, repetitions, expected",
    [
        ([1, 1, 1, 1], [1, 2, 1, 2], [1, 1, 2, 2], "aabb"),
        ([1, 1, 2, 2], [1, 2, 1, 2], [1, 1, 1, 1], "aabb"),
        ([1, 1, 1, 1], [1, 1, 1, 1], [-1, -1, -1, -1], "----"),  # one camera: repetitions that nobody numbered
        ([1, 1, 1, 1], [-1, -1, -1, -1], [1, 1, 2, 2], "----"),
        ([-1, -1, -1, -1], [1, 2, 1, 2], [1, 1, 2, 2], "----"),
        ([1, 1, 1, 1], [1, 2, 1, 1], [1, 1, 2, 3], "aa--"),
    ],
)
def test_a_performance_is_what_several_views_show(subjects, views, repetitions, expected):
    clips = SimpleNamespace(
        labels=np.zeros(5, int), setups=np.full(5, -1), subjects=np.array([9, *subjects]), views=np.array([1, *views]),
        repetitions=np.array([1, *repetitions]),
    )  # fmt: skip
    found = tsne.performances(clips, np.arange(1, 5))
    assert [n >= 0 for n in found] == [word != "-" for word in expected]
    assert all((found[i] == found[j]) == (expected[i] == expected[j]) for i in range(4) for j in range(4))
