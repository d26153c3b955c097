"""Skeletons by name: the built-in ones, and your own from a small TOML file (`own`) or as a JSON table.

To build one in, write one `Skeleton(...)` and one entry in `maps.SKELETONS`, and its maps to others in `maps.BUILT_IN`.
"""

from __future__ import annotations

import json
from pathlib import Path

from skelmm_core.errors import DataError, SettingsError, nearest
from skelmm_core.skeletons import own
from skelmm_core.skeletons.image import COCO17, OPENPOSE18
from skelmm_core.skeletons.kinect import KINECT20, NTU25
from skelmm_core.skeletons.maps import SKELETONS, mapping, maps_of
from skelmm_core.skeletons.mocap import HDM05
from skelmm_core.skeletons.skeleton import Skeleton

__all__ = ["COCO17", "HDM05", "KINECT20", "NTU25", "OPENPOSE18", "SKELETONS", "Skeleton", "get", "mapping", "maps_of", "spelled"]


def get(name: str | Path | Skeleton) -> Skeleton:
    """The skeleton of that name, of the TOML file at that path (it ends in ``.toml``), or of that table as JSON.

    Raises `SettingsError` for an unknown name, with the nearest one, and `DataError` for a file or table that is no skeleton.
    """
    if isinstance(name, Skeleton):
        return name
    text = str(name).strip()
    if text in SKELETONS:
        return SKELETONS[text]
    if text.startswith("{"):
        return _of_json(text)
    if text.lower().endswith(".toml"):
        return own.read(text)
    raise SettingsError(f"unknown skeleton '{name}'{nearest(text, SKELETONS)}; your own is named by its file, as in mine.toml")


def spelled(name: str) -> str:
    """One spelling for one skeleton: "native" and the names of built-in ones as they are, everything else as its table in JSON."""
    if name == "native":
        return name
    skeleton = get(name)
    return skeleton.name if skeleton.name in SKELETONS else json.dumps(skeleton.to_dict())


def _of_json(text: str) -> Skeleton:
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise DataError(f"a skeleton that begins with '{{' must be a JSON table ({problem})") from problem
    skeleton = Skeleton.from_dict(table)
    if SKELETONS.get(skeleton.name, skeleton) != skeleton:
        raise DataError(f"a skeleton of its own has the name of the built-in '{skeleton.name}'; name it otherwise")
    return skeleton
