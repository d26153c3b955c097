"""The reader of NTU RGB+D's raw files against files written for the tests and a slow reader."""

from __future__ import annotations

import json
import re
import tarfile
import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from little_files import everything, folder, little_utd, one_of_each_class, people, skeleton_text, tarred, zipped
from writers.ntu import recording, write
from writers.ntu import text as written

from skelmm_core import clips, sources
from skelmm_core.clips import Dropped
from skelmm_core.errors import DataError
from skelmm_core.reading import checked
from skelmm_core.sources import members, ntu, ntu_plain, ntu_text
from skelmm_core.sources.bodies import as_published
from skelmm_core.sources.ntu_names import NAMES


def by_lines(text: str) -> np.ndarray:
    """A slow reader, line by line: the first two bodies of each frame as they come."""
    lines = iter(text.splitlines())
    frames = int(next(lines))
    joints = np.zeros((2, frames, 25, 3), np.float32)
    most = 1
    for frame in range(frames):
        for body in range(int(next(lines))):
            next(lines)
            for joint in range(int(next(lines))):
                fields = next(lines).split()
                if body < 2:
                    most = max(most, body + 1)
                    joints[body, frame, joint] = [float(v) for v in fields[:3]]
    assert next(lines, None) is None
    return joints[:most]


@st.composite
def scenes(draw):
    coordinate = st.floats(-10, 10, width=32)
    counts = draw(st.lists(st.integers(0, 4), min_size=1, max_size=6))
    return [list(draw(hnp.arrays(np.float32, (n, 25, 3), elements=coordinate, fill=coordinate))) for n in counts]


@given(scenes(), st.sampled_from(["\n", "\r\n"]))
def test_skeleton_text_comes_back(scene, newline):
    text = skeleton_text(scene, newline)
    joints = ntu.parse(text.encode(), "x")
    assert joints.dtype == np.float32 and np.array_equal(joints, by_lines(text))
    for frame, bodies in enumerate(scene):
        for body, expected in enumerate(bodies[:2]):
            assert np.array_equal(joints[body, frame], expected)


@given(scenes(), st.data())
def test_no_cut_of_a_skeleton_text_passes_for_a_whole_one(scene, data):
    whole = skeleton_text(scene).rstrip()
    words = whole.split()
    keep = data.draw(st.integers(0, len(words) - 1))
    with pytest.raises(DataError):
        ntu.parse(" ".join(words[:keep]).encode(), "x")
    with pytest.raises(DataError, match="goes on after its last frame"):
        ntu.parse((whole + " 1").encode(), "x")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'x' is empty"),
        ("  \n", "'x' is empty"),
        ("two frames", "expected a number"),
        ("1\n1\n\x00", "expected a number"),
        ("1.5", "frame count is 1.5"),
        ("nan", "frame count is nan"),
        ("-1", "frame count is -1"),
        ("1e99", "frame count is 1e"),
        ("3\n0\n0\n", "ends in frame 2 of 3"),
        ("2\n0\n-1\n", "body count of frame 1 is -1"),
        ("1\n900000000\n", "body count of frame 0 is 9e"),
        ("1\n900000\n1 2", "ends in frame 0 of 1"),
        (skeleton_text([people(1)], joints=20), "frame 0: 20 joints, expected 25"),
    ],
)
def test_damaged_skeleton_text(text, words):
    with pytest.raises(DataError, match=words):
        ntu.parse(text.encode(), "x")


def test_folder_zip_tar_and_single_file_give_the_same(tmp_path):
    files = one_of_each_class()
    shadows = {"__MACOSX/._S001C002P001R002A001.skeleton": b"\x00", ".S009.skeleton": b"\x00"}
    whole = folder(tmp_path / "raw", {f"deep/er/{k}": v for k, v in files.items()} | shadows)
    expected = everything(sources.read(whole))
    assert [row[:6] for row in expected] == [
        ("S001C002P001R002A001", 0, 1, 2, 1, 2),
        ("S001C002P001R002A055", 54, 1, 2, 1, 2),
        ("S001C002P003R002A001", 0, 3, 2, 1, 2),
        ("S001C002P003R002A055", 54, 3, 2, 1, 2),
    ]
    assert [row[7] for row in expected] == [(1, 3, 25, 3), (2, 3, 25, 3)] * 2
    backwards = dict(reversed(files.items())) | shadows
    assert everything(sources.read(zipped(tmp_path / "raw.zip", backwards))) == expected
    assert everything(sources.read(tarred(tmp_path / "raw.tar.xz", backwards))) == expected
    one = whole / "deep/er/S001C002P003R002A055.skeleton"
    source = sources.read(one)
    assert everything(source) == expected[3:] == everything(source)  # and a source can be read twice


