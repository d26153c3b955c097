"""Arrays of an npz file without loading them: each a `Stored` that knows where its numbers lie.

An array that was saved uncompressed (`numpy.savez`) is read in place, a slice at a time. A compressed one (`numpy.savez_compressed`) has no
place that could be read by itself: it is unpacked once, in order, into memory, or, above `IN_MEMORY` bytes, into a file without a name in
the system's folder for temporary files (`TMPDIR` names another). Such a file vanishes with the last user of the array, and with the
process, however that ends; to other processes a clip of it goes as bytes.

Headers are parsed by numpy, sizes are compared before anything is allocated, and what holds objects is refused: nothing is executed.
"""

from __future__ import annotations

import io
import math
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO

import numpy as np

from skelmm_core.errors import DataError
from skelmm_core.sources.members import LARGEST_MEMBER
from skelmm_core.sources.stored import HEADER, Place, Stored, header

IN_MEMORY = 1 << 28  # bytes that an unpacked array may take there
COLUMN = 1 << 26  # bytes of one number, or one short text, for each clip
LOCAL = 30  # bytes of a zip's local header in front of the name; bytes 26 to 30 are the lengths of name and extra field
BROKEN = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)


class Npz:
    """The arrays of the npz file at `path`.

    Raises `DataError` for a file that is missing, torn, encrypted or no npz.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            with open(path, "rb") as file:
                if file.read(6) == np.lib.format.MAGIC_PREFIX:
                    raise DataError(f"'{path}' is a single array; expected an npz of several, as numpy.savez writes it")
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
        except FileNotFoundError as problem:
            raise DataError(f"no file at '{path}'") from problem
        except BROKEN as problem:
            raise self._unreadable(problem) from problem
        self._entries = {e.filename.removesuffix(".npy"): e for e in entries if e.filename.endswith(".npy")}
        if len({e.filename for e in entries}) < len(entries):
            raise DataError(f"'{path}' has several arrays of one name; save it again with numpy.savez")
        self._arrays: dict[str, Stored] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def described(self, name: str) -> Stored:
        """Type and shape of an array, checked against the bytes that it has; its numbers can be read only if it is not compressed."""
        entry, begin = self._entries[name], 0
        try:
            if entry.flag_bits & 1:
                raise ValueError(f"'{name}' is encrypted")
            if entry.compress_type == zipfile.ZIP_STORED:
                begin = _begin(self.path, entry)
                with open(self.path, "rb") as file:
                    file.seek(begin)
                    head = file.read(min(HEADER, entry.file_size))
            else:
                with zipfile.ZipFile(self.path) as archive, archive.open(entry) as member:
                    head = member.read(HEADER)
        except BROKEN as problem:
            raise self._unreadable(problem) from problem
        try:
            length, grid, fortran, dtype = header(head)
        except ValueError as problem:
            raise self._unreadable(ValueError(f"'{name}' {problem}")) from problem
        found = Stored(str(self.path), dtype.str, grid, fortran, (), Place(begin + length, entry.file_size - length))
        if found.size != entry.file_size - length:
            raise DataError(
                f"'{self.path}': '{name}' is announced as {found}, {found.size} bytes, and has {entry.file_size - length}; it was cut "
                "short or changed: save it again"
            )
        return found

    def __getitem__(self, name: str) -> Stored:
        """An array whose numbers can be read, unpacked here if it was compressed."""
        if name not in self._arrays:
            found = self.described(name)
            packed = self._entries[name].compress_type != zipfile.ZIP_STORED
            self._arrays[name] = self._unpacked(name, found) if packed else found
        return self._arrays[name]

    def column(self, name: str) -> np.ndarray:
        """All numbers or texts of an array with a few bytes per clip; one of more than 64 MiB raises `DataError`. Bytes become text."""
        found = self.described(name)
        if found.size > COLUMN:
            raise DataError(f"'{self.path}': '{name}' is {found}, {found.size} bytes; at most {COLUMN} are expected of one value per clip")
        content = Stored(self[name].path, "|u1", (found.size,), False, (), self[name].content)  # as bytes, to keep all digits
        values = np.frombuffer(content.load(), found.dtype).reshape(found.grid, order="F" if found.fortran else "C")
        values = values.astype(values.dtype.newbyteorder("="))
        if found.kind == "U":
            codes = np.ascontiguousarray(values).reshape(-1).view(np.uint32)
            if ((codes > sys.maxunicode) | ((codes >= 0xD800) & (codes < 0xE000))).any():  # the latter are halves of characters
                raise DataError(f"'{self.path}': '{name}' holds numbers that stand for no character; save it again")
        try:
            return np.char.decode(values, "utf-8") if found.kind == "S" else values
        except UnicodeDecodeError as problem:
            raise DataError(f"'{self.path}': '{name}' holds bytes that are not UTF-8 ({problem})") from problem

    def _unpacked(self, name: str, array: Stored) -> Stored:
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self._entries[name]) as member:
                member.read(self._entries[name].file_size - array.size)  # the header
                content = _exactly(member, array.size) if array.size <= IN_MEMORY else self._mapped(name, member, array.size)
        except BROKEN as problem:
            raise self._unreadable(problem) from problem
        return replace(array, content=content)

    def _mapped(self, name: str, member: BinaryIO, size: int) -> mmap:
        """`size` bytes in a temporary file, mapped; a disk that can't take them raises `DataError`."""
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        if size > free:
            raise DataError(
                f"'{self.path}': '{name}' is compressed and takes {size >> 20} MiB unpacked; '{folder}' has {free >> 20}: "
                "set TMPDIR to a folder with more room, or save the arrays with numpy.savez"
            )
        with tempfile.TemporaryFile() as file:  # without a name; what keeps it is the map
            shutil.copyfileobj(member, file, 1 << 20)  # raises at the end if the checksum is another
            if file.tell() != size:
                raise ValueError(f"'{name}': expected {size} bytes, found {file.tell()}")
            file.flush()
            return mmap(file.fileno(), size, access=ACCESS_READ)

    def _unreadable(self, problem: Exception) -> DataError:
        return DataError(f"can't read '{self.path}': {str(problem)[:300]}; save plain arrays with numpy.savez, names as str, not object")


