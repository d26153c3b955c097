"""Skeletons: the built-in tables, own ones from TOML and every way to get one wrong, maps, the command and its figure."""

from __future__ import annotations

import copy
import json
import pickle
import random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import same_color

from skelmm_core import batches, cli, clips, drawing, settings, skeleton_command, skeletons
from skelmm_core.drawing import palette, rest
from skelmm_core.drawing.skeleton import skeleton_figure
from skelmm_core.errors import DataError, SettingsError, SkelmmError
from skelmm_core.experiment import Experiment
from skelmm_core.recordings import Recording, Source, as_given
from skelmm_core.skeletons import COCO17, HDM05, KINECT20, NTU25, OPENPOSE18, SKELETONS, Skeleton, derived, mapping, own

BUILT_IN = pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda s: s.name)
NUMBER = {s.name: {joint: v for v, joint in enumerate(s.joints)} for s in SKELETONS.values()}

MINE = """
name = "mine"  # 17 joints as a motion-capture suit gives them
joints = ["hips", "spine", "chest", "neck", "head", "l_shoulder", "l_elbow", "l_wrist", "r_shoulder", "r_elbow", "r_wrist",
          "l_hip", "l_knee", "l_ankle", "r_hip", "r_knee", "r_ankle"]
parents = ["hips", "hips", "spine", "chest", "neck", "chest", "l_shoulder", "l_elbow", "chest", "r_shoulder", "r_elbow",
           "hips", "l_hip", "l_knee", "hips", "r_hip", "r_knee"]

[map.kinect20]
"hip centre" = "hips"
spine = { hips = 0.25, spine = 0.75 }
"shoulder centre" = ["chest", "neck"]
head = 4
"left shoulder" = "l_shoulder"
"left elbow" = "l_elbow"
"left wrist" = "l_wrist"
"left hand" = { l_wrist = 1.5, l_elbow = -0.5 }
"right shoulder" = "r_shoulder"
"right elbow" = "r_elbow"
"right wrist" = "r_wrist"
"right hand" = { r_wrist = 1.5, r_elbow = -0.5 }
"left hip" = "l_hip"
"left knee" = "l_knee"
"left ankle" = "l_ankle"
"left foot" = "l_ankle"
"right hip" = "r_hip"
"right knee" = "r_knee"
"right ankle" = "r_ankle"
19 = "r_ankle"
"""


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    return path


