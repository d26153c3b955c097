"""ST-GCN encoder of one modality (Yan et al., AAAI 2018, arXiv 1801.07455), in the size of CrosSCLR and IKEM.

Input (N, 3, T, V, M) -> bodies folded into the batch -> BatchNorm over V*3 -> ten blocks -> mean over T, V and bodies:
the feature -> two linear layers: the embedding. Inside, tensors are (B, T, V, C): channels last keeps the 1x1
convolutions plain matrix products and lets the temporal convolution run in its fastest layout on CPU and GPU.
"""

from __future__ import annotations

from collections.abc import ItemsView, ValuesView
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skelmm_core import modalities
from skelmm_core.dropout import dropout
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.forgetting import forgotten
from skelmm_core.graph_conv import GraphConv
from skelmm_core.norm import Norm1d, Norm2d
from skelmm_core.readout import WHOLE, Readout, pooled
from skelmm_core.skeletons import Skeleton
from skelmm_core.temporal import TemporalConv


@dataclass(frozen=True)
class EncoderShape:
    """Sizes of an encoder; the defaults are the published ones (836,800 parameters with a 60-way classifier)."""

    hidden: int = 16
    features: int = 256
    embedding: int = 128
    dropout: float = 0.5
    bodies: str = "all"  # "all": empty bodies are encoded and averaged in, as published; "present": they never enter

    def __post_init__(self) -> None:
        if self.bodies not in ("all", "present"):
            raise SettingsError(f"bodies must be 'all' or 'present', found '{self.bodies}'")

    def channels(self) -> list[tuple[int, int, int]]:
        """(in, out, stride) of the ten blocks."""
        h = self.hidden
        outs = [h, h, h, h, 2 * h, 2 * h, 2 * h, 4 * h, 4 * h, self.features]
        return [(i, o, 2 if n in (4, 7) else 1) for n, (i, o) in enumerate(zip([3, *outs], outs, strict=False))]

    def levels(self) -> list[int]:
        """The last block of each resolution of time, the coarsest first: [9, 6, 3]."""
        strides = [stride for _, _, stride in self.channels()]
        return [len(strides) - 1, *(n - 1 for n in reversed(range(1, len(strides))) if strides[n] > 1)]

    def width(self, read: Readout, skeleton: Skeleton) -> int:
        """How wide a feature is that is read so."""
        outs = [out for _, out, _ in self.channels()]
        return sum(outs[n] for n in self.levels()[: read.levels]) * read.parts(skeleton)


