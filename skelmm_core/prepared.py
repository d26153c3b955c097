"""Clips files that a run makes from raw files, where a source is named in the place of a clips file."""

from __future__ import annotations

import re
from pathlib import Path

from skelmm_core import audit, clips, sources


def clips_file(source: str | Path, format: str, out: str | Path) -> Path:
    """The clips file ``<out>/clips/NAME-FINGERPRINT.clips`` of a source, made now, with its report beside it, if it is not there yet.

    Args:
        source: file, archive or folder, or ``"sample"``.
        format: name of a format, or ``"auto"``.

    Raises what `sources.read` and `clips.write` raise.
    """
    found = sources.read(source, format)
    name = re.sub(r"[^\w.-]+", "_", Path(source).name)[:60]
    path = Path(out) / "clips" / f"{name}-{found.fingerprint[:12]}.clips"
    if not path.exists():
        audit.keep(path, clips.write(path, found))
    return path
