"""NTU RGB+D 60 and 120 raw skeletons (Shahroudy et al. 2016, Liu et al. 2019): `SsssCcccPpppRrrrAaaa.skeleton` text files, Kinect v2.

Joints are in metres, camera space with y up and z away from the camera, 30 Hz. `ntu_text` knows the text, `bodies` which bodies to take; a
clip in which no frame has a second body is stored with one.

Other recordings in this format can say what they are in a file `skelmm.json` beside the `.skeleton` files: a table with any of
"title", "class_names", "frame_rate" and "protocol".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skelmm_core.errors import DataError, SettingsError, nearest
from skelmm_core.recordings import Dropped, Found, Recording, Source
from skelmm_core.skeletons import NTU25
from skelmm_core.sources import json_text, members, ntu_text
from skelmm_core.sources.bodies import BODIES, as_published, tracked
from skelmm_core.sources.ntu_names import NAMES

HOLDS = "NTU RGB+D .skeleton files in a folder, zip or tar"
SEVERAL = True
NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")
ABOUT = "skelmm.json"
CHOICES = ("as-published", "tracked", "tracked-strict")
MANY, TOGETHER, VOLUME = 1000, 8, 1 << 21  # where there are so many files, up to 8 and 2 MiB are read together, which is faster


def recognise(path: Path) -> bool:
    """Whether `path` is, or holds, a file named like `S001C002P003R002A013.skeleton`."""
    return members.holds(path, ".skeleton", NAME.fullmatch)


def read(path: Path | tuple[Path, ...], incomplete: str | Path = "", bodies: str = "as-published") -> Source:
    """The clips of a folder, a zip, a tar or a single file, or of several of them, in the order of their names.

    Args:
        incomplete: text file with the names of recordings to leave out, such as the authors' list of 302 (NTU RGB+D 60) or 535
            (120) samples with missing skeletons; lines that are no such names are skipped. Recordings without a body in any frame are
            left out in any case.
        bodies: "as-published", the first two of each frame in file order; "tracked" by their ids and denoised as the public code does it;
            or "tracked-strict", denoised with everything that is written about it (see `bodies`).

    Labels are action - 1. The classes are the 60 of NTU RGB+D 60 if no file has a later action, otherwise the 120.
    """
    if bodies not in CHOICES:
        raise SettingsError(f"'bodies' must be {' or '.join(CHOICES)}, found '{bodies}'{nearest(str(bodies), CHOICES)}")
    found = members.members(path, ".skeleton")
    if not found:
        raise DataError(
            f"'{path}' holds no .skeleton file; expected NTU RGB+D's folder, zip or a file like 'S001C002P003R002A013.skeleton'"
        )
    actions = [int(name[5]) for m in found if (name := NAME.fullmatch(m.stem))]
    if not actions:
        _numbers(found[0], 0)  # raises, saying how files are named
    about = _about(path, members.members(path, ABOUT))
    later = any(60 < action <= len(NAMES) for action in actions)
    names = tuple(about.get("class_names", NAMES if later else NAMES[:60]))
    left_out = _listed(Path(incomplete)) if incomplete else frozenset()
    return Source(
        title=about.get("title", f"NTU RGB+D {len(names)}"),
        skeleton=NTU25,
        class_names=names,
        frame_rate=float(about.get("frame_rate", 30.0)),
        protocol=about.get("protocol", "cross-subject"),
        fingerprint=members.fingerprint(found, "ntu", sorted(about.items()), sorted(left_out), bodies),
        items=found if len(found) < MANY else _together(found),
        read=partial(_found, len(names), left_out, bodies),
    )


def parse(text: bytes, where: str) -> np.ndarray:
    """Joints (M, T, 25, 3) float32 of one `.skeleton` file as published, T = 0 if there is none. Raises `DataError` as `ntu_text.scene`."""
    return as_published(ntu_text.scene(text, where, BODIES)).joints


@dataclass(frozen=True)
class Files:
    """Some files that are read together. A damaged one among them doesn't raise: it becomes a `Dropped`."""

    members: tuple[members.Member, ...]

    @property
    def stem(self) -> str:
        return f"{self.members[0].stem} to {self.members[-1].stem}"


def _together(found: list[members.Member]) -> list[Files]:
    groups: list[Files] = []
    group: list[members.Member] = []
    volume = 0
    for member in found:
        if group and (len(group) == TOGETHER or volume + member.size > VOLUME):
            groups.append(Files(tuple(group)))
            group, volume = [], 0
        group.append(member)
        volume += member.size
    return [*groups, Files(tuple(group))]


