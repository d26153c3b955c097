"""What a player and a list are asked for: checks with what was expected and what was found."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any

from skelmm_core.errors import SettingsError, nearest


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
