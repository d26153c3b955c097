"""Seconds and memory per training step at the paper's setting, and the time of a whole NTU-60 run that follows from them.

    python benchmarks/step_time.py --batch 128 --steps 3

The clips are random numbers of NTU-60's shape (50 frames, 25 joints, two bodies, the second empty in 82 % of them): they cost what
real ones cost and say nothing else. Writes benchmarks/results/step_time.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

import torch

from skelmm_core import manifest, modalities, settings
from skelmm_core.batches import KEY, QUERY, generator
from skelmm_core.experiment import make_fabric
from skelmm_core.skeletons import NTU25
from skelmm_core.stages.contrast import Contrast
from skelmm_core.stages.distill import Distillation

RESULTS = Path(__file__).parent / "results" / "step_time.json"
TRAIN = {"cross-subject": 40_091, "cross-view": 37_646}  # NTU-60 training clips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="described", help="recipe")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    parser.add_argument("--batch", type=int, default=128, help="clips per step")
    parser.add_argument("--bodies", choices=("all", "present"), help="whether empty second bodies are encoded; the preset's if not given")
    parser.add_argument("--steps", type=int, default=3, help="measured steps per stage, after one to warm up")
    args = parser.parse_args()
    code = manifest.git() or {}
    s = settings.resolve("distill", args.preset, batch=args.batch, bodies=args.bodies)
    fabric = make_fabric(args.device, s.precision)
    rng = torch.Generator().manual_seed(0)
    joints = torch.randn(args.batch, 3, s.frames, 25, 2, generator=rng)
    joints[torch.arange(args.batch) >= round(0.18 * args.batch), ..., 1] = 0
    joints, frames = joints.to(fabric.device), torch.full((args.batch,), 75, device=fabric.device)
    augment = s.augmentation(NTU25)
    teacher = Contrast(s, NTU25)
    calls = {"pretrain": {"exchange": "stage1"}, "exchange": {"exchange": s.exchange}, "distill": {}}
    rows = []
    for stage, call in calls.items():
        model = (Distillation(s, NTU25, teacher.query) if stage == "distill" else teacher).to(fabric.device).train()
        optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3, momentum=s.sgd_momentum)
        times = []
        for number in range(args.steps + 1):
            began = time.perf_counter()
            views = []
            for stream in (QUERY, KEY):
                changed, true = augment(joints, frames, generator(fabric.device, 0, number, stream))
                views.append(modalities.compute(changed, true, NTU25, s.names))
            with fabric.autocast():
                step = model(*views, **call)
            optimiser.zero_grad()
            step.losses.sum().backward()
            optimiser.step()
            model.enqueue(step.keys)
            if fabric.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
        memory = (
            torch.cuda.max_memory_allocated() if fabric.device.type == "cuda" else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        )
        rows.append(
            {"stage": stage, "seconds_per_step": statistics.median(times[1:]), "peak_memory_gib_so_far": memory / 2**30, "times": times[1:]}
        )
        print(f"{stage:9s} {rows[-1]['seconds_per_step']:.2f} s per step, peak memory {memory / 2**30:.1f} GiB", flush=True)
    seconds = {row["stage"]: row["seconds_per_step"] for row in rows}
    alone = s.exchange_epoch
    total = alone * seconds["pretrain"] + (s.epochs - alone) * seconds["exchange"] + s.student_epochs * seconds["distill"]
    hours = {name: total * (clips // args.batch) / 3600 for name, clips in TRAIN.items()}
    print("whole run of teacher and student, projected: " + ", ".join(f"NTU-60 {name} {h:.1f} h" for name, h in hours.items()))
    result = {
        "rows": rows, "projected_hours": hours, "batch": args.batch, "queue": s.queue, "preset": args.preset, "bodies": s.bodies,
        "precision": s.precision,
        "command": manifest.command("python", "benchmarks/step_time.py"), **code, "hardware": manifest.hardware(),
        "date": datetime.now(UTC).date().isoformat(),
    }  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    RESULTS.write_text(json.dumps([r for r in before if r["command"] != result["command"]] + [result], indent=1) + "\n")


if __name__ == "__main__":
    main()
