"""The player in a real browser: a page by itself, without a network. Other parts: test_browser_*.py; how: chromium.py."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from chromium import choose, pixels, second, words_drawn
from test_drawing import clip, few_clips
from test_player import moving, noisy

from skelmm_core import drawing, modalities, skeletons

pytestmark = pytest.mark.browser


def test_a_long_title_without_spaces_makes_no_page_wider(open_page, tmp_path):
    page = open_page(drawing.show(moving(skeletons.NTU25, 1, 20), titles="x" * 300).save(tmp_path / "player.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_page_plays_without_a_network(open_page, pictures, tmp_path):
    page = open_page(drawing.show(noisy(2, 90), "ntu25", "motion", titles="12: wave, subject 3").save(tmp_path / "player.html").as_uri())
    assert second(page) == 0 and page.locator("img").is_hidden(), "it waits for the reader, in the place of the film strip"
    still, play = pixels(page), page.locator("button.play")
    play.click()
    page.wait_for_timeout(700)
    assert play.text_content().endswith("pause") and 0.3 < second(page) < 3 and pixels(page) != still
    play.click()
    stopped = second(page)
    page.wait_for_timeout(200)
    assert second(page) == stopped and play.text_content().endswith("play")

    page.locator("input[type=range]").fill("60")
    assert page.locator("output").text_content() == "2.00 of 2.97 s, frame 61 of 90"
    page.locator("canvas").click()
    page.keyboard.press("ArrowRight")
    assert second(page) == 2.03
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert second(page) == 1.97
    page.keyboard.press("Home")
    assert second(page) == 0
    page.keyboard.press("End")
    assert second(page) == 2.97
    page.locator("input[type=range]").focus()
    page.keyboard.press("ArrowLeft")
    assert second(page) == 2.93, "one frame, on the slider too"
    page.locator("canvas").click()
    page.keyboard.press("Space")
    page.wait_for_timeout(400)
    page.keyboard.press("Space")
    assert second(page) != 2.93, "space plays, and from the end it begins again"
    for key, speed in (("+", "2"), ("-", "1"), ("-", "0.5")):
        page.keyboard.press(key)
        assert page.locator('select[aria-label="speed"]').input_value() == speed
    page.locator("input[type=range]").fill("60")

    shots = {"motion": pixels(page)}
    for name in ("limbs", "joint", "bone", "acceleration", "rotation_axis", "angular_velocity"):
        choose(page, "show", name)
        shots[name] = pixels(page)
    choose(page, "as", "colour")
    shots["colour"] = pixels(page)
    choose(page, "trails", "1")
    shots["trails"] = pixels(page)
    assert len(set(shots.values())) == len(shots), "each looks different"
    assert "angular velocity" in page.locator("canvas").get_attribute("aria-label")
    (pictures / "trails.png").write_bytes(shots["trails"])


def test_orbit_zoom_and_reset(open_page, pictures, tmp_path):
    page = open_page(drawing.show(clip(), "ntu25", titles="wave").save(tmp_path / "player.html").as_uri())
    box, before = page.locator("canvas").bounding_box(), pixels(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(100)
    assert pixels(page) == before, "the page scrolls over a player that was not clicked"
    page.mouse.down()
    page.mouse.move(x + 120, y + 40, steps=4)
    page.mouse.up()
    turned = pixels(page)
    assert turned != before
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(100)
    assert pixels(page) not in (before, turned)
    page.screenshot(path=pictures / "orbit_and_zoom.png")
    page.keyboard.press("r")
    assert pixels(page) == before
    page.mouse.wheel(0, 300)
    page.wait_for_timeout(100)
    assert pixels(page) != before
    page.mouse.dblclick(x, y)
    assert pixels(page) == before


def test_two_fingers_zoom(open_page, tmp_path):
    page = open_page(drawing.show(clip(), "ntu25").save(tmp_path / "player.html").as_uri(), has_touch=True)
    before, box = pixels(page), page.locator("canvas").bounding_box()
    touch, (x, y) = page.context.new_cdp_session(page), (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for kind, gap in (("touchStart", 20), ("touchMove", 60), ("touchMove", 100)):
        points = [{"x": x - gap, "y": y, "id": 0}, {"x": x + gap, "y": y, "id": 1}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert pixels(page) != before


def test_everything_is_reached_by_tab_and_named(open_page, tmp_path):
    page = open_page(drawing.show(clip(), "ntu25").save(tmp_path / "player.html").as_uri())
    reached = []
    for _ in range(10):
        page.keyboard.press("Tab")
        inside = "document.activeElement?.shadowRoot?.activeElement"
        reached.append(page.evaluate(f"{inside} && ({inside}.ariaLabel || {inside}.textContent)"))
    assert reached == [
        "Player: ", "▶ play", "one frame back", "one frame on", "time", "show", "as", "speed", "trails", "reset view",
    ]  # fmt: skip
    ring = page.locator("button", has_text="reset view").evaluate("(node) => getComputedStyle(node).outlineStyle")
    assert ring == "solid"


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_autoplay_asks_whether_motion_is_wanted(open_page, tmp_path, motion):
    front = drawing.Player(clip(), "ntu25", autoplay=True)
    page = open_page(front.save(tmp_path / "player.html").as_uri(), reduced_motion=motion)
    page.wait_for_timeout(400)
    assert (second(page) > 0) == (motion == "no-preference")


def test_several_players_on_one_page_and_one_twice(open_page, tmp_path):
    fronts = [drawing.show(clip(), "ntu25", titles="a"), drawing.show(clip(bodies=2), "ntu25", titles="b")]
    parts = [fronts[0].html(), fronts[1].html(), fronts[0].html()]
    (tmp_path / "page.html").write_text(f'<!doctype html><meta charset="utf-8"><style>button {{ display: none }}</style>{"".join(parts)}')
    page = open_page((tmp_path / "page.html").as_uri())
    assert page.locator("canvas").count() == 3 and page.locator("h3").all_text_contents() == ["a", "b", "a"]
    page.locator("button.play").nth(1).click()  # the page's own style doesn't reach it
    page.wait_for_timeout(400)
    times = [float(text.split()[0]) for text in page.locator("output").all_text_contents()]
    assert times[1] > 0 and times[0] == times[2] == 0


def test_two_clips_keep_one_clock(open_page, pictures, tmp_path):
    titles = ["3: wave, subject 2", "17: shake hands, subject 3"]
    front = drawing.Player(clip(), "ntu25", "motion", noisy(2, 60), titles, frame_rate=(30, 15))
    page = open_page(front.save(tmp_path / "player.html").as_uri())
    drawn = "window.words.map(([words]) => words).join(' ')"
    words_drawn(page)
    page.locator("input[type=range]").fill("90")
    words = page.evaluate(drawn)
    assert "60/60, waits" in words and "46/60" in words and all(title in words for title in titles)
    assert page.locator("output").text_content() == "3.00 of 3.93 s"
    page.screenshot(path=pictures / "two_clips.png")


def test_two_bodies_are_told_apart_where_colours_tell_values(open_page, tmp_path):
    page = open_page(drawing.show(moving(skeletons.NTU25), "ntu25", "motion").save(tmp_path / "player.html").as_uri())
    words_drawn(page)
    for look in ("arrows", "colour"):
        choose(page, "as", look)
        for frame, bodies in (("0", ["body 1"]), ("10", ["body 1", "body 2"])):  # the second one comes late
            page.evaluate("window.words = []")
            page.locator("input[type=range]").fill(frame)
            drawn = [words for words, *_ in page.evaluate("window.words")]
            assert [words for words in drawn if words.startswith("body")] == bodies
    places = []
    for frame in range(6, 20):  # the numbers stand under the middle, however the limbs swing
        page.evaluate("window.words = []")
        page.locator("input[type=range]").fill(str(frame))
        places.append([x for words, x, _ in page.evaluate("window.words") if words == "body 1"])
    assert np.abs(np.diff(np.ravel(places))).max() < 12
    page.evaluate("window.words = []")
    choose(page, "show", "limbs")
    assert not [words for words, *_ in page.evaluate("window.words") if words.startswith("body")], "its limbs have colours of their own"


def test_keys_turn_and_zoom(open_page, tmp_path):
    page = open_page(drawing.show(clip(), "ntu25").save(tmp_path / "player.html").as_uri())
    page.locator(".card").focus()
    shots = [pixels(page)]
    for key in ("Shift+ArrowRight", "Shift+ArrowDown", "PageUp"):
        page.keyboard.press(key)
        shots.append(pixels(page))
    assert len(set(shots)) == 4 and second(page) == 0, "each looks different, and time stands still"
    for key in ("PageDown", "Shift+ArrowUp", "Shift+ArrowLeft"):
        page.keyboard.press(key)
        shots.append(pixels(page))
    assert shots[4:] == shots[2::-1], "and each has a way back"
    assert "Shift and arrows: turn" in page.locator(".note").last.text_content()


@pytest.mark.parametrize("skeleton", ["ntu25", "coco17"])
def test_figures_are_moved_as_far_as_they_are_dragged(open_page, tmp_path, skeleton):
    """With Shift held, and in an image, where nothing turns, without; the discs of the joints tell where they are drawn."""
    person = clip() if skeleton == "ntu25" else np.random.default_rng(0).uniform(0.2, 0.8, (1, 20, 17, 3))
    page = open_page(drawing.show(person, skeleton).save(tmp_path / "player.html").as_uri())
    page.evaluate(
        "() => { const pen = CanvasRenderingContext2D.prototype, arc = pen.arc; window.discs = [];"
        "pen.arc = function (x, y, ...rest) { window.discs.push([x, y]); return arc.call(this, x, y, ...rest); } }"
    )

    def places():
        page.evaluate("window.discs = []")
        page.locator("input[type=range]").fill("0")  # draws once
        return np.array(page.evaluate("window.discs"))

    before, box = places(), page.locator("canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    if skeleton == "ntu25":
        page.keyboard.down("Shift")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y - 25, steps=5)
    page.mouse.up()
    page.keyboard.up("Shift")
    np.testing.assert_allclose(places(), before + (40, -25), atol=1e-6)
    page.locator(".card").focus()
    page.keyboard.press("PageUp")
    zoomed = places()
    page.keyboard.press("PageDown")
    np.testing.assert_allclose(places(), before + (40, -25), atol=1e-6, err_msg="zooming in and out brings them back")
    assert np.ptp(zoomed[:, 0]) > 1.1 * np.ptp(before[:, 0])
    page.keyboard.press("r")
    np.testing.assert_allclose(places(), before, atol=1e-6)


def active(page) -> str:
    """What has the focus inside a player: `aria-label` of the element."""
    return page.evaluate("document.activeElement?.shadowRoot?.activeElement?.ariaLabel ?? ''")


@pytest.mark.parametrize(
    ("label", "letter", "typed", "value"),
    [("show", "m", "motion", "bone"), ("as", "c", "colour", "arrows"), ("speed", "4", "4", "0.25"), ("trails", "2", "2", "1")],
)
def test_a_dropdown_keeps_its_keys_and_gives_the_focus_back(open_page, tmp_path, label, letter, typed, value):
    """Keys without Ctrl, Meta or Alt never reach the page, whose shortcuts they may be; after a choice by pointer arrows step frames."""
    page = open_page(drawing.show(noisy(1, 60), "ntu25", titles="wave").save(tmp_path / "player.html").as_uri())
    page.evaluate("() => { window.keys = []; document.addEventListener('keydown', (event) => window.keys.push(event.key)); }")
    select = page.get_by_label(label, exact=True)
    select.focus()
    for key in ("b", "a", "m", "d", "d", "Shift+m", "Control+k", "Alt+k"):
        page.keyboard.press(key)
    assert [key for key in page.evaluate("window.keys") if key not in ("Control", "Alt")] == ["k", "k"]
    page.wait_for_timeout(1200)  # letters of one word are typed faster
    page.keyboard.press(letter)
    assert select.input_value() == typed and active(page) == label and second(page) == 0, "a letter chooses, and the next one may, too"
    select.select_option(value)
    page.keyboard.press("ArrowRight")
    assert active(page) == "Player: wave" and second(page) == 0.03 and select.input_value() == value
    page.keyboard.press("ArrowRight")
    assert second(page) == 0.07


def test_a_widget_s_next_player_has_what_was_chosen_in_its_last(open_page, tmp_path):
    """As an `Output` does it: the old player goes, the new one comes. What the widget's own dropdowns ask for is shown."""
    front, other = drawing.explore(few_clips(), 0, None), drawing.explore(few_clips(), 2, None)
    (tmp_path / "page.html").write_text('<!doctype html><meta charset="utf-8"><div id="one"></div><div id="two"></div>')
    page = open_page((tmp_path / "page.html").as_uri())

    def output(explorer, place: str = "one"):
        text = explorer.output.outputs[0]["data"]["text/html"]
        put = "([place, text]) => document.getElementById(place).replaceChildren(document.createRange().createContextualFragment(text))"
        page.evaluate(put, [place, text])
        page.locator(f"#{place} canvas").wait_for()
        return [page.locator(f"#{place}").get_by_label(label, exact=True).input_value() for label in ("show", "as", "speed", "trails")]

    assert output(front) == ["limbs", "arrows", "1", "0"]
    for label, value in (("show", "motion"), ("as", "colour"), ("speed", "0.25"), ("trails", "1")):
        choose(page, label, value)
    front.clip.value = 1
    assert output(front) == ["motion", "colour", "0.25", "1"]
    front.modality.value = "bone"
    assert output(front) == ["bone", "colour", "0.25", "1"]
    assert output(other, "two") == ["limbs", "arrows", "1", "0"], "another widget's player has its own"


