"""CTR-GCN's npz (Chen et al., ICCV 2021; InfoGCN, HD-GCN and others use it, too): `NTU60_CS.npz`, `NTU120_CSub.npz` and their like.

`x_train`, `x_test` float32 (N, 300, 150): 150 = 2 bodies x 25 joints x (x, y, z), metres, y up, 30 Hz, zeros behind the last frame;
`y_train`, `y_test` one-hot (N, classes), or labels (N,) from 0. The 7 GB of a file are read clip by clip.

What the preparation by CTR-GCN did can't be undone: clips are denoised, the main actor comes first, frames without a body are gone, and
the middle of the spine of the first frame is the origin, so absolute places are lost. There are no names, performers or cameras: clips are
named by part and row from 0, as CTR-GCN itself numbers them, and the file's part is stored as `setup` (1 training, 2 test).

A clip goes from its first to its last frame that is not all zeros; zero frames between stay where they are in time. CTR-GCN instead takes
as many frames from the beginning as are not zero, which is the same wherever no frame of a clip is empty, as its preparation sees to; in
a clip with an empty frame that would cut off motion at the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skelmm_core.errors import DataError
from skelmm_core.recordings import Dropped, Recording, Source
from skelmm_core.skeletons import NTU25
from skelmm_core.sources import npz, stored
from skelmm_core.sources.ntu_names import NAMES
from skelmm_core.sources.parts import LABELS, TEST, TRAIN
from skelmm_core.sources.stored import Stored

HOLDS = "CTR-GCN's npz with x_train, y_train, x_test and y_test"
PARTS = {"train": TRAIN, "test": TEST}
NEEDED = tuple(f"{letter}_{part}" for part in PARTS for letter in "xy")
WIDTH = 2 * len(NTU25) * 3
BLOCK = 1 << 24  # bytes of labels that are read at a time
LONGEST = 100_000  # frames; the files have 300


def recognise(path: Path) -> bool:
    """Whether `path` is an npz with the four arrays, and `x_train` has 150 numbers per frame (files of digits have these names, too)."""
    try:
        file = npz.Npz(path)
        return all(name in file for name in NEEDED) and _fits(file.described("x_train"))
    except (DataError, OSError):
        return False


def read(path: Path) -> Source:
    """The clips of both parts, training part first.

    Raises `DataError` for a file that is missing, torn or pickled, and for arrays that are absent or do not fit together.
    """
    path = Path(path)
    file = npz.Npz(path)
    missing = [name for name in NEEDED if name not in file]
    if missing:
        found = ", ".join(sorted(file)[:8]) or "none"
        raise DataError(f"'{path}' lacks '{missing[0]}'; expected CTR-GCN's {', '.join(NEEDED)}, found {found}")
    for name in NEEDED[::2]:
        if not _fits(array := file.described(name)):
            raise DataError(f"'{path}': '{name}' is {array}, expected floats (clips, 300 frames, {WIDTH} = 2 bodies x 25 joints x 3)")
    npz.in_order([(name, file.described(name)) for name in NEEDED], path)
    counted = {part: _labels(file, part) for part in PARTS}
    classes = max(count for _, count in counted.values())
    return Source(
        title=f"'{path.stem}' of CTR-GCN's form (denoised; each clip's first spine at the origin)",
        skeleton=NTU25,
        class_names=NAMES[:classes] if classes in (60, 120) else tuple(f"class {i}" for i in range(classes)),
        frame_rate=30.0,
        protocol="setup == 1",
        fingerprint=hashlib.sha256(repr(("ctrgcn", stored.digest(path))).encode()).hexdigest(),
        items=_Rows(file, {part: labels for part, (labels, _) in counted.items()}),
        read=_recording,
    )


def _fits(array: Stored) -> bool:
    return len(array.shape) == 3 and array.shape[2] == WIDTH and array.kind == "f" and 1 <= array.shape[1] <= LONGEST


def _labels(file: npz.Npz, part: str) -> tuple[np.ndarray, int]:
    """Labels (N,) and the number of classes, as far as this part knows it."""
    found, clips, where = file[f"y_{part}"], file.described(f"x_{part}").shape[0], f"'{file.path}': 'y_{part}'"
    if not found.shape or found.shape[0] != clips or len(found.shape) > 2 or found.kind not in "iufb":
        raise DataError(f"{where} is {found}, expected labels (clips,) or (clips, classes), one-hot, of the {clips} clips of 'x_{part}'")
    wide = len(found.shape) == 2 and found.shape[1] > 1
    if wide and found.shape[1] > LABELS or not wide and found.kind == "f":
        raise DataError(f"{where} is {found}, expected whole numbers (clips,) or at most {LABELS} classes, one-hot")
    labels, step = np.zeros(clips, np.int64), max(1, BLOCK * clips // max(1, found.size))
    for begin in range(0, clips, step):
        block = npz.rows(found, begin, min(begin + step, clips)).load().reshape(-1, found.shape[1] if wide else 1)
        labels[begin : begin + step] = block.argmax(axis=1) if wide else block[:, 0]
        wrong = ((block != 0).sum(axis=1) != 1) | (block.max(axis=1) != 1) if wide else (block[:, 0] < 0) | (block[:, 0] >= LABELS)
        if wrong.any():
            row = int(wrong.argmax())
            what = f"{int((block[row] != 0).sum())} numbers other than 0" if wide else f"the label {block[row, 0]}"
            expected = "a single 1" if wide else f"a label in 0..{LABELS - 1}"
            raise DataError(f"{where}, row {begin + row}: the clip has {what}, expected {expected}; the file is damaged")
    return labels, found.shape[1] if wide else 1 + int(labels.max(initial=-1))


@dataclass(frozen=True, slots=True)
class _Row:
    """One clip of a part."""

    stem: str
    joints: Stored
    label: int
    part: int


class _Rows(Sequence):
    def __init__(self, file: npz.Npz, labels: dict[str, np.ndarray]):
        self._labels = labels
        self._arrays = {part: file[f"x_{part}"] for part in PARTS}

    def __len__(self) -> int:
        return sum(map(len, self._labels.values()))

    def __getitem__(self, i: int) -> _Row:
        row, training = range(len(self))[i], len(self._labels["train"])
        part, row = ("train", row) if row < training else ("test", row - training)
        return _Row(f"{part} {row:06d}", npz.rows(self._arrays[part], row, row + 1), int(self._labels[part][row]), PARTS[part])


def _recording(item: _Row) -> Recording | Dropped:
    joints = item.joints.load().reshape(-1, 2, len(NTU25), 3).transpose(1, 0, 2, 3)  # (1, T, 150) -> (M, T, V, 3)
    there = (joints != 0).any(axis=(2, 3))  # (M, T)
    filled = np.flatnonzero(there.any(axis=0))
    if not len(filled):
        return Dropped(item.stem, "no body in any frame")
    first, last = int(filled[0]), int(filled[-1])
    changes = {"frames of zeros at the beginning": first} if first else {}
    return Recording(joints[there.any(axis=1), first : last + 1], item.label, item.stem, setup=item.part, changes=changes)
