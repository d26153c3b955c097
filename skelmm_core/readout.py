"""What is read from an encoder, one vector for each frame and joint: means over the whole clip, over parts of its time, over parts of the
body, of its output alone or of earlier blocks, too."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from skelmm_core.errors import DataError
from skelmm_core.skeletons import Skeleton


class Readout(NamedTuple):
    """Over what a frozen encoder's blocks are averaged, beside the whole clip, and of which blocks, one behind the other.

    segments: so many parts of the time, as equal as frames allow; 1: the whole alone.
    regions: trunk and limbs, each by itself (`Skeleton.regions`).
    levels: so many of the encoder's resolutions of time, the coarsest first: its output, then the last block before each stride.
    """

    segments: int = 1
    regions: bool = False
    levels: int = 1

    def parts(self, skeleton: Skeleton) -> int:
        """How many times as wide as that of the whole a feature of one level is."""
        return 1 + (self.segments if self.segments > 1 else 0) + (len(skeleton.regions()) if self.regions else 0)


WHOLE = Readout()


def pooled(x: Tensor, read: Readout, skeleton: Skeleton) -> Tensor:
    """(B, T, V, C) -> (B, C), the mean over frames and joints, in float32 at least; of more parts than the whole, (B, parts * C).

    Raises `DataError` for more segments than frames.
    """
    kind = torch.promote_types(x.dtype, torch.float32)
    if read.segments > x.shape[1]:
        raise DataError(f"a clip has {x.shape[1]} frames behind the encoder's strides, too few for segments={read.segments}; raise frames")
    parts = [x]
    parts += torch.tensor_split(x, read.segments, dim=1) if read.segments > 1 else ()
    parts += [x[:, :, region] for region in skeleton.regions()] if read.regions else ()
    means = [part.mean(dim=(1, 2), dtype=kind) for part in parts]
    return torch.cat(means, dim=1) if len(means) > 1 else means[0]
