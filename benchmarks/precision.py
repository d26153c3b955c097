"""bfloat16 autocast against float32 over some hundred real steps on UTD-MHAD: the loss curve, and the linear probe, over seeds.

    python benchmarks/precision.py $SKELMM_SHARED/data/utd_mhad_skeleton.tar.xz --seeds 0,1,2

Preset `small` for 34 epochs of 6 steps (204 steps), the second half with exchange; both precisions draw the same batches and
augmentations. Writes benchmarks/results/precision.json: the largest relative difference of the epochs' mean losses, and the teachers' joint
and late linear probes. What was trained before is found again in --out. With other settings (-p), which the file is then named after, the
way through the network may be another: from 32 frames on, -p frames=32, wide convolutions over time go by spectra in bfloat16, too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "precision.json"
PRECISIONS = ("32-true", "bf16-mixed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the UTD-MHAD archive or folder of .mat files")
    parser.add_argument("--out", type=Path, default=Path("outputs/precision"), help="folder for clips and checkpoints")
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated")
    parser.add_argument("--epochs", type=int, default=34, help="of 6 steps each, at the preset's batch")
    parser.add_argument("-p", action="append", default=[], metavar="NAME=VALUE", help="a setting other than the preset's")
    args = parser.parse_args()

    from skelmm_core import clips, manifest, sources
    from skelmm_core.errors import SettingsError
    from skelmm_core.experiment import Experiment
    from skelmm_core.parameters import overrides

    try:
        changes = {"epochs": args.epochs, **overrides(args.p)}
    except SettingsError as problem:
        sys.exit(str(problem))
    if "precision" in changes:
        sys.exit("both precisions are compared: leave -p precision=… out")
    code = manifest.git() or {}  # before anything runs: the commit that is measured
    path, source = args.out / "utd_mhad.clips", sources.read(args.source)
    if not path.exists() or clips.open_clips(path).fingerprint != source.fingerprint:
        clips.write(path, source)
    seeds, found = [int(s) for s in args.seeds.split(",")], []
    for seed in seeds:
        curves, probes = {}, {}
        for precision in PRECISIONS:
            exp = Experiment(path, args.out, "small", seed=seed, precision=precision, **changes)
            first, second = exp.pretrain(until=exp.settings.exchange_epoch), exp.exchange()
            curves[precision] = [row["loss"] for row in (*first.rows, *second.rows)]
            scores = exp.score(second.model.query)
            probes[precision] = {"joint": scores.joint.accuracy, "late": scores.late.accuracy, "knn": scores.knn.accuracy}
        apart = [abs(a - b) / b for a, b in zip(curves["bf16-mixed"], curves["32-true"], strict=True)]
        found.append(
            {"seed": seed, "largest_difference": max(apart), "mean_difference": statistics.mean(apart), "losses": curves, "probes": probes}
        )
        print(f"seed {seed}: losses differ by at most {max(apart):.2%} (mean {statistics.mean(apart):.2%}); {probes}", flush=True)
    summary = {
        precision: {
            what: [statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0]
            for what in ("joint", "late", "knn")
            if (values := [f["probes"][precision][what] for f in found])
        }
        for precision in PRECISIONS
    }
    print(json.dumps(summary, indent=1))
    if len(seeds) > 1:
        result = {"seeds": found, "mean_and_deviation": summary, "command": manifest.command("python", "benchmarks/precision.py"), **code}
        where = RESULTS.with_stem("-".join([RESULTS.stem, *args.p]))
        where.write_text(
            json.dumps(result | {"hardware": manifest.hardware(), "date": datetime.now(UTC).date().isoformat()}, indent=1) + "\n"
        )
        print(where)


if __name__ == "__main__":
    main()
