"""Published checkpoints: every number recorded from the published implementation, and files of every kind of the layout."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from naive_stgcn import SUFFIX, encode, random_encoder, with_prefix

from skelmm_core import losses, modalities, published, skeletons
from skelmm_core.errors import CheckpointError
from skelmm_core.skeletons import NTU25
from skelmm_core.stages.contrast import Contrast

RTOL = 1e-4


@pytest.fixture(scope="module")
def numbers(shared):
    with np.load(shared / "parity" / "official_six_view.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def teacher(shared):
    return published.load(shared / "parity" / "official_six_view_pretrain.pt", dropout=0.0)


@pytest.fixture(scope="module")
def student(shared):
    return published.load(shared / "parity" / "official_six_view_student.pt", dropout=0.0)


@pytest.fixture(scope="module")
def inputs(numbers):
    """Modalities of the two augmented versions, query and key."""
    frames = torch.from_numpy(numbers["frames"])
    return [modalities.compute(torch.from_numpy(numbers[part]), frames, "ntu25", preset="published") for part in ("query", "key")]


def assert_near(found: torch.Tensor, recorded: np.ndarray, rtol: float = RTOL) -> None:
    """Relative to the largest recorded value, and in the mean."""
    recorded = torch.from_numpy(np.asarray(recorded)).double()
    error = (found.detach().double() - recorded).abs()
    assert error.max() <= rtol * recorded.abs().max()
    assert error.norm() <= rtol * recorded.norm()


def assert_each_near(found, recorded: np.ndarray) -> None:
    np.testing.assert_allclose(torch.as_tensor(found).detach().double().numpy(), recorded, rtol=RTOL)


def gradient_norms(branches) -> list[float]:
    return [float(torch.cat([p.grad.double().flatten() for p in e.parameters() if p.grad is not None]).norm()) for e in branches.values()]


def test_kind_and_sizes_are_told(teacher, student):
    assert (teacher.kind, student.kind) == ("IKEM teacher", "IKEM student")
    assert teacher.names == tuple(teacher.heads) == tuple(teacher.key) == modalities.NAMES
    for model in (teacher, student):
        assert (model.shape.hidden, model.shape.features, model.shape.embedding) == (4, 32, 16)
        assert model.queues.shape == (6, 16, 64)
    assert tuple(student.students) == ("joint", "motion", "bone") and not student.key and not student.heads
    assert student.teacher_queue.shape == (96, 64) and teacher.teacher_queue is None


@pytest.mark.parametrize("name", modalities.NAMES)
def test_modality(numbers, inputs, name):
    assert_near(inputs[0][name], numbers[f"modality_{name}"])


@pytest.mark.parametrize("name", modalities.NAMES)
def test_features_and_embeddings_in_eval_mode(numbers, teacher, inputs, name):
    with torch.no_grad():
        feature, embedding = copy.deepcopy(teacher.query[name]).eval()(inputs[0][name])
    assert_near(feature, numbers[f"eval_feature_{name}"])
    assert_near(embedding, numbers[f"eval_embedding_{name}"])


def test_inputs_of_an_ikem_file_are_the_published_modalities(numbers, teacher, inputs):
    found = teacher.inputs(torch.from_numpy(numbers["query"]), torch.from_numpy(numbers["frames"]))
    for name in modalities.NAMES:
        torch.testing.assert_close(found[name], inputs[0][name])


def test_stage_1(numbers, teacher, inputs):
    stage = published.to_contrast(teacher, published.settings_of(teacher, "exchange")).train()
    step = stage(*inputs)
    step.losses.sum().backward()
    stage.enqueue(step.keys)
    assert_each_near(step.losses, numbers["stage1_loss"])
    assert_each_near(gradient_norms(stage.query), numbers["stage1_gradnorm"])
    assert_near(stage.queues.data, numbers["stage1_queue_after"])
    assert stage.queues.pointer == 8
    assert all(p.grad is None for p in stage.key.parameters())


def test_stage_2_exchange_losses_one_by_one(numbers, teacher, inputs):
    stage = published.to_contrast(teacher, published.settings_of(teacher, "exchange", keys="published", topk=1)).train()
    with torch.no_grad():
        keys = stage(*inputs, exchange="ekem+ikem").keys[0]  # after the momentum update of three key encoders
        stage = published.to_contrast(teacher, stage.settings).train()
        feature, q = stage.query(inputs[0])
        q = torch.nn.functional.normalize(q, dim=-1)
        e = torch.stack([torch.nn.functional.normalize(stage.heads[n](f), dim=-1) for n, f in zip(stage.names, feature, strict=True)])
    assert_each_near(losses.ekem(q, keys, teacher.queues, topk=1), numbers["stage2_ekem_loss"])
    assert_each_near(losses.ikem(e, keys, teacher.queues), numbers["stage2_ikem_loss"])


def test_stage_2_gradient(numbers, teacher, inputs):
    stage = published.to_contrast(teacher, published.settings_of(teacher, "exchange")).train()
    before = copy.deepcopy(stage.key)
    step = stage(*inputs, exchange="ekem+ikem")
    step.losses.sum().backward()
    assert_each_near(step.losses, numbers["stage2_ekem_loss"] + numbers["stage2_ikem_loss"])
    assert_each_near(gradient_norms(stage.query), numbers["stage2_gradnorm"])
    moved = {n for n in before if not torch.equal(before[n].head[0].weight, stage.key[n].head[0].weight)}
    assert moved == {"motion", "acceleration", "angular_velocity"}


@pytest.mark.parametrize(("mode", "recorded"), [("train", "train"), ("eval", "eval_teacher")])
def test_stage_3(numbers, student, inputs, mode, recorded):
    own = published.settings_of(student, "distill", teacher_mode=mode, slipped_queue=True)
    stage = published.to_distillation(student, own).train()
    step = stage(*inputs)
    step.losses.sum().backward()
    assert_each_near(step.losses, numbers[f"stage3_loss_{recorded}"])
    assert_each_near(gradient_norms(stage.students), numbers[f"stage3_gradnorm_{recorded}"])
    assert all(p.grad is None for p in stage.teacher.parameters())
    without = published.to_distillation(student, published.settings_of(student, "distill", teacher_mode=mode, slipped_queue=False)).train()
    assert (without(*inputs).losses - step.losses).abs().min() > 1e-3  # the slip is in the recorded numbers


# --- files of every kind, made here; the reference is the naive ST-GCN on the same state dict ---

GRAPH = torch.from_numpy(NTU25.adjacency())
MLP = {"0": (32, 32), "2": (16, 32)}
SHARED = {"0": (32, 32), "2.0": (32, 32), "2.2": (16, 32)}  # CrosSCLR's second and third view end in the first view's whole head
LINEAR = {"": (16, 32)}


def make(roles: str = "qk", names=("joint",), heads=(MLP,), queue: int = 24, seed: int = 0) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    state: dict[str, torch.Tensor] = {}
    for role in roles:
        for name, head in zip(names, heads * len(names) if len(heads) == 1 else heads, strict=False):
            state |= with_prefix(f"encoder_{role}{SUFFIX[name]}.", random_encoder(rng, GRAPH, head))
    for name in names if queue else ():
        state[f"queue{SUFFIX[name]}"] = torch.nn.functional.normalize(torch.randn(16, queue, generator=rng), dim=0)
        state[f"queue_ptr{SUFFIX[name]}"] = torch.tensor([8])
    return state


@pytest.fixture
def saved(tmp_path):
    def save(content, name: str = "epoch300_model.pt"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save


KINDS = {
    "single": {},
    "two-view (CrosSCLR)": {"names": ("joint", "motion"), "heads": (MLP, SHARED)},
    "three-view (CrosSCLR/AimCLR)": {"names": ("joint", "motion", "bone"), "heads": (MLP, SHARED, SHARED)},
    "single, linear evaluation": {"roles": "q", "heads": (LINEAR,), "queue": 0},
    "three-view (CrosSCLR/AimCLR), linear evaluation": {"roles": "q", "names": ("joint", "motion", "bone"), "heads": (LINEAR,), "queue": 0},
    "IKEM teacher, linear evaluation": {"roles": "q", "names": tuple(SUFFIX), "heads": (LINEAR,), "queue": 0},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "wrapped"])
def test_every_kind_of_file_gives_the_naive_results(saved, kind, wrapped):
    state = make(**KINDS[kind])
    model = published.load(saved({"epoch": 3, "state_dict": with_prefix("module.", state)} if wrapped else state))
    assert model.kind == kind
    x = torch.randn(2, 3, 16, 25, 2, generator=torch.Generator().manual_seed(1))
    for role, branches in (("q", model.query), ("k", model.key)):
        for name, encoder in branches.items():
            with torch.no_grad():
                found, expected = encoder.eval()(x), encode(state, x, f"encoder_{role}{SUFFIX[name]}.")
            for a, b in zip(found, expected, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    if model.queues is not None:
        torch.testing.assert_close(model.queues, torch.stack([state[f"queue{SUFFIX[n]}"] for n in model.names]))
        assert model.pointer == 8


def test_a_single_encoder_with_a_linear_head_and_queues_is_a_pretrained_one(saved):
    assert published.load(saved(make(heads=(LINEAR,)))).kind == "single"


def test_the_graph_is_used_as_stored(saved):
    state = make()
    state["encoder_q.A"] = state["encoder_q.A"] * 0.5
    model = published.load(saved(state))
    torch.testing.assert_close(model.query["joint"].adjacency, GRAPH * 0.5)
    torch.testing.assert_close(model.key["joint"].adjacency, GRAPH)


def test_a_single_file_may_be_of_another_modality(saved):
    model = published.load(saved(make()), modality="bone")
    assert model.names == tuple(model.key) == ("bone",)
    assert published.to_contrast(model, published.settings_of(model, "pretrain")).names == ("bone",)


def test_inputs_of_crossclr_by_its_own_rule(saved):
    """Plain differences, bones by its own pairs, nothing at the centre: joint by joint as in its repository."""
    model = published.load(saved(make(**KINDS["three-view (CrosSCLR/AimCLR)"])))
    x = torch.randn(2, 3, 12, 25, 2, generator=torch.Generator().manual_seed(1))
    found = model.inputs(x, torch.tensor([70, 31]))
    parents = "2 21 21 3 21 5 6 7 21 9 10 11 1 13 14 15 1 17 18 19 21 23 8 25 12"
    bone = torch.stack([x[:, :, :, v] - x[:, :, :, int(p) - 1] for v, p in enumerate(parents.split())], dim=3)
    motion = torch.zeros_like(x)
    for t in range(11):
        motion[:, :, t] = x[:, :, t + 1] - x[:, :, t]
    assert tuple(found) == ("joint", "motion", "bone")
    for name, expected in (("joint", x), ("motion", motion), ("bone", bone)):
        torch.testing.assert_close(found[name], expected)


@pytest.mark.parametrize("kind", ["single", "three-view (CrosSCLR/AimCLR)", "three-view (CrosSCLR/AimCLR), linear evaluation"])
def test_training_starts_from_published_weights(saved, kind):
    model = published.load(saved(make(**KINDS[kind])))
    stage = published.to_contrast(model, published.settings_of(model, "pretrain", dropout=0.25, **({} if model.key else {"queue": 24})))
    assert isinstance(stage, Contrast) and stage.query["joint"].blocks[5].dropout == 0.25 and stage.query["joint"].blocks[0].dropout == 0
    before = stage.query["joint"].blocks[3].temporal.weight.clone()
    torch.testing.assert_close(before, model.query["joint"].blocks[3].temporal.weight)
    x = modalities.compute(
        torch.randn(4, 3, 16, 25, 2, generator=torch.Generator().manual_seed(1)), torch.full((4,), 40), "ntu25", model.names
    )
    optimiser = torch.optim.SGD(stage.query.parameters(), lr=0.1)
    step = stage.train()(x, x)
    step.losses.sum().backward()
    optimiser.step()
    stage.enqueue(step.keys)
    assert not torch.equal(before, stage.query["joint"].blocks[3].temporal.weight)
    torch.testing.assert_close(before, model.query["joint"].blocks[3].temporal.weight)  # the loaded model stays as it was
    written = slice(model.pointer, model.pointer + 4)
    torch.testing.assert_close(stage.queues.data[:, :, written], step.keys[0].transpose(1, 2))


def test_settings_that_do_not_fit_are_named(saved):
    model = published.load(saved(make()))
    for change in ({"hidden": 8}, {"queue": 25}, {"modalities": "joint,bone"}, {"embedding": 8}):
        with pytest.raises(CheckpointError, match=next(iter(change))):
            published.to_contrast(model, published.settings_of(model, "pretrain", **change))


# --- bad files ---


def broken(**changes):
    """A good file with keys replaced, or removed where the value is None."""
    state = make() | changes
    return {name: value for name, value in state.items() if value is not None}


BAD = {
    "leftover key": (broken(**{"encoder_q.attention.weight": torch.zeros(3)}), "unexpected.*attention"),
    "missing key": (broken(**{"encoder_k.st_gcn_networks.3.tcn.0.bias": None}), "missing.*encoder_k.st_gcn_networks.3.tcn.0.bias"),
    "missing size": (broken(**{"encoder_q.st_gcn_networks.0.gcn.conv.weight": None}), "st_gcn_networks.0.gcn.conv.weight"),
    "other shape": (broken(**{"encoder_q.data_bn.weight": torch.ones(60)}), r"another shape.*data_bn.weight \(60,\) instead of \(75,\)"),
    "other queue": (broken(queue=torch.zeros(17, 24)), r"another shape.*queue \(17, 24\)"),
    "no pointer": (broken(queue_ptr=None), "missing.*queue_ptr"),
    "pointer out of range": (broken(queue_ptr=torch.tensor([24])), "pointer"),
    "key encoders only": ({n: v for n, v in make().items() if "encoder_q" not in n}, "encoder_q"),
    "key of another view": (make() | with_prefix("encoder_k_bone.", random_encoder(torch.Generator(), GRAPH, MLP)), "key encoders"),
    "foreign names": ({"layer.weight": torch.zeros(2)}, "layer.weight"),
    "not a state dict": ([1, 2], "list"),
    "numbers": ({"encoder_q.A": 3}, "named tensors"),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_do_not_fit_are_refused_by_name(saved, name):
    content, message = BAD[name]
    with pytest.raises(CheckpointError, match=message) as error:
        published.load(saved(content))
    assert "epoch300_model.pt" in str(error.value)


def test_missing_empty_and_truncated_files(saved, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        published.load(tmp_path / "nothing.pt")
    whole = saved(make()).read_bytes()
    for size in (0, 10, 1000, len(whole) // 2, len(whole) - 100):
        torn = tmp_path / "torn.pt"
        torn.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=f"torn.pt.*{size} bytes"):
            published.load(torn)


def test_nothing_in_a_file_is_executed(saved, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    with pytest.raises(CheckpointError):
        published.load(saved({"encoder_q.A": Evil()}))
    assert not (tmp_path / "executed").exists()


def test_another_skeleton_is_refused(saved):
    path = saved(make())
    with pytest.raises(CheckpointError, match="25 joints.*'kinect20' has 20.*ntu25"):
        published.load(path, skeleton="kinect20")
    graph = GRAPH.clone()
    graph[1, 3, 7] = 0.5  # a link that NTU's skeleton does not have
    state = make()
    state["encoder_q.A"] = graph
    with pytest.raises(CheckpointError, match="another graph"):
        published.load(saved(state))


def test_kinect_checkpoints_load_with_their_skeleton(saved):
    graph = torch.from_numpy(skeletons.KINECT20.adjacency())
    state = with_prefix("encoder_q.", random_encoder(torch.Generator().manual_seed(0), graph, MLP))
    model = published.load(saved(state), skeleton="kinect20")
    x = torch.randn(2, 3, 16, 20, 1, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(model.query["joint"].eval()(x)[1], encode(state, x, "encoder_q.")[1], rtol=1e-4, atol=1e-4)
