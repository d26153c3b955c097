"""Your own data in one npz of plain arrays (no pickle), clips end to end:

| array | shape | |
|---|---|---|
| joints | (frames, V, 3) float | metres, y up, one body |
| offsets | (N+1,) int | clip i has the frames offsets[i] .. offsets[i+1] |
| label | (N,) int | counted from 0 |
| subject | (N,) int or str | names are numbered from 1 in alphabetical order |
| name | (N,) str | all different |
| label_names | (classes,) str | |
| parents | (V,) int, optional | parent of each joint, as a check that the joints have the skeleton's order |
| view, setup, repetition | (N,) int, optional | |
| fps | one number, optional | frames per second, 30 if absent |
| protocol | one str, optional | default train/test split |
| skeleton | one str, optional | a known skeleton's name, or a `Skeleton` table as JSON; by the number of joints if absent |

`joints` stays in the file, of whatever size, and every clip is read by itself (see `npz` for compressed files); the others are one value
per clip and are read at once.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from skelmm_core import skeletons
from skelmm_core.errors import DataError, nearest
from skelmm_core.recordings import Dropped, Recording, Source
from skelmm_core.skeletons import Skeleton
from skelmm_core.sources import npz, stored
from skelmm_core.sources.stored import Stored

HOLDS = "an npz with joints, offsets, label, subject, name and label_names"
NEEDED = ("joints", "offsets", "label", "subject", "name", "label_names")
OPTIONAL = ("parents", "view", "setup", "repetition", "fps", "protocol", "skeleton")


def recognise(path: Path) -> bool:
    """Whether `path` is a zip of `.npy` arrays that include joints and offsets."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {"joints.npy", "offsets.npy"} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def read(path: Path, protocol: str = "", title: str = "", skeleton: str | Path | Skeleton = "") -> Source:
    """The clips of an npz file; `protocol`, `title` and `skeleton` (a name, or a TOML file) stand in for the file's own, and its name.

    Raises `DataError` for a file that is missing, torn or pickled, and for arrays that are absent or do not fit together.
    """
    path = Path(path)
    file = npz.Npz(path)
    joints, arrays = _arrays(file)
    skeleton = _skeleton(joints.shape[1], arrays, path, skeleton)
    count = len(arrays["label"])
    offsets = arrays["offsets"]
    for key in ("label", "subject", "name", "view", "setup", "repetition"):
        if key in arrays and arrays[key].shape != (count,):
            raise DataError(f"'{path}': '{key}' has the shape {arrays[key].shape}, expected ({count},), one entry per label")
    for key in ("offsets", "label", "view", "setup", "repetition"):
        if key in arrays and arrays[key].dtype.kind not in "iu":
            raise DataError(f"'{path}': '{key}' holds {arrays[key].dtype}, expected integers")
    total = joints.shape[0]
    if offsets.shape != (count + 1,) or offsets[0] != 0 or offsets[-1] != total or (offsets[1:] <= offsets[:-1]).any():
        raise DataError(
            f"'{path}': 'offsets' must be {count + 1} numbers (one more than clips) rising from 0 to the {total} frames of 'joints', at "
            f"least one frame per clip; found the shape {offsets.shape} with values {offsets.ravel()[:3].tolist()} ... "
            f"{offsets.ravel()[-1:].tolist()}"
        )
    if arrays["label_names"].ndim != 1 or len(set(arrays["label_names"])) < len(arrays["label_names"]):
        raise DataError(f"'{path}': 'label_names' must be one name per class, all different, found {_few(arrays['label_names'])}")
    rate = _single(arrays, "fps", 30.0, path)
    if not isinstance(rate, int | float) or not 0 < rate < 1e6:
        raise DataError(f"'{path}': 'fps' must be frames per second above 0, found {rate!r:.80}")
    return Source(
        title=title or path.stem,
        skeleton=skeleton,
        class_names=tuple(map(str, arrays["label_names"])),
        frame_rate=float(rate),
        protocol=protocol or str(_single(arrays, "protocol", "", path)),
        fingerprint=hashlib.sha256(repr((stored.digest(path), protocol, title, skeleton.to_dict())).encode()).hexdigest(),
        items=_Clips(joints, arrays, _subjects(arrays["subject"], path)),
        read=_recording,
    )


def _arrays(file: npz.Npz) -> tuple[Stored, dict[str, np.ndarray]]:
    """The joints, in the file, and all others, loaded."""
    path = file.path
    missing = [key for key in NEEDED if key not in file]
    if missing:
        raise DataError(f"'{path}' lacks '{missing[0]}'{nearest(missing[0], file)}; an npz of clips has {', '.join(NEEDED)}")
    for key in sorted(set(file) - {*NEEDED, *OPTIONAL}):  # other arrays are the owner's business
        if meant := difflib.get_close_matches(key, [k for k in OPTIONAL if k not in file], 1, 0.8):
            raise DataError(f"'{path}' has an array '{key}': is it meant as '{meant[0]}'? Rename it, or leave it out")
    joints = file.described("joints")
    if len(joints.shape) != 3 or joints.shape[2] != 3 or joints.kind != "f":
        raise DataError(f"'{path}': 'joints' must be floats of the shape (frames, joints, 3), found {joints}")
    npz.in_order([("joints", joints)], path)
    arrays = {key: file.column(key) for key in (*NEEDED[1:], *OPTIONAL) if key in file}
    for key in ("name", "label_names"):
        if arrays[key].dtype.kind != "U":
            raise DataError(f"'{path}': '{key}' holds {arrays[key].dtype}, expected names (str)")
    if arrays["label"].ndim != 1:
        raise DataError(f"'{path}': 'label' must have one number per clip, found the shape {arrays['label'].shape}")
    return file["joints"], arrays


