"""The seven notebooks: what is committed, one after the other through papermill at toy size, and one alone from its own folder."""

from __future__ import annotations

import ast
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import papermill
import pytest
import torch
from pages import Page

from skelmm_core import batches, html, modalities, notebook, settings
from skelmm_core.errors import DataError, SettingsError
from skelmm_core.parameters import of_notebook
from skelmm_core.skeletons import NTU25

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("01_modality_visualization", "02_single_modality_pretraining", "03_ikem", "04_distillation", "05_tsne_probing", "06_ablations")
DATA = "00_data"
ALL = (DATA, *NAMES)
STAGE = dict(zip(ALL, ("evaluate", "evaluate", "pretrain", "exchange", "distill", "distill", "distill"), strict=True))
COMMON = {"data": str, "out": str, "preset": str, "device": str, "smoke": bool, "seed": int}
SHOWN = {
    DATA: {"source", "source_format", "source_options", "strips"},
    NAMES[0]: {"clip", "modality", "body"},
    NAMES[4]: {"points", "perplexity", "iterations"},
    NAMES[5]: {"short", "repeats"},
}  # decide what is drawn, not trained
FIGURES = {
    DATA: {"classes", "lengths", "who_and_where", "bones", "heights", "worst_clip", "classes_strips", "split_balance"},
    NAMES[0]: {"film_strip", "film_strip_two_bodies", "film_strip_prepared", "modality_strip", "raw_confusion"},
    NAMES[1]: {"view_query", "view_key", "training_curves", "single_modalities", "confusion_three"},
    NAMES[2]: {"training_curves", "exchange", "confusion_teacher"},
    NAMES[3]: {"training_curves", "distillation", "confusion_student", "damage"},
    NAMES[4]: {"modalities_class", "modalities_subject", "modalities_view", "teacher_map", "student_map"},
    NAMES[5]: {"exchange", "subsets", "distillation", "switches"},
}
SIX = ["joint", "motion", "bone", "acceleration", "rotation axis", "angular velocity"]
CLIPS, TEST, CLASSES = 136, 68, 17  # of the toy sample


def committed(name: str) -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def strict(path: Path) -> dict:
    """JSON without NaN or infinity."""

    def refuse(word: str):
        raise AssertionError(f"{word} in {path}")

    return json.loads(path.read_text(), parse_constant=refuse)


# What is committed


@pytest.mark.parametrize("name", ALL)
def test_committed_without_outputs_and_with_a_kernel(name):
    nb = committed(name)
    nbformat.validate(nb)
    assert nb.metadata.kernelspec == {"display_name": "Python 3", "language": "python", "name": "python3"}
    code = [c for c in nb.cells if c.cell_type == "code"]
    assert all(not c.outputs and c.execution_count is None for c in code)
    assert len({c.id for c in nb.cells}) == len(nb.cells)
    text = "\n".join(c.source for c in nb.cells)
    assert all(ord(letter) < 0x1F000 for letter in text), "no emojis"
    headings = [line for c in nb.cells if c.cell_type == "markdown" for line in c.source.splitlines() if line.startswith("#")]
    assert headings[0].startswith("# 0") and "## Result" in headings and headings[-1] == "## Try this"


@pytest.mark.parametrize("name", ALL)
def test_parameters_are_annotated_explained_and_known_to_their_settings(name):
    cells = [c for c in committed(name).cells if "parameters" in c.metadata.get("tags", ())]
    assert len(cells) == 1
    found = of_notebook(ROOT / "notebooks" / f"{name}.ipynb")
    assert all(p.annotation and p.comment for p in found.values()), "papermill --help-notebook shows both"
    assert {n: found[n].kind for n in COMMON} == COMMON
    own = {n: p for n, p in found.items() if n not in COMMON and n not in SHOWN.get(name, ())}
    known = settings.field_types(settings.STAGES[STAGE[name]])
    assert {n: p.kind for n, p in own.items()} == {n: known[n] for n in own}
    assert all(p.default is None for p in own.values()), "a preset decides what is not given"
    listed = re.findall(r"\w+", found["preset"].comment.split("(")[0].replace(" or ", " "))
    assert set(listed) == set(settings.PRESETS) and found["preset"].default in settings.PRESETS
    inferred = {p["name"]: p for p in papermill.inspect_notebook(ROOT / "notebooks" / f"{name}.ipynb").values()}
    assert set(inferred) == set(found) and all(p["help"] and p["inferred_type_name"] != "None" for p in inferred.values())


