"""Folders of CrosSCLR, AimCLR and IKEM, written by hand and read with numpy and pickle, against the reader."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from writers import crosclr as writer
from writers import ikem
from writers.pyskl import TRAINING, people

from skelmm_core import clips, protocols, skeletons
from skelmm_core.errors import DataError
from skelmm_core.recordings import Dropped
from skelmm_core.sources import crosclr, generic_npz, ntu, pyskl, utd_mhad
from skelmm_core.sources.ntu_names import NAMES


def relabel(folder: Path, part: str, change) -> None:
    """Change the lists of a label file."""
    path = folder / f"{part}_label.pkl"
    path.write_bytes(pickle.dumps(change(*pickle.loads(path.read_bytes()))))


def redata(folder: Path, part: str, change) -> None:
    path = folder / f"{part}_data.npy"
    data = np.load(path)
    np.save(path, data if (new := change(data)) is None else new)


def second_stage(folder: Path, clips: int = 12, pickled: bool = False) -> Path:
    """Resampled arrays as AimCLR prepares them: position, motion, and labels alone or with names."""
    writer.write(folder, clips)
    for part in ("train", "val"):
        data = np.load(folder / "xsub" / f"{part}_data.npy")
        names, labels = pickle.loads((folder / "xsub" / f"{part}_label.pkl").read_bytes())
        position = data[:, :, np.linspace(0, 19, 50).astype(int)]
        np.save(folder / "xsub" / f"{part}_position.npy", position)
        np.save(folder / "xsub" / f"{part}_motion.npy", np.diff(position, axis=2, append=position[:, :, -1:]))
        np.save(folder / "xsub" / f"{part}_label.npy", np.array(labels, np.int64)[:, None])
        (folder / "xsub" / f"{part}_data.npy").unlink()
        if not pickled:
            (folder / "xsub" / f"{part}_label.pkl").unlink()
    return folder / "xsub"


# -- what is read


@pytest.mark.parametrize("module", (writer, ikem))
@pytest.mark.parametrize("protocol", (0, 2, 5))
def test_every_clip_is_what_numpy_reads(tmp_path, module, protocol):
    folder = module.write(tmp_path, clips=24)
    for part in ("train", "val"):
        table = (folder / f"{part}_label.pkl").read_bytes()
        (folder / f"{part}_label.pkl").write_bytes(pickle.dumps(pickle.loads(table), protocol))
    source = crosclr.read(folder)
    found = {r.name: r for r in source.recordings}
    assert len(found) == len(source.items) == 24 and source.skeleton == skeletons.NTU25 and source.class_names == NAMES[:60]
    for part in ("train", "val"):
        data = np.load(folder / f"{part}_data.npy")
        names, labels, *frames = pickle.loads((folder / f"{part}_label.pkl").read_bytes())
        assert bool(frames) == (module is ikem)
        for i, name in enumerate(names):
            clip = found[name.removesuffix(".skeleton")]
            length = int(np.flatnonzero(np.abs(data[i]).sum(axis=(0, 2, 3)))[-1]) + 1
            assert not frames or frames[0][i] == length
            bodies = 1 + bool(np.abs(data[i, ..., 1]).sum())
            np.testing.assert_array_equal(clip.joints, np.einsum("ctvm->mtvc", data[i])[:bodies, :length])
            assert clip.label == labels[i] == int(clip.name[-3:]) - 1 and clip.subject == int(clip.name[9:12])
            assert clip.view == int(clip.name[5:8]) and clip.setup == int(clip.name[1:4])


def test_parts_become_the_protocol_whose_rule_they_follow(tmp_path):
    folder = writer.write(tmp_path, clips=36)
    source = crosclr.read(folder)
    assert source.protocol == "cross-subject" and "xsub" in source.title and "train_data.npy, val_data.npy" in source.title
    clips.write(tmp_path / "found.clips", source, progress=False)
    found = clips.open_clips(tmp_path / "found.clips")
    for part, numbers in zip(("train", "val"), protocols.split(found)[:2], strict=True):
        names = pickle.loads((folder / f"{part}_label.pkl").read_bytes())[0]
        assert {found.names[i] + ".skeleton" for i in numbers} == set(names)


def by_view(folder: Path) -> Path:
    """The clips of a folder divided by view, as another protocol's folder beside it."""
    clips, other = {}, folder.with_name("xview")
    for part in ("train", "val"):
        names, labels = pickle.loads((folder / f"{part}_label.pkl").read_bytes())
        clips |= dict(zip(names, zip(labels, np.load(folder / f"{part}_data.npy"), strict=True), strict=True))
    other.mkdir()
    for part, views in (("train", ("C002", "C003")), ("val", ("C001",))):
        chosen = [name for name in clips if name[4:8] in views]
        np.save(other / f"{part}_data.npy", np.stack([clips[name][1] for name in chosen]))
        (other / f"{part}_label.pkl").write_bytes(pickle.dumps((chosen, [clips[name][0] for name in chosen])))
    return other


