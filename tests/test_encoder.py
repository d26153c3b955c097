"""The encoder against a naive ST-GCN (tests/naive_stgcn.py), and its own promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from naive_stgcn import encode, random_encoder, slow_adjacency
from torch import nn

from skelmm_core import graph_conv, modalities, skeletons
from skelmm_core.encoder import Branches, Encoder, EncoderShape, initialise
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.frozen import freeze
from skelmm_core.layout import published_name
from skelmm_core.norm import Norm1d, Norm2d

SMALL = EncoderShape(hidden=4, features=32, embedding=16, dropout=0.0)
HEAD = {"0": (32, 32), "2": (16, 32)}
PATHS = {"dense": {torch.float32: 10**9, torch.float64: 10**9, torch.bfloat16: 10**9}, "sparse": {}}


def pair(
    skeleton=skeletons.NTU25, seed: int = 0, shape: EncoderShape = SMALL, in_channels: int = 3
) -> tuple[Encoder, dict[str, torch.Tensor]]:
    """An encoder and its state dict in the published layout, the same random weights in both."""
    state = random_encoder(torch.Generator().manual_seed(seed), torch.from_numpy(skeleton.adjacency()), HEAD, in_channels=in_channels)
    encoder = Encoder(skeleton, shape, in_channels=in_channels)
    encoder.load_state_dict({name: state[published_name(name)] for name in encoder.state_dict()})
    return encoder, state


def clips(count: int = 3, frames: int = 20, joints: int = 25, seed: int = 1, empty: bool = True, channels: int = 3) -> torch.Tensor:
    x = torch.randn(count, channels, frames, joints, 2, generator=torch.Generator().manual_seed(seed))
    if empty:
        x[1::2, ..., 1] = 0  # no second body
    return x


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.detach().double() - b.detach().double()).norm() / b.detach().double().norm())


@pytest.mark.parametrize("skeleton", skeletons.SKELETONS.values(), ids=lambda s: s.name)
def test_adjacency_is_the_spatial_partition(skeleton):
    slow = slow_adjacency(list(skeleton.edges), len(skeleton), skeleton.centre)
    graph = torch.from_numpy(skeleton.adjacency())
    torch.testing.assert_close(graph, slow)
    torch.testing.assert_close(graph.sum((0, 1)), torch.ones(len(skeleton)))


def test_parameter_count_of_the_published_size():
    encoder = Encoder(skeletons.NTU25)
    body = sum(p.numel() for name, p in encoder.named_parameters() if not name.startswith("head."))
    assert body + nn.Linear(256, 60).weight.numel() + 60 == 836_800
    assert [block.temporal.stride[0] for block in encoder.blocks] == [1, 1, 1, 1, 2, 1, 1, 2, 1, 1]
    assert [block.shortcut is not None for block in encoder.blocks] == [i in (4, 7, 9) for i in range(10)]
    assert [block.dropout for block in encoder.blocks] == [0.0] + [0.5] * 9


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("skeleton", skeletons.SKELETONS.values(), ids=lambda s: s.name)
@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_agrees_with_naive_stgcn(monkeypatch, path, skeleton, train):
    monkeypatch.setattr(graph_conv, "DENSE_LIMIT", PATHS[path])
    encoder, state = pair(skeleton)
    encoder.train(train)
    x = clips(4, joints=len(skeleton))
    feature, embedding = encoder(x)
    expected = encode(state, x, train=train)
    torch.testing.assert_close(feature, expected[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(embedding, expected[1], rtol=1e-4, atol=1e-5)
    for name, value in encoder.state_dict().items():  # batch norm's running statistics
        if "running" in name:
            torch.testing.assert_close(value, state[published_name(name)], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("path", PATHS)
def test_gradients_agree_with_naive_stgcn_in_float64(monkeypatch, path):
    monkeypatch.setattr(graph_conv, "DENSE_LIMIT", PATHS[path])
    encoder, state = pair(seed=3)
    encoder.double().train()
    state = {
        name: value.double().requires_grad_("running" not in name) if value.is_floating_point() else value for name, value in state.items()
    }
    x = clips(4, seed=5).double().requires_grad_()
    weight = torch.randn(4, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (encoder(x)[1] * weight).sum().backward()
    ours, x.grad = x.grad, None
    (encode(state, x, train=True)[1] * weight).sum().backward()
    torch.testing.assert_close(ours, x.grad, rtol=1e-8, atol=1e-10)
    for name, parameter in encoder.named_parameters():
        torch.testing.assert_close(parameter.grad, state[published_name(name)].grad, rtol=1e-7, atol=1e-10)


def test_nine_channels_for_early_fusion():
    encoder, state = pair(in_channels=9)
    x = clips(2, channels=9)
    torch.testing.assert_close(encoder.eval()(x)[1], encode(state, x)[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3])
def test_eval_features_do_not_depend_on_the_batch(count):
    encoder, _ = pair()
    x = clips(5, empty=False)
    whole = encoder.eval()(x)[0]
    torch.testing.assert_close(encoder(x[:count])[0], whole[:count], rtol=1e-4, atol=1e-6)


def test_present_bodies_alone_are_averaged():
    encoder, _ = pair(shape=EncoderShape(4, 32, 16, 0.0, bodies="present"))
    encoder.eval()
    x = clips(4)
    x[3] = 0  # a clip with no motion at all still has its first body
    feature = encoder(x)[0]
    first, second = encoder(x[..., :1])[0], encoder(x[..., 1:])[0]
    both = (first + second) / 2
    torch.testing.assert_close(feature, torch.stack([both[0], first[1], both[2], first[3]]), rtol=1e-4, atol=1e-6)
    assert relative(first[1], both[1]) > 1e-3  # so the test can tell the two rules apart


def test_a_still_second_body_is_absent_from_modalities_of_change_alone():
    """Presence is a matter of each modality: whoever stands perfectly still has joints, bones and axes, and no motion."""
    joints = clips(2, empty=False)
    joints[..., 1] = joints[:, :, :1, :, 1]
    encoder, _ = pair(shape=EncoderShape(4, 32, 16, 0.0, bodies="present"))
    encoder.eval()
    for name, x in modalities.compute(joints, torch.full((2,), 30.0), skeletons.NTU25).items():
        alone = encoder(x[..., :1])[0]
        of_both = (alone + encoder(x[..., 1:])[0]) / 2
        absent = name in ("motion", "acceleration", "angular_velocity")
        torch.testing.assert_close(encoder(x)[0], alone if absent else of_both, rtol=1e-4, atol=1e-6, msg=name)
        assert relative(alone, of_both) > 1e-3


@pytest.mark.parametrize("bodies", ["all", "present"])
def test_what_is_not_a_number_in_a_second_body_is_not_swallowed(bodies):
    encoder, _ = pair(shape=EncoderShape(4, 32, 16, 0.0, bodies=bodies))
    encoder.eval()
    x = clips(4)
    x[1, ..., 1] = 0
    x[1, 0, 2, 3, 1] = float("nan")
    feature = encoder(x)[0]
    assert feature[1].isnan().any() and torch.isfinite(feature[[0, 2, 3]]).all()


def test_empty_bodies_enter_nothing_in_training_when_only_present_ones_do():
    encoder, _ = pair(shape=EncoderShape(4, 32, 16, 0.0, bodies="present"))
    x = clips(4)
    x[..., 1] = 0
    alone, _ = pair()
    torch.testing.assert_close(encoder.train()(x)[0], alone.train()(x[..., :1])[0])
    torch.testing.assert_close(encoder.input_norm.running_var, alone.input_norm.running_var)


def test_bfloat16_autocast_stays_close(monkeypatch):
    for path in PATHS.values():
        monkeypatch.setattr(graph_conv, "DENSE_LIMIT", path)
        encoder, _ = pair()
        x = clips(4)
        exact = encoder.eval()(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            feature, embedding = encoder(x)
        assert feature.dtype == torch.float32
        assert relative(feature, exact[0]) < 0.02
        assert relative(embedding, exact[1]) < 0.03


def test_dropout_acts_in_training_only_and_not_in_the_first_block():
    encoder, _ = pair(shape=EncoderShape(4, 32, 16, dropout=0.5))
    x = clips(2)
    torch.manual_seed(0)
    seen = []
    encoder.blocks[0].register_forward_hook(lambda *call: seen.append(call[2].detach().clone()))
    once, again = encoder.train()(x)[0], encoder(x)[0]
    torch.testing.assert_close(seen[0], seen[1])
    assert relative(once, again) > 1e-2
    torch.testing.assert_close(encoder.eval()(x)[0], encoder(x)[0])


@pytest.mark.parametrize("shape", [(4, 3, 20, 20, 1), (4, 2, 20, 25, 1)], ids=["joints", "channels"])
def test_wrong_input_shape_is_named(shape):
    with pytest.raises(DataError, match="25"):
        pair()[0](torch.zeros(shape))


def test_unknown_choices_raise():
    with pytest.raises(SettingsError, match="bodies"):
        EncoderShape(bodies="some")
    with pytest.raises(SettingsError, match="initialisation"):
        initialise(nn.Linear(2, 2), "xavier", torch.Generator())


@pytest.mark.parametrize("scheme", ["published", "scaled"])
def test_initialisation_has_the_stated_moments(scheme):
    encoder = Encoder(skeletons.NTU25)
    initialise(encoder, scheme, torch.Generator().manual_seed(0))
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.weight.numel() > 2000:
            expected = 0.02 if scheme == "published" else (2 / module.weight[0].numel()) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.1)
            assert module.weight.mean().abs() < expected / 5
            assert not module.bias.any()
    norms = torch.cat([m.weight for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)])
    assert norms.std().item() == pytest.approx(0.02 if scheme == "published" else 0, rel=0.1)
    assert norms.mean().item() == pytest.approx(1, abs=0.01)


def test_branches_stack_in_order():
    branches = Branches({"joint": pair(seed=1)[0], "bone": pair(seed=2)[0]}).eval()
    inputs = {"bone": clips(2, seed=3), "joint": clips(2, seed=4)}
    features, embeddings = branches(inputs)
    assert features.shape == (2, 2, 32) and embeddings.shape == (2, 2, 16)
    torch.testing.assert_close(features[1], branches["bone"](inputs["bone"])[0])
    alone = branches.features(inputs)
    torch.testing.assert_close(alone["joint"], features[0].detach())
    assert not alone["joint"].requires_grad


class TestNorm:
    """Batch normalisation with exact statistics against nn.BatchNorm in float64."""

    @pytest.mark.parametrize("shape", [(5, 7), (3, 4, 6, 5), (1, 4, 3, 2), (40, 4, 50, 25)], ids=str)
    def test_agrees_with_batch_norm_in_float64(self, shape):
        rng = torch.Generator().manual_seed(0)
        own, exact = (Norm1d(shape[1]), nn.BatchNorm1d(shape[1])) if len(shape) == 2 else (Norm2d(shape[1]), nn.BatchNorm2d(shape[1]))
        own.weight.data.uniform_(0.5, 2, generator=rng)
        own.bias.data.normal_(generator=rng)
        exact.load_state_dict(own.state_dict())
        exact.double()
        x = torch.randn(shape, generator=rng) * 2 + 3
        grad = torch.randn(shape, generator=rng) + 0.5
        if len(shape) == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        a, b = x.clone().requires_grad_(), x.double().requires_grad_()
        y, z = own(a), exact(b)
        y.backward(grad)
        z.backward(grad.double())
        for mine, theirs in [(y, z), (own.running_mean, exact.running_mean), (own.running_var, exact.running_var)]:
            assert relative(mine, theirs) < 5e-7
        assert relative(a.grad, b.grad) < 1e-5
        torch.testing.assert_close(own.weight.grad.double(), exact.weight.grad, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(own.bias.grad.double(), exact.bias.grad, rtol=1e-4, atol=1e-3)
        assert own.num_batches_tracked == 1
        torch.testing.assert_close(own.eval()(x).double(), exact.eval()(x.double()), rtol=1e-5, atol=1e-5)

    def test_a_single_value_per_channel_is_an_error(self):
        with pytest.raises(ValueError, match="more than one value"):
            Norm1d(3)(torch.zeros(1, 3))

    def test_other_types_are_plain_batch_norm(self):
        x = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(Norm1d(3).double()(x), F.batch_norm(x, None, None, training=True))


TWO_THREADS = """
import torch
from skelmm_core.encoder import Encoder, EncoderShape
from skelmm_core.skeletons import NTU25
encoder = Encoder(NTU25, EncoderShape(hidden=8, features=16, embedding=8, dropout=0.0, bodies="present"))
for absent in range(1, 32, 2):
    clips = torch.randn(32, 3, 16, 25, 2)
    clips[absent:, ..., 1] = 0
    encoder(clips)[1].square().mean().backward()
