"""The reader of a generic npz, finding the reader, and the real files where SKELMM_SHARED is set."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import re
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from little_files import everything, folder, little_utd, one_of_each_class, people, skeleton_text, tarred, zipped

from skelmm_core import clips, protocols, sources
from skelmm_core.clips import Dropped
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.skeletons import NTU25
from skelmm_core.sources import archives, generic_npz, members, utd_mhad

# -- generic npz


def arrays(**changes) -> dict[str, np.ndarray]:
    whole = dict(
        joints=np.random.default_rng(0).normal(size=(10, 25, 3)).astype(np.float32),
        offsets=np.array([0, 2, 5, 9, 10]),
        label=np.array([0, 0, 1, 1], np.int16),
        subject=np.array(["tr", "bd", "mm", "bd"]),
        name=np.array(["w", "x", "y", "z"]),
        label_names=np.array(["jog", "squat"]),
    )
    return {k: v for k, v in (whole | changes).items() if v is not None}


def saved(path: Path, **changes) -> Path:
    np.savez(path, **arrays(**changes))
    return path


def test_npz_comes_back(tmp_path):
    raw = arrays()
    extras = dict(view=np.array([1, 1, 2, 2]), fps=np.array([25.0]), protocol=np.array("subject == 1"), parents=np.array(HDM_PARENTS))
    source = sources.read(saved(tmp_path / "mine.npz", **extras))
    assert (source.title, source.frame_rate, source.protocol, source.class_names, len(source.items)) == (
        "mine",
        25.0,
        "subject == 1",
        ("jog", "squat"),
        4,
    )
    for i, recording in enumerate(source.recordings):
        assert np.array_equal(recording.joints[0], raw["joints"][raw["offsets"][i] : raw["offsets"][i + 1]])
        assert (recording.name, recording.label, recording.view, recording.setup) == ("wxyz"[i], i // 2, 1 + i // 2, -1)
    assert [r.subject for r in source.recordings] == [3, 1, 2, 1]  # bd, mm, tr in alphabetical order
    plain = sources.read(saved(tmp_path / "plain.npz"), protocol="subject != 3", title="mine")
    assert (plain.protocol, plain.title, plain.frame_rate) == ("subject != 3", "mine", 30.0)
    table = utd_mhad.KINECT20.to_dict() | {"name": "my own"}
    own = sources.read(saved(tmp_path / "own.npz", joints=raw["joints"][:, :20], skeleton=np.array(json.dumps(table))))
    assert own.skeleton.name == "my own" and sources.read(tmp_path / "plain.npz").skeleton.name == "ntu25"


def table(**changes) -> np.ndarray:
    """NTU-25's own table with changes, as an npz holds it; `centre` moves to a joint that is then its own bone."""
    whole = NTU25.to_dict() | {"name": "mine"} | changes
    whole["bone"] = [whole["centre"] if j == whole["centre"] else b for j, b in enumerate(whole["bone"])]
    return np.array(json.dumps(whole))


HDM_PARENTS = [0, 0, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 1, 7, 7, 11, 11]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(label=None), "lacks 'label'; did you mean 'label_names'"),
        (dict(joints=np.zeros((10, 25, 2))), "'joints' must be floats of the shape (frames, joints, 3), found float64 (10, 25, 2)"),
        (dict(joints=np.zeros((10, 25, 3), int)), "'joints' must be floats"),
        (dict(joints=np.zeros((10, 19, 3))), "no known skeleton in space has 19 joints: ntu25 (25), kinect20 (20)"),
        (dict(joints=np.zeros((10, 20, 3)), skeleton=np.array("ntu25")), "20 joints, skeleton 'ntu25' has 25"),
        (dict(skeleton=np.array("{")), "not a JSON table"),
        (dict(skeleton=np.array('{"nom": 1}')), "unknown field 'nom'"),
        (dict(skeleton=table(name="ntu25", centre=1)), "'skeleton' is a table of its own with the name of the built-in 'ntu25'"),
        (dict(skeleton=table(edges=[0, 1])), "'edges' must be any number of pairs of joint numbers in 0..24"),
        (dict(skeleton=table(edges=[[0, 1, 2]])), "'edges' must be"),
        (dict(skeleton=table(pairs=None)), "'pairs' must be"),
        (dict(skeleton=table(axis=[1, 2])), "'axis' must be 25 joint numbers in 0..24 (there are 25 joints), found (1, 2)"),
        (dict(skeleton=table(shoulders=[3])), "'shoulders' must be 2 joint numbers"),
        (dict(skeleton=table(shoulders=[3, 3])), "two different joints"),
        (dict(skeleton=table(spine=True)), "'spine' must be one joint number"),
        (dict(skeleton=table(spine=25)), "joint numbers [25] of 'spine' are not in 0..24"),
        (dict(skeleton=table(joints="abcde")), "'joints' must be a list of names"),
        (dict(skeleton=table(joints=["a"] * 25)), "found 25, 1 of them different"),
        (dict(skeleton=table(name="native")), "a text of its own and not 'native'"),
        (dict(skeleton=table(name=5)), "a text of its own"),
        (dict(views=np.array([1, 1, 2, 2])), "has an array 'views': is it meant as 'view'"),
        (dict(label_names=np.array(["jog", "jog"])), "one name per class, all different, found jog, jog"),
        (dict(name=np.array([b"\xff", b"b", b"c", b"d"])), "'name' holds bytes that are not UTF-8"),
        (dict(name=np.array([1, 2, 3, 4])), "'name' holds int64, expected names"),
        (dict(skeleton=table(edges=[[0, 1]])), "no path of 'edges' leads from the centre to"),
        (dict(skeleton=np.array("mine.toml")), "'skeleton' is 'mine.toml'; choose from: "),
        (dict(label_names=np.array(["jog", "\ud800"])), "'label_names' holds numbers that stand for no character"),
        (dict(parents=np.array(list("abcde" * 5))), "'parents' must be 25 joint numbers, found <U1 (25,)"),
        (dict(parents=np.array(HDM_PARENTS[:24])), "'parents' must be 25 joint numbers, found int64 (24,)"),
        (dict(parents=np.array(HDM_PARENTS[::-1])), "'parents' is not the tree of skeleton 'ntu25'"),
        (dict(offsets=np.array([0, 2, 5, 9])), "5 numbers (one more than clips)"),
        (dict(offsets=np.array([0, 2, 5, 9, 11])), "the 10 frames of 'joints'"),
        (dict(offsets=np.array([0, 2, 2, 9, 10])), "at least one frame per clip"),
        (dict(offsets=np.array([1, 2, 5, 9, 10])), "rising from 0 to the 10 frames"),
        (dict(offsets=np.array([0.0, 2, 5, 9, 10])), "'offsets' holds float64, expected integers"),
        (dict(label=np.array(0)), "one number per clip"),
        (dict(subject=np.array([1, 2, 3])), "'subject' has the shape (3,), expected (4,)"),
        (dict(subject=np.array([1.0, 2, 3, 4])), "'subject' holds float64"),
        (dict(fps=np.array([1.0, 2.0])), "'fps' must be one value, found 2"),
        (dict(name=np.array(["w", "x", "y", None], object)), "save plain arrays"),
    ],
)
def test_wrong_npz(tmp_path, changes, words):
    with pytest.raises(DataError, match=re.escape(words)):
        sources.read(saved(tmp_path / "x.npz", **changes))


def test_npz_names_in_bytes_and_clips_without_a_body(tmp_path):
    joints = arrays()["joints"].copy()
    joints[2:5] = 0
    extras = dict(joint_names=np.array(["any"]), camera=np.zeros(3), time=np.zeros(4))  # of the owner's own: no reader's business
    texts = dict(label_names=np.array([b"jog", "h\u00fcpf".encode()]), skeleton=np.array(b"ntu25"), subject=np.array([b"a", b"b"] * 2))
    source = sources.read(saved(tmp_path / "x.npz", joints=joints, **texts, **extras))
    assert source.class_names == ("jog", "h\u00fcpf")
    assert list(source.recordings)[1] == Dropped("x", "no body in any frame")


def test_pickle_in_an_npz_is_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "owned",)

    with pytest.raises(DataError, match="plain arrays"):
        sources.read(saved(tmp_path / "x.npz", name=np.array([Evil(), 1, 2, 3], object)))
    assert not (tmp_path / "owned").exists()


def test_torn_npz(tmp_path):
    path = saved(tmp_path / "x.npz")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="can't read"):
        generic_npz.read(path)
    with pytest.raises(DataError, match="no file at"):
        generic_npz.read(tmp_path / "none.npz")
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(DataError, match="single array"):
        generic_npz.read(tmp_path / "x.npy")


# -- finding the reader


def test_formats_are_told_by_content(tmp_path):
    files, _ = little_utd()
    assert sources.recognise(folder(tmp_path / "a", one_of_each_class())) == "ntu"
    assert sources.recognise(tarred(tmp_path / "no-suffix", files)) == "utd-mhad"
    assert sources.recognise(saved(tmp_path / "b.npz").rename(tmp_path / "b.zip")) == "npz"
    assert sources.recognise("sample") == "sample"


def test_what_no_reader_knows(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "nothing.zip").write_bytes(b"")
    (tmp_path / "text").write_text("hello")
    zipped(tmp_path / "other.zip", {"a.txt": "x"})
    for name, words in (
        ("none", "no file or folder at"),
        ("empty", "the folder is empty"),
        ("nothing.zip", "the file is empty"),
        ("text", "no reader knows"),
        ("other.zip", "no reader knows"),
    ):
        with pytest.raises(DataError, match=words):
            sources.read(tmp_path / name)
    for format in ("ntu", "utd-mhad", "npz"):
        for name in ("none", "empty", "text", "nothing.zip", "other.zip"):
            with pytest.raises(DataError, match=name):
                sources.read(tmp_path / name, format=format)


def test_unknown_format_and_option(tmp_path):
    raw = folder(tmp_path, one_of_each_class())
    with pytest.raises(SettingsError, match="unknown format 'ntu60'; did you mean 'ntu'"):
        sources.read(raw, format="ntu60")
    with pytest.raises(SettingsError, match="no option 'incomplet'; did you mean 'incomplete'"):
        sources.read(raw, incomplet="x")


def test_fingerprint_follows_the_content(tmp_path):
    files = one_of_each_class()
    first = sources.read(zipped(tmp_path / "a.zip", files)).fingerprint
    assert sources.read(zipped(tmp_path / "b.zip", dict(reversed(files.items())))).fingerprint == first
    files["S001C002P001R002A001.skeleton"] = skeleton_text([people(1, seed=99)] * 3)
    assert sources.read(zipped(tmp_path / "b.zip", files)).fingerprint != first


def test_an_edit_of_equal_size_is_another_source(tmp_path):
    raw = folder(tmp_path / "raw", one_of_each_class())
    before = sources.read(raw).fingerprint
    assert sources.read(raw).fingerprint == before
    file = next(raw.glob("*.skeleton"))
    file.write_text(file.read_text().replace("268.1", "268.2"))
    os.utime(file, ns=(1, 1))
    assert sources.read(raw).fingerprint != before


def test_links_that_lead_round_are_named(tmp_path):
    raw = folder(tmp_path / "raw", one_of_each_class())
    (raw / "again").symlink_to(raw, target_is_directory=True)
    for format in ("auto", "ntu"):
        with pytest.raises(DataError, match="once more: remove the link"):
            sources.read(raw, format=format)


def test_zip_that_lies_about_a_size(tmp_path):
    name = "S001C001P001R001A001.skeleton"
    path = zipped(tmp_path / "x.zip", {name: "1 " * 500_000})
    content = path.read_bytes()
    path.write_bytes(content.replace((1_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    with pytest.raises(DataError, match="says 1000 bytes|Bad CRC|damaged|can't read"):
        list(sources.read(path, format="ntu").recordings)


# -- archives


PACKED = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}
KNOWN = "S001C001P001R001A001.skeleton"


def tar_of(path: Path, *files: tuple[str, bytes], **headers: str) -> Path:
    """Packed as the end of its name says; `headers` of the first file."""
    with tarfile.open(path, f"w:{path.suffix[1:].replace('tar', '')}") as archive:
        for number, (name, content) in enumerate(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.pax_headers = len(content), {} if number else headers
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture
def unpacked(monkeypatch):
    """Little is believed; gives the bytes that are unpacked, call by call."""
    sizes = []

    class Counted:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *problem):
            self.file.close()

        def read(self, size):
            assert size <= 1 << 20, "as much as a header says"
            sizes.append(len(data := self.file.read(size)))
            return data

    monkeypatch.setattr(archives, "OPENERS", {k: lambda path, o=opener: Counted(o(path)) for k, opener in archives.OPENERS.items()})
    monkeypatch.setattr(archives, "UNPACKED", 1 << 20)
    monkeypatch.setattr(archives, "RATIO", 10)
    monkeypatch.setattr(archives, "HEADER", 1 << 16)
    return sizes


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("foreign", [[40 << 20], [1 << 18] * 40, [0] * 20_000], ids=["one", "many", "empty"])
def test_a_tar_that_unpacks_for_ever_is_left(tmp_path, unpacked, packed, foreign):
    files = [(f"{i}.avi", bytes(size)) for i, size in enumerate(foreign)]
    bomb = tar_of(tmp_path / f"x.tar.{packed}", *files, (KNOWN, b"1\n0\n"))
    for format in ("auto", "ntu"):
        unpacked.clear()
        with pytest.raises(DataError, match=r"unpacks to more than \d+ bytes and has \d+.*unpack it and name the folder"):
            sources.read(bomb, format=format)
        assert sum(unpacked) < archives.UNPACKED + archives.RATIO * bomb.stat().st_size + (1 << 18)


@pytest.mark.parametrize("packed", PACKED)
def test_what_stands_between_the_files_of_a_tar_is_bounded(tmp_path, unpacked, packed):
    """A header may say that a name of gigabytes follows."""
    bomb = tar_of(tmp_path / f"x.tar.{packed}", ("a.avi", b""), (KNOWN, b"1\n0\n"), comment="x" * (30 << 20))
    with pytest.raises(DataError, match="has more than 64 KiB between two of its files"):
        sources.read(bomb)
    assert sum(unpacked) < 1 << 19
    fine = tar_of(tmp_path / f"y.tar.{packed}", (KNOWN, b"1\n0\n"), comment="x" * 30_000)
    assert [m.path for m in members.members(fine, ".skeleton")] == [KNOWN]


def test_foreign_files_in_a_tar_are_passed_over(tmp_path):
    files = one_of_each_class()
    raw = folder(tmp_path / "raw", files)
    for packed in ("", *PACKED):
        content = [(name, text.encode()) for name, text in files.items()]
        both = tar_of(tmp_path / f"x.tar{'.' if packed else ''}{packed}", ("video.avi", os.urandom(3_000_000)), *content, ("z.avi", b"x"))
        assert everything(sources.read(both)) == everything(sources.read(raw))


@pytest.mark.parametrize("ending", ["zip", "tar", *(f"tar.{packed}" for packed in PACKED)])
def test_an_archive_that_is_cut_short_says_so(tmp_path, ending):
    files = {name: text.encode() for name, text in one_of_each_class().items()} | {"z.avi": os.urandom(100_000)}
    path = tmp_path / f"x.{ending}"
    whole = (zipped(path, files) if ending == "zip" else tar_of(path, *files.items())).read_bytes()
    for share in (0.3, 0.6, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        for format in ("auto", "ntu"):
            with pytest.raises(DataError, match="can't read .* may be cut short: copy it again"):
                sources.read(path, format=format)


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_archives_that_list_more_than_any_data_set_has(tmp_path, monkeypatch, pack):
    raw = pack(tmp_path / "raw", one_of_each_class())
    assert len(sources.read(raw).items) == 4
    members._listed.cache_clear()
    monkeypatch.setattr(archives, "NAMES", 500)
    for format in ("auto", "ntu"):
        with pytest.raises(DataError, match="lists more files than any data set has"):
            sources.read(raw, format=format)


def test_members_of_a_zip_that_unpack_to_too_much_are_left(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "UNPACKED", 1 << 20)
    monkeypatch.setattr(archives, "RATIO", 10)
    files = {KNOWN: "0" * (2 << 20), "video.avi": "0" * (40 << 20)}
    with pytest.raises(DataError, match="unpacks to more than"):
        sources.read(zipped(tmp_path / "x.zip", files))
    assert len(sources.read(zipped(tmp_path / "y.zip", files | {KNOWN: "0"})).items) == 1  # what is foreign is never unpacked


@pytest.mark.parametrize("kind", [b"x", b"L", b"K", b"0"])
@pytest.mark.parametrize("size", [1 << 62, 1 << 70, (1 << 40) + 5])
def test_a_size_of_a_tar_that_no_memory_holds(tmp_path, kind, size):
    entry = tarfile.TarInfo(KNOWN)
    entry.size, entry.type = size, kind
    path = tmp_path / "x.tar"
    path.write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    for format in ("auto", "ntu"):
        with pytest.raises(DataError, match="between two of its files|can't read|holds no|no reader knows"):
            sources.read(path, format=format)


def test_endings_in_large_letters_are_the_same(tmp_path):
    utd = little_utd()[0]
    for small in (one_of_each_class(), {name: content for name, content in utd.items() if name.endswith(".mat")}):
        ending = next(iter(small)).rpartition(".")[2]
        large = {name.removesuffix(ending) + ending.upper(): content for name, content in small.items()}
        wanted = everything(sources.read(folder(tmp_path / f"small {ending}", small)))
        for raw in (
            folder(tmp_path / ending, large),
            zipped(tmp_path / f"{ending}.zip", large),
            tarred(tmp_path / f"{ending}.tar.xz", large),
        ):
            assert everything(sources.read(raw)) == wanted
        one = next(file for file in (tmp_path / ending).rglob("*") if file.is_file())
        assert len(everything(sources.read(one))) == 1 and members.members(one, f".{ending}")[0].stem == one.stem


def test_own_skeleton_of_17_joints_is_not_taken_for_joints_in_an_image(tmp_path):
    path = saved(tmp_path / "mine.npz", joints=np.random.default_rng(0).normal(0, 0.4, (10, 17, 3)))
    with pytest.raises(DataError, match=r"no known skeleton in space has 17 joints.*-p skeleton=FILE.toml"):
        sources.read(path)
    names = ["hips", "chest", "left shoulder", "right shoulder", *(f"joint {i}" for i in range(13))]
    (tmp_path / "mine.toml").write_text(f'name = "mine17"\njoints = {json.dumps(names)}\nparents = [0, 0, 1, 1{", 0" * 13}]\n')
    source = sources.read(path, skeleton=str(tmp_path / "mine.toml"))
    assert source.skeleton.name == "mine17" and source.skeleton.shoulders == (2, 3)
    written = clips.write(tmp_path / "x.clips", source, progress=False)
    (tmp_path / "mine.toml").unlink()
    assert clips.open_clips(written.path).skeleton == source.skeleton


# -- real data


def test_real_utd_mhad(shared, tmp_path):
    report = clips.write(tmp_path / "utd.clips", sources.read(shared / "data/utd_mhad_skeleton.tar.xz"), progress=False)
    opened = clips.open_clips(report.path)
    assert (report.clips, len(opened.class_names), int(opened.frames.min()), int(opened.frames.max())) == (861, 27, 41, 125)
    assert round(report.height, 2) >= 1.48 and report.height <= 1.61 and report.upright == 1 and not report.warnings
    train, test, name = protocols.split(opened)
    assert (len(train), len(test), name) == (431, 430, "odd-even-subjects")
    assert all(facing_agrees_with_the_feet(opened.joints_of(i)[0]) for i in range(0, 861, 20))


def test_real_hdm05(shared, tmp_path):
    source = sources.read(shared / "data/hdm05_cut11.npz", protocol="subject <= 3")  # bd, bk, dg train; mm, tr test
    report = clips.write(tmp_path / "hdm.clips", source, progress=False)
    opened = clips.open_clips(report.path)
    assert (report.clips, report.frames, len(opened.class_names)) == (287, 17878, 11)
    assert 1.48 <= report.height <= 1.61 and report.upright > 0.98 and not report.warnings
    actors = {opened.names[i].split("_")[1] for i in protocols.split(opened).train}
    assert actors == {"bd", "bk", "dg"} and len(protocols.split(opened).test) == 99
    assert all(facing_agrees_with_the_feet(opened.joints_of(i)[0]) for i in range(0, 287, 20))


def facing_agrees_with_the_feet(x: np.ndarray) -> bool:
    """Left and right are not exchanged and no axis is mirrored: up x (right - left shoulder) points where the toes do. (T, V, 3)"""
    ahead = np.cross([0, 1, 0], x[:, 8] - x[:, 4])
    toes = x[:, 15] - x[:, 14] + x[:, 19] - x[:, 18]
    return bool(np.median((ahead * toes).sum(-1)) > 0)


# What a reviewer tried


def test_a_file_that_is_a_data_set_by_itself_is_not_passed_over_in_a_folder(tmp_path):
    raw = folder(tmp_path / "raw", one_of_each_class())
    assert sources.recognise(raw) == "ntu"
    (raw / "mine.csv").write_text("clip,frame,joint,x,y,z,label\na,0,0,1,2,3,b\n")
    with pytest.raises(DataError, match="holds ntu data.*table data in 'mine.csv'"):
        sources.read(raw)
    assert sources.read(raw, format="ntu").items
    table = (raw / "mine.csv").read_text()
    (raw / "mine.csv").unlink()
    (raw / "torn.npz").write_bytes(b"PK\3\4 and nothing")
    assert sources.recognise(raw) == "ntu"
    alone = folder(tmp_path / "alone", {"mine.csv": table})
    with pytest.raises(DataError, match=r"is a folder with table data in '.*mine.csv': name the file"):
        sources.read(alone)


def test_a_link_in_a_zip_is_refused_as_in_a_tar(tmp_path):
    with zipfile.ZipFile(tmp_path / "raw.zip", "w") as archive:
        link = zipfile.ZipInfo("S001C001P001R001A001.skeleton")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="is a link; pack the files themselves"):
        sources.read(tmp_path / "raw.zip", format="ntu")


def test_a_link_to_nothing_is_left_out_and_named(tmp_path):
    raw = folder(tmp_path / "raw", one_of_each_class())
    (raw / "S001C002P005R002A001.skeleton").symlink_to(tmp_path / "nowhere")
    report = clips.write(tmp_path / "x.clips", sources.read(raw), progress=False)
    assert report.clips == 4 and "is a link to nothing" in report.damaged[0].reason


def test_the_sample_is_not_read_from_a_folder(tmp_path):
    with pytest.raises(DataError, match="made, not read from"):
        sources.read(tmp_path, format="sample")
    assert sources.read("sample").items


@pytest.mark.parametrize("rate", ["NaN", "0", "-5", "1e400", "1" * 400])
def test_a_frame_rate_that_is_none_is_refused(tmp_path, rate):
    raw = folder(tmp_path / "raw", one_of_each_class() | {"skelmm.json": f'{{"frame_rate": {rate}}}'})
    with pytest.raises(DataError, match="'frame_rate' must be frames per second above 0"):
        sources.read(raw)


@pytest.mark.parametrize(("table", "words"), [("[" * 100_000, "nested too deeply"), ('{"class_names": []}', "one at least")])
def test_other_damage_of_the_table_beside_ntu_files(tmp_path, table, words):
    raw = folder(tmp_path / "raw", one_of_each_class() | {"skelmm.json": table})
    with pytest.raises(DataError, match=words):
        sources.read(raw)
