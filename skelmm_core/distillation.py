"""Losses of stage 3: what a student is told of its teacher, one pure function per way of telling, on stacked tensors.

All see the same `Views` and give (E,), one value per student, a mean over the batch. What is compared is the same for all, so that a
comparison of losses compares nothing else: of the teacher its joint embedding T, of the student its embedding e, which has T's width; and
of the teacher's branches q_v where a loss asks for several teachers (`relational`, `cmd`). Both are unit vectors, so that the dot products
and distances that similarity-based losses are made of lie between fixed bounds. The map from a student's feature to T's width, which
feature-based methods learn and throw away, is here the student's own head, which is thrown away as well. No gradient to the teacher: what
`Views` holds of it, and queues, are constants. A new loss is one function here and one line in `LOSSES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skelmm_core import losses
from skelmm_core.errors import SettingsError


@dataclass(frozen=True)
class Views:
    """What a loss may look at, for E students, a teacher of S branches, N clips, embeddings of D numbers and queues of K clips.

    embedding (E, N, S*D): the students' embeddings e, unit. raw (E, N, S*D): the same before they were made unit.
    teacher (S, N, D): the teacher's q_v, unit. joint (N, S*D): its joint embedding T = unit(concat_v q_v).
    joint_queue (S*D, K): T of earlier clips, unit columns. queues (S, D, K): for each teacher branch the queue that its relations are
        taken from: its own, but for the published slip. Slot i of all belongs to the same clip.
    temperature, topk: of the settings, for losses that the project's own recipe speaks of.
    maps: (E, W, S*D) of e and (E, W, S*D) of T, learned (`Maps`); None for a loss that is not among `MAPPED`.
    """

    embedding: Tensor
    raw: Tensor
    teacher: Tensor
    joint: Tensor
    joint_queue: Tensor
    queues: Tensor
    temperature: float = 0.07
    topk: int = 1
    maps: tuple[Tensor, Tensor] | None = None


class Maps(nn.Module):
    """Linear maps of e and of T that are learned beside the students, `student` and `teacher` (E, W, S*D), without bias.

    Every student has its own two, drawn from N(0, 1 / (S*D)) by its own generator, so that it starts the same in any company.
    """

    def __init__(self, generators: Sequence[torch.Generator], joint: int, width: int = 128):
        super().__init__()
        drawn = torch.stack([torch.randn(2, width, joint, generator=rng) for rng in generators]) / joint**0.5  # (E, 2, W, S*D)
        self.student, self.teacher = nn.Parameter(drawn[:, 0].clone()), nn.Parameter(drawn[:, 1].clone())


def relational(views: Views) -> Tensor:
    """Relational cross-modality distillation (Wei et al. 2024, arXiv 2309.12009): see `losses.relational_distillation`."""
    return losses.relational_distillation(views.embedding, views.teacher, views.joint_queue, views.queues, views.temperature, views.topk)


def info_nce(views: Views) -> Tensor:
    """The control: contrast with T and nothing relational, CE([e.T, e.Q_T] / tau, 0) (van den Oord et al. 2018, arXiv 1807.03748).

    `relational` with no neighbours mined (k = 0) and without its second block of logits. tau: `views.temperature`.
    """
    joint = views.joint.expand_as(views.embedding)  # (E, N, S*D)
    return losses.info_nce(views.embedding, joint, views.joint_queue.unsqueeze(0), views.temperature)


def seed(views: Views, teacher_temperature: float = 0.07, student_temperature: float = 0.2) -> Tensor:
    """Self-supervised distillation (SEED; Fang et al. 2021, arXiv 2101.04731).

    -sum_i sm([T.T, T.Q_T] / tau_T)_i log sm([e.T, e.Q_T] / tau_S)_i: a cross-entropy, its least value the entropy of the teacher's
    distribution. tau_S 0.2; tau_T from 0.01, where little but the clip itself counts, to 0.07, at which our teachers are trained.
    Holds the (E, N, 1 + K) similarities.
    """
    target = F.softmax(_with_own(views.joint, views) / teacher_temperature, dim=-1)  # (N, 1 + K)
    return -(target * F.log_softmax(_with_own(views.embedding, views) / student_temperature, dim=-1)).sum(-1).mean(-1)


def _with_own(x: Tensor, views: Views) -> Tensor:
    """[x.T, x.Q_T] for x (..., N, S*D): (..., N, 1 + K)."""
    return torch.cat([(x * views.joint).sum(-1, keepdim=True), x @ views.joint_queue], dim=-1)


def cmd(views: Views, topk: int = 8192, teacher_temperature: float = 0.05, student_temperature: float = 0.1) -> Tensor:
    """Cross-modal mutual distillation in one direction (CMD; Mao et al. 2022, arXiv 2208.12448).

    `info_nce` + sum_v KL(sm(q_v.Q_v[N_v] / tau_t) || sm(e.Q_T[N_v] / tau_s)), N_v the top-k of q_v.Q_v (at most K). Each branch of the
    teacher is one of CMD's teachers. In CMD a learner has a queue of its own modality; here its embedding lies in the space of T, whose
    queue it is compared with. Holds the (E, N, K) similarities.
    """
    similarity = views.embedding @ views.joint_queue  # (E, N, K)
    total = info_nce(views)
    for q, queue in zip(views.teacher, views.queues, strict=True):
        near = (q @ queue).topk(min(topk, queue.shape[-1]), dim=-1)  # (N, k)
        seen = similarity.gather(-1, near.indices.expand(len(similarity), -1, -1))  # (E, N, k)
        total = total + _divergence(near.values / teacher_temperature, seen / student_temperature)
    return total


def kd(views: Views, temperature: float = 4.0) -> Tensor:
    """Knowledge distillation on similarities (Hinton et al. 2015, arXiv 1503.02531): clips of the queue stand in for classes.

    tau^2 KL(sm(T.Q_T / tau) || sm(e.Q_T / tau)), tau = 4. Cosines are small beside 4, so this is about half the variance over the queue
    of the difference of the two similarities, the paper's limit of high temperature. Holds the (E, N, K) similarities.
    """
    z_t, z_s = (x @ views.joint_queue / temperature for x in (views.joint, views.embedding))
    return temperature**2 * _divergence(z_t, z_s)


def _divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(softmax(teacher) || softmax(student)) of logits (N, J) and (E, N, J), the mean over clips: (E,)."""
    target = F.log_softmax(teacher, dim=-1)
    return (target.exp() * (target - F.log_softmax(student, dim=-1))).sum(-1).mean(-1)


