"""Evaluation against independent references: scikit-learn, slow loops written from the definition, closed forms, published figures."""

from __future__ import annotations

import contextlib
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, silhouette_score
from sklearn.neighbors import KNeighborsClassifier

from skelmm_core import clips as clip_files
from skelmm_core import encoder as encoder_module
from skelmm_core import modalities, sources
from skelmm_core.batches import Batches, order
from skelmm_core.encoder import Branches, Encoder, EncoderShape, initialise
from skelmm_core.errors import DataError, SettingsError, TrainingError
from skelmm_core.evaluation import complexity, diagnosis, features, knn, linear, metrics, tsne
from skelmm_core.protocols import Split, split
from skelmm_core.recordings import as_given
from skelmm_core.settings import Evaluate
from skelmm_core.skeletons import KINECT20, NTU25

SMALL = EncoderShape(hidden=2, features=8, embedding=4, dropout=0.5)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_branches(names=modalities.NAMES, **shape) -> Branches:
    branches = Branches({n: Encoder(KINECT20, EncoderShape(**{**SMALL.__dict__, **shape})) for n in names})
    initialise(branches, "scaled", rng())
    return branches


def small_batches(count: int = 7, bodies: int = 2) -> Batches:
    joints = torch.randn(count, 3, 8, 20, bodies, generator=rng(1))
    joints[0, ..., 1:] = 0
    numbers = torch.arange(count)
    return Batches(joints, torch.full((count,), 20), numbers % 3, numbers, KINECT20)


def blobs(streams: int, count: int, width: int, classes: int, spread: float, seed: int = 0, dtype=torch.float32):
    """Features around one random centre per class and stream, train and test: name -> (N, F), labels (N,)."""
    g = rng(seed)
    centres = torch.randn(streams, classes, width, generator=g, dtype=dtype)
    parts = []
    for _ in range(2):
        labels = torch.arange(count) % classes
        noise = torch.randn(streams, count, width, generator=g, dtype=dtype)
        x = centres[:, labels] + spread * noise
        parts += [{n: f for n, f in zip(modalities.NAMES, x, strict=False)}, labels]
    return parts


# features


@pytest.mark.parametrize("bodies", ["all", "present"])
def test_extract_is_the_encoder_on_each_clip_in_eval_mode(bodies):
    branches, data = small_branches(bodies=bodies), small_batches()
    branches.train()
    branches["bone"].eval()
    found = features.extract(branches, data, chunk=3)
    assert [e.training for e in branches.values()] == [n != "bone" for n in branches]
    assert branches["joint"].blocks[3].training and not branches["bone"].blocks[3].training
    branches.eval()
    for name, f in found.items():
        assert f.shape == (7, 8) and not f.requires_grad
        for i in range(7):
            one = data.select(torch.tensor([i]))
            x = modalities.compute(one.joints, one.frames, KINECT20)[name]
            torch.testing.assert_close(f[i : i + 1], branches[name](x)[0], rtol=1e-4, atol=1e-5)


def test_extract_unit_axis_changes_the_rotation_axis_only():
    branches, data = small_branches(), small_batches()
    unit, raw = features.extract(branches, data, unit_axis=True), features.extract(branches, data, unit_axis=False)
    assert {n for n in unit if not torch.equal(unit[n], raw[n])} == {"rotation_axis"}


def test_extract_computes_inside_the_given_context_and_restores_after_an_error():
    branches, data, entered = small_branches(("joint",)), small_batches(), []

    @contextlib.contextmanager
    def autocast():
        entered.append(True)
        with torch.autocast("cpu", torch.bfloat16):
            yield

    branches.train()
    low, full = features.extract(branches, data, autocast=autocast)["joint"], features.extract(branches, data)["joint"]
    assert entered == [True] and low.dtype == torch.float32
    assert 0 < (low - full).abs().max() < 0.1 * full.abs().max()
    with pytest.raises(DataError):
        features.extract(branches, Batches(data.joints[:, :, :, :9], data.frames, data.labels, data.index, KINECT20))
    assert branches.training and branches["joint"].training


def test_streams_that_do_not_fit_are_errors():
    a, b = torch.ones(4, 3), torch.ones(4, 5)
    with pytest.raises(DataError, match="at least one stream"):
        features.stacked({})
    with pytest.raises(DataError, match="same N and F"):
        features.stacked({"joint": a, "bone": b})
    with pytest.raises(DataError, match="same branches"):
        features.stacked({"joint": a}, like={"bone": a})
    with pytest.raises(DataError, match="width"):
        features.stacked({"joint": a}, like={"joint": b})
    flipped = features.stacked({"joint": a, "bone": 2 * a}, like={"bone": a, "joint": a})
    assert flipped[:, 0, 0].tolist() == [2, 1]
    for labels, message in ((torch.zeros(3), "labels of shape"), (torch.tensor([0, 1, 2, 3]), "0..2, found 0 to 3")):
        with pytest.raises(DataError, match=message):
            features.checked_labels(labels, a.unsqueeze(0), 3, "train")


