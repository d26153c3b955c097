"""CTR-GCN's npz, and arrays inside of npz files, against numpy's own reader."""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from writers import ctrgcn as writer
from writers import npz as npz_writer

from skelmm_core import clips, protocols
from skelmm_core.errors import DataError
from skelmm_core.recordings import Dropped, Recording
from skelmm_core.sources import ctrgcn, generic_npz, npz
from skelmm_core.sources.ntu_names import NAMES


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return writer.write(tmp_path_factory.mktemp("ctrgcn"), clips=12)


def saved(path: Path, packed: bool = False, **changes) -> Path:
    """Three training clips and two test clips of 6 frames with 1, 2, 1, 1, 1 bodies and 4, 5, 6, 4, 3 frames of people."""
    x = np.zeros((5, 6, 150), np.float32)
    for clip, (bodies, frames) in enumerate(((1, 4), (2, 5), (1, 6), (1, 4), (1, 3))):
        x[clip, :frames, : 75 * bodies] = np.random.default_rng(clip).normal(size=(frames, 75 * bodies))
    one_hot = np.eye(60, dtype=np.float32)[[0, 1, 59, 0, 1]]
    arrays = dict(x_train=x[:3], y_train=one_hot[:3], x_test=x[3:], y_test=one_hot[3:]) | changes
    (np.savez_compressed if packed else np.savez)(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


# -- what a file says


def test_every_clip_is_what_numpy_reads(written):
    source = ctrgcn.read(written)
    with np.load(written) as raw:
        expected = [(part, i, raw[f"x_{part}"][i], raw[f"y_{part}"][i]) for part in ("train", "test") for i in range(len(raw[f"y_{part}"]))]
    found = list(source.recordings)
    assert len(found) == len(expected) == len(source.items) == 12
    for recording, (part, i, row, one_hot) in zip(found, expected, strict=True):
        assert (recording.name, recording.label, recording.setup) == (f"{part} {i:06d}", int(one_hot.argmax()), 1 + (part == "test"))
        assert (recording.subject, recording.view, recording.repetition, dict(recording.changes)) == (-1, -1, -1, {})
        length = int((row != 0).any(axis=1).sum())  # as CTR-GCN counts valid frames
        bodies = 2 if row[:, 75:].any() else 1
        by_axis = row[:length].reshape(length, 2, 25, 3)
        assert recording.joints.shape == (bodies, length, 25, 3) and recording.joints.dtype == np.float32
        for body in range(bodies):
            assert np.array_equal(recording.joints[body], by_axis[:, body])
        assert not recording.joints[0, 0, 1].any()  # the first frame's spine is the origin
    assert source.protocol == "setup == 1" and source.class_names == NAMES[:60] and source.skeleton.name == "ntu25"
    assert "NTU60_CS" in source.title and "denoised" in source.title and "origin" in source.title


def test_file_becomes_clips_whose_protocol_works(written, tmp_path):
    report = clips.write(tmp_path / "x.clips", ctrgcn.read(written), progress=False)
    assert report.clips == 12 and report.two_bodies == 4 and not report.damaged and 1.4 < report.height < 1.8
    assert all("no clip" in warning for warning in report.warnings)  # 3 of the 60 classes
    train, test, _ = protocols.split(clips.open_clips(report.path))
    assert (len(train), len(test)) == (6, 6)


def test_sources_tell_it_from_the_generic_npz_and_from_digits(written, tmp_path):
    mine = npz_writer.write(tmp_path)
    assert ctrgcn.recognise(written) and not generic_npz.recognise(written)
    assert generic_npz.recognise(mine) and not ctrgcn.recognise(mine)
    digits = saved(tmp_path / "mnist.npz", x_train=np.zeros((3, 28, 28), np.uint8), x_test=np.zeros((2, 28, 28), np.uint8))
    assert not ctrgcn.recognise(digits)
    with pytest.raises(DataError, match=re.escape("'x_train' is uint8 (3, 28, 28), expected floats (clips, 300 frames, 150")):
        ctrgcn.read(digits)
    for nothing in (tmp_path, tmp_path / "none"):
        assert not ctrgcn.recognise(nothing)


@pytest.mark.parametrize("form", ["one-hot", "numbers", "column", "bool"])
def test_labels_in_any_form(tmp_path, form):
    numbers = np.array([0, 1, 59, 0, 1])
    y = {"one-hot": np.eye(60)[numbers], "numbers": numbers, "column": numbers[:, None], "bool": np.eye(60, dtype=bool)[numbers]}[form]
    source = ctrgcn.read(saved(tmp_path / "x.npz", y_train=y[:3], y_test=y[3:]))
    assert [r.label for r in source.recordings] == numbers.tolist() and source.class_names == NAMES[:60]


def test_class_names_follow_the_count(tmp_path):
    for width, names in ((120, NAMES), (10, tuple(f"class {i}" for i in range(10)))):
        source = ctrgcn.read(saved(tmp_path / "x.npz", y_train=np.eye(width)[[0, 1, 2]], y_test=np.eye(width)[[0, 1]]))
        assert source.class_names == names
    assert ctrgcn.read(saved(tmp_path / "x.npz", y_train=np.array([0, 7, 1]), y_test=np.array([0, 1]))).class_names[-1] == "class 7"


def test_empty_frames(tmp_path):
    x = np.zeros((4, 8, 150), np.float32)
    x[0, [2, 3, 6], :75] = 1  # two empty at the beginning, two between, one behind
    x[2, 1, 75:] = 2  # the first body is never there
    x[3, 0, 5] = -0.0  # is no body, too
    path = saved(tmp_path / "x.npz", x_train=x[:3], x_test=x[3:], y_test=np.eye(60)[[0]])
    between, empty, second, minus = ctrgcn.read(path).recordings
    assert between.joints.shape == (1, 5, 25, 3) and between.joints.any(axis=(0, 2, 3)).tolist() == [True, True, False, False, True]
    assert between.changes == {"frames of zeros at the beginning": 2}
    assert empty == Dropped("train 000001", "no body in any frame") and minus == Dropped("test 000000", "no body in any frame")
    assert second.joints.shape == (1, 1, 25, 3) and (second.joints == 2).all()


# -- files that are not as they should be


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(y_test=None), "lacks 'y_test'; expected CTR-GCN's x_train, y_train, x_test, y_test, found x_test"),
        (dict(x_train=np.zeros((3, 6, 75), np.float32)), "'x_train' is float32 (3, 6, 75)"),
        (dict(x_train=np.zeros((3, 6, 150), int)), "'x_train' is int64 (3, 6, 150)"),
        (dict(x_train=np.zeros((3, 0, 150), np.float32)), "'x_train' is float32 (3, 0, 150)"),
        (dict(x_test=np.zeros((2, 6, 150, 1), np.float32)), "'x_test' is float32 (2, 6, 150, 1), expected"),
        (dict(x_train=np.zeros((150, 6, 3), np.float32).T), "'x_train' is stored with its first axis fastest"),
        (dict(y_train=np.eye(60)[[0, 1]]), "'y_train' is float64 (2, 60), expected labels"),
        (dict(y_train=np.zeros((3, 60))), "row 0: the clip has 0 numbers other than 0, expected a single 1"),
        (dict(y_train=np.eye(60)[[0, 1, 2]] + np.eye(60)[[0, 1, 3]]), "row 0: the clip has 1 numbers other than 0, expected a single 1"),
        (dict(y_train=np.full((3, 60), np.nan)), "row 0: the clip has 60 numbers"),
        (dict(y_train=np.array([0, -1, 2])), "row 1: the clip has the label -1, expected a label in 0..9999"),
        (dict(y_train=np.array([0, 1, 10**12])), "row 2: the clip has the label 1000000000000"),
        (dict(y_train=np.array([0.0, 1, 2])), "expected whole numbers (clips,)"),
        (dict(y_train=np.array(["a", "b", "c"])), "'y_train' is <U1 (3,), expected labels"),
        (dict(y_train=np.array([0, 1, None], object)), "'y_train' holds object"),
        (dict(y_train=np.zeros((3, 20_000), np.int8)), "at most 10000 classes"),
        (dict(y_train=np.array(3)), "'y_train' is int64 (), expected labels"),
    ],
)
def test_wrong_arrays(tmp_path, changes, words):
    with pytest.raises(DataError, match=re.escape(words)):
        list(ctrgcn.read(saved(tmp_path / "x.npz", **changes)).recordings)


