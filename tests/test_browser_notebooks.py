"""Notebooks 01, 02 and 05 in JupyterLab, run in smoke mode in its dark theme: players play, sliders, dropdowns and points answer.

`make browser` installs what this needs and keeps the screenshots; without Playwright or a Chromium all tests are skipped.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pytest
from chromium import ROOT, second
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

pytestmark = pytest.mark.browser
NOISE = (r" https://cdn\.plot\.ly/",)  # plotly's script for exported HTML; JupyterLab shows the figure without it, network or not
DONE = """() => { const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(node => node.textContent.trim());
  return prompts.length > 5 && prompts.filter(text => text).every(text => /^\\[\\d+\\]:$/.test(text)); }"""


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """One output folder, so that 05 finds what 02 trained."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture
def run(lab, open_page, out):
    """Opens a notebook with the parameters of a smoke run, as papermill sets them, runs all its cells and gives the page."""
    folder, address = lab
    told: list[str] = []

    def start(name: str, **parameters):
        given = {"out": str(out), "smoke": True, "device": "cpu", **parameters}
        book = parameterize_notebook(load_notebook_node(str(ROOT / "notebooks" / f"{name}.ipynb")), given)
        setup = nbformat.v4.new_code_cell(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nimport torch\ntorch.set_num_threads(1)")
        book.cells.insert(0, setup)
        nbformat.write(book, folder / f"{name}.ipynb")
        page = open_page("about:blank", offline=False, console=False, viewport={"width": 1300, "height": 1100})
        page.set_default_timeout(120_000)  # a machine may be busy
        page.context.on("weberror", lambda error: told.append(str(error.error)))  # of the pages that a click opens, too
        page.context.on("console", lambda said: told.append(f"{said.text} {said.location['url']}") if said.type == "error" else None)
        page.goto(address(f"{name}.ipynb"))
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        page.get_by_text("| Idle").wait_for()
        page.locator(".lm-MenuBar-itemLabel", has_text="Run").click()
        page.get_by_text("Run All Cells", exact=True).click()
        page.wait_for_function(DONE, timeout=500_000)
        page.get_by_text("| Idle").wait_for()
        assert page.evaluate("document.body.dataset.jpThemeLight") == "false", "the dark theme"
        assert "Traceback" not in page.locator(".jp-Notebook").text_content()
        return page

    yield start
    wrong = [text for text in told if not any(re.search(noise, text) for noise in NOISE)]
    assert wrong == []


def seen(page, found, name: Path) -> None:
    """An element in the middle of the window, and a picture of the window."""
    found.scroll_into_view_if_needed()
    found.evaluate("node => node.scrollIntoView({ block: 'center' })")
    page.wait_for_timeout(300)
    page.screenshot(path=name)


def figures_are_readable(page) -> None:
    """Pictures are there and bring a white ground of their own; words have the theme's colours."""
    images = page.locator(".jp-OutputArea-output img:visible")
    assert images.count() >= 3
    for image in images.all():
        corner = image.evaluate(
            "node => { const paper = new OffscreenCanvas(1, 1).getContext('2d'); paper.drawImage(node, 0, 0); "
            "return [node.naturalWidth, ...paper.getImageData(0, 0, 1, 1).data]; }"
        )
        assert corner[0] > 200 and corner[1:] == [255, 255, 255, 255]
    words = page.locator(".jp-RenderedMarkdown p, .jp-RenderedMarkdown td").last
    red, green, blue = (int(part) for part in re.findall(r"\d+", words.evaluate("node => getComputedStyle(node).color"))[:3])
    assert min(red, green, blue) > 150, "light words on the dark page"


def test_01_plays_scrubs_and_shows_another_clip(run, pictures):
    page = run("01_modality_visualization", clip=3)
    assert page.locator("button.play").count() == 4 and page.locator(".jp-OutputArea-output canvas").count() == 4
    moving = page.locator(".jp-OutputArea-output canvas").first
    seen(page, moving, pictures / "notebook_01_moving.png")
    assert page.locator("button.play").first.text_content().endswith("pause"), "it moves by itself"
    shown = moving.screenshot()
    page.wait_for_timeout(500)
    assert moving.screenshot() != shown
    play, canvas, slider = (page.locator(kind).nth(1) for kind in ("button.play", ".jp-OutputArea-output canvas", "input[type=range]"))
    seen(page, play, pictures / "notebook_01_player.png")
    before = canvas.screenshot()
    play.click()
    page.wait_for_timeout(800)
    assert play.text_content().endswith("pause") and second(page, 1) > 0
    play.click()
    slider.fill("30")
    assert second(page, 1) == 1.0
    assert canvas.screenshot() != before
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 30 / int(slider.get_attribute("max")), box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    assert second(page, 1) > 1.0, "dragged"
    page.locator('select[aria-label="show"]').nth(1).select_option("acceleration")
    assert "acceleration" in canvas.get_attribute("aria-label")
    seen(page, canvas, pictures / "notebook_01_acceleration.png")

    explorer = page.locator(".widget-dropdown select")
    other = page.locator(".jp-OutputArea-output canvas").nth(2)
    assert other.get_attribute("aria-label").count("3: ") == 1
    wanted = next(text for text in explorer.first.locator("option").all_text_contents() if not text.startswith("3: "))
    explorer.first.select_option(wanted)
    words = wanted.replace("\xa0", " ")  # dropdowns keep their spaces from breaking
    page.locator(f'canvas[aria-label^="Stick figures of {words}; shown"]').wait_for(state="attached")
    seen(page, page.locator(".jp-OutputArea-output canvas").nth(2), pictures / "notebook_01_explorer.png")
    figures_are_readable(page)


def test_02_trains_and_folds(run, pictures):
    page = run("02_single_modality_pretraining")
    figures_are_readable(page)
    assert page.get_by_role("button", name="stop and keep").count() == 0, "a picture of the curves took the place of the widget"
    seen(page, page.locator(".jp-OutputArea-output img").nth(2), pictures / "notebook_02_curves.png")
    seen(page, page.locator("table").nth(2), pictures / "notebook_02_table.png")
    heading = page.locator(".jp-MarkdownCell", has_text="2 Training").first
    below = page.locator(".jp-CodeCell", has_text="session.training()").first
    assert below.is_visible()
    heading.scroll_into_view_if_needed()
    heading.hover()
    heading.locator(".jp-collapseHeadingButton").click()
    page.wait_for_timeout(300)
    assert not below.is_visible(), "the section is folded"
    page.screenshot(path=pictures / "notebook_02_folded.png")


def test_05_a_point_plays_its_clip_and_runs_are_compared(run, lab, pictures, out):
    here = lab[0] / "outputs" / "run"  # where the server looks
    shutil.copytree(out, here)
    page = run("05_tsne_probing", out=str(here))
    figures_are_readable(page)
    canvas, tip = page.locator("[data-skelmm-map] canvas").first, page.locator("[data-skelmm-map] .tip").first
    seen(page, canvas, pictures / "notebook_05_map.png")
    box, at = canvas.bounding_box(), None
    for step in range(2000):  # from the middle outwards, until the mouse is on a point
        angle, far = 0.4 * step, 0.24 * step
        at = box["x"] + box["width"] / 2 + far * np.cos(angle), box["y"] + box["height"] / 2 + far * np.sin(angle)
        page.mouse.move(*at)
        if tip.is_visible():
            break
    name = tip.inner_text().split("\n")[0]
    page.mouse.click(*at)
    play = page.locator("[data-skelmm-map] button.play").first
    play.wait_for()
    page.wait_for_timeout(600)
    assert play.text_content().endswith("pause"), "it plays"
    assert page.locator("[data-skelmm-map] ol .entry span").first.text_content().startswith(name)
    seen(page, play, pictures / "notebook_05_clip.png")

    before = canvas.screenshot()
    page.locator('select[aria-label="colour by"]').first.select_option("1")
    assert page.locator(".legend .entry span").first.text_content().startswith("subject")
    assert canvas.screenshot() != before
    page.locator('select[aria-label="map"]').first.select_option(label="teacher, in training")
    page.wait_for_timeout(900)
    slider, clock = page.get_by_label("step", exact=True).first, page.locator("[data-skelmm-map] output").first
    slider.fill("0")
    assert clock.text_content() == "untrained"
    seen(page, canvas, pictures / "notebook_05_untrained.png")
    seen(page, page.locator(".js-plotly-plot").first, pictures / "notebook_05_space.png")

    chooser = page.locator(".widget-select-multiple select").last
    chooser.select_option(index=0)
    page.get_by_role("button", name="compare").click()
    link = page.locator(".jp-OutputArea-output a", has_text=re.compile(r"comparison-.*\.html"))
    link.wait_for(timeout=120_000)
    assert page.locator(".jp-OutputArea-output pre", has_text="nearest neighbours, fused (%)").count() == 1
    assert next(here.parent.glob("comparison-*.html")).stat().st_size > 10_000
    seen(page, link, pictures / "notebook_05_runs.png")
    with page.context.expect_page() as opened:
        link.click()
    report = opened.value
    start = report.locator("button.play:visible").first
    start.click()
    report.wait_for_timeout(600)
    assert start.text_content().endswith("pause") and "/files/" in report.url, "its clips play, nothing had to be trusted"
