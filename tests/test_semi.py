"""Semi-supervised draws, by their rules, and what is made of them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skelmm_core.errors import SettingsError
from skelmm_core.evaluation import linear, semi
from skelmm_core.settings import Evaluate

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=120).map(torch.tensor)


@given(LABELS, st.sampled_from([0.01, 0.05, 0.1, 0.2, 1.0]), st.integers(0, 9))
def test_balanced_takes_the_share_of_every_class_and_at_least_one(labels, share, draw):
    rows = semi.labelled(labels, share, draw)
    assert rows.tolist() == sorted(set(rows.tolist())) and 0 <= rows.min() and rows.max() < len(labels)
    for label in labels.unique():
        count = int((labels == label).sum())
        assert int((labels[rows] == label).sum()) == max(1, round(share * count))
    assert torch.equal(rows, semi.labelled(labels, share, draw))


@given(LABELS, st.sampled_from([0.01, 0.05, 0.1, 0.2, 1.0]), st.integers(0, 9))
def test_random_takes_the_share_of_all(labels, share, draw):
    rows = semi.labelled(labels, share, draw, "random")
    assert len(rows) == len(set(rows.tolist())) == max(1, math.floor(share * len(labels) + 1e-9))
    assert torch.equal(rows, semi.labelled(labels, share, draw, "random"))


@pytest.mark.parametrize("kind", semi.DRAWS)
def test_a_larger_share_holds_a_smaller_one_and_draws_differ(kind):
    labels = torch.arange(300) % 6
    few, more = (set(semi.labelled(labels, share, 2, kind).tolist()) for share in (0.05, 0.2))
    assert few < more
    draws = {tuple(semi.labelled(labels, 0.05, draw, kind).tolist()) for draw in range(20)}
    assert len(draws) == 20
    drawn = torch.cat([semi.labelled(labels, 0.1, draw, kind) for draw in range(60)])
    times = torch.bincount(drawn, minlength=300).double()  # 60 draws of a tenth: each clip 6 times, but for chance
    assert times.mean() == 6 and times.max() < 20 and (times == 0).sum() < 10


def test_random_draws_are_not_balanced():
    labels = torch.arange(300) % 6
    counts = [torch.bincount(labels[semi.labelled(labels, 0.1, draw, "random")], minlength=6) for draw in range(10)]
    assert any(count.min() < count.max() for count in counts)


def test_every_share_and_draw_is_fitted_on_its_own_clips():
    labels, seen = torch.arange(60) % 3, []

    def fit(rows: torch.Tensor) -> float:
        seen.append(rows)
        return float(len(rows))

    found = semi.semi_supervised(fit, labels, (0.1, 0.5), draws=3)
    assert [(d.share, d.draw, d.clips, d.accuracy) for d in found] == [
        (share, draw, clips, clips) for share, clips in ((0.1, 6), (0.5, 30)) for draw in range(3)
    ]
    for drawn, rows in zip(found, seen, strict=True):
        assert torch.equal(rows, semi.labelled(labels, drawn.share, drawn.draw))


def test_the_probe_sees_only_clips_with_labels():
    """Features and labels of all other training clips may be anything."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(80) % 4
    centres = torch.randn(4, 8, generator=g)
    x, y = (centres[labels] + 0.5 * torch.randn(80, 8, generator=g) for _ in range(2))
    rows = semi.labelled(labels, 0.1, 0)
    s = Evaluate(probe_epochs=10, probe_lr=0.5, probe_standardise=True, probe_fusion="late")
    expected = linear.linear_probe({"joint": x[rows]}, labels[rows], {"joint": y}, labels, 4, s, "late", True).accuracy
    spoilt, wrong = torch.full_like(x, 1e6), torch.zeros_like(labels)
    spoilt[rows], wrong[rows] = x[rows], labels[rows]
    fit = semi.probe_on({"joint": spoilt}, wrong, {"joint": y}, labels, 4, s)
    assert fit(rows) == expected > 60


def test_what_is_no_draw():
    with pytest.raises(SettingsError, match="did you mean 'balanced'"):
        semi.labelled(torch.zeros(3, dtype=torch.long), 0.5, 0, "balancd")
    for share in (0, 1.5):
        with pytest.raises(SettingsError, match="above 0 and at most 1"):
            semi.labelled(torch.zeros(3, dtype=torch.long), share, 0)
