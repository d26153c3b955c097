"""Long tables against the csv module: every clip as a slow reader of single rows makes it, and every message with its line."""

from __future__ import annotations

import csv
import decimal
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from writers import table_csv, table_parquet

from skelmm_core import clips, protocols, reading, sources
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.recordings import Dropped, Recording
from skelmm_core.skeletons import KINECT20, NTU25
from skelmm_core.sources import table, table_runs
from skelmm_core.sources import table_csv as csv_reader
from skelmm_core.sources import table_parquet as parquet_reader

HEADER = ("clip", "frame", "joint", "x", "y", "z", "label", "body", "subject", "view")


def by_rows(path: Path) -> dict[str, dict]:
    """A slow reader, row by row with the csv module: clip -> its rows as dictionaries."""
    found: dict[str, list] = {}
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["clip"], []).append(row)
    return found


def assert_same(source, expected: dict[str, list]) -> None:
    recordings = list(source.recordings)
    assert [r.name for r in recordings] == list(expected)
    for recording in recordings:
        rows = expected[recording.name]
        bodies, frames = sorted({int(r["body"]) for r in rows}), sorted({int(r["frame"]) for r in rows})
        assert recording.joints.shape == (len(bodies), frames[-1] - frames[0] + 1, 25, 3) and recording.joints.dtype == np.float32
        seen = np.zeros(recording.joints.shape[:3], bool)
        for r in rows:
            place = bodies.index(int(r["body"])), int(r["frame"]) - frames[0], table_csv.JOINTS.index(r["joint"])
            assert recording.joints[place].tolist() == [float(np.float32(r[axis])) for axis in "xyz"]
            seen[place] = True
        assert not recording.joints[~seen].any()
        assert source.class_names[recording.label] == rows[0]["label"]
        assert (recording.subject, recording.view, recording.setup) == (int(rows[0]["subject"]), int(rows[0]["view"]), -1)


def text(rows, header=HEADER, delimiter=",", end="\n") -> str:
    return end.join(delimiter.join(map(str, row)) for row in (header, *rows)) + end


def two(frames: int = 2, joints=range(25), label=("a", "b"), subject=(1, 2), clip=("one", "two"), body=(0,)) -> list[list]:
    """The rows of two clips."""
    return [
        [clip[c], frame, joint, round(0.1 * frame + 0.01 * i, 3), 0.5 + i, c, label[c], b, subject[c], 1]
        for c in (0, 1) for frame in range(frames) for b in body for i, joint in enumerate(joints)
    ]  # fmt: skip


def saved(path: Path, rows, header=HEADER, **form) -> Path:
    path.write_text(text(rows, header, **form), encoding="utf-8", newline="")
    return path


def to_parquet(path: Path, rows, header=HEADER, types=None, group: int = 30) -> Path:
    columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
    parquet.write_table(pa.table({k: pa.array(v, (types or {}).get(k)) for k, v in columns.items()}), path, row_group_size=group)
    return path


def refused(words: str, path: Path, **options) -> None:
    with pytest.raises(DataError, match=re.escape(words)):
        list(table.read(path, **options).recordings)


# -- what a table says


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return table_csv.write(tmp_path_factory.mktemp("csv"), clips=8)


@pytest.mark.parametrize("block", [1 << 23, 5000, 997])
def test_csv_is_what_the_csv_module_reads(written, block, monkeypatch):
    monkeypatch.setattr(csv_reader, "BLOCK", block)
    source = table.read(written)
    assert_same(source, by_rows(written))
    assert (source.title, source.class_names, source.frame_rate, source.skeleton.name) == ("mine", ("meet", "wave"), 30.0, "ntu25")


@pytest.mark.parametrize("group", [1 << 20, 1000, 77])
@pytest.mark.parametrize("batch", [1 << 16, 60])
def test_parquet_is_the_same_in_any_order(written, tmp_path, group, batch, monkeypatch):
    monkeypatch.setattr(parquet_reader, "BATCH", batch)
    source = table.read(table_parquet.write(tmp_path, clips=8, group=group))
    assert_same(source, by_rows(written))
    for i in (7, 2, 3, 0, 6, 6):
        item = pickle.loads(pickle.dumps(source.items[i]))  # as it goes to another process
        again = pickle.loads(pickle.dumps(source.read))(item)
        assert np.array_equal(again.joints, table.read(written).read(table.read(written).items[i]).joints)


