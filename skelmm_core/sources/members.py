"""The files of a data set, whether they lie in a folder, a zip, a tar, or alone. Nothing is ever unpacked to the disk."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from skelmm_core.errors import DataError
from skelmm_core.sources import archives

LARGEST_MEMBER = 1 << 26  # bytes; the longest real recordings have about 2^24
LARGEST_TAR = 1 << 29  # bytes of members; a compressed tar can only be read in order, so its members wait in memory


@dataclass(frozen=True)
class Member:
    """One file: its path inside the whole, what tells its content apart without reading it, and where its bytes are.

    place: a file's path; or a zip's path and the name inside; or a tar's path and the offset inside; or the bytes themselves; or
    None, nowhere.
    """

    path: str
    size: int
    mark: str
    place: str | tuple[str, str | int] | bytes | None

    @property
    def stem(self) -> str:
        name = _name(self.path)
        return name.rpartition(".")[0] or name

    def read(self, largest: int | None = None) -> bytes:
        """The content; a file of more than `largest` bytes (`LARGEST_MEMBER`), or one that can't be read, raises `DataError`."""
        largest = LARGEST_MEMBER if largest is None else largest
        if self.size > largest:
            raise DataError(f"'{self.path}' has {self.size} bytes, more than any recording ({largest}); take it away")
        try:
            match self.place:
                case None:
                    raise DataError(f"'{self.path}' is a link to nothing, or no file at all; remove it")
                case bytes(content):
                    return content
                case (path, str(name)):
                    with _opened_zip(path, os.getpid(), os.stat(path).st_mtime_ns).open(name) as file:
                        content = file.read(self.size + 1)  # an archive may lie about sizes
                    if len(content) != self.size:
                        raise ValueError(
                            f"its archive says {self.size} bytes, and there are {'more' if len(content) > self.size else 'fewer'}"
                        )
                    return content
                case (path, int(offset)):
                    with open(path, "rb") as file:
                        file.seek(offset)
                        return file.read(self.size)
            return Path(self.place).read_bytes()
        except PermissionError as problem:
            raise DataError(f"can't read '{self.path}': {problem.strerror}; change its permissions") from problem
        except archives.BROKEN as problem:
            raise DataError(f"can't read '{self.path}': {problem}; copy it again from its source") from problem


@lru_cache(maxsize=8)
def _opened_zip(path: str, process: int, written: int) -> zipfile.ZipFile:
    """Stays open as long as its members may be read; every process has its own, and a file that was replaced is opened anew."""
    return zipfile.ZipFile(path)


def members(path: Path | str | tuple[Path, ...], suffix: str) -> list[Member]:
    """All files whose name ends in `suffix`, large and small letters alike, sorted by name; hidden ones and macOS' `__MACOSX` shadows are
    left out.

    `path` is a folder (searched with its subfolders), a zip, a tar of any compression, one such file, or several of these. A path that
    is missing or can't be read, an archive with an absolute path, a "..", or a link, and one that holds more than is
    believable (`archives`) raise `DataError`; a file of another kind gives an empty list.
    """
    paths = path if isinstance(path, tuple) else (Path(path),)
    found = (m for p in paths for m in _members(p, suffix) if _visible(m.path))
    return sorted(found, key=lambda m: (_name(m.path), m.path))


def _members(path: Path, suffix: str) -> list[Member]:
    try:
        if path.is_dir():
            return _folder(path, suffix)
        if not path.exists():
            raise DataError(f"no file or folder at '{path}'")
        if _ends(path.name, suffix):
            state = path.stat()
            return [Member(path.name, state.st_size, str(state.st_mtime_ns), str(path))]
        if zipfile.is_zipfile(path):
            return _zip(path, suffix)
        return _tar(path, suffix)
    except PermissionError as problem:
        raise DataError(f"can't read '{problem.filename or path}': {problem.strerror}; change its permissions") from problem
    except archives.BROKEN as problem:
        raise archives.torn(path, problem) from problem


def holds(path: Path, suffix: str, fits: Callable[[str], object]) -> bool:
    """Whether `path` has a file that ends in `suffix` and whose stem `fits`; looks no farther than the first.

    Raises `archives.Unreadable`, so that such an archive is not looked at by every reader, and nothing else."""
    try:
        return any(_matches(name, suffix, fits) for name in names(path))
    except archives.Unreadable:
        raise
    except (*archives.BROKEN, DataError):
        return False


def names(path: Path) -> Iterable[str]:
    """Paths of all files in a folder, a zip or a tar, or the file's own name; raises whatever goes wrong."""
    if path.is_dir():
        return (str(p) for p in files(path))
    state = path.stat()
    return _listed(str(path), state.st_mtime_ns, state.st_size) or (path.name,)


