"""UTD-MHAD's reader against files written for the tests."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import scipy.io
from little_files import everything, folder, little_utd, mat, tarred, zipped

from skelmm_core import sources
from skelmm_core.errors import DataError
from skelmm_core.sources import utd_mhad


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


def test_unpacked_size_is_looked_at_before_unpacking_and_empty_clips_are_left_out(tmp_path):
    huge, empty = (io.BytesIO() for _ in range(2))
    scipy.io.savemat(huge, {"d_skel": np.zeros((20, 3, 150_000), np.float32)}, do_compression=True)
    scipy.io.savemat(empty, {"d_skel": np.zeros((20, 3, 5))}, do_compression=True)
    assert len(huge.getvalue()) < 100_000
    (tmp_path / "a1_s1_t1_skeleton.mat").write_bytes(huge.getvalue())
    (tmp_path / "a1_s1_t2_skeleton.mat").write_bytes(empty.getvalue())
    with pytest.raises(DataError, match="more than any recording"):
        list(sources.read(tmp_path).recordings)
    (tmp_path / "a1_s1_t1_skeleton.mat").unlink()
    (found,) = sources.read(tmp_path).recordings
    assert found.reason == "no body in any frame" and found.name == "a1_s1_t2"
