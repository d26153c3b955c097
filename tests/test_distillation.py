"""Every loss of stage 3 against a slow loop in numpy written from its formula, in closed form, by gradient check, and in training."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from skelmm_core import checkpoints, distillation, losses, manifest, modalities, settings
from skelmm_core.batches import Batches
from skelmm_core.distillation import LOSSES, MAPPED, Maps, Views
from skelmm_core.errors import SettingsError
from skelmm_core.evaluation.diagnosis import Course, ignorance, signs_of_failure
from skelmm_core.experiment import make_fabric
from skelmm_core.skeletons import KINECT20
from skelmm_core.stages.contrast import Contrast
from skelmm_core.stages.distill import Distillation
from skelmm_core.stages.loop import Loop

E, S, N, D, K, W = 2, 3, 5, 4, 9, 6
BATCH_OF = {"rkd": 3, "sp": 2, "pkt": 2}  # clips that a loss compares with one another


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def unit(x: Tensor, dim: int = -1) -> Tensor:
    return F.normalize(x, dim=dim)


def joint_of(teacher: Tensor) -> Tensor:
    return unit(teacher.movedim(0, 1).flatten(1))


def some_views(clips: int = N, temperature: float = 0.3, topk: int = 2) -> Views:
    raw, teacher = random(E, clips, S * D, seed=1), unit(random(S, clips, D, seed=2))
    queue, queues = unit(random(S * D, K, seed=3), 0), unit(random(S, D, K, seed=4), 1)
    maps = random(E, W, S * D, seed=5), random(E, W, S * D, seed=6)
    return Views(unit(raw), raw, teacher, joint_of(teacher), queue, queues, temperature, topk, maps)


def with_student(views: Views, raw: Tensor) -> Views:
    return dataclasses.replace(views, embedding=unit(raw), raw=raw)


def same(views: Views, scale: float = 1.0) -> Views:
    """Students whose answer is the teacher's T, times `scale`."""
    joint = views.joint.expand(E, -1, -1)
    return dataclasses.replace(views, embedding=scale * joint, raw=scale * joint)


# --- the formulas, number by number ---


def soft(z) -> np.ndarray:
    powers = np.array([math.exp(x) for x in z])
    return powers / powers.sum()


def slow_info_nce(e, v: dict) -> float:
    rows = []
    for n in range(len(e)):
        z = [np.dot(e[n], v["joint"][n]) / v["temperature"]]
        z += [np.dot(e[n], v["joint_queue"][:, i]) / v["temperature"] for i in range(K)]
        rows.append(-math.log(soft(z)[0]))
    return np.mean(rows)


def slow_relational(e, v: dict) -> float:
    tau, rows = v["temperature"], []
    for n, s in itertools.product(range(len(e)), range(S)):
        a = [np.dot(e[n], v["joint_queue"][:, i]) for i in range(K)]
        b = [np.dot(v["teacher"][s, n], v["queues"][s][:, i]) for i in range(K)]
        z = [np.dot(e[n], v["joint"][n]) / tau] + [x / tau for x in a] + [x * y / tau for x, y in zip(a, b, strict=True)]
        near = sorted(range(K), key=lambda i: -b[i])[: v["topk"]]
        p = soft(z)
        rows.append(-np.mean([math.log(p[i]) for i in [0, *(1 + i for i in near), *(1 + K + i for i in near)]]))
    return np.mean(rows)


def slow_seed(e, v: dict, tau_t: float = 0.07, tau_s: float = 0.2) -> float:
    rows = []
    for n in range(len(e)):
        others = [v["joint"][n]] + [v["joint_queue"][:, i] for i in range(K)]
        t, s = soft([np.dot(v["joint"][n], x) / tau_t for x in others]), soft([np.dot(e[n], x) / tau_s for x in others])
        rows.append(-sum(a * math.log(b) for a, b in zip(t, s, strict=True)))
    return np.mean(rows)


