"""The files of a data set, whether they lie in a folder, a zip, a tar, or alone. Nothing is ever unpacked to the disk."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from skelmm_core.errors import DataError

LARGEST_MEMBER = 1 << 26  # bytes; the longest real recordings have about 2^24
LARGEST_TAR = 1 << 31  # bytes of members; a tar can only be read in order, so its members wait in memory
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Member:
    """One file: its path inside the whole, its bytes when asked for, and what tells its content apart without reading it."""

    path: str
    size: int
    mark: str
    load: Callable[[], bytes]

    @property
    def stem(self) -> str:
        return PurePosixPath(self.path).stem

    def read(self) -> bytes:
        if self.size > LARGEST_MEMBER:
            raise DataError(f"'{self.path}' has {self.size} bytes, more than any recording ({LARGEST_MEMBER}); take it away")
        try:
            return self.load()
        except _BROKEN as problem:
            raise DataError(f"can't read '{self.path}': {problem}; copy it again from its source") from problem


def members(path: Path, suffix: str) -> list[Member]:
    """All files whose name ends in `suffix`, sorted by name; hidden ones and macOS' `__MACOSX` shadows are left out.

    `path` is a folder (searched with its subfolders), a zip, a tar of any compression, or one such file. A path that is missing or
    can't be read raises `DataError`; a file of another kind gives an empty list.
    """
    try:
        if path.is_dir():
            found = _folder(path, suffix)
        elif not path.exists():
            raise DataError(f"no file or folder at '{path}'")
        elif path.name.endswith(suffix):
            found = [Member(path.name, path.stat().st_size, str(path.stat().st_size), path.read_bytes)]
        elif zipfile.is_zipfile(path):
            found = _zip(path, suffix)
        elif tarfile.is_tarfile(path):
            found = _tar(path, suffix)
        else:
            found = []
    except _BROKEN as problem:
        raise DataError(f"can't read '{path}': {problem}; it may be cut short: copy it again from its source") from problem
    return sorted((m for m in found if _visible(m.path)), key=lambda m: (PurePosixPath(m.path).name, m.path))


def holds(path: Path, suffix: str, fits: Callable[[str], object]) -> bool:
    """Whether `path` has a file that ends in `suffix` and whose stem `fits`; looks no farther than the first, and never raises."""
    try:
        if path.is_dir():
            names = (str(p) for p in path.rglob(f"*{suffix}"))
        elif path.is_file() and path.name.endswith(suffix):
            names = iter([path.name])
        elif path.is_file() and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = iter(archive.namelist())
        elif path.is_file() and tarfile.is_tarfile(path):
            with tarfile.open(path, "r|*") as archive:
                return any(_matches(entry.name, suffix, fits) for entry in archive)
        else:
            return False
        return any(_matches(name, suffix, fits) for name in names)
    except _BROKEN:
        return False


def fingerprint(found: list[Member], *settings: object) -> str:
    """sha256 over names, sizes and marks of the members and the reader's settings.

    The mark is a CRC in a zip, a digest in a tar, and the size alone in a folder, which may hold 50 GB: what was really read is
    covered by the `content` digest of the clips file.
    """
    digest = hashlib.sha256(repr(settings).encode())
    for member in found:
        digest.update(f"{PurePosixPath(member.path).name}\0{member.size}\0{member.mark}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _visible(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return "__MACOSX" not in parts and not parts[-1].startswith(".")


def _matches(path: str, suffix: str, fits: Callable[[str], object]) -> bool:
    return path.endswith(suffix) and _visible(path) and bool(fits(PurePosixPath(path).stem))


def _folder(path: Path, suffix: str) -> list[Member]:
    files = ((p, p.stat().st_size) for p in path.rglob(f"*{suffix}") if p.is_file())
    return [Member(p.relative_to(path).as_posix(), size, "", p.read_bytes) for p, size in files]


def _zip(path: Path, suffix: str) -> list[Member]:
    archive = zipfile.ZipFile(path)  # stays open as long as a member may be read
    entries = (e for e in archive.infolist() if e.filename.endswith(suffix))
    return [Member(e.filename, e.file_size, f"{e.CRC:08x}", lambda e=e: archive.read(e)) for e in entries]


def _tar(path: Path, suffix: str) -> list[Member]:
    found, total = [], 0
    with tarfile.open(path, "r|*") as archive:
        for entry in archive:
            if not entry.isreg() or not entry.name.endswith(suffix):
                continue
            total += entry.size
            if total > LARGEST_TAR:
                raise DataError(f"'{path}' holds more than {LARGEST_TAR >> 30} GiB of {suffix} files: unpack it, or pack it as a zip")
            data = archive.extractfile(entry).read() if entry.size <= LARGEST_MEMBER else b""
            found.append(Member(entry.name, entry.size, hashlib.sha256(data).hexdigest(), lambda data=data: data))
    return found
