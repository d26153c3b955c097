"""The linked map: what a page holds of it, what it takes and refuses, and maps laid upon each other. A browser: test_browser_map."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from types import SimpleNamespace

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from matplotlib.path import Path as Polygon
from scipy.spatial import procrustes
from test_drawing import clip

from skelmm_core import checkpoints, drawing, modalities, notebook, skeletons
from skelmm_core.drawing import colouring, fitting, linked, palette, player
from skelmm_core.encoder import Branches, Encoder, EncoderShape
from skelmm_core.errors import CheckpointError, DataError, SettingsError
from skelmm_core.evaluation import alignment, forming, tsne

RANDOM = np.random.default_rng(0)


class Many(list):
    """A clips file of `count` waves and hugs."""

    def __init__(self, count: int):
        super().__init__(SimpleNamespace(joints=clip(bodies=1, frames=12) + np.float32(i / 50)) for i in range(count))
        self.labels, self.subjects = np.arange(count) % 2, np.arange(count) % 3 + 1
        self.class_names, self.names = ("wave", "hug"), [f"take {i}" for i in range(count)]
        self.skeleton, self.frame_rate = skeletons.NTU25, 30.0


def numbers(text: str, kind: str = "<u2") -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def ring(count: int, near: int = 5) -> np.ndarray:
    """(count, near): the next points of each."""
    return (np.arange(count)[:, None] + np.arange(1, near + 1)) % count


# --- what a page holds ----------------------------------------------------------------------------------------------


def test_places_come_back_in_one_scale_for_all_steps():
    start, end = RANDOM.normal(0, 3, (200, 2)) + 50, RANDOM.normal(0, 1, (200, 2)) - 7
    front = drawing.linked_map({"joint": start, "teacher, in training": {8: end, 0: start}}, {"class": np.zeros(200, int)})
    joint, teacher = front.data["maps"]
    assert joint["labels"] == [""] and teacher["labels"] == ["untrained", "epoch 8"], "in the order of epochs"
    for drawn, places in (([joint["steps"][0]], [start]), (teacher["steps"], [start, end])):
        side = np.ptp(np.concatenate(places), axis=0).max()
        back = np.concatenate([numbers(text).reshape(-1, 2) for text in drawn]) / linked.GRID * side
        wanted = np.concatenate(places)
        np.testing.assert_allclose(back - back.mean(0), wanted - wanted.mean(0), atol=1.1 * side / linked.GRID)


def test_kinds_have_the_styles_names_and_counts_of_the_still_maps():
    labels = np.array([0, 12, 12, -1])
    found = colouring.column("class", labels, ["wave"] * 12 + ["hug"])
    assert [(e["word"], e["count"], e["colour"]) for e in found["entries"]] == [
        ("class unknown", 1, palette.UNKNOWN), ("wave", 1, palette.class_style(0)[0]), ("hug", 2, palette.class_style(12)[0]),
    ]  # fmt: skip
    assert found["entries"][2]["shape"] == palette.class_style(12)[1] == "s"
    np.testing.assert_array_equal(numbers(found["values"]), [1, 2, 2, 0])
    right = colouring.column("correct", np.array([True, False, True]))
    assert [(e["word"], e["count"]) for e in right["entries"]] == [("wrong", 1), ("correct", 2)]
    assert len({(e["colour"], e["shape"]) for e in right["entries"]}) == 2
    assert [e["word"] for e in colouring.column("camera", ["left", "right", "left"])["entries"]] == ["left", "right"]


@given(st.lists(st.one_of(st.none(), st.just(np.inf), st.floats(-1e6, 1e6)), min_size=1, max_size=40))
def test_a_scale_keeps_numbers_and_says_what_is_unknown(values):
    given_values = np.array([np.nan if v is None else v for v in values], float)
    found = colouring.column("distance", given_values, unit="1 - cosine")
    (low, high), codes = found["range"], numbers(found["values"])
    np.testing.assert_array_equal(codes == colouring.UNKNOWN, ~np.isfinite(given_values))
    known = np.isfinite(given_values)
    np.testing.assert_allclose(low + codes[known] / 65534 * (high - low), given_values[known], atol=(high - low) / 65534)
    assert 0 <= found["limits"][0] < found["limits"][1] <= 65534 and found["unit"] == "1 - cosine"


def test_markers_are_those_of_matplotlib_and_of_one_size():
    assert colouring.shape("o") == []
    for marker, _ in palette.MARKERS[1:]:
        corners = np.array(colouring.shape(marker))
        before, after = corners, np.roll(corners, -1, 0)
        assert abs((before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]).sum() / 2) == pytest.approx(np.pi * 0.81, rel=0.01)
        assert 0.9 < np.linalg.norm(corners, axis=1).max() < 1.6, "the script's pictures have room for so much"
    assert len(colouring.shape("s")) == 4 and np.argmax(np.array(colouring.shape("^"))[:, 1]) == 0
    np.testing.assert_allclose(np.array(colouring.shape("v")), -np.array(colouring.shape("^")))


def test_names_are_text_and_a_page_loads_nothing(tmp_path):
    bad = '</script><b>"$x$" & more'
    front = drawing.linked_map(
        RANDOM.normal(size=(6, 2)), {"class": np.zeros(6, int), bad: [bad] * 6}, (Many(6), np.arange(6)), ring(6, 2),
        [bad, "a\nb", *"cdef"], [bad], title=bad, nearest_in=bad,
    )  # fmt: skip
    page = front.save(tmp_path / "deep" / "map.html").read_text()
    assert page.count("</script>") == front.html().count("</script>") == 1 and "<b>" not in page + front.html()
    assert not re.search(r"https?:|//[a-z]+\.|\bimport\b|@import|<link|fetch\(|XMLHttp", page)
    assert re.findall(r'\bsrc="(.{10})', page) == ["data:image"]
    assert front.data["names"].split("\n") == [bad, "a b", *"cdef"], "one line each"
    with pytest.raises(SettingsError, match=r"ends in \.html"):
        front.save(tmp_path / "map.png")
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert set(front._repr_mimebundle_()) == {"text/html", "text/plain"} and front.html() == front.html()


def test_clips_in_a_page_come_in_whole_groups_of_every_class_and_are_bounded(monkeypatch):
    clips, index, near = Many(40), np.arange(40)[::-1].copy(), ring(40)
    front = drawing.linked_map(RANDOM.normal(size=(40, 2)), {"class": clips.labels[index]}, (clips, index), near, held=24)
    stored = {int(point): number for point, number in front.data["stored"].items()}
    assert 18 <= len(stored) <= 24 and len(front.data["player"]["clips"]) == len(stored)
    whole = [p for p in stored if set(near[p]) <= set(stored)]
    assert set(clips.labels[index[whole]]) == {0, 1}, "of every class one plays beside all its neighbours"
    for point, number in stored.items():
        assert front.data["player"]["clips"][number]["title"].startswith(f"{index[point]}: "), "the point's own clip"
    assert front.names[0] == "39: take 39"
    one = len(json.dumps(front.data["player"]["clips"][0]))
    monkeypatch.setattr(linked, "HEAVY", 5 * one)
    few = drawing.linked_map(front.maps[0][1][""], {"class": clips.labels[index]}, (clips, index), near, held=24)
    assert 3 <= len(few.data["stored"]) == len(few.data["player"]["clips"]) <= 5


def test_each_map_has_the_neighbours_that_are_called_like_it():
    clips, index, places = Many(40), np.arange(40), RANDOM.normal(size=(3, 40, 2))
    near = {"teacher": ring(40), "student": ring(40, 3)[:, ::-1]}
    given = dict(zip(("joint", "student", "teacher"), places, strict=True)) | {"student, PCA": places[0], "students": places[1]}
    front = drawing.linked_map(given, {"class": clips.labels}, (clips, index), near, nearest_in="the {}'s features", held=0)
    assert [m["near"] for m in front.data["maps"]] == [0, 1, 0, 1, 0], "joint and students have the first"
    assert front.data["words"] == ["Nearest in the teacher's features.", "Nearest in the student's features."]
    teacher, student = (numbers(text, "<u2").reshape(40, 5) for text in front.data["nearest"])
    assert (teacher == near["teacher"]).all() and (student[:, :3] == near["student"]).all() and (student[:, 3:] == 65535).all()
    answer = front._fetch(40 + 7)
    assert (answer["points"], answer["near"]) == ([7, *near["student"][7]], 1) and front._fetch(7)["points"] == [7, *near["teacher"][7]]
    assert [clip["title"].partition(":")[0] for clip in answer["player"]["clips"]] == [str(i) for i in answer["points"]]
    assert front.with_kernel().count == 80
    both = drawing.linked_map(given, {"class": clips.labels}, neighbours=near | {"student, PCA": ring(40)})
    assert [m["near"] for m in both.data["maps"]] == [0, 1, 0, 2, 0], "the longest name that fits"
    held = drawing.linked_map(given, {"class": clips.labels}, (clips, index), near, held=24).data["stored"]
    whole = [p for p in map(int, held) if {str(n) for found in near.values() for n in found[p]} <= set(held)]
    assert set(clips.labels[whole]) == {0, 1}, "of every class one plays beside its neighbours on all maps"


def test_what_is_wrong_comes_early():
    place = np.array([[0.0, 0], [0.1, 0], [1, 0], [10, 0], [10.1, 0], [12, 0]])
    kinds, right = np.array([0, 0, 0, 1, 1, 1]), np.array([True, True, False, True, True, True])
    order = fitting.representatives(place, kinds, right, None, 6)
    assert set(order[:2]) == {1, 4}, "nearest to the middles of the classes, at 0.37 and 10.7"
    assert order[2] == 2 and sorted(order) == list(range(6))
    assert len(fitting.representatives(place, kinds, right, ring(6, 2), 4)) == 4, "a group that does not fit is left out"
    assert fitting.representatives(place, kinds, right, ring(6, 2), 3) in ([1, 2, 3], [4, 5, 0])


def forty_thousand(maps: int, steps: int = 1) -> drawing.LinkedMap:
    """So many maps of 40,000 points, the second one of them formed in `steps`, with five columns."""
    count, random = 40_000, np.random.default_rng(0)
    place, names = random.normal(size=(count, 2)), [f"S{i % 17:03}C001P{i % 40:03}R002A{i % 60:03}" for i in range(count)]
    columns = {name: np.arange(count) % many for name, many in (("class", 60), ("subject", 40), ("view", 3), ("correct", 2))}
    called = ["teacher", "teacher, in training", *modalities.NAMES, "student", "student, PCA"][:maps]
    given_maps = {name: {9 * step: place for step in range(steps)} if "in training" in name else place for name in called}
    near = random.integers(0, count, (count, 5))
    return drawing.linked_map(given_maps, columns | {"distance": random.random(count)}, neighbours=near, names=names)


def shown(part: str) -> dict:
    """What the script of a page is given."""
    return json.loads(re.search(r"^mountMap\((.*), \"\w+\"\);$", part, re.M)[1])


def test_forty_thousand_points_fit_a_notebook_and_what_does_not_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(linked.LinkedMap, "still", b"")
    front = forty_thousand(3, 3)
    assert 2e6 < len(front.html()) < linked.LARGEST == 5e6 and front.left_out == ""
    front = forty_thousand(10, 8)
    whole = shown(front.save(tmp_path / "map.html").read_text())
    assert [len(m["steps"]) for m in whole["maps"]] == [1, 8] + [1] * 8 and whole["left"] == ""
    part = front.html()
    kept = shown(part)
    assert len(part) < 5e6 < (tmp_path / "map.html").stat().st_size and len(kept["maps"]) == 10
    fewer = len(kept["maps"][1]["steps"])
    assert 2 <= fewer < 8 and {kept["maps"][1]["labels"][end] for end in (0, -1)} == {"untrained", "epoch 63"}
    assert front.left_out == f"{8 - fewer} of 8 steps of 'teacher, in training'"
    assert front.left_out in kept["left"] and "save() writes holds all" in kept["left"]
    assert len(player.script("linked.js")) < 21_900


def test_neighbours_on_maps_that_are_left_out_are_left_out():
    count, random = 400, np.random.default_rng(0)
    places = {name: random.normal(size=(count, 2)) for name in ("teacher", "student", *modalities.NAMES)}
    near = {name: random.integers(0, count, (count, 5)) for name in places}
    front = drawing.linked_map(places, {"class": np.arange(count) % 3}, neighbours=near)
    whole, one = shown(front.html()), drawing.linked_map({"teacher": places["teacher"]}, {"class": np.arange(count) % 3})
    assert [m["near"] for m in whole["maps"]] == list(range(8)) and all(whole["nearest"])
    part = front.html(most=len(one.html()) + 4 * count * 5)
    kept = shown(part)
    assert 1 <= len(kept["maps"]) < 8 and [bool(n) for n in kept["nearest"]] == [k in {m["near"] for m in kept["maps"]} for k in range(8)]
    for map_ in kept["maps"]:
        assert kept["nearest"][map_["near"]] == whole["nearest"][map_["near"]], "in its place, which the kernel counts by"


def test_a_notebook_says_what_it_does_not_hold_and_goes_on(monkeypatch, tmp_path):
    monkeypatch.setattr(linked.LinkedMap, "still", b"")
    said, displayed = [], []
    monkeypatch.setattr(notebook, "display", displayed.append)
    session, front = SimpleNamespace(folder=tmp_path, say=said.append), forty_thousand(10, 8)
    notebook.Session.linked(session, front, "map")
    left = front.left_out
    monkeypatch.setattr(linked, "LARGEST", 1_000_000)
    notebook.Session.linked(session, front, "map")
    path = tmp_path / "map.html"
    assert displayed == [front] and said[0] == f"Left out above: {left}. Everything is in the page `{path}`."
    assert re.match(r"Not shown: a map of 40000 points takes 2\.\d MB with one map", said[1]) and str(path) in said[1]
    assert len(shown(path.read_text())["maps"]) == 10


def test_single_modalities_are_left_out_before_the_teacher_and_then_all_but_the_first():
    maps_ = [{"name": n, "labels": [str(k) for k in range(m)], "steps": list(range(m))} for n, m in (
        ("teacher", 1), ("in training", 4), ("rotation axis", 1), ("student", 1), ("joint", 1),
    )]  # fmt: skip
    found = [({m["name"]: m["steps"] for m in kept}, words) for kept, words in fitting.fewer(maps_)]
    assert [kept.get("in training") for kept, _ in found] == [[0, 1, 2, 3], [0, 2, 3], [0, 3], [0, 3], [0, 3], [0, 3], None]
    assert [sorted(kept) for kept, _ in found[3:]] == [
        ["in training", "rotation axis", "student", "teacher"], ["in training", "student", "teacher"],
        ["in training", "teacher"], ["teacher"],
    ]  # fmt: skip
    assert [words for _, words in found[:2]] == ["", "1 of 4 steps of 'in training'"]
    assert found[4][1] == "the maps 'rotation axis', 'joint'; 2 of 4 steps of 'in training'"


def test_clips_give_way_down_to_a_few_and_a_map_that_is_too_large_is_refused(monkeypatch):
    clips, index, near = Many(40), np.arange(40), ring(40)
    places = {"teacher": {k: RANDOM.normal(size=(40, 2)) for k in range(12)}}
    front = drawing.linked_map(places, {"class": clips.labels}, (clips, index), near, held=24)
    bare, one = len(front._part(front.data | fitting.first(front.data, 0))), int(fitting.sizes(front.data).max())
    monkeypatch.setattr(linked, "LEAST", 5 * one)
    for room, fewest_steps, most_steps, fewest, most in ((12 * one, 12, 12, 11, 23), (5 * one - 900, 2, 11, 5, 6), (one, 12, 12, 1, 1)):
        part = front.html(most=bare + room)
        data = shown(part)
        assert len(part) <= bare + room and fewest <= len(data["stored"]) == len(data["player"]["clips"]) <= most
        assert fewest_steps <= len(data["maps"][0]["steps"]) <= most_steps
    with pytest.raises(DataError, match=r"40 points takes 0\.\d MB with one map and 1 columns, at most 0\.02 are allowed in a notebook"):
        front.html(most=20_000)


def test_wide_numbers_where_two_bytes_are_too_few():
    count = linked.GRID + 5
    near = np.full((count, 2), -1)
    near[:, 0] = np.arange(count)[::-1]
    front = drawing.linked_map(np.zeros((count, 2)), {"class": np.zeros(count, int)}, neighbours=near, names=[""] * count)
    assert front.data["wide"] == 4
    back = numbers(front.data["nearest"][0], "<u4").reshape(-1, 2)
    np.testing.assert_array_equal(back[:, 0], near[:, 0])
    assert (back[:, 1] == 2**32 - 1).all()


def test_what_does_not_fit_is_refused():
    place, labels = np.zeros((4, 2)), {"class": np.zeros(4, int)}
    for given_points, columns, more, words in (
        (np.zeros((4, 3)), labels, {}, r"must be \(N, 2\)"),
        ({"a": place, "b": place[:3]}, labels, {}, r"map 'b' must be \(N, 2\), with the 4 clips"),
        (place * np.nan, labels, {}, "4 places that are not finite"),
        (place, {"class": np.zeros(3, int)}, {}, "4 points, the column 'class' 3 values"),
        (place, {"class": np.zeros((4, 2))}, {}, "numbers, names or truth values"),
        (place, {}, {}, "at least one column"),
        ({}, labels, {}, "holds no map"),
        (place, labels, {"neighbours": np.full((4, 5), 4)}, "neighbours must be"),
        (place, labels, {"neighbours": {"map": np.full((3, 5), 0)}}, "neighbours of 'map' must be"),
        ({"a": place}, labels, {"neighbours": {"b": np.full((4, 5), 0)}}, "neighbours of 'b', but no map is called so; there are a"),
        (place, labels, {"clips": (Many(4), [0, 1, 2, 4])}, "4 numbers from 0 to 3"),
        (place, labels, {"names": ["a"]}, "found 1 names"),
    ):
        with pytest.raises(DataError, match=words):
            drawing.linked_map(given_points, columns, **more)
    with pytest.raises(DataError, match="1001 different values"):
        colouring.column("frame", np.arange(1001))
    with pytest.raises(SettingsError, match="made without clips"):
        drawing.linked_map(place, labels).with_kernel()


def test_the_kernel_answers_with_the_clips_that_were_asked_for():
    front = drawing.linked_map(RANDOM.normal(size=(9, 2)), {"class": np.zeros(9, int)}, (Many(9), np.arange(9)[::-1]), ring(9), held=0)
    assert front.data["stored"] == {} and front.data["player"] == {}, "nothing is held"
    messenger = front.with_kernel()
    assert f"skelmm-ask-{front.name}" in messenger.question._dom_classes
    for nonsense in ("x", "9 1", "-1 2"):
        messenger.question.value = nonsense
        assert messenger.answer.outputs == ()
    messenger.question.value = "7 1234"
    (answer,) = messenger.answer.outputs
    text = answer["data"]["text/html"]
    detail = json.loads(re.search(r'"skelmm-clips", (.*)\)\);</script>$', text)[1])["detail"]
    assert detail["points"] == [7, 8, 0, 1, 2, 3] and f'"{front.name}"' in text
    assert [c["title"].partition(":")[0] for c in detail["player"]["clips"]] == ["1", "0", "8", "7", "6", "5"]


# --- the script -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def javascript():
    """Runs an expression after the map's script and gives its value."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: the script's numbers are not compared with Python's here (tests/test_browser_map.py shows it)")

    def run(expression: str):
        source = f"{player.script()}\n{player.script('linked.js')}\nconsole.log(JSON.stringify({expression}))"
        done = subprocess.run([node, "-"], input=source, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_the_script_unpacks_and_finds_what_a_lasso_holds(javascript):
    place = RANDOM.integers(0, 65536, 400)
    assert javascript(f"Array.from(unpack('{colouring.packed(place, np.uint16)}', Uint16Array))") == place.tolist()
    corners, points = RANDOM.random((9, 2)).tolist(), RANDOM.random((300, 2)).tolist()
    found = javascript(f"{points}.map(([x, y]) => inside({corners}, x, y))")
    even_odd = sum(
        _crosses(corners[i - 1], corners[i], np.array(points)).astype(int) for i in range(len(corners))
    ) % 2  # fmt: skip
    assert found == even_odd.astype(bool).tolist() and 0 < sum(found) < 300
    square = [[0.2, 0.2], [0.8, 0.2], [0.8, 0.7], [0.2, 0.7]]
    assert javascript(f"{points}.map(([x, y]) => inside({square}, x, y))") == Polygon(square).contains_points(points).tolist()
    np.testing.assert_allclose(javascript("Array.from(between([0, 1], [1, 3], 0.25))"), [0.25, 1.5])


def _crosses(a, b, points: np.ndarray) -> np.ndarray:
    """Whether the edge a-b lies on the ray from each point to the right, by the sign of its area with them."""
    (x, y), (low, high) = points.T, sorted((a, b), key=lambda corner: corner[1])
    area = (high[0] - low[0]) * (y - low[1]) - (high[1] - low[1]) * (x - low[0])
    return (low[1] <= y) & (y < high[1]) & (area > 0)


# --- alignment ------------------------------------------------------------------------------------------------------


@given(st.floats(-4, 4), st.floats(0.01, 100), st.booleans(), st.integers(0, 10_000))
def test_a_turned_stretched_shifted_or_mirrored_copy_lies_on_the_first_exactly(angle, scale, mirrored, seed):
    target = np.random.default_rng(seed).normal(size=(30, 2)) * (3, 1) + 5
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([1, -1 if mirrored else 1])
    found = alignment.fit(scale * target @ turn - (40, 2), target)
    np.testing.assert_allclose(found.points, target, atol=1e-9)
    assert found.left < 1e-9 and found.scale == pytest.approx(1 / scale)
    np.testing.assert_allclose(found.turn, turn.T, atol=1e-9)


def test_alignment_turns_as_scipy_does_and_keeps_the_size():
    target, other = RANDOM.normal(size=(2, 60, 2)) * 4
    found = alignment.fit(other, target)
    centred = target - target.mean(0)
    _, theirs, disparity = procrustes(target, other)  # scales by least squares: smaller
    laid = found.points - target.mean(0)
    cosine = (laid * theirs).sum() / np.linalg.norm(laid) / np.linalg.norm(theirs)
    assert cosine == pytest.approx(1) and np.linalg.norm(laid) == pytest.approx(np.linalg.norm(centred))
    assert found.left**2 == pytest.approx(2 - 2 * np.sqrt(1 - disparity)), "closed form of the residual of maps of one size"


def test_steps_are_laid_upon_the_next_and_the_last_stays():
    last = RANDOM.normal(size=(20, 2))
    quarter = np.array([[0, -1], [1, 0]])
    maps = {9: last, 0: 7 * last @ quarter @ quarter, 4: last @ quarter + 3}
    found = alignment.aligned(maps)
    assert list(found) == [0, 4, 9]
    for place in found.values():
        np.testing.assert_allclose(place, last, atol=1e-9)
    for bad, words in (({}, "no maps"), ({0: last, 1: last[:3]}, "of the same clips"), ({0: last * 0, 1: last}, "all lie in one place")):
        with pytest.raises(DataError, match=words):
            alignment.aligned(bad)


def test_neighbours_are_those_of_other_performances():
    features = torch.from_numpy(RANDOM.normal(size=(50, 8)))
    groups = np.where(np.arange(50) < 40, np.arange(50) // 4, -1)
    found = tsne.neighbours(features, 5, groups)
    unit = (features / features.norm(dim=1, keepdim=True)).numpy()
    for i in range(50):
        order = [j for j in np.argsort(-unit @ unit[i]) if j != i and not groups[i] == groups[j] >= 0]
        assert found[i].tolist() == order[:5]
    assert (tsne.neighbours(features[:6], 5, np.array([0, 0, 0, 0, 1, 1]))[:, 2:] == [[-1] * 3] * 4 + [[2, 3, -1]] * 2).sum() >= 15
    few = tsne.neighbours(features[:3], 5)
    assert few.shape == (3, 5) and (few[:, 2:] == -1).all() and (few[:, :2] >= 0).all()
    with pytest.raises(DataError, match="one number per clip"):
        tsne.neighbours(features, 5, groups[:3])


def test_distance_to_the_nearest_training_clip():
    test, train = torch.from_numpy(RANDOM.normal(size=(20, 6))), torch.from_numpy(RANDOM.normal(size=(30, 6)))
    slow = [min(1 - float(torch.cosine_similarity(a, b, dim=0)) for b in train) for a in test]
    np.testing.assert_allclose(tsne.distances(test, train), slow, atol=1e-12)
    assert tsne.distances(train[:3] * 9, train).max() < 1e-12


def test_maps_begin_where_the_last_one_ended():
    way = np.random.default_rng(4).random((150, 2)) * (5, 0.3)
    arc = torch.from_numpy(np.stack([np.cos(way[:, 0]), np.sin(way[:, 0]), way[:, 1], np.cos(2 * way[:, 0]) / 2], 1))
    options = {"perplexity": 10, "iterations": 60}
    first = tsne.tsne_map(arc, **options)
    again, mirrored = (alignment.fit(tsne.tsne_map(arc, start=first * (side, 1), **options), first) for side in (1, -1))
    assert again.left < 0.4 and np.linalg.det(again.turn) > 0 > np.linalg.det(mirrored.turn), "what begins mirrored ends mirrored"
    found = forming.maps({3: arc, 0: arc}, **options)
    np.testing.assert_allclose(found[3], tsne.tsne_map(arc, start=first, **options))
    np.testing.assert_allclose(found[0], alignment.fit(first, found[3]).points)
    assert list(found) == [0, 3] and set(forming.maps({3: arc, 0: arc}, "PCA")) == {0, 3}
    with pytest.raises(DataError, match=r"start from \(150, 2\) finite places"):
        tsne.tsne_map(arc, start=first[:5])
    flat = tsne.pca_map(arc)
    unit = (arc / arc.norm(dim=1, keepdim=True)).numpy()
    values = np.linalg.svd(unit - unit.mean(0), compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(flat, axis=0), values[:2])


PLACES, KINDS = np.zeros((4, 2)), {"class": np.arange(4)}


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"points": "abc"}, DataError, r"map 'map' must be \(N, 2\) numbers, or several such maps by name; found 'abc'$"),
        ({"points": None}, DataError, "map 'map' must be .* found None$"),
        ({"points": [[1, 2], [3]]}, DataError, "map 'map' must be .* found a list$"),
        ({"points": [["a", "b"]]}, DataError, "map 'map' must be .* found a list$"),
        ({"points": np.zeros((4, 3))}, DataError, r"map 'map' must be \(N, 2\), with at least one point; found \(4, 3\)$"),
        ({"points": np.zeros((0, 2))}, DataError, r"with at least one point; found \(0, 2\)$"),
        ({"points": {"teacher": "x"}}, DataError, "map 'teacher' must be .* found 'x'$"),
        ({"points": {"teacher": {"a": PLACES}}}, SettingsError, r"called by their epochs, whole numbers; found \['a'\]$"),
        ({"points": {"teacher": PLACES, 3: PLACES}}, SettingsError, "found the key 3, which is no word$"),
        ({"columns": {5: np.arange(4)}}, SettingsError, "columns must be values such as .* found the key 5, which is no word$"),
        ({"columns": [np.arange(4)]}, SettingsError, "columns must be .* by name; found a list$"),
        ({"columns": {"class": [[1], [2, 3]]}}, DataError, "column 'class' must be numbers, names or truth values, .* found a list$"),
        ({"columns": {"class": None}}, DataError, "column 'class' must be|must be .N,. numbers"),
        ({"names": 5}, SettingsError, "names must be 4 words; found 5$"),
        ({"names": "abcd"}, SettingsError, "names must be 4 words; found 'abcd'$"),
        ({"held": "x"}, SettingsError, "held must be 0 clips or more, a whole number; found 'x'$"),
        ({"units": ["m"]}, SettingsError, "units must be units of columns, by name; found a list$"),
        ({"class_names": 7}, SettingsError, "class_names must be names of the classes by number; found 7$"),
        ({"title": 3}, SettingsError, "title must be a word, found 3$"),
        ({"neighbours": [[1], [2, 3]]}, DataError, r"neighbours must be \(4, k\) numbers of points, or -1; found a list$"),
        ({"neighbours": "x"}, DataError, "neighbours must be .* found 'x'$"),
        ({"clips": (Many(4), "abcd")}, DataError, "clips must be a number each; found 'abcd'$"),
    ],
)  # fmt: skip
def test_what_is_no_map_is_told(given, error, message):
    with pytest.raises(error, match=message):
        drawing.linked_map(**{"points": PLACES, "columns": KINDS} | given).html()