@pytest.mark.parametrize("writer", [table_csv, table_parquet])
def test_table_becomes_clips(writer, tmp_path):
    path = writer.write(tmp_path, clips=12)
    assert table.recognise(path) and sources.recognise(path) == "table"
    report = clips.write(tmp_path / "x.clips", sources.read(path, protocol="odd-even-subjects", fps="25"), progress=False)
    assert (report.clips, report.two_bodies, report.warnings) == (12, 6, ()) and 1.4 < report.height < 1.8 and report.upright == 1
    opened = clips.open_clips(report.path)
    assert opened.frame_rate == 25 and len(protocols.split(opened).train) == 8


@pytest.mark.parametrize(("delimiter", "decimal"), [(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ",")])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_ways_to_write_a_csv(tmp_path, delimiter, decimal, end):
    plain = list(table.read(saved(tmp_path / "plain.csv", two())).recordings)
    rows = [[*row[:3], *(str(v).replace(".", decimal) for v in row[3:6]), *row[6:]] for row in two()]
    content = text(rows, [f" {name.upper()} " for name in HEADER], delimiter, end)
    (tmp_path / "x.csv").write_text("\ufeff" + content.rstrip() + end * 2 + "  " + end + end, encoding="utf-8", newline="")
    for one, other in zip(plain, table.read(tmp_path / "x.csv").recordings, strict=True):
        assert np.array_equal(one.joints, other.joints) and (one.name, one.label) == (other.name, other.label)


def test_quoted_names_blank_lines_and_any_order_of_rows(tmp_path):
    rows = two(clip=('"a, ""b"""', "\u00fcber"))
    rows[:50] = rows[49::-1]
    lines = text(rows).splitlines()
    lines.insert(30, "")
    (tmp_path / "x.csv").write_text("\n".join(lines), encoding="utf-8")  # without an end of the last line
    first, second = table.read(tmp_path / "x.csv").recordings
    plain = list(table.read(saved(tmp_path / "y.csv", two())).recordings)
    assert (first.name, second.name) == ('a, "b"', "\u00fcber")
    assert np.array_equal(first.joints, plain[0].joints) and np.array_equal(second.joints, plain[1].joints)


def test_units_and_the_axis_that_points_up(tmp_path):
    path = saved(tmp_path / "x.csv", two())
    plain, turned = next(iter(table.read(path).recordings)).joints, next(iter(table.read(path, up="z", units="cm").recordings)).joints
    x, y, z = np.moveaxis(plain, -1, 0)
    assert np.allclose(turned, np.stack([x, z, -y], -1) * 0.01)  # a turn about x: what pointed along z points along y
    frame = np.eye(3)
    assert np.isclose(np.linalg.det(np.stack([frame[0], frame[2], -frame[1]])), 1)
    for option in (dict(units="inch"), dict(up="x"), dict(fps=0), dict(fps="fast"), dict(fps="nan"), dict(skeleton="ntu26")):
        with pytest.raises(SettingsError):
            table.read(path, **option)


def test_frames_that_are_left_out_are_zeros_and_so_are_bodies(tmp_path):
    rows = [
        row
        for row in two(frames=5, body=(7, 72057594037931101, 3, 72057594037931102))
        if row[1] not in (0, 2) and (row[1], row[7]) != (4, 3)
    ]
    source = table.read(saved(tmp_path / "x.csv", rows))
    for recording in source.recordings:
        assert recording.joints.any(axis=(2, 3)).tolist() == [[True, False, True, False], [True, False, True, True]]  # bodies 3 and 7
        assert recording.changes == {"bodies beyond the second": 2}


@pytest.mark.parametrize(
    ("values", "numbers"),
    [((3, 7), (3, 7)), (("zoe", "ann"), (2, 1)), (("", "5"), (-1, 5)), (("4.0", "-1"), (4, -1)), (("", "ann"), (-1, 1))],
)
def test_performers_by_number_or_name(tmp_path, values, numbers):
    source = table.read(saved(tmp_path / "x.csv", two(subject=values)))
    assert tuple(r.subject for r in source.recordings) == numbers


def test_labels_by_number_or_name(tmp_path):
    for values, labels, names in (
        (("jump", "bow"), (1, 0), ("bow", "jump")),
        ((10, 9), (1, 0), ("9", "10")),
        (("2", "2.0"), (0, 0), ("2",)),
        (("2", "x"), (0, 1), ("2", "x")),
    ):
        source = table.read(saved(tmp_path / "x.csv", two(label=values)))
        assert tuple(r.label for r in source.recordings) == labels and source.class_names == names


