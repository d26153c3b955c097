"""The grid as a table: a row says which stage is measured, and what differs in its settings from the recipe at hand.

Rows of several groups may be the same cell (the teacher is in two of them): it is trained and measured once. A new row is one line here.
"""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from skelmm_core import modalities
from skelmm_core.errors import SettingsError, nearest
from skelmm_core.settings import EXCHANGES, Distill

GROUPS = ("exchange", "modalities", "distillation", "switches")
BASE = ("joint", "motion", "bone")  # the three that earlier methods have
ADDED = ("acceleration", "rotation_axis", "angular_velocity")
LOSSES = ("info_nce", "seed", "cmd", "kd", "rkd", "sp", "pkt", "crd", "cosine", "fitnet")  # beside the relational one
ONE_STUDENT = "+".join(BASE)  # a single student of nine channels
PUBLISHED = {"teacher_mode": "train", "slipped_queue": True}  # of stage 3
DESCRIBED = {"teacher_mode": "eval", "slipped_queue": False}

# Where published code and description part: setting -> (described, published), each with its words, and whether the teacher differs, too.
SWITCHES: dict[str, tuple[tuple[Any, str], tuple[Any, str], bool]] = {
    "slipped_queue": ((False, "own queue"), (True, "slipped queue"), False),
    "keys": (("all", "all keys follow"), ("published", "three keys locked"), True),
    "copy_key": ((True, "keys start as copies"), (False, "keys start at random"), True),
    "teacher_mode": (("eval", "teacher in eval mode"), ("train", "teacher in train mode"), False),
    "fresh_augmentation": ((True, "fresh augmentation"), (False, "repeated augmentation"), True),
    "unit_axis": ((True, "axis of unit length"), (False, "raw cross product"), True),
}

# For the notebook: a part of the grid at sizes with which three seeds take minutes.
SHORT: dict[str, Any] = dict(epochs=3, student_epochs=2, hidden=8, probe_epochs=30)
SHORT_NAMES = {
    "exchange": ("none, 3", "ekem+ikem, 3", "none, 6", "ekem+ikem, 6", "ekem+ikem, 6, locked"),
    "modalities": ("untrained", "each alone", "with exchange"),
    "distillation": ("none", "relational, described", "kd", "cosine", "teacher"),
    "switches": ("recipe", "slipped_queue", "keys", "teacher_mode", "recipe, teacher", "keys, teacher"),
}  # fmt: skip


class Entry(NamedTuple):
    """A row: `stage` is untrained, exchange or distill; `changes` to settings of the recipe; `streams` of untrained encoders."""

    group: str
    name: str
    stage: str
    changes: dict[str, Any]
    streams: tuple[str, ...] = ()


def entries(recipe: Distill, groups: Iterable[str] = GROUPS, short: bool = False) -> list[Entry]:
    """The rows of some groups around a recipe, in the order of the table; `short`: only those of `SHORT_NAMES`.

    Raises `SettingsError` for an unknown group, and for a recipe that lacks one of the six modalities.
    """
    groups = list(groups)
    for group in groups:
        if group not in GROUPS:
            raise SettingsError(f"unknown group '{group}' of the ablation{nearest(group, GROUPS)}; expected {', '.join(GROUPS)}")
    if set(recipe.names) != set(modalities.NAMES):
        raise SettingsError(f"the ablation compares all six modalities, found modalities={recipe.modalities}; leave that setting out")
    made = {"exchange": _exchange, "modalities": _modalities, "distillation": _distillation, "switches": _switches}
    found = [entry for group in GROUPS if group in groups for entry in made[group](recipe)]
    return [e for e in found if not short or e.name in SHORT_NAMES[e.group]]


def named(rows: Iterable[Entry], wanted: Sequence[str]) -> list[Entry]:
    """The rows whose names are among those wanted, or match one with ``*`` or ``?`` in it; none wanted: all.

    Raises `SettingsError` for one that no row has.
    """
    rows = list(rows)
    names = list(dict.fromkeys(e.name for e in rows))
    for pattern in wanted:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            raise SettingsError(f"no row '{pattern}'{nearest(pattern, names)}; expected some of: {'; '.join(names)}")
    return [e for e in rows if not wanted or any(fnmatch.fnmatchcase(e.name, pattern) for pattern in wanted)]


