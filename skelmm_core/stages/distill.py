"""Stage 3: a frozen teacher of S modalities teaches students that see fewer, by any of the losses of `distillation`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from skelmm_core.distillation import LOSSES, MAPPED, Maps, Views
from skelmm_core.encoder import Branches
from skelmm_core.frozen import Frozen
from skelmm_core.queues import Queues
from skelmm_core.settings import Distill
from skelmm_core.skeletons import Skeleton
from skelmm_core.stages.contrast import branch_generator, encoders, shape_of
from skelmm_core.stages.step import Model, Step

SLIPPED = {"angular_velocity": "bone"}  # whose queue the published code takes for a teacher branch by mistake


class Distillation(Model):
    """Students learn the joint embedding T of a teacher and the relations that each teacher branch sees.

    Attributes: students (Branches); teacher (query encoders, no gradient); joint_queue (1, S*D, K) of T; queues (S, D, K) of q_v; maps
        (`distillation.Maps`, or None for a loss that has none to learn).
    """

    def __init__(self, settings: Distill, skeleton: Skeleton, teacher: Branches):
        super().__init__()
        self.settings, self.names = settings, settings.student_names
        self.teacher = teacher.requires_grad_(False)
        joint = len(teacher) * settings.embedding
        self.students = encoders(settings, skeleton, self.names, "student", shape_of(settings, embedding=joint), head_width=joint)
        self.joint_queue = Queues(1, joint, settings.queue, branch_generator(settings, "joint queue", ""))
        self.queues = Queues(len(teacher), settings.embedding, settings.queue, branch_generator(settings, "teacher queue", ""))
        generators = [branch_generator(settings, "maps", name) for name in self.names]
        self.maps = Maps(generators, joint) if settings.distillation in MAPPED else None
        self._still: tuple[Frozen, ...] = ()

    def train(self, mode: bool = True) -> Distillation:
        super().train(mode)
        self.teacher.train(mode and self.settings.teacher_mode == "train")
        self._still = ()  # weights may be others since
        return self

    @torch.no_grad()
    def taught(self, query: dict[str, Tensor]) -> Tensor:
        """The teacher's embeddings (S, N, D), not normalised. In eval mode its weights stand still, so it is frozen at the first call."""
        if any(encoder.training for encoder in self.teacher.values()):
            embeddings: Tensor = self.teacher(query)[1]
            return embeddings
        if not self._still:
            self._still = (Frozen(self.teacher),)  # in a tuple: no part of this module's state
        feature = self._still[0](query)  # (N, S, F)
        return torch.stack([encoder.head(feature[:, i]) for i, encoder in enumerate(self.teacher.values())])

    def queue_of(self) -> list[int]:
        """For each teacher branch, whose queue its relations come from."""
        names = list(self.teacher)
        wrong = SLIPPED if self.settings.slipped_queue else {}
        return [names.index(wrong.get(name, name)) if wrong.get(name, name) in names else i for i, name in enumerate(names)]

    def forward(self, query: dict[str, Tensor], key: dict[str, Tensor]) -> Step:
        """Students see `key`, the teacher sees `query` (augmentation 1); name -> (N, 3, T, V, M)."""
        q = self.taught(query)
        _, e = self.students(key)
        with torch.autocast(e.device.type, enabled=False):
            q, raw = F.normalize(q.float(), dim=-1), e.float()  # (S, N, D), (E, N, S*D)
            e = F.normalize(raw, dim=-1)
            joint = F.normalize(q.movedim(0, 1).flatten(1), dim=-1)  # (N, S*D)
            loss = self.settings.distillation_weight * LOSSES[self.settings.distillation](self._views(e, raw, q, joint))
            with torch.no_grad():
                negative = e.mean(1) @ self.joint_queue.data[0].mean(1)  # the mean of all e.Q
                positive = (e.detach() * joint).sum(-1).mean(1)
        return Step(loss, positive, negative, (joint.unsqueeze(0), q))

    def _views(self, e: Tensor, raw: Tensor, q: Tensor, joint: Tensor) -> Views:
        s, queues, queue_of = self.settings, self.queues.data, self.queue_of()
        seen = queues if queue_of == list(range(len(queues))) else queues[queue_of]  # (S, D, K)
        maps = None if self.maps is None else (self.maps.student, self.maps.teacher)
        return Views(e, raw, q, joint, self.joint_queue.data[0], seen, s.temperature, s.topk, maps)

    def enqueue(self, keys: tuple[Tensor, ...]) -> None:
        self.joint_queue.enqueue(keys[0])
        self.queues.enqueue(keys[1])
