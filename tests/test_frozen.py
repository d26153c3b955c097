"""Frozen encoders and ONNX files give what the encoders give, from modalities and from raw coordinates."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from naive_stgcn import encode, random_encoder
from torch import nn

from skelmm_core import batches, cli, clips, frozen, modalities, onnx_file, settings, skeletons, temporal
from skelmm_core.encoder import Branches, Encoder, EncoderShape
from skelmm_core.errors import CheckpointError, DataError, SettingsError
from skelmm_core.evaluation.features import extract
from skelmm_core.evaluation.linear import classifiers, linear_probe
from skelmm_core.layout import published_name
from skelmm_core.skeletons import COCO17, KINECT20, NTU25
from skelmm_core.sources import sample

HEAD = {"0": (32, 32), "2": (16, 32)}
BODIES = ("all", "present")


def states(skeleton, streams) -> dict[str, dict[str, torch.Tensor]]:
    """Random weights and normalisations in the published layout."""
    graph, rng = torch.from_numpy(skeleton.adjacency()), torch.Generator().manual_seed(7)
    return {name: random_encoder(rng, graph, HEAD, in_channels=3 * len(name.split("+"))) for name in streams}


def encoders(skeleton, streams, bodies: str = "all") -> Branches:
    shape = EncoderShape(4, 32, 16, bodies=bodies)
    branches = Branches({name: Encoder(skeleton, shape, 3 * len(name.split("+"))) for name in streams})
    for name, state in states(skeleton, streams).items():
        branches[name].load_state_dict({key: state[published_name(key)] for key in branches[name].state_dict()})
    return branches.eval()


def worst(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference of (N, S, F) features as a part of the largest value of the same stream."""
    assert found.shape == expected.shape
    return float(((found - expected).abs().amax((0, 2)) / expected.abs().amax((0, 2))).max())


def inputs(skeleton, count: int, people: int, frames: int = 18) -> torch.Tensor:
    """(N, 3, T, V, M) joints; of two bodies one in two is empty, and one stands still, so that it has joints and no motion."""
    x = torch.randn(count, 3, frames, len(skeleton), people, generator=torch.Generator().manual_seed(count))
    x[:, 2] = x[:, 2].abs()  # a confidence where there is one
    x[1::2, ..., 1:] = 0
    x[2:3, ..., 1:] = x[2:3, :, :1, :, 1:]
    x[3:4] = 0  # nobody at all, which counts as one body
    return x


# From modalities


@pytest.mark.parametrize("people", [1, 2])
@pytest.mark.parametrize("bodies", BODIES)
@pytest.mark.parametrize("skeleton", skeletons.SKELETONS.values(), ids=lambda s: s.name)
def test_frozen_encoders_give_the_features_of_the_encoders(skeleton, bodies, people):
    streams = (*modalities.names_for(skeleton), "joint+motion+bone")
    branches = encoders(skeleton, streams, bodies)
    model = frozen.freeze(branches)
    for count in (1, 2, 3, 4):
        x = inputs(skeleton, count, people)
        computed = modalities.compute(x, torch.full((count,), 30.0), skeleton)
        expected = torch.stack(list(branches.features(computed).values()), dim=1)
        assert worst(model(computed), expected) < 1e-5


def test_many_bodies_of_many_channels_go_by_spectra(monkeypatch):
    head, graph = {"0": (128, 128), "2": (16, 128)}, torch.from_numpy(NTU25.adjacency())
    state = random_encoder(torch.Generator().manual_seed(0), graph, head, hidden=16, features=128)
    encoder = Encoder(NTU25, EncoderShape(16, 128, 16))
    encoder.load_state_dict({name: state[published_name(name)] for name in encoder.state_dict()})
    model, x = frozen.freeze(Branches({"joint": encoder}).eval()), torch.randn(3, 3, 20, 25, 2)
    calls: list[int] = []
    real = temporal._Spectra.apply
    monkeypatch.setattr(temporal._Spectra, "apply", lambda *args: calls.append(1) or real(*args))
    with torch.no_grad():
        few, many = model({"joint": x[:1]}), model({"joint": x})
    assert len(calls) == 2  # the ninth and tenth convolution of six bodies; two bodies are too few
    assert worst(many, encode(state, x)[0].unsqueeze(1)) < 1e-5 and worst(few, many[:1]) < 1e-5


