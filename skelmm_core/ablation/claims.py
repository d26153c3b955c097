"""Who works on what, when several processes or machines share one output folder: a claim is a file that only one can make.

A claim says host, boot, process and its start. That of a process of this host that has ended is taken over; that of another host can't be
told from one at work, so an error of patience names the file that may be deleted.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock


@contextmanager
def claimed(folder: Path, name: str) -> Iterator[bool]:
    """Whether `name` is ours for the length of the block; False while another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.claim"
    ours = _make(path) or (abandoned(path) and _take_over(path))
    try:
        yield ours
    finally:
        if ours:
            path.unlink(missing_ok=True)


def holder(path: Path) -> dict[str, Any] | None:
    """What a claim says; None for one that is gone or can't be read (as one just being written)."""
    try:
        found = json.loads(path.read_text())
        return found if isinstance(found, dict) else None
    except (OSError, ValueError):
        return None


def abandoned(path: Path) -> bool:
    """Whether the claim is one of this host whose process has ended."""
    found = holder(path)
    if found is None or found.get("host") != socket.gethostname():
        return False
    if found.get("boot") != _boot():
        return True
    return found.get("began") != _began(found.get("process", -1))


def _me() -> dict[str, Any]:
    return {"host": socket.gethostname(), "boot": _boot(), "process": os.getpid(), "began": _began(os.getpid())}


def _make(path: Path) -> bool:
    """O_EXCL: of several processes that try, one succeeds, on every file system that knows it."""
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as file:
        json.dump(_me(), file)
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
