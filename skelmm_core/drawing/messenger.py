"""The way of a clip from a kernel to a page that asks for it: a widget without a face."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from skelmm_core.drawing import player


class Messenger(widgets.VBox):
    """Carries the question of an element (a hidden text: number, time) to the kernel and the answer back, as a script in an output.

    kind, name: the element is ``[data-skelmm-KIND="NAME"]``. count: numbers that can be asked for are below it. fetch: number -> what the
    element's event "skelmm-clips" brings.
    """

    def __init__(self, kind: str, name: str, count: int, fetch: Callable[[int], dict[str, Any]]):
        self.element, self.count, self.fetch = f'[data-skelmm-{kind}="{name}"]', count, fetch
        self.question = widgets.Text(layout=widgets.Layout(display="none")).add_class(f"skelmm-ask-{name}")
        self.answer = widgets.Output()
        super().__init__([self.question, self.answer])
        self.question.observe(self._answer, "value")
        answer_beside(self.question)

    def _answer(self, change: Any) -> None:
        word = str(change["new"]).partition(" ")[0]
        if not word.isdigit() or int(word) >= self.count:
            return
        text = player.text({"detail": self.fetch(int(word))})
        script = (
            f"<script>for (const host of document.querySelectorAll('{self.element}'))\n"
            f'host.dispatchEvent(new CustomEvent("skelmm-clips", {text}));</script>'
        )
        self.answer.outputs = ({"output_type": "display_data", "data": {"text/html": script, "text/plain": ""}, "metadata": {}},)


def answer_beside(widget: widgets.Widget) -> None:
    """Lets what comes from a widget go to the subshell that the front end asks for. ipykernel 7.4 gives it to the shell that spoke to the
    widget last, which is the one that the running cell keeps busy, unless none is noted."""
    getattr(widget.comm, "__dict__", {}).pop("_reply_subshell_id", None)
