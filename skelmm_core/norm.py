"""Batch normalisation whose statistics are exact to rounding, and are those of the joined batch where processes share one.

PyTorch's CPU kernel for channels-last tensors adds up all rows of a channel one after the other in float32: after tens
of thousands of rows mean and variance are off by 1e-5, ten blocks make 5e-5 of it, and at every activation that this
pushes across a ReLU's kink the gradient jumps: gradient norms were off by 4e-4, and with what is done here they agree with
the recorded ones to 1e-4. So in training, in float32 on the CPU, mean and variance are taken by pairwise sums.
Elsewhere these are plain `nn.BatchNorm`s, and their parameters, buffers and running statistics are the same everywhere.

Inside `joined`, on any device and in any type, sums go over the rows of all processes, forward and backward, however many rows each of
them has. (`nn.SyncBatchNorm` does that on GPUs alone.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

PILOT = 64  # each so many rows one tells about where the mean is


class Norm1d(nn.BatchNorm1d):
    """(R, C) -> same."""

    joined = False
    momentum: float
    bias: nn.Parameter
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return _normalise(self, x)[0] if _exact(self, x) else super().forward(x)


class Norm2d(nn.BatchNorm2d):
    """(B, C, T, V), channels last in memory -> same."""

    joined = False
    momentum: float
    bias: nn.Parameter
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return self.remembering(x)[0]

    def remembering(self, x: Tensor) -> tuple[Tensor, Callable[[], Tensor] | None]:
        """The normalised tensor, and in training, where it is known how, what makes the same once more, without gradient."""
        return _normalise(self, x) if _exact(self, x) else (super().forward(x), None)


@contextmanager
def joined(model: nn.Module, processes: int) -> Iterator[None]:
    """Inside, the model's normalisations in training take the batches of all processes for one; all must run it in step."""
    norms = [m for m in model.modules() if isinstance(m, Norm1d | Norm2d)] if processes > 1 else []
    for norm in norms:
        norm.joined = True
    try:
        yield
    finally:
        for norm in norms:
            del norm.joined


def _exact(norm: Norm1d | Norm2d, x: Tensor) -> bool:
    return norm.training and (norm.joined or (x.dtype == torch.float32 and x.device.type == "cpu"))


def _normalise(norm: Norm1d | Norm2d, x: Tensor) -> tuple[Tensor, Callable[[], Tensor]]:
    y: Tensor
    made = _Normalise.apply(x, norm.weight, norm.bias, norm.eps, norm.joined)  # type: ignore[no-untyped-call]  # torch's
    y, mean, variance, count = made
    if not norm.joined and count < 2:
        raise ValueError(f"batch normalisation needs more than one value per channel in training, found shape {tuple(x.shape)}")
    with torch.no_grad():
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)  # unbiased, as nn.BatchNorm keeps it
        norm.num_batches_tracked += 1
    x, weight, bias, eps = x.detach(), norm.weight.detach(), norm.bias.detach(), norm.eps
    return y, lambda: F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (biased) variance per channel, (C,) float64, by pairwise sums of what is left after a mean of some rows is taken off; what
    that mean is off by is put right after."""
    rows = x if x.ndim == 2 else x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])  # (R, C)
    rows = rows.float()
    if rows.device.type != "cpu":  # kernels there add up well, in one pass
        variance, mean = torch.var_mean(rows, dim=0, correction=0)
        return mean.double(), variance.double()
    about = rows[::PILOT].mean(dim=0)
    rest = rows - about
    shift = rest.mean(dim=0).double()
    return about.double() + shift, rest.square_().mean(dim=0).double() - shift.square()


def _pooled(mean: Tensor, variance: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance, (C,) float64, of the rows of all processes together, from those of each one's `count`; and the count of all."""
    sums = torch.cat([mean.new_full((1,), count), count * mean, count * (variance + mean.square())])
    dist.all_reduce(sums)
    total = sums[0]
    mean, square = (sums[1:] / total).chunk(2)
    return mean, (square - mean.square()).clamp_min(0), total


class _Normalise(torch.autograd.Function):
    """weight * (x - mean) / sqrt(variance + eps) + bias, with the batch's mean, variance and values per channel as further outputs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, joined: bool) -> tuple[Tensor, Tensor, Tensor, int | Tensor]:
        mean, variance = _statistics(x)
        count: int | Tensor = x.numel() // x.shape[1]
        if joined:
            mean, variance, count = _pooled(mean, variance, x.numel() // x.shape[1])
        inverse = torch.rsqrt(variance + eps).float()
        mean, variance = mean.float(), variance.float()
        ctx.save_for_backward(x, weight, mean, inverse, *([count] if joined else []))
        ctx.mark_non_differentiable(mean, variance, *([count] if joined else []))
        ctx.eps, ctx.joined = eps, joined
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps), mean, variance, count

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, *count = ctx.saved_tensors
        needed = [True] * 3 if ctx.joined else list(ctx.needs_input_grad[:3])
        needed[0] = ctx.needs_input_grad[0] and not ctx.joined
        own, *sums = torch.ops.aten.native_batch_norm_backward(grad, x, weight, None, None, mean, inverse, True, ctx.eps, needed)
        if ctx.joined and ctx.needs_input_grad[0]:
            own = _backward(grad, x, weight, mean, inverse, *sums, *count)
        return own, *sums, None, None


def _backward(
    grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, slope: Tensor, level: Tensor, count: Tensor
) -> Tensor:
    """Gradient for this process's x of the sum of all processes' losses; slope, level (C,): its own for weight and bias."""
    sums = torch.stack([slope, level])
    dist.all_reduce(sums)
    slope, level, scale, mean, inverse = (
        v.view(1, -1, *(1,) * (x.ndim - 2)) for v in (*(sums / count), weight * inverse, mean, inverse)
    )  # (1, C, 1, 1)
    return (grad - level).sub_((x - mean).mul_(slope * inverse)).mul_(scale).to(x.dtype)