def test_clip_with_a_number_that_is_none_is_left_out_and_named(tmp_path):
    x = np.ones((3, 6, 150), np.float32)
    x[1, 2, 9] = np.nan
    y = np.eye(60)[[0, 0, 0]]
    report = clips.write(tmp_path / "x.clips", ctrgcn.read(saved(tmp_path / "x.npz", x_train=x, y_train=y, y_test=y[:2])), progress=False)
    assert [d.name for d in report.damaged] == ["train 000001"] and "frame 2, body 0: x of joint 3" in report.damaged[0].reason


# -- arrays inside of an npz


def member(header: dict | bytes, data: bytes = b"") -> bytes:
    """A .npy file by hand, version 1."""
    text = repr(header).encode() if isinstance(header, dict) else header
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def packed(path: Path, compression: int = zipfile.ZIP_STORED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            member({"descr": "<f4", "fortran_order": False, "shape": (10**15, 300, 150)}, bytes(64)),
            "is announced as float32 (1000000000000000,",
        ),
        (member({"descr": "<f4", "fortran_order": False, "shape": (3,)}, bytes(11)), "12 bytes, and has 11"),
        (member({"descr": "<f4", "fortran_order": False, "shape": (2,)}, bytes(11)), "8 bytes, and has 11"),
        (member({"descr": "<f4", "fortran_order": False, "shape": (-1,)}, bytes(4)), "'a' holds float32 (-1,)"),
        (member({"descr": "<U0", "fortran_order": False, "shape": (10**15,)}), "'a' holds <U0"),
        (member({"descr": "|O", "fortran_order": False, "shape": (1,)}, bytes(8)), "'a' holds object"),
        (member({"descr": [("a", "<f4")], "fortran_order": False, "shape": (1,)}, bytes(4)), "'a' holds [('a', '<f4')]"),
        (member({"descr": "<f4", "shape": (1,)}, bytes(4)), "can't read"),
        (member(b"__import__('os').system('false')"), "can't read"),
        (member(b"(" * 60_000), "can't read"),
        (b"", "can't read"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "can't read"),
        (b"\x93NUMPY\x09\x00\x00\x00", "can't read"),
    ],
)
def test_hostile_headers(tmp_path, compression, content, words):
    with pytest.raises(DataError, match=re.escape(words)):
        npz.Npz(packed(tmp_path / "x.npz", compression, a=content)).described("a")


