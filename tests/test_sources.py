"""Readers against writers made for the tests, and against the real files where SKELMM_SHARED is set."""

from __future__ import annotations

import io
import json
import re
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skelmm_core import clips, protocols, sources
from skelmm_core.clips import Dropped
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.skeletons import NTU25
from skelmm_core.sources import generic_npz, members, ntu, utd_mhad
from skelmm_core.sources.ntu_names import NAMES

# -- writers, independent of the readers


def skeleton_text(frames: list[list[np.ndarray]], newline: str = "\n", joints: int = 25) -> str:
    """An NTU file, line by line after the data set's description; a frame is a list of bodies (25, 3)."""
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for number, body in enumerate(bodies):
            lines.append(f"7205759403793{number:04} 0 1 1 0 0 0 0.05 -0.5 2")
            lines.append(str(joints))
            for x, y, z in body:
                lines.append(f"{float(x)!r} {float(y)!r} {float(z)!r} 268.1 164.2 1040.5 407.9 0.22 -0.03 0.97 -0.04 2")
    return newline.join(lines) + newline


def people(count: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).normal(0, 0.5, (count, 25, 3)).astype(np.float32))


def one_of_each_class(frames: int = 3) -> dict[str, str]:
    """Two performers, two actions, the second with two bodies."""
    names = [(p, a) for p in (1, 3) for a in (1, 55)]
    return {
        f"S001C002P{p:03}R002A{a:03}.skeleton": skeleton_text([people(1 + (a == 55), seed=10 * p + f) for f in range(frames)])
        for p, a in names
    }


def folder(path: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def zipped(path: Path, files: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, str | bytes]) -> Path:
    with tarfile.open(path, "w:xz") as archive:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def mat(joints: np.ndarray, key: str = "d_skel") -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(file, {key: joints})
    return file.getvalue()


def everything(source) -> list:
    return [(r.name, r.label, r.subject, r.view, r.setup, r.repetition, r.joints.tobytes(), r.joints.shape) for r in source.recordings]


# -- NTU


def by_lines(text: str) -> np.ndarray:
    """A slow reader, line by line: the first two bodies of each frame as they come."""
    lines = iter(text.splitlines())
    frames = int(next(lines))
    joints = np.zeros((2, frames, 25, 3), np.float32)
    most = 1
    for frame in range(frames):
        for body in range(int(next(lines))):
            next(lines)
            for joint in range(int(next(lines))):
                fields = next(lines).split()
                if body < 2:
                    most = max(most, body + 1)
                    joints[body, frame, joint] = [float(v) for v in fields[:3]]
    assert next(lines, None) is None
    return joints[:most]


@st.composite
def scenes(draw):
    coordinate = st.floats(-10, 10, width=32)
    counts = draw(st.lists(st.integers(0, 4), min_size=1, max_size=6))
    return [list(draw(hnp.arrays(np.float32, (n, 25, 3), elements=coordinate, fill=coordinate))) for n in counts]


@given(scenes(), st.sampled_from(["\n", "\r\n"]))
def test_skeleton_text_comes_back(scene, newline):
    text = skeleton_text(scene, newline)
    joints = ntu.parse(text.encode(), "x")
    assert joints.dtype == np.float32 and np.array_equal(joints, by_lines(text))
    for frame, bodies in enumerate(scene):
        for body, expected in enumerate(bodies[:2]):
            assert np.array_equal(joints[body, frame], expected)


@given(scenes(), st.data())
def test_no_cut_of_a_skeleton_text_passes_for_a_whole_one(scene, data):
    whole = skeleton_text(scene).rstrip()
    words = whole.split()
    keep = data.draw(st.integers(0, len(words) - 1))
    with pytest.raises(DataError):
        ntu.parse(" ".join(words[:keep]).encode(), "x")
    with pytest.raises(DataError, match="goes on after its last frame"):
        ntu.parse((whole + " 1").encode(), "x")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'x' is empty"),
        ("  \n", "'x' is empty"),
        ("two frames", "not a .skeleton text"),
        ("1\n1\n\x00", "not a .skeleton text"),
        ("1.5", "frame count is 1.5"),
        ("nan", "frame count is nan"),
        ("-1", "frame count is -1"),
        ("1e99", "frame count is 1e"),
        ("3\n0\n0\n", "ends in frame 2 of 3"),
        ("2\n0\n-1\n", "body count of frame 1 is -1"),
        ("1\n900000000\n", "body count of frame 0 is 9e"),
        ("1\n900000\n1 2", "ends in frame 0 of 1"),
        (skeleton_text([people(1)], joints=20), "frame 0: 20 joints, expected 25"),
    ],
)
def test_damaged_skeleton_text(text, words):
    with pytest.raises(DataError, match=words):
        ntu.parse(text.encode(), "x")