SHOWN = {3: ["joint", "motion", "bone"], 5: ["limbs", "joint", "motion", "bone", "acceleration"], 7: ["limbs", *modalities.NAMES]}


@pytest.mark.parametrize("width", [850, 1100])
@pytest.mark.parametrize("count", SHOWN)
def test_panels_and_controls_are_seen_together(open_page, pictures, tmp_path, count, width):
    front = drawing.show(noisy(2, 60), "ntu25", SHOWN[count], titles="12: wave, subject 3")
    page = open_page(front.save(tmp_path / "player.html").as_uri(), viewport={"width": width, "height": 900})
    page.screenshot(path=pictures / f"panels_{count}_{width}.png", full_page=True)
    figures, controls = page.locator("canvas").bounding_box(), page.locator(".bar").last.bounding_box()
    assert figures["y"] >= 0 and figures["height"] < 650 and controls["y"] + controls["height"] < 850


def test_words_of_narrow_panels_end_inside_them(open_page, pictures, tmp_path):
    """Two clips by six modalities: the part in brackets is left out where it would be cut off."""
    front = drawing.Player(noisy(2, 60), "ntu25", "all", noisy(1, 60), ["a", "b"], style="colour")
    page = open_page("about:blank", viewport={"width": 1100, "height": 900})
    words_drawn(page)
    page.evaluate("(html) => document.write(html)", front.html())
    page.locator("canvas").wait_for()
    page.screenshot(path=pictures / "narrow_panels.png", full_page=True)
    words, wide = page.evaluate("window.words"), page.locator("canvas").bounding_box()["width"] / 4
    told = [entry for entry in words if entry[0].startswith("0 to ")]
    assert len(told) >= 12 and all((x + long) // wide == x // wide for _, x, long in words)
    assert any("m/frame" in entry[0] for entry in told)
    for look, shown in (("arrows", "0 to "), ("colour", "/s")):
        choose(page, "as", look)
        page.evaluate("window.words = []")
        choose(page, "show", "motion")
        assert any(shown in entry[0] for entry in page.evaluate("window.words")) == (look == "colour"), "wide panels have room for it"


@pytest.mark.parametrize("skeleton", skeletons.SKELETONS.values(), ids=lambda s: s.name)
def test_every_skeleton_plays(open_page, pictures, tmp_path, skeleton):
    front = drawing.show(moving(skeleton), skeleton, "all", titles=skeleton.name)
    page = open_page(front.save(tmp_path / "player.html").as_uri())
    page.locator("input[type=range]").fill("12")
    before = pixels(page)
    page.locator("button.play").click()
    page.wait_for_timeout(300)
    assert pixels(page) != before
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 120)
    page.mouse.up()