def test_lists_and_tensors_are_a_map():
    place = torch.arange(8.0, requires_grad=True).reshape(4, 2)
    front = drawing.linked_map(place, {"class": torch.arange(4), "word": list("abca"), "distance": place[:, 0]})
    assert front.data == drawing.linked_map(place.tolist(), {"class": [0, 1, 2, 3], "word": list("abca"), "distance": [0.0, 2, 4, 6]}).data


@pytest.mark.parametrize("kind", ["float16", "float32", "uint8", "int64"])
def test_a_map_s_numbers_may_be_of_any_kind(kind):
    place, columns = RANDOM.integers(0, 200, (40, 2)).astype(kind), {"class": np.arange(40) % 3}
    exact = place.astype(float)
    assert drawing.linked_map({0: place, 8: place}, columns).data == drawing.linked_map({0: exact, 8: exact}, columns).data


def test_nothing_is_as_good_as_left_out():
    clips = (Many(4), np.arange(4))
    empty = dict.fromkeys(("neighbours", "names", "class_names", "units", "title", "nearest_in"))
    assert drawing.linked_map(PLACES, KINDS, clips, **empty).data == drawing.linked_map(PLACES, KINDS, clips).data
    assert drawing.linked_map(PLACES, KINDS, **empty).data["columns"] == drawing.linked_map(PLACES, KINDS).data["columns"]
    named = drawing.map_space(np.zeros((4, 3)), KINDS, None)
    assert [trace.name for trace in named.data] == [f"class {i}" for i in range(4)]