def test_skeleton_by_joints(tmp_path):
    for joints, name in (
        (range(20), "kinect20"),
        (KINECT20.joints, "kinect20"),
        ([j.upper() for j in NTU25.joints], "ntu25"),
        (range(31), "hdm05"),
    ):
        assert table.read(saved(tmp_path / "x.csv", two(joints=joints))).skeleton.name == name
    own = tmp_path / "mine.toml"
    refused(
        "no built-in skeleton in space has just these 5 joints: 0, 1, 2, 3, 4; name one", saved(tmp_path / "x.csv", two(joints=range(5)))
    )
    refused("no built-in skeleton in space has just these 3 joints: a, b, c", saved(tmp_path / "x.csv", two(joints="abc")))
    refused(str(own), tmp_path / "x.csv", skeleton=own)
    path = saved(tmp_path / "x.csv", two(joints=range(17)))
    refused("in space has just these 17 joints", path)  # and is not taken for one in an image
    with pytest.raises(SettingsError, match="'coco17' is one in an image"):
        table.read(path, skeleton="coco17", units="mm")
    assert table.read(path, skeleton="coco17").skeleton.dimensions == 2


def test_clip_without_a_body(tmp_path):
    rows = [[*row[:3], 0, 0, "-0.0", *row[6:]] if row[0] == "two" else row for row in two()]
    assert list(table.read(saved(tmp_path / "x.csv", rows)).recordings)[1] == Dropped("two", "no body in any frame")


def test_parquet_of_other_types(tmp_path):
    types = {
        "clip": pa.dictionary(pa.int32(), pa.string()),
        "joint": pa.int8(),
        "x": pa.float32(),
        "y": pa.decimal128(8, 3),
        "frame": pa.int64(),
    }
    rows = [[*row[:4], None, *row[5:7], "p", None, 1.0] for row in two()]
    for row, plain in zip(rows, two(), strict=True):
        row[4] = decimal.Decimal(str(plain[4]))
    found = list(
        table.read(
            to_parquet(tmp_path / "x.parquet", rows, [n.title() for n in HEADER], {k.title(): v for k, v in types.items()})
        ).recordings
    )
    for recording, other in zip(found, table.read(saved(tmp_path / "x.csv", two())).recordings, strict=True):
        assert np.allclose(recording.joints, other.joints) and (recording.subject, recording.view, recording.name) == (-1, 1, other.name)


def test_fingerprint_follows_content_and_options(tmp_path):
    path = saved(tmp_path / "x.csv", two())
    first = table.read(path).fingerprint
    assert first == table.read(path).fingerprint != table.read(path, units="cm").fingerprint
    assert table.read(saved(path, two(frames=3))).fingerprint != first


# -- tables that are not as they should be


def changed(row: int, column: str, value, rows=None) -> list[list]:
    rows = rows or two()
    rows[row][HEADER.index(column)] = value
    return rows


WITHIN = [  # row, column, value, words in the CSV's message; the file's line is row + 2
    (3, "x", "", "line 5: x is '', expected a number"),
    (3, "y", "abc", "line 5: y is 'abc', expected a number"),
    (3, "z", "nan", "line 5, clip 'one': x, y, z are [0.03, 3.5, nan], expected finite numbers"),
    (60, "z", "1e999", "line 62, clip 'two': x, y, z are"),
    (3, "frame", "0.5", "line 5, clip 'one': frame is 0.5, expected a whole number"),
    (3, "frame", "inf", "line 5, clip 'one': frame is inf"),
    (3, "frame", "1e300", "line 5, clip 'one': frame is 1e+300"),
    (3, "frame", "1000000000", "line 2, clip 'one': frames go from 0 to 1000000000, more than any recording"),
    (3, "frame", "3", "line 2, clip 'one': frame 0 of body '0' lacks joint 3 (head)"),
    (3, "joint", "2", "line 5, clip 'one': the same frame, body and joint as in 4"),
    (3, "joint", "25", "line 5, clip 'one': joint '25' is none of skeleton 'ntu25' (0 to 24)"),
    (3, "joint", "haed", "line 5, clip 'one': joint 'haed' is none of skeleton 'ntu25' (0 to 24); did you mean 'head'"),
    (3, "body", "1", "line 2, clip 'one': frame 0 of body '0' lacks joint 3 (head)"),
    (3, "label", "b", "line 5, clip 'one': label is 'b', but not so in the clip's first row"),
    (3, "subject", "9", "line 5, clip 'one': subject is '9', but not so in the clip's first row"),
    (0, "label", "", "line 2, clip 'one': the label is empty"),
    (3, "view", "1,7", "line 5, clip 'one': 11 fields, expected 10"),
]