def test_ntu_source_states_its_facts(tmp_path):
    source = sources.read(folder(tmp_path, one_of_each_class()))
    assert (source.title, source.frame_rate, source.protocol, len(source.items)) == ("NTU RGB+D 60", 30.0, "cross-subject", 4)
    assert source.class_names == NAMES[:60] and source.skeleton.name == "ntu25"
    more = sources.read(folder(tmp_path, {"S018C001P050R001A061.skeleton": skeleton_text([people(1)])}))
    assert more.title == "NTU RGB+D 120" and more.class_names == NAMES and more.class_names[60] == "put on headphone"
    assert len(NAMES) == 120 == len(set(NAMES)) and NAMES[0] == "drink water" and NAMES[59] == "walking apart"


def test_incomplete_and_empty_recordings_are_left_out_with_the_reason(tmp_path):
    raw = folder(tmp_path / "raw", one_of_each_class() | {"S001C002P001R001A001.skeleton": "2\n0\n0\n"})
    listed = tmp_path / "missing.txt"
    listed.write_text("535 of the samples have missing skeletons.\n\nS001C002P003R002A055\nS001C001P001R001A001.skeleton\n")
    source = sources.read(raw, incomplete=listed)
    dropped = [r for r in source.recordings if isinstance(r, Dropped)]
    assert dropped == [Dropped("S001C002P001R001A001", "no body in any frame"), Dropped("S001C002P003R002A055", "listed as incomplete")]
    assert source.fingerprint != sources.read(raw).fingerprint
    report = clips.write(tmp_path / "x.clips", source, progress=False)
    assert report.alone == ("class 54 'hugging' ('S001C002P001R002A055')",)
    listed.write_text("nothing here")
    with pytest.raises(DataError, match="lists no recording"):
        sources.read(raw, incomplete=listed)
    with pytest.raises(DataError, match="can't read the list"):
        sources.read(raw, incomplete=tmp_path / "none.txt")


def test_about_table_names_other_recordings(tmp_path):
    about = {"title": "generated motion (test)", "class_names": ["a"] * 55, "frame_rate": 25, "protocol": "odd-even-subjects"}
    raw = folder(tmp_path / "raw", one_of_each_class() | {"skelmm.json": json.dumps(about)})
    source = sources.read(raw)
    assert (source.title, source.class_names, source.frame_rate, source.protocol) == (about["title"], ("a",) * 55, 25.0, about["protocol"])
    for table, words in (
        ({"titel": "x"}, "unknown field 'titel'; did you mean 'title'"),
        ({"class_names": [1]}, "'class_names' is"),
        ({"frame_rate": "fast"}, "'frame_rate' is 'fast'"),
        ({"class_names": ["a"]}, "outside 1..1"),
        ([], "must be a JSON table"),
    ):
        (raw / "skelmm.json").write_text(json.dumps(table))
        with pytest.raises(DataError, match=words):
            everything(sources.read(raw))
    (raw / "skelmm.json").write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        sources.read(raw)


def test_wrong_ntu_members_are_named(tmp_path):
    good = one_of_each_class()
    bad = "S001C001P001R001A001.skeleton"
    for files, words in (
        (good | {bad: "3\n0\n"}, f"{bad}' ends in frame 1 of 3"),
        (good | {bad: ""}, f"{bad}' is empty"),
        (good | {bad: skeleton_text([people(1)]).replace("268.1", "nan", 1).replace("-", "nan ", 1)}, bad),
        (good | {"wave.skeleton": ""}, "'wave.skeleton' is not named like"),
        (good | {"S001C001P001R001A121.skeleton": ""}, "outside 1..60"),
        (good | {"S001C001P001R001A000.skeleton": ""}, "outside 1..60"),
    ):
        with pytest.raises(DataError, match=re.escape(words)):
            everything(sources.read(zipped(tmp_path / "raw.zip", files)))


def test_misnamed_files_stop_nothing(tmp_path):
    good = one_of_each_class()
    text = next(iter(good.values()))
    raw = folder(tmp_path / "raw", good | {name: text for name in ("wave.skeleton", "S001C001P001R001A121.skeleton")})
    report = clips.write(tmp_path / "x.clips", sources.read(raw, format="ntu"), progress=False)
    assert report.clips == len(good) and sorted(d.name for d in report.damaged) == ["S001C001P001R001A121", "wave"]
    assert len(clips.open_clips(report.path).class_names) == 60
    with pytest.raises(DataError, match=r"'wave.skeleton' is not named like"):
        sources.read(folder(tmp_path / "other", {"wave.skeleton": text}), format="ntu")


