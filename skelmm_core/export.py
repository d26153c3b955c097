"""Trained encoders as one safetensors file: weights, sizes, skeleton and settings; safe to open, needs nothing else of the run.

With linear classifiers, too, it can name classes (`predicting`). A digest of the whole file stands in its metadata and is verified by every
reading.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from skelmm_core import about, checkpoints, modalities
from skelmm_core.encoder import Branches, Encoder, EncoderShape
from skelmm_core.errors import CheckpointError, DataError
from skelmm_core.evaluation.linear import Classifiers
from skelmm_core.files import refuse_foreign, replacing
from skelmm_core.settings import Evaluate
from skelmm_core.skeletons import SKELETONS, Skeleton

FORMAT = "skelmm-encoders-1"
UNSEALED = "sha256:" + 64 * "0"  # stands in a file's metadata where its digest will
HEAD = "classifier."  # how the classifiers' tensors are named
TOLD = ("role", "trained_on", "settings", "versions", "bodies", "classes", "data")  # what `load` gives of the metadata


def sealed(content: bytes) -> bytes:
    """A file's content with the sha256 of `content` in the place of `UNSEALED`."""
    return content.replace(UNSEALED.encode(), f"sha256:{hashlib.sha256(content).hexdigest()}".encode())


def check_seal(content: bytes, seal: str, path: Path) -> None:
    """Raise `CheckpointError` where `content` is not what `sealed` made; seal: what its metadata say, "" in a file older than seals."""
    if seal and f"sha256:{hashlib.sha256(content.replace(seal.encode(), UNSEALED.encode())).hexdigest()}" != seal:
        raise CheckpointError(
            f"'{path}' is not as it was written: its content does not have the sha256 that it names; copy it again, or export it again"
        )


def check_skeleton(path: str | Path, made_for: Skeleton, found: Skeleton) -> None:
    """Raise `CheckpointError`, saying what to do, where the encoders of the file at `path` were made for other joints than `found`."""
    if made_for != found:
        advice = f"map the clips with --skeleton {made_for.name}, or " if made_for.name in SKELETONS else ""
        raise CheckpointError(
            f"'{path}' was trained on skeleton '{made_for.name}' ({len(made_for)} joints), "
            f"the clips have '{found.name}' ({len(found)}); {advice}export encoders that were trained on '{found.name}'"
        )


def room(branches: Branches, bodies: int) -> int:
    """How many bodies a clip may have: as many as the data had, `bodies`; two where empty ones never enter, so that more room changes
    nothing."""
    return bodies if next(iter(branches.values())).shape.bodies == "all" else 2


def save(
    path: str | Path,
    branches: Branches,
    settings: Evaluate,
    role: str,
    title: str = "",
    bodies: int = 2,
    classifiers: Classifiers | None = None,
    classes: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
) -> None:
    """Write encoders and verify that the file gives the same weights back.

    Args:
        role: ``"teacher"`` or ``"student"``. title: of the data that they were trained on.
        bodies: room for bodies in these data, 1 or 2.
        classifiers: of features as the settings read them out. classes: their names.
        data: more about the data, as JSON can hold it.

    Raises `CheckpointError` for a file at `path` that is not one of exported encoders, and a disk that is full or read-only.
    """
    path, first = Path(path), next(iter(branches.values()))
    if (0 if classifiers is None else classifiers[0].shape[-1]) != len(classes):
        raise DataError(f"expected the name of every class that the classifiers tell apart, found {len(classes)}")
    refuse_foreign(path, FORMAT, CheckpointError)
    metadata = {
        "format": FORMAT, "role": role, "trained_on": title, "modalities": json.dumps(list(branches)),
        "settings": json.dumps(dataclasses.asdict(settings)), "shape": json.dumps(dataclasses.asdict(first.shape)),
        "head_width": str(cast(nn.Sequential, first.head)[0].out_features),
        "skeleton": json.dumps(first.skeleton.to_dict()), "versions": json.dumps(checkpoints.versions()), "bodies": str(bodies),
        "classes": json.dumps(list(classes)), "data": json.dumps(dict(data or {})), "checksum": UNSEALED,
    }  # fmt: skip
    state = {name: t.detach().cpu().contiguous() for name, t in (branches.state_dict() | _named(classifiers)).items()}
    with replacing(path, CheckpointError) as file:
        file.write(sealed(save_tensors(state, metadata)))
        file.flush()
        back, _, heads = load_all(file.name)  # before it takes the place of what was there
        for name, tensor in (back.state_dict() | _named(heads)).items():
            if not torch.equal(tensor, state[name]):
                raise CheckpointError(f"'{path}' gives other numbers back than were written (first: {name}); is the disk sound?")


