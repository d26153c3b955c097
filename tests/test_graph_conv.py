"""The convolution over the graph against its formula, one joint, subset and channel after the other, whatever order the products take."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from skelmm_core import graph_conv
from skelmm_core.graph_conv import GraphConv


def by_formula(conv: GraphConv, x: torch.Tensor, adjacency: torch.Tensor) -> torch.Tensor:
    """sum_k sum_v (W_k x[v] + b_k) (A_k * importance_k)[v, w], as it is written."""
    weight, bias = conv.conv.weight.flatten(1), conv.conv.bias
    out = torch.zeros(*x.shape[:3], conv.c_out, dtype=x.dtype)
    for k in range(3):
        own = slice(k * conv.c_out, (k + 1) * conv.c_out)
        for v in range(x.shape[2]):
            value = x[:, :, v] @ weight[own].T + bias[own]  # (B, T, C')
            for w in range(x.shape[2]):
                out[:, :, w] += value * adjacency[k, v, w] * conv.importance[k, v, w]
    return out


def example(
    c_in: int, c_out: int, joints: int, seed: int = 0, kind: torch.dtype = torch.float64
) -> tuple[GraphConv, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    conv = GraphConv(c_in, c_out, joints).to(kind)
    conv.importance.data.uniform_(0.5, 1.5)
    return conv, torch.randn(2, 3, joints, c_in, dtype=kind, requires_grad=True), torch.rand(3, joints, joints, dtype=kind)


@pytest.mark.parametrize("limit", [None, 0, 10**9], ids=["as it stands", "by hand", "dense"])
@given(c_in=st.integers(1, 5), more=st.integers(0, 4), joints=st.integers(2, 6), seed=st.integers(0, 99))
def test_values_and_gradients_are_those_of_the_formula(limit, c_in, more, joints, seed):
    conv, x, adjacency = example(c_in, c_in + more, joints, seed)
    found_for = [x, *conv.parameters()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph_conv, "DENSE_LIMIT", {} if limit is None else {torch.float64: limit})
        y = conv(x, adjacency)
    slow = by_formula(conv, x, adjacency)
    torch.testing.assert_close(y, slow, rtol=1e-10, atol=1e-10)
    direction = torch.randn_like(y)
    for a, b in zip(torch.autograd.grad(y, found_for, direction), torch.autograd.grad(slow, found_for, direction), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_float32_goes_by_hand_and_keeps_its_input_alone(monkeypatch):
    conv, x, adjacency = example(16, 16, 25, kind=torch.float32)
    calls, kept = [], []
    real = graph_conv._Aggregated.apply
    monkeypatch.setattr(graph_conv._Aggregated, "apply", lambda *args: calls.append(1) or real(*args))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        y = conv(x, adjacency)
    assert calls and max(kept) == x.numel()
    torch.testing.assert_close(y, by_formula(conv, x, adjacency), rtol=1e-4, atol=1e-4)
    y.sum().backward()
    conv.requires_grad_(False)
    (own,) = torch.autograd.grad(conv(x, adjacency).sum(), x)
    torch.testing.assert_close(own, x.grad)
    conv.requires_grad_(True)
    conv(x.detach(), adjacency).sum().backward()  # the first block's input needs no gradient