class Block(nn.Module):
    """Graph convolution, BN, ReLU, 9x1 temporal convolution, BN, dropout, residual, ReLU; (B, T, V, C) -> (B, T / stride, V, C')."""

    def __init__(self, c_in: int, c_out: int, stride: int, joints: int, dropout: float, first: bool):
        super().__init__()
        self.graph = GraphConv(c_in, c_out, joints)
        self.norm1 = Norm2d(c_out)
        self.temporal = TemporalConv(c_out, c_out, stride)
        self.norm2 = Norm2d(c_out)
        self.dropout = 0.0 if first else dropout
        self.first, self.stride = first, stride
        self.shortcut: nn.Sequential | None = None
        if not first and (c_in != c_out or stride != 1):
            # Strides are taken before the 1x1 convolution: oneDNN's strided one writes past its memory in the backward pass (torch 2.13,
            # several threads, channels last, fewer than 16 channels in, some batch sizes).
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1), Norm2d(c_out))

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        y = self.graph(x, adjacency).permute(0, 3, 1, 2)  # (B, C', T, V), channels last in memory
        y, again = self.norm1.remembering(y)
        with forgotten(y, lambda: F.relu(again(), inplace=True)) if again else nullcontext():
            y = self.temporal(F.relu(y, inplace=True))
        y = self.norm2(y)
        if self.dropout and self.training:
            y = dropout(y, self.dropout)
        if not self.first:
            x = x[:, :: self.stride].permute(0, 3, 1, 2)
            y = y + (x if self.shortcut is None else self._short(self.shortcut[0], self.shortcut[1], x))
        return F.relu(y, inplace=True).permute(0, 2, 3, 1)  # (B, T', V, C')

    @staticmethod
    def _short(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
        y, weight, bias = conv(x), cast(Tensor, conv.weight), cast(Tensor, conv.bias)
        with forgotten(y, lambda: F.conv2d(x, weight, bias)):  # not by the layer, whose hooks run once
            normalised: Tensor = norm(y)
        return normalised


class Encoder(nn.Module):
    """One branch: `encoder(x (N, 3, T, V, M)) -> (feature (N, features), embedding (N, embedding))`; the embedding is not normalised."""

    adjacency: Tensor
    head: nn.Module

    def __init__(self, skeleton: Skeleton, shape: EncoderShape = EncoderShape(), in_channels: int = 3, head_width: int | None = None):
        super().__init__()
        self.shape, self.skeleton, self.in_channels = shape, skeleton, in_channels
        joints = len(skeleton)
        self.register_buffer("adjacency", torch.from_numpy(skeleton.adjacency()))
        self.input_norm = Norm1d(joints * in_channels)
        channels = shape.channels()
        channels[0] = (in_channels, *channels[0][1:])
        self.blocks = nn.ModuleList(Block(i, o, s, joints, shape.dropout, n == 0) for n, (i, o, s) in enumerate(channels))
        width = shape.features if head_width is None else head_width
        self.head = nn.Sequential(nn.Linear(shape.features, width), nn.ReLU(), nn.Linear(width, shape.embedding))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        feature = self.feature(x)
        return feature, self.head(feature)

    def feature(self, x: Tensor, read: Readout = WHOLE) -> Tensor:
        """(N, C, T, V, M) -> (N, features), the mean over frames, joints and bodies; of parts of them and of earlier blocks see `Readout`.

        With ``bodies="present"`` a body is there where this very modality is not all zeros: a second person who stands perfectly still is
        there in joint, bone and rotation axis, and absent from the three of change. What is not a number is there, so that it is noticed.
        """
        n, c, t, v, m = x.shape
        if c != self.in_channels or v != len(self.skeleton):
            raise DataError(
                f"the encoder expects (N, {self.in_channels}, T, {len(self.skeleton)}, M) for skeleton '{self.skeleton.name}', "
                f"found {tuple(x.shape)}"
            )
        x = x.permute(0, 4, 2, 3, 1).reshape(n * m, t, v, c)  # (B, T, V, C)
        if self.shape.bodies == "all" or m == 1:
            return self._encode(x, read).view(n, m, -1).mean(dim=1)
        present = (x != 0).flatten(1).any(dim=1)  # (B,)
        present.view(n, m)[:, 0] = True  # a clip always has a first body, however still
        rows = present.nonzero().squeeze(1)
        feature = self._encode(x[rows], read)
        total = torch.zeros(n, feature.shape[1], dtype=feature.dtype, device=feature.device).index_add(0, rows // m, feature)
        return total / present.view(n, m).sum(dim=1, keepdim=True)

    def _encode(self, x: Tensor, read: Readout) -> Tensor:
        b, t, v, c = x.shape
        x = self.input_norm(x.reshape(b * t, v * c)).view(b, t, v, c)
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        wanted = self.shape.levels()[: read.levels]
        found: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            x = block(x, self.adjacency)
            if number in wanted:
                found.insert(0, pooled(x, read, self.skeleton))
        return torch.cat(found, dim=1) if len(found) > 1 else found[0]


def initialise(module: nn.Module, scheme: str, generator: torch.Generator) -> None:
    """Fill all weights of a module from a generator, in place.

    ``"published"``: conv and linear N(0, 0.02), BN weight N(1, 0.02), biases 0.
    ``"scaled"``: conv and linear N(0, 2 / fan_in) (He et al. 2015), BN weight 1, biases 0; what small data sets need:
    with 0.02 the embeddings start so alike that a few hundred steps are spent on leaving log(1 + K).
    """
    if scheme not in ("published", "scaled"):
        raise SettingsError(f"initialisation must be 'published' or 'scaled', found '{scheme}'")
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fan_in = layer.weight[0].numel()
            layer.weight.data.normal_(0, 0.02 if scheme == "published" else (2 / fan_in) ** 0.5, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            if scheme == "published":
                layer.weight.data.normal_(1, 0.02, generator=generator)
            else:
                nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)


class Branches(nn.ModuleDict):
    """One encoder per modality, by name; called with a dict of modalities it returns stacked tensors in the dict's own order of branches.

    `branches(inputs) -> (features (S, N, F), embeddings (S, N, D))`. A branch may see several modalities, joined along channels: its
    name is then theirs with plus signs, ``"joint+motion+bone"``.
    """

    if TYPE_CHECKING:  # what `nn.ModuleDict` knows to be modules are encoders here

        def __getitem__(self, key: str) -> Encoder: ...
        def values(self) -> ValuesView[Encoder]: ...
        def items(self) -> ItemsView[str, Encoder]: ...

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that all branches together need."""
        return modalities.parts_of(self.keys())

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        pairs = [encoder(modalities.join(inputs, name)) for name, encoder in self.items()]
        return torch.stack([f for f, _ in pairs]), torch.stack([e for _, e in pairs])

    @torch.no_grad()
    def features(self, inputs: dict[str, Tensor], read: Readout = WHOLE) -> dict[str, Tensor]:
        """Features only, without gradient: name -> (N, F)."""
        return {name: encoder.feature(modalities.join(inputs, name), read) for name, encoder in self.items()}
