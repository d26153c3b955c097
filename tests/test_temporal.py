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


def clips(frames: int, bodies: int = 3, joints: int = 40, channels: int = temporal.LEAST, seed: int = 0) -> torch.Tensor:
    """(B, C, T, V), channels last in memory"""
    random = torch.Generator().manual_seed(seed)
    return torch.randn(bodies, frames, joints, channels, generator=random).permute(0, 3, 1, 2)


@given(st.integers(1, 40), st.integers(3, 18), st.integers(0, 99))
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


def test_a_stage_that_stops_and_goes_on_ends_bit_for_bit_by_spectra_too(motion, tmp_path, monkeypatch):
    went = []
    by_spectra = temporal._by_spectra
    monkeypatch.setattr(temporal, "_by_spectra", lambda *args: went.append(by_spectra(*args)) or went[-1])
    exp = Experiment(motion, tmp_path / "parts", **TINY | dict(features=64))
    exp.pretrain(until=2)
    exp.pretrain()
    whole = Experiment(motion, tmp_path / "whole", **TINY | dict(features=64))
    whole.pretrain()
    first, second = (verify.digests(checkpoints.load(next(tmp_path.glob(f"{name}/stages/*/last.pt")))) for name in ("parts", "whole"))
    assert any(went) and first == second


@pytest.mark.parametrize("why", ["stride", "few channels", "few rows", "float64", "autocast"])
def test_elsewhere_it_is_torch_s_own(why, monkeypatch):
    monkeypatch.setattr(temporal._Spectra, "apply", None)  # calling it fails
    conv = TemporalConv(64, 64 if why != "few channels" else 63, 2 if why == "stride" else 1)
    x = clips(13, joints=33 if why == "few rows" else 40)
    if why == "float64":
        conv, x = conv.double(), x.double()
    with torch.autocast("cpu", torch.bfloat16, enabled=why == "autocast"):
        y = conv(x)
    wanted = F.conv2d(x.double(), conv.weight.double(), conv.bias.double(), conv.stride, conv.padding)
    torch.testing.assert_close(y.double(), wanted, rtol=0, atol=1e-12 if why == "float64" else 0.05 if why == "autocast" else 1e-5)
