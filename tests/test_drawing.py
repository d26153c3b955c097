"""Figures: their structure, units, names, sizes and colours, on both skeletons with one and two bodies."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from nbclient import NotebookClient

from skelmm_core import drawing, modalities, skeletons
from skelmm_core.drawing import explorer, palette, scene
from skelmm_core.drawing.canvas import Picture
from skelmm_core.drawing.strip import pick
from skelmm_core.errors import DataError, SettingsError

KINECT20 = {  # a person of 1.6 m who faces the camera 3 m away: left at smaller x
    "hip centre": (0, -0.1), "spine": (0, 0.05), "shoulder centre": (0, 0.4), "head": (0, 0.6),
    "left shoulder": (-0.18, 0.35), "left elbow": (-0.25, 0.1), "left wrist": (-0.27, -0.12), "left hand": (-0.28, -0.2),
    "left hip": (-0.1, -0.15), "left knee": (-0.1, -0.55), "left ankle": (-0.1, -0.95), "left foot": (-0.12, -1.0),
}  # fmt: skip


def clip(skeleton: str = "ntu25", bodies: int = 1, frames: int = 60) -> np.ndarray:
    """(M, T, V, 3): walks towards the camera and waves the right arm; the second body comes half way through."""
    kinect = skeletons.KINECT20
    flat = dict(KINECT20)
    flat |= {name.replace("left", "right"): (-x, y) for name, (x, y) in KINECT20.items() if "left" in name}
    rest = np.array([(*flat[name], 3.0) for name in kinect.joints])
    time = np.arange(frames)[:, None] / 30
    walk = np.repeat(rest[None], frames, axis=0)
    walk[:, :, 2] -= 0.3 * time
    arm = [kinect.joints.index(f"right {part}") for part in ("wrist", "hand")]
    walk[:, arm, 0] += 0.2 * np.sin(6 * time)
    walk[:, arm, 1] += 0.5
    walk = np.einsum("wv,tvc->twc", skeletons.mapping(kinect, skeletons.get(skeleton)), walk)
    joints = np.stack([walk + [0.9 * number, 0, 0] for number in range(bodies)]).astype(np.float32)
    joints[1:, : frames // 2] = 0
    return joints


def render(figure) -> None:
    """Lay the figure out and draw it, so that extents are those of the picture."""
    FigureCanvasAgg(figure).draw()


# --- colours --------------------------------------------------------------------------------------------------------

MACHADO = {  # Machado, Oliveira, Fernandes 2009, severity 1.0, on linear RGB
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def lab(colour: str, eye: str) -> np.ndarray:
    """CIE Lab (D65) of a colour as that eye sees it."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    linear = np.clip(np.array(MACHADO[eye]) @ linear, 0, 1)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(matrix @ linear / matrix.sum(axis=1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eye", MACHADO)
@pytest.mark.parametrize("colours", [list(palette.MODALITY.values()), palette.CLASS_COLOURS, [palette.LEFT, palette.RIGHT, palette.MIDDLE]])
def test_colours_are_told_apart_by_colour_blind_eyes(colours, eye):
    seen = [lab(c, eye) for c in colours]
    nearest = min(np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i])
    assert nearest > 8  # 2.3 is the just noticeable difference


def test_modalities_have_the_agreed_colours():
    assert tuple(palette.MODALITY) == modalities.NAMES
    assert palette.modality_colour("joint") == "#0072B2" and palette.modality_colour("student") == "#882255"
    with pytest.raises(SettingsError, match="did you mean 'bone'"):
        palette.modality_colour("bones")


def test_120_classes_differ_in_colour_or_marker():
    assert len({palette.class_style(n)[:2] for n in range(120)}) == 120
    assert len({palette.class_style(n)[::2] for n in range(120)}) == 120
    assert palette.class_style(-1)[0] == palette.UNKNOWN


def test_style_leaves_the_global_settings_alone():
    before = dict(plt.rcParams)
    with drawing.style():
        assert plt.rcParams["figure.dpi"] == 110
    drawing.film_strip(clip(), "ntu25")
    assert dict(plt.rcParams) == before
    assert plt.get_fignums() == []


# --- from a clip to points ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("skeleton", skeletons.SKELETONS.values(), ids=lambda s: s.name)
def test_chains_cover_every_limb_once(skeleton):
    steps = [tuple(pair) for path in scene.chains(skeleton) for pair in zip(path[1:], path[:-1], strict=True)]
    assert sorted(steps) == sorted((v, p) for v, p in enumerate(skeleton.bone) if v != p)


