"""Whitening against scikit-learn, and what is read from features as settings of an experiment."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from skelmm_core import settings
from skelmm_core.comparison.subjects import Subject
from skelmm_core.evaluation.features import extract
from skelmm_core.evaluation.whitening import for_neighbours, whitened, whitening
from skelmm_core.experiment import Experiment


def some(seed: int, count: int, width: int = 12, streams: int = 2) -> dict[str, torch.Tensor]:
    """Features with strong correlations, a large mean and very different scales."""
    draw = torch.Generator().manual_seed(seed)
    mixing = torch.randn(streams, width, width, generator=torch.Generator().manual_seed(99))
    x = torch.randn(streams, count, width, generator=draw) @ mixing * torch.logspace(-3, 2, width) + 5
    return {f"stream {s}": x[s] for s in range(streams)}


@pytest.mark.parametrize("components", [1, 5, 12])
def test_whitening_is_scikit_learns(components):
    train, test = some(0, 40), some(1, 9)
    ours = whitened(train, test, components)
    for name in train:
        scaler, pca = StandardScaler(), PCA(components, whiten=True, svd_solver="full")
        theirs = pca.fit_transform(scaler.fit_transform(train[name].double().numpy()))
        new = pca.transform(scaler.transform(test[name].double().numpy()))
        # scikit-learn divides by N - 1, and its signs are its own
        unit = (len(theirs) / (len(theirs) - 1)) ** 0.5 / components**0.5
        sign = np.sign((theirs * ours[0][name].numpy()).sum(axis=0))
        np.testing.assert_allclose(ours[0][name], theirs * unit * sign, atol=2e-4)
        np.testing.assert_allclose(ours[1][name], new * unit * sign, atol=2e-4)


def test_results_are_uncorrelated_and_of_one_variance():
    (train, _), components = whitened(some(0, 200), some(1, 3), 8), 8
    for x in train.values():
        torch.testing.assert_close(x.mean(dim=0), torch.zeros(components), atol=1e-4, rtol=0)
        torch.testing.assert_close(x.T @ x / len(x), torch.eye(components) / components, atol=1e-4, rtol=0)


@pytest.mark.parametrize("shrink", [1e-3, 0.3])
def test_shrunk_whitening_is_a_regularised_mahalanobis_product(shrink):
    """Dot products are y (C + shrink * largest eigenvalue of C)^-1 y' / K, C the covariance of standardised features."""
    train, test = some(0, 40), some(1, 9)
    for name, found in whitened(train, test, 12, shrink)[1].items():
        scaler = StandardScaler().fit(train[name].double().numpy())
        x, y = (scaler.transform(part[name].double().numpy()) for part in (train, test))
        covariance = np.cov(x.T, bias=True)
        damped = covariance + shrink * np.linalg.eigvalsh(covariance)[-1] * np.eye(12)
        np.testing.assert_allclose(found @ found.T, y @ np.linalg.inv(damped) @ y.T / 12, rtol=1e-3, atol=1e-4)


def test_more_components_than_there_are_come_as_zeros():
    """Six clips have five directions around their mean; of eight components three are 0, and the five are as without the three."""
    train, test = some(0, 6), some(1, 4)
    eight, five = (whitened(train, test, k)[1]["stream 0"] for k in (8, 5))
    assert torch.equal(eight[:, 5:], torch.zeros(4, 3))
    torch.testing.assert_close(eight[:, :5], five * (5 / 8) ** 0.5, rtol=1e-4, atol=1e-5)


def test_constant_features_and_scales_have_no_say():
    train, test = some(0, 30), some(1, 7)
    plain = whitened(train, test, 4)[1]
    other = [{n: torch.cat([1000 * f - 3, torch.full((len(f), 1), 7.0)], dim=1) for n, f in part.items()} for part in (train, test)]
    for name, x in whitened(*other, 4)[1].items():
        torch.testing.assert_close(x, plain[name], rtol=1e-3, atol=1e-4)


