"""What players, lists and maps are given and asked for: checks with what was expected and what was found."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from numbers import Integral, Real
from typing import Any

import numpy as np
from torch import Tensor

from skelmm_core.errors import DataError, SettingsError, SkelmmError, nearest


def number(name: str, value: Any, expected: str, least: float = -math.inf, most: float = math.inf, above: float = -math.inf) -> float:
    """`value` as a finite float from `least` to `most` and above `above`; else `SettingsError` with what was `expected`."""
    if isinstance(value, Real) and not isinstance(value, bool):
        found = float(value)
        if math.isfinite(found) and least <= found <= most and found > above:
            return found
    raise SettingsError(f"{name} must be {expected}, found {value!r}")


def whole(name: str, value: Any, expected: str, least: int) -> int:
    """`value` as a whole number from `least` on; else `SettingsError` with what was `expected`."""
    if isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least:
        return int(value)
    raise SettingsError(f"{name} must be {expected}, a whole number; found {value!r}")


def place(name: str, value: Any, count: int, of: str) -> int:
    """`value` as a whole number below `count`; else `SettingsError`."""
    if isinstance(value, Integral) and not isinstance(value, bool) and 0 <= int(value) < count:
        return int(value)
    raise SettingsError(f"{name} must be 0 to {count - 1}, {of}; found {value!r}")


def one_of(name: str, value: Any, options: Sequence[str]) -> str:
    """`value`, one of `options`; else `SettingsError` with all of them and the most similar one."""
    if isinstance(value, str) and value in options:
        return value
    hint = nearest(value, options)
    hint = hint if hint.startswith("; did you mean") else ""
    raise SettingsError(f"{name} must be one of {', '.join(options)}; found {value!r}{hint}")


def each(name: str, value: Any, count: int) -> list[Any]:
    """One value per clip: a number for all of them, a word for one, a list or another sequence as it is; None is nothing for each."""
    if value is None or isinstance(value, Real):
        return [value] * count
    values = [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
    if len(values) != count:
        raise SettingsError(f"{name} must be one for each of {count} clip{'s' * (count > 1)}, found {len(values)}")
    return values


def array(name: str, value: Any, expected: str, kinds: str = "fiu", error: type[SkelmmError] = DataError) -> np.ndarray:
    """`value` as an array of one of NumPy's `kinds`, by default numbers: lists, arrays, and tensors of any device, with or without a
    gradient, bfloat16 as float32; else `error` with what was `expected`."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() and value.element_size() < 4 else value
    with suppress(TypeError, ValueError):  # lists of different lengths, tensors of their own kinds
        found: np.ndarray = np.asarray(value)
        if found.dtype.kind in kinds:
            return found
    raise error(f"{name} must be {expected}; found {told(value)}")


def by_name(name: str, value: Any, expected: str) -> Mapping[str, Any]:
    """`value`, a dict whose keys are words; else `SettingsError` with what was `expected`."""
    if not isinstance(value, Mapping):
        raise SettingsError(f"{name} must be {expected}, by name; found {told(value)}")
    for key in value:
        if not isinstance(key, str):
            raise SettingsError(f"{name} must be {expected}, by name; found the key {key!r}, which is no word")
    return value


def words(name: str, value: Any, expected: str, count: int | None = None) -> list[str]:
    """`value`, a list of words, as one, `count` of them, or None for none; else `SettingsError` with what was `expected`."""
    if value is None and count is None:
        return []
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise SettingsError(f"{name} must be {expected}; found {told(value)}")
    found = [str(word) for word in value]
    if count is not None and len(found) != count:
        raise SettingsError(f"{name} must be {expected}; found {len(found)}, expected {count}")
    return found


def clips(value: Any) -> Any:
    """`value`, an open `Clips`; else `SettingsError`."""
    if hasattr(value, "labels"):
        return value
    raise SettingsError(f"expected clips that are open, as `open_clips(path)` gives them, found {told(value)}")


def told(value: Any) -> str:
    """What was found: a word or a number as it is, of the rest the kind."""
    if value is None or isinstance(value, str | Real):
        return repr(value)
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}, shape {value.shape}"
    return f"a {type(value).__name__}"
