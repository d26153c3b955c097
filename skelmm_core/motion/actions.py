"""The actions: one function each, and the table that names them.

An action is a programme for the joints: it sends hands and feet to places, bends back and pelvis, and `body.forward`
turns that into joint rotations. To add one, write a function of an `Actor` (two actors and the distance between them for two
bodies) and one line at the END of `ACTIONS`: a row's number seeds its clips.

Several differ from a neighbour in little: the two circles in direction, sitting down and standing up in the arrow of time,
marching and jogging in speed, drinking and telephoning in 20 cm and the head, kicking and stepping in where the foot ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skelmm_core.motion.actor import Actor
from skelmm_core.motion.body import ARMS, LEFT, RIGHT, SIGN
from skelmm_core.motion.paths import bump, move, turns, window


def wave(me: Actor) -> None:
    """Raise a hand and swing it from side to side."""
    side, on = me.main, window(me.p, 0.16, 0.28, 0.74, 0.88)
    place = (0.34, me.rng.uniform(0.10, 0.45), 0.40)
    me.reach(side, (0.0, None), (0.24, place), (0.78, place), (1.0, None))
    angle = turns(on, me.cycles(1.2, 2.2, least=2), me.rng.uniform(0, 2 * np.pi))
    me.pose.hand[side, :, 0] += on * 0.26 * me.size * np.sin(angle)
    me.pose.hand[side, :, 1] += on * 0.05 * me.size * np.cos(2 * angle)
    me.aim(side, window(me.p, 0.0, 0.24, 0.78, 1.0), (0.0, 1.4, 0.0))
    me.fidget()


def clap(me: Actor) -> None:
    """Bring both hands together again and again."""
    on = window(me.p, 0.12, 0.26, 0.76, 0.90)
    angle = turns(on, me.cycles(1.2, 2.4, least=2), me.rng.uniform(0, 2 * np.pi))
    height, ahead = me.rng.normal(-0.22, 0.10), me.rng.normal(0.62, 0.04)
    for side, (shoulder, *_) in enumerate(ARMS):
        middle = -abs(me.who.offsets[shoulder, 0]) / me.who.arm + 0.10  # palms meet here
        place = (middle + 0.14, height, ahead)
        me.reach(side, (0.0, None), (0.24, place), (0.78, place), (1.0, None), sure=True)
        me.pose.hand[side, :, 0] += on * (0.14 * me.size * np.cos(angle) - 0.14 + 0.14 * (me.size - 1.0))
        me.aim(side, window(me.p, 0.0, 0.24, 0.78, 1.0), (0.6, 0.8, 1.2), elbow=0.15)


def _circle(me: Actor, direction: float) -> None:
    side, on = me.main, window(me.p, 0.14, 0.26, 0.76, 0.88)
    centre = (0.18, 0.10, 0.70)
    me.reach(side, (0.0, None), (0.22, centre), (0.80, centre), (1.0, None))
    angle = direction * SIGN[RIGHT] * SIGN[side] * turns(on, me.rng.uniform(1.3, 3.2)) + me.rng.uniform(0, 2 * np.pi)
    me.pose.hand[side, :, 0] += on * 0.24 * me.size * np.sin(angle)  # out is to the right for the right arm only
    me.pose.hand[side, :, 1] += on * 0.26 * me.size * np.cos(angle)
    me.aim(side, window(me.p, 0.0, 0.22, 0.80, 1.0), (0.0, 0.0, 1.0))
    me.fidget()


def circle_clockwise(me: Actor) -> None:
    """Draw circles in the air, clockwise as the performer sees them, with either hand."""
    _circle(me, 1.0)


def circle_counter_clockwise(me: Actor) -> None:
    """Draw circles in the air, counter-clockwise as the performer sees them."""
    _circle(me, -1.0)


def punch(me: Actor) -> None:
    """Hit straight ahead from a guard, one to three times."""
    side, up = me.main, window(me.p, 0.0, 0.18, 0.84, 1.0)
    guard = (-0.02, -0.22, 0.40)
    for arm in (LEFT, RIGHT):
        me.reach(arm, (0.0, None), (0.18, guard), (0.84, guard), (1.0, None))
    for beat in _beats(me, int(me.rng.integers(1, 4)), 0.20, 0.82):
        hit = move(me.p, (beat[0], 0.0), (beat[0] + 0.35 * (beat[1] - beat[0]), 1.0), (beat[1], 0.0))
        me.pose.hand[side] += hit[:, None] * np.array([-0.12, 0.20, 0.58 * min(me.size, 1.1)])
        me.twist(side, 0.40 * me.size * hit)
        me.pose.spine[:, 0] += 0.10 * hit
        me.pose.root[:, 2] += 0.05 * hit
    me.twist(side, -0.25 * up)
    me.pose.root[:, 1] -= 0.04 * up
    me.pose.foot[me.other, :, 2] += 0.22 * move(me.p, (0.0, 0.0), (0.15, 1.0), (0.88, 1.0), (1.0, 0.0))
    me.pose.foot[me.other, :, 1] += 0.04 * (bump(me.p, 0.0, 0.15) + bump(me.p, 0.88, 1.0))
    me.pose.root[:, 2] += 0.08 * up


def throw(me: Actor) -> None:
    """Take the hand back behind the shoulder and throw overarm with a step of the other foot."""
    side, go = me.main, me.rng.uniform(0.46, 0.56)
    back, release, end = (0.52, 0.34, -0.14), (0.14, 0.42, 0.70), (-0.30, -0.55, 0.55)
    me.reach(side, (0.0, None), (0.12, (0.15, -0.45, 0.45)), (go - 0.10, back), (go + 0.10, release), (go + 0.28, end), (1.0, None))
    me.reach(me.other, (0.05, None), (go - 0.08, (0.10, -0.05, 0.75)), (go + 0.16, (0.25, -0.70, 0.10)), (1.0, None))
    me.aim(side, window(me.p, 0.2, go - 0.08, go, go + 0.12), (0.0, 0.5, -0.6), elbow=0.9)
    me.twist(side, move(me.p, (0.05, 0.0), (go - 0.06, -0.55 * me.size), (go + 0.16, 0.55 * me.size), (1.0, 0.0)))
    me.pose.spine[:, 0] += move(me.p, (0.1, 0.0), (go - 0.06, -0.14), (go + 0.18, 0.28 * me.size), (1.0, 0.0))
    me.stride(me.other, go - 0.22, go + 0.02, 0.34 * me.size)
    me.stride(me.other, 0.80, 1.0, -0.34 * me.size, lift=0.05)
    me.pose.root[:, 2] += move(me.p, (0.1, 0.0), (go - 0.12, -0.06), (go + 0.16, 0.20), (0.78, 0.20), (1.0, 0.0))


def _to_head(me: Actor, place: tuple[float, float, float], hold: np.ndarray) -> None:
    """Bring the main wrist to a place (out, up, forward) from the head joint, in shares of the body height."""
    who, side = me.who, me.main
    head = who.offsets[[2, 3]].sum(0) - who.offsets[ARMS[side][0]]  # from the shoulder
    target = (head * (SIGN[side], 1, 1) + np.asarray(place) * who.height) / who.arm
    lean = (0.0, 0.0, who.lean[0] * 0.5)
    me.pose.hand[side] += hold[:, None] * (target + lean + 0.3 * who.habit + me.rng.normal(0, 0.025, 3) - who.rest[side])


def drink(me: Actor) -> None:
    """Lift a cup to the mouth, tilt the head back once or twice, put the hand down."""
    hold = move(me.p, (0.0, 0.0), (0.26, 1.0), (0.76, 1.0), (1.0, 0.0))
    _to_head(me, (0.035, -0.125, 0.125), hold)
    sips = sum(bump(me.p, *beat) for beat in _beats(me, int(me.rng.integers(1, 4)), 0.18, 0.84))
    me.pose.head[:, 0] -= 0.32 * me.size * sips
    me.pose.hand[me.main, :, 1] += 0.15 * me.size * sips
    me.aim(me.main, hold, (-0.4, 0.5, -0.2), elbow=0.15)
    me.pose.elbow[me.main] += 0.30 * me.size * sips
    me.fidget()


def telephone(me: Actor) -> None:
    """Take a telephone to the ear and listen."""
    hold = move(me.p, (0.0, 0.0), (0.26, 1.0), (0.80, 1.0), (1.0, 0.0))
    _to_head(me, (0.125, -0.080, 0.040), hold)
    me.pose.head[:, 2] -= SIGN[me.main] * 0.20 * me.size * hold
    me.pose.head[:, 0] += hold * 0.10 * np.sin(turns(np.ones_like(me.p), me.cycles(0.3, 0.8), me.rng.uniform(0, 6)))
    me.aim(me.main, hold, (0.15, 1.2, -0.1), elbow=-0.45)
    me.fidget()


def _seated(me: Actor, down: np.ndarray, bend: np.ndarray) -> None:
    seat = (me.rng.uniform(0.40, 0.47) + 0.05 * me.who.height - me.who.pelvis) / me.who.leg
    me.pose.root[:, 1] += seat * down
    me.pose.root[:, 2] -= 0.42 * down
    me.pose.spine[:, 0] += 0.55 * me.size * bend
    me.pose.turn[:, 0] += 0.30 * bend - 0.06 * down
    knees = me.rng.random() < 0.6  # hands on the knees, else hanging in the lap
    place = np.array([-0.05, -0.66, 0.52] if knees else [-0.12, -0.72, 0.34])
    for side in (LEFT, RIGHT):
        me.pose.hand[side] += down[:, None] * (place + me.rng.normal(0, 0.04, 3) - me.rest[side])
        me.pose.hand[side, :, 2] += 0.28 * bend


def sit_down(me: Actor) -> None:
    """Lower oneself onto a chair behind and stay."""
    start, end = me.rng.uniform(0.08, 0.25), me.rng.uniform(0.70, 0.88)
    _seated(me, move(me.p, (start, 0.0), (end, 1.0)), bump(me.p, start - 0.08, end + 0.12))


def stand_up(me: Actor) -> None:
    """Rise from a chair and stay standing."""
    start, end = me.rng.uniform(0.12, 0.30), me.rng.uniform(0.75, 0.92)
    _seated(me, 1.0 - move(me.p, (start, 0.0), (end, 1.0)), bump(me.p, start - 0.12, end + 0.08))


def kick(me: Actor) -> None:
    """Swing a leg forward into the air and back."""
    foot, go = me.main, me.rng.uniform(0.48, 0.58)
    high = 0.20 * me.size + me.rng.normal(0.0, 0.03)
    me.pose.foot[foot, :, 2] += move(me.p, (0.08, 0.0), (go - 0.20, -0.26 * me.size), (go, 0.66), (0.92, 0.0))
    me.pose.foot[foot, :, 1] += move(me.p, (0.08, 0.0), (go - 0.20, 0.12), (go, high), (go + 0.10, 0.7 * high), (0.92, 0.0))
    up = window(me.p, 0.0, go - 0.22, go + 0.15, 0.95)
    me.shift(me.other, 0.07 * up)
    me.pose.turn[:, 0] += move(me.p, (0.08, 0.0), (go - 0.18, 0.08), (go, -0.16), (1.0, 0.0))
    swing = move(me.p, (0.08, 0.0), (go - 0.18, -0.5), (go, 1.0), (1.0, 0.0)) * me.size
    me.pose.hand[me.other] += swing[:, None] * (0.10, 0.12, 0.40)
    me.pose.hand[foot] += swing[:, None] * (0.12, 0.06, -0.22)
    me.twist(me.other, 0.22 * swing)


def step(me: Actor) -> None:
    """Step forward with one foot, shift the weight onto it, step back."""
    foot, far = me.main, 0.50 * me.size
    out, back = me.rng.uniform(0.34, 0.42), me.rng.uniform(0.58, 0.66)
    me.stride(foot, 0.10, out, far, lift=me.rng.uniform(0.05, 0.12))
    me.stride(foot, back, 0.92, -far, lift=me.rng.uniform(0.05, 0.12))
    me.pose.root[:, 2] += 0.5 * far * move(me.p, (0.12, 0.0), (out + 0.06, 1.0), (back - 0.04, 1.0), (0.94, 0.0))
    me.shift(me.other, 0.04 * (bump(me.p, 0.02, out) + bump(me.p, back, 1.0)))
    swing = move(me.p, (0.08, 0.0), (out, 1.0), (back, 1.0), (0.94, 0.0)) * me.size
    me.pose.hand[me.other] += swing[:, None] * (0.04, 0.05, 0.26)
    me.pose.hand[foot] += swing[:, None] * (0.05, 0.03, -0.20)
    me.twist(me.other, 0.12 * swing)


def _on_the_spot(me: Actor, rate: tuple[float, float], lift: float, spring: float) -> None:
    """Legs and opposite arms in alternation; `rate` in strides of both feet per second."""
    on = window(me.p, -0.02, 0.10, 0.90, 1.02)
    angle = turns(on, me.cycles(*rate, least=2), me.rng.uniform(0, 2 * np.pi))
    bent = me.rng.uniform(0.2, 1.0)  # how far the elbows are bent is personal and says little about the speed
    hands = np.array([0.12, -0.62, 0.42]) * bent + me.rest * (1.0 - bent)
    back = me.rng.uniform(0.04, 0.28)  # where a lifted foot goes: under the hip or behind
    for side, wave_ in ((LEFT, np.sin(angle)), (RIGHT, -np.sin(angle))):
        up = on * np.clip(wave_, 0.0, None) ** 1.5 * me.size
        me.pose.foot[side, :, 1] += lift * up
        me.pose.foot[side, :, 2] -= back * up
        me.pose.hand[side] += on[:, None] * (hands[side] - me.rest[side])
        me.pose.hand[side, :, 2] -= on * 0.20 * me.size * wave_
        me.pose.hand[side, :, 1] += on * 0.06 * bent * wave_**2
        me.shift(1 - side, 0.03 * up)
        me.twist(side, -0.10 * on * wave_ * me.size)
    hop = on * spring * (0.5 + 0.5 * np.cos(2 * angle))  # lowest with both feet down, highest on one leg
    me.pose.root[:, 1] -= hop


def march(me: Actor) -> None:
    """Walk on the spot."""
    _on_the_spot(me, (0.70, 1.00), lift=0.17, spring=0.015)


def jog(me: Actor) -> None:
    """Jog on the spot: as marching, but faster and with springy knees."""
    _on_the_spot(me, (1.20, 1.60), lift=0.19, spring=0.055)


def star_jump(me: Actor) -> None:
    """Jumping jacks: arms up the sides and feet apart, then together, jumping."""
    on = window(me.p, -0.01, 0.12, 0.88, 1.01)
    angle = turns(on, round(me.cycles(0.7, 1.1)))
    apart = 0.5 - 0.5 * np.cos(angle)
    top = me.rng.uniform(2.4, 2.9) * min(me.size, 1.05)
    lift = np.sin(angle) ** 2 * on
    raised = 0.17 * (1.0 - apart) + top * apart  # arms against the vertical
    place = 0.94 * np.stack([np.sin(raised), -np.cos(raised), np.full_like(raised, 0.08)], -1)
    for side in (LEFT, RIGHT):
        me.pose.hand[side] += on[:, None] * (place - me.rest[side])
        me.pose.foot[side, :, 0] += 0.26 * me.size * apart * on
        me.pose.foot[side, :, 1] += 0.07 * me.size * lift
    me.pose.root[:, 1] += 0.08 * me.size * lift - 0.05 * on * (1 - np.sin(angle) ** 2)


def shake_hands(me: Actor, you: Actor, gap: float) -> None:
    """Two people take each other's right hand and shake it; left-handed people give the right hand, too."""
    take = move(me.p, (0.0, 0.0), (0.28, 1.0), (0.78, 1.0), (1.0, 0.0))
    on = window(me.p, 0.24, 0.34, 0.70, 0.80)
    shake = on * 0.045 * me.size * np.sin(turns(on, me.cycles(1.0, 2.2), me.rng.uniform(0, 6)))
    height = 0.31 * (me.who.height + you.who.height) + me.rng.normal(0.0, 0.03)
    for actor in (me, you):
        reach = 0.055 * actor.who.height  # from the wrist to the palm that is shaken
        place = np.zeros((len(me.p), 3)) + (-0.02, height, gap / 2 - reach)
        place[:, 1] += shake
        actor.grasp(RIGHT, take, place)
        actor.aim(RIGHT, take, (-0.2, 0.1, 1.0))
        actor.twist(RIGHT, 0.14 * take)
        actor.pose.spine[:, 0] += 0.10 * actor.size * take
        actor.pose.root[:, 2] += 0.03 * take
        actor.pose.head[:, 0] += 0.06 * take


