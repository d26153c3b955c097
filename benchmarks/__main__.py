"""Runs every benchmark of `benchmarks.MODULES`, prints a table and writes benchmarks/results/benchmarks.json.

    python -m benchmarks             all of them
    python -m benchmarks parsing     some of them
    python -m benchmarks --quick     all that has a goal, few rounds at full size; writes results/quick.json; ten minutes on two slow cores
    python -m benchmarks --toy       all at toy size: do they run? Nothing is promised then, and nothing written

Rows are written after every part, so an interrupted run keeps what it has. Exits with 1 when a goal is missed that this machine can
measure.
growth, step_time, precision, utd_mhad, hot_spots, formats and card are commands of their own: they need data, hours or a GPU.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import HEAD, MODULES, Row
from skelmm_core import manifest
from skelmm_core.files import replacing

ROUNDS = {"steps": 1, "inference": 20, "parsing": 1, "streaming": 15}  # of --quick
UNPROMISED = ("streaming",)  # parts without a goal: --quick leaves them out where they are not named
RESULTS = Path(__file__).parent / "results" / "benchmarks.json"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(MODULES)}")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="few rounds at full size, with every goal")
    size.add_argument("--toy", action="store_true", help="toy size; the figures mean nothing")
    parser.add_argument(
        "--results", type=Path, help="file for the rows; benchmarks/results/benchmarks.json, or quick.json, none with --toy"
    )
    args = parser.parse_args(words)
    if unknown := [name for name in args.names if name not in MODULES]:
        parser.error(f"unknown benchmark '{unknown[0]}'; choose from {', '.join(MODULES)}")
    code = manifest.git() or {}  # before anything runs: the commit that is measured
    target = args.results or (None if args.toy else RESULTS.with_name("quick.json") if args.quick else RESULTS)
    command, rows = shlex.join(["python", "-m", "benchmarks", *map(str, sys.argv[1:] if words is None else words)]), []
    print(HEAD)
    for name in args.names or [name for name in MODULES if not (args.quick and name in UNPROMISED)]:
        began = time.monotonic()
        part = importlib.import_module(MODULES[name]).measure(args.toy, ROUNDS.get(name) if args.quick else None)
        rows += part
        for row in part:
            print(row, flush=True)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
        if target:
            write(target, part, command, code)
    for row in rows:
        if row.note:
            print(f"{row.name}: {row.note}")
    missed = [row.name for row in rows if row.missed]
    if missed:
        print(f"goals missed: {'; '.join(missed)}")
    if target:
        print(target)
    return int(bool(missed))


def write(path: Path, rows: list[Row], command: str, code: dict) -> None:
    """Rows of the same names are replaced, others kept."""
    shared = {
        "hardware": manifest.hardware(), "versions": manifest.versions(), **code, "date": datetime.now(UTC).date().isoformat(),
        "command": command,
    }  # fmt: skip
    before = json.loads(path.read_text()) if path.exists() else []
    new = {row.name for row in rows}
    kept = [row for row in before if row["name"] not in new]
    made = [{key: None if value != value else value for key, value in asdict(row).items()} | shared for row in rows]  # JSON knows no NaN
    with replacing(path) as file:
        file.write((json.dumps(kept + made, indent=1, allow_nan=False) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
