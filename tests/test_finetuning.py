"""Fine-tuning: against a plain loop, on toy motion that can be separated, and as the supervised reference."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from skelmm_core import modalities
from skelmm_core.batches import Augmentation, Batches, order
from skelmm_core.encoder import Branches, Encoder, EncoderShape, initialise
from skelmm_core.errors import DataError, TrainingError
from skelmm_core.evaluation import features, finetuning, linear
from skelmm_core.evaluation.recipes import RECIPES, Finetune, Semi
from skelmm_core.settings import Evaluate
from skelmm_core.skeletons import KINECT20

SHAPE = EncoderShape(hidden=4, features=16, embedding=8, dropout=0.0)
QUICK = Finetune(epochs=15, batch=12, first_drop=0.8, second_drop=0.95)


def branches(names=("joint", "motion"), seed: int = 0, **shape) -> Branches:
    made = Branches({n: Encoder(KINECT20, EncoderShape(**{**SHAPE.__dict__, **shape})) for n in names})
    initialise(made, "scaled", torch.Generator().manual_seed(seed))
    return made.eval()


def motion(count: int, seed: int, noise: float = 0.05) -> Batches:
    """Three classes: the head, a hand or a foot swings, among joints that tremble."""
    g = torch.Generator().manual_seed(seed)
    x = noise * torch.randn(count, 3, 8, 20, 1, generator=g)
    labels = torch.arange(count) % 3
    swing = torch.sin(torch.linspace(0, 6.28, 8) + 6.28 * torch.rand(count, 1, generator=g))  # (N, T)
    for label, joint in enumerate((3, 7, 15)):
        x[labels == label, 1, :, joint, 0] += swing[labels == label]
    return Batches(x, torch.full((count,), 8), labels, torch.arange(count), KINECT20)


def test_what_can_be_separated_is_separated_and_the_start_stays_as_it_was():
    start, train, test = branches(hidden=8), motion(36, 0, 0), motion(39, 1, 0)
    before = copy.deepcopy(start.state_dict())
    tuned = finetuning.finetune(start, train, 3, QUICK)
    result = finetuning.tested(tuned, test)
    assert result.accuracy == 100 and tuned.losses[-1] < 0.1 < tuned.losses[0]
    assert set(result.streams) == {"joint", "motion"} and result.logits.shape == (39, 3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in start.state_dict().items())
    assert any(not torch.equal(tensor, before[name]) for name, tensor in tuned.branches.state_dict().items() if "conv" in name)
    assert not any(m.training for m in tuned.branches.modules())


@pytest.mark.parametrize("seed", [0, 1])
def test_it_beats_the_linear_probe_where_frozen_features_hardly_tell(seed):
    """A small swing among large trembling: random features drown it, trained ones look where it is."""
    start, train, test = branches(("joint",), seed, hidden=8), motion(60, 10 + seed, 0.2), motion(90, 100 + seed, 0.2)
    frozen = (features.extract(start, part) for part in (train, test))
    probe = linear.linear_probe(next(frozen), train.labels, next(frozen), test.labels, 3, Evaluate(probe_lr=1.0), standardise=True)
    tuned = finetuning.tested(finetuning.finetune(start, train, 3, replace(QUICK, epochs=25)), test)
    assert tuned.accuracy > 80 > 60 > probe.accuracy > 20  # 97 to 100 against 38 to 49 over five seeds


def test_weights_are_those_of_a_plain_loop():
    start, train = branches(), motion(20, 0)
    recipe = Finetune(epochs=4, lr=0.05, batch=8, weight_decay=1e-2, warmup=0.25, first_drop=0.5, second_drop=0.75)
    tuned = finetuning.finetune(start, train, 4, recipe, seed=3)
    model = copy.deepcopy(start).train()
    weight, _ = linear.initial(("joint", "motion"), 16, 4, 3)
    heads = [torch.nn.Linear(16, 4) for _ in model]
    for head, w in zip(heads, weight, strict=True):
        head.weight.data.copy_(w.T)
        head.bias.data.zero_()
    body = [p for name, p in model.named_parameters() if ".head." not in name]
    optimiser = torch.optim.SGD([*body, *(p for h in heads for p in h.parameters())], 1.0, momentum=0.9, weight_decay=1e-2)
    rates = [0.0, 0.025, 0.05, 0.05, 0.005, 0.005, 0.0005, 0.0005]  # warm-up over the first of four epochs, tenths after two and three
    steps = [rows for epoch in range(4) for rows in order(20, 8, 3, epoch)]
    for lr, rows in zip(rates, steps, strict=True):
        part = train.select(rows)
        inputs = modalities.compute(part.joints, part.frames, KINECT20, ("joint", "motion"))
        logits = sum(h(e.feature(inputs[n])) for h, (n, e) in zip(heads, model.items(), strict=True)) / 2
        optimiser.param_groups[0]["lr"] = lr
        optimiser.zero_grad()
        F.cross_entropy(logits, part.labels).backward()
        optimiser.step()
    for name, tensor in tuned.branches.state_dict().items():
        torch.testing.assert_close(tensor, model.state_dict()[name], rtol=1e-4, atol=1e-5, msg=name)
    torch.testing.assert_close(tuned.weight, torch.stack([h.weight.detach().T for h in heads]), rtol=1e-4, atol=1e-5)


def test_a_seed_repeats_and_another_differs_with_dropout_and_augmentation():
    start, train = branches(dropout=0.5), motion(24, 0)
    recipe, change = Finetune(epochs=2, batch=12, augment=True), Augmentation(shear=0.3, crop_min=0.8)
    torch.manual_seed(1)
    one = finetuning.finetune(start, train, 4, recipe, 0, change)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    same = finetuning.finetune(start, train, 4, recipe, 0, change)
    assert torch.equal(state, torch.get_rng_state()), "draws from nobody else's generator"
    assert one.losses == same.losses and torch.equal(one.weight, same.weight)
    other = finetuning.finetune(start, train, 4, recipe, 1, change)
    still = finetuning.finetune(start, train, 4, Finetune(epochs=2, batch=12), 0, change)
    assert len({one.losses[-1], other.losses[-1], still.losses[-1]}) == 3


def test_eval_mode_keeps_statistics_and_train_mode_does_not():
    start, train = branches(), motion(24, 0)
    for mode, same in (("eval", True), ("train", False)):
        tuned = finetuning.finetune(start, train, 4, Finetune(epochs=1, mode=mode))
        mean = tuned.branches["joint"].input_norm.running_mean
        assert torch.equal(mean, start["joint"].input_norm.running_mean) == same


def test_fewer_clips_than_a_batch_are_one_batch():
    tuned = finetuning.finetune(branches(("joint",)), motion(4, 0), 4, Finetune(epochs=30, batch=64))
    assert len(tuned.losses) == 30 and tuned.losses[-1] < 0.5 * tuned.losses[0]


def test_learning_rates_of_the_recipes_are_those_of_the_sources():
    for recipe, epochs, drops, lr in ((RECIPES["finetune"], 70, (30, 55), 0.1), (RECIPES["semi"], 60, (20, 40), 0.1)):
        assert recipe.epochs == epochs
        for epoch in range(5, epochs):
            expected = lr * 0.1 ** sum(epoch >= drop for drop in drops)
            assert finetuning.learning_rate(recipe, epoch / epochs) == pytest.approx(expected)
        assert finetuning.learning_rate(recipe, 0) == 0 and finetuning.learning_rate(recipe, 2.5 / epochs) == pytest.approx(lr / 2)
    cmd = RECIPES["cmd-semi"]
    assert isinstance(cmd, Semi) and [finetuning.learning_rate(cmd, e / 80) for e in (0, 49, 50, 70)] == pytest.approx(
        [0.01, 0.01, 1e-3, 1e-4]
    )


def test_what_is_wrong_is_told():
    with pytest.raises(DataError, match="labels must be in 0..1"):
        finetuning.finetune(branches(), motion(8, 0), 2, QUICK)
    with pytest.raises(TrainingError, match="toy: the loss is not finite at epoch .*lower lr"):
        finetuning.finetune(branches(), motion(8, 0), 4, Finetune(epochs=9, lr=1e12, warmup=0.0), title="toy")