@pytest.mark.parametrize("block", [1 << 23, 200])
@pytest.mark.parametrize(("row", "column", "value", "words"), WITHIN)
def test_damage_within_a_clip_leaves_that_clip_out(tmp_path, row, column, value, words, block, monkeypatch):
    monkeypatch.setattr(csv_reader, "BLOCK", block)
    source = table.read(saved(tmp_path / "x.csv", changed(row, column, value)), skeleton="ntu25")
    found = [reading.checked(source, item, strict=False)[0] for item in source.items]
    bad = row // 50
    assert [isinstance(f, Dropped) for f in found] == [not bad, bool(bad)]
    assert found[bad].damaged and found[bad].name == ("one", "two")[bad] and words in found[bad].reason
    assert f"'{tmp_path / 'x.csv'}'" in found[bad].reason
    refused(words, tmp_path / "x.csv", skeleton="ntu25")


def test_message_names_rows_of_parquet(tmp_path):
    for column, value, words in (
        ("x", None, "row 4: x is empty"),
        ("y", float("nan"), "row 4, clip 'one': x, y, z are"),
        ("frame", 3, "row 1, clip 'one': frame 0 of body '0' lacks joint 3 (head)"),
        ("joint", 2, "row 4, clip 'one': the same frame, body and joint as in 3"),
        ("label", None, "row 4, clip 'one': label is ''"),
    ):
        refused(words, to_parquet(tmp_path / "x.parquet", changed(3, column, value)), skeleton="ntu25")
    rows = [[*row[:3], "abc", *row[4:]] for row in two()]
    refused("rows 1 to 50: x is no number", to_parquet(tmp_path / "x.parquet", rows), skeleton="ntu25")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_clip_in_two_places(tmp_path, form):
    rows = two() + two()[:25]
    path = saved(tmp_path / "x.csv", rows) if form == "csv" else to_parquet(tmp_path / "x.parquet", rows)
    unit, first, again = ("line", 2, 102) if form == "csv" else ("row", 1, 101)
    refused(f"{unit} {again}: clip 'one' comes again after other clips, it began in {unit} {first}", path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "does not begin with a line that names columns"),
        (text([]).encode(), "has no rows behind its header"),
        (text(two(), [*HEADER[:-1], "y"]).encode(), "line 1: 10 columns, of which two are named 'y'"),
        (
            text(two(), ["Clip", "Frame", "joint", "x", "yy", "z", "label", "body", "s", "v"]).encode(),
            "lacks the column 'y'; did you mean 'yy'",
        ),
        (text(two(), [*HEADER[:-1], "views"]).encode(), "has a column 'views': is it meant as 'view'"),
        (text(two()).encode("utf-16"), "not text in UTF-8"),
        (text(two(clip=("caf\u00e9", "b"))).encode("latin-1"), "line 2: not text in UTF-8"),
        (text(two(clip=("b", "caf\u00e9"))).encode("latin-1"), "line 52: not text in UTF-8"),
        (text(two(), end="\r").encode(), "does not begin with a line that names columns"),
        (text(two()).replace("one,1,2,", "one,1\r,2,", 1).encode(), "some lines end in CR alone"),
        (text(two()).replace("one,1,2,", '"one,1,2,', 1).encode(), "line 29: a quotation mark that is not closed"),
        (text([["one"] * 3] * 2000).encode(), "line 2: 3 fields, expected 10, as in more than 1000 lines"),
        (text([["one"] * 3] * 20).encode(), "has no rows behind its header"),
        (text(two(label=("", ""))).encode(), "no clip of the table can be read; the first: "),
        (text(two(subject=(1, "ann"))).encode(), "column 'subject' has numbers and names, such as 1 and 'ann'"),
        (b"PAR1" + bytes(100), "can't read"),
    ],
)
def test_wrong_tables(tmp_path, content, words):
    (tmp_path / "x.csv").write_bytes(content)
    refused(words, tmp_path / "x.csv")


def test_line_that_never_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_reader, "BLOCK", 1000)
    (tmp_path / "x.csv").write_text(text(two()) + "a" * 5000)
    refused("line 102: longer than any row", tmp_path / "x.csv")
    (tmp_path / "y.csv").write_text(",".join(f"c{i}" for i in range(30_000)))
    refused("does not begin with a line", tmp_path / "y.csv")


