"""Colours, markers and text sizes: one table each, so that a modality or a class looks the same in every figure.

Modalities use the palette of Okabe & Ito (2008), classes the "muted" palette of Paul Tol (2021) crossed with marker
shapes: both can be told apart with every common form of colour blindness.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl

from skelmm_core.errors import SettingsError, nearest

DPI = 110  # of figures in a notebook and of saved PNG files

MODALITY = {
    "joint": "#0072B2", "motion": "#D55E00", "bone": "#009E73",
    "acceleration": "#E69F00", "rotation_axis": "#CC79A7", "angular_velocity": "#56B4E9",
}  # fmt: skip
OTHERS = {"fused": "#333333", "teacher": "#333333", "student": "#882255"}
UNKNOWN = "#BBBBBB"  # subject, view or class of number -1

LEFT, RIGHT, MIDDLE = "#0072B2", "#D55E00", "#333333"
BODIES = ({"left": LEFT, "right": RIGHT, "middle": MIDDLE}, {"left": "#56B4E9", "right": "#E69F00", "middle": "#888888"})
FAINT = ({"left": "#808080", "right": "#BDBDBD", "middle": "#A0A0A0"},) * 2  # limbs that stand behind arrows
GROUND = "#8C8C8C"
CELL = "#F4F4F4"  # behind each frame of a film strip

CLASS_COLOURS = ("#332288", "#CC6677", "#44AA99", "#882255", "#88CCEE", "#117733", "#DDCC77", "#AA4499", "#999933")
VIEW_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333")
MARKERS = (  # (matplotlib, plotly)
    ("o", "circle"), ("s", "square"), ("^", "triangle-up"), ("D", "diamond"), ("v", "triangle-down"), ("P", "cross"), ("X", "x"),
    ("*", "star"), ("<", "triangle-left"), (">", "triangle-right"), ("p", "pentagon"), ("h", "hexagon"), ("d", "diamond-tall"),
    ("8", "octagon"),
)  # fmt: skip


def modality_colour(name: str) -> str:
    """Colour of a modality, of `fused`, `teacher` or `student`; an unknown name raises `SettingsError`."""
    colours = MODALITY | OTHERS
    if name not in colours:
        raise SettingsError(f"no colour for '{name}'{nearest(name, colours)}")
    return colours[name]


def series_colour(name: str, number: int) -> str:
    """Colour of a modality, else of series `number` of a figure."""
    named = MODALITY | OTHERS
    free = [colour for colour in CLASS_COLOURS if colour not in named.values()]
    return named.get(name) or free[number % len(free)]


def label(name: str) -> str:
    """The name as a reader sees it: `rotation_axis` -> "rotation axis"."""
    return name.replace("_", " ").replace("+", " + ")


def class_style(number: int) -> tuple[str, str, str]:
    """(colour, matplotlib marker, plotly symbol) of class `number`; 9 colours x 14 markers, so 126 classes differ; -1 is grey."""
    if number < 0:
        return UNKNOWN, *MARKERS[0]
    shape = MARKERS[number // len(CLASS_COLOURS) % len(MARKERS)]
    return CLASS_COLOURS[number % len(CLASS_COLOURS)], *shape


def view_style(number: int) -> tuple[str, str, str]:
    """(colour, matplotlib marker, plotly symbol) of camera `number` (1-based in most data sets); -1 is grey."""
    return (UNKNOWN if number < 0 else VIEW_COLOURS[(number - 1) % len(VIEW_COLOURS)], *MARKERS[0])


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib settings of every figure here, for the length of a `with` block; global settings come back afterwards.

    Texts are set as they are: a class may be named `$x^{$`, and none of our figures has a formula.
    """
    settings: dict[Any, Any] = {
        "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 10,
        "axes.titlesize": 11, "axes.labelsize": 10, "xtick.labelsize": 9, "ytick.labelsize": 9,
        "legend.fontsize": 9, "legend.frameon": False, "figure.titlesize": 12,
        "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#555555", "axes.linewidth": 0.8,
        "axes.grid": False, "grid.color": "#DDDDDD", "grid.linewidth": 0.6, "axes.axisbelow": True,
        "text.parse_math": False, "text.usetex": False, "axes.formatter.use_mathtext": False,
        "lines.linewidth": 1.8, "figure.dpi": DPI, "savefig.dpi": DPI, "figure.facecolor": "white", "savefig.facecolor": "white",
    }  # fmt: skip
    with mpl.rc_context(settings):
        yield
