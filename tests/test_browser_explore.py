"""The list of clips in a real browser: its keys, ordinary widths, and what a kernel fetches."""

from __future__ import annotations

import re

import pytest
from chromium import run_cells
from test_explore import Many

from skelmm_core import drawing

pytestmark = pytest.mark.browser
CHOICES = {"show": "motion", "as": "colour", "speed": "0.25", "trails": "1"}


def test_keys_that_save_reach_the_page(open_page, tmp_path):
    """Ctrl+S saves a notebook wherever the focus is; the notebook's plain shortcuts, such as D D, are not the list's."""
    page = open_page(drawing.browse(Many(20), held=4).save(tmp_path / "clips.html").as_uri())
    page.evaluate("() => { window.keys = []; document.addEventListener('keydown', (event) => window.keys.push(event.key)); }")
    page.locator(".row:not(.far)").first.click()
    page.locator("button.play").wait_for()
    for part in (page.locator(".row").first, page.get_by_label("part of a name"), page.locator("button.play")):
        part.focus()
        for key in ("s", "Control+k", "Meta+k", "Alt+k"):
            page.keyboard.press(key)
        heard = page.evaluate("window.keys.splice(0)")
        assert "s" not in heard and heard.count("k") == 3


def test_the_first_click_plays_without_a_kernel(open_page, pictures, tmp_path):
    """What isn't packed comes below what is; the file's order is there to be asked for, and is all there is where everything plays."""
    front = drawing.browse(Many(20), held=4)
    assert "0" not in front.data["stored"], "the file's first clip would only tell that it isn't here"
    page = open_page(front.save(tmp_path / "clips.html").as_uri())
    order, rows = page.get_by_label("order", exact=True), page.locator(".row b")
    page.locator(".row").first.click()
    page.locator("button.play").wait_for()
    packed = [int(number) for number in front.data["stored"]]
    names = [f"▶ {n}: take {n}" for n in packed] + [f"{n}: take {n}" for n in range(20) if n not in packed]
    assert rows.all_text_contents() == names and order.input_value() == "here"
    page.screenshot(path=pictures / "clips_first.png")
    order.select_option("file")
    assert rows.first.text_content() == "0: take 0"
    page.get_by_role("button", name="show all").click()
    assert rows.all_text_contents() == names
    page = open_page(drawing.browse(Many(5)).save(tmp_path / "all.html").as_uri())
    assert page.get_by_label("order", exact=True).locator("option").all_text_contents()[0] == "as in the file"


def test_a_clip_that_is_chosen_by_key_is_played_by_keys(open_page, tmp_path):
    page = open_page(drawing.browse(Many(20), held=4).save(tmp_path / "clips.html").as_uri())
    page.locator(".row").first.focus()
    page.keyboard.press("Enter")
    page.locator("button.play").wait_for()
    page.keyboard.press("ArrowRight")
    assert float(page.locator(".stage output").text_content().split()[0]) > 0
    page.locator(".row").nth(1).click()
    assert page.evaluate("document.querySelector('[data-skelmm-clips]').shadowRoot.activeElement.className") != "card"


def test_the_next_clip_has_what_was_chosen_for_the_last(open_page, tmp_path):
    """show, as, speed, trails, turn and zoom; without motion, all stand still at their ends."""
    address = drawing.browse(Many(20), held=4).save(tmp_path / "clips.html").as_uri()
    page, rows = open_page(address, reduced_motion="reduce"), []

    def picture(row: int) -> bytes:
        page.locator(".row").nth(row).click()
        page.locator(f'.stage canvas[aria-label*="{page.locator(".row b").nth(row).text_content()[2:].split(":")[0]}: "]').wait_for()
        page.locator(".stage .card").focus()
        page.keyboard.press("End")
        page.wait_for_timeout(200)
        return page.locator(".stage canvas").screenshot()

    plain = picture(0)
    for label, value in CHOICES.items():
        page.get_by_label(label, exact=True).select_option(value)
    coloured = page.locator(".stage canvas").screenshot()
    for key in ("Shift+ArrowRight", "Shift+ArrowDown", "PageUp"):
        page.keyboard.press(key)
    page.mouse.move(5, 5)
    turned = page.locator(".stage canvas").screenshot()
    rows.append(picture(1))
    assert {label: page.get_by_label(label, exact=True).input_value() for label in CHOICES} == CHOICES
    page.locator(".row.far").first.click()
    assert page.locator(".stage canvas").count() == 0
    rows.append(picture(0))
    assert {label: page.get_by_label(label, exact=True).input_value() for label in CHOICES} == CHOICES
    assert len({plain, coloured, turned, rows[0]}) == 4 and rows[1] == turned
    page.get_by_role("button", name="reset view").click()
    assert page.locator(".stage canvas").screenshot() == coloured, "and the view has a way back"