@pytest.mark.parametrize("name", ALL)
def test_parameters_reach_the_experiment(name):
    start = next(c.source for c in committed(name).cells if "notebook.start(" in c.source)
    calls = [n for n in ast.walk(ast.parse(start)) if isinstance(n, ast.Call) and ast.unparse(n.func) == "notebook.start"]
    title, given = calls[0].args
    assert ast.literal_eval(title) == name
    assert all(k.arg == k.value.id for k in given.keywords)
    assert {k.arg for k in given.keywords} == set(of_notebook(ROOT / "notebooks" / f"{name}.ipynb")) - SHOWN.get(name, set())


def test_later_notebooks_take_what_earlier_ones_take():
    """Otherwise a setting that is given to all would change stage 1 in one notebook and be unknown to the next, which would train anew."""
    taken = [set(of_notebook(ROOT / "notebooks" / f"{name}.ipynb")) - SHOWN.get(name, set()) for name in ALL]
    assert taken[0] <= taken[1] <= taken[2] <= taken[3] <= taken[4] == taken[5] == taken[6]


# One after the other


@pytest.fixture(scope="module")
def headless():
    """An environment in which kernels import this package, on one thread, and nobody looks on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
        patch.setenv("OMP_NUM_THREADS", "1")
        for name in ("JPY_SESSION_NAME", "VSCODE_PID"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory, headless) -> Path:
    """Notebooks 00 to 06 executed into one folder at toy size."""
    out = tmp_path_factory.mktemp("run")
    for name in ALL:
        papermill.execute_notebook(
            ROOT / "notebooks" / f"{name}.ipynb", out / f"{name}.ipynb", {"out": str(out), "smoke": True, "device": "cpu", "seed": 3},
            cwd=ROOT, progress_bar=False, log_output=False,
        )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def metrics(run) -> dict[str, dict]:
    return {name: strict(run / name / "metrics.json") for name in ALL}


def outputs(nb: nbformat.NotebookNode) -> list:
    return [o for c in nb.cells if c.cell_type == "code" for o in c.outputs]


def shown(nb: nbformat.NotebookNode) -> str:
    return "\n".join(o.data.get("text/markdown", "") for o in outputs(nb) if "data" in o)


@pytest.mark.parametrize("name", ALL)
def test_executed_notebook_shows_what_it_promises(run, name):
    path = run / f"{name}.ipynb"
    nb = nbformat.read(path, as_version=4)
    assert path.stat().st_size < 5e6
    assert not [o for o in outputs(nb) if o.output_type == "error"]
    text = shown(nb)
    assert "This run uses generated motion" in text and "Smoke run" in text and "**Signs of failure**" in text
    assert text.count("**What is to be seen") >= 3
    saved = {p.stem: p.read_bytes() for p in (run / name / "figures").iterdir()}
    assert set(saved) == FIGURES[name]
    assert all(png.startswith(b"\x89PNG") and len(png) > 5000 for png in saved.values())
    assert sum("image/png" in o.get("data", {}) for o in outputs(nb)) == len(saved), "each figure once"
    kinds = {kind for o in outputs(nb) for kind in o.get("data", {})}
    assert ("application/vnd.plotly.v1+json" in kinds) == (name == NAMES[4])
    players = [html for o in outputs(nb) if '<div data-skelmm="' in (html := o.get("data", {}).get("text/html", ""))]
    assert len(players) == {DATA: 2, NAMES[0]: 4, NAMES[5]: 1}.get(name, 0) and all(len(html) < 100_000 for html in players)
    linked = [o for o in outputs(nb) if '<div data-skelmm-map="' in o.get("data", {}).get("text/html", "")]
    assert len(linked) == (name == NAMES[4]) == (run / name / "linked_map.html").exists()


@pytest.mark.parametrize("name", ALL)
def test_metrics_say_what_ran(metrics, name):
    found = metrics[name]
    assert found["notebook"] == name
    run, data = found["run"], found["run"]["data"]
    assert {k: run[k] for k in ("preset", "seed", "device", "smoke", "precision")} == {
        "preset": "quick", "seed": 3, "device": "cpu", "smoke": True, "precision": "32-true",
    }  # fmt: skip
    assert data["generated"] is True and data["title"].startswith("generated motion") and data["protocol"] == "odd-even-subjects"
    assert (data["clips"], data["train"], data["test"]) == (CLIPS, CLIPS - TEST, TEST) and len(data["content"]) == 64
    assert found["headline"]
    for value in (v for name, v in found["headline"].items() if "kept" not in name):  # a student may be better than its teacher
        assert isinstance(value, str) or 0 <= value <= 100
    assert isinstance(found["signs_of_failure"], list) and all(isinstance(s, str) for s in found["signs_of_failure"])


@pytest.mark.parametrize("name", NAMES[1:4])
def test_toy_runs_report_signs_of_failure(metrics, name):
    assert metrics[name]["signs_of_failure"], "two epochs teach nothing, and the notebook has to say so"


@pytest.mark.parametrize("name", NAMES[1:5])
def test_signs_of_failure_compare_nearest_neighbours_too(name):
    (code,) = [c.source for c in committed(name).cells if c.cell_type == "code" and "signs_of_failure(" in c.source]
    assert " nearest={" in code and "untrained_nearest={" in code


def right(summary: dict) -> None:
    """A summary's figures agree with each other."""
    confusion = np.array(summary["confusion"])
    assert confusion.shape == (CLASSES, CLASSES) and confusion.sum() == TEST == summary["clips"]
    assert summary["linear"] == pytest.approx(100 * confusion.trace() / TEST)
    assert summary["linear"] == summary[f"linear_{summary['fusion']}"]
    assert summary["per_class"] == pytest.approx(100 * confusion.diagonal() / confusion.sum(1))
    for stream in summary["streams"].values():
        assert all(0 <= stream[k] <= 100 for k in ("linear", "knn"))
        assert all(stream[k] * TEST / 100 == pytest.approx(round(stream[k] * TEST / 100)) for k in ("linear", "knn"))