def test_folder_zip_tar_and_single_file_give_the_same(tmp_path):
    files = one_of_each_class()
    shadows = {"__MACOSX/._S001C002P001R002A001.skeleton": b"\x00", ".S009.skeleton": b"\x00"}
    whole = folder(tmp_path / "raw", {f"deep/er/{k}": v for k, v in files.items()} | shadows)
    expected = everything(sources.read(whole))
    assert [row[:6] for row in expected] == [
        ("S001C002P001R002A001", 0, 1, 2, 1, 2),
        ("S001C002P001R002A055", 54, 1, 2, 1, 2),
        ("S001C002P003R002A001", 0, 3, 2, 1, 2),
        ("S001C002P003R002A055", 54, 3, 2, 1, 2),
    ]
    assert [row[7] for row in expected] == [(1, 3, 25, 3), (2, 3, 25, 3)] * 2
    backwards = dict(reversed(files.items())) | shadows
    assert everything(sources.read(zipped(tmp_path / "raw.zip", backwards))) == expected
    assert everything(sources.read(tarred(tmp_path / "raw.tar.xz", backwards))) == expected
    one = whole / "deep/er/S001C002P003R002A055.skeleton"
    source = sources.read(one)
    assert everything(source) == expected[3:] == everything(source)  # and a source can be read twice


def test_ntu_source_states_its_facts(tmp_path):
    source = sources.read(folder(tmp_path, one_of_each_class()))
    assert (source.title, source.frame_rate, source.protocol, len(source.items)) == ("NTU RGB+D 60", 30.0, "cross-subject", 4)
    assert source.class_names == NAMES[:60] and source.skeleton.name == "ntu25"
    more = sources.read(folder(tmp_path, {"S018C001P050R001A061.skeleton": skeleton_text([people(1)])}))
    assert more.title == "NTU RGB+D 120" and more.class_names == NAMES and more.class_names[60] == "put on headphone"
    assert len(NAMES) == 120 == len(set(NAMES)) and NAMES[0] == "drink water" and NAMES[59] == "walking apart"


def test_incomplete_and_empty_recordings_are_left_out_with_the_reason(tmp_path):
    raw = folder(tmp_path / "raw", one_of_each_class() | {"S001C002P001R001A001.skeleton": "2\n0\n0\n"})
    listed = tmp_path / "missing.txt"
    listed.write_text("535 of the samples have missing skeletons.\n\nS001C002P003R002A055\nS001C001P001R001A001.skeleton\n")
    source = sources.read(raw, incomplete=listed)
    dropped = [r for r in source.recordings if isinstance(r, Dropped)]
    assert dropped == [Dropped("S001C002P001R001A001", "no body in any frame"), Dropped("S001C002P003R002A055", "listed as incomplete")]
    assert source.fingerprint != sources.read(raw).fingerprint
    with pytest.raises(DataError, match="class 54 'giving object|class 54 'hugging"):
        clips.write(tmp_path / "x.clips", source, progress=False)  # that left one clip of class 54
    listed.write_text("nothing here")
    with pytest.raises(DataError, match="lists no recording"):
        sources.read(raw, incomplete=listed)
    with pytest.raises(DataError, match="can't read the list"):
        sources.read(raw, incomplete=tmp_path / "none.txt")


