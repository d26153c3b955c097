"""Frozen features: the encoder on each clip, streams that fit, labels that do."""

from __future__ import annotations

import contextlib

import pytest
import torch
import torch.nn.functional as F
from feature_data import rng, small_batches, small_branches

from skelmm_core import modalities
from skelmm_core.batches import Batches
from skelmm_core.errors import DataError
from skelmm_core.evaluation import features
from skelmm_core.skeletons import KINECT20


@pytest.mark.parametrize("bodies", ["all", "present"])
def test_extract_is_the_encoder_on_each_clip_in_eval_mode(bodies):
    branches, data = small_branches(bodies=bodies), small_batches()
    branches.train()
    branches["bone"].eval()
    found = features.extract(branches, data, chunk=3)
    assert [e.training for e in branches.values()] == [n != "bone" for n in branches]
    assert branches["joint"].blocks[3].training and not branches["bone"].blocks[3].training
    branches.eval()
    for name, f in found.items():
        assert f.shape == (7, 8) and not f.requires_grad
        for i in range(7):
            one = data.select(torch.tensor([i]))
            x = modalities.compute(one.joints, one.frames, KINECT20)[name]
            torch.testing.assert_close(f[i : i + 1], branches[name](x)[0], rtol=1e-4, atol=1e-5)


def test_extract_unit_axis_changes_the_rotation_axis_only():
    branches, data = small_branches(), small_batches()
    unit, raw = features.extract(branches, data, unit_axis=True), features.extract(branches, data, unit_axis=False)
    assert {n for n in unit if not torch.equal(unit[n], raw[n])} == {"rotation_axis"}


def test_extract_computes_inside_the_given_context_and_restores_after_an_error():
    branches, data, entered = small_branches(("joint",)), small_batches(), []

    @contextlib.contextmanager
    def autocast():
        entered.append(True)
        with torch.autocast("cpu", torch.bfloat16):
            yield

    branches.train()
    low, full = features.extract(branches, data, autocast=autocast)["joint"], features.extract(branches, data)["joint"]
    assert entered == [True] and low.dtype == torch.float32
    assert 0 < (low - full).abs().max() < 0.1 * full.abs().max()
    with pytest.raises(DataError):
        features.extract(branches, Batches(data.joints[:, :, :, :9], data.frames, data.labels, data.index, KINECT20))
    assert branches.training and branches["joint"].training


def test_streams_that_do_not_fit_are_errors():
    a, b = torch.ones(4, 3), torch.ones(4, 5)
    with pytest.raises(DataError, match="at least one stream"):
        features.stacked({})
    with pytest.raises(DataError, match="same N and F"):
        features.stacked({"joint": a, "bone": b})
    with pytest.raises(DataError, match="same branches"):
        features.stacked({"joint": a}, like={"bone": a})
    with pytest.raises(DataError, match="width"):
        features.stacked({"joint": a}, like={"joint": b})
    flipped = features.stacked({"joint": a, "bone": 2 * a}, like={"bone": a, "joint": a})
    assert flipped[:, 0, 0].tolist() == [2, 1]
    for labels, message in ((torch.zeros(3), "labels of shape"), (torch.tensor([0, 1, 2, 3]), "0..2, found 0 to 3")):
        with pytest.raises(DataError, match=message):
            features.checked_labels(labels, a.unsqueeze(0), 3, "train")


def test_joined_dot_products_are_summed_cosines():
    x = {n: torch.randn(5, 4, generator=rng(i)) for i, n in enumerate(("joint", "bone", "motion"))}
    both = features.joined(x)
    expected = sum(F.cosine_similarity(f.unsqueeze(1), f.unsqueeze(0), dim=-1) for f in x.values())
    torch.testing.assert_close(both @ both.T, expected)