def test_views_keep_left_and_right():
    joints = clip("kinect20")[0, 0]
    left, right = scene.seen_from(joints, 0)[[4, 8], 0]
    assert left > right  # who faces us has their left hand on our right
    turned = scene.seen_from(np.array([[0.0, 0, 2], [0, 0, 3]]), 30)[:, 0]
    assert turned[0] - turned[1] == pytest.approx(-0.5)  # seen from the camera's right, what is nearer to the camera lies to the left
    frame = scene.upright(np.eye(3))
    assert np.linalg.det(frame) == pytest.approx(1)  # no mirror image
    assert frame[1].tolist() == [0, 0, 1]  # y is up


def test_arrows_are_the_modalities_with_a_scale():
    joints, skeleton = clip().astype(float), skeletons.NTU25
    bone = scene.vectors(joints, skeleton, "bone")
    others = [v for v in range(25) if v != skeleton.centre]
    np.testing.assert_allclose(bone.head[:, :, others], joints[:, :, others], atol=1e-12)
    assert np.linalg.norm(bone.head - bone.tail, axis=-1)[..., skeleton.centre] == pytest.approx(scene.ARROW)
    motion = scene.vectors(joints, skeleton, "motion")
    relative = joints - joints[:, :, [skeleton.centre]]
    np.testing.assert_allclose((motion.head - motion.tail)[:, :-1], np.diff(relative, axis=1) * motion.metres, atol=1e-9)
    assert motion.reference * motion.metres == pytest.approx(scene.ARROW)
    assert motion.unit == "m/frame"
    assert not motion.size[:, -1].any()


@pytest.mark.parametrize(("top", "value"), [(0.034, 0.02), (0.5, 0.5), (9.9, 5), (1.0, 1.0), (0.0, 1.0)])
def test_scale_bars_have_round_values(top, value):
    assert scene.round_value(np.array([top])) == pytest.approx(value)


def test_no_arrow_where_a_body_leaves_or_comes():
    joints = scene.bodies(clip(bodies=2)[:, ::-1].copy(), "ntu25")  # the second body leaves
    for name in ("motion", "acceleration", "angular_velocity"):
        size = scene.vectors(joints, "ntu25", name).size
        assert np.nanmax(size[1]) <= np.nanmax(size[0]) * 1.001
        assert np.isnan(size[1, 31:]).all()


@pytest.mark.parametrize("value", [1e30, -2e6, np.inf])
def test_a_clip_absurdly_far_is_refused_before_anything_is_drawn(value):
    joints = clip()
    joints[0, 3, 7, 1] = value
    words = re.escape(f"y of joint 7 (left hand) at {value:.3g} in frame 3, body 0; expected metres within 1e+06")
    for draw in (drawing.show, drawing.stick_figure, drawing.film_strip):
        with pytest.raises(DataError, match=words):
            draw(joints, "ntu25")


def test_the_floor_is_under_the_feet():
    assert scene.floor(clip().astype(float)) == pytest.approx(-1.0, abs=1e-6)


# --- matplotlib figures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("skeleton", "bodies"), [("ntu25", 1), ("ntu25", 2), ("kinect20", 1), ("kinect20", 2)])
def test_stick_figure_stands_upright_on_equal_axes(skeleton, bodies):
    figure = drawing.stick_figure(clip(skeleton, bodies), skeleton, frame=-1, title="wave")
    (axes,) = figure.axes
    ranges = np.array([np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim()), np.ptp(axes.get_zlim())])
    np.testing.assert_allclose(axes._box_aspect / axes._box_aspect[0], ranges / ranges[0])  # a metre is as long on all axes
    assert axes.get_zlim()[0] <= -1.0 and axes.get_zlim()[1] >= 0.6  # y of the feet and the head
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_zlabel()) == ("z, depth (m)", "x (m)", "y, up (m)")
    assert axes.elev < 30 and axes.roll == 0
    (ground,) = [line for line in axes.lines if line.get_label() == "_ground"]
    np.testing.assert_allclose(ground.get_data_3d()[2], -1.0, atol=1e-6)
    drawn = {line.get_color() for line in axes.lines if line.get_label() in ("_left", "_right")}
    assert len(drawn) == 2 * bodies
    assert len(figure.legends[0].get_texts()) == 2 * bodies


