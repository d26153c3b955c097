"""Trained encoders as one ONNX file: raw coordinates in, features (and logits) out, wherever there is an ONNX runtime.

The graph holds smoothing, view normalisation, resampling, modalities and encoders (`frozen.FromJoints`); its input is `joints`
(clips, bodies, time, V, 3) metres, its outputs are `features` (clips, branches, features) and, with classifiers, `logits` (clips, classes).
The metadata say what the encoders are, and hold the features of one clip of random numbers, by which every reading checks the file and
the runtime. Needs ``pip install skelmm[onnx]``.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from skelmm_core import checkpoints, frozen
from skelmm_core.encoder import Branches
from skelmm_core.errors import CheckpointError, SettingsError
from skelmm_core.evaluation.linear import Classifiers
from skelmm_core.export import UNSEALED, check_seal, sealed
from skelmm_core.files import replacing
from skelmm_core.settings import Evaluate

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

FORMAT = "skelmm-onnx-1"
TOLERANCE = 1e-4  # of the largest value of an output
LENGTHS = ((1, 1), (1, 2), (1, 40), (3, 71))  # clips and frames of the random numbers that a new file is tried on


def require() -> None:
    """Raises `SettingsError` when the libraries that this module needs are not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as problem:
        raise SettingsError(f"ONNX files need more libraries than skelmm itself ({problem}): pip install skelmm[onnx]") from problem


def refuse_foreign(path: str | Path) -> None:
    """Raise `CheckpointError` when `path` is a file that `save` did not write: nobody's data are written over by mistake."""
    path = Path(path)
    if path.is_file():
        try:
            about(session(path.read_bytes(), path), path)
        except CheckpointError as problem:
            raise CheckpointError(
                f"'{path}' is there already and is not a file that this command writes; name another file, or delete it first"
            ) from problem


def save(
    path: str | Path,
    branches: Branches,
    settings: Evaluate,
    role: str,
    title: str = "",
    bodies: int = 2,
    examples: Sequence[tuple[np.ndarray, Tensor]] = (),
    classifiers: Classifiers | None = None,
    classes: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
) -> float:
    """Write encoders with their preparation, and verify that onnxruntime gives the same with the file.

    Args:
        role, title, data: as in `export.save`.
        bodies: room for bodies in the data, 1 or 2.
        examples: clips (M, T, V, 3) with the features (S, F) that the encoders have for them.
        classifiers: see `frozen.FromJoints`. classes: their names.

    Returns: the largest difference found, as a part of the largest value.

    Raises: `CheckpointError` for a file at `path` that is of another kind, a disk that is full or read-only, and a file that gives other
        numbers, which is not left there. `SettingsError` without the libraries, and for a skeleton in an image.
    """
    require()
    path = Path(path)
    refuse_foreign(path)
    model = cast(frozen.FromJoints, frozen.freeze(branches, settings, bodies, classifiers))
    example = _random(0, 1, bodies, 20, len(model.skeleton))
    metadata = {
        "format": FORMAT, "role": role, "trained_on": title, "modalities": json.dumps(list(branches)),
        "settings": json.dumps(dataclasses.asdict(settings)), "skeleton": json.dumps(model.skeleton.to_dict()),
        "bodies": str(bodies), "classes": json.dumps(list(classes)), "versions": json.dumps(checkpoints.versions()),
        "example": json.dumps(_outputs(model, example)["features"].flatten().tolist()), "data": json.dumps(dict(data or {})),
        "checksum": UNSEALED,
    }  # fmt: skip
    content = sealed(_graph(model, metadata))
    with replacing(path, CheckpointError) as file:
        file.write(content)
        file.flush()
        return _verify(session(Path(file.name).read_bytes(), path), path, model, examples)


def load(path: str | Path, threads: int | None = None) -> tuple[InferenceSession, dict[str, Any]]:
    """A session of onnxruntime on the CPU, and what the file says: role, trained_on, modalities, settings, skeleton, bodies, classes,
    versions, and data where it is not older than that.

    `session.run(None, {"joints": clips})`, clips (N, M, T, V, 3) float32 with M from 1 to `bodies`. threads: CPU threads; None: all.

    Raises: `CheckpointError` for a file that is missing, torn, changed since it was written or of another kind, or that gives other
        numbers here than where it was written; `SettingsError` without the libraries.
    """
    require()
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no ONNX file at '{path}'; make one with `skelmm export STAGE FILE.onnx`")
    content = path.read_bytes()
    opened = session(content, path, threads)
    told, expected = about(opened, path)
    found = _run(opened, _random(0, 1, told["bodies"], 20, len(told["skeleton"]["joints"])))["features"]
    _compare(found.flatten(), np.array(expected, np.float32), f"'{path}', features of its own example")
    check_seal(content, opened.get_modelmeta().custom_metadata_map.get("checksum", ""), path)
    return opened, told


