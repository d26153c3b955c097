"""The clips to watch: the worst of every finding and warning, why each of them, and at which frame; the report's page and notebook 00 play
them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from skelmm_core.audit import Audit
from skelmm_core.audit.measurements import bones
from skelmm_core.audit.text import leaks_in, percent
from skelmm_core.clips import Clips
from skelmm_core.drawing.explore_clips import in_room, playable
from skelmm_core.drawing.player import Player
from skelmm_core.skeletons import Skeleton

PLAYERS, EACH = 12, 2  # that play on a page, and of a finding
LARGEST = 95_000  # bytes of a player
KINDS = {
    "vacant": "no body at all", "empty": "frames without a body", "frozen": "a body that does not move", "brief": "few frames",
    "jumps": "a jump", "leaps": "a whole body jumps", "odd_bones": "a bone changes its length",
    "odd_heights": "another height than the performer's other clips",
}  # fmt: skip


class Named(NamedTuple):
    """A clip, or two with the same coordinates, by number, that a finding names: in words, and what about it (`Finding.worst`)."""

    numbers: tuple[int, ...]
    words: str
    what: str = ""


@dataclass
class Watched:
    """A clip, or two with the same coordinates, to be watched.

    numbers: of the clips in the file. why: kind of finding -> words for it, and the frame to look at, None where all of them are meant.
    Kinds are the fields of `Audit` that are a `Finding`, ``"duplicates"``, and for a leak what `text.leaks_in` gives.
    """

    numbers: tuple[int, ...]
    why: dict[str, tuple[str, int | None]] = field(default_factory=dict)

    @property
    def anchor(self) -> str:
        """Name of its place in a page."""
        return "-".join(map(str, ("clip", *self.numbers)))

    def play(self, clips: Clips) -> tuple[Player, str]:
        """A player, of a long clip of the part where the first of the findings is, two clips in step; and as text which clips, what was
        found, and at which second of the player."""
        begin = next((frame for _, frame in self.why.values() if frame is not None), 0)
        player = in_room(clips, self.numbers, begin, LARGEST)
        first, count = player.shots[0].begin, player.shots[0].joints.shape[1]
        told = []
        for words, frame in self.why.values():
            seen = frame is not None and first <= frame < first + count
            told.append(f"{words} at {(frame - first) / clips.frame_rate:.2f} s" if frame is not None and seen else words)
        return player, f"{' and '.join(f'{number}: {clips.names[number]}' for number in self.numbers)}: {'; '.join(told)}"


def watched(audit: Audit, clips: Clips, most: int = PLAYERS, each: int = EACH) -> list[Watched]:
    """Up to `each` clips or pairs of every kind, `most` in all: first the worst of every kind, then the second; a clip of several kinds
    counts once. `clips` is the file that was audited. What can't be drawn is left out."""
    found: dict[tuple[int, ...], Watched] = {}
    waiting = {kind: _drawn(clips, named) for kind, named in _named(audit, clips)}
    bone_names = list(audit.bones)
    for _ in range(each):
        for kind, candidates in waiting.items():
            named = next(candidates, None)
            if named and (named.numbers in found or len(found) < most):
                bone = bone_names.index(named.what) if kind == "odd_bones" else 0
                frame = moment(kind, clips.joints_of(named.numbers[0]), clips.skeleton, bone)
                found.setdefault(named.numbers, Watched(named.numbers)).why[kind] = named.words, frame
    return list(found.values())


def _named(audit: Audit, clips: Clips) -> Iterator[tuple[str, list[Named]]]:
    """Kind of finding, and its clips or pairs, worst first; what no split should have comes first."""
    place = {name: number for number, name in enumerate(clips.names)}
    for part in audit.protocols:
        yield (
            leaks_in(part),
            [
                Named(
                    tuple(sorted((place[train], place[test]))),
                    f"a leak in protocol {part.protocol}, {place[train]} trains, {place[test]} tests",
                )
                for train, test in part.leaks
            ],
        )
    yield (
        "duplicates",
        [
            Named((place[first], place[second]), f"the same coordinates{f', {len(others) + 2} times' if others else ''}")
            for first, second, *others in audit.duplicates
        ],
    )
    for kind, words in KINDS.items():
        yield kind, [Named((place[name],), _words(kind, words, value, what), what) for name, value, what in getattr(audit, kind).worst]


def _words(kind: str, words: str, value: float, what: str) -> str:
    """What was found in a clip, such as "a jump (fastest joint 12 m/s)"."""
    match kind:
        case "vacant":
            return words
        case "brief":
            return f"{words} ({-value:.0f})"
        case "jumps" | "leaps":
            told = f"fastest joint {value:.0f} m/s"
        case "odd_heights":
            told = f"{value:.2f}"
        case _:
            told = percent(value)
    return f"{words} ({', '.join(filter(None, [told, what]))})"


def _drawn(clips: Clips, named: list[Named]) -> Iterator[Named]:
    """Those that a player can show; looked at one by one, as few are asked for."""
    return (one for one in named if len(playable(clips, one.numbers)) == len(one.numbers))


def moment(kind: str, joints: np.ndarray, skeleton: Skeleton, bone: int = 0) -> int | None:
    """The frame of a clip, (M, T, V, 3), in which to look for a finding: of the fastest step the one before it, of a bone the one where its
    length is farthest from its mean, else the first; None where the whole clip is meant."""
    there = np.asarray((joints != 0 if skeleton.dimensions == 3 else joints[..., 2:] > 0).any(axis=(2, 3)))  # (M, T)
    if kind == "empty":
        return int(there.any(axis=0).argmin())
    both = there[:, 1:] & there[:, :-1]
    if kind == "frozen":
        return int((both & (joints[:, 1:] == joints[:, :-1]).all(axis=(2, 3))).any(axis=0).argmax())
    if kind in ("jumps", "leaps"):
        chosen = slice(None) if kind == "jumps" else [skeleton.centre]
        step = np.linalg.norm(np.diff(joints[:, :, chosen].astype(np.float64), axis=1), axis=3).max(axis=2) * both  # (M, T - 1)
        return int(step.max(axis=0).argmax())
    if kind == "odd_bones":
        joint, parent = bones(skeleton)[bone]
        length = np.linalg.norm(joints[:, :, joint].astype(np.float64) - joints[:, :, parent], axis=2)  # (M, T)
        mean = (length * there).sum(axis=1, keepdims=True) / np.maximum(there.sum(axis=1, keepdims=True), 1)
        return int((np.abs(length - mean) * there).max(axis=0).argmax())
    return None
