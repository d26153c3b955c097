"""The safe reader of pickles against Python's own on harmless files, and against files that mean harm."""

from __future__ import annotations

import collections
import copyreg
import datetime
import os
import pickle
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skelmm_core.errors import DataError
from skelmm_core.sources import pickles
from skelmm_core.sources.stored import Place, Stored

PROTOCOLS = range(6)


@pytest.fixture
def read(tmp_path: Path):
    """A function that reads bytes as a pickle."""

    def from_bytes(content: bytes):
        path = tmp_path / "file.pkl"
        path.write_bytes(content)
        return pickles.load(path)

    return from_bytes


def same(expected, found) -> bool:
    if isinstance(expected, np.ndarray):
        wanted = expected.astype(np.float32) if expected.dtype.kind == "f" else expected
        loaded = found.load()
        return isinstance(found, Stored) and found.shape == expected.shape and loaded.dtype.isnative and np.array_equal(loaded, wanted)
    if isinstance(expected, dict):
        return expected.keys() == found.keys() and all(same(expected[k], found[k]) for k in expected)
    if isinstance(expected, list | tuple):
        return type(expected) is type(found) and len(expected) == len(found) and all(map(same, expected, found))
    return expected == found


def everything(value, seen: set[int]):
    """All that can be reached in what a pickle holds, however it is nested or shared."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        if isinstance(item, dict):
            waiting += [*item, *item.values()]
        elif isinstance(item, list | tuple | set | frozenset):
            waiting += item


# -- harmless files

LARGE = np.random.default_rng(0).normal(size=(2, 40, 25, 3))
PLAIN = {
    "half": LARGE.astype("f2"), "double": LARGE, "fortran": np.asfortranarray(LARGE[0]), "turned": LARGE.transpose(1, 0, 3, 2),
    "big-endian": np.arange(900, dtype=">i4").reshape(30, 30), "small": np.arange(6, dtype=np.int16), "none": np.empty((0, 25, 3)),
    "truth": np.array([True, False]), "text": np.array(["a", "bcd", "ü"]), "bytes": np.array([b"a", b"bcd"]), "nothing": np.float64(1 / 3),
    "scalars": (np.int64(-5), np.float32(0.1), np.str_("name"), np.bool_(True)),
    "plain": [None, True, -3, 1 << 40, 2.5, "ü\n\\u", b"", b"\xff"], "sets": [{1, "a"}, frozenset([2])],
    "many": list(range(3000)), "long": "x" * 500, "nested": {"a": {"b": [(), [], {}]}},
}  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data_and_arrays_are_what_python_reads(read, protocol):
    content = pickle.dumps(PLAIN, protocol)
    expected, found = pickle.loads(content), read(content)
    assert same(expected, found)
    assert all(type(a) is type(b) or isinstance(a, np.generic) for a, b in zip(expected["plain"], found["plain"], strict=True))
    assert all(isinstance(found[key].content, Place) for key in ("half", "double", "fortran", "turned"))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(-(2**59), 2**59), inner),
    max_leaves=12,
)
dtypes = hnp.floating_dtypes(sizes=(16, 32, 64)) | hnp.integer_dtypes() | hnp.unsigned_integer_dtypes() | hnp.boolean_dtypes()


@given(value=values, array=hnp.arrays(dtypes, hnp.array_shapes(max_dims=4, max_side=5)), protocol=st.sampled_from(PROTOCOLS))
@settings(max_examples=150)
def test_any_plain_data_are_what_python_reads(tmp_path_factory, value, array, protocol):
    path = tmp_path_factory.getbasetemp() / "any.pkl"
    path.write_bytes(pickle.dumps([value, array, array], protocol))
    found = pickles.load(path)
    assert same(value, found[0]) and found[1] is found[2]
    with np.errstate(over="ignore"):
        wanted = array.astype(np.float32) if array.dtype.kind == "f" else array
    np.testing.assert_array_equal(found[1].load(), wanted)


PYTHON_2 = {  # {'name': 'S001', 'x': numpy.arange(4, dtype='<f4').reshape(2, 2)} as Python 2.7 with numpy 1.16 writes it
    0: b"(dp0\nS'name'\np1\nS'S001'\np2\nsS'x'\np3\ncnumpy.core.multiarray\n_reconstruct\np4\n(cnumpy\nndarray\np5\n(I0\ntp6\nS'b'\np7\n"
    b"tp8\nRp9\n(I1\n(L2L\nL2L\ntp10\ncnumpy\ndtype\np11\n(S'f4'\np12\nI0\nI1\ntp13\nRp14\n(I3\nS'<'\np15\nNNNI-1\nI-1\nI0\ntp16\nbI00\n"
    rb"S'\x00\x00\x00\x00\x00\x00\x80?\x00\x00\x00@\x00\x00@@'" + b"\np17\ntp18\nbs.",
    2: b"\x80\x02}q\x01(U\x04nameq\x02U\x04S001q\x03U\x01xq\x04cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85"
    b"U\x01b\x87Rq\x07(K\x01K\x02K\x02\x86cnumpy\ndtype\nq\x08U\x02f4K\x00K\x01\x87Rq\t(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    b"\x89U\x10\x00\x00\x00\x00\x00\x00\x80?\x00\x00\x00@\x00\x00@@tbu.",
}  # fmt: skip


@pytest.mark.parametrize("protocol", PYTHON_2)
def test_python_2_and_numpy_1_are_understood(read, protocol):
    expected, found = pickle.loads(PYTHON_2[protocol], encoding="latin1"), read(PYTHON_2[protocol])
    assert found["name"] == expected["name"] == "S001"
    assert found["x"].load().tolist() == expected["x"].tolist() == [[0, 1], [2, 3]]


def test_long_arrays_of_python_2_stay_in_the_file(read):
    data = np.arange(1000, dtype="<f4")
    line = b"S'" + "".join(f"\\x{b:02x}" for b in data.tobytes()).encode() + b"'\n"
    for old, text in ((PYTHON_2[0].split(b"S'\\x00")[0].replace(b"(L2L\nL2L\nt", b"(L1000L\nt") + line + b"p17\ntp18\nbs.", True),
                      (PYTHON_2[2].split(b"U\x10")[0].replace(b"K\x02K\x02\x86", b"M\xe8\x03\x85") + b"T" + struct.pack("<i", 4000)
                       + data.tobytes() + b"tbu.", False)):  # fmt: skip
        found = read(old)["x"]
        assert isinstance(found.content, Place) and (found.content.coding == "escape") == text
        np.testing.assert_array_equal(found.load(), data)


def test_names_and_numbers_are_read_from_lists_and_arrays(read):
    found = read(pickle.dumps([["a", "b"], np.array(["a", "b"]), np.array([b"a", b"b"]), [1, 2], np.array([[1], [2]])]))
    assert all(pickles.texts(v, "names") == ["a", "b"] for v in found[:3])
    assert all(pickles.whole_numbers(v, "labels") == [1, 2] for v in found[3:])
    for wrong in (["a", 1], None, {"a": 1}, "ab"):
        with pytest.raises(DataError, match="^names"):
            pickles.texts(wrong, "names")
    for wrong in ([1, "a"], [True], [1.0], None, found[1]):
        with pytest.raises(DataError, match="^labels"):
            pickles.whole_numbers(wrong, "labels")


def test_arrays_travel_and_notice_a_changed_file(tmp_path, read):
    stored = read(pickle.dumps(LARGE))
    again = pickle.loads(pickle.dumps(stored))
    assert len(pickle.dumps(stored)) < 600
    np.testing.assert_array_equal(again.load(), LARGE.astype(np.float32))
    os.truncate(tmp_path / "file.pkl", 5000)
    with pytest.raises(DataError, match="takes 48000 bytes, found"):
        stored.load()
    (tmp_path / "file.pkl").unlink()
    with pytest.raises(DataError, match="can't read"):
        stored.load()


@pytest.mark.parametrize("protocol", (2, 4, 5))
def test_memory_does_not_grow_with_the_arrays(tmp_path, protocol):
    path = tmp_path / "large.pkl"
    with open(path, "wb") as file:
        pickle.dump([np.full((4, 1 << 18), i, np.float32) for i in range(4)], file, protocol)
    tracemalloc.start()
    found = pickles.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 16 << 20 and peak < 1 << 20
    assert found[3].load()[2, 5] == 3


# -- files that mean harm

CALL = []


class Caller:
    def __reduce__(self):
        return CALL.append, ("called",)


class Plain:
    pass


def persistent(value) -> bytes:
    import io

    class Pickler(pickle.Pickler):
        def persistent_id(self, item):
            return "outside" if item == "x" else None

    buffer = io.BytesIO()
    Pickler(buffer, 4).dump(value)
    return buffer.getvalue()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_is_run_and_the_find_is_named(read, protocol):
    CALL.clear()
    for value, found in (
        ([1, Caller()], "getattr"), (os.system, "posix.system"), (print, "print"), (Plain, "Plain"), (Plain(), "Plain|_reconstructor"),
        (collections.OrderedDict(a=1), "OrderedDict"), (np.array([1, None]), "object array"), (np.array([{}] * 500), "object array"),
        (np.zeros(3, [("a", "f4")]), "dtype"), (np.zeros(3, "c8"), "dtype"), (np.datetime64("2020"), "dtype"), (1j, "complex"),
        (datetime.date(2020, 1, 1), "datetime.date"), (np.ma.array([1]), "numpy.ma"), (np.random.default_rng(0), "numpy.random|Generator"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=rf"byte \d+ of \d+: .*({found})"):
            read(pickle.dumps(value, protocol))
    assert not CALL


def test_every_other_way_out_is_closed(read):
    copyreg.add_extension("os", "system", 200)
    try:
        extension = pickle.dumps(os.system, 2) if os.system.__module__ == "os" else b"\x80\x02\x82\xc8."
        for content, found in (
            (extension, "extension code"), (b"\x83\xc8\x00.", "extension code"), (b"\x84\xc8\x00\x00\x00.", "extension code"),
            (persistent(["x"]), "persistent id"), (b"Poutside\n.", "persistent id"),
            (b"(S'echo'\nios\nsystem\n.", "object of a class"), (b"(cos\nsystem\nS'echo'\no.", "os.system"),
            (b"(cnumpy\nndarray\nK\x01o.", "object of a class"), (b"cnumpy\nndarray\n)\x81.", "object of a class"),
            (b"cnumpy\nndarray\n)}\x92.", "object of a class"), (b"cnumpy\nndarray\nK\x01\x85R.", "call of array class"),
            (b"\x80\x05\x97.", "outside of the file"), (b"\x80\x05C\x01a\x98.", "outside of the file"),
            (b"c_codecs\nencode\n(Vrm\nVrot13\nl\x85R.", "call|lacks|can't be read"), (b"c_codecs\nencode\nVrm\nVrot13\n\x86R.", "encoded"),
            (b"}}b.", "state"), (b"cnumpy\ndtype\n}b.", "state"), (b"c_codecs\nencode.__globals__\n.", "encode.__globals__"),
            (b"\x8c\x05numpy\x8c\x0cndarray.base\x93.", "ndarray.base"),
            (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n)C\x01btR.", "class"),
            (b"}K\x01]s}]K\x01s.", "key of a table"), (b"]K\x01K\x02s.", "dict"), (b"}K\x01a.", "list"), (b"\x8f(]\x90.", "key of a table"),
            (b"(])\x91.", "key of a table"), (b"\xff.", "unknown opcode"),
        ):  # fmt: skip
            with pytest.raises(DataError, match=found):
                read(content)
    finally:
        copyreg.remove_extension("os", "system", 200)


def long(count: int) -> bytes:
    return struct.pack("<Q", count)


FULL = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR"  # with a shape and a dtype
FULL += b"(K\x01%scnumpy\ndtype\nV%s\nI0\nI1\n\x87R(K\x03V<\nNNNtb\x89C%stb."
FEW, NONE = b"\x04abcd", b"\x00"
HOSTILE = {  # and what is said of it
    "a number of 2 GiB": (b"\x8b" + struct.pack("<i", 2**31 - 1) + b"\x01" * 100, "a number of 2147483647 bytes"),
    "a negative length": (b"\x8b" + struct.pack("<i", -1) + b".", "negative byte count"),
    "a negative string": (b"T" + struct.pack("<i", -5) + b"abcde.", "negative length"),
    "bytes of 2^62": (b"\x8e" + long(2**62) + b"a.", "announces 4611686018427387904 bytes, and 2 are left"),
    "bytes of 2^64 - 1": (b"\x96" + long(2**64 - 1) + b"a.", "announces"),
    "text of 2^62": (b"\x8d" + long(2**62) + b"a.", "announces"),
    "a frame of 2^62": (b"\x80\x04\x95" + long(2**62) + b"N.", "a frame of"),
    "a number as text that never ends": (b"I" + b"1" * 100_000 + b"\n.", "never ends"),
    "a number of 4090 digits": (b"L" + b"9" * 4090 + b"L\n0" * 50 + b".", "."),
    "a memo at 10^4000": (b"Np" + b"9" * 4000 + b"\n.", "beyond 2.32"),
    "a memo that is not there": (b"j\xff\xff\xff\xff.", "Memo value not found"),
    "marks in marks": (b"(" * 100_000, "256 deep"),
    "an endless stack": (b"N" * (1 << 21), "more content"),
    "keys that collide": (
        b"}(" + b"".join(b"\x8a\x0b" + (i * (2**61 - 1)).to_bytes(11, "little") + b"N" for i in range(1, 20_000)) + b"u.",
        "key of a table",
    ),
    "memo places that collide": (b"N" + b"".join(b"p%d\n" % (i * (2**61 - 1)) for i in range(1, 20_000)) + b".", "beyond 2.32"),
    "an empty stack": (b"0.", "lacks its operands"),
    "nothing": (b"", "cut short"),
    "nothing to stop at": (b".", "cut short"),
    "an array of 2^62 entries": (FULL % (b"\x8a\x08" + long(2**62) + b"\x85", b"f2", FEW), "without a plain dtype and shape"),
    "an array of 2^30 x 2^30 x 0 entries": (
        FULL % (b"J\x00\x00\x00\x40" * 2 + b"K\x00\x87", b"f2", NONE),
        "without a plain dtype and shape",
    ),
    "an array of fewer entries": (FULL % (b"K\x01\x85", b"f2", FEW), "takes 2 bytes, with 4 bytes"),
    "an array of more entries": (FULL % (b"K\x03\x85", b"f2", FEW), "takes 6 bytes, with 4 bytes"),
    "an array of -2 x -1 entries": (FULL % (b"J\xfe\xff\xff\xffJ\xff\xff\xff\xff\x86", b"f2", FEW), "without a plain"),
    "an array of empty text": (FULL % (b"J\x00\x00\x00\x40\x85", b"U0", NONE), "takes 0 bytes, with 0 bytes"),
    "an array of huge text": (FULL % (b"K\x01\x85", b"U99999999999999", FEW), "dtype 'U9"),
    "an array of wide floats": (FULL % (b"K\x02\x85", b"f16", FEW), "dtype 'f16'"),
    "an array of text": (
        FULL[: -len(b"C%stb.")] % (b"K\x01\x85", b"f2") + b"X\xd0\x07\x00\x00" + b"a" * 2000 + b"tb.",
        "numbers are a place",
    ),
    "a deep tuple as a key": (b"})" + b"\x85" * 200_000 + b"Ns.", "a tuple of 1 as the key"),
    "a deep tuple in a set": (b"\x8f()" + b"\x85" * 200_000 + b"\x90.", "a tuple of 1 as the key"),
    "text that is not UTF-8": (b"X\x02\x00\x00\x00\xff\xff.", "UnicodeDecodeError"),
    "a state of its own": (b"cnumpy\ndtype\nVf4\nI0\nI1\n\x87R(K\x03V<\nNV(a)\n}tb.", "call of|with fields|lacks"),
    "a dtype with fields": (b"cnumpy\ndtype\n(Vf4\nI0\nI1\ntR(K\x03V<\nNV(a)\n}tb.", "with fields"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_are_refused_at_once_and_take_no_memory(read, what):
    tracemalloc.start()
    began = time.process_time()
    content, said = HOSTILE[what]
    with pytest.raises(DataError, match=rf"byte \d+ of {len(content)}: .*{said}"):
        read(content)
    seconds, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 5 and peak < 160 << 20


@pytest.mark.parametrize("content", (b"]q\x00" + b"h\x00\x86q\x00" * 60 + b".", b"]q\x00h\x00a.", b")" + b"\x85" * 300_000 + b"."))
def test_what_is_shared_or_deep_or_within_itself_is_described_shortly(read, content):
    """A bomb of pairs of pairs, a list that holds itself, and a tuple in a tuple, 300,000 deep."""
    found = read(content)
    assert len(pickles.described(found)) < 30
    with pytest.raises(DataError):
        pickles.texts(found, "names")


def test_content_beyond_any_data_set_is_refused(read, monkeypatch):
    from skelmm_core.sources import pickle_machine

    monkeypatch.setattr(pickle_machine, "BUDGET", 100_000)
    for one in (b"]a", b"}a", b"K\x01a", b"(ta", b"N0", b"h\x00a", b"C\xff" + b"a" * 255 + b"a"):
        with pytest.raises(DataError, match="more content than any data set"):
            read(b"]q\x00" + one * 60_000 + b".")


SMALL = {
    "split": {"a_train": ["x"], "a_val": ["y"]},
    "annotations": [{"frame_dir": "x", "label": 1, "keypoint": LARGE[:, :3].astype("f2")}],
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_file_that_is_cut_anywhere_is_refused(tmp_path, protocol):
    content, path = pickle.dumps(SMALL, protocol), tmp_path / "cut.pkl"
    for length in {*range(0, len(content), 1 + len(content) // 300), len(content) - 1}:
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=f"of {length}: "):
            pickles.load(path)


@given(protocol=st.sampled_from(PROTOCOLS), changes=st.lists(st.tuples(st.integers(0, 800), st.binary(min_size=1, max_size=9)), min_size=1))
@settings(max_examples=600)
def test_a_damaged_file_gives_plain_data_or_an_error(tmp_path_factory, protocol, changes):
    content = bytearray(pickle.dumps(SMALL, protocol))
    for place, new in changes:
        place %= len(content)
        content[place : place + len(new)] = new
    path = tmp_path_factory.getbasetemp() / "damaged.pkl"
    path.write_bytes(content)
    try:
        found = pickles.load(path)
        for item in everything(found, set()):
            assert not callable(item)
            if isinstance(item, Stored):
                item.load()
    except DataError as problem:
        assert str(path) in str(problem)


def test_missing_and_forbidden_files(tmp_path):
    with pytest.raises(DataError, match="can't read"):
        pickles.load(tmp_path / "absent.pkl")
    with pytest.raises(DataError, match="can't read"):
        pickles.load(tmp_path)
