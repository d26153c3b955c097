"""The linked map in a real browser: by itself without a network, and in JupyterLab, whose kernel fetches clips."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from chromium import choose, run_cells
from matplotlib.path import Path as Polygon
from test_linked import Many, numbers, ring

from skelmm_core import drawing, notebook
from skelmm_core.drawing import linked

pytestmark = pytest.mark.browser
COUNT = 300
CELL = f"""import numpy as np
from skelmm_core import drawing
from test_linked import Many, ring
place = np.random.default_rng(0).normal(size=({COUNT}, 2))
clips = Many({COUNT})
front = drawing.linked_map(place, {{"class": clips.labels}}, (clips, np.arange({COUNT})), ring({COUNT}), held=0)"""


def front(**options) -> drawing.LinkedMap:
    random = np.random.default_rng(0)
    start, end = random.normal(size=(2, COUNT, 2))
    clips = Many(COUNT)
    columns = {
        "class": clips.labels,
        "subject": clips.subjects,
        "correct": random.random(COUNT) < 0.8,
        "distance": random.gamma(2, 1, COUNT),
    }
    maps = {"teacher": end, "student": end[:, ::-1], "teacher, in training": {0: start, 4: (start + end) / 2, 8: end}}
    given = {"units": {"distance": "1 - cosine"}, "title": "test clips", "nearest_in": "the teacher's features", "neighbours": ring(COUNT)}
    return drawing.linked_map(maps, columns, (clips, np.arange(COUNT)), **given | options)


def on_screen(page, data: dict, map_: int = 0, step: int = 0) -> np.ndarray:
    """(N, 2) where the points of a map that was not moved stand on the page."""
    box = page.locator("canvas").first.bounding_box()
    places = numbers(data["maps"][map_]["steps"][step]).reshape(-1, 2) / linked.GRID - 0.5
    scale = 0.94 * min(box["width"], box["height"])
    return (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) + places * (scale, -scale)


def alone(points: np.ndarray, among) -> int:
    """The point of `among` that stands farthest from all others."""
    apart = np.linalg.norm(points[:, None] - points, axis=-1) + np.eye(len(points)) * 1e9
    return max(among, key=lambda i: apart[i].min())


def canvas(page) -> bytes:
    page.wait_for_timeout(100)
    return page.locator("canvas").first.screenshot()


def dragged(page, corners, keys: str = "") -> None:
    if keys:
        page.keyboard.down(keys)
    page.mouse.move(*corners[0])
    page.mouse.down()
    for x, y in corners[1:]:
        page.mouse.move(x, y, steps=3)
    page.mouse.up()
    if keys:
        page.keyboard.up(keys)


def test_a_click_plays_a_clip_beside_its_neighbours(open_page, pictures, tmp_path):
    map_ = front()
    page = open_page(map_.save(tmp_path / "map.html").as_uri(), viewport={"width": 1100, "height": 1500})
    points, stored = on_screen(page, map_.data), {int(p) for p in map_.data["stored"]}
    assert page.locator("img").is_hidden() and 0 < len(stored) <= linked.HELD
    whole = [p for p in stored if {*ring(COUNT)[p].tolist()} <= stored]
    point = alone(points, whole)
    page.mouse.move(*points[point])
    page.wait_for_timeout(100)
    assert page.locator(".tip").inner_text().split("\n")[:2] == [map_.names[point], f"class: {('wave', 'hug')[point % 2]}"]
    page.mouse.click(*points[point])
    page.locator("button.play").wait_for()
    page.wait_for_timeout(400)
    assert page.locator("button.play").text_content().endswith("pause"), "it plays"
    wanted = [point, *ring(COUNT)[point]]
    names = page.locator("ol .entry span").all_text_contents()
    assert [name.split("take ")[1].partition(",")[0] for name in names] == [str(i) for i in wanted]
    assert names[0].endswith(("wave", "hug")) and names[1].startswith("nearest 1: ")
    assert f"{point}: {('wave', 'hug')[point % 2]}" in page.locator("canvas").last.get_attribute("aria-label")
    page.screenshot(path=pictures / "map_clip.png", full_page=True)

    page.locator("ol .entry").nth(3).click()
    assert page.locator("ol .entry span").first.text_content().startswith(map_.names[wanted[3]])
    other = alone(points, [p for p in range(COUNT) if not {p, *ring(COUNT)[p].tolist()} & stored])
    page.mouse.click(*points[other])
    assert "6 of these 6 clips" in page.locator(".found .note").last.text_content()
    assert "where a kernel runs" in page.locator(".found .note").last.text_content()
    assert page.locator("button.play").count() == 0


@pytest.mark.parametrize("size", [(1280, 800), (400, 800)])
def test_a_click_is_answered_in_sight(open_page, tmp_path, size):
    map_ = front()
    page = open_page(map_.save(tmp_path / "map.html").as_uri(), viewport={"width": size[0], "height": size[1]}, reduced_motion="reduce")
    stored = {int(p) for p in map_.data["stored"]}
    page.get_by_label("find a clip by name").fill(map_.names[next(p for p in stored if {*ring(COUNT)[p].tolist()} <= stored)])
    page.keyboard.press("Enter")
    page.locator("button.play").wait_for()
    page.wait_for_timeout(300)
    assert page.locator("canvas").last.bounding_box()["y"] + 250 < size[1], "the first row of figures"


def test_on_the_students_map_the_students_neighbours_play(open_page, pictures, tmp_path):
    own = ring(COUNT)[:, ::-1]
    map_ = front(neighbours={"teacher": ring(COUNT), "student": own}, nearest_in="the {}'s features")
    page = open_page(map_.save(tmp_path / "map.html").as_uri(), viewport={"width": 1100, "height": 1500})
    points, stored = on_screen(page, map_.data), {int(p) for p in map_.data["stored"]}
    point = alone(points, [p for p in stored if {*ring(COUNT)[p].tolist()} <= stored])
    page.mouse.click(*points[point])
    for name, near in (("teacher", ring(COUNT)), ("student", own)):
        page.get_by_label("map", exact=True).select_option(label=name)
        page.locator("button.play").wait_for()
        names = page.locator("ol .entry span").all_text_contents()
        assert [text.split("take ")[1].partition(",")[0] for text in names] == [str(i) for i in (point, *near[point])]
        assert page.locator(".found .note").last.text_content() == f"Nearest in the {name}'s features."
    page.screenshot(path=pictures / "map_student.png", full_page=True)


def test_the_next_clip_has_what_was_chosen_for_the_last(open_page, pictures, tmp_path):
    """show, as, speed, trails, turn and zoom, past a click on a point whose clip is not there; without motion both stand still."""
    map_ = front()
    page = open_page(map_.save(tmp_path / "map.html").as_uri(), viewport={"width": 1100, "height": 1500}, reduced_motion="reduce")
    points, stored = on_screen(page, map_.data), {int(p) for p in map_.data["stored"]}
    point = alone(points, [p for p in stored if {*ring(COUNT)[p].tolist()} <= stored])
    chosen = {"show": "motion", "as": "colour", "speed": "0.25", "trails": "1"}
    player = page.locator("canvas").last

    def picture() -> bytes:
        page.locator("button.play").wait_for()
        page.wait_for_timeout(300)
        return player.screenshot()

    page.mouse.click(*points[point])
    page.locator("button.play").wait_for()
    for label, value in chosen.items():
        page.get_by_label(label, exact=True).select_option(value)
    before = picture()
    for key in ("Shift+ArrowRight", "PageUp"):
        page.keyboard.press(key)
    turned = picture()
    page.mouse.click(*points[alone(points, [p for p in range(COUNT) if not {p, *ring(COUNT)[p].tolist()} & stored])])
    assert page.locator("button.play").count() == 0
    page.mouse.click(*points[next(p for p in stored if p != point and p not in ring(COUNT)[point])])
    picture()
    assert {label: page.get_by_label(label, exact=True).input_value() for label in chosen} == chosen
    page.screenshot(path=pictures / "map_kept.png", full_page=True)
    page.mouse.click(*points[point])
    assert picture() == turned != before


def test_a_lasso_counts_what_numpy_counts(open_page, pictures, tmp_path):
    map_ = front()
    page = open_page(map_.save(tmp_path / "map.html").as_uri(), viewport={"width": 1100, "height": 1100})
    points = on_screen(page, map_.data)
    middle = points.mean(0)
    corners = [middle + d for d in ((-90, -80), (100, -60), (20, 10), (80, 90), (-70, 60))]
    within = Polygon(corners).contains_points(points)
    names = [map_.names[i] for i in np.flatnonzero(within)]
    labels = np.arange(COUNT) % 2
    for keys in ("Shift", ""):
        if not keys:
            page.get_by_role("button", name="close").click()
            page.get_by_role("button", name="lasso", exact=True).click()
        dragged(page, corners, keys)
        assert page.locator(".found p").text_content() == f"{within.sum()} clips inside, by class:"
        lines = dict(zip(*(page.locator(f"ul .entry {tag}").all_text_contents() for tag in ("span", "i")), strict=True))
        assert {word: int(many) for word, many in lines.items()} == {
            "wave": (within & (labels == 0)).sum(),
            "hug": (within & (labels == 1)).sum(),
        }
        assert page.locator("textarea").input_value().split("\n") == names and len(names) > 20
    choose(page, "colour by", "2")
    assert page.locator(".found p").text_content() == f"{within.sum()} clips inside, by correct:", "counted again"
    dragged(page, corners)
    right = np.array([e["word"] for e in map_.data["columns"][2]["entries"]])[numbers(map_.data["columns"][2]["values"])]
    lines = dict(zip(*(page.locator(f"ul .entry {tag}").all_text_contents() for tag in ("span", "i")), strict=True))
    assert {word: int(many) for word, many in lines.items()} == {w: (right[within] == w).sum() for w in ("correct", "wrong")}
    page.screenshot(path=pictures / "map_lasso.png", full_page=True)
    choose(page, "map", "1")
    assert page.locator(".found").first.is_hidden(), "on another map others lie there"


def test_colours_legend_slider_and_view(open_page, pictures, tmp_path):
    map_ = front(held=0)
    page = open_page(map_.save(tmp_path / "map.html").as_uri(), viewport={"width": 1100, "height": 800})
    shots = {"class": canvas(page)}
    assert page.locator(".legend .entry").all_text_contents() == ["wave150", "hug150"]
    page.locator(".legend .entry", has_text="hug").click()
    shots["hug"] = canvas(page)
    page.screenshot(path=pictures / "map_highlight.png")
    page.locator(".legend .entry", has_text="hug").click()
    page.mouse.move(5, 5)
    assert canvas(page) == shots["class"]
    choose(page, "colour by", "1")
    assert page.locator(".legend .entry span").all_text_contents() == ["subject 1", "subject 2", "subject 3"]
    shots["subject"] = canvas(page)
    choose(page, "colour by", "3")
    assert page.locator(".legend b").text_content() == "distance (1 - cosine)"
    low, high = page.locator(".ends span").all_text_contents()
    values = np.random.default_rng(0)
    values.normal(size=(2, COUNT, 2)), values.random(COUNT)
    ends = np.percentile(values.gamma(2, 1, COUNT), (2, 98))
    assert [float(end.split()[1]) for end in (low, high)] == pytest.approx(ends, rel=6e-3) and (low[0], high[0]) == ("≤", "≥")
    shots["distance"] = canvas(page)
    page.screenshot(path=pictures / "map_distance.png")

    slider = page.get_by_label("step", exact=True)
    assert slider.is_hidden()
    choose(page, "map", "2")
    page.wait_for_timeout(900)
    assert slider.input_value() == "2" and page.locator("output").text_content() == "epoch 8"
    for value, words in (("0", "untrained"), ("1", "epoch 4"), ("1.25", "25 % of the way from epoch 4 to epoch 8")):
        slider.fill(value)
        assert page.locator("output").text_content() == words
        shots[words] = canvas(page)
    page.screenshot(path=pictures / "map_slider.png")
    slider.fill("0")
    page.get_by_role("button", name="▶ play").click()
    page.wait_for_timeout(700)
    assert 0 < float(slider.input_value()) < 2
    page.wait_for_timeout(3500)
    assert slider.input_value() == "2" and page.get_by_role("button", name="▶ play").count() == 1
    choose(page, "map", "1")
    page.wait_for_timeout(900)
    shots["student"] = canvas(page)

    box = page.locator("canvas").first.bounding_box()
    x, y = box["x"] + 40, box["y"] + 40
    page.mouse.move(x, y)
    page.mouse.wheel(0, -300)
    page.mouse.move(5, 5)
    assert canvas(page) == shots["student"], "the page scrolls over a map that was not clicked"
    dragged(page, [(x, y), (x + 60, y + 30)])
    page.mouse.move(5, 5)
    shots["moved"] = canvas(page)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -300)
    shots["zoomed"] = canvas(page)
    assert len(set(shots.values())) == len(shots), "each looks different"
    page.keyboard.press("r")
    page.mouse.move(5, 5)
    page.get_by_role("button", name="reset view").focus()
    assert canvas(page) == shots["student"]


def test_a_search_goes_from_match_to_match_and_says_when_there_is_none(open_page, pictures, tmp_path):
    page = open_page(front().save(tmp_path / "map.html").as_uri(), viewport={"width": 1100, "height": 1300})
    search, status, found = (page.get_by_label("find a clip by name"), page.get_by_role("status"), page.locator("ol .entry span").first)
    search.fill("TAKE 77")
    page.keyboard.press("Enter")
    assert found.text_content() == "77: take 77, hug" and status.text_content() == ""
    search.fill("take 29")
    names = [f"{i}: take {i}, {('wave', 'hug')[i % 2]}" for i in (29, *range(290, 300))]
    for turn, name in enumerate([*names, *names[:2]]):
        page.keyboard.press("Enter")
        assert found.text_content() == name and status.text_content().startswith(f"{turn % 11 + 1} of 11")
    search.fill("Take 300")
    assert status.text_content() == ""
    page.keyboard.press("Enter")
    assert status.text_content() == "no clip is called “Take 300”" and search.input_value() == "Take 300"
    assert found.text_content() == names[1], "what was chosen stays"
    page.screenshot(path=pictures / "map_search.png", full_page=True)


def test_points_are_chosen_by_key(open_page, pictures, tmp_path):
    """A cross in the middle while the map has the focus by keyboard; Enter: the point nearest to it; n and p: the next, the one before."""
    map_ = front()
    page = open_page(map_.save(tmp_path / "map.html").as_uri(), viewport={"width": 1100, "height": 1300}, reduced_motion="reduce")
    first = page.locator("canvas").first
    assert "Enter: the point at the cross, N, P: next, previous" in page.locator(".note").all_text_contents()[1]
    page.get_by_role("button", name="reset view").focus()
    without = canvas(page)
    page.keyboard.press("Tab")
    while not first.evaluate("(node) => node.getRootNode().activeElement === node"):
        page.keyboard.press("Tab")
    page.wait_for_timeout(100)
    box = first.bounding_box()
    (x, y), found = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2), page.locator("ol .entry span")
    cross = {"x": x - 12, "y": y - 12, "width": 24, "height": 24}
    with_cross = page.screenshot(clip=cross)
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    points = on_screen(page, map_.data) - (80, 0)
    wanted = int(np.argmin(np.linalg.norm(points - (x, y), axis=1)))
    assert found.first.text_content().startswith(map_.names[wanted] + ", ")
    page.screenshot(path=pictures / "map_cross.png")
    for key, step in (("n", 1), ("n", 2), ("p", 1), ("P", 0)):
        page.keyboard.press(key)
        assert found.first.text_content().startswith(map_.names[(wanted + step) % COUNT] + ", ")
    assert first.evaluate("(node) => node.getRootNode().activeElement === node"), "the focus stays"
    page.locator(".legend .entry", has_text="hug").click()
    first.focus()
    odd = wanted + 1 + wanted % 2  # the next one of those that stand out
    for key, point in (("n", odd), ("n", odd + 2), ("p", odd)):
        page.keyboard.press(key)
        assert found.first.text_content().startswith(map_.names[point] + ", ")
    page.locator(".legend .entry", has_text="hug").click()
    page.mouse.click(box["x"] + 3, box["y"] + 3)
    page.get_by_role("button", name="reset view").click()
    page.mouse.move(5, 5)
    page.wait_for_timeout(100)
    assert canvas(page) == without and page.screenshot(clip=cross) != with_cross, "a pointer needs no cross"


def test_a_held_key_asks_the_kernel_for_the_last_point_alone(open_page, tmp_path):
    """A kernel takes a tenth of a second for a clip and its neighbours, a held key passes thirty points a second."""
    map_ = front(held=0)
    page = open_page(map_.save(tmp_path / "map.html").as_uri(), viewport={"width": 1100, "height": 1300}, reduced_motion="reduce")
    page.evaluate(
        "(name) => { const ask = document.createElement('div'), input = document.createElement('input'); window.asked = []; "
        "ask.className = `skelmm-ask-${name}`; ask.append(input); document.body.append(ask); "
        "input.oninput = () => window.asked.push(+input.value.split(' ')[0]); }",
        map_.name,
    )
    canvas = page.locator("canvas").first
    canvas.focus()
    canvas.evaluate(
        "(node) => { for (let i = 0; i < 20; i++) node.dispatchEvent(new KeyboardEvent('keydown', { key: 'n', bubbles: true })); }"
    )
    page.wait_for_function("window.asked.length")
    page.wait_for_timeout(400)
    assert page.evaluate("window.asked") == [19]
    page.keyboard.press("p")
    page.wait_for_function("window.asked.length > 1")
    assert page.evaluate("window.asked") == [19, 18]


@pytest.mark.parametrize("width", [400, 1000])
def test_a_map_in_space_is_a_page_by_itself(open_page, pictures, tmp_path, monkeypatch, width):
    random, names = np.random.default_rng(0), [f"an action with a name {i}" for i in range(27)]
    labels = random.integers(0, 27, 400)
    figure = drawing.map_space(random.normal(size=(400, 3)) * (3, 2, 1), {"class": labels}, names, title="teacher, PCA", axes="PC")
    session = SimpleNamespace(folder=tmp_path, say=lambda text: None)
    monkeypatch.setattr(type(figure), "show", lambda *given, **options: None)
    notebook.Session.live(session, figure, "space")
    page = open_page((tmp_path / "space.html").as_uri(), viewport={"width": width, "height": 900})
    page.locator(".legend").wait_for()
    page.wait_for_timeout(1500)
    page.screenshot(path=pictures / f"map_space_{width}.png", full_page=True)
    assert page.title() == "teacher, PCA" == page.locator("h1").text_content() and page.locator("html").get_attribute("lang") == "en"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    plot, scene, legend = (
        page.locator(place).first.bounding_box() for place in (".plotly-graph-div", ".gl-container canvas", ".legend .bg")
    )
    assert legend["y"] > plot["y"] + 0.4 * plot["height"] and legend["x"] + legend["width"] <= width + 1, "below, and within"
    assert scene["height"] > 250


def test_a_tooltip_says_nothing_twice(open_page, tmp_path):
    map_ = front()
    page = open_page(map_.save(tmp_path / "map.html").as_uri(), viewport={"width": 1100, "height": 900})
    points = on_screen(page, map_.data)
    page.mouse.move(*points[alone(points, range(COUNT))])
    page.wait_for_timeout(100)
    _, kind, subject, right, distance = page.locator(".tip").inner_text().split("\n")
    assert re.fullmatch("class: (wave|hug)", kind) and re.fullmatch("correct: (correct|wrong)", right)
    assert re.fullmatch(r"subject \d", subject) and re.fullmatch(r"distance: [\d.]+ \(1 - cosine\)", distance)


def test_a_clip_that_is_found_outside_the_view_is_brought_into_it(open_page, tmp_path):
    page = open_page(front().save(tmp_path / "map.html").as_uri(), viewport={"width": 1100, "height": 1300})
    box, search = page.locator("canvas").first.bounding_box(), page.get_by_label("find a clip by name")
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.click(*middle)
    for _ in range(8):  # far into one place
        page.mouse.wheel(0, -600)
    for name in ("take 77", "take 250"):
        search.fill(name)
        page.keyboard.press("Enter")
        page.mouse.move(5, 5)
        page.mouse.move(*middle)
        assert name in page.locator(".tip").text_content(), "it lies under the pointer in the middle"
    view = canvas(page)
    search.fill("take 250")
    page.keyboard.press("Enter")
    assert canvas(page) == view, "what is seen already stays where it is"


def test_control_s_on_the_map_and_on_its_player_is_the_page_s(open_page, tmp_path):
    map_ = front()
    page = open_page(map_.save(tmp_path / "map.html").as_uri(), viewport={"width": 1100, "height": 1500})
    page.evaluate(
        "() => { window.keys = [];"
        "document.addEventListener('keydown', (event) => { window.keys.push(event.key); if (event.ctrlKey) event.preventDefault(); }); }"
    )
    point = alone(on_screen(page, map_.data), [int(p) for p in map_.data["stored"]])
    page.mouse.click(*on_screen(page, map_.data)[point])
    page.locator("button.play").wait_for()
    for number, place in enumerate(page.locator("canvas").all()[:: page.locator("canvas").count() - 1]):  # the map's, the player's
        place.focus() if number == 0 else place.click()
        for key in ("b", "ArrowRight", "Control+s"):
            page.keyboard.press(key)
        assert [key for key in page.evaluate("window.keys") if key != "Control"] == ["s"] * (number + 1)
    page.get_by_label("find a clip by name").focus()
    page.keyboard.press("b")
    page.keyboard.press("Control+s")
    assert [key for key in page.evaluate("window.keys") if key != "Control"] == ["s"] * 3


@pytest.mark.parametrize("width", [360, 700, 1400])
def test_it_fits_narrow_and_wide_pages(open_page, pictures, tmp_path, width):
    page = open_page(front().save(tmp_path / "map.html").as_uri(), viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=pictures / f"map_{width}.png", full_page=True)


def forty_thousand() -> drawing.LinkedMap:
    count, random = 40_000, np.random.default_rng(0)
    labels = random.integers(0, 60, count)
    end = random.normal(0, 10, (60, 2))[labels] + random.normal(size=(count, 2))
    steps = {epoch: share * end + (1 - share) * random.normal(0, 8, (count, 2)) for epoch, share in ((0, 0), (10, 0.5), (30, 0.9))}
    names = [f"S001C001P{i % 40:03}R002A{label + 1:03} {i}" for i, label in enumerate(labels)]
    return drawing.linked_map({"teacher, in training": steps | {60: end}}, {"class": labels}, names=names)


# What one plain loop over the places of a map takes in this browser now, in milliseconds: the yardstick where time is measured.
YARDSTICK = """() => {
  const from = new Float32Array(80000).fill(0.3), to = new Float32Array(80000).fill(0.6), began = performance.now();
  for (let turn = 0; turn < 50; turn++) {
    const places = new Float32Array(80000);
    for (let i = 0; i < 80000; i++) places[i] = from[i] + (to[i] - from[i]) * 0.4;
  }
  return (performance.now() - began) / 50;
}"""


def test_forty_thousand_points_while_they_are_moved(open_page, pictures, tmp_path, capsys):
    """Told, not asserted tightly: a machine may be busy, and a headless browser draws without a graphics card."""
    page = open_page(forty_thousand().save(tmp_path / "map.html").as_uri(), viewport={"width": 1100, "height": 800})
    page.screenshot(path=pictures / "map_40000.png")
    page.evaluate(
        "() => { const pen = CanvasRenderingContext2D.prototype, put = pen.putImageData; window.times = [];"
        "pen.putImageData = function (...rest) { window.times.push(performance.now()); return put.apply(this, rest); }; }"
    )
    box, began = page.locator("canvas").first.bounding_box(), time.perf_counter()
    x, y = box["x"] + 300, box["y"] + 200
    page.mouse.move(x, y)
    page.mouse.down()
    for number in range(10_000):
        page.mouse.move(x + 60 * np.sin(number / 10), y + number % 15)
        if time.perf_counter() - began > 4:
            break
    page.mouse.up()
    frames = np.diff(page.evaluate("window.times"))
    page.evaluate("window.times = []")
    page.get_by_role("button", name="reset view").click()
    page.get_by_role("button", name="▶ play").click()
    page.wait_for_timeout(3000)
    forming = np.diff(page.evaluate("window.times"))
    page.screenshot(path=pictures / "map_40000_forms.png")
    told = f"{np.median(frames):.0f} ms a picture, 95 % below {np.percentile(frames, 95):.0f} ms"
    with capsys.disabled():
        print(f"\nmap of 40,000 points while it is moved: {told}; while it forms: {np.median(forming):.0f} ms")
    assert np.median(frames) < 500


def test_forty_thousand_points_on_the_slider_and_in_a_lasso(open_page, pictures, tmp_path, capsys):
    """Milliseconds in the handlers, measured in the page, against a plain loop in the same page: a machine may be slow."""
    map_ = forty_thousand()
    page = open_page(map_.save(tmp_path / "map.html").as_uri(), viewport={"width": 1100, "height": 900})
    plain = min(page.evaluate(YARDSTICK) for _ in range(3))
    slid = page.evaluate(
        """() => {
          const slider = document.querySelector("[data-skelmm-map]").shadowRoot.querySelector("input[type=range]"), times = [];
          for (let turn = 0; turn < 25; turn++) {
            slider.value = 0.1 * turn;
            const began = performance.now();
            slider.dispatchEvent(new Event("input"));
            times.push(performance.now() - began);
          }
          return times.sort((a, b) => a - b)[12];
        }"""
    )
    page.get_by_label("step", exact=True).fill("3")
    page.evaluate(
        """() => {
          const canvas = document.querySelector("[data-skelmm-map]").shadowRoot.querySelector("canvas");
          window.addEventListener("pointerup", () => { window.began = performance.now(); }, true);
          window.addEventListener("pointerup", () => {
            canvas.getRootNode().querySelector("textarea").getBoundingClientRect();
            window.lassoed = performance.now() - window.began;
          });
          document.addEventListener("copy", (event) => { window.copied = event.clipboardData.getData("text/plain"); });
        }"""
    )
    points = on_screen(page, map_.data, step=3)
    box = page.locator("canvas").first.bounding_box()
    left, top, right, bottom = box["x"] + 2, box["y"] + 2, box["x"] + box["width"] - 2, box["y"] + 0.7 * box["height"]
    dragged(page, [(left, top), (right, top), (right, bottom), (left, bottom)], "Shift")
    lassoed = page.evaluate("window.lassoed")
    within = Polygon([(left, top), (right, top), (right, bottom), (left, bottom)]).contains_points(points)
    inside = [map_.names[i] for i in np.flatnonzero(within)]
    assert len(inside) > 25_000
    assert page.locator("textarea").input_value().split("\n") == inside[:500]
    assert page.locator(".found .note").first.text_content().startswith(f"and {len(inside) - 500} more")
    page.get_by_role("button", name="copy the names").click()
    assert page.evaluate("window.copied").split("\n") == inside
    page.screenshot(path=pictures / "map_40000_lasso.png", full_page=True)
    page.get_by_label("step", exact=True).fill("2")
    assert page.locator(".found").first.is_hidden(), "at another step others lie there"
    with capsys.disabled():
        print(f"\n40,000 points: a plain loop {plain:.2f} ms, the slider {slid:.2f} ms, a lasso with its list {lassoed:.0f} ms")


def test_a_kernel_fetches_every_clip(lab, open_page, pictures):
    folder, _ = lab
    page = run_cells(lab, open_page, "map", [CELL, "front", "front.with_kernel()"], {"width": 1200, "height": 1400})
    search = page.get_by_label("find a clip by name")
    search.wait_for(timeout=90_000)
    page.wait_for_selector("[class*=skelmm-ask] input", state="attached", timeout=30_000)
    search.fill("take 123")
    search.press("Enter")
    page.locator("button.play").wait_for(timeout=30_000)
    page.wait_for_timeout(500)
    assert page.locator("button.play").text_content().endswith("pause")
    assert "123: hug" in page.locator(".jp-OutputArea-output canvas").last.get_attribute("aria-label")
    page.locator(".jp-OutputArea-output canvas").first.scroll_into_view_if_needed()
    page.screenshot(path=pictures / "map_jupyterlab.png")
    box = page.locator(".jp-OutputArea-output canvas").first.bounding_box()
    left, top, right, bottom = box["x"] + 5, box["y"] + 5, box["x"] + box["width"] - 5, box["y"] + 0.6 * box["height"]
    dragged(page, [(left, top), (right, top), (right, bottom), (left, bottom)], "Shift")
    many = int(page.locator(".found p").text_content().split()[0])
    assert 20 < many < COUNT and len(page.locator(".found textarea").input_value().split("\n")) == many, "the lasso's clips"
    page.screenshot(path=pictures / "map_jupyterlab_lasso.png")
    page.locator(".jp-OutputArea-output canvas").first.click()
    cell_count = page.locator(".jp-Cell").count()
    for key in ("b", "d", "d"):
        page.keyboard.press(key)
    assert page.locator(".jp-Cell").count() == cell_count, "keys on the map are not JupyterLab's"
    assert not nbformat.read(folder / "map.ipynb", 4).cells[2].outputs
    page.keyboard.press("Control+s")  # but this one is
    page.wait_for_timeout(2000)
    assert "data-skelmm-map" in nbformat.read(folder / "map.ipynb", 4).cells[2].outputs[0].data["text/html"]
