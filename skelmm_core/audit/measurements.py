"""What can be measured on every clip of a clips file, in one pass over its joints: see `Measured`.

Clips are copied out of the file some megabytes at a time and measured together, as rows: a row is one body in one frame, a run of rows
one body of a clip.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from skelmm_core.clips import Clips, Packed
from skelmm_core.skeletons import Skeleton

JUMP = 10.0  # metres per second that no joint of a person reaches: the fist of a boxer comes near
ROWS = 1 << 14  # bodies x frames that are measured together: some megabytes of joints, which stay in a processor's cache


@dataclass(frozen=True, eq=False)
class Measured:
    """Figures of all clips; N clips, B bones (see `bones`), V joints. NaN: nothing to measure, or of no meaning for the skeleton.

    with_none, with_two: (N,) frames in which no body is there (all zeros; in an image: no confidence in any joint), and two.
    seen: (N,) rows in which the body is there; frozen: those of them that repeat the row before to the last bit.
    steps: (N,) pairs of neighbouring frames that both have the body; jumps: those in which a joint is faster than `JUMP`; leaps: those
        in which the centre is, too, as when two bodies change places. speed: (N,) the fastest joint, metres per second. (3-D only)
    height: (N,) median vertical extent of the first body; upright: (N,) bool, its centre is above its middle.
    variation: (N, B) coefficient of variation of each bone's length over the clip, mean over bodies.
    confidence: (N, V) mean over the rows in which the body is there. (2-D only)
    digest: (N,) 16 bytes of every clip's shape and joints: equal where those are equal.
    """

    with_none: np.ndarray
    with_two: np.ndarray
    seen: np.ndarray
    frozen: np.ndarray
    steps: np.ndarray
    jumps: np.ndarray
    leaps: np.ndarray
    speed: np.ndarray
    height: np.ndarray
    upright: np.ndarray
    variation: np.ndarray
    confidence: np.ndarray
    digest: np.ndarray


def measure(clips: Clips) -> Measured:
    """All figures of all clips; memory is bounded by the longest clip and by some hundred bytes for each."""
    with np.errstate(over="ignore", invalid="ignore"):  # coordinates may be as large as a float32 can be
        parts = [_measure(clips.take(some), clips.skeleton, clips.frame_rate) for some in _chunks(clips)]
    return Measured(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Measured)))


def bones(skeleton: Skeleton) -> list[tuple[int, int]]:
    """(joint, parent) of every bone, each once."""
    return [(joint, parent) for joint, parent in enumerate(skeleton.bone) if joint != parent]


def _chunks(clips: Clips) -> Iterator[np.ndarray]:
    """Numbers of neighbouring clips that have about `ROWS` rows together."""
    place = np.cumsum(clips.bodies.astype(np.int64) * clips.frames) // ROWS
    yield from np.split(np.arange(len(clips)), np.flatnonzero(np.diff(place)) + 1)


def _measure(packed: Packed, skeleton: Skeleton, frame_rate: float) -> Measured:
    rows, starts, frames, bodies = packed
    count, dimensions = len(starts), skeleton.dimensions
    first = starts[np.repeat(np.arange(count), bodies)]  # (runs,) first row of every run
    second_body = np.diff(first, prepend=-1) == 0
    first = first + np.where(second_body, np.repeat(frames, bodies), 0)
    clip_of_run = np.repeat(np.arange(count), bodies)
    run = np.repeat(np.arange(len(first)), np.diff(first, append=len(rows)))  # (R,)
    clip = clip_of_run[run]
    flat = rows.reshape(len(rows), -1)
    there = np.asarray(flat.any(axis=1) if dimensions == 3 else (rows[..., 2] > 0).any(axis=1))  # (R,)

    ahead = np.flatnonzero(there[1:] & there[:-1] & (run[1:] == run[:-1])) + 1  # rows whose body was there in the frame before
    frozen = ahead[(flat[ahead] == flat[ahead - 1]).all(axis=1)]
    jumps = leaps = ahead[:0]
    speed = np.full(count, np.nan)
    if dimensions == 3:
        step = np.linalg.norm(rows[ahead] - rows[ahead - 1], axis=2) * np.float32(frame_rate)  # (A, V) metres per second
        fastest = step.max(axis=1)
        jumps, leaps = ahead[fastest > JUMP], ahead[step[:, skeleton.centre] > JUMP]
        np.fmax.at(speed, clip[ahead], np.nan_to_num(fastest))

    at = rows[there]  # (S, V, 3)
    absent = at[..., 2] <= 0 if dimensions == 2 else np.zeros((1, 1), bool)  # joints that a detector did not find
    up, middle = at[..., 1], at[:, skeleton.centre, 1]
    low, high = np.where(absent, np.inf, up).min(axis=1), np.where(absent, -np.inf, up).max(axis=1)
    leading = ~second_body[run[there]]
    owner = clip[there][leading]
    height = _medians(np.nan_to_num(high - low)[leading], owner, count)
    upright = _medians((2 * middle - high - low)[leading], owner, count) > 0

    def per_clip(chosen: np.ndarray) -> np.ndarray:
        return np.bincount(clip[chosen], minlength=count)

    second = np.flatnonzero(second_body[run])
    both = second[there[second] & there[second - frames[clip[second]]]]
    either = per_clip(there) - per_clip(both)
    return Measured(
        frames - either, per_clip(both), per_clip(there), per_clip(frozen), per_clip(ahead), per_clip(jumps), per_clip(leaps), speed,
        height, upright, _variation(at, absent, run[there], clip_of_run, skeleton, count), _confidence(rows, there, clip, skeleton, count),
        _digests(packed),
    )  # fmt: skip


def _variation(at: np.ndarray, absent: np.ndarray, run: np.ndarray, clip_of_run: np.ndarray, skeleton: Skeleton, count: int) -> np.ndarray:
    """(clips, B) from the rows that have a body: at (S, V, 3), absent (S, V) or (1, 1), run (S,) ascending."""
    joint, parent = map(list, zip(*bones(skeleton), strict=True))
    if not len(run):
        return np.full((count, len(joint)), np.nan)
    at = at[..., : skeleton.dimensions]
    length = np.linalg.norm(at[:, joint] - at[:, parent], axis=2).astype(np.float64)  # (S, B)
    known = np.ones((len(run), 1), bool)
    if skeleton.dimensions == 2:
        known = ~(absent[:, joint] | absent[:, parent])  # (S, B)
        length[~known] = 0
    begin = np.flatnonzero(np.diff(run, prepend=-1))  # of every run that has a body
    rows = np.maximum(np.add.reduceat(known, begin, dtype=np.int64), 1)  # (runs, B or 1)
    mean = np.add.reduceat(length, begin) / rows
    length -= np.repeat(mean, np.diff(begin, append=len(run)), axis=0)
    length *= known
    spread = np.sqrt(np.add.reduceat(length * length, begin) / rows)
    share = np.divide(spread, mean, out=np.full_like(mean, np.nan), where=(mean > 1e-6) & np.isfinite(spread))
    owner = clip_of_run[run[begin]]  # ascending, at most two runs of each clip
    edge = np.flatnonzero(np.diff(owner, prepend=-1))
    bodies = np.add.reduceat(~np.isnan(share), edge, dtype=np.int64)
    total = np.add.reduceat(np.nan_to_num(share), edge)
    found = np.full((count, len(joint)), np.nan)
    found[owner[edge]] = np.divide(total, bodies, out=np.full_like(total, np.nan), where=bodies > 0)
    return found


def _confidence(rows: np.ndarray, there: np.ndarray, clip: np.ndarray, skeleton: Skeleton, count: int) -> np.ndarray:
    if skeleton.dimensions == 3:
        return np.full((count, 0), np.nan)
    total, owner = np.zeros((count, len(skeleton))), clip[there]
    np.add.at(total, owner, rows[there][..., 2])
    seen = np.bincount(owner, minlength=count)[:, None]
    return np.divide(total, seen, out=np.full_like(total, np.nan), where=seen > 0)


def _medians(values: np.ndarray, group: np.ndarray, count: int) -> np.ndarray:
    """(count,) median of the values of every group, NaN of an empty one."""
    order = np.lexsort((values, group))
    values, sizes = values[order], np.bincount(group, minlength=count)
    begin = np.cumsum(sizes) - sizes
    found = np.full(count, np.nan)
    full = sizes > 0
    low, high = ((begin + half)[full] for half in ((sizes - 1) // 2, sizes // 2))
    found[full] = (values[low].astype(np.float64) + values[high]) / 2
    return found


def _digests(packed: Packed) -> np.ndarray:
    found = []
    for start, frames, bodies in zip(packed.starts.tolist(), packed.frames.tolist(), packed.bodies.tolist(), strict=True):
        digest = hashlib.blake2b(f"{bodies} {frames} ".encode(), digest_size=16)
        digest.update(np.ascontiguousarray(packed.rows[start : start + bodies * frames]).data)
        found.append(digest.digest())
    return np.array(found, "V16")
