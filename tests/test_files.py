"""Files that are whole or not there."""

from __future__ import annotations

import os

import pytest

from skelmm_core.errors import CheckpointError
from skelmm_core.files import STALE, replacing


def names(folder) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and names(tmp_path) == ["a.bin"]


def test_what_a_killed_process_left_is_removed_and_what_another_one_writes_is_not(tmp_path):
    path = tmp_path / "a[1].bin"
    left, others, writing = (tmp_path / name for name in (".a[1].bin.17.part", ".b.bin.17.part", ".a[1].bin.18.part"))
    for part in (left, others, writing):
        part.write_bytes(b"half")
    for part in (left, others):
        os.utime(part, (part.stat().st_mtime - STALE - 60,) * 2)
    with replacing(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new" and names(tmp_path) == sorted([path.name, others.name, writing.name])


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    message = "can't write .*b'.*; nothing half written was left behind"
    with pytest.raises(CheckpointError, match=message), replacing(tmp_path / "a" / "b", CheckpointError):
        pass


def test_two_writers_of_one_process_number_do_not_mix(tmp_path):
    """As on two machines, or in two containers, that share a folder: whoever ends last has the whole file."""
    path = tmp_path / "a.bin"
    with replacing(path) as one:
        one.write(b"a" * 5000)
        with replacing(path) as other:
            other.write(b"b" * 9000)
        assert path.read_bytes() == b"b" * 9000
        one.write(b"a" * 5000)
    assert path.read_bytes() == b"a" * 10000 and names(tmp_path) == ["a.bin"]