@pytest.mark.parametrize("bodies", BODIES)
def test_what_is_not_a_number_in_a_second_body_is_not_swallowed(bodies):
    x = inputs(NTU25, 4, 2)
    x[1, 0, 2, 3, 1] = float("nan")
    features = frozen.freeze(encoders(NTU25, ("joint",), bodies))({"joint": x})
    assert features[1].isnan().any() and torch.isfinite(features[[0, 2, 3]]).all()


def test_they_are_those_of_a_naive_stgcn():
    x = torch.randn(3, 3, 20, 25, 2, generator=torch.Generator().manual_seed(1))
    model = frozen.freeze(encoders(NTU25, ("joint", "bone")))
    slow = [encode(state, x)[0] for state in states(NTU25, ("joint", "bone")).values()]
    assert worst(model({"joint": x, "bone": x}), torch.stack(slow, dim=1)) < 1e-5


def test_a_frozen_encoder_has_nothing_to_train_and_leaves_its_origin_as_it_was():
    branches = encoders(NTU25, ("joint",)).train()
    before = {name: t.clone() for name, t in branches.state_dict().items()}
    model = frozen.freeze(branches)
    assert not list(model.parameters()) and all(t.dtype == torch.float32 for t in model.buffers())
    assert not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in model.modules())
    assert branches.training and all(torch.equal(t, before[name]) for name, t in branches.state_dict().items())
    assert all(p.requires_grad for p in branches.parameters())


def test_joints_of_another_skeleton_are_refused():
    model = frozen.freeze(encoders(NTU25, ("joint",)))
    with pytest.raises(DataError, match="expects .* skeleton 'ntu25', found \\(1, 3, 9, 20, 1\\)"):
        model({"joint": torch.zeros(1, 3, 9, 20, 1)})


# From raw coordinates


@pytest.fixture(scope="module")
def motion(tmp_path_factory) -> clips.Clips:
    """34 generated clips of 66 to 150 frames, some of two people."""
    path = tmp_path_factory.mktemp("clips") / "motion.clips"
    clips.write(path, sample.read(performers=2, repetitions=1, cameras=1))
    opened = clips.open_clips(path)
    assert set(opened.bodies) == {1, 2}
    return opened


@pytest.mark.parametrize("skeleton", ["native", "kinect20"])
@pytest.mark.parametrize("bodies", BODIES)
@pytest.mark.parametrize(("preset", "trim"), [("described", 0.0), ("published", 0.1), ("small", 0.0), ("small", 0.1)])
def test_raw_clips_give_the_features_of_prepared_ones(motion, preset, trim, bodies, skeleton):
    s, rows = settings.resolve("pretrain", preset, trim=trim), np.r_[0:4, np.flatnonzero(motion.bodies == 2)[:3]]
    prepared = batches.load(motion, rows, s.frames, skeleton, s.view, smooth=s.smooth, trim=s.trim)
    branches = encoders(prepared.skeleton, modalities.NAMES, bodies)
    expected = torch.stack(list(extract(branches, prepared, s.unit_axis).values()), dim=1)
    weights = torch.from_numpy(skeletons.mapping(motion.skeleton, prepared.skeleton))
    raw = [torch.einsum("uv,mtvc->mtuc", weights, torch.from_numpy(motion.joints_of(i).copy())) for i in rows]
    model = frozen.freeze(branches, s, bodies=2)
    found = torch.cat([model(joints) for joints in raw])
    assert worst(found, expected) < 1e-5
    assert torch.equal(model(raw[0][0]), found[:1]) and torch.equal(model(raw[0][None]), found[:1])


@given(length=st.integers(1, 40), people=st.integers(1, 2), seed=st.integers(0, 99), gaps=st.floats(0, 1), data=st.data())
@tries(max_examples=40)
def test_clips_of_any_length_and_with_gaps_are_prepared_as_ever(length, people, seed, gaps, data):
    drawn = (("frame", "clip"), (0.0, 0.3, 4.0), (0.0, 0.03, 0.4), (3, 16, 50))
    view, smooth, trim, frames = (data.draw(st.sampled_from(v)) for v in drawn)
    rng = np.random.default_rng(seed)
    joints = torch.from_numpy(rng.normal(size=(3, people, length, 20, 3)).astype(np.float32))
    joints[torch.from_numpy(rng.random((3, people, length)) < gaps)] = 0  # nobody seen
    counts, size = torch.full((3,), people), people * length
    expected = batches.prepared(joints.reshape(-1, 20, 3), torch.arange(3) * size, torch.full((3,), length), counts, KINECT20, frames,
                                people, view, smooth, trim)  # fmt: skip
    s = settings.Evaluate(frames=frames, view=view, smooth=smooth, trim=trim)
    found = frozen.FromJoints(encoders(KINECT20, ("joint",)), s).prepared(joints)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-5)
    assert torch.equal(found[1].long(), expected[1])


