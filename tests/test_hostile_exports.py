"""Exported files that somebody made to do harm: told in words, before memory is asked for; honest and older files are read as ever."""

from __future__ import annotations

import dataclasses
import json
import resource
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from test_model_card import heads, little

from skelmm_core import about, clips, export, onnx_file, predicting, settings
from skelmm_core.encoder import EncoderShape
from skelmm_core.errors import CheckpointError, SettingsError, SkelmmError
from skelmm_core.skeletons import NTU25, SKELETONS
from skelmm_core.sources import sample
from skelmm_core.streaming import Stream

DEEP = 100_000 * "[" + 100_000 * "]"
S = settings.resolve("distill", "small", frames=12, modalities="joint,bone")
FACTS = {"title": "clips", "content": "0", "protocol": "", "frame_rate": 30.0, "generated": False, "clips": 7}


def shaped(**changes: Any) -> str:
    return json.dumps(dataclasses.asdict(EncoderShape(2, 8, 4)) | changes)


def set_to(**changes: Any) -> str:
    return json.dumps(dataclasses.asdict(S) | changes)


# What both kinds may claim: entry, value (None: it is not there), what is told
CLAIMS = [
    ("role", "\x1b[2J", r"'role' must be printable text, found \\x1b\[2J"),
    ("role", None, "lacks the entry 'role'"),
    ("trained_on", None, "lacks the entry 'trained_on'"),
    ("checksum", "s", "'checksum' must be sha256: and 64 digits, found s"),
    ("modalities", "[]", "'modalities' must be a list of names"),
    ("modalities", '"joint"', "'modalities' must be a list of names, found joint"),
    ("modalities", "[1]", "'modalities' must be a list of names, found a list of 1"),
    ("modalities", '["joint\\u001b"]', r"'modalities' must be .*unknown modality 'joint\\x1b'"),
    ("modalities", DEEP, "'modalities' must be JSON, found something else .*recursion"),
    ("settings", "[]", "'settings' must be a table, found a list of 0"),
    ("settings", "{", "'settings' must be JSON"),
    ("settings", set_to(frames=10**9), "'settings.frames' must be at most 20000 for 25 joints, found 1000000000"),
    ("settings", set_to(frames="x"), "'settings' must be .*'frames' must be int, found str 'x'"),
    ("settings", set_to(smooth=1e9), "'settings' must be .*'smooth' must be between 0 and 100"),
    ("settings", set_to(smooth=10**400), "'settings' must be"),
    ("settings", set_to(skeleton="mine.toml"), "'settings' must be .*'skeleton' must be 'native', the name of a built-in"),
    ("settings", set_to(skeleton="{" + DEEP), "'settings' must be"),
    ("skeleton", "[]", "'skeleton' must be a table"),
    ("skeleton", "{}", "'skeleton' must be .*lacks the fields"),
    ("skeleton", json.dumps(NTU25.to_dict() | {"joints": 3}), "'skeleton' must be .*'joints' must be a list of names, found 3"),
    ("skeleton", json.dumps(NTU25.to_dict())[:-1] + ', "edges": ' + 400 * "[" + 400 * "]" + "}", "'skeleton' must be"),
    ("versions", "[]", "'versions' must be a table of texts"),
    ("versions", '{"torch": 2}', "'versions' must be a table of texts"),
    ("bodies", "1000000000000", "'bodies' must be a whole number from 1 to 2, found 1000000000000"),
    ("bodies", '"x"', "'bodies' must be a whole number from 1 to 2, found x"),
    ("bodies", "-1", "'bodies' must be a whole number from 1 to 2, found -1"),
    ("bodies", "true", "'bodies' must be a whole number from 1 to 2, found True"),
    ("bodies", 5000 * "9", "'bodies' must be JSON"),
    ("classes", '"abc"', "'classes' must be a list of names, found abc"),
    ("classes", "{}", "'classes' must be a list of names"),
    ("data", "[]", "'data' must be a table, found a list of 0"),
    ("data", "null", "'data' must be a table, found None"),
    ("data", DEEP, "'data' must be JSON, found something else .*recursion"),
    ("data", '{"frame_rate": "x"}', "'data.frame_rate' must be a number from 0 on, found x"),
    ("data", '{"frame_rate": NaN}', "'data.frame_rate' must be a number from 0 on, found nan"),
    ("data", '{"title": 3}', "'data.title' must be text, found 3"),
]  # fmt: skip
SAFETENSORS = [
    ("head_width", "100000000000", "'head_width' must be a whole number from 1 to 1048576, found 100000000000"),
    ("head_width", "-5", "'head_width' must be a whole number from 1 to"),
    ("head_width", None, "lacks the entry 'head_width'"),
    ("head_width", "1000000", r"does not fit this model .*other shapes \['bone.head.0.bias: \(8,\) instead of \(1000000,\)"),
    ("shape", "[]", "'shape' must be a table"),
    ("shape", shaped(hidden=10**9), "'shape.hidden' must be a whole number from 1 to 1048576, found 1000000000"),
    ("shape", shaped(features=10**6), "does not fit this model|classifiers must be float32 of shape"),
    ("shape", shaped(embedding=10**6), r"does not fit this model .*other shapes .*\(1000000,"),
    ("shape", shaped(hidden=10**6), "does not fit this model .*other shapes"),
    ("shape", shaped(hidden="x"), "'shape.hidden' must be a whole number from 1 to 1048576, found x"),
    ("shape", shaped(embedding="x"), "'shape.embedding' must be a whole number"),
    ("shape", shaped(embedding=4.0), "'shape.embedding' must be a whole number"),
    ("shape", shaped(dropout="x"), "'shape.dropout' must be a number from 0 to 1"),
    ("shape", shaped(bodies=[]), "'shape.bodies' must be 'all' or 'present'"),
    ("shape", shaped(more=1), "'shape' must be a table of hidden, .*found more"),
    ("modalities", '["joint"]', r"does not fit|classifiers must be float32 of shape \(1, 8, 3\) and \(1, 1, 3\)"),
    ("classes", '["a"]', r"classifiers must be float32 of shape \(2, 8, 1\) .*, found torch.float32 \(2, 8, 3\)"),
    ("classes", "[]", r"does not fit this model .*unexpected \['classifier.bias'"),
    ("settings", set_to(segments=3), r"classifiers must be float32 of shape \(2, 32, 3\)"),
]  # fmt: skip
ONNX = [
    ("bodies", None, "lacks the entry 'bodies'"),
    ("example", "{}", "'example' must be a list of numbers, found a table of 0"),
    ("example", "[]", "'example' must be a list of numbers"),
    ("example", '["x"]', "'example' must be a list of numbers"),
    ("example", "[" + 400 * "9" + "]", "'example' must be a list of numbers"),
    ("example", "[NaN]", "'example' must be a list of numbers"),
    ("example", "[1]", "its own example: onnxruntime gives other numbers"),
    ("classes", '["a", "b"]', r"logits of 2 classes for one clip, found .*'logits': \(1, 3\)"),
    ("modalities", '["joint"]', r"expected features \(1, 1, width\)"),
    ("skeleton", json.dumps(SKELETONS["kinect20"].to_dict()), r"onnxruntime can't compute \(1, 2, 20, 20, 3\)"),
]  # fmt: skip


