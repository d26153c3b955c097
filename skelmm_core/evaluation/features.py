"""Features of a frozen encoder, computed once: everything in this package works on these.

In eval mode and without augmentation a clip's feature is a fixed vector, so caching it changes no result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skelmm_core import modalities
from skelmm_core.batches import Batches
from skelmm_core.encoder import Branches
from skelmm_core.errors import DataError
from skelmm_core.readout import WHOLE, Readout

Features = Mapping[str, Tensor]  # modality -> (N, F)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode inside, afterwards every submodule's own mode as it was."""
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for m, mode in modes:
            m.training = mode


@torch.no_grad()
def extract(
    branches: Branches,
    batches: Batches,
    unit_axis: bool = True,
    chunk: int = 256,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    read: Readout = WHOLE,
) -> dict[str, Tensor]:
    """Features before the projection head, without gradient or augmentation.

    Args:
        branches: encoders by modality (query encoders, students, or untrained ones); their modes are restored afterwards.
        batches: the clips, prepared as for training; empty bodies are handled as the encoders' own shape says.
        unit_axis: rotation axis as unit vector (``described``) or raw cross product (``published``).
        chunk: clips at a time; bounds memory, changes nothing else.
        autocast: gives the context to compute in, e.g. a Lightning Fabric's `fabric.autocast`.
        read: which parts of a clip are averaged each by itself, too.

    Returns: modality -> (N, F) float32 on the clips' device, in the order of `branches`.
    """
    preset = "described" if unit_axis else "published"
    found: dict[str, list[Tensor]] = {name: [] for name in branches}
    with evaluating(branches), autocast():
        for part in batches.chunks(chunk):
            inputs = modalities.compute(part.joints, part.frames, part.skeleton, branches.modalities, preset)
            for name, feature in branches.features(inputs, read).items():
                found[name].append(feature.float())  # (chunk, F)
    return {name: torch.cat(parts) for name, parts in found.items()}


@torch.no_grad()
def embeddings(branches: Branches, features: Features) -> dict[str, Tensor]:
    """Embeddings (N, D) on the CPU of whole clips (features (N, F) of `extract`), by branch: what the projection heads make of them."""
    return {name: branches[name].head(f.to(next(branches[name].parameters()).device)).float().cpu() for name, f in features.items()}


def stacked(features: Features, like: Features | None = None) -> Tensor:
    """(S, N, F) in the dict's order, or in the order of `like`, whose streams and widths it must then share. Raises `DataError`."""
    if not features:
        raise DataError("no features: expected at least one stream, name -> (N, F)")
    shapes = {name: tuple(f.shape) for name, f in features.items()}
    if any(len(s) != 2 for s in shapes.values()) or len(set(shapes.values())) > 1:
        raise DataError(f"features of all streams must be (N, F) with the same N and F, found {shapes}")
    if like is None:
        return torch.stack(list(features.values()))
    if set(like) != set(features):
        raise DataError(
            f"train features have the streams {sorted(like)}, test features {sorted(features)}; extract both with the same branches"
        )
    widths = {next(iter(f.values())).shape[1] for f in (features, like)}
    if len(widths) > 1:
        raise DataError(f"train and test features differ in width: {sorted(widths)}; extract both with the same branches")
    return torch.stack([features[name] for name in like])


def joined(features: Features) -> Tensor:
    """One vector per clip, (N, S * F): each stream's unit feature side by side, so that a dot product is S times their mean cosine."""
    return F.normalize(stacked(features), dim=-1).movedim(0, 1).flatten(1)


def checked_labels(labels: Tensor, features: Tensor, classes: int, part: str) -> Tensor:
    """Labels as int64 beside the features (S, N, F) of the `part` "train" or "test"; a wrong number or value raises `DataError`."""
    labels = torch.as_tensor(labels, device=features.device, dtype=torch.long)
    count = features.shape[1]
    if labels.shape != (count,) or not count:
        raise DataError(
            f"{part}: {count} features and labels of shape {tuple(labels.shape)}; expected one label per feature and at least one"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise DataError(f"{part}: labels must be in 0..{classes - 1}, found {low} to {high}")
    return labels
