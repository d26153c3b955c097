"""Checkpoints that hold all that is needed to go on, written so that a kill at any moment leaves the last good one.

Written aside, synced and renamed (`files.replacing`), with a checksum behind the content that is verified when it is read. Read with
`weights_only`: nothing in a file is ever executed.
No random state is stored, since all random draws are functions of (seed, epoch, step): the epoch is the random state.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

import skelmm_core
from skelmm_core.errors import CheckpointError
from skelmm_core.files import replacing

FORMAT = 3
LOOSE = 2  # a format whose files hold each tensor by itself
BEFORE = 1  # one whose files may lack a checksum, too
MARK = b"skelmm-sha256:"  # a file ends with this and the 32 bytes of the digest of all before it; zip readers look past it
CHUNK = 1 << 22  # bytes hashed at a time


def versions() -> dict[str, str]:
    """Versions that decide what a run computes."""
    return {"skelmm": skelmm_core.__version__, "torch": str(torch.__version__), "python": platform.python_version()}


def save(path: Path, content: dict[str, Any], keep: bool = False) -> None:
    """Write tensors, numbers, strings and plain containers. keep: what was there becomes the file `before(path)`."""
    packed = {name: _packed(value) for name, value in content.items()}
    content = {"versions": versions(), **packed, "format": FORMAT}  # whatever format they were read from
    buffer = io.BytesIO()  # torch hides why a write failed; memory does not fail to be written
    torch.save(content, buffer)
    with replacing(path, CheckpointError) as file:
        file.write(buffer.getbuffer())
        file.write(MARK + hashlib.sha256(buffer.getbuffer()).digest())
        if keep:
            file.flush()
            os.fsync(file.fileno())  # a disk that is full is told before anything is moved
            with suppress(FileNotFoundError):
                os.replace(path, before(path))


def before(path: Path) -> Path:
    """Where `save` keeps the checkpoint before the one at `path`."""
    return path.with_name(f"{path.stem}.before{path.suffix}")


def newest(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint at `path`, or the one before it where that is torn or gone, and which of them it is; None where there is neither.

    That a torn file was passed over is said on stderr. Raises `CheckpointError` when none of those that are there can be read.
    """
    there = [p for p in (path, before(path)) if p.is_file()]
    for candidate in there:
        try:
            return candidate, load(candidate)
        except CheckpointError as problem:
            if candidate == there[-1]:
                torn = " and ".join(f"'{p}'" for p in there)
                told = f"nothing before it is left: delete {torn} to train this stage from its start"
                raise CheckpointError(f"{problem}; {told}") from problem
            print(f"{problem}\ngoing on from the checkpoint before it, '{there[-1]}'", file=sys.stderr, flush=True)
    return None


def taken(path: Path) -> dict[str, Any] | None:
    """What `load` gives; None where there is no checkpoint, or one that can't be read: that is set aside as ``.torn``, said on stderr."""
    if not path.exists():
        return None
    try:
        return load(path)
    except CheckpointError as problem:
        aside = path.with_suffix(".torn")
        os.replace(path, aside)
        print(f"{problem}\nset aside as '{aside}'; it is made again", file=sys.stderr, flush=True)
        return None


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what `save` wrote; a missing, torn or foreign file raises `CheckpointError`."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        sealed = _verify(path)
        content = torch.load(path, map_location=device, weights_only=True)
        if isinstance(content, dict) and content.get("format") in (FORMAT, LOOSE):
            if not sealed:
                raise ValueError("its end with the checksum is damaged")
            content = {name: _unpacked(value) for name, value in content.items()}
    except Exception as error:  # a damaged file can make the reader fail in any way
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) can't be read as a checkpoint; is it torn or of another kind? ({error})"
        ) from error
    if not isinstance(content, dict) or content.get("format") not in (FORMAT, LOOSE, BEFORE):
        raise CheckpointError(
            f"{path} is not a skelmm checkpoint of format {FORMAT}; published weights are read by `skelmm_core.published.load`"
        )
    return content


def _packed(value: Any) -> Any:
    """A dict of tensors as few long ones, one per kind of number, with names and shapes beside; anything else as it is.

    A model with its queues has thousands of tensors, and torch takes as long for one of them as for a long one: by far most of the time of
    writing and reading a checkpoint.
    """
    if not (isinstance(value, dict) and value and all(isinstance(t, torch.Tensor) for t in value.values())):
        return value
    flat: dict[str, list[torch.Tensor]] = {}
    for tensor in value.values():
        flat.setdefault(str(tensor.dtype), []).append(tensor.detach().cpu().reshape(-1))
    table = [(name, str(tensor.dtype), list(tensor.shape)) for name, tensor in value.items()]
    return {"packed": {kind: torch.cat(parts) for kind, parts in flat.items()}, "table": table}


def _unpacked(value: Any) -> Any:
    """What `_packed` was given; each tensor has memory of its own."""
    if not (isinstance(value, dict) and value.keys() == {"packed", "table"}):
        return value
    sizes: dict[str, list[int]] = {}
    for _, kind, shape in value["table"]:
        sizes.setdefault(kind, []).append(math.prod(shape))
    parts = {kind: iter(flat.split(sizes[kind])) for kind, flat in value["packed"].items()}
    return {name: next(parts[kind]).reshape(shape).clone() for name, kind, shape in value["table"]}


def _verify(path: Path) -> bool:
    """Whether a file has a checksum. Raises `ValueError` where the content is not what it says."""
    length = len(MARK) + hashlib.sha256().digest_size
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        left = max(path.stat().st_size - length, 0)
        file.seek(left)
        end = file.read()
        if not end.startswith(MARK):
            return False
        file.seek(0)
        while left:
            chunk = file.read(min(left, CHUNK))
            digest.update(chunk)
            left -= len(chunk)
    if digest.digest() != end[len(MARK) :]:
        raise ValueError("its content is not what its checksum says")
    return True


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
