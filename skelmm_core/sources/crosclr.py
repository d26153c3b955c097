"""CrosSCLR, AimCLR and IKEM folders: `{train,val}_data.npy` with `{train,val}_label.pkl`, one folder per protocol (`xsub`, `xview`).

- First stage: `{part}_data.npy` float32 (N, 3, T, 25, M), T = 300, M = 2, metres, zero padded; `{part}_label.pkl` holds (names, labels) or,
  from IKEM, (names, labels, frames). A clip is as long as `frames` says, otherwise it ends with its last frame that is not all zeros.
- Second stage: `{part}_position.npy` (N, 3, 50, 25, M) is the first stage resampled to 50 frames, so true lengths and the rate are lost, as
  the title says; names and labels are in `{part}_label.pkl`, or labels alone in `{part}_label.npy` (N, 1), and clips are then named by
  their row: "train 000001". `{part}_motion.npy` alone are differences without a place and are refused.

Where both stages are in a folder, the first is read. Parts over NTU names must follow the rule of cross-subject, cross-view or
cross-setup, which is then the protocol: files of two protocols that were mixed up are noticed. For other names, or none, the part is
stored as `setup` (1 training, 2 test) and the protocol is ``setup == 1``. Arrays are read clip by clip.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from skelmm_core.errors import DataError
from skelmm_core.recordings import Dropped, Recording, Source
from skelmm_core.skeletons import NTU25
from skelmm_core.sources import pickles
from skelmm_core.sources.parts import TEST, TRAIN, Naming, naming, protocol, stem
from skelmm_core.sources.pickle_names import described
from skelmm_core.sources.stored import Stored, digest, entry, npy

HOLDS = "a CrosSCLR, AimCLR or IKEM folder with train_data.npy and train_label.pkl"
PARTS = {"train": TRAIN, "val": TEST}
STAGES = ("data", "position")


def recognise(path: Path) -> bool:
    """Whether `path`, or a folder right in it, holds `train_data.npy` or its like with the shape (N, 3, T, 25, M)."""
    try:
        return path.is_dir() and any(_fits(folder) for folder in (path, *_folders(path)))
    except OSError:
        return False


def read(path: Path, class_names: str | Path = "") -> Source:
    """The clips of one protocol's folder, training part first.

    Args:
        class_names: text file with a name a line; without it NTU's names, or "class 0", "class 1", ...

    Raises `DataError` for a folder that lacks a file, files that don't belong together, and several protocols at once.
    """
    folder = _folder(Path(path))
    stage = next(s for s in STAGES if _holds(folder, (s,)))
    halves = [_half(folder, p, stage) for p in PARTS if _present(folder, p, stage)]
    names = naming(((half.name(i), half.labels[i]) for half in halves for i in range(len(half))), class_names, f"'{folder}'")
    lists = {PARTS[half.part]: [half.name(i) for i in range(len(half))] for half in halves}
    _check_apart(halves, folder)
    files = ", ".join(f"{half.part}_{stage}.npy" for half in halves)
    return Source(
        title=f"'{folder.resolve().name}' of CrosSCLR's form ({files})" + (", resampled to 50 frames" if stage == "position" else ""),
        skeleton=NTU25,
        class_names=names.class_names,
        frame_rate=30.0,
        protocol=protocol(names, lists, folder.resolve().name, f"'{folder}'"),
        fingerprint=hashlib.sha256(repr((digest(*(f for half in halves for f in half.files)), stage, names)).encode()).hexdigest(),
        items=Rows(halves),
        read=partial(_recording, names, stage),
    )


@dataclass(frozen=True)
class Half:
    """The files of one part. names, frames: empty where the files have none."""

    part: str
    array: Stored
    names: list[str]
    labels: list[int]
    frames: list[int]
    files: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, i: int) -> str:
        return stem(self.names[i]) if self.names else f"{self.part} {i:06d}"


@dataclass(frozen=True, slots=True)
class Row:
    """One clip. frames: its true length, None for unknown."""

    stem: str
    joints: Stored
    label: int
    part: int
    frames: int | None


class Rows(Sequence):
    def __init__(self, halves: Sequence[Half]):
        self._halves = halves

    def __len__(self) -> int:
        return sum(map(len, self._halves))

    def __getitem__(self, i: int) -> Row:
        i = range(len(self))[i]
        half, *rest = self._halves
        while i >= len(half):
            i, (half, *rest) = i - len(half), rest
        return Row(half.name(i), entry(half.array, i), half.labels[i], PARTS[half.part], half.frames[i] if half.frames else None)


def _file(folder: Path, part: str, what: str, ending: str = "npy") -> Path:
    return folder / f"{part}_{what}.{ending}"


def _folders(path: Path) -> list[Path]:
    with os.scandir(path) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir())


def _fits(folder: Path) -> bool:
    for file in (_file(folder, p, what) for p in PARTS for what in (*STAGES, "motion")):
        try:
            if file.is_file() and _is_clips(npy(file, whole=False)):
                return True
        except DataError:
            continue
    return False


def _is_clips(array: Stored) -> bool:
    return len(array.shape) == 5 and array.shape[1] == 3 and array.shape[3] == len(NTU25) and array.shape[4] in (1, 2)


def _folder(path: Path) -> Path:
    """The folder that holds the arrays: `path`, or the only one in it that does."""
    if not path.is_dir():
        raise DataError(f"no folder at '{path}'; expected one with train_data.npy and train_label.pkl")
    try:
        if _holds(path, STAGES):
            return path
        within = [folder for folder in _folders(path) if _holds(folder, STAGES)]
        differences = any(_holds(folder, ("motion",)) for folder in (path, *_folders(path)))
    except OSError as problem:
        raise DataError(f"can't look into '{problem.filename or path}': {problem.strerror or problem}") from problem
    if len(within) == 1:
        return within[0]
    if within:
        raise DataError(f"'{path}' holds {len(within)} protocols of the same clips, {', '.join(f.name for f in within)}; name one of them")
    if differences:
        raise DataError(
            f"'{path}' holds motion.npy alone, which are differences without a place; expected train_data.npy or train_position.npy"
        )
    raise DataError(f"'{path}' holds neither train_data.npy nor train_position.npy")


def _holds(folder: Path, stages: Sequence[str]) -> bool:
    return any(_file(folder, p, stage).is_file() for p in PARTS for stage in stages)


def _present(folder: Path, part: str, stage: str) -> bool:
    if _file(folder, part, stage).is_file():
        return True
    other = next((_file(folder, part, s) for s in STAGES if _file(folder, part, s).is_file()), _file(folder, part, "label", "pkl"))
    if other.is_file():
        raise DataError(f"'{folder}' lacks '{_file(folder, part, stage).name}', though there is '{other.name}'; put it there too")
    return False


def _half(folder: Path, part: str, stage: str) -> Half:
    file, table, column = _file(folder, part, stage), _file(folder, part, "label", "pkl"), _file(folder, part, "label")
    array = npy(file)
    if not _is_clips(array) or array.kind != "f" or array.fortran:
        raise DataError(f"'{file}' holds {array}{' in Fortran order' * array.fortran}; expected floats (clips, 3, frames, 25, 1 or 2)")
    if table.is_file():
        names, labels, frames = _labels(table)
        labelled = table
    elif stage == "position" and column.is_file():
        names, labels, frames = [], pickles.whole_numbers(npy(column), f"'{column}'"), []
        labelled = column
    else:
        raise DataError(f"'{folder}' lacks '{table.name}', which has the clips' names and labels; copy it there too")
    for what, values in (("names", names), ("labels", labels), ("frame counts", frames)):
        if len(values) != array.shape[0] and (values or what == "labels"):
            raise DataError(f"'{file}' has {array.shape[0]} clips, '{labelled.name}' {len(values)} {what}; they are of different data")
    return Half(part, array, names, labels, frames if stage == "data" else [], (file, labelled))


def _labels(file: Path) -> tuple[list[str], list[int], list[int]]:
    found = pickles.load(file)
    if not isinstance(found, list | tuple) or len(found) not in (2, 3):
        raise DataError(f"'{file}' holds {described(found)}, expected (names, labels) or (names, labels, frames)")
    names = pickles.texts(found[0], f"'{file}': the first list, of names,")
    labels = pickles.whole_numbers(found[1], f"'{file}': the second list, of labels,")
    frames = pickles.whole_numbers(found[2], f"'{file}': the third list, of frame counts,") if len(found) > 2 else []
    return names, labels, frames


def _check_apart(halves: Sequence[Half], folder: Path) -> None:
    if len(halves) < 2 or not all(half.names for half in halves):
        return
    both = set(map(stem, halves[0].names)) & set(map(stem, halves[1].names))
    if both:
        raise DataError(
            f"'{folder}': {len(both)} clips are in both parts, e.g. {min(both)[:80]!r}; a model would be tested on what it learnt"
        )


def _recording(names: Naming, stage: str, item: Row) -> Recording | Dropped:
    joints = item.joints.load().transpose(3, 1, 2, 0)  # (3, T, V, M) -> (M, T, V, 3)
    with np.errstate(invalid="ignore"):  # what is not finite is refused when the clip is checked
        there = joints.any(axis=(2, 3))  # (M, T)
    filled = np.flatnonzero(there.any(axis=0))
    if not len(filled):
        return Dropped(item.stem, "no body in any frame")
    length = int(filled[-1]) + 1 if item.frames is None else item.frames
    if stage == "data" and not filled[-1] < length <= joints.shape[1]:
        raise DataError(
            f"clip {item.stem[:80]!r}: the label file says {length} frames, the array has {joints.shape[1]} and a body up to the "
            f"{filled[-1] + 1}th; the label file belongs to other data"
        )
    length = length if stage == "data" else joints.shape[1]
    return Recording(joints[there.any(axis=1), :length], item.label, item.stem, **names.numbers(item.stem, item.label, item.part))