def test_joined_dot_products_are_summed_cosines():
    x = {n: torch.randn(5, 4, generator=rng(i)) for i, n in enumerate(("joint", "bone", "motion"))}
    both = features.joined(x)
    expected = sum(F.cosine_similarity(f.unsqueeze(1), f.unsqueeze(0), dim=-1) for f in x.values())
    torch.testing.assert_close(both @ both.T, expected)


# linear probe


def slow_probe(x, labels, names, classes, s: Evaluate, together: bool):
    """The published procedure step by step with nn.Linear and torch.optim.SGD, one group of modules at a time."""
    weights, biases = linear.initial(names, x.shape[2], classes, s.seed)
    heads = [torch.nn.Linear(x.shape[2], classes, dtype=x.dtype) for _ in names]
    for head, w in zip(heads, weights, strict=True):
        head.weight.data.copy_(w.T)
        head.bias.data.zero_()
    assert not biases.any()
    for group in [list(range(len(heads)))] if together else [[i] for i in range(len(heads))]:
        optimiser = torch.optim.SGD([p for i in group for p in heads[i].parameters()], s.probe_lr, momentum=0.9)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [round(s.probe_lr_drop * s.probe_epochs)], 0.1)
        for epoch in range(s.probe_epochs):
            for rows in order(x.shape[1], s.probe_batch, s.seed, epoch):
                logits = sum(heads[i](x[i][rows]) for i in group) / len(group)
                optimiser.zero_grad()
                F.cross_entropy(logits, labels[rows]).backward()
                optimiser.step()
            schedule.step()
    return torch.stack([h.weight.detach().T for h in heads]), torch.stack([h.bias.detach().unsqueeze(0) for h in heads])


@pytest.mark.parametrize("together", [True, False])
def test_probe_weights_are_those_of_a_slow_loop(together):
    train, labels, _, _ = blobs(3, 53, 6, 4, spread=1.0, dtype=torch.float64)
    s = Evaluate(seed=3, probe_epochs=10, probe_lr=0.7, probe_batch=16, probe_lr_drop=0.8)
    x = features.stacked(train)
    weight, bias = linear.fit(x, labels, tuple(train), 4, s, together)
    slow_weight, slow_bias = slow_probe(x, labels, tuple(train), 4, s, together)
    torch.testing.assert_close(weight, slow_weight, rtol=0, atol=1e-10)
    torch.testing.assert_close(bias, slow_bias, rtol=0, atol=1e-10)
    single = linear.fit(x.float(), labels, tuple(train), 4, s, together)[0]
    torch.testing.assert_close(single.double(), slow_weight, rtol=0, atol=1e-5)


def test_probe_separates_what_is_separable_and_guesses_what_is_noise():
    s = Evaluate(probe_epochs=20)
    train, a, test, b = blobs(2, 200, 16, 5, spread=0.05)
    for fusion in linear.FUSIONS:
        result = linear.linear_probe(train, a, test, b, 5, s, fusion)
        assert result.accuracy == 100 and set(result.streams.values()) == {100.0}
    noise = {n: torch.randn(200, 16, generator=rng(9)) for n in train}
    assert linear.linear_probe(noise, a, {n: f.flip(0) for n, f in noise.items()}, b, 5, s, standardise=True).accuracy < 45


def test_probe_agrees_with_logistic_regression():
    train, a, test, b = blobs(1, 600, 8, 4, spread=1.2)
    result = linear.linear_probe(train, a, test, b, 4, Evaluate(probe_lr=0.5))
    reference = LogisticRegression(C=1e4, max_iter=2000).fit(train["joint"], a)
    assert np.mean(result.predictions == reference.predict(test["joint"])) > 0.97
    assert abs(result.accuracy - 100 * reference.score(test["joint"], b)) < 1


