"""BVH: forward kinematics against closed forms and another library, joint names, rates, units, and files that are not as they should be."""

from __future__ import annotations

import re

import bvhio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from writers.bvh import performance, text, write

from skelmm_core import clips, sources
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.skeletons import NTU25
from skelmm_core.sources import bvh, bvh_names, bvh_text, members

STICK = """HIERARCHY
ROOT base
{{
  OFFSET 1 2 3
  CHANNELS 6 Xposition Yposition Zposition {root}
  JOINT arm
  {{
    OFFSET 0 10 0
    CHANNELS 3 {arm}
    End Site
    {{
      OFFSET 5 0 0
    }}
  }}
}}
MOTION
Frames: 1
Frame Time: 0.02
{numbers}
"""
ORDER = "Zrotation Xrotation Yrotation"


def stick(numbers: str, root: str = ORDER, arm: str = ORDER) -> np.ndarray:
    return bvh_text.parse(STICK.format(numbers=numbers, root=root, arm=arm).encode(), "x").positions()[0]


# Forward kinematics


@pytest.mark.parametrize(
    ("angles", "end"),
    [
        ("0 0 0", (5, 10, 0)),
        ("90 0 0", (0, 15, 0)),  # about z: x becomes y
        ("0 90 0", (5, 10, 0)),  # about x: x stays
        ("0 0 90", (0, 10, -5)),  # about y: x becomes -z
        ("90 90 0", (0, 15, 0)),  # z, then the turned x
        ("90 0 90", (0, 10, -5)),  # z, then the turned y, on which x has become y: unit x -> y turn first
    ],
)
def test_one_joint_turns_as_the_closed_form_says(angles, end):
    base, arm, tip = stick(f"0 0 0 0 0 0 {angles}")
    np.testing.assert_allclose(base, 0, atol=1e-12)
    np.testing.assert_allclose(arm, (0, 10, 0), atol=1e-12)
    np.testing.assert_allclose(tip, end, atol=1e-12)


def test_channels_turn_in_their_own_order_and_positions_replace_offsets():
    np.testing.assert_allclose(stick("7 8 9 0 0 90 0 0 0", root="Xrotation Yrotation Zrotation")[1], (7 - 10, 8, 9), atol=1e-12)
    one = stick("0 0 0 0 0 0 90 90 0", arm="Xrotation Zrotation Yrotation")[2]
    np.testing.assert_allclose(one, (0, 10, 5), atol=1e-12)  # about x first: then the turned z has x become the turned y, which is z
    rest = bvh_text.parse(STICK.format(numbers="0 0 0 0 0 0 0 0 0", root=ORDER, arm=ORDER).encode(), "x").rest()
    np.testing.assert_allclose(rest, [(1, 2, 3), (1, 12, 3), (6, 12, 3)])


@pytest.mark.parametrize("seed", range(3))
def test_positions_are_those_of_another_library(tmp_path, seed):
    random = np.random.default_rng(seed)
    motion = {
        "Hips": random.uniform(-100, 100, (4, 6)), "Spine": random.uniform(-90, 90, (4, 3)), "LeftArm": random.uniform(-180, 180, (4, 3)),
        "LeftForeArm": random.uniform(-90, 90, (4, 3)), "RightLeg": random.uniform(-90, 90, (4, 3)),
    }  # fmt: skip
    path = tmp_path / "x.bvh"
    path.write_text(text(motion, 4))
    mine = bvh_text.parse(path.read_bytes(), "x")
    found, root = mine.positions(), bvhio.readAsHierarchy(str(path))
    for frame in range(4):
        root.loadPose(frame)
        for joint, _, _ in root.layout():
            expected = np.array(joint.PositionWorld)
            np.testing.assert_allclose(found[frame, mine.names.index(joint.Name)], expected, atol=2e-3)


@given(st.lists(st.floats(-360, 360), min_size=3, max_size=3), st.integers(0, 2))
def test_rotations_keep_lengths_and_their_axis(angles, axis):
    matrix = bvh_text.rotation(np.radians(angles), axis)
    np.testing.assert_allclose(matrix @ matrix.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (3, 3, 3)), atol=1e-12)
    np.testing.assert_allclose(matrix[:, axis, axis], 1)
    assert np.linalg.det(matrix) == pytest.approx(1)


# The ways in which programs write