def test_nan_in_a_file_names_clip_and_frame(tmp_path):
    broken = people(1)
    broken[0][7, 2] = np.nan
    files = one_of_each_class() | {"S001C001P001R001A001.skeleton": skeleton_text([people(1), broken])}
    with pytest.raises(DataError, match=r"'S001C001P001R001A001', frame 1, body 0: z of joint 7 \(left hand\) is nan"):
        clips.write(tmp_path / "x.clips", sources.read(folder(tmp_path / "raw", files)), progress=False, strict=True)
    assert not (tmp_path / "x.clips").exists()


@pytest.mark.parametrize("name", ["../../{}", "/tmp/{}", "a/../{}", "C:\\{}"])
def test_archives_with_paths_that_lead_outside_are_refused(tmp_path, name):
    evil = {name.format(file): text for file, text in one_of_each_class().items()}
    for archive in (zipped(tmp_path / "raw.zip", evil), tarred(tmp_path / "raw.tar.xz", evil)):
        with pytest.raises(DataError, match="would lie outside"):
            sources.read(archive, format="ntu")


def test_archives_with_links_are_refused(tmp_path):
    path = tarred(tmp_path / "raw.tar.xz", one_of_each_class())
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("S001C002P001R002A001.skeleton")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    with pytest.raises(DataError, match="is a link"):
        sources.read(path, format="ntu")


def test_several_archives_are_one_source(tmp_path):
    files = one_of_each_class()
    names = sorted(files)
    parts = [zipped(tmp_path / f"{i}.zip", {n: files[n] for n in names[i::2]}) for i in (0, 1)]
    assert everything(sources.read(parts)) == everything(sources.read(zipped(tmp_path / "all.zip", files)))
    with pytest.raises(DataError, match="several formats at once"):
        sources.read([parts[0], tarred(tmp_path / "utd.tar.xz", little_utd()[0])])


def test_two_formats_in_one_folder(tmp_path):
    raw = folder(folder(tmp_path / "both", one_of_each_class()), little_utd()[0])
    with pytest.raises(DataError, match="2 formats, ntu and utd-mhad.*--format"):
        sources.read(raw)
    assert len(everything(sources.read(raw, format="ntu"))) == 4


def test_member_larger_than_any_recording_is_refused(tmp_path, monkeypatch):
    raw = zipped(tmp_path / "raw.zip", one_of_each_class())
    monkeypatch.setattr(members, "LARGEST_MEMBER", 1000)
    with pytest.raises(DataError, match="more than any recording"):
        everything(sources.read(raw))
    monkeypatch.setattr(members, "LARGEST_TAR", 10_000)
    with pytest.raises(DataError, match="pack it as a zip"):
        sources.read(tarred(tmp_path / "raw.tar.xz", one_of_each_class()))


# -- fast and exact: what is read line by line, number by number or many characters at a time is the same


WAYS = ("{:.7g}", "{:.7g}", "{:.9g}", "{:.6f}", "{:.14f}", "{:.1f}", "{:.0f}", "{!r}", "{:E}", "{:.3e}")


def as_printed(draw) -> str:
    """A coordinate in one of the ways that programs print it."""
    value = draw(st.one_of(st.floats(-9, 9), st.floats(-1e-3, 1e-3), st.floats(-200, 200), st.sampled_from([0.0, -0.0, 1.0, 1e-30, 1e12])))
    return draw(st.sampled_from(WAYS)).format(value)


REST = "5 4.25 -1.5 0 0.5 1e-05 -7 0 2".split()
PUT = (b"", b" ", b"\n", b"\r", b"\t", b"7", b"0 ", b" 0", b"x", b"/", b":", b"+", b",", b"_", b"\0", b"\xff", b"e", b"E3")


@st.composite
def printed_texts(draw) -> str:
    """Texts of one or two frames whose coordinates are printed in all ways; the same few stand on all lines, which are many."""
    words = [as_printed(draw) for _ in range(draw(st.integers(3, 12)))]
    counts = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    lines, place = [str(len(counts))], 0
    for count in counts:
        lines.append(str(count))
        for number in range(count):
            lines += [f"7205759403793{number:04} 0 1 1 0 0 0 0.05 -0.5 2", "25"]
            for joint in range(25):
                place += 1 + joint % 2
                lines.append(" ".join([words[(place + axis) % len(words)] for axis in range(3)] + REST))
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines) + draw(st.sampled_from(["\n", ""]))


