"""The clips file: what goes in comes out, it opens fast, and nothing wrong gets in or stays behind."""

from __future__ import annotations

import errno
import json
import os
import pickle
import resource
import time
import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skelmm_core import cli, clips, protocols
from skelmm_core.clips import Dropped, Recording, Source
from skelmm_core.errors import DataError
from skelmm_core.reading import Checked
from skelmm_core.recordings import as_given
from skelmm_core.skeletons import KINECT20, NTU25


def standing(frames: int = 4, bodies: int = 1, joints: int = 20, seed: int = 0) -> np.ndarray:
    """Noise in a box of a person's size, (M, T, V, 3)."""
    return np.random.default_rng(seed).uniform(-0.8, 0.8, (bodies, frames, joints, 3)).astype(np.float32)


def two_classes() -> list[Recording]:
    return [Recording(standing(3 + i, 1 + i % 2, seed=i), i % 2, f"clip {i}", subject=i, view=2, repetition=i) for i in range(4)]


def source(recordings: Iterable, **changes) -> Source:
    whole = Source("test", KINECT20, ("a", "b"), 30.0, "odd-even-subjects", "f" * 64, list(recordings), as_given)
    return replace(whole, **changes)


def make(path: Path, recordings: Iterable | None = None, **changes) -> clips.Clips:
    clips.write(path, source(two_classes() if recordings is None else recordings, **changes), progress=False)
    return clips.open_clips(path)


# -- round trip


@st.composite
def ragged(draw) -> list[Recording]:
    number = st.integers(-1, 2**31 - 1)
    coordinates = st.floats(-1e6, 1e6, width=32)
    items = []
    for i in range(draw(st.integers(2, 6))):
        shape = (draw(st.integers(1, 2)), draw(st.integers(1, 5)), 25, 3)
        joints = draw(hnp.arrays(np.float32, shape, elements=coordinates, fill=coordinates))
        name = f"{i} {draw(st.text(st.characters(categories=['L', 'N', 'P', 'S']), max_size=8))}"
        items.append(Recording(joints, 1, name, draw(number), draw(number), draw(number), draw(number)))
    return items


@given(ragged())
def test_ragged_clips_come_back_bit_for_bit(tmp_path_factory, items):
    path = tmp_path_factory.mktemp("clips") / "x.clips"
    opened = make(path, items, skeleton=NTU25)
    assert len(opened) == len(items)
    for i, item in enumerate(items):
        back = opened[i]
        assert back.joints.tobytes() == item.joints.tobytes() and back.joints.shape == item.joints.shape
        for field in ("label", "name", "subject", "view", "setup", "repetition"):
            assert getattr(back, field) == getattr(item, field)
    raw = safetensors.numpy.load_file(path)  # an independent reader
    rows = np.concatenate([item.joints.reshape(-1, 25, 3) for item in items])
    assert np.array_equal(raw["joints"][: len(rows)], rows) and not raw["joints"][len(rows) :].any()
    assert raw["names"].tobytes().decode() == "".join(item.name for item in items)


def test_facts_about_the_source_come_back(tmp_path):
    opened = make(tmp_path / "x.clips", title="generated motion (test)", frame_rate=29.97, class_names=("swipe →", "b"))
    assert (opened.title, opened.frame_rate, opened.class_names) == ("generated motion (test)", 29.97, ("swipe →", "b"))
    assert (opened.protocol, opened.fingerprint) == ("odd-even-subjects", "f" * 64)
    assert opened.skeleton == KINECT20 and opened.generated
    assert not make(tmp_path / "y.clips").generated
    assert list(opened.columns()) == ["label", "subject", "view", "setup", "repetition", "frames", "bodies"]
    assert opened.columns()["setup"].tolist() == [-1] * 4 and opened.frames.tolist() == [3, 4, 5, 6]
    assert list(opened.names) == [f"clip {i}" for i in range(4)] and opened.names[1:3] == ["clip 1", "clip 2"]
    assert opened[-1].name == "clip 3" and opened.names[-1] == "clip 3"


