"""What lies in a job's folder, what it says of the job, and small files of JSON there.

Light to import: every process of a sweep begins with this. Whether a job is done or failed is judged here and nowhere else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skelmm_core.files import read_json, replacing, unwritten

FORMAT = 1  # of a result
FIELDS: dict[str, tuple[type, ...]] = {  # that every result has
    "metrics": (dict,), "folder": (str,), "seconds": (int, float), "training_seconds": (int, float),
}  # fmt: skip
JOB = "job.json"  # what its process needs to know
RESULT = "result.json"
FAILED = "failed.json"  # why there is no result
SUBMITTED = "submitted.json"  # its number in Slurm's queue
LOG = "log.txt"
CLAIM = "running"  # of the process that is at it; see `claims`


def write(path: Path, content: dict[str, Any]) -> None:
    with replacing(path) as file:
        file.write(json.dumps(content, indent=1).encode())


def result_of(folder: Path) -> dict[str, Any] | None:
    """What a job came to; None for one that is not done, or whose result can't be read, is of another format or lacks something."""
    found = read_json(folder / RESULT) or {}
    whole = found.get("format") == FORMAT and all(isinstance(found.get(name), kind) for name, kind in FIELDS.items())
    whole = whole and all(type(value) in (int, float) for value in found["metrics"].values())
    return found if whole else None


def failure_of(folder: Path) -> str | None:
    """Why a job failed, in one line; None for one that did not fail."""
    path = folder / FAILED
    if not path.exists():
        return None
    found = read_json(path)
    if found is None:
        return f"why is not known: {FAILED} can't be read"
    return (str(found.get("message", "")).strip().splitlines() or ["without a word"])[-1]


def set_aside(folder: Path, say: Callable[[str], None]) -> None:
    """Rename what lies in a result's place and is none, so that its job is done again. Raises `DataError` where it can't be renamed."""
    path = folder / RESULT
    if not path.exists() or result_of(folder) is not None:
        return
    aside = path.with_name(f"{RESULT}.unreadable")
    try:
        os.replace(path, aside)
    except FileNotFoundError:  # another process was quicker
        return
    except OSError as problem:
        raise unwritten(aside, problem) from problem
    lacks = f"is of another format than {FORMAT}, or lacks one of {', '.join(FIELDS)}"
    say(f"{path} can't be read, {lacks}; it is now {aside.name}, and its job is done again")


def last_line(path: Path) -> str:
    """The last line of a text that says anything; "" where there is none."""
    try:
        lines = path.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip() if lines else ""