def test_fusion_joint_and_late_and_the_company_of_a_stream():
    train, a, test, b = blobs(3, 300, 4, 6, spread=1.2)
    s = Evaluate(probe_epochs=15, probe_lr=1.0)
    late, joint = (linear.linear_probe(train, a, test, b, 6, s, fusion) for fusion in ("late", "joint"))
    assert late.streams == joint.streams and not np.allclose(late.logits, joint.logits)
    assert min(late.accuracy, joint.accuracy) > max(late.streams.values())
    for name in train:
        alone = linear.linear_probe({name: train[name]}, a, {name: test[name]}, b, 6, s)
        np.testing.assert_allclose(alone.logits, late.stream_logits[name], atol=1e-4)
        assert alone.accuracy == late.streams[name] == alone.streams[name]
    np.testing.assert_allclose(late.logits, np.mean(list(late.stream_logits.values()), axis=0), atol=1e-5)
    again, other = (
        linear.linear_probe(train, a, test, b, 6, s),
        linear.linear_probe(train, a, test, b, 6, Evaluate(**{**s.__dict__, "seed": 1})),
    )
    assert np.array_equal(again.logits, joint.logits) and not np.array_equal(other.logits, joint.logits)


def test_standardised_probe_does_not_see_scale_or_offset():
    train, a, test, b = blobs(2, 120, 6, 3, spread=0.6, dtype=torch.float64)
    train["joint"][:, 2] = test["joint"][:, 2] = 4.0  # a feature that says nothing
    moved = [{n: 1e-4 * f + 30 for n, f in part.items()} for part in (train, test)]
    s = Evaluate(probe_epochs=30)
    plain, shifted = (linear.linear_probe(x, a, y, b, 3, s, standardise=True) for x, y in ((train, test), moved))
    np.testing.assert_allclose(plain.logits, shifted.logits, atol=1e-4)
    assert plain.accuracy > 90 > linear.linear_probe(moved[0], a, moved[1], b, 3, s).accuracy


def test_probe_says_what_is_wrong():
    train, a, test, b = blobs(1, 20, 4, 2, spread=3.0)
    with pytest.raises(SettingsError, match="did you mean 'late'"):
        linear.linear_probe(train, a, test, b, 2, Evaluate(), "lat")
    with pytest.raises(DataError, match="train: labels must be in 0..1"):
        linear.linear_probe(train, a + 1, test, b, 2, Evaluate())
    with pytest.raises(TrainingError, match="probe_lr"):
        linear.linear_probe({"joint": train["joint"] * 1e30}, a, {"joint": test["joint"] * 1e30}, b, 2, Evaluate(probe_epochs=2))


# nearest neighbours


@pytest.mark.parametrize("k", [1, 4, 7])
def test_knn_agrees_with_scikit_learn(k, monkeypatch):
    train, a, test, b = blobs(1, 90, 5, 3, spread=1.0)
    monkeypatch.setattr(knn, "BUDGET", 90 * 8)  # several chunks
    result = knn.knn(train, test, a, b, 3, k)
    x = train["joint"].numpy().astype(np.float64)
    reference = KNeighborsClassifier(k, metric="cosine").fit(x, a.numpy())
    share = reference.predict_proba(test["joint"].numpy().astype(np.float64))
    clear = (share == share.max(axis=1, keepdims=True)).sum(axis=1) == 1
    assert np.array_equal(result.predictions[clear], share.argmax(axis=1)[clear]) and clear.sum() > 50
    assert np.array_equal(np.floor(result.logits), np.round(share * k))
    assert result.accuracy == result.streams["joint"]


def test_knn_fuses_by_mean_cosine():
    train, a, test, b = blobs(3, 40, 4, 5, spread=1.5)
    result = knn.knn(train, test, a, b, 5)
    for i in range(40):
        cosines = [np.mean([float(F.cosine_similarity(train[n][j], test[n][i], dim=0)) for n in train]) for j in range(40)]
        assert result.predictions[i] == a[int(np.argmax(cosines))]
    side = knn.knn({"all": features.joined(train)}, {"all": features.joined(test)}, a, b, 5)
    assert np.array_equal(side.predictions, result.predictions)


def test_equal_votes_go_to_the_more_similar():
    angle = torch.tensor([0.10, 0.50, 0.20, 0.30, 3.0])  # of the gallery; the query is at 0
    gallery = {"joint": torch.stack([angle.cos(), angle.sin()], dim=1)}
    query = {"joint": torch.tensor([[2.0, 0.0]])}
    labels = torch.tensor([2, 2, 1, 1, 0])
    right = torch.tensor([1])
    assert knn.knn(gallery, query, labels, right, 3, 1).predictions.tolist() == [2]
    assert math.cos(0.1) + math.cos(0.5) < math.cos(0.2) + math.cos(0.3)
    assert knn.knn(gallery, query, labels, right, 3, 4).predictions.tolist() == [1]
    opposite = {"joint": -query["joint"]}  # all voters have a negative cosine: who has none must not win
    assert knn.knn({"joint": gallery["joint"][:4]}, opposite, labels[:4], right, 3, 4).predictions.tolist() == [2]
    for k in (0, 6):
        with pytest.raises(SettingsError, match="between 1 and the 5 clips"):
            knn.knn(gallery, query, labels, right, 3, k)


