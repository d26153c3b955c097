"""What the loose comparison of screenshots lets pass, and what it does not."""

import re
from pathlib import Path

import pytest
import screenshots
from PIL import Image, ImageChops, ImageDraw


def page(words: str = "loss by epoch, 12 of 40", card: int = 500, tone: str = "#0072b2", height: int = 800) -> Image.Image:
    image = Image.new("RGB", (1100, height), "white")
    pen = ImageDraw.Draw(image)
    pen.rectangle((40, 60, 1060, 60 + card), fill="#fafafa", outline="#888", width=2)
    pen.ellipse((300, 150, 700, 450), fill=tone)
    for line in range(6):
        pen.text((60, 600 + 20 * line), words * 4, fill="black")
    return image


def worded(tmp_path, first: Image.Image, second: Image.Image) -> str:
    shot, kept = tmp_path / "shot.png", tmp_path / "kept.png"
    second.save(shot)
    screenshots.small(shot).quantize(64).save(kept)
    first.save(shot)
    return screenshots.difference(shot, kept)


def test_another_font_size_or_a_pixel_aside_passes(tmp_path):
    assert worded(tmp_path, page(), page()) == ""
    assert worded(tmp_path, ImageChops.offset(page(), 2, 2), page()) == ""
    assert worded(tmp_path, page("Loss per epoch: 12 / 40"), page()) == ""
    assert worded(tmp_path, page(height=830), page()) == ""


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Image.new("RGB", (1100, 800), "white"), "levels apart"), (page(tone="#d55e00"), "levels apart"),
        (page(tone="#fafafa"), "levels apart"), (ImageChops.offset(page(), 120, 0), "levels apart"),
        (ImageChops.invert(page()), "levels apart"), (page(height=1300), "as high as wide"),
    ],
    ids=["blank", "colour", "missing", "moved", "dark", "longer"],
)  # fmt: skip
def test_what_is_missing_moved_or_of_another_colour_does_not(tmp_path, other, words):
    assert words in worded(tmp_path, other, page())


def test_a_picture_is_taken_anew_when_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(screenshots, "KEPT", tmp_path / "kept")
    shot = tmp_path / "a.png"
    page().save(shot)
    screenshots.looked_at(shot, anew=True)
    screenshots.looked_at(shot, anew=False)
    Image.new("RGB", (1100, 800)).save(shot)
    with pytest.raises(AssertionError, match=r"does not look like .*a\.png"):
        screenshots.looked_at(shot, anew=False)


def test_every_compared_page_has_a_picture_and_they_are_small():
    kept = {path.stem: path.stat().st_size for path in screenshots.KEPT.glob("*.png")}
    assert set(kept) == set(screenshots.COMPARED) and max(kept.values()) < 12_000
    taken = re.findall(
        r'pictures / f?"(\w[^"]*)\.png"', "".join(path.read_text() for path in Path(__file__).parent.glob("test_browser*.py"))
    )
    patterns = [re.sub(r"\{\w+\}", r"\\w+", name) for name in taken]
    for name in screenshots.COMPARED:
        assert any(re.fullmatch(pattern, name) for pattern in patterns), f"no test takes {name}.png"
