"""Stages 1, 2 and 3: branch by branch and pair by pair, every matrix of logits written.

A call of a stage with modalities of query and key, name -> (N, 3, T, V, M), gives its losses by name and, by a queue's suffix, what enters
it afterwards. Encoders and queues are named as in published checkpoints. q, k, e (N, D) have unit length, queues are (D, K).
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plain.stgcn import STGCN, initialise
from benchmarks.plain.tables import LETTER, SUFFIX

FOLLOW_PUBLISHED = ("motion", "acceleration", "angular_velocity")  # key encoders that the published run updates in stage 2
Result = tuple[dict[str, Tensor], dict[str, Tensor]]


def info_nce(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """CE([q.k, q.Q] / temperature, 0)."""
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue], dim=1) / temperature  # (N, 1+K)
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device))


def mined(positive: Tensor, a: Tensor, b: Tensor, temperature: float, topk: int) -> Tensor:
    """-mean over the positives of log_softmax([positive, a, a*b] / temperature): the first, and the top-k of b in both blocks."""
    logits = torch.cat([positive, a, a * b], dim=1) / temperature  # (N, 1+2K)
    near = b.topk(topk, dim=1).indices
    chosen = torch.zeros_like(logits)
    chosen[:, 0] = 1
    chosen.scatter_(1, 1 + near, 1)
    chosen.scatter_(1, 1 + a.shape[1] + near, 1)
    return -((F.log_softmax(logits, dim=1) * chosen).sum(1) / chosen.sum(1)).mean()


class Stage(nn.Module):
    """Query encoders and queues of S modalities."""

    def __init__(self, s: SimpleNamespace):
        super().__init__()
        self.s = s
        for name in s.names:
            self.add_module(f"encoder_q{SUFFIX[name]}", STGCN(s.hidden, s.features, s.features, s.embedding, s.dropout))
            self.add_queue(SUFFIX[name], s.embedding)

    def add_queue(self, suffix: str, width: int) -> None:
        self.register_buffer(f"queue{suffix}", F.normalize(torch.randn(width, self.s.queue), dim=0))
        self.register_buffer(f"queue_ptr{suffix}", torch.zeros(1, dtype=torch.long))

    def of(self, role: str, name: str) -> nn.Module | Tensor:
        """What a modality has of a role: "encoder_q", "encoder_k", "queue"."""
        return getattr(self, f"{role}{SUFFIX[name]}")

    @torch.no_grad()
    def enqueue(self, suffix: str, keys: Tensor) -> None:
        """Keys (N, width) over the oldest ones."""
        queue, pointer = getattr(self, f"queue{suffix}"), getattr(self, f"queue_ptr{suffix}")
        if len(keys) > self.s.queue:
            raise ValueError(f"expected a batch of at most queue={self.s.queue} clips, found {len(keys)}; take a longer queue")
        slots = (torch.arange(len(keys), device=keys.device) + int(pointer)) % self.s.queue
        queue[:, slots] = keys.T
        pointer[0] = (int(pointer) + len(keys)) % self.s.queue


class Contrast(Stage):
    """Stage 1, each modality alone, or stage 2, exchange among them."""

    def __init__(self, s: SimpleNamespace):
        super().__init__(s)
        joint_width = len(s.names) * s.embedding
        for name in s.names:
            self.add_module(f"encoder_k{SUFFIX[name]}", STGCN(s.hidden, s.features, s.features, s.embedding, s.dropout))
            head = nn.Sequential(nn.Linear(s.features, joint_width), nn.ReLU(), nn.Linear(joint_width, joint_width))
            self.add_module(f"mlp2{LETTER[name]}", head)
        initialise(self)
        for name in s.names:
            if s.copy_key:
                self.of("encoder_k", name).load_state_dict(self.of("encoder_q", name).state_dict())
            self.of("encoder_k", name).requires_grad_(False)

    @torch.no_grad()
    def follow(self, name: str) -> None:
        """Momentum update of a key encoder; statistics of its normalisation are its own."""
        for key, query in zip(self.of("encoder_k", name).parameters(), self.of("encoder_q", name).parameters(), strict=True):
            key.copy_(key * self.s.key_momentum + query * (1 - self.s.key_momentum))

    def forward(self, query: dict[str, Tensor], key: dict[str, Tensor]) -> Result:
        s, q, k, feature = self.s, {}, {}, {}
        for name in s.names:
            with torch.no_grad():
                if s.stage == 1 or s.keys == "all" or name in FOLLOW_PUBLISHED:
                    self.follow(name)
                k[name] = F.normalize(self.of("encoder_k", name)(key[name])[1], dim=1)
            feature[name], embedding = self.of("encoder_q", name)(query[name])
            q[name] = F.normalize(embedding, dim=1)
        entering = {SUFFIX[name]: k[name] for name in s.names}
        if s.stage == 1:
            return {f"info_nce {n}": info_nce(q[n], k[n], self.of("queue", n), s.temperature) for n in s.names}, entering
        return self.explicit(q, k) | self.implicit(feature, k), entering

    def explicit(self, q: dict[str, Tensor], k: dict[str, Tensor]) -> dict[str, Tensor]:
        """EKEM: for every pair of branches a matrix of N x (1+2K) logits; gradient flows into both."""
        s, found = self.s, {}
        similar = {u: q[u] @ self.of("queue", u) for u in s.names}  # (N, K)
        for u in s.names:
            positive = (q[u] * k[u]).sum(1, keepdim=True)  # (N, 1)
            terms = [mined(positive, similar[u], similar[v], s.temperature, s.topk) for v in s.names if v != u]
            found[f"ekem {u}"] = sum(terms) / len(terms)
        return found

    def implicit(self, feature: dict[str, Tensor], k: dict[str, Tensor]) -> dict[str, Tensor]:
        """IKEM: every branch predicts the key that all branches have together."""
        s, found = self.s, {}
        key = F.normalize(torch.cat([k[v] for v in s.names], dim=1), dim=1)  # (N, S*D)
        queue = F.normalize(torch.cat([self.of("queue", v) for v in s.names], dim=0), dim=0)  # (S*D, K)
        for u in s.names:
            e = F.normalize(getattr(self, f"mlp2{LETTER[u]}")(feature[u]), dim=1)
            found[f"ikem {u}"] = info_nce(e, key, queue, s.temperature)
        return found


class Distillation(Stage):
    """Stage 3: the teacher's query encoders, which see augmentation 1, teach students, which see augmentation 2."""

    def __init__(self, s: SimpleNamespace):
        super().__init__(s)
        joint_width = len(s.names) * s.embedding
        self.add_queue("_teacher", joint_width)
        for name in s.students:
            self.add_module(f"encoder_student_{LETTER[name]}", STGCN(s.hidden, s.features, joint_width, joint_width, s.dropout))
        initialise(self)
        for name in s.names:
            self.of("encoder_q", name).requires_grad_(False)

    def train(self, mode: bool = True) -> Distillation:
        super().train(mode)
        for name in self.s.names:
            self.of("encoder_q", name).train(mode and self.s.teacher == "train")
        return self

    def forward(self, query: dict[str, Tensor], key: dict[str, Tensor]) -> Result:
        s, found = self.s, {}
        with torch.no_grad():
            q = {v: F.normalize(self.of("encoder_q", v)(query[v])[1], dim=1) for v in s.names}
            teacher = F.normalize(torch.cat([q[v] for v in s.names], dim=1), dim=1)  # (N, S*D)
        similar = {v: q[v] @ self.of("queue", "bone" if s.slipped_queue and v == "angular_velocity" else v) for v in s.names}  # (N, K)
        for name in s.students:
            e = F.normalize(getattr(self, f"encoder_student_{LETTER[name]}")(key[name])[1], dim=1)
            positive, own = (e * teacher).sum(1, keepdim=True), e @ self.queue_teacher
            terms = [mined(positive, own, similar[v], s.temperature, s.topk) for v in s.names]
            found[f"relational {name}"] = sum(terms) / len(terms)
        return found, {"_teacher": teacher} | {SUFFIX[v]: q[v] for v in s.names}
