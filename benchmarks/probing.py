"""Evaluation at the size of NTU-60: linear probe, nearest neighbours and t-SNE of 40,000 features of 256 numbers.

Features are random clusters, one per class and some overlapping, so that the work is like that of real ones; they say nothing else. Beside
ours stands what scikit-learn takes for the same: logistic regression by L-BFGS for the probe, brute-force neighbours. Our probe is the
published one, 100 epochs of batches of 128. A map of 40,000 points has no plain way that ends in time; its goal is in seconds.

    python -m benchmarks probing
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks import Row
from skelmm_core import manifest, settings
from skelmm_core.evaluation.knn import knn
from skelmm_core.evaluation.linear import linear_probe
from skelmm_core.evaluation.tsne import tsne_map

FULL = dict(train=40_091, test=16_487, map=40_000, classes=60)
TOY = dict(train=400, test=200, map=200, classes=6)
WIDTH = 256
SECONDS = 120.0  # for a map


def clusters(train: int, test: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features (N, 256) and labels (N,) of training and test clips."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((classes, WIDTH))
    labels = rng.integers(0, classes, train + test)
    shared = rng.standard_normal((len(labels), 16)) @ rng.standard_normal((16, WIDTH))  # what clusters have in common
    x = centres[labels] + 0.5 * shared + rng.standard_normal((len(labels), WIDTH))
    x, y = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(labels)
    return x[:train], y[:train], x[train:], y[train:]


def measure(toy: bool = False, rounds: int | None = None) -> list[Row]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    size = TOY if toy else FULL
    train, train_labels, test, test_labels = clusters(size["train"], size["test"], size["classes"])
    s = settings.resolve("evaluate", "described", probe_epochs=2 if toy else 100)
    x, y = {"joint": train}, {"joint": test}
    pairs = {
        f"linear probe, {len(train)} clips": (
            lambda: LogisticRegression(max_iter=100).fit(train.numpy(), train_labels.numpy()).score(test.numpy(), test_labels.numpy()),
            lambda: linear_probe(x, train_labels, y, test_labels, size["classes"], s, standardise=True).accuracy / 100,
        ),
        f"kNN, {len(test)} clips among {len(train)}": (
            lambda: KNeighborsClassifier(1, metric="cosine", algorithm="brute").fit(train, train_labels).score(test, test_labels),
            lambda: knn(x, y, train_labels, test_labels, size["classes"]).accuracy / 100,
        ),
    }
    rows = []
    for name, (plain, ours) in pairs.items():
        (slow, a), (fast, b) = _timed(plain), _timed(ours)
        rows.append(Row(name, slow, fast, slow / fast, note=f"accuracy {100 * a:.1f} and {100 * b:.1f} %"))
    taken, _ = _timed(lambda: tsne_map(train[: size["map"]], threads=manifest.cores(), iterations=50 if toy else 500))
    promised = SECONDS if not toy and manifest.cores() >= 2 else None
    rows.append(Row(f"t-SNE, {min(size['map'], len(train))} points", float("nan"), taken, float("nan"), limit=promised))
    return rows


def _timed(work: Callable[[], float]) -> tuple[float, float]:
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found
