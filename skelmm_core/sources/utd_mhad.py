"""UTD-MHAD skeletons (Chen, Jafari, Kehtarnavaz, ICIP 2015) as their authors distribute them: one `.mat` per clip, Kinect v1.

`a{action}_s{subject}_t{trial}_skeleton.mat` holds `d_skel` float64 (20, 3, T) in metres, camera space with y up and z away from
the camera, 30 Hz, one body. Actions, subjects and trials are counted from 1.
"""

from __future__ import annotations

import io
import re
import zlib
from pathlib import Path
from typing import Literal

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
NAME = re.compile(r"a(\d{1,2})_s(\d{1,2})_t(\d{1,2})_skeleton", re.IGNORECASE | re.ASCII)
LONGEST = 100_000  # frames; an hour of recording
VARIABLES = 1000  # in a file; the data set's have one
HEADER, TAG, COMPRESSED = 128, 8, 15  # bytes in front of a file's variables and of each of them; the kind of one that is packed by zlib
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
    joints, name = _joints(member), member.stem[: -len("_skeleton")]
    if not joints.any():
        return Dropped(name, "no body in any frame")
    return Recording(joints, action - 1, name, subject=subject, repetition=trial)


def _joints(member: members.Member) -> np.ndarray:
    """(1, T, 20, 3) float32 metres in kinect20's order."""
    try:
        content = io.BytesIO(_unpacked(member.read()))
        known = [(shape, kind) for name, shape, kind in scipy.io.whosmat(content) if name == "d_skel"]  # before anything is loaded
        match known:
            case [((20, 3, frames), "double" | "single")] if frames > LONGEST:
                raise DataError(f"'{member.path}': 'd_skel' has {frames} frames, more than any recording has; take it away")
            case [((20, 3, _), "double" | "single")]:
                content.seek(0)
                found = scipy.io.loadmat(content, variable_names=["d_skel"])["d_skel"]
            case _:
                raise _unexpected(member, ", ".join(f"{kind} {shape}" for shape, kind in known[:4]))
    except DataError:
        raise
    except Exception as problem:  # whatever scipy's parser trips over in a damaged file: ValueError, zlib.error, IndexError, ...
        raise DataError(
            f"'{member.path}' is not a MATLAB file that can be read ({str(problem)[:200]}); copy it again from its source"
        ) from problem
    if found.dtype.kind not in "fiu":  # whole numbers may be stored as such, also in a "double"
        raise _unexpected(member, f"{found.dtype} {found.shape}")
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, which `recordings.check` refuses
        return np.asarray(found.transpose(2, 0, 1)[None, :, ORDER].astype(np.float32))


def _unexpected(member: members.Member, what: str) -> DataError:
    return DataError(f"'{member.path}': expected one 'd_skel', floats of the shape (20 joints, 3, frames), found {what or 'nothing'}")


def _unpacked(content: bytes) -> bytes:
    """The same MATLAB file (version 5 to 7.2) with its variables not compressed, since scipy unpacks without a limit.

    Raises `ValueError` for another version (in one of version 4, scipy may go round for ever), and for more than `LARGEST_MEMBER` bytes.
    """
    if scipy.io.matlab.matfile_version(io.BytesIO(content))[0] != 1:
        raise ValueError("it is not of the versions 5 to 7.2")
    order: Literal["little", "big"] = "little" if content[HEADER - 2 : HEADER] == b"IM" else "big"
    pieces, place, room = [content[:HEADER]], HEADER, members.LARGEST_MEMBER
    while place < len(content):
        kind, length = (int.from_bytes(content[i : i + TAG // 2], order) for i in (place, place + TAG // 2))
        piece, place = content[place : place + TAG + length], place + TAG + length
        if kind == COMPRESSED:
            unpacker = zlib.decompressobj()
            piece = unpacker.decompress(piece[TAG:], room + 1)
            room -= len(piece)
            if room < 0 or not unpacker.eof:
                raise ValueError(f"a variable is cut short, or takes more than the {members.LARGEST_MEMBER} bytes of any recording")
        pieces.append(piece)
        if len(pieces) > VARIABLES:
            raise ValueError(f"it has more than {VARIABLES} variables")
    return b"".join(pieces)
