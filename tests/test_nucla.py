"""Northwestern-UCLA's JSON: what a writer of the tests wrote comes back; damaged and hostile files give one clear error."""

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
from writers.nucla import LABELS, write

from skelmm_core import clips, protocols, sources
from skelmm_core.clips import Dropped, Recording
from skelmm_core.errors import DataError
from skelmm_core.sources import json_text, members, nucla

BODY = np.random.default_rng(0).normal(0, 0.5, (4, 20, 3)).round(6).tolist()
GOOD = {"file_name": "a08_s03_e02_v03", "skeletons": BODY, "label": 7}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("nucla") / "data", clips=30)


def one(content: bytes | str | dict, name: str = "a08_s03_e02_v03") -> Recording | Dropped:
    """What the reader makes of one file's content."""
    content = json.dumps(content) if isinstance(content, dict) else content
    content = content if isinstance(content, bytes) else content.encode()
    return nucla._recording(members.Member(f"{name}.json", len(content), "", content))


def test_what_was_written_comes_back(data, tmp_path):
    found = nucla.read(data)
    assert found.skeleton.name == "kinect20" and len(found.class_names) == 10 and found.frame_rate == 30
    read = {r.name: r for r in found.recordings}
    files = sorted(data.glob("*.json"))
    assert list(read) == [f.stem for f in files] and len(read) == 30
    for file in files:
        content, clip = json.loads(file.read_text()), read[file.stem]
        assert np.array_equal(clip.joints, np.asarray(content["skeletons"], np.float32)[None])
        assert clip.joints.dtype == np.float32 and clip.label == content["label"] - 1 == LABELS[int(file.stem[1:3])] - 1
        assert (clip.subject, clip.repetition, clip.view, clip.setup) == (*(int(file.stem[i : i + 2]) for i in (5, 9, 13)), -1)
    report = clips.write(tmp_path / "x.clips", pickle.loads(pickle.dumps(found)), progress=False)
    assert report.clips == 30 and not report.warnings
    split = protocols.split(clips.open_clips(tmp_path / "x.clips"))
    assert len(split.train) == 20 and len(split.test) == 10


def test_class_names_stand_where_the_actions_are():
    names = {action: nucla.CLASS_NAMES[label - 1] for action, label in LABELS.items()}
    assert names == {
        1: "pick up with one hand", 2: "pick up with two hands", 3: "drop trash", 4: "walk around", 5: "sit down", 6: "stand up",
        8: "donning", 9: "doffing", 11: "throw", 12: "carry",
    }  # fmt: skip


def test_folder_zip_and_tar_are_the_same(data, tmp_path):
    whole = [(r.name, r.joints.tobytes()) for r in nucla.read(data).recordings]
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in data.iterdir():
            archive.write(file, f"all_sqe/{file.name}")
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        archive.add(data, "all_sqe")
    for packed in (tmp_path / "x.zip", tmp_path / "x.tar.gz"):
        assert nucla.recognise(packed)
        assert [(r.name, r.joints.tobytes()) for r in nucla.read(packed).recordings] == whole
    alone = shutil.copy(sorted(data.iterdir())[3], tmp_path)
    assert [r.name for r in nucla.read(tmp_path / alone).recordings] == [whole[3][0]]


def test_only_this_format_knows_the_files(data, tmp_path):
    assert nucla.recognise(data)
    for name, module in sources.FORMATS.items():
        assert module.endswith(".nucla") or not sources.module(name).recognise(data), name
    (tmp_path / "notes.json").write_text("{}")
    (tmp_path / "a01_s01_e01.json").write_text("{}")
    for path in (tmp_path, tmp_path / "notes.json", tmp_path / "missing"):
        assert not nucla.recognise(path)
    with pytest.raises(DataError, match="no file named like 'a01_s01_e00_v01.json'"):
        nucla.read(tmp_path)


