"""Names and titles that can't be printed get neither from a source into a file, nor out of an older file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import call, refused

from skelmm_core import clips
from skelmm_core.errors import DataError
from skelmm_core.recordings import Dropped, Recording, Source, as_given, check
from skelmm_core.skeletons import KINECT20


def source(**changes) -> Source:
    joints = np.random.default_rng(0).uniform(-0.8, 0.8, (1, 4, 20, 3)).astype("f4")
    items = [Recording(joints, i, f"clip {i}", subject=i) for i in range(2)]
    return replace(Source("abcdef", KINECT20, ("abcdefg", "b"), 30.0, "odd-even-subjects", "f" * 64, items, as_given), **changes)


HOSTILE = {
    "a line": "a\n\n## Licence\n\nPublic domain", "a terminal's control": "\x1b]0;title\x07", "one of eight bits": "\x9b31m",
    "backwards": "\u202eabc", "a separator": "a\u2028b", "half a character": "\udcff", "nothing": "a\0b",
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("what", ["title", "protocol", "name of class 1"])
def test_sources_with_texts_that_can_not_be_printed_are_refused(text, what):
    changes = {"class_names": ("a", text)} if what.startswith("name") else {what: text}
    with pytest.raises(DataError) as error:
        source(**changes)
    assert f"the data set: the {what} must be printable characters on one line, found {ascii(text)}" in str(error.value)
    assert str(error.value).isprintable()


def test_other_languages_and_signs_are_names():
    names = ("trinken (müde) | <b>", "飲む", "пить", "=1+1", "")
    assert source(class_names=names, title="données n° 1").class_names == names


def test_what_is_said_of_a_clip_can_be_printed():
    item = replace(source().items[0], name="\x1b[2Jx")
    with pytest.raises(DataError, match=r"clip '\\x1b\[2Jx': the name is empty or holds unprintable") as error:
        check(item, source())
    dropped = Dropped(item.name, f"{error.value}\r\n")
    assert (dropped.name, dropped.reason) == ("\\x1b[2Jx", f"{error.value}\\r\\n")
    assert replace(dropped) == dropped and Dropped("flicken ü", "it's").name == "flicken ü", "escapes are made once, and only where needed"


def patched(path: Path, old: bytes, new: bytes) -> Path:
    """A clips file as an older version could have written it."""
    clips.write(path, source(), progress=False)
    content = path.read_bytes()
    assert content.count(old) == 1 and len(old) == len(new)
    path.write_bytes(content.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"abcdefg", rb"\\u001b", r"the name of class 0 must be printable .* found '\\x1b'"),
        (b'"abcdef"', rb'"\u202e"', r"the title must be .* found '\\u202e'"),
        (b'"odd-even-subjects"', rb'"\u000add-even-sub"', r"the protocol must be .* found '\\ndd-even-sub'"),
        (b"clip 1", b"cl\x1b[2J"[:6], "a clip's name with characters that can't be printed"),
    ],
)
def test_older_files_with_such_names_are_refused(tmp_path, capsys, old, new, words):
    path = patched(tmp_path / "old.clips", old, new)
    with pytest.raises(DataError, match=f"old.clips'.*{words}"):
        clips.open_clips(path)
    assert refused(capsys, "info", path).removesuffix("\n").isprintable()


def test_the_same_files_open_with_other_names(tmp_path, capsys):
    path = patched(tmp_path / "old.clips", b"abcdefg", b"<b>|=x`")
    assert clips.open_clips(path).class_names == ("<b>|=x`", "b")
    assert "2 clips" in call(capsys, "info", path)
