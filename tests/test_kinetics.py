"""Kinetics-skeleton: what a writer of the tests wrote comes back as a slow loop reads it; damaged and hostile files give clear errors."""

from __future__ import annotations

import json
import pickle
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from writers.kinetics import NAMES, person, video, write

from skelmm_core import clips, protocols, sources
from skelmm_core.clips import Dropped, Recording, Source
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.reading import checked
from skelmm_core.skeletons import OPENPOSE18
from skelmm_core.sources import json_text, kinetics, members
from skelmm_core.sources.kinetics_files import Video


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


GOOD = video(2, 2, 4, random())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("kinetics") / "data", clips=30)


def item(content: bytes | str | dict, **about) -> Video:
    content = json.dumps(content) if isinstance(content, dict) else content
    content = content if isinstance(content, bytes) else content.encode()
    return Video("abc", members.Member("abc.json", len(content), "", content), 1, **about)


def one(content: bytes | str | dict, aspect: float = 1.0, **about) -> Recording | Dropped:
    """What the reader makes of one file's content."""
    return kinetics._recording(NAMES, aspect, item(content, **about))


def by_loop(content: dict, first: int, width: float) -> np.ndarray:
    """Another reader, number by number: the two persons of the highest summed score of each frame."""
    length = max(frame["frame_index"] for frame in content["data"]) - first + 1
    joints = np.zeros((2, length, 18, 3), np.float32)
    for frame in content["data"]:
        persons = sorted(frame["skeleton"], key=lambda p: -sum(p["score"]))
        for body, shown in enumerate(persons[:2]):
            for joint in range(18):
                x, y, score = shown["pose"][2 * joint], shown["pose"][2 * joint + 1], shown["score"][joint]
                if score:
                    joints[body, frame["frame_index"] - first, joint] = (x - 0.5) * width, 0.5 - y, score
    return joints if joints[1].any() else joints[:1]


def test_what_was_written_comes_back(data, tmp_path):
    found = kinetics.read(data)
    assert (found.skeleton, found.spatial, found.frame_rate, found.protocol) == (OPENPOSE18, False, 30, "setup == 1")
    assert found.class_names == NAMES
    read = {r.name: r for r in found.recordings}
    files = {f.stem: f for f in data.glob("kinetics_*/*.json")}
    assert list(read) == sorted(files) and len(read) == 30
    crowded = 0
    for name, clip in read.items():
        content = json.loads(files[name].read_text())
        assert np.allclose(clip.joints, by_loop(content, 1, 340 / 256), atol=1e-7) and clip.joints.dtype == np.float32
        assert clip.label == content["label_index"] and clip.setup == (1 if "train" in str(files[name].parent.name) else 2)
        assert (clip.subject, clip.view, clip.repetition) == (-1, -1, -1)
        beyond = sum(max(0, len(frame["skeleton"]) - 2) for frame in content["data"])
        assert clip.changes == ({"bodies beyond the second": beyond} if beyond else {})
        crowded += bool(beyond)
    assert crowded == 6
    clips.write(tmp_path / "x.clips", pickle.loads(pickle.dumps(found)), progress=False)
    split = protocols.split(clips.open_clips(tmp_path / "x.clips"))
    assert (len(split.train), len(split.test)) == (20, 10)


def test_bodies_stand_upright_and_in_proportion():
    """The writer's person is 0.24 image heights from neck to hip and 0.14 wide at the shoulders, wherever it stands."""
    clip = one(GOOD, aspect=340 / 256)
    seen = clip.joints[..., 2] > 0
    for body in range(2):
        frame = int(np.flatnonzero(seen[body][:, [1, 2, 5, 8]].all(axis=1))[0])
        neck, right, left, hip = clip.joints[body, frame, [1, 2, 5, 8], :2]
        assert abs(np.linalg.norm(left - right) - 0.14) < 2e-3 and abs((neck - hip)[1] - 0.24) < 2e-3 and right[0] < left[0]


def test_the_two_best_persons_of_each_frame_best_first():
    low, high, middle = (person(0.5, 0, 0, 0, random()) | {"score": [s] * 18} for s in (0.3, 0.9, 0.6))
    low, high, middle = ({**p, "pose": [x] * 36} for p, x in ((low, 0.1), (high, 0.2), (middle, 0.3)))
    frames = [[low, high, middle], [middle, low], [low], [], [middle, middle, low, low]]
    clip = one(GOOD | {"data": [{"frame_index": i, "skeleton": s} for i, s in enumerate(frames)]})
    assert np.allclose(clip.joints[:, :, 0, 2], [[0.9, 0.6, 0.3, 0, 0.6], [0.6, 0.3, 0, 0, 0.6]])
    assert np.allclose(clip.joints[:, :, 5, 0], [[-0.3, -0.2, -0.4, 0, -0.2], [-0.2, -0.4, 0, 0, -0.2]])
    assert clip.changes == {"bodies beyond the second": 3}