def test_leave_one_out_is_a_loop_over_the_others(monkeypatch):
    train, labels, _, _ = blobs(1, 60, 4, 3, spread=1.0)
    x = train["joint"]
    for k in (1, 3):
        right = 0
        for i in range(60):
            others = [j for j in range(60) if j != i]
            reference = KNeighborsClassifier(k, metric="cosine").fit(x[others].double().numpy(), labels[others].numpy())
            if k == 1:
                right += int(reference.predict(x[i : i + 1].double().numpy())[0] == labels[i])
            else:
                near = reference.kneighbors(x[i : i + 1].double().numpy())
                score = {}
                for distance, j in zip(near[0][0], near[1][0], strict=True):
                    c = int(labels[others[j]])
                    score[c] = tuple(np.add(score.get(c, (0, 0)), (1, 1 - distance)))
                right += int(max(score, key=score.get) == labels[i])
        assert knn.leave_one_out(x, labels * 10 - 5, k) == pytest.approx(100 * right / 60)
        monkeypatch.setattr(knn, "BUDGET", 7 * 60)


def write_clips(path, recordings, classes=3):
    source = clip_files.Source("generated motion for a test", KINECT20, tuple("abcdef"[:classes]), 30.0, "", "0", recordings, as_given)
    clip_files.write(path, source, progress=False)
    return clip_files.open_clips(path)


def some_recordings(move=lambda joints, i: joints):
    draw, found = np.random.default_rng(5), []
    motifs = draw.normal(size=(3, 1, 20, 3))
    for i in range(18):
        bodies, length = 1 + i % 2, int(draw.integers(4, 50))
        joints = motifs[i % 3] + draw.normal(size=(bodies, length, 20, 3), scale=0.9)
        joints[:, :, 8, 0] += 5  # a clear shoulder line
        joints = move(joints, i)
        if i in (3, 4):
            joints[0, :2] = 0  # the first body comes late
        if i == 5:
            joints[1, 1:3] = 0  # the second one leaves for a while
        found.append(clip_files.Recording(joints.astype(np.float32), i % 3, f"clip {i}", subject=i))
    return found


def slow_raw(recording, frames):
    """Raw coordinates as defined, one frame at a time, in float64: (frames, 20, 3, 2)."""
    x = recording.joints.astype(np.float64).copy()  # (M, T, V, 3)
    present = np.abs(x).max(axis=(2, 3)) > 0
    x = np.where(present[:, :, None, None], x - x[0, present[0].argmax(), 0], 0)
    length, out = x.shape[1], np.zeros((frames, 20, 3, 2))
    for t in range(frames):
        position = min(max((t + 0.5) * length / frames - 0.5, 0), length - 1)
        low = int(position)
        for m in range(len(x)):
            out[t, :, :, m] = (1 - position + low) * x[m, low] + (position - low) * x[m, min(low + 1, length - 1)]
    line = (out[:, 8, :, 0] - out[:, 4, :, 0]).mean(axis=0)
    toward = np.array([line[0], 0, line[2]]) / np.hypot(line[0], line[2])
    turned = np.stack([toward, [0, 1, 0], np.cross(toward, [0, 1, 0])])  # new axes as rows: x along the shoulders
    return np.einsum("ij,tvjm->tvim", turned, out)


def test_raw_nearest_is_a_loop_over_distances(tmp_path):
    clips = write_clips(tmp_path / "a.clips", some_recordings())
    part = Split(np.arange(0, 9), np.arange(9, 18), "halves")
    result = knn.raw_nearest(clips, part, frames=6)
    vectors = [slow_raw(clips[i], 6) for i in range(18)]
    given = knn.raw_coordinates(clips, np.arange(18), 6, 2, chunk=5)
    np.testing.assert_allclose(given.numpy(), np.stack([v.transpose(2, 0, 1, 3).ravel() for v in vectors]), atol=1e-5)
    nearest = [int(np.argmin([((vectors[i] - vectors[j]) ** 2).sum() for j in part.train])) for i in part.test]
    assert result.predictions.tolist() == [int(clips.labels[part.train[j]]) for j in nearest]
    assert result.accuracy == pytest.approx(100 * np.mean(result.predictions == clips.labels[part.test]))
    assert result.confusion.sum() == 9


