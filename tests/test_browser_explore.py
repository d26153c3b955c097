"""The list of clips in a real browser: its keys, ordinary widths, and what a kernel fetches."""

from __future__ import annotations

import pytest
import test_browser
from test_browser import run_cells
from test_explore import Many

from skelmm_core import drawing

pytestmark = pytest.mark.browser
browser, lab, open_page, pictures = test_browser.browser, test_browser.lab, test_browser.open_page, test_browser.pictures


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
    page.screenshot(path=pictures / "clips_jupyterlab.png")
