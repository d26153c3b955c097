"""The slow oracle of the benchmarks reproduces the recorded numbers, and the fast path reproduces the oracle.

Dropout is off throughout: two implementations can't draw the same masks. Rounding can push one of the millions of activations of a step
across its ReLU's kink in one implementation and not in the other; the gradient then jumps, by 1e-4 to 1e-2 of the largest in the cases
that were looked into. So steps are compared three times: in float32 with ordinary weights, where what counts is a difference that every
draw of clips shows; without exception with weights that keep activations away from the kinks (`smooth`); and at the published width and
length with ordinary weights in float64, where rounding is too small to push anything across.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from benchmarks import plain
from benchmarks.plain import __main__ as runner
from benchmarks.plain.clips import augmented, prepare, sheared, window
from benchmarks.plain.modalities import compute
from benchmarks.plain.stgcn import graph
from benchmarks.plain.tables import AXIS, BONE, EDGES, LETTER, SUFFIX
from skelmm_core import augmentation, batches, graph_conv, modalities, settings
from skelmm_core.clips import Recording, Source, write
from skelmm_core.encoder import Branches
from skelmm_core.layout import published_name
from skelmm_core.skeletons import NTU25
from skelmm_core.stages.contrast import Contrast, encoders, shape_of
from skelmm_core.stages.distill import Distillation

FRAMES = 12  # T of the small clips
GRADIENTS = 5e-5  # of recorded norms: in float64 the oracle is 3e-5 away from them
SMALL = dict(hidden=4, features=32, embedding=16, queue=64)


# The recorded numbers of the published implementation


@pytest.fixture(scope="module")
def numbers(shared):
    with np.load(shared / "parity" / "official_six_view.npz") as file:
        return dict(file)


@pytest.fixture
def recorded(shared, numbers):
    """Function stage -> a trainer with the recorded weights, after one step on the recorded clips, and the losses of that step."""

    def run(stage: int, **changes):
        file = "student" if stage == 3 else "pretrain"
        weights = torch.load(shared / "parity" / f"official_six_view_{file}.pt", weights_only=True)
        trainer = plain.build(stage, **SMALL, preset="published", dropout=0.0, weights=weights, **changes)
        losses = trainer.step([torch.from_numpy(numbers[part]) for part in ("query", "key")], torch.from_numpy(numbers["frames"]))
        return trainer, losses

    return run


def assert_near(found, expected, tolerance: float) -> None:
    """Largest difference, relative to the largest expected value."""
    found, expected = (torch.as_tensor(x).detach().double() for x in (found, expected))
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def gradient_norm(encoder: torch.nn.Module) -> float:
    return float(torch.cat([p.grad.double().flatten() for p in encoder.parameters()]).norm())


def of(model: torch.nn.Module, role: str) -> list:
    return [model.of(role, name) for name in plain.NAMES]


@pytest.mark.parametrize("name", plain.NAMES)
def test_recorded_modalities(numbers, name):
    x, frames = torch.from_numpy(numbers["query"]), torch.from_numpy(numbers["frames"])
    assert_near(compute(x, frames, unit_axis=False)[name], numbers[f"modality_{name}"], 1e-6)


def test_recorded_features_and_embeddings(numbers, shared):
    weights = torch.load(shared / "parity" / "official_six_view_pretrain.pt", weights_only=True)
    model = plain.build(1, **SMALL, preset="published", weights=weights).model.eval()
    for name in plain.NAMES:
        with torch.no_grad():
            feature, embedding = model.of("encoder_q", name)(torch.from_numpy(numbers[f"modality_{name}"]))
        assert_near(feature, numbers[f"eval_feature_{name}"], 1e-5)
        assert_near(embedding, numbers[f"eval_embedding_{name}"], 1e-5)


def test_recorded_stage_1(recorded, numbers):
    trainer, losses = recorded(1)
    np.testing.assert_allclose(list(losses.values()), numbers["stage1_loss"], rtol=1e-5, atol=1e-6)  # logits of 14 are rounded by 1e-6
    np.testing.assert_allclose([gradient_norm(e) for e in of(trainer.model, "encoder_q")], numbers["stage1_gradnorm"], rtol=GRADIENTS)
    assert_near(torch.stack(of(trainer.model, "queue")), numbers["stage1_queue_after"], 1e-5)
    assert [int(p) for p in of(trainer.model, "queue_ptr")] == [8] * 6


def test_recorded_stage_2(recorded, numbers):
    trainer, losses = recorded(2)
    for kind in ("ekem", "ikem"):
        np.testing.assert_allclose([losses[f"{kind} {n}"] for n in plain.NAMES], numbers[f"stage2_{kind}_loss"], rtol=1e-5)
    np.testing.assert_allclose([gradient_norm(e) for e in of(trainer.model, "encoder_q")], numbers["stage2_gradnorm"], rtol=GRADIENTS)


@pytest.mark.parametrize(("mode", "record"), [("train", "train"), ("eval", "eval_teacher")])
def test_recorded_stage_3(recorded, numbers, mode, record):
    trainer, losses = recorded(3, teacher=mode)
    students = [getattr(trainer.model, f"encoder_student_{letter}") for letter in "jmb"]
    np.testing.assert_allclose(list(losses.values()), numbers[f"stage3_loss_{record}"], rtol=1e-5)
    np.testing.assert_allclose([gradient_norm(e) for e in students], numbers[f"stage3_gradnorm_{record}"], rtol=GRADIENTS)
    _, without = recorded(3, teacher=mode, slipped_queue=False)
    assert min(abs(without[name] - losses[name]) for name in losses) > 1e-3  # the slip is in the recorded numbers


# The fast path: tables, clips, modalities


def test_tables_are_the_same():
    for table, ours in ((BONE, NTU25.bone), (AXIS, NTU25.axis)):
        assert dict(table) == dict(enumerate(ours))
    assert {frozenset(edge) for edge in EDGES} == {frozenset(edge) for edge in NTU25.edges}
    assert torch.equal(graph(), torch.from_numpy(NTU25.adjacency()))


def recordings(count: int, seed: int = 0, bodies=(1, 2)) -> list[np.ndarray]:
    """Bodies (M, L, V, 3) in metres, of 9 to 60 frames, that move smoothly about a pose."""
    rng = np.random.default_rng(seed)
    clips = []
    for i in range(count):
        shape = (bodies[i % len(bodies)], int(rng.integers(9, 60)), 25, 3)
        pose = rng.normal(0, 0.4, (shape[0], 1, 25, 3))
        clips.append((pose + rng.normal(0, 0.02, shape).cumsum(1)).astype(np.float32))
    return clips


def test_clips_are_prepared_the_same():
    clips = recordings(8)
    rows = torch.from_numpy(np.concatenate([c.reshape(-1, 25, 3) for c in clips]))
    lengths, bodies = (torch.tensor([c.shape[axis] for c in clips]) for axis in (1, 0))
    starts = (lengths * bodies).cumsum(0) - lengths * bodies
    fast = batches.prepared(rows, starts, lengths, bodies, NTU25, FRAMES, 2, "frame")[0]
    torch.testing.assert_close(fast, torch.from_numpy(np.stack([prepare(c, FRAMES) for c in clips])), rtol=0, atol=2e-5)


def test_clips_are_augmented_the_same():
    """Every window and matrix that the fast path draws is one of the oracle's; both draw all of them."""
    clip = prepare(recordings(1, bodies=(2,))[0], FRAMES)
    pad = FRAMES // 6
    windows = [window(clip, pad, start) for start in range(2 * pad + 1)]
    many, rng = torch.from_numpy(clip).expand(200, -1, -1, -1, -1), torch.Generator().manual_seed(0)
    drawn = augmentation.shift_window(many, pad, rng).numpy()
    assert {next(i for i, w in enumerate(windows) if np.array_equal(w, x)) for x in drawn} == set(range(2 * pad + 1))
    matrix = augmentation.shear_matrix(200, 0.5, rng, many)
    fast = torch.einsum("nij,njtvm->nitvm", matrix, many)
    np.testing.assert_allclose(fast, [sheared(clip, m.double().numpy()) for m in matrix], atol=1e-6)


