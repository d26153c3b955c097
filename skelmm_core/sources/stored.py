"""Arrays that stay in their file until somebody asks for their numbers: where they begin, and how they are laid out."""

from __future__ import annotations

import codecs
import hashlib
import io
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import cast

import numpy as np

from skelmm_core.errors import DataError
from skelmm_core.sources.members import LARGEST_MEMBER

WHOLE = 1 << 31  # bytes; larger files are told apart by samples of their content
SAMPLES, SAMPLE = 1024, 1 << 16
HEADER = 1 << 14  # bytes from the beginning of a .npy file, more than numpy's header of plain numbers ever takes
_DECODE: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "utf-8": lambda data: data.decode("utf-8").encode("latin-1"),
    "raw-unicode-escape": lambda data: data.decode("raw-unicode-escape").encode("latin-1"),
    "escape": lambda data: codecs.escape_decode(data)[0],
}


@dataclass(slots=True)
class Place:
    """Bytes of a file, by where they are. coding: how they are written there, "" for as they are (a key of `_DECODE`); text: they stand
    for characters, not for bytes."""

    offset: int
    length: int
    coding: str = ""
    text: bool = False


@dataclass(slots=True)
class Stored:
    """An array by its place in the file at `path`, small enough to be kept by the hundred thousand and to travel between processes.

    dtype: numpy's short form with byte order, such as "<f2". grid: the shape in which the numbers lie in the file, last axis fastest, or
    first axis fastest if `fortran`; axes: the order in which the array has the grid's axes, () for the same. content: the place, or the
    bytes themselves, or, of what is too large for memory, a map of them, which stays in its process.
    """

    path: str
    dtype: str = "|i1"
    grid: tuple[int, ...] = (0,)
    fortran: bool = False
    axes: tuple[int, ...] = ()
    content: Place | bytes | mmap = b""

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.grid[axis] for axis in self.axes) if self.axes else self.grid

    @property
    def kind(self) -> str:
        """Numpy's letter: f, i, u, b (true or false), U (text) or S (bytes)."""
        return self.dtype[1]

    @property
    def size(self) -> int:
        """Bytes that the numbers take."""
        return math.prod(self.grid) * np.dtype(self.dtype).itemsize

    def __str__(self) -> str:
        return f"{np.dtype(self.dtype)} {self.shape}"

    def load(self) -> np.ndarray:
        """The array in this machine's byte order, floats of any width as float32. Raises `DataError` when the file was cut or changed since
        it was opened, and for more than `LARGEST_MEMBER` bytes."""
        data = self._bytes()
        if len(data) != self.size:
            raise DataError(
                f"'{self.path}': an array of {self} takes {self.size} bytes, found {len(data)}; the file is damaged or was changed"
            )
        array = np.frombuffer(data, self.dtype).reshape(self.grid, order="F" if self.fortran else "C")
        array = array.transpose(self.axes) if self.axes else array
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, which every reader refuses
            return array.astype(np.float32 if self.kind == "f" else array.dtype.newbyteorder("="))

    def _bytes(self) -> bytes:
        if isinstance(self.content, bytes):
            return self.content
        length = self.content.length if isinstance(self.content, Place) else len(self.content)
        if length > LARGEST_MEMBER:
            raise DataError(f"'{self.path}': an array of {self} is larger than any recording ({LARGEST_MEMBER} bytes); take it away")
        if isinstance(self.content, mmap):
            return self.content[:]
        try:
            with open(self.path, "rb") as file:
                file.seek(self.content.offset)
                return _DECODE[self.content.coding](file.read(length))
        except OSError as problem:
            raise DataError(f"can't read '{self.path}': {problem.strerror or problem}") from problem
        except ValueError as problem:
            raise DataError(f"'{self.path}', byte {self.content.offset}: not the bytes of an array ({problem}); copy it again") from problem


def npy(path: Path, whole: bool = True) -> Stored:
    """The array of a `.npy` file. A file that is no such file, holds objects or records, or has another length than its header says
    raises `DataError`; nothing but the header is read. whole: the length is checked."""
    try:
        with open(path, "rb") as file:
            start, grid, fortran, dtype = header(file.read(HEADER))
            length = os.fstat(file.fileno()).st_size
    except OSError as problem:
        raise DataError(f"can't read '{path}': {problem.strerror or problem}") from problem
    except ValueError as problem:
        raise DataError(f"'{path}' {problem}; copy it again from its source") from problem
    found = Stored(str(path), dtype.str, grid, fortran, (), Place(start, length - start))
    if whole and found.size != length - start:
        raise DataError(
            f"'{path}' has {length - start} bytes behind its header, {found} takes {found.size}: it was cut short or changed; copy it again"
        )
    return found


def header(head: bytes) -> tuple[int, tuple[int, ...], bool, np.dtype]:
    """Length of the header, shape, whether the first axis is the fastest, and type, from the first `HEADER` bytes of a `.npy` file.

    Raises `ValueError` for what is no header, and for objects and records, saying what the array "has" or "holds".
    """
    file = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        grid, fortran, dtype = read(file)
    except Exception as problem:  # numpy parses the header as Python text: SyntaxError, ValueError, TypeError, RecursionError, ...
        raise ValueError(f"has no header of a .npy file ({str(problem)[:200]})") from problem
    if dtype.kind not in "fiubUS" or not dtype.itemsize or any(type(n) is not int or n < 0 for n in grid):
        raise ValueError(f"holds {str(dtype)[:100]} {str(grid)[:100]}, expected plain numbers or text")
    return file.tell(), grid, fortran, dtype


def entry(array: Stored, i: int) -> Stored:
    """Entry i along the first axis of an array that lies as it is (not `fortran`, no `axes`) in a file."""
    shape = array.grid[1:]
    length = math.prod(shape) * np.dtype(array.dtype).itemsize
    return Stored(array.path, array.dtype, shape, False, (), Place(cast(Place, array.content).offset + i * length, length))


def digest(*paths: Path) -> str:
    """sha256 of the files' content; of a file above 2 GiB, of its length and 1024 evenly spaced pieces of 64 KiB (what was really read is
    covered by the `content` digest of the clips file)."""
    found = hashlib.sha256()
    for path in paths:
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                found.update(f"{path.name}\0{size}\n".encode("utf-8", "surrogateescape"))
                if size <= WHOLE:
                    found.update(hashlib.file_digest(file, "sha256").digest())
                    continue
                for i in range(SAMPLES):
                    file.seek((size - SAMPLE) * i // (SAMPLES - 1))
                    found.update(file.read(SAMPLE))
        except OSError as problem:
            raise DataError(f"can't read '{path}': {problem.strerror or problem}") from problem
    return found.hexdigest()
