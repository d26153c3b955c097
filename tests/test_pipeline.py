"""Runs of small notebooks through papermill, what is skipped, what is told when one stops, and the report."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import nbformat
import papermill
import pytest
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from pages import Page

from skelmm_core import clips, manifest, parameters, pipeline, report, worker
from skelmm_core.errors import DataError, NotebookError, SettingsError
from skelmm_core.sources import sample
from skelmm_core.sources.ntu_writer import write_ntu

HEAD = """\
data: str = "sample"  # clips file
out: str = "outputs/run"  # folder
smoke: bool = False  # toy sizes
seed: int = None  # decides all random draws
"""
BODY = """\
import json, os, pathlib, sys
folder = pathlib.Path(out) / NAME
(folder / "figures").mkdir(parents=True, exist_ok=True)
print("half way", file=sys.stderr)
metrics = {"notebook": NAME, "run": {"seed": seed}, "headline": {"epochs": EPOCHS, "accuracy <b>": 12.34}, "signs_of_failure": ["a < b"]}
(folder / "metrics.json").write_text(json.dumps(metrics))
"""


def write(folder: Path, name: str, cell: str = "", body: str = BODY, tags: tuple[str, ...] = ("parameters",)) -> Path:
    """A notebook whose parameters are the common ones and those of `cell`."""
    code = body.replace("NAME", repr(name)).replace("EPOCHS", "epochs" if "epochs" in cell else "1")
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        cells=[nbformat.v4.new_code_cell(HEAD + cell, metadata={"tags": list(tags)}), nbformat.v4.new_code_cell(code)],
    )
    folder.mkdir(exist_ok=True, parents=True)
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


@pytest.fixture(scope="module")
def motion(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "motion.clips"
    clips.write(path, sample.read(performers=2, repetitions=1, cameras=1, actions=["kick", "punch"]))
    return path


@pytest.fixture(autouse=True)
def _same_code(monkeypatch):
    monkeypatch.setattr(manifest, "code", lambda: "0.1.0+test")  # whoever edits the package meanwhile


# Parameters


def test_parameters_cell_against_what_python_makes_of_it():
    cell = 'a: int = 3  # steps\nb: "float | None" = None  # rate, 1/s\nc: bool = True\nd = "x # y"  # a text\ne: float = -1e-3\n'
    namespace: dict = {}
    exec(cell, namespace)
    found = parameters.of_cell(cell)
    assert {name: p.default for name, p in found.items()} == {name: namespace[name] for name in "abcde"}
    assert [p.comment for p in found.values()] == ["steps", "rate, 1/s", "", "a text", ""]
    assert [p.kind for p in found.values()] == [int, float, bool, str, float]
    assert [p.optional for p in found.values()] == [False, True, False, False, False]


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [("int", "8", 8), ("float", "1e-2", 0.01), ("float", 3, 3.0), ("bool", "True", True), ("bool", "no", False), ("str", "a=b", "a=b"),
     ("int | None", "none", None), ("Optional[int]", "7", 7), ("str", "12", "12")],
)  # fmt: skip
def test_texts_become_values_of_the_annotated_type(annotation, text, value):
    got = parameters.Parameter("x", annotation, 0, "").convert(text)
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize(
    ("annotation", "wrong"), [("int", "8.5"), ("int", True), ("float", "fast"), ("bool", "2"), ("int", "none"), ("str", 3)]
)
def test_values_of_another_type_are_refused(annotation, wrong):
    with pytest.raises(SettingsError, match="parameter 'x' must be .*found"):
        parameters.Parameter("x", annotation, 0, "").convert(wrong)


def test_pairs_and_their_errors():
    assert parameters.pairs(["epochs=8", "modalities=joint,bone", "lr-drop=", "protocol=subject == 2"]) == {
        "epochs": "8", "modalities": "joint,bone", "lr_drop": "", "protocol": "subject == 2",
    }  # fmt: skip
    for wrong in (["epochs"], ["=3"], ["a=1", "a=2"]):
        with pytest.raises(SettingsError):
            parameters.pairs(wrong)


def test_notebooks_that_can_not_be_read(tmp_path):
    (tmp_path / "01_text.ipynb").write_text("hello")
    with pytest.raises(NotebookError, match="is not a notebook"):
        parameters.of_notebook(tmp_path / "01_text.ipynb")
    with pytest.raises(NotebookError, match="can't read"):
        parameters.of_notebook(tmp_path / "02_missing.ipynb")
    with pytest.raises(NotebookError, match="has 0 code cells with the tag 'parameters'"):
        parameters.of_notebook(write(tmp_path, "03_untagged", tags=()))
    with pytest.raises(NotebookError, match="can't be understood"):
        parameters.of_notebook(write(tmp_path, "04_computed", "epochs: int = 2 + len('a')  # no literal\n"))


def test_each_notebook_gets_what_it_knows(tmp_path):
    known = {"02_a": parameters.of_cell("epochs: int = 3\nbatch: int = 8\n"), "03_b": parameters.of_cell("epochs: float = 3.0\n")}
    assert parameters.distribute({"epochs": "5", "batch": "4"}, known) == {"02_a": {"epochs": 5, "batch": 4}, "03_b": {"epochs": 5.0}}
    with pytest.raises(SettingsError, match="unknown parameter 'epoch' of 02_a, 03_b; did you mean 'epochs'"):
        parameters.distribute({"epoch": "5"}, known)


# Choosing and ordering


def test_choosing_notebooks(tmp_path):
    for name in ("01_look", "02_train", "03_more"):
        write(tmp_path, name)
    assert list(pipeline.choose((), tmp_path)) == ["01_look", "02_train", "03_more"]
    assert list(pipeline.choose(("03", "1", "02_train"), tmp_path)) == ["01_look", "02_train", "03_more"]
    with pytest.raises(SettingsError, match="unknown notebook '02_trian'; did you mean '02_train'"):
        pipeline.choose(("02_trian",), tmp_path)
    with pytest.raises(NotebookError, match="no notebook"):
        pipeline.choose((), tmp_path / "empty")


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_notebooks_that_build_on_each_other_never_overlap(jobs, tmp_path, monkeypatch):
    spans: dict[str, tuple[float, float]] = {}
    lock, most = threading.Lock(), [0, 0]

    def pretend(path, out, values, threads):
        with lock:
            most[0] += 1
            most[1] = max(most)
        began = time.monotonic()
        time.sleep(0.15 if "01" in path else 0.05)
        spans[Path(path).stem] = began, time.monotonic()
        with lock:
            most[0] -= 1
        return ""

    class State:
        out = tmp_path
        say = staticmethod(lambda line: None)
        record = staticmethod(lambda *_: None)

    monkeypatch.setattr(pipeline, "ProcessPoolExecutor", lambda n, *_, **__: ThreadPoolExecutor(n))
    monkeypatch.setattr(pipeline, "execute", pretend)
    monkeypatch.setattr(pipeline, "_message", lambda future, *_: future.result())
    names = ["01_look", "02_train", "03_more", "04_last"]
    assert pipeline._work([(n, Path(f"{n}.ipynb"), {"parameters": {}}) for n in names], jobs, State()) == []
    chain = [spans[n] for n in names[1:]]
    assert all(first[1] <= second[0] for first, second in zip(chain, chain[1:], strict=False))
    assert most[1] == min(jobs, 2)


# Whole runs


def test_run_then_skip_then_run_what_changed(tmp_path, motion):
    folder, out, said = tmp_path / "note books", tmp_path / "out {x}", []
    write(folder, "01_look", "fraction: float = 0.5  # share\n")
    write(folder, "02_train", "epochs: int = 3  # passes\n")
    options = dict(data=motion, out=out, smoke=True, folder=folder, say=said.append)
    first, second = pipeline.run(given={"epochs": "7"}, jobs=2, **options)
    assert (first.notebook, second.notebook, second.found, second.headline["epochs"]) == ("01_look", "02_train", False, 7)
    assert second.signs_of_failure == ("a < b",)
    assert {p.name for p in out.iterdir()} == {"01_look", "02_train", "01_look.ipynb", "02_train.ipynb", "manifest.json", "report.html"}
    executed = nbformat.read(out / "02_train.ipynb", 4)
    assert any("epochs = 7" in c.source and f'data = "{motion}"' in c.source and "smoke = True" in c.source for c in executed.cells)

    content = json.loads((out / "manifest.json").read_text())
    assert content["data"]["content"] == clips.open_clips(motion).content and content["data"]["generated"] is True
    assert content["settings"]["epochs"] == 7 and content["smoke"] is True and content["hardware"]["cores"] >= 1
    assert content["versions"]["torch"] and content["notebooks"]["02_train"]["status"] == "done"

    said.clear()
    again = pipeline.run(given={"epochs": "7"}, **options)
    assert [r.found for r in again] == [True, True] and sum("skipped" in line for line in said) == 2
    assert "(before)" in pipeline.table(again)
    changed = pipeline.run(given={"epochs": "8"}, **options)
    assert [(r.notebook, r.found) for r in changed] == [("01_look", True), ("02_train", False)]
    assert changed[1].headline["epochs"] == 8
    write(folder, "01_look", "fraction: float = 0.5  # share\n", BODY + "print('more')\n")
    (out / "02_train" / "metrics.json").write_text("{torn")
    assert [r.found for r in pipeline.run(given={"epochs": "8"}, **options)] == [False, False]


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ("raise ValueError('the\\nmilk is sour')", "milk is sour"),
        ("os._exit(1)", "kernel died"),
        ("os.kill(os.getppid(), 9)", "process was killed"),
        ("(folder / 'metrics.json').unlink()", "without writing"),
    ],
    ids=["error", "kernel", "worker", "no metrics"],
)
def test_a_notebook_that_stops(tmp_path, motion, ending, told):
    folder, out = tmp_path / "notebooks", tmp_path / "out"
    write(folder, "02_train", body=BODY + ending)
    write(folder, "03_more")
    with pytest.raises(NotebookError, match=told) as stop:
        pipeline.run(data=motion, out=out, folder=folder, say=lambda line: None)
    assert "02_train" in str(stop.value) and "02_train.failed.ipynb" in str(stop.value)
    assert (out / "02_train.failed.ipynb").exists() and not (out / "02_train.ipynb").exists()
    assert not list(out.glob("03_more*"))
    assert json.loads((out / "manifest.json").read_text())["notebooks"]["02_train"]["status"] == "failed"
    if told == "milk is sour":
        assert told in (out / "report.html").read_text()
        write(folder, "02_train")
        (result,) = pipeline.run(["02"], data=motion, out=out, folder=folder, say=lambda line: None)
        assert not result.found and not (out / "02_train.failed.ipynb").exists()


def test_a_clock_that_is_set_back_fails_no_notebook(tmp_path, motion, monkeypatch):
    """The parent's clock is an hour ahead of what files are stamped with, as after it was set back."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    folder = tmp_path / "notebooks"
    write(folder, "02_train")
    (result,) = pipeline.run(data=motion, out=tmp_path / "out", folder=folder, say=lambda line: None)
    assert not result.found and 0 < result.seconds < 600


