"""Screenshots beside small pictures of what they looked like when somebody looked at them (`tests/pictures`).

Compared loosely: both are shrunk until letters are grey, so that another font or browser passes, and a part that is missing, in another
place or of another colour does not. `make browser ARGS=--new-pictures` takes them anew, after a run without failures; look at
them before they are committed.
"""

from pathlib import Path

import numpy as np
from PIL import Image

KEPT = Path(__file__).parent / "pictures"
COMPARED = (  # of pages that stand still and hold no figure of a run
    "two_clips", "panels_7_1100", "six_modalities_360", "orbit_and_zoom", "map_highlight", "map_distance", "map_lasso", "map_360", "clips",
    "clips_first",
)  # fmt: skip
WIDE = 96  # pixels of a small picture, of 1100 or so of the page
MEAN = 6.0  # levels of 255 that the pixels may differ on average
FAR, SHARE = 48, 0.03  # this share of the pixels may differ by more than so many levels


def small(shot: Path, size: tuple[int, int] | None = None) -> Image.Image:
    """A screenshot, shrunk to a size, by default `WIDE` pixels of width."""
    with Image.open(shot) as image:
        return image.convert("RGB").resize(size or (WIDE, round(WIDE * image.height / image.width)), Image.Resampling.BOX)


def difference(shot: Path, kept: Path) -> str:
    """How a screenshot differs from a small picture, in words; "": it looks like it."""
    with Image.open(kept) as image, Image.open(shot) as whole:
        shape, tall, wanted = image.size, whole.height / whole.width, image.height / image.width
        if not 0.85 < tall / wanted < 1.18:
            return f"{tall:.2f} as high as wide, not {wanted:.2f}"
        levels = np.abs(np.asarray(image.convert("RGB"), float) - np.asarray(small(shot, shape), float)).max(2)
    mean, far = levels.mean(), (levels > FAR).mean()
    return "" if mean <= MEAN and far <= SHARE else f"{mean:.1f} levels apart on average, {100 * far:.0f} % of it by more than {FAR}"


def looked_at(shot: Path, anew: bool) -> None:
    """Fails where a screenshot doesn't look like the picture of its name; anew: becomes that picture instead."""
    kept = KEPT / shot.name
    if anew:
        KEPT.mkdir(exist_ok=True)
        small(shot).quantize(64).save(kept, optimize=True)
    wrong = difference(shot, kept)
    assert not wrong, f"{shot} does not look like {kept}: {wrong}. Look at both; if it is right, make browser ARGS=--new-pictures"
