"""From ragged clips to batches on the training device, and the order in which training takes them.

Everything here, in `preparation`, `image` and `augmentation` is batched tensor code. A split is resampled and normalised once, when it
is loaded (NTU-60's training part is 1.2 GB), and stays on the device; augmentation draws from a generator seeded by (seed, epoch, step,
stream), so it is fresh every epoch, independent for query and key, and the same whatever ran before: an interrupted run continues
exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skelmm_core import image, skeletons
from skelmm_core.augmentation import Augmentation, shear_matrix, shift_window, stretch_window, uniform
from skelmm_core.clips import Clips
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.preparation import centre, face_camera, facing, from_first, resample, smoothed, trimmed, turn
from skelmm_core.skeletons import Skeleton

__all__ = [
    "DROPOUT", "KEY", "ORDER", "QUERY", "Augmentation", "Batches", "centre", "face_camera", "facing", "from_first", "generator", "load",
    "order", "resample", "shear_matrix", "shift_window", "smoothed", "stretch_window", "trimmed", "turn", "uniform",
]  # fmt: skip
QUERY, KEY, ORDER, DROPOUT = range(4)  # independent random streams of one step


@dataclass(frozen=True)
class Batches:
    """A split of a data set on one device.

    joints (N, 3, T, V, M) metres, centred and turned to face the camera (in an image: x, y in image heights, centred, and confidence);
    frames (N,) true lengths; labels (N,) int64; index (N,) clip numbers in the file.
    """

    joints: Tensor
    frames: Tensor
    labels: Tensor
    index: Tensor
    skeleton: Skeleton

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: Tensor) -> Batches:
        return Batches(self.joints[rows], self.frames[rows], self.labels[rows], self.index[rows], self.skeleton)

    def chunks(self, size: int) -> Iterator[Batches]:
        """In order, `size` clips at a time, the last chunk possibly shorter."""
        for start in range(0, len(self), size):
            yield self.select(torch.arange(start, min(start + size, len(self)), device=self.joints.device))


def generator(device: torch.device | str, *key: int) -> torch.Generator:
    """A generator whose stream is a function of the integers of `key` alone (seed, epoch, step, stream ...)."""
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    return torch.Generator(device).manual_seed(seed & (2**63 - 1))


def load(
    clips: Clips,
    indices: np.ndarray,
    frames: int = 50,
    skeleton: str | Skeleton = "native",
    view: str = "frame",
    device: torch.device | str = "cpu",
    chunk: int = 1024,
    smooth: float = 0.0,
    trim: float = 0.0,
) -> Batches:
    """Clips `indices`, smoothed, trimmed, resampled to `frames` frames and view-normalised, on `device`.

    There is room for as many bodies as any clip of the file has, so that all parts of a data set are seen alike: where encoders average
    empty bodies in, a part with room for two gives other features than one with room for one.

    Args:
        skeleton: ``"native"`` keeps the file's joints; a name (``"ntu25"``), or whatever `skeletons.get` takes, maps them there first.
        view: ``"frame"`` centres and turns every frame of every body by itself, as published; ``"clip"`` moves and turns a whole
            clip at once, which keeps locomotion and the place of two bodies, and keeps the noise of centre and shoulders out
            of all other joints' differences. Joints in an image are centred in the same two ways and never turned (see `image`).
        chunk: clips handled at a time; bounds the memory beyond the result.
        smooth: standard deviation, in recorded frames, of the Gaussian that coordinates are smoothed with along time before they
            are resampled; keeps the sensor's noise out of differences. 0: none, as published.
        trim: share of a clip's whole way that is cut off at each end (`preparation.trimmed`), so that clips begin and end with the
            action, not with somebody who stands and waits; `frames` of the result are those left. 0: none, as published.
    """
    if frames < 3:
        raise SettingsError(f"frames must be at least 3 (acceleration needs three), found {frames}")
    if view not in ("frame", "clip"):
        raise SettingsError(f"view must be 'frame' or 'clip', found '{view}'")
    target = clips.skeleton if skeleton == "native" else skeletons.get(skeleton)
    weights = torch.from_numpy(skeletons.mapping(clips.skeleton, target)).to(device)
    indices = np.asarray(indices, np.int64)
    if not len(indices):
        raise DataError("no clips to load: the list of clip numbers is empty")
    bodies = int(clips.bodies.max())
    joints = torch.empty(len(indices), 3, frames, len(target), bodies, device=device)
    kept = torch.empty(len(indices), dtype=torch.int32, device=device)
    for begin in range(0, len(indices), chunk):
        part = slice(begin, begin + chunk)
        rows, starts, lengths, counts = (torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in clips.take(indices[part]))
        lengths, counts = lengths.long(), counts.long()
        if target.joints != clips.skeleton.joints:
            rows = image.remapped(rows, weights) if target.dimensions == 2 else torch.einsum("uv,rvc->ruc", weights, rows)
        joints[part], kept[part] = prepared(rows, starts, lengths, counts, target, frames, bodies, view, smooth, trim)
    return Batches(
        joints,
        kept,
        torch.as_tensor(clips.labels[indices], dtype=torch.long, device=device),
        torch.as_tensor(indices, device=device),
        target,
    )


def prepared(rows: Tensor, starts: Tensor, lengths: Tensor, bodies: Tensor, skeleton: Skeleton, frames: int, max_bodies: int, view: str,
             smooth: float = 0.0, trim: float = 0.0) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Packed clips (R, V, 3) smoothed, trimmed, centred, resampled and turned, (N, 3, T, V, max_bodies), and the frames (N,) that they had
    before they were resampled; arguments as in `load`."""
    flat = skeleton.dimensions == 2
    if smooth:
        rows = (image.smoothed if flat else smoothed)(rows, starts, lengths, bodies, smooth)
    if trim:
        rows, starts, lengths = trimmed(rows, starts, lengths, bodies, trim, flat)
    if flat:
        return image.prepared(rows, starts, lengths, bodies, skeleton, frames, max_bodies, view), lengths
    rows = centre(rows, skeleton.centre) if view == "frame" else from_first(rows, skeleton.centre, starts, lengths, bodies)
    x = resample(rows, starts, lengths, bodies, frames, max_bodies).permute(0, 3, 1, 2, 4)  # (N, 3, T, V, M)
    return face_camera(x, skeleton) if view == "frame" else facing(x, skeleton), lengths


def order(count: int, batch: int, seed: int, epoch: int) -> list[Tensor]:
    """Row numbers of an epoch's batches in a random order that depends on seed and epoch alone; the short rest is left out.

    With fewer clips than `batch` there is one batch of all of them.
    """
    rows = torch.randperm(count, generator=generator("cpu", seed, epoch, ORDER))
    size = min(batch, count)
    return list(rows[: count // size * size].view(-1, size))