def test_where_empty_bodies_are_averaged_in_one_person_is_one_of_as_many_as_there_is_room_for(motion):
    s, joints = settings.resolve("pretrain", "described"), torch.from_numpy(motion.joints_of(0).copy())
    alone, of_two = (frozen.freeze(encoders(NTU25, ("joint",)), s, bodies=room)(joints) for room in (1, 2))
    with_nobody = frozen.freeze(encoders(NTU25, ("joint",)), s)(torch.cat([joints[:1], torch.zeros_like(joints[:1])]))
    assert worst(of_two, with_nobody) < 1e-5 < worst(alone, with_nobody)


@pytest.mark.parametrize("shape", [(2, 25), (5, 24, 3), (0, 25, 3), (3, 5, 25, 3), (1, 1, 1, 5, 25, 3), (5, 25, 2)])
def test_joints_of_another_shape_are_refused(shape):
    model = frozen.freeze(encoders(NTU25, ("joint",)), settings.Pretrain())
    with pytest.raises(DataError, match="must be \\(N, M, T, 25, 3\\).* with M from 1 to 2, found"):
        model(torch.zeros(shape))


def test_joints_in_an_image_can_be_frozen_from_modalities_alone():
    with pytest.raises(SettingsError, match="'coco17' has joints in an image.* \\.safetensors"):
        frozen.freeze(encoders(COCO17, ("joint",)), settings.Pretrain())


# Classifiers


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("fusion", ["joint", "late"])
def test_classifiers_are_those_of_the_linear_probe(fusion, standardise):
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    train, test = (
        {n: torch.randn(60, 32, generator=rng) * 0.3 + (labels / 3).unsqueeze(1) + 0.1 * i for i, n in enumerate(("joint", "bone"))}
        for _ in range(2)
    )
    train["bone"][:, 5] = test["bone"][:, 5] = 2.0  # a constant says nothing
    s = replace(settings.Evaluate(), probe_epochs=5, probe_lr=0.1, probe_batch=20, probe_fusion=fusion, probe_standardise=standardise)
    expected = linear_probe(train, labels, test, labels, 3, s, fusion, standardise).logits
    weight, bias = classifiers(train, labels, 3, s)
    found = torch.baddbmm(bias, torch.stack(list(test.values())), weight).mean(0)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-4, atol=1e-5)
    raw = torch.randn(2, 1, 9, 25, 3, generator=rng)
    features, logits = frozen.freeze(encoders(NTU25, ("joint", "bone")), s, classifiers=(weight, bias))(raw)
    torch.testing.assert_close(logits, (torch.einsum("nsf,sfc->nsc", features, weight) + bias[:, 0]).mean(1))


def test_classifiers_of_other_encoders_are_refused():
    with pytest.raises(DataError, match="of 1 branches must be \\(1, 32, classes\\)"):
        frozen.freeze(encoders(NTU25, ("joint",)), settings.Pretrain(), classifiers=(torch.zeros(2, 32, 5), torch.zeros(2, 1, 5)))


# ONNX


@pytest.fixture(scope="module")
def libraries() -> None:
    for name in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name, reason=f"{name} is not installed (pip install skelmm[onnx])")


@pytest.fixture(scope="module")
def settings_of_file() -> settings.Pretrain:
    return settings.resolve("pretrain", "small", modalities="joint,angular_velocity", trim=0.05)


