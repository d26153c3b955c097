"""`skelmm evaluate ... --measure`: tables with references, parts that are found again, transfer between skeletons, and bad input."""

from __future__ import annotations

import csv
import json
import re
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import call, refused

from skelmm_core import checkpoints, cli, clips, comparison, manifest, skeletons, verify
from skelmm_core.comparison import parts, subjects, table
from skelmm_core.errors import SettingsError
from skelmm_core.evaluation import linear, recipes, retrieval, transfer
from skelmm_core.evaluation.knn import raw_nearest
from skelmm_core.experiment import Experiment
from skelmm_core.recordings import Recording, Source, as_given
from skelmm_core.skeletons import HDM05, KINECT20, NTU25

TINY = ("--smoke", "--modalities", "joint,bone", "--device", "cpu")
FEW = "linear,knn,retrieval,finetune,semi-linear,oneshot"


def write(path: Path, skeleton, seed: int = 0, count: int = 36) -> Path:
    """Three classes that differ by a pose, four subjects."""
    rng, poses = np.random.default_rng(seed), np.random.default_rng(1).normal(size=(3, 1, 1, 25, 3))
    recordings = [
        Recording(
            (poses[i % 3, :, :, : len(skeleton)] + 0.7 * rng.normal(size=(1, 20, len(skeleton), 3))).astype("f4"), i % 3, f"clip {i}",
            subject=1 + i // 3 % 4,
        )
        for i in range(count)
    ]  # fmt: skip
    source = Source(f"poses of {skeleton.name}", skeleton, ("a", "b", "c"), 30.0, "odd-even-subjects", "0" * 64, recordings, as_given)
    clips.write(path, source, progress=False)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("comparison")
    write(place / "ntu.clips", NTU25)
    write(place / "kinect.clips", KINECT20, 1)
    return place


def where(folder: Path, out: str = "out") -> tuple:
    return ("--data", folder / "ntu.clips", "--out", folder / out, *TINY)


# Tables


def test_every_figure_is_that_of_its_own_function_and_nothing_is_computed_twice(folder, capsys, monkeypatch):
    told = json.loads(call(capsys, "evaluate", "pretrain", *where(folder), "--measure", FEW, "--json"))
    found = {(r["subject"], r["recipe"], r["what"], r["draw"]): r["percent"] for r in told["rows"]}
    exp = Experiment(folder / "ntu.clips", folder / "out", "quick", "cpu", True, modalities="joint,bone")
    (train, test), labels = exp.features(exp.pretrain().model.query), (exp.train.labels, exp.test.labels)
    expected = exp.score((train, test)).linear
    assert found["pretrain", "linear", "", 0] == expected.accuracy
    assert found["pretrain", "linear", "stream bone", 0] == expected.streams["bone"]
    assert found["pretrain", "knn", "", 0] == found["pretrain", "retrieval", "first hit", 0] == exp.score((train, test)).knn.accuracy
    precise = retrieval.retrieval(train, test, *labels)
    assert found["pretrain", "retrieval", "mean average precision", 0] == pytest.approx(precise.mean_average_precision)
    assert found["untrained", "linear", "", 0] == exp.score(exp.untrained()).linear.accuracy
    assert found["raw", "knn", "", 0] == found["raw", "retrieval", "first hit", 0] == raw_nearest(exp.clips, exp.split).accuracy
    for subject in ("pretrain", "untrained", "raw", "supervised"):
        assert (subject, "oneshot", "", 1) in found and (subject, "semi-linear", "20 %", 1) in found
    assert ("raw", "linear", "", 0) not in found and ("untrained", "finetune", "", 0) not in found
    assert {r["clips"] for r in told["rows"] if r["recipe"] == "oneshot"} == {3}

    monkeypatch.setattr(linear, "fit", lambda *_: pytest.fail("computed again"))
    monkeypatch.setattr(subjects.finetuning, "finetune", lambda *_: pytest.fail("trained again"))
    again = json.loads(call(capsys, "evaluate", "pretrain", *where(folder), "--measure", FEW, "--json"))
    assert again["rows"] == told["rows"]
    (file,) = (folder / "out" / "evaluations").glob("pretrain-*.json")
    kept = json.loads(file.read_text())
    assert kept["rows"] == told["rows"] and kept["command"].startswith("skelmm evaluate pretrain --data")
    assert kept["seeds"] == [0] and kept["recipes"]["finetune"]["epochs"] == recipes.SMOKE["epochs"]
    lines = list(csv.DictReader(file.with_suffix(".csv").open()))
    assert [float(line["percent"]) for line in lines] == [row["percent"] for row in told["rows"]]


