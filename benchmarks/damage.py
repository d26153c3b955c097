"""Draws what damage of the test clips does to several models: tables of `skelmm evaluate STAGE --measure robust` as one figure.

    python -m benchmarks.damage TABLE.csv... [--names teacher,student] [--to benchmarks/results/damage.png]

A table's first subject is called by its name in --names; references (raw coordinates, untrained encoders) are taken from the first table.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from skelmm_core import drawing
from skelmm_core.comparison import robustness


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.damage", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="+", type=Path, metavar="TABLE")
    parser.add_argument("--names", default="", help="comma-separated, one per table; the subjects' own names")
    parser.add_argument("--title", default="test clips damaged")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "results" / "damage.png")
    args = parser.parse_args(words)
    names = [name.strip() for name in args.names.split(",") if name.strip()]
    if names and len(names) != len(args.tables):
        parser.error(f"--names must name each of {len(args.tables)} tables, found {len(names)}")
    curves: robustness.Curves = {}
    references: robustness.Curves = {}
    for number, path in enumerate(args.tables):
        with open(path, newline="") as file:
            (subject, own), *others = robustness.of_rows(csv.DictReader(file)).items()
        curves[names[number] if names else subject] = own
        references = references or dict(others)
    print(drawing.save(drawing.damage_curves(curves | references, args.title), args.to))
    return 0


if __name__ == "__main__":
    sys.exit(main())
