"""An actor: one performer in one performance, with the verbs that actions are written in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skelmm_core.motion.body import SIGN, Performer, Pose
from skelmm_core.motion.paths import bump, drift, move, window

UNSURE = 0.09  # arm lengths: spread of an aimed hand from one performance to the next


# where hands wait: hanging, on the hip, at the belly, at the pocket; (out, up, forward) in arm lengths, None = the person's own
EASE = (None, None, (0.12, -0.72, 0.12), (-0.14, -0.66, 0.42), (0.06, -0.82, 0.16))


def at_ease(who: Performer, rng: np.random.Generator) -> np.ndarray:
    """Where both hands (2, 3) wait before and after this performance; often, but not always, in the same way."""
    first, second = rng.integers(len(EASE), size=2)
    kinds = (first, first if rng.random() < 0.6 else second)
    return np.stack([who.rest[side] if EASE[k] is None else np.asarray(EASE[k]) + rng.normal(0.0, 0.03, 3) for side, k in enumerate(kinds)])


@dataclass
class Actor:
    """One body's part in a performance; actions call its verbs, which write into `pose`.

    Attributes:
        who: the person. rng: this performance's generator.
        t: (T,) seconds from the first frame. p: (T,) progress, 0 at the action's start, 1 at its end, beyond while idle.
        seconds: length of the action. size: amplitude of this performance. rest: (2, 3) where the hands are between actions.
        main, other: acting side and the other one.
    """

    who: Performer
    rng: np.random.Generator
    t: np.ndarray
    p: np.ndarray
    seconds: float
    size: float
    rest: np.ndarray
    pose: Pose

    @property
    def main(self) -> int:
        return self.who.main

    @property
    def other(self) -> int:
        return 1 - self.who.main

    def cycles(self, low: float, high: float, least: int = 1) -> float:
        """A number of cycles for this performance at a rate in Hz, faster for quick people."""
        return max(float(least), self.rng.uniform(low, high) * self.who.tempo * self.seconds)

    def reach(self, side: int, *keys: tuple[float, tuple[float, float, float] | None], sure: bool = False) -> None:
        """Move a hand through (time, place) keys; a place is (out, up, forward) in arm lengths, None = where it rests.

        Aimed places carry the person's habit and chance unless `sure`.
        """
        rest = self.rest[side]
        slip = np.zeros(3) if sure else self.who.habit + self.rng.normal(0.0, UNSURE, 3)
        self.pose.hand[side] += move(self.p, *((t, np.zeros(3) if place is None else np.asarray(place) + slip - rest) for t, place in keys))

    def aim(self, side: int, weight: np.ndarray, direction: tuple[float, float, float], elbow: float = 0.0) -> None:
        """Turn the hand towards (out, up, forward) and lift the elbow by `elbow` radians, both by `weight` (T,)."""
        self.pose.point[side] += weight[:, None] * np.asarray(direction)
        self.pose.elbow[side] += weight * elbow

    def grasp(self, side: int, weight: np.ndarray, place: np.ndarray) -> None:
        """Bring the wrist to `place` (T, 3) in metres in the body's floor frame, as far as `weight` (T,) says."""
        self.pose.hold[side] = place
        self.pose.grip[side] = weight

    def twist(self, side: int, path: np.ndarray) -> None:
        """Bring the shoulder of `side` forward by `path` (T,) radians."""
        self.pose.spine[:, 1] -= SIGN[side] * path

    def shift(self, side: int, path: np.ndarray) -> None:
        """Move the weight over the foot of `side` by `path` (T,) leg lengths."""
        self.pose.root[:, 0] += SIGN[side] * path

    def stride(self, side: int, start: float, end: float, forward: float, lift: float = 0.08) -> None:
        """Lift the foot of `side` and put it down `forward` leg lengths farther on."""
        self.pose.foot[side, :, 2] += move(self.p, (start, 0.0), (end, forward))
        self.pose.foot[side, :, 1] += lift * bump(self.p, start, end)

    def unrest(self) -> None:
        """What a body does besides the action: sway, glances, hands that don't hang still."""
        pose, rng = self.pose, self.rng
        pose.root[:, [0, 2]] += 0.016 * drift(rng, self.t, (2,)).T
        pose.spine += 0.020 * drift(rng, self.t, (3,)).T + rng.normal(0.0, (0.03, 0.06, 0.03))
        pose.head += (0.05, 0.10, 0.03) * drift(rng, self.t, (3,), rate=0.5).T + rng.normal(0.0, (0.05, 0.12, 0.03))
        pose.turn[:, 1] += 0.03 * drift(rng, self.t, (1,))[0] + rng.normal(0.0, 0.16) * (self.t / self.t[-1] - 0.5)
        pose.hand += (0.015 * drift(rng, self.t, (2, 3), rate=0.5)).transpose(0, 2, 1)
        pose.hand += rng.normal(0.0, (0.02, 0.01, 0.03), (2, 1, 3))

    def fidget(self) -> None:
        """Sometimes the idle hand goes to the hip or the belly for a while: motion that says nothing about the class."""
        kind, start, stay = int(self.rng.integers(6)), self.rng.uniform(-0.4, 0.5), self.rng.uniform(0.5, 1.2)
        weight = window(self.p, start, start + 0.25, start + 0.25 + stay, start + 0.5 + stay)
        places = {0: ((0.10, -0.72, 0.10), 0.9), 1: ((-0.02, -0.62, 0.42), 0.3)}  # hip, belly
        if kind in places:
            place, elbow = places[kind]
            self.pose.hand[self.other] += weight[:, None] * (np.asarray(place) - self.rest[self.other])
            self.pose.elbow[self.other] += weight * elbow
