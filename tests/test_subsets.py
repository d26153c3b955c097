"""Subsets, Shapley values, error correlation and class gains against loops written from their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from skelmm_core import modalities
from skelmm_core.ablation import subsets
from skelmm_core.errors import DataError

CLIPS, CLASSES = 40, 5


@pytest.fixture(scope="module")
def logits() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, CLASSES, CLIPS)
    return {n: rng.normal(size=(CLIPS, CLASSES)) + (0.4 + 0.2 * i) * np.eye(CLASSES)[labels] for i, n in enumerate(modalities.NAMES)}


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, CLASSES, CLIPS)


def right(logits, labels, names, clip) -> bool:
    """One clip, one class after the other."""
    best, high = -1, -math.inf
    for c in range(CLASSES):
        total = sum(float(logits[n][clip, c]) for n in names)
        if total > high:
            best, high = c, total
    return best == labels[clip]


def test_63_subsets_in_order():
    found = subsets.subsets(modalities.NAMES)
    assert len(found) == len(set(found)) == 63 and found[0] == ("joint",) and found[-1] == modalities.NAMES
    assert all(list(s) == sorted(s, key=modalities.NAMES.index) for s in found)


def test_accuracies_against_a_loop(logits, labels):
    found = subsets.accuracies(logits, labels)
    for names in found:
        slow = sum(right(logits, labels, names, i) for i in range(CLIPS)) / CLIPS
        assert found[names] == pytest.approx(100 * slow), names
    assert len(set(found.values())) > 5, "else every fusion would do"


def test_shapley_against_all_orders(logits, labels):
    values, empty = subsets.accuracies(logits, labels), 20.0
    total = dict.fromkeys(logits, 0.0)
    for order in itertools.permutations(logits):
        before, there = empty, set()
        for name in order:
            there.add(name)
            after = values[tuple(n for n in logits if n in there)]
            total[name] += after - before
            before = after
    found = subsets.shapley(values, empty)
    assert found == pytest.approx({n: v / math.factorial(6) for n, v in total.items()})
    assert sum(found.values()) == pytest.approx(values[tuple(logits)] - empty)


def test_shapley_of_what_adds_up_of_twins_and_of_gaps():
    worth = {"a": 5.0, "b": 2.0, "c": -1.0}
    sums = {s: 10 + sum(worth[n] for n in s) for s in subsets.subsets(worth)}
    assert subsets.shapley(sums, 10.0) == pytest.approx(worth)
    assert subsets.shapley({("a",): 8.0, ("b",): 8.0, ("a", "b"): 8.0}, 0.0) == {"a": 4.0, "b": 4.0}
    with pytest.raises(DataError, match="all 3 subsets of a, b, found 2"):
        subsets.shapley({("a",): 1.0, ("a", "b"): 2.0}, 0.0)


def test_error_correlation_against_the_table_of_four_counts():
    rng = np.random.default_rng(2)
    given = {n: rng.random(60) < p for n, p in (("a", 0.7), ("b", 0.4), ("c", 0.5))} | {"always": np.ones(60, bool)}
    given["not a"] = ~given["a"]
    found, names = subsets.error_correlation(given), list(given)
    for i, j in itertools.product(range(len(names)), repeat=2):
        x, y = given[names[i]], given[names[j]]
        n = {(p, q): sum(bool(u) == p and bool(v) == q for u, v in zip(x, y, strict=True)) for p in (True, False) for q in (True, False)}
        product = math.prod(n[p, True] + n[p, False] for p in (True, False)) * math.prod(n[True, q] + n[False, q] for q in (True, False))
        if product == 0:
            assert math.isnan(found[i, j])
        else:
            phi = (n[True, True] * n[False, False] - n[True, False] * n[False, True]) / math.sqrt(product)
            assert found[i, j] == pytest.approx(phi)
    assert found[names.index("a"), names.index("not a")] == pytest.approx(-1)


def test_class_gains_against_a_loop(logits, labels):
    base, added = modalities.NAMES[:3], modalities.NAMES[3:]
    found = subsets.class_gains(logits, labels, CLASSES + 1, base, added)
    assert found.shape == (4, CLASSES + 1) and np.isnan(found[:, CLASSES]).all(), "a class without clips"
    for row, more in enumerate((added, *((name,) for name in added))):
        for c in range(CLASSES):
            own = [i for i in range(CLIPS) if labels[i] == c]
            gain = sum(int(right(logits, labels, (*base, *more), i)) - int(right(logits, labels, base, i)) for i in own)
            assert found[row, c] == pytest.approx(100 * gain / len(own))