def test_raw_coordinates_do_not_see_place_or_heading(tmp_path):
    def move(joints, i):
        turn = np.array([[np.cos(i), 0, np.sin(i)], [0, 1, 0], [-np.sin(i), 0, np.cos(i)]])
        return joints @ turn.T + [3 * i, -i, 0.5 * i]

    still, moved = (write_clips(tmp_path / name, some_recordings(how)) for name, how in (("a", lambda x, i: x), ("b", move)))
    a, b = (knn.raw_coordinates(c, np.arange(18), 8, 2) for c in (still, moved))
    torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-3)
    with pytest.raises(DataError, match="empty"):
        knn.raw_coordinates(still, np.arange(0), 8, 2)


def test_raw_nearest_on_utd_mhad_is_the_recorded_figure(shared, tmp_path):
    path = tmp_path / "utd.clips"
    clip_files.write(path, sources.read(shared / "data" / "utd_mhad_skeleton.tar.xz"), progress=False)
    clips = clip_files.open_clips(path)
    result = knn.raw_nearest(clips, split(clips, "odd-even-subjects"))
    assert len(result.labels) == 430 and result.accuracy == pytest.approx(82.3, abs=0.05)


# metrics


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_confusion_and_per_class_agree_with_scikit_learn(pairs):
    truth, said = np.array(pairs).T
    matrix = metrics.confusion(truth, said, 5)
    assert np.array_equal(matrix, confusion_matrix(truth, said, labels=range(5)))
    for c, percent in enumerate(metrics.per_class(matrix)):
        here = truth == c
        assert math.isnan(percent) if not here.any() else percent == pytest.approx(100 * np.mean(said[here] == c))
    assert metrics.accuracy(truth, said) == pytest.approx(100 * matrix.trace() / len(pairs))
    mistakes = metrics.most_confused(matrix, 100)
    assert sum(m.clips for m in mistakes) == len(pairs) - matrix.trace()
    assert [m.clips for m in mistakes] == sorted((m.clips for m in mistakes), reverse=True)
    assert all(m.truth != m.prediction and m.share == pytest.approx(100 * m.clips / (truth == m.truth).sum()) for m in mistakes)


def test_confusion_refuses_foreign_labels():
    with pytest.raises(DataError, match="predictions must be in 0..1"):
        metrics.confusion([0, 1], [0, 2], 2)


def test_result_as_plain_numbers():
    result = metrics.ProbeResult(np.array([[0.0, 1, 0], [2, 0, 0], [0, 3, 0]]), np.array([1, 1, 0]))
    assert result.predictions.tolist() == [1, 0, 1]
    assert result.summary() == {
        "accuracy": pytest.approx(100 / 3), "clips": 3, "streams": {}, "per_class": [0.0, 50.0, None],
        "confusion": [[0, 1, 0], [1, 1, 0], [0, 0, 0]],
    }  # fmt: skip


@pytest.mark.parametrize("directions", [1, 2, 5, 8])
def test_effective_rank_of_equal_directions_is_their_number(directions):
    axes = torch.eye(8)[:directions]
    assert metrics.effective_rank(torch.cat([axes, -3 * axes])) == pytest.approx(directions, abs=1e-6)


def test_effective_rank_in_closed_form_and_when_collapsed():
    # 9 pairs +-e1 and 4 pairs +-e2: singular values in the ratio 3 : 2
    x = torch.cat([torch.eye(2)[0].repeat(9, 1), torch.eye(2)[1].repeat(4, 1)])
    expected = math.exp(-(0.6 * math.log(0.6) + 0.4 * math.log(0.4)))
    assert metrics.effective_rank(torch.cat([x, -x])) == pytest.approx(expected, rel=1e-9)
    assert metrics.effective_rank(torch.ones(50, 8) * torch.arange(1, 51).unsqueeze(1)) == 1.0
    wide = torch.randn(5000, 16, generator=rng())
    assert metrics.effective_rank(wide) == pytest.approx(16, rel=0.01)


def test_pairwise_figures_are_loops_over_pairs():
    x = torch.randn(11, 4, generator=rng(), dtype=torch.float64) + 0.5
    u = F.normalize(x, dim=1)
    pairs = [(i, j) for i in range(11) for j in range(11) if i < j]
    assert metrics.mean_cosine(x) == pytest.approx(float(np.mean([u[i] @ u[j] for i, j in pairs])))
    spread = np.mean([math.exp(-2 * float((u[i] - u[j]).square().sum())) for i, j in pairs])
    assert metrics.uniformity(x) == pytest.approx(math.log(spread))
    assert metrics.alignment(x, 3 * x) == pytest.approx(0, abs=1e-12) and metrics.alignment(x, -x) == pytest.approx(4)
    assert math.isnan(metrics.mean_cosine(x[:1]))