@given(printed_texts())
def test_numbers_are_those_that_float_gives(text):
    joints, expected = ntu.parse(text.encode(), "x"), by_lines(text)
    assert joints.tobytes() == expected.tobytes()  # to the last bit, signs of zeros included


@given(st.lists(printed_texts(), min_size=1, max_size=4))
def test_texts_that_are_read_together(texts):
    found = ntu_text.scenes([t.encode() for t in texts], with_ids=True)
    assume(found is not None)  # where every coordinate is printed unusually, such as 0, they are read one by one
    for text, scene in zip(texts, found, strict=True):
        alone = ntu_text.scene(text.encode(), "x", with_ids=True)
        by_number = ntu_text._numbers(text.encode(), "x", 9)
        assert np.array_equal(scene.counts, by_number[0]) and scene.joints.tobytes() == by_number[2].tobytes()
        assert all(np.array_equal(getattr(scene, f), getattr(alone, f)) for f in ("counts", "frame", "rank", "joints"))
        assert list(scene.ids) == list(alone.ids) == [line.split()[0].encode() for line in text.splitlines() if line.startswith("72057594")]
        assert np.array_equal(as_published(scene).joints, by_lines(text))


@settings(max_examples=300)
@given(printed_texts(), st.data())
def test_fast_reading_never_takes_what_exact_reading_refuses_or_reads_otherwise(text, data):
    whole = text.encode()
    begin = data.draw(st.integers(0, len(whole)))
    end = min(len(whole), begin + data.draw(st.integers(0, 3)))
    changed = whole[:begin] + data.draw(st.sampled_from(PUT)) + whole[end:]
    fast = ntu_plain.read([changed], 2)
    try:
        exact = ntu_text._numbers(changed, "x", 2)
    except DataError:
        if fast is not None:  # fields that nobody needs may be ill-formed, as long as nothing but digits, dots and minus signs is in them
            odd = [w for w in changed.split() if not NUMBER.fullmatch(w)]
            assert odd and all(set(w) <= set(b"0123456789.-") for w in odd) and np.isfinite(fast[0][2]).all()
        return
    if fast is not None:
        assert np.array_equal(fast[0][0], exact[0]) and np.array_equal(fast[0][1], exact[1]) and fast[0][2].tobytes() == exact[2].tobytes()


NUMBER = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@pytest.mark.parametrize(
    "word", ["1.2.3", "-", ".", "0.1-2", "--0.5", "0..5", "1e", "0.5e-", "0x1p3", "1_0", "nan0", "0.12345678.9", "0,5"]
)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_coordinate_that_is_no_number_is_refused(word, axis):
    lines = skeleton_text([people(1)]).splitlines()
    fields = lines[10].split()
    fields[axis] = word
    with pytest.raises(DataError, match="'x'.*(expected a number|goes on after|ends in|joints, expected|count)"):
        ntu.parse("\n".join([*lines[:10], " ".join(fields), *lines[11:]]).encode(), "x")


def test_usual_files_are_read_fast(tmp_path):
    """The fast way is the one that is taken: for the files of the writers, and with Windows' line ends."""
    raw = write(tmp_path / "raw", clips=6)
    texts = [p.read_bytes() for p in sorted(raw.iterdir())]
    assert ntu_plain.read(texts, 2) is not None
    assert ntu_plain.read([t.replace(b"\n", b"\r\n") for t in texts], 2) is not None
    for found in sources.read(raw).recordings:
        assert np.array_equal(found.joints, by_lines((raw / f"{found.name}.skeleton").read_text()))


@pytest.mark.parametrize("frames", [100_000, 999_999, 10**30])
def test_more_frames_than_an_hour_are_refused(frames):
    for text in (f"{frames}\n0\n", f"{frames}\n" + "0\n" * min(frames, 100_000)):
        with pytest.raises(DataError, match="frame count is 1e|frame count is 999999|frame count is 100000"):
            ntu.parse(text.encode(), "x")


