"""Checkpoints that hold all that is needed to go on, written so that a kill at any moment leaves the last good one.

Written aside, synced and renamed (`files.replacing`). Read with `weights_only`: nothing in a file is ever executed.
No random state is stored, since all random draws are functions of (seed, epoch, step): the epoch is the random state.
"""

from __future__ import annotations

import io
import platform
from pathlib import Path
from typing import Any

import torch

import skelmm_core
from skelmm_core.errors import CheckpointError
from skelmm_core.files import replacing

FORMAT = 1


def versions() -> dict[str, str]:
    """Versions that decide what a run computes."""
    return {"skelmm": skelmm_core.__version__, "torch": str(torch.__version__), "python": platform.python_version()}


def save(path: Path, content: dict[str, Any]) -> None:
    """Write tensors, numbers, strings and plain containers."""
    content = {"format": FORMAT, "versions": versions(), **content}
    buffer = io.BytesIO()  # torch hides why a write failed; memory does not fail to be written
    torch.save(content, buffer)
    with replacing(path, CheckpointError) as file:
        file.write(buffer.getbuffer())


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what `save` wrote; a missing, torn or foreign file raises `CheckpointError`."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # a damaged file can make the reader fail in any way
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) can't be read as a checkpoint; is it torn or of another kind? ({error})"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a skelmm checkpoint of format {FORMAT}; published weights are read by `skelmm_core.published.load`"
        )
    return content


def load_weights(module: torch.nn.Module, state: dict[str, torch.Tensor], where: str) -> None:
    """`load_state_dict`, with an error that names the file and the first things that don't fit."""
    own = module.state_dict()
    missing, extra = own.keys() - state.keys(), state.keys() - own.keys()
    shapes = [
        f"{k}: {tuple(state[k].shape)} instead of {tuple(own[k].shape)}"
        for k in own.keys() & state.keys()
        if state[k].shape != own[k].shape
    ]
    if missing or extra or shapes:
        raise CheckpointError(
            f"{where} does not fit this model (another skeleton, modality set or size?): missing {sorted(missing)[:3]}, "
            f"unexpected {sorted(extra)[:3]}, other shapes {sorted(shapes)[:3]}"
        )
    module.load_state_dict(state)
