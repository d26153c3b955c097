"""A stream says of the last frames what `predict` says of the same frames, and tells what it can't use."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from test_predict import model_for

from skelmm_core.errors import DataError, SettingsError
from skelmm_core.skeletons import COCO17, NTU25
from skelmm_core.streaming import Stream, replay

MODEL, _, _ = model_for(NTU25, "all")
PRESENT, _, _ = model_for(NTU25, "present")


def walk(people: int, frames: int, seed: int = 0, joints: int = 25) -> np.ndarray:
    """(M, T, V, 3), all different."""
    return np.random.default_rng(seed).normal(size=(people, frames, joints, 3)).astype(np.float32)


@given(window=st.integers(1, 9), hop=st.integers(1, 12), frames=st.integers(1, 40), people=st.integers(1, 2), which=st.booleans())
@tries(max_examples=40)
def test_predictions_are_those_of_the_same_frames(window, hop, frames, people, which):
    model, clip = (MODEL, PRESENT)[which], walk(people, frames, seed=frames)
    clip[:, 5:7], clip[1:, 9:30] = 0, 0  # nobody for a while; the second leaves
    stream = Stream(model, window, hop, 25.0)
    found = [stream.push(frame) for frame in clip.swapaxes(0, 1)]
    for last, prediction in enumerate(found):
        seen = clip[:, last + 1 - window : last + 1] if last + 1 >= window else None
        if seen is None or (last + 1 - window) % hop or not seen.any():
            assert prediction is None
            continue
        expected = model.probabilities(seen)[0]
        np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-5)
        assert prediction.name == model.classes[expected.argmax()] and prediction.probability == pytest.approx(expected.max(), abs=1e-5)
        assert prediction.seconds == pytest.approx(last / 25)


def test_one_person_needs_no_axis_and_memory_does_not_grow():
    stream, clip = Stream(MODEL, 8), walk(1, 500)
    size = stream._buffer.nbytes
    for frame in clip[0]:
        found = stream.push(frame)
    np.testing.assert_allclose(found.probabilities, MODEL.probabilities(clip[:, -8:])[0], atol=1e-5)
    assert stream._buffer.nbytes == size and stream.clip.base is stream._buffer
    stream.reset()
    assert [stream.push(frame) is None for frame in clip[0, :8]] == [True] * 7 + [False]


@pytest.mark.parametrize(
    "nobody", [None, np.zeros((0, 25, 3)), np.full((25, 3), np.nan), np.zeros((2, 25, 3))], ids=["none", "0", "nan", "zeros"]
)
def test_frames_without_anybody_are_zeros(nobody):
    stream, clip = Stream(MODEL, 6), walk(1, 6)
    clip[:, 2:4] = 0
    for i, frame in enumerate(clip[0]):
        found = stream.push(nobody if i in (2, 3) else frame)
    assert np.array_equal(stream.clip, clip)
    np.testing.assert_allclose(found.probabilities, MODEL.probabilities(clip)[0], atol=1e-5)
    assert [stream.push(nobody) is None for _ in range(8)] == [False] * 5 + [True] * 3


@given(st.integers(0, 10**6), st.floats(0, 0.9))
@tries(max_examples=40)
def test_missing_joints_stay_where_they_were_seen(seed, share):
    """Against a loop over joints, from the documentation of `Stream`."""
    draw, clip = np.random.default_rng(seed), walk(2, 12, seed)
    clip[draw.random(clip.shape[:3]) < share, draw.integers(3)] = np.nan
    expected, centre = np.zeros_like(clip), NTU25.centre
    for body in range(2):
        known: dict[int, np.ndarray] = {}
        for t in range(12):
            now = {v: clip[body, t, v] for v in range(25) if not np.isnan(clip[body, t, v]).any()}
            known = known | now if now else {}
            if centre in known:
                for v in range(25):
                    expected[body, t, v] = known.get(v, known[centre])
    stream = Stream(MODEL, 12)
    for frame in clip.swapaxes(0, 1):
        stream.push(frame)
    assert np.array_equal(stream.clip, expected if expected[1].any() else expected[:1])


def test_joints_in_an_image_that_are_missing_were_not_seen():
    model, _, _ = model_for(COCO17, "present")
    stream, clip = Stream(model, 5), np.abs(walk(1, 5, joints=17))
    gaps = clip.copy()
    gaps[0, 1, 3, 0], clip[0, 1, 3] = np.nan, 0
    for frame in gaps[0]:
        found = stream.push(frame)
    assert np.array_equal(stream.clip, clip)
    np.testing.assert_allclose(found.probabilities, model.probabilities(clip)[0], atol=1e-5)


def test_frames_that_can_not_be_used_are_told_and_leave_no_trace():
    stream, clip = Stream(MODEL, 4), walk(1, 8)
    for i, frame in enumerate(clip[0]):
        for shape in ((20, 3), (3, 25, 3), (1, 1, 25, 3), (25, 2)):
            with pytest.raises(DataError, match=f"frame {i}: expected numbers \\(25, 3\\) or .* up to 2, found"):
                stream.push(np.zeros(shape))
        with pytest.raises(DataError, match=f"frame {i}: expected numbers .*, found .*inhomogeneous"):
            stream.push([[1.0, 2.0, 3.0], [1.0, 2.0]])
        with pytest.raises(DataError, match="found bool"):
            stream.push(np.zeros((25, 3), bool))
        for value in (np.inf, -2e6, 1e300):
            wrong = frame.astype(float)
            wrong[7, 1] = value
            with pytest.raises(DataError, match=f"frame {i}, body 0: y of joint 7 \\(left hand\\) is .* or NaN for a joint"):
                stream.push(wrong)
        found = stream.push(frame)
    np.testing.assert_allclose(found.probabilities, MODEL.probabilities(clip[:, -4:])[0], atol=1e-5)


def test_settings_of_a_stream():
    for wrong, words in (((0, 1, 30), "window must be 1"), ((5, 0, 30), "hop must be 1"), ((5, 1, -1), "rate must be")):
        with pytest.raises(SettingsError, match=words):
            Stream(MODEL, *wrong)
    single, _, _ = model_for(NTU25, "all", room=1)
    with pytest.raises(DataError, match="M up to 1"):
        Stream(single, 4).push(walk(2, 1)[:, 0])
    single.data = {"frame_rate": 30.0}
    with pytest.warns(UserWarning, match="trained on 30 frames per second, the stream has 15"):
        Stream(single, 4, rate=15)
    with warnings.catch_warnings(action="error"):
        assert Stream(single, 4, rate=30.5).rate == 30.5 and Stream(single, 4).rate == 30


def test_a_stream_in_millimetres_is_told_once():
    stream, clip = Stream(MODEL, 4), 1000 * walk(1, 9)
    with pytest.warns(UserWarning, match=r"the stream has bodies of \d,\d\d\d m: are these millimetres"):
        for frame in clip[0, :4]:
            stream.push(frame)
    with warnings.catch_warnings(action="error"):
        assert [stream.push(frame) is None for frame in clip[0, 4:]] == [False] * 5
        assert Stream(MODEL, 1).push(walk(1, 1)[0, 0]) is not None
        assert len(replay(MODEL, lambda i: clip, [0], 4, 1).predictions) == 6, "whose command says it once, at the end"


def test_replayed_clips_are_streams_of_their_own():
    played = replay(MODEL, lambda i: walk(1, (3, 9, 12)[i], seed=i), [2, 0, 1], 6, 3)
    assert [i for i, _ in played.predictions] == [2, 2, 2, 1, 1] and played.frames == 21 and played.short == 1
    for (i, found), end in zip(played.predictions, (6, 9, 12, 6, 9), strict=True):
        expected = MODEL.probabilities(walk(1, (3, 9, 12)[i], seed=i)[:, end - 6 : end])[0]
        np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    assert len(played.latency) == 5 and 0 < played.latency.sum() <= played.seconds
    assert "5 predictions, " in str(played) and "1 clips are shorter" in str(played)
    assert "every clip is shorter" in str(replay(MODEL, lambda i: walk(1, 3), [0], 6, 3))
