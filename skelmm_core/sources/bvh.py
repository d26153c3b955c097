"""BVH motion capture: a folder, zip or tar of `.bvh` files, one clip each, brought to joints of a skeleton by forward kinematics.

Files of different hierarchies may lie together as long as every joint of the target skeleton is found in each (see `bvh_names`).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from skelmm_core.errors import DataError, SettingsError
from skelmm_core.recordings import Recording, Source
from skelmm_core.skeletons import Skeleton
from skelmm_core.sources import bvh_names, bvh_text, members
from skelmm_core.sources.parts import numbered

HOLDS = "BVH motion capture: .bvh files in a folder, zip or tar"
UNITS = {"m": (1.0, 1.1, 3.3), "cm": (0.01, 130, 330), "inches": (0.0254, 43, 130)}  # metres, and people's longest ways along bones
FIELDS = ("label", "subject", "view", "setup", "repetition")
LONGEST = 200  # characters of a name that a pattern is tried on
PATIENCE = 10.0  # seconds for all names; a million take about one


def recognise(path: Path) -> bool:
    """Whether `path` is, or holds, a `.bvh` file."""
    return members.holds(path, ".bvh", lambda stem: True)


def read(
    path: Path, map: str | Path = "", label: str = "folder", pattern: str = "", units: str = "", up: str = "y", fps: float = 0.0,
    protocol: str = "",
) -> Source:  # fmt: skip
    """The clips of all `.bvh` files, in the order of their names.

    Args:
        map: TOML file that says which BVH joints are the joints of which skeleton (`bvh_names.table`); without it ntu25, by names in use.
        label: ``"folder"``: a clip's class is the name of the folder that its file lies in; ``"name"``: what `pattern` says.
        pattern: regular expression for a file's name without its ending, with groups named like columns, e.g.
            ``(?P<subject>\\d+)_(?P<label>[a-z]+)``; of label, subject, view, setup, repetition. Names are numbered alphabetically from 1.
        units: m, cm or inches; without it told, file by file, from the longest way along the bones from one end of the body to another.
        up: axis that points up, y or z.
        fps: frames per second of the clips; 0: the first file's. Others are brought to it by linear interpolation of joints.
        protocol: the default train/test split.
    """
    if units not in ("", *UNITS) or up not in ("y", "z") or label not in ("folder", "name"):
        raise SettingsError(
            f"expected units={'|'.join(UNITS)}, up=y|z and label=folder|name; found units={units!r}, up={up!r}, label={label!r}"
        )
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 <= fps <= 10_000:
        raise SettingsError(f"fps must be frames per second between 0 and 10000, found {fps!r}")
    found = members.members(path, ".bvh")
    if not found:
        raise DataError(f"'{path}' holds no .bvh file")
    target, table = bvh_names.table(map)
    first, where = _first(found)
    facts, classes = _facts(found, path, label, pattern)
    table = {j: tuple(a) for j, a in table.items()}
    unit = units or unit_of(first, bvh_names.weights(first.names, target, table, where), target, where)
    rate = float(fps) or round(first.rate, 3)
    way = Way(target, table, units, up, rate)
    return Source(
        title=f"{Path(path).stem} (BVH in {unit})",
        skeleton=target,
        class_names=classes,
        frame_rate=rate,
        protocol=str(protocol),
        fingerprint=members.fingerprint(found, "bvh", facts, sorted(way.table.items()), target.to_dict(), units, up, rate),
        items=[Item(member, fact) for member, fact in zip(found, facts, strict=True)],
        read=partial(_recording, way, pattern),
    )


@dataclass(frozen=True)
class Way:
    """From a hierarchy to a skeleton: which joints, the unit ("": told from each file), the axis that points up, frames per second."""

    target: Skeleton
    table: bvh_names.Table
    units: str
    up: str
    rate: float


@dataclass(frozen=True)
class Item:
    """A file, and its numbers in the order of `FIELDS`; None: its name is not as the pattern says."""

    member: members.Member
    numbers: tuple[int, ...] | None

    @property
    def stem(self) -> str:
        return self.member.path[: -len(".bvh")]


def _recording(way: Way, pattern: str, item: Item) -> Recording:
    if item.numbers is None:
        long = f", which is tried on names of at most {LONGEST} characters" if len(item.member.stem) > LONGEST else ""
        raise DataError(f"'{item.member.path}' does not fit the pattern '{pattern}'{long}; rename or remove it, or mend the pattern")
    motion = bvh_text.parse(item.member.read(), item.member.path)
    weights = bvh_names.weights(motion.names, way.target, way.table, item.member.path)
    unit = way.units or unit_of(motion, weights, way.target, item.member.path)
    joints = np.einsum("vj,tjc->tvc", weights, motion.positions()) * UNITS[unit][0]  # (T, V, 3)
    if way.up == "z":
        joints = joints[..., [0, 2, 1]] * (1, 1, -1)
    changes = {}
    if abs(motion.rate / way.rate - 1) > 1e-3:
        changes[f"frames at another rate than {way.rate:g} Hz, interpolated"] = len(joints)
        joints = at_rate(joints, motion.rate, way.rate)
    return Recording(joints[None].astype(np.float32), item.numbers[0], item.stem, *item.numbers[1:], changes=changes)


def at_rate(joints: np.ndarray, rate: float, wanted: float) -> np.ndarray:
    """Joints (T, V, 3) at `rate` frames per second, interpolated linearly at `wanted` over the same time."""
    count = int((len(joints) - 1) / rate * wanted + 0.02) + 1  # frame times are written with few digits
    place = np.minimum(np.arange(count) * (rate / wanted), len(joints) - 1)
    low = place.astype(int)
    share = (place - low)[:, None, None]
    return np.asarray(joints[low] * (1 - share) + joints[np.minimum(low + 1, len(joints) - 1)] * share)


def _first(found: list[members.Member]) -> tuple[bvh_text.Bvh, str]:
    """The first file that can be read; where none can, the error of the first."""
    problems = []
    for member in found:
        try:
            return bvh_text.parse(member.read(), member.path), member.path
        except DataError as problem:
            problems.append(problem)
    raise problems[0]


def unit_of(motion: bvh_text.Bvh, weights: np.ndarray, target: Skeleton, where: str) -> str:
    """The unit in which the longest way along the bones, say from a hand to a foot, has a person's length; no pose changes it."""
    rest = weights @ motion.rest()  # (V, 3)
    ways = np.full((len(target), len(target)), np.inf)
    np.fill_diagonal(ways, 0)
    for one, other in target.edges:
        ways[one, other] = ways[other, one] = np.linalg.norm(rest[one] - rest[other])
    for middle in range(len(target)):  # Floyd and Warshall's shortest ways; in a tree there is only one
        ways = np.minimum(ways, ways[:, middle, None] + ways[middle])
    longest = ways[np.isfinite(ways)].max()
    for unit, (_, low, high) in UNITS.items():
        if low <= longest <= high:
            return unit
    raise DataError(
        f"'{where}': from one end of the body to another it is {longest:.3g}, no person's size in {', '.join(UNITS)}; say -p units="
    )


