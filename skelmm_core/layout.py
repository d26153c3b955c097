"""The layout that checkpoints of CrosSCLR, AimCLR and IKEM share: names, and a strict reader of its parts.

A rename table maps the entries of one `Encoder` to published names; sizes are inferred from shapes. The reader remembers
what it used, so that a missing, misshapen or leftover tensor is an error that names it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from skelmm_core import modalities, skeletons
from skelmm_core.encoder import Branches, Encoder, EncoderShape
from skelmm_core.errors import CheckpointError
from skelmm_core.skeletons import Skeleton

SUFFIX = {name: f"_{name}" for name in modalities.NAMES} | {"joint": "", "angular_velocity": "_omega"}  # encoder_q<suffix>, queue<suffix>
LETTER = {"joint": "j", "motion": "m", "bone": "b", "acceleration": "a", "rotation_axis": "r", "angular_velocity": "o"}  # mlp2<letter>
RENAME = (  # ours -> published, inside one encoder
    (r"^adjacency$", "A"),
    (r"^input_norm\.", "data_bn."),
    (r"^blocks\.(\d)\.graph\.importance$", r"edge_importance.\1"),
    (r"^blocks\.(\d)\.graph\.conv\.", r"st_gcn_networks.\1.gcn.conv."),
    (r"^blocks\.(\d)\.norm1\.", r"st_gcn_networks.\1.tcn.0."),
    (r"^blocks\.(\d)\.temporal\.", r"st_gcn_networks.\1.tcn.2."),
    (r"^blocks\.(\d)\.norm2\.", r"st_gcn_networks.\1.tcn.3."),
    (r"^blocks\.(\d)\.shortcut\.", r"st_gcn_networks.\1.residual."),
    (r"^head\.", "fc."),
)


def published_name(name: str) -> str:
    """Name in the published layout of an entry of `Encoder.state_dict()`, e.g. ``head.0.bias`` -> ``fc.0.bias``."""
    for ours, theirs in RENAME:
        name, found = re.subn(ours, theirs, name)
        if found:
            break
    return name


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, out of its wrappings."""
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises anything from UnpicklingError to IndexError on bytes that are no checkpoint
        reason = str(error).partition(". ")[0][:200]
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) can't be read as weights; is it torn or of another kind? ({reason})"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        raise CheckpointError(f"{path} holds {type(content).__name__} with other things than named tensors; expected a state dict")
    return {name.removeprefix("module."): value for name, value in content.items()}


