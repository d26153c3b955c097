"""Every reader on generated files of its format, and on real data where SKELMM_SHARED is set: does it know them, how fast is it, and does
it notice files that are cut short?

    python -m benchmarks.formats --clips 100

Files are made by the writers in tests/writers, which know nothing of the readers. "bad files": of copies in which one file was cut at
some place, those that were refused, or left out and named; of real data also copies in which a clip is all zeros, or has one NaN. Exits
with 1 when a format is not recognised, a bad file is not noticed, real data get no report, or a reader fails in another way than by a clear
error.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io

from skelmm_core import audit, clips, sources
from skelmm_core.errors import SkelmmError

ROOT = Path(__file__).resolve().parents[1]
WRITERS = ROOT / "tests" / "writers"
FORMAT_OF = {"pyskl_2d": "pyskl", "ikem": "crosclr", "table_csv": "table", "table_parquet": "table"}  # writers of one format among several
CUTS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.97)  # shares of a file's bytes that are kept
Copies = Iterator[tuple[str, Path]]  # what was done to a copy of some data, and where it lies


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
            for name, (file, copies) in REAL.items():
                rows.append(real(name, Path(shared) / "data" / file, copies, Path(scratch) / file))
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
    return tried(row, cut(data), folder / "bad.clips")


def real(name: str, data: Path, copies: Callable[[Path, Path], Copies], folder: Path) -> Row:
    """Real data: prepared, with a report, and read again with some of them damaged."""
    folder.mkdir()
    row = prepared(Row(name), data, folder / "whole.clips", report=True)
    return row if row.problem else tried(row, copies(data, folder), folder / "bad.clips")


def cut(data: Path) -> Copies:
    files = sorted(p for p in ([data] if data.is_file() else data.rglob("*")) if p.is_file())
    for number, share in enumerate(CUTS):
        file = files[len(files) * number // len(CUTS)]
        whole = file.read_bytes()
        file.write_bytes(whole[: int(len(whole) * share)])
        yield f"{file.name} cut to {share:.0%}", data
        file.write_bytes(whole)


def halved(data: Path, folder: Path) -> tuple[str, Path]:
    copy, whole = folder / data.name, data.read_bytes()
    copy.write_bytes(whole[: len(whole) // 2])
    return f"{data.name} cut in the middle", copy


def utd_mhad(data: Path, folder: Path) -> Copies:
    """The archive cut; then the folder that it holds, with one of its files cut, all zeros, or with one NaN."""
    yield halved(data, folder)
    with tarfile.open(data) as archive:
        archive.extractall(folder / "files", filter="data")
    files = sorted((folder / "files").rglob("*_skeleton.mat"))
    file = files[len(files) // 2]
    joints, whole = scipy.io.loadmat(file)["d_skel"], file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    yield f"{file.name} cut in the middle", folder / "files"
    for what, damaged in damages(joints):
        scipy.io.savemat(file, {"d_skel": damaged})
        yield f"{file.name} {what}", folder / "files"


def hdm05(data: Path, folder: Path) -> Copies:
    """The file cut, and with the joints of one clip all zeros, or with one NaN."""
    yield halved(data, folder)
    with np.load(data) as file:
        arrays = dict(file)
    clip = len(arrays["label"]) // 2
    joints, frames = arrays["joints"].copy(), slice(*arrays["offsets"][clip : clip + 2])
    for what, damaged in damages(joints[frames]):
        arrays["joints"][frames] = damaged
        np.savez(folder / data.name, **arrays)
        yield f"clip {clip} {what}", folder / data.name


def damages(joints: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "of zeros", np.zeros_like(joints)
    one = joints.copy()
    one[tuple(n // 2 for n in one.shape)] = np.nan
    yield "with one NaN", one


REAL = {"UTD-MHAD (real)": ("utd_mhad_skeleton.tar.xz", utd_mhad), "HDM05 cut (real)": ("hdm05_cut11.npz", hdm05)}


def tried(row: Row, copies: Iterable[tuple[str, Path]], target: Path) -> Row:
    """Reads damaged copies, and counts those whose damage is noticed."""
    unnoticed = []
    for what, data in copies:
        row.tried += 1
        try:
            if bad(data, target, row.clips):
                row.refused += 1
            else:
                unnoticed.append(what)
        except Exception as problem:
            row.problem = f"{what}: {type(problem).__name__}: {problem}"[:200]
    if unnoticed and not row.problem:
        row.problem = f"not noticed: {', '.join(unnoticed)}"[:200]
    return row


def prepared(row: Row, data: Path, target: Path, format: str = "", report: bool = False) -> Row:
    """Recognised, and written as clips; report: with the report beside them."""
    began = time.perf_counter()
    try:
        found = sources.recognise(data)
        written = clips.write(target, sources.read(data), progress=False)
        row.clips, row.seconds = written.clips, time.perf_counter() - began
        if format and found != format:
            row.problem = f"taken for '{found}'"
        elif telling := [w for w in written.warnings if "classes have no clip" not in w]:
            row.problem = "; ".join(telling)[:200]
        elif report:
            audit.keep(target, written)
            row.problem = unreported(target)
    except Exception as problem:
        row.problem = f"{type(problem).__name__}: {problem}"[:200]
    return row


def unreported(target: Path) -> str:
    """What is wrong with the report beside a clips file; "" if nothing is."""
    kept, page = audit.kept(clips.open_clips(target)), audit.report_path(target, "html")
    if not kept or not kept["prepared"]:
        return "no report of what was read and left out"
    return "" if page.is_file() and "</html>" in page.read_text("utf-8")[-100:] else "no page with the report"


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
