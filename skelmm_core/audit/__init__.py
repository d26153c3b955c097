"""The report of a preparation: what a clips file holds, what looks wrong in it, what was left out, and what its splits share.

`audit` measures, `Audit` is plain values, `keep` writes them beside the clips file as JSON and as a page with figures.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from skelmm_core import summary
from skelmm_core.audit import leaks, measurements, text
from skelmm_core.audit.measurements import Measured
from skelmm_core.clips import Clips, open_clips
from skelmm_core.files import read_json, replacing
from skelmm_core.writing import WriteReport

WORST = 20  # clips that a finding names
FAR, LEAST = 3.0, 0.2  # a bone is far out in a clip where it varies by this share of itself; see `_odd_bones`
LOW, HIGH = 0.5, 1.5  # times the performer's median height, outside of which a clip's height is far out
BINS = 40  # of the histogram of lengths, at most
QUANTILES = (0, 5, 25, 50, 75, 95, 100)


@dataclass(frozen=True)
class Finding:
    """Something found in `clips` clips, in `frames` frames of theirs (0: not counted); worst: (name, value, what), worst first."""

    clips: int = 0
    frames: int = 0
    worst: tuple[tuple[str, float, str], ...] = ()


@dataclass(frozen=True)
class Spread:
    """Values of n clips or bodies: median, and between which lie nine of ten; None where nothing can be measured."""

    n: int
    low: float | None
    median: float | None
    high: float | None


@dataclass(frozen=True)
class Audit:
    """All of it, as plain values; lengths in `unit`.

    opening: the lines of `summary.opening`. classes: (name, clips). subjects ... repetitions: value -> clips, -1 is unknown.
    lengths: quantiles (percent -> frames), names of the shortest and the longest clip, histogram (edges, counts).
    bodies: bodies in a frame -> frames. empty: frames without a body, worst by their share of a clip; vacant: clips without any body.
    frozen: bodies that repeat the frame before to the last bit, worst by their share. jumps: joints faster than
    `measurements.JUMP`, worst by metres per second; leaps: those by the centre of the body. brief: clips too short to have an
    acceleration.
    bones: name -> coefficient of variation of its length within a clip; odd_bones: where one is far out. height: of the first body;
    heights: by subject; odd_heights: far from the same subject's; upright: share of clips with the centre above the body's middle.
    confidence: joint -> mean per clip (2-D only). duplicates: groups of clips with the same coordinates; other_class: how many of the
    groups lie in several classes. left_out: reason -> names; damaged: name -> reason; changes: what readers took away -> (how many, from
    how many clips); all three empty, and prepared False, where the file was opened and not just written.
    """

    path: str
    title: str
    generated: bool
    skeleton: str
    dimensions: int
    unit: str
    frame_rate: float
    opening: tuple[str, ...]
    clips: int
    frames: int
    classes: tuple[tuple[str, int], ...]
    subjects: dict[int, int]
    views: dict[int, int]
    setups: dict[int, int]
    repetitions: dict[int, int]
    lengths: dict[str, Any]
    bodies: dict[int, int]
    brief: Finding
    empty: Finding
    vacant: Finding
    frozen: Finding
    jumps: Finding
    leaps: Finding
    bones: dict[str, Spread]
    odd_bones: Finding
    height: Spread
    heights: dict[int, Spread]
    odd_heights: Finding
    upright: float
    confidence: dict[str, Spread]
    duplicates: tuple[tuple[str, ...], ...]
    other_class: int
    protocols: tuple[leaks.Parts, ...]
    prepared: bool
    left_out: dict[str, tuple[str, ...]]
    damaged: tuple[tuple[str, str], ...]
    changes: dict[str, tuple[int, int]]
    fingerprint: str
    content: str
    plausible: tuple[str, ...]  # warnings of the writer

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        return text.warnings(self)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        values = dataclasses.asdict(self)
        del values["opening"], values["plausible"]
        return values | {"warnings": self.warnings}

    def __str__(self) -> str:
        return text.text(self)


def audit(clips: Clips, written: WriteReport | None = None, protocol: str = "") -> Audit:
    """Measure a clips file: one pass over its joints, in bounded memory; about 20 seconds of one core for 57,000 clips of 85 frames.

    Args:
        written: what `clips.write` gave, for what was left out and taken away.
        protocol: stands for the file's own.
    """
    found = measurements.measure(clips)
    groups = leaks.twins(found.digest, found.seen > 0)
    heights = _heights(clips, found)
    columns = clips.columns()
    counted = {f"{name}s": dict(zip(*_plain(np.unique(columns[name], return_counts=True)), strict=True)) for name in leaks.SHARED}
    solid = clips.skeleton.dimensions == 3
    bodies = {0: found.with_none, 1: clips.frames - found.with_none - found.with_two, 2: found.with_two}
    dropped = written.dropped if written else ()
    left_out: dict[str, tuple[str, ...]] = {}
    for reason, _ in Counter(d.reason for d in dropped if not d.damaged).most_common():
        left_out[reason] = tuple(d.name for d in dropped if d.reason == reason and not d.damaged)
    return Audit(
        path=str(clips.path), title=clips.title, generated=clips.generated, skeleton=clips.skeleton.name,
        dimensions=clips.skeleton.dimensions, unit="m" if solid else "image heights", frame_rate=clips.frame_rate,
        opening=tuple(summary.opening(clips)), clips=len(clips), frames=int(clips.frames.sum()),
        classes=tuple(zip(clips.class_names, _plain(np.bincount(clips.labels, minlength=len(clips.class_names))), strict=True)),
        **counted,
        lengths=_lengths(clips),
        bodies={number: int(frames.sum()) for number, frames in bodies.items()},
        brief=_finding(clips, -clips.frames, clips.frames < 3, clips.frames),
        empty=_finding(clips, found.with_none / clips.frames, (found.with_none > 0) & (found.seen > 0), found.with_none),
        vacant=_finding(clips, found.with_none / clips.frames, found.seen == 0, found.with_none),
        frozen=_finding(clips, found.frozen / np.maximum(found.seen, 1), found.frozen > 0, found.frozen),
        jumps=_finding(clips, found.speed, found.jumps > 0, found.jumps),
        leaps=_finding(clips, found.speed, found.leaps > 0, found.leaps),
        bones={name: _spread(found.variation[:, b]) for b, name in enumerate(_bones(clips))},
        odd_bones=_odd_bones(clips, found),
        height=_spread(found.height), heights=heights, odd_heights=_odd_heights(clips, found, heights),
        upright=float(found.upright[found.seen > 0].mean()) if (found.seen > 0).any() else 0.0,
        confidence={name: _spread(found.confidence[:, v]) for v, name in enumerate(clips.skeleton.joints)} if not solid else {},
        duplicates=tuple(tuple(clips.names[i] for i in group) for group in groups),
        other_class=sum(len({int(clips.labels[i]) for i in group}) > 1 for group in groups),
        protocols=leaks.fitting(clips, groups, protocol),
        prepared=written is not None, left_out=left_out, damaged=tuple((d.name, d.reason) for d in dropped if d.damaged),
        changes=dict(written.changes) if written else {}, fingerprint=clips.fingerprint, content=clips.content,
        plausible=(written or _as_written(clips, found)).warnings,
    )  # fmt: skip


def keep(clips_path: str | Path, written: WriteReport | None = None) -> Audit:
    """Audit a clips file and write ``<clips_path>.report.json`` and ``<clips_path>.report.html``.

    Raises `DataError` for a file that can't be read, or a folder that can't be written.
    """
    from skelmm_core.audit import page  # needs the drawing libraries

    clips = open_clips(clips_path)
    found = audit(clips, written)
    with replacing(report_path(clips_path, "json")) as file:
        file.write(json.dumps(found.to_dict(), indent=1, allow_nan=False, ensure_ascii=False).encode())
    page.write(report_path(clips_path, "html"), found, clips)
    return found


def kept(clips: Clips) -> dict[str, Any] | None:
    """What `keep` wrote of this very content, `Audit.to_dict`; None where there is none: only the preparation knows what it left out."""
    found = read_json(report_path(clips.path, "json")) or {}
    return found if found.get("content") == clips.content else None


def report_path(clips_path: str | Path, ending: str) -> Path:
    """Where the report of a clips file lies; ending: json or html."""
    path = Path(clips_path)
    return path.with_name(f"{path.name}.report.{ending}")


def _plain(arrays: np.ndarray | Sequence[np.ndarray]) -> Any:
    return arrays.tolist() if isinstance(arrays, np.ndarray) else [a.tolist() for a in arrays]


def _spread(values: np.ndarray) -> Spread:
    """Of the values that are there."""
    values = values[np.isfinite(values)]
    if not len(values):
        return Spread(0, None, None, None)
    return Spread(len(values), *_plain(np.quantile(values, (0.05, 0.5, 0.95))))


def _finding(clips: Clips, value: np.ndarray, chosen: np.ndarray, frames: np.ndarray | None = None, what: Sequence[str] = ()) -> Finding:
    """The clips where `chosen` (N,) holds, those with the largest `value` named; what: (N,) words for each, if there are any."""
    chosen = np.flatnonzero(chosen)
    worst = chosen[np.argsort(-value[chosen], kind="stable")][:WORST]
    named = tuple((clips.names[i], float(value[i]), what[i] if len(what) else "") for i in worst)
    return Finding(len(chosen), 0 if frames is None else int(frames[chosen].sum()), named)


def _lengths(clips: Clips) -> dict[str, Any]:
    frames, names = clips.frames, clips.names
    low, high = int(frames.min()), int(frames.max())
    edges = np.arange(low, high + 2, max(1, -(-(high - low + 1) // BINS)))
    edges = np.append(edges, high + 1) if edges[-1] < high + 1 else edges
    return {
        "quantiles": dict(zip(QUANTILES, _plain(np.percentile(frames, QUANTILES)), strict=True)),
        "shortest": names[int(frames.argmin())],
        "longest": names[int(frames.argmax())],
        "histogram": {"edges": _plain(edges), "counts": _plain(np.histogram(frames, edges)[0])},
    }


def _bones(clips: Clips) -> list[str]:
    """A bone is called by its two joints, from the parent on."""
    joints = clips.skeleton.joints
    return [f"{joints[parent]} – {joints[joint]}" for joint, parent in measurements.bones(clips.skeleton)]


def _odd_bones(clips: Clips, found: Measured) -> Finding:
    """Clips with a bone whose length varies by `LEAST` of itself, `FAR` times as much as in half of the clips, and more than `FAR` times
    the quartiles' distance above the upper one (Tukey's "far out"): tracking that broke. 3-D only: in an image lengths change with the
    view."""
    if clips.skeleton.dimensions == 2:
        return Finding()
    variation = np.nan_to_num(found.variation)  # (N, B)
    low, usual, high = np.quantile(variation, (0.25, 0.5, 0.75), axis=0)
    fence = np.maximum(np.maximum(FAR * usual, high + FAR * (high - low)), LEAST)
    odd: np.ndarray = np.where(variation > fence, variation, 0)
    bone, names = odd.argmax(axis=1), _bones(clips)
    return _finding(clips, odd.max(axis=1), np.asarray(odd.any(axis=1)), what=[names[b] for b in bone])


def _heights(clips: Clips, found: Measured) -> dict[int, Spread]:
    return {int(subject): _spread(found.height[clips.subjects == subject]) for subject in np.unique(clips.subjects)}


def _odd_heights(clips: Clips, found: Measured, heights: dict[int, Spread]) -> Finding:
    """Clips whose first body is half as tall as its performer is otherwise, or half as tall again. 3-D only."""
    if clips.skeleton.dimensions == 2:
        return Finding()
    usual = np.array([heights[int(subject)].median or np.nan for subject in clips.subjects])
    ratio = found.height / usual
    with np.errstate(divide="ignore"):
        distance = np.nan_to_num(np.abs(np.log(ratio)))
    odd = np.flatnonzero((ratio < LOW) | (ratio > HIGH))
    named = odd[np.argsort(-distance[odd], kind="stable")][:WORST]
    return Finding(len(odd), 0, tuple((clips.names[i], float(found.height[i]), f"performer's median {usual[i]:.2f}") for i in named))


def _as_written(clips: Clips, found: Measured) -> WriteReport:
    """What the writer would have reported of clips that are all there: for its warnings."""
    solid = clips.skeleton.dimensions == 3
    heights = np.where(np.isnan(found.height), 0, found.height)  # as the writer counts clips without a body
    per_class = tuple(_plain(np.bincount(clips.labels, minlength=len(clips.class_names))))
    return WriteReport(
        clips.path, len(clips), int(clips.frames.sum()), int((clips.bodies == 2).sum()), per_class, (), {},
        float(np.median(heights)) if solid else float("nan"), float(found.upright.mean()), 0.0,
    )  # fmt: skip
