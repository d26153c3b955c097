"""Smooth paths in time: minimum-jerk moves between key values, bumps, windows and eased cycles.

People move the hand from rest to rest along a minimum-jerk profile (Flash and Hogan, J. Neurosci. 1985), so every
move of the sample is a sum of such profiles. Times are fractions of the action, 0 at its start and 1 at its end.
"""

from __future__ import annotations

import numpy as np


def minimum_jerk(s: np.ndarray) -> np.ndarray:
    """10 s^3 - 15 s^4 + 6 s^5 on [0, 1], 0 before and 1 after; velocity and acceleration are 0 at both ends."""
    s = np.clip(s, 0.0, 1.0)
    return s**3 * (10.0 + s * (6.0 * s - 15.0))


def move(p: np.ndarray, *keys: tuple[float, object]) -> np.ndarray:
    """Rest-to-rest moves through (time, value) keys in rising order of time; the first and last value are held.

    p (T,); a value is a number or a vector (D,). Returns (T,) or (T, D).
    """
    first = np.asarray(keys[0][1], float)
    p = p.reshape(p.shape + (1,) * first.ndim)  # (T,) or (T, 1)
    out = np.broadcast_to(first, np.broadcast_shapes(p.shape, first.shape)).copy()
    for (t0, v0), (t1, v1) in zip(keys, keys[1:], strict=False):
        out += (np.asarray(v1, float) - np.asarray(v0, float)) * minimum_jerk((p - t0) / (t1 - t0))
    return out


def window(p: np.ndarray, rise: float, on: float, off: float, fall: float) -> np.ndarray:
    """(T,) weight: 0 until `rise`, 1 from `on` to `off`, 0 from `fall`, minimum-jerk between."""
    found: np.ndarray = minimum_jerk((p - rise) / (on - rise)) - minimum_jerk((p - off) / (fall - off))
    return found


def bump(p: np.ndarray, start: float, end: float) -> np.ndarray:
    """(T,) single hump of height 1 between two times, flat to second order at both ends: 64 (s - s^2)^3."""
    s = np.clip((p - start) / (end - start), 0.0, 1.0)
    return 64.0 * (s - s * s) ** 3


def turns(weight: np.ndarray, cycles: float, phase: float = 0.0) -> np.ndarray:
    """(T,) angle in radians that runs through `cycles` turns at a speed in proportion to `weight` (T,), from `phase` on."""
    run = np.concatenate([[0.0], np.cumsum((weight[1:] + weight[:-1]) / 2.0)])
    found: np.ndarray = phase + 2.0 * np.pi * cycles * run / run[-1]
    return found


def drift(rng: np.random.Generator, t: np.ndarray, shape: tuple[int, ...], rate: float = 0.35) -> np.ndarray:
    """Slow wandering of unit standard deviation, shape + (T,): three sinusoids of random phase per channel.

    t (T,) in seconds, `rate` the middle frequency in Hz. Stands for sway, breathing and unrest between actions.
    """
    speed = 2.0 * np.pi * rate * rng.uniform(0.4, 1.8, size=(3, *shape, 1))
    phase = rng.uniform(0.0, 2.0 * np.pi, size=(3, *shape, 1))
    swayed: np.ndarray = np.sin(speed * t + phase).sum(axis=0) * np.sqrt(2.0 / 3.0)  # (..., T)
    return swayed