print(torch.get_num_threads(), "threads")
"""


def test_small_encoders_train_on_two_threads():
    """oneDNN's strided 1x1 convolution wrote past its memory here: a crash in the first dozen steps. Strides are taken before it."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run([sys.executable, "-c", TWO_THREADS], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0 and done.stdout == "2 threads\n", done.stderr[-500:]


@pytest.mark.parametrize("bodies", ["all", "present"])
def test_a_nan_in_a_second_body_is_never_swallowed(bodies):
    """A body of which a number is not one is there, so that training stops instead of going on without it."""
    branches = Branches({"joint": Encoder(skeletons.NTU25, EncoderShape(hidden=4, features=16, embedding=8, bodies=bodies))}).eval()
    x = torch.randn(2, 3, 16, 25, 2)
    x[1, ..., 1] = 0
    x[1, 0, 3, 4, 1] = float("nan")
    for found in (branches.features({"joint": x})["joint"], freeze(branches)({"joint": x})[:, 0]):
        assert torch.isfinite(found[0]).all() and not torch.isfinite(found[1]).any()


def test_a_second_body_that_stands_still_is_absent_from_motion_alone():
    """Whether a body is there is judged by what an encoder sees: a pose that is held has no motion."""
    encoder = Encoder(skeletons.NTU25, EncoderShape(hidden=4, features=16, embedding=8, bodies="present")).eval()
    x = torch.randn(1, 3, 16, 25, 2)
    x[..., 1] = x[:, :, :1, :, 1]
    motion = x.diff(dim=2)
    torch.testing.assert_close(encoder.feature(motion), encoder.feature(motion[..., :1]))
    assert not torch.allclose(encoder.feature(x), encoder.feature(x[..., :1]))