@pytest.fixture(scope="module")
def file(libraries, motion, settings_of_file, tmp_path_factory) -> Path:
    """Two encoders that leave empty bodies out, with classifiers, prepared as the preset `small` does and trimmed, of data in which every
    clip has one body."""
    path, s = tmp_path_factory.mktemp("onnx") / "model.onnx", settings_of_file
    rng = torch.Generator().manual_seed(3)
    classifiers = torch.randn(2, 32, 5, generator=rng), torch.randn(2, 1, 5, generator=rng)
    branches = encoders(NTU25, s.names, "present")
    assert onnx_file.save(path, branches, s, "teacher", motion.title, 1, classifiers=classifiers, classes=tuple("abcde")) < 1e-5
    return path


def test_an_onnx_file_gives_the_features_of_the_encoders_for_raw_clips(file, motion, settings_of_file):
    s, rows = settings_of_file, np.r_[0:4, np.flatnonzero(motion.bodies == 2)[:3]]
    session, about = onnx_file.load(file, threads=1)
    prepared = batches.load(motion, rows, s.frames, view=s.view, smooth=s.smooth, trim=s.trim)
    expected = torch.stack(list(extract(encoders(NTU25, s.names, "present"), prepared, s.unit_axis).values()), dim=1)
    found = [session.run(None, {"joints": motion.joints_of(i)[None]}) for i in rows]  # each of its own length
    assert worst(torch.from_numpy(np.concatenate([f for f, _ in found])), expected) < 1e-4
    assert all(logits.shape == (1, 5) for _, logits in found)
    several = np.random.default_rng(0).normal(size=(5, 2, 31, 25, 3)).astype(np.float32)
    several[::2, 1] = 0  # nobody
    together = session.run(None, {"joints": several})
    singly = [session.run(None, {"joints": clip[None]}) for clip in several]
    for whole, parts in zip(together, zip(*singly, strict=True), strict=True):
        np.testing.assert_allclose(whole, np.concatenate(parts), rtol=1e-4, atol=1e-4)
    assert about["role"] == "teacher" and about["trained_on"] == motion.title and about["classes"] == list("abcde")
    assert about["modalities"] == ["joint", "angular_velocity"] and about["bodies"] == 2, "room for two, as there are no empty ones"
    assert settings.Pretrain(**about["settings"]) == s and skeletons.Skeleton.from_dict(about["skeleton"]) == NTU25
    assert str(Path.cwd()).encode() not in file.read_bytes() and b".py" not in file.read_bytes(), "nothing of this machine goes along"


def test_a_file_that_gives_other_numbers_is_not_left_behind(libraries, motion, settings_of_file, tmp_path, monkeypatch):
    branches, path = encoders(NTU25, settings_of_file.names, "present"), tmp_path / "model.onnx"
    monkeypatch.setattr(onnx_file, "_graph", lambda *_: file_of_zeros())
    with pytest.raises(CheckpointError, match="features of random numbers .* gives other numbers"):
        onnx_file.save(path, branches, settings_of_file, "teacher")
    assert not list(tmp_path.iterdir())


def file_of_zeros() -> bytes:
    """An ONNX model of the right shape that ignores its input."""
    import onnx
    from onnx import TensorProto, helper

    zeros = helper.make_tensor("features", TensorProto.FLOAT, (1, 2, 32), np.zeros(64))
    joints = helper.make_tensor_value_info("joints", TensorProto.FLOAT, (1, "bodies", "time", 25, 3))
    out = helper.make_tensor_value_info("features", TensorProto.FLOAT, (1, 2, 32))
    graph = helper.make_graph([helper.make_node("Constant", [], ["features"], value=zeros)], "zeros", [joints], [out])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=onnx.IR_VERSION_2024_3_25).SerializeToString()


def test_examples_that_differ_are_told_of_and_the_file_before_stays(file, settings_of_file, tmp_path, monkeypatch):
    path, whole = tmp_path / "model.onnx", file.read_bytes()
    path.write_bytes(whole)
    monkeypatch.setattr(onnx_file, "_graph", lambda *_: without_logits(whole))
    branches, clip = encoders(NTU25, settings_of_file.names, "present"), np.ones((1, 20, 25, 3), np.float32)
    with pytest.raises(CheckpointError, match="features of a clip \\(1, 20, 25, 3\\): onnxruntime gives other numbers"):
        onnx_file.save(path, branches, settings_of_file, "teacher", examples=[(clip, torch.ones(2, 32))])
    assert path.read_bytes() == whole and list(tmp_path.iterdir()) == [path]


def without_logits(content: bytes) -> bytes:
    import onnx

    model = onnx.load_from_string(content)
    del model.graph.output[1]
    return model.SerializeToString()


