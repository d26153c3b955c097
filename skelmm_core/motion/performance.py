"""A performance: who does what when, as joints in the scene frame (y up, floor at 0, facing the middle camera)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skelmm_core.motion.actions import ACTIONS, Action
from skelmm_core.motion.actor import Actor, at_ease
from skelmm_core.motion.body import Performer, Pose, forward, performer
from skelmm_core.motion.rotations import about

RATE = 30.0  # frames per second
SHORTEST, LONGEST = 40, 150  # frames
PARTNERS = 100_000  # persons from this number on only ever appear as the second body


@dataclass(frozen=True)
class Timing:
    """Seconds of standing still before, of action, and after (negative: the clip begins or ends amid the action);
    progress runs at 1 + `warp` times its mean speed at the start and 1 - `warp` times at the end."""

    before: float
    action: float
    after: float
    warp: float

    @property
    def frames(self) -> int:
        return int(np.clip(round((self.before + self.action + self.after) * RATE), SHORTEST, LONGEST))

    def progress(self, t: np.ndarray) -> np.ndarray:
        """(T,) 0 at the start of the action, 1 at its end, negative before, above 1 after."""
        p = (t - self.before) / self.action
        inside = np.clip(p, 0.0, 1.0)
        return p + self.warp * inside * (1.0 - inside)


def timing(rng: np.random.Generator, action: Action, tempo: float) -> Timing:
    """Draw a timing that fits into the longest clip."""
    seconds = min(rng.uniform(*action.seconds) / tempo, 0.9 * LONGEST / RATE)
    spare = LONGEST / RATE - seconds
    before, after = np.minimum(rng.uniform(-0.12 * seconds, 1.9, 2), spare / 2.0)
    return Timing(float(before), float(seconds), float(after), float(np.clip(rng.normal(0.0, 0.22), -0.5, 0.5)))


def perform(seed: int, action: int, number: int, repetition: int) -> np.ndarray:
    """Joints (M, T, 25, 3) in metres, no noise, of one performance.

    Depends on nothing but the four numbers: row of `ACTIONS`, number of the performer (from 1) and repetition (from 1).
    """
    row = ACTIONS[action]
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3, action, number, repetition)))
    people = [performer(seed, number), performer(seed, PARTNERS + number)][: row.bodies]
    when = timing(rng, row, people[0].tempo)
    t = np.arange(when.frames) / RATE
    actors = [_actor(who, rng, t, when) for who in people]
    gap = rng.uniform(0.46, 0.52) * people[0].height if row.bodies == 2 else 0.0
    row.programme(*actors, *([gap] if row.bodies == 2 else []))
    for actor in actors:
        actor.unrest()
    joints = np.stack([forward(actor.who, actor.pose) for actor in actors])  # (M, T, 25, 3)
    if row.bodies == 2:
        joints = _face_to_face(joints, gap)
    heading = np.radians(rng.uniform(-40.0, 40.0)) + (np.pi / 2.0 if row.bodies == 2 else 0.0)
    place = np.array([rng.uniform(-0.25, 0.25), 0.0, rng.uniform(-0.25, 0.25)])
    found: np.ndarray = joints @ about("y", heading).T + place
    return found


def _actor(who: Performer, rng: np.random.Generator, t: np.ndarray, when: Timing) -> Actor:
    size = float(np.clip(who.amplitude * rng.normal(1.0, 0.10), 0.7, 1.3))
    rest = at_ease(who, rng)
    return Actor(who, rng, t, when.progress(t), when.action, size, rest, Pose.standing(who, rest, len(t)))


def _face_to_face(joints: np.ndarray, gap: float) -> np.ndarray:
    """Put the second body `gap` metres in front of the first, turned towards it; the middle is the origin."""
    joints = joints.copy()
    joints[1] = joints[1] @ about("y", np.pi).T + np.array([0.0, 0.0, gap])
    found: np.ndarray = joints - np.array([0.0, 0.0, gap / 2.0])
    return found