def test_where_a_page_is_saved_is_a_path():
    front = drawing.linked_map(PLACES, KINDS)
    for bad in (None, 3, [1]):
        with pytest.raises(SettingsError, match=r"a map is saved in a file: give its path, which ends in \.html; found (None|3|\[1\])$"):
            front.save(bad)
        with pytest.raises(SettingsError, match=r"a figure is saved in a file: give its path, which ends in \.png; found"):
            drawing.save(drawing.map_panels({"a": PLACES}, KINDS), bad)


def test_kept_checkpoints_give_their_encoders(tmp_path):
    shape = EncoderShape(hidden=4, features=8, embedding=4, dropout=0.0)
    made = {epoch: Branches({"joint": Encoder(skeletons.KINECT20, shape, 3)}) for epoch in (2, 10)}
    for epoch, branches in made.items():
        state = {f"query.{name}": value for name, value in branches.state_dict().items()}
        checkpoints.save(tmp_path / f"epoch-{epoch:04d}.pt", {"model": state | {"queues.data": torch.zeros(1)}})
    (tmp_path / "last.pt").write_bytes(b"")
    paths = forming.kept([tmp_path / "none", tmp_path])
    assert list(paths) == [2, 10]
    like = Branches({"joint": Encoder(skeletons.KINECT20, shape, 3)})
    for epoch, found in forming.encoders(paths, like):
        for name, value in made[epoch].state_dict().items():
            assert torch.equal(found.state_dict()[name], value)
    with pytest.raises(CheckpointError, match=r"holds no encoders 'students', but \['query', 'queues'\]"):
        list(forming.encoders(paths, like, "students"))
