"""What a notebook shows while training: a widget, a picture after it, a button that stops and keeps, a message without a traceback."""

from __future__ import annotations

import importlib
import os
import re
import signal
import sys
import threading
from types import SimpleNamespace

import ipywidgets as widgets
import pytest
from IPython.core.interactiveshell import InteractiveShell
from toy_stage import TINY

from skelmm_core import checkpoints, drawing, notebook, watching
from skelmm_core.errors import DataError

live = importlib.import_module("skelmm_core.drawing.live")  # the package has a function of that name
ROW = {"lr": 0.1, "seconds": 2.0, "loss": 3.0, "loss/joint": 1.0, "positive/joint": 0.9, "negative/joint": 0.1}
LOOK = {"epoch": 2, "lr": 0.1, "clips": 9, "chance": 25.0, "clips_per_second": 80.0, "seconds_left": 1.0, "watch_seconds": 0.1, "signs": [],
        "positive/joint": 0.9, "negative/joint": 0.2, "alignment/joint": 0.2, "uniformity/joint": -2.5, "rank/joint": 7.0,
        "knn/joint": 55.5}  # fmt: skip


@pytest.fixture
def shown(monkeypatch) -> list:
    """What is displayed, and what takes its place."""
    found: list = []

    class Handle:
        def update(self, what):
            found.append(("instead", what))

    monkeypatch.setattr(live, "display", lambda what, display_id: found.append(("new", what)) or Handle())
    monkeypatch.setattr(live, "PAUSE", 0.0)
    monkeypatch.setattr(live, "SHARE", 0.0)
    return found


@pytest.fixture
def exp(tmp_path):
    from skelmm_core.experiment import Experiment

    return Experiment("sample", tmp_path, **(TINY | dict(frames=8, epochs=4, batch=16)))


class At:
    """Does something at the end of an epoch, behind what is called there anyway."""

    def __init__(self, inner, epoch: int, what):
        self.inner, self.epoch, self.what = inner, epoch, what

    def begin(self, *args) -> None:
        self.inner.begin(*args)

    def __call__(self, epoch, rows) -> None:
        self.inner(epoch, rows)
        if epoch == self.epoch:
            self.what()


def test_each_stage_has_a_widget_and_then_a_picture(exp, shown):
    with drawing.live(exp, 2) as front:
        statuses: list[str] = []
        exp.on_epoch = At(front, 3, lambda: statuses.extend((front.status.value, front.curves.value)))
        exp.exchange()
    assert exp.on_epoch is None
    assert [kind for kind, _ in shown] == ["new", "instead"] * 2, "stage 1 and stage 2"
    assert all(what._repr_png_().startswith(b"\x89PNG") for kind, what in shown if kind == "instead")
    (folder,) = exp.out.glob("stages/pretrain-*")
    assert [look["epoch"] for look in watching.read(folder)] == [2]


def test_status_curves_and_values(exp, shown):
    told: list[str] = []
    with drawing.live(exp, 1) as front:
        exp.on_epoch = At(front, 2, lambda: told.extend((front.status.value, front.curves.value)))
        exp.pretrain()
    status, curves = told
    assert 'role="status"' in status and "pretrain 2 modalities: epoch 2 of 4, loss " in status and "clips/s, about <b>" in status
    look = front.watch.records[1]
    assert 'alt="training curves"' in curves and "data:image/png;base64," in curves
    for name in ("joint", "bone"):
        assert drawing.palette.modality_colour(name) in curves and f">{look[f'knn/{name}']:.1f}</td>" in curves
    assert front.button.comm is None, "nothing is left of the widget"


def test_the_button_stops_and_keeps_and_the_same_call_goes_on(exp, shown, tmp_path):
    words: list[str] = []
    with pytest.raises(live.Stopped, match=r"Stopped and kept. .*: a checkpoint was written after epoch 3, step 1. Run this cell again"):
        with drawing.live(exp, 1) as front:
            exp.on_epoch = At(front, 2, lambda: (front.button.click(), words.append(front.button.description)))
            exp.pretrain()
    assert exp.on_epoch is None and words == ["stops after this step"] and shown[-1][0] == "instead"
    (last,) = tmp_path.glob("stages/*/last.pt")
    saved = checkpoints.load(last)
    assert saved["epoch"] == 2 and len(saved["steps"]) == 1
    with drawing.live(exp, 1):
        assert [row["epoch"] for row in exp.pretrain().rows] == [1, 2, 3, 4]
    assert [look["epoch"] for look in watching.read(last.parent)] == [1, 2, 3, 4]
    front.button.click()  # too late: nothing happens


def test_ctrl_c_is_the_same_and_other_errors_pass(exp, shown):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(live.Stopped, match="after epoch 2, step 1"), drawing.live(exp, 1) as front:
            exp.on_epoch = At(front, 1, lambda: os.kill(os.getpid(), signal.SIGINT))
            exp.pretrain()
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(DataError, match="^other$"), drawing.live(exp, 1):
        raise DataError("other")
    with pytest.raises(KeyboardInterrupt) as caught, drawing.live(exp, 1):
        raise KeyboardInterrupt
    assert not isinstance(caught.value, live.Stopped), "nothing was kept"


