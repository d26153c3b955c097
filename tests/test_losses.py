"""Every loss against a slow loop that writes out all logits, in closed form, and by gradient check in float64."""

from __future__ import annotations

import inspect
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from skelmm_core import losses
from skelmm_core.errors import SettingsError

S, N, D, K = 3, 4, 8, 12


def units(*shape: int, dim: int = -1, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)), dim=dim)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """q, k (S, N, D) and queue (S, D, K), unit, float64."""
    return units(S, N, D, seed=1), units(S, N, D, seed=2), units(S, D, K, dim=1, seed=3)


# --- the formulas, clip by clip, with every logit written out ---


def softmax_loss(logits: list[Tensor], positives: list[int]) -> Tensor:
    """-mean over positives of log(exp(z_p) / sum exp(z))."""
    total = torch.stack([z.exp() for z in logits]).sum()
    return torch.stack([(total / logits[p].exp()).log() for p in positives]).mean()


def nearest(similarities: list[Tensor], count: int) -> list[int]:
    return sorted(range(len(similarities)), key=lambda i: -float(similarities[i].detach()))[:count]


def slow_info_nce(q: Tensor, k: Tensor, queue: Tensor, tau: float) -> Tensor:
    return torch.stack(
        [
            torch.stack(
                [
                    softmax_loss(
                        [torch.dot(q[s, n], k[s, n]) / tau] + [torch.dot(q[s, n], queue[s, :, i]) / tau for i in range(queue.shape[2])], [0]
                    )
                    for n in range(q.shape[1])
                ]
            ).mean()
            for s in range(len(q))
        ]
    )


def mined(positive: Tensor, a: list[Tensor], b: list[Tensor], tau: float, topk: int) -> Tensor:
    """z = [positive, a, a*b] / tau; positives: the first, and the top-k of b in both blocks."""
    logits = [positive / tau] + [x / tau for x in a] + [x * y / tau for x, y in zip(a, b, strict=True)]
    near = nearest(b, topk)
    return softmax_loss(logits, [0] + [1 + i for i in near] + [1 + len(a) + i for i in near])


def slow_ekem(q: Tensor, k: Tensor, queue: Tensor, tau: float, topk: int) -> Tensor:
    def similarities(s: int, n: int) -> list[Tensor]:
        return [torch.dot(q[s, n], queue[s, :, i]) for i in range(queue.shape[2])]

    def loss(u: int, v: int, n: int) -> Tensor:
        return mined(torch.dot(q[u, n], k[u, n]), similarities(u, n), similarities(v, n), tau, topk)

    count = range(q.shape[1])
    return torch.stack([torch.stack([loss(u, v, n) for v in range(len(q)) if v != u for n in count]).mean() for u in range(len(q))])


def slow_ikem(e: Tensor, k: Tensor, queue: Tensor, tau: float) -> Tensor:
    def unit(x: Tensor) -> Tensor:
        return x / x.square().sum().sqrt()

    columns = [unit(torch.cat([queue[s, :, i] for s in range(len(queue))])) for i in range(queue.shape[2])]
    out = []
    for u in range(len(e)):
        rows = []
        for n in range(e.shape[1]):
            key = unit(torch.cat([k[s, n] for s in range(len(k))]))
            rows.append(softmax_loss([torch.dot(e[u, n], c) / tau for c in [key, *columns]], [0]))
        out.append(torch.stack(rows).mean())
    return torch.stack(out)


def slow_cmd(q: Tensor, k: Tensor, queue: Tensor, topk: int, teacher_tau: float, student_tau: float) -> Tensor:
    out = []
    for b in range(len(q)):
        total = torch.zeros((), dtype=q.dtype)
        for a in range(len(q)):
            if a == b:
                continue
            for n in range(q.shape[1]):
                teacher = [torch.dot(k[a, n], queue[a, :, i]).detach() for i in range(queue.shape[2])]
                near = nearest(teacher, topk)
                p = [(teacher[i] / teacher_tau).exp() for i in near]
                r = [(torch.dot(q[b, n], queue[b, :, i]) / student_tau).exp() for i in near]
                for x, y in zip(p, r, strict=True):
                    p_i, r_i = x / sum(p), y / sum(r)
                    total = total + p_i * (p_i / r_i).log() / q.shape[1]
        out.append(total)
    return torch.stack(out)


