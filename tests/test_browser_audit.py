"""The report of a file in a real browser, the network off: a finding's link leads to the clip that it names, and the clip plays there."""

from __future__ import annotations

import pytest
from test_audit_players import damaged

from skelmm_core import audit
from skelmm_core.audit import page as audit_page

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(("width", "scheme"), [(1100, "light"), (420, "dark")])
def test_a_finding_leads_to_its_clip_which_plays(open_page, pictures, tmp_path, width, scheme):
    clips = damaged(tmp_path)
    path = audit_page.write(tmp_path / "page.html", audit.audit(clips), clips)
    page = open_page(path.as_uri(), viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width and page.locator(".watch img:visible").count() == 0
    for row, place, title in (("frozen", "clip-5", "5: stand"), ("duplicates", "clip-0-24", "0: sit"), ("jumps", "clip-3", "3: stand")):
        page.get_by_role("row").filter(has=page.get_by_role("cell", name=row, exact=True)).get_by_role("link").first.click()
        assert page.evaluate("location.hash") == f"#{place}"
        figure = page.locator(f"#{place}")
        page.wait_for_timeout(200)
        assert -5 <= figure.bounding_box()["y"] < 450, "it is in view"
        canvas, play = figure.locator("canvas"), figure.locator("button.play")
        assert canvas.count() == 1 and canvas.bounding_box()["width"] > 250
        assert figure.get_by_role("group").get_attribute("aria-label").startswith(f"Player: {title}")
        before = canvas.screenshot()
        figure.locator("select[aria-label=speed]").select_option("0.1")
        play.click()
        page.wait_for_timeout(900)
        assert float(figure.locator("output").text_content().split()[0]) > 0 and canvas.screenshot() != before, "the picture changes"
        page.screenshot(path=pictures / f"audit_{place}_{scheme}.png")
    page.screenshot(path=pictures / f"audit_{scheme}.png", full_page=True)
