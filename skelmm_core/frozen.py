"""Trained encoders for inference only: fewer and larger products with the same results, from modalities or from raw coordinates.

In eval mode a batch normalisation is one multiplication and one addition per channel, so it goes into the weights of the convolution
before it (Jacob et al., CVPR 2018, arXiv 1712.05877, section 3.2), and that of the input into the first graph convolution. What depends on
weights alone is computed once. Everything is plain float32 tensor code that `onnx_file` can write down, for any number of clips and frames.
"""

from __future__ import annotations

import copy
import math
from collections.abc import ItemsView, Iterable
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skelmm_core import modalities
from skelmm_core.encoder import Block, Branches, Encoder
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.norm import Norm1d, Norm2d
from skelmm_core.preparation import STILL, face_camera, facing
from skelmm_core.settings import Evaluate
from skelmm_core.skeletons import Skeleton
from skelmm_core.temporal import convolved


def scale_and_shift(norm: Norm1d | Norm2d) -> tuple[Tensor, Tensor]:
    """What a batch normalisation is in eval mode: x * scale + shift, both (C,) float64."""
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def folded(conv: nn.Conv2d, norm: Norm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias, float64, of one convolution that does what `conv` and then `norm` do."""
    scale, shift = scale_and_shift(norm)
    return conv.weight.double() * scale.view(-1, 1, 1, 1), _bias(conv).double() * scale + shift


def _bias(conv: nn.Conv2d) -> Tensor:
    return cast(Tensor, conv.bias)  # torch knows convolutions without one, too


class FrozenBlock(nn.Module):
    """A `Block` in eval mode without its normalisations, (B, T, V, C) -> (B, T / stride, V, C').

    The first block of an encoder takes its input normalisation, `scale` and `shift` (V, C), into its graph convolution, which is then one
    product (V*C, V*C'). For three channels that is less arithmetic, too: V*C * V*C' multiplications a frame, not V * 3V * C + V * 3C * C'.
    For later blocks it would be more (`graph_conv.DENSE_LIMIT` is for training, where every single product has a price).
    """

    graph: Tensor | None
    weight: Tensor
    bias: Tensor
    shortcut: Tensor | None
    temporal: Tensor
    temporal_bias: Tensor

    def __init__(self, block: Block, adjacency: Tensor, scale: Tensor | None = None, shift: Tensor | None = None):
        super().__init__()
        self.first, self.stride, c_out = block.first, block.stride, block.graph.c_out
        graph = (adjacency * block.graph.importance).double()  # (3, V, W)
        after, bias = scale_and_shift(block.norm1)
        weight = block.graph.conv.weight.double().view(3, c_out, -1) * after.view(-1, 1)  # (3, C', C)
        bias = torch.einsum("kvw,ko->wo", graph, _bias(block.graph.conv).double().view(3, c_out) * after) + bias  # (W, C')
        if scale is None or shift is None:
            self._keep("graph", graph.permute(2, 0, 1).flatten(0, 1))  # (W*3, V)
            self._keep("weight", weight.transpose(0, 1).flatten(1))  # (C', 3*C)
        else:
            kernel = torch.einsum("kvw,koi->viwo", graph, weight)
            bias = (bias + torch.einsum("viwo,vi->wo", kernel, shift)).flatten()  # (W*C',)
            self.register_buffer("graph", None)
            self._keep("weight", (kernel * scale[:, :, None, None]).flatten(2).flatten(0, 1))  # (V*C, W*C')
        self._keep("bias", bias)
        temporal, bias = folded(block.temporal, block.norm2)
        self.register_buffer("shortcut", None)
        if block.shortcut is not None:
            conv, norm = block.shortcut
            shortcut, more = folded(cast(nn.Conv2d, conv), cast(Norm2d, norm))
            self._keep("shortcut", shortcut)
            bias = bias + more
        self._keep("temporal", temporal)
        self._keep("temporal_bias", bias)

    def _keep(self, name: str, value: Tensor) -> None:
        value = value.detach().float()
        setattr(self, name, nn.Buffer(value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value.contiguous()))

    def forward(self, x: Tensor) -> Tensor:
        b, t, v, _ = x.shape
        if self.graph is None:
            y = torch.addmm(self.bias, x.reshape(b * t, -1), self.weight).view(b, t, v, -1)
        else:
            y = torch.matmul(self.graph, x.reshape(b * t, v, -1))  # (B*T, V*3, C), over the graph while there are fewer channels
            y = F.linear(y.view(b, t, v, -1), self.weight)
            y += self.bias.to(y.dtype)
        y = F.relu(y, inplace=True).permute(0, 3, 1, 2)  # (B, C', T, V), channels last in memory
        y = convolved(y, self.temporal, self.temporal_bias, self.stride)
        if not self.first:
            x = x[:, :: self.stride].permute(0, 3, 1, 2)
            y += x if self.shortcut is None else F.conv2d(x, self.shortcut)
        return F.relu(y, inplace=True).permute(0, 2, 3, 1)  # (B, T', V, C')


class FrozenEncoder(nn.Module):
    """An `Encoder` in eval mode up to its feature: (N, C, T, V, M) -> (N, features)."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.shape, self.skeleton, self.in_channels = encoder.shape, encoder.skeleton, encoder.in_channels
        scale, shift = (value.view(len(self.skeleton), self.in_channels) for value in scale_and_shift(encoder.input_norm))
        self.blocks = nn.ModuleList(
            FrozenBlock(block, encoder.adjacency, *((scale, shift) if block.first else ()))
            for block in cast(Iterable[Block], encoder.blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        n, c, t, v, m = x.shape
        if c != self.in_channels or v != len(self.skeleton):
            raise DataError(
                f"the encoder expects (N, {self.in_channels}, T, {len(self.skeleton)}, M) for skeleton '{self.skeleton.name}', "
                f"found {tuple(x.shape)}"
            )
        y = x.permute(0, 4, 2, 3, 1).reshape(n * m, t, v, c)
        if self.shape.bodies == "all":
            return self.encoded(y).view(n, m, -1).mean(dim=1)
        present = (x != 0).flatten(1, 3).any(dim=1)  # (N, M)
        present = torch.cat([torch.ones_like(present[:, :1]), present[:, 1:]], dim=1)  # a clip always has a first body, however still
        rows = present.flatten().nonzero().squeeze(1)
        feature = self.encoded(y[rows])
        total = feature.new_zeros(n, feature.shape[1]).index_add(0, rows // m, feature)
        return total / present.sum(dim=1, keepdim=True)

    def encoded(self, x: Tensor) -> Tensor:
        """Single bodies, (B, T, V, C) -> (B, features)."""
        for block in self.blocks:
            x = block(x)
        return x.mean(dim=(1, 2))


class Frozen(nn.ModuleDict):
    """`Branches` in eval mode: `frozen(inputs) -> (N, S, features)`, the S branches in their own order.

    inputs: modality -> (N, 3, T, V, M).
    """

    if TYPE_CHECKING:  # as in `Branches`

        def items(self) -> ItemsView[str, FrozenEncoder]: ...

    def __init__(self, branches: Branches):
        super().__init__({name: FrozenEncoder(encoder) for name, encoder in branches.items()})

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that all branches together need."""
        return modalities.parts_of(self.keys())

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return torch.stack([encoder(modalities.join(inputs, name)) for name, encoder in self.items()], dim=1)


class FromJoints(nn.Module):
    """Raw coordinates in, features out: the same as `batches.load`, `modalities.compute` and the encoders give for these clips.

    `model(joints) -> (N, S, features)`, and with classifiers `(features, logits (N, classes))`. joints: (N, M, T, V, 3), clips of one
    length, or one clip, (M, T, V, 3) or (T, V, 3): metres, y up, T frames as recorded, of the encoders' own skeleton.

    Args:
        settings: how clips are prepared: frames, smooth, trim, view, and unit_axis where there is one.
        bodies: room for bodies in the data that the encoders know, the most that a clip may have here. Encoders that average empty bodies
            in see a clip of one person as one of so many bodies; what an empty one gives is always the same and is computed here, once.
        classifiers: weight (S, features, classes) and bias (S, 1, classes) of one linear classifier per branch; their logits are averaged.

    Raises: SettingsError for a skeleton in an image (see `check`); DataError for classifiers that don't fit and for joints of another
        shape.
    """

    kernel: Tensor | None
    moments: Tensor
    empty: Tensor | None
    weight: Tensor | None
    bias: Tensor | None

    def __init__(self, branches: Branches, settings: Evaluate, bodies: int = 2, classifiers: tuple[Tensor, Tensor] | None = None):
        super().__init__()
        encoder = next(iter(branches.values()))
        check(encoder.skeleton)
        self.skeleton, self.bodies, self.view, self.trim = encoder.skeleton, bodies, settings.view, settings.trim
        self.preset = "described" if getattr(settings, "unit_axis", True) else "published"
        self.branches = Frozen(branches)
        self.register_buffer("kernel", gaussian(settings.smooth) if settings.smooth else None)
        self.register_buffer("moments", torch.arange(settings.frames) + 0.5)
        nobody = torch.zeros(1, 3, settings.frames, len(self.skeleton), 1)
        averaged_in = encoder.shape.bodies == "all"
        self.register_buffer("empty", self.branches(dict.fromkeys(self.branches.modalities, nobody)) if averaged_in else None)
        weight, bias = classifiers or (None, None)
        if (
            weight is not None
            and bias is not None
            and (weight.shape[:2] != (len(branches), encoder.shape.features) or bias.shape != (len(weight), 1, weight.shape[2]))
        ):
            raise DataError(
                f"classifiers of {len(branches)} branches must be ({len(branches)}, {encoder.shape.features}, classes) and "
                f"({len(branches)}, 1, classes), found {tuple(weight.shape)} and {tuple(bias.shape)}"
            )
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, joints: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        v = len(self.skeleton)
        clips = joints[(None,) * (5 - joints.ndim)] if joints.ndim in (3, 4) else joints
        if clips.ndim != 5 or clips.shape[3:] != (v, 3) or clips.shape[1] > self.bodies or 0 in clips.shape[:3]:
            raise DataError(
                f"joints of skeleton '{self.skeleton.name}' must be (N, M, T, {v}, 3), (M, T, {v}, 3) or (T, {v}, 3) with M from 1 to "
                f"{self.bodies}, found {tuple(joints.shape)}"
            )
        joints = clips
        m = joints.shape[1]
        x, frames = self.prepared(joints)
        features: Tensor = self.branches(modalities.compute(x, frames, self.skeleton, self.branches.modalities, self.preset))
        if self.empty is not None:
            features = (features * m + self.empty * (self.bodies - m)) / self.bodies
        if self.weight is None or self.bias is None:
            return features
        return features, torch.baddbmm(self.bias, features.transpose(0, 1), self.weight).mean(dim=0)

    def prepared(self, joints: Tensor) -> tuple[Tensor, Tensor]:
        """(N, M, T, V, 3) metres -> (N, 3, frames, V, M) and (N,) frames that were left before resampling, as `batches.prepared` does."""
        x = joints if self.kernel is None else smoothed(joints, self.kernel)
        n, _, t = x.shape[:3]
        begin, kept = torch.zeros(n, 1, dtype=torch.long, device=x.device), torch.full((n, 1), t, device=x.device)
        if self.trim:
            begin, kept = ends(x, self.trim)
        centre = self.skeleton.centre
        x = x - x[:, :, :, centre : centre + 1] if self.view == "frame" else from_first(x, centre, begin, kept)
        x = resampled(x, self.moments, begin, kept).permute(0, 4, 2, 3, 1)
        return face_camera(x, self.skeleton) if self.view == "frame" else facing(x, self.skeleton), kept.squeeze(1).float()


def check(skeleton: Skeleton) -> None:
    """Raises `SettingsError` for a skeleton whose preparation can't be frozen."""
    if skeleton.dimensions == 2:
        raise SettingsError(
            f"skeleton '{skeleton.name}' has joints in an image, whose preparation follows what was seen from frame to frame and can't be "
            "frozen: export a .safetensors file, or freeze the encoders alone, which then take modalities"
        )


def gaussian(deviation: float) -> Tensor:
    """Weights of the frames around one, cut off at three deviations, (2 * reach + 1,)."""
    reach = max(1, int(3 * deviation + 0.5))
    return torch.tensor([math.exp(-0.5 * (shift / deviation) ** 2) for shift in range(-reach, reach + 1)])


def seen(x: Tensor) -> Tensor:
    """Where a body has coordinates, (N, M, T, V, 3) -> (N, M, T, 1, 1)."""
    return x.abs().amax(dim=(3, 4), keepdim=True) > 0


def smoothed(x: Tensor, kernel: Tensor) -> Tensor:
    """`preparation.smoothed` for clips of one length, (N, M, T, V, 3) -> same: one convolution along time of values, one of weights."""
    n, m, t, v, c = x.shape
    reach = len(kernel) // 2
    present = seen(x)
    source = (torch.arange(t + 2 * reach, device=x.device) - reach).clamp(0, t - 1)

    def total(values: Tensor) -> Tensor:
        return F.conv2d(values[:, :, source].reshape(n * m, 1, t + 2 * reach, -1), kernel.view(1, 1, -1, 1)).view(n, m, t, -1)

    mean = total(x.flatten(3)) / total(present.to(x.dtype).flatten(3)).clamp_min(1e-12)  # (N, M, T, V*3)
    return torch.where(present, mean.view(n, m, t, v, c), 0)


def ends(x: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """What `preparation.trimmed` keeps of clips of one length, (N, M, T, V, 3) -> its first frame and how many frames, (N, 1) each."""
    n, _, t = x.shape[:3]
    present = seen(x).squeeze(-1)  # (N, M, T, 1)
    step = (x[:, :, 1:] - x[:, :, :-1]).double().norm(dim=4)  # (N, M, T-1, V)
    step = (step * (present[:, :, 1:] & present[:, :, :-1] & (step > STILL))).sum(dim=(1, 3))  # (N, T-1)
    gone = torch.cat([step.new_zeros(n, 1), step.cumsum(1)], dim=1)  # (N, T)
    whole = gone[:, -1:]
    last = torch.where(whole > 0, (gone < (1 - share) * whole).sum(dim=1, keepdim=True), t - 1).clamp(max=t - 1)
    begin = ((gone < share * whole).sum(dim=1, keepdim=True) - 1).minimum(last - 1).clamp(min=0)
    return begin, last - begin + 1


def from_first(x: Tensor, joint: int, begin: Tensor, kept: Tensor) -> Tensor:
    """`preparation.from_first` for clips of one length of which some frames are kept, (N, M, T, V, 3) -> same. begin, kept: (N, 1)."""
    present = seen(x)
    frame = torch.arange(x.shape[2], device=x.device)  # (T,)
    inside = present[:, 0, :, 0, 0] & (frame >= begin) & (frame < begin + kept)  # (N, T)
    first = inside.to(torch.int32).argmax(dim=1).view(-1, 1, 1)  # the first of several largest
    origin = x[:, 0, :, joint].gather(1, first.expand(-1, -1, 3)) * inside.any(dim=1).view(-1, 1, 1)  # (N, 1, 3)
    return torch.where(present, x - origin.view(-1, 1, 1, 1, 3), x)


def resampled(x: Tensor, moments: Tensor, begin: Tensor, kept: Tensor) -> Tensor:
    """`preparation.resample` for clips of one length of which some frames are kept, (N, M, T, V, 3) -> (N, M, frames, V, 3).

    moments: 0.5 .. frames - 0.5. begin, kept: (N, 1), the first frame that is kept and how many are.
    """
    position = (moments * kept / len(moments) - 0.5).clamp(min=0).minimum((kept - 1).to(x.dtype))  # (N, frames)
    low = position.floor().long()
    share = (position - low).view(x.shape[0], 1, -1, 1, 1)
    clip = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
    low, high = begin + low, begin + (low + 1).minimum(kept - 1)
    x = x.transpose(1, 2)  # (N, T, M, V, 3)
    return torch.lerp(x[clip, low].transpose(1, 2), x[clip, high].transpose(1, 2), share)


def freeze(
    branches: Branches, settings: Evaluate | None = None, bodies: int = 2, classifiers: tuple[Tensor, Tensor] | None = None
) -> nn.Module:
    """`Frozen` without settings, `FromJoints` with them; arguments as there. On the CPU, in eval mode, of float32 buffers alone."""
    branches = copy.deepcopy(branches).cpu().eval()
    with torch.no_grad():
        return (Frozen(branches) if settings is None else FromJoints(branches, settings, bodies, classifiers)).eval()
