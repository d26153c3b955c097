"""PKU-MMD: intervals of what a writer of the tests wrote come back as clips; damaged and hostile files give one clear error."""

from __future__ import annotations

import pickle
import re
import shutil
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from writers.pku_mmd import write

from skelmm_core import clips, protocols, sources
from skelmm_core.clips import Dropped, Recording
from skelmm_core.errors import DataError
from skelmm_core.reading import checked
from skelmm_core.sources import members, pku_mmd

ROWS = np.random.default_rng(0).normal(0, 0.5, (30, 150)).round(5)


def joints_text(rows: np.ndarray) -> str:
    return "".join(" ".join(map(repr, row.tolist())) + "\n" for row in rows)


def member(stem: str, content: bytes | str) -> members.Member:
    content = content if isinstance(content, bytes) else content.encode()
    return members.Member(f"{stem}.txt", len(content), "", content)


def cut(joints: bytes | str, labels: bytes | str, stem: str = "0002-L") -> list[Recording | Dropped]:
    """What the reader makes of one video's two texts."""
    (video,) = pku_mmd._videos([member(stem, joints), member(stem, labels)], None)
    return list(pku_mmd._clips(video))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("pku") / "data", clips=30)


def by_numpy(data: Path) -> dict[str, tuple[int, np.ndarray]]:
    """Another reader: numpy's own, and the intervals one by one."""
    found = {}
    for labels in (data / "Train_Label_PKU_final").iterdir():
        joints = np.loadtxt(data / "Skeleton" / labels.name, ndmin=2).reshape(-1, 2, 25, 3)
        for number, (label, start, end, _) in enumerate(np.loadtxt(labels, int, delimiter=",", ndmin=2), 1):
            part = joints[start - 1 : end].transpose(1, 0, 2, 3).astype(np.float32)
            found[f"{labels.stem}_{number:03}"] = label - 1, part if part[1].any() else part[:1]
    return found


def test_what_was_written_comes_back(data, tmp_path):
    found = pku_mmd.read(data)
    assert (found.title, found.skeleton.name, len(found.class_names), found.frame_rate) == ("PKU-MMD I", "ntu25", 51, 30)
    expected, read = by_numpy(data), {r.name: r for r in found.recordings}
    assert list(read) == sorted(expected) and len(read) == 30
    for name, clip in read.items():
        label, joints = expected[name]
        assert clip.label == label and np.array_equal(clip.joints, joints) and clip.joints.dtype == np.float32
        assert len(clip.joints) == 1 + ((label + 1) % 4 == 0)
        assert (clip.view, clip.subject, clip.setup) == ({"L": 1, "M": 2, "R": 3}[name[5]], -1, -1)
    report = clips.write(tmp_path / "x.clips", pickle.loads(pickle.dumps(found)), progress=False)
    assert report.clips == 30 and not report.damaged
    opened = clips.open_clips(tmp_path / "x.clips")
    split = protocols.split(opened)
    assert {opened.names[i][5] for i in split.train} == {"M", "R"} and {opened.names[i][5] for i in split.test} == {"L"}


def test_frames_count_from_one_and_both_ends_belong_to_the_clip():
    first, second, whole = cut(joints_text(ROWS), "5,1,1,2\n51,10,30,1\r\n1,1,30,0")
    assert (first.name, first.label, first.joints.shape) == ("0002-L_001", 4, (2, 1, 25, 3))
    assert np.array_equal(first.joints.reshape(-1), ROWS[0].astype(np.float32))
    assert (second.label, second.joints.shape) == (50, (2, 21, 25, 3))
    assert np.array_equal(second.joints.swapaxes(0, 1).reshape(21, 150), ROWS[9:30].astype(np.float32))
    assert whole.joints.shape == (2, 30, 25, 3)


