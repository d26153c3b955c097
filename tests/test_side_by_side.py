"""Runs side by side: scores as `Experiment.score` gives them, comparisons against slow loops, pages that are safe, errors that say so."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from command_line import call, refused
from pages import Page

from skelmm_core import checkpoints, clips, manifest
from skelmm_core.errors import CheckpointError, DataError, SettingsError
from skelmm_core.evaluation.metrics import ProbeResult
from skelmm_core.experiment import Experiment
from skelmm_core.side_by_side import charts, command, compare, load, page
from skelmm_core.sources import sample

WICKED = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Generated motion with a class name that no page may take for its own."""
    path = tmp_path_factory.mktemp("data") / "motion.clips"
    source = sample.read(performers=4, repetitions=1, cameras=1, actions=["kick", "punch", "throw"])
    clips.write(path, replace(source, class_names=(WICKED, *source.class_names[1:])), progress=False)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory, data):
    """A run with a student, and one that ended with the teacher, of another seed; and what their experiments say."""
    folder, said = tmp_path_factory.mktemp("runs"), {}
    for name, stage, seed in (("first", "distill", 0), ("second", "exchange", 1)):
        exp = Experiment(data, folder / name, "quick", "cpu", smoke=True, seed=seed)
        trained = getattr(exp, stage)()
        branches = trained.model.students if stage == "distill" else trained.model.query
        said[name] = exp.score(branches).summary(), trained.folder
    return folder, said


@pytest.fixture(scope="module")
def loaded(runs):
    return [load.load(runs[0] / name, name) for name in ("first", "second")]


def written(tmp_path, *chosen) -> str:
    command.report(chosen, tmp_path / "page.html", say=lambda _: None)
    return (tmp_path / "page.html").read_text()


def test_scores_are_those_of_the_experiment(runs, loaded):
    for run, stage in zip(loaded, ("distill", "exchange"), strict=True):
        said, folder = runs[1][run.name]
        found = run.scores.summary()
        assert (run.stage, run.folder) == (stage, folder) and set(found["streams"]) == set(said["streams"])
        assert found["confusion"] == said["confusion"] and found["linear"] == said["linear"] and found["knn"] == said["knn"]
    assert loaded[0].role == "student" and loaded[1].role == "teacher" and loaded[1].cost.parameters == 2 * loaded[0].cost.parameters
    assert loaded[0].folder.name.startswith("distill-"), "the last stage of the run"


def test_nothing_is_trained_or_changed(runs, tmp_path):
    folder = runs[0] / "first"
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    written(tmp_path, folder)
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*")}


def test_one_stage_of_a_run(runs, loaded):
    exchange = next((runs[0] / "first" / "stages").glob("exchange-*"))
    found = load.load(exchange)
    assert (found.stage, found.name, found.others) == ("exchange", exchange.name, 0) and found.role == "teacher"
    assert load.find(runs[0] / "first")[0] == loaded[0].folder