def test_00_reports_the_data(run, metrics):
    found = metrics[DATA]
    report = found["audit"]
    assert report["clips"] == CLIPS and len(report["classes"]) == CLASSES and report["duplicates"] == []
    (sign,) = found["signs_of_failure"]
    assert f"{CLASSES} classes have fewer than 5 clips to train or to test" in sign
    own = report["protocols"][0]
    assert (own["protocol"], own["train"], own["test"], own["leaks"]) == ("odd-even-subjects", CLIPS - TEST, TEST, [])
    assert found["headline"]["train | test"] == f"{CLIPS - TEST} | {TEST}" and len(found["strips"]) == CLASSES
    assert found["left_out"] == {"prepared": False}, "the sample was made on the spot"
    text = shown(nbformat.read(run / f"{DATA}.ipynb", as_version=4))
    assert "All classes have 8 clips." in text and "No coordinates are in both parts" in text and "0 of 2 people" in text


def test_00_shows_recordings_that_name_no_protocol_with_the_reader_s_options(tmp_path, headless):
    """A table in centimetres of a skeleton of one's own: the first usual protocol that fits stands in."""
    rng, rows = np.random.default_rng(0), ["clip,frame,joint,x,y,z,label,subject"]
    for i in range(8):
        for frame in range(12):
            rows += [f"c{i},{frame},{j},{100 * rng.normal():.3f},{100 * y:.1f},{rng.normal():.3f},{'ab'[i // 2 % 2]},{i % 2 + 1}"
                     for j, y in ((0, 1.0), (1, 1.4), (2, 1.7), (3, 1.4), (4, 1.4))]  # fmt: skip
    (tmp_path / "mine.csv").write_text("\n".join(rows))
    joints = ["hips", "chest", "head", "left shoulder", "right shoulder"]
    parents = ["hips", "hips", "chest", "chest", "chest"]
    (tmp_path / "mine.toml").write_text(f'name = "mine"\njoints = {joints}\nparents = {parents}\n')
    options = f"units=cm, skeleton={tmp_path / 'mine.toml'}"
    papermill.execute_notebook(
        ROOT / "notebooks" / f"{DATA}.ipynb", tmp_path / "done.ipynb",
        {"source": str(tmp_path / "mine.csv"), "source_options": options, "out": str(tmp_path / "out")},
        cwd=ROOT / "notebooks", progress_bar=False, log_output=False,
    )  # fmt: skip
    found = strict(tmp_path / "out" / DATA / "metrics.json")
    assert found["headline"]["train | test"] == "4 | 4" and found["audit"]["protocols"][0]["protocol"] == "odd-even-subjects"


