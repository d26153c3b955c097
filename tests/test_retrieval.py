"""Retrieval against scikit-learn and loops written from the definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from skelmm_core.errors import DataError
from skelmm_core.evaluation import knn, retrieval


def drawn(streams: int, count: int, classes: int, seed: int, width: int = 5) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=g)
    centres = torch.randn(streams, classes, width, generator=torch.Generator().manual_seed(99))
    x = centres[:, labels] + torch.randn(streams, count, width, generator=g)
    return dict(zip(("joint", "bone", "motion"), x, strict=False)), labels


def cosines(query: dict, gallery: dict) -> np.ndarray:
    """(N, G), one pair at a time."""
    found = np.zeros((len(query["joint"]), len(gallery["joint"])))
    for i in range(found.shape[0]):
        for j in range(found.shape[1]):
            pairs = [(query[n][i].double().numpy(), gallery[n][j].double().numpy()) for n in query]
            found[i, j] = np.mean([q @ g / np.linalg.norm(q) / np.linalg.norm(g) for q, g in pairs])
    return found


@pytest.mark.parametrize("streams", [1, 3])
def test_precision_is_scikit_learns(streams, monkeypatch):
    monkeypatch.setattr(retrieval, "BUDGET", 60 * streams * 4)  # several chunks
    train, a = drawn(streams, 60, 4, 0)
    test, b = drawn(streams, 25, 4, 1)
    result, similarity = retrieval.retrieval(train, test, a, b), cosines(test, train)
    expected = [average_precision_score((a == b[i]).numpy(), similarity[i]) for i in range(25)]
    np.testing.assert_allclose(result.precision, expected, atol=1e-12)
    assert result.mean_average_precision == pytest.approx(100 * np.mean(expected))
    first = a[similarity.argmax(axis=1)] == b
    assert result.top1 == pytest.approx(100 * first.double().mean().item())
    assert result.top1 == knn.knn(train, test, a, b, 4).accuracy


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=2, max_size=12))
def test_equal_similarities_are_one_step(cells):
    """Few different similarities, many ties: as scikit-learn says, in whatever order the clips stand."""
    levels, same = np.array([c for c, _ in cells]) / 4, np.array([s for _, s in cells])
    for order in (np.arange(len(cells)), np.arange(len(cells))[::-1]):
        similarity = torch.from_numpy(levels[order].copy()).unsqueeze(0)
        found = retrieval.average_precision(similarity, torch.from_numpy(np.flatnonzero(same[order])))
        if same.any():
            assert float(found) == pytest.approx(average_precision_score(same, levels), abs=1e-12)
        else:
            assert found.isnan().all()


def test_clips_that_are_there_twice_change_no_order():
    """The same direction at another length: equal but for rounding, so all of them are one step."""
    x = torch.randn(1, 16, generator=torch.Generator().manual_seed(3)).double()
    train = {"joint": x * torch.tensor([0.1, 1.7, 2.3, 3.1]).unsqueeze(1)}
    labels = torch.tensor([0, 1, 0, 1])
    for order in (torch.arange(4), torch.arange(3, -1, -1)):
        result = retrieval.retrieval({"joint": train["joint"][order]}, {"joint": x}, labels[order], torch.tensor([1]))
        assert result.precision.tolist() == [0.5]
        assert result.top1 == 100 * (labels[order][0] == 1)


def test_each_of_the_others_is_the_gallery_of_one():
    x, labels = drawn(2, 30, 3, 5)
    result, similarity = retrieval.leave_one_out(x, labels), cosines(x, x)
    for i in range(30):
        others = np.arange(30) != i
        expected = average_precision_score((labels == labels[i]).numpy()[others], similarity[i, others])
        assert result.precision[i] == pytest.approx(expected, abs=1e-12)
    assert result.top1 == pytest.approx(knn.leave_one_out(knn.directions(torch.stack(list(x.values()))).movedim(0, 1).flatten(1), labels))
    with pytest.raises(DataError, match="at least two"):
        retrieval.leave_one_out({"joint": x["joint"][:1]}, labels[:1])


def test_nearest_by_distance():
    train, a = drawn(1, 40, 3, 7)
    test, b = drawn(1, 20, 3, 8)
    x, y = train["joint"].double(), test["joint"].double()
    result, distance = retrieval.ranked(y[None], x[None], b, a, "distance"), torch.cdist(y, x)
    expected = [average_precision_score((a == b[i]).numpy(), -distance[i].numpy()) for i in range(20)]
    np.testing.assert_allclose(result.precision, expected, atol=1e-12)
    assert result.top1 == pytest.approx(100 * (a[distance.argmin(1)] == b).double().mean().item())
    with pytest.raises(DataError, match="metric must be"):
        retrieval.ranked(y[None], x[None], b, a, "euclid")


def test_a_class_that_the_gallery_lacks_is_left_out_of_the_mean():
    x = {"joint": torch.eye(3)}
    result = retrieval.retrieval(x, x, torch.tensor([0, 1, 1]), torch.tensor([0, 1, 2]))
    assert np.isnan(result.precision).tolist() == [False, False, True]
    assert result.mean_average_precision == pytest.approx(100 * (1 + (1 + 2 / 3) / 2) / 2) and result.top1 == pytest.approx(200 / 3)