def _facts(found: list[members.Member], path: Path, label: str, pattern: str) -> tuple[list[tuple[int, ...] | None], tuple[str, ...]]:
    """Numbers of every file in the order of `FIELDS`, None of one that the pattern doesn't fit; and the names of the classes."""
    matched = _matched(found, pattern, label)
    words = [(member, known) for member, known in zip(found, matched, strict=True) if known is not None]
    if label == "folder":
        for member, known in words:
            known["label"] = PurePosixPath(member.path).parent.name or Path(path).stem
    classes = tuple(sorted({known["label"] for _, known in words}))
    columns = [[classes.index(known["label"]) for _, known in words]]
    columns += [numbered([known.get(field) for _, known in words]) for field in FIELDS[1:]]
    numbers = zip(*columns, strict=True)
    return [None if known is None else next(numbers) for known in matched], classes


def _matched(found: list[members.Member], pattern: str, label: str) -> list[dict[str, str] | None]:
    """What the groups of `pattern` say of every file, None of one that it doesn't fit."""
    if not pattern:
        if label == "name":
            raise SettingsError("label=name needs a pattern with a group for the label, such as pattern='(?P<label>[a-z]+)_.*'")
        return [{} for _ in found]
    try:
        groups = re.compile(pattern).groupindex
    except (re.error, OverflowError, RecursionError) as problem:
        raise SettingsError(f"pattern '{pattern}' is no regular expression that can be used ({problem})") from problem
    unknown = sorted(set(groups) - set(FIELDS))
    if unknown or (label == "name" and "label" not in groups):
        raise SettingsError(
            f"pattern '{pattern}' must name its groups after {', '.join(FIELDS)}, with label where label=name; found {unknown}"
        )
    matches = _matches(pattern, [member.stem[: LONGEST + 1] for member in found])
    matches = [groups if len(member.stem) <= LONGEST else None for member, groups in zip(found, matches, strict=True)]
    if not any(groups is not None for groups in matches):
        raise DataError(f"'{found[0].path}' does not fit the pattern '{pattern}', nor does any other file; mend the pattern")
    return [None if groups is None else {name: word for name, word in groups.items() if word is not None} for groups in matches]


_MATCH = """
import faulthandler, json, re, sys
pattern, names, patience = json.load(sys.stdin)
faulthandler.dump_traceback_later(2 * patience, exit=True)  # if nobody is left to end this process
json.dump([found and found.groupdict() for found in map(re.compile(pattern).fullmatch, names)], sys.stdout)
"""


def _matches(pattern: str, names: list[str]) -> list[dict[str, str | None] | None]:
    """The named groups of the match of each name, None where it doesn't match; tried in a process of its own, since nothing else on every
    system can stop a match that tries for ages. Raises `SettingsError` where it takes longer than `PATIENCE`."""
    asked = json.dumps([pattern, names, PATIENCE])
    try:
        done = subprocess.run([sys.executable, "-I", "-S", "-c", _MATCH], input=asked, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired as problem:
        raise SettingsError(
            f"pattern '{pattern}' was not through with the names of {len(names)} files after {PATIENCE:g} s; repeats inside of repeats, as "
            "in '(a+)+', try for ages on some names: write it without them"
        ) from problem
    if done.returncode:
        raise SettingsError(f"pattern '{pattern}' could not be tried: {done.stderr.strip()[-200:]}")
    spoken: list[dict[str, str | None] | None] = json.loads(done.stdout)
    return spoken
