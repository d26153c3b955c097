"""Figures of merit against scikit-learn, loops over pairs and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from feature_data import blobs, rng
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, silhouette_score

from skelmm_core.errors import DataError
from skelmm_core.evaluation import metrics


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_confusion_and_per_class_agree_with_scikit_learn(pairs):
    truth, said = np.array(pairs).T
    matrix = metrics.confusion(truth, said, 5)
    assert np.array_equal(matrix, confusion_matrix(truth, said, labels=range(5)))
    for c, percent in enumerate(metrics.per_class(matrix)):
        here = truth == c
        assert math.isnan(percent) if not here.any() else percent == pytest.approx(100 * np.mean(said[here] == c))
    assert metrics.accuracy(truth, said) == pytest.approx(100 * matrix.trace() / len(pairs))
    mistakes = metrics.most_confused(matrix, 100)
    assert sum(m.clips for m in mistakes) == len(pairs) - matrix.trace()
    assert [m.clips for m in mistakes] == sorted((m.clips for m in mistakes), reverse=True)
    assert all(m.truth != m.prediction and m.share == pytest.approx(100 * m.clips / (truth == m.truth).sum()) for m in mistakes)


def test_confusion_refuses_foreign_labels():
    with pytest.raises(DataError, match="predictions must be in 0..1"):
        metrics.confusion([0, 1], [0, 2], 2)


def test_result_as_plain_numbers():
    result = metrics.ProbeResult(np.array([[0.0, 1, 0], [2, 0, 0], [0, 3, 0]]), np.array([1, 1, 0]))
    assert result.predictions.tolist() == [1, 0, 1]
    assert result.summary() == {
        "accuracy": pytest.approx(100 / 3), "clips": 3, "streams": {}, "per_class": [0.0, 50.0, None],
        "confusion": [[0, 1, 0], [1, 1, 0], [0, 0, 0]],
    }  # fmt: skip


@pytest.mark.parametrize("directions", [1, 2, 5, 8])
def test_effective_rank_of_equal_directions_is_their_number(directions):
    axes = torch.eye(8)[:directions]
    assert metrics.effective_rank(torch.cat([axes, -3 * axes])) == pytest.approx(directions, abs=1e-6)


def test_effective_rank_in_closed_form_and_when_collapsed():
    # 9 pairs +-e1 and 4 pairs +-e2: singular values in the ratio 3 : 2
    x = torch.cat([torch.eye(2)[0].repeat(9, 1), torch.eye(2)[1].repeat(4, 1)])
    expected = math.exp(-(0.6 * math.log(0.6) + 0.4 * math.log(0.4)))
    assert metrics.effective_rank(torch.cat([x, -x])) == pytest.approx(expected, rel=1e-9)
    assert metrics.effective_rank(torch.ones(50, 8) * torch.arange(1, 51).unsqueeze(1)) == 1.0
    wide = torch.randn(5000, 16, generator=rng())
    assert metrics.effective_rank(wide) == pytest.approx(16, rel=0.01)


def test_pairwise_figures_are_loops_over_pairs():
    x = torch.randn(11, 4, generator=rng(), dtype=torch.float64) + 0.5
    u = F.normalize(x, dim=1)
    pairs = [(i, j) for i in range(11) for j in range(11) if i < j]
    assert metrics.mean_cosine(x) == pytest.approx(float(np.mean([u[i] @ u[j] for i, j in pairs])))
    spread = np.mean([math.exp(-2 * float((u[i] - u[j]).square().sum())) for i, j in pairs])
    assert metrics.uniformity(x) == pytest.approx(math.log(spread))
    assert metrics.alignment(x, 3 * x) == pytest.approx(0, abs=1e-12) and metrics.alignment(x, -x) == pytest.approx(4)
    assert math.isnan(metrics.mean_cosine(x[:1]))


def test_silhouette(monkeypatch):
    train, labels, _, _ = blobs(1, 60, 4, 3, spread=0.5)
    x = train["joint"]
    assert metrics.silhouette(x, labels) == pytest.approx(silhouette_score(x.numpy(), labels.numpy(), metric="cosine"), abs=1e-5)
    opposite = torch.tensor([[1.0, 0], [2, 0], [-1, 0], [-3, 0]])
    assert metrics.silhouette(opposite, [0, 0, 1, 1]) == pytest.approx(1)
    assert math.isnan(metrics.silhouette(x, [4] * 60)) and math.isnan(metrics.silhouette(x, range(60)))
    rows = metrics.sample(60, seed=0, most=50)
    assert len(set(rows.tolist())) == 50 and np.array_equal(rows, metrics.sample(60, seed=0, most=50))


def test_binomial_error_is_the_spread_of_repeated_tests():
    draws = np.random.default_rng(0).binomial(430, 0.823, 20000) / 4.30
    assert metrics.binomial_error(82.3, 430) == pytest.approx(draws.std(), rel=0.02)
