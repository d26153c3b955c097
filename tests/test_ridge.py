"""The linear probe by ridge regression: against scikit-learn's `Ridge`, and its factor against a slow search."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge

from skelmm_core.errors import DataError, SettingsError
from skelmm_core.evaluation import linear
from skelmm_core.evaluation.ridge import SCALES, ridge
from skelmm_core.evaluation.views import Viewed
from skelmm_core.settings import Evaluate

CLASSES = 3


def some(count: int, width: int, streams: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    middle = torch.randn(streams, CLASSES, width, generator=torch.Generator().manual_seed(9))
    return middle[:, labels] + 1.5 * torch.randn(streams, count, width, generator=draw) + 4, labels


def theirs(x: np.ndarray, labels: np.ndarray, strength: float) -> Ridge:
    penalty = strength * ((x - x.mean(axis=0)) ** 2).sum()
    return Ridge(alpha=penalty).fit(x, 2.0 * np.eye(CLASSES)[labels] - 1)


def factor(ours: np.ndarray, expected: np.ndarray) -> float:
    """The one number that `expected` was multiplied with."""
    found = float((ours * expected).sum() / (expected**2).sum())
    np.testing.assert_allclose(ours, found * expected, rtol=1e-4, atol=1e-4 * found)
    return found


@pytest.mark.parametrize(("count", "width"), [(60, 7), (12, 40)])  # more clips than features, and fewer
@pytest.mark.parametrize("strength", [1e-6, 0.1])
@pytest.mark.parametrize("versions", [1, 3])
def test_streams_alone_are_scikit_learns(count, width, strength, versions):
    parts = [some(count, width, seed=s)[0] for s in range(versions)]
    x, y = torch.cat(parts, dim=1), some(20, width, seed=7)[0]
    weight, bias = ridge(x, torch.arange(count) % CLASSES, CLASSES, strength, together=False)
    ours = linear.logits_of(y, weight, bias).numpy()
    every = np.tile(np.arange(count) % CLASSES, versions)
    factors = [factor(ours[s], theirs(x[s].double().numpy(), every, strength).predict(y[s].double().numpy())) for s in range(2)]
    assert factors[0] == pytest.approx(factors[1], rel=1e-3), "one factor for all streams"
    assert min(abs(factors[0] / float(s) - 1) for s in SCALES) < 1e-3


@pytest.mark.parametrize(("count", "width"), [(60, 7), (12, 40)])
def test_streams_together_are_one_regression_on_all_features(count, width):
    (x, labels), (y, _) = some(count, width), some(20, width, seed=7)
    weight, bias = ridge(x, labels, CLASSES, 0.01, together=True)
    ours = linear.logits_of(y, weight, bias).mean(dim=0).numpy()
    side = [part.movedim(0, 1).flatten(1).double().numpy() for part in (x, y)]
    factor(ours, theirs(side[0], labels.numpy(), 0.01).predict(side[1]))


@pytest.mark.parametrize("together", [False, True])
def test_the_factor_is_the_best_on_clips_that_were_apart(together):
    x, labels = some(90, 5)
    weight, _ = ridge(x, labels, CLASSES, 0.01, together)
    apart = torch.randperm(90, generator=torch.Generator().manual_seed(0)).numpy() < 30
    inside, outside = x[:, ~apart].double().numpy(), x[:, apart].double().numpy()
    if together:
        trial = theirs(np.concatenate(list(inside), axis=1), labels.numpy()[~apart], 0.01)
        logits = trial.predict(np.concatenate(list(outside), axis=1))
    else:
        logits = np.mean([theirs(a, labels.numpy()[~apart], 0.01).predict(b) for a, b in zip(inside, outside, strict=True)], axis=0)
    losses = []
    for scale in SCALES.tolist():
        e = np.exp(scale * logits)
        losses.append(-np.log((e / e.sum(axis=1, keepdims=True))[np.arange(30), labels.numpy()[apart]]).mean())
    assert 0 < np.argmin(losses) < len(losses) - 1, "inside of what is tried"
    if together:
        plain = theirs(np.concatenate(list(x.double().numpy()), axis=1), labels.numpy(), 0.01).coef_.T
        found = factor(weight.flatten(0, 1).numpy() / len(x), plain)
    else:
        found = factor(weight[0].numpy(), theirs(x[0].double().numpy(), labels.numpy(), 0.01).coef_.T)
    assert found == pytest.approx(float(SCALES[np.argmin(losses)]), rel=1e-3)


@pytest.mark.parametrize("together", [False, True])
def test_many_clips_are_taken_a_part_at_a_time(together, monkeypatch):
    x, labels = some(60, 7)
    whole = ridge(x, labels, CLASSES, 0.01, together)
    monkeypatch.setattr("skelmm_core.evaluation.ridge.CHUNK", 13)
    for part, wanted in zip(ridge(x, labels, CLASSES, 0.01, together), whole, strict=True):
        torch.testing.assert_close(part, wanted)


def test_scale_and_place_of_features_have_no_say():
    (x, labels), (y, _) = some(60, 7), some(20, 7, seed=7)
    plain = linear.logits_of(y, *ridge(x, labels, CLASSES, 0.01, False))
    other = linear.logits_of(1000 * y - 3, *ridge(1000 * x - 3, labels, CLASSES, 0.01, False))
    torch.testing.assert_close(other, plain, rtol=1e-2, atol=2e-3)


def test_constant_features_and_single_clips_give_numbers():
    x, labels = torch.ones(1, 6, 3), torch.tensor([0, 1, 1, 1, 2, 1])
    logits = linear.logits_of(x, *ridge(x, labels, CLASSES, 1e-6, False))
    assert torch.isfinite(logits).all() and (logits.argmax(dim=2) == 1).all(), "the class that most have"
    x = torch.randn(1, 1, 3)
    assert linear.logits_of(x, *ridge(x, torch.tensor([2]), CLASSES, 1e-6, False)).argmax() == 2


def test_features_that_are_there_twice_need_no_more_penalty():
    x, labels = some(90, 15)
    twice = torch.cat([x, x[:, :, :5]], dim=2)
    logits = linear.logits_of(twice, *ridge(twice, labels, CLASSES, 1e-12, False))
    assert torch.isfinite(logits).all() and (logits.mean(dim=0).argmax(dim=1) == labels).float().mean() > 0.9


def test_the_linear_probe_takes_it_by_its_setting():
    (x, labels), (y, truth) = some(90, 6), some(60, 6, seed=7)
    views, s = some(90, 6, seed=3)[0], Evaluate(probe_fit="ridge", probe_ridge=0.01)
    train = Viewed(dict(zip("ab", x, strict=True)), [dict(zip("ab", views, strict=True))])
    test = dict(zip("ab", y, strict=True))
    for fusion, standardise in (("late", False), ("joint", False), ("late", True)):
        found = linear.linear_probe(train, labels, test, truth, CLASSES, s, fusion, standardise)
        both = torch.cat([x, views], dim=1)
        mean, scale = linear.scaling(both) if standardise else (0, 1)
        weight, bias = ridge((both - mean) * scale, labels, CLASSES, 0.01, fusion == "joint")
        logits = linear.logits_of((y - mean) * scale, weight, bias).mean(dim=0)
        assert found.accuracy == pytest.approx(100 * float((logits.argmax(dim=1) == truth).float().mean())) and found.accuracy > 80
    by_sgd = linear.linear_probe(train, labels, test, truth, CLASSES, Evaluate(probe_lr=0.1), "late", True)
    assert abs(by_sgd.accuracy - found.accuracy) < 12, "both are linear"
    weight, bias = linear.classifiers(
        train, labels, CLASSES, Evaluate(probe_fit="ridge", probe_ridge=0.01, probe_standardise=True, probe_fusion="late")
    )
    torch.testing.assert_close(linear.logits_of(y, weight, bias).mean(dim=0), logits, rtol=1e-3, atol=1e-3)


def test_probabilities_say_how_sure_they_are():
    """On two thousand clips of classes that overlap, the mean probability of the class found is the share that is right, within 4 %."""
    (x, labels), (y, truth) = some(600, 4, seed=1), some(2000, 4, seed=2)
    logits = linear.logits_of(y, *ridge(x, labels, CLASSES, 1e-3, False)).mean(dim=0)
    sure, right = F.softmax(logits, dim=1).amax(dim=1).mean(), (logits.argmax(dim=1) == truth).float().mean()
    assert 0.5 < float(right) < 0.99 and abs(float(sure) - float(right)) < 0.04


@pytest.mark.parametrize("fit", ["sgd", "ridge"])
def test_features_that_are_not_finite_are_told(fit):
    (x, labels), s = some(30, 4), Evaluate(probe_fit=fit, probe_epochs=1)
    train, ill = ({name: f.clone() for name, f in zip("ab", x, strict=True)} for _ in range(2))
    ill["b"][3, 1] = float("nan")
    for part, pair in (("train", (ill, train)), ("test", (train, ill))):
        with pytest.raises(DataError, match=f"^{part}: features of b are not finite"):
            linear.linear_probe(pair[0], labels, pair[1], labels, CLASSES, s, "late")


@pytest.mark.parametrize("given", [{"probe_fit": "lbfgs"}, {"probe_ridge": 0.0}, {"probe_ridge": float("nan")}])
def test_wrong_settings_are_told(given):
    with pytest.raises(SettingsError, match=f"setting '{next(iter(given))}' must be"):
        Evaluate(**given)
