"""Ring buffers against a deque, and the momentum update against its formula."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skelmm_core.errors import SettingsError
from skelmm_core.queues import Queues, follow


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_starts_with_unit_columns_from_the_generator():
    queues = Queues(3, 16, 40, rng(1))
    torch.testing.assert_close(queues.data.norm(dim=1), torch.ones(3, 40))
    assert torch.equal(queues.data, Queues(3, 16, 40, rng(1)).data)
    assert not torch.equal(queues.data, Queues(3, 16, 40, rng(2)).data)
    assert queues.pointer == 0
    assert set(queues.state_dict()) == {"data", "pointer"} and not list(queues.parameters())


@given(st.integers(1, 13), st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(0, 10**6))
def test_any_batches_leave_the_newest_keys_as_a_deque_does(length, counts, seed):
    queues, generator = Queues(2, 3, length, rng()), rng(seed)
    expected = deque(queues.data.unbind(2), maxlen=length)  # oldest first; slot of the oldest is the pointer
    for count in counts:
        keys = torch.randn(2, count, 3, generator=generator)
        queues.enqueue(keys)
        expected.extend(keys.unbind(1))
        oldest_first = queues.data.roll(-int(queues.pointer), 2)
        assert torch.equal(oldest_first, torch.stack(list(expected), 2))
    assert int(queues.pointer) == sum(counts) % length


def test_wraps_in_place_and_keeps_branches_in_step():
    queues = Queues(2, 1, 5, rng())
    before = queues.data.clone()
    queues.enqueue(torch.arange(8.0).view(2, 4, 1))  # branch 0: 0 1 2 3, branch 1: 4 5 6 7
    assert queues.data[:, 0, :4].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert torch.equal(queues.data[:, :, 4], before[:, :, 4]) and queues.pointer == 4
    queues.enqueue(torch.tensor([[[10.0], [11.0]], [[12.0], [13.0]]]))
    assert queues.data[:, 0].tolist() == [[11, 1, 2, 3, 10], [13, 5, 6, 7, 12]] and queues.pointer == 1


def test_keys_of_another_type_are_stored_without_history():
    queues = Queues(1, 2, 4, rng())
    queues.enqueue(torch.ones(1, 2, 2, dtype=torch.bfloat16, requires_grad=True))
    assert queues.data.dtype == torch.float32 and not queues.data.requires_grad
    assert queues.data[0, :, :2].eq(1).all()


def test_state_goes_on_where_it_was():
    first, second = Queues(2, 3, 7, rng(0)), Queues(2, 3, 7, rng(1))
    first.enqueue(torch.randn(2, 5, 3, generator=rng(2)))
    second.load_state_dict(first.state_dict())
    for queues in (first, second):
        queues.enqueue(torch.ones(2, 4, 3))
    assert torch.equal(first.data, second.data) and first.pointer == second.pointer == 2


@pytest.mark.parametrize("length", [0, -3])
def test_a_queue_must_hold_something(length):
    with pytest.raises(SettingsError, match=f"queue={length}"):
        Queues(1, 2, length, rng())


def model(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.999, 1.0])
def test_momentum_update(momentum):
    key, query = model(0).requires_grad_(False), model(1)
    key(torch.randn(5, 3, generator=rng()))
    before, buffers = [p.clone() for p in key.parameters()], [b.clone() for b in key.buffers()]
    follow(key, query, momentum)
    for own, old, new in zip(key.parameters(), before, query.parameters(), strict=True):
        torch.testing.assert_close(own, momentum * old + (1 - momentum) * new.detach())
    assert all(torch.equal(a, b) for a, b in zip(key.buffers(), buffers, strict=True))  # BN statistics are each one's own
    assert all(p.requires_grad and p.grad is None for p in query.parameters())


def test_many_updates_decay_geometrically():
    key, query = model(0).requires_grad_(False), model(1)
    gap = [p - q.detach() for p, q in zip(key.parameters(), query.parameters(), strict=True)]
    for _ in range(20):
        follow(key, query, 0.9)
    for p, q, g in zip(key.parameters(), query.parameters(), gap, strict=True):
        torch.testing.assert_close(p - q.detach(), g * 0.9**20, rtol=1e-3, atol=1e-6)
