"""Fusion: closed cases, an independent optimiser, and that no test clip has a say in a weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from skelmm_core.errors import DataError, SettingsError
from skelmm_core.evaluation import fusion, linear
from skelmm_core.settings import Evaluate

THREE = ("joint", "motion", "bone")
SETTINGS = Evaluate(probe_epochs=15, probe_lr=0.5, probe_fusion="late")


def logits(seed: int, good: tuple[float, ...], count: int = 200, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """(S, N, C): noise, and for stream s `good[s]` more for the right class; labels (N,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    z = rng.normal(size=(len(good), count, classes))
    for s, more in enumerate(good):
        z[s, np.arange(count), labels] += more
    return z, labels


def test_sums_are_loops():
    z, _ = logits(0, (1.0, 0.5, 0.0), count=7)
    weights = np.array([0.6, 0.6, 0.4])
    for n in range(7):
        np.testing.assert_allclose(fusion.weighted(z, weights)[n], sum(w * z[s, n] for s, w in enumerate(weights)))
    np.testing.assert_allclose(fusion.weighted(z), (z[0] + z[1] + z[2]) / 3)
    with pytest.raises(DataError, match="one weight for each of 3 streams"):
        fusion.weighted(z, weights[:2])


def test_learned_weights_are_those_of_gradient_descent():
    z, labels = logits(1, (2.0, 0.7, 0.0))
    found = fusion.learn_weights(z, labels)
    raw = torch.full((3,), 0.5, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([raw], lr=0.02)
    for _ in range(1500):
        optimiser.zero_grad()
        F.cross_entropy(torch.einsum("s,snc->nc", raw.square(), torch.from_numpy(z)), torch.from_numpy(labels)).backward()
        optimiser.step()
    expected = raw.detach().square()
    np.testing.assert_allclose(found, expected / expected.sum(), atol=2e-3)
    assert found[0] > found[1] > found[2]


def test_a_stream_that_misleads_gets_no_weight_and_where_all_do_the_mean_stays():
    z, labels = logits(2, (1.5, -1.5))
    np.testing.assert_allclose(fusion.learn_weights(z, labels), [1, 0], atol=1e-6)
    z, labels = logits(3, (-2.0, -2.0))
    np.testing.assert_allclose(fusion.learn_weights(z, labels), [0.5, 0.5])


@given(st.lists(st.integers(0, 4), min_size=2, max_size=60).filter(lambda x: max(map(x.count, x)) > 1), st.integers(0, 3))
def test_held_out_is_a_part_of_every_class(labels, seed):
    labels = torch.tensor(labels)
    fit, apart = fusion.held_out(labels, 0.2, seed)
    assert sorted(fit.tolist() + apart.tolist()) == list(range(len(labels)))
    for label in labels.unique():
        count, held = int((labels == label).sum()), int((labels[apart] == label).sum())
        assert held == min(max(1, round(0.2 * count)), count - 1)
    assert torch.equal(apart, fusion.held_out(labels, 0.2, seed)[1])


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), min_size=9, max_size=60), st.integers(0, 3))
def test_held_out_performers_are_nobodys_in_the_other_part(cells, seed):
    labels, groups = torch.tensor(cells).T
    if max(torch.bincount(labels)) < 2:
        return
    fit, apart = fusion.held_out(labels, 0.2, seed, groups)
    assert sorted(fit.tolist() + apart.tolist()) == list(range(len(labels))) and len(apart)
    leaves = [g for g in groups.unique() if len(labels[groups != g].unique()) == len(labels.unique())]
    if leaves:
        assert not set(groups[fit].tolist()) & set(groups[apart].tolist())
        assert set(labels[fit].tolist()) == set(labels.tolist())
        largest = max(int((groups == g).sum()) for g in groups[apart].unique())
        assert len(apart) - largest < 0.2 * len(labels)
    else:  # class by class
        counts = [(int((labels == label).sum()), int((labels[apart] == label).sum())) for label in labels.unique()]
        assert all(held == min(max(1, round(0.2 * count)), count - 1) for count, held in counts)