def test_bodies_that_are_not_there():
    alone = np.concatenate([ROWS[:, :75], np.zeros((30, 75))], axis=1)
    alone[20:, 75:] = ROWS[20:, 75:]
    alone[25:, :75] = 0
    early, both, late, nobody = cut(joints_text(np.concatenate([alone, 0 * ROWS])), "1,1,20,2\n1,11,30,2\n1,26,30,2\n1,31,60,2\n")
    assert early.joints.shape == (1, 20, 25, 3) and both.joints.shape == (2, 20, 25, 3)
    assert np.array_equal(late.joints.reshape(5, 75), ROWS[25:, 75:].astype(np.float32))  # only the second is there
    assert nobody == Dropped("0002-L_004", "no body in any frame")


def test_class_names():
    names = pku_mmd.NAMES
    assert len(set(names)) == 51 and list(names) == sorted(names)  # as published: in alphabetical order
    assert (names[0], names[21], names[50]) == ("bow", "pickup", "writing")


def test_part_two_has_performers():
    (clip,) = cut(joints_text(ROWS), "3,2,5,1", "A21N07-R")
    assert (clip.name, clip.subject, clip.view) == ("A21N07-R_001", 7, 3)


def test_a_zip_and_two_folders_are_the_same(data, tmp_path):
    whole = [(r.name, r.joints.tobytes()) for r in pku_mmd.read(data).recordings]
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in data.rglob("*.txt"):
            archive.write(file, file.relative_to(data))
        archive.writestr("Split/cross-view.txt", "Training videos:\n0002-M\nValidation videos:\n0002-L\n")
    for path in (tmp_path / "x.zip", (data / "Train_Label_PKU_final", data / "Skeleton")):
        assert all(map(pku_mmd.recognise, path if isinstance(path, tuple) else (path,)))
        assert [(r.name, r.joints.tobytes()) for r in pku_mmd.read(path).recordings] == whole
    with pytest.raises(DataError, match="holds no text of 150 numbers per line named like '0002-L.txt'; name both"):
        pku_mmd.read(data / "Train_Label_PKU_final")
    with pytest.raises(DataError, match="holds no text of labels"):
        pku_mmd.read(data / "Skeleton")


def test_only_this_format_knows_the_files(data, tmp_path):
    for name, module in sources.FORMATS.items():
        assert module.endswith(".pku_mmd") or not sources.module(name).recognise(data), name
    (tmp_path / "0002.txt").write_text("1,2,3,4")
    for path in (tmp_path, tmp_path / "0002.txt", tmp_path / "missing"):
        assert not pku_mmd.recognise(path)


def test_texts_without_their_other_half(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "data")
    (folder / "Skeleton" / "0002-M.txt").unlink()
    (folder / "Train_Label_PKU_final" / "0002-R.txt").unlink()
    found = list(pku_mmd.read(folder).recordings)
    assert [f.name for f in found if isinstance(f, Recording)] == [f"0002-L_{number:03}" for number in range(1, 11)]
    assert [f for f in found if isinstance(f, Dropped)] == [
        Dropped("0002-M", "labels without a video of that name"),
        Dropped("0002-R", "no text of labels of that name"),
    ]


