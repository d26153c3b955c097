"""PYSKL pickles, written by hand and read by Python's own pickle, against the reader."""

from __future__ import annotations

import pickle
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from writers import pyskl as writer
from writers import pyskl_2d as writer_2d

from skelmm_core import clips, protocols, skeletons
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.recordings import Dropped, Recording
from skelmm_core.sources import crosclr, generic_npz, ntu, pyskl, utd_mhad
from skelmm_core.sources.ntu_names import NAMES
from skelmm_core.sources.parts import RULES, ntu_numbers


@pytest.fixture
def changed(tmp_path: Path):
    """A function that writes one of the writers' files, changed by a function of its table, and gives its path."""

    def write(change: Callable[[dict], object], module=writer, clips: int = 12, protocol: int = 4) -> Path:
        path = module.write(tmp_path, clips=clips)
        table = pickle.loads(path.read_bytes())
        change(table)
        path.write_bytes(pickle.dumps(table, protocol))
        return path

    return write


def unpacked(path: Path) -> dict:
    return pickle.loads(path.read_bytes())


def only(path: Path, number: int = 0, **options) -> Recording | Dropped:
    source = pyskl.read(path, **options)
    return source.read(source.items[number])


# -- what is read


@pytest.mark.parametrize("protocol", range(6))
def test_every_clip_is_what_python_reads(changed, protocol):
    path = changed(lambda table: None, clips=36, protocol=protocol)
    source, expected = pyskl.read(path), unpacked(path)["annotations"]
    assert len(source.items) == len(expected) == 36 and source.skeleton == skeletons.NTU25 and source.class_names == NAMES[:60]
    for found, wanted in zip(source.recordings, expected, strict=True):
        np.testing.assert_array_equal(found.joints, wanted["keypoint"].astype(np.float32))
        assert found.joints.dtype == np.float32 and (found.name, found.label) == (wanted["frame_dir"], wanted["label"])
        numbers = f"S{found.setup:03}C{found.view:03}P{found.subject:03}R{found.repetition:03}A{found.label + 1:03}"
        assert numbers == found.name and not found.changes


def test_lists_of_ntu_names_become_the_protocol_that_they_follow(tmp_path):
    path = writer.write(tmp_path, clips=36)
    lists = unpacked(path)["split"]
    for split, protocol in (("", "cross-subject"), ("xsub", "cross-subject"), ("xview", "cross-view")):
        source = pyskl.read(path, split=split)
        assert source.protocol == protocol
        clips.write(tmp_path / "found.clips", source, progress=False)
        found = clips.open_clips(tmp_path / "found.clips")
        train = {found.names[i] for i in protocols.split(found).train}
        assert train == set(lists[f"{split or 'xsub'}_train"])


def test_ntu_rules_are_those_of_the_protocols():
    columns = {field: np.arange(1, 121) for field in ("subject", "view", "setup")}

    class AnyClips:
        path, names = "any", [""] * 120

        def __len__(self):
            return 120

        def columns(self):
            return columns

    assert set(RULES) < set(protocols.NAMED)
    for rule, trains in RULES.items():
        mask = protocols._mask(protocols.NAMED[rule], rule, AnyClips())
        assert mask.tolist() == [trains({field: i for field in columns}) for i in range(1, 121)]
    assert ntu_numbers("S001C002P003R004A005") == {"setup": 1, "view": 2, "subject": 3, "repetition": 4, "action": 5}


def test_two_dimensions_become_image_heights_around_the_middle(tmp_path):
    path = writer_2d.write(tmp_path, clips=12)
    source, expected = pyskl.read(path), unpacked(path)["annotations"]
    assert source.skeleton == skeletons.get("coco17") and source.class_names == ("class 0", "class 1", "class 2")
    for found, wanted in zip(source.recordings, expected, strict=True):
        height, width = wanted["img_shape"]
        for m, t, v in np.ndindex(found.joints.shape[:3]):
            x, y = map(float, wanted["keypoint"][m, t, v])
            score = float(wanted["keypoint_score"][m, t, v])
            place = ((x - width / 2) / height, (height / 2 - y) / height, score) if score > 0 else (0, 0, 0)
            assert found.joints[m, t, v] == pytest.approx(place, abs=1e-6)
        body = found.joints[0, 10]
        assert body[:, 2].all() and body[0, 1] > body[5, 1] > body[11, 1] > body[15, 1], "head above shoulders above hips above feet"


