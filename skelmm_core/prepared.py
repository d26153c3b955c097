"""Clips files that a run makes from raw files, where a source is named in the place of a clips file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from skelmm_core import audit, clips, sources
from skelmm_core.parameters import pairs


def reader_options(text: str, base: Path = Path()) -> dict[str, str]:
    """Options of a format's reader, as "units=cm, skeleton=mine.toml"; files are looked for from `base` on."""
    found = pairs(pair.strip() for pair in text.split(",") if pair.strip())
    return {name: str(base / value) if value and (base / value).is_file() else value for name, value in found.items()}


def clips_file(source: str | Path, format: str, out: str | Path, options: Mapping[str, str] | None = None) -> Path:
    """The clips file ``<out>/clips/NAME-FINGERPRINT.clips`` of a source, made now, with its report beside it, if it is not there yet.

    Args:
        source: file, archive or folder, or ``"sample"``.
        format: name of a format, or ``"auto"``. options: of the format's reader.

    Raises what `sources.read` and `clips.write` raise.
    """
    found = sources.read(source, format, **(options or {}))
    name = re.sub(r"[^\w.-]+", "_", Path(source).name)[:60]
    path = Path(out) / "clips" / f"{name}-{found.fingerprint[:12]}.clips"
    if not path.exists():
        audit.keep(path, clips.write(path, found))
    return path