def test_silhouette(monkeypatch):
    train, labels, _, _ = blobs(1, 60, 4, 3, spread=0.5)
    x = train["joint"]
    assert metrics.silhouette(x, labels) == pytest.approx(silhouette_score(x.numpy(), labels.numpy(), metric="cosine"), abs=1e-5)
    opposite = torch.tensor([[1.0, 0], [2, 0], [-1, 0], [-3, 0]])
    assert metrics.silhouette(opposite, [0, 0, 1, 1]) == pytest.approx(1)
    assert math.isnan(metrics.silhouette(x, [4] * 60)) and math.isnan(metrics.silhouette(x, range(60)))
    rows = metrics.sample(60, seed=0, most=50)
    assert len(set(rows.tolist())) == 50 and np.array_equal(rows, metrics.sample(60, seed=0, most=50))


def test_binomial_error_is_the_spread_of_repeated_tests():
    draws = np.random.default_rng(0).binomial(430, 0.823, 20000) / 4.30
    assert metrics.binomial_error(82.3, 430) == pytest.approx(draws.std(), rel=0.02)


# complexity


def by_hand(shape: EncoderShape, frames: int, joints: int, bodies: int, classes: int) -> float:
    """GFLOP of one encoder and classifier, block by block from the formula."""
    total, t = 0, frames
    for c_in, c_out, stride in shape.channels():
        total += t * joints * c_in * 3 * c_out + t * 3 * joints * joints * c_out  # 1x1 convolution, aggregation
        t = -(-t // stride)
        total += t * joints * 9 * c_out * c_out  # temporal convolution
        if c_in not in (3, c_out):
            total += t * joints * c_in * c_out  # residual
    return 2 * (bodies * total + shape.features * classes) / 1e9


def test_published_sizes(monkeypatch):
    six = Branches({n: Encoder(NTU25) for n in modalities.NAMES})
    one, three = (Branches({n: six[n] for n in modalities.NAMES[:count]}) for count in (1, 3))
    assert complexity.parameters(one, 60) == 836_800
    assert (round(complexity.parameters(six, 60) / 1e6, 2), round(complexity.parameters(three, 60) / 1e6, 2)) == (5.02, 2.51)
    single = complexity.gflops(one, 60)
    assert single == pytest.approx(by_hand(EncoderShape(), 50, 25, 2, 60), rel=1e-9) and round(single, 2) == 1.22
    assert (round(6 * single, 2), round(3 * single, 2)) == (7.35, 3.67)
    assert complexity.gflops(three, 60) == pytest.approx(3 * single)
    monkeypatch.setitem(encoder_module.DENSE_LIMIT, torch.float32, 10**9)
    assert complexity.gflops(one, 60) == single


@pytest.mark.parametrize("bodies", ["all", "present"])
def test_gflops_by_hand(bodies):
    branches = small_branches(("joint", "bone"), bodies=bodies)
    for frames, count in ((16, 1), (9, 2)):
        expected = 2 * by_hand(SMALL, frames, 20, count, 7)
        assert complexity.gflops(branches, 7, frames, count) == pytest.approx(expected, rel=1e-9)


def test_time_is_measured_and_leaves_things_as_they_were():
    branches = small_branches(("joint", "angular_velocity"))
    branches.train()
    state = {k: v.clone() for k, v in branches.state_dict().items()}
    threads = torch.get_num_threads()
    short, long = (complexity.milliseconds(branches, 7, frames, 1, clips=4, repeats=5, threads=1) for frames in (8, 256))
    assert 0 < short < long
    assert torch.get_num_threads() == threads and all(m.training for m in branches.modules())
    assert all(torch.equal(v, state[k]) for k, v in branches.state_dict().items())
    assert complexity.measure(branches, 7, 8, 1, repeats=1).parameters == complexity.parameters(branches, 7)


# t-SNE


def test_map_keeps_clusters_and_repeats():
    train, labels, _, _ = blobs(1, 60, 8, 3, spread=0.1)
    first, second = (tsne.tsne_map(train["joint"], seed=1, iterations=100) for _ in range(2))
    assert first.shape == (60, 2) and np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)
    assert KNeighborsClassifier(5).fit(first[::2], labels[::2]).score(first[1::2], labels[1::2]) == 1


def test_map_of_few_clips_and_what_it_refuses():
    x = torch.randn(tsne.SMALLEST, 4, generator=rng())
    assert tsne.tsne_map(x, iterations=20).shape == (tsne.SMALLEST, 2)
    with pytest.raises(DataError, match="at least 5 clips"):
        tsne.tsne_map(x[:-1])
    with pytest.raises(DataError, match="collapsed"):
        tsne.tsne_map(torch.ones(20, 4))
    with pytest.raises(DataError, match="finite"):
        tsne.tsne_map(torch.full((20, 4), torch.nan))


