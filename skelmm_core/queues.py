"""Momentum contrast's moving parts: queues of earlier keys and slowly following key encoders (MoCo, arXiv 1911.05722)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skelmm_core.errors import SettingsError


class Queues(nn.Module):
    """Ring buffers of unit keys, one per branch, written in step: `data` (S, D, K), slot i of every branch from the same clip.

    Starts with random unit columns drawn from `generator`. K need not be a multiple of the batch. In memory a key's D numbers lie side by
    side, which is what products with few queries, and writing keys, are fastest with.
    """

    data: Tensor
    pointer: Tensor

    def __init__(self, branches: int, width: int, length: int, generator: torch.Generator):
        super().__init__()
        if length < 1:
            raise SettingsError(f"a queue must hold at least one key, found queue={length}")
        columns = F.normalize(torch.randn(branches, width, length, generator=generator), dim=1)
        self.register_buffer("data", columns.mT.contiguous().mT)
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Write keys (S, N, D) over the oldest ones; of more than K keys the last K stay."""
        length, count = self.data.shape[2], keys.shape[1]
        slots = (self.pointer + torch.arange(count, device=keys.device)) % length
        self.data[:, :, slots[-length:]] = keys[:, -length:].transpose(1, 2).to(self.data.dtype)
        self.pointer.copy_((self.pointer + count) % length)


@torch.no_grad()
def follow(key: nn.Module, query: nn.Module, momentum: float = 0.999) -> None:
    """key <- momentum * key + (1 - momentum) * query, for all parameters, in place; buffers (BN statistics) are each one's own."""
    torch._foreach_lerp_(list(key.parameters()), list(query.parameters()), 1 - momentum)
