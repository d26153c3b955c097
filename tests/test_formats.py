"""What holds of every format: its files are told from all others, damage gives clear errors or fewer clips, and nothing is written but the
clips file. One writer per format makes the files; `make formats` draws on the same."""

from __future__ import annotations

import importlib
import random
from pathlib import Path

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