@pytest.mark.parametrize(
    ("indices", "first", "length"),
    [((0, 1, 2, 3), 0, 4), ((1, 2, 3, 4), 1, 4), ((0, 2, 5, 9), 0, 10), ((9, 3, 7, 2), 1, 9)],
)
def test_frames_that_are_left_out_are_zeros(indices, first, length):
    content = GOOD | {"data": [frame | {"frame_index": i} for frame, i in zip(GOOD["data"], indices, strict=True)]}
    clip = one(content)
    assert clip.joints.shape == (2, length, 18, 3) and np.allclose(clip.joints, by_loop(content, first, 1.0), atol=1e-7)
    assert set(np.flatnonzero(clip.joints.any(axis=(0, 2, 3)))) == {i - first for i in indices}


def test_frames_without_a_person_count_for_the_length():
    empty = [{"frame_index": i, "skeleton": []} for i in (0, 5, 6)]
    assert one(GOOD | {"data": [*GOOD["data"], *empty]}).joints.shape[1] == 7


def test_a_joint_that_was_not_seen_is_zeros():
    shown = person(0.5, 0, 0, 0, random(5))
    shown["score"] = [0.5] * 18
    shown["score"][3] = 0
    shown["pose"][14:16] = 0, 0  # joint 7
    clip = one(GOOD | {"data": [{"frame_index": 0, "skeleton": [shown]}]})
    assert clip.joints.shape == (1, 1, 18, 3)
    assert not clip.joints[0, 0, [3, 7]].any() and (clip.joints[0, 0, [0, 1, 2, 4, 5, 6], 2] == 0.5).all()


def test_class_names_without_lists_come_from_the_files(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "data")
    for file in folder.glob("*_label.json"):
        file.unlink()
    (folder / "kinetics_val" / "empty.json").write_text("{}")
    found = kinetics.read(folder)
    assert found.class_names == NAMES and found.protocol == "setup == 1"
    report = clips.write(tmp_path / "x.clips", found, progress=False)
    assert report.clips == 30 and [d.name for d in report.damaged] == ["empty"]


@pytest.mark.parametrize("frames", [1, 12, 60])
@pytest.mark.parametrize("order", [("data", "label", "label_index"), ("label", "data", "label_index"), ("label_index", "label", "data")])
@pytest.mark.parametrize("packed", [False, True])
def test_a_label_is_found_wherever_it_stands(tmp_path, order, frames, packed):
    content = video(2, 1, frames, random()) | {"label": 'say "zumba"', "label_index": 1}
    text = json.dumps({key: content[key] for key in order})
    (tmp_path / "abc.json").write_text(text)
    with zipfile.ZipFile(tmp_path / "abc.zip", "w") as archive:
        archive.writestr("abc.json", text)
    found = kinetics.read(tmp_path / ("abc.zip" if packed else "abc.json"))
    assert found.class_names == ("class 0", 'say "zumba"') and [r.label for r in found.recordings] == [1]


def test_lists_tell_the_parts_of_files_in_one_folder(data, tmp_path):
    for file in data.rglob("*.json"):
        shutil.copy(file, tmp_path)
    found = kinetics.read(tmp_path)
    expected = {f.stem: 1 if f.parent.name == "kinetics_train" else 2 for f in data.glob("kinetics_*/*.json")}
    assert {r.name: r.setup for r in found.recordings} == expected and found.protocol == "setup == 1"


def test_a_list_speaks_of_its_own_part(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "data")
    moved = next((folder / "kinetics_train").iterdir())
    moved.rename(folder / "kinetics_val" / moved.name)
    found = [(f.setup if isinstance(f, Recording) else f.reason) for f in kinetics.read(folder).recordings if f.name == moved.stem]
    assert found == [2, "in a list of labels, but without a file"]


def test_labels_between_are_named_by_their_number(data, tmp_path):
    folder = shutil.copytree(data / "kinetics_val", tmp_path / "some")
    for file in folder.iterdir():
        content = json.loads(file.read_text())
        file.write_text(json.dumps(content | {"label_index": content["label_index"] * 2}))
    found = kinetics.read(folder)
    assert found.class_names[1:4] == ("class 1", NAMES[1], "class 3") and found.protocol == ""
    assert {r.setup for r in found.recordings} == {-1}