def test_a_split_file(data, tmp_path):
    file = tmp_path / "cross-subject.txt"
    file.write_text("Training videos: \n0002-L, 0002-R, 0099-M, \nValidataion videos: \n0002-M.txt")
    found = pku_mmd.read(data, split=file)
    assert found.protocol == "setup == 1" and found.fingerprint != pku_mmd.read(data).fingerprint
    assert {(r.name[5], r.setup) for r in found.recordings} == {("L", 1), ("R", 1), ("M", 2)}
    file.write_text("Training videos: \n0002-L\nValidataion videos: \n0002-M")
    assert [d for d in pku_mmd.read(data, split=file).recordings if isinstance(d, Dropped)] == [
        Dropped("0002-R", "in neither list of the split file")
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected four lines"),
        ("Training videos:\n0002-L", "expected four lines"),
        ("0002-L\nTraining videos:\n0002-M\nTest:", "expected four lines"),
        ("Training videos:\n0002-L, 2-M\nTest:\n0003-L", "expected four lines"),
        ("Training videos:\n0002-L, 0002-M\nTest:\n0003-L, 0002-M", "1 videos in both lists, e.g. '0002-M'"),
        ("Training videos:\n0003-L\nTest:\n0002-L", "trains with none of the 3 videos"),
        (b"\xff\xfe\x00", "can't read the split file"),
    ],
)
def test_split_files_that_are_none(data, tmp_path, text, words):
    (tmp_path / "split.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=words):
        pku_mmd.read(data, split=tmp_path / "split.txt")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("52,2,5,1", "label 52 is outside 1..51"),
        ("0,2,5,1", "label 0 is outside 1..51"),
        ("-3,2,5,1", "label -3 is outside 1..51"),
        ("3,5,2,1", "starts in frame 5, after its end in frame 2"),
        ("3,0,5,1", "interval 0..5 is outside the video's frames 1..30"),
        ("3,2,31,1", "interval 2..31 is outside the video's frames 1..30"),
        ("3,2,999999999,1", "outside the video's frames"),
        ("3,2,9999999999999999999999,1", "expected 'label,start,end,confidence'"),
        ("3,2,5", "expected 'label,start,end,confidence', found '3,2,5'"),
        ("3,2,5,1,1", "expected 'label,start,end,confidence'"),
        ("nan,2,5,1", "expected 'label,start,end,confidence'"),
        ("3,2.5,5,1", "expected 'label,start,end,confidence'"),
        ("x" * 1000, "expected 'label,start,end,confidence', found 'xxx"),
    ],
)
def test_a_label_that_does_not_fit_is_one_damaged_clip(line, reason):
    first, damaged, last = cut(joints_text(ROWS), f"1,1,5,2\n{line}\n2,6,9,2\n")
    assert (first.label, first.name, last.label, last.name) == (0, "0002-L_001", 1, "0002-L_003")
    assert damaged.damaged and damaged.name == "0002-L_002" and len(damaged.reason) < 200
    assert damaged.reason.startswith("'0002-L.txt', line 2: ") and reason in damaged.reason


def test_numbers_that_are_not_finite_damage_only_their_clip(data):
    rows = ROWS.copy()
    rows[7, 4], rows[20, 0], rows[21, 0] = np.nan, np.inf, 1e300
    labels = "1,1,7,2\n2,5,9,2\n3,20,21,2\n4,22,22,1\n5,23,30,1\n"
    (video,) = pku_mmd._videos([member("0002-L", joints_text(rows)), member("0002-L", labels)], None)
    found = checked(pku_mmd.read(data), video, strict=False)
    assert [getattr(f, "damaged", False) for f in found] == [False, True, True, True, False]
    assert "clip '0002-L_002', frame 3, body 0: y of joint 1 (mid spine) is nan" in found[1].reason


@pytest.mark.parametrize(
    ("joints", "labels", "words"),
    [
        (joints_text(ROWS)[:-5].rsplit(" ", 1)[0], "1,1,5,2", "'0002-L.txt', line 30: 149 numbers, expected 150"),
        (joints_text(ROWS).replace("\n", " 1\n", 1), "1,1,5,2", "line 1: more numbers, expected 150"),
        (joints_text(ROWS).replace("\n", " ", 1), "1,1,5,2", "line 1: more numbers"),
        (joints_text(ROWS[:5]) + "\n" + joints_text(ROWS), "1,1,5,2", "line 6: 0 numbers"),
        (joints_text(ROWS).replace(repr(float(ROWS[3, 3])), "zero"), "1,1,5,2", "'0002-L.txt', line 4: found 'zero', expected a number"),
        (joints_text(ROWS).replace(repr(float(ROWS[3, 3])), "1-1"), "1,1,5,2", "found '1-1', expected a number"),
        (joints_text(ROWS), "", "'0002-L.txt': expected a text of labels like '12,34,56,2' under this name, found none"),
        (joints_text(ROWS), "label,start,end,confidence\n1,1,5,2", "expected a text of labels"),
        (joints_text(ROWS), joints_text(ROWS), "'0002-L.txt' and '0002-L.txt': expected a text of labels"),
        ("1,1,5,2", "1,1,5,2\n", "both have the labels of one video"),
        ("1 2 3\n", "1,1,5,2\n", "expected a text of 150 numbers per line"),
        ("1 2 3 4 5 6\n", "1,1,5,2\n", "line 1: 6 numbers, expected 150"),
        (joints_text(ROWS), b"1,1,5,2\n\xff\xff", "is not a text of labels"),
        (joints_text(ROWS).encode("utf-16"), "1,1,5,2\n", "0002-L.txt"),
    ],
)
def test_errors_say_what_was_found_and_where(joints, labels, words):
    with pytest.raises(DataError, match=re.escape(words)) as problem:
        cut(joints, labels)
    assert len(str(problem.value)) < 400