def test_what_was_trained_for_the_grid_alone_is_not_the_run(runs, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(runs[0] / "first", out)
    (stage,) = (out / "stages").glob("distill-*")
    told = json.loads((stage / manifest.NAME).read_text())
    (out / manifest.NAME).unlink(missing_ok=True)
    cell = out / "stages" / "distill-cell"
    cell.mkdir()
    (cell / manifest.NAME).write_text(json.dumps(told | {"written": "2099", "settings": told["settings"] | {"teacher_mode": "train"}}))
    assert load.find(out)[0] == cell, "begun last"
    (out / "ablations").mkdir()
    for name in (cell.name, stage.name):  # the run's own recipe is a cell, too
        (out / "ablations" / f"cell-{name}.json").write_text(json.dumps({"folder": name}))
    (out / "ablations" / "cell-torn.json").write_text("{")
    (out / "06_ablations").mkdir()
    (out / "06_ablations" / manifest.NAME).write_text(json.dumps({"settings": told["settings"]}))
    assert load.find(out)[0] == stage, "what notebook 06 was given, nothing turned"
    (out / "06_ablations" / manifest.NAME).unlink()
    (out / "04_distillation").mkdir()
    (out / "04_distillation" / "metrics.json").write_text(json.dumps({"student": stage.name}))
    assert load.find(out)[0] == stage and load.find(out)[2] == 1


def test_of_several_the_run_s_own_settings_then_the_last(runs, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(runs[0] / "second", out)
    (stage,) = (out / "stages").glob("exchange-*")
    told = json.loads((stage / manifest.NAME).read_text())
    for name, changes in {
        "exchange-changed": {"changes": {"exchange": "none"}, "written": "2100"},
        "exchange-later": {"written": "2099", "settings": told["settings"] | {"topk": 2}},
    }.items():
        (out / "stages" / name).mkdir()
        (out / "stages" / name / manifest.NAME).write_text(json.dumps(told | changes))
    assert load.find(out)[0].name == "exchange-later" and load.find(out)[2] == 2
    (out / manifest.NAME).write_text(json.dumps({"settings": told["settings"]}))
    assert load.find(out)[0] == stage


def test_what_is_not_finished_says_so(runs, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(runs[0] / "second", out)
    (stage,) = (out / "stages").glob("exchange-*")
    (stage / "last.before.pt").unlink(missing_ok=True)
    saved = checkpoints.load(stage / "last.pt")
    for changes in ({"epoch": 1}, {"steps": torch.zeros(1, 3, 1)}):
        checkpoints.save(stage / "last.pt", saved | changes)
        with pytest.raises(DataError, match=r"is not finished: \d of 2 epochs"):
            load.load(out)
    checkpoints.save(stage / "last.pt", saved | {"identity": {}})
    with pytest.raises(CheckpointError, match="other settings or data than its manifest"):
        load.load(out)
    (stage / "last.pt").unlink()
    with pytest.raises(DataError, match="is not finished: 0 of 2 epochs"):
        load.load(out)
    (stage / manifest.NAME).write_text('{"stage": "exchange"}')
    with pytest.raises(DataError, match="can't be read as the manifest"):
        load.load(out)


@pytest.mark.parametrize(
    "change",
    [{"settings": []}, {"path": 5}, {"preset": 5}, {"smoke": "x"}, {"stage": ["exchange"]}, {"data": {"content": 7}}, {"written": 3},
     {"changes": [1]}, {"changes": {"foo": 1}}],
)  # fmt: skip
def test_a_manifest_that_holds_something_else_is_told_before_any_run_is_scored(runs, tmp_path, change):
    out = tmp_path / "run"
    shutil.copytree(runs[0] / "second", out)
    (path,) = (out / "stages").glob(f"exchange-*/{manifest.NAME}")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    said: list[str] = []
    with pytest.raises(DataError, match="can't be read as the manifest of a run or stage"):
        command.report([runs[0] / "first", out], tmp_path / "page.html", say=said.append)
    assert not said
    path.write_text("[" * 200_000)
    with pytest.raises(DataError, match="can't be read as the manifest of a run or stage"):
        load.find(out)


def test_figures_of_a_notebook_that_are_no_text_leave_a_run_to_be_found(runs, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(runs[0] / "second", out)
    (out / "02_single_modality_pretraining").mkdir()
    (out / "02_single_modality_pretraining" / "metrics.json").write_bytes(b"\xff\xfe{")
    assert load.find(out)[1]["stage"] == "exchange"


def test_a_page_that_can_not_be_written_is_told_before_any_run_is_scored(runs, tmp_path):
    (tmp_path / "file").write_text("")
    said: list[str] = []
    with pytest.raises(DataError, match="nothing was computed; a part of that path is a file"):
        command.report([runs[0] / "first"], tmp_path / "file" / "page.html", say=said.append)
    (tmp_path / "mine.html").write_text("<!doctype html>\n<p>my diary")
    with pytest.raises(DataError, match="mine.html' is there already and is not a file that this command writes"):
        command.report([runs[0] / "first"], tmp_path / "mine.html", say=said.append)
    assert not said and "diary" in (tmp_path / "mine.html").read_text()


def test_what_is_no_run_says_so(tmp_path, capsys):
    with pytest.raises(DataError, match="holds no stage"):
        load.load(tmp_path)
    assert "there is no such folder" in refused(capsys, "report", tmp_path / "nowhere") and not (tmp_path / "nowhere").exists()
    with pytest.raises(SettingsError, match="one or more RUN"):
        command.report([])
    with pytest.raises(SettingsError, match=r"saved as \.html"):
        command.report([tmp_path], tmp_path / "page.pdf")


def test_data_that_are_others_now(runs, tmp_path):
    out, path = tmp_path / "run", tmp_path / "other.clips"
    shutil.copytree(runs[0] / "second", out)
    clips.write(path, sample.read(performers=4, repetitions=1, cameras=1, actions=["kick", "punch"]), progress=False)
    (stage,) = (out / "stages").glob("exchange-*")
    told = json.loads((stage / manifest.NAME).read_text())
    (stage / manifest.NAME).write_text(json.dumps(told | {"path": str(path)}))
    with pytest.raises(DataError, match="holds other clips than"):
        load.load(out)


def spoken(run: load.Loaded, predictions: list[int]) -> load.Loaded:
    """A run whose fused probe says this of the first test clips, right of all others."""
    labels = run.scores.linear.labels
    said = np.concatenate([predictions, labels[len(predictions) :]])
    late = ProbeResult(3.0 * np.eye(len(run.clips.class_names))[said], labels, run.scores.late.streams)
    return replace(run, scores=replace(run.scores, late=late, joint=late))


def test_disagreements_against_a_loop(loaded):
    labels = loaded[0].scores.linear.labels
    a, b = (spoken(loaded[0], [int((labels[i] + shift) % 3) for i, shift in enumerate(shifts)]) for shifts in ((1, 0, 1, 0), (2, 1, 1, 0)))
    differ = [i for i in range(len(labels)) if a.scores.linear.predictions[i] != b.scores.linear.predictions[i]]
    assert sorted(compare.disagreements([a, b]).tolist()) == differ == [0, 1]
    assert compare.disagreements([a, b]).tolist() == [1, 0], "first the one that somebody has right"
    assert compare.disagreements([a, a]).tolist() == []


def test_pairs_subjects_and_differences(loaded):
    labels, who = loaded[0].scores.linear.labels, loaded[0].clips.subjects[loaded[0].test]
    run = spoken(loaded[0], [int((labels[0] + 1) % 3)])
    (pair,) = compare.worst_pairs(run, 5)
    assert (pair.mistake.truth, pair.mistake.prediction, pair.wrong) == (labels[0], (labels[0] + 1) % 3, 0)
    assert labels[pair.model] == pair.mistake.prediction and run.right[pair.model]
    hardest = compare.by_subject(run)[0]
    assert hardest.number == who[0] and hardest.clips == (who == who[0]).sum()
    assert hardest.accuracy == pytest.approx(100 * (1 - 1 / hardest.clips)) and sum(s.clips for s in compare.by_subject(run)) == len(labels)
    rows = dict(compare.differences(loaded))
    assert rows["stage"] == ["distill", "exchange"] and rows["seed"] == [0, 1] and rows["students"][1] is None
    assert "data (content)" not in rows and "batch" not in rows and dict(compare.differences(loaded[:1]))["seed"] == [0]
    assert compare.differences([loaded[0], loaded[0]]) == []


def test_a_page_of_two_runs(runs, loaded, tmp_path):
    text = written(tmp_path, runs[0] / "first", runs[0] / "second")
    shown = Page(text)
    assert shown.open == [] and WICKED not in text and shown.text.count(WICKED) >= 3, "the class's name is text"
    assert "https:" not in text and not [a for _, a in shown.tags if "href" in a] and len(text) < 5_000_000
    first, second = loaded
    alone = int((first.right & ~second.right).sum()), int((~first.right & second.right).sum())
    p = scipy.stats.binomtest(alone[0], sum(alone)).pvalue if sum(alone) else 1
    row = shown.text.partition("B against A")[2][:40]
    assert f"{alone[0]}{alone[1]}{p:.2g}" in row
    for run in loaded:
        assert f"{run.scores.linear.accuracy:.1f} ±" in shown.text and run.folder.name in shown.text
    assert text.count('<div data-skelmm="') == min(len(compare.disagreements(loaded)), page.PLAYERS) > 0
    assert f"{len(compare.disagreements(loaded))} of {len(first.test)} test clips" in shown.text


def test_a_page_of_one_run(runs, loaded, tmp_path):
    shown = Page(written(tmp_path, runs[0] / "second"))
    assert shown.open == [] and "The hardest subjects" in shown.text and "How it was made" in shown.text and "B against A" not in shown.text
    (mistake, *_) = compare.worst_pairs(loaded[1], 1)
    names = loaded[1].clips.class_names
    assert f"{names[mistake.mistake.truth]} → {names[mistake.mistake.prediction]}" in shown.text
    assert f"{loaded[1].calibration.error:.1f} points" in shown.text


def test_runs_on_other_clips_are_compared_by_figures_alone(runs, loaded, tmp_path, data):
    exp = Experiment(data, tmp_path / "third", "quick", "cpu", smoke=True, protocol="subject in (1, 2)")
    exp.pretrain()
    other = load.load(tmp_path / "third", "third")
    same, reasons = compare.comparable([loaded[0], other, loaded[1]])
    assert [run.name for run in same] == ["first", "second"] and "its protocol is subject in (1, 2)" in reasons["third"]
    text = Page(page.page([loaded[0], other])).text
    assert "third is compared by these figures alone" in text and "Clips on which they disagree" not in text and "B against A" not in text
    three = Page(page.page([loaded[0], other, loaded[1]])).text
    assert "third is compared by these figures alone" in three and "C against A" in three and "B against A" not in three


def test_the_command_prints_the_main_table(runs, capsys):
    said = call(capsys, "report", runs[0] / "first", runs[0] / "second")
    lines = said.splitlines()
    assert lines[0].split() == ["A:", "first", "B:", "second"] and lines[-1] == str(runs[0] / "first" / "comparison.html")
    (linear,) = [line for line in lines if line.startswith("linear, fused")]
    assert f"{runs[1]['first'][0]['linear']:.1f} ±" in linear and f"{runs[1]['second'][0]['linear']:.1f} ±" in linear
    (runs[0] / "first" / "comparison.html").unlink()


def test_names_tell_runs_apart(tmp_path):
    assert load.names_of([tmp_path / "a" / "run", tmp_path / "b" / "run"]) == ["a/run", "b/run"]
    assert load.names_of([tmp_path / "a", tmp_path / "b", tmp_path / "a"]) == ["a", "b", "a"]


def test_charts_say_every_number():
    matrix = np.array([[-2, 2, 0], [0, 3, -3], [0, 0, 0]])
    chart = Page(charts.cells(matrix, [WICKED, "b", "c"], "B − A"))
    assert chart.open == [] and "script" not in {tag for tag, _ in chart.tags}
    for told in (f"{WICKED} → {WICKED}: −2", f"{WICKED} → b: +2", "b → b: +3", "b → c: −3"):
        assert told in chart.text
    assert charts.LESS in charts.signed(-4, 8) and "left:25.0%;width:25.0%" in charts.signed(-4, 8)
    assert charts.MORE in charts.signed(8, 8) and "left:50.0%;width:50.0%" in charts.signed(8, 8)
    assert charts.minus(-0.04) == "0.0" and charts.minus(2) == "+2.0" and "–" in charts.bar(float("nan"), "#000")
