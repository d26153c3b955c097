"""The convolution over time by spectra against torch's, which sums over the taps, in float64."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from toy_stage import TINY, motion  # noqa: F401 - a fixture

from skelmm_core import checkpoints, temporal, verify
from skelmm_core.experiment import Experiment
from skelmm_core.temporal import TemporalConv


def convolved(x: torch.Tensor, conv: TemporalConv, grad: torch.Tensor) -> list[torch.Tensor]:
    """Output, and the gradients for input, weight and bias, as torch has them in float64."""
    given = [v.detach().double().requires_grad_() for v in (x, conv.weight, conv.bias)]
    y = F.conv2d(*given, conv.stride, conv.padding)
    return [y.detach(), *torch.autograd.grad(y, given, grad.double())]


def ours(x: torch.Tensor, conv: TemporalConv, grad: torch.Tensor) -> list[torch.Tensor]:
    x = x.detach().requires_grad_()
    y = conv(x)
    return [y.detach(), *torch.autograd.grad(y, (x, conv.weight, conv.bias), grad)]


def clips(frames: int, bodies: int = 3, joints: int = 40, channels: int = 64, seed: int = 0) -> torch.Tensor:
    """(B, C, T, V), channels last in memory"""
    random = torch.Generator().manual_seed(seed)
    return torch.randn(bodies, frames, joints, channels, generator=random).permute(0, 3, 1, 2)


@given(st.integers(4, 40), st.integers(3, 18), st.integers(0, 99))
def test_it_is_a_convolution(frames, bodies, seed):
    torch.manual_seed(seed)
    conv, x = TemporalConv(64, 80), clips(frames, bodies, joints=34, seed=seed)  # 8 bodies make a piece
    assert temporal._by_spectra(x, conv.weight, 1)
    grad = torch.randn(bodies, 80, frames, 34)
    for found, wanted in zip(ours(x, conv, grad), convolved(x, conv, grad), strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=3e-6 * max(1.0, float(wanted.abs().max())))


def test_output_is_channels_last_and_spectra_are_few():
    conv = TemporalConv(64, 64)
    assert conv(clips(13)).permute(0, 2, 3, 1).is_contiguous()
    assert [len(temporal.matrices(frames)[0]) for frames in (13, 16, 25)] == [25, 29, 43]


def test_float32_goes_by_spectra_where_there_are_tiles_of_bfloat16_too(monkeypatch):
    monkeypatch.setattr(temporal, "_tiles", lambda: True)
    assert temporal._by_spectra(clips(4), TemporalConv(64, 64).weight, 1)


def test_channels_may_lie_first_in_memory():
    conv, x, grad = TemporalConv(64, 64), clips(6).contiguous(), torch.ones(3, 64, 6, 40)
    for found, wanted in zip(ours(x, conv, grad), convolved(x, conv, grad), strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=3e-6 * max(1.0, float(wanted.abs().max())))


def test_gradients_go_where_they_are_asked_for():
    conv, x = TemporalConv(64, 64), clips(6)
    conv(x).sum().backward()
    assert x.grad is None and conv.weight.grad is not None
    conv.requires_grad_(False)
    (own,) = torch.autograd.grad(conv(x.requires_grad_()).sum(), x)
    assert own.shape == x.shape and conv.weight.grad.shape == (64, 64, 9, 1)


def test_what_is_exported_is_a_convolution_and_training_goes_on():
    conv, x = TemporalConv(64, 64), clips(21)
    exported = torch.export.export(conv, (x,))
    assert "conv2d" in str(exported.graph)
    for found, wanted in zip(ours(x, conv, torch.ones(3, 64, 21, 40)), convolved(x, conv, torch.ones(3, 64, 21, 40)), strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=3e-6 * max(1.0, float(wanted.abs().max())))


def test_no_clip_at_all():
    assert TemporalConv(64, 64)(clips(13)[:0]).shape == (0, 64, 13, 40)


@pytest.mark.parametrize("changes", [dict(features=64), dict(features=128, frames=32, precision="bf16-mixed")], ids=["float32", "bfloat16"])
def test_a_stage_that_stops_and_goes_on_ends_bit_for_bit_by_spectra_too(changes, motion, tmp_path, monkeypatch):
    monkeypatch.setattr(temporal, "_tiles", lambda: False)
    went = []
    by_spectra = temporal._by_spectra
    monkeypatch.setattr(temporal, "_by_spectra", lambda *args: went.append(by_spectra(*args)) or went[-1])
    exp = Experiment(motion, tmp_path / "parts", **TINY | changes)
    exp.pretrain(until=2)
    exp.pretrain()
    whole = Experiment(motion, tmp_path / "whole", **TINY | changes)
    whole.pretrain()
    first, second = (verify.digests(checkpoints.load(next(tmp_path.glob(f"{name}/stages/*/last.pt")))) for name in ("parts", "whole"))
    assert any(went) and first == second


def apart(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Of all values together, in shares of the wanted ones."""
    return float((found.double() - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("frames", [8, 13, 25])
def test_under_autocast_it_is_a_convolution_as_far_as_bfloat16_tells(frames, monkeypatch):
    monkeypatch.setattr(temporal, "_tiles", lambda: False)
    torch.manual_seed(0)
    conv, x = TemporalConv(128, 160), clips(frames, 9, channels=128).bfloat16()  # 9 bodies are two pieces
    grad = torch.randn(9, 160, frames, 40).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert temporal._by_spectra(x, conv.weight, 1)
        found = ours(x, conv, grad)
        monkeypatch.setattr(temporal, "_by_spectra", lambda *args: False)
        torch_s = ours(x, conv, grad)
    assert [v.dtype for v in found] == [torch.bfloat16] * 2 + [torch.float32] * 2
    for own, other, wanted in zip(found, torch_s, convolved(x, conv, grad), strict=True):
        assert apart(own, wanted) < min(0.006, 3.5 * apart(other, wanted))


def test_no_kind_of_number_is_left_to_autocast(monkeypatch):
    monkeypatch.setattr(temporal, "_tiles", lambda: False)
    conv, x = TemporalConv(128, 128), clips(13, channels=128).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = conv(x)
    assert torch.equal(y, temporal._Spectra.apply(x.permute(0, 2, 3, 1), conv.weight, conv.bias).permute(0, 3, 1, 2))


def test_a_way_back_outside_of_autocast_is_that_within(monkeypatch):
    monkeypatch.setattr(temporal, "_tiles", lambda: False)
    conv, x, gradients = TemporalConv(128, 128), clips(13, channels=128).bfloat16(), []
    for within in (True, False):
        with torch.autocast("cpu", torch.bfloat16):
            y = conv(x)
        with torch.autocast("cpu", torch.bfloat16, enabled=within):
            gradients.append(torch.autograd.grad(y.float().square().sum(), (conv.weight, conv.bias)))
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


ELSEWHERE = {  # channels, frames, joints, stride, of what kind clips and weights are
    "stride": (64, 13, 40, 2, torch.float32, torch.float32),
    "few channels": (63, 13, 40, 1, torch.float32, torch.float32),
    "few rows": (64, 13, 33, 1, torch.float32, torch.float32),
    "few frames": (64, 3, 40, 1, torch.float32, torch.float32),
    "float64": (64, 13, 40, 1, torch.float64, torch.float64),
    "float32 under autocast": (128, 13, 40, 1, torch.float32, torch.float32),
    "few channels in bfloat16": (127, 13, 40, 1, torch.bfloat16, torch.float32),
    "few frames in bfloat16": (128, 7, 40, 1, torch.bfloat16, torch.float32),
    "weights in bfloat16": (128, 13, 40, 1, torch.bfloat16, torch.bfloat16),
    "tiles": (128, 13, 40, 1, torch.bfloat16, torch.float32),
}


@pytest.mark.parametrize("why", ELSEWHERE)
def test_elsewhere_it_is_torch_s_own(why, monkeypatch):
    monkeypatch.setattr(temporal._Spectra, "apply", None)  # calling it fails
    monkeypatch.setattr(temporal, "_tiles", lambda: why == "tiles")
    channels, frames, joints, stride, kind, of_weights = ELSEWHERE[why]
    conv = TemporalConv(channels, channels, stride).to(of_weights)
    x = clips(frames, joints=joints, channels=channels).to(kind)
    with torch.autocast("cpu", torch.bfloat16, enabled="bfloat16" in why or why in ("float32 under autocast", "tiles")):
        y = conv(x)
    wanted = F.conv2d(x.double(), conv.weight.double(), conv.bias.double(), conv.stride, conv.padding)
    torch.testing.assert_close(y.double(), wanted, rtol=0, atol={torch.float64: 1e-12, torch.bfloat16: 0.05}.get(y.dtype, 1e-5))
