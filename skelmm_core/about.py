"""What an exported file says about itself, of both kinds (`export`, `onnx_file`): taken apart and checked before anything is made of it.

Metadata are texts, most of them JSON. Whoever can write a file can compute its checksum, too, so nothing in them is believed: every entry
has a type and a range here. Sizes of encoders are compared with the file's tensors by `export`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from skelmm_core import modalities
from skelmm_core.errors import CheckpointError, SettingsError, SkelmmError
from skelmm_core.recordings import check_words
from skelmm_core.settings import Distill, field_types
from skelmm_core.skeletons import SKELETONS, Skeleton

TEXTS = ("role", "trained_on")  # entries that are no JSON
NEEDED = ("role", "trained_on", "modalities", "settings", "skeleton", "versions")  # in every file of either kind
WIDEST = 1 << 20  # channels of any layer: nothing overflows while sizes are compared
ROOM = 500_000  # joints times frames that clips are resampled to: 20,000 frames of 25 joints; nothing in a file shows how many are honest
WRONG = (SkelmmError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)  # what a hostile table can raise


class Kind(NamedTuple):
    """What an entry must be, in words, and whether a value is."""

    expected: str
    fits: Callable[[Any], bool]


def _whole(low: int, high: int) -> Kind:
    return Kind(f"a whole number from {low} to {high}", lambda x: type(x) is int and low <= x <= high)


def _list(what: str, fits: Callable[[Any], bool]) -> Kind:
    return Kind(f"a list of {what}", lambda x: isinstance(x, list) and all(map(fits, x)))


TEXT = Kind("text", lambda x: isinstance(x, str))
TABLE = Kind("a table", lambda x: isinstance(x, dict))
NUMBER = Kind("a number from 0 on", lambda x: type(x) in (int, float) and 0 <= x < 1e15)  # NaN is not
COUNT = _whole(0, 10**15)
WIDTH = _whole(1, WIDEST)
SEAL = Kind("sha256: and 64 digits", lambda x: isinstance(x, str) and re.fullmatch("(sha256:[0-9a-f]{64})?", x) is not None)
ENTRIES = {
    "role": Kind("printable text", lambda x: isinstance(x, str) and x.isprintable()),
    "trained_on": TEXT,
    "modalities": Kind("a list of names", lambda x: isinstance(x, list) and len(x) > 0 and all(isinstance(name, str) for name in x)),
    "settings": TABLE,
    "skeleton": TABLE,
    "versions": Kind("a table of texts", lambda x: isinstance(x, dict) and all(isinstance(text, str) for text in x.values())),
    "bodies": _whole(1, 2),
    "classes": _list("names", lambda _: True),  # each by `check_words`
    "data": TABLE,
    "shape": TABLE,
    "head_width": WIDTH,
    "example": Kind("a list of numbers", lambda x: isinstance(x, list) and len(x) > 0 and all(map(_finite, x))),
}
SHAPE = {
    "hidden": WIDTH, "features": WIDTH, "embedding": WIDTH, "bodies": Kind("'all' or 'present'", lambda x: x in ("all", "present")),
    "dropout": Kind("a number from 0 to 1", lambda x: type(x) in (int, float) and 0 <= x <= 1),
}  # fmt: skip
DATA = {
    "title": TEXT, "content": TEXT, "protocol": TEXT, "generated": Kind("true or false", lambda x: isinstance(x, bool)),
    "clips": COUNT, "train": COUNT, "test": COUNT, "frame_rate": NUMBER, "median_frames": NUMBER,
}  # fmt: skip


class About(NamedTuple):
    """The entries of a file, JSON as what it stands for, and of two of them what is made of them. settings: see `settings_of`."""

    entries: dict[str, Any]
    skeleton: Skeleton
    settings: Distill


def read(metadata: Mapping[str, str], path: Path, needed: tuple[str, ...] = ()) -> About:
    """The checked entries of a file that has those of `NEEDED` and `needed`; it may lack others, and unknown ones are left out.

    Raises `CheckpointError`, naming file and entry, what was expected and found; `DataError` for names that can't be printed.
    """
    for name in (*NEEDED, *needed):
        if name not in metadata:
            raise CheckpointError(f"'{path}' has damaged metadata: it lacks the entry '{name}'; export it again")
    entries = {name: _parsed(metadata[name], name, path) for name in ENTRIES if name in metadata}
    for name, value in entries.items():
        _check(value, ENTRIES[name], name, path)
    for name, kinds in (("shape", SHAPE), ("data", DATA)):
        for key, value in entries.get(name, {}).items():
            if key in kinds:
                _check(value, kinds[key], f"{name}.{key}", path)
            elif name == "shape":
                raise wrong(path, "shape", f"a table of {', '.join(SHAPE)}", key)
    skeleton = _made(Skeleton.from_dict, entries["skeleton"], "skeleton", path)
    _made(lambda names: modalities.check_meaning(modalities.parts_of(modalities.check_streams(names)), skeleton),
          entries["modalities"], "modalities", path)  # fmt: skip
    settings = _made(settings_of, entries["settings"], "settings", path)
    most = ROOM // len(skeleton)
    _check(settings.frames, Kind(f"at most {most} for {len(skeleton)} joints", lambda x: x <= most), "settings.frames", path)
    data = entries.get("data", {})
    check_words(f"'{path}'", entries["trained_on"], data.get("protocol", ""), entries.get("classes", ()))
    check_words(f"'{path}'", data.get("title", ""), "", ())
    return About(entries, skeleton, settings)


def seal(metadata: Mapping[str, str], path: Path) -> str:
    """The checksum that a file names, "" in one older than checksums; raises `CheckpointError` for what can't be one."""
    found = metadata.get("checksum", "")
    _check(found, SEAL, "checksum", path)
    return found