PATIENT = """\
import pathlib, time
here = pathlib.Path(out)
(here / "started").write_text("")
try:
    time.sleep(120)
except KeyboardInterrupt:
    time.sleep(1)  # as if a checkpoint was written
    (here / "interrupted").open("a").write("once")
    raise KeyboardInterrupt("a checkpoint was written")
"""
RUN = """\
import functools, sys
from skelmm_core import cli, pipeline
if __name__ == "__main__":
    pipeline.run = functools.partial(pipeline.run, folder=sys.argv[1])
    cli.main(sys.argv[2:])
"""


@pytest.mark.parametrize(("number", "to_all", "code"), [(signal.SIGTERM, False, 2), (signal.SIGTERM, True, 2), (signal.SIGINT, True, 130)])
def test_a_run_that_is_asked_to_stop_lets_its_notebook_end(tmp_path, motion, number, to_all, code):
    """By Slurm or systemd, which may tell one process or all, and by Ctrl-C, which a terminal sends to all but the kernel."""
    write(tmp_path / "notebooks", "02_train", body=PATIENT)
    write(tmp_path / "notebooks", "03_after")
    (tmp_path / "run.py").write_text(RUN)
    words = [str(tmp_path / "notebooks"), "run", "--data", str(motion), "--out", str(tmp_path / "out")]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs tests in the background has it ignored
    process = subprocess.Popen([sys.executable, tmp_path / "run.py", *words], stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not (tmp_path / "out" / "started").exists() and process.poll() is None:
        time.sleep(0.1)
    os.killpg(process.pid, number) if to_all else process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code and "Traceback" not in errors and "the same command goes on from there" in errors, errors
    assert (tmp_path / "out" / "interrupted").read_text() == "once" and not (tmp_path / "out" / "03_after").exists()
    told = json.loads((tmp_path / "out" / "manifest.json").read_text())["notebooks"]
    assert list(told) == ["02_train"] and told["02_train"]["status"] == "failed"
    assert "a checkpoint was written" in told["02_train"]["message"]


DEAF = """\
import os, pathlib, signal, time
heard = []
signal.signal(signal.SIGINT, lambda *_: heard.append(1))  # as between two cells, where ipykernel ignores it
os.kill(os.getppid(), signal.SIGTERM)
while not heard:
    time.sleep(0.05)
"""


def test_a_signal_that_comes_between_two_cells_begins_no_further_one(tmp_path, motion):
    path = write(tmp_path / "notebooks", "02_train", body=DEAF)
    notebook = nbformat.read(path, 4)
    notebook.cells.append(nbformat.v4.new_code_cell('(pathlib.Path(out) / "went_on").write_text("")'))
    nbformat.write(notebook, path)
    with pytest.raises(NotebookError, match="notebook 02_train stopped: it was interrupted"):
        pipeline.run(data=motion, out=tmp_path / "out", folder=path.parent, say=lambda line: None)
    assert not (tmp_path / "out" / "went_on").exists() and (tmp_path / "out" / "02_train.failed.ipynb").exists()


@pytest.mark.parametrize("ends", [DeadKernelError("Kernel died"), RuntimeError("Kernel died before replying to kernel_info")])
@pytest.mark.parametrize("asked", [True, False])
def test_a_kernel_that_ended_since_it_was_asked_to_is_told_as_interrupted(tmp_path, monkeypatch, ends, asked):
    def dies(*_, **__):
        raise ends

    monkeypatch.setattr(papermill, "execute_notebook", dies)
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)
    monkeypatch.setattr(worker._Asked, "__init__", lambda self: setattr(self, "first", 0.0 if asked else None))
    for name in ("PYTHONPATH", "PYDEVD_DISABLE_FILE_VALIDATION"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    told = worker.execute("02_train.ipynb", str(tmp_path), {}, None)
    assert (told == "it was interrupted") == asked


def test_metrics_of_an_earlier_run_are_no_sign_of_an_end(tmp_path, motion, monkeypatch):
    old = tmp_path / "02_single_modality_pretraining" / "metrics.json"
    old.parent.mkdir()
    old.write_text("{}")
    start = pipeline._Start(0.0, 0.0, pipeline._stamp(old))
    state = pipeline._Run(tmp_path, {}, print)
    done: Future[str] = Future()
    done.set_result("")
    assert "ended without writing" in pipeline._message(done, old.parent.name, state, start, False)


def test_a_kernel_that_is_kept_waiting_is_no_full_disk(tmp_path, monkeypatch):
    def slow(*_, iopub_timeout, **__):
        assert iopub_timeout == worker.ANSWER >= 60
        raise CellTimeoutError("Timeout waiting for IOPub output")

    monkeypatch.setattr(papermill, "execute_notebook", slow)
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)
    for name in ("PYTHONPATH", "PYDEVD_DISABLE_FILE_VALIDATION"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    told = worker.execute("02_train.ipynb", str(tmp_path), {}, None)
    assert "sent no answer" in told and "overloaded" in told and "can't write" not in told


def test_a_worker_that_is_interrupted_before_its_notebook_begins_is_told_as_such(tmp_path):
    ended: Future[str] = Future()
    ended.set_exception(KeyboardInterrupt())
    state = pipeline._Run(tmp_path, {}, print)
    told = pipeline._message(ended, "02_train", state, pipeline._Start(0.0, 0.0, None), True)
    assert told == "notebook 02_train stopped: it was interrupted"


def test_raw_files_become_the_data_of_all_notebooks(tmp_path):
    folder, out = tmp_path / "notebooks", tmp_path / "out"
    write(folder, "00_data", 'source: str = ""  # raw files\nsource_format: str = "auto"  # theirs\n')
    write(folder, "02_train")
    write_ntu(tmp_path / "ntu", sample.read(performers=2, repetitions=1, cameras=1, actions=["kick", "punch"]), progress=False)
    options = dict(out=out, folder=folder, say=lambda line: None, given={"source": str(tmp_path / "ntu"), "source_format": "ntu"})
    with pytest.raises(SettingsError, match="leave out --data"):
        pipeline.run(data=tmp_path / "other.clips", **options)
    pipeline.run(**options)
    (made,) = (out / "clips").glob("ntu-*.clips")
    assert len(clips.open_clips(made)) == 4 and (out / "clips" / f"{made.name}.report.json").is_file()
    for name in ("00_data", "02_train"):
        cells = [c.source for c in nbformat.read(out / f"{name}.ipynb", 4).cells]
        assert any(f'data = "{made.resolve()}"' in c for c in cells), name
    content = json.loads((out / "manifest.json").read_text())
    assert content["data"]["content"] == clips.open_clips(made).content
    assert all(r.found for r in pipeline.run(**options))


def test_wrong_input_is_told_before_anything_runs(tmp_path, motion):
    folder, out = tmp_path / "notebooks", tmp_path / "out"
    write(folder, "02_train", "epochs: int = 3  # passes\nprotocol: str = None  # split\nskeleton: str = None  # joints\n")
    options = dict(folder=folder, out=out, say=lambda line: None)
    for error, text, given in (
        (SettingsError, "did you mean 'epochs'", dict(data=motion, given={"epoch": "3"})),
        (SettingsError, "must be a whole number", dict(data=motion, given={"epochs": "many"})),
        (SettingsError, "'epochs' must be above 0", dict(data=motion, given={"epochs": "0"})),
        (SettingsError, "use --seed", dict(data=motion, given={"seed": "0"})),
        (SettingsError, "did you mean 'quick'", dict(data=motion, preset="quik")),
        (SettingsError, "did you mean 'ntu25'", dict(data=motion, given={"skeleton": "ntu2"})),
        (SettingsError, "device must be", dict(data=motion, device="abacus")),
        (SettingsError, "jobs must be 1 or more", dict(data=motion, jobs=0)),
        (DataError, "no clips file", dict(data=tmp_path / "none.clips")),
    ):
        with pytest.raises(error, match=text):
            pipeline.run(**options, **given)
    assert not out.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="can't write"):
        pipeline.run(data=motion, folder=folder, out=tmp_path / "file" / "out")


