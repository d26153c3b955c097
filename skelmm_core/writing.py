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
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from tqdm import tqdm

from skelmm_core.clipfile import COLUMNS, FORMAT, header, room
from skelmm_core.errors import DataError, InterruptedWork
from skelmm_core.files import NOTHING, alone, refuse_foreign, unwritten
from skelmm_core.reading import Checked, examine
from skelmm_core.recordings import NUMBERS, Dropped, Source

HEIGHTS = (0.8, 2.5)  # metres; a data set of people whose median height lies outside has its units or axes wrong
SAVE_EVERY = 2.0  # seconds between lines of the journal
KEPT = "what was written up to here is kept, and the same command goes on from there"


@dataclass(frozen=True)
class WriteReport:
    """What `write` wrote. changes: what readers took away from recordings -> (how many, from how many clips). height: median over clips
    of the vertical extent of the first body, metres (NaN for a skeleton in an image); upright: share of clips whose shoulders are above
    the middle of the body. resumed: clips that an interrupted writer had written before. alone: classes that have a single clip."""

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
    alone: tuple[str, ...] = ()

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
        if self.alone:
            more = f" and {len(self.alone) - 3} more" if len(self.alone) > 3 else ""
            found.append(f"a single clip, which no protocol trains or tests with: {', '.join(self.alone[:3])}{more}")
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

    Raises `DataError` for a source without a usable recording, a file at `path` that is not a clips file, another process that writes the
    same file, a disk that is full or read-only; and, when `strict`, for joints that are not finite or not (1 or 2, T >= 1, V, 3), a label
    outside the classes, a name used twice and whatever else a reader can't read. A writer that was interrupted, killed, or stopped by an
    error after some seconds leaves its work hidden beside `path`, and the next one with the same source goes on from there.
    """
    path, began = Path(path), time.perf_counter()
    refuse_foreign(path, FORMAT)
    with _refusing(path), alone(path, "writing"), _Draft(path, source, strict) as draft:
        resumed = len(draft.names)
        bar = tqdm(total=len(source.items), initial=draft.done, desc=path.name, unit=" items", mininterval=1.0,
                   disable=None if progress else True)  # fmt: skip  # None: tqdm keeps quiet by itself where there is no terminal
        with bar:
            for found in examine(source, draft.done, strict, jobs):
                draft.add(found)
                bar.update()
        if draft.names:
            draft.finish(source)
    if not draft.names:
        damaged = [d.reason for d in draft.dropped if d.damaged]
        first = f". Left out as damaged: {len(damaged)}; first: {damaged[0]}" if damaged else ""
        raise DataError(f"{source.title}: no clip was found or all were left out; nothing to write{first}")
    changes: dict[str, tuple[int, int]] = {}
    for what, number in draft.changes:
        total, clips = changes.get(what, (0, 0))
        changes[what] = (total + number, clips + 1)
    columns, counts = draft.columns, Counter(draft.columns["label"])
    lone = tuple(
        f"class {label} '{source.class_names[label]}' ('{name}')"
        for label, name in zip(columns["label"], draft.names, strict=True)
        if counts[label] == 1
    )
    return WriteReport(
        path, len(draft.names), sum(columns["frames"]), sum(b == 2 for b in columns["bodies"]),
        tuple(counts.get(label, 0) for label in range(len(source.class_names))), tuple(draft.dropped), changes,
        float(np.median(draft.heights)), draft.upright / len(draft.names), time.perf_counter() - began, resumed, lone,
    )  # fmt: skip


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise unwritten(path, problem) from problem


class _Draft:
    """A clips file in the making, with what is known of its clips. As a context it leaves everything that is needed to go on after an
    interrupt, or after an error that comes when the journal has a line already; nothing after an earlier one."""

    def __init__(self, path: Path, source: Source, strict: bool):
        self.path, self.title, self.row, self.strict = path, source.title, 12 * len(source.skeleton), strict
        self.part, self.journal = path.with_name(f".{path.name}.writing"), path.with_name(f".{path.name}.journal")
        self.origin = json.dumps([FORMAT, source.fingerprint, source.title, source.class_names, source.protocol, source.skeleton.to_dict()])
        self.begin = 8 + room(source)  # where the joints start
        self.columns = {c: array("i") for c in COLUMNS}
        self.start = array("q", [0])
        self.names: dict[str, None] = {}
        self.dropped: list[Dropped] = []
        self.heights, self.upright = array("d"), 0
        self.changes: list[tuple[str, int]] = []
        self.done = 0  # items in the journal
        self.digest = hashlib.sha256()
        # Of items that no line of the journal holds yet: rows up to there, clips, dropped.
        self.fresh: list[tuple[int, list[Any], list[Any]]] = []
        self.saved, self.noted = time.monotonic(), False

    def __enter__(self) -> _Draft:
        kept = 0
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
            if not kept:
                self._discard()
            raise unwritten(self.path, problem) from problem
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        stopped = kind is not None and (not issubclass(kind, Exception) or issubclass(kind, InterruptedWork))
        kept = stopped or (kind is not None and self.noted)  # what an error stops after a moment is not worth a file
        if kept:
            with suppress(OSError):
                self._note()
        for file in (self.file, self.lines):
            with suppress(OSError):
                file.close()
        if not kept:
            self._discard()
        if isinstance(problem, OSError):
            raise unwritten(self.path, problem, kept=KEPT if kept else NOTHING) from problem
        if kept and not stopped and self.strict and isinstance(problem, DataError):
            raise DataError(f"{problem}. What was written is kept: without --strict the same command goes on from there") from problem

    def add(self, found: Sequence[Checked | Dropped]) -> None:
        """All that one item held. A second clip of a name that is taken counts as damaged."""
        clips: list[Any] = []
        dropped: list[Any] = []
        for item in found:
            if isinstance(item, Checked) and item.recording.name in self.names:
                reason = f"two clips have the name '{item.recording.name}'; one could land in train and one in test: remove one"
                if self.strict:
                    raise DataError(f"{self.title}: {reason}")
                item = Dropped(item.recording.name, reason, damaged=True)
            if isinstance(item, Dropped):
                self.dropped.append(item)
                dropped.append([item.name, item.reason, item.damaged])
                continue
            clip, data = item.recording, item.joints
            numbers = [*(getattr(clip, c) for c in NUMBERS), data.shape[1], data.shape[0]]
            clips.append([numbers, clip.name, item.height, item.upright, dict(clip.changes)])
            self._know(*clips[-1])
            self.file.write(data.data)
            self.digest.update(data.data)
        self.fresh.append((self.start[-1], clips, dropped))  # at once: an interrupt leaves whole items
        if time.monotonic() - self.saved > SAVE_EVERY:
            self._note()

    def finish(self, source: Source) -> None:
        """Columns behind the joints, the header in front, and the file under its name."""
        names = "".join(self.names).encode()
        ends = array("q", np.cumsum([len(n.encode()) for n in self.names]).tolist())
        tail: list[Any] = [self.start, ends, *self.columns.values(), names]
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
        if not self.fresh:
            return
        self.file.flush()
        clips = [x for item in self.fresh for x in item[1]]
        dropped = [x for item in self.fresh for x in item[2]]
        line = json.dumps([self.done + len(self.fresh), self.fresh[-1][0], clips, dropped])
        self.lines.write(line.encode() + b"\n")
        self.lines.flush()
        self.done, self.fresh, self.saved, self.noted = self.done + len(self.fresh), [], time.monotonic(), True

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
                torn = not line.endswith(b"\n") or self.begin + rows * self.row > size or done <= self.done
                if torn or (self.strict and any(Dropped(*d).damaged for d in dropped)):
                    break
                for clip in clips:
                    self._know(*clip)
                self.dropped += [Dropped(*d) for d in dropped]
                self.done, kept, self.noted = done, kept + len(line), True
        return kept

    def _discard(self) -> None:
        for path in (self.part, self.journal):
            with suppress(OSError):
                path.unlink()
