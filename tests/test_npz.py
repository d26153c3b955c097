"""Arrays inside of npz files, and one's own data in them: whatever a file holds, clips that keep the rules come out of it, or an error that
names it; and nothing stays behind."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import tracemalloc
import zipfile
from functools import lru_cache
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from writers import npz as writer

from skelmm_core.errors import DataError
from skelmm_core.reading import Checked, examine
from skelmm_core.recordings import FARTHEST
from skelmm_core.sources import generic_npz, npz, stored


@lru_cache
def written() -> dict[str, np.ndarray]:
    """The arrays of four clips."""
    with tempfile.TemporaryDirectory() as scratch, np.load(writer.write(Path(scratch), clips=4)) as file:
        return dict(file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("changed")


def outcome(path: Path, in_memory: int = npz.IN_MEMORY) -> int:
    """Reads a file that may hold anything; the number of clips that keep the rules, or -1 for an error, which must name the file."""
    with mock.patch.object(npz, "IN_MEMORY", in_memory):
        try:
            source = generic_npz.read(path)
        except DataError as problem:
            assert path.name in str(problem) and len(str(problem)) < 2000
            return -1
        found = [item for items in examine(source, jobs=1) for item in items]
    for item in found:
        if not isinstance(item, Checked):
            assert not item.damaged or path.stem in item.reason
            continue
        bodies, frames, joints, axes = item.joints.shape
        assert bodies == 1 and frames >= 1 and (joints, axes) == (len(source.skeleton), 3) and item.joints.dtype == "<f4"
        assert (np.abs(item.joints) <= FARTHEST).all() and item.joints.any()
        assert 0 <= item.recording.label < len(source.class_names) and item.recording.name.isprintable() and item.recording.name
        assert all(-1 <= number < 2**31 for number in (item.recording.subject, item.recording.view, item.recording.repetition))
    assert len(found) == len(source.items)
    return sum(isinstance(item, Checked) for item in found)


def npy(descr: str, shape: tuple, fortran: bool, data: bytes) -> bytes:
    """A .npy file by hand."""
    text = repr({"descr": descr, "fortran_order": fortran, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def packed(path: Path, members: dict[str, bytes], compression: int) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


def bytes_of(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


NUMBERS = [0, 1, -1, 2**31, 2**63 - 1, -(2**63), 2**64 - 1, 1e30, 1e300, np.nan, np.inf, -np.inf, 0.5]
TYPES = ["f2", "f4", ">f4", "f8", "f16", "i1", ">i2", "i8", "u8", "?", "c8", "U3", "S3", "M8[s]", "m8", "O", "V4", "i4,f4"]
SHAPES = [lambda a: a[None], lambda a: a[..., None], lambda a: a[:0], lambda a: a[:1], lambda a: a.ravel(), lambda a: a.T]
SHAPES += [np.asfortranarray, lambda a: np.concatenate([a, a]), lambda a: a.reshape(-1)[:1], lambda a: np.zeros((0, *a.shape), a.dtype)]
TEXTS = ["", "\0", "a\0b", "\ud800", "\n", "{", "{}", '{"name": 1}', "[]", "ntu25", "kinect20", "x.toml", "a" * 3000, "\u202e", "1e999"]


def changed(draw, whole: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a file with one of them replaced by something that does not belong there."""
    names = [*whole, *generic_npz.OPTIONAL]
    name = draw(st.sampled_from(names))
    array = whole.get(name, np.zeros(4))
    match draw(st.sampled_from(["gone", "other", "type", "shape", "number", "text", "any"])):
        case "gone":
            return {k: v for k, v in whole.items() if k != name}
        case "other":
            return whole | {name: whole[draw(st.sampled_from(sorted(whole)))]}
        case "type":
            try:
                with np.errstate(all="ignore"):
                    return whole | {name: array.astype(draw(st.sampled_from(TYPES)))}
            except (ValueError, TypeError):  # no number, or no such cast
                return whole
        case "shape":
            return whole | {name: draw(st.sampled_from(SHAPES))(array)} if array.ndim else whole
        case "number" if array.dtype.kind in "fiu" and array.size:
            found = array.copy().reshape(-1)
            with np.errstate(all="ignore"):
                value = np.array(draw(st.sampled_from(NUMBERS))).astype(array.dtype)
            found[draw(st.integers(0, array.size - 1))] = value
            return whole | {name: found.reshape(array.shape)}
        case "text":
            text = draw(st.sampled_from(TEXTS))
            return whole | {name: np.full(array.shape, text) if draw(st.booleans()) else np.array(text)}
        case _:
            return whole | {name: draw(arrays_of.arrays(arrays_of.scalar_dtypes(), arrays_of.array_shapes(min_dims=0, max_side=5)))}