def ident(claim: object) -> str:
    return str(claim)[:30].encode("unicode_escape").decode() if claim is None or isinstance(claim, str) else ""


# safetensors


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("exports") / "a.safetensors"
    export.save(path, little(), S, "teacher", "clips", 2, heads(3), "abc", FACTS)
    return path.read_bytes()


def metadata_of(content: bytes) -> dict[str, str]:
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]


def rewritten(content: bytes, state: dict[str, torch.Tensor] | None = None, **changes: str | None) -> bytes:
    """The same file with other metadata (None: without that entry) and tensors, under a checksum that is right."""
    told = metadata_of(content) | {"checksum": export.UNSEALED} | changes
    return export.sealed(save_tensors(load_tensors(content) if state is None else state, {k: v for k, v in told.items() if v is not None}))


@pytest.mark.parametrize(("entry", "value", "words"), CLAIMS + SAFETENSORS, ids=ident)
def test_what_a_safetensors_file_claims_is_checked(whole, tmp_path, entry, value, words):
    path = tmp_path / "a.safetensors"
    path.write_bytes(rewritten(whole, **{entry: value}))
    with pytest.raises(CheckpointError, match=f"a.safetensors.*({words})") as told:
        predicting.load(path)
    assert str(told.value).isprintable() and len(str(told.value)) < 1000


