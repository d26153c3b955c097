"""Log-sum-exps of similarities to a queue, without the matrices of similarities.

Contrast against K keys needs, for each query, the log of a sum over K terms, and its gradient; exchange between branches needs such sums
of products a_u * a_v, too. Here the queue is walked through some thousand columns at a time: products are made, summed and forgotten, and
made once more for the gradient, and so what is worked on stays near the processor. Similarities themselves, S matrices and not the S * S
of products, are kept for the gradient as long as they are few; beyond that memory does not grow with K at all.

Similarities of unit vectors lie in [-1, 1], so at usual temperatures no exponential can overflow, and no maximum is looked for first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

ELEMENTS = {"cpu": 1 << 19, "cuda": 1 << 25}  # similarities that are looked at together, all branches taken together
KEPT = 1 << 26  # similarities that are kept for the gradient, 256 MiB; where there are more they are made once more
SAFE = 40.0  # 1 / tau up to which exp(a / tau) is taken as it is: its sums, and their inverses, stay far from float32's limits of exp(+-87)
Pairs = Sequence[tuple[int, int]]


class Sums(NamedTuple):
    """own (S, N): log sum over K of exp(a_s / tau), a_s = q_s . Q_s. both (P, N): of exp(a_u * b_v / tau), for each pair (u, v).
    near: for each branch of b (B, N, k) the columns with the largest similarities, largest first."""

    own: Tensor
    both: Tensor
    near: Tensor


def sums(
    q: Tensor,
    queue: Tensor,
    temperature: float,
    pairs: Pairs = (),
    others: tuple[Tensor, Tensor] | None = None,
    topk: int = 0,
    columns: int = 0,
) -> Sums:
    """Log-sum-exps that a contrastive loss is made of, with gradient for q (and through both factors of each product).

    Args:
        q (S, N, D); queue (S, D, K), a constant, or (1, D, K) for all branches; or (B, D / B, K), B of them on end, for all. temperature:
            tau.
        pairs: of which branches products are taken: u of q, v of `others`, or of q itself where there are no others.
        others: (B, N, D') and (B, D', K), constants: another set of branches, whose columns belong to the same clips.
        topk: how many columns `near` names, 0: none.
        columns: how many of the queue's columns are looked at together; 0: as many as `ELEMENTS` allows.
    """
    length = queue.shape[-1]
    columns = columns or max(1, min(length, ELEMENTS.get(q.device.type, 1 << 22) // (len(q) * q.shape[1])))
    found = _Sums.apply(q, queue, others, temperature, tuple(pairs), topk, columns)  # type: ignore[no-untyped-call]  # torch's
    return Sums(*found)


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, queue: Tensor, others: tuple[Tensor, Tensor] | None, temperature: float, pairs: Pairs, topk: int, columns: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        own = q.new_full(q.shape[:2], -torch.inf)
        both = q.new_full((len(pairs), q.shape[1]), -torch.inf)
        best: tuple[Tensor, Tensor] | None = None
        kept: list[tuple[Tensor, Tensor]] = []
        few = (len(q) + (len(others[0]) if others else 0)) * q.shape[1] * queue.shape[-1] <= KEPT and ctx.needs_input_grad[0]
        for begin in range(0, queue.shape[-1], columns):
            a, b = _similarities(q, queue, others, begin, columns)
            kept += [(a, b)] * few
            scaled = a / temperature
            for i, (u, v) in enumerate(pairs):
                both[i] = torch.logaddexp(both[i], _log_sum(scaled[u] * b[v], temperature))
            own = torch.logaddexp(own, _log_sum(scaled, temperature))
            best = _larger(best, b, topk, begin) if topk else None
        near = best[1] if best else torch.empty(0, dtype=torch.long, device=q.device)
        ctx.save_for_backward(q, queue, own, both, *(others or ()))
        ctx.temperature, ctx.pairs, ctx.columns, ctx.kept = temperature, pairs, columns, kept
        ctx.mark_non_differentiable(near)
        return own, both, near

    @staticmethod
    def backward(ctx: Any, grad_own: Tensor, grad_both: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        q, queue, own, both, *others = ctx.saved_tensors
        grad = torch.zeros_like(q)
        for number, begin in enumerate(range(0, queue.shape[-1], ctx.columns)):
            a, b = ctx.kept[number] if ctx.kept else _similarities(q, queue, others, begin, ctx.columns)
            scaled = a / ctx.temperature
            weight = _weights(scaled.clone(), own, grad_own, ctx.temperature)  # (S, N, columns): dL / d(a / tau)
            for i, (u, v) in enumerate(ctx.pairs):
                part = _weights(scaled[u] * b[v], both[i], grad_both[i], ctx.temperature)
                weight[u].addcmul_(part, b[v])
                if not others:
                    weight[v].addcmul_(part, a[u])
            grad += _product(weight, _piece(queue, grad, begin, ctx.columns).transpose(-1, -2))
        return grad / ctx.temperature, None, None, None, None, None, None


def _log_sum(x: Tensor, temperature: float) -> Tensor:
    """Log of the sum over the last dimension of exp(x), |x| <= 1 / temperature; `x` is overwritten."""
    return x.exp_().sum(-1).log() if 1 / temperature <= SAFE else x.logsumexp(-1)


def _weights(x: Tensor, total: Tensor, grad: Tensor, temperature: float) -> Tensor:
    """Gradient with respect to `x` (..., columns), in its place, of a log-sum-exp `total` (...) whose own gradient is `grad` (...)."""
    if 1 / temperature <= SAFE:
        return x.exp_().mul_((grad * (-total).exp()).unsqueeze(-1))
    return x.sub_(total.unsqueeze(-1)).exp_().mul_(grad.unsqueeze(-1))


def _similarities(q: Tensor, queue: Tensor, others: Sequence[Tensor] | None, begin: int, columns: int) -> tuple[Tensor, Tensor]:
    """Of the queries (S, N, columns), and of the branches that they are multiplied with."""
    a = _product(q, _piece(queue, q, begin, columns))
    return a, others[0] @ others[1][..., begin : begin + columns] if others else a


def _piece(queue: Tensor, q: Tensor, begin: int, columns: int) -> Tensor:
    """Some columns of the queue, (S, D, columns) or (1, D, columns)."""
    piece = queue[..., begin : begin + columns]
    return piece if piece.shape[1] == q.shape[2] else piece.reshape(1, q.shape[2], -1)


def _product(x: Tensor, y: Tensor) -> Tensor:
    """x (S, N, I) @ y (S, I, J), or y (1, I, J) for all, which is then read once, not S times."""
    return x @ y if len(y) == len(x) else (x.flatten(0, 1) @ y[0]).view(*x.shape[:2], -1)


def _larger(best: tuple[Tensor, Tensor] | None, b: Tensor, topk: int, begin: int) -> tuple[Tensor, Tensor]:
    """The `topk` largest values (B, N, k) and their columns, of those known and of further ones b (B, N, columns) from `begin` on."""
    found = b.max(-1, keepdim=True) if topk == 1 else b.topk(min(topk, b.shape[-1]), dim=-1)
    values, place = found.values, found.indices + begin
    if best:
        values, place = torch.cat([best[0], values], -1), torch.cat([best[1], place], -1)
        order = values.topk(min(topk, values.shape[-1]), dim=-1).indices
        values, place = values.gather(-1, order), place.gather(-1, order)
    return values, place