def settings_of(table: Mapping[str, Any]) -> Distill:
    """Settings of any stage and version as those of the last stage; what this version does not know is left out.

    Raises `SettingsError` and `DataError`, also for a skeleton that is named by a file: other files are not read for this one.
    """
    known = field_types(Distill)
    skeleton = table.get("skeleton", "native")
    if skeleton not in ("native", *SKELETONS) and not str(skeleton).startswith("{"):
        raise SettingsError(f"setting 'skeleton' must be 'native', the name of a built-in skeleton or a table, found {skeleton!r}")
    # a file of encoders names no crop_shift, and the default's may be above its frames
    return Distill(**{"crop_shift": 0} | {key: value for key, value in table.items() if key in known})


def wrong(path: Path, entry: str, expected: str, found: object) -> CheckpointError:
    return CheckpointError(f"'{path}' has damaged metadata: '{entry}' must be {expected}, found {shown(found)}; export it again")


def shown(found: object, most: int = 300) -> str:
    """What was found, on one line that can be printed, cut where it is long: a text as it is, anything else as Python writes it."""
    if isinstance(found, list | dict):
        found = f"{'a list' if isinstance(found, list) else 'a table'} of {len(found)}"
    text = found if isinstance(found, str) else repr(found)
    cut = text if len(text) <= most else f"{text[:most]}..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)


def _parsed(text: object, name: str, path: Path) -> Any:
    if name in TEXTS or not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise wrong(path, name, "JSON", f"something else ({problem})") from problem


def _check(value: object, kind: Kind, name: str, path: Path) -> None:
    if not kind.fits(value):
        raise wrong(path, name, kind.expected, value)


def _made(make: Callable[[Any], Any], value: object, name: str, path: Path) -> Any:
    try:
        return make(value)
    except WRONG as problem:
        raise wrong(path, name, "what this version of skelmm can use", f"something else ({shown(str(problem))})") from problem


def _finite(value: object) -> bool:
    """Whether float32 holds a number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 3e38  # NaN is not