def test_no_memory_is_asked_for_before_sizes_are_compared(whole, tmp_path):
    """Claims that would take 400 GB to build, and a deceit: biases of that size, in a file that lacks the weights."""
    path, state = tmp_path / "a.safetensors", load_tensors(whole)
    path.write_bytes(rewritten(whole, head_width=str(about.WIDEST), shape=shaped(embedding=100_000), classes=None))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="does not fit this model"):
        export.load(path)
    state = {name: t for name, t in state.items() if not name.endswith("head.0.weight")}
    state |= {f"{name}.head.0.bias": torch.zeros(about.WIDEST) for name in ("joint", "bone")}
    path.write_bytes(rewritten(whole, state, head_width=str(about.WIDEST)))
    with pytest.raises(CheckpointError, match=r"missing \['bone.head.0.weight'"):
        export.load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000, "kilobytes"


def test_tensors_of_another_type_are_told(whole, tmp_path):
    path, state = tmp_path / "a.safetensors", load_tensors(whole)
    for name in ("joint.head.0.bias", "classifier.bias"):
        path.write_bytes(rewritten(whole, state | {name: state[name].long()}))
        with pytest.raises(CheckpointError, match="must be (torch.)?float32.*found .*torch.int64"):
            export.load(path)


@given(
    entry=st.sampled_from(sorted(about.ENTRIES)),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    ),
)
@tries(max_examples=40, deadline=None)
def test_whatever_an_entry_is_there_is_an_error_or_a_model(whole, tmp_path_factory, entry, value):
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(rewritten(whole, **{entry: value if entry in about.TEXTS and isinstance(value, str) else json.dumps(value)}))
    try:
        predicting.load(path).probabilities(np.ones((1, 5, 25, 3)))
    except SkelmmError as told:
        assert str(told).isprintable()


def test_honest_and_older_files_are_read(whole, tmp_path):
    path, state = tmp_path / "a.safetensors", load_tensors(whole)
    path.write_bytes(rewritten(whole))
    joints = np.random.default_rng(0).normal(size=(1, 20, 25, 3)).astype("f4")
    expected = predicting.load(path).probabilities(joints)
    plain = {name: t for name, t in state.items() if not name.startswith("classifier")}
    few = {name: getattr(S, name) for name in ("frames", "view")}  # of a version with fewer settings
    path.write_bytes(rewritten(whole, plain, bodies=None, data=None, classes=None, checksum=None, settings=json.dumps(few | {"gone": 1})))
    branches, told = export.load(path)
    assert sorted(told) == ["role", "settings", "trained_on", "versions"]
    assert all(torch.equal(t, plain[name]) and t.device.type == "cpu" for name, t in branches.state_dict().items())
    assert not branches.training and all(p.requires_grad for p in branches.parameters())
    path.write_bytes(rewritten(whole, data=None, checksum=None))
    model = predicting.load(path)
    assert np.array_equal(model.probabilities(joints), expected) and model.data == {"title": "", "protocol": ""}
    path.write_bytes(rewritten(whole, bodies=None))
    with pytest.raises(CheckpointError, match="does not say for how many bodies"):
        predicting.load(path)
    path.write_bytes(rewritten(whole, bodies=None, shape=shaped(bodies="present")))
    assert predicting.load(path).bodies == 2


