"""Fine-tuning: encoders and a linear classifier per stream, all weights trained with labels on the mean of the streams' logits.

Fresh encoders in the place of pretrained ones give the supervised reference: the same size and recipe, another start. The last epoch
counts; no test clip has a say in anything. Every random draw is a function of (seed, epoch, step).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from skelmm_core import modalities
from skelmm_core.batches import DROPOUT, QUERY, Augmentation, Batches, generator, order
from skelmm_core.encoder import Branches
from skelmm_core.errors import TrainingError
from skelmm_core.evaluation.features import checked_labels, extract, stacked
from skelmm_core.evaluation.linear import initial, logits_of
from skelmm_core.evaluation.metrics import ProbeResult, scored
from skelmm_core.evaluation.recipes import Finetune
from skelmm_core.progress import Progress

RECIPE = Finetune()


@dataclass(frozen=True, eq=False)
class Finetuned:
    """Trained encoders (in eval mode) and classifiers, weight (S, F, C) and bias (S, 1, C); mean loss of each epoch."""

    branches: Branches
    weight: Tensor
    bias: Tensor
    losses: list[float]


def finetune(
    branches: Branches,
    train: Batches,
    classes: int,
    recipe: Finetune = RECIPE,
    seed: int = 0,
    augment: Augmentation | None = None,
    unit_axis: bool = True,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    title: str = "fine-tuning",
) -> Finetuned:
    """Train a copy of the encoders and a classifier for each; `branches` stay as they are. Projection heads are left out.

    Args:
        branches: pretrained encoders, or fresh ones; on the device of `train`.
        train: labelled clips (N,), labels in 0..classes-1; fewer than a batch are one batch, a short rest of an epoch is left out.
        recipe: optimiser, schedule and mode; its `augment` only counts with an `augment` here, a random change of clips.
        unit_axis, autocast: as in `features.extract`. title: heads lines of progress.

    Raises: `TrainingError` for a loss that is not finite; `DataError` for labels out of range.
    """
    model, device = copy.deepcopy(branches).to(train.joints.device).requires_grad_(True), train.joints.device
    width = next(iter(model.values())).shape.features
    labels = checked_labels(train.labels, torch.empty(1, len(train), 0, device=device), classes, "train")
    weight, bias = (t.to(device).requires_grad_() for t in initial(tuple(model), width, classes, seed))
    body = [p for name, p in model.named_parameters() if ".head." not in name]
    trained, s = [*body, weight, bias], recipe
    optimiser = torch.optim.SGD(trained, lr=s.lr, momentum=s.momentum, weight_decay=s.weight_decay, foreach=True)
    model.train(recipe.mode == "train")
    per_epoch, losses = len(order(len(train), recipe.batch, seed, 0)), []
    bar = tqdm(total=recipe.epochs * per_epoch, desc=title, unit="step", mininterval=1, disable=None, leave=False)
    progress = Progress(title, bar, per_epoch, 0, recipe.epochs, recipe.epochs)
    with bar:
        for epoch in range(recipe.epochs):
            total = 0.0
            for number, rows in enumerate(order(len(train), recipe.batch, seed, epoch)):
                optimiser.param_groups[0]["lr"] = learning_rate(recipe, (epoch + number / per_epoch) / recipe.epochs)
                rows = rows.to(device)
                part = train.select(rows)
                joints, frames = part.joints, part.frames
                if augment and recipe.augment:
                    joints, frames = augment(joints, frames, generator(device, seed, epoch, number, QUERY))
                inputs = modalities.compute(joints, frames, part.skeleton, model.modalities, "described" if unit_axis else "published")
                with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                    torch.manual_seed(generator("cpu", seed, epoch, number, DROPOUT).initial_seed())
                    with autocast():
                        features = [encoder.feature(modalities.join(inputs, name)) for name, encoder in model.items()]
                logits = logits_of(torch.stack([f.float() for f in features]), weight, bias)  # (S, B, C)
                loss = F.cross_entropy(logits.mean(dim=0), labels[rows])
                if not torch.isfinite(loss):
                    where = f"epoch {epoch + 1}, step {number + 1}"
                    raise TrainingError(f"{title}: the loss is not finite at {where}; lower lr (now {recipe.lr})")
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                total += float(loss.detach())
                progress.step(loss.detach())
            losses.append(total / per_epoch)
            bar.set_postfix_str(f"epoch {epoch + 1}/{recipe.epochs} loss {losses[-1]:.3f}", refresh=False)
    return Finetuned(model.eval(), weight.detach(), bias.detach(), losses)


def tested(tuned: Finetuned, test: Batches, unit_axis: bool = True) -> ProbeResult:
    """What fine-tuned encoders and classifiers say of test clips; `streams`: each one's own logits, though they were trained together."""
    features = stacked(extract(tuned.branches, test, unit_axis))  # (S, N, F)
    labels = checked_labels(test.labels, features, tuned.weight.shape[2], "test")
    logits = logits_of(features, tuned.weight, tuned.bias)
    return scored(logits.mean(dim=0), labels, dict(zip(tuned.branches, logits, strict=True)))


def learning_rate(recipe: Finetune, progress: float) -> float:
    """Learning rate at a share of all epochs in [0, 1)."""
    if progress < recipe.warmup:
        return recipe.lr * progress / recipe.warmup
    return recipe.lr * 0.1 ** sum(progress >= drop - 1e-9 for drop in (recipe.first_drop, recipe.second_drop))