def write_clips(path, skeleton: Skeleton, count: int = 8):
    """People who stand as `rest.standing` has them, left at smaller x, and move a little."""
    rng, items = np.random.default_rng(0), []
    for i in range(count):
        sway = 0.05 * np.sin(np.arange(12) / 3 + i)[:, None, None] * (1, 0, 1)
        joints = rest.standing(skeleton) + (0, -1, 3) + sway + 0.005 * rng.normal(size=(12, len(skeleton), 3))
        items.append(Recording(joints[None].astype(np.float32), i % 2, f"clip{i}", subject=1 + i // 2))
    clips.write(path, Source("test", skeleton, ("a", "b"), 30.0, "odd-even-subjects", "0", items, as_given), progress=False)
    return clips.open_clips(path)


# --- built-in tables ---


@BUILT_IN
def test_tables_fit_together(skeleton):
    assert skeleton.shoulders in skeleton.pairs or skeleton.shoulders[::-1] in skeleton.pairs
    mirror = list(range(len(skeleton)))
    for left, right in skeleton.pairs:
        mirror[left], mirror[right] = right, left
    assert all(skeleton.bone[mirror[v]] == mirror[p] for v, p in enumerate(skeleton.bone)), "a mirror image has the same bones"
    assert {(mirror[v], mirror[p]) for v, p in skeleton.edges} == set(skeleton.edges), "and the same graph"
    assert len(skeleton.edges) == len(skeleton) - 1, "a tree"
    assert set(derived.pairs(skeleton.joints)) == set(skeleton.pairs), "names and pairs say the same of left and right"
    assert derived.centre(skeleton.shoulders, skeleton.bone) == skeleton.centre
    assert Skeleton.from_dict(json.loads(json.dumps(skeleton.to_dict()))) == skeleton
    assert pickle.loads(pickle.dumps(skeleton)) == skeleton and hash(copy.deepcopy(skeleton)) == hash(skeleton)


@pytest.mark.parametrize(
    ("skeleton", "count", "dimensions", "some"),
    [
        (COCO17, 17, 2, {0: "nose", 1: "left eye", 2: "right eye", 5: "left shoulder", 10: "right wrist", 15: "left ankle"}),
        (OPENPOSE18, 18, 2, {1: "neck", 2: "right shoulder", 7: "left wrist", 10: "right ankle", 14: "right eye", 17: "left ear"}),
        (HDM05, 31, 3, {0: "root", 2: "lfemur", 10: "rtoes", 11: "lowerback", 16: "head", 17: "lclavicle", 23: "lthumb", 30: "rthumb"}),
    ],
)
def test_joints_stand_in_the_order_of_their_formats(skeleton, count, dimensions, some):
    assert len(skeleton) == count and skeleton.dimensions == dimensions
    assert {number: skeleton.joints[number] for number in some} == some


def test_trees_of_the_field():
    """PYSKL's COCO tree and ST-GCN's OpenPose tree as published, (joint, towards the centre)."""
    pyskl = "15-13 13-11 16-14 14-12 11-5 12-6 9-7 7-5 10-8 8-6 5-0 6-0 1-0 3-1 2-0 4-2"
    st_gcn = "4-3 3-2 7-6 6-5 13-12 12-11 10-9 9-8 11-5 8-2 5-1 2-1 0-1 15-0 14-0 17-15 16-14"
    for skeleton, links, centre in ((COCO17, pyskl, 0), (OPENPOSE18, st_gcn, 1)):
        published = {tuple(map(int, link.split("-"))) for link in links.split()}
        assert set(skeleton.edges) == published == {(v, p) for v, p in enumerate(skeleton.bone) if v != p}
        assert skeleton.centre == centre
    assert HDM05.bone[NUMBER["hdm05"]["root"]] == NUMBER["hdm05"]["lowerback"], "below the thorax bones lead upwards"


def test_hops_are_those_of_a_search():
    for skeleton in SKELETONS.values():
        near = {v: set() for v in range(len(skeleton))}
        for a, b in skeleton.edges:
            near[a].add(b)
            near[b].add(a)
        for start in near:
            found, layer, hop = {}, {start}, 0
            while layer:
                found |= dict.fromkeys(layer, hop)
                layer, hop = {b for a in layer for b in near[a]} - found.keys(), hop + 1
            assert skeleton.hops()[start].tolist() == [found[v] for v in near]


# --- maps ---


def test_maps_put_joints_where_they_belong():
    """A standing figure by joint names lands, mapped, where the target's own standing figure is."""
    for source, target in [
        (KINECT20, NTU25),
        (NTU25, KINECT20),
        (HDM05, NTU25),
        (HDM05, KINECT20),
        (OPENPOSE18, COCO17),
        (COCO17, OPENPOSE18),
    ]:
        weights = mapping(source, target)
        assert weights.shape == (len(target), len(source)) and weights.dtype == np.float32
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
        off = np.linalg.norm(weights @ rest.standing(source) - rest.standing(target), axis=1)
        assert off.max() < 0.16, f"{source.name} -> {target.name}: {target.joints[off.argmax()]} is {off.max():.2f} m off"
        sides, signs = np.array(target.sides()), np.sign(np.round((weights @ rest.standing(source))[:, 0], 6))
        assert (signs[sides == "left"] < 0).all() and (signs[sides == "right"] > 0).all() and not signs[sides == "middle"].any()


def test_there_and_back_is_the_same():
    assert np.array_equal(mapping(NTU25, KINECT20) @ mapping(KINECT20, NTU25), np.eye(20, dtype=np.float32))
    assert np.array_equal(mapping(OPENPOSE18, COCO17) @ mapping(COCO17, OPENPOSE18), np.eye(17, dtype=np.float32))
    assert np.array_equal(mapping(HDM05, HDM05), np.eye(31, dtype=np.float32))


def test_where_no_map_leads():
    with pytest.raises(SettingsError, match="'coco17' has places in an image, 'ntu25' coordinates in space"):
        mapping(COCO17, NTU25)
    with pytest.raises(SettingsError, match="no joint map from skeleton 'ntu25' to 'hdm05'; known: ntu25 -> kinect20"):
        mapping(NTU25, HDM05)
    with pytest.raises(SettingsError, match="two different skeletons have the name 'a'"):
        mapping(*(Skeleton.from_dict(s.to_dict() | {"name": "a"}) for s in (NTU25, KINECT20)))


# --- own skeletons ---


def test_own_skeleton_is_completed_from_names_and_tree(mine):
    skeleton = skeletons.get(mine)
    assert skeleton == skeletons.get(str(mine)) and skeleton.name == "mine" and len(skeleton) == 17
    number = {joint: v for v, joint in enumerate(skeleton.joints)}
    assert skeleton.joints[skeleton.centre] == "chest" and skeleton.joints[skeleton.spine] == "spine"
    assert [skeleton.joints[v] for v in skeleton.shoulders] == ["l_shoulder", "r_shoulder"]
    assert {(skeleton.joints[a][2:], skeleton.joints[b][2:]) for a, b in skeleton.pairs} == {
        (part, part) for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    }
    bones = {joint: skeleton.joints[skeleton.bone[v]] for joint, v in number.items()}
    assert (bones["chest"], bones["spine"], bones["hips"], bones["l_hip"]) == ("chest", "chest", "spine", "hips"), "hung up by the centre"
    assert skeleton.axis == skeleton.bone and (number["spine"], number["hips"]) in skeleton.edges and len(skeleton.edges) == 16


def test_every_field_can_be_given(tmp_path):
    (tmp_path / "a.toml").write_bytes(
        b"\xef\xbb\xbf"  # as some editors begin a file
        + b"""
        name = "toy"
        joints = ["a", "b", "c", "d", "e"]
        parents = [-1, 0, "b", "b", 1]
        dimensions = 2
        pairs = [["c", "d"]]
        shoulders = [2, "d"]
        centre = "a"
        spine = 4
        edges = [[0, 1], ["b", "c"], [1, 3], [1, "e"], ["c", "d"]]
        axis = ["a", 0, 1, "b", 2]
        """
    )
    found = skeletons.get(tmp_path / "a.toml")
    assert found == Skeleton(
        name="toy", joints=tuple("abcde"), bone=(0, 0, 1, 1, 1), axis=(0, 0, 1, 1, 2), edges=((0, 1), (1, 2), (1, 3), (1, 4), (2, 3)),
        centre=0, spine=4, shoulders=(2, 3), pairs=((2, 3),), dimensions=2,
    )  # fmt: skip


def test_own_maps_lead_there_and_through(mine):
    skeleton, x = skeletons.get(mine), np.random.default_rng(0).normal(size=(17, 3))
    of = {joint: x[v] for v, joint in enumerate(skeleton.joints)}
    found = dict(zip(KINECT20.joints, mapping(skeleton, KINECT20) @ x, strict=True))
    np.testing.assert_allclose(found["spine"], 0.25 * of["hips"] + 0.75 * of["spine"], atol=1e-6)
    np.testing.assert_allclose(found["shoulder centre"], (of["chest"] + of["neck"]) / 2, atol=1e-6)
    np.testing.assert_allclose(found["left hand"], 1.5 * of["l_wrist"] - 0.5 * of["l_elbow"], atol=1e-6)
    np.testing.assert_allclose([found["head"], found["right foot"]], [of["head"], of["r_ankle"]], atol=1e-6)
    np.testing.assert_allclose(mapping(skeleton, NTU25), mapping(KINECT20, NTU25) @ mapping(skeleton, KINECT20), atol=1e-6)
    assert skeletons.maps_of(skeleton) == (["kinect20"], [])
    with pytest.raises(SettingsError, match="no joint map from skeleton 'kinect20' to 'mine'"):
        mapping(KINECT20, skeleton)


def test_a_map_from_a_built_in_skeleton(tmp_path):
    (tmp_path / "upper.toml").write_text(
        """
        name = "upper"
        joints = ["pelvis", "chest", "left shoulder", "right shoulder", "head"]
        parents = [0, 0, 1, 1, 1]
        [from.ntu25]
        pelvis = "base of spine"
        chest = "spine at shoulders"
        "left shoulder" = "left shoulder"
        "right shoulder" = 8
        head = { neck = 0.33, head = 0.67 }
        """
    )
    upper = skeletons.get(tmp_path / "upper.toml")
    weights = mapping(NTU25, upper)
    assert weights.argmax(1).tolist() == [0, 20, 4, 8, 3] and weights[4, [2, 3]] == pytest.approx([0.33, 0.67])
    np.testing.assert_allclose(mapping(KINECT20, upper), weights @ mapping(KINECT20, NTU25), atol=1e-6)


def test_a_clips_file_needs_the_toml_no_more(mine, tmp_path):
    skeleton = skeletons.get(mine)
    opened = write_clips(tmp_path / "mine.clips", skeleton)
    mine.unlink()
    assert opened.skeleton == skeleton and opened.skeleton.maps_to == skeleton.maps_to
    native, mapped = batches.load(opened, np.arange(8), 8), batches.load(opened, np.arange(8), 8, "ntu25")
    assert native.skeleton == skeleton and native.joints.shape == (8, 3, 8, 17, 1) and mapped.joints.shape == (8, 3, 8, 25, 1)


def test_settings_take_a_file_and_go_by_its_content(mine, tmp_path):
    first, again = (settings.resolve("evaluate", skeleton=str(mine)) for _ in range(2))
    assert first == again and skeletons.get(first.skeleton) == skeletons.get(mine)
    assert skeletons.get(first.skeleton).maps_to == skeletons.get(mine).maps_to
    mine.write_text(MINE.replace('"l_hip", "l_knee", "l_ankle", "r_hip"', '"r_hip", "l_knee", "l_ankle", "l_hip"', 1))
    assert settings.resolve("evaluate", skeleton=str(mine)).skeleton != first.skeleton
    assert settings.resolve("evaluate", skeleton="kinect20").skeleton == "kinect20" == skeletons.spelled(json.dumps(KINECT20.to_dict()))
    mine.write_text(MINE + "[from.ntu25]\n" + "".join(f'"{j}" = 0\n' for j in skeletons.get(mine).joints))
    write_clips(tmp_path / "ntu.clips", NTU25)
    exp = Experiment(tmp_path / "ntu.clips", tmp_path, smoke=True, device="cpu", skeleton=str(mine))
    exp.check("distill")
    assert exp.train.skeleton.name == "mine" and exp.train.joints.shape[3] == 17


# --- what can be wrong ---


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "mine"', 'nam = "mine"', "unknown field 'nam'; did you mean 'name'"),
        ('name = "mine"', "", "lacks the field 'name'"),
        ('name = "mine"', 'name = "ntu25"', "'name': 'ntu25' is built in"),
        ('name = "mine"', 'name = "native"', "not 'native'"),
        ('name = "mine"', "name = 5", "must be a text"),
        ('name = "mine"', 'name = "mine"\ndimensions = 4', "'dimensions' must be 2 or 3, found 4"),
        ('name = "mine"', 'name = "mine"\ndimensions = 2', "'map.kinect20': 'kinect20' has 3 dimensions, this skeleton 2"),
        (
            'name = "mine"',
            'name = "mine"\npairs = [["l_hip", "l_hip"]]\nshoulders = [5, 8]',
            "'pairs' must have a joint at most once, found l_hip",
        ),
        ('name = "mine"', 'name = "mine"\npairs = [["l_hip", "rhip"]]', "'pairs': there is no joint 'rhip'; did you mean 'r_hip'"),
        ('name = "mine"', 'name = "mine"\npairs = [["l_hip"]]', "'pairs' must have two joints"),
        ('name = "mine"', 'name = "mine"\nshoulders = ["l_hip", 17]', "'shoulders': joint 17 is not in 0..16"),
        ('name = "mine"', 'name = "mine"\ncentre = true', "'centre' must name joints or give their numbers, found True"),
        ('name = "mine"', 'name = "mine"\ncentre = "hips"', "'spine' can't be told, since the centre, hips, is the root"),
        ('name = "mine"', 'name = "mine"\naxis = [0, 1]', "'axis' must have one entry for each of the 17 joints, found 2"),
        ('name = "mine"', 'name = "mine"\nedges = [[0, 1]]', "no path of 'edges' leads from the centre"),
        ('name = "mine"', 'name = "mine"\nedges = 7', "'edges' must be a list, found 7"),
        ('name = "mine"', 'name = "mine"\npairs = [["l_hip", "r_hip"]]', "'shoulders' can't be told from the names"),
        ('["hips", "spine"', '["spine", "spine"', "there is no joint 'hips'"),
        ('"head", "l', '"head", 3, "l', "'joints' must be a list of names"),
        ('parents = ["hips", ', "parents = [", "'parents' must have one entry for each of the 17 joints, found 16"),
        (
            'parents = ["hips", "hips"',
            'parents = ["spine", "hips"',
            "'parents' must have one root, a joint that is its own parent; found 0",
        ),
        ('"r_knee"]\n\n', '"r_ankle"]\n\n', "found 2: hips, r_ankle"),
        ('"neck", "chest", "l_shoulder", "l_elbow"', '"neck", "l_wrist", "l_shoulder", "l_elbow"', "goes round in a circle at joint 'l_"),
        ("[map.kinect20]", "[map.kinect]", "'map.kinect': no built-in skeleton 'kinect'; did you mean 'kinect20'"),
        ('"hip centre" = "hips"', "", "'map.kinect20' lacks 1 of the 20 target joints: hip centre"),
        ('"hip centre" = "hips"', '"hip center" = "hips"', "no joint 'hip center' of skeleton 'kinect20'; did you mean 'hip centre'"),
        ('"hip centre" = "hips"', '"hip centre" = "hip"', "'map.kinect20.hip centre': there is no joint 'hip'; did you mean"),
        ("hips = 0.25", "hips = 0.5", "'map.kinect20.spine': weights must sum to 1, found 1.25"),
        ("hips = 0.25", "hips = nan", "the weight of 'hips' must be a number, found nan"),
        ("hips = 0.25", 'hips = "x"', "the weight of 'hips' must be a number"),
        ("[map.kinect20]", "[map]\nkinect20 = 5\n[other]", "unknown field 'other'"),
        ("[map.kinect20]", "map = 3\n[from]", "'map' must be a table"),
        ("[map.kinect20]", "[[map.kinect20]]", "'map.kinect20' must be a table of target = source"),
        ("joints =", "joints ==", "is not TOML"),
    ],
)
def test_wrong_files_are_told_with_file_and_field(mine, old, new, words):
    assert old in MINE
    mine.write_text(MINE.replace(old, new, 1))
    with pytest.raises(DataError) as caught:
        skeletons.get(mine)
    assert str(caught.value).startswith(f"'{mine}'") and words in str(caught.value), caught.value
    assert len(str(caught.value)) < 600