def test_two_texts_of_one_kind():
    texts = [member("0002-L", joints_text(ROWS)), member("0002-L", joints_text(ROWS[:9])), member("0002-L", "1,1,5,2")]
    (video,) = pku_mmd._videos(texts, None)
    with pytest.raises(DataError, match="both have the joints of one video"):
        list(pku_mmd._clips(video))


def test_intervals_that_cover_the_video_over_and_over_are_refused():
    found = cut(joints_text(ROWS), "1,1,30,2\n" * 1000)
    kept = [f for f in found if isinstance(f, Recording)]
    assert len(found) == 1000 and len(kept) == pku_mmd.OVERLAP
    assert "cover the video more than 4 times" in found[-1].reason


def test_one_line_without_an_end_does_not_fill_the_memory():
    text = "10 " * 1_500_000
    tracemalloc.start()
    with pytest.raises(DataError, match="line 1: more numbers"):
        cut(text, "1,1,5,2")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * len(text)


def test_labels_without_an_interval():
    (found,) = cut(joints_text(ROWS), "5,40,50,1\n")
    assert found.damaged
    video = pku_mmd.Video("0002-L", (member("0002-L", joints_text(ROWS)),), (member("0002-L", "\n \n"),), (), -1)
    assert list(pku_mmd._clips(video)) == [Dropped("0002-L", "no interval in its labels", damaged=True)]


SOURCE = clips.Source("PKU-MMD", pku_mmd.NTU25, pku_mmd.NAMES, 30.0, "", "", [], pku_mmd._clips)
TEXT, LABELS = joints_text(ROWS[:6]).encode(), b"1,1,3,2\n12,2,5,1\n51,6,6,2\n"
WHOLE = {f.name: f.joints for f in cut(TEXT, LABELS)}


@given(st.integers(0, len(TEXT) - 1))
def test_a_cut_video_gives_only_whole_clips(place):
    """A cut inside the last number can't be told from a shorter number; every other leaves out what is not whole."""
    try:
        found = cut(TEXT[:place], LABELS)
    except DataError:
        return
    for clip in found:
        if isinstance(clip, Recording) and not (clip.name == "0002-L_003" and TEXT[:place].count(b" ") == 6 * 149):
            assert np.array_equal(clip.joints, WHOLE[clip.name])
    assert any(getattr(f, "damaged", False) for f in found) or TEXT[:place].count(b" ") == 6 * 149


@given(st.integers(0, len(LABELS)), st.binary(max_size=12))
def test_other_labels_give_errors_or_clips(place, extra):
    text = LABELS[:place] + extra + LABELS[place + len(extra) :]
    (video,) = pku_mmd._videos([member("0002-L", TEXT * 3), member("0002-L", text)], None)
    for found in checked(SOURCE, video, strict=False):
        assert isinstance(found, Dropped) or found.joints.shape[2:] == (25, 3)


@given(st.binary(max_size=60), st.integers(0, len(TEXT)))
def test_other_bytes_give_errors_or_clips(extra, place):
    (video,) = pku_mmd._videos([member("0002-L", TEXT[:place] + extra + TEXT[place + len(extra) :]), member("0002-L", LABELS)], None)
    for found in checked(SOURCE, video, strict=False):
        assert isinstance(found, Dropped) or np.isfinite(found.joints).all()