def test_00_makes_a_clips_file_of_raw_files_and_names_the_leak(tmp_path, headless):
    """Plain papermill from notebooks/, on an npz in which a clip that trains is there again under another name that tests."""
    rng = np.random.default_rng(0)
    clip = np.cumsum(rng.normal(0, 0.01, (12, 20, 20, 3)), axis=1).astype(np.float32) + rng.normal(0, 0.5, (12, 1, 20, 3)).astype(
        np.float32
    )
    clip[7] = clip[2]
    names = [f"walk{i}" for i in range(12)]
    np.savez(
        tmp_path / "own.npz", joints=clip.reshape(-1, 20, 3), offsets=np.arange(13) * 20, label=np.arange(12) // 2 % 2,
        subject=np.arange(12) % 4, name=np.array(names), label_names=np.array(["to", "fro"]), protocol="odd-even-subjects",
    )  # fmt: skip
    out = tmp_path / "out"
    papermill.execute_notebook(
        ROOT / "notebooks" / f"{DATA}.ipynb", tmp_path / "done.ipynb", {"source": str(tmp_path / "own.npz"), "out": str(out)},
        cwd=ROOT / "notebooks", progress_bar=False, log_output=False,
    )  # fmt: skip
    made = sorted(p.name for p in (out / "clips").iterdir())
    assert len(made) == 3 and [name.partition(".clips")[2] for name in made] == ["", ".report.html", ".report.json"]
    before = (out / "clips" / made[0]).stat().st_mtime_ns
    again = Path(notebook.prepared(DATA, str(tmp_path / "own.npz"), "auto", "sample", str(out)))
    assert again.name == made[0] and again.stat().st_mtime_ns == before, "made once"
    found = strict(out / DATA / "metrics.json")
    assert found["headline"]["leaks between train and test"] == "1" and found["left_out"]["prepared"] is True
    assert found["signs_of_failure"][0].startswith("leak in protocol odd-even-subjects: 1 clip")
    assert "walk2 (test) = walk7 (train)" in found["signs_of_failure"][0]
    done = nbformat.read(tmp_path / "done.ipynb", as_version=4)
    assert "`walk2` (test) has the coordinates of `walk7` (train)" in shown(done)
    assert "2: walk2 and 7: walk7: a leak in protocol odd-even-subjects, 7 trains, 2 tests" in shown(done)
    played = [o.data["text/plain"] for o in outputs(done) if '<div data-skelmm="' in o.get("data", {}).get("text/html", "")]
    assert played[0].startswith("Player: 2: fro, subject 2, ") and " beside 7: fro, subject 3, " in played[0], "the leak, in step"


def test_01_measures_the_modalities(metrics):
    found = metrics[NAMES[0]]
    assert list(found["ranges"]) == [n.replace(" ", "_") for n in SIX]
    for row in found["ranges"].values():
        assert 0 <= row["median"] <= row["98th percentile"] <= row["largest"]
    axis = found["ranges"]["rotation_axis"]  # preset quick keeps the length of the cross product of two bones of at most 0.6 m
    assert axis["unit"] == "m²" and 0.005 < axis["largest"] < 0.36
    assert 0.1 < found["ranges"]["joint"]["median"] < 1.5, "metres, with the shoulders' centre at the origin"
    assert found["timeline"]["true_ratio"] == pytest.approx(2, rel=0.1)
    assert found["timeline"]["resampled_ratio"] == pytest.approx(1, rel=0.1)
    confusion = np.array(found["raw"]["confusion"])
    assert confusion.sum() == TEST and found["headline"]["raw 1-NN"] == pytest.approx(100 * confusion.trace() / TEST)
    assert sum(row["train clips"] + row["test clips"] for row in found["classes"]) == CLIPS
    assert found["headline"]["most frequent class"] == pytest.approx(100 / CLASSES)