def push(me: Actor, you: Actor, gap: float) -> None:
    """One person pushes the other's chest with both hands; the other stumbles back a step."""
    hit, gone = 0.40, 0.56
    ready = move(me.p, (0.02, 0.0), (hit, 1.0), (gone + 0.04, 1.0), (0.95, 0.0))
    give = move(me.p, (hit, 0.0), (gone + 0.06, 1.0))
    far = 0.30 * me.size
    chest = 0.68 * you.who.height
    reach = move(me.p, (0.02, 0.28), (hit - 0.14, 0.34), (hit, gap - 0.17), (gone, gap - 0.10), (0.95, 0.30))
    step_in = 0.30 * me.size
    me.stride(me.main, 0.12, hit, step_in)
    me.stride(me.main, 0.80, 1.0, -step_in)
    me.pose.root[:, 2] += 0.75 * step_in * move(me.p, (0.10, 0.0), (hit + 0.08, 1.0), (0.76, 1.0), (1.0, 0.0))
    me.pose.spine[:, 0] += 0.22 * me.size * bump(me.p, 0.10, 0.80)
    for side in (LEFT, RIGHT):
        place = np.stack([np.full_like(reach, SIGN[side] * 0.13), np.full_like(reach, chest), reach], -1)
        me.grasp(side, ready, place)
        me.aim(side, ready, (0.0, 1.0, 0.2))
        you.pose.hand[side] += move(me.p, (hit - 0.02, 0.0), (gone, 1.0), (1.05, 0.0))[:, None] * (0.16, 0.26, 0.30) * you.size
    you.pose.spine[:, 0] += -0.24 * you.size * bump(me.p, hit - 0.01, gone + 0.14) + 0.14 * bump(me.p, gone, 0.98)
    you.pose.head[:, 0] += 0.24 * bump(me.p, hit - 0.01, gone + 0.1)
    you.pose.root[:, 2] -= far * give
    you.stride(you.main, hit, gone, -1.2 * far)
    you.stride(you.other, gone - 0.04, 0.76, -far)


