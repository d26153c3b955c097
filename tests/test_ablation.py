"""The grid, its cells and who works on them, the table, and the command: toy sizes, figures against those measured without the grid."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
from command_line import call

from skelmm_core import claims, clips, drawing, modalities, settings
from skelmm_core.ablation import cells, expected, grid, subsets, table
from skelmm_core.errors import DataError, SettingsError, TrainingError
from skelmm_core.evaluation.metrics import accuracy
from skelmm_core.experiment import Experiment
from skelmm_core.sources import sample

ROOT = Path(__file__).parents[1]
TINY = dict(epochs=2, student_epochs=1, hidden=2, features=8, embedding=8, probe_epochs=3, batch=8, queue=16)
RECIPE = settings.resolve("distill", "small", True, **TINY)


@pytest.fixture(scope="module")
def motion(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "motion.clips"
    clips.write(path, sample.read(performers=4, repetitions=1, cameras=1, actions=["kick", "punch", "drink"]))
    return path


@pytest.fixture(scope="module")
def base(motion, tmp_path_factory) -> Experiment:
    return Experiment(motion, tmp_path_factory.mktemp("out"), "small", "cpu", True, **TINY)


def picked(*names: str) -> list[grid.Entry]:
    found = [e for e in grid.entries(RECIPE) if f"{e.group}: {e.name}" in names]
    assert len(found) == len(names)
    return found


SOME = ("exchange: untrained, 3", "exchange: none, 3", "exchange: ekem+ikem, 6", "modalities: with exchange", "distillation: cosine",
        "distillation: relational, one student", "switches: recipe, teacher", "switches: keys, teacher")  # fmt: skip


@pytest.fixture(scope="module")
def done(base) -> tuple[list[cells.Cell], list[str]]:
    """Some rows at two seeds, computed; and what was said."""
    chosen, said = cells.cells(base, picked(*SOME), (0, 1)), []
    assert cells.run(chosen, said.append) == len({c.file for c in chosen}) == 12
    return chosen, said


# The grid


def test_exchange_is_the_whole_product():
    found = {(e.changes["exchange"], e.changes.get("modalities", settings.SIX), e.changes["keys"])
             for e in grid.entries(RECIPE, ["exchange"]) if e.stage == "exchange"}  # fmt: skip
    assert found == set(itertools.product(settings.EXCHANGES, ("joint,motion,bone", settings.SIX), ("all", "published")))


def test_every_loss_and_every_switch_is_there_once():
    losses = [
        e.changes["distillation"]
        for e in grid.entries(RECIPE, ["distillation"])
        if e.stage == "distill" and e.changes["students"] == RECIPE.students
    ]
    assert sorted(losses) == sorted([*settings.CHOICES["distillation"], "relational"]), "relational as published and as described"
    named = [e for e in grid.entries(RECIPE, ["switches"]) if e.stage == "distill"]
    assert [len(e.changes) for e in named] == [0] + [1] * 6
    for e in named[1:]:
        ((name, value),) = e.changes.items()
        assert value != getattr(RECIPE, name) and value in {v for v, _ in grid.SWITCHES[name][:2]}
        assert grid.words(name, value) != grid.words(name, getattr(RECIPE, name))
    published = settings.PRESETS["published"]
    assert {k: v[1][0] for k, v in grid.SWITCHES.items()} == {k: published[k] for k in grid.SWITCHES}


def test_names_are_unique_settings_known_and_the_short_list_is_part_of_it():
    rows = grid.entries(RECIPE)
    assert len({(e.group, e.name) for e in rows}) == len(rows)
    for e in rows:
        settings.resolve("distill", "small", True, **e.changes)
    short = grid.entries(RECIPE, short=True)
    assert [(e.group, e.name) for e in short] == [
        (g, e.name) for g in grid.GROUPS for e in rows if e.group == g and e.name in grid.SHORT_NAMES[g]
    ]
    assert len(short) == sum(map(len, grid.SHORT_NAMES.values())), "each of them is there"


def test_rows_are_chosen_by_name_or_pattern_in_the_order_of_the_table():
    rows = grid.entries(RECIPE)
    assert grid.named(rows, ()) == rows and [e.name for e in grid.named(rows, ("teacher", "none, 6"))] == ["none, 6", "teacher"]
    locked = grid.named(rows, ["*, locked"])
    assert len(locked) == 12 and all(e.changes["keys"] == "published" for e in locked)
    with pytest.raises(SettingsError, match="no row 'ikem, 5'.*did you mean 'ikem, [36]'.*expected some of: untrained, 3; "):
        grid.named(rows, ("none, 6", "ikem, 5"))


def test_what_is_not_of_the_grid_is_refused():
    with pytest.raises(SettingsError, match="unknown group 'exchanges'.*did you mean 'exchange'"):
        grid.entries(RECIPE, ["exchanges"])
    with pytest.raises(SettingsError, match="compares all six modalities"):
        grid.entries(settings.resolve("distill", modalities="joint,motion,bone"))


# Cells


def test_rows_that_come_to_the_same_are_one_cell_and_stage_1_is_shared(base):
    chosen = cells.cells(base, grid.entries(base.settings), (0, 1))
    file = {(c.entry.group, c.entry.name, c.seed): c.file for c in chosen}
    same = ("exchange", "ekem+ikem, 6"), ("modalities", "with exchange"), ("distillation", "teacher"), ("switches", "recipe, teacher")
    assert len({file[*row, 0] for row in same}) == 1 and file[*same[0], 0] != file[*same[0], 1]
    assert file["switches", "keys, teacher", 0] == file["exchange", "ekem+ikem, 6, locked", 0]
    assert file["switches", "recipe", 0] == file["distillation", "relational, described", 0]
    assert len(set(file.values())) < len(file) and file["exchange", "none, 3", 0] != file["exchange", "none, 6", 0]
    order = [c.exp.pretrain_folder().name for c in chosen]
    assert len(set(order)) == 2 * 4 == sum(1 for _ in itertools.groupby(order)), (
        "copy_key, augmentation and axis have a stage 1 of their own"
    )
    assert len({id(c.exp.train) for c in chosen}) == 1, "clips are loaded once"


def test_figures_are_those_of_the_stage_measured_without_the_grid(base, done):
    chosen, _ = done
    for cell in (c for c in chosen if c.seed == 1):
        exp = Experiment(
            base.data, base.out, "small", "cpu", True, seed=1, **TINY | ({} if cell.entry.stage != "distill" else cell.entry.changes)
        )
        f = cell.figures
        if cell.entry.stage == "exchange":
            made = exp.exchange(**cell.entry.changes)
            branches = made.model.query
        elif cell.entry.stage == "distill":
            made = exp.distill()
            branches = made.model.students
        else:
            made, branches = None, exp.untrained(cell.entry.streams)
        assert made is None or (made.found and made.folder.name == f["folder"]), "no stage but those of the grid"
        scores = exp.score(branches)
        assert (f["linear_late"], f["linear_joint"], f["knn"]) == (scores.late.accuracy, scores.joint.accuracy, scores.knn.accuracy)
        assert f["stream_linear"] == scores.late.streams and f["streams"] == list(branches) and f["n"] == len(exp.test)
        assert cells.letters(f["right"]["fused"]).mean() * 100 == pytest.approx(f["linear"])
        assert f["subsets"].get("+".join(branches), f["linear_late"]) == pytest.approx(f["linear_late"])
        assert f["seed"] == 1 and f["identity"] == cells.identity(cell.exp, cell.entry) and f["parameters"] > 0 < f["gflops"]
    (one,) = [c.figures for c in chosen if c.entry.name == "relational, one student" and c.seed == 1]
    assert one["streams"] == ["joint+motion+bone"]
    (six,) = [c.figures for c in chosen if c.entry.name == "with exchange" and c.seed == 1]
    assert len(six["subsets"]) == 63 and sum(six["shapley"].values()) == pytest.approx(six["linear_late"] - six["chance"])
    assert list(six["class_gains"]) == ["all", *grid.ADDED] and all(len(g) == six["classes"] for g in six["class_gains"].values())
    three, all_six = (cells.letters(six["right"][key]).mean() * 100 for key in ("three", "six"))
    assert (three, all_six) == pytest.approx((six["subsets"]["joint+motion+bone"], six["linear_late"]))


def test_stages_are_trained_once_and_what_is_there_is_not_computed_again(base, done):
    chosen, said = done
    stages = sorted(p.name.partition("-")[0] for p in (base.out / "stages").iterdir())
    assert stages == ["distill"] * 4 + ["exchange"] * 6 + ["pretrain"] * 2
    assert len(said) == 12 and re.match(r"1/12 seed 0, exchange: .*: linear [\d.]+ %, kNN", said[0])
    before = {c.file: c.file.stat().st_mtime_ns for c in chosen}
    assert cells.run(chosen) == 0 and {c.file: c.file.stat().st_mtime_ns for c in chosen} == before
    assert not list((base.out / cells.FOLDER).glob("*.claim"))


def test_a_torn_cell_is_computed_anew(base, done):
    cell = next(c for c in done[0] if c.entry.stage == "untrained")
    kept = cell.figures
    whole = cell.file.read_text()
    lacks = json.dumps({k: v for k, v in kept.items() if k != "linear"})
    other = json.dumps(kept | {"subsets": None})
    for damaged in (lacks, other, "[" * 100_000, whole[:100]):
        cell.file.write_text(damaged)
        assert cell.figures is None
    assert cells.run([cell]) == 1
    changing = {"seconds", "milliseconds", "process", "git", "date"}
    assert {k: v for k, v in cell.figures.items() if k not in changing} == {k: v for k, v in kept.items() if k not in changing}


def test_other_settings_data_or_code_are_other_cells(base, monkeypatch):
    entry = picked("exchange: none, 6")
    files = {cells.cells(e, entry, (0,))[0].file.name for e in (base, base.again(probe_epochs=4), base.again(lr=0.02))}
    monkeypatch.setattr(cells.manifest, "evaluation_code", lambda: "other")
    files.add(cells.cells(base, entry, (0,))[0].file.name)
    assert len(files) == 4


def test_a_stage_that_another_process_trains_is_left_to_it(base, done, monkeypatch):
    cell = next(c for c in done[0] if c.entry.name == "cosine" and c.seed == 0)
    cell.file.unlink()
    store = base.out / cells.FOLDER
    for name in (cell.file.stem, cell.stages[0][0], cell.stages[1][0], cell.stages[2][0]):
        with claims.claimed(store, name):
            assert cells.compute(cell) is False and cell.figures is None
            assert sorted(p.stem for p in store.glob("*.claim")) == [name], "nothing else stays claimed"
    monkeypatch.setattr(cells, "PAUSE", 0.05)
    said, held = [], claims.claimed(store, cell.file.stem)
    held.__enter__()
    threading.Timer(0.5, held.__exit__, (None, None, None)).start()
    assert cells.run([cell], said.append) == 1 and cell.figures
    assert said[0].startswith("waiting for other processes") and f"{cell.file.stem}.claim" in said[0]


# Claims


def test_of_many_only_one_has_a_claim(tmp_path):
    got, gate = [], threading.Barrier(12)

    def attempt():
        gate.wait()
        with claims.claimed(tmp_path, "x") as ours:
            got.append(ours)
            gate.wait()

    workers = [threading.Thread(target=attempt) for _ in range(12)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert sum(got) == 1 and not (tmp_path / "x.claim").exists()


def test_claims_of_the_dead_are_taken_over_and_of_the_living_are_not(tmp_path):
    path = tmp_path / "x.claim"
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    told = claims._me() | {"process": child.pid, "began": claims._began(child.pid)}
    for change, ours in (
        ({}, False),
        ({"host": "elsewhere", "process": 1, "began": "0"}, False),
        ({"began": "12"}, True),
        ({"boot": "of another machine with this name"}, False),
        ({"boot": "earlier", "older": True}, True),
        ({"space": "of another container"}, False),
    ):
        path.write_text(json.dumps(told | change))
        if change.get("older"):
            os.utime(path, (psutil.boot_time() - 60,) * 2)
        with claims.claimed(tmp_path, "x") as got:
            assert got is ours, change
        assert path.exists() is not ours
    path.write_text(json.dumps(told))
    child.kill()
    child.wait()
    with claims.claimed(tmp_path, "x") as got:
        assert got and claims.holder(path)["process"] == os.getpid()
    path.write_text("")  # just being written
    with claims.claimed(tmp_path, "x") as got:
        assert not got


# Parts, time, table


@pytest.mark.parametrize("count", [1, 3, 7])
def test_shards_are_all_of_it_in_pieces_of_about_equal_weight(count):
    weights = np.random.default_rng(0).random(50).tolist()
    parts = [cells.shard(list(range(50)), i + 1, count, weights) for i in range(count)]
    assert [c for part in parts for c in part] == list(range(50))
    assert max(sum(weights[c] for c in part) for part in parts) < sum(weights) / count + 1.01


def test_a_shard_stays_the_same_while_its_cells_are_finished(capsys, motion, base, done, tmp_path):
    """Where it is given again after a stop, or when all is done, it must not begin with what another machine has to do."""
    rows = [w for name in ("none, 3", "ekem+ikem, 6") for w in ("--row", name)]
    common = ["exchange", "--data", motion, "--smoke", "--dry-run", "--device", "cpu", "--seeds", "0,1,2", *rows]
    common += [w for k, v in TINY.items() for w in ("-p", f"{k}={v}")]
    for shard in ("1/2", "2/2"):
        texts = [call(capsys, "ablate", *common, "--shard", shard, "--out", out) for out in (tmp_path, base.out)]  # nothing done, two seeds
        before, after = (re.findall(r"^  (seed \d  .*?)  ", text, re.M) for text in texts)
        assert before == after and len(before) == 3 and "  there" not in texts[0] and "  there" in texts[1]


def test_work_counts_a_shared_stage_once_and_what_is_there_not(base, done):
    fresh = base.again(lr=0.03)
    chosen = cells.cells(fresh, picked("exchange: ekem+ikem, 6", "modalities: with exchange", "distillation: cosine"), (0,))
    first, twin, student = expected.work(chosen)
    assert first > student > 0 == twin
    assert expected.work(done[0]) == [0.0] * len(done[0]) and expected.seconds_per_gflop(done[0]) > 0
    n, s = len(base.train), base.settings
    single = first / (6 * 4 * s.epochs * n + 6 * (n + len(base.test)))  # forward and backward three, the key encoder one
    assert student == pytest.approx(single * ((6 + 3 * 3) * s.student_epochs * n + 3 * (n + len(base.test))))


def test_table_has_a_row_per_cell_and_seed_and_one_per_subset(done, tmp_path):
    chosen, _ = done
    table.write(tmp_path / "t.csv", table.rows(chosen, "the command"))
    with open(tmp_path / "t.csv", newline="") as file:
        found = list(csv.DictReader(file))
    assert tuple(found[0]) == table.COLUMNS and len(found) == len(chosen) + 2 * 63
    for cell in chosen:
        (row,) = [r for r in found if (r["group"], r["name"], r["seed"]) == (cell.entry.group, cell.entry.name, str(cell.seed))]
        f = cell.figures
        assert float(row["knn"]) == pytest.approx(f["knn"], abs=1e-4) and int(row["n"]) == f["n"] and row["command"] == "the command"
        assert json.loads(row["changes"]) == cell.entry.changes
        assert {n: float(row[f"alone_{n}"]) for n in modalities.NAMES if row[f"alone_{n}"]} == pytest.approx(
            {n: v for n, v in f["stream_linear"].items() if n in modalities.NAMES}, abs=1e-4)  # fmt: skip
    pair = [r for r in found if r["name"] == "with exchange: joint+bone"]
    assert [r["seed"] for r in pair] == ["0", "1"] and all(r["modalities"] == "joint,bone" and not r["shapley"] for r in pair)
    assert all(r["shapley"] for r in found if r["name"] == "with exchange: joint")


def test_differences_pair_seeds(done):
    chosen, _ = done
    found = table.difference(reversed(chosen), "switches", "keys, teacher", "recipe, teacher")
    a, b = (table.values(chosen, "switches", n) for n in ("keys, teacher", "recipe, teacher"))
    assert found.test.mean == pytest.approx(np.mean(np.array(a) - b)) and found.test.n == 2 and 0 <= found.beyond <= 2
    fewer = [c for c in chosen if (c.entry.name, c.seed) != ("keys, teacher", 0)]
    assert table.difference(fewer, "switches", "keys, teacher", "recipe, teacher").test.mean == pytest.approx(a[1] - b[1])
    with pytest.raises(DataError, match="no seed in common"):
        table.difference(chosen, "switches", "keys, teacher", "recipe")


def test_sentences_claim_what_seeds_bear():
    def of(*d):
        return table.Difference("x", table.paired(d, [0.0] * len(d)), 1)

    assert "no difference is seen" in table.sentence(of(2, -1, 0.5), "A", "B") and "a hint" in table.sentence(of(3, 1, 0.5), "A", "B")
    clear = table.sentence(of(3, 3.2, 3.1), "A", "B")
    assert (
        "apart from 0" in clear and "+3.1 ± 0.1 points over 3 seeds" in clear and "sign flips p = 0.25" in clear and "1 of 3 seeds" in clear
    )
    assert "says nothing" in table.sentence(of(3), "A", "B")
    assert len(table.luck(of(2, -1, 0.5), "A", "B")) == len(table.luck(of(3), "A", "B")) == 1 and not table.luck(of(3, 3.2), "A", "B")


# The command


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["exchang"], "did you mean 'exchange'"), (["--seeds", "0,x"], "must be whole numbers"), (["--shard", "5/4"], "from 1/4 to 4/4"),
     (["--row", "teachers"], "did you mean 'teacher'"),
     (["-p", "epoch=3"], "did you mean 'epochs'"), (["-p", "seed=3"], "--seeds"), (["-p", "epochs=many"], "whole number"),
     (["-p", "modalities=joint,bone", "-p", "students=joint,bone"], "all six modalities")],
)  # fmt: skip
def test_command_refuses(capsys, motion, tmp_path, arguments, words):
    with pytest.raises(SystemExit) as stop:
        call(capsys, "ablate", *arguments, "--data", motion, "--out", tmp_path, "--smoke")
    assert stop.value.code == 2 and words in capsys.readouterr().err and not (tmp_path / "stages").exists()


def test_a_table_that_can_not_be_written_is_told_before_anything_is_trained(capsys, motion, tmp_path):
    with pytest.raises(SystemExit):
        call(capsys, "ablate", "--data", motion, "--out", tmp_path, "--smoke", "--csv", motion / "table.csv")
    assert "nothing was computed" in capsys.readouterr().err and not (tmp_path / "stages").exists()
    (tmp_path / "mine.csv").write_text("name,age\n")
    with pytest.raises(SystemExit):
        call(capsys, "ablate", "--data", motion, "--out", tmp_path, "--smoke", "--csv", tmp_path / "mine.csv")
    assert "not a file that this command writes" in capsys.readouterr().err and (tmp_path / "mine.csv").read_text() == "name,age\n"


def test_dry_run_lists_and_computes_nothing(capsys, motion, tmp_path):
    text = call(capsys, "ablate", "--data", motion, "--out", tmp_path, "--smoke", "--dry-run", "--seeds", "4", "--device", "cpu")
    rows = grid.entries(RECIPE)
    assert f"{len(rows)} rows of the table; 0 cells are there" in text and len(re.findall(r"^  seed 4  ", text, re.M)) == len(rows)
    assert "switches: keys, teacher  with another row" in text and "about" in text and not (tmp_path / "stages").exists()
    part = call(
        capsys, "ablate", "--data", motion, "--out", tmp_path, "--smoke", "--dry-run", "--seeds", "4", "--shard", "2/3", "--device", "cpu"
    )
    assert 5 < len(re.findall(r"^  seed 4  ", part, re.M)) < len(rows) / 2 and f"part 2/3 of {len(rows)}" in part
    two = ["--row", "teacher", "--row", "ikem, ?"]
    few = call(capsys, "ablate", "--data", motion, "--out", tmp_path, "--smoke", "--dry-run", "--seeds", "4", *two, "--device", "cpu")
    assert re.findall(r"^  seed 4  (.*?)  ", few, re.M) == ["exchange: ikem, 3", "exchange: ikem, 6", "distillation: teacher"]


def test_two_processes_share_the_work(motion, tmp_path):
    options = [f"-p{k}={v}" for k, v in TINY.items()]
    options = [w for o in options for w in ("-p", o[2:])]
    command = [sys.executable, "-m", "skelmm_core", "ablate", "exchange", "--short", "--smoke", "--data", str(motion),
               "--out", str(tmp_path / "out"), "--seeds", "0", "--device", "cpu", *options]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT) for _ in range(2)
    ]
    told = [p.communicate(timeout=500) for p in both]
    assert [p.returncode for p in both] == [0, 0], told
    computed = [int(re.search(r"(\d+) cells computed here", out)[1]) for out, _ in told]
    files = list((tmp_path / "out" / "ablations").glob("cell-*.json"))
    assert sum(computed) == len(files) == 5, told
    assert len(list((tmp_path / "out" / "stages").glob("pretrain-*"))) == 1
    assert len((tmp_path / "out" / "ablations.csv").read_text().splitlines()) == 6


# Figures


def test_one_architecture_has_one_time():
    """The least of equal models: their differences are what else the machine had to do."""
    cost = {"parameters": 1000, "gflops": 0.5}
    given = {
        "a": cost | {"milliseconds": 40.0},
        "b": cost | {"milliseconds": 21.0},
        "teacher": {"parameters": 2000, "gflops": 1.0, "milliseconds": 90.0},
    }
    assert table.least_times(given) == {"a": 21.0, "b": 21.0, "teacher": 90.0}
    notes = json.loads((Path(__file__).parents[1] / "notebooks" / "06_ablations.ipynb").read_text())["cells"]
    told = " ".join("".join(cell["source"]) for cell in notes).replace("\n", " ")
    assert "table.least_times(first)" in told and "models of one architecture have one time, the least that was measured" in told


def test_dots_show_means_seeds_and_texts_beside():
    figure = drawing.dots({"a": {"x": [60.0, 62.0], "y": [50.0]}, "b": {"y": [55.0, 57.0, 59.0]}}, references={"raw": 58.0},
                          columns={"GFLOP": {"x": "1.5"}, "ms": {"y": "7"}})  # fmt: skip
    axes, beside = figure.axes
    single = {round(float(line.get_xdata()[0]), 6) for line in axes.lines if len(line.get_xdata()) == 1 and line.get_marker() in "os"}
    assert {61.0, 50.0, 57.0} <= single and [label.get_text() for label in axes.get_yticklabels()] == ["x", "y"]
    assert {t.get_text() for t in beside.texts} == {"GFLOP", "ms", "1.5", "7"}
    (legend,) = figure.legends
    assert {"a", "b", "raw: 58.0"} <= {t.get_text() for t in legend.get_texts()}
    for wrong in ({}, {"a": {}}, {"a": {"x": []}}, {"a": {"x": [float("nan")]}}):
        with pytest.raises(DataError):
            drawing.dots(wrong)


def test_subset_matrix_shows_the_best_and_the_worst():
    values = {s: [float(len(s)), len(s) + 1.0] for s in subsets.subsets(modalities.NAMES)}
    figure = drawing.subset_matrix(values, {n: [1.0, 3.0] for n in modalities.NAMES}, count=4)
    above, _, matrix, bars = figure.axes
    means = [float(line.get_ydata()[0]) for line in above.lines if line.get_marker() == "o"]
    assert means == [6.5] + [5.5] * 3 + [1.5] * 4 and above.texts[0].get_text() == "55 between"
    assert [bar.get_width() for bar in bars.patches] == [2.0] * 6
    assert [t.get_text() for t in matrix.get_yticklabels()][-1] == "angular velocity"
    every = drawing.subset_matrix({("joint",): [1.0], ("joint", "bone"): [2.0]}, {"joint": [1.0], "bone": [1.0]})
    assert not every.axes[0].texts
    with pytest.raises(DataError):
        drawing.subset_matrix({}, {})


def test_differences_mark_what_is_apart_from_0_and_intervals_that_leave():
    found = {
        "apart": table.paired([3, 3.2, 3.1], [0, 0, 0]),
        "within": table.paired([1, -1, 0.5], [0, 0, 0]),
        "wide": table.paired([9, -9], [0, 0]),
    }
    (axes,) = drawing.differences(found).axes
    at = {(round(float(line.get_xdata()[0]), 6), line.get_marker()) for line in axes.lines if len(line.get_xdata()) == 1}
    assert {(3.1, "s"), (round(0.5 / 3, 6), "o"), (0.0, "o")} <= at and {m for _, m in at} >= {"<", ">"}
    assert [t.get_text() for t in axes.texts] == ["+3.1", "+0.2", "+0.0"]
    assert len(drawing.differences({"one": table.paired([3], [1])}).axes) == 1
    with pytest.raises(DataError):
        drawing.differences({})


def test_accuracy_is_of_the_clips(done):
    f = done[0][0].figures
    ones = cells.letters(f["right"]["joint"])
    assert accuracy(np.ones(len(ones)), ones) == pytest.approx(f["stream_linear"]["joint"])


def test_a_recipe_that_diverges_is_named_and_the_others_go_on(base, monkeypatch):
    """What fails at one seed has no row there; a mistake of another kind still stops the grid."""
    chosen, said = cells.cells(base, grid.entries(base.settings, ("exchange",), short=True)[:2], [7]), []
    monkeypatch.setattr(cells.Cell, "figures", None)

    def compute(cell, finished):
        if cell is chosen[0]:
            raise TrainingError("the loss of motion is not finite at epoch 2")
        monkeypatch.setattr(cells.Cell, "figures", {"process": cells._process(), "linear": 1.0, "knn": 2.0, "seconds": 3.0})
        return True

    monkeypatch.setattr(cells, "compute", compute)
    assert cells.run(chosen, said.append) == 1
    assert "without figures: the loss of motion is not finite" in said[0] and "linear 1.0 %" in said[1]