def test_02_measures_each_modality_and_their_fusion(metrics):
    found = metrics[NAMES[1]]
    assert [row["modality"] for row in found["modalities"]] == SIX
    for key in ("three", "all", "three_untrained", "all_untrained"):
        right(found[key])
    assert found["headline"]["three modalities, linear"] == found["three"]["linear"]
    assert found["raw_1nn"] == metrics[NAMES[0]]["headline"]["raw 1-NN"]
    assert found["all_right"] <= min(row["linear"] for row in found["modalities"][:3]) <= found["any_right"]
    queue = settings.SMOKE["queue"]
    demonstration = list(found["demonstration"].values())
    assert demonstration[0] == pytest.approx(math.log(1 + queue), abs=1e-4)
    assert demonstration[0] > demonstration[2] > demonstration[3] > 0 and demonstration[2] > math.log(2)
    cost = {row["parameters"]: row for row in found["cost"].values()}
    one, three, six = sorted(cost)
    assert (three, six) == (3 * one, 6 * one)
    assert found["training"]["epochs"] == settings.SMOKE["epochs"] == found["training"]["last"]["epoch"]


def test_02_leaves_a_log_of_what_it_shows(run, metrics):
    training = metrics[NAMES[1]]["training"]
    lines = (run / "stages" / training["folder"] / "log.csv").read_text().splitlines()
    last = dict(zip(lines[0].split(","), lines[-1].split(","), strict=True))
    assert float(last["loss/bone"]) == pytest.approx(training["last"]["loss/bone"])
    assert training["log_1_plus_k"] == pytest.approx(math.log(65))


def test_03_compares_with_what_02_trained(metrics):
    before, found = metrics[NAMES[1]], metrics[NAMES[2]]
    assert found["training"]["stage1"]["folder"] == before["training"]["folder"], "stage 1 was found again"
    assert found["three"] == before["three"] and found["all"] == before["all"] and found["untrained"] == before["all_untrained"]
    for key in ("three_exchange", "teacher"):
        right(found[key])
    assert [(row["modalities"], row["exchange"]) for row in found["rows"]] == [(3, "none"), (3, "ekem+ikem"), (6, "none"), (6, "ekem+ikem")]
    assert found["training"]["teacher"]["from"] == 1 and found["training"]["teacher"]["epochs"] == 2
    assert found["training"]["three"]["folder"] != found["training"]["teacher"]["folder"]
    for row in found["per_class"]:
        assert row["gain"] == pytest.approx(row["with"] - row["without"])
    toy = [list(row.values()) for row in found["demonstration"]]
    assert toy[0][1] < toy[-1][1] and toy[0][2] > toy[-1][2], "a mined neighbour is a negative to InfoNCE and a positive to EKEM"
    for row in found["neighbours"]:
        own, other, alone = list(row.values())[1:]
        assert 0 <= alone <= own <= 100 and own + other <= 100 + 1e-3


def test_04_compares_the_student_with_its_teacher(metrics):
    before, found = metrics[NAMES[2]], metrics[NAMES[3]]
    assert found["teacher"] == before["teacher"] and found["alone"] == before["three_exchange"], "both were found again"
    right(found["student"])
    teacher, student = found["cost"]["teacher"], found["cost"]["student"]
    assert 2 * student["parameters"] == teacher["parameters"]
    assert 2 * student["gflops"] == pytest.approx(teacher["gflops"])
    assert found["kept"] == pytest.approx(100 * found["student"]["linear"] / found["teacher"]["linear"])
    parts = found["agreement"]
    gain = parts["student right, teacher wrong"] - parts["teacher right, student wrong"]
    assert gain == pytest.approx(found["student"]["linear"] - found["teacher"]["linear"])
    near, far = found["demonstration"]
    assert near["ordinary: 2 - 2 cos(e, T)"] == pytest.approx(far["ordinary: 2 - 2 cos(e, T)"]) == pytest.approx(0.2)
    assert near["relational"] < far["relational"] - 0.1


