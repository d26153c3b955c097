"""Zips and tars, member by member, as far as they are believable: a small file can be made so that it unpacks for ever.

What a zip lists is not compressed, and a plain tar is skipped through, so that looking into them takes no more than their own size
allows. A compressed tar can only be unpacked in order, with all that is not wanted: it is followed up to `believe`, header by header.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO, cast

from skelmm_core.errors import DataError

UNPACKED = 1 << 30  # bytes that any archive may unpack to,
RATIO = 100  # and bytes more for each of its own; texts of joints have 3 to 10, what is made to unpack for ever has a thousand
NAMES = 1 << 28  # bytes of names, and 100 more for each; the largest data set, Kinetics with 650,000 files, has a third of it
HEADER = 1 << 20  # bytes in front of a member of a tar
BUFFER = 1 << 16
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)
OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open, b"\x5d\0\0\x80": lzma.open}  # by a file's first bytes


class Unreadable(DataError):
    """An archive that no reader can use: cut short, or with more in it than is believable."""


def believe(path: Path, size: int) -> None:
    """Raises `Unreadable` if the archive at `path` can't hold `size` bytes, or should not."""
    packed = os.path.getsize(path)
    if size > UNPACKED + RATIO * packed:
        raise _unbelievable(path, f"unpacks to more than {UNPACKED + RATIO * packed} bytes and has {packed}, which no data set does")


def torn(path: Path, problem: Exception | str) -> Unreadable:
    """The error for an archive that is damaged."""
    return Unreadable(f"can't read '{path}': {problem}; it may be cut short: copy it again from its source")


def of_zip(path: Path) -> list[zipfile.ZipInfo]:
    """What a zip lists."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except BROKEN as problem:
        raise torn(path, problem) from problem
    _count(path, sum(100 + len(entry.filename) for entry in entries))
    return entries


def of_tar(path: Path) -> Iterator[tuple[tarfile.TarInfo, Callable[[], bytes] | None]]:
    """What a tar holds, in order; nothing for a file of another kind. Of a compressed tar with what reads the content, to be called
    before the next is taken; of another (None), any place can be read by itself."""
    with ExitStack() as opened:
        plain, unpacking = opened.enter_context(Plain(path)), None
        first = plain.read(8)
        if opener := next((o for start, o in OPENERS.items() if first.startswith(start)), None):
            unpacking = Unpacking(path, opened.enter_context(opener(path)))
        elif first.startswith(b"PK\3\4"):
            raise torn(path, "it begins as a zip and does not end as one")
        plain.seek(0)
        try:
            archive = tarfile.open(fileobj=unpacking or plain, mode="r|" if unpacking else "r:", bufsize=BUFFER)
        except EOFError as problem:
            raise torn(path, problem) from problem
        except (tarfile.ReadError, OSError, zlib.error):
            return
        opened.enter_context(archive)
        listed = 0
        while (entry := _next(path, archive)) is not None:
            archive.members.clear()  # these two would grow with the archive
            archive.pax_headers.clear()
            listed += 100 + len(entry.name)
            _count(path, listed)
            if unpacking:
                unpacking.allow(archive.offset)
            elif archive.offset >= os.path.getsize(path) + tarfile.BLOCKSIZE:
                raise torn(path, f"its file '{entry.name}' ends too early")
            yield entry, partial(_content, archive, entry) if unpacking else None


class Plain(io.FileIO):
    """A tar of which headers are read, and nothing else."""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= HEADER:
            raise _too_long(self.name)
        return super().read(size)


class Unpacking:
    """A compressed tar as it unpacks, no farther than the member whose header was seen, and the next header."""

    def __init__(self, path: Path, file: BinaryIO):
        self.path, self.file, self.place = path, file, 0
        self.allow(0)

    def allow(self, end: int) -> None:
        believe(self.path, end)
        self.allowed = end + HEADER + BUFFER

    def read(self, size: int) -> bytes:
        try:
            data = self.file.read(size)
        except lzma.LZMAError as problem:
            raise tarfile.ReadError(str(problem)) from problem
        self.place += len(data)
        if self.place > self.allowed:
            raise _too_long(self.path)
        return data


def _next(path: Path, archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    try:
        return archive.next()
    except BROKEN as problem:
        raise torn(path, problem) from problem


def _content(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    return cast(IO[bytes], archive.extractfile(entry)).read()


def _count(path: Path, names: int) -> None:
    if names > NAMES:
        raise _unbelievable(path, "lists more files than any data set has")


def _too_long(path: Path) -> Unreadable:
    return _unbelievable(path, f"has more than {HEADER >> 10} KiB between two of its files, where no more than a name belongs")


def _unbelievable(path: Path, what: str) -> Unreadable:
    return Unreadable(f"'{path}' {what}: don't trust this archive, get it from its source; if it is right, unpack it and name the folder")
