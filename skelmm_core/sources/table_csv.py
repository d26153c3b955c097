"""Rows of a CSV, read in blocks of whole lines by pyarrow, or those of one clip from where they lie."""

from __future__ import annotations

import csv as text
import io
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from skelmm_core.errors import DataError
from skelmm_core.sources import table_header
from skelmm_core.sources.table_runs import Block, Columns, Run

BLOCK = 1 << 23  # bytes that are parsed at a time, and more than any line has
LARGEST = 1 << 28  # bytes of one clip
TORN = 1000  # lines of one block that are no rows; more of them make no table
NUMBERS = ("frame", "x", "y", "z")


@dataclass(frozen=True)
class Csv:
    """See `table_runs.Rows`. Places are bytes."""

    path: str
    header: table_header.Header
    unit: str = "line"

    @property
    def columns(self) -> tuple[str, ...]:
        return self.header.columns

    def blocks(self, names: tuple[str, ...]) -> Iterator[Block]:
        """All rows, as text. Raises `DataError` naming the line for what can't be divided into lines and fields."""
        line, place, rest = 2, self.header.begin, b""
        try:
            with open(self.path, "rb") as file:
                file.seek(place)
                while piece := file.read(BLOCK):
                    data = rest + piece
                    cut = data.rfind(b"\n") + 1
                    rest = data[cut:]
                    if len(rest) >= BLOCK:
                        raise DataError(f"'{self.path}', line {line + data.count(10)}: longer than any row; expected a row in each line")
                    if cut:
                        yield self._block(data[:cut], line, place, names)
                        line, place = line + data.count(b"\n", 0, cut), place + cut
                if rest:
                    yield self._block(rest, line, place, names)
        except OSError as problem:
            raise DataError(f"can't read '{self.path}': {problem.strerror or problem}") from problem

    def load(self, run: Run) -> Columns:
        """The rows of a clip. Raises `DataError` naming the line for a field that is not the number it should be."""
        if run.end - run.begin > LARGEST:
            raise DataError(f"{self._at(run.line)}: clip '{run.stem[:80]}' has {run.end - run.begin} bytes, more than any recording")
        try:
            with open(self.path, "rb") as file:
                file.seek(run.begin)
                data = file.read(run.end - run.begin)
        except OSError as problem:
            raise DataError(f"can't read '{self.path}': {problem.strerror or problem}") from problem
        body = ("body",) if "body" in self.columns else ()
        texts, numbers, lines, _ = self._parsed(data, run.line, ("joint", *body), NUMBERS)
        xyz = np.stack([numbers[axis] for axis in "xyz"], axis=1)
        return Columns(numbers["frame"], xyz, texts["joint"], texts.get("body"), lines)

    def _block(self, data: bytes, line: int, place: int, names: tuple[str, ...]) -> Block:
        texts, _, lines, torn = self._parsed(data, line, names)
        places = np.append(_starts(data)[lines - line], len(data)) + place
        return Block(texts, places, lines, torn)

    def _parsed(self, data: bytes, line: int, texts: tuple[str, ...], numbers: tuple[str, ...] = ()) -> Any:
        """Columns of some lines as text and as float64, the lines that are rows (n,), and what is wrong with those that are not."""
        if data.count(b"\r", 0, -1) > data.count(b"\r\n"):  # the last byte may be half of a line's end
            raise DataError(
                f"'{self.path}': some lines end in CR alone from line {line} on; save the table again, each line ending in LF or CRLF"
            )
        try:
            data.isascii() or data.decode("utf-8")
        except UnicodeDecodeError as problem:
            at = self._at(line + data.count(b"\n", 0, problem.start))
            raise DataError(f"{at}: not text in UTF-8 ({problem.reason}); save the table as CSV in UTF-8") from problem
        filled = line + _filled(data)
        skipped = array("q")
        torn: list[Any] = []

        def note(row: csv.InvalidRow) -> str:
            skipped.append(row.number - 1)
            if len(torn) <= TORN and row.text.strip():
                torn.append((row.number - 1, f"{row.actual_columns} fields, expected {row.expected_columns}"))
            return "skip"

        if not len(filled):
            return {name: pa.array([], pa.string()) for name in texts}, {name: np.zeros(0) for name in numbers}, filled, []
        try:
            table = csv.read_csv(
                io.BytesIO(data),
                csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=self.columns),
                csv.ParseOptions(delimiter=self.header.delimiter, invalid_row_handler=note),
                csv.ConvertOptions(
                    include_columns=[*texts, *numbers],
                    column_types={**dict.fromkeys(texts, pa.string()), **dict.fromkeys(numbers, pa.float64())},
                    null_values=[],
                    strings_can_be_null=False,
                    decimal_point=self.header.decimal,
                ),
            )
        except pa.ArrowException as problem:
            raise self._culprit(data, line, numbers, problem) from problem
        if table.num_rows + len(skipped) != len(filled):
            odd = next((i for i, text in enumerate(data.split(b"\n")) if text.count(b'"') % 2), 0)
            raise DataError(f"{self._at(line + odd)}: a quotation mark that is not closed; expected a row in each line")
        if len(torn) > TORN:
            raise DataError(f"{self._at(filled[torn[0][0]])}: {torn[0][1]}, as in more than {TORN} lines; expected a row in each line")
        torn = [(int(filled[row]), words) for row, words in torn]
        lines = np.delete(filled, np.frombuffer(skipped, np.int64)) if skipped else filled
        found = {name: table[name].combine_chunks() for name in texts}
        return found, {name: table[name].to_numpy() for name in numbers}, lines, torn

    def _culprit(self, data: bytes, line: int, numbers: tuple[str, ...], problem: Exception) -> DataError:
        """The error for the first line that can't be understood, found field by field."""
        for i, content in enumerate(data.splitlines()):
            try:
                fields = next(text.reader([content.decode("utf-8")], delimiter=self.header.delimiter), [])
            except text.Error as wrong:
                return DataError(f"{self._at(line + i)}: {wrong}; expected a row in each line")
            for name, value in zip(self.columns, fields, strict=False):
                if name in numbers and len(fields) == len(self.columns) and not _number(value, self.header.decimal):
                    return DataError(
                        f"{self._at(line + i)}: {name} is '{value[:50]}', expected a number; repair the row or leave the clip out"
                    )
        return DataError(f"{self._at(line)}: can't be read ({str(problem)[:200]}); expected a row in each line")

    def _at(self, line: int) -> str:
        return f"'{self.path}', line {line}"


def opened(path: Path) -> Csv:
    return Csv(str(path), table_header.of_text(path))


def _number(value: str, decimal: str) -> bool:
    try:
        float(value if decimal == "." else value.replace(".", "?").replace(decimal, "."))
    except ValueError:
        return False
    return True


def _starts(data: bytes) -> np.ndarray:
    """Where each line begins, and the end."""
    return np.append(0, np.flatnonzero(np.frombuffer(data, np.uint8) == 10) + 1)


def _filled(data: bytes) -> np.ndarray:
    """Numbers, from 0, of the lines that are not empty."""
    starts, content = _starts(data), np.frombuffer(data, np.uint8)
    if starts[-1] < len(data):
        starts = np.append(starts, len(data) + 1)  # as if the last line had an end
    length = np.diff(starts) - 1
    bare = content[np.minimum(starts[:-1], max(0, len(data) - 1))] == 13 if len(data) else np.zeros(0, bool)
    return np.flatnonzero((length > 1) | (length == 1) & ~bare)