@pytest.mark.parametrize(
    ("student", "words"), [(50.0, "; both are the same."), (48.8, "; it is 1.2 points below it."), (50.3, "; it is 0.3 points above it.")]
)
def test_04_says_where_the_student_lies(student, words):
    (cell,) = (c.source for c in committed(NAMES[3]).cells if "The student keeps" in c.source)
    said = []
    scores = [SimpleNamespace(linear=SimpleNamespace(accuracy=a), accuracy=a) for a in (50.0, student, 40.0, 30.0)]
    names = dict(zip(("teacher_scores", "student_scores", "alone_scores", "floor"), scores, strict=True))
    exec(cell, names | {"raw": scores[3], "notebook": notebook, "session": SimpleNamespace(say=said.append, clips=1000)})
    assert words in said[0].partition("\n")[0]


def test_01_measures_a_clip_in_which_nothing_moves():
    (cell,) = (c.source for c in committed(NAMES[0]).cells if "Halved speed" in c.source)
    still = SimpleNamespace(joints=np.random.default_rng(0).normal(size=(1, 1, 25, 3)))  # a clip of one frame
    names = {"recording": still, "clips": SimpleNamespace(skeleton=NTU25), "s": SimpleNamespace(frames=16), "axes": 3}
    said = []
    names |= {"np": np, "torch": torch, "batches": batches, "modalities": modalities}
    exec(cell, names | {"session": SimpleNamespace(say=said.append)})
    assert "**0.00** on the true timeline" in said[0]


def test_05_refuses_test_clips_of_one_class():
    (cell,) = (c.source for c in committed(NAMES[4]).cells if "performances = " in c.source)
    check = cell[cell.index('if "class" not in columns') : cell.index("performances = ")]
    exec(check, {"columns": {"class": 0}})
    with pytest.raises(DataError, match="all 4 test clips are of one class"):
        exec(check, {"columns": {"subject": 0}, "chosen": range(4), "DataError": DataError})


def test_05_names_whose_neighbours_play():
    told = " ".join(c.source for c in committed(NAMES[4]).cells).replace("\n", " ")
    assert "nearest in the features of what the map shows" in told and "those of a single modality its own" in told
    assert 'for who in ("teacher", "student", *names)' in told, "as the code has it"


def test_05_probes_what_04_trained(metrics):
    before, found = metrics[NAMES[3]], metrics[NAMES[4]]
    assert (found["teacher"], found["student"]) == (before["training"]["teacher"]["folder"], before["training"]["student"]["folder"])
    names = {n.replace(" ", "_") for n in SIX}
    compared = {"teacher", "student", "untrained", "raw coordinates"}  # the sanity rows stand beside every result
    assert set(found["scores"]) == set(found["caution"]) == names | {f"{n}, untrained" for n in names} | compared
    for columns in found["scores"].values():
        assert set(columns) == {"class", "subject", "view"}
        assert all(0 <= s["knn"] <= 100 and -1 <= s["silhouette"] <= 1 for s in columns.values())
    assert found["chance"] == pytest.approx({"class": 100 / CLASSES, "subject": 50, "view": 50})
    for name, row in found["caution"].items():
        apart = {column: score["knn"] for column, score in found["scores"][name].items()}
        twin = row["nearest is another view of it (%)"]
        together = {column: row[f"{column}, if views count (%)"] for column in apart}
        for column in ("class", "subject"):
            assert twin <= together[column] <= twin + apart[column] + 1e-9, "a twin shares it; the others keep their neighbour"
        assert together["view"] <= min(100 - twin, apart["view"]) + 1e-9, "a twin is of another view"
    assert found["caution"]["raw coordinates"]["nearest is another view of it (%)"] > 50, "else nothing was left out"
    for name in ("teacher", "student", "untrained", "raw coordinates"):
        assert found["headline"][f"{name}, class by nearest of another performance"] == found["scores"][name]["class"]["knn"]
    for column in ("subject", "view"):
        assert found["headline"][f"teacher, {column} by nearest of another performance"] == found["scores"]["teacher"][column]["knn"]
    assert not any("probe" in sign for sign in found["signs_of_failure"]), "nothing was probed here, only neighbours"
    assert [row["map"] for row in found["maps"]] == [*SIX, "teacher", "student"]
    assert all(0.5 < row["trustworthiness"] <= 1 for row in found["maps"]), "better than a random map"
    assert [row["epoch"] for row in found["forming"]] == [0, 1, 2], "untrained, where stage 1 ended, the teacher"
    assert [row["moved to the next"] is None for row in found["forming"]] == [False, False, True]
    assert all(0 < row["moved to the next"] <= math.sqrt(2) for row in found["forming"][:-1]) and 0 <= found["wrong"] <= TEST


