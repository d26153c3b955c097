"""Sources written as NTU `.skeleton` files and read back."""

from __future__ import annotations

import os
from dataclasses import replace

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skelmm_core.errors import DataError
from skelmm_core.recordings import Dropped, Recording, as_given
from skelmm_core.skeletons import KINECT20
from skelmm_core.sources import ntu, sample
from skelmm_core.sources.ntu_writer import text, write_ntu


def _small():
    return sample.read(performers=2, repetitions=1, cameras=2, actions=["kick", "shake hands"])


def _slowly_parsed(words: list[str]) -> list[list[dict]]:
    """A plain reading of the format, number by number: frames of bodies of {id, joints}."""
    it = iter(words)
    frames = []
    for _ in range(int(next(it))):
        bodies = []
        for _ in range(int(next(it))):
            head = [next(it) for _ in range(10)]
            joints = [[next(it) for _ in range(12)] for _ in range(int(next(it)))]
            bodies.append(dict(id=head[0], joints=joints))
        frames.append(bodies)
    assert next(it, None) is None
    return frames


def test_reading_back_gives_the_same_clips(tmp_path):
    source = _small()
    assert write_ntu(tmp_path / "skeletons", source) == 8
    back = ntu.read(tmp_path / "skeletons")
    assert (back.title, back.class_names, back.frame_rate, back.protocol) == (
        source.title,
        source.class_names,
        source.frame_rate,
        source.protocol,
    )
    want = {c.name: c for c in source.recordings}
    found = list(back.recordings)
    assert [c.name for c in found] == sorted(want)
    for clip in found:
        for field in ("label", "subject", "view", "setup", "repetition"):
            assert getattr(clip, field) == getattr(want[clip.name], field)
        np.testing.assert_array_equal(clip.joints, want[clip.name].joints)


def test_files_look_like_the_real_ones(tmp_path):
    write_ntu(tmp_path / "skeletons", _small())
    path = tmp_path / "skeletons" / "S001C002P001R001A002.skeleton"
    frames = _slowly_parsed(path.read_text().split())
    assert len({b["id"] for f in frames for b in f}) == 2 and all(len(b["id"]) == 17 for f in frames for b in f)
    joints = np.array([[b["joints"] for b in f] for f in frames], float)  # (T, 2, 25, 12)
    assert joints.shape[1:] == (2, 25, 12) and set(joints[..., 11].ravel()) == {2}
    column, row = joints[..., 3], joints[..., 4]
    assert (0 < column).mean() > 0.99 and (column < 512).mean() > 0.99 and (row > -60).all() and (row < 480).all()
    assert np.corrcoef(row.ravel(), joints[..., 1].ravel())[0, 1] < -0.9  # rows count downwards


floats = st.floats(-10, 10, width=32, allow_nan=False)


@given(
    hnp.arrays(np.float32, st.tuples(st.sampled_from([1, 2]), st.integers(1, 4), st.just(25), st.just(3)), elements=floats),
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), max_size=3),
)
def test_any_float32_survives(joints, absent):
    for body, frame in absent:
        joints[body % len(joints), frame % joints.shape[1]] = 0
    back = ntu.parse(text(joints, "any").encode(), "any")
    np.testing.assert_array_equal(back, joints[: max(1, len(back))])
    assert not joints[len(back) :].any()  # only a body that is nowhere is left out


def test_absent_bodies_are_not_written():
    joints = np.ones((2, 3, 25, 3), np.float32)
    joints[1, 0] = joints[0, 1] = joints[:, 2] = 0
    assert [len(f) for f in _slowly_parsed(text(joints, "x").split())] == [1, 2, 0]


def test_dropped_clips_are_passed_over(tmp_path):
    source = _small()
    mixed = replace(source, items=[Dropped("a", "b"), *source.recordings], read=as_given)
    assert write_ntu(tmp_path / "x", mixed) == 8


def _one(**changes):
    return replace(Recording(np.ones((1, 2, 25, 3), np.float32), 0, "clip", 1, 1, 1, 1), **changes)


@pytest.mark.parametrize(
    ("clips", "words"),
    [
        ([_one(subject=-1)], "number P of an NTU file name must be 0..999, found -1"),
        ([_one(), _one(setup=1000)], "number S .* found 1000"),
        ([_one(), _one()], "must be unique"),
        ([_one(), _one(subject=2, joints=np.full((1, 2, 25, 3), np.nan))], "clip 'clip', frame 0"),
        ([], "no clip"),
    ],
)
def test_what_can_not_be_written_leaves_nothing(tmp_path, clips, words):
    with pytest.raises(DataError, match=words):
        write_ntu(tmp_path / "x", replace(_small(), items=clips, read=as_given))
    assert not list(tmp_path.iterdir())


def test_other_skeletons_and_full_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="ntu25, not of 'kinect20'"):
        write_ntu(tmp_path / "x", replace(_small(), skeleton=KINECT20))
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "kept").write_text("mine")
    with pytest.raises(DataError, match="not an empty folder"):
        write_ntu(tmp_path / "x", _small())
    assert os.listdir(tmp_path / "x") == ["kept"] and os.listdir(tmp_path) == ["x"]


def test_a_path_that_can_not_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="can't write .skeleton files"):
        write_ntu(tmp_path / "file" / "x", _small())
