"""Clips: skeleton sequences of any length, with labels and where they come from, in one memory-mapped file.

The file is a safetensors file (no pickle, safe to open from strangers, readable with the `safetensors` library), laid out as
`clipfile` says. Opening reads the header and the columns, never the joints.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np

from skelmm_core.clipfile import COLUMNS, DTYPES, FORMAT, KINDS, shapes
from skelmm_core.errors import DataError
from skelmm_core.recordings import Dropped, Recording, Source, check_words
from skelmm_core.skeletons import Skeleton
from skelmm_core.writing import WriteReport, write

__all__ = ["Clips", "Dropped", "Packed", "Recording", "Source", "WriteReport", "open_clips", "write"]

GENERATED = "generated motion"  # how the title of every source begins whose motion nobody performed


class Names(Sequence[str]):
    """Clip names, decoded when asked for."""

    def __init__(self, text: np.ndarray, ends: np.ndarray):
        self._text, self._ends = text, ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> list[str]: ...
    def __getitem__(self, i: int | slice) -> str | list[str]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        return bytes(self._text[self._ends[i - 1] if i else 0 : self._ends[i]]).decode(errors="replace")


class Packed(NamedTuple):
    """Some clips end to end: body m of clip n is `rows[starts[n] + m * frames[n]:][:frames[n]]`; rows (R, V, 3), the rest (n,)."""

    rows: np.ndarray
    starts: np.ndarray
    frames: np.ndarray
    bodies: np.ndarray


class Clips:
    """An open clips file, read-only. Columns are (N,) int32, -1 where unknown; joints stay on the disk until they are asked for.

    title, skeleton, class_names, frame_rate (Hz), protocol, fingerprint: as the source gave them.
    content: sha256 of joints, columns, names, skeleton tables and class names: two files with the same content train the same.
    generated: the motion was generated, not performed.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._intact = False
        metadata, arrays = _open(self.path)
        try:
            self.title: str = metadata["title"]
            self.skeleton = Skeleton.from_dict(json.loads(metadata["skeleton"]))
            self.class_names: tuple[str, ...] = tuple(json.loads(metadata["class_names"]))
            self.frame_rate = float(metadata["frame_rate"])
            self.protocol: str = metadata["protocol"]
            self.fingerprint: str = metadata["fingerprint"]
            self.content: str = metadata["content"]
            self._joints, self._start = arrays["joints"], arrays["start"]
            self.labels, self.subjects, self.views, self.setups, self.repetitions, self.frames, self.bodies = (arrays[c] for c in COLUMNS)
            self.names = Names(arrays["names"], arrays["name_end"])
            self._check(arrays)
            check_words(f"'{self.path}'", self.title, self.protocol, self.class_names)
        except (KeyError, ValueError, TypeError) as problem:
            raise DataError(f"'{self.path}' has a damaged header ({problem}); prepare it again from its source") from problem

    def _check(self, arrays: dict[str, np.ndarray]) -> None:
        count, rows = len(self.labels), self.bodies.astype(np.int64) * self.frames
        found = {name: a.shape for name, a in arrays.items()}
        good = (
            found == shapes(len(self._joints), count, len(arrays["names"]), len(self.skeleton))
            and self._start[0] == 0
            and np.array_equal(np.diff(self._start), rows)
            and self._start[-1] <= len(self._joints)
            and np.isin(self.bodies, (1, 2)).all()
            and (rows > 0).all()
            and ((self.labels >= 0) & (self.labels < len(self.class_names))).all()
            and (np.diff(arrays["name_end"], prepend=0) >= 0).all()
            and arrays["name_end"][-1] == len(arrays["names"])
        )
        if not good:
            raise ValueError("columns that contradict each other")
        if not bytes(arrays["names"]).decode(errors="replace").isprintable():
            raise ValueError("a clip's name with characters that can't be printed")

    def check_content(self) -> None:
        """Read the whole file, once for each `Clips`: raises `DataError` where it is not what its header says."""
        if self._intact:
            return
        digest = hashlib.sha256()
        try:
            with open(self.path, "rb") as file:
                file.seek(8 + int.from_bytes(file.read(8), "little"))
                while piece := file.read(1 << 24):
                    digest.update(piece)
        except OSError as problem:
            raise DataError(f"can't read '{self.path}': {problem.strerror or problem}") from problem
        digest.update(json.dumps([self.skeleton.to_dict(), self.class_names]).encode())
        if digest.hexdigest() != self.content:
            raise DataError(
                f"'{self.path}' was damaged or edited: its content is {digest.hexdigest()[:12]}, its header says {self.content[:12]}; "
                "copy or prepare it again"
            )
        self._intact = True

    @property
    def generated(self) -> bool:
        return self.title.startswith(GENERATED)

    def __len__(self) -> int:
        return len(self.labels)

    def joints_of(self, i: int) -> np.ndarray:
        """Joints of clip i, (M, T, V, 3) float32 metres: a read-only view into the file."""
        i = range(len(self))[i]
        return self._joints[self._start[i] : self._start[i + 1]].reshape(self.bodies[i], self.frames[i], len(self.skeleton), 3)

    def __getitem__(self, i: int) -> Recording:
        numbers = (int(c[i]) for c in (self.labels, self.subjects, self.views, self.setups, self.repetitions))
        label, subject, view, setup, repetition = numbers
        return Recording(self.joints_of(i), label, self.names[i], subject, view, setup, repetition)

    def columns(self) -> dict[str, np.ndarray]:
        """The columns by their singular names: label, subject, view, setup, repetition, frames, bodies."""
        values = (self.labels, self.subjects, self.views, self.setups, self.repetitions, self.frames, self.bodies)
        return dict(zip(COLUMNS, values, strict=True))

    def take(self, indices: Sequence[int] | np.ndarray) -> Packed:
        """Many clips at once, copied out of the file end to end, in the order of `indices`."""
        indices = np.asarray(indices, np.int64)
        begin, end = self._start[indices], self._start[1:][indices]
        pieces = [self._joints[a:b] for a, b in zip(begin.tolist(), end.tolist(), strict=True)]
        rows = np.concatenate(pieces) if pieces else np.empty((0, len(self.skeleton), 3), np.float32)
        length = end - begin
        return Packed(rows, np.cumsum(length) - length, self.frames[indices], self.bodies[indices])

    def __repr__(self) -> str:
        return f"Clips('{self.path}': {self.title}, {len(self)} clips, {len(self.class_names)} classes, {self.skeleton.name})"

    def __reduce__(self) -> tuple[type[Clips], tuple[Path]]:
        return Clips, (self.path,)  # another process maps the file anew


