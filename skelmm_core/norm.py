"""Batch normalisation whose statistics are exact to rounding.

PyTorch's CPU kernel for channels-last tensors adds up all rows of a channel one after the other in float32: after tens
of thousands of rows mean and variance are off by 1e-5, ten blocks make 5e-5 of it, and at every activation that this
pushes across a ReLU's kink the gradient jumps: gradient norms were off by 4e-4, and with what is done here they agree with
the recorded ones to 1e-4. So in training, in float32 on the CPU, mean and variance are taken by pairwise sums in two passes.
Elsewhere these are plain `nn.BatchNorm`s, and their parameters, buffers and running statistics are the same everywhere.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Norm1d(nn.BatchNorm1d):
    """(R, C) -> same."""

    def forward(self, x: Tensor) -> Tensor:
        return _normalise(self, x) if _exact(self, x) else super().forward(x)


class Norm2d(nn.BatchNorm2d):
    """(B, C, T, V), channels last in memory -> same."""

    def forward(self, x: Tensor) -> Tensor:
        return _normalise(self, x) if _exact(self, x) else super().forward(x)


def _exact(norm: nn.Module, x: Tensor) -> bool:
    return norm.training and x.dtype == torch.float32 and x.device.type == "cpu"


def _normalise(norm: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor) -> Tensor:
    y, mean, variance = _Normalise.apply(x, norm.weight, norm.bias, norm.eps)
    count = x.numel() // x.shape[1]
    if count < 2:
        raise ValueError(f"batch normalisation needs more than one value per channel in training, found shape {tuple(x.shape)}")
    with torch.no_grad():
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)  # unbiased, as nn.BatchNorm keeps it
        norm.num_batches_tracked += 1
    return y


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (biased) variance per channel, (C,) float64, in two passes of pairwise sums; the second corrects the first's rounding."""
    rows = x if x.ndim == 2 else x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])  # (R, C)
    about = rows.mean(dim=0)
    rest = rows - about
    shift = rest.mean(dim=0).double()
    return about.double() + shift, rest.square_().mean(dim=0).double() - shift.square()


class _Normalise(torch.autograd.Function):
    """weight * (x - mean) / sqrt(variance + eps) + bias, with the batch's mean and variance as further outputs."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        mean, variance = _statistics(x)
        inverse = torch.rsqrt(variance + eps).float()
        mean, variance = mean.float(), variance.float()
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.mark_non_differentiable(mean, variance)
        ctx.eps = eps
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps), mean, variance

    @staticmethod
    def backward(ctx, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse = ctx.saved_tensors
        needed = list(ctx.needs_input_grad[:3])
        return *torch.ops.aten.native_batch_norm_backward(grad, x, weight, None, None, mean, inverse, True, ctx.eps, needed), None
