"""Preparations and readouts behind the recipe `best`, on UTD-MHAD's training subjects; writes benchmarks/results/held_out.json.

    python benchmarks/held_out.py $SKELMM_SHARED/data/utd_mhad_skeleton.tar.xz --seeds 0,1,2
    python benchmarks/held_out.py $SKELMM_SHARED/data/utd_mhad_skeleton.tar.xz --seeds 0,1,2 --read untrained,teacher,student

The four training subjects (1, 3, 5, 7) are held out in turn: classifiers learn from three of them and are tested on the fourth; a figure is
the percent of all 431 clips. No clip of a test subject is looked at. --stage untrained compares preparations and readouts in minutes, since
encoders at their random start show most of what those do; --stage pretrain and exchange train four times for each candidate and seed, which
takes hours. Rows of candidates that are not measured this time (--only) are kept.

--read compares ways to read the encoders of `best` as they are: those at random start, and teacher and student that benchmarks/utd_mhad.py
has trained in --out (or trains there). **Those were trained on the clips of all four people, without labels**: held out is a person
for classifiers and galleries alone. Rows go to benchmarks/results/held_out_readings.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utd_mhad import prepared_nearest

if TYPE_CHECKING:
    from torch import Tensor

RESULTS = Path(__file__).parent / "results" / "held_out.json"
READINGS_RESULTS = RESULTS.with_name("held_out_readings.json")
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
READINGS: dict[str, dict[str, Any]] = {  # differences from the preset best, none of which training knows of
    "best": {},
    "whiten=0": {"whiten": 0},
    "whiten=48 whiten_shrink=0": {"whiten": 48, "whiten_shrink": 0.0},
    "whiten=96 whiten_shrink=0": {"whiten": 96, "whiten_shrink": 0.0},
    "whiten=192 whiten_shrink=0": {"whiten": 192, "whiten_shrink": 0.0},
    "whiten=192": {"whiten": 192},
    "whiten_shrink=0.001": {"whiten_shrink": 0.001},
    "whiten_shrink=0.005": {"whiten_shrink": 0.005},
    "whiten_shrink=0.01": {"whiten_shrink": 0.01},
    "regions=false": {"regions": False},
    "probe_ridge=1e-8": {"probe_ridge": 1e-8},
    "probe_ridge=1e-6": {"probe_ridge": 1e-6},
    "probe_ridge=1e-5": {"probe_ridge": 1e-5},
    "probe_views=8": {"probe_views": 8},
    "probe_views=32": {"probe_views": 32},
    "levels=2": {"levels": 2},
    "levels=1": {"levels": 1},
    "levels=1 probe_ridge=1e-6": {"levels": 1, "probe_ridge": 1e-6},
}
ENCODERS = ("untrained", "teacher", "student")
READ = ("linear probe, fused late", "streams alone, mean", "kNN (k = 1)")
FIGURES = ("linear probe, fused late", "kNN (k = 1)", "1-NN of the prepared coordinates")


def table(rows: list[dict[str, Any]]) -> str:
    """The results as a Markdown table, mean ± standard deviation over seeds, in percent; coordinates know no seed."""
    lines = ["| preset `small` with | " + " | ".join(FIGURES) + " |", "|---|---|---|---|"]
    for row in rows:
        means = [f"{row['mean'][f]:.1f} ± {row['std'][f]:.1f}" for f in FIGURES[:2]] + [f"{row['mean'][FIGURES[2]]:.1f}"]
        lines.append(f"| {'nothing else' if row['name'] == 'small' else row['name'].replace(' ', ', ')} | " + " | ".join(means) + " |")
    return "\n".join(lines)


def readings_table(rows: list[dict[str, Any]]) -> str:
    """The results of --read as a Markdown table, mean ± standard deviation over seeds, in percent."""
    lines = ["| encoders | preset `best` with | " + " | ".join(READ) + " |", "|---|---|---|---|---|"]
    for row in rows:
        means = [f"{row['mean'][f]:.1f} ± {row['std'][f]:.1f}" for f in READ]
        changes = "nothing else" if row["name"] == "best" else row["name"].replace(" ", ", ")
        lines.append(f"| {row['encoders']} | {changes} | " + " | ".join(means) + " |")
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


def read(job: tuple[Path, Path, tuple[str, ...], str, int]) -> dict[str, list[float]]:
    """The figures of every reading of one kind of encoders and seed, in percent of the clips of all four subjects."""
    path, out, names, encoders, seed = job
    import torch

    from skelmm_core.experiment import Experiment

    torch.set_num_threads(1)
    exp = Experiment(path, out, "best", seed=seed)
    branches = exp.untrained() if encoders == "untrained" else trained(exp, encoders)
    labels, people = exp.train.labels.cpu(), torch.as_tensor(exp.clips.subjects[exp.split.train])
    features: dict[Any, Any] = {}
    linear: dict[Any, list[float]] = {}  # what a reading does not change is computed once
    near: dict[Any, list[float]] = {}
    found = {}
    for name in names:
        reading = exp.again(**READINGS[name])
        s = reading.settings
        seen, by_cosine = (s.readout, s.probe_views), (s.readout, s.whiten, s.whiten_shrink)
        by_ridge = (seen, s.probe_ridge)
        if seen not in features:
            features[seen] = reading.labelled(branches)
        if by_ridge not in linear:
            linear[by_ridge] = in_turn(probed, features[seen], labels, people, s)
        if by_cosine not in near:
            near[by_cosine] = in_turn(nearest, features[seen], labels, people, s)
        found[name] = linear[by_ridge] + near[by_cosine]
        print(f"{encoders}, {name}, seed {seed}: " + ", ".join(f"{value:.1f}" for value in found[name]), flush=True)
    return found


def in_turn(measured: Callable[..., list[float]], features: Any, labels: Tensor, people: Tensor, s: Any) -> list[float]:
    """Percent of all clips that `measured` gives, each person's clips tested, as they are, by what the others' say, views with them."""
    from skelmm_core.evaluation.views import picked

    totals = [0.0] * len(READ)
    for person in SUBJECTS:
        fit, apart = (people != person).nonzero().squeeze(1), (people == person).nonzero().squeeze(1)
        query = {stream: f[apart] for stream, f in features.items()}
        percent = measured(picked(features, fit), labels[fit], query, labels[apart], int(labels.max()) + 1, s)
        totals = [total + value * len(apart) / len(labels) for total, value in zip(totals, percent, strict=False)]
    return totals[: len(percent)]


def probed(train: Any, train_labels: Tensor, test: Any, test_labels: Tensor, classes: int, s: Any) -> list[float]:
    from skelmm_core.evaluation.linear import linear_probe

    late = linear_probe(train, train_labels, test, test_labels, classes, s, "late", s.probe_standardise)
    return [late.accuracy, statistics.mean(late.streams.values())]


def nearest(train: Any, train_labels: Tensor, test: Any, test_labels: Tensor, classes: int, s: Any) -> list[float]:
    from skelmm_core.evaluation.knn import knn
    from skelmm_core.evaluation.whitening import for_neighbours

    return [knn(*for_neighbours(train, test, s), train_labels, test_labels, classes, s.neighbours).accuracy]


def trained(exp: Any, encoders: str) -> Any:
    """Teacher or student of an experiment, found in its folder, or trained there now; what other code has trained is refused."""
    stage = exp.exchange() if encoders == "teacher" else exp.distill()
    if exp.by_other_code:
        sys.exit(f"trained by other code than today's: {', '.join(map(str, exp.by_other_code))}; delete them, or name another --out")
    return stage.model.query if encoders == "teacher" else stage.model.students


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the UTD-MHAD archive or folder of .mat files")
    parser.add_argument("--out", type=Path, default=Path("outputs/held_out"), help="folder for clips and checkpoints")
    parser.add_argument("--stage", default="untrained", choices=("untrained", "pretrain", "exchange"), help="encoders that are compared")
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="candidates or seeds at a time, one core each")
    parser.add_argument(
        "--only", default="", metavar="TEXTS", help="candidates whose name holds one of these texts; rows of others are kept"
    )
    parser.add_argument("--read", default="", metavar="ENCODERS", help=f"compare ways to read the encoders of best: {', '.join(ENCODERS)}")
    args = parser.parse_args()

    from skelmm_core import clips, manifest, sources
    from skelmm_core.stopping import end_with_parent

    code = manifest.git() or {}  # before anything runs: the commit that is measured
    path = args.out / "utd_mhad.clips"
    if not path.exists():
        print(clips.write(path, sources.read(args.source)))
    seeds = [int(s) for s in args.seeds.split(",")]
    shared = {"seeds": seeds, "command": manifest.command("python", "benchmarks/held_out.py"), **code,
              "hardware": manifest.hardware(), "date": datetime.now(UTC).date().isoformat()}  # fmt: skip
    if args.read:
        compared(args, path, seeds, shared)
        return
    names = [name for name in CANDIDATES if any(text in name for text in args.only.split(","))]
    jobs = [(path, args.out, name, args.stage, seed) for name in names for seed in seeds]
    with ProcessPoolExecutor(args.jobs, get_context("spawn"), end_with_parent) as pool:
        found = dict(zip([job[2::2] for job in jobs], pool.map(measure, jobs), strict=True))
    rows = [row_of(name, FIGURES, [found[name, seed] for seed in seeds], stage=args.stage, **shared) for name in names]
    results = RESULTS if args.stage == "untrained" and len(seeds) > 2 else args.out / "trial.json"
    before = json.loads(results.read_text()) if results.exists() else []
    rows += [row for row in before if row["name"] in CANDIDATES and row["name"] not in names]
    rows.sort(key=lambda row: list(CANDIDATES).index(row["name"]))
    results.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{results}\n{table(rows)}")


def compared(args: argparse.Namespace, path: Path, seeds: list[int], shared: dict[str, Any]) -> None:
    """What --read asks for: measured, written and printed."""
    from skelmm_core.stopping import end_with_parent

    only = args.only.split(",")
    encoders, names = tuple(args.read.split(",")), tuple(name for name in READINGS if any(text in name for text in only))
    if unknown := set(encoders) - set(ENCODERS):
        sys.exit(f"unknown encoders {', '.join(sorted(unknown))}; choose from {', '.join(ENCODERS)}")
    jobs = [(path, args.out, names, kind, seed) for kind in encoders for seed in seeds]
    with ProcessPoolExecutor(args.jobs, get_context("spawn"), end_with_parent) as pool:
        found = dict(zip([job[3:] for job in jobs], pool.map(read, jobs), strict=True))
    rows = [row_of(name, READ, [found[kind, seed][name] for seed in seeds], encoders=kind, **shared) for kind in encoders for name in names]
    results = READINGS_RESULTS if len(seeds) > 2 else args.out / "trial_readings.json"
    before = json.loads(results.read_text()) if results.exists() else []
    new = {(row["encoders"], row["name"]) for row in rows}
    rows += [row for row in before if row["name"] in READINGS and (row["encoders"], row["name"]) not in new]
    rows.sort(key=lambda row: (ENCODERS.index(row["encoders"]), list(READINGS).index(row["name"])))
    results.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{results}\n{readings_table(rows)}")


def row_of(name: str, figures: tuple[str, ...], values: list[list[float]], **more: Any) -> dict[str, Any]:
    """A row of the results: `values` are the figures of each seed."""
    by_figure = dict(zip(figures, zip(*values, strict=True), strict=True))
    spread = {f: statistics.stdev(v) if len(v) > 1 else 0.0 for f, v in by_figure.items()}
    return {"name": name, "mean": {f: statistics.mean(v) for f, v in by_figure.items()}, "std": spread, "values": by_figure, **more}


if __name__ == "__main__":
    main()