def test_draws_of_the_oracle_are_those_of_the_method():
    """Any 50 frames in a row of a clip that is mirrored by 8 at both ends; a matrix with unit diagonal and the rest in +-0.5."""
    clip = np.zeros((3, 50, 4, 1), np.float32)
    clip[:, :, 1:] = np.eye(3)[:, None, :, None] * 2
    clip[:, :, 0] = np.arange(50)[None, :, None]  # the frame's number times (1, 1, 1)
    matrices, starts = [], set()
    for seed in range(300):
        x = augmented(clip, np.random.default_rng(seed))
        matrix = x[:, 7, 1:, 0] / 2
        matrices.append(matrix)
        place = np.linalg.solve(matrix, x[:, :, 0, 0]).mean(0).round().astype(int)
        mirrored = [*range(7, -1, -1), *range(50), *range(49, 41, -1)]
        starts.add(next(s for s in range(17) if mirrored[s : s + 50] == place.tolist()))
    off = np.array(matrices)[:, ~np.eye(3, dtype=bool)]
    assert starts == set(range(17)) and np.allclose(np.array(matrices)[:, range(3), range(3)], 1)
    assert np.abs(off).max() <= 0.5 and off.min() < -0.45 and off.max() > 0.45 and abs(off.mean()) < 0.03