def test_about_table_names_other_recordings(tmp_path):
    about = {"title": "generated motion (test)", "class_names": ["a"] * 55, "frame_rate": 25, "protocol": "odd-even-subjects"}
    raw = folder(tmp_path / "raw", one_of_each_class() | {"skelmm.json": json.dumps(about)})
    source = sources.read(raw)
    assert (source.title, source.class_names, source.frame_rate, source.protocol) == (about["title"], ("a",) * 55, 25.0, about["protocol"])
    for table, words in (
        ({"titel": "x"}, "unknown field 'titel'; did you mean 'title'"),
        ({"class_names": [1]}, "'class_names' is"),
        ({"frame_rate": "fast"}, "'frame_rate' is 'fast'"),
        ({"class_names": ["a"]}, "outside 1..1"),
        ([], "must be a table"),
    ):
        (raw / "skelmm.json").write_text(json.dumps(table))
        with pytest.raises(DataError, match=words):
            sources.read(raw)
    (raw / "skelmm.json").write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        sources.read(raw)


def test_wrong_ntu_members_are_named(tmp_path):
    good = one_of_each_class()
    bad = "S001C001P001R001A001.skeleton"
    for files, words in (
        (good | {bad: "3\n0\n"}, f"{bad}' ends in frame 1 of 3"),
        (good | {bad: ""}, f"{bad}' is empty"),
        (good | {bad: skeleton_text([people(1)]).replace("268.1", "nan", 1).replace("-", "nan ", 1)}, bad),
        (good | {"wave.skeleton": ""}, "'wave.skeleton' is not named like"),
        (good | {"S001C001P001R001A121.skeleton": ""}, "outside 1..120"),
        (good | {"S001C001P001R001A000.skeleton": ""}, "outside 1..60"),
    ):
        with pytest.raises(DataError, match=re.escape(words)):
            everything(sources.read(zipped(tmp_path / "raw.zip", files)))


def test_nan_in_a_file_names_clip_and_frame(tmp_path):
    broken = people(1)
    broken[0][7, 2] = np.nan
    files = one_of_each_class() | {"S001C001P001R001A001.skeleton": skeleton_text([people(1), broken])}
    with pytest.raises(DataError, match=r"'S001C001P001R001A001', frame 1, body 0: z of joint 7 \(left hand\) is nan"):
        clips.write(tmp_path / "x.clips", sources.read(folder(tmp_path / "raw", files)), progress=False, strict=True)
    assert not (tmp_path / "x.clips").exists()


@pytest.mark.parametrize("name", ["../../{}", "/tmp/{}", "a/../{}", "C:\\{}"])
def test_archives_with_paths_that_lead_outside_are_refused(tmp_path, name):
    evil = {name.format(file): text for file, text in one_of_each_class().items()}
    for archive in (zipped(tmp_path / "raw.zip", evil), tarred(tmp_path / "raw.tar.xz", evil)):
        with pytest.raises(DataError, match="would lie outside"):
            sources.read(archive, format="ntu")


def test_archives_with_links_are_refused(tmp_path):
    path = tarred(tmp_path / "raw.tar.xz", one_of_each_class())
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("S001C002P001R002A001.skeleton")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    with pytest.raises(DataError, match="is a link"):
        sources.read(path, format="ntu")


def test_several_archives_are_one_source(tmp_path):
    files = one_of_each_class()
    names = sorted(files)
    parts = [zipped(tmp_path / f"{i}.zip", {n: files[n] for n in names[i::2]}) for i in (0, 1)]
    assert everything(sources.read(parts)) == everything(sources.read(zipped(tmp_path / "all.zip", files)))
    with pytest.raises(DataError, match="several formats at once"):
        sources.read([parts[0], saved(tmp_path / "x.npz")])


def test_two_formats_in_one_folder(tmp_path):
    raw = folder(folder(tmp_path / "both", one_of_each_class()), little_utd()[0])
    with pytest.raises(DataError, match="2 formats, ntu and utd-mhad.*--format"):
        sources.read(raw)
    assert len(everything(sources.read(raw, format="ntu"))) == 4


def test_member_larger_than_any_recording_is_refused(tmp_path, monkeypatch):
    raw = zipped(tmp_path / "raw.zip", one_of_each_class())
    monkeypatch.setattr(members, "LARGEST_MEMBER", 1000)
    with pytest.raises(DataError, match="more than any recording"):
        everything(sources.read(raw))
    monkeypatch.setattr(members, "LARGEST_TAR", 10_000)
    with pytest.raises(DataError, match="pack it as a zip"):
        sources.read(tarred(tmp_path / "raw.tar.xz", one_of_each_class()))


# -- UTD-MHAD