@pytest.mark.parametrize("width", [360, 700, 1400])
def test_it_fits_narrow_and_wide_pages(open_page, pictures, tmp_path, width):
    front = drawing.show(noisy(2, 60), "ntu25", "all", titles="12: wave, subject 3")
    page = open_page(front.save(tmp_path / "player.html").as_uri(), viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=pictures / f"six_modalities_{width}.png", full_page=True)


def test_frames_per_second(open_page, tmp_path, capsys):
    """Counted and told, not asserted tightly: a machine may be busy, and a headless browser draws without a graphics card."""
    front = drawing.show(noisy(2, 150), "ntu25", "all")
    page = open_page(front.save(tmp_path / "player.html").as_uri())
    page.evaluate(
        "() => { const pen = CanvasRenderingContext2D.prototype, clear = pen.clearRect; window.draws = 0; window.beats = 0;"
        "pen.clearRect = function (...rest) { window.draws++; return clear.apply(this, rest); };"
        "const beat = () => { window.beats++; requestAnimationFrame(beat); }; beat(); }"
    )
    page.locator("button.play").click()
    before, began = page.evaluate("[window.draws, window.beats]"), time.perf_counter()
    page.wait_for_timeout(4000)
    after, seconds = page.evaluate("[window.draws, window.beats]"), time.perf_counter() - began
    drawn, beats = ((b - a) / seconds for a, b in zip(before, after, strict=True))
    with capsys.disabled():
        print(f"\nplayer, two bodies, six panels, 150 frames at 30 Hz: {drawn:.0f} pictures a second of {beats:.0f} offered")
    assert drawn > 5


