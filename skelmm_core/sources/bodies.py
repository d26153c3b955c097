"""Which of the bodies that a camera saw become the one or two bodies of a clip.

as-published: the first two of each frame in file order, as CrosSCLR and IKEM have them.

tracked: bodies are followed by their ids and denoised as HCN, CTR-GCN and PYSKL have it, in the way that CTR-GCN's public code runs. Where
a recording has several bodies, those of 11 frames or fewer go; if several are left, so do those that are wider than 0.8 of their height in
69.754 % of their frames or more (furniture taken for people), in the order in which they came and as long as another one is left. The
motion of a body is the variance of its x, y and z over all its joints and frames, summed (square metres); over its frames that are not
wide, if that is less. The body that moves most is the main actor and comes first. Each further one, in the order of motion, continues the
first if it came after that had gone or went before it came; else the second; else it goes. They may meet in one frame, which then shows the
later in that order. Frames without a body that was kept are cut out, wherever they are. A recording of a single body is kept whole: who
lies on the floor is wide, too.

tracked-strict: the same with what is written about this denoising and the public code doesn't do: there, taking out wide frames is a note
for later, and the call of the limits on motion is commented out (some who adapted it do call it). Where several bodies are left after the
short ones, each loses its wide frames, and its motion is that of the frames it keeps; one that is wide in 69.754 % of them or more goes
even if none is left, and with it the clip. Bodies other than the main actor with a motion under 0.089925 or over 2 square metres go. Expect
shorter clips in which the frames on either side of a cut have become neighbours, bodies that are absent where they were wide, and fewer
second bodies; numbers published with the public code belong to `tracked`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from skelmm_core.errors import DataError
from skelmm_core.recordings import FARTHEST
from skelmm_core.sources.ntu_text import Scene

SHORT = 11  # frames
WIDE, WIDE_SHARE = 0.8, 0.69754  # of the height; of the frames
CALM, WILD = 0.089925, 2.0  # square metres of motion
BODIES = 2
NOBODY = "no body in any frame"


@dataclass(frozen=True, eq=False)
class Chosen:
    """joints (M, T, 25, 3) float32, M = 1 or 2, zeros where a body is absent. reason: why nothing is left, if nothing is.
    changes: what was taken away, in words, and how many of it."""

    joints: np.ndarray
    changes: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""


@dataclass(eq=False)
class _Track:
    """One body: the frames that have it, its joints (frames, 25, 3) and its motion in square metres."""

    frames: np.ndarray
    joints: np.ndarray
    motion: float


def as_published(scene: Scene) -> Chosen:
    """The first two bodies of each frame; a frame without a body is zeros, so T is always that of the file. M is 2 if any frame has two."""
    rank, frame, rows = scene.rank, scene.frame, scene.joints
    if rank.max(initial=0) >= BODIES:
        kept = rank < BODIES
        rank, frame, rows = rank[kept], frame[kept], rows[kept]
    joints = _placed(rank, frame, rows, scene.frames)
    changes = {
        f"bodies beyond number {BODIES} of a frame": int(np.maximum(scene.counts - BODIES, 0).sum()),
        "frames without a body, left as zeros": int((scene.counts == 0).sum()),
    }
    return Chosen(joints, _nonzero(changes), "" if joints.any() else NOBODY)


def tracked(scene: Scene, where: str, strict: bool = False) -> Chosen:
    """The main actor and at most one other; strict: as tracked-strict.

    Raises `DataError` naming `where` for a frame in which two bodies have the same id.
    """
    if not scene.joints.any():
        return _nothing(NOBODY)
    changes = Counter({"frames without a body": int((scene.counts == 0).sum())})
    left = _denoised(_tracks(scene, where), changes, strict)
    if not left:
        return _nothing(f"no body is left when tracked: {', '.join(f'{n} {what}' for what, n in changes.items() if n)}")
    body, frame, rows = _joined(left, changes)
    kept = np.unique(frame)
    changes["frames without a body that was kept"] += int(np.count_nonzero(scene.counts)) - len(kept)
    return Chosen(_placed(body, np.searchsorted(kept, frame), rows, len(kept)), _nonzero(changes))


def _nothing(reason: str) -> Chosen:
    return Chosen(np.zeros((1, 0, 25, 3), np.float32), reason=reason)


def _nonzero(changes: Mapping[str, int]) -> dict[str, int]:
    return {what: number for what, number in changes.items() if number}


def _placed(body: np.ndarray, frame: np.ndarray, rows: np.ndarray, frames: int) -> np.ndarray:
    """(M, frames, 25, 3) with rows (R, 25, 3) at their body and frame (R,), zeros elsewhere."""
    if not body.any() and np.array_equal(frame, np.arange(frames)):
        return rows[None]  # one body throughout
    joints = np.zeros((body.max(initial=0) + 1, frames, *rows.shape[1:]), np.float32)
    joints[body, frame] = rows
    return joints


def _tracks(scene: Scene, where: str) -> list[_Track]:
    """The bodies by their ids, in the order in which they came; frames are counted without those that have no body."""
    seen = np.cumsum(scene.counts > 0) - 1  # (frames,)
    rows: dict[bytes, list[int]] = {}
    for row, name in enumerate(scene.ids):
        rows.setdefault(name, []).append(row)
    tracks = []
    for name, found in rows.items():
        frame = scene.frame[found]
        if (twice := np.diff(frame) == 0).any():
            raise DataError(
                f"'{where}', frame {frame[twice.argmax()]}: two bodies have the id {name.decode('ascii', 'replace')}, so they can't be "
                "told apart; leave 'bodies' at as-published"
            )
        tracks.append(_Track(seen[frame], scene.joints[found], _motion(scene.joints[found])))
    return tracks


def _motion(joints: np.ndarray) -> float:
    """Summed variance of x, y, z (..., 3); what can't be computed counts as the largest."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.nan_to_num(joints.reshape(-1, 3).var(axis=0, dtype=np.float64).sum(), nan=np.inf))


