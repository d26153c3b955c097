"""Performers (proportions, style, handedness) and forward kinematics on the Kinect-v2 skeleton.

Segment lengths as shares of the height follow Drillis and Contini (1966, in Winter, Biomechanics and Motor Control of
Human Movement), moved to where a Kinect puts its joints. Metres; body axes x left, y up, z forward; y = 0 is the floor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skelmm_core.motion.rotations import about, apply, between, limb, unit

# forward-kinematics hierarchy, rooted in the base of the spine (not the table of bone vectors, which points to the chest)
PARENTS = (-1, 0, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 1, 7, 7, 11, 11)
LEFT, RIGHT = 0, 1
SIGN = (1.0, -1.0)  # x direction that is "out" for the left and the right side
ARMS = ((4, 5, 6, 7, 21, 22), (8, 9, 10, 11, 23, 24))  # shoulder elbow wrist hand tip thumb
LEGS = ((12, 13, 14, 15), (16, 17, 18, 19))  # hip knee ankle foot
ELBOW = np.array([0.30, -1.0, -0.55])  # (out, up, forward): where elbows point to unless an action turns them
EXTENSION = 0.985  # share of full leg length that a standing leg uses at most


@dataclass(frozen=True)
class Performer:
    """One person. Angles in radians; lengths in metres unless said otherwise."""

    number: int
    height: float
    main: int  # LEFT or RIGHT: the arm and leg this person acts with
    tempo: float  # speed relative to the average person
    amplitude: float  # size of movements relative to the average person
    offsets: np.ndarray  # (25, 3) rest position of each joint in its parent's frame
    lean: np.ndarray  # (3,) posture: spine forward, twist, sideways
    nod: float  # head forward
    stance: float  # distance of each foot from the middle
    rest: np.ndarray  # (2, 3) hanging hands (out, up, forward) from the shoulder in arm lengths
    habit: np.ndarray  # (3,) personal offset of every aimed hand, arm lengths

    @property
    def arm(self) -> float:
        """Shoulder to wrist, stretched."""
        return float(-self.offsets[5, 1] - self.offsets[6, 1])

    @property
    def leg(self) -> float:
        """Hip to ankle, stretched."""
        return float(-self.offsets[13, 1] - self.offsets[14, 1])

    @property
    def ankle(self) -> float:
        """Height of the ankle above the floor when the foot stands."""
        return 0.040 * self.height

    @property
    def pelvis(self) -> float:
        """Height of the base of the spine when standing at ease."""
        drop = np.sqrt((0.975 * self.leg) ** 2 - (self.stance - self.offsets[12, 0]) ** 2)
        return float(self.ankle + drop - self.offsets[12, 1])


def performer(seed: int, number: int) -> Performer:
    """Person `number` (from 1) of a seed; does not depend on how many others there are. One in every three is left-handed."""
    block = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, (number - 1) // 3)))
    left_handed = int(block.integers(3)) == (number - 1) % 3
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2, number)))
    height = float(np.clip(rng.normal(1.72, 0.10), 1.50, 1.95))
    legs, arms, shoulders, hips, forearm = np.clip(rng.normal(1.0, (0.03, 0.04, 0.07, 0.07, 0.03)), 0.85, 1.15)
    rest = np.array([0.16, -0.93, 0.10]) + rng.normal(0.0, (0.04, 0.015, 0.05)) * np.ones((2, 1)) + rng.normal(0.0, 0.015, (2, 3))
    return Performer(
        number=number,
        height=height,
        main=LEFT if left_handed else RIGHT,
        tempo=float(np.clip(rng.normal(1.0, 0.13), 0.75, 1.3)),
        amplitude=float(np.clip(rng.normal(1.0, 0.13), 0.75, 1.25)),
        offsets=_offsets(height, legs, arms, shoulders, hips, forearm),
        lean=rng.normal((0.05, 0.0, 0.0), (0.06, 0.04, 0.03)),
        nod=float(rng.normal(0.05, 0.10)),
        stance=float(height * rng.uniform(0.055, 0.095)),
        rest=rest,
        habit=rng.normal(0.0, 0.08, 3),
    )


def _offsets(height: float, legs: float, arms: float, shoulders: float, hips: float, forearm: float) -> np.ndarray:
    hip = 0.525 * legs  # height of the hip joint, share of body height
    back = 0.80 - hip - 0.020  # base of spine (2 % above the hips) to spine at shoulders
    rest = np.zeros((25, 3))
    rest[1, 1], rest[20, 1], rest[2, 1], rest[3] = 0.48 * back, 0.52 * back, 0.040, (0.0, 0.085, 0.012)
    for sign, (shoulder, elbow, wrist, hand, tip, thumb), (hip_, knee, ankle, foot) in zip(SIGN, ARMS, LEGS, strict=True):
        rest[shoulder] = (sign * 0.103 * shoulders, -0.018, 0.0)
        rest[elbow, 1], rest[wrist, 1] = -0.168 * arms, -0.148 * arms * forearm
        rest[hand, 1], rest[tip, 1], rest[thumb] = -0.043, -0.050, (0.0, -0.012, 0.030)
        rest[hip_] = (sign * 0.048 * hips, -0.020, 0.0)
        rest[knee, 1] = rest[ankle, 1] = -(hip - 0.040) / 2.0
        rest[foot] = (sign * 0.010, -0.025, 0.068)
    return rest * height


@dataclass
class Pose:
    """What a performer's body is asked to do, frame by frame; actions write into these arrays.

    Hands are (out, up, forward) from the shoulder in arm lengths, upright and turning with the chest; feet are
    (out, up, forward) from their standing place in leg lengths; sides are LEFT, RIGHT.
    """

    root: np.ndarray  # (T, 3) shift of the base of the spine (left, up, forward), leg lengths
    turn: np.ndarray  # (T, 3) pelvis: pitch forward, yaw to the left, roll
    spine: np.ndarray  # (T, 3) bend of the back: pitch forward, twist to the left, sideways
    head: np.ndarray  # (T, 3) pitch forward, yaw to the left, sideways
    hand: np.ndarray  # (2, T, 3)
    elbow: np.ndarray  # (2, T) elbow lifted outwards about the line from shoulder to hand
    point: np.ndarray  # (2, T, 3) direction of the hand (out, up, forward); zero = along the forearm
    hold: np.ndarray  # (2, T, 3) place in the body's floor frame that a hand holds, metres
    grip: np.ndarray  # (2, T) 0..1 weight of `hold` against `hand`
    foot: np.ndarray  # (2, T, 3)

    @classmethod
    def standing(cls, who: Performer, rest: np.ndarray, frames: int) -> Pose:
        """At ease: hands at `rest` (2, 3), feet at the person's stance, the person's posture."""
        return cls(
            root=np.zeros((frames, 3)),
            turn=np.zeros((frames, 3)),
            spine=np.tile(who.lean, (frames, 1)),
            head=np.tile([who.nod, 0.0, 0.0], (frames, 1)),
            hand=np.repeat(rest[:, None], frames, axis=1),
            elbow=np.zeros((2, frames)),
            point=np.zeros((2, frames, 3)),
            hold=np.zeros((2, frames, 3)),
            grip=np.zeros((2, frames)),
            foot=np.zeros((2, frames, 3)),
        )


def forward(who: Performer, pose: Pose) -> np.ndarray:
    """Joint positions (T, 25, 3) in metres in the performer's floor frame (between the standing feet, facing +z)."""
    frames = len(pose.root)
    turn = np.tile(np.eye(3), (frames, 25, 1, 1))  # global rotation of every joint's frame
    x = np.zeros((frames, 25, 3))

    def place(*joints: int) -> None:
        for j in joints:
            x[:, j] = x[:, PARENTS[j]] + apply(turn[:, PARENTS[j]], who.offsets[j])

    turn[:, 0] = about("y", pose.turn[:, 1]) @ about("x", pose.turn[:, 0]) @ about("z", pose.turn[:, 2])
    ankles = _ankles(who, pose)  # (2, T, 3)
    x[:, 0] = _supported(who, pose, turn[:, 0], ankles)
    bend = _bend(pose.spine / 2.0)
    turn[:, 1] = turn[:, 0] @ bend
    turn[:, 20] = turn[:, 1] @ bend
    turn[:, 2] = turn[:, 20] @ _bend(pose.head)
    place(1, 20, 2, 3)
    facing = about("y", pose.turn[:, 1] + pose.spine[:, 1])  # upright frame that turns with the chest
    for side, (shoulder, elbow, wrist, hand, tip, thumb) in enumerate(ARMS):
        place(shoulder)
        out = np.array([SIGN[side], 1.0, 1.0])
        to = apply(facing, pose.hand[side] * who.arm * out)
        grip = pose.grip[side][:, None]
        to += grip * (pose.hold[side] - x[:, shoulder] - to)
        pole = apply(facing, _swivel(to, facing, pose.elbow[side] * SIGN[side], ELBOW * out))
        turn[:, shoulder], turn[:, elbow] = limb(to, pole, -who.offsets[elbow, 1], -who.offsets[wrist, 1], bends=1, soft=0.96)
        place(elbow, wrist)
        along = -turn[:, elbow, :, 1]
        aim = unit(along + apply(facing, pose.point[side] * out))
        turn[:, wrist] = turn[:, hand] = between(along, aim) @ turn[:, elbow]
        place(hand, tip, thumb)
    for side, (hip, knee, ankle, foot) in enumerate(LEGS):
        place(hip)
        heading = about("y", pose.turn[:, 1])
        knees = np.array([0.12 * SIGN[side], 0.0, 1.0])
        to = ankles[side] - x[:, hip]
        turn[:, hip], turn[:, knee] = limb(to, apply(heading, knees), -who.offsets[knee, 1], -who.offsets[ankle, 1], bends=-1, soft=0.99)
        place(knee, ankle)
        droop = np.clip(1.2 * (ankles[side, :, 1] - who.ankle) / who.height / 0.08, 0.0, 1.0) * 0.5  # toes of a lifted foot hang
        turn[:, ankle] = heading @ about("x", droop)
        place(foot)
    return x


