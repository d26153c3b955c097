"""What is made again on the way back gives the gradients of what is kept, bit for bit, and is not kept."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from skelmm_core import encoder as encoder_module
from skelmm_core.encoder import Encoder, EncoderShape
from skelmm_core.forgetting import forgotten
from skelmm_core.skeletons import NTU25


def chain(x: torch.Tensor, weight: torch.Tensor, forget: bool) -> tuple[torch.Tensor, list[int]]:
    """relu of a product in place, of which a view and the whole go on; how often it was made again."""
    made: list[int] = []

    def again() -> torch.Tensor:
        made.append(1)
        return F.relu(x.detach() * 2)

    y = x * 2
    if forget:
        with forgotten(y, again):
            z = F.relu(y, inplace=True)
            out = z[1:].T @ weight + (z * z).sum()
    else:
        z = F.relu(y, inplace=True)
        out = z[1:].T @ weight + (z * z).sum()
    return out, made


def test_gradients_are_the_same_and_it_is_made_once_for_all():
    torch.manual_seed(0)
    found = []
    for forget in (False, True):
        x, weight = torch.randn(5, 4, generator=torch.Generator().manual_seed(1)).requires_grad_(), torch.ones(4, 3, requires_grad=True)
        out, made = chain(x, weight, forget)
        assert not made
        out.sum().backward()
        assert len(made) == forget
        found.append((out.detach(), x.grad, weight.grad))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_graph_that_is_walked_twice_makes_it_twice():
    x, weight = torch.randn(5, 4).requires_grad_(), torch.ones(4, 3, requires_grad=True)
    out, made = chain(x, weight, True)
    first = torch.autograd.grad(out.sum(), (x, weight), retain_graph=True)
    second = torch.autograd.grad(out.sum(), (x, weight))
    assert len(made) == 2 and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_other_tensors_are_kept_as_ever():
    x = torch.randn(3, requires_grad=True)
    with forgotten(torch.zeros(3), lambda: pytest.fail("nothing of it was needed")):
        y = (x.exp() * x).sum()
    (own,) = torch.autograd.grad(y, x)
    torch.testing.assert_close(own, x.exp() * (1 + x))


def noted(places: dict[int, int], t: torch.Tensor) -> torch.Tensor:
    places[t.untyped_storage().data_ptr()] = t.numel()
    return t


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_an_encoder_that_forgets_trains_as_one_that_keeps_and_keeps_less(monkeypatch, dropout):
    x = torch.randn(4, 3, 20, 25, 1, generator=torch.Generator().manual_seed(2))
    grads, kept = [], []
    for forget in (True, False):
        torch.manual_seed(3)
        encoder = Encoder(NTU25, EncoderShape(hidden=8, features=64, embedding=16, dropout=dropout)).train()
        if not forget:
            monkeypatch.setattr(encoder_module, "forgotten", lambda *_: nullcontext())
        places: dict[int, int] = {}
        note = partial(noted, places)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
            torch.manual_seed(4)
            out = encoder(x)[1].square().sum()
        kept.append(sum(places.values()))
        out.backward()
        grads.append([p.grad for p in encoder.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    assert kept[0] < 0.8 * kept[1]
