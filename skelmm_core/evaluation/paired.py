"""Whether a difference is more than chance: two recipes over the same seeds, two classifiers on the same clips.

Pairing takes out what both share, the seed's luck or the clip's difficulty. With few seeds the exact tests can't be convinced: of n seeds
the least p of sign and permutation test is 2 / 2^n, so 0.25 of three seeds and 0.03 of six.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from skelmm_core.errors import DataError

EXACT = 16  # seeds up to which all 2^n signs are tried; of more, 2^16 at random


@dataclass(frozen=True)
class Paired:
    """Differences a - b over n seeds. low, high: the 95 % interval of their mean by Student's t. t_p, sign_p, permutation_p: two-sided.

    NaN where it can't be told: deviation, interval and t of a single seed, t of differences that are all the same.
    """

    n: int
    mean: float
    deviation: float
    low: float
    high: float
    t_p: float
    sign_p: float
    permutation_p: float


@dataclass(frozen=True)
class McNemar:
    """Clips that only the one or only the other has right, and the exact two-sided p of such a division (McNemar 1947)."""

    only_first: int
    only_second: int
    p: float


def paired(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> Paired:
    """Figures (n,) of two recipes, in the order of the same seeds. Raises `DataError` for other shapes, no seed, or figures not finite."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if x.shape != y.shape or x.ndim != 1 or not len(x):
        raise DataError(f"expected one figure per seed and recipe, of the same seeds, found shapes {x.shape} and {y.shape}")
    d = x - y
    if not np.isfinite(d).all():
        raise DataError(f"figures must be finite, found {x.tolist()} and {y.tolist()}")
    n, mean = len(d), float(d.mean())
    deviation = float(d.std(ddof=1)) if n > 1 else math.nan
    error = deviation / math.sqrt(n)
    half = float(special.stdtrit(n - 1, 0.975)) * error if n > 1 else math.nan
    t_p = 2 * float(special.stdtr(n - 1, -abs(mean) / error)) if n > 1 and error > 1e-12 * max(1.0, abs(mean)) else math.nan
    return Paired(n, mean, deviation, mean - half, mean + half, t_p, sign_test(d), permutation_test(d))


def sign_test(differences: Sequence[float] | np.ndarray) -> float:
    """Two-sided p of so many differences (n,) of one sign if both are as likely; differences of 0 don't count, and nothing else gives 1."""
    d = np.asarray(differences)
    return _binomial(int((d > 0).sum()), int((d < 0).sum()))


def permutation_test(differences: Sequence[float] | np.ndarray, seed: int = 0) -> float:
    """Two-sided p of a mean difference (n,) if each sign were a coin's: the share of all 2^n signs whose mean is as far from 0.

    Exact for up to `EXACT` seeds; of more, 2^16 signs are drawn, and the one observed counts among them.
    """
    d = np.asarray(differences, np.float64)
    observed = abs(d.mean()) * (1 - 1e-9)  # the same sums in another order may round otherwise
    if len(d) <= EXACT:
        signs = np.array(list(itertools.product((1, -1), repeat=len(d))))
    else:
        drawn = np.random.default_rng(seed).choice((1, -1), (2**EXACT - 1, len(d)))
        signs = np.concatenate([np.ones((1, len(d))), drawn])
    return float((np.abs(signs @ d) / len(d) >= observed).mean())


def mcnemar(first: Sequence[bool] | np.ndarray, second: Sequence[bool] | np.ndarray) -> McNemar:
    """Two classifiers on the same clips (N,), whether each is right. Exact: a clip that only one has right is a coin's throw."""
    a, b = np.asarray(first, np.bool_), np.asarray(second, np.bool_)
    if a.shape != b.shape or a.ndim != 1:
        raise DataError(f"expected right or wrong on the same clips, found shapes {a.shape} and {b.shape}")
    one, other = int((a & ~b).sum()), int((b & ~a).sum())
    return McNemar(one, other, _binomial(one, other))


def _binomial(one: int, other: int) -> float:
    """Two-sided p of a division at least as uneven of one + other throws of a coin."""
    n = one + other
    return min(1.0, 2 * float(special.bdtr(min(one, other), n, 0.5))) if n else 1.0