def test_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match="can't read the skeleton.*No such file"):
        skeletons.get(tmp_path / "none.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(DataError, match="can't read the skeleton"):
        skeletons.get(tmp_path / "folder.toml")
    for content, words in (
        (b"\xff\xfe", "not UTF-8"),
        (b"x = " + b"[" * 50_000, "not TOML"),
        (b" " * (2 << 20), "bytes"),
        (b"", "lacks the field"),
    ):
        (tmp_path / "bad.toml").write_bytes(content)
        with pytest.raises(DataError, match=words):
            skeletons.get(tmp_path / "bad.toml")
    (tmp_path / "many.toml").write_text(f"name='x'\nparents=[0]\njoints={[f'j{i}' for i in range(50_000)]}")
    with pytest.raises(DataError, match="50000 names; at most 600"):
        skeletons.get(tmp_path / "many.toml")
    with pytest.raises(SettingsError, match="unknown skeleton 'ntu-25'; did you mean 'ntu25'.*mine.toml"):
        skeletons.get("ntu-25")


LINES = MINE.strip().splitlines()


@given(st.data())
@example(None)
def test_damaged_files_give_a_skeleton_or_one_error(tmp_path_factory, data):
    """Cut anywhere, bytes changed, lines swapped or doubled, values of other kinds."""
    path, content = tmp_path_factory.getbasetemp() / "damaged.toml", MINE.encode()
    if data is None:
        content = b"\x00" + content
    else:
        kind = data.draw(st.sampled_from(["cut", "bytes", "lines", "values"]))
        if kind == "cut":
            content = content[: data.draw(st.integers(0, len(content)))]
        elif kind == "bytes":
            place = data.draw(st.integers(0, len(content) - 1))
            content = content[:place] + data.draw(st.binary(max_size=6)) + content[place + 1 :]
        elif kind == "lines":
            lines = LINES + data.draw(st.lists(st.sampled_from(LINES), max_size=3))
            random.Random(data.draw(st.integers(0, 999))).shuffle(lines)
            content = "\n".join(lines).encode()
        else:
            word = data.draw(st.sampled_from(['"hips"', '"mine"', '"l_wrist"', "0.25", "[map.kinect20]", '"neck"']))
            value = data.draw(
                st.sampled_from(["1e999", "-1", "9" * 30, "nan", "true", "[]", "{}", "1979-05-27", '""', '"\\u0000"', "[[0]]", "9" * 5000])
            )
            content = MINE.replace(word, value, data.draw(st.sampled_from([1, -1]))).encode()
    path.write_bytes(content)
    try:
        found = skeletons.get(path)
    except SkelmmError as problem:
        assert str(path) in str(problem) and len(str(problem)) < 900
    else:
        assert Skeleton.from_dict(json.loads(json.dumps(found.to_dict()))) == found
        assert np.isfinite(found.adjacency()).all() and np.isfinite(rest.standing(found)).all()
        assert "joints" in skeleton_command.table(found)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([*KINECT20.to_dict(), "dimensions", "maps_to", "maps_from"]), json_values)
