"""Your own data as one long table, CSV or Parquet, a row per clip, frame, body and joint:

| column | |
|---|---|
| clip | name of the clip; its rows stand together |
| frame | whole number; frames that are left out between others are zeros |
| joint | name or number (from 0) of a joint of the skeleton |
| x, y, z | place; of a skeleton in an image, x, y and the detector's confidence as z |
| label | number or name of the class; classes are numbered in the order of their numbers, or of the alphabet |
| body | optional: number or name of the body, of which the first two in order are taken |
| subject, view, setup, repetition | optional: number from 0, or a name; names are numbered from 1 in alphabetical order |

Columns may stand in any order, others are the owner's business. The last two rows of the table, and label, are the same throughout a clip.
A CSV has a line per row, a header, fields divided by comma, semicolon or tab, and is in UTF-8; with semicolon or tab, decimal commas are
understood. A first pass finds the clips and keeps a few hundred bytes of each; then every clip is read by itself. Needs pyarrow.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skelmm_core import skeletons
from skelmm_core.errors import DataError, SettingsError, nearest
from skelmm_core.recordings import Dropped, Recording, Source
from skelmm_core.skeletons import Skeleton
from skelmm_core.sources import stored, table_header

if TYPE_CHECKING:
    from skelmm_core.sources.table_runs import Rows, Run

HOLDS = "a CSV or Parquet table with clip, frame, joint, x, y, z and label"
NEEDED = ("clip", "frame", "joint", "x", "y", "z", "label")
NUMBERED = ("subject", "view", "setup", "repetition")
OPTIONAL = ("body", *NUMBERED)
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}
UP = {"y": ((0, 1, 2), (1, 1, 1)), "z": ((0, 2, 1), (1, 1, -1))}  # columns that become x, y, z, and their signs: turned, not mirrored
GLANCES = 5  # clips whose joints are looked at to find a skeleton that has them
_WHOLE = re.compile(r"[+-]?\d{1,18}(\.0*)?")


def recognise(path: Path) -> bool:
    """Whether `path` is a text or Parquet file with the columns clip, frame, joint, x and y."""
    return table_header.holds(path, NEEDED[:5])


def read(
    path: Path,
    skeleton: str | Path | Skeleton = "",
    units: str = "m",
    up: str = "y",
    fps: float | str = 30.0,
    protocol: str = "",
    title: str = "",
) -> Source:
    """The clips of a table in the order of its rows.

    Args:
        skeleton: name of a built-in skeleton, or a TOML file of one's own; "": the built-in one in space with the first clips' joints.
        units: m, cm or mm; of joints in space.
        up: the axis that points up, y or z; of joints in space.
        fps: frames per second.
        protocol: default train/test split, a name or an expression.
        title: name of the data set, "" for the file's.

    Raises `DataError` for a file that can't be read, lacks a column or holds a clip in two places, and when pyarrow is absent;
    `SettingsError` for unknown options. What is wrong within a clip is raised when the clip is read.
    """
    path, rate = Path(path), _rate(fps)
    for option, value, known in (("units", units, UNITS), ("up", up, UP)):
        if value not in known:
            raise SettingsError(f"{option} is {value!r}{nearest(value, known)}; expected {' or '.join(known)}")
    rows = _rows(path)
    constant = ("label", *(name for name in NUMBERED if name in rows.columns))
    runs, texts = _found(rows, constant, path)
    names, labels = _classes(texts[0])
    codes = {column: _codes(values, path, column) for column, values in zip(constant[1:], texts[1:], strict=True)}
    chosen = skeletons.get(skeleton) if skeleton else _fitting(rows, runs, path)
    if chosen.dimensions == 2 and (units, up) != ("m", "y"):
        raise SettingsError(f"skeleton '{chosen.name}' is one in an image, without units and with y up; leave the options units and up out")
    options = (chosen, units, up, rate, protocol, title)
    order, signs = UP[up]
    return Source(
        title=title or path.stem,
        skeleton=chosen,
        class_names=names,
        frame_rate=rate,
        protocol=protocol,
        fingerprint=hashlib.sha256(repr(("table", stored.digest(path), options)).encode()).hexdigest(),
        items=_Clips(runs, labels, codes),
        read=partial(_recording, rows, chosen, order, tuple(UNITS[units] * sign for sign in signs)),
    )


def _rate(fps: float | str) -> float:
    try:
        rate = float(fps)
    except ValueError:
        rate = 0.0
    if not 0 < rate < 1e6:
        raise SettingsError(f"fps is {fps!r}; expected frames per second, a number above 0")
    return rate


def _rows(path: Path) -> Rows:
    """The rows of the table, its header checked."""
    try:
        from skelmm_core.sources import table_csv, table_parquet
    except ImportError as problem:
        raise DataError(f"'{path}' is a table, and reading tables needs pyarrow ({problem}): pip install 'skelmm[tables]'") from problem
    rows = (table_parquet if table_header.is_parquet(path) else table_csv).opened(path)
    columns = rows.columns
    lacking = [name for name in NEEDED if name not in columns]
    if lacking:
        raise DataError(
            f"'{path}' lacks the column '{lacking[0]}'{nearest(lacking[0], columns)}; a table of clips has {', '.join(NEEDED)} and may "
            f"have {', '.join(OPTIONAL)}"
        )
    for name in sorted(set(columns) - {*NEEDED, *OPTIONAL}):
        if meant := difflib.get_close_matches(name, [o for o in OPTIONAL if o not in columns], 1, 0.8):
            raise DataError(f"'{path}' has a column '{name[:50]}': is it meant as '{meant[0]}'? Rename it, or leave it out")
    return rows


def _found(rows: Rows, constant: tuple[str, ...], path: Path) -> tuple[list[Run], list[set[str]]]:
    """The clips, and what the columns `constant` hold in those without a known problem."""
    from skelmm_core.sources.table_runs import runs

    found = runs(rows, constant)
    if not found:
        raise DataError(f"'{path}' has no rows behind its header; expected a row per clip, frame, body and joint")
    texts: list[set[str]] = [set() for _ in constant]
    for run in found:
        if not run.problem:
            for values, text in zip(texts, run.texts, strict=True):
                values.add(text)
    if not texts[0]:
        raise DataError(f"no clip of the table can be read; the first: {found[0].problem}")
    return found, texts


def _classes(texts: set[str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Class names, in the order of their numbers if all are whole numbers, else of the alphabet, and the label of each text."""
    if not all(map(_WHOLE.fullmatch, texts)):
        names = sorted(texts)
        return tuple(names), {name: i for i, name in enumerate(names)}
    numbers = sorted(set(map(_whole, texts)))
    labels = {number: i for i, number in enumerate(numbers)}
    return tuple(map(str, numbers)), {text: labels[_whole(text)] for text in texts}


