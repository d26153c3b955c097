"""The clips that the report of a file plays: which, why, at which frame, linked from what names them, and as few bytes as were promised."""

from __future__ import annotations

import numpy as np
import pytest
from pages import Page
from test_audit import changed, opened, people

from skelmm_core import audit
from skelmm_core.audit import page, worst
from skelmm_core.clips import Clips
from skelmm_core.recordings import Recording

OWN = "odd-even-subjects"
WICKED = '<script>alert("$x")</script>'


def damaged(tmp_path) -> Clips:
    """26 clips: 3 has a hand that jumps at frame 2, 5 is frozen from frame 4 on, 7 has nobody in its last frames, 24 is 0 again and leaks,
    25 is 9 again and does not."""
    items = people()
    items[3].joints[0, 2, 5] += 3.0
    for i in (5, 7):
        long = np.concatenate([items[i].joints, items[i].joints + 0.001], axis=1)
        items[i] = changed(items[i], joints=long)
    items[5].joints[0, 4:] = items[5].joints[0, 4]
    items[7].joints[0, 5:] = 0
    items += [changed(items[0], name=WICKED, subject=2), changed(items[9], name="again", subject=items[9].subject)]
    return opened(tmp_path, items)


def test_the_worst_of_every_finding_plays_once(tmp_path):
    clips = damaged(tmp_path)
    found = audit.audit(clips)
    shown = {one.numbers: one for one in worst.watched(found, clips)}
    assert set(shown) == {(0, 24), (3,), (5,), (7,), (9, 25)} and next(iter(shown)) == (0, 24), "what leaks comes first"
    leak = f"a leak in protocol {OWN}, 0 trains, 24 tests"
    assert shown[0, 24].why == {f"leaks in {OWN}": (leak, None), "duplicates": ("the same coordinates", None)}, "once for both"
    assert shown[9, 25].why == {"duplicates": ("the same coordinates", None)}
    assert shown[3,].why["jumps"] == ("a jump (fastest joint 156 m/s)", 2) and shown[3,].why["odd_bones"][1] == 2
    assert shown[5,].why["frozen"] == ("a body that does not move (50 %)", 4) and shown[7,].why["empty"][1] == 5
    assert shown[7,].play(clips)[1] == "7: clip7: frames without a body (81 %) at 0.17 s"
    assert [one.numbers for one in worst.watched(found, clips, each=1)] == [(0, 24), (7,), (5,), (3,)], "one of each kind"
    assert [one.numbers for one in worst.watched(found, clips, most=2)] == [(0, 24), (7,)]


def test_findings_warnings_and_tables_lead_to_the_clips(tmp_path):
    clips = damaged(tmp_path)
    found = audit.audit(clips)
    text = page.page(found, clips)
    shown = Page(text)
    places = [attrs["id"] for tag, attrs in shown.tags if tag == "figure" and "id" in attrs]
    links = [attrs["href"] for tag, attrs in shown.tags if tag == "a"]
    assert shown.open == [] and len(set(places)) == len(places) and {link.removeprefix("#") for link in links} == set(places)
    assert {"clip-0-24", "clip-3", "clip-5", "clip-7"} <= set(places) and places.count("clip-9-25") == 1

    leak = text.partition("leak in protocol odd-even")[2].partition("</li>")[0]
    assert leak.endswith('<a class="play" href="#clip-0-24">▶ 0 and 24</a>')
    rows = {row.partition("</td>")[0].partition("<td>")[2]: row for row in text.partition("What was found")[2].split("<tr>")[1:]}
    for name, anchor in (("jumps", "clip-3"), ("frozen", "clip-5"), ("empty", "clip-7"), ("duplicates", "clip-9-25")):
        assert f'href="#{anchor}"' in rows[name].partition("</tr>")[0], name
    assert 'href="#' not in rows["classes"].partition("</tr>")[0]
    for name, anchor in (("clip3", "clip-3"), ("clip5", "clip-5"), ("clip7", "clip-7")):
        assert f'href="#{anchor}"' in rows[name].partition("</tr>")[0], "a row of the folded table"
    train_and_test = text.partition("leaks in odd-even-subjects: 1")[2].partition("</table>")[0]
    assert 'href="#clip-0-24"' in train_and_test

    players = [part.partition("</figure>")[0] for part in text.split('<figure id="clip-')[1:]]
    assert all(len(part) < 100_000 for part in players) and len(players) == len(places) <= worst.PLAYERS
    by_place = dict(zip(places, players, strict=True))
    assert '"title":"3: stand, subject 2, view 1"' in by_place["clip-3"] and '"heading":"3: stand' in by_place["clip-3"]
    assert '"title":"0: sit, subject 1, view 1 | 24: sit, subject 2, view 1"' in by_place["clip-0-24"]
    assert WICKED not in text and "http" not in text
    assert not [attrs for tag, attrs in shown.tags if tag == "script" and attrs or tag in ("link", "iframe")]