def slow_distillation(student, teacher, teacher_queue, teacher_queues, tau, topk, queue_of) -> Tensor:
    out = []
    for e in student:
        terms = []
        for v, other in enumerate(queue_of):
            for n in range(teacher.shape[1]):
                joint = torch.cat([teacher[w, n] for w in range(len(teacher))])
                joint = joint / joint.square().sum().sqrt()
                own = [torch.dot(e[n], teacher_queue[:, i]) for i in range(teacher_queue.shape[1])]
                seen = [torch.dot(teacher[v, n], teacher_queues[other, :, i]) for i in range(teacher_queue.shape[1])]
                terms.append(mined(torch.dot(e[n], joint), own, seen, tau, topk))
        out.append(torch.stack(terms).mean())
    return torch.stack(out)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("tau", [0.07, 0.5])
def test_info_nce_agrees_with_the_loop(batch, tau):
    close(losses.info_nce(*batch, tau), slow_info_nce(*batch, tau))


@pytest.mark.parametrize("topk", [1, 3])
@pytest.mark.parametrize("branches", [2, 3])
def test_ekem_agrees_with_the_loop(batch, branches, topk):
    part = [t[:branches] for t in batch]
    close(losses.ekem(*part, 0.07, topk), slow_ekem(*part, 0.07, topk))


def test_ikem_agrees_with_the_loop(batch):
    _, k, queue = batch
    e = units(S, N, S * D, seed=4)
    close(losses.ikem(e, k, queue, 0.07), slow_ikem(e, k, queue, 0.07))


@pytest.mark.parametrize("topk", [1, 5, 100])
def test_cmd_agrees_with_the_loop(batch, topk):
    close(losses.cmd(*batch, topk=topk), slow_cmd(*batch, min(topk, K), 0.05, 0.1))


@pytest.mark.parametrize("topk", [1, 3])
@pytest.mark.parametrize("queue_of", [None, (0, 1, 2), (0, 1, 0)], ids=["own", "own spelt out", "slip"])
def test_relational_distillation_agrees_with_the_loop(topk, queue_of):
    student, teacher = units(2, N, S * D, seed=1), units(S, N, D, seed=2)
    joint, queues = units(S * D, K, dim=0, seed=3), units(S, D, K, dim=1, seed=4)
    found = losses.relational_distillation(student, teacher, joint, queues, 0.07, topk, queue_of)
    close(found, slow_distillation(student, teacher, joint, queues, 0.07, topk, queue_of or (0, 1, 2)))


# --- gradients ---


def logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def test_gradients_by_finite_differences(batch):
    _, k, queue = batch
    q, e = logits(S, N, D, seed=5), logits(S, N, S * D, seed=6)
    teacher, joint = units(S, N, D, seed=2), units(S * D, K, dim=0, seed=3)

    def unit(x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1)

    assert torch.autograd.gradcheck(lambda x: losses.info_nce(unit(x), k, queue), q)
    assert torch.autograd.gradcheck(lambda x: losses.ekem(unit(x), k, queue, 0.07, 2), q)
    assert torch.autograd.gradcheck(lambda x: losses.ikem(unit(x), k, queue), e)
    assert torch.autograd.gradcheck(lambda x: losses.cmd(unit(x), k, queue, topk=5), q)
    assert torch.autograd.gradcheck(lambda x: losses.relational_distillation(unit(x), teacher, joint, queue), e)


@pytest.mark.parametrize("topk", [1, 3])
def test_ekem_gradient_flows_through_the_partner_as_in_the_loop(batch, topk):
    _, k, queue = batch
    for u, v in itertools.permutations(range(S), 2):
        fast, slow = (x.clone().requires_grad_() for x in [batch[0]] * 2)
        losses.ekem(fast, k, queue, 0.07, topk)[u].backward()
        slow_ekem(slow, k, queue, 0.07, topk)[u].backward()
        close(fast.grad, slow.grad)
        assert fast.grad[v].abs().max() > 1e-3  # no stop-gradient on the partner's similarities


def test_each_branch_alone_has_its_own_gradient(batch):
    _, k, queue = batch
    for loss in (losses.info_nce, losses.cmd):
        q = batch[0].clone().requires_grad_()
        loss(q, k, queue)[1].backward()
        assert q.grad[1].abs().max() > 1e-3 and not q.grad[[0, 2]].any()


# --- closed forms ---


