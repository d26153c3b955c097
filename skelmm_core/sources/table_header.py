"""What a table says of itself before its rows: the columns of a Parquet file or of a text with a header line, found without any library."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from skelmm_core.errors import DataError

LONGEST = 1 << 16  # bytes of the header line
ROWS = 200  # that are looked at for decimal commas: the first ones may hold whole numbers
FOOTER = 1 << 20  # bytes of a Parquet file's end that are searched for names
DELIMITERS = ",;\t"
PARQUET = b"PAR1"
_COMMA = re.compile(r"\s*[+-]?\d*,\d+\s*")


@dataclass(frozen=True)
class Header:
    """Of a text: its columns in small letters, what divides them, the decimal point, and the byte where the rows begin."""

    columns: tuple[str, ...]
    delimiter: str
    decimal: str
    begin: int


def plain(names: Iterable[str]) -> tuple[str, ...]:
    """Names of columns, in small letters and without blanks around."""
    return tuple(name.strip().lower() for name in names)


def holds(path: Path, columns: Iterable[str]) -> bool:
    """Whether `path` is a text or a Parquet file with these columns; never raises."""
    try:
        if not path.is_file():
            return False
        if is_parquet(path):
            end = _footer(path).lower()
            return all(bytes([len(name)]) + name.encode() in end for name in columns)
        return set(columns) <= set(of_text(path).columns)
    except (DataError, OSError, ValueError):
        return False


def is_parquet(path: Path) -> bool:
    """Whether a file begins as a Parquet file does. A path that can't be read raises `DataError`."""
    try:
        with open(path, "rb") as file:
            return file.read(len(PARQUET)) == PARQUET
    except OSError as problem:
        raise DataError(f"can't read '{path}': {problem.strerror or problem}") from problem


def of_text(path: Path) -> Header:
    """The header of a text. Raises `DataError` for what is no text in UTF-8, has no header line, or has two columns of one name."""
    try:
        with open(path, "rb") as file:
            first, rows = file.readline(LONGEST), [file.readline(LONGEST) for _ in range(ROWS)]
    except OSError as problem:
        raise DataError(f"can't read '{path}': {problem.strerror or problem}") from problem
    try:
        head = first.removeprefix(codecs.BOM_UTF8).decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as problem:
        raise DataError(f"'{path}', line 1: not text in UTF-8 ({problem}); save the table as CSV in UTF-8") from problem
    if "\0" in head or not first.endswith(b"\n") or "\r" in head:
        raise DataError(
            f"'{path}' does not begin with a line that names columns; expected clip,frame,joint,x,y,z,label in UTF-8, each row in a line"
        )
    delimiter = max(DELIMITERS, key=head.count)
    columns = plain(_fields(head, delimiter))
    twice = [name for name in columns if columns.count(name) > 1] if len(columns) < 1000 else columns[:1]
    if twice:
        raise DataError(f"'{path}', line 1: {len(columns)} columns, of which two are named '{twice[0][:50]}'; name them apart")
    values = (dict(zip(columns, _fields(row.decode("utf-8", "replace"), delimiter), strict=False)) for row in rows)
    commas = delimiter != "," and any(_COMMA.fullmatch(value.get(axis, "")) for value in values for axis in "xyz")
    return Header(columns, delimiter, "," if commas else ".", len(first))


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _footer(path: Path) -> bytes:
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        tail = file.read(8)
        length = min(int.from_bytes(tail[:4], "little"), FOOTER, max(0, size - 8))
        file.seek(size - 8 - length)
        return file.read(length) if tail[4:] == PARQUET else b""
