"""Figures, widgets and the player: functions that take data and return what a notebook shows. The only place that imports matplotlib and
plotly."""

from skelmm_core.drawing.ablation import differences, dots, subset_matrix
from skelmm_core.drawing.bars import accuracy_bars
from skelmm_core.drawing.canvas import save
from skelmm_core.drawing.confusion import confusion_matrix
from skelmm_core.drawing.curves import training_curves
from skelmm_core.drawing.damage import damage_curves
from skelmm_core.drawing.explore_clips import Browser, browse
from skelmm_core.drawing.explorer import check_choice, explore
from skelmm_core.drawing.lines import lines
from skelmm_core.drawing.linked import LinkedMap, linked_map
from skelmm_core.drawing.live import Live, live
from skelmm_core.drawing.maps import map_panels, map_space
from skelmm_core.drawing.palette import style
from skelmm_core.drawing.player import Player, show
from skelmm_core.drawing.sheet import class_sheet
from skelmm_core.drawing.stick import stick_figure
from skelmm_core.drawing.strip import film_strip, modality_strip

__all__ = [
    "Browser", "LinkedMap", "Live", "Player", "accuracy_bars", "browse", "check_choice", "class_sheet", "confusion_matrix",
    "damage_curves", "differences", "dots", "explore", "film_strip", "lines", "linked_map", "live", "map_panels", "map_space",
    "modality_strip", "save", "show", "stick_figure", "style", "subset_matrix", "training_curves",
]  # fmt: skip
