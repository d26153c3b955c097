"""The built-in sample: generated motion of people on the Kinect-v2 skeleton, at hand on every machine.

Nobody performed these clips. Performers with bodies and manners of their own (`motion.body`) play the actions of
`motion.actions`, cameras watch from three sides (`motion.camera`), and a seed settles all of it: a clip depends on its seed, action,
performer, repetition and view alone, never on how many others are made. Performers, views, setups and repetitions are numbered
as in NTU RGB+D, so every protocol for that data set can be tried on the sample; but all cameras film the same performances, so under a
protocol by views raw nearest neighbours are right almost always.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skelmm_core.errors import DataError, SettingsError, nearest
from skelmm_core.motion.actions import ACTIONS
from skelmm_core.motion.camera import VIEWS, camera, sense
from skelmm_core.motion.performance import RATE, perform
from skelmm_core.recordings import Recording, Source
from skelmm_core.skeletons import NTU25

HOLDS = 'the word "sample"'
TITLE = "generated motion (built-in sample)"
VERSION = 1  # goes into the fingerprint: raise it when the same settings give other clips
NAMES = tuple(action.name for action in ACTIONS)
SMOKE: dict[str, Any] = dict(performers=4, repetitions=1, cameras=2)  # of `read`: 136 clips, to see that everything runs
PEOPLE_PER_SETUP = 3  # cameras are put up anew after every third performer


def recognise(path: Path) -> bool:
    """Whether `path` asks for the sample: the bare word "sample" where no file has that name."""
    return str(path) == "sample" and not Path(path).exists()


def read(
    path: str | Path | None = None,
    *,
    performers: int = 12,
    repetitions: int = 2,
    cameras: int = 3,
    seed: int = 0,
    actions: Sequence[str] | None = None,
) -> Source:
    """Generate the sample; clips are made while they are read, hundreds a second on one core.

    Args:
        path: the word "sample", or nothing; here so that all readers are called alike.
        performers: persons 1 to 999. Odd and even persons are the two halves of the default protocol.
        repetitions: times that each person does each action, 1 to 999.
        cameras: the first one, two or three of the views -45, 0 and +45 degrees; cameras of one performance see the same motion.
        seed: whole number from 0 on; another seed gives other people, performances and cameras.
        actions: names from `NAMES` in the order of the wanted labels; None = all.

    Raises `DataError` for another path, `SettingsError` for a number out of range, an unknown action or one named twice.
    """
    if path is not None and str(path) != "sample":
        raise DataError(f"the built-in sample is made, not read from '{path}': name the source 'sample', or another format")
    for name, value, most in (
        ("performers", performers, 999),
        ("repetitions", repetitions, 999),
        ("cameras", cameras, len(VIEWS)),
        ("seed", seed, 2**63),
    ):
        least = 0 if name == "seed" else 1
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= most:
            raise SettingsError(f"sample: '{name}' must be a whole number from {least} to {most}, not {value!r}")
    rows = _rows(actions)
    names = tuple(NAMES[row] for row in rows)
    settings = dict(
        version=VERSION, performers=int(performers), repetitions=int(repetitions), cameras=int(cameras), seed=int(seed), actions=names
    )
    return Source(
        title=TITLE,
        skeleton=NTU25,
        class_names=names,
        frame_rate=RATE,
        protocol="odd-even-subjects",
        fingerprint=hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest(),
        items=[(n, r, label) for n in range(1, int(performers) + 1) for r in range(1, int(repetitions) + 1) for label in range(len(rows))],
        read=partial(_scene, int(seed), rows, int(cameras)),
    )


def _rows(actions: Sequence[str] | None) -> tuple[int, ...]:
    if actions is None:
        return tuple(range(len(NAMES)))
    if isinstance(actions, str) or not len(actions):
        raise SettingsError(f"sample: 'actions' must be a list of action names or None, not {actions!r}")
    for name in actions:
        if name not in NAMES:
            raise SettingsError(f"sample: unknown action '{name}'{nearest(name, NAMES)}")
        if list(actions).count(name) > 1:
            raise SettingsError(f"sample: action '{name}' is listed more than once; every class needs a name of its own")
    return tuple(NAMES.index(name) for name in actions)


def _scene(seed: int, rows: tuple[int, ...], cameras: int, item: tuple[int, int, int]) -> list[Recording]:
    """What all cameras see of one performance."""
    number, repetition, label = item
    scene = perform(seed, rows[label], number, repetition)  # (M, T, 25, 3)
    return [_film(scene, seed, rows[label], label, number, repetition, view) for view in range(1, cameras + 1)]


def _film(scene: np.ndarray, seed: int, row: int, label: int, number: int, repetition: int, view: int) -> Recording:
    setup = (number - 1) // PEOPLE_PER_SETUP + 1
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(5, row, number, repetition, view)))
    joints = sense(rng, camera(seed, setup, view).see(scene), RATE).astype(np.float32)
    name = f"S{setup:03d}C{view:03d}P{number:03d}R{repetition:03d}A{label + 1:03d}"
    return Recording(joints, label, name, subject=number, view=view, setup=setup, repetition=repetition)
