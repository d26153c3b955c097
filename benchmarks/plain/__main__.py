"""Seconds per step of the plain way, on random numbers of NTU's shape or on a clips file.

python -m benchmarks.plain --batch 8 --queue 1024
python -m benchmarks.plain --clips ntu60.clips --stages 2
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.plain import PRESETS, build


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.plain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", help="clips file with NTU's 25 joints; without one, random numbers, 18 %% with a second body")
    parser.add_argument("--stages", type=int, nargs="+", choices=(1, 2, 3), default=[1, 2, 3], help="which")
    parser.add_argument("--preset", choices=PRESETS, default="described", help="recipe")
    parser.add_argument("--batch", type=int, default=128, help="clips per step")
    parser.add_argument("--queue", type=int, default=32768, help="K")
    parser.add_argument("--hidden", type=int, default=16, help="base channels of the encoder")
    parser.add_argument("--steps", type=int, default=3, help="measured steps per stage, after one to warm up")
    parser.add_argument("--workers", type=int, default=0, help="processes that augment")
    parser.add_argument("--device", default="cpu", help="cpu, cuda")
    args = parser.parse_args(words)
    recorded = _recorded(args.clips, args.batch * (args.steps + 1))
    for stage in args.stages:
        trainer = build(stage, hidden=args.hidden, queue=args.queue, preset=args.preset, device=args.device)
        times, began = [], time.perf_counter()
        for clips, frames in trainer.loader(recorded, args.batch, args.workers):
            total = float(sum(trainer.step(clips, frames).values()))  # waits for the device
            times.append(time.perf_counter() - began)
            began = time.perf_counter()
        print(f"stage {stage}: {statistics.median(times[1:]):.3f} s per step, loss {total:.4f}", flush=True)


def _recorded(path: str | None, count: int) -> list[np.ndarray]:
    """`count` recordings (M, L, V, 3)."""
    if path is None:
        rng = np.random.default_rng(0)
        return [rng.standard_normal((1 + (i % 50 < 9), 75, 25, 3), np.float32) for i in range(count)]
    from skelmm_core.clips import open_clips  # reads the file, computes nothing

    file = open_clips(path)
    return [file.joints_of(i % len(file)) for i in range(count)]


if __name__ == "__main__":
    main()
