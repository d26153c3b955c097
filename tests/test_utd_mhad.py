"""UTD-MHAD's reader against files written for the tests."""

from __future__ import annotations

import io
import re
import struct
import tracemalloc
import zlib
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from little_files import everything, folder, little_utd, mat, tarred, zipped
from writers import utd_mhad as writer

from skelmm_core import sources
from skelmm_core.errors import DataError
from skelmm_core.reading import Checked, examine
from skelmm_core.recordings import FARTHEST
from skelmm_core.sources import members, utd_mhad


def test_utd_archive_and_folder_give_the_same_in_kinect20_order(tmp_path):
    files, arrays = little_utd()
    expected = everything(sources.read(tarred(tmp_path / "utd.tar.xz", files)))
    assert (
        everything(sources.read(folder(tmp_path / "utd", files)))
        == everything(sources.read(zipped(tmp_path / "utd.zip", files)))
        == expected
    )
    assert [row[:6] for row in expected] == [
        ("a3_s1_t1", 2, 1, -1, -1, 1),
        ("a3_s2_t1", 2, 2, -1, -1, 1),
        ("a27_s1_t1", 26, 1, -1, -1, 1),
        ("a27_s2_t1", 26, 2, -1, -1, 1),
    ]
    in_file = ["head", "shoulder centre", "spine", "hip centre"]  # the data set's own list of joints; then as kinect20
    for recording in sources.read(tmp_path / "utd").recordings:
        raw = arrays[recording.name]
        for joint, name in enumerate(utd_mhad.KINECT20.joints):
            column = in_file.index(name) if name in in_file else joint
            assert np.array_equal(recording.joints[0, :, joint], raw[column].T.astype(np.float32))


