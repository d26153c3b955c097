"""What is made again on the way back gives the gradients of what is kept, bit for bit, and is not kept."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from toy_stage import TINY, motion  # noqa: F401 - a fixture

from skelmm_core import checkpoints, verify
from skelmm_core import encoder as encoder_module
from skelmm_core.encoder import Encoder, EncoderShape
from skelmm_core.experiment import Experiment
from skelmm_core.forgetting import forgotten
from skelmm_core.skeletons import NTU25


def chain(x: torch.Tensor, weight: torch.Tensor, forget: bool) -> tuple[torch.Tensor, list[int]]:
    """relu of a product in place, of which a view and the whole go on; how often it was made again."""
    made: list[int] = []

    def again() -> torch.Tensor:
        made.append(1)
        return F.relu(x.detach() * 2)

    y = x * 2
    if forget:
        with forgotten(y, again):
            z = F.relu(y, inplace=True)
            out = z[1:].T @ weight + (z * z).sum()
    else:
        z = F.relu(y, inplace=True)
        out = z[1:].T @ weight + (z * z).sum()
    return out, made


def test_gradients_are_the_same_and_it_is_made_once_for_all():
    torch.manual_seed(0)
    found = []
    for forget in (False, True):
        x, weight = torch.randn(5, 4, generator=torch.Generator().manual_seed(1)).requires_grad_(), torch.ones(4, 3, requires_grad=True)
        out, made = chain(x, weight, forget)
        assert not made
        out.sum().backward()
        assert len(made) == forget
        found.append((out.detach(), x.grad, weight.grad))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_graph_that_is_walked_twice_makes_it_twice():
    x, weight = torch.randn(5, 4).requires_grad_(), torch.ones(4, 3, requires_grad=True)
    out, made = chain(x, weight, True)
    first = torch.autograd.grad(out.sum(), (x, weight), retain_graph=True)
    second = torch.autograd.grad(out.sum(), (x, weight))
    assert len(made) == 2 and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_other_tensors_are_kept_as_ever():
    x = torch.randn(3, requires_grad=True)
    with forgotten(torch.zeros(3), lambda: pytest.fail("nothing of it was needed")):
        y = (x.exp() * x).sum()
    (own,) = torch.autograd.grad(y, x)
    torch.testing.assert_close(own, x.exp() * (1 + x))


def encoder_of(dropout: float = 0.0) -> Encoder:
    torch.manual_seed(3)
    return Encoder(NTU25, EncoderShape(hidden=8, features=64, embedding=16, dropout=dropout)).train()


X = torch.randn(4, 3, 20, 25, 1, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_an_encoder_that_forgets_trains_as_one_that_keeps_and_keeps_less(monkeypatch, dropout):
    """What is kept is what hooks hand to autograd, those of `forgotten` as well as those around: the innermost alone are asked."""
    hooks, places = torch.autograd.graph.saved_tensors_hooks, {}

    def noting(pack, unpack):
        def noted(t: torch.Tensor):
            if isinstance(kept := pack(t), torch.Tensor):
                places[kept.untyped_storage().data_ptr()] = kept.numel()
            return kept

        return hooks(noted, unpack)

    monkeypatch.setattr(torch.autograd.graph, "saved_tensors_hooks", noting)
    grads, kept = [], []
    for forget in (True, False):
        encoder = encoder_of(dropout)
        if not forget:
            monkeypatch.setattr(encoder_module, "forgotten", lambda *_: nullcontext())
        places.clear()
        with noting(lambda t: t, lambda t: t):
            torch.manual_seed(4)
            out = encoder(X)[1].square().sum()
        kept.append(sum(places.values()))
        out.backward()
        grads.append([p.grad for p in encoder.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    assert kept[0] < 0.8 * kept[1]


@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
def test_it_is_made_again_in_the_precision_of_the_way_there(monkeypatch, inside):
    """Backward outside of the autocast that the way there was in, as Fabric does it, and inside."""
    grads = []
    for forget in (True, False):
        encoder = encoder_of()
        if not forget:
            monkeypatch.setattr(encoder_module, "forgotten", lambda *_: nullcontext())
        with torch.autocast("cpu", torch.bfloat16):
            out = encoder(X)[1].float().square().sum()
        with torch.autocast("cpu", torch.bfloat16, enabled=inside):
            out.backward()
        grads.append([p.grad for p in encoder.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_stages_train_in_bfloat16_and_go_on_bit_for_bit(motion, tmp_path):
    parts, whole = (Experiment(motion, tmp_path / name, **TINY | dict(precision="bf16-mixed")) for name in ("parts", "whole"))
    parts.pretrain(until=2)
    parts.distill()
    whole.distill()
    first, second = (
        {path.parent.name: verify.digests(checkpoints.load(path)) for path in (tmp_path / name).glob("stages/*/last.pt")}
        for name in ("parts", "whole")
    )
    assert len(first) == 3 and first == second


def test_an_encoder_is_exported_as_ever():
    encoder = encoder_of().eval()
    exported = torch.export.export(encoder, (X,)).module()
    for found, wanted in zip(exported(X), encoder(X), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_layers_run_their_hooks_once_and_a_way_back_inside_autocast_is_possible():
    grads = []
    for inside in (False, True):
        torch.manual_seed(3)
        encoder = Encoder(NTU25, EncoderShape(hidden=16, features=64, embedding=16, dropout=0.0)).train()
        runs: list[int] = []
        for block in encoder.blocks:
            if block.shortcut is not None:
                block.shortcut[0].register_forward_hook(lambda *_, runs=runs: runs.append(1))
        out = encoder(torch.randn(4, 3, 20, 25, 1, generator=torch.Generator().manual_seed(2)))[1].square().sum()
        with torch.autocast("cpu", torch.bfloat16, enabled=inside):
            out.backward()
        assert len(runs) == 2
        grads.append(encoder.blocks[5].temporal.weight.grad)
    assert float((grads[0] - grads[1]).norm() / grads[0].norm()) < 0.05  # the heads' own way back is in bfloat16 there
