"""Exported files say what they are, beside them in a model card, and know when they have been changed."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import call, refused
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from safetensors import safe_open
from safetensors.torch import save_file

from skelmm_core import cli, clips, export, model_card, settings
from skelmm_core.encoder import Branches, Encoder, EncoderShape
from skelmm_core.errors import CheckpointError, DataError, SkelmmError
from skelmm_core.skeletons import NTU25
from skelmm_core.sources import sample


def little() -> Branches:
    return Branches({name: Encoder(NTU25, EncoderShape(2, 8, 4)) for name in ("joint", "bone")})


def heads(classes: int) -> export.Classifiers:
    return torch.randn(2, 8, classes), torch.randn(2, 1, classes)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> tuple[Path, dict]:
    """An exported teacher with classes, and what `evaluate --json` says of the same stage."""
    folder = tmp_path_factory.mktemp("card")
    clips.write(folder / "motion.clips", sample.read(performers=2, repetitions=1, cameras=1))
    return folder / "teacher.safetensors", {"data": folder / "motion.clips", "out": folder / "out"}


@pytest.fixture
def where(exported) -> tuple:
    return ("--data", exported[1]["data"], "--out", exported[1]["out"], "--smoke", "--modalities", "joint,bone", "--device", "cpu")


# The seal


def test_a_file_holds_the_sha256_of_itself_unsealed(tmp_path):
    path = tmp_path / "a.safetensors"
    export.save(path, little(), settings.Pretrain(), "teacher")
    with safe_open(path, "pt") as file:
        seal = file.metadata()["checksum"]
    unsealed = re.sub(rb"sha256:[0-9a-f]{64}", b"sha256:" + 64 * b"0", path.read_bytes())
    assert seal == "sha256:" + hashlib.sha256(unsealed).hexdigest()


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> tuple[Path, bytes]:
    path = tmp_path_factory.mktemp("seal") / "a.safetensors"
    export.save(path, little(), settings.Pretrain(), "teacher", classifiers=heads(3), classes="abc")
    return path, path.read_bytes()


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@tries(max_examples=60)
def test_one_flipped_bit_among_the_weights_is_told(content, place, bit):
    path, whole = content
    begin = 8 + int.from_bytes(whole[:8], "little")
    damaged = bytearray(whole)
    damaged[begin + int(place * (len(whole) - begin))] ^= 1 << bit
    path.with_name("b.safetensors").write_bytes(damaged)
    with pytest.raises(CheckpointError, match="b.safetensors' is not as it was written.* export it again"):
        export.load(path.with_name("b.safetensors"))


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_in_the_header_is_an_error_or_changes_nothing(content, place, bit):
    path, whole = content
    damaged = bytearray(whole)
    damaged[int(place * (8 + int.from_bytes(whole[:8], "little")))] ^= 1 << bit
    path.with_name("c.safetensors").write_bytes(damaged)
    try:
        found, about, _ = export.load_all(path.with_name("c.safetensors"))
    except SkelmmError:
        return
    expected, told, _ = export.load_all(path)  # the name of the checksum itself was hit
    assert about == told and all(torch.equal(t, found.state_dict()[name]) for name, t in expected.state_dict().items())


def test_files_from_before_there_were_checksums_are_read(tmp_path):
    path, branches = tmp_path / "a.safetensors", little()
    export.save(path, branches, settings.Pretrain(), "student", "old clips")
    with safe_open(path, "pt") as file:
        metadata = {k: v for k, v in file.metadata().items() if k not in ("checksum", "classes", "bodies", "data")}
        save_file({name: file.get_tensor(name) for name in file.keys()}, tmp_path / "old.safetensors", metadata)  # noqa: SIM118
    back, about, classifiers = export.load_all(tmp_path / "old.safetensors")
    assert about["trained_on"] == "old clips" and "classes" not in about and classifiers is None
    assert all(torch.equal(t, back.state_dict()[name]) for name, t in branches.state_dict().items())


def test_classifiers_come_back_with_their_names(tmp_path):
    weight, bias = heads(3)
    export.save(tmp_path / "a.safetensors", little(), settings.Pretrain(), "teacher", "clips", 1, (weight, bias), "abc", {"clips": 7})
    _, about, back = export.load_all(tmp_path / "a.safetensors")
    assert about["classes"] == list("abc") and about["bodies"] == 1 and about["data"] == {"clips": 7}
    assert torch.equal(back[0], weight) and torch.equal(back[1], bias)
    with pytest.raises(DataError, match="name of every class.* found 2"):
        export.save(tmp_path / "b.safetensors", little(), settings.Pretrain(), "teacher", classifiers=(weight, bias), classes="ab")


# The card


def test_the_card_says_what_evaluation_says(exported, where, capsys):
    path, place = exported
    shown = call(capsys, "export", "pretrain", path, "--classes", *where)
    assert f"{path}.md: model card" in shown
    card = Path(f"{path}.md").read_text()
    told = json.loads(call(capsys, "evaluate", "pretrain", "--json", *where))
    own, untrained = told["scores"]["pretrain"], told["scores"]["untrained"]
    assert f"| joint and bone, fused (late) | {own['linear']:.1f} | {own['knn']:.1f} |" in card
    assert f"| untrained, fused | {untrained['linear']:.1f} | {untrained['knn']:.1f} |" in card
    assert f"| raw coordinates, nearest training clip | | {told['raw_1nn']:.1f} |" in card
    assert f"Percent of the {own['clips']} test clips" in card and f"{told['cost']['gflops']:.2f} GFLOP" in card
    motion = clips.open_clips(place["data"])
    assert motion.content in card and "17 clips train, 17 test" in card and "Toy sizes" in card
    assert hashlib.sha256(path.read_bytes()).hexdigest() in card
    assert "**Trained on generated motion**" in card and "MIT licence" in card and "bound by the data's own terms" in card
    assert all(joint in card for joint in NTU25.joints) and all(model_card._plain(name) in card for name in motion.class_names)
    assert '- `modalities`: `"joint,bone"`' in card and "`epochs`" not in card, "what differs from the preset, and no more"
    assert "skelmm export pretrain teacher.safetensors --classes --data motion.clips --out out" in card
    assert str(path.parent) not in card, "nothing of this machine goes along"


def test_figures_can_be_left_out(exported, where, capsys, tmp_path):
    call(capsys, "export", "pretrain", tmp_path / "a.safetensors", "--no-metrics", *where)
    card = (tmp_path / "a.safetensors.md").read_text()
    assert "Not computed (`--no-metrics`)" in card and "skelmm predict" not in card and "classes" not in card.partition("## Input")[2]


def test_a_text_of_somebody_else_is_not_written_over(where, capsys, tmp_path):
    (tmp_path / "a.safetensors.md").write_text("my notes")
    message = refused(capsys, "export", "pretrain", tmp_path / "a.safetensors", *where)
    assert "the place of the model card, is there already" in message and not (tmp_path / "a.safetensors").exists()
    assert (tmp_path / "a.safetensors.md").read_text() == "my notes"


@pytest.mark.parametrize("when", ["save", "write"])
def test_an_export_that_is_killed_leaves_no_card_of_another_file(where, tmp_path, monkeypatch, when):
    """Before the new file is in its place the old one and its card are there; after it, the new one: a card that is not of it never is."""
    path = tmp_path / "a.safetensors"
    words = ["export", "pretrain", str(path), "--no-metrics", *map(str, where)]
    cli.main(words)
    old, card = path.read_bytes(), model_card.beside(path)
    assert card.exists()

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(*((export, "load_all") if when == "save" else (model_card, "write")), killed)
    with pytest.raises(SystemExit):
        cli.main([*words, "--classes"])
    assert card.exists() == (path.read_bytes() == old) == (when == "save")
    assert len(list(tmp_path.iterdir())) == 1 + (when == "save"), "and nothing else is left"


def test_an_export_that_does_not_come_back_spares_what_was_there(tmp_path, monkeypatch):
    path, s = tmp_path / "a.safetensors", settings.resolve("distill", "small", frames=12, modalities="joint")
    made = [Branches({"joint": Encoder(NTU25, EncoderShape(2, 8, 4))}) for _ in range(2)]
    export.save(path, made[0], s, "student")
    old = path.read_bytes()
    monkeypatch.setattr(export, "load_all", lambda _: (made[0], {}, None))
    with pytest.raises(CheckpointError, match="gives other numbers back than were written .* is the disk sound"):
        export.save(path, made[1], s, "student")
    assert path.read_bytes() == old and not list(tmp_path.glob(".*"))


def test_commands_on_cards_have_no_folders():
    words = ["skelmm", "export", "/home/me/a b.onnx", "--data=/data/utd.clips", "--out", "outputs/utd", "--lr=0.1"]
    assert model_card.portable(words) == "skelmm export 'a b.onnx' --data=utd.clips --out outputs/utd --lr=0.1"


HOSTILE = (
    "a\n\n## Licence\n\nPublic domain <img src=x onerror=alert(1)> ![t](http://evil.example/x.png) | `b` | *c* ~~d~~ &lt; \\",
    "\x1b[31mred\r\n---\n<script>alert(1)</script>",
    "`",
    "[x]: http://evil.example",
    "\\| e |",
)


def hostile_facts(title: str, **changes) -> model_card.Facts:
    joints = tuple(f"{i} <b>*|`" for i in range(25))
    data = {"title": title, "content": title, "clips": 4, "train": 2, "test": 2, "protocol": title, "generated": False, "frame_rate": 30.0}
    score = {"linear": 1.0, "knn": 2.0}
    results = {
        "scores": {"own": {**score, "fusion": title, "clips": 2, "streams": {title: score, "b": score}}, title: score},
        "raw_1nn": 3.0, "settings": {"neighbours": 1, "seed": 0}, "signs_of_failure": [title],
        "cost": {"parameters": 1, "gflops": 1.0, "milliseconds": 1.0},
    }  # fmt: skip
    facts = model_card.Facts(
        title, title, (title, "bone"), replace(NTU25, name="<u>`|", joints=joints), 2, HOSTILE, data | {"median_frames": 9.0}, title, False,
        {title: title}, {"frames": 9, "smooth": 0, "trim": 0.1, "view": "clip"}, results, ["skelmm", title],
    )  # fmt: skip
    return replace(facts, **changes)


def rendered(card: str) -> tuple[list[str], set[str], str]:
    """Headings, kinds of everything, and the text of a card, by a reader of Markdown that lets HTML through."""
    markdown = MarkdownIt("commonmark", {"html": True})
    tokens = markdown.enable(["table", "strikethrough"]).parse(card.removeprefix(model_card.HEAD))
    inside = [part for token in tokens for part in token.children or ()]
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open" and token.tag == "h2"]
    return headings, {token.type for token in [*tokens, *inside]}, "".join(part.content for part in inside)


SECTIONS = ["Intended use", "Data", "Recipe", "Input and output", "Results", "Cost", "Licence", "Origin"]


@pytest.mark.parametrize("title", HOSTILE)
def test_names_add_nothing_to_a_card_but_their_text(title):
    headings, kinds, shown = rendered(model_card.text(f"{title}.safetensors", title, 1, hostile_facts(title)))
    assert headings == SECTIONS
    assert not kinds & {"html_inline", "html_block", "image", "link_open", "em_open", "s_open", "hr"}
    plain = " ".join("".join(c if c.isprintable() else " " for c in title).split())
    for name in (plain, "[x]: http://evil.example", "24 <b>*|`", "<u>`|", "&lt;"):
        assert name in shown, "what was written is what is read"


def test_what_is_looked_for_in_cards_is_found_in_one_that_is_not_escaped(monkeypatch):
    monkeypatch.setattr(model_card, "_plain", str)
    headings, kinds, _ = rendered(model_card.text("a.safetensors", "0", 1, hostile_facts(HOSTILE[0])))
    assert headings.count("Licence") > 1 and {"html_inline", "image", "em_open"} <= kinds


@given(text=st.text(alphabet=st.sampled_from("\\`*_{}[]()#+!<>|~&$ab1.-=: \n\r\t\x1b\u2028"), max_size=20))
@tries(max_examples=200)
def test_any_text_stays_one_cell_of_a_table(text):
    markdown = MarkdownIt("commonmark", {"html": True})
    for write in (model_card._plain, model_card._code):
        tokens = markdown.enable("table").parse(model_card._table({"key": write(text), "next": "row"}))
        cells = [token for token in tokens if token.type == "inline"][-4:]
        assert [cell.content for cell in cells[::3]] == ["key", "row"] and cells[2].content == "next"
        kinds = {part.type for part in cells[1].children or ()}
        assert kinds <= {"text", "text_special", "code_inline"}
        assert "".join(part.content for part in cells[1].children or ()) == model_card._line(text)
