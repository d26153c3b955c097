"""Skeletons: joint names and the tables that give modalities, graph and figures their meaning.

A skeleton is data, not code. To add one, write one `Skeleton(...)` and one line in `SKELETONS`.
Three tables of joint pairs look alike and are not: `bone` (what a bone vector is subtracted from),
`axis` (the bone that a rotation axis is crossed with) and `edges` (the graph that the encoder sees).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

import numpy as np

from skelmm_core.errors import DataError, SettingsError, nearest


@dataclass(frozen=True)
class Skeleton:
    """Joint names and tables of one skeleton; joint numbers are 0-based.

    Attributes:
        name: identifier, e.g. ``"ntu25"``.
        joints: V joint names.
        bone: V joint numbers; bone v is x_v - x_bone[v]. The centre points to itself: its "bone" is the shoulder normal.
        axis: V joint numbers; the rotation axis of joint v is b_v x b_axis[v].
        edges: graph edges (child, parent) of the encoder's adjacency.
        centre: joint that view normalisation puts at the origin (the spine at shoulder height).
        spine: joint that spans, with the shoulders, the plane whose normal stands in for the centre's bone.
        shoulders: (left, right) shoulder joints.
        pairs: (left, right) joint pairs that a mirror image exchanges.
        dimensions: 3; or 2 for joints in an image, whose third number is the detector's confidence.
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

    def __post_init__(self) -> None:
        def wrong(what: str) -> DataError:
            return DataError(f"skeleton '{self.name}': {what}")

        if not isinstance(self.name, str) or not self.name or self.name == "native":
            raise DataError(f"a skeleton's name must be a text of its own and not 'native', found {self.name!r}")
        if not isinstance(self.joints, tuple) or not all(isinstance(j, str) and j for j in self.joints):
            raise wrong(f"'joints' must be a list of names, found {self.joints!r}")
        count = len(self.joints)
        if len(set(self.joints)) < count or count < 4:
            raise wrong(f"'joints' must be at least 4 different names, found {count}, {len(set(self.joints))} of them different")
        shapes = {"bone": (count,), "axis": (count,), "edges": (None, 2), "pairs": (None, 2), "shoulders": (2,), "centre": (), "spine": ()}
        for table, shape in shapes.items():
            value = getattr(self, table)
            if not _has_shape(value, shape):
                what = "pairs of joint numbers" if shape[1:] else "joint numbers"
                wanted = f"{shape[0] or 'any number of'} {what}" if shape else "one joint number"
                raise wrong(f"'{table}' must be {wanted} in 0..{count - 1} (there are {count} joints), found {_short(value)}")
            outside = sorted({j for j in _flat(value) if not 0 <= j < count})
            if outside:
                raise wrong(f"joint numbers {outside} of '{table}' are not in 0..{count - 1}")
        if self.dimensions not in (2, 3):
            raise wrong(f"'dimensions' must be 2 or 3, found {self.dimensions!r}")
        if self.bone[self.centre] != self.centre:
            raise wrong(f"the centre joint {self.centre} must be its own bone parent")
        if self.shoulders[0] == self.shoulders[1]:
            raise wrong(f"'shoulders' must be two different joints, left and right, found {list(self.shoulders)}")
        loose = [self.joints[j] for j in (self.hops()[self.centre] < 0).nonzero()[0]]
        if loose:
            raise wrong(f"no path of 'edges' leads from the centre to {', '.join(loose[:4])}")

    def __len__(self) -> int:
        return len(self.joints)

    def to_dict(self) -> dict:
        """Plain lists and strings, ready for JSON; three dimensions go without saying."""
        return {k: v for k, v in asdict(self).items() if (k, v) != ("dimensions", 3)}

    @classmethod
    def from_dict(cls, table: dict) -> Skeleton:
        """Inverse of `to_dict`; unknown or missing fields raise `DataError`."""
        known = [f.name for f in fields(cls)]
        for key in table:
            if key not in known:
                raise DataError(f"skeleton table has an unknown field '{key}'{nearest(key, known)}")
        missing = [k for k in known if k not in table and k != "dimensions"]
        if missing:
            raise DataError(f"skeleton table lacks the fields {missing}")
        return cls(**{k: _tuples(v) for k, v in table.items()})

    def hops(self) -> np.ndarray:
        """Graph distance between joints, (V, V) integers; -1 where there is no path."""
        count = len(self)
        near = np.eye(count, dtype=bool)
        for i, j in self.edges:
            near[i, j] = near[j, i] = True
        distance = np.full((count, count), -1)
        reach = np.eye(count, dtype=bool)
        for hop in range(count):
            distance[reach & (distance < 0)] = hop
            reach = (reach.astype(int) @ near.astype(int)) > 0
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