@pytest.mark.parametrize(
    ("skeleton", "bodies", "modality"), [("ntu25", 1, None), ("kinect20", 2, None), ("kinect20", 1, "motion"), ("ntu25", 2, "bone")]
)
def test_film_strip(skeleton, bodies, modality):
    figure = drawing.film_strip(clip(skeleton, bodies), skeleton, frames=6, modality=modality, title="wave")
    (axes,) = figure.axes
    assert axes.get_aspect() == 1  # equal: heights and widths in the same metres
    last = 59 if modality is None or modality == "bone" else 57
    expected = [f"{frame / 30:.2f} s" for frame in np.round(np.linspace(0, last, 6)).astype(int)]
    assert [text.get_text() for text in axes.get_xticklabels()] == expected
    assert figure.get_supylabel() == "height (m)"
    assert axes.get_ylim()[0] < 0 < 1.6 < axes.get_ylim()[1]
    render(figure)
    edge = figure.bbox
    for text in [*axes.texts, *axes.get_xticklabels()]:
        box = text.get_window_extent()
        assert edge.x0 <= box.x0 and box.x1 <= edge.x1, f"'{text.get_text()}' leaves the figure"


def test_film_strip_draws_each_body_where_it_is():
    figure = drawing.film_strip(clip("kinect20", 2), "kinect20", frames=4)
    limbs = [c for c in figure.axes[0].collections if type(c).__name__ == "LineCollection"]
    assert len(limbs) == 1 + 1 + 2 + 2  # the second body is there from the middle on
    places = [segment[:, 0].mean() for c in limbs[:2] for segment in [np.concatenate(c.get_segments())]]
    assert places[1] > places[0] + 0.5  # side by side, not over each other


def test_modality_strip_has_a_row_and_a_unit_for_each():
    figure = drawing.modality_strip(clip(bodies=2), "ntu25", frames=3)
    assert len(figure.axes) == 6
    for axes, name in zip(figure.axes, modalities.NAMES, strict=True):
        words = [text.get_text() for text in axes.texts]
        assert words[0] == palette.label(name)
        assert words[1] == "length 1" if name == "rotation_axis" else words[1].endswith(modalities.UNITS[name])
        (bar,) = [line for line in axes.lines if line.get_label() == "_scale"]
        assert bar.get_color() == palette.modality_colour(name)
        assert np.ptp(bar.get_xdata()) * np.ptp(axes.get_xlim()) == pytest.approx(scene.ARROW)  # as long as such an arrow


def test_short_and_empty_clips_are_drawn():
    assert pick(1, 6).tolist() == [0] and pick(2, 6, ending=2).tolist() == [0]
    assert len(drawing.modality_strip(clip(frames=1), "ntu25").axes[0].get_xticks()) == 1
    render(drawing.film_strip(np.zeros((2, 5, 25, 3), np.float32), "ntu25"))


def test_a_clip_of_another_skeleton_is_an_error():
    with pytest.raises(DataError, match="has 20 joints, the clip has 25"):
        drawing.film_strip(clip(), "kinect20")
    with pytest.raises(DataError, match="must be"):
        drawing.stick_figure(np.zeros((5, 25, 3)), "ntu25")


def test_save_makes_folders_and_writes_png(tmp_path):
    figure = drawing.stick_figure(clip(), "ntu25")
    path = drawing.save(figure, tmp_path / "a" / "b" / "stick.png")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert isinstance(figure, Picture) and figure._repr_png_()[:4] == b"\x89PNG"
    with pytest.raises(SettingsError, match=".png"):
        drawing.save(figure, tmp_path / "stick.jpg")


# --- explorer -------------------------------------------------------------------------------------------------------


def few_clips():
    class Few(list):
        labels, subjects, class_names = np.array([0, 1, 1]), np.array([3, -1, 2]), ("wave", "hug")
        skeleton, frame_rate = skeletons.NTU25, 30.0

    return Few(SimpleNamespace(joints=clip(bodies=bodies)) for bodies in (1, 2, 2))


