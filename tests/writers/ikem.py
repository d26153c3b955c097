"""A folder of IKEM's first stage: as CrosSCLR's, and labels with the true number of frames."""

from __future__ import annotations

from pathlib import Path

from writers import crosclr


def write(folder: Path, clips: int = 12, seed: int = 0) -> Path:
    return crosclr.write(folder, clips, seed, frames=True)
