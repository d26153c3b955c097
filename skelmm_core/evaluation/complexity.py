"""What a model costs: parameters, arithmetic and measured time per clip, for encoders with their linear classifiers.

Projection heads are for training only and don't count. Published size, 50 frames, 25 joints, two bodies, 60 classes:
836,800 parameters and 1.22 GFLOP per branch.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from skelmm_core import modalities
from skelmm_core.encoder import Branches
from skelmm_core.evaluation.features import evaluating


@dataclass(frozen=True)
class Complexity:
    """Of one model: parameters, GFLOP per clip (2 x multiply-accumulate), milliseconds per clip from coordinates to logits."""

    parameters: int
    gflops: float
    milliseconds: float


def measure(
    branches: Branches,
    classes: int,
    frames: int = 50,
    bodies: int = 2,
    clips: int = 1,
    repeats: int = 11,
    threads: int | None = 1,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Complexity:
    """All three figures; time as in `milliseconds`."""
    return Complexity(
        parameters(branches, classes),
        gflops(branches, classes, frames, bodies),
        milliseconds(branches, classes, frames, bodies, clips, repeats, threads, autocast),
    )


def parameters(branches: Branches, classes: int) -> int:
    """Trainable numbers of the encoders without their projection heads, and of one linear classifier per branch."""
    body = sum(p.numel() for e in branches.values() for name, p in e.named_parameters() if not name.startswith("head."))
    return body + sum((e.shape.features + 1) * classes for e in branches.values())


@torch.no_grad()
def gflops(branches: Branches, classes: int, frames: int = 50, bodies: int = 2) -> float:
    """GFLOP per clip, counting matrix products and convolutions (2 x multiply-accumulate) of the plain formula.

    Counted on a float64 copy: the encoder's short cuts, dense products and the graph before the convolution, are for float32 and bfloat16
    only, so the figure does not depend on which path is faster somewhere. All bodies count as present.
    """
    total = 0
    for encoder in branches.values():
        plain = copy.deepcopy(encoder).to("cpu", torch.float64).eval()
        clip = torch.randn(1, encoder.in_channels, frames, len(encoder.skeleton), bodies, dtype=torch.float64)
        with FlopCounterMode(display=False) as counter:
            plain.feature(clip)
        total += counter.get_total_flops() + 2 * encoder.shape.features * classes
    return total / 1e9


@torch.no_grad()
def milliseconds(
    branches: Branches,
    classes: int,
    frames: int = 50,
    bodies: int = 2,
    clips: int = 1,
    repeats: int = 11,
    threads: int | None = 1,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> float:
    """Time per clip from normalised coordinates to logits (modalities, encoders, classifiers), on the device of `branches`.

    Median of `repeats` runs over a batch of `clips`, after one that does not count; `threads` CPU threads (None: as many as
    PyTorch has now), restored afterwards.
    """
    first = next(iter(branches.values()))
    device = next(first.parameters()).device
    rng = torch.Generator().manual_seed(0)
    joints = torch.randn(clips, 3, frames, len(first.skeleton), bodies, generator=rng).to(device)
    lengths = torch.full((clips,), frames, device=device)
    heads = {name: torch.zeros(e.shape.features, classes, device=device) for name, e in branches.items()}

    def run() -> Tensor:
        inputs = modalities.compute(joints, lengths, first.skeleton, branches.modalities)
        return torch.stack([feature.float() @ heads[name] for name, feature in branches.features(inputs).items()]).sum(0)

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with evaluating(branches), autocast():
            return 1000 / clips * statistics.median([_seconds(run, device) for _ in range(repeats + 1)][1:] or [math.nan])
    finally:
        torch.set_num_threads(before)


def _seconds(run: Callable[[], Tensor], device: torch.device) -> float:
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