def test_the_torch_reader_of_safetensors_opens_it_and_it_holds_no_pickle(tmp_path):
    path = make(tmp_path / "x.clips", two_classes()[:3] + [replace(two_classes()[3], joints=standing(5, 1))]).path
    tensors = safetensors.torch.load_file(path)
    assert tensors["start"].dtype == torch.int64 and tensors["start"].tolist() == [0, 3, 11, 16, 21]
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata()["unit"] == "metre" and json.loads(file.metadata()["skeleton"])["name"] == "kinect20"


def test_take_equals_reading_one_by_one(tmp_path):
    opened = make(tmp_path / "x.clips")
    order = [3, 0, 3, 2]
    rows, starts, frames, bodies = opened.take(order)
    for n, i in enumerate(order):
        for m in range(bodies[n]):
            begin = starts[n] + m * frames[n]
            assert np.array_equal(rows[begin : begin + frames[n]], opened.joints_of(i)[m])
    assert len(rows) == sum(opened.frames[i] * opened.bodies[i] for i in order)
    assert opened.take([]).rows.shape == (0, 20, 3)


def test_joints_are_read_only_views_and_other_processes_can_open_the_same(tmp_path):
    opened = make(tmp_path / "x.clips")
    with pytest.raises(ValueError, match="read-only"):
        opened.joints_of(0)[0, 0, 0, 0] = 1
    with pytest.raises(IndexError):
        opened[4]
    assert np.array_equal(pickle.loads(pickle.dumps(opened)).joints_of(2), opened.joints_of(2))


def test_content_tells_data_apart_and_nothing_else(tmp_path):
    first = make(tmp_path / "x.clips")
    assert make(tmp_path / "y.clips").content == first.content
    changed = two_classes()
    changed[0].joints[0, 0, 0, 0] += 1e-3
    assert make(tmp_path / "z.clips", changed).content != first.content


# -- size and speed


