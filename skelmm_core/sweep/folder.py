"""What lies in a job's folder, and small files of JSON there. Light to import: every process of a sweep begins with this."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from skelmm_core.files import replacing

JOB = "job.json"  # what its process needs to know
RESULT = "result.json"
FAILED = "failed.json"  # why there is no result
SUBMITTED = "submitted.json"  # its number in Slurm's queue
LOG = "log.txt"
CLAIM = "running"  # of the process that is at it; see `ablation.claims`


def read(path: Path) -> dict[str, Any] | None:
    """What a small file holds; None for one that is not there or can't be read."""
    try:
        found = json.loads(path.read_text())
        return found if isinstance(found, dict) else None
    except (OSError, ValueError):
        return None


def write(path: Path, content: dict[str, Any]) -> None:
    with replacing(path) as file:
        file.write(json.dumps(content, indent=1).encode())


def last_line(path: Path) -> str:
    """The last line of a text that says anything; "" where there is none."""
    try:
        lines = path.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip() if lines else ""
