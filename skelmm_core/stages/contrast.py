"""Stages 1 and 2: query and key encoders with queues per modality, alone or exchanging what they know."""

from __future__ import annotations

import zlib
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skelmm_core import losses
from skelmm_core.batches import generator
from skelmm_core.encoder import Branches, Encoder, EncoderShape, initialise
from skelmm_core.errors import SettingsError
from skelmm_core.queues import Queues, follow
from skelmm_core.settings import Exchange, Pretrain
from skelmm_core.skeletons import Skeleton
from skelmm_core.stages.step import Model, Step

FOLLOW_PUBLISHED = ("motion", "acceleration", "angular_velocity")  # key encoders that the published run updates in stage 2


def branch_generator(settings: Pretrain, role: str, name: str) -> torch.Generator:
    """Initial weights depend on seed, role and modality alone, so a branch starts the same in any company."""
    return generator("cpu", settings.seed, zlib.crc32(f"{role}/{name}".encode()))


def shape_of(settings: Pretrain, **changes: Any) -> EncoderShape:
    values = {name: getattr(settings, name) for name in ("hidden", "features", "embedding", "dropout", "bodies")}
    return EncoderShape(**{**values, **changes})


def encoders(settings: Pretrain, skeleton: Skeleton, names: tuple[str, ...], role: str, shape: EncoderShape, **kwargs: Any) -> Branches:
    """Freshly initialised encoders, one per name, with three input channels for every modality in it."""
    branches = Branches({name: Encoder(skeleton, shape, 3 * len(name.split("+")), **kwargs) for name in names})
    for name, encoder in branches.items():
        initialise(encoder, settings.initialisation, branch_generator(settings, role, name))
    return branches


class Contrast(Model):
    """Momentum contrast of S modalities; called with query and key inputs it gives one `Step`.

    Attributes: query, key (Branches); heads (per modality: feature -> prediction of the joint key, for IKEM); queues.
    """

    def __init__(self, settings: Pretrain, skeleton: Skeleton):
        super().__init__()
        self.names = names = settings.names
        self.settings = settings
        shape = shape_of(settings)
        self.query = encoders(settings, skeleton, names, "query", shape)
        self.key = encoders(settings, skeleton, names, "key", shape)
        if settings.copy_key:
            self.key.load_state_dict(self.query.state_dict())
        self.key.requires_grad_(False)
        joint = len(names) * shape.embedding
        self.heads = nn.ModuleDict({n: nn.Sequential(nn.Linear(shape.features, joint), nn.ReLU(), nn.Linear(joint, joint)) for n in names})
        for name, head in self.heads.items():
            initialise(head, settings.initialisation, branch_generator(settings, "head", name))
        self.queues = Queues(len(names), shape.embedding, settings.queue, branch_generator(settings, "queue", ""))

    def forward(self, query: dict[str, Tensor], key: dict[str, Tensor], exchange: str = "stage1") -> Step:
        """One step without the optimiser: momentum update, keys, queries, losses.

        Args: query, key: name -> (N, 3, T, V, M), two augmentations of the same clips.
            exchange: ``"stage1"`` (each alone) or a name of `settings.EXCHANGES`.
        """
        with torch.no_grad():
            for name in self.names:
                if exchange == "stage1" or cast(Exchange, self.settings).keys == "all" or name in FOLLOW_PUBLISHED:
                    follow(self.key[name], self.query[name], self.settings.key_momentum)
            _, k = self.key(key)
        feature, q = self.query(query)
        with torch.autocast(q.device.type, enabled=False):  # logits in float32
            q, k = F.normalize(q.float(), dim=-1), F.normalize(k.float(), dim=-1)  # (S, N, D)
            queue = self.queues.data
            loss = self._loss(feature.float(), q, k, queue, exchange)
            with torch.no_grad():
                negative = (q.mean(1) * queue.mean(2)).sum(-1)  # the mean of all q.Q
                positive = (q.detach() * k).sum(-1).mean(1)
        return Step(loss, positive, negative, (k,))

    def _loss(self, feature: Tensor, q: Tensor, k: Tensor, queue: Tensor, exchange: str) -> Tensor:
        """(S,). EKEM holds the branch's own positive; the others are added to InfoNCE, without which the embedding
        heads, and with them the keys that IKEM and CMD learn from, would stop learning."""
        tau = self.settings.temperature
        parts = () if exchange == "stage1" else exchange.split("+")
        if "ekem" in parts:
            loss = losses.ekem(q, k, queue, tau, cast(Exchange, self.settings).topk)
        else:
            loss = losses.info_nce(q, k, queue, tau)
        if "cmd" in parts:
            loss = loss + losses.cmd(q, k, queue)
        if "ikem" in parts:
            e = torch.stack([F.normalize(head(f), dim=-1) for head, f in zip(self.heads.values(), feature, strict=True)])
            loss = loss + losses.ikem(e, k, queue, tau)
        return loss

    def enqueue(self, keys: tuple[Tensor, ...]) -> None:
        self.queues.enqueue(keys[0])


@torch.no_grad()
def take_over(model: Contrast, state: dict[str, Tensor], names: tuple[str, ...]) -> None:
    """Copy into `model` what a stage-1 model of the modalities `names` holds for the branches that both have.

    Encoders and queues are taken by modality; the IKEM heads only when the two sets of modalities agree, since their width is S*D.
    """
    missing = [n for n in model.names if n not in names]
    if missing:
        raise SettingsError(f"stage 1 has no branch for {', '.join(missing)}; it trained {', '.join(names)}")
    same = model.names == names
    own = model.state_dict()
    for key in own:
        if key.startswith(("query.", "key.", "queues.pointer")) or (same and key.startswith("heads.")):
            own[key].copy_(state[key])
    model.queues.data.copy_(state["queues.data"][[names.index(n) for n in model.names]])
