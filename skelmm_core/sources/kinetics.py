"""Kinetics-skeleton (Yan et al., ST-GCN, AAAI 2018): OpenPose joints in images, one JSON file per video.

A file holds `data`, a list of frames with `frame_index` and `skeleton`, a list of persons with `pose` (36 numbers: x and y of 18 joints as
parts of the image's width and height, y down) and `score` (18 confidences); then `label` and `label_index`. Beside the folders
`kinetics_train` and `kinetics_val` may lie `kinetics_train_label.json` and `kinetics_val_label.json`: name -> `has_skeleton`, `label`,
`label_index`.

As in ST-GCN the two persons of the highest summed confidence are taken in each frame. Their places become x, y in image heights around
the image's middle, y up; a joint that was not seen is zeros.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skelmm_core import skeletons
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.recordings import Dropped, Recording, Source
from skelmm_core.sources import json_text
from skelmm_core.sources.kinetics_files import CLASSES, Video, begins_like, class_names, videos

HOLDS = "Kinetics-skeleton .json files in a folder, zip or tar"
SEVERAL = True
ASPECT = 340 / 256  # width over height: ST-GCN's authors brought all videos to 340 x 256 pixels
JOINTS, BODIES = 18, 2
FRAMES = 10_000  # the longest video that is believed; Kinetics has 300 frames


def recognise(path: Path) -> bool:
    """Whether one of the first JSON files of `path` begins like a Kinetics-skeleton file."""
    return begins_like(path, (b'"frame_index"', b'"skeleton"', b'"pose"'))


def read(path: Path | tuple[Path, ...], aspect: float = ASPECT) -> Source:
    """The videos of a folder, a zip, a tar, or several of them (as `kinetics_train` and `kinetics_val`), in the order of their names.

    Args:
        aspect: width over height of the videos; 1 gives ST-GCN's own numbers, in which x is a part of the width.

    Files in a folder or archive whose name says train get setup 1, those where it says val setup 2. The class names come from the lists
    of labels where there are any, else from the files.
    """
    if isinstance(aspect, bool) or not isinstance(aspect, int | float) or not 0.1 <= aspect <= 10:
        raise SettingsError(f"aspect must be a video's width over its height, 0.1..10, found {aspect!r}")
    found, names, mark = videos(path if isinstance(path, tuple) else (Path(path),))
    if not any(video.member for video in found):
        raise DataError(f"'{path}' holds no .json file; expected Kinetics-skeleton's folders kinetics_train and kinetics_val")
    labels = class_names(names or Counter(filter(None, map(Video.ends, found))), str(path))
    return Source(
        title="Kinetics-skeleton",
        skeleton=skeletons.get("openpose18"),
        class_names=labels,
        frame_rate=30.0,
        protocol="setup == 1" if {1, 2} <= {video.part for video in found if video.member} else "",
        fingerprint=mark("kinetics", float(aspect)),
        items=found,
        read=partial(_recording, labels, float(aspect)),
    )


def _recording(names: Sequence[str], aspect: float, video: Video) -> Recording | Dropped:
    if video.member is None:
        return Dropped(video.stem, "in a list of labels, but without a file")
    if not video.seen:
        return Dropped(video.stem, "listed as without a skeleton")
    where = video.member.path
    table = json_text.parse(video.member.read(), where)
    label = json_text.whole(json_text.field(table, "label_index", where), -1, CLASSES - 1, where, "label_index")
    if label == -1:
        return Dropped(video.stem, "without a label")
    _agrees(label, json_text.text(json_text.field(table, "label", where), where, "label"), names, video.listed, where)
    joints, beyond = _joints(json_text.field(table, "data", where), aspect, where)
    if not joints.any():
        return Dropped(video.stem, "no body in any frame")
    changes = {"bodies beyond the second": beyond} if beyond else {}
    return Recording(joints, label, video.stem, setup=video.part, changes=changes)


def _agrees(label: int, name: str, names: Sequence[str], listed: int | None, where: str) -> None:
    if listed not in (None, label):
        raise DataError(f"'{where}': label_index is {label}, the list of labels has {listed}; one of both is wrong")
    if label >= len(names) or names[label] != name:
        known = f"'{names[label]}'" if label < len(names) else "none"
        raise DataError(f"'{where}': label_index {label} is called {name!r}, elsewhere {known}; one of both is wrong")


def _joints(data: Any, aspect: float, where: str) -> tuple[np.ndarray, int]:
    """(M, T, 18, 3) float32: x, y, confidence; and how many persons were left out. M = 2 where any frame has two."""
    places, poses, scores, names, length = _persons(data, where)
    if not places:
        return np.zeros((1, length, JOINTS, 3), np.float32), 0
    pose = _within(poses, -1, 2, "a part of the image's width or height, 0..1", where, [f"{n}.pose" for n in names])  # (R, 36)
    score = _within(scores, 0, 2, "a confidence of 0..1", where, [f"{n}.score" for n in names])  # (R, 18)
    frame, total = np.array(places), score.sum(axis=1)
    order = np.lexsort((-total, frame))  # stable: persons of the same confidence stay in the file's order
    frame = frame[order]
    rank = np.arange(len(frame)) - np.searchsorted(frame, frame)  # (R,) a person's place in its frame
    kept = rank < BODIES
    frame, rank, order = frame[kept], rank[kept], order[kept]
    x, y, confidence = pose[order, 0::2], pose[order, 1::2], score[order]  # (K, 18)
    unseen = (confidence == 0) | ((x == 0) & (y == 0))
    joints = np.zeros((rank.max() + 1, length, JOINTS, 3), np.float32)
    joints[rank, frame] = np.where(unseen[..., None], 0, np.stack([(x - 0.5) * aspect, 0.5 - y, confidence], axis=-1))
    present = np.array(joints.any(axis=(1, 2, 3)))
    present[0] = True
    return joints[present], int((~kept).sum())


def _persons(data: Any, where: str) -> tuple[list[int], list[list[Any]], list[list[Any]], list[str], int]:
    """Of every person in every frame: the frame (from 0), pose, score, and what it is called in messages; and the number of frames.

    Frames are counted from 0 where one has the index 0, else from 1. An index may be left out: nobody was seen there.
    """
    places, poses, scores, names, seen = [], [], [], [], set()
    if type(data) is not list:
        raise DataError(f"'{where}': data must be a list of frames, found {json_text.shown(data)}")
    for i, frame in enumerate(data):
        name = f"data[{i}]"
        index = json_text.whole(json_text.field(frame, "frame_index", where, name), 0, FRAMES, where, f"{name}.frame_index")
        if index in seen:
            raise DataError(f"'{where}': {name}.frame_index is {index}, as that of an earlier frame; copy it again from its source")
        seen.add(index)
        persons = json_text.field(frame, "skeleton", where, name)
        if type(persons) is not list:
            raise DataError(f"'{where}': {name}.skeleton must be a list of persons, found {json_text.shown(persons)}")
        for j, person in enumerate(persons):
            called = f"{name}.skeleton[{j}]"
            poses.append(json_text.nested(json_text.field(person, "pose", where, called), (2 * JOINTS,), where, f"{called}.pose"))
            scores.append(json_text.nested(json_text.field(person, "score", where, called), (JOINTS,), where, f"{called}.score"))
            places.append(index)
            names.append(called)
    first = 0 if 0 in seen else 1
    return [place - first for place in places], poses, scores, names, max(seen, default=first - 1) - first + 1


def _within(rows: list[list[Any]], low: float, high: float, what: str, where: str, names: list[str]) -> np.ndarray:
    """Rows of numbers as float64, all of them in low..high."""
    try:
        array = np.array(rows, np.float64)
    except OverflowError:  # a whole number of hundreds of digits
        array = np.array([[float(v) if abs(v) < 1e9 else math.inf for v in row] for row in rows])
    wrong = ~((array >= low) & (array <= high))  # NaN is wrong, too
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        found = json_text.shown(rows[row][column])
        raise DataError(f"'{where}': {names[row]}[{column}] is {found}, expected {what}; the file is damaged or of another kind")
    return array
