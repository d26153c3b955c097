"""Protocols: which clips train and which test.

Every protocol is an expression over the columns of a clips file that says which clips train, such as
``subject % 2 == 1`` or ``view in (1, 2) and repetition < 3``; the rest tests. ``A / B`` names both parts, and clips of neither
are left out. The named protocols below are such expressions too; to add one, write one line.

Expressions are parsed, never evaluated as Python: columns, integers, comparisons, and / or / not, and + - * // % are all there is.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from skelmm_core.clipfile import COLUMNS
from skelmm_core.clips import Clips
from skelmm_core.errors import ProtocolError, nearest
from skelmm_core.sources.ntu_names import TRAINING_PERFORMERS

NAMED: dict[str, str] = {
    "cross-subject": f"subject in {TRAINING_PERFORMERS}",
    "cross-view": "view in (2, 3)",
    "cross-setup": "setup % 2 == 0",
    "odd-even-subjects": "subject % 2 == 1",
}
NTU = ("cross-subject", "cross-view", "cross-setup")  # which mean something only where the numbers are NTU RGB+D's
VIEWS = 4  # with more, a protocol for each of them tells little
LISTS = {"train-subjects": "subject", "train-views": "view", "train-setups": "setup", "train-repetitions": "repetition"}
_OPERATORS = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip


class Split(NamedTuple):
    """Clip numbers of the training and the test part, int64 and ascending, and the protocol that drew the line."""

    train: np.ndarray
    test: np.ndarray
    name: str


def split(clips: Clips, protocol: str = "") -> Split:
    """Divide a clips file into train and test; "" stands for the file's own protocol. The only clip of a class is in neither.

    Raises `ProtocolError` for an unknown or malformed protocol, one that uses a column with unknown values, parts that overlap,
    an empty part, and a class of the file that is missing from a part.
    """
    name = protocol.strip() or clips.protocol
    if not name:
        raise ProtocolError(f"'{clips.path}' names no protocol of its own; name one ({', '.join(_forms())})")
    train, *others = (_mask(part, name, clips) for part in _expression(name).split(" / "))
    if len(others) > 1:
        raise ProtocolError(f"protocol '{name}' has more than one ' / '; expected 'training part' or 'training part / test part'")
    test = others[0] if others else ~train
    several = np.bincount(clips.labels)[clips.labels] > 1
    train, test = train & several, test & several
    _check(clips, name, train, test, np.unique(clips.labels[several]))
    return Split(np.flatnonzero(train), np.flatnonzero(test), name)


def usual(clips: Clips, protocol: str = "") -> Iterator[str]:
    """How data like these are divided: by NTU RGB+D's rules if `protocol` or the file's own is one of them, since only then are the numbers
    of performers, cameras and setups NTU RGB+D's; else by odd and even subjects, and each of a few views tests once."""
    if not {protocol, clips.protocol}.isdisjoint(NTU):
        yield from NTU
        return
    yield "odd-even-subjects"
    views = np.unique(clips.views).tolist()
    if 2 <= len(views) <= VIEWS:
        for tests in views:
            yield f"train-views:{','.join(str(view) for view in views if view != tests)}"


def check_words(protocol: str) -> None:
    """Raises `ProtocolError` for a protocol that no clips file could understand: an unknown name, column or grammar."""
    for part in _expression(protocol.strip()).split(" / "):
        _mask(part, protocol, _AnyClips())


class _AnyClips:
    """Stands for any clips file: one clip, all columns known."""

    path, names = "any file", ("any clip",)

    def __len__(self) -> int:
        return 1

    def columns(self) -> dict[str, np.ndarray]:
        return {name: np.ones(1, np.int64) for name in COLUMNS}


def _forms() -> list[str]:
    return [*NAMED, *(f"{key}:1,2" for key in LISTS), "or an expression like 'subject % 2 == 1'"]


def _expression(name: str) -> str:
    """The expression that a protocol's name stands for; an expression stands for itself."""
    if name in NAMED:
        return NAMED[name]
    key, colon, numbers = name.partition(":")
    if colon and key.strip() in LISTS:
        if not re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*", numbers):
            raise ProtocolError(f"protocol '{name}': expected numbers after the colon, as in '{key}:1,2', found '{numbers}'")
        return f"{LISTS[key.strip()]} in ({numbers},)"
    if re.fullmatch(r"[\w-]+(:.*)?", name) and "-" in name:
        raise ProtocolError(f"unknown protocol '{name}'{nearest(key if colon else name, [*NAMED, *LISTS])}; known: {', '.join(_forms())}")
    return name