def test_tables_with_a_strange_value_are_refused_or_taken(field, value):
    try:
        found = skeletons.get(json.dumps(KINECT20.to_dict() | {"name": "mine", field: value}))
    except SkelmmError:
        return
    assert isinstance(found, Skeleton) and len(found) == 20


def test_a_clips_header_with_a_bad_map_is_refused():
    for rows in ([["ntu25", [[[0, 0.5]]]]], [["ntu25", [[[99, 1.0]]]]], [["ntu25", [[]]]], [[5, []]], 7, [["ntu25", [[[0, 1e999]]]]]):
        with pytest.raises(DataError, match="'maps_to' must hold"):
            Skeleton.from_dict(KINECT20.to_dict() | {"maps_to": rows})
    for text in ("{", "{" * 100_000, '{"a": 1}', json.dumps(KINECT20.to_dict() | {"centre": 1, "bone": [1] * 20})):
        with pytest.raises(DataError):
            skeletons.get(text)


# --- the command and its figure ---


@BUILT_IN
def test_figure_names_every_joint_in_its_colour(skeleton):
    figure = skeleton_figure(skeleton)
    axes = figure.axes[0]
    shown = {text.get_text(): text for text in axes.texts}
    assert len(shown) == len(skeleton)
    boxes = []
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    for v, (joint, side) in enumerate(zip(skeleton.joints, skeleton.sides(), strict=True)):
        text = shown.get(f"{v}  {joint}") or shown[f"{joint}  {v}"]
        assert same_color(text.get_color(), palette.BODIES[0][side])
        box = text.get_window_extent(renderer)
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes), f"{joint} is written over another name"
        boxes.append(box)
        assert side == "middle" or (text.get_position()[0] > 0) == (side == "left"), "somebody who faces the viewer"