def _found(classes: int, left_out: frozenset[str], bodies: str, item: members.Member | Files) -> Found | list[Found]:
    if isinstance(item, members.Member):
        return _recording(classes, left_out, bodies, item)
    wanted = [m for m in item.members if m.stem not in left_out]
    try:
        scenes = ntu_text.scenes([m.read() for m in wanted], *_asked(bodies)) if wanted else []
    except DataError:
        scenes = None
    known = dict(zip(map(id, wanted), scenes, strict=True)) if scenes else {}  # if not, something is unusual: one by one
    found = []
    for member in item.members:
        try:
            found.append(_recording(classes, left_out, bodies, member, known.get(id(member))))
        except DataError as problem:
            found.append(Dropped(member.stem, str(problem), damaged=True))
    return found


def _asked(bodies: str) -> tuple[int, bool]:
    """How many bodies of a frame are needed, and whether with their ids."""
    return (BODIES, False) if bodies == "as-published" else (ntu_text.MOST_BODIES, True)


def _recording(classes: int, left_out: frozenset[str], bodies: str, member: members.Member, scene: ntu_text.Scene | None = None) -> Found:
    if member.stem in left_out:
        return Dropped(member.stem, "listed as incomplete")
    numbers = _numbers(member, classes)
    scene = scene or ntu_text.scene(member.read(), member.path, *_asked(bodies))
    chosen = as_published(scene) if bodies == "as-published" else tracked(scene, member.path, strict=bodies == "tracked-strict")
    if chosen.reason:
        return Dropped(member.stem, chosen.reason)
    label = numbers.pop("action") - 1
    return Recording(chosen.joints, label, member.stem, changes=chosen.changes, **numbers)


def _numbers(member: members.Member, classes: int) -> dict[str, int]:
    name = NAME.fullmatch(member.stem)
    if not name:
        raise DataError(f"'{member.path}' is not named like 'S001C002P003R002A013.skeleton', so its class is unknown; rename or remove it")
    numbers = dict(zip(("setup", "view", "subject", "repetition", "action"), map(int, name.groups()), strict=True))
    if not 1 <= numbers["action"] <= classes:
        raise DataError(
            f"'{member.path}': the action in the name is outside 1..{classes}; name further classes in '{ABOUT}' or remove the file"
        )
    return numbers


def _listed(path: Path) -> frozenset[str]:
    try:
        words = path.read_text(encoding="utf-8", errors="replace").split()
    except OSError as problem:
        raise DataError(f"can't read the list of incomplete recordings '{path}': {problem.strerror}") from problem
    names = frozenset(stem for stem in (w.removesuffix(".skeleton") for w in words) if NAME.fullmatch(stem))
    if not names:
        raise DataError(f"'{path}' lists no recording; expected lines like 'S001C002P003R002A013'")
    return names


def _about(path: Path | tuple[Path, ...], found: list[members.Member]) -> dict[str, Any]:
    """The table of `skelmm.json`, checked; empty where there is none."""
    kinds: dict[str, type | tuple[type, ...]] = {"title": str, "class_names": list, "frame_rate": (int, float), "protocol": str}
    if not found:
        return {}
    if len(found) > 1:
        raise DataError(f"'{path}' holds {len(found)} files '{ABOUT}'; expected one, which describes all recordings")
    table = json_text.parse(found[0].read(), found[0].path)
    for key, value in table.items():
        if key not in kinds:
            raise DataError(f"'{found[0].path}' has an unknown field '{key}'{nearest(key, kinds)}")
        if (
            not isinstance(value, kinds[key])
            or isinstance(value, bool)
            or (isinstance(value, list) and not all(isinstance(v, str) for v in value))
        ):
            raise DataError(
                f"'{found[0].path}': '{key}' is {value!r}; expected a {'list of strings' if key == 'class_names' else 'text or number'}"
            )
    rate, names = table.get("frame_rate", 30.0), table.get("class_names", ["a class"])
    if not 0 < rate < 1e6:
        raise DataError(f"'{found[0].path}': 'frame_rate' must be frames per second above 0, found {rate!r:.80}")
    if not names or not all(name.isprintable() and name for name in names):
        raise DataError(f"'{found[0].path}': 'class_names' must be a list of names that can be printed, one at least")
    return table
