"""Writing a source into a clips file, clip by clip, so that an interrupted writer goes on where it stopped.

Joints stream into ``.NAME.writing`` beside the target; what else is known of the clips goes into ``.NAME.journal``, a line of JSON
every few seconds. A writer that finds both, of the same source, takes up the lines that are whole. The target appears under its name
only when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock, Timeout
from tqdm import tqdm

from skelmm_core.clipfile import COLUMNS, FORMAT, header, room
from skelmm_core.errors import DataError, InterruptedWork
from skelmm_core.files import refuse_foreign, unwritten
from skelmm_core.reading import Checked, examine
from skelmm_core.recordings import NUMBERS, Dropped, Source

HEIGHTS = (0.8, 2.5)  # metres; a data set of people whose median height lies outside has its units or axes wrong
SAVE_EVERY = 2.0  # seconds between lines of the journal


@dataclass(frozen=True)
class WriteReport:
    """What `write` wrote. changes: what readers took away from recordings -> (how many, from how many clips). height: median over clips
    of the vertical extent of the first body, metres (NaN for a skeleton in an image); upright: share of clips whose shoulders are above
    the middle of the body. resumed: clips that an interrupted writer had written before."""

    path: Path
    clips: int
    frames: int
    two_bodies: int
    per_class: tuple[int, ...]
    dropped: tuple[Dropped, ...]
    changes: dict[str, tuple[int, int]]
    height: float
    upright: float
    seconds: float
    resumed: int = 0

    @property
    def damaged(self) -> tuple[Dropped, ...]:
        return tuple(d for d in self.dropped if d.damaged)

    @property
    def warnings(self) -> tuple[str, ...]:
        found = []
        if self.damaged:
            found.append(f"damaged and left out: {len(self.damaged)} of {self.clips + len(self.dropped)}; first: {self.damaged[0].reason}")
        if self.height < HEIGHTS[0] or self.height > HEIGHTS[1]:
            found.append(f"median height is {self.height:.3g} m, expected {HEIGHTS[0]} to {HEIGHTS[1]}: are these metres, and is y up?")
        if self.upright < 0.5:
            found.append(f"shoulders are above the middle of the body in only {self.upright:.0%} of the clips: is y up, not down?")
        empty = self.per_class.count(0)
        if empty:
            found.append(f"{empty} of {len(self.per_class)} classes have no clip")
        return tuple(found)

    def __str__(self) -> str:
        filled = [n for n in self.per_class if n]
        tall = f"; median height {self.height:.2f} m" if self.height == self.height else ""
        lines = [
            f"{self.path}: {self.clips} clips, {self.frames} frames, {self.two_bodies} clips with two bodies, {self.seconds:.1f} s"
            + (f" ({self.resumed} clips had been written before)" if self.resumed else ""),
            f"{len(filled)} classes with {min(filled)} to {max(filled)} clips each{tall}",
        ]
        for reason, count in Counter(d.reason for d in self.dropped if not d.damaged).most_common():
            lines.append(f"left out {count}: {reason} (first: {next(d.name for d in self.dropped if d.reason == reason)})")
        lines += [f"taken away or noted: {number} {what}, from {clips} clips" for what, (number, clips) in self.changes.items()]
        return "\n".join(lines + [f"warning: {w}" for w in self.warnings])


def write(path: str | Path, source: Source, progress: bool = True, strict: bool = False, jobs: int = 0) -> WriteReport:
    """Stream `source` into a clips file; memory stays bounded by some hundred clips and the columns.

    Args:
        strict: a damaged recording stops everything; otherwise it is left out, counted and named.
        jobs: processes that read, 0: all cores as soon as it pays.

    Raises `DataError` for a source without a usable recording, a name used twice, a class with a single clip, a file at `path` that is
    not a clips file, another process that writes the same file, a disk that is full or read-only; and, when `strict`, for joints that
    are not finite or not (1 or 2, T >= 1, V, 3), a label outside the classes and whatever else a reader can't read. A writer that was
    interrupted or killed leaves its work hidden beside `path`, and the next one with the same source goes on from there.
    """
    path, began = Path(path), time.perf_counter()
    refuse_foreign(path, FORMAT)
    with _alone(path), _Draft(path, source, strict) as draft:
        resumed = len(draft.names)
        bar = tqdm(total=len(source.items), initial=draft.done, desc=path.name, unit=" items", mininterval=1.0,
                   disable=None if progress else True)  # fmt: skip  # None: tqdm keeps quiet by itself where there is no terminal
        with bar:
            for found in examine(source, draft.done, strict, jobs):
                draft.add(found)
                bar.update()
        per_class = _per_class(source, draft)
        draft.finish(source)
    changes: dict[str, tuple[int, int]] = {}
    for what, number in draft.changes:
        total, clips = changes.get(what, (0, 0))
        changes[what] = (total + number, clips + 1)
    columns = draft.columns
    return WriteReport(
        path, len(draft.names), sum(columns["frames"]), sum(b == 2 for b in columns["bodies"]), per_class, tuple(draft.dropped), changes,
        float(np.median(draft.heights)), draft.upright / len(draft.names), time.perf_counter() - began, resumed,
    )  # fmt: skip


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Only one process writes a file at a time."""
    lock = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock, timeout=0):
            try:
                yield
            finally:
                with suppress(OSError):
                    lock.unlink()
    except Timeout as problem:
        raise DataError(f"another process is writing '{path}'; wait until it is done, or name another file") from problem
    except OSError as problem:
        raise unwritten(path, problem) from problem


