"""NTU RGB+D 60 and 120 raw skeletons (Shahroudy et al. 2016, Liu et al. 2019): `SsssCcccPpppRrrrAaaa.skeleton` text files, Kinect v2.

A file is a sequence of numbers: frames; per frame the bodies; per body 10 fields, the joint count (25) and 12 fields per joint, of which
the first three are x, y, z in metres, camera space with y up and z away from the camera, 30 Hz.

Bodies are taken as published by CrosSCLR and IKEM: the first two of each frame in file order. A frame without a body is zeros, and a
clip in which no frame has a second body is stored with one.

Other recordings in this format can say what they are in a file `skelmm.json` beside the `.skeleton` files: a table with any of
"title", "class_names", "frame_rate" and "protocol".
"""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import numpy as np

from skelmm_core.errors import DataError, nearest
from skelmm_core.recordings import Dropped, Recording, Source
from skelmm_core.skeletons import NTU25
from skelmm_core.sources import members
from skelmm_core.sources.ntu_names import NAMES

HOLDS = "NTU RGB+D .skeleton files in a folder, zip or tar"
SEVERAL = True
NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")
ABOUT = "skelmm.json"
BODY_FIELDS, JOINTS, JOINT_FIELDS, BODIES = 10, len(NTU25), 12, 2
BODY = BODY_FIELDS + 1 + JOINTS * JOINT_FIELDS  # numbers per body of a frame
COORDINATES = BODY_FIELDS + 1 + np.arange(JOINTS)[:, None] * JOINT_FIELDS + np.arange(3)  # (25, 3) places in a body's numbers


def recognise(path: Path) -> bool:
    """Whether `path` is, or holds, a file named like `S001C002P003R002A013.skeleton`."""
    return members.holds(path, ".skeleton", NAME.fullmatch)


def read(path: Path | tuple[Path, ...], incomplete: str | Path = "") -> Source:
    """The clips of a folder, a zip, a tar or a single file, or of several of them, in the order of their names.

    Args:
        incomplete: text file with the names of recordings to leave out, such as the authors' list of 302 (NTU RGB+D 60) or 535
            (120) samples with missing skeletons; lines that are no such names are skipped.

    Labels are action - 1. The classes are the 60 of NTU RGB+D 60 if no file has a later action, otherwise the 120.
    """
    found = members.members(path, ".skeleton")
    if not found:
        raise DataError(
            f"'{path}' holds no .skeleton file; expected NTU RGB+D's folder, zip or a file like 'S001C002P003R002A013.skeleton'"
        )
    actions = [_numbers(m.path, m.stem)["action"] for m in found]
    about = _about(path, members.members(path, ABOUT))
    names = tuple(about.get("class_names", NAMES if max(actions) > 60 else NAMES[:60]))
    wrong = next((m.path for m, action in zip(found, actions, strict=True) if not 1 <= action <= len(names)), None)
    if wrong:
        raise DataError(
            f"'{wrong}': the action in the name is outside 1..{len(names)}; name further classes in '{ABOUT}' or remove the file"
        )
    left_out = _listed(Path(incomplete)) if incomplete else frozenset()
    return Source(
        title=about.get("title", f"NTU RGB+D {len(names)}"),
        skeleton=NTU25,
        class_names=names,
        frame_rate=float(about.get("frame_rate", 30.0)),
        protocol=about.get("protocol", "cross-subject"),
        fingerprint=members.fingerprint(found, "ntu", sorted(about.items()), sorted(left_out)),
        items=found,
        read=partial(_recording, left_out),
    )