def slow_cmd(e, v: dict, topk: int = 8192, tau_t: float = 0.05, tau_s: float = 0.1) -> float:
    total = 0.0
    for n, s in itertools.product(range(len(e)), range(S)):
        seen = [np.dot(v["teacher"][s, n], v["queues"][s][:, i]) for i in range(K)]
        near = sorted(range(K), key=lambda i: -seen[i])[:topk]
        t, p = soft([seen[i] / tau_t for i in near]), soft([np.dot(e[n], v["joint_queue"][:, i]) / tau_s for i in near])
        total += sum(a * math.log(a / b) for a, b in zip(t, p, strict=True)) / len(e)
    return total + slow_info_nce(e, v)


def slow_kd(e, v: dict, tau: float = 4.0) -> float:
    rows = []
    for n in range(len(e)):
        t, s = (soft([np.dot(x, v["joint_queue"][:, i]) / tau for i in range(K)]) for x in (v["joint"][n], e[n]))
        rows.append(tau**2 * sum(a * math.log(a / b) for a, b in zip(t, s, strict=True)))
    return np.mean(rows)


def smooth_l1(x: float, y: float) -> float:
    apart = abs(x - y)
    return apart**2 / 2 if apart < 1 else apart - 0.5


def slow_rkd(e, v: dict) -> float:
    def distances(x) -> dict:
        found = {pair: math.dist(x[pair[0]], x[pair[1]]) for pair in itertools.permutations(range(len(x)), 2)}
        mean = sum(found.values()) / len(found)
        return {pair: d / mean for pair, d in found.items()}

    def angles(x) -> dict:
        found = {}
        for i, j, k in itertools.permutations(range(len(x)), 3):
            a, b = x[i] - x[j], x[k] - x[j]
            found[i, j, k] = np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b) or 1.0)
        return found

    total = 0.0
    for of, weight in ((distances, 25), (angles, 50)):
        s, t = of(e), of(v["joint"])
        total += weight * sum(smooth_l1(s[key], t[key]) for key in s) / len(s)
    return total


def slow_sp(e, v: dict, weight: float = 100.0) -> float:
    def rows(x) -> np.ndarray:
        return np.stack([g / math.sqrt(sum(g**2)) for g in (np.array([np.dot(a, b) for b in x]) for a in x)])

    return weight * sum(((rows(v["joint"]) - rows(e)) ** 2).flatten()) / len(e) ** 2


def slow_pkt(e, v: dict, weight: float = 1000.0) -> float:
    def shares(x) -> np.ndarray:
        return np.stack([k / sum(k) for k in (np.array([(np.dot(a, b) + 1) / 2 for b in x]) for a in x)])

    t, s = shares(v["joint"]), shares(e)
    return weight * np.mean([t[i, j] * math.log(t[i, j] / s[i, j]) for i, j in np.ndindex(t.shape)])


def slow_crd(e, v: dict, maps, tau: float = 0.07, z: float | None = None) -> float:
    def mapped(weight, x) -> np.ndarray:
        y = weight @ x
        return y / np.linalg.norm(y)

    s = [mapped(maps[0], x) for x in e]
    t, memory = [mapped(maps[1], x) for x in v["joint"]], [mapped(maps[1], x) for x in v["joint_queue"].T]
    z = z or np.mean([math.exp(np.dot(a, m) / tau) for a in s for m in memory])

    def h(a, b) -> float:
        ratio = math.exp(np.dot(a, b) / tau) / z
        return ratio / (ratio + K)

    return np.mean([-math.log(h(a, b)) - sum(math.log(1 - h(a, m)) for m in memory) for a, b in zip(s, t, strict=True)])


def slow_cosine(e, v: dict) -> float:
    return np.mean([sum((x - y) ** 2) for x, y in zip(e, v["joint"], strict=True)])


def slow_fitnet(raw, v: dict) -> float:
    return np.mean([sum((x - y) ** 2) / 2 for x, y in zip(raw, v["joint"], strict=True)])