def test_the_table_shows_references_beside_every_figure(folder, capsys):
    shown = call(capsys, "evaluate", "pretrain", *where(folder), "--measure", "linear,knn,finetune", "--seeds", "0,1")
    head, *lines = shown.splitlines()[1:5]
    assert head.split()[-4:] == ["pretrain", "untrained", "raw", "supervised"]
    cells = {line.split()[0]: re.split(r"\s{2,}", line.strip())[1:] for line in lines}
    assert all(re.fullmatch(r"[\d.]+ ± [\d.]+", cells["linear"][i]) for i in (0, 1, 3)) and cells["linear"][2] == "-"
    assert re.fullmatch(r"[\d.]+", cells["knn"][2]), "raw coordinates know no seed"
    assert cells["finetune"][1:3] == ["-", "-"]
    assert "supervised: encoders of the same size trained from scratch" in shown and "±: standard deviation over 2 seeds" in shown
    (file,) = re.findall(r"^(\S+\.json), and \.csv; \d+ parts", shown, re.M)
    told = json.loads(Path(file).read_text())
    values = [r["percent"] for r in told["rows"] if (r["subject"], r["recipe"], r["what"]) == ("pretrain", "linear", "")]
    assert cells["linear"][0] == f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"
    assert not [r for r in told["rows"] if r["subject"] == "raw" and r["seed"] != -1]


def test_summaries_are_over_seeds_or_draws():
    rows = [comparison.Row("x", "semi", "1 %", seed, draw, 9, 10.0 * seed + draw) for seed in (0, 1, 2) for draw in (0, 1, 2)]
    (several,) = table.summary(rows)
    assert (several["mean"], several["std"], several["over"], several["n"], several["draws"]) == (11, pytest.approx(10), "seeds", 9, 3)
    (one,) = table.summary(rows[3:6])
    assert (one["mean"], one["std"], one["over"], one["seeds"]) == (11, pytest.approx(1), "draws", [1])
    (single,) = table.summary(rows[:1])
    assert single["std"] is None and "±" not in table.text([single], 9) and "semi, 1 % (9 labels)" in table.text([single], 10)


