"""Trained encoders as one safetensors file: weights, sizes, skeleton and settings; safe to open, needs nothing else of the run."""

from __future__ import annotations

import dataclasses
import json
import struct
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from skelmm_core import checkpoints, modalities
from skelmm_core.encoder import Branches, Encoder, EncoderShape
from skelmm_core.errors import CheckpointError, DataError
from skelmm_core.evaluation.features import Features, checked_labels, stacked
from skelmm_core.evaluation.linear import fit, scaling
from skelmm_core.files import refuse_foreign, replacing
from skelmm_core.settings import Evaluate
from skelmm_core.skeletons import Skeleton

FORMAT = "skelmm-encoders-1"


def save(path: str | Path, branches: Branches, settings: Evaluate, role: str, title: str = "") -> None:
    """Write encoders and verify that the file gives the same weights back.

    Args: role: ``"teacher"`` or ``"student"``. title: of the data that they were trained on.
    Raises `CheckpointError` for a file at `path` that is not one of exported encoders, and a disk that is full or read-only.
    """
    path, first = Path(path), next(iter(branches.values()))
    refuse_foreign(path, FORMAT, CheckpointError)
    metadata = {
        "format": FORMAT, "role": role, "trained_on": title, "modalities": json.dumps(list(branches)),
        "settings": json.dumps(dataclasses.asdict(settings)), "shape": json.dumps(dataclasses.asdict(first.shape)),
        "head_width": str(first.head[0].out_features),
        "skeleton": json.dumps(first.skeleton.to_dict()), "versions": json.dumps(checkpoints.versions()),
    }  # fmt: skip
    state = {name: t.detach().cpu().contiguous() for name, t in branches.state_dict().items()}
    with replacing(path, CheckpointError) as file:
        file.write(save_tensors(state, metadata))
    back, _ = load(path)
    for name, tensor in back.state_dict().items():
        if not torch.equal(tensor, state[name]):
            raise CheckpointError(f"'{path}' gives other numbers back than were written (first: {name}); is the disk sound?")


def classifiers(features: Features, labels: Tensor, classes: int, settings: Evaluate) -> tuple[Tensor, Tensor]:
    """One linear classifier per stream of frozen features (name -> (N, F)), trained as those of the linear probe's headline figure.

    Returns: weight (S, F, classes), bias (S, 1, classes), for features as they are: the probe's standardisation is inside.
    """
    x, together = stacked(features), settings.probe_fusion == "joint" and len(features) > 1
    labels = checked_labels(labels, x, classes, "train")
    mean, scale = torch.zeros_like(x[:, :1]), torch.ones_like(x[:, :1])  # (S, 1, F)
    if settings.probe_standardise:
        mean, scale = scaling(x)
    weight, bias = fit((x - mean) * scale, labels, tuple(features), classes, settings, together)
    weight = scale.transpose(1, 2) * weight
    return weight, bias - mean @ weight


def load(path: str | Path) -> tuple[Branches, dict]:
    """Encoders by modality, in eval mode on the CPU, and what the file says about them (role, trained_on, settings, versions).

    Raises `CheckpointError` for a file that is missing, torn or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no file with exported encoders at '{path}'; make one with `skelmm export STAGE FILE`")
    try:
        content = path.read_bytes()
        state = load_tensors(content)
        length = struct.unpack("<Q", content[:8])[0]
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
        if metadata.get("format") != FORMAT:
            raise CheckpointError(f"'{path}' is not a file of exported encoders ({FORMAT}); make one with `skelmm export STAGE FILE`")
        shape, skeleton = EncoderShape(**json.loads(metadata["shape"])), Skeleton.from_dict(json.loads(metadata["skeleton"]))
        names, width = modalities.check_streams(json.loads(metadata["modalities"])), int(metadata["head_width"])
        about = {key: metadata[key] for key in ("role", "trained_on")} | {
            key: json.loads(metadata[key]) for key in ("settings", "versions")
        }
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, struct.error, DataError) as problem:
        raise CheckpointError(f"'{path}' can't be read as exported encoders; is it torn or of another kind? ({problem})") from problem
    branches = Branches({name: Encoder(skeleton, shape, 3 * len(name.split("+")), head_width=width) for name in names})
    checkpoints.load_weights(branches, state, str(path))
    return branches.eval(), about