def test_a_list_without_a_skeleton_a_label_or_a_file(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "data")
    table = json.loads((folder / "kinetics_train_label.json").read_text())
    hidden, unlabelled, gone, other, *_ = sorted(table)
    table[hidden]["has_skeleton"] = False
    for content in (table[unlabelled], json.loads((folder / "kinetics_train" / f"{unlabelled}.json").read_text())):
        content["label_index"] = -1
    (folder / "kinetics_train" / f"{unlabelled}.json").write_text(json.dumps(content))
    (folder / "kinetics_train" / f"{gone}.json").unlink()
    table[other]["label_index"], table[other]["label"] = (i := (table[other]["label_index"] + 1) % 8), NAMES[i]
    (folder / "kinetics_train_label.json").write_text(json.dumps(table))
    report = clips.write(tmp_path / "x.clips", kinetics.read(folder), progress=False)
    assert report.clips == 26 and {d.name: d.reason for d in report.dropped if not d.damaged} == {
        hidden: "listed as without a skeleton",
        unlabelled: "without a label",
        gone: "in a list of labels, but without a file",
    }
    assert [d.name for d in report.damaged] == [other] and f"the list of labels has {i}" in report.damaged[0].reason


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({}, "abc of 'kinetics_val_label.json' lacks the field 'label_index'"),
        ([], "abc must be a table with 'label_index', found a list of 0"),
        ({"label_index": 3.5}, "abc.label_index must be a whole number in -1..999, found 3.5"),
        ({"label_index": 10**9}, "abc.label_index must be a whole number"),
        ({"label_index": 1}, "lacks the field 'has_skeleton'"),
        ({"label_index": 1, "has_skeleton": 1, "label": "x"}, "abc.has_skeleton must be true or false, found 1"),
        ({"label_index": 1, "has_skeleton": True, "label": "\ud800"}, "abc.label must be a text"),
        ({"label_index": 1, "has_skeleton": True, "label": ""}, "abc.label must be a text"),
    ],
)
def test_lists_that_are_none(data, tmp_path, entry, words):
    (tmp_path / "kinetics_val").mkdir()
    shutil.copy(next((data / "kinetics_val").iterdir()), tmp_path / "kinetics_val" / "abc.json")
    (tmp_path / "kinetics_val_label.json").write_text(json.dumps({"abc": entry}))
    with pytest.raises(DataError, match=words):
        kinetics.read(tmp_path)


def test_folder_zip_tar_and_several_are_the_same(data, tmp_path):
    whole = {r.name: (r.joints.tobytes(), r.setup, r.label) for r in kinetics.read(data).recordings}
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in data.rglob("*.json"):
            archive.write(file, file.relative_to(data.parent))
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        archive.add(data, "kinetics-skeleton")
    for path in (tmp_path / "x.zip", tmp_path / "x.tar.gz", (data / "kinetics_train", data / "kinetics_val")):
        assert all(map(kinetics.recognise, path if isinstance(path, tuple) else (path,)))
        found = kinetics.read(path)
        assert found.class_names == NAMES and found.protocol == "setup == 1"
        assert {r.name: (r.joints.tobytes(), r.setup, r.label) for r in found.recordings} == whole


def test_only_this_format_knows_the_files(data, tmp_path):
    for name, module in sources.FORMATS.items():
        assert module.endswith(".kinetics") or not sources.module(name).recognise(data), name
    (tmp_path / "notes.json").write_text('{"data": [], "skeleton": []}')
    (tmp_path / "torn.zip").write_bytes(b"PK\x03\x04" + bytes(50))
    for path in (tmp_path, tmp_path / "notes.json", tmp_path / "torn.zip", tmp_path / "missing"):
        assert not kinetics.recognise(path)
    with pytest.raises(DataError, match="no file tells a label"):
        kinetics.read(tmp_path)
    (tmp_path / "notes.json").unlink()
    with pytest.raises(DataError, match="holds no .json file"):
        kinetics.read(tmp_path)


@pytest.mark.parametrize("aspect", [0, -1, float("nan"), "wide", True, 1e9])
def test_aspects_that_are_none(data, aspect):
    with pytest.raises(SettingsError, match="aspect must be"):
        kinetics.read(data, aspect=aspect)


def changed(**fields) -> dict:
    """A good file whose second frame's first person, or frame itself, has other fields."""
    content = json.loads(json.dumps(GOOD))
    frame = content["data"][1]
    (frame if {"frame_index", "skeleton"} & set(fields) else frame["skeleton"][0]).update(fields)
    return content


