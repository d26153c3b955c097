"""Every reader on generated files of its format, and on real data where SKELMM_SHARED is set: does it know them, how fast is it, and does
it notice files that are cut short?

    python -m benchmarks.formats --clips 100

Files are made by the writers in tests/writers, which know nothing of the readers. "bad files": of copies in which one file was cut at
some place, those that were refused, or left out and named. Exits with 1 when a format is not recognised, a bad file is not noticed, or a
reader fails in another way than by a clear error.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from skelmm_core import clips, sources
from skelmm_core.errors import SkelmmError

ROOT = Path(__file__).resolve().parents[1]
WRITERS = ROOT / "tests" / "writers"
FORMAT_OF = {"pyskl_2d": "pyskl", "ikem": "crosclr", "table_csv": "table", "table_parquet": "table"}  # writers of one format among several
REAL = {"UTD-MHAD (real)": "utd_mhad_skeleton.tar.xz", "HDM05 cut (real)": "hdm05_cut11.npz"}
CUTS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.97)  # shares of a file's bytes that are kept


@dataclass
class Row:
    name: str
    clips: int = 0
    seconds: float = 0.0
    refused: int = 0
    tried: int = 0
    problem: str = ""

    def __str__(self) -> str:
        bad = f"{self.refused} of {self.tried}" if self.tried else "-"
        speed = f"{self.clips / self.seconds:.0f}" if self.seconds else "-"
        return f"{self.name:<22} {self.clips:6d} {self.seconds:8.2f} {speed:>8}  {bad:>9}  {self.problem}"


HEAD = f"{'format':<22} {'clips':>6} {'seconds':>8} {'clips/s':>8}  {'bad files':>9}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=100, help="generated clips per format")
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    print(HEAD, flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for module in sorted(WRITERS.glob("*.py")):
            rows.append(generated(module.stem, args.clips, Path(scratch) / module.stem))
            print(rows[-1], flush=True)
        if shared := os.environ.get("SKELMM_SHARED"):
            for name, file in REAL.items():
                rows.append(prepared(Row(name), Path(shared) / "data" / file, Path(scratch) / f"{file}.clips"))
                print(rows[-1], flush=True)
        else:
            print("real data: not read, SKELMM_SHARED is not set")
    wrong = [row.name for row in rows if row.problem]
    if wrong:
        sys.exit(f"not as it should be: {', '.join(wrong)}")


def generated(writer: str, count: int, folder: Path) -> Row:
    """One format: written, read, and read again with one of its files cut."""
    folder.mkdir()
    data = importlib.import_module(f"writers.{writer}").write(folder / "data", clips=count)
    row = prepared(Row(writer), data, folder / "whole.clips", FORMAT_OF.get(writer, writer).replace("_", "-"))
    if row.problem:
        return row
    files = sorted(p for p in ([data] if data.is_file() else data.rglob("*")) if p.is_file())
    for number, share in enumerate(CUTS):
        file = files[len(files) * number // len(CUTS)]
        whole = file.read_bytes()
        try:
            file.write_bytes(whole[: int(len(whole) * share)])
            row.tried += 1
            row.refused += bad(data, folder / "cut.clips", row.clips)
        except Exception as problem:
            row.problem = f"{file.name} cut to {share:.0%}: {type(problem).__name__}: {problem}"[:200]
        finally:
            file.write_bytes(whole)
    if row.refused < row.tried and not row.problem:
        row.problem = f"{row.tried - row.refused} bad files were not noticed"
    return row


def prepared(row: Row, data: Path, target: Path, format: str = "") -> Row:
    began = time.perf_counter()
    try:
        found = sources.recognise(data)
        report = clips.write(target, sources.read(data), progress=False)
        row.clips, row.seconds = report.clips, time.perf_counter() - began
        if format and found != format:
            row.problem = f"taken for '{found}'"
        elif telling := [w for w in report.warnings if "classes have no clip" not in w]:
            row.problem = "; ".join(telling)[:200]
    except Exception as problem:
        row.problem = f"{type(problem).__name__}: {problem}"[:200]
    return row


def bad(data: Path, target: Path, whole: int) -> bool:
    """Whether damage is noticed: the data are refused, or clips are left out and named."""
    shutil.rmtree(target, ignore_errors=True)
    try:
        report = clips.write(target, sources.read(data), progress=False)
    except SkelmmError:
        return True
    return bool(report.damaged) or report.clips < whole


if __name__ == "__main__":
    main()
