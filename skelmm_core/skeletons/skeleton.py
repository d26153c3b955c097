"""A skeleton: joint names and the tables that give modalities, graph and figures their meaning. It is data, not code.

Three tables of joint pairs look alike and are not: `bone` (what a bone vector is subtracted from), `axis` (the bone that a rotation
axis is crossed with) and `edges` (the graph that the encoder sees).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

import numpy as np

from skelmm_core.errors import DataError, nearest
from skelmm_core.skeletons.weights import Maps, check_maps

MOST = 600  # joints; what is larger is no body but a mesh, or a damaged file


@dataclass(frozen=True)
class Skeleton:
    """Joint names and tables of one skeleton; joint numbers are 0-based.

    Attributes:
        name: identifier, e.g. ``"ntu25"``.
        joints: V joint names.
        bone: V joint numbers; bone v is x_v - x_bone[v]. The centre points to itself: its "bone" is the shoulder normal.
        axis: V joint numbers; the rotation axis of joint v is b_v x b_axis[v].
        edges: graph edges (child, parent) of the encoder's adjacency.
        centre: joint that view normalisation puts at the origin (the spine at shoulder height) and that the graph's parts are told by.
        spine: joint that spans, with the shoulders, the plane whose normal stands in for the centre's bone.
        shoulders: (left, right) shoulder joints.
        pairs: (left, right) joint pairs that a mirror image exchanges.
        dimensions: 3; or 2 for joints in an image, whose third number is the detector's confidence.
        maps_to, maps_from: its own maps to and from other skeletons (see `weights`), (name, rows) each; they are carried along, but do
            not make two skeletons differ.
    """

    name: str
    joints: tuple[str, ...]
    bone: tuple[int, ...]
    axis: tuple[int, ...]
    edges: tuple[tuple[int, int], ...]
    centre: int
    spine: int
    shoulders: tuple[int, int]
    pairs: tuple[tuple[int, int], ...]
    dimensions: int = 3
    maps_to: Maps = field(default=(), compare=False)
    maps_from: Maps = field(default=(), compare=False)

    def __post_init__(self) -> None:
        def wrong(what: str) -> DataError:
            return DataError(f"skeleton '{self.name[:100]}': {what}")

        if not isinstance(self.name, str) or not self.name or self.name == "native":
            raise DataError(f"a skeleton's name must be a text of its own and not 'native', found {_short(self.name)}")
        if not isinstance(self.joints, tuple) or not all(isinstance(j, str) and j for j in self.joints):
            raise wrong(f"'joints' must be a list of names, found {_short(self.joints)}")
        for text in (self.name, *self.joints):
            if not text.isprintable() or len(text) > 100:
                raise wrong(f"a name must be printable and of at most 100 characters, found {_short(text)}")
        count = len(self.joints)
        if len(set(self.joints)) < count or count < 4:
            raise wrong(f"'joints' must be at least 4 different names, found {count}, {len(set(self.joints))} of them different")
        if count > MOST:
            raise wrong(f"{count} joints; at most {MOST} make a skeleton")
        shapes = {"bone": (count,), "axis": (count,), "edges": (None, 2), "pairs": (None, 2), "shoulders": (2,), "centre": (), "spine": ()}
        for table, shape in shapes.items():
            value = getattr(self, table)
            if not _has_shape(value, shape):
                what = "pairs of joint numbers" if shape[1:] else "joint numbers"
                wanted = f"{shape[0] or 'any number of'} {what}" if shape else "one joint number"
                raise wrong(f"'{table}' must be {wanted} in 0..{count - 1} (there are {count} joints), found {_short(value)}")
            outside = sorted({j for j in _flat(value) if not 0 <= j < count})
            if outside:
                raise wrong(f"joint numbers {_short(outside)} of '{table}' are not in 0..{count - 1}")
        if type(self.dimensions) is not int or self.dimensions not in (2, 3):
            raise wrong(f"'dimensions' must be 2 or 3, found {_short(self.dimensions)}")
        if self.bone[self.centre] != self.centre:
            raise wrong(f"the centre joint {self.centre} must be its own bone parent")
        if self.shoulders[0] == self.shoulders[1]:
            raise wrong(f"'shoulders' must be two different joints, left and right, found {list(self.shoulders)}")
        twice = [self.joints[j] for j, times in Counter(_flat(self.pairs)).items() if times > 1]
        if twice:
            raise wrong(f"'pairs' must have a joint at most once, found {', '.join(twice[:4])} more often")
        loose = [self.joints[j] for j in (self.hops()[self.centre] < 0).nonzero()[0]]
        if loose:
            raise wrong(f"no path of 'edges' leads from the centre to {', '.join(loose[:4])}")
        check_maps(self.maps_to, "maps_to", self.name, sources=count)
        check_maps(self.maps_from, "maps_from", self.name, targets=count)

    def __len__(self) -> int:
        return len(self.joints)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and strings, ready for JSON; what is as by default goes without saying."""
        default = {f.name: f.default for f in fields(self)}
        return {k: v for k, v in asdict(self).items() if v != default[k]}

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> Skeleton:
        """Inverse of `to_dict`; unknown or missing fields raise `DataError`."""
        if not isinstance(table, dict):
            raise DataError(f"a skeleton must be a table of fields, found {_short(table)}")
        known = [f.name for f in fields(cls)]
        for key in table:
            if key not in known:
                raise DataError(f"skeleton table has an unknown field '{key}'{nearest(key, known)}")
        missing = [f.name for f in fields(cls) if f.name not in table and f.default is MISSING]
        if missing:
            raise DataError(f"skeleton table lacks the fields {missing}")
        return cls(**{k: _tuples(v) for k, v in table.items()})

    def hops(self) -> np.ndarray:
        """Graph distance between joints, (V, V) integers; -1 where there is no path."""
        count = len(self)
        near = np.eye(count, dtype=np.float32)
        for i, j in self.edges:
            near[i, j] = near[j, i] = 1
        distance = np.full((count, count), -1)
        fresh, hop = np.eye(count, dtype=bool), 0
        while fresh.any():
            distance[fresh] = hop
            reached, hop = distance >= 0, hop + 1
            fresh = (reached.astype(np.float32) @ near > 0) & ~reached
        return distance

    def adjacency(self) -> np.ndarray:
        """The three subsets of the encoder's graph, (3, V, V) float32, columns of their sum normalised to 1.

        Entry [k, j, i]: 0 the joint itself, 1 neighbours as far from the centre as i or farther, 2 neighbours nearer
        (spatial partition of ST-GCN, Yan et al. 2018, one hop; the published implementation uses the same).
        """
        distance = self.hops()
        linked = (distance == 0) | (distance == 1)
        weight = linked / linked.sum(axis=0, keepdims=True)  # A D^-1
        outward = distance[:, self.centre]
        farther = outward[:, None] >= outward[None, :]  # [j, i]
        subsets = [distance == 0, (distance == 1) & farther, (distance == 1) & ~farther]
        return np.stack([np.where(s, weight, 0) for s in subsets]).astype(np.float32)

    def paths(self) -> list[list[int]]:
        """For each joint a row of V numbers: 1 at the joints whose bones lead to it, from one that is its own parent (the centre is) to
        itself, both included. Raises `DataError` where bones go round in a circle."""
        rows = []
        for last in range(len(self)):
            row, joint = [0] * len(self), last
            while not row[joint]:
                row[joint], joint = 1, self.bone[joint]
            if self.bone[joint] != joint:
                raise DataError(f"skeleton '{self.name}': the bones that lead to joint {self.joints[last]} go round in a circle")
            rows.append(row)
        return rows

    def regions(self) -> list[list[int]]:
        """Parts of the body, each a list of joints: first those without a side (the trunk and the head), if there are any, then each
        limb, which is what hangs together on one side."""
        side = self.sides()
        left = [joint for joint, name in enumerate(side) if name != "middle"]
        middle = [joint for joint, name in enumerate(side) if name == "middle"]
        found = [middle] if middle else []
        while left:
            limb, fresh = set(), {left[0]}
            while fresh:
                limb |= fresh
                linked = {b for pair in self.edges for a, b in (pair, pair[::-1]) if a in fresh}
                fresh = {joint for joint in linked - limb if side[joint] == side[left[0]]}
            found.append(sorted(limb))
            left = [joint for joint in left if joint not in limb]
        return found

    def sides(self) -> list[str]:
        """For each joint "left", "right" or "middle"."""
        side = ["middle"] * len(self)
        for left, right in self.pairs:
            side[left], side[right] = "left", "right"
        return side


def rooted(parents: Sequence[int], centre: int) -> tuple[int, ...]:
    """The tree of `parents` (the root is its own parent) hung up by another joint: from there on every joint has its own bone.

    Only the links between the old root and `centre` turn round.
    """
    bone, joint, above = list(parents), centre, centre
    while True:
        bone[joint], joint, above = above, parents[joint], joint
        if joint == above:
            return tuple(bone)


def _has_shape(value: object, shape: tuple[int | None, ...]) -> bool:
    """Whether nested tuples of integers have a shape; None stands for any length."""
    if not shape:
        return type(value) is int
    return isinstance(value, tuple) and shape[0] in (None, len(value)) and all(_has_shape(v, shape[1:]) for v in value)


def _flat(value: int | tuple[Any, ...]) -> list[int]:
    return [j for part in value for j in _flat(part)] if isinstance(value, tuple) else [value]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value