class _Draft:
    """A clips file in the making, with what is known of its clips. As a context it leaves nothing behind after an error, and everything
    that is needed to go on after an interrupt."""

    def __init__(self, path: Path, source: Source, strict: bool):
        self.path, self.title, self.row = path, source.title, 12 * len(source.skeleton)
        self.part, self.journal = path.with_name(f".{path.name}.writing"), path.with_name(f".{path.name}.journal")
        self.origin = json.dumps([FORMAT, source.fingerprint, source.title, source.class_names, source.skeleton.to_dict(), strict])
        self.begin = 8 + room(source)  # where the joints start
        self.columns = {c: array("i") for c in COLUMNS}
        self.start, self.names, self.dropped = array("q", [0]), {}, []
        self.heights, self.upright, self.changes = array("d"), 0, []
        self.done = 0  # items
        self.digest = hashlib.sha256()
        self.fresh: list[list] = []  # clips, and what was left out, that no line of the journal holds yet
        self.fresh_dropped: list[list] = []
        self.saved = time.monotonic()

    def __enter__(self) -> _Draft:
        try:
            kept = self._take_up()
            self.file: BinaryIO = open(self.part, "r+b" if kept else "wb")
            self.lines = open(self.journal, "r+b" if kept else "wb")
            self.lines.truncate(self.lines.seek(kept))
            if kept:
                self.file.seek(self.begin)
                left = self.start[-1] * self.row
                while left:
                    piece = self.file.read(min(left, 1 << 24))
                    self.digest.update(piece)
                    left -= len(piece)
                self.file.truncate()
            else:
                self.file.write(bytes(self.begin))
                self.lines.write(self.origin.encode() + b"\n")
                self.lines.flush()
        except OSError as problem:
            self._discard()
            raise unwritten(self.path, problem) from problem
        return self

    def __exit__(self, kind, problem, trace) -> None:
        if kind is None or (issubclass(kind, Exception) and not issubclass(kind, InterruptedWork)):
            self._discard()
            if isinstance(problem, OSError):
                raise unwritten(self.path, problem) from problem
            return
        with suppress(OSError):
            self._note()
        for file in (self.file, self.lines):
            with suppress(OSError):
                file.close()

    def add(self, found: Sequence[Checked | Dropped]) -> None:
        """All that one item held."""
        for item in found:
            if isinstance(item, Dropped):
                self.dropped.append(item)
                self.fresh_dropped.append([item.name, item.reason, item.damaged])
                continue
            clip, data = item.recording, item.joints
            numbers = [*(getattr(clip, c) for c in NUMBERS), data.shape[1], data.shape[0]]
            facts = [numbers, clip.name, item.height, item.upright, dict(clip.changes)]
            self._know(*facts)
            self.file.write(data.data)
            self.digest.update(data.data)
            self.fresh.append(facts)
        self.done += 1
        if time.monotonic() - self.saved > SAVE_EVERY:
            self._note()

    def finish(self, source: Source) -> None:
        """Columns behind the joints, the header in front, and the file under its name."""
        names = "".join(self.names).encode()
        ends = array("q", np.cumsum([len(n.encode()) for n in self.names]).tolist())
        tail = [self.start, ends, *self.columns.values(), names]
        rows = self.start[-1]
        if rows % 2:
            tail.insert(0, np.zeros((1, len(source.skeleton), 3), "<f4"))  # an even number of rows keeps the 64-bit columns aligned
        for part in tail:
            self.file.write(part)
            self.digest.update(part)
        self.digest.update(json.dumps([source.skeleton.to_dict(), source.class_names]).encode())
        front = header(source, rows + rows % 2, len(self.names), len(names), self.digest.hexdigest())
        self.file.seek(0)
        self.file.write((self.begin - 8).to_bytes(8, "little") + front.ljust(self.begin - 8))
        self.file.flush()
        os.fsync(self.file.fileno())
        os.replace(self.part, self.path)

    def _know(self, numbers: list[int], name: str, height: float, upright: bool, changes: dict[str, int]) -> None:
        if name in self.names:
            raise DataError(f"{self.title}: two clips have the name '{name}'; one could land in train and one in test: remove one")
        self.names[name] = None  # a dict, for its order
        for column, number in zip(COLUMNS, numbers, strict=True):
            self.columns[column].append(number)
        frames, bodies = numbers[-2:]
        self.start.append(self.start[-1] + bodies * frames)
        self.heights.append(height)
        self.upright += upright
        self.changes.extend(changes.items())

    def _note(self) -> None:
        """A line of the journal, behind the joints that it speaks of."""
        self.file.flush()
        line = json.dumps([self.done, self.start[-1], self.fresh, self.fresh_dropped])
        self.lines.write(line.encode() + b"\n")
        self.lines.flush()
        self.fresh, self.fresh_dropped, self.saved = [], [], time.monotonic()

    def _take_up(self) -> int:
        """Know what the whole lines of a journal of the same source say; returns the bytes of it that count, 0 for none."""
        try:
            size = self.part.stat().st_size
            lines = self.journal.open("rb")
        except OSError:
            return 0
        with lines:
            first = lines.readline()
            if first != self.origin.encode() + b"\n":
                return 0
            kept = len(first)
            for line in lines:
                try:
                    done, rows, clips, dropped = json.loads(line)
                except ValueError:
                    break
                if not line.endswith(b"\n") or self.begin + rows * self.row > size:
                    break
                for clip in clips:
                    self._know(*clip)
                self.dropped += [Dropped(*d) for d in dropped]
                self.done, kept = done, kept + len(line)
        return kept

    def _discard(self) -> None:
        for name in ("file", "lines"):
            with suppress(OSError, AttributeError):
                getattr(self, name).close()
        for path in (self.part, self.journal):
            with suppress(OSError):
                path.unlink()


def _per_class(source: Source, draft: _Draft) -> tuple[int, ...]:
    labels = draft.columns["label"]
    counts = Counter(labels)
    damaged = [d.reason for d in draft.dropped if d.damaged]
    first = f". Left out as damaged: {len(damaged)}; first: {damaged[0]}" if damaged else ""
    if not counts:
        raise DataError(f"{source.title}: no clip was found or all were left out; nothing to write{first}")
    for label, count in sorted(counts.items()):
        if count == 1:
            only = list(draft.names)[labels.index(label)]
            raise DataError(
                f"{source.title}: class {label} '{source.class_names[label]}' has a single clip ('{only}'); a class needs at least two, "
                f"one to train and one to test: add clips of it or take that one away{first}"
            )
    return tuple(counts.get(label, 0) for label in range(len(source.class_names)))