def rkd(views: Views, distance_weight: float = 25.0, angle_weight: float = 50.0) -> Tensor:
    """Relational knowledge distillation (RKD; Park et al. 2019, arXiv 1904.05068) of the distances and angles within the batch.

    25 l(d_s / mean d_s, d_t / mean d_t) + 50 l(cos angle_s, cos angle_t): l is the mean SmoothL1 over all pairs (i, j) or triples
    (i, j, k) of different clips, d = |x_i - x_j|, the angle that of x_i and x_k seen from x_j. Needs three clips, holds (E, N, N, N).
    """
    n = _clips(views, 3, "rkd")
    (d_t, angle_t), (d_s, angle_s) = _shape(views.joint), _shape(views.embedding)
    distance = F.smooth_l1_loss(d_s, d_t.expand_as(d_s), reduction="none").sum((-2, -1)) / (n * (n - 1))
    angle = F.smooth_l1_loss(angle_s, angle_t.expand_as(angle_s), reduction="none").sum((-3, -2, -1)) / (n * (n - 1) * (n - 2))
    return distance_weight * distance + angle_weight * angle


def _shape(x: Tensor) -> tuple[Tensor, Tensor]:
    """Distances in units of their mean (..., N, N), and cosines of angles (..., N, N, N), at the first clip between the other two; 0 where
    clips are not different.

    From products of the centred x, since embeddings may lie close together far from 0. Clips whose distance is lost in rounding are not
    different, either, and have no gradient.
    """
    apart = ~torch.eye(x.shape[-2], dtype=torch.bool, device=x.device)  # (N, N)
    rounding = torch.finfo(x.dtype).eps
    lost = (8 * rounding) ** 2 * x.detach().square().sum(-1).mean(-1)[..., None, None]  # (..., 1, 1), in x itself
    x = x - x.mean(-2, keepdim=True)
    gram = x @ x.mT
    own = gram.diagonal(dim1=-2, dim2=-1)  # (..., N)
    square = own.unsqueeze(-1) + own.unsqueeze(-2) - 2 * gram
    there = square > lost + rounding * square.detach().mean((-2, -1), keepdim=True)  # nowhere on the diagonal, which is 0
    d = torch.where(there, square, 1).sqrt()  # 1 stands in where there is no distance
    distance = torch.where(there, d, 0)
    mean = distance.sum((-2, -1), keepdim=True) / apart.sum()
    inner = gram.unsqueeze(-3) - gram.unsqueeze(-1) - gram.unsqueeze(-2) + own[..., None, None]  # (x_i - x_j).(x_k - x_j) at j, i, k
    angle = torch.where(there.unsqueeze(-1) & there.unsqueeze(-2) & apart, inner / (d.unsqueeze(-1) * d.unsqueeze(-2)), 0)
    return distance / torch.where(mean > 0, mean, 1), angle


def sp(views: Views, weight: float = 100.0) -> Tensor:
    """Similarity-preserving distillation (SP; Tung & Mori 2019, arXiv 1907.09682) of the products within the batch.

    weight |rownorm(F_t F_t') - rownorm(F_s F_s')|_F^2 / N^2, F (N, S*D) the embeddings of the batch. Without a weight it is below
    4 / N; 100 makes it about as large as `cosine` at N = 128. The comparison by Tian et al. 2020 (arXiv 1910.10699) weighs it 3000,
    beside cross-entropy; alone and at lr 0.1 that is too much.
    """
    _clips(views, 2, "sp")
    g_t, g_s = (F.normalize(x @ x.mT, dim=-1) for x in (views.joint, views.embedding))
    return weight * (g_s - g_t).square().mean((-2, -1))


