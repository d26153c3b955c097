"""Sources: one module per file format, from files on a disk to a `Source` of recordings.

A format is a module with `recognise(path) -> bool`, which looks at the content and raises for nothing but an archive that is torn
(`archives.Unreadable`), and `read(path, **options) -> Source`, and one line in `FORMATS`. Modules are imported when they are needed. A
format that can be spread over several folders or archives says ``SEVERAL = True``, and its `read` takes a tuple of paths, too.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from skelmm_core.errors import DataError, SettingsError, nearest
from skelmm_core.recordings import Source

FORMATS: dict[str, str] = {
    "sample": "skelmm_core.sources.sample",
    "ntu": "skelmm_core.sources.ntu",
    "pyskl": "skelmm_core.sources.pyskl",
    "ctrgcn": "skelmm_core.sources.ctrgcn",
    "crosclr": "skelmm_core.sources.crosclr",
    "nucla": "skelmm_core.sources.nucla",
    "utd-mhad": "skelmm_core.sources.utd_mhad",
    "pku-mmd": "skelmm_core.sources.pku_mmd",
    "kinetics": "skelmm_core.sources.kinetics",
    "bvh": "skelmm_core.sources.bvh",
    "table": "skelmm_core.sources.table",
    "npz": "skelmm_core.sources.generic_npz",
}
BY_THEMSELVES = (".csv", ".tsv", ".parquet", ".npz", ".pkl", ".pickle")  # endings of files that are a data set each


def module(format: str) -> ModuleType:
    """The module that reads a format."""
    if format not in FORMATS:
        raise SettingsError(f"unknown format '{format}'{nearest(format, FORMATS)}; known: {', '.join(FORMATS)}")
    return importlib.import_module(FORMATS[format])


def recognise(path: str | Path) -> str:
    """Name of the format of the data at `path`; data of none or of several formats raise `DataError`."""
    from skelmm_core.sources import members

    path = Path(path)
    _check_readable(path)
    found = [name for name in FORMATS if module(name).recognise(path)]
    alone = _files_by_themselves(path)
    if alone and found:
        name, file = next(iter(alone.items()))
        raise DataError(
            f"'{path}' holds {found[0]} data, and beside it {name} data in '{file.name}': keep them apart, or name one with --format"
        )
    if alone:
        raise DataError(
            f"'{path}' is a folder with {' and '.join(f'{name} data in {str(file)!r}' for name, file in alone.items())}: name the file"
        )
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"'{path}' holds data of {len(found)} formats, {' and '.join(found)}: say which with --format, or keep them apart")
    if path.is_dir():
        for _ in members.files(path):  # raises for what can't be looked into
            pass
    if path.is_dir() and not any(path.iterdir()):
        what = "the folder is empty"
    else:
        what = "the file is empty" if path.is_file() and not path.stat().st_size else "no reader knows its content"
    known = "; ".join(f"{name}: {module(name).HOLDS}" for name in FORMATS)
    raise DataError(f"'{path}' is not skeleton data that can be read: {what}. Formats: {known}")


def _files_by_themselves(path: Path) -> dict[str, Path]:
    """Files of a folder that are a data set each, by format: tables, npz, pickles; the first few are looked at."""
    if not path.is_dir():
        return {}
    some = islice((p for p in sorted(path.iterdir()) if p.suffix.lower() in BY_THEMSELVES and p.is_file()), 20)
    return {name: file for file in some for name in FORMATS if _recognised(name, file)}


def _recognised(name: str, file: Path) -> bool:
    """A torn file beside other data is none of their business."""
    try:
        return bool(module(name).recognise(file))
    except DataError:
        return False


def _check_readable(path: Path) -> None:
    if str(path) == "sample":
        return
    if not path.exists():
        raise DataError(f"no file or folder at '{path}'")
    try:
        next(path.iterdir(), None) if path.is_dir() else path.open("rb").close()
    except OSError as problem:
        raise DataError(f"can't read '{path}': {problem.strerror or problem}; change its permissions or name another") from problem


def _converted(option: str, value: Any, default: Any) -> Any:
    """An option that came as text, from a command line, as a number where its default is one."""
    if not isinstance(value, str) or isinstance(default, bool) or not isinstance(default, int | float):
        return value
    try:
        return float(value) if isinstance(default, float) else int(value)
    except ValueError as problem:
        raise SettingsError(f"option '{option}' must be a number, found '{value}'") from problem


def read(path: str | Path | Sequence[str | Path], format: str = "auto", **options: Any) -> Source:
    """The data set at `path`, or at several paths together, as a `Source`; `options` are those of the format's own `read`.

    Raises `DataError` for data that are missing, unknown, or of several formats, `SettingsError` for an unknown format or option.
    """
    paths = (Path(path),) if isinstance(path, str | Path) else tuple(map(Path, path))
    names = {str(p): recognise(p) for p in paths} if format == "auto" else {str(p): format for p in paths}
    if len(set(names.values())) > 1:
        raise DataError(f"several formats at once: {', '.join(f'{p} is {name}' for p, name in names.items())}; prepare each by itself")
    reader = module(names[str(paths[0])])
    if len(paths) > 1 and not getattr(reader, "SEVERAL", False):
        raise DataError(f"format '{names[str(paths[0])]}' is read from one file or folder, found {len(paths)}")
    known = list(inspect.signature(reader.read).parameters)[1:]
    for option in options:
        if option not in known:
            raise SettingsError(f"format '{names[str(paths[0])]}' has no option '{option}'{nearest(option, known)}")
        options[option] = _converted(option, options[option], inspect.signature(reader.read).parameters[option].default)
    source: Source = reader.read(paths if len(paths) > 1 else paths[0], **options)
    return source