# ONNX


def node(*words: Any, **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(*words, **attributes)


@pytest.fixture(scope="module")
def graph() -> Any:
    """A model of two streams, eight features and three classes, written by hand, with the metadata of an exported one."""
    for name in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name, reason=f"{name} is not installed (pip install skelmm[onnx])")
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    constants = {"wide": rng.normal(size=(1, 2, 8)).astype("f4"), "weight": rng.normal(size=(8, 3)).astype("f4"),
                 "rest": np.array([1, 2, 3, 4]), "shape": np.array([-1, 1, 1]), "streams": np.array([1])}  # fmt: skip
    nodes = [node("ReduceMean", ["joints", "rest"], ["mean"]), node("Reshape", ["mean", "shape"], ["one"]),
             node("Mul", ["one", "wide"], ["features"]), node("ReduceMean", ["features", "streams"], ["all"], keepdims=0),
             node("MatMul", ["all", "weight"], ["logits"])]  # fmt: skip
    shapes = {"joints": ("n", "m", "t", 25, 3), "features": ("n", 2, 8), "logits": ("n", 3)}
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    made = helper.make_graph(nodes, "g", infos[:1], infos[1:], [numpy_helper.from_array(x, name) for name, x in constants.items()])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=onnx.IR_VERSION_2024_3_25)
    mean = np.random.default_rng(0).standard_normal((1, 2, 20, 25, 3), np.float32).mean()
    told = {"format": onnx_file.FORMAT, "role": "teacher", "trained_on": "clips", "modalities": '["joint", "bone"]',
            "settings": set_to(), "skeleton": json.dumps(NTU25.to_dict()), "bodies": "2", "classes": '["a", "b", "c"]', "versions": "{}",
            "example": json.dumps((mean * constants["wide"]).flatten().tolist()), "data": json.dumps(FACTS)}  # fmt: skip
    helper.set_model_props(model, told)
    return model


def with_props(model: Any, **changes: str | None) -> bytes:
    from onnx import ModelProto, helper

    made = ModelProto()
    made.CopyFrom(model)
    told = {entry.key: entry.value for entry in model.metadata_props} | {"checksum": export.UNSEALED} | changes
    del made.metadata_props[:]
    helper.set_model_props(made, {k: v for k, v in told.items() if v is not None})
    return export.sealed(made.SerializeToString())


def test_an_honest_onnx_file_is_read(graph, tmp_path):
    path = tmp_path / "a.onnx"
    for changes in ({}, {"data": None, "checksum": None}):
        path.write_bytes(with_props(graph, **changes))
        model = predicting.load(path)
        assert model.probabilities(np.ones((2, 9, 25, 3))).shape == (1, 3) and model.classes == ("a", "b", "c") and model.bodies == 2


@pytest.mark.parametrize(("entry", "value", "words"), CLAIMS + ONNX, ids=ident)
def test_what_an_onnx_file_claims_is_checked(graph, tmp_path, monkeypatch, entry, value, words):
    path = tmp_path / "a.onnx"
    if (entry, value, words) in CLAIMS:
        monkeypatch.setattr(onnx_file, "session", None)  # before anything is made of it
    path.write_bytes(with_props(graph, **{entry: value}))
    with pytest.raises(CheckpointError, match=f"a.onnx.*({words})") as told:
        predicting.load(path)
    assert str(told.value).isprintable()


def outside(tensor: Any) -> None:
    """Let the tensor's numbers lie in a file of the working folder."""
    from onnx import external_data_helper

    external_data_helper.set_external_data(tensor, "weights.bin")
    tensor.ClearField("raw_data")


def in_the_open(model: Any) -> Any:
    return model.graph.initializer[0]