def _bend(angles: np.ndarray) -> np.ndarray:
    found: np.ndarray = about("y", angles[:, 1]) @ about("x", angles[:, 0]) @ about("z", angles[:, 2])
    return found


def _ankles(who: Performer, pose: Pose) -> np.ndarray:
    out = np.array(SIGN)[:, None]
    ankles = pose.foot * who.leg  # (2, T, 3)
    ankles[..., 0] = out * (who.stance + ankles[..., 0])
    ankles[..., 1] = np.maximum(ankles[..., 1], 0.0) + who.ankle
    return ankles


def _supported(who: Performer, pose: Pose, pelvis: np.ndarray, ankles: np.ndarray) -> np.ndarray:
    """Root (T, 3): the wanted place, lowered (smooth minimum, 6 mm) until both legs reach their feet."""
    root: np.ndarray = pose.root * who.leg + np.array([0.0, who.pelvis, 0.0])
    limits = [root[:, 1]]
    for side, (hip, *_) in enumerate(LEGS):
        shift = apply(pelvis, who.offsets[hip])
        flat = ((root + shift - ankles[side])[:, [0, 2]] ** 2).sum(-1)
        reach = np.sqrt(np.maximum((EXTENSION * who.leg) ** 2 - flat, 0.01 * who.leg**2))
        limits.append(ankles[side, :, 1] + reach - shift[:, 1])
    root[:, 1] = -0.006 * np.logaddexp.reduce(-np.stack(limits) / 0.006, axis=0)
    return root


def _swivel(to: np.ndarray, facing: np.ndarray, angle: np.ndarray, pole: np.ndarray) -> np.ndarray:
    """Pole (T, 3) in the upright frame, turned by `angle` about the line to the hand."""
    along = unit(apply(np.swapaxes(facing, -1, -2), to))
    side = unit(pole - (along @ pole)[:, None] * along)
    found: np.ndarray = np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * np.cross(along, side)
    return found
