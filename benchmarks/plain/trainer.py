"""A stage with its optimiser and its loader."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.plain.clips import Views, start_worker
from benchmarks.plain.modalities import compute
from benchmarks.plain.stages import Contrast, Distillation, Stage
from benchmarks.plain.tables import NAMES

PRESETS = {
    "published": dict(copy_key=False, unit_axis=False, keys="published", teacher="train", slipped_queue=True, fresh=False),
    "described": dict(copy_key=True, unit_axis=True, keys="all", teacher="eval", slipped_queue=False, fresh=True),
}


class Trainer:
    """One stage with its optimiser, in train mode; `model` (a `Stage`) and `optimiser` can be looked into after a step."""

    def __init__(self, model: Stage, s: SimpleNamespace):
        self.s, self.model = s, model.to(s.device).train()
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.SGD(trained, lr=s.lr, momentum=s.momentum, weight_decay=s.weight_decay)

    def loader(self, clips: Sequence[np.ndarray], batch: int, workers: int = 0, shuffle: bool = True, seed: int = 0) -> DataLoader:
        """Batches ((query, key), frames) of recorded clips (M, L, V, 3); the short rest is left out."""
        views = Views(clips, self.s.frames, seed, self.s.fresh)
        order = torch.Generator().manual_seed(seed)
        return DataLoader(views, batch, shuffle, num_workers=workers, drop_last=True, generator=order, worker_init_fn=start_worker)

    def step(self, clips: Sequence[Tensor], frames: Tensor) -> dict[str, Tensor]:
        """One whole step on two augmented versions, query and key, (N, 3, T, V, M) each; gradients are left in `p.grad`.

        Modalities, momentum, forward, losses, backward, optimiser, queues. Returns every branch's losses by name; their sum was minimised.
        """
        s, frames = self.s, frames.to(self.s.device)
        query, key = (compute(x.to(s.device), frames, s.names, s.unit_axis) for x in clips)
        losses, entering = self.model(query, key)
        self.optimiser.zero_grad()
        sum(losses.values()).backward()
        self.optimiser.step()
        for suffix, keys in entering.items():
            self.model.enqueue(suffix, keys)
        return {name: loss.detach() for name, loss in losses.items()}


def build(
    stage: int, modalities: int = 6, hidden: int = 16, features: int = 256, frames: int = 50, queue: int = 32768, embedding: int = 128,
    students: int = 3, preset: str = "described", weights: dict[str, Tensor] | None = None, device: str = "cpu", **changes,
) -> Trainer:  # fmt: skip
    """A trainer of stage 1, 2 or 3 with the first `modalities` of `NAMES` (in stage 3 the first `students` of them for students).

    frames: T, to which `loader` resizes recordings. queue: K.
    weights: a state dict in the published layout, with all of the stage's entries; without one everything starts at random.
    changes: dropout, lr, momentum, weight_decay, key_momentum, temperature, topk, and the switches of `PRESETS`.
    """
    values = dict(dropout=0.5, lr=0.1, momentum=0.9, weight_decay=1e-4, key_momentum=0.999, temperature=0.07, topk=1, **PRESETS[preset])
    if unknown := changes.keys() - values.keys():
        raise ValueError(f"expected changes among {', '.join(values)}, found {', '.join(sorted(unknown))}")
    if stage not in (1, 2, 3) or (stage == 2 and modalities < 2):
        raise ValueError(f"expected stage 1, 2 or 3, and two modalities or more in stage 2; found stage={stage}, modalities={modalities}")
    sizes = dict(hidden=hidden, features=features, embedding=embedding, frames=frames, queue=queue)
    s = SimpleNamespace(stage=stage, names=NAMES[:modalities], students=NAMES[:students], device=device, **sizes, **values | changes)
    model = Distillation(s) if stage == 3 else Contrast(s)
    if weights is not None:
        model.load_state_dict(weights)
    return Trainer(model, s)