def test_a_notebook_shows_the_message_and_no_traceback(capsys):
    shell = InteractiveShell()
    result = shell.run_cell("from skelmm_core.drawing.live import Stopped\nraise Stopped('Stopped and kept. Run this cell again.')")
    assert isinstance(result.error_in_exec, live.Stopped), "cells below don't run"
    told = "".join(capsys.readouterr())
    assert "Stopped and kept." in told and "Traceback" not in told and "raise Stopped" not in told


def test_curves_have_a_panel_for_each_quantity():
    rows = [{"epoch": e, **ROW} for e in (1, 2, 3)]
    plain, full = drawing.training_curves(rows), drawing.training_curves(rows, watched=[LOOK, LOOK | {"epoch": 3, "knn/joint": 60.0}])
    assert len(plain.axes) == 4 and len(full.axes) == 9
    panels = {axes.get_ylabel().split(" (")[0]: axes for axes in full.axes}
    assert list(panels) == ["loss", "similarity to positives", "similarity to negatives", "alignment", "uniformity", "effective rank",
                            "kNN on training clips", "learning rate", "throughput"]  # fmt: skip
    knn = panels["kNN on training clips"].lines
    assert list(knn[0].get_ydata()) == [55.5, 60.0] and list(knn[0].get_xdata()) == [2, 3]
    assert knn[0].get_color() == drawing.palette.modality_colour("joint") and list(knn[1].get_ydata()) == [25.0, 25.0]
    assert all(axes.get_xlabel() == "epoch" for axes in full.axes[-3:])
    assert [text.get_text() for text in full.legends[0].texts] == ["joint"]


@pytest.mark.parametrize("somebody", [False, True])
def test_a_session_shows_widgets_to_somebody_and_lines_to_nobody(exp, shown, monkeypatch, capsys, somebody):
    monkeypatch.setattr(notebook, "interactive", lambda: somebody)
    session = notebook.Session("02_single_modality_pretraining", exp)
    with session.training(every=2):
        exp.pretrain()
    assert bool(shown) == somebody
    assert ("epoch 4/4, kNN" in capsys.readouterr().err) != somebody
    exp.out = exp.out / "other"
    with session.training(every=0):
        assert exp.on_epoch is None


def test_lines_are_shown_in_one_place(monkeypatch, capsys):
    shown = []
    module = importlib.import_module("skelmm_core.drawing.lines")  # the package has a function of that name

    class Handle:
        def update(self, what):
            shown.append(what.data)

    monkeypatch.setattr(module, "display", lambda what, display_id: Handle())
    with pytest.raises(DataError), drawing.lines():
        for number in range(module.KEPT + 5):
            print(f"line {number} <b>", file=sys.stderr)
        print("10 %\r20 %", end="", file=sys.stderr)
        raise DataError("told as ever")
    assert len(shown) == 2, "at the first words, then not more often than every half second, and at the end"
    told = re.fullmatch(r"<div [^>]*><pre [^>]*>(.*)</pre></div>", shown[-1], re.DOTALL).group(1).split("\n")
    assert told == [*(f"line {number} &lt;b&gt;" for number in range(5, module.KEPT + 5)), "20 %"]
    assert capsys.readouterr().err == ""


def test_the_newest_line_is_shown_though_nothing_comes_after_it(monkeypatch):
    shown, seen = [], threading.Event()
    module = importlib.import_module("skelmm_core.drawing.lines")

    class Handle:
        def update(self, what):
            shown.append(what.data)
            if "third" in what.data:
                seen.set()

    monkeypatch.setattr(module, "display", lambda what, display_id: Handle())
    with drawing.lines() as out:
        out.write("first\r\nsecond\n")
        out.write("10 %\rthird")
        assert seen.wait(30) and "first\nsecond\nthird<" in shown[-1]


def test_without_a_reader_lines_go_to_stderr(monkeypatch, capsys):
    for name in ("JPY_SESSION_NAME", "VSCODE_PID"):
        monkeypatch.delenv(name, raising=False)
    with notebook.Session.lines(None):
        print("one", file=sys.stderr)
    assert capsys.readouterr() == ("", "one\n")


def test_one_time_left_is_told_and_no_minus_nothing(exp):
    """The step's own estimate, which leaves looks out, stands alone in the first epoch only."""
    front = drawing.live(exp, 1)
    front.loop, front.line = SimpleNamespace(title="pretrain"), widgets.HTML()
    front.step("pretrain: epoch 1/4, step 1/2, loss 1.0, about 5 s left")
    assert ">epoch 1/4, step 1/2, loss 1.0, about 5 s left<" in front.line.value
    front.rows, front.watch.records = [ROW], [LOOK | {"uniformity/joint": -0.0001}]
    front.step("pretrain: epoch 2/4, step 1/2, loss 1.0, about 5 s left")
    assert ">epoch 2/4, step 1/2, loss 1.0<" in front.line.value
    assert ">0.00<" in front._values() and "-0.00" not in front._values()
