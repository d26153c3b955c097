"""What each modality adds: every subset of streams fused late, Shapley values, correlation of errors, gains by class.

Each stream is probed once; a subset's answer is the mean of its streams' logits, so 63 subsets cost no training.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np

from skelmm_core.errors import DataError


def subsets(names: Iterable[str]) -> list[tuple[str, ...]]:
    """All non-empty subsets, small ones first, each in the order of `names`: 63 of six."""
    names = tuple(names)
    return [chosen for size in range(1, len(names) + 1) for chosen in combinations(names, size)]


def fused(logits: Mapping[str, np.ndarray], names: Iterable[str]) -> np.ndarray:
    """(N,) the class of the largest mean logit of some streams, stream -> (N, C)."""
    return np.asarray(np.mean([logits[name] for name in names], axis=0).argmax(axis=1))


def accuracies(logits: Mapping[str, np.ndarray], labels: np.ndarray) -> dict[tuple[str, ...], float]:
    """Percent of the clips (N,) that each subset of streams has right, by late fusion of their probes' logits (N, C)."""
    return {chosen: 100.0 * float((fused(logits, chosen) == labels).mean()) for chosen in subsets(logits)}


def shapley(values: Mapping[tuple[str, ...], float], empty: float) -> dict[str, float]:
    """Each stream's share of what all reach beyond `empty`, the value of no stream (chance): in points, their sum is that difference.

    Shapley 1953, exact: the mean over all orders in which S streams may join of what a stream adds when it joins,
    sum over subsets A without it of |A|! (S - |A| - 1)! / S! (v(A + it) - v(A)). values: of all subsets (`accuracies`); a missing one
    raises `DataError`.
    """
    of = {frozenset(chosen): value for chosen, value in values.items()} | {frozenset(): empty}
    names = list(dict.fromkeys(name for chosen in values for name in chosen))
    if len(of) != 2 ** len(names):
        raise DataError(f"Shapley values need all {2 ** len(names) - 1} subsets of {', '.join(names)}, found {len(of) - 1}")
    share = [math.factorial(k) * math.factorial(len(names) - k - 1) / math.factorial(len(names)) for k in range(len(names))]
    return {n: sum(share[len(a)] * (of[a | {n}] - value) for a, value in of.items() if n not in a) for n in names}


def error_correlation(right: Mapping[str, Sequence[bool]]) -> np.ndarray:
    """(S, S) phi coefficient of two streams' errors on the same clips: 1 they fail on the same, 0 as if by chance, negative: they make up
    for each other. Pearson's correlation of right (N,) as 0 and 1; NaN for a stream that is always right or always wrong."""
    x = np.array([np.asarray(r, np.float64) for r in right.values()])
    x = x - x.mean(axis=1, keepdims=True)
    covariance, deviation = x @ x.T / x.shape[1], x.std(axis=1)
    scale = np.outer(deviation, deviation)
    return np.where(scale > 1e-12, covariance / np.where(scale > 1e-12, scale, 1), np.nan)


def class_gains(
    logits: Mapping[str, np.ndarray], labels: np.ndarray, classes: int, base: Iterable[str], added: Iterable[str]
) -> np.ndarray:
    """(1 + A, C) points by which a class gains when all of `added` join the late fusion of `base`, and when each of the A does alone.

    NaN for a class without clips.
    """
    base, added = tuple(base), tuple(added)
    count = np.bincount(labels, minlength=classes)

    def of(names: tuple[str, ...]) -> np.ndarray:
        right = np.bincount(labels[fused(logits, names) == labels], minlength=classes)
        return np.where(count > 0, 100.0 * right / np.maximum(count, 1), np.nan)

    before = of(base)
    return np.stack([of(base + added) - before, *(of((*base, name)) - before for name in added)])