def laid_out(text: str, newline: str, brace: str, pad: str, comment: str, case: str, swapped: bool) -> bytes:
    """The same file otherwise: line ends; how a brace follows a joint's name and what stands around it; tabs or spaces; comments; capitals;
    channels in front of offsets."""
    head, mark, rows = text.partition("MOTION")
    if swapped:
        head = re.sub(r"(OFFSET [^\n]*)\n(\s*)(CHANNELS [^\n]*)", r"\3\n\2\1", head)
    head = re.sub(r"\n\s*\{\n", brace, head).replace("\t", pad).replace(" ", pad)
    for word in ("End", "Site", "OFFSET", "CHANNELS", "HIERARCHY", "ROOT", "JOINT", *bvh_text.CHANNELS):
        head = re.sub(rf"\b{word}\b", getattr(word, case)(), head)
    whole = head + getattr(mark, case)() + rows
    if comment:
        whole = f"{comment} made by hand\n" + re.sub(r"(OFFSET|Frames:|\})([^\n]*)\n", rf"\1\2 {comment} {{ OFFSET 1 2 3\n", whole)
        whole = whole.rstrip("\n") + f"\n{comment} the end\n"
    return whole.replace("\n", newline).encode()


@given(
    newline=st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    brace=st.sampled_from(["\n{\n", " {\n", "{\n", " { ", "{", "\n{ "]),
    pad=st.sampled_from([" ", "\t", "   ", " \t "]),
    comment=st.sampled_from(["", "#", "//"]),
    case=st.sampled_from(["upper", "lower", "title", "swapcase"]),
    swapped=st.booleans(),
)
def test_any_layout_reads_the_same(newline, brace, pad, comment, case, swapped):
    plain = bvh_text.parse(WHOLE.encode(), "x")
    found = bvh_text.parse(laid_out(WHOLE, newline, brace, pad, comment, case, swapped), "x")
    assert found.names == plain.names and found.parents == plain.parents and found.channels == plain.channels
    assert found.rate == plain.rate and np.array_equal(found.offsets, plain.offsets) and np.array_equal(found.motion, plain.motion)


def test_braces_that_share_a_line_against_another_library(tmp_path):
    squeezed = "HIERARCHY ROOT root { OFFSET 1 2 3 CHANNELS 3 Zrotation Xrotation Yrotation JOINT left arm{ CHANNELS 1 Yrotation "
    squeezed += "OFFSET 0 5 0 End Site {OFFSET 1 0 0}}}\nMOTION\nFrames:2\nFrame Time:0.5\n10 20 30 40\n-1 -2 -3 -4"
    plain = "HIERARCHY\nROOT root\n{\nOFFSET 1 2 3\nCHANNELS 3 Zrotation Xrotation Yrotation\nJOINT left_arm\n{\nOFFSET 0 5 0\n"
    plain += "CHANNELS 1 Yrotation\nEnd Site\n{\nOFFSET 1 0 0\n}\n}\n}\nMOTION\nFrames: 2\nFrame Time: 0.5\n10 20 30 40\n-1 -2 -3 -4\n"
    (tmp_path / "x.bvh").write_text(plain)
    found, root = bvh_text.parse(squeezed.encode(), "x"), bvhio.readAsHierarchy(str(tmp_path / "x.bvh"))
    assert found.names == ("root", "left arm", "left arm end") and found.rate == 2
    for frame in range(2):
        root.loadPose(frame)
        for number, (joint, _, _) in enumerate(root.layout()):
            np.testing.assert_allclose(found.positions()[frame, number], np.array(joint.PositionWorld), atol=1e-5)


# Names


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("mixamorig:LeftUpLeg", "left upleg"), ("LeftUpLeg", "left upleg"), ("upper_arm.L", "left upperarm"), ("thigh_r", "right thigh"),
        ("R_Thigh", "right thigh"), ("lShldr", "left shldr"), ("RForeArm", "right forearm"), ("HandLeft", "left hand"), ("Hips", "hips"),
        ("lfemur", "left femur"), ("root", "root"), ("LowerBack", "lowerback"), ("LeftHand end", "left hand_end"), ("Leg", "leg"),
    ],
)  # fmt: skip
def test_joint_names_in_use(name, meant):
    assert bvh_names.plain(name) == meant


