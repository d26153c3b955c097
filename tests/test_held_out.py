"""The benchmark that reads encoders with one person held out in turn, against scikit-learn's cross-validation."""

from __future__ import annotations

import importlib
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from feature_data import blobs
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skelmm_core import settings
from skelmm_core.evaluation.features import joined
from skelmm_core.evaluation.views import Viewed


@pytest.fixture
def benchmark(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module("held_out")


def people(count: int) -> torch.Tensor:
    return torch.tensor([1, 3, 5, 7]).repeat_interleave(count // 4)


@pytest.mark.parametrize("views", [0, 1])  # of which nearest neighbours know nothing
def test_neighbours_are_sought_among_the_other_people(benchmark, views):
    features, labels, other, _ = blobs(2, 48, 5, 4, spread=1.5)
    found = benchmark.in_turn(
        benchmark.nearest, Viewed(features, [other] * views), labels, people(48), settings.resolve("evaluate", "best", whiten=0)
    )
    model = KNeighborsClassifier(1, metric="cosine")
    theirs = cross_val_predict(model, joined(features).double().numpy(), labels.numpy(), groups=people(48).numpy(), cv=LeaveOneGroupOut())
    assert 30 < found[0] < 95 and found == pytest.approx([100 * np.mean(theirs == labels.numpy())])


def test_classifiers_learn_from_the_other_people_and_their_views(benchmark):
    """With views as with every clip twice: the held-out person's views teach nothing."""
    features, labels, other, _ = blobs(1, 48, 5, 4, spread=1.5)
    s = settings.resolve("evaluate", "best", probe_ridge=0.01)
    found = benchmark.in_turn(benchmark.probed, Viewed(features, [other]), labels, people(48), s)
    x, more, y, group = (t.numpy() for t in (features["joint"].double(), other["joint"].double(), labels, people(48)))
    right = 0
    for person in (1, 3, 5, 7):
        known = group != person
        model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=0.01 * 2 * known.sum() * x.shape[1]))
        model.fit(np.concatenate([x[known], more[known]]), np.concatenate([y[known], y[known]]))
        right += int((model.predict(x[~known]) == y[~known]).sum())
    assert 30 < found[0] < 95 and found == pytest.approx([100 * right / 48] * 2)  # one stream: the mean of all


def test_people_of_other_sizes_count_by_their_clips(benchmark):
    features, labels, _, _ = blobs(1, 10, 3, 2, spread=1.0)
    group = torch.tensor([1] * 5 + [3] * 3 + [5, 7])
    found = benchmark.in_turn(lambda a, b, c, d, classes, s: [100.0 if len(d) == 5 else 0.0], features, labels, group, None)
    assert found == pytest.approx([50.0])


def test_readings_change_no_training(benchmark):
    plain = settings.resolve("distill", "best")
    for changes in benchmark.READINGS.values():
        assert settings.training_fields(settings.resolve("distill", "best", **changes)) == settings.training_fields(plain)


def test_unknown_encoders_are_named(benchmark, tmp_path):
    with pytest.raises(SystemExit, match="unknown encoders pupil; choose from untrained, teacher, student"):
        benchmark.compared(Namespace(read="pupil", only="", out=tmp_path, jobs=1), tmp_path, [0], {})


def test_encoders_of_other_code_are_refused(benchmark):
    class Other:
        by_other_code = [Path("outputs/stages/exchange-0")]

        def exchange(self) -> None:
            return None

    with pytest.raises(SystemExit, match="other code than today's: outputs/stages/exchange-0"):
        benchmark.trained(Other(), "teacher")
