"""Exported files say what they are, beside them in a model card, and know when they have been changed."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
import torch
from command_line import call, refused
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from skelmm_core import clips, export, model_card, settings
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


def test_an_onnx_file_that_was_changed_is_told(tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed (pip install skelmm[onnx])")
    pytest.importorskip("onnxscript")
    onnx_file = pytest.importorskip("skelmm_core.onnx_file")
    path = tmp_path / "a.onnx"
    onnx_file.save(path, little(), settings.Pretrain(), "teacher", classifiers=heads(3), classes="abc", data={"clips": 7})
    assert onnx_file.load(path)[1]["data"] == {"clips": 7}
    model = onnx.load(path)
    (title,) = [entry for entry in model.metadata_props if entry.key == "classes"]
    title.value = title.value.replace("a", "x")
    onnx.save(model, path)
    with pytest.raises(CheckpointError, match="a.onnx' is not as it was written"):
        onnx_file.load(path)
    model.metadata_props.remove(next(entry for entry in model.metadata_props if entry.key == "checksum"))
    onnx.save(model, path)
    assert onnx_file.load(path)[1]["classes"] == ["x", "b", "c"], "from before there were checksums"


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
    assert all(joint in card for joint in NTU25.joints) and all(name in card for name in motion.class_names)
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


def test_commands_on_cards_have_no_folders():
    words = ["skelmm", "export", "/home/me/a b.onnx", "--data=/data/utd.clips", "--out", "outputs/utd", "--lr=0.1"]
    assert model_card.portable(words) == "skelmm export 'a b.onnx' --data=utd.clips --out outputs/utd --lr=0.1"


def test_a_bar_in_a_title_does_not_break_the_table():
    assert model_card._table({"title": "left | right\nbelow"}).splitlines()[-1] == "| title | left \\| right below |"
