"""Checkpoints that are kept on the way, for maps that show how a representation forms."""

from __future__ import annotations

import pytest
import torch
import toy_stage

from skelmm_core import settings
from skelmm_core.evaluation import forming
from skelmm_core.experiment import Experiment

motion = toy_stage.motion  # a fixture


@pytest.mark.parametrize(
    ("snapshots", "begin", "end", "expected"),
    [(0, 0, 60, ()), (3, 0, 60, (15, 30, 45)), (3, 60, 120, (75, 90, 105)), (9, 0, 3, (1, 2)), (2, 1, 2, ()), (1, 0, 5, (2,))],
)
def test_snapshots_lie_evenly_between_two_epochs(snapshots, begin, end, expected):
    assert settings.resolve("pretrain", snapshots=snapshots).on_the_way(begin, end) == expected


def test_snapshots_are_kept_on_the_way_and_change_nothing_else(motion, tmp_path):
    sizes = dict(smoke=True, epochs=6, modalities="joint,bone", students="joint", frames=8, batch=4, queue=8, device="cpu")
    plain, kept = (Experiment(motion, tmp_path / f"{n}", snapshots=n, **sizes) for n in (0, 2))
    for exp, numbers in ((plain, [3]), (kept, [1, 2, 3, 4, 5])):
        stage = exp.exchange()
        assert list(forming.kept([exp.pretrain_folder(), stage.folder])) == numbers
    assert plain.exchange().folder.name == kept.exchange().folder.name  # found again, whether or not snapshots are wanted
    a, b = (exp.exchange().model.state_dict() for exp in (plain, kept))
    assert all(torch.equal(a[key], b[key]) for key in a)
    epochs = [epoch for epoch, _ in forming.encoders(forming.kept([kept.exchange().folder]), kept.untrained())]
    assert epochs == [4, 5]