def basis(*rows: int, width: int) -> Tensor:
    return torch.eye(width, dtype=torch.float64)[list(rows)]


def test_orthogonal_everything_gives_log_one_plus_k():
    """q at right angles to its key and to the whole queue: all logits 0."""
    q = basis(0, 0, width=4).expand(2, 2, 4)
    k = basis(1, 2, width=4).expand(2, 2, 4)
    queue = basis(*[1, 2, 3] * 5, width=4).T.expand(2, 4, 15)
    close(losses.info_nce(q, k, queue), torch.full((2,), math.log(16), dtype=torch.float64))
    close(losses.ekem(q, k, queue), torch.full((2,), math.log(31), dtype=torch.float64))
    e, kk = basis(0, 0, width=8).expand(2, 2, 8), basis(2, 3, width=4).expand(2, 2, 4)
    close(losses.ikem(e, kk, queue), torch.full((2,), math.log(16), dtype=torch.float64))


def test_perfect_match_against_an_orthogonal_queue():
    """Positive logit 1 / tau, negatives 0: log(1 + K exp(-1 / tau)); float32 must not lose it in rounding."""
    for tau, dtype in itertools.product((0.07, 0.2), (torch.float64, torch.float32)):
        q = basis(0, width=4).expand(1, 3, 4).to(dtype)
        queue = basis(*[1, 2, 3] * 7, width=4).T.expand(1, 4, 21).to(dtype)
        expected = torch.tensor([math.log1p(21 * math.exp(-1 / tau))], dtype=dtype)
        torch.testing.assert_close(losses.info_nce(q, q, queue, tau), expected, rtol=1e-5, atol=0)


def test_a_collapsed_encoder_gives_log_one_plus_k():
    """All embeddings the same: the positive is as near as every negative. What a run that has learnt nothing shows."""
    q = basis(0, 0, 0, width=4).expand(2, 3, 4)
    queue = q[:, :1].transpose(1, 2).expand(2, 4, 30)
    close(losses.info_nce(q, q, queue), torch.full((2,), math.log(31), dtype=torch.float64))


def test_ekem_in_closed_form():
    """One clip, K = 2. Branch 0 sees [1, 0], branch 1 sees [0, 1]: a*b = 0, and each mines what the other sees."""
    q = basis(0, width=3).expand(2, 1, 3)
    k = basis(2, width=3).expand(2, 1, 3)
    queue = torch.stack([basis(0, 1, width=3).T, basis(1, 0, width=3).T])
    tau = 0.5
    total = math.log(4 + math.exp(1 / tau))  # logits [0 | 1, 0 | 0, 0] / tau
    close(losses.ekem(q, k, queue, tau), torch.full((2,), total, dtype=torch.float64))  # positives 0, 0 and 0
    same = queue[:1].expand(2, -1, -1)  # now both see slot 0: logits [0 | 1, 0 | 1, 0] / tau, positives 0, 1 and 1
    total = math.log(3 + 2 * math.exp(1 / tau))
    close(losses.ekem(q, k, same, tau), torch.full((2,), total - 2 / tau / 3, dtype=torch.float64))


def test_cmd_vanishes_where_the_student_has_the_teachers_distribution(batch):
    q, k, queue = batch
    same = q[:1].expand(2, -1, -1)
    assert losses.cmd(same, same, queue[:1].expand(2, -1, -1), 5, 0.1, 0.1).abs().max() < 1e-12
    assert (losses.cmd(q, k, queue) > 0).all()


def test_cmd_teacher_gets_no_gradient(batch):
    q, k, queue = (t.clone().requires_grad_() for t in batch)
    losses.cmd(q, k, queue.detach()).sum().backward()
    assert k.grad is None or not k.grad.any()


def test_distillation_in_closed_form():
    """A student that equals the teacher's T, at right angles to all queues: logits 1 / tau and 2K zeros, positives 0, 1 and 1 + K."""
    teacher = basis(0, 1, width=4).expand(2, 2, 4)
    joint = F.normalize(teacher.movedim(0, 1).flatten(1), dim=-1)  # (2, 8), entries 0 and 4, 1 and 5
    teacher_queue, queues = basis(*[2, 3, 6, 7] * 4, width=8).T, basis(*[2, 3] * 8, width=4).T.expand(2, 4, 16)
    for tau in (0.07, 0.5):
        expected = math.log(math.exp(1 / tau) + 32) - 1 / tau / 3
        found = losses.relational_distillation(joint.unsqueeze(0), teacher, teacher_queue, queues, tau)
        close(found, torch.tensor([expected], dtype=torch.float64))
        stranger = losses.relational_distillation(-joint.unsqueeze(0), teacher, teacher_queue, queues, tau)
        close(stranger, torch.tensor([math.log(math.exp(-1 / tau) + 32) + 1 / tau / 3], dtype=torch.float64))