def test_an_interrupt_keeps_what_was_finished(folder, capsys, monkeypatch):
    options = ("evaluate", "untrained", *where(folder, "stopped"), "--measure", "knn,linear", "--references", "raw")
    monkeypatch.setattr(parts.linear, "linear_probe", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(SystemExit) as stop:
        cli.main([str(a) for a in options])
    assert stop.value.code == 130
    kept = list((folder / "stopped" / "evaluations").glob("part-*.json"))
    assert len(kept) == 1 and not list((folder / "stopped" / "evaluations").glob("untrained-*"))
    monkeypatch.undo()
    monkeypatch.setattr(parts.knn, "knn", lambda *_: pytest.fail("computed again"))
    capsys.readouterr()
    assert "2 parts computed" in call(capsys, *options)


def test_another_weight_setting_recipe_or_code_is_another_part(folder, tmp_path, monkeypatch):
    exp = Experiment(folder / "ntu.clips", tmp_path, "quick", "cpu", True, modalities="joint,bone")

    def computed(exp, branches, **changes) -> int:
        chosen = recipes.resolve(["semi-linear"], {"semi-linear.shares": "0.2", **changes}, smoke=True)
        return comparison.compare(
            comparison.with_references(exp, "x", branches, [], recipes.Finetune(), tmp_path), chosen, tmp_path, False
        )[1]

    branches = exp.untrained()
    assert computed(exp, branches) == 2 and computed(exp, branches) == 0
    assert computed(exp, branches, **{"semi-linear.draws": "3"}) == 1, "two of the three draws are there"
    assert computed(exp, branches, **{"semi-linear.draw": "random"}) == 2
    others = {"probe_epochs": 3, "probe_fit": "ridge", "probe_ridge": 0.1, "whiten": 3, "whiten_shrink": 0.1, "whiten_for": "neighbours",
              "segments": 2, "regions": True, "probe_views": 1, "probe_standardise": False, "probe_fusion": "joint"}  # fmt: skip
    for setting, value in others.items():
        assert computed(exp.again(**{setting: value}), branches) == 2, setting
    with torch.no_grad():
        branches["bone"].blocks[0].norm1.bias += 1
    assert computed(exp, branches) == 2
    monkeypatch.setattr(manifest, "evaluation_code", lambda: "other")
    assert computed(exp, branches) == 2
    file = sorted(tmp_path.glob("part-*.json"))[0]
    file.write_text(file.read_text()[:40])
    monkeypatch.undo()
    total = sum(computed(exp, branches, **c) for c in ({}, {"semi-linear.draw": "random"}, {"semi-linear.draws": "3"}))
    assert total <= 6, "a torn part is computed again, and is no error"


def test_the_supervised_reference_is_trained_once_and_is_its_own_finetuned_row(folder, tmp_path, monkeypatch, capsys):
    exp = Experiment(folder / "ntu.clips", tmp_path, "quick", "cpu", True, modalities="joint,bone")
    recipe, calls, real = recipes.resolve(["finetune"], smoke=True)["finetune"], [], subjects.finetuning.finetune

    def counted(*arguments, **named):
        calls.append(arguments)
        return real(*arguments, **named)

    monkeypatch.setattr(subjects.finetuning, "finetune", counted)
    for chosen in ({"finetune": recipe}, {"knn": recipes.RECIPES["knn"]}):
        found = comparison.with_references(exp, "untrained", exp.untrained(), ["supervised"], recipe, tmp_path)
        comparison.compare(found, chosen, tmp_path, False)
    assert len(calls) == 1 and torch.equal(
        calls[0][0]["bone"].blocks[0].graph.conv.weight, exp.untrained()["bone"].blocks[0].graph.conv.weight
    )
    assert len(calls[0][1]) == len(exp.split.train)
    (file,) = tmp_path.glob("supervised-*.pt")
    whole = {name: verify.digest(t) for name, t in checkpoints.load(file)["model"].items()}
    file.write_bytes(file.read_bytes()[:1000])
    tuned = subjects.Supervised(exp, ("joint", "bone"), recipe, tmp_path).tuned
    assert len(calls) == 2 and len(tuned.losses) > 0 and "set aside as" in capsys.readouterr().err, "a torn one is trained again"
    assert {name: verify.digest(t) for name, t in checkpoints.load(file)["model"].items()} == whole


# Transfer


def test_transfer_is_evaluation_on_clips_that_were_mapped(folder, capsys):
    call(capsys, "export", "pretrain", folder / "t.safetensors", *where(folder))
    options = ("--measure", "linear,knn,semi-linear", "--json")
    stage = json.loads(call(capsys, "evaluate", "pretrain", *where(folder), *options, "--transfer", folder / "kinect.clips"))
    file = (folder / "t.safetensors", "--out", folder / "moved", "--device", "cpu", "--smoke")
    exported = json.loads(call(capsys, "evaluate", *file, *options, "--transfer", folder / "kinect.clips"))
    mapped = json.loads(call(capsys, "evaluate", *file, *options, "--data", folder / "kinect.clips", "--skeleton", "ntu25"))
    rows = [
        [(r["recipe"], r["what"], r["draw"], r["percent"]) for r in t["rows"] if r["subject"] != "raw"] for t in (stage, exported, mapped)
    ]
    assert rows[0] == rows[1] == rows[2]
    assert stage["title"] == "poses of kinect20" and "encoders trained on: poses of ntu25" in stage["opening"] == exported["opening"]
    assert any("20 of 'kinect20' mapped to the 25 of 'ntu25'" in line for line in stage["opening"])
    there = Experiment(folder / "kinect.clips", folder / "out", "quick", "cpu", True, modalities="joint,bone")
    raw = [r["percent"] for r in stage["rows"] if (r["subject"], r["recipe"]) == ("raw", "knn")]
    assert raw == [raw_nearest(there.clips, there.split).accuracy], "raw coordinates are not mapped"
    split = ("--transfer", folder / "kinect.clips", "--transfer-protocol", "subject < 3")
    assert "protocol subject < 3: 18 clips train" in call(capsys, "evaluate", "pretrain", *where(folder), "--measure", "knn", *split)


@pytest.mark.parametrize(("source", "target"), [(KINECT20, NTU25), (NTU25, KINECT20), (HDM05, NTU25)])
def test_what_a_map_does_to_joints_is_told(source, target):
    weights, text = skeletons.mapping(source, target), "\n".join(transfer.mapped(source, target))
    (lost,) = re.findall(r"lost: (.*)", text)
    for v, name in enumerate(source.joints):
        assert (name in lost.split(", ")) == (not weights[:, v].any()), name
    made = dict(re.findall(r"([\w ]+?) \(of ([^)]*)\)", text.partition("made of several: ")[2]))
    assert {name.strip() for name in made} == {target.joints[u] for u in range(len(target)) if (weights[u] > 0).sum() > 1}
    doubled = re.findall(r"move as one: (.*)", text)
    several = {name for v, name in enumerate(source.joints) if ((weights == 1)[:, v]).sum() > 1}
    assert set(doubled[0].split(", ") if doubled else []) == several


def test_the_same_joints_lose_nothing_and_no_map_is_an_error():
    assert transfer.mapped(NTU25, NTU25) == ["joints: the same 25 of 'ntu25'; nothing is mapped or lost"]
    assert skeletons.get(transfer.spelled(NTU25)) == NTU25 == skeletons.get(json.dumps(NTU25.to_dict()))
    with pytest.raises(SettingsError, match="no joint map"):
        transfer.mapped(NTU25, HDM05)


# Recipes and bad input


def test_recipes_are_changed_by_name_and_type():
    found = recipes.resolve(["finetune", "semi-linear"], {"finetune.epochs": "9", "semi_linear.shares": "0.5", "finetune.augment": "yes"})
    assert found["finetune"] == recipes.Finetune(epochs=9, augment=True) and recipes.share_list(found["semi-linear"]) == [0.5]
    assert recipes.resolve(["linear"], {"linear.lr": "0.5", "linear.fusion": "late"})["linear"] == recipes.Linear(lr=0.5, fusion="late")
    assert recipes.RECIPES["finetune"].epochs == 70
    for changes, words in (
        ({"knn.neighbours": "2"}, "changes nothing that is asked for"),
        ({"finetune.epoch": "2"}, "did you mean 'epochs'"),
        ({"finetune.epochs": "many"}, "must be a whole number"),
        ({"finetune.epochs": "0"}, "must be above 0"),
        ({"finetune.lr": "nan"}, "finite"),
        ({"finetune.warmup": "2"}, "between 0 and 1"),
        ({"finetune.mode": "evl"}, "did you mean 'eval'"),
        ({"semi-linear.shares": "0.1,7"}, "at most 1"),
    ):
        with pytest.raises(SettingsError, match=re.escape(words) if "(" in words else words):
            recipes.resolve(["finetune", "semi-linear"], changes)


def test_every_recipe_has_parts_and_crosclr_is_the_published_probe():
    assert {recipe.kind for recipe in recipes.RECIPES.values()} == set(parts.PARTS)
    published = recipes.RECIPES["crosclr-linear"]
    assert (published.epochs, published.lr, published.lr_drop, published.batch, published.standardise) == (100, 3.0, 0.8, 128, False)


def test_bad_input_is_told_before_anything_is_trained(folder, capsys):
    here = where(folder, "bad")
    for words, hint in (
        (("--measure", "liner"), "did you mean 'linear'"),
        (("--protocol", "linear,knn"), "ways of evaluating are named by --measure linear,knn"),
        (("--seeds", "0,1"), "--seeds goes with --measure"),
        (("-p", "finetune.epochs=3"), "--parameter goes with --measure"),
        (("--measure", "knn", "--seeds", "a"), "--seeds must be whole numbers"),
        (("--measure", "knn", "--references", "untraned"), "did you mean 'untrained'"),
        (("--measure", "knn", "--transfer", folder / "none.clips"), "no clips file"),
        (("--measure", "knn", "--transfer", folder / "kinect.clips", "--transfer-protocol", "cros-view"), "did you mean 'cross-view'"),
        (("--measure", "ntu120-oneshot"), "not the clips of NTU RGB"),
    ):
        assert hint in refused(capsys, "evaluate", "pretrain", *here, *words), words
    assert not list((folder / "bad").glob("stages/*"))
