"""Your own skeleton from a small TOML file:

    name = "mine"
    joints  = ["hips", "chest", "head", "left shoulder", "left hand", "right shoulder", "right hand"]
    parents = ["hips", "hips", "chest", "chest", "left shoulder", "chest", "right shoulder"]  # the root is its own parent

Wherever a joint is meant its number, from 0, does as well as its name. What may be added, and what stands for it otherwise:

| field | meaning | if absent |
|---|---|---|
| dimensions | 3, or 2 for joints in an image with a confidence | 3 |
| pairs | [[left, right], ...] | names that differ in their side only |
| shoulders | [left, right] | the pair with "shoulder" in its names |
| centre | the joint that is put at the origin: the spine at shoulder height | where the ways from the shoulders to the root meet |
| spine | a joint of the trunk below it | the centre's parent |
| edges | [[joint, joint], ...], links of the encoder's graph | the tree |
| axis | per joint, the joint whose bone its rotation axis is crossed with | the parent, seen from the centre |

Maps to and from built-in skeletons go into tables, target = source, with weights or a list (its mean) where several are meant:

    [map.kinect20]                                    [from.ntu25]
    "hip centre" = "hips"                             hips = "base of spine"
    spine = { hips = 0.5, chest = 0.5 }               chest = ["spine at shoulders", "mid spine"]
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skelmm_core import toml_file
from skelmm_core.errors import DataError, nearest
from skelmm_core.skeletons import derived
from skelmm_core.skeletons.maps import SKELETONS
from skelmm_core.skeletons.skeleton import MOST, Skeleton, rooted
from skelmm_core.skeletons.weights import SLACK, Maps, Row

FIELDS = ("name", "joints", "parents", "dimensions", "pairs", "shoulders", "centre", "spine", "edges", "axis", "map", "from")


def read(path: str | Path) -> Skeleton:
    """The skeleton of a TOML file; whatever is wrong with it raises `DataError` naming file and field."""
    table = toml_file.read(path, "skeleton", DataError)
    try:
        return of_table(table)
    except DataError as problem:
        raise DataError(f"'{path}': {problem}") from problem


def of_table(table: Mapping[str, Any]) -> Skeleton:
    """The skeleton of a table of the fields above."""
    for key in table:
        if key not in FIELDS:
            raise DataError(f"unknown field '{key}'{nearest(key, FIELDS)}")
    for key in FIELDS[:3]:
        if key not in table:
            raise DataError(f"lacks the field '{key}'; needed are {', '.join(FIELDS[:3])}")
    if isinstance(table["name"], str) and table["name"] in SKELETONS:
        raise DataError(f"'name': '{table['name']}' is built in; choose another name")
    joints = Joints(table["joints"])
    parents = _parents(joints, table["parents"])
    dimensions = table.get("dimensions", 3)
    if type(dimensions) is not int or dimensions not in (2, 3):
        raise DataError(f"'dimensions' must be 2 or 3, found {_short(dimensions)}")
    pairs = tuple(joints.pair(pair, "pairs") for pair in _list(table, "pairs")) if "pairs" in table else derived.pairs(joints.names)
    shoulders = joints.pair(table["shoulders"], "shoulders") if "shoulders" in table else derived.shoulders(joints.names, pairs)
    if shoulders is None:
        raise DataError("'shoulders' can't be told from the names; give them as shoulders = [left, right]")
    centre = joints.number(table["centre"], "centre") if "centre" in table else derived.centre(shoulders, parents)
    spine = joints.number(table["spine"], "spine") if "spine" in table else derived.spine(centre, parents, dimensions)
    if spine is None:
        raise DataError(f"'spine' can't be told, since the centre, {joints.names[centre]}, is the root; give a joint of the trunk below it")
    bone = rooted(parents, centre)
    return Skeleton(
        name=table["name"],
        joints=joints.names,
        bone=bone,
        axis=_each(joints, table, "axis") if "axis" in table else bone,
        edges=tuple(joints.pair(pair, "edges") for pair in _list(table, "edges"))
        if "edges" in table
        else tuple((v, p) for v, p in enumerate(parents) if v != p),
        centre=centre,
        spine=spine,
        shoulders=shoulders,
        pairs=pairs,
        dimensions=dimensions,
        maps_to=_maps(table, "map", joints, dimensions),
        maps_from=_maps(table, "from", joints, dimensions),
    )


class Joints:
    """Joint names of a skeleton, and references to them by name or number."""

    def __init__(self, names: object, skeleton: str = ""):
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
            raise DataError(f"'joints' must be a list of names, found {_short(names)}")
        if len(names) > MOST:
            raise DataError(f"'joints' has {len(names)} names; at most {MOST} make a skeleton")
        self.names = tuple(names)
        self.of = f" of skeleton '{skeleton}'" if skeleton else ""
        self._number = {name: j for j, name in enumerate(self.names)}

    def number(self, reference: object, field: str) -> int:
        """The number of a joint that a field names."""
        if type(reference) is int:
            if 0 <= reference < len(self.names):
                return reference
            raise DataError(f"'{field}': joint {_short(reference)} is not in 0..{len(self.names) - 1}{self.of}")
        if isinstance(reference, str):
            if reference in self._number:
                return self._number[reference]
            if reference.isdecimal() and len(reference) < 5:  # keys of a TOML table are texts
                return self.number(int(reference), field)
            raise DataError(f"'{field}': there is no joint '{_cut(reference)}'{self.of}{nearest(reference[:100], self.names)}")
        raise DataError(f"'{field}' must name joints or give their numbers, found {_short(reference)}")

    def pair(self, references: object, field: str) -> tuple[int, int]:
        if not isinstance(references, list) or len(references) != 2:
            raise DataError(f'\'{field}\' must have two joints, as in ["left hip", "right hip"], found {_short(references)}')
        return self.number(references[0], field), self.number(references[1], field)


def _list(table: Mapping[str, Any], field: str) -> list[Any]:
    found = table[field]
    if not isinstance(found, list):
        raise DataError(f"'{field}' must be a list, found {_short(found)}")
    return found


def _each(joints: Joints, table: Mapping[str, Any], field: str) -> tuple[int, ...]:
    """One joint for every joint."""
    found = _list(table, field)
    if len(found) != len(joints.names):
        raise DataError(f"'{field}' must have one entry for each of the {len(joints.names)} joints, found {len(found)}")
    return tuple(joints.number(reference, f"{field}, entry {place}") for place, reference in enumerate(found))


def _parents(joints: Joints, found: object) -> tuple[int, ...]:
    """Parents by number; the root, one and only, is its own parent (written so, or as "" or -1). Every joint must hang on it."""
    if isinstance(found, list):
        found = [place if reference in ("", -1) and not isinstance(reference, bool) else reference for place, reference in enumerate(found)]
    parents = _each(joints, {"parents": found}, "parents")
    roots = [joints.names[v] for v, p in enumerate(parents) if v == p]
    if len(roots) != 1:
        raise DataError(f"'parents' must have one root, a joint that is its own parent; found {len(roots)}: {', '.join(roots[:4])}")
    for joint in range(len(parents)):
        seen = {joint}
        while parents[joint] != joint:
            joint = parents[joint]
            if joint in seen:
                raise DataError(f"'parents' goes round in a circle at joint '{joints.names[joint]}'")
            seen.add(joint)
    return parents


def _maps(table: Mapping[str, Any], field: str, joints: Joints, dimensions: int) -> Maps:
    """Maps of the tables ``[map.NAME]`` (own joints to those of NAME) or ``[from.NAME]`` (the other way)."""
    maps = table.get(field, {})
    if not isinstance(maps, dict):
        raise DataError(f"'{field}' must be a table like [{field}.ntu25], found {_short(maps)}")
    found = []
    for name, rows in maps.items():
        where = f"{field}.{name}"
        if name not in SKELETONS:
            raise DataError(f"'{where}': no built-in skeleton '{_cut(name)}'{nearest(name[:100], SKELETONS)}")
        other = SKELETONS[name]
        if other.dimensions != dimensions:
            raise DataError(f"'{where}': '{name}' has {other.dimensions} dimensions, this skeleton {dimensions}")
        if not isinstance(rows, dict):
            raise DataError(f"'{where}' must be a table of target = source, found {_short(rows)}")
        theirs = Joints(other.joints, name)
        target, source = (theirs, joints) if field == "map" else (joints, theirs)
        given = {target.number(joint, where): value for joint, value in rows.items()}
        missing = [target.names[j] for j in range(len(target.names)) if j not in given]
        if missing:
            raise DataError(f"'{where}' lacks {len(missing)} of the {len(target.names)} target joints: {', '.join(missing[:4])}")
        found.append((name, tuple(_row(given[j], source, f"{where}.{target.names[j]}") for j in range(len(target.names)))))
    return tuple(found)


def _row(value: object, source: Joints, where: str) -> Row:
    """A source joint, a list of them or a table of weights, as weights that sum to 1."""
    if isinstance(value, list) and value:
        value = {reference if isinstance(reference, str) else str(reference): 1 / len(value) for reference in value}
    if not isinstance(value, dict):
        return ((source.number(value, where), 1.0),)
    weights: dict[int, float] = {}
    for reference, weight in value.items():
        if type(weight) not in (int, float) or not abs(weight) < 1e6:
            raise DataError(f"'{where}': the weight of '{_cut(reference)}' must be a number, found {_short(weight)}")
        weights[source.number(reference, where)] = float(weight)
    total = math.fsum(weights.values())
    if abs(total - 1) > SLACK:
        raise DataError(f"'{where}': weights must sum to 1, found {total:g}")
    return tuple((joint, weight / total) for joint, weight in sorted(weights.items()))


def _short(value: object) -> str:
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
