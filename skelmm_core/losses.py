"""Losses between branches, as pure functions on stacked tensors.

Shapes everywhere: S branches, N clips, D embedding, K queue length; q, k (S, N, D) and queue columns (S, D, K) have unit
length along D. `temperature` is 0.07 in the published recipe. Every loss is a mean over the batch, one value per branch.
Keys and queues are constants: pass them without gradient.

Log-sum-exp over [z0, a, a*b] is put together from its parts, so no (1 + 2K)-wide matrix is written:
LSE(a_u) is needed once per branch and LSE(a_u * a_v) is the same for (u, v) and (v, u).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from skelmm_core.errors import SettingsError


def info_nce(q: Tensor, k: Tensor, queue: Tensor, temperature: float = 0.07) -> Tensor:
    """Contrast of each branch alone (MoCo, He et al. 2020, arXiv 1911.05722): CE([q.k, q.Q] / tau, 0).

    Args: q, k (S, N, D); queue (S, D, K); temperature tau. Returns (S,); an untrained encoder gives about log(1 + K).
    """
    positive = (q * k).sum(-1) / temperature  # (S, N)
    negative = (q @ queue).div(temperature).logsumexp(-1)  # (S, N)
    return F.softplus(negative - positive).mean(-1)  # log(e^p + e^n) - p, exact where the loss is small


def ekem(q: Tensor, k: Tensor, queue: Tensor, temperature: float = 0.07, topk: int = 1) -> Tensor:
    """Explicit knowledge exchange: branch u takes the clips nearest in branch v as further positives (CrosSCLR, Li et al. 2021).

    For u and v != u, with a = q_u.Q_u and b = q_v.Q_v: z = [q_u.k_u, a, a*b] / tau (1 + 2K logits), positives P = {0} and
    the top-k of b in both blocks, L_uv = -mean over P of log_softmax(z); the mean over v. Gradient flows through b.

    Args: q, k (S, N, D) with S >= 2; queue (S, D, K), slot i of every branch from the same clip. Returns (S,).
    """
    if len(q) < 2:
        raise SettingsError("explicit exchange needs at least two branches, found 1")
    _check_topk(topk, queue)
    positive = (q * k).sum(-1) / temperature  # (S, N)
    a = q @ queue  # (S, N, K)
    own = a.div(temperature).logsumexp(-1)  # (S, N)
    near = a.detach().topk(topk, dim=-1).indices  # (S, N, k)
    losses = [[] for _ in q]
    for u, v in combinations(range(len(q)), 2):
        both = (a[u] * a[v]).div(temperature).logsumexp(-1)  # (N,)
        for x, y in ((u, v), (v, u)):
            losses[x].append(_mined(positive[x], own[x], both, a[x], a[y], near[y], temperature))
    return torch.stack([torch.stack(pair).mean(0) for pair in losses])


def _check_topk(topk: int, queue: Tensor) -> None:
    if not 1 <= topk <= queue.shape[-1]:
        raise SettingsError(f"topk must be between 1 and the queue's {queue.shape[-1]} keys, found {topk}")


def _mined(positive: Tensor, own: Tensor, both: Tensor, a: Tensor, b: Tensor, near: Tensor, temperature: float) -> Tensor:
    """-mean over P of log_softmax([positive, a, a*b]); `own`, `both` are log-sum-exps of the last two blocks. (N,), (N, K) -> scalar."""
    total = torch.logaddexp(torch.logaddexp(positive, own), both)  # (N,)
    a_near, b_near = a.gather(-1, near), b.gather(-1, near)  # (N, k)
    wanted = positive + (a_near + a_near * b_near).sum(-1) / temperature
    return (total - wanted / (1 + 2 * near.shape[-1])).mean()


def ikem(e: Tensor, k: Tensor, queue: Tensor, temperature: float = 0.07) -> Tensor:
    """Implicit knowledge exchange: every branch predicts the joint key of all branches.

    CE([e_u.K*, e_u.Q*] / tau, 0) with K* = unit(concat_v k_v) and Q* = unit(concat_v Q_v).

    Args: e (S, N, S*D) unit predictions; k (S, N, D); queue (S, D, K), branches in the modality table's order. Returns (S,).
    """
    key = F.normalize(k.movedim(0, 1).flatten(1), dim=-1)  # (N, S*D)
    joint_queue = F.normalize(queue.flatten(0, 1), dim=0)  # (S*D, K)
    return info_nce(e, key.expand_as(e), joint_queue.expand(len(e), -1, -1), temperature)


def cmd(
    q: Tensor, k: Tensor, queue: Tensor, topk: int = 8192, teacher_temperature: float = 0.05, student_temperature: float = 0.1
) -> Tensor:
    """Cross-modal mutual distillation (Mao et al. 2022, arXiv 2208.12448), to be added to `info_nce`.

    Branch b learns from every other branch a: KL(softmax(k_a.Q_a[N_a] / tau_t) || softmax(q_b.Q_b[N_a] / tau_s)), N_a the
    top-k of k_a.Q_a (at most K), no gradient through the teacher. Sum over a. Returns (S,), one value per learner b.
    """
    neighbours = (k @ queue).topk(min(topk, queue.shape[-1]), dim=-1)  # (S, N, k)
    target = F.softmax(neighbours.values.detach() / teacher_temperature, dim=-1)
    similarity = q @ queue  # (S, N, K)
    losses = []
    for b in range(len(q)):
        terms = [
            F.kl_div(
                F.log_softmax(similarity[b].gather(-1, neighbours.indices[a]) / student_temperature, -1), target[a], reduction="batchmean"
            )
            for a in range(len(q))
            if a != b
        ]
        losses.append(torch.stack(terms).sum())
    return torch.stack(losses)


def relational_distillation(
    student: Tensor,
    teacher: Tensor,
    teacher_queue: Tensor,
    teacher_queues: Tensor,
    temperature: float = 0.07,
    topk: int = 1,
    queue_of: Sequence[int] | None = None,
) -> Tensor:
    """Relational cross-modality distillation of S teacher branches into students.

    T = unit(concat_v q_v). For student e and teacher branch v: n = e.Q_T, b = q_v.Q_v, z = [e.T, n, n*b] / tau, positives
    {0} and the top-k of b in both blocks; -mean over positives of log_softmax(z), the mean over v.

    Args:
        student: (E, N, S*D) unit embeddings of the E students. teacher: (S, N, D) unit embeddings q_v, no gradient.
        teacher_queue: (S*D, K) earlier T. teacher_queues: (S, D, K) earlier q_v.
        queue_of: for each teacher branch, whose queue its relations are taken from; its own by default. The published
            code compares angular velocity with the bone's queue, `(0, 1, 2, 3, 4, 2)`.

    Returns: (E,), one value per student.
    """
    _check_topk(topk, teacher_queue)
    joint = F.normalize(teacher.movedim(0, 1).flatten(1), dim=-1)  # (N, S*D)
    positive = (student * joint).sum(-1) / temperature  # (E, N)
    n = student @ teacher_queue  # (E, N, K)
    own = n.div(temperature).logsumexp(-1)  # (E, N)
    losses = torch.zeros(len(student), dtype=n.dtype, device=n.device)
    for v in range(len(teacher)):
        b = teacher[v] @ teacher_queues[v if queue_of is None else queue_of[v]]  # (N, K)
        near = b.topk(topk, dim=-1).indices
        terms = [
            _mined(positive[e], own[e], (n[e] * b).div(temperature).logsumexp(-1), n[e], b, near, temperature) for e in range(len(student))
        ]
        losses = losses + torch.stack(terms)
    return losses / len(teacher)