class Reader:
    """Takes modules out of a state dict and remembers which keys were used, were missing or had another shape."""

    def __init__(self, path: Path, state: dict[str, Tensor], skeleton: Skeleton, dropout: float):
        self.path, self.state, self.skeleton, self.dropout = path, state, skeleton, dropout
        self.used: set[str] = set()
        self.missing: list[str] = []
        self.misshaped: list[str] = []

    def has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self.state)

    def size(self, name: str, dimension: int) -> int:
        """A size that decides the model's; the tensor must be there."""
        if name not in self.state or self.state[name].ndim <= dimension:
            raise CheckpointError(
                f"{self.path} lacks '{name}', which every encoder of the published layout has; is it of another model, or cut short?"
            )
        return self.state[name].shape[dimension]

    def tensor(self, name: str, shape: tuple[int, ...]) -> Tensor | None:
        self.used.add(name)
        if name not in self.state:
            self.missing.append(name)
        elif self.state[name].shape != shape:
            self.misshaped.append(f"{name} {tuple(self.state[name].shape)} instead of {tuple(shape)}")
        else:
            return self.state[name]
        return None

    def fill(self, module: nn.Module, prefix: str, rename: Callable[[str], str] = lambda name: name) -> None:
        for name, own in module.state_dict().items():  # shares memory with the module
            stored = self.tensor(prefix + rename(name), own.shape)
            if stored is not None:
                own.copy_(stored)

    def branches(self, prefixes: dict[str, str]) -> Branches:
        return Branches({name: self.encoder(prefix) for name, prefix in prefixes.items() if self.has(prefix)})

    def encoder(self, prefix: str) -> Encoder:
        self._graph(prefix + "A")
        first = prefix + "st_gcn_networks.0.gcn.conv.weight"
        features = self.size(prefix + "st_gcn_networks.9.tcn.3.weight", 0)
        head = self.stack(prefix + "fc.", features)
        embedding = [layer for layer in head.modules() if isinstance(layer, nn.Linear)][-1].out_features
        shape = EncoderShape(self.size(first, 0) // 3, features, embedding, self.dropout)
        encoder = Encoder(self.skeleton, shape, in_channels=self.size(first, 1))
        encoder.head = head
        self.fill(encoder, prefix, published_name)
        return encoder

    def _graph(self, name: str) -> None:
        joints = self.size(name, 2)
        if joints != len(self.skeleton):
            alike = [s.name for s in skeletons.SKELETONS.values() if len(s) == joints]
            hint = f"; skeletons with {joints} joints: {', '.join(alike)}" if alike else ""
            raise CheckpointError(
                f"{self.path} was trained on {joints} joints, skeleton '{self.skeleton.name}' has {len(self.skeleton)}{hint}"
            )
        links = self.state[name].sum(0) != 0
        expected = torch.from_numpy(self.skeleton.adjacency()).sum(0) != 0
        if not torch.equal(links, expected):
            differ = (links != expected).nonzero().tolist()
            raise CheckpointError(
                f"{self.path} was trained on another graph than skeleton '{self.skeleton.name}': '{name}' differs in the links "
                f"of {len(differ)} pairs of joints, first {differ[0]}"
            )

    def stack(self, prefix: str, width: int) -> nn.Module:
        """Linear layers by their keys: one Linear, (Linear, ReLU, Linear), or CrosSCLR's later views, whose last part is a stack."""
        if f"{prefix}0.weight" not in self.state:
            return nn.Linear(width, self.size(f"{prefix}weight", 0))
        inner = self.size(f"{prefix}0.weight", 0)
        return nn.Sequential(nn.Linear(width, inner), nn.ReLU(), self.stack(f"{prefix}2.", inner))

    def layers(self, prefix: str, width: int, out: int) -> nn.Module:
        module = nn.Sequential(nn.Linear(width, out), nn.ReLU(), nn.Linear(out, out))
        self.fill(module, prefix)
        return module

    def queues(self, suffixes: list[str], width: int) -> tuple[Tensor | None, int]:
        """(S, D, K) and the next slot; None where there is no queue."""
        if not suffixes or not any(f"queue{s}" in self.state for s in suffixes):
            return None, 0
        length = next(self.size(f"queue{s}", 1) for s in suffixes if f"queue{s}" in self.state)
        data = [self.tensor(f"queue{s}", (width, length)) for s in suffixes]
        pointers = [self.tensor(f"queue_ptr{s}", (1,)) for s in suffixes]
        there, places = [t for t in data if t is not None], [p for p in pointers if p is not None]
        if len(there) < len(data) or len(places) < len(pointers):
            return None, 0  # `finish` says which
        slots = {int(p) for p in places}
        if len(slots) > 1 or not 0 <= min(slots) < length:
            raise CheckpointError(
                f"{self.path}: queue pointers {sorted(slots)} for queues of {length}; expected one slot for all, below {length}"
            )
        return torch.stack(there), slots.pop()

    def finish(self) -> None:
        extra = sorted(self.state.keys() - self.used)
        problems = [
            f"{len(names)} {what} ({', '.join(names[:4])}{', …' if len(names) > 4 else ''})"
            for what, names in (("missing", self.missing), ("unexpected", extra), ("of another shape", self.misshaped))
            if names
        ]
        if problems:
            raise CheckpointError(
                f"{self.path} is not quite in the published layout of CrosSCLR, AimCLR or IKEM: keys {'; '.join(problems)}"
            )
