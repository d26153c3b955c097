"""PKU-MMD, parts I and II (Liu et al., arXiv:1703.07475): untrimmed videos, cut into one clip per labelled interval.

A video is a text `0002-L.txt` (part I) or `A01N01-L.txt` (part II: N is the performer), L, M or R the camera: a line per frame with 150
numbers, two bodies x 25 joints of ntu25 x (x, y, z) in metres, camera space with y up, 30 Hz. A second text of the same name in another
folder has its labels: lines `label,start,end,confidence`, label from 1, frames from 1, both inclusive.

Clips are called after the video and the line of their label: `0002-L_001`. A second body that is zeros throughout a clip is left away.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skelmm_core.errors import DataError
from skelmm_core.recordings import Dropped, Found, Recording, Source
from skelmm_core.skeletons import NTU25
from skelmm_core.sources import members
from skelmm_core.sources.ntu_text import misfit
from skelmm_core.sources.pku_names import NAMES

HOLDS = "PKU-MMD skeleton and label .txt files in a folder, zip or tar, or in two"
SEVERAL = True
NAME = re.compile(r"(\d{4}|A\d{2}N(?P<subject>\d{2}))-(?P<view>[LMR])")
VIEWS = {"L": 1, "M": 2, "R": 3}
BODIES, JOINTS = 2, len(NTU25)
FIELDS = BODIES * JOINTS * 3  # numbers per frame
LABELS = re.compile(rb"\s*-?\d+\s*(,\s*-?[\d.]+\s*){1,9}(?:\n|\r|$)")  # how a text of labels begins
INTERVAL = re.compile(r"\s*(-?\d{1,9})\s*,\s*(-?\d{1,9})\s*,\s*(-?\d{1,9})\s*,\s*[\d.]{1,9}\s*")
WHAT = {"joints": f"text of {FIELDS} numbers per line", "labels": "text of labels like '12,34,56,2'"}
LARGEST_LABELS = 1 << 16  # bytes; a video has about twenty intervals of a dozen bytes
OVERLAP = 4  # how often a video's intervals may cover it in all: what they hold waits in memory


@dataclass(frozen=True)
class Video:
    """What belongs to one name: texts of joints, texts of labels, both empty or one each if all is well; others of neither kind.

    setup: 1 trains and 2 tests by a split file, 0 is in neither of its lists, -1: no split file.
    """

    stem: str
    joints: tuple[members.Member, ...]
    labels: tuple[members.Member, ...]
    others: tuple[members.Member, ...]
    setup: int


def recognise(path: Path) -> bool:
    """Whether `path` is, or holds, a file named like `0002-L.txt` or `A01N01-L.txt`."""
    return members.holds(path, ".txt", NAME.fullmatch)


def read(path: Path | tuple[Path, ...], split: str | Path = "") -> Source:
    """The labelled intervals of all videos, in the order of names and label lines.

    Args:
        split: one of the data set's split files (``cross-subject.txt``, ``cross-view.txt``): the videos of its first list get setup 1
            and train, those of the second get setup 2, others are left out. Without it cameras M and R train, L tests.

    Raises `DataError` where there is no video, or no labels at all.
    """
    found = [m for m in members.members(path, ".txt") if NAME.fullmatch(m.stem)]
    parts = split_file(Path(split)) if split else None
    videos = _videos(found, parts)
    for kind, what in WHAT.items():
        if not any(getattr(video, kind) for video in videos):
            raise DataError(f"'{_shown(path)}' holds no {what} named like '0002-L.txt'; name both folders, or the one that both are in")
    if parts and not any(video.setup == 1 for video in videos):
        raise DataError(
            f"'{split}' trains with none of the {len(videos)} videos of '{_shown(path)}', e.g. '{videos[0].stem}'; is it of the other part?"
        )
    second = {bool(NAME.fullmatch(v.stem)["subject"]) for v in videos}
    return Source(
        title={frozenset({False}): "PKU-MMD I", frozenset({True}): "PKU-MMD II"}.get(frozenset(second), "PKU-MMD"),
        skeleton=NTU25,
        class_names=NAMES,
        frame_rate=30.0,
        protocol="setup == 1" if parts else "train-views:2,3",
        fingerprint=members.fingerprint(found, "pku-mmd", sorted(parts.items()) if parts else ""),
        items=videos,
        read=_clips,
    )


def split_file(path: Path) -> dict[str, int]:
    """Video -> 1 (trains) or 2 (tests), of a file of four lines: heading, names, heading, names; names with commas between."""
    try:
        lines = path.read_bytes()[: 1 << 20].decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"can't read the split file '{path}': {problem}") from problem
    lists = [[name.strip().removesuffix(".txt") for name in line.split(",") if name.strip()] for line in lines if line.strip()]
    names = [[name for name in part if NAME.fullmatch(name)] for part in lists]
    if len(lists) != 4 or names[0] or names[2] or names[1] != lists[1] or names[3] != lists[3]:
        raise DataError(
            f"'{path}' is no split file of PKU-MMD: expected four lines: a heading, names like '0002-L' with commas between, and both again"
        )
    both = sorted(set(names[1]) & set(names[3]))
    if both:
        raise DataError(f"'{path}' has {len(both)} videos in both lists, e.g. '{both[0]}'; a video can't train and test")
    return {**dict.fromkeys(names[1], 1), **dict.fromkeys(names[3], 2)}


def _videos(found: list[members.Member], parts: dict[str, int] | None) -> list[Video]:
    kinds: dict[str, tuple[list[Any], list[Any], list[Any]]] = {}
    for member in found:
        kinds.setdefault(member.stem, ([], [], []))[_kind(member)].append(member)
    return [Video(stem, *map(tuple, texts), -1 if parts is None else parts.get(stem, 0)) for stem, texts in sorted(kinds.items())]


def _kind(member: members.Member) -> int:
    """0: joints, 1: labels, 2: neither. A text larger than labels can be must be joints; a damaged one is found out when it is read."""
    if member.size > LARGEST_LABELS:
        return 0
    try:
        content = member.read()
    except DataError:
        return 2
    if LABELS.match(content):
        return 1
    return 0 if len(content.split(b"\n", 1)[0].split()) > 4 else 2


def _clips(video: Video) -> Iterator[Found]:
    """All clips of a video. Labels that don't fit are damaged clips, and the others stand."""
    texts = len(video.joints + video.labels + video.others)
    if video.setup == 0:
        yield Dropped(video.stem, "in neither list of the split file")
    elif texts == len(video.joints) == 1:
        yield Dropped(video.stem, "no text of labels of that name")
    elif texts == len(video.labels) == 1:
        yield Dropped(video.stem, "labels without a video of that name")
    else:
        labels = _only(video, "labels")
        yield from _cut(video, frames(_only(video, "joints")), labels)