@pytest.mark.parametrize(
    "text", [b"9\n" + b"0\n" * 1_000_000, b"1\n" + b"1 " * 1_000_000, b"1" * 2_000_000, b"1\n1\n" + b"-0.5e-5 " * 300_000]
)
def test_memory_stays_within_some_times_the_text(text):
    tracemalloc.start()
    with pytest.raises(DataError):
        ntu.parse(text, "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * len(text)


# -- many files, and damaged ones


@pytest.fixture
def together(monkeypatch):
    """Files are read together even where there are few."""
    monkeypatch.setattr(ntu, "MANY", 1)


@pytest.mark.parametrize("bodies", ["as-published", "tracked"])
def test_files_read_together_give_what_each_gives_alone(tmp_path, monkeypatch, bodies):
    raw = write(tmp_path / "raw", clips=12)
    (raw / "S001C001P001R002A007.skeleton").write_text("2\n0\n0\n")
    alone = sources.read(raw, bodies=bodies)
    expected = [r if isinstance(r, Dropped) else (r.name, r.label, r.joints.tobytes(), r.changes) for r in alone.recordings]
    monkeypatch.setattr(ntu, "MANY", 1)
    monkeypatch.setattr(ntu, "VOLUME", 300_000)
    source = sources.read(raw, bodies=bodies)
    assert 1 < len(source.items) < len(alone.items) == 13 and source.fingerprint == alone.fingerprint
    assert [r if isinstance(r, Dropped) else (r.name, r.label, r.joints.tobytes(), r.changes) for r in source.recordings] == expected


def test_a_damaged_file_among_many_is_named_and_the_others_kept(tmp_path, together):
    raw = write(tmp_path / "raw", clips=12)
    paths = sorted(raw.iterdir())
    paths[3].write_bytes(paths[3].read_bytes()[:-300])
    paths[7].write_bytes(b"\0")
    report = clips.write(tmp_path / "x.clips", sources.read(raw), progress=False)
    assert report.clips == 10 and [d.name for d in report.damaged] == [paths[3].stem, paths[7].stem]
    assert "it was cut short" in report.damaged[0].reason and "expected a number" in report.damaged[1].reason
    with pytest.raises(DataError, match=paths[3].stem):
        clips.write(tmp_path / "y.clips", sources.read(raw), progress=False, strict=True)


BAD = (b"nan", b"inf", b"-inf", b"1e39", b"1e400", b"x", b"", b"\xff")


def damaged(draw, whole: bytes) -> bytes:
    """A text that was cut, mixed up, or fed with what no file should hold."""
    lines = whole.split(b"\n")
    match draw(st.sampled_from(["cut", "count", "word", "swap", "lines", "encoding", "bytes", "empty"])):
        case "cut":
            return whole[: draw(st.integers(0, len(whole)))]
        case "count":
            at = draw(st.sampled_from([0, 1, 3]))
            lines[at] = draw(st.sampled_from([b"0", b"-1", b"99999", b"999999999999", b"1e308", b"nan", b"2.5", b"", b"26"]))
            return b"\n".join(lines)
        case "word":
            at = draw(st.integers(0, len(lines) - 2))
            words = lines[at].split()
            words[draw(st.integers(0, len(words) - 1))] = draw(st.sampled_from(BAD))
            lines[at] = b" ".join(words)
            return b"\n".join(lines)
        case "swap":
            at = draw(st.integers(0, len(lines) - 2))
            lines[at] = b" ".join(reversed(lines[at].split()))
            return b"\n".join(lines)
        case "lines":
            a, b = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
            lines[a], lines[b] = lines[b], lines[a]
            return b"\n".join(lines)
        case "encoding":
            return whole.decode().encode(draw(st.sampled_from(["utf-16", "utf-8-sig", "utf-32-be", "cp037"])))
        case "bytes":
            return draw(st.binary(max_size=50)) + whole
    return draw(st.sampled_from([b"", b"0", b"0\n", b"1\n0\n", b"\n", b"3\n0\n0\n0\n"]))


@settings(max_examples=200)
@given(st.integers(0, 2**16), st.sampled_from(["as-published", "tracked"]), st.data())
def test_whatever_is_in_a_file_gives_a_clip_or_one_clear_error(tmp_path_factory, seed, bodies, data):
    rng = np.random.default_rng(seed)
    whole = written(recording(2, 2, 1, rng), rng).encode()
    path = tmp_path_factory.mktemp("raw") / "S001C001P001R001A001.skeleton"
    path.write_bytes(damaged(data.draw, whole))
    source = sources.read(path, bodies=bodies)
    for found in checked(source, source.items[0], strict=False):
        if isinstance(found, Dropped):
            assert path.stem in f"{found.name} {found.reason}" and len(found.reason) < 600
        else:
            assert np.isfinite(found.joints).all() and found.joints.any() and found.joints.shape[0] in (1, 2)
