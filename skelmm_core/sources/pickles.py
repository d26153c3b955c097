"""Pickles of plain containers, numbers, text and numpy arrays, read without running anything and without loading the arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skelmm_core.errors import DataError
from skelmm_core.sources.pickle_machine import Machine
from skelmm_core.sources.pickle_names import described
from skelmm_core.sources.stored import Stored


def load(path: str | Path) -> Any:
    """What the pickle at `path` holds: dicts, lists, tuples, sets, numbers, text (`str`; the byte strings of Python 2 decoded as latin-1),
    bytes, None, `Stored` for every array, and `Place` for text and bytes longer than `INLINE`.

    Raises `DataError`, with the byte where reading stood, for a file that is missing, cut short or no pickle, for whatever is not such
    plain data (objects, functions, object arrays, persistent ids, extension codes), and for content beyond any data set's size.
    What it gives may contain itself and may be nested deeply: look at it level by level, never print or compare it as a whole.
    """
    try:
        with open(path, "rb") as file:
            return Machine(file, str(path)).load()
    except OSError as problem:
        raise DataError(f"can't read '{path}': {problem.strerror or problem}") from problem


def texts(value: Any, what: str) -> list[str]:
    """A list, tuple or array of names as strings; anything else raises `DataError` with `what` in front."""
    if isinstance(value, Stored) and value.kind in "US" and len(value.shape) == 1:
        try:
            return [v.decode() if isinstance(v, bytes) else v for v in value.load().tolist()]
        except ValueError as problem:
            raise DataError(f"{what} holds text that can't be decoded ({problem})") from problem
    if isinstance(value, list | tuple):
        wrong = next((i for i, v in enumerate(value) if type(v) is not str), None)
        if wrong is None:
            return list(value)
        raise DataError(f"{what}: entry {wrong} is {described(value[wrong])}, expected a name")
    raise DataError(f"{what} is {described(value)}, expected a list of names")


def whole_numbers(value: Any, what: str) -> list[int]:
    """A list, tuple or array, (N,) or (N, 1), of integers as Python's; anything else raises `DataError` with `what` in front."""
    if isinstance(value, Stored) and value.kind in "iu" and len(value.shape) in (1, 2) and value.shape[1:] in ((), (1,)):
        return value.load().ravel().tolist()
    if isinstance(value, list | tuple):
        wrong = next((i for i, v in enumerate(value) if type(v) is not int), None)
        if wrong is None:
            return list(value)
        raise DataError(f"{what}: entry {wrong} is {described(value[wrong])}, expected an integer")
    raise DataError(f"{what} is {described(value)}, expected a list of integers")