def _denoised(tracks: list[_Track], changes: Counter[str], strict: bool) -> list[_Track]:
    """The bodies that are left, the one that moves most first."""
    if len(tracks) > 1:
        long = [t for t in tracks if len(t.frames) > SHORT]
        changes[f"bodies of {SHORT} frames or fewer"] += len(tracks) - len(long)
        tracks = long
    if len(tracks) < 2:
        return tracks
    left: list[_Track] = []
    for track in tracks:
        if not strict and not left and track is tracks[-1]:
            return [track]  # however wide it is
        wide = _wide(track.joints)
        if np.count_nonzero(wide) / len(wide) >= WIDE_SHARE:
            changes["bodies wider than people"] += 1
            continue
        left.append(_without(track, wide, changes) if strict else _calmer(track, wide, changes))
    left.sort(key=lambda t: -t.motion)
    return _moderate(left, changes) if strict else left


def _wide(joints: np.ndarray) -> np.ndarray:
    """Frames (T,) of (T, 25, 3) that are too wide for a person; so is one whose extent can't be told."""
    with np.errstate(over="ignore", invalid="ignore"):
        extent = np.ptp(joints[..., :2].astype(np.float64), axis=1)  # (T, 2)
        return np.asarray(~(extent[:, 0] <= WIDE * extent[:, 1]))


def _calmer(track: _Track, wide: np.ndarray, changes: Counter[str]) -> _Track:
    if not wide.any():
        return track
    changes["wide frames of a body, left out of its motion only"] += int(np.count_nonzero(wide))
    return _Track(track.frames, track.joints, min(track.motion, _motion(track.joints[~wide])))


def _without(track: _Track, wide: np.ndarray, changes: Counter[str]) -> _Track:
    """A body without its wide frames; damaged ones stay, for `recordings.check` to find."""
    kept = ~wide | ~(np.abs(track.joints) <= FARTHEST).all(axis=(1, 2))
    if kept.all():
        return track
    changes["wide frames of a body"] += int(np.count_nonzero(~kept))
    return _Track(track.frames[kept], track.joints[kept], _motion(track.joints[kept]))


def _moderate(tracks: list[_Track], changes: Counter[str]) -> list[_Track]:
    """The main actor, and the others whose motion is within the limits."""
    changes[f"bodies with a motion under {CALM:g} square metres"] += sum(t.motion < CALM for t in tracks[1:])
    changes[f"bodies with a motion over {WILD:g} square metres"] += sum(t.motion > WILD for t in tracks[1:])
    return tracks[:1] + [t for t in tracks[1:] if CALM <= t.motion <= WILD]


def _joined(tracks: list[_Track], changes: Counter[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Body number (R,), frame (R,) and joints (R, 25, 3) of the first two that the tracks, in their order, can be joined to; of a body and
    a frame that are there twice, the later counts."""
    spans = [(int(tracks[0].frames[0]), int(tracks[0].frames[-1])), (0, 0)]
    kept = [(0, tracks[0])]
    for track in tracks[1:]:
        begin, end = int(track.frames[0]), int(track.frames[-1])
        body = next((i for i, (a, b) in enumerate(spans) if max(a, begin) >= min(b, end)), None)
        if body is None:
            changes[f"bodies beyond number {BODIES}"] += 1
            continue
        spans[body] = min(spans[body][0], begin), max(spans[body][1], end)
        kept.append((body, track))
    owner = np.concatenate([np.full(len(t.frames), i) for i, t in kept])
    frame = np.concatenate([t.frames for _, t in kept])
    changes["frames of a body that the one that continues it replaced"] += len(frame) - len(
        set(zip(owner.tolist(), frame.tolist(), strict=True))
    )
    return owner, frame, np.concatenate([t.joints for _, t in kept])
