"""Sums over the queue in pieces, against the matrices written out, whatever the size of the pieces."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from skelmm_core import partition
from skelmm_core.partition import sums

S, N, D, K, TAU = 3, 4, 5, 23, 0.07


def units(*shape: int, dim: int = -1, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)), dim=dim)


@pytest.fixture(params=["kept", "made once more"], autouse=True)
def similarities(request, monkeypatch):
    """Everything holds whether similarities are kept for the gradient or not."""
    if request.param != "kept":
        monkeypatch.setattr(partition, "KEPT", 0)


@pytest.mark.parametrize("columns", [1, 5, 22, 23, 100, 0])
@pytest.mark.parametrize("topk", [1, 4])
def test_pieces_of_any_size_give_what_whole_matrices_give(columns, topk):
    q, queue = units(S, N, D, seed=1).requires_grad_(), units(S, D, K, dim=1, seed=2)
    pairs = list(itertools.combinations(range(S), 2))
    found = sums(q, queue, TAU, pairs, topk=topk, columns=columns)
    a = q @ queue
    own, both = (a / TAU).logsumexp(-1), torch.stack([(a[u] * a[v] / TAU).logsumexp(-1) for u, v in pairs])
    torch.testing.assert_close((found.own, found.both), (own, both), rtol=1e-12, atol=1e-12)
    assert torch.equal(found.near, a.topk(topk, -1).indices)
    weights = units(S, N, seed=3), units(len(pairs), N, seed=4)
    gradients = [torch.autograd.grad(sum((w * x).sum() for w, x in zip(weights, xs, strict=True)), q)[0] for xs in (found[:2], (own, both))]
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("columns", [7, 0])
def test_products_with_other_branches(columns):
    q, queue, others = units(2, N, D, seed=1).requires_grad_(), units(1, D, K, dim=1, seed=2), (units(S, N, 7), units(S, 7, K, dim=1))
    pairs = list(itertools.product(range(2), range(S)))
    found = sums(q, queue, TAU, pairs, others, 2, columns)
    a, b = q @ queue, others[0] @ others[1]
    both = torch.stack([(a[u] * b[v] / TAU).logsumexp(-1) for u, v in pairs])
    torch.testing.assert_close(found.both, both, rtol=1e-12, atol=1e-12)
    assert torch.equal(found.near, b.topk(2, -1).indices)
    weight = units(len(pairs), N, seed=4)
    gradients = [torch.autograd.grad((weight * x).sum(), q)[0] for x in (found.both, both)]
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-11)


def test_small_temperatures_neither_overflow_nor_vanish():
    q, queue = units(1, 2, D, seed=1).float().requires_grad_(), units(1, D, K, dim=1, seed=2).float()
    found = sums(q, queue, 1e-3, [(0, 0)], columns=4)
    torch.testing.assert_close(found.own, ((q @ queue) / 1e-3).logsumexp(-1))
    found.own.sum().backward()
    assert torch.isfinite(q.grad).all() and torch.isfinite(found.both).all()


@pytest.mark.parametrize("length", [1000, 100_000])
def test_what_is_kept_for_the_gradient(monkeypatch, length):
    """Similarities as long as they are few, never products; beyond that nothing that grows with K."""
    monkeypatch.setattr(partition, "KEPT", 1 << 16)
    q, queue = units(S, N, D).float().requires_grad_(), units(S, D, length, dim=1).float()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        found = sums(q, queue, TAU, list(itertools.combinations(range(S), 2)), topk=1)
    assert sum(t.numel() for t in kept if t.data_ptr() != queue.data_ptr()) < 200 and found.own.shape == (S, N)
    similarities = sum(a.numel() for a, _ in found.own.grad_fn.kept)
    assert similarities == (S * N * length if S * N * length <= 1 << 16 else 0)


@pytest.mark.parametrize("columns", [7, 23, 0])
def test_queues_on_end_are_put_together_piece_by_piece(columns):
    queues, q = units(2, D, K, dim=1, seed=5), units(1, N, 2 * D, seed=6).requires_grad_()
    (one,) = torch.autograd.grad((found := sums(q, queues, TAU, columns=columns).own).sum(), q)
    (other,) = torch.autograd.grad((joined := sums(q, queues.reshape(1, 2 * D, K), TAU).own).sum(), q)
    torch.testing.assert_close((found, one), (joined, other), rtol=1e-12, atol=1e-12)