def slow(name: str, views: Views) -> list[float]:
    v = {f.name: getattr(views, f.name) for f in dataclasses.fields(views)}
    v = {key: value.numpy() if isinstance(value, Tensor) else value for key, value in v.items()}
    found = []
    for i in range(E):
        seen = v["raw" if name == "fitnet" else "embedding"][i]
        more = ([views.maps[0][i].numpy(), views.maps[1][i].numpy()],) if name in MAPPED else ()
        found.append(globals()[f"slow_{name}"](seen, v, *more))
    return found


def close(found: Tensor, expected) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float64).expand_as(found), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_agrees_with_the_loop(name):
    for views in (some_views(), some_views(clips=3, temperature=0.07, topk=1)):
        found = LOSSES[name](views)
        assert found.shape == (E,)
        close(found, slow(name, views))


def test_parameters_have_their_part():
    views = some_views()
    v = {f: getattr(views, f).numpy() for f in ("joint", "joint_queue", "teacher", "queues")} | {"temperature": 0.3, "topk": 2}
    e, raw = views.embedding.numpy(), views.raw
    close(distillation.cmd(views, 3, 0.2, 0.4), [slow_cmd(x, v, 3, 0.2, 0.4) for x in e])
    close(distillation.seed(views, 0.01, 0.5), [slow_seed(x, v, 0.01, 0.5) for x in e])
    close(distillation.kd(views, 0.1), [slow_kd(x, v, 0.1) for x in e])
    close(distillation.crd(views, 0.5), [slow_crd(x, v, [m[i].numpy() for m in views.maps], 0.5) for i, x in enumerate(e)])
    close(distillation.sp(views, 1.0), [slow_sp(x, v, 1.0) for x in e])
    close(distillation.pkt(views, 1.0), [slow_pkt(x, v, 1.0) for x in e])
    close(distillation.rkd(views, 1.0, 0.0) * 25 + distillation.rkd(views, 0.0, 1.0) * 50, distillation.rkd(views))
    assert (distillation.rkd(views, 1.0, 0.0) > 0.01).all() and (distillation.rkd(views, 0.0, 1.0) > 0.01).all()
    far = unit(torch.cat([raw[:, :1] * 0 + 50 * random(1, 1, S * D, seed=8), raw[:, 1:] * 0.01 + random(1, 1, S * D, seed=9)], 1))
    apart = dataclasses.replace(views, embedding=far)  # one clip far from all: both pieces of SmoothL1 are in use
    close(distillation.rkd(apart), [slow_rkd(x, v) for x in far.numpy()])
    twins = dataclasses.replace(views, embedding=views.embedding[:, [0, 0, 1, 2, 3]])  # to a student two clips are the same
    close(distillation.rkd(twins), [slow_rkd(x, v) for x in twins.embedding.numpy()])


# --- closed forms ---


@pytest.mark.parametrize("name", ["kd", "rkd", "sp", "pkt", "cosine", "fitnet"])
def test_a_student_that_answers_as_its_teacher_loses_nothing(name):
    views = some_views()
    assert LOSSES[name](same(views)).abs().max() < 1e-9
    assert (LOSSES[name](views) > 1e-3).all()


def test_seed_comes_down_to_the_entropy_of_the_teacher():
    views = some_views()
    p = F.softmax(torch.cat([torch.ones(N, 1), views.joint @ views.joint_queue], dim=1).double() / 0.1, dim=1)
    close(distillation.seed(same(views), 0.1, 0.1), -(p * p.log()).sum(1).mean())
    assert (distillation.seed(views, 0.1, 0.1) > distillation.seed(same(views), 0.1, 0.1)).all()


def test_cmd_is_contrast_alone_where_the_student_sees_what_every_branch_sees():
    """Two branches with one view of the clips: T has it, too, so all three distributions agree at equal temperatures."""
    q, queue = unit(random(1, N, D, seed=7)).expand(2, -1, -1), unit(random(1, D, K, seed=8), 1).expand(2, -1, -1)
    joint = joint_of(q)
    views = Views(joint.expand(E, -1, -1), joint.expand(E, -1, -1), q, joint, unit(queue.flatten(0, 1), 0), queue)
    close(distillation.cmd(views, 5, 0.1, 0.1), distillation.info_nce(views))
    assert (distillation.cmd(views, 5, 0.05, 0.1) > distillation.info_nce(views) + 1e-3).all()