def pkt(views: Views, weight: float = 1000.0) -> Tensor:
    """Probabilistic knowledge transfer (PKT; Passalis & Tefas 2018, arXiv 1803.10837) of the similarities within the batch.

    weight mean_ij p_t log(p_t / p_s), p = (cos + 1) / 2 over its row's sum, the clip itself included. Without a weight this is the mean
    divergence of a row over N, hence 1000. The comparison by Tian et al. 2020 (arXiv 1910.10699) weighs it 30000, beside cross-entropy.
    """
    _clips(views, 2, "pkt")
    log_t, log_s = (_log_shares(x) for x in (views.joint, views.embedding))
    return weight * (log_t.exp() * (log_t - log_s)).mean((-2, -1))


def _log_shares(x: Tensor) -> Tensor:
    """log((cos + 1) / 2 over its row's sum) of unit x (..., N, D): (..., N, N). Opposite clips count as `eps`, not 0."""
    kernel = ((x @ x.mT + 1) / 2).clamp(min=torch.finfo(x.dtype).eps)
    return kernel.log() - kernel.sum(-1, keepdim=True).log()


def crd(views: Views, temperature: float = 0.07) -> Tensor:
    """Contrastive representation distillation (CRD; Tian et al. 2020, arXiv 1910.10699): noise-contrastive estimation of pairs.

    -log h(s.t) - sum_i log(1 - h(s.m_i)) with s = unit(W_s e), t = unit(W_t T), m_i = unit(W_t Q_T[:, i]), W to 128 numbers;
    h(x) = r / (r + K), r = exp(x / tau) / Z. Knowing nothing gives log(1 + K) + K log(1 + 1 / K).

    Unlike the paper: the memory is the queue of T, so it holds the last K clips, not all, and all K are negatives (paper: 16384 drawn);
    W_t maps it anew every step, and learns through it; the second term, in which a teacher chooses among a memory of students, is left
    out; Z is the mean of exp(s.m / tau) of this step (without gradient), not that of the first one; the weight is 1 (paper: 0.8 beside
    cross-entropy).
    """
    if views.maps is None:
        raise SettingsError("distillation 'crd' learns linear maps, but views.maps is None: give the two tensors of distillation.Maps")
    of_student, of_teacher = views.maps  # (E, W, S*D)
    s = F.normalize(views.embedding @ of_student.mT, dim=-1)  # (E, N, W)
    t = F.normalize(views.joint @ of_teacher.mT, dim=-1)  # (E, N, W)
    memory = F.normalize(of_teacher @ views.joint_queue, dim=-2)  # (E, W, K)
    positive, negative = (s * t).sum(-1) / temperature, s @ memory / temperature  # (E, N), (E, N, K)
    log_k = math.log(negative.shape[-1])
    log_z = negative.detach().flatten(1).logsumexp(-1) - math.log(negative[0].numel())  # (E,)
    shift = (log_z + log_k).unsqueeze(-1)  # h(x) = sigmoid(x / tau - shift)
    return (F.softplus(shift - positive) + F.softplus(negative - shift.unsqueeze(-1)).sum(-1)).mean(-1)


def cosine(views: Views) -> Tensor:
    """2 - 2 cos(e, T), which is |e - T|^2 of unit vectors: 0 to 4, 2 at right angles (as in BYOL; Grill et al. 2020, arXiv 2006.07733)."""
    return (2 - 2 * (views.embedding * views.joint).sum(-1)).mean(-1)


def fitnet(views: Views) -> Tensor:
    """Hints (FitNets; Romero et al. 2015, arXiv 1412.6550): |W s - T|^2 / 2, the sum over the numbers of a clip, as in the paper.

    W is the last layer of the student's head and s what that layer sees, so W s is `views.raw`: the hint is given at the teacher's output,
    not in its middle. A mean over the numbers, the other common way, is less by S*D / 2.
    """
    return (views.raw - views.joint).square().sum(-1).mean(-1) / 2


def _clips(views: Views, least: int, name: str) -> int:
    """N, the number of clips in the batch, if there are enough to be compared with one another."""
    if len(views.joint) < least:
        raise SettingsError(
            f"distillation '{name}' compares the clips of a batch and needs at least {least} in it, found {len(views.joint)}; raise batch"
        )
    return len(views.joint)


LOSSES: dict[str, Callable[[Views], Tensor]] = {
    "relational": relational,
    "info_nce": info_nce,
    "seed": seed,
    "cmd": cmd,
    "kd": kd,
    "rkd": rkd,
    "sp": sp,
    "pkt": pkt,
    "crd": crd,
    "cosine": cosine,
    "fitnet": fitnet,
}
MAPPED = ("crd",)  # losses that look at `views.maps`
IN_BATCH = ("rkd", "sp", "pkt", "crd")  # compare the clips of a batch with each other, so each process would compare its own share alone
