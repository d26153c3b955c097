"""The linear probe against a slow loop and logistic regression."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from feature_data import blobs, rng
from sklearn.linear_model import LogisticRegression

from skelmm_core.batches import order
from skelmm_core.errors import DataError, SettingsError, TrainingError
from skelmm_core.evaluation import features, linear
from skelmm_core.settings import Evaluate


def slow_probe(x, labels, names, classes, s: Evaluate, together: bool):
    """The published procedure step by step with nn.Linear and torch.optim.SGD, one group of modules at a time."""
    weights, biases = linear.initial(names, x.shape[2], classes, s.seed)
    heads = [torch.nn.Linear(x.shape[2], classes, dtype=x.dtype) for _ in names]
    for head, w in zip(heads, weights, strict=True):
        head.weight.data.copy_(w.T)
        head.bias.data.zero_()
    assert not biases.any()
    for group in [list(range(len(heads)))] if together else [[i] for i in range(len(heads))]:
        optimiser = torch.optim.SGD([p for i in group for p in heads[i].parameters()], s.probe_lr, momentum=0.9)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [round(s.probe_lr_drop * s.probe_epochs)], 0.1)
        for epoch in range(s.probe_epochs):
            for rows in order(x.shape[1], s.probe_batch, s.seed, epoch):
                logits = sum(heads[i](x[i][rows]) for i in group) / len(group)
                optimiser.zero_grad()
                F.cross_entropy(logits, labels[rows]).backward()
                optimiser.step()
            schedule.step()
    return torch.stack([h.weight.detach().T for h in heads]), torch.stack([h.bias.detach().unsqueeze(0) for h in heads])


@pytest.mark.parametrize("together", [True, False])
def test_probe_weights_are_those_of_a_slow_loop(together):
    train, labels, _, _ = blobs(3, 53, 6, 4, spread=1.0, dtype=torch.float64)
    s = Evaluate(seed=3, probe_epochs=10, probe_lr=0.7, probe_batch=16, probe_lr_drop=0.8)
    x = features.stacked(train)
    weight, bias = linear.fit(x, labels, tuple(train), 4, s, together)
    slow_weight, slow_bias = slow_probe(x, labels, tuple(train), 4, s, together)
    torch.testing.assert_close(weight, slow_weight, rtol=0, atol=1e-10)
    torch.testing.assert_close(bias, slow_bias, rtol=0, atol=1e-10)
    single = linear.fit(x.float(), labels, tuple(train), 4, s, together)[0]
    torch.testing.assert_close(single.double(), slow_weight, rtol=0, atol=1e-5)


def test_probe_separates_what_is_separable_and_guesses_what_is_noise():
    s = Evaluate(probe_epochs=20)
    train, a, test, b = blobs(2, 200, 16, 5, spread=0.05)
    for fusion in linear.FUSIONS:
        result = linear.linear_probe(train, a, test, b, 5, s, fusion)
        assert result.accuracy == 100 and set(result.streams.values()) == {100.0}
    noise = {n: torch.randn(200, 16, generator=rng(9)) for n in train}
    assert linear.linear_probe(noise, a, {n: f.flip(0) for n, f in noise.items()}, b, 5, s, standardise=True).accuracy < 45


def test_probe_agrees_with_logistic_regression():
    train, a, test, b = blobs(1, 600, 8, 4, spread=1.2)
    result = linear.linear_probe(train, a, test, b, 4, Evaluate(probe_lr=0.5))
    reference = LogisticRegression(C=1e4, max_iter=2000).fit(train["joint"], a)
    assert np.mean(result.predictions == reference.predict(test["joint"])) > 0.97
    assert abs(result.accuracy - 100 * reference.score(test["joint"], b)) < 1


def test_fusion_joint_and_late_and_the_company_of_a_stream():
    train, a, test, b = blobs(3, 300, 4, 6, spread=1.2)
    s = Evaluate(probe_epochs=15, probe_lr=1.0)
    late, joint = (linear.linear_probe(train, a, test, b, 6, s, fusion) for fusion in ("late", "joint"))
    assert late.streams == joint.streams and not np.allclose(late.logits, joint.logits)
    assert min(late.accuracy, joint.accuracy) > max(late.streams.values())
    for name in train:
        alone = linear.linear_probe({name: train[name]}, a, {name: test[name]}, b, 6, s)
        np.testing.assert_allclose(alone.logits, late.stream_logits[name], atol=1e-4)
        assert alone.accuracy == late.streams[name] == alone.streams[name]
    np.testing.assert_allclose(late.logits, np.mean(list(late.stream_logits.values()), axis=0), atol=1e-5)
    again, other = (
        linear.linear_probe(train, a, test, b, 6, s),
        linear.linear_probe(train, a, test, b, 6, Evaluate(**{**s.__dict__, "seed": 1})),
    )
    assert np.array_equal(again.logits, joint.logits) and not np.array_equal(other.logits, joint.logits)


def test_standardised_probe_does_not_see_scale_or_offset():
    train, a, test, b = blobs(2, 120, 6, 3, spread=0.6, dtype=torch.float64)
    train["joint"][:, 2] = test["joint"][:, 2] = 4.0  # a feature that says nothing
    moved = [{n: 1e-4 * f + 30 for n, f in part.items()} for part in (train, test)]
    s = Evaluate(probe_epochs=30)
    plain, shifted = (linear.linear_probe(x, a, y, b, 3, s, standardise=True) for x, y in ((train, test), moved))
    np.testing.assert_allclose(plain.logits, shifted.logits, atol=1e-4)
    assert plain.accuracy > 90 > linear.linear_probe(moved[0], a, moved[1], b, 3, s).accuracy


def test_probe_says_what_is_wrong():
    train, a, test, b = blobs(1, 20, 4, 2, spread=3.0)
    with pytest.raises(SettingsError, match="did you mean 'late'"):
        linear.linear_probe(train, a, test, b, 2, Evaluate(), "lat")
    with pytest.raises(DataError, match="train: labels must be in 0..1"):
        linear.linear_probe(train, a + 1, test, b, 2, Evaluate())
    with pytest.raises(TrainingError, match="probe_lr"):
        linear.linear_probe({"joint": train["joint"] * 1e30}, a, {"joint": test["joint"] * 1e30}, b, 2, Evaluate(probe_epochs=2))