def little_utd() -> tuple[dict[str, bytes], dict[str, np.ndarray]]:
    names = [f"a{a}_s{s}_t1" for a in (27, 3) for s in (2, 1)]
    arrays = {name: np.random.default_rng(i).normal(size=(20, 3, 4 + i)) for i, name in enumerate(names)}
    return {f"Skeleton/{name}_skeleton.mat": mat(a) for name, a in arrays.items()} | {"Skeleton/order.txt": b"x"}, arrays


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
        ("a1_s1_t1", mat(np.zeros((25, 3, 4))), "(20 joints, 3, frames), found float64 (25, 3, 4)"),
        ("a1_s1_t1", mat(np.zeros((20, 3, 4)), key="skel"), "found nothing"),
        ("a1_s1_t1", mat(np.full((20, 3, 4), "x")), "expected 'd_skel' with floats"),
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


# -- generic npz


def arrays(**changes) -> dict[str, np.ndarray]:
    whole = dict(
        joints=np.random.default_rng(0).normal(size=(10, 25, 3)).astype(np.float32),
        offsets=np.array([0, 2, 5, 9, 10]),
        label=np.array([0, 0, 1, 1], np.int16),
        subject=np.array(["tr", "bd", "mm", "bd"]),
        name=np.array(["w", "x", "y", "z"]),
        label_names=np.array(["jog", "squat"]),
    )
    return {k: v for k, v in (whole | changes).items() if v is not None}


def saved(path: Path, **changes) -> Path:
    np.savez(path, **arrays(**changes))
    return path


