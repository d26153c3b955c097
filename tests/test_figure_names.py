"""Names come from data: every figure draws classes, clips, models and titles that look like broken formulas or markup, as they are."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil

import matplotlib as mpl
import numpy as np
import pytest

from skelmm_core import audit, clips, drawing
from skelmm_core.drawing import audit as report
from skelmm_core.drawing.canvas import Picture
from skelmm_core.drawing.moving import save_moving
from skelmm_core.drawing.skeleton import skeleton_figure
from skelmm_core.evaluation.damage import KINDS
from skelmm_core.evaluation.paired import Paired
from skelmm_core.recordings import Recording, Source, as_given
from skelmm_core.skeletons import NTU25

NAMES = (r"$\frac{$ <b>x</b>", "a_b^{", "100 %", " ", r"\$5$ & #1~\\", "$")
TITLE = " ".join(NAMES)
ODD = dataclasses.replace(NTU25, name=NAMES[0], joints=(*NAMES, *NTU25.joints[len(NAMES) :]))
JOINTS = np.random.default_rng(0).normal(size=(1, 12, 25, 3)).astype(np.float32)
POINTS, NUMBERS = np.random.default_rng(0).normal(size=(24, 2)), np.arange(24) % len(NAMES)
PAIRED = Paired(3, 1.0, 0.5, 0.2, 1.8, 0.1, 0.2, 0.3)
LOG = [{"epoch": e, "lr": 0.1, "loss": 3.0, **{f"loss/{name}": 7.0 - e for name in NAMES}} for e in (1, 2)]
CURVE = {kind: {0.0: [50.0, 60.0], KINDS[kind].levels[0]: [40.0, 42.0]} for kind in list(KINDS)[:2]}
EACH = dict.fromkeys(NAMES, 50.0)

FIGURES = {
    "accuracy_bars": lambda _: [drawing.accuracy_bars({n: EACH for n in NAMES}, {NAMES[0]: 40.0, NAMES[1]: EACH}, TITLE, TITLE)],
    "confusion_matrix": lambda _: [drawing.confusion_matrix(np.arange(36).reshape(6, 6), NAMES, title=TITLE)],
    "training_curves": lambda _: [drawing.training_curves(LOG, {NAMES[0]: 5.0}, {NAMES[0]: 1}, TITLE)],
    "damage_curves": lambda _: [drawing.damage_curves(dict.fromkeys(NAMES, CURVE), TITLE, TITLE)],
    "map_panels": lambda _: [
        drawing.map_panels(maps, {"class": NUMBERS, "subject": NUMBERS}, NAMES, title=TITLE)
        for maps in ({NAMES[0]: POINTS}, dict.fromkeys(NAMES, POINTS))
    ],
    "dots": lambda _: [
        drawing.dots({n: {m: [1.0, 2.0] for m in NAMES} for n in NAMES}, TITLE, TITLE, {NAMES[0]: 1.5}, {NAMES[1]: {n: n for n in NAMES}})
    ],
    "subset_matrix": lambda _: [drawing.subset_matrix({("joint",): [50.0], ("joint", "bone"): [60.0]}, {"joint": [1.0], "bone": [2.0]},
                                                      title=TITLE)],
    "differences": lambda _: [drawing.differences(dict.fromkeys(NAMES, PAIRED), TITLE, TITLE)],
    "stick_figure": lambda _: [
        drawing.stick_figure(JOINTS, NTU25, title=TITLE),
        drawing.stick_figure(JOINTS, dataclasses.replace(NTU25, dimensions=2), title=TITLE),
    ],
    "film_strip": lambda _: [drawing.film_strip(JOINTS, ODD, title=TITLE), drawing.film_strip(JOINTS, ODD, modality="bone", title=TITLE)],
    "modality_strip": lambda _: [drawing.modality_strip(JOINTS, ODD, title=TITLE)],
    "class_sheet": lambda data: [drawing.class_sheet(data, range(6))],
    "skeleton_figure": lambda _: [skeleton_figure(ODD), skeleton_figure(NTU25, title=TITLE)],
    "class_bars": lambda data: [report.class_bars(audit.audit(data))],
    "length_histogram": lambda data: [report.length_histogram(audit.audit(data))],
    "bone_bars": lambda data: [report.bone_bars(audit.audit(data))],
    "confidence_bars": lambda data: [
        report.confidence_bars(dataclasses.replace(audit.audit(data), confidence={n: audit.Spread(3, 0.1, 0.5, 0.9) for n in NAMES}))
    ],
    "height_dots": lambda data: [report.height_dots(dataclasses.replace(audit.audit(data), dimensions=2, unit=TITLE))],
    "split_balance": lambda data: [report.split_balance(audit.audit(data))],
    "count_matrix": lambda _: [report.count_matrix(NUMBERS, NUMBERS % 3, NAMES[0], NAMES[1])],
}  # fmt: skip


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> clips.Clips:
    """Clips whose classes, names, skeleton and title are all of that kind."""
    path = tmp_path_factory.mktemp("odd") / "odd.clips"
    rng = np.random.default_rng(0)
    items = [
        Recording(rng.normal(size=(1, 5 + i % 4, 25, 3)).astype("f4"), i % len(NAMES), f"{NAMES[i % len(NAMES)]}{i}", i // 6 + 1, i % 2)
        for i in range(24)
    ]
    clips.write(path, Source(TITLE, ODD, NAMES, 30.0, "odd-even-subjects", "0" * 64, items, as_given), progress=False)
    return clips.open_clips(path)


def test_every_function_that_gives_a_figure_is_here():
    found = set()
    for module in pkgutil.iter_modules(drawing.__path__):
        for name, function in inspect.getmembers(importlib.import_module(f"skelmm_core.drawing.{module.name}"), inspect.isfunction):
            if not name.startswith("_") and inspect.signature(function).return_annotation == "Picture":
                found.add(name)
    assert found - {"picture"} == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("own", [{}, {"text.usetex": True, "axes.formatter.use_mathtext": True}], ids=["", "another matplotlibrc"])
def test_a_figure_draws_names_that_look_like_formulas(odd, name, own, tmp_path):
    with mpl.rc_context(own):
        figures = FIGURES[name](odd)
    for number, figure in enumerate(figures):
        assert isinstance(figure, Picture)
        path = drawing.save(figure, tmp_path / f"{name}{number}.png")
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_moving_picture_draws_a_title_that_looks_like_a_formula(tmp_path):
    path = save_moving(tmp_path / "clip.gif", JOINTS, NTU25, ["joint"], title=TITLE, most=2)
    assert path.read_bytes()[:3] == b"GIF"


def test_names_are_shown_as_they_are(odd, tmp_path):
    """Nothing is escaped, where no formula is looked for: a backslash would show."""
    pictures = {
        drawing.film_strip(JOINTS, NTU25, title="$5 or $6"): lambda f: [f.get_suptitle()],
        drawing.confusion_matrix(np.eye(6), NAMES): lambda f: [text.get_text() for text in f.axes[0].get_yticklabels()],
        drawing.class_sheet(odd, range(6)): lambda f: [axes.get_title(loc="left").partition(": clip")[0] for axes in f.axes],
        report.class_bars(audit.audit(odd)): lambda f: [text.get_text() for text in f.axes[0].get_yticklabels()],
    }
    wanted = [["$5 or $6"], list(NAMES), list(NAMES), list(NAMES)]
    for (figure, read), expected in zip(pictures.items(), wanted, strict=True):
        assert read(figure) == expected
        assert not any(text.get_parse_math() for text in figure.findobj(mpl.text.Text) if "$" in text.get_text())
