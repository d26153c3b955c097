"""One clip on one CPU thread: the student of three modalities against its teacher of six, by the encoders as they train, frozen, and ONNX.

The published size: 16 base channels, 50 frames, 25 joints. A clip comes as raw coordinates, 75 frames of one or two people, and leaves as
features: preparation and modalities count. All ways take turns, so that what else the machine does hits them alike; the numbers are random
and say nothing. The promise is that the student as it is exported takes half of what the teacher takes as it was trained. Of one kind, six
encoders take twice what three of their size do, since nearly all of the time is spent in encoders.

    python -m benchmarks inference
"""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import Row, sized
from skelmm_core import batches, frozen, modalities, onnx_file, settings
from skelmm_core.encoder import Branches, Encoder, EncoderShape, initialise
from skelmm_core.skeletons import NTU25

FULL = dict(hidden=16, features=256, rounds=60)
TOY = dict(hidden=4, features=16, rounds=3)
MODELS = {"teacher": modalities.NAMES, "student": ("joint", "motion", "bone")}
STUDENT_GOAL = 2.0  # times as fast as its teacher
ONNX_GOAL = 1.0  # times as fast as the frozen encoders
LIBRARIES = ("onnx", "onnxruntime", "onnxscript")
Way = Callable[[Tensor], object]  # takes joints (M, T, V, 3)


def eager(branches: Branches, s: settings.Pretrain) -> Way:
    """As training and evaluation take a clip."""

    def run(joints: Tensor) -> dict[str, Tensor]:
        m, t, v, _ = joints.shape
        start, length, bodies = torch.tensor([0]), torch.tensor([t]), torch.tensor([m])
        x, length = batches.prepared(joints.view(m * t, v, 3), start, length, bodies, NTU25, s.frames, m, s.view, s.smooth, s.trim)
        return branches.features(modalities.compute(x, length, NTU25, branches.modalities))

    return run


def onnx(branches: Branches, s: settings.Pretrain) -> Way:
    with tempfile.TemporaryDirectory() as scratch:
        onnx_file.save(Path(scratch) / "model.onnx", branches, s, "benchmark")
        session, _ = onnx_file.load(Path(scratch) / "model.onnx", threads=1)
    return lambda joints: session.run(None, {"joints": joints[None].numpy()})


def ways(size: dict, with_onnx: bool) -> dict[tuple[str, str], Way]:
    """(model, way) -> what takes a clip."""
    s = settings.resolve("pretrain", "described", bodies="present", hidden=size["hidden"], features=size["features"])
    made = {}
    for model, names in MODELS.items():
        branches = Branches({name: Encoder(NTU25, EncoderShape(s.hidden, s.features, bodies=s.bodies)) for name in names}).eval()
        initialise(branches, "scaled", torch.Generator().manual_seed(0))
        made[model, "eager"], made[model, "frozen"] = eager(branches, s), frozen.freeze(branches, s)
        if with_onnx:
            made[model, "onnx"] = onnx(branches, s)
    return made


def measure(toy: bool = False, rounds: int | None = None) -> list[Row]:
    size, with_onnx = sized(TOY if toy else FULL, rounds), not toy and all(map(importlib.util.find_spec, LIBRARIES))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        made = ways(size, with_onnx)
        return [row for people in (1, 2) for row in _rows(_times(made, people, size["rounds"]), people, toy)]
    finally:
        torch.set_num_threads(threads)


@torch.inference_mode()
def _times(made: dict[tuple[str, str], Way], people: int, rounds: int) -> dict[tuple[str, str], list[float]]:
    """Seconds, round by round, of each way in turn, after two rounds that don't count."""
    joints = torch.randn(people, 75, len(NTU25), 3, generator=torch.Generator().manual_seed(0))
    times: dict[tuple[str, str], list[float]] = {key: [] for key in made}
    for _ in range(rounds + 2):
        for key, run in made.items():
            began = time.perf_counter()
            run(joints)
            times[key].append(time.perf_counter() - began)
    return {key: seconds[2:] for key, seconds in times.items()}


def _rows(times: dict[tuple[str, str], list[float]], people: int, toy: bool) -> list[Row]:
    clip = "1 body" if people == 1 else f"{people} bodies"
    median = {key: statistics.median(seconds) for key, seconds in times.items()}

    def row(name: str, slow: tuple[str, str], fast: tuple[str, str], goal: float | None = None, note: str = "") -> Row:
        ratio = statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True))
        return Row(f"{name}, {clip}", median[slow], median[fast], ratio, None if toy else goal, note)

    kinds = [kind for model, kind in times if model == "teacher"]
    all_ms = ", ".join(f"{' '.join(key)} {1000 * median[key]:.2f} ({1000 * min(seconds):.2f})" for key, seconds in times.items())
    rows = [row(f"teacher eager to student {kinds[-1]}", ("teacher", "eager"), ("student", kinds[-1]), STUDENT_GOAL,
                f"ms a clip of {clip}, one thread, median (least): {all_ms}")]  # fmt: skip
    rows += [row(f"teacher {kind} to student {kind}", ("teacher", kind), ("student", kind)) for kind in kinds]
    for model in MODELS:
        rows.append(row(f"{model}, eager to frozen", (model, "eager"), (model, "frozen")))
        if "onnx" in kinds:
            rows.append(row(f"{model}, frozen to onnx", (model, "frozen"), (model, "onnx"), ONNX_GOAL))
    return rows
