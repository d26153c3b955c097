"""Which of the bodies that a camera saw become the one or two bodies of a clip.

as-published: the first two of each frame in file order, as CrosSCLR and IKEM have them.

tracked: bodies are followed by their ids and denoised as HCN, CTR-GCN and PYSKL do it. Where a recording has several bodies, those of 11
frames or fewer go; if several are left, so do those that are wider than 0.8 of their height in 69.754 % of their frames or more
(furniture taken for people). The motion of a body is the variance of its x, y and z over all its joints and frames, summed; over its
frames that are not wide, if that is less. The body that moves most is the main actor and comes first. Each further one, in the order of
motion, continues the first if it came after that had gone or went before it came; else the second; else it goes. Frames without any body
are cut out, and so are those at both ends without a body that was kept. A recording of a single body is kept whole: who lies on the floor
is wide, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from skelmm_core.errors import DataError
from skelmm_core.sources.ntu_text import Scene

SHORT = 11  # frames
WIDE, WIDE_SHARE = 0.8, 0.69754  # of the height; of the frames
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


def tracked(scene: Scene, where: str) -> Chosen:
    """The main actor and at most one other. Raises `DataError` naming `where` for a frame in which two bodies have the same id."""
    if not scene.joints.any():
        return _nothing(NOBODY)
    changes = Counter({"frames without a body": int((scene.counts == 0).sum())})
    left = _denoised(_tracks(scene, where), changes)
    if not left:
        return _nothing(f"no body is left when tracked: {', '.join(f'{n} {what}' for what, n in changes.items() if n)}")
    body, frame, rows = _joined(left, changes)
    first, last = frame.min(), frame.max()
    changes["frames at the ends without a body that was kept"] += int(np.count_nonzero(scene.counts) - (last - first + 1))
    return Chosen(_placed(body, frame - first, rows, int(last - first) + 1), _nonzero(changes))


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
    """The bodies by their ids, the one that moves most first; frames are counted without those that have no body."""
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
    return sorted(tracks, key=lambda t: -t.motion)


def _motion(joints: np.ndarray) -> float:
    """Summed variance of x, y, z (..., 3); what can't be computed counts as the largest."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.nan_to_num(joints.reshape(-1, 3).var(axis=0, dtype=np.float64).sum(), nan=np.inf))


def _denoised(tracks: list[_Track], changes: Counter[str]) -> list[_Track]:
    if len(tracks) > 1:
        long = [t for t in tracks if len(t.frames) > SHORT]
        changes[f"bodies of {SHORT} frames or fewer"] += len(tracks) - len(long)
        tracks = long
    if len(tracks) < 2:
        return tracks
    left = []
    for track in tracks:
        with np.errstate(over="ignore", invalid="ignore"):
            extent = np.ptp(track.joints[..., :2].astype(np.float64), axis=1)  # (frames, 2)
            narrow = extent[:, 0] <= WIDE * extent[:, 1]
        if 1 - np.count_nonzero(narrow) / len(narrow) >= WIDE_SHARE:
            changes["bodies wider than people"] += 1
            continue
        if not narrow.all():
            changes["wide frames of a body, left out of its motion only"] += int((~narrow).sum())
            track.motion = min(track.motion, _motion(track.joints[narrow]))
        left.append(track)
    return sorted(left, key=lambda t: -t.motion)


def _joined(tracks: list[_Track], changes: Counter[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Body number (R,), frame (R,) and joints (R, 25, 3) of the first two that the tracks, in their order, can be joined to."""
    spans = [(int(tracks[0].frames[0]), int(tracks[0].frames[-1]) + 1), (0, 0)]
    kept = [(0, tracks[0])]
    for track in tracks[1:]:
        begin, end = int(track.frames[0]), int(track.frames[-1]) + 1
        body = next((i for i, (a, b) in enumerate(spans) if max(a, begin) >= min(b, end)), None)
        if body is None:
            changes[f"bodies beyond number {BODIES}"] += 1
            continue
        spans[body] = min(spans[body][0], begin), max(spans[body][1], end)
        kept.append((body, track))
    body = np.concatenate([np.full(len(t.frames), i) for i, t in kept])
    return body, np.concatenate([t.frames for _, t in kept]), np.concatenate([t.joints for _, t in kept])