def test_every_joint_of_ntu25_is_found_and_sides_are_kept():
    motion = bvh_text.parse(text({}, 2).encode(), "x")
    weights = bvh_names.weights(motion.names, NTU25, bvh_names.NTU25, "x")
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    rest = weights @ motion.rest()
    for left, right in NTU25.pairs:
        np.testing.assert_allclose(rest[left] * (-1, 1, 1), rest[right], atol=1e-9)
        assert rest[left, 0] > 0
    place = dict(zip(NTU25.joints, rest, strict=True))
    assert place["head"][1] > place["neck"][1] > place["spine at shoulders"][1] > place["mid spine"][1] > place["base of spine"][1]
    np.testing.assert_allclose(place["head"], (0, 162.5, 0))  # between the joint and its end
    np.testing.assert_allclose(place["left wrist"], (20, 91, 0))
    np.testing.assert_allclose(place["left hand tip"], (20, 81, 0))


def test_own_map_in_toml(tmp_path):
    names = bvh_text.parse(text({}, 2).encode(), "x").names
    rows = "\n".join(f'"{joint}" = "{names[i % 20]}"' for i, joint in enumerate(NTU25.joints) if joint != "neck")
    (tmp_path / "map.toml").write_text(f'target = "ntu25"\n[joints]\nneck = ["mixamorig:Head", "mixamorig:Hips"]\n{rows}\n')
    skeleton, table = bvh_names.table(tmp_path / "map.toml")
    weights = bvh_names.weights(names, skeleton, table, "x")
    assert weights[2, names.index("mixamorig:Head")] == weights[2, 0] == 0.5
    for content, words in (
        ("x", "is not TOML"), ('target = "ntu25"', "table \\[joints\\]"), ('[joints]\nneckk = "a"', "did you mean 'neck'"),
        ("[joints]\nneck = 3", "must be the name"), ('[joints]\nneck = "a"', "lacks base of spine"),
    ):  # fmt: skip
        (tmp_path / "map.toml").write_text(content)
        with pytest.raises(DataError, match=words):
            bvh_names.table(tmp_path / "map.toml")
    with pytest.raises(DataError, match="can't read the joint map"):
        bvh_names.table(tmp_path / "nowhere.toml")


def test_a_joint_that_is_not_there_is_named_with_what_is(tmp_path):
    with pytest.raises(DataError, match=r"no joint was found for 'left knee'.*hierarchy has mixamorig:Hips.*-p map=map.toml"):
        names = [n for n in bvh_text.parse(text({}, 2).encode(), "x").names if not n.endswith("LeftLeg")]
        bvh_names.weights(names, NTU25, bvh_names.NTU25, "x")


# The source


def test_folder_to_clips(tmp_path):
    source = sources.read(write(tmp_path / "mocap", clips=12))
    report = clips.write(tmp_path / "x.clips", source, progress=False)
    assert source.class_names == ("bow", "turn", "wave") and source.title == "mocap (BVH in cm)" and source.frame_rate == 30
    assert report.clips == 12 and report.height == pytest.approx(1.6, abs=0.15) and not report.warnings
    found = clips.open_clips(tmp_path / "x.clips")
    assert found.names[0] == "bow/s1_t1" and found.class_names[found.labels[0]] == "bow"


def test_columns_from_names(tmp_path):
    raw = write(tmp_path / "mocap", clips=12)
    source = sources.read(raw, pattern=r"s(?P<subject>\d+)_t(?P<repetition>\d+)", protocol="odd-even-subjects")
    assert [(r.subject, r.repetition, r.view) for r in source.recordings][:4] == [(1, 1, -1)] * 3 + [(2, 1, -1)]
    source = sources.read(raw, label="name", pattern=r"(?P<subject>s\d)_(?P<label>t\d)")
    assert source.class_names == ("t1",) and {r.subject for r in source.recordings} == {1, 2, 3, 4}
    for options, words in (
        (dict(label="name"), "needs a pattern"), (dict(pattern="("), "no regular expression"), (dict(pattern="(?P<person>.*)"), "person"),
        (dict(units="feet"), "found units='feet'"), (dict(fps=-1), "between 0 and 10000"), (dict(up="x"), "up='x'"),
    ):  # fmt: skip
        with pytest.raises(SettingsError, match=re.escape(words)):
            sources.read(raw, **options)
    with pytest.raises(DataError, match="does not fit the pattern"):
        sources.read(raw, pattern="x+")


def test_a_pattern_that_tries_for_ages_is_stopped_and_named(tmp_path, monkeypatch):
    raw = write(tmp_path / "mocap", clips=12)
    (raw / "wave" / f"{'a' * 60}.bvh").write_text(WHOLE)
    monkeypatch.setattr(bvh, "PATIENCE", 0.5)
    with pytest.raises(SettingsError, match=re.escape("pattern '(s.*|(a+)+b)' was not through with the names of 13 files after 0.5 s")):
        sources.read(raw, pattern="(s.*|(a+)+b)")
    monkeypatch.undo()
    assert len(sources.read(raw, pattern=r"s(?P<subject>\d+).*|a+").items) == 13