@pytest.mark.parametrize("width", [460, 722, 746, 1000])
def test_a_click_is_answered_in_sight(open_page, pictures, tmp_path, width):
    page = open_page(drawing.browse(Many(136), held=60).save(tmp_path / "clips.html").as_uri(), viewport={"width": width, "height": 700})
    page.locator(".row:not(.far)").first.click()
    page.locator("button.play").wait_for()
    page.wait_for_timeout(200)
    page.screenshot(path=pictures / f"clips_{width}.png")
    listed, stage = page.locator(".list").bounding_box(), page.locator(".stage canvas").bounding_box()
    assert stage["y"] >= 0 and stage["y"] + stage["height"] / 2 < 700, "the figure is in the window"
    assert (stage["x"] > listed["x"] + listed["width"]) == (width > 700), "beside the list, where there is room"
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_kernel_fetches_every_clip(lab, open_page, pictures):
    cells = [
        "from skelmm_core import drawing\nfrom test_explore import Many",
        "front = drawing.browse(Many(40), held=3)\ndisplay(front, front.with_kernel())",
    ]
    page = run_cells(lab, open_page, "clips", cells, {"width": 1100, "height": 1000})
    page.locator(".row").first.wait_for(timeout=90_000)
    page.wait_for_selector("[class*=skelmm-ask] input", state="attached", timeout=30_000)
    far = page.locator(".row.far")
    before, row = far.count(), far.first.get_attribute("data-row")
    far.first.click()
    page.locator("button.play").wait_for(timeout=30_000)
    page.wait_for_timeout(500)
    assert page.locator("button.play").text_content().endswith("pause")
    assert f"{row}: " in page.locator(".jp-OutputArea-output canvas").last.get_attribute("aria-label")
    assert page.locator(".row.far").count() == before - 1 == 36, "and is there from now on"
    assert page.locator(f'.row[data-row="{row}"] b').text_content().startswith("▶ ")
    assert page.locator(".count").text_content() == "40 of 40 clips match, 4 of them play here"
    page.screenshot(path=pictures / "clips_jupyterlab.png")


def test_a_kernel_that_is_busy_fetches_clips_too(lab, open_page):
    """As while a cell trains: the question goes beside the running cell."""
    cells = [
        "import time\nfrom skelmm_core import drawing\nfrom test_explore import Many",
        "front = drawing.browse(Many(40), held=3)\ndisplay(front, front.with_kernel())",
        "while True: time.sleep(0.1)",
    ]
    page = run_cells(lab, open_page, "busy", cells, {"width": 1100, "height": 1800})
    page.locator(".row").first.wait_for(state="attached", timeout=90_000)
    page.locator(".jp-CodeCell .cm-content").first.click()  # back to the top: the notebook has followed the running cell
    page.wait_for_selector("[class*=skelmm-ask] input", state="attached", timeout=30_000)
    page.locator(".jp-InputPrompt", has_text="[*]").wait_for()
    page.locator(".row.far").first.click()
    page.locator(".stage button.play").wait_for(timeout=30_000)
    assert page.locator(".jp-InputPrompt", has_text="[*]").count() == 1, "the cell runs on"


def test_a_chosen_clip_that_is_not_here_can_be_read(open_page, tmp_path):
    """Words on the ground of the chosen row: a contrast of 4.5 and more (WCAG 2, 1.4.3), also of a clip that the page doesn't hold."""
    page = open_page(drawing.browse(Many(20), held=4).save(tmp_path / "clips.html").as_uri())

    def light(channels: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", channels)[:3]]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.05 + sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for rows in (".row:not(.far)", ".row.far"):
        row = page.locator(rows).first
        row.click()
        page.mouse.move(0, 0)
        ground = light(row.evaluate("node => getComputedStyle(node).backgroundColor"))
        for part in (row, *row.locator("b, div").all()):
            assert ground / light(part.evaluate("node => getComputedStyle(node).color")) >= 4.5