def test_numbers_of_bodies_in_each_other_stand_apart(open_page, tmp_path):
    one = moving(skeletons.NTU25, 1, 20)
    both = np.concatenate([one, one + (0.03, 0, 0.03)])
    page = open_page(drawing.show(both, "ntu25", ["limbs", "motion"]).save(tmp_path / "player.html").as_uri())
    page.evaluate(
        "() => { const pen = CanvasRenderingContext2D.prototype, write = pen.fillText; window.words = [];"
        "pen.fillText = function (words, x, y) { window.words.push([words, y]); return write.call(this, words, x, y); } }"
    )
    page.locator("input[type=range]").fill("5")
    places = {words: y for words, y in page.evaluate("window.words") if words.startswith("body")}
    assert len(places) == 2 and abs(places["body 1"] - places["body 2"]) >= 10
    told = page.locator(".note").first.text_content()
    assert "left, body 2" in told and "left, behind arrows" in told, "both panels' colours"
    choose(page, "as", "colour")
    assert "behind arrows" not in page.locator(".note").first.text_content()


def test_ticks_of_a_clip_in_millimetres_are_round_and_its_note_stands_out(open_page, pictures, tmp_path):
    page = open_page(drawing.show(1000 * moving(skeletons.NTU25, 1, 20), "ntu25").save(tmp_path / "player.html").as_uri())
    words_drawn(page)
    page.locator("input[type=range]").fill("5")
    written = [words for words, *_ in page.evaluate("window.words")]
    ticks = [float(words.split()[0]) for words in written if re.fullmatch(r"\d+ m", words)]
    mesh = next(float(words.split()[1]) for words in written if words.startswith("grid "))
    for size in (np.diff(ticks)[0], ticks[0], mesh):
        assert size / 10 ** np.floor(np.log10(size)) in (1, 2, 5), (ticks, mesh)
    assert 2 <= len(ticks) <= 8
    note, other = (page.get_by_text(words, exact=False).last for words in ("are these millimetres?", "left"))
    weight, beside = (float(found.evaluate("(node) => getComputedStyle(node).fontWeight")) for found in (note, other))
    assert weight >= 600 > beside
    page.screenshot(path=pictures / "millimetres.png")


def test_a_frame_in_which_nobody_is_says_so(open_page, pictures, tmp_path):
    joints = moving(skeletons.NTU25, 1, 30)
    joints[:, 10:20] = 0
    page = open_page(drawing.show(joints, "ntu25").save(tmp_path / "player.html").as_uri())
    words_drawn(page)
    for frame, empty in ((5, False), (12, True), (25, False)):
        page.evaluate("window.words = []")
        page.locator("input[type=range]").fill(str(frame))
        assert ("nobody in this frame" in [words for words, *_ in page.evaluate("window.words")]) == empty
        if empty:
            page.screenshot(path=pictures / "nobody.png")