def _single(arrays: dict[str, np.ndarray], key: str, absent: Any, path: Path) -> Any:
    value = arrays.get(key, np.asarray(absent))
    if value.size != 1:
        raise DataError(f"'{path}': '{key}' must be one value, found {value.size}")
    return value.item()


def _skeleton(joints: int, arrays: dict[str, np.ndarray], path: Path, given: str | Path | Skeleton) -> Skeleton:
    named = str(_single(arrays, "skeleton", "", path)).strip()
    try:
        table = json.loads(named) if named.startswith("{") else None
    except (ValueError, RecursionError) as problem:
        raise DataError(f"'{path}': 'skeleton' is not a JSON table ({problem})") from problem
    if given:
        skeleton = skeletons.get(given)
    elif named:
        skeleton = _stored_skeleton(named, table, path)
    else:
        spatial = [s for s in skeletons.SKELETONS.values() if s.dimensions == 3]  # joints in an image must be called that
        fitting = [s for s in spatial if len(s) == joints]
        if not fitting:
            known = ", ".join(f"{s.name} ({len(s)})" for s in spatial)
            raise DataError(
                f"'{path}': no known skeleton in space has {joints} joints: {known}; give your own with -p skeleton=FILE.toml, or store "
                "its table as 'skeleton'"
            )
        skeleton = fitting[0]
    if skeletons.SKELETONS.get(skeleton.name, skeleton) != skeleton:
        raise DataError(f"'{path}': 'skeleton' is a table of its own with the name of the built-in '{skeleton.name}'; name it otherwise")
    if len(skeleton) != joints:
        raise DataError(f"'{path}': 'joints' has {joints} joints, skeleton '{skeleton.name}' has {len(skeleton)}")
    if "parents" in arrays:
        parents = arrays["parents"]
        if parents.shape != (joints,) or parents.dtype.kind not in "iu":
            raise DataError(f"'{path}': 'parents' must be {joints} joint numbers, found {parents.dtype} {parents.shape}")
        found, expected = _links(parents.tolist()), _links(skeleton.bone)
        if found != expected:
            odd = sorted(tuple(sorted(link)) for link in found ^ expected)
            raise DataError(
                f"'{path}': 'parents' is not the tree of skeleton '{skeleton.name}'; they differ in the links {odd[:4]}: reorder"
            )
    return skeleton


def _stored_skeleton(named: str, table: dict[str, Any] | None, path: Path) -> Skeleton:
    if table is None and named not in skeletons.SKELETONS:
        known = nearest(named[:80], skeletons.SKELETONS)
        raise DataError(f"'{path}': 'skeleton' is '{named[:80]}'{known}; one's own stands there as a table in JSON")
    try:
        return skeletons.SKELETONS[named] if table is None else Skeleton.from_dict(table)
    except DataError as problem:
        raise DataError(f"'{path}': 'skeleton': {problem}") from problem


def _links(parents: Any) -> set[frozenset[int]]:
    """The tree's links without a direction: where the root is makes no difference."""
    return {frozenset((joint, parent)) for joint, parent in enumerate(parents) if joint != parent}


def _subjects(values: np.ndarray, path: Path) -> np.ndarray:
    if values.dtype.kind in "iu":
        return values
    if values.dtype.kind != "U":
        raise DataError(f"'{path}': 'subject' holds {values.dtype}, expected integers or names")
    return np.unique(values, return_inverse=True)[1].reshape(-1) + 1


@dataclass(frozen=True, eq=False)
class _Clip:
    """What is known of a clip, with the place of its joints."""

    joints: Stored
    facts: Recording

    @property
    def stem(self) -> str:
        return self.facts.name


class _Clips(Sequence):
    """Every clip, put together when it is asked for."""

    def __init__(self, joints: Stored, arrays: dict[str, np.ndarray], subjects: np.ndarray):
        self._joints, self._arrays, unknown = joints, arrays, np.full(len(subjects), -1)
        self._numbers = subjects, *(arrays.get(key, unknown) for key in ("view", "setup", "repetition"))

    def __len__(self) -> int:
        return len(self._numbers[0])

    def __getitem__(self, i: int) -> _Clip:
        i = range(len(self))[i]
        begin, end = map(int, self._arrays["offsets"][i : i + 2])
        numbers = (int(column[i]) for column in self._numbers)
        name = str(self._arrays["name"][i])
        return _Clip(npz.rows(self._joints, begin, end), Recording(_NOTHING, int(self._arrays["label"][i]), name, *numbers))


_NOTHING = np.zeros((1, 0, 0, 3), np.float32)


def _recording(clip: _Clip) -> Recording | Dropped:
    joints = clip.joints.load()  # (T, V, 3)
    return replace(clip.facts, joints=joints[None]) if joints.any() else Dropped(clip.stem, "no body in any frame")


def _few(names: np.ndarray) -> str:
    if names.ndim != 1:
        return f"the shape {names.shape}"
    return ", ".join(str(name)[:80] for name in names[:8]) + (", ..." if len(names) > 8 else "")