@pytest.mark.parametrize("fresh", [True, False])
def test_draws_of_a_worker_repeat_every_epoch_as_published_or_not(fresh):
    loader = plain.build(1, **SMALL, frames=FRAMES, modalities=1, fresh=fresh).loader(recordings(4), 2, workers=1, shuffle=False)
    (first, second), (third, fourth) = ([query for (query, _), _ in loader] for _ in range(2))
    assert (torch.equal(first, third) and torch.equal(second, fourth)) is not fresh
    assert not torch.equal(first, second)


def views(count: int, seed: int = 0, bodies=(1, 2), length: int = FRAMES) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Two augmented versions of `count` clips and their lengths, from the oracle's own loader; the second body of the first is empty."""
    oracle = plain.build(1, **SMALL, frames=length, modalities=1)
    ((clips, frames),) = oracle.loader(recordings(count, seed, bodies), count, shuffle=False, seed=seed)
    assert clips[0].shape == (count, 3, length, 25, 2) and not torch.equal(*clips)
    return clips, frames


@pytest.mark.parametrize("count", [3, 6])
@pytest.mark.parametrize("preset", plain.PRESETS)
def test_modalities_are_the_same(preset, count):
    (x, _), frames = views(count)
    fast, slow = modalities.compute(x, frames, NTU25, preset=preset), compute(x, frames, unit_axis=preset == "described")
    assert tuple(fast) == tuple(slow)
    for name in fast:
        assert_near(fast[name], slow[name], 1e-5)
        assert not slow[name][0, ..., 1].any()  # an empty body stays empty


# The fast path: steps


@torch.no_grad()
def vary(model: torch.nn.Module, smooth: bool) -> torch.nn.Module:
    """Edge importances, biases and normalisations away from ones and zeros, so that a part that is left out is seen.

    smooth: nearly all activations are positive, so that hardly one is so close to 0 that rounding decides over it. Features then have a
    mean that is known, which heads take away, since embeddings that are nearly one and the same would be nothing but rounding.
    """
    rng = torch.Generator().manual_seed(0)
    for name, p in model.named_parameters():
        if p.ndim == 1 or "importance" in name:
            p += 0.1 * torch.randn(p.shape, generator=rng)
    if smooth:
        trained = model.students if isinstance(model, Distillation) else model.query
        for name, encoder in trained.items():
            for block in encoder.blocks:
                block.norm1.bias += 4
                block.norm2.bias += 4
            mean = block.norm2.bias + block.shortcut[1].bias  # (features,)
            for head in (encoder.head, *([model.heads[name]] if isinstance(model, Contrast) else [])):
                head[0].bias -= head[0].weight @ mean
    return model