def test_npz_comes_back(tmp_path):
    raw = arrays()
    extras = dict(view=np.array([1, 1, 2, 2]), fps=np.array([25.0]), protocol=np.array("subject == 1"), parents=np.array(HDM_PARENTS))
    source = sources.read(saved(tmp_path / "mine.npz", **extras))
    assert (source.title, source.frame_rate, source.protocol, source.class_names, len(source.items)) == (
        "mine",
        25.0,
        "subject == 1",
        ("jog", "squat"),
        4,
    )
    for i, recording in enumerate(source.recordings):
        assert np.array_equal(recording.joints[0], raw["joints"][raw["offsets"][i] : raw["offsets"][i + 1]])
        assert (recording.name, recording.label, recording.view, recording.setup) == ("wxyz"[i], i // 2, 1 + i // 2, -1)
    assert [r.subject for r in source.recordings] == [3, 1, 2, 1]  # bd, mm, tr in alphabetical order
    plain = sources.read(saved(tmp_path / "plain.npz"), protocol="subject != 3", title="mine")
    assert (plain.protocol, plain.title, plain.frame_rate) == ("subject != 3", "mine", 30.0)
    table = utd_mhad.KINECT20.to_dict() | {"name": "my own"}
    own = sources.read(saved(tmp_path / "own.npz", joints=raw["joints"][:, :20], skeleton=np.array(json.dumps(table))))
    assert own.skeleton.name == "my own" and sources.read(tmp_path / "plain.npz").skeleton.name == "ntu25"


def table(**changes) -> np.ndarray:
    """NTU-25's own table with changes, as an npz holds it; `centre` moves to a joint that is then its own bone."""
    whole = NTU25.to_dict() | {"name": "mine"} | changes
    whole["bone"] = [whole["centre"] if j == whole["centre"] else b for j, b in enumerate(whole["bone"])]
    return np.array(json.dumps(whole))


HDM_PARENTS = [0, 0, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 1, 7, 7, 11, 11]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(label=None), "lacks 'label'; did you mean 'label_names'"),
        (dict(joints=np.zeros((10, 25, 2))), "'joints' must be floats of the shape (frames, joints, 3), found float64 (10, 25, 2)"),
        (dict(joints=np.zeros((10, 25, 3), int)), "'joints' must be floats"),
        (dict(joints=np.zeros((10, 19, 3))), "no known skeleton has 19 joints: ntu25 (25), kinect20 (20)"),
        (dict(joints=np.zeros((10, 20, 3)), skeleton=np.array("ntu25")), "20 joints, skeleton 'ntu25' has 25"),
        (dict(skeleton=np.array("{")), "not a JSON table"),
        (dict(skeleton=np.array('{"nom": 1}')), "unknown field 'nom'"),
        (dict(skeleton=table(name="ntu25", centre=1)), "'skeleton' is a table of its own with the name of the built-in 'ntu25'"),
        (dict(skeleton=table(edges=[0, 1])), "'edges' must be any number of pairs of joint numbers in 0..24"),
        (dict(skeleton=table(edges=[[0, 1, 2]])), "'edges' must be"),
        (dict(skeleton=table(pairs=None)), "'pairs' must be"),
        (dict(skeleton=table(axis=[1, 2])), "'axis' must be 25 joint numbers in 0..24 (there are 25 joints), found (1, 2)"),
        (dict(skeleton=table(shoulders=[3])), "'shoulders' must be 2 joint numbers"),
        (dict(skeleton=table(shoulders=[3, 3])), "two different joints"),
        (dict(skeleton=table(spine=True)), "'spine' must be one joint number"),
        (dict(skeleton=table(spine=25)), "joint numbers [25] of 'spine' are not in 0..24"),
        (dict(skeleton=table(joints="abcde")), "'joints' must be a list of names"),
        (dict(skeleton=table(joints=["a"] * 25)), "found 25, 1 of them different"),
        (dict(skeleton=table(name="native")), "a text of its own and not 'native'"),
        (dict(skeleton=table(name=5)), "a text of its own"),
        (dict(views=np.array([1, 1, 2, 2])), "has an array 'views': is it meant as 'view'"),
        (dict(label_names=np.array(["jog", "jog"])), "one name per class, all different, found jog, jog"),
        (dict(name=np.array([b"\xff", b"b", b"c", b"d"])), "'name' holds bytes that are not UTF-8"),
        (dict(name=np.array([1, 2, 3, 4])), "'name' holds int64, expected names"),
        (dict(skeleton=table(edges=[[0, 1]])), "no path of 'edges' leads from the centre to"),
        (dict(parents=np.array(HDM_PARENTS[::-1])), "'parents' is not the tree of skeleton 'ntu25'"),
        (dict(offsets=np.array([0, 2, 5, 9])), "5 numbers (one more than clips)"),
        (dict(offsets=np.array([0, 2, 5, 9, 11])), "the 10 frames of 'joints'"),
        (dict(offsets=np.array([0, 2, 2, 9, 10])), "at least one frame per clip"),
        (dict(offsets=np.array([0.0, 2, 5, 9, 10])), "'offsets' holds float64, expected integers"),
        (dict(label=np.array(0)), "one number per clip"),
        (dict(subject=np.array([1, 2, 3])), "'subject' has the shape (3,), expected (4,)"),
        (dict(subject=np.array([1.0, 2, 3, 4])), "'subject' holds float64"),
        (dict(fps=np.array([1.0, 2.0])), "'fps' must be one value, found 2"),
        (dict(name=np.array(["w", "x", "y", None], object)), "save plain arrays"),
    ],
)
def test_wrong_npz(tmp_path, changes, words):
    with pytest.raises(DataError, match=re.escape(words)):
        sources.read(saved(tmp_path / "x.npz", **changes))


def test_npz_names_in_bytes_and_clips_without_a_body(tmp_path):
    joints = arrays()["joints"].copy()
    joints[2:5] = 0
    extras = dict(joint_names=np.array(["any"]), camera=np.zeros(3), time=np.zeros(4))  # of the owner's own: no reader's business
    texts = dict(label_names=np.array([b"jog", "h\u00fcpf".encode()]), skeleton=np.array(b"ntu25"), subject=np.array([b"a", b"b"] * 2))
    source = sources.read(saved(tmp_path / "x.npz", joints=joints, **texts, **extras))
    assert source.class_names == ("jog", "h\u00fcpf")
    assert list(source.recordings)[1] == Dropped("x", "no body in any frame")


def test_pickle_in_an_npz_is_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "owned",)

    with pytest.raises(DataError, match="plain arrays"):
        sources.read(saved(tmp_path / "x.npz", name=np.array([Evil(), 1, 2, 3], object)))
    assert not (tmp_path / "owned").exists()


def test_torn_npz(tmp_path):
    path = saved(tmp_path / "x.npz")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="can't read"):
        generic_npz.read(path)
    with pytest.raises(DataError, match="no file at"):
        generic_npz.read(tmp_path / "none.npz")
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(DataError, match="single array"):
        generic_npz.read(tmp_path / "x.npy")


