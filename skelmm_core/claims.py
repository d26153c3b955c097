"""Who works on what, when several processes or machines share one output folder: a claim is a file that only one can make.

A claim says host, boot, process and its start. That of a process of this host that has ended is taken over; that of another host, or of
another container, can't be told from one at work, so whoever waits for it names the file that may be deleted. Hosts may have the same name:
a claim of another boot is one of this machine before it was started anew only where it is older than that. A claim is written aside and
linked into its place, so that it is whole from the start; one that says nothing is left over from a kill or a full disk, and is taken over
after a few seconds.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from skelmm_core.files import unwritten

WRITING = 5.0  # seconds within which a claim that says nothing may be one just being written, where there are no links


@contextmanager
def claimed(folder: Path, name: str) -> Iterator[bool]:
    """Whether `name` is ours for the length of the block; False while another process has it.

    Raises `DataError` where a claim can't be written, and leaves none.
    """
    path = folder / f"{name}.claim"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ours = _make(path) or (abandoned(path) and _take_over(path))
    except OSError as problem:
        raise unwritten(path, problem) from problem
    try:
        yield ours
    finally:
        if ours:
            path.unlink(missing_ok=True)


def holder(path: Path) -> dict[str, Any] | None:
    """What a claim says, "host" at least; None for one that is gone, can't be opened or says nothing."""
    try:
        return _said(path.read_bytes())
    except OSError:
        return None


def abandoned(path: Path) -> bool:
    """Whether the claim is one of this host whose process has ended, or says nothing and is not just being written."""
    try:
        written = path.stat().st_mtime
        found = _said(path.read_bytes())
    except OSError:  # a claim that this process may not open can be one at work
        return False
    if found is None:
        return abs(time.time() - written) > WRITING  # either way: clocks of machines differ, and jump
    if _far(found):
        return _named_alike(found) and written < psutil.boot_time()
    return found.get("began") != _began(found.get("process", -1))


def far(path: Path) -> bool:
    """Whether there is a claim of which nobody here can tell whether its process has ended: of another host or container, however it is
    named, or one that does not say."""
    found = holder(path)
    return path.exists() if found is None else _far(found)


def _far(found: dict[str, Any]) -> bool:
    return not _named_alike(found) or found.get("boot") != _boot()


def _named_alike(found: dict[str, Any]) -> bool:
    return (found["host"], found.get("space", _space())) == (socket.gethostname(), _space())


def _said(content: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("host"), str) else None


def _me() -> dict[str, Any]:
    own = {"host": socket.gethostname(), "boot": _boot(), "space": _space(), "process": os.getpid(), "began": _began(os.getpid())}
    return own | ({"slurm": os.environ["SLURM_JOB_ID"]} if "SLURM_JOB_ID" in os.environ else {})


def _make(path: Path) -> bool:
    """Of several processes that try, one succeeds. Without links by O_EXCL: others may then for a moment see a claim that says nothing."""
    if path.exists():
        return False
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        _write(part)
        try:
            os.link(part, path)
        except OSError as problem:
            if part.stat().st_nlink == 2:  # the link was made, but over a network the answer was lost and the second try refused
                return True
            return not isinstance(problem, FileExistsError) and _write(path)
        return True
    finally:
        with suppress(OSError):
            part.unlink()


def _write(path: Path) -> bool:
    """A file that was not there; False if it was. One that can't be written to the end is removed."""
    try:
        file = open(path, "x")
    except FileExistsError:
        return False
    try:
        with file:
            json.dump(_me(), file)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return True


def _take_over(path: Path) -> bool:
    """One process of this host at a time looks again, so that nobody removes a claim that another has just taken over."""
    with FileLock(path.with_name(".claims.lock")):
        if path.exists() and not abandoned(path):
            return False
        with suppress(FileNotFoundError):
            path.unlink()
        return _make(path)


def _boot() -> str:
    """A number of this start of the machine; "" where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _space() -> str:
    """Which numbers of processes this one sees, those of its container; "" where that isn't told."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _began(process: int) -> str:
    """When a process of this host was started, in the kernel's ticks, "" where that isn't told; "ended" of one that has ended."""
    try:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return "ended" if words[0] in "ZX" else words[19]
    except (OSError, IndexError):
        pass
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return "ended"
    except OSError:
        pass
    return ""
