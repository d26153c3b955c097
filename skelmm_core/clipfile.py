"""The layout of a clips file: a safetensors file of columns, with facts about the data set in its metadata.

Clip i owns the rows ``start[i] .. start[i+1]`` of `joints` (rows, V, 3), its bodies one after the other, so a frame of one body is a
row and nothing is padded.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from skelmm_core.recordings import NUMBERS, Source

FORMAT = "skelmm-clips-1"
COLUMNS = (*NUMBERS, "frames", "bodies")
DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I32": np.dtype("<i4"), "I64": np.dtype("<i8"), "U8": np.dtype("u1")}
KINDS = {"joints": "F32", "start": "I64", "name_end": "I64", **dict.fromkeys(COLUMNS, "I32"), "names": "U8"}  # in the file's order


def shapes(rows: int, clips: int, name_bytes: int, joints: int) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor."""
    known = {"joints": (rows, joints, 3), "start": (clips + 1,), "names": (name_bytes,)}
    return {name: known.get(name, (clips,)) for name in KINDS}


def header(source: Source, rows: int, clips: int, name_bytes: int, content: str) -> bytes:
    """The JSON that stands in front of the tensors."""
    metadata = {
        "format": FORMAT,
        "unit": "metre" if source.spatial else "image height",
        "title": source.title,
        "skeleton": json.dumps(source.skeleton.to_dict()),
        "class_names": json.dumps(source.class_names),
        "frame_rate": repr(float(source.frame_rate)),
        "protocol": source.protocol,
        "fingerprint": source.fingerprint,
        "content": content,
    }
    table: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, shape in shapes(rows, clips, name_bytes, len(source.skeleton)).items():
        begin, end = end, end + int(np.prod(shape, dtype=object)) * DTYPES[KINDS[name]].itemsize
        table[name] = {"dtype": KINDS[name], "shape": shape, "data_offsets": (begin, end)}
    return json.dumps(table).encode()


def room(source: Source) -> int:
    """Bytes that the header is given, known before anything is written; whatever the counts, it fits."""
    longest = len(header(source, rows=10**15, clips=10**15, name_bytes=10**15, content="0" * 64))
    return longest + -longest % 64
