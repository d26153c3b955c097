"""JSON of unknown origin: read within bounds of memory and depth, then looked at field by field.

Every function names the file (`where`) and the field in its `DataError`, with what was expected and what was found.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np

from skelmm_core.errors import DataError, nearest

CONTAINERS, VALUES = 1 << 20, 1 << 21  # lists and tables, and commas, in one text: three times the largest list of labels
_NUMBERS = {int, float}


def parse(content: bytes, where: str) -> dict[str, Any]:
    """The table that a JSON text holds.

    NaN and Infinity become numbers, so that what looks at a field can name it. Raises `DataError` for text that is not UTF-8 or not JSON,
    nested too deeply or larger than memory should bear, for a field that stands twice in a table, and for anything but a table.
    """
    if content.count(b"{") + content.count(b"[") > CONTAINERS or content.count(b",") > VALUES:
        raise DataError(
            f"'{where}' holds more than {CONTAINERS} lists and tables or {VALUES} values, no recording has so many; take it away"
        )
    try:
        found = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_table)
    except UnicodeDecodeError as problem:
        raise DataError(f"'{where}' is not UTF-8 text (byte {problem.start}: {problem.reason}); expected JSON") from problem
    except RecursionError as problem:
        raise DataError(f"'{where}': lists or tables are nested too deeply; it is no recording, take it away") from problem
    except ValueError as problem:
        raise DataError(f"'{where}' is not JSON that can be read ({problem}); copy it again from its source") from problem
    if type(found) is not dict:
        raise DataError(f"'{where}' must be a JSON table, found {shown(found)}")
    return found


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the field {shown(twice)} stands twice in one table")
    return table


def field(table: Any, key: str, where: str, inside: str = "") -> Any:
    """`table[key]`; `inside` is what the table itself is called."""
    if type(table) is not dict:
        raise DataError(f"'{where}': {inside} must be a table with '{key}', found {shown(table)}")
    if key not in table:
        place = f"{inside} of '{where}'" if inside else f"'{where}'"
        raise DataError(f"{place} lacks the field '{key}'{nearest(key, list(table)[:20])}")
    return table[key]


def whole(value: Any, low: int, high: int, where: str, name: str) -> int:
    """A whole number in low..high."""
    if type(value) is not int or not low <= value <= high:
        raise DataError(f"'{where}': {name} must be a whole number in {low}..{high}, found {shown(value)}")
    return value


def text(value: Any, where: str, name: str) -> str:
    """A text of 1 to 200 characters that can be printed."""
    if type(value) is not str or not 0 < len(value) <= 200 or not value.isprintable():
        raise DataError(f"'{where}': {name} must be a text of 1 to 200 printable characters, found {shown(value)}")
    return value


def nested(value: Any, shape: tuple[int | None, ...], where: str, name: str) -> list[Any]:
    """Lists in lists of this shape with numbers inside; None stands for any length."""
    count = shape[0]
    if type(value) is not list or count not in (None, len(value)):
        wanted = "a list" if count is None else f"a list of {count}{' numbers' if len(shape) == 1 else ''}"
        raise DataError(f"'{where}': {name} must be {wanted}, found {shown(value)}")
    if len(shape) > 1:
        for i, part in enumerate(value):
            nested(part, shape[1:], where, f"{name}[{i}]")
    elif not _NUMBERS.issuperset(map(type, value)):
        i, odd = next((i, v) for i, v in enumerate(value) if type(v) not in _NUMBERS)
        raise DataError(f"'{where}': {name}[{i}] must be a number, found {shown(odd)}")
    return value


def numbers(value: Any, shape: tuple[int | None, ...], where: str, name: str) -> np.ndarray:
    """The same as float64 of that shape, all finite."""
    value = nested(value, shape, where, name)
    try:
        array = np.array(value, np.float64)
    except OverflowError as problem:
        raise DataError(f"'{where}': {name} holds a whole number that is too large") from problem
    if not np.isfinite(array).all():
        index = np.argwhere(~np.isfinite(array))[0]
        raise DataError(f"'{where}': {name}{''.join(f'[{i}]' for i in index)} is {array[tuple(index)]}; expected a finite number")
    return array


def shown(value: Any) -> str:
    """A value for a message: never long, whatever it is."""
    match value:
        case list():
            return f"a list of {len(value)}"
        case dict():
            return "a table"
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case str():
            return repr(value if len(value) <= 40 else value[:37] + "...")
    found = repr(value)
    return found if len(found) <= 40 else found[:37] + "..."
