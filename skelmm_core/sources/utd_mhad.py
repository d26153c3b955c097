"""UTD-MHAD skeletons (Chen, Jafari, Kehtarnavaz, ICIP 2015) as their authors distribute them: one `.mat` per clip, Kinect v1.

`a{action}_s{subject}_t{trial}_skeleton.mat` holds `d_skel` float64 (20, 3, T) in metres, camera space with y up and z away from
the camera, 30 Hz, one body. Actions, subjects and trials are counted from 1.
"""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

import numpy as np
import scipy.io

from skelmm_core.errors import DataError
from skelmm_core.recordings import Dropped, Recording, Source
from skelmm_core.skeletons import KINECT20
from skelmm_core.sources import members

HOLDS = "UTD-MHAD .mat files in a folder, zip or tar"
CLASS_NAMES = (
    "swipe left", "swipe right", "wave", "clap", "throw", "cross arms", "basketball shoot", "draw X", "draw circle clockwise",
    "draw circle counter-clockwise", "draw triangle", "bowling", "boxing", "baseball swing", "tennis swing", "arm curl", "tennis serve",
    "push", "knock", "catch", "pickup and throw", "jog", "walk", "sit to stand", "stand to sit", "lunge", "squat",
)  # fmt: skip
NAME = re.compile(r"a(\d{1,2})_s(\d{1,2})_t(\d{1,2})_skeleton")
LARGEST = 20 * 3 * 100_000  # numbers in a file; an hour of recording
ORDER = (3, 2, 1, 0, *range(4, 20))  # the files begin with head, shoulder centre, spine, hip centre; kinect20 the other way round


def recognise(path: Path) -> bool:
    """Whether `path` is, or holds, a file named like `a1_s1_t1_skeleton.mat`."""
    return members.holds(path, ".mat", NAME.fullmatch)


def read(path: Path) -> Source:
    """The clips of an archive (tar or zip), a folder or a single file, in the order of action, subject and trial."""
    found = members.members(Path(path), "_skeleton.mat")
    if not found:
        raise DataError(f"'{path}' holds no file named like 'a1_s1_t1_skeleton.mat'; expected the UTD-MHAD skeleton archive or its folder")
    if not any(NAME.fullmatch(m.stem) for m in found):
        _numbers(found[0])
    found.sort(key=lambda m: [int(n) for n in name.groups()] if (name := NAME.fullmatch(m.stem)) else [])
    return Source(
        title="UTD-MHAD",
        skeleton=KINECT20,
        class_names=CLASS_NAMES,
        frame_rate=30.0,
        protocol="odd-even-subjects",
        fingerprint=members.fingerprint(found, "utd-mhad"),
        items=found,
        read=_recording,
    )


def _numbers(member: members.Member) -> tuple[int, int, int]:
    name = NAME.fullmatch(member.stem)
    if not name or not 1 <= int(name[1]) <= len(CLASS_NAMES):
        raise DataError(
            f"'{member.path}' is not named like UTD-MHAD's 'a1_s1_t1_skeleton.mat' with an action of 1..27; rename or remove it"
        )
    return int(name[1]), int(name[2]), int(name[3])


def _recording(member: members.Member) -> Recording | Dropped:
    action, subject, trial = _numbers(member)
    joints = _joints(member)
    if not joints.any():
        return Dropped(member.stem.removesuffix("_skeleton"), "no body in any frame")
    return Recording(joints, action - 1, member.stem.removesuffix("_skeleton"), subject=subject, repetition=trial)


def _joints(member: members.Member) -> np.ndarray:
    """(1, T, 20, 3) float32 metres in kinect20's order."""
    try:
        content = io.BytesIO(member.read())
        shape = next((shape for name, shape, _ in scipy.io.whosmat(content) if name == "d_skel"), ())  # before anything is unpacked
        if math.prod(shape) > LARGEST:
            raise DataError(f"'{member.path}': 'd_skel' has the shape {shape}, more than any recording has; take it away")
        content.seek(0)
        found = scipy.io.loadmat(content, variable_names=["d_skel"]).get("d_skel")
    except DataError:
        raise
    except Exception as problem:  # whatever scipy's parser trips over in a damaged file: ValueError, zlib.error, IndexError, ...
        raise DataError(f"'{member.path}' is not a MATLAB file that can be read ({problem}); copy it again from its source") from problem
    if not isinstance(found, np.ndarray) or found.dtype.kind != "f" or found.ndim != 3 or found.shape[:2] != (20, 3):
        what = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else "nothing"
        raise DataError(f"'{member.path}': expected 'd_skel' with floats of the shape (20 joints, 3, frames), found {what}")
    return found.transpose(2, 0, 1)[None, :, ORDER].astype(np.float32)