def test_other_lists_are_kept_as_setup(tmp_path):
    path = writer_2d.write(tmp_path, clips=18)
    source = pyskl.read(path, split="1")
    lists = unpacked(path)["split"]
    assert source.protocol == pyskl.read(path).protocol == "setup == 1"
    assert {r.name for r in source.recordings if r.setup == 1} == set(lists["train1"])
    assert {r.name for r in source.recordings if r.setup == 2} == set(lists["test1"])
    clips.write(tmp_path / "found.clips", source, progress=False)
    found = protocols.split(clips.open_clips(tmp_path / "found.clips"))
    assert len(found.train) == len(lists["train1"]) and len(found.test) == len(lists["test1"])


def test_three_lists_keep_validation_apart(changed):
    def three(table):
        first, second = table["split"]["train1"], table["split"]["test1"]
        table["split"] = {"train": first, "test": second[:3], "val": second[3:]}

    source = pyskl.read(changed(three, writer_2d))
    assert source.protocol == "setup == 1 / setup == 2" and {r.setup for r in source.recordings} == {1, 2, 3}


def test_a_split_has_to_be_chosen_where_there_are_several(changed):
    def two(table):
        table["split"] |= {"train2": table["split"]["test1"], "test2": table["split"]["train1"]}

    path = changed(two, writer_2d)
    with pytest.raises(SettingsError, match="2 splits, 1, 2"):
        pyskl.read(path)
    first, second = (pyskl.read(path, split=n) for n in "12")
    assert [r.setup for r in first.recordings] == [3 - r.setup for r in second.recordings]
    assert first.fingerprint != second.fingerprint
    with pytest.raises(SettingsError, match="no split '3'"):
        pyskl.read(path, split="3")


def test_without_lists_nothing_is_lost_and_nothing_invented(changed):
    assert pyskl.read(changed(lambda table: table.pop("split"), writer_2d)).protocol == ""
    source = pyskl.read(changed(lambda table: table.pop("split")))
    assert source.protocol == "cross-subject" and len(list(source.recordings)) == 12
    with pytest.raises(SettingsError, match="has none"):
        pyskl.read(changed(lambda table: table.pop("split")), split="xsub")


def test_a_clip_in_no_list_is_left_out_and_in_two_is_an_error(changed):
    path = changed(lambda table: table["split"]["train1"].pop(0), writer_2d)
    assert only(path) == Dropped("v_walk_g0000", "in neither part of split '1'")
    path = changed(lambda table: table["split"]["test1"].append(table["split"]["train1"][0]), writer_2d)
    with pytest.raises(DataError, match="'v_walk_g0000' is in two parts of split '1'"):
        pyskl.read(path)


def test_lists_that_break_the_rule_are_noticed(changed):
    def swap(table):
        lists = table["split"]
        lists["xsub_train"], lists["xsub_val"] = lists["xsub_val"], lists["xsub_train"]

    with pytest.raises(DataError, match="split 'xsub': .* is on the wrong side for cross-subject"):
        pyskl.read(changed(swap))


def test_class_names_come_from_a_file(tmp_path):
    path, file = writer_2d.write(tmp_path), tmp_path / "names.txt"
    file.write_text("walking\nwaving\nhugging\nsinging\n", encoding="utf-8")
    assert pyskl.read(path, class_names=file).class_names == ("walking", "waving", "hugging", "singing")
    for text, match in ((b"walking\nwaving\n", "labels up to 2"), (b"a\n\nb\nc\n", "line 2"), (b"\xff\xfe\xff", "UTF-8")):
        file.write_bytes(text)
        with pytest.raises(DataError, match=match):
            pyskl.read(path, class_names=file)
    with pytest.raises(DataError, match="can't read the class names"):
        pyskl.read(path, class_names=tmp_path / "absent.txt")


def test_own_numbering_of_ntu_actions_keeps_their_names(changed):
    def renumber(table):
        for annotation in table["annotations"]:
            annotation["label"] = writer.ACTIONS.index(annotation["label"] + 1)

    source = pyskl.read(changed(renumber))
    assert source.class_names == tuple(NAMES[a - 1] for a in writer.ACTIONS) and source.protocol == "cross-subject"

    def mix(table):
        renumber(table)
        table["annotations"][0]["label"] = 2

    with pytest.raises(DataError, match="label 2 is given to clips of the actions 6 and 51"):
        pyskl.read(changed(mix))


# -- bodies


def with_bodies(table: dict, joints: np.ndarray, **fields) -> None:
    table["annotations"][0] |= {"keypoint": joints.astype("f2"), "total_frames": joints.shape[1], **fields}