def test_several_protocols_are_listed_and_a_mixture_is_noticed(tmp_path):
    xsub = writer.write(tmp_path, clips=36)
    assert crosclr.read(tmp_path).protocol == "cross-subject", "the only protocol in a folder is found"
    xview = by_view(xsub)
    assert crosclr.read(xview).protocol == "cross-view"
    with pytest.raises(DataError, match="2 protocols of the same clips, xsub, xview; name one"):
        crosclr.read(tmp_path)
    assert crosclr.recognise(tmp_path)
    for name in ("data.npy", "label.pkl"):
        shutil.copy(xview / f"val_{name}", xsub / f"val_{name}")
    with pytest.raises(DataError, match="clips are in both parts, e.g. 'S001C001"):
        crosclr.read(xsub)
    names = pickle.loads((xsub / "train_label.pkl").read_bytes())[0]
    keep = [i for i, name in enumerate(pickle.loads((xsub / "val_label.pkl").read_bytes())[0]) if name not in names]
    keep = [*keep[:2], *keep[3:]]
    redata(xsub, "val", lambda data: data[keep])
    relabel(xsub, "val", lambda n, y: ([n[i] for i in keep], [y[i] for i in keep]))
    assert crosclr.read(xsub).protocol == "cross-subject"
    relabel(xsub, "val", lambda n, y: ([n[0].replace("P003", "P013"), *n[1:]], y))
    with pytest.raises(DataError, match="follow no rule of NTU RGB.D: '.*P013.*' is on the wrong side for cross-subject"):
        crosclr.read(xsub)


def test_other_names_keep_their_part_as_setup(tmp_path):
    folder = writer.write(tmp_path)
    for part in ("train", "val"):
        relabel(folder, part, lambda names, labels, part=part: ([f"{part} take {i}" for i in range(len(names))], labels))
    source = crosclr.read(folder)
    assert source.protocol == "setup == 1" and source.class_names[50] == "class 50" and len(source.class_names) == 51
    assert {(r.setup, r.name.split()[0]) for r in source.recordings} == {(1, "train"), (2, "val")}
    (tmp_path / "names.txt").write_text("\n".join(f"action {i}" for i in range(51)))
    assert crosclr.read(folder, class_names=tmp_path / "names.txt").class_names[50] == "action 50"


def test_the_second_stage_is_read_and_says_so(tmp_path):
    folder = second_stage(tmp_path / "a")
    source = crosclr.read(folder)
    assert "resampled to 50 frames" in source.title and source.protocol == "setup == 1"
    found = list(source.recordings)
    position, labels = np.load(folder / "train_position.npy"), np.load(folder / "train_label.npy")
    np.testing.assert_array_equal(found[1].joints[0], position[1, ..., 0].transpose(1, 2, 0))
    assert (found[1].name, found[1].label, found[1].joints.shape[1], found[1].setup) == ("train 000001", labels[1, 0], 50, 1)
    assert found[len(labels)].name == "val 000000" and found[-1].setup == 2
    named = crosclr.read(second_stage(tmp_path / "b", pickled=True))
    assert named.protocol == "cross-subject" and named.items[0].stem.startswith("S001C001P001")


def test_the_first_stage_goes_before_the_second(tmp_path):
    folder = second_stage(tmp_path / "a", pickled=True)
    first = writer.write(tmp_path / "b")
    for part in ("train", "val"):
        shutil.copy(first / f"{part}_data.npy", folder)
    assert "data.npy" in crosclr.read(folder).title and "resampled" not in crosclr.read(folder).title
    (folder / "val_data.npy").unlink()
    with pytest.raises(DataError, match="lacks 'val_data.npy', though there is 'val_position.npy'"):
        crosclr.read(folder)


def test_motion_alone_is_refused(tmp_path):
    folder = second_stage(tmp_path)
    for part in ("train", "val"):
        (folder / f"{part}_position.npy").unlink()
    assert crosclr.recognise(folder)
    for path in (folder, tmp_path):
        with pytest.raises(DataError, match="differences without a place"):
            crosclr.read(path)