def test_explorer_draws_what_is_chosen():
    front = drawing.explore(few_clips(), clip=1, modality="bone", body="second")
    assert [text for text, _ in front.clip.options] == ["0: wave, subject 3", "1: hug", "2: hug, subject 2"]
    assert front.player.title == "1: hug" and front.player.panels == ["bone"] and front.player.shots[0].numbers == [1]
    front.modality.value = "all"
    assert front.player.panels == list(modalities.NAMES)
    front.clip.value = 0  # one body only: "second" can't stay
    assert front.body.value == "both" and "second" not in front.body.options
    front.other.value = 2
    assert front.player.title == "0: wave, subject 3 | 2: hug, subject 2" and len(front.player.data["clips"]) == 2
    (shown,) = front.output.outputs
    json.dumps(shown)  # as it goes to the browser
    assert shown["data"] == front.player._repr_mimebundle_()


def test_the_list_of_a_large_file_holds_every_class():
    labels = np.repeat(np.arange(60), 100)
    chosen = explorer.shortlist(labels, 120, always=5999)
    assert len(chosen) == 121 and chosen[-1] == 5999
    assert set(np.bincount(labels[chosen[:-1]])) == {2}
    assert explorer.shortlist(np.array([1, 0]), 200) == [0, 1]


def test_a_headless_notebook_with_the_explorer_ends():
    cell = "from tests.test_drawing import few_clips\nfrom skelmm_core import drawing\nfront = drawing.explore(few_clips())\nfront"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    root = str(Path(__file__).parents[1])
    client = NotebookClient(notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": root}})
    client.execute()
    saved = json.dumps(client.nb)
    assert "widget-view" in saved and "data-skelmm" in saved  # a reader without a kernel still sees the player
    assert len(saved) < 200_000


# --- curves, bars, confusion, maps ----------------------------------------------------------------------------------


def rows(count: int = 8) -> list[dict]:
    return [
        {
            "epoch": e,
            "lr": 0.1 / e,
            "loss": 3.0,
            "loss/joint": 7 - e / 4,
            "loss/bone": 7 - e / 2,
            "positive/joint": e / 9,
            "negative/joint": 0,
        }
        for e in range(1, count + 1)
    ]


def test_training_curves_show_the_log():
    figure = drawing.training_curves(rows(), references={"log(1 + K)": np.log(1025)}, marks={"exchange": 5})
    loss, positive, negative, lr = figure.axes
    lines = {line.get_label(): line for line in loss.lines}
    np.testing.assert_allclose(lines["joint"].get_ydata(), [7 - e / 4 for e in range(1, 9)])
    np.testing.assert_allclose(lines["bone"].get_xdata(), range(1, 9))
    assert lines["bone"].get_color() == palette.MODALITY["bone"]
    np.testing.assert_allclose(lines["_reference"].get_ydata(), np.log(1025))
    assert "log(1 + K) = 6.93" in [text.get_text() for text in loss.texts]
    assert loss.get_ylabel() == "loss (nats)" and "positives" in positive.get_ylabel() and "negatives" in negative.get_ylabel()
    np.testing.assert_allclose(lr.lines[0].get_ydata(), [0.1 / e for e in range(1, 9)])
    assert lr.get_xlabel() == "epoch"


def test_training_curves_take_columns_and_gaps():
    table = {"epoch": [1, 2, 3], "loss/joint": ["7.0", "", "6.5"]}  # as read from a CSV file
    (line,) = drawing.training_curves(table).axes[0].lines
    np.testing.assert_allclose(line.get_ydata(), [7, np.nan, 6.5])
    with pytest.raises(DataError, match="loss/<modality>"):
        drawing.training_curves([{"epoch": 1, "loss": 2.0}])
    with pytest.raises(DataError, match="found the columns"):
        drawing.training_curves([])


def test_accuracy_bars():
    results = {"joint": [60.0, 70.0], "rotation_axis": 50.0}
    figure = drawing.accuracy_bars(results, {"raw 1-NN": 82.3, "untrained": {"joint": 47.4, "rotation_axis": 30.0}})
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [65, 50]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["joint", "rotation axis"]
    assert [text.get_text() for text in axes.texts] == ["65.0 ± 7.1", "50.0"]  # one standard deviation of a sample of two
    (error,) = [line for line in axes.lines if line.get_label() == "_error"]
    np.testing.assert_allclose(error.get_xdata(), 65 + np.array([-1, 1]) * 50**0.5)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["raw 1-NN 82.3", "untrained"]
    assert "%" in axes.get_xlabel()


@pytest.mark.parametrize("value, tick", [(35.3, 44.8), (60.0, 60.5), ((30.0, 36.0), 40.0)])
def test_a_value_before_a_tick_stands_inside_its_bar(value, tick):
    figure = drawing.accuracy_bars({"joint": value}, {"untrained": {"joint": tick}})
    render(figure)
    (axes,) = figure.axes
    (text,), (bar,) = axes.texts, axes.patches
    box = text.get_window_extent()
    assert bar.get_window_extent().x0 < box.x0 and box.x1 < bar.get_window_extent().x1


def test_a_value_stays_at_the_end_of_its_bar_and_before_a_tick():
    figure = drawing.accuracy_bars({"joint": 70.0, "bone": 3.0}, {"untrained": {"joint": 50.0, "bone": 9.0}})
    render(figure)
    (axes,) = figure.axes
    for text, bar in zip(axes.texts, axes.patches, strict=True):
        assert 0 < text.get_window_extent().x0 - bar.get_window_extent().x1 < 20
    (ticks,) = [line for line in axes.lines if line.get_label() == "untrained"]
    assert all(text.get_zorder() > ticks.get_zorder() for text in axes.texts)


def test_bars_side_by_side():
    figure = drawing.accuracy_bars({"linear probe": {"joint": 60, "bone": 70}, "kNN": {"joint": 50, "bone": 55}})
    bars = figure.axes[0].patches
    assert [bar.get_width() for bar in bars] == [60, 70, 50, 55]
    assert bars[0].get_y() < bars[2].get_y() < bars[1].get_y() < bars[3].get_y()
    assert bars[0].get_y() + bars[0].get_height() <= bars[2].get_y() + 1e-9
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["linear probe", "kNN"]
    with pytest.raises(DataError, match="'joint' must be percent"):
        drawing.accuracy_bars({"joint": 130})
    with pytest.raises(DataError, match="at least one result"):
        drawing.accuracy_bars({})


def test_confusion_matrix_is_row_normalised_and_named():
    matrix = np.array([[8, 2, 0], [1, 3, 0], [0, 0, 0]])
    figure = drawing.confusion_matrix(matrix, ["wave", "clap", "jump"], pairs=5)
    table = figure.axes[0]
    listed = figure.subfigs[1].axes[0]
    np.testing.assert_allclose(table.images[0].get_array(), [[80, 20, 0], [25, 75, 0], [0, 0, 0]])
    assert [text.get_text() for text in table.get_yticklabels()] == ["wave", "clap", "jump"]
    assert sorted(text.get_text() for text in table.texts) == ["20", "25", "75", "80"]
    assert (table.get_xlabel(), table.get_ylabel()) == ("predicted class", "true class")
    assert {text.get_text() for text in listed.texts} == {"wave → clap", "clap → wave", "20 %, 2 clips", "25 %, 1 clip"}
    perfect = drawing.confusion_matrix(np.eye(2, dtype=int), ["a", "b"])
    assert not any("→" in text.get_text() for axes in perfect.axes for text in axes.texts)
    with pytest.raises(DataError, match="3 names"):
        drawing.confusion_matrix(np.eye(2), ["a", "b", "c"])


def test_map_panels_have_every_point_and_a_legend_outside():
    random = np.random.default_rng(0)
    points = {name: random.normal(size=(90, 2)) for name in ("joint", "bone", "fused")}
    numbers = np.arange(90) % 30
    figure = drawing.map_panels(points, {"class": numbers, "view": np.arange(90) % 4 - 1}, [f"action {i}" for i in range(30)], columns=2)
    assert [axes.get_title() for axes in figure.axes] == ["joint", "bone", "fused", ""] * 2
    for axes, name in zip(figure.axes[:3], points, strict=True):
        drawn = np.concatenate([group.get_offsets() for group in axes.collections])
        assert sorted(map(tuple, drawn)) == sorted(map(tuple, points[name]))
    classes, views = (part.legends[0] for band in figure.subfigs for part in band.subfigs if part.legends)
    assert [text.get_text() for text in classes.get_texts()] == [f"action {i}" for i in range(30)]
    assert [text.get_text() for text in views.get_texts()] == ["view unknown", "view 0", "view 1", "view 2"]
    render(figure)
    assert classes.get_window_extent().x0 > max(axes.get_window_extent().x1 for axes in figure.axes[:4] if axes.axison)
    assert classes.get_window_extent().x1 <= figure.bbox.x1 + 1 and classes.get_window_extent().height <= figure.subfigs[0].bbox.height


@pytest.mark.parametrize(("classes", "rows", "below"), [(17, 2, False), (60, 2, False), (120, 2, True)])
def test_maps_of_many_classes_fit_a_notebook(classes, rows, below):
    random = np.random.default_rng(0)
    columns = {"class": np.arange(240) % classes, "subject": np.arange(240) % 10, "view": np.arange(240) % 3}
    figure = drawing.map_panels({"teacher": random.normal(size=(240, 2))}, columns, [f"class with a long name {i}" for i in range(classes)])
    assert figure.get_figwidth() <= 11.5 and len(figure.subfigs) == rows
    legend, axes = figure.subfigs[0].subfigs[0].legends[0], figure.axes[0]
    render(figure)
    box, panel = legend.get_window_extent(), axes.get_window_extent()
    assert (box.y1 < panel.y0) if below else (box.x0 > panel.x1)
    assert panel.width > 0.3 * figure.bbox.width and box.x1 <= figure.bbox.x1 + 1
    assert [a.get_title() for a in figure.axes if a.axison] == ["teacher, by class", "teacher, by subject", "teacher, by view"]
    edges = [band.subfigs[0].axes[0].get_window_extent().x0 for band in figure.subfigs]
    assert np.ptp(edges) < 40 or below, "rows begin under each other"


def test_numbers_of_bars_have_a_ground_that_hides_lines():
    figure = drawing.accuracy_bars(
        {"linear": {"teacher": 40.0, "student": 41.0}, "kNN": {"teacher": 30.0, "student": 44.0}}, {"raw 1-NN": 46.0}
    )
    (axes,) = figure.axes
    numbers = [text for text in axes.texts if text.get_text()[0].isdigit()]
    (line,) = (line for line in axes.lines if line.get_linestyle() == "--")
    assert len(numbers) == 4
    for number in numbers:
        ground = number.get_bbox_patch()
        assert (
            ground.get_alpha() in (None, 1) and ground.get_facecolor() == figure.get_facecolor() and number.get_zorder() > line.get_zorder()
        )


def test_what_is_no_map_is_told():
    points, kinds = np.zeros((3, 2)), {"class": np.array([0, 1, 1])}
    lost = np.array([[0, 1], [np.nan, 0], [np.inf, 2]])
    for draw, place in ((drawing.map_panels, {"fused": lost}), (drawing.map_space, np.pad(lost, ((0, 0), (0, 1))))):
        with pytest.raises(DataError, match=r"has 2 of 3 points that are nowhere, first number 1: \[nan"):
            draw(place, kinds)
    for numbers in (np.array([0.5, 1, 2]), ["a", "b", "c"]):
        with pytest.raises(DataError, match="the colouring 'view' must be whole numbers, -1 where unknown; found"):
            drawing.map_panels({"fused": points}, {"view": numbers})
    for columns in (0, 1.5, True):
        with pytest.raises(SettingsError, match="columns must be 1 panel or more, a whole number; found"):
            drawing.map_panels({"fused": points}, kinds, columns=columns)


FLAT, SPACE, KINDS = np.zeros((3, 2)), np.zeros((3, 3)), {"class": np.arange(3)}


@pytest.mark.parametrize(
    ("draw", "given", "error", "message"),
    [
        (drawing.map_panels, (FLAT, KINDS), SettingsError, r"maps must be .* points, by name; found an array of float64, shape"),
        (drawing.map_panels, ({"a": FLAT}, np.arange(3)), SettingsError, "colourings must be .* by name; found an array of"),
        (drawing.map_panels, ("x", KINDS), SettingsError, "maps must be .* found 'x'$"),
        (drawing.map_panels, ({"a": "x"}, KINDS), DataError, r"map 'a' must be \(N, 2\) numbers; found 'x'$"),
        (drawing.map_panels, ({"a": [[1], [2, 3]]}, KINDS), DataError, r"map 'a' must be \(N, 2\) numbers; found a list$"),
        (drawing.map_panels, ({"a": FLAT[:0]}, {"class": []}), DataError, r"with at least one point; found \(0, 2\)$"),
        (drawing.map_panels, ({1: FLAT}, KINDS), SettingsError, "found the key 1, which is no word$"),
        (drawing.map_panels, ({"a": FLAT}, KINDS, 5), SettingsError, "class_names must be names of the classes by number; found 5$"),
        (drawing.map_space, (SPACE, KINDS, (), ["one"]), SettingsError, "names must be one for each point; found 1, expected 3$"),
        (drawing.map_space, (SPACE, np.arange(3)), SettingsError, "colourings must be .* by name; found an array"),
        (drawing.map_space, (SPACE, {"class": ["a", "b", "c"]}), DataError, "the colouring 'class' must be whole numbers"),
        (drawing.map_space, ("x", KINDS), DataError, r"map 'map' must be \(N, 3\) numbers; found 'x'$"),
        (drawing.map_space, (SPACE, KINDS, 3), SettingsError, "class_names must be names of the classes by number; found 3$"),
    ],
)  # fmt: skip
def test_what_a_map_cannot_be_drawn_from_is_told(draw, given, error, message):
    with pytest.raises(error, match=message):
        draw(*given)


def test_no_value_of_a_map_covers_the_others():
    points, views = np.random.default_rng(0).normal(size=(600, 2)).round(3), np.repeat([1, 2, 3], 200)
    view = {tuple(point): number for point, number in zip(points.astype(np.float32), views, strict=True)}
    (axes,) = drawing.map_panels({"joint": points}, {"view": views}).axes
    drawn = np.concatenate([group.get_offsets() for group in axes.collections])
    order = [view[tuple(point)] for point in drawn.astype(np.float32)]
    assert len(order) == 600 and min(np.bincount(order[-200:], minlength=4)[1:]) > 40, "of the last third drawn"


def test_map_space_tells_class_subject_and_name():
    points = np.array([[0.0, 1, 6], [2, 3, 7], [4, 5, 8]])
    colourings = {"class": np.array([30, 0, 30]), "subject": np.array([4, 5, -1])}
    figure = drawing.map_space(points, colourings, ["wave", *["clap"] * 30], ["a.mat", "b.mat", "c.mat"])
    assert [trace.name for trace in figure.data] == ["wave", "clap"] and figure.layout.scene.aspectmode == "data"
    clap = figure.data[1]
    assert dict(zip(clap.text, clap.x, strict=True)) == {"clap<br>subject 4<br>a.mat": 0, "clap<br>subject unknown<br>c.mat": 4}
    assert list(clap.y) == [1, 5] and list(clap.z) == [6, 8] and clap.marker.symbol == "diamond"
    assert clap.marker.size >= 5, "circles and squares are told apart"
    layout = drawing.map_space(points, colourings, axes="PC").layout
    assert [axis.title.text for axis in (layout.scene.xaxis, layout.scene.yaxis, layout.scene.zaxis)] == ["PC 1", "PC 2", "PC 3"]
    assert layout.legend.orientation == "h" and layout.legend.yanchor == "top", "below, also on a narrow page"
    assert drawing.map_space(points, {"subject": np.array([4, 5, 5])}, colour="subject").data[0].name.startswith("subject ")
    with pytest.raises(DataError, match="3 points, the colouring 'class' 2"):
        drawing.map_space(points, {"class": np.array([0, 1])})
    with pytest.raises(DataError, match="no colouring 'view'"):
        drawing.map_space(points, {"class": np.array([0, 1, 1])}, colour="view")
    with pytest.raises(DataError, match=r"must be \(N, 3\)"):
        drawing.map_space(points[:, :2], colourings)


@pytest.mark.parametrize("count", [27, 60, 72])
def test_classes_differ_in_space(count):
    figure = drawing.map_space(np.zeros((count, 3)), {"class": np.arange(count)})
    looks = {(trace.marker.color, trace.marker.symbol) for trace in figure.data}
    assert len(figure.data) == len(looks) == count and {colour for colour, _ in looks} == set(palette.CLASS_COLOURS)


def test_the_core_never_imports_drawing_libraries():
    core = "errors skeletons clips protocols batches modalities encoder losses queues settings checkpoints".split()
    code = f"import sys, {', '.join(f'skelmm_core.{name}' for name in core)}\n"
    code += "print([m for m in ('matplotlib', 'plotly', 'ipywidgets') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_dollars_in_a_title_are_dollars(tmp_path):
    """A class may be named like broken mathematics, which matplotlib would refuse to set."""
    figure = drawing.film_strip(np.random.default_rng(0).normal(size=(1, 20, 25, 3)), "ntu25", title="$x^{$")
    figure.savefig(tmp_path / "strip.png")
