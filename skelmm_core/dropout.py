"""Dropout that does not wait for random numbers.

PyTorch's CPU kernel draws a float per element, one after the other in one thread: a quarter of a training step went there. Here random
numbers have 64 bits, and a byte of them decides over an element, so the probability is taken to the nearest 1/256; for 1/2 a bit does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 256


def dropout(x: Tensor, p: float) -> Tensor:
    """Each element with probability `p` 0, else divided by 1 - p (Srivastava et al. 2014); x of any shape, dense in memory.

    Draws from torch's default generator, on the CPU in steps of 1/256 of probability; elsewhere this is `torch.nn.functional.dropout`.
    """
    if x.device.type != "cpu":
        return F.dropout(x, p)
    dropped: Tensor = _Dropout.apply(x, round(p * LEVELS))  # type: ignore[no-untyped-call]  # torch's
    return dropped


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dropped: int) -> Tensor:
        drawn = _bytes(x.numel() // 8 + 1) if 2 * dropped == LEVELS else _bytes(x.numel()) >= dropped
        ctx.save_for_backward(drawn)
        ctx.scale, ctx.layout = LEVELS / (LEVELS - dropped), (x.shape, x.stride())
        return _kept(x, drawn, *ctx.layout).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _kept(grad, *ctx.saved_tensors, *ctx.layout).mul_(ctx.scale), None


def _kept(x: Tensor, drawn: Tensor, shape: torch.Size, stride: tuple[int, ...]) -> Tensor:
    """`x`, and 0 where `drawn` says so: a truth for each element in the order of memory, or a bit, which takes an eighth of the room."""
    if drawn.dtype == torch.uint8:
        drawn = torch.from_numpy(np.unpackbits(drawn.numpy())).view(torch.bool)
    return x * drawn.as_strided(shape, stride)


def _bytes(count: int) -> Tensor:
    """`count` random bytes, or some more."""
    return torch.empty((count + 7) // 8, dtype=torch.int64).random_(-(2**63), None).view(torch.uint8)