def test_of_many_bodies_the_two_that_move_most_are_kept_in_order(changed):
    rng = np.random.default_rng(0)
    joints = rng.normal(size=(4, 10, 25, 3)) * np.array([0.1, 1, 0.2, 0.5])[:, None, None, None]
    found = only(changed(lambda table: with_bodies(table, joints)))
    np.testing.assert_array_equal(found.joints, joints[[1, 3]].astype("f2").astype("f4"))
    assert found.changes == {"bodies beyond the second": 2}


def test_of_many_people_in_an_image_the_two_best_seen_are_kept(changed):
    rng = np.random.default_rng(0)
    score = rng.uniform(0.5, 1, (3, 10, 17)) * np.array([1, 0.3, 0.9])[:, None, None]
    path = changed(lambda table: with_bodies(table, rng.uniform(0, 200, (3, 10, 17, 2)), keypoint_score=score), writer_2d)
    found = only(path)
    np.testing.assert_allclose(found.joints[..., 2], score[[0, 2]], atol=1e-6)
    assert found.changes == {"bodies beyond the second": 1}


def test_absent_bodies_take_no_room(changed):
    joints = writer.people(2, 10, 6, np.random.default_rng(0))
    joints[0] = 0
    found = only(changed(lambda table: with_bodies(table, joints)))
    np.testing.assert_array_equal(found.joints[0], joints[1].astype("f2").astype("f4"))
    assert len(found.joints) == 1 and not found.changes
    for nobody in (np.zeros((1, 10, 25, 3)), np.zeros((0, 10, 25, 3)), np.zeros((1, 0, 25, 3))):
        path = changed(lambda table, nobody=nobody: with_bodies(table, nobody))
        assert only(path) == Dropped(only(path).name, "no body in any frame")


def test_an_annotation_without_content_is_left_out(changed):
    path = changed(lambda table: table["annotations"].__setitem__(3, None))
    assert only(path, 3) == Dropped("annotation 3", "an annotation without content (None)")


# -- what is damaged


@pytest.mark.parametrize(
    "fields, match",
    [
        ({"label": "walk"}, "'label' is 'walk'"),
        ({"label": True}, "'label' is True"),
        ({"label": 7}, "label 7, expected its action - 1"),
        ({"label": 10**9}, "label 1000000000, expected its action"),
        ({"frame_dir": None}, "without a name"),
        ({"total_frames": 3}, "'total_frames' is 3"),
        ({"total_frames": [1]}, "'total_frames' is a list of 1"),
        ({"keypoint": None}, "'keypoint' is None"),
        ({"keypoint": [[1, 2]]}, "'keypoint' is a list of 1"),
        ({"keypoint": np.zeros((10, 25, 3), "f2")}, r"array of float16 \(10, 25, 3\), expected"),
        ({"keypoint": np.zeros((1, 10, 3, 25), "f2")}, r"\(1, 10, 3, 25\)"),
        ({"keypoint": np.full((1, 10, 25, 3), "a")}, "array of <U1"),
        ({"keypoint": np.full((1, 10, 25, 3), np.nan, "f2"), "total_frames": 10}, "expected a finite number"),
        ({"keypoint": np.full((3, 10, 25, 3), np.inf), "total_frames": 10}, "expected a finite number"),
        ({"keypoint": np.full((1, 10, 25, 3), 1e300), "total_frames": 10}, "expected a finite number"),
    ],
)
def test_a_damaged_clip_is_left_out_and_named(changed, tmp_path, fields, match):
    path = changed(lambda table: table["annotations"][4].update(fields), clips=24)
    source = pyskl.read(path)
    report = clips.write(tmp_path / "found.clips", source, progress=False)
    assert report.clips == 23 and len(report.damaged) == 1
    assert report.damaged[0].name == source.items[4].stem and re.search(match, report.damaged[0].reason)
    with pytest.raises(DataError, match=match):
        clips.write(tmp_path / "strict.clips", source, progress=False, strict=True)


def test_an_odd_name_among_ntu_names_is_damage(changed):
    def rename(table):
        table["annotations"][0]["frame_dir"] = table["split"]["xsub_train"][0] = "somebody"

    with pytest.raises(DataError, match="clip 'somebody' is not named like"):
        only(changed(rename))


@pytest.mark.parametrize(
    "fields, match",
    [
        ({"keypoint_score": None}, "'keypoint_score' is None"),
        ({"keypoint_score": np.ones((1, 3, 17))}, "'keypoint_score' is an array"),
        ({"img_shape": None}, "'img_shape' is None"),
        ({"img_shape": (0, 10)}, r"'img_shape' is \(0, 10\)"),
        ({"img_shape": (240.5, 10)}, "'img_shape'"),
        ({"img_shape": (10**30, 1)}, "'img_shape'"),
        ({"img_shape": (240, 320, 3)}, "'img_shape'"),
    ],
)
def test_a_damaged_clip_in_an_image_is_named(changed, fields, match):
    path = changed(lambda table: table["annotations"][0].update(fields), writer_2d)
    with pytest.raises(DataError, match=f"clip 'v_walk_g0000': .*{match}"):
        only(path)


