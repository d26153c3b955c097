"""Dropout: its rates, its scale, its gradient, and that the default generator's seed decides it."""

from __future__ import annotations

import pytest
import torch

from skelmm_core.dropout import dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_rate_scale_and_gradient(p, kind):
    torch.manual_seed(1)
    x = torch.full((64, 3, 40, 20), 2.0, dtype=kind).to(memory_format=torch.channels_last).requires_grad_()
    y = dropout(x, p)
    level = round(p * 256) / 256
    kept = y != 0
    count = x.numel()
    assert abs(kept.double().mean().item() - (1 - level)) < 4 * (level * (1 - level) / count) ** 0.5
    assert y.dtype == kind and y.stride() == x.stride()
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 2 / (1 - level)))
    y.sum().backward()
    torch.testing.assert_close(x.grad, kept.to(kind) * (1 / (1 - level)), rtol=1e-2, atol=0)


@pytest.mark.parametrize(("p", "places"), [(0.5, 64), (0.25, 8)])
def test_every_place_in_a_word_is_drawn_alike_and_by_itself(p, places):
    torch.manual_seed(2)
    kept = (dropout(torch.ones(40_000, places), p) != 0).double()  # a row is what one random word decides
    assert (kept.mean(0) - (1 - p)).abs().max() < 0.012
    assert (torch.corrcoef(kept.T) - torch.eye(places)).abs().max() < 0.03


def test_the_seed_decides_and_two_draws_differ():
    x = torch.ones(1001)
    draws = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        draws.append(dropout(x, 0.5))
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert not torch.equal(dropout(x, 0.5), dropout(x, 0.5))
