"""Rows of a Parquet file, streamed in batches; those of one clip by a reader that goes on where it stopped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from skelmm_core.errors import DataError
from skelmm_core.sources import table_header
from skelmm_core.sources.table_runs import Block, Columns, Run

BATCH = 1 << 16  # rows
LARGEST = 1 << 23  # rows of one clip
NUMBERS = ("frame", "x", "y", "z")


@dataclass(frozen=True)
class Parquet:
    """See `table_runs.Rows`. Places are rows. spelled: the columns' names as in the file."""

    path: str
    columns: tuple[str, ...]
    spelled: tuple[str, ...]
    unit: str = "row"

    def blocks(self, names: tuple[str, ...]) -> Iterator[Block]:
        """All rows, as text."""
        with _errors(self.path):
            begin = 0
            with _file(self.path) as file:
                for batch in file.iter_batches(BATCH, columns=[self._spelled(name) for name in names]):
                    lines = np.arange(begin, begin + len(batch))
                    texts = {name: _text(batch[self._spelled(name)]) for name in names}
                    yield Block(texts, np.append(lines, begin + len(batch)), lines + 1)
                    begin += len(batch)

    def load(self, run: Run) -> Columns:
        """The rows of a clip. Raises `DataError` naming the row for a value that is not the number it should be."""
        if run.end - run.begin > LARGEST:
            raise DataError(
                f"'{self.path}', row {run.line}: clip '{run.stem[:80]}' has {run.end - run.begin} rows, more than any recording"
            )
        body = ("body",) if "body" in self.columns else ()
        names = ("joint", *body, *NUMBERS)
        with _errors(self.path):
            reader = _reader(self.path, tuple(self._spelled(name) for name in names), os.getpid(), os.stat(self.path).st_mtime_ns)
            table = reader.take(run.begin, run.end)
            columns = {name: table[self._spelled(name)].combine_chunks() for name in names}
            lines = np.arange(run.begin, run.end) + 1
            numbers = {name: self._numbers(columns[name], name, lines) for name in NUMBERS}
            xyz = np.stack([numbers[axis] for axis in "xyz"], axis=1)
            return Columns(numbers["frame"], xyz, _text(columns["joint"]), _text(columns["body"]) if body else None, lines)

    def _spelled(self, name: str) -> str:
        return self.spelled[self.columns.index(name)]

    def _numbers(self, values: pa.Array, name: str, lines: np.ndarray) -> np.ndarray:
        """(n,) float64."""
        wrong = "empty"
        if not values.null_count:
            try:
                return np.asarray(_plain(values).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
            except pa.ArrowException as problem:
                raise DataError(f"'{self.path}', rows {lines[0]} to {lines[-1]}: {name} is no number ({str(problem)[:200]})") from problem
        row = lines[values.is_null().to_numpy(zero_copy_only=False).argmax()]
        raise DataError(f"'{self.path}', row {row}: {name} is {wrong}, expected a number; repair the row or leave the clip out")


class _Reader:
    """Reads ranges of rows, one behind the other without reading anything twice; one that lies before begins again at its row group."""

    def __init__(self, path: str, names: tuple[str, ...]):
        self._file, self._names = _file(path), list(names)
        groups = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._starts = np.cumsum([0, *groups])
        self._place = self._starts[-1] + 1  # row where `_rest` begins
        self._rest: pa.RecordBatch | None = None
        self._batches: Iterator[pa.RecordBatch] = iter(())

    def take(self, begin: int, end: int) -> pa.Table:
        group = int(np.searchsorted(self._starts, begin, "right")) - 1
        if begin < self._place or self._starts[group] > self._place + BATCH:
            self._batches = self._file.iter_batches(BATCH, list(range(group, len(self._starts) - 1)), self._names)
            self._place, self._rest = int(self._starts[group]), None
        parts = []
        while True:
            batch = self._rest if self._rest is not None else next(self._batches, None)
            if batch is None:
                raise DataError(f"ends before row {end}; it was changed while it was read")
            last = self._place + len(batch)
            if last > begin:
                parts.append(batch.slice(max(0, begin - self._place), min(end, last) - max(begin, self._place)))
            if last > end:
                self._rest = batch
                return pa.Table.from_batches(parts)
            self._place, self._rest = last, None
            if last == end:
                return pa.Table.from_batches(parts)


@lru_cache(maxsize=2)
def _reader(path: str, names: tuple[str, ...], process: int, written: int) -> _Reader:
    """Every process has its own, and a file that was replaced is opened anew."""
    return _Reader(path, names)


def opened(path: Path) -> Parquet:
    """Raises `DataError` for a file that is cut short, or has two columns of one name or columns of lists."""
    with _errors(str(path)), _file(str(path)) as file:
        spelled = tuple(file.schema_arrow.names)
        kinds = file.schema_arrow.types
    columns = table_header.plain(spelled)
    if len(set(columns)) < len(columns):
        raise DataError(f"'{path}' has two columns of one name (in small letters) among {', '.join(spelled)[:200]}; name them apart")
    nested = next((name for name, kind in zip(spelled, kinds, strict=True) if pa.types.is_nested(kind)), None)
    if nested is not None:
        raise DataError(f"'{path}': column '{nested[:50]}' holds lists or tables; expected one value in each row")
    return Parquet(str(path), columns, spelled)


def _file(path: str) -> parquet.ParquetFile:
    return parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)  # a column is read piece by piece, however long


@contextmanager
def _errors(path: str) -> Iterator[None]:
    """Whatever pyarrow trips over in a damaged file as `DataError`."""
    try:
        yield
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError, OverflowError) as problem:
        _reader.cache_clear()
        raise DataError(f"can't read '{path}': {str(problem)[:200]}; it may be cut short or damaged: copy or write it again") from problem


def _text(values: pa.Array) -> pa.Array:
    """Values as text, "" for those that are not there."""
    return pc.fill_null(_plain(values).cast(pa.string()), "")


def _plain(values: pa.Array) -> pa.Array:
    values.validate(full=True)  # text in UTF-8, and no number of a text that is not there
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