def test_bodies_and_frames_that_are_not_there(tmp_path):
    folder = ikem.write(tmp_path, clips=12)
    data = np.load(folder / "train_data.npy")
    alone = people(1, 9, 6, np.random.default_rng(0))[0].transpose(2, 0, 1)  # (3, T, V)
    data[0] = 0
    data[1] = 0
    data[1, :, 5:14, :, 1] = alone  # the second body alone, from frame 5 on
    np.save(folder / "train_data.npy", data)
    relabel(folder, "train", lambda names, labels, frames: (names, labels, [frames[0], 20, *frames[2:]]))
    source = crosclr.read(folder)
    first, second = (source.read(source.items[i]) for i in (0, 1))
    assert first == Dropped(source.items[0].stem, "no body in any frame")
    assert second.joints.shape == (1, 20, 25, 3), "frames that the label file counts stay, empty ones too"
    np.testing.assert_array_equal(second.joints[0, 5:14], alone.transpose(1, 2, 0).astype(np.float32))
    assert not second.joints[:, :5].any() and not second.joints[:, 14:].any()


# -- what does not fit


@pytest.mark.parametrize("frames", (-1, 0, 3, 61, 10**12))
def test_frame_counts_of_other_data_are_noticed(tmp_path, frames):
    folder = ikem.write(tmp_path, clips=24)
    relabel(folder, "val", lambda n, y, f: (n, y, [*f[:2], frames, *f[3:]]))
    report = clips.write(tmp_path / "found.clips", crosclr.read(folder), progress=False)
    assert report.clips == 23 and re.search(f"says {frames} frames, .*belongs to other data", report.damaged[0].reason)


def test_labels_that_are_not_the_names_actions_are_noticed(tmp_path):
    folder = writer.write(tmp_path, clips=24)
    relabel(folder, "val", lambda names, labels: (names, [*labels[:3], 7, *labels[4:]]))
    report = clips.write(tmp_path / "found.clips", crosclr.read(folder), progress=False)
    assert report.clips == 23 and "label 7, expected its action - 1" in report.damaged[0].reason
    for part in ("train", "val"):
        relabel(folder, part, lambda names, labels: (names, sorted(labels)))
    with pytest.raises(DataError, match="labels and names don't belong together"):
        crosclr.read(folder)


@pytest.mark.parametrize(
    "change, match",
    [
        (lambda names, labels: (labels, names), "the first list, of names,: entry 0 is 5, expected a name"),
        (lambda names, labels: (names, names), "the second list, of labels,: entry 0 is 'S0.*expected an integer"),
        (lambda names, labels: (names, labels, [1.5] * len(names)), "the third list, of frame counts,: entry 0 is 1.5"),
        (lambda names, labels: (names[:-1], labels), "6 clips, 'train_label.pkl' 5 names"),
        (lambda names, labels: (names, labels[:-1]), "6 clips, 'train_label.pkl' 5 labels"),
        (lambda names, labels: (names, labels, []), None),
        (lambda names, labels: (names, labels, [9]), "6 clips, 'train_label.pkl' 1 frame counts"),
        (lambda names, labels: ([], []), "6 clips, 'train_label.pkl' 0 labels"),
        (lambda names, labels: names, "holds a list of 6"),
        (lambda names, labels: {"names": names}, "holds a dict of 1"),
        (lambda names, labels: os.getcwd, "posix.getcwd"),
    ],
)
def test_label_files_of_another_form_are_refused(tmp_path, change, match):
    folder = writer.write(tmp_path)
    relabel(folder, "train", change)
    if match is None:
        assert len(list(crosclr.read(folder).recordings)) == 12
        return
    with pytest.raises(DataError, match=match):
        crosclr.read(folder)


def test_arrays_of_names_and_labels_are_understood(tmp_path):
    folder = ikem.write(tmp_path)
    wanted = [r.name for r in crosclr.read(folder).recordings]
    for part in ("train", "val"):
        relabel(folder, part, lambda *lists: tuple(map(np.array, lists)))
    assert [r.name for r in crosclr.read(folder).recordings] == wanted


@pytest.mark.parametrize(
    "change, match",
    [
        (lambda data: data[:, :2], r"float32 \(6, 2, 60, 25, 2\); expected"),
        (lambda data: data[..., 0], r"float32 \(6, 3, 60, 25\)"),
        (lambda data: data.astype(int), "int64"),
        (lambda data: np.asfortranarray(data), "Fortran order"),
        (lambda data: data.astype("c8"), "expected plain numbers"),
        (lambda data: np.zeros(3, [("a", "f4")]), "expected plain numbers"),
    ],
)
def test_arrays_of_another_form_are_refused(tmp_path, change, match):
    folder = writer.write(tmp_path)
    redata(folder, "train", change)
    with pytest.raises(DataError, match=match):
        crosclr.read(folder)


def test_half_floats_and_other_byte_orders_are_read(tmp_path):
    folder = writer.write(tmp_path)
    before = list(crosclr.read(folder).recordings)
    redata(folder, "train", lambda data: data.astype(">f8"))
    after = list(crosclr.read(folder).recordings)
    assert all(np.array_equal(a.joints, b.joints) and b.joints.dtype == np.float32 for a, b in zip(before, after, strict=True))