# -- finding the reader


def test_formats_are_told_by_content(tmp_path):
    files, _ = little_utd()
    assert sources.recognise(folder(tmp_path / "a", one_of_each_class())) == "ntu"
    assert sources.recognise(tarred(tmp_path / "no-suffix", files)) == "utd-mhad"
    assert sources.recognise(saved(tmp_path / "b.npz").rename(tmp_path / "b.zip")) == "npz"
    assert sources.recognise("sample") == "sample"


def test_what_no_reader_knows(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "nothing.zip").write_bytes(b"")
    (tmp_path / "text").write_text("hello")
    zipped(tmp_path / "other.zip", {"a.txt": "x"})
    for name, words in (
        ("none", "no file or folder at"),
        ("empty", "the folder is empty"),
        ("nothing.zip", "the file is empty"),
        ("text", "no reader knows"),
        ("other.zip", "no reader knows"),
    ):
        with pytest.raises(DataError, match=words):
            sources.read(tmp_path / name)
    for format in ("ntu", "utd-mhad", "npz"):
        for name in ("none", "empty", "text", "nothing.zip", "other.zip"):
            with pytest.raises(DataError, match=name):
                sources.read(tmp_path / name, format=format)


def test_unknown_format_and_option(tmp_path):
    raw = folder(tmp_path, one_of_each_class())
    with pytest.raises(SettingsError, match="unknown format 'ntu60'; did you mean 'ntu'"):
        sources.read(raw, format="ntu60")
    with pytest.raises(SettingsError, match="no option 'incomplet'; did you mean 'incomplete'"):
        sources.read(raw, incomplet="x")


def test_fingerprint_follows_the_content(tmp_path):
    files = one_of_each_class()
    first = sources.read(zipped(tmp_path / "a.zip", files)).fingerprint
    assert sources.read(zipped(tmp_path / "b.zip", dict(reversed(files.items())))).fingerprint == first
    files["S001C002P001R002A001.skeleton"] = skeleton_text([people(1, seed=99)] * 3)
    assert sources.read(zipped(tmp_path / "b.zip", files)).fingerprint != first


# -- real data


def test_real_utd_mhad(shared, tmp_path):
    report = clips.write(tmp_path / "utd.clips", sources.read(shared / "data/utd_mhad_skeleton.tar.xz"), progress=False)
    opened = clips.open_clips(report.path)
    assert (report.clips, len(opened.class_names), int(opened.frames.min()), int(opened.frames.max())) == (861, 27, 41, 125)
    assert round(report.height, 2) >= 1.48 and report.height <= 1.61 and report.upright == 1 and not report.warnings
    train, test, name = protocols.split(opened)
    assert (len(train), len(test), name) == (431, 430, "odd-even-subjects")
    assert all(facing_agrees_with_the_feet(opened.joints_of(i)[0]) for i in range(0, 861, 20))


def test_real_hdm05(shared, tmp_path):
    source = sources.read(shared / "data/hdm05_cut11.npz", protocol="subject <= 3")  # bd, bk, dg train; mm, tr test
    report = clips.write(tmp_path / "hdm.clips", source, progress=False)
    opened = clips.open_clips(report.path)
    assert (report.clips, report.frames, len(opened.class_names)) == (287, 17878, 11)
    assert 1.48 <= report.height <= 1.61 and report.upright > 0.98 and not report.warnings
    actors = {opened.names[i].split("_")[1] for i in protocols.split(opened).train}
    assert actors == {"bd", "bk", "dg"} and len(protocols.split(opened).test) == 99
    assert all(facing_agrees_with_the_feet(opened.joints_of(i)[0]) for i in range(0, 287, 20))


def facing_agrees_with_the_feet(x: np.ndarray) -> bool:
    """Left and right are not exchanged and no axis is mirrored: up x (right - left shoulder) points where the toes do. (T, V, 3)"""
    ahead = np.cross([0, 1, 0], x[:, 8] - x[:, 4])
    toes = x[:, 15] - x[:, 14] + x[:, 19] - x[:, 18]
    return bool(np.median((ahead * toes).sum(-1)) > 0)