POSE, SCORE = GOOD["data"][1]["skeleton"][0]["pose"], GOOD["data"][1]["skeleton"][0]["score"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "lacks the field 'label_index'"),
        (GOOD | {"label_index": "2"}, "label_index must be a whole number in -1..999, found '2'"),
        (GOOD | {"label_index": 10**30}, "label_index must be a whole number"),
        (GOOD | {"label_index": 3}, "label_index 3 is called 'clapping', elsewhere 'dancing ballet'"),
        (GOOD | {"label_index": 900}, "label_index 900 is called 'clapping', elsewhere none"),
        (GOOD | {"label": None}, "label must be a text of 1 to 200 printable characters, found null"),
        ({k: v for k, v in GOOD.items() if k != "data"}, "lacks the field 'data'"),
        (GOOD | {"data": {}}, "data must be a list of frames, found a table"),
        (GOOD | {"data": [[]]}, r"data\[0\] must be a table with 'frame_index', found a list of 0"),
        (changed(frame_index=-1), r"data\[1\].frame_index must be a whole number in 0..10000, found -1"),
        (changed(frame_index=10**9), r"data\[1\].frame_index must be a whole number in 0..10000, found 1000000000"),
        (changed(frame_index=1), r"data\[1\].frame_index is 1, as that of an earlier frame"),
        (changed(skeleton=5), r"data\[1\].skeleton must be a list of persons, found 5"),
        (changed(skeleton=[5]), r"data\[1\].skeleton\[0\] must be a table with 'pose', found 5"),
        (changed(skeleton=[{"score": SCORE}]), r"data\[1\].skeleton\[0\] of 'abc.json' lacks the field 'pose'"),
        (changed(pose=SCORE, score=POSE), r"data\[1\].skeleton\[0\].pose must be a list of 36 numbers, found a list of 18"),
        (changed(score=SCORE[:17]), r"data\[1\].skeleton\[0\].score must be a list of 18 numbers, found a list of 17"),
        (changed(pose=[*POSE[:35], "0.5"]), r"data\[1\].skeleton\[0\].pose\[35\] must be a number, found '0.5'"),
        (changed(pose=[*POSE[:35], 312.0]), r"data\[1\].skeleton\[0\].pose\[35\] is 312.0, expected a part of the image's"),
        (changed(pose=[*POSE[:35], float("nan")]), r"data\[1\].skeleton\[0\].pose\[35\] is nan"),
        (changed(pose=[*POSE[:35], 10**400]), r"data\[1\].skeleton\[0\].pose\[35\] is 1000"),
        (changed(score=[*SCORE[:17], float("inf")]), r"data\[1\].skeleton\[0\].score\[17\] is inf, expected a confidence"),
        (changed(score=[*SCORE[:17], -0.1]), r"data\[1\].skeleton\[0\].score\[17\] is -0.1"),
        ("[" * 100_000, "nested too deeply"),
        (json.dumps(GOOD).encode("utf-16"), "not UTF-8"),
        (json.dumps(GOOD)[:-1] + ', "data": []}', "the field 'data' stands twice"),
    ],
)
def test_errors_say_what_was_found_and_where(content, words):
    with pytest.raises(DataError, match=words) as problem:
        one(content)
    assert "'abc.json'" in str(problem.value) and len(str(problem.value)) < 400


def test_nobody():
    nobody = Dropped("abc", "no body in any frame")
    unseen = {"pose": [0] * 36, "score": [0] * 18}
    for frames in ([], [{"frame_index": 0, "skeleton": []}], [{"frame_index": 3, "skeleton": [unseen, unseen, unseen]}]):
        assert one(GOOD | {"data": frames}) == nobody
    assert one({"data": [], "label": "", "label_index": -1}) == Dropped("abc", "without a label")


def test_a_file_of_more_parts_than_memory_should_bear(monkeypatch):
    monkeypatch.setattr(json_text, "VALUES", 100)
    with pytest.raises(DataError, match="100 values"):
        one(GOOD)


TEXT = json.dumps(GOOD).encode()
SOURCE = Source("Kinetics-skeleton", OPENPOSE18, NAMES, 30.0, "", "", [], kinetics.partial(kinetics._recording, NAMES, 1.0))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([POSE, SCORE, GOOD["data"]]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["pose", "score", "skeleton", "frame_index"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(st.integers(0, len(TEXT) - 1))
def test_no_cut_passes_for_a_whole_file(place):
    with pytest.raises(DataError):
        one(TEXT[:place])


@given(st.dictionaries(st.sampled_from([*GOOD, *GOOD["data"][0], "pose", "score"]), VALUES))
def test_other_values_give_one_clear_error_or_a_clip(values):
    content = json.loads(TEXT)
    for key, value in values.items():
        place = content["data"][2] if key in GOOD["data"][0] else content["data"][3]["skeleton"][0] if key in ("pose", "score") else content
        if key != "data":
            place[key] = value
    content["data"] = values.get("data", content["data"])
    for found in checked(SOURCE, item(content), strict=False):
        assert isinstance(found, Dropped) or found.joints.shape[2:] == (18, 3)


@given(st.binary(max_size=200), st.integers(0, len(TEXT)))
def test_other_bytes_give_one_clear_error_or_a_clip(extra, place):
    for found in checked(SOURCE, item(TEXT[:place] + extra + TEXT[place + len(extra) :]), strict=False):
        assert isinstance(found, Dropped) or np.isfinite(found.joints).all()
