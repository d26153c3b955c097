"""Sources: one module per file format, from files on a disk to a `Source` of recordings.

A format is a module with `recognise(path) -> bool`, which looks at the content, and `read(path, **options) -> Source`, and one
line in `FORMATS`. Modules are imported when they are needed.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType

from skelmm_core.clips import Source
from skelmm_core.errors import DataError, SettingsError, nearest

FORMATS: dict[str, str] = {
    "sample": "skelmm_core.sources.sample",
    "ntu": "skelmm_core.sources.ntu",
    "utd-mhad": "skelmm_core.sources.utd_mhad",
    "npz": "skelmm_core.sources.generic_npz",
}


def module(format: str) -> ModuleType:
    """The module that reads a format."""
    if format not in FORMATS:
        raise SettingsError(f"unknown format '{format}'{nearest(format, FORMATS)}; known: {', '.join(FORMATS)}")
    return importlib.import_module(FORMATS[format])


def recognise(path: str | Path) -> str:
    """Name of the format of the data at `path`."""
    path = Path(path)
    for name in FORMATS:
        if module(name).recognise(path):
            return name
    if not path.exists():
        raise DataError(f"no file or folder at '{path}'")
    what = "the folder is empty" if path.is_dir() and not any(path.iterdir()) else "no reader knows its content"
    what = "the file is empty" if path.is_file() and not path.stat().st_size else what
    raise DataError(
        f"'{path}' is not skeleton data that can be read: {what}; formats: {', '.join(FORMATS)} (NTU .skeleton files or UTD-MHAD .mat "
        "files in a folder, zip or tar; an npz with joints, offsets, label, subject, name and label_names)"
    )


def read(path: str | Path, format: str = "auto", **options) -> Source:
    """The data set at `path` as a `Source`; `options` are those of the format's own `read`.

    Raises `DataError` for data that are missing or unknown, `SettingsError` for an unknown format or option.
    """
    path = Path(path)
    reader = module(recognise(path) if format == "auto" else format)
    known = list(inspect.signature(reader.read).parameters)[1:]
    for option in options:
        if option not in known:
            raise SettingsError(f"format '{reader.__name__.rpartition('.')[2]}' has no option '{option}'{nearest(option, known)}")
    return reader.read(path, **options)