def test_scores_that_are_no_numbers_are_refused(changed):
    path = changed(lambda table: table["annotations"][0]["keypoint_score"].__setitem__((0, 0, 0), np.nan), writer_2d)
    with pytest.raises(DataError, match="not finite"):
        only(path)


@pytest.mark.parametrize(
    "table, match",
    [
        ([], "found a list of 0"),
        ({}, "annotations = None"),
        ({"annotations": []}, "annotations = a list of 0"),
        ({"annotations": {"a": 1}}, "annotations = a dict of 1"),
        ({"annotations": [None]}, "no array of four axes"),
        ({"annotations": [{"frame_dir": "a", "label": 0, "keypoint": np.zeros((1, 2, 18, 3))}]}, "18 joints with 3 numbers"),
        ({"annotations": [{"frame_dir": "a", "label": 0, "keypoint": np.zeros((1, 2, 25, 3))}], "split": [1]}, "'split' is a list"),
        ({"annotations": [{"frame_dir": "a", "label": 0, "keypoint": np.zeros((1, 2, 25, 3))}], "split": {"a": 1}}, "holds 'a'; expected"),
        (
            {"annotations": [{"frame_dir": "a", "label": 0, "keypoint": np.zeros((1, 2, 25, 3))}], "split": {"train": 1, "val": []}},
            "split 'train' is 1",
        ),
    ],
)
def test_other_pickles_are_refused(tmp_path, table, match):
    path = tmp_path / "other.pkl"
    path.write_bytes(pickle.dumps(table))
    with pytest.raises(DataError, match=match):
        pyskl.read(path)


@given(cut=st.floats(0, 1), changes=st.lists(st.tuples(st.integers(0, 20_000), st.binary(min_size=1, max_size=9)), max_size=3))
@settings(max_examples=120)
def test_a_damaged_file_gives_clips_or_errors(tmp_path_factory, cut, changes):
    folder = tmp_path_factory.getbasetemp() / "damaged"
    path = writer.write(folder, clips=2)
    content = bytearray(path.read_bytes())
    for place, new in changes:
        place %= len(content)
        content[place : place + len(new)] = new
    path.write_bytes(content[: max(1, int(cut * len(content)))] if not changes else content)
    pyskl.recognise(path)
    try:
        source = pyskl.read(path)
        (folder / "found.clips").unlink(missing_ok=True)
        clips.write(folder / "found.clips", source, progress=False)
    except (DataError, SettingsError):
        pass


# -- recognition and size


def test_recognised_by_content_alone(tmp_path):
    for module in (writer, writer_2d):
        path = module.write(tmp_path)
        content = unpacked(path)
        for protocol in range(6):
            for table in (content, dict(reversed(content.items()))):
                path.write_bytes(pickle.dumps(table, protocol))
                renamed = path.rename(tmp_path / "any.name")
                assert pyskl.recognise(renamed) and not any(m.recognise(renamed) for m in (crosclr, generic_npz, ntu, utd_mhad))
    for content in (
        b"",
        b"\x80\x04",
        pickle.dumps(["split", "annotations"]),
        pickle.dumps({"a": 1}),
        b"{'split': 1}",
        b"split annotations",
    ):
        (tmp_path / "other").write_bytes(content)
        assert not pyskl.recognise(tmp_path / "other")
    assert not pyskl.recognise(tmp_path) and not pyskl.recognise(tmp_path / "absent")


def test_memory_does_not_grow_with_the_joints(tmp_path):
    joints = np.ones((2, 300, 25, 3), "f2")
    annotations = [{"frame_dir": f"clip {i}", "label": i % 2, "total_frames": 300, "keypoint": joints + np.float16(i)} for i in range(150)]
    names = [a["frame_dir"] for a in annotations]
    path = tmp_path / "large.pkl"
    path.write_bytes(pickle.dumps({"split": {"train": names[:75], "test": names[75:]}, "annotations": annotations}, 4))
    del annotations
    assert path.stat().st_size > 12 << 20
    tracemalloc.start()
    source = pyskl.read(path)
    opened = tracemalloc.get_traced_memory()[1]
    clips.write(tmp_path / "found.clips", source, progress=False, jobs=1)
    written = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert opened < 2 << 20 and written < 4 << 20
