"""What a model costs, by hand and as published."""

from __future__ import annotations

import pytest
import torch
from feature_data import SMALL, small_branches

from skelmm_core import graph_conv, modalities
from skelmm_core.encoder import Branches, Encoder, EncoderShape
from skelmm_core.evaluation import complexity
from skelmm_core.skeletons import NTU25


def by_hand(shape: EncoderShape, frames: int, joints: int, bodies: int, classes: int) -> float:
    """GFLOP of one encoder and classifier, block by block from the formula."""
    total, t = 0, frames
    for c_in, c_out, stride in shape.channels():
        total += t * joints * c_in * 3 * c_out + t * 3 * joints * joints * c_out  # 1x1 convolution, aggregation
        t = -(-t // stride)
        total += t * joints * 9 * c_out * c_out  # temporal convolution
        if c_in not in (3, c_out):
            total += t * joints * c_in * c_out  # residual
    return 2 * (bodies * total + shape.features * classes) / 1e9


def test_published_sizes(monkeypatch):
    six = Branches({n: Encoder(NTU25) for n in modalities.NAMES})
    one, three = (Branches({n: six[n] for n in modalities.NAMES[:count]}) for count in (1, 3))
    assert complexity.parameters(one, 60) == 836_800
    assert (round(complexity.parameters(six, 60) / 1e6, 2), round(complexity.parameters(three, 60) / 1e6, 2)) == (5.02, 2.51)
    single = complexity.gflops(one, 60)
    assert single == pytest.approx(by_hand(EncoderShape(), 50, 25, 2, 60), rel=1e-9) and round(single, 2) == 1.22
    assert (round(6 * single, 2), round(3 * single, 2)) == (7.35, 3.67)
    assert complexity.gflops(three, 60) == pytest.approx(3 * single)
    monkeypatch.setitem(graph_conv.DENSE_LIMIT, torch.float32, 10**9)
    assert complexity.gflops(one, 60) == single


@pytest.mark.parametrize("bodies", ["all", "present"])
def test_gflops_by_hand(bodies):
    branches = small_branches(("joint", "bone"), bodies=bodies)
    for frames, count in ((16, 1), (9, 2)):
        expected = 2 * by_hand(SMALL, frames, 20, count, 7)
        assert complexity.gflops(branches, 7, frames, count) == pytest.approx(expected, rel=1e-9)


def test_time_is_measured_and_leaves_things_as_they_were():
    branches = small_branches(("joint", "angular_velocity"))
    branches.train()
    state = {k: v.clone() for k, v in branches.state_dict().items()}
    threads = torch.get_num_threads()
    short, long = (complexity.milliseconds(branches, 7, frames, 1, clips=4, repeats=5, threads=1) for frames in (8, 256))
    assert 0 < short < long
    assert torch.get_num_threads() == threads and all(m.training for m in branches.modules())
    assert all(torch.equal(v, state[k]) for k, v in branches.state_dict().items())
    assert complexity.measure(branches, 7, 8, 1, repeats=1).parameters == complexity.parameters(branches, 7)