def session(content: bytes, path: Path, threads: int | None = None) -> InferenceSession:
    """onnxruntime on the CPU with the content of a file. threads: None: all."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # onnxruntime's errors have no class in common
        raise CheckpointError(f"'{path}' can't be read as an ONNX file; is it torn or of another kind? ({problem})") from problem


def about(opened: InferenceSession, path: Path) -> tuple[dict[str, Any], list[float]]:
    """The metadata of a file that `save` wrote, and the features of its example."""
    found = opened.get_modelmeta().custom_metadata_map
    if found.get("format") != FORMAT:
        raise CheckpointError(
            f"'{path}' is an ONNX file, but not of exported encoders ({FORMAT}); make one with `skelmm export STAGE FILE`"
        )
    try:
        told = {key: json.loads(found[key]) for key in ("modalities", "settings", "skeleton", "bodies", "classes", "versions", "example")}
        told["data"] = json.loads(found.get("data", "{}"))
        return {key: found[key] for key in ("role", "trained_on")} | told, told.pop("example")
    except (KeyError, ValueError) as problem:
        raise CheckpointError(f"'{path}' has damaged metadata ({problem}); export it again") from problem


def _graph(model: frozen.FromJoints, metadata: dict[str, str]) -> bytes:
    """The model as ONNX, for any number of clips, bodies and frames."""
    import onnx

    size = torch.export.Dim
    axes = {0: size("clips", min=1, max=1 << 20), 2: size("time", min=1, max=1 << 20)}
    if model.bodies > 1:
        axes[1] = size("bodies", min=1, max=model.bodies)
    names = ["features"] if model.weight is None else ["features", "logits"]
    with _quiet():
        program = torch.onnx.export(
            model, (_random(0, 3, model.bodies, 70, len(model.skeleton)),), dynamo=True, verbose=False, dynamic_shapes=(axes,),
            input_names=["joints"], output_names=names,
        )  # fmt: skip
    proto = cast(torch.onnx.ONNXProgram, program).model_proto
    for part in (*proto.graph.node, *proto.graph.value_info):
        part.ClearField("metadata_props")  # lines of code and paths of this machine
    onnx.helper.set_model_props(proto, metadata)
    return bytes(proto.SerializeToString())


def _verify(opened: InferenceSession, path: Path, model: frozen.FromJoints, examples: Sequence[tuple[np.ndarray, Tensor]]) -> float:
    """The largest difference of onnxruntime from `model` on random numbers and from the examples, as a part of the largest value."""
    worst = 0.0
    for seed, (clips, frames) in enumerate(LENGTHS):
        for bodies in range(1, model.bodies + 1):
            joints = _random(seed, clips, bodies, frames, len(model.skeleton))
            joints[0, 1:] = 0  # nobody there
            for (name, ours), theirs in zip(_outputs(model, joints).items(), _run(opened, joints).values(), strict=True):
                worst = max(worst, _compare(theirs, ours, f"'{path}', {name} of random numbers {tuple(joints.shape)}"))
    for clip, features in examples:
        found = _run(opened, torch.from_numpy(np.array(clip, np.float32))[None])["features"][0]
        worst = max(worst, _compare(found, features.numpy(), f"'{path}', features of a clip {clip.shape}"))
    return worst


def _compare(found: np.ndarray, expected: np.ndarray, what: str) -> float:
    difference = float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30)) if found.shape == expected.shape else np.inf
    if not difference <= TOLERANCE:  # NaN, too
        raise CheckpointError(
            f"{what}: onnxruntime gives other numbers than the encoders, by {difference:.1e} of the largest, at most {TOLERANCE:g} is "
            "right; try other versions of torch, onnxscript and onnxruntime (constraints.txt names those that are tested)"
        )
    return difference


def _outputs(model: frozen.FromJoints, joints: Tensor) -> dict[str, np.ndarray]:
    with torch.no_grad():
        made = model(joints)
    return {name: t.numpy() for name, t in zip(("features", "logits"), made if isinstance(made, tuple) else (made,), strict=False)}


def _run(opened: InferenceSession, joints: Tensor) -> dict[str, np.ndarray]:
    return dict(zip([o.name for o in opened.get_outputs()], opened.run(None, {"joints": joints.numpy()}), strict=True))


def _random(seed: int, clips: int, bodies: int, frames: int, joints: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((clips, bodies, frames, joints, 3), np.float32))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes about libraries that are not needed here."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
