"""Depth cameras: where they stand, and what their tracking does to joints.

Camera frame as a Kinect v2 gives it: metres, y up, z away from the camera, x to the camera's left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skelmm_core.motion.rotations import about

VIEWS = (-45.0, 0.0, 45.0)  # degrees around the scene, camera 1, 2, 3
# spread of a joint relative to the mean joint: the trunk is steady, hands, finger tips and feet are not
SPREAD = np.array([0.6, 0.6, 0.7, 0.8, *[0.8, 1.0, 1.3, 1.5] * 2, *[0.7, 1.0, 1.4, 1.7] * 2, 0.6, 2.0, 2.0, 2.0, 2.0])
NOISE = 0.010  # metres, mean joint
DROPS, BURSTS = 0.10, 0.12  # per joint and second, before `SPREAD`: joints that freeze, joints that are guessed


@dataclass(frozen=True)
class Camera:
    """A camera at `angle` degrees (0 = where performers face), `distance` and `height` metres, looking down by `pitch` degrees."""

    angle: float
    distance: float
    height: float
    pitch: float

    def see(self, scene: np.ndarray) -> np.ndarray:
        """Scene coordinates (..., 3) to camera coordinates (..., 3)."""
        side = np.radians(self.angle)
        place = np.array([self.distance * np.sin(side), self.height, self.distance * np.cos(side)])
        turn = about("x", -np.radians(self.pitch)) @ about("y", np.pi - side)
        found: np.ndarray = (scene - place) @ turn.T
        return found


def camera(seed: int, setup: int, view: int) -> Camera:
    """Camera `view` (1-3) of a setup; every setup puts the cameras up anew."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(4, setup, view)))
    distance, height = rng.uniform(2.6, 3.3), rng.uniform(0.8, 1.7)
    aim = np.degrees(np.arctan2(height - 0.95, distance))
    return Camera(VIEWS[view - 1] + rng.normal(0.0, 2.5), float(distance), float(height), float(aim + rng.normal(0.0, 1.5)))


def sense(rng: np.random.Generator, joints: np.ndarray, rate: float) -> np.ndarray:
    """Joints (M, T, 25, 3) in camera space as a tracker reports them: noise, guessed joints that jitter, lost joints that stay put.

    Joints behind the trunk are lost and guessed three times as often. Returns a new array.
    """
    bodies, frames, count, _ = joints.shape
    white = rng.normal(size=(bodies, frames + 2, count, 3))
    smooth = (white[:, :-2] + 2.0 * white[:, 1:-1] + white[:, 2:]) / np.sqrt(6.0)  # trackers smooth a little
    seen: np.ndarray = joints + NOISE * SPREAD[:, None] * smooth * (0.9, 0.9, 1.2)
    hidden = 1.0 + 2.0 * ((joints[..., 2] - joints[:, :, :1, 2]).mean(1) > 0.08)  # (M, V)
    risk = SPREAD * hidden * frames / rate
    for body, joint in np.argwhere(rng.random((bodies, count)) < 1.0 - np.exp(-BURSTS * risk)):
        start, length = int(rng.integers(frames)), int(rng.integers(5, 16))
        part = seen[body, start : start + length, joint]
        part += rng.normal(0.0, 0.03, 3) + rng.normal(0.0, 0.025, part.shape)
    for body, joint in np.argwhere(rng.random((bodies, count)) < 1.0 - np.exp(-DROPS * risk)):
        start, length = int(rng.integers(1, frames)), int(rng.integers(3, 11))
        seen[body, start : start + length, joint] = seen[body, start - 1, joint]
    return seen