def test_onnx_files_that_are_broken_or_of_others_are_refused(file, settings_of_file, tmp_path):
    import onnx

    torn = tmp_path / "torn.onnx"
    torn.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="can't be read as an ONNX file"):
        onnx_file.load(torn)
    with pytest.raises(CheckpointError, match="no ONNX file at"):
        onnx_file.load(tmp_path / "none.onnx")
    foreign = tmp_path / "foreign.onnx"
    foreign.write_bytes(file_of_zeros())
    with pytest.raises(CheckpointError, match="not of exported encoders"):
        onnx_file.load(foreign)
    for path in (torn, foreign):
        content = path.read_bytes()
        with pytest.raises(CheckpointError, match="is not a file that this command writes"):
            onnx_file.save(path, encoders(NTU25, settings_of_file.names), settings_of_file, "teacher")
        assert path.read_bytes() == content
    model = onnx.load(file)
    kernel = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    kernel.raw_data = np.roll(np.frombuffer(kernel.raw_data, np.float32), 1).tobytes()
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(CheckpointError, match="other.onnx' is not as it was written"):
        onnx_file.load(tmp_path / "other.onnx")
    model.metadata_props.remove(next(entry for entry in model.metadata_props if entry.key == "checksum"))
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(CheckpointError, match="its own example: onnxruntime gives other numbers"):
        onnx_file.load(tmp_path / "other.onnx")
    for entry in model.metadata_props:
        if entry.key == "settings":
            entry.value = "{"
    onnx.save(model, tmp_path / "damaged.onnx")
    with pytest.raises(CheckpointError, match="damaged metadata"):
        onnx_file.load(tmp_path / "damaged.onnx")


def test_names_that_were_changed_in_a_file_are_told(file, tmp_path):
    import onnx

    path, model = tmp_path / "a.onnx", onnx.load(file)
    (names,) = [entry for entry in model.metadata_props if entry.key == "classes"]
    names.value = names.value.replace("a", "x")
    onnx.save(model, path)
    with pytest.raises(CheckpointError, match="a.onnx' is not as it was written"):
        onnx_file.load(path)
    model.metadata_props.remove(next(entry for entry in model.metadata_props if entry.key == "checksum"))
    onnx.save(model, path)
    assert onnx_file.load(path)[1]["classes"] == list("xbcde"), "from before there were checksums"


def test_without_the_libraries_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    for call in (lambda: onnx_file.load(tmp_path / "a.onnx"), lambda: onnx_file.save(tmp_path / "a.onnx", Branches(), None, "teacher")):
        with pytest.raises(SettingsError, match="onnxscript.*pip install skelmm\\[onnx\\]"):
            call()


def test_the_command_writes_by_suffix(libraries, motion, tmp_path, capsys):
    where = ["--data", str(motion.path), "--out", str(tmp_path / "out"), "--smoke", "--modalities", "joint", "--device", "cpu"]
    (tmp_path / "mine.onnx").write_text("mine")
    with pytest.raises(SystemExit):
        cli.main(["export", "pretrain", str(tmp_path / "mine.onnx"), "--classes", *where])
    shown = capsys.readouterr().err
    assert "is not a file that this command writes" in shown
    with pytest.raises(SystemExit):
        cli.main(["export", "pretrain", str(tmp_path / "parts.onnx"), "--classes", "--segments", "2", "--regions", *where])
    told = " ".join(capsys.readouterr().err.split())
    assert "by parts of a clip or by levels (--segments 2 --regions --levels 1): export with --segments 1 --no-regions --levels 1" in told
    assert not list(tmp_path.glob("out/stages/pretrain-*")), "before it is trained"
    cli.main(["export", "pretrain", str(tmp_path / "new.onnx"), "--classes", *where])
    assert "teacher, joint, 17 classes" in (shown := capsys.readouterr().out) and "and 8 clips" in shown
    session, about = onnx_file.load(tmp_path / "new.onnx")
    features, logits = session.run(None, {"joints": motion.joints_of(0)[None]})
    assert features.shape == (1, 1, settings.SMOKE["features"]) and logits.shape == (1, 17) and len(about["classes"]) == 17
    assert about["settings"]["frames"] == settings.SMOKE["frames"] and json.dumps(about)