@pytest.mark.parametrize("loss", [losses.info_nce, losses.ekem, losses.cmd])
def test_losses_are_means_over_clips(batch, loss):
    q, k, queue = batch
    alone = torch.stack([loss(q[:, n : n + 1], k[:, n : n + 1], queue) for n in range(N)]).mean(0)
    close(loss(q, k, queue), alone)


def test_large_logits_stay_finite_in_float32():
    q = units(2, 4, D).float()
    queue = q[:, :1].transpose(1, 2).expand(2, D, 50)
    for loss in (losses.info_nce(q, q, queue, 0.002), losses.ekem(q, -q, queue, 0.002)):
        assert torch.isfinite(loss).all()


@pytest.mark.parametrize("topk", [1, 4, 300])
def test_mined_similarities_are_those_of_the_product(topk):
    q, queue = units(N, D, seed=1).requires_grad_(), units(D, 400, dim=0, seed=2)
    columns = torch.randint(0, 400, (2, N, topk), generator=torch.Generator().manual_seed(0))
    found = losses._at(q, queue, columns)
    whole = torch.stack([torch.stack([(q @ queue)[n, columns[v, n]] for n in range(N)]) for v in range(2)])  # (2, N, k)
    close(found, whole)
    weight = torch.randn(found.shape, dtype=found.dtype, generator=torch.Generator().manual_seed(1))
    close(*(torch.autograd.grad((x * weight).sum(), q)[0] for x in (found, whole)))
    close(losses._at(q, queue, columns[0]), whole[0])


@pytest.mark.parametrize("topk", [1, 64])
def test_many_positives_keep_no_copies_of_queues_for_the_gradient(topk):
    """S * S * N * k columns of D numbers would be 4.7 MB at k = 64; similarities, their products and indices are a tenth of that."""
    q, k, queue = units(3, 8, 128).requires_grad_(), units(3, 8, 128, seed=1), units(3, 128, 256, dim=1, seed=2)
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        loss = losses.ekem(q, k, queue, 0.07, topk)
    inputs = sum(x.untyped_storage().nbytes() for x in (q, k, queue))
    assert torch.isfinite(loss).all() and sum(kept.values()) - inputs < 500_000


def test_defaults_are_those_of_the_papers():
    """0.07: MoCo and IKEM; CMD (Mao et al., ECCV 2022): 8192 anchors, teacher 0.05, student 0.1."""
    defaults = {f: {n: p.default for n, p in inspect.signature(f).parameters.items() if p.default is not inspect.Parameter.empty}
                for f in (losses.info_nce, losses.ekem, losses.ikem, losses.cmd, losses.relational_distillation)}  # fmt: skip
    assert defaults[losses.info_nce] == defaults[losses.ikem] == {"temperature": 0.07}
    assert defaults[losses.ekem] == {"temperature": 0.07, "topk": 1}
    assert defaults[losses.cmd] == {"topk": 8192, "teacher_temperature": 0.05, "student_temperature": 0.1}
    assert defaults[losses.relational_distillation]["temperature"] == 0.07 and defaults[losses.relational_distillation]["topk"] == 1


def test_a_branch_alone_has_nobody_to_exchange_with(batch):
    with pytest.raises(SettingsError, match="explicit exchange needs at least two branches, found 1"):
        losses.ekem(*(x[:1] for x in batch))


def test_as_many_positives_as_there_are_keys_and_no_more():
    q, k, queue = units(2, 3, 8), units(2, 3, 8, seed=1), units(2, 8, 5, dim=1, seed=2)  # K = 5, less than D
    assert torch.isfinite(losses.ekem(q, k, queue, 0.07, 5)).all()
    for wrong in (0, 6):
        with pytest.raises(SettingsError, match=f"topk must be between 1 and the queue's 5 keys, found {wrong}"):
            losses.ekem(q, k, queue, 0.07, wrong)
