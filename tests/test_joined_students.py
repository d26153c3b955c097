"""One student that sees several modalities joined along channels: nine input channels for joint, motion and bone."""

import pytest
import torch
import torch.nn.functional as F

from skelmm_core import export, modalities, settings
from skelmm_core.errors import SettingsError
from skelmm_core.evaluation import complexity
from skelmm_core.experiment import _title
from skelmm_core.skeletons import KINECT20
from skelmm_core.stages.contrast import Contrast
from skelmm_core.stages.distill import Distillation

SIZES = dict(hidden=2, features=8, embedding=4, frames=8, queue=13, dropout=0.0, crop_shift=1)


def distillation(students: str) -> Distillation:
    own = settings.resolve("distill", smoke=True, modalities="joint,motion,bone", students=students, **SIZES)
    return Distillation(own, KINECT20, Contrast(own, KINECT20).query)


def inputs(seed: int = 0) -> dict[str, torch.Tensor]:
    joints = torch.randn(5, 3, 8, 20, 1, generator=torch.Generator().manual_seed(seed))
    return modalities.compute(joints, torch.full((5,), 8), KINECT20, ["joint", "motion", "bone"])


def test_streams_have_one_spelling():
    assert modalities.check_streams(["bone+joint", "motion"]) == ("joint+bone", "motion")
    assert modalities.check_streams(["motion", "joint+motion", "joint"]) == ("joint", "joint+motion", "motion")
    assert modalities.parts_of(("bone", "joint+bone")) == ("joint", "bone")
    assert settings.resolve("distill", students=" bone + joint ").student_names == ("joint+bone",)
    with pytest.raises(SettingsError, match="no modality given; choose from: joint, motion, bone, "):
        modalities.check_streams([])
    with pytest.raises(SettingsError, match="unknown modality 'bones'; did you mean 'bone'"):
        modalities.check_streams(["joint+bones"])


def test_a_joined_stream_is_its_parts_one_after_the_other():
    computed = inputs()
    joined = modalities.join(computed, "joint+bone")
    assert joined.shape == (5, 6, 8, 20, 1)
    assert torch.equal(joined[:, :3], computed["joint"]) and torch.equal(joined[:, 3:], computed["bone"])
    assert modalities.join(computed, "bone") is computed["bone"]


def test_three_to_one_follows_the_formula_and_learns():
    model = distillation("bone+motion+joint").train()
    (student,) = model.students.values()
    assert model.names == ("joint+motion+bone",) and student.in_channels == 9
    query, key = inputs(0), inputs(1)
    with torch.no_grad():
        q = F.normalize(model.teacher.eval()(query)[1], dim=-1)  # (3, N, 4)
        stacked = torch.cat([key["joint"], key["motion"], key["bone"]], dim=1)
        e = F.normalize(student(stacked)[1], dim=-1)  # (N, 12)
    expected = 0.0
    for n in range(5):
        whole = torch.cat([q[v, n] for v in range(3)])
        target, similar = whole / whole.norm(), e[n] @ model.joint_queue.data[0]
        for v in range(3):
            relation = q[v, n] @ model.queues.data[v]
            z = torch.cat([(e[n] @ target)[None], similar, similar * relation]) / 0.07
            best = int(relation.argmax())
            expected += -z.log_softmax(0)[[0, 1 + best, 14 + best]].mean() / (3 * 5)
    step = model(query, key)
    assert step.losses.shape == (1,) and float(step.losses) == pytest.approx(float(expected), rel=1e-4)
    step.losses.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for name, p in student.named_parameters() if name.endswith("conv.weight"))


def test_it_costs_one_encoder_and_can_be_exported(tmp_path):
    one, three = distillation("joint+motion+bone").students, distillation("joint,motion,bone").students
    assert complexity.parameters(one, 10) < complexity.parameters(three, 10) / 2.5
    assert complexity.gflops(one, 10, 8, 1) < complexity.gflops(three, 10, 8, 1) / 2.5
    own = settings.resolve("distill", smoke=True, students="joint+motion+bone")
    export.save(tmp_path / "one.safetensors", one, own, "student")
    back, _ = export.load(tmp_path / "one.safetensors")
    for mine, theirs in zip(one.eval().features(inputs()).values(), back.features(inputs()).values(), strict=True):
        assert torch.equal(mine, theirs)
    assert list(back) == ["joint+motion+bone"]


@pytest.mark.parametrize("students", ["joint,motion,bone", "joint+motion+bone"])
def test_the_progress_line_names_the_students_that_are_trained(students):
    assert _title("distill", settings.resolve("distill", students=students)) == f"distill 6 modalities -> {students}"
    assert _title("exchange", settings.resolve("exchange")) == "exchange 6 modalities"
