"""What pickles of plain data may name, and what is made of it: numpy's arrays, dtypes and scalars, bytes and sets. Nothing is imported
or called by its name; a name stands for a word in `KNOWN`, and the word for a function in `CALLS`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from skelmm_core.sources.stored import Place, Stored

KEYS = (str, int, bytes, bool, type(None))
_CODE = re.compile(r"f[248]|[iu][1248]|b1|\?|[US]\d{1,6}")
_CORES = ("numpy.core", "numpy._core")
KNOWN = {
    **{(f"{core}.multiarray", "_reconstruct"): "empty array" for core in _CORES},
    **{(f"{core}.multiarray", "scalar"): "number" for core in _CORES},
    **{(f"{core}.numeric", "_frombuffer"): "array" for core in _CORES},
    ("numpy", "ndarray"): "array class",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "bytes of text",
    **{(module, name): name for module in ("builtins", "__builtin__") for name in ("set", "frozenset", "bytes")},
}


def described(value: Any) -> str:
    """A few words on a value, whatever it is."""
    match value:
        case None:
            return "None"
        case Stored():
            return f"an array of {value}"
        case str():
            return repr(value[:40])
        case int() | float():
            return repr(value) if isinstance(value, float) or not abs(value) >> 64 else "a number beyond 64 bits"
        case dict() | list() | tuple() | set() | frozenset():
            return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__.strip('_').lower()}"


class Name:
    """A function or class that the pickle names, by what it stands for."""

    __slots__ = ("means",)

    def __init__(self, means: str):
        self.means = means


class Dtype:
    """A numpy dtype in the making: its code, then its byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: str):
        self.code, self.order = code, "|"

    def __str__(self) -> str:
        order = "|" if self.code in ("b1", "i1", "u1") or self.code[0] == "S" else self.order.replace("|", "<").replace("=", "<")
        return order + self.code


class Refused(Exception):
    """Something that a pickle of plain data does not hold."""


def as_a(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise Refused(f"something to be put into {described(value)} as if it were a {kind.__name__}")
    return value


def hashable(value: Any) -> Any:
    """Text, or numbers below 2^60: hashes of larger ones can be made to collide, and hashing what is nested can exhaust the stack."""
    if type(value) not in KEYS or (type(value) is int and abs(value) >> 60):
        raise Refused(f"{described(value)} as the key of a table")
    return value


def fill(target: Stored, dtype: Any, shape: Any, fortran: bool, axes: Any, content: Any) -> Stored:
    """Give an array its numbers, once their count is what the shape says."""
    good = type(shape) is tuple and len(shape) <= 8 and all(type(n) is int and n >= 0 for n in shape)
    good = good and math.prod(max(n, 1) for n in shape) < 1 << 40
    if type(dtype) is not Dtype or not good or any(type(a) is not int for a in axes) or sorted(axes) not in ([], [*range(len(shape))]):
        raise Refused("found an array without a plain dtype and shape")
    if isinstance(content, str):
        content = content.encode("latin-1")
    if not isinstance(content, bytes | Place) or (isinstance(content, Place) and content.text):
        raise Refused(f"found an array whose numbers are {described(content)}")
    target.dtype, target.grid, target.fortran, target.axes, target.content = str(dtype), shape, fortran, tuple(axes), content
    plain = isinstance(content, bytes) or not content.coding
    found = len(content) if isinstance(content, bytes) else content.length
    if (target.size != found if plain else target.size > found) or (target.size == 0 and math.prod(shape)):
        raise Refused(f"found an array of {target}, which takes {target.size} bytes, with {found} bytes")
    return target


def _empty(path: str, kind: Any, *_: Any) -> Stored:
    if getattr(kind, "means", "") != "array class":
        raise Refused("found an array of an unknown class")
    return Stored(path)


def _array(path: str, content: Any, dtype: Any, shape: Any, order: Any, axes: Any = ()) -> Stored:
    return fill(Stored(path), dtype, shape, order == "F", axes or (), content)


def _number(path: str, dtype: Any, content: Any) -> Any:
    found = fill(Stored(path), dtype, (), False, (), content)
    return np.frombuffer(as_a(bytes, found.content), found.dtype).item()


def _dtype(path: str, code: Any, *_: Any) -> Dtype:
    if type(code) is not str or not _CODE.fullmatch(code):
        what = "an object array" if type(code) is str and code[:1] == "O" else f"an array of the dtype {described(code)}"
        raise Refused(f"found {what}; its entries could be anything: store plain numbers")
    return Dtype("b1" if code == "?" else code)


def _encoded(path: str, text: Any, coding: Any) -> bytes | Place:
    if coding not in ("latin1", "latin-1") or not (isinstance(text, str) or (isinstance(text, Place) and text.text)):
        raise Refused(f"found text to be encoded as {described(coding)}")
    return Place(text.offset, text.length, text.coding) if isinstance(text, Place) else text.encode("latin-1")


def _set(path: str, items: Any = ()) -> set[Any]:
    if type(items) not in (list, tuple):
        raise Refused(f"found a set of {described(items)}")
    return set(map(hashable, items))


CALLS: dict[str, Callable[..., Any]] = {  # functions of the pickle's path and the arguments
    "empty array": _empty,
    "array": _array,
    "number": _number,
    "dtype": _dtype,
    "bytes of text": _encoded,
    "set": _set,
    "frozenset": lambda path, *items: frozenset(_set(path, *items)),
    "bytes": lambda path: b"",  # how protocols 0 to 2 write no bytes at all
}
