"""Writing a file so that it is either whole or not there."""

from __future__ import annotations

import errno
import glob
import json
import os
import platform
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from skelmm_core.errors import BusyError, DataError, SettingsError, SkelmmError

STALE = 3600  # seconds
NOTHING = "nothing half written was left behind"
FOREIGN = "is there already and is not a file that this command writes; name another file, or delete it first"
_ADVICE = {
    errno.ENOSPC: "free some space or choose another disk",
    errno.EDQUOT: "free some of your quota or choose another disk",
    errno.EROFS: "the disk is read-only: choose another folder",
    errno.EACCES: "you may not write there: choose another folder",
    errno.EPERM: "you may not write there: choose another folder",
    errno.EISDIR: "that is a folder: name a file",
    errno.ENOTDIR: "a part of that path is a file: choose another folder",
    errno.EEXIST: "a part of that path is a file: choose another folder",  # when a folder is to be made
}


@contextmanager
def replacing(path: str | Path, error: type[SkelmmError] = DataError) -> Iterator[BinaryIO]:
    """A binary file that becomes `path` when the block ends, and vanishes when the block raises.

    It is written beside `path` (whose folder is made if needed), flushed to the disk and renamed, so a file that was
    there stays whole until the new one is complete. The block must turn failures of what it reads into errors of its
    own: an `OSError` here is taken for a failed write and raised as `error`, saying what to do. What a killed process left of the
    same file is removed after an hour; who is `alone` in a folder removes all of it at once, by `sweep`.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")  # process numbers repeat on other machines
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        with open(part, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        _flush_folder(path.parent)
    except BaseException as problem:
        with suppress(OSError):
            part.unlink()
        if isinstance(problem, OSError):
            raise unwritten(path, problem, error) from problem
        raise


def _flush_folder(folder: Path) -> None:
    """A renamed file has its name after a loss of power, too, where the system can tell a folder to be written (not on Windows)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def named(path: object, what: str, ending: str) -> Path:
    """`path` as one that ends in `ending`; `SettingsError` for another one, or for what is no path. what: is saved, in words."""
    if not isinstance(path, str | os.PathLike):
        raise SettingsError(f"{what} is saved in a file: give its path, which ends in {ending}; found {path!r}")
    found = Path(os.fsdecode(path))
    if found.suffix.lower() != ending:
        raise SettingsError(f"{what} is saved as {ending}, found '{found.name}'; give a name that ends in {ending}")
    return found


@contextmanager
def alone(path: Path, doing: str) -> Iterator[None]:
    """Only one process works on a file or folder at a time; another one that tries gets a `BusyError` that says who is at it, doing what.

    The operating system gives the lock back when the process ends, however it ends.
    """
    lock = path.with_name(f".{path.name}.lock")
    held = FileLock(lock, timeout=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held.acquire()
    except Timeout as problem:
        who = f"another process is {doing} '{path}'"
        raise BusyError(f"{who}; wait until it is done, or name another file or folder{_holder(lock)}") from problem
    except OSError as problem:
        raise unwritten(lock, problem) from problem
    try:
        with suppress(OSError):  # only a courtesy, and the disk may be full
            lock.write_text(f"number {os.getpid()} on {platform.node()}, since {datetime.now(UTC).isoformat(timespec='seconds')}")
        yield
    finally:
        with suppress(OSError):
            lock.unlink()
        held.release()


def _holder(lock: Path) -> str:
    try:
        return f" (it is {told})" if (told := lock.read_text().strip()) else ""
    except (OSError, ValueError):
        return ""


def unwritten(path: Path, problem: OSError, error: type[SkelmmError] = DataError, kept: str = NOTHING) -> SkelmmError:
    """The error for a file that could not be written, saying what to do. kept: what became of the part that was written."""
    advice = _ADVICE.get(problem.errno or 0, "check the folder and the disk")
    return error(f"can't write '{path}': {problem.strerror or problem}; {kept}; {advice}")


def refuse_foreign(path: str | Path, format: str, error: type[SkelmmError] = DataError) -> None:
    """Raise `error` when `path` is a folder, or a file that is not safetensors of `format`: nobody's data are written over by mistake."""
    path = Path(path)
    refuse_folder(path, error)
    if path.exists() and header_format(path) != format:
        raise error(f"'{path}' {FOREIGN}")


def refuse_folder(path: Path, error: type[SkelmmError] = DataError) -> None:
    """Raise `error` when `path` is a folder."""
    if path.is_dir():
        raise error(f"can't write '{path}': {_ADVICE[errno.EISDIR]}")


def try_place(path: str | Path, begins: bytes, error: type[SkelmmError] = DataError) -> None:
    """Raise `error`, before long work, where `replacing` could not make a file at `path`, and for a file there that does not begin as those
    of this kind do: nobody's data are written over by mistake. Folders that it lies in are made."""
    path = Path(path)
    refuse_folder(path, error)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(prefix=f".{path.name}.", suffix=".part", dir=path.parent):
            other = path.exists() and not (path.is_file() and path.read_bytes().startswith(begins))
    except OSError as problem:
        raise unwritten(path, problem, error, kept="nothing was computed") from problem
    if other:
        raise error(f"'{path}' {FOREIGN}")


def read_json(path: Path) -> dict[str, Any] | None:
    """The object that a small JSON file of ours holds; None where there is none, or none that can be read."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def header_format(path: Path) -> str | None:
    """The entry "format" in a safetensors file's metadata; None for any other file."""
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            return json.loads(file.read(length))["__metadata__"]["format"] if length < 1 << 26 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def sweep(folder: Path) -> None:
    """Remove what killed processes left half written in a folder in which nobody else writes now, whatever its age."""
    for part in folder.glob(".*.part"):
        with suppress(OSError):
            part.unlink()


def _sweep(path: Path) -> None:
    """Remove parts of `path` that nobody has written to for an hour (by age, since the writer may be on another machine)."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with suppress(OSError):  # another process may have removed it, or may have just finished
            if time.time() - part.stat().st_mtime > STALE:
                part.unlink()
