"""Figures that show themselves in a notebook without pyplot, and writing them to PNG files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure

from skelmm_core.drawing.palette import DPI
from skelmm_core.files import named, replacing


class Picture(Figure):
    """A matplotlib `Figure` that pyplot doesn't know: nothing is shown twice, nothing has to be closed."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=DPI)
        return buffer.getvalue()


def picture(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Picture:
    """An empty figure of `width` x `height` inches."""
    return Picture(figsize=(width, height), dpi=DPI, layout=layout)


def save(figure: Figure, path: str | Path) -> Path:
    """Write a matplotlib figure as PNG, making parent folders; returns the path.

    Raises:
        SettingsError: `path` doesn't end in `.png`. DataError: the disk is full or read-only; nothing is left half written.
    """
    path = named(path, "a figure", ".png")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    with replacing(path) as file:
        file.write(content.getbuffer())
    return path