def test_label_scores_tell_what_features_hold():
    train, labels, _, _ = blobs(1, 80, 8, 4, spread=0.1)
    subject = np.random.default_rng(0).integers(1, 3, 80)
    scores = tsne.label_scores(train["joint"], {"label": labels, "subject": subject, "view": np.full(80, -1)})
    assert set(scores) == {"label", "subject"}
    assert scores["label"].knn == 100 and scores["label"].chance == 25 and scores["label"].silhouette > 0.8
    assert scores["subject"].knn < 70 and abs(scores["subject"].silhouette) < 0.1
    with pytest.raises(DataError, match="column 'label'"):
        tsne.label_scores(train["joint"], {"label": labels[:5]})


# diagnosis


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


def test_clips_of_one_group_are_no_neighbours():
    """Two views of each of four performances; the nearest of each clip is its other view."""
    base = torch.eye(4).repeat_interleave(2, 0) + 0.01 * torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    base[:, 0] += 0.3  # performances 0 and 1 are alike, and so are 2 and 3
    base[4:, 3] += 0.3
    groups, labels = torch.arange(4).repeat_interleave(2), torch.tensor([0, 0, 1, 1, 0, 0, 1, 1])
    assert knn.leave_one_out(base, labels) == 100
    right = 0
    for row in range(8):
        similarity = [float(F.cosine_similarity(base[row], base[other], 0)) if groups[other] != groups[row] else -2 for other in range(8)]
        right += bool(labels[int(np.argmax(similarity))] == labels[row])
    expected = right / 8
    assert knn.leave_one_out(base, labels, groups=groups) == pytest.approx(100 * expected) and expected < 1
    assert knn.leave_one_out(base, labels, groups=torch.full((8,), -1)) == 100
    assert tsne.label_scores(base, {"class": labels.numpy()}, groups=groups.numpy())["class"].knn == pytest.approx(100 * expected)


def test_excluded_clips_never_vote():
    """Three clips of one group and two others: each of the three has but two neighbours to choose from."""
    features, labels = torch.eye(5) + 0.5, torch.tensor([0, 0, 0, 1, 1])
    groups = torch.tensor([0, 0, 0, -1, -1])
    assert knn.leave_one_out(features, labels, 2, groups) <= 40, "no clip of the group finds its own label"
    with pytest.raises(SettingsError, match="between 1 and the 2 clips"):
        knn.leave_one_out(features, labels, 3, groups)
    with pytest.raises(DataError, match=r"groups have the shape \(4,\) for 5"):
        tsne.label_scores(features, {"class": labels.numpy()}, groups=groups.numpy()[:4])


@pytest.mark.parametrize(
    "subjects, views, repetitions, expected",
    [
        ([1, 1, 1, 1], [1, 2, 1, 2], [1, 1, 2, 2], "aabb"),
        ([1, 1, 2, 2], [1, 2, 1, 2], [1, 1, 1, 1], "aabb"),
        ([1, 1, 1, 1], [1, 1, 1, 1], [-1, -1, -1, -1], "----"),  # one camera: repetitions that nobody numbered
        ([1, 1, 1, 1], [-1, -1, -1, -1], [1, 1, 2, 2], "----"),
        ([-1, -1, -1, -1], [1, 2, 1, 2], [1, 1, 2, 2], "----"),
        ([1, 1, 1, 1], [1, 2, 1, 1], [1, 1, 2, 3], "aa--"),
    ],
)
def test_a_performance_is_what_several_views_show(subjects, views, repetitions, expected):
    clips = SimpleNamespace(
        labels=np.zeros(5, int), setups=np.full(5, -1), subjects=np.array([9, *subjects]), views=np.array([1, *views]),
        repetitions=np.array([1, *repetitions]),
    )  # fmt: skip
    found = tsne.performances(clips, np.arange(1, 5))
    assert [n >= 0 for n in found] == [word != "-" for word in expected]
    assert all((found[i] == found[j]) == (expected[i] == expected[j]) for i in range(4) for j in range(4))


def test_neighbours_of_nearly_collapsed_features_are_told_apart():
    """Cosines that differ by 1e-9 and less: rounded to float32 they are all 1."""
    angles = torch.tensor([0.0, 1.0, 3.0, 4.0, 9.0, 10.0]) * 1e-5
    vectors, labels = torch.stack([angles.cos(), angles.sin()], 1), torch.tensor([0, 0, 1, 1, 2, 2])
    assert knn.leave_one_out(vectors, labels) == 100
    assert (F.normalize(vectors, dim=1) @ F.normalize(vectors, dim=1).T).unique().numel() <= 2


