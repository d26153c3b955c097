"""The encoder's convolution over time, with a fifth of the multiplications where that is faster.

A convolution is a product of spectra. With T frames and 9 taps, spectra of length T + 4 suffice, since what wraps around falls on zeros,
and three real products give a complex one (Gauss): for T = 13 that is one product of (rows, C) with (C, C') for each of 25 numbers, where
the convolution as it stands takes 9 for each of 13 frames. What leads there and back are three small matrices, so all of it is products:

    y = G P,  P_f = X_f W_f,  X = A x,  W = H w

In float32 the rounding is about that of a convolution's largest value: a frame far above the others would drown them, but there is none
behind a normalisation. It pays where channels are many, as in the last blocks, which take most of an encoder's time: 1.5 times as fast with
64 channels, 2.7 with 256, backward included, slower with 32 (one thread, no AVX-512); and where frames are not few: convolutions skip taps
that fall on padding, so that one frame is one product for them and 7 for spectra. In bfloat16, spectra rounded to it as well, the error is
0.5 % of all values together where that of the convolution as it stands is 0.2 to 0.3 %, and the time half of it with 256 channels and 13
frames or more, no less with 64 channels or 4 frames (one thread, AVX-512).
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

TAPS = 9
LEAST = {torch.float32: 64, torch.bfloat16: 128}  # channels
SHORTEST = {torch.float32: 4, torch.bfloat16: 8}  # frames
PIECE = 250  # bodies times joints that are worked on together
ROWS = 100  # bodies times joints: the weights' spectrum is made at every call, which 25 rows don't pay for and 50 just do (one thread)


class TemporalConv(nn.Conv2d):
    """Convolution of 9 frames with padding, (B, C, T, V) -> (B, C', T / stride, V), channels last in memory.

    On the CPU, in float32 or, on processors without tiles, under bfloat16 autocast, outside of compilation, with stride 1, at least `LEAST`
    channels, `SHORTEST` frames and `ROWS` rows, it goes by spectra; elsewhere it is `nn.Conv2d`. Parameters are the same.
    """

    def __init__(self, c_in: int, c_out: int, stride: int = 1):
        super().__init__(c_in, c_out, (TAPS, 1), (stride, 1), (TAPS // 2, 0))

    def forward(self, x: Tensor) -> Tensor:
        return convolved(x, self.weight, cast(Tensor, self.bias), self.stride[0])


def convolved(x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1) -> Tensor:
    """What a `TemporalConv` of this weight (C', C, 9, 1) and bias (C',) does, (B, C, T, V) -> (B, C', T / stride, V)."""
    if not _by_spectra(x, weight, stride):
        return F.conv2d(x, weight, bias, (stride, 1), (TAPS // 2, 0))
    y: Tensor = _Spectra.apply(x.permute(0, 2, 3, 1), weight, bias)  # type: ignore[no-untyped-call]  # torch's
    return y.permute(0, 3, 1, 2)


def _by_spectra(x: Tensor, weight: Tensor, stride: int) -> bool:
    return (
        x.dtype in LEAST
        and weight.dtype == torch.float32
        and x.device.type == "cpu"
        and x.dtype == (torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32)
        and not (x.dtype == torch.bfloat16 and _tiles())
        and not torch.compiler.is_compiling()  # a convolution is what others know how to export and compile
        and len(x) * x.shape[3] >= ROWS
        and stride == 1
        and min(weight.shape[:2]) >= LEAST[x.dtype]
        and x.shape[2] >= SHORTEST[x.dtype]
    )


@cache
def _tiles() -> bool:
    """Whether the processor multiplies tiles of bfloat16 (AMX), which is many times faster; whether spectra pay there was not measured."""
    return bool(torch.cpu._is_amx_tile_supported())


def matrices(frames: int, kind: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """A (F, T) of the input, H (F, 9) of the weights and G (T, F) of the output; H in float32, the others in that of what they multiply."""
    to, of_taps, back = map(torch.from_numpy, _matrices(frames))
    return to.to(kind), of_taps, back.to(kind)


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
    """x (B, T, V, C), weight (C', C, 9, 1), bias (C',) -> (B, T, V, C').

    Some bodies at a time, so that their spectra stay near the processor; on the way back they are computed again, not kept. Weights and
    bias are float32, and so are their gradients; all else is of the kind of x.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        to, _, back = matrices(x.shape[1], x.dtype)
        y = x.new_empty(*x.shape[:3], len(weight))
        with torch.autocast("cpu", enabled=False):  # which kind each number has is said here
            of_weight = _of_weights(weight, x.shape[1]).to(x.dtype).transpose(1, 2)
            for some, into in zip(_pieces(x), _pieces(y), strict=True):
                _from_spectrum(torch.bmm(_to_spectrum(some, to), of_weight), back, into)
        return y.add_(bias.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast("cpu", enabled=False):  # as on the way there, wherever the way back begins
            return _Spectra._gradients(ctx, grad)

    @staticmethod
    def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        to, of_taps, back = matrices(x.shape[1], x.dtype)
        from_grad, from_own = back.T.contiguous(), to.T.contiguous()
        of_weight = _of_weights(weight, x.shape[1]).to(x.dtype)  # (F, C', C)
        own = x.new_empty(x.shape) if ctx.needs_input_grad[0] else None
        spectrum = torch.zeros(of_weight.shape) if ctx.needs_input_grad[1] else None
        for number, (some, after) in enumerate(zip(_pieces(x), _pieces(grad), strict=True)):
            product = _to_spectrum(after, from_grad)  # (F, B*V, C')
            if own is not None:
                _from_spectrum(torch.bmm(product, of_weight), from_own, _pieces(own)[number])
            if spectrum is not None:
                _add_product(spectrum, product.transpose(1, 2), _to_spectrum(some, to))
        taps = torch.mm(spectrum.view(len(spectrum), -1).T, of_taps).view_as(weight) if spectrum is not None else None
        return own, taps, grad.sum(dim=(0, 1, 2), dtype=torch.float32) if ctx.needs_input_grad[2] else None


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total + a b, added in float32 whatever is multiplied; a product of bfloat16 is rounded to it before."""
    if a.dtype == total.dtype:
        total.baddbmm_(a, b)
    else:
        total.add_(torch.bmm(a, b))


def _pieces(x: Tensor) -> tuple[Tensor, ...]:
    """(B, T, V, C) -> bodies whose spectra are computed together."""
    return x.split(-(-PIECE // x.shape[2]))  # type: ignore[no-any-return]  # torch's


def _to_spectrum(x: Tensor, to: Tensor) -> Tensor:
    """(B, T, V, C) by a matrix (F, T) -> (F, B*V, C), body by body: each lands where it belongs, and no frame is moved before."""
    b, t, v, c = x.shape
    spectrum = x.new_empty(len(to), b, v * c)
    for body, frames in enumerate(x.reshape(b, t, v * c)):
        torch.mm(to, frames, out=spectrum[:, body])
    return spectrum.view(-1, b * v, c)


def _from_spectrum(spectrum: Tensor, back: Tensor, into: Tensor) -> None:
    """(F, B*V, C) by a matrix (T, F) -> `into` (B, T, V, C)"""
    b, t = into.shape[:2]
    torch.bmm(back.expand(b, -1, -1), spectrum.view(len(spectrum), b, -1).transpose(0, 1), out=into.view(b, t, -1))


def _of_weights(weight: Tensor, frames: int) -> Tensor:
    """(C', C, 9, 1) -> its spectrum, (F, C', C)"""
    of_taps = matrices(frames)[1]
    return torch.mm(of_taps, weight.reshape(-1, TAPS).T).view(-1, *weight.shape[:2])