@lru_cache(maxsize=8)
def _listed(path: str, written: int, size: int) -> tuple[str, ...]:
    """Names in an archive, empty for any other file; kept, since every reader asks, and listing a compressed tar takes seconds."""
    if zipfile.is_zipfile(path):
        return tuple(entry.filename for entry in archives.of_zip(Path(path)))
    return tuple(entry.name for entry, _ in archives.of_tar(Path(path)))


def fingerprint(found: list[Member], *settings: object) -> str:
    """sha256 over names, sizes and marks of the members and the reader's settings.

    The mark is a CRC in a zip, a digest in a tar, and the time of the last change in a folder, which may hold 50 GB: what was really
    read is covered by the `content` digest of the clips file.
    """
    digest = hashlib.sha256(repr(settings).encode())
    for member in found:
        digest.update(f"{_name(member.path)}\0{member.size}\0{member.mark}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _visible(path: str) -> bool:
    return not _name(path).startswith(".") and "__MACOSX" not in path.split("/")


def _ends(name: str, suffix: str) -> bool:
    return name[-len(suffix) :].lower() == suffix.lower()


def _matches(path: str, suffix: str, fits: Callable[[str], object]) -> bool:
    return _ends(path, suffix) and _visible(path) and bool(fits(_name(path).rpartition(".")[0]))


def files(path: Path) -> Iterator[Path]:
    """All files of a folder and its subfolders; one that may not be entered raises `DataError`."""

    def refused(problem: OSError) -> None:
        raise DataError(f"can't look into '{problem.filename}': {problem.strerror}; change its permissions or name another folder")

    seen: dict[tuple[int, int], str] = {}
    for folder, inside, names in os.walk(path, onerror=refused, followlinks=True):
        for name in ("", *inside):  # a link to a folder that holds it would lead round for ever
            one = os.path.join(folder, name) if name else folder
            state = os.stat(one)
            known = seen.setdefault((state.st_dev, state.st_ino), one)
            if known != one:
                raise DataError(f"'{one}' is the folder '{known}' once more: remove the link, or name the folder that it leads to")
        yield from (Path(folder) / name for name in names)


def _folder(path: Path, suffix: str) -> list[Member]:
    return [_file(p, p.relative_to(path).as_posix()) for p in files(path) if _ends(p.name, suffix)]


def _file(path: Path, name: str) -> Member:
    """A file of a folder; what is no file, such as a link to nothing or a pipe, is one that can't be read."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return Member(name, 0, "", None)
    return Member(name, state.st_size, str(state.st_mtime_ns), str(path) if stat.S_ISREG(state.st_mode) else None)


def _zip(path: Path, suffix: str) -> list[Member]:
    entries = archives.of_zip(path)
    for entry in entries:
        _inside(entry.filename, path)
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise DataError(f"'{path}': '{entry.filename}' is a link; pack the files themselves")
    entries = [e for e in entries if _ends(e.filename, suffix)]
    archives.believe(path, sum(e.file_size for e in entries))  # members may share their bytes
    return [Member(e.filename, e.file_size, f"{e.CRC:08x}", (str(path), e.filename)) for e in entries]


def _tar(path: Path, suffix: str) -> list[Member]:
    found, waiting = [], 0
    for entry, read in archives.of_tar(path):
        member = _of_tar(entry, path, suffix, (str(path), entry.offset_data))
        if member and read:  # from a compressed tar
            waiting += entry.size
            if waiting > LARGEST_TAR:
                raise DataError(f"'{path}' holds more than {LARGEST_TAR >> 20} MiB of {suffix} files: unpack it, or pack it as a zip")
            data = read() if entry.size <= LARGEST_MEMBER else b""
            member = Member(entry.name, entry.size, hashlib.sha256(data).hexdigest(), data)
        if member:
            found.append(member)
    return found


def _of_tar(entry: tarfile.TarInfo, path: Path, suffix: str, place: Any) -> Member | None:
    _inside(entry.name, path)
    if entry.issym() or entry.islnk():
        raise DataError(f"'{path}': '{entry.name}' is a link; pack the files themselves")
    if not entry.isreg() or not _ends(entry.name, suffix):
        return None
    return Member(entry.name, entry.size, f"{entry.size} {entry.mtime}", place)


def _inside(name: str, path: Path) -> None:
    """Refuse names that would lie outside a folder: an archive that has them is not to be trusted."""
    plain = name.replace("\\", "/")
    if plain.startswith("/") or ".." in plain.split("/") or (len(name) > 1 and name[1] == ":"):
        raise DataError(f"'{path}' has a member '{name}' that would lie outside of it; don't trust this archive, get it from its source")