@BUILT_IN
def test_standing_figures_are_people(skeleton):
    pose = rest.standing(skeleton)
    assert 1.4 < np.ptp(pose[:, 1]) < 1.75 and pose[:, 1].min() > -0.05
    mirror = list(range(len(skeleton)))
    for left, right in skeleton.pairs:
        mirror[left], mirror[right] = right, left
    np.testing.assert_allclose(pose[mirror], pose * (-1, 1, 1), atol=1e-9)
    size = np.linalg.norm(pose - pose[list(skeleton.bone)], axis=1)
    assert 0.02 < np.delete(size, skeleton.centre).min() and size.max() < 0.75


@pytest.mark.parametrize(
    ("joints", "parents", "shoulders"),
    [
        ("Hips Spine Spine1 Neck Head LeftShoulder LeftArm LeftForeArm LeftHand RightShoulder RightArm RightForeArm RightHand "
         "LeftUpLeg LeftLeg LeftFoot LeftToeBase RightUpLeg RightLeg RightFoot RightToeBase",
         (0, 0, 1, 2, 3, 2, 5, 6, 7, 2, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19), None),
        ("q w e r t y u", (0, 0, 1, 2, 0, 4, 5), [1, 4]),
    ],
)  # fmt: skip
def test_other_names_are_drawn_without_joints_on_top_of_each_other(joints, parents, shoulders):
    table = {"name": "other", "joints": joints.split(), "parents": list(parents)} | (
        {"shoulders": shoulders, "spine": 2} if shoulders else {}
    )
    skeleton = own.of_table(table)
    pose = rest.standing(skeleton)
    apart = np.linalg.norm(pose[:, None] - pose, axis=-1) + 9 * np.eye(len(pose))
    assert np.isfinite(pose).all() and apart.min() > 0.005
    assert len(skeleton_figure(skeleton).axes[0].texts) == len(skeleton)


