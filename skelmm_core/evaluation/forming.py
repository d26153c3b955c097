"""How a representation forms: encoders of every checkpoint that a stage kept, and their maps, each begun where the last one ended."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from skelmm_core import checkpoints
from skelmm_core.encoder import Branches
from skelmm_core.errors import CheckpointError
from skelmm_core.evaluation.alignment import aligned
from skelmm_core.evaluation.tsne import pca_map, tsne_map

METHODS: dict[str, Callable[..., np.ndarray]] = {"t-SNE": tsne_map, "PCA": pca_map}


def kept(folders: Iterable[Path]) -> dict[int, Path]:
    """Checkpoints ``epoch-NNNN.pt`` (`stages.loop.Loop.keep`) in folders of stages, by epoch; of one epoch the later folder's counts."""
    found = {}
    for folder in folders:
        for path in Path(folder).glob("epoch-*.pt"):
            if number := re.fullmatch(r"epoch-(\d+)\.pt", path.name):
                found[int(number[1])] = path
    return dict(sorted(found.items()))


def encoders(paths: Mapping[int, Path], like: Branches, part: str = "query") -> Iterator[tuple[int, Branches]]:
    """Epoch and `like` with the weights that its checkpoint holds of `part`, one after the other in the same `Branches`.

    Raises `CheckpointError` for a checkpoint that can't be read or is of other branches.
    """
    for epoch, path in paths.items():
        state = checkpoints.load(path)["model"]
        own = {key.removeprefix(f"{part}."): value for key, value in state.items() if key.startswith(f"{part}.")}
        if not own:
            raise CheckpointError(f"{path} holds no encoders '{part}', but {sorted({key.partition('.')[0] for key in state})}")
        checkpoints.load_weights(like, own, str(path))
        yield epoch, like


def maps(features: Mapping[int, Tensor], method: str = "t-SNE", **options: Any) -> dict[int, np.ndarray]:
    """Maps (N, 2) of features (N, F) by epoch, each laid upon the next (`alignment.aligned`).

    t-SNE starts each map from the one before, so that a group stays on its side of the map; `options` go to the method.
    """
    make = METHODS[method]
    found: dict[int, np.ndarray] = {}
    last: np.ndarray | None = None
    for epoch in sorted(features):
        found[epoch] = last = make(features[epoch], **options, **({} if last is None or method == "PCA" else {"start": last}))
    return aligned(found)