def open_clips(path: str | Path) -> Clips:
    """Open a clips file; missing, empty, truncated, damaged and foreign files, and names that can't be printed, raise `DataError`."""
    return Clips(path)


def _open(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Header and tensors of a clips file, the tensors as read-only views of the mapped file."""
    foreign = f"'{path}' is not a clips file; make one with `skelmm prepare SOURCE CLIPS`"
    if not path.is_file():
        raise DataError(f"no clips file at '{path}'{' (a folder)' if path.is_dir() else ''}; make one with `skelmm prepare SOURCE CLIPS`")
    try:
        with open(path, "rb") as file:
            size = path.stat().st_size
            if not size:
                raise DataError(f"'{path}' is empty; prepare it again from its source")
            length = int.from_bytes(file.read(8), "little")
            if length > size - 8:
                raise DataError(f"{foreign}, or prepare it again if it was cut short ({size} bytes)")
            table = json.loads(file.read(length))
            metadata = table.pop("__metadata__")
            if metadata["format"] != FORMAT:
                raise DataError(f"'{path}' has the format '{metadata['format']}', expected '{FORMAT}'; prepare it again from its source")
            expected = 8 + length + max(t["data_offsets"][1] for t in table.values())
            if size != expected:
                raise DataError(f"'{path}' has {size} bytes, its header promises {expected}: a torn copy; copy or prepare it again")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as problem:
        raise DataError(f"can't read '{path}': {problem.strerror or problem}") from problem
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise DataError(foreign) from problem
    try:
        arrays = {}
        for name, kind in KINDS.items():
            entry, dtype = table[name], DTYPES[kind]
            begin, end = entry["data_offsets"]
            if entry["dtype"] != kind or not 0 <= begin <= end:
                raise ValueError(f"tensor '{name}'")
            flat = np.frombuffer(mapped, dtype, (end - begin) // dtype.itemsize, 8 + length + begin) if end > begin else np.empty(0, dtype)
            arrays[name] = flat.reshape(entry["shape"])
    except (ValueError, KeyError, TypeError) as problem:
        raise DataError(f"'{path}' has a damaged header ({problem}); prepare it again from its source") from problem
    return metadata, arrays