def test_kd_at_high_temperature_is_half_the_variance_of_the_difference():
    views = some_views()
    apart = (views.embedding - views.joint) @ views.joint_queue  # (E, N, K)
    torch.testing.assert_close(distillation.kd(views, 1e3), apart.var(-1, correction=0).mean(-1) / 2, rtol=1e-2, atol=0)
    torch.testing.assert_close(distillation.kd(views), apart.var(-1, correction=0).mean(-1) / 2, rtol=0.2, atol=0)


def turned(x: Tensor, seed: int = 11) -> Tensor:
    """Every student's embeddings under an orthogonal map of its own."""
    return x @ torch.linalg.qr(random(E, S * D, S * D, seed=seed)).Q


def test_invariances():
    """Distances and angles bear scaling, shifting and turning; products bear turning, and their normalised rows scaling; PKT turning."""
    views = some_views()

    def value(name: str, e: Tensor) -> Tensor:
        return LOSSES[name](dataclasses.replace(views, embedding=e))

    e, shift = views.embedding, random(S * D, seed=12)
    for name, changes in {"rkd": (7 * e, e + shift, turned(e)), "sp": (7 * e, turned(e)), "pkt": (turned(e),)}.items():
        for change in changes:
            close(value(name, change), value(name, e))
    assert (value("sp", e + shift) - value("sp", e)).abs().min() > 1e-3
    for name in ("relational", "info_nce", "seed", "cmd", "kd", "crd", "cosine"):  # they know where T lies
        assert (value(name, turned(e)) - value(name, e)).abs().min() > 1e-4, name


def test_embeddings_far_from_the_origin_keep_their_distances_in_float32():
    """Clips of an untrained encoder lie close together: distances of 1e-3 between unit vectors."""
    views = some_views()
    near = unit(unit(random(S * D, seed=13)) + 1e-3 * views.embedding)
    views = dataclasses.replace(views, embedding=near)
    narrow = dataclasses.replace(views, embedding=near.float(), joint=views.joint.float())
    torch.testing.assert_close(distillation.rkd(narrow).double(), distillation.rkd(views), rtol=1e-3, atol=1e-3)


def test_sp_and_pkt_of_two_clips_by_hand():
    """Teacher: two clips at right angles, rows (1, 0) and (0, 1); student: twice the same clip, all cosines 1."""
    joint = torch.eye(2, S * D, dtype=torch.float64)
    e = joint[:1].expand(E, 2, -1)
    views = Views(e, e, joint[None], joint, joint.T, joint.T[None])
    close(distillation.sp(views, 1.0), 2 * ((1 - 1 / math.sqrt(2)) ** 2 + 0.5) / 4)
    rows = 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)  # kernel rows (1, 1/2), so shares 2/3 and 1/3 against halves
    close(distillation.pkt(views, 1.0), rows / 2)


@pytest.mark.parametrize("name", LOSSES)
def test_ignorance_is_the_loss_of_a_student_without_any_idea(name):
    """All of the student's similarities are 0, whatever the teacher sees; no sign is given where no such value is known, but for NaN."""

    def value(seed: int) -> Tensor:
        views, nothing = some_views(), torch.zeros(E, N, S * D, dtype=torch.float64)
        teacher = unit(random(S, N, D, seed=seed))
        views = dataclasses.replace(views, embedding=nothing, raw=nothing, teacher=teacher, joint=joint_of(teacher))
        return LOSSES[name](views)

    known = ignorance("distill", K, name)
    if math.isnan(known):
        course = Course(known, 1.0)
        assert not signs_of_failure(clips=1, losses={"joint": course}) and name not in ("relational", "info_nce", "seed", "crd")
        assert signs_of_failure(clips=1, losses={"joint": Course(known, math.nan)})
    else:
        close(value(21), known)
        close(value(22), known)


# --- gradients ---


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "crd"])
def test_gradients_by_finite_differences(name):
    views = some_views()
    raw = random(E, N, S * D, seed=14).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](with_student(views, x)), raw)


