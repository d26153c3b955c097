"""Calibration against a loop over clips and bins, against closed forms, and against what must not change it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skelmm_core.errors import DataError
from skelmm_core.evaluation.calibration import BINS, calibration


def slowly(logits, labels, bins):
    """The formula of Guo et al. (2017), clip by clip: sum over bins of |B| / n |acc(B) - conf(B)|, bins (b/B, (b+1)/B]."""
    held = [[] for _ in range(bins)]
    for row, label in zip(logits, labels, strict=True):
        weights = [math.exp(v - max(row)) for v in row]
        confidence = max(weights) / sum(weights)
        place = next(b for b in range(bins) if confidence <= (b + 1) / bins + 1e-12)
        held[place].append((confidence, max(range(len(row)), key=lambda c: row[c]) == label))
    error = 0.0
    for clips in held:
        if clips:
            sure, true = (sum(c[i] for c in clips) / len(clips) for i in (0, 1))
            error += len(clips) / len(labels) * abs(true - sure)
    return 100 * error, [len(clips) for clips in held]


@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(2, 12), st.sampled_from((1, 4, 15)), st.floats(0.1, 8))
def test_the_error_against_a_slow_loop(seed, count, classes, bins, scale):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(0, scale, (count, classes)), rng.integers(0, classes, count)
    found, (error, held) = calibration(logits, labels, bins), slowly(logits.tolist(), labels.tolist(), bins)
    assert found.error == pytest.approx(error, abs=1e-9) and found.clips.tolist() == held
    assert 0 <= found.error <= 100 and abs(found.excess) <= found.error + 1e-9, "the triangle's inequality"
    assert np.isnan(found.accuracy[found.clips == 0]).all() and np.isfinite(found.accuracy[found.clips > 0]).all()
    moved = calibration(logits + rng.normal(0, 5, (count, 1)), labels, bins)
    assert moved.error == pytest.approx(found.error, abs=1e-6), "softmax does not see what all classes share"


def of(confidence: float, right: int, wrong: int) -> tuple[np.ndarray, np.ndarray]:
    """Clips of two classes about which a classifier is so sure, some right, some wrong."""
    logits = np.tile(np.log([confidence, 1 - confidence]), (right + wrong, 1))
    return logits, np.array([0] * right + [1] * wrong)


def test_closed_forms():
    exact = calibration(*of(0.75, 3, 1))
    assert exact.error == pytest.approx(0, abs=1e-9) and exact.excess == pytest.approx(0, abs=1e-9)
    bold = calibration(*of(0.9, 3, 2))
    assert bold.error == pytest.approx(30) and bold.excess == pytest.approx(30)
    modest = calibration(*of(0.6, 10, 0))
    assert modest.error == pytest.approx(40) and modest.excess == pytest.approx(-40)
    (logits, labels), (others, more) = of(0.9, 1, 1), of(0.6, 2, 0)
    both = calibration(np.concatenate([logits, others]), np.concatenate([labels, more]))
    assert both.error == pytest.approx((40 + 40) / 2) and both.excess == pytest.approx(0, abs=1e-9), "bins don't make up for each other"


def test_a_confidence_on_an_edge_belongs_below():
    found = calibration(*of(0.5, 1, 0), bins=2)
    assert found.clips.tolist() == [1, 0] and found.edges.tolist() == [0, 50, 100] and found.confidence[0] == pytest.approx(50)
    sure = calibration(np.array([[1000.0, 0.0]]), np.array([0]))
    assert sure.clips[-1] == 1 and sure.error == 0 and len(sure.clips) == BINS == 15


@pytest.mark.parametrize(
    ("logits", "labels", "bins"),
    [([[0.0, 1.0]], [0, 1], 15), ([], [], 15), ([[math.nan, 1.0]], [0], 15), ([0.0, 1.0], [0, 1], 15), ([[0.0, 1.0]], [0], 0)],
)
def test_what_can_not_be_measured_is_refused(logits, labels, bins):
    with pytest.raises(DataError, match="calibration needs finite logits"):
        calibration(np.array(logits), np.array(labels), bins)
