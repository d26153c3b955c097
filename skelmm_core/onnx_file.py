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

from skelmm_core import about, checkpoints, frozen
from skelmm_core.encoder import Branches
from skelmm_core.errors import CheckpointError, SettingsError
from skelmm_core.evaluation.linear import Classifiers
from skelmm_core.export import UNSEALED, check_seal, room, sealed
from skelmm_core.files import refuse_folder, replacing
from skelmm_core.settings import Evaluate

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

FORMAT = "skelmm-onnx-1"
TOLD = ("role", "trained_on", "modalities", "settings", "skeleton", "bodies", "classes", "versions", "data")  # what `load` gives
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
    """Raise `CheckpointError` when `path` is a file that `save` did not write, or a folder: nobody's data are written over by mistake."""
    path = Path(path)
    refuse_folder(path, CheckpointError)
    if path.exists():
        try:
            metadata(path.read_bytes(), path)
        except (CheckpointError, OSError) as problem:
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
        bodies: room for bodies in the data, 1 or 2; in the file it is what `export.room` says.
        examples: clips (M, T, V, 3) with the features (S, F) that the encoders have for them.
        classifiers: see `frozen.FromJoints`. classes: their names.

    Returns: the largest difference found, as a part of the largest value.

    Raises: `CheckpointError` for a file at `path` that is of another kind, a disk that is full or read-only, and a file that gives other
        numbers, which is not left there. `SettingsError` without the libraries, and for a skeleton in an image.
    """
    require()
    path = Path(path)
    refuse_foreign(path)
    bodies = room(branches, bodies)  # torch can't export that a single body is chosen when it is there
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

    Raises: `CheckpointError` for a file that is missing, torn, changed since it was written or of another kind, that draws on other files,
        whose metadata are not what `about.read` expects, or that gives other numbers here than where it was written; `DataError` for names
        that can't be printed; `SettingsError` without the libraries. All but the numbers are looked at before onnxruntime sees the file.
    """
    require()
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no ONNX file at '{path}'; make one with `skelmm export STAGE FILE.onnx`")
    content = path.read_bytes()
    found = metadata(content, path)
    check_seal(content, about.seal(found, path), path)
    told = about.read(found, path, ("bodies", "classes", "example"))
    opened = session(content, path, threads)
    outputs = run(opened, _random(0, 1, told.entries["bodies"], 20, len(told.skeleton)), path)
    streams, classes = len(told.entries["modalities"]), len(told.entries["classes"])
    shapes = {name: values.shape for name, values in outputs.items()}
    features = shapes.get("features", ())
    if shapes != {"features": (1, streams, *features[2:])} | ({"logits": (1, classes)} if classes else {}) or len(features) != 3:
        raise CheckpointError(
            f"'{path}': expected features (1, {streams}, width) and logits of {classes} classes for one clip, found "
            f"{about.shown(repr(shapes))}; export it again"
        )
    _compare(outputs["features"].flatten(), np.array(told.entries["example"], np.float32), f"'{path}', features of its own example")
    return opened, {"data": {}} | {key: told.entries[key] for key in TOLD if key in told.entries}


def metadata(content: bytes, path: Path) -> dict[str, str]:
    """What stands in a file that `save` wrote beside its graph, not checked. Raises `CheckpointError` for other files, and for one that
    takes numbers from outside: whatever lies in the working folder under a name, or in the memory of this process at a place."""
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception as problem:  # of protobuf, whose parsers have several classes
        raise CheckpointError(_unread(path, problem)) from problem
    found = {entry.key: entry.value for entry in model.metadata_props}
    if found.get("format") != FORMAT:
        raise CheckpointError(
            f"'{path}' is an ONNX file, but not of exported encoders ({FORMAT}); make one with `skelmm export STAGE FILE`"
        )
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or len(tensor.external_data):
            raise CheckpointError(
                f"'{path}': the tensor '{about.shown(tensor.name)}' lies outside the file, which must hold everything; export it again"
            )
    return found


def session(content: bytes, path: Path, threads: int | None = None) -> InferenceSession:
    """onnxruntime on the CPU with the content of a file. threads: None: all."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    options.add_session_config_entry("session.load_model_format", "ONNX")  # as `metadata` read it, whatever else it may look like
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # onnxruntime's errors have no class in common
        raise CheckpointError(_unread(path, problem)) from problem


def run(opened: InferenceSession, joints: Tensor, path: str | Path) -> dict[str, np.ndarray]:
    """All outputs by name, float32, for clips (N, M, T, V, 3). Raises `CheckpointError` where the graph takes or gives something else."""
    try:
        found = dict(zip([o.name for o in opened.get_outputs()], opened.run(None, {"joints": joints.numpy()}), strict=True))
    except Exception as problem:  # as above
        raise CheckpointError(
            f"'{path}': onnxruntime can't compute {tuple(joints.shape)} with it ({about.shown(str(problem))}); export it again"
        ) from problem
    for name, values in found.items():
        if not isinstance(values, np.ndarray) or values.dtype != np.float32:
            kind = getattr(values, "dtype", type(values).__name__)
            raise CheckpointError(f"'{path}': the output '{about.shown(name)}' must be float32, found {kind}; export it again")
    return found


def _unread(path: Path, problem: Exception) -> str:
    return f"'{path}' can't be read as an ONNX file; is it torn or of another kind? ({about.shown(str(problem))})"


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor that a message of ONNX holds, at any depth: of graphs in graphs, functions, sparse ones."""
    import onnx

    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for _, value in message.ListFields():
        for part in [value] if hasattr(value, "ListFields") else value if hasattr(value, "add") else []:
            yield from _tensors(part)


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
            for (name, ours), theirs in zip(_outputs(model, joints).items(), run(opened, joints, path).values(), strict=True):
                worst = max(worst, _compare(theirs, ours, f"'{path}', {name} of random numbers {tuple(joints.shape)}"))
    for clip, features in examples:
        found = run(opened, torch.from_numpy(np.array(clip, np.float32))[None], path)["features"][0]
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