def test_gradients_of_crd_by_finite_differences_with_its_constant_held():
    """Of the embedding and of both maps, along directions at random; Z, an estimate, has no gradient."""
    views = some_views()
    at = [views.embedding.clone(), *(m.clone() for m in views.maps)]
    v = {"joint": views.joint.numpy(), "joint_queue": views.joint_queue.numpy()}
    s = unit(at[0] @ at[1].mT)
    z = (s @ unit(at[2] @ views.joint_queue, -2) / 0.07).exp().mean((1, 2)).tolist()

    def value(x: list[Tensor]) -> float:
        e, of_student, of_teacher = (t.numpy() for t in x)
        return sum(slow_crd(e[i], v, (of_student[i], of_teacher[i]), z=z[i]) for i in range(E))

    leaves = [t.clone().requires_grad_() for t in at]
    distillation.crd(dataclasses.replace(views, embedding=leaves[0], maps=tuple(leaves[1:]))).sum().backward()
    for which, seed in itertools.product(range(3), range(4)):
        way = random(*at[which].shape, seed=30 + seed)
        there, back = ([t + sign * 1e-6 * way if i == which else t for i, t in enumerate(at)] for sign in (1, -1))
        slope = (value(there) - value(back)) / 2e-6
        assert float((leaves[which].grad * way).sum()) == pytest.approx(slope, rel=1e-5) and abs(slope) > 1e-3


@pytest.mark.parametrize("name", LOSSES)
def test_each_student_has_its_own_gradient(name):
    raw = random(E, N, S * D, seed=15).requires_grad_()
    LOSSES[name](with_student(some_views(), raw))[1].backward()
    assert not raw.grad[0].any() and raw.grad[1].abs().max() > 1e-4


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("where", ["one point", "two points", "its teacher"])
def test_losses_and_gradients_stay_finite(name, where):
    """Collapsed students, clips that coincide or lie opposite each other, and the minimum itself, where roots have no slope."""
    views = some_views()
    narrow = {f: getattr(views, f).float() for f in ("teacher", "joint", "joint_queue", "queues")}
    raw = views.joint.float().expand(E, -1, -1).clone()
    if where != "its teacher":
        raw = raw[:, :1].expand(-1, N, -1).clone()
    if where == "two points":
        raw[:, ::2] *= -1
    raw.requires_grad_()
    maps = tuple(m.float() for m in views.maps)
    found = LOSSES[name](dataclasses.replace(with_student(views, raw), maps=maps, **narrow))
    found.sum().backward()
    assert found.isfinite().all() and raw.grad.isfinite().all()


def test_rkd_takes_no_rounding_for_a_shape():
    """A student that has collapsed, but for the last bits of its numbers: no distances, no angles, no gradient."""
    views = some_views()
    views = dataclasses.replace(views, joint=views.joint.float())
    point = views.joint[:1].expand(E, N, -1)
    noisy = (point * (1 + 1e-7 * random(E, N, S * D, seed=16).float())).requires_grad_()
    assert (noisy != point).any(-1).float().mean() > 0.9
    found = distillation.rkd(dataclasses.replace(views, embedding=noisy))
    found.sum().backward()
    assert torch.equal(found, distillation.rkd(dataclasses.replace(views, embedding=point))) and not noisy.grad.any()


# --- errors ---


@pytest.mark.parametrize("name", BATCH_OF)
def test_losses_within_a_batch_need_enough_clips(name):
    least = BATCH_OF[name]
    assert LOSSES[name](some_views(least)).isfinite().all()
    with pytest.raises(SettingsError, match=f"'{name}' compares the clips of a batch and needs at least {least} in it, found {least - 1}"):
        LOSSES[name](some_views(least - 1))


def test_a_loss_that_learns_maps_says_when_there_are_none():
    with pytest.raises(SettingsError, match="'crd' learns linear maps, but views.maps is None"):
        distillation.crd(dataclasses.replace(some_views(), maps=None))


