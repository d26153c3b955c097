"""Training as it goes in JupyterLab: curves that follow, and a button that ends it while its cell is running.

`make browser` installs what this needs and keeps the screenshots; without Playwright or a Chromium all tests are skipped.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from chromium import book

from skelmm_core import checkpoints, watching

pytestmark = pytest.mark.browser
CELLS = (
    "import torch\ntorch.set_num_threads(1)\nfrom skelmm_core import drawing\nfrom skelmm_core.experiment import Experiment\n"
    'exp = Experiment("sample", "run", smoke=True, epochs=4000, modalities="joint,motion,bone", precision="32-true")',
    "with drawing.live(exp, 2):\n    exp.pretrain()",
    'print("all of it was trained")',
)


def done(folder: Path) -> int:
    """Steps in the checkpoint."""
    (last,) = folder.glob("run/stages/*/last.pt")
    saved = checkpoints.load(last)
    return saved["epoch"] * 1000 + (0 if saved["steps"] is None else len(saved["steps"]))


def test_curves_follow_and_the_button_stops_and_keeps(lab, open_page, pictures):  # noqa: F811
    folder, address = lab
    nbformat.write(book(CELLS), folder / "live.ipynb")
    page = open_page(address("live.ipynb"), offline=False, console=False, viewport={"width": 1300, "height": 1300})
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=60_000)
    page.get_by_text("| Idle").wait_for(timeout=60_000)
    page.locator(".lm-MenuBar-itemLabel", has_text="Run").click()
    page.get_by_text("Run All Cells", exact=True).click()

    button, curves, status = (
        page.get_by_role("button", name="stop and keep"),
        page.get_by_alt_text("training curves"),
        page.get_by_role("status"),
    )
    curves.first.wait_for(timeout=90_000)
    first = curves.first.get_attribute("src")
    told = status.filter(has_text="epoch").first.text_content()
    assert re.search(r"epoch \d+ of 4000, loss \d+\.\d+, \d+ clips/s, about .* left", told), told
    page.wait_for_function("first => document.querySelector('img[alt=\"training curves\"]').src != first", arg=first, timeout=60_000)
    assert page.locator(".jp-OutputArea-output td", has_text="bone").count() == 1
    page.screenshot(path=pictures / "live.png")
    button.click()
    page.get_by_text("Stopped and kept.").wait_for(timeout=30_000)
    assert "Traceback" not in page.locator(".jp-Notebook").text_content()
    assert page.get_by_text("all of it was trained", exact=True).count() == 0, "cells below wait"
    assert button.count() == 0 and curves.count() == 0
    page.screenshot(path=pictures / "live_stopped.png")
    steps = done(folder)
    assert steps > 0

    page.locator(".jp-CodeCell .jp-InputArea-editor").nth(2).click()
    page.keyboard.press("Control+Enter")  # again: it goes on
    curves.first.wait_for(timeout=60_000)
    button.click()
    page.wait_for_function(
        "document.querySelectorAll('.jp-OutputArea-output').length && !document.querySelector('img[alt=\"training curves\"]')"
    )
    page.get_by_text("Stopped and kept.").wait_for(timeout=30_000)
    assert done(folder) > steps
    page.keyboard.press("Control+s")
    page.wait_for_timeout(2000)

    (stage,) = folder.glob("run/stages/*")
    epochs = [record["epoch"] for record in watching.read(stage)]
    assert epochs == sorted(set(epochs)) and len(epochs) >= 2
    saved = nbformat.read(folder / "live.ipynb", 4)
    kinds = [kind for output in saved.cells[2].outputs for kind in output.get("data", {})]
    assert "image/png" in kinds and "application/vnd.jupyter.widget-view+json" not in kinds
    assert (folder / "live.ipynb").stat().st_size < 600_000
