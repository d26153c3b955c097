"""PYSKL and MMAction2 pickles: `ntu60_3danno.pkl`, `ntu120_3danno.pkl`, and those of joints that were found in images.

A pickle holds ``{"split": {name: [frame_dir ...]}, "annotations": [...]}``; an annotation has `frame_dir` (its name), `label` (from 0),
`total_frames` and `keypoint`: float16 (M, T, 25, 3) metres, y up, which become ntu25; or (M, T, 17, 2) pixels with `keypoint_score`
(M, T, 17) and `img_shape` (height, width), which become coco17 in image heights: x = (x - w / 2) / h, y = (h / 2 - y) / h, third number
the score, and zeros where the score is 0. The pickle is read without running anything (`pickles`), the joints clip by clip.

Of more than two bodies the two that move most (3-D: the summed variance of their coordinates) or were seen best (2-D: summed score) are
kept, in the file's order; bodies that are never there are left away.

A split is a pair of lists, such as `xsub_train` and `xsub_val` (or `_test`; named "xsub"), or `train1` and `test1` (named "1"). Lists
over NTU names that follow the rule of cross-subject, cross-view or cross-setup become that protocol. Of other data sets the part is
stored as `setup` (1 training, 2 test or validation, 3 validation beside a test list) and the protocol is ``setup == 1``. Clips in no
list of the split are left out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skelmm_core import skeletons
from skelmm_core.errors import DataError, SettingsError, nearest
from skelmm_core.recordings import Dropped, Recording, Source
from skelmm_core.sources import pickles
from skelmm_core.sources.parts import TEST, TRAIN, VALIDATION, Naming, naming, protocol, stem
from skelmm_core.sources.pickle_names import described
from skelmm_core.sources.stored import Stored, digest

HOLDS = "a PYSKL or MMAction2 pickle with split and annotations"
KINDS = {(25, 3): "ntu25", (17, 2): "coco17"}  # joints and coordinates of a keypoint array
LARGEST_IMAGE = 1 << 16  # pixels
_HEAD = re.compile(rb"(\x80[\x02-\x05])?(\x95.{8})?(\(d|\}).{0,24}?(split|annotations)", re.DOTALL)
_LIST = re.compile(r"(.*?)[_-]?(train|val|test)(\d*)")
_PREFERRED = ("xsub", "xview", "xset")


def recognise(path: Path) -> bool:
    """Whether `path` is a file that begins as a pickle of a table does whose first key is split or annotations."""
    try:
        with open(path, "rb") as file:
            return bool(_HEAD.match(file.read(128)))
    except OSError:
        return False


def read(path: Path, split: str = "", class_names: str | Path = "") -> Source:
    """The clips of a pickle in its order.

    Args:
        split: the split that becomes the protocol, "" for cross-subject or else the only one.
        class_names: text file with a name a line; without it NTU's names, or "class 0", "class 1", ...

    Raises `DataError` for a file that is no such pickle, a clip in both parts, and lists over NTU names that follow no NTU rule;
    `SettingsError` for a split that is not there or has to be chosen.
    """
    path = Path(path)
    table = pickles.load(path)
    annotations = table.get("annotations") if isinstance(table, dict) else None
    if not isinstance(annotations, list | tuple) or not annotations:
        found = f"annotations = {described(annotations)}" if isinstance(table, dict) else described(table)
        raise DataError(f"'{path}': expected a table with 'split' and a list of 'annotations', found {found}")
    kind = _kind(annotations, path)
    names = naming(_labelled(annotations), class_names, f"'{path}'")
    chosen, lists = _chosen(table.get("split") or {}, names, str(split), path)
    parts = _parts(lists, chosen, path)
    flat = KINDS[kind] == "coco17"
    return Source(
        title=f"{_data_set(names)}{path.name}{', joints in images' if flat else ''}",
        skeleton=skeletons.get(KINDS[kind]),
        class_names=names.class_names,
        frame_rate=30.0,
        protocol=protocol(names, lists, chosen, f"'{path}', split '{chosen}'") if lists else "cross-subject" if names.ntu else "",
        fingerprint=hashlib.sha256(repr((digest(path), "pyskl", chosen, names)).encode()).hexdigest(),
        items=Annotations(annotations, parts),
        read=partial(_recording, kind, names, f"in neither part of split '{chosen}'" if lists else ""),
    )


@dataclass(frozen=True, slots=True)
class Annotation:
    """One clip: its name, its fields, and its part in the split, -1 for none."""

    stem: str
    fields: Any
    part: int


class Annotations(Sequence):
    def __init__(self, annotations: Sequence[Any], parts: dict[str, int]):
        self._annotations, self._parts = annotations, parts

    def __len__(self) -> int:
        return len(self._annotations)

    def __getitem__(self, i: int) -> Annotation:
        i = range(len(self))[i]
        name = _name(self._annotations[i])
        return Annotation(stem(name) if name else f"annotation {i}", self._annotations[i], self._parts.get(name, -1))


def _name(annotation: Any) -> str:
    name = annotation.get("frame_dir") if isinstance(annotation, dict) else None
    return name if isinstance(name, str) else ""


def _labelled(annotations: Sequence[Any]) -> list[tuple[str, int]]:
    usable = ((_name(a), a.get("label")) for a in annotations if isinstance(a, dict))
    return [(stem(name), label) for name, label in usable if name and type(label) is int]


def _kind(annotations: Sequence[Any], path: Path) -> tuple[int, int]:
    """Joints and coordinates of most keypoint arrays, of the first hundred that have four axes."""
    found = [k.shape[2:] for a in annotations if isinstance(a, dict) and isinstance(k := a.get("keypoint"), Stored) and len(k.shape) == 4]
    kind = max(set(found[:100]), key=found[:100].count, default=None)
    if kind not in KINDS:
        what = f"{kind[0]} joints with {kind[1]} numbers" if kind else "no array of four axes"
        known = " or ".join(f"{joints} joints with {numbers} numbers ({KINDS[joints, numbers]})" for joints, numbers in KINDS)
        raise DataError(f"'{path}': 'keypoint' has {what}, expected (bodies, frames, joints, numbers) with {known}")
    return kind


def _data_set(names: Naming) -> str:
    return f"NTU RGB+D {60 if len(names.class_names) <= 60 else 120}, " if names.by_action else ""


def _splits(table: Any, path: Path) -> dict[str, dict[int, list[str]]]:
    """Lists of names by part, by the names of splits; only splits that have a training list and another."""
    if not isinstance(table, dict):
        raise DataError(f"'{path}': 'split' is {described(table)}, expected a table of lists of names")
    found: dict[str, dict[str, Any]] = {}
    for key, value in table.items():
        if isinstance(key, str) and (name := _LIST.fullmatch(key)):
            found.setdefault((name[1] + name[3]) or "train", {})[name[2]] = pickles.texts(value, f"'{path}': split {key[:40]!r}")
    splits = {}
    for key, lists in found.items():
        if "train" in lists and len(lists) > 1:
            second, third = (lists.get("test"), lists.get("val")) if "test" in lists else (lists["val"], None)
            splits[key] = {TRAIN: lists["train"], TEST: second} | ({VALIDATION: third} if third else {})
    if table and not splits:
        raise DataError(
            f"'{path}': 'split' holds {', '.join(map(described, list(table)[:4]))}; expected pairs such as xsub_train, xsub_val"
        )
    return splits


def _chosen(table: Any, names: Naming, split: str, path: Path) -> tuple[str, dict[int, list[str]]]:
    """Name and lists of the split that becomes the protocol."""
    splits = _splits(table, path)
    if split and split not in splits:
        known = f"{nearest(split, splits)} (the file has {', '.join(splits)})" if splits else "; the file has none"
        raise SettingsError(f"'{path}' has no split '{split}'{known}")
    if not splits:
        return "", {}
    if split or len(splits) == 1:
        split = split or next(iter(splits))
    else:
        split = next((key for key in _PREFERRED if key in splits and names.ntu), "")
    if not split:
        raise SettingsError(f"'{path}' has {len(splits)} splits, {', '.join(splits)}: say with split=... which one becomes the protocol")
    return split, splits[split]


def _parts(lists: dict[int, list[str]], split: str, path: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for part, names in lists.items():
        for name in names:
            if found.setdefault(name, part) != part:
                raise DataError(
                    f"'{path}': clip {name[:80]!r} is in two parts of split '{split}'; a model would be tested on what it learnt"
                )
    return found


def _recording(kind: tuple[int, int], names: Naming, unlisted: str, item: Annotation) -> Recording | Dropped:
    fields, where = item.fields, f"clip {item.stem[:80]!r}"
    if fields is None:
        return Dropped(item.stem, "an annotation without content (None)")
    if not isinstance(fields, dict) or not _name(fields):
        raise DataError(f"{where} is {described(fields)} without a name in 'frame_dir'; expected a table")
    if type(fields.get("label")) is not int:
        raise DataError(f"{where}: 'label' is {described(fields.get('label'))}, expected an integer from 0 on")
    if unlisted and item.part < 0:
        return Dropped(item.stem, unlisted)
    keypoint = _array(fields, "keypoint", (None, None, *kind), where)
    bodies, frames = keypoint.shape[:2]
    if fields.get("total_frames", frames) != frames:
        raise DataError(f"{where}: 'total_frames' is {described(fields['total_frames'])}, 'keypoint' has {frames} frames")
    if not bodies or not frames:
        return Dropped(item.stem, "no body in any frame")
    joints, rank = (_in_space if kind == (25, 3) else _in_image)(keypoint, fields, where)
    with np.errstate(invalid="ignore"):
        present = np.flatnonzero(joints.any(axis=(1, 2, 3)))
    if not len(present):
        return Dropped(item.stem, "no body in any frame")
    kept = np.sort(sorted(present, key=lambda m: -rank[m])[:2])
    changes = {"bodies beyond the second": len(present) - 2} if len(present) > 2 else {}
    numbers = names.numbers(item.stem, fields["label"], item.part)
    return Recording(joints[kept], fields["label"], item.stem, **numbers, changes=changes)


def _array(fields: dict[str, Any], key: str, shape: tuple[int | None, ...], where: str) -> Stored:
    array = fields.get(key)
    good = isinstance(array, Stored) and len(array.shape) == len(shape) and array.kind in "fiu"
    if not good or any(b is not None and a != b for a, b in zip(array.shape, shape, strict=True)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise DataError(f"{where}: '{key}' is {described(array)}, expected numbers of the shape ({wanted})")
    return array


def _in_space(keypoint: Stored, fields: dict[str, Any], where: str) -> tuple[np.ndarray, np.ndarray]:
    """Joints (M, T, 25, 3) in metres, and how much every body moves: the sum over joints and axes of the variance, metres^2."""
    joints = keypoint.load().astype(np.float32, copy=False)
    if len(joints) <= 2:
        return joints, np.zeros(len(joints))
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused when the clip is checked
        frames = [body[body.any(axis=(1, 2))] for body in joints]
        return joints, np.array([np.nan_to_num(body.var(axis=0, dtype=np.float64).sum()) if len(body) else 0.0 for body in frames])


def _in_image(keypoint: Stored, fields: dict[str, Any], where: str) -> tuple[np.ndarray, np.ndarray]:
    """x, y in image heights around the middle, y up, and score (M, T, 17, 3), and every body's summed score."""
    score = _array(fields, "keypoint_score", keypoint.shape[:3], where).load().astype(np.float32, copy=False)
    if not np.isfinite(score).all():
        raise DataError(f"{where}: 'keypoint_score' holds numbers that are not finite; repair the clip or leave it out")
    size = fields.get("img_shape")
    if not isinstance(size, tuple | list) or len(size) != 2 or any(type(n) is not int or not 0 < n < LARGEST_IMAGE for n in size):
        found = tuple(size) if isinstance(size, tuple | list) and all(type(n) is int and n < 1 << 40 for n in size[:4]) else described(size)
        raise DataError(f"{where}: 'img_shape' is {str(found)[:60]}, expected (height, width) in pixels")
    height, width = size
    pixels = keypoint.load().astype(np.float32, copy=False)
    joints = np.stack([(pixels[..., 0] - width / 2) / height, (height / 2 - pixels[..., 1]) / height, score], axis=-1)  # (M, T, 17, 3)
    joints[score <= 0] = 0
    return joints, score.clip(0).sum(axis=(1, 2))
