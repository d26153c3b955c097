"""The player in JupyterLab, and in the HTML that nbconvert makes of a notebook."""

from __future__ import annotations

import subprocess
import sys

import nbformat
import numpy as np
import pytest
from chromium import book, choose, second
from test_drawing import clip

from skelmm_core import drawing

pytestmark = pytest.mark.browser
CELLS = (
    "from skelmm_core import drawing\nfrom tests.test_drawing import clip, few_clips",
    'drawing.show(clip(bodies=2), "ntu25", "motion", titles="12: wave, subject 3")',
    "drawing.explore(few_clips(), 1)",
)


def test_it_plays_in_jupyterlab_and_in_exported_html(lab, open_page, pictures):
    folder, address = lab
    nbformat.write(book(CELLS), folder / "player.ipynb")
    page = open_page(address("player.ipynb"), offline=False, console=False, viewport={"width": 1200, "height": 1000})
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=60_000)
    page.get_by_text("| Idle").wait_for(timeout=60_000)
    page.locator(".lm-MenuBar-itemLabel", has_text="Run").click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.locator("button.play").nth(1).wait_for(timeout=90_000)  # one of `show`, one in the widget of `explore`
    canvas, clock = page.locator("canvas").first, page.locator("output").first
    canvas.scroll_into_view_if_needed()
    cells = page.locator(".jp-Cell").count()
    canvas.click()
    for key in ("ArrowRight", "ArrowRight", "b", "d", "d"):  # b and d d would add and delete a cell
        page.keyboard.press(key)
    assert clock.text_content().startswith("0.07 of 1.97 s, frame 3") and page.locator(".jp-Cell").count() == cells
    page.keyboard.press("Space")
    page.wait_for_timeout(500)
    page.keyboard.press("Space")
    assert second(page) > 0.07
    for label in ("show", "as", "speed", "trails"):  # b, a add a cell, m makes one of text, d d deletes it
        page.get_by_label(label, exact=True).first.focus()
        for key in ("b", "a", "m", "d", "d"):
            page.keyboard.press(key)
    assert page.locator(".jp-Cell").count() == page.locator(".jp-CodeCell").count() == cells
    choose(page, "show", "bone")
    page.screenshot(path=pictures / "jupyterlab_dark.png")
    widget = page.locator(".jp-OutputArea-output canvas").nth(1)
    widget.scroll_into_view_if_needed()
    page.screenshot(path=pictures / "jupyterlab_explorer.png")
    page.get_by_label("speed", exact=True).nth(1).select_option("0.25")
    page.locator(".widget-dropdown select").first.select_option(index=0)
    page.locator('canvas[aria-label^="Stick figures of 0: wave, subject 3; shown: motion"]').wait_for(timeout=30_000)
    assert page.get_by_label("speed", exact=True).nth(1).input_value() == "0.25", "kept in the player of another clip"
    widget.click()
    page.keyboard.press("Control+s")  # what isn't the player's key is JupyterLab's still
    page.wait_for_timeout(2000)

    page.locator(".jp-CodeCell .jp-InputArea-editor").nth(2).click()
    page.keyboard.press("Control+Enter")  # again: the new player takes the old one's place
    page.wait_for_function(
        "document.querySelectorAll('[data-skelmm]').length == 2 && !document.querySelector('.jp-OutputArea-output img')?.checkVisibility()"
    )
    page.wait_for_timeout(1000)
    assert clock.text_content().startswith("0.00") and page.locator(".jp-Cell").count() == cells

    saved = nbformat.read(folder / "player.ipynb", 4)
    assert "data-skelmm" in saved.cells[2].outputs[0].data["text/html"] and (folder / "player.ipynb").stat().st_size < 200_000
    subprocess.run([sys.executable, "-m", "nbconvert", "--to", "html", str(folder / "player.ipynb")], check=True, capture_output=True)
    exported = open_page((folder / "player.html").as_uri(), console=False)
    exported.locator("button.play").first.click()
    exported.wait_for_timeout(500)
    assert second(exported) > 0
    exported.screenshot(path=pictures / "exported_html.png")


def test_a_notebook_that_is_not_trusted_shows_the_film_strip(lab, open_page, pictures):
    folder, address = lab
    foreign = book(CELLS)
    bundle = drawing.show(clip(), "ntu25", "motion", titles="wave")._repr_mimebundle_()
    foreign.cells[2].outputs = [nbformat.v4.new_output("execute_result", bundle, execution_count=1)]
    nbformat.write(foreign, folder / "foreign.ipynb")
    page = open_page(address("foreign.ipynb"), offline=False, console=False, viewport={"width": 1200, "height": 1000})
    image = page.locator(".jp-OutputArea-output img")
    image.wait_for(timeout=60_000)
    assert image.bounding_box()["width"] > 400 and page.locator("canvas").count() == 0
    assert np.frombuffer(image.screenshot(), np.uint8).size > 3000
    page.screenshot(path=pictures / "jupyterlab_not_trusted.png")
