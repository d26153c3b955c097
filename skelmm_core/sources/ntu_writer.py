"""Any NTU-25 source as a folder of NTU RGB+D `.skeleton` files, which `sources.ntu` and other people's tools read.

Coordinates are written with nine significant digits, so that reading them back gives the same float32 clips. What a joint table does
not know is filled in: pixel places by a nominal pinhole camera, orientations 0, hands unknown, everything tracked.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
from tqdm import tqdm

from skelmm_core.errors import DataError
from skelmm_core.recordings import Dropped, Recording, Source, check
from skelmm_core.sources.ntu import ABOUT

FIRST_BODY_ID = 72_057_594_037_900_000  # ids of real files lie near here: 17 digits, more than float64 holds
DEPTH, COLOUR = (256.0, 208.5, 365.0), (975.0, 541.0, 1061.0)  # centre column, centre row, focal length in pixels
_JOINT = "%.9g %.9g %.9g %.6g %.6g %.6g %.6g 0 0 0 0 2\n"
_BODY = "%d 0 0 0 0 0 0 0 0 2\n25\n" + 25 * _JOINT


def write_ntu(folder: str | Path, source: Source, progress: bool = False) -> int:
    """Write every recording of `source` and a `skelmm.json` with its title, classes, frame rate and protocol; returns the number of clips.

    The folder appears under its name only when all of it is written. A body that is absent in a frame is left out there, or is zeros if
    a later body is present; a second body that is absent throughout is not written at all.

    Raises `DataError` for a folder that holds something already, another skeleton than ntu25, a clip that can't be stored (see
    `recordings.check`), one whose setup, view, subject or repetition is unknown or above 999, two clips with the same numbers, and a disk
    that is full or read-only.
    """
    folder = Path(folder)
    if source.skeleton.name != "ntu25":
        raise DataError(f"{source.title}: .skeleton files hold the joints of ntu25, not of '{source.skeleton.name}'; map the clips first")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"'{folder}' exists and is not an empty folder; name a new one")
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        count = _write_all(part, source, progress)
        os.replace(part, folder)
    except BaseException as problem:
        with suppress(OSError):
            shutil.rmtree(part)
        if isinstance(problem, OSError):
            raise DataError(
                f"can't write .skeleton files to '{folder}': {problem.strerror or problem}; nothing was left behind; choose another folder"
            ) from problem
        raise
    return count


def _write_all(folder: Path, source: Source, progress: bool) -> int:
    written: set[str] = set()
    for item in tqdm(source.recordings, desc="writing .skeleton", unit=" clips", disable=not progress):
        if isinstance(item, Dropped):
            continue
        name = file_name(item, source.title)
        if name in written:
            raise DataError(f"{source.title}, clip '{item.name}': a clip named '{name}' is there already; its five numbers must be unique")
        written.add(name)
        (folder / f"{name}.skeleton").write_text(text(check(item, source), name), encoding="ascii")
    if not written:
        raise DataError(f"{source.title} has no clip to write")
    about = dict(title=source.title, class_names=list(source.class_names), frame_rate=source.frame_rate, protocol=source.protocol)
    (folder / ABOUT).write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return len(written)


def file_name(item: Recording, title: str = "source") -> str:
    """`SsssCcccPpppRrrrAaaa` of a recording; raises `DataError` for an unknown number or one above 999."""
    numbers = dict(S=item.setup, C=item.view, P=item.subject, R=item.repetition, A=item.label + 1)
    for letter, number in numbers.items():
        if not 0 <= number <= 999:
            raise DataError(f"{title}, clip '{item.name}': number {letter} of an NTU file name must be 0..999, found {number}")
    return "".join(f"{letter}{number:03d}" for letter, number in numbers.items())


def text(joints: np.ndarray, name: str) -> str:
    """The `.skeleton` text of joints (M, T, 25, 3) float32; `name` gives its bodies their ids."""
    present = joints.any(axis=(2, 3))  # (M, T)
    last = np.where(present, np.arange(1, len(joints) + 1)[:, None], 0).max(axis=0)  # (T,) bodies to write
    fields = np.concatenate([joints.astype(np.float64), _pixels(joints, DEPTH), _pixels(joints, COLOUR)], axis=-1)  # (M, T, 25, 7)
    first = FIRST_BODY_ID + 2 * (zlib.crc32(name.encode()) % 50_000)
    parts = [f"{joints.shape[1]}\n"]
    for frame, bodies in enumerate(last):
        parts.append(f"{bodies}\n")
        parts.extend(_BODY % (first + body, *fields[body, frame].ravel().tolist()) for body in range(bodies))
    return "".join(parts)


def _pixels(joints: np.ndarray, camera: tuple[float, float, float]) -> np.ndarray:
    """Columns and rows (..., 2) of joints (..., 3); 0 where a joint is not in front of the camera."""
    column, row, focal = camera
    x, y, z = np.moveaxis(joints.astype(np.float64), -1, 0)
    ahead = z > 0.1
    z = np.where(ahead, z, 1.0)
    return np.where(ahead[..., None], np.stack([column + focal * x / z, row - focal * y / z], axis=-1), 0.0)