def parse(text: bytes, where: str) -> np.ndarray:
    """Joints (M, T, 25, 3) float32 of one `.skeleton` file, M = 2 if any frame has two bodies or more, else 1.

    Raises `DataError` naming `where` and the frame (from 0) for text that is not numbers, ends early, goes on after the last frame, or
    has another joint count.
    """
    try:
        numbers = np.fromstring(text.strip(), np.float64, sep=" ")  # stops with ValueError at the first thing that is not a number
    except ValueError as problem:
        raise DataError(f"'{where}' is not a .skeleton text of numbers ({problem}); copy it again from its source") from problem
    if not len(numbers):
        raise DataError(f"'{where}' is empty; expected a .skeleton text that begins with the frame count")
    frames = _count(numbers[0], where, "frame count")
    place, bodies, starts = 1, [], []
    for frame in range(frames):
        count = _count(numbers[place], where, f"body count of frame {frame}") if place < len(numbers) else 0
        end = place + 1 + count * BODY
        firsts = range(place + 1, end, BODY)
        for first in firsts:
            if first + BODY_FIELDS < len(numbers) and numbers[first + BODY_FIELDS] != JOINTS:
                raise DataError(
                    f"'{where}', frame {frame}: {numbers[first + BODY_FIELDS]:g} joints, expected {JOINTS}; not a Kinect-v2 skeleton"
                )
        if end > len(numbers):
            raise DataError(f"'{where}' ends in frame {frame} of {frames}; it was cut short: copy it again from its source")
        bodies.append(min(count, BODIES))
        starts.extend(firsts[:BODIES])
        place = end
    if place != len(numbers):
        raise DataError(f"'{where}' goes on after its last frame ({len(numbers) - place} numbers more than {frames} frames take)")
    counts = np.asarray(bodies, np.intp)
    joints = np.zeros((max(1, counts.max(initial=0)), frames, JOINTS, 3), np.float32)
    if starts:
        frame = np.repeat(np.arange(frames), counts)  # (R,) the frame of each body that is kept
        body = np.arange(len(frame)) - np.repeat(np.cumsum(counts) - counts, counts)  # (R,) its number in that frame
        joints[body, frame] = numbers[np.asarray(starts)[:, None, None] + COORDINATES]  # (R, 25, 3)
    return joints


def _count(number: float, where: str, what: str) -> int:
    if not (number.is_integer() and 0 <= number < 1e6):
        raise DataError(f"'{where}': the {what} is {number:g}, expected a whole number; the file is damaged or of another layout")
    return int(number)


def _recording(left_out: frozenset[str], member: members.Member) -> Recording | Dropped:
    if member.stem in left_out:
        return Dropped(member.stem, "listed as incomplete")
    joints = parse(member.read(), member.path)
    if not joints.any():
        return Dropped(member.stem, "no body in any frame")
    numbers = _numbers(member.path, member.stem)
    label = numbers.pop("action") - 1
    return Recording(joints, label, member.stem, **numbers)


def _numbers(path: str, stem: str) -> dict[str, int]:
    name = NAME.fullmatch(stem)
    if not name:
        raise DataError(f"'{path}' is not named like 'S001C002P003R002A013.skeleton', so its class is unknown; rename or remove it")
    return dict(zip(("setup", "view", "subject", "repetition", "action"), map(int, name.groups()), strict=True))


def _listed(path: Path) -> frozenset[str]:
    try:
        words = path.read_text(encoding="utf-8", errors="replace").split()
    except OSError as problem:
        raise DataError(f"can't read the list of incomplete recordings '{path}': {problem.strerror}") from problem
    names = frozenset(stem for stem in (w.removesuffix(".skeleton") for w in words) if NAME.fullmatch(stem))
    if not names:
        raise DataError(f"'{path}' lists no recording; expected lines like 'S001C002P003R002A013'")
    return names


def _about(path: Path | tuple[Path, ...], found: list[members.Member]) -> dict:
    """The table of `skelmm.json`, checked; empty where there is none."""
    kinds = {"title": str, "class_names": list, "frame_rate": (int, float), "protocol": str}
    if not found:
        return {}
    if len(found) > 1:
        raise DataError(f"'{path}' holds {len(found)} files '{ABOUT}'; expected one, which describes all recordings")
    try:
        table = json.loads(found[0].read())
    except ValueError as problem:
        raise DataError(f"'{found[0].path}' is not JSON: {problem}") from problem
    if not isinstance(table, dict):
        raise DataError(f"'{found[0].path}' must be a table with any of {', '.join(kinds)}")
    for key, value in table.items():
        if key not in kinds:
            raise DataError(f"'{found[0].path}' has an unknown field '{key}'{nearest(key, kinds)}")
        if (
            not isinstance(value, kinds[key])
            or isinstance(value, bool)
            or (key == "class_names" and not all(isinstance(v, str) for v in value))
        ):
            raise DataError(
                f"'{found[0].path}': '{key}' is {value!r}; expected a {'list of strings' if key == 'class_names' else 'text or number'}"
            )
    return table
