"""The player: what it packs and how well, its script against the Python modalities, what it takes and refuses. A browser: test_browser."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from types import SimpleNamespace

import hypothesis.strategies as st
import matplotlib.image as mpimg
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.extra.numpy import arrays
from test_drawing import clip, few_clips

from skelmm_core import drawing, modalities, skeletons
from skelmm_core.drawing import packing, palette, player, scene, shot
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.recordings import Recording

KNOWN = list(skeletons.SKELETONS.values())


def moving(skeleton, bodies: int = 2, frames: int = 40, noise: float = 0.004, seed: int = 0) -> np.ndarray:
    """(M, T, V, 3): joints that swing with noise, as a `Recording` has them; the last body comes late and leaves for a while, and in an
    image single joints are not seen."""
    random, time = np.random.default_rng(seed), np.arange(frames)[:, None, None] / 30
    size = (bodies, 1, len(skeleton), 3)
    joints = random.normal(0, 0.4, size) + 0.2 * np.sin(time * random.uniform(1, 8, size) + random.uniform(0, 6, size))
    joints += random.normal(0, noise, joints.shape) + (0, 0, 3)
    if skeleton.dimensions == 2:
        joints[..., 2] = random.uniform(0.2, 1, joints.shape[:3])
        joints[random.random(joints.shape[:3]) < 0.1] = 0
    joints[bodies - 1, :5] = joints[bodies - 1, 20:23] = 0
    return joints.astype(np.float32)


def noisy(bodies: int, frames: int, noise: float = 0.006) -> np.ndarray:
    joints = clip(bodies=bodies, frames=frames)
    return joints + np.random.default_rng(0).normal(0, noise, joints.shape).astype(np.float32) * (joints != 0)


def unpacked(content: bytes, shape: tuple[int, ...], step: float, axes: int) -> np.ndarray:
    """What `packing.pack` wrote, read number by number."""
    numbers, value, place = [], 0, 0
    for byte in content:
        value |= (byte & 127) << place
        place += 7
        if byte < 128:
            numbers.append(value)
            value = place = 0
    feed = iter(numbers)
    joints = np.full(shape, np.nan)
    for m in range(shape[0]):
        for v in range(shape[2]):
            at, there, frames = 0, True, []
            while at < shape[1]:
                length = next(feed)
                if there and length:
                    frames.append(range(at, at + length))
                at, there = at + length, not there
            for axis in range(axes):
                for run in frames:
                    path = []
                    for _ in run:
                        n = next(feed)
                        n = -(n + 1) // 2 if n % 2 else n // 2
                        path.append(n if not path else path[-1] + n if len(path) == 1 else 2 * path[-1] - path[-2] + n)
                    joints[m, run, v, axis] = np.array(path) * step
            if axes == 2:
                joints[m, [t for run in frames for t in run], v, 2] = 0
    assert next(feed, None) is None
    return joints


def shown(front: drawing.Player, number: int = 0) -> np.ndarray:
    """Joints of a player's clip as its script gets them."""
    data = front.data["clips"][number]
    shape = (data["bodies"], data["frames"], len(data["bone"]), 3)
    return unpacked(base64.b64decode(data["data"]), shape, data["step"], 2 if data["flat"] else 3)