def test_signs_are_decided():
    _, matrix = whitening(torch.stack(list(some(0, 30).values())), 4)
    scale = torch.stack(list(some(0, 30).values())).std(dim=1, correction=0)
    directions = matrix * scale.unsqueeze(2)
    assert (directions.gather(1, directions.abs().argmax(dim=1, keepdim=True)) > 0).all()


def test_no_components_leave_features_as_they_are():
    train, test = some(0, 5), some(1, 5)
    for before, after in zip((train, test), whitened(train, test, 0), strict=True):
        assert list(before) == list(after) and all(before[n] is after[n] for n in before)


@pytest.mark.parametrize("bodies", ["all", "present"])
def test_an_experiment_reads_features_out_as_its_settings_say(tmp_path, bodies):
    exp = Experiment(out=tmp_path, preset="quick", smoke=True, device="cpu", modalities="joint,bone", bodies=bodies)
    branches = exp.untrained()
    plain = exp.features(branches)
    segmented = exp.again(segments=2).features(branches)
    width = exp.settings.features
    for before, after in zip(plain, segmented, strict=True):
        for name in before:
            assert after[name].shape == (len(before[name]), 3 * width)
            torch.testing.assert_close(after[name][:, :width], before[name])
            torch.testing.assert_close(after[name][:, width:].view(-1, 2, width).mean(dim=1), before[name], rtol=1e-4, atol=1e-5)
    both = exp.again(segments=2, whiten=6, whiten_shrink=0.1)
    found, expected = both.features(branches), whitened(*segmented, 6, 0.1)
    assert all(torch.equal(found[1][name], expected[1][name]) for name in plain[1])
    scores = both.score(found)
    assert scores.linear.accuracy == both.score(branches).linear.accuracy  # of branches or of what was read from them
    assert torch.equal(exp.embeddings(branches)["joint"], both.embeddings(branches)["joint"])  # heads take whole clips, whatever is read


def test_neighbours_alone_are_whitened(tmp_path):
    exp = Experiment(out=tmp_path, preset="quick", smoke=True, device="cpu", modalities="joint,bone", probe_views=1)
    branches = exp.untrained()
    plain, all_, near = (exp.again(whiten=w, whiten_for=f, whiten_shrink=0.1) for w, f in ((0, "all"), (4, "all"), (4, "neighbours")))
    scores = near.score(branches)
    assert scores.linear.accuracy == plain.score(branches).linear.accuracy and np.array_equal(
        scores.linear.logits, plain.score(branches).linear.logits
    )
    assert scores.knn.accuracy == all_.score(branches).knn.accuracy and not np.array_equal(
        scores.linear.logits, all_.score(branches).linear.logits
    )
    train, test = near.features(branches)
    for ours, wanted in zip(for_neighbours(train, test, near.settings), all_.features(branches), strict=True):
        assert all(torch.equal(ours[name], wanted[name]) for name in wanted)
    shrunk = whitened(train, test, 4, 0.1)[1]
    assert all(torch.equal(for_neighbours(train, test, near.settings)[1][name], shrunk[name]) for name in shrunk)
    subject = Subject(near, "untrained", "untrained", ("joint", "bone"), lambda: branches)
    assert torch.equal(subject.near[1]["bone"], all_.features(branches)[1]["bone"])
    assert torch.equal(subject.vectors[1]["bone"], test["bone"])


def test_reading_out_is_no_matter_of_training():
    plain = settings.resolve("distill", "quick")
    read = settings.resolve("distill", "quick", segments=4, regions=True, whiten=32, whiten_shrink=0.1,
                            whiten_for="neighbours", probe_fit="ridge")  # fmt: skip
    assert settings.training_fields(plain) == settings.training_fields(read)


def test_whole_clips_are_what_is_extracted_otherwise(tmp_path):
    exp = Experiment(out=tmp_path, preset="quick", smoke=True, device="cpu", modalities="joint", segments=2)
    whole = extract(exp.untrained(), exp.test, exp.settings.unit_axis)["joint"]
    torch.testing.assert_close(exp.extracted(exp.untrained(), exp.test)["joint"], whole)
