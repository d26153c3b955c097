"""Which bodies are taken, against a slow reference written from the description of HCN's, CTR-GCN's and PYSKL's preparation."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skelmm_core import sources
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.recordings import Dropped
from skelmm_core.sources import bodies
from skelmm_core.sources.ntu_text import Scene

ID = 72_057_594_037_900_000  # ids of one recording differ in digits that float64 loses


WORDS = {
    "empty": "frames without a body", "short": "bodies of 11 frames or fewer", "wide": "bodies wider than people",
    "calmer": "wide frames of a body, left out of its motion only", "cut": "wide frames of a body",
    "calm": "bodies with a motion under 0.089925 square metres", "wild": "bodies with a motion over 2 square metres",
    "cut out": "frames without a body that was kept", "third": "bodies beyond number 2",
    "replaced": "frames of a body that the one that continues it replaced",
}  # fmt: skip


def scene(frames: list[list[tuple[bytes, np.ndarray]]]) -> Scene:
    rows = [(f, r, name, joints) for f, frame in enumerate(frames) for r, (name, joints) in enumerate(frame)]
    return Scene(
        len(frames),
        np.array([len(f) for f in frames], int),
        np.array([r[3] for r in rows], np.float32).reshape(-1, 25, 3),
        np.array([r[0] for r in rows], int),
        np.array([r[1] for r in rows], int),
        [r[2] for r in rows],
    )


def body(rng: np.random.Generator, wide: bool = False, spread: float = 1.0) -> np.ndarray:
    """(25, 3): a metre high, and half as wide or as wide as high."""
    joints = rng.uniform(0.1, 0.4, (25, 3))
    joints[0, :2], joints[1, :2] = (0, 0), (1.0 if wide else 0.5, 1)
    return (joints * spread + rng.normal(0, 0.05, 3)).astype(np.float32)


def slow_motion(rows: list[np.ndarray]) -> float:
    total = 0.0
    for axis in range(3):
        values = [float(joint[axis]) for joints in rows for joint in joints]
        mean = sum(values) / len(values)
        total += sum((v - mean) ** 2 for v in values) / len(values)
    return total


def is_wide(joints: np.ndarray) -> bool:
    x, y = [float(v) for v in joints[:, 0]], [float(v) for v in joints[:, 1]]
    return not max(x) - min(x) <= 0.8 * (max(y) - min(y))


def slow_strict(tracks: list, dropped: dict[str, int]) -> list:
    """Wide frames and bodies with too many of them, then motion out of bounds of all but the main actor."""
    kept = []
    for _, track in tracks:
        wide = [frame for frame, joints in track.items() if is_wide(joints)]
        if len(wide) > 0.69754 * len(track):
            dropped["wide"] += 1
            continue
        dropped["cut"] += len(wide)
        narrow = {frame: joints for frame, joints in track.items() if frame not in wide}
        kept.append([slow_motion(list(narrow.values())), narrow])
    actor = max((motion for motion, _ in kept), default=0)
    for motion, track in list(kept):
        if motion < actor and not 0.089925 <= motion <= 2:
            dropped["calm" if motion < 1 else "wild"] += 1
            kept = [t for t in kept if t[1] is not track]
    return kept


def slow(frames: list[list[tuple[bytes, np.ndarray]]], strict: bool = False) -> tuple[list[dict[int, np.ndarray]], dict[str, int]]:
    """Two bodies as tables of frame -> joints, frames counted without those that have no body; and what was dropped."""
    seen = [frame for frame in frames if frame]
    found: dict[bytes, dict[int, np.ndarray]] = {}
    for number, frame in enumerate(seen):
        for name, joints in frame:
            found.setdefault(name, {})[number] = joints
    tracks = [[slow_motion(list(t.values())), t] for t in found.values()]
    dropped = dict.fromkeys(WORDS, 0) | {"empty": len(frames) - len(seen)}
    if len(tracks) > 1:
        dropped["short"] = sum(len(t) <= 11 for _, t in tracks)
        tracks = [t for t in tracks if len(t[1]) > 11]
    if len(tracks) > 1 and strict:
        tracks = slow_strict(tracks, dropped)
    elif len(tracks) > 1:
        waiting, kept = list(tracks), []
        while len(waiting) + len(kept) > 1 and waiting:
            track = waiting.pop(0)
            narrow = [joints for joints in track[1].values() if not is_wide(joints)]
            if 1 - len(narrow) / len(track[1]) >= 0.69754:
                dropped["wide"] += 1
            else:
                dropped["calmer"] += len(track[1]) - len(narrow)
                track[0] = min(track[0], slow_motion(narrow))
                kept.append(track)
        tracks = kept + waiting
    tracks.sort(key=lambda t: -t[0])
    slots: list[dict[int, np.ndarray]] = [{}, {}]
    spans = [None, (0, 0)]
    for _, track in tracks:
        begin, end = min(track), max(track)
        for slot in (0, 1):
            if spans[slot] is None:
                spans[slot] = (begin, end)
            elif begin < spans[slot][1] and spans[slot][0] < end:
                continue
            else:
                spans[slot] = min(begin, spans[slot][0]), max(end, spans[slot][1])
            dropped["replaced"] += len(slots[slot].keys() & track.keys())
            slots[slot].update(track)
            break
        else:
            dropped["third"] += 1
    return slots, dropped


@st.composite
def recordings(draw):
    frames = draw(st.integers(1, 45))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    filled: list[list[tuple[bytes, np.ndarray]]] = [[] for _ in range(frames)]
    ends = [0]
    for number in range(draw(st.integers(1, 5))):
        begin = draw(st.one_of(st.integers(0, frames - 1), st.sampled_from(ends)))
        length = draw(st.one_of(st.integers(10, 14), st.integers(1, frames)))
        share, spread = draw(st.sampled_from([0.0, 0.0, 0.3, 0.69, 0.7, 1.0])), draw(st.floats(0.5, 9))
        ends.append(min(frames, begin + length) - 1)
        for f in range(begin, min(frames, begin + length)):
            filled[f].insert(draw(st.integers(0, len(filled[f]))), (b"%d" % (ID + number), body(rng, rng.random() < share, spread)))
    return filled


@settings(max_examples=150)
@pytest.mark.parametrize("strict", [False, True])
@given(frames=recordings())
def test_tracked_is_what_the_slow_reference_gives(strict, frames):
    slots, dropped = slow(frames, strict)
    chosen = bodies.tracked(scene(frames), "x", strict)
    taken = sorted({*slots[0], *slots[1]})
    if not taken:
        assert not chosen.joints.size and chosen.reason.startswith("no body ")
        told = any(map(any, frames)) and [f"{n} {WORDS[kind]}" for kind, n in dropped.items() if n]
        assert all(words in chosen.reason for words in told or ())
        return
    dropped["cut out"] = sum(map(bool, frames)) - len(taken)
    expected = np.zeros((1 + bool(slots[1]), len(taken), 25, 3), np.float32)
    for slot, track in enumerate(slots[: len(expected)]):
        for frame, joints in track.items():
            expected[slot, taken.index(frame)] = joints
    assert not chosen.reason and np.array_equal(chosen.joints, expected)
    assert chosen.changes == {WORDS[kind]: n for kind, n in dropped.items() if n}


@given(recordings())
def test_as_published_takes_the_first_two_of_each_frame(frames):
    chosen = bodies.as_published(scene(frames))
    most = min(2, max(map(len, frames)))
    assert chosen.joints.shape == (max(1, most), len(frames), 25, 3) and chosen.joints.dtype == np.float32
    for f, frame in enumerate(frames):
        for m in range(most):
            assert np.array_equal(chosen.joints[m, f], frame[m][1] if m < len(frame) else np.zeros((25, 3)))
    assert chosen.changes.get("bodies beyond number 2 of a frame", 0) == sum(max(0, len(f) - 2) for f in frames)
    assert chosen.changes.get("frames without a body, left as zeros", 0) == sum(not f for f in frames)


def still(count: int, **options) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [body(rng, **options) for _ in range(count)]


def test_main_actor_is_who_moves_most():
    calm, lively = still(20), still(20, spread=2.0)
    frames = [[(b"1", a), (b"2", b)] for a, b in zip(calm, lively, strict=True)]
    joints = bodies.tracked(scene(frames), "x").joints
    assert np.array_equal(joints[0], lively) and np.array_equal(joints[1], calm)


def test_who_lies_alone_on_the_floor_is_kept():
    frames = [[(b"1", joints)] for joints in still(5, wide=True)]
    chosen = bodies.tracked(scene(frames), "x")
    assert np.array_equal(chosen.joints[0], [f[0][1] for f in frames]) and not chosen.changes


def test_the_last_of_several_who_lie_is_kept_by_the_public_code():
    first, last = still(20, wide=True), still(20, wide=True, spread=0.5)
    chosen = bodies.tracked(scene([[(b"1", a), (b"2", b)] for a, b in zip(first, last, strict=True)]), "x")
    assert np.array_equal(chosen.joints[0], last) and chosen.changes == {"bodies wider than people": 1}


def test_bodies_may_meet_in_one_frame_and_what_nobody_fills_is_cut_out():
    first, second, ghost = still(20, spread=2.0), still(15), still(3)
    frames = [[(b"1", a)] for a in first] + [[(b"3", g)] for g in ghost] + [[(b"2", b)] for b in still(15)]
    chosen = bodies.tracked(scene(frames), "x")
    assert np.array_equal(chosen.joints, [first + second]) and chosen.changes == {WORDS["short"]: 1, WORDS["cut out"]: 3}
    frames = [[(b"1", a)] for a in first] + [[(b"2", b)] for b in second[1:]]
    frames[19].insert(0, (b"2", second[0]))
    chosen = bodies.tracked(scene(frames), "x")
    assert np.array_equal(chosen.joints, [first[:19] + second]) and chosen.changes == {WORDS["replaced"]: 1}
    frames[18].insert(0, (b"2", second[0]))
    assert len(bodies.tracked(scene(frames), "x").joints) == 2


def test_strict_cuts_wide_frames_out_where_the_public_code_keeps_them():
    lively, calm = still(30, spread=2.5), still(30, spread=0.3)
    lively[10:20] = still(10, wide=True, spread=2.5)
    frames = [[(b"1", a), (b"2", b)] for a, b in zip(lively, calm, strict=True)]
    loose, strict = (bodies.tracked(scene(frames), "x", strict=s) for s in (False, True))
    assert np.array_equal(loose.joints[0], lively) and np.array_equal(loose.joints[1], calm)
    assert loose.changes == {WORDS["calmer"]: 10}
    assert np.array_equal(strict.joints, [lively[:10] + lively[20:]])
    assert strict.changes == {WORDS["cut"]: 10, WORDS["calm"]: 1, WORDS["cut out"]: 10}


@pytest.mark.parametrize(("motion", "kind"), [(0.0899, "calm"), (0.08995, ""), (1.999, ""), (2.001, "wild")])
def test_the_limits_on_motion_are_of_all_but_the_main_actor(motion, kind):
    other = still(20, spread=2.0)
    other = [joints * np.sqrt(motion / slow_motion(other)) for joints in other]
    lively = [joints * 8 for joints in still(20)]
    frames = [[(b"1", a), (b"2", b)] for a, b in zip(other, lively, strict=True)]
    chosen = bodies.tracked(scene(frames), "x", strict=True)
    assert slow_motion(lively) > 2 and np.array_equal(chosen.joints[0], lively)
    assert len(chosen.joints) == 2 - bool(kind) and chosen.changes == ({WORDS[kind]: 1} if kind else {})


def test_strict_motion_is_that_of_the_frames_that_are_kept():
    small = [joints * [0, 0.1, 0] + [0, side, 0] for joints, side in zip(still(30), [1.0, -1.0] * 15, strict=True)]  # 1 square metre
    middle = [joints * [0.1, 0, 0] for joints in still(30)]  # wide, and in its middle
    near = [a if f < 15 else b for f, (a, b) in enumerate(zip(small, middle, strict=True))]
    steady = [joints * [0, 0.1, 0] + [0, 0.85 * side, 0] for joints, side in zip(still(30), [1.0, -1.0] * 15, strict=True)]
    assert slow_motion(near) < slow_motion(steady) < slow_motion(near[:15])
    frames = [[(b"1", a), (b"2", b)] for a, b in zip(near, steady, strict=True)]
    loose, strict = (bodies.tracked(scene(frames), "x", strict=s) for s in (False, True))
    assert np.array_equal(loose.joints[0], np.float32(steady)) and np.array_equal(strict.joints[0, :15], np.float32(near[:15]))


def test_who_is_left_alone_by_short_bodies_keeps_wide_frames():
    lying = still(20, wide=True)
    frames = [[(b"1", a)] + [(b"2", a)] * (f < 11) for f, a in enumerate(lying)]
    chosen = bodies.tracked(scene(frames), "x", strict=True)
    assert np.array_equal(chosen.joints[0], lying) and chosen.changes == {WORDS["short"]: 1}


def test_ids_that_a_float_can_not_tell_apart():
    frames = [[(b"%d" % ID, a), (b"%d" % (ID + 1), b)] for a, b in zip(still(15), still(15, spread=2.0), strict=True)]
    assert float(ID) == float(ID + 1) and len(bodies.tracked(scene(frames), "x").joints) == 2


def test_one_id_twice_in_a_frame_is_an_error():
    frames = [[(b"7", a)] for a in still(3)] + [[(b"7", a), (b"7", a)] for a in still(2)]
    with pytest.raises(DataError, match="'x.skeleton', frame 3: two bodies have the id 7, .* as-published"):
        bodies.tracked(scene(frames), "x.skeleton")


def test_nothing_left_is_said_with_the_reason():
    flicker = [[(b"%d" % f, joints)] for f, joints in enumerate(still(6))]
    assert bodies.tracked(scene(flicker), "x").reason == "no body is left when tracked: 6 bodies of 11 frames or fewer"
    furniture = [[(b"1", a), (b"2", b)] for a, b in zip(still(20, wide=True), still(20, wide=True), strict=True)]
    assert bodies.tracked(scene(furniture), "x", strict=True).reason == "no body is left when tracked: 2 bodies wider than people"
    assert bodies.tracked(scene([[], []]), "x").reason == bodies.as_published(scene([[], []])).reason == "no body in any frame"
    assert bodies.tracked(scene([]), "x").reason == bodies.as_published(scene([])).reason == "no body in any frame"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
@pytest.mark.parametrize("axis", [0, 1])
def test_numbers_that_are_none_reach_the_check(value, axis, strict):
    broken = still(20)
    broken[4][3, axis] = value
    frames = [[(b"1", a), (b"2", b)] for a, b in zip(still(20), broken, strict=True)]
    chosen = bodies.tracked(scene(frames), "x", strict=strict)
    assert any(np.array_equal(kept, broken, equal_nan=True) for kept in chosen.joints)


def test_the_option_of_the_reader(tmp_path):
    from writers.ntu import write

    raw = write(tmp_path / "raw", clips=6)
    published, tracked = ({r.name: r for r in sources.read(raw, bodies=b).recordings} for b in ("as-published", "tracked"))
    assert published.keys() == tracked.keys() and not any(isinstance(r, Dropped) for r in published.values())
    visited = next(n for n, r in tracked.items() if "bodies of 11 frames or fewer" in r.changes)
    assert len(published[visited].joints) == 2 and len(tracked[visited].joints) == 1
    assert np.array_equal(published[visited].joints[0], tracked[visited].joints[0])
    gaps = next(n for n, r in tracked.items() if r.changes == {"frames without a body": 2})
    assert published[gaps].changes == {"frames without a body, left as zeros": 2}
    assert tracked[gaps].joints.shape[1] == published[gaps].joints.shape[1] - 2
    strict = {r.name: r for r in sources.read(raw, bodies="tracked-strict").recordings}
    assert strict.keys() == tracked.keys() and np.array_equal(strict[visited].joints, tracked[visited].joints)
    assert len({sources.read(raw, bodies=b).fingerprint for b in ("as-published", "tracked", "tracked-strict")}) == 3
    told = "'bodies' must be as-published or tracked or tracked-strict, found 'traced'; did you mean 'tracked'"
    with pytest.raises(SettingsError, match=re.escape(told)):
        sources.read(raw, bodies="traced")
