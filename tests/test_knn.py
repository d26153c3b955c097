"""Nearest neighbours against scikit-learn and slow loops, ties and nearly collapsed features included."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from feature_data import blobs, rng
from sklearn.neighbors import KNeighborsClassifier

from skelmm_core import modalities
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.evaluation import features, knn, tsne


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
