"""Whole training steps at the published size: the plain way (`benchmarks/plain`) against ours.

Six modalities, 16 base channels, 50 frames, K = 32768. The clips are random numbers of NTU's shape, 18 % with a second body, or all with
one, as in UTD-MHAD: they cost what real ones cost and say nothing else. A step is all of it: augmentation (in numpy, clip by clip, in a
data loader, there; batched here), modalities, encoders, losses, gradients, optimiser, momentum, queues. Both ways take turns in one
process, with as many threads; peak memory is that of a process of its own.

    python -m benchmarks steps
    python -m benchmarks.steps --memory fast --stage 2       one process: peak memory beyond what is there after building
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks import Row, plain, sized, watched
from skelmm_core import batches, manifest, modalities, settings
from skelmm_core.experiment import choose_device, make_fabric
from skelmm_core.skeletons import NTU25
from skelmm_core.stages.contrast import Contrast
from skelmm_core.stages.distill import Distillation
from skelmm_core.stages.loop import Loop

FULL = dict(batch=32, queue=32768, hidden=16, features=256, rounds=3)
TOY = dict(batch=4, queue=64, hidden=4, features=16, rounds=1)
TWO = 0.18  # share of clips with a second body
GOALS = {TWO: 4.0, 0.0: 2.5}  # times, on two cores
MEMORY_GOAL = 4.0
CALLS = {1: {"exchange": "stage1"}, 2: {"exchange": "ekem+ikem"}, 3: {}}


def recordings(count: int, two: float, seed: int = 0) -> list[np.ndarray]:
    """(M, 75, 25, 3) each, `two` of them with a second body."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((1 + (i < round(two * count)), 75, 25, 3), np.float32) for i in range(count)]


def plain_steps(stage: int, size: dict, two: float) -> Callable[[], float]:
    """A function that takes one step and gives its loss."""
    sizes = {name: size[name] for name in ("hidden", "features", "queue")}
    trainer = plain.build(stage, preset="described", device=choose_device("auto"), **sizes)
    loader = trainer.loader(recordings(size["batch"], two), size["batch"])

    def endless() -> Iterator:
        while True:
            yield from loader

    source, bodies = endless(), 2 if two else 1

    def step() -> float:
        clips, frames = next(source)
        return float(sum(trainer.step([c[..., :bodies].contiguous() for c in clips], frames).values()))

    return step


def fast_steps(stage: int, size: dict, two: float, precision: str = "auto") -> Callable[[], float]:
    sizes = {k: size[k] for k in ("batch", "queue", "hidden", "features", "frames") if k in size}
    names = ",".join(modalities.NAMES[: size.get("modalities", 6)])
    s = settings.resolve("distill", "described", bodies="present", precision=precision, modalities=names, **sizes)
    fabric = make_fabric("auto", s.precision)
    teacher = Contrast(s, NTU25)
    model = Distillation(s, NTU25, teacher.query) if stage == 3 else teacher
    bodies = 2 if two else 1
    joints = np.stack([plain.prepare(clip, s.frames)[..., :bodies] for clip in recordings(size["batch"], two)])
    count = len(joints)
    data = batches.Batches(
        torch.from_numpy(joints).to(fabric.device), torch.full((count,), 75, device=fabric.device),
        torch.zeros(count, dtype=torch.long, device=fabric.device), torch.arange(count, device=fabric.device), NTU25,
    )  # fmt: skip
    loop = Loop(fabric, model, s, data, Path(tempfile.gettempdir()), f"stage {stage}", epochs=1, call=CALLS[stage])
    model.to(fabric.device)
    trained = [p for p in model.parameters() if p.requires_grad]
    wrapped, optimiser = fabric.setup(
        model, torch.optim.SGD(trained, lr=1e-3, momentum=s.sgd_momentum, weight_decay=s.weight_decay, foreach=True)
    )
    wrapped.train()
    number = iter(range(1 << 30))

    def step() -> float:
        done = loop.step(wrapped, optimiser, torch.arange(count), 0, next(number))
        return float(done.losses.sum())  # waits for the device

    return step


WAYS = {"plain": plain_steps, "fast": fast_steps}


def measure(toy: bool = False, rounds: int | None = None) -> list[Row]:
    size = sized(TOY if toy else FULL, rounds)
    promised = not toy and manifest.cores() >= 2 and not torch.cuda.is_available()
    rows = []
    for two in (TWO, 0.0):
        for stage in (1, 2, 3):
            ways = [make(stage, size, two) for make in WAYS.values()]
            for step in ways:
                step()  # to warm up
            pairs = [[_seconds(step) for step in ways] for _ in range(size["rounds"])]
            slow, fast = (statistics.median(column) for column in zip(*pairs, strict=True))
            name = f"step, stage {stage}, N={size['batch']}, {'18 % two bodies' if two else 'one body'}"
            ratio = statistics.median(a / b for a, b in pairs)
            rows.append(Row(name, slow, fast, ratio, GOALS[two] if promised else None))
    used = {way: _own_process(way, 2, toy) for way in WAYS}
    note = f"MiB beyond weights and queues: plain {used['plain']:.0f}, fast {used['fast']:.0f} (the columns are GiB)"
    gib = [used[way] / 1024 for way in ("plain", "fast")]
    rows.append(Row(f"peak memory, stage 2, N={size['batch']}", *gib, gib[0] / gib[1], MEMORY_GOAL if promised else None, note))
    return rows


def memory(way: str, stage: int, size: dict, steps: int = 2) -> float:
    """MiB that this process takes at most while it makes some steps, beyond what it has after building."""
    step = WAYS[way](stage, size, TWO)
    with watched() as most:
        for _ in range(steps):
            step()
    return most()


def _own_process(way: str, stage: int, toy: bool) -> float:
    words = [sys.executable, "-m", "benchmarks.steps", "--memory", way, "--stage", str(stage)] + ["--toy"] * toy
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=Path(__file__).resolve().parents[1])
    return float(done.stdout.split()[-1])


def _seconds(step: Callable[[], float]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", choices=WAYS, required=True, help="which way")
    parser.add_argument("--stage", type=int, choices=(1, 2, 3), default=2)
    parser.add_argument("--toy", action="store_true", help="toy size")
    args = parser.parse_args()
    print(memory(args.memory, args.stage, TOY if args.toy else FULL))
