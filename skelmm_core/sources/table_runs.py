"""The clips of a long table: runs of rows with one name, found in one pass over the columns that say what a clip is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skelmm_core.errors import DataError

MOST = 1 << 21  # clips; each takes some hundred bytes


@dataclass(frozen=True)
class Block:
    """Some rows in order. texts: column -> their values as text; places: (n+1,) where each row and the end lie in the file; lines: (n,)
    their numbers in messages; torn: what is wrong with lines that are no rows, (line, words)."""

    texts: dict[str, pa.Array]
    places: np.ndarray
    lines: np.ndarray
    torn: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Columns:
    """The rows of one clip: frame (n,) and xyz (n, 3) float64, joint and body as text (body None where there is no such column), and
    their numbers in messages, lines (n,)."""

    frame: np.ndarray
    xyz: np.ndarray
    joint: pa.Array
    body: pa.Array | None
    lines: np.ndarray


@dataclass(slots=True)
class Run:
    """A clip: its name, what is the same in all its rows, where it lies in the file, and its first line. problem: why it can't be used,
    "" for nothing known."""

    stem: str
    texts: tuple[str, ...]
    begin: int
    end: int
    line: int
    problem: str = ""


class Rows(Protocol):
    """A table in a file. unit: what its rows are counted in, "line" or "row"; columns: in small letters."""

    path: str
    unit: str
    columns: tuple[str, ...]

    def blocks(self, names: tuple[str, ...]) -> Iterator[Block]: ...

    def load(self, run: Run) -> Columns: ...


def runs(rows: Rows, constant: tuple[str, ...]) -> list[Run]:
    """The clips in order. constant: the columns of `Run.texts`, label first.

    An empty name or label, a value that changes within a clip, and any line that is no row are the clip's `problem`. A clip that comes
    again after others raises `DataError` naming both lines.
    """
    found: list[Run] = []
    begun: dict[str, int] = {}  # line where each clip began
    same: dict[str, str] = {}  # one copy of every text
    torn: list[tuple[int, str]] = []
    for block in rows.blocks(("clip", *constant)):
        count, before = len(block.lines), len(found)
        fresh = _changes(block.texts["clip"], found[-1].stem if found else None)
        starts = np.flatnonzero(fresh)
        if found and count:
            found[-1].end = int(block.places[starts[0] if len(starts) else count])
        owners = before - 1 + np.cumsum(fresh)  # (n,) number of the run that each row belongs to
        moved = [_changes(block.texts[name], found[-1].texts[c] if found else None) & ~fresh for c, name in enumerate(constant)]
        chosen = pa.array(starts)
        firsts = zip(*(block.texts[name].take(chosen).to_pylist() for name in ("clip", *constant)), strict=True)
        ends = block.places[np.append(starts, count)][1:]
        for start, end, (name, *texts) in zip(starts.tolist(), ends.tolist(), firsts, strict=True):
            line = int(block.lines[start])
            if name in begun:
                raise DataError(
                    f"'{rows.path}', {rows.unit} {line}: clip '{name[:80]}' comes again after other clips, it began in {rows.unit} "
                    f"{begun[name]}; its rows must stand together: sort the table by clip, or give the clips different names"
                )
            begun[name] = line
            found.append(Run(name, tuple(same.setdefault(t, t) for t in texts), int(block.places[start]), end, line))
            if not name or not texts[0]:
                _blame(rows, found[-1], line, f"the {'label' if name else 'name'} is empty")
        if len(found) > MOST:
            raise DataError(f"'{rows.path}' has more than {MOST} clips; does the column 'clip' hold the clips' names?")
        for name, changed in zip(constant, moved, strict=True):
            places = np.flatnonzero(changed)
            for owner, i in zip(*np.unique(owners[places], return_index=True), strict=True):  # the first place in each clip
                value = block.texts[name][int(places[i])].as_py()
                _blame(rows, found[owner], block.lines[places[i]], f"{name} is '{value[:50]}', but not so in the clip's first row")
        torn += block.torn
        if found:
            for line, words in torn:
                row = int(np.searchsorted(block.lines, line)) - 1
                _blame(rows, found[owners[row] if row >= 0 else max(0, before - 1)], line, words)
            torn = []
    return found


def _blame(rows: Rows, run: Run, line: int, words: str) -> None:
    run.problem = run.problem or f"'{rows.path}', {rows.unit} {line}, clip '{run.stem[:80]}': {words}"


def _changes(values: pa.Array, last: str | None) -> np.ndarray:
    """(n,) bool: which values differ from the one before; `last` is the one before the first."""
    changed = np.ones(len(values), bool)
    if len(values):
        changed[0] = values[0].as_py() != last
        changed[1:] = pc.not_equal(values.slice(1), values.slice(0, len(values) - 1)).to_numpy(zero_copy_only=False)
    return changed
