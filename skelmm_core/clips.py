"""Clips: skeleton sequences of any length, with labels and where they come from, in one memory-mapped file.

The file is a safetensors file (no pickle, safe to open from strangers, readable with the `safetensors` library): clip i owns
the rows `start[i] .. start[i+1]` of `joints` (rows, V, 3), its bodies one after the other, so a frame of one body is a row and
nothing is padded. Opening reads the header and the columns, never the joints.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from skelmm_core.errors import DataError
from skelmm_core.files import refuse_foreign, replacing
from skelmm_core.recordings import NUMBERS, Dropped, Recording, Source, Stream, check, stature
from skelmm_core.skeletons import Skeleton

__all__ = ["Clips", "Dropped", "Packed", "Recording", "Source", "Stream", "WriteReport", "open_clips", "write"]

FORMAT = "skelmm-clips-1"
GENERATED = "generated motion"  # how the title of every source begins whose motion nobody performed
COLUMNS = (*NUMBERS, "frames", "bodies")
HEIGHTS = (0.8, 2.5)  # metres; a data set of people whose median height lies outside has its units or axes wrong
_DTYPES = {"F32": np.dtype("<f4"), "I32": np.dtype("<i4"), "I64": np.dtype("<i8"), "U8": np.dtype("u1")}
_KINDS = {"joints": "F32", "start": "I64", "name_end": "I64", **dict.fromkeys(COLUMNS, "I32"), "names": "U8"}  # in the file's order


@dataclass(frozen=True)
class WriteReport:
    """What `write` wrote. height: median over clips of the vertical extent of the first body, metres; upright: share of clips
    whose shoulders are above the middle of the body."""

    path: Path
    clips: int
    frames: int
    two_bodies: int
    per_class: tuple[int, ...]
    dropped: tuple[Dropped, ...]
    height: float
    upright: float
    seconds: float

    @property
    def warnings(self) -> tuple[str, ...]:
        found = []
        if not HEIGHTS[0] <= self.height <= HEIGHTS[1]:
            found.append(f"median height is {self.height:.3g} m, expected {HEIGHTS[0]} to {HEIGHTS[1]}: are these metres, and is y up?")
        if self.upright < 0.5:
            found.append(f"shoulders are above the middle of the body in only {self.upright:.0%} of the clips: is y up, not down?")
        empty = self.per_class.count(0)
        if empty:
            found.append(f"{empty} of {len(self.per_class)} classes have no clip")
        return tuple(found)

    def __str__(self) -> str:
        filled = [n for n in self.per_class if n]
        lines = [
            f"{self.path}: {self.clips} clips, {self.frames} frames, {self.two_bodies} clips with two bodies, {self.seconds:.1f} s",
            f"{len(filled)} classes with {min(filled)} to {max(filled)} clips each; median height {self.height:.2f} m",
        ]
        for reason, count in Counter(d.reason for d in self.dropped).most_common():
            lines.append(f"left out {count}: {reason} (first: {next(d.name for d in self.dropped if d.reason == reason)})")
        return "\n".join(lines + [f"warning: {w}" for w in self.warnings])


def write(path: str | Path, source: Source, progress: bool = True) -> WriteReport:
    """Stream `source` into a clips file; memory stays bounded by one clip and the columns.

    The file appears under its name only when it is complete. Raises `DataError`, naming file, clip and frame, for joints that
    are not finite or not (1 or 2, T >= 1, V, 3), a label outside the classes, a name used twice, a class with a single clip,
    no clip at all, a file at `path` that is not a clips file, and a disk that is full or read-only.
    """
    path, began = Path(path), time.perf_counter()
    refuse_foreign(path, FORMAT)
    columns = {c: array("i") for c in COLUMNS}
    start, names, name_end = array("q", [0]), bytearray(), array("q")
    known: set[str] = set()
    dropped: list[Dropped] = []
    heights, upright = array("d"), 0
    digest = hashlib.sha256()
    room = len(_header(source, rows=10**15, clips=10**15, name_bytes=10**15, content="0" * 64))
    room += -room % 64
    with replacing(path) as file:
        file.write(bytes(8 + room))
        quiet = None if progress else True  # None: tqdm keeps quiet by itself where there is no terminal
        for item in tqdm(source.recordings, path.name, source.count, unit=" clips", mininterval=1.0, disable=quiet):
            if isinstance(item, Dropped):
                dropped.append(item)
                continue
            joints = check(item, source)
            if item.name in known:
                raise DataError(
                    f"{source.title}: two clips have the name '{item.name}'; one could land in train and one in test: remove one"
                )
            known.add(item.name)
            file.write(joints.data)
            digest.update(joints.data)
            bodies, frames = joints.shape[:2]
            for column in NUMBERS:
                columns[column].append(getattr(item, column))
            columns["frames"].append(frames)
            columns["bodies"].append(bodies)
            start.append(start[-1] + bodies * frames)
            names += item.name.encode()
            name_end.append(len(names))
            height, up = stature(joints, source.skeleton)
            heights.append(height)
            upright += up
        per_class = _per_class(columns["label"], source, name_end, names)
        tail = [start, name_end, *columns.values(), names]
        if start[-1] % 2:
            tail.insert(0, np.zeros((1, len(source.skeleton), 3), "<f4"))  # an even number of rows keeps the 64-bit columns aligned
        for part in tail:
            file.write(part)
            digest.update(part)
        digest.update(json.dumps([source.skeleton.to_dict(), source.class_names]).encode())
        header = _header(source, start[-1] + start[-1] % 2, len(name_end), len(names), digest.hexdigest())
        file.seek(0)
        file.write(room.to_bytes(8, "little") + header.ljust(room))
    clips = len(name_end)
    return WriteReport(
        path,
        clips,
        sum(columns["frames"]),
        sum(b == 2 for b in columns["bodies"]),
        per_class,
        tuple(dropped),
        float(np.median(heights)),
        upright / clips,
        time.perf_counter() - began,
    )


def _layout(rows: int, clips: int, name_bytes: int, joints: int) -> dict[str, tuple[int, ...]]:
    shapes = {"joints": (rows, joints, 3), "start": (clips + 1,), "names": (name_bytes,)}
    return {name: shapes.get(name, (clips,)) for name in _KINDS}


def _header(source: Source, rows: int, clips: int, name_bytes: int, content: str) -> bytes:
    metadata = {
        "format": FORMAT,
        "unit": "metre",
        "title": source.title,
        "skeleton": json.dumps(source.skeleton.to_dict()),
        "class_names": json.dumps(source.class_names),
        "frame_rate": repr(float(source.frame_rate)),
        "protocol": source.protocol,
        "fingerprint": source.fingerprint,
        "content": content,
    }
    table, end = {"__metadata__": metadata}, 0
    for name, shape in _layout(rows, clips, name_bytes, len(source.skeleton)).items():
        begin, end = end, end + int(np.prod(shape, dtype=object)) * _DTYPES[_KINDS[name]].itemsize
        table[name] = {"dtype": _KINDS[name], "shape": shape, "data_offsets": (begin, end)}
    return json.dumps(table).encode()


def _per_class(labels: Sequence[int], source: Source, name_end: Sequence[int], names: bytes) -> tuple[int, ...]:
    counts = Counter(labels)
    if not counts:
        raise DataError(f"{source.title}: no clip was found or all were left out; nothing to write")
    for label, count in sorted(counts.items()):
        if count == 1:
            only = Names(names, name_end)[list(labels).index(label)]
            raise DataError(
                f"{source.title}: class {label} '{source.class_names[label]}' has a single clip ('{only}'); a class needs at least two, "
                "one to train and one to test: add clips of it or take that one away"
            )
    return tuple(counts.get(label, 0) for label in range(len(source.class_names)))


class Names(Sequence):
    """Clip names, decoded when asked for."""

    def __init__(self, text, ends: Sequence[int]):
        self._text, self._ends = text, ends

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, i):
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
        except (KeyError, ValueError, TypeError) as problem:
            raise DataError(f"'{self.path}' has a damaged header ({problem}); prepare it again from its source") from problem

    def _check(self, arrays: dict[str, np.ndarray]) -> None:
        count, rows = len(self.labels), self.bodies.astype(np.int64) * self.frames
        shapes = {name: a.shape for name, a in arrays.items()}
        good = (
            shapes == _layout(len(self._joints), count, len(arrays["names"]), len(self.skeleton))
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
        label, *others = numbers
        return Recording(self.joints_of(i), label, self.names[i], *others)

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

    def __reduce__(self):
        return Clips, (self.path,)  # another process maps the file anew


def open_clips(path: str | Path) -> Clips:
    """Open a clips file; missing, empty, truncated, damaged and foreign files raise `DataError`."""
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
        for name, kind in _KINDS.items():
            entry, dtype = table[name], _DTYPES[kind]
            begin, end = entry["data_offsets"]
            if entry["dtype"] != kind or not 0 <= begin <= end:
                raise ValueError(f"tensor '{name}'")
            flat = np.frombuffer(mapped, dtype, (end - begin) // dtype.itemsize, 8 + length + begin) if end > begin else np.empty(0, dtype)
            arrays[name] = flat.reshape(entry["shape"])
    except (ValueError, KeyError, TypeError) as problem:
        raise DataError(f"'{path}' has a damaged header ({problem}); prepare it again from its source") from problem
    return metadata, arrays