def _mask(text: str, name: str, clips: Clips | _AnyClips) -> np.ndarray:
    """(N,) bool: the clips for which an expression holds."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
        with np.errstate(all="raise"):
            value = _value(tree.body, name, clips)
    except (SyntaxError, ValueError, RecursionError, MemoryError, ArithmeticError) as problem:
        raise ProtocolError(f"protocol '{name}' can't be understood ({problem}); expected {', '.join(_forms())}") from problem
    return np.broadcast_to(_truth(value, name), len(clips))


def _value(node: ast.expr, name: str, clips: Clips | _AnyClips) -> Any:
    """Value of an expression: int64 or bool, (N,) or a single one."""
    match node:
        case ast.Constant(value=int() as number) if not isinstance(number, bool):
            return np.int64(number)
        case ast.Name(id=column):
            return _column(column, name, clips)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(_value(operand, name, clips), name)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return ~_truth(_value(operand, name, clips), name)
        case ast.BoolOp(op=op, values=parts):
            joined = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return joined.reduce(np.broadcast_arrays(*(_truth(_value(p, name, clips), name) for p in parts)))
        case ast.BinOp(op=sign, left=left, right=right) if type(sign) in _OPERATORS:
            return _OPERATORS[type(sign)](_number(_value(left, name, clips), name), _number(_value(right, name, clips), name))
        case ast.Compare(left=left, ops=ops, comparators=others):
            result: Any = np.True_
            last = _number(_value(left, name, clips), name)
            for test, other in zip(ops, others, strict=True):
                if isinstance(test, ast.In | ast.NotIn):
                    result = result & (np.isin(last, _members(other, name)) ^ isinstance(test, ast.NotIn))
                elif type(test) in _OPERATORS:
                    value = _number(_value(other, name, clips), name)
                    result, last = result & _OPERATORS[type(test)](last, value), value
                else:
                    raise ProtocolError(f"protocol '{name}': 'is' is not understood; compare with == or !=")
            return result
    raise ProtocolError(
        f"protocol '{name}': '{ast.unparse(node)}' is not understood; use columns, integers, comparisons, + - * // % and and / or / not"
    )


def _members(node: ast.expr, name: str) -> list[int]:
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        try:
            numbers = [ast.literal_eval(e) for e in node.elts]
        except ValueError:
            numbers = [None]
        if all(type(number) is int for number in numbers):
            return numbers
    raise ProtocolError(f"protocol '{name}': expected a list of integers after 'in', as in 'view in (1, 2)', found '{ast.unparse(node)}'")


def _column(column: str, name: str, clips: Clips | _AnyClips) -> np.ndarray:
    columns = clips.columns()
    if column not in columns:
        raise ProtocolError(f"protocol '{name}': no column '{column}'{nearest(column, [*columns, *NAMED])}; columns: {', '.join(columns)}")
    values = columns[column].astype(np.int64)
    unknown = np.flatnonzero(values < 0)
    if len(unknown):
        share = "every clip" if len(unknown) == len(values) else f"{len(unknown)} of {len(values)} clips, e.g. '{clips.names[unknown[0]]}'"
        raise ProtocolError(
            f"protocol '{name}' needs the {column}, which is unknown for {share} in '{clips.path}'; choose another protocol"
        )
    return values


def _truth(value: Any, name: str) -> np.ndarray:
    if np.asarray(value).dtype != bool:
        raise ProtocolError(
            f"protocol '{name}': expected a condition that is true or false, found a number; compare it, as in 'setup == 1'"
        )
    return np.asarray(value)


def _number(value: Any, name: str) -> Any:
    if np.asarray(value).dtype == bool:
        raise ProtocolError(f"protocol '{name}': a condition stands where a number is expected; join conditions with and / or / not")
    return value


def _check(clips: Clips, name: str, train: np.ndarray, test: np.ndarray, present: np.ndarray) -> None:
    """present: labels that both parts must have."""
    both = np.flatnonzero(train & test)
    if len(both):
        raise ProtocolError(
            f"protocol '{name}': {len(both)} clips are in both parts, e.g. '{clips.names[both[0]]}'; the parts must not overlap"
        )
    for part, mask in (("training", train), ("test", test)):
        if not mask.any():
            raise ProtocolError(f"protocol '{name}' leaves the {part} part of '{clips.path}' empty ({len(clips)} clips in all)")
        missing = np.setdiff1d(present, clips.labels[mask])
        if len(missing):
            names = ", ".join(f"{label} '{clips.class_names[label]}'" for label in missing[:3])
            raise ProtocolError(
                f"protocol '{name}' leaves {len(missing)} classes without a clip in the {part} part: {names}"
                f"{' ...' if len(missing) > 3 else ''}; choose another protocol or prepare the data without them"
            )