def test_a_good_file():
    clip = one(GOOD)
    assert clip.label == 6 and (clip.subject, clip.repetition, clip.view) == (3, 2, 3)
    assert one(GOOD | {"file_name": "a08_s03_e02_v03.json"}).label == 6
    assert np.array_equal(one(b"\xef\xbb\xbf" + json.dumps(GOOD).encode()).joints, clip.joints)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "lacks the field 'file_name'"),
        ({k: v for k, v in GOOD.items() if k != "skeletons"}, "lacks the field 'skeletons'"),
        ({"file_name": GOOD["file_name"], "skeleton": BODY, "label": 7}, "'skeletons'; did you mean 'skeleton'"),
        (GOOD | {"file_name": "a08_s03_e02_v01"}, "calls itself 'a08_s03_e02_v01'"),
        (GOOD | {"file_name": 8}, "file_name must be a text"),
        (GOOD | {"label": 8}, r"label is 8 \('doffing'\), but action 8 in the name has the label 7 \('donning'\)"),
        (GOOD | {"label": True}, "label must be a whole number in 1..10, found true"),
        (GOOD | {"label": 7.0}, "label must be a whole number in 1..10, found 7.0"),
        (GOOD | {"label": 11}, "label must be a whole number in 1..10, found 11"),
        (GOOD | {"skeletons": None}, "skeletons must be a list, found null"),
        (GOOD | {"skeletons": BODY[0]}, r"skeletons\[0\] must be a list of 20, found a list of 3"),
        (GOOD | {"skeletons": [BODY[0], BODY[1][:19]]}, r"skeletons\[1\] must be a list of 20, found a list of 19"),
        (GOOD | {"skeletons": [BODY[0], [*BODY[1][:19], [0, 1]]]}, r"skeletons\[1\]\[19\] must be a list of 3 numbers, found a list of 2"),
        (GOOD | {"skeletons": [[*BODY[0][:19], [0, 1, "2"]]]}, r"skeletons\[0\]\[19\]\[2\] must be a number, found '2'"),
        (GOOD | {"skeletons": [[*BODY[0][:19], [0, False, 2]]]}, r"skeletons\[0\]\[19\]\[1\] must be a number, found false"),
        (GOOD | {"skeletons": [[*BODY[0][:19], [0, 1, float("nan")]]]}, r"skeletons\[0\]\[19\]\[2\] is nan; expected a finite"),
        (GOOD | {"skeletons": [[*BODY[0][:19], [float("-inf"), 1, 0]]]}, r"skeletons\[0\]\[19\]\[0\] is -inf"),
        (GOOD | {"skeletons": [[*BODY[0][:19], [10**400, 1, 0]]]}, "skeletons holds a whole number that is too large"),
        (json.dumps(GOOD).replace(str(BODY[0][0][0]), "1e999"), r"skeletons\[0\]\[0\]\[0\] is inf"),
        (json.dumps(GOOD).replace(str(BODY[0][0][0]), "1" * 5000), "not JSON that can be read"),
        (json.dumps(GOOD)[:-1] + ', "label": 7}', "the field 'label' stands twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("[1, 2]", "must be a JSON table, found a list of 2"),
        ("", "not JSON that can be read"),
        ("\x00" * 100, "not JSON that can be read"),
        (json.dumps(GOOD).encode("utf-16"), "is not UTF-8 text"),
        (b'{"file_name": "\xff"}', "is not UTF-8 text .byte 15"),
    ],
)  # fmt: skip
def test_errors_say_what_was_found_and_where(content, words):
    with pytest.raises(DataError, match=words) as problem:
        one(content)
    assert "'a08_s03_e02_v03.json'" in str(problem.value) and len(str(problem.value)) < 400


def test_text_of_more_parts_than_memory_should_bear(monkeypatch):
    monkeypatch.setattr(json_text, "CONTAINERS", 50)
    with pytest.raises(DataError, match="more than 50 lists and tables"):
        one(GOOD)


@pytest.mark.parametrize("name", ["a07_s01_e00_v01", "a13_s01_e00_v01", "a00_s01_e00_v01", "list"])
def test_names_that_are_none(name):
    with pytest.raises(DataError, match="is not named like"):
        one(GOOD, name)


def test_nobody_and_nothing():
    assert one(GOOD | {"skeletons": np.zeros((3, 20, 3)).tolist()}) == Dropped("a08_s03_e02_v03", "no body in any frame")
    assert one(GOOD | {"skeletons": []}) == Dropped("a08_s03_e02_v03", "no frame")


TEXT = json.dumps(GOOD).encode()


@given(st.integers(0, len(TEXT) - 1))
def test_no_cut_passes_for_a_whole_file(place):
    with pytest.raises(DataError):
        one(TEXT[:place])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(BODY),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(list(GOOD)), VALUES))
def test_other_values_give_one_clear_error_or_a_clip(values):
    try:
        found = one(GOOD | values)
    except DataError:
        return
    assert isinstance(found, Dropped) or (found.joints.shape[2:] == (20, 3) and np.isfinite(found.joints).all())


@given(st.binary(max_size=200), st.integers(0, len(TEXT)))
def test_bytes_in_between_give_one_clear_error_or_a_clip(extra, place):
    try:
        one(TEXT[:place] + extra + TEXT[place + len(extra) :])
    except DataError:
        pass


def test_a_damaged_file_is_left_out_and_named(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "data")
    file = sorted(folder.iterdir())[0]
    file.write_bytes(file.read_bytes()[:500])
    report = clips.write(tmp_path / "x.clips", nucla.read(folder), progress=False)
    assert report.clips == 29 and [d.name for d in report.damaged] == [file.stem]
    with pytest.raises(DataError, match=file.name):
        clips.write(tmp_path / "x.clips", nucla.read(folder), progress=False, strict=True)