def test_the_setting_knows_the_table():
    assert settings.CHOICES["distillation"] == tuple(LOSSES) and set(MAPPED) <= set(LOSSES)
    assert all(settings.resolve("distill", preset).distillation == "relational" for preset in settings.PRESETS)
    with pytest.raises(SettingsError, match="'distillation' must be one of relational, .*; found 'rdk'; did you mean 'rkd'"):
        settings.resolve("distill", distillation="rdk")


# --- in the stage ---

SIZES = dict(hidden=4, features=16, embedding=8, frames=8, batch=8, queue=16, epochs=2, student_epochs=2, crop_shift=1, dropout=0.0,
             initialisation="scaled", precision="32-true", modalities="joint,motion,bone", students="joint,bone")  # fmt: skip


def stage(name: str, **changes) -> Distillation:
    own = settings.resolve("distill", smoke=True, **{**SIZES, "distillation": name, **changes})
    return Distillation(own, KINECT20, Contrast(own, KINECT20).query)


@torch.no_grad()
def tell_apart(teacher, query: dict) -> None:
    """Untrained encoders say almost the same of all clips; what they say in common is taken away, so that T differs from clip to clip."""
    for norm in (m for m in teacher.modules() if isinstance(m, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)):
        norm.momentum = 1.0
    teacher.train()(query)
    common = teacher.eval()(query)[1].mean(1)  # (S, D)
    for encoder, mean in zip(teacher.values(), common, strict=True):
        encoder.head[2].bias -= mean


def inputs(seed: int, clips: int = 0) -> dict[str, Tensor]:
    """Eight clips of a walk at random; the same for every seed, seen a little differently; others for other `clips`."""
    walk = 0.2 * torch.randn(8, 3, 8, 20, 1, generator=torch.Generator().manual_seed(1000 + clips)).cumsum(2)
    joints = walk + 0.02 * torch.randn(walk.shape, generator=torch.Generator().manual_seed(seed))
    return modalities.compute(joints, torch.full((8,), 8), KINECT20, ["joint", "motion", "bone"])


def step(model: Distillation, optimiser: torch.optim.Optimizer, query: dict, key: dict):
    found = model(query, key)
    optimiser.zero_grad()
    found.losses.sum().backward()
    optimiser.step()
    return found


@pytest.mark.parametrize("name", LOSSES)
def test_students_learn_by_every_loss_and_their_teacher_does_not(name):
    model = stage(name).train()
    tell_apart(model.teacher, inputs(0))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(trained, lr=0.02, momentum=0.9)
    teacher = {key: value.clone() for key, value in model.teacher.state_dict().items()}
    for clips in (1, 2):  # other clips fill the queues
        model.enqueue(step(model, optimiser, inputs(1, clips), inputs(2, clips)).keys)
    query, key = inputs(1), inputs(2)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    assert all(encoder.blocks[0].graph.conv.weight.grad.abs().max() > 0 for encoder in model.students.values())
    assert all(p.grad is None for p in model.teacher.parameters())
    course = torch.stack([step(model, optimiser, query, key).losses.detach() for _ in range(30)])  # (steps, E)
    assert course.isfinite().all()
    assert (course[-1] < 0.8 * course[0]).all(), course[[0, -1]]
    assert all(torch.equal(value, teacher[key]) for key, value in model.teacher.state_dict().items())


def test_the_weight_is_a_factor_on_loss_and_gradient():
    views, found = inputs(1), {}
    for weight in (1.0, 0.25):
        model = stage("cosine", distillation_weight=weight).eval()
        model(views, views).losses.sum().backward()
        found[weight] = [model(views, views).losses.detach(), *(p.grad for p in model.students.parameters())]
    for whole, part in zip(found[1.0], found[0.25], strict=True):
        torch.testing.assert_close(part, whole / 4, rtol=1e-4, atol=1e-6)
    with pytest.raises(SettingsError, match="'distillation_weight' must be above 0"):
        settings.resolve("distill", distillation_weight=0)


