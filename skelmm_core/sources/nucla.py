"""Northwestern-UCLA Multiview Action3D skeletons (Wang et al., CVPR 2014) as JSON, one file per clip, Kinect v1.

`a{action}_s{subject}_e{episode}_v{view}.json` holds `file_name`, `skeletons` (T, 20, 3) in metres, camera space with y up, one body, and
`label` 1..10. The actions are numbered 1..12 with gaps, the labels without.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from skelmm_core.errors import DataError
from skelmm_core.recordings import Dropped, Recording, Source
from skelmm_core.skeletons import KINECT20
from skelmm_core.sources import json_text, members

HOLDS = "Northwestern-UCLA .json files in a folder, zip or tar"
CLASS_NAMES = (
    "pick up with one hand", "pick up with two hands", "drop trash", "walk around", "sit down", "stand up", "donning", "doffing", "throw",
    "carry",
)  # fmt: skip
ACTIONS = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12)  # in the names of files, in the order of the classes
NAME = re.compile(r"a(\d{1,3})_s(\d{1,3})_e(\d{1,3})_v(\d{1,3})", re.IGNORECASE)


def recognise(path: Path) -> bool:
    """Whether `path` is, or holds, a file named like `a01_s01_e00_v01.json`."""
    return members.holds(path, ".json", NAME.fullmatch)


def read(path: Path) -> Source:
    """The clips of a folder, a zip, a tar or a single file, in the order of their names; views 1 and 2 train, view 3 tests."""
    found = members.members(path, ".json")
    if not any(NAME.fullmatch(m.stem) for m in found):
        raise DataError(f"'{path}' holds no file named like 'a01_s01_e00_v01.json'; expected the Northwestern-UCLA skeletons")
    return Source(
        title="Northwestern-UCLA",
        skeleton=KINECT20,
        class_names=CLASS_NAMES,
        frame_rate=30.0,
        protocol="train-views:1,2",
        fingerprint=members.fingerprint(found, "nucla"),
        items=found,
        read=_recording,
    )


def _recording(member: members.Member) -> Recording | Dropped:
    where, name = member.path, NAME.fullmatch(member.stem)
    if not name or int(name[1]) not in ACTIONS:
        raise DataError(
            f"'{where}' is not named like 'a01_s01_e00_v01.json' with an action of {', '.join(map(str, ACTIONS))}; rename or remove it"
        )
    action, subject, episode, view = map(int, name.groups())
    label = ACTIONS.index(action)
    table = json_text.parse(member.read(), where)
    inside = json_text.text(json_text.field(table, "file_name", where), where, "file_name")
    if inside.removesuffix(".json").lower() != member.stem.lower():
        raise DataError(f"'{where}' calls itself '{inside}' in its field file_name; one of both is wrong: copy it again from its source")
    labelled = json_text.whole(json_text.field(table, "label", where), 1, len(CLASS_NAMES), where, "label")
    if labelled != label + 1:
        raise DataError(
            f"'{where}': label is {labelled} ('{CLASS_NAMES[labelled - 1]}'), but action {action} in the name has the label {label + 1} "
            f"('{CLASS_NAMES[label]}'); copy it again from its source"
        )
    joints = json_text.numbers(json_text.field(table, "skeletons", where), (None, len(KINECT20), 3), where, "skeletons")
    if not joints.any():
        return Dropped(member.stem, "no body in any frame" if len(joints) else "no frame")
    with np.errstate(over="ignore"):  # becomes inf, which the check of all recordings reports
        joints = joints[None].astype(np.float32)  # (1, T, 20, 3)
    return Recording(joints, label, member.stem, subject=subject, view=view, repetition=episode)