def test_arrays_of_every_kind_come_back(tmp_path):
    arrays = dict(half=np.arange(6, dtype=np.float16), big=np.arange(6, dtype=">f8").reshape(2, 3), whole=np.arange(6, dtype=">i4"))
    arrays |= dict(text=np.array(["a", "\u00fc"]), bytes=np.array(["\u00fc".encode()]), one=np.array(0.1), none=np.zeros(0))
    arrays |= dict(turned=np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **arrays)
        file = npz.Npz(tmp_path / "x.npz")
        assert list(file) == list(arrays) and "half" in file and "x" not in file
        for name, array in arrays.items():
            expected = np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array
            assert np.array_equal(file.column(name), expected) and file.described(name).shape == array.shape
        assert np.array_equal(npz.rows(file["big"], 1, 2).load(), arrays["big"][1:].astype(np.float32))


def test_unpacked_copy_goes_with_its_last_user(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "IN_MEMORY", 100)
    monkeypatch.setattr(npz.tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    plain, small = ctrgcn.read(saved(tmp_path / "plain.npz")), ctrgcn.read(saved(tmp_path / "small.npz", packed=True))
    for a, b in zip(plain.items, small.items, strict=True):
        b = pickle.loads(pickle.dumps(b))  # as it goes to another process
        one, other = plain.read(a), small.read(b)
        assert one.joints.tobytes() == other.joints.tobytes() and one.name == other.name and one.label == other.label
    del small
    assert not list((tmp_path / "scratch").iterdir())


def test_no_room_for_an_unpacked_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "IN_MEMORY", 100)
    monkeypatch.setattr(npz.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(DataError, match="set TMPDIR to a folder with more room"):
        ctrgcn.read(saved(tmp_path / "x.npz", packed=True))


def test_zip_tricks_are_refused(tmp_path):
    content = io.BytesIO()
    np.save(content, np.arange(100.0))
    path = packed(tmp_path / "x.npz", a=content.getvalue())
    whole = bytearray(path.read_bytes())

    def changed(place: int, value: int) -> npz.Npz:
        altered = bytearray(whole)
        altered[place] = value
        path.write_bytes(altered)
        return npz.Npz(path)

    directory = whole.index(b"PK\1\2")
    for place, value, words in (
        (0, 0, "header of 'a.npy' is damaged"),
        (30, ord("b"), "header of 'a.npy' is damaged"),
        (8, 8, "header of 'a.npy' is damaged"),
        (28, 255, "cut short"),  # an extra field that is not there
        (directory + 8, 1, "'a' is encrypted"),
        (directory + 26, 255, "can't read"),  # another size
    ):
        with pytest.raises(DataError, match=words):
            changed(place, value).described("a")
    with pytest.warns(UserWarning), zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", content.getvalue())
        archive.writestr("a.npy", content.getvalue())
    with pytest.raises(DataError, match="several arrays of one name"):
        npz.Npz(path)


def test_flipped_bit_in_a_compressed_array_is_noticed(tmp_path, monkeypatch):
    path = saved(tmp_path / "x.npz", packed=True)
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("x_train.npy").header_offset + 2000
    content = bytearray(path.read_bytes())
    content[place] ^= 255
    path.write_bytes(content)
    for limit in (1 << 28, 100):
        monkeypatch.setattr(npz, "IN_MEMORY", limit)
        with pytest.raises(DataError, match="can't read"):
            ctrgcn.read(path)


def test_text_of_impossible_characters(tmp_path):
    data = np.full(2, 0xFFFFFFFF, np.uint32).tobytes()
    path = packed(tmp_path / "x.npz", a=member({"descr": "<U1", "fortran_order": False, "shape": (2,)}, data))
    with pytest.raises(DataError, match="stand for no character"):
        npz.Npz(path).column("a")


def test_skeleton_table_that_is_nested_deeply(tmp_path):
    with np.load(npz_writer.write(tmp_path)) as raw:
        np.savez(tmp_path / "deep.npz", **raw, skeleton=np.array('{"a":' * 100_000))
    with pytest.raises(DataError, match="'skeleton' is not a JSON table"):
        generic_npz.read(tmp_path / "deep.npz")


def test_npz_comes_back_compressed_or_not(tmp_path):
    path = npz_writer.write(tmp_path, clips=8)
    with np.load(path) as file:
        raw = dict(file)
    packed = npz_writer.write(tmp_path / "packed", clips=8, compressed=True)
    for source in (generic_npz.read(path), generic_npz.read(packed)):
        assert source.frame_rate == 29.97 and source.protocol == "odd-even-subjects" and source.class_names == ("wave slowly", "wave fast")
        for i, recording in enumerate(source.recordings):
            begin, end = raw["offsets"][i : i + 2]
            assert np.array_equal(recording.joints[0], raw["joints"][begin:end]) and recording.name == raw["name"][i]
            assert (recording.label, recording.view) == (raw["label"][i], raw["view"][i])
            assert recording.subject == 1 + npz_writer.PERFORMERS.index(raw["subject"][i])  # they are in alphabetical order
    report = clips.write(tmp_path / "x.clips", generic_npz.read(packed), progress=False)
    assert (report.clips, report.warnings) == (8, ())


def whatever_comes(reader, path: Path) -> None:
    """Clips that can be stored, or `DataError`, and nothing else."""
    try:
        for found in reader.read(path).recordings:
            assert isinstance(found, Recording | Dropped)
    except DataError as problem:
        assert str(path.parent) in str(problem) or "clip" in str(problem)


@settings(max_examples=80)
@given(st.sampled_from([(ctrgcn, "NTU60_CS.npz"), (generic_npz, "mine.npz")]), st.booleans(), st.data())
def test_any_cut_and_any_changed_bytes(tmp_path_factory, reader, cut, data):
    module, name = reader
    folder = tmp_path_factory.mktemp("fuzz")
    content = bytearray((saved(folder / name) if module is ctrgcn else npz_writer.write(folder, 4)).read_bytes())
    if cut:
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            begins = [e.header_offset for e in archive.infolist()] + [archive.start_dir]
        for begin in data.draw(st.lists(st.sampled_from(begins), min_size=1, max_size=3)):  # headers, where changes do harm
            place = min(begin + data.draw(st.integers(0, 220)), len(content) - 1)
            content[place] = data.draw(st.integers(0, 255))
    (folder / name).write_bytes(content)
    assert module.recognise(folder / name) in (True, False)
    if cut:
        with pytest.raises(DataError):
            list(module.read(folder / name).recordings)
    else:
        whatever_comes(module, folder / name)