def test_objects_are_never_loaded(tmp_path):
    folder = writer.write(tmp_path)
    np.save(folder / "train_data.npy", np.array([[[[[os.getcwd]]]]], object), allow_pickle=True)
    with pytest.raises(DataError, match="object"):
        crosclr.read(folder)


def header(text: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "content",
    (
        b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x09\x00" + bytes(9), header(b"{'descr': '<f4'"), header(b"(" * 4000),
        header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3, 300, 25, 2)}\n"),
        header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3, -300, 25, 2)}\n"),
        header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 300.0, 25, 2)}\n"),
        header(b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 3, 1, 25, 2)}\n"),
        header(b"{'descr': '<f4', 'fortran_order': False, 'shape': __import__('os').abort()}\n"),
    ),
)  # fmt: skip
def test_damaged_headers_are_refused_at_once(tmp_path, content):
    folder = writer.write(tmp_path)
    (folder / "train_data.npy").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(DataError, match="train_data.npy"):
        crosclr.read(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20 and crosclr.recognise(folder) in (True, False)


def test_missing_files_are_named(tmp_path):
    folder = writer.write(tmp_path)
    (folder / "val_label.pkl").unlink()
    with pytest.raises(DataError, match="lacks 'val_label.pkl'"):
        crosclr.read(folder)
    (folder / "val_data.npy").unlink()
    alone = crosclr.read(folder)
    assert len(alone.items) == 6 and alone.protocol == "cross-subject" and "val" not in alone.title
    (folder / "train_data.npy").unlink()
    with pytest.raises(DataError, match="neither train_data.npy nor train_position.npy"):
        crosclr.read(folder)
    with pytest.raises(DataError, match="no folder"):
        crosclr.read(tmp_path / "absent")


def test_numbers_that_are_not_finite_leave_the_clip_out(tmp_path):
    folder = writer.write(tmp_path, clips=24)
    redata(folder, "train", lambda data: data.__setitem__((3, 0, 2, 4, 0), np.nan))
    report = clips.write(tmp_path / "found.clips", crosclr.read(folder), progress=False)
    assert report.clips == 23 and "frame 2, body 0: x of joint 4" in report.damaged[0].reason


@given(
    file=st.sampled_from(("train_data.npy", "val_label.pkl")), cut=st.floats(0, 1), place=st.integers(0, 20_000), new=st.binary(max_size=9)
)
@settings(max_examples=120)
def test_damaged_files_give_clips_or_errors(tmp_path_factory, file, cut, place, new):
    base = tmp_path_factory.getbasetemp() / "damaged"
    path = ikem.write(base, clips=4) / file
    content = bytearray(path.read_bytes())
    content[place % len(content) : place % len(content) + len(new)] = new
    path.write_bytes(content if new else content[: int(cut * len(content))])
    crosclr.recognise(base)
    try:
        (base / "found.clips").unlink(missing_ok=True)
        clips.write(base / "found.clips", crosclr.read(base), progress=False)
        assert new or cut > 0.9
    except DataError:
        pass


# -- recognition and size


def test_recognised_by_content_alone(tmp_path):
    folder = writer.write(tmp_path / "a")
    for path in (folder, folder.parent, second_stage(tmp_path / "b")):
        assert crosclr.recognise(path) and not any(m.recognise(path) for m in (pyskl, generic_npz, ntu, utd_mhad))
    np.save(tmp_path / "train_data.npy", np.zeros((3, 4)))
    assert not crosclr.recognise(tmp_path / "train_data.npy") and not crosclr.recognise(tmp_path / "absent")
    (tmp_path / "c").mkdir()
    shutil.move(tmp_path / "train_data.npy", tmp_path / "c")
    assert not crosclr.recognise(tmp_path / "c")


def test_memory_does_not_grow_with_the_arrays(tmp_path):
    name = "S001C001P{:03}R001A{:03}.skeleton"
    for part, performers in (("train", TRAINING), ("val", (3, 6, 7))):
        names = [name.format(p, a) for p in performers for a in range(1, 13)]
        np.save(tmp_path / f"{part}_data.npy", np.ones((len(names), 3, 300, 25, 2), np.float32) + np.arange(25)[:, None].astype("f4"))
        (tmp_path / f"{part}_label.pkl").write_bytes(pickle.dumps((names, [int(n[17:20]) - 1 for n in names])))
    assert (tmp_path / "train_data.npy").stat().st_size > 12 << 20
    tracemalloc.start()
    report = clips.write(tmp_path / "found.clips", crosclr.read(tmp_path), progress=False, jobs=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.clips == 108 and peak < 4 << 20