def test_table_is_aligned_and_lists_signs():
    text = pipeline.table([
        pipeline.Result("02_train", False, 12.3, {"linear": 71.25, "kNN": None, "clips": 430}, ("it is flat",)),
        pipeline.Result("03_more", True, 5.0, {}, tuple("abcde")),
    ])  # fmt: skip
    lines = text.splitlines()
    column = lines[0].index("value") + len("value")
    assert [line[:column].split()[-1] for line in lines[2:5]] == ["71.2", "–", "430"]
    assert all(len(line) == len(lines[0]) for line in (lines[1], lines[2]))
    more = ["! 03_more: a", "! 03_more: b", "! 03_more: c", "! 03_more: 2 more, in report.html"]
    assert lines[-5:] == ["! 02_train: it is flat", *more]


# Report


def test_report_is_self_contained_and_escaped(tmp_path):
    wicked = '<script>alert("x")</script>'
    folder = tmp_path / "02_train"
    (folder / "figures").mkdir(parents=True)
    picture = bytes(range(256))
    (folder / "figures" / "training_curves.png").write_bytes(picture)
    run = {
        "preset": "quick",
        "seed": 0,
        "device": "cpu",
        "smoke": True,
        "data": {"title": wicked, "clips": 4, "protocol": wicked, "generated": True},
    }
    metrics = {"run": run, "headline": {wicked: 71.24, "text": wicked, "none": None}, "signs_of_failure": [wicked], "more": [wicked]}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "02_train.ipynb").write_text("{}")
    (tmp_path / "05_more").mkdir()  # of the same run, whose manifests differ
    (tmp_path / "05_more" / "metrics.json").write_text(json.dumps({"run": run | {"manifest": "abc"}, "headline": {}}))
    notebooks = {"02_train": {"seconds": 3.21, "status": "done"}, "03_more": {"status": "failed", "message": wicked}}
    (tmp_path / "manifest.json").write_text(
        json.dumps({"command": wicked, "git": {"commit": "abc", "clean": False}, "notebooks": notebooks})
    )
    page = Page(report.build(tmp_path).read_text())
    assert page.open == [] and "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(wicked) >= 7 and page.text.count("nobody performed") == 1
    for fact in ("71.2", "3.2", "Generated motion", "smoke run", "abc, with uncommitted changes", "80.7", "Signs of failure"):
        assert fact in page.text
    sources = [attrs["src"] for _, attrs in page.tags if "src" in attrs]
    assert [base64.b64decode(s.partition("base64,")[2]) for s in sources] == [picture]
    assert {attrs["href"] for _, attrs in page.tags if "href" in attrs} == {"#02_train", "02_train.ipynb"}


