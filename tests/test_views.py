"""Probing from augmented versions of the training clips, too: against a slow loop, and as a setting of an experiment."""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import toy_stage
from feature_data import blobs, rng

from skelmm_core import stage_commands
from skelmm_core.batches import generator, order
from skelmm_core.evaluation import linear
from skelmm_core.evaluation.features import extract, stacked
from skelmm_core.evaluation.fusion import fusions
from skelmm_core.evaluation.scores import score
from skelmm_core.evaluation.semi import probe_on
from skelmm_core.evaluation.views import Viewed, picked, views_of
from skelmm_core.evaluation.whitening import whitened
from skelmm_core.experiment import Experiment
from skelmm_core.settings import Evaluate

motion = toy_stage.motion  # a fixture
TOY = dict(preset="small", device="cpu", smoke=True, modalities="joint,bone", students="joint", precision="32-true")


def viewed(count: int = 37, views: int = 2) -> tuple[Viewed, torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
    train, a, test, b = blobs(2, count, 6, 4, spread=1.0, dtype=torch.float64)
    others = [{n: f + 0.3 * torch.randn(f.shape, generator=rng(k), dtype=f.dtype) for n, f in train.items()} for k in range(views)]
    return Viewed(train, others), a, test, b


def slow(x: list[torch.Tensor], labels: torch.Tensor, name: str, classes: int, s: Evaluate) -> tuple[torch.Tensor, torch.Tensor]:
    """One stream, clip by clip: clip i is taken from version (epoch + i) mod V."""
    weight = linear.initial([name], x[0].shape[1], classes, s.seed)[0][0].double().requires_grad_()
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD([weight, bias], s.probe_lr, momentum=0.9)
    for epoch in range(s.probe_epochs):
        optimiser.param_groups[0]["lr"] = s.probe_lr * (0.1 if epoch >= s.probe_lr_drop * s.probe_epochs else 1)
        for rows in order(len(labels), s.probe_batch, s.seed, epoch):
            seen = torch.stack([x[(epoch + int(i)) % len(x)][i] for i in rows])
            optimiser.zero_grad()
            F.cross_entropy(seen @ weight + bias, labels[rows]).backward()
            optimiser.step()
    return weight.detach(), bias.detach()


def test_each_clip_is_seen_in_turn_as_it_is_and_in_each_of_its_versions():
    train, labels, _, _ = viewed()
    s = Evaluate(seed=3, probe_epochs=10, probe_lr=0.7, probe_batch=16)
    weight, bias = linear.fit(linear.versions(train), labels, tuple(train), 4, s, together=False)
    for number, name in enumerate(train):
        by_hand = slow([train[name], *(view[name] for view in train.views)], labels, name, 4, s)
        torch.testing.assert_close(weight[number], by_hand[0], rtol=0, atol=1e-10)
        torch.testing.assert_close(bias[number, 0], by_hand[1], rtol=0, atol=1e-10)


def test_versions_that_are_the_clips_themselves_change_nothing():
    train, a, test, b = viewed()
    same = Viewed(train, [dict(train)] * 3)
    s = Evaluate(probe_epochs=10)
    for fusion in linear.FUSIONS:
        plain, found = (linear.linear_probe(f, a, test, b, 4, s, fusion, standardise=True) for f in (dict(train), same))
        for name in train:
            torch.testing.assert_close(torch.as_tensor(found.stream_logits[name]), torch.as_tensor(plain.stream_logits[name]))


def test_clips_and_streams_are_picked_with_their_views():
    train, _, _, _ = viewed()
    rows, (first, second) = torch.tensor([5, 2, 9]), train
    few = picked(train, rows, [second])
    assert list(few) == [second] and torch.equal(few[second], train[second][rows])
    assert [torch.equal(view[second], own[second][rows]) for view, own in zip(views_of(few), train.views, strict=True)] == [True, True]
    plain = picked(dict(train), rows)
    assert views_of(plain) == () and not isinstance(plain, Viewed) and torch.equal(plain[first], train[first][rows])


def test_whitening_is_fitted_on_the_clips_alone_and_done_to_their_views():
    train, _, test, _ = viewed()
    white, plain = whitened(train, test, 4)[0], whitened(dict(train), test, 4)[0]
    assert all(torch.equal(white[name], plain[name]) for name in train)
    for view, own in zip(views_of(white), train.views, strict=True):
        by_hand = whitened(dict(train), own, 4)[1]
        assert all(torch.equal(view[name], by_hand[name]) for name in train)
    assert views_of(whitened(train, test, 0)[0]) == train.views


def test_every_probe_of_the_training_clips_learns_from_views():
    """Views that lie elsewhere move the classifiers of each protocol that fits some: headline, fusion, few labels, exported classes."""
    train, a, test, b = blobs(2, 60, 6, 4, spread=0.05, dtype=torch.float64)
    moved = Viewed(train, [{n: f.flip(0) for n, f in train.items()}])  # of clips of other classes: that can't stay unnoticed
    s = Evaluate(probe_epochs=10)
    figures = [
        lambda f: score(f, a, test, b, 4, s).late.accuracy,
        lambda f: fusions(f, a, test, b, 4, s).accuracies["mean"],
        lambda f: probe_on(f, a, test, b, 4, s)(torch.arange(0, 60, 3)),
        lambda f: float((linear.logits_of(stacked(test), *linear.classifiers(f, a, 4, s)).mean(0).argmax(1) == b).double().mean() * 100),
    ]
    for figure in figures:
        assert figure(moved) < figure(dict(train)) - 5
    assert score(moved, a, test, b, 4, s).knn.accuracy == score(dict(train), a, test, b, 4, s).knn.accuracy  # neighbours are clips


def test_views_are_the_trainings_augmentation_of_the_training_clips(motion, tmp_path):
    exp = Experiment(motion, tmp_path, probe_views=2, **TOY)
    branches, s = exp.untrained(), exp.settings
    (train, test), (plain, same_test) = exp.features(branches), exp.again(probe_views=0).features(branches)
    assert all(torch.equal(train[n], plain[n]) and torch.equal(test[n], same_test[n]) for n in plain) and views_of(plain) == ()
    one, two = views_of(train)
    for number, view in enumerate((one, two)):
        augment = s.augmentation(exp.train.skeleton)
        joints, frames = augment(exp.train.joints, exp.train.frames, generator("cpu", s.seed, zlib.crc32(b"probe view"), number))
        by_hand = extract(branches, dataclasses.replace(exp.train, joints=joints, frames=frames), s.unit_axis)
        assert all(torch.equal(view[n], by_hand[n]) for n in by_hand)
    assert not torch.allclose(one["joint"], two["joint"]) and not torch.allclose(one["joint"], train["joint"])
    again = views_of(exp.labelled(branches))
    assert all(torch.equal(v[n], a[n]) for v, a in zip((one, two), again, strict=True) for n in v)


@pytest.mark.parametrize("more", [{}, {"whiten_for": "neighbours", "regions": True, "probe_fit": "ridge", "probe_ridge": 1e-3}])
def test_exported_classifiers_are_the_probes(motion, tmp_path, more):
    exp = Experiment(motion, tmp_path, probe_views=2, whiten=4, segments=2, **TOY, **more)
    branches = exp.untrained()
    found = exp.score(branches).late
    query = stacked(exp.extracted(branches, exp.test, exp.settings.readout))
    logits = linear.logits_of(query, *stage_commands.classifiers(exp, branches)).numpy()
    for ours, name in zip(logits, branches, strict=True):
        np.testing.assert_allclose(ours, found.stream_logits[name], atol=1e-3)
