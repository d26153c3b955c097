"""What holds of every format: its files are told from all others, damage gives clear errors or fewer clips, and nothing is written but the
clips file. One writer per format makes the files; `make formats` draws on the same."""

from __future__ import annotations

import importlib
import os
import random
import tarfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks import formats
from skelmm_core import clips, sources
from skelmm_core.errors import SkelmmError
from skelmm_core.reading import examine

WRITERS = sorted(path.stem for path in formats.WRITERS.glob("*.py"))
MUTATIONS = 100  # per format


def format_of(writer: str) -> str:
    return formats.FORMAT_OF.get(writer, writer).replace("_", "-")


def write(writer: str, folder: Path, **options) -> Path:
    return importlib.import_module(f"writers.{writer}").write(folder, **options)


def files_of(data: Path) -> list[Path]:
    return sorted(p for p in ([data] if data.is_file() else data.rglob("*")) if p.is_file())


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Cut short, a byte changed, a stretch swapped or doubled, digits replaced by something that is no number or a huge one."""
    place, length = rng.randrange(len(content)), rng.randrange(1, 40)
    piece = content[place : place + length]
    match rng.randrange(7):
        case 0:
            return content[:place]
        case 1:
            return content[:place] + bytes([rng.randrange(256)]) + content[place + 1 :]
        case 2:
            return content[:place] + piece[::-1] + content[place + length :]
        case 3:
            return content[: place + length] + piece + content[place + length :]
        case 4:
            return content[:place] + b"nan" + content[place + 3 :]
        case 5:
            return content[:place] + b"99999999999999999999" + content[place + 20 :]
        case _:
            return content[:place] + b"\xff\xfe" + content[place + 2 :]


def test_every_format_has_a_writer():
    assert {format_of(writer) for writer in WRITERS} == {*sources.FORMATS} - {"sample"}


@pytest.mark.parametrize("writer", WRITERS)
def test_files_are_told_from_all_others_and_read_whole(writer, tmp_path):
    data = write(writer, tmp_path / "data", clips=30)
    assert [name for name in sources.FORMATS if sources.module(name).recognise(data)] == [format_of(writer)]
    report = clips.write(tmp_path / "x.clips", sources.read(data), progress=False)
    assert report.clips == 30 and not report.damaged
    assert len(clips.open_clips(tmp_path / "x.clips")) == 30
    again = clips.write(tmp_path / "y.clips", sources.read(data), progress=False, jobs=2 if writer == WRITERS[0] else 1)
    assert (tmp_path / "x.clips").read_bytes() == (tmp_path / "y.clips").read_bytes() and again.clips == 30


@pytest.mark.parametrize("writer", WRITERS)
def test_damage_gives_clear_errors_or_clips_that_keep_the_rules(writer, tmp_path):
    data = write(writer, tmp_path / "data", clips=12)
    files, rng = files_of(data), random.Random(writer)
    noticed = 0
    for number in range(MUTATIONS):
        file = files[number % len(files)]
        whole = file.read_bytes()
        file.write_bytes(mutated(whole, rng))
        try:
            source = sources.read(data)
            for found in examine(source, jobs=1):  # checks every recording
                noticed += any(getattr(item, "damaged", False) for item in found)
        except SkelmmError as problem:
            noticed += 1
            assert len(str(problem)) > 20
        finally:
            file.write_bytes(whole)
    assert noticed >= 10
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]


@pytest.mark.parametrize("writer", WRITERS)
def test_empty_files_and_foreign_content(writer, tmp_path):
    data = write(writer, tmp_path / "data", clips=12)
    for content in (b"", b"\0" * 100, b"hello world\n" * 50):
        for file in files_of(data):
            file.write_bytes(content)
        for format in ("auto", format_of(writer)):
            with pytest.raises(SkelmmError):
                clips.write(tmp_path / "x.clips", sources.read(data, format=format), progress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    data = write("nucla", tmp_path / "data", clips=12)

    def refused(path, onerror=None, followlinks=False):
        onerror(PermissionError(13, "Permission denied", str(path)))
        return iter(())

    monkeypatch.setattr("os.walk", refused)  # root may read everything, so permissions alone show nothing
    with pytest.raises(SkelmmError, match="can't look into .*Permission denied"):
        sources.read(data, format="nucla")


# -- `make formats`


def packed(writer: str, folder: Path) -> Path:
    """Generated data as real ones are kept."""
    data = write(writer, folder / writer, clips=24)
    if data.is_file():
        return data
    with tarfile.open(folder / f"{writer}.tar.xz", "w:xz") as archive:
        archive.add(data, "Skeleton")
    return folder / f"{writer}.tar.xz"


@pytest.mark.parametrize(("writer", "name", "tried"), [("utd_mhad", "UTD-MHAD (real)", 4), ("npz", "HDM05 cut (real)", 3)])
def test_damage_to_real_files_is_tried_and_reports_are_looked_at(writer, name, tried, tmp_path, monkeypatch):
    data, copies = packed(writer, tmp_path), formats.REAL[name][1]
    before = data.read_bytes()
    row = formats.real(name, data, copies, tmp_path / "scratch")
    assert (row.clips, row.refused, row.tried, row.problem) == (24, tried, tried, "") and data.read_bytes() == before
    monkeypatch.setattr("skelmm_core.audit.page.write", lambda *_: None)
    assert formats.real(name, data, copies, tmp_path / "no page").problem == "no page with the report"
    monkeypatch.setattr("skelmm_core.audit.keep", lambda *_: None)
    assert formats.real(name, data, copies, tmp_path / "no report").problem == "no report of what was read and left out"


def test_damaged_arrays_differ_from_the_whole_one_as_they_should():
    joints = np.random.default_rng(0).normal(size=(20, 3, 9))
    (_, zeros), (_, one) = formats.damages(joints)
    assert not zeros.any() and zeros.shape == joints.shape
    assert np.isnan(one).sum() == 1 and (one == joints).sum() == joints.size - 1


@pytest.mark.parametrize("way", ["unnoticed", "crash"])
def test_a_reader_that_takes_damaged_files_fails_the_run(way, tmp_path, monkeypatch, capsys):
    def bad(data: Path, target: Path, whole: int) -> bool:
        if way == "crash":
            raise ValueError("no clear error")
        return False

    monkeypatch.setattr(formats, "WRITERS", folder := tmp_path / "writers")
    monkeypatch.setattr(formats, "bad", bad)
    monkeypatch.setattr("sys.argv", ["formats", "--clips", "12"])
    monkeypatch.delenv("SKELMM_SHARED", raising=False)
    folder.mkdir()
    (folder / "npz.py").touch()
    with pytest.raises(SystemExit, match="not as it should be: npz"):
        formats.main()
    said = capsys.readouterr().out
    assert "SKELMM_SHARED is not set" in said
    assert ("not noticed: mine.npz cut to 0%, mine.npz cut to 20%" if way == "unnoticed" else "ValueError: no clear error") in said


def test_continuous_integration_reads_every_format():
    assert "make formats" in (formats.ROOT / ".ci" / "run").read_text().splitlines() and os.access(formats.ROOT / ".ci" / "run", os.X_OK)
