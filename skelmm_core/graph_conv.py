"""The encoder's convolution over the graph of joints, in the order of products that suits a type, a device and a number of channels."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# A graph convolution of at most this many multiplications a frame (V * C_in * V * C_out) runs as one dense matrix product: more arithmetic,
# but one large product instead of many small ones. Measured in float32 on AVX2, in one thread; in bfloat16, whose products are cheaper, on
# AVX-512, as a limit of 800 outputs, which is this for as many inputs. In other types the formula is computed as it stands, which is what
# `evaluation.complexity` counts.
DENSE_LIMIT = {torch.float32: 100_000, torch.bfloat16: 640_000}


class GraphConv(nn.Module):
    """1x1 convolution to 3 subsets, then aggregation over the graph with learned edge importance.

    out[t, w, c] = sum_k sum_v (W_k x[t, v] + b_k)[c] (A_k * importance_k)[v, w]
    """

    def __init__(self, c_in: int, c_out: int, joints: int):
        super().__init__()
        self.conv = nn.Conv2d(c_in, 3 * c_out, 1)
        self.importance = nn.Parameter(torch.ones(3, joints, joints))
        self.c_in, self.c_out = c_in, c_out

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """(B, T, V, C), adjacency (3, V, V) -> (B, T, V, C')"""
        b, t, v, _ = x.shape
        graph = adjacency * self.importance  # (3, V, W)
        weight = self.conv.weight.view(3, self.c_out, self.c_in)
        if v * self.c_in * v * self.c_out <= DENSE_LIMIT.get(x.dtype, 0):
            kernel = torch.einsum("kvw,koi->viwo", graph, weight).reshape(v * self.c_in, v * self.c_out)
            bias = self._bias(graph).reshape(-1).to(x.dtype)
            return torch.addmm(bias, x.reshape(b * t, -1), kernel.to(x.dtype)).view(b, t, v, self.c_out)
        by_hand = x.dtype == weight.dtype and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        if x.dtype in DENSE_LIMIT and (self.c_in < self.c_out or by_hand):  # over the graph first: channels are not more there
            over, mix = graph.permute(2, 0, 1).reshape(v * 3, v), weight.transpose(0, 1).reshape(self.c_out, -1)
            frames, bias = x.reshape(b * t, v, self.c_in), self._bias(graph)
            if by_hand:
                found: Tensor = _Aggregated.apply(frames, over, mix, bias)  # type: ignore[no-untyped-call]  # torch's
                return found.view(b, t, v, self.c_out)
            y = F.linear(torch.matmul(over, frames).view(b * t, v, 3 * self.c_in), mix)
            return y.add_(bias).view(b, t, v, self.c_out)
        y = F.linear(x, weight.reshape(-1, self.c_in), self.conv.bias)  # (B, T, V, 3*C')
        y = y.view(b * t, v * 3, self.c_out)
        return torch.matmul(graph.permute(2, 1, 0).reshape(v, v * 3), y).view(b, t, v, self.c_out)

    def _bias(self, graph: Tensor) -> Tensor:
        """What the convolution's biases come to at each joint, (V, C')."""
        bias = cast(Tensor, self.conv.bias)  # torch knows convolutions without one, too
        return torch.einsum("kvw,ko->wo", graph, bias.view(3, self.c_out))


class _Aggregated(torch.autograd.Function):
    """x (R, V, C), over (V*3, V), mix (C', 3*C), bias (V, C') -> (R*V, C'): each frame by `over`, then by `mix`.

    Every frame's little product is made where it lies, forward and backward, and what is between the two products is made again for the
    gradient, not kept: no copies of three times the input, and in one thread 0.6 to 0.9 of the time, both ways together.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, over: Tensor, mix: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, over, mix)
        y = F.linear(_over(x, over), mix)
        y.view(*x.shape[:2], -1).add_(bias)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast("cpu", enabled=False):  # as on the way there, wherever the way back begins
            return _Aggregated._gradients(ctx, grad)

    @staticmethod
    def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, over, mix = ctx.saved_tensors
        r, v, c = x.shape
        own = edges = mixing = shift = None
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            between = torch.mm(grad, mix).view(r, 3 * v, c)
            own = torch.bmm(over.T.expand(r, -1, -1), between) if ctx.needs_input_grad[0] else None
            edges = torch.bmm(between, x.transpose(1, 2)).sum(dim=0) if ctx.needs_input_grad[1] else None
        if ctx.needs_input_grad[2]:
            mixing = torch.mm(grad.T, _over(x, over))
        if ctx.needs_input_grad[3]:
            shift = grad.view(r, v, -1).sum(dim=0)
        return own, edges, mixing, shift


def _over(x: Tensor, over: Tensor) -> Tensor:
    """(R, V, C) -> (R*V, 3*C)"""
    r, v, c = x.shape
    return torch.bmm(over.expand(r, -1, -1), x).view(r * v, 3 * c)
