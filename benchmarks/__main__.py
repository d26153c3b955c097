"""Runs every benchmark of `benchmarks.MODULES`, prints a table and writes benchmarks/results/benchmarks.json.

    python -m benchmarks             all of them
    python -m benchmarks parsing     some of them
    python -m benchmarks --quick     all at toy size: do they run? Nothing is promised then, and nothing written.

Exits with 1 when a goal is missed that this machine can measure.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import HEAD, MODULES, Row
from skelmm_core import manifest

RESULTS = Path(__file__).parent / "results" / "benchmarks.json"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *MODULES], metavar="NAME", help=f"some of: {', '.join(MODULES)}")
    parser.add_argument("--quick", action="store_true", help="toy size")
    parser.add_argument("--results", type=Path, help="file for the rows; benchmarks/results/benchmarks.json unless --quick")
    args = parser.parse_args(words)
    code = manifest.git() or {}  # before anything runs: the commit that is measured
    rows = [row for name in args.names or MODULES for row in importlib.import_module(MODULES[name]).measure(args.quick)]
    print(HEAD)
    for row in rows:
        print(row)
    for row in rows:
        if row.note:
            print(f"{row.name}: {row.note}")
    target = args.results or (None if args.quick else RESULTS)
    if target:
        words = sys.argv[1:] if words is None else words
        write(target, rows, shlex.join(["python", "-m", "benchmarks", *map(str, words)]), code)
        print(target)
    return int(any(row.missed for row in rows))


def write(path: Path, rows: list[Row], command: str, code: dict) -> None:
    """Rows of the same names are replaced, others kept."""
    shared = {
        "hardware": manifest.hardware(), "versions": manifest.versions(), **code, "date": datetime.now(UTC).date().isoformat(),
        "command": command,
    }  # fmt: skip
    before = json.loads(path.read_text()) if path.exists() else []
    new = {row.name for row in rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = [row for row in before if row["name"] not in new]
    made = [{key: None if value != value else value for key, value in asdict(row).items()} | shared for row in rows]  # JSON knows no NaN
    path.write_text(json.dumps(kept + made, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