def test_a_sound_file_has_no_players(tmp_path):
    items = [changed(item, joints=item.joints[:, :1].repeat(9, axis=1) + 0.001 * np.arange(9)[:, None, None]) for item in people()]
    clips = opened(tmp_path, items)
    found = audit.audit(clips)
    assert worst.watched(found, clips) == [] and {tag for tag, _ in Page(page.page(found, clips)).tags} & {"script", "a"} == set()


@pytest.mark.parametrize("copies", [1, 2])
def test_of_a_long_clip_the_part_plays_where_it_is_damaged(tmp_path, copies):
    rng = np.random.default_rng(0)
    items = people()
    joints = rng.normal(0, 0.3, (2, 1, 25, 3)) + np.cumsum(rng.normal(0, 0.02, (2, 900, 25, 3)), axis=1)
    joints[0, 700, 5] = joints[0, 699, 5] + [0, 4.0, 0]
    items += [Recording(joints.astype(np.float32), 0, f"long{i}", i + 1, 1, 1, 9) for i in range(copies)]
    clips = opened(tmp_path, items)
    found = audit.audit(clips)
    one = next(one for one in worst.watched(found, clips) if one.numbers == ((24,) if copies == 1 else (24, 25)))
    player, words = one.play(clips)
    shot, count = player.shots[0], len(player.shots[0].joints[0])
    assert len(player.html()) < 100_000 and len(player.shots) == copies and len(player.still) > 5_000 and count >= 20
    assert all(other.begin == shot.begin and len(other.joints[0]) == count for other in player.shots), "in step"
    if copies == 1:
        frame = one.why["jumps"][1]
        assert frame in (699, 700) and shot.begin <= frame < shot.begin + count
        np.testing.assert_array_equal(shot.joints, clips.joints_of(24)[:, shot.begin : shot.begin + count])
        assert f"a jump (fastest joint 120 m/s) at {(frame - shot.begin) / 30:.2f} s" in words


def test_what_is_too_wide_to_be_drawn_is_left_to_the_next(tmp_path):
    items = people()
    items[3].joints[0, 2:, 5] += 9e5
    items[6].joints[0, 2:, 5] += 3.0
    clips = opened(tmp_path, items)
    found = audit.audit(clips)
    assert [name for name, *_ in found.jumps.worst] == ["clip3", "clip6"]
    assert [one.numbers for one in worst.watched(found, clips) if "jumps" in one.why] == [(6,)]


def test_nobody_and_two_frames_are_to_be_seen_too(tmp_path):
    items = people()
    items[1].joints[:] = 0
    items[2] = changed(items[2], joints=items[2].joints[:, :2])
    clips = opened(tmp_path, items)
    found = audit.audit(clips)
    assert {one.numbers: set(one.why) for one in worst.watched(found, clips)} == {(1,): {"vacant"}, (2,): {"brief"}}
    text = page.page(found, clips)
    for words, anchor in (("no body at all in 1 clip: clip1", "clip-1"), ("fewer than 3 frames", "clip-2")):
        assert f'href="#{anchor}"' in text.partition(f"<li>{words}")[2].partition("</li>")[0], words
    assert '<figure id="clip-1"><div data-skelmm=' in text and "2: clip2: few frames (2)</figcaption>" in text
