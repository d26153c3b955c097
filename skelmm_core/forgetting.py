"""Tensors that are not kept for the way back but made again: a little arithmetic for a good part of a step's memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

Kept = Tensor | tuple[torch.Size, tuple[int, ...], int | torch.SymInt]


@contextmanager
def forgotten(y: Tensor, again: Callable[[], Tensor]) -> Iterator[None]:
    """Inside, autograd keeps nothing that lies in `y`'s memory; `again`, called on the way back, gives a tensor with the same values there.

    What lies there may be `y` itself, changed in place until then, or views of it; `again` must lay its numbers out as `y` has them. It is
    called once for all that was not kept, and what it gave is let go once all have had it. It runs in the autocast of the way there: most
    go back outside of it, where a layer would refuse bfloat16 or give other numbers. While a model is traced, all is kept as ever: there
    is no memory to compare.
    """
    if torch.compiler.is_compiling():
        yield
        return
    home, asking, waiting = y.untyped_storage().data_ptr(), 0, 0
    kind = y.device.type
    lowered = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    made: list[Tensor] = []

    def pack(kept: Tensor) -> Kept:
        nonlocal asking
        if kept.untyped_storage().data_ptr() != home or not home:
            return kept
        asking += 1
        return kept.shape, kept.stride(), kept.storage_offset()

    def unpack(kept: Kept) -> Tensor:
        nonlocal waiting
        if isinstance(kept, Tensor):
            return kept
        if not made:
            with torch.no_grad(), torch.autocast(kind, lowered, enabled=lowered is not None, cache_enabled=False):
                made.append(again())
            waiting = asking
        waiting -= 1
        return (made[0] if waiting else made.pop()).as_strided(*kept)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield
