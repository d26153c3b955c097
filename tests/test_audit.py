"""The report of a preparation: every figure against a slow loop, leaks that were planted, and a page that shows all of it safely."""

from __future__ import annotations

import json
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import Page

from skelmm_core import audit, clips, drawing, skeletons, sources
from skelmm_core.audit import leaks, measurements, page, report_path
from skelmm_core.drawing import audit as figures
from skelmm_core.errors import DataError
from skelmm_core.recordings import Dropped, Recording, Source, as_given, stature
from skelmm_core.skeletons import NTU25

RATE = 30.0


def body(rng: np.random.Generator, frames: int, height: float = 1.6) -> np.ndarray:
    """(T, 25, 3): somebody of that height who sways a little; every frame is another one."""
    place = rng.uniform(-0.3, 0.3, (25, 3))
    place[:, 1] = np.linspace(0, height, 25)[rng.permutation(25)]
    place[NTU25.centre, 1] = 0.8 * height
    return (place + np.cumsum(rng.normal(0, 0.005, (frames, 25, 3)), axis=0)).astype(np.float32)


def people(count: int = 24, seed: int = 0, **fields) -> list[Recording]:
    """Clips of 2 classes and 4 subjects, each performed once by each, seen by 3 cameras."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        label, subject, view = i % 2, i // 2 % 4 + 1, i // 8 % 3 + 1
        joints = body(rng, int(rng.integers(4, 30)))[None]
        found.append(Recording(joints, label, f"clip{i}", subject, view, 1, i // 24 + 1, **fields))
    return found


def write(path, items, protocol="odd-even-subjects", skeleton=NTU25, class_names=("sit", "stand"), title="people", **options):
    source = Source(title, skeleton, class_names, RATE, protocol, "f" * 64, list(items), as_given)
    return clips.write(path, source, progress=False, **options)


def opened(tmp_path, items, **options) -> clips.Clips:
    write(tmp_path / "some.clips", items, **options)
    return clips.open_clips(tmp_path / "some.clips")


def changed(item: Recording, **fields) -> Recording:
    values = {name: getattr(item, name) for name in ("joints", "label", "name", "subject", "view", "setup", "repetition")}
    return Recording(**(values | fields))


# Against slow loops


def messy(seed: int) -> list[Recording]:
    """Clips of one or two bodies, some of them absent, frozen or jumping."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(8):
        frames, bodies = int(rng.integers(1, 20)), int(rng.integers(1, 3))
        joints = np.stack([body(rng, frames, height=rng.uniform(0.5, 2)) for _ in range(bodies)])
        for m in range(bodies):
            for t in range(frames):
                match rng.integers(8):
                    case 0:
                        joints[m, t] = 0
                    case 1 if t:
                        joints[m, t] = joints[m, t - 1]
                    case 2:
                        joints[m, t, rng.integers(25)] += rng.uniform(0.1, 0.6)
        if i == 5:
            joints[:] = 0
        found.append(Recording(joints, i % 2, f"clip{i}"))
    return found


def slowly(joints: np.ndarray) -> dict:
    """What `Measured` says of one clip, (M, T, V, 3), frame by frame."""
    count, frames = joints.shape[:2]
    there = [[bool(joints[m, t].any()) for t in range(frames)] for m in range(count)]
    found = {
        "with_none": sum(not any(there[m][t] for m in range(count)) for t in range(frames)),
        "with_two": sum(all(there[m][t] for m in range(count)) for t in range(frames)) if count == 2 else 0,
        "seen": sum(map(sum, there)), "frozen": 0, "steps": 0, "jumps": 0, "leaps": 0,
    }  # fmt: skip
    speeds, shares = [], []
    for m in range(count):
        for t in range(1, frames):
            if there[m][t] and there[m][t - 1]:
                found["steps"] += 1
                found["frozen"] += joints[m, t].tobytes() == joints[m, t - 1].tobytes()
                step = [float(np.sqrt(((joints[m, t, v] - joints[m, t - 1, v]) ** 2).sum())) * RATE for v in range(25)]
                found["jumps"] += max(step) > 10
                found["leaps"] += step[NTU25.centre] > 10
                speeds.append(max(step))
        poses = [joints[m, t].astype(float) for t in range(frames) if there[m][t]]
        if poses:
            lengths = [[np.linalg.norm(p[v] - p[u]) for p in poses] for v, u in measurements.bones(NTU25)]
            shares.append([np.std(one) / np.mean(one) for one in lengths])
    found["speed"] = max(speeds, default=np.nan)
    found["variation"] = np.mean(shares, axis=0) if shares else np.full(24, np.nan)
    found["height"], found["upright"] = stature(joints, NTU25)
    if not there or not any(there[0]):
        found["height"], found["upright"] = np.nan, False
    return found


@pytest.mark.parametrize("seed", range(4))
def test_every_figure_is_that_of_a_slow_loop(tmp_path, seed):
    items = messy(seed)
    found = measurements.measure(opened(tmp_path, items, protocol=""))
    for i, item in enumerate(items):
        for name, value in slowly(item.joints).items():
            np.testing.assert_allclose(getattr(found, name)[i], value, rtol=2e-5, atol=1e-7, err_msg=f"{name} of clip {i}")


def test_chunks_change_nothing(tmp_path, monkeypatch):
    data = opened(tmp_path, messy(7), protocol="")
    whole = measurements.measure(data)
    monkeypatch.setattr(measurements, "ROWS", 1)
    for name, value in vars(measurements.measure(data)).items():
        np.testing.assert_array_equal(value, getattr(whole, name), name)


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    one = body(rng, 250)
    data = opened(tmp_path, [Recording((one + i)[None], i % 2, f"clip{i}", i % 4) for i in range(400)])
    monkeypatch.setattr(measurements, "ROWS", 1 << 10)
    tracemalloc.start()
    measurements.measure(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data.path.stat().st_size > 29e6 and peak < 6e6


def test_the_longest_coordinates_that_there_are(tmp_path):
    items = people(8)
    for item, value in zip(items, (1e6, -1e6, 9e5, 1e-40, 9.9e5), strict=False):
        item.joints[0, ::2, 3:9] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = audit.keep(write(tmp_path / "some.clips", items).path)
    assert found.jumps.clips >= 4 and found.jumps.worst[0][1] > 1e7
    strict(report_path(tmp_path / "some.clips", "json"))


# Clips that are there twice


def test_planted_leaks_are_named_in_every_protocol_that_they_cross(tmp_path):
    items = people()
    twin = changed(items[0], name="twin", subject=2)  # odd trains, even tests
    inside = changed(items[1], name="inside", subject=3, label=0)  # both train, in another class
    found = audit.audit(opened(tmp_path, [*items, twin, inside], protocol="subject in (1, 3)"))
    assert found.duplicates == (("clip0", "twin"), ("clip1", "inside")) and found.other_class == 1
    by_name = {part.protocol: part for part in found.protocols}
    assert list(by_name) == ["subject in (1, 3)", *(f"train-views:{views}" for views in ("2,3", "1,3", "1,2"))], "odd-even is the same"
    assert by_name["subject in (1, 3)"].leaks == (("clip0", "twin"),) and not any(by_name[f"train-views:{v}"].leaks for v in ("2,3", "1,2"))
    ntu = audit.audit(clips.open_clips(found.path), protocol="cross-subject").protocols
    assert [part.protocol for part in ntu] == ["cross-subject", "subject in (1, 3)", "cross-view"], "setups have but one part"
    assert ntu[0].leaks == (("clip1", "inside"),) and not ntu[2].leaks, "performer 3 tests there"
    first, *rest = found.warnings
    assert first.startswith("leak in protocol subject in (1, 3): 1 clip ") and "twin (test) = clip0 (train)" in first
    assert any("clip1 = inside" in w and "1 of these groups in more than one class" in w for w in rest)
    assert first in str(found)


def test_every_test_clip_with_a_twin_is_a_leak_once(tmp_path):
    items = people()
    copies = [changed(items[0], name=f"copy{i}", subject=i % 4 + 1) for i in range(6)]
    (own, *_) = audit.audit(opened(tmp_path, [*items, *copies])).protocols
    assert sorted(test for _, test in own.leaks) == ["copy1", "copy3", "copy5"] and {train for train, _ in own.leaks} == {"clip0"}


def test_what_only_looks_the_same_is_no_duplicate(tmp_path):
    items = people()
    long = items[0].joints
    items += [
        changed(items[0], name="two", joints=long[0, : len(long[0]) // 2 * 2].reshape(2, -1, 25, 3)),  # the same bytes, other bodies
        changed(items[0], name="bit", joints=np.nextafter(long, np.float32(9))),
        *(changed(items[0], name=f"empty{i}", joints=np.zeros((1, 5, 25, 3), np.float32)) for i in range(3)),
    ]
    found = audit.audit(opened(tmp_path, items))
    assert found.duplicates == () and not any("leak" in w for w in found.warnings)
    assert found.vacant.clips == 3 and any("no body at all in 3 clips: empty0" in w for w in found.warnings)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.lists(st.booleans(), min_size=12, max_size=12))
def test_twins_are_all_pairs_of_equal_digests(values, counted):
    digests = np.array([bytes([v]) * 16 for v in values], "V16")
    counted = np.array(counted[: len(values)])
    groups = leaks.twins(digests, counted)
    pairs = {(a, b) for group in groups for a in group for b in group if a < b}
    numbers = [i for i in range(len(values)) if counted[i]]
    assert pairs == {(a, b) for a in numbers for b in numbers if a < b and values[a] == values[b]}


# Splits


def test_parts_and_what_they_share(tmp_path):
    found = audit.audit(opened(tmp_path, people(), protocol="view in (1, 2)"))
    own = found.protocols[0]
    assert own.own and (own.train, own.test) == (16, 8) and own.per_class == ((8, 4), (8, 4)) and own.few == ("sit", "stand")
    assert own.shared == {"subject": (4, 4), "view": (0, 1), "setup": (1, 1), "repetition": (1, 1)}
    assert own.filmed_twice == 8, "every performance of the third camera was filmed by the others"
    assert "of 8 test clips another view trains" in str(found)
    assert any("2 classes have fewer than 5 clips to train or to test: sit, stand" in w for w in found.warnings)
    assert own.apart == {"view": ((1, 2), (3,))} and "view in (1, 2) (its own): views 1, 2 | 3" in str(found)
    other = next(p for p in found.protocols if p.protocol == "odd-even-subjects")
    assert other.apart == {"subject": ((1, 3), (2, 4))}
    assert other.filmed_twice == 0 and other.shared["subject"] == (0, 2) and not other.own and not other.few


def test_a_protocol_that_does_not_fit_is_a_warning(tmp_path):
    items = [changed(item, subject=-1, view=-1) for item in people()]
    found = audit.audit(opened(tmp_path, items, protocol="cross-view"))
    assert found.protocols[0].problem and not found.protocols[0].leaks
    assert any("own protocol can't be used" in w and "unknown for every clip" in w for w in found.warnings)
    assert "no usual protocol" not in str(found)
    assert "no usual protocol fits" in str(audit.audit(opened(tmp_path, items, protocol="")))
    assert audit.audit(opened(tmp_path, people(), protocol=""), protocol="subject == 1").protocols[0].train == 6


@pytest.mark.parametrize(
    ("protocol", "numbers", "expected"),
    [  # the numbers of subject, view and setup are 1 to these
        ("odd-even-subjects", (4, 0, 0), ["odd-even-subjects"]),
        ("", (4, 1, 2), ["odd-even-subjects"]),
        ("train-views:1,2", (3, 3, 0), ["train-views:1,2", "odd-even-subjects", "train-views:2,3", "train-views:1,3"]),  # N-UCLA
        ("train-views:2,3", (0, 3, 0), ["train-views:2,3", "train-views:1,3", "train-views:1,2"]),  # PKU-MMD I
        ("setup == 1", (0, 3, 2), ["setup == 1", "train-views:2,3", "train-views:1,3", "train-views:1,2"]),  # by its split file
        ("setup == 1", (0, 0, 2), ["setup == 1"]),  # CTR-GCN: cross-setup would have it the other way round
        ("odd-even-subjects", (4, 5, 0), ["odd-even-subjects"]),
        ("cross-view", (4, 3, 2), ["cross-view", "cross-subject", "cross-setup"]),
        ("cross-subject", (4, 1, 1), ["cross-subject"]),
    ],
)
def test_protocols_are_those_that_data_of_the_kind_are_divided_by(tmp_path, protocol, numbers, expected):
    rng = np.random.default_rng(0)
    items = []
    for i in range(240):
        subject, view, setup = (int(rng.integers(1, most + 1)) if most else -1 for most in numbers)
        items.append(Recording(body(rng, 3)[None], i % 2, f"c{i}", subject, view, setup))
    found = audit.audit(opened(tmp_path, items, protocol=protocol)).protocols
    assert [part.protocol for part in found] == expected and [part.own for part in found] == [name == protocol for name in expected]
    for part in found:
        for column, (train, test) in part.apart.items():
            assert part.shared[column] == (0, len(test)) and not set(train) & set(test)
        assert part.apart


def test_of_many_subjects_some_are_named(tmp_path):
    items = [changed(item, name=f"c{i}", subject=i, label=i // 2 % 2) for i, item in enumerate(people(60))]
    assert "subjects 1, 3, 5, 7, 9, 11, 13, 15, … (30) | 0, 2, 4, 6, 8, 10, 12, 14, … (30)" in str(audit.audit(opened(tmp_path, items)))
    mixed = audit.audit(opened(tmp_path, items, protocol="subject % 3 == 0 / view == 2 and subject % 3 == 1")).protocols[0]
    assert set(mixed.apart) == {"subject"}


# What is warned of


def test_broken_clips_are_counted_and_named(tmp_path):
    items = people(40)
    items[1].joints[0, 1:] = items[1].joints[0, :1]
    items[2].joints[0, : items[2].joints.shape[1] * 2 // 3] = 0
    items[3].joints[0, 2] += 1.0  # the whole body
    items[4].joints[0, ::2, 5] += [0, 3, 0]
    items.append(changed(items[0], name="short", joints=items[0].joints[:, :2]))
    found = audit.audit(opened(tmp_path, items))
    assert found.frozen.worst[0][0] == "clip1" and found.frozen.frames == items[1].joints.shape[1] - 1
    assert found.empty.worst[0][0] == "clip2" and found.empty.frames == items[2].joints.shape[1] * 2 // 3 == found.bodies[0]
    assert [name for name, *_ in found.leaps.worst] == ["clip3"] and found.leaps.frames == 2
    assert found.odd_bones.worst[0][0] == "clip4" and "left elbow" in found.odd_bones.worst[0][2]
    text = "\n".join(found.warnings)
    for words in ("does not move at all in half of the frames or more of 1 clip: clip1", "no body in half", "clip2", "fewer than 3 frames",
                  "short", "a whole body jumps in 1 clip"):  # fmt: skip
        assert words in text, words


def test_a_subject_in_other_units(tmp_path):
    items = [changed(i, joints=i.joints * 100) if i.subject == 3 else i for i in people()]
    found = audit.audit(opened(tmp_path, items))
    (told,) = [w for w in found.warnings if w.startswith("subject")]
    assert told.startswith("subject 3 is 16") and "the others 1.6" in told
    assert not [w for w in audit.audit(opened(tmp_path, people())).warnings if "tall" in w]


def test_writers_warnings_come_without_a_writer(tmp_path):
    items = [changed(i, joints=i.joints * [10, -10, 10]) for i in people()]
    written = write(tmp_path / "some.clips", items)
    data = clips.open_clips(written.path)
    assert written.warnings and audit.audit(data).plausible == audit.audit(data, written).plausible == written.warnings


def test_what_was_left_out_and_taken_away(tmp_path):
    items = [*people(changes={"bodies beyond the second": 3}), *(Dropped(f"bad{i}", "listed as incomplete") for i in range(4)),
             Dropped("torn", "'torn.txt', line 3: cut short", damaged=True)]  # fmt: skip
    written = write(tmp_path / "some.clips", items)
    found = audit.audit(clips.open_clips(written.path), written)
    assert found.left_out == {"listed as incomplete": ("bad0", "bad1", "bad2", "bad3")}
    assert found.damaged == (("torn", "'torn.txt', line 3: cut short"),) and found.changes == {"bodies beyond the second": (72, 24)}
    text = str(found)
    for words in (
        "4: listed as incomplete (bad0, bad1, bad2, …)",
        "damaged: torn: 'torn.txt', line 3",
        "72 bodies beyond the second, from 24",
    ):
        assert words in text
    assert "not known" in str(audit.audit(clips.open_clips(written.path)))


def test_the_printed_form_stays_short(tmp_path):
    items = messy(1) + messy(1)
    items = [changed(item, name=f"c{i}", subject=i % 5, view=i % 3 + 1, setup=i % 2) for i, item in enumerate(items)]
    items += [Dropped(f"bad{i}", f"reason {i}", damaged=i % 2 == 0) for i in range(300)]
    written = write(tmp_path / "some.clips", items, protocol="subject == 9")
    text = str(audit.audit(clips.open_clips(written.path), written))
    assert 25 < len(text.splitlines()) <= 42 and "295 more, in the JSON" in text


def test_two_dimensions_have_confidence_and_no_jumps(tmp_path):
    rng, skeleton = np.random.default_rng(0), skeletons.get("coco17")
    items = []
    for i in range(16):
        place = rng.uniform(-0.4, 0.4, (1, 1, 17, 2)) + rng.normal(0, 0.001, (1, 9, 17, 2))
        place[0, 1::2] += 5
        joints = np.concatenate([place, np.full((1, 9, 17, 1), 0.25)], axis=3)
        joints[:, :, 3, 2] = 0.75
        joints[:, ::3, 8] = 0  # not found
        items.append(Recording(joints.astype(np.float32), i % 2, f"clip{i}", i % 4 + 1))
    data = opened(tmp_path, items, skeleton=skeleton)
    found = audit.audit(data)
    assert found.unit == "image heights" and found.jumps.clips == 0 and found.jumps == found.leaps == audit.Finding()
    assert found.confidence[skeleton.joints[3]].median == 0.75 and found.confidence[skeleton.joints[8]].median == pytest.approx(1 / 6)
    assert f"{skeleton.joints[8]} 0.17" in str(found) and "m/s" not in str(found)
    assert max(s.median for s in found.bones.values()) < 0.1, "a joint that was not found makes no bone of another length"
    assert 0.5 < found.height.median < 0.9
    assert {caption for _, caption in page.drawn(found, data)} >= {"The detector's confidence."}


# JSON and page


def strict(path) -> dict:
    def refuse(word: str):
        raise AssertionError(f"{word} in {path}")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_report_beside_the_clips_file_is_whole_escaped_and_the_same_again(tmp_path):
    wicked = '<script>alert("$x^{$")</script>'
    items = people()
    items += [changed(items[0], name=wicked, subject=2), Dropped(wicked, wicked), Dropped("torn", f"line 3: {wicked}", damaged=True)]
    written = write(tmp_path / "some.clips", items, title=wicked, class_names=(wicked, "stand"))
    found = audit.keep(written.path, written)
    table, html = (report_path(written.path, ending) for ending in ("json", "html"))
    assert {p.name for p in tmp_path.iterdir()} == {"some.clips", "some.clips.report.json", "some.clips.report.html"}
    read = strict(table)
    assert read == json.loads(json.dumps(found.to_dict())) and read["warnings"] == list(found.warnings)
    assert read["content"] == clips.open_clips(written.path).content and read["fingerprint"] == "f" * 64
    assert read["damaged"] == [["torn", f"line 3: {wicked}"]] and read["classes"] == [[wicked, 13], ["stand", 12]]
    assert read["protocols"][0]["leaks"] == [["clip0", wicked]]

    text = html.read_text()
    page = Page(text)
    assert page.open == [] and not {tag for tag, _ in page.tags} & {"link", "iframe"}
    assert not [attrs for tag, attrs in page.tags if tag == "script" and attrs], "a player's own script and no other"
    assert page.text.count(wicked) >= 5 and "subjects 1, 3 | 2, 4" in page.text and "some.clips.report.json" in page.text
    for warning in found.warnings:
        assert warning in page.text
    pictures = [attrs["src"] for _, attrs in page.tags if "src" in attrs]
    assert len(pictures) == 7 and all(p.startswith("data:image/png;base64,iVBOR") for p in pictures)
    assert "http" not in text and {attrs["href"] for _, attrs in page.tags if "href" in attrs} == {"#clip-0-24"}
    before = table.read_bytes(), html.read_bytes()
    audit.keep(written.path, written)
    assert before == (table.read_bytes(), html.read_bytes())


def test_a_folder_that_can_not_be_written(tmp_path, monkeypatch):
    written = write(tmp_path / "some.clips", people())
    report_path(written.path, "json").mkdir()
    with pytest.raises(DataError, match="can't write"):
        audit.keep(written.path)
    with pytest.raises(DataError, match="no clips file"):
        audit.keep(tmp_path / "other.clips")


def test_bars_of_many_classes_show_all_of_them(tmp_path):
    names = tuple(f"class {i}" for i in range(120))
    rng = np.random.default_rng(0)
    items = [Recording(body(rng, 3)[None], i % 120, f"c{i}", i // 120 + 1, i % 7, i % 5) for i in range(480)]
    data = opened(tmp_path, items, class_names=names)
    found = audit.audit(data)
    figure = figures.class_bars(found)
    labels = [label.get_text() for axes in figure.axes for label in axes.get_yticklabels()]
    assert labels == list(names) and len(figure.axes) == 3
    widths = sum(bar.get_width() for axes in figure.axes for bar in axes.patches)
    assert widths == len(data)
    assert sum(found.lengths["histogram"]["counts"]) == len(data)


def test_a_sheet_has_a_strip_for_every_clip(tmp_path):
    items = people()
    items[3].joints[:] = 0  # nobody
    items[4] = changed(items[4], joints=np.concatenate([items[4].joints, items[4].joints + [1.5, 0, 0]]), name="two $people$")
    items[5] = changed(items[5], joints=items[5].joints[:, :1])
    data = opened(tmp_path, items, class_names=("sit $1", "stand"))
    figure = drawing.class_sheet(data, [3, 4, 5])
    drawing.save(figure, tmp_path / "sheet.png")
    drawn = {axes.get_title(loc="left").partition(":")[0].replace("\\", ""): axes for axes in figure.axes if axes.get_visible()}
    strips = [len(axes.collections) // 2 for axes in figure.axes if axes.get_visible()]  # limbs and joints of a body in a frame
    assert set(drawn) == {"sit $1", "stand"} and len(strips) == 3
    assert strips[0] == 0 and strips[1] >= 4 and strips[1] % 2 == 0 and strips[2] == 1


@pytest.mark.parametrize(("low", "high"), [(1, 1), (3, 4), (1, 1000), (7, 47)])
def test_every_length_is_in_one_bin(low, high):
    class Some:
        frames = np.array([low, high, low])
        names = ("a", "b", "c")

    found = audit._lengths(Some)
    edges = found["histogram"]["edges"]
    assert sum(found["histogram"]["counts"]) == 3 and edges[0] == low and edges[-1] == high + 1 and len(edges) <= audit.BINS + 2
    assert (found["shortest"], found["longest"]) == ("a", "b" if high > low else "a")


# Real data and the sample


def test_sample(tmp_path):
    from skelmm_core.sources import sample

    path = tmp_path / "sample.clips"
    found = audit.keep(path, clips.write(path, sample.read(**sample.SMOKE), progress=False))
    assert found.generated and found.clips == 136 and found.duplicates == () and not any("leak" in w for w in found.warnings)
    assert 1.4 < found.height.median < 1.7 and found.bodies[0] == 0 and found.frozen.clips == 0
    assert found.upright == 1 and found.subjects == dict.fromkeys((1, 2, 3, 4), 34)


@pytest.mark.parametrize(
    ("file", "options", "clips_", "median"),
    [("utd_mhad_skeleton.tar.xz", {}, 861, 1.48), ("hdm05_cut11.npz", {"protocol": "subject <= 3"}, 287, 1.58)],
)
def test_real_motion(shared, tmp_path, file, options, clips_, median):
    path = tmp_path / "real.clips"
    found = audit.keep(path, clips.write(path, sources.read(shared / "data" / file, **options), progress=False))
    assert found.clips == clips_ and found.height.median == pytest.approx(median, abs=0.01)
    assert found.duplicates == () and not any(part.leaks for part in found.protocols), "nobody is there twice"
    assert found.jumps.frames < 0.01 * found.frames and found.odd_bones.clips < 0.1 * found.clips
    assert len(str(found).splitlines()) < 40 and strict(report_path(path, "json"))["clips"] == clips_