def collapsed(count: int, streams: int, spread: float, seed: int, twins: bool) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Features that differ from one direction by `spread`, some of them there twice with other labels: name -> (N, F) float32, labels."""
    draw = np.random.default_rng(seed)
    labels, found = draw.integers(0, 4, count), {}
    same = draw.integers(0, count, count // 3)
    for name in modalities.NAMES[:streams]:
        x = np.random.default_rng(99).normal(size=16) * 1e-3 * (1 + draw.uniform(size=(count, 1))) + spread * 1e-3 * draw.normal(
            size=(count, 16)
        )
        if twins:
            x[: len(same)] = x[same]
        found[name] = torch.tensor(x, dtype=torch.float32)
    return found, torch.from_numpy(labels)


def winners(cosines: np.ndarray, labels: np.ndarray, k: int) -> set[int]:
    """Who may win by the rule, given cosines (G,) of one clip: most votes, then the larger sum; of sums that are equal to rounding, any."""
    order = sorted(range(len(cosines)), key=lambda j: -cosines[j])
    last = cosines[order[k - 1]]
    chosen = [j for j in order if cosines[j] > last + knn.EQUAL]
    chosen += [j for j in range(len(cosines)) if abs(cosines[j] - last) <= knn.EQUAL][: k - len(chosen)]
    score = {c: (sum(labels[j] == c for j in chosen), sum(cosines[j] for j in chosen if labels[j] == c)) for c in set(labels[chosen])}
    most = max(votes for votes, _ in score.values())
    best = max(total for votes, total in score.values() if votes == most)
    return {int(c) for c, (votes, total) in score.items() if votes == most and total > best - 4 * knn.EQUAL}


def cosines(query: torch.Tensor, gallery: torch.Tensor) -> np.ndarray:
    """(N, G) of float32 features, as exactly as float64 can say it."""
    units = [[row / math.sqrt(math.fsum(row * row)) for row in x.numpy().astype(np.float64)] for x in (query, gallery)]
    return np.array([[math.fsum(q * g) for g in units[1]] for q in units[0]])


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize(("spread", "twins"), [(1e-5, False), (1e-3, True), (1.0, True)])
def test_neighbours_of_nearly_collapsed_features_are_those_of_a_numpy_loop(k, spread, twins, monkeypatch):
    monkeypatch.setattr(knn, "BUDGET", 2 * 50 * 7)  # several chunks
    train, a = collapsed(50, 2, spread, 0, twins)
    test, b = collapsed(40, 2, spread, 1, twins)
    test, b = {name: torch.cat([x, train[name][:10]]) for name, x in test.items()}, torch.cat([b, a[:10]])  # ten are in both parts
    result = knn.knn(train, test, a, b, 4, k)
    single = {name: cosines(test[name], train[name]) for name in train}
    fused = sum(single.values()) / len(single)
    for i in range(50):
        assert result.predictions[i] in winners(fused[i], a.numpy(), k)
    for name, similarity in single.items():
        own = [winners(row, a.numpy(), k) for row in similarity]
        low, high = (2 * sum(truth in won and len(won) <= most for won, truth in zip(own, b.tolist(), strict=True)) for most in (1, 4))
        assert low <= result.streams[name] <= high and (twins or low == high)
    own = cosines(test["joint"], test["joint"])
    own = [winners(np.delete(own[i], i), np.delete(b.numpy(), i), k) for i in range(50)]
    low, high = (2 * sum(truth in won and len(won) <= most for won, truth in zip(own, b.tolist(), strict=True)) for most in (1, 4))
    assert low <= knn.leave_one_out(test["joint"], b, k) <= high and (twins or low == high)


@pytest.mark.parametrize("k", [1, 2, 4, 9])
def test_of_features_that_are_all_the_same_the_first_clips_vote(k):
    labels = torch.tensor([3, 1, 2, 1, 0, 0, 0, 0, 2, 2])
    x = torch.randn(10, 256, generator=rng())
    x = x[:1].double() * torch.rand(10, 1, generator=rng(1), dtype=torch.float64)
    votes = np.bincount(labels[:k].numpy(), minlength=4)
    result = knn.knn({"joint": x, "bone": x}, {"joint": x, "bone": -x}, labels, labels, 4, k)
    assert set(result.predictions) == {votes.argmax()}, "of equal votes the first class"
    assert result.streams["joint"] == result.streams["bone"] == 100 * (labels == votes.argmax()).double().mean()
    alone = [np.bincount(np.delete(labels.numpy(), i)[:k], minlength=4).argmax() == labels[i] for i in range(10)]
    assert knn.leave_one_out(x, labels, k) == 100 * np.mean(alone)