@given(data=st.data(), compressed=st.booleans(), in_memory=st.sampled_from([0, 1000, npz.IN_MEMORY]))
def test_arrays_that_do_not_belong_there(folder, data, compressed, in_memory):
    whole = written()
    for _ in range(data.draw(st.integers(1, 2))):
        whole = changed(data.draw, whole)
    (np.savez_compressed if compressed else np.savez)(folder / "mine.npz", **whole)
    outcome(folder / "mine.npz", in_memory)


# -- headers and bytes


COUNTS = st.one_of(st.integers(0, 200), st.sampled_from([-1, 2**31, 2**40, 2**63 - 1, 2**64, 10**30]))
DESCRS = ["<f4", ">f8", "<f2", "<i8", "|u1", "|b1", "<U8", "|S8", "<U0", "|S0", "|O", "|V4", "<c8", "<M8[s]", "<f3", "<U999999", "", "3<f4"]


@given(
    name=st.sampled_from(["joints", "offsets", "label", "subject", "name", "label_names", "fps"]),
    descr=st.one_of(st.none(), st.sampled_from(DESCRS)),
    shape=st.one_of(st.none(), st.lists(COUNTS, max_size=4).map(tuple), COUNTS, st.just((True, 25, 3)), st.just((124.0, 25, 3))),
    fortran=st.sampled_from([False, False, True, 0, None]),
    compression=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
)
def test_headers_that_say_anything(folder, name, descr, shape, fortran, compression):
    members = {key: bytes_of(array) for key, array in written().items()}
    array = written()[name]
    header = (array.dtype.str if descr is None else descr, array.shape if shape is None else shape, fortran)
    path = packed(folder / "mine.npz", members | {name: npy(*header, array.tobytes())}, compression)
    outcome(path, in_memory=1000)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("shape", [(2**40, 25, 3), (2**62, 2**62, 3), (124, 25, 2**40), (3 * 10**7, 25, 3)])
def test_huge_counts_take_no_memory(folder, shape, compression):
    members = {key: bytes_of(array) for key, array in written().items()}
    generic_npz.read(packed(folder / "whole.npz", members, compression))  # so that nothing is imported while memory is watched
    path = packed(folder / "mine.npz", members | {"joints": npy("<f4", shape, False, bytes(10**6))}, compression)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="'joints' is announced as float32"):
            generic_npz.read(path)
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()


@lru_cache
def file_of_bytes(compressed: bool) -> tuple[bytes, list[int]]:
    """A whole file, and where its headers begin: those of the zip, of the arrays in it, and of its table at the end."""
    with tempfile.TemporaryDirectory() as scratch:
        content = writer.write(Path(scratch), clips=4, compressed=compressed).read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        begins = [e.header_offset for e in archive.infolist()] + [archive.start_dir]
    table = [i for i in range(archive.start_dir, len(content)) if content[i : i + 4] in (b"PK\1\2", b"PK\5\6")]
    arrays = [i for i in range(len(content)) if content[i : i + 6] == b"\x93NUMPY"]
    return content, begins + table + arrays


@given(compressed=st.booleans(), share=st.floats(0, 1, exclude_max=True), nearby=st.integers(-40, 40), data=st.data())
def test_a_file_that_ends_anywhere_is_refused(folder, compressed, share, nearby, data):
    content, begins = file_of_bytes(compressed)
    place = data.draw(st.sampled_from(begins)) + nearby if data.draw(st.booleans()) else int(share * len(content))
    (folder / "mine.npz").write_bytes(content[: min(max(place, 0), len(content) - 1)])
    assert outcome(folder / "mine.npz") == -1


