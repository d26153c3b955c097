"""Live frames on one CPU thread: how long after its last frame a window has a class, by encoders as they train, frozen, and ONNX.

The published size, as in `benchmarks.inference`, with 60 classes: 30 frames a second of one or two people, windows of 75 frames, a
prediction every 5. What is timed is `Stream.push` where it predicts: window, preparation, modalities, encoders and classifiers. All ways
take turns; the numbers are random and say nothing. Every push without a prediction is timed, too, and told in the note.

    python -m benchmarks streaming
"""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks import Row, sized
from benchmarks.inference import LIBRARIES, MODELS
from skelmm_core import onnx_file, predicting, settings
from skelmm_core.encoder import Branches, Encoder, EncoderShape, initialise
from skelmm_core.predicting import Model
from skelmm_core.skeletons import NTU25
from skelmm_core.streaming import Stream

FULL = dict(hidden=16, features=256, rounds=60)
TOY = dict(hidden=4, features=16, rounds=3)
WINDOW, HOP, RATE = 75, 5, 30.0
CLASSES = tuple(f"class {i}" for i in range(60))


def ways(names: tuple[str, ...], size: dict, with_onnx: bool) -> dict[str, Model]:
    """Way -> what predicts, all of the same random encoders and classifiers."""
    s = settings.resolve("distill", "described", bodies="present", hidden=size["hidden"], features=size["features"])
    branches = Branches({name: Encoder(NTU25, EncoderShape(s.hidden, s.features, bodies=s.bodies)) for name in names}).eval()
    rng = torch.Generator().manual_seed(0)
    initialise(branches, "scaled", rng)
    heads = 0.02 * torch.randn(len(names), s.features, len(CLASSES), generator=rng), torch.zeros(len(names), 1, len(CLASSES))
    made = {
        "eager": Model(lambda x: predicting.eager(x, branches, heads, 2, s), NTU25, CLASSES, 2, s, {}),
        "frozen": predicting.of_branches(branches, heads, CLASSES, 2, s),
    }
    if with_onnx:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "model.onnx"
            onnx_file.save(path, branches, s, "benchmark", classifiers=heads, classes=CLASSES)
            made["onnx"] = predicting.load(path, threads=1)
    return made


def measure(toy: bool = False, rounds: int | None = None) -> list[Row]:
    size, with_onnx = sized(TOY if toy else FULL, rounds), not toy and all(map(importlib.util.find_spec, LIBRARIES))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        made = {model: ways(names, size, with_onnx) for model, names in MODELS.items()}
        return [row for people in (1, 2) for model, of in made.items() for row in _rows(model, of, people, size["rounds"])]
    finally:
        torch.set_num_threads(threads)


def _rows(model: str, made: dict[str, Model], people: int, predictions: int) -> list[Row]:
    streams = {way: Stream(of, WINDOW, HOP, RATE) for way, of in made.items()}
    with_class: dict[str, list[float]] = {way: [] for way in made}
    without: list[float] = []
    draw = np.random.default_rng(0)
    for _ in range(WINDOW + HOP * (predictions + 1)):
        frame = draw.standard_normal((people, len(NTU25), 3), np.float32)
        for way, stream in streams.items():
            began = time.perf_counter()
            found = stream.push(frame)
            took = time.perf_counter() - began
            (without if found is None else with_class[way]).append(took)
    times = {way: seconds[2:] for way, seconds in with_class.items()}  # the first two don't count
    median = {way: statistics.median(seconds) for way, seconds in times.items()}
    told = ", ".join(f"{way} {1000 * median[way]:.2f} ({1000 * np.percentile(seconds, 95):.2f})" for way, seconds in times.items())
    note = (
        f"ms a prediction of {WINDOW} frames, one thread, median (95th percentile): {told}; a frame without prediction "
        f"{1000 * statistics.median(without):.3f}; {1 / (median['frozen'] / HOP + statistics.median(without)):.0f} frames a second, frozen"
    )
    who = f"stream, {model}, {people} bod{'y' if people == 1 else 'ies'}"
    found, kinds = [], list(times)
    for slow, fast in zip(kinds, kinds[1:], strict=False):
        ratio = statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True))
        found.append(Row(f"{who}, {slow} to {fast}", median[slow], median[fast], ratio, note="" if found else note))
    return found