def test_06_asks_the_grid_over_seeds(run, metrics):
    found = metrics[NAMES[5]]
    assert found["seeds"] == [3, 4] and found["short"] is True
    assert found["cells"] == len(list((run / "ablations").glob("cell-*.json"))) == 24
    percent = {(row["group"], row["name"], row["seed"]): row["linear"] for row in found["rows"] if "linear" in row}
    mean = {key[:2]: (percent[*key[:2], 3] + percent[*key[:2], 4]) / 2 for key in percent}
    assert found["headline"]["teacher, linear"] == pytest.approx(mean["modalities", "with exchange"])
    assert found["headline"]["student, linear"] == pytest.approx(mean["distillation", "relational, described"])
    helped = mean["exchange", "ekem+ikem, 6"] - mean["exchange", "none, 6"]
    assert found["differences"]["exchange of six modalities"]["mean"] == pytest.approx(helped)
    assert set(found["differences"]) == {
        "exchange of six modalities", "distillation", "slipped queue, student", "three keys locked, student", "three keys locked, teacher",
        "teacher in train mode, student",
    }  # fmt: skip
    teacher = [row for row in found["rows"] if row["group"] == "subsets" and row["name"].startswith("with exchange: ")]
    assert len(teacher) == 2 * 63 and all(0 <= row["linear_late"] <= 100 for row in teacher)
    assert list(found["shapley"]) == [n.replace(" ", "_") for n in SIX]
    correlation = np.array(found["error_correlation"], float)
    assert correlation.shape == (6, 6) and np.nanmax(np.abs(correlation)) <= 1 + 1e-9
    assert len((run / NAMES[5] / "ablations.csv").read_text().splitlines()) == 1 + len(found["rows"])


def test_03_alone_from_its_own_folder(tmp_path, headless):
    """Plain papermill, kernel in notebooks/, `out` relative: it makes what it needs, and the path counts from the repository."""
    out = os.path.relpath(tmp_path / "alone", ROOT)
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", "03_ikem.ipynb", str(tmp_path / "out.ipynb"), "-p", "out", out,
               "-p", "epochs", "2", "-p", "smoke", "True", "-p", "modalities", "joint,motion,bone", "-p", "exchange", "ikem"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT / "notebooks", capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    found = strict(tmp_path / "alone" / "03_ikem" / "metrics.json")
    assert found["training"]["stage1"]["epochs"] == 2
    assert [(row["modalities"], row["exchange"]) for row in found["rows"]] == [(3, "none"), (3, "ikem")]
    assert len(list((tmp_path / "alone" / "stages").iterdir())) == 2, "stage 1 and one exchange"


# The helper


def test_relative_paths_start_from_the_repository(tmp_path, monkeypatch):
    for folder in (ROOT, ROOT / "notebooks", ROOT / "skelmm_core", tmp_path):
        monkeypatch.chdir(folder)
        assert notebook.repository("03_ikem") == ROOT
    other = tmp_path / "checkout"
    (other / "notebooks" / "mine").mkdir(parents=True)
    (other / "notebooks" / "03_ikem.ipynb").touch()
    monkeypatch.chdir(other / "notebooks" / "mine")
    assert notebook.repository("03_ikem") == other
    assert notebook.repository("99_none") == other / "notebooks" / "mine"


def test_start_refuses_what_it_does_not_know(tmp_path):
    given = dict(data="sample", out=str(tmp_path), preset="quick", device="cpu", smoke=True, seed=0)
    with pytest.raises(SettingsError, match="did you mean 'epochs'"):
        notebook.start("03_ikem", given | {"epoch": 3})
    with pytest.raises(DataError, match="no clips file at"):
        notebook.start("03_ikem", given | {"data": "nowhere.clips"})
    assert not (tmp_path / "stages").exists()