def rows(array: Stored, begin: int, end: int) -> Stored:
    """The entries begin .. end along the first axis of an array, without reading them from its file; they can go to another process."""
    shape = (end - begin, *array.grid[1:])
    step = math.prod(array.grid[1:]) * np.dtype(array.dtype).itemsize
    first, length = begin * step, (end - begin) * step
    if isinstance(array.content, Place):
        content: Place | bytes = Place(array.content.offset + first, length)
    else:  # of more than any recording has, a place that `load` refuses
        content = array.content[first : first + length] if length <= LARGEST_MEMBER else Place(first, length)
    return Stored(array.path, array.dtype, shape, False, (), content)


def in_order(arrays: Iterable[tuple[str, Stored]], path: Path) -> None:
    """Raises `DataError` for an array that lies with its first axis fastest, since no clip of it could be read by itself."""
    for name, array in arrays:
        if array.fortran and len(array.grid) > 1:
            raise DataError(f"'{path}': '{name}' is stored with its first axis fastest; save numpy.ascontiguousarray of it")


def _begin(path: Path, entry: zipfile.ZipInfo) -> int:
    """Where the bytes of a member that is not compressed begin, from the local header in front of them."""
    with open(path, "rb") as file:
        file.seek(entry.header_offset)
        local = file.read(LOCAL)
        name = int.from_bytes(local[26:28], "little")
        begin = entry.header_offset + LOCAL + name + int.from_bytes(local[28:30], "little")
        known = file.read(name).decode("utf-8" if entry.flag_bits & 0x800 else "cp437")
        if local[:4] != b"PK\3\4" or known != entry.orig_filename or local[8:10] != b"\0\0" or entry.compress_size != entry.file_size:
            raise ValueError(f"the header of '{entry.filename}' is damaged")
        if begin + entry.file_size > file.seek(0, io.SEEK_END):
            raise ValueError(f"'{entry.filename}' is cut short")
    return begin


def _exactly(file: BinaryIO, size: int) -> bytes:
    """`size` bytes and not one more; at the file's end its checksum is compared."""
    data = file.read(size + 1)
    if len(data) != size:
        raise ValueError(f"expected {size} bytes, found {len(data)}")
    return data