def _exchange(recipe: Distill) -> list[Entry]:
    """Every exchange, with three and six modalities, with all key encoders updated in stage 2 and with those of the published run only."""
    rows = [Entry("exchange", f"untrained, {len(names)}", "untrained", {}, names) for names in (BASE, recipe.names)]
    for keys, names, how in itertools.product(("all", "published"), (BASE, recipe.names), EXCHANGES):
        name = f"{how}, {len(names)}" + (", locked" if keys == "published" else "")
        rows.append(Entry("exchange", name, "exchange", {"exchange": how, "keys": keys} | _only(names, recipe)))
    return rows


def _modalities(recipe: Distill) -> list[Entry]:
    """Models all of whose subsets are fused (see `subsets`), and models that were trained with a subset from stage 2 on."""
    teacher = {"exchange": recipe.exchange, "keys": recipe.keys}
    rows = [
        Entry("modalities", "untrained", "untrained", {}, recipe.names),
        Entry("modalities", "each alone", "exchange", teacher | {"exchange": "none"}),
        Entry("modalities", "with exchange", "exchange", teacher),
    ]
    trained = [BASE[:1], BASE, *((*BASE, name) for name in ADDED)]
    for names in trained:
        how = teacher if len(names) > 1 else teacher | {"exchange": "none"}
        rows.append(Entry("modalities", f"trained: {','.join(names)}", "exchange", how | _only(names, recipe)))
    return rows


def _distillation(recipe: Distill) -> list[Entry]:
    """Every loss of stage 3 by the described recipe; beside them the teacher, and the same modalities without a teacher."""
    seen = recipe.students
    rows = [
        Entry("distillation", "untrained", "untrained", {}, recipe.student_names),
        Entry("distillation", "none", "exchange", {"exchange": recipe.exchange, "keys": recipe.keys} | _only(_parts(recipe), recipe)),
        Entry("distillation", "relational, described", "distill", DESCRIBED | {"distillation": "relational", "students": seen}),
        Entry("distillation", "relational, published", "distill", PUBLISHED | {"distillation": "relational", "students": seen}),
    ]
    rows += [Entry("distillation", loss, "distill", DESCRIBED | {"distillation": loss, "students": seen}) for loss in LOSSES]
    one = DESCRIBED | {"students": ONE_STUDENT}
    rows.append(Entry("distillation", "relational, one student", "distill", one | {"distillation": "relational"}))
    rows.append(Entry("distillation", "info_nce, one student", "distill", one | {"distillation": "info_nce"}))
    return [*rows, Entry("distillation", "teacher", "exchange", {"exchange": recipe.exchange, "keys": recipe.keys})]


def _switches(recipe: Distill) -> list[Entry]:
    """Each switch turned to what it is not in the recipe, the others left: the student, and the teacher where that differs."""
    teacher = {"exchange": recipe.exchange}
    rows = [Entry("switches", "recipe", "distill", {}), Entry("switches", "recipe, teacher", "exchange", teacher)]
    for name, (described, published, whole) in SWITCHES.items():
        other = published[0] if getattr(recipe, name) == described[0] else described[0]
        rows.append(Entry("switches", name, "distill", {name: other}))
        if whole:
            rows.append(Entry("switches", f"{name}, teacher", "exchange", teacher | {name: other}))
    return rows


def _only(names: tuple[str, ...], recipe: Distill) -> dict[str, str]:
    return {} if set(names) == set(recipe.names) else {"modalities": ",".join(names)}


def _parts(recipe: Distill) -> tuple[str, ...]:
    return tuple(modalities.parts_of(recipe.student_names))


def words(name: str, value: Any) -> str:
    """What a switch set to a value means, in words."""
    described, published, _ = SWITCHES[name]
    return described[1] if value == described[0] else published[1]