def mirrored(skeleton: Skeleton) -> np.ndarray:
    mirror = np.arange(len(skeleton))
    for left, right in skeleton.pairs:
        mirror[[left, right]] = right, left
    return mirror


@pytest.mark.parametrize("hip", ["hip", "hips", "pelvis", "root", "thing"])
def test_whatever_the_hip_is_called_it_is_in_the_middle(hip):
    joints = [hip, "rhip", "rknee", "lhip", "lknee", "spine", "chest", "head", "lshoulder", "lpaw", "rshoulder", "rpaw", "mane"]
    skeleton = own.of_table({"name": "x", "joints": joints, "parents": [0, 0, 1, 0, 3, 0, 5, 6, 6, 8, 6, 10, 7]})
    pose = rest.standing(skeleton)
    np.testing.assert_allclose(pose[mirrored(skeleton)], pose * (-1, 1, 1), atol=1e-12)
    assert not pose[[0, 5, 6, 7, 12], 0].any() and (hip == "thing" or pose[0, 1] == 0.96)
    assert pose[1, 1] < pose[0, 1] < pose[5, 1] < pose[6, 1] < pose[7, 1] < pose[12, 1]
    assert 0.1 < np.linalg.norm(pose[9] - pose[8]) < 0.5 and pose[9, 0] < pose[8, 0] < 0 and pose[9, 1] < pose[8, 1]