def test_raw_files_and_a_clips_file_are_not_both_taken(tmp_path):
    assert notebook.prepared(DATA, "", "auto", "some.clips", str(tmp_path)) == "some.clips"
    with pytest.raises(SettingsError, match="are given; name raw files by source or a clips file by data"):
        notebook.prepared(DATA, "raw.zip", "auto", "some.clips", str(tmp_path))
    with pytest.raises(DataError, match="no file or folder"):
        notebook.prepared(DATA, str(tmp_path / "raw.zip"), "auto", "sample", str(tmp_path))


@pytest.mark.parametrize(
    ("percent", "than", "clips", "words"),
    [  # standard errors by hand: 7.07, 7.00, 6.40 and, with 10,000 clips, 0.70
        (50, 50, 100, ("+0.0 points", "7.1 points on 100 test clips", "none is seen")),
        (60, 50, 100, ("+10.0 points", "standard error 7.0", "a hint")),
        (50, 60, 100, ("-10.0 points", "a hint")),
        (80, 50, 100, ("+30.0 points", "4.7 times")),
        (60, 50, 10000, ("+10.0 points", "14.3 times", "other seeds")),
    ],
)
def test_comparisons_claim_what_the_clips_bear(percent, than, clips, words):
    sentence = notebook.compare("A", percent, "B", than, clips)
    assert sentence.startswith(f"A {percent:.1f} %, B {than:.1f} %") and all(word in sentence for word in words)


WICKED = (
    "<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "<B onclick=alert(1)>", "<!-- ", "<?x ?>",
    "`<svg/onload=alert(1)>`", "![seen](http://192.0.2.1/a.png)", "[here](javascript:alert(1))", "[seen]: http://192.0.2.1/a.png",
    "![seen][seen]", "<http://192.0.2.1>",
)  # fmt: skip


@pytest.mark.parametrize("name", WICKED)
def test_what_a_session_says_and_lists_holds_names_from_data_as_text_alone(name, monkeypatch):
    """In a notebook that is trusted JupyterLab, and the HTML that nbconvert makes, run and fetch what Markdown holds."""
    markdown2html = pytest.importorskip("nbconvert.filters").markdown2html
    shown = []
    monkeypatch.setattr(notebook, "display", lambda said: shown.append(Page(markdown2html(said.data))))
    session = notebook.Session.__new__(notebook.Session)
    session.say(f"**Seen.** *{name}* and `{name}` of {name}\n\n{name}\n\n- {name}")
    session.table([{"class": name, "clips": 3}])
    said, table = shown
    tags = {tag for tag, _ in said.tags}
    assert {"strong", "li"} <= tags <= {"p", "strong", "em", "code", "ul", "li", "a"}
    assert {tag for tag, _ in table.tags} <= {"table", "thead", "tbody", "tr", "th", "td", "code", "a"} and len(table.tags) >= 9
    assert all(set(attrs) <= {"style", "href"} and attrs.get("href", "http").startswith("http") for page in shown for _, attrs in page.tags)
    assert name.strip("`! ").partition("]")[0] in said.text.replace(html.APART, "")


def test_tables_and_plain_values(tmp_path):
    text = notebook.table([{"name": "a|b", "value": 1.25, "count": 12345}, {"name": "c", "value": math.nan}], digits=2)
    assert text.splitlines() == ["| name | value | count |", "| :--- | ---: | ---: |", "| a\\|b | 1.25 | 12,345 |", "| c | – | – |"]
    with pytest.raises(DataError):
        notebook.table([])
    nested = {"a": np.float32(0.5), "b": [torch.tensor([1, 2]), np.array([np.nan])], 3: (True, None), "d": settings.Evaluate(seed=4)}
    got = notebook.plain(nested)
    assert got["a"] == 0.5 and got["b"] == [[1, 2], [None]] and got["3"] == [True, None] and got["d"]["seed"] == 4
    with pytest.raises(SettingsError, match="found set"):
        notebook.plain({"a": {1, 2}})
    assert notebook.join(["a"]) == "a" and notebook.join(["a", "b", "c"]) == "a, b and c"
