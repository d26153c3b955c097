"""The encoder's convolution over time, with a fifth of the multiplications where that is faster.

A convolution is a product of spectra. With T frames and 9 taps, spectra of length T + 4 suffice, since what wraps around falls on zeros,
and three real products give a complex one (Gauss): for T = 13 that is one product of (rows, C) with (C, C') for each of 25 numbers, where
the convolution as it stands takes 9 for each of 13 frames. What leads there and back are three small matrices, so all of it is products:

    y = G P,  P_f = X_f W_f,  X = A x,  W = H w

In float32 the rounding is about that of a convolution's largest value: a frame far above the others would drown them, but there is none
behind a normalisation. It pays where channels are many, as in the last blocks, which take most of an encoder's time: 1.5 times as fast with
64 channels, 2.7 with 256, backward included, slower with 32 (one thread, no AVX-512).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

TAPS = 9
LEAST = 64  # channels


class TemporalConv(nn.Conv2d):
    """Convolution of 9 frames with padding, (B, C, T, V) -> (B, C', T / stride, V), channels last in memory.

    In float32 on the CPU, outside of autocast and compilation, with stride 1 and at least `LEAST` channels, it goes by spectra; elsewhere
    it is `nn.Conv2d`. Parameters are the same.
    """

    def __init__(self, c_in: int, c_out: int, stride: int = 1):
        super().__init__(c_in, c_out, (TAPS, 1), (stride, 1), (TAPS // 2, 0))

    def forward(self, x: Tensor) -> Tensor:
        if not self._by_spectra(x):
            return super().forward(x)
        y: Tensor = _Spectra.apply(x.permute(0, 2, 3, 1), self.weight, self.bias)  # type: ignore[no-untyped-call]  # torch's
        return y.permute(0, 3, 1, 2)

    def _by_spectra(self, x: Tensor) -> bool:
        return (
            x.dtype == self.weight.dtype == torch.float32
            and x.device.type == "cpu"
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()  # a convolution is what others know how to export and compile
            and len(x) > 0
            and self.stride[0] == 1
            and min(self.in_channels, self.out_channels) >= LEAST
        )


def matrices(frames: int) -> tuple[Tensor, Tensor, Tensor]:
    """A (F, T) of the input, H (F, 9) of the weights and G (T, F) of the output, float32."""
    to, of_taps, back = map(torch.from_numpy, _matrices(frames))
    return to, of_taps, back


@cache  # as arrays: a tensor made while a model is traced is none that computes
def _matrices(frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `matrices` gives.

    For each frequency of the spectra of length T + 4: the real part alone where the imaginary one is zero, else real part, imaginary part
    and their sum, of whose products p, q and r the complex product is p - q and r - p - q.
    """
    length, time, tap = frames + TAPS // 2, np.arange(frames), np.arange(TAPS) - TAPS // 2
    a, h, g = [], [], []
    for k in range(length // 2 + 1):
        turn = 2 * np.pi * k / length
        real, imaginary = np.cos(turn * time), np.sin(turn * time)
        if k == 0 or 2 * k == length:
            a.append(real)
            h.append(np.cos(turn * tap))
            g.append(real / length)
        else:  # y_t = sum_d w_d x_(t + d), so the weights' spectrum turns the other way
            a += [real, -imaginary, real - imaginary]
            h += [np.cos(turn * tap), np.sin(turn * tap), np.cos(turn * tap) + np.sin(turn * tap)]
            g += [2 * (real + imaginary) / length, 2 * (imaginary - real) / length, -2 * imaginary / length]
    return np.array(a, np.float32), np.array(h, np.float32), np.ascontiguousarray(np.array(g, np.float32).T)


class _Spectra(torch.autograd.Function):
    """x (B, T, V, C), weight (C', C, 9, 1), bias (C',) -> (B, T, V, C'). Spectra are computed again on the way back, not kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        b, t, v, _ = x.shape
        back = matrices(t)[2]
        ctx.save_for_backward(x, weight)
        product = torch.bmm(_of_frames(x), _of_weights(weight, t).transpose(1, 2))  # (F, B*V, C')
        return torch.matmul(back, product.view(len(product), b, -1).transpose(0, 1)).view(b, t, v, -1).add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        b, t, v, c = x.shape
        to, of_taps, back = matrices(t)
        product = torch.mm(back.T, _frames_first(grad)).view(-1, b * v, grad.shape[3])  # (F, B*V, C')
        own = taps = shift = None
        if ctx.needs_input_grad[0]:
            spectrum = torch.bmm(product, _of_weights(weight, t))  # (F, B*V, C)
            own = torch.matmul(to.T, spectrum.view(len(spectrum), b, -1).transpose(0, 1)).view(b, t, v, c)
        if ctx.needs_input_grad[1]:
            spectrum = torch.bmm(product.transpose(1, 2), _of_frames(x))  # (F, C', C)
            taps = torch.mm(spectrum.view(len(spectrum), -1).T, of_taps).view_as(weight)
        if ctx.needs_input_grad[2]:
            shift = grad.sum(dim=(0, 1, 2))
        return own, taps, shift


def _frames_first(x: Tensor) -> Tensor:
    """(B, T, V, C) -> (T, B*V*C)"""
    return x.transpose(0, 1).reshape(x.shape[1], -1)


def _of_frames(x: Tensor) -> Tensor:
    """(B, T, V, C) -> its spectrum, (F, B*V, C)"""
    b, t, v, c = x.shape
    return torch.mm(matrices(t)[0], _frames_first(x)).view(-1, b * v, c)


def _of_weights(weight: Tensor, frames: int) -> Tensor:
    """(C', C, 9, 1) -> its spectrum, (F, C', C)"""
    of_taps = matrices(frames)[1]
    return torch.mm(of_taps, weight.reshape(-1, TAPS).T).view(-1, *weight.shape[:2])