def test_wrong_utd_members_are_named(tmp_path):
    files, _ = little_utd()
    whole = files["Skeleton/a3_s1_t1_skeleton.mat"]
    for name, content, words in (
        ("a1_s1_t1", b"", "is not a MATLAB file"),
        ("a1_s1_t1", whole[: len(whole) // 2], "is not a MATLAB file"),
        ("a1_s1_t1", b"text " * 99, "is not a MATLAB file"),
        ("a1_s1_t1", mat(np.zeros((25, 3, 4))), "(20 joints, 3, frames), found double (25, 3, 4)"),
        ("a1_s1_t1", mat(np.zeros((20, 3, 4)), key="skel"), "found nothing"),
        ("a1_s1_t1", mat(np.full((20, 3, 4), "x")), "expected one 'd_skel', floats"),
        ("a28_s1_t1", whole, "action of 1..27"),
        ("wave", whole, "is not named like"),
    ):
        with pytest.raises(DataError, match=re.escape(words)) as error:
            everything(sources.read(zipped(tmp_path / "utd.zip", files | {f"{name}_skeleton.mat": content})))
        assert f"{name}_skeleton.mat" in str(error.value)


def test_archive_that_was_cut_short(tmp_path):
    files, _ = little_utd()
    tar = tarred(tmp_path / "utd.tar.xz", files)
    tar.write_bytes(tar.read_bytes()[:-200])
    with pytest.raises(DataError, match="utd.tar.xz"):
        sources.read(tar, format="utd-mhad")
    zip_file = zipped(tmp_path / "utd.zip", files)
    zip_file.write_bytes(zip_file.read_bytes()[:-200])
    with pytest.raises(DataError, match="utd.zip"):
        sources.read(zip_file)
    content = bytearray(zipped(tmp_path / "bits.zip", files).read_bytes())
    content[200] ^= 255  # a flipped bit in a member's data: the checksum tells
    (tmp_path / "bits.zip").write_bytes(content)
    with pytest.raises(DataError, match="a27_s2_t1_skeleton.mat"):
        everything(sources.read(tmp_path / "bits.zip"))


def test_unpacked_size_is_looked_at_before_unpacking_and_empty_clips_are_left_out(tmp_path):
    huge, empty = (io.BytesIO() for _ in range(2))
    scipy.io.savemat(huge, {"d_skel": np.zeros((20, 3, 150_000), np.float32)}, do_compression=True)
    scipy.io.savemat(empty, {"d_skel": np.zeros((20, 3, 5))}, do_compression=True)
    assert len(huge.getvalue()) < 100_000
    (tmp_path / "a1_s1_t1_skeleton.mat").write_bytes(huge.getvalue())
    (tmp_path / "a1_s1_t2_skeleton.mat").write_bytes(empty.getvalue())
    with pytest.raises(DataError, match="more than any recording"):
        list(sources.read(tmp_path).recordings)
    (tmp_path / "a1_s1_t1_skeleton.mat").unlink()
    (found,) = sources.read(tmp_path).recordings
    assert found.reason == "no body in any frame" and found.name == "a1_s1_t2"


def test_capitals_in_a_name_make_no_difference():
    content = mat(np.ones((20, 3, 4)))
    found = utd_mhad._recording(members.Member("data/A3_S2_T1_Skeleton.MAT", len(content), "", content))
    assert (found.name, found.label, found.subject, found.repetition) == ("A3_S2_T1", 2, 2, 1)


def test_whole_numbers_stored_as_such_are_joints_too(tmp_path):
    joints = np.arange(20 * 3 * 4).reshape(20, 3, 4)
    content = mat(joints.astype(np.uint8)).replace(struct.pack("<I", 9), struct.pack("<I", 6), 1)  # the class uint8 becomes double
    (tmp_path / "a1_s1_t1_skeleton.mat").write_bytes(content)
    (found,) = sources.read(tmp_path).recordings
    assert np.array_equal(found.joints[0, :, 4:], joints[4:].transpose(2, 0, 1))


# Files that hold anything


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("changed") / "a1_s1_t1_skeleton.mat"


def outcome(path: Path, content: bytes) -> str:
    """Reads a file that may hold anything: "" for a clip that keeps the rules, or why there is none, which names a damaged file."""
    path.write_bytes(content)
    ((found,),) = examine(utd_mhad.read(path), jobs=1)
    if not isinstance(found, Checked):
        assert not found.damaged or (path.name in found.reason or "a1_s1_t1" in found.reason) and len(found.reason) < 1000
        return found.reason
    assert found.joints.shape[0] == 1 and found.joints.shape[1] >= 1 and found.joints.shape[2:] == (20, 3) and found.joints.dtype == "<f4"
    assert (np.abs(found.joints) <= FARTHEST).all() and found.joints.any()
    assert (found.recording.name, found.recording.label, found.recording.subject, found.recording.repetition) == ("a1_s1_t1", 0, 1, 1)
    return ""


@lru_cache
def whole(compressed: bool) -> bytes:
    with TemporaryDirectory() as scratch:
        files = sorted(writer.write(Path(scratch), clips=2).iterdir(), key=lambda file: file.stat().st_size)
        return files[not compressed].read_bytes()


@given(st.booleans(), st.data())
def test_a_file_that_ends_anywhere_is_refused(path, compressed, data):
    content = whole(compressed)
    end = data.draw(st.one_of(st.integers(0, 300), st.integers(0, len(content) - 1)))
    assert outcome(path, content[:end])


VALUES = st.one_of(
    st.just(np.zeros((20, 3, 4))),
    st.sampled_from([np.nan, np.inf, -np.inf, 1e30, 1e300, 0.5]).map(lambda value: np.full((20, 3, 4), value)),
    st.lists(st.integers(0, 30), min_size=0, max_size=5).map(lambda shape: np.ones(shape)),
    st.sampled_from(["f4", ">f8", "c16", "u1", "i8", "?", "U1"]).map(lambda kind: np.ones((20, 3, 4), kind)),
    st.sampled_from([(20, 3, 0), (20, 3), (3, 20, 4), (20, 3, 1), (20, 3, 4, 1), (0, 0, 0)]).map(lambda shape: np.ones(shape, ">f4")),
    st.just(np.array([["a", "b"], [1.0, {"b": np.ones((20, 3, 4))}]], object)),
    st.just({"d_skel": np.ones((20, 3, 4))}),
    st.just(scipy.sparse.csc_array(np.eye(20))),
    st.sampled_from(["text", "", 1.0, True]),
)


@given(st.lists(st.tuples(st.sampled_from(["d_skel", "d_skeL", "a"]), VALUES), min_size=0, max_size=3), st.booleans())
def test_variables_that_do_not_belong_there(path, variables, compressed):
    parts = []
    for name, value in variables:  # one by one, since a dict has no name twice
        file = io.BytesIO()
        scipy.io.savemat(file, {name: value}, do_compression=compressed)
        parts.append(file.getvalue())
    content = b"".join([parts[0] if parts else mat(np.ones((20, 3, 4)))[:128], *(part[128:] for part in parts[1:])])
    skeletons = [value for name, value in variables if name == "d_skel"]
    good = len(skeletons) == 1 and isinstance(skeletons[0], np.ndarray) and skeletons[0].ndim == 3
    good = good and skeletons[0].shape[:2] == (20, 3) and skeletons[0].dtype.kind == "f"
    good = good and skeletons[0].size and bool((np.abs(skeletons[0]) <= FARTHEST).all()) and bool(skeletons[0].any())
    assert (outcome(path, content) == "") == bool(good)


@given(compressed=st.booleans(), packed=st.booleans(), data=st.data())
def test_words_of_the_header_that_say_anything(path, compressed, packed, data):
    """Tags, dimensions and lengths stand in the first 200 bytes; those of a packed variable are changed inside of it."""
    content = bytearray(whole(False))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(31, 47)) * 4
        word = data.draw(st.sampled_from([0, 1, 2, 3, 4, 5, 6, 9, 14, 15, 20, 40, 2**16 + 5, 2**31 - 1, 2**31, 2**32 - 1]))
        content[place : place + 4] = struct.pack(data.draw(st.sampled_from("<>")) + "I", word)
    if compressed:
        inside = zlib.compress(bytes(content[128:]))
        content = content[:128] + struct.pack("<II", 15, len(inside)) + inside
        if packed:
            place = data.draw(st.integers(124, 145))
            content[place] = data.draw(st.sampled_from([0, 1, 14, 15, 73, 77, 127, 255]))
    outcome(path, bytes(content))


def test_what_unpacks_to_more_than_any_recording_takes_no_memory(path):
    content = whole(False)
    head, lengths = content[128:], struct.pack("<II", 9, 2**27)  # a piece of doubles
    place = head.index(b"d_skel") + 8
    bomb = zlib.compress(head[:place] + lengths + bytes(2**27), 9)
    tracemalloc.start()
    try:
        reason = outcome(path, content[:128] + struct.pack("<II", 15, len(bomb)) + bomb)
        assert "takes more than the 67108864 bytes of any recording" in reason
        assert tracemalloc.get_traced_memory()[1] < 2.5 * members.LARGEST_MEMBER
    finally:
        tracemalloc.stop()


def test_a_packed_variable_without_its_checksum_is_refused(path):
    inside = zlib.compress(whole(False)[128:])[:-4]
    assert "cut short" in outcome(path, whole(False)[:128] + struct.pack("<II", 15, len(inside)) + inside)


def test_a_file_of_version_4_that_leads_back_to_its_own_beginning_ends(path):
    name = b"d_skel\0"
    header = struct.pack("<5i", 50, -20 - len(name), 1, 0, len(name))  # bytes, as many rows less than none as the header has bytes
    assert "not of the versions 5 to 7.2" in outcome(path, header + name + bytes(200))


def test_many_tiny_variables_are_refused_at_once(path):
    assert "more than 1000 variables" in outcome(path, whole(False)[:128] + bytes(8 * 2000))