def _beats(me: Actor, count: int, start: float, end: float) -> list[tuple[float, float]]:
    """`count` uneven stretches that fill most of [start, end], in order."""
    length = (end - start) / count
    edges = start + length * np.arange(count)
    return [(a + length * me.rng.uniform(0.0, 0.12), a + length * me.rng.uniform(0.85, 1.0)) for a in edges]


@dataclass(frozen=True)
class Action:
    """A row of the table: class name, usual length of the action in seconds, its programme, number of bodies."""

    name: str
    seconds: tuple[float, float]
    programme: Callable[..., None]
    bodies: int = 1


ACTIONS: tuple[Action, ...] = (
    Action("wave a hand", (1.6, 2.8), wave),
    Action("clap hands", (1.6, 2.8), clap),
    Action("draw a circle clockwise", (1.6, 3.0), circle_clockwise),
    Action("draw a circle counter-clockwise", (1.6, 3.0), circle_counter_clockwise),
    Action("punch", (1.3, 2.6), punch),
    Action("throw", (1.7, 2.8), throw),
    Action("drink", (1.8, 2.8), drink),
    Action("telephone", (1.8, 2.8), telephone),
    Action("sit down", (1.4, 2.4), sit_down),
    Action("stand up", (1.4, 2.4), stand_up),
    Action("kick", (1.2, 2.0), kick),
    Action("step forward and back", (1.5, 2.6), step),
    Action("march on the spot", (1.6, 2.8), march),
    Action("jog on the spot", (1.6, 2.8), jog),
    Action("star jumps", (1.6, 2.8), star_jump),
    Action("shake hands", (1.8, 3.2), shake_hands, bodies=2),
    Action("push another person", (1.4, 2.4), push, bodies=2),
)
