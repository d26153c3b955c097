"""The machine behind `pickles`: a pickle is a program for a small stack machine that may call any function by its name.

The machine is Python's own (`pickle._Unpickler`, protocols 0 to 5, written by Python 2 or 3 and numpy 1 or 2), with every opcode that
could call, import or change something replaced: a handful of numpy's names are known by what they stand for, and every other name is
refused. Byte strings longer than `INLINE` stay in the file; an array is a `Stored` that knows its place.

Memory and time are bounded: every opcode costs what it may occupy, and a pickle that spends more than any data set is refused.
"""

from __future__ import annotations

import codecs
import os
import pickle
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

from skelmm_core.errors import DataError
from skelmm_core.sources.pickle_names import CALLS, KNOWN, Dtype, Name, Refused, as_a, described, fill, hashable
from skelmm_core.sources.stored import Place, Stored

INLINE = 1024  # bytes; longer strings stay in the file
LINE = 4096  # bytes of a number or name written as text
BUDGET = 1 << 25  # units of 16 bytes, half a GiB; NTU RGB+D 120 with its 114,000 clips takes 45 %
STACK, MARKS = 1 << 20, 256  # things waiting on the stack, and nested containers


class Machine(pickle._Unpickler):
    """Python's machine with its opcodes replaced where they could do more than build plain data. Whatever
    Python itself trips over in a damaged pickle becomes a `DataError` in `load`, too."""

    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: BinaryIO, path: str):
        super().__init__(file)
        self.file, self.path, self.length, self.spent = file, path, os.fstat(file.fileno()).st_size, 0

    def load(self) -> Any:
        self.metastack, self.stack = [], []
        self.append = self.stack.append
        read, steps, costs = self.file.read, _STEPS, _COSTS
        try:
            while True:
                code = read(1)[0]
                self.spent += costs[code]
                if self.spent > BUDGET or len(self.stack) > STACK:
                    raise Refused("more content than any data set has")
                steps[code](self)
        except pickle._Stop as stop:
            if self.metastack:
                raise self._error("it ends inside of a container") from None
            return stop.value
        except Refused as problem:
            raise self._error(str(problem)) from None
        except IndexError as problem:
            short = self.file.tell() >= self.length
            raise self._error("it ends there: it was cut short" if short else "an opcode lacks its operands") from problem
        except Exception as problem:  # KeyError, TypeError, ValueError, struct.error, UnicodeDecodeError, EOFError, OverflowError, ...
            raise self._error(f"it can't be read ({type(problem).__name__}: {str(problem)[:100]})") from problem

    def _error(self, what: str) -> DataError:
        return DataError(
            f"'{self.path}', byte {self.file.tell()} of {self.length}: {what}; expected a pickle of plain containers, numbers, text and "
            "numpy arrays: get the file again from its source, or store it without other objects"
        )

    def read(self, count: int) -> bytes:
        if count > LINE:
            raise Refused(f"a number of {count} bytes")
        data = self.file.read(count)
        if len(data) < count:
            raise IndexError
        return data

    def readline(self) -> bytes:
        data = self.file.readline(LINE)
        if not data.endswith(b"\n"):
            raise IndexError if len(data) < LINE else Refused("a number or name that never ends")
        return data

    # Strings

    def content(self, length: int, coding: str) -> str | bytes | Place:
        """The next `length` bytes. coding: "" for bytes, "latin-1" for Python 2's strings, "utf-8" for text."""
        if length > INLINE:
            offset = self.file.tell()
            self.skip(offset, length)
            return Place(offset, length, "utf-8" if coding == "utf-8" else "", coding == "utf-8")
        data = self.read(length)
        self.spent += length >> 4
        return data.decode(coding) if coding else data

    def skip(self, offset: int, length: int) -> None:
        if length > self.length - offset:
            raise Refused(f"it announces {length} bytes, and {self.length - offset} are left: it was cut short")
        self.file.seek(offset + length)

    def line(self, quoted: bool) -> str | Place:
        """A string that is written as one line of text, however long."""
        offset = self.file.tell()
        piece = first = self.file.readline(INLINE)
        while piece and not piece.endswith(b"\n"):
            piece = self.file.readline(1 << 16)
        length = self.file.tell() - offset - 1
        if not piece or (quoted and (length < 2 or first[:1] not in (b"'", b'"'))):
            raise IndexError if not piece else Refused("a string without quotes")
        if length >= INLINE:
            return Place(offset + quoted, length - 2 * quoted, "escape" if quoted else "raw-unicode-escape", not quoted)
        self.spent += length >> 4
        return codecs.escape_decode(first[1:-2])[0].decode("latin-1") if quoted else first[:-1].decode("raw-unicode-escape")

    # Names, and what is done with them

    def find_class(self, module: str, name: str) -> Name:
        means = KNOWN.get((module, name))
        if not means:
            raise Refused(f"found the name {f'{module}.{name}'[:80]!r}, which plain data don't need; nothing was run")
        return Name(means)

    def reduce(self) -> None:
        args, called = self.stack.pop(), self.stack[-1]
        if type(called) is not Name or called.means not in CALLS or type(args) is not tuple:
            raise Refused(f"found a call of {getattr(called, 'means', described(called))}; nothing was run")
        self.stack[-1] = CALLS[called.means](self.path, *args)

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if type(state) is not tuple or type(target) not in (Stored, Dtype):
            raise Refused(f"found a state for {described(target)}; nothing was run")
        if type(target) is Stored:
            _, shape, dtype, fortran, content = state
            fill(target, dtype, shape, bool(fortran), (), content)
        elif len(state) < 5 or state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise Refused("found a dtype with fields")
        else:
            target.order = state[1]

    # Containers

    def append_one(self) -> None:
        value = self.stack.pop()
        as_a(list, self.stack[-1]).append(value)

    def append_many(self) -> None:
        items = self.pop_mark()
        as_a(list, self.stack[-1]).extend(items)

    def put_one(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        as_a(dict, self.stack[-1])[hashable(key)] = value

    def put_many(self) -> None:
        items = self.pop_mark()
        as_a(dict, self.stack[-1]).update(_table(items))

    def add_many(self) -> None:
        items = self.pop_mark()
        as_a(set, self.stack[-1]).update(map(hashable, items))

    def table(self) -> None:
        items = self.pop_mark()  # first: it changes where `append` puts things
        self.append(_table(items))

    def frozen(self) -> None:
        items = self.pop_mark()
        self.append(frozenset(map(hashable, items)))

    def mark(self) -> None:
        if len(self.metastack) == MARKS:
            raise Refused(f"containers in containers, {MARKS} deep")
        self.load_mark()

    def remember(self) -> None:
        self.memo[_index(self.readline())] = self.stack[-1]

    def recall(self) -> None:
        self.append(self.memo[_index(self.readline())])

    def frame(self) -> None:
        """The next opcodes stand in a frame, which changes nothing for a reader that goes on from byte to byte."""
        (length,) = struct.unpack("<Q", self.read(8))
        if length > self.length - self.file.tell():
            raise Refused(f"a frame of {length} bytes, and {self.length - self.file.tell()} are left: it was cut short")


def _table(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise Refused("a key without a value")
    return dict(zip(map(hashable, items[::2]), items[1::2], strict=True))


def _index(line: bytes) -> int:
    index = int(line)
    if not 0 <= index < 1 << 32:
        raise Refused("a place in the memo beyond 2^32")
    return index


def _sized(form: str, coding: str) -> Callable[[Machine], None]:
    """The step of an opcode that is followed by a length and as many bytes."""
    size = struct.Struct(form)

    def step(machine: Machine) -> None:
        (length,) = size.unpack(machine.read(size.size))
        if length < 0:
            raise Refused("a string of negative length")
        machine.append(machine.content(length, coding))

    return step


def _refused(what: str) -> Callable[[Machine], None]:
    def step(machine: Machine) -> None:
        raise Refused(f"found {what}; nothing was run")

    return step


_REPLACED: dict[bytes, Callable[[Machine], None]] = {
    pickle.BINBYTES: _sized("<I", ""), pickle.SHORT_BINBYTES: _sized("B", ""), pickle.BINBYTES8: _sized("<Q", ""),
    pickle.BYTEARRAY8: _sized("<Q", ""), pickle.BINSTRING: _sized("<i", "latin-1"), pickle.SHORT_BINSTRING: _sized("B", "latin-1"),
    pickle.BINUNICODE: _sized("<I", "utf-8"), pickle.SHORT_BINUNICODE: _sized("B", "utf-8"), pickle.BINUNICODE8: _sized("<Q", "utf-8"),
    pickle.UNICODE: lambda m: m.append(m.line(False)), pickle.STRING: lambda m: m.append(m.line(True)),
    pickle.REDUCE: Machine.reduce, pickle.BUILD: Machine.build, pickle.FRAME: Machine.frame, pickle.MARK: Machine.mark,
    pickle.APPEND: Machine.append_one, pickle.APPENDS: Machine.append_many, pickle.ADDITEMS: Machine.add_many,
    pickle.SETITEM: Machine.put_one, pickle.SETITEMS: Machine.put_many, pickle.DICT: Machine.table,
    pickle.FROZENSET: Machine.frozen, pickle.PUT: Machine.remember, pickle.GET: Machine.recall,
    **dict.fromkeys((pickle.PERSID, pickle.BINPERSID), _refused("a persistent id, which stands for something outside of the file")),
    **dict.fromkeys((pickle.EXT1, pickle.EXT2, pickle.EXT4), _refused("an extension code, which stands for a registered class")),
    **dict.fromkeys((pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX), _refused("an object of a class")),
    **dict.fromkeys((pickle.NEXT_BUFFER, pickle.READONLY_BUFFER), _refused("data that lie outside of the file")),
}  # fmt: skip
_DEAR = {  # opcodes that make more than a number: units of 16 bytes
    **dict.fromkeys((pickle.EMPTY_DICT, pickle.DICT, pickle.MARK, pickle.EMPTY_LIST, pickle.LIST), 6),
    **dict.fromkeys((pickle.EMPTY_SET, pickle.FROZENSET, pickle.REDUCE), 16),
    **dict.fromkeys((pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.MEMOIZE, pickle.PUT, pickle.LONG_BINPUT), 4),
    **dict.fromkeys((pickle.GET, pickle.BINGET, pickle.LONG_BINGET, pickle.FRAME), 1),
    **dict.fromkeys((pickle.SHORT_BINUNICODE, pickle.BINUNICODE, pickle.BINUNICODE8, pickle.UNICODE, pickle.STRING), 4),
    **dict.fromkeys((pickle.BINSTRING, pickle.SHORT_BINSTRING, pickle.BINBYTES, pickle.SHORT_BINBYTES, pickle.BINBYTES8), 4),
    pickle.BYTEARRAY8: 4,
}
_STEPS = [_refused(f"the unknown opcode {code:#x}") for code in range(256)]
_COSTS = [2] * 256
for _code, _step in {**pickle._Unpickler.dispatch, **{key[0]: step for key, step in _REPLACED.items()}}.items():
    _STEPS[_code] = _step
for _opcode, _cost in _DEAR.items():
    _COSTS[_opcode[0]] = _cost