def _has_shape(value: object, shape: tuple[int | None, ...]) -> bool:
    """Whether nested tuples of integers have a shape; None stands for any length."""
    if not shape:
        return type(value) is int
    return isinstance(value, tuple) and shape[0] in (None, len(value)) and all(_has_shape(v, shape[1:]) for v in value)


def _flat(value: int | tuple) -> list[int]:
    return [j for part in value for j in _flat(part)] if isinstance(value, tuple) else [value]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _tuples(value):
    return tuple(_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value


def _sides(*parts: str) -> list[str]:
    return [f"{side} {part}" for side in ("left", "right") for part in parts]


NTU25 = Skeleton(
    name="ntu25",
    joints=(
        "base of spine",
        "mid spine",
        "neck",
        "head",
        *_sides("shoulder", "elbow", "wrist", "hand"),
        *_sides("hip", "knee", "ankle", "foot"),
        "spine at shoulders",
        "left hand tip",
        "left thumb",
        "right hand tip",
        "right thumb",
    ),
    bone=(1, 20, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 20, 7, 7, 11, 11),
    axis=(1, 20, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 20, 7, 21, 11, 23),
    edges=(
        (0, 1),
        (1, 20),
        (2, 20),
        (3, 2),
        (4, 20),
        (5, 4),
        (6, 5),
        (7, 6),
        (8, 20),
        (9, 8),
        (10, 9),
        (11, 10),
        (12, 0),
        (13, 12),
        (14, 13),
        (15, 14),
        (16, 0),
        (17, 16),
        (18, 17),
        (19, 18),
        (21, 22),
        (22, 7),
        (23, 24),
        (24, 11),
    ),
    centre=20,
    spine=1,
    shoulders=(4, 8),
    pairs=((4, 8), (5, 9), (6, 10), (7, 11), (12, 16), (13, 17), (14, 18), (15, 19), (21, 23), (22, 24)),
)

_KINECT20_BONE = (1, 2, 2, 2, 2, 4, 5, 6, 2, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18)
KINECT20 = Skeleton(
    name="kinect20",
    joints=(
        "hip centre",
        "spine",
        "shoulder centre",
        "head",
        *_sides("shoulder", "elbow", "wrist", "hand"),
        *_sides("hip", "knee", "ankle", "foot"),
    ),
    bone=_KINECT20_BONE,
    axis=_KINECT20_BONE,
    edges=tuple((v, p) for v, p in enumerate(_KINECT20_BONE) if v != p),
    centre=2,
    spine=1,
    shoulders=(4, 8),
    pairs=((4, 8), (5, 9), (6, 10), (7, 11), (12, 16), (13, 17), (14, 18), (15, 19)),
)

SKELETONS: dict[str, Skeleton] = {s.name: s for s in (NTU25, KINECT20)}


def get(name: str | Skeleton) -> Skeleton:
    """The skeleton of that name; an unknown name raises `SettingsError` with the nearest one."""
    if isinstance(name, Skeleton):
        return name
    if name not in SKELETONS:
        raise SettingsError(f"unknown skeleton '{name}'{nearest(name, SKELETONS)}")
    return SKELETONS[name]


def _kinect20_to_ntu25() -> np.ndarray:
    weights = np.zeros((25, 20), np.float32)
    for joint in (0, 1, *range(3, 20)):
        weights[joint, joint] = 1
    weights[20, 2] = 1  # spine at shoulders = shoulder centre
    weights[2, 2], weights[2, 3] = 2 / 3, 1 / 3  # neck: a third of the way to the head
    weights[[21, 22], 7] = 1  # Kinect v1 sees no fingers: tip and thumb stay in the hand
    weights[[23, 24], 11] = 1
    return weights


_MAPS = {("kinect20", "ntu25"): _kinect20_to_ntu25}


def mapping(source: Skeleton, target: Skeleton) -> np.ndarray:
    """Joint weights (V_target, V_source) float32, rows sum to 1: `x_target = weights @ x_source`.

    Raises `SettingsError` when no map between the two skeletons is known.
    """
    if source.name == target.name:
        return np.eye(len(source), dtype=np.float32)
    if (source.name, target.name) not in _MAPS:
        known = ", ".join(f"{a} -> {b}" for a, b in _MAPS)
        raise SettingsError(f"no joint map from skeleton '{source.name}' to '{target.name}'; known: {known}")
    return _MAPS[source.name, target.name]()