def test_a_name_that_no_pattern_fits_stops_nothing(tmp_path):
    raw = write(tmp_path / "mocap", clips=12)
    (raw / "wave" / f"{'a' * 201}.bvh").write_text(WHOLE)
    for pattern, words in ((".*", "at most 200 characters"), (r"s(?P<subject>\d+).*", "does not fit the pattern")):
        report = clips.write(tmp_path / "x.clips", sources.read(raw, pattern=pattern), progress=False)
        assert report.clips == 12 and len(report.damaged) == 1 and words in report.damaged[0].reason
    assert len(sources.read(raw).items) == 13


def test_names_of_any_characters_go_through_the_pattern():
    names = ["a\udcff", "\u30c0\u30f3\u30b9", 'x"\n', ""]
    assert bvh._matches("(?s)(?P<label>.+)", names) == [{"label": name} if name else None for name in names]
    assert bvh._matches("(?P<label>a)?.*", ["ab", "b"]) == [{"label": "a"}, {"label": None}]


def test_capitals_in_the_ending_stay_out_of_a_clip_s_name():
    assert bvh.Item(members.Member("wave/Take 1.BVH", 0, "", b""), ()).stem == "wave/Take 1"


def test_other_rates_are_interpolated_and_counted(tmp_path):
    random = np.random.default_rng(0)
    slow = performance(31, 0, random)
    fast = {
        name: np.stack([np.interp(np.arange(121) / 4, np.arange(31), column) for column in values.T], 1) for name, values in slow.items()
    }
    for name, motion, frames, step in (("a", slow, 31, 1 / 30), ("b", fast, 121, 1 / 120)):
        (tmp_path / f"{name}.bvh").write_text(text(motion, frames, step))
    one, other = sources.read(tmp_path).recordings
    assert one.joints.shape == other.joints.shape == (1, 31, 25, 3) and not one.changes
    assert other.changes == {"frames at another rate than 30 Hz, interpolated": 121}
    np.testing.assert_allclose(one.joints, other.joints, atol=1e-4)
    assert sources.read(tmp_path, fps=15.0).frame_rate == 15
    ramp = np.arange(10.0)[:, None, None] * np.ones((1, 2, 3))
    np.testing.assert_allclose(bvh.at_rate(ramp, 10, 25)[:, 0, 0], np.arange(23) / 2.5)


def test_units_and_the_axis_that_points_up(tmp_path):
    motion = performance(5, 0, np.random.default_rng(0))
    whole = text(motion, 5)

    def scaled(factor: float) -> str:
        offsets = re.sub(r"OFFSET (\S+) (\S+) (\S+)", lambda m: "OFFSET " + " ".join(f"{float(v) * factor:.8f}" for v in m.groups()), whole)
        head, _, rows = offsets.partition("Frame Time:")
        first, *rest = rows.splitlines()
        rows = [" ".join([*(f"{float(v) * factor:.8f}" for v in r.split()[:3]), *r.split()[3:]]) for r in rest]
        return "\n".join([head + "Frame Time:" + first, *rows])

    (tmp_path / "x.bvh").write_text(whole)
    (expected,) = sources.read(tmp_path).recordings
    for factor, unit in ((0.01, "m"), (1 / 2.54, "inches")):
        (tmp_path / "x.bvh").write_text(scaled(factor))
        source = sources.read(tmp_path)
        (found,) = source.recordings
        assert unit in source.title
        np.testing.assert_allclose(found.joints, expected.joints, atol=1e-4)
    (tmp_path / "x.bvh").write_text(scaled(100))
    with pytest.raises(DataError, match="no person's size"):
        sources.read(tmp_path)
    (tmp_path / "x.bvh").write_text(whole)
    (turned,) = sources.read(tmp_path, up="z", units="cm").recordings
    np.testing.assert_allclose(turned.joints, expected.joints[..., [0, 2, 1]] * (1, 1, -1), atol=1e-6)


