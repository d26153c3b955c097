"""Tests of difference against scipy's and against counting all signs by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from skelmm_core.errors import DataError
from skelmm_core.evaluation.paired import EXACT, mcnemar, paired, permutation_test, sign_test

RNG = np.random.default_rng(0)
PAIRS = [(RNG.normal(70, 3, n), RNG.normal(69, 3, n)) for n in (2, 3, 5, 9)]


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_paired_t_against_scipy(a, b):
    found, theirs = paired(a, b), scipy.stats.ttest_rel(a, b)
    interval = theirs.confidence_interval(0.95)
    assert found.n == len(a) and found.mean == pytest.approx(np.mean(a - b)) and found.deviation == pytest.approx(np.std(a - b, ddof=1))
    assert found.t_p == pytest.approx(theirs.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_exact_tests_against_scipy(a, b):
    found, d = paired(a, b), a - b
    assert found.sign_p == pytest.approx(scipy.stats.binomtest(int((d > 0).sum()), len(d)).pvalue)
    theirs = scipy.stats.permutation_test(
        (a, b), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    assert found.permutation_p == pytest.approx(theirs.pvalue)


def test_permutations_against_counting_by_hand():
    d = [0.5, -1.5, 2.0, 3.5]  # |5, 4.5, ...| / 4: signs whose sum is at least 4.5 from 0
    sums = [abs(sum(s * x for s, x in zip(signs, d, strict=True))) for signs in itertools.product((1, -1), repeat=4)]
    assert permutation_test(d) == sum(s >= 4.5 for s in sums) / 16
    assert permutation_test([0.1, 0.2, 0.3]) == 0.25, "the least that three seeds can give"
    assert permutation_test([-0.4, 0.6, 0.3, -0.9, -0.2]) == 0.75, "as of tenfold whole numbers, whose sums are exact"
    assert permutation_test([1.0] * 6) == 2 / 64


def test_many_seeds_are_drawn_not_counted():
    d = RNG.normal(0.5, 1, EXACT + 8)
    theirs = scipy.stats.ttest_1samp(d, 0).pvalue
    assert 0 < permutation_test(d) == pytest.approx(theirs, abs=0.02)


def test_differences_that_tell_nothing():
    same = paired([70, 71, 72], [69, 70, 71])
    assert (same.mean, same.low, same.high) == (1, 1, 1) and math.isnan(same.t_p) and same.sign_p == same.permutation_p == 0.25
    assert sign_test([0, 0, 0]) == 1 and sign_test([0, 2, 0]) == 1
    one = paired([70], [68])
    assert one.mean == 2 and all(math.isnan(v) for v in (one.deviation, one.low, one.high, one.t_p)) and one.permutation_p == 1


@pytest.mark.parametrize("bad", [([1, 2], [1]), ([], []), ([1, math.nan], [1, 2]), ([[1.0]], [[2.0]])])
def test_what_can_not_be_paired_is_refused(bad):
    with pytest.raises(DataError):
        paired(*bad)


@pytest.mark.parametrize(("both", "one", "other", "none"), [(5, 9, 2, 4), (0, 0, 7, 1), (3, 4, 4, 0), (8, 0, 0, 2)])
def test_mcnemar_against_the_binomial_of_its_table(both, one, other, none):
    first = [True] * (both + one) + [False] * (other + none)
    second = [True] * both + [False] * one + [True] * other + [False] * none
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (one, other)
    assert found.p == pytest.approx(scipy.stats.binomtest(one, one + other).pvalue if one + other else 1)
    with pytest.raises(DataError):
        mcnemar(first, second[1:])