@given(compressed=st.booleans(), data=st.data())
def test_bytes_that_were_changed_where_it_does_harm(folder, compressed, data):
    content, begins = file_of_bytes(compressed)
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(begins)) + data.draw(st.integers(0, 128))
        piece = data.draw(st.sampled_from([b"\0", b"\xff", b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0" * 8, b"9", b"-", b"(", b"'", b"\n"]))
        changed[place : place + len(piece)] = piece
    (folder / "mine.npz").write_bytes(changed)
    outcome(folder / "mine.npz", in_memory=data.draw(st.sampled_from([1000, npz.IN_MEMORY])))


@given(
    arrays_of.arrays(
        arrays_of.scalar_dtypes().filter(lambda dtype: dtype.kind in "fiubUS" and dtype.itemsize),
        arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    st.booleans(),
)
def test_headers_are_what_numpy_wrote(array, fortran):
    array = np.asfortranarray(array) if fortran else array
    content = bytes_of(array)
    length, grid, first_fastest, dtype = stored.header(content)
    assert (grid, dtype) == (array.shape, array.dtype) and len(content) == length + array.nbytes
    assert np.frombuffer(content[length:], dtype).reshape(grid, order="F" if first_fastest else "C").tobytes() == array.tobytes()


# -- what is unpacked


WAITING = """
import sys, tempfile, time
from pathlib import Path
from skelmm_core.sources import generic_npz, npz
path, tempfile.tempdir, when = sys.argv[1:]
npz.IN_MEMORY = 1000

def halfway(member, file, length):
    file.write(member.read(50_000))
    file.flush()
    print("halfway", flush=True)
    time.sleep(60)

if when == "halfway":
    npz.shutil.copyfileobj = halfway
source = generic_npz.read(Path(path))
print(sum(len(item.joints.content) for item in source.items), flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(os.name == "nt", reason="a file that is open has a name on Windows, and goes with the process")
@pytest.mark.parametrize(("when", "end"), [("unpacked", "terminate"), ("unpacked", "kill"), ("halfway", "kill")])
def test_nothing_stays_behind_however_the_process_ends(tmp_path, when, end):
    path = writer.write(tmp_path / "data", clips=4, compressed=True)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with subprocess.Popen([sys.executable, "-c", WAITING, str(path), str(scratch), when], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip() == ("halfway" if when == "halfway" else str(written()["joints"].nbytes))
        during = list(scratch.iterdir())
        getattr(process, end)()
    assert process.returncode and not during and not list(scratch.iterdir())


def test_other_processes_read_what_one_has_unpacked(tmp_path):
    whole, packed = (writer.write(tmp_path / name, clips=4, compressed=name == "packed") for name in ("whole", "packed"))
    with mock.patch.object(npz, "IN_MEMORY", 1000):
        source = generic_npz.read(packed)
    assert not isinstance(source.items[0].joints.content, stored.Place)
    with mock.patch("skelmm_core.reading.ALONE", 0):
        found = [item for items in examine(source, jobs=2) for item in items]
    expected = [item for items in examine(generic_npz.read(whole), jobs=1) for item in items]
    assert [item.joints.tobytes() for item in found] == [item.joints.tobytes() for item in expected]


def test_a_clip_larger_than_any_recording_is_left_out_and_named(tmp_path):
    path = writer.write(tmp_path, clips=4, compressed=True)
    longest = 300 * int(np.diff(written()["offsets"]).max())  # bytes of a frame, and frames
    with mock.patch.object(npz, "IN_MEMORY", 1000), mock.patch.object(npz, "LARGEST_MEMBER", longest - 1):
        with mock.patch.object(stored, "LARGEST_MEMBER", longest - 1):
            found = [item for items in examine(generic_npz.read(path), jobs=1) for item in items]
    reasons = [item.reason for item in found if not isinstance(item, Checked)]
    assert len(reasons) == 1 and "mine.npz" in reasons[0] and "larger than any recording" in reasons[0]


def test_a_map_comes_whole_or_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", a=np.arange(1000.0))
    with mock.patch.object(npz, "IN_MEMORY", 1000):
        array = npz.Npz(tmp_path / "x.npz")["a"]
    assert np.array_equal(array.load(), np.arange(1000, dtype=np.float32))
    with mock.patch.object(stored, "LARGEST_MEMBER", 7999), pytest.raises(DataError, match="larger than any recording"):
        array.load()
