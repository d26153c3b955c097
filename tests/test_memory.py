"""Too little memory when encoders are evaluated: each step says what it was and which setting to lower, without a traceback."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import toy_stage
from command_line import call, refused
from toy_stage import TINY

from skelmm_core import comparison, experiment, predicting
from skelmm_core.augmentation import Augmentation
from skelmm_core.comparison import parts, subjects
from skelmm_core.errors import TrainingError
from skelmm_core.evaluation import linear, recipes
from skelmm_core.experiment import Experiment
from skelmm_core.settings import Evaluate

motion = toy_stage.motion  # a fixture
FULL = "CUDA out of memory. Tried to allocate 20.00 MiB"
REASON = f"({FULL})\n"


def full(*_, **__):
    raise torch.OutOfMemoryError(f"{FULL}\nand much more about it")


def evaluate(motion, out, *more) -> tuple:
    return ("evaluate", "untrained", "--data", motion, "--out", out, "--smoke", "--device", "cpu", "--modalities", "joint", *more)


def measure(motion, out, *more, references="") -> tuple:
    return evaluate(motion, out, "--references", references, "--measure", *more)


@pytest.mark.parametrize("options", [evaluate, lambda *where: measure(*where, "linear")], ids=["", "--measure"])
def test_of_frozen_features(motion, tmp_path, capsys, monkeypatch, options):
    monkeypatch.setattr(experiment.features, "extract", full)
    shown = refused(capsys, *options(motion, tmp_path))
    assert shown.endswith(f"skelmm: features of 12 clips on cpu: out of memory; lower frames {REASON}")


def test_of_versions_of_training_clips(motion, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Augmentation, "__call__", full)
    shown = refused(capsys, *evaluate(motion, tmp_path, "--probe-views", 2))
    assert shown.endswith(f"skelmm: versions of 12 training clips on cpu: out of memory; set probe_views=0, or lower frames {REASON}")


def test_of_probes(motion, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(experiment, "score", full)
    shown = refused(capsys, *evaluate(motion, tmp_path, "--probe-batch", 7, "--probe-views", 1))
    assert f"linear probes and kNN at probe_batch=7, probe_views=1: out of memory; lower probe_views or probe_batch {REASON}" in shown


def test_of_classifiers_that_are_exported(motion, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(linear, "classifiers", full)
    words = ("pretrain", tmp_path / "a.safetensors", "--classes", "--data", motion, "--out", tmp_path, "--smoke", "--device", "cpu")
    shown = refused(capsys, "export", *words, "--modalities", "joint", "--probe-batch", 7)
    assert f"linear classifiers at probe_batch=7, probe_views=0: out of memory; lower probe_views or probe_batch {REASON}" in shown
    assert not (tmp_path / "a.safetensors").exists()


@pytest.mark.parametrize(
    ("recipe", "module", "function", "told"),
    [
        ("linear", parts.linear, "linear_probe", "untrained, linear: out of memory; lower probe_views, or -p linear.batch"),
        ("semi-linear", parts.semi, "linear_probe", "untrained, semi-linear: out of memory; lower probe_views or probe_batch"),
        ("fusion", parts.fusion, "fusions", "untrained, fusion: out of memory; lower probe_views or probe_batch"),
        ("retrieval", parts.retrieval, "ranked", "untrained, retrieval: out of memory; choose a protocol that has fewer clips"),
    ],
)
def test_of_a_measure(motion, tmp_path, capsys, monkeypatch, recipe, module, function, told):
    monkeypatch.setattr(module, function, full)
    assert f"skelmm: {told} {REASON}" in refused(capsys, *measure(motion, tmp_path, recipe))
    assert not list((tmp_path / "evaluations").glob("part-*"))


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ("finetune", "supervised, finetune at batch=5 on cpu: out of memory; lower -p finetune.batch, or frames"),
        ("semi", "supervised, semi at batch=5 on cpu: out of memory; lower -p semi.batch, or frames"),
        ("knn", "training the supervised reference at batch=64 on cpu: out of memory; add finetune to --measure and lower "
                "-p finetune.batch, or lower frames, or leave it out of --references"),
    ],
)  # fmt: skip
def test_of_the_supervised_reference(motion, tmp_path, capsys, monkeypatch, chosen, told):
    monkeypatch.setattr(subjects.finetuning, "finetune", full)
    batch = () if chosen == "knn" else ("-p", f"{chosen}.batch=5")
    assert f"skelmm: {told} {REASON}" in refused(capsys, *measure(motion, tmp_path, chosen, *batch, references="supervised"))


def test_of_finetuning(motion, tmp_path, monkeypatch):
    exp = Experiment(motion, tmp_path, **TINY)
    monkeypatch.setattr(subjects.finetuning, "finetune", full)
    recipe = recipes.resolve(["aimclr-finetune"], smoke=True)
    found = comparison.with_references(exp, "pretrain", exp.untrained(), [], recipe["aimclr-finetune"], tmp_path)
    with pytest.raises(TrainingError, match="pretrain, aimclr-finetune at batch=64 on cpu: out of memory; lower -p aimclr-finetune.batch"):
        comparison.compare(found, recipe, tmp_path, False)


def test_of_predictions(motion, tmp_path, capsys):
    words = ("pretrain", tmp_path / "a.safetensors", "--classes", "--data", motion, "--out", tmp_path, "--smoke", "--device", "cpu")
    call(capsys, "export", *words, "--modalities", "joint")
    model = predicting.load(tmp_path / "a.safetensors")
    model.logits = full
    with pytest.raises(
        TrainingError, match=r"2 clips of 9 frames through 'a\.safetensors': out of memory; cut the clips shorter, or give fewer"
    ):
        model.probabilities(np.zeros((2, 1, 9, len(model.skeleton), 3), np.float32))


def test_another_error_is_not_taken_for_it(motion, tmp_path, monkeypatch):
    exp = Experiment(motion, tmp_path, **TINY)
    monkeypatch.setattr(experiment.features, "extract", lambda *_, **__: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        exp.features(exp.untrained())


def test_advice_names_what_the_probe_that_runs_needs():
    assert linear.lighter(Evaluate()) == "lower probe_views or probe_batch"
    assert linear.lighter(Evaluate(probe_fit="ridge")) == "lower probe_views, segments, regions or levels", "ridge knows no batches"
