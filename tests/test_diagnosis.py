"""Signs of failure, each by its measure."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from feature_data import rng

from skelmm_core.evaluation import diagnosis


def test_no_sign_where_all_is_well():
    good = torch.randn(200, 16, generator=rng())
    assert diagnosis.signs_of_failure(clips=430) == []
    assert not diagnosis.signs_of_failure(
        clips=430, probes={"joint": 70.5, "fused": 86.0}, untrained={"joint": 47.4, "fused": 60.0}, teacher=88.0, raw_nearest=82.3,
        losses={"joint": diagnosis.Course(math.log(1025), 3.1)}, embeddings={"joint": good}, student=87.0, alone=80.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        ({"probes": {"joint": 49.0, "bone": 80.0}, "untrained": {"joint": 47.4, "bone": 47.4}}, "probe of 'joint' (49.0 %)"),
        ({"probes": {"fused": math.nan}, "untrained": {"fused": 47.4}}, "probe of 'fused'"),
        (
            {"losses": {"motion": diagnosis.Course(math.log(2049), math.log(2049) - 0.01)}},
            "loss of 'motion' is 7.615 and has not left 7.625",
        ),
        ({"losses": {"motion": diagnosis.Course(7.6, math.nan)}}, "loss of 'motion' is nan"),
        ({"embeddings": {"bone": torch.randn(50, 8, generator=rng()) * 0.01 + 1}}, "embeddings of 'bone' have collapsed: any two"),
        ({"embeddings": {"bone": torch.randn(50, 1, generator=rng()) * torch.ones(1, 8)}}, "collapsed to a line: they use 1.00 of 8"),
        ({"teacher": 83.0, "raw_nearest": 82.3}, "teacher (83.0 %) does not beat 1-nearest neighbour"),
        ({"student": 80.0, "alone": 82.0}, "student (80.0 %) is no better than"),
    ],
)
def test_each_sign_in_one_sentence_of_its_own(evidence, words):
    (sign,) = diagnosis.signs_of_failure(clips=430, **evidence)
    assert words in sign and "\n" not in sign


def test_better_means_beyond_the_standard_error():
    # at 50 % on 200 clips each, sqrt(2 * 0.25 / 200) is 5 points
    assert diagnosis.difference_error(50, 50, 200) == pytest.approx(5)
    assert diagnosis.beyond(55.1, 50, 200) and not diagnosis.beyond(54.9, 50, 200)


@pytest.mark.parametrize("exchange", ["stage1", "ekem", "ikem", "ekem+ikem", "cmd", "cmd+ikem", "distill"])
def test_ignorance_is_the_loss_of_equal_similarities(exchange):
    from skelmm_core import losses

    k = 37
    q = torch.zeros(3, 2, 4)  # every similarity is zero
    queue = F.normalize(torch.randn(3, 4, k, generator=rng()), dim=1)
    if exchange == "distill":
        value = losses.relational_distillation(torch.zeros(2, 2, 12), q, torch.zeros(12, k), queue, 0.07, 1)
    else:
        parts = exchange.split("+")
        value = losses.ekem(q, q, queue, 0.07, 1) if "ekem" in parts else losses.info_nce(q, q, queue, 0.07)
        value = value + (losses.cmd(q, q, queue) if "cmd" in parts else 0)
        value = value + (losses.ikem(torch.zeros(3, 2, 12), q, queue, 0.07) if "ikem" in parts else 0)
    torch.testing.assert_close(value, torch.full_like(value, diagnosis.ignorance(exchange, k)), rtol=1e-5, atol=1e-5)


def test_signs_look_at_nearest_neighbours_and_at_probes_that_can_not_tell():
    told = dict(clips=430, probes={"fused": 20.0}, untrained={"fused": 3.7}, chance=3.7)
    (sign,) = diagnosis.signs_of_failure(**told)
    assert "of the untrained encoder (3.7 %) is at chance" in sign and "probe_standardise" in sign
    signs = diagnosis.signs_of_failure(**told, nearest={"fused": 30.0}, untrained_nearest={"fused": 41.8})
    assert len(signs) == 2 and "Nearest neighbours by 'fused' (30.0 %) are not clearly better" in signs[0] and "-11.8 points" in signs[0]
    assert diagnosis.signs_of_failure(clips=430, nearest={"fused": 60.0}, untrained_nearest={"fused": 41.8}) == []
    assert diagnosis.signs_of_failure(clips=430, probes={"fused": 60.0}, untrained={"fused": 41.8}, chance=3.7) == []
