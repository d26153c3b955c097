"""UTD-MHAD, odd -> even subjects: the whole method on real motion, over seeds; writes benchmarks/results/utd_mhad.json.

    python benchmarks/utd_mhad.py $SKELMM_SHARED/data/utd_mhad_skeleton.tar.xz --seeds 0,1,2 --jobs 2

Each seed trains stage 1, exchange and the students, and beside them the same without exchange, the students' modalities alone, and a
teacher of two epochs, which shows how much of a figure needs training; then probes everything with frozen encoders; the last epoch
counts. "joint_linear" is the joint stream trained alone, without any exchange; "stage1" are the encoders that exchange starts from;
"prepared_1nn" are nearest neighbours in the coordinates that encoders get, "unsmoothed_1nn" in the same without smoothing.

Rows are named after the recipe: those of preset small, as it is, have plain names, others begin with "published_" or the like. Rows of the
same names are replaced, others are kept; fewer than three seeds, or small with other settings, are a trial and go to OUT/trial.json. What
was trained before with the same settings and code is found again in --out, so an interrupted benchmark goes on where it stopped; what
other code trained is refused.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "utd_mhad.json"
TABLE = {  # rows of the README's table; what a row is called in the results
    "untrained encoders, joint, motion, bone": "untrained_three",
    "untrained encoders, six modalities": "untrained",
    "joint, motion, bone, each alone (stage 1)": "three_without_exchange",
    "joint, motion, bone with exchange": "three_alone",
    "six, each alone (stage 1)": "six_without_exchange",
    "six with exchange after two epochs": "brief",
    "**teacher: six with exchange**": "teacher",
    "of the teacher, joint, motion, bone": "teacher_three",
    "**student: joint, motion, bone**": "student",
    "published recipe, untrained encoders": "published_untrained",
    "published recipe, teacher": "published_teacher",
    "published recipe, student": "published_student",
    "published recipe, untrained encoders, features standardised": "published_untrained_standardised",
    "published recipe, teacher, features standardised": "published_teacher_standardised",
    "published recipe, student, features standardised": "published_student_standardised",
    "best recipe, untrained encoders, joint, motion, bone": "best_untrained_three",
    "best recipe, untrained encoders, six modalities": "best_untrained",
    "best recipe, six, each alone, as exchange finds them": "best_stage1",
    "**best recipe, teacher: six with exchange**": "best_teacher",
    "best recipe, of the teacher, joint, motion, bone": "best_teacher_three",
    "**best recipe, student**": "best_student",
    "best recipe, untrained encoders, six modalities, probes by SGD": "best_untrained_sgd",
    "best recipe, teacher, probes by SGD": "best_teacher_sgd",
    "best recipe, student, probes by SGD": "best_student_sgd",
}
OTHERWISE = {  # probes beside those of the recipe, where they differ
    "standardised": {"probe_standardise": True},  # features of a small scale can't be probed otherwise
    "sgd": {"probe_fit": "sgd"},
}
GOALS = {  # percent; what the recipe `best` should reach at least
    "best_teacher_linear": 93.0,
    "best_teacher_knn": 88.0,
    "best_student_linear": 92.0,
    "best_student_of_teacher": 99.0,  # the student's linear probe in percent of the teacher's
    "best_student_joint_linear": 88.0,  # the student that sees joints alone
}


def table(rows: list[dict[str, Any]]) -> str:
    """The results as a Markdown table, mean ± standard deviation over seeds, in percent."""
    found = {row["name"]: row for row in rows}

    def cell(name: str) -> str:
        row = found.get(name)
        return "–" if row is None else f"{row['mean']:.1f} ± {row['std']:.1f}"

    lines = ["| | linear probe, fused late | linear probe, fused jointly | kNN (k = 1) |", "|---|---|---|---|"]
    for text, name in {"raw coordinates": "raw_1nn", "raw coordinates, still ends cut off as in `best`": "best_unsmoothed_1nn"}.items():
        if name in found:
            lines.append(f"| {text} | – | – | {found[name]['mean']:.1f} |")
    for text, name in TABLE.items():
        if f"{name}_linear" in found:
            lines.append(f"| {text} | {cell(f'{name}_linear_late')} | {cell(f'{name}_linear_joint')} | {cell(f'{name}_knn')} |")
    return "\n".join(lines)


def prepared_nearest(exp: Any) -> float:
    """Percent right by the nearest neighbour in the coordinates that encoders get, smoothed and trimmed: what preparation does alone."""
    import torch

    gallery, query = exp.train.joints.flatten(1), exp.test.joints.flatten(1)
    index = torch.cdist(query, gallery, compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=1)
    return 100.0 * float((exp.train.labels[index] == exp.test.labels).double().mean())


def measure(job: tuple[dict[str, Any], int, int, bool]) -> dict[str, float]:
    """All figures of one seed, in percent of the test clips; runs in a process of its own."""
    options, seed, threads, baselines = job
    import torch

    from skelmm_core.evaluation.knn import raw_nearest
    from skelmm_core.experiment import Experiment

    torch.set_num_threads(threads)
    began = time.monotonic()
    exp = Experiment(**options, seed=seed)
    students = exp.settings.student_names
    stages = {"stage1": exp.pretrain(until=exp.settings.exchange_epoch), "teacher": exp.exchange(), "student": exp.distill()}
    trained = sum(stage.seconds for stage in stages.values())
    if baselines:
        stages |= {"six_without_exchange": exp.exchange(exchange="none"), "three_alone": exp.exchange(modalities=exp.settings.students)}
        stages["brief"] = Experiment(**options | {"epochs": 2}, seed=seed).exchange()
    if other := [str(stage.folder) for stage in stages.values() if stage.by_other_code]:
        sys.exit(f"trained by other code than today's: {', '.join(other)}; delete them, or name another --out")
    features = {"untrained": exp.features(exp.untrained())}
    features |= {name: exp.features(s.model.students if name == "student" else s.model.query) for name, s in stages.items()}
    models = {name: (pair, tuple(pair[0])) for name, pair in features.items()}
    parts = {"untrained": "untrained_three", "teacher": "teacher_three", "six_without_exchange": "three_without_exchange"}
    for name, part in parts.items():
        if name in models:  # branches without exchange are trained as if each were alone
            models[part] = (features[name], students)
    found = {"raw_1nn": raw_nearest(exp.clips, exp.split).accuracy, "seconds_training": trained, "test_clips": len(exp.split.test)}
    for name, (pair, streams) in models.items():
        scores = exp.score(pair, streams)
        found |= {f"{name}_linear": scores.linear.accuracy, f"{name}_linear_joint": scores.joint.accuracy}
        found |= {f"{name}_linear_late": scores.late.accuracy, f"{name}_knn": scores.knn.accuracy}
        for word, changes in OTHERWISE.items():
            plain, exp.settings = exp.settings, dataclasses.replace(exp.settings, **changes)
            if exp.settings != plain:
                other = exp.score(pair, streams)
                found |= {f"{name}_{word}_linear_joint": other.joint.accuracy, f"{name}_{word}_linear_late": other.late.accuracy}
                found |= {f"{name}_{word}_linear": other.linear.accuracy, f"{name}_{word}_knn": other.knn.accuracy}
            exp.settings = plain
        if streams == tuple(pair[0]):
            found |= {f"{name}_{stream}_linear": value for stream, value in scores.late.streams.items()}
    found["student_of_teacher"] = 100 * found["student_linear"] / found["teacher_linear"]
    found |= {"prepared_1nn": prepared_nearest(exp), "unsmoothed_1nn": prepared_nearest(exp.again(smooth=0.0))}
    found |= {"joint_linear": found["six_without_exchange_joint_linear"]} if baselines else {}
    print(f"seed {seed}: {time.monotonic() - began:.0f} s, " + json.dumps({k: round(v, 1) for k, v in found.items()}), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the UTD-MHAD archive or folder of .mat files")
    parser.add_argument("--out", type=Path, default=Path("outputs/utd_mhad"), help="folder for clips and checkpoints")
    parser.add_argument("--preset", default="small", help="recipe")
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time; the cores are shared among them")
    parser.add_argument("--no-baselines", action="store_true", help="teacher and student only")
    parser.add_argument("-p", action="append", default=[], metavar="NAME=VALUE", help="a setting other than the preset's")
    args = parser.parse_args()

    from skelmm_core import clips, manifest, sources
    from skelmm_core.errors import SettingsError
    from skelmm_core.parameters import overrides
    from skelmm_core.stopping import end_with_parent

    try:
        given = overrides(args.p)
    except SettingsError as problem:
        sys.exit(str(problem))
    code = manifest.git() or {}  # before anything runs: the commit that is measured
    path, source = args.out / "utd_mhad.clips", sources.read(args.source)
    if not path.exists() or clips.open_clips(path).fingerprint != source.fingerprint:
        print(clips.write(path, source))
    seeds = [int(s) for s in args.seeds.split(",")]
    options = {"data": path, "out": args.out, "preset": args.preset, **given}
    threads = max(1, (os.cpu_count() or 1) // args.jobs)
    with ProcessPoolExecutor(args.jobs, multiprocessing.get_context("spawn"), end_with_parent) as pool:
        found = list(pool.map(measure, [(options, seed, threads, not args.no_baselines) for seed in seeds]))

    recipe = args.preset + "".join(f", {p}" for p in args.p)
    prefix = "" if args.preset == "small" else f"{args.preset}_"
    trial = len(seeds) < 3 or (args.preset == "small" and args.p)  # never in place of what README shows
    results = args.out / "trial.json" if trial else RESULTS
    command = manifest.command("python", "benchmarks/utd_mhad.py")
    shared = {
        "seeds": seeds, "recipe": recipe, "command": command,
        **code, "hardware": manifest.hardware(), "date": datetime.now(UTC).date().isoformat(), "threads_per_seed": threads,
    }  # fmt: skip
    rows = []
    for name in found[0]:
        values = [f[name] for f in found]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        goal = {"goal": GOALS[prefix + name]} if prefix + name in GOALS else {}
        rows.append({"name": prefix + name, "mean": statistics.mean(values), "std": spread, **goal, "values": values, **shared})
    before = json.loads(results.read_text()) if results.exists() else []
    new = {row["name"] for row in rows}
    results.parent.mkdir(exist_ok=True)
    rows = [r for r in before if r["name"] not in new] + rows
    results.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{results}\n{table(rows)}")
    for row in rows:
        if "goal" in row:
            missed = "" if row["mean"] >= row["goal"] else ", missed"
            print(f"{row['name']}: {row['mean']:.1f} ± {row['std']:.1f}, goal {row['goal']:g}{missed}")


if __name__ == "__main__":
    main()
