"""What is read from an encoder's output, against slow loops: parts of the time and of the body."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import connected_components

from skelmm_core import settings, skeletons
from skelmm_core.encoder import Encoder, EncoderShape
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.readout import WHOLE, Readout, pooled
from skelmm_core.skeletons.kinect import KINECT20, NTU25

ALL = ("ntu25", "kinect20", "hdm05", "coco17", "openpose18")


@pytest.mark.parametrize(("frames", "segments"), [(8, 4), (7, 3), (5, 5)])
@pytest.mark.parametrize("regions", [False, True])
def test_parts_are_means_of_frames_and_joints(frames, segments, regions):
    x = torch.randn(2, frames, 20, 4)
    y, slow = x.numpy(), []
    for b in range(2):
        row = [y[b, :, :, c].mean() for c in range(4)]
        row += [part[:, :, c].mean() for part in np.array_split(y[b], segments, axis=0) for c in range(4)]
        for region in KINECT20.regions() if regions else ():
            row += [np.mean([y[b, t, v, c] for t in range(frames) for v in region]) for c in range(4)]
        slow.append(row)
    read = Readout(segments, regions)
    found = pooled(x, read, KINECT20)
    assert found.shape == (2, 4 * read.parts(KINECT20))
    torch.testing.assert_close(found, torch.tensor(np.array(slow, np.float32)))
    assert torch.equal(pooled(x, WHOLE, KINECT20), found[:, :4])


def test_more_segments_than_frames_are_refused():
    with pytest.raises(DataError, match="has 4 frames behind the encoder's strides, too few for segments=5"):
        pooled(torch.randn(1, 4, 20, 2), Readout(5), KINECT20)


@pytest.mark.parametrize("name", ALL)
def test_regions_are_what_hangs_together_on_one_side(name):
    """Against scipy: components of the graph without links between the sides; every joint is in one region, none is a mix of sides."""
    skeleton = skeletons.get(name)
    side, graph = skeleton.sides(), np.zeros((len(skeleton),) * 2)
    for a, b in skeleton.edges:
        graph[a, b] = side[a] == side[b]
    parts = connected_components(graph, directed=False)[1]
    limbs = {frozenset(np.flatnonzero(parts == k).tolist()) for k in range(parts.max() + 1)}
    limbs = {limb for limb in limbs if side[min(limb)] != "middle"}
    trunk, *found = skeleton.regions()
    assert {frozenset(part) for part in found} == limbs and len(found) == len(limbs)
    assert trunk == [v for v in range(len(skeleton)) if side[v] == "middle"]


def test_regions_of_a_body_are_trunk_arms_and_legs():
    names = [[NTU25.joints[v] for v in region] for region in NTU25.regions()]
    assert [len(region) for region in names] == [5, 6, 6, 4, 4] and "head" in names[0]
    assert {"left shoulder", "left thumb"} < set(names[1]) and {"right knee", "right foot"} < set(names[4])


def test_a_skeleton_without_sides_is_one_region(tmp_path):
    path = tmp_path / "worm.toml"
    table = (
        'name = "worm"\njoints = ["a", "b", "c", "d"]\nparents = ["a", "a", "b", "c"]\nshoulders = ["a", "d"]\ncentre = "c"\nspine = "b"\n'
    )
    path.write_text(table)
    assert skeletons.get(path).regions() == [[0, 1, 2, 3]]


def test_an_encoder_averages_regions_over_the_bodies_that_are_there():
    encoder = Encoder(NTU25, EncoderShape(2, 8, 4, bodies="present")).eval()
    x = torch.randn(1, 3, 12, 25, 2)
    read = Readout(2, True)
    with torch.no_grad():
        both = encoder.feature(x, read)
        one, other = (encoder.feature(x[..., m : m + 1], read) for m in range(2))
    assert both.shape == (1, 8 * (1 + 2 + 5))
    torch.testing.assert_close(both, (one + other) / 2)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_levels_are_read_before_each_stride(levels):
    """Against blocks called one by one: the output, then the blocks that end finer resolutions of time, each read like the output."""
    shape = EncoderShape(2, 8, 4)
    encoder, read = Encoder(NTU25, shape).eval(), Readout(2, True, levels)
    x = torch.randn(3, 3, 12, 25, 1)
    with torch.no_grad():
        found = encoder.feature(x, read)
        y = encoder.input_norm(x[..., 0].permute(0, 2, 3, 1).reshape(36, 75)).view(3, 12, 25, 3)
        outputs = [y := block(y, encoder.adjacency) for block in encoder.blocks]
        ends = [outputs[9], outputs[6], outputs[3]][:levels]
        assert [end.shape[1] for end in ends] == [3, 6, 12][:levels]
        slow = torch.cat([pooled(end, Readout(2, True), NTU25) for end in ends], dim=1)
    assert found.shape == (3, shape.width(read, NTU25)) == (3, (8 + 4 * (levels > 1) + 2 * (levels > 2)) * 8)
    torch.testing.assert_close(found, slow)


def test_no_more_levels_than_an_encoder_has():
    assert len(EncoderShape().levels()) == 3
    with pytest.raises(SettingsError, match="setting 'levels' must be between 1 and 3"):
        settings.resolve("distill", "best", levels=4)