def test_writing_holds_one_clip_at_a_time(tmp_path):
    def made(i: int) -> Recording:
        return Recording(np.full((1, 500, 20, 3), i, np.float32), i % 2, str(i))  # 24 MB in all

    tracemalloc.start()
    report = clips.write(tmp_path / "x.clips", source(range(200), read=made), progress=False, jobs=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.frames == 100_000 and (tmp_path / "x.clips").stat().st_size > 24e6
    assert peak < 3e6


def test_ntu120_size_opens_in_a_second_and_reads_no_joints(tmp_path):
    """The header and columns of 113,945 clips around a hole of 3 GB of joints, written by hand after the format's description."""
    count, frames = 113_945, 85
    rows = count * frames + count * frames % 2
    names = [f"S001C001P{i % 106:03}R{i // 106:07}" for i in range(count)]
    columns = {
        "start": np.arange(count + 1, dtype=np.int64) * frames,
        "name_end": np.cumsum([len(n) for n in names]),
        **{c: (np.arange(count) % 120).astype(np.int32) for c in ("label", "subject", "view", "setup", "repetition")},
        "frames": np.full(count, frames, np.int32),
        "bodies": np.ones(count, np.int32),
        "names": np.frombuffer("".join(names).encode(), np.uint8),
    }
    metadata = make(tmp_path / "small.clips", skeleton=NTU25, recordings=[replace(r, joints=standing(joints=25)) for r in two_classes()])
    with safetensors.safe_open(metadata.path, "numpy") as file:
        facts = file.metadata() | {"class_names": json.dumps([str(i) for i in range(120)])}
    table = {"__metadata__": facts, "joints": {"dtype": "F32", "shape": [rows, 25, 3], "data_offsets": [0, rows * 300]}}
    end = rows * 300
    for name, column in columns.items():
        kind = {"int64": "I64", "int32": "I32", "uint8": "U8"}[column.dtype.name]
        table[name] = {"dtype": kind, "shape": list(column.shape), "data_offsets": [end, end + column.nbytes]}
        end += column.nbytes
    header = json.dumps(table).encode()
    path = tmp_path / "large.clips"
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.seek(rows * 300, os.SEEK_CUR)
        for column in columns.values():
            file.write(column.tobytes())
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    opened = clips.open_clips(path)
    elapsed = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert len(opened) == count and opened.names[count - 1] == names[-1] and opened.joints_of(count - 1).shape == (1, frames, 25, 3)
    assert elapsed < 1
    assert after.ru_maxrss - before.ru_maxrss < 200_000  # kB, of a file of 2.9 GB
    path.unlink()


# -- bad input


def changed(item: int = 1, **fields) -> list[Recording]:
    items = two_classes()
    items[item] = replace(items[item], **fields)
    return items


def with_nan() -> np.ndarray:
    joints = standing(4, 2)
    joints[1, 2, 3, 0] = np.nan
    return joints


@pytest.mark.parametrize(
    ("recordings", "words"),
    [
        (changed(joints=with_nan()), ["'clip 1'", "frame 2", "body 1", "x of joint 3 (head)", "nan"]),
        (changed(joints=np.full((1, 2, 20, 3), 1e300)), ["'clip 1'", "frame 0", "inf"]),
        (changed(joints=np.full((1, 2, 20, 3), 1e7)), ["'clip 1'", "frame 0", "1e+07", "within 1e+06"]),
        (changed(joints=standing(joints=25)), ["'clip 1'", "(1, 4, 25, 3)", "20 joints of kinect20"]),
        (changed(joints=standing(bodies=3)), ["'clip 1'", "(3, 4, 20, 3)", "1 or 2 bodies"]),
        (changed(joints=standing(frames=0)), ["'clip 1'", "(1, 0, 20, 3)", "1 or more frames"]),
        (changed(joints=standing()[0]), ["'clip 1'", "(4, 20, 3)"]),
        (changed(label=2), ["'clip 1'", "label 2", "0..1"]),
        (changed(label=-1), ["'clip 1'", "label -1"]),
        (changed(subject=-2), ["'clip 1'", "subject is -2"]),
        (changed(view=2**31), ["'clip 1'", "view is 2147483648"]),
        (changed(name="clip 0"), ["two clips have the name 'clip 0'"]),
        (changed(name=""), ["name is empty"]),
        (changed(name="a\nb"), ["unprintable"]),
        (changed(name="\udcff"), ["unprintable"]),
        ([], ["no clip"]),
        ([Dropped("x", "torn")], ["no clip"]),
    ],
)
def test_wrong_clips_are_named_and_nothing_is_left(tmp_path, recordings, words):
    before = make(tmp_path / "x.clips").path.read_bytes()
    with pytest.raises(DataError) as error:
        clips.write(tmp_path / "x.clips", source(recordings), progress=False, strict=True)
    assert all(word in str(error.value) for word in words), error.value
    assert [p.name for p in tmp_path.iterdir()] == ["x.clips"] and (tmp_path / "x.clips").read_bytes() == before


@pytest.mark.parametrize(
    ("number", "advice"), [(errno.ENOSPC, "free some space"), (errno.EROFS, "read-only"), (errno.EACCES, "another folder")]
)
def test_full_disk_and_read_only_folder(tmp_path, monkeypatch, number, advice):
    old = make(tmp_path / "x.clips").path.read_bytes()

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(DataError, match=f"{os.strerror(number)}.*{advice}"):
        clips.write(tmp_path / "x.clips", source(two_classes()), progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["x.clips"] and (tmp_path / "x.clips").read_bytes() == old


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_disk_that_fills_up_in_the_middle(tmp_path, monkeypatch):
    real = open
    monkeypatch.setattr("builtins.open", lambda path, *a, **k: real("/dev/full" if str(path).endswith(".writing") else path, *a, **k))
    with pytest.raises(DataError, match="No space left"):
        clips.write(tmp_path / "x.clips", source(two_classes()), progress=False)
    assert not list(tmp_path.iterdir())


def stops_at(name: str, error: BaseException):
    def read(recording: Recording) -> Recording:
        if recording.name == name:
            raise error
        return recording

    return read


def test_a_disk_that_fills_up_after_a_while_costs_nothing_that_was_written(tmp_path, monkeypatch):
    whole = make(tmp_path / "whole.clips").path.read_bytes()
    monkeypatch.setattr("skelmm_core.writing.SAVE_EVERY", 0.0)
    full = stops_at("clip 3", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with pytest.raises(DataError, match="No space left.*what was written up to here is kept.*free some space"):
        clips.write(tmp_path / "x.clips", source(two_classes(), read=full), progress=False)
    assert clips.write(tmp_path / "x.clips", source(two_classes()), progress=False).resumed == 3
    assert (tmp_path / "x.clips").read_bytes() == whole


def test_strict_keeps_what_was_written_for_a_run_that_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr("skelmm_core.writing.SAVE_EVERY", 0.0)
    recordings = [*two_classes(), replace(two_classes()[0], name="bad", joints=with_nan())]
    with pytest.raises(DataError, match="is nan.*without --strict the same command goes on"):
        clips.write(tmp_path / "x.clips", source(recordings), progress=False, strict=True)
    report = clips.write(tmp_path / "x.clips", source(recordings), progress=False)
    assert (report.resumed, report.clips, [d.name for d in report.damaged]) == (4, 4, ["bad"])


def test_strict_does_not_take_up_what_a_lenient_run_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("skelmm_core.writing.SAVE_EVERY", 0.0)
    recordings = [replace(two_classes()[0], name="bad", joints=with_nan()), *two_classes()]
    with pytest.raises(KeyboardInterrupt):
        clips.write(tmp_path / "x.clips", source(recordings, read=stops_at("clip 3", KeyboardInterrupt())), progress=False)
    with pytest.raises(DataError, match="is nan"):
        clips.write(tmp_path / "x.clips", source(recordings), progress=False, strict=True)


def test_an_interrupt_in_the_middle_of_an_item_leaves_whole_items(tmp_path, monkeypatch):
    """An item can hold several clips; what was written of one that isn't done is not taken up."""
    clip = two_classes()
    whole = clips.write(tmp_path / "whole.clips", source(clip), progress=False).path.read_bytes()
    pairs = source([clip[:2], clip[2:]], read=list)
    real, calls = Checked.__getattribute__, []

    def interrupted(self, name):
        calls.append(name == "joints")
        if sum(calls) == 4:  # the second clip of the second item
            raise KeyboardInterrupt
        return real(self, name)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checked, "__getattribute__", interrupted)
        clips.write(tmp_path / "x.clips", pairs, progress=False)
    assert clips.write(tmp_path / "x.clips", pairs, progress=False).resumed == 2
    assert (tmp_path / "x.clips").read_bytes() == whole


def test_of_two_clips_of_one_name_the_first_stays(tmp_path):
    report = clips.write(tmp_path / "x.clips", source([*two_classes(), two_classes()[1]]), progress=False)
    assert report.clips == 4 and "two clips have the name 'clip 1'" in report.damaged[0].reason


def test_a_class_with_a_single_clip_is_kept_out_of_both_parts(tmp_path):
    recordings = [*two_classes()[:3], replace(two_classes()[0], name="clip 9", subject=9)]
    report = clips.write(tmp_path / "x.clips", source(recordings), progress=False)
    assert report.alone == ("class 1 'b' ('clip 1')",) and "a single clip" in str(report)
    clip = clips.open_clips(report.path)
    parts = protocols.split(clip, "subject == 9")
    assert [clip.names[i] for part in parts[:2] for i in part] == ["clip 9", "clip 0", "clip 2"]


def test_folder_where_a_file_should_be_and_the_reverse(tmp_path):
    (tmp_path / "x.clips").mkdir()
    with pytest.raises(DataError, match="that is a folder"):
        clips.write(tmp_path / "x.clips", source(two_classes()), progress=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="can't write"):
        clips.write(tmp_path / "file" / "x.clips", source(two_classes()), progress=False)


def test_interrupted_writing_goes_on(tmp_path):
    whole = make(tmp_path / "whole.clips").path.read_bytes()
    path, read = tmp_path / "x.clips", []

    def stopped(recording: Recording) -> Recording:
        if recording.name == "clip 2":
            raise KeyboardInterrupt
        return recording

    def noted(recording: Recording) -> Recording:
        read.append(recording.name)
        return recording

    with pytest.raises(KeyboardInterrupt):
        clips.write(path, source(two_classes(), read=stopped), progress=False)
    assert not path.exists()
    report = clips.write(path, source(two_classes(), read=noted), progress=False)
    assert read == ["clip 2", "clip 3"] and report.resumed == 2
    assert path.read_bytes() == whole and sorted(p.name for p in tmp_path.iterdir()) == ["whole.clips", "x.clips"]


def test_work_on_another_source_is_not_taken_up(tmp_path):
    def stopped(recording: Recording) -> Recording:
        if recording.name == "clip 2":
            raise KeyboardInterrupt
        return recording

    with pytest.raises(KeyboardInterrupt):
        clips.write(tmp_path / "x.clips", source(two_classes(), read=stopped), progress=False)
    assert clips.write(tmp_path / "x.clips", source(two_classes(), fingerprint="e" * 64), progress=False).resumed == 0


def test_a_killed_writer_at_any_point_goes_on_to_the_same_file(tmp_path, monkeypatch):
    """Whatever is left of journal and joints, torn at any byte, gives the same clips in the end."""
    monkeypatch.setattr("skelmm_core.writing.SAVE_EVERY", 0.0)
    whole = make(tmp_path / "whole.clips").path.read_bytes()
    path = tmp_path / "x.clips"

    def stopped(recording: Recording) -> Recording:
        if recording.name == "clip 3":
            raise KeyboardInterrupt
        return recording

    with pytest.raises(KeyboardInterrupt):
        clips.write(path, source(two_classes(), read=stopped), progress=False)
    part, journal = (tmp_path / f".x.clips.{end}" for end in ("writing", "journal"))
    joints, lines = part.read_bytes(), journal.read_bytes()
    for size in range(0, len(lines), 37):
        part.write_bytes(joints)
        journal.write_bytes(lines[:size])
        clips.write(path, source(two_classes()), progress=False)
        assert path.read_bytes() == whole
    for size in range(0, len(joints), 811):
        part.write_bytes(joints[:size])
        journal.write_bytes(lines)
        clips.write(path, source(two_classes()), progress=False)
        assert path.read_bytes() == whole


def test_damaged_recordings_are_left_out_and_named(tmp_path):
    report = clips.write(tmp_path / "x.clips", source([*two_classes(), *changed(name="bad", joints=with_nan())[1:2]]), progress=False)
    assert report.clips == 4 and [d.name for d in report.damaged] == ["bad"]
    assert "damaged and left out: 1 of 5" in str(report) and "x of joint 3 (head) is nan" in str(report)


def killed(recording: Recording) -> Recording:
    if recording.name == "clip 30":
        os.kill(os.getpid(), 9)
    return recording


def test_a_killed_reader_process_costs_nothing_that_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr("skelmm_core.reading.BLOCK", 8)
    monkeypatch.setattr("skelmm_core.reading.ALONE", 0)  # this process reads nothing itself
    many = [Recording(standing(3, seed=i), i % 2, f"clip {i}") for i in range(40)]
    with pytest.raises(DataError, match="was killed.*what was written is kept.*--jobs 1"):
        clips.write(tmp_path / "x.clips", source(many, read=killed), progress=False, jobs=2)
    assert not (tmp_path / "x.clips").exists()
    report = clips.write(tmp_path / "x.clips", source(many), progress=False, jobs=1)
    assert report.clips == 40 and report.resumed >= 1
    assert (tmp_path / "x.clips").read_bytes() == make(tmp_path / "whole.clips", many).path.read_bytes()


def test_two_writers_of_one_file(tmp_path):
    def again(recording: Recording) -> Recording:
        with pytest.raises(DataError, match="another process is writing"):
            clips.write(tmp_path / "x.clips", source(two_classes()), progress=False)
        return recording

    assert clips.write(tmp_path / "x.clips", source(two_classes(), read=again), progress=False).clips == 4


def test_several_processes_give_the_same_file(tmp_path):
    many = [Recording(standing(3 + i % 5, seed=i), i % 2, f"clip {i}", changes={"bodies": i % 3} if i % 3 else {}) for i in range(40)]
    alone = clips.write(tmp_path / "a.clips", source(many), progress=False, jobs=1)
    together = clips.write(tmp_path / "b.clips", source(many), progress=False, jobs=2)
    assert (tmp_path / "a.clips").read_bytes() == (tmp_path / "b.clips").read_bytes()
    assert alone.changes == together.changes == {"bodies": (39, 26)}


def test_files_that_are_not_whole_clips(tmp_path):
    path = make(tmp_path / "x.clips").path
    whole = path.read_bytes()
    cases = {
        "empty": (b"", "is empty"),
        "short": (whole[:5], "not a clips file"),
        "in the header": (whole[:300], "cut short"),
        "in the joints": (whole[:-9], "torn"),
        "longer": (whole + b"x", "torn"),
        "text": (b"hello, this is a text file of some length", "not a clips file"),
        "no table": ((2).to_bytes(8, "little") + b"[]", "not a clips file"),
        "foreign": (safetensors.numpy.save({"w": np.zeros(3)}), "not a clips file"),
        "other version": (whole.replace(b"skelmm-clips-1", b"skelmm-clips-9"), "skelmm-clips-9"),
        "skeleton": (whole.replace(b'\\"axis\\"', b'\\"axes\\"'), "unknown field 'axes'"),
        "shape": (whole.replace(b'"label": {"dtype": "I32"', b'"label": {"dtype": "F32"'), "damaged"),
    }
    for name, (content, words) in cases.items():
        path.write_bytes(content)
        with pytest.raises(DataError, match=words):
            clips.open_clips(path)
        assert content != whole, name
    for missing in (tmp_path / "none.clips", tmp_path):
        with pytest.raises(DataError, match="no clips file at"):
            clips.open_clips(missing)


@given(st.data())
def test_damage_never_gets_past_opening_as_anything_but_a_data_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("clips") / "x.clips"
    make(path)
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    try:
        opened = clips.open_clips(path)
    except DataError:
        return
    for i in range(len(opened)):  # what opens can be read
        assert opened.joints_of(i).shape[1] == opened.frames[i]


# -- report


def test_report_counts_and_warns(tmp_path):
    tall = np.zeros((1, 3, 20, 3), np.float32)
    tall[..., 2, 1], tall[..., 19, 1] = 1.5, -0.1
    items = [Recording(tall, 0, "0"), Dropped("x", "torn"), Recording(np.tile(tall, (2, 1, 1, 1)), 0, "1"), Dropped("y", "torn")]
    report = clips.write(tmp_path / "x.clips", source(items), progress=False)
    assert (report.clips, report.frames, report.two_bodies, report.per_class, report.upright) == (2, 6, 1, (2, 0), 1.0)
    assert report.height == pytest.approx(1.6)
    assert report.warnings == ("1 of 2 classes have no clip",)
    assert "left out 2: torn (first: x)" in str(report)
    wrong = [replace(items[0], joints=tall * -1000), replace(items[2], joints=tall * -1000)]
    warnings = clips.write(tmp_path / "x.clips", source(wrong, class_names=("a",)), progress=False).warnings
    assert "1.6e+03 m" in warnings[0] and "are these metres" in warnings[0] and "not down" in warnings[1]


def test_a_preparation_that_was_resumed_says_so(tmp_path, monkeypatch, capsys):
    def stopped(recording: Recording) -> Recording:
        if recording.name == "clip 2":
            raise KeyboardInterrupt
        return recording

    for path in (tmp_path / "by_function.clips", tmp_path / "by_command.clips"):
        with pytest.raises(KeyboardInterrupt):
            clips.write(path, source(two_classes(), read=stopped), progress=False)
    report = clips.write(tmp_path / "by_function.clips", source(two_classes()), progress=False)
    assert str(report).splitlines()[0].endswith("(2 clips had been written before)")
    assert "written before" not in str(clips.write(tmp_path / "new.clips", source(two_classes()), progress=False))

    monkeypatch.setattr("skelmm_core.sources.read", lambda *_, **__: source(two_classes()))
    said = []
    for name in ("by_command", "another"):
        cli.main(["prepare", "anything", str(tmp_path / f"{name}.clips")])
        said.append(capsys.readouterr().out)
    assert said[0].startswith("went on from an interrupted run, which had written 2 of the clips\n") and "interrupted" not in said[1]
