"""Watching training: right figures, collapse named, no effect on the run, nothing twice after an interruption."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from toy_stage import TINY, after, joints, loop, state, whole  # noqa: F401 - fixtures

from skelmm_core import modalities, watching
from skelmm_core.batches import Batches
from skelmm_core.errors import CheckpointError, SettingsError
from skelmm_core.evaluation import features
from skelmm_core.evaluation.knn import leave_one_out
from skelmm_core.experiment import Experiment
from skelmm_core.skeletons import KINECT20
from skelmm_core.stages.loop import Loop
from skelmm_core.watching import Watch


def quiet(every: int = 1, **kwargs) -> tuple[Watch, list[str]]:
    said: list[str] = []
    return Watch(every, say=said.append, **kwargs), said


def begun(joints: Batches, folder, **kwargs) -> tuple[Watch, Loop, list[str]]:  # noqa: F811
    watch, said = quiet(**kwargs)
    made = loop(joints, folder)
    made.folder.mkdir(parents=True, exist_ok=True)
    watch.begin(made, 0)
    return watch, made, said


ROW = {"epoch": 1, "lr": 0.1, "seconds": 2.0, "loss": 3.0, "loss/joint": 1.0, "loss/bone": 2.0}


# It changes nothing


@pytest.mark.parametrize("every", [1, 3])
def test_a_watched_run_is_the_same_bit_for_bit(joints, whole, tmp_path, every):  # noqa: F811
    watch, said = quiet(every)
    loop(joints, tmp_path, on_epoch=watch).run()
    assert state(tmp_path) == whole
    assert [record["epoch"] for record in watch.records] == ([1, 2, 3, 4] if every == 1 else [3, 4]) and said


@pytest.mark.parametrize("stage", ["pretrain", "exchange", "distill"])
def test_every_stage_is_watched_and_none_is_changed(stage, tmp_path):
    """With dropout, and a teacher whose statistics run on: generators and modes are seen to be left alone."""
    states = []
    for name in ("plain", "watched"):
        exp = Experiment("sample", tmp_path / name, **(TINY | dict(frames=8, epochs=4, student_epochs=2, batch=16)))
        torch.manual_seed(5)
        with watching.watched(exp, 1 if name == "watched" else 0) as watch:
            trained = getattr(exp, stage)()
        assert exp.on_epoch is None
        states.append((torch.rand(3).tolist(), trained.model.state_dict()))
    (one, plain), (other, weights) = states
    assert one == other and all(torch.equal(value, weights[name]) for name, value in plain.items())
    records = watching.read(trained.folder)
    assert records == watch.records and len(records) >= 2
    assert set(watching.names_of(records[-1])) == ({"joint"} if stage == "distill" else {"joint", "bone"})
    assert all(0 <= r["knn/joint"] <= 100 and r["clips"] == 16 for r in records)
    assert not watching.read(tmp_path / "plain")


def test_test_clips_are_never_looked_at(joints, tmp_path):  # noqa: F811
    watch, made, _ = begun(joints, tmp_path)
    assert set(watch.views[0].index.tolist()) <= set(made.batches.index.tolist())
    assert torch.equal(watch.views[0].index, watch.views[1].index) and not torch.equal(watch.views[0].joints, watch.views[1].joints)
    again, _, _ = begun(joints, tmp_path)
    assert all(torch.equal(a.joints, b.joints) for a, b in zip(watch.views, again.views, strict=True)), "the same views each time"


# Figures


def test_figures_are_those_of_slow_loops(joints, tmp_path):  # noqa: F811
    watch, made, _ = begun(joints, tmp_path)
    watch(1, [ROW])
    (record,) = watching.read(tmp_path)
    query, embedded, pooled = made.model.query.eval(), [], []
    with torch.no_grad():
        for view in watch.views:
            inputs = modalities.compute(view.joints, view.frames, view.skeleton, ("joint", "bone"), "described")
            feature, embedding = query["bone"](inputs["bone"])
            embedded.append([row / row.norm() for row in embedding.double()])
            pooled.append([row / row.norm() for row in feature.double()])
    u, v = embedded
    n = len(u)
    others = [(i, j) for i in range(n) for j in range(n) if i != j]
    wanted = {
        "positive": np.mean([float(a @ b) for a, b in zip(u, v, strict=True)]),
        "negative": np.mean([float(u[i] @ u[j]) for i, j in others]),
        "alignment": np.mean([float((a - b).square().sum()) for a, b in zip(u, v, strict=True)]),
        "uniformity": math.log(np.mean([math.exp(-2 * float((u[i] - u[j]).square().sum())) for i, j in others])),
    }
    centred = torch.stack(u) - torch.stack(u).mean(0)
    s = torch.linalg.svdvals(centred)
    p = s[s > 0] / s.sum()
    wanted["rank"] = math.exp(float(-(p * p.log()).sum()))
    for what, value in wanted.items():
        assert record[f"{what}/bone"] == pytest.approx(value, abs=1e-4), what
    both = [a + b for a, b in zip(*pooled, strict=True)]
    both = [row / row.norm() for row in both]
    nearest = [max((j for j in range(n) if j != i), key=lambda j: float(both[i] @ both[j])) for i in range(n)]
    labels = watch.labels.tolist()
    assert record["knn/bone"] == pytest.approx(100 * np.mean([labels[i] == labels[j] for i, j in enumerate(nearest)]))
    assert record["alignment/joint"] == pytest.approx(2 - 2 * record["positive/joint"])
    assert (record["clips"], record["chance"], record["lr"]) == (n, 100 * max(map(labels.count, labels)) / n, 0.1)
    assert record["clips_per_second"] == 10.0, "five steps of four clips in two seconds"
    assert record["seconds_left"] == pytest.approx(3 * (2 + record["watch_seconds"]))


def test_neighbours_are_other_performers_clips(joints, tmp_path):  # noqa: F811
    """Clips of one performer are all alike, of one class each: with the performer left out none is right."""
    subjects = np.full(200, -1)
    subjects[100:120] = np.arange(20) % 4  # as the labels
    x = joints.joints[:4][torch.arange(20) % 4]
    same = Batches(x, joints.frames, joints.labels, joints.index, KINECT20)
    found = {}
    for name, who in (("all", None), ("others", subjects), ("one", np.zeros(200, int)), ("unknown", np.full(200, -1))):
        watch, _, _ = begun(same, tmp_path / name, subjects=who)
        for view in watch.views:
            view.joints.copy_(same.joints[[int(i) - 100 for i in view.index]])
        watch(1, [ROW])
        found[name] = watch.records[0]["knn/joint"]
    assert found == {"all": 100, "others": 0, "one": 100, "unknown": 100}


def test_one_clip_has_no_neighbour(joints, tmp_path):  # noqa: F811
    watch, _, _ = begun(joints.select(torch.tensor([0])), tmp_path)
    watch(1, [ROW])
    assert math.isnan(watch.records[0]["knn/joint"]) and "null" in (tmp_path / watching.NAME).read_text()
    assert math.isnan(watching.read(tmp_path)[0]["knn/joint"])


def test_few_clips_are_looked_at_where_few_train():
    assert leave_one_out(torch.eye(2), torch.tensor([0, 0])) == 100
    wanted = {(20, 5): 16, (68, 5): 34, (612, 5): 256, (612, 1): 61, (40_000, 5): 256}
    for (count, every), looked in wanted.items():
        assert min(watching.MOST, max(watching.FEWEST, count * every // watching.SHARE)) == looked


# Collapse


@pytest.mark.parametrize("how", ["constant", "line"])
def test_collapse_is_noticed_and_named(joints, tmp_path, how):  # noqa: F811
    watch, made, said = begun(joints, tmp_path)
    encoder = made.model.query["bone"].eval()
    last = encoder.head[2]
    weight = last.weight.detach().clone()

    def spread() -> None:
        """Embeddings around their mean, so that they point everywhere."""
        last.weight.copy_(weight)
        last.bias.zero_()
        last.bias.copy_(-features.embeddings(made.model.query, features.extract(made.model.query, watch.views[0]))["bone"].mean(0))

    def warnings() -> list[str]:
        return [text for text in said if "warning" in text and "'bone'" in text]

    with torch.no_grad():
        spread()
        watch(1, [ROW])
        assert not warnings() and not any("'bone'" in sign for sign in watch.records[-1]["signs"])
        if how == "constant":
            last.weight.zero_()
        else:
            last.weight[1:] = 0
            last.bias[1:] = 0
        said.clear()
        watch(2, [ROW])
        watch(3, [ROW])
    assert len(warnings()) == 1 and len([text for text in said if "warning" not in text]) == 2, "once, not at every look"
    told = warnings()[0]
    assert told.startswith("toy: warning after epoch 2: The embeddings of 'bone' have collapsed") and watching.FRESH not in told
    assert any("'bone'" in sign for sign in watch.records[-1]["signs"])
    if how == "constant":
        assert watch.records[-1]["negative/bone"] == pytest.approx(1) and "cosine similarity of 1.0000" in told
    else:
        assert watch.records[-1]["negative/bone"] < 0.9 and "use 1.00 of 8 directions" in told
    assert watch.records[-1]["rank/bone"] == pytest.approx(1, abs=0.01)
    watch(4, [ROW])
    assert len(warnings()) == 2, "and once more where it ends so"
    with torch.no_grad():
        spread()
    watch(4, [ROW])
    assert len(warnings()) == 2


def test_an_encoder_that_has_not_spread_yet_is_told_from_one_that_has_collapsed(joints, tmp_path):  # noqa: F811
    watch, made, said = begun(joints, tmp_path)
    with torch.no_grad():
        made.model.query["bone"].head[2].weight.zero_()
        made.model.query["bone"].head[2].bias.fill_(1)
    watch(1, [ROW])
    assert [text for text in said if "'bone'" in text and text.endswith(watching.FRESH)]
    watch(4, [ROW])
    assert "'bone'" in said[-1] and watching.FRESH not in said[-1], "at the end that is no excuse"


# Kept


@pytest.mark.parametrize("steps", [3, 13])
def test_an_interrupted_run_has_each_look_once(joints, whole, tmp_path, steps):  # noqa: F811
    unbroken, _ = quiet()
    loop(joints, tmp_path / "whole", on_epoch=unbroken).run()
    with pytest.raises(KeyboardInterrupt):
        loop(joints, tmp_path / "parts", every=1e9, on_epoch=quiet()[0], on_step=after(steps)).run()  # nothing saved: all comes again
    with pytest.raises(KeyboardInterrupt):
        loop(joints, tmp_path / "parts", on_epoch=quiet()[0], on_step=after(steps)).run()
    loop(joints, tmp_path / "parts", on_epoch=quiet()[0]).run()
    timed = {"seconds_left", "watch_seconds", "clips_per_second"}
    strip = [[{k: v for k, v in r.items() if k not in timed} for r in watching.read(tmp_path / p)] for p in ("whole", "parts")]
    assert strip[0] == strip[1] and [r["epoch"] for r in strip[1]] == [1, 2, 3, 4] and state(tmp_path / "parts") == whole


def test_a_line_that_a_kill_left_unfinished_is_passed_over(joints, tmp_path):  # noqa: F811
    watch, made, _ = begun(joints, tmp_path)
    for epoch in (1, 2):
        watch(epoch, [ROW])
    path = tmp_path / watching.NAME
    text = path.read_text()
    path.write_text(text + text.splitlines()[0][:40])
    assert [r["epoch"] for r in watching.read(tmp_path)] == [1, 2]
    watch.begin(made, 1)
    assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == [1]
    path.write_text(text[:40] + "\n" + text)
    with pytest.raises(CheckpointError, match=r"line 1 of .*delete the file"):
        watching.read(tmp_path)
    path.write_text("[]\n{}\n")
    with pytest.raises(CheckpointError, match="line 1"):
        watching.read(tmp_path)
    assert watching.read(tmp_path / "nowhere") == []


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "5"])
def test_a_watch_that_never_looks_is_refused(every):
    with pytest.raises(SettingsError, match="every 1, 2"):
        Watch(every)


# Told


def test_lines_and_sentences():
    names = {"joint": 41.0, "bone": 48.06}
    record = {"epoch": 5, "lr": 0.1, "clips": 100, "chance": 4.0, "clips_per_second": 85.2, "seconds_left": 600.0, "watch_seconds": 1.0,
              "signs": ["The embeddings of 'bone' have collapsed."], **{f"knn/{n}": v for n, v in names.items()},
              "rank/joint": 12.3, "rank/bone": 40.1, "uniformity/joint": -2.0, "uniformity/bone": -3.0}  # fmt: skip
    assert watching.line(record, 30) == (
        "epoch 5/30, kNN 41.0 % (joint) to 48.1 % (bone), effective rank 12.3 (joint) to 40.1 (bone), 85 clips/s, about 10 min left"
    )
    first = record | {"epoch": 1, "knn/joint": 21.0, "knn/bone": 18.06}
    told = watching.summary([first, record], 40.0)
    assert "embedded 2 times" in told and "for 5.0 %" in told and "went from 19.5 to 44.5 %" in told and told.endswith("collapsed.**")
    assert watching.summary([], 40.0) == ""
    spans = {0: "0 s", 89.4: "89 s", 90: "2 min", 3000: "50 min", 11_100: "3 h 05 min"}
    assert {s: watching.duration(s) for s in spans} == spans
