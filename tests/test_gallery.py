"""What a visitor sees first: pictures made by one command, small, whole, and there where the README names them; what notebooks cost."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image
from test_drawing import clip

from skelmm_core import cli
from skelmm_core.drawing import palette
from skelmm_core.drawing.moving import save_moving
from skelmm_core.errors import SettingsError

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "notebooks" / "images"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
CLIPS = {"moving.gif", "film_strip.png", "modality_strip.png"}
MADE = CLIPS | {"map.png", "training_curves.png", "confusion.png"}
PAGES = {"player.png", "linked.png", "report.png"}  # that a browser shows
LARGEST = 500_000  # bytes of a picture


def frames(path: Path) -> list[np.ndarray]:
    with Image.open(path) as gif:
        found = []
        for number in range(gif.n_frames):
            gif.seek(number)
            found.append(np.asarray(gif.convert("RGB")))
    return found


def milliseconds(path: Path) -> list[int]:
    with Image.open(path) as gif:
        found = []
        for number in range(gif.n_frames):
            gif.seek(number)
            found.append(gif.info["duration"])
    return found


def whole(path: Path) -> None:
    assert 3000 < path.stat().st_size < LARGEST, path
    with Image.open(path) as picture:
        picture.load()
        assert picture.width >= 400 and picture.height >= 150, path
        edge = np.asarray(picture.convert("RGB"))
    if path.name not in PAGES:  # a page may be longer than its picture
        for side in (edge[0], edge[-1], edge[:, 0], edge[:, -1]):
            assert (side > 240).all(), f"{path.name} is cut off"


def test_one_command_makes_all_pictures(tmp_path, capsys):
    cli.main(["gallery", "--out", str(tmp_path / "pictures"), "--run", str(tmp_path / "run"), "--smoke", "--device", "cpu"])
    made = {Path(line).name: Path(line) for line in capsys.readouterr().out.splitlines()}
    assert MADE <= set(made) <= MADE | PAGES, "pages need a Chromium"
    for path in made.values():
        whole(path)
    assert len(frames(made["moving.gif"])) > 5


def test_a_gif_moves_in_real_time_in_the_colours_of_its_modalities(tmp_path):
    moving = clip()  # (1, T, 25, 3)
    rate, length = 30.0, moving.shape[1]
    path = save_moving(tmp_path / "a" / "wave.gif", moving, "ntu25", frame_rate=rate, title="wave")
    pictures, times = frames(path), milliseconds(path)
    assert sum(times) / 1000 == pytest.approx(length / rate, abs=1.2) and len(pictures) <= 30
    assert all((a != b).any() for a, b in zip(pictures, pictures[1:], strict=False)), "every frame differs from the one before"
    for name, colour in palette.MODALITY.items():
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        near = np.abs(pictures[0].astype(int) - rgb).max(axis=-1) < 40
        assert near.sum() > 30, f"{name} is seen in its colour"
    with Image.open(path) as gif:
        assert gif.info["loop"] == 0


def test_a_gif_of_one_who_stands_still_stands_still_and_upright(tmp_path):
    still = np.repeat(clip()[:, :1], 20, axis=1)
    path = save_moving(tmp_path / "still.gif", still, "ntu25", names=["joint"], title="")
    first, *rest = (picture[40:-20] for picture in frames(path))  # without the clock on top
    assert all((picture == first).all() for picture in rest)
    rows, columns = np.nonzero(np.abs(first.astype(int) - [0x00, 0x72, 0xB2]).max(axis=-1) < 60)
    assert np.ptp(rows) > 1.5 * np.ptp(columns), "who stands is taller than wide"


def test_a_gif_says_what_it_cannot_show(tmp_path):
    with pytest.raises(SettingsError, match="ends in .gif"):
        save_moving(tmp_path / "x.png", clip(), "ntu25")
    with pytest.raises(SettingsError, match="joints in an image"):
        save_moving(tmp_path / "x.gif", np.ones((1, 4, 17, 3)), "coco17")


def test_pictures_of_readme_and_gallery_are_there_and_small():
    shown = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert shown and all(words for words, _ in shown), "each with words for who can't see it"
    for _, name in shown:
        whole(ROOT / name)
    kept = {path.name for path in IMAGES.iterdir()}
    assert CLIPS <= kept <= MADE | PAGES, "by the names that the command gives them"
    for path in IMAGES.iterdir():
        whole(path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_says_its_cost_on_top_folds_and_ends_with_something_to_try(path):
    cells = nbformat.read(path, 4).cells
    (cost,) = re.findall(r"\*\*Cost\.\*\* (.*?)(?:\n\n|$)", cells[0].source, re.S)
    assert re.search(r"\b(seconds|minutes?)\b.*\btwo CPU\s+cores", cost, re.S), "how long on what"
    headings = [re.match(r"(#+) ", cell.source) for cell in cells if cell.cell_type == "markdown"]
    levels = [len(found[1]) for found in headings if found]
    assert levels[0] == 1 and levels.count(2) >= 4 and set(levels) <= {1, 2, 3}, "sections that JupyterLab folds"
    last = cells[-1]
    assert last.cell_type == "markdown" and last.source.startswith("## Try this") and last.source.count("\n- ") >= 3