def _named(classifiers: Classifiers | None) -> dict[str, Tensor]:
    return {} if classifiers is None else dict(zip((f"{HEAD}weight", f"{HEAD}bias"), classifiers, strict=True))


def behind(classifiers: Classifiers, mean: Tensor, matrix: Tensor) -> Classifiers:
    """Classifiers that do for features x what `classifiers` do for ``(x - mean) @ matrix`` (`evaluation.whitening`)."""
    weight, bias = (part.double() for part in classifiers)
    weight = matrix.double() @ weight
    return weight.float(), (bias - mean.double() @ weight).float()


def load(path: str | Path) -> tuple[Branches, dict[str, Any]]:
    """Encoders by modality, in eval mode on the CPU, and what the file says about them (role, trained_on, settings, versions, and where it
    is not older than that: bodies, classes, data).

    Raises `CheckpointError` for a file that is missing, torn, changed since it was written, or of another kind, or whose metadata are not
    what `about.read` expects, `DataError` for names that can't be printed. Tensors are compared with what the metadata claim before memory
    is asked for.
    """
    return load_all(path)[:2]


def load_all(path: str | Path) -> tuple[Branches, dict[str, Any], Classifiers | None]:
    """What `load` gives, and the classifiers, None where the file has none."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no file with exported encoders at '{path}'; make one with `skelmm export STAGE FILE`")
    state, metadata, content = _opened(path)
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"'{path}' is not a file of exported encoders ({FORMAT}); make one with `skelmm export STAGE FILE`")
    check_seal(content, about.seal(metadata, path), path)
    told = about.read(metadata, path, ("shape", "head_width"))
    classes = told.entries.get("classes") or []
    names = modalities.check_streams(told.entries["modalities"])
    shape, width = EncoderShape(**told.entries["shape"]), told.entries["head_width"]
    heads = _heads(state, (len(names), shape.width(told.settings.readout, told.skeleton), len(classes)), path) if classes else None
    with torch.device("meta"):  # sizes without memory
        branches = Branches({name: Encoder(told.skeleton, shape, 3 * len(name.split("+")), head_width=width) for name in names})
    _check_types(branches.state_dict(), state, path)
    checkpoints.load_weights(branches.to("meta"), {name: t.to("meta") for name, t in state.items()}, str(path))
    branches.to_empty(device="cpu").load_state_dict(state)
    return branches.eval(), {key: told.entries[key] for key in TOLD if key in told.entries}, heads


def _opened(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], bytes]:
    """Tensors, metadata and content of a safetensors file, whose sizes its reader compares with the file."""
    try:
        content = path.read_bytes()
        state = load_tensors(content)
        length = struct.unpack("<Q", content[:8])[0]
        return state, dict(json.loads(content[8 : 8 + length]).get("__metadata__") or {}), content
    except Exception as problem:  # a damaged file can make the reader fail in any way
        raise CheckpointError(
            f"'{path}' can't be read as exported encoders; is it torn or of another kind? ({about.shown(str(problem))})"
        ) from problem


def _heads(state: dict[str, Tensor], expected: tuple[int, int, int], path: Path) -> Classifiers:
    """Take the classifiers out of a file's tensors. expected: branches, values of a feature, classes."""
    weight, bias = (state.pop(f"{HEAD}{part}", torch.empty(0)) for part in ("weight", "bias"))
    wanted = (expected, (expected[0], 1, expected[2]))
    if (tuple(weight.shape), tuple(bias.shape)) != wanted or (weight.dtype, bias.dtype) != (torch.float32, torch.float32):
        raise CheckpointError(
            f"'{path}': classifiers must be float32 of shape {wanted[0]} and {wanted[1]} (branches, features, classes), "
            f"found {weight.dtype} {tuple(weight.shape)} and {bias.dtype} {tuple(bias.shape)}; export it again"
        )
    return weight, bias


def _check_types(own: dict[str, Tensor], state: dict[str, Tensor], path: Path) -> None:
    for name in own.keys() & state.keys():
        if own[name].dtype != state[name].dtype:
            raise CheckpointError(f"'{path}': {name} must be {own[name].dtype}, found {state[name].dtype}; export it again")
