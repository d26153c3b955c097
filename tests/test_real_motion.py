"""A short version of the UTD-MHAD benchmark, on real motion: archive -> clips -> teacher -> student -> figures."""

import math

import pytest

from skelmm_core import clips, sources
from skelmm_core.evaluation.knn import raw_nearest
from skelmm_core.experiment import Experiment


@pytest.fixture(scope="module")
def experiment(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("utd")
    clips.write(folder / "utd.clips", sources.read(shared / "data" / "utd_mhad_skeleton.tar.xz"), progress=False)
    names = dict(modalities="joint,acceleration,angular_velocity", students="joint")
    sizes = dict(epochs=6, exchange_from=5 / 6, student_epochs=2, features=48, embedding=32)
    return Experiment(data=folder / "utd.clips", out=folder, preset="small", device="cpu", **names, **sizes)


def test_the_split_and_the_bar_to_clear_are_the_recorded_ones(experiment):
    assert (len(experiment.split.train), len(experiment.split.test)) == (431, 430)
    assert raw_nearest(experiment.clips, experiment.split).accuracy == pytest.approx(82.3, abs=0.3)


def test_a_few_epochs_teach_something_that_the_student_keeps(experiment):
    start, teacher = experiment.pretrain(until=5), experiment.exchange()
    student = experiment.distill()
    assert [int(row["epoch"]) for row in teacher.rows] == [6]
    assert len(student.rows) == 2
    for name in teacher.model.names:
        assert start.rows[-1][f"loss/{name}"] < math.log1p(256)  # it tells clips apart
        assert teacher.rows[-1][f"positive/{name}"] > teacher.rows[-1][f"negative/{name}"] + 0.05
    for name in student.model.names:
        assert student.rows[-1][f"positive/{name}"] > student.rows[-1][f"negative/{name}"]
    untrained, taught = (experiment.score(branches).late for branches in (experiment.untrained(), start.model.query))
    for name in ("acceleration", "angular_velocity"):  # what gains first; a fused probe of few epochs is no better than an untrained one
        assert taught.streams[name] > untrained.streams[name] + 4
    assert experiment.score(teacher.model.query).linear.accuracy > 60  # chance is 3.7
    assert experiment.score(student.model.students).linear.accuracy > 40
