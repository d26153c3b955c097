"""Small encoders, clips and features for tests of evaluation."""

from __future__ import annotations

import torch

from skelmm_core import modalities
from skelmm_core.batches import Batches
from skelmm_core.encoder import Branches, Encoder, EncoderShape, initialise
from skelmm_core.skeletons import KINECT20

SMALL = EncoderShape(hidden=2, features=8, embedding=4, dropout=0.5)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_branches(names=modalities.NAMES, **shape) -> Branches:
    branches = Branches({n: Encoder(KINECT20, EncoderShape(**{**SMALL.__dict__, **shape})) for n in names})
    initialise(branches, "scaled", rng())
    return branches


def small_batches(count: int = 7, bodies: int = 2) -> Batches:
    joints = torch.randn(count, 3, 8, 20, bodies, generator=rng(1))
    joints[0, ..., 1:] = 0
    numbers = torch.arange(count)
    return Batches(joints, torch.full((count,), 20), numbers % 3, numbers, KINECT20)


def blobs(streams: int, count: int, width: int, classes: int, spread: float, seed: int = 0, dtype=torch.float32):
    """Features around one random centre per class and stream, train and test: name -> (N, F), labels (N,)."""
    g = rng(seed)
    centres = torch.randn(streams, classes, width, generator=g, dtype=dtype)
    parts = []
    for _ in range(2):
        labels = torch.arange(count) % classes
        noise = torch.randn(streams, count, width, generator=g, dtype=dtype)
        x = centres[:, labels] + spread * noise
        parts += [{n: f for n, f in zip(modalities.NAMES, x, strict=False)}, labels]
    return parts