def fast_model(stage: int, own, smooth: bool) -> Contrast | Distillation:
    if stage < 3:
        return vary(Contrast(own, NTU25), smooth).train()
    model = vary(Distillation(own, NTU25, encoders(own, NTU25, own.names, "query", shape_of(own))), smooth)
    (x, _), frames = views(6, seed=9)
    norms = [m for m in model.teacher.modules() if isinstance(m, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0  # statistics of these clips; with those of a new encoder all clips look alike, and their order is rounding
    model.teacher.train()(modalities.compute(x, frames, NTU25))
    for norm in norms:
        norm.momentum = 0.1
    return model.train()


def renamed(branches: Branches, prefix: str, names: dict[str, str], values) -> dict[str, torch.Tensor]:
    """`values` of every encoder under their published names."""
    return {f"{prefix}{names[n]}.{published_name(key)}": v for n, encoder in branches.items() for key, v in values(encoder).items()}


def published_encoders(model: Contrast | Distillation, values) -> dict[str, torch.Tensor]:
    if isinstance(model, Distillation):
        return renamed(model.teacher, "encoder_q", SUFFIX, values) | renamed(model.students, "encoder_student_", LETTER, values)
    heads = {f"mlp2{LETTER[n]}.{key}": v for n, head in model.heads.items() for key, v in values(head).items()}
    return renamed(model.query, "encoder_q", SUFFIX, values) | renamed(model.key, "encoder_k", SUFFIX, values) | heads


def published_weights(model: Contrast | Distillation) -> dict[str, torch.Tensor]:
    """A copy of the fast model's state in the published layout."""
    state = published_encoders(model, torch.nn.Module.state_dict)
    if isinstance(model, Distillation):
        state |= {"queue_teacher": model.joint_queue.data[0], "queue_ptr_teacher": model.joint_queue.pointer.view(1)}
    names = model.teacher if isinstance(model, Distillation) else model.query
    for i, name in enumerate(names):
        state |= {f"queue{SUFFIX[name]}": model.queues.data[i], f"queue_ptr{SUFFIX[name]}": model.queues.pointer.view(1)}
    return {key: value.clone() for key, value in state.items()}


def gradients(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


class Pair:
    """The fast model and the oracle with the same weights, to be fed the same clips."""

    def __init__(self, stage: int, preset: str, smooth: bool = False, bodies: str = "all", **changes):
        given = dict(SMALL, frames=FRAMES, lr=0.002, topk=1, key_momentum=0.9, weight_decay=1.0) | changes
        self.own = own = settings.resolve("distill", preset, dropout=0.0, initialisation="scaled", precision="32-true",
                                          bodies=bodies, **given)  # fmt: skip
        self.fast = fast_model(stage, own, smooth)
        trained = [p for p in self.fast.parameters() if p.requires_grad]
        self.optimiser = torch.optim.SGD(trained, lr=own.lr, momentum=own.sgd_momentum, weight_decay=own.weight_decay, foreach=True)
        self.call = {} if stage == 3 else {"exchange": "stage1" if stage == 1 else "ekem+ikem"}
        given.pop("modalities", None)
        weights = published_weights(self.fast)
        self.slow = plain.build(stage, **given, preset=preset, modalities=len(own.names), dropout=0.0, weights=weights)

    def double(self) -> None:
        """Both in float64, with queues whose columns have unit length in it."""
        for model in (self.fast, self.slow.model):
            model.double()
            for name, buffer in model.named_buffers():
                if "queue" in name and buffer.is_floating_point():
                    buffer.copy_(torch.nn.functional.normalize(buffer, dim=-2))

    def step(self, clips: list[torch.Tensor], frames: torch.Tensor, rtol: float = 1e-4) -> None:
        """One step of both."""
        preset = "described" if self.own.unit_axis else "published"
        step = self.fast(*(modalities.compute(x, frames, NTU25, self.own.names, preset) for x in clips), **self.call)
        self.optimiser.zero_grad()
        step.losses.sum().backward()
        self.optimiser.step()
        self.fast.enqueue(step.keys)
        found = self.slow.step(clips, frames)
        slow = [sum(v for key, v in found.items() if key.split()[1] == name) for name in self.fast.names]
        torch.testing.assert_close(step.losses.detach(), torch.stack(slow), rtol=rtol, atol=rtol / 100)

    def differences(self) -> dict[str, float]:
        """Encoder or head -> difference of the gradient of its worst parameter, relative to its largest gradient."""
        fast, slow = published_encoders(self.fast, gradients), gradients(self.slow.model)
        assert fast.keys() == slow.keys() and len(fast) > 100
        largest: dict[str, float] = {}
        found: dict[str, float] = {}
        for name, g in slow.items():
            part = name.partition(".")[0]
            largest[part] = max(largest.get(part, 0.0), float(g.abs().max()))
            found[part] = max(found.get(part, 0.0), float((fast[name] - g).abs().max()))
        return {part: found[part] / largest[part] for part in found}

    def assert_same_changes(self, before: dict[str, torch.Tensor]) -> None:
        """What became of weights, statistics and queues since `before`, relative to the largest change of their kind; pointers exactly."""
        fast, slow = published_weights(self.fast), self.slow.model.state_dict()
        assert fast.keys() == slow.keys() == before.keys()
        largest: dict[tuple[str, bool], float] = {}
        for name, value in slow.items():
            kind = name.partition(".")[0], "running" in name
            largest[kind] = max(largest.get(kind, 0.0), float((value - before[name]).abs().max()))
        for name, value in slow.items():
            allowed = 2e-4 * largest[name.partition(".")[0], "running" in name] if value.is_floating_point() else 0
            assert (fast[name] - value).abs().max() <= allowed, name


@pytest.mark.parametrize("count", [6, 3])
@pytest.mark.parametrize("preset", plain.PRESETS)
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_losses_and_gradients_are_the_same_with_ordinary_weights(stage, preset, count):
    least: dict[str, float] = {}
    for seed in range(4):
        pair = Pair(stage, preset)
        pair.step(*views(count, seed))
        found = pair.differences()
        assert max(found.values()) <= 0.05
        least = {part: min(found[part], least.get(part, 1.0)) for part in found}
        if max(least.values()) <= 1e-4:
            return
    pytest.fail(f"gradients differ whatever the clips: {least}")


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_at_the_published_width_nothing_but_rounding_tells_gradients_apart(monkeypatch, stage):
    """Ordinary weights, 16 channels, 256 features, 50 frames: in float32 gradients differ by up to 6e-3 of the largest, in float64 not."""
    monkeypatch.setitem(graph_conv.DENSE_LIMIT, torch.float64, graph_conv.DENSE_LIMIT[torch.float32])  # the paths of float32
    pair = Pair(stage, "described", hidden=16, features=256, embedding=128, queue=2048, frames=50)
    pair.double()
    monkeypatch.setattr(torch.Tensor, "float", lambda x: x)  # logits in float64, too
    clips, frames = views(2, length=50)
    pair.step([x.double() for x in clips], frames, rtol=1e-11)
    assert max(pair.differences().values()) <= 1e-10


@pytest.mark.parametrize("preset", plain.PRESETS)
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_three_steps_with_optimiser_momentum_and_queues_are_the_same(stage, preset):
    """Queues of 13, which batches of 6 go round; two mined positives; a key momentum and a weight decay that show in three steps."""
    pair = Pair(stage, preset, smooth=True, queue=13, topk=2)
    before = published_weights(pair.fast)
    for seed in range(3):
        pair.step(*views(6, seed))
        assert max(pair.differences().values()) <= 1e-4
    pair.assert_same_changes(before)
    assert {int(p) for name, p in pair.slow.model.state_dict().items() if "_ptr" in name} == {3 * 6 % 13}
    weights = dict(pair.slow.model.named_parameters())
    moved = {name.partition(".")[0] for name, p in weights.items() if not torch.equal(p, before[name])}
    assert moved == learning(stage, preset)
    drifted = not torch.equal(pair.slow.model.encoder_q.data_bn.running_mean, before["encoder_q.data_bn.running_mean"])
    assert drifted == (stage < 3 or preset == "published")


def learning(stage: int, preset: str) -> set[str]:
    """What has other weights after a step."""
    if stage == 3:
        return {"encoder_student_j", "encoder_student_m", "encoder_student_b"}
    following = plain.NAMES if stage == 1 or preset == "described" else ("motion", "acceleration", "angular_velocity")
    heads = {f"mlp2{letter}" for letter in LETTER.values()} if stage == 2 else set()
    return heads | {f"encoder_q{suffix}" for suffix in SUFFIX.values()} | {f"encoder_k{SUFFIX[name]}" for name in following}


@pytest.mark.parametrize("stage", [1, 2])
def test_three_modalities_are_the_same(stage):
    pair = Pair(stage, "described", smooth=True, modalities="joint,motion,bone")
    pair.step(*views(6))
    assert len(pair.differences()) == 3 * stage and max(pair.differences().values()) <= 1e-4


@pytest.mark.parametrize("both", [True, False])
def test_bodies_that_are_not_there_are_all_that_tells_present_from_all(both):
    """With `bodies="present"` the fast path leaves out what the oracle encodes; where both bodies are there, it is the same."""
    pair = Pair(3, "described", smooth=True, bodies="present")
    clips = views(6, bodies=(2,) if both else (1, 2))
    if both:
        pair.step(*clips)
        assert max(pair.differences().values()) <= 1e-4
    else:
        with pytest.raises(AssertionError, match="not close"):
            pair.step(*clips)


# The oracle by itself


def test_size_of_the_published_encoder():
    encoder = plain.build(1, modalities=1, queue=1).model.encoder_q
    assert sum(p.numel() for name, p in encoder.named_parameters() if not name.startswith("fc.")) + 60 * 257 == 836_800
    assert float(encoder.st_gcn_networks[9].tcn[2].weight.detach().std()) == pytest.approx(0.02, rel=0.02)


def test_start_of_the_key_encoders():
    for preset in plain.PRESETS:
        model = plain.build(1, **SMALL, modalities=1, preset=preset).model
        same = torch.equal(model.encoder_q.fc[0].weight, model.encoder_k.fc[0].weight)
        assert same == (preset == "described")


def test_dropout_is_in_all_blocks_but_the_first():
    blocks = plain.build(1, **SMALL, modalities=1).model.encoder_q.st_gcn_networks
    assert [block.tcn[4].p for block in blocks] == [0.0] + [0.5] * 9


@pytest.mark.parametrize(("stage", "given"), [(4, {}), (2, {"modalities": 1}), (1, {"momentun": 0.9})])
def test_what_can_not_be_built_is_told(stage, given):
    with pytest.raises(ValueError, match=r"expected .*found .*(4|modalities=1|momentun)"):
        plain.build(stage, **SMALL, **given)


def test_more_clips_than_the_queue_holds_are_told():
    trainer = plain.build(1, **SMALL | {"queue": 2}, modalities=1, frames=FRAMES)
    with pytest.raises(ValueError, match="at most queue=2 clips, found 3"):
        trainer.step(*views(3))


def test_seconds_per_step_are_printed(capsys, tmp_path):
    source = Source("toy", NTU25, ("a",), 30.0, "", "0", range(2), recording)
    write(tmp_path / "toy.clips", source, progress=False, jobs=1)
    tiny = ["--batch", "2", "--queue", "8", "--hidden", "1", "--steps", "1"]
    for words in (["--stages", "1"], ["--stages", "3", "--clips", str(tmp_path / "toy.clips")]):
        runner.main(tiny + words)
        assert re.fullmatch(rf"stage {words[1]}: \d+\.\d+ s per step, loss \d+\.\d+\n", capsys.readouterr().out)


def recording(number: int) -> Recording:
    return Recording(recordings(2)[number], 0, f"clip {number}", subject=number)
