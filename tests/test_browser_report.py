"""The report of runs and the list of clips in a real browser, the network off."""

from __future__ import annotations

import pytest
from chromium import choose
from test_explore import Many
from test_side_by_side import data, runs, written

from skelmm_core import drawing

pytestmark = pytest.mark.browser
assert data and runs  # fixtures


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_opens_and_its_clips_play(open_page, pictures, tmp_path, runs, scheme):
    written(tmp_path, runs[0] / "first", runs[0] / "second")
    page = open_page((tmp_path / "page.html").as_uri(), viewport={"width": 1050, "height": 900}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1050
    start = page.locator("button.play").first
    start.click()
    page.wait_for_timeout(600)
    assert start.text_content().endswith("pause") and float(page.locator("output").first.text_content().split()[0]) > 0
    shut = page.locator("details:not([open]) summary")
    before = shut.count()
    if before:  # a player that was folded at first has no width until it is opened
        shut.first.click()
        page.wait_for_timeout(200)
        assert shut.count() == before - 1
    assert all(canvas.bounding_box()["width"] > 100 for canvas in page.locator("details[open] canvas").all())
    page.screenshot(path=pictures / f"report_{scheme}.png", full_page=True)


def test_a_report_of_one_run_on_a_narrow_page(open_page, pictures, tmp_path, runs):
    written(tmp_path, runs[0] / "second")
    page = open_page((tmp_path / "page.html").as_uri(), viewport={"width": 420, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 420, "wide tables and charts scroll by themselves"
    page.screenshot(path=pictures / "report_narrow.png", full_page=True)


def test_a_comparison_on_a_narrow_page(open_page, tmp_path, runs):
    written(tmp_path, runs[0] / "first", runs[0] / "second")
    page = open_page((tmp_path / "page.html").as_uri(), viewport={"width": 400, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_clips_are_filtered_and_played(open_page, pictures, tmp_path):
    clips = Many(90)
    front = drawing.browse(clips, held=9)
    page = open_page(front.save(tmp_path / "clips.html").as_uri(), viewport={"width": 1100, "height": 900})
    count = page.locator(".count")
    assert count.text_content() == "90 of 90 clips match, 9 of them play here" and page.locator("img").is_hidden()
    choose(page, "class", "1")
    mine = [i for i in range(90) if clips.labels[i] == 1]
    assert count.text_content() == f"{len(mine)} of 90 clips match, 3 of them play here"
    page.get_by_label("frames from").fill("30")
    longer = [i for i in mine if clips.frames[i] >= 30]
    assert count.text_content().startswith(f"{len(longer)} of 90 clips match") and page.locator(".row").count() == len(longer) < len(mine)
    choose(page, "order", "longest")
    assert page.locator(".row b").first.text_content().split(": ")[1] == f"take {max(longer, key=lambda i: (clips.frames[i], -i))}"
    page.get_by_role("button", name="show all").click()
    assert count.text_content().startswith("90 of 90") and page.locator(".row").count() == 90

    page.get_by_label("only those that play here").check()
    assert page.locator(".row").count() == 9
    number = int(page.locator(".row b").first.text_content().split()[1].rstrip(":"))
    page.locator(".row").first.click()
    page.locator("button.play").wait_for()
    page.wait_for_timeout(400)
    assert page.locator("button.play").text_content().endswith("pause"), "it plays"
    assert f"{number}: " in page.locator("canvas").get_attribute("aria-label")
    assert page.locator(".row[aria-pressed=true]").count() == 1
    page.screenshot(path=pictures / "clips.png", full_page=True)

    page.get_by_label("only those that play here").uncheck()
    page.locator(".row.far").first.click()
    assert "drawing.show((clips, " in page.locator(".stage").text_content() and page.locator("button.play").count() == 0
    page.get_by_label("part of a name").fill("nobody")
    assert "0 of 90" in count.text_content() and "No clip matches" in page.locator(".list").text_content()


def test_a_long_list_grows_when_asked(open_page, tmp_path):
    page = open_page(drawing.browse(Many(250), held=3).save(tmp_path / "clips.html").as_uri())
    assert page.locator(".row").count() == 100
    page.get_by_role("button", name="150 more").click()
    page.get_by_role("button", name="50 more").click()
    assert page.locator(".row").count() == 250 and page.locator(".more").count() == 0
