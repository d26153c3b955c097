"""What every stage's model gives the training loop after one batch."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class Step(NamedTuple):
    """Losses and similarities per branch, and what enters the queues after the backward pass.

    losses (B,): their sum is minimised. positive, negative (B,): mean cosine similarity to the positive and to the queue.
    keys: one (S, N, D) tensor per queue of the model. (A named tuple: Fabric converts what a module returns.)
    """

    losses: Tensor
    positive: Tensor
    negative: Tensor
    keys: tuple[Tensor, ...]


class Model(nn.Module):
    """What the training loop trains: called with query and key inputs it gives a `Step`. names: of its branches."""

    names: tuple[str, ...]

    def enqueue(self, keys: tuple[Tensor, ...]) -> None:
        """Take a step's keys into the queues."""
        raise NotImplementedError