def test_a_name_on_one_side_alone_does_not_bend_the_middle():
    table = {"name": "x", "joints": ["q", "chest", "lshoulder", "rshoulder", "left hip", "other"], "parents": [0, 0, 1, 1, 0, 0]}
    pose = rest.standing(own.of_table(table | {"pairs": [[2, 3], [4, 5]]}))
    assert pose[0, 0] == 0 and pose[4, 0] == -0.1 and pose[5, 0] > 0


def test_a_figure_of_nothing_but_parents_and_pairs():
    """Pelvis 0, legs 1-3 and 4-6, spine 7, chest 8, neck 9, head 10, arms 11-13 and 14-16."""
    parents = [0, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15]
    table = {"name": "x", "joints": [f"j{v}" for v in range(17)], "parents": parents, "shoulders": [11, 14]}
    skeleton = own.of_table(table | {"pairs": [[v + 3, v] for v in (1, 2, 3)] + [[v, v + 3] for v in (11, 12, 13)]})
    pose = rest.standing(skeleton)
    middle, left = [0, 7, 8, 9, 10], [4, 5, 6, 11, 12, 13]
    assert not pose[middle, 0].any() and (pose[left, 0] < 0).all()
    np.testing.assert_allclose(pose[mirrored(skeleton)], pose * (-1, 1, 1), atol=1e-12)
    for path in ([10, 9, 8, 7, 0, 4, 5, 6], [11, 12, 13]):
        assert (np.diff(pose[path, 1]) < 0).all(), "from head to foot, and down the arm"
    assert pose[13, 1] > pose[5, 1] and pose[13, 0] < pose[11, 0] < pose[4, 0]
    assert 1.4 < np.ptp(pose[:, 1]) < 1.75 and abs(pose[6, 1]) < 0.1