@pytest.fixture(scope="module")
def javascript():
    """Runs an expression after the player's script and gives its value; NaN comes back as None."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: the script's numbers are not compared with Python's here (tests/test_browser.py plays it)")

    def run(expression: str):
        done = subprocess.run(
            [node, "-"], input=f"{player.script()}\nconsole.log(JSON.stringify({expression}))", capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


# --- packing --------------------------------------------------------------------------------------------------------


@given(
    arrays(np.float64, st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 3), st.just(3)), elements=st.floats(-5, 5, width=32)),
    st.data(),
)
def test_joints_come_back_within_half_a_step(joints, data):
    gone = data.draw(arrays(bool, joints.shape[:3]))
    joints[gone] = np.nan
    step = packing.grid(joints)
    back = unpacked(packing.pack(joints, step), joints.shape, step, 3)
    np.testing.assert_array_equal(np.isnan(back), np.isnan(joints))
    np.testing.assert_allclose(back, joints, atol=step / 2 * 1.001)
    assert packing.FINEST <= step <= packing.COARSEST


@pytest.mark.parametrize(("rate", "noise"), [(30, 0.005), (120, 0.0)])
def test_rounding_leaves_accelerations_alone(rate, noise):
    """A noisy camera at 30 Hz, and smooth motion capture at 120 Hz, whose accelerations are tenths of a millimetre per frame squared."""
    time = np.arange(300)[:, None, None] / rate
    joints = 0.3 * np.sin(4 * time + np.arange(75).reshape(25, 3))[None] + np.random.default_rng(0).normal(0, noise, (1, 300, 25, 3))
    step = packing.grid(joints)
    back = unpacked(packing.pack(joints, step), joints.shape, step, 3)
    before, after = (scene.vectors(j, "ntu25", "acceleration") for j in (joints, back))
    wrong = np.linalg.norm((before.head - before.tail) / before.metres - (after.head - after.tail) / after.metres, axis=-1)
    assert np.sqrt(np.mean(wrong**2)) < 0.02 * np.percentile(before.size, 98)


def test_pictures_come_back_nearly_as_they_were():
    random = np.random.default_rng(0)
    few = random.integers(0, 256, (6, 3), dtype=np.uint8)[random.integers(0, 6, (20, 31))]
    back = mpimg.imread(io.BytesIO(packing.indexed_png(few)), "png")[..., :3]
    assert back.shape == (20, 31, 3)
    np.testing.assert_allclose(255 * back, few, atol=8.6)


def test_a_still_holds_every_figure():
    wide, tall = drawing.stick_figure(clip(), "ntu25"), drawing.film_strip(clip(), "ntu25")
    image = mpimg.imread(io.BytesIO(packing.still([wide, tall])), "png")
    inches = [figure.get_size_inches() for figure in (wide, tall)]
    assert image.shape[1] == round(packing.STILL * max(w for w, _ in inches))
    assert image.shape[0] == pytest.approx(packing.STILL * sum(h for _, h in inches), abs=2)
    assert image[: int(5 * packing.STILL)].std() > 0.01 and image[int(5.3 * packing.STILL) :].std() > 0.01


# --- the script against Python --------------------------------------------------------------------------------------


@pytest.mark.parametrize("skeleton", KNOWN, ids=lambda s: s.name)
def test_the_script_computes_the_modalities_of_python(javascript, skeleton):
    front = drawing.show(moving(skeleton), skeleton)
    data, joints = front.data["clips"][0], shown(front)
    names = modalities.names_for(skeleton)
    calls = ", ".join(f"{name}: vectors(clip, points, '{name}', {json.dumps(front.data['scales'][name])})" for name in names)
    found = javascript(
        f"((clip) => {{ const points = decode(clip), all = {{ {calls} }}, keep = (values) => Array.from(values); "
        "for (const name in all) all[name] = [all[name].tail, all[name].head, all[name].size].map(keep); "
        f"return {{ points: keep(points), ...all }}; }})({json.dumps(data)})"
    )
    numbers = {name: [np.array(v, float) for v in values] for name, values in found.items() if name != "points"}
    np.testing.assert_allclose(np.array(found["points"], float).reshape(joints.shape), joints, atol=1e-12)
    for name in names:
        ours, style = scene.vectors(joints, skeleton, name), front.data["scales"][name]
        assert style["reference"] == pytest.approx(ours.reference), "lengths of arrows as in the film strips"
        tail, head, size = (
            value.reshape(shape) for value, shape in zip(numbers[name], (joints.shape, joints.shape, joints.shape[:3]), strict=True)
        )
        np.testing.assert_allclose(size, ours.size, atol=1e-9)
        known = ~np.isnan(ours.head).any(-1)
        assert known.sum() > 0.6 * known.size and np.nanmax(size) > 0
        np.testing.assert_array_equal(~np.isnan(head).any(-1), known)
        np.testing.assert_allclose(head[known], ours.head[known], atol=1e-9)
        np.testing.assert_allclose(tail[known], ours.tail[known], atol=1e-9)


def test_arrows_of_a_second_clip_are_per_second(javascript):
    """The same motion at half the frame rate: what a frame brings is twice as much, what is drawn is the same."""
    fast = moving(skeletons.NTU25, 1, 81, noise=0)
    front = drawing.Player(fast, "ntu25", "motion", fast[:, ::2], frame_rate=(30, 15))
    style = json.dumps(front.data["scales"]["motion"])
    one, other = (f"vectors({json.dumps(data)}, decode({json.dumps(data)}), 'motion', {style}" for data in front.data["clips"])
    sizes = javascript(f"[Array.from({one}, 30).size), Array.from({other}, 15).size)]")
    first, second = np.array(sizes[0], float).reshape(81, 25), np.array(sizes[1], float).reshape(41, 25)
    assert np.nanmean(second[12:30]) == pytest.approx(np.nanmean(first[24:60]), rel=0.05)
    assert re.fullmatch(r"0?\.?[125] m/s", front.data["scales"]["motion"]["arrow"]), "a round number of what is told"
    assert front.data["clock"] == 1 and drawing.show(fast, "ntu25", other=fast).data["clock"] == 30


@pytest.mark.parametrize("width", [336, 826, 1076, 1400])
def test_panels_fill_rows_of_a_bounded_height(javascript, width):
    alone, paired = javascript(f"[false, true].map((two) => [...Array(15).keys()].map((n) => n && grid(n, {width}, two)))")
    for count in range(2, 15):
        for columns, high in (alone[count], paired[count]):
            rows = -(-count // columns)
            assert columns == 1 or width / columns >= 215
            assert rows * high <= max(645, 200 * rows) and high >= 200
        assert count % 2 or paired[count][0] == 1 or paired[count][0] % 2 == 0, "two clips stay beside each other"
    found = [alone[count][0] for count in (3, 5, 6, 7)]
    assert found == {336: [1, 1, 1, 1], 826: [3, 3, 3, 3], 1076: [3, 3, 3, 4], 1400: [3, 3, 3, 4]}[width]
    assert alone[1] == [1, round(min(max(0.62 * width, 200), 480))]


def test_steps_are_round_numbers(javascript):
    least = np.geomspace(0.0123, 54_321, 60).tolist() + [0.1, 0.2, 1, 5, 10, 1000]
    for value, found in zip(least, javascript(f"{least}.map(round)"), strict=True):
        ten = 10.0 ** np.floor(np.log10(found) + 1e-9)
        assert min(abs(found / ten - n) for n in (1, 2, 5)) < 1e-9 and value * 0.998 <= found <= 2.5 * value


# --- what is saved --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bodies", "frames", "modality"), [(1, 60, None), (2, 150, "motion"), (2, 300, "angular_velocity")])
def test_a_saved_clip_is_below_100_kb(bodies, frames, modality):
    bundle = drawing.show(noisy(bodies, frames), "ntu25", modality, titles="wave")._repr_mimebundle_()
    assert len(json.dumps(bundle)) < 100_000
    assert len(player.script()) < 26_000


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("make", [noisy, lambda bodies, frames, noise: moving(skeletons.NTU25, bodies, frames, noise)])
def test_two_bodies_for_ten_seconds_are_below_100_kb_too(make, noise):
    """Whatever the noise; 150 frames are whole, and rounding stays below a tenth of the noise."""
    for frames in (150, 300):
        joints = make(2, frames, noise)
        front = drawing.show(joints, "ntu25", titles="wave")
        (data,) = front.data["clips"]
        assert len(json.dumps(front._repr_mimebundle_())) < 100_000
        assert data["frames"] == 150 if frames == 150 else 150 < data["frames"] < 300
        assert front.data["notes"] == ([] if frames == 150 else [f"shown: 0.00 to {(data['frames'] - 1) / 30:.2f} s of 9.97 s"])
        assert data["step"] < max(noise / 10, packing.COARSEST)
        np.testing.assert_allclose(shown(front), scene.bodies(joints[:, : data["frames"]], "ntu25"), atol=data["step"] / 2 * 1.001)
    whole = drawing.Player(make(2, 300, noise), "ntu25", span=(0, 9.97)).data["clips"][0]
    assert whole["frames"] == 300, "what is asked for is not cut"


def test_a_body_that_comes_after_the_cut_is_not_there():
    joints = moving(skeletons.HDM05, 1, 300)
    front = drawing.show(np.concatenate([joints, joints * (np.arange(300) > 290)[:, None, None]]), "hdm05")
    assert front.data["clips"][0]["bodies"] == 1 and 150 < front.data["clips"][0]["frames"] < 290 and front.html()


def test_six_modalities_cost_no_more_than_one():
    one, six = (drawing.show(noisy(2, 150), "ntu25", modality).data for modality in ("motion", "all"))
    assert abs(len(json.dumps(one)) - len(json.dumps(six))) < 200


def test_a_page_loads_nothing(tmp_path):
    page = drawing.show(clip(), "ntu25", titles='</script><b>"$wave$" & more').save(tmp_path / "deep" / "player.html").read_text()
    assert not re.search(r"https?:|//[a-z]+\.|\bimport\b|@import|<link|fetch\(|XMLHttp", page)
    assert re.findall(r'\bsrc="(.{10})', page) == ["data:image"]
    assert page.count("</script>") == 1 and "<b>" not in page, "titles are text"
    with pytest.raises(SettingsError, match=r"ends in \.html"):
        drawing.show(clip(), "ntu25").save(tmp_path / "player.png")
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


def test_readers_without_a_script_see_a_film_strip():
    front = drawing.show(clip(bodies=2), "ntu25", "motion", titles="wave")
    bundle = front._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    assert bundle["text/plain"] == repr(front) == "Player: wave, 60 frames at 30 Hz, 2 bodies of ntu25; shown: motion"
    (image,) = re.findall(r'<img alt="(.*?)" src="data:image/png;base64,(.*?)">', bundle["text/html"])
    assert image[0] == repr(front) and mpimg.imread(io.BytesIO(base64.b64decode(image[1])), "png").shape[1] > 700
    assert bundle == drawing.show(clip(bodies=2), "ntu25", "motion", titles="wave")._repr_mimebundle_(), "the same every time"


# --- what it takes --------------------------------------------------------------------------------------------------


def test_a_pair_of_clips_and_number_knows_its_names():
    front = drawing.show((few_clips(), 2))
    assert front.title == "2: hug, subject 2" and front.skeleton is skeletons.NTU25 and front.panels == ["limbs"]
    assert drawing.show((few_clips(), 2), titles="mine").title == "mine"
    with pytest.raises(SettingsError, match="0 to 2, the clips of the file; found 3"):
        drawing.show((few_clips(), 3))


def test_a_recording_and_an_array_are_the_same():
    joints = moving(skeletons.KINECT20)
    assert drawing.show(Recording(joints, 0, "a")).data == drawing.show(joints, "kinect20").data


@pytest.mark.parametrize("skeleton", KNOWN, ids=lambda s: s.name)
def test_every_skeleton_is_known_by_its_joints(skeleton):
    front = drawing.show(moving(skeleton, 1), modality="all")
    assert front.skeleton is skeleton and front.panels == list(modalities.names_for(skeleton)) == list(front.data["scales"])
    (data,) = front.data["clips"]
    assert data["flat"] == (skeleton.dimensions == 2) and front.data["length"] == ("m" if skeleton.dimensions == 3 else "image heights")
    assert set(data["ends"]) == set(range(len(skeleton))) - {p for _, p in scene.limbs(skeleton)} and len(data["ends"]) >= 5
    for name, style in front.data["scales"].items():
        unit = modalities.units_for(skeleton)[name]
        assert style["colour"] == palette.modality_colour(name) and (unit in style["bar"] or unit == "unit vector")


def test_scales_tell_their_unit_per_frame_and_per_second():
    assert player.quantity(0.02, "m/frame", 30, 1) == "0.02 m/frame (0.6 m/s)"
    assert player.quantity(0.02, "m/frame²", 30, 2) == "0.02 m/frame² (18 m/s²)"
    assert player.quantity(0.5, "rad/frame", 1, 1) == "0.5 rad/s"
    assert player.quantity(0.4, "m", 30, 0) == "0.4 m"


def test_the_box_is_that_of_the_clip_and_its_floor():
    joints = clip()
    box = np.array(drawing.show(joints, "ntu25").data["clips"][0]["box"])
    low, high = joints.reshape(-1, 3).min(0), joints.reshape(-1, 3).max(0)
    assert (box[:, 0] <= low - 0.09).all() and (box[:, 1] >= high + 0.09).all() and (np.ptp(box, axis=1) >= 0.79).all()
    assert drawing.show(joints, "ntu25").data["clips"][0]["floor"] == pytest.approx(-1.0, abs=1e-3)


def test_two_clips_have_one_scale():
    slow, fast = moving(skeletons.NTU25, 1, noise=0), moving(skeletons.NTU25, 1, 25, noise=0.05)
    pair = drawing.show(slow, "ntu25", "motion", fast, ["slow", "fast"])
    alone = [drawing.show(c, "ntu25", "motion").data["scales"]["motion"]["top"] for c in (slow, fast)]
    assert min(alone) < pair.data["scales"]["motion"]["top"] <= max(alone)
    assert [data["title"] for data in pair.data["clips"]] == ["slow", "fast"] and pair.title == "slow | fast"
    assert [data["frames"] for data in pair.data["clips"]] == [40, 25]
    with pytest.raises(SettingsError, match="titles must be one for each of 2 clips, found 1"):
        drawing.show(slow, "ntu25", other=fast, titles="both")
    with pytest.raises(DataError, match=r"'ntu25' \(3-D\) and 'coco17' \(2-D\)"):
        drawing.show(SimpleNamespace(joints=slow), other=moving(skeletons.COCO17))


def test_a_long_clip_is_cut_and_says_so():
    front = drawing.show(moving(skeletons.NTU25, 1, 400))
    assert front.data["clips"][0]["frames"] == shot.MOST and front.data["notes"] == ["shown: 0.00 to 9.97 s of 13.30 s"]
    part = drawing.Player(moving(skeletons.NTU25, 1, 400), span=(10, 13.3))
    assert part.data["clips"][0]["frames"] == 100 and part.data["notes"] == ["shown: 10.00 to 13.30 s of 13.30 s"]
    np.testing.assert_allclose(shown(part)[0, 0], moving(skeletons.NTU25, 1, 400)[0, 300], atol=packing.COARSEST)
    assert drawing.Player(moving(skeletons.NTU25, 1, 400), span=(0, 13.3)).data["notes"] == []
    with pytest.raises(SettingsError, match=r"span must be two seconds in order within 0 to 13\.30"):
        drawing.Player(moving(skeletons.NTU25, 1, 400), span=(14, 15))


def test_the_body_that_is_asked_for():
    joints = clip(bodies=2)
    both, first, second = (drawing.Player(joints, "ntu25", body=body) for body in shot.BODIES)
    assert [front.data["clips"][0]["numbers"] for front in (both, first, second)] == [[0, 1], [0], [1]]
    np.testing.assert_allclose(shown(second)[0, -1], joints[1, -1], atol=packing.COARSEST)
    assert np.isnan(shown(second)[0, 0]).all()
    with pytest.raises(SettingsError, match="one body"):
        drawing.Player(clip(), "ntu25", body="second")
    with pytest.raises(SettingsError, match="did you mean 'first'"):
        drawing.Player(joints, "ntu25", body="fist")
    with pytest.raises(DataError, match="one or two bodies, the clip has 3"):
        drawing.show(moving(skeletons.NTU25, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modality": "motoin"}, "did you mean 'motion'"),
        ({"modality": []}, "modality must be one of .*; found ''$"),
        ({"modality": "speed"}, r"modality must be one of all, limbs, joint, [a-z_, ]*; found 'speed'$"),
        ({"modality": ["all", "joint"]}, "found 'all'$"),
        ({"modality": 5}, "found 5$"),
        ({"style": "color"}, "style must be one of arrows, colour; found 'color'; did you mean 'colour'"),
        ({"body": 3}, "body must be one of both, first, second; found 3$"),
        ({"titles": 5}, "titles must be words, found 5$"),
        ({"speed": 0}, "speed must be above 0 up to 10 times real time, found 0$"),
        ({"speed": 10.5}, "speed must be above 0 up to 10 times real time, found 10.5$"),
        ({"speed": "x"}, "speed must be .*, found 'x'$"),
        ({"speed": True}, "speed must be .*, found True$"),
        ({"turn": np.nan}, "turn must be degrees, found nan$"),
        ({"turn": "a"}, "turn must be degrees, found 'a'$"),
        ({"trails": -1}, "trails must be seconds from 0 on, found -1$"),
        ({"trails": np.inf}, "trails must be seconds from 0 on, found inf$"),
        ({"frame_rate": 0}, "frame_rate must be above 0 frames per second, found 0$"),
        ({"frame_rate": "x"}, "frame_rate must be above 0 frames per second, found 'x'$"),
        ({"span": (0,)}, r"span must be two seconds in order within 0 to 1\.97, the clip's; found \(0,\)$"),
        ({"span": ("a", 1)}, "span must be .* found 'a'$"),
        ({"span": (1, 0.5)}, r"span must be .* found \(1, 0\.5\)$"),
        ({"skeleton": "ntu26"}, "did you mean 'ntu25'"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(SettingsError, match=message):
        drawing.Player(clip(), **({"skeleton": "ntu25"} | options))


@pytest.mark.parametrize("given", ["x", None, [[1], [2, 3]], np.array(["a"])], ids=str)
def test_what_is_no_clip_is_refused(given):
    with pytest.raises(
        DataError, match=r"a clip to show must be a Recording, numbers .*; found ('x'|None|a list|an array of <U1, shape .1,.)$"
    ):
        drawing.show(given)
    with pytest.raises(SettingsError, match="the clips of the file; found 'a'"):
        drawing.show((few_clips(), "a"))
    with pytest.raises(SettingsError, match=r"must be \(open clips, number\), found \(int, int, int\)"):
        drawing.show((1, 2, 3))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_a_tensor_plays_with_a_gradient_too(kind):
    tensor = torch.from_numpy(clip()).to(kind).requires_grad_()
    front = drawing.show(tensor, "ntu25", "motion")
    np.testing.assert_array_equal(front.shots[0].joints, scene.bodies(tensor.detach().float().numpy(), "ntu25"))
    assert front.html() and drawing.film_strip(tensor, "ntu25")


def test_whole_numbers_of_numpy_are_numbers():
    front = drawing.Player(clip(), "ntu25", speed=np.float32(2), turn=np.int64(40), frame_rate=np.float64(25))
    assert json.loads(json.dumps(front.data))["speed"] == 2 and front.data["turn"] == 40 and front.data["clips"][0]["rate"] == 25


def test_modalities_without_a_meaning_and_unknown_joints_are_refused():
    with pytest.raises(SettingsError, match="angular_velocity"):
        drawing.show(moving(skeletons.COCO17), modality="angular_velocity")
    with pytest.raises(SettingsError, match=r"0 of the known ones fit a clip of shape \(1, 5, 7, 3\); name one: ntu25 \(25 joints\)"):
        drawing.show(np.ones((1, 5, 7, 3)))
    with pytest.raises(DataError, match=r"bodies, frames, joints, 3"):
        drawing.show(np.ones((5, 25, 3)), "ntu25")


def test_what_is_odd_is_told_below_the_player():
    clip = moving(skeletons.NTU25, 1, 20)
    assert drawing.Player(clip).data["notes"] == []
    (note,) = drawing.Player(1000 * clip).data["notes"]
    assert re.fullmatch(r"bodies of [\d,]+ m: are these millimetres\? Divide them by 1000", note)
    assert drawing.Player(np.zeros((1, 5, 25, 3)), skeleton="ntu25").data["notes"] == ["nobody is there in any frame"]
    glitch = clip.copy()
    glitch[0, 7, 3] = 500
    assert drawing.Player(glitch).data["notes"] == [], "a joint that jumps is another matter"


def test_a_strip_of_millimetres_has_few_ticks():
    figure = drawing.film_strip(1000 * moving(skeletons.NTU25, 1, 20), "ntu25")
    assert 1 < len(figure.axes[0].get_yticks()) < 15


def test_a_still_or_empty_clip_plays():
    for joints in (np.zeros((1, 3, 25, 3)), np.ones((1, 1, 25, 3)), np.ones((2, 30, 25, 3))):
        front = drawing.show(joints, "ntu25", "all")
        assert "NaN" not in json.dumps(front.data) and "Infinity" not in json.dumps(front.data)
        assert front.html()
