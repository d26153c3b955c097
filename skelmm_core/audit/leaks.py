"""Clips that a file holds twice, and what the two parts of a train/test split share that they should not, or may not be meant to."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from skelmm_core import protocols
from skelmm_core.clips import Clips
from skelmm_core.errors import ProtocolError

FEW = 5  # clips of a class in a part; with fewer, one clip is more than a fifth of what is known of the class
SHARED = ("subject", "view", "setup", "repetition")


@dataclass(frozen=True)
class Parts:
    """How a protocol divides a clips file.

    per_class: clips of each class that train, and that test; few: classes with fewer than `FEW` in one of the parts.
    leaks: (training clip, test clip) with the same coordinates, every such test clip once.
    apart: of the columns that divide the two parts, the values that train, and those that test.
    shared: of a column's values in the test part, how many are in the training part too, and how many there are.
    filmed_twice: test clips whose performance trains, too, filmed from another view.
    problem: why the protocol can't be used; the other figures are then empty.
    """

    protocol: str
    own: bool
    train: int = 0
    test: int = 0
    per_class: tuple[tuple[int, int], ...] = ()
    few: tuple[str, ...] = ()
    leaks: tuple[tuple[str, str], ...] = ()
    apart: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    shared: dict[str, tuple[int, int]] | None = None
    filmed_twice: int = 0
    problem: str = ""


def twins(digests: np.ndarray, counted: np.ndarray) -> list[list[int]]:
    """Groups of two or more clips with the same digest, by number; only those count that `counted` (N,) says."""
    groups: dict[bytes, list[int]] = {}
    for number in np.flatnonzero(counted).tolist():
        groups.setdefault(digests[number].tobytes(), []).append(number)
    return [group for group in groups.values() if len(group) > 1]


def fitting(clips: Clips, groups: list[list[int]], protocol: str = "") -> tuple[Parts, ...]:
    """The file's own protocol (or `protocol` in its place) first, whether or not it can be used, then those of `protocols.usual` that fit
    and divide the clips otherwise.

    groups: clips with the same coordinates, as `twins` gives them.
    """
    own = protocol or clips.protocol
    found, known = [], set()
    for name in filter(None, dict.fromkeys([own, clips.protocol, *protocols.usual(clips, own)])):
        try:
            split = protocols.split(clips, name)
        except ProtocolError as problem:
            if name == own:
                found.append(Parts(name, True, problem=str(problem)))
            continue
        parts = split.train.tobytes(), split.test.tobytes()
        if parts not in known:
            found.append(divided(clips, split, groups, name == own))
            known.add(parts)
    return tuple(found)


def divided(clips: Clips, split: protocols.Split, groups: list[list[int]], own: bool = True) -> Parts:
    """The two parts of a split, and what they share."""
    classes = len(clips.class_names)
    per_class = np.stack([np.bincount(clips.labels[part], minlength=classes) for part in (split.train, split.test)], axis=1)  # (C, 2)
    there = per_class.sum(axis=1) > 0
    few = np.flatnonzero(there & (per_class.min(axis=1) < FEW))
    part = np.zeros(len(clips), np.int8)
    part[split.train], part[split.test] = 1, 2
    leaks = []
    for group in groups:
        trains = [i for i in group if part[i] == 1]
        leaks += [(clips.names[trains[0]], clips.names[i]) for i in group if part[i] == 2 and trains]
    apart, shared = {}, {}
    for column in SHARED:
        train, test = (np.unique(clips.columns()[column][rows]) for rows in (split.train, split.test))
        if min(train[0], test[0]) >= 0 and not np.isin(test, train).any():
            apart[column] = (tuple(train.tolist()), tuple(test.tolist()))
        test = test[test >= 0]
        if len(test):
            shared[column] = (int(np.isin(test, train).sum()), len(test))
    counts = tuple((int(a), int(b)) for a, b in per_class)
    return Parts(
        split.name, own, len(split.train), len(split.test), counts, tuple(clips.class_names[c] for c in few), tuple(leaks), apart, shared,
        _filmed_twice(clips, split),
    )  # fmt: skip


def _filmed_twice(clips: Clips, split: protocols.Split) -> int:
    known = (clips.subjects >= 0) & (clips.repetitions >= 0) & (clips.views >= 0)
    performance = np.stack([clips.labels, clips.subjects, clips.setups, clips.repetitions], axis=1)
    train, test = (performance[part[known[part]]].tolist() for part in (split.train, split.test))
    trained = set(map(tuple, train))
    return sum(tuple(row) in trained for row in test)