def _whole(text: str) -> int:
    return int(text.partition(".")[0])


def _codes(texts: set[str], path: Path, column: str) -> dict[str, int]:
    """What the texts of a column stand for: themselves if they are whole numbers, else their places in the alphabet; "" is -1."""
    given = texts - {""}
    if all(map(_WHOLE.fullmatch, given)):
        return {"": -1} | {text: _whole(text) for text in given}
    if numbers := sorted(filter(_WHOLE.fullmatch, given)):
        name = next(text for text in sorted(given) if not _WHOLE.fullmatch(text))
        raise DataError(f"'{path}': column '{column}' has numbers and names, such as {numbers[0]} and '{name[:50]}'; use one of them")
    return {"": -1} | {text: i for i, text in enumerate(sorted(given), 1)}


def _fitting(rows: Rows, runs: list[Run], path: Path) -> Skeleton:
    """The built-in skeleton in space with the joints of one of the first clips."""
    from skelmm_core.sources.table_clip import plain

    spatial = [s for s in skeletons.SKELETONS.values() if s.dimensions == 3]  # joints in an image must be called that
    joints, problem = set(), None
    for run in [run for run in runs if not run.problem][:GLANCES]:
        try:
            joints = set(rows.load(run).joint.unique().to_pylist())
        except DataError as damage:
            problem = damage
            continue
        numbers = all(map(_WHOLE.fullmatch, joints))
        count = 1 + max(map(_whole, joints)) if numbers else 0
        for known in spatial:
            if len(known) == count if numbers else set(map(plain, known.joints)) == set(map(plain, joints)):
                return known
    if not joints:
        raise problem
    some = ", ".join(sorted(joints, key=lambda j: (len(j), j))[:8])[:200] + (", ..." if len(joints) > 8 else "")
    raise DataError(
        f"'{path}': no built-in skeleton in space has just these {len(joints)} joints: {some}; name one with the option skeleton, or "
        "describe your own in a TOML file and name that (-p skeleton=mine.toml)"
    )


@dataclass(frozen=True, eq=False, slots=True)
class _Clip:
    """A clip's place in the table, and what is known of it."""

    run: Run
    facts: Recording

    @property
    def stem(self) -> str:
        return self.run.stem


class _Clips(Sequence):
    """Every clip, put together when it is asked for."""

    def __init__(self, runs: list[Run], labels: dict[str, int], codes: dict[str, dict[str, int]]):
        self._runs, self._labels, self._codes = runs, labels, codes

    def __len__(self) -> int:
        return len(self._runs)

    def __getitem__(self, i: int) -> _Clip:
        run = self._runs[i]
        if run.problem:
            return _Clip(run, Recording(_NOTHING, -1, run.stem))
        label, *texts = run.texts
        numbers = {column: codes[text] for (column, codes), text in zip(self._codes.items(), texts, strict=True)}
        return _Clip(run, Recording(_NOTHING, self._labels[label], run.stem, **numbers))


_NOTHING = np.zeros((1, 0, 0, 3), np.float32)


def _recording(rows: Rows, skeleton: Skeleton, order: tuple[int, ...], scale: tuple[float, ...], clip: _Clip) -> Recording | Dropped:
    """A clip's joints out of the table: axes in their order, and times `scale`."""
    from skelmm_core.sources.table_clip import joints

    if clip.run.problem:
        raise DataError(clip.run.problem)
    found, changes = joints(rows.load(clip.run), skeleton, lambda line: f"'{rows.path}', {rows.unit} {line}, clip '{clip.stem[:80]}'")
    if not found.any():
        return Dropped(clip.stem, "no body in any frame")
    return replace(clip.facts, joints=found[..., order] * np.float32(scale), changes=changes)
