"""Preparations and readouts behind the recipe `best`, on UTD-MHAD's training subjects; writes benchmarks/results/held_out.json.

    python benchmarks/held_out.py $SKELMM_SHARED/data/utd_mhad_skeleton.tar.xz --seeds 0,1,2

The four training subjects (1, 3, 5, 7) are held out in turn: classifiers learn from three of them and are tested on the fourth; a figure is
the percent of all 431 clips. No clip of a test subject is looked at. --stage untrained compares preparations and readouts in minutes, since
encoders at their random start show most of what those do; --stage pretrain and exchange train four times for each candidate and seed, which
takes hours. Rows of candidates that are not measured this time (--only) are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from utd_mhad import prepared_nearest

RESULTS = Path(__file__).parent / "results" / "held_out.json"
SUBJECTS = (1, 3, 5, 7)
CANDIDATES: dict[str, dict[str, Any]] = {  # differences from the preset small
    "small": {},
    "trim=0.05": {"trim": 0.05},
    "trim=0.1": {"trim": 0.1},
    "trim=0.15": {"trim": 0.15},
    "trim=0.1 smooth=0": {"trim": 0.1, "smooth": 0.0},
    "trim=0.1 smooth=2": {"trim": 0.1, "smooth": 2.0},
    "trim=0.1 segments=4": {"trim": 0.1, "segments": 4},
    "trim=0.1 segments=4 whiten=48": {"trim": 0.1, "segments": 4, "whiten": 48},
    "trim=0.1 segments=4 probe_views=8": {"trim": 0.1, "segments": 4, "probe_views": 8},
    "trim=0.1 segments=4 probe_views=8 warp=0.3 limbs=0.2": {"trim": 0.1, "segments": 4, "probe_views": 8, "warp": 0.3, "limbs": 0.2},
}
FIGURES = ("linear probe, fused late", "kNN (k = 1)", "1-NN of the prepared coordinates")


def table(rows: list[dict[str, Any]]) -> str:
    """The results as a Markdown table, mean ± standard deviation over seeds, in percent; coordinates know no seed."""
    lines = ["| preset `small` with | " + " | ".join(FIGURES) + " |", "|---|---|---|---|"]
    for row in rows:
        means = [f"{row['mean'][f]:.1f} ± {row['std'][f]:.1f}" for f in FIGURES[:2]] + [f"{row['mean'][FIGURES[2]]:.1f}"]
        lines.append(f"| {'nothing else' if row['name'] == 'small' else row['name'].replace(' ', ', ')} | " + " | ".join(means) + " |")
    return "\n".join(lines)


def measure(job: tuple[Path, Path, str, str, int]) -> list[float]:
    """The figures of one candidate and seed, in percent of the clips of all four subjects."""
    path, out, name, stage, seed = job
    import torch

    from skelmm_core.evaluation.knn import knn
    from skelmm_core.evaluation.linear import linear_probe
    from skelmm_core.evaluation.whitening import for_neighbours
    from skelmm_core.experiment import Experiment

    torch.set_num_threads(1)
    right, clips = [0.0] * len(FIGURES), 0
    for held in SUBJECTS:
        others = tuple(s for s in SUBJECTS if s != held)
        exp = Experiment(path, out, "small", seed=seed, protocol=f"subject in {others} / subject == {held}", **CANDIDATES[name])
        train, test = exp.features(exp.untrained() if stage == "untrained" else getattr(exp, stage)().model.query)
        labels, count = (exp.train.labels.cpu(), exp.test.labels.cpu()), len(exp.split.test)
        late = linear_probe(train, labels[0], test, labels[1], len(exp.clips.class_names), exp.settings, "late", standardise=True)
        near = knn(*for_neighbours(train, test, exp.settings), *labels, len(exp.clips.class_names)).accuracy
        found = late.accuracy, near, prepared_nearest(exp)
        right, clips = [r + f * count for r, f in zip(right, found, strict=True)], clips + count
    print(f"{name}, seed {seed}: " + ", ".join(f"{r / clips:.1f}" for r in right), flush=True)
    return [r / clips for r in right]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the UTD-MHAD archive or folder of .mat files")
    parser.add_argument("--out", type=Path, default=Path("outputs/held_out"), help="folder for clips and checkpoints")
    parser.add_argument("--stage", default="untrained", choices=("untrained", "pretrain", "exchange"), help="encoders that are compared")
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated")
    parser.add_argument("--only", default="", metavar="TEXT", help="candidates whose name holds this text; rows of others are kept")
    args = parser.parse_args()

    from skelmm_core import clips, manifest, sources

    code = manifest.git() or {}  # before anything runs: the commit that is measured
    path = args.out / "utd_mhad.clips"
    if not path.exists():
        print(clips.write(path, sources.read(args.source)))
    seeds = [int(s) for s in args.seeds.split(",")]
    names = [name for name in CANDIDATES if args.only in name]
    jobs = [(path, args.out, name, args.stage, seed) for name in names for seed in seeds]
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        found = dict(zip([job[2::2] for job in jobs], pool.map(measure, jobs), strict=True))
    shared = {"stage": args.stage, "seeds": seeds, "command": manifest.command("python", "benchmarks/held_out.py"), **code,
              "hardware": manifest.hardware(), "date": datetime.now(UTC).date().isoformat()}  # fmt: skip
    rows = []
    for name in names:
        values = dict(zip(FIGURES, zip(*(found[name, seed] for seed in seeds), strict=True), strict=True))
        spread = {f: statistics.stdev(v) if len(v) > 1 else 0.0 for f, v in values.items()}
        rows.append({"name": name, "mean": {f: statistics.mean(v) for f, v in values.items()}, "std": spread, "values": values, **shared})
    results = RESULTS if args.stage == "untrained" and len(seeds) > 2 else args.out / "trial.json"
    before = json.loads(results.read_text()) if results.exists() else []
    rows += [row for row in before if row["name"] in CANDIDATES and row["name"] not in names]
    rows.sort(key=lambda row: list(CANDIDATES).index(row["name"]))
    results.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{results}\n{table(rows)}")


if __name__ == "__main__":
    main()