@st.composite
def mirrored_trees(draw) -> Skeleton:
    """A root and a chest in the middle, shoulders on the chest, and further joints anywhere, in the middle or in pairs."""
    parents, side, pairs = [0, 0, 1, 1], [0, 0, 1, -1], [[2, 3]]
    for _ in range(draw(st.integers(0, 12))):
        parent = draw(st.integers(0, len(parents) - 1))
        if side[parent] == 0 and draw(st.booleans()):
            parents, side = [*parents, parent], [*side, 0]
            continue
        other = next((b if a == parent else a for a, b in pairs if parent in (a, b)), parent)
        pair = [parent, other] if side[parent] >= 0 else [other, parent]
        pairs.append([len(parents), len(parents) + 1])
        parents, side = [*parents, *pair], [*side, 1, -1]
    new = draw(st.permutations(range(len(parents))))  # the number of every joint
    order = np.argsort(new)
    return own.of_table({
        "name": "x", "joints": [f"j{v}" for v in range(len(parents))], "parents": [new[parents[v]] for v in order],
        "pairs": [[new[a], new[b]] for a, b in pairs], "shoulders": [new[2], new[3]], "spine": new[0],
    })  # fmt: skip


@given(mirrored_trees())
def test_any_figure_without_names_is_mirrored(skeleton):
    pose, side = rest.standing(skeleton), np.array(skeleton.sides())
    assert not pose[side == "middle", 0].any() and (pose[side == "left", 0] < 0).all()
    np.testing.assert_allclose(pose[mirrored(skeleton)], pose * (-1, 1, 1), atol=1e-12)
    assert 0.03 < np.delete(np.linalg.norm(pose - pose[list(skeleton.bone)], axis=1), skeleton.centre).min()
    assert pose[skeleton.spine, 1] < pose[skeleton.centre, 1], "the trunk hangs on the chest"


def test_command_prints_table_and_maps_and_draws(mine, tmp_path, capsys):
    figure = tmp_path / "mine.png"
    cli.main(["skeleton", str(mine), "--figure", str(figure)])
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if line[:2].strip().isdigit()]
    assert (
        len(rows) == 17
        and rows[6] == ["6", "l_elbow", "left", "5", "l_shoulder", "5", "l_shoulder"]
        and rows[2][:4] == ["2", "chest", "middle", "-"]
    )
    assert "maps: to kinect20; from none" in out and "centre, which is put at the origin: chest" in out
    assert figure.read_bytes().startswith(b"\x89PNG")
    cli.main(["skeleton", "ntu25"])
    assert "links of the graph that are no bones: left hand tip - left thumb" in capsys.readouterr().out


def test_command_compares_with_clips(mine, tmp_path, capsys):
    skeleton = skeletons.get(mine)
    opened = write_clips(tmp_path / "mine.clips", skeleton)
    pose = skeleton_command.median_pose(opened, skeleton)
    np.testing.assert_allclose(pose, rest.standing(skeleton) - rest.standing(skeleton)[skeleton.centre], atol=0.08)
    cli.main(["skeleton", str(mine), "--clips", str(opened.path), "--figure", str(tmp_path / "a.png")])
    assert "bones of left and right are alike" in capsys.readouterr().out
    bone = list(skeleton.bone)
    bone[skeleton.joints.index("l_wrist")] = skeleton.joints.index("l_shoulder")
    wrong = Skeleton.from_dict(skeleton.to_dict() | {"bone": bone})
    assert "warning: the bones of l_" in skeleton_command.lengths(opened, wrong, pose)
    with pytest.raises(SystemExit) as stop:
        cli.main(["skeleton", "coco17", "--clips", str(opened.path)])
    assert stop.value.code == 2 and "no map leads" in capsys.readouterr().err


def test_real_clips_have_the_pose_of_their_skeleton(shared, tmp_path):
    from skelmm_core import sources

    clips.write(tmp_path / "hdm.clips", sources.read(shared / "data" / "hdm05_cut11.npz"), progress=False)
    opened = clips.open_clips(tmp_path / "hdm.clips")
    pose, side = skeleton_command.median_pose(opened, NTU25), np.array(NTU25.sides())
    assert (pose[side == "left", 0] < 0).all() and (pose[side == "right", 0] > 0).all()
    assert "alike" in skeleton_command.lengths(opened, NTU25, pose)
    assert skeleton_command.median_pose(opened, KINECT20).shape == (20, 3)
    assert drawing.save(skeleton_figure(NTU25, pose), tmp_path / "hdm.png").stat().st_size > 10_000