def test_the_slip_changes_what_looks_at_the_branches_queues_and_nothing_else():
    six = dict(modalities=settings.SIX, students="joint,bone")
    joints = torch.randn(4, 3, 8, 20, 1, generator=torch.Generator().manual_seed(3)).cumsum(2)
    views = modalities.compute(joints, torch.full((4,), 8), KINECT20)
    for name in ("relational", "cmd", "seed", "info_nce"):
        right, slipped = (stage(name, slipped_queue=slip, **six).eval()(views, views).losses for slip in (False, True))
        assert torch.equal(right, slipped) == (name not in ("relational", "cmd"))


@pytest.mark.parametrize("name", LOSSES)
def test_the_stage_asks_for_the_loss_that_is_set(name):
    """Of what its encoders give and its queues hold, with the settings' temperature and topk; relational as before."""
    model = stage(name, modalities=settings.SIX, slipped_queue=True, temperature=0.2, topk=3).eval()
    joints = torch.randn(4, 3, 8, 20, 1, generator=torch.Generator().manual_seed(3)).cumsum(2)
    query = modalities.compute(joints, torch.full((4,), 8), KINECT20)
    with torch.no_grad():
        q, raw = F.normalize(model.taught(query), dim=-1), model.students(query)[1]
        queue, queues = model.joint_queue.data[0], model.queues.data[[0, 1, 2, 3, 4, 2]]
        maps = (model.maps.student, model.maps.teacher) if name in MAPPED else None
        expected = LOSSES[name](Views(unit(raw), raw, q, joint_of(q), queue, queues, 0.2, 3, maps))
        if name == "relational":
            before = losses.relational_distillation(unit(raw), q, queue, model.queues.data, 0.2, 3, (0, 1, 2, 3, 4, 2))
            torch.testing.assert_close(before, expected, rtol=0, atol=0)
    torch.testing.assert_close(model(query, query).losses, expected, rtol=1e-5, atol=1e-6)
    assert name in MAPPED or (model.maps is None and not any(key.startswith("maps") for key in model.state_dict()))


def test_students_start_alike_under_every_loss_and_in_any_company():
    """A comparison of losses must compare nothing else."""
    first = stage("relational").students.state_dict()
    for name in LOSSES:
        assert all(torch.equal(value, first[key]) for key, value in stage(name).students.state_dict().items())
    both, one = stage("crd"), stage("crd", students="bone")
    for of in ("student", "teacher"):
        assert torch.equal(getattr(both.maps, of)[1], getattr(one.maps, of)[0])
    maps = Maps([torch.Generator().manual_seed(seed) for seed in (0, 1)], 768)
    assert maps.student.shape == maps.teacher.shape == (2, 128, 768) and not torch.equal(maps.student, maps.teacher)
    assert float(maps.student.detach().std()) == pytest.approx(768**-0.5, rel=0.01)


def test_learned_maps_are_in_checkpoints_and_a_run_in_two_parts_ends_as_one_in_a_piece(tmp_path):
    joints = torch.randn(16, 3, 8, 20, 1, generator=torch.Generator().manual_seed(0)).cumsum(2) * 0.05
    clips = Batches(joints, torch.full((16,), 8), torch.arange(16) % 4, torch.arange(16), KINECT20)

    def run(folder: str, stop: int | None = None) -> Distillation:
        model = stage("crd")
        Loop(make_fabric("cpu", "32-true"), model, model.settings, clips, tmp_path / folder, "toy", 2, stop=stop, save_every=0).run()
        return model

    start, whole = stage("crd"), run("whole")
    run("parts", stop=1)
    parts = run("parts")
    for key in ("maps.student", "maps.teacher"):
        assert not torch.equal(whole.state_dict()[key], start.state_dict()[key]), "they learn"
        saved = checkpoints.load(tmp_path / "whole" / "last.pt")
        assert torch.equal(saved["model"][key], whole.state_dict()[key]) and key in saved["momentum"]
    found = parts.state_dict()
    assert all(torch.equal(value, found[key]) for key, value in whole.state_dict().items())


def test_a_change_of_a_loss_is_a_change_of_the_training_code():
    assert any((manifest.PACKAGE / "distillation.py") in manifest.PACKAGE.glob(pattern) for pattern in manifest.TRAINING)