def test_every_file_has_its_own_unit_and_a_damaged_first_file_stops_nothing(tmp_path):
    random = np.random.default_rng(0)
    motion = performance(5, 0, random)
    raw = write(tmp_path / "mocap", clips=12)
    (raw / "wave" / "a first.bvh").write_text("HIERARCHY")
    metres = re.sub(
        r"OFFSET (\S+) (\S+) (\S+)", lambda m: "OFFSET " + " ".join(f"{float(v) / 100:.8f}" for v in m.groups()), text(motion, 5)
    )
    head, _, rows = metres.partition("Frame Time:")
    first, *rest = rows.splitlines()
    rest = [" ".join([*(f"{float(v) / 100:.8f}" for v in row.split()[:3]), *row.split()[3:]]) for row in rest]
    (raw / "wave" / "metres.bvh").write_text("\n".join([head + "Frame Time:" + first, *rest]))
    report = clips.write(tmp_path / "x.clips", sources.read(raw, fps="30"), progress=False)
    assert report.clips == 13 and len(report.damaged) == 1 and "a first.bvh" in report.damaged[0].reason
    found = clips.open_clips(tmp_path / "x.clips")
    joints = found.joints_of(list(found.names).index("wave/metres"))
    assert 1.5 < np.ptp(joints[0, 0, :, 1]) < 1.8
    with pytest.raises(SettingsError, match="option 'fps' must be a number, found 'many'"):
        sources.read(raw, fps="many")


def test_more_places_than_memory_should_hold_are_refused():
    with pytest.raises(DataError, match="more than 4000000 places"):
        bvh_text.parse(WHOLE.replace("Frames: 3", "Frames: 900000").encode(), "x")


# Files that are not as they should be


WHOLE = text(performance(3, 0, np.random.default_rng(0)), 3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: "", "line 0: the file ends here"),
        (lambda t: t.replace("HIERARCHY", "HIERACHY"), "line 1: expected 'HIERARCHY', found 'HIERACHY'"),
        (lambda t: t.replace("CHANNELS 3", "CHANNELS 4", 1), "channels must be their number"),
        (lambda t: t.replace("Zrotation Xrotation Yrotation", "Zrotation Zrotation Yrotation", 1), "channels must be their number"),
        (lambda t: t.replace("Zrotation", "Wrotation", 1), "channels must be their number"),
        (lambda t: t.replace("OFFSET 0", "OFFSET nan", 1), "the offset must be a finite number, found 'nan"),
        (lambda t: t.replace("Frames: 3", "Frames: 4"), "3 lines of motion, expected 4 frames"),
        (lambda t: t.replace("Frames: 3", "Frames: 99999999999"), "whole number from 1 to"),
        (lambda t: t.replace("Frames: 3", "Frames: 0"), "whole number from 1 to"),
        (lambda t: t.replace("Frame Time: 0.0333333", "Frame Time: 0"), "frame time must be seconds"),
        (lambda t: t.rstrip() + " 1\n", "numbers, expected one for each of"),
        (lambda t: t.rstrip()[:-7] + "abc\n", "value of a channel must be a finite number, found"),
        (lambda t: t.rstrip().rpartition(" ")[0] + "\n", "numbers, expected one for each of"),
        (lambda t: t.replace("}\n", "", 1).replace("MOTION", "MOTION", 1), "expected ROOT, JOINT, End Site"),
        (lambda t: re.sub(r"OFFSET 0[^\n]*\n", "", t, count=1), "joint 'mixamorig:Hips' has no OFFSET"),
        (lambda t: t.replace("OFFSET 0", "OFFSET 1 2 3 OFFSET 0", 1), "OFFSET and three numbers once for each joint"),
        (lambda t: t.replace("Hips\n", "H" * 201 + "\n", 1), "200 characters in a name"),
        (lambda t: t.replace("Frames: 3", "Frames 3"), "expected 'Frames:' and a number, found 'Frames 3'"),
        (
            lambda t: "HIERARCHY\n" + "".join(f"{'JOINT' if i else 'ROOT'} a\n{{\nOFFSET 0 1 0\n" for i in range(500)),
            "one inside the other",
        ),
    ],
)
def test_wrong_text_is_told_with_its_line(change, words):
    with pytest.raises(DataError, match=re.escape(words)) as error:
        bvh_text.parse(change(WHOLE).encode(), "x.bvh")
    assert str(error.value).startswith("'x.bvh', line ")


@given(st.integers(0, len(WHOLE) - 2), st.sampled_from(["", "}", "{", "nan", "9" * 40, "\x00", "é", "\n"]), st.integers(0, 30))
def test_damage_gives_a_data_error_or_finite_joints(place, put, away):
    content = (WHOLE[:place] + put + WHOLE[place + away :]).encode()
    try:
        found = bvh_text.parse(content, "x.bvh")
    except DataError:
        return
    assert np.isfinite(found.positions()).all() and found.motion.shape == (len(found.motion), len(found.channels))
