"""The clips of a file to look through: what is packed against the file, filters of the script against numpy, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import Page
from test_audit import changed, opened, people
from test_player import moving

from skelmm_core import audit, drawing, skeletons
from skelmm_core.audit import page as audit_page
from skelmm_core.drawing import explore_clips, player
from skelmm_core.errors import DataError, SettingsError

WICKED = "<script>alert(1)</script>"


class Many:
    """Clips of three classes, made when asked for."""

    class_names, skeleton, frame_rate, title = (WICKED, "wave", "hug"), skeletons.NTU25, 30.0, WICKED

    def __init__(self, count: int, scale: float = 1.0, word: str = "take"):
        self.scale = scale
        self.labels = np.arange(count, dtype=np.int32) * 7 % 11 % 3
        self.subjects, self.views = np.arange(count) % 5 - 1, np.ones(count, int)
        self.setups = self.repetitions = np.full(count, -1)
        self.frames = 12 + np.arange(count) * 13 % 29
        self.names = [f"{word} {i}" for i in range(count)]

    def __getitem__(self, i: int) -> SimpleNamespace:
        return SimpleNamespace(joints=self.scale * moving(self.skeleton, 1, int(self.frames[i]), seed=i))

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator:
        raise AssertionError("a clip is asked for by its number")


def test_what_is_packed_is_what_the_file_holds():
    clips = Many(90)
    front = drawing.browse(clips, held=9)
    data = json.loads(json.dumps(front.data, allow_nan=False))
    assert data["numbers"] == list(range(90)) == [int(name.split()[1]) for name in data["names"]] and data["total"] == 90
    assert data["frames"] == clips.frames.tolist()
    columns = {column["name"]: column for column in data["columns"]}
    assert list(columns) == ["class", "subject", "view"], "what nobody knows is no filter"
    assert columns["class"]["values"] == clips.labels.tolist() and dict(columns["class"]["words"]) == dict(enumerate(clips.class_names))
    assert dict(columns["subject"]["words"])[-1] == "subject unknown"
    held = [int(number) for number in data["stored"]]
    assert np.bincount(clips.labels[held]).tolist() == [3, 3, 3], "classes in turn"
    for number, place in data["stored"].items():
        clip = data["player"]["clips"][place]
        assert clip == drawing.show((clips, int(number))).data["clips"][0] and clip["frames"] == clips.frames[int(number)]
    assert repr(front) == "Clips to look through: 90 of 90 listed, 9 play"


@settings(max_examples=15)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(1, 70))
def test_fewer_clips_are_among_more(labels, most):
    found, more = explore_clips.spread(np.array(labels), most), explore_clips.spread(np.array(labels), most + 3)
    assert len(found) == min(most, len(labels)) and set(found) <= set(more) and found == sorted(set(found))
    counts = np.bincount(np.array(labels)[found], minlength=7)
    there = np.bincount(labels, minlength=7)
    assert all(counts[c] >= counts.max() - 1 or counts[c] == there[c] for c in range(7) if there[c])


def test_a_large_file_stays_small(monkeypatch):
    clips = Many(30_000, word="S001C001P001R001A001 of a long name")
    monkeypatch.setattr(explore_clips, "HEAVY", 60_000)
    front = drawing.browse(clips, held=60)
    data = front.data
    assert 1000 < len(data["numbers"]) < 30_000 and set(np.diff(np.bincount(clips.labels[data["numbers"]]))) <= {-1, 0, 1}
    assert sum(len(json.dumps(clip)) for clip in data["player"]["clips"]) <= 60_000
    assert len(data["player"]["clips"]) == len(data["stored"]) == len(data["notes"]) >= 3 and len(front.html()) < 1_500_000
    assert len(set(clips.labels[[int(n) for n in data["stored"]]])) == 3, "what does not fit is no class's alone"


def test_it_weighs_less_than_a_megabyte_and_a_half_whatever_the_clips():
    full = explore_clips.LISTED + explore_clips.HEAVY
    assert full + len(player.script()) + len(player.script("explore.js")) + 150_000 < 1_500_000, "with a picture and what the player says"


def test_a_page_is_escaped_and_loads_nothing(tmp_path):
    text = drawing.browse(Many(20), held=4).save(tmp_path / "deep" / "clips.html").read_text()
    page = Page(text)
    assert page.open == [] and [tag for tag, _ in page.tags].count("script") == 1 and text.count("</script>") == 1
    assert not re.search(r"https?:|\bimport\b|@import|<link|fetch\(|XMLHttp", text) and WICKED not in text
    with pytest.raises(SettingsError, match=r"ends in \.html"):
        drawing.browse(Many(20), held=4).save(tmp_path / "clips.png")


def test_chosen_clips_and_what_can_not_be():
    front = drawing.browse(Many(30), chosen=[20, 3, 3, 7], held=2, title="mine")
    assert front.data["chosen"] and not drawing.browse(Many(30), held=2).data["chosen"]
    assert front.data["numbers"] == [3, 7, 20] and front.data["title"] == "mine" and {int(n) for n in front.data["stored"]} < {3, 7, 20}
    for chosen in ([30], [-1], [], [0.5], [[1, 2], [3]], "x", ["a"]):
        with pytest.raises(SettingsError, match="chosen must be numbers of clips, 0 to 29, at least one; found"):
            drawing.browse(Many(30), chosen=chosen)
    for held in (0, "x", 2.5, np.inf):
        with pytest.raises(SettingsError, match="held must be 1 clip or more, a whole number; found"):
            drawing.browse(Many(30), held=held)
    for clip, body, words in (("a", "both", "clip must be 0 to 29"), (0, 3, "body must be one of both, first, second; found 3")):
        with pytest.raises(SettingsError, match=words):
            drawing.check_choice(Many(30), clip, None, body)
    for draw in (drawing.browse, drawing.explore):
        for bad in ("x", None, [1]):
            with pytest.raises(
                SettingsError, match="expected clips that are open, as `open_clips.path.` gives them, found ('x'|None|a list)$"
            ):
                draw(bad)
    with pytest.raises(DataError, match="holds no clip"):
        drawing.browse(Many(0))
    with pytest.raises(DataError, match="look at their units"):
        drawing.browse(Many(3, scale=1e6)).html()


def test_the_kernel_answers_with_the_clip_that_was_asked_for():
    clips = Many(30)
    front = drawing.browse(clips, held=2)
    messenger = front.with_kernel()
    assert f"skelmm-ask-{front.name}" in messenger.question._dom_classes and f'data-skelmm-clips="{front.name}"' in front.html(
        heading=False
    )
    for nonsense in ("x", "30 1", "-1 2"):
        messenger.question.value = nonsense
        assert messenger.answer.outputs == ()

    def told(number: int) -> dict:
        messenger.question.value = f"{number} 1234"
        (answer,) = messenger.answer.outputs
        text = answer["data"]["text/html"]
        assert f'"{front.name}"' in text
        return json.loads(re.search(r'"skelmm-clips", (.*)\)\);</script>$', text)[1])["detail"]

    found = told(17)
    assert found["points"] == [17] and found["player"]["clips"] == drawing.show((clips, 17)).data["clips"]
    clips.scale = 1e30
    assert told(3)["points"] == [3] and " of joint " in told(3)["player"]["problem"], "why it can't be drawn"


def test_clips_of_damaged_coordinates_are_not_drawn():
    assert explore_clips.playable(Many(4), [2, 0]) == [2, 0] and explore_clips.playable(Many(4, scale=1e30), [0, 1]) == []
    assert explore_clips.playable(Many(4, scale=0), [1]) == [1], "nobody is there, and that is to be seen"


@pytest.fixture(scope="module")
def javascript():
    """Runs an expression after the scripts of player and list, and gives its value."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: the script is not compared with Python here (tests/test_browser_report.py runs it)")
    scripts = f"{player.script()}\n{player.script('explore.js')}"

    def run(expression: str):
        done = subprocess.run([node, "-"], input=f"{scripts}\nconsole.log(JSON.stringify({expression}))", capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


ASKED = {"class": "", "subject": "", "view": "", "from": 0, "to": 1000, "words": "", "playable": False, "order": "file"}


@pytest.mark.parametrize(
    "changes",
    [{}, {"class": "1"}, {"class": "0", "subject": "-1"}, {"from": 20, "to": 30}, {"words": " TAKE 2"}, {"playable": True},
     {"order": "here"}, {"class": "1", "order": "here"}, {"subject": "2", "order": "longest"}, {"order": "shortest", "to": 25},
     {"class": "2", "words": "nobody"}],
)  # fmt: skip
def test_the_script_finds_what_numpy_finds(javascript, changes):
    clips = Many(60)
    data, asked = drawing.browse(clips, held=6).data, ASKED | changes
    found = javascript(f"matching({json.dumps(data | {'player': None})}, {json.dumps(asked)})")
    passes = (clips.frames >= asked["from"]) & (clips.frames <= asked["to"])
    for name, column in (("class", clips.labels), ("subject", clips.subjects)):
        passes &= True if asked[name] == "" else column == int(asked[name])
    passes &= np.array([asked["words"].strip().lower() in f"{i}: {name}".lower() for i, name in enumerate(clips.names)])
    passes &= np.array([not asked["playable"] or str(i) in data["stored"] for i in range(60)])
    rows = np.flatnonzero(passes)
    far = np.array([str(i) not in data["stored"] for i in range(60)])
    by = {"file": np.zeros(60), "here": far, "shortest": clips.frames, "longest": -clips.frames}[asked["order"]]
    assert found == rows[np.argsort(by[rows], kind="stable")].tolist() and (len(found) > 0 or changes.get("words"))


def test_the_report_of_a_file_plays_the_clips_that_a_finding_names(tmp_path):
    items = people()
    joints = items[3].joints.copy()
    joints[0, 2, 5] += 3.0  # a hand that is 3 m away for one frame
    file = opened(tmp_path, [*items[:3], changed(items[3], joints=joints, name=WICKED), *items[4:]])
    found = audit.audit(file)
    shown = Page(audit_page.page(found, file))
    assert found.jumps.clips == 1 and found.jumps.worst[0][0] == WICKED
    strips = [attrs["alt"] for tag, attrs in shown.tags if tag == "img" and attrs["alt"].startswith("Player: 3: stand, subject 2, ")]
    assert len(strips) == 1 and shown.open == [] and f"3: {WICKED}: a jump (" in shown.text
    assert not [attrs for tag, attrs in shown.tags if tag == "script" and attrs], "a player's own script and no other"
    still = Page(audit_page.page(audit.audit(opened(tmp_path, items)), opened(tmp_path, items)))
    assert sum(tag == "img" for tag, _ in still.tags) < sum(tag == "img" for tag, _ in shown.tags)