def test_weights_do_not_trust_a_stream_that_remembers_performers():
    """The joint stream holds the performer's own way of each class, exactly; the others what all have in common."""
    g = torch.Generator().manual_seed(0)
    labels, groups = torch.arange(200) % 5, torch.arange(200) // 50
    centres, own = torch.randn(5, 20, generator=g), 3 * torch.eye(20)  # a direction for each performer and class
    common = [0.3 * (centres[labels] + 2.5 * torch.randn(200, 20, generator=g)) for _ in range(4)]
    train = {"joint": own[5 * groups + labels], "motion": common[0], "bone": common[1]}
    test = {"joint": 3 * torch.randn(200, 20, generator=g), "motion": common[2], "bone": common[3]}
    alike, apart = (fusion.fusions(train, labels, test, labels, 5, SETTINGS, 0.25, known) for known in (None, groups))
    assert alike.weights["joint"] > 0.5 > 0.2 > apart.weights["joint"]
    assert apart.accuracies["learned"] > alike.accuracies["learned"] + 20


def streams(seed: int, spreads: tuple[float, ...] = (0.6, 3.0, 3.0), count: int = 160):
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 5
    centres = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(5))
    return {n: c[labels] + s * torch.randn(count, 8, generator=g) for n, c, s in zip(THREE, centres, spreads, strict=True)}, labels


def test_all_ways_are_of_the_late_probe():
    (train, a), (test, b) = streams(0), streams(1)
    found = fusion.fusions(train, a, test, b, 5, SETTINGS)
    late = linear.linear_probe(train, a, test, b, 5, SETTINGS, "late")
    assert found.accuracies["mean"] == late.accuracy
    z = {n: late.stream_logits[n] for n in THREE}
    by_hand = 0.6 * z["joint"] + 0.6 * z["bone"] + 0.4 * z["motion"]
    assert found.accuracies["aimclr"] == pytest.approx(100 * np.mean(by_hand.argmax(1) == b.numpy()))
    learned = sum(found.weights[n] * z[n] for n in THREE)
    assert found.accuracies["learned"] == pytest.approx(100 * np.mean(learned.argmax(1) == b.numpy()))
    assert found.accuracies["learned"] >= found.accuracies["mean"], "one stream tells nearly all"
    assert found.weights["joint"] > 0.5 and sum(found.weights.values()) == pytest.approx(1)


def test_no_test_clip_has_a_say_in_a_weight():
    (train, a), (test, b) = streams(0), streams(1)
    honest = fusion.fusions(train, a, test, b, 5, SETTINGS)
    other = fusion.fusions(train, a, {n: -7 * f for n, f in test.items()}, b.flip(0), 5, SETTINGS)
    assert other.weights == honest.weights and other.accuracies != honest.accuracies


def test_weights_are_learned_on_clips_that_the_probes_have_not_seen(monkeypatch):
    (train, a), (test, b) = streams(0), streams(1)
    seen = []

    def watched(train, train_labels, test, test_labels, *rest):
        seen.append((train["joint"], test["joint"], test_labels))
        return probe(train, train_labels, test, test_labels, *rest)

    probe = fusion.linear_probe
    monkeypatch.setattr(fusion, "linear_probe", watched)
    fusion.fusions(train, a, test, b, 5, SETTINGS, share=0.25)
    (few, held, labels), (whole, tested, _) = seen
    assert len(few) == 120 and len(held) == 40 and torch.equal(whole, train["joint"]) and torch.equal(tested, test["joint"])
    clips = {tuple(row) for row in train["joint"].tolist()}
    assert not {tuple(r) for r in few.tolist()} & {tuple(r) for r in held.tolist()} and {tuple(r) for r in held.tolist()} <= clips
    assert torch.bincount(labels).tolist() == [8] * 5


def test_what_can_not_be_fused():
    (train, a), (test, b) = streams(0), streams(1)
    with pytest.raises(SettingsError, match="nothing to fuse"):
        fusion.fusions({"joint": train["joint"]}, a, {"joint": test["joint"]}, b, 5, SETTINGS)
    with pytest.raises(DataError, match="two training clips"):
        fusion.held_out(torch.arange(4), 0.2, 0)
    assert set(fusion.fusions({n: train[n] for n in THREE[:2]}, a, {n: test[n] for n in THREE[:2]}, b, 5, SETTINGS).accuracies) == {
        "mean", "learned",
    }  # fmt: skip
