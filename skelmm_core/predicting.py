"""Classes of raw clips, by a file that `skelmm export --classes` wrote, whichever kind it is.

A clip's coordinates are smoothed, turned, resampled, made into modalities and encoded as the file's settings say; the logits of all streams
are averaged, as by the linear probe, and softmax makes probabilities of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from skelmm_core import about, batches, export, frozen, image, memory, onnx_file, settings, skeletons
from skelmm_core.batches import Batches
from skelmm_core.clips import Clips
from skelmm_core.encoder import Branches
from skelmm_core.errors import CheckpointError, DataError
from skelmm_core.evaluation.features import extract, stacked
from skelmm_core.evaluation.linear import Classifiers, logits_of
from skelmm_core.readout import WHOLE
from skelmm_core.recordings import FARTHEST
from skelmm_core.skeletons import Skeleton

CHUNK = 64  # clips of one length that are computed at a time


class Model:
    """Encoders with classifiers, from raw coordinates on.

    logits: (N, M, T, V, 3) float32, M from 1 to `bodies` -> (N, C). skeleton: the V joints. classes: their C names. settings: how clips
    are prepared. data: what the file says about the clips that the model was trained on (title, content, protocol, frame_rate ...).
    """

    def __init__(self, logits: Callable[[Tensor], Tensor], skeleton: Skeleton, classes: Sequence[str], bodies: int,
                 settings: settings.Distill, data: dict[str, Any], name: str = "model"):  # fmt: skip
        self.logits, self.skeleton, self.classes, self.bodies = logits, skeleton, tuple(classes), bodies
        self.settings, self.data, self.name = settings, data, name

    def probabilities(self, joints: np.ndarray) -> np.ndarray:
        """Clips of one length, (N, M, T, V, 3) metres, or one, (M, T, V, 3) -> probabilities (N, C). Raises `DataError` for others,
        and for coordinates or weights that are not finite, `TrainingError` where memory does not suffice."""
        try:
            given = np.asarray(joints)
        except (ValueError, TypeError) as problem:  # rows of several lengths, tensors of a GPU
            raise DataError(f"'{self.name}' takes numbers (N, M, T, {len(self.skeleton)}, 3), found {problem}") from problem
        if given.dtype.kind not in "fiu":
            raise DataError(f"'{self.name}' takes numbers (N, M, T, {len(self.skeleton)}, 3), found {given.dtype} {given.shape}")
        with memory.enough("a copy of the clips", "give fewer at once"), np.errstate(over="ignore"):
            clips = np.array(given, np.float32, order="C")  # what a clips file gives can't be written to, of which PyTorch warns
        clips = clips[None] if clips.ndim == 4 else clips
        if clips.ndim != 5 or clips.shape[3:] != (len(self.skeleton), 3) or clips.shape[1] > self.bodies or 0 in clips.shape[:3]:
            raise DataError(
                f"'{self.name}' takes clips (N, M, T, {len(self.skeleton)}, 3) of skeleton '{self.skeleton.name}' with M from 1 to "
                f"{self.bodies}, found {given.shape}"
            )
        what = f"{len(clips)} clips of {clips.shape[2]} frames through '{self.name}'"
        with memory.enough(what, "cut the clips shorter, or give fewer at once"), torch.inference_mode():
            found: np.ndarray = self.logits(torch.from_numpy(clips)).double().softmax(dim=1).numpy()
        if not np.isfinite(found).all():
            ill = int(np.argmin(np.isfinite(found).all(axis=1)))
            far = not np.isfinite(clips[ill]).all() or np.abs(clips[ill]).max() > FARTHEST
            why = f"its coordinates are not all metres within {FARTHEST:.0e}" if far else "are the file's weights finite?"
            raise DataError(f"'{self.name}' finds no probabilities for clip {ill} of the {len(clips)} given, counted from 0: {why}")
        return found


def load(path: str | Path, threads: int | None = None) -> Model:
    """The model in a .safetensors or .onnx file, on the CPU. threads: of onnxruntime; None: all. PyTorch's are as they are.

    Raises `CheckpointError` for a file that holds no classes, or does not say for how many bodies, and whatever `export.load` and
    `onnx_file.load` raise.
    """
    path = Path(path)
    classifiers, branches = None, None
    if path.suffix == ".onnx":
        session, told = onnx_file.load(path, threads)
    else:
        branches, told, classifiers = export.load_all(path)
    if not told.get("classes"):
        raise CheckpointError(
            f"'{path}' holds encoders, which give features, and no classes; export them again with classifiers: "
            f"skelmm export STAGE {path.name} --classes"
        )
    if branches is not None and "bodies" not in told and next(iter(branches.values())).shape.bodies == "all":
        raise CheckpointError(
            f"'{path}' does not say for how many bodies its data had room (the entry 'bodies'), and its encoders average empty ones in; "
            "export it again"
        )
    data = {"title": "", "protocol": ""} | told.get("data", {})
    classes, facts = told["classes"], (told.get("bodies", 2), about.settings_of(told["settings"]), data, path.name)
    if branches is not None:
        return of_branches(branches, cast(Classifiers, classifiers), classes, *facts)

    def logits(joints: Tensor) -> Tensor:
        found = onnx_file.run(session, joints, path)["logits"]
        if found.shape != (len(joints), len(classes)):
            raise CheckpointError(f"'{path}': expected logits {(len(joints), len(classes))}, found {found.shape}; export it again")
        return torch.from_numpy(found)

    return Model(logits, Skeleton.from_dict(told["skeleton"]), classes, *facts)


def of_branches(branches: Branches, classifiers: Classifiers, classes: Sequence[str], bodies: int, s: settings.Distill,
                data: dict[str, Any] | None = None, name: str = "model") -> Model:  # fmt: skip
    """The model that encoders and classifiers make, frozen where they can be. bodies: room in the data that they were trained on."""
    skeleton, room = next(iter(branches.values())).skeleton, export.room(branches, bodies)
    if skeleton.dimensions == 3 and s.readout == WHOLE:
        model = frozen.freeze(branches, s, room, classifiers)
        return Model(lambda x: model(x)[1], skeleton, classes, room, s, data or {}, name)
    branches = branches.cpu().eval()
    return Model(lambda x: eager(x, branches, classifiers, room, s), skeleton, classes, room, s, data or {}, name)


def eager(x: Tensor, branches: Branches, classifiers: Classifiers, bodies: int, s: settings.Distill) -> Tensor:
    """As evaluation computes it, for joints in an image and features of several parts of a clip: (N, M, T, V, 3) -> (N, C)."""
    n, m, t, v, _ = x.shape
    starts, lengths, counts = torch.arange(n) * m * t, torch.full((n,), t), torch.full((n,), m)
    skeleton = next(iter(branches.values())).skeleton
    joints, lengths = batches.prepared(x.reshape(-1, v, 3), starts, lengths, counts, skeleton, s.frames, bodies, s.view, s.smooth, s.trim)
    features = extract(branches, Batches(joints, lengths, torch.zeros_like(lengths), torch.arange(n), skeleton), s.unit_axis,
                       read=s.readout)  # fmt: skip
    return logits_of(stacked(features), *classifiers).mean(dim=0)


def on_joints(joints: np.ndarray, have: Skeleton, want: Skeleton) -> np.ndarray:
    """A clip (M, T, V, 3) on the joints of another skeleton, (M, T, U, 3). Raises `SettingsError` where there is no map."""
    if have.joints == want.joints:
        return joints
    weights = skeletons.mapping(have, want)
    if want.dimensions == 3:
        return np.asarray(np.einsum("uv,mtvc->mtuc", weights, joints))
    rows = torch.from_numpy(np.array(joints, np.float32)).flatten(0, 1)
    return image.remapped(rows, torch.from_numpy(weights)).view(*joints.shape[:2], len(want), 3).numpy()


def joints_for(model: Model, clips: Clips, skeleton: str = "") -> Callable[[int], np.ndarray]:
    """A function that gives clip i as `model` takes it, (M, T, V, 3).

    skeleton: name to map the clips to, "native", or "" for what the model's own settings say. Raises `CheckpointError` where the joints
    are not the model's, and, by the function, `DataError` for a clip with more bodies than the model has room for.
    """
    asked = skeleton or model.settings.skeleton
    target = clips.skeleton if asked == "native" else skeletons.get(asked)
    export.check_skeleton(model.name, model.skeleton, target)

    def joints(i: int) -> np.ndarray:
        if clips.bodies[i] > model.bodies:
            raise DataError(
                f"clip '{clips.names[i]}' has {clips.bodies[i]} bodies, '{model.name}' was trained on clips of {model.bodies}: leave "
                "such clips out, or export a model that was trained on clips of two"
            )
        return on_joints(clips.joints_of(i), clips.skeleton, target)

    return joints


def predict(model: Model, clips: Clips, rows: Sequence[int], skeleton: str = "") -> np.ndarray:
    """Probabilities (N, C) of clips `rows`, in their order; arguments and errors as of `joints_for`."""
    joints, found = joints_for(model, clips, skeleton), np.empty((len(rows), len(model.classes)))
    for places in _alike(clips, rows):
        found[places] = model.probabilities(np.stack([joints(rows[i]) for i in places]))
    return found


def _alike(clips: Clips, rows: Sequence[int]) -> Iterator[list[int]]:
    """Places in `rows`, at most `CHUNK` at a time, whose clips have the same frames and bodies."""

    def shape(place: int) -> tuple[int, int]:
        return int(clips.frames[rows[place]]), int(clips.bodies[rows[place]])

    for _, group in groupby(sorted(range(len(rows)), key=shape), key=shape):
        places = list(group)
        yield from (places[begin : begin + CHUNK] for begin in range(0, len(places), CHUNK))


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How many predictions are the clips' own labels: `right` of `known`, the clips whose class the model has by name, of `clips`."""

    right: int
    known: int
    clips: int

    def __str__(self) -> str:
        if not self.known:
            return f"no accuracy: none of the {self.clips} clips is labelled with a class that the model knows by name"
        rest = "" if self.known == self.clips else f"; the classes of {self.clips - self.known} others are unknown to the model"
        return f"{100 * self.right / self.known:.1f} % of {self.known} clips right{rest}"


def agreement(model: Model, clips: Clips, rows: Sequence[int], predicted: Sequence[int]) -> Agreement:
    """Compare class numbers with the clips' labels by their names."""
    number = {name: i for i, name in enumerate(model.classes)}
    own = [number.get(clips.class_names[clips.labels[i]], -1) for i in rows]
    return Agreement(sum(a == b for a, b in zip(own, predicted, strict=True)), sum(a >= 0 for a in own), len(own))
