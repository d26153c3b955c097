"""Training as it goes: curves that are drawn anew in place, present values, time left, and a button that stops and keeps.

A cell that trains keeps the kernel busy, so a click has to come in beside it: JupyterLab from 4.4 on sends it to a subshell, a thread that
ipykernel has from 7 on. With older ones the click waits until the cell is done; there the interrupt button does what "stop and keep" does.
"""

from __future__ import annotations

import base64
import html
import signal
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import ipywidgets as widgets
from IPython.display import Markdown, display

from skelmm_core.drawing import palette
from skelmm_core.drawing.canvas import Picture
from skelmm_core.drawing.curves import training_curves
from skelmm_core.drawing.messenger import answer_beside
from skelmm_core.watching import EVERY, Watch, duration

PAUSE = 5.0  # seconds between two drawings, at least
SHARE = 40  # and so many times what the last one took
BUTTON = "stop and keep"
COLUMNS = {
    "loss": ("loss (nats)", 3), "positive": ("two views (cosine)", 3), "negative": ("other clips (cosine)", 3), 
    "alignment": ("alignment", 3), "uniformity": ("uniformity", 2), "rank": ("effective rank", 1), "knn": ("kNN (%)", 1),
}  # fmt: skip


class Stopped(KeyboardInterrupt):
    """Training was stopped by whoever looked on, and kept; a notebook shows the message without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class Live:
    """A block in which every stage that an `Experiment` trains is shown in a widget of its own. When the stage has ended, or was stopped,
    a picture of the curves takes the widget's place, which stays in the saved notebook.

    Attributes: watch (`watching.Watch`); curves, status (HTML widgets) and button of the stage shown now.
    """

    def __init__(self, exp: Any, every: int = EVERY):
        self.exp = exp
        self.watch = Watch(every, exp.clips.subjects, say=lambda _: None)  # the widget says it
        self.loop: Any = None
        self.handle: Any = None
        self.rows: list[Mapping[str, float]] = []

    def __enter__(self) -> Live:
        self.before, self.exp.on_epoch = self.exp.on_epoch, self
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, _: TracebackType | None) -> None:
        self.exp.on_epoch = self.before
        self._leave()
        if isinstance(problem, KeyboardInterrupt) and problem.args:  # a checkpoint was written
            told = f"Stopped and kept. {problem}. Run this cell again to go on from there; cells below need the stage to be complete."
            raise Stopped(told) from None

    def begin(self, loop: Any, epoch: int) -> None:
        self._leave()
        self.watch.begin(loop, epoch)
        self.rows.clear()
        self.loop, self.drawn, self.took = loop, 0.0, 0.0
        self.curves, self.status, self.line = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.button = widgets.Button(description=BUTTON, icon="stop", tooltip="end after this step, with a checkpoint to go on from")
        self.button.on_click(self._stop)
        answer_beside(self.button)
        self.status.value = self._told("the first epoch is on its way")
        self.handle = display(widgets.VBox([self.button, self.status, self.line, self.curves]), display_id=True)

    def step(self, told: str) -> None:
        """A line within the epoch, in the place of the last, where it would go to stderr."""
        told = told.removeprefix(f"{self.loop.title}: ")
        if self.rows:  # the line above says how long, looks included
            told = told.rpartition(", about ")[0] or told
        self.line.value = f'<div style="line-height: 1.5; opacity: .75">{html.escape(told)}</div>'

    def __call__(self, epoch: int, rows: Sequence[Mapping[str, float]]) -> None:
        self.rows = list(rows)
        self.watch(epoch, rows)
        left = duration(self.watch.seconds_left(epoch, rows))
        speed = self.watch.clips_per_epoch / rows[-1]["seconds"] if rows[-1]["seconds"] else 0.0
        told = f"epoch {epoch} of {self.watch.stop}, loss {rows[-1]['loss']:.3f}, {speed:.0f} clips/s, about <b>{left}</b> left"
        self.status.value = self._told(told)
        began = time.monotonic()
        if began - self.drawn > max(PAUSE, SHARE * self.took):
            png = base64.b64encode(self._figure()._repr_png_()).decode()
            self.curves.value = f'<img alt="training curves" style="max-width: 100%" src="data:image/png;base64,{png}">' + self._values()
            self.drawn = time.monotonic()
            self.took = self.drawn - began
        if epoch == self.watch.stop:
            self._leave()

    def _figure(self) -> Picture:
        return training_curves(self.rows, title=self.loop.title, watched=self.watch.records)

    def _values(self) -> str:
        """The present values as a table: a row per modality."""
        present = {**(self.watch.records[-1] if self.watch.records else {}), **{k: v for k, v in self.rows[-1].items() if k[:5] == "loss/"}}
        names = [key.removeprefix("loss/") for key in present if key.startswith("loss/")]
        kinds = {kind: how for kind, how in COLUMNS.items() if f"{kind}/{names[0]}" in present}
        head = "".join(f'<th style="padding: 0 .8em; text-align: right">{text}</th>' for text, _ in kinds.values())
        body = ""
        for number, name in enumerate(names):
            colour = palette.series_colour(name, number)
            cells = "".join(
                f'<td style="padding: 0 .8em; text-align: right">{round(present[f"{kind}/{name}"], digits) + 0.0:.{digits}f}</td>'
                for kind, (_, digits) in kinds.items()
            )
            square = f'<span style="color: {colour}">&#9632;</span>'
            body += f'<tr style="white-space: nowrap"><td>{square} {html.escape(palette.label(name))}</td>{cells}</tr>'
        return f"<table><tr><th></th>{head}</tr>{body}</table>"

    def _told(self, text: str) -> str:
        style = f"border-left: 4px solid {palette.modality_colour('motion')}; padding-left: .5em"
        signs = "".join(f'<div style="{style}"><b>{html.escape(sign)}</b></div>' for sign in self.watch.warnings.values())
        return f'<div role="status" style="line-height: 1.5; white-space: normal">{html.escape(self.loop.title)}: {text}{signs}</div>'

    def _stop(self, _: Any = None) -> None:
        """Asks for what Ctrl-C asks for, in whichever thread the click comes in."""
        loop = self.loop  # the main thread may leave it meanwhile
        if loop:
            loop.stopping.asked = signal.SIGINT
            self.button.disabled, self.button.description = True, "stops after this step"

    def _leave(self) -> None:
        """The picture of the stage that was shown takes the widget's place, if any epoch was done."""
        if self.handle:
            self.handle.update(self._figure() if self.rows else Markdown("*No epoch was completed.*"))
            for widget in (self.button, self.status, self.line, self.curves):
                widget.close()
        self.handle = self.loop = None


def live(exp: Any, every: int = EVERY) -> Live:
    """``with drawing.live(exp): exp.pretrain()``: training shown as it goes, in a live notebook.

    A click on "stop and keep", or the interrupt button, ends training after the step, with a checkpoint, and raises `Stopped`; the same
    call goes on from there. every: epochs between two looks of the `watching.Watch`. Headless runs take `watching.watched`.
    """
    return Live(exp, every)