def in_a_constant(model: Any) -> Any:
    made = model.graph.node.add(op_type="Constant", output=["unused"]).attribute.add(name="value", type=4).t
    made.CopyFrom(model.graph.initializer[0])
    return made


def sparse(model: Any) -> Any:
    made = model.graph.sparse_initializer.add().values
    made.CopyFrom(model.graph.initializer[0])
    return made


def in_a_graph_in_a_graph(model: Any) -> Any:
    inner = model.graph.node.add(op_type="If", output=["unused"]).attribute.add(name="then_branch", type=5).g
    made = inner.node.add(op_type="If").attribute.add(name="else_branch", type=5).g.initializer.add()
    made.CopyFrom(model.graph.initializer[0])
    return made


def in_a_function(model: Any) -> Any:
    made = model.functions.add(name="f", domain="d").node.add(op_type="Constant").attribute.add(name="value", type=4).t
    made.CopyFrom(model.graph.initializer[0])
    return made


@pytest.mark.parametrize("place", [in_the_open, in_a_constant, sparse, in_a_graph_in_a_graph, in_a_function])
def test_onnx_files_that_draw_on_other_files_are_refused(graph, tmp_path, monkeypatch, place):
    from onnx import ModelProto

    monkeypatch.chdir(tmp_path)
    Path("weights.bin").write_bytes(np.zeros(16, "f4").tobytes())
    model = ModelProto()
    model.CopyFrom(graph)
    outside(place(model))
    Path("a.onnx").write_bytes(with_props(model))
    monkeypatch.setattr(onnx_file, "session", None)
    with pytest.raises(CheckpointError, match="'a.onnx': the tensor 'wide' lies outside the file"):
        onnx_file.load("a.onnx")
    with pytest.raises(CheckpointError, match="is not a file that this command writes"):
        onnx_file.refuse_foreign("a.onnx")
    with pytest.raises(CheckpointError, match="that is a folder: name a file"):
        onnx_file.refuse_foreign(tmp_path)


# Streams


@pytest.mark.parametrize("name", ["window", "hop"])
@pytest.mark.parametrize("value", [True, 4.0, "4", None, -1, np.float32(4), float("nan")])
def test_windows_are_whole_numbers(whole, tmp_path, name, value):
    (tmp_path / "a.safetensors").write_bytes(whole)
    model = predicting.load(tmp_path / "a.safetensors")
    with pytest.raises(SettingsError, match=f"{name} must be 1 frame or more, a whole number, found"):
        Stream(model, **{"window": 4, name: value})
    for rate in (True, "30", None):
        with pytest.raises(SettingsError, match="rate must be frames per second"):
            Stream(model, 4, rate=rate)
    assert Stream(model, np.int64(4), np.int32(2)).hop == 2
    with pytest.raises(SettingsError, match="window must be at most 432000 frames of 25 joints .* found 432001"):
        Stream(model, 432_001)
    model.skeleton = range(600)  # as many joints as a skeleton may have: memory is the narrower bound
    with pytest.raises(SettingsError, match="window must be at most 37282 frames of 600 joints"):
        Stream(model, 37_283)


def test_clips_that_can_not_be_written_to_are_classified_without_a_warning(whole, tmp_path):
    clips.write(tmp_path / "a.clips", sample.read(performers=1, repetitions=1, cameras=1), progress=False)
    (tmp_path / "a.safetensors").write_bytes(whole)
    model, joints = predicting.load(tmp_path / "a.safetensors"), clips.open_clips(tmp_path / "a.clips").joints_of(0)
    assert not joints.flags.writeable
    stream = Stream(model, joints.shape[1])
    with warnings.catch_warnings(action="error"):
        expected = model.probabilities(joints)
        for frame in joints.swapaxes(0, 1):
            found = stream.push(frame)
    np.testing.assert_allclose(found.probabilities, expected[0], atol=1e-5)