@pytest.mark.parametrize(
    "label, held",
    [("raw coordinates, class by nearest", True), ("raw 1-NN", True), ("fused, untrained", True), ("teacher, class by nearest", False)],
)
def test_report_sets_yardsticks_in_italics(tmp_path, label, held):
    (tmp_path / "05_probe").mkdir()
    (tmp_path / "05_probe" / "metrics.json").write_text(json.dumps({"headline": {label: 50.0}}))
    row = next(line for line in report.build(tmp_path).read_text().split("<tr") if label in line)
    assert ("yardstick" in row.split(">")[0]) == held


@pytest.mark.parametrize("content", ["", "{", "[1]", "[" * 100_000, '{"notebooks": 3}', '{"notebooks": {"02_train": 3}}'])
def test_a_damaged_manifest_of_a_run_stops_nothing_and_is_set_aside(tmp_path, capsys, content):
    (tmp_path / "manifest.json").write_text(content)
    state = pipeline._Run(tmp_path, {}, print)
    assert not state.is_done("02_train", {})
    state.save()
    told = capsys.readouterr().err
    if content.startswith('{"'):
        assert not told and len(list(tmp_path.iterdir())) == 1
    else:
        assert "manifest.json was damaged and is set aside as manifest.json.damaged; it is written anew" in told
        assert (tmp_path / "manifest.json.damaged").read_text() == content
    assert json.loads((tmp_path / "manifest.json").read_text())["notebooks"] == {}


@pytest.mark.parametrize("content", ["", "[1]", "[" * 100_000])
def test_damaged_metrics_are_none(tmp_path, content):
    (tmp_path / "02_train").mkdir()
    (tmp_path / "02_train" / "metrics.json").write_text(content)
    assert pipeline._Run(tmp_path, {}, print).metrics("02_train") is None
    with pytest.raises(DataError, match="run its notebook again"):
        report.build(tmp_path)


def test_report_of_nothing_and_of_damaged_metrics(tmp_path):
    with pytest.raises(DataError, match="no notebook has left a metrics.json"):
        report.build(tmp_path)
    (tmp_path / "02_train").mkdir()
    (tmp_path / "02_train" / "metrics.json").write_text("[1]")
    with pytest.raises(DataError, match="holds list"):
        report.build(tmp_path)
    assert not (tmp_path / "report.html").exists()
