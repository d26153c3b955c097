"""Losses between branches, as pure functions on stacked tensors.

Shapes everywhere: S branches, N clips, D embedding, K queue length; q, k (S, N, D) and queue columns (S, D, K) have unit
length along D. `temperature` is 0.07 in the published recipe. Every loss is a mean over the batch, one value per branch.
Keys and queues are constants: pass them without gradient.

Log-sum-exp over [z0, a, a*b] is put together from its parts, so no (1 + 2K)-wide matrix is written: LSE(a_u) is needed once per branch,
and LSE(a_u * a_v) is the same for (u, v) and (v, u). `partition` computes these parts piece by piece along K.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

import torch
import torch.nn.functional as F
from torch import Tensor

from skelmm_core.errors import SettingsError
from skelmm_core.partition import sums


def info_nce(q: Tensor, k: Tensor, queue: Tensor, temperature: float = 0.07) -> Tensor:
    """Contrast of each branch alone (MoCo, He et al. 2020, arXiv 1911.05722): CE([q.k, q.Q] / tau, 0).

    Args: q, k (S, N, D); queue (S, D, K); temperature tau. Returns (S,); an untrained encoder gives about log(1 + K).
    """
    positive = (q * k).sum(-1) / temperature  # (S, N)
    negative = sums(q, queue, temperature).own  # (S, N)
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
    pairs = list(combinations(range(len(q)), 2))
    parts = sums(q, queue, temperature, pairs, topk=topk)
    a = [_at(q[u], queue[u], parts.near) for u in range(len(q))]  # (S, N, k) each, of the columns that each branch finds near
    losses: list[list[Tensor]] = [[] for _ in q]
    for both, (u, v) in zip(parts.both, pairs, strict=True):
        for x, y in ((u, v), (v, u)):
            losses[x].append(_mined(positive[x], parts.own[x], both, a[x][y], a[y][y], temperature))
    return torch.stack([torch.stack(pair).mean(0) for pair in losses])


def _check_topk(topk: int, queue: Tensor) -> None:
    if not 1 <= topk <= queue.shape[-1]:
        raise SettingsError(f"topk must be between 1 and the queue's {queue.shape[-1]} keys, found {topk}")


def _at(q: Tensor, queue: Tensor, columns: Tensor) -> Tensor:
    """Similarities of q (N, D) to some columns (..., N, k) of a queue (D, K): (..., N, k).

    Few columns are gathered, D numbers each, which are kept for the gradient. Where they would be more than the whole row of K
    similarities, the row is computed and looked up instead, and nothing but indices is kept.
    """
    if columns.shape[-1] * q.shape[-1] > queue.shape[-1]:
        return (q @ queue).expand(*columns.shape[:-1], -1).gather(-1, columns)
    return torch.einsum("nd,d...nk->...nk", q, queue[:, columns])


def _mined(positive: Tensor, own: Tensor, both: Tensor, a_near: Tensor, b_near: Tensor, temperature: float) -> Tensor:
    """-mean over P of log_softmax([positive, a, a*b]); `own`, `both` (N,) are log-sum-exps of the last two blocks, `a_near`, `b_near`
    (N, k) the similarities at the mined positives. Returns the mean over clips."""
    total = torch.logaddexp(torch.logaddexp(positive, own), both)  # (N,)
    wanted = positive + (a_near + a_near * b_near).sum(-1) / temperature
    return (total - wanted / (1 + 2 * a_near.shape[-1])).mean()


def ikem(e: Tensor, k: Tensor, queue: Tensor, temperature: float = 0.07) -> Tensor:
    """Implicit knowledge exchange: every branch predicts the joint key of all branches.

    CE([e_u.K*, e_u.Q*] / tau, 0) with K* = unit(concat_v k_v) and Q* = unit(concat_v Q_v).

    Args: e (S, N, S*D) unit predictions; k (S, N, D); queue (S, D, K), branches in the modality table's order. Returns (S,).
    """
    length = len(k) ** 0.5  # of S unit vectors on end
    key = k.movedim(0, 1).flatten(1) / length  # (N, S*D)
    positive = (e * key).sum(-1) / temperature  # (S, N)
    negative = sums(e.flatten(0, 1).unsqueeze(0) / length, queue, temperature).own.view_as(positive)
    return F.softplus(negative - positive).mean(-1)


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
    order = list(range(len(teacher))) if queue_of is None else list(queue_of)
    seen = teacher_queues if order == list(range(len(teacher))) else teacher_queues[order]  # (S, D, K)
    pairs = list(product(range(len(student)), range(len(teacher))))
    parts = sums(student, teacher_queue.unsqueeze(0), temperature, pairs, (teacher, seen), topk)
    b = [_at(teacher[v], seen[v], parts.near[v]) for v in range(len(teacher))]  # (N, k) each
    n = [_at(e, teacher_queue, parts.near) for e in student]  # (S, N, k) each
    terms = [_mined(positive[e], parts.own[e], both, n[e][v], b[v], temperature) for both, (e, v) in zip(parts.both, pairs, strict=True)]
    return torch.stack(terms).view(len(student), len(teacher)).mean(1)