def test_too_many_clips_and_too_long_ones(tmp_path, monkeypatch):
    path = saved(tmp_path / "x.csv", two())
    monkeypatch.setattr(csv_reader, "LARGEST", 100)
    refused("more than any recording", path)
    monkeypatch.setattr(parquet_reader, "LARGEST", 10)
    refused("more than any recording", to_parquet(tmp_path / "x.parquet", two()), skeleton="ntu25")
    monkeypatch.setattr(table_runs, "MOST", 1)
    refused("more than 1 clips", path)


def test_parquet_with_lists_or_twins(tmp_path):
    rows = [[*row[:3], [1.0], *row[4:]] for row in two()]
    refused("column 'x' holds lists or tables", to_parquet(tmp_path / "x.parquet", rows))
    refused("two columns of one name", to_parquet(tmp_path / "x.parquet", two(), [*HEADER[:-1], "CLIP"]))


def test_what_is_no_table(tmp_path):
    (tmp_path / "other.csv").write_text("time,value\n1,2\n")
    (tmp_path / "empty").write_bytes(b"")
    parquet.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    np.savez(tmp_path / "x.npz", clip=np.zeros(3))
    (tmp_path / "noise").write_bytes(bytes(range(256)) * 100)
    for name in ("other.csv", "empty", "other.parquet", "x.npz", "noise", "none", "."):
        assert not table.recognise(tmp_path / name)


def test_without_pyarrow_the_message_says_what_to_install(tmp_path, monkeypatch):
    for path in (saved(tmp_path / "x.csv", two()), to_parquet(tmp_path / "x.parquet", two())):
        for name in [n for n in sys.modules if n.startswith("skelmm_core.sources.table_")]:
            if name != "skelmm_core.sources.table_header":
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr(sys.modules["skelmm_core.sources"], "table_csv", raising=False)
        monkeypatch.delattr(sys.modules["skelmm_core.sources"], "table_parquet", raising=False)
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        assert table.recognise(path)
        refused("pip install 'skelmm[tables]'", path)


# -- whatever bytes there are


def whatever_comes(path: Path) -> None:
    """Clips that can be stored, or `DataError`, and nothing else."""
    try:
        source = table.read(path, skeleton="ntu25")
    except DataError as problem:
        assert str(path) in str(problem)
        return
    for item in source.items:
        for found in reading.checked(source, item, strict=False):
            assert isinstance(found, reading.Checked | Dropped)
            if isinstance(found, reading.Checked):
                assert isinstance(found.recording, Recording) and np.isfinite(found.joints).all()


WHOLE = text(two(frames=1)).encode()
PIECES = [b"", b",", b";", b'"', b"\n", b"\r", b"\0", b"\xff", b"nan", b"-", b"1e309", b"99999999999", b"one", b"two", b" ", b"\t", b"\n\n"]


@settings(max_examples=150)
@given(st.data())
def test_any_csv(tmp_path_factory, data):
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(0, 4))):
        begin = data.draw(st.integers(0, len(content)))
        content[begin : begin + data.draw(st.integers(0, 6))] = data.draw(st.sampled_from(PIECES))
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    assert table.recognise(path) in (True, False)
    whatever_comes(path)


@settings(max_examples=100)
@given(st.data())
def test_any_parquet(tmp_path_factory, data):
    path = to_parquet(tmp_path_factory.getbasetemp() / "any.parquet", two(frames=1))
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        with pytest.raises(DataError):
            table.read(path)
        return
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    assert table.recognise(path) in (True, False)
    whatever_comes(path)


def test_every_cut_of_a_csv_is_noticed(tmp_path):
    rows = two(frames=1)
    whole = text(rows).encode()
    path = tmp_path / "x.csv"
    for cut in range(len(text(rows[:-1])) + 1, len(whole) - 6):  # within the last row, up to its label
        path.write_bytes(whole[:cut])
        found = [reading.checked(source, item, False)[0] for source in [table.read(path, skeleton="ntu25")] for item in source.items]
        assert isinstance(found[0], reading.Checked) and isinstance(found[1], Dropped) and found[1].damaged


def test_decimal_commas_that_begin_late(tmp_path):
    rows = ["clip;frame;joint;x;y;z;label"] + [f"a;{f};{j};{0 if f + j == 0 else '-0,099'};1;0;b" for f in range(3) for j in range(20)]
    (tmp_path / "x.csv").write_text("\n".join([*rows, *(row.replace("a;", "c;", 1) for row in rows[1:])]))
    found = list(sources.read(tmp_path / "x.csv", skeleton="kinect20").recordings)
    assert len(found) == 2 and found[0].joints[0, 1, 3, 0] == np.float32(-0.099)
