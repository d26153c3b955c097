"""From the rows of one clip to its joints."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skelmm_core.errors import DataError, nearest
from skelmm_core.skeletons import Skeleton
from skelmm_core.sources.members import LARGEST_MEMBER
from skelmm_core.sources.table_runs import Columns

BODIES = 2


def plain(name: str) -> str:
    """A joint's name as it is compared: in small letters, words divided by one blank."""
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def joints(rows: Columns, skeleton: Skeleton, where: Callable[[int], str]) -> tuple[np.ndarray, dict[str, int]]:
    """(M, T, V, 3) float32 as in the table, M = 1 or 2, and what was taken away; frames that are left out, and bodies that are not in a
    frame, are zeros.

    where: begins a message about a row of the clip, by its number in messages. Raises `DataError` for places that are not finite, frames
    that are not whole numbers or too far apart, joints that the skeleton does not have, a joint that is there twice, and a body of a
    frame that lacks one.
    """
    _refuse(~np.isfinite(rows.xyz).all(axis=1), rows, where, lambda i: f"x, y, z are {rows.xyz[i].tolist()}, expected finite numbers")
    wrong = (rows.frame != np.floor(rows.frame)) | (np.abs(rows.frame) > 2**53) | np.isnan(rows.frame)
    _refuse(wrong, rows, where, lambda i: f"frame is {rows.frame[i]:g}, expected a whole number")
    joint, body, count = _numbered(rows.joint, skeleton, rows, where), np.zeros(len(rows.frame), np.int64), 1
    if rows.body is not None:
        body, count = _bodies(rows.body)
    kept = body < BODIES
    first, last = rows.frame[kept].min(), rows.frame[kept].max()
    frames, bodies = int(last - first) + 1, min(count, BODIES)
    if bodies * frames * len(skeleton) * 12 > LARGEST_MEMBER:
        raise DataError(f"{where(rows.lines[0])}: frames go from {first:.0f} to {last:.0f}, more than any recording")
    place = (body[kept] * frames + (rows.frame[kept] - first).astype(np.int64)) * len(skeleton) + joint[kept]
    times = np.bincount(place, minlength=bodies * frames * len(skeleton))
    if times.max() > 1:
        again = np.flatnonzero(place == times.argmax())[:2]
        one, other = rows.lines[kept][again]
        raise DataError(f"{where(other)}: the same frame, body and joint as in {one}; leave one of them out")
    per_body = times.reshape(bodies, frames, len(skeleton))
    lacking = np.argwhere((per_body == 0) & per_body.any(axis=2, keepdims=True))
    if len(lacking):
        m, frame, v = lacking[0]
        row = np.flatnonzero(kept)[np.flatnonzero(place // len(skeleton) == m * frames + frame)[0]]
        of = f" of body '{rows.body[int(row)].as_py()[:50]}'" if rows.body is not None else ""
        lacks = f"frame {first + frame:.0f}{of} lacks joint {v} ({skeleton.joints[v]})"
        raise DataError(f"{where(rows.lines[row])}: {lacks}; add its row, or leave that frame out")
    found = np.zeros((bodies * frames * len(skeleton), 3), np.float32)
    with np.errstate(over="ignore"):  # what is beyond float32 becomes inf, which is refused when the clip is checked
        found[place] = rows.xyz[kept]
    return found.reshape(bodies, frames, len(skeleton), 3), {"bodies beyond the second": count - BODIES} if count > BODIES else {}


def _refuse(wrong: np.ndarray, rows: Columns, where: Callable[[int], str], words: Callable[[int], str]) -> None:
    if wrong.any():
        i = int(wrong.argmax())
        raise DataError(f"{where(rows.lines[i])}: {words(i)}; repair the row or leave the clip out")


def _numbered(names: pa.Array, skeleton: Skeleton, rows: Columns, where: Callable[[int], str]) -> np.ndarray:
    """(n,) numbers of joints that are given by their numbers or names."""
    known = {str(i): i for i in range(len(skeleton))} | {plain(name): i for i, name in enumerate(skeleton.joints)}
    coded = names.dictionary_encode()
    codes = coded.indices.to_numpy(zero_copy_only=False)
    numbers = np.array([known.get(plain(text.removesuffix(".0")), -1) for text in coded.dictionary.to_pylist()])[codes]
    _refuse(
        numbers < 0,
        rows,
        where,
        lambda i: (
            f"joint '{names[i].as_py()[:50]}' is none of skeleton '{skeleton.name}' (0 to {len(skeleton) - 1})"
            f"{nearest(names[i].as_py()[:50], skeleton.joints)}"
        ),
    )
    return np.asarray(numbers)


def _bodies(names: pa.Array) -> tuple[np.ndarray, int]:
    """(n,) places of bodies in the order of their numbers, or of the alphabet if they are not all whole numbers; and how many there are."""
    coded = names.dictionary_encode()
    texts = coded.dictionary.to_pylist()
    whole = pc.all(pc.match_substring_regex(coded.dictionary, r"^[+-]?\d{1,18}$")).as_py()
    order = sorted(range(len(texts)), key=(lambda i: int(texts[i])) if whole else texts.__getitem__)
    rank = np.empty(len(texts), np.int64)
    rank[order] = np.arange(len(texts))
    return rank[coded.indices.to_numpy(zero_copy_only=False)], len(texts)