def _only(video: Video, kind: str) -> members.Member:
    found = getattr(video, kind)
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"'{found[0].path}' and '{found[1].path}' both have the {kind} of one video; keep one of them")
    others = " and ".join(f"'{m.path}'" for m in (video.others or video.joints or video.labels)[:2])
    raise DataError(f"{others}: expected a {WHAT[kind]} under this name, found none; copy it again from its source")


def frames(member: members.Member) -> np.ndarray:
    """The joints of a video, (2, T, 25, 3) float32; raises `DataError` naming file and line where a line has not 150 numbers."""
    content = member.read().rstrip()
    lines = content.splitlines()
    for number, line in enumerate(lines, 1):
        count = len(line.split(None, FIELDS))
        if count != FIELDS:
            more = "more" if count > FIELDS else str(count)
            raise DataError(
                f"'{member.path}', line {number}: {more} numbers, expected {FIELDS} (2 bodies x 25 joints x xyz); it may be cut short: "
                "copy it again from its source"
            )
    try:
        numbers = np.fromstring(content, np.float32, sep=" ") if lines else np.empty(0, np.float32)
    except ValueError as problem:
        raise DataError(f"'{member.path}', {misfit(content)}, expected a number; copy it again from its source") from problem
    if numbers.size != len(lines) * FIELDS:
        raise DataError(f"'{member.path}': {numbers.size} numbers can be read of the {len(lines) * FIELDS} in its lines; copy it again")
    return np.ascontiguousarray(numbers.reshape(-1, BODIES, JOINTS, 3).swapaxes(0, 1))


def _cut(video: Video, joints: np.ndarray, member: members.Member) -> Iterator[Found]:
    numbers = NAME.fullmatch(video.stem)
    facts = dict(view=VIEWS[numbers["view"]], setup=video.setup, subject=int(numbers["subject"] or -1))
    try:
        lines = member.read(LARGEST_LABELS).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as problem:
        raise DataError(f"'{member.path}' is not a text of labels ({problem})") from problem
    room, count = OVERLAP * joints.shape[1], 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, count = f"{video.stem}_{number:03d}", count + 1
        try:
            label, start, end = interval(line, joints.shape[1])
            room -= end - start + 1
            if room < 0:
                raise DataError(f"the intervals up to here cover the video more than {OVERLAP} times")
        except DataError as problem:
            yield Dropped(name, f"'{member.path}', line {number}: {problem}", damaged=True)
            continue
        clip = joints[:, start - 1 : end]
        clip = clip[clip.any(axis=(1, 2, 3))]  # (M, T, 25, 3) without a body that is zeros throughout
        yield Recording(clip, label - 1, name, **facts) if len(clip) else Dropped(name, "no body in any frame")
    if not count:
        yield Dropped(video.stem, "no interval in its labels", damaged=True)


def interval(line: str, length: int) -> tuple[int, int, int]:
    """Label, first and last frame of a line of labels, checked against a video's length."""
    found = INTERVAL.fullmatch(line)
    if not found:
        raise DataError(f"expected 'label,start,end,confidence', found {line[:40]!r}")
    label, start, end = map(int, found.groups())
    if not 1 <= label <= len(NAMES):
        raise DataError(f"label {label} is outside 1..{len(NAMES)}")
    if start > end:
        raise DataError(f"the interval starts in frame {start}, after its end in frame {end}")
    if start < 1 or end > length:
        raise DataError(f"the interval {start}..{end} is outside the video's frames 1..{length}")
    return label, start, end


def _shown(path: Path | tuple[Path, ...]) -> str:
    return "' and '".join(map(str, path)) if isinstance(path, tuple) else str(path)
