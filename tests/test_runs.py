"""Choosing runs in a notebook: what is listed, what a click writes, and what is said where nothing can be compared."""

from __future__ import annotations

import os
import shutil
from types import SimpleNamespace

import pytest
import test_side_by_side

from skelmm_core import notebook
from skelmm_core.drawing.runs import ASKED, Chooser, runs_in
from skelmm_core.side_by_side import command

data, runs = test_side_by_side.data, test_side_by_side.runs  # fixtures


@pytest.fixture
def outputs(runs, tmp_path):
    """Two runs, a folder of figures, a torn run, and a run in a folder of runs."""
    shutil.copytree(runs[0], tmp_path / "outputs")
    (tmp_path / "outputs" / "figures").mkdir()
    shutil.copytree(runs[0] / "second", tmp_path / "outputs" / "more" / "third")
    shutil.copytree(runs[0] / "second", tmp_path / "outputs" / "torn")
    for path in (tmp_path / "outputs" / "torn").glob("stages/*/manifest.json"):
        path.write_text("{")
    return tmp_path / "outputs"


def test_runs_are_listed_with_what_they_are_and_what_is_no_run_is_not(outputs):
    found = runs_in(outputs)
    assert {run.relative_to(outputs).as_posix() for _, run in found} == {"first", "second", "more/third"}
    (words,) = [words for words, run in found if run.name == "first"]
    assert words.startswith("first: student, quick, toy size, seed 0, motion.clips, 20")
    assert runs_in(outputs / "figures") == []


def test_a_click_writes_the_page_of_what_was_chosen(outputs, monkeypatch):
    monkeypatch.chdir(outputs.parent)
    chooser = Chooser("outputs", "cpu")
    chooser.button.click()
    assert ASKED in chooser.status.value and chooser.answer.outputs == ()
    chooser.runs.value = tuple(run for _, run in runs_in("outputs") if run.name in ("first", "second"))
    chooser.button.click()
    (page,) = (path for path in outputs.glob("comparison-*.html"))
    assert page.name in ("comparison-first-second.html", "comparison-second-first.html") and not chooser.button.disabled
    shown = chooser.answer.outputs[0]["data"]
    assert f'href="outputs/{page.name}"' in shown["text/html"] and "Written." in chooser.status.value
    wanted = command.report(chooser.runs.value, "same.html", "cpu", say=lambda _: None).rpartition("\n")[0]
    untimed = [line for line in wanted.splitlines() if not line.startswith("ms per clip")]
    assert untimed == [line for line in shown["text/plain"].splitlines()[:-1] if not line.startswith("ms per clip")]


def test_without_a_reader_the_runs_are_named_and_the_command(outputs, capsys, monkeypatch):
    for name in ("JPY_SESSION_NAME", "VSCODE_PID"):
        monkeypatch.delenv(name, raising=False)
    (run,) = [run for _, run in runs_in(outputs) if run.name == "first"]
    session = notebook.Session("05_tsne_probing", SimpleNamespace(out=run, fabric=SimpleNamespace(device="cpu")))
    said = []
    monkeypatch.setattr(session, "say", said.append)
    session.choose()
    assert "- first: student, quick" in said[0] and "- more/third: teacher" in said[0] and "`skelmm report RUN…`" in said[0]
    monkeypatch.setenv("JPY_SESSION_NAME", "05.ipynb")
    session.choose()
    assert len(said) == 1 and "Chooser" in capsys.readouterr().out


def test_what_can_not_be_compared_is_said(outputs):
    chooser = Chooser(outputs, "cpu")
    (third,) = [run for _, run in runs_in(outputs) if run.name == "third"]
    for path in third.glob("stages/*/last*.pt"):
        os.truncate(path, 100)
    chooser.runs.value = (third,)
    chooser.answer.outputs = ({"output_type": "stream", "name": "stdout", "text": "of another comparison"},)
    chooser.button.click()
    assert "last.pt" in chooser.status.value and "<div" in chooser.status.value and not chooser.button.disabled
    assert chooser.answer.outputs == () and not list(outputs.glob("comparison*"))
    empty = Chooser(outputs / "figures")
    assert empty._repr_mimebundle_()["text/plain"].startswith("A list of runs to compare")
    assert empty.button.disabled and "No run with a stage lies in" in empty.status.value
